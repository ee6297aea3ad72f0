/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * servers.h - the endpoints that serve NBD, and the world of each.
 *
 *	table ──► server: address, world (consistency)
 *	list  ──► server ──► server ──► ...      all, oldest first
 *	stirring ► server ──► ...                those in which time has something to do
 *
 * A tick visits only those whose worlds were told something since, or in which
 * something waits for time to pass, and of these so many at most, one after the other:
 * it costs nothing that most servers are silent, and little that many are not.
 *
 * Ownership.  Servers belong to `struct servers`, worlds to their servers.
 * Failure.  server_get() returns NULL without memory.
 */
#ifndef NBDS_SESSION_SERVERS_H
#define NBDS_SESSION_SERVERS_H

#include <base/table.h>
#include <nbdscope/address.h>

#include "../consistency/consistency.h"

struct server {
	struct nbds_table_node node;
	struct servers *all;
	struct nbds_addr addr;
	struct nbds_world *world;
	struct server *older, *newer;
	struct server *stir_next; /* while it stirs */
	bool stirring;
};

struct servers {
	struct nbds_budget *budget;
	void *engine;                    /* for whoever gets the ops' context, a struct server */
	struct nbds_world_config config; /* epsilon 0: by the address */
	struct nbds_world_ops ops;
	struct nbds_table table;
	struct nbds_hash_key key;
	struct server *oldest, *newest;
	struct server *stirring, **stirring_tail;
	int64_t now; /* of the last tick */
	bool dropped, interfaces;
};

/* The members up to `ops` are set by the caller. */
void servers_init(struct servers *all);
void servers_free(struct servers *all);
struct server *server_find(const struct servers *all, const struct nbds_addr *addr);
struct server *server_get(struct servers *all, const struct nbds_addr *addr);
/* Its world is about to be told something. */
void server_stir(struct server *s);

void servers_tick(struct servers *all, int64_t now);
/* All of them keep to the limit together. */
void servers_keep_to(struct servers *all, uint64_t limit);
void servers_dropped(struct servers *all);
void servers_interfaces(struct servers *all);
void servers_finish(struct servers *all);
/* The sum over all worlds. */
void servers_stats(const struct servers *all, struct nbds_world_stats *sum);

#endif
