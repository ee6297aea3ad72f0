/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exports.h - the exports that were entered, by server and name.
 *
 *	table ──► export: what everybody may read of it (struct nbds_export), and more
 *	list  ──► export ──► export ──► ...     in the order in which they were entered
 *
 * Ownership.  Exports belong to `struct exports`; connections to the engine.
 * Failure.  NULL or false without memory.
 */
#ifndef NBDS_SESSION_EXPORTS_H
#define NBDS_SESSION_EXPORTS_H

#include <base/table.h>
#include <base/vector.h>
#include <nbdscope/engine.h>

struct export_more {
	struct nbds_export e;
	struct nbds_table_node node;
	struct export_more *older;
	NBDS_VECTOR(, uint32_t) ids; /* e.connections, with some that are forgotten */
	unsigned left;               /* so many, since they were looked through */
	unsigned members;            /* connections that are not forgotten */
	bool multiplex_told, bit_8_told;
};

struct exports {
	struct nbds_table table;
	struct nbds_hash_key key;
	struct nbds_budget *budget;
	/* Is the connection called `id` not forgotten? */
	bool (*known)(const void *ctx, uint32_t id);
	const void *ctx;
	struct nbds_export *oldest;
	struct export_more *newest;
	uint32_t count;     /* ever */
	uint64_t forgotten; /* of them */
	uint64_t bytes;     /* that those which are left take, about */
};

static inline struct export_more *export_more(struct nbds_export *x)
{
	return x ? nbds_owner(x, struct export_more, e) : NULL;
}

struct export_more *export_get(struct exports *all, const struct nbds_addr *server,
			       const char *name, size_t len);
/* A connection has entered it, being shown what was negotiated. */
bool export_join(struct exports *all, struct export_more *x, uint32_t connection,
		 const struct nbds_negotiated *n);
/* A connection of it is about to be forgotten; the export goes with the last one. */
void export_leave(struct exports *all, struct export_more *x, uint32_t connection);
void exports_free(struct exports *all);

#endif
