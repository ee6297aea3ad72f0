/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streams: which TCP connections speak NBD, and which side is the server.
 *
 * An undecided stream costs a few bytes: it is decided by the first bytes of
 * the side that accepted it, or, if its beginning was not seen, by the first
 * spans that begin like NBD.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include <base/bytes.h>

/* Spans of a stream caught in its middle that are looked at before it is
 * taken for something else. */
#define LOOK_SPANS 512u

/* Bytes of a greeting's magic that may be wrong in a capture that was damaged; who says
 * something else does not speak NBD, which costs nothing to tell. */
#define GREETING_WRONG 2u

static bool serves(const struct nbds_engine *e, const struct nbds_addr *a)
{
	return engine_port(e, a->port) || server_find(&e->servers, a);
}

/* --- undecided streams, by their server --- */

static uint64_t hash_of(const struct nbds_engine *e, const struct nbds_addr *a)
{
	return nbds_hash_bytes(&e->key, (uint64_t)a->family << 16 | a->port, a->ip, sizeof(a->ip));
}

static struct waiting_server *waiting_find(const struct nbds_engine *e, const struct nbds_addr *a)
{
	struct nbds_table_node *n = nbds_table_find(&e->waiting, hash_of(e, a));

	for (; n; n = nbds_table_again(n)) {
		struct waiting_server *w = nbds_owner(n, struct waiting_server, node);

		if (nbds_addr_equal(&w->addr, a))
			return w;
	}
	return NULL;
}

/* Without memory it does not wait: it is numbered once it is decided. */
static void wait_begin(struct nbds_stream *s)
{
	struct nbds_engine *e = s->engine;
	struct waiting_server *w = waiting_find(e, &s->addr[1]);

	if (!w) {
		w = nbds_budget_alloc(&e->budget, sizeof(*w));
		if (!w)
			return;
		w->addr = s->addr[1];
		if (!nbds_table_add(&e->waiting, &e->budget, &w->node, hash_of(e, &w->addr))) {
			nbds_budget_free(&e->budget, w, sizeof(*w));
			return;
		}
	}
	s->waits_for = w;
	s->prev_waiting = w->newest;
	*(w->newest ? &w->newest->next_waiting : &w->oldest) = s;
	w->newest = s;
	w->count++;
}

static void wait_end(struct nbds_stream *s)
{
	struct nbds_engine *e = s->engine;
	struct waiting_server *w = s->waits_for;

	if (!w)
		return;
	*(s->prev_waiting ? &s->prev_waiting->next_waiting : &w->oldest) = s->next_waiting;
	*(s->next_waiting ? &s->next_waiting->prev_waiting : &w->newest) = s->prev_waiting;
	s->waits_for = NULL;
	s->next_waiting = s->prev_waiting = NULL;
	if (--w->count)
		return;
	nbds_table_remove(&e->waiting, &w->node);
	nbds_budget_free(&e->budget, w, sizeof(*w));
}

/* --- streams --- */

struct nbds_stream *nbds_engine_stream(struct nbds_engine *e, const struct nbds_addr *a,
				       const struct nbds_addr *b, bool from_start,
				       const struct nbds_mark *where)
{
	struct nbds_stream *s = nbds_budget_alloc(&e->budget, sizeof(*s));

	if (!s)
		return NULL;
	s->engine = e;
	s->addr[0] = *a;
	s->addr[1] = *b;
	/* who accepts, serves; but not if the other one is known to serve: what made it seem
	 * to open the connection was not its own */
	s->from_start = from_start && (serves(e, b) || !serves(e, a));
	s->first = *where;
	s->last_frame = where->frame;
	s->last_time = where->time;
	s->undecided = true;
	s->server_dir = -1;
	if (s->from_start)
		s->server_dir = 1;
	else if (engine_port(e, b->port) != engine_port(e, a->port))
		s->server_dir = engine_port(e, b->port) ? 1 : 0;
	else if (server_find(&e->servers, b) || server_find(&e->servers, a))
		s->server_dir = server_find(&e->servers, b) ? 1 : 0;
	s->listed = true;
	s->prev = e->undecided_last;
	*(e->undecided_last ? &e->undecided_last->next : &e->undecided_first) = s;
	e->undecided_last = s;
	if (s->from_start)
		wait_begin(s);
	return s;
}

static void unlist(struct nbds_stream *s)
{
	struct nbds_engine *e = s->engine;

	wait_end(s);
	if (!s->listed)
		return;
	s->listed = false;
	*(s->prev ? &s->prev->next : &e->undecided_first) = s->next;
	*(s->next ? &s->next->prev : &e->undecided_last) = s->prev;
}

/* Its server is one that speaks NBD for certain (or by its port). */
static bool expected(const struct nbds_stream *s)
{
	if (s->server_dir < 0)
		return false;
	return engine_port(s->engine, s->addr[s->server_dir].port) ||
	       server_find(&s->engine->servers, &s->addr[s->server_dir]);
}

static enum nbds_side side_of(const struct nbds_stream *s, int dir)
{
	return dir == s->server_dir ? NBDS_SERVER : NBDS_CLIENT;
}

/* From now on the stream has a session (or is useless, without memory). */
static void begin(struct nbds_stream *s, enum nbds_start start, bool announce)
{
	int dir = s->server_dir;

	bool elsewhere = engine_elsewhere(s->engine, &s->addr[dir]);

	unlist(s);
	s->undecided = false;
	if (elsewhere && announce) {
		if (!s->id)
			s->id = ++s->engine->last_id;
		server_get(&s->engine->servers, &s->addr[dir]);
		return;
	}
	s->session = session_new(s->engine, &s->addr[!dir], &s->addr[dir],
				 start == NBDS_START_GREETING, start, &s->first,
				 elsewhere ? &session_elsewhere_ops : &session_decoder_ops);
	if (!s->session) {
		s->useless = true;
		return;
	}
	s->session->stream = s;
	s->session->c.user = s->user;
	s->session->c.id = s->id;
	s->session->c.last_frame = s->last_frame;
	s->session->c.last_time = s->last_time;
	for (int i = 0; i < 2; i++) {
		s->session->c.heard[side_of(s, i)].frame = s->heard[i];
		s->session->c.heard[side_of(s, i)].time = s->heard_at[i];
	}
	if (s->doubted)
		session_conflict(s->session, NBDS_SERVER, 0, UINT64_MAX, &s->first);
	if (announce)
		session_announce(s->session);
}

/* Ids count first frames: older ones to this server come first, if they are connections,
 * which shows once something is heard of them. */
static void number_older(struct nbds_stream *s)
{
	struct waiting_server *w = waiting_find(s->engine, &s->addr[s->server_dir]);
	struct nbds_stream *o = w ? w->oldest : NULL, *next;

	for (; o && o->first.frame < s->first.frame; o = next) {
		next = o->next_waiting;
		o->id = ++s->engine->last_id;
		wait_end(o);
	}
}

static void decide(struct nbds_stream *s, enum nbds_start start, bool announce)
{
	wait_end(s);
	if (announce)
		number_older(s);
	begin(s, start, announce);
}

static void give_up(struct nbds_stream *s)
{
	unlist(s);
	s->undecided = false;
	s->useless = true;
}

/* Acknowledgements count from the first byte of the stream, the session from the first one
 * that it was given. `dir`: who acknowledges. */
static uint64_t acked(const struct nbds_stream *s, int dir, uint64_t ack)
{
	uint64_t skipped = s->skipped[!dir];

	return ack == NBDS_NO_ACK || ack < skipped ? NBDS_NO_ACK : ack - skipped;
}

static struct nbds_mark mark_of(const struct nbds_stream *s, int dir, const struct nbds_mark *where)
{
	struct nbds_mark m = *where;

	m.ack = acked(s, dir, m.ack);
	return m;
}

static void feed(struct nbds_stream *s, int dir, const uint8_t *data, size_t len,
		 const struct nbds_mark *where)
{
	struct nbds_mark m = mark_of(s, dir, where);

	session_data(s->session, side_of(s, dir), data, len, &m);
}

/* That it is a connection has shown, and its server is another shard's: from now on nobody
 * wants to know of it. */
static void part_elsewhere(struct nbds_stream *s, const struct nbds_mark *where)
{
	if (!s->session || !s->session->elsewhere)
		return;
	session_close(s->session, false, true, where);
	s->useless = false;
}

/* A magic that begins a message of one side, in transmission or while options are
 * talked about; the client's flags may come before. */
static int magic_side(const uint8_t *data, size_t len)
{
	if (len < 4)
		return -1;
	if (len >= 8 && nbds_be64(data) == NBD_REP_MAGIC)
		return NBDS_SERVER;
	if ((len >= 8 && nbds_be64(data) == NBD_OPTS_MAGIC) ||
	    (len >= 12 && nbds_be64(data + 4) == NBD_OPTS_MAGIC))
		return NBDS_CLIENT;
	switch (nbds_be32(data)) {
	case NBD_REQUEST_MAGIC:
	case NBD_EXTENDED_REQUEST_MAGIC:
		return NBDS_CLIENT;
	case NBD_SIMPLE_REPLY_MAGIC:
	case NBD_STRUCTURED_REPLY_MAGIC:
	case NBD_EXTENDED_REPLY_MAGIC:
		return NBDS_SERVER;
	}
	return -1;
}

static bool greets(const uint8_t *data, size_t len)
{
	return len >= 8 && nbds_be64(data) == NBD_INIT_MAGIC;
}

/* What an NBD client says first: its flags, or an option behind them. */
static bool answers(const uint8_t *data, size_t len)
{
	return magic_side(data, len) == NBDS_CLIENT ||
	       (len == 4 && nbds_be32(data) <= (NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES));
}

/* Data of a stream caught in its middle. */
static void decide_middle(struct nbds_stream *s, int dir, const uint8_t *data, size_t len)
{
	int side;

	if (greets(data, len) && !s->skipped[0] && !s->skipped[1] &&
	    (s->server_dir < 0 || s->server_dir == dir)) {
		s->server_dir = dir;
		decide(s, NBDS_START_GREETING, true);
		return;
	}
	if (expected(s)) {
		decide(s, NBDS_START_MIDDLE, true);
		return;
	}
	side = magic_side(data, len);
	if (side >= 0) {
		s->server_dir = side == NBDS_SERVER ? dir : !dir;
		decide(s, NBDS_START_MIDDLE, false);
		return;
	}
	if (++s->looked > LOOK_SPANS)
		give_up(s);
}

/* Its beginning is lost or damaged: from now on it may be NBD that is not recognised, and write
 * what other ports of the server's address read. */
static void maybe(struct nbds_stream *s)
{
	struct nbds_point at = {s->first.lo_frame, s->first.lo_time, s->first.interface};

	wait_end(s);
	s->from_start = false;
	servers_stranger(&s->engine->servers, &s->addr[s->server_dir], &at);
}

/* The first data of a stream whose beginning was seen. */
static void decide_start(struct nbds_stream *s, int dir, const uint8_t *data, size_t len,
			 const struct nbds_mark *where)
{
	if (expected(s)) {
		decide(s, NBDS_START_GREETING, true);
		return;
	}
	if (dir != s->server_dir) {
		/* who greets, serves, if the other one said nothing: what made that one seem to
		 * accept was not its own */
		if (!s->prefix_len && greets(data, len)) {
			s->server_dir = dir;
			decide(s, NBDS_START_GREETING, true);
			return;
		}
		/* an NBD client listens first; what it heard may be lost, or its segment may
		 * be somebody else's */
		if (where->ack == 0 && !answers(data, len)) {
			give_up(s);
			return;
		}
		maybe(s);
		decide_middle(s, dir, data, len);
		return;
	}
	uint8_t head[8];
	size_t n = s->prefix_len, more = len < 8 - n ? len : 8 - n;
	unsigned wrong = 0;

	memcpy(head, s->prefix, n);
	memcpy(head + n, data, more);
	n += more;
	for (size_t i = 0; i < n; i++)
		wrong += head[i] != (uint8_t)(NBD_INIT_MAGIC >> (56 - 8 * i));
	if (wrong > GREETING_WRONG) {
		give_up(s);
		return;
	}
	if (n == 8 && !wrong) {
		decide(s, NBDS_START_GREETING, true);
		return;
	}
	if (n == 8) {
		/* a greeting that was damaged: whether it was one shows in what follows */
		maybe(s);
		s->skipped[dir] += s->prefix_len;
		s->prefix_len = 0;
		decide_middle(s, dir, data, len);
		return;
	}
	wait_end(s);
	if (!s->prefix_len)
		s->prefix_mark = *where;
	memcpy(s->prefix, head, n);
	s->prefix_len = (unsigned)n;
}

void nbds_stream_data(struct nbds_stream *s, int dir, const uint8_t *data, size_t len,
		      const struct nbds_mark *where)
{
	if (s->useless || !len)
		return;
	if (s->undecided) {
		unsigned before = s->prefix_len;
		int from = s->server_dir; /* who sent them, whoever turns out to serve */

		s->heard[dir] = where->frame;
		s->heard_at[dir] = where->time;
		if (s->from_start)
			decide_start(s, dir, data, len, where);
		else
			decide_middle(s, dir, data, len);
		if (s->undecided) {
			if (!s->from_start)
				s->skipped[dir] += len;
			return;
		}
		if (s->session && before)
			feed(s, from, s->prefix, before, &s->prefix_mark);
	}
	if (s->session)
		feed(s, dir, data, len, where);
	part_elsewhere(s, where);
	memory_relieve(s->engine);
}

void nbds_stream_gap(struct nbds_stream *s, int dir, uint64_t len, bool snaplen,
		     const struct nbds_mark *where)
{
	if (s->useless || !len)
		return;
	if (s->undecided && s->from_start && expected(s))
		decide(s, NBDS_START_GREETING, true);
	if (s->undecided) {
		/* the beginning is lost: look for it as in the middle */
		if (s->from_start)
			maybe(s);
		s->skipped[dir] += len + s->prefix_len * (unsigned)(dir == s->server_dir);
		s->prefix_len = 0;
		return;
	}
	if (s->session) {
		struct nbds_mark m = mark_of(s, dir, where);

		session_gap(s->session, side_of(s, dir), len, snaplen, &m);
	}
	part_elsewhere(s, where);
}

void nbds_stream_set_user(struct nbds_stream *s, void *user)
{
	s->user = user;
}

void nbds_stream_frame(struct nbds_stream *s, int dir, const struct nbds_mark *where)
{
	(void)dir;
	s->last_frame = where->frame;
	s->last_time = where->time;
	if (s->session) {
		s->session->c.last_frame = where->frame;
		s->session->c.last_time = where->time;
	}
}

void nbds_stream_complete(struct nbds_stream *s, uint64_t frame)
{
	if (s->session)
		session_complete(s->session, frame);
}

/* From offsets in the stream to those of the decoder. False: it was not given them. */
static bool decoded(const struct nbds_stream *s, int dir, uint64_t *offset, uint64_t *len)
{
	uint64_t skipped = s->skipped[dir];

	if (*offset + *len <= skipped)
		return false;
	if (*offset < skipped) {
		*len -= skipped - *offset;
		*offset = skipped;
	}
	*offset -= skipped;
	return true;
}

void nbds_stream_conflict(struct nbds_stream *s, int dir, uint64_t offset, uint64_t len,
			  bool differ, const struct nbds_mark *first)
{
	if (s->undecided)
		s->doubted = true;
	if (!s->session)
		return;
	s->session->c.conflicts += differ;
	if (decoded(s, dir, &offset, &len))
		session_conflict(s->session, side_of(s, dir), offset, len, first);
}

void nbds_stream_acked(struct nbds_stream *s, int dir, uint64_t offset, uint64_t len,
		       uint64_t first_ack, uint64_t ack, const struct nbds_mark *first)
{
	uint64_t counted[2] = {acked(s, dir, first_ack), acked(s, dir, ack)};

	if (!s->session || !decoded(s, dir, &offset, &len))
		return;
	/* which of them is less can be told of all bytes, too */
	if (counted[0] == NBDS_NO_ACK || counted[1] == NBDS_NO_ACK) {
		counted[0] = first_ack;
		counted[1] = ack;
	}
	session_acked(s->session, side_of(s, dir), offset, len, counted[0], counted[1], first);
}

void nbds_stream_discarded(struct nbds_stream *s, int dir, const struct nbds_mark *where)
{
	(void)dir;
	(void)where;
	if (s->session)
		s->session->c.discarded++;
}

void nbds_stream_half_close(struct nbds_stream *s, int dir, const struct nbds_mark *where)
{
	if (s->session) {
		struct nbds_mark m = mark_of(s, dir, where);

		session_half_close(s->session, side_of(s, dir), &m);
	}
}

void nbds_stream_reset(struct nbds_stream *s, int dir, const struct nbds_mark *where)
{
	if (s->session) {
		struct nbds_mark m = mark_of(s, dir, where);

		session_reset(s->session, side_of(s, dir), &m);
	}
}

void nbds_stream_give_up(struct nbds_stream *s)
{
	if (s->session)
		session_give_up(s->session);
}

void nbds_stream_close(struct nbds_stream *s, bool rst, bool open, const struct nbds_mark *where)
{
	struct nbds_engine *e = s->engine;

	unlist(s);
	if (s->session)
		session_close(s->session, rst, open, where);
	nbds_budget_free(&e->budget, s, sizeof(*s));
	memory_relieve(e);
}

bool nbds_stream_useless(const struct nbds_stream *s)
{
	return s->useless;
}

bool nbds_stream_held_since(const struct nbds_stream *s, uint64_t *frame)
{
	return s->session && secure_waits(s->session, frame);
}

uint64_t nbds_stream_skipped(const struct nbds_stream *s, int dir)
{
	return s->skipped[dir];
}
