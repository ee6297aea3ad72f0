/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/blocks.h - sectors as they were written, and read.
 *
 *     hash of 4 KiB block number         contents, newest first
 *        entry(op W2: 8 values) -> entry(op W1) -> ...
 *                 │
 *                 ├ its bytes in the ring of what was written last, and which of those
 *                 │ are wanted
 *                 └ extra: the latter, once newer ones take their place in the ring
 *
 * Data that was on the wire is kept here, so blocks are bounded by the bytes captured.
 */
#ifndef NBDS_CONSISTENCY_BLOCKS_H
#define NBDS_CONSISTENCY_BLOCKS_H

#include "grave.h"

#define BLOCK_BYTES (BLOCK_SECTORS * NBDS_SECTOR)
#define SAMPLES     4u /* bytes of a sector that its value has */
/* Of more blocks than these that are awake none need be old to fall asleep, and those that were
 * not used for longest are known by their values. */
#ifndef BLOCKS_MANY
#define BLOCKS_MANY 4096u
#endif

/* Bytes of a sector, one bit each. */
struct mask {
	uint64_t bits[NBDS_SECTOR / 64];
};

/* Bytes of one sector as they were written, or read. */
struct piece {
	uint32_t refs;
	uint16_t from, to; /* of the sector */
	uint16_t have;     /* of those; the others are still to come, or lost */
	bool marked;       /* with a mask behind the bytes: see piece_old() */
	uint8_t bytes[];
};

/* What few entries have. */
struct extra {
	struct piece *piece[BLOCK_SECTORS];
	struct nbds_point hi;          /* a READ saw it, */
	uint32_t alone[BLOCK_SECTORS]; /* ... and so many serials before it is lone_from (struct
	                                * miss); 0: nobody was alone */
	uint8_t seen;                  /* sectors where it did */
};

struct entry {
	struct entry *next; /* older */
	struct nbds_op *op; /* a WRITE, or a READ that showed these values */
	uint8_t valued;     /* sectors with a value */
	uint8_t unknown;    /* sectors touched in part: see the piece */
	uint8_t full;       /* sectors covered wholly */
	uint8_t initial;    /* READ: sectors that it found as they were before the capture, */
	uint8_t wholly;     /* and not only some of their bytes */
	uint8_t held;       /* sectors whose bytes went to the ring: see there */
	uint8_t wanted;     /* of those: sectors whose bytes are to be kept */
	uint8_t kept;       /* sectors whose bytes, or some of them, are in extra */
	uint64_t ring : 56; /* number of the place of ring_first, if it is held; and so on */
	uint64_t ring_first : 3;
	bool coarse : 1;     /* its values slept: only 32 bits are known of each */
	bool alone : 1;      /* it superseded all older writes to the block */
	struct extra *extra; /* or NULL */
	uint64_t value[BLOCK_SECTORS];
};

struct block {
	struct block *chain;
	struct block *lru_prev, *lru_next;
	struct entry *entries; /* newest first */
	struct grave *graves;
	uint64_t number; /* offset / BLOCK_BYTES */
	uint32_t count;
	uint32_t pins;     /* misses so young that their source may still come */
	uint32_t prune_at; /* count at which it is pruned next */
	bool tidy;         /* pruned since it was last touched */
	bool swept;        /* looked at since then, and it cannot sleep as it is */
	uint8_t cut;       /* sectors where something was forgotten for good */
	bool based;        /* made after forgetting: what was before `base` is unknown */
	struct nbds_point base;
};

/* The sectors that were written last, one after the other, and around. */
struct ring {
	uint8_t *bytes;
	struct entry **wanted; /* by the place of its first sector, if it wants any; or NULL */
	uint32_t size;         /* sectors */
	uint32_t full, most;   /* what it will be; and can be, if that is too few */
	uint32_t next;         /* place of the next one; it may be the size */
	uint32_t filled;       /* those before it, around, that are there */
	uint64_t end;          /* number of the next one: of all that ever came */
	bool failed;
};

/* When the first writes began of those to a block that are known by their values alone, or not
 * at all any more: for exports that may be the device of another port's (kin.h). */
struct begun {
	struct nbds_table_node node; /* by the block's number */
	uint64_t number;
	uint8_t sectors; /* that there are any of */
	struct nbds_point lo[BLOCK_SECTORS];
};

struct blocks {
	struct nbds_table begun;
	bool begun_lost; /* without memory for all of them */
	struct block **buckets;
	size_t bucket_count, count;
	struct block *found; /* that was looked for last */
	struct block lru;    /* list head: next is the oldest */
	struct block *sweep; /* the oldest that is not swept, or the head */
	size_t unswept;
	size_t deep;                 /* blocks that sleep with old versions: quiet.h */
	bool iterating;              /* over them: none may go to sleep */
	bool forgot;                 /* some are forgotten, */
	struct nbds_point forgot_at; /* which were answered until then */
	struct ring ring;
};

void blocks_init(struct nbds_world *w);
void blocks_free(struct nbds_world *w);

uint64_t sector_value(const uint8_t *bytes);
/* The same of all sectors of a block. */
void block_values(const uint8_t *bytes, uint64_t values[BLOCK_SECTORS]);
/* Place of the i-th sampled byte of a sector. */
unsigned sample_at(unsigned i);

/* NULL: there is none. */
struct block *block_find(struct nbds_world *w, uint64_t number);
/* It is looked for soon: brings it nearer; and then what is needed of it. */
void block_soon(const struct nbds_world *w, uint64_t number);
void block_near(struct nbds_world *w, uint64_t number);
/* One that there is not yet; NULL without memory. */
struct block *block_make(struct nbds_world *w, uint64_t number);
void block_free(struct nbds_world *w, struct block *b);
/* The list by last use; all that are swept come before those that are not. */
void lru_remove(struct nbds_world *w, struct block *b);
void lru_append(struct nbds_world *w, struct block *b);
/* The oldest that is not swept, is. */
void lru_swept(struct nbds_world *w);
/* A command that was answered at `hi` is forgotten. */
void forget_point(struct nbds_world *w, const struct nbds_point *hi);
/* So many blocks, or old versions, of `blocks` blocks from `first` on are forgotten. */
void forget_range(struct nbds_world *w, uint64_t first, uint64_t blocks, uint64_t forgotten,
		  uint64_t versions);

/* op, a write of the sector, is forgotten, but for its value perhaps; it, or what it had taken
 * the place of, began at `lo`. */
void begun_note(const struct nbds_op *op, const struct nbds_point *lo, uint64_t sector);
/* Is it of interest when it began? */
bool begun_matters(const struct nbds_op *op);
/* The first of those began then; NULL: there is none. */
const struct nbds_point *begun_first(const struct nbds_world *w, uint64_t sector);

void entry_free(struct nbds_world *w, struct entry *e);
/* Out of its block, and freed. */
void entry_remove(struct nbds_world *w, struct block *b, struct entry **at);
/* The bytes of these sectors matter from now on: those that are in the ring still are counted as
 * kept, and are rescued when newer ones take their place. */
void entry_want(struct nbds_world *w, struct entry *e, uint8_t sectors);
/* They do not matter any more. */
void entry_unwant(struct nbds_world *w, struct entry *e, uint8_t sectors);
/* Keeps the bytes of the entry's sector i, if they are in the ring still. */
void entry_rescue(struct nbds_world *w, struct entry *e, unsigned i);

/* A READ's, not a write's. */
static inline bool is_seen(const struct entry *e)
{
	return e->op->type == NBD_CMD_READ;
}

/* Its sector i has this value, as far as is known. */
static inline bool entry_shows(const struct entry *e, unsigned i, uint64_t value)
{
	return (e->valued >> i & 1) && !(e->unknown >> i & 1) &&
	       e->value[i] == (e->coarse ? coarse_value(value) : value);
}

/* The bytes of so many sectors of the entry, from the i-th on, into the ring; NULL: they are not
 * known, whatever is there. */
void ring_put(struct nbds_world *w, struct entry *e, unsigned i, unsigned sectors,
	      const uint8_t *bytes);
/* Those of sector i, until something is put into the ring; NULL: they are not there. */
const uint8_t *ring_bytes(const struct nbds_world *w, const struct entry *e, unsigned i);
/* Those of a read that it found as they were before the capture; false: not kept. */
bool piece_old(const struct piece *p, struct mask *old);
/* Those of `old` are such. */
void piece_mark(struct piece *p, const struct mask *old);
void piece_unref(struct nbds_world *w, struct piece *p);
/* The entry's extra, made now if it has none; NULL without memory. */
struct extra *extra_get(struct nbds_world *w, struct entry *e);
/* What is kept of the bytes of the entry's sector i, or NULL. */
struct piece *piece_kept(struct nbds_world *w, struct entry *e, unsigned i);
/* A new piece there, where nothing was kept, of bytes [from, to) of the sector; `bytes` may be
 * NULL: still to come. NULL without memory. */
struct piece *piece_begin(struct nbds_world *w, struct entry *e, unsigned i, unsigned from,
			  unsigned to, const uint8_t *bytes, bool marked);
/* They are not kept any more. */
void piece_drop(struct nbds_world *w, struct entry *e, unsigned i);
/* The entry's extra, if there is nothing in it. */
void extra_drop(struct nbds_world *w, struct entry *e);

#endif
