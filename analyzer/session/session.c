/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A session's life: its decoder, its place among the engine's, its party in its
 * server's world; bytes in, and its end.
 */
#include <string.h>

#include "../latency/latency.h"
#include "internal.h"
#include <base/clock.h>

char *session_bytes(struct session *s, const void *bytes, size_t len)
{
	char *text = nbds_budget_alloc(&s->engine->budget, len + 1);

	if (text && len)
		memcpy(text, bytes, len);
	return text;
}

void session_bytes_free(struct session *s, const char *text, size_t len)
{
	nbds_budget_free(&s->engine->budget, (char *)text, len + 1);
}

void *session_one_more(struct session *s, void *list, unsigned count, size_t size)
{
	if (count & (count - 1))
		return list;
	return nbds_budget_realloc(&s->engine->budget, list, count * size,
				   (count ? 2 * (size_t)count : 1) * size);
}

void session_list_free(struct session *s, void *list, unsigned count, size_t size)
{
	size_t room = count ? 1 : 0;

	while (room < count)
		room *= 2;
	nbds_budget_free(&s->engine->budget, list, room * size);
}

void session_contexts_free(struct session *s, struct nbds_context *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		s->texts_kept -= (unsigned)list[i].name_len;
		session_bytes_free(s, list[i].name, list[i].name_len);
	}
	session_list_free(s, list, count, sizeof(*list));
}

/* Its world will be told something. */
static void session_stir(struct session *s)
{
	if (s->server)
		server_stir(s->server);
}

static void session_list(struct session *s, struct session_list *list)
{
	s->prev_open = NULL;
	s->next_open = list->newest;
	*(s->next_open ? &s->next_open->prev_open : &list->oldest) = s;
	list->newest = s;
}

static void session_unlist(struct session *s, struct session_list *list)
{
	*(s->prev_open ? &s->prev_open->next_open : &list->newest) = s->next_open;
	*(s->next_open ? &s->next_open->prev_open : &list->oldest) = s->prev_open;
}

static const struct secure_ops session_secure_ops; /* below */

/* --- birth and death ----------------------------------------------------- */

/* What the decoder takes is counted as it grows. */
static void count_decoder(struct session *s)
{
	uint64_t takes = s->decoder ? nbds_decoder_memory(s->decoder) : 0;

	if (takes > s->decoder_takes)
		nbds_budget_take(&s->engine->budget, takes - s->decoder_takes);
	else
		nbds_budget_give(&s->engine->budget, s->decoder_takes - takes);
	s->decoder_takes = takes;
}

static void drop_decoder(struct session *s)
{
	secure_end(s);
	nbds_decoder_free(s->decoder);
	s->decoder = NULL;
	count_decoder(s);
}

struct session *session_new(struct nbds_engine *e, const struct nbds_addr *client,
			    const struct nbds_addr *server, bool from_start, enum nbds_start start,
			    const struct nbds_mark *first, const struct nbds_decoder_ops *ops)
{
	struct session *s = nbds_budget_alloc(&e->budget, sizeof(*s));

	if (!s)
		return NULL;
	s->engine = e;
	s->secure_ops = &session_secure_ops;
	s->decoder = nbds_decoder_new(ops, s, start);
	if (!s->decoder) {
		nbds_budget_free(&e->budget, s, sizeof(*s));
		return NULL;
	}
	count_decoder(s);
	s->c.client = *client;
	s->c.server = *server;
	s->c.from_start = from_start;
	s->c.sure = from_start;
	s->c.first_frame = s->c.last_frame = first->frame;
	s->c.first_time = s->c.last_time = first->time;
	s->last_clean[0] = s->last_clean[1] = *first;
	s->appeared = point_of(first);
	session_list(s, &e->open);
	return s;
}

/* A rule of the protocol was broken. */
static void on_rule(void *ctx, struct nbds_finding *f)
{
	struct session *s = ctx;

	f->connection = s->c.id;
	if (s->c.export) {
		f->export_name = s->c.export_name;
		f->export_name_len = s->c.export_name_len;
	}
	doubts_tell(&s->engine->doubts, s->server, f);
}

static void connect_party(struct session *s)
{
	bool from_start = s->c.from_start && !s->parted;

	s->party = nbds_world_connect(s->server->world, s->c.id, from_start, &s->appeared);
	if (!s->party)
		return;
	if (s->shown.frame)
		nbds_party_shown(s->party, &s->shown);
	if (s->c.export)
		nbds_party_export(s->party, s->c.export_name, s->c.export_name_len,
				  s->c.negotiated.size, s->c.negotiated.transmission_flags,
				  s->c.negotiated.export_seen);
	else if (!from_start)
		/* an export of its own: which one it is cannot be known */
		nbds_party_export(s->party, UNKNOWN_EXPORT, sizeof(UNKNOWN_EXPORT) - 1, 0, 0,
				  false);
	if (s->heard)
		nbds_party_heard(s->party, &s->first_heard);
	if (s->complete)
		nbds_party_complete(s->party, s->complete);
}

void session_join(struct session *s)
{
	if (s->party || !s->server || s->ended)
		return;
	if (s->server->world) {
		session_stir(s);
		connect_party(s);
		return;
	}
	if (!server_world(s->server))
		return;
	session_stir(s);
	for (struct server_use *use = s->server->first_use; use; use = use->next) {
		struct session *o = nbds_owner(use, struct session, server_use);

		if (!o->party && !o->ended)
			connect_party(o);
	}
}

struct rules_connection *session_rules(struct session *s)
{
	if (s->rules || s->ended || s->c.given_up)
		return s->rules;
	s->rules = nbds_budget_alloc(&s->engine->budget, sizeof(*s->rules));
	if (s->rules)
		rules_begin(s->rules, &s->c, on_rule, s);
	return s->rules;
}

/* Into the list of all. */
static void session_number(struct session *s)
{
	struct nbds_engine *e = s->engine;

	if (!s->c.id)
		s->c.id = ++e->last_id;
	e->connection_count++;
	e->disordered |= e->last && e->last->c.id > s->c.id;
	s->prev = e->last;
	*(e->last ? &e->last->next : &e->first) = s;
	e->last = s;
}

/* From now on it counts: it has an id, and a party in its server's world. */
void session_announce(struct session *s)
{
	struct nbds_engine *e = s->engine;

	if (s->announced)
		return;
	s->announced = true;
	session_number(s);
	nbds_table_add(&e->by_id, &e->budget, &s->by_id, nbds_hash_u64(&e->key, s->c.id));
	s->server = server_get(&e->servers, &s->c.server);
	if (s->doubted)
		doubts_bytes(&e->doubts, s->server, s->c.id, 0, 0, 1, &s->doubted_since);
	if (s->server) {
		server_use(s->server, &s->server_use);
		if (s->server->world || !s->c.from_start)
			session_join(s);
	}
	counts_opened(s);
	if (e->ops.connection)
		e->ops.connection(e->ctx, &s->c);
}

void session_elsewhere(struct session *s)
{
	struct nbds_engine *e = s->engine;

	if (s->elsewhere)
		return;
	s->elsewhere = true;
	if (!s->c.id)
		s->c.id = ++e->last_id;
	server_get(&e->servers, &s->c.server);
}

void session_inflight_free(struct session *s, struct inflight *f)
{
	*(f->older ? &f->older->newer : &s->oldest) = f->newer;
	*(f->newer ? &f->newer->older : &s->newest) = f->older;
	f->next_free = s->engine->free_inflight;
	s->engine->free_inflight = f;
}

struct nbds_outstanding session_outstanding(const struct inflight *f)
{
	const struct nbds_request *r = f->request;

	return (struct nbds_outstanding){r->type,   r->flags,       r->cookie,     r->offset,
					 r->length, f->first.frame, f->first.time, f->reply_frame};
}

/* It will not be answered any more. */
static void leave_open(struct session *s, const struct inflight *f)
{
	struct nbds_connection *c = &s->c;
	unsigned at = c->left_open_count;

	if (at == NBDS_LEFT_OPEN_MAX || f->request->type == NBD_CMD_DISC)
		return;
	if (!c->left_open)
		c->left_open = nbds_budget_alloc(&s->engine->budget,
						 NBDS_LEFT_OPEN_MAX * sizeof(*c->left_open));
	if (!c->left_open)
		return;
	/* one whose answer was cut short may be younger than others */
	for (; at > 0 && c->left_open[at - 1].frame > f->first.frame; at--)
		c->left_open[at] = c->left_open[at - 1];
	c->left_open[at] = session_outstanding(f);
	c->left_open_count++;
}

void session_end_owed(struct session *s)
{
	if (s->owed)
		nbds_op_write_end(s->owed);
	s->owed = NULL;
}

void session_drop_request(void *arg, struct nbds_request *r)
{
	struct session *s = arg;
	struct inflight *f = r->user;

	s->c.unanswered++;
	if (s->engine->counts)
		s->engine->counts->unanswered++;
	if (!f)
		return;
	if (!s->closing)
		leave_open(s, f);
	if (f->op)
		nbds_op_open(f->op);
	f->op = NULL;
	session_inflight_free(s, f);
	r->user = NULL;
}

void session_refresh_unflushed(struct session *s)
{
	struct nbds_unflushed u;

	if (!s->party)
		return;
	nbds_party_unflushed(s->party, &u);
	s->c.unflushed_writes = u.writes;
	s->c.unflushed_bytes = u.bytes;
	s->c.unflushed_since = u.since;
}

void session_refresh(struct session *s)
{
	if (s->decoder) {
		nbds_decoder_accounting(s->decoder, NBDS_CLIENT, &s->c.bytes[NBDS_CLIENT]);
		nbds_decoder_accounting(s->decoder, NBDS_SERVER, &s->c.bytes[NBDS_SERVER]);
		s->c.negotiated = *nbds_decoder_negotiated(s->decoder);
	}
	session_refresh_unflushed(s);
}

/* Who closed first, and a request that was unanswered then. */
static void hang_up(struct session *s)
{
	const struct nbds_connection *c = &s->c;
	enum nbds_side side;
	bool seen = nbds_closed_first(c, &side);
	struct nbds_hang_up how = {.by_server = seen && side == NBDS_SERVER,
				   .frame = seen ? c->closed[side].frame : 0};

	for (unsigned i = 0; i < c->left_open_count; i++) {
		const struct nbds_outstanding *q = &c->left_open[i];

		if (how.request_frame && (how.type == NBD_CMD_FLUSH || q->type != NBD_CMD_FLUSH))
			continue;
		how.request_frame = q->frame;
		how.type = q->type;
	}
	nbds_party_hung_up(s->party, &how);
}

void session_unawaited(struct session *s, uint64_t requests)
{
	if (requests > s->c.in_flight)
		requests = s->c.in_flight;
	s->c.in_flight -= requests;
	if (s->engine->counts)
		s->engine->counts->in_flight -= requests;
}

static void drop_rules(struct session *s)
{
	nbds_budget_free(&s->engine->budget, s->rules, sizeof(*s->rules));
	s->rules = NULL;
}

void session_part(struct session *s)
{
	session_end_owed(s);
	for (struct inflight *f = s->oldest; f; f = f->newer) {
		if (f->op)
			nbds_op_open(f->op);
		f->op = NULL;
	}
	session_refresh(s);
	if (s->party)
		nbds_party_leave(s->party);
	s->party = NULL;
	s->parted = true;
}

void session_rejoin(struct session *s)
{
	struct nbds_point at = point_of(&s->last_clean[NBDS_CLIENT]);

	session_join(s);
	if (s->party && (!s->decoder || nbds_opaque(&s->c)))
		nbds_party_opaque(s->party, &at);
}

void session_complete(struct session *s, uint64_t frame)
{
	uint64_t since;

	if (secure_waits(s, &since))
		return;
	s->complete = frame;
	if (s->party && !s->ended)
		nbds_party_complete(s->party, frame);
}

/* How it ended, for the rules about that. */
static void tell_end(struct session *s, bool open, const struct nbds_mark *where)
{
	struct rules_open list[NBDS_LEFT_OPEN_MAX];
	uint64_t count = s->c.in_flight;
	unsigned n = 0;

	if (!s->rules)
		return;
	for (struct inflight *f = s->oldest; f && n < NBDS_LEFT_OPEN_MAX; f = f->newer)
		if (f->request->type != NBD_CMD_DISC)
			list[n++] = (struct rules_open){f->request, &f->rules};
	rules_end(s->rules, open, list, n, count > n ? count : n, where);
	drop_rules(s);
}

/* Nothing more comes of it: it is put away, or what can be of it. */
static void ended(struct session *s)
{
	struct nbds_engine *e = s->engine;

	s->ended = true;
	if (s->stream) {
		s->stream->session = NULL;
		s->stream->useless = true;
	}
	s->stream = NULL;
	client_leave(&e->clients, &s->use);
	session_unlist(s, &e->open);
	if (s->announced)
		session_list(s, &e->ended);
	counts_ended(s);
	if (s->announced && e->ops.end)
		e->ops.end(e->ctx, &s->c);
	e->current = NULL;
	if (!s->announced)
		session_free(s);
	else if (!e->config.keep_ended)
		session_put_away(s);
}

void session_close(struct session *s, bool rst, bool open, const struct nbds_mark *where)
{
	struct nbds_engine *e = s->engine;
	struct nbds_point at = point_of(where);

	if (s->ended)
		return;
	session_stir(s);
	secure_hurry(s);
	e->current = s;
	if (s->decoder) {
		nbds_decoder_end(s->decoder, NBDS_CLIENT, where);
		nbds_decoder_end(s->decoder, NBDS_SERVER, where);
	}
	session_end_owed(s);
	for (const struct inflight *f = s->oldest; f && s->c.left_open_count < NBDS_LEFT_OPEN_MAX;
	     f = f->newer)
		leave_open(s, f);
	s->closing = true;
	tell_end(s, open, where);
	if (s->decoder)
		nbds_decoder_each_request(s->decoder, session_drop_request, s);
	if (s->c.end == NBDS_END_OPEN && !open)
		s->c.end = rst ? NBDS_END_RST : NBDS_END_FIN;
	session_unawaited(s, s->c.in_flight);
	session_refresh(s);
	drop_decoder(s);
	if (s->party && !open) {
		hang_up(s);
		nbds_party_end(s->party, &at);
	}
	ended(s);
}

void session_give_up(struct session *s)
{
	struct nbds_engine *e = s->engine;
	struct nbds_point at = point_of(&s->last_clean[NBDS_CLIENT]);

	if (s->ended)
		return;
	e->current = s;
	session_refresh(s);
	if (s->announced) {
		s->c.given_up = true;
		e->given_up++;
		session_join(s);
		session_stir(s);
		if (s->server)
			s->server->unseen = true;
	}
	session_end_owed(s);
	nbds_decoder_each_request(s->decoder, session_drop_request, s);
	session_unawaited(s, s->c.in_flight);
	drop_decoder(s);
	drop_rules(s);
	if (s->party)
		nbds_party_gone(s->party, &at);
	ended(s);
}

static void commands_free(struct session *s)
{
	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		struct nbds_command_stats *c = &s->c.commands[i];

		latency_free(&s->engine->budget, c->latency);
		session_list_free(s, c->errors, c->error_kinds, sizeof(*c->errors));
		c->latency = NULL;
		c->errors = NULL;
	}
}

void session_forget(struct session *s)
{
	struct nbds_engine *e = s->engine;

	if (e->after == s)
		e->after = NULL;
	session_unlist(s, &e->ended);
	*(s->prev ? &s->prev->next : &e->first) = s->next;
	*(s->next ? &s->next->prev : &e->last) = s->prev;
	nbds_table_remove(&e->by_id, &s->by_id);
	session_free(s);
}

bool session_put_away(struct session *s)
{
	struct nbds_engine *e = s->engine;

	if (s->c.unflushed_writes || !records_add(&e->records, &s->c))
		return false;
	session_forget(s);
	return true;
}

void session_again(struct session *s)
{
	session_unlist(s, &s->engine->ended);
	session_list(s, &s->engine->ended);
}

void session_free(struct session *s)
{
	nbds_budget_free(&s->engine->budget, s->rules, sizeof(*s->rules));
	if (s->party)
		nbds_party_leave(s->party);
	if (s->server)
		server_leave(s->server, &s->server_use);
	commands_free(s);
	session_contexts_free(s, s->c.contexts, s->c.context_count);
	session_contexts_free(s, s->new_contexts, s->new_count);
	for (unsigned i = 0; i < s->c.option_count; i++) {
		struct nbds_option_seen *o = &s->c.options[i];

		session_list_free(s, o->replies, o->reply_kept, sizeof(*o->replies));
		nbds_budget_free(&s->engine->budget, o->text, o->text_len);
	}
	session_list_free(s, s->c.options, s->c.option_count, sizeof(*s->c.options));
	session_bytes_free(s, s->c.export_name, s->c.export_name_len);
	nbds_budget_free(&s->engine->budget, s->c.flushes, s->flush_room * sizeof(*s->c.flushes));
	nbds_budget_free(&s->engine->budget, s->c.left_open,
			 NBDS_LEFT_OPEN_MAX * sizeof(*s->c.left_open));
	if (s->c.first_nonsense)
		session_bytes_free(s, s->c.first_nonsense, strlen(s->c.first_nonsense));
	drop_decoder(s);
	nbds_budget_free(&s->engine->budget, s, sizeof(*s));
}

/* --- bytes in ------------------------------------------------------------ */

static void decode(struct session *s, enum nbds_side side, const uint8_t *data, size_t len,
		   const struct nbds_mark *where)
{
	session_stir(s);
	s->engine->current = s;
	nbds_decoder_data(s->decoder, side, data, len, where);
	count_decoder(s);
	s->last_clean[side] = *where;
	s->c.heard[side].frame = where->frame;
	s->c.heard[side].time = where->time;
	s->engine->current = NULL;
}

static void lose(struct session *s, enum nbds_side side, uint64_t len,
		 const struct nbds_mark *where)
{
	session_stir(s);
	s->engine->current = s;
	if (side == NBDS_CLIENT) {
		/* an option may have been lost: another name, and block sizes asked for */
		s->name_final = false;
		s->asked_block_size = true;
	}
	if (len)
		nbds_decoder_gap(s->decoder, side, len, where);
	else
		nbds_decoder_lose(s->decoder, side, where);
	count_decoder(s);
	s->engine->current = NULL;
}

void session_data(struct session *s, enum nbds_side side, const uint8_t *data, size_t len,
		  const struct nbds_mark *where)
{
	if (s->ended || !s->decoder)
		return;
	session_stir(s);
	if (side == NBDS_SERVER && !s->heard) {
		s->heard = true;
		s->first_heard = point_of(where);
		if (s->party)
			nbds_party_heard(s->party, &s->first_heard);
	}
	if (secure_on(s, side)) {
		secure_data(s, side, data, len, where);
	} else {
		struct nbds_mark m = *where;

		m.ack = secure_acked(s, !side, m.ack);
		decode(s, side, data, len, &m);
		secure_go_on(s);
	}
	if (s->engine->counts && s->decoder)
		counts_bytes(s, side);
}

void session_gap(struct session *s, enum nbds_side side, uint64_t len, bool snaplen,
		 const struct nbds_mark *where)
{
	if (s->ended || !s->decoder)
		return;
	s->c.gaps++;
	s->c.gap_bytes += len;
	if (snaplen)
		s->c.snaplen_bytes += len;
	if (s->engine->counts) {
		s->engine->counts->gaps++;
		s->engine->counts->gap_bytes += len;
	}
	if (secure_on(s, side)) {
		secure_gap(s, side, len, where);
	} else {
		struct nbds_mark m = *where;

		m.ack = secure_acked(s, !side, m.ack);
		lose(s, side, len, &m);
		secure_headless(s, side, len, &m);
	}
}

static void closed(struct session *s, enum nbds_side side, bool rst, const struct nbds_mark *where)
{
	if (s->c.closed[side].frame)
		return;
	s->c.closed[side].frame = where->frame;
	s->c.closed[side].time = where->time;
	s->c.closed[side].ack = secure_acked(s, !side, where->ack);
	if (s->decoder) {
		struct nbds_accounting bytes;

		nbds_decoder_accounting(s->decoder, side, &bytes);
		s->c.closed[side].sent = bytes.fed;
	}
	s->c.closed[side].rst = rst;
	s->c.closed[side].unseen = !rst && where->flags & NBDS_MARK_LATE;
}

void session_reset(struct session *s, enum nbds_side side, const struct nbds_mark *where)
{
	if (!s->ended)
		closed(s, side, true, where);
}

void session_conflict(struct session *s, enum nbds_side side, uint64_t offset, uint64_t len,
		      const struct nbds_mark *first)
{
	struct nbds_point since = {first->lo_frame, first->lo_time, first->interface};

	secure_range(s, side, &offset, &len);
	if (s->announced) {
		doubts_bytes(&s->engine->doubts, s->server, s->c.id, s->spans[side], offset,
			     offset + len, &since);
	} else if (!s->doubted || since.frame < s->doubted_since.frame) {
		s->doubted = true;
		s->doubted_since = since;
	}
}

void session_acked(struct session *s, enum nbds_side side, uint64_t offset, uint64_t len,
		   uint64_t first_ack, uint64_t ack, const struct nbds_mark *first)
{
	first_ack = secure_acked(s, !side, first_ack);
	ack = secure_acked(s, !side, ack);
	secure_range(s, side, &offset, &len);
	if ((first_ack == NBDS_NO_ACK || ack == NBDS_NO_ACK) && s->secure) {
		/* as if it proved less */
		first_ack = 1;
		ack = 0;
	}
	/* A server that had acknowledged more, and a client that had acknowledged less, than
	 * the first copy says prove less by it.  And who sends an answer again has not
	 * forgotten what was acknowledged with it: perhaps the first copy was not sent then. */
	struct nbds_point at = point_of(first);
	bool less;

	less = (side == NBDS_SERVER && ack != first_ack) || ack < first_ack;
	doubts_order(&s->engine->doubts, s->server, s->c.id, s->spans[side], offset, offset + len,
		     &at, less);
}

static void half_close(struct session *s, enum nbds_side side, const struct nbds_mark *where)
{
	if (s->ended || !s->decoder)
		return;
	session_stir(s);
	s->engine->current = s;
	closed(s, side, false, where);
	nbds_decoder_end(s->decoder, side, where);
	/* a server that had died would have closed before it was asked to */
	if (side == NBDS_SERVER && s->party && s->disc.frame && s->disc.frame < where->frame)
		nbds_party_alive(s->party, &s->disc);
	s->engine->current = NULL;
}

void session_half_close(struct session *s, enum nbds_side side, const struct nbds_mark *where)
{
	if (!s->ended && s->decoder && !secure_half_close(s, side, where))
		half_close(s, side, where);
}

static const struct secure_ops session_secure_ops = {decode, lose, half_close};
