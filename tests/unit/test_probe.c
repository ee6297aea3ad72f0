/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A probe's plan for exports and servers of all kinds: that it asks for nothing that they
 * do not offer, that no two writes look alike, and that a plan is what the facts make it; and
 * the URIs that it is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/probe/plan.h"
#include "analyzer/probe/uri.h"

static struct nbds_probe_facts all_of(uint64_t size)
{
	return (struct nbds_probe_facts){
		.size = size,
		.connections = 4,
		.rounds = 4,
		.multi_conn = true,
		.flush = true,
		.fua = true,
		.trim = true,
		.zeroes = true,
		.fast_zero = true,
		.df = true,
		.cache = true,
		.status = true,
		.restart = true,
		.seed = 1,
	};
}

/* What is asked lies in the export, in whole blocks, and is offered. */
static void check_command(const struct nbds_probe_facts *f, const struct nbds_probe_step *s)
{
	uint64_t grain = f->minimum ? f->minimum : f->size < 512 ? 1 : 512;
	bool data = s->op == NBDS_PROBE_READ || s->op == NBDS_PROBE_WRITE;

	if (s->op < NBDS_PROBE_READ || s->op > NBDS_PROBE_STATUS)
		return;
	assert_in_range(s->connection, 0, f->connections - 1);
	assert_true(f->fua || !(s->flags & NBDS_PROBE_FUA));
	assert_true(f->df || !(s->flags & NBDS_PROBE_DF));
	assert_true(f->fast_zero || !(s->flags & NBDS_PROBE_FAST_ZERO));
	assert_true(s->op != NBDS_PROBE_FLUSH || f->flush);
	assert_true(s->op != NBDS_PROBE_TRIM || f->trim);
	assert_true(s->op != NBDS_PROBE_ZEROES || f->zeroes);
	assert_true(s->op != NBDS_PROBE_CACHE || f->cache);
	assert_true(s->op != NBDS_PROBE_STATUS || f->status);
	if (s->op == NBDS_PROBE_FLUSH)
		return;
	assert_true(s->length > 0);
	assert_true(s->offset <= f->size && s->length <= f->size - s->offset);
	assert_int_equal(s->offset % grain, 0);
	assert_int_equal(s->length % grain, 0);
	if (data && f->maximum)
		assert_in_range(s->length, 1, f->maximum > grain ? f->maximum : grain);
}

static void check_plan(const struct nbds_probe_facts *f)
{
	struct nbds_probe_plan *plan = nbds_probe_plan_new(f);
	unsigned asked[NBDS_PROBE_HISTORIES] = {0};
	uint64_t contents = 0;
	size_t next = 0;

	assert_non_null(plan);
	for (size_t i = 0; i < plan->runs.count; i++) {
		const struct nbds_probe_run *run = &plan->runs.at[i];
		bool waits = true;

		/* Runs follow on each other, and each ends when all is answered. */
		assert_int_equal(run->first, next);
		next += run->count;
		asked[run->history]++;
		assert_null(plan->unasked[run->history]);
		for (size_t k = run->first; k < next; k++) {
			const struct nbds_probe_step *s = &plan->steps.at[k];

			check_command(f, s);
			if (s->op >= NBDS_PROBE_READ && s->op <= NBDS_PROBE_STATUS)
				waits = false;
			else if (s->op == NBDS_PROBE_WAIT)
				waits = true;
			if (s->op == NBDS_PROBE_WRITE) {
				assert_true(s->contents > contents);
				contents = s->contents;
			}
		}
		assert_true(waits);
	}
	assert_int_equal(next, plan->steps.count);
	for (unsigned i = 0; i < NBDS_PROBE_HISTORIES; i++)
		assert_true((asked[i] == 0) == (plan->unasked[i] != NULL));
	nbds_probe_plan_free(plan);
}

static void test_any_server(void **state)
{
	static const uint64_t sizes[] = {1,        2,        511,      512,           513,
					 1024,     4096,     5000,     65535,         100000,
					 1u << 20, 67108864, 67239936, UINT64_MAX / 2};
	static const uint32_t minima[] = {0, 1, 512, 4096, 65536};

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (size_t m = 0; m < sizeof(minima) / sizeof(minima[0]); m++) {
			for (unsigned offers = 0; offers < 64; offers += s % 3 ? 7 : 1) {
				struct nbds_probe_facts f = all_of(sizes[s]);

				if (minima[m] > f.size)
					continue;
				f.minimum = minima[m];
				f.maximum = offers % 2 ? 65536 : 0;
				f.connections = 1 + offers % NBDS_PROBE_CONNECTIONS;
				f.rounds = 1 + offers % 5;
				f.flush = offers & 1;
				f.fua = offers & 2;
				f.trim = offers & 4;
				f.zeroes = offers & 8;
				f.cache = offers & 16;
				f.status = offers & 32;
				f.df = f.fast_zero = offers & 4;
				check_plan(&f);
			}
		}
	}
}

/* What decides CAN_MULTI_CONN is asked of who can be asked, whatever the flag says. */
static void test_what_is_asked(void **state)
{
	struct nbds_probe_facts f = all_of(1 << 20);
	struct nbds_probe_plan *plan;

	(void)state;
	f.multi_conn = false;
	f.restart = false;
	plan = nbds_probe_plan_new(&f);
	assert_null(plan->unasked[NBDS_HISTORY_FLUSH_ELSEWHERE]);
	assert_non_null(plan->unasked[NBDS_HISTORY_AFTER_RESTART]);
	assert_non_null(plan->unasked[NBDS_HISTORY_LARGE_ZEROES]);
	/* All come once before any comes again, and what ends all comes last. */
	for (size_t i = 1; i < plan->runs.count - 1; i++)
		assert_true(plan->runs.at[i].round >= plan->runs.at[i - 1].round);
	assert_int_equal(plan->runs.at[plan->runs.count - 1].history, NBDS_HISTORY_AFTER_ALL_LEFT);
	nbds_probe_plan_free(plan);
	f.connections = 1;
	plan = nbds_probe_plan_new(&f);
	assert_non_null(plan->unasked[NBDS_HISTORY_FLUSH_ELSEWHERE]);
	assert_null(plan->unasked[NBDS_HISTORY_OWN_WRITE]);
	nbds_probe_plan_free(plan);
}

static void test_same_facts(void **state)
{
	struct nbds_probe_facts f = all_of(1 << 20);
	struct nbds_probe_plan *a = nbds_probe_plan_new(&f), *b = nbds_probe_plan_new(&f), *c;

	(void)state;
	f.seed = 2;
	c = nbds_probe_plan_new(&f);
	assert_int_equal(a->steps.count, b->steps.count);
	assert_memory_equal(a->steps.at, b->steps.at, a->steps.count * sizeof(*a->steps.at));
	assert_true(a->steps.count != c->steps.count ||
		    memcmp(a->steps.at, c->steps.at, a->steps.count * sizeof(*a->steps.at)) != 0);
	nbds_probe_plan_free(a);
	nbds_probe_plan_free(b);
	nbds_probe_plan_free(c);
}

static int by_value(const void *a, const void *b)
{
	return memcmp(a, b, 8);
}

/* No eight bytes come twice, no byte is zero, and a part of a range has its part's bytes. */
static void test_contents(void **state)
{
	static uint8_t bytes[64][4096];
	uint8_t some[1000];

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		nbds_probe_fill(1, 1 + i / 2, 4096 * (i % 2), bytes[i], sizeof(bytes[i]));
	nbds_probe_fill(1, 1, 77, some, sizeof(some));
	assert_memory_equal(some, bytes[0] + 77, sizeof(some));
	qsort(bytes, sizeof(bytes) / 8, 8, by_value);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_true(((uint8_t *)bytes)[i]);
	for (size_t i = 8; i < sizeof(bytes); i += 8)
		assert_true(memcmp((uint8_t *)bytes + i, (uint8_t *)bytes + i - 8, 8) != 0);
}

static void test_uris(void **state)
{
	static const struct {
		const char *text, *host, *port, *path, *export;
	} good[] = {
		{"nbd://example.com/disk", "example.com", "10809", "", "disk"},
		{"nbd://example.com:10810", "example.com", "10810", "", ""},
		{"nbd://[2001:db8::1]:1/a/b", "2001:db8::1", "1", "", "a/b"},
		{"nbd:///x", "localhost", "10809", "", "x"},
		{"nbd+unix:///a%20b?socket=/run/x%26y", "", "", "/run/x&y", "a b"},
		{"nbd+unix://?a=b&socket=s", "", "", "s", ""},
		{"nbd+vsock://3:7/d", "3", "7", "", "d"},
	};
	static const char *const bad[] = {"",
					  "disk",
					  "http://example.com",
					  "nbd+unix:///x",
					  "nbd+unix:///?socket=",
					  "nbds://example.com",
					  "nbds+unix:///?socket=s",
					  "nbd+ssh://example.com",
					  "nbd://[::1",
					  "nbd://a b/"};
	struct nbds_probe_uri uri;
	char err[200], longest[8192];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(nbds_probe_uri_parse(good[i].text, &uri, err, sizeof(err)));
		assert_string_equal(uri.host, good[i].host);
		assert_string_equal(uri.port, good[i].port);
		assert_string_equal(uri.path, good[i].path);
		assert_string_equal(uri.export, good[i].export);
		assert_int_equal(uri.local, *good[i].path != '\0');
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err[0] = '\0';
		assert_false(nbds_probe_uri_parse(bad[i], &uri, err, sizeof(err)));
		assert_true(err[0]);
	}
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "nbd://h/", 8);
	longest[8 + NBDS_PROBE_NAME_MAX] = '\0';
	assert_true(nbds_probe_uri_parse(longest, &uri, err, sizeof(err)));
	longest[8 + NBDS_PROBE_NAME_MAX] = 'x';
	longest[9 + NBDS_PROBE_NAME_MAX] = '\0';
	assert_false(nbds_probe_uri_parse(longest, &uri, err, sizeof(err)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_server), cmocka_unit_test(test_what_is_asked),
		cmocka_unit_test(test_same_facts), cmocka_unit_test(test_contents),
		cmocka_unit_test(test_uris),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
