/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/results.h - what came of each history.
 *
 * Purpose.  Knows which frames are whose, and takes findings and judged reads by them.
 * Ownership.  Frees what it copies.  Failure.  Without memory a reason is not told.
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_RESULTS_H
#define NBDSCOPE_ANALYZER_PROBE_RESULTS_H

#include <base/vector.h>

#include <nbdscope/finding.h>

#include "../report/probed.h"
#include "plan.h"

/* One round that was begun. */
struct nbds_probe_ran {
	enum nbds_probe_history_id history;
	uint64_t first_frame, last_frame;
};

struct nbds_probe_results {
	struct nbds_budget budget;
	NBDS_VECTOR(nbds_probe_rans, struct nbds_probe_ran) rans; /* in the order of frames */
	struct nbds_probed_row rows[NBDS_PROBE_HISTORIES];
	char reasons[NBDS_PROBE_HISTORIES][160]; /* of those that had trouble; "": none */
	/* a promise of CAN_MULTI_CONN was broken, to who reads what another connection wrote */
	bool between[NBDS_PROBE_HISTORIES];
	bool gone; /* the server ended with its last connection, as some are meant to */
	bool lost; /* for want of memory the last is not there */
	char conclusion[512];
	struct nbds_probed told;
};

/* A round begins after this frame; */
void nbds_probe_results_begin(struct nbds_probe_results *r, enum nbds_probe_history_id history,
			      uint64_t before);
/* and ends with that one. `trouble`: why it was not carried out to its end, or what failed in
 * it; "": nothing. */
void nbds_probe_results_end(struct nbds_probe_results *r, uint64_t last, bool whole,
			    const char *trouble);
void nbds_probe_results_finding(struct nbds_probe_results *r, const struct nbds_finding *f);
void nbds_probe_results_judged(struct nbds_probe_results *r, const struct nbds_judged *j);
/* All is in: fills in rows, conclusion and told. `stopped`: why it ended early, or "". */
void nbds_probe_results_sum(struct nbds_probe_results *r, const struct nbds_probe_plan *plan,
			    const struct nbds_probe_facts *facts, const char *stopped);
void nbds_probe_results_free(struct nbds_probe_results *r);

/* It is about what the client does, as a probe does on purpose, and proves nothing of the
 * server. */
bool nbds_probe_provoked(const struct nbds_finding *f);

#endif
