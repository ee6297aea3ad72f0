/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_decoder.c - the stream decoder, fed with two byte streams.
 *
 * The input is a list of what the decoder is called with:
 *
 *	start			1 byte: 0 the greeting, else the middle
 *	then, again and again:
 *	operation		1 byte: bit 0 the side (0 client, 1 server),
 *				bits 1-2: 0 or 3 data, 1 gap, 2 end
 *	length			2 bytes, big-endian (not for end); a gap's length has
 *				4 bytes, so that it can be longer than a payload
 *	data			that many bytes, or as many as there are
 *
 * The same calls are made three times: as they are, with data byte by byte, and
 * with data in pieces of various lengths.  What the decoder says must be the
 * same, and consistent in itself: heads and payload lie in their stream where
 * they claim, each message ends once, spans of payload follow each other and fit,
 * requests live until their end is told, and all bytes are accounted for.  In a
 * fourth run memory is short: then the decoder may say less, but must stay
 * consistent.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/decoder.h>
#include <nbdscope/fields.h>

#include "dissector/decoder/stream.h" /* nbds_decoder_realloc */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fail(const char *what)
{
	fprintf(stderr, "fuzz_decoder: %s\n", what);
	abort();
}

#define CHECK(condition)                  \
	do {                              \
		if (!(condition))         \
			fail(#condition); \
	} while (0)

/* How data are fed: in one piece, byte by byte, in pieces; and in pieces with
 * memory short. */
enum { WHOLE, BYTES, PIECES, SHORT };

/* What was told, as one number that no difference leaves unchanged. */
struct digest {
	uint64_t x;
};

static void mix(struct digest *h, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		h->x = (h->x ^ p[i]) * UINT64_C(0x100000001b3);
}

static void mix64(struct digest *h, uint64_t value)
{
	mix(h, &value, sizeof(value));
}

/* A request as the caller knows it, hung on nbds_request.user. */
struct known {
	struct nbds_request *request;
	uint64_t serial;
};

struct side {
	bool open, ended;
	uint64_t at, told, payload_len;
	struct digest payload;
	uint64_t next; /* stream offset after the last message */
	uint64_t fed;
};

struct run {
	struct nbds_decoder *d;
	struct digest digest;
	struct side side[2];
	uint64_t live;
};

static void check_request(struct run *r, const struct nbds_message *m)
{
	struct nbds_request *request = m->request;
	struct known *known;

	(void)r;
	if (!request)
		return;
	known = request->user;
	CHECK(known && known->request == request && known->serial == request->serial);
}

static void end_request(struct run *r, struct nbds_request *request)
{
	free(request->user);
	request->user = NULL;
	r->live--;
}

static void field(void *arg, const struct nbds_field *f)
{
	mix64(arg, f->value);
	mix64(arg, f->offset);
	mix(arg, f->text, strlen(f->text));
}

static void on_message(void *ctx, const struct nbds_message *m)
{
	struct run *r = ctx;
	struct side *s = &r->side[m->from];
	char line[200];

	CHECK(!s->open);
	CHECK(m->head && m->head_len && m->head_len <= NBDS_HEAD_MAX);
	CHECK((m->payload == NBDS_PAYLOAD_NONE) == !m->payload_len);
	CHECK(m->offset >= s->next);
	CHECK(m->offset <= s->fed && m->head_len <= s->fed - m->offset);
	CHECK(m->negotiated == nbds_decoder_negotiated(r->d));
	s->open = true;
	s->at = s->told = 0;
	s->payload_len = m->payload_len;
	s->payload.x = 0;
	s->next = m->offset + m->head_len;
	if (m->type == NBDS_MSG_REQUEST) {
		struct known *known = malloc(sizeof(*known));

		CHECK(known && m->request && !m->request->user);
		known->request = m->request;
		known->serial = m->request->serial;
		m->request->user = known;
		r->live++;
	} else {
		CHECK(m->from == NBDS_SERVER || !m->request);
		if (m->type >= NBDS_MSG_SIMPLE_REPLY)
			CHECK(!m->request == !!(m->flags & NBDS_MSG_UNSOLICITED));
	}
	check_request(r, m);

	mix64(&r->digest, m->type);
	mix64(&r->digest, m->from);
	mix64(&r->digest, m->flags);
	mix64(&r->digest, m->offset);
	mix64(&r->digest, m->payload_len);
	mix64(&r->digest, m->payload);
	mix64(&r->digest, m->request ? m->request->serial : 0);
	mix64(&r->digest, m->request ? m->request->ambiguous : 0);
	CHECK(!m->again || m->flags & NBDS_MSG_UNSOLICITED);
	mix64(&r->digest, m->again ? m->again->serial : 0);
	mix(&r->digest, m->name, strlen(m->name));
	mix(&r->digest, m->head, m->head_len);
	mix64(&r->digest, m->negotiated->structured);
	mix64(&r->digest, m->negotiated->extended);
	mix64(&r->digest, m->negotiated->inferred);
	mix64(&r->digest, m->negotiated->size);
	nbds_walk(m, field, &r->digest);
	nbds_summary(m, line, sizeof(line));
	mix(&r->digest, line, strlen(line));
}

static void on_payload(void *ctx, const struct nbds_message *m, uint64_t at, const uint8_t *data,
		       size_t len, const struct nbds_mark *where)
{
	struct run *r = ctx;
	struct side *s = &r->side[m->from];

	CHECK(s->open && !m->head && where->frame);
	CHECK(at == s->at && len && len <= s->payload_len - at);
	check_request(r, m);
	mix(&s->payload, data, len);
	s->at += len;
	s->told += len;
	s->next += len;
}

static void on_payload_gap(void *ctx, const struct nbds_message *m, uint64_t at, uint64_t len,
			   const struct nbds_mark *where)
{
	struct run *r = ctx;
	struct side *s = &r->side[m->from];

	CHECK(s->open && !m->head && where->frame);
	CHECK(at == s->at && len && len <= s->payload_len - at);
	check_request(r, m);
	s->at += len;
	s->next += len;
	mix64(&s->payload, len);
}

static void on_message_end(void *ctx, const struct nbds_message *m)
{
	struct run *r = ctx;
	struct side *s = &r->side[m->from];

	CHECK(s->open && !m->head);
	CHECK(s->at <= s->payload_len);
	CHECK((s->told != s->payload_len) == !!(m->flags & NBDS_MSG_INCOMPLETE));
	check_request(r, m);
	s->open = false;
	mix64(&r->digest, m->from);
	mix64(&r->digest, m->flags);
	mix64(&r->digest, s->at);
	mix64(&r->digest, s->payload.x);
	if (m->request && ((m->from == NBDS_SERVER && (m->flags & NBDS_MSG_FINAL)) ||
			   (m->from == NBDS_CLIENT && m->request->type == NBD_CMD_DISC)))
		end_request(r, m->request);
}

static void on_trouble(void *ctx, const struct nbds_trouble *t)
{
	struct run *r = ctx;

	CHECK(t->text && strlen(t->text) && t->where.frame);
	CHECK((t->kind == NBDS_TROUBLE_FORGOT) == (t->request != NULL));
	mix64(&r->digest, t->kind);
	mix64(&r->digest, t->side);
	mix64(&r->digest, t->offset);
	mix64(&r->digest, t->length);
	mix(&r->digest, t->text, strlen(t->text));
	if (t->request) {
		mix64(&r->digest, t->request->serial);
		end_request(r, t->request);
	}
}

static void on_each(void *arg, struct nbds_request *request)
{
	uint64_t *count = arg;
	struct known *known = request->user;

	CHECK(known && known->serial == request->serial);
	free(known);
	request->user = NULL;
	++*count;
}

static void feed(struct run *r, enum nbds_side side, const uint8_t *data, size_t len,
		 unsigned manner, const struct nbds_mark *mark)
{
	size_t n, at = 0, kept = 0;
	uint8_t *exact = NULL;

	r->side[side].fed += r->side[side].ended ? 0 : len;
	for (; at < len; at += n) {
		n = len - at;
		if (manner == BYTES)
			n = 1;
		else if (manner >= PIECES && n > 1 + (at * 7 + len) % 61)
			n = 1 + (at * 7 + len) % 61;
		if (n != kept) {
			free(exact);
			exact = malloc(n);
			CHECK(exact);
			kept = n;
		}
		memcpy(exact, data + at, n);
		nbds_decoder_data(r->d, side, exact, n, mark);
	}
	free(exact);
}

static void end(struct run *r, enum nbds_side side, const struct nbds_mark *mark)
{
	struct nbds_accounting a;

	nbds_decoder_end(r->d, side, mark);
	r->side[side].ended = true;
	nbds_decoder_accounting(r->d, side, &a);
	CHECK(!r->side[side].open);
	CHECK(a.fed == r->side[side].fed);
	CHECK(a.fed ==
	      a.decoded + a.lost + a.nonsense + a.skipped + a.tls + a.after_end + a.trailing);
}

/* Memory that is there every third time or so. */
static uint32_t shortage;

static void *unwilling(void *old, size_t size)
{
	shortage = shortage * 1664525 + 1013904223;
	return shortage >> 30 == 0 ? realloc(old, size) : NULL;
}

static uint64_t run(const uint8_t *data, size_t size, unsigned manner)
{
	static const struct nbds_decoder_ops ops = {on_message,     on_payload, on_payload_gap,
						    on_message_end, on_trouble, NULL};
	struct nbds_mark mark = {.frame = 1, .ack = NBDS_NO_ACK};
	uint64_t in_flight = 0;
	struct run r;
	size_t at = 1;

	memset(&r, 0, sizeof(r));
	r.d = nbds_decoder_new(&ops, &r, data[0] ? NBDS_START_MIDDLE : NBDS_START_GREETING);
	if (manner == SHORT) {
		nbds_decoder_realloc = unwilling;
		shortage = (uint32_t)size;
	}
	CHECK(r.d);
	while (at < size) {
		uint8_t operation = data[at++];
		enum nbds_side side = (enum nbds_side)(operation & 1);
		size_t width = (operation & 6) == 2 ? 4 : 2, len = 0;

		if ((operation & 6) == 4) {
			end(&r, side, &mark);
			continue;
		}
		while (width-- && at < size)
			len = len << 8 | data[at++];
		if ((operation & 6) == 2) {
			nbds_decoder_gap(r.d, side, len, &mark);
			r.side[side].fed += r.side[side].ended ? 0 : len;
		} else {
			if (len > size - at)
				len = size - at;
			feed(&r, side, data + at, len, manner, &mark);
			at += len;
		}
		mark.frame++;
	}
	end(&r, NBDS_CLIENT, &mark);
	end(&r, NBDS_SERVER, &mark);
	mix64(&r.digest, nbds_decoder_sure(r.d));
	nbds_decoder_each_request(r.d, on_each, &in_flight);
	CHECK(in_flight == r.live);
	nbds_decoder_free(r.d);
	nbds_decoder_realloc = realloc;
	return r.digest.x;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t digest;

	if (!size)
		return 0;
	digest = run(data, size, WHOLE);
	CHECK(run(data, size, BYTES) == digest);
	CHECK(run(data, size, PIECES) == digest);
	run(data, size, SHORT);
	return 0;
}
