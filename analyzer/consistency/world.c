/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The world: one server endpoint, its connections, and their commands.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <base/trace.h>

#include "../rules/rules.h"
#include "world.h"

/* The least margin of T3 in a capture that had something in the wrong order, ns. */
#ifndef EPSILON_INVERTED /* tests have shorter histories */
#define EPSILON_INVERTED INT64_C(5000000)
#endif

struct nbds_world *nbds_world_new(const struct nbds_world_config *config,
				  const struct nbds_world_ops *ops, void *ctx)
{
	struct nbds_budget own = {0};
	struct house *h = nbds_budget_alloc(config->budget ? config->budget : &own, sizeof(*h));
	struct nbds_world *w;

	if (!h)
		return NULL;
	w = &h->world;
	w->reads = &h->reads;
	w->pasts = &h->pasts;
	w->parties = &h->parties;
	w->order = &h->order;
	w->blocks = &h->blocks;
	w->ranges = &h->ranges;
	w->contents = &h->contents;
	w->quiet = &h->quiet;
	w->scratch = &h->scratch;
	w->placed = &h->placed;
	w->misses = &h->misses;
	w->hazards = &h->hazards;
	w->verdicts = &h->verdicts;
	w->withheld = &h->withheld;
	w->own_budget = own;
	w->budget = config->budget ? config->budget : &w->own_budget;
	w->config = *config;
	w->ops = *ops;
	w->ctx = ctx;
	w->memory_cap = config->memory ? config->memory : (uint64_t)1 << 30;
	w->verdicts->pending_tail = &w->verdicts->pending;
	w->verdicts->foreign_tail = &w->verdicts->foreign;
	w->withheld->tail = &w->withheld->first;
	w->key = nbds_hash_key_new();
	w->now = INT64_MIN;
	blocks_init(w);
	return w;
}

static void assembly_end(struct nbds_world *w);

/* Before anything else is told, and may be judged by it: what is there of a block is put in
 * its place. All that is called from outside begins with this, but for what only asks, and
 * nbds_party_complete(), which no contents depend on. */
static inline void settle(struct nbds_world *w)
{
	if (w->contents->assembling)
		assembly_end(w);
}

static bool assembly_goes_on(const struct nbds_op *op, bool read, uint64_t pos);

/* Is it the next of what is put together? */
static inline bool goes_on(const struct nbds_op *op, bool read, uint64_t pos)
{
	return op->world->contents->assembling && assembly_goes_on(op, read, pos);
}

static struct xport *xport_get(struct nbds_world *w, const char *name, size_t len)
{
	uint64_t hash = nbds_hash_bytes(&w->key, 0, name, len);
	struct xport *x;

	for (struct nbds_table_node *n = nbds_table_find(&w->parties->names, hash); n;
	     n = nbds_table_again(n)) {
		x = nbds_owner(n, struct xport, node);
		if (x->name_len == len && memcmp(x->name, name, len) == 0)
			return x;
	}
	x = world_alloc(w, sizeof(*x));
	if (!x)
		return NULL;
	x->name = world_alloc(w, len + 1);
	if (!x->name || !nbds_table_add(&w->parties->names, w->budget, &x->node, hash)) {
		world_dealloc(w, x->name, len + 1);
		world_dealloc(w, x, sizeof(*x));
		return NULL;
	}
	memcpy(x->name, name, len);
	x->name[len] = '\0';
	x->name_len = len;
	x->next = w->parties->xports;
	w->parties->xports = x;
	kin_enter(x, w);
	w->parties->others |= x->next != NULL;
	return x;
}

/* Someone is there, from `at` on, who may write unseen. */
static void world_opens(struct nbds_world *w, const struct nbds_point *at)
{
	if (w->open_world)
		earlier_of(&w->open_since, at);
	else
		w->open_since = *at;
	w->open_world = true;
}

static void payloads_lost(struct nbds_party *p);
static void lengths_doubted(struct nbds_party *p);
static void lengths_shown(struct nbds_party *p);

/* --- connections --------------------------------------------------------- */

struct nbds_party *nbds_world_connect(struct nbds_world *w, uint32_t id, bool from_start,
				      const struct nbds_point *at)
{
	struct nbds_party *p = world_alloc(w, sizeof(*p));

	settle(w);
	past_sweep(w);
	if (!p) {
		w->blind = true;
		return NULL;
	}
	p->world = w;
	p->id = id;
	p->from_start = from_start;
	if (!w->parties->open.count && w->parties->had_party)
		w->parties->epoch++;
	w->parties->had_party = true;
	party_append(&w->parties->open, PARTY_PLACE, p);
	/* nothing is complete of it yet */
	party_prepend(&w->parties->silent, PARTY_SILENT, p);
	p->connected = p->shown = *at;
	if (!from_start)
		world_opens(w, at);
	return p;
}

void nbds_party_shown(struct nbds_party *p, const struct nbds_point *at)
{
	settle(p->world);
	p->shown = *at;
}

void nbds_party_export(struct nbds_party *p, const char *name, size_t name_len, uint64_t size,
		       uint16_t flags, bool known)
{
	struct xport *x = xport_get(p->world, name, name_len);

	settle(p->world);
	p->size = size;
	p->size_known = known;
	party_enter(p, x, flags, known);
	p->world->order->version++;
	p->world->parties->others |= !party_mc(p);
	if (!p->known)
		world_opens(p->world, &p->connected); /* as one midway does */
	if (!x)
		p->world->blind = true;
	else
		hazard_export(p);
	if (p->xport && p->known)
		face_shown(p);
}

void nbds_party_heard(struct nbds_party *p, const struct nbds_point *at)
{
	settle(p->world);
	p->world->parties->hears = true;
	if (!p->heard)
		p->first_heard = *at;
	p->heard = true;
	life_extend(p);
}

void nbds_party_alive(struct nbds_party *p, const struct nbds_point *at)
{
	settle(p->world);
	if (!p->alive || at->frame > p->last_alive.frame)
		p->last_alive = *at;
	p->alive = true;
	life_extend(p);
}

void nbds_party_complete(struct nbds_party *p, uint64_t frame)
{
	p->world->parties->completes = true;
	if (frame <= p->complete)
		return;
	p->complete = frame;
	if (p->links[PARTY_SILENT].list && p->links[PARTY_SILENT].next) {
		party_unlink(p, PARTY_SILENT);
		party_append(&p->world->parties->silent, PARTY_SILENT, p);
	}
}

void nbds_party_opaque(struct nbds_party *p, const struct nbds_point *at)
{
	settle(p->world);
	p->opaque = true;
	party_unlink(p, PARTY_SILENT);
	world_opens(p->world, at);
	if (!p->known)
		kin_stranger(p->world, at);
}

void nbds_party_gap(struct nbds_party *p, const struct nbds_point *since)
{
	struct nbds_world *w = p->world;

	settle(w);
	lengths_doubted(p);
	p->gapped = p->newest;
	w->parties->mixed |= w->serial && since->interface != w->parties->interface;
	if (w->poisoned)
		earlier_of(&w->poison, since);
	else
		w->poison = *since;
	w->poisoned = true;
	if (!p->known)
		kin_stranger(w, since);
}

void nbds_party_end(struct nbds_party *p, const struct nbds_point *at)
{
	struct nbds_world *w = p->world;
	struct nbds_party *waited;

	settle(w);
	if (p->ended)
		return;
	NBDS_TRACE(NBDS_TRACE_ORDER, "frame %" PRIu64 ": conn %" PRIu32 " ends", at->frame, p->id);
	payloads_lost(p);
	p->ended = true;
	world_dealloc(w, p->carry, 2 * sizeof(*p->carry));
	p->carry = NULL;
	p->end = *at;
	waited = past_end(p);
	if (waited)
		unflushed_end(waited);
	hazard_party_end(p);
	if (!p->end_told && !p->unflushed_writes)
		past_settle(p);
}

void nbds_party_gone(struct nbds_party *p, const struct nbds_point *at)
{
	struct nbds_world *w = p->world;

	settle(w);
	if (p->ended)
		return;
	NBDS_TRACE(NBDS_TRACE_ORDER, "frame %" PRIu64 ": conn %" PRIu32 " is not followed on",
		   at->frame, p->id);
	nbds_party_opaque(p, at);
	payloads_lost(p);
	p->ended = true;
	world_dealloc(w, p->carry, 2 * sizeof(*p->carry));
	p->carry = NULL;
	p->end = *at;
	past_end(p);
	/* whether it flushes yet, also what others wrote, cannot be known */
	p->end_told = true;
	if (p->xport)
		p->xport->unseen = true;
	past_settle(p);
}

void nbds_party_leave(struct nbds_party *p)
{
	struct nbds_world *w = p->world;

	settle(w);
	p->left = true;
	past_sweep(w); /* as many as leave, whatever the time */
}

/* Contents by a command, and what is told for it. */
static void wrote(struct nbds_op *op, struct nbds_op *overlaps)
{
	if (overlaps && op->write_class)
		hazard_overlap(op, overlaps);
}

static void put_range(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind)
{
	if (end <= start)
		return;
	wrote(op, contents_range(op, start, end, kind, NULL, 0));
}

/* Nobody changes the size so often; whoever does is not judged any more, so that no read has
 * to look at all of them. */
#define RESIZES_MAX 256u

/* What lies beyond the new size may be gone, and is not back if it grows again (G7): as if a
 * hole were reported, which one that is refused is taken for, too. */
static void resizes(struct nbds_op *op)
{
	struct nbds_world *w = op->world;

	if (w->ranges->resizes >= RESIZES_MAX) {
		w->blind = true;
		return;
	}
	w->ranges->resizes++;
	put_range(op, op->offset, UINT64_MAX, RANGE_HOLE);
}

/* --- requests ------------------------------------------------------------ */

static bool range_fits(uint64_t offset, uint64_t length)
{
	return length <= UINT64_MAX - offset;
}

static const char *command_name(const struct nbds_op *op)
{
	const char *name = nbds_name_of(&nbds_commands, op->type);

	return name ? name : "an unknown command";
}

struct nbds_op *nbds_world_request(struct nbds_party *p, uint16_t type, uint16_t flags,
				   uint64_t offset, uint64_t length,
				   const struct nbds_request_order *order)
{
	struct nbds_world *w = p->world;
	struct nbds_op *op = world_alloc(w, sizeof(*op));

	settle(w);
	misses_close(w, &order->lo);
	w->last = order->lo;
	if (op) {
		op->flight = world_alloc(w, sizeof(*op->flight));
		if (!op->flight) {
			world_dealloc(w, op, sizeof(*op));
			op = NULL;
		}
	}
	if (op && (type == NBD_CMD_READ || type == NBD_CMD_BLOCK_STATUS)) {
		op->reading = world_alloc(w, sizeof(*op->reading));
		if (!op->reading) {
			world_dealloc(w, op->flight, sizeof(*op->flight));
			world_dealloc(w, op, sizeof(*op));
			op = NULL;
		}
	}
	if (!op) {
		w->blind = true;
		return NULL;
	}
	if (p->early)
		lengths_shown(p);
	op->world = w;
	op->party = p;
	p->ops++;
	op->refs = 1; /* the caller's, until the reply */
	p->newest = op->serial = ++w->serial;
	if (op->serial == 1)
		w->parties->interface = order->lo.interface;
	w->parties->mixed |= order->lo.interface != w->parties->interface;
	op->type = type;
	op->flags = flags;
	op->offset = offset;
	op->length = length;
	op->lo = order->lo;
	op->request_frame = order->frame;
	op->header_end = order->header_end;
	op->acked = order->acked;
	op->status_acked = NBDS_NO_ACK;
	op->epoch = w->parties->epoch;
	op->write_class =
		(type == NBD_CMD_WRITE || type == NBD_CMD_WRITE_ZEROES || type == NBD_CMD_TRIM) &&
		length > 0;
	op->fua = op->write_class && (flags & NBD_CMD_FLAG_FUA) && p->known &&
		  (p->flags & NBD_FLAG_SEND_FUA);
	/* a server may flush for any command with FUA, reads too */
	op->voider = type == NBD_CMD_FLUSH || (flags & NBD_CMD_FLAG_FUA);
	NBDS_TRACE(NBDS_TRACE_ORDER,
		   "frame %" PRIu64 ": conn %" PRIu32 " sends %s%s, %" PRIu64 " bytes at 0x%" PRIx64
		   ", as #%" PRIu64,
		   op->request_frame, p->id, command_name(op), op->fua ? " with FUA" : "", length,
		   offset, op->serial);
	if (type == NBD_CMD_FLUSH && p->xport) {
		p->xport->flushes++;
		p->xport->flush_sent = op->lo;
	}
	if (type == NBD_CMD_READ || type == NBD_CMD_BLOCK_STATUS)
		flying_add(op, FLYING_READS);
	if (type == NBD_CMD_BLOCK_STATUS || (type == NBD_CMD_WRITE && op->write_class))
		flying_add(op, FLYING_TELLING);
	op->proves =
		!order->ambiguous && !order->illegal && range_fits(offset, length) &&
		!(p->size_known && length && (offset > p->size || length > p->size - offset)) &&
		!(op->write_class && p->known && (p->flags & NBD_FLAG_READ_ONLY));
	/* a report of a hole, too, may excuse a read that was before it */
	op->awaited = op->voider || type == NBD_CMD_BLOCK_STATUS;
	if (op->awaited) {
		op->flight->awaited.prev = w->order->flight_last;
		*(w->order->flight_last ? &w->order->flight_last->flight->awaited.next
					: &w->order->flight_first) = op;
		w->order->flight_last = op;
		flying_add(op, FLYING_AWAITED);
	}
	if (op->write_class) {
		op->flight_from = op->serial;
		if (w->parties->write_first)
			op->flight_from = w->parties->write_first->serial;
		op->flight->write.prev = w->parties->write_last;
		*(w->parties->write_last ? &w->parties->write_last->flight->write.next
					 : &w->parties->write_first) = op;
		w->parties->write_last = op;
		w->parties->writes_in_flight++;
		p->writes_in_flight++;
		if (p->xport)
			p->xport->writes_in_flight++;
		if (!w->parties->written)
			w->parties->writer = p;
		w->parties->written = true;
		w->parties->many_writers |= w->parties->writer != p;
		kin_write(op);
		misses_written(op);
	}
	hazard_request(op);
	if (op->write_class && range_fits(offset, length)) {
		if (order->damage_length && range_fits(order->damage_offset, order->damage_length))
			put_range(op, order->damage_offset,
				  order->damage_offset + order->damage_length, RANGE_DAMAGE);
		if (type == NBD_CMD_WRITE_ZEROES)
			put_range(op, offset, offset + length, RANGE_ZERO);
		else if (type == NBD_CMD_TRIM)
			put_range(op, offset, offset + length, RANGE_TRIM);
	}
	if (type == NBD_CMD_RESIZE)
		resizes(op);
	if (w->memory > w->memory_cap)
		contents_trim_memory(w);
	return op;
}

/* --- payload, sector by sector ------------------------------------------- */

static struct carry *carry_of(struct nbds_party *p, unsigned which)
{
	if (!p->carry)
		p->carry = world_alloc(p->world, 2 * sizeof(*p->carry));
	return p->carry ? &p->carry[which] : NULL;
}

/*
 * Cuts bytes at `pos` of the export into sectors: calls `whole` for each one
 * whose bytes are all known, `part` for those of which something is missing, and
 * `block` for all of a block at once.
 * [start, end) is what the command covers.
 */
struct cutter {
	struct nbds_op *op;
	uint64_t start, end;
	struct carry *carry;
	void (*block)(struct cutter *c, uint64_t block, const uint8_t *bytes);
	void (*whole)(struct cutter *c, uint64_t sector, const uint8_t *bytes);
	void (*part)(struct cutter *c, uint64_t sector, uint32_t at, const uint8_t *bytes,
		     uint32_t len);
	const struct nbds_point *hi;
	/* block: when each of its sectors was seen; NULL: all at `hi` */
	const struct nbds_point *seen;
};

static bool assembly_begins(const struct cutter *c, uint64_t pos);
static uint32_t assembly_add(struct cutter *c, const uint8_t *data, size_t len);

static void cut_sectors(struct cutter *c, uint64_t pos, const uint8_t *data, size_t len)
{
	while (len) {
		uint64_t sector = pos / NBDS_SECTOR;
		uint32_t in = (uint32_t)(pos % NBDS_SECTOR);
		uint32_t n = NBDS_SECTOR - in < len ? NBDS_SECTOR - in : (uint32_t)len;
		uint64_t first = sector * NBDS_SECTOR;
		struct carry *k = c->carry;

		if (len >= BLOCK_BYTES && pos % BLOCK_BYTES == 0) {
			n = BLOCK_BYTES;
			c->block(c, pos / BLOCK_BYTES, data);
		} else if (c->op->world->contents->assembling || assembly_begins(c, pos)) {
			n = assembly_add(c, data, len);
		} else if (in == 0 && n == NBDS_SECTOR) {
			c->whole(c, sector, data);
		} else if (first < c->start || c->end - first < NBDS_SECTOR) {
			c->part(c, sector, in, data, n);
		} else if (in == 0 && k) {
			k->op = c->op;
			k->offset = pos;
			k->have = n;
			memcpy(k->bytes, data, n);
		} else if (k && k->op == c->op && k->offset + k->have == pos &&
			   k->have + n <= NBDS_SECTOR) {
			memcpy(k->bytes + k->have, data, n);
			k->have += n;
			if (k->have == NBDS_SECTOR) {
				k->op = NULL;
				c->whole(c, sector, k->bytes);
			}
		} else {
			c->part(c, sector, in, data, n);
		}
		pos += n;
		data += n;
		len -= n;
	}
}

/* What of the sector [first, first + 512) the command covers. */
static void covered(const struct cutter *c, uint64_t first, unsigned *from, unsigned *to)
{
	*from = c->start > first ? (unsigned)(c->start - first) : 0;
	*to = c->end - first < NBDS_SECTOR ? (unsigned)(c->end - first) : NBDS_SECTOR;
}

static void write_whole(struct cutter *c, uint64_t sector, const uint8_t *bytes)
{
	uint64_t value = sector_value(bytes);

	NBDS_TRACE(NBDS_TRACE_CONTENTS,
		   "conn %" PRIu32 "'s #%" PRIu64 " writes %016" PRIx64 " to 0x%" PRIx64,
		   c->op->party->id, c->op->serial, value, sector * NBDS_SECTOR);
	placed_note(c->op->world, c->op, sector, value);
	wrote(c->op, contents_sector(c->op, sector, value, bytes));
	misses_later(c->op, sector, value, bytes, 0, NBDS_SECTOR);
}

static void write_block(struct cutter *c, uint64_t block, const uint8_t *bytes)
{
	struct nbds_op *op = c->op;
	uint64_t values[BLOCK_SECTORS], first = block * BLOCK_SECTORS;

	if (nbds_trace_topics & NBDS_TRACE_CONTENTS) {
		for (unsigned i = 0; i < BLOCK_SECTORS; i++)
			write_whole(c, first + i, bytes + (size_t)i * NBDS_SECTOR);
		return;
	}
	block_soon(op->world, block);
	block_values(bytes, values);
	placed_soon(op->world, values[0]);
	block_near(op->world, block);
	wrote(op, contents_block(op, block, values, bytes));
	placed_note(op->world, op, first, values[0]);
	for (unsigned i = 0; i < BLOCK_SECTORS && op->world->ranges->wanted; i++)
		misses_later(op, first + i, values[i], bytes + (size_t)i * NBDS_SECTOR, 0,
			     NBDS_SECTOR);
}

static void write_part(struct cutter *c, uint64_t sector, uint32_t at, const uint8_t *bytes,
		       uint32_t len)
{
	unsigned from, to;

	covered(c, sector * NBDS_SECTOR, &from, &to);
	NBDS_TRACE(NBDS_TRACE_CONTENTS,
		   "conn %" PRIu32 "'s #%" PRIu64 " writes %" PRIu32 " bytes to 0x%" PRIx64,
		   c->op->party->id, c->op->serial, len, sector * NBDS_SECTOR + at);
	wrote(c->op, contents_partial(c->op, sector, from, to, at, bytes, len));
	misses_later(c->op, sector, 0, bytes, at, len);
}

/* Bytes [from, to) of the payload will never be known. */
static void write_lost(struct nbds_op *op, uint64_t from, uint64_t to)
{
	uint64_t start = (op->offset + from) / NBDS_SECTOR * NBDS_SECTOR;
	uint64_t end = op->offset + to;

	/* whole sectors, but not more than the write covers: at its edges it
	 * covers sectors partly, and so does this */
	if (start < op->offset)
		start = op->offset;
	end += (NBDS_SECTOR - end % NBDS_SECTOR) % NBDS_SECTOR;
	if (end > op->offset + op->length || end < op->offset)
		end = op->offset + op->length;
	put_range(op, start, end, RANGE_UNKNOWN);
}

static struct cutter write_cutter(struct nbds_op *op)
{
	return (struct cutter){.op = op,
			       .start = op->offset,
			       .end = op->offset + op->length,
			       .carry = carry_of(op->party, 0),
			       .block = write_block,
			       .whole = write_whole,
			       .part = write_part};
}

void nbds_op_write_data(struct nbds_op *op, uint64_t at, const uint8_t *data, size_t len)
{
	struct cutter c;

	if (!goes_on(op, false, op->offset + at))
		settle(op->world);
	if (!op->write_class || !op->flight || op->payload_over ||
	    !range_fits(op->offset, op->length) || at > op->length || at < op->flight->next_at)
		return;
	if (len > op->length - at)
		len = (size_t)(op->length - at);
	if (at > op->flight->next_at)
		write_lost(op, op->flight->next_at, at);
	op->flight->next_at = at + len;
	c = write_cutter(op);
	cut_sectors(&c, op->offset + at, data, len);
}

void nbds_op_write_end(struct nbds_op *op)
{
	settle(op->world);
	if (!op->write_class || op->payload_over)
		return;
	op->payload_over = true;
	flying_remove(op, FLYING_TELLING);
	if (op->type != NBD_CMD_WRITE || !range_fits(op->offset, op->length))
		return;
	if (op->flight->next_at < op->length)
		write_lost(op, op->flight->next_at, op->length);
	hazard_written(op);
	if (op->owed) {
		op->owed = false;
		op_unref(op);
	}
}

/* --- reads --------------------------------------------------------------- */

/* Nothing older is possible where this write is in force; and where it is not, no
 * verdict depends on what else is. */
static bool stands_alone(struct entry *e)
{
	const struct order *order = e->op->world->order;

	if (e->alone || e->op->state != OP_OK || e->op->early)
		return e->alone;
	for (const struct entry *old = e->next; old; old = old->next) {
		if (old->op->type != NBD_CMD_WRITE)
			continue;
		if (!established(old->op, e->op, &e->op->hi, NULL))
			return false;
		/* what is older was in force for it: for this one, too, if it is its connection's
		 * next (for others that may need a flush), and nothing failed since */
		if (old->alone && old->op->party == e->op->party && !order->void_count &&
		    !order->void_all)
			break;
	}
	e->alone = true;
	return true;
}

/* Writes of parts of a sector that are passed over at a glance. */
#define PARTS_MAX 4u

/*
 * The quick answer, for nearly all reads: the sector's newest source is a write
 * of this very value (FINE; no order needs to be looked at), or it was only ever
 * read, and with this value (UNKNOWN). Else WRONG: look closer.
 */
static enum judgement at_a_glance(struct nbds_world *w, const struct nbds_op *read, uint64_t sector,
				  uint64_t value)
{
	const struct block *b = block_find(w, sector / BLOCK_SECTORS);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS);
	struct nbds_op slept;
	const struct nbds_op *by;

	if (w->blind || w->poisoned)
		return JUDGE_WRONG;
	if (b) {
		struct entry *e = b->entries;
		unsigned parts = 0;

		while (e && !((e->valued | e->unknown) >> i & 1))
			e = e->next;
		if (!e || e->op->type != NBD_CMD_WRITE || !(e->full >> i & 1) ||
		    !entry_shows(e, i, value))
			return JUDGE_WRONG;
		/* the read's status may show that it was over before this began */
		if (e->op->serial > read->serial && e->op->party == read->party)
			return JUDGE_WRONG;
		/* several versions: which of them are possible has to be looked at if it
		 * matters that this one was: where it is in force, and so may be others */
		for (const struct entry *old = e->alone ? NULL : e->next; old; old = old->next)
			if ((old->valued | old->unknown) >> i & 1) {
				if (old->op->type != NBD_CMD_WRITE) {
					if (old->wholly >> i & 1)
						continue;
					return JUDGE_WRONG;
				}
				/* the next older one is superseded by this one or by none */
				if (!stands_alone(e) && op_before(e->op, read) &&
				    (established(old->op, e->op, &e->op->hi, NULL) ||
				     established(old->op, read, NULL, NULL)))
					return JUDGE_WRONG;
				if (old->full >> i & 1)
					break;
				/* beside a part of the sector that is what is older still */
				if (++parts == PARTS_MAX)
					return JUDGE_WRONG;
			}
		by = e->op;
	} else {
		const struct cell *c = quiet_find(w, sector / BLOCK_SECTORS);

		if (!c || !quiet_shows(c, i, value) || quiet_is_later(w, c, read))
			return JUDGE_WRONG;
		if (!w->ranges->classes)
			return w->pasts->list[c->past].type == NBD_CMD_READ ? JUDGE_UNKNOWN
									    : JUDGE_FINE;
		past_fill(w, c->past, &slept);
		by = &slept;
	}
	if (w->ranges->classes && contents_other_range(w, sector, by))
		return JUDGE_WRONG;
	return by->type == NBD_CMD_READ ? JUDGE_UNKNOWN : JUDGE_FINE;
}

/* Earlier reads that are looked at. */
#define KNOWN_LOOKED 64u

/* Whatever comes after this read certainly came after the earlier one. */
static bool over_before(const struct nbds_op *earlier, const struct nbds_op *read)
{
	return earlier->state == OP_OK && earlier->proves &&
	       point_before(read->world, &earlier->hi, &read->lo);
}

/* Did an earlier read show the same contents from before the capture, and can it be held
 * against all that this one could? */
static bool known_already(struct nbds_world *w, uint64_t sector, uint64_t value,
			  const struct nbds_op *by, bool wholly)
{
	const struct block *b = block_find(w, sector / BLOCK_SECTORS);
	unsigned i = (unsigned)(sector % BLOCK_SECTORS), n = 0;

	for (const struct entry *e = b ? b->entries : NULL; e && n < KNOWN_LOOKED; e = e->next, n++)
		if (is_seen(e) && ((wholly ? e->wholly : e->initial) >> i & 1) &&
		    e->op->party->xport == by->party->xport && entry_shows(e, i, value) &&
		    over_before(e->op, by))
			return true;
	return false;
}

/* The same of a part of a sector. */
static bool part_known(const struct sample *s)
{
	const struct block *b = block_find(s->read->world, s->sector / BLOCK_SECTORS);
	unsigned i = (unsigned)(s->sector % BLOCK_SECTORS), n = 0;

	for (struct entry *e = b ? b->entries : NULL; e && n < KNOWN_LOOKED; e = e->next, n++) {
		const struct piece *p = is_seen(e) ? piece_kept(s->read->world, e, i) : NULL;

		if (p && (e->wholly >> i & 1) && p->from <= s->from && p->from + p->have >= s->to &&
		    over_before(e->op, s->read) && e->op->party->xport == s->read->party->xport &&
		    memcmp(p->bytes + (s->from - p->from), s->bytes, (size_t)(s->to - s->from)) ==
			    0)
			return true;
	}
	return false;
}

/* Is a piece of the sector before this one remembered of the same read? */
static bool part_begun(const struct sample *s)
{
	const struct block *b = block_find(s->read->world, s->sector / BLOCK_SECTORS);
	const struct entry *e = b ? b->entries : NULL;
	unsigned i = (unsigned)(s->sector % BLOCK_SECTORS);

	return e && e->op == s->read && (e->unknown >> i & 1);
}

/* Judges what was read of a sector, as far as that can be known by now. */
static void judge_now(const struct sample *s, bool whole)
{
	struct nbds_op *op = (struct nbds_op *)s->read;
	struct nbds_world *w = op->world;
	const struct gathered *g = &w->contents->gathered;
	struct reading *rd = op->reading;
	uint32_t bytes = (uint32_t)(s->to - s->from);
	struct sample seen = *s;
	struct mask old = {{0}};
	struct view view;
	struct verdict v, sooner = {0};
	enum seen_as as;

	if (w->blind || (w->poisoned && s->hi.frame > w->poison.frame) || !op->proves ||
	    !contents_gather(w, s->sector, s->value)) {
		rd->unchecked[w->blind      ? NBDS_UNCHECKED_FORGOTTEN
			      : w->poisoned ? NBDS_UNCHECKED_GAP
			      : !op->proves ? NBDS_UNCHECKED_ILLEGAL
					    : NBDS_UNCHECKED_FORGOTTEN] += bytes;
		return;
	}
	view = (struct view){.list = g->list,
			     .count = (unsigned)g->count,
			     .base = g->base,
			     .shadow = g->shadow || op->late};
	seen.old = &old;
	judge(&view, &seen, &v);
	seen.old = NULL;
	seen.lone_from = v.lone_from;
	if (op->party->newest > op->serial) {
		view.sooner = true;
		judge(&view, &seen, &sooner);
	}
	NBDS_TRACE(NBDS_TRACE_JUDGE,
		   "conn %" PRIu32 "'s #%" PRIu64 " reads %016" PRIx64 " at 0x%" PRIx64
		   ": %zu versions known, %s",
		   op->party->id, op->serial, s->value, s->sector * NBDS_SECTOR + s->from, g->count,
		   v.rule                      ? v.rule->name
		   : v.result == JUDGE_UNKNOWN ? nbds_unchecked_names[v.why]
					       : "as it must be");
	if (v.rule || sooner.rule)
		miss_add(&seen, v.foreign || sooner.foreign);
	else if (v.result == JUDGE_UNKNOWN)
		rd->unchecked[whole ? v.why : NBDS_UNCHECKED_PARTIAL] += bytes;
	else
		rd->checked += bytes;
	/* what is read here is an old value for later, unless a write tells more; or it is
	 * one of several possible outcomes, which then has to stay */
	if (op->type != NBD_CMD_READ)
		return;
	as = !v.initial ? SEEN_OUTCOME : v.wholly ? SEEN_INITIAL : SEEN_PARTLY;
	if (!whole) {
		if (s->bytes && (v.remember || (v.initial && !part_known(s)) || part_begun(s)))
			contents_seen_part(op, s->sector, s->from, s->to, s->bytes, as, &old,
					   &s->hi, v.lone_from);
		return;
	}
	if (v.remember || (v.initial && !known_already(w, s->sector, s->value, op, v.wholly)))
		contents_seen(op, s->sector, s->value, s->bytes, as, &old, &s->hi, v.lone_from);
}

static void read_whole(struct cutter *c, uint64_t sector, const uint8_t *bytes)
{
	struct nbds_op *op = c->op;
	struct sample s = {.read = op,
			   .sector = sector,
			   .value = sector_value(bytes),
			   .bytes = bytes,
			   .to = NBDS_SECTOR,
			   .hi = *c->hi};

	if (op->type == NBD_CMD_READ) {
		switch (at_a_glance(op->world, op, sector, s.value)) {
		case JUDGE_FINE:
			NBDS_TRACE(NBDS_TRACE_JUDGE,
				   "conn %" PRIu32 "'s #%" PRIu64 " reads %016" PRIx64
				   " at 0x%" PRIx64 ": the newest version",
				   op->party->id, op->serial, s.value, sector * NBDS_SECTOR);
			op->reading->checked += NBDS_SECTOR;
			return;
		case JUDGE_UNKNOWN:
			op->reading->unchecked[NBDS_UNCHECKED_UNKNOWN] += NBDS_SECTOR;
			return;
		case JUDGE_WRONG:
			break;
		}
	}
	judge_now(&s, true);
}

static bool other_range_of(const struct nbds_world *w, uint64_t block, const struct nbds_op *by)
{
	for (unsigned i = 0; i < BLOCK_SECTORS && w->ranges->classes; i++)
		if (contents_other_range(w, block * BLOCK_SECTORS + i, by))
			return true;
	return false;
}

/* at_a_glance() of all sectors of a block: what it says of each of them; or WRONG, if it does
 * not say the same of all, or would have to look closer. */
static enum judgement block_at_a_glance(struct nbds_world *w, const struct nbds_op *read,
					uint64_t block, const uint64_t values[BLOCK_SECTORS])
{
	const struct block *b = block_find(w, block);
	const struct entry *e = b ? b->entries : NULL;
	struct nbds_op slept;
	const struct cell *cell;

	if (w->blind || w->poisoned)
		return JUDGE_WRONG;
	if (b) {
		if (!e || e->op->type != NBD_CMD_WRITE || e->full != 0xff || e->unknown ||
		    (e->next && !e->alone) ||
		    (e->op->serial > read->serial && e->op->party == read->party))
			return JUDGE_WRONG;
		for (unsigned i = 0; i < BLOCK_SECTORS; i++)
			if (!entry_shows(e, i, values[i]))
				return JUDGE_WRONG;
		return other_range_of(w, block, e->op) ? JUDGE_WRONG : JUDGE_FINE;
	}
	cell = quiet_find(w, block);
	if (!cell || quiet_is_later(w, cell, read))
		return JUDGE_WRONG;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if (!quiet_shows(cell, i, values[i]))
			return JUDGE_WRONG;
	if (w->ranges->classes) {
		past_fill(w, cell->past, &slept);
		if (other_range_of(w, block, &slept))
			return JUDGE_WRONG;
	}
	return w->pasts->list[cell->past].type == NBD_CMD_READ ? JUDGE_UNKNOWN : JUDGE_FINE;
}

/* Was nothing ever written to the block, nor said of it, nor forgotten, so that what is read
 * there is what was there before the capture? */
static bool block_untouched(struct nbds_world *w, const struct nbds_op *read, uint64_t block)
{
	return !w->blind && !w->poisoned && !w->blocks->forgot && !w->ranges->classes &&
	       read->proves && !read->late && !block_find(w, block) && !quiet_find(w, block);
}

static void read_block(struct cutter *c, uint64_t block, const uint8_t *bytes)
{
	struct nbds_op *op = c->op;
	struct reading *rd = op->reading;
	uint64_t values[BLOCK_SECTORS];
	enum judgement glance = JUDGE_WRONG;

	if (op->type == NBD_CMD_READ && !(nbds_trace_topics & NBDS_TRACE_JUDGE)) {
		block_soon(op->world, block);
		block_values(bytes, values);
		glance = block_at_a_glance(op->world, op, block, values);
	}
	switch (glance) {
	case JUDGE_FINE:
		rd->checked += BLOCK_BYTES;
		return;
	case JUDGE_UNKNOWN:
		rd->unchecked[NBDS_UNCHECKED_UNKNOWN] += BLOCK_BYTES;
		return;
	case JUDGE_WRONG:
		break;
	}
	if (op->type == NBD_CMD_READ && !(nbds_trace_topics & NBDS_TRACE_JUDGE) &&
	    block_untouched(op->world, op, block)) {
		struct nbds_point hi = c->seen ? c->seen[0] : *c->hi;

		for (unsigned i = 1; i < BLOCK_SECTORS && c->seen; i++)
			later_of(&hi, &c->seen[i]);
		rd->unchecked[NBDS_UNCHECKED_UNKNOWN] += BLOCK_BYTES;
		contents_seen_block(op, block, values, bytes, &hi);
		return;
	}
	for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
		if (c->seen)
			c->hi = &c->seen[i];
		read_whole(c, block * BLOCK_SECTORS + i, bytes + (size_t)i * NBDS_SECTOR);
	}
}

static void read_part(struct cutter *c, uint64_t sector, uint32_t at, const uint8_t *bytes,
		      uint32_t len)
{
	struct sample s = {.read = c->op,
			   .sector = sector,
			   .bytes = bytes,
			   .from = (uint16_t)at,
			   .to = (uint16_t)(at + len),
			   .hi = *c->hi};

	judge_now(&s, false);
}

static struct cutter read_cutter(struct nbds_op *op, const struct nbds_point *hi)
{
	return (struct cutter){.op = op,
			       .start = op->offset,
			       .end = op->offset + op->length,
			       .carry = carry_of(op->party, 1),
			       .block = read_block,
			       .whole = read_whole,
			       .part = read_part,
			       .hi = hi};
}

void nbds_op_read_data(struct nbds_op *op, uint64_t offset, const uint8_t *data, size_t len,
		       const struct nbds_point *hi)
{
	struct cutter c;
	struct series series;

	if (!goes_on(op, true, offset))
		settle(op->world);
	if (!op->reading || !op->flight || offset < op->offset ||
	    offset - op->offset > op->length || len > op->length - (offset - op->offset) ||
	    !range_fits(op->offset, op->length))
		return;
	op->reading->seen_bytes += len;
	c = read_cutter(op, hi);
	if (len > NBDS_SECTOR)
		series_begin(op->world, &series);
	cut_sectors(&c, offset, data, len);
	series_end(op->world);
	if (op->world->memory > op->world->memory_cap)
		contents_trim_memory(op->world);
}

/* --- blocks that come in pieces ------------------------------------------- */

/* Blocks are found and judged as one: worth a copy where they come in several packets. Not
 * where each sector is to be traced when it comes. */
static bool assembly_begins(const struct cutter *c, uint64_t pos)
{
	struct nbds_world *w = c->op->world;
	struct assembly **a = &w->contents->assembly;

	if (pos % BLOCK_BYTES || pos < c->start || c->end - pos < BLOCK_BYTES || !c->block ||
	    nbds_trace_topics)
		return false;
	if (!*a)
		*a = world_alloc(w, sizeof(**a));
	if (!*a)
		return false;
	(*a)->op = c->op;
	(*a)->read = c->hi != NULL;
	(*a)->offset = pos;
	(*a)->have = 0;
	w->contents->assembling = true;
	return true;
}

/* What the block takes of the bytes, which are the next ones. */
static uint32_t assembly_add(struct cutter *c, const uint8_t *data, size_t len)
{
	struct nbds_world *w = c->op->world;
	struct assembly *a = w->contents->assembly;
	uint32_t n = BLOCK_BYTES - a->have < len ? BLOCK_BYTES - a->have : (uint32_t)len;
	struct cutter all = *c;

	NBDS_ASSERT(a->op == c->op && a->read == (c->hi != NULL));
	memcpy(a->bytes + a->have, data, n);
	for (unsigned i = a->have / NBDS_SECTOR; c->hi && i < (a->have + n) / NBDS_SECTOR; i++)
		a->seen[i] = *c->hi;
	a->have += n;
	if (a->have < BLOCK_BYTES)
		return n;
	w->contents->assembling = false;
	all.seen = c->hi ? a->seen : NULL;
	all.block(&all, a->offset / BLOCK_BYTES, a->bytes);
	return n;
}

static bool assembly_goes_on(const struct nbds_op *op, bool read, uint64_t pos)
{
	const struct assembly *a = op->world->contents->assembly;

	return a->op == op && a->read == read && a->offset + a->have == pos;
}

/* Something else comes first: what is there of the block is taken as it is. */
static void assembly_end(struct nbds_world *w)
{
	struct assembly *a = w->contents->assembly;
	struct cutter c = a->read ? read_cutter(a->op, NULL) : write_cutter(a->op);
	uint32_t sectors = a->have / NBDS_SECTOR, whole = sectors * NBDS_SECTOR;
	struct series series;

	w->contents->assembling = false;
	if (a->read && sectors > 1)
		series_begin(w, &series);
	for (uint32_t i = 0; i < sectors; i++) {
		c.hi = a->read ? &a->seen[i] : NULL;
		c.whole(&c, a->offset / NBDS_SECTOR + i, a->bytes + (size_t)i * NBDS_SECTOR);
	}
	series_end(w);
	if (c.carry && a->have > whole) {
		c.carry->op = a->op;
		c.carry->offset = a->offset + whole;
		c.carry->have = a->have - whole;
		memcpy(c.carry->bytes, a->bytes + whole, a->have - whole);
	}
}

struct hole {
	struct cutter *c;
	uint64_t start, end;
};

static const uint8_t zeroes[NBDS_SECTOR];

static void hole_block(void *arg, struct block *b)
{
	struct hole *h = arg;
	uint8_t bits = 0;

	for (const struct entry *e = b->entries; e; e = e->next)
		if (e->op->type == NBD_CMD_WRITE)
			bits |= e->valued | e->unknown;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
		uint64_t first = (b->number * BLOCK_SECTORS + i) * NBDS_SECTOR;
		uint64_t from = h->start > first ? h->start - first : 0;
		uint64_t to = h->end - first < NBDS_SECTOR ? h->end - first : NBDS_SECTOR;

		if (!(bits >> i & 1) || from >= NBDS_SECTOR || h->end <= first)
			continue;
		if (from == 0 && to == NBDS_SECTOR)
			read_whole(h->c, first / NBDS_SECTOR, zeroes);
		else
			read_part(h->c, first / NBDS_SECTOR, (uint32_t)from, zeroes,
				  (uint32_t)(to - from));
	}
}

/* Zeroes in [offset, offset + len): only where data was written can that be wrong. */
static void zeroes_seen(struct nbds_op *op, uint64_t offset, uint64_t len,
			const struct nbds_point *hi)
{
	struct cutter c = {.op = op, .hi = hi};
	struct hole h = {.c = &c, .start = offset, .end = offset + len};

	contents_each_block(op->world, h.start, h.end, hole_block, &h);
}

/* The first serial from which the connection is the only writer, for what it sees now. */
static uint64_t alone_from(const struct nbds_op *op)
{
	uint64_t from = UINT64_MAX;

	for (unsigned kind = 0; kind < 2; kind++) {
		const struct nbds_op *last = op->party->last[kind];

		if (last && last->serial < from && lone_writer(last))
			from = last->serial;
	}
	/* what it wrote before that: if nobody else ever wrote anything */
	return from != UINT64_MAX && !op->world->parties->many_writers ? 0 : from;
}

void nbds_op_read_hole(struct nbds_op *op, uint64_t offset, uint64_t len,
		       const struct nbds_point *hi)
{
	struct range *r;
	bool initial;

	settle(op->world);
	if (!op->reading || offset < op->offset || offset - op->offset > op->length ||
	    len > op->length - (offset - op->offset) || !range_fits(op->offset, op->length))
		return;
	op->reading->seen_bytes += len;
	zeroes_seen(op, offset, len, hi);
	if (!op->proves)
		return;
	initial = op->type == NBD_CMD_READ && contents_unwritten(op->world, offset, offset + len);
	contents_range(op, offset, offset + len, RANGE_SEEN_ZERO, hi, alone_from(op));
	r = initial ? range_newest(op->world, op, offset, offset + len) : NULL;
	if (r)
		r->initial = true;
}

void nbds_op_status_extents(struct nbds_op *op, uint64_t offset, const struct nbds_extent *list,
			    size_t count, const struct nbds_point *hi)
{
	struct nbds_world *w = op->world;
	struct open_range *open = w->ranges->open;
	uint64_t alone;

	settle(w);
	if (op->type != NBD_CMD_BLOCK_STATUS || !op->reading)
		return;
	alone = op->proves ? alone_from(op) : 0;
	ranges_resume(op, hi, alone);
	for (size_t i = 0; i < count; offset += list[i].length, i++) {
		bool zero = list[i].status & NBD_STATE_ZERO;
		uint64_t end = offset + list[i].length;

		if (!(list[i].status & (NBD_STATE_ZERO | NBD_STATE_HOLE)) || offset == end)
			continue;
		if (zero && (w->blocks->count || w->quiet->count))
			zeroes_seen(op, offset, list[i].length, hi);
		if (zero && !op->proves)
			continue;
		if (!range_told_next(&open[!zero], offset, end))
			contents_told(op, offset, end, zero ? RANGE_SEEN_ZERO : RANGE_HOLE, hi,
				      alone);
	}
}

void nbds_op_status_extent(struct nbds_op *op, uint64_t offset, uint64_t len, uint32_t status,
			   const struct nbds_point *hi)
{
	struct nbds_extent one = {len, status};

	if (!range_fits(offset, len))
		one.length = UINT64_MAX - offset;
	nbds_op_status_extents(op, offset, &one, 1, hi);
}

/* --- replies ------------------------------------------------------------- */

static void flight_remove(struct nbds_op *op)
{
	struct nbds_world *w = op->world;
	struct nbds_party *p = op->party;
	const struct op_link *at;

	if (op->awaited) {
		at = &op->flight->awaited;
		*(at->prev ? &at->prev->flight->awaited.next : &w->order->flight_first) = at->next;
		*(at->next ? &at->next->flight->awaited.prev : &w->order->flight_last) = at->prev;
	}
	for (unsigned role = 0; role < FLYING_ROLES; role++)
		flying_remove(op, role);
	if (op->write_class) {
		at = &op->flight->write;
		*(at->prev ? &at->prev->flight->write.next : &w->parties->write_first) = at->next;
		*(at->next ? &at->next->flight->write.prev : &w->parties->write_last) = at->prev;
		w->parties->writes_in_flight--;
		p->writes_in_flight--;
		if (p->xport)
			p->xport->writes_in_flight--;
	}
}

static void flush_done(struct nbds_op *f)
{
	struct nbds_world *w = f->world;
	struct nbds_flush_report rep = {.connection = f->party->id,
					.request_frame = f->request_frame,
					.reply_frame = f->reply_frame,
					.request_time = op_shown(f),
					.reply_time = f->hi.time,
					.ok = f->state == OP_OK,
					.left = f->in_flight};
	bool offered = !f->party->known || (f->party->flags & NBD_FLAG_SEND_FLUSH);
	struct party_list done = {0};

	if (f->state == OP_OK && f->proves && f->party->xport && offered) {
		if (f->party->known)
			flush_log_add(f);
		unflushed_cover(f, &rep, &done);
		while (done.first) {
			struct nbds_party *p = done.first;

			party_unlink(p, PARTY_DIRTY);
			past_settle(p);
		}
	}
	NBDS_TRACE(NBDS_TRACE_ORDER,
		   "frame %" PRIu64 ": flush #%" PRIu64 " covers %" PRIu64
		   " writes of its own, %" PRIu64 " of others, leaves %" PRIu64 " in flight",
		   f->reply_frame, f->serial, rep.covered_own, rep.covered_other, rep.left);
	if (w->ops.flushed)
		w->ops.flushed(w->ctx, &rep);
}

/* X voids. */
static void fails(struct nbds_op *x)
{
	if (x->world->order->void_all)
		return;
	void_add(x);
	past_voided(x);
}

static void op_over(struct nbds_op *op)
{
	struct nbds_world *w = op->world;

	if (op->party->carry)
		for (unsigned i = 0; i < 2; i++)
			if (op->party->carry[i].op == op)
				op->party->carry[i].op = NULL;
	if (op->write_class && op->type == NBD_CMD_WRITE)
		nbds_op_write_end(op);
	flight_remove(op);
	if (!op->early)
		op_landed(op);
	if (op->write_class) {
		if (op->state == OP_OK && op->proves) {
			wrote_last(op);
			unflushed_add(op);
			if (w->order->void_count && voided(op, NULL))
				wrote_voided(op->party);
		} else if (op->state != OP_FAILED || op->proves) {
			wrote_unresolved(op->party);
		}
	}
	NBDS_TRACE(NBDS_TRACE_ORDER, "frame %" PRIu64 ": conn %" PRIu32 "'s %s #%" PRIu64 " %s",
		   op->reply_frame, op->party->id, command_name(op), op->serial,
		   op->state == OP_OK       ? "is done"
		   : op->state == OP_FAILED ? "failed"
					    : "was never answered");
	if (op->state == OP_FAILED && op->error == NBD_ESHUTDOWN)
		op->voider = true;
	if (op->voider && op->state != OP_OK)
		fails(op);
	if (op->type == NBD_CMD_FLUSH)
		flush_done(op);
	if (op->reading) {
		struct reading *rd = op->reading;

		if (op->state == OP_OK) {
			if (op->type == NBD_CMD_READ) {
				w->stats.reads += rd->checked || rd->misses;
				w->stats.checked_bytes += rd->checked;
				for (unsigned i = 0; i < NBDS_UNCHECKED_MAX; i++)
					w->stats.unchecked[i] += rd->unchecked[i];
				if (rd->seen_bytes < op->length) {
					rd->unchecked[NBDS_UNCHECKED_LOST] +=
						op->length - rd->seen_bytes;
					w->stats.unchecked[NBDS_UNCHECKED_LOST] +=
						op->length - rd->seen_bytes;
				}
			}
			verdict_await(op);
		} else {
			if (op->type == NBD_CMD_READ)
				w->stats.unchecked[NBDS_UNCHECKED_ERROR] += rd->seen_bytes;
			verdict_judged(op, NULL, NBDS_NOTE);
			reading_drop(op);
		}
	}
	hazard_reply(op);
	op_unref(op);
}

/* Answered with success before its payload had reached the server (V7)? */
static bool too_early(const struct nbds_op *op, const struct nbds_reply_order *order)
{
	return op->type == NBD_CMD_WRITE && op->write_class && order->acked != NBDS_NO_ACK &&
	       op->header_end <= UINT64_MAX - op->length &&
	       order->acked < op->header_end + op->length;
}

/* Its payload counts as written once something shows that the server has all of it, at
 * `hi`; NULL: nothing ever did. */
static void payload_arrived(struct nbds_op *op, const struct nbds_point *hi)
{
	op->hi = hi ? *hi : (struct nbds_point){UINT64_MAX, INT64_MAX, op->lo.interface};
	op->state = OP_OK;
	op_over(op);
}

/* An answer on the connection, at `hi`, shows of those that were answered too early that
 * their payload has arrived: one to a later request, or one that acknowledges it. */
static void payloads_shown(struct nbds_party *p, const struct nbds_op *by,
			   const struct nbds_point *hi)
{
	for (struct nbds_op **at = &p->early, *op; (op = *at);) {
		bool over = op->early_told;

		if (op->arrived || op == by ||
		    !(by->serial > op->serial ||
		      (by->status_acked != NBDS_NO_ACK &&
		       by->status_acked >= op->header_end + op->length))) {
			at = &op->flight->next_early;
			continue;
		}
		if (over) {
			*at = op->flight->next_early;
		} else { /* it stays until it is told */
			op->arrived = true;
			op_ref(op);
			at = &op->flight->next_early;
		}
		payload_arrived(op, hi);
	}
}

/* That a write was answered too early rests on its length, and a length that is damaged
 * shows in what comes after it: the next request begins where the payload ends, or else the
 * connection has bytes that are none. */
static void length_shown(struct nbds_op *op)
{
	if (!op->early_told && op->payload_over)
		hazard_early(op, true);
	op->early_told |= op->payload_over;
}

/* Those that are told, and have arrived, are of no more interest. */
static void early_sweep(struct nbds_party *p)
{
	for (struct nbds_op **at = &p->early, *op; (op = *at);) {
		if (!op->arrived || !op->early_told) {
			at = &op->flight->next_early;
			continue;
		}
		*at = op->flight->next_early;
		op_unref(op);
	}
}

static void lengths_shown(struct nbds_party *p)
{
	for (struct nbds_op *op = p->early; op; op = op->flight->next_early)
		length_shown(op);
	early_sweep(p);
}

static void lengths_doubted(struct nbds_party *p)
{
	for (struct nbds_op *op = p->early; op; op = op->flight->next_early) {
		if (op->early_told)
			continue;
		op->early_told = true;
		op->proves = false;
		p->world->order->version++;
	}
	early_sweep(p);
}

static void payloads_lost(struct nbds_party *p)
{
	while (p->early) {
		struct nbds_op *op = p->early;

		if (!op->early_told)
			hazard_early(op, op->flight->next_at == op->length);
		p->early = op->flight->next_early;
		if (op->arrived)
			op_unref(op);
		else
			payload_arrived(op, NULL);
	}
}

bool nbds_op_reply(struct nbds_op *op, uint32_t error, const struct nbds_reply_order *order)
{
	struct nbds_party *p = op->party;
	bool early = !error && too_early(op, order);

	settle(op->world);
	op->hi = order->hi;
	op->reply_frame = order->frame;
	op->replied = order->hi.time;
	op->status_end = order->status_end;
	op->status_acked = order->acked;
	op->error = error;
	op->flush_mark = p->xport ? p->xport->flushes : 0;
	op->breach =
		error && p->known &&
		!(p->flags & (op->type == NBD_CMD_FLUSH ? NBD_FLAG_SEND_FLUSH : NBD_FLAG_SEND_FUA));
	nbds_party_alive(p, &op->lo);
	if (early) {
		bool more = !op->payload_over;

		op->early = true;
		op->hi = (struct nbds_point){UINT64_MAX, INT64_MAX, op->lo.interface};
		if (p->early)
			payloads_shown(p, op, &order->hi);
		op->flight->next_early = p->early;
		p->early = op;
		if (p->newest > op->serial)
			length_shown(op);
		op->owed = more;
		if (more)
			op_ref(op); /* until nbds_op_write_end() */
		return more;
	}
	op->state = error ? OP_FAILED : OP_OK;
	op_ref(op);
	op_over(op);
	if (p->early)
		payloads_shown(p, op, &op->hi);
	op_unref(op);
	return false;
}

void nbds_op_open(struct nbds_op *op)
{
	settle(op->world);
	op->state = OP_OPEN;
	op_over(op);
}

/* --- time ---------------------------------------------------------------- */

void nbds_world_unseen(struct nbds_world *w, const struct nbds_point *at)
{
	settle(w);
	world_opens(w, at);
}

void nbds_world_dropped(struct nbds_world *w)
{
	settle(w);
	w->dropped = true;
}

void nbds_world_interfaces(struct nbds_world *w)
{
	settle(w);
	w->parties->interfaces = true;
}

/* At least twice as large each time: what is done with all contents is done a few times only. */
static int64_t larger_margin(int64_t margin, int64_t least)
{
	return margin <= INT64_MAX / 4 && least < 2 * margin ? 2 * margin : least;
}

void nbds_world_inversion(struct nbds_world *w, int64_t inversion)
{
	int64_t before = w->no_t3 ? INT64_MAX : w->config.epsilon;

	settle(w);
	life_forget(w);
	w->order->version++;
	if (inversion <= 0 || inversion > INT64_MAX / 4)
		w->no_t3 = true;
	else if (w->config.epsilon < 2 * inversion)
		w->config.epsilon = larger_margin(w->config.epsilon, 2 * inversion);
	/* a reply that overtook all of its way and a bit more shows only the bit */
	if (w->config.epsilon < EPSILON_INVERTED)
		w->config.epsilon = EPSILON_INVERTED;
	if (before == (w->no_t3 ? INT64_MAX : w->config.epsilon))
		return;
	w->order->margins++;
	contents_distrust(w);
	/* nor is what was found by it: who was alone, and what those who are gone left */
	w->order->trusted_since = w->serial;
	w->parties->loose |= w->parties->past_written > 0;
}

bool nbds_world_tick(struct nbds_world *w, int64_t now)
{
	settle(w);
	if (now > w->now || (uint64_t)w->now - (uint64_t)now > SET_BACK)
		w->now = now;
	if (w->verdicts->pending || w->verdicts->foreign)
		verdicts_pass(w, false);
	if (w->withheld->first)
		withheld_pass(w, false);
	past_sweep(w);
	return w->verdicts->pending || w->verdicts->foreign || w->withheld->first ||
	       w->parties->ended.first || w->parties->folded.first;
}

void nbds_world_shrink(struct nbds_world *w, uint64_t goal)
{
	settle(w);
	if (w->memory > goal && !w->blocks->iterating)
		contents_shrink(w, goal);
	past_sweep(w);
}

void nbds_world_finish(struct nbds_world *w)
{
	settle(w);
	for (struct nbds_party *p = w->parties->open.first; p; p = party_next(p, PARTY_PLACE))
		payloads_lost(p);
	/* whatever is still in flight was never answered */
	while (w->order->flight_first) {
		struct nbds_op *x = w->order->flight_first;

		if (x->voider)
			fails(x);
		w->order->flight_first = x->flight->awaited.next;
		flying_remove(x, FLYING_AWAITED);
		x->awaited = x->voider = false; /* no longer in the list */
	}
	w->order->flight_last = NULL;
	verdicts_pass(w, true);
	withheld_pass(w, true);
	hazard_finish(w);
}

void nbds_world_stats(const struct nbds_world *w, struct nbds_world_stats *s)
{
	*s = w->stats;
	s->memory = w->memory;
}

void nbds_party_unflushed(const struct nbds_party *p, struct nbds_unflushed *u)
{
	*u = (struct nbds_unflushed){.writes = p->unflushed_writes, .bytes = p->unflushed_bytes};
	const struct nbds_op *oldest = unflushed_oldest(p);

	if (oldest) {
		u->first_frame = oldest->request_frame;
		u->since = oldest->hi.time;
	} else {
		u->first_frame = p->unflushed_frame;
		u->since = p->unflushed_since;
	}
}

void nbds_world_free(struct nbds_world *w)
{
	if (!w)
		return;
	verdicts_free(w);
	hazard_free(w);
	placed_drop(w);
	withheld_free(w);
	order_free(w);
	contents_free(w);
	past_free(w);
	life_free(w);
	for (struct xport *x = w->parties->xports, *next; x; x = next) {
		next = x->next;
		kin_leave(x, w);
		world_dealloc(w, x->name, x->name_len + 1);
		world_dealloc(w, x->faces, x->face_room * sizeof(*x->faces));
		world_dealloc(w, x, sizeof(*x));
	}
	misses_free(w);
	scratch_free(w);
	nbds_table_free(&w->parties->names, w->budget);
	if (w->budget == &w->own_budget)
		free(w);
	else
		nbds_budget_free(w->budget, w, sizeof(*w));
}
