/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keep.c - findings that are kept until the report is written. See keep.h.
 */
#include "keep.h"

#include <stdlib.h>
#include <string.h>

/* What nbds_finding_copy() will take. */
static size_t size_of(const struct nbds_finding *f)
{
	size_t size = sizeof(*f) + f->export_name_len + 1;

	size += f->message ? strlen(f->message) + 1 : 0;
	size += f->command ? strlen(f->command) + 1 : 0;
	for (size_t i = 0; f->assumptions && f->assumptions[i]; i++)
		size += sizeof(char *) + strlen(f->assumptions[i]) + 1;
	return size + sizeof(char *);
}

/* Of the lowest level below `severity` the one that came last goes. */
static bool make_room(struct nbds_keep *k, enum nbds_severity severity)
{
	for (int s = NBDS_NOTE; s < (int)severity; s++) {
		struct nbds_kept_vector *list = &k->by[s];

		if (!list->count)
			continue;
		list->count--;
		k->left_out[s] += list->at[list->count].finding->count;
		nbds_budget_give(&k->budget, nbds_budget_cost(list->at[list->count].size));
		nbds_finding_free(list->at[list->count].finding);
		return true;
	}
	return false;
}

bool nbds_keep_add(struct nbds_keep *k, const struct nbds_finding *f)
{
	struct nbds_kept kept = {.serial = k->serial++, .size = size_of(f)};
	uint64_t cost = nbds_budget_cost(kept.size);

	while (k->budget.limit && k->budget.used + cost > k->budget.limit) {
		if (!make_room(k, f->severity)) {
			k->left_out[f->severity] += f->count;
			return true;
		}
	}
	kept.finding = nbds_finding_copy(f);
	if (!kept.finding)
		return false;
	if (!nbds_vector_push(&k->by[f->severity], &k->budget, kept)) {
		nbds_finding_free(kept.finding);
		return false;
	}
	nbds_budget_take(&k->budget, cost);
	return true;
}

void nbds_keep_clear(struct nbds_keep *k)
{
	uint64_t limit = k->budget.limit;

	for (int s = 0; s < NBDS_LEVELS; s++) {
		struct nbds_kept_vector *list = &k->by[s];

		for (size_t i = 0; i < list->count; i++) {
			nbds_budget_give(&k->budget, nbds_budget_cost(list->at[i].size));
			nbds_finding_free(list->at[i].finding);
		}
		nbds_vector_free(list, &k->budget);
	}
	NBDS_ASSERT(k->budget.used == 0);
	*k = (struct nbds_keep){.budget.limit = limit};
}

static int before(const struct nbds_kept *x, const struct nbds_kept *y)
{
	if (x->finding->time != y->finding->time)
		return x->finding->time < y->finding->time ? -1 : 1;
	return x->serial < y->serial ? -1 : x->serial > y->serial;
}

static int by_time(const void *a, const void *b)
{
	return before(a, b);
}

static struct nbds_finding *next_in_time(struct nbds_keep *k)
{
	int first = -1;

	for (int s = 0; s < NBDS_LEVELS; s++)
		if (k->next[s] < k->by[s].count &&
		    (first < 0 ||
		     before(&k->by[s].at[k->next[s]], &k->by[first].at[k->next[first]]) < 0))
			first = s;
	return first < 0 ? NULL : k->by[first].at[k->next[first]++].finding;
}

void nbds_keep_sort(struct nbds_keep *k)
{
	struct nbds_finding *f;

	for (int s = 0; s < NBDS_LEVELS; s++) {
		if (k->by[s].count)
			qsort(k->by[s].at, k->by[s].count, sizeof(*k->by[s].at), by_time);
		k->next[s] = 0;
	}
	for (uint64_t number = 1; (f = next_in_time(k)); number++)
		f->number = number;
	for (int s = 0; s < NBDS_LEVELS; s++)
		k->next[s] = 0;
}

const struct nbds_finding *nbds_keep_next_worst(struct nbds_keep *k)
{
	for (int s = NBDS_LEVELS; s-- > 0;)
		if (k->next[s] < k->by[s].count)
			return k->by[s].at[k->next[s]++].finding;
	return NULL;
}

const struct nbds_finding *nbds_keep_next_in_time(struct nbds_keep *k)
{
	return next_in_time(k);
}
