/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * greeting.c - an example for libnbdscope: the first words of an NBD server, field by
 * field.
 *
 *	cc greeting.c -o greeting $(pkg-config --cflags --libs nbdscope)
 *	./greeting HOST PORT
 */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nbdscope/nbdscope.h>

static int connect_to(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	int fd = -1;

	if (getaddrinfo(host, port, &hints, &found) != 0)
		return -1;
	for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(found);
	return fd;
}

int main(int argc, char **argv)
{
	const struct nbdscope_message *message = NULL;
	struct nbdscope_decoder *decoder;
	char bytes[512];
	ssize_t n;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: greeting HOST PORT\n");
		return 2;
	}
	fd = connect_to(argv[1], argv[2]);
	decoder = nbdscope_decoder_new();
	if (fd < 0 || !decoder) {
		fprintf(stderr, "greeting: no connection to %s port %s\n", argv[1], argv[2]);
		return 2;
	}
	while (!message && (n = read(fd, bytes, sizeof(bytes))) > 0) {
		nbdscope_decoder_feed(decoder, NBDSCOPE_SERVER, bytes, (size_t)n);
		message = nbdscope_decoder_next(decoder);
	}
	if (message) {
		printf("%s\n", nbdscope_message_summary(message));
		for (size_t i = 0; i < nbdscope_message_fields(message); i++)
			printf("  %s = %s\n", nbdscope_message_field_name(message, i),
			       nbdscope_message_field_text(message, i));
	}
	close(fd);
	n = message ? 0 : 1;
	nbdscope_decoder_free(decoder);
	return (int)n;
}
