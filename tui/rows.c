/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rows.c - the rows of the lists, and the sums in them. See rows.h.
 */
#include "rows.h"

#include <stdio.h>
#include <string.h>

#include "../analyzer/latency/latency.h"
#include "histogram.h"

/* How far apart frames of two connections have to be for their order to be known, but on
 * the loopback, where the engine has none either. */
#define ORDER_MARGIN INT64_C(50000)

/* A range of bytes that are not flushed takes about so much. */
#define DIRTY_BYTES 144

/* Requests that a loss may have left unanswered: of no more is the oldest of the others
 * looked for. */
#define LOST_FEW 64

/* Finished connections are forgotten after a while. */
#define FINISHED_NS INT64_C(600000000000)

/* Exports whose sums stay when all their connections are forgotten. */
#define GONE_MAX 256

/* Connections of an export that wait, or have not flushed: so many are looked at each
 * time. */
#define OPEN_ENDS_FEW 64

/* What the engine keeps of a finished connection, about, besides what is here. */
#define FINISHED_BYTES (sizeof(struct track) + 6144)

static size_t within(uint64_t value, size_t least, size_t most)
{
	return value < least ? least : value > most ? most : (size_t)value;
}

void rows_init(struct rows *rows, uint64_t memory, size_t finished)
{
	rows->key = nbds_hash_key_new();
	nbds_list_init(&rows->all);
	nbds_list_init(&rows->marked);
	nbds_list_init(&rows->busy);
	nbds_list_init(&rows->finished);
	nbds_list_init(&rows->exports_marked);
	nbds_list_init(&rows->gone);
	nbds_list_init(&rows->ordered);
	rows->finished_max = within(memory / 2 / FINISHED_BYTES, 64, finished < 64 ? 64 : finished);
	/* The screen has a snapshot, another is ready, and a third is made. */
	rows->listed_max = within(memory / 4 / 3 / sizeof(struct connection_row), 2000, SIZE_MAX);
	rows->dirty = (struct dirty_store){.budget = &rows->budget,
					   .max = within(memory / 4 / DIRTY_BYTES, 1024, SIZE_MAX),
					   .random = rows->key.a};
	rows->ordered_max =
		within(memory / 2 / (sizeof(struct flush_order) + sizeof(struct history)), 4, 256);
}

/* --- exports --- */

static void mark_export(struct rows *rows, struct export_track *x)
{
	if (!nbds_list_has(&x->marked))
		nbds_list_append(&rows->exports_marked, &x->marked);
}

static uint64_t name_hash(const struct rows *rows, const struct nbds_addr *server, const char *name,
			  size_t len)
{
	uint64_t hash = nbds_hash_bytes(&rows->key, server->port, server->ip, sizeof(server->ip));

	return nbds_hash_bytes(&rows->key, hash, name, len);
}

static struct export_track *export_find(const struct rows *rows, const struct nbds_export *e,
					uint64_t hash)
{
	struct nbds_table_node *n = nbds_table_find(&rows->by_name, hash);

	for (; n; n = nbds_table_again(n)) {
		struct export_track *x = nbds_owner(n, struct export_track, by_name);

		if (x->name_len == e->name_len && !memcmp(x->name, e->name, e->name_len) &&
		    nbds_addr_equal(&x->row.server, &e->server))
			return x;
	}
	return NULL;
}

static struct export_track *export_new(struct rows *rows, const struct nbds_export *e,
				       uint64_t hash)
{
	struct export_track *x;

	if (!nbds_vector_reserve(&rows->exports, &rows->budget, 1))
		return NULL;
	x = nbds_budget_alloc(&rows->budget, sizeof(*x));
	if (x)
		x->name = nbds_budget_alloc(&rows->budget, e->name_len + 1);
	if (!x || !x->name || !nbds_table_add(&rows->by_name, &rows->budget, &x->by_name, hash)) {
		if (x)
			nbds_budget_free(&rows->budget, x->name, e->name_len + 1);
		nbds_budget_free(&rows->budget, x, sizeof(*x));
		return NULL;
	}
	memcpy(x->name, e->name, e->name_len);
	x->name_len = e->name_len;
	x->row.id = ++rows->export_ids;
	x->row.server = e->server;
	nbds_escape_text(e->name, e->name_len, x->row.name, sizeof(x->row.name));
	nbds_list_init(&x->members);
	nbds_list_init(&x->open_ends);
	nbds_list_init(&x->flushers);
	nbds_list_init(&x->doubtful);
	dirty_map_init(&x->dirty);
	rows->exports.at[rows->exports.count++] = x;
	return x;
}

struct export_track *track_export(struct rows *rows, struct track *t)
{
	const struct nbds_export *e = t->c->export;
	struct export_track *x;
	uint64_t hash;

	if (t->x || !e)
		return t->x;
	hash = name_hash(rows, &e->server, e->name, e->name_len);
	x = export_find(rows, e, hash);
	if (!x)
		x = export_new(rows, e, hash);
	if (!x)
		return NULL;
	/* It may have been seen before, and all its connections be forgotten. */
	x->e = e;
	if (nbds_list_has(&x->gone)) {
		nbds_list_remove(&x->gone);
		rows->gone_count--;
	}
	t->x = x;
	nbds_list_append(&x->members, &t->member);
	x->row.connections++;
	mark_export(rows, x);
	t->row.export = x->row.id;
	snprintf(t->row.export_name, sizeof(t->row.export_name), "%.*s",
		 (int)sizeof(t->row.export_name) - 1, x->row.name);
	return x;
}

/* Where the export with this id is, or would be. */
static size_t export_at(const struct rows *rows, uint32_t id)
{
	size_t low = 0, high = rows->exports.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (rows->exports.at[middle]->row.id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct export_track *rows_export(const struct rows *rows, uint32_t id)
{
	size_t at = export_at(rows, id);

	return at < rows->exports.count && rows->exports.at[at]->row.id == id ? rows->exports.at[at]
									      : NULL;
}

static void order_free(struct rows *rows, struct export_track *x)
{
	if (!x->order)
		return;
	nbds_list_remove(&x->ordered);
	rows->ordered_count--;
	nbds_budget_free(&rows->budget, x->order, sizeof(*x->order));
	nbds_budget_free(&rows->budget, x->history, sizeof(*x->history));
	x->order = NULL;
	x->history = NULL;
}

struct flush_order *export_order(struct rows *rows, struct export_track *x)
{
	if (!x->order && rows->ordered_count == rows->ordered_max)
		order_free(rows, nbds_owner(rows->ordered.next, struct export_track, ordered));
	if (!x->order) {
		x->order = nbds_budget_alloc(&rows->budget, sizeof(*x->order));
		if (!x->order)
			return NULL;
		order_init(x->order);
		x->history = nbds_budget_alloc(&rows->budget, sizeof(*x->history));
		if (x->history)
			history_init(x->history, rows->moves);
		rows->ordered_count++;
	}
	nbds_list_remove(&x->ordered);
	nbds_list_append(&rows->ordered, &x->ordered);
	return x->order;
}

static bool multi_conn(const struct track *t)
{
	return t->c->negotiated.transmission_flags & NBD_FLAG_CAN_MULTI_CONN;
}

static bool is_loopback(const struct nbds_addr *a)
{
	static const uint8_t six[16] = {[15] = 1};

	return a->family == 4 ? a->ip[0] == 127 : !memcmp(a->ip, six, sizeof(six));
}

void track_flush_sent(struct track *t, uint64_t frame)
{
	if (t->x)
		dirty_flush_sent(&t->x->dirty, frame);
}

void track_written(struct rows *rows, struct track *t, const struct nbds_request *r,
		   const struct nbds_mark *when)
{
	const struct dirty_when at = {.frame = when->frame, .time = when->time};

	/* What is trimmed need not be kept by anybody. */
	if (!t->x || r->type == NBD_CMD_TRIM)
		return;
	if (r->flags & NBD_CMD_FLAG_FUA)
		dirty_clean(&rows->dirty, &t->x->dirty, r->offset, r->length);
	else
		dirty_write(&rows->dirty, &t->x->dirty, &t->dirty, r->offset, r->length, &at,
			    multi_conn(t));
}

void track_lost(struct rows *rows, struct track *t, uint64_t frame)
{
	/* What was lost may be told late. */
	if (frame > t->lost_frame)
		t->lost_frame = frame;
	t->lost_flight = t->c->in_flight;
	t->whole = false;
	if (!track_export(rows, t))
		return;
	t->x->flying -= t->flying;
	t->flying = 0;
	if (frame > t->x->lost_frame)
		t->x->lost_frame = frame;
	nbds_list_remove(&t->doubtful);
	nbds_list_append(&t->x->doubtful, &t->doubtful);
}

void track_answered(struct track *t, uint64_t frame, bool reply)
{
	if (!t->lost_frame)
		return;
	if (frame > t->lost_frame)
		t->whole |= reply;
	else if (t->lost_flight)
		t->lost_flight--;
}

void track_flushed(struct rows *rows, struct track *t, int64_t time, bool ok,
		   const struct nbds_mark *sent)
{
	struct export_track *x = t->x;

	if (!x)
		return;
	if (ok && sent) {
		const struct dirty_when when = {sent->frame, sent->time,
						is_loopback(&x->row.server) ? 0 : ORDER_MARGIN};

		dirty_flush(&rows->dirty, &x->dirty, &t->dirty, &when, multi_conn(t));
		t->flushed_from = sent->frame;
		if (multi_conn(t))
			x->flushed_from = sent->frame;
		/* Of those that it covers, each has lost bytes since it was here last. */
		while (multi_conn(t) && !nbds_list_empty(&x->doubtful)) {
			struct track *d = nbds_owner(x->doubtful.next, struct track, doubtful);

			if (d->lost_frame >= sent->frame)
				break;
			nbds_list_remove(&d->doubtful);
			rows_mark(rows, d);
		}
	}
	nbds_list_remove(&t->flusher);
	nbds_list_append(&x->flushers, &t->flusher);
	if (ok) {
		x->row.flushed = true;
		x->row.last_flush = time;
		x->flushed = true;
	}
	mark_export(rows, x);
}

void track_history(struct rows *rows, struct track *t, const struct nbds_message *m, uint64_t sent,
		   uint64_t took, bool ok)
{
	struct export_track *x = track_export(rows, t);
	const struct nbds_request *r = m->request;
	bool writes = nbds_command_writes(r->type), reads = r->type == NBD_CMD_READ;
	struct history *h;

	if (!x || r->type == NBD_CMD_DISC)
		return;
	if (m->from == NBDS_CLIENT) {
		t->flying++;
		x->flying++;
	} else if (t->flying && sent > t->lost_frame) {
		t->flying--;
		x->flying--;
	}
	export_order(rows, x);
	h = x->history;
	if (!h)
		return;
	history_tick(h, m->last.time, x->flying, x->dirty.bytes);
	if (m->from == NBDS_CLIENT || !ok)
		return;
	history_reply(h, reads ? r->length : 0, r->type == NBD_CMD_WRITE ? r->length : 0, took);
	if ((reads || writes) && x->e && x->e->size_seen)
		history_touch(h, x->e->size, r->offset, r->length, writes);
}

void rows_tick(struct rows *rows, int64_t now)
{
	for (struct nbds_list *n = rows->ordered.next; n != &rows->ordered; n = n->next) {
		struct export_track *x = nbds_owner(n, struct export_track, ordered);

		if (x->history && x->history->begun)
			history_tick(x->history, now, x->flying, x->dirty.bytes);
	}
}

void track_took(struct rows *rows, struct track *t, uint16_t type, uint64_t ns)
{
	unsigned kind = type < NBDS_COMMAND_KINDS - 1 ? type : NBDS_COMMAND_KINDS - 1;

	latency_add(&rows->budget, &rows->took[kind], ns);
	if (!t->x)
		return;
	latency_add(&rows->budget, &t->x->latency, ns);
	latency_add(&rows->budget, &t->x->took[kind], ns);
}

static void export_free(struct rows *rows, struct export_track *x)
{
	nbds_list_remove(&x->gone);
	nbds_list_remove(&x->marked);
	order_free(rows, x);
	latency_free(&rows->budget, x->latency);
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		latency_free(&rows->budget, x->took[k]);
	nbds_table_remove(&rows->by_name, &x->by_name);
	nbds_budget_free(&rows->budget, x->name, x->name_len + 1);
	nbds_budget_free(&rows->budget, x, sizeof(*x));
}

/* Of those that are gone, the ones that went first. */
static void thin(struct rows *rows, size_t most)
{
	while (rows->gone_count > most) {
		struct export_track *x = nbds_owner(rows->gone.next, struct export_track, gone);

		nbds_vector_remove(&rows->exports, export_at(rows, x->row.id));
		export_free(rows, x);
		rows->gone_count--;
	}
}

/* The engine lets it go with its last connection; its sums stay. */
static void export_gone(struct rows *rows, struct export_track *x)
{
	x->past.writes = x->row.writes;
	x->past.flushes = x->row.flushes;
	x->past.fua = x->row.fua;
	x->e = NULL;
	order_free(rows, x);
	nbds_list_append(&rows->gone, &x->gone);
	rows->gone_count++;
}

/* --- tracks --- */

struct track *rows_track(const struct rows *rows, uint32_t id)
{
	struct nbds_table_node *n = nbds_table_find(&rows->by_id, nbds_hash_u64(&rows->key, id));

	for (; n; n = nbds_table_again(n)) {
		struct track *t = nbds_owner(n, struct track, by_id);

		if (t->row.id == id)
			return t;
	}
	return NULL;
}

void rows_mark(struct rows *rows, struct track *t)
{
	if (!nbds_list_has(&t->marked))
		nbds_list_append(&rows->marked, &t->marked);
	if (!nbds_list_has(&t->busy))
		nbds_list_append(&rows->busy, &t->busy);
}

struct track *rows_add(struct rows *rows, struct nbds_connection *c)
{
	struct track *t = nbds_budget_alloc(&rows->budget, sizeof(*t));

	c->user = NULL;
	if (!t)
		return NULL;
	if (!nbds_table_add(&rows->by_id, &rows->budget, &t->by_id,
			    nbds_hash_u64(&rows->key, c->id))) {
		nbds_budget_free(&rows->budget, t, sizeof(*t));
		return NULL;
	}
	t->c = c;
	dirty_owner_init(&t->dirty);
	t->row.id = c->id;
	t->row.client = c->client;
	t->row.server = c->server;
	c->user = t;
	nbds_list_append(&rows->all, &t->all);
	rows->count++;
	rows_mark(rows, t);
	return t;
}

void rows_end(struct rows *rows, struct track *t)
{
	if (t->row.ended)
		return;
	t->row.ended = true;
	/* What waits for it waits no more. */
	if (t->x)
		t->x->flying -= t->flying;
	t->flying = 0;
	nbds_list_append(&rows->finished, &t->finished);
	rows->finished_count++;
	rows_mark(rows, t);
}

static void track_free(struct rows *rows, struct track *t)
{
	if (t->x)
		dirty_forget(&rows->dirty, &t->x->dirty, &t->dirty);
	nbds_table_remove(&rows->by_id, &t->by_id);
	nbds_list_remove(&t->all);
	nbds_list_remove(&t->marked);
	nbds_list_remove(&t->busy);
	nbds_list_remove(&t->finished);
	nbds_list_remove(&t->member);
	nbds_list_remove(&t->open_end);
	nbds_list_remove(&t->flusher);
	nbds_list_remove(&t->doubtful);
	rows->count--;
	nbds_budget_free(&rows->budget, t, sizeof(*t));
}

void rows_free(struct rows *rows)
{
	/* Not initialised yet, if there was no memory for the worker. */
	if (!rows->all.next)
		return;
	while (!nbds_list_empty(&rows->all))
		track_free(rows, nbds_owner(rows->all.next, struct track, all));
	for (size_t i = 0; i < rows->exports.count; i++)
		export_free(rows, rows->exports.at[i]);
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		latency_free(&rows->budget, rows->took[k]);
	nbds_vector_free(&rows->exports, &rows->budget);
	nbds_table_free(&rows->by_id, &rows->budget);
	nbds_table_free(&rows->by_name, &rows->budget);
	NBDS_ASSERT(!rows->budget.used);
}

/* --- rows --- */

static const struct nbds_command_stats *stats_of(const struct nbds_connection *c, enum kind kind)
{
	static const uint16_t types[] = {
		[KIND_READ] = NBD_CMD_READ,
		[KIND_WRITE] = NBD_CMD_WRITE,
		[KIND_FLUSH] = NBD_CMD_FLUSH,
	};

	return &c->commands[types[kind]];
}

static void took_set(struct took *took, const struct nbds_latency *l)
{
	took->count = l->count;
	took->p50 = nbds_latency_percentile(l, 50);
	took->p99 = nbds_latency_percentile(l, 99);
	took->max = l->max;
}

/* Of all commands of a connection. */
static void all_refresh(struct rows *rows, struct track *t)
{
	struct nbds_latency all = {.buckets = rows->merged.buckets,
				   .bucket_count = NBDS_LATENCY_BUCKETS};
	uint64_t count = 0;

	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		count += t->c->commands[k].latency ? t->c->commands[k].latency->count : 0;
	if (count == t->row.all.count)
		return;
	memset(&rows->merged, 0, sizeof(rows->merged));
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		if (t->c->commands[k].latency)
			latency_merge(&rows->merged, t->c->commands[k].latency);
	all.count = rows->merged.count;
	all.sum = rows->merged.sum;
	all.max = rows->merged.max;
	took_set(&t->row.all, &all);
}

static void took_refresh(struct rows *rows, struct track *t)
{
	all_refresh(rows, t);
	for (enum kind k = 0; k < KIND_COUNT; k++) {
		const struct nbds_latency *l = stats_of(t->c, k)->latency;
		struct took *row = &t->row.took[k];

		if (!l || l->count == row->count)
			continue;
		took_set(row, l);
	}
}

/* What the row adds to its export, in place of what it added before. */
static void share_refresh(struct rows *rows, struct track *t)
{
	const struct connection_row *r = &t->row;
	const struct row_share *was = &t->share;
	const struct row_share is = {
		.requests = r->requests,
		.errors = r->errors,
		.in_flight = r->in_flight,
		.read = r->read,
		.written = r->written,
		.unflushed_writes = r->unflushed_writes,
		.unflushed_bytes = r->unflushed_bytes,
		.speed = r->speed,
		.open = !r->ended,
		.rough = r->unflushed_rough,
		.flight_doubt = r->flight_doubt,
		.unflushed_doubt = r->unflushed_doubt,
	};
	struct export_row *x;
	bool speedy = is.speed.requests > 0 || is.speed.read > 0 || is.speed.written > 0;
	bool was_speedy = was->speed.requests > 0 || was->speed.read > 0 || was->speed.written > 0;

	if (!t->x)
		return;
	x = &t->x->row;
	x->requests += is.requests - was->requests;
	x->errors += is.errors - was->errors;
	x->in_flight += is.in_flight - was->in_flight;
	x->read += is.read - was->read;
	x->written += is.written - was->written;
	x->unflushed_writes += is.unflushed_writes - was->unflushed_writes;
	x->unflushed_bytes += is.unflushed_bytes - was->unflushed_bytes;
	x->open = x->open + is.open - was->open;
	t->x->rough = t->x->rough + is.rough - was->rough;
	t->x->flight_doubts = t->x->flight_doubts + is.flight_doubt - was->flight_doubt;
	t->x->unflushed_doubts = t->x->unflushed_doubts + is.unflushed_doubt - was->unflushed_doubt;
	t->x->speedy = t->x->speedy + speedy - was_speedy;
	x->speed.requests += is.speed.requests - was->speed.requests;
	x->speed.read += is.speed.read - was->speed.read;
	x->speed.written += is.speed.written - was->speed.written;
	/* What rounding has left of rates. */
	if (!t->x->speedy)
		x->speed = (struct speed){0};
	t->share = is;
	if (!nbds_list_has(&t->open_end) == (r->unflushed_writes || r->waiting)) {
		if (nbds_list_has(&t->open_end)) {
			nbds_list_remove(&t->open_end);
			t->x->open_end_count--;
		} else {
			nbds_list_append(&t->x->open_ends, &t->open_end);
			t->x->open_end_count++;
		}
	}
	t->x->stale = true;
	mark_export(rows, t->x);
}

/* Writes that wait for a flush are the engine's count; which bytes, is known here. */
static void unflushed_refresh(struct rows *rows, struct track *t)
{
	const struct nbds_connection *c = t->c;
	struct connection_row *r = &t->row;
	uint64_t covered = t->flushed_from;

	if (!c->unflushed_writes && t->x)
		dirty_forget(&rows->dirty, &t->x->dirty, &t->dirty);
	r->unflushed_writes = c->unflushed_writes;
	r->unflushed_bytes = t->dirty.bytes + t->dirty.over;
	r->unflushed_rough = t->dirty.rough;
	r->unflushed_since = c->unflushed_since;
	/* No more than there are bytes. */
	if (r->unflushed_rough && r->negotiated.export_seen &&
	    r->unflushed_bytes > r->negotiated.size)
		r->unflushed_bytes = r->negotiated.size;
	if (t->x && multi_conn(t) && t->x->flushed_from > covered)
		covered = t->x->flushed_from;
	r->unflushed_doubt = t->lost_frame > covered;
}

/* Of what waited when bytes were lost the replies may be among them: that is left out. */
static void flight_refresh(struct track *t)
{
	struct nbds_outstanding list[LOST_FEW + 1];
	const struct nbds_connection *c = t->c;
	struct connection_row *r = &t->row;
	unsigned n, lost;

	if (t->lost_flight > c->in_flight)
		t->lost_flight = c->in_flight;
	r->in_flight = c->in_flight - t->lost_flight;
	r->flight_doubt = t->lost_frame && !t->whole && !r->ended;
	lost = t->lost_flight < LOST_FEW ? (unsigned)t->lost_flight : LOST_FEW;
	n = nbds_connection_outstanding(c, list, lost + 1);
	r->waiting = n > lost && t->lost_flight <= LOST_FEW;
	if (r->waiting)
		r->oldest = list[lost];
}

static void row_refresh(struct rows *rows, struct track *t)
{
	struct nbds_connection *c = t->c;
	struct connection_row *r = &t->row;

	/* Also one that has ended: others flush what it wrote. */
	nbds_connection_refresh(c);
	track_export(rows, t);
	r->end = c->end;
	r->sure = c->sure;
	r->from_start = c->from_start;
	r->negotiated = c->negotiated;
	r->opaque = nbds_opaque(c);
	r->requests = c->requests;
	r->replies = c->replies;
	r->max_in_flight = c->max_in_flight;
	r->gaps = c->gaps;
	r->read = stats_of(c, KIND_READ)->data_bytes;
	r->written = stats_of(c, KIND_WRITE)->data_bytes;
	r->errors = 0;
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		for (unsigned i = 0; i < c->commands[k].error_kinds; i++)
			r->errors += c->commands[k].errors[i].count;
	unflushed_refresh(rows, t);
	r->first_time = c->first_time;
	r->last_time = c->last_time;
	r->first_frame = c->first_frame;
	r->last_frame = c->last_frame;
	flight_refresh(t);
	share_refresh(rows, t);
}

/* Rates over the last second, or over the whole life if nothing will come. */
static void speed_refresh(struct rows *rows, struct track *t, double seconds, bool whole)
{
	struct connection_row *r = &t->row;

	if (whole) {
		t->before = (struct counters){0};
		seconds = (double)(r->last_time - r->first_time) / 1e9;
	}
	if (seconds <= 0)
		r->speed = (struct speed){0};
	else
		r->speed = (struct speed){
			(double)(r->replies - t->before.replies) / seconds,
			(double)(r->read - t->before.read) / seconds,
			(double)(r->written - t->before.written) / seconds,
		};
	t->before = (struct counters){r->replies, r->read, r->written};
	share_refresh(rows, t);
}

static void earliest(bool *known, int64_t *since, int64_t time)
{
	if (!*known || time < *since)
		*since = time;
	*known = true;
}

static void open_ends_refresh(struct rows *rows, struct export_track *x)
{
	struct export_row *r = &x->row;
	bool unflushed = false;

	/* A flush of one connection covers what others wrote. */
	for (struct nbds_list *n = x->open_ends.next, *next; x->flushed && n != &x->open_ends;
	     n = next) {
		next = n->next;
		row_refresh(rows, nbds_owner(n, struct track, open_end));
	}
	r->waiting = false;
	for (struct nbds_list *n = x->open_ends.next; n != &x->open_ends; n = n->next) {
		const struct connection_row *c = &nbds_owner(n, struct track, open_end)->row;

		if (c->unflushed_writes)
			earliest(&unflushed, &r->unflushed_since, c->unflushed_since);
		if (c->waiting)
			earliest(&r->waiting, &r->oldest_since, c->oldest.since);
	}
	x->flushed = x->stale = false;
}

/* Many open ends are looked at once a second. True: all is done. */
static bool export_refresh(struct rows *rows, struct export_track *x, bool second)
{
	struct export_row *r = &x->row;

	if ((x->flushed || x->stale) && (second || x->open_end_count <= OPEN_ENDS_FEW))
		open_ends_refresh(rows, x);
	if (second && x->latency && x->latency->count != r->took.count)
		took_set(&r->took, x->latency);
	if (x->e) {
		r->size_seen = x->e->size_seen;
		r->size = x->e->size;
		r->multi_conn = (int)x->e->multi_conn;
		r->transmission_flags = x->e->transmission_flags;
		r->writes = x->past.writes + x->e->writes;
		r->flushes = x->past.flushes + x->e->flushes;
		r->fua = x->past.fua + x->e->fua_writes;
	}
	r->unflushed_rough = x->rough > 0;
	r->flight_doubt = x->flight_doubts > 0;
	r->unflushed_doubt = r->multi_conn == NBDS_MC_TRUE ? x->lost_frame > x->flushed_from
							   : x->unflushed_doubts > 0;
	return !x->flushed && !x->stale;
}

/* Those that had messages since the last second, and those that had rates then. */
static void second_refresh(struct rows *rows, double seconds, bool whole)
{
	for (struct nbds_list *n = rows->busy.next, *next; n != &rows->busy; n = next) {
		struct track *t = nbds_owner(n, struct track, busy);

		next = n->next;
		took_refresh(rows, t);
		speed_refresh(rows, t, seconds, whole);
		/* Rates of the last second become zero in the next. */
		if (whole || (t->row.speed.requests <= 0 && t->row.speed.read <= 0 &&
			      t->row.speed.written <= 0))
			nbds_list_remove(n);
	}
}

void rows_refresh(struct rows *rows, bool second, double seconds, bool whole)
{
	while (!nbds_list_empty(&rows->marked)) {
		struct track *t = nbds_owner(rows->marked.next, struct track, marked);

		nbds_list_remove(&t->marked);
		row_refresh(rows, t);
	}
	if (second)
		second_refresh(rows, seconds, whole);
	for (struct nbds_list *n = rows->exports_marked.next, *next; n != &rows->exports_marked;
	     n = next) {
		bool done =
			export_refresh(rows, nbds_owner(n, struct export_track, marked), second);

		next = n->next;
		if (done)
			nbds_list_remove(n);
	}
}

/* --- forgetting --- */

static bool is_forgotten(void *arg, const struct nbds_connection *c)
{
	const struct track *t = c->user;

	(void)arg;
	/* Without a track there was no memory for one. */
	return !t || t->forget;
}

/* The sums of a connection that goes stay with its export. */
static void remember(struct rows *rows, struct track *t)
{
	row_refresh(rows, t);
	if (!t->x)
		return;
	/* Before the engine's own sums go. */
	export_refresh(rows, t->x, false);
	/* They are in the row already; what it does not have any more leaves it. */
	t->row.in_flight = t->row.unflushed_writes = t->row.unflushed_bytes = 0;
	t->row.waiting = t->row.flight_doubt = t->row.unflushed_doubt = false;
	t->row.unflushed_rough = false;
	t->row.speed = (struct speed){0};
	share_refresh(rows, t);
}

bool rows_crowded(const struct rows *rows)
{
	return rows->finished_count > rows->finished_max + rows->finished_max / 4 + 16;
}

static bool goes(const struct rows *rows, const struct track *t, int64_t now)
{
	return rows->finished_count > rows->finished_max ||
	       (now != INT64_MIN && now - t->c->last_time > FINISHED_NS);
}

void rows_age(struct rows *rows, struct nbds_engine *engine, int64_t now)
{
	struct nbds_list going;

	nbds_list_init(&going);
	while (!nbds_list_empty(&rows->finished)) {
		struct track *t = nbds_owner(rows->finished.next, struct track, finished);

		if (!goes(rows, t, now))
			break;
		t->forget = true;
		remember(rows, t);
		nbds_list_remove(&t->finished);
		nbds_list_append(&going, &t->finished);
		rows->finished_count--;
	}
	if (nbds_list_empty(&going))
		return;
	nbds_engine_forget(engine, is_forgotten, NULL);
	while (!nbds_list_empty(&going)) {
		struct track *t = nbds_owner(going.next, struct track, finished);
		struct export_track *x = t->x;

		track_free(rows, t);
		rows->connections_forgotten++;
		if (x && nbds_list_empty(&x->members))
			export_gone(rows, x);
	}
	thin(rows, GONE_MAX);
}
