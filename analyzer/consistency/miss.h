/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/miss.h - sectors of reads that look wrong, or dangerous, until the
 * final word on them.
 *
 *	young    seen so lately that a source of it may be told yet: its block is pinned
 *	  │      (nothing of it is buried) until the first request that provably came later
 *	  ▼
 *	closed   has its own snapshot of all that may have been its source, with references;
 *	         what becomes of the block does not matter any more
 *
 * Where a block gets too many versions while it is pinned, nothing is said of the young.
 *
 * Those with data from nowhere are found by sector when something is written there: if it
 * is just what was read, the capture has the two in the wrong order, or it is chance.  (For
 * zeroes that cover ranges it is looked up in the end: these stay as long as there are such.)
 *
 * Who reads the same sector over and over sees the same, and of the same sources: what misses
 * know is shared where it does not differ.
 */
#ifndef NBDS_CONSISTENCY_MISS_H
#define NBDS_CONSISTENCY_MISS_H

#include "judge.h"
#include "kin.h"

struct miss_snapshot;
struct shown;

/* A sector that has any. */
struct missed_sector {
	uint32_t count;       /* of those with data from nowhere that are looked at: */
	struct miss *foreign; /* the newest */
	/* What the newest ones share with others, if they have it still. */
	struct miss_snapshot *snapshot;
	struct shown *shown;
};

struct missed_block {
	struct nbds_table_node node; /* by its number */
	uint64_t number;
	uint32_t refs; /* misses */
	struct missed_sector sectors[BLOCK_SECTORS];
};

struct miss {
	struct miss *next; /* of the read */
	struct nbds_op *read;
	struct miss *prev_young, *next_young;
	struct miss *prev_alone, *next_alone; /* if `alone`: a later write may end it */
	struct nbds_point upto; /* of it and all before it in that list the latest `hi` */
	struct missed_block *block;
	struct missed_sector *at;                 /* of it */
	struct miss *prev_foreign, *next_foreign; /* of the sector, if it is foreign */
	uint64_t sector;
	uint64_t value;
	struct nbds_point hi;
	uint64_t lone_from; /* serial of the first of its connection's writes for which G10
	                     * held when it was read: it does for all later ones */
	uint16_t from, to;  /* of the sector */
	bool young;
	bool alone;           /* young, and some of its own writes were alone so far (G10) */
	bool foreign;         /* in the sector's list, */
	bool unsure;          /* or not, because it has too many: what is written there later is
	                     * not looked at; or there was no memory to note it */
	const uint8_t *bytes; /* [from, to), or NULL; they are a write's, */
	struct piece *piece;  /* as it was read, */
	struct shown *shown;  /* or its own, which others may share */
	struct mask *later;   /* bytes that a later command wrote just so; NULL: none */
	struct miss_snapshot *snapshot; /* once it is closed */
};

/* It is judged soon, and after it the one that follows. */
static inline void miss_prefetch(const struct miss *m)
{
	if (!m)
		return;
	__builtin_prefetch(m->next);
	__builtin_prefetch(m->next ? (const char *)m->next + 64 : NULL);
	__builtin_prefetch(m->next ? (const char *)m->next + 128 : NULL);
	__builtin_prefetch(m->snapshot);
	__builtin_prefetch(m->bytes);
}

struct misses {
	struct miss *young_first, *young_last;
	struct miss *alone_first, *alone_last;
	struct nbds_table blocks;
	struct missed_block *found; /* that was looked for last */
};

/* A sector of s->read; `foreign`: with data from nowhere. */
void miss_add(const struct sample *s, bool foreign);
/* Judges it by all that is known of its sources by now. `around`: as in struct view. */
void miss_judge(struct nbds_world *w, struct miss *m, unsigned around, struct verdict *v);
/* What may have been its source: `count` of them, just after it was judged. */
const struct candidate *miss_sources(const struct nbds_world *w, const struct miss *m,
				     size_t *count);
/* A request, of which the first byte was seen at `lo`, comes in: closes those that were
 * read before. */
void misses_close(struct nbds_world *w, const struct nbds_point *lo);
/* Where this write may have been there already when a sector was read, its reader's
 * connection was not the only one that wrote. */
void misses_written(const struct nbds_op *op);
/* `op` wrote bytes [at, at + len) of the sector; with value, if these are all. */
void misses_later(const struct nbds_op *op, uint64_t sector, uint64_t value, const uint8_t *bytes,
		  unsigned at, unsigned len);
/* Those of a read are of no more interest. */
void misses_drop(struct nbds_op *read);
void misses_free(struct nbds_world *w);

#endif
