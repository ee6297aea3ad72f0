/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hold.h - copies of bytes that have to wait, sorted by stream offset.
 *
 * Purpose.  One list for each direction of a flow that holds something.  The
 * pieces of a list never overlap.  Only the front is ever taken out, and new
 * pieces mostly come at the back, but a hostile sender may insert anywhere: the
 * list is a skip list, so that each step takes O(log n) whatever the order.
 *
 *	level 2  first ────────────────────────► [500,600) ───────────► end
 *	level 1  first ──────► [200,300) ──────► [500,600) ───────────► end
 *	level 0  first ──────► [200,300) ► [300,320) ► [500,600) ► [700,701) ► end
 *
 * A piece, its links and its bytes are one block of a power of two in size;
 * blocks that are given back wait in the pool for the next piece.
 *
 * Ownership.  All pieces belong to the pool that made them; the caller links
 * them into lists and gives them back.  Failure.  nbds_held_new() returns NULL
 * without memory; nothing else fails.
 */
#ifndef NBDSCOPE_ANALYZER_HOLD_H
#define NBDSCOPE_ANALYZER_HOLD_H

#include <nbdscope/decoder.h> /* struct nbds_mark */

#define NBDS_HELD_LEVELS  6
#define NBDS_HELD_CLASSES 12 /* blocks of 256 bytes to 512 KiB; larger ones are not kept */

struct nbds_held {
	uint64_t offset; /* of the first byte */
	uint32_t len;    /* bytes on the wire, at least 1 */
	uint32_t caplen; /* of them here */
	uint64_t cost;   /* bytes of memory that the piece takes */
	uint8_t *data;
	uint64_t after; /* bytes of the other direction that come before it, or NBDS_NO_ACK */
	struct nbds_mark mark; /* the frame that brought it */
	/* Another copy is not the same from `unlike` to `unlike_end`; 0, 0: none. */
	uint64_t unlike, unlike_end;
	struct nbds_mark unlike_mark; /* the frame with the first such copy */
	/* Another copy of a part of it acknowledged something else than the first. */
	uint64_t first_ack, other_ack; /* the same: there is none */
	uint8_t levels;
	uint8_t size_class;
	struct nbds_held *next[];
};

struct nbds_held_list {
	struct nbds_held *first[NBDS_HELD_LEVELS];
	uint64_t cost; /* of all pieces */
};

struct nbds_held_pool {
	struct nbds_held *free[NBDS_HELD_CLASSES]; /* linked by next[0] */
	uint64_t cached;                           /* bytes in free blocks */
	uint64_t held;                             /* bytes in pieces that are out */
	uint64_t most;                             /* the most that `held` has been */
	uint64_t random;
};

/* The memory that a piece with `caplen` bytes will take. */
uint64_t nbds_held_cost(uint32_t caplen);

/* A piece with a copy of `caplen` bytes, in no list yet. */
struct nbds_held *nbds_held_new(struct nbds_held_pool *pool, uint64_t offset, uint32_t len,
				const uint8_t *data, uint32_t caplen, const struct nbds_mark *mark);
void nbds_held_free(struct nbds_held_pool *pool, struct nbds_held *piece);

/* The first piece that ends after `offset`, or NULL. */
struct nbds_held *nbds_held_find(const struct nbds_held_list *list, uint64_t offset);

/* `piece` must overlap none of the list. */
void nbds_held_insert(struct nbds_held_list *list, struct nbds_held *piece);

/* Cuts `piece`, which is in the list, in two at stream offset `at` inside it.  The
 * rest is the new piece that is returned; NULL without memory, and nothing is cut. */
struct nbds_held *nbds_held_split(struct nbds_held_pool *pool, struct nbds_held_list *list,
				  struct nbds_held *piece, uint64_t at);

/* Takes out the first piece; the list must not be empty. */
struct nbds_held *nbds_held_take(struct nbds_held_list *list);

/* Frees all that waits in the pool. */
void nbds_held_pool_clear(struct nbds_held_pool *pool);

#endif
