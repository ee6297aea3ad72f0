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
/* Writes of the whole block: of so many all values fit into one chunk. */
#define BLOCKS_MAX (CHUNK_MAX / BLOCK_SECTORS)

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
	return (uint64_t)i->connection << 4 | i->sector;
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
				   .connection = (uint32_t)(who >> 4),
				   .sector = (uint32_t)(who & 15)};
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
struct run_reader {
	struct grave_run *run;
	uint32_t chunk;
	unsigned at;
	struct grave_item item;
	bool over;
};

static void reader_next(struct nbds_world *w, struct run_reader *r)
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
	struct run_reader x = {.run = a}, y = {.run = b};
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
			run_append(w, to, items, n);
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
	run_append(w, to, items, n);
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

static void sort_items(struct grave_item *items, unsigned count)
{
	qsort(items, count, sizeof(*items), by_value);
}

/* Of equal ones the first stays; how many these are. */
static unsigned drop_equal(struct grave_item *items, unsigned count)
{
	unsigned n = 0;

	for (unsigned i = 0; i < count; i++)
		if (!n || compare(&items[n - 1], &items[i]) != 0)
			items[n++] = items[i];
	return n;
}

/* Puts what is recent into a run. False without memory. */
static bool flush_recent(struct nbds_world *w, struct grave *g)
{
	struct grave_run *r = run_new(w, 1);
	unsigned n, all = g->recent_count;

	if (!r)
		return false;
	sort_items(g->recent, all);
	n = drop_equal(g->recent, all);
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

/* --- writes of the whole block -------------------------------------------- */

static size_t blocks_size(unsigned room)
{
	return sizeof(struct grave_blocks) + room * sizeof(struct grave_block);
}

static void blocks_drop(struct nbds_world *w, struct grave_blocks *l)
{
	world_dealloc(w, l, blocks_size(l->room));
}

void grave_blocks_free(struct nbds_world *w, struct grave_blocks *blocks)
{
	while (blocks) {
		struct grave_blocks *l = blocks;

		blocks = l->next;
		blocks_drop(w, l);
	}
}

/* All of them into a run. False without memory. */
static bool flush_blocks(struct nbds_world *w, struct grave *g)
{
	struct grave_item items[CHUNK_MAX];
	struct grave_run *r = run_new(w, 1);
	unsigned n, all = 0;

	if (!r)
		return false;
	for (const struct grave_blocks *l = g->blocks; l; l = l->next) {
		for (unsigned i = 0; i < l->count * BLOCK_SECTORS; i++) {
			const struct grave_block *b = &l->list[i / BLOCK_SECTORS];
			unsigned sector = i % BLOCK_SECTORS;

			NBDS_ASSERT(all < CHUNK_MAX);
			items[all++] = (struct grave_item){
				.value = b->value[sector],
				.frame = b->frame,
				.connection = b->connection,
				.sector = sector | (b->coarse ? GRAVE_COARSE : 0)};
		}
	}
	sort_items(items, all);
	n = drop_equal(items, all);
	if (!run_append(w, r, items, n)) {
		run_free(w, r);
		return false;
	}
	g->count -= all - n;
	grave_blocks_free(w, g->blocks);
	g->blocks = NULL;
	g->blocks_count = 0;
	run_add(w, g, r);
	return true;
}

/* Few are kept one by one: most blocks have few. */
static unsigned blocks_room(unsigned count)
{
	return count < 2 ? 1 : count < 8 ? 2 : 4;
}

static bool add_block(struct nbds_world *w, struct grave *g, const struct grave_block *b)
{
	struct grave_blocks *l = g->blocks;
	struct grave_block *last = l && l->count ? &l->list[l->count - 1] : NULL;

	if (last && last->coarse == b->coarse &&
	    memcmp(last->value, b->value, sizeof(b->value)) == 0) {
		if (b->frame > last->frame)
			*last = *b;
		return true;
	}
	if (g->blocks_count == BLOCKS_MAX && !flush_blocks(w, g))
		return false;
	l = g->blocks;
	if (!l || l->count == l->room) {
		unsigned room = blocks_room(g->blocks_count);

		l = world_alloc(w, blocks_size(room));
		if (!l)
			return false;
		l->room = (uint8_t)room;
		l->next = g->blocks;
		g->blocks = l;
	}
	l->list[l->count++] = *b;
	g->blocks_count++;
	g->count += BLOCK_SECTORS;
	return true;
}

/* --- bytes ---------------------------------------------------------------- */

void byte_set_unref(struct nbds_world *w, struct byte_set *s)
{
	if (!s || --s->refs)
		return;
	w->piece_bytes -= sizeof(*s);
	world_dealloc(w, s, sizeof(*s));
}

static struct byte_set *set_of(const struct grave *g, unsigned sector)
{
	return g->sets ? g->sets[sector] : NULL;
}

static void drop_bytes(struct nbds_world *w, struct grave *g, unsigned sector)
{
	if (g->sets) {
		byte_set_unref(w, g->sets[sector]);
		g->sets[sector] = NULL;
	}
	g->incomplete |= (uint8_t)(1u << sector);
}

static void drop_all_bytes(struct nbds_world *w, struct grave *g)
{
	for (unsigned i = 0; g->sets && i < BLOCK_SECTORS; i++)
		byte_set_unref(w, g->sets[i]);
	world_dealloc(w, g->sets, BLOCK_SECTORS * sizeof(*g->sets));
	g->sets = NULL;
	g->incomplete = 0xff;
}

/* The set of a sector, to put something into; or NULL. */
static struct byte_set *own_bytes(struct nbds_world *w, struct grave *g, unsigned sector)
{
	struct byte_set *s = set_of(g, sector), *own = NULL;

	if (g->incomplete >> sector & 1)
		return NULL;
	if (s && s->refs == 1)
		return s;
	if (!g->sets)
		g->sets = world_alloc(w, BLOCK_SECTORS * sizeof(struct byte_set *));
	/* none yet, or a snapshot has it as it is */
	if (g->sets && (s || w->piece_bytes <= w->memory_cap / PIECE_SHARE))
		own = world_alloc(w, sizeof(*own));
	if (!own) {
		drop_bytes(w, g, sector);
		return NULL;
	}
	w->piece_bytes += sizeof(*own);
	if (s)
		*own = *s;
	own->refs = 1;
	byte_set_unref(w, s);
	g->sets[sector] = own;
	return own;
}

/* False: not kept. */
static bool add_bytes(struct nbds_world *w, struct grave *g, const struct grave_value *v)
{
	struct byte_set *s;

	if (!v->bytes) {
		drop_bytes(w, g, v->sector);
		return false;
	}
	s = own_bytes(w, g, v->sector);
	for (unsigned i = v->from; s && i < v->to; i++) {
		uint8_t byte = v->bytes[i - v->from];

		s->has[i][byte / 64] |= UINT64_C(1) << (byte % 64);
	}
	return s != NULL;
}

struct byte_set *grave_bytes(const struct grave *g, unsigned sector)
{
	return g->incomplete >> sector & 1 ? NULL : set_of(g, sector);
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
	grave_blocks_free(w, g->blocks);
	g->blocks = NULL;
	g->blocks_count = 0;
	g->count = 0;
	drop_all_bytes(w, g);
}

static void grave_free(struct nbds_world *w, struct grave *g)
{
	empty(w, g);
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if (g->by[i])
			op_unref(g->by[i]);
	world_dealloc(w, g, sizeof(*g));
}

/* All of `from` into `to`. False without memory, with a part of it moved. */
static bool move_all(struct nbds_world *w, struct grave *to, struct grave *from)
{
	for (unsigned i = 0; i < from->recent_count; i++)
		if (!add(w, to, &from->recent[i]))
			return false;
	from->recent_count = 0;
	while (from->blocks) {
		struct grave_blocks *l = from->blocks;

		for (; l->count; l->count--, from->blocks_count--)
			if (!add_block(w, to, &l->list[l->count - 1]))
				return false;
		from->blocks = l->next;
		blocks_drop(w, l);
	}
	while (from->runs) {
		struct grave_run *r = from->runs;

		from->runs = r->next;
		to->count += r->count;
		run_add(w, to, r);
	}
	return true;
}

/* --- putting in, and finding ---------------------------------------------- */

enum strength strength_of(const struct nbds_op *op, const struct nbds_op **flush)
{
	const struct nbds_op *f = party_mc(op->party) ? flush_after(op) : NULL;

	if (flush)
		*flush = f;
	return f ? STRENGTH_FLUSH : op->fua && party_mc(op->party) ? STRENGTH_FUA : STRENGTH_OWN;
}

/* One more in the list, in front; NULL without memory. */
static struct grave *grave_new(struct nbds_world *w, struct grave **list)
{
	struct grave *g = world_alloc(w, sizeof(*g));

	if (!g)
		return NULL;
	g->next = *list;
	return *list = g;
}

bool grave_put(struct grave **list, const struct grave_value *v, struct nbds_op *by)
{
	struct nbds_world *w = v->op->world;
	unsigned i = v->sector;
	struct grave_item item = {.value = v->value,
				  .frame = v->op->request_frame,
				  .connection = v->op->party->id,
				  .sector = i | (v->coarse ? GRAVE_COARSE : 0)};
	struct grave *g = *list;

	while (g && g->by[i] && g->by[i] != by)
		g = g->next;
	if (!g)
		g = grave_new(w, list);
	if (!g)
		return false;
	if (!g->by[i])
		g->incomplete &= (uint8_t) ~(1u << i);
	/* what is known by its bytes alone is not to make those of others unknown */
	if (!v->valued && (!v->bytes || !own_bytes(w, g, i)))
		return false;
	if (!g->by[i]) {
		g->by[i] = by;
		op_ref(by);
	}
	add_bytes(w, g, v);
	if (v->valued && v->coarse)
		g->coarse |= (uint8_t)(1u << i);
	return !v->valued || add(w, g, &item);
}

/* Nothing in it has another successor in any sector. */
static bool is_of(const struct grave *g, const struct nbds_op *by)
{
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if (g->by[i] && g->by[i] != by)
			return false;
	return true;
}

bool grave_put_block(struct grave **list, const struct nbds_op *op,
		     const uint64_t value[BLOCK_SECTORS], bool coarse, struct nbds_op *by)
{
	struct nbds_world *w = op->world;
	uint64_t frame = op->request_frame, connection = op->party->id;
	struct grave_block b = {.frame = frame & GRAVE_FRAME,
				.connection = connection & GRAVE_CONNECTION,
				.coarse = coarse};
	struct grave *g = *list;

	if (b.frame != frame || b.connection != connection) {
		for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
			struct grave_value v = {.op = op,
						.sector = i,
						.valued = true,
						.coarse = coarse,
						.value = value[i],
						.to = NBDS_SECTOR};

			if (!grave_put(list, &v, by))
				return false;
		}
		return true;
	}
	memcpy(b.value, value, sizeof(b.value));
	while (g && !is_of(g, by))
		g = g->next;
	if (!g)
		g = grave_new(w, list);
	if (!g)
		return false;
	if (!add_block(w, g, &b))
		return false;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
		if (g->by[i])
			continue;
		g->by[i] = by;
		op_ref(by);
	}
	drop_all_bytes(w, g);
	if (coarse)
		g->coarse = 0xff;
	return true;
}

void graves_succeed(struct grave *list, unsigned sector, struct nbds_op *old, struct nbds_op *by)
{
	for (struct grave *g = list; g; g = g->next) {
		if (g->by[sector] != old)
			continue;
		op_ref(by);
		op_unref(old);
		g->by[sector] = by;
	}
}

void graves_succeed_block(struct grave *list, struct nbds_op *old, struct nbds_op *by)
{
	for (struct grave *g = list; g; g = g->next) {
		for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
			if (g->by[i] != old)
				continue;
			op_ref(by);
			op_unref(old);
			g->by[i] = by;
		}
	}
}

struct grave *graves_plain(struct grave *list, const struct nbds_op *by)
{
	if (!list || list->next || list->recent_count || list->runs || list->sets)
		return NULL;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if (list->by[i] != by || !(list->incomplete >> i & 1))
			return NULL;
	return list;
}

struct grave_blocks *graves_take(struct nbds_world *w, struct grave **list, uint8_t *count)
{
	struct grave *g = *list;
	struct grave_blocks *blocks = g->blocks;

	NBDS_ASSERT(!g->next);
	*count = g->blocks_count;
	g->blocks = NULL;
	*list = NULL;
	grave_free(w, g);
	return blocks;
}

bool graves_give(struct grave **list, struct grave_blocks *blocks, uint8_t count,
		 struct nbds_op *by)
{
	struct grave *g = grave_new(by->world, list);

	if (!g)
		return false;
	g->blocks = blocks;
	g->blocks_count = count;
	g->count = (uint64_t)count * BLOCK_SECTORS;
	g->incomplete = 0xff;
	for (const struct grave_blocks *l = blocks; l; l = l->next)
		for (unsigned i = 0; i < l->count; i++)
			if (l->list[i].coarse)
				g->coarse = 0xff;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
		g->by[i] = by;
		op_ref(by);
	}
	return true;
}

/* One list of sectors and who stands for them is enough for both. */
static bool fit(const struct grave *a, const struct grave *b)
{
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if (a->by[i] && b->by[i] && a->by[i] != b->by[i])
			return false;
	return true;
}

static void join_bytes(struct nbds_world *w, struct grave *to, struct grave *from, unsigned i)
{
	uint8_t bit = (uint8_t)(1u << i);
	struct byte_set *s;

	if (!to->by[i]) {
		drop_bytes(w, to, i);
		if (set_of(from, i) && !to->sets)
			to->sets = world_alloc(w, BLOCK_SECTORS * sizeof(struct byte_set *));
		if (from->incomplete & bit || (set_of(from, i) && !to->sets))
			return;
		to->incomplete &= (uint8_t)~bit;
		if (!set_of(from, i))
			return;
		to->sets[i] = from->sets[i];
		from->sets[i] = NULL;
	} else if (from->incomplete & bit) {
		drop_bytes(w, to, i);
	} else if (set_of(from, i)) {
		s = own_bytes(w, to, i);
		for (unsigned at = 0; s && at < NBDS_SECTOR; at++)
			for (unsigned n = 0; n < 256 / 64; n++)
				s->has[at][n] |= from->sets[i]->has[at][n];
	}
}

static void swap_values(struct grave *a, struct grave *b)
{
	struct grave was = *a;

	a->blocks = b->blocks;
	a->blocks_count = b->blocks_count;
	a->recent = b->recent;
	a->recent_count = b->recent_count;
	a->recent_room = b->recent_room;
	a->runs = b->runs;
	a->count = b->count;
	b->blocks = was.blocks;
	b->blocks_count = was.blocks_count;
	b->recent = was.recent;
	b->recent_count = was.recent_count;
	b->recent_room = was.recent_room;
	b->runs = was.runs;
	b->count = was.count;
}

void graves_join(struct nbds_world *w, struct grave **list)
{
	for (struct grave *to = *list; to; to = to->next) {
		for (struct grave **at = &to->next; *at;) {
			struct grave *from = *at;

			if (!fit(to, from)) {
				at = &from->next;
				continue;
			}
			if (from->count > to->count)
				swap_values(to, from);
			to->coarse |= from->coarse;
			if (!move_all(w, to, from)) {
				at = &from->next;
				continue;
			}
			for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
				if (!from->by[i])
					continue;
				join_bytes(w, to, from, i);
				if (!to->by[i]) {
					to->by[i] = from->by[i];
					from->by[i] = NULL;
				}
			}
			*at = from->next;
			grave_free(w, from);
		}
	}
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

/* The newest item of this key into *best, if it is newer. */
static bool newest_of(const struct grave *g, const struct grave_item *key, struct grave_item *best)
{
	struct grave_item item;
	bool found = false;

	for (const struct grave_blocks *l = g->blocks; l; l = l->next) {
		for (unsigned i = 0; i < l->count; i++) {
			const struct grave_block *b = &l->list[i];

			if (b->value[key->sector % GRAVE_COARSE] != key->value ||
			    b->coarse != key->sector / GRAVE_COARSE)
				continue;
			if (b->frame >= best->frame)
				*best = (struct grave_item){.frame = b->frame,
							    .connection = b->connection};
			found = true;
		}
	}
	for (unsigned i = 0; i < g->recent_count; i++)
		if (compare(&g->recent[i], key) == 0) {
			if (g->recent[i].frame >= best->frame)
				*best = g->recent[i];
			found = true;
		}
	for (const struct grave_run *r = g->runs; r; r = r->next) {
		if (search(r, key, &item) && compare(&item, key) == 0) {
			if (item.frame >= best->frame)
				*best = item;
			found = true;
		}
	}
	return found;
}

bool grave_find(const struct grave *g, unsigned sector, uint64_t value, struct old_write *was)
{
	struct grave_item key = {.value = value, .sector = sector}, best = {0};
	bool found = newest_of(g, &key, &best);

	if (g->coarse >> sector & 1) {
		key = (struct grave_item){.value = coarse_value(value),
					  .sector = sector | GRAVE_COARSE};
		found |= newest_of(g, &key, &best);
	}
	if (found)
		*was = (struct old_write){
			.frame = best.frame, .connection = best.connection, .type = NBD_CMD_WRITE};
	return found;
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

bool none_held(const struct nbds_world *w, const struct nbds_op *op)
{
	return !w->ops.settled || w->ops.settled(w->ctx, &op->hi);
}

bool over_for_all(const struct nbds_op *by)
{
	const struct nbds_world *w = by->world;

	return strength_of(by, NULL) == STRENGTH_FLUSH && !may_be_voided(by) &&
	       flying_after(w, FLYING_READS, &by->hi) && none_held(w, by);
}

bool gone_for_all(const struct nbds_world *w, const struct nbds_op *by)
{
	return !w->parties->others && over_for_all(by);
}

static bool may_go(const struct grave *g)
{
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if (g->by[i] && !over_for_all(g->by[i]))
			return false;
	return true;
}

uint64_t graves_thin(struct nbds_world *w, struct grave **list)
{
	uint64_t gone = 0;

	for (struct grave **at = list; *at;) {
		struct grave *g = *at;

		if (!may_go(g)) {
			at = &g->next;
			continue;
		}
		gone += g->count;
		if (!w->parties->others) {
			for (unsigned i = 0; i < BLOCK_SECTORS; i++)
				if (g->by[i])
					order_relied(w, &g->by[i]->hi);
			*at = g->next;
			grave_free(w, g);
			continue;
		}
		empty(w, g);
		at = &g->next;
	}
	return gone;
}
