/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/ranges.h - what commands without data say of an export.
 *
 *     grid    ── (size class, granule) -> ranges    zeroes, trims, unknown
 *
 * A command that covers a range without carrying data (WRITE_ZEROES, TRIM, a write whose
 * payload was lost) costs one range however long it is: it is filed under the granules, of
 * the smallest power of two not below its length, that it touches (two at most), and a
 * look-up asks one granule of each size class in use.
 */
#ifndef NBDS_CONSISTENCY_RANGES_H
#define NBDS_CONSISTENCY_RANGES_H

#include "blocks.h"

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
	struct nbds_point hi; /* when it was seen, if it was; of a write: when it, or one whose
	                       * place it took, began */
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

struct ranges {
	uint32_t resizes; /* of those in it: nothing takes them out */
	struct granule **buckets;
	size_t bucket_count, count;
	uint64_t classes;       /* size classes in use */
	uint64_t pins;          /* misses so young that they may need all of them */
	bool overrun;           /* of a block there are too many for that, */
	uint64_t overrun_block; /* which is this one */
};

/* What a command says of [start, end) bytes; `hi`: when it was seen, if it was. Returns a
 * write of the same bytes that is in flight, or NULL. */
struct nbds_op *range_add(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
			  const struct nbds_point *hi, uint64_t lone_from);
/* Does a command without data cover a part of the sector, and is newer than `by`, or
 * not superseded by it? (If `by` is a read, zeroes that were only seen count too.) */
bool contents_other_range(const struct nbds_world *w, uint64_t sector, const struct nbds_op *by);
/* Those that have bytes of [start, end), into list[], some of them twice; *count of them.
 * False: there are more than `max`, or too many places to look at. */
bool ranges_near(const struct nbds_world *w, uint64_t start, uint64_t end,
		 const struct range **list, unsigned max, unsigned *count);
/* The size class of a range that is so long. */
unsigned range_class(uint64_t length);
void range_unlink(struct nbds_world *w, struct granule *g, struct link **at);
/* The ranges of a size class around a place, or NULL. */
struct granule *granule_find(const struct nbds_world *w, unsigned size_class, uint64_t number);
void ranges_free(struct nbds_world *w);

#endif
