/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tally.c - see tally.h. */
#include "tally.h"

#include <stdlib.h>

struct nbds_unflushed_sum *nbds_unflushed_sum_new(struct nbds_budget *budget)
{
	struct nbds_unflushed_sum *t = nbds_budget_alloc(budget, sizeof(*t));

	if (t)
		t->budget = budget;
	return t;
}

void nbds_unflushed_sum_free(struct nbds_unflushed_sum *t)
{
	if (!t)
		return;
	nbds_vector_free(&t->heap, t->budget);
	nbds_budget_free(t->budget, t, sizeof(*t));
}

void nbds_unflushed_sum_now(const struct nbds_unflushed_sum *t, struct nbds_unflushed *u)
{
	*u = (struct nbds_unflushed){.writes = t->writes, .bytes = t->bytes};
	if (t->heap.count)
		u->since = t->heap.at[0]->tallied.since;
}

static int64_t key(const struct nbds_unflushed_sum *t, size_t i)
{
	return t->heap.at[i]->tallied.since;
}

/* Places count from 1: 0 is none. */
static void put(struct nbds_unflushed_sum *t, size_t i, struct nbds_party *p)
{
	t->heap.at[i] = p;
	p->tallied.place = i + 1;
}

static void sift(struct nbds_unflushed_sum *t, size_t i)
{
	struct nbds_party *p = t->heap.at[i];
	size_t next;

	for (; i && p->tallied.since < key(t, (i - 1) / 2); i = (i - 1) / 2)
		put(t, i, t->heap.at[(i - 1) / 2]);
	while ((next = 2 * i + 1) < t->heap.count) {
		if (next + 1 < t->heap.count && key(t, next + 1) < key(t, next))
			next++;
		if (p->tallied.since <= key(t, next))
			break;
		put(t, i, t->heap.at[next]);
		i = next;
	}
	put(t, i, p);
}

static void take_out(struct nbds_unflushed_sum *t, struct nbds_party *p)
{
	size_t i = p->tallied.place - 1;
	struct nbds_party *last;

	NBDS_ASSERT(i < t->heap.count && t->heap.at[i] == p);
	p->tallied.place = 0;
	last = t->heap.at[--t->heap.count];
	if (last == p)
		return;
	t->heap.at[i] = last;
	sift(t, i);
}

void tally_update(struct nbds_party *p, int64_t since)
{
	struct nbds_unflushed_sum *t = p->world->config.tally;

	if (!t)
		return;
	t->writes += p->unflushed_writes - p->tallied.writes;
	t->bytes += p->unflushed_bytes - p->tallied.bytes;
	p->tallied.writes = p->unflushed_writes;
	p->tallied.bytes = p->unflushed_bytes;
	if (p->tallied.place && p->tallied.since == since)
		return;
	if (since == INT64_MAX) {
		if (p->tallied.place)
			take_out(t, p);
		return;
	}
	p->tallied.since = since;
	/* without memory its age is not known */
	if (!p->tallied.place) {
		if (!nbds_vector_push(&t->heap, t->budget, p))
			return;
		p->tallied.place = t->heap.count;
	}
	sift(t, p->tallied.place - 1);
}

void tally_leave(struct nbds_party *p)
{
	struct nbds_unflushed_sum *t = p->world->config.tally;

	if (!t)
		return;
	t->writes -= p->tallied.writes;
	t->bytes -= p->tallied.bytes;
	p->tallied.writes = p->tallied.bytes = 0;
	if (p->tallied.place)
		take_out(t, p);
}
