/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/contents.h - which commands may have left their data in
 * which sectors.
 *
 *     contents   written, looked up, given up when memory is short
 *     quiet      blocks that sleep
 *     bury       what is superseded leaves for a grave
 *     ranges     what commands without data say
 *     blocks     data as it was written, and read
 *
 * Nothing is forgotten by count; when memory is short, old values and bytes go first, then
 * what is quiet, then whole blocks, oldest first: see contents_shrink().
 */
#ifndef NBDS_CONSISTENCY_CONTENTS_H
#define NBDS_CONSISTENCY_CONTENTS_H

#include "quiet.h"

/* What may have been the source of a sector's contents. */
struct candidate {
	struct nbds_op *op; /* NULL: many of a grave, */
	struct nbds_op *by; /* which this one superseded, and stands for */
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
	bool found;           /* `by`: the value in question is there, and was this: */
	struct old_write was;
	struct byte_set *set; /* `by`: bytes that they have, or NULL: not known of all */
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

/* The first bytes of a block whose others are still to come. Nothing is told in between: what
 * is there is put in its place before anything else is. */
struct assembly {
	struct nbds_op *op;
	bool read;
	uint64_t offset; /* of its first byte, in the export */
	uint32_t have;
	struct nbds_point seen[BLOCK_SECTORS]; /* read: when each sector was complete */
	uint8_t bytes[BLOCK_BYTES];
};

struct contents {
	struct gathered gathered;
	struct assembly *assembly; /* NULL: none was needed so far */
	bool assembling;           /* there is something in it */
	uint64_t shrunk_at;        /* flushes when it was shrunk last */
	uint64_t trim_at; /* bytes of memory: less is not worth another attempt to shrink */
};

/* A sector of a write; bytes: its 512, or NULL. Returns a write of the same bytes that is
 * in flight, or NULL. */
struct nbds_op *contents_sector(struct nbds_op *op, uint64_t sector, uint64_t value,
				const uint8_t *bytes);
/* The same of all sectors of a block. */
struct nbds_op *contents_block(struct nbds_op *op, uint64_t block,
			       const uint64_t values[BLOCK_SECTORS], const uint8_t *bytes);
/* What a read saw was one of several outcomes, or some, or all of it, what was there before
 * the capture. */
enum seen_as { SEEN_OUTCOME, SEEN_PARTLY, SEEN_INITIAL };
/* A sector that a read saw, at hi; `old`: which of its bytes were there before. */
void contents_seen(struct nbds_op *op, uint64_t sector, uint64_t value, const uint8_t *bytes,
		   enum seen_as as, const struct mask *old, const struct nbds_point *hi,
		   uint64_t lone_from);
/* The same of all sectors of a block, as they were before the capture. */
void contents_seen_block(struct nbds_op *op, uint64_t block, const uint64_t values[BLOCK_SECTORS],
			 const uint8_t *bytes, const struct nbds_point *hi);
/* The same of bytes [from, to) of a sector, which may be one piece of several. */
void contents_seen_part(struct nbds_op *op, uint64_t sector, unsigned from, unsigned to,
			const uint8_t *bytes, enum seen_as as, const struct mask *old,
			const struct nbds_point *hi, uint64_t lone_from);
/* Bytes [at, at + len) of a sector of which a write covers [from, to) only. Returns as
 * contents_sector(). */
struct nbds_op *contents_partial(struct nbds_op *op, uint64_t sector, unsigned from, unsigned to,
				 unsigned at, const uint8_t *bytes, unsigned len);
/* What a command without data says of [start, end) bytes; `hi`: when it was seen, if it was.
 * Returns as contents_sector(). */
struct nbds_op *contents_range(struct nbds_op *op, uint64_t start, uint64_t end,
			       enum range_kind kind, const struct nbds_point *hi,
			       uint64_t lone_from);
/* The same of what block status says, in the order of the reply. */
void contents_told(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
		   const struct nbds_point *hi, uint64_t lone_from);
/* Nothing was written to [start, end) bytes so far. (False also if that is too much to ask.) */
bool contents_unwritten(const struct nbds_world *w, uint64_t start, uint64_t end);
/* Into contents.gathered: who may have left its data in a sector. `value`: what to look for
 * among old ones. False: without memory. */
bool contents_gather(struct nbds_world *w, uint64_t sector, uint64_t value);
/* A write. */
struct placement {
	uint64_t sector;
	uint64_t frame; /* of its request */
	uint32_t connection;
};
/* One that put this value elsewhere than to `sector`, where it is not superseded; false: none is
 * known. */
bool contents_elsewhere(struct nbds_world *w, uint64_t sector, uint64_t value,
			struct placement *at);
/* Calls `each` for every block with data, written or seen, in [start, end) bytes. */
void contents_each_block(struct nbds_world *w, uint64_t start, uint64_t end,
			 void (*each)(void *arg, struct block *b), void *arg);
/* If there is too much: gives up until there is room. */
void contents_trim_memory(struct nbds_world *w);
/* Forgets contents until no more than `goal` bytes are kept, if it can. */
void contents_shrink(struct nbds_world *w, uint64_t goal);
/* The order of capture turned out to be trusted too far. What was buried, or is gone, as it was
 * superseded by that order, may not be: it is as if it were forgotten. */
void contents_distrust(struct nbds_world *w);
void contents_free(struct nbds_world *w);

#endif
