/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A session: what one connection negotiated and did, told by its decoder, and
 * handed on to the consistency checker as commands and contents.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../latency/latency.h"
#include "internal.h"
#include <base/bytes.h>
#include <base/clock.h>

static struct nbds_point point_of(const struct nbds_mark *m)
{
	return (struct nbds_point){m->frame, m->time, m->interface};
}

/* Texts have a NUL behind their `len` bytes; given back with free_bytes(). */
static char *copy_bytes(struct session *s, const void *bytes, size_t len)
{
	char *text = nbds_budget_alloc(&s->engine->budget, len + 1);

	if (text && len)
		memcpy(text, bytes, len);
	return text;
}

static void free_bytes(struct session *s, const char *text, size_t len)
{
	nbds_budget_free(&s->engine->budget, (char *)text, len + 1);
}

/* Room for one more of `count` elements in an array whose room is the next power of
 * two; NULL without memory. */
static void *one_more(struct session *s, void *list, unsigned count, size_t size)
{
	if (count & (count - 1))
		return list;
	return nbds_budget_realloc(&s->engine->budget, list, count * size,
				   (count ? 2 * (size_t)count : 1) * size);
}

static void free_list(struct session *s, void *list, unsigned count, size_t size)
{
	size_t room = count ? 1 : 0;

	while (room < count)
		room *= 2;
	nbds_budget_free(&s->engine->budget, list, room * size);
}

static void free_contexts(struct session *s, struct nbds_context *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		s->texts_kept -= (unsigned)list[i].name_len;
		free_bytes(s, list[i].name, list[i].name_len);
	}
	free_list(s, list, count, sizeof(*list));
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
	nbds_decoder_free(s->decoder);
	s->decoder = NULL;
	count_decoder(s);
}

struct session *session_new(struct nbds_engine *e, const struct nbds_addr *client,
			    const struct nbds_addr *server, bool from_start, enum nbds_start start,
			    const struct nbds_mark *first)
{
	struct session *s = nbds_budget_alloc(&e->budget, sizeof(*s));

	if (!s)
		return NULL;
	s->engine = e;
	s->decoder = nbds_decoder_new(&session_decoder_ops, s, start);
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
	struct nbds_point at = {s->c.first_frame, s->c.first_time, 0};
	bool from_start = s->c.from_start && !s->parted;

	s->party = nbds_world_connect(s->server->world, s->c.id, from_start, &at);
	if (!s->party)
		return;
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

/* Something is to be told of it: its server needs a world, which is told first of all
 * connections that are open and have done nothing so far, in their order. */
static void join_world(struct session *s)
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

/* The rules' state, from the first message on. NULL: no memory, or it has ended. */
static struct rules_connection *rules(struct session *s)
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
			join_world(s);
	}
	if (e->ops.connection)
		e->ops.connection(e->ctx, &s->c);
}

static void inflight_free(struct session *s, struct inflight *f)
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

/* No more payload comes of the write that was answered before. */
static void end_owed(struct session *s)
{
	if (s->owed)
		nbds_op_write_end(s->owed);
	s->owed = NULL;
}

static void drop_request(void *arg, struct nbds_request *r)
{
	struct session *s = arg;
	struct inflight *f = r->user;

	s->c.unanswered++;
	if (!f)
		return;
	if (!s->closing)
		leave_open(s, f);
	if (f->op)
		nbds_op_open(f->op);
	f->op = NULL;
	inflight_free(s, f);
	r->user = NULL;
}

static void refresh_unflushed(struct session *s)
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
	refresh_unflushed(s);
}

/* Who closed first, and a request that was unanswered then. */
static void hang_up(struct session *s)
{
	const struct nbds_connection *c = &s->c;
	uint64_t client = c->closed[NBDS_CLIENT].frame, server = c->closed[NBDS_SERVER].frame;
	struct nbds_hang_up how = {.by_server = server && (!client || server < client)};

	how.frame = how.by_server ? server : client;
	for (unsigned i = 0; i < c->left_open_count; i++) {
		const struct nbds_outstanding *q = &c->left_open[i];

		if (how.request_frame && (how.type == NBD_CMD_FLUSH || q->type != NBD_CMD_FLUSH))
			continue;
		how.request_frame = q->frame;
		how.type = q->type;
	}
	nbds_party_hung_up(s->party, &how);
}

static void drop_rules(struct session *s)
{
	nbds_budget_free(&s->engine->budget, s->rules, sizeof(*s->rules));
	s->rules = NULL;
}

void session_give_up(struct session *s)
{
	struct nbds_point at = point_of(&s->last_clean[NBDS_CLIENT]);

	if (s->ended || !s->decoder)
		return;
	s->engine->current = s;
	session_refresh(s);
	s->c.given_up = true;
	if (s->announced)
		join_world(s);
	session_stir(s);
	end_owed(s);
	nbds_decoder_each_request(s->decoder, drop_request, s);
	s->c.in_flight = 0;
	drop_decoder(s);
	drop_rules(s);
	if (s->party)
		nbds_party_opaque(s->party, &at);
	s->engine->current = NULL;
}

void session_part(struct session *s)
{
	end_owed(s);
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

	join_world(s);
	if (s->party && (!s->decoder || s->c.negotiated.tls))
		nbds_party_opaque(s->party, &at);
}

void session_complete(struct session *s, uint64_t frame)
{
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

void session_close(struct session *s, bool rst, bool open, const struct nbds_mark *where)
{
	struct nbds_engine *e = s->engine;
	struct nbds_point at = point_of(where);

	if (s->ended)
		return;
	session_stir(s);
	e->current = s;
	if (s->decoder) {
		nbds_decoder_end(s->decoder, NBDS_CLIENT, where);
		nbds_decoder_end(s->decoder, NBDS_SERVER, where);
	}
	end_owed(s);
	for (const struct inflight *f = s->oldest; f && s->c.left_open_count < NBDS_LEFT_OPEN_MAX;
	     f = f->newer)
		leave_open(s, f);
	s->closing = true;
	tell_end(s, open, where);
	if (s->decoder)
		nbds_decoder_each_request(s->decoder, drop_request, s);
	if (s->c.end == NBDS_END_OPEN && !open)
		s->c.end = rst ? NBDS_END_RST : NBDS_END_FIN;
	s->c.in_flight = 0;
	session_refresh(s);
	drop_decoder(s);
	if (s->party && !open) {
		hang_up(s);
		nbds_party_end(s->party, &at);
	}
	s->ended = true;
	client_leave(&e->clients, &s->use);
	session_unlist(s, &e->open);
	if (s->announced)
		session_list(s, &e->ended);
	if (s->announced && e->ops.end)
		e->ops.end(e->ctx, &s->c);
	e->current = NULL;
	if (!s->announced)
		session_free(s);
	else if (!e->config.keep_ended)
		session_put_away(s);
}

static void commands_free(struct session *s);

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
	free_contexts(s, s->c.contexts, s->c.context_count);
	free_contexts(s, s->new_contexts, s->new_count);
	for (unsigned i = 0; i < s->c.option_count; i++) {
		struct nbds_option_seen *o = &s->c.options[i];

		free_list(s, o->replies, o->reply_kept, sizeof(*o->replies));
		nbds_budget_free(&s->engine->budget, o->text, o->text_len);
	}
	free_list(s, s->c.options, s->c.option_count, sizeof(*s->c.options));
	free_bytes(s, s->c.export_name, s->c.export_name_len);
	nbds_budget_free(&s->engine->budget, s->c.flushes, s->flush_room * sizeof(*s->c.flushes));
	nbds_budget_free(&s->engine->budget, s->c.left_open,
			 NBDS_LEFT_OPEN_MAX * sizeof(*s->c.left_open));
	if (s->c.first_nonsense)
		free_bytes(s, s->c.first_nonsense, strlen(s->c.first_nonsense));
	drop_decoder(s);
	nbds_budget_free(&s->engine->budget, s, sizeof(*s));
}

/* --- bytes in ------------------------------------------------------------ */

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
	s->engine->current = s;
	nbds_decoder_data(s->decoder, side, data, len, where);
	count_decoder(s);
	s->last_clean[side] = *where;
	s->c.heard[side].frame = where->frame;
	s->c.heard[side].time = where->time;
	s->engine->current = NULL;
}

void session_gap(struct session *s, enum nbds_side side, uint64_t len, bool snaplen,
		 const struct nbds_mark *where)
{
	if (s->ended || !s->decoder)
		return;
	session_stir(s);
	s->engine->current = s;
	s->c.gaps++;
	s->c.gap_bytes += len;
	if (snaplen)
		s->c.snaplen_bytes += len;
	if (side == NBDS_CLIENT) {
		/* an option may have been lost: another name, and block sizes asked for */
		s->name_final = false;
		s->asked_block_size = true;
	}
	nbds_decoder_gap(s->decoder, side, len, where);
	count_decoder(s);
	s->engine->current = NULL;
}

static void closed(struct session *s, enum nbds_side side, bool rst, const struct nbds_mark *where)
{
	if (s->c.closed[side].frame)
		return;
	s->c.closed[side].frame = where->frame;
	s->c.closed[side].time = where->time;
	s->c.closed[side].rst = rst;
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
	/* A server that had acknowledged more, and a client that had acknowledged less, than
	 * the first copy says prove less by it.  And who sends an answer again has not
	 * forgotten what was acknowledged with it: perhaps the first copy was not sent then. */
	bool less = (side == NBDS_SERVER && ack != first_ack) || ack < first_ack;
	struct nbds_point at = point_of(first);

	doubts_order(&s->engine->doubts, s->server, s->c.id, s->spans[side], offset, offset + len,
		     &at, less);
}

void session_half_close(struct session *s, enum nbds_side side, const struct nbds_mark *where)
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

/* --- exports ------------------------------------------------------------- */

/* The transmission phase begins: size, flags and name are final. */
static void enter_transmission(struct session *s, const struct nbds_message *msg)
{
	const struct nbds_negotiated *n = msg->negotiated;
	struct export_more *x;

	if (s->c.export || s->unnamed)
		return;
	join_world(s);
	if (n->handshake != NBDS_HANDSHAKE_OLDSTYLE && !s->name_final) {
		/* the option that named it was lost: which export it is, is not known */
		s->unnamed = true;
		free_bytes(s, s->c.export_name, s->c.export_name_len);
		s->c.export_name = NULL;
		s->c.export_name_len = 0;
		s->c.export_name_seen = false;
		s->c.negotiated = *n;
		if (s->party)
			nbds_party_export(s->party, UNKNOWN_EXPORT, sizeof(UNKNOWN_EXPORT) - 1, 0,
					  0, false);
		return;
	}
	if (!s->c.export_name)
		s->c.export_name = copy_bytes(s, NULL, 0);
	if (!s->c.export_name)
		return;
	s->c.negotiated = *n;
	s->block_bound = s->asked_block_size && s->got_block_size;
	s->block_unasked = !s->asked_block_size && s->got_block_size;
	x = export_get(&s->engine->exports, &s->c.server, s->c.export_name, s->c.export_name_len);
	if (x && export_join(&s->engine->exports, x, s->c.id, n))
		s->c.export = &x->e;
	if (s->party)
		nbds_party_export(s->party, s->c.export_name, s->c.export_name_len, n->size,
				  n->transmission_flags, n->export_seen);
	s->export_frame = msg->last.frame;
	s->export_time = msg->last.time;
}

/* --- hazards that need addresses or the handshake ------------------------- */

static void tell(struct session *s, struct nbds_finding *f, enum nbds_rule_id id, const char *text)
{
	f->rule = rule_get(id);
	f->severity = f->rule->severity;
	f->message = text;
	f->count = 1;
	f->connection = s->c.id;
	f->export_name = s->c.export_name;
	f->export_name_len = s->c.export_name_len;
	doubts_tell(&s->engine->doubts, s->server, f);
}

/* one client, several connections at a time, writing, no multi-conn. */
static void multiplexed(struct session *s, const struct nbds_message *m)
{
	struct export_more *x = export_more(s->c.export);
	struct nbds_finding f = {.time = m->first.time};
	char text[300], client[NBDS_ADDR_TEXT];
	const struct session *other = NULL;
	const struct client *host;

	if (!x || x->multiplex_told || s->c.end == NBDS_END_DISCONNECT)
		return;
	client_enter(&s->engine->clients, &s->use, x, &s->c.client);
	if (s->writes)
		client_writes(&s->use);
	host = s->use.client;
	if (!host || !s->c.negotiated.export_seen ||
	    (s->c.negotiated.transmission_flags & NBD_FLAG_CAN_MULTI_CONN) || !host->writers ||
	    !host->uses->next)
		return;
	for (const struct client_use *use = host->uses; use; use = use->next) {
		const struct session *o = nbds_owner(use, struct session, use);

		if (o != s && (s->writes || o->writes) && (!other || o->c.id < other->c.id))
			other = o;
	}
	if (!other)
		return;
	x->multiplex_told = true;
	nbds_addr_text(&s->c.client, client);
	*strrchr(client, ':') = '\0';
	snprintf(text, sizeof(text),
		 "%s appears to spread its work, writes among it, over conn %" PRIu32
		 " and conn %" PRIu32 " at the same time, although the export lacks "
		 "CAN_MULTI_CONN: what one of them writes the other need not see",
		 client, other->c.id, s->c.id);
	f.command = m->name;
	f.frames[NBDS_ROLE_MESSAGE] = m->first.frame;
	tell(s, &f, RULE_MULTIPLEX, text);
}

/* Bit 8 where qemu 3.0 meant SEND_CACHE. */
static void bit_8(struct session *s, const struct nbds_message *m)
{
	struct export_more *x = export_more(s->c.export);
	uint16_t flags = s->c.negotiated.transmission_flags;
	struct nbds_finding f = {0};
	char text[400];

	if (!x || x->bit_8_told || !s->c.negotiated.export_seen ||
	    !(flags & NBD_FLAG_CAN_MULTI_CONN) || (flags & NBD_FLAG_SEND_CACHE) ||
	    !(s->block_unasked || s->cache_honoured))
		return;
	x->bit_8_told = true;
	f.time = s->cache_honoured ? m->last.time : s->export_time;
	f.frames[NBDS_ROLE_MESSAGE] = s->export_frame;
	if (s->cache_honoured) {
		f.frames[NBDS_ROLE_REQUEST] = s->cache_frame;
		f.command = nbds_name_of(&nbds_commands, NBD_CMD_CACHE);
	}
	snprintf(
		text, sizeof(text),
		"the server sets bit 8 (CAN_MULTI_CONN) and not bit 10 (SEND_CACHE), and %s, as "
		"qemu 3.0 does, which meant SEND_CACHE by bit 8: its multi-conn promise is not one",
		s->cache_honoured ? "yet it honours NBD_CMD_CACHE"
				  : "tells block sizes unasked as qemu does, of which every later "
				    "version sets both bits");
	tell(s, &f, RULE_BIT_8, text);
}

/* --- negotiation --------------------------------------------------------- */

static void remember_name(struct session *s, const uint8_t *name, size_t len)
{
	if (s->c.export)
		return; /* the one in use stays */
	free_bytes(s, s->c.export_name, s->c.export_name_len);
	s->c.export_name = copy_bytes(s, name, len);
	s->c.export_name_len = s->c.export_name ? len : 0;
	s->c.export_name_seen = s->c.export_name;
}

static void drop_new_contexts(struct session *s)
{
	free_contexts(s, s->new_contexts, s->new_count);
	s->new_contexts = NULL;
	s->new_count = 0;
}

static struct nbds_option_seen *option_add(struct session *s, uint32_t number)
{
	struct nbds_option_seen *list;

	if (s->c.option_count == OPTIONS_KEPT)
		return NULL;
	list = one_more(s, s->c.options, s->c.option_count, sizeof(*list));
	if (!list)
		return NULL;
	s->c.options = list;
	list += s->c.option_count++;
	*list = (struct nbds_option_seen){.option = number};
	return list;
}

/* Room is made by doubling; what is beyond the limit is only counted. */
static void option_reply_add(struct session *s, struct nbds_option_seen *o, uint32_t type)
{
	if (o->reply_kept == o->reply_count && s->replies_kept < REPLIES_KEPT) {
		uint32_t *list = one_more(s, o->replies, o->reply_kept, sizeof(*list));

		if (list) {
			o->replies = list;
			list[o->reply_kept++] = type;
			s->replies_kept++;
		}
	}
	o->reply_count++;
}

/* The newest option of this number that awaits replies (or, early, its own end). */
static struct nbds_option_seen *option_find(struct session *s, uint32_t number, bool early)
{
	for (unsigned i = s->c.option_count; i > 0; i--) {
		struct nbds_option_seen *o = &s->c.options[i - 1];

		if (o->option == number && (early ? o->early : !o->final))
			return o;
	}
	return NULL;
}

static void option(struct session *s, const struct nbds_message *m)
{
	const uint8_t *data = m->head + NBDS_OPTION_LEN;
	size_t len = m->head_len > NBDS_OPTION_LEN ? m->head_len - NBDS_OPTION_LEN : 0;
	struct nbds_option_seen *o = option_find(s, m->u.option.option, true);

	if (o)
		o->early = false;
	else
		option_add(s, m->u.option.option);
	switch (m->u.option.option) {
	case NBD_OPT_ABORT:
		s->c.end = NBDS_END_ABORT;
		break;
	case NBD_OPT_EXPORT_NAME:
		remember_name(s, data, len);
		s->name_final = !(m->flags & NBDS_MSG_CUT);
		s->asked_block_size = s->got_block_size = false;
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		s->asked_block_size = s->got_block_size = false;
		s->name_final = false;
		if (len >= 6 && nbds_be32(data) <= len - 6) {
			size_t n = nbds_be32(data), k = nbds_be16(data + 4 + n);

			remember_name(s, data + 4, n);
			s->name_final = m->u.option.option == NBD_OPT_GO;
			for (size_t i = 0; i < k && 6 + n + 2 * i + 2 <= len; i++)
				if (nbds_be16(data + 6 + n + 2 * i) == NBD_INFO_BLOCK_SIZE)
					s->asked_block_size = true;
		}
		if (m->flags & NBDS_MSG_CUT)
			s->asked_block_size = true; /* for all that was seen */
		break;
	case NBD_OPT_SET_META_CONTEXT:
		drop_new_contexts(s);
		break;
	}
}

/* The server's words for people, of which the protocol allows 4096 bytes. */
static void option_text(struct session *s, struct nbds_option_seen *o, const uint8_t *data,
			size_t len)
{
	struct nbds_budget *budget = &s->engine->budget;

	if (len > 4096)
		len = 4096;
	nbds_budget_free(budget, o->text, o->text_len);
	s->texts_kept -= (unsigned)o->text_len;
	o->text = NULL;
	o->text_len = 0;
	if (len > TEXTS_KEPT - s->texts_kept)
		return;
	o->text = nbds_budget_alloc(budget, len);
	if (!o->text)
		return;
	s->texts_kept += (unsigned)len;
	memcpy(o->text, data, len);
	o->text_len = len;
}

static void option_reply(struct session *s, const struct nbds_message *m)
{
	const uint8_t *data = m->head + NBDS_OPTION_REPLY_LEN;
	size_t len = m->head_len > NBDS_OPTION_REPLY_LEN ? m->head_len - NBDS_OPTION_REPLY_LEN : 0;
	uint32_t type = m->u.option_reply.type, opt = m->u.option_reply.option;

	struct nbds_option_seen *o = option_find(s, opt, false);

	if (!o) {
		o = option_add(s, opt);
		if (o)
			o->early = true;
	}
	if (o) {
		option_reply_add(s, o, type);
		o->final = m->flags & NBDS_MSG_FINAL;
		if ((type & NBD_REP_FLAG_ERROR) && len)
			option_text(s, o, data, len);
	}
	if (opt == NBD_OPT_GO && (m->flags & NBDS_MSG_FINAL) && type != NBD_REP_ACK)
		s->name_final = false;
	if (type == NBD_REP_INFO && len >= 2) {
		if (nbds_be16(data) == NBD_INFO_BLOCK_SIZE && len >= 14) {
			s->c.block_size_seen = s->got_block_size = true;
			s->c.block_minimum = nbds_be32(data + 2);
			s->c.block_preferred = nbds_be32(data + 6);
			s->c.payload_maximum = nbds_be32(data + 10);
		} else if (nbds_be16(data) == NBD_INFO_EXPORT) {
			s->export_frame = m->last.frame;
			s->export_time = m->last.time;
		}
	} else if (type == NBD_REP_META_CONTEXT && opt == NBD_OPT_SET_META_CONTEXT && len >= 4) {
		if (s->new_count < CONTEXTS_KEPT && len - 4 <= TEXTS_KEPT - s->texts_kept) {
			struct nbds_context *list =
				one_more(s, s->new_contexts, s->new_count, sizeof(*list));

			if (list) {
				s->new_contexts = list;
				list[s->new_count].id = nbds_be32(data);
				list[s->new_count].name = copy_bytes(s, data + 4, len - 4);
				list[s->new_count].name_len = list[s->new_count].name ? len - 4 : 0;
				if (list[s->new_count].name) {
					s->texts_kept += (unsigned)(len - 4);
					s->new_count++;
				}
			}
		}
	} else if (opt == NBD_OPT_SET_META_CONTEXT && (m->flags & NBDS_MSG_FINAL)) {
		/* success replaces the selection, failure clears it */
		free_contexts(s, s->c.contexts, s->c.context_count);
		s->c.contexts = NULL;
		s->c.context_count = 0;
		if (type == NBD_REP_ACK) {
			s->c.contexts = s->new_contexts;
			s->c.context_count = s->new_count;
			s->new_contexts = NULL;
			s->new_count = 0;
		}
		drop_new_contexts(s);
	} else if (type == NBD_REP_ACK && opt == NBD_OPT_GO) {
		uint64_t frame = s->export_frame;
		int64_t time = s->export_time;

		enter_transmission(s, m);
		if (frame) {
			s->export_frame = frame;
			s->export_time = time;
		}
		if (s->block_unasked)
			bit_8(s, m);
	}
}

/* --- requests ------------------------------------------------------------ */

static struct nbds_command_stats *stats_of(struct session *s, uint16_t type)
{
	struct nbds_command_stats *c =
		&s->c.commands[type < NBDS_COMMAND_KINDS - 1 ? type : NBDS_COMMAND_KINDS - 1];

	if (!c->count)
		c->type = type;
	return c;
}

/* Does the request break a rule that makes its outcome undefined? */
static void legality(const struct session *s, const struct nbds_request *r,
		     struct nbds_request_order *o)
{
	uint32_t min = s->c.block_minimum;
	uint16_t flags = s->c.negotiated.transmission_flags;

	if (s->block_bound && min > 1 && r->type != NBD_CMD_FLUSH && r->type != NBD_CMD_DISC &&
	    r->length && (r->offset % min || r->length % min)) {
		o->illegal = true;
		if (r->length <= UINT64_MAX - r->offset) {
			uint64_t end = r->offset + r->length;

			o->damage_offset = r->offset - r->offset % min;
			end += end % min && end <= UINT64_MAX - min ? min - end % min : 0;
			o->damage_length = end - o->damage_offset;
		}
	}
	if (!s->c.negotiated.export_seen)
		return;
	if ((r->type == NBD_CMD_TRIM && !(flags & NBD_FLAG_SEND_TRIM)) ||
	    (r->type == NBD_CMD_WRITE_ZEROES && !(flags & NBD_FLAG_SEND_WRITE_ZEROES)))
		o->illegal = true;
}

static void request(struct session *s, const struct nbds_message *m)
{
	struct nbds_engine *e = s->engine;
	struct nbds_request *r = m->request;
	struct nbds_command_stats *c;
	struct inflight *f;

	end_owed(s);
	if (!r)
		return;
	if (r->type == NBD_CMD_DISC) {
		s->c.end = NBDS_END_DISCONNECT;
		client_leave(&e->clients, &s->use);
		s->disc = (struct nbds_point){m->first.lo_frame, m->first.lo_time,
					      m->first.interface};
	}
	c = stats_of(s, r->type);
	c->count++;
	c->bytes += r->length;
	if (r->flags & NBD_CMD_FLAG_FUA)
		c->fua++;
	if (r->type != NBD_CMD_DISC) {
		s->c.requests++;
		if (++s->c.in_flight > s->c.max_in_flight)
			s->c.max_in_flight = s->c.in_flight;
	}
	if (s->c.export) {
		if (nbds_command_writes(r->type)) {
			s->c.export->writes++;
			if (r->flags & NBD_CMD_FLAG_FUA)
				s->c.export->fua_writes++;
		}
		if (r->type == NBD_CMD_FLUSH)
			s->c.export->flushes++;
	}
	if (nbds_command_writes(r->type))
		s->writes++;
	if (r->type != NBD_CMD_DISC)
		multiplexed(s, m);

	f = e->free_inflight;
	if (f)
		e->free_inflight = f->next_free;
	else
		f = nbds_budget_alloc(&e->budget, sizeof(*f));
	if (!f)
		return;
	*f = (struct inflight){.older = s->newest,
			       .request = r,
			       .first = m->first,
			       .losses = s->losses,
			       .extent_at = r->offset,
			       .status_known = true};
	*(s->newest ? &s->newest->newer : &s->oldest) = f;
	s->newest = f;
	r->user = f;
	if (!s->party || r->type == NBD_CMD_DISC)
		return;
	struct nbds_request_order o = {
		.lo = {m->first.lo_frame, m->first.lo_time, m->first.interface},
		.frame = m->first.frame,
		.header_end = m->offset + m->head_len,
		.acked = m->first.flags & NBDS_MARK_FIRST_TX ? m->first.ack : NBDS_NO_ACK,
		.ambiguous = r->ambiguous,
	};
	legality(s, r, &o);
	struct doubt_span span = {
		.head = m->head_len,
		.payload = m->payload_len,
		.since = o.lo,
		.request_frame = m->first.frame,
		.offset = r->offset,
		.length = r->length,
		.writes = nbds_command_writes(r->type),
	};
	f->span = doubts_span(&e->doubts, &s->spans[NBDS_CLIENT], m->offset, &span);
	f->op = nbds_world_request(s->party, r->type, r->flags, r->offset, r->length, &o);
}

/* --- replies ------------------------------------------------------------- */

static void count_error(struct session *s, struct nbds_command_stats *c, uint32_t error)
{
	unsigned n = c->error_kinds;

	for (unsigned i = 0; i < n; i++) {
		if (c->errors[i].error == error) {
			c->errors[i].count++;
			return;
		}
	}
	if (n < NBDS_ERRORS_MAX) {
		struct nbds_error_count *list = one_more(s, c->errors, n, sizeof(*list));

		if (!list)
			return;
		c->errors = list;
	}
	if (n < NBDS_ERRORS_MAX)
		c->errors[c->error_kinds++] = (struct nbds_error_count){error, 1};
	else
		c->errors[NBDS_ERRORS_MAX - 1].count++;
}

static void commands_free(struct session *s)
{
	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		struct nbds_command_stats *c = &s->c.commands[i];

		latency_free(&s->engine->budget, c->latency);
		free_list(s, c->errors, c->error_kinds, sizeof(*c->errors));
		c->latency = NULL;
		c->errors = NULL;
	}
}

static void release(struct session *s, struct nbds_request *r)
{
	struct inflight *f = r->user;

	if (!f)
		return;
	inflight_free(s, f);
	r->user = NULL;
}

/* The reply to r is complete. */
static void answered(struct session *s, const struct nbds_message *m)
{
	struct nbds_request *r = m->request;
	struct nbds_command_stats *c = stats_of(s, r->type);
	struct inflight *f = r->user;
	bool chunked = m->type == NBDS_MSG_CHUNK;
	int64_t took;

	s->c.replies++;
	c->replies++;
	if (s->c.in_flight)
		s->c.in_flight--;
	if (r->error) {
		count_error(s, c, r->first_error);
	} else if (r->type == NBD_CMD_READ) {
		c->data_bytes += r->data_bytes;
		s->engine->read_bytes += r->data_bytes;
	} else if (r->type == NBD_CMD_WRITE) {
		c->data_bytes += r->length;
	}
	if (!f)
		return;
	doubts_answered(&s->engine->doubts, f->span, m->last.frame);
	took = nbds_elapsed(f->first.time, m->last.time);
	latency_add(&s->engine->budget, &c->latency, took > 0 ? (uint64_t)took : 0);
	if (m->first.frame < f->first.frame)
		join_world(s);
	if (m->first.frame < f->first.frame)
		join_world(s); /* which has to know that order is not to be trusted */
	if (m->first.frame < f->first.frame && s->server && s->server->world)
		nbds_world_inversion(s->server->world, nbds_elapsed(m->first.time, f->first.time));
	if (r->type == NBD_CMD_CACHE && !r->error && !s->cache_honoured) {
		s->cache_honoured = true;
		s->cache_frame = f->first.frame;
		bit_8(s, m);
	}
	if (f->op) {
		struct nbds_reply_order o = {
			.hi = point_of(&m->last),
			.frame = m->last.frame,
			.status_end = m->offset + m->head_len + m->payload_len,
			.acked = m->last.ack,
		};
		bool hidden = chunked && f->losses != s->losses; /* an error chunk may be lost */

		if (r->ambiguous || hidden)
			nbds_op_open(f->op);
		else if (nbds_op_reply(f->op,
				       r->error ? (r->first_error ? r->first_error : NBD_EIO) : 0,
				       &o))
			s->owed = f->op; /* its payload is what the client sends just now */
		f->op = NULL;
	}
	release(s, r);
	refresh_unflushed(s);
}

/* --- block status --------------------------------------------------------- */

static bool is_allocation(const struct session *s, uint32_t id)
{
	static const char name[] = "base:allocation";

	for (unsigned i = 0; i < s->c.context_count; i++)
		if (s->c.contexts[i].id == id)
			return s->c.contexts[i].name_len == sizeof(name) - 1 &&
			       memcmp(s->c.contexts[i].name, name, sizeof(name) - 1) == 0;
	return false;
}

static void extents(struct session *s, const struct nbds_message *m, uint64_t at,
		    const uint8_t *data, size_t len, const struct nbds_mark *where)
{
	struct inflight *f = m->request ? m->request->user : NULL;
	unsigned size = m->u.chunk.type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT ? 16 : 8;
	struct nbds_point hi = point_of(where);

	if (!f || !f->op)
		return;
	if (at == 0) {
		s->extent_have = 0;
		s->extent_pos = 0;
		f->extent_at = m->request->offset;
		f->status_known = is_allocation(s, m->u.chunk.context_id);
	}
	if (!f->status_known || at != s->extent_pos + s->extent_have) {
		f->status_known = false; /* bytes lost: the next extent's place is not known */
		return;
	}
	while (len) {
		size_t n = size - s->extent_have < len ? size - s->extent_have : len;
		uint64_t length, status;

		memcpy(s->extent + s->extent_have, data, n);
		s->extent_have += (unsigned)n;
		data += n;
		len -= n;
		if (s->extent_have < size)
			return;
		s->extent_have = 0;
		s->extent_pos += size;
		length = size == 16 ? nbds_be64(s->extent) : nbds_be32(s->extent);
		status = size == 16 ? nbds_be64(s->extent + 8) : nbds_be32(s->extent + 4);
		if (length > UINT64_MAX - f->extent_at) {
			f->status_known = false;
			return;
		}
		nbds_op_status_extent(f->op, f->extent_at, length, (uint32_t)status, &hi);
		f->extent_at += length;
	}
}

/* --- the decoder's events ------------------------------------------------ */

static void chunk(struct session *s, const struct nbds_message *m)
{
	struct inflight *f = m->request ? m->request->user : NULL;
	struct nbds_point hi = point_of(&m->last);
	enum nbds_chunk_kind kind = NBDS_CHUNK_OTHER;

	switch (m->u.chunk.type) {
	case NBD_REPLY_TYPE_NONE:
		kind = NBDS_CHUNK_NONE;
		break;
	case NBD_REPLY_TYPE_OFFSET_DATA:
		kind = NBDS_CHUNK_DATA;
		break;
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		kind = NBDS_CHUNK_HOLE;
		if (f && f->op)
			nbds_op_read_hole(f->op, m->u.chunk.offset, m->u.chunk.hole, &hi);
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		kind = NBDS_CHUNK_STATUS;
		break;
	case NBD_REPLY_TYPE_ERROR:
	case NBD_REPLY_TYPE_ERROR_OFFSET:
		kind = NBDS_CHUNK_ERROR;
		break;
	}
	s->c.chunks[kind]++;
}

static void answer_begins(struct session *s, const struct nbds_message *m)
{
	struct nbds_request *r = m->request;
	struct inflight *f = r ? r->user : NULL;
	struct doubt_span span = {.head = m->head_len, .payload = m->payload_len};

	if (!f)
		return;
	if (!f->reply_frame)
		f->reply_frame = m->first.frame;
	span.since = (struct nbds_point){f->first.lo_frame, f->first.lo_time, f->first.interface};
	span.request_frame = f->first.frame;
	span.reply_frame = m->last.frame;
	span.offset = r->offset;
	span.length = r->length;
	span.writes = nbds_command_writes(r->type);
	doubts_span(&s->engine->doubts, &s->spans[NBDS_SERVER], m->offset, &span);
}

static struct rules_request *rules_of(const struct nbds_message *m)
{
	struct inflight *f = m->request ? m->request->user : NULL;

	return f ? &f->rules : NULL;
}

static void on_message(void *ctx, const struct nbds_message *m)
{
	struct session *s = ctx;
	struct nbds_engine *e = s->engine;

	if (!s->announced)
		session_announce(s);
	if (m->flags & NBDS_MSG_UNSOLICITED)
		s->c.unsolicited++;
	if (m->again)
		s->c.second_replies++;
	if ((m->flags & NBDS_MSG_MALFORMED) && !s->c.malformed++)
		s->c.malformed_frame = m->first.frame;
	if (m->from == NBDS_SERVER)
		s->progress = 0;
	switch (m->type) {
	case NBDS_MSG_GREETING:
		s->c.sure = true;
		s->c.negotiated = *m->negotiated;
		if (m->u.greeting.style == NBDS_HANDSHAKE_OLDSTYLE)
			enter_transmission(s, m);
		break;
	case NBDS_MSG_CLIENT_FLAGS:
		break;
	case NBDS_MSG_OPTION:
		option(s, m);
		break;
	case NBDS_MSG_OPTION_REPLY:
		option_reply(s, m);
		break;
	case NBDS_MSG_EXPORT_NAME_REPLY:
		enter_transmission(s, m);
		break;
	case NBDS_MSG_REQUEST:
		request(s, m);
		break;
	case NBDS_MSG_SIMPLE_REPLY:
		s->c.simple_replies++;
		answer_begins(s, m);
		break;
	case NBDS_MSG_CHUNK:
		chunk(s, m);
		answer_begins(s, m);
		break;
	}
	if (rules(s))
		rules_message(s->rules, m, rules_of(m));
	if (e->ops.message)
		e->ops.message(e->ctx, &s->c, m);
}

static void on_payload(void *ctx, const struct nbds_message *m, uint64_t at, const uint8_t *data,
		       size_t len, const struct nbds_mark *where)
{
	struct session *s = ctx;
	struct inflight *f = m->request ? m->request->user : NULL;

	if (m->from == NBDS_SERVER)
		s->progress = at + len;
	if (s->rules)
		rules_payload(s->rules, m, rules_of(m), at, data, len, where);
	if (s->owed && m->payload == NBDS_PAYLOAD_WRITE)
		nbds_op_write_data(s->owed, at, data, len);
	if (!f || !f->op)
		return;
	switch (m->payload) {
	case NBDS_PAYLOAD_WRITE:
		nbds_op_write_data(f->op, at, data, len);
		break;
	case NBDS_PAYLOAD_READ: {
		struct nbds_point hi = point_of(where);
		uint64_t base = m->type == NBDS_MSG_CHUNK ? m->u.chunk.offset : m->request->offset;

		if (at <= UINT64_MAX - base)
			nbds_op_read_data(f->op, base + at, data, len, &hi);
		break;
	}
	case NBDS_PAYLOAD_EXTENTS:
		extents(s, m, at, data, len, where);
		break;
	default:
		break;
	}
}

static void on_payload_gap(void *ctx, const struct nbds_message *m, uint64_t at, uint64_t len,
			   const struct nbds_mark *where)
{
	struct session *s = ctx;

	(void)where;
	if (m->from == NBDS_SERVER)
		s->progress = at + len;
	if (s->rules)
		rules_payload_gap(s->rules, m, at + len);
}

static void on_message_end(void *ctx, const struct nbds_message *m)
{
	struct session *s = ctx;
	struct nbds_request *r = m->request;
	struct inflight *f = r ? r->user : NULL;

	if (s->engine->ops.message_end)
		s->engine->ops.message_end(s->engine->ctx, &s->c, m,
					   m->from == NBDS_SERVER && s->progress < m->payload_len
						   ? s->progress
						   : m->payload_len);
	if (s->rules)
		rules_message_end(s->rules, m, rules_of(m));
	if (m->type == NBDS_MSG_REQUEST) {
		end_owed(s);
		if (f && f->op && m->payload == NBDS_PAYLOAD_WRITE)
			nbds_op_write_end(f->op);
		if (r && r->type == NBD_CMD_DISC)
			release(s, r);
		return;
	}
	if (!r || !(m->flags & NBDS_MSG_FINAL) ||
	    (m->type != NBDS_MSG_SIMPLE_REPLY && m->type != NBDS_MSG_CHUNK))
		return;
	if (s->progress < m->payload_len) {
		/* cut short: the request dies unanswered */
		drop_request(s, r);
		if (s->c.in_flight)
			s->c.in_flight--;
		return;
	}
	answered(s, m);
	if (s->rules && s->oldest && s->oldest->request->type != NBD_CMD_DISC) {
		struct rules_open oldest = {s->oldest->request, &s->oldest->rules};

		rules_waiting(s->rules, &oldest, &m->last);
	}
}

static void on_trouble(void *ctx, const struct nbds_trouble *t)
{
	struct session *s = ctx;
	struct nbds_engine *e = s->engine;
	struct nbds_point since = point_of(&s->last_clean[NBDS_CLIENT]);

	if (s->announced && rules(s))
		rules_trouble(s->rules, t);
	switch (t->kind) {
	case NBDS_TROUBLE_LOST:
	case NBDS_TROUBLE_NONSENSE:
		if (t->side == NBDS_SERVER) {
			s->losses++;
		} else if (s->announced) {
			join_world(s);
			if (s->party)
				nbds_party_gap(s->party, &since);
		}
		if (t->kind == NBDS_TROUBLE_NONSENSE && !s->c.first_nonsense) {
			const char *text = t->text ? t->text : "bytes that are no message";

			s->c.first_nonsense = copy_bytes(s, text, strlen(text));
			s->c.nonsense_frame = t->where.frame;
		}
		break;
	case NBDS_TROUBLE_SKIPPED:
		break;
	case NBDS_TROUBLE_SURE:
		s->c.sure = true;
		if (!s->c.sure_frame && !s->c.from_start)
			s->c.sure_frame = t->where.frame;
		if (!s->announced)
			session_announce(s);
		break;
	case NBDS_TROUBLE_TLS: {
		struct nbds_point at = point_of(&t->where);

		join_world(s);
		if (s->party)
			nbds_party_opaque(s->party, &at);
		break;
	}
	case NBDS_TROUBLE_FORGOT:
		if (t->request)
			drop_request(s, t->request);
		break;
	case NBDS_TROUBLE_AFTER_END:
	case NBDS_TROUBLE_TRAILING:
		break;
	}
	if (s->announced && e->ops.trouble)
		e->ops.trouble(e->ctx, &s->c, t);
}

const struct nbds_decoder_ops session_decoder_ops = {
	.message = on_message,
	.payload = on_payload,
	.payload_gap = on_payload_gap,
	.message_end = on_message_end,
	.trouble = on_trouble,
};
