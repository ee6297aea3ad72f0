/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/peers.h - whether somebody else is connected to a server.
 *
 * Purpose.  A probe destroys what an export holds, and what others write would spoil its
 * proof.  The kernel's tables of this machine's network namespace are read: they show the
 * other end of every connection of a server that runs here.  Of a server elsewhere (in
 * another namespace, too) nothing can be seen.
 *
 * Failure.  What cannot be read cannot be seen.
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_PEERS_H
#define NBDSCOPE_ANALYZER_PROBE_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include <nbdscope/address.h>

#include "uri.h"

enum nbds_peers {
	NBDS_PEERS_NONE,   /* the server is here, and nobody is connected */
	NBDS_PEERS_SOME,   /* somebody is; `who` says it, where it is known */
	NBDS_PEERS_UNSEEN, /* it cannot be seen; `who` says why */
};

/* Of a TCP server, `own` is this program's own connection to it. Of a Unix domain socket,
 * it has `own_count` connections itself. */
enum nbds_peers nbds_peers_look(const struct nbds_probe_uri *uri,
				const struct sockaddr_storage *local,
				const struct sockaddr_storage *remote, unsigned own_count,
				char *who, size_t size);

/* The address of TCP in it. False: it is of another kind. */
bool nbds_peers_address(const struct sockaddr_storage *from, struct nbds_addr *to);

#endif
