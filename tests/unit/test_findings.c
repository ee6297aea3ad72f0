/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Findings told for a connection: how many, and that nothing of it stays once it is gone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "analyzer/session/doubts.h"
#include "analyzer/session/findings.h"

#define CONNECTION 7

struct told {
	unsigned findings;
	uint64_t stands_for;
	uint64_t level[4];
};

static void deliver(void *ctx, const struct nbds_finding *f)
{
	struct told *t = ctx;

	assert_int_equal(f->connection, CONNECTION);
	t->findings++;
	t->stands_for += f->count;
	t->level[f->severity] += f->count;
}

static struct findings begin(struct nbds_budget *budget, struct told *told)
{
	*told = (struct told){0};
	return (struct findings){
		.key = nbds_hash_key_new(), .budget = budget, .deliver = deliver, .ctx = told};
}

/* A rule whose findings are told at once, or the first that is a habit. */
static const struct nbds_rule *a_rule(bool collapse)
{
	for (size_t i = 0; i < nbds_rules_count; i++)
		if (nbds_rules[i].collapse == collapse && !nbds_rules[i].summed)
			return &nbds_rules[i];
	fail();
	return NULL;
}

static void tell(struct findings *all, const struct nbds_rule *rule)
{
	const struct nbds_finding f = {
		.rule = rule, .connection = CONNECTION, .count = 1, .message = "it was seen"};

	findings_tell(all, &f);
}

static void test_habit(void **state)
{
	struct nbds_budget budget = {0};
	struct told told;
	struct findings all = begin(&budget, &told);

	(void)state;
	for (int i = 0; i < 5; i++)
		tell(&all, a_rule(true));
	assert_int_equal(told.findings, 1);
	findings_end(&all, CONNECTION);
	assert_int_equal(told.findings, 2);
	assert_int_equal(told.stands_for, 5);
	assert_int_equal(all.table.count, 0);
	findings_free(&all);
	assert_int_equal(budget.used, 0);
}

/* The connection is forgotten while two of its findings wait: what they add is told with
 * the last of them, and then nothing is left. */
static void test_end_before_what_waits(void **state)
{
	struct nbds_budget budget = {0};
	struct told told;
	struct findings all = begin(&budget, &told);

	(void)state;
	assert_true(findings_wait(&all, CONNECTION, 1));
	assert_true(findings_wait(&all, CONNECTION, 1));
	tell(&all, a_rule(false));
	findings_end(&all, CONNECTION);
	assert_true(findings_waits(&all, CONNECTION));
	assert_int_equal(told.findings, 1);

	tell(&all, a_rule(true));
	tell(&all, a_rule(true));
	findings_wait(&all, CONNECTION, -1);
	assert_int_equal(told.findings, 2);
	findings_wait(&all, CONNECTION, -1);
	assert_int_equal(told.findings, 3);
	assert_int_equal(told.stands_for, 3);
	assert_false(findings_waits(&all, CONNECTION));
	assert_int_equal(all.table.count, 0);
	findings_free(&all);
	assert_int_equal(budget.used, 0);
}

static bool is_unknown(const void *engine, uint32_t connection)
{
	(void)engine;
	(void)connection;
	return false;
}

/* A verdict on a read may come after its connection was forgotten. */
static void test_late(void **state)
{
	struct nbds_budget budget = {0};
	struct told told;
	struct findings all = begin(&budget, &told);

	(void)state;
	all.known = is_unknown;
	for (int i = 0; i < 3; i++)
		tell(&all, a_rule(true));
	assert_int_equal(told.findings, 3);
	assert_int_equal(all.table.count, 0);

	assert_true(findings_wait(&all, CONNECTION, 1));
	for (int i = 0; i < 3; i++)
		tell(&all, a_rule(true));
	assert_int_equal(told.findings, 4);
	findings_wait(&all, CONNECTION, -1);
	assert_int_equal(told.findings, 5);
	assert_int_equal(told.stands_for, 6);
	assert_int_equal(all.table.count, 0);
	findings_free(&all);
	assert_int_equal(budget.used, 0);
}

/* However many there are of a rule, each is counted at its own level. */
static void test_levels(void **state)
{
	static const enum nbds_severity order[][2] = {{NBDS_SUSPECT, NBDS_VIOLATION},
						      {NBDS_VIOLATION, NBDS_SUSPECT}};
	struct nbds_finding f = {
		.rule = a_rule(false), .connection = CONNECTION, .count = 1, .message = "seen"};

	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		struct nbds_budget budget = {0};
		struct told told;
		struct findings all = begin(&budget, &told);

		for (unsigned n = 0; n < 2000; n++) {
			f.severity = order[way][n >= 1500];
			findings_tell(&all, &f);
		}
		findings_end(&all, CONNECTION);
		assert_int_equal(told.level[order[way][0]], 1500);
		assert_int_equal(told.level[order[way][1]], 500);
		assert_int_equal(all.count[NBDS_VIOLATION], way ? 1500 : 500);
		assert_int_equal(told.findings, 1000 + 500);
		findings_free(&all);
		assert_int_equal(budget.used, 0);
	}
}

/* Of two connections bytes are in doubt, of each since another frame: what rests on either is
 * no violation, in whatever order they are told. */
static void test_doubts_of_two(void **state)
{
	static const uint64_t since[][2] = {{10, 50}, {50, 10}};

	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		struct nbds_budget budget = {0};
		struct told told;
		struct findings all = begin(&budget, &told);
		struct doubts doubts = {
			.budget = &budget, .findings = &all, .patience = 1000000000};
		struct nbds_finding f = {.rule = a_rule(false),
					 .severity = NBDS_VIOLATION,
					 .connection = CONNECTION,
					 .count = 1,
					 .message = "it was seen"};

		doubts_init(&doubts, 1 << 16);
		for (unsigned i = 0; i < 2; i++) {
			/* that of the finding's connection is since frame 10 */
			uint32_t connection = since[way][i] == 10 ? CONNECTION : CONNECTION + 1;
			struct nbds_point at = {since[way][i], 1000, 0};

			doubts_bytes(&doubts, NULL, connection, 0, 0, 100, &at);
		}
		f.frames[NBDS_ROLE_MESSAGE] = 20;
		doubts_tell(&doubts, NULL, &f);
		f.frames[NBDS_ROLE_MESSAGE] = 9;
		doubts_tell(&doubts, NULL, &f);
		doubts_pass(&doubts, 0, true);
		findings_end(&all, CONNECTION);
		assert_int_equal(told.level[NBDS_SUSPECT], 1);
		assert_int_equal(told.level[NBDS_VIOLATION], 1);
		doubts_free(&doubts);
		findings_free(&all);
		assert_int_equal(budget.used, 0);
	}
}

/* However many wait, what comes to light in the end counts for all of them; and those that
 * there is no room for are no violations. */
static void test_many_wait(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 2; way++) {
		struct nbds_budget budget = {.limit = way ? 1 << 16 : 0};
		struct told told;
		struct findings all = begin(&budget, &told);
		struct doubts doubts = {
			.budget = &budget, .findings = &all, .patience = DOUBTS_TO_THE_END};
		struct nbds_finding f = {.rule = a_rule(false),
					 .severity = NBDS_VIOLATION,
					 .connection = CONNECTION,
					 .count = 1,
					 .message = "it was seen"};
		struct nbds_point at = {10, 1000, 0};

		doubts_init(&doubts, 1 << 16);
		f.frames[NBDS_ROLE_MESSAGE] = 20;
		for (unsigned n = 0; n < 5000; n++) {
			doubts_tell(&doubts, NULL, &f);
			doubts_pass(&doubts, 2000, false);
		}
		doubts_bytes(&doubts, NULL, CONNECTION, 0, 0, 100, &at);
		doubts_pass(&doubts, 0, true);
		findings_end(&all, CONNECTION);
		assert_int_equal(told.level[NBDS_VIOLATION], 0);
		assert_int_equal(told.level[NBDS_SUSPECT], 5000);
		doubts_free(&doubts);
		findings_free(&all);
		assert_int_equal(budget.used, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_habit),
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_doubts_of_two),
		cmocka_unit_test(test_many_wait),
		cmocka_unit_test(test_end_before_what_waits),
		cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
