/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_tcp.c - the TCP layer under any segments, and against a model.
 *
 * The first byte of the input chooses which, the second one the limits.
 *
 * Any segments: each nine bytes are one segment of one of four connections.
 * Whatever they say, each direction is told from offset 0 without a step left
 * out or taken twice, nothing comes after the end or after being ignored but the
 * end itself, and what is held stays within the limits.
 *
 * Model: two known streams of bytes, cut, repeated, delayed and (if so chosen)
 * lost as the input says.  What is told must be those bytes at those offsets;
 * with nothing lost and enough patience, all of them, and no gap.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/tcp/tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                                  \
	do {                                                                         \
		if (!(what)) {                                                       \
			fprintf(stderr, "fuzz_tcp: line %d: %s\n", __LINE__, #what); \
			abort();                                                     \
		}                                                                    \
	} while (0)

struct watched {
	struct nbds_flow *flow;
	struct watched *next;
	uint64_t told[2];
	bool fin[2], ignored, closed;
};

static struct run {
	struct nbds_tcp *tcp;
	struct nbds_packet packet;
	struct watched *all;
	struct watched *last; /* the one opened last, if it is open */
	uint64_t bytes, gap_bytes, gaps, closes, opens;
	uint32_t isn[2];
	bool model;
	bool fickle;  /* flows are ignored out of any callback */
	unsigned sum; /* of all bytes told: each one is read */
} run;

/* The byte of direction `dir` at `offset`. */
static uint8_t known(int dir, uint64_t offset)
{
	uint64_t v = (offset + 1) * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)dir;

	return (uint8_t)(v >> 56 ^ v >> 13);
}

static void check_mark(const struct nbds_mark *m)
{
	CHECK(m->frame > 0 && m->frame <= run.packet.frame);
	CHECK(m->lo_frame <= m->frame);
}

static void *on_open(void *ctx, struct nbds_flow *flow, const struct nbds_addr *a,
		     const struct nbds_addr *b, bool syn, const struct nbds_mark *where)
{
	struct watched *w = calloc(1, sizeof(*w));

	(void)ctx;
	(void)syn;
	CHECK(w);
	CHECK(!nbds_addr_equal(a, b));
	check_mark(where);
	w->flow = flow;
	w->next = run.all;
	run.all = run.last = w;
	run.opens++;
	return w;
}

static struct watched *event(void *user)
{
	struct watched *w = user;

	CHECK(!w->ignored && !w->closed);
	if (run.fickle && ++run.sum % 61 == 0) {
		w->ignored = true;
		nbds_tcp_ignore(w->flow);
	}
	return w;
}

static void on_data(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
		    size_t len, const struct nbds_mark *where)
{
	struct watched *w = event(user);

	(void)ctx;
	CHECK(len > 0 && offset == w->told[dir] && !w->fin[dir]);
	check_mark(where);
	/* both: sent first, captured after later ones */
	CHECK(where->flags & (NBDS_MARK_FIRST_TX | NBDS_MARK_LATE));
	CHECK(where->flags & NBDS_MARK_LATE ||
	      (where->lo_frame == where->frame && where->lo_time == where->time));
	for (size_t i = 0; i < len; i++) {
		run.sum += data[i];
		if (run.model)
			CHECK(data[i] == known(dir, offset + i));
	}
	w->told[dir] += len;
	run.bytes += len;
}

static void on_gap(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
		   enum nbds_gap_reason why, const struct nbds_mark *where)
{
	struct watched *w = event(user);

	(void)ctx;
	(void)why;
	CHECK(len > 0 && offset == w->told[dir] && !w->fin[dir]);
	check_mark(where);
	w->told[dir] += len;
	run.gap_bytes += len;
	run.gaps++;
}

static void on_conflict(void *ctx, void *user, int dir, const struct nbds_conflict *c)
{
	struct watched *w = event(user);

	(void)ctx;
	CHECK(c->len > 0);
	/* of what was told; or of what lies behind a FIN, which may still have to be told */
	CHECK(c->offset + c->len <= w->told[dir] + (c->kind == NBDS_CONFLICT_FORGOTTEN) ||
	      w->fin[dir] || (c->kind == NBDS_CONFLICT_BYTES && c->offset >= w->told[dir]));
	CHECK(!run.model || c->kind != NBDS_CONFLICT_BYTES);
	CHECK(c->kind != NBDS_CONFLICT_ACK || c->ack != c->first_ack);
	CHECK(c->first.frame <= c->where.frame);
	check_mark(&c->where);
}

static void on_discard(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	event(user);
	(void)ctx;
	(void)dir;
	CHECK(where->frame == run.packet.frame);
}

static void on_half_close(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct watched *w = event(user);

	(void)ctx;
	CHECK(!w->fin[dir]);
	check_mark(where);
	w->fin[dir] = true;
}

static void on_close(void *ctx, void *user, enum nbds_flow_end how, int by,
		     const struct nbds_mark *where)
{
	struct watched *w = user;

	(void)ctx;
	CHECK(!w->closed);
	CHECK((by >= 0) == (how == NBDS_FLOW_RST));
	CHECK(how != NBDS_FLOW_FIN || w->ignored || (w->fin[0] && w->fin[1]));
	check_mark(where);
	w->closed = true;
	if (run.last == w)
		run.last = NULL;
	run.closes++;
}

static void on_frame(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	event(user);
	(void)ctx;
	(void)dir;
	CHECK(where->frame == run.packet.frame);
}

static const struct nbds_tcp_ops ops = {
	.open = on_open,
	.data = on_data,
	.gap = on_gap,
	.conflict = on_conflict,
	.discard = on_discard,
	.half_close = on_half_close,
	.close = on_close,
	.frame = on_frame,
};

/* `twist` other than 0 falsifies the payload. */
static void segment(int dir, unsigned port, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len,
		    uint32_t caplen, uint8_t twist)
{
	struct nbds_addr client = {.ip = {10, 1}, .port = (uint16_t)(40000 + port), .family = 4};
	struct nbds_addr server = {.ip = {10, 2}, .port = 10809, .family = 4};
	uint32_t first = seq - run.isn[dir] - 1 + !!(flags & NBDS_TCP_SYN);
	uint8_t *payload = malloc(caplen ? caplen : 1);
	struct nbds_segment s = {
		.packet = &run.packet,
		.src = dir ? server : client,
		.dst = dir ? client : server,
		.seq = seq,
		.ack = ack,
		.flags = flags,
		.payload = payload,
		.caplen = caplen,
		.len = len,
	};

	CHECK(payload);
	for (uint32_t i = 0; i < caplen; i++)
		payload[i] = known(dir, first + i) ^ twist;
	run.packet.frame++;
	nbds_tcp_segment(run.tcp, &s);
	free(payload);
}

static int16_t s16(const uint8_t *p)
{
	return (int16_t)(p[0] | p[1] << 8);
}

static void any_segments(const uint8_t *data, size_t size, const struct nbds_tcp_limits *limits)
{
	uint32_t cursor[4][2];

	for (unsigned port = 0; port < 4; port++) {
		cursor[port][0] = run.isn[0];
		cursor[port][1] = run.isn[1];
	}
	for (; size >= 9; data += 9, size -= 9) {
		int dir = data[0] & 1;
		unsigned port = data[0] >> 1 & 3;
		uint32_t *own = &cursor[port][dir], *other = &cursor[port][!dir];
		/* Near the cursor as a rule, else anywhere. */
		int shift = data[0] & 0x80 ? 16 : 0;
		uint32_t seq = *own + ((uint32_t)s16(data + 2) << shift);
		uint32_t ack = *other + ((uint32_t)s16(data + 4) << (data[7] & 0x80 ? 16 : 0));
		uint32_t len = (uint32_t)data[6] << (data[7] >> 4 & 3);
		uint32_t caplen = data[7] & 15 ? len : len / 2;

		if (data[0] & 0x08)
			run.packet.time += (int64_t)data[8] * 10000000;
		if (data[0] & 0x10)
			run.packet.time -= (int64_t)data[8] * 1000000;
		if (data[0] & 0x20)
			nbds_tcp_tick(run.tcp, run.packet.time + data[8]);
		if ((data[0] & 0x60) == 0x60 && run.last && !run.last->ignored) {
			run.last->ignored = true;
			nbds_tcp_ignore(run.last->flow);
		}
		segment(dir, port, data[1] & 0x3f, seq, ack, len, caplen,
			data[7] & 0x40 ? data[8] : 0);
		if (!shift && data[1] & (NBDS_TCP_SYN | NBDS_TCP_ACK))
			*own = seq + len + !!(data[1] & (NBDS_TCP_SYN | NBDS_TCP_FIN));
		CHECK(nbds_tcp_stats(run.tcp)->held_now <= limits->held_total);
		for (struct watched *w = run.all; w; w = w->next) {
			struct nbds_mark since;

			for (int d = 0; d < 2 && !w->closed; d++) {
				if (nbds_tcp_held_since(w->flow, d, &since))
					CHECK(!w->ignored && since.frame <= run.packet.frame);
			}
			if (w->next && w->next->closed && !w->next->next)
				break;
		}
	}
}

#define DELAYED 24

struct delayed {
	int dir;
	uint32_t at, len;
	int64_t ack;
};

static void put(const struct delayed *d)
{
	segment(d->dir, 0, NBDS_TCP_ACK, run.isn[d->dir] + 1 + d->at,
		run.isn[!d->dir] + 1 + (uint32_t)d->ack, d->len, d->len, 0);
}

static void model(const uint8_t *data, size_t size, bool lossy)
{
	struct delayed queue[DELAYED];
	unsigned queued = 0;
	uint32_t sent[2] = {0, 0}, heard[2] = {0, 0};

	run.model = true;
	segment(0, 0, NBDS_TCP_SYN, run.isn[0], 0, 0, 0, 0);
	segment(1, 0, NBDS_TCP_SYN | NBDS_TCP_ACK, run.isn[1], run.isn[0] + 1, 0, 0, 0);
	for (; size >= 4; data += 4, size -= 4) {
		int dir = data[0] & 1;
		struct delayed d = {dir, sent[dir], data[1], 0};

		heard[dir] += (sent[!dir] - heard[dir]) * (data[2] & 15) / 15;
		d.ack = heard[dir];
		switch (data[0] >> 1 & 7) {
		case 0: /* again, from somewhat before */
			d.at -= d.at < data[3] ? d.at : data[3];
			if (d.at + d.len > sent[dir])
				sent[dir] = d.at + d.len;
			put(&d);
			break;
		case 1: /* one that was delayed */
			if (queued)
				put(&queue[data[3] % queued]); /* and comes again */
			break;
		case 2: /* delayed */
		case 3:
			sent[dir] += d.len;
			if (queued == DELAYED) {
				put(&queue[0]);
				memmove(queue, queue + 1, sizeof(queue) - sizeof(queue[0]));
				queued--;
			}
			queue[queued++] = d;
			break;
		case 4: /* lost */
			if (lossy) {
				sent[dir] += d.len;
				break;
			}
			/* fall through */
		default:
			sent[dir] += d.len;
			put(&d);
			break;
		}
	}
	while (queued)
		put(&queue[--queued]);
	segment(0, 0, NBDS_TCP_FIN | NBDS_TCP_ACK, run.isn[0] + 1 + sent[0],
		run.isn[1] + 1 + sent[1], 0, 0, 0);
	segment(1, 0, NBDS_TCP_FIN | NBDS_TCP_ACK, run.isn[1] + 1 + sent[1],
		run.isn[0] + 2 + sent[0], 0, 0, 0);
	nbds_tcp_finish(run.tcp);
	CHECK(run.opens == 1 && run.closes == 1);
	CHECK(run.all->told[0] == sent[0] && run.all->told[1] == sent[1]);
	CHECK(run.all->fin[0] && run.all->fin[1]);
	if (!lossy)
		CHECK(!run.gaps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nbds_tcp_limits limits = {0};
	const struct nbds_tcp_stats *stats;

	if (size < 2)
		return 0;
	memset(&run, 0, sizeof(run));
	run.packet.time = INT64_C(1700000000000000000);
	run.isn[0] = data[1] & 1 ? 0xffffff00 : 1;
	run.isn[1] = data[1] & 2 ? 0x7fffff80 : 0xfffffff0;
	limits.held_total = (uint64_t)64 << 20;
	limits.patience_frames = 1u << 20; /* in the model, bytes may be delayed for long */
	limits.patience_ns = INT64_C(1) << 60;
	if (data[0] & 1 || data[0] & 2) {
		limits.held_total = data[1] & 4 ? 1 : data[1] & 8 ? 4000 : 1u << 20;
		limits.held_direction = data[1] & 16 ? 1500 : 1u << 19;
		limits.patience_frames = data[1] & 32 ? 3 : 64;
		limits.patience_ns = 0;
		limits.flows = data[1] & 64 ? 2 : 100;
		run.fickle = data[0] & 1 && data[1] & 128;
	}
	run.tcp = nbds_tcp_new(&limits, &ops, NULL);
	CHECK(run.tcp);
	if (data[0] & 1)
		any_segments(data + 2, size - 2, &limits);
	else
		model(data + 2, size - 2, data[0] & 2);

	nbds_tcp_finish(run.tcp);
	stats = nbds_tcp_stats(run.tcp);
	CHECK(run.opens == run.closes && run.opens == stats->flows);
	CHECK(stats->bytes >= run.bytes && stats->gap_bytes >= run.gap_bytes);
	CHECK(stats->held_now == 0 && stats->held_max <= limits.held_total);
	nbds_tcp_free(run.tcp);
	while (run.all) {
		struct watched *w = run.all;

		run.all = w->next;
		free(w);
	}
	return 0;
}
