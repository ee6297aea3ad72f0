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

struct miss_snapshot {
	bool shadow, based;
	struct nbds_point base;
	size_t count, size;
	struct candidate list[];
};

/* --- snapshots ------------------------------------------------------------ */

static void snapshot_free(struct nbds_world *w, struct miss_snapshot *s)
{
	if (!s)
		return;
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
static struct miss_snapshot *snapshot_new(struct nbds_world *w)
{
	const struct gathered *g = &w->contents->gathered;
	size_t size;
	struct miss_snapshot *s;

	size = sizeof(*s) + g->count * sizeof(struct candidate);
	s = world_alloc(w, size);
	if (!s)
		return NULL;
	s->size = size;
	s->shadow = g->shadow;
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
	const struct nbds_op *telling = w->reads->telling_first;
	struct miss *m;

	if (w->ranges->overrun)
		overrun(w, lo);
	/* nor as long as a command from before it has something to say, or is still held back:
	 * it will be told late */
	while ((m = w->misses->young_first) && point_before(w, &m->hi, lo) &&
	       !(telling && !point_before(w, &m->hi, &telling->lo)) &&
	       !(w->ops.settled && !w->ops.settled(w->ctx, &m->hi))) {
		grown_up(w, m);
		if (contents_gather(w, m->sector, m->value))
			m->snapshot = snapshot_new(w);
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

/* --- data from nowhere ---------------------------------------------------- */

static struct miss **slot(struct nbds_world *w, uint64_t sector)
{
	struct misses *ms = w->misses;

	return &ms->table[hash_number(w, sector) & (ms->table_room - 1)];
}

static bool table_grow(struct nbds_world *w)
{
	struct misses *ms = w->misses, old = *ms;
	size_t room = old.table_room ? old.table_room * 2 : 64;
	struct miss **table = world_alloc(w, room * sizeof(struct miss *));

	if (!table)
		return old.table_room != 0;
	ms->table = table;
	ms->table_room = room;
	for (size_t i = 0; i < old.table_room; i++) {
		for (struct miss *m = old.table[i], *next; m; m = next) {
			struct miss **at = slot(w, m->sector);

			next = m->chain;
			m->chain = *at;
			*at = m;
		}
	}
	world_dealloc(w, old.table, old.table_room * sizeof(struct miss *));
	return true;
}

static void table_add(struct nbds_world *w, struct miss *m)
{
	struct miss **at;
	unsigned n = 0;

	m->unsure = true;
	if (w->misses->table_count >= w->misses->table_room && !table_grow(w))
		return;
	at = slot(w, m->sector);
	for (const struct miss *o = *at; o; o = o->chain)
		if (o->sector == m->sector && ++n == FOREIGN_SECTOR)
			return;
	m->unsure = false;
	m->chain = *at;
	*at = m;
	m->foreign = true;
	w->misses->table_count++;
}

static void table_remove(struct nbds_world *w, struct miss *m)
{
	struct miss **at;

	if (!m->foreign)
		return;
	at = slot(w, m->sector);
	while (*at != m)
		at = &(*at)->chain;
	*at = m->chain;
	m->foreign = false;
	w->misses->table_count--;
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
	struct misses *ms = op->world->misses;

	if (!ms->table_count)
		return;
	for (struct miss *m = *slot(op->world, sector); m; m = m->chain) {
		if (m->sector != sector || !read_before(m, op))
			continue;
		if (len == NBDS_SECTOR && m->from == 0 && m->to == NBDS_SECTOR && m->value == value)
			written_so(m, 0, NBDS_SECTOR, NULL);
		else if (m->bytes)
			written_so(m, at, at + len, bytes);
	}
}

void misses_zeroed(const struct nbds_op *op, uint64_t start, uint64_t end)
{
	static const uint8_t zeroes[NBDS_SECTOR];
	struct misses *ms = op->world->misses;
	uint64_t first = start / NBDS_SECTOR, last = end ? (end - 1) / NBDS_SECTOR : 0;
	bool all = last - first >= ms->table_room;

	if (!ms->table_count || end <= start)
		return;
	for (uint64_t i = 0; all ? i < ms->table_room : i <= last - first; i++) {
		for (struct miss *m = all ? ms->table[i] : *slot(op->world, first + i); m;
		     m = m->chain) {
			uint64_t base = m->sector * NBDS_SECTOR;
			unsigned from = start > base ? (unsigned)(start - base) : 0;
			unsigned to = end - base < NBDS_SECTOR ? (unsigned)(end - base)
							       : NBDS_SECTOR;

			if (m->sector < first || m->sector > last ||
			    (!all && m->sector != first + i) || !m->bytes || !read_before(m, op))
				continue;
			written_so(m, from, to, zeroes);
		}
	}
}

/* --- a miss --------------------------------------------------------------- */

void miss_add(const struct sample *s, bool foreign)
{
	struct nbds_op *read = (struct nbds_op *)s->read;
	struct nbds_world *w = read->world;
	struct miss *m = world_alloc(w, sizeof(*m));

	if (!m) {
		read->reading->unchecked[NBDS_UNCHECKED_FORGOTTEN] += s->to - s->from;
		return;
	}
	*m = (struct miss){.next = read->reading->misses,
			   .read = read,
			   .sector = s->sector,
			   .value = s->value,
			   .hi = s->hi,
			   .lone_from = s->lone_from,
			   .from = s->from,
			   .to = s->to,
			   .young = true};
	if (s->bytes) {
		m->bytes = world_alloc(w, (size_t)(s->to - s->from));
		if (m->bytes)
			memcpy(m->bytes, s->bytes, (size_t)(s->to - s->from));
	}
	read->reading->misses = m;
	read->reading->miss_count++;
	m->prev_young = w->misses->young_last;
	*(w->misses->young_last ? &w->misses->young_last->next_young : &w->misses->young_first) = m;
	w->misses->young_last = m;
	alone_add(w->misses, m);
	pin(w, m, 1);
	if (foreign)
		table_add(w, m);
}

void miss_judge(struct nbds_world *w, const struct miss *m, unsigned around, struct verdict *v)
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
				.lone_from = w->no_t3 && w->parties->many_writers ? UINT64_MAX
										  : m->lone_from,
				.later = m->later};
	struct view view = {.final = true, .around = around};

	*v = (struct verdict){.result = JUDGE_UNKNOWN, .why = NBDS_UNCHECKED_FORGOTTEN};
	if (w->blind)
		return;
	if (w->poisoned && m->hi.frame > w->poison.frame) {
		v->why = NBDS_UNCHECKED_GAP;
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
	judge(&view, &sample, v);
}

const struct candidate *miss_sources(const struct nbds_world *w, const struct miss *m,
				     size_t *count)
{
	*count = m->snapshot ? m->snapshot->count : m->young ? w->contents->gathered.count : 0;
	return m->snapshot ? m->snapshot->list : w->contents->gathered.list;
}

void miss_free(struct miss *m)
{
	struct nbds_world *w = m->read->world;

	grown_up(w, m);
	table_remove(w, m);
	snapshot_free(w, m->snapshot);
	world_dealloc(w, m->bytes, (size_t)(m->to - m->from));
	world_dealloc(w, m->later, sizeof(*m->later));
	world_dealloc(w, m, sizeof(*m));
}

void misses_free(struct nbds_world *w)
{
	world_dealloc(w, w->misses->table, w->misses->table_room * sizeof(struct miss *));
}
