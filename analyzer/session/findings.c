/* SPDX-License-Identifier: GPL-2.0-or-later */
/* findings.c - see findings.h. */
#include "findings.h"

#include <string.h>

#define REPEATS_MAX 1000u /* findings of one rule and level told for one connection */

static struct teller *teller_find(const struct findings *all, uint32_t connection)
{
	struct nbds_table_node *n =
		nbds_table_find(&all->table, nbds_hash_u64(&all->key, connection));

	for (; n; n = nbds_table_again(n)) {
		struct teller *t = nbds_owner(n, struct teller, node);

		if (t->connection == connection)
			return t;
	}
	return NULL;
}

static bool is_known(const struct findings *all, uint32_t connection)
{
	return !all->known || all->known(all->engine, connection);
}

static struct teller *teller_get(struct findings *all, uint32_t connection)
{
	struct teller *t = teller_find(all, connection);

	if (t)
		return t;
	t = nbds_budget_alloc(all->budget, sizeof(*t));
	if (!t)
		return NULL;
	t->connection = connection;
	t->ended = !is_known(all, connection);
	if (!nbds_table_add(&all->table, all->budget, &t->node,
			    nbds_hash_u64(&all->key, connection))) {
		nbds_budget_free(all->budget, t, sizeof(*t));
		return NULL;
	}
	return t;
}

static bool before(const struct repeat *a, const struct repeat *b)
{
	return a->rule != b->rule ? a->rule < b->rule : a->severity < b->severity;
}

static struct repeat *repeat_get(struct findings *all, uint32_t connection,
				 const struct nbds_rule *rule, enum nbds_severity severity)
{
	struct teller *t = connection ? teller_find(all, connection) : NULL;
	struct repeat none = {.rule = rule, .severity = severity};
	size_t at = 0;

	if (!t && connection && is_known(all, connection))
		t = teller_get(all, connection);
	if (!t)
		return NULL;
	while (at < t->repeats.count && before(&t->repeats.at[at], &none))
		at++;
	if (at < t->repeats.count && !before(&none, &t->repeats.at[at]))
		return &t->repeats.at[at];
	if (!nbds_vector_push(&t->repeats, all->budget, none))
		return NULL;
	memmove(&t->repeats.at[at + 1], &t->repeats.at[at],
		(t->repeats.count - 1 - at) * sizeof(none));
	t->repeats.at[at] = none;
	return &t->repeats.at[at];
}

static void deliver(struct findings *all, const struct nbds_finding *f)
{
	if (all->wanted && !all->wanted(all->ctx, f))
		return;
	all->count[f->severity] += f->count;
	if (all->deliver)
		all->deliver(all->ctx, f);
}

bool findings_waits(const struct findings *all, uint32_t connection)
{
	const struct teller *t = teller_find(all, connection);

	return t && t->waiting;
}

static void drop_last(struct findings *all, struct repeat *r)
{
	if (!r->last)
		return;
	nbds_budget_give(all->budget, nbds_finding_size(r->last));
	nbds_finding_free(r->last);
	r->last = NULL;
}

/* From now on `f` stands for `count` of them; without memory the one before does. */
static void keep(struct findings *all, struct repeat *r, const struct nbds_finding *f,
		 uint64_t count)
{
	struct nbds_finding *copy = nbds_finding_copy(f);

	if (!copy) {
		if (r->last)
			r->last->count = count;
		return;
	}
	drop_last(all, r);
	r->last = copy;
	r->last->count = count;
	nbds_budget_take(all->budget, nbds_finding_size(copy));
}

/* Also of those that will be told later. */
static void count(struct findings *all, const struct nbds_finding *f)
{
	size_t rule = (size_t)(f->rule - nbds_rules);

	NBDS_ASSERT(rule < nbds_rules_count && nbds_rules_count <= NBDS_COUNTS_RULES);
	if (rule < NBDS_COUNTS_RULES)
		all->counts->findings[rule][f->severity] += f->count;
}

void findings_tell(struct findings *all, const struct nbds_finding *f)
{
	struct repeat *r = repeat_get(all, f->connection, f->rule, f->severity);
	uint64_t most = f->rule->summed ? 1 : f->rule->collapse ? 2 : REPEATS_MAX;

	if (all->counts)
		count(all, f);
	if (!r || ++r->count < most) {
		deliver(all, f);
		return;
	}
	if (r->count == most) {
		keep(all, r, f, f->count);
	} else if (r->last) {
		uint64_t count = r->last->count + f->count;

		if (f->rule->summed && f->weight > r->last->weight)
			keep(all, r, f, count);
		else
			r->last->count = count;
	}
}

static void repeats_free(struct findings *all, struct teller *t)
{
	for (size_t i = 0; i < t->repeats.count; i++)
		drop_last(all, &t->repeats.at[i]);
	nbds_vector_free(&t->repeats, all->budget);
}

static void teller_free(struct findings *all, struct teller *t)
{
	repeats_free(all, t);
	nbds_budget_free(all->budget, t, sizeof(*t));
}

void findings_end(struct findings *all, uint32_t connection)
{
	struct teller *t = teller_find(all, connection);

	if (!t)
		return;
	for (size_t i = 0; i < t->repeats.count; i++)
		if (t->repeats.at[i].last)
			deliver(all, t->repeats.at[i].last);
	if (t->waiting) {
		repeats_free(all, t);
		t->ended = true;
		return;
	}
	nbds_table_remove(&all->table, &t->node);
	teller_free(all, t);
}

bool findings_wait(struct findings *all, uint32_t connection, int more)
{
	struct teller *t = connection ? teller_get(all, connection) : NULL;

	if (!t)
		return !connection;
	t->waiting = (uint32_t)((int64_t)t->waiting + more);
	if (!t->waiting && t->ended)
		findings_end(all, connection);
	return true;
}

static void free_node(void *arg, struct nbds_table_node *n)
{
	teller_free(arg, nbds_owner(n, struct teller, node));
}

void findings_free(struct findings *all)
{
	nbds_table_each(&all->table, free_node, all);
	nbds_table_free(&all->table, all->budget);
}
