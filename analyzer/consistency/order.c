/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Order: what came certainly before what, and what is therefore in force.
 * See consistency.h for the definitions.
 */
#include <string.h>

#include "order.h"

#define VOIDERS_MAX 256u  /* failed flushes kept for one export */
#define FLUSH_LOG   1024u /* flushes kept, whether a write is known to need them or not */
#define FLUSH_SCAN  64u
#define OTHERS_MAX  64u

bool op_before(const struct nbds_op *a, const struct nbds_op *b)
{
	if (a->state != OP_OK && a->state != OP_FAILED)
		return false;
	if (a->party == b->party && !a->early) {
		/* T1: when a's status left, b's header had not all arrived */
		if (a->status_acked != NBDS_NO_ACK && a->status_acked < b->header_end)
			return true;
		/* T2: when b left, a's status had arrived */
		if (b->acked != NBDS_NO_ACK && b->acked >= a->status_end)
			return true;
	}
	return point_before(a->world, &a->hi, &b->lo);
}

uint32_t flush_log_after(const struct xport *x, uint64_t frame)
{
	uint32_t lo = 0, count = x->log_count;

	if (!count || x->ends[count - 1] <= frame)
		return count;
	/* [lo, lo + count) has it */
	while (count > 1) {
		uint32_t half = count / 2;

		lo += x->ends[lo + half - 1] <= frame ? half : 0;
		count -= half;
	}
	return lo;
}

static bool flush_counts(const struct nbds_op *f, const struct nbds_op *w, bool any_conn)
{
	return any_conn ? party_mc(f->party) : f->party == w->party;
}

static struct nbds_op *find_between(const struct nbds_op *w, const struct nbds_op *c, bool any_conn)
{
	const struct xport *x = w->party->xport;
	uint32_t first, last, i, n;

	if (!x || !x->log_count)
		return NULL;
	/* those that ended after W did and before c began, give or take a frame:
	 * the proof is op_before()'s */
	first = flush_log_after(x, w->hi.frame ? w->hi.frame - 1 : 0);
	last = flush_log_after(x, c->lo.frame);
	if (last > first) {
		/* the one that began last is the likeliest to have begun after W */
		struct nbds_op *f = x->log[x->latest[last - 1]];

		if (flush_counts(f, w, any_conn) && op_before(w, f) && op_before(f, c))
			return f;
	}
	for (i = first, n = 0; i < last && n < FLUSH_SCAN; i++, n++)
		if (flush_counts(x->log[i], w, any_conn) && op_before(w, x->log[i]) &&
		    op_before(x->log[i], c))
			return x->log[i];
	for (i = last, n = 0; i > first && n < FLUSH_SCAN; i--, n++)
		if (flush_counts(x->log[i - 1], w, any_conn) && op_before(w, x->log[i - 1]) &&
		    op_before(x->log[i - 1], c))
			return x->log[i - 1];
	/* and those of c's own connection that T1 or T2 put before it all the same */
	for (i = last, n = 0; i < x->log_count && n < FLUSH_SCAN; i++, n++)
		if (x->log[i]->party == c->party && flush_counts(x->log[i], w, any_conn) &&
		    op_before(w, x->log[i]) && op_before(x->log[i], c))
			return x->log[i];
	return NULL;
}

struct nbds_op *flush_between(const struct nbds_op *w, const struct nbds_op *c, bool any_conn)
{
	struct nbds_op *f;

	/* what covered it once is known even if the log has lost it; unless the order that showed
	 * it is not trusted any more */
	if (any_conn && w->cover && op_before(w->cover, c) && op_before(w, w->cover))
		return w->cover;
	f = find_between(w, c, any_conn);
	if (f && any_conn && !w->cover && w->refs && w->write_class) {
		op_ref(f);
		((struct nbds_op *)w)->cover = f;
	}
	return f;
}

const struct nbds_op *flush_after(const struct nbds_op *w)
{
	const struct xport *x = w->party->xport;
	uint32_t first, n;

	if (!x)
		return NULL;
	first = flush_log_after(x, w->hi.frame ? w->hi.frame - 1 : 0);
	for (n = 0; first + n < x->log_count && n < FLUSH_SCAN; n++)
		if (flush_counts(x->log[first + n], w, true) && op_before(w, x->log[first + n]))
			return x->log[first + n];
	return NULL;
}

struct nbds_op *flush_close(const struct nbds_op *w, const struct nbds_op *c)
{
	const struct xport *x = w->party->xport;
	uint32_t last, n;

	if (!x || w->world->no_t3 || !party_mc(w->party) || !party_mc(c->party))
		return NULL;
	last = flush_log_after(x, c->lo.frame);
	for (n = 0; last > 0 && n < FLUSH_SCAN; last--, n++) {
		struct nbds_op *f = x->log[last - 1];

		if (party_mc(f->party) && f->hi.interface == c->lo.interface &&
		    f->hi.time <= c->lo.time &&
		    (uint64_t)c->lo.time - (uint64_t)f->hi.time <=
			    (uint64_t)w->world->config.epsilon &&
		    !point_before(w->world, &f->hi, &c->lo) && op_before(w, f))
			return f;
	}
	return NULL;
}

struct nbds_op *flush_since(const struct nbds_party *p, const struct nbds_point *since,
			    const struct nbds_op *c)
{
	const struct xport *x = p->xport;
	uint32_t last, n;

	if (!x)
		return NULL;
	last = flush_log_after(x, c->lo.frame);
	for (n = 0; last > 0 && n < FLUSH_SCAN; last--, n++) {
		struct nbds_op *f = x->log[last - 1];

		if (party_mc(f->party) && point_before(p->world, since, &f->lo) && op_before(f, c))
			return f;
	}
	return NULL;
}

bool renewed(const struct nbds_party *reader, const struct nbds_point *base,
	     const struct nbds_op *w)
{
	/* of a lone writer, all that came before is superseded for itself */
	if (!w->world->parties->many_writers && w->party == reader)
		return point_before(w->world, base, &w->lo);
	/* what others wrote to another export is superseded by nothing */
	return !w->world->parties->others && flush_since(reader, base, w);
}

static void log_free(struct nbds_world *w, struct xport *x)
{
	world_dealloc(w, x->log, x->log_room * sizeof(*x->log));
	world_dealloc(w, x->latest, x->log_room * sizeof(*x->latest));
	world_dealloc(w, x->ends, x->log_room * sizeof(*x->ends));
}

/* Of the flushes log[0 ... i] that which began last, if that of all before is known. */
static uint32_t latest_of(const struct xport *x, uint32_t i)
{
	uint32_t before = i ? x->latest[i - 1] : 0;

	return i == 0 || x->log[i]->lo.time >= x->log[before]->lo.time ? i : before;
}

/*
 * Of the older half those stay that are known to be the first to cover some write, as long as
 * that is of interest: no other flush does as well as that.  For the others newer ones do,
 * whoever comes; what has begun before those is told less of.  When memory is short, none
 * stays.
 */
static void log_thin(struct xport *x, struct nbds_world *w)
{
	uint32_t half = x->log_count / 2, kept = 0;
	bool all = w->memory > w->memory_cap / 2;

	for (uint32_t i = 0; i < x->log_count; i++) {
		struct nbds_op *f = x->log[i];

		if (i < half && (all || f->refs == 1)) {
			op_unref(f);
			continue;
		}
		x->log[kept] = f;
		x->ends[kept] = f->hi.frame;
		x->latest[kept] = latest_of(x, kept);
		kept++;
	}
	x->log_count = kept;
	x->log_limit = kept > FLUSH_LOG / 2 ? kept * 2 : FLUSH_LOG;
}

void flush_log_add(struct nbds_op *f)
{
	struct xport *x = f->party->xport;

	f->world->order->version++;
	f->world->order->flushes++;

	if (x->log_count >= (x->log_limit ? x->log_limit : FLUSH_LOG))
		log_thin(x, f->world);
	if (x->log_count == x->log_room) {
		uint32_t room = x->log_room ? x->log_room * 2 : 16;
		struct nbds_world *w = f->world;
		struct nbds_op **log = world_alloc(w, room * sizeof(*log));
		uint32_t *latest = world_alloc(w, room * sizeof(*latest));
		uint64_t *ends = world_alloc(w, room * sizeof(*ends));

		if (!log || !latest || !ends) {
			world_dealloc(w, log, room * sizeof(*log));
			world_dealloc(w, latest, room * sizeof(*latest));
			world_dealloc(w, ends, room * sizeof(*ends));
			return;
		}
		if (x->log_count) {
			memcpy(log, x->log, x->log_count * sizeof(*log));
			memcpy(latest, x->latest, x->log_count * sizeof(*latest));
			memcpy(ends, x->ends, x->log_count * sizeof(*ends));
		}
		log_free(w, x);
		x->log = log;
		x->latest = latest;
		x->ends = ends;
		x->log_room = room;
	}
	/* replies of different connections can be told a little out of order */
	uint32_t at = x->log_count;

	while (at > 0 && x->ends[at - 1] > f->hi.frame) {
		x->log[at] = x->log[at - 1];
		x->ends[at] = x->ends[at - 1];
		at--;
	}
	op_ref(f);
	x->log[at] = f;
	x->ends[at] = f->hi.frame;
	x->log_count++;
	for (uint32_t i = at; i < x->log_count; i++)
		x->latest[i] = latest_of(x, i);
}

static bool last_voided(const struct nbds_party *p, unsigned kind)
{
	struct nbds_op all;

	return (p->last[kind] && voided(p->last[kind], NULL)) ||
	       (trail_write(p, kind, &all) && voided(&all, NULL));
}

static void void_last(const struct party_list *list)
{
	for (struct nbds_party *p = list->first; p; p = party_next(p, PARTY_PLACE))
		if (last_voided(p, 0) || last_voided(p, 1))
			wrote_voided(p);
}

void void_add(struct nbds_op *x)
{
	struct nbds_world *w = x->world;

	w->order->version++;
	if (w->order->void_all)
		return;
	if (w->order->void_count == w->order->void_room) {
		uint32_t room = w->order->void_room ? w->order->void_room * 2 : 8;
		struct nbds_op **v = room <= VOIDERS_MAX
					     ? world_realloc(w, w->order->void_by,
							     w->order->void_room * sizeof(*v),
							     room * sizeof(*v))
					     : NULL;

		if (!v) {
			w->order->void_all = true;
			return;
		}
		w->order->void_by = v;
		w->order->void_room = room;
	}
	op_ref(x);
	w->order->void_by[w->order->void_count++] = x;
	/* what it voids is in force for nobody any more */
	void_last(&w->parties->open);
	void_last(&w->parties->lingering);
}

void order_doubt(struct nbds_world *w, bool fails)
{
	w->order->fails = fails;
	w->order->version++;
}

bool flights_void(const struct nbds_op *w, const struct nbds_point *hi)
{
	const struct nbds_world *world = w->world;
	unsigned looked = 0;

	if (!world->order->fails)
		return false;
	for (const struct nbds_op *x = world->order->flight_first; x; x = x->flight->awaited.next)
		if (x != w && (++looked > AWAITED_SCAN ||
			       (x->voider && !(hi && point_before(world, hi, &x->lo)) &&
				!flush_between(w, x, party_mc(w->party)))))
			return true;
	return false;
}

bool voided(const struct nbds_op *w, const struct nbds_point *hi)
{
	const struct nbds_world *world = w->world;

	if (!w->party->xport || world->order->void_all)
		return true;
	for (uint32_t i = 0; i < world->order->void_count; i++) {
		const struct nbds_op *x = world->order->void_by[i];

		if (x == w || (hi && point_before(world, hi, &x->lo)) || op_before(x, w))
			continue;
		if (!flush_between(w, x, party_mc(w->party)))
			return true;
	}
	return flights_void(w, hi);
}

static unsigned find_paths(const struct nbds_op *w, const struct nbds_op *c,
			   const struct nbds_point *hi, struct nbds_op **flush)
{
	unsigned paths = 0;
	struct nbds_op *f;

	if (!op_before(w, c))
		return 0;
	if (w->party == c->party)
		paths |= EST_E1;
	if (w->party->xport && w->party->xport == c->party->xport && party_mc(w->party) &&
	    party_mc(c->party)) {
		if (w->fua)
			paths |= EST_E2;
		f = flush_between(w, c, true);
		if (f) {
			paths |= EST_E3;
			*flush = f;
		}
	}
	if (paths && voided(w, hi))
		return 0;
	return paths;
}

unsigned established(const struct nbds_op *w, const struct nbds_op *c, const struct nbds_point *hi,
		     struct nbds_op **flush)
{
	struct nbds_world *world = w->world;
	struct ordered *o;

	if (w->state != OP_OK || !w->proves || w == c)
		return 0;
	if (!world->order->known)
		world->order->known = world_alloc(world, ORDERED_SLOTS * sizeof(*o));
	if (!world->order->known) {
		struct nbds_op *f = NULL;
		unsigned paths = find_paths(w, c, hi, &f);

		if (flush && f)
			*flush = f;
		return paths;
	}
	o = &world->order->known[(w->serial * 31 + c->serial) % ORDERED_SLOTS];
	if (o->w != w->serial || o->c != c->serial || o->version != world->order->version ||
	    o->hi_frame != (hi ? hi->frame : UINT64_MAX)) {
		*o = (struct ordered){.w = w->serial,
				      .c = c->serial,
				      .hi_frame = hi ? hi->frame : UINT64_MAX,
				      .version = world->order->version};
		o->paths = find_paths(w, c, hi, &o->flush);
	}
	if (flush && o->flush)
		*flush = o->flush;
	return o->paths;
}

/* The last writes of p, of kind 0 (plain) or 1 (FUA), were in force for all before w began. */
static bool last_in_force(const struct nbds_party *p, unsigned kind, const struct nbds_op *w)
{
	struct nbds_op all, *flush = NULL;

	return (established(p->last[kind], w, NULL, NULL) & (EST_E2 | EST_E3)) &&
	       (!trail_write(p, kind, &all) ||
		(find_paths(&all, w, NULL, &flush) & (EST_E2 | EST_E3)));
}

/* All that folded connections wrote was in force before w began. */
static bool folded_in_force(const struct nbds_op *w)
{
	const struct nbds_world *world = w->world;
	const struct xport *x = w->party->xport;

	if (world->parties->loose)
		return false;
	if (!world->parties->past_written)
		return true;
	return world->parties->past_written == 1 && x && x->past_written &&
	       !world->order->void_all && party_mc(w->party) &&
	       point_before(world, &x->past_settled, &w->lo);
}

/* Of the flushes that certainly ended before w began, the one that began last. */
static const struct nbds_op *last_flush(const struct nbds_op *w)
{
	const struct xport *x = w->party->xport;
	uint32_t last = flush_log_after(x, w->lo.frame);
	const struct nbds_op *f = last ? x->log[x->latest[last - 1]] : NULL;

	return f && party_mc(f->party) && op_before(f, w) ? f : NULL;
}

/* The last writes, of kind 0 (plain) or 1 (FUA), of all other connections were in force for
 * all before w began.  Those who wrote last come first: once one wrote before `settled`, all
 * behind it did. */
static bool others_in_force(const struct nbds_op *w, unsigned kind,
			    const struct nbds_point *settled)
{
	const struct nbds_world *world = w->world;
	const struct xport *x = w->party->xport;
	bool fails = world->order->void_count || world->order->void_all;
	unsigned n = 0;

	for (const struct nbds_party *p = x->wrote[kind].first; p;
	     p = party_next(p, PARTY_PLAIN + kind)) {
		if (!fails && settled && !x->aloof && party_mc(w->party) &&
		    point_before(world, &p->older[kind], settled))
			return true;
		if (p == w->party)
			continue;
		/* with failures each has to be looked at: not too many */
		if ((fails && ++n > OTHERS_MAX) || !last_in_force(p, kind, w))
			return false;
	}
	return true;
}

bool lone_writer(const struct nbds_op *w)
{
	const struct parties *ps = w->world->parties;
	const struct nbds_party *own = w->party;
	const struct xport *x = own->xport;
	const struct nbds_op *f;

	if (!x || !folded_in_force(w) || ps->writes_in_flight != own->writes_in_flight ||
	    ps->unresolved != (own->writes_unresolved > 0) || ps->voided != own->voided ||
	    ps->writers != x->wrote[0].count + x->wrote[1].count)
		return false;
	f = last_flush(w);
	return others_in_force(w, 0, f ? &f->lo : NULL) && others_in_force(w, 1, &w->lo);
}

/* Every reader that will ever come finds N in force, or can prove nothing
 * against a server about this place anyway. */
bool in_force_for_all(const struct nbds_op *n)
{
	struct nbds_op later = {.world = n->world,
				.party = n->party,
				.acked = NBDS_NO_ACK,
				.lo = {UINT64_MAX, INT64_MAX, n->hi.interface},
				.request_frame = UINT64_MAX};

	if (!party_mc(n->party))
		return true;
	return n->fua || flush_between(n, &later, true);
}

/* Is there a voider in flight that may yet drop n? */
bool may_be_voided(const struct nbds_op *n)
{
	unsigned looked = 0;

	/* what is in flight began after a flush that covers it */
	if (n->cover && party_mc(n->party) && op_before(n, n->cover) &&
	    flying_after(n->world, FLYING_AWAITED, &n->cover->hi))
		return false;
	for (const struct nbds_op *x = n->world->order->flight_first; x;
	     x = x->flight->awaited.next)
		if (x != n && (++looked > AWAITED_SCAN ||
			       (x->voider && !flush_between(n, x, party_mc(n->party)))))
			return true;
	return false;
}

void order_relied(struct nbds_world *w, const struct nbds_point *hi)
{
	if (w->order->relied)
		later_of(&w->order->relied_upto, hi);
	else
		w->order->relied_upto = *hi;
	w->order->relied = true;
}

void order_free(struct nbds_world *w)
{
	for (uint32_t i = 0; i < w->order->void_count; i++)
		op_unref(w->order->void_by[i]);
	world_dealloc(w, w->order->void_by, w->order->void_room * sizeof(struct nbds_op *));
	world_dealloc(w, w->order->known, ORDERED_SLOTS * sizeof(struct ordered));
	for (struct xport *x = w->parties->xports; x; x = x->next) {
		for (uint32_t i = 0; i < x->log_count; i++)
			op_unref(x->log[i]);
		log_free(w, x);
	}
}
