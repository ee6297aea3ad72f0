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
#include <nbdscope/engine.h>

struct export_more {
	struct nbds_export e;
	struct nbds_table_node node;
	struct export_more *older;
	unsigned room; /* of e.connections */
	bool multiplex_told, bit_8_told;
};

struct exports {
	struct nbds_table table;
	struct nbds_hash_key key;
	struct nbds_budget *budget;
	struct nbds_export *oldest;
	struct export_more *newest;
	uint32_t count; /* ever */
};

static inline struct export_more *export_more(struct nbds_export *x)
{
	return x ? nbds_owner(x, struct export_more, e) : NULL;
}

struct export_more *export_get(struct exports *all, const struct nbds_addr *server,
			       const char *name, size_t len);
/* c has entered it, being shown what was negotiated. */
bool export_join(struct exports *all, struct export_more *x, struct nbds_connection *c,
		 const struct nbds_negotiated *n);
/* c is forgotten; the export goes with its last connection. */
void export_leave(struct exports *all, struct export_more *x, const struct nbds_connection *c);
void exports_free(struct exports *all);

#endif
