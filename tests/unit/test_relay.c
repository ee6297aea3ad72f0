/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_relay.c - analyzer/relay: synthetic segments, and the view of an audit.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analyzer/capture/ip.h"
#include "analyzer/pipeline/pipeline.h"
#include "analyzer/relay/synthetic.h"
#include "analyzer/relay/view.h"

#define SECOND INT64_C(1000000000)

/* --- segments --- */

#define PACKETS 8

struct seen {
	unsigned count;
	struct nbds_segment s[PACKETS];
	struct nbds_packet p[PACKETS];
	uint8_t first[PACKETS], last[PACKETS]; /* bytes of the payload */
	struct nbds_ip *ip;
};

static void see(void *ctx, struct nbds_packet *p)
{
	struct seen *seen = ctx;
	struct nbds_segment *s = &seen->s[seen->count];

	assert_true(seen->count < PACKETS);
	seen->p[seen->count] = *p;
	assert_true(nbds_ip_segment(seen->ip, p, s));
	assert_int_equal(s->checksum, NBDS_SUM_RIGHT);
	assert_int_equal(s->ip_checksum, s->src.family == 6 ? NBDS_SUM_UNKNOWN : NBDS_SUM_RIGHT);
	if (s->len) {
		seen->first[seen->count] = s->payload[0];
		seen->last[seen->count] = s->payload[s->len - 1];
	}
	seen->count++;
}

static const struct nbds_addr four[2] = {
	{.ip = {127, 0, 0, 1}, .port = 50000, .family = 4},
	{.ip = {127, 8, 9, 10}, .port = 10809, .family = 4},
};
static const struct nbds_addr six[2] = {
	{.ip = {[15] = 1}, .port = 50000, .family = 6},
	{.ip = {0xfd, [15] = 2}, .port = 10809, .family = 6},
};

static void test_segments(const struct nbds_addr *address)
{
	struct nbds_synthetic_flow flow = {.address = {address[0], address[1]},
					   .isn = {0xfffffff0, 77}};
	uint8_t *room = calloc(1, NBDS_SYNTHETIC_HEAD + NBDS_SYNTHETIC_BYTES);
	uint8_t *bytes = room + NBDS_SYNTHETIC_HEAD;
	struct nbds_synthetic_event e = {.kind = NBDS_SYNTHETIC_OPEN, .time = 5};
	struct seen seen = {.ip = nbds_ip_new()};

	nbds_synthetic_packets(&flow, &e, bytes, see, &seen);
	assert_int_equal(seen.count, nbds_synthetic_count(&e));
	assert_int_equal(seen.s[0].flags, NBDS_TCP_SYN);
	assert_int_equal(seen.s[0].seq, 0xfffffff0);
	assert_int_equal(seen.s[0].scale, 14);
	assert_true(nbds_addr_equal(&seen.s[0].src, &address[0]));
	assert_true(nbds_addr_equal(&seen.s[0].dst, &address[1]));
	assert_int_equal(seen.s[1].flags, NBDS_TCP_SYN | NBDS_TCP_ACK);
	assert_int_equal(seen.s[1].seq, 77);
	assert_int_equal(seen.s[1].ack, 0xfffffff1);
	assert_true(nbds_addr_equal(&seen.s[1].src, &address[1]));
	assert_int_equal(seen.s[2].flags, NBDS_TCP_ACK);
	assert_int_equal(seen.s[2].seq, 0xfffffff1);
	assert_int_equal(seen.s[2].ack, 78);

	/* the largest one; the numbers of the client wrap */
	bytes[0] = 0xab;
	bytes[NBDS_SYNTHETIC_BYTES - 1] = 0xcd;
	e = (struct nbds_synthetic_event){.kind = NBDS_SYNTHETIC_DATA,
					  .dir = NBDS_SYNTHETIC_SERVER,
					  .time = 6,
					  .offset = UINT64_C(1) << 33,
					  .had = 100,
					  .len = NBDS_SYNTHETIC_BYTES};
	nbds_synthetic_packets(&flow, &e, bytes, see, &seen);
	assert_int_equal(seen.s[3].len, NBDS_SYNTHETIC_BYTES);
	assert_int_equal(seen.s[3].seq, 78);
	assert_int_equal(seen.s[3].ack, 0xfffffff1 + 100);
	assert_int_equal(seen.first[3], 0xab);
	assert_int_equal(seen.last[3], 0xcd);
	assert_int_equal(seen.p[3].time, 6);

	e.len = 1; /* an odd one */
	nbds_synthetic_packets(&flow, &e, bytes, see, &seen);
	assert_int_equal(seen.s[4].len, 1);

	e = (struct nbds_synthetic_event){.kind = NBDS_SYNTHETIC_FIN,
					  .dir = NBDS_SYNTHETIC_SERVER,
					  .offset = 1,
					  .had = 100,
					  .had_fin = true};
	nbds_synthetic_packets(&flow, &e, bytes, see, &seen);
	assert_int_equal(seen.s[5].flags, NBDS_TCP_FIN | NBDS_TCP_ACK);
	assert_int_equal(seen.s[5].seq, 79);
	assert_int_equal(seen.s[5].ack, 0xfffffff1 + 101);
	e.kind = NBDS_SYNTHETIC_RST;
	nbds_synthetic_packets(&flow, &e, bytes, see, &seen);
	assert_int_equal(seen.s[6].flags, NBDS_TCP_RST | NBDS_TCP_ACK);
	assert_int_equal(seen.count, 7);
	nbds_ip_free(seen.ip);
	free(room);
}

static void test_ipv4(void **state)
{
	(void)state;
	test_segments(four);
}

static void test_ipv6(void **state)
{
	(void)state;
	test_segments(six);
}

static void test_widen(void **state)
{
	struct nbds_addr a = four[0], b = six[1];
	char text[NBDS_ADDR_TEXT];

	(void)state;
	nbds_synthetic_widen(&a);
	assert_string_equal(nbds_addr_text(&a, text), "[::ffff:127.0.0.1]:50000");
	nbds_synthetic_widen(&b);
	assert_true(nbds_addr_equal(&b, &six[1]));
}

/* --- the view --- */

struct reader {
	uint64_t packets, bytes, next;
	bool holes, bad;
};

static void read_one(void *ctx, const struct nbds_packet *p)
{
	struct reader *r = ctx;
	const uint8_t *tcp = p->data + 20, *payload = tcp + 20;
	uint32_t seq = (uint32_t)tcp[4] << 24 | (uint32_t)tcp[5] << 16 | (uint32_t)tcp[6] << 8 |
		       tcp[7];
	uint32_t len = p->len - 40;

	r->packets++;
	r->bytes += len;
	if (seq - 1 != (uint32_t)r->next)
		r->holes = true;
	r->next = seq - 1 + len;
	for (uint32_t i = 0; i<len; i += len> 16 ? len / 16 : 1)
		if (payload[i] != (uint8_t)((seq - 1 + i) * 7))
			r->bad = true;
}

struct writer {
	struct nbds_view *view;
	uint64_t events, bytes, dropped;
	bool patient;
};

static void *write_all(void *arg)
{
	struct writer *w = arg;
	struct nbds_synthetic_flow flow = {.address = {four[0], four[1]}};
	uint8_t *bytes = malloc(NBDS_SYNTHETIC_BYTES);
	uint64_t offset = 0;

	for (uint64_t i = 0; i < w->events; i++) {
		struct nbds_synthetic_event e = {
			.kind = NBDS_SYNTHETIC_DATA,
			.time = SECOND + (int64_t)i,
			.offset = offset,
			.len = (uint32_t)(1 + i * 7919 % (i % 3 ? 300 : NBDS_SYNTHETIC_BYTES)),
		};

		for (uint32_t k = 0; k < e.len; k++)
			bytes[k] = (uint8_t)((offset + k) * 7);
		offset += e.len;
		if (nbds_view_put(w->view, &flow, &e, bytes))
			w->bytes += e.len;
		else
			w->dropped++;
	}
	free(bytes);
	nbds_view_end(w->view);
	return NULL;
}

static struct nbds_pipeline *open_view(struct nbds_view *view, struct reader *r)
{
	struct nbds_pipeline_config config = {.engine = {.memory = 64 << 20}};
	char err[200];
	struct nbds_pipeline *p =
		nbds_pipeline_open_origin(nbds_view_origin(view), &config, err, sizeof(err));

	assert_non_null(p);
	nbds_pipeline_on_packet(p, read_one, r);
	return p;
}

/* Whatever fits comes through whole and in order, while both threads run. */
static void test_view(void **state)
{
	struct nbds_view *view = nbds_view_new(1 << 20, "relay", "comment");
	struct writer w = {.view = view, .events = 20000};
	struct reader r = {0};
	struct nbds_pipeline *p = open_view(view, &r);
	struct nbds_pipeline_info info;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, write_all, &w), 0);
	while (nbds_pipeline_step(p, 64) <= NBDS_STEP_IDLE)
		;
	pthread_join(thread, NULL);
	nbds_pipeline_info(p, &info);
	assert_int_equal(info.capture.dropped, w.dropped);
	assert_true(info.capture.dropped_known);
	assert_true(info.capture.complete);
	assert_int_equal(r.packets, w.events - w.dropped);
	assert_int_equal(r.bytes, w.bytes);
	assert_int_equal(r.holes, w.dropped != 0);
	assert_false(r.bad);
	nbds_pipeline_close(p, NULL, 0);
}

/* Nobody reads: the writer goes on, and what finds no room is counted. */
static void test_view_full(void **state)
{
	struct nbds_view *view = nbds_view_new(0, "relay", "comment");
	struct writer w = {.view = view, .events = 1000};
	struct reader r = {0};
	struct nbds_pipeline *p;
	struct nbds_pipeline_info info;

	(void)state;
	write_all(&w);
	assert_true(w.dropped > 900);
	assert_int_equal(nbds_view_dropped(view), w.dropped);
	p = open_view(view, &r);
	while (nbds_pipeline_step(p, 64) <= NBDS_STEP_IDLE)
		;
	nbds_pipeline_info(p, &info);
	assert_int_equal(info.capture.dropped, w.dropped);
	assert_int_equal(r.packets, w.events - w.dropped);
	assert_false(r.bad);
	nbds_pipeline_close(p, NULL, 0);
}

static void test_view_fails(void **state)
{
	struct nbds_view *view = nbds_view_new(0, "relay", "comment");
	struct reader r = {0};
	struct nbds_pipeline *p = open_view(view, &r);

	(void)state;
	assert_int_equal(nbds_pipeline_step(p, 1), NBDS_STEP_IDLE);
	nbds_view_fail(view, "the relay broke");
	assert_int_equal(nbds_pipeline_step(p, 1), NBDS_STEP_ERROR);
	assert_non_null(strstr(nbds_pipeline_error(p), "the relay broke"));
	nbds_pipeline_close(p, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4),      cmocka_unit_test(test_ipv6),
		cmocka_unit_test(test_widen),     cmocka_unit_test(test_view),
		cmocka_unit_test(test_view_full), cmocka_unit_test(test_view_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
