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

#include "analyzer/session/findings.h"

#define CONNECTION 7

struct told {
	unsigned findings;
	uint64_t stands_for;
};

static void deliver(void *ctx, const struct nbds_finding *f)
{
	struct told *t = ctx;

	assert_int_equal(f->connection, CONNECTION);
	t->findings++;
	t->stands_for += f->count;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_habit),
		cmocka_unit_test(test_end_before_what_waits),
		cmocka_unit_test(test_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
