/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contents: which commands may have left their data in which sectors. The
 * drawing is in contents.h.
 */
#include <base/assert.h>

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "quiet.h"
#include <base/clock.h>

/* Entries of a block before it is pruned for the first time; of a world that is short of
 * memory; and then at twice what was left. */
#ifndef PRUNE_FIRST /* tests bury at once */
#define FAILED_KEPT 8u
#define PRUNE_FIRST 24u
#define PRUNE_SHORT 6u
#endif
#define GRANULE_FIRST 16u
/* Sectors of a range that are looked at, one by one, for being overwritten. */
#define RANGE_LOOKED 2048u
/* A read in flight for longer than this is not waited for. */
#define READ_AGE INT64_C(10000000000)
/* Earlier reads that one block remembers: of what was there before the capture there is
 * one contents, so many different ones prove nothing anyway. */
#define SEEN_MAX 64u
/* Bytes written last that are kept as they were, as a share of the memory; and those that
 * were rescued from there. */
#define RING_SHARE 1024u
#define RING_MIN   (UINT64_C(16) << 10)

/* Where the sampled bytes of a sector lie: one in each quarter. */
static const uint16_t samples[SAMPLES] = {37, 171, 299, 445};

unsigned sample_at(unsigned i)
{
	return samples[i];
}

static bool has_avx2(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

uint64_t sector_value(const uint8_t *bytes)
{
	uint64_t v = (has_avx2() ? sector_hash_avx2(bytes) : sector_hash(bytes)) & 0xffffffffu;

	for (unsigned i = 0; i < SAMPLES; i++)
		v |= (uint64_t)bytes[samples[i]] << (32 + 8 * i);
	return v;
}

void contents_init(struct nbds_world *w)
{
	static const uint8_t zeroes[NBDS_SECTOR];

	w->contents->zero_value = sector_value(zeroes);
	w->contents->lru.lru_next = w->contents->lru.lru_prev = &w->contents->lru;
}

/* --- bytes --------------------------------------------------------------- */

void piece_unref(struct nbds_world *w, struct piece *p)
{
	if (!p || --p->refs)
		return;
	w->piece_bytes -= (uint64_t)(p->to - p->from);
	world_dealloc(w, p, sizeof(*p) + p->to - p->from);
}

static struct piece *piece_new(struct nbds_world *w, unsigned from, unsigned to,
			       const uint8_t *bytes)
{
	struct piece *p = world_alloc(w, sizeof(*p) + to - from);

	if (!p)
		return NULL;
	w->piece_bytes += to - from;
	p->refs = 1;
	p->from = (uint16_t)from;
	p->to = (uint16_t)to;
	if (bytes)
		memcpy(p->bytes, bytes, to - from);
	return p;
}

/*
 * The ring: what was written last, sector by sector.  An entry remembers where its first
 * sector went; the bytes are rescued from there once another write of the sector makes
 * them matter, unless newer ones have taken their place.
 */
static uint8_t *ring_at(struct nbds_world *w, uint32_t at)
{
	const struct ring *r = &w->contents->ring;
	/* how long ago, in sectors: the number wraps around long after the ring did */
	uint32_t ago = (uint32_t)(r->end / NBDS_SECTOR) - at;
	uint64_t bytes = (uint64_t)ago * NBDS_SECTOR;

	return r->bytes && ago && bytes <= r->size && bytes <= r->end
		       ? r->bytes + (r->end - bytes) % r->size
		       : NULL;
}

static uint32_t ring_put(struct nbds_world *w, const uint8_t *bytes)
{
	struct ring *r = &w->contents->ring;

	if (!r->bytes && !r->failed) {
		/* small worlds need little: it grows while it has not gone round */
		r->full = w->memory_cap / RING_SHARE / NBDS_SECTOR * NBDS_SECTOR;
		if (r->full < RING_MIN)
			r->full = RING_MIN;
		r->size = 8 * NBDS_SECTOR;
		r->bytes = world_alloc(w, r->size);
		r->failed = !r->bytes;
	}
	if (!r->bytes)
		return NO_RING;
	if (r->end == r->size && r->size < r->full) {
		uint64_t size = r->size * 2 < r->full ? r->size * 2 : r->full;
		uint8_t *grown = world_realloc(w, r->bytes, r->size, size);

		if (grown) {
			r->bytes = grown;
			r->size = size;
		} else {
			r->full = r->size;
		}
	}
	if (r->end >= r->size)
		r->full = r->size;
	memcpy(r->bytes + r->end % r->size, bytes, NBDS_SECTOR);
	r->end += NBDS_SECTOR;
	return (uint32_t)(r->end / NBDS_SECTOR - 1) == NO_RING
		       ? NO_RING - 1
		       : (uint32_t)(r->end / NBDS_SECTOR - 1);
}

static void ring_free(struct nbds_world *w)
{
	struct ring *r = &w->contents->ring;

	world_dealloc(w, r->bytes, r->size);
	*r = (struct ring){.failed = true};
}

static struct piece **piece_slot(struct nbds_world *w, struct entry *e, unsigned i)
{
	if (!e->extra)
		e->extra = world_alloc(w, sizeof(*e->extra));
	return e->extra ? &e->extra->piece[i] : NULL;
}

static void piece_drop(struct nbds_world *w, struct entry *e, unsigned i)
{
	if (!e->extra)
		return;
	piece_unref(w, e->extra->piece[i]);
	e->extra->piece[i] = NULL;
}

/* Keeps the bytes of the entry's sector i, if they are there still. */
static void rescue(struct nbds_world *w, struct entry *e, unsigned i)
{
	const uint8_t *bytes;

	struct piece **at;

	if (!(e->valued >> i & 1) || (e->extra && e->extra->piece[i]) || e->ring == NO_RING ||
	    i < e->ring_first || w->piece_bytes > w->memory_cap / PIECE_SHARE)
		return;
	bytes = ring_at(w, e->ring + (uint32_t)(i - e->ring_first));
	at = bytes ? piece_slot(w, e, i) : NULL;
	if (at)
		*at = piece_new(w, 0, NBDS_SECTOR, bytes);
}

/* --- blocks -------------------------------------------------------------- */

static void blocks_grow(struct nbds_world *w)
{
	size_t n = w->contents->bucket_count ? w->contents->bucket_count * 2 : 16;
	struct block **buckets = world_alloc(w, n * sizeof(*buckets));

	if (!buckets)
		return;
	for (size_t i = 0; i < w->contents->bucket_count; i++) {
		struct block *b = w->contents->buckets[i], *next;

		for (; b; b = next) {
			next = b->chain;
			size_t at = hash_number(w, b->number) & (n - 1);
			b->chain = buckets[at];
			buckets[at] = b;
		}
	}
	world_dealloc(w, w->contents->buckets,
		      w->contents->bucket_count * sizeof(*w->contents->buckets));
	w->contents->buckets = buckets;
	w->contents->bucket_count = n;
}

struct block *block_find(struct nbds_world *w, uint64_t number)
{
	struct block *b = w->contents->found;

	/* sectors come in order */
	if (b && b->number == number)
		return b;
	if (!w->contents->bucket_count)
		return NULL;
	for (b = w->contents->buckets[hash_number(w, number) & (w->contents->bucket_count - 1)]; b;
	     b = b->chain)
		if (b->number == number)
			break;
	/* and blocks, too: the next ones are on their way from memory meanwhile */
	__builtin_prefetch(
		w->contents->buckets[hash_number(w, number + 1) & (w->contents->bucket_count - 1)]);
	__builtin_prefetch(&w->contents->buckets[hash_number(w, number + 2) &
						 (w->contents->bucket_count - 1)]);
	return b ? (w->contents->found = b) : NULL;
}

void lru_remove(struct block *b)
{
	b->lru_prev->lru_next = b->lru_next;
	b->lru_next->lru_prev = b->lru_prev;
}

void lru_append(struct nbds_world *w, struct block *b)
{
	b->lru_next = &w->contents->lru;
	b->lru_prev = w->contents->lru.lru_prev;
	w->contents->lru.lru_prev->lru_next = b;
	w->contents->lru.lru_prev = b;
}

struct block *block_get(struct nbds_world *w, uint64_t number)
{
	struct block *b = block_find(w, number);

	if (b) {
		lru_remove(b);
		lru_append(w, b);
		return b;
	}
	if (w->contents->block_count >= w->contents->bucket_count)
		blocks_grow(w);
	if (!w->contents->bucket_count)
		return NULL;
	b = world_alloc(w, sizeof(*b));
	if (!b)
		return NULL;
	b->number = number;
	if (w->contents->forgot) {
		b->based = true;
		b->base = w->contents->forgot_at;
	}
	size_t at = hash_number(w, number) & (w->contents->bucket_count - 1);
	b->chain = w->contents->buckets[at];
	w->contents->buckets[at] = b;
	lru_append(w, b);
	w->contents->block_count++;
	if (w->quiet->count)
		quiet_wake(w, b);
	quiet_sweep(w);
	return b;
}

void entry_free(struct nbds_world *w, struct entry *e)
{
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		piece_drop(w, e, i);
	world_dealloc(w, e->extra, sizeof(*e->extra));
	op_unref(e->op);
	world_dealloc(w, e, sizeof(*e));
}

static void entry_remove(struct nbds_world *w, struct block *b, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	b->count--;
	entry_free(w, e);
}

void block_free(struct nbds_world *w, struct block *b)
{
	struct block **at =
		&w->contents->buckets[hash_number(w, b->number) & (w->contents->bucket_count - 1)];

	while (*at != b)
		at = &(*at)->chain;
	*at = b->chain;
	if (w->contents->found == b)
		w->contents->found = NULL;
	while (b->entries)
		entry_remove(w, b, &b->entries);
	graves_free(w, &b->graves);
	lru_remove(b);
	w->contents->block_count--;
	world_dealloc(w, b, sizeof(*b));
}

static bool is_seen(const struct entry *e)
{
	return e->op->type == NBD_CMD_READ;
}

/* --- burying ------------------------------------------------------------- */

/* No read that is in flight, and waited for, began before this was answered. */
static bool over_for_readers(struct nbds_world *w, const struct nbds_op *op,
			     const struct nbds_point *now)
{
	struct nbds_op *r = w->reads->first;

	if (!point_before(w, &op->hi, now))
		return false;
	for (; r && nbds_elapsed(r->lo.time, now->time) > READ_AGE; r = w->reads->first) {
		r->late = true;
		reads_remove(r);
	}
	return !r || point_before(w, &op->hi, &r->lo);
}

/* The newest writes of the whole sector, while a block is walked from its newest entry on. */
struct newer {
	struct entry *own[BLOCK_SECTORS]; /* of one connection */
	const struct nbds_party *party;
	struct newer *chain;
};

struct burial {
	struct nbds_world *w;
	struct block *b;
	const struct nbds_point *now;
	struct newer *newer; /* hashed by connection; `room` of them, a power of two */
	size_t room;
	/* and those that are in force for all */
	struct entry *shared[STRENGTH_FLUSH + 1][BLOCK_SECTORS];
	struct entry *failed[FAILED_KEPT]; /* the newest that failed, each with other contents */
	unsigned failures;
};

static struct newer *newer_of(struct burial *k, const struct nbds_party *p)
{
	size_t at = hash_number(k->w, (uint64_t)(uintptr_t)p) & (k->room - 1);

	while (k->newer[at].party && k->newer[at].party != p)
		at = (at + 1) & (k->room - 1);
	k->newer[at].party = p;
	return &k->newer[at];
}

/* Is e's sector i superseded by n, for every reader that is still to come? */
static bool buried_by(struct burial *k, const struct entry *e, const struct entry *n,
		      enum strength e_strength)
{
	enum strength by;

	if (!n || n == e)
		return false;
	by = strength_of(n->op, NULL);
	return by >= e_strength && over_for_readers(k->w, n->op, k->now) &&
	       established(e->op, n->op, &n->op->hi, NULL) && !voided(n->op, NULL);
}

/* What `by` superseded will be in nobody's way any more, whoever reads and whatever fails:
 * it may be gone without a trace. */
static bool gone_for_all(const struct nbds_world *w, const struct nbds_op *by)
{
	return !w->parties->others && strength_of(by, NULL) == STRENGTH_FLUSH && !may_be_voided(by);
}

static void bury(struct burial *k, struct entry *e, uint8_t bits)
{
	const struct nbds_op *flush = NULL;
	enum strength strength = strength_of(e->op, NULL);
	const struct newer *own = newer_of(k, e->op->party);

	for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
		bool whole;
		struct entry *by = NULL, *const tries[] = {k->shared[STRENGTH_FLUSH][i],
							   k->shared[STRENGTH_FUA][i], own->own[i]};

		if (!(bits >> i & 1))
			continue;
		for (unsigned t = 0; t < 3 && !by; t++)
			if (buried_by(k, e, tries[t], strength))
				by = tries[t];
		if (!by)
			continue;
		/* a grave takes whole values only */
		whole = (e->valued >> i & 1) && !(e->unknown >> i & 1) && !e->coarse;
		if (!whole && !gone_for_all(k->w, by->op))
			continue;
		strength_of(by->op, &flush);
		if (whole &&
		    !grave_put(&k->b->graves, e->op, by->op, flush, i, e->value[i],
			       e->extra && e->extra->piece[i] ? e->extra->piece[i]->bytes : NULL))
			continue;
		if (!whole)
			k->w->stats.pruned++;
		e->valued &= (uint8_t) ~(1u << i);
		e->unknown &= (uint8_t) ~(1u << i);
		e->full &= (uint8_t) ~(1u << i);
		piece_drop(k->w, e, i);
	}
}

static bool same_contents(const struct entry *a, const struct entry *b)
{
	if (a->unknown || b->unknown || a->coarse || b->coarse || a->valued != b->valued ||
	    a->full != b->full || a->valued != a->full)
		return false;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if ((a->valued >> i & 1) && a->value[i] != b->value[i])
			return false;
	return true;
}

/* What failed may have left its contents for ever, or anything until the next write that is
 * in force.  For every reader still to come the newest of several that failed alike says both:
 * a client that tries again and again leaves one. */
static bool failed_again(struct burial *k, struct entry *e)
{
	for (unsigned i = 0; i < k->failures; i++) {
		const struct entry *f = k->failed[i];

		if (f->op->party->xport == e->op->party->xport && same_contents(e, f) &&
		    over_for_readers(k->w, f->op, k->now))
			return true;
	}
	if (k->failures < FAILED_KEPT)
		k->failed[k->failures++] = e;
	return false;
}

static void block_prune(struct nbds_world *w, struct block *b, const struct nbds_point *now)
{
	struct burial k = {.w = w, .b = b, .now = now, .room = 16};
	unsigned seen = 0;

	while (k.room < 2 * (size_t)b->count)
		k.room *= 2;
	k.newer = world_alloc(w, k.room * sizeof(*k.newer));
	if (!k.newer)
		return;
	for (struct entry **at = &b->entries; *at;) {
		struct entry *e = *at;
		uint8_t touched = e->valued | e->unknown;

		if (is_seen(e)) {
			/* what was one of several outcomes, before a newer write */
			bool over = !e->initial && b->entries != e && e->extra && e->extra->seen &&
				    b->written_last &&
				    point_before(w, &e->extra->hi, &b->written_last->lo);

			if (over || ++seen > SEEN_MAX)
				entry_remove(w, b, at);
			else
				at = &e->next;
			continue;
		}
		if (e->op->state == OP_FAILED && failed_again(&k, e)) {
			entry_remove(w, b, at);
			continue;
		}
		if (e->op->state == OP_OK && e->op->proves && !e->op->early && touched) {
			struct newer *own;

			bury(&k, e, touched);
			own = newer_of(&k, e->op->party);
			for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
				enum strength s;

				if (!(e->full >> i & 1))
					continue;
				if (!own->own[i])
					own->own[i] = e;
				s = strength_of(e->op, NULL);
				if (s != STRENGTH_OWN && !k.shared[s][i])
					k.shared[s][i] = e;
			}
		}
		if (e->valued | e->unknown)
			at = &e->next;
		else
			entry_remove(w, b, at);
	}
	world_dealloc(w, k.newer, k.room * sizeof(*k.newer));
}

static void block_limit(struct nbds_world *w, struct block *b, const struct nbds_point *now)
{
	unsigned first = w->memory > w->memory_cap / 2 ? PRUNE_SHORT : PRUNE_FIRST;

	if (b->pins || b->count <= first || b->count < b->prune_at)
		return;
	block_prune(w, b, now);
	b->prune_at = b->count * 2;
}

/* `other` is a write of another command, of the same export, that is in flight. */
static void overlapped(struct nbds_op **out, const struct nbds_op *op, struct nbds_op *other)
{
	if (out && !*out && other != op && other->state == OP_FLIGHT && other->write_class &&
	    other->party->xport == op->party->xport)
		*out = other;
}

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
	for (e = b->number < op->blocks_end ? b->entries : NULL; e && looked < 8;
	     e = e->next, looked++)
		if (e->op == op)
			return e;
	block_limit(w, b, &op->lo);
	if (b->number >= op->blocks_end)
		op->blocks_end = b->number + 1;
	e = world_alloc(w, sizeof(*e));
	if (!e)
		return NULL;
	e->op = op;
	e->ring = NO_RING;
	b->tidy = false;
	op_ref(op);
	e->next = b->entries;
	b->entries = e;
	b->count++;
	if (op->write_class) {
		b->written_last = op;
		for (looked = 0, e = e->next; e && e->op->serial >= op->flight_from && looked < 4;
		     e = e->next, looked++)
			if (e->op->offset < op->offset + op->length &&
			    op->offset < e->op->offset + e->op->length)
				overlapped(overlaps, op, e->op);
	}
	return b->entries;
}

/* What older writes left in the sector matters byte by byte from now on. True: there is
 * any that is not superseded. */
static bool keep_older(struct nbds_world *w, struct entry *e, unsigned i)
{
	bool any = false;

	for (struct entry *old = e->next; old; old = old->next) {
		if (!((old->valued | old->unknown) >> i & 1))
			continue;
		rescue(w, old, i);
		if (is_seen(old))
			continue;
		any = true;
		if (old->full >> i & 1)
			break; /* what is older was kept when this came */
	}
	return any;
}

struct nbds_op *contents_sector(struct nbds_op *op, uint64_t sector, uint64_t value,
				const uint8_t *bytes)
{
	struct nbds_world *w = op->world;
	struct nbds_op *overlaps = NULL;
	struct entry *e = entry_get(op, sector, &overlaps);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	uint32_t at;

	if (!e) {
		w->blind = true;
		return overlaps;
	}
	e->valued |= (uint8_t)(1u << i);
	e->full |= (uint8_t)(1u << i);
	e->value[i] = value;
	if (!bytes)
		return overlaps;
	at = ring_put(w, bytes);
	if (e->ring == NO_RING || i < e->ring_first ||
	    e->ring + (uint32_t)(i - e->ring_first) != at) {
		/* if others came in between, of what came before only the value is known */
		e->ring = at;
		e->ring_first = (uint8_t)i;
	}
	if (op->write_class && keep_older(w, e, i))
		rescue(w, e, i);
	return overlaps;
}

void contents_seen(struct nbds_op *op, uint64_t sector, uint64_t value, const uint8_t *bytes,
		   bool initial, const struct nbds_point *hi, uint64_t lone_from)
{
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	struct entry *e;

	contents_sector(op, sector, value, bytes);
	e = entry_get(op, sector, NULL);
	if (!e)
		return;
	if (initial)
		e->initial |= (uint8_t)(1u << i);
	else
		rescue(op->world, e, i);
	if (!piece_slot(op->world, e, i))
		return;
	if (!e->extra->seen) {
		e->extra->seen = true;
		e->extra->hi = *hi;
		e->extra->lone_from = lone_from;
	}
	later_of(&e->extra->hi, hi);
	if (lone_from > e->extra->lone_from)
		e->extra->lone_from = lone_from;
}

struct nbds_op *contents_partial(struct nbds_op *op, uint64_t sector, unsigned from, unsigned to,
				 unsigned at, const uint8_t *bytes, unsigned len)
{
	struct nbds_world *w = op->world;
	struct nbds_op *overlaps = NULL;
	struct entry *e = entry_get(op, sector, &overlaps);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	struct piece **slot, *p;

	if (!e) {
		w->blind = true;
		return overlaps;
	}
	e->unknown |= (uint8_t)(1u << i);
	slot = piece_slot(w, e, i);
	if (!slot)
		return overlaps;
	if (!*slot) {
		*slot = piece_new(w, from, to, NULL);
		keep_older(w, e, i);
	}
	p = *slot;
	/* in order; what was lost in between leaves it unknown */
	if (p && p->from == from && p->to == to && from + p->have == at && at + len <= to) {
		memcpy(p->bytes + p->have, bytes, len);
		p->have = (uint16_t)(p->have + len);
	}
	return overlaps;
}

void contents_each_block(struct nbds_world *w, uint64_t start, uint64_t end,
			 void (*each)(void *arg, struct block *b), void *arg)
{
	uint64_t first = start / BLOCK_BYTES, last = (end - 1) / BLOCK_BYTES;

	if (end <= start)
		return;
	w->contents->iterating = true;
	quiet_wake_data(w, first, last);
	if (last - first < w->contents->block_count) {
		for (uint64_t n = first; n <= last; n++) {
			struct block *b = block_find(w, n);

			if (b)
				each(arg, b);
		}
	} else {
		/* what `each` looks at moves to the end of the list: not further than
		 * what is the last one now */
		struct block *last_one = w->contents->lru.lru_prev;

		for (struct block *b = w->contents->lru.lru_next, *next; b != &w->contents->lru;
		     b = next) {
			bool stop = b == last_one;

			next = b->lru_next;
			if (b->number >= first && b->number <= last)
				each(arg, b);
			if (stop)
				break;
		}
	}
	w->contents->iterating = false;
}

/* --- ranges -------------------------------------------------------------- */

static size_t granule_hash(const struct nbds_world *w, unsigned size_class, uint64_t number)
{
	return hash_number(w, number * 67 + size_class) & (w->contents->granule_buckets - 1);
}

static struct granule *granule_find(const struct nbds_world *w, unsigned size_class,
				    uint64_t number)
{
	if (!w->contents->granule_buckets)
		return NULL;
	for (struct granule *g = w->contents->granules[granule_hash(w, size_class, number)]; g;
	     g = g->chain)
		if (g->number == number && g->size_class == size_class)
			return g;
	return NULL;
}

static void granules_grow(struct nbds_world *w)
{
	size_t old = w->contents->granule_buckets, n = old ? old * 2 : 64;
	struct granule **before = w->contents->granules,
		       **buckets = world_alloc(w, n * sizeof(*buckets));

	if (!buckets)
		return;
	w->contents->granules = buckets;
	w->contents->granule_buckets = n;
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

static void range_unlink(struct nbds_world *w, struct granule *g, struct link **at)
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

/* The write of data that superseded the range in a sector, for every reader still to come. */
static struct entry *over_sector(struct nbds_world *w, const struct range *r, struct block *b,
				 unsigned i, enum strength strength, const struct nbds_point *now)
{
	for (struct entry *e = b ? b->entries : NULL; e; e = e->next)
		if ((e->full >> i & 1) && !is_seen(e) && e->op->state == OP_OK && e->op->proves &&
		    !e->op->early && strength_of(e->op, NULL) >= strength &&
		    over_for_readers(w, e->op, now) &&
		    established(r->op, e->op, &e->op->hi, NULL) && !voided(e->op, NULL))
			return e;
	return NULL;
}

/* Data superseded all of the range, sector by sector: then zeroes are old values there. */
static bool over_data(struct nbds_world *w, const struct range *r, const struct nbds_point *now)
{
	static const uint8_t zeroes[NBDS_SECTOR];
	uint64_t first = r->start / NBDS_SECTOR, last = (r->end - 1) / NBDS_SECTOR;
	enum strength strength = strength_of(r->op, NULL);
	bool whole = r->kind == RANGE_ZERO && r->start % NBDS_SECTOR == 0 &&
		     r->end % NBDS_SECTOR == 0;

	if (last - first >= RANGE_LOOKED)
		return false;
	for (uint64_t s = first; s <= last; s++) {
		const struct entry *by = over_sector(w, r, block_find(w, s / BLOCK_SECTORS),
						     (unsigned)(s % BLOCK_SECTORS), strength, now);

		if (!by || (!whole && !gone_for_all(w, by->op)))
			return false;
	}
	for (uint64_t s = first; s <= last && r->kind == RANGE_ZERO; s++) {
		struct block *b = block_find(w, s / BLOCK_SECTORS);
		unsigned i = (unsigned)(s % BLOCK_SECTORS);
		const struct entry *by = over_sector(w, r, b, i, strength, now);
		const struct nbds_op *flush;

		strength_of(by->op, &flush);
		if (whole && !grave_put(&b->graves, r->op, by->op, flush, i,
					w->contents->zero_value, zeroes))
			return false;
	}
	return true;
}

/* Is r superseded by n, for every reader still to come? */
static bool range_buried(struct nbds_world *w, const struct range *r, const struct range *n,
			 const struct nbds_point *now)
{
	if (n->start > r->start || n->end < r->end)
		return false;
	if (r->kind == RANGE_SEEN_ZERO)
		return n->kind == RANGE_SEEN_ZERO && n->op->party == r->op->party;
	return n->kind == RANGE_ZERO && r->kind != RANGE_DAMAGE && r->kind != RANGE_HOLE &&
	       n->op->state == OP_OK && n->op->proves &&
	       (r->kind == RANGE_ZERO || gone_for_all(w, n->op)) &&
	       strength_of(n->op, NULL) >= strength_of(r->op, NULL) &&
	       over_for_readers(w, n->op, now) && established(r->op, n->op, &n->op->hi, NULL) &&
	       !voided(n->op, NULL);
}

static void granule_limit(struct nbds_world *w, struct granule *g, const struct nbds_point *now)
{
	if (g->count <= GRANULE_FIRST || g->count < g->prune_at || w->contents->pins)
		return;
	for (struct link **at = &g->links; *at;) {
		struct range *r = (*at)->range;
		unsigned looked = 0;
		bool gone = false;

		for (struct link *l = g->links; l != *at && !gone && looked < 8; l = l->next)
			if (l->range->start <= r->start && l->range->end >= r->end &&
			    l->range->kind == (r->kind == RANGE_SEEN_ZERO ? r->kind : RANGE_ZERO)) {
				gone = range_buried(w, r, l->range, now);
				looked++;
			}
		if (!gone && r->op->state == OP_OK && r->op->proves &&
		    (r->kind == RANGE_TRIM || r->kind == RANGE_UNKNOWN || r->kind == RANGE_ZERO))
			gone = over_data(w, r, now);
		if (gone)
			range_unlink(w, g, at);
		else
			at = &(*at)->next;
	}
	g->prune_at = g->count * 2;
}

struct nbds_op *contents_range(struct nbds_op *op, uint64_t start, uint64_t end,
			       enum range_kind kind, const struct nbds_point *hi,
			       uint64_t lone_from)
{
	struct nbds_op *overlaps = NULL;
	struct nbds_world *w = op->world;
	unsigned size_class = 12;

	if (end <= start)
		return NULL;
	while (size_class < 63 && ((uint64_t)1 << size_class) < end - start)
		size_class++;
	if (w->contents->granule_count >= w->contents->granule_buckets)
		granules_grow(w);
	struct range *r = world_alloc(w, sizeof(*r));

	if (!r || !w->contents->granule_buckets) {
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
				g->chain = w->contents->granules[at];
				w->contents->granules[at] = g;
				w->contents->granule_count++;
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
		granule_limit(w, g, &op->lo);
	}
	w->contents->classes |= (uint64_t)1 << size_class;
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

	for (uint64_t classes = w->contents->classes; classes; classes &= classes - 1) {
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

static bool gather_entry(struct nbds_world *w, struct entry *e, unsigned i, uint64_t start)
{
	bool sorts = e->valued >> i & 1, unknown = e->unknown >> i & 1;
	struct candidate *c;

	if (!sorts && !unknown)
		return true;
	rescue(w, e, i);
	c = candidate_add(w);
	if (!c)
		return false;
	c->op = e->op;
	c->seen = is_seen(e);
	c->initial = e->initial >> i & 1;
	c->coarse = e->coarse;
	c->valued = sorts && !unknown;
	c->value = e->value[i];
	c->piece = e->extra ? e->extra->piece[i] : NULL;
	c->establishes = !c->seen;
	c->why = NBDS_UNCHECKED_PARTIAL;
	if (e->extra && e->extra->seen) {
		c->hi = e->extra->hi;
		c->lone_from = e->extra->lone_from;
	} else {
		c->hi = e->op->hi;
		c->lone_from = UINT64_MAX;
	}
	if (unknown) {
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

static bool gather_range(struct nbds_world *w, const struct range *r, uint64_t first)
{
	static const uint8_t zeroes[NBDS_SECTOR];
	uint64_t last = first + NBDS_SECTOR;
	struct candidate *c;

	if (r->start >= last || r->end <= first)
		return true;
	c = candidate_add(w);
	if (!c)
		return false;
	c->op = r->op;
	c->from = r->start > first ? (uint16_t)(r->start - first) : 0;
	c->to = r->end < last ? (uint16_t)(r->end - first) : NBDS_SECTOR;
	c->value = w->contents->zero_value;
	c->hi = r->hi;
	c->lone_from = r->lone_from;
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
		      : (w->contents->forgot ? &w->contents->forgot_at : NULL);
	for (struct grave *g = b ? b->graves : NULL; g; g = g->next) {
		struct candidate *c;

		if (!grave_has(g, i))
			continue;
		c = candidate_add(w);
		if (!c)
			return false;
		c->old = g;
		c->found = grave_find(g, i, value, &c->was);
		c->set = (struct byte_set *)grave_bytes(g, i);
	}
	for (struct entry *e = b ? b->entries : NULL; e; e = e->next)
		if (!gather_entry(w, e, i, first))
			return false;
	if (b && (b->cut >> i & 1))
		out->shadow = true;
	for (uint64_t classes = w->contents->classes; classes; classes &= classes - 1) {
		unsigned c = (unsigned)__builtin_ctzll(classes);
		struct granule *g = granule_find(w, c, first >> c);

		for (struct link *l = g ? g->links : NULL; l; l = l->next)
			if (!gather_range(w, l->range, first))
				return false;
	}
	if (out->count)
		qsort(out->list, out->count, sizeof(*out->list), by_serial);
	return true;
}

/* --- memory -------------------------------------------------------------- */

/* A command that was answered at `hi` is forgotten. */
void forget_point(struct nbds_world *w, const struct nbds_point *hi)
{
	if (!w->contents->forgot)
		w->contents->forgot_at = (struct nbds_point){0, INT64_MIN, hi->interface};
	w->contents->forgot = true;
	later_of(&w->contents->forgot_at, hi);
}

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
	block_free(w, b);
	w->stats.forgotten++;
	return true;
}

/* Gives up what only names things better: old values, and bytes as they were. */
static void block_thin(struct nbds_world *w, struct block *b)
{
	w->stats.pruned += graves_thin(w, &b->graves);
	for (struct entry *e = b->entries; e; e = e->next)
		for (unsigned i = 0; e->extra && i < BLOCK_SECTORS; i++)
			if (!(e->unknown >> i & 1))
				piece_drop(w, e, i);
}

void contents_tidy(struct nbds_world *w, struct block *b)
{
	const struct nbds_point now = w->last;

	if (b->count > 1 && !b->pins && !b->tidy) {
		block_prune(w, b, &now);
		b->tidy = true;
	}
	if (w->memory > w->memory_cap / 2)
		block_thin(w, b);
}

void contents_shrink(struct nbds_world *w, uint64_t goal)
{
	const struct nbds_point now = w->last;

	for (struct block *b = w->contents->lru.lru_next, *next;
	     b != &w->contents->lru && w->memory > goal; b = next) {
		next = b->lru_next;
		if (!b->pins && b->count > 1)
			block_prune(w, b, &now);
		block_thin(w, b);
	}
	for (struct block *b = w->contents->lru.lru_next, *next;
	     b != &w->contents->lru && w->memory > goal; b = next) {
		next = b->lru_next;
		quiet_settle(w, b);
	}
	while (w->memory > goal && quiet_forget(w))
		;
	for (struct block *b = w->contents->lru.lru_next, *next;
	     b != &w->contents->lru && w->memory > goal; b = next) {
		next = b->lru_next;
		block_forget(w, b);
	}
	/* what others than its own connection may still see: nothing is judged there then */
	for (struct block *b = w->contents->lru.lru_next;
	     b != &w->contents->lru && w->memory > goal; b = b->lru_next) {
		uint64_t gone = b->pins ? 0 : graves_free(w, &b->graves);

		if (gone)
			b->cut = 0xff;
		w->stats.pruned += gone;
	}
}

void contents_trim_memory(struct nbds_world *w)
{
	if (w->memory <= w->memory_cap || w->contents->iterating ||
	    w->memory < w->contents->trim_at)
		return;
	contents_shrink(w, w->memory_cap - w->memory_cap / 8);
	w->contents->trim_at =
		w->memory > w->memory_cap - w->memory_cap / 8 ? w->memory + w->memory_cap / 32 : 0;
	if (w->memory > w->memory_cap && !w->reads->waiting) {
		/* what is left may still be needed by anybody: give all up */
		w->blind = true;
		while (w->contents->lru.lru_next != &w->contents->lru)
			block_free(w, w->contents->lru.lru_next);
	}
}

void contents_free(struct nbds_world *w)
{
	while (w->contents->lru.lru_next != &w->contents->lru)
		block_free(w, w->contents->lru.lru_next);
	world_dealloc(w, w->contents->buckets,
		      w->contents->bucket_count * sizeof(*w->contents->buckets));
	ring_free(w);
	world_dealloc(w, w->contents->gathered.list,
		      w->contents->gathered.room * sizeof(struct candidate));
	quiet_free(w);
	for (size_t i = 0; i < w->contents->granule_buckets; i++) {
		struct granule *g = w->contents->granules[i], *next;

		for (; g; g = next) {
			next = g->chain;
			while (g->links)
				range_unlink(w, g, &g->links);
			world_dealloc(w, g, sizeof(*g));
		}
	}
	world_dealloc(w, w->contents->granules,
		      w->contents->granule_buckets * sizeof(*w->contents->granules));
}
