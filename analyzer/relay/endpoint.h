/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/relay/endpoint.h - where a relay listens, and where it connects to.
 *
 *	unix:PATH        a Unix socket
 *	HOST:PORT        TCP; [ADDRESS]:PORT for IPv6; :PORT to listen on all addresses
 *	vsock:CID:PORT   between a virtual machine and its host; CID * to listen for all
 *
 * Purpose.  Reads that, resolves names, and says which IP address stands for the endpoint in
 * synthetic frames.  TCP has its own.  For a Unix socket or vsock it is one of 127.64.0.0/10
 * that follows from its name, with NBD's port: the same each time, and another one for
 * another socket, so that reports of several can be told apart.
 *
 * Ownership.  Plain values.  Failure.  False, and one line in `err`.
 */
#ifndef NBDSCOPE_ANALYZER_RELAY_ENDPOINT_H
#define NBDSCOPE_ANALYZER_RELAY_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include <nbdscope/address.h>

#define NBDS_ENDPOINT_ADDRESSES 8   /* of one name; more are left out */
#define NBDS_ENDPOINT_TEXT      200 /* with its end */

struct nbds_endpoint {
	char text[NBDS_ENDPOINT_TEXT]; /* as it was given */
	int family;                    /* of the first address */
	unsigned count;
	struct {
		struct sockaddr_storage at;
		socklen_t length;
		struct nbds_addr shown; /* in frames */
	} address[NBDS_ENDPOINT_ADDRESSES];
};

/* `listening`: a name is optional. May ask the name service. */
bool nbds_endpoint_parse(const char *text, bool listening, struct nbds_endpoint *e, char *err,
			 size_t errsize);

/* The address of a peer as frames show it. False: it has none of its own (Unix, vsock). */
bool nbds_endpoint_shown(const struct sockaddr_storage *at, struct nbds_addr *shown);

/* The path of a Unix socket; NULL: it is none. */
const char *nbds_endpoint_path(const struct nbds_endpoint *e);

#endif
