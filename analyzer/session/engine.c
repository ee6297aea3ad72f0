/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine: servers, connections, exports, findings.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The margin of capture order between connections.  On loopback every packet is
 * seen as it is sent, by one clock, before anybody can act on it: strictly later
 * is later.  A network card, its queues and their batches can blur some
 * microseconds. */
#define EPSILON INT64_C(50000)
#define SETTLE  INT64_C(500000000) /* for late evidence, such as counts of dropped packets */
#define TICK    INT64_C(5000000)

struct nbds_engine *nbds_engine_new(const struct nbds_engine_config *config,
				    const struct nbds_engine_ops *ops, void *ctx)
{
	struct nbds_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->config = *config;
	if (e->config.port_count > NBDS_PORTS_MAX)
		e->config.port_count = NBDS_PORTS_MAX;
	if (!e->config.memory)
		e->config.memory = (uint64_t)1 << 30;
	e->budget.limit = e->config.memory;
	e->ops = *ops;
	e->ctx = ctx;
	e->connections_tail = &e->connections;
	e->exports_tail = &e->exports;
	e->now = e->last_tick = INT64_MIN;
	return e;
}

bool engine_port(const struct nbds_engine *e, uint16_t port)
{
	if (port == NBDS_PORT)
		return true;
	for (unsigned i = 0; i < e->config.port_count; i++)
		if (e->config.ports[i] == port)
			return true;
	return false;
}

static size_t addr_hash(const struct nbds_addr *a)
{
	uint32_t h = 2166136261u;

	for (unsigned i = 0; i < 16; i++)
		h = (h ^ a->ip[i]) * 16777619u;
	h = (h ^ a->port) * 16777619u;
	return (h ^ h >> 15) % SERVER_BUCKETS;
}

struct server *server_find(const struct nbds_engine *e, const struct nbds_addr *addr)
{
	for (struct server *s = e->servers[addr_hash(addr)]; s; s = s->chain)
		if (nbds_addr_equal(&s->addr, addr))
			return s;
	return NULL;
}

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct server *s = ctx;
	struct nbds_finding named = *f;

	if (f->export_name_len == sizeof(UNKNOWN_EXPORT) - 1 &&
	    memcmp(f->export_name, UNKNOWN_EXPORT, f->export_name_len) == 0) {
		named.export_name = NULL;
		named.export_name_len = 0;
	}
	engine_finding(s->engine, &named);
}

static void on_flushed(void *ctx, const struct nbds_flush_report *r)
{
	struct server *srv = ctx;
	struct session *s = srv->engine->current;
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
		struct nbds_flush_seen *list = realloc(s->c.flushes, room * sizeof(f));

		if (!list)
			return;
		s->c.flushes = list;
		s->flush_room = room;
	}
	s->c.flushes[s->c.flush_kept++] = f;
}

static bool on_settled(void *ctx, const struct nbds_point *upto)
{
	struct server *s = ctx;
	struct nbds_engine *e = s->engine;

	return !e->held || !e->held(e->held_ctx, upto->time);
}

static bool is_loopback(const struct nbds_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (a->family == 4)
		return a->ip[0] == 127;
	return memcmp(a->ip, one, 16) == 0 || (memcmp(a->ip, mapped, 12) == 0 && a->ip[12] == 127);
}

struct server *server_get(struct nbds_engine *e, const struct nbds_addr *addr)
{
	static const struct nbds_world_ops ops = {on_flushed, on_finding, on_settled};
	struct server *s = server_find(e, addr);
	struct nbds_world_config config = {.epsilon = e->config.epsilon   ? e->config.epsilon
						      : is_loopback(addr) ? 0
									  : EPSILON,
					   .settle = SETTLE,
					   .exclusive = e->config.exclusive,
					   .memory = e->config.memory,
					   .budget = &e->budget};

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->engine = e;
	s->addr = *addr;
	nbds_addr_text(addr, config.server);
	s->world = nbds_world_new(&config, &ops, s);
	if (!s->world) {
		free(s);
		return NULL;
	}
	if (e->dropped)
		nbds_world_dropped(s->world);
	if (e->interfaces)
		nbds_world_interfaces(s->world);
	s->chain = e->servers[addr_hash(addr)];
	e->servers[addr_hash(addr)] = s;
	return s;
}

/* --- findings ------------------------------------------------------------ */

static struct session *session_by_id(struct nbds_engine *e, uint32_t id)
{
	if (e->current && e->current->c.id == id)
		return e->current;
	for (struct nbds_connection *c = e->connections; c; c = c->next)
		if (c->id == id)
			return (struct session *)c;
	return NULL;
}

static void deliver(struct nbds_engine *e, const struct nbds_finding *f)
{
	e->findings[f->severity] += f->count;
	if (e->ops.finding)
		e->ops.finding(e->ctx, f);
}

/* Tells the first ones; of more, keeps the last that it would have told, to
 * tell it at the end with how many it stands for. */
void engine_finding(struct nbds_engine *e, const struct nbds_finding *f)
{
	struct session *s = session_by_id(e, f->connection);
	struct repeat *r = s ? &s->repeats[f->rule - nbds_rules] : NULL;

	if (!r || ++r->count < REPEATS_MAX) {
		deliver(e, f);
		return;
	}
	if (r->count == REPEATS_MAX)
		r->last = nbds_finding_copy(f);
	else if (r->last)
		r->last->count += f->count;
}

static void tell_repeats(struct session *s)
{
	for (unsigned i = 0; i < RULE_COUNT; i++) {
		if (!s->repeats[i].last)
			continue;
		deliver(s->engine, s->repeats[i].last);
		nbds_finding_free(s->repeats[i].last);
		s->repeats[i].last = NULL;
	}
}

/* --- time ---------------------------------------------------------------- */

void nbds_engine_set_held(struct nbds_engine *e, bool (*held)(void *ctx, int64_t upto), void *ctx)
{
	e->held = held;
	e->held_ctx = ctx;
}

static void each_world(struct nbds_engine *e, void (*each)(struct nbds_world *w, void *arg),
		       void *arg)
{
	for (unsigned i = 0; i < SERVER_BUCKETS; i++)
		for (struct server *s = e->servers[i]; s; s = s->chain)
			each(s->world, arg);
}

static void world_dropped(struct nbds_world *w, void *arg)
{
	(void)arg;
	nbds_world_dropped(w);
}

void nbds_engine_dropped(struct nbds_engine *e, uint64_t packets)
{
	if (!packets || e->dropped)
		return;
	e->dropped = true;
	each_world(e, world_dropped, NULL);
}

static void world_interfaces(struct nbds_world *w, void *arg)
{
	(void)arg;
	nbds_world_interfaces(w);
}

void nbds_engine_interfaces(struct nbds_engine *e, uint32_t interfaces)
{
	if (interfaces < 2 || e->interfaces)
		return;
	e->interfaces = true;
	each_world(e, world_interfaces, NULL);
}

struct memory {
	struct nbds_world *largest;
	uint64_t total, most;
};

static void world_memory(struct nbds_world *w, void *arg)
{
	struct memory *m = arg;
	struct nbds_world_stats s;

	nbds_world_stats(w, &s);
	m->total += s.memory;
	if (s.memory < m->most)
		return;
	m->most = s.memory;
	m->largest = w;
}

/* Each world keeps to the limit; all of them together do, too. */
static void keep_to_limit(struct nbds_engine *e)
{
	uint64_t limit = e->config.memory, excess;
	struct memory m = {0};

	each_world(e, world_memory, &m);
	if (m.total <= limit || m.total == m.most)
		return;
	excess = m.total - limit + limit / 8;
	nbds_world_shrink(m.largest, excess < m.most ? m.most - excess : 0);
}

static void world_tick(struct nbds_world *w, void *arg)
{
	nbds_world_tick(w, *(int64_t *)arg);
}

void nbds_engine_tick(struct nbds_engine *e, int64_t now)
{
	if (now > e->now)
		e->now = now;
	/* worlds look at their pending verdicts now and then, not at each packet */
	if (e->last_tick != INT64_MIN && now >= e->last_tick && now - e->last_tick < TICK)
		return;
	e->last_tick = now;
	each_world(e, world_tick, &now);
	keep_to_limit(e);
}

static void world_finish(struct nbds_world *w, void *arg)
{
	(void)arg;
	nbds_world_finish(w);
}

void nbds_engine_finish(struct nbds_engine *e)
{
	each_world(e, world_finish, NULL);
	for (struct nbds_connection *c = e->connections; c; c = c->next)
		session_refresh((struct session *)c);
	for (struct nbds_connection *c = e->connections; c; c = c->next)
		tell_repeats((struct session *)c);
}

/* --- what the fronts read ------------------------------------------------ */

struct nbds_connection *nbds_engine_connections(struct nbds_engine *e)
{
	return e->connections;
}

struct nbds_export *nbds_engine_exports(struct nbds_engine *e)
{
	return e->exports;
}

unsigned nbds_connection_outstanding(const struct nbds_connection *c, struct nbds_outstanding *list,
				     unsigned max)
{
	const struct session *s = (const struct session *)c;
	unsigned n = 0;

	for (const struct inflight *f = s->oldest; f && n < max; f = f->newer) {
		const struct nbds_request *r = f->request;

		if (r->type == NBD_CMD_DISC)
			continue;
		list[n++] = (struct nbds_outstanding){r->type,      r->flags,  r->cookie,
						      r->offset,    r->length, f->first.frame,
						      f->first.time};
	}
	return n;
}

void nbds_connection_refresh(struct nbds_connection *c)
{
	session_refresh((struct session *)c);
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
	uint64_t unchecked[NBDS_UNCHECKED_MAX] = {0};
	unsigned n = 0;

	_Static_assert(NBDS_UNCHECKED_MAX < 16, "no room for all reasons");
	memset(t, 0, sizeof(*t));
	t->connections = e->connection_count;
	t->exports = e->export_count;
	memcpy(t->findings, e->findings, sizeof(t->findings));
	for (unsigned i = 0; i < SERVER_BUCKETS; i++) {
		for (const struct server *s = e->servers[i]; s; s = s->chain) {
			struct nbds_world_stats w;

			nbds_world_stats(s->world, &w);
			t->checked_reads += w.reads;
			t->checked_bytes += w.checked_bytes;
			t->memory += w.memory;
			for (unsigned k = 0; k < NBDS_UNCHECKED_MAX; k++)
				unchecked[k] += w.unchecked[k];
		}
	}
	for (unsigned k = 0; k < NBDS_UNCHECKED_MAX; k++) {
		if (!unchecked[k])
			continue;
		t->unchecked[n].reason = nbds_unchecked_names[k];
		t->unchecked[n++].bytes = unchecked[k];
	}
}

static void export_free(struct nbds_export *x)
{
	free(x->connections);
	free((char *)x->name);
	free(x);
}

static void export_leave(struct nbds_engine *e, struct nbds_export *x,
			 const struct nbds_connection *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < x->connection_count; i++)
		if (x->connections[i] != c)
			x->connections[n++] = x->connections[i];
	x->connection_count = n;
	if (n)
		return;
	for (struct nbds_export **at = &e->exports; *at; at = &(*at)->next) {
		if (*at != x)
			continue;
		*at = x->next;
		if (e->exports_tail == &x->next)
			e->exports_tail = at;
		export_free(x);
		return;
	}
}

void nbds_engine_forget(struct nbds_engine *e,
			bool (*which)(void *arg, const struct nbds_connection *c), void *arg)
{
	struct nbds_connection **at = &e->connections, *c;

	while ((c = *at)) {
		struct session *s = (struct session *)c;

		if (!s->ended || !which(arg, c)) {
			at = &c->next;
			continue;
		}
		tell_repeats(s);
		*at = c->next;
		if (e->connections_tail == &c->next)
			e->connections_tail = at;
		if (c->export)
			export_leave(e, c->export, c);
		session_free(s);
	}
}

void nbds_engine_free(struct nbds_engine *e)
{
	if (!e)
		return;
	while (e->undecided_first)
		nbds_stream_close(e->undecided_first, false, true, &e->undecided_first->first);
	while (e->open)
		session_close(e->open, false, true, &e->open->last_clean[0]);
	for (struct nbds_connection *c = e->connections, *next; c; c = next) {
		next = c->next;
		session_free((struct session *)c);
	}
	for (unsigned i = 0; i < SERVER_BUCKETS; i++) {
		for (struct server *s = e->servers[i], *next; s; s = next) {
			next = s->chain;
			nbds_world_free(s->world);
			free(s);
		}
	}
	for (struct nbds_export *x = e->exports, *next; x; x = next) {
		next = x->next;
		export_free(x);
	}
	while (e->free_inflight) {
		struct inflight *f = e->free_inflight;

		e->free_inflight = f->next_free;
		free(f);
	}
	free(e);
}
