/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * records.h - connections that ended, put away in few bytes.
 *
 * A report names every connection there was, so they are kept, though nothing of them
 * will change: as differences to the first one of their chunk, zeroes left out.
 *
 *	chunk ──► chunk ──► ...       oldest first, forgotten as a whole
 *	  │
 *	  └─ base (a whole struct nbds_connection), then records one after the other:
 *	     length, id, the words of the struct less those of the base, and what its
 *	     pointers point to
 *
 * Ownership.  A connection that is taken out again belongs to `struct records`; see the
 * functions for how long.  Failure.  Without memory nothing is put away (false), or a
 * connection is not found.
 */
#ifndef NBDS_SESSION_RECORDS_H
#define NBDS_SESSION_RECORDS_H

#include <base/vector.h>
#include <nbdscope/engine.h>

struct record_chunk;
struct record_place {
	uint32_t id;
	const struct record_chunk *chunk;
	const uint8_t *at;
};

/* A connection taken out, and the pieces of memory that it has pointers to. */
struct unpacked {
	struct nbds_connection c;
	NBDS_VECTOR(, void *) pieces;
	struct nbds_budget budget; /* of the list only: it lives for moments */
};

struct records {
	struct nbds_budget *budget;
	struct record_chunk *oldest, *newest;
	uint64_t count, bytes;
	uint32_t lowest; /* id, if there is any */
	NBDS_VECTOR(, uint8_t) scratch;
	NBDS_VECTOR(, struct record_place) index; /* by id, */
	bool indexed;                             /* if it is up to date */
};

/* c stays the caller's. */
bool records_add(struct records *all, const struct nbds_connection *c);
/* Into `u`, which keeps it until it is used again: the one called `id`, or the first one
 * above it. NULL: there is none. */
struct nbds_connection *records_find(struct records *all, struct unpacked *u, uint32_t id);
struct nbds_connection *records_after(struct records *all, struct unpacked *u, uint32_t id);
/* The smallest id there is; UINT32_MAX: none. */
static inline uint32_t records_lowest(const struct records *all)
{
	return all->count ? all->lowest : UINT32_MAX;
}
/* Forgets those that ended first; `gone` is told of each. False: there are none. */
bool records_forget(struct records *all,
		    void (*gone)(void *ctx, uint32_t id, struct nbds_export *x), void *ctx);
void unpacked_free(struct unpacked *u);
void records_free(struct records *all);

#endif
