/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/recall.h - what many chains did lately, in one ring of bytes.
 *
 * Purpose.  Each of many owners (a direction of a connection) appends records with
 * growing keys (stream offsets) and may ask for a record by its key later, as long
 * as newer ones of anybody have not overwritten it.  However many owners there are,
 * memory is that of the ring, and an owner keeps eight bytes: where its newest
 * record is.  Nothing is ever freed or moved.
 *
 *	ring  ··· a1 b1 a2 ··· b7 a9 b8 a10 ▲ (oldest) ···
 *	                 └───────── a9 ◄─┘  end
 *
 *	records of one owner:  1 ◄─ 2 ◄─ 3 ◄─ 4 ◄─ 5 ◄─ 6 ◄─ 7 ◄─ 8     previous
 *	                       ◄────────────┴──────── 7               jump
 *
 * A record's jump goes back over as many records as two equal jumps before it
 * together, if there are such (skew-binary numbers): so a search by key takes
 * O(log n) steps although records only know older ones.
 *
 * Ownership.  The ring belongs to whoever made it; an owner starts with a chain of
 * 0 and simply forgets it.  A record is valid until the next one is added.
 * Failure.  Without memory, and for records larger than a quarter of the ring,
 * nothing is added, and the owner forgets all before: what is remembered has no
 * holes but those that the keys show.
 *
 * Example.
 *	struct nbds_recall_record *r = nbds_recall_add(&ring, &chain, offset, size);
 *	if (r)
 *		memcpy(r + 1, bytes, size);
 *	...
 *	r = nbds_recall_find(&ring, chain, offset, &forgotten);
 */
#ifndef NBDSCOPE_BASE_RECALL_H
#define NBDSCOPE_BASE_RECALL_H

#include <base/assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct nbds_recall {
	uint64_t size; /* of the ring, a power of two */
	uint64_t room; /* how much of it there is yet: it grows as it is filled the first time */
	uint64_t end;  /* a position: bytes ever used, and those passed over */
	uint8_t *bytes;
};

/* Followed by the record's bytes. Positions only grow; 0 is none: the chain begins. */
struct nbds_recall_record {
	uint64_t key;
	uint64_t previous, jump;
	uint32_t depth, jump_depth; /* of the record, and of the one that jump leads to */
};

#define NBDS_RECALL_ALIGN 16u

/* A position that no record has: what was there is forgotten. */
#define NBDS_RECALL_FORGOTTEN 1u

/* `size` is rounded down to a power of two, and is at least 4 KiB. */
static inline void nbds_recall_init(struct nbds_recall *r, uint64_t size)
{
	r->size = 4096;
	while (r->size <= size / 2)
		r->size *= 2;
	r->end = NBDS_RECALL_ALIGN;
	r->room = 0;
	r->bytes = NULL;
}

static inline void nbds_recall_free(struct nbds_recall *r)
{
	free(r->bytes);
	r->room = 0;
	r->bytes = NULL;
}

static inline struct nbds_recall_record *nbds_recall_at(const struct nbds_recall *r, uint64_t at)
{
	if (at < NBDS_RECALL_ALIGN || r->end - at > r->size)
		return NULL;
	return (struct nbds_recall_record *)(void *)(r->bytes + (at & (r->size - 1)));
}

/* The position of a valid record. */
static inline uint64_t nbds_recall_place(const struct nbds_recall *r,
					 const struct nbds_recall_record *record)
{
	uint64_t at = (uint64_t)((const uint8_t *)(const void *)record - r->bytes);

	/* the one with this remainder that is not beyond the end */
	return r->end - ((r->end - at - 1) & (r->size - 1)) - 1;
}

/* Room up to position `end`, if that is in the ring's first turn. False without memory. */
static inline bool nbds_recall_reach(struct nbds_recall *r, uint64_t end)
{
	uint64_t room = r->room ? r->room : 4096;
	uint8_t *bytes;

	if (end <= r->room || r->room == r->size)
		return true;
	while (room < end && room < r->size)
		room *= 2;
	bytes = realloc(r->bytes, room);
	if (!bytes)
		return false;
	r->bytes = bytes;
	r->room = room;
	return true;
}

/* A record of `size` bytes, of which none is set, with a key not less than those before
 * it in the chain. */
static inline struct nbds_recall_record *nbds_recall_add(struct nbds_recall *r, uint64_t *chain,
							 uint64_t key, size_t size)
{
	uint64_t all =
		(sizeof(struct nbds_recall_record) + (uint64_t)size + NBDS_RECALL_ALIGN - 1) &
		~(uint64_t)(NBDS_RECALL_ALIGN - 1);
	const struct nbds_recall_record *before, *over;
	struct nbds_recall_record *record, made = {.key = key};

	if (size > r->size / 4 || all > r->size / 4) {
		*chain = NBDS_RECALL_FORGOTTEN;
		return NULL;
	}
	if ((r->end & (r->size - 1)) + all > r->size) /* not in one piece: from the start */
		r->end += r->size - (r->end & (r->size - 1));
	if (!nbds_recall_reach(r, r->end + all)) {
		*chain = NBDS_RECALL_FORGOTTEN;
		return NULL;
	}

	/* what it refers to is read before it is overwritten */
	before = nbds_recall_at(r, *chain);
	made.previous = *chain;
	if (before) {
		NBDS_ASSERT(before->key <= key);
		made.depth = before->depth + 1;
		over = nbds_recall_at(r, before->jump);
		if (over && before->depth - before->jump_depth == over->depth - over->jump_depth) {
			made.jump = over->jump;
			made.jump_depth = over->jump_depth;
		} else {
			made.jump = *chain;
			made.jump_depth = before->depth;
		}
	}
	/* far away as a rule, and read for the next one of the chain */
	over = nbds_recall_at(r, made.jump);
	__builtin_prefetch(over);
	*chain = r->end;
	record = (struct nbds_recall_record *)(void *)(r->bytes + (r->end & (r->size - 1)));
	r->end += all;
	*record = made;
	return record;
}

/* The chain's newest record with a key that is not greater. NULL: there is none, or, then
 * *forgotten is true, there may have been one. */
static inline struct nbds_recall_record *
nbds_recall_find(const struct nbds_recall *r, uint64_t chain, uint64_t key, bool *forgotten)
{
	struct nbds_recall_record *record = nbds_recall_at(r, chain), *over;
	uint64_t at = chain;

	while (record && record->key > key) {
		over = nbds_recall_at(r, record->jump);
		at = over && over->key > key ? record->jump : record->previous;
		record = nbds_recall_at(r, at);
	}
	*forgotten = !record && at;
	return record;
}

/* The one before `record` in its chain. NULL: as above. */
static inline struct nbds_recall_record *
nbds_recall_previous(const struct nbds_recall *r, const struct nbds_recall_record *record,
		     bool *forgotten)
{
	struct nbds_recall_record *previous = nbds_recall_at(r, record->previous);

	*forgotten = !previous && record->previous;
	return previous;
}

#endif
