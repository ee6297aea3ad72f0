/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks: sectors as they were written, and read. The drawing is in blocks.h.
 */
#include <string.h>

#include "blocks.h"
#include "hash.h"

/* Bytes written last that are kept as they were, as a share of the memory; and those that
 * were rescued from there. */
#define RING_SHARE 1024u
#define RING_MIN   32u /* sectors */
/* It gets more, but not more than so many sectors or such a share, where bytes are wanted when
 * it comes around: most blocks are tidied before so many others were written. */
#define RING_ENOUGH     8192u
#define RING_SHARE_MOST 256u
#define RING_LOOKED     256u /* sectors, for that */
#define RING_NUMBERS    ((UINT64_C(1) << 56) - 1)

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

static uint64_t value_of(uint64_t hash, const uint8_t *bytes)
{
	uint64_t v = hash & 0xffffffffu;

	for (unsigned i = 0; i < SAMPLES; i++)
		v |= (uint64_t)bytes[samples[i]] << (32 + 8 * i);
	return v;
}

uint64_t sector_value(const uint8_t *bytes)
{
	uint64_t hash = 0;

	(has_avx2() ? sector_hashes_avx2 : sector_hashes)(bytes, 1, &hash);
	return value_of(hash, bytes);
}

void block_values(const uint8_t *bytes, uint64_t values[BLOCK_SECTORS])
{
	(has_avx2() ? sector_hashes_avx2 : sector_hashes)(bytes, BLOCK_SECTORS, values);
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		values[i] = value_of(values[i], bytes + (size_t)i * NBDS_SECTOR);
}

void blocks_init(struct nbds_world *w)
{
	static const uint8_t zeroes[NBDS_SECTOR];

	w->zero_value = sector_value(zeroes);
	w->blocks->lru.lru_next = w->blocks->lru.lru_prev = &w->blocks->lru;
	w->blocks->sweep = &w->blocks->lru;
}

/* --- bytes --------------------------------------------------------------- */

static size_t piece_size(unsigned from, unsigned to, bool marked)
{
	return sizeof(struct piece) + to - from + (marked ? sizeof(struct mask) : 0);
}

void piece_unref(struct nbds_world *w, struct piece *p)
{
	if (!p || --p->refs)
		return;
	w->piece_bytes -= (uint64_t)(p->to - p->from);
	world_dealloc(w, p, piece_size(p->from, p->to, p->marked));
}

bool piece_old(const struct piece *p, struct mask *old)
{
	if (!p || !p->marked)
		return false;
	memcpy(old, p->bytes + (p->to - p->from), sizeof(*old));
	return true;
}

void piece_mark(struct piece *p, const struct mask *old)
{
	struct mask m;

	if (!piece_old(p, &m))
		return;
	for (unsigned i = 0; i < NBDS_SECTOR / 64; i++)
		m.bits[i] |= old->bits[i];
	memcpy(p->bytes + (p->to - p->from), &m, sizeof(m));
}

static struct piece *piece_new(struct nbds_world *w, unsigned from, unsigned to,
			       const uint8_t *bytes, bool marked)
{
	struct piece *p = world_alloc(w, piece_size(from, to, marked));

	if (!p)
		return NULL;
	w->piece_bytes += to - from;
	p->refs = 1;
	p->marked = marked;
	p->from = (uint16_t)from;
	p->to = (uint16_t)to;
	if (bytes) {
		memcpy(p->bytes, bytes, to - from);
		p->have = (uint16_t)(to - from);
	}
	return p;
}

/*
 * The ring: what was written last, sector by sector, in places that are numbered on and on.  An
 * entry remembers the number of the place of its first sector there; all of them are there as
 * long as that one is.  Where bytes matter, since the sector was written before or is written
 * again, that they are wanted is all that is noted, and the ring knows of whom: nearly always
 * what is older is buried, and nothing is wanted any more, before it comes around.  If it comes
 * before, they are rescued.
 */
static uint8_t *ring_at(const struct ring *r, uint32_t at)
{
	return r->bytes + (size_t)at * NBDS_SECTOR;
}

/* Is what the entry has put there last, there still? */
static bool ring_has(const struct ring *r, const struct entry *e)
{
	return e->held && r->end - e->ring <= r->filled;
}

/* Of what is there. */
static uint32_t ring_place(const struct ring *r, uint64_t number)
{
	uint32_t ago = (uint32_t)(r->end - number);

	NBDS_ASSERT(ago && ago <= r->filled);
	return r->next >= ago ? r->next - ago : r->next + r->size - ago;
}

const uint8_t *ring_bytes(const struct nbds_world *w, const struct entry *e, unsigned i)
{
	const struct ring *r = &w->blocks->ring;

	return (e->held >> i & 1) && ring_has(r, e)
		       ? ring_at(r, ring_place(r, e->ring + (i - e->ring_first)))
		       : NULL;
}

/* To so many sectors. False without memory: it is as it was. */
static bool ring_grow(struct nbds_world *w, uint32_t size)
{
	struct ring *r = &w->blocks->ring;
	struct entry **wanted = world_alloc(w, size * sizeof(struct entry *));
	uint8_t *bytes = wanted ? world_realloc(w, r->bytes, (size_t)r->size * NBDS_SECTOR,
						(size_t)size * NBDS_SECTOR)
				: NULL;

	if (!bytes) {
		world_dealloc(w, wanted, size * sizeof(struct entry *));
		return false;
	}
	if (r->size)
		memcpy(wanted, r->wanted, r->size * sizeof(struct entry *));
	world_dealloc(w, r->wanted, r->size * sizeof(struct entry *));
	r->wanted = wanted;
	r->bytes = bytes;
	r->size = size;
	return true;
}

/* Is much wanted of what is about to be overwritten? It is not worth more room otherwise. */
static bool ring_wanted(const struct ring *r)
{
	unsigned wanted = 0;

	for (uint32_t at = 0; at < RING_LOOKED && at < r->size; at++) {
		const struct entry *e = r->wanted[at];

		wanted += e ? (unsigned)__builtin_popcount(e->wanted) : 0;
	}
	return wanted > RING_LOOKED / 4;
}

/* At its end: what it has of room anyway it gets, and more while there is plenty. */
static bool ring_may_grow(const struct nbds_world *w)
{
	const struct nbds_budget *b = w->budget;
	const struct ring *r = &w->blocks->ring;

	return r->size < r->full ||
	       (r->size < r->most && ring_wanted(r) && w->memory < w->memory_cap / 2 &&
		(!b->limit || b->used < b->limit / 2));
}

static uint32_t within(uint64_t n, uint32_t least, uint32_t most)
{
	return n < least ? least : n > most ? most : (uint32_t)n;
}

/* At its end, or where there is none yet. False without memory. */
static bool ring_more(struct nbds_world *w)
{
	struct ring *r = &w->blocks->ring;
	uint64_t sectors = w->memory_cap / NBDS_SECTOR;

	if (!r->size && !r->failed) {
		r->full = within(sectors / RING_SHARE, RING_MIN, UINT32_MAX / 2);
		r->most = within(sectors / RING_SHARE_MOST, r->full,
				 r->full > RING_ENOUGH ? r->full : RING_ENOUGH);
		r->failed = !ring_grow(w, BLOCK_SECTORS);
	}
	if (!r->size)
		return false;
	if (r->next < r->size)
		return true; /* it is new */
	/* small worlds need little: it grows where it would come around else. Nothing in it
	 * goes over its end then: what did was overwritten since. */
	if (ring_may_grow(w)) {
		uint32_t most = r->size < r->full ? r->full : r->most;

		if (!ring_grow(w, r->size < most / 2 ? r->size * 2 : most))
			r->full = r->most = r->size;
	}
	if (r->next == r->size)
		r->next = 0;
	return true;
}

/* Room for one sector more at ring.next. */
static inline bool ring_room(struct nbds_world *w)
{
	const struct ring *r = &w->blocks->ring;

	return r->next < r->size || ring_more(w);
}

static void ring_free(struct nbds_world *w)
{
	struct ring *r = &w->blocks->ring;

	world_dealloc(w, r->bytes, (size_t)r->size * NBDS_SECTOR);
	world_dealloc(w, r->wanted, r->size * sizeof(struct entry *));
	*r = (struct ring){.failed = true};
}

/* --- what is kept --------------------------------------------------------- */

struct extra *extra_get(struct nbds_world *w, struct entry *e)
{
	if (!e->extra)
		e->extra = world_alloc(w, sizeof(*e->extra));
	return e->extra;
}

static struct piece *piece_put(struct nbds_world *w, struct entry *e, unsigned i, struct piece *p)
{
	if (!p)
		return NULL;
	if (!extra_get(w, e)) {
		piece_unref(w, p);
		return NULL;
	}
	e->extra->piece[i] = p;
	e->kept |= (uint8_t)(1u << i);
	return p;
}

void entry_want(struct nbds_world *w, struct entry *e, uint8_t sectors)
{
	struct ring *r = &w->blocks->ring;
	unsigned left = sectors & e->held & e->valued & ~(unsigned)(e->wanted | e->kept);

	if (!left || !ring_has(r, e))
		return;
	r->wanted[ring_place(r, e->ring)] = e;
	for (; left && w->piece_bytes <= w->memory_cap / PIECE_SHARE; left &= left - 1) {
		e->wanted |= (uint8_t)(left & -left);
		w->piece_bytes += NBDS_SECTOR;
	}
	if (!e->wanted)
		r->wanted[ring_place(r, e->ring)] = NULL;
}

void entry_unwant(struct nbds_world *w, struct entry *e, uint8_t sectors)
{
	struct ring *r = &w->blocks->ring;
	unsigned gone = e->wanted & sectors;

	if (!gone)
		return;
	NBDS_ASSERT(r->wanted[ring_place(r, e->ring)] == e);
	w->piece_bytes -= (uint64_t)__builtin_popcount(gone) * NBDS_SECTOR;
	e->wanted &= (uint8_t)~gone;
	if (!e->wanted)
		r->wanted[ring_place(r, e->ring)] = NULL;
}

void entry_rescue(struct nbds_world *w, struct entry *e, unsigned i)
{
	const uint8_t *bytes = ring_bytes(w, e, i);

	if (!bytes || !(e->valued >> i & 1) || (e->kept >> i & 1))
		return;
	if (e->wanted >> i & 1)
		entry_unwant(w, e, (uint8_t)(1u << i));
	else if (w->piece_bytes > w->memory_cap / PIECE_SHARE)
		return;
	NBDS_ASSERT(e->coarse || sector_value(bytes) == e->value[i]);
	piece_put(w, e, i, piece_new(w, 0, NBDS_SECTOR, bytes, false));
}

static void rescue_all(struct nbds_world *w, struct entry *e, unsigned sectors)
{
	for (; sectors; sectors &= sectors - 1)
		entry_rescue(w, e, (unsigned)__builtin_ctz(sectors));
}

struct piece *piece_begin(struct nbds_world *w, struct entry *e, unsigned i, unsigned from,
			  unsigned to, const uint8_t *bytes, bool marked)
{
	NBDS_ASSERT(!((e->kept | e->wanted) >> i & 1));
	return piece_put(w, e, i, piece_new(w, from, to, bytes, marked));
}

struct piece *piece_kept(struct nbds_world *w, struct entry *e, unsigned i)
{
	if (e->wanted >> i & 1)
		entry_rescue(w, e, i);
	return e->kept >> i & 1 ? e->extra->piece[i] : NULL;
}

void piece_drop(struct nbds_world *w, struct entry *e, unsigned i)
{
	entry_unwant(w, e, (uint8_t)(1u << i));
	if (!(e->kept >> i & 1))
		return;
	piece_unref(w, e->extra->piece[i]);
	e->extra->piece[i] = NULL;
	e->kept &= (uint8_t) ~(1u << i);
}

void extra_drop(struct nbds_world *w, struct entry *e)
{
	if (e->kept || !e->extra || e->extra->seen)
		return;
	world_dealloc(w, e->extra, sizeof(*e->extra));
	e->extra = NULL;
}

/* --- into the ring -------------------------------------------------------- */

/* The next places are to be used again: what is wanted of the bytes there is rescued. */
static void ring_clear(struct nbds_world *w, uint32_t places)
{
	const struct ring *r = &w->blocks->ring;
	struct entry *const *const first = r->wanted + r->next;

	for (uint32_t i = 0; i < places; i++)
		if (first[i])
			rescue_all(w, first[i], first[i]->wanted);
}

/* The entry's sectors in `put` go elsewhere, or are not known: those that are there are found no
 * more, and of the others only what is wanted, and of `also`. */
static void ring_leave(struct nbds_world *w, struct entry *e, uint8_t put, uint8_t also)
{
	entry_unwant(w, e, put);
	rescue_all(w, e, (e->wanted | also) & e->held & ~(unsigned)put);
	NBDS_ASSERT(!e->wanted);
	e->held = 0;
}

void ring_put(struct nbds_world *w, struct entry *e, unsigned i, unsigned sectors,
	      const uint8_t *bytes)
{
	struct ring *r = &w->blocks->ring;
	uint8_t put = (uint8_t)(((1u << sectors) - 1) << i);

	NBDS_ASSERT(sectors && i + sectors <= BLOCK_SECTORS);
	if (!bytes && e->held & put) {
		entry_unwant(w, e, put);
		e->held &= (uint8_t)~put;
	}
	if (!bytes || !ring_room(w))
		return;
	if (!e->held || i <= e->ring_first || e->ring + (i - e->ring_first) != r->end) {
		/* if others came in between, of what a write had before only the value is
		 * known, unless it is wanted; of a read, which may come in any order, or beyond
		 * a gap it is kept */
		bool gap = i > 0 && !(e->valued >> (i - 1) & 1);

		ring_leave(w, e, put, gap || is_seen(e) ? 0xff : 0);
		e->ring = r->end & RING_NUMBERS;
		e->ring_first = i & (BLOCK_SECTORS - 1);
	}
	while (sectors) {
		uint32_t n = r->size - r->next < sectors ? r->size - r->next : sectors;

		ring_clear(w, n);
		memcpy(ring_at(r, r->next), bytes, (size_t)n * NBDS_SECTOR);
		r->next += n;
		r->end += n;
		r->filled = r->size - r->filled < n ? r->size : r->filled + n;
		bytes += (size_t)n * NBDS_SECTOR;
		sectors -= n;
		if (sectors)
			ring_room(w);
	}
	e->held |= put;
}

/* --- blocks -------------------------------------------------------------- */

static void blocks_grow(struct nbds_world *w)
{
	size_t n = w->blocks->bucket_count ? w->blocks->bucket_count * 2 : 16;
	struct block **buckets = world_alloc(w, n * sizeof(*buckets));

	if (!buckets)
		return;
	for (size_t i = 0; i < w->blocks->bucket_count; i++) {
		struct block *b = w->blocks->buckets[i], *next;

		for (; b; b = next) {
			next = b->chain;
			size_t at = hash_number(w, b->number) & (n - 1);
			b->chain = buckets[at];
			buckets[at] = b;
		}
	}
	world_dealloc(w, w->blocks->buckets, w->blocks->bucket_count * sizeof(*w->blocks->buckets));
	w->blocks->buckets = buckets;
	w->blocks->bucket_count = n;
}

struct block *block_find(struct nbds_world *w, uint64_t number)
{
	struct block *b = w->blocks->found;

	/* sectors come in order */
	if (b && b->number == number)
		return b;
	if (!w->blocks->bucket_count)
		return NULL;
	for (b = w->blocks->buckets[hash_number(w, number) & (w->blocks->bucket_count - 1)]; b;
	     b = b->chain)
		if (b->number == number)
			break;
	/* and blocks, too: the next ones are on their way from memory meanwhile */
	__builtin_prefetch(
		w->blocks->buckets[hash_number(w, number + 1) & (w->blocks->bucket_count - 1)]);
	__builtin_prefetch(
		&w->blocks->buckets[hash_number(w, number + 2) & (w->blocks->bucket_count - 1)]);
	return b ? (w->blocks->found = b) : NULL;
}

void block_soon(const struct nbds_world *w, uint64_t number)
{
	if (w->blocks->bucket_count)
		__builtin_prefetch(
			w->blocks->buckets[hash_number(w, number) & (w->blocks->bucket_count - 1)]);
}

void block_near(struct nbds_world *w, uint64_t number)
{
	const struct block *b = block_find(w, number);

	if (!b)
		return;
	__builtin_prefetch(b->entries, 1);
	__builtin_prefetch(b->lru_prev, 1);
	__builtin_prefetch(b->lru_next, 1);
}

void lru_remove(struct nbds_world *w, struct block *b)
{
	if (w->blocks->sweep == b)
		w->blocks->sweep = b->lru_next;
	w->blocks->unswept -= !b->swept;
	b->lru_prev->lru_next = b->lru_next;
	b->lru_next->lru_prev = b->lru_prev;
}

void lru_append(struct nbds_world *w, struct block *b)
{
	b->lru_next = &w->blocks->lru;
	b->lru_prev = w->blocks->lru.lru_prev;
	w->blocks->lru.lru_prev->lru_next = b;
	w->blocks->lru.lru_prev = b;
	b->swept = false;
	if (!w->blocks->unswept++)
		w->blocks->sweep = b;
}

void lru_swept(struct nbds_world *w)
{
	struct block *b = w->blocks->sweep;

	NBDS_ASSERT(b != &w->blocks->lru && !b->swept);
	b->swept = true;
	w->blocks->unswept--;
	w->blocks->sweep = b->lru_next;
}

struct block *block_make(struct nbds_world *w, uint64_t number)
{
	struct block *b;

	if (w->blocks->count >= w->blocks->bucket_count)
		blocks_grow(w);
	if (!w->blocks->bucket_count)
		return NULL;
	b = world_alloc(w, sizeof(*b));
	if (!b)
		return NULL;
	b->number = number;
	if (w->blocks->forgot) {
		b->based = true;
		b->base = w->blocks->forgot_at;
	}
	size_t at = hash_number(w, number) & (w->blocks->bucket_count - 1);
	b->chain = w->blocks->buckets[at];
	w->blocks->buckets[at] = b;
	lru_append(w, b);
	w->blocks->count++;
	return b;
}

static struct begun *begun_find(const struct nbds_world *w, uint64_t number)
{
	for (struct nbds_table_node *n =
		     nbds_table_find(&w->blocks->begun, (uint64_t)hash_number(w, number));
	     n; n = nbds_table_again(n)) {
		struct begun *b = nbds_owner(n, struct begun, node);

		if (b->number == number)
			return b;
	}
	return NULL;
}

static struct begun *begun_make(struct nbds_world *w, uint64_t number)
{
	struct begun *b = w->memory > w->memory_cap ? NULL : world_alloc(w, sizeof(*b));

	if (!b)
		return NULL;
	b->number = number;
	if (nbds_table_add(&w->blocks->begun, w->budget, &b->node,
			   (uint64_t)hash_number(w, number)))
		return b;
	world_dealloc(w, b, sizeof(*b));
	return NULL;
}

bool begun_matters(const struct nbds_op *op)
{
	return op->party->xport && op->party->xport->alike && op->party->known &&
	       !op->world->blocks->begun_lost;
}

void begun_note(const struct nbds_op *op, const struct nbds_point *lo, uint64_t sector)
{
	struct nbds_world *w = op->world;
	uint64_t number = sector / BLOCK_SECTORS;
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	struct begun *b;

	/* what is forgotten before another port has such an export began before all that is
	 * read there, and so did what stands for it */
	if (!begun_matters(op))
		return;
	b = begun_find(w, number);
	if (!b)
		b = begun_make(w, number);
	if (!b) {
		w->blocks->begun_lost = true;
		return;
	}
	if (b->sectors >> i & 1)
		earlier_of(&b->lo[i], lo);
	else
		b->lo[i] = *lo;
	b->sectors |= (uint8_t)(1u << i);
}

const struct nbds_point *begun_first(const struct nbds_world *w, uint64_t sector)
{
	const struct begun *b = begun_find(w, sector / BLOCK_SECTORS);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);

	return b && (b->sectors >> i & 1) ? &b->lo[i] : NULL;
}

static void begun_free(void *arg, struct nbds_table_node *n)
{
	world_dealloc(arg, nbds_owner(n, struct begun, node), sizeof(struct begun));
}

void entry_free(struct nbds_world *w, struct entry *e)
{
	entry_unwant(w, e, 0xff);
	for (unsigned left = e->kept; left; left &= left - 1)
		piece_unref(w, e->extra->piece[__builtin_ctz(left)]);
	world_dealloc(w, e->extra, sizeof(*e->extra));
	op_unref(e->op);
	world_dealloc(w, e, sizeof(*e));
}

void entry_remove(struct nbds_world *w, struct block *b, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	b->count--;
	entry_free(w, e);
}

void block_free(struct nbds_world *w, struct block *b)
{
	struct block **at =
		&w->blocks->buckets[hash_number(w, b->number) & (w->blocks->bucket_count - 1)];

	while (*at != b)
		at = &(*at)->chain;
	*at = b->chain;
	if (w->blocks->found == b)
		w->blocks->found = NULL;
	while (b->entries)
		entry_remove(w, b, &b->entries);
	graves_free(w, &b->graves);
	lru_remove(w, b);
	w->blocks->count--;
	world_dealloc(w, b, sizeof(*b));
}

void forget_point(struct nbds_world *w, const struct nbds_point *hi)
{
	if (!w->blocks->forgot)
		w->blocks->forgot_at = (struct nbds_point){0, INT64_MIN, hi->interface};
	w->blocks->forgot = true;
	later_of(&w->blocks->forgot_at, hi);
}

void forget_range(struct nbds_world *w, uint64_t first, uint64_t blocks, uint64_t forgotten,
		  uint64_t versions)
{
	struct nbds_world_stats *s = &w->stats;

	if (!forgotten && !versions)
		return;
	if (!s->lost_to || first * BLOCK_BYTES < s->lost_from)
		s->lost_from = first * BLOCK_BYTES;
	if ((first + blocks) * BLOCK_BYTES > s->lost_to)
		s->lost_to = (first + blocks) * BLOCK_BYTES;
	s->forgotten += forgotten;
	s->pruned += versions;
}

void blocks_free(struct nbds_world *w)
{
	nbds_table_each(&w->blocks->begun, begun_free, w);
	nbds_table_free(&w->blocks->begun, w->budget);
	while (w->blocks->lru.lru_next != &w->blocks->lru)
		block_free(w, w->blocks->lru.lru_next);
	world_dealloc(w, w->blocks->buckets, w->blocks->bucket_count * sizeof(*w->blocks->buckets));
	ring_free(w);
}
