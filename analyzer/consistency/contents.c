/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Contents: which commands may have left their data in which sectors. The
 * drawing is in internal.h.
 */
#include <base/assert.h>

#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "world.h"

#define ENTRIES_SOFT  6u  /* entries of a block before it is pruned */
#define ENTRIES_HARD  48u /* and before its oldest are forgotten */
#define VERSIONS_KEPT 4u  /* of each sector, whatever supersedes them */
#define GRANULE_SOFT  8u
#define GRANULE_HARD  48u
#define PINNED_HARD   192u /* entries, ranges: more are not kept even for pending verdicts */

/* Where the four sampled bytes of a sector lie: one in each quarter. */
static const uint16_t sample_at[4] = {37, 171, 299, 445};

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

	for (unsigned i = 0; i < 4; i++)
		v |= (uint64_t)bytes[sample_at[i]] << (32 + 8 * i);
	return v;
}

void contents_init(struct nbds_world *w)
{
	static const uint8_t zeroes[NBDS_SECTOR];

	w->contents.zero_value = sector_value(zeroes);
	w->contents.lru.lru_next = w->contents.lru.lru_prev = &w->contents.lru;
}

/* --- blocks -------------------------------------------------------------- */

static void blocks_grow(struct nbds_world *w)
{
	size_t n = w->contents.bucket_count ? w->contents.bucket_count * 2 : 256;
	struct block **buckets = world_alloc(w, n * sizeof(*buckets));

	if (!buckets)
		return;
	for (size_t i = 0; i < w->contents.bucket_count; i++) {
		struct block *b = w->contents.buckets[i], *next;

		for (; b; b = next) {
			next = b->chain;
			size_t at = hash_number(b->number) & (n - 1);
			b->chain = buckets[at];
			buckets[at] = b;
		}
	}
	world_dealloc(w, w->contents.buckets,
		      w->contents.bucket_count * sizeof(*w->contents.buckets));
	w->contents.buckets = buckets;
	w->contents.bucket_count = n;
}

struct block *block_find(struct nbds_world *w, uint64_t number)
{
	struct block *b = w->contents.found;

	/* sectors come in order */
	if (b && b->number == number)
		return b;
	if (!w->contents.bucket_count)
		return NULL;
	for (b = w->contents.buckets[hash_number(number) & (w->contents.bucket_count - 1)]; b;
	     b = b->chain)
		if (b->number == number)
			break;
	/* and blocks, too: the next ones are on their way from memory meanwhile */
	__builtin_prefetch(
		w->contents.buckets[hash_number(number + 1) & (w->contents.bucket_count - 1)]);
	__builtin_prefetch(
		&w->contents.buckets[hash_number(number + 2) & (w->contents.bucket_count - 1)]);
	return b ? (w->contents.found = b) : NULL;
}

void lru_remove(struct block *b)
{
	b->lru_prev->lru_next = b->lru_next;
	b->lru_next->lru_prev = b->lru_prev;
}

void lru_append(struct nbds_world *w, struct block *b)
{
	b->lru_next = &w->contents.lru;
	b->lru_prev = w->contents.lru.lru_prev;
	w->contents.lru.lru_prev->lru_next = b;
	w->contents.lru.lru_prev = b;
}

struct block *block_get(struct nbds_world *w, uint64_t number)
{
	struct block *b = block_find(w, number);

	if (b) {
		lru_remove(b);
		lru_append(w, b);
		return b;
	}
	if (w->contents.block_count >= w->contents.bucket_count)
		blocks_grow(w);
	if (!w->contents.bucket_count)
		return NULL;
	b = world_alloc(w, sizeof(*b));
	if (!b)
		return NULL;
	b->number = number;
	if (w->contents.forgot) {
		b->based = true;
		b->base = w->contents.forgot_at;
	}
	size_t at = hash_number(number) & (w->contents.bucket_count - 1);
	b->chain = w->contents.buckets[at];
	w->contents.buckets[at] = b;
	lru_append(w, b);
	w->contents.block_count++;
	if (w->quiet.count)
		quiet_wake(w, b);
	quiet_sweep(w);
	return b;
}

static void entry_free(struct nbds_world *w, struct block *b, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	b->count--;
	op_unref(e->op);
	world_dealloc(w, e, sizeof(*e));
}

void block_free(struct nbds_world *w, struct block *b)
{
	struct block **at =
		&w->contents.buckets[hash_number(b->number) & (w->contents.bucket_count - 1)];

	while (*at != b)
		at = &(*at)->chain;
	*at = b->chain;
	if (w->contents.found == b)
		w->contents.found = NULL;
	while (b->entries)
		entry_free(w, b, &b->entries);
	lru_remove(b);
	w->contents.block_count--;
	world_dealloc(w, b, sizeof(*b));
}

static bool is_seen(const struct entry *e)
{
	return e->op->type == NBD_CMD_READ;
}

/*
 * Drops what newer entries supersede, but for the newest few versions of each
 * sector, by which stale data is recognised. `hard`: also where a reader on
 * another connection could still have needed it; the shadow tells such readers.
 */
static void block_prune(struct nbds_world *w, struct block *b, bool hard)
{
	uint8_t depth[BLOCK_SECTORS] = {0};

	for (struct entry **at = &b->entries; *at;) {
		struct entry *e = *at;
		uint8_t touched = e->valued | e->unknown, bits = 0, gone = 0;

		for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
			if (!(touched >> i & 1))
				continue;
			if (depth[i] < (hard ? 1 : VERSIONS_KEPT))
				depth[i]++;
			else
				bits |= (uint8_t)(1u << i);
		}
		if (!bits || e->op->state == OP_FLIGHT) {
			at = &e->next;
			continue;
		}
		if (is_seen(e))
			gone = bits;
		for (struct entry *n = b->entries; n != e && !is_seen(e) && bits; n = n->next) {
			uint8_t common = n->full & bits;

			if (!common || is_seen(n) || n->op->state != OP_OK)
				continue;
			if (!established(e->op, n->op, &n->op->hi, NULL) || may_be_voided(e->op) ||
			    (!hard && !in_force_for_all(n->op)))
				continue;
			n->shadow |= common;
			gone |= common;
			bits &= (uint8_t)~common;
		}
		w->stats.pruned += (unsigned)__builtin_popcount(gone);
		e->valued &= (uint8_t)~gone;
		e->unknown &= (uint8_t)~gone;
		e->full &= (uint8_t)~gone;
		e->shadow &= (uint8_t)~gone;
		if (!(e->valued | e->unknown))
			entry_free(w, b, at);
		else
			at = &e->next;
	}
}

static void block_limit(struct nbds_world *w, struct block *b)
{
	if ((b->pins && b->count < PINNED_HARD) || b->count < b->prune_at ||
	    b->count <= ENTRIES_SOFT)
		return;
	block_prune(w, b, false);
	if (b->count > ENTRIES_HARD)
		block_prune(w, b, true);
	while (b->count > ENTRIES_HARD) {
		struct entry **at = &b->entries;

		NBDS_ASSERT(*at); /* there are as many as are counted */
		while ((*at)->next)
			at = &(*at)->next;
		b->cut |= (*at)->valued | (*at)->unknown | (*at)->shadow;
		entry_free(w, b, at);
	}
	b->prune_at = (uint16_t)(b->count + ENTRIES_SOFT);
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
	if (b->number >= op->blocks_end)
		op->blocks_end = b->number + 1;
	e = world_alloc(w, sizeof(*e));
	if (!e)
		return NULL;
	e->op = op;
	op_ref(op);
	e->next = b->entries;
	b->entries = e;
	b->count++;
	if (op->write_class)
		for (looked = 0, e = e->next; e && e->op->serial >= op->flight_from && looked < 4;
		     e = e->next, looked++)
			if (e->op->offset < op->offset + op->length &&
			    op->offset < e->op->offset + e->op->length)
				overlapped(overlaps, op, e->op);
	block_limit(w, b);
	return b->entries;
}

struct nbds_op *contents_sector(struct nbds_op *op, uint64_t sector, uint64_t value)
{
	struct nbds_op *overlaps = NULL;
	struct entry *e = entry_get(op, sector, &overlaps);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);

	if (!e) {
		op->world->blind = true;
		return overlaps;
	}
	e->valued |= (uint8_t)(1u << i);
	e->full |= (uint8_t)(1u << i);
	e->value[i] = value;
	return overlaps;
}

void contents_seen(struct nbds_op *op, uint64_t sector, uint64_t value, bool initial)
{
	struct entry *e;

	contents_sector(op, sector, value);
	e = initial ? entry_get(op, sector, NULL) : NULL;
	if (e)
		e->initial |= (uint8_t)(1u << (sector % BLOCK_SECTORS));
}

struct nbds_op *contents_partial(struct nbds_op *op, uint64_t sector)
{
	struct nbds_op *overlaps = NULL;
	struct entry *e = entry_get(op, sector, &overlaps);

	if (!e)
		op->world->blind = true;
	else
		e->unknown |= (uint8_t)(1u << (sector % BLOCK_SECTORS));
	return overlaps;
}

void contents_each_block(struct nbds_world *w, uint64_t start, uint64_t end,
			 void (*each)(void *arg, struct block *b), void *arg)
{
	uint64_t first = start / BLOCK_BYTES, last = (end - 1) / BLOCK_BYTES;

	if (end <= start)
		return;
	w->contents.iterating = true;
	quiet_wake_data(w, first, last);
	if (last - first < w->contents.block_count) {
		for (uint64_t n = first; n <= last; n++) {
			struct block *b = block_find(w, n);

			if (b)
				each(arg, b);
		}
	} else {
		/* what `each` looks at moves to the end of the list: not further than
		 * what is the last one now */
		struct block *last_one = w->contents.lru.lru_prev;

		for (struct block *b = w->contents.lru.lru_next, *next; b != &w->contents.lru;
		     b = next) {
			bool stop = b == last_one;

			next = b->lru_next;
			if (b->number >= first && b->number <= last)
				each(arg, b);
			if (stop)
				break;
		}
	}
	w->contents.iterating = false;
}

/* --- ranges -------------------------------------------------------------- */

static size_t granule_hash(const struct nbds_world *w, unsigned size_class, uint64_t number)
{
	return hash_number(number * 67 + size_class) & (w->contents.granule_buckets - 1);
}

static struct granule *granule_find(const struct nbds_world *w, unsigned size_class,
				    uint64_t number)
{
	if (!w->contents.granule_buckets)
		return NULL;
	for (struct granule *g = w->contents.granules[granule_hash(w, size_class, number)]; g;
	     g = g->chain)
		if (g->number == number && g->size_class == size_class)
			return g;
	return NULL;
}

static void granules_grow(struct nbds_world *w)
{
	size_t old = w->contents.granule_buckets, n = old ? old * 2 : 64;
	struct granule **before = w->contents.granules,
		       **buckets = world_alloc(w, n * sizeof(*buckets));

	if (!buckets)
		return;
	w->contents.granules = buckets;
	w->contents.granule_buckets = n;
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

static void granule_limit(struct nbds_world *w, struct granule *g)
{
	if (g->count <= GRANULE_SOFT || (w->reads.missed && g->count < PINNED_HARD))
		return;
	for (struct link **at = &g->links; *at;) {
		struct range *r = (*at)->range;
		bool gone = r->kind == RANGE_SEEN_ZERO && at != &g->links;

		for (struct link *l = g->links; l != *at && !gone; l = l->next) {
			struct range *n = l->range;

			if (n->kind != RANGE_ZERO || n->op->state != OP_OK || n->start > r->start ||
			    n->end < r->end || !established(r->op, n->op, &n->op->hi, NULL) ||
			    may_be_voided(r->op) ||
			    (g->count <= GRANULE_HARD && !in_force_for_all(n->op)))
				continue;
			n->shadow = true;
			gone = true;
			break;
		}
		if (gone)
			range_unlink(w, g, at);
		else
			at = &(*at)->next;
	}
	while (g->count > GRANULE_HARD) {
		struct link **at = &g->links;

		NBDS_ASSERT(*at);
		while ((*at)->next)
			at = &(*at)->next;
		g->cut = true;
		range_unlink(w, g, at);
	}
}

struct nbds_op *contents_range(struct nbds_op *op, uint64_t start, uint64_t end,
			       enum range_kind kind)
{
	struct nbds_op *overlaps = NULL;
	struct nbds_world *w = op->world;
	unsigned size_class = 12;

	if (end <= start)
		return NULL;
	while (size_class < 63 && ((uint64_t)1 << size_class) < end - start)
		size_class++;
	if (w->contents.granule_count >= w->contents.granule_buckets)
		granules_grow(w);
	struct range *r = world_alloc(w, sizeof(*r));

	if (!r || !w->contents.granule_buckets) {
		world_dealloc(w, r, sizeof(*r));
		w->blind = true;
		return NULL;
	}
	*r = (struct range){.op = op, .start = start, .end = end, .kind = (uint8_t)kind};
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
				g->chain = w->contents.granules[at];
				w->contents.granules[at] = g;
				w->contents.granule_count++;
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
		granule_limit(w, g);
	}
	w->contents.classes |= (uint64_t)1 << size_class;
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

	for (uint64_t classes = w->contents.classes; classes; classes &= classes - 1) {
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

bool contents_gather(struct nbds_world *w, uint64_t sector, struct candidate *list, unsigned *count,
		     struct block **block)
{
	struct block *b = block_find(w, sector / BLOCK_SECTORS);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS), n = 0;
	uint8_t bit = (uint8_t)(1u << i);
	bool whole = true;

	if (!b && quiet_find(w, sector / BLOCK_SECTORS))
		b = block_get(w, sector / BLOCK_SECTORS);
	*block = b;
	for (struct entry *e = b ? b->entries : NULL; e; e = e->next) {
		if (!((e->valued | e->unknown) & bit))
			continue;
		if (n == CANDIDATES_MAX)
			return false;
		/* a sector written partly stays unknown, whatever else is known of it */
		bool any = e->unknown & bit;
		list[n++] = (struct candidate){.op = e->op,
					       .value = e->value[i],
					       .any = any,
					       .full = (e->full & bit) && !any,
					       .seen = is_seen(e),
					       .shadow = e->shadow & bit,
					       .initial = e->initial & bit,
					       .coarse = e->coarse,
					       .why = NBDS_UNCHECKED_PARTIAL};
	}
	if (b && (b->cut & bit))
		whole = false;
	uint64_t first = sector * NBDS_SECTOR, last = first + NBDS_SECTOR;

	for (uint64_t classes = w->contents.classes; classes; classes &= classes - 1) {
		unsigned c = (unsigned)__builtin_ctzll(classes);
		struct granule *g = granule_find(w, c, first >> c);

		if (g && g->cut)
			whole = false;
		for (struct link *l = g ? g->links : NULL; l; l = l->next) {
			const struct range *r = l->range;
			struct candidate k = {.op = r->op, .shadow = r->shadow};

			if (r->start >= last || r->end <= first)
				continue;
			if (n == CANDIDATES_MAX)
				return false;
			k.full = r->start <= first && r->end >= last;
			k.value = w->contents.zero_value;
			switch ((enum range_kind)r->kind) {
			case RANGE_ZERO:
				k.any = !k.full;
				k.why = NBDS_UNCHECKED_PARTIAL;
				break;
			case RANGE_TRIM:
				/* it may have been shrunk to nothing: it supersedes nothing */
				k.any = true;
				k.full = false;
				k.why = NBDS_UNCHECKED_TRIM;
				break;
			case RANGE_HOLE:
				k.any = k.hole = true;
				k.full = false;
				k.why = NBDS_UNCHECKED_TRIM;
				break;
			case RANGE_SEEN_ZERO:
				if (!k.full)
					continue;
				k.seen = true;
				k.full = false;
				break;
			case RANGE_UNKNOWN:
				k.any = true;
				k.why = NBDS_UNCHECKED_LOST;
				break;
			case RANGE_DAMAGE:
				k.any = true;
				k.full = false;
				k.why = NBDS_UNCHECKED_ILLEGAL;
				break;
			}
			list[n++] = k;
		}
	}
	*count = n;
	return whole;
}

/* --- memory -------------------------------------------------------------- */

/* A command that was answered at `hi` is forgotten. */
void forget_point(struct nbds_world *w, const struct nbds_point *hi)
{
	if (!w->contents.forgot)
		w->contents.forgot_at = (struct nbds_point){0, INT64_MIN, hi->interface};
	w->contents.forgot = true;
	later_of(&w->contents.forgot_at, hi);
}

/* Forgets the block if all that it knows is settled: only then is what was
 * there superseded by whatever is flushed later. */
static bool block_forget(struct nbds_world *w, struct block *b)
{
	if (b->pins || b->cut)
		return false;
	for (struct entry *e = b->entries; e; e = e->next)
		if (!is_seen(e) && (e->op->state != OP_OK || !e->op->proves || e->shadow))
			return false;
	for (struct entry *e = b->entries; e; e = e->next)
		if (!is_seen(e))
			forget_point(w, &e->op->hi);
	block_free(w, b);
	w->stats.forgotten++;
	return true;
}

void contents_shrink(struct nbds_world *w, uint64_t goal)
{
	for (struct block *b = w->contents.lru.lru_next, *next; b != &w->contents.lru; b = next) {
		next = b->lru_next;
		quiet_settle(w, b);
	}
	while (w->memory > goal && quiet_forget(w))
		;
	for (struct block *b = w->contents.lru.lru_next, *next;
	     b != &w->contents.lru && w->memory > goal; b = next) {
		next = b->lru_next;
		block_forget(w, b);
	}
}

void contents_trim_memory(struct nbds_world *w)
{
	if (w->memory <= w->memory_cap || w->contents.iterating)
		return;
	contents_shrink(w, w->memory_cap - w->memory_cap / 8);
	if (w->memory > w->memory_cap && !w->reads.waiting) {
		/* what is left may still be needed by anybody: give all up */
		w->blind = true;
		while (w->contents.lru.lru_next != &w->contents.lru)
			block_free(w, w->contents.lru.lru_next);
	}
}

void contents_free(struct nbds_world *w)
{
	while (w->contents.lru.lru_next != &w->contents.lru)
		block_free(w, w->contents.lru.lru_next);
	world_dealloc(w, w->contents.buckets,
		      w->contents.bucket_count * sizeof(*w->contents.buckets));
	quiet_free(w);
	for (size_t i = 0; i < w->contents.granule_buckets; i++) {
		struct granule *g = w->contents.granules[i], *next;

		for (; g; g = next) {
			next = g->chain;
			while (g->links)
				range_unlink(w, g, &g->links);
			world_dealloc(w, g, sizeof(*g));
		}
	}
	world_dealloc(w, w->contents.granules,
		      w->contents.granule_buckets * sizeof(*w->contents.granules));
}
