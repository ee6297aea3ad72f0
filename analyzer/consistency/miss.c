/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sectors that wait for the final word. See miss.h.
 */
#include <string.h>

#include "bury.h"
#include "miss.h"

#define OWN_MAX 4096u
/* With data from nowhere, of one sector: each write of it looks at all. */
#define FOREIGN_SECTOR 256u
/* Sources of a sector that are compared with what was read, for having it once only. */
#define ALIKE_LOOKED 8u

/* What several may have read. */
struct shown {
	struct missed_sector *at;
	uint32_t refs;
	uint32_t len;
	uint8_t bytes[];
};

struct miss_snapshot {
	struct missed_sector *at;
	uint32_t refs;
	bool shadow, based;
	uint32_t margins; /* as the order was trusted then */
	struct nbds_point base;
	size_t count, size;
	struct candidate list[];
};

/* --- snapshots ------------------------------------------------------------ */

static void snapshot_free(struct nbds_world *w, struct miss_snapshot *s)
{
	if (!s || --s->refs)
		return;
	if (s->at->snapshot == s)
		s->at->snapshot = NULL;
	for (size_t i = 0; i < s->count; i++) {
		if (s->list[i].op)
			op_unref(s->list[i].op);
		if (s->list[i].piece)
			piece_unref(w, s->list[i].piece);
	}
	for (size_t i = 0; i < s->count; i++) {
		byte_set_unref(w, s->list[i].set);
		if (s->list[i].by)
			op_unref(s->list[i].by);
	}
	world_dealloc(w, s, s->size);
}

/* Of what was gathered last. */
static struct miss_snapshot *snapshot_new(struct nbds_world *w, struct missed_sector *at)
{
	const struct gathered *g = &w->contents->gathered;
	size_t size;
	struct miss_snapshot *s;

	size = sizeof(*s) + g->count * sizeof(struct candidate);
	s = world_alloc(w, size);
	if (!s)
		return NULL;
	s->size = size;
	s->refs = 1;
	s->at = at;
	at->snapshot = s;
	s->shadow = g->shadow;
	s->margins = w->order->margins;
	s->based = g->base != NULL;
	if (g->base)
		s->base = *g->base;
	s->count = g->count;
	for (size_t i = 0; i < g->count; i++) {
		struct candidate *c = &s->list[i];

		*c = g->list[i];
		if (c->op)
			op_ref(c->op);
		if (c->piece)
			c->piece->refs++;
		if (c->set)
			c->set->refs++;
		if (c->by)
			op_ref(c->by);
	}
	return s;
}

static bool same_base(const struct miss_snapshot *s, const struct nbds_point *base)
{
	return s->based ? base && s->base.frame == base->frame && s->base.time == base->time && s->base.interface == base->interface : !base;
}

/* Of what was gathered last, for a miss of the sector. */
static struct miss_snapshot *snapshot_of(struct nbds_world *w, struct missed_sector *at)
{
	const struct gathered *g = &w->contents->gathered;
	struct miss_snapshot *s = at->snapshot;

	/* (where padding differs it is one more, and nothing worse) */
	if (!s || s->margins != w->order->margins || s->shadow != g->shadow ||
	    s->count != g->count || !same_base(s, g->base) ||
	    memcmp(s->list, g->list, g->count * sizeof(*g->list)) != 0)
		return snapshot_new(w, at);
	s->refs++;
	return s;
}

/* --- young ones ----------------------------------------------------------- */

static void pin(struct nbds_world *w, const struct miss *m, int delta)
{
	struct block *b = block_find(w, m->sector / BLOCK_SECTORS);

	w->ranges->pins = delta > 0 ? w->ranges->pins + 1 : w->ranges->pins - 1;
	if (b && (delta > 0 || b->pins))
		b->pins = delta > 0 ? b->pins + 1 : b->pins - 1;
}

/* --- G10 of the young --- */

static void alone_add(struct misses *ms, struct miss *m)
{
	if (m->lone_from == UINT64_MAX)
		return;
	m->alone = true;
	m->upto = m->hi;
	if (ms->alone_last)
		later_of(&m->upto, &ms->alone_last->upto);
	m->prev_alone = ms->alone_last;
	*(m->prev_alone ? &m->prev_alone->next_alone : &ms->alone_first) = m;
	ms->alone_last = m;
}

static void alone_remove(struct misses *ms, struct miss *m)
{
	if (!m->alone)
		return;
	m->alone = false;
	*(m->prev_alone ? &m->prev_alone->next_alone : &ms->alone_first) = m->next_alone;
	*(m->next_alone ? &m->next_alone->prev_alone : &ms->alone_last) = m->prev_alone;
}

static void grown_up(struct nbds_world *w, struct miss *m)
{
	struct misses *ms = w->misses;

	if (!m->young)
		return;
	m->young = false;
	alone_remove(ms, m);
	*(m->prev_young ? &m->prev_young->next_young : &ms->young_first) = m->next_young;
	*(m->next_young ? &m->next_young->prev_young : &ms->young_last) = m->prev_young;
	pin(w, m, -1);
}

/* Whose source may still be told late cannot wait for that: nothing is said of them. */
static void overrun(struct nbds_world *w, const struct nbds_point *now)
{
	uint32_t before = UINT32_MAX;
	struct block *b;
	struct miss *m;

	w->ranges->overrun = false;
	while ((m = w->misses->young_first)) {
		grown_up(w, m);
		m->lone_from = UINT64_MAX;
	}
	/* burying looks at so many each time: as long as it helps */
	while ((b = block_find(w, w->ranges->overrun_block)) && b->count < before) {
		before = b->count;
		b->prune_at = 0;
		block_limit(w, b, now);
	}
}

void misses_close(struct nbds_world *w, const struct nbds_point *lo)
{
	struct miss *m;

	if (w->ranges->overrun)
		overrun(w, lo);
	/* nor as long as a command from before it has something to say, or is still held back:
	 * it will be told late */
	while ((m = w->misses->young_first) && point_before(w, &m->hi, lo) &&
	       flying_after(w, FLYING_TELLING, &m->hi) &&
	       !(w->ops.settled && !w->ops.settled(w->ctx, &m->hi))) {
		grown_up(w, m);
		if (contents_gather(w, m->sector, m->value))
			m->snapshot = snapshot_of(w, m->at);
		if (!m->snapshot)
			m->lone_from = UINT64_MAX;
	}
}

/* Looks at those only whose byte may have been sent after this write began, newest first:
 * once all that are older were certainly read before, no further.  One that is alone no more
 * leaves the list.  So only its own connection's are looked at again, of the same instant at
 * that; where these are too many, they are taken for alone no more. */
void misses_written(const struct nbds_op *op)
{
	struct misses *ms = op->world->misses;
	unsigned own = 0;

	/* where no order is to be trusted nobody is alone who is not the only one ever */
	if (op->world->no_t3)
		return;
	for (struct miss *m = ms->alone_last, *older; m; m = older) {
		older = m->prev_alone;
		if (point_before(op->world, &m->upto, &op->lo))
			return;
		if (m->read->party == op->party ? ++own <= OWN_MAX
						: point_before(op->world, &m->hi, &op->lo))
			continue;
		m->lone_from = UINT64_MAX;
		alone_remove(ms, m);
	}
}

/* --- by place ------------------------------------------------------------- */

static struct missed_block *missed_find(struct nbds_world *w, uint64_t number)
{
	struct misses *ms = w->misses;

	if (ms->found && ms->found->number == number)
		return ms->found;
	for (struct nbds_table_node *n = nbds_table_find(&ms->blocks, hash_number(w, number)); n;
	     n = nbds_table_again(n)) {
		struct missed_block *b = nbds_owner(n, struct missed_block, node);

		if (b->number == number)
			return ms->found = b;
	}
	return NULL;
}

/* With one more miss; NULL without memory. */
static struct missed_block *missed_get(struct nbds_world *w, uint64_t number)
{
	struct missed_block *b = missed_find(w, number);

	if (!b) {
		b = world_alloc(w, sizeof(*b));
		if (!b)
			return NULL;
		b->number = number;
		if (!nbds_table_add(&w->misses->blocks, w->budget, &b->node,
				    hash_number(w, number))) {
			world_dealloc(w, b, sizeof(*b));
			return NULL;
		}
		w->misses->found = b;
	}
	b->refs++;
	return b;
}

static void missed_unref(struct nbds_world *w, struct missed_block *b)
{
	if (--b->refs)
		return;
	if (w->misses->found == b)
		w->misses->found = NULL;
	nbds_table_remove(&w->misses->blocks, &b->node);
	world_dealloc(w, b, sizeof(*b));
}

/* --- data from nowhere ---------------------------------------------------- */

static void foreign_add(struct nbds_world *w, struct miss *m)
{
	if (m->at->count >= FOREIGN_SECTOR) {
		m->unsure = true;
		return;
	}
	m->foreign = true;
	m->next_foreign = m->at->foreign;
	if (m->next_foreign)
		m->next_foreign->prev_foreign = m;
	m->at->foreign = m;
	m->at->count++;
	w->ranges->wanted++;
}

static void foreign_remove(struct nbds_world *w, struct miss *m)
{
	if (!m->foreign)
		return;
	*(m->prev_foreign ? &m->prev_foreign->next_foreign : &m->at->foreign) = m->next_foreign;
	if (m->next_foreign)
		m->next_foreign->prev_foreign = m->prev_foreign;
	m->foreign = false;
	m->at->count--;
	w->ranges->wanted--;
}

/* Bytes [from, to) of the sector were written later, as they were read if `same`. */
static void written_so(struct miss *m, unsigned from, unsigned to, const uint8_t *bytes)
{
	struct nbds_world *w = m->read->world;

	if (from < m->from)
		bytes = bytes ? bytes + (m->from - from) : NULL;
	from = from < m->from ? m->from : from;
	to = to > m->to ? m->to : to;
	while (from < to) {
		unsigned n = to - from >= 8 && from % 8 == 0 ? 8 : 1;
		uint64_t same = n == 8 ? 0xff : 1;

		if (bytes && n == 8)
			same = same_of_8(bytes, m->bytes + (from - m->from));
		else if (bytes)
			same = *bytes == m->bytes[from - m->from];
		if (same && !m->later)
			m->later = world_alloc(w, sizeof(*m->later));
		m->unsure |= same && !m->later;
		if (same && m->later)
			m->later->bits[from / 64] |= same << (from % 64);
		from += n;
		bytes = bytes ? bytes + n : NULL;
	}
}

static bool read_before(const struct miss *m, const struct nbds_op *op)
{
	return point_before(op->world, &m->hi, &op->lo) || op_before(m->read, op);
}

void misses_later(const struct nbds_op *op, uint64_t sector, uint64_t value, const uint8_t *bytes,
		  unsigned at, unsigned len)
{
	const struct missed_block *b =
		op->world->ranges->wanted ? missed_find(op->world, sector / BLOCK_SECTORS) : NULL;

	for (struct miss *m = b ? b->sectors[sector % BLOCK_SECTORS].foreign : NULL; m;
	     m = m->next_foreign) {
		if (!read_before(m, op))
			continue;
		if (len == NBDS_SECTOR && m->from == 0 && m->to == NBDS_SECTOR && m->value == value)
			written_so(m, 0, NBDS_SECTOR, NULL);
		else if (m->bytes)
			written_so(m, at, at + len, bytes);
	}
}

/* Zeroes in a part of the sector, or all of it, by a command without data. */
static void zeroed(void *arg, const struct range *r)
{
	static const uint8_t zeroes[NBDS_SECTOR];
	struct miss *m = arg;
	uint64_t base = m->sector * NBDS_SECTOR;

	if (r->kind == RANGE_ZERO && read_before(m, r->op))
		written_so(m, r->start > base ? (unsigned)(r->start - base) : 0,
			   r->end - base < NBDS_SECTOR ? (unsigned)(r->end - base) : NBDS_SECTOR,
			   zeroes);
}

/* --- a miss --------------------------------------------------------------- */

/* What was read as it is kept already, of what may have been its source; NULL: it is not. */
static struct piece *piece_of(const struct nbds_world *w, const struct sample *s)
{
	const struct gathered *g = &w->contents->gathered;
	unsigned looked = 0;

	for (size_t i = g->count; i > 0 && looked < ALIKE_LOOKED; i--, looked++) {
		struct piece *p = g->list[i - 1].piece;

		if (p && g->list[i - 1].bytes == p->bytes && p->from <= s->from &&
		    p->from + p->have >= s->to &&
		    memcmp(p->bytes + (s->from - p->from), s->bytes, (size_t)(s->to - s->from)) ==
			    0)
			return p;
	}
	return NULL;
}

static struct shown *shown_of(struct nbds_world *w, struct missed_sector *at,
			      const struct sample *s)
{
	uint32_t len = (uint32_t)(s->to - s->from);
	struct shown *shown = at->shown;

	if (shown && shown->len == len && memcmp(shown->bytes, s->bytes, len) == 0) {
		shown->refs++;
		return shown;
	}
	shown = world_alloc(w, sizeof(*shown) + len);
	if (!shown)
		return NULL;
	shown->refs = 1;
	shown->len = len;
	memcpy(shown->bytes, s->bytes, len);
	shown->at = at;
	at->shown = shown;
	return shown;
}

static void shown_free(struct nbds_world *w, struct shown *s)
{
	if (!s || --s->refs)
		return;
	if (s->at->shown == s)
		s->at->shown = NULL;
	world_dealloc(w, s, sizeof(*s) + s->len);
}

static void bytes_keep(struct nbds_world *w, struct miss *m, const struct sample *s)
{
	m->piece = piece_of(w, s);
	if (m->piece) {
		m->piece->refs++;
		m->bytes = m->piece->bytes + (s->from - m->piece->from);
		return;
	}
	m->shown = shown_of(w, m->at, s);
	m->bytes = m->shown ? m->shown->bytes : NULL;
}

/* Those of a read are judged one after the other: they lie side by side. */
struct miss_chunk {
	struct miss_chunk *next;
	uint32_t count, room;
	struct miss list[];
};

#define CHUNK_MAX 8u

static size_t chunk_size(uint32_t room)
{
	return sizeof(struct miss_chunk) + room * sizeof(struct miss);
}

static struct miss *miss_new(struct nbds_op *read)
{
	struct miss_chunk *c = read->reading->chunks;

	if (!c || c->count == c->room) {
		uint64_t sectors = read->length / NBDS_SECTOR - read->reading->miss_count;
		bool few = read->type != NBD_CMD_READ || read->length <= NBDS_SECTOR;
		uint32_t room = few ? 1 : sectors < CHUNK_MAX ? (uint32_t)sectors : CHUNK_MAX;

		room = room ? room : 1;
		c = world_alloc(read->world, chunk_size(room));
		if (!c)
			return NULL;
		c->room = room;
		c->next = read->reading->chunks;
		read->reading->chunks = c;
	}
	return &c->list[c->count++];
}

void miss_add(const struct sample *s, bool foreign)
{
	struct nbds_op *read = (struct nbds_op *)s->read;
	struct nbds_world *w = read->world;
	struct missed_block *block = missed_get(w, s->sector / BLOCK_SECTORS);
	struct miss *m = block ? miss_new(read) : NULL;

	if (!m) {
		if (block)
			missed_unref(w, block);
		read->reading->unchecked[NBDS_UNCHECKED_FORGOTTEN] += s->to - s->from;
		return;
	}
	*m = (struct miss){.next = read->reading->misses,
			   .read = read,
			   .block = block,
			   .at = &block->sectors[s->sector % BLOCK_SECTORS],
			   .sector = s->sector,
			   .value = s->value,
			   .hi = s->hi,
			   .lone_from = s->lone_from,
			   .from = s->from,
			   .to = s->to,
			   .young = true};
	if (s->bytes)
		bytes_keep(w, m, s);
	m->unsure = !m->bytes;
	read->reading->misses = m;
	read->reading->miss_count++;
	m->prev_young = w->misses->young_last;
	*(w->misses->young_last ? &w->misses->young_last->next_young : &w->misses->young_first) = m;
	w->misses->young_last = m;
	alone_add(w->misses, m);
	pin(w, m, 1);
	if (foreign)
		foreign_add(w, m);
}

void miss_judge(struct nbds_world *w, struct miss *m, unsigned around, struct verdict *v)
{
	const struct gathered *g = &w->contents->gathered;
	const struct miss_snapshot *s = m->snapshot;
	struct sample sample = {.read = m->read,
				.sector = m->sector,
				.value = m->value,
				.bytes = m->bytes,
				.from = m->from,
				.to = m->to,
				.hi = m->hi,
				.lone_from = order_outdated(m->read) || (around & BROKEN_WRITER)
						     ? UINT64_MAX
						     : m->lone_from};
	struct view view = {.final = true, .around = around};

	*v = (struct verdict){.result = JUDGE_UNKNOWN, .why = NBDS_UNCHECKED_FORGOTTEN};
	if (w->blind)
		return;
	if (w->poisoned && m->hi.frame > w->poison.frame) {
		v->why = NBDS_UNCHECKED_GAP;
		return;
	}
	if (s && s->margins != w->order->margins) {
		/* what was told after it was closed may have been before it after all */
		v->why = NBDS_UNCHECKED_ORDER;
		return;
	}
	if (s) {
		view.list = s->list;
		view.count = (unsigned)s->count;
		view.base = s->based ? &s->base : NULL;
		view.shadow = s->shadow;
	} else if (m->young && contents_gather(w, m->sector, m->value)) {
		view.list = g->list;
		view.count = (unsigned)g->count;
		view.base = g->base;
		view.shadow = g->shadow;
	} else {
		return;
	}
	view.shadow |= m->read->late;
	if (m->foreign && m->bytes)
		ranges_at(w, m->sector * NBDS_SECTOR + m->from, m->sector * NBDS_SECTOR + m->to,
			  zeroed, m);
	sample.later = m->later;
	judge(&view, &sample, v);
}

const struct candidate *miss_sources(const struct nbds_world *w, const struct miss *m,
				     size_t *count)
{
	*count = m->snapshot ? m->snapshot->count : m->young ? w->contents->gathered.count : 0;
	return m->snapshot ? m->snapshot->list : w->contents->gathered.list;
}

static void miss_end(struct nbds_world *w, struct miss *m)
{
	grown_up(w, m);
	foreign_remove(w, m);
	snapshot_free(w, m->snapshot);
	piece_unref(w, m->piece);
	shown_free(w, m->shown);
	missed_unref(w, m->block);
	world_dealloc(w, m->later, sizeof(*m->later));
}

void misses_drop(struct nbds_op *read)
{
	struct reading *rd = read->reading;

	for (struct miss *m = rd->misses; m; m = m->next)
		miss_end(read->world, m);
	rd->misses = NULL;
	rd->miss_count = 0;
	for (struct miss_chunk *c = rd->chunks, *next; c; c = next) {
		next = c->next;
		world_dealloc(read->world, c, chunk_size(c->room));
	}
	rd->chunks = NULL;
}

void misses_free(struct nbds_world *w)
{
	NBDS_ASSERT(!w->misses->blocks.count);
	nbds_table_free(&w->misses->blocks, w->budget);
}
