/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/vector.h - an array that grows, checked and counted.
 *
 * Purpose.  The one way in which this program grows arrays.  A vector is a
 * struct of its own for each element type; its memory is counted in a budget.
 * It doubles, so n pushes cost O(n); elements move when it grows, so keep no
 * pointers into it across a push.
 *
 *	at ──► [0] [1] [2] ... [count - 1] (room for more) [room - 1]
 *
 * Ownership.  The vector owns its array, not what elements point to.
 * Failure.  Without memory (or beyond SIZE_MAX bytes) a push or reserve returns
 * false and leaves the vector as it was.
 *
 * Example.
 *	NBDS_VECTOR(mark_vector, struct nbds_mark);
 *	struct mark_vector marks = {0};
 *	if (!nbds_vector_push(&marks, budget, mark))
 *		...
 *	nbds_vector_free(&marks, budget);
 */
#ifndef NBDSCOPE_BASE_VECTOR_H
#define NBDSCOPE_BASE_VECTOR_H

#include <string.h>

#include <base/budget.h>

#define NBDS_VECTOR(tag, type)      \
	struct tag {                \
		type *at;           \
		size_t count, room; \
	}

/* Room for `more` elements beyond the count. */
#define nbds_vector_reserve(v, budget, more)                                                  \
	nbds_vector_grow((void **)&(v)->at, (v)->count, &(v)->room, sizeof(*(v)->at), (more), \
			 (budget))
#define nbds_vector_push(v, budget, element) \
	(nbds_vector_reserve((v), (budget), 1) ? ((v)->at[(v)->count++] = (element), true) : false)
#define nbds_vector_free(v, budget)                                                         \
	(nbds_budget_free((budget), (v)->at, (v)->room * sizeof(*(v)->at)), (v)->at = NULL, \
	 (v)->count = (v)->room = 0)

/* Takes out element i; those behind it move up. */
#define nbds_vector_remove(v, i)                                       \
	do {                                                           \
		size_t nbds_at_ = (i);                                 \
		NBDS_ASSERT(nbds_at_ < (v)->count);                    \
		memmove((v)->at + nbds_at_, (v)->at + nbds_at_ + 1,    \
			(--(v)->count - nbds_at_) * sizeof(*(v)->at)); \
	} while (0)

/* Used by the macros above. */
static inline bool nbds_vector_grow(void **at, size_t count, size_t *room, size_t size, size_t more,
				    struct nbds_budget *budget)
{
	size_t want = *room ? *room : 4;
	void *grown;

	NBDS_ASSERT(count <= *room);
	if (more <= *room - count)
		return true;
	if (more > SIZE_MAX / 2 / size - count)
		return false;
	while (want < count + more)
		want *= 2;
	grown = nbds_budget_realloc(budget, *at, *room * size, want * size);
	if (!grown)
		return false;
	*at = grown;
	*room = want;
	return true;
}

#endif
