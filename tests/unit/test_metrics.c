/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Metrics without traffic: which form is answered, how long a text can become, and what is
 * unflushed over all connections against the sum of each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nbdscope/counts.h>
#include <nbdscope/protocol.h>

#include "../../analyzer/consistency/consistency.h"
#include "../../analyzer/metrics/text.h"

static void test_accepted(void **state)
{
	static const struct {
		const char *accept;
		enum nbds_metrics_form form;
	} cases[] = {
		{NULL, NBDS_METRICS_OPENMETRICS},
		{"", NBDS_METRICS_OPENMETRICS},
		{"*/*", NBDS_METRICS_OPENMETRICS},
		{"text/plain", NBDS_METRICS_PROMETHEUS},
		{"TEXT/PLAIN;version=0.0.4", NBDS_METRICS_PROMETHEUS},
		{"text/plain;q=0", NBDS_METRICS_OPENMETRICS},
		{"text/plain;q=0.001", NBDS_METRICS_PROMETHEUS},
		{"application/openmetrics-text;q=0.5,text/plain;q=0.4", NBDS_METRICS_OPENMETRICS},
		{"application/openmetrics-text;q=0.5,text/plain;q=0.6", NBDS_METRICS_PROMETHEUS},
		{"application/openmetrics-text,text/plain", NBDS_METRICS_OPENMETRICS},
		{"application/openmetrics-text ; version=1.0.0 ; q=0.3, text/html",
		 NBDS_METRICS_PROMETHEUS},
		{"text/html,*/*;q=0.8", NBDS_METRICS_PROMETHEUS},
		{"application/openmetrics-text;q=99999999999999999999", NBDS_METRICS_OPENMETRICS},
		{",,;;q=,q=1;", NBDS_METRICS_OPENMETRICS},
		{"text/plain;q", NBDS_METRICS_PROMETHEUS},
		{"text/plain;q=1.", NBDS_METRICS_PROMETHEUS},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (nbds_metrics_accepted(cases[i].accept) != cases[i].form)
			fail_msg("%s", cases[i].accept);
}

/* Whatever is sent, it is read to its end and no further. */
static void test_nonsense(void **state)
{
	static const char words[][28] = {"text/plain", "application/openmetrics-text",
					 "*/*",        ";",
					 "q=",         ",",
					 " ",          "0.",
					 "1",          "\xff",
					 "text/",      "=",
					 "Q=0.9999999"};
	uint32_t random = 1;

	(void)state;
	for (unsigned turn = 0; turn < 20000; turn++) {
		char *text = malloc(1), *more;
		size_t len = 0, add;

		for (unsigned i = turn % 12; i; i--) {
			random = random * 1664525u + 1013904223u;
			add = strnlen(words[(random >> 16) % 13], sizeof(words[0]));
			more = realloc(text, len + add + 1);
			assert_non_null(more);
			text = more;
			memcpy(text + len, words[(random >> 16) % 13], add);
			len += add;
		}
		assert_non_null(text);
		text[len] = '\0';
		assert_in_range(nbds_metrics_accepted(text), 0, NBDS_METRICS_FORMS - 1);
		free(text);
	}
}

/* Every number as long as it can be, and every rule broken at every level. */
static void test_longest(void **state)
{
	static struct nbds_metrics_snapshot s;
	struct nbds_buf b = {0};

	(void)state;
	assert_true(nbds_rules_count <= NBDS_COUNTS_RULES);
	assert_true(nbds_errors.count < NBDS_COUNTS_ERRORS);
	memset(&s, 0xff, sizeof(s));
	s.running = true;
	for (int form = 0; form < NBDS_METRICS_FORMS; form++) {
		nbds_buf_clear(&b);
		nbds_metrics_text(&b, &s, (enum nbds_metrics_form)form);
		assert_false(b.failed);
		assert_true(b.len < 192 << 10);
		assert_non_null(strstr(b.s, "nbdscope_requests_total{command=\"other\"} "
					    "18446744073709551615\n"));
		for (const char *line = b.s; *line; line = strchr(line, '\n') + 1)
			assert_true(strcspn(line, "\n") < 256);
		assert_int_equal(form == NBDS_METRICS_OPENMETRICS,
				 strcmp(b.s + b.len - 6, "# EOF\n") == 0);
	}
	nbds_buf_free(&b);
}

/* --- what is unflushed --- */

#define PARTIES 24u
#define STEPS   20000u

struct run {
	struct nbds_budget budget, sum_budget;
	struct nbds_unflushed_sum *sum;
	struct nbds_world *worlds[2];
	struct nbds_party *party[PARTIES];
	bool ended[PARTIES];
	uint64_t frame;
	int64_t time;
	uint32_t ids, random;
};

static unsigned any(struct run *r, unsigned below)
{
	r->random = r->random * 1664525u + 1013904223u;
	return (unsigned)((uint64_t)(r->random >> 8) * below >> 24);
}

static struct nbds_point now(struct run *r)
{
	r->time += 100000;
	return (struct nbds_point){++r->frame, r->time, 0};
}

static void open_party(struct run *r, unsigned k)
{
	static const char names[] = "abc";
	uint16_t flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA;
	struct nbds_point at = now(r);
	unsigned name = k % 3;

	r->party[k] = nbds_world_connect(r->worlds[k % 2], ++r->ids, true, &at);
	assert_non_null(r->party[k]);
	/* one of the exports lacks it */
	if (name)
		flags |= NBD_FLAG_CAN_MULTI_CONN;
	nbds_party_export(r->party[k], names + name, 1, 1 << 30, flags, true);
	r->ended[k] = false;
}

static struct nbds_op *request(struct run *r, unsigned k, uint16_t type, uint16_t flags)
{
	struct nbds_request_order o = {.lo = now(r), .acked = NBDS_NO_ACK};
	uint64_t offset = (uint64_t)any(r, 4096) * 512;

	o.frame = o.lo.frame;
	return nbds_world_request(r->party[k], type, flags, type == NBD_CMD_FLUSH ? 0 : offset,
				  type == NBD_CMD_FLUSH ? 0 : 512, &o);
}

static void reply(struct run *r, struct nbds_op *op, uint32_t error)
{
	struct nbds_reply_order o = {.hi = now(r), .acked = NBDS_NO_ACK};

	o.frame = o.hi.frame;
	nbds_op_reply(op, error, &o);
}

/* The sum is that of all connections that are open; those that ended may add to it as long
 * as a flush may cover what they wrote. */
static void check(struct run *r, bool all_open)
{
	uint64_t writes = 0, bytes = 0;
	int64_t since = INT64_MAX;
	struct nbds_unflushed is;

	for (unsigned k = 0; k < PARTIES; k++) {
		struct nbds_unflushed u;

		if (!r->party[k] || r->ended[k])
			continue;
		nbds_party_unflushed(r->party[k], &u);
		writes += u.writes;
		bytes += u.bytes;
		if (u.writes && u.since < since)
			since = u.since;
	}
	nbds_unflushed_sum_now(r->sum, &is);
	if (all_open) {
		assert_int_equal(is.writes, writes);
		assert_int_equal(is.bytes, bytes);
		assert_int_equal(is.since, writes ? since : 0);
	} else {
		assert_true(is.writes >= writes && is.writes < writes + STEPS);
		assert_true(is.bytes >= bytes);
		assert_true(!writes || is.since <= since);
	}
}

static void unflushed(uint32_t seed, bool ends)
{
	struct run r = {.time = INT64_C(1700000000) * 1000000000, .random = seed};
	struct nbds_world_ops ops = {0};
	struct nbds_unflushed left;
	uint8_t data[512] = {1};

	r.sum = nbds_unflushed_sum_new(&r.sum_budget);
	assert_non_null(r.sum);
	for (unsigned i = 0; i < 2; i++) {
		struct nbds_world_config config = {
			.settle = 1000000, .budget = &r.budget, .tally = r.sum};

		r.worlds[i] = nbds_world_new(&config, &ops, &r);
		assert_non_null(r.worlds[i]);
	}
	for (unsigned k = 0; k < PARTIES; k++)
		open_party(&r, k);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned k = any(&r, PARTIES), what = any(&r, 100);
		struct nbds_op *op, *late = NULL;

		if (what < 70) {
			op = request(&r, k, what < 4 ? NBD_CMD_WRITE_ZEROES : NBD_CMD_WRITE,
				     what < 10 ? NBD_CMD_FLAG_FUA : 0);
			/* a flush that is sent before the answer does not cover it */
			if (any(&r, 10) == 0)
				late = request(&r, any(&r, PARTIES), NBD_CMD_FLUSH, 0);
			nbds_op_write_data(op, 0, data, sizeof(data));
			nbds_op_write_end(op);
			reply(&r, op, any(&r, 30) ? 0 : NBD_EIO);
			if (late)
				reply(&r, late, 0);
		} else if (what < 95 || !ends) {
			reply(&r, request(&r, k, NBD_CMD_FLUSH, 0), any(&r, 20) ? 0 : NBD_EIO);
		} else {
			struct nbds_point at = now(&r);

			r.ended[k] = true;
			nbds_party_end(r.party[k], &at);
			nbds_party_leave(r.party[k]);
			open_party(&r, k);
		}
		for (unsigned i = 0; i < 2; i++)
			nbds_world_tick(r.worlds[i], r.time);
		check(&r, !ends);
	}
	for (unsigned i = 0; i < 2; i++)
		nbds_world_free(r.worlds[i]);
	nbds_unflushed_sum_now(r.sum, &left);
	assert_int_equal(left.writes, 0);
	assert_int_equal(left.bytes, 0);
	assert_int_equal(left.since, 0);
	nbds_unflushed_sum_free(r.sum);
	assert_int_equal(r.sum_budget.used, 0);
}

static void test_unflushed(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 3; seed++)
		unflushed(seed, false);
}

static void test_unflushed_ends(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 3; seed++)
		unflushed(seed, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),       cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_longest),        cmocka_unit_test(test_unflushed),
		cmocka_unit_test(test_unflushed_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
