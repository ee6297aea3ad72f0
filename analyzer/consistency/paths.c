/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * On which grounds a write is in force for a command. See paths.h.
 */
#include "paths.h"

bool both_mc(const struct nbds_party *a, const struct nbds_party *b)
{
	return a->xport && a->xport == b->xport && party_mc(a) && party_mc(b);
}

enum voiding { VOID_NOT, VOID_BREACH, VOID };

/* May x, which failed, have dropped w for a command that was over at hi? */
static bool may_drop(const struct nbds_op *x, const struct nbds_op *w, const struct nbds_point *hi)
{
	return x != w && !(hi && point_before(w->world, hi, &x->lo)) && !op_before(x, w) &&
	       !flush_between(w, x, party_mc(w->party));
}

static enum voiding voiding(const struct nbds_op *w, const struct nbds_point *hi)
{
	const struct nbds_world *world = w->world;
	enum voiding result = VOID_NOT;

	if (!w->party->xport || world->order->void_all)
		return VOID;
	for (uint32_t i = 0; i < world->order->void_count; i++) {
		const struct nbds_op *x = world->order->void_by[i];

		if (!may_drop(x, w, hi))
			continue;
		if (!x->breach)
			return VOID;
		result = VOID_BREACH;
	}
	return flights_void(w, hi) ? VOID : result;
}

/* All that may have dropped w for a command that was over at hi was answered before f. */
static bool voided_before(const struct nbds_op *w, const struct nbds_point *hi,
			  const struct nbds_op *f)
{
	const struct nbds_world *world = w->world;

	for (uint32_t i = 0; i < world->order->void_count; i++)
		if (may_drop(world->order->void_by[i], w, hi) &&
		    !op_before(world->order->void_by[i], f))
			return false;
	return !world->order->void_all && !flights_void(w, hi);
}

const struct nbds_op *flush_first_after(const struct nbds_world *w, const struct xport *x,
					const struct nbds_point *hi)
{
	uint32_t end = x ? x->log_count : 0, first = x ? flush_log_after(x, hi->frame) : 0;

	for (uint32_t n = 0; first < end && n < 64; first++, n++)
		if (party_mc(x->log[first]->party) && point_before(w, hi, &x->log[first]->lo))
			return x->log[first];
	return NULL;
}

struct nbds_op *flush_latest(const struct nbds_op *c)
{
	const struct xport *x = c->party->xport;
	uint32_t after = x ? flush_log_after(x, c->lo.frame) : 0;
	struct nbds_op *last = NULL;

	for (uint32_t i = after, n = 0; i > 0 && n < 64; i--, n++) {
		struct nbds_op *f = x->log[i - 1];

		if (party_mc(f->party) && op_before(f, c) &&
		    (!last || f->lo.frame > last->lo.frame))
			last = f;
	}
	/* and those of its own connection that T1 or T2 put before it all the same */
	for (uint32_t i = after, n = 0; x && i < x->log_count && n < 64; i++, n++) {
		struct nbds_op *f = x->log[i];

		if (f->party == c->party && party_mc(f->party) && op_before(f, c) &&
		    (!last || f->lo.frame > last->lo.frame))
			last = f;
	}
	return last;
}

unsigned paths_of(const struct nbds_op *w, const struct nbds_op *c, const struct nbds_point *hi,
		  bool server, struct nbds_op **flush)
{
	unsigned paths = 0, order;
	struct nbds_op *f = NULL;
	bool epoch, same = true, multi;

	if (w->state != OP_OK || !w->proves || !w->write_class || w == c || !op_before(w, c))
		return 0;
	epoch = w->epoch == c->epoch;
	multi = both_mc(w->party, c->party);
	order = PATH_PLAIN_ANY;
	if (w->party->xport && w->party->xport == c->party->xport)
		order |= PATH_PLAIN;
	if (multi && w->party != c->party)
		order |= PATH_PLAIN_MC;
	if (multi)
		f = flush_between(w, c, true);
	if (server && (f || w->fua) && multi && w->world->parties->hears)
		same = same_server(w, c);
	if (w->party == c->party)
		paths |= PATH_E1;
	if (multi && w->fua)
		paths |= !epoch ? PATH_ACROSS : same ? PATH_E2 : PATH_UNSURE2;
	if (f)
		paths |= !epoch ? PATH_ACROSS : same ? PATH_E3 : PATH_UNSURE3;
	if (!paths)
		return order;
	switch (voiding(w, hi)) {
	case VOID_NOT:
		order |= paths;
		break;
	case VOID_BREACH:
		order |= (paths & PATH_E1 ? PATH_BREACH1 : 0u) |
			 (paths & (PATH_E2 | PATH_UNSURE2) ? PATH_BREACH2 : 0u) |
			 (paths & (PATH_E3 | PATH_UNSURE3 | PATH_ACROSS) ? PATH_BREACH3 : 0u);
		break;
	case VOID:
		/* the last flush before c is the likeliest to come after all failures */
		if (!multi || !epoch)
			return order;
		f = flush_latest(c);
		if (!f || !op_before(w, f) || !voided_before(w, hi, f))
			return order;
		order |= PATH_AGAIN;
		break;
	}
	if (flush && f)
		*flush = f;
	return order;
}
