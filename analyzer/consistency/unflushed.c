/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is completed and not flushed, a connection.
 */
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define UNFLUSHED_MAX 4096u

void unflushed_count_only(struct nbds_party *p, uint32_t n)
{
	if (n > p->unflushed_count)
		n = p->unflushed_count;
	for (uint32_t i = 0; i < n; i++) {
		p->unflushed_over++;
		p->unflushed_over_bytes += p->unflushed[i]->length;
		op_unref(p->unflushed[i]);
	}
	p->unflushed_count -= n;
	if (n)
		memmove(p->unflushed, p->unflushed + n,
			p->unflushed_count * sizeof(struct nbds_op *));
}

void unflushed_add(struct nbds_op *op)
{
	struct nbds_party *p = op->party;

	if (op->type == NBD_CMD_TRIM || op->fua)
		return;
	p->unflushed_bytes += op->length;
	if (p->unflushed_count == p->unflushed_room) {
		uint32_t room = p->unflushed_room ? p->unflushed_room * 2 : 16;
		struct nbds_op **list =
			room <= UNFLUSHED_MAX ? realloc(p->unflushed, room * sizeof(*list)) : NULL;

		if (!list) {
			/* the oldest are only counted */
			uint32_t half = p->unflushed_count / 2;

			if (!half) {
				p->unflushed_bytes -= op->length;
				return;
			}
			for (uint32_t i = 0; i < half; i++) {
				p->unflushed_over++;
				p->unflushed_over_bytes += p->unflushed[i]->length;
				op_unref(p->unflushed[i]);
			}
			p->unflushed_count -= half;
			memmove(p->unflushed, p->unflushed + half,
				p->unflushed_count * sizeof(*list));
		} else {
			p->unflushed = list;
			p->unflushed_room = room;
		}
	}
	op_ref(op);
	p->unflushed[p->unflushed_count++] = op;
}

void unflushed_cover(struct nbds_party *p, const struct nbds_op *f, struct nbds_flush_report *rep)
{
	uint32_t kept = 0;
	uint64_t n = 0;

	for (uint32_t i = 0; i < p->unflushed_count; i++) {
		struct nbds_op *op = p->unflushed[i];

		if (!op_before(op, f)) {
			p->unflushed[kept++] = op;
			continue;
		}
		n++;
		rep->covered_bytes += op->length;
		p->unflushed_bytes -= op->length;
		op_unref(op);
	}
	p->unflushed_count = kept;
	n += p->unflushed_over;
	rep->covered_bytes += p->unflushed_over_bytes;
	p->unflushed_bytes -= p->unflushed_over_bytes;
	p->unflushed_over = p->unflushed_over_bytes = 0;
	*(p == f->party ? &rep->covered_own : &rep->covered_other) += n;
}

void unflushed_free(struct nbds_party *p)
{
	for (uint32_t i = 0; i < p->unflushed_count; i++)
		op_unref(p->unflushed[i]);
	free(p->unflushed);
	p->unflushed = NULL;
	p->unflushed_count = p->unflushed_room = 0;
}
