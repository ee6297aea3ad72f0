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
 *
 * A reply to a question for block status may say so of very many ranges.  Those that are
 * near each other share one: its runs.  They lie in one granule, whose size class follows
 * from how near they are.
 *
 *     [   run  run run    run run  ]    up to 256, in order
 *     granule of the grid
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

struct run {
	uint64_t start, end; /* bytes */
};

struct range {
	struct nbds_op *op;
	uint64_t start, end;  /* bytes */
	struct run *runs;     /* those of them that it is of, in order; NULL: all */
	struct nbds_point hi; /* when it was seen, if it was; of a write: when it, or one whose
	                       * place it took, began */
	uint64_t lone_from;   /* see struct miss */
	uint16_t run_count, run_room;
	uint8_t kind;
	uint8_t links; /* granules that file it */
	bool initial;  /* RANGE_SEEN_ZERO of a READ: nothing had been written there before */
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

/* A range that more runs may be put into. */
struct open_range {
	struct range *range;
	uint64_t window; /* where its granule ends */
	/* of the next one of the same command: */
	unsigned size_class;
	unsigned room; /* for runs */
};

struct ranges {
	uint32_t resizes; /* of those in it: nothing takes them out */
	struct granule **buckets;
	size_t bucket_count, count;
	uint64_t classes; /* size classes in use */
	struct open_range open[2];
	uint64_t pins;          /* misses so young that they may need all of them */
	uint64_t wanted;        /* misses that may need zeroes written since */
	bool overrun;           /* of a block there are too many for that, */
	uint64_t overrun_block; /* which is this one */
};

/* What a command says of [start, end) bytes; `hi`: when it was seen, if it was. Returns a
 * write of the same bytes that is in flight, or NULL. */
struct nbds_op *range_add(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
			  const struct nbds_point *hi, uint64_t lone_from);
/* The same of what block status says (RANGE_HOLE or RANGE_SEEN_ZERO), told in the order of the
 * reply; ranges_resume() says what it is that goes on. True: it is in a granule that had none
 * of it. */
void ranges_resume(const struct nbds_op *op, const struct nbds_point *hi, uint64_t lone_from);
bool range_told(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
		const struct nbds_point *hi, uint64_t lone_from);
/* The quick answer, for nearly all of many: it is one more run, and there is room for it. False:
 * see range_told(). `start` is less than `end`. */
static inline bool range_told_next(struct open_range *o, uint64_t start, uint64_t end)
{
	struct range *r = o->range;

	if (!r || start <= r->end || end > o->window || r->run_count == r->run_room)
		return false;
	r->runs[r->run_count++] = (struct run){start, end};
	r->end = end;
	return true;
}
/* The first run of the range that ends after `at`, and all of it if it has none; NULL: there
 * is none. `whole` is where it is put then. */
const struct run *range_run(const struct range *r, uint64_t at, struct run *whole);
/* The one after it, or NULL. */
const struct run *range_next(const struct range *r, const struct run *run);
/* Is all of r in n? */
bool range_within(const struct range *r, const struct range *n);
/* Does a command without data cover a part of the sector, and is newer than `by`, or
 * not superseded by it? (If `by` is a read, zeroes that were only seen count too.) */
bool contents_other_range(const struct nbds_world *w, uint64_t sector, const struct nbds_op *by);
/* Calls `each` for all that have bytes of [start, end), which are one sector's. */
void ranges_at(const struct nbds_world *w, uint64_t start, uint64_t end,
	       void (*each)(void *arg, const struct range *r), void *arg);
/* Writes that have bytes of [start, end), into list[], some of them twice; *count of them.
 * False: there are more than `max`, or too many places to look at. */
bool ranges_near(const struct nbds_world *w, uint64_t start, uint64_t end,
		 const struct range **list, unsigned max, unsigned *count);
/* The newest range, if it is this one; or NULL. */
struct range *range_newest(const struct nbds_world *w, const struct nbds_op *op, uint64_t start,
			   uint64_t end);
/* The size class of a range that is so long. */
unsigned range_class(uint64_t length);
void range_unlink(struct nbds_world *w, struct granule *g, struct link **at);
/* The ranges of a size class around a place, or NULL. */
struct granule *granule_find(const struct nbds_world *w, unsigned size_class, uint64_t number);
void ranges_free(struct nbds_world *w);

#endif
