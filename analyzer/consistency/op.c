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

void op_ref(struct nbds_op *op)
{
	op->refs++;
}

void reading_unlist(struct nbds_op *op)
{
	struct reading *rd = op->reading;

	if (!rd->listed)
		return;
	rd->listed = false;
	*(rd->prev ? &rd->prev->reading->next : &op->world->reads.missed) = rd->next;
	if (rd->next)
		rd->next->reading->prev = rd->prev;
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
	if (op->reading) {
		reading_unlist(op);
		world_dealloc(op->world, op->reading->misses,
			      op->reading->miss_room * sizeof(struct miss));
	}
	world_dealloc(op->world, op->reading, sizeof(*op->reading));
	world_dealloc(op->world, op, sizeof(*op));
}
