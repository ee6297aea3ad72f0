/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_tls.c - TLS: key logs, records, and the engine above them.
 *
 * The input is one byte that says how, and a row of steps: a byte (the kind, and
 * 0x80 for the server's direction), a length (2 bytes, big-endian) and, of DATA and KEYS,
 * so many bytes.  With ALONE the records alone are read, twice, in one piece and in
 * small ones: the same must come out.  Else an engine has the two directions as a
 * connection.  Places must be within what was fed, nothing may be told after a direction
 * failed, and all memory must come back; with SHORT it is not always there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/engine.h>

#include "analyzer/tls/tls.h"
#include "shortage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                               \
	do {                                                           \
		if (!(condition)) {                                    \
			fprintf(stderr, "fuzz_tls: " #condition "\n"); \
			abort();                                       \
		}                                                      \
	} while (0)

enum { ALONE = 1, SHORT = 2, GROWS = 4 };
enum { DATA, GAP, KEYS, HALF_CLOSE, CONFLICT, ACKED, TICK, HURRY, KINDS };

struct step {
	unsigned kind;
	int side;
	const uint8_t *bytes;
	size_t len;
};

/* False: no more. */
static bool next(const uint8_t **at, const uint8_t *end, struct step *s)
{
	if (end - *at < 3)
		return false;
	s->kind = (*at)[0] % KINDS;
	s->side = (*at)[0] >> 7;
	s->len = (size_t)(*at)[1] << 8 | (*at)[2];
	*at += 3;
	s->bytes = *at;
	if (s->kind != DATA && s->kind != KEYS)
		return true;
	if (s->len > (size_t)(end - *at))
		s->len = (size_t)(end - *at);
	*at += s->len;
	return true;
}

/* --- records alone --- */

struct heard {
	struct nbds_tls_reader *reader;
	struct nbds_tls_session *session;
	uint64_t fed[2], told[2], sum[2], holes[2];
};

static void on_data(void *ctx, enum nbds_side from, const uint8_t *data, size_t len, uint64_t start,
		    uint64_t end)
{
	struct heard *h = ctx;

	CHECK(len && start < end && end <= h->fed[from] && start >= h->told[from]);
	h->told[from] = end;
	for (size_t i = 0; i < len; i++)
		h->sum[from] = h->sum[from] * 31 + data[i] + 1;
}

static void on_lost(void *ctx, enum nbds_side from, uint64_t len, bool exact, uint64_t end)
{
	struct heard *h = ctx;

	(void)end;
	h->holes[from]++;
	h->sum[from] = h->sum[from] * 37 + (exact ? len : 1);
}

static const struct nbds_tls_sink sink = {on_data, on_lost};

static void feed(struct heard *h, const struct step *s, size_t most)
{
	struct nbds_tls_reader *r = h->reader;
	size_t at = 0;

	while (at < s->len) {
		size_t n = s->len - at < most ? s->len - at : most, taken;

		h->fed[s->side] += n;
		taken = r->data(h->session, s->side, s->bytes + at, n);
		CHECK(taken <= n);
		if (taken < n) {
			CHECK(r->why(h->session, s->side) == NBDS_TLS_WAITS);
			r->hurry(h->session);
			CHECK(r->data(h->session, s->side, s->bytes + at + taken, n - taken) ==
			      n - taken);
		}
		at += n;
	}
}

static void alone(const uint8_t *data, size_t size, bool small, struct heard *h)
{
	const uint8_t *at = data;
	struct nbds_budget budget = {0};
	struct step s;
	char err[256];

	memset(h, 0, sizeof(*h));
	h->reader = nbds_tls_reader_new(1 << 20, err, sizeof(err));
	CHECK(h->reader);
	while (next(&at, data + size, &s))
		if (s.kind == KEYS)
			nbds_tls_reader_secrets(h->reader, s.bytes, s.len);
	h->session = h->reader->open(h->reader, &budget, &sink, h);
	CHECK(h->session);
	for (at = data; next(&at, data + size, &s);) {
		enum nbds_tls_why before = h->reader->why(h->session, s.side);
		uint64_t told = h->told[s.side];

		switch (s.kind) {
		case DATA:
			feed(h, &s, small ? 1 + s.len % 7 : SIZE_MAX);
			break;
		case GAP:
			h->fed[s.side] += s.len;
			h->reader->gap(h->session, s.side, s.len);
			break;
		case HURRY:
			h->reader->hurry(h->session);
			break;
		default:
			break;
		}
		if (before > NBDS_TLS_WAITS)
			CHECK(h->told[s.side] == told &&
			      h->reader->why(h->session, s.side) == before);
		CHECK(h->reader->begun(h->session, s.side) <= h->fed[s.side]);
	}
	h->reader->close(h->session);
	CHECK(budget.used == 0);
	nbds_tls_reader_free(h->reader);
}

/* --- below an engine --- */

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	uint64_t *messages = ctx;

	CHECK(c->id && m->head_len);
	++*messages;
}

static void engine(const uint8_t *data, size_t size, bool grows, uint64_t *messages)
{
	const struct nbds_addr client = {.family = 4, .port = 40000, .ip = {127, 0, 0, 1}};
	const struct nbds_addr server = {.family = 4, .port = 10809, .ip = {127, 0, 0, 1}};
	struct nbds_engine_config config = {.memory = 1 << 22};
	const struct nbds_engine_ops ops = {.message = on_message};
	struct nbds_mark mark = {.frame = 1, .lo_frame = 1, .flags = NBDS_MARK_FIRST_TX};
	const uint8_t *at = data, *end = data + size;
	uint64_t fed[2] = {0, 0};
	bool closed[2] = {false, false};
	struct nbds_engine *e;
	struct nbds_stream *stream;
	char err[256];
	struct step s;

	config.tls = nbds_tls_reader_new(1 << 20, err, sizeof(err));
	if (!config.tls)
		return;
	nbds_tls_reader_expect(config.tls, grows);
	e = nbds_engine_new(&config, &ops, messages);
	stream = e ? nbds_engine_stream(e, &client, &server, true, &mark) : NULL;
	while (stream && next(&at, end, &s)) {
		mark.frame++;
		mark.lo_frame = mark.frame;
		mark.time = mark.lo_time += 1000;
		mark.ack = fed[!s.side];
		nbds_stream_frame(stream, s.side, &mark);
		switch (closed[s.side] && s.kind <= GAP ? (unsigned)TICK : s.kind) {
		case DATA:
			nbds_stream_data(stream, s.side, s.bytes, s.len, &mark);
			fed[s.side] += s.len;
			break;
		case GAP:
			nbds_stream_gap(stream, s.side, s.len, false, &mark);
			fed[s.side] += s.len;
			break;
		case KEYS:
			nbds_tls_reader_secrets(config.tls, s.bytes, s.len);
			break;
		case HALF_CLOSE:
			if (!closed[s.side])
				nbds_stream_half_close(stream, s.side, &mark);
			closed[s.side] = true;
			break;
		case CONFLICT:
			if (s.len < fed[s.side])
				nbds_stream_conflict(stream, s.side, s.len, fed[s.side] - s.len,
						     true, &mark);
			break;
		case ACKED:
			if (s.len < fed[s.side])
				nbds_stream_acked(stream, s.side, s.len, 1, s.len, fed[!s.side],
						  &mark);
			break;
		default:
			mark.time = mark.lo_time += (int64_t)s.len * 1000000;
			nbds_engine_tick(e, mark.time);
			break;
		}
		nbds_stream_complete(stream, mark.frame);
	}
	if (stream)
		nbds_stream_close(stream, false, !closed[0] || !closed[1], &mark);
	if (e)
		nbds_engine_finish(e);
	nbds_engine_free(e);
	nbds_tls_reader_free(config.tls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t messages = 0, again = 0;
	struct heard one, other;

	if (!size)
		return 0;
	if (data[0] & ALONE) {
		alone(data + 1, size - 1, false, &one);
		alone(data + 1, size - 1, true, &other);
		for (int side = 0; side < 2; side++)
			CHECK(one.sum[side] == other.sum[side] &&
			      one.holes[side] == other.holes[side]);
		return 0;
	}
	engine(data + 1, size - 1, data[0] & GROWS, &messages);
	if (data[0] & SHORT) {
		shortage_begin(1 + data[0] / 8);
		engine(data + 1, size - 1, data[0] & GROWS, &again);
		shortage_end();
	}
	return 0;
}
