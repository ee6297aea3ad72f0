/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/contents.h - which commands may have left their data in
 * which sectors.
 *
 *     blocks  ── hash of 4 KiB block number         contents, newest first
 *        entry(op W2: 8 values) -> entry(op W1) -> ...
 *     grid    ── (size class, granule) -> ranges    zeroes, trims, unknown
 *
 * Data that was on the wire is kept in blocks, so blocks are bounded by the
 * bytes captured.  A command that covers a range without carrying data
 * (WRITE_ZEROES, TRIM, a write whose payload was lost) costs one range however
 * long it is: it is filed under the granules, of the smallest power of two not
 * below its length, that it touches (two at most), and a look-up asks one
 * granule of each size class in use.
 *
 * Entries that no reader can need any more are dropped from a block when it
 * has too many of them; the entry that superseded them then carries a *shadow*
 * bit: readers for which it is in force lose nothing, all others learn that
 * something was forgotten here and do not judge.
 */
#ifndef NBDS_CONSISTENCY_CONTENTS_H
#define NBDS_CONSISTENCY_CONTENTS_H

#include "order.h"

#define BLOCK_SECTORS  8u
#define BLOCK_BYTES    (BLOCK_SECTORS * NBDS_SECTOR)
#define CANDIDATES_MAX 128u /* sources looked at for one sector */

struct entry {
	struct entry *next; /* older */
	struct nbds_op *op; /* a WRITE, or a READ that showed these values */
	uint8_t valued;     /* sectors with a value */
	uint8_t unknown;    /* sectors touched, with contents unknown */
	uint8_t full;       /* sectors covered wholly */
	bool coarse;        /* its values slept: only 32 bits are known of each */
	bool alone;         /* it superseded all older writes to the block */
	uint8_t shadow;     /* sectors where older entries were dropped for this one */
	uint8_t initial;    /* READ: sectors that it found as they were before the capture */
	uint64_t value[BLOCK_SECTORS];
};

struct block {
	struct block *chain;
	struct block *lru_prev, *lru_next;
	struct entry *entries; /* newest first */
	uint64_t number;       /* offset / BLOCK_BYTES */
	uint16_t count;
	uint16_t pins;     /* pending misses that need its entries */
	uint16_t prune_at; /* count at which it is pruned next */
	uint8_t cut;       /* sectors where something was forgotten for good */
	bool based;        /* made after forgetting: what was before `base` is unknown */
	struct nbds_point base;
};

enum range_kind {
	RANGE_ZERO,
	RANGE_TRIM,
	RANGE_HOLE,
	RANGE_UNKNOWN,
	RANGE_DAMAGE,
	RANGE_SEEN_ZERO
};

struct range {
	struct nbds_op *op;
	uint64_t start, end; /* bytes */
	uint8_t kind;
	bool shadow;
	uint8_t links; /* granules that file it */
};

struct link {
	struct link *next;
	struct range *range;
};

struct granule {
	struct granule *chain;
	uint64_t number;
	struct link *links; /* newest first */
	uint32_t count;
	uint8_t size_class;
	bool cut; /* something was forgotten */
	bool pinned;
};

struct contents {
	uint64_t zero_value; /* of a sector of zeroes */
	struct block **buckets;
	size_t bucket_count, block_count;
	struct block *found; /* that was looked for last */
	struct block lru;    /* list head: next is the oldest */
	struct granule **granules;
	size_t granule_buckets, granule_count;
	uint64_t classes; /* size classes in use */
	bool iterating;   /* over blocks: none may go to sleep */
	bool forgot;
	struct nbds_point forgot_at;
};

uint64_t sector_value(const uint8_t *bytes);
void contents_init(struct nbds_world *w);
void contents_free(struct nbds_world *w);
struct block *block_find(struct nbds_world *w, uint64_t number);
struct block *block_get(struct nbds_world *w, uint64_t number); /* NULL without memory */
/* A sector of a write, or seen by a read. Returns a write of the same bytes that is
 * in flight, or NULL. */
struct nbds_op *contents_sector(struct nbds_op *op, uint64_t sector, uint64_t value);
/* The latter; initial: no write was in force for it. */
void contents_seen(struct nbds_op *op, uint64_t sector, uint64_t value, bool initial);
/* A sector that a write covers only partly. Returns as contents_sector(). */
struct nbds_op *contents_partial(struct nbds_op *op, uint64_t sector);
/* What a command without data says of [start, end) bytes. Returns as contents_sector(). */
struct nbds_op *contents_range(struct nbds_op *op, uint64_t start, uint64_t end,
			       enum range_kind kind);
void contents_trim_memory(struct nbds_world *w);
/* Forgets contents until no more than `goal` bytes are kept, if it can. */
void contents_shrink(struct nbds_world *w, uint64_t goal);
void block_free(struct nbds_world *w, struct block *b);
void lru_remove(struct block *b);
void lru_append(struct nbds_world *w, struct block *b);
void forget_point(struct nbds_world *w, const struct nbds_point *hi);

/* What may have been the source of a sector's contents. */
struct candidate {
	struct nbds_op *op;
	uint64_t value;
	bool any;     /* value unknown */
	bool full;    /* covers the sector wholly */
	bool seen;    /* a read that showed it, not a write */
	bool hole;    /* a report of undefined contents, not a write */
	bool coarse;  /* 32 bits are known of the value */
	bool shadow;  /* it hides dropped ones */
	bool initial; /* seen: what was there before the capture, as was known then */
	uint8_t why;  /* enum nbds_unchecked, if `any` */
};
/* Candidates for a sector; false: too many, or something was forgotten. */
bool contents_gather(struct nbds_world *w, uint64_t sector, struct candidate *list, unsigned *count,
		     struct block **block);
/* Calls `each` for every block with data, written or seen, in [start, end) bytes. */
void contents_each_block(struct nbds_world *w, uint64_t start, uint64_t end,
			 void (*each)(void *arg, struct block *b), void *arg);

/* Does a command without data cover a part of the sector, and is newer than `by`, or
 * not superseded by it? (If `by` is a read, zeroes that were only seen count too.) */
bool contents_other_range(const struct nbds_world *w, uint64_t sector, const struct nbds_op *by);

#endif
