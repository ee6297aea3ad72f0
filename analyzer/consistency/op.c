/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Operations: memory and references.
 */
#include "op.h"

void op_ref(struct nbds_op *op)
{
	op->refs++;
}

void reads_add(struct nbds_op *op)
{
	struct reads *r = op->world->reads;

	op->reads = true;
	op->prev_read = r->last;
	*(r->last ? &r->last->next_read : &r->first) = op;
	r->last = op;
}

void reads_remove(struct nbds_op *op)
{
	struct reads *r = op->world->reads;

	op->reads = false;
	*(op->prev_read ? &op->prev_read->next_read : &r->first) = op->next_read;
	*(op->next_read ? &op->next_read->prev_read : &r->last) = op->prev_read;
}

void telling_add(struct nbds_op *op)
{
	struct reads *r = op->world->reads;

	op->telling = true;
	op->prev_telling = r->telling_last;
	*(r->telling_last ? &r->telling_last->next_telling : &r->telling_first) = op;
	r->telling_last = op;
}

void telling_remove(struct nbds_op *op)
{
	struct reads *r = op->world->reads;

	if (!op->telling)
		return;
	op->telling = false;
	*(op->prev_telling ? &op->prev_telling->next_telling : &r->telling_first) =
		op->next_telling;
	*(op->next_telling ? &op->next_telling->prev_telling : &r->telling_last) = op->prev_telling;
}

int64_t op_shown(const struct nbds_op *op)
{
	if (op->lo.time != INT64_MIN)
		return op->lo.time;
	if (op->replied)
		return op->replied;
	return op->world->now == INT64_MIN ? 0 : op->world->now;
}
