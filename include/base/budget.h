/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/budget.h - allocations that are counted.
 *
 * Purpose.  All state that grows with the traffic is allocated here, so that
 * --memory bounds it.  The count is of what the allocator really takes: the
 * size rounded up, and its own head.  A budget only counts; nothing fails
 * because of it.  Whoever lets state grow asks nbds_budget_over() and gives up
 * something first.
 *
 * With `keeps`, what is small and was given back is kept for the next of its size, up
 * to so many bytes, until nbds_budget_done(): blocks, entries and operations come and go
 * with each command.  (Not so where assertions are on: a sanitizer sees more if all is
 * given back at once.)
 *
 * Ownership.  As with malloc(); sizes are given back as they were taken.  A
 * budget must outlive what it counts, and belongs to one thread.
 * Failure.  NULL without memory; the count is as before.
 *
 * Example.
 *	op = nbds_budget_alloc(budget, sizeof(*op));
 *	...
 *	nbds_budget_free(budget, op, sizeof(*op));
 */
#ifndef NBDSCOPE_BASE_BUDGET_H
#define NBDSCOPE_BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>

#define NBDS_SPARES 40u /* sizes, in steps of 16 bytes: a sector fits */

struct nbds_spare {
	struct nbds_spare *next;
};

struct nbds_budget {
	uint64_t used;  /* bytes */
	uint64_t most;  /* the most that `used` has been */
	uint64_t limit; /* bytes; 0: none */
	uint64_t keeps; /* bytes: most of `spare`; 0: none */
	uint64_t spare; /* bytes in these lists, which are not counted in `used` */
	struct nbds_spare *spares[NBDS_SPARES];
};

/* Bytes that an allocation of `size` takes, as the C library of Linux does it. */
static inline uint64_t nbds_budget_cost(size_t size)
{
	return size <= 24 ? 32 : ((uint64_t)size + 8 + 15) & ~UINT64_C(15);
}

static inline void nbds_budget_take(struct nbds_budget *b, uint64_t bytes)
{
	b->used += bytes;
	if (b->used > b->most)
		b->most = b->used;
}

static inline void nbds_budget_give(struct nbds_budget *b, uint64_t bytes)
{
	NBDS_ASSERT(b->used >= bytes);
	b->used -= bytes;
}

static inline bool nbds_budget_over(const struct nbds_budget *b)
{
	return b->limit && b->used > b->limit;
}

/* Zeroed. */
static inline void *nbds_budget_alloc(struct nbds_budget *b, size_t size)
{
	uint64_t cost = nbds_budget_cost(size);
	struct nbds_spare *spare = cost / 16 < NBDS_SPARES ? b->spares[cost / 16] : NULL;
	void *p;

	if (spare) {
		b->spares[cost / 16] = spare->next;
		b->spare -= cost;
		__builtin_prefetch(spare->next, 1); /* which is the next, soon */
		p = memset(spare, 0, size);
	} else {
		p = calloc(1, size);
	}
	if (p)
		nbds_budget_take(b, cost);
	return p;
}

/* `p` may be NULL. */
static inline void nbds_budget_free(struct nbds_budget *b, void *p, size_t size)
{
	uint64_t cost = nbds_budget_cost(size);
	struct nbds_spare *spare = p;

	if (!p)
		return;
	nbds_budget_give(b, cost);
	if (NBDS_ASSERTING || cost / 16 >= NBDS_SPARES || b->spare + cost > b->keeps) {
		free(p);
		return;
	}
	spare->next = b->spares[cost / 16];
	b->spares[cost / 16] = spare;
	b->spare += cost;
}

/* Frees what is kept for the next of its size. All that is counted may still be there. */
static inline void nbds_budget_done(struct nbds_budget *b)
{
	for (unsigned i = 0; i < NBDS_SPARES; i++) {
		while (b->spares[i]) {
			struct nbds_spare *spare = b->spares[i];

			b->spares[i] = spare->next;
			free(spare);
		}
	}
	b->spare = 0;
}

/* What is new is not zeroed. If it fails, `p` is as it was. */
static inline void *nbds_budget_realloc(struct nbds_budget *b, void *p, size_t from, size_t to)
{
	void *q = realloc(p, to);

	if (!q)
		return NULL;
	if (p)
		nbds_budget_give(b, nbds_budget_cost(from));
	nbds_budget_take(b, nbds_budget_cost(to));
	return q;
}

#endif
