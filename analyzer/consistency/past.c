/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Connections that ended, made small.
 *
 *   parties ──► ended ──► folded ──► freed
 *
 * parties  open ones, and those with writes that a flush of another may cover yet
 * ended    nothing can happen to what they wrote but that it is voided
 * folded   what they mean for others is in a few numbers of the world; they stay
 *          for as long as a command of theirs is known, and nobody walks over them
 *
 * What an ended connection means for others, and how it is folded:
 *   - a verdict may need that no other connection wrote anything that is not in
 *     force (lone_writer()).  A flush has put its last write in force: then the
 *     newest such flush is kept for the export (past_settled), and that is so for
 *     all that begins later.  Else it never will be for all (past_loose).
 *   - the server was alive from its first payload to the last request answered
 *     (same_server()): a lifetime, joined with others that it overlaps.
 * Whatever these cannot tell exactly, they tell so that less is proved.
 */
#include <stdlib.h>
#include <string.h>

#include "world.h"

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
	if (p->failed_flush)
		op_unref(p->failed_flush);
	p->failed_flush = NULL;
	if (p->unflushed_count > LINGER_WRITES)
		unflushed_count_only(p, p->unflushed_count - LINGER_WRITES);
	p->world->parties.lingering++;
	if (p->world->parties.lingering > LINGER_MAX) {
		struct nbds_party *oldest = NULL;

		for (struct nbds_party *o = p->world->parties.open; o; o = o->next)
			if (o->ended && o != p)
				oldest = o;
		return oldest;
	}
	return NULL;
}

void past_settle(struct nbds_party *p)
{
	struct nbds_world *w = p->world;
	struct nbds_party **at = &w->parties.open;

	while (*at && *at != p)
		at = &(*at)->next;
	if (!*at || !p->ended)
		return;
	*at = p->next;
	w->parties.lingering--;
	if (p->unflushed_count) {
		p->unflushed_frame = p->unflushed[0]->request_frame;
		p->unflushed_since = p->unflushed[0]->hi.time;
	}
	unflushed_count_only(p, p->unflushed_count);
	free(p->unflushed);
	p->unflushed = NULL;
	p->unflushed_room = 0;
	p->next = NULL;
	*w->parties.ended_tail = p;
	w->parties.ended_tail = &p->next;
	w->parties.ended_count++;
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

/* lone_writer() of the others without p. False: it can be said better later. */
static bool fold_writes(struct nbds_party *p, bool now)
{
	struct nbds_op *last[] = {p->last_plain, p->last_fua};
	struct nbds_world *w = p->world;
	struct xport *x = p->xport;
	struct nbds_point from[2];
	bool fua_only[2] = {false, false};

	if (p->writes_unresolved || p->voided || ((last[0] || last[1]) && !party_mc(p)))
		w->parties.loose = true;
	if (w->parties.loose || (!last[0] && !last[1]))
		return true;
	for (unsigned i = 0; i < 2; i++) {
		if (!last[i] || settled(last[i], &from[i], &fua_only[i]))
			continue;
		w->parties.loose = now;
		return now;
	}
	for (unsigned i = 0; i < 2; i++) {
		if (!last[i])
			continue;
		if (!x->past_written)
			x->past_settled = from[i];
		later_of(&x->past_settled, &from[i]);
		x->past_written = true;
		x->past_fua |= fua_only[i];
	}
	return true;
}

/* `a` begins first, and ends after `b` began: it was one server. */
static bool joined(const struct nbds_world *w, const struct lifetime *a, const struct lifetime *b)
{
	return point_before(w, &a->from, &b->from) && point_before(w, &b->from, &a->to);
}

static void fold_life(struct nbds_party *p)
{
	struct lifetime life = {p->first_heard, p->last_alive};
	struct nbds_world *w = p->world;

	if (!p->heard || !p->alive)
		return;
	for (unsigned i = 0; i < w->parties.life_count;) {
		struct lifetime *l = &w->parties.lives[i];

		if (joined(w, l, &life))
			life.from = l->from;
		else if (!joined(w, &life, l)) {
			i++;
			continue;
		}
		if (point_before(w, &life.to, &l->to))
			life.to = l->to;
		memmove(l, l + 1, (w->parties.life_count - i - 1) * sizeof(*l));
		w->parties.life_count--;
		i = 0; /* it is longer now */
	}
	if (w->parties.life_count == LIVES_MAX)
		memmove(w->parties.lives, w->parties.lives + 1,
			--w->parties.life_count * sizeof(life));
	w->parties.lives[w->parties.life_count++] = life;
}

static bool fold(struct nbds_party *p, bool now)
{
	struct nbds_world *w = p->world;

	if (!fold_writes(p, now))
		return false;
	fold_life(p);
	if (w->parties.writer == p)
		w->parties.writer = NULL;
	if (p->last_plain)
		op_unref(p->last_plain);
	if (p->last_fua)
		op_unref(p->last_fua);
	p->last_plain = p->last_fua = NULL;
	return true;
}

static struct nbds_party *take_first(struct nbds_party **first, struct nbds_party ***tail)
{
	struct nbds_party *p = *first;

	*first = p->next;
	if (!*first)
		*tail = first;
	p->next = NULL;
	return p;
}

static void append(struct nbds_party ***tail, struct nbds_party *p)
{
	**tail = p;
	*tail = &p->next;
}

void past_sweep(struct nbds_world *w)
{
	for (unsigned n = 0; n < SWEEP && w->parties.ended; n++) {
		struct nbds_party *p = take_first(&w->parties.ended, &w->parties.ended_tail);

		if (fold(p, w->parties.ended_count > ENDED_MAX)) {
			append(&w->parties.folded_tail, p);
			w->parties.ended_count--;
		} else {
			append(&w->parties.ended_tail, p);
		}
	}
	for (unsigned n = 0; n < SWEEP && w->parties.folded; n++) {
		struct nbds_party *p = take_first(&w->parties.folded, &w->parties.folded_tail);

		if (p->left && !p->ops)
			world_dealloc(w, p, sizeof(*p));
		else
			append(&w->parties.folded_tail, p);
	}
}

/* --- what folded ones mean ------------------------------------------------ */

void past_voided(const struct nbds_op *x)
{
	struct nbds_world *w = x->world;

	for (const struct xport *e = w->parties.xports; e; e = e->next)
		if (e->past_written && (e->past_fua || !point_before(w, &e->past_settled, &x->lo)))
			w->parties.loose = true;
}

void past_free(struct nbds_world *w)
{
	while (w->parties.ended) {
		struct nbds_party *p = take_first(&w->parties.ended, &w->parties.ended_tail);

		if (p->last_plain)
			op_unref(p->last_plain);
		if (p->last_fua)
			op_unref(p->last_fua);
		world_dealloc(w, p, sizeof(*p));
	}
	while (w->parties.folded) {
		struct nbds_party *p = take_first(&w->parties.folded, &w->parties.folded_tail);

		world_dealloc(w, p, sizeof(*p));
	}
}
