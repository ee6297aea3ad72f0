/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * servers.h - the endpoints that serve NBD, and the world of each.
 *
 *	table ──► server: address, world (consistency)
 *	list  ──► server ──► server ──► ...      all, the longest silent first
 *	stirring ► server ──► ...                those in which time has something to do
 *
 * A tick visits only those whose worlds were told something since, or in which
 * something waits for time to pass, and of these so many at most, one after the other:
 * it costs nothing that most servers are silent, and little that many are not.
 *
 * A world is made when a connection enters an export, or something was missed: a
 * server that only greets costs its address.  Where memory is short, the contents of the
 * longest silent go first, then worlds and servers that no connection uses; the next
 * connection finds a new world, as if the capture began with it.
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
	struct nbds_world *world; /* NULL: nothing needs to be known of it yet, or any more */
	struct server_use *first_use, *last_use;
	struct server *older, *newer;         /* by when it was stirred last */
	struct server *stir_prev, *stir_next; /* while it stirs */
	bool stirring;
	bool forgotten;                  /* it was counted so */
	struct nbds_world_stats *summed; /* what its world has in the sum; NULL: nothing */
	bool unseen;                     /* connections to it that are not followed may go on */
};

/* A connection to it, the oldest first; in the connection's session. */
struct server_use {
	struct server_use *next, *prev;
	bool listed;
};

struct servers {
	struct nbds_budget *budget;
	void *engine;                    /* for whoever gets the ops' context, a struct server */
	struct nbds_world_config config; /* epsilon 0: by the address */
	struct nbds_world_ops ops;
	struct nbds_table table;
	struct nbds_hash_key key;
	struct server *oldest, *newest;
	struct server *stirring, *stirring_last;
	int64_t now; /* of the last tick */
	bool dropped, interfaces;
	bool unseen;                  /* so it may be with those that are forgotten */
	struct nbds_world_stats past; /* of worlds that are gone */
	uint64_t forgotten;           /* servers */
	bool sums;                    /* are wanted: */
	struct nbds_world_stats sum;  /* of all, some ticks ago at most */
};

/* The members up to `ops` are set by the caller. */
void servers_init(struct servers *all);
void servers_free(struct servers *all);
struct server *server_find(const struct servers *all, const struct nbds_addr *addr);
struct server *server_get(struct servers *all, const struct nbds_addr *addr);
/* Its world, made if there is none; NULL without memory. */
struct nbds_world *server_world(struct server *s);
/* Its world is about to be told something. */
void server_stir(struct server *s);
/* Passes its verdicts and frees it, for want of memory; no party of it may be in use. */
void server_drop_world(struct server *s);
void server_use(struct server *s, struct server_use *use);
void server_leave(struct server *s, struct server_use *use);

void servers_tick(struct servers *all, int64_t now);
/* Forgets what was used least lately until the budget is at `goal` bytes, if it can. */
void servers_relieve(struct servers *all, uint64_t goal);
void servers_dropped(struct servers *all);
void servers_interfaces(struct servers *all);
void servers_finish(struct servers *all);
/* To this address, from `at` on, something may have been sent that is NBD and not known. */
void servers_stranger(struct servers *all, const struct nbds_addr *addr,
		      const struct nbds_point *at);
/* From now on there is a sum. To be called before there is a world. */
void servers_sum(struct servers *all);
/* The sum over all worlds. */
void servers_stats(const struct servers *all, struct nbds_world_stats *sum);

#endif
