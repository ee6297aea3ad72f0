/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Old values. See grave.h.
 */
#include <base/assert.h>

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "grave.h"

#define RECENT_MAX 32u
#define CHUNK_MAX  256u

static int compare(const struct grave_item *a, const struct grave_item *b)
{
	if (a->sector != b->sector)
		return a->sector < b->sector ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

static int by_value(const void *a, const void *b)
{
	const struct grave_item *x = a, *y = b;
	int c = compare(x, y);

	/* of equal ones the newest first */
	return c ? c : x->frame > y->frame ? -1 : x->frame < y->frame;
}

/* --- chunks -------------------------------------------------------------- */

static unsigned bytes_of(uint64_t n)
{
	return n ? (71u - (unsigned)__builtin_clzll(n)) / 8 : 0;
}

/* What is behind a chunk's last item, so that all can be moved in words. */
#define SLACK sizeof(uint64_t)

/* The `n` lesser bytes. What follows them is written over. */
static uint8_t *put_bytes(uint8_t *at, uint64_t number, unsigned n)
{
	number = htole64(number);
	memcpy(at, &number, sizeof(number));
	return at + n;
}

static const uint8_t *get_bytes(const uint8_t *at, uint64_t *number, unsigned n)
{
	memcpy(number, at, sizeof(*number));
	*number = le64toh(*number) & (n == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * n) - 1);
	return at + n;
}

static uint64_t who_of(const struct grave_item *i)
{
	return (uint64_t)i->connection << 3 | i->sector;
}

static size_t chunk_width(const struct grave_chunk *c)
{
	return (size_t)c->value_bytes + c->frame_bytes + c->who_bytes;
}

static size_t chunk_size(const struct grave_chunk *c)
{
	return sizeof(*c) + c->count * chunk_width(c) + SLACK;
}

static struct grave_chunk *chunk_new(struct nbds_world *w, const struct grave_item *items,
				     unsigned count)
{
	struct grave_chunk head = {.value = UINT64_MAX,
				   .frame = UINT64_MAX,
				   .who = UINT64_MAX,
				   .count = (uint16_t)count};
	uint64_t value = 0, frame = 0, who = 0;
	struct grave_chunk *c;
	uint8_t *at;

	NBDS_ASSERT(count && count <= CHUNK_MAX);
	for (unsigned i = 0; i < count; i++) {
		uint64_t id = who_of(&items[i]);

		head.value = items[i].value < head.value ? items[i].value : head.value;
		head.frame = items[i].frame < head.frame ? items[i].frame : head.frame;
		head.who = id < head.who ? id : head.who;
		value = items[i].value > value ? items[i].value : value;
		frame = items[i].frame > frame ? items[i].frame : frame;
		who = id > who ? id : who;
	}
	head.value_bytes = (uint8_t)bytes_of(value - head.value);
	head.frame_bytes = (uint8_t)bytes_of(frame - head.frame);
	head.who_bytes = (uint8_t)bytes_of(who - head.who);
	c = world_alloc(w, chunk_size(&head));
	if (!c)
		return NULL;
	*c = head;
	at = c->items;
	for (unsigned i = 0; i < count; i++) {
		at = put_bytes(at, items[i].value - c->value, c->value_bytes);
		at = put_bytes(at, items[i].frame - c->frame, c->frame_bytes);
		at = put_bytes(at, who_of(&items[i]) - c->who, c->who_bytes);
	}
	return c;
}

static void chunk_free(struct nbds_world *w, struct grave_chunk *c)
{
	if (c)
		world_dealloc(w, c, chunk_size(c));
}

static struct grave_item chunk_item(const struct grave_chunk *c, unsigned i)
{
	const uint8_t *at = c->items + i * chunk_width(c);
	uint64_t value, frame, who;

	at = get_bytes(at, &value, c->value_bytes);
	at = get_bytes(at, &frame, c->frame_bytes);
	get_bytes(at, &who, c->who_bytes);
	who += c->who;
	return (struct grave_item){.value = c->value + value,
				   .frame = c->frame + frame,
				   .connection = (uint32_t)(who >> 3),
				   .sector = (uint32_t)(who & 7)};
}

/* --- runs ---------------------------------------------------------------- */

static size_t run_size(uint32_t room)
{
	return sizeof(struct grave_run) + room * sizeof(struct grave_chunk *);
}

static struct grave_run *run_new(struct nbds_world *w, uint32_t room)
{
	struct grave_run *r = world_alloc(w, run_size(room));

	if (r)
		r->room = room;
	return r;
}

static void run_free(struct nbds_world *w, struct grave_run *r)
{
	for (uint32_t i = 0; i < r->chunks; i++)
		chunk_free(w, r->chunk[i]);
	world_dealloc(w, r, run_size(r->room));
}

/* Puts items at the end of a run. False without memory. */
static bool run_append(struct nbds_world *w, struct grave_run *r, const struct grave_item *items,
		       unsigned count)
{
	struct grave_chunk *c = count ? chunk_new(w, items, count) : NULL;

	if (!count)
		return true;
	NBDS_ASSERT(r->chunks < r->room);
	if (!c)
		return false;
	r->chunk[r->chunks++] = c;
	r->count += count;
	return true;
}

/* A run that is read from its beginning, and freed on the way. */
struct reader {
	struct grave_run *run;
	uint32_t chunk;
	unsigned at;
	struct grave_item item;
	bool over;
};

static void reader_next(struct nbds_world *w, struct reader *r)
{
	if (r->chunk < r->run->chunks && r->at == r->run->chunk[r->chunk]->count) {
		chunk_free(w, r->run->chunk[r->chunk]);
		r->run->chunk[r->chunk++] = NULL;
		r->at = 0;
	}
	r->over = r->chunk == r->run->chunks;
	if (!r->over)
		r->item = chunk_item(r->run->chunk[r->chunk], r->at++);
}

/* Both in one, which may be smaller, and takes their place. NULL without memory for it;
 * what there is none for later on is lost. */
static struct grave_run *merge(struct nbds_world *w, struct grave *g, struct grave_run *a,
			       struct grave_run *b)
{
	uint32_t room = (uint32_t)((a->count + b->count) / CHUNK_MAX + 1);
	struct grave_run *to = run_new(w, room);
	struct reader x = {.run = a}, y = {.run = b};
	struct grave_item items[CHUNK_MAX];
	uint64_t all = a->count + b->count, alike = 0;
	unsigned n = 0;

	if (!to)
		return NULL;
	reader_next(w, &x);
	reader_next(w, &y);
	while (!x.over || !y.over) {
		int c = x.over ? 1 : y.over ? -1 : compare(&x.item, &y.item);

		if (n == CHUNK_MAX) {
			g->lost |= !run_append(w, to, items, n);
			n = 0;
		}
		items[n++] = c == 0  ? (x.item.frame > y.item.frame ? x.item : y.item)
			     : c < 0 ? x.item
				     : y.item;
		alike += c == 0;
		if (c <= 0)
			reader_next(w, &x);
		if (c >= 0)
			reader_next(w, &y);
	}
	g->lost |= !run_append(w, to, items, n);
	g->count -= all - to->count;
	w->stats.pruned += all - alike - to->count;
	run_free(w, a);
	run_free(w, b);
	return to;
}

/* Adds a run, and merges as long as the next one is not much larger. */
static void run_add(struct nbds_world *w, struct grave *g, struct grave_run *r)
{
	while (g->runs && g->runs->count < 2 * r->count) {
		struct grave_run *other = g->runs, *next = other->next;
		struct grave_run *both = merge(w, g, r, other);

		if (!both)
			break;
		g->runs = next;
		r = both;
	}
	r->next = g->runs;
	g->runs = r;
}

/* Puts what is recent into a run. False without memory. */
static bool flush_recent(struct nbds_world *w, struct grave *g)
{
	struct grave_run *r = run_new(w, 1);
	unsigned n = 0, all = g->recent_count;

	if (!r)
		return false;
	qsort(g->recent, all, sizeof(*g->recent), by_value);
	for (unsigned i = 0; i < all; i++)
		if (!n || compare(&g->recent[n - 1], &g->recent[i]) != 0)
			g->recent[n++] = g->recent[i];
	g->count -= all - n;
	g->recent_count = (uint8_t)n;
	if (!run_append(w, r, g->recent, n)) {
		run_free(w, r);
		return false;
	}
	g->recent_count = 0;
	run_add(w, g, r);
	return true;
}

/* Fewer than this take less room as they are. */
#define PACK_MIN 4u

void graves_pack(struct nbds_world *w, struct grave *list)
{
	for (struct grave *g = list; g; g = g->next) {
		if (g->recent_count < PACK_MIN || !flush_recent(w, g))
			continue;
		world_dealloc(w, g->recent, g->recent_room * sizeof(*g->recent));
		g->recent = NULL;
		g->recent_room = 0;
	}
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
	struct grave_item item = {.value = value,
				  .frame = old->request_frame,
				  .connection = old->party->id,
				  .sector = sector};
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

/* The first item of the run that is not before `key`. False: there is none. */
static bool search(const struct grave_run *r, const struct grave_item *key,
		   struct grave_item *found)
{
	uint32_t lo = 0, hi = r->chunks;
	const struct grave_chunk *c;
	unsigned from, to;

	/* the chunk is the last one that begins before it, or the next */
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		struct grave_item first = chunk_item(r->chunk[mid], 0);

		if (compare(key, &first) <= 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	if (lo > 0) {
		c = r->chunk[lo - 1];
		for (from = 0, to = c->count; from < to;) {
			unsigned mid = from + (to - from) / 2;

			*found = chunk_item(c, mid);
			if (compare(key, found) <= 0)
				to = mid;
			else
				from = mid + 1;
		}
		if (from < c->count) {
			*found = chunk_item(c, from);
			return true;
		}
	}
	if (lo == r->chunks)
		return false;
	*found = chunk_item(r->chunk[lo], 0);
	return true;
}

bool grave_find(const struct grave *g, unsigned sector, uint64_t value, struct old_write *was)
{
	const struct grave_item key = {.value = value, .sector = sector};
	struct grave_item best = {0}, item;
	bool found = false;

	for (unsigned i = 0; i < g->recent_count; i++)
		if (compare(&g->recent[i], &key) == 0 &&
		    (!found || g->recent[i].frame > best.frame)) {
			best = g->recent[i];
			found = true;
		}
	for (const struct grave_run *r = g->runs; r; r = r->next) {
		if (search(r, &key, &item) && compare(&item, &key) == 0 &&
		    (!found || item.frame > best.frame)) {
			best = item;
			found = true;
		}
	}
	if (found)
		*was = (struct old_write){
			.frame = best.frame, .connection = best.connection, .type = NBD_CMD_WRITE};
	return found;
}

bool grave_has(const struct grave *g, unsigned sector)
{
	const struct grave_item key = {.sector = sector};
	struct grave_item item;

	if (g->lost)
		return true;
	for (unsigned i = 0; i < g->recent_count; i++)
		if (g->recent[i].sector == sector)
			return true;
	for (const struct grave_run *r = g->runs; r; r = r->next)
		if (search(r, &key, &item) && item.sector == sector)
			return true;
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
