/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quiet contents: blocks about which nothing is open, kept in few bytes.
 *
 * Most of an image is written once, flushed, and left alone.  A block that was
 * written whole by one command which is in force for every later reader (or
 * that was only ever read) needs no list of candidates: it becomes a cell of 36
 * bytes, its values cut to 32 bits each, and the command becomes a struct past
 * that all its cells share.
 *
 *   region of 32 blocks (128 KiB): which are present, and their cells in order
 *     cell: index of the past | 8 values of 32 bits
 *     or    index of the past | address ──► 8 values of 64 bits, a read, old versions
 *
 * The second form is for blocks that were rewritten, or were read before they were written:
 * of the old versions their values are kept, as in a grave (grave.h).
 *
 * A block that is touched again wakes: it gets its entry back, marked coarse,
 * and a command made from the past.  Coarse values are compared by their 32
 * bits: different ones are still different contents for certain; equal ones are
 * taken for equal, wrongly once in 2^32, which can only silence a finding or
 * name the source of wrong data.
 */
#include <string.h>

#include "quiet.h"

/* Blocks that stay awake whatever they are, and how old a quiet one must be. */
#ifndef AWAKE_MIN /* tests make all of them sleep, and at once */
#define AWAKE_MIN 512u
#define QUIET_AGE INT64_C(1000000000)
#endif

/* What is kept of a block that was rewritten, or read before. */
struct deep {
	struct grave_blocks *old; /* versions that the write stands for, */
	uint8_t old_count;
	bool buried; /* if there ever were any */
	bool coarse, before_coarse;
	uint32_t reader; /* past + 1 of a read of what was there before the capture; 0: none */
	uint64_t value[BLOCK_SECTORS];
	uint64_t before[]; /* BLOCK_SECTORS values that the read showed, if there is one */
};

static uint32_t pack(uint64_t value)
{
	return (uint32_t)(value >> 32 & 0xff) << 24 | (uint32_t)(value & 0xffffff);
}

static uint64_t unpack(uint32_t packed)
{
	return (uint64_t)(packed >> 24) << 32 | (packed & 0xffffff);
}

static struct deep *deep_of(const struct cell *c)
{
	struct deep *d;

	memcpy(&d, c->value, sizeof(d));
	return d;
}

static size_t deep_size(bool read)
{
	return sizeof(struct deep) + (read ? BLOCK_SECTORS * sizeof(uint64_t) : 0);
}

bool quiet_shows(const struct cell *c, unsigned i, uint64_t value)
{
	const struct deep *d;

	if (!c->deep)
		return unpack(c->value[i]) == coarse_value(value);
	d = deep_of(c);
	return d->value[i] == (d->coarse ? coarse_value(value) : value);
}

bool quiet_is_later(const struct nbds_world *w, const struct cell *c, const struct nbds_op *op)
{
	const struct past *p = &w->pasts->list[c->past];

	return p->serial > op->serial && p->party == op->party;
}

/* --- regions ------------------------------------------------------------- */

static struct region **region_slot(const struct nbds_world *w, uint64_t number)
{
	return &w->quiet->regions[hash_number(w, number) & (w->quiet->buckets - 1)];
}

static struct region *region_find(const struct nbds_world *w, uint64_t number)
{
	struct region *r = w->quiet->buckets ? *region_slot(w, number) : NULL;

	while (r && r->number != number)
		r = r->chain;
	return r;
}

static bool regions_grow(struct nbds_world *w)
{
	size_t old = w->quiet->buckets, n = old ? old * 2 : 64;
	struct region **before = w->quiet->regions,
		      **buckets = world_alloc(w, n * sizeof(struct region *));

	if (!buckets)
		return old != 0;
	w->quiet->regions = buckets;
	w->quiet->buckets = n;
	for (size_t i = 0; i < old; i++) {
		for (struct region *r = before[i], *next; r; r = next) {
			next = r->chain;
			struct region **at = region_slot(w, r->number);
			r->chain = *at;
			*at = r;
		}
	}
	world_dealloc(w, before, old * sizeof(*before));
	return true;
}

static struct region *region_get(struct nbds_world *w, uint64_t number)
{
	struct region *r = region_find(w, number);

	if (r)
		return r;
	if (w->quiet->count >= w->quiet->buckets && !regions_grow(w))
		return NULL;
	r = world_alloc(w, sizeof(*r));
	if (!r)
		return NULL;
	r->number = number;
	struct region **at = region_slot(w, number);
	r->chain = *at;
	*at = r;
	r->newer = NULL;
	r->older = w->quiet->newest;
	*(w->quiet->newest ? &w->quiet->newest->newer : &w->quiet->oldest) = r;
	w->quiet->newest = r;
	w->quiet->count++;
	return r;
}

static void past_unref(struct nbds_world *w, uint32_t index)
{
	struct past *p = &w->pasts->list[index];

	if (--p->refs)
		return;
	if (p->op) {
		p->op->past = 0;
		p->op = NULL;
	}
	p->party->ops--;
	p->next_free = w->pasts->free;
	w->pasts->free = index + 1;
	if (--w->pasts->used)
		return;
	world_dealloc(w, w->pasts->list, w->pasts->room * sizeof(*w->pasts->list));
	w->pasts->list = NULL;
	w->pasts->room = w->pasts->free = 0;
}

static void deep_free(struct nbds_world *w, struct deep *d)
{
	w->blocks->deep--;
	grave_blocks_free(w, d->old);
	if (d->reader)
		past_unref(w, d->reader - 1);
	world_dealloc(w, d, deep_size(d->reader != 0));
}

static void cell_free(struct nbds_world *w, struct cell *c)
{
	if (c->deep)
		deep_free(w, deep_of(c));
	past_unref(w, c->past);
}

static void region_free(struct nbds_world *w, struct region *r)
{
	struct region **at = region_slot(w, r->number);

	while (*at != r)
		at = &(*at)->chain;
	*at = r->chain;
	*(r->older ? &r->older->newer : &w->quiet->oldest) = r->newer;
	*(r->newer ? &r->newer->older : &w->quiet->newest) = r->older;
	for (unsigned i = 0; i < (unsigned)__builtin_popcount(r->present); i++)
		cell_free(w, &r->cells[i]);
	world_dealloc(w, r->cells, r->room * sizeof(*r->cells));
	world_dealloc(w, r, sizeof(*r));
	w->quiet->count--;
}

static unsigned cell_at(const struct region *r, unsigned i)
{
	return (unsigned)__builtin_popcount(r->present & ((UINT32_C(1) << i) - 1));
}

struct cell *quiet_find(const struct nbds_world *w, uint64_t block)
{
	struct region *r = w->quiet->count ? region_find(w, block / REGION_BLOCKS) : NULL;
	unsigned i = (unsigned)(block % REGION_BLOCKS);

	if (!r || !(r->present >> i & 1))
		return NULL;
	return &r->cells[cell_at(r, i)];
}

static struct cell *cell_new(struct nbds_world *w, uint64_t block)
{
	struct region *r = region_get(w, block / REGION_BLOCKS);
	unsigned i = (unsigned)(block % REGION_BLOCKS), at, count;

	if (!r)
		return NULL;
	at = cell_at(r, i);
	count = (unsigned)__builtin_popcount(r->present);
	if (count == r->room) {
		uint16_t room = (uint16_t)(r->room ? (r->room * 2 > 32 ? 32 : r->room * 2) : 2);
		struct cell *cells = world_alloc(w, room * sizeof(*cells));

		if (!cells)
			return NULL;
		if (count)
			memcpy(cells, r->cells, count * sizeof(*cells));
		world_dealloc(w, r->cells, r->room * sizeof(*cells));
		r->cells = cells;
		r->room = room;
	}
	memmove(r->cells + at + 1, r->cells + at, (count - at) * sizeof(*r->cells));
	r->present |= UINT32_C(1) << i;
	return &r->cells[at];
}

/* The block's cell goes from its region, and nothing that it refers to. */
static void cell_out(struct nbds_world *w, struct region *r, unsigned i)
{
	unsigned at = cell_at(r, i), count = (unsigned)__builtin_popcount(r->present);

	memmove(r->cells + at, r->cells + at + 1, (count - at - 1) * sizeof(*r->cells));
	r->present &= ~(UINT32_C(1) << i);
	if (!r->present)
		region_free(w, r);
}

/* --- commands and their pasts -------------------------------------------- */

/* The past of op, made now if there is none; its index plus 1, or 0. */
static uint32_t past_get(struct nbds_op *op)
{
	struct nbds_world *w = op->world;
	struct past *p;

	if (op->past)
		return op->past;
	if (!w->pasts->free) {
		/* there are as many as there were writes: not twice as many */
		uint32_t room = w->pasts->room + w->pasts->room / 4 + 64;
		struct past *pasts;

		if (room > UINT32_MAX / 4)
			return 0;
		pasts = world_realloc(w, w->pasts->list, w->pasts->room * sizeof(*pasts),
				      room * sizeof(*pasts));
		if (!pasts)
			return 0;
		w->pasts->list = pasts;
		for (uint32_t i = room; i > w->pasts->room; i--) {
			pasts[i - 1] = (struct past){.next_free = w->pasts->free};
			w->pasts->free = i;
		}
		w->pasts->room = room;
	}
	op->past = w->pasts->free;
	p = &w->pasts->list[op->past - 1];
	w->pasts->free = p->next_free;
	op->party->ops++;
	w->pasts->used++;
	*p = (struct past){
		.party = op->party,
		.op = op,
		.serial = op->serial,
		.offset = op->offset,
		.lo_time = op->lo.time,
		.hi_time = op->hi.time,
		.lo_frame = op->lo.frame,
		.length = (uint32_t)op->length,
		.request_delta = (uint32_t)(op->request_frame - op->lo.frame),
		.hi_delta = (uint32_t)(op->hi.frame - op->lo.frame),
		.reply_delta = (uint32_t)(op->reply_frame - op->lo.frame),
		.interface = (uint16_t)op->hi.interface,
		.epoch = (uint16_t)op->epoch,
		.type = (uint8_t)op->type,
		.flags = (uint8_t)op->flags,
		.fua = op->fua,
	};
	return op->past;
}

void past_fill(struct nbds_world *w, uint32_t index, struct nbds_op *op)
{
	const struct past *p = &w->pasts->list[index];

	*op = (struct nbds_op){
		.world = w,
		.party = p->party,
		.serial = p->serial,
		.offset = p->offset,
		.length = p->length,
		.type = p->type,
		.flags = p->flags,
		.state = OP_OK,
		.write_class = p->type == NBD_CMD_WRITE,
		.fua = p->fua,
		.proves = true,
		.epoch = p->epoch,
		.lo = {p->lo_frame, p->lo_time, p->interface},
		.hi = {p->lo_frame + p->hi_delta, p->hi_time, p->interface},
		.request_frame = p->lo_frame + p->request_delta,
		.reply_frame = p->lo_frame + p->reply_delta,
		/* it is older than anything that those could still order */
		.acked = NBDS_NO_ACK,
		.status_acked = NBDS_NO_ACK,
		.status_end = UINT64_MAX,
		.payload_over = true,
	};
}

/* A command made from its past; the caller owns a reference. */
static struct nbds_op *past_op(struct nbds_world *w, uint32_t index)
{
	struct past *p = &w->pasts->list[index];
	struct nbds_op *op;

	if (p->op) {
		op_ref(p->op);
		return p->op;
	}
	op = world_alloc(w, sizeof(*op));
	if (!op)
		return NULL;
	past_fill(w, index, op);
	op->party->ops++;
	op->refs = 1;
	op->past = index + 1;
	p->op = op;
	return op;
}

/* --- falling asleep and waking ------------------------------------------- */

static bool fits(const struct nbds_op *op)
{
	return op->lo.frame <= op->request_frame && op->hi.frame >= op->lo.frame &&
	       op->hi.frame - op->lo.frame < UINT32_MAX && op->reply_frame >= op->lo.frame &&
	       op->reply_frame - op->lo.frame < UINT32_MAX &&
	       op->request_frame - op->lo.frame < UINT32_MAX && op->length < UINT32_MAX &&
	       op->hi.interface < UINT16_MAX && op->lo.interface == op->hi.interface &&
	       op->epoch < UINT16_MAX && op->flags < UINT8_MAX;
}

/* Nothing is open about a write of the whole block, or a read of all of it as it was before the
 * capture. */
static bool is_quiet(const struct entry *e)
{
	const struct nbds_op *op = e->op;

	return e->valued == 0xff && e->full == 0xff && !e->unknown && !op->early &&
	       op->state == OP_OK && op->proves && fits(op) &&
	       (op->type != NBD_CMD_READ || e->wholly == 0xff);
}

/* Nobody was the only writer for it. */
static bool among_others(const struct entry *e)
{
	for (unsigned i = 0; e->extra && i < BLOCK_SECTORS; i++)
		if (e->extra->alone[i])
			return false;
	return true;
}

static bool is_flushed(const struct nbds_op *op)
{
	return party_mc(op->party) && ((op->cover && op_before(op, op->cover)) || flush_after(op));
}

/* Besides the newest write there is nothing but what is buried, and one read of what was there
 * before the capture: so few may sleep where each other export, and each connection, is
 * promised what a flush does, as is where many blocks are awake, or memory is short. */
static bool is_deep(const struct nbds_world *w, const struct block *b)
{
	const struct entry *e = b->entries, *read = e->next;

	return e->op->type == NBD_CMD_WRITE && !w->parties->others &&
	       (w->blocks->count > BLOCKS_MANY || w->memory > w->memory_cap / 2) &&
	       (!read || (!read->next && is_seen(read) && is_quiet(read) && among_others(read))) &&
	       (!b->graves || graves_plain(b->graves, e->op)) && is_flushed(e->op);
}

/* A reference to its past; the index, or UINT32_MAX. */
static uint32_t past_ref(struct nbds_world *w, struct nbds_op *op)
{
	uint32_t past = past_get(op);

	if (!past)
		return UINT32_MAX;
	w->pasts->list[past - 1].refs++;
	return past - 1;
}

/* What the block has besides a write. NULL without memory: the block is as it was. */
static struct deep *deep_new(struct nbds_world *w, struct block *b)
{
	const struct entry *e = b->entries, *read = e->next;
	struct deep *d = world_alloc(w, deep_size(read != NULL));
	uint32_t past = d && read ? past_ref(w, read->op) : 0;

	if (!d || past == UINT32_MAX) {
		world_dealloc(w, d, deep_size(read != NULL));
		return NULL;
	}
	memcpy(d->value, e->value, sizeof(d->value));
	d->coarse = e->coarse;
	if (read) {
		d->reader = past + 1;
		memcpy(d->before, read->value, sizeof(read->value));
		d->before_coarse = read->coarse;
	}
	w->blocks->deep++;
	d->buried = b->graves != NULL;
	if (b->graves)
		d->old = graves_take(w, &b->graves, &d->old_count);
	return d;
}

/* Puts the block to sleep if nothing is open about it. */
bool quiet_settle(struct nbds_world *w, struct block *b)
{
	struct entry *e = b->entries;
	struct nbds_op *op;
	struct cell *c = NULL;
	struct deep *d = NULL;
	uint32_t past;
	bool deep;

	if (!e || b->pins || b->cut || w->no_t3 || !is_quiet(e))
		return false;
	op = e->op;
	if (w->now < op->hi.time ||
	    (w->now - op->hi.time < QUIET_AGE && w->blocks->count <= BLOCKS_MANY))
		return false;
	if (op->type != NBD_CMD_READ && (!in_force_for_all(op) || may_be_voided(op)))
		return false;
	deep = e->next || b->graves;
	if (deep && !is_deep(w, b))
		return false;
	if (b->based && op->type != NBD_CMD_READ && !renewed(op->party, &b->base, op))
		return false; /* what was forgotten before it may still show */
	past = past_ref(w, op);
	if (past != UINT32_MAX)
		c = cell_new(w, b->number);
	if (c && deep) {
		d = deep_new(w, b);
		if (!d)
			cell_out(w, region_find(w, b->number / REGION_BLOCKS),
				 (unsigned)(b->number % REGION_BLOCKS));
	}
	if (!c || (deep && !d)) {
		if (past != UINT32_MAX)
			past_unref(w, past);
		return false;
	}
	if (b->based && op->type != NBD_CMD_READ)
		order_relied(w, &b->base);
	c->past = past & INT32_MAX;
	c->deep = deep;
	if (deep)
		memcpy(c->value, &d, sizeof(d));
	for (unsigned i = 0; i < BLOCK_SECTORS && !deep; i++)
		c->value[i] = pack(e->value[i]);
	block_free(w, b);
	return true;
}

/* An entry of the whole block, by a command that slept; NULL without memory. */
static struct entry *entry_wake(struct nbds_world *w, uint32_t past, bool coarse)
{
	struct entry *e = world_alloc(w, sizeof(*e));

	if (!e)
		return NULL;
	e->op = past_op(w, past);
	if (!e->op) {
		world_dealloc(w, e, sizeof(*e));
		return NULL;
	}
	e->valued = e->full = 0xff;
	e->initial = e->wholly = e->op->type == NBD_CMD_READ ? 0xff : 0;
	e->coarse = coarse;
	return e;
}

/* The block's entry has woken: now the rest of it. False without memory. */
static bool deep_wake(struct nbds_world *w, struct block *b, struct deep *d)
{
	struct entry *e = b->entries;

	memcpy(e->value, d->value, sizeof(e->value));
	if (d->reader) {
		e->next = entry_wake(w, d->reader - 1, d->before_coarse);
		if (!e->next)
			return false;
		memcpy(e->next->value, d->before, sizeof(e->next->value));
		b->count++;
	}
	b->tidy = true;
	if (!d->buried)
		return true;
	if (!graves_give(&b->graves, d->old, d->old_count, e->op))
		return false;
	d->old = NULL;
	return true;
}

/* Gives a sleeping block its entries back. `b` is new and empty. */
static void quiet_wake(struct nbds_world *w, struct block *b)
{
	struct region *r = region_find(w, b->number / REGION_BLOCKS);
	unsigned i = (unsigned)(b->number % REGION_BLOCKS);
	struct cell *c;
	struct entry *e;

	if (!r || !(r->present >> i & 1))
		return;
	c = &r->cells[cell_at(r, i)];
	e = entry_wake(w, c->past, c->deep ? deep_of(c)->coarse : true);
	if (!e) {
		w->blind = true;
		return;
	}
	/* what was written superseded all that was forgotten; what was read did not */
	if (e->op->type != NBD_CMD_READ)
		b->based = false;
	b->entries = e;
	b->count = 1;
	for (unsigned n = 0; n < BLOCK_SECTORS && !c->deep; n++)
		e->value[n] = unpack(c->value[n]);
	if (c->deep && !deep_wake(w, b, deep_of(c)))
		w->blind = true;
	cell_free(w, c);
	cell_out(w, r, i);
}

/* What is looked at after `b` is on its way from memory meanwhile, a step nearer each time: a
 * block, its entry, its command. */
static void fetch_next(const struct block *b)
{
	const struct block *next = b->lru_next; /* or the head, which has no entries */

	if (next->entries)
		__builtin_prefetch(next->entries->op);
	next = next->lru_next;
	if (next->entries)
		__builtin_prefetch(next->entries);
	__builtin_prefetch(next->lru_next);
	__builtin_prefetch(next->lru_next->lru_next);
}

/* What was left of the block will not change before it is used again: of one write old values
 * are known, or it was read before. */
static bool is_final(const struct block *b)
{
	unsigned writes = 0;
	bool over = b->entries != NULL;

	for (const struct entry *e = b->entries; e; e = e->next) {
		writes += !is_seen(e);
		over &= e->op->state == OP_OK;
	}
	return over && writes == 1 && !b->pins && (b->graves || b->count > 1);
}

/* Looks at the blocks that were not used for longest. */
static void quiet_sweep(struct nbds_world *w)
{
	for (unsigned n = 0; n < 2 && w->blocks->unswept > AWAKE_MIN && !w->blocks->iterating;
	     n++) {
		struct block *b = w->blocks->sweep;

		fetch_next(b);
		block_tidy(w, b);
		if (quiet_settle(w, b))
			continue;
		if (is_final(b)) {
			lru_swept(w);
			continue;
		}
		/* its turn comes again */
		lru_remove(w, b);
		lru_append(w, b);
	}
}

struct block *block_get(struct nbds_world *w, uint64_t number)
{
	struct block *b;

	if (w->quiet->due) {
		w->quiet->due = false;
		quiet_sweep(w);
	}
	b = block_find(w, number);
	if (b && b == w->blocks->lru.lru_prev)
		return b;
	if (b) {
		lru_remove(w, b);
		lru_append(w, b);
		return b;
	}
	/* before there is a new one: what woke may fall asleep again at once */
	quiet_sweep(w);
	b = block_make(w, number);
	if (b && w->quiet->count)
		quiet_wake(w, b);
	return b;
}

/* Blocks that sleep in [first, last] and have other contents than zeroes wake. */
void quiet_wake_data(struct nbds_world *w, uint64_t first, uint64_t last)
{
	uint64_t from = first / REGION_BLOCKS, to = last / REGION_BLOCKS;
	uint32_t zero = pack(coarse_value(w->zero_value));
	struct region *r = w->quiet->oldest, *next;
	uint64_t n = from;
	bool all = to - from >= w->quiet->count;

	if (!w->quiet->count)
		return;
	for (; all ? r != NULL : n <= to; n++) {
		if (!all)
			r = region_find(w, n);
		next = r ? r->newer : NULL;
		for (unsigned i = 0; r && i < REGION_BLOCKS; i++) {
			uint64_t block = r->number * REGION_BLOCKS + i;
			const struct cell *c;
			bool other = false;

			if (!(r->present >> i & 1) || block < first || block > last)
				continue;
			c = &r->cells[cell_at(r, i)];
			for (unsigned s = 0; s < BLOCK_SECTORS; s++)
				other |= c->value[s] != zero;
			if (!(other || c->deep) || w->pasts->list[c->past].type == NBD_CMD_READ)
				continue;
			bool last_one = (r->present & (r->present - 1)) == 0;

			block_get(w, block);
			if (last_one)
				break; /* the region is gone with its last cell */
		}
		if (all)
			r = next;
	}
}

/* The old versions of a block, unless a name is not all that they may be needed for. */
static void thin(struct nbds_world *w, uint64_t block, struct cell *c)
{
	struct deep *d = deep_of(c);
	struct nbds_op op;

	past_fill(w, c->past, &op);
	if (!over_for_all(&op))
		return;
	forget_range(w, block, 1, 0, (uint64_t)d->old_count * BLOCK_SECTORS);
	grave_blocks_free(w, d->old);
	d->old = NULL;
	d->old_count = 0;
	if (w->parties->others)
		return;
	if (d->buried)
		order_relied(w, &op.hi);
	d->buried = false;
	if (d->reader)
		return;
	c->deep = false;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		c->value[i] = pack(coarse_value(d->value[i]));
	deep_free(w, d);
}

void quiet_thin(struct nbds_world *w, uint64_t goal)
{
	for (struct region *r = w->quiet->oldest; r && w->memory > goal; r = r->newer) {
		unsigned at = 0;

		for (unsigned i = 0; i < REGION_BLOCKS; i++) {
			if (!(r->present >> i & 1))
				continue;
			if (r->cells[at].deep)
				thin(w, r->number * REGION_BLOCKS + i, &r->cells[at]);
			at++;
		}
	}
}

void quiet_wake_buried(struct nbds_world *w)
{
	struct region *next;

	for (struct region *r = w->quiet->oldest; r; r = next) {
		uint64_t number = r->number;
		uint32_t deep = 0;
		unsigned at = 0;

		next = r->newer;
		for (unsigned i = 0; i < REGION_BLOCKS; i++) {
			if (!(r->present >> i & 1))
				continue;
			if (r->cells[at].deep && deep_of(&r->cells[at])->buried)
				deep |= UINT32_C(1) << i;
			at++;
		}
		/* (the region is gone with its last cell) */
		for (; deep; deep &= deep - 1) {
			struct block *b = block_make(w, number * REGION_BLOCKS +
								(unsigned)__builtin_ctz(deep));

			if (b)
				quiet_wake(w, b);
			else
				w->blind = true;
		}
	}
}

/* Forgets the oldest region. False: there is none. */
bool quiet_forget(struct nbds_world *w)
{
	struct region *r = w->quiet->oldest;
	uint64_t versions = 0;

	if (!r)
		return false;
	for (unsigned i = 0; i < (unsigned)__builtin_popcount(r->present); i++) {
		const struct cell *c = &r->cells[i];
		const struct past *p = &w->pasts->list[c->past];
		uint64_t hi = p->lo_frame + p->hi_delta;

		if (p->type != NBD_CMD_READ)
			forget_point(w, &(struct nbds_point){hi, p->hi_time, p->interface});
		if (c->deep)
			versions += (uint64_t)deep_of(c)->old_count * BLOCK_SECTORS;
	}
	forget_range(w, r->number * REGION_BLOCKS, REGION_BLOCKS,
		     (unsigned)__builtin_popcount(r->present), versions);
	region_free(w, r);
	return true;
}

void quiet_free(struct nbds_world *w)
{
	while (w->quiet->oldest)
		region_free(w, w->quiet->oldest);
	world_dealloc(w, w->quiet->regions, w->quiet->buckets * sizeof(*w->quiet->regions));
	world_dealloc(w, w->pasts->list, w->pasts->room * sizeof(*w->pasts->list));
}
