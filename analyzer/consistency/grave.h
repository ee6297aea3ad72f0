/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/grave.h - values that were superseded, and little else of them.
 *
 * A write that another one supersedes leaves the block's list of entries for one of its
 * graves once that other one stands for it (bury.h): from then on it is superseded if and
 * only if that one is in force, or is superseded itself.  So nothing else is kept of it
 * than its value, and who stands for it, which is an entry of the block: when that is
 * buried too, its own successor takes its place.
 *
 *	block ── grave: of each sector, who stands for all of     9 to 16 bytes an old
 *	      ── grave: its old values here                       sector: value | frame | connection
 *
 *	blocks  [8 values] [8 values]      of writes of the whole block, unsorted, up to 32
 *	recent  [ . . . . ]                of sectors, unsorted, up to 32
 *	runs    [....] [........] [........|........|........]
 *	                          chunks of 256
 *
 * Old values are in sorted runs, merged when two have one size: finding one among n is
 * O(log^2 n), putting one in O(log n), and nothing is kept but the values.  Runs are packed
 * in chunks, and a chunk is freed as soon as it is merged, so that merging takes no room.
 * Equal values of a sector are kept once, with the newest command.
 * Most blocks are written as a whole, and a few times: then all values of a write are kept
 * together as they are, which takes less than sorting them.
 */
#ifndef NBDS_CONSISTENCY_GRAVE_H
#define NBDS_CONSISTENCY_GRAVE_H

#include "paths.h"

/* Bytes of sectors that are kept as they were, as a share of the memory. */
#define PIECE_SHARE 16u

/* What is left of a write that only a grave knows. */
struct old_write {
	uint64_t frame; /* of its request; 0: none */
	uint32_t connection;
	uint16_t type;
};

struct grave_item {
	uint64_t value;
	uint64_t frame; /* of the request */
	uint32_t connection;
	uint32_t sector; /* of the block; with GRAVE_COARSE if 32 bits are known of the value */
};

#define GRAVE_COARSE 8u

/* Items in order of sector and value, in as few bytes as they take: what is the least of
 * each number, and by how much each item has more. */
struct grave_chunk {
	uint64_t value, frame;
	uint64_t who; /* connection and sector */
	uint16_t count;
	uint8_t value_bytes, frame_bytes, who_bytes;
	uint8_t items[];
};

struct grave_run {
	struct grave_run *next; /* a larger one */
	uint64_t count;
	uint32_t chunks, room;
	struct grave_chunk *chunk[]; /* in order, full but for the last one */
};

/* A write of all sectors of the block. */
struct grave_block {
	uint64_t value[BLOCK_SECTORS];
	uint64_t frame : 40; /* of the request */
	uint64_t connection : 23;
	uint64_t coarse : 1; /* 32 bits are known of each value */
};

/* What has greater numbers is kept sector by sector. */
#define GRAVE_FRAME      ((UINT64_C(1) << 40) - 1)
#define GRAVE_CONNECTION ((UINT64_C(1) << 23) - 1)

struct grave_blocks {
	struct grave_blocks *next; /* older ones */
	uint8_t count, room;
	struct grave_block list[];
};

/* Which bytes the old values of one sector have, at each place: a mixture of them may have
 * been read. */
struct byte_set {
	uint32_t refs;
	uint64_t has[NBDS_SECTOR][256 / 64];
};

struct grave {
	struct grave *next;
	struct nbds_op *by[BLOCK_SECTORS]; /* NULL: none of that sector is in it */
	struct grave_blocks *blocks;       /* newest first */
	struct grave_item *recent;
	struct grave_run *runs; /* smallest first */
	uint64_t count;         /* of values */
	struct byte_set **sets; /* of each sector, or NULL: complete as long as nothing came
	                         * without bytes */
	uint8_t recent_count, recent_room;
	uint8_t blocks_count;
	uint8_t incomplete; /* sectors of which they are not complete */
	uint8_t coarse;     /* sectors that have such values */
};

/* One that is superseded in a sector of the block. */
struct grave_value {
	const struct nbds_op *op;
	unsigned sector;
	bool valued; /* `value` is that of the whole sector, */
	bool coarse; /* as it is known after it slept */
	uint64_t value;
	const uint8_t *bytes; /* [from, to) of it, or NULL */
	unsigned from, to;
};

/* What is known of a value after its block slept (quiet.c). */
static inline uint64_t coarse_value(uint64_t value)
{
	return (value & UINT64_C(0xff) << 32) | (value & 0xffffff);
}

/* Superseded by `by`; the list is a block's. False without memory, or if it is not known of
 * all old ones which bytes they have, and this is known by its bytes alone. */
bool grave_put(struct grave **list, const struct grave_value *v, struct nbds_op *by);
/* The same of all sectors of a block, whose values are `value`, and of which no bytes are known;
 * all of them are superseded by `by`. */
bool grave_put_block(struct grave **list, const struct nbds_op *op,
		     const uint64_t value[BLOCK_SECTORS], bool coarse, struct nbds_op *by);
/* `by` stands for all that `old` stood for in the sector. */
void graves_succeed(struct grave *list, unsigned sector, struct nbds_op *old, struct nbds_op *by);
/* The same in all sectors. */
void graves_succeed_block(struct grave *list, struct nbds_op *old, struct nbds_op *by);
/* What is in a list that has values of whole blocks alone, which `by` stands for; NULL: there is
 * anything else in it. */
struct grave *graves_plain(struct grave *list, const struct nbds_op *by);
/* Those values, *count writes, are the caller's; the list is gone. */
struct grave_blocks *graves_take(struct nbds_world *w, struct grave **list, uint8_t *count);
/* ... and go into an empty list. False without memory: they are still the caller's. */
bool graves_give(struct grave **list, struct grave_blocks *blocks, uint8_t count,
		 struct nbds_op *by);
void grave_blocks_free(struct nbds_world *w, struct grave_blocks *blocks);
/* Puts those into one that can be. */
void graves_join(struct nbds_world *w, struct grave **list);
/* Is a value of this sector in it? */
bool grave_find(const struct grave *g, unsigned sector, uint64_t value, struct old_write *was);
/* Bytes that old values have of a sector, or NULL: not known of all. */
struct byte_set *grave_bytes(const struct grave *g, unsigned sector);
void byte_set_unref(struct nbds_world *w, struct byte_set *s);
/* Frees the list, and tells how many old values are gone. */
uint64_t graves_free(struct nbds_world *w, struct grave **list);
/* The same of those alone whose successors are in force for all, whatever fails yet. Where
 * some readers are not among these, that something was there is still known. */
uint64_t graves_thin(struct nbds_world *w, struct grave **list);

/* Packs what is recent. */
void graves_pack(struct nbds_world *w, struct grave *list);

/* Nothing is held back that may be a reader from before this was answered: for such a one
 * nothing else tells what was there, once it leaves no trace. (One that is in a grave is still
 * possible for whoever came before its successor.) */
bool none_held(const struct nbds_world *w, const struct nbds_op *op);
/* No reader that came before it will be told of any more, and nothing drops it. */
bool over_for_all(const struct nbds_op *by);
/* What `by` superseded will be in nobody's way any more, whoever reads and whatever fails:
 * it may be gone without a trace. */
bool gone_for_all(const struct nbds_world *w, const struct nbds_op *by);

/* How strongly a write is in force for others: a flush, FUA, or not at all. *flush: that of
 * the first. */
enum strength { STRENGTH_OWN, STRENGTH_FUA, STRENGTH_FLUSH };
enum strength strength_of(const struct nbds_op *op, const struct nbds_op **flush);

#endif
