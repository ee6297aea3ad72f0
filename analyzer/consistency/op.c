/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations: memory and references.
 */
#include "world.h"

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

void op_ref(struct nbds_op *op)
{
	op->refs++;
}

void reads_add(struct nbds_op *op)
{
	struct reads *r = &op->world->reads;

	op->reads = true;
	op->prev_read = r->last;
	*(r->last ? &r->last->next_read : &r->first) = op;
	r->last = op;
}

void reads_remove(struct nbds_op *op)
{
	struct reads *r = &op->world->reads;

	op->reads = false;
	*(op->prev_read ? &op->prev_read->next_read : &r->first) = op->next_read;
	*(op->next_read ? &op->next_read->prev_read : &r->last) = op->prev_read;
}

void telling_add(struct nbds_op *op)
{
	struct reads *r = &op->world->reads;

	op->telling = true;
	op->prev_telling = r->telling_last;
	*(r->telling_last ? &r->telling_last->next_telling : &r->telling_first) = op;
	r->telling_last = op;
}

void telling_remove(struct nbds_op *op)
{
	struct reads *r = &op->world->reads;

	if (!op->telling)
		return;
	op->telling = false;
	*(op->prev_telling ? &op->prev_telling->next_telling : &r->telling_first) =
		op->next_telling;
	*(op->next_telling ? &op->next_telling->prev_telling : &r->telling_last) = op->prev_telling;
}

void later_of(struct nbds_point *to, const struct nbds_point *point)
{
	/* of several interfaces: an order with none of them */
	if (to->interface != point->interface)
		to->interface = UINT32_MAX;
	if (point->frame > to->frame)
		to->frame = point->frame;
	if (point->time > to->time)
		to->time = point->time;
}

void op_unref(struct nbds_op *op)
{
	if (--op->refs)
		return;
	op->party->ops--;
	if (op->past)
		op->world->quiet.pasts[op->past - 1].op = NULL;
	if (op->cover)
		op_unref(op->cover);
	world_dealloc(op->world, op->reading, sizeof(*op->reading));
	world_dealloc(op->world, op, sizeof(*op));
}
