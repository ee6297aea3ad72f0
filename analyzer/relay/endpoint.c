/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * endpoint.c - where a relay listens, and where it connects to. See endpoint.h.
 */
#include "endpoint.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

#define NBD_PORT 10809

/* What stands for a name: FNV-1a of it, in 127.64.0.0/10. */
static void stand_in(const char *text, struct nbds_addr *shown)
{
	uint32_t hash = 2166136261u;

	for (const char *at = text; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 16777619u;
	hash ^= hash >> 22;
	*shown = (struct nbds_addr){
		.ip = {127, (uint8_t)(64 | (hash >> 16 & 63)), (uint8_t)(hash >> 8), (uint8_t)hash},
		.port = NBD_PORT,
		.family = 4,
	};
}

bool nbds_endpoint_shown(const struct sockaddr_storage *at, struct nbds_addr *shown)
{
	*shown = (struct nbds_addr){0};
	if (at->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)at;

		memcpy(shown->ip, &in->sin_addr, 4);
		shown->port = ntohs(in->sin_port);
		shown->family = 4;
		return true;
	}
	if (at->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)at;

		memcpy(shown->ip, &in->sin6_addr, 16);
		shown->port = ntohs(in->sin6_port);
		shown->family = 6;
		return true;
	}
	return false;
}

static bool parse_unix(const char *path, struct nbds_endpoint *e, char *err, size_t errsize)
{
	struct sockaddr_un *at = (struct sockaddr_un *)(void *)&e->address[0].at;
	size_t length = strlen(path);

	if (!length || length >= sizeof(at->sun_path)) {
		snprintf(err, errsize,
			 length ? "the path of a Unix socket has at most %zu bytes"
				: "a Unix socket has a path: unix:PATH",
			 sizeof(at->sun_path) - 1);
		return false;
	}
	at->sun_family = AF_UNIX;
	memcpy(at->sun_path, path, length + 1);
	e->address[0].length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	e->count = 1;
	stand_in(e->text, &e->address[0].shown);
	return true;
}

static bool parse_u32(const char *text, const char *end, uint32_t *number)
{
	char *stop;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &stop, 10);
	*number = (uint32_t)n;
	return isdigit((unsigned char)*text) && stop == end && !errno && n <= UINT32_MAX;
}

static bool parse_vsock(const char *text, bool listening, struct nbds_endpoint *e, char *err,
			size_t errsize)
{
	struct sockaddr_vm *at = (struct sockaddr_vm *)(void *)&e->address[0].at;
	const char *colon = strchr(text, ':');
	uint32_t cid = VMADDR_CID_ANY, port = 0;
	bool any = listening && colon == text + 1 && *text == '*';

	if (!colon || !(any || parse_u32(text, colon, &cid)) ||
	    !parse_u32(colon + 1, colon + 1 + strlen(colon + 1), &port)) {
		snprintf(err, errsize, "'vsock:%s' is not vsock:CID:PORT", text);
		return false;
	}
	at->svm_family = AF_VSOCK;
	at->svm_cid = cid;
	at->svm_port = port;
	e->address[0].length = sizeof(*at);
	e->count = 1;
	stand_in(e->text, &e->address[0].shown);
	return true;
}

static bool parse_tcp(const char *text, bool listening, struct nbds_endpoint *e, char *err,
		      size_t errsize)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = listening ? AI_PASSIVE : AI_ADDRCONFIG};
	struct addrinfo *found = NULL;
	const char *colon = strrchr(text, ':');
	char host[NBDS_ENDPOINT_TEXT];
	uint32_t port;
	size_t length;
	int status;

	if (!colon || !parse_u32(colon + 1, colon + 1 + strlen(colon + 1), &port) || port > 65535 ||
	    (!port && !listening)) {
		snprintf(err, errsize, "'%s' is not unix:PATH, HOST:PORT or vsock:CID:PORT", text);
		return false;
	}
	length = (size_t)(colon - text);
	if (length >= 2 && *text == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	} else if (memchr(text, ':', length)) {
		snprintf(err, errsize, "an IPv6 address is written in brackets: [%.*s]:%s",
			 (int)length, text, colon + 1);
		return false;
	}
	if (!length && !listening) {
		snprintf(err, errsize, "'%s' has no host to connect to", text);
		return false;
	}
	memcpy(host, text, length); /* it is a part of e->text */
	host[length] = '\0';
	status = getaddrinfo(length ? host : NULL, colon + 1, &hints, &found);
	if (status) {
		snprintf(err, errsize, "%s: %s", *host ? host : e->text, gai_strerror(status));
		return false;
	}
	for (struct addrinfo *a = found; a && e->count < NBDS_ENDPOINT_ADDRESSES; a = a->ai_next) {
		if (a->ai_addrlen > sizeof(e->address[0].at))
			continue;
		memcpy(&e->address[e->count].at, a->ai_addr, a->ai_addrlen);
		e->address[e->count].length = a->ai_addrlen;
		if (nbds_endpoint_shown(&e->address[e->count].at, &e->address[e->count].shown))
			e->count++;
	}
	freeaddrinfo(found);
	if (!e->count)
		snprintf(err, errsize, "%s has no address", host);
	return e->count > 0;
}

bool nbds_endpoint_parse(const char *text, bool listening, struct nbds_endpoint *e, char *err,
			 size_t errsize)
{
	bool good;

	*e = (struct nbds_endpoint){0};
	if (strlen(text) >= sizeof(e->text)) {
		snprintf(err, errsize, "an address has at most %zu bytes", sizeof(e->text) - 1);
		return false;
	}
	strcpy(e->text, text);
	if (!strncmp(text, "unix:", 5))
		good = parse_unix(text + 5, e, err, errsize);
	else if (!strncmp(text, "vsock:", 6))
		good = parse_vsock(text + 6, listening, e, err, errsize);
	else
		good = parse_tcp(e->text, listening, e, err, errsize);
	e->family = e->address[0].at.ss_family;
	return good;
}

const char *nbds_endpoint_path(const struct nbds_endpoint *e)
{
	const struct sockaddr_un *at = (const struct sockaddr_un *)(const void *)&e->address[0].at;

	return e->family == AF_UNIX ? at->sun_path : NULL;
}
