/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rows.c - the rows of the lists, and the sums in them. See rows.h.
 */
#include "rows.h"

#include <stdio.h>
#include <string.h>

#include "histogram.h"

/* Finished connections are forgotten after a while. */
#define FINISHED_NS INT64_C(600000000000)

/* Exports whose sums stay when all their connections are forgotten. */
#define GONE_MAX 256

/* --- tracks --- */

struct track *rows_track(const struct rows *rows, uint32_t id)
{
	size_t low = 0, high = rows->tracks.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (rows->tracks.at[middle]->c->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < rows->tracks.count && rows->tracks.at[low]->c->id == id ? rows->tracks.at[low]
									     : NULL;
}

static struct export_track *export_new(struct rows *rows, const struct nbds_export *e)
{
	struct export_track *x;

	if (!nbds_vector_reserve(&rows->exports, &rows->budget, 1))
		return NULL;
	x = nbds_budget_alloc(&rows->budget, sizeof(*x));
	if (x)
		x->name = nbds_budget_alloc(&rows->budget, e->name_len + 1);
	if (!x || !x->name) {
		nbds_budget_free(&rows->budget, x, sizeof(*x));
		return NULL;
	}
	memcpy(x->name, e->name, e->name_len);
	x->name_len = e->name_len;
	x->e = e;
	x->row.id = ++rows->export_ids;
	x->row.server = e->server;
	nbds_escape_text(e->name, e->name_len, x->row.name, sizeof(x->row.name));
	rows->exports.at[rows->exports.count++] = x;
	return x;
}

/* One that was seen before, and whose connections are all forgotten. */
static struct export_track *export_again(struct rows *rows, const struct nbds_export *e)
{
	for (size_t i = 0; i < rows->exports.count; i++) {
		struct export_track *x = rows->exports.at[i];

		if (x->e || x->name_len != e->name_len || memcmp(x->name, e->name, e->name_len) ||
		    !nbds_addr_equal(&x->row.server, &e->server))
			continue;
		x->e = e;
		rows->exports_gone--;
		return x;
	}
	return NULL;
}

struct export_track *track_export(struct rows *rows, struct track *t)
{
	if (t->x || !t->c->export)
		return t->x;
	for (size_t i = 0; i < rows->exports.count; i++)
		if (rows->exports.at[i]->e == t->c->export)
			t->x = rows->exports.at[i];
	if (!t->x)
		t->x = export_again(rows, t->c->export);
	if (!t->x)
		t->x = export_new(rows, t->c->export);
	if (t->x) {
		t->x->tracks++;
		t->row.export = t->x->row.id;
		snprintf(t->row.export_name, sizeof(t->row.export_name), "%.*s",
			 (int)sizeof(t->row.export_name) - 1, t->x->row.name);
	}
	return t->x;
}

struct order *export_order(struct rows *rows, struct export_track *x)
{
	if (!x->order) {
		x->order = nbds_budget_alloc(&rows->budget, sizeof(*x->order));
		if (x->order)
			order_init(x->order);
	}
	return x->order;
}

static void order_free(struct rows *rows, struct export_track *x)
{
	nbds_budget_free(&rows->budget, x->order, sizeof(*x->order));
	x->order = NULL;
}

static void export_free(struct rows *rows, struct export_track *x)
{
	order_free(rows, x);
	nbds_budget_free(&rows->budget, x->name, x->name_len + 1);
	nbds_budget_free(&rows->budget, x, sizeof(*x));
}

static void exports_remove(struct rows *rows, size_t at)
{
	rows->exports_gone -= !rows->exports.at[at]->e;
	export_free(rows, rows->exports.at[at]);
	nbds_vector_remove(&rows->exports, at);
}

/* Of those that are gone, the ones that were seen first go. */
void rows_thin(struct rows *rows, size_t most)
{
	for (size_t i = 0; i < rows->exports.count && rows->exports_gone > most;) {
		if (rows->exports.at[i]->e)
			i++;
		else
			exports_remove(rows, i);
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
	rows->exports_gone++;
}

struct track *rows_add(struct rows *rows, struct nbds_connection *c)
{
	struct track *t;

	if (!nbds_vector_reserve(&rows->tracks, &rows->budget, 1))
		return NULL;
	t = nbds_budget_alloc(&rows->budget, sizeof(*t));
	if (!t)
		return NULL;
	t->c = c;
	t->dirty = true;
	t->row.id = c->id;
	t->row.client = c->client;
	t->row.server = c->server;
	c->user = t;
	rows->tracks.at[rows->tracks.count++] = t;
	return t;
}

struct export_track *rows_export(const struct rows *rows, uint32_t export)
{
	for (size_t i = 0; export && i < rows->exports.count; i++)
		if (rows->exports.at[i]->row.id == export)
			return rows->exports.at[i];
	return NULL;
}

void rows_free(struct rows *rows)
{
	for (size_t i = 0; i < rows->tracks.count; i++)
		nbds_budget_free(&rows->budget, rows->tracks.at[i], sizeof(*rows->tracks.at[i]));
	for (size_t i = 0; i < rows->exports.count; i++)
		export_free(rows, rows->exports.at[i]);
	nbds_vector_free(&rows->tracks, &rows->budget);
	nbds_vector_free(&rows->exports, &rows->budget);
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

static void took_refresh(struct track *t)
{
	for (enum kind k = 0; k < KIND_COUNT; k++) {
		const struct nbds_latency *l = stats_of(t->c, k)->latency;
		struct took *row = &t->row.took[k];

		if (!l || l->count == row->count)
			continue;
		row->count = l->count;
		row->p50 = nbds_latency_percentile(l, 50);
		row->p99 = nbds_latency_percentile(l, 99);
		row->max = l->max;
	}
}

static void row_refresh(struct rows *rows, struct track *t)
{
	struct nbds_connection *c = t->c;
	struct connection_row *r = &t->row;

	if (!t->row.ended)
		nbds_connection_refresh(c);
	track_export(rows, t);
	r->end = c->end;
	r->sure = c->sure;
	r->from_start = c->from_start;
	r->negotiated = c->negotiated;
	r->requests = c->requests;
	r->replies = c->replies;
	r->in_flight = c->in_flight;
	r->max_in_flight = c->max_in_flight;
	r->gaps = c->gaps;
	r->read = stats_of(c, KIND_READ)->data_bytes;
	r->written = stats_of(c, KIND_WRITE)->data_bytes;
	r->errors = 0;
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		for (unsigned i = 0; i < c->commands[k].error_kinds; i++)
			r->errors += c->commands[k].errors[i].count;
	r->unflushed_writes = c->unflushed_writes;
	r->unflushed_bytes = c->unflushed_bytes;
	r->unflushed_since = c->unflushed_since;
	r->first_time = c->first_time;
	r->last_time = c->last_time;
	r->waiting = nbds_connection_outstanding(c, &r->oldest, 1) == 1;
}

/* Rates over the last second, or over the whole life if nothing will come. */
static void speed_refresh(struct track *t, double seconds, bool whole)
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
}

static void earliest(bool *known, int64_t *since, int64_t time)
{
	if (!*known || time < *since)
		*since = time;
	*known = true;
}

static void export_add(struct export_row *x, const struct connection_row *r)
{
	bool unflushed = x->unflushed_writes;

	x->connections++;
	x->open += !r->ended;
	x->requests += r->requests;
	x->errors += r->errors;
	x->in_flight += r->in_flight;
	x->read += r->read;
	x->written += r->written;
	x->speed.requests += r->speed.requests;
	x->speed.read += r->speed.read;
	x->speed.written += r->speed.written;
	if (r->unflushed_writes)
		earliest(&unflushed, &x->unflushed_since, r->unflushed_since);
	x->unflushed_writes += r->unflushed_writes;
	x->unflushed_bytes += r->unflushed_bytes;
	if (r->waiting)
		earliest(&x->waiting, &x->oldest_since, r->oldest.since);
}

static void export_count_commands(struct export_track *x)
{
	struct export_row *r = &x->row;

	if (!x->e)
		return;
	r->size_seen = x->e->size_seen;
	r->size = x->e->size;
	r->multi_conn = x->e->multi_conn;
	r->writes = x->past.writes + x->e->writes;
	r->flushes = x->past.flushes + x->e->flushes;
	r->fua = x->past.fua + x->e->fua_writes;
}

/* Sums are made anew, from what is forgotten and what there is. */
static void exports_refresh(struct rows *rows)
{
	for (size_t i = 0; i < rows->exports.count; i++) {
		struct export_track *x = rows->exports.at[i];
		struct export_row *r = &x->row;

		r->connections = x->past.connections;
		r->open = 0;
		r->requests = x->past.requests;
		r->errors = x->past.errors;
		r->read = x->past.read;
		r->written = x->past.written;
		r->in_flight = r->unflushed_writes = r->unflushed_bytes = 0;
		r->speed = (struct speed){0};
		r->waiting = false;
		export_count_commands(x);
	}
	for (size_t i = 0; i < rows->tracks.count; i++)
		if (rows->tracks.at[i]->x)
			export_add(&rows->tracks.at[i]->x->row, &rows->tracks.at[i]->row);
}

void rows_refresh(struct rows *rows, bool second, double seconds, bool whole)
{
	for (size_t i = 0; i < rows->tracks.count; i++) {
		struct track *t = rows->tracks.at[i];

		/* A flush of another connection changes what is unflushed. */
		if (t->dirty || t->row.in_flight || t->row.unflushed_writes)
			row_refresh(rows, t);
		t->dirty = false;
		if (second) {
			took_refresh(t);
			speed_refresh(t, seconds, whole);
		}
	}
	exports_refresh(rows);
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
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		if (t->c->commands[k].latency)
			latency_merge(&rows->past[k], t->c->commands[k].latency);
	if (!t->x)
		return;
	export_count_commands(t->x);
	t->x->past.connections++;
	t->x->past.requests += t->row.requests;
	t->x->past.errors += t->row.errors;
	t->x->past.read += t->row.read;
	t->x->past.written += t->row.written;
}

static void forget(struct rows *rows, struct nbds_engine *engine)
{
	bool any = false;
	size_t kept = 0;

	for (size_t i = 0; i < rows->tracks.count; i++)
		if (rows->tracks.at[i]->forget) {
			remember(rows, rows->tracks.at[i]);
			any = true;
		}
	if (!any)
		return;
	nbds_engine_forget(engine, is_forgotten, NULL);
	for (size_t i = 0; i < rows->tracks.count; i++) {
		struct track *t = rows->tracks.at[i];

		if (!t->forget) {
			rows->tracks.at[kept++] = t;
			continue;
		}
		if (t->x)
			t->x->tracks--;
		rows->connections_forgotten++;
		nbds_budget_free(&rows->budget, t, sizeof(*t));
	}
	rows->tracks.count = kept;
	for (size_t i = 0; i < rows->exports.count; i++)
		if (rows->exports.at[i]->e && !rows->exports.at[i]->tracks)
			export_gone(rows, rows->exports.at[i]);
	rows_thin(rows, GONE_MAX);
}

/* Finished connections go, the oldest first. */
void rows_age(struct rows *rows, struct nbds_engine *engine, int64_t now, bool all)
{
	size_t left;

	rows->finished = 0;
	for (size_t i = 0; i < rows->tracks.count; i++)
		rows->finished += rows->tracks.at[i]->row.ended;
	left = rows->finished;
	for (size_t i = 0; i < rows->tracks.count && left; i++) {
		struct track *t = rows->tracks.at[i];

		if (!t->row.ended)
			continue;
		left--;
		if (all || rows->finished > rows->finished_max ||
		    now - t->c->last_time > FINISHED_NS) {
			t->forget = true;
			rows->finished--;
		}
	}
	forget(rows, engine);
}
