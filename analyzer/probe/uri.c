/* SPDX-License-Identifier: GPL-2.0-or-later */
/* uri.c - the server and export that an NBD URI names. See uri.h. */
#include "uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/uri.h>

#define PORT_USUAL "10809"

static bool fits(char *to, size_t size, const char *from)
{
	return (size_t)snprintf(to, size, "%s", from) < size;
}

/* The value of `socket` in "a=b&socket=c", unescaped, to be freed; NULL: none. */
static char *socket_of(const char *query)
{
	for (const char *at = query; at && *at;) {
		size_t len = strcspn(at, "&;");

		if (!strncmp(at, "socket=", 7) && len > 7)
			return xmlURIUnescapeString(at + 7, (int)(len - 7), NULL);
		at += len + (at[len] != '\0');
	}
	return NULL;
}

static bool take_local(const xmlURI *x, struct nbds_probe_uri *uri, char *err, size_t errsize)
{
	char *path = socket_of(x->query_raw);
	bool well = path && fits(uri->path, sizeof(uri->path), path);

	if (!path)
		snprintf(err, errsize, "the URI does not name a socket: nbd+unix:///?socket=PATH");
	else if (!well)
		snprintf(err, errsize, "the path of the socket is too long");
	xmlFree(path);
	uri->local = true;
	return well;
}

static bool take_host(const xmlURI *x, struct nbds_probe_uri *uri, char *err, size_t errsize)
{
	const char *host = x->server && *x->server ? x->server : uri->vsock ? "2" : "localhost";
	size_t len = strlen(host);
	bool bracketed = len > 2 && host[0] == '[' && host[len - 1] == ']';

	if (!fits(uri->host, sizeof(uri->host), bracketed ? host + 1 : host)) {
		snprintf(err, errsize, "the name of the host is too long");
		return false;
	}
	if (bracketed)
		uri->host[len - 2] = '\0';
	if (x->port > 0)
		snprintf(uri->port, sizeof(uri->port), "%d", x->port);
	else
		snprintf(uri->port, sizeof(uri->port), PORT_USUAL);
	return true;
}

static bool take(const xmlURI *x, struct nbds_probe_uri *uri, char *err, size_t errsize)
{
	const char *scheme = x->scheme ? x->scheme : "", *path = x->path ? x->path : "";

	memset(uri, 0, sizeof(*uri));
	uri->vsock = !strcmp(scheme, "nbd+vsock");
	if (!fits(uri->export, sizeof(uri->export), *path == '/' ? path + 1 : path)) {
		snprintf(err, errsize, "the name of the export is too long");
		return false;
	}
	if (!strncmp(scheme, "nbds", 4)) {
		snprintf(err, errsize,
			 "what passes would be encrypted, and could not be audited: let nbdkit's "
			 "nbd plugin speak TLS (docs/probe.md)");
		return false;
	}
	if (!strcmp(scheme, "nbd+unix"))
		return take_local(x, uri, err, errsize);
	if (!strcmp(scheme, "nbd") || uri->vsock)
		return take_host(x, uri, err, errsize);
	snprintf(err, errsize,
		 "not an NBD URI: nbd://HOST[:PORT]/EXPORT or "
		 "nbd+unix:///EXPORT?socket=PATH");
	return false;
}

bool nbds_probe_uri_parse(const char *text, struct nbds_probe_uri *uri, char *err, size_t errsize)
{
	xmlURIPtr x = xmlParseURI(text);
	bool well;

	if (!x) {
		snprintf(err, errsize, "not a URI");
		return false;
	}
	well = take(x, uri, err, errsize);
	xmlFreeURI(x);
	return well;
}
