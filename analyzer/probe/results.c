/* SPDX-License-Identifier: GPL-2.0-or-later */
/* results.c - what came of each history. See results.h. */
#include "results.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <base/assert.h>

static const char *const promises[] = {
	[NBDS_PROBE_ONE] = "connection",
	[NBDS_PROBE_SHARED] = "multi-conn",
	[NBDS_PROBE_UNPROMISED] = "none",
	[NBDS_PROBE_DURABLE] = "durable",
};

/* Old data that was read where nothing had promised new data. */
static bool is_stale(const struct nbds_rule *rule)
{
	return !strcmp(rule->name, "stale-read-no-multi-conn") ||
	       !strcmp(rule->name, "stale-read-unflushed");
}

bool nbds_probe_provoked(const struct nbds_finding *f)
{
	return f->severity <= NBDS_HAZARD && nbds_finding_side(f) == NBDS_FAULT_CLIENT &&
	       !is_stale(f->rule);
}

void nbds_probe_results_begin(struct nbds_probe_results *r, enum nbds_probe_history_id history,
			      uint64_t before)
{
	struct nbds_probe_ran ran = {history, before + 1, UINT64_MAX};

	NBDS_ASSERT(history < NBDS_PROBE_HISTORIES);
	r->lost = !nbds_vector_push(&r->rans, &r->budget, ran);
}

void nbds_probe_results_end(struct nbds_probe_results *r, uint64_t last, bool whole,
			    const char *trouble)
{
	struct nbds_probe_ran *ran = &r->rans.at[r->rans.count - 1];
	struct nbds_probed_row *row;

	/* What has no place is told, but of no history. */
	if (r->lost)
		return;
	ran->last_frame = last;
	row = &r->rows[ran->history];
	row->rounds += whole;
	if (last >= ran->first_frame) {
		if (!row->first_frame)
			row->first_frame = ran->first_frame;
		row->last_frame = last;
	}
	if (*trouble && !*r->reasons[ran->history])
		snprintf(r->reasons[ran->history], sizeof(r->reasons[0]), "%s", trouble);
}

/* The history that this frame is of; NULL: none. */
static struct nbds_probed_row *row_of(struct nbds_probe_results *r, uint64_t frame)
{
	size_t from = 0, to = r->rans.count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (r->rans.at[middle].last_frame < frame)
			from = middle + 1;
		else
			to = middle;
	}
	if (from == r->rans.count || frame < r->rans.at[from].first_frame)
		return NULL;
	return &r->rows[r->rans.at[from].history];
}

/* The last of its frames: there it was seen. */
static uint64_t last_frame(const struct nbds_finding *f)
{
	uint64_t last = 0;

	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role] > last)
			last = f->frames[role];
	return last;
}

/* What flush and FUA promise across connections was not kept. */
static bool is_between(const struct nbds_finding *f)
{
	if (f->severity != NBDS_VIOLATION ||
	    (strcmp(f->rule->name, "stale-read-after-flush") != 0 &&
	     strcmp(f->rule->name, "stale-read-after-fua") != 0))
		return false;
	for (unsigned i = 0; i < f->witness_count; i++)
		if (f->witnesses[i].role == NBDS_ROLE_WRITE)
			return f->witnesses[i].connection != f->connection;
	return false;
}

void nbds_probe_results_finding(struct nbds_probe_results *r, const struct nbds_finding *f)
{
	struct nbds_probed_row *row = row_of(r, last_frame(f));
	int worst = -1;

	if (!row)
		return;
	for (int s = NBDS_NOTE; s <= NBDS_VIOLATION; s++)
		if (row->findings[s])
			worst = s;
	if ((int)f->severity > worst)
		row->rule = f->rule;
	row->findings[f->severity] += f->count;
	if (is_between(f))
		r->between[row - r->rows] = true;
}

void nbds_probe_results_judged(struct nbds_probe_results *r, const struct nbds_judged *j)
{
	struct nbds_probed_row *row = j->reply_frame ? row_of(r, j->reply_frame) : NULL;

	if (row && (j->checked || j->rule))
		row->reads++;
}

static enum nbds_probed_outcome outcome(const struct nbds_probed_row *row, const char *trouble)
{
	if (row->findings[NBDS_VIOLATION])
		return NBDS_PROBED_BROKEN;
	if (row->findings[NBDS_SUSPECT])
		return NBDS_PROBED_SUSPECT;
	if (row->rule && is_stale(row->rule))
		return NBDS_PROBED_STALE;
	if (!row->rounds && !*trouble)
		return NBDS_PROBED_UNASKED;
	if (*trouble)
		return NBDS_PROBED_FAILED;
	return row->reads ? NBDS_PROBED_KEPT : NBDS_PROBED_UNJUDGED;
}

/* What the histories of CAN_MULTI_CONN show of it. */
static void conclude(struct nbds_probe_results *r, const struct nbds_probe_facts *facts)
{
	unsigned of[NBDS_PROBED_UNASKED + 1] = {0}, asked = 0, between = 0;
	bool elsewhere = false;
	char *c = r->conclusion;
	size_t size = sizeof(r->conclusion);

	for (unsigned i = 0; i < NBDS_PROBE_HISTORIES; i++) {
		if (nbds_probe_histories[i].promise == NBDS_PROBE_SHARED) {
			of[r->rows[i].outcome]++;
			asked += r->rows[i].outcome <= NBDS_PROBED_BROKEN;
			between += r->between[i];
		} else if (nbds_probe_histories[i].promise == NBDS_PROBE_ONE &&
			   r->rows[i].outcome == NBDS_PROBED_BROKEN) {
			elsewhere = true;
		}
	}
	if (facts->multi_conn && between) {
		r->told.untrue = true;
		snprintf(
			c, size,
			"CAN_MULTI_CONN is advertised, and is not true: in %u of %u histories that "
			"ask for it a connection read old data after a flush or FUA of others, "
			"which is proved%s.",
			between, asked,
			elsewhere ? " (what is wrong on one connection may be the cause)" : "");
	} else if (facts->multi_conn && of[NBDS_PROBED_BROKEN]) {
		snprintf(c, size,
			 "CAN_MULTI_CONN is advertised. In %u of %u histories that ask for it "
			 "something was broken, but not what the flag promises between "
			 "connections.",
			 of[NBDS_PROBED_BROKEN], asked);
	} else if (facts->multi_conn && !asked) {
		r->told.unknown = true;
		snprintf(c, size,
			 "CAN_MULTI_CONN is advertised, and none of the histories that ask for it "
			 "could be judged: nothing is known of it.");
	} else if (facts->multi_conn) {
		snprintf(c, size,
			 "CAN_MULTI_CONN is advertised, and no broken promise was seen in %u of %u "
			 "histories that ask for it%s. That is no proof that it is true.",
			 of[NBDS_PROBED_KEPT] + of[NBDS_PROBED_STALE], asked,
			 of[NBDS_PROBED_SUSPECT] ? "; there is a suspicion" : "");
	} else if (!asked) {
		snprintf(c, size,
			 "CAN_MULTI_CONN is not advertised, and whether it could be is not known: "
			 "none of the histories that ask for it could be judged.");
	} else if (of[NBDS_PROBED_STALE]) {
		snprintf(c, size,
			 "CAN_MULTI_CONN is not advertised, and rightly so: in %u of %u histories "
			 "that ask for it a connection read old data where the flag would have "
			 "promised new data.",
			 of[NBDS_PROBED_STALE], asked);
	} else if (of[NBDS_PROBED_BROKEN] || of[NBDS_PROBED_SUSPECT]) {
		snprintf(c, size,
			 "CAN_MULTI_CONN is not advertised. Something is wrong in %u of %u "
			 "histories that would ask for it, on one connection already.",
			 of[NBDS_PROBED_BROKEN] + of[NBDS_PROBED_SUSPECT], asked);
	} else {
		snprintf(c, size,
			 "CAN_MULTI_CONN is not advertised, and no stale read was seen in %u "
			 "histories that ask for it: the flag might be true. That is no proof.",
			 asked);
	}
}

void nbds_probe_results_sum(struct nbds_probe_results *r, const struct nbds_probe_plan *plan,
			    const struct nbds_probe_facts *facts, const char *stopped)
{
	for (size_t i = 0; i < plan->runs.count; i++)
		r->rows[plan->runs.at[i].history].planned++;
	for (unsigned i = 0; i < NBDS_PROBE_HISTORIES; i++) {
		const struct nbds_probe_history *h = &nbds_probe_histories[i];
		struct nbds_probed_row *row = &r->rows[i];

		row->name = h->name;
		row->asks = h->asks;
		row->promise = promises[h->promise];
		row->promised = h->promise == NBDS_PROBE_SHARED
					? facts->multi_conn
					: h->promise != NBDS_PROBE_UNPROMISED;
		row->outcome = outcome(row, r->reasons[i]);
		if (i == NBDS_HISTORY_AFTER_ALL_LEFT && r->gone &&
		    row->outcome == NBDS_PROBED_FAILED)
			row->outcome = NBDS_PROBED_UNASKED;
		r->told.failed += row->outcome == NBDS_PROBED_FAILED;
		if (plan->unasked[i])
			row->reason = plan->unasked[i];
		else if (*r->reasons[i])
			row->reason = r->reasons[i];
		else if (row->outcome == NBDS_PROBED_UNASKED)
			row->reason = *stopped ? stopped : "there was no time for it";
		else if (row->outcome == NBDS_PROBED_UNJUDGED)
			row->reason = "nothing that was read could be judged";
	}
	r->told.rows = r->rows;
	r->told.count = NBDS_PROBE_HISTORIES;
	r->told.multi_conn = facts->multi_conn;
	r->told.connections = facts->connections;
	r->told.seed = facts->seed;
	r->told.stopped = *stopped ? stopped : NULL;
	conclude(r, facts);
	r->told.conclusion = r->conclusion;
}

void nbds_probe_results_free(struct nbds_probe_results *r)
{
	nbds_vector_free(&r->rans, &r->budget);
}
