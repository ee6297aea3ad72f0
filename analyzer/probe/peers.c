/* SPDX-License-Identifier: GPL-2.0-or-later */
/* peers.c - whether somebody else is connected to a server. See peers.h. */
#include "peers.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* States of include/net/tcp_states.h, and of net.h's socket_state. */
enum { ESTABLISHED = 1, UNIX_CONNECTING = 2, UNIX_CONNECTED = 3 };

/* IPv4 by way of a socket of IPv6 is IPv4. */
static void unmap(struct nbds_addr *a)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	if (a->family != 6 || memcmp(a->ip, mapped, 12) != 0)
		return;
	a->family = 4;
	memmove(a->ip, a->ip + 12, 4);
	memset(a->ip + 4, 0, 12);
}

bool nbds_peers_address(const struct sockaddr_storage *from, struct nbds_addr *to)
{
	struct sockaddr_in four;
	struct sockaddr_in6 six;

	memset(to, 0, sizeof(*to));
	if (from->ss_family == AF_INET) {
		memcpy(&four, from, sizeof(four));
		to->family = 4;
		to->port = ntohs(four.sin_port);
		memcpy(to->ip, &four.sin_addr, 4);
		return true;
	}
	if (from->ss_family == AF_INET6) {
		memcpy(&six, from, sizeof(six));
		to->family = 6;
		to->port = ntohs(six.sin6_port);
		memcpy(to->ip, &six.sin6_addr, 16);
		unmap(to);
		return true;
	}
	return false;
}

/* "0100007F:2A39": words in the machine's byte order. */
static bool read_address(const char *text, struct nbds_addr *a)
{
	size_t digits = strcspn(text, ":");
	unsigned port;

	memset(a, 0, sizeof(*a));
	if ((digits != 8 && digits != 32) || sscanf(text + digits, ":%4X", &port) != 1)
		return false;
	for (size_t i = 0; i < digits / 8; i++) {
		unsigned word;

		if (sscanf(text + 8 * i, "%8X", &word) != 1)
			return false;
		memcpy(a->ip + 4 * i, &word, 4);
	}
	a->family = digits == 8 ? 4 : 6;
	a->port = (uint16_t)port;
	unmap(a);
	return true;
}

/* The server's ends of connections in one table. */
static enum nbds_peers look_tcp(const char *table, const struct nbds_addr *own,
				const struct nbds_addr *server, char *who, size_t size)
{
	enum nbds_peers seen = NBDS_PEERS_UNSEEN;
	FILE *f = fopen(table, "re");
	char line[512];

	while (f && fgets(line, sizeof(line), f)) {
		char here[40], there[40];
		struct nbds_addr local, remote;
		unsigned state;

		if (sscanf(line, " %*[^:]: %39s %39s %X", here, there, &state) != 3 ||
		    !read_address(here, &local) || !read_address(there, &remote) ||
		    local.port != server->port || state != ESTABLISHED ||
		    !nbds_addr_equal(&local, server))
			continue;
		if (nbds_addr_equal(&remote, own)) {
			/* The server's end of our own: it runs here. */
			if (seen == NBDS_PEERS_UNSEEN)
				seen = NBDS_PEERS_NONE;
			continue;
		}
		nbds_addr_text(&remote, line);
		snprintf(who, size, "%s", line);
		seen = NBDS_PEERS_SOME;
	}
	if (f)
		fclose(f);
	return seen;
}

/* A server may have named its socket from another folder than ours. */
static bool same_path(const char *bound, const char *path)
{
	const char *a = strrchr(bound, '/'), *b = strrchr(path, '/');
	struct stat x, y;

	if (!strcmp(bound, path))
		return true;
	if (bound[0] == '/')
		return stat(bound, &x) == 0 && stat(path, &y) == 0 && x.st_dev == y.st_dev &&
		       x.st_ino == y.st_ino;
	return !strcmp(a ? a + 1 : bound, b ? b + 1 : path);
}

static enum nbds_peers look_unix(const char *path, unsigned own, char *who, size_t size)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512], bound[256];
	unsigned state, count = 0;
	bool any = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %*s %*s %*s %*s %X %*s %255[^\n]", &state, bound) != 2 ||
		    !same_path(bound, path))
			continue;
		any = true;
		/* A server's end has the name of what it listens on. */
		if (state == UNIX_CONNECTING || state == UNIX_CONNECTED)
			count++;
	}
	if (f)
		fclose(f);
	if (!any) {
		snprintf(who, size, "the server's socket is not in this machine's tables");
		return NBDS_PEERS_UNSEEN;
	}
	if (count <= own)
		return NBDS_PEERS_NONE;
	snprintf(who, size, "%u of %s", count - own, path);
	return NBDS_PEERS_SOME;
}

enum nbds_peers nbds_peers_look(const struct nbds_probe_uri *uri,
				const struct sockaddr_storage *local,
				const struct sockaddr_storage *remote, unsigned own_count,
				char *who, size_t size)
{
	struct nbds_addr own, server;
	enum nbds_peers four, six;

	if (uri->local)
		return look_unix(uri->path, own_count, who, size);
	if (!nbds_peers_address(local, &own) || !nbds_peers_address(remote, &server)) {
		snprintf(who, size, "vsock connections of others are not shown");
		return NBDS_PEERS_UNSEEN;
	}
	four = look_tcp("/proc/net/tcp", &own, &server, who, size);
	six = four == NBDS_PEERS_SOME ? four : look_tcp("/proc/net/tcp6", &own, &server, who, size);
	if (four == NBDS_PEERS_SOME || six == NBDS_PEERS_SOME)
		return NBDS_PEERS_SOME;
	if (four == NBDS_PEERS_NONE || six == NBDS_PEERS_NONE)
		return NBDS_PEERS_NONE;
	snprintf(who, size, "the server runs on another machine, or in another namespace");
	return NBDS_PEERS_UNSEEN;
}
