/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/dirty.h - which bytes of an export no flush has covered.
 *
 * Purpose.  Counts bytes once that are written again and again.  A byte belongs to
 * the connection that wrote it last, and is clean once a flush that was sent after
 * that write's reply is answered.
 *
 *	 offsets    ├── conn 1, answered in frame 40 ──┤├─ conn 2, 52 ─┤     ├─ conn 1, 47 ─┤
 *	 lists      by the frame, one a connection, and one of all that any flush covers
 *
 * Work.  A write takes the time of a search, and that of taking away what it covers,
 * which other writes have put there; a flush that of what it cleans.
 *
 * Memory.  Counted in a budget, and a number of ranges at most: past it the oldest of
 * the connection are only counted, and bytes may be counted twice (`rough`).
 *
 * Ownership.  dirty_forget() of all connections frees all.  Failure.  Without memory as
 * past the most that are kept.
 */
#ifndef NBDSCOPE_TUI_DIRTY_H
#define NBDSCOPE_TUI_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include <base/budget.h>
#include <base/list.h>

/* Shared by all exports. */
struct dirty_store {
	struct nbds_budget *budget;
	size_t count, max; /* ranges */
	uint64_t random;   /* not 0 */
};

/* Of an export. */
struct dirty_map {
	struct dirty_range *root;
	struct nbds_list shared; /* ranges that a flush of any connection covers */
	uint64_t flush_sent;     /* frame of the newest flush */
	uint64_t bytes;          /* in all ranges */
};

/* Of a connection. */
struct dirty_owner {
	struct dirty_map *map;
	struct nbds_list ranges;
	uint64_t bytes;      /* in them */
	uint64_t over;       /* bytes that are only counted */
	uint64_t over_frame; /* and the frame of the last of them */
	bool rough;          /* some are, or were and are not clean since */
};

/* When something was seen, and how far apart two connections' frames have to be for
 * their order to be known, ns. */
struct dirty_when {
	uint64_t frame;
	int64_t time, margin;
};

void dirty_map_init(struct dirty_map *map);
void dirty_owner_init(struct dirty_owner *owner);

/* A write was answered. `shared`: flushes of others cover it too. */
void dirty_write(struct dirty_store *store, struct dirty_map *map, struct dirty_owner *owner,
		 uint64_t offset, uint64_t length, const struct dirty_when *when, bool shared);
/* A write was answered that needs no flush. */
void dirty_clean(struct dirty_store *store, struct dirty_map *map, uint64_t offset,
		 uint64_t length);
void dirty_flush_sent(struct dirty_map *map, uint64_t frame);
/* A flush of the connection was answered, which was sent then. */
void dirty_flush(struct dirty_store *store, struct dirty_map *map, struct dirty_owner *owner,
		 const struct dirty_when *sent, bool shared);
/* Nothing of the connection is dirty any more. */
void dirty_forget(struct dirty_store *store, struct dirty_map *map, struct dirty_owner *owner);

#endif
