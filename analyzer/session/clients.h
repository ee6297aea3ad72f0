/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * clients.h - which hosts use one export over several connections at a time.
 *
 *	table ──► (export, address of a host) ──► use ──► use    of each open connection
 *	                                                         that has sent requests
 *
 * Ownership.  A use lies in its connection's session.  Failure.  Without memory a use is
 * not listed.
 */
#ifndef NBDS_SESSION_CLIENTS_H
#define NBDS_SESSION_CLIENTS_H

#include <base/table.h>
#include <nbdscope/address.h>

struct client {
	struct nbds_table_node node;
	const void *export;
	uint8_t ip[16], family;
	struct client_use *uses;
	uint32_t writers; /* of them */
};

struct client_use {
	struct client *client; /* NULL: not listed */
	struct client_use *next, *prev;
	bool writes;
};

struct clients {
	struct nbds_table table;
	struct nbds_hash_key key;
	struct nbds_budget *budget;
};

/* The host uses the export over one connection more. */
void client_enter(struct clients *all, struct client_use *use, const void *export,
		  const struct nbds_addr *addr);
/* Over this connection it writes, too. */
void client_writes(struct client_use *use);
void client_leave(struct clients *all, struct client_use *use);
void clients_free(struct clients *all);

#endif
