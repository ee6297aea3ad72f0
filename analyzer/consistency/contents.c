/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contents: which commands may have left their data in which sectors. The
 * drawing is in contents.h.
 */
#include <stdlib.h>
#include <string.h>

#include "contents.h"
#include "placed.h"

/* The entry of `op` in the block of `sector`; NULL without memory. */
static struct entry *entry_get(struct nbds_op *op, uint64_t sector, struct nbds_op **overlaps)
{
	struct nbds_world *w = op->world;
	struct block *b = block_get(w, sector / BLOCK_SECTORS);
	struct entry *e;

	if (!b)
		return NULL;
	if (b->entries && b->entries->op == op)
		return b->entries;
	/* interleaved with another command's: it is among the newest */
	unsigned looked = 0;
	for (e = b->number < op->flight->blocks_end ? b->entries : NULL; e && looked < 8;
	     e = e->next, looked++)
		if (e->op == op)
			return e;
	block_limit(w, b, &op->lo);
	if (b->number >= op->flight->blocks_end)
		op->flight->blocks_end = b->number + 1;
	e = world_alloc(w, sizeof(*e));
	if (!e)
		return NULL;
	e->op = op;
	b->tidy = false;
	op_ref(op);
	e->next = b->entries;
	b->entries = e;
	w->quiet->due |= b->count++ > 0;
	if (op->write_class) {
		for (looked = 0, e = e->next; e && e->op->serial >= op->flight_from && looked < 4;
		     e = e->next, looked++)
			if (e->op->offset < op->offset + op->length &&
			    op->offset < e->op->offset + e->op->length)
				overlapped(overlaps, op, e->op);
	}
	return b->entries;
}

/* What older writes left in these sectors matters byte by byte from now on. Returns those where
 * there is any that is not superseded. */
static uint8_t keep_older(struct nbds_world *w, const struct entry *e, uint8_t sectors)
{
	uint8_t any = 0;

	for (struct entry *old = e->next; old && sectors; old = old->next) {
		uint8_t there = (old->valued | old->unknown) & sectors;

		if (!there)
			continue;
		entry_want(w, old, there);
		if (is_seen(old))
			continue;
		any |= there;
		/* what is older was kept when this came */
		sectors &= (uint8_t)~old->full;
	}
	return any;
}

/* What sectors [i, i + n) of the entry's block hold; bytes: theirs, or NULL. */
static void sectors_put(struct entry *e, unsigned i, unsigned n, const uint64_t *values,
			const uint8_t *bytes)
{
	struct nbds_op *op = e->op;
	struct nbds_world *w = op->world;
	uint8_t put = (uint8_t)(((1u << n) - 1) << i), older = 0;

	if (bytes && op->write_class)
		older = keep_older(w, e, put);
	ring_put(w, e, i, n, bytes);
	e->valued |= put;
	e->full |= put;
	memcpy(e->value + i, values, n * sizeof(*values));
	entry_want(w, e, older);
}

struct nbds_op *contents_sector(struct nbds_op *op, uint64_t sector, uint64_t value,
				const uint8_t *bytes)
{
	struct nbds_op *overlaps = NULL;
	struct entry *e = entry_get(op, sector, &overlaps);

	if (e)
		sectors_put(e, (unsigned)(sector % BLOCK_SECTORS), 1, &value, bytes);
	else
		op->world->blind = true;
	return overlaps;
}

/* The entry of `op` in the block, with all of its sectors; NULL without memory. */
static struct entry *block_put(struct nbds_op *op, uint64_t block,
			       const uint64_t values[BLOCK_SECTORS], const uint8_t *bytes,
			       struct nbds_op **overlaps)
{
	struct nbds_world *w = op->world;
	struct entry *e = entry_get(op, block * BLOCK_SECTORS, overlaps);

	if (!e) {
		w->blind = true;
		return NULL;
	}
	sectors_put(e, 0, BLOCK_SECTORS, values, bytes);
	return e;
}

struct nbds_op *contents_block(struct nbds_op *op, uint64_t block,
			       const uint64_t values[BLOCK_SECTORS], const uint8_t *bytes)
{
	struct nbds_op *overlaps = NULL;

	block_put(op, block, values, bytes, &overlaps);
	return overlaps;
}

static void seen_at(struct nbds_world *w, struct entry *e, unsigned i, const struct nbds_point *hi,
		    uint64_t lone_from)
{
	uint64_t serial = e->op->serial;
	uint64_t alone = lone_from < serial ? serial - lone_from : 0;
	struct extra *x;

	x = extra_get(w, e);
	if (!x)
		return;
	if (!x->seen)
		x->hi = *hi;
	later_of(&x->hi, hi);
	if (alone > UINT32_MAX)
		alone = UINT32_MAX;
	if (!(x->seen >> i & 1) || alone < x->alone[i])
		x->alone[i] = (uint32_t)alone;
	x->seen |= (uint8_t)(1u << i);
}

void contents_seen(struct nbds_op *op, uint64_t sector, uint64_t value, const uint8_t *bytes,
		   enum seen_as as, const struct mask *old, const struct nbds_point *hi,
		   uint64_t lone_from)
{
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	struct entry *e;

	contents_sector(op, sector, value, bytes);
	e = entry_get(op, sector, NULL);
	if (!e)
		return;
	if (as != SEEN_OUTCOME)
		e->initial |= (uint8_t)(1u << i);
	if (as == SEEN_INITIAL) {
		e->wholly |= (uint8_t)(1u << i);
	} else if (as == SEEN_PARTLY && bytes) {
		struct piece *p = piece_kept(op->world, e, i);

		if (!p && op->world->piece_bytes <= op->world->memory_cap / PIECE_SHARE)
			p = piece_begin(op->world, e, i, 0, NBDS_SECTOR, bytes, true);
		if (p)
			piece_mark(p, old);
	} else {
		entry_want(op->world, e, (uint8_t)(1u << i));
	}
	seen_at(op->world, e, i, hi, lone_from);
}

void contents_seen_block(struct nbds_op *op, uint64_t block, const uint64_t values[BLOCK_SECTORS],
			 const uint8_t *bytes, const struct nbds_point *hi)
{
	struct entry *e = block_put(op, block, values, bytes, NULL);

	if (!e)
		return;
	e->initial = e->wholly = 0xff;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		seen_at(op->world, e, i, hi, UINT64_MAX);
}

void contents_seen_part(struct nbds_op *op, uint64_t sector, unsigned from, unsigned to,
			const uint8_t *bytes, enum seen_as as, const struct mask *old,
			const struct nbds_point *hi, uint64_t lone_from)
{
	struct nbds_world *w = op->world;
	uint64_t start = sector * NBDS_SECTOR, end = op->offset + op->length;
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	unsigned last = end - start < NBDS_SECTOR ? (unsigned)(end - start) : NBDS_SECTOR;
	struct entry *e = entry_get(op, sector, NULL);
	struct piece *p;

	if (!e || to > last || (e->valued >> i & 1))
		return;
	p = piece_kept(w, e, i);
	if (!p) {
		p = piece_begin(w, e, i, from, last, NULL, true);
		keep_older(w, e, (uint8_t)(1u << i));
		if (as == SEEN_INITIAL)
			e->wholly |= (uint8_t)(1u << i);
	}
	/* in order; what comes after a gap is not kept */
	if (!p || p->from + p->have != from || to > p->to)
		return;
	memcpy(p->bytes + p->have, bytes, to - from);
	p->have = (uint16_t)(p->have + to - from);
	piece_mark(p, old);
	e->unknown |= (uint8_t)(1u << i);
	if (as != SEEN_OUTCOME)
		e->initial |= (uint8_t)(1u << i);
	if (as != SEEN_INITIAL)
		e->wholly &= (uint8_t) ~(1u << i);
	seen_at(w, e, i, hi, lone_from);
}

struct nbds_op *contents_partial(struct nbds_op *op, uint64_t sector, unsigned from, unsigned to,
				 unsigned at, const uint8_t *bytes, unsigned len)
{
	struct nbds_world *w = op->world;
	struct nbds_op *overlaps = NULL;
	struct entry *e = entry_get(op, sector, &overlaps);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	struct piece *p;

	if (!e) {
		w->blind = true;
		return overlaps;
	}
	e->unknown |= (uint8_t)(1u << i);
	p = piece_kept(w, e, i);
	if (!p) {
		p = piece_begin(w, e, i, from, to, NULL, false);
		keep_older(w, e, (uint8_t)(1u << i));
	}
	/* in order; what was lost in between leaves it unknown */
	if (p && p->from == from && p->to == to && from + p->have == at && at + len <= to) {
		memcpy(p->bytes + p->have, bytes, len);
		p->have = (uint16_t)(p->have + len);
	}
	return overlaps;
}

struct nbds_op *contents_range(struct nbds_op *op, uint64_t start, uint64_t end,
			       enum range_kind kind, const struct nbds_point *hi,
			       uint64_t lone_from)
{
	struct nbds_op *overlaps = range_add(op, start, end, kind, hi, lone_from);

	if (end > start)
		ranges_limit(op->world, start, end, &op->lo);
	return overlaps;
}

void contents_told(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind,
		   const struct nbds_point *hi, uint64_t lone_from)
{
	if (range_told(op, start, end, kind, hi, lone_from))
		ranges_told_limit(op->world, kind, &op->lo);
}

void contents_each_block(struct nbds_world *w, uint64_t start, uint64_t end,
			 void (*each)(void *arg, struct block *b), void *arg)
{
	uint64_t first = start / BLOCK_BYTES, last = (end - 1) / BLOCK_BYTES;

	if (end <= start || (!w->blocks->count && !w->quiet->count))
		return;
	w->blocks->iterating = true;
	quiet_wake_data(w, first, last);
	if (last - first < w->blocks->count) {
		for (uint64_t n = first; n <= last; n++) {
			struct block *b = block_find(w, n);

			if (b)
				each(arg, b);
		}
	} else {
		/* what `each` looks at moves to the end of the list: not further than
		 * what is the last one now */
		struct block *last_one = w->blocks->lru.lru_prev;

		for (struct block *b = w->blocks->lru.lru_next, *next; b != &w->blocks->lru;
		     b = next) {
			bool stop = b == last_one;

			next = b->lru_next;
			if (b->number >= first && b->number <= last)
				each(arg, b);
			if (stop)
				break;
		}
	}
	w->blocks->iterating = false;
}

/* --- looking up ---------------------------------------------------------- */

static struct candidate *candidate_add(struct nbds_world *w)
{
	struct gathered *g = &w->contents->gathered;

	if (!world_grow(w, (void **)&g->list, &g->room, sizeof(*g->list), g->count + 1))
		return NULL;
	g->list[g->count] = (struct candidate){.to = NBDS_SECTOR};
	return &g->list[g->count++];
}

static int by_serial(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	uint64_t s = x->op ? x->op->serial : 0, t = y->op ? y->op->serial : 0;

	return s < t ? -1 : s > t;
}

/* Most lists are short, and in order but for a few. */
#define SORT_SMALL 16u

static void sort(struct gathered *g)
{
	struct candidate *c = g->list;

	if (g->count > SORT_SMALL)
		qsort(c, g->count, sizeof(*c), by_serial);
	for (size_t i = 1; i < g->count && g->count <= SORT_SMALL; i++) {
		struct candidate one = c[i];
		size_t at = i;

		for (; at > 0 && by_serial(&c[at - 1], &one) > 0; at--)
			c[at] = c[at - 1];
		c[at] = one;
	}
}

static bool gather_entry(struct nbds_world *w, struct entry *e, unsigned i, uint64_t start)
{
	bool sorts = e->valued >> i & 1, unknown = e->unknown >> i & 1;
	struct candidate *c;

	if (!sorts && !unknown)
		return true;
	entry_rescue(w, e, i);
	c = candidate_add(w);
	if (!c)
		return false;
	c->op = e->op;
	c->seen = is_seen(e);
	c->initial = e->wholly >> i & 1;
	c->coarse = e->coarse;
	c->valued = sorts && !unknown;
	c->value = e->value[i];
	c->piece = e->extra && (e->kept >> i & 1) ? e->extra->piece[i] : NULL;
	c->establishes = !c->seen;
	c->why = NBDS_UNCHECKED_PARTIAL;
	c->lone_from = UINT64_MAX;
	if (e->extra && e->extra->seen) {
		c->hi = e->extra->hi;
		if (e->extra->alone[i] && !order_outdated(e->op))
			c->lone_from = e->op->serial - e->extra->alone[i];
	} else {
		c->hi = e->op->hi;
	}
	if (unknown && c->seen) {
		/* as much of it as was kept */
		c->from = c->to = 0;
		if (c->piece) {
			c->from = c->piece->from;
			c->to = (uint16_t)(c->piece->from + c->piece->have);
		}
	} else if (unknown) {
		const struct piece *p = c->piece;
		uint64_t first = e->op->offset, end = e->op->offset + e->op->length;

		c->from = first > start ? (uint16_t)(first - start) : 0;
		c->to = end < start + NBDS_SECTOR ? (uint16_t)(end - start) : NBDS_SECTOR;
		if (!p || p->from != c->from || p->to != c->to || p->have != p->to - p->from) {
			c->any = true;
			c->piece = NULL;
		}
	}
	c->bytes = c->piece ? c->piece->bytes : NULL;
	return true;
}

static bool gather_run(struct nbds_world *w, const struct range *r, const struct run *run,
		       uint64_t first)
{
	static const uint8_t zeroes[NBDS_SECTOR];
	uint64_t last = first + NBDS_SECTOR;
	struct candidate *c = candidate_add(w);

	if (!c)
		return false;
	c->op = r->op;
	c->from = run->start > first ? (uint16_t)(run->start - first) : 0;
	c->to = run->end < last ? (uint16_t)(run->end - first) : NBDS_SECTOR;
	c->value = w->zero_value;
	c->hi = r->hi;
	c->lone_from = order_outdated(r->op) ? UINT64_MAX : r->lone_from;
	switch ((enum range_kind)r->kind) {
	case RANGE_ZERO:
		c->establishes = true;
		c->bytes = zeroes;
		c->valued = c->from == 0 && c->to == NBDS_SECTOR;
		break;
	case RANGE_TRIM:
		/* it may have been shrunk to nothing: it supersedes nothing */
		c->any = true;
		c->why = NBDS_UNCHECKED_TRIM;
		break;
	case RANGE_HOLE:
		c->any = c->hole = true;
		c->why = NBDS_UNCHECKED_TRIM;
		break;
	case RANGE_SEEN_ZERO:
		c->seen = true;
		c->initial = r->initial;
		c->bytes = zeroes;
		c->valued = c->from == 0 && c->to == NBDS_SECTOR;
		break;
	case RANGE_UNKNOWN:
		c->establishes = true;
		c->any = true;
		c->why = NBDS_UNCHECKED_LOST;
		break;
	case RANGE_DAMAGE:
		c->any = c->damage = true;
		c->why = NBDS_UNCHECKED_ILLEGAL;
		break;
	}
	return true;
}

static bool gather_range(struct nbds_world *w, const struct range *r, uint64_t first)
{
	struct run whole;
	const struct run *run = range_run(r, first, &whole);

	for (; run && run->start < first + NBDS_SECTOR; run = range_next(r, run))
		if (!gather_run(w, r, run, first))
			return false;
	return true;
}

bool contents_gather(struct nbds_world *w, uint64_t sector, uint64_t value)
{
	struct block *b = block_find(w, sector / BLOCK_SECTORS);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	struct gathered *out = &w->contents->gathered;
	uint64_t first = sector * NBDS_SECTOR;

	out->count = 0;
	out->shadow = false;
	if (!b && quiet_find(w, sector / BLOCK_SECTORS))
		b = block_get(w, sector / BLOCK_SECTORS);
	out->base = b ? (b->based ? &b->base : NULL)
		      : (w->blocks->forgot ? &w->blocks->forgot_at : NULL);
	for (struct grave *g = b ? b->graves : NULL; g; g = g->next) {
		struct candidate *c;

		if (!g->by[i])
			continue;
		c = candidate_add(w);
		if (!c)
			return false;
		c->by = g->by[i];
		c->found = grave_find(g, i, value, &c->was);
		c->set = (struct byte_set *)grave_bytes(g, i);
	}
	for (struct entry *e = b ? b->entries : NULL; e; e = e->next)
		if (!gather_entry(w, e, i, first))
			return false;
	if (b && (b->cut >> i & 1))
		out->shadow = true;
	for (uint64_t classes = w->ranges->classes; classes; classes &= classes - 1) {
		unsigned c = (unsigned)__builtin_ctzll(classes);
		struct granule *g = granule_find(w, c, first >> c);

		for (struct link *l = g ? g->links : NULL; l; l = l->next)
			if (!gather_range(w, l->range, first))
				return false;
	}
	sort(out);
	return true;
}

/* Blocks that are looked at for one hole. */
#define HOLE_LOOKED 64u

/* Nothing was written to these sectors of the block. */
static bool block_unwritten(const struct nbds_world *w, uint64_t number, uint8_t sectors)
{
	const struct block *b = block_find((struct nbds_world *)w, number);

	if (!b)
		return !quiet_find(w, number);
	if (b->based || b->cut)
		return false;
	for (const struct entry *e = b->entries; e; e = e->next)
		if (!is_seen(e) && ((e->valued | e->unknown) & sectors))
			return false;
	for (const struct grave *g = b->graves; g; g = g->next)
		for (unsigned i = 0; i < BLOCK_SECTORS; i++)
			if (g->by[i] && (sectors >> i & 1))
				return false;
	return true;
}

bool contents_unwritten(const struct nbds_world *w, uint64_t start, uint64_t end)
{
	uint64_t first = start / BLOCK_BYTES, last = (end - 1) / BLOCK_BYTES;
	const struct range *range;
	unsigned ranges;

	if (w->blind || w->poisoned || w->blocks->forgot || end <= start ||
	    last - first >= HOLE_LOOKED || !ranges_near(w, start, end, &range, 1, &ranges) ||
	    ranges)
		return false;
	for (uint64_t n = first; n <= last; n++) {
		uint64_t base = n * BLOCK_BYTES;
		unsigned from = start > base ? (unsigned)(start - base) / NBDS_SECTOR : 0;
		unsigned to = end - base < BLOCK_BYTES
				      ? (unsigned)(end - base + NBDS_SECTOR - 1) / NBDS_SECTOR
				      : BLOCK_SECTORS;

		if (!block_unwritten(w, n, (uint8_t)((1u << to) - (1u << from))))
			return false;
	}
	return true;
}

bool contents_elsewhere(struct nbds_world *w, uint64_t sector, uint64_t value, struct placement *at)
{
	const struct block *b;
	const struct cell *c;
	uint64_t block;
	unsigned i;

	if (!placed_find(w, sector, value, &at->sector))
		return false;
	block = at->sector / BLOCK_SECTORS;
	i = (unsigned)(at->sector % BLOCK_SECTORS);
	b = block_find(w, block);
	for (const struct entry *e = b ? b->entries : NULL; e; e = e->next) {
		if (e->op->type != NBD_CMD_WRITE || !entry_shows(e, i, value))
			continue;
		at->frame = e->op->request_frame;
		at->connection = e->op->party->id;
		return true;
	}
	c = b ? NULL : quiet_find(w, block);
	if (c && quiet_shows(c, i, value)) {
		const struct past *p = &w->pasts->list[c->past];

		at->frame = p->lo_frame + p->request_delta;
		at->connection = p->party->id;
		return p->type == NBD_CMD_WRITE;
	}
	return false;
}

/* --- memory -------------------------------------------------------------- */

/* Forgets the block if all that it knows is settled: only then is what was
 * there superseded by whatever is flushed later. */
static bool block_forget(struct nbds_world *w, struct block *b)
{
	if (b->pins || b->cut || b->graves)
		return false;
	for (struct entry *e = b->entries; e; e = e->next)
		if (!is_seen(e) && (e->op->state != OP_OK || !e->op->proves || e->op->early))
			return false;
	for (struct entry *e = b->entries; e; e = e->next)
		if (!is_seen(e))
			forget_point(w, &e->op->hi);
	forget_range(w, b->number, 1, 1, 0);
	block_free(w, b);
	return true;
}

void contents_shrink(struct nbds_world *w, uint64_t goal)
{
	const struct nbds_point now = w->last;

	bool flushed = w->contents->shrunk_at != w->order->flushes;

	w->contents->shrunk_at = w->order->flushes;
	for (struct block *b = w->blocks->lru.lru_next, *next;
	     b != &w->blocks->lru && w->memory > goal; b = next) {
		next = b->lru_next;
		/* what could not be buried last time cannot be now, as a rule */
		if (!b->pins && b->count > 1 && (flushed || b->count >= b->prune_at)) {
			block_prune(w, b, &now, false);
			b->prune_at = b->count * 2;
		}
		block_thin(w, b);
	}
	for (struct block *b = w->blocks->lru.lru_next, *next;
	     b != &w->blocks->lru && w->memory > goal; b = next) {
		next = b->lru_next;
		quiet_settle(w, b);
	}
	quiet_thin(w, goal);
	while (w->memory > goal && quiet_forget(w))
		;
	for (struct block *b = w->blocks->lru.lru_next, *next;
	     b != &w->blocks->lru && w->memory > goal; b = next) {
		next = b->lru_next;
		block_forget(w, b);
	}
	/* what others than its own connection may still see: nothing is judged there then */
	for (struct block *b = w->blocks->lru.lru_next; b != &w->blocks->lru && w->memory > goal;
	     b = b->lru_next) {
		uint64_t gone = b->pins ? 0 : graves_free(w, &b->graves);

		if (gone)
			b->cut = 0xff;
		forget_range(w, b->number, 1, 0, gone);
	}
}

void contents_trim_memory(struct nbds_world *w)
{
	if (w->memory <= w->memory_cap || w->blocks->iterating || w->memory < w->contents->trim_at)
		return;
	contents_shrink(w, w->memory_cap - w->memory_cap / 8);
	w->contents->trim_at =
		w->memory > w->memory_cap - w->memory_cap / 8 ? w->memory + w->memory_cap / 32 : 0;
	if (w->memory > w->memory_cap && !w->reads->waiting) {
		/* what is left may still be needed by anybody: give all up */
		w->blind = true;
		while (w->blocks->lru.lru_next != &w->blocks->lru) {
			struct block *b = w->blocks->lru.lru_next;

			forget_range(w, b->number, 1, 1, 0);
			block_free(w, b);
		}
	}
}

static void based_on(struct block *b, const struct nbds_point *hi)
{
	if (b->based)
		later_of(&b->base, hi);
	else
		b->base = *hi;
	b->based = true;
}

void contents_distrust(struct nbds_world *w)
{
	const struct order *o = w->order;

	if (o->relied) {
		forget_point(w, &o->relied_upto);
		while (quiet_forget(w))
			;
	}
	quiet_wake_buried(w);
	for (struct block *b = w->blocks->lru.lru_next; b != &w->blocks->lru; b = b->lru_next) {
		if (o->relied)
			based_on(b, &o->relied_upto);
		for (const struct grave *g = b->graves; g; g = g->next)
			for (unsigned i = 0; i < BLOCK_SECTORS; i++)
				if (g->by[i])
					based_on(b, &g->by[i]->hi);
	}
}

void contents_free(struct nbds_world *w)
{
	blocks_free(w);
	world_dealloc(w, w->contents->assembly, sizeof(*w->contents->assembly));
	world_dealloc(w, w->contents->gathered.list,
		      w->contents->gathered.room * sizeof(struct candidate));
	quiet_free(w);
	ranges_free(w);
}
