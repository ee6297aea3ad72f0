/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is completed and not flushed, a connection.
 *
 *	runs                     one by one
 *	[writes, bytes] ... ──► (covered) [first] ... [first + count - 1] (room)
 *
 * in the order of completion, so that a flush covers a beginning of all that.  The newest
 * are kept one by one.  Older ones become runs: of those that were certainly answered before
 * all flushes that are in flight, or still to come, any flush covers all or none; and so of
 * those that were answered after the newest request for one.  So a client that never flushes
 * costs one run.
 */
#include <string.h>

#include "tally.h"
#include "unflushed.h"

/* Kept one by one; and at most, if it is not certain that a run tells the same. */
#define UNFLUSHED_KEPT 64u
#define UNFLUSHED_MAX  4096u
/* What was answered after a flush was sent is hardly ever covered by it: so many in a
 * row that are not, and it is looked no further. */
#define UNCOVERED_RUN 64u

static struct nbds_op **oldest(const struct nbds_party *p)
{
	return p->unflushed ? p->unflushed + p->unflushed_first : NULL;
}

const struct nbds_op *unflushed_oldest(const struct nbds_party *p)
{
	if (p->unflushed_runs.count)
		return p->unflushed_runs.at[0].first;
	return p->unflushed_count ? *oldest(p) : NULL;
}

/* For the tally of all. */
static void tally(struct nbds_party *p)
{
	const struct nbds_op *first;

	if (!p->world->config.tally)
		return;
	first = unflushed_oldest(p);
	tally_update(p, first ? first->hi.time : INT64_MAX);
}

/* Of the dirty of its export, behind those whose oldest write was answered before. */
static void dirty(struct nbds_party *p)
{
	struct party_list *list = &p->xport->dirty;
	struct nbds_party *prev = list->last;

	for (unsigned n = 0; prev && n < UNCOVERED_RUN; n++) {
		if (unflushed_oldest(prev)->hi.frame <= unflushed_oldest(p)->hi.frame)
			break;
		prev = prev->links[PARTY_DIRTY].prev;
	}
	party_insert(list, PARTY_DIRTY, p, prev);
}

/* --- runs ---------------------------------------------------------------- */

static void later_number(uint64_t *to, uint64_t n)
{
	if (n > *to)
		*to = n;
}

/* No flush that is in flight, or still to come, may have begun before op was answered. */
static bool before_flushes(const struct nbds_op *op)
{
	const struct nbds_world *w = op->world;

	return point_before(w, &op->hi, &w->last) &&
	       (!w->order->flight_first || point_before(w, &op->hi, &w->order->flight_first->lo));
}

/* Any flush covers all of the run if it covers op, and the other way round. */
static bool alike(const struct unflushed_run *r, const struct nbds_op *op)
{
	const struct nbds_world *w = op->world;
	const struct xport *x = op->party->xport;

	return before_flushes(op) ||
	       (x && r->mark == op->flush_mark && x->flushes == op->flush_mark &&
		point_before(w, &x->flush_sent, &r->first->hi) &&
		point_before(w, &x->flush_sent, &op->hi) && point_before(w, &op->hi, &w->last));
}

/* Into a run, the last one or, if it is not like that, a new one. False without memory. */
static bool into_run(struct nbds_op *op, bool any)
{
	struct nbds_party *p = op->party;
	struct unflushed_runs *runs = &p->unflushed_runs;
	struct unflushed_run *r = runs->count ? &runs->at[runs->count - 1] : NULL;

	if (!r || (!any && !alike(r, op))) {
		struct unflushed_run one = {.first = op,
					    .hi = op->hi,
					    .status_end = op->status_end,
					    .mark = op->flush_mark,
					    .writes = 1,
					    .bytes = op->length,
					    .status_acked = op->status_acked};

		op_ref(op);
		if (nbds_vector_push(runs, p->world->budget, one))
			return true;
		op_unref(op);
	}
	if (!r)
		return false;
	r->writes++;
	r->bytes += op->length;
	later_of(&r->hi, &op->hi);
	later_number(&r->status_end, op->status_end);
	later_number(&r->status_acked, op->status_acked);
	r->mark = op->flush_mark;
	return true;
}

/* Can it leave those that are kept one by one, and nothing be lost by that? */
static bool settled(const struct nbds_op *op)
{
	const struct unflushed_runs *runs = &op->party->unflushed_runs;
	const struct xport *x = op->party->xport;

	if (before_flushes(op) || (runs->count && alike(&runs->at[runs->count - 1], op)))
		return true;
	/* the first of those that came after the newest flush was sent */
	return x && x->flushes == op->flush_mark &&
	       (!runs->count || runs->at[runs->count - 1].mark != op->flush_mark) &&
	       point_before(op->world, &x->flush_sent, &op->hi) &&
	       point_before(op->world, &op->hi, &op->world->last);
}

/* The oldest that is kept one by one becomes part of a run. */
static void gather_first(struct nbds_party *p, bool any)
{
	struct nbds_op *op = *oldest(p);

	/* without memory it is forgotten, and taken for flushed */
	if (!into_run(op, any)) {
		p->unflushed_writes--;
		p->unflushed_bytes -= op->length;
	}
	p->unflushed_first++;
	p->unflushed_count--;
	op_unref(op);
	if (!unflushed_oldest(p))
		party_unlink(p, PARTY_DIRTY);
}

void unflushed_gather(struct nbds_party *p, uint32_t n)
{
	while (p->unflushed_count > n)
		gather_first(p, !settled(*oldest(p)));
	tally(p);
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
	unflushed_gather(p, p->unflushed_count / 2);
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
	p->unflushed_writes++;
	p->unflushed_bytes += op->length;
	op_ref(op);
	oldest(p)[p->unflushed_count++] = op;
	if (party_mc(p) && p->xport && !p->links[PARTY_DIRTY].list)
		dirty(p);
	while (p->unflushed_count > UNFLUSHED_KEPT && settled(*oldest(p)))
		gather_first(p, false);
	tally(p);
}

/* --- flushes ------------------------------------------------------------- */

/* All of a run was over before f began. */
static bool run_before(const struct nbds_party *p, const struct unflushed_run *r,
		       const struct nbds_op *f)
{
	if (r->writes == 1)
		return op_before(r->first, f);
	if (p == f->party) {
		if (r->status_acked != NBDS_NO_ACK && r->status_acked < f->header_end)
			return true;
		if (f->acked != NBDS_NO_ACK && f->acked >= r->status_end)
			return true;
	}
	return point_before(p->world, &r->hi, &f->lo);
}

static void covered(struct nbds_party *p, uint64_t writes, uint64_t bytes,
		    struct nbds_flush_report *rep)
{
	rep->covered_bytes += bytes;
	p->unflushed_writes -= writes;
	p->unflushed_bytes -= bytes;
}

/* Forgets what of p's writes f covers. Returns whether it covered any. */
static bool cover(struct nbds_party *p, struct nbds_op *f, struct nbds_flush_report *rep)
{
	struct nbds_op **list = p->unflushed_count ? oldest(p) : NULL;
	uint32_t kept = 0, run = 0, i;
	struct unflushed_runs *runs = &p->unflushed_runs;
	bool shared = party_mc(p) && party_mc(f->party);
	size_t left = 0;
	uint64_t n = 0;

	for (size_t j = 0; j < runs->count; j++) {
		const struct unflushed_run r = runs->at[j];

		if (!run_before(p, &r, f)) {
			runs->at[left++] = r;
			continue;
		}
		n += r.writes;
		covered(p, r.writes, r.bytes, rep);
		op_unref(r.first);
	}
	runs->count = left;
	for (i = 0; i < p->unflushed_count && run < UNCOVERED_RUN; i++) {
		struct nbds_op *op = list[i];

		if (!op_before(op, f)) {
			run = op->hi.frame < f->lo.frame ? 0 : run + 1;
			list[kept++] = op;
			continue;
		}
		run = 0;
		n++;
		covered(p, 1, op->length, rep);
		/* the first one that does, whoever asks later */
		if (shared && !op->cover && f->party->known) {
			op->cover = f;
			op_ref(f);
		}
		op_unref(op);
	}
	/* those that are kept, to before those that were not looked at */
	if (kept < i)
		memmove(list + (i - kept), list, kept * sizeof(struct nbds_op *));
	p->unflushed_first += i - kept;
	p->unflushed_count -= i - kept;
	*(p == f->party ? &rep->covered_own : &rep->covered_other) += n;
	if (n && p->links[PARTY_DIRTY].list) {
		party_unlink(p, PARTY_DIRTY);
		if (unflushed_oldest(p))
			dirty(p);
	}
	if (n)
		tally(p);
	return n;
}

void unflushed_cover(struct nbds_op *f, struct nbds_flush_report *rep, struct party_list *done)
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
		late += unflushed_oldest(p)->hi.frame >= f->lo.frame;
		if (cover(p, f, rep) && p->ended && !unflushed_oldest(p))
			party_append(done, PARTY_DIRTY, p);
	}
}

void unflushed_free(struct nbds_party *p)
{
	tally_leave(p);
	for (size_t i = 0; i < p->unflushed_runs.count; i++)
		op_unref(p->unflushed_runs.at[i].first);
	nbds_vector_free(&p->unflushed_runs, p->world->budget);
	for (uint32_t i = 0; i < p->unflushed_count; i++)
		op_unref(oldest(p)[i]);
	world_dealloc(p->world, p->unflushed, p->unflushed_room * sizeof(struct nbds_op *));
	p->unflushed = NULL;
	p->unflushed_first = p->unflushed_count = p->unflushed_room = 0;
	party_unlink(p, PARTY_DIRTY);
}
