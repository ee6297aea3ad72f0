/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges: what commands without data say of an export. The drawing is in ranges.h.
 */
#include "ranges.h"

/* Granules that are looked into for what is near. */
#define PLACES_MAX 64u

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

void range_unlink(struct nbds_world *w, struct granule *g, struct link **at)
{
	struct link *l = *at;
	struct range *r = l->range;

	*at = l->next;
	g->count--;
	world_dealloc(w, l, sizeof(*l));
	if (--r->links == 0) {
		op_unref(r->op);
		world_dealloc(w, r, sizeof(*r));
	}
}

unsigned range_class(uint64_t length)
{
	unsigned size_class = 12;

	while (size_class < 63 && ((uint64_t)1 << size_class) < length)
		size_class++;
	return size_class;
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
				if (l->range->start >= end || l->range->end <= start)
					continue;
				if (*count == max)
					return false;
				list[(*count)++] = l->range;
			}
		}
	}
	return true;
}

struct nbds_op *range_add(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
			  const struct nbds_point *hi, uint64_t lone_from)
{
	struct nbds_op *overlaps = NULL;
	struct nbds_world *w = op->world;
	unsigned size_class;

	if (end <= start)
		return NULL;
	size_class = range_class(end - start);
	if (w->ranges->count >= w->ranges->bucket_count)
		granules_grow(w);
	struct range *r = world_alloc(w, sizeof(*r));

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
			    .kind = (uint8_t)kind};
	op_ref(op);
	r->links = 1; /* ours, while we file it */
	for (uint64_t n = start >> size_class; n <= (end - 1) >> size_class; n++) {
		struct granule *g = granule_find(w, size_class, n);
		struct link *l = world_alloc(w, sizeof(*l));

		if (!g) {
			g = world_alloc(w, sizeof(*g));
			if (g) {
				size_t at = granule_hash(w, size_class, n);

				g->number = n;
				g->size_class = (uint8_t)size_class;
				g->chain = w->ranges->buckets[at];
				w->ranges->buckets[at] = g;
				w->ranges->count++;
			}
		}
		if (!g || !l) {
			world_dealloc(w, l, sizeof(*l));
			w->blind = true;
			break;
		}
		l->range = r;
		if (g->links && op->write_class && g->links->range->start < end &&
		    start < g->links->range->end)
			overlapped(&overlaps, op, g->links->range->op);
		l->next = g->links;
		g->links = l;
		g->count++;
		r->links++;
	}
	w->ranges->classes |= (uint64_t)1 << size_class;
	if (--r->links == 0) {
		op_unref(op);
		world_dealloc(w, r, sizeof(*r));
	}
	return overlaps;
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

			if (r->start < first + NBDS_SECTOR && r->end > first &&
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
