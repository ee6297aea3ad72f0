/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ground: memory and time.
 */
#include "ground.h"

void *world_alloc(struct nbds_world *w, size_t size)
{
	void *p = nbds_budget_alloc(w->budget, size);

	if (p) {
		w->memory += size;
		if (w->memory > w->stats.memory_max)
			w->stats.memory_max = w->memory;
	}
	return p;
}

void world_dealloc(struct nbds_world *w, void *p, size_t size)
{
	if (p) {
		w->memory -= size;
		nbds_budget_free(w->budget, p, size);
	}
}

void *world_realloc(struct nbds_world *w, void *p, size_t from, size_t to)
{
	void *q = nbds_budget_realloc(w->budget, p, from, to);

	if (q) {
		w->memory += to - from;
		if (w->memory > w->stats.memory_max)
			w->stats.memory_max = w->memory;
	}
	return q;
}

bool world_grow(struct nbds_world *w, void **p, size_t *room, size_t size, size_t need)
{
	size_t want = *room ? *room : 16;
	void *q;

	if (need <= *room)
		return true;
	while (want < need)
		want *= 2;
	q = world_realloc(w, *p, *room * size, want * size);
	if (!q)
		return false;
	*p = q;
	*room = want;
	return true;
}

size_t hash_number(const struct nbds_world *w, uint64_t n)
{
	return (size_t)nbds_hash_u64(&w->key, n);
}

bool point_before(const struct nbds_world *w, const struct nbds_point *a,
		  const struct nbds_point *b)
{
	if (w->no_t3 || a->interface != b->interface || a->interface == SEVERAL_INTERFACES ||
	    a->frame >= b->frame)
		return false;
	/* the times are any 64-bit values: no overflow allowed */
	return b->time > a->time &&
	       (uint64_t)b->time - (uint64_t)a->time >= (uint64_t)w->config.epsilon;
}

void later_of(struct nbds_point *to, const struct nbds_point *point)
{
	/* of several interfaces: an order with none of them */
	if (to->interface != point->interface)
		to->interface = SEVERAL_INTERFACES;
	if (point->frame > to->frame)
		to->frame = point->frame;
	if (point->time > to->time)
		to->time = point->time;
}

void earlier_of(struct nbds_point *to, const struct nbds_point *point)
{
	if (to->interface != point->interface)
		to->interface = SEVERAL_INTERFACES;
	if (point->frame < to->frame)
		to->frame = point->frame;
	if (point->time < to->time)
		to->time = point->time;
}
