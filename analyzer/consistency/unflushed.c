/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is completed and not flushed, a connection.
 *
 *	unflushed ──► (covered) [first] ... [first + count - 1] (room)
 *
 * in the order of completion, so that a flush covers a beginning of the list.
 */
#include <string.h>

#include "unflushed.h"

#define UNFLUSHED_MAX 4096u
/* What was answered after a flush was sent is hardly ever covered by it: so many in a
 * row that are not, and it is looked no further. */
#define UNCOVERED_RUN 64u

static struct nbds_op **oldest(const struct nbds_party *p)
{
	return p->unflushed ? p->unflushed + p->unflushed_first : NULL;
}

const struct nbds_op *unflushed_oldest(const struct nbds_party *p)
{
	return p->unflushed_count ? *oldest(p) : NULL;
}

/* Of the dirty of its export, behind those whose oldest write was answered before. */
static void dirty(struct nbds_party *p)
{
	struct party_list *list = &p->xport->dirty;
	struct nbds_party *prev = list->last;

	for (unsigned n = 0; prev && n < UNCOVERED_RUN; n++) {
		if ((*oldest(prev))->hi.frame <= (*oldest(p))->hi.frame)
			break;
		prev = prev->links[PARTY_DIRTY].prev;
	}
	party_insert(list, PARTY_DIRTY, p, prev);
}

void unflushed_count_only(struct nbds_party *p, uint32_t n)
{
	if (n > p->unflushed_count)
		n = p->unflushed_count;
	for (uint32_t i = 0; i < n; i++) {
		struct nbds_op *op = oldest(p)[i];

		p->unflushed_over++;
		p->unflushed_over_bytes += op->length;
		op_unref(op);
	}
	p->unflushed_first += n;
	p->unflushed_count -= n;
	if (!p->unflushed_count)
		party_unlink(p, PARTY_DIRTY);
}

/* Room for one more. */
static bool make_room(struct nbds_party *p)
{
	uint32_t room = p->unflushed_room ? p->unflushed_room * 2 : 16;
	struct nbds_op **list;

	if (p->unflushed_first + p->unflushed_count < p->unflushed_room)
		return true;
	if (p->unflushed_first && p->unflushed_first >= p->unflushed_count) {
		memcpy(p->unflushed, oldest(p), p->unflushed_count * sizeof(struct nbds_op *));
		p->unflushed_first = 0;
		return true;
	}
	list = room <= UNFLUSHED_MAX ? world_realloc(p->world, p->unflushed,
						     p->unflushed_room * sizeof(struct nbds_op *),
						     room * sizeof(struct nbds_op *))
				     : NULL;
	if (list) {
		p->unflushed = list;
		p->unflushed_room = room;
		return true;
	}
	/* the oldest are only counted */
	unflushed_count_only(p, (p->unflushed_count + 1) / 2);
	if (p->unflushed_count)
		memmove(p->unflushed, oldest(p), p->unflushed_count * sizeof(struct nbds_op *));
	p->unflushed_first = 0;
	return p->unflushed_count < p->unflushed_room;
}

void unflushed_add(struct nbds_op *op)
{
	struct nbds_party *p = op->party;

	if (op->type == NBD_CMD_TRIM || op->fua || !make_room(p))
		return;
	p->unflushed_bytes += op->length;
	op_ref(op);
	oldest(p)[p->unflushed_count++] = op;
	if (party_mc(p) && p->xport && !p->links[PARTY_DIRTY].list)
		dirty(p);
}

/* Forgets what of p's writes f covers. Returns whether it covered any. */
static bool cover(struct nbds_party *p, const struct nbds_op *f, struct nbds_flush_report *rep)
{
	struct nbds_op **list = p->unflushed_count ? oldest(p) : NULL;
	uint32_t kept = 0, run = 0, i;
	uint64_t n = 0;

	for (i = 0; i < p->unflushed_count && run < UNCOVERED_RUN; i++) {
		struct nbds_op *op = list[i];

		if (!op_before(op, f)) {
			run = op->hi.frame < f->lo.frame ? 0 : run + 1;
			list[kept++] = op;
			continue;
		}
		run = 0;
		n++;
		rep->covered_bytes += op->length;
		p->unflushed_bytes -= op->length;
		op_unref(op);
	}
	/* those that are kept, to before those that were not looked at */
	if (kept < i)
		memmove(list + (i - kept), list, kept * sizeof(struct nbds_op *));
	p->unflushed_first += i - kept;
	p->unflushed_count -= i - kept;
	n += p->unflushed_over;
	rep->covered_bytes += p->unflushed_over_bytes;
	p->unflushed_bytes -= p->unflushed_over_bytes;
	p->unflushed_over = p->unflushed_over_bytes = 0;
	*(p == f->party ? &rep->covered_own : &rep->covered_other) += n;
	if (n && p->links[PARTY_DIRTY].list) {
		party_unlink(p, PARTY_DIRTY);
		if (p->unflushed_count)
			dirty(p);
	}
	return n;
}

void unflushed_cover(const struct nbds_op *f, struct nbds_flush_report *rep,
		     struct party_list *done)
{
	struct nbds_party *p, *next;
	unsigned late = 0;

	cover(f->party, f, rep);
	if (!party_mc(f->party))
		return;
	for (p = f->party->xport->dirty.first; p && late < UNCOVERED_RUN; p = next) {
		next = party_next(p, PARTY_DIRTY);
		if (p == f->party)
			continue;
		late += (*oldest(p))->hi.frame >= f->lo.frame;
		if (cover(p, f, rep) && p->ended && !p->unflushed_count)
			party_append(done, PARTY_DIRTY, p);
	}
}

void unflushed_free(struct nbds_party *p)
{
	for (uint32_t i = 0; i < p->unflushed_count; i++)
		op_unref(oldest(p)[i]);
	world_dealloc(p->world, p->unflushed, p->unflushed_room * sizeof(struct nbds_op *));
	p->unflushed = NULL;
	p->unflushed_first = p->unflushed_count = p->unflushed_room = 0;
	party_unlink(p, PARTY_DIRTY);
}
