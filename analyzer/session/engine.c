/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: servers, connections, exports, findings.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define SETTLE INT64_C(500000000) /* for late evidence, such as counts of dropped packets */
#define TICK   UINT64_C(5000000)

/* For other copies of the bytes that a violation rests on, as long as nobody has to know
 * at once. */
#define PATIENCE INT64_C(1000000000)

/* What is remembered of messages takes this share of the memory, within reason. */
#define SPANS_SHARE 256
#define SPANS_LEAST ((uint64_t)64 << 10)
#define SPANS_MOST  ((uint64_t)8 << 20)

/* The context of a world's callbacks is its server. */
static struct nbds_engine *engine_of(void *ctx)
{
	return ((struct server *)ctx)->all->engine;
}

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct nbds_engine *e = engine_of(ctx);
	struct nbds_finding named = *f;

	if (f->export_name_len == sizeof(UNKNOWN_EXPORT) - 1 &&
	    memcmp(f->export_name, UNKNOWN_EXPORT, f->export_name_len) == 0) {
		named.export_name = NULL;
		named.export_name_len = 0;
	}
	doubts_tell(&e->doubts, ctx, &named);
}

static void on_flushed(void *ctx, const struct nbds_flush_report *r)
{
	struct session *s = engine_of(ctx)->current;
	struct nbds_flush_seen f = {
		r->request_frame, r->reply_frame,   r->request_time,  r->reply_time, r->ok,
		r->covered_own,   r->covered_other, r->covered_bytes, r->left};

	if (!s || s->c.id != r->connection)
		return;
	s->c.flushes_total++;
	if (s->c.flush_kept == FLUSHES_KEPT) {
		memmove(s->c.flushes, s->c.flushes + FLUSHES_KEPT / 2,
			(FLUSHES_KEPT - FLUSHES_KEPT / 2) * sizeof(f));
		s->c.flush_kept -= FLUSHES_KEPT / 2;
	}
	if (s->c.flush_kept == s->flush_room) {
		unsigned room = s->flush_room ? s->flush_room * 2 : 8;
		struct nbds_flush_seen *list = nbds_budget_realloc(&s->engine->budget, s->c.flushes,
								   s->flush_room * sizeof(f),
								   room * sizeof(f));

		if (!list)
			return;
		s->c.flushes = list;
		s->flush_room = room;
	}
	s->c.flushes[s->c.flush_kept++] = f;
}

static void on_judged(void *ctx, const struct nbds_judged *j)
{
	struct nbds_engine *e = engine_of(ctx);

	e->ops.judged(e->ctx, j);
}

static bool on_settled(void *ctx, const struct nbds_point *upto)
{
	struct nbds_engine *e = engine_of(ctx);

	return !e->held || !e->held(e->held_ctx, upto->frame);
}

static struct session *session_by_id(const struct nbds_engine *e, uint32_t id)
{
	struct nbds_table_node *n = nbds_table_find(&e->by_id, nbds_hash_u64(&e->key, id));

	for (; n; n = nbds_table_again(n)) {
		struct session *s = nbds_owner(n, struct session, by_id);

		if (s->c.id == id)
			return s;
	}
	return NULL;
}

/* Of those that were put away the lowest id is known well enough. */
static bool id_known(const void *engine, uint32_t id)
{
	const struct nbds_engine *e = engine;

	return session_by_id(e, id) || id >= records_lowest(&e->records);
}

/* Bytes of what was given back that are kept for what comes next. */
#define SPARES_MOST ((uint64_t)2 << 20)

struct nbds_engine *nbds_engine_new(const struct nbds_engine_config *config,
				    const struct nbds_engine_ops *ops, void *ctx)
{
	struct nbds_engine *e = calloc(1, sizeof(*e));
	uint64_t spans;

	if (!e)
		return NULL;
	e->config = *config;
	if (e->config.port_count > NBDS_PORTS_MAX)
		e->config.port_count = NBDS_PORTS_MAX;
	if (!e->config.memory)
		e->config.memory = (uint64_t)1 << 30;
	spans = e->config.memory / SPANS_SHARE;
	if (spans < SPANS_LEAST)
		spans = SPANS_LEAST;
	if (spans > SPANS_MOST)
		spans = SPANS_MOST;
	if (e->config.memory > 2 * spans)
		e->config.memory -= spans;
	e->budget.limit = e->config.memory;
	e->budget.keeps = SPARES_MOST;
	e->ops = *ops;
	e->ctx = ctx;
	e->key = nbds_hash_key_new();
	nbds_table_resize(&e->by_id, &e->budget, 4);
	if (!e->by_id.buckets) {
		free(e);
		return NULL;
	}
	e->now = e->last_tick = INT64_MIN;
	e->servers.budget = e->exports.budget = e->findings.budget = e->clients.budget =
		e->records.budget = &e->budget;
	e->servers.engine = e;
	e->servers.config = (struct nbds_world_config){
		.epsilon = config->epsilon,
		.settle = SETTLE,
		.exclusive = config->exclusive,
		.memory = e->config.memory,
		.budget = &e->budget,
	};
	e->servers.ops = (struct nbds_world_ops){on_flushed, on_finding, on_settled,
						 e->ops.judged ? on_judged : NULL};
	e->doubts.budget = &e->budget;
	e->doubts.findings = &e->findings;
	e->doubts.patience = config->patience ? config->patience : PATIENCE;
	doubts_init(&e->doubts, spans);
	servers_init(&e->servers);
	e->exports.key = nbds_hash_key_new();
	e->exports.known = id_known;
	e->exports.ctx = e;
	e->findings.key = nbds_hash_key_new();
	e->clients.key = nbds_hash_key_new();
	e->findings.deliver = ops->finding;
	e->findings.wanted = ops->wanted;
	e->findings.ctx = ctx;
	e->findings.known = id_known;
	e->findings.engine = e;
	return e;
}

/* So much of a change of what others take is not worth it. */
#define SHARE_STEPS 64u
/* This part of the memory is the engine's whatever others take. */
#define SHARE_LEAST 4u

void nbds_engine_share(struct nbds_engine *e, uint64_t bytes)
{
	uint64_t memory = e->config.memory, step = memory / SHARE_STEPS + 1, before;

	bytes = (bytes + step - 1) / step * step;
	if (bytes == e->shared)
		return;
	before = e->budget.limit;
	e->shared = bytes;
	e->budget.limit = bytes < memory - memory / SHARE_LEAST ? memory - bytes
								: memory / SHARE_LEAST;
	if (before > e->budget.limit) {
		before -= e->budget.limit;
		e->relieve_at -= before < e->relieve_at ? before : e->relieve_at;
	}
}

/* --- time ---------------------------------------------------------------- */

void nbds_engine_set_held(struct nbds_engine *e, bool (*held)(void *ctx, uint64_t frame), void *ctx)
{
	e->held = held;
	e->held_ctx = ctx;
}

void nbds_engine_dropped(struct nbds_engine *e, uint64_t packets)
{
	if (packets && !e->servers.dropped)
		servers_dropped(&e->servers);
}

void nbds_engine_interfaces(struct nbds_engine *e, uint32_t interfaces)
{
	if (interfaces > 1 && !e->servers.interfaces)
		servers_interfaces(&e->servers);
}

void nbds_engine_tick(struct nbds_engine *e, int64_t now)
{
	if (now > e->now)
		e->now = now;
	/* worlds look at their pending verdicts now and then, not at each packet */
	if (e->last_tick != INT64_MIN && now >= e->last_tick &&
	    (uint64_t)now - (uint64_t)e->last_tick < TICK)
		return;
	e->last_tick = now;
	secure_tick(e);
	servers_tick(&e->servers, now);
	doubts_pass(&e->doubts, now, false);
	memory_tidy(e);
	memory_relieve(e);
}

void nbds_engine_finish(struct nbds_engine *e)
{
	servers_finish(&e->servers);
	doubts_pass(&e->doubts, e->now, true);
	for (struct session *s = e->first; s; s = s->next)
		session_refresh(s);
	for (uint32_t id = 1; id && id <= e->last_id; id++)
		findings_end(&e->findings, id);
}

/* --- what the fronts read ------------------------------------------------ */

const struct nbds_connection *nbds_engine_connection(struct nbds_engine *e, uint32_t id)
{
	struct session *s = session_by_id(e, id);

	return s ? &s->c : records_find(&e->records, &e->found, id);
}

/* Puts the list of sessions in the order of ids: runs that are so are merged, two at a
 * time. It is nearly so as a rule. */
static void sort_sessions(struct nbds_engine *e)
{
	struct session *list = e->first, *merged, **end;
	unsigned runs;

	do {
		end = &merged;
		for (runs = 0; list; runs++) {
			struct session *a = list, *b, *last;

			for (last = a; last->next && last->next->c.id > last->c.id;)
				last = last->next;
			b = last->next;
			last->next = NULL;
			for (last = b; last && last->next && last->next->c.id > last->c.id;)
				last = last->next;
			list = last ? last->next : NULL;
			if (last)
				last->next = NULL;
			while (a || b) {
				struct session **least = !b || (a && a->c.id < b->c.id) ? &a : &b;

				*end = *least;
				*least = (*least)->next;
				end = &(*end)->next;
			}
		}
		*end = NULL;
		list = merged;
	} while (runs > 1);
	e->first = list;
	e->last = NULL;
	for (struct session *s = list; s; s = s->next) {
		s->prev = e->last;
		e->last = s;
	}
	e->disordered = false;
	e->after = NULL;
}

/* The first session with a greater id. Whoever asks for all comes with one id after the
 * other: the last answer is a good place to begin. */
static struct session *session_after(struct nbds_engine *e, uint32_t id)
{
	struct session *s;

	if (e->disordered)
		sort_sessions(e);
	s = e->after;
	if (!s || (s->prev && s->prev->c.id > id))
		s = e->first;
	while (s && s->c.id <= id)
		s = s->next;
	e->after = s ? s : e->last;
	return s;
}

const struct nbds_connection *nbds_engine_next_connection(struct nbds_engine *e, uint32_t id)
{
	struct session *s = session_after(e, id);
	struct nbds_connection *c = records_after(&e->records, &e->next, id);

	return !c || (s && s->c.id < c->id) ? (s ? &s->c : NULL) : c;
}

struct nbds_export *nbds_engine_exports(struct nbds_engine *e)
{
	return e->exports.oldest;
}

unsigned nbds_connection_outstanding(const struct nbds_connection *c, struct nbds_outstanding *list,
				     unsigned max)
{
	const struct session *s = session_of_const(c);
	unsigned n = 0;

	for (const struct inflight *f = s->oldest; f && n < max; f = f->newer) {
		if (f->request->type != NBD_CMD_DISC)
			list[n++] = session_outstanding(f);
	}
	return n;
}

void nbds_connection_refresh(struct nbds_connection *c)
{
	session_refresh(session_of(c));
}

bool nbds_request_seen(const struct nbds_request *r, struct nbds_mark *first)
{
	const struct inflight *f = r->user;

	if (f)
		*first = f->first;
	return f;
}

void nbds_engine_totals(const struct nbds_engine *e, struct nbds_engine_totals *t)
{
	struct nbds_world_stats stats;
	unsigned n = 0;

	_Static_assert(NBDS_UNCHECKED_MAX < 16, "no room for all reasons");
	memset(t, 0, sizeof(*t));
	t->connections = e->connection_count;
	t->exports = e->exports.count;
	memcpy(t->findings, e->findings.count, sizeof(t->findings));
	servers_stats(&e->servers, &stats);
	t->read_bytes = e->read_bytes;
	t->checked_reads = stats.reads;
	t->checked_bytes = stats.checked_bytes;
	t->memory = stats.memory;
	t->forgotten_connections = e->forgotten;
	t->forgotten_exports = e->exports.forgotten;
	t->forgotten_servers = e->servers.forgotten;
	t->given_up = e->given_up;
	t->forgotten_blocks = stats.forgotten;
	t->forgotten_versions = stats.pruned;
	t->forgotten_from = stats.lost_from;
	t->forgotten_to = stats.lost_to;
	for (unsigned k = 0; k < NBDS_UNCHECKED_MAX; k++) {
		if (!stats.unchecked[k])
			continue;
		t->unchecked[n].reason = nbds_unchecked_names[k];
		t->unchecked[n++].bytes = stats.unchecked[k];
	}
}

void nbds_engine_forget(struct nbds_engine *e,
			bool (*which)(void *arg, const struct nbds_connection *c), void *arg)
{
	for (struct session *s = e->ended.oldest, *newer; s; s = newer) {
		newer = s->prev_open;
		if (findings_waits(&e->findings, s->c.id) || !which(arg, &s->c))
			continue;
		findings_end(&e->findings, s->c.id);
		if (s->c.export)
			export_leave(&e->exports, export_more(s->c.export), s->c.id);
		session_forget(s);
	}
}

void nbds_engine_free(struct nbds_engine *e)
{
	if (!e)
		return;
	while (e->undecided_first)
		nbds_stream_close(e->undecided_first, false, true, &e->undecided_first->first);
	while (e->open.newest)
		session_close(e->open.newest, false, true, &e->open.newest->last_clean[0]);
	while (e->ended.newest)
		session_forget(e->ended.newest);
	records_free(&e->records);
	unpacked_free(&e->next);
	unpacked_free(&e->found);
	servers_free(&e->servers);
	nbds_unflushed_sum_free(e->servers.config.tally);
	exports_free(&e->exports);
	e->findings.deliver = NULL; /* it is too late */
	doubts_free(&e->doubts);
	findings_free(&e->findings);
	clients_free(&e->clients);
	nbds_table_free(&e->by_id, &e->budget);
	nbds_table_free(&e->waiting, &e->budget);
	while (e->free_inflight) {
		struct inflight *f = e->free_inflight;

		e->free_inflight = f->next_free;
		free(f);
	}
	nbds_budget_done(&e->budget);
	free(e);
}
