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
 * An entry that is superseded for every reader still to come leaves for a grave (grave.h),
 * where only its value is kept.  Nothing is forgotten by count; when memory is short, old
 * values and bytes go first, then what is quiet, then whole blocks, oldest first: see
 * contents_shrink().
 */
#ifndef NBDS_CONSISTENCY_CONTENTS_H
#define NBDS_CONSISTENCY_CONTENTS_H

#include "grave.h"

#define BLOCK_SECTORS 8u
#define BLOCK_BYTES   (BLOCK_SECTORS * NBDS_SECTOR)
#define SAMPLES       4u /* bytes of a sector that its value has */

/* Bytes of one sector as they were written, or read. */
struct piece {
	uint32_t refs;
	uint16_t from, to; /* of the sector */
	uint16_t have;     /* of those; the others are still to come, or lost */
	uint8_t bytes[];
};

/* What few entries have. */
struct extra {
	struct piece *piece[BLOCK_SECTORS];
	struct nbds_point hi; /* a READ saw it, */
	uint64_t lone_from;   /* see struct miss */
	bool seen;            /* if it did */
};

#define NO_RING UINT32_MAX

struct entry {
	struct entry *next;  /* older */
	struct nbds_op *op;  /* a WRITE, or a READ that showed these values */
	uint8_t valued;      /* sectors with a value */
	uint8_t unknown;     /* sectors touched in part: see the piece */
	uint8_t full;        /* sectors covered wholly */
	bool coarse;         /* its values slept: only 32 bits are known of each */
	bool alone;          /* it superseded all older writes to the block */
	uint8_t initial;     /* READ: sectors that it found as they were before the capture */
	uint8_t ring_first;  /* sector whose bytes went to */
	uint32_t ring;       /* this place in the ring, in sectors; NO_RING: none */
	struct extra *extra; /* or NULL */
	uint64_t value[BLOCK_SECTORS];
};

struct block {
	struct block *chain;
	struct block *lru_prev, *lru_next;
	struct entry *entries; /* newest first */
	struct grave *graves;
	const struct nbds_op *written_last; /* only to be looked into while `entries` has it */
	uint64_t number;                    /* offset / BLOCK_BYTES */
	uint32_t count;
	uint32_t pins;     /* misses so young that their source may still come */
	uint32_t prune_at; /* count at which it is pruned next */
	bool tidy;         /* pruned since it was last touched */
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
	uint64_t start, end;  /* bytes */
	struct nbds_point hi; /* when it was seen, if it was */
	uint64_t lone_from;   /* see struct miss */
	uint8_t kind;
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
	uint32_t prune_at;
};

/* What may have been the source of a sector's contents. */
struct candidate {
	struct nbds_op *op;      /* NULL: many, of a */
	const struct grave *old; /* grave */
	uint64_t value;
	const uint8_t *bytes; /* [from, to), or NULL: not kept */
	struct piece *piece;  /* that holds them, or NULL */
	uint16_t from, to;    /* what it covers of the sector */
	bool valued;          /* `value` is that of the whole sector */
	bool any;             /* its contents are unknown */
	bool establishes;     /* puts its contents in force, if it is itself */
	bool seen;            /* a read that showed it, not a write */
	bool hole;            /* a report of undefined contents, not a write */
	bool damage;          /* leaves them undefined for ever */
	bool coarse;          /* 32 bits are known of the value */
	bool initial;         /* seen: what was there before the capture, as was known then */
	bool found;           /* `old`: the value in question is there, and was this: */
	struct old_write was;
	struct byte_set *set; /* `old`: bytes that they have, or NULL: not known of all */
	uint8_t why;          /* enum nbds_unchecked, if `any` */
	struct nbds_point hi; /* seen: then */
	uint64_t lone_from;   /* seen: see struct miss */
};

/* What contents_gather() found, until it is called again. */
struct gathered {
	struct candidate *list; /* older ones first */
	size_t count, room;
	const struct nbds_point *base; /* what was answered before is forgotten, or NULL */
	bool shadow;                   /* something was forgotten that may matter */
};

/* See contents.c. */
struct ring {
	uint8_t *bytes;
	uint64_t size, full; /* what it is now, and will be */
	uint64_t end;        /* bytes that were ever put in, from a multiple of the size on */
	bool failed;
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
	uint64_t pins;    /* misses so young that they may need all ranges */
	bool iterating;   /* over blocks: none may go to sleep */
	bool forgot;
	struct nbds_point forgot_at;
	struct ring ring;
	struct gathered gathered;
	uint64_t trim_at; /* bytes of memory: less is not worth another attempt to shrink */
};

uint64_t sector_value(const uint8_t *bytes);
void contents_init(struct nbds_world *w);
void contents_free(struct nbds_world *w);
struct block *block_find(struct nbds_world *w, uint64_t number);
struct block *block_get(struct nbds_world *w, uint64_t number); /* NULL without memory */
/* A sector of a write; bytes: its 512, or NULL. Returns a write of the same bytes that is
 * in flight, or NULL. */
struct nbds_op *contents_sector(struct nbds_op *op, uint64_t sector, uint64_t value,
				const uint8_t *bytes);
/* A sector that a read saw, at hi; initial: no write was in force for it. */
void contents_seen(struct nbds_op *op, uint64_t sector, uint64_t value, const uint8_t *bytes,
		   bool initial, const struct nbds_point *hi, uint64_t lone_from);
/* Bytes [at, at + len) of a sector of which a write covers [from, to) only. Returns as
 * contents_sector(). */
struct nbds_op *contents_partial(struct nbds_op *op, uint64_t sector, unsigned from, unsigned to,
				 unsigned at, const uint8_t *bytes, unsigned len);
/* Place of the i-th sampled byte of a sector. */
unsigned sample_at(unsigned i);
void piece_unref(struct nbds_world *w, struct piece *p);
void entry_free(struct nbds_world *w, struct entry *e);
/* What a command without data says of [start, end) bytes. Returns as contents_sector(). */
struct nbds_op *contents_range(struct nbds_op *op, uint64_t start, uint64_t end,
			       enum range_kind kind, const struct nbds_point *hi,
			       uint64_t lone_from);
/* A block that was not used for long: only what may be needed stays. */
void contents_tidy(struct nbds_world *w, struct block *b);
void contents_trim_memory(struct nbds_world *w);
/* Forgets contents until no more than `goal` bytes are kept, if it can. */
void contents_shrink(struct nbds_world *w, uint64_t goal);
void block_free(struct nbds_world *w, struct block *b);
void lru_remove(struct block *b);
void lru_append(struct nbds_world *w, struct block *b);
void forget_point(struct nbds_world *w, const struct nbds_point *hi);

/* Into contents.gathered: who may have left its data in a sector. `value`: what to look for
 * among old ones. False: without memory. */
bool contents_gather(struct nbds_world *w, uint64_t sector, uint64_t value);
/* Calls `each` for every block with data, written or seen, in [start, end) bytes. */
void contents_each_block(struct nbds_world *w, uint64_t start, uint64_t end,
			 void (*each)(void *arg, struct block *b), void *arg);

/* Does a command without data cover a part of the sector, and is newer than `by`, or
 * not superseded by it? (If `by` is a read, zeroes that were only seen count too.) */
bool contents_other_range(const struct nbds_world *w, uint64_t sector, const struct nbds_op *by);

#endif
