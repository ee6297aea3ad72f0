/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker.c - the thread that captures. See model.h.
 *
 * What it keeps of its own beside the engine: a track for each connection and for
 * each export, with what snapshots need and the engine does not have, such as the
 * counters of a second ago.
 */
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../analyzer/capture/live.h"
#include "../analyzer/capture/privileges.h"

/* Packets between two looks at the clock. */
#define BATCH 256

#define PUBLISH_NS INT64_C(100000000)
#define SECOND_NS  INT64_C(1000000000)

/* While a file is read, or live, no more rows than so many are shown. */
#define ROWS_MAX 2000

/* Messages that are kept. */
#define HISTORY_LIVE 65536
#define HISTORY_FILE 1000000

/* And for so many messages one finding, and one finished connection if they are
 * forgotten at all, at the latest after a while. */
#define HISTORY_FINDING  16
#define HISTORY_FINISHED 128
#define FINISHED_NS      (600 * SECOND_NS)

/* Exports whose sums stay when all their connections are forgotten. */
#define GONE_MAX 256

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static bool forgets(const struct worker *w)
{
	return !w->config.file || w->config.replay > 0;
}

/* --- tracks --- */

static struct track *track_find(const struct worker *w, uint32_t id)
{
	size_t low = 0, high = w->track_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (w->tracks[middle]->c->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < w->track_count && w->tracks[low]->c->id == id ? w->tracks[low] : NULL;
}

static void printable(const char *bytes, size_t len, char *text, size_t size)
{
	nbds_escape_text(bytes, len, text, size);
}

static struct export_track *export_new(struct worker *w, const struct nbds_export *e)
{
	struct export_track *x;

	if (w->export_count == w->export_room) {
		size_t room = w->export_room ? w->export_room * 2 : 16;
		struct export_track **list = reallocarray(w->exports, room, sizeof(*list));

		if (!list)
			return NULL;
		w->exports = list;
		w->export_room = room;
	}
	x = calloc(1, sizeof(*x));
	if (x)
		x->name = malloc(e->name_len + 1);
	if (!x || !x->name) {
		free(x);
		return NULL;
	}
	memcpy(x->name, e->name, e->name_len);
	x->name_len = e->name_len;
	x->e = e;
	x->row.id = ++w->export_ids;
	x->row.server = e->server;
	printable(e->name, e->name_len, x->row.name, sizeof(x->row.name));
	w->exports[w->export_count++] = x;
	return x;
}

/* One that was seen before, and whose connections are all forgotten. */
static struct export_track *export_again(struct worker *w, const struct nbds_export *e)
{
	for (size_t i = 0; i < w->export_count; i++) {
		struct export_track *x = w->exports[i];

		if (x->e || x->name_len != e->name_len || memcmp(x->name, e->name, e->name_len) ||
		    !nbds_addr_equal(&x->row.server, &e->server))
			continue;
		x->e = e;
		w->exports_gone--;
		return x;
	}
	return NULL;
}

static struct export_track *export_of(struct worker *w, struct track *t)
{
	if (t->x || !t->c->export)
		return t->x;
	for (size_t i = 0; i < w->export_count; i++)
		if (w->exports[i]->e == t->c->export)
			t->x = w->exports[i];
	if (!t->x)
		t->x = export_again(w, t->c->export);
	if (!t->x)
		t->x = export_new(w, t->c->export);
	if (t->x) {
		t->x->tracks++;
		t->row.export = t->x->row.id;
		snprintf(t->row.export_name, sizeof(t->row.export_name), "%.*s",
			 (int)sizeof(t->row.export_name) - 1, t->x->row.name);
	}
	return t->x;
}

static struct order *order_of(struct export_track *x)
{
	if (!x->order) {
		x->order = malloc(sizeof(*x->order));
		if (x->order)
			order_init(x->order);
	}
	return x->order;
}

static void export_free(struct export_track *x)
{
	free(x->order);
	free(x->name);
	free(x);
}

static void exports_remove(struct worker *w, size_t at)
{
	w->exports_gone -= !w->exports[at]->e;
	export_free(w->exports[at]);
	memmove(&w->exports[at], &w->exports[at + 1],
		(w->export_count - at - 1) * sizeof(w->exports[0]));
	w->export_count--;
}

/* Of those that are gone, the ones that were seen first. */
static void exports_thin(struct worker *w, size_t most)
{
	for (size_t i = 0; i < w->export_count && w->exports_gone > most;) {
		if (w->exports[i]->e)
			i++;
		else
			exports_remove(w, i);
	}
}

/* The engine lets it go with its last connection; its sums stay. */
static void export_gone(struct worker *w, struct export_track *x)
{
	x->past.writes = x->row.writes;
	x->past.flushes = x->row.flushes;
	x->past.fua = x->row.fua;
	x->e = NULL;
	free(x->order);
	x->order = NULL;
	w->exports_gone++;
}

/* --- the engine's callbacks --- */

static void on_connection(void *ctx, struct nbds_connection *c)
{
	struct worker *w = ctx;
	struct track *t;

	if (w->track_count == w->track_room) {
		size_t room = w->track_room ? w->track_room * 2 : 64;
		struct track **list = reallocarray(w->tracks, room, sizeof(*list));

		if (!list)
			return;
		w->tracks = list;
		w->track_room = room;
	}
	t = calloc(1, sizeof(*t));
	if (!t)
		return;
	t->c = c;
	t->dirty = true;
	t->row.id = c->id;
	t->row.client = c->client;
	t->row.server = c->server;
	c->user = t;
	w->tracks[w->track_count++] = t;
	w->changes++;
}

static bool write_class(const struct nbds_request *r)
{
	return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES ||
	       r->type == NBD_CMD_TRIM;
}

static bool failed(const struct nbds_message *m)
{
	return m->request->error || (m->type == NBDS_MSG_SIMPLE_REPLY && m->u.simple.error) ||
	       (m->type == NBDS_MSG_CHUNK && (m->u.chunk.type & NBD_REPLY_TYPE_FLAG_ERROR));
}

static void follow_order(struct worker *w, struct track *t, const struct nbds_message *m)
{
	const struct nbds_request *r = m->request;
	struct export_track *x;
	struct order *o;

	if (!r || (!write_class(r) && r->type != NBD_CMD_FLUSH))
		return;
	if (m->from == NBDS_SERVER && !(m->flags & NBDS_MSG_FINAL))
		return;
	x = export_of(w, t);
	o = x ? order_of(x) : NULL;
	if (!o)
		return;
	if (m->type == NBDS_MSG_REQUEST) {
		/* The first of several: what was lost without a reply is over. */
		if (t->c->in_flight <= 1)
			order_idle(o, t->c->id);
		if (r->type == NBD_CMD_FLUSH)
			order_flush_sent(o, t->c->id, r->serial, m->first.frame, m->first.time);
		else
			order_write_sent(o, t->c->id);
	} else if (r->type == NBD_CMD_FLUSH) {
		bool ok = !failed(m);

		order_flush_done(o, t->c->id, r->serial, m->last.frame, m->last.time, ok);
		if (ok) {
			x->row.flushed = true;
			x->row.last_flush = m->last.time;
		}
	} else {
		order_write_done(o, t->c->id, r->length, r->flags & NBD_CMD_FLAG_FUA, !failed(m));
	}
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct worker *w = ctx;
	struct track *t = c->user;

	log_message(w->log, c, m);
	if (!t)
		return;
	t->dirty = true;
	follow_order(w, t, m);
}

static void on_trouble(void *ctx, struct nbds_connection *c, const struct nbds_trouble *trouble)
{
	struct worker *w = ctx;
	struct track *t = c->user;

	log_trouble(w->log, c, trouble);
	if (t)
		t->dirty = true;
}

static void on_end(void *ctx, struct nbds_connection *c)
{
	struct worker *w = ctx;
	struct track *t = c->user;
	struct export_track *x;

	w->changes++;
	if (!t)
		return;
	t->dirty = true;
	t->row.ended = true;
	w->finished++;
	x = export_of(w, t);
	/* What ends because the file does has not ended. */
	if (x && x->order && c->end != NBDS_END_OPEN)
		order_closed(x->order, c->id, c->last_frame, c->last_time);
}

static void found_unref(struct found *f)
{
	if (--f->refs)
		return;
	nbds_finding_free(f->finding);
	free(f);
}

static void findings_remove(struct worker *w, size_t at)
{
	found_unref(w->findings[at]);
	memmove(&w->findings[at], &w->findings[at + 1],
		(w->finding_count - at - 1) * sizeof(w->findings[0]));
	w->finding_count--;
}

/* Room for one more: the oldest of the lowest level goes. */
static void findings_thin(struct worker *w)
{
	size_t victim = 0;

	for (size_t i = 1; i < w->finding_count; i++)
		if (w->findings[i]->finding->severity < w->findings[victim]->finding->severity)
			victim = i;
	findings_remove(w, victim);
	w->findings_forgotten++;
}

static void on_finding(void *ctx, const struct nbds_finding *finding)
{
	struct worker *w = ctx;
	struct track *t = track_find(w, finding->connection);
	struct export_track *x = t ? export_of(w, t) : NULL;
	struct found *f;

	w->changes++;
	if (t) {
		t->dirty = true;
		t->row.findings[finding->severity] += finding->count;
	}
	if (x)
		x->row.findings[finding->severity] += finding->count;
	if (finding->severity < w->config.severity)
		return;
	f = calloc(1, sizeof(*f));
	if (f)
		f->finding = nbds_finding_copy(finding);
	if (!f || !f->finding) {
		free(f);
		w->findings_forgotten++;
		return;
	}
	f->refs = 1;
	f->number = ++w->finding_numbers;
	f->export = x ? x->row.id : 0;
	if (w->finding_count == w->finding_max)
		findings_thin(w);
	w->findings[w->finding_count++] = f;
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

static void row_refresh(struct worker *w, struct track *t)
{
	struct nbds_connection *c = t->c;
	struct connection_row *r = &t->row;

	if (!t->row.ended)
		nbds_connection_refresh(c);
	export_of(w, t);
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
static void exports_refresh(struct worker *w)
{
	for (size_t i = 0; i < w->export_count; i++) {
		struct export_track *x = w->exports[i];
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
	for (size_t i = 0; i < w->track_count; i++)
		if (w->tracks[i]->x)
			export_add(&w->tracks[i]->x->row, &w->tracks[i]->row);
}

static void refresh(struct worker *w, bool second, double seconds, bool whole)
{
	for (size_t i = 0; i < w->track_count; i++) {
		struct track *t = w->tracks[i];

		/* A flush of another connection changes what is unflushed. */
		if (t->dirty || t->row.in_flight || t->row.unflushed_writes)
			row_refresh(w, t);
		t->dirty = false;
		if (second) {
			took_refresh(t);
			speed_refresh(t, seconds, whole);
		}
	}
	exports_refresh(w);
}

/* --- forgetting --- */

static bool is_forgotten(void *arg, const struct nbds_connection *c)
{
	const struct track *t = c->user;

	(void)arg;
	/* Without a track there was no memory for one. */
	return !t || t->forget;
}

static void latency_merge(struct nbds_latency *to, const struct nbds_latency *from)
{
	to->count += from->count;
	to->sum += from->sum;
	if (from->max > to->max)
		to->max = from->max;
	for (unsigned i = 0; i < NBDS_LATENCY_BUCKETS; i++)
		to->buckets[i] = from->buckets[i] > UINT32_MAX - to->buckets[i]
					 ? UINT32_MAX
					 : to->buckets[i] + from->buckets[i];
}

/* The sums of a connection that goes stay with its export. */
static void remember(struct worker *w, struct track *t)
{
	row_refresh(w, t);
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		if (t->c->commands[k].latency)
			latency_merge(&w->past[k], t->c->commands[k].latency);
	if (!t->x)
		return;
	export_count_commands(t->x);
	t->x->past.connections++;
	t->x->past.requests += t->row.requests;
	t->x->past.errors += t->row.errors;
	t->x->past.read += t->row.read;
	t->x->past.written += t->row.written;
}

static void forget(struct worker *w)
{
	bool any = false;
	size_t kept = 0;

	for (size_t i = 0; i < w->track_count; i++)
		if (w->tracks[i]->forget) {
			remember(w, w->tracks[i]);
			any = true;
		}
	if (!any)
		return;
	nbds_engine_forget(nbds_pipeline_engine(w->pipeline), is_forgotten, w);
	for (size_t i = 0; i < w->track_count; i++) {
		struct track *t = w->tracks[i];

		if (!t->forget) {
			w->tracks[kept++] = t;
			continue;
		}
		if (t->x)
			t->x->tracks--;
		w->connections_forgotten++;
		free(t);
	}
	w->track_count = kept;
	for (size_t i = 0; i < w->export_count; i++)
		if (w->exports[i]->e && !w->exports[i]->tracks)
			export_gone(w, w->exports[i]);
	exports_thin(w, GONE_MAX);
	w->changes++;
}

/* Finished connections go, the oldest first. */
static void age(struct worker *w, int64_t now, bool all)
{
	size_t left;

	w->finished = 0;
	for (size_t i = 0; i < w->track_count; i++)
		w->finished += w->tracks[i]->row.ended;
	left = w->finished;
	for (size_t i = 0; i < w->track_count && left; i++) {
		struct track *t = w->tracks[i];

		if (!t->row.ended)
			continue;
		left--;
		if (all || w->finished > w->finished_max || now - t->c->last_time > FINISHED_NS) {
			t->forget = true;
			w->finished--;
		}
	}
	forget(w);
}

/* --- detail --- */

static void put_flags(struct nbds_buf *b, const char *label, const struct nbds_name_table *table,
		      uint64_t flags)
{
	nbds_buf_printf(b, "%s\t", label);
	nbds_buf_flags(b, table, flags);
	nbds_buf_puts(b, "\n");
}

static void detail_handshake(struct nbds_buf *b, const struct nbds_connection *c)
{
	static const char *const styles[] = {
		[NBDS_HANDSHAKE_UNSEEN] = "not seen",
		[NBDS_HANDSHAKE_OLDSTYLE] = "oldstyle",
		[NBDS_HANDSHAKE_NEWSTYLE] = "newstyle",
		[NBDS_HANDSHAKE_NEWSTYLE_FIXED] = "fixed newstyle",
	};
	const struct nbds_negotiated *n = &c->negotiated;
	char name[NBDS_TEXT_OF_MAX];

	nbds_buf_printf(b, "handshake\t%s\n", styles[n->handshake]);
	if (n->handshake >= NBDS_HANDSHAKE_NEWSTYLE)
		put_flags(b, "server says", &nbds_handshake_flags, n->handshake_flags);
	if (n->client_flags_seen)
		put_flags(b, "client says", &nbds_client_flags, n->client_flags);
	for (unsigned i = 0; i < c->option_count; i++) {
		const struct nbds_option_seen *o = &c->options[i];

		nbds_buf_printf(b, "%s\t%s", i ? "" : "options",
				nbds_text_of(&nbds_options, o->option, name));
		for (unsigned k = 0; k < o->reply_count && k < 8; k++)
			nbds_buf_printf(b, "%s%s", k ? ", " : ": ",
					nbds_text_of(&nbds_reply_types, o->replies[k], name));
		nbds_buf_puts(b, o->reply_count > 8 ? ", ...\n" : "\n");
	}
	if (n->tls)
		nbds_buf_puts(b, "TLS\tall that follows is encrypted\n");
	if (n->transmission)
		nbds_buf_printf(b, "replies\t%s\n",
				n->extended     ? "extended headers"
				: n->structured ? "structured"
						: "simple");
}

static void detail_export(struct nbds_buf *b, const struct nbds_connection *c)
{
	if (c->export_name_seen) {
		nbds_buf_puts(b, "export\t");
		nbds_buf_quote(b, c->export_name, c->export_name_len);
		if (c->negotiated.export_seen) {
			nbds_buf_puts(b, ", ");
			nbds_buf_size_exact(b, c->negotiated.size);
		}
		nbds_buf_puts(b, "\n");
	}
	if (c->negotiated.export_seen)
		put_flags(b, "flags", &nbds_transmission_flags, c->negotiated.transmission_flags);
	if (c->block_size_seen)
		nbds_buf_printf(b,
				"block sizes\tminimum %" PRIu32 ", preferred %" PRIu32
				", maximum payload %" PRIu32 "\n",
				c->block_minimum, c->block_preferred, c->payload_maximum);
	for (unsigned i = 0; i < c->context_count; i++) {
		nbds_buf_printf(b, "%s\t%" PRIu32 ": ", i ? "" : "contexts", c->contexts[i].id);
		nbds_buf_quote(b, c->contexts[i].name, c->contexts[i].name_len);
		nbds_buf_puts(b, "\n");
	}
}

static void detail_commands(struct nbds_buf *b, const struct nbds_connection *c)
{
	const char *label = "commands";

	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++) {
		const struct nbds_command_stats *s = &c->commands[k];
		char name[NBDS_TEXT_OF_MAX];

		if (!s->count)
			continue;
		nbds_buf_printf(b, "%s\t%s: %" PRIu64, label,
				k == NBDS_COMMAND_KINDS - 1
					? "other commands"
					: nbds_text_of(&nbds_commands, s->type, name),
				s->count);
		label = "";
		if (s->bytes) {
			nbds_buf_puts(b, ", ");
			nbds_buf_size(b, s->bytes);
		}
		if (s->fua)
			nbds_buf_printf(b, ", %" PRIu64 " with FUA", s->fua);
		if (s->latency) {
			nbds_buf_puts(b, "; p50 ");
			nbds_buf_duration(b, nbds_latency_percentile(s->latency, 50));
			nbds_buf_puts(b, ", p99 ");
			nbds_buf_duration(b, nbds_latency_percentile(s->latency, 99));
			nbds_buf_puts(b, ", max ");
			nbds_buf_duration(b, s->latency->max);
		}
		for (unsigned i = 0; i < s->error_kinds; i++)
			nbds_buf_printf(b, "%s%s %" PRIu64, i ? ", " : "; errors ",
					nbds_text_of(&nbds_errors, s->errors[i].error, name),
					s->errors[i].count);
		nbds_buf_puts(b, "\n");
	}
}

static void detail_state(struct nbds_buf *b, const struct nbds_connection *c, bool ended)
{
	static const char *const ends[] = {
		[NBDS_END_OPEN] = "open",
		[NBDS_END_DISCONNECT] = "ended with NBD_CMD_DISC",
		[NBDS_END_ABORT] = "ended with NBD_OPT_ABORT",
		[NBDS_END_FIN] = "closed without goodbye",
		[NBDS_END_RST] = "reset",
	};
	char client[NBDS_ADDR_TEXT], server[NBDS_ADDR_TEXT];

	nbds_buf_printf(b, "from\t%s\n", nbds_addr_text(&c->client, client));
	nbds_buf_printf(b, "to\t%s\n", nbds_addr_text(&c->server, server));
	nbds_buf_printf(b, "state\t%s",
			ended && c->end == NBDS_END_OPEN ? "open when the capture ended"
							 : ends[c->end]);
	nbds_buf_printf(b, "; frames %" PRIu64 " to %" PRIu64, c->first_frame, c->last_frame);
	if (!c->sure)
		nbds_buf_puts(b, "; caught in its middle, not decoded yet");
	else if (!c->from_start)
		nbds_buf_printf(b, "; caught in its middle, decoded from frame %" PRIu64,
				c->sure_frame);
	nbds_buf_puts(b, "\n");
}

static void detail_make(struct worker *w, struct track *t, struct snapshot *s)
{
	struct nbds_connection *c = t->c;
	struct nbds_buf *b = &s->detail;

	(void)w;
	detail_state(b, c, t->row.ended);
	detail_handshake(b, c);
	detail_export(b, c);
	detail_commands(b, c);
	if (c->unflushed_writes) {
		nbds_buf_puts(b, "unflushed\t");
		nbds_buf_count(b, c->unflushed_writes, "answered write", NULL);
		nbds_buf_puts(b, ", ");
		nbds_buf_size(b, c->unflushed_bytes);
		nbds_buf_puts(b, "\n");
	}
	if (c->gaps) {
		nbds_buf_puts(b, "missing\t");
		nbds_buf_count(b, c->gaps, "gap", NULL);
		nbds_buf_puts(b, " in the capture, ");
		nbds_buf_size(b, c->gap_bytes);
		nbds_buf_puts(b, "\n");
	}
	if (c->first_nonsense) {
		nbds_buf_printf(b, "nonsense\tin frame %" PRIu64 ": ", c->nonsense_frame);
		nbds_buf_escape(b, c->first_nonsense, strlen(c->first_nonsense));
		nbds_buf_puts(b, "\n");
	}
	s->outstanding_count = nbds_connection_outstanding(c, s->outstanding, OUTSTANDING_SHOWN);
}

static int by_request(const void *a, const void *b)
{
	const struct flush_row *x = a, *y = b;

	return x->flush.request_frame < y->flush.request_frame   ? -1
	       : x->flush.request_frame > y->flush.request_frame ? 1
								 : 0;
}

/* The last flushes of all connections: each one's last ones are enough. */
static void flushes_make(struct worker *w, const struct export_track *x, struct snapshot *s)
{
	s->flush_count = 0;
	for (size_t i = 0; i < w->track_count; i++) {
		const struct nbds_connection *c = w->tracks[i]->c;

		if (w->tracks[i]->x != x)
			continue;
		for (unsigned k = c->flush_kept; k-- > 0;) {
			struct flush_row row = {c->id, c->flushes[k]};
			unsigned at = s->flush_count;

			if (at == FLUSHES_SHOWN) {
				/* The oldest one of all is the first one. */
				qsort(s->flushes, at, sizeof(row), by_request);
				if (row.flush.request_frame <= s->flushes[0].flush.request_frame)
					break;
				at = 0;
			} else {
				s->flush_count++;
			}
			s->flushes[at] = row;
		}
	}
	qsort(s->flushes, s->flush_count, sizeof(s->flushes[0]), by_request);
}

uint64_t histogram_from(unsigned bin)
{
	unsigned top = bin / 2;

	if (top >= 64)
		return UINT64_MAX;
	return ((uint64_t)1 << top) + (bin & 1 ? (uint64_t)1 << top >> 1 : 0);
}

/* Which bin a bucket of the engine lies in: 16 buckets to each doubling. */
static unsigned bin_of(unsigned bucket)
{
	unsigned top;

	if (bucket < 2)
		return 0;
	if (bucket < 16) {
		top = 31u - (unsigned)__builtin_clz(bucket);
		return top * 2 + (bucket >> (top - 1) & 1);
	}
	top = bucket / 16 + 3;
	return top * 2 + (bucket % 16 >= 8);
}

static void histogram_make(struct histogram *h, const struct nbds_latency *l)
{
	memset(h, 0, sizeof(*h));
	h->count = l->count;
	h->sum = l->sum;
	h->max = l->max;
	h->p50 = nbds_latency_percentile(l, 50);
	h->p90 = nbds_latency_percentile(l, 90);
	h->p99 = nbds_latency_percentile(l, 99);
	h->p999 = nbds_latency_percentile(l, 99.9);
	for (unsigned i = 0; i < NBDS_LATENCY_BUCKETS; i++)
		if (l->buckets[i])
			h->bins[bin_of(i)] += l->buckets[i];
}

static void latency_make(struct worker *w, struct snapshot *s)
{
	const struct wanted *want = &w->want;

	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++) {
		struct nbds_latency *sum = &w->merged;

		memset(sum, 0, sizeof(*sum));
		if (want->scope == SCOPE_ALL)
			*sum = w->past[k];
		for (size_t i = 0; i < w->track_count; i++) {
			const struct track *t = w->tracks[i];

			if ((want->scope == SCOPE_CONNECTION && t->row.id != want->scope_id) ||
			    (want->scope == SCOPE_EXPORT && t->row.export != want->scope_id))
				continue;
			if (t->c->commands[k].latency)
				latency_merge(sum, t->c->commands[k].latency);
		}
		histogram_make(&w->histograms[k], sum);
	}
	memcpy(s->histograms, w->histograms, sizeof(s->histograms));
}

static void notice(struct worker *w, const char *format, const char *what, const char *why)
{
	snprintf(w->notice, sizeof(w->notice), format, what, why);
	w->notices++;
}

/* --- snapshots --- */

static bool reserve(void *array, size_t *room, size_t count, size_t size)
{
	void **list = array, *more;

	if (count <= *room)
		return true;
	count += count / 2 + 16;
	more = reallocarray(*list, count, size);
	if (!more)
		return false;
	*list = more;
	*room = count;
	return true;
}

static void copy_rows(struct worker *w, struct snapshot *s)
{
	bool capped = w->state != STATE_DONE && w->state != STATE_FAILED;
	size_t n = w->track_count, first = 0;

	s->connection_count = s->export_count = 0;
	/* The newest: of what is older most has ended. */
	if (capped && n > ROWS_MAX)
		first = n - ROWS_MAX;
	s->connections_left = first;
	if (reserve(&s->connections, &s->connection_room, n - first, sizeof(*s->connections)))
		for (size_t i = first; i < n; i++)
			s->connections[s->connection_count++] = w->tracks[i]->row;
	n = w->export_count;
	first = capped && n > ROWS_MAX ? n - ROWS_MAX : 0;
	if (reserve(&s->exports, &s->export_room, n - first, sizeof(*s->exports)))
		for (size_t i = first; i < n; i++)
			s->exports[s->export_count++] = w->exports[i]->row;
}

static void drop_findings(struct snapshot *s)
{
	for (size_t i = 0; i < s->finding_count; i++)
		found_unref(s->findings[i]);
	s->finding_count = 0;
}

static void copy_findings(struct worker *w, struct snapshot *s)
{
	drop_findings(s);
	s->findings_forgotten = w->findings_forgotten;
	if (!reserve(&s->findings, &s->finding_room, w->finding_count, sizeof(*s->findings)))
		return;
	for (size_t i = 0; i < w->finding_count; i++) {
		s->findings[i] = w->findings[i];
		s->findings[i]->refs++;
	}
	s->finding_count = w->finding_count;
}

static void copy_wanted(struct worker *w, struct snapshot *s, bool second)
{
	struct track *t = w->want.connection ? track_find(w, w->want.connection) : NULL;
	const struct export_track *x = NULL;

	s->wanted = w->want;
	for (size_t i = 0; w->want.export && i < w->export_count; i++)
		if (w->exports[i]->row.id == w->want.export)
			x = w->exports[i];
	if (x && x->order)
		s->order = *x->order;
	else
		order_init(&s->order);
	s->flush_count = 0;
	if (x)
		flushes_make(w, x, s);
	nbds_buf_clear(&s->detail);
	s->outstanding_count = 0;
	if (t)
		detail_make(w, t, s);
	if (!w->want.latency)
		return;
	if (second || w->latency_stale)
		latency_make(w, s);
	else
		memcpy(s->histograms, w->histograms, sizeof(s->histograms));
	w->latency_stale = false;
}

static void pipeline_info(struct worker *w, struct nbds_pipeline_info *info)
{
	nbds_pipeline_info(w->pipeline, info);
	if (w->capture)
		nbds_capture_info(w->capture, &info->capture);
}

static int64_t capture_now(const struct worker *w, const struct nbds_pipeline_info *info)
{
	switch (w->state) {
	case STATE_LIVE:
		return clock_ns(CLOCK_REALTIME);
	case STATE_REPLAY:
		return w->played;
	default:
		return info->capture.end;
	}
}

static void publish(struct worker *w)
{
	bool over = w->state == STATE_DONE || w->state == STATE_FAILED;
	/* A file that is only read has no last second. */
	bool finite = w->config.file && (over || w->state == STATE_LOADING);
	int64_t clock = clock_ns(CLOCK_MONOTONIC), now;
	struct snapshot *s = w->back;
	bool second;

	w->published = clock;
	pipeline_info(w, &s->info);
	now = capture_now(w, &s->info);
	second = clock - w->second_clock >= SECOND_NS || (over && !w->settled);
	if (second) {
		double seconds = (double)(now - w->second_now) / 1e9;

		if (forgets(w) && !over)
			age(w, now, false);
		refresh(w, true, seconds, finite);
		if (seconds > 0) {
			w->packet_rate =
				(double)(s->info.capture.frames - w->second_frames) / seconds;
			w->byte_rate = (double)(s->info.capture.bytes - w->second_bytes) / seconds;
		}
		w->second_clock = clock;
		w->second_now = now;
		w->second_frames = s->info.capture.frames;
		w->second_bytes = s->info.capture.bytes;
		w->settled = over;
	} else {
		refresh(w, false, 0, false);
	}
	if (w->saving && !w->save_failed && *nbds_pipeline_error(w->pipeline)) {
		w->save_failed = true;
		notice(w, "%s%s", nbds_pipeline_error(w->pipeline), "");
	}
	s->state = w->state;
	s->cancelled = w->cancelled;
	s->finite = finite;
	snprintf(s->error, sizeof(s->error), "%s", w->error);
	snprintf(s->notice, sizeof(s->notice), "%s", w->notice);
	s->notices = w->notices;
	s->started = s->info.capture.frames > 0;
	s->start = w->capture ? s->info.capture.start : nbds_pipeline_start(w->pipeline);
	s->now = now;
	s->replay_speed = w->speed;
	s->saving = w->saving;
	s->packet_rate = w->packet_rate;
	s->byte_rate = w->byte_rate;
	s->connections_forgotten = w->connections_forgotten;
	s->messages = log_total(w->log);
	nbds_engine_totals(nbds_pipeline_engine(w->pipeline), &s->totals);
	copy_rows(w, s);
	copy_findings(w, s);
	copy_wanted(w, s, second);
	s->serial = ++w->serials;

	pthread_mutex_lock(&w->lock);
	w->back = w->ready;
	w->ready = s;
	w->fresh = true;
	pthread_mutex_unlock(&w->lock);
	if (eventfd_write(w->fd, 1) < 0) {
		/* It is readable already. */
	}
}

/* Something happened that a screen would show. */
static bool changed(struct worker *w)
{
	uint64_t sum = log_total(w->log) + w->changes + w->notices + (uint64_t)w->state;
	struct nbds_pipeline_info info;

	/* Progress; and once a second ages, and drops. */
	if (w->state == STATE_LOADING || clock_ns(CLOCK_MONOTONIC) - w->published >= SECOND_NS)
		return true;
	if (w->config.file) {
		pipeline_info(w, &info);
		sum += info.capture.frames;
	}
	if (sum == w->published_sum)
		return false;
	w->published_sum = sum;
	return true;
}

/* --- orders from the screen --- */

static void save(struct worker *w, const char *path)
{
	if (w->saving)
		notice(w, "the packets are saved already%s%s", "", "");
	else if (nbds_pipeline_save(w->pipeline, path) < 0)
		notice(w, "%.100s: %s", path, nbds_pipeline_error(w->pipeline));
	else {
		w->saving = true;
		notice(w, "packets go to %.100s from now on%s", path, "");
	}
}

static void clear(struct worker *w, unsigned what)
{
	struct nbds_pipeline_info info;

	if (what & CLEAR_FINDINGS)
		while (w->finding_count)
			findings_remove(w, w->finding_count - 1);
	if (what & CLEAR_ORDER)
		for (size_t i = 0; i < w->export_count; i++)
			if (w->exports[i]->row.id == w->want.export && w->exports[i]->order)
				order_init(w->exports[i]->order);
	if (what & CLEAR_CONNECTIONS) {
		pipeline_info(w, &info);
		age(w, capture_now(w, &info), true);
		exports_thin(w, 0);
	}
}

/* True: publish at once. */
static bool obey(struct worker *w)
{
	struct orders o;

	if (!atomic_exchange(&w->poked, false))
		return false;
	pthread_mutex_lock(&w->lock);
	o = w->orders;
	w->orders.clear = 0;
	w->orders.save[0] = '\0';
	pthread_mutex_unlock(&w->lock);
	if (memcmp(&o.want, &w->want, sizeof(o.want)) != 0)
		w->latency_stale = true;
	w->want = o.want;
	if (o.clear)
		clear(w, o.clear);
	if (o.save[0])
		save(w, o.save);
	if (o.speed > 0)
		w->speed = o.speed;
	w->hold = o.hold;
	if (o.cancel && !w->cancelled && w->state != STATE_DONE && w->state != STATE_FAILED) {
		w->cancelled = true;
		nbds_pipeline_stop(w->pipeline);
	}
	return true;
}

/* Sleeps until something is ordered, or for `ns`; negative: for ever. */
static void rest(struct worker *w, int64_t ns)
{
	struct timespec until;
	int64_t at = clock_ns(CLOCK_MONOTONIC) + ns;

	until.tv_sec = (time_t)(at / SECOND_NS);
	until.tv_nsec = (long)(at % SECOND_NS);
	pthread_mutex_lock(&w->lock);
	while (!atomic_load(&w->poked) && !atomic_load(&w->quit)) {
		if (ns < 0)
			pthread_cond_wait(&w->wake, &w->lock);
		else if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&w->lock);
}

/* A pipe says nothing for the time being: what has come is shown. False: enough. */
static bool waiting(void *arg)
{
	struct worker *w = arg;

	if (obey(w) || changed(w))
		publish(w);
	return !w->cancelled && !atomic_load(&w->quit);
}

/* --- a file in its own time --- */

static void over(struct worker *w, enum worker_state state, const char *error)
{
	w->state = state;
	snprintf(w->error, sizeof(w->error), "%s", error);
}

/* Capture time moves on with the clock, and packets whose time has come are
 * handled. False: wait. */
static bool replay(struct worker *w)
{
	int64_t clock = clock_ns(CLOCK_MONOTONIC);
	double passed = (double)(clock - w->replay_clock) * w->speed;

	w->replay_clock = clock;
	if (!w->hold && w->replay_begun)
		w->played += passed < 9e18 ? (int64_t)passed : 0;
	for (unsigned i = 0; i < BATCH; i++) {
		int got;

		if (w->cancelled) {
			nbds_pipeline_finish(w->pipeline);
			over(w, STATE_DONE, "");
			return true;
		}
		if (!w->have_next) {
			got = nbds_capture_next(w->capture, &w->next);
			if (got <= 0) {
				bool bad = got < 0 && !w->cancelled;

				nbds_pipeline_finish(w->pipeline);
				over(w, bad ? STATE_FAILED : STATE_DONE,
				     bad ? nbds_capture_error(w->capture) : "");
				return true;
			}
			w->have_next = true;
			if (!w->replay_begun)
				w->played = w->next.time;
			w->replay_begun = true;
		}
		if (w->next.time > w->played)
			break;
		nbds_pipeline_packet(w->pipeline, &w->next);
		w->have_next = false;
	}
	if (w->have_next && w->next.time > w->played) {
		/* Verdicts wait for capture time to pass, also in silence. */
		nbds_engine_tick(nbds_pipeline_engine(w->pipeline), w->played);
		return false;
	}
	return true;
}

/* ns until the next packet is due, at most a publishing's. */
static int64_t replay_wait(const struct worker *w)
{
	double ns = (double)(w->next.time - w->played) / w->speed;

	return w->hold || ns > (double)PUBLISH_NS ? PUBLISH_NS : (int64_t)ns + 1;
}

/* --- the thread --- */

static void *work(void *arg)
{
	struct worker *w = arg;

	publish(w);
	while (!atomic_load(&w->quit)) {
		bool now = obey(w), wait = false;

		switch (w->state) {
		case STATE_LOADING:
		case STATE_LIVE:
			switch (nbds_pipeline_step(w->pipeline, BATCH)) {
			case NBDS_STEP_MORE:
			case NBDS_STEP_IDLE:
				break;
			case NBDS_STEP_END:
				over(w, STATE_DONE, "");
				break;
			case NBDS_STEP_ERROR:
				/* Stopped in the middle of a packet. */
				if (w->cancelled)
					over(w, STATE_DONE, "");
				else
					over(w, STATE_FAILED, nbds_pipeline_error(w->pipeline));
				break;
			}
			break;
		case STATE_REPLAY:
			wait = !replay(w);
			break;
		case STATE_DONE:
		case STATE_FAILED:
			break;
		}
		if (w->state == STATE_DONE || w->state == STATE_FAILED) {
			if (now || !w->settled)
				publish(w);
			rest(w, -1);
			continue;
		}
		/* Not only once a second if they come by the thousand. */
		if (forgets(w) && w->finished > 2 * w->finished_max + 16)
			age(w, w->second_now, false);
		if (now || (clock_ns(CLOCK_MONOTONIC) - w->published >= PUBLISH_NS && changed(w)))
			publish(w);
		if (wait)
			rest(w, replay_wait(w));
	}
	return NULL;
}

static bool open_all(struct worker *w, char *err, size_t errsize)
{
	const struct worker_config *c = &w->config;
	struct nbds_pipeline_config config = {
		.engine = c->engine,
		.ops = {on_connection, on_message, on_trouble, on_finding, on_end},
		.ctx = w,
	};
	bool borrowed = nbds_privileges_borrowed();

	if (c->file) {
		/* Files are read with the rights of who runs the program. */
		if (borrowed && nbds_privileges_drop(c->user, err, errsize) < 0)
			return false;
		if (c->replay > 0) {
			w->capture = nbds_capture_open(c->file, err, errsize);
			if (w->capture)
				w->pipeline = nbds_pipeline_open_packets(&config, err, errsize);
		} else {
			w->pipeline = nbds_pipeline_open(c->file, &config, err, errsize);
		}
		w->state = c->replay > 0 ? STATE_REPLAY : STATE_LOADING;
		return w->pipeline;
	}
	w->pipeline = nbds_pipeline_open_live(c->interface, c->filter, &config, err, errsize);
	if (!w->pipeline)
		return false;
	w->state = STATE_LIVE;
	nbds_live_hurry(); /* for the thread that is to be started */
	for (int turn = 0; turn < 2; turn++) {
		/* Root's own file may be one that only root can write. */
		if (c->save && turn == borrowed) {
			if (nbds_pipeline_save(w->pipeline, c->save) < 0) {
				snprintf(err, errsize, "%s: %s", c->save,
					 nbds_pipeline_error(w->pipeline));
				return false;
			}
			w->saving = true;
		}
		if (turn == 0 && nbds_privileges_drop(c->user, err, errsize) < 0)
			return false;
	}
	return true;
}

static void destroy(struct worker *w)
{
	log_free(w->log);
	for (size_t i = 0; i < w->track_count; i++)
		free(w->tracks[i]);
	for (size_t i = 0; i < w->export_count; i++)
		export_free(w->exports[i]);
	for (int i = 0; i < 3; i++) {
		struct snapshot *s = &w->snapshots[i];

		drop_findings(s);
		free(s->findings);
		free(s->connections);
		free(s->exports);
		nbds_buf_free(&s->detail);
	}
	while (w->finding_count)
		findings_remove(w, w->finding_count - 1);
	free(w->findings);
	free(w->tracks);
	free(w->exports);
	if (w->fd >= 0)
		close(w->fd);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

struct worker *worker_start(const struct worker_config *config, char *err, size_t errsize)
{
	struct worker *w = calloc(1, sizeof(*w));
	uint64_t history = config->history;
	pthread_condattr_t monotonic;

	if (!w) {
		snprintf(err, errsize, "out of memory");
		return NULL;
	}
	w->config = *config;
	w->speed = config->replay;
	w->fd = -1;
	w->back = &w->snapshots[0];
	w->ready = &w->snapshots[1];
	w->taken = &w->snapshots[2];
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (!history)
		history = forgets(w) ? HISTORY_LIVE : HISTORY_FILE;
	w->log = log_new(history);
	w->finding_max = (size_t)(history / HISTORY_FINDING);
	w->finished_max = (size_t)(history / HISTORY_FINISHED);
	w->findings = calloc(w->finding_max, sizeof(*w->findings));
	w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!w->log || !w->findings || w->fd < 0) {
		snprintf(err, errsize, "out of memory");
		destroy(w);
		return NULL;
	}
	if (!open_all(w, err, errsize))
		goto failed;
	nbds_pipeline_on_wait(w->pipeline, waiting, w);
	if (w->capture)
		nbds_capture_on_wait(w->capture, waiting, w);
	w->second_clock = w->published = w->replay_clock = clock_ns(CLOCK_MONOTONIC);
	w->second_now = w->config.file ? 0 : clock_ns(CLOCK_REALTIME);
	errno = pthread_create(&w->thread, NULL, work, w);
	if (errno) {
		snprintf(err, errsize, "cannot start a thread: %s", strerror(errno));
		goto failed;
	}
	nbds_live_relax();
	return w;

failed:
	nbds_pipeline_close(w->pipeline, NULL, 0);
	if (w->capture)
		nbds_capture_close(w->capture);
	destroy(w);
	return NULL;
}

int worker_stop(struct worker *w, char *err, size_t errsize)
{
	int result;

	atomic_store(&w->quit, true);
	pthread_mutex_lock(&w->lock);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	result = nbds_pipeline_close(w->pipeline, err, errsize);
	if (w->capture)
		nbds_capture_close(w->capture);
	destroy(w);
	return result;
}

/* --- for the screen's thread --- */

int worker_fd(const struct worker *w)
{
	return w->fd;
}

struct log *worker_log(const struct worker *w)
{
	return w->log;
}

struct snapshot *worker_take(struct worker *w)
{
	struct snapshot *s = NULL;
	eventfd_t count;

	if (eventfd_read(w->fd, &count) < 0) {
		/* Nothing was told: look all the same. */
	}
	pthread_mutex_lock(&w->lock);
	if (w->fresh) {
		s = w->ready;
		w->ready = w->taken;
		w->taken = s;
		w->fresh = false;
	}
	pthread_mutex_unlock(&w->lock);
	return s;
}

static void poke(struct worker *w)
{
	atomic_store(&w->poked, true);
	pthread_cond_signal(&w->wake);
}

void worker_want(struct worker *w, const struct wanted *wanted)
{
	pthread_mutex_lock(&w->lock);
	w->orders.want = *wanted;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_cancel(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->orders.cancel = true;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_hold(struct worker *w, bool hold)
{
	pthread_mutex_lock(&w->lock);
	w->orders.hold = hold;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_replay_speed(struct worker *w, double speed)
{
	pthread_mutex_lock(&w->lock);
	w->orders.speed = speed;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_clear(struct worker *w, unsigned what)
{
	pthread_mutex_lock(&w->lock);
	w->orders.clear |= what;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_save(struct worker *w, const char *path)
{
	pthread_mutex_lock(&w->lock);
	snprintf(w->orders.save, sizeof(w->orders.save), "%s", path);
	poke(w);
	pthread_mutex_unlock(&w->lock);
}
