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

struct piece *piece_new(struct nbds_world *w, unsigned from, unsigned to, const uint8_t *bytes,
			bool marked)
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
 * The ring: what was written last, sector by sector.  An entry remembers where its first
 * sector went; the bytes are rescued from there once another write of the sector makes
 * them matter, unless newer ones have taken their place.
 */
static uint8_t *ring_at(struct nbds_world *w, uint32_t at)
{
	const struct ring *r = &w->blocks->ring;
	/* how long ago, in sectors: the number wraps around long after the ring did */
	uint32_t ago = (uint32_t)(r->end / NBDS_SECTOR) - at;
	uint64_t bytes = (uint64_t)ago * NBDS_SECTOR;

	return r->bytes && ago && bytes <= r->size && bytes <= r->end
		       ? r->bytes + (r->end - bytes) % r->size
		       : NULL;
}

/* Room for one sector more at the ring's end. */
static bool ring_room(struct nbds_world *w)
{
	struct ring *r = &w->blocks->ring;

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
		return false;
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
	return true;
}

uint32_t ring_put(struct nbds_world *w, const uint8_t *bytes, unsigned sectors)
{
	struct ring *r = &w->blocks->ring;
	uint32_t first = NO_RING;

	NBDS_ASSERT(sectors <= BLOCK_SECTORS);
	while (sectors) {
		uint64_t n, at;

		if (!ring_room(w))
			return NO_RING;
		at = r->end % r->size;
		n = (r->size - at) / NBDS_SECTOR;
		n = n < sectors ? n : sectors;
		memcpy(r->bytes + at, bytes, n * NBDS_SECTOR);
		if (first == NO_RING)
			first = (uint32_t)(r->end / NBDS_SECTOR);
		if (first == NO_RING) /* no place has this number: what is there is not found */
			first = NO_RING - 1;
		r->end += n * NBDS_SECTOR;
		bytes += n * NBDS_SECTOR;
		sectors -= (unsigned)n;
	}
	return first;
}

static void ring_free(struct nbds_world *w)
{
	struct ring *r = &w->blocks->ring;

	world_dealloc(w, r->bytes, r->size);
	*r = (struct ring){.failed = true};
}

struct piece **piece_slot(struct nbds_world *w, struct entry *e, unsigned i)
{
	if (!e->extra)
		e->extra = world_alloc(w, sizeof(*e->extra));
	return e->extra ? &e->extra->piece[i] : NULL;
}

void piece_drop(struct nbds_world *w, struct entry *e, unsigned i)
{
	if (!e->extra)
		return;
	piece_unref(w, e->extra->piece[i]);
	e->extra->piece[i] = NULL;
}

void extra_drop(struct nbds_world *w, struct entry *e)
{
	bool any = e->extra && e->extra->seen;

	for (unsigned i = 0; i < BLOCK_SECTORS && e->extra; i++)
		any |= e->extra->piece[i] != NULL;
	if (any)
		return;
	world_dealloc(w, e->extra, sizeof(*e->extra));
	e->extra = NULL;
}

/* Keeps the bytes of the entry's sector i, if they are there still. */
void entry_rescue(struct nbds_world *w, struct entry *e, unsigned i)
{
	const uint8_t *bytes;

	struct piece **at;

	if (!(e->valued >> i & 1) || (e->extra && e->extra->piece[i]) || e->ring == NO_RING ||
	    i < e->ring_first || w->piece_bytes > w->memory_cap / PIECE_SHARE)
		return;
	bytes = ring_at(w, e->ring + (uint32_t)(i - e->ring_first));
	/* what came out of order may have left a gap there */
	if (bytes && !e->coarse && sector_value(bytes) != e->value[i])
		return;
	at = bytes ? piece_slot(w, e, i) : NULL;
	if (at)
		*at = piece_new(w, 0, NBDS_SECTOR, bytes, false);
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
	for (unsigned i = 0; i < BLOCK_SECTORS && e->extra; i++)
		piece_drop(w, e, i);
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
