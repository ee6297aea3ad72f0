/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * secure.c - a session that goes on inside TLS.
 *
 * Its bytes go to the reader of nbdscope/tls.h, and what was inside to the decoder, so
 * that the rest of the engine sees the connection as if it had been in clear.  What is
 * proved from places and frames has to stay true:
 *
 *	    ├─ record ─────────┤              a record of three segments
 *	  ──[1]────[2]────[3]──►
 *	     │             └─ frame, time, lo: nothing of it arrives, nor is acted upon,
 *	     │                before its last byte
 *	     └─ acknowledges, first transmission: all of it was decided before its first
 *	        byte was sent
 *
 *	acknowledged bytes of TLS ──► bytes inside of the records that they hold whole
 *
 * The decoder counts what was inside; the few last records are remembered to find the one
 * place from the other.  A place that is not known proves nothing (NBDS_NO_ACK).
 *
 *	bytes ──► queue ──► reader ──► record ──► decoder
 *	          └─ only while the reader waits, for keys or for the other direction:
 *	             in the order of capture, for WAIT_BYTES and WAIT_NS at most
 *
 * What cannot be read is handed to the decoder as TLS, which counts it and says so.
 */
#include <string.h>

#include <base/assert.h>
#include <base/clock.h>
#include <base/vector.h>

#include "internal.h"

/* Most that a connection keeps while it waits for keys, and for how long. */
#define WAIT_BYTES ((uint64_t)16 << 20)
#define WAIT_NS    INT64_C(5000000000)

/* Records that are remembered of each direction. */
#define PLACES_MOST 1024u

/* First bytes of TLS, for who is told that they cannot be read. */
#define HEAD_KEPT 16u

/* Where a record ends: in TLS, and in what was inside. */
struct place {
	uint64_t end, inside;
};

struct waiting {
	struct waiting *next;
	enum nbds_side side;
	bool gap;
	uint64_t len; /* bytes here, or missing */
	size_t at;    /* bytes of it that were taken */
	struct nbds_mark mark;
	uint8_t data[];
};

struct secure_half {
	bool on;
	bool dead;        /* it cannot be read (any more) */
	uint64_t base;    /* the session's bytes before TLS */
	uint64_t fed;     /* bytes of TLS that the reader had, missing ones included */
	uint64_t missing; /* of them */
	uint8_t head[HEAD_KEPT];
	size_t head_len;
	struct nbds_mark head_mark;
	/* the bytes that the reader has now, */
	uint64_t span_from;
	struct nbds_mark span;
	/* and those that the record began in which is not complete */
	uint64_t begun_from, begun_to;
	struct nbds_mark begun;
	/* a ring of the last records */
	struct place *places;
	uint32_t room, count, next;
	bool places_lost; /* there were older ones */
	uint64_t queued;  /* of those that wait: of this direction */
	bool closing;     /* once nothing waits any more */
	struct nbds_mark closing_mark;
};

struct secure {
	struct session *session;
	struct nbds_tls_session *tls; /* NULL: nothing can be read of it */
	struct secure_half half[2];   /* by enum nbds_side */
	struct waiting *first, *last;
	uint64_t waiting; /* bytes */
	bool listed;
	struct secure *next_waiting, *prev_waiting; /* of the engine */
	int64_t since;
};

static struct nbds_budget *budget_of(struct secure *c)
{
	return &c->session->engine->budget;
}

static struct nbds_tls_reader *reader_of(const struct secure *c)
{
	return c->session->engine->config.tls;
}

/* --- places --- */

static uint64_t inside_so_far(const struct session *s, enum nbds_side side)
{
	struct nbds_accounting bytes;

	nbds_decoder_accounting(s->decoder, side, &bytes);
	return bytes.fed;
}

static const struct place *place(const struct secure_half *h, uint32_t i)
{
	return &h->places[(h->next + h->room - h->count + i) % h->room];
}

/* Into a ring that grows; without memory the oldest one goes. */
static void remember(struct secure *c, struct secure_half *h, uint64_t end, uint64_t inside)
{
	if (h->count == h->room && h->room < PLACES_MOST) {
		uint32_t room = h->room ? h->room * 2 : 16;
		struct place *grown = nbds_budget_alloc(budget_of(c), room * sizeof(*grown));

		if (grown) {
			for (uint32_t i = 0; i < h->count; i++)
				grown[i] = *place(h, i);
			nbds_budget_free(budget_of(c), h->places, h->room * sizeof(*h->places));
			h->places = grown;
			h->room = room;
			h->next = h->count;
		}
	}
	if (!h->room) {
		h->places_lost = true;
		return;
	}
	if (h->count == h->room)
		h->places_lost = true;
	else
		h->count++;
	h->places[h->next] = (struct place){end, inside};
	h->next = (h->next + 1) % h->room;
}

/* The number of records that end at `end` or before. */
static uint32_t records_before(const struct secure_half *h, uint64_t end)
{
	uint32_t from = 0, to = h->count;

	while (from < to) {
		uint32_t middle = from + (to - from) / 2;

		if (place(h, middle)->end <= end)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

uint64_t secure_acked(const struct session *s, enum nbds_side side, uint64_t bytes)
{
	const struct secure_half *h = s->secure ? &s->secure->half[side] : NULL;
	uint64_t at;
	uint32_t n;

	if (!h || bytes == NBDS_NO_ACK || (h->dead && !h->count))
		return bytes;
	if (!h->on)
		/* what was not seen yet may be inside TLS */
		return bytes <= inside_so_far(s, side) ? bytes : NBDS_NO_ACK;
	if (bytes <= h->base)
		return bytes;
	at = bytes - h->base;
	if (at > h->fed) {
		/* of its FIN one more */
		if (s->c.closed[side].frame && at == h->fed + 1)
			return inside_so_far(s, side) + 1;
		return NBDS_NO_ACK;
	}
	n = records_before(h, at);
	if (n)
		return place(h, n - 1)->inside;
	return h->places_lost ? NBDS_NO_ACK : h->base;
}

void secure_range(const struct session *s, enum nbds_side side, uint64_t *offset, uint64_t *len)
{
	const struct secure_half *h = s->secure ? &s->secure->half[side] : NULL;
	uint64_t from = *offset, to = *offset + *len;
	uint32_t n;

	if (!h || !h->on || (h->dead && !h->count) || to <= h->base)
		return;
	if (from > h->base) {
		n = records_before(h, from - h->base);
		from = n ? place(h, n - 1)->inside : h->places_lost ? 0 : h->base;
	}
	n = records_before(h, to - h->base - 1);
	/* what is not complete is what comes next */
	to = n < h->count ? place(h, n)->inside : inside_so_far(s, side) + 1;
	*offset = from;
	*len = to > from ? to - from : 1;
}

/* --- what was inside --- */

static struct nbds_mark mark_of(const struct secure *c, enum nbds_side side, uint64_t start)
{
	const struct secure_half *h = &c->half[side];
	struct nbds_mark m = h->span, begun = h->span;
	bool known = start >= h->span_from;

	if (!known && start >= h->begun_from && start < h->begun_to) {
		begun = h->begun;
		known = true;
	}
	m.flags &= ~(uint32_t)NBDS_MARK_FIRST_TX;
	m.ack = NBDS_NO_ACK;
	if (known) {
		m.flags |= begun.flags & NBDS_MARK_FIRST_TX;
		m.ack = secure_acked(c->session, !side, begun.ack);
	}
	return m;
}

static void on_inside(void *ctx, enum nbds_side from, const uint8_t *data, size_t len,
		      uint64_t start, uint64_t end)
{
	struct secure *c = ctx;
	struct session *s = c->session;
	struct nbds_mark m = mark_of(c, from, start);

	nbds_decoder_inside(s->decoder, from);
	s->secure_ops->data(s, from, data, len, &m);
	if (s->decoder)
		remember(c, &c->half[from], end, inside_so_far(s, from));
}

static void on_lost(void *ctx, enum nbds_side from, uint64_t len, bool exact, uint64_t end)
{
	struct secure *c = ctx;
	struct session *s = c->session;
	struct nbds_mark m = c->half[from].span;

	m.ack = NBDS_NO_ACK;
	nbds_decoder_inside(s->decoder, from);
	s->secure_ops->lost(s, from, exact ? len : 0, &m);
	remember(c, &c->half[from], end, inside_so_far(s, from));
}

static const struct nbds_tls_sink sink = {on_inside, on_lost};

/* --- what cannot be read --- */

static void note(struct secure *c, uint64_t frame)
{
	struct session *s = c->session;
	struct nbds_tls_reader *r = reader_of(c);
	enum nbds_tls_why client = r->why(c->tls, NBDS_CLIENT),
			  server = r->why(c->tls, NBDS_SERVER);

	r->facts(c->tls, &s->c.tls.facts);
	if (s->c.tls.why > NBDS_TLS_WAITS) {
		s->c.tls.partly &= client <= NBDS_TLS_WAITS || server <= NBDS_TLS_WAITS;
		return;
	}
	s->c.tls.why = client > NBDS_TLS_WAITS ? client : server;
	s->c.tls.partly = client <= NBDS_TLS_WAITS || server <= NBDS_TLS_WAITS;
	if (s->c.tls.why > NBDS_TLS_WAITS)
		s->c.tls.frame = frame;
}

/* From here on the direction is TLS that nobody reads; what the reader had of it goes with
 * it if nothing was told. */
static void bury(struct secure *c, enum nbds_side side)
{
	struct secure_half *h = &c->half[side];
	struct session *s = c->session;

	h->dead = true;
	if (!h->on || !h->fed)
		return;
	if (h->count || h->places_lost)
		nbds_decoder_opaque(s->decoder, side, NULL, 0,
				    h->count ? h->fed - place(h, h->count - 1)->end : 0, 0,
				    &h->span);
	else
		nbds_decoder_opaque(s->decoder, side, h->head, h->head_len, h->fed, h->missing,
				    &h->head_mark);
}

static void look_back(struct secure *c, uint64_t frame)
{
	struct session *s = c->session;

	note(c, frame);
	for (int side = NBDS_CLIENT; side <= NBDS_SERVER; side++) {
		if (c->half[side].dead ||
		    reader_of(c)->why(c->tls, (enum nbds_side)side) <= NBDS_TLS_WAITS)
			continue;
		s->engine->current = s;
		bury(c, (enum nbds_side)side);
		s->engine->current = NULL;
	}
}

/* --- bytes in --- */

/* Returns how many were taken: all, unless the reader waits. */
static size_t feed_data(struct secure *c, enum nbds_side side, const uint8_t *data, size_t len,
			const struct nbds_mark *where)
{
	struct secure_half *h = &c->half[side];
	struct nbds_tls_reader *r = reader_of(c);
	uint64_t begun;
	size_t taken;

	if (h->dead) {
		c->session->secure_ops->data(c->session, side, data, len, where);
		return len;
	}
	if (!h->head_len)
		h->head_mark = *where;
	for (size_t i = 0; i < len && h->head_len < HEAD_KEPT && !h->missing; i++)
		h->head[h->head_len++] = data[i];
	h->span_from = h->fed;
	h->span = *where;
	taken = r->data(c->tls, side, data, len);
	h->fed += taken;
	begun = r->begun(c->tls, side);
	if (begun >= h->span_from && taken) {
		h->begun = *where;
		h->begun_from = h->span_from;
		h->begun_to = h->fed;
	}
	look_back(c, where->frame);
	return taken;
}

static void feed_gap(struct secure *c, enum nbds_side side, uint64_t len,
		     const struct nbds_mark *where)
{
	struct secure_half *h = &c->half[side];

	if (h->dead) {
		c->session->secure_ops->lost(c->session, side, len, where);
		return;
	}
	if (!h->fed)
		h->head_mark = *where;
	h->span_from = h->fed;
	h->span = *where;
	h->fed += len;
	h->missing += len;
	reader_of(c)->gap(c->tls, side, len);
	look_back(c, where->frame);
}

/* --- waiting --- */

static void list(struct secure *c)
{
	struct secure_list *all = &c->session->engine->secure_waiting;

	c->listed = true;
	c->prev_waiting = all->last;
	c->next_waiting = NULL;
	*(all->last ? &all->last->next_waiting : &all->first) = c;
	all->last = c;
	all->count++;
}

static void unlist(struct secure *c)
{
	struct secure_list *all = &c->session->engine->secure_waiting;

	if (!c->listed)
		return;
	c->listed = false;
	*(c->prev_waiting ? &c->prev_waiting->next_waiting : &all->first) = c->next_waiting;
	*(c->next_waiting ? &c->next_waiting->prev_waiting : &all->last) = c->prev_waiting;
	all->count--;
}

static struct waiting *enqueue(struct secure *c, enum nbds_side side, bool gap, uint64_t len,
			       const uint8_t *data, const struct nbds_mark *where)
{
	struct waiting *w = nbds_budget_alloc(budget_of(c), sizeof(*w) + (gap ? 0 : len));

	if (!w)
		return NULL;
	w->side = side;
	w->gap = gap;
	w->len = len;
	w->mark = *where;
	if (!gap)
		memcpy(w->data, data, len);
	*(c->last ? &c->last->next : &c->first) = w;
	c->last = w;
	c->waiting += gap ? 0 : len;
	c->half[side].queued++;
	if (!c->listed) {
		c->since = where->time;
		list(c);
	}
	return w;
}

static void dequeue(struct secure *c, struct waiting **at, struct waiting *before)
{
	struct waiting *w = *at;

	*at = w->next;
	if (c->last == w)
		c->last = before;
	c->waiting -= w->gap ? 0 : w->len;
	c->half[w->side].queued--;
	nbds_budget_free(budget_of(c), w, sizeof(*w) + (w->gap ? 0 : w->len));
}

/* True: all of it. */
static bool feed_waiting(struct secure *c, struct waiting *w)
{
	if (w->gap)
		feed_gap(c, w->side, w->len, &w->mark);
	else
		w->at += feed_data(c, w->side, w->data + w->at, w->len - w->at, &w->mark);
	return w->gap || w->at == w->len;
}

/* Feeds what waits, in its order; a direction that waits for what the other one says lets
 * that one go first. */
static void run(struct secure *c)
{
	bool again = true;

	while (again && c->first && c->session->decoder) {
		struct waiting **at = &c->first, *before = NULL;
		bool blocked[2] = {false, false};

		again = false;
		while (*at && c->session->decoder) {
			struct waiting *w = *at;

			if (!blocked[w->side] && feed_waiting(c, w)) {
				again |= blocked[!w->side];
				dequeue(c, at, before);
				continue;
			}
			blocked[w->side] = true;
			if (c->session->c.tls.facts.version || (blocked[0] && blocked[1]))
				break; /* it is keys that it waits for */
			before = w;
			at = &w->next;
		}
	}
	if (c->first)
		return;
	unlist(c);
	for (int side = NBDS_CLIENT; side <= NBDS_SERVER; side++) {
		struct secure_half *h = &c->half[side];

		if (h->closing)
			c->session->secure_ops->half_close(c->session, (enum nbds_side)side,
							   &h->closing_mark);
		h->closing = false;
	}
}

bool secure_half_close(struct session *s, enum nbds_side side, const struct nbds_mark *where)
{
	struct secure *c = s->secure;

	if (!c || !c->first)
		return false;
	if (reader_of(c)->refresh(reader_of(c)))
		run(c);
	if (!c->first)
		return false;
	c->half[side].closing = true;
	c->half[side].closing_mark = *where;
	return true;
}

static void hurry(struct secure *c)
{
	if (c->tls)
		reader_of(c)->hurry(c->tls);
	run(c);
	NBDS_ASSERT(!c->first || !c->session->decoder);
}

/* What those that wait may wait for: the version, or that nothing can be read any more. New
 * keys are seen at the next tick. */
static unsigned news_of(const struct secure *c)
{
	return c->session->c.tls.facts.version | (unsigned)c->half[0].dead << 16 |
	       (unsigned)c->half[1].dead << 17;
}

static void put(struct secure *c, enum nbds_side side, bool gap, uint64_t len, const uint8_t *data,
		const struct nbds_mark *where)
{
	/* while the version is not known, the other direction goes on, and may bring it */
	if (!c->first || (!c->half[side].queued && !c->session->c.tls.facts.version)) {
		unsigned before = news_of(c);
		size_t taken = 0;

		if (gap)
			feed_gap(c, side, len, where);
		else
			taken = feed_data(c, side, data, len, where);
		if (!c->session->decoder)
			return;
		if (!gap && taken < len) {
			data += taken;
			len -= taken;
		} else {
			len = 0;
		}
		if (len && !enqueue(c, side, false, len, data, where)) {
			/* no memory to wait with */
			hurry(c);
			if (c->session->decoder)
				feed_data(c, side, data, len, where);
			return;
		}
		if (c->first && news_of(c) != before)
			run(c);
		return;
	}
	if (enqueue(c, side, gap, len, data, where)) {
		if (c->waiting > WAIT_BYTES || nbds_budget_over(budget_of(c)))
			hurry(c);
		return;
	}
	hurry(c);
	if (!c->session->decoder)
		return;
	if (gap)
		feed_gap(c, side, len, where);
	else
		feed_data(c, side, data, len, where);
}

void secure_data(struct session *s, enum nbds_side side, const uint8_t *data, size_t len,
		 const struct nbds_mark *where)
{
	put(s->secure, side, false, len, data, where);
}

void secure_gap(struct session *s, enum nbds_side side, uint64_t len, const struct nbds_mark *where)
{
	put(s->secure, side, true, len, NULL, where);
}

void secure_headless(struct session *s, enum nbds_side side, uint64_t len,
		     const struct nbds_mark *where)
{
	if (!s->secure || !nbds_decoder_negotiated(s->decoder)->tls)
		return;
	reader_of(s->secure)->gap(s->secure->tls, side, len);
	look_back(s->secure, where->frame);
	run(s->secure);
}

bool secure_begins(void *session, enum nbds_side side, uint64_t offset, const uint8_t *data,
		   size_t len, const struct nbds_mark *where)
{
	struct session *s = session;
	struct nbds_tls_reader *r = s->engine->config.tls;
	struct secure *c = s->secure;

	if (!r || !r->any(r) || (c && c->half[side].dead))
		return false;
	if (!c) {
		c = nbds_budget_alloc(&s->engine->budget, sizeof(*c));
		if (!c)
			return false;
		c->session = s;
		c->tls = r->open(r, &s->engine->budget, &sink, c);
		if (!c->tls) {
			nbds_budget_free(&s->engine->budget, c, sizeof(*c));
			return false;
		}
		s->secure = c;
		s->c.tls.tried = true;
	}
	if (!c->half[side].on)
		c->half[side].base = offset;
	c->half[side].on = true;
	/* the decoder is at work: they wait for secure_go_on() */
	return enqueue(c, side, false, len, data, where);
}

void secure_go_on(struct session *s)
{
	if (s->secure && s->secure->first)
		run(s->secure);
}

bool secure_on(const struct session *s, enum nbds_side side)
{
	return s->secure && s->secure->half[side].on;
}

void secure_hurry(struct session *s)
{
	struct secure *c = s->secure;

	if (!c)
		return;
	if (c->first)
		hurry(c);
	if (!s->decoder)
		return;
	reader_of(c)->finish(c->tls);
	look_back(c, s->c.last_frame);
}

void secure_end(struct session *s)
{
	struct secure *c = s->secure;

	if (!c)
		return;
	while (c->first)
		dequeue(c, &c->first, NULL);
	unlist(c);
	if (c->tls)
		reader_of(c)->close(c->tls);
	for (int i = 0; i < 2; i++)
		nbds_budget_free(budget_of(c), c->half[i].places,
				 c->half[i].room * sizeof(*c->half[i].places));
	nbds_budget_free(budget_of(c), c, sizeof(*c));
	s->secure = NULL;
}

bool secure_waits(const struct session *s, uint64_t *frame)
{
	if (!s->secure || !s->secure->first)
		return false;
	*frame = s->secure->first->mark.frame;
	return true;
}

/* What keys take is counted as it grows. */
static void count_keys(struct nbds_engine *e)
{
	uint64_t takes = e->config.tls ? e->config.tls->memory(e->config.tls) : 0;

	if (takes > e->keys_take)
		nbds_budget_take(&e->budget, takes - e->keys_take);
	else
		nbds_budget_give(&e->budget, e->keys_take - takes);
	e->keys_take = takes;
}

void secure_tick(struct nbds_engine *e)
{
	struct secure *c = e->secure_waiting.first, *next;

	count_keys(e);
	if (!c)
		return;
	if (e->config.tls->refresh(e->config.tls)) {
		for (; c; c = next) {
			next = c->next_waiting;
			run(c);
		}
	}
	while ((c = e->secure_waiting.first) && nbds_elapsed(c->since, e->now) > WAIT_NS) {
		hurry(c);
		if (e->secure_waiting.first == c)
			break;
	}
}
