/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.c - the decoder's outside, and what all messages have in common.
 */
#include "stream.h"

#include <base/assert.h>
#include <inttypes.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kept bytes ------------------------------------------------------------------ */

size_t nbds_room(struct nbds_direction *s, const struct nbds_span *sp, uint64_t want)
{
	size_t n = want > NBDS_HEAD_MAX ? NBDS_HEAD_MAX : (size_t)want;

	if (n <= NBDS_SMALL || s->big || (!s->have && sp->len >= n))
		return n;
	s->big = nbds_decoder_realloc(NULL, NBDS_HEAD_MAX);
	return s->big ? n : NBDS_SMALL;
}

/*
 * Moves the next `n` bytes of the span to those that are kept.  This is the only
 * place that fills `small` and `big`: how much fits is decided by nbds_room(),
 * and checked here.
 */
static void keep(struct nbds_direction *s, struct nbds_span *sp, size_t n)
{
	if (s->have + n > NBDS_SMALL && s->kept == s->small) {
		NBDS_ASSERT(s->big);
		memcpy(s->big, s->small, s->have);
		s->kept = s->big;
	}
	NBDS_ASSERT(n <= sp->len);
	NBDS_ASSERT(s->have + n <= (s->kept == s->small ? NBDS_SMALL : NBDS_HEAD_MAX));
	memcpy(s->kept + s->have, sp->data, n);
	s->have += (uint32_t)n;
	if (s->have == n || memcmp(&s->last, sp->mark, sizeof(s->last))) {
		s->last = *sp->mark;
		s->with_last = 0;
	}
	s->with_last += (uint32_t)n;
	sp->data += n;
	sp->len -= n;
}

const uint8_t *nbds_peek(struct nbds_direction *s, struct nbds_span *sp, size_t n)
{
	size_t take;

	NBDS_ASSERT(n && n <= (s->big || sp->len >= n ? NBDS_HEAD_MAX : NBDS_SMALL));

	if (!s->have) {
		if (sp->len >= n)
			return sp->data;
		if (!sp->len)
			return NULL;
		s->first = *sp->mark;
	}
	if (s->have >= n)
		return s->kept;
	take = n - s->have < sp->len ? n - s->have : sp->len;
	if (!take)
		return NULL;
	keep(s, sp, take);
	return s->have >= n ? s->kept : NULL;
}

struct nbds_place nbds_here(const struct nbds_direction *s, const struct nbds_span *sp)
{
	return (struct nbds_place){
		.offset = s->pos,
		.first = s->have ? &s->first : sp->mark,
		.last = s->have ? &s->last : sp->mark,
	};
}

void nbds_consume(struct nbds_direction *s, struct nbds_span *sp, size_t n)
{
	size_t kept = n < s->have ? n : s->have;

	NBDS_ASSERT(n - kept <= sp->len);
	s->pos += n;
	if (kept) {
		s->have -= (uint32_t)kept;
		if (s->have) {
			memmove(s->kept, s->kept + kept, s->have);
			if (s->have <= s->with_last)
				s->first = s->last;
		} else {
			s->kept = s->small;
		}
		n -= kept;
	}
	if (n) {
		sp->data += n;
		sp->len -= n;
	}
}

/* Messages and trouble -------------------------------------------------------- */

void nbds_trouble(struct nbds_decoder *d, const struct nbds_direction *s,
		  enum nbds_trouble_kind kind, uint64_t offset, uint64_t length,
		  const struct nbds_mark *where, struct nbds_request *request, const char *format,
		  ...)
{
	char text[160];
	struct nbds_trouble t = {.kind = kind,
				 .side = s->side,
				 .offset = offset,
				 .length = length,
				 .where = *where,
				 .text = text,
				 .bytes = d->bytes,
				 .bytes_len = d->bytes_len,
				 .request = request};
	va_list args;

	d->bytes = NULL;
	d->bytes_len = 0;
	if (!d->ops.trouble)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	d->ops.trouble(d->ctx, &t);
}

void nbds_show(struct nbds_decoder *d, const struct nbds_direction *s, const struct nbds_span *sp)
{
	d->bytes = s->have ? s->kept : sp->data;
	d->bytes_len = s->have ? s->have : sp->len;
}

struct nbds_message *nbds_message_new(struct nbds_direction *s, enum nbds_message_type type)
{
	memset(&s->m, 0, sizeof(s->m));
	s->m.type = type;
	return &s->m;
}

void nbds_tell(struct nbds_decoder *d, struct nbds_direction *s, const struct nbds_place *place,
	       const uint8_t *head, size_t len, enum nbds_payload payload, uint64_t payload_len)
{
	struct nbds_message *m = &s->m;

	NBDS_ASSERT(!s->in_message && len && len <= NBDS_HEAD_MAX);
	m->from = s->side;
	m->flags |= place->flags;
	if (s->resynced)
		m->flags |= NBDS_MSG_RESYNCED;
	s->resynced = false;
	m->offset = place->offset;
	m->head = head;
	m->head_len = (uint32_t)len;
	m->payload = payload_len ? payload : NBDS_PAYLOAD_NONE;
	m->payload_len = payload_len;
	m->first = *place->first;
	m->last = *place->last;
	m->negotiated = &d->neg;
	s->in_message = true;
	s->holed = false;
	s->at = 0;
	s->told = len;
	s->count.decoded += len;
	if (d->ops.message)
		d->ops.message(d->ctx, m);
	m->head = NULL;
}

void nbds_tell_end(struct nbds_decoder *d, struct nbds_direction *s, const struct nbds_mark *last)
{
	struct nbds_message *m = &s->m;

	m->last = *last;
	if (s->holed || s->at < m->payload_len)
		m->flags |= NBDS_MSG_INCOMPLETE;
	if (d->ops.message_end)
		d->ops.message_end(d->ctx, m);
	s->in_message = false;
	if (s->side == NBDS_SERVER && (m->flags & NBDS_MSG_FINAL) && m->request) {
		nbds_answered_add(d, m->request, m->first.frame);
		nbds_flight_remove(d, m->request);
	}
	m->request = NULL;
	m->again = NULL;
}

void nbds_told(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	nbds_consume(s, sp, s->m.head_len);
	if (!s->m.payload_len) {
		struct nbds_mark last = s->m.last;

		nbds_tell_end(d, s, &last);
	}
}

void nbds_tell_payload(struct nbds_decoder *d, struct nbds_direction *s, const uint8_t *data,
		       size_t n, const struct nbds_mark *where)
{
	uint64_t at = s->at;

	NBDS_ASSERT(s->in_message && n && n <= s->m.payload_len - at);
	if (d->ops.payload)
		d->ops.payload(d->ctx, &s->m, at, data, n, where);
	s->at += n;
	s->told += n;
	s->count.decoded += n;
}

void nbds_tell_gap(struct nbds_decoder *d, struct nbds_direction *s, uint64_t len,
		   const struct nbds_mark *where)
{
	uint64_t at = s->at;

	NBDS_ASSERT(s->in_message && len && len <= s->m.payload_len - at);
	s->at += len;
	s->holed = true;
	if (d->ops.payload_gap)
		d->ops.payload_gap(d->ctx, &s->m, at, len, where);
}

/* The next bytes of payload. */
static bool step_payload(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	const uint8_t *data = s->have ? s->kept : sp->data;
	struct nbds_mark where = s->have ? s->last : *sp->mark;
	size_t n = s->have ? s->have : sp->len;

	n = (size_t)nbds_min(n, s->m.payload_len - s->at);
	if (!n)
		return false;
	nbds_tell_payload(d, s, data, n, &where);
	nbds_consume(s, sp, n);
	if (s->at == s->m.payload_len)
		nbds_tell_end(d, s, &where);
	return true;
}

/* Phases ---------------------------------------------------------------------- */

void nbds_sink(struct nbds_decoder *d, struct nbds_direction *s, enum nbds_phase phase)
{
	if (s->ended || s->phase == NBDS_PHASE_TLS)
		return;
	if (s->phase == NBDS_PHASE_SEARCH)
		nbds_search_end(d, s, d->now);
	s->outside = s->phase == NBDS_PHASE_START ? NBDS_PHASE_START : NBDS_PHASE_OPTIONS;
	s->phase = phase;
	s->told_sink = false;
}

#define TLS_TELLS 3

/* The one trouble of a stream of which nothing is decoded any more. */
static void tell_sink(struct nbds_decoder *d, struct nbds_direction *s,
		      const struct nbds_mark *where)
{
	if (s->told_sink)
		return;
	s->told_sink = true;
	if (s->phase == NBDS_PHASE_TLS)
		nbds_trouble(d, s, NBDS_TROUBLE_TLS, s->pos, 0, where, NULL, "TLS starts");
	else
		nbds_trouble(d, s, NBDS_TROUBLE_AFTER_END, s->pos, 0, where, NULL,
			     d->aborted ? "bytes after NBD_OPT_ABORT" : "bytes after NBD_CMD_DISC");
}

/* The caller may look into TLS itself. True: it does, and has the bytes. */
static bool hand_over(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	size_t n = s->have + sp->len;

	if (s->opaque || s->told_sink || s->sink_holed || !d->ops.tls)
		return false;
	if (!d->ops.tls(d->ctx, s->side, s->pos, s->have ? s->kept : sp->data,
			s->have ? s->have : sp->len, s->have ? &s->first : sp->mark)) {
		s->opaque = true;
		return false;
	}
	if (s->have && sp->len)
		d->ops.tls(d->ctx, s->side, s->pos + s->have, sp->data, sp->len, sp->mark);
	nbds_consume(s, sp, n);
	s->pos -= n;
	s->count.fed -= n;
	return true;
}

static bool step_sink(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	size_t n = s->have + sp->len;

	if (!n)
		return false;
	if (s->phase == NBDS_PHASE_TLS && hand_over(d, s, sp))
		return false;
	/* whether it is TLS at all, its type and version tell */
	if (s->phase == NBDS_PHASE_TLS && !s->told_sink && !nbds_peek(s, sp, TLS_TELLS))
		return false;
	n = s->have + sp->len;
	if (!s->sink_holed)
		nbds_show(d, s, sp);
	tell_sink(d, s, s->have ? &s->first : sp->mark);
	d->bytes = NULL;
	d->bytes_len = 0;
	if (s->phase == NBDS_PHASE_TLS)
		s->count.tls += n;
	else
		s->count.after_end += n;
	nbds_consume(s, sp, n);
	return false;
}

void nbds_run(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	bool more = true;

	while (more) {
		if (s->in_message) {
			more = step_payload(d, s, sp);
			continue;
		}
		switch (s->phase) {
		case NBDS_PHASE_START:
			more = nbds_step_start(d, s, sp);
			break;
		case NBDS_PHASE_OPTIONS:
			more = s->side == NBDS_CLIENT ? nbds_step_option(d, s, sp)
						      : nbds_step_option_reply(d, s, sp);
			break;
		case NBDS_PHASE_TRANSMISSION:
			more = s->side == NBDS_CLIENT ? nbds_step_request(d, s, sp)
						      : nbds_step_reply(d, s, sp);
			break;
		case NBDS_PHASE_SEARCH:
			more = nbds_step_search(d, s, sp);
			break;
		case NBDS_PHASE_TLS:
		case NBDS_PHASE_OVER:
			more = step_sink(d, s, sp);
			break;
		}
	}
}

/* The outside ----------------------------------------------------------------- */

struct nbds_decoder *nbds_decoder_new(const struct nbds_decoder_ops *ops, void *ctx,
				      enum nbds_start start)
{
	struct nbds_decoder *d = nbds_decoder_realloc(NULL, sizeof(*d));

	if (!d)
		return NULL;
	memset(d, 0, sizeof(*d));
	d->ops = *ops;
	d->ctx = ctx;
	d->mode_known = start == NBDS_START_GREETING;
	d->middle = start == NBDS_START_MIDDLE;
	nbds_flights_init(d);
	for (int i = 0; i < 2; i++) {
		d->streams[i].side = (enum nbds_side)i;
		d->streams[i].kept = d->streams[i].small;
	}
	if (start == NBDS_START_MIDDLE)
		for (int i = 0; i < 2; i++)
			nbds_lose(d, &d->streams[i], 0);
	return d;
}

void nbds_decoder_free(struct nbds_decoder *d)
{
	if (!d)
		return;
	for (int i = 0; i < 2; i++) {
		nbds_search_free(&d->streams[i]);
		free(d->streams[i].big);
	}
	nbds_flights_free(d);
	free(d);
}

/* Long heads that come in pieces are few, and connections many. */
static void give_back(struct nbds_direction *s)
{
	if (!s->big || s->kept == s->big)
		return;
	free(s->big);
	s->big = NULL;
}

void nbds_decoder_data(struct nbds_decoder *d, enum nbds_side side, const uint8_t *data, size_t len,
		       const struct nbds_mark *where)
{
	struct nbds_direction *s = &d->streams[side];
	struct nbds_span sp = {data, len, where};

	if (!len || s->ended)
		return;
	d->now = where;
	s->count.fed += len;
	nbds_run(d, s, &sp);
	give_back(s);
}

uint64_t nbds_decoder_memory(const struct nbds_decoder *d)
{
	uint64_t bytes = sizeof(*d) + nbds_flights_memory(d);

	for (int i = 0; i < 2; i++)
		bytes += nbds_search_memory(&d->streams[i]) +
			 (d->streams[i].big ? NBDS_HEAD_MAX : 0);
	return bytes;
}

/* What is kept of a head that will not be complete, told if it can be. */
static void cut_head(struct nbds_decoder *d, struct nbds_direction *s)
{
	if (!s->have)
		return;
	if (s->phase == NBDS_PHASE_OPTIONS)
		nbds_cut_handshake(d, s);
	else if (s->phase == NBDS_PHASE_TRANSMISSION)
		nbds_cut_transmission(d, s);
}

/* Bytes of the message that is being read are missing. Returns how many. */
static uint64_t gap_in_message(struct nbds_decoder *d, struct nbds_direction *s, uint64_t len,
			       const struct nbds_mark *where)
{
	len = nbds_min(len, s->m.payload_len - s->at);
	s->pos += len;
	s->count.lost += len;
	nbds_tell_gap(d, s, len, where);
	if (s->at == s->m.payload_len)
		nbds_tell_end(d, s, where);
	return len;
}

void nbds_decoder_gap(struct nbds_decoder *d, enum nbds_side side, uint64_t len,
		      const struct nbds_mark *where)
{
	struct nbds_direction *s = &d->streams[side];
	struct nbds_span none = {NULL, 0, where};
	uint64_t n;

	if (!len || s->ended)
		return;
	d->now = where;
	s->count.fed += len;
	if (side == NBDS_SERVER)
		nbds_flush_export_name(d);
	if (!s->in_message)
		cut_head(d, s);
	if (s->in_message)
		len -= gap_in_message(d, s, len, where);
	if (s->discard && !s->have) {
		n = nbds_min(len, s->discard);
		s->discard -= n;
		s->count.lost += n;
		s->pos += n;
		len -= n;
	}
	if (!len)
		return;

	if (s->phase < NBDS_PHASE_SEARCH) {
		nbds_trouble(d, s, NBDS_TROUBLE_LOST, s->pos + s->have, len, where, NULL,
			     "the capture lost %llu bytes", (unsigned long long)len);
		nbds_lose(d, s, 0);
	}
	if (s->phase == NBDS_PHASE_SEARCH) {
		nbds_search_gap(d, s, len);
		return;
	}
	nbds_run(d, s, &none); /* what is kept */
	/* whether it is TLS, what comes next does not show */
	s->sink_holed |= s->phase == NBDS_PHASE_TLS && !s->told_sink;
	s->count.lost += len;
	s->pos += len;
}

void nbds_decoder_lose(struct nbds_decoder *d, enum nbds_side side, const struct nbds_mark *where)
{
	struct nbds_direction *s = &d->streams[side];

	do {
		uint64_t rest = s->in_message ? s->m.payload_len - s->at : 0;

		nbds_decoder_gap(d, side, rest + s->discard + 1, where);
	} while (s->in_message && !s->ended);
}

void nbds_decoder_inside(struct nbds_decoder *d, enum nbds_side side)
{
	struct nbds_direction *s = &d->streams[side];

	if (s->phase != NBDS_PHASE_TLS || s->opaque || s->ended)
		return;
	s->phase = s->outside;
	d->neg.tls = d->neg.inside = true;
}

void nbds_decoder_opaque(struct nbds_decoder *d, enum nbds_side side, const uint8_t *bytes,
			 size_t bytes_len, uint64_t len, uint64_t lost,
			 const struct nbds_mark *first)
{
	struct nbds_direction *s = &d->streams[side];

	NBDS_ASSERT(lost <= len);
	if (s->ended)
		return;
	d->now = first;
	if (side == NBDS_SERVER)
		nbds_flush_export_name(d);
	if (s->phase != NBDS_PHASE_TLS) {
		nbds_decoder_lose(d, side, first);
		d->neg.tls = true;
		nbds_sink(d, s, NBDS_PHASE_TLS);
	}
	s->opaque = true;
	if (!len)
		return;
	d->bytes = bytes_len ? bytes : NULL;
	d->bytes_len = bytes ? bytes_len : 0;
	tell_sink(d, s, first);
	d->bytes = NULL;
	d->bytes_len = 0;
	s->count.fed += len;
	s->count.lost += lost;
	s->count.tls += len - lost;
	s->pos += len;
}

void nbds_decoder_end(struct nbds_decoder *d, enum nbds_side side, const struct nbds_mark *where)
{
	struct nbds_direction *s = &d->streams[side];

	if (s->ended)
		return;
	d->now = where;
	if (side == NBDS_SERVER)
		nbds_flush_export_name(d);
	if (!s->in_message)
		cut_head(d, s);
	s->ended = true;
	if (s->in_message) {
		uint64_t offset = s->m.offset, told = s->told;
		struct nbds_mark last = *where;

		s->count.decoded -= told;
		s->count.trailing += told;
		nbds_tell_end(d, s, &last);
		nbds_trouble(d, s, NBDS_TROUBLE_TRAILING, offset, told, where, NULL,
			     "%s ends after %" PRIu64 " of %" PRIu64 " bytes of its payload",
			     s->m.name, s->at, s->m.payload_len);
	} else if (s->phase == NBDS_PHASE_SEARCH) {
		nbds_search_end(d, s, where);
	}
	if (s->have) {
		d->bytes = s->kept;
		d->bytes_len = s->have;
		s->count.trailing += s->have;
		nbds_trouble(d, s, NBDS_TROUBLE_TRAILING, s->pos, s->have, where, NULL,
			     "the end came inside the head of a message");
		s->pos += s->have;
		s->have = 0;
	}
}

const struct nbds_negotiated *nbds_decoder_negotiated(const struct nbds_decoder *d)
{
	return &d->neg;
}

bool nbds_decoder_sure(const struct nbds_decoder *d)
{
	return !nbds_searching(d, NBDS_CLIENT) && !nbds_searching(d, NBDS_SERVER);
}

void nbds_decoder_accounting(const struct nbds_decoder *d, enum nbds_side side,
			     struct nbds_accounting *a)
{
	const struct nbds_direction *s = &d->streams[side];

	*a = s->count;
	if (s->phase == NBDS_PHASE_SEARCH && !s->ended) {
		uint64_t passed = nbds_search_passed(s);
		uint64_t nonsense = nbds_min(passed, s->search_nonsense);

		a->nonsense += nonsense;
		a->skipped += passed - nonsense;
	}
}
