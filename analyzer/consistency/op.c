/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations: memory and references.
 */
#include "op.h"

void op_ref(struct nbds_op *op)
{
	op->refs++;
}

void op_landed(struct nbds_op *op)
{
	world_dealloc(op->world, op->flight, sizeof(*op->flight));
	op->flight = NULL;
}

static struct flying *flying_of(const struct nbds_op *op, enum flying_role role)
{
	return &op->world->reads->flying[role];
}

static bool in_order(const struct flying *f, const struct nbds_point *lo)
{
	return !f->first || (lo->interface == f->newest.interface && lo->frame >= f->newest.frame &&
			     lo->time >= f->newest.time);
}

void flying_add(struct nbds_op *op, enum flying_role role)
{
	struct flying *f = flying_of(op, role);
	struct op_link *at = &op->flight->flying[role];

	if (in_order(f, &op->lo)) {
		op->places[role] = FLYING_IN_ORDER;
		f->newest = op->lo;
		at->prev = f->last;
		*(f->last ? &f->last->flight->flying[role].next : &f->first) = op;
		f->last = op;
		return;
	}
	op->places[role] = FLYING_LATE;
	if (f->late) {
		f->late->flight->flying[role].prev = op;
		earlier_of(&f->late_lo, &op->lo);
	} else {
		f->late_lo = op->lo;
		f->late_gone = false;
	}
	at->next = f->late;
	f->late = op;
	f->late_count++;
}

void flying_remove(struct nbds_op *op, enum flying_role role)
{
	struct flying *f = flying_of(op, role);
	struct op_link *at;

	if (op->places[role] == FLYING_NOT)
		return;
	at = &op->flight->flying[role];
	if (op->places[role] == FLYING_IN_ORDER) {
		*(at->prev ? &at->prev->flight->flying[role].next : &f->first) = at->next;
		*(at->next ? &at->next->flight->flying[role].prev : &f->last) = at->prev;
	} else {
		*(at->prev ? &at->prev->flight->flying[role].next : &f->late) = at->next;
		if (at->next)
			at->next->flight->flying[role].prev = at->prev;
		f->late_count--;
		f->late_gone = true;
	}
	op->places[role] = FLYING_NOT;
	*at = (struct op_link){0};
}

/* When the first one of those that were told late began. */
static const struct nbds_point *late_first(struct flying *f, enum flying_role role)
{
	if (!f->late_gone || f->late_count > FLYING_LOOKED)
		return &f->late_lo;
	f->late_gone = false;
	f->late_lo = f->late->lo;
	for (const struct nbds_op *op = f->late; op; op = op->flight->flying[role].next)
		earlier_of(&f->late_lo, &op->lo);
	return &f->late_lo;
}

bool flying_after(const struct nbds_world *w, enum flying_role role, const struct nbds_point *hi)
{
	struct flying *f = &w->reads->flying[role];

	return (!f->first || point_before(w, hi, &f->first->lo)) &&
	       (!f->late || point_before(w, hi, late_first(f, role)));
}

bool flying_after_frame(const struct nbds_world *w, enum flying_role role, uint64_t frame)
{
	struct flying *f = &w->reads->flying[role];

	return (!f->first || frame < f->first->lo.frame) &&
	       (!f->late || frame < late_first(f, role)->frame);
}

int64_t op_shown(const struct nbds_op *op)
{
	if (op->lo.time != INT64_MIN)
		return op->lo.time;
	if (op->replied)
		return op->replied;
	return op->world->now == INT64_MIN ? 0 : op->world->now;
}
