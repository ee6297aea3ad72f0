/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * activity.c - what happened when: for charts, and around findings. See activity.h.
 *
 * What is unflushed is counted by numbers that only grow: bytes that were written and
 * answered, and how many of them the newest flush is known to have covered.  A flush covers
 * what was answered before it was sent, so that it carries the first of the two numbers, as
 * it was then, to the second.  Where flushes hold for all connections of an export they
 * share one such pair.
 */
#include "activity.h"

#include <string.h>

#include <base/clock.h>
#include <base/list.h>

#include "../latency/latency.h"

/* Stories of one rule, by level, and of all; and from where on only worse than notes. */
#define STORIES_MAX   240u
#define STORIES_NOTES 100u
/* Commands that are answered after a finding and may still belong into its picture. */
#define STORY_AFTER 32u
/* Commands that are looked at for one. */
#define STORY_SCAN 4096u
/* Of those that share no byte with it, so many at most. */
#define STORY_OTHERS 8u

#define FIRST_WIDTH  1000 /* ns */
#define FIRST_RANGE  512
#define FIRST_ROOM   256u
#define FLUSHES_KEPT 16u

/* What was written with success, and what of that was flushed, in bytes. */
struct level {
	struct nbds_table_node node;
	uint32_t export; /* its number; 0: a connection's own */
	uint64_t written, flushed;
};

/* `user` of a connection. */
struct activity_conn {
	struct nbds_list node;
	struct level own;
	struct {
		uint64_t serial; /* of the request; 0: none */
		uint64_t written;
		const struct level *level;
	} flushes[FLUSHES_KEPT]; /* in flight, the newest over the oldest */
	unsigned next_flush;
};

static bool full(struct activity *a)
{
	if (!nbds_budget_over(&a->budget))
		return false;
	a->short_of = true;
	return true;
}

/* Memory that may be had; NULL: none. */
static void *take(struct activity *a, size_t size)
{
	void *p = full(a) ? NULL : nbds_budget_alloc(&a->budget, size);

	a->short_of |= !p;
	return p;
}

/* --- beginning and end --- */

void activity_init(struct activity *a, uint64_t limit)
{
	memset(a, 0, sizeof(*a));
	a->budget.limit = limit;
	a->key = nbds_hash_key_new();
	nbds_list_init(&a->conns);
}

static void free_level(void *arg, struct nbds_table_node *n)
{
	struct activity *a = arg;

	nbds_budget_free(&a->budget, nbds_owner(n, struct level, node), sizeof(struct level));
}

static void free_conn(struct activity *a, struct activity_conn *k)
{
	nbds_list_remove(&k->node);
	nbds_budget_free(&a->budget, k, sizeof(*k));
}

#define CELLS ((size_t)ACTIVITY_COLUMNS * ACTIVITY_RANGES * 2)

void activity_free(struct activity *a)
{
	for (unsigned i = 0; a->spans && i < ACTIVITY_SPANS; i++)
		for (int kind = 0; kind < ACTIVITY_KINDS; kind++)
			latency_free(&a->budget, a->spans[i].latency[kind]);
	nbds_budget_free(&a->budget, a->spans, ACTIVITY_SPANS * sizeof(*a->spans));
	for (unsigned i = 0; i < a->map_count; i++)
		nbds_budget_free(&a->budget, a->maps[i].cells, CELLS * sizeof(uint32_t));
	nbds_budget_free(&a->budget, a->ops, (size_t)a->room * sizeof(*a->ops));
	for (size_t i = 0; i < a->stories.count; i++)
		nbds_budget_free(&a->budget, a->stories.at[i].ops,
				 a->stories.at[i].count * sizeof(struct activity_op));
	nbds_vector_free(&a->stories, &a->budget);
	nbds_budget_free(&a->budget, a->story_counts,
			 nbds_rules_count * 4 * sizeof(*a->story_counts));
	nbds_table_each(&a->levels, free_level, a);
	nbds_table_free(&a->levels, &a->budget);
	while (!nbds_list_empty(&a->conns))
		free_conn(a, nbds_owner(a->conns.next, struct activity_conn, node));
	NBDS_ASSERT(a->budget.used == 0);
	activity_init(a, a->budget.limit);
}

void activity_begin(struct activity *a)
{
	activity_free(a);
	a->spans = take(a, ACTIVITY_SPANS * sizeof(*a->spans));
	a->story_counts = take(a, nbds_rules_count * 4 * sizeof(*a->story_counts));
}

/* --- spans of time --- */

static uint64_t sum(uint64_t x, uint64_t y)
{
	return x > UINT64_MAX - y ? UINT64_MAX : x + y;
}

static void merge_latency(struct activity *a, struct nbds_latency **to, struct nbds_latency *from)
{
	if (!from)
		return;
	if (!*to) {
		*to = from;
		return;
	}
	if (latency_span(&a->budget, *to, from->first, from->first + from->bucket_count)) {
		(*to)->count += from->count;
		(*to)->sum = sum((*to)->sum, from->sum);
		if (from->max > (*to)->max)
			(*to)->max = from->max;
		for (unsigned i = 0; i < from->bucket_count; i++) {
			uint32_t *bucket = &(*to)->buckets[from->first + i - (*to)->first];

			*bucket = (uint32_t)(*bucket > UINT32_MAX - from->buckets[i]
						     ? UINT32_MAX
						     : *bucket + from->buckets[i]);
		}
	} else {
		a->short_of = true;
	}
	latency_free(&a->budget, from);
}

static void merge_span(struct activity *a, struct activity_span *to,
		       const struct activity_span *from)
{
	for (int i = 0; i < 2; i++)
		to->bytes[i] = sum(to->bytes[i], from->bytes[i]);
	to->answered += from->answered;
	to->failed += from->failed;
	for (int kind = 0; kind < ACTIVITY_KINDS; kind++)
		merge_latency(a, &to->latency[kind], from->latency[kind]);
	if (from->unflushed_seen && (!to->unflushed_seen || from->unflushed > to->unflushed))
		to->unflushed = from->unflushed;
	if (from->unflushed_seen)
		to->unflushed_last = from->unflushed_last;
	to->unflushed_seen |= from->unflushed_seen;
	for (int s = 0; s < 4; s++)
		to->findings[s] += from->findings[s];
}

static uint32_t sum32(uint32_t x, uint32_t y)
{
	return x > UINT32_MAX - y ? UINT32_MAX : x + y;
}

static uint32_t *cell(const struct activity_map *m, unsigned column, unsigned row)
{
	return &m->cells[((size_t)column * ACTIVITY_RANGES + row) * 2];
}

/* Cell (column, row) goes to (c, r), which was emptied or is to be added to. */
static void move_cell(const struct activity_map *m, unsigned column, unsigned row, unsigned c,
		      unsigned r)
{
	uint32_t *from = cell(m, column, row), *to = cell(m, c, r);

	for (int i = 0; from != to && i < 2; i++) {
		to[i] = sum32(to[i], from[i]);
		from[i] = 0;
	}
}

/* All spans are twice as wide. */
static void widen(struct activity *a)
{
	for (unsigned i = 0; i < ACTIVITY_SPANS; i += 2) {
		merge_span(a, &a->spans[i], &a->spans[i + 1]);
		if (i)
			a->spans[i / 2] = a->spans[i];
	}
	memset(a->spans + ACTIVITY_SPANS / 2, 0, ACTIVITY_SPANS / 2 * sizeof(*a->spans));
	a->used = (a->used + 1) / 2;
	a->width *= 2;
	for (unsigned i = 0; i < a->map_count; i++)
		for (unsigned column = 1; column < ACTIVITY_COLUMNS; column++)
			for (unsigned row = 0; row < ACTIVITY_RANGES; row++)
				move_cell(&a->maps[i], column, row, column / 2, row);
}

/* The span of a time; what is before the first belongs to it. */
static unsigned span_at(struct activity *a, int64_t time)
{
	int64_t since;
	unsigned at;

	if (!a->started) {
		a->started = true;
		a->start = time;
		a->width = FIRST_WIDTH;
	}
	since = nbds_elapsed(a->start, time);
	if (since < 0)
		since = 0;
	while (since / a->width >= ACTIVITY_SPANS)
		widen(a);
	at = (unsigned)(since / a->width);
	if (at >= a->used)
		a->used = at + 1;
	return at;
}

/* --- offsets --- */

static struct activity_map *map_of(struct activity *a, uint32_t export)
{
	struct activity_map *m;

	for (unsigned i = 0; i < a->map_count; i++)
		if (a->maps[i].export == export)
			return &a->maps[i];
	if (a->map_count == ACTIVITY_MAPS) {
		a->more_maps = true;
		return NULL;
	}
	m = &a->maps[a->map_count];
	*m = (struct activity_map){.export = export, .range = FIRST_RANGE};
	m->cells = take(a, CELLS * sizeof(uint32_t));
	if (!m->cells)
		return NULL;
	a->map_count++;
	return m;
}

static void touch(struct activity *a, const struct activity_op *op, unsigned column)
{
	bool writes = nbds_command_writes(op->type);
	struct activity_map *m;
	uint64_t last;

	if (!op->export || !op->length || (op->type != NBD_CMD_READ && !writes) ||
	    op->length - 1 > UINT64_MAX - op->offset)
		return;
	m = map_of(a, op->export);
	if (!m)
		return;
	last = op->offset + op->length - 1;
	if (last > m->most)
		m->most = last;
	while (last / m->range >= ACTIVITY_RANGES) {
		m->range *= 2;
		for (unsigned c = 0; c < ACTIVITY_COLUMNS; c++)
			for (unsigned row = 1; row < ACTIVITY_RANGES; row++)
				move_cell(m, c, row, c, row / 2);
	}
	for (uint64_t row = op->offset / m->range; row <= last / m->range; row++) {
		uint32_t *n = cell(m, column, (unsigned)row) + writes;

		*n = sum32(*n, 1);
	}
}

/* --- what is unflushed --- */

/* The one that this connection's writes count in; NULL: none. */
static struct level *level_of(struct activity *a, const struct nbds_connection *c,
			      struct activity_conn *k)
{
	struct nbds_table_node *n;
	struct level *level;
	uint64_t hash;

	if (!c->export || !(c->negotiated.transmission_flags & NBD_FLAG_CAN_MULTI_CONN))
		return k ? &k->own : NULL;
	hash = nbds_hash_u64(&a->key, c->export->number);
	for (n = nbds_table_find(&a->levels, hash); n; n = nbds_table_again(n)) {
		level = nbds_owner(n, struct level, node);
		if (level->export == c->export->number)
			return level;
	}
	level = take(a, sizeof(*level));
	if (!level)
		return NULL;
	level->export = c->export->number;
	if (nbds_table_add(&a->levels, &a->budget, &level->node, hash))
		return level;
	nbds_budget_free(&a->budget, level, sizeof(*level));
	return NULL;
}

static void flush_sent(struct activity *a, struct nbds_connection *c, uint64_t serial)
{
	struct activity_conn *k = c->user;
	const struct level *level = level_of(a, c, k);
	unsigned at;

	if (!k || !level)
		return;
	at = k->next_flush++ % FLUSHES_KEPT;
	k->flushes[at].serial = serial;
	k->flushes[at].written = level->written;
	k->flushes[at].level = level;
}

static void flush_done(struct activity *a, struct nbds_connection *c, uint64_t serial)
{
	struct activity_conn *k = c->user;
	struct level *level = level_of(a, c, k);

	for (unsigned i = 0; k && level && i < FLUSHES_KEPT; i++) {
		if (k->flushes[i].serial != serial)
			continue;
		k->flushes[i].serial = 0;
		if (k->flushes[i].level == level && k->flushes[i].written > level->flushed) {
			a->unflushed -= k->flushes[i].written - level->flushed;
			level->flushed = k->flushes[i].written;
		}
	}
}

static void written(struct activity *a, struct nbds_connection *c, uint64_t bytes)
{
	struct level *level = level_of(a, c, c->user);

	/* what no export can hold would only blur what can be */
	if (!level || bytes > UINT64_MAX - a->unflushed || bytes > UINT64_MAX - level->written)
		return;
	level->written += bytes;
	a->unflushed += bytes;
}

/* --- the latest commands --- */

static struct activity_op *op_number(const struct activity *a, uint64_t n)
{
	return &a->ops[n % a->room];
}

static void keep_op(struct activity *a, const struct activity_op *op)
{
	/* It grows once it is full, before anything in it has moved on. */
	if (a->op_count == a->room && !full(a)) {
		uint64_t room = a->room ? a->room * 2 : FIRST_ROOM;
		uint64_t bytes = room * sizeof(*op);
		struct activity_op *ops = NULL;

		if (!a->budget.limit || bytes <= a->budget.limit / 2)
			ops = nbds_budget_realloc(&a->budget, a->ops, (size_t)a->room * sizeof(*op),
						  (size_t)bytes);
		if (ops) {
			a->ops = ops;
			a->room = room;
		}
	}
	if (!a->room)
		return;
	*op_number(a, a->op_count) = *op;
	a->op_count++;
}

/* --- stories --- */

unsigned activity_stories_of(enum nbds_severity severity)
{
	static const unsigned most[] = {
		[NBDS_NOTE] = 3,
		[NBDS_HAZARD] = 10,
		[NBDS_SUSPECT] = 20,
		[NBDS_VIOLATION] = 20,
	};

	return most[severity];
}

/* The frames that a finding is about. */
static void frames_of(const struct nbds_finding *f, uint64_t *first, uint64_t *last)
{
	*first = UINT64_MAX;
	*last = 0;
	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		if (!f->frames[role])
			continue;
		if (f->frames[role] < *first)
			*first = f->frames[role];
		if (f->frames[role] > *last)
			*last = f->frames[role];
	}
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		const struct nbds_witness *w = &f->witnesses[i];

		if (w->request_frame && w->request_frame < *first)
			*first = w->request_frame;
		if (w->request_frame > *last)
			*last = w->request_frame;
		if (w->reply_frame > *last)
			*last = w->reply_frame;
	}
}

static bool is_witness(const struct nbds_finding *f, const struct activity_op *op)
{
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		const struct nbds_witness *w = &f->witnesses[i];

		if (w->connection == op->connection && w->request_frame == op->request_frame &&
		    w->type == op->type && w->offset == op->offset && w->length == op->length)
			return true;
	}
	return false;
}

static bool on_its_connections(const struct nbds_finding *f, uint32_t connection)
{
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++)
		if (f->witnesses[i].connection == connection)
			return true;
	return f->connection == connection;
}

static bool shares_bytes(const struct nbds_finding *f, const struct activity_op *op)
{
	if (!f->has_range || !f->length || !op->length)
		return false;
	return op->offset < f->offset ? op->length > f->offset - op->offset
				      : f->length > op->offset - f->offset;
}

enum relation { ITSELF, WRITES_THERE, FLUSHES, READS_THERE, OTHER, NOTHING };

/* What it has to do with the finding. */
static enum relation relation_of(const struct nbds_finding *f, const struct activity_op *op,
				 uint32_t export)
{
	bool here = on_its_connections(f, op->connection);

	if (is_witness(f, op))
		return NOTHING;
	if (op->connection == f->connection && !f->witness_count &&
	    (op->request_frame == f->frames[NBDS_ROLE_REQUEST] ||
	     op->request_frame == f->frames[NBDS_ROLE_MESSAGE] ||
	     op->reply_frame == f->frames[NBDS_ROLE_MESSAGE]))
		return ITSELF;
	if (!here && (!export || op->export != export))
		return NOTHING;
	if (op->type == NBD_CMD_FLUSH)
		return FLUSHES;
	if (shares_bytes(f, op))
		return nbds_command_writes(op->type) ? WRITES_THERE : READS_THERE;
	return here ? OTHER : NOTHING;
}

struct story_candidate {
	const struct activity_op *op;
	enum relation relation;
	uint64_t far; /* frames from the finding's own */
};

static uint64_t distance(uint64_t x, uint64_t y)
{
	return x < y ? y - x : x - y;
}

/* Frames to the nearest of the finding's. */
static uint64_t far_from(const struct nbds_finding *f, const struct activity_op *op)
{
	uint64_t far = UINT64_MAX;

	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		if (!f->frames[role])
			continue;
		if (distance(f->frames[role], op->request_frame) < far)
			far = distance(f->frames[role], op->request_frame);
		if (distance(f->frames[role], op->reply_frame) < far)
			far = distance(f->frames[role], op->reply_frame);
	}
	return far;
}

struct story_candidates {
	struct story_candidate best[ACTIVITY_AROUND];
	unsigned count, others;
};

static bool better(const struct story_candidate *x, const struct story_candidate *y)
{
	return x->relation != y->relation ? x->relation < y->relation : x->far < y->far;
}

/* The best are kept, in order. */
static void consider(struct story_candidates *list, const struct story_candidate *c)
{
	unsigned at = list->count;

	if (at == ACTIVITY_AROUND) {
		if (!better(c, &list->best[at - 1]))
			return;
		at = --list->count;
	}
	for (; at && better(c, &list->best[at - 1]); at--)
		list->best[at] = list->best[at - 1];
	list->best[at] = *c;
	list->count++;
}

static int by_request(const void *x, const void *y)
{
	const struct activity_op *p = x, *q = y;

	if (p->request_frame != q->request_frame)
		return p->request_frame < q->request_frame ? -1 : 1;
	return p->reply_frame < q->reply_frame ? -1 : p->reply_frame > q->reply_frame;
}

/* The number of the first op answered in `frame` or later. They are nearly in order. */
static uint64_t first_answered(const struct activity *a, uint64_t frame)
{
	uint64_t low = a->op_count > a->room ? a->op_count - a->room : 0, high = a->op_count;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (op_number(a, middle)->reply_frame < frame)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void look_at(const struct activity *a, const struct nbds_finding *f, uint64_t from,
		    uint64_t to, uint32_t export, struct story_candidates *list)
{
	for (uint64_t n = from; n < to; n++) {
		struct story_candidate c = {.op = op_number(a, n)};

		c.relation = relation_of(f, c.op, export);
		if (c.relation == NOTHING)
			continue;
		c.far = far_from(f, c.op);
		consider(list, &c);
	}
}

static void look_around(struct activity *a, struct activity_story *story)
{
	const struct nbds_finding *f = &story->finding;
	uint64_t oldest = a->op_count > a->room ? a->op_count - a->room : 0;
	uint32_t export = 0;
	struct story_candidates list = {.count = 0};
	uint64_t first, last, from, to;
	unsigned others = 0, n = 0;

	frames_of(f, &first, &last);
	if (!a->room || !last)
		return;
	from = first_answered(a, first);
	to = first_answered(a, last + 1);
	from -= from - oldest < STORY_AFTER ? from - oldest : STORY_AFTER;
	to += a->op_count - to < STORY_AFTER ? a->op_count - to : STORY_AFTER;
	for (uint64_t i = to; i > from && to - i < STORY_SCAN && !export; i--)
		if (op_number(a, i - 1)->connection == f->connection)
			export = op_number(a, i - 1)->export;
	if (to - from <= STORY_SCAN) {
		look_at(a, f, from, to, export, &list);
	} else {
		look_at(a, f, from, from + STORY_SCAN / 2, export, &list);
		look_at(a, f, to - STORY_SCAN / 2, to, export, &list);
	}
	/* Too much that has nothing to do with it hides what has. */
	for (unsigned i = 0; i < list.count; i++)
		if (list.best[i].relation != OTHER || others++ < STORY_OTHERS)
			list.best[n++] = list.best[i];
	story->ops = n ? take(a, n * sizeof(*story->ops)) : NULL;
	if (!story->ops)
		return;
	for (unsigned i = 0; i < n; i++)
		story->ops[i] = *list.best[i].op;
	story->count = n;
	qsort(story->ops, n, sizeof(*story->ops), by_request);
}

static void look_around_due(struct activity *a, uint64_t due)
{
	while (a->next_story < a->stories.count && a->stories.at[a->next_story].due <= due)
		look_around(a, &a->stories.at[a->next_story++]);
}

/* --- what is told --- */

void activity_connection(struct activity *a, struct nbds_connection *c, int64_t start)
{
	struct activity_conn *k = take(a, sizeof(*k));

	if (a->spans && !a->started)
		span_at(a, start);
	c->user = k;
	if (k)
		nbds_list_append(&a->conns, &k->node);
}

void activity_closed(struct activity *a, struct nbds_connection *c)
{
	if (c->user)
		free_conn(a, c->user);
	c->user = NULL;
}

void activity_request(struct activity *a, struct nbds_connection *c, const struct nbds_message *m)
{
	if (m->request && m->request->type == NBD_CMD_FLUSH)
		flush_sent(a, c, m->request->serial);
}

static bool failed(const struct nbds_message *m)
{
	return m->request->error || (m->type == NBDS_MSG_SIMPLE_REPLY && m->u.simple.error) ||
	       (m->type == NBDS_MSG_CHUNK && (m->u.chunk.type & NBD_REPLY_TYPE_FLAG_ERROR));
}

static void count(struct activity *a, const struct activity_op *op, uint64_t data)
{
	enum activity_kind kind = op->type == NBD_CMD_READ        ? ACTIVITY_READ
				  : nbds_command_writes(op->type) ? ACTIVITY_WRITE
				  : op->type == NBD_CMD_FLUSH     ? ACTIVITY_FLUSH
								  : ACTIVITY_KINDS;
	int64_t took = nbds_elapsed(op->request_time, op->reply_time);
	unsigned at = span_at(a, op->reply_time);
	struct activity_span *s = &a->spans[at];

	s->answered++;
	s->failed += op->failed;
	if (kind < 2 && !op->failed)
		s->bytes[kind] = sum(s->bytes[kind], data);
	if (kind < ACTIVITY_KINDS && !full(a))
		latency_add(&a->budget, &s->latency[kind], took > 0 ? (uint64_t)took : 0);
	if (!s->unflushed_seen || a->unflushed > s->unflushed)
		s->unflushed = a->unflushed;
	s->unflushed_last = a->unflushed;
	s->unflushed_seen = true;
	touch(a, op, at / 2);
}

/* What was never offered promises nothing, even where it succeeds. */
static bool offered(const struct nbds_connection *c, uint16_t flag)
{
	return !c->negotiated.export_seen || (c->negotiated.transmission_flags & flag);
}

void activity_reply(struct activity *a, struct nbds_connection *c, const struct nbds_message *m)
{
	const struct nbds_request *r = m->request;
	struct nbds_mark first;
	struct activity_op op;

	if (!a->spans || !r || !nbds_request_seen(r, &first))
		return;
	op = (struct activity_op){
		.request_frame = first.frame,
		.reply_frame = m->last.frame,
		.request_time = first.time,
		.reply_time = m->last.time,
		.offset = r->offset,
		.length = r->length,
		.export = c->export ? c->export->number : 0,
		.connection = c->id,
		.type = r->type,
		.flags = r->flags,
		.failed = failed(m),
	};
	if (!op.failed && nbds_command_writes(op.type) &&
	    !(op.flags & NBD_CMD_FLAG_FUA && offered(c, NBD_FLAG_SEND_FUA)))
		written(a, c, op.length);
	if (op.type == NBD_CMD_FLUSH && !op.failed && offered(c, NBD_FLAG_SEND_FLUSH))
		flush_done(a, c, r->serial);
	count(a, &op,
	      op.type == NBD_CMD_READ    ? r->data_bytes
	      : op.type == NBD_CMD_WRITE ? r->length
					 : 0);
	keep_op(a, &op);
	look_around_due(a, a->op_count);
}

int64_t activity_moment(const struct nbds_finding *f)
{
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++)
		if (f->witnesses[i].role == NBDS_ROLE_READ && f->witnesses[i].reply_frame)
			return f->witnesses[i].reply_time;
	return f->time;
}

void activity_finding(struct activity *a, const struct nbds_finding *f, size_t place)
{
	struct activity_story story = {.finding = *f, .due = a->op_count + STORY_AFTER};
	uint32_t *n;

	if (!a->spans || !a->story_counts)
		return;
	a->spans[span_at(a, activity_moment(f))].findings[f->severity] += f->count;
	n = &a->story_counts[place * 4 + f->severity];
	if (*n >= activity_stories_of(f->severity) || full(a) ||
	    a->stories.count >= (f->severity == NBDS_NOTE ? STORIES_NOTES : STORIES_MAX))
		return;
	if (nbds_vector_push(&a->stories, &a->budget, story))
		++*n;
}

void activity_end(struct activity *a)
{
	look_around_due(a, UINT64_MAX);
}

const struct activity_story *activity_around(const struct activity *a, const struct nbds_finding *f)
{
	for (size_t i = 0; i < a->stories.count; i++) {
		const struct nbds_finding *g = &a->stories.at[i].finding;

		if (g->rule == f->rule && g->connection == f->connection && g->time == f->time &&
		    g->offset == f->offset && g->length == f->length &&
		    !memcmp(g->frames, f->frames, sizeof(f->frames)))
			return &a->stories.at[i];
	}
	return NULL;
}
