/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that ended, made small.
 *
 *   open ──► lingering ──► ended ──► folded ──► freed
 *
 * lingering  with writes that a flush of another connection may cover yet
 * ended      nothing can happen to what they wrote but that it is voided
 * folded     what they mean for others is in a few numbers of the world; they stay for
 *            as long as a command of theirs is known
 *
 * What an ended connection means for others, and how it is folded:
 *   - a verdict may need that no other connection wrote anything that is not in
 *     force (lone_writer()).  A flush has put its last write in force: then the
 *     newest such flush is kept for the export (past_settled), and that is so for
 *     all that begins later.  Else it never will be for all (past_loose).
 * Whatever these cannot tell exactly, they tell so that less is proved.
 */
#include <base/assert.h>

#include <stdlib.h>
#include <string.h>

#include "past.h"
#include "unflushed.h"

/* How long a write must have been settled, ns. */
#ifndef SETTLED_AGE /* tests fold at once */
#define SETTLED_AGE INT64_C(1000000000)
#endif
/* Ended ones that may wait to be settled, or for a flush of another. */
#define ENDED_MAX  1024u
#define LINGER_MAX 256u
/* Unflushed writes that each of those remembers one by one. */
#define LINGER_WRITES 256u
/* How many are looked at at a time, for each new connection and now and then: more
 * than come. */
#define SWEEP 4u

struct nbds_party *past_end(struct nbds_party *p)
{
	struct parties *ps = p->world->parties;

	if (p->failed_flush)
		op_unref(p->failed_flush);
	p->failed_flush = NULL;
	unflushed_gather(p, LINGER_WRITES);
	party_unlink(p, PARTY_PLACE);
	party_unlink(p, PARTY_SILENT);
	party_append(&ps->lingering, PARTY_PLACE, p);
	if (p->xport) {
		party_unlink(p, PARTY_EXPORT);
		party_append(&p->xport->lingering, PARTY_EXPORT, p);
	}
	return ps->lingering.count > LINGER_MAX && ps->lingering.first != p ? ps->lingering.first
									    : NULL;
}

void past_settle(struct nbds_party *p)
{
	struct parties *ps = p->world->parties;
	const struct nbds_op *first = unflushed_oldest(p);

	if (p->links[PARTY_PLACE].list != &ps->lingering)
		return;
	if (first) {
		p->unflushed_frame = first->request_frame;
		p->unflushed_since = first->hi.time;
	}
	unflushed_free(p);
	party_unlink(p, PARTY_EXPORT);
	party_unlink(p, PARTY_PLACE);
	party_append(&ps->ended, PARTY_PLACE, p);
}

/* --- folding ------------------------------------------------------------- */

/* From when on `op` is in force for all, whatever fails later. False: not (yet). */
static bool settled(const struct nbds_op *op, struct nbds_point *from, bool *fua_only)
{
	const struct nbds_world *w = op->world;
	const struct nbds_op *f = flush_after(op);

	if ((!f && !op->fua) || voided(op, NULL) || may_be_voided(op))
		return false;
	*from = f ? f->hi : op->hi;
	*fua_only = !f;
	return w->now > from->time && (uint64_t)w->now - (uint64_t)from->time > SETTLED_AGE;
}

/* The same of all of p's writes of a kind. */
static bool last_settled(const struct nbds_party *p, unsigned kind, struct nbds_point *from,
			 bool *fua_only)
{
	struct nbds_op all;
	struct nbds_point all_from;
	bool all_fua_only;

	if (!settled(p->last[kind], from, fua_only))
		return false;
	if (!trail_write(p, kind, &all))
		return true;
	if (!settled(&all, &all_from, &all_fua_only))
		return false;
	later_of(from, &all_from);
	*fua_only |= all_fua_only;
	return true;
}

/* lone_writer() of the others without p. False: it can be said better later. */
static bool fold_writes(struct nbds_party *p, bool now)
{
	struct nbds_op *const *last = p->last;
	struct nbds_world *w = p->world;
	struct xport *x = p->xport;
	struct nbds_point from[2];
	bool fua_only[2] = {false, false};

	if (p->writes_unresolved || p->voided || ((last[0] || last[1]) && !party_mc(p)))
		w->parties->loose = true;
	if (w->parties->loose || (!last[0] && !last[1]))
		return true;
	for (unsigned i = 0; i < 2; i++) {
		if (!last[i] || last_settled(p, i, &from[i], &fua_only[i]))
			continue;
		w->parties->loose = now;
		return now;
	}
	for (unsigned i = 0; i < 2; i++) {
		if (!last[i])
			continue;
		if (!x->past_written)
			x->past_settled = from[i];
		later_of(&x->past_settled, &from[i]);
		if (!w->parties->past_written)
			w->parties->past_settled = from[i];
		later_of(&w->parties->past_settled, &from[i]);
		w->parties->past_fua |= fua_only[i];
		w->parties->past_written += !x->past_written;
		x->past_written = true;
	}
	return true;
}

static bool fold(struct nbds_party *p, bool now)
{
	struct nbds_world *w = p->world;

	if (!fold_writes(p, now))
		return false;
	if (w->parties->writer == p)
		w->parties->writer = NULL;
	wrote_nothing(p);
	return true;
}

void past_sweep(struct nbds_world *w)
{
	struct parties *ps = w->parties;

	for (unsigned n = 0; n < SWEEP && ps->ended.first; n++) {
		struct nbds_party *p = ps->ended.first;
		bool folded = fold(p, ps->ended.count > ENDED_MAX);

		party_unlink(p, PARTY_PLACE);
		party_append(folded ? &ps->folded : &ps->ended, PARTY_PLACE, p);
	}
	for (unsigned n = 0; n < SWEEP && ps->folded.first; n++) {
		struct nbds_party *p = ps->folded.first;

		party_unlink(p, PARTY_PLACE);
		if (p->left && !p->ops)
			world_dealloc(w, p, sizeof(*p));
		else
			party_append(&ps->folded, PARTY_PLACE, p);
	}
}

/* --- what folded ones mean ------------------------------------------------ */

void past_voided(const struct nbds_op *x)
{
	struct nbds_world *w = x->world;
	const struct parties *ps = w->parties;

	if (ps->past_written && (ps->past_fua || !point_before(w, &ps->past_settled, &x->lo)))
		w->parties->loose = true;
}

/* Lets go of the operations of all of a list: one may refer to another party's. */
static void let_go(const struct party_list *list)
{
	for (struct nbds_party *p = list->first; p; p = p->links[PARTY_PLACE].next) {
		unflushed_free(p);
		wrote_nothing(p);
	}
}

/* Frees all of a list. */
static void free_all(struct nbds_world *w, struct party_list *list)
{
	while (list->first) {
		struct nbds_party *p = list->first;

		NBDS_ASSERT(!p->unflushed && !p->last[0] && !p->last[1]);
		for (unsigned role = 0; role < PARTY_ROLES; role++)
			party_unlink(p, role);
		world_dealloc(w, p->carry, 2 * sizeof(*p->carry));
		world_dealloc(w, p, sizeof(*p));
	}
}

void past_free(struct nbds_world *w)
{
	let_go(&w->parties->open);
	let_go(&w->parties->lingering);
	let_go(&w->parties->ended);
	let_go(&w->parties->folded);
	free_all(w, &w->parties->open);
	free_all(w, &w->parties->lingering);
	free_all(w, &w->parties->ended);
	free_all(w, &w->parties->folded);
}
