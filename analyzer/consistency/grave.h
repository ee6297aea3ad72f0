/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/grave.h - values that were superseded, and little else of them.
 *
 * A write that another one supersedes leaves the block's list of entries for one of its
 * graves once no reader that is still to come can need to know when it was done:
 *
 *	block ── grave: superseded by a flushed write     9 to 16 bytes an old sector:
 *	      ── grave: ... by one with FUA                  value | frame | connection
 *	      ── grave: ... by the same connection's own
 *
 * All in one grave have the same relation to every reader and every write that comes
 * after them, so the grave is weighed as if it were one command: who superseded them
 * (`party`, or all), what they were (`fua`), and the latest instant at which any of
 * their successors was answered (`hi`).  They are dead for those readers for whom the
 * successors are in force, and sources like any other for all others.
 *
 *	recent  [ . . . . ]                unsorted, up to 32
 *	runs    [....] [........] [........|........|........]
 *	                          chunks of 256
 *
 * Old values are in sorted runs, merged when two have one size: finding one among n is
 * O(log^2 n), putting one in O(log n), and nothing is kept but the values.  Runs are packed
 * in chunks, and a chunk is freed as soon as it is merged, so that merging takes no room.
 * Equal values of a sector are kept once, with the newest command.
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
	uint32_t sector; /* of the block */
};

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

/* Which bytes the old values of one sector have, at each place: where they are sources like
 * any other, a mixture of them may have been read. */
struct byte_set {
	uint32_t refs;
	uint32_t values; /* old ones whose bytes were put in */
	uint64_t has[NBDS_SECTOR][256 / 64];
};

struct grave {
	struct grave *next;
	struct xport *xport;
	struct nbds_party *party;  /* each was superseded by its own connection, this one; or
	                           * NULL: by writes that are in force for all */
	bool fua;                  /* all carried FUA that counts */
	bool mc;                   /* all are of connections with CAN_MULTI_CONN */
	bool flushed;              /* a flush has put the successors in force, */
	struct nbds_point visible; /* at this instant at the latest */
	struct nbds_point hi;      /* the successors were answered */
	uint32_t flushes;          /* requests for flushes that came before that */
	uint32_t born;             /* failures known when the newest was put in */
	uint32_t epoch;
	struct grave_item *recent;
	uint8_t recent_count, recent_room;
	struct grave_run *runs; /* smallest first */
	uint64_t count;
	bool lost; /* there were others, which are forgotten */
	/* `party` only: complete as long as no value was put in without its bytes */
	struct byte_set *bytes[8];
	uint8_t incomplete; /* sectors that are not */
};

/* Superseded by `by`; the list is a block's. `bytes`: the 512, or NULL. False without
 * memory. */
bool grave_put(struct grave **list, const struct nbds_op *old, const struct nbds_op *by,
	       const struct nbds_op *flush, unsigned sector, uint64_t value, const uint8_t *bytes);
/* Is a value of this sector in it? */
bool grave_find(const struct grave *g, unsigned sector, uint64_t value, struct old_write *was);
/* Bytes that old values have of a sector, or NULL: not known of all. */
const struct byte_set *grave_bytes(const struct grave *g, unsigned sector);
void byte_set_unref(struct nbds_world *w, struct byte_set *s);
/* Does it hold anything of this sector? */
bool grave_has(const struct grave *g, unsigned sector);
/* Est(any of them, c), and Est(its successors, c), which was over at hi: PATH_* bits. */
unsigned grave_paths(const struct grave *g, const struct nbds_op *c);
unsigned grave_self(const struct grave *g, const struct nbds_op *c, const struct nbds_point *hi);
/* Frees the list, and tells how many old values are gone. */
uint64_t graves_free(struct nbds_world *w, struct grave **list);
/* The same of those alone whose successors are in force for all, whatever fails yet. Where
 * some readers are not among these, that something was there is still known. */
uint64_t graves_thin(struct nbds_world *w, struct grave **list);

/* Packs what is recent. */
void graves_pack(struct nbds_world *w, struct grave *list);

/* How strongly a write is in force for others: a flush, FUA, or not at all. *flush: that of
 * the first. */
enum strength { STRENGTH_OWN, STRENGTH_FUA, STRENGTH_FLUSH };
enum strength strength_of(const struct nbds_op *op, const struct nbds_op **flush);

#endif
