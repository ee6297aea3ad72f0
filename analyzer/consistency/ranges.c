/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges: what commands without data say of an export. The drawing is in ranges.h.
 */
#include <base/assert.h>

#include "ranges.h"

/* Granules that are looked into for what is near. */
#define PLACES_MAX 64u
/* Runs of one range; of fewer than a quarter its granule was too small for how near they
 * are. */
#define RUNS_MAX 256u

static size_t granule_hash(const struct nbds_world *w, unsigned size_class, uint64_t number)
{
	return hash_number(w, number * 67 + size_class) & (w->ranges->bucket_count - 1);
}

struct granule *granule_find(const struct nbds_world *w, unsigned size_class, uint64_t number)
{
	if (!w->ranges->bucket_count)
		return NULL;
	for (struct granule *g = w->ranges->buckets[granule_hash(w, size_class, number)]; g;
	     g = g->chain)
		if (g->number == number && g->size_class == size_class)
			return g;
	return NULL;
}

static void granules_grow(struct nbds_world *w)
{
	size_t old = w->ranges->bucket_count, n = old ? old * 2 : 64;
	struct granule **before = w->ranges->buckets,
		       **buckets = world_alloc(w, n * sizeof(*buckets));

	if (!buckets)
		return;
	w->ranges->buckets = buckets;
	w->ranges->bucket_count = n;
	for (size_t i = 0; i < old; i++) {
		struct granule *g = before[i], *next;

		for (; g; g = next) {
			next = g->chain;
			size_t at = granule_hash(w, g->size_class, g->number);
			g->chain = buckets[at];
			buckets[at] = g;
		}
	}
	world_dealloc(w, before, old * sizeof(*before));
}

static void range_unref(struct nbds_world *w, struct range *r)
{
	if (--r->links)
		return;
	for (unsigned i = 0; i < 2; i++)
		if (w->ranges->open[i].range == r)
			w->ranges->open[i].range = NULL;
	op_unref(r->op);
	world_dealloc(w, r->runs, r->run_room * sizeof(*r->runs));
	world_dealloc(w, r, sizeof(*r));
}

void range_unlink(struct nbds_world *w, struct granule *g, struct link **at)
{
	struct link *l = *at;
	struct range *r = l->range;

	*at = l->next;
	g->count--;
	world_dealloc(w, l, sizeof(*l));
	range_unref(w, r);
}

unsigned range_class(uint64_t length)
{
	if (length <= UINT64_C(1) << 12)
		return 12;
	return length > UINT64_C(1) << 62 ? 63 : 64 - (unsigned)__builtin_clzll(length - 1);
}

void ranges_at(const struct nbds_world *w, uint64_t start, uint64_t end,
	       void (*each)(void *arg, const struct range *r), void *arg)
{
	for (uint64_t classes = w->ranges->classes; classes; classes &= classes - 1) {
		unsigned c = (unsigned)__builtin_ctzll(classes);
		const struct granule *g = granule_find(w, c, start >> c);

		for (const struct link *l = g ? g->links : NULL; l; l = l->next)
			if (l->range->start < end && l->range->end > start)
				each(arg, l->range);
	}
}

bool ranges_near(const struct nbds_world *w, uint64_t start, uint64_t end,
		 const struct range **list, unsigned max, unsigned *count)
{
	*count = 0;
	for (uint64_t classes = w->ranges->classes; classes; classes &= classes - 1) {
		unsigned c = (unsigned)__builtin_ctzll(classes);

		if (((end - 1) >> c) - (start >> c) >= PLACES_MAX)
			return false;
		for (uint64_t n = start >> c; n <= (end - 1) >> c; n++) {
			const struct granule *g = granule_find(w, c, n);

			for (const struct link *l = g ? g->links : NULL; l; l = l->next) {
				if (l->range->start >= end || l->range->end <= start ||
				    !l->range->op->write_class)
					continue;
				if (*count == max)
					return false;
				list[(*count)++] = l->range;
			}
		}
	}
	return true;
}

static struct range *range_new(struct nbds_op *op, uint64_t start, uint64_t end,
			       enum range_kind kind, const struct nbds_point *hi,
			       uint64_t lone_from)
{
	struct nbds_world *w = op->world;
	struct range *r;

	if (w->ranges->count >= w->ranges->bucket_count)
		granules_grow(w);
	r = world_alloc(w, sizeof(*r));
	if (!r || !w->ranges->bucket_count) {
		world_dealloc(w, r, sizeof(*r));
		w->blind = true;
		return NULL;
	}
	*r = (struct range){.op = op,
			    .start = start,
			    .end = end,
			    .hi = hi ? *hi : op->lo,
			    .lone_from = lone_from,
			    .links = 1, /* the caller's, while it is filed */
			    .kind = (uint8_t)kind};
	op_ref(op);
	return r;
}

/* Files it under one granule; NULL without memory. */
static struct granule *range_file(struct range *r, unsigned size_class, uint64_t number)
{
	struct nbds_world *w = r->op->world;
	struct granule *g = granule_find(w, size_class, number);
	struct link *l = world_alloc(w, sizeof(*l));

	if (!g) {
		g = world_alloc(w, sizeof(*g));
		if (g) {
			size_t at = granule_hash(w, size_class, number);

			g->number = number;
			g->size_class = (uint8_t)size_class;
			g->chain = w->ranges->buckets[at];
			w->ranges->buckets[at] = g;
			w->ranges->count++;
		}
	}
	if (!g || !l) {
		world_dealloc(w, l, sizeof(*l));
		w->blind = true;
		return NULL;
	}
	w->ranges->classes |= (uint64_t)1 << size_class;
	l->range = r;
	l->next = g->links;
	g->links = l;
	g->count++;
	r->links++;
	return g;
}

struct range *range_newest(const struct nbds_world *w, const struct nbds_op *op, uint64_t start,
			   uint64_t end)
{
	unsigned size_class = range_class(end - start);
	const struct granule *g = granule_find(w, size_class, start >> size_class);
	struct range *r = g && g->links ? g->links->range : NULL;

	return r && r->op == op && r->start == start && r->end == end ? r : NULL;
}

struct nbds_op *range_add(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
			  const struct nbds_point *hi, uint64_t lone_from)
{
	struct nbds_op *overlaps = NULL;
	unsigned size_class;
	struct range *r;

	if (end <= start)
		return NULL;
	size_class = range_class(end - start);
	r = range_new(op, start, end, kind, hi, lone_from);
	if (!r)
		return NULL;
	for (uint64_t n = start >> size_class; n <= (end - 1) >> size_class; n++) {
		struct granule *g = range_file(r, size_class, n);
		const struct link *next = g ? g->links->next : NULL;

		if (!g)
			break;
		if (next && op->write_class && next->range->start < end && start < next->range->end)
			overlapped(&overlaps, op, next->range->op);
	}
	range_unref(op->world, r);
	return overlaps;
}

/* --- runs ---------------------------------------------------------------- */

static bool run_room(struct nbds_world *w, struct range *r, unsigned room)
{
	struct run *runs =
		world_realloc(w, r->runs, r->run_room * sizeof(*runs), room * sizeof(*runs));

	if (!runs)
		return false;
	r->runs = runs;
	r->run_room = (uint16_t)room;
	return true;
}

static bool run_add(struct nbds_world *w, struct range *r, uint64_t start, uint64_t end)
{
	struct run *last = r->run_count ? &r->runs[r->run_count - 1] : NULL;

	if (last && last->end == start) {
		last->end = r->end = end;
		return true;
	}
	if (r->run_count == r->run_room &&
	    (r->run_room == RUNS_MAX ||
	     !run_room(w, r, r->run_room < RUNS_MAX / 4 ? r->run_room * 4u : RUNS_MAX)))
		return false;
	NBDS_ASSERT(r->runs && r->run_count < r->run_room);
	r->runs[r->run_count++] = (struct run){start, end};
	r->end = end;
	return true;
}

void ranges_resume(const struct nbds_op *op, const struct nbds_point *hi, uint64_t lone_from)
{
	for (unsigned i = 0; i < 2; i++) {
		struct open_range *o = &op->world->ranges->open[i];
		const struct range *r = o->range;

		if (r && r->op == op && r->hi.frame == hi->frame && r->hi.time == hi->time &&
		    r->hi.interface == hi->interface && r->lone_from == lone_from)
			continue;
		if (!r || r->op != op)
			o->size_class = o->room = 0;
		o->range = NULL;
	}
}

/* The next one, with a first run from `start` on. NULL without memory. */
static struct range *range_open(struct nbds_op *op, uint64_t start, uint64_t end,
				enum range_kind kind, const struct nbds_point *hi,
				uint64_t lone_from)
{
	struct nbds_world *w = op->world;
	struct open_range *o = &w->ranges->open[kind == RANGE_HOLE];
	unsigned size_class = range_class(end - start) + 1;
	struct range *r = range_new(op, start, start, kind, hi, lone_from);
	uint64_t number;
	bool done;

	if (!r)
		return NULL;
	if (size_class < o->size_class)
		size_class = o->size_class;
	if (size_class > 63)
		size_class = 63;
	number = start >> size_class;
	o->size_class = size_class;
	o->window = number < UINT64_MAX >> size_class ? (number + 1) << size_class : UINT64_MAX;
	done = run_room(w, r, o->room ? o->room : 1) &&
	       run_add(w, r, start, end < o->window ? end : o->window) &&
	       range_file(r, size_class, number);
	range_unref(w, r);
	w->blind |= !done;
	return done ? r : NULL;
}

bool range_told(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
		const struct nbds_point *hi, uint64_t lone_from)
{
	struct nbds_world *w = op->world;
	struct open_range *o = &w->ranges->open[kind == RANGE_HOLE];
	bool filed = false;

	while (start < end) {
		struct range *r = o->range;

		if (r && start >= r->end && start < o->window &&
		    run_add(w, r, start, end < o->window ? end : o->window)) {
			start = r->end;
			continue;
		}
		/* the next ones are as near each other as these were */
		if (r && start < o->window)
			o->size_class--;
		else if (r && r->run_count < RUNS_MAX / 4)
			o->size_class += 2;
		o->room = r ? r->run_count : o->room;
		o->range = range_open(op, start, end, kind, hi, lone_from);
		if (!o->range)
			break;
		start = o->range->end;
		filed = true;
	}
	return filed;
}

const struct run *range_run(const struct range *r, uint64_t at, struct run *whole)
{
	unsigned lo = 0, hi = r->run_count;

	if (!r->runs) {
		*whole = (struct run){r->start, r->end};
		return r->end > at ? whole : NULL;
	}
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (r->runs[mid].end > at)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo < r->run_count ? &r->runs[lo] : NULL;
}

const struct run *range_next(const struct range *r, const struct run *run)
{
	return r->runs && run + 1 < r->runs + r->run_count ? run + 1 : NULL;
}

bool range_within(const struct range *r, const struct range *n)
{
	struct run all, whole;

	if (n->start > r->start || n->end < r->end)
		return false;
	if (!n->runs)
		return true;
	for (const struct run *at = range_run(r, r->start, &all); at; at = range_next(r, at)) {
		const struct run *in = range_run(n, at->start, &whole);

		if (!in || in->start > at->start || in->end < at->end)
			return false;
	}
	return true;
}

/* Is what the range says of a sector over with `by`, which came later? */
static bool range_over(const struct range *r, const struct nbds_op *by)
{
	if (r->op->serial > by->serial)
		return false;
	/* by a read that saw what was there: it is told of what came after it */
	if (by->type == NBD_CMD_READ)
		return true;
	return r->kind == RANGE_HOLE ? op_before(r->op, by)
				     : established(r->op, by, &by->hi, NULL) != 0;
}

bool contents_other_range(const struct nbds_world *w, uint64_t sector, const struct nbds_op *by)
{
	uint64_t first = sector * NBDS_SECTOR;

	for (uint64_t classes = w->ranges->classes; classes; classes &= classes - 1) {
		unsigned c = (unsigned)__builtin_ctzll(classes);
		const struct granule *g = granule_find(w, c, first >> c);

		for (const struct link *l = g ? g->links : NULL; l; l = l->next) {
			const struct range *r = l->range;
			struct run whole;
			const struct run *run = range_run(r, first, &whole);

			if (run && run->start < first + NBDS_SECTOR &&
			    (by->type == NBD_CMD_READ || r->kind != RANGE_SEEN_ZERO) &&
			    !range_over(r, by))
				return true;
		}
	}
	return false;
}

void ranges_free(struct nbds_world *w)
{
	for (size_t i = 0; i < w->ranges->bucket_count; i++) {
		struct granule *g = w->ranges->buckets[i], *next;

		for (; g; g = next) {
			next = g->chain;
			while (g->links)
				range_unlink(w, g, &g->links);
			world_dealloc(w, g, sizeof(*g));
		}
	}
	world_dealloc(w, w->ranges->buckets, w->ranges->bucket_count * sizeof(*w->ranges->buckets));
}
