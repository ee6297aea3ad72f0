/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Old values. See grave.h.
 */
#include <stdlib.h>
#include <string.h>

#include "grave.h"

#define RECENT_MAX   32u
#define FRAME_BITS   37
#define CONN_BITS    24
#define SECTOR_SHIFT (FRAME_BITS + CONN_BITS)

static unsigned sector_of(const struct grave_item *i)
{
	return (unsigned)(i->rest >> SECTOR_SHIFT);
}

static int compare(const struct grave_item *a, const struct grave_item *b)
{
	if (sector_of(a) != sector_of(b))
		return sector_of(a) < sector_of(b) ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

static int by_value(const void *a, const void *b)
{
	const struct grave_item *x = a, *y = b;
	int c = compare(x, y);

	/* of equal ones the newest first */
	return c ? c : x->rest > y->rest ? -1 : x->rest < y->rest;
}

/* --- runs ---------------------------------------------------------------- */

static size_t run_size(uint32_t count)
{
	return sizeof(struct grave_run) + count * sizeof(struct grave_item);
}

static void run_free(struct nbds_world *w, struct grave_run *r)
{
	world_dealloc(w, r, run_size(r->count));
}

/* Both in one, which may be smaller; or NULL without memory. */
static struct grave_run *merge(struct nbds_world *w, const struct grave_run *a,
			       const struct grave_run *b)
{
	uint32_t i = 0, j = 0, n = 0;
	struct grave_run *to = world_alloc(w, run_size(a->count + b->count)), *fit;

	if (!to)
		return NULL;
	while (i < a->count || j < b->count) {
		int c = i == a->count   ? 1
			: j == b->count ? -1
					: compare(&a->items[i], &b->items[j]);

		if (c == 0) {
			to->items[n++] = a->items[i].rest > b->items[j].rest ? a->items[i]
									     : b->items[j];
			i++;
			j++;
		} else {
			to->items[n++] = c < 0 ? a->items[i++] : b->items[j++];
		}
	}
	to->count = a->count + b->count;
	if (n == to->count)
		return to;
	fit = world_realloc(w, to, run_size(to->count), run_size(n));
	if (fit)
		to = fit;
	else
		memset(to->items + n, 0xff, (to->count - n) * sizeof(*to->items));
	to->count = fit ? n : to->count;
	return to;
}

/* Adds a run, and merges as long as the next one is not much larger. */
static void run_add(struct nbds_world *w, struct grave *g, struct grave_run *r)
{
	while (g->runs && g->runs->count < 2 * r->count) {
		struct grave_run *other = g->runs, *both = merge(w, r, other);

		if (!both)
			break;
		g->runs = other->next;
		g->count -= other->count + r->count - both->count;
		run_free(w, other);
		run_free(w, r);
		r = both;
	}
	r->next = g->runs;
	g->runs = r;
}

/* Puts what is recent into a run. False without memory. */
static bool flush_recent(struct nbds_world *w, struct grave *g)
{
	struct grave_run *r = world_alloc(w, run_size(g->recent_count));
	uint32_t n = 0;

	if (!r)
		return false;
	qsort(g->recent, g->recent_count, sizeof(*g->recent), by_value);
	for (unsigned i = 0; i < g->recent_count; i++)
		if (!n || compare(&r->items[n - 1], &g->recent[i]) != 0)
			r->items[n++] = g->recent[i];
	r->count = g->recent_count;
	if (n < r->count) {
		struct grave_run *fit = world_realloc(w, r, run_size(r->count), run_size(n));

		if (!fit) {
			run_free(w, r);
			return false;
		}
		r = fit;
		g->count -= r->count - n;
		r->count = n;
	}
	g->recent_count = 0;
	run_add(w, g, r);
	return true;
}

static bool add(struct nbds_world *w, struct grave *g, const struct grave_item *item)
{
	if (g->recent_count == g->recent_room) {
		if (g->recent_room == RECENT_MAX) {
			if (!flush_recent(w, g))
				return false;
		} else {
			uint8_t room = (uint8_t)(g->recent_room ? g->recent_room * 2 : 4);
			struct grave_item *recent = world_realloc(w, g->recent,
								  g->recent_room * sizeof(*recent),
								  room * sizeof(*recent));

			if (!recent)
				return false;
			g->recent = recent;
			g->recent_room = room;
		}
	}
	g->recent[g->recent_count++] = *item;
	g->count++;
	return true;
}

void byte_set_unref(struct nbds_world *w, struct byte_set *s)
{
	if (!s || --s->refs)
		return;
	w->piece_bytes -= sizeof(*s);
	world_dealloc(w, s, sizeof(*s));
}

static void drop_bytes(struct nbds_world *w, struct grave *g, unsigned sector)
{
	byte_set_unref(w, g->bytes[sector]);
	g->bytes[sector] = NULL;
	g->incomplete |= (uint8_t)(1u << sector);
}

static void add_bytes(struct nbds_world *w, struct grave *g, unsigned sector, const uint8_t *bytes)
{
	struct byte_set *s = g->bytes[sector];

	if (!g->party || (g->incomplete >> sector & 1))
		return;
	if (!bytes || (!s && w->piece_bytes > w->memory_cap / PIECE_SHARE)) {
		drop_bytes(w, g, sector);
		return;
	}
	if (!s || s->refs > 1) { /* a snapshot has it as it is */
		struct byte_set *own = world_alloc(w, sizeof(*own));

		if (!own) {
			drop_bytes(w, g, sector);
			return;
		}
		w->piece_bytes += sizeof(*own);
		if (s)
			*own = *s;
		own->refs = 1;
		byte_set_unref(w, s);
		s = g->bytes[sector] = own;
	}
	s->values++;
	for (unsigned i = 0; i < NBDS_SECTOR; i++)
		s->has[i][bytes[i] / 64] |= UINT64_C(1) << (bytes[i] % 64);
}

const struct byte_set *grave_bytes(const struct grave *g, unsigned sector)
{
	return g->incomplete >> sector & 1 ? NULL : g->bytes[sector];
}

/* Of its values only. */
static void empty(struct nbds_world *w, struct grave *g)
{
	while (g->runs) {
		struct grave_run *r = g->runs;

		g->runs = r->next;
		run_free(w, r);
	}
	world_dealloc(w, g->recent, g->recent_room * sizeof(*g->recent));
	g->recent = NULL;
	g->recent_count = g->recent_room = 0;
	g->count = 0;
	for (unsigned i = 0; i < 8; i++)
		drop_bytes(w, g, i);
}

static void grave_free(struct nbds_world *w, struct grave *g)
{
	empty(w, g);
	if (g->party)
		g->party->ops--;
	world_dealloc(w, g, sizeof(*g));
}

/* All of `from` into `to`. False without memory, with a part of it moved. */
static bool move_all(struct nbds_world *w, struct grave *to, struct grave *from)
{
	for (unsigned i = 0; i < from->recent_count; i++)
		if (!add(w, to, &from->recent[i]))
			return false;
	from->recent_count = 0;
	while (from->runs) {
		struct grave_run *r = from->runs;

		from->runs = r->next;
		to->count += r->count;
		run_add(w, to, r);
	}
	return true;
}

/* --- what they are weighed as -------------------------------------------- */

static const struct nbds_op *last_flush(const struct nbds_op *c, const struct xport *x)
{
	return x && c->party->xport == x ? flush_latest(c) : NULL;
}

/* A flush of the export lies between the successors and c. */
static bool flushed_before(const struct grave *g, const struct nbds_op *c)
{
	const struct nbds_op *f;

	if (!g->mc || c->party->xport != g->xport || !party_mc(c->party))
		return false;
	if (g->flushed)
		return point_before(c->world, &g->visible, &c->lo);
	f = last_flush(c, g->xport);
	return f && point_before(c->world, &g->hi, &f->lo);
}

/* Something that failed since may have dropped the successors. */
static bool dropped(const struct grave *g, const struct nbds_world *w, const struct nbds_point *hi)
{
	if (w->order->void_all)
		return true;
	for (uint32_t i = g->born; i < w->order->void_count; i++) {
		const struct nbds_op *x = w->order->void_by[i];

		if (!(hi && point_before(w, hi, &x->lo)) && !flushed_before(g, x))
			return true;
	}
	return false;
}

unsigned grave_paths(const struct grave *g, const struct nbds_op *c)
{
	unsigned paths = 0;
	bool multi = g->mc && party_mc(c->party) && c->party->xport == g->xport;

	if (!point_before(c->world, &g->hi, &c->lo))
		return 0;
	paths = PATH_PLAIN_ANY;
	if (c->party->xport == g->xport)
		paths |= PATH_PLAIN;
	if (multi && g->party != c->party)
		paths |= PATH_PLAIN_MC;
	if (dropped(g, c->world, c->state == OP_OK ? &c->hi : NULL))
		return paths;
	if (g->party == c->party)
		paths |= PATH_E1;
	if (multi && g->fua)
		paths |= PATH_E2;
	if (flushed_before(g, c))
		paths |= PATH_E3;
	return paths;
}

unsigned grave_self(const struct grave *g, const struct nbds_op *c, const struct nbds_point *hi)
{
	bool multi = g->mc && party_mc(c->party) && c->party->xport == g->xport;
	unsigned paths = 0;

	if (!point_before(c->world, &g->hi, &c->lo) || dropped(g, c->world, hi))
		return 0;
	if (g->party == c->party)
		paths |= PATH_E1;
	if (multi && !g->party)
		paths |= g->epoch == c->epoch ? PATH_E2 : PATH_ACROSS;
	if (flushed_before(g, c))
		paths |= g->epoch == c->epoch ? PATH_E3 : PATH_ACROSS;
	return paths;
}

enum strength strength_of(const struct nbds_op *op, const struct nbds_op **flush)
{
	const struct nbds_op *f = party_mc(op->party) ? flush_after(op) : NULL;

	if (flush)
		*flush = f;
	return f ? STRENGTH_FLUSH : op->fua && party_mc(op->party) ? STRENGTH_FUA : STRENGTH_OWN;
}

/* --- putting in, and finding ---------------------------------------------- */

/* For readers still to come all times before the last one without connections are alike. */
#define EPOCH_OVER UINT32_MAX

static uint32_t epoch_of(const struct nbds_world *w, uint32_t epoch)
{
	return epoch == w->parties->epoch ? epoch : EPOCH_OVER;
}

bool grave_put(struct grave **list, const struct nbds_op *old, const struct nbds_op *by,
	       const struct nbds_op *flush, unsigned sector, uint64_t value, const uint8_t *bytes)
{
	struct nbds_world *w = old->world;
	struct nbds_party *party = strength_of(by, NULL) == STRENGTH_OWN ? by->party : NULL;
	bool fua = old->fua && party_mc(old->party);
	struct grave_item item = {
		.value = value,
		.rest = (old->request_frame & ((UINT64_C(1) << FRAME_BITS) - 1)) << CONN_BITS |
			(old->party->id & ((UINT32_C(1) << CONN_BITS) - 1)) |
			(uint64_t)sector << SECTOR_SHIFT,
	};
	struct grave *g, **at;

	/* what a flush has covered meanwhile is all of one kind */
	for (at = list; *at;) {
		struct grave *into = *list;

		g = *at;
		g->epoch = epoch_of(w, g->epoch);
		if (!g->flushed && g->mc) {
			const struct nbds_op *f = flush_first_after(w, g->xport, &g->hi);

			if (f) {
				g->flushed = true;
				g->visible = f->hi;
				if (g->party)
					g->party->ops--;
				g->party = NULL;
				for (unsigned i = 0; i < 8; i++)
					drop_bytes(w, g, i);
			}
		}
		if (!g->flushed) {
			at = &g->next;
			continue;
		}
		while (into != g &&
		       (!into->flushed || into->xport != g->xport || into->fua != g->fua ||
			into->epoch != g->epoch || into->born != g->born))
			into = into->next;
		if (into == g || !move_all(w, into, g)) {
			at = &g->next;
			continue;
		}
		into->lost |= g->lost;
		later_of(&into->visible, &g->visible);
		later_of(&into->hi, &g->hi);
		*at = g->next;
		grave_free(w, g);
	}
	for (g = *list; g; g = g->next)
		if (g->xport == old->party->xport && g->party == party && g->fua == fua &&
		    g->mc == party_mc(old->party) && g->flushed == (flush != NULL) &&
		    (flush || g->flushes == by->flush_mark) && g->epoch == epoch_of(w, by->epoch) &&
		    g->born == w->order->void_count)
			break;
	if (!g) {
		g = world_alloc(w, sizeof(*g));
		if (!g)
			return false;
		*g = (struct grave){.next = *list,
				    .xport = old->party->xport,
				    .party = party,
				    .fua = fua,
				    .mc = party_mc(old->party),
				    .flushed = flush != NULL,
				    .visible = flush ? flush->hi : by->hi,
				    .hi = by->hi,
				    .flushes = by->flush_mark,
				    .born = w->order->void_count,
				    .epoch = epoch_of(w, by->epoch)};
		if (party)
			party->ops++;
		*list = g;
	}
	if (flush)
		later_of(&g->visible, &flush->hi);
	later_of(&g->hi, &by->hi);
	add_bytes(w, g, sector, bytes);
	return add(w, g, &item);
}

static const struct grave_item *search(const struct grave_run *r, unsigned sector, uint64_t value)
{
	const struct grave_item key = {value, (uint64_t)sector << SECTOR_SHIFT};
	uint32_t lo = 0, hi = r->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = compare(&key, &r->items[mid]);

		if (c == 0)
			return &r->items[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

bool grave_find(const struct grave *g, unsigned sector, uint64_t value, struct old_write *was)
{
	const struct grave_item *best = NULL;

	for (unsigned i = 0; i < g->recent_count; i++)
		if (g->recent[i].value == value && sector_of(&g->recent[i]) == sector &&
		    (!best || g->recent[i].rest > best->rest))
			best = &g->recent[i];
	for (const struct grave_run *r = g->runs; r; r = r->next) {
		const struct grave_item *item = search(r, sector, value);

		if (item && (!best || item->rest > best->rest))
			best = item;
	}
	if (!best)
		return false;
	*was = (struct old_write){
		.frame = best->rest >> CONN_BITS & ((UINT64_C(1) << FRAME_BITS) - 1),
		.connection = (uint32_t)(best->rest & ((UINT32_C(1) << CONN_BITS) - 1)),
		.type = NBD_CMD_WRITE,
	};
	return true;
}

bool grave_has(const struct grave *g, unsigned sector)
{
	if (g->lost)
		return true;
	for (unsigned i = 0; i < g->recent_count; i++)
		if (sector_of(&g->recent[i]) == sector)
			return true;
	for (const struct grave_run *r = g->runs; r; r = r->next) {
		const struct grave_item key = {0, (uint64_t)sector << SECTOR_SHIFT};
		uint32_t lo = 0, hi = r->count;

		while (lo < hi) {
			uint32_t mid = lo + (hi - lo) / 2;

			if (compare(&key, &r->items[mid]) <= 0)
				hi = mid;
			else
				lo = mid + 1;
		}
		if (lo < r->count && sector_of(&r->items[lo]) == sector)
			return true;
	}
	return false;
}

uint64_t graves_free(struct nbds_world *w, struct grave **list)
{
	uint64_t gone = 0;

	while (*list) {
		struct grave *g = *list;

		gone += g->count;
		*list = g->next;
		grave_free(w, g);
	}
	return gone;
}

/* Something in flight may yet drop its successors. */
static bool endangered(const struct nbds_world *w, const struct grave *g)
{
	unsigned looked = 0;

	for (const struct nbds_op *x = w->order->flight_first; x; x = x->next_flight)
		if (++looked > 64 || (x->voider && !point_before(w, &g->visible, &x->lo)))
			return true;
	return false;
}

uint64_t graves_thin(struct nbds_world *w, struct grave **list)
{
	uint64_t gone = 0;

	for (struct grave **at = list; *at;) {
		struct grave *g = *at;

		if (!g->flushed || endangered(w, g)) {
			at = &g->next;
			continue;
		}
		gone += g->count;
		if (!w->parties->others) {
			*at = g->next;
			grave_free(w, g);
			continue;
		}
		empty(w, g);
		g->lost = true;
		at = &g->next;
	}
	return gone;
}
