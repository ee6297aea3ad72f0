/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/verdict.h - verdicts wait until all evidence is in, and are told.
 */
#ifndef NBDS_CONSISTENCY_VERDICT_H
#define NBDS_CONSISTENCY_VERDICT_H

#include "miss.h"

struct pending {
	struct pending *next;
	struct nbds_op *read;
	uint64_t serial; /* evidence of operations up to this one is waited for */
};

struct verdicts {
	struct pending *foreign, **foreign_tail; /* with data from nowhere: wait for longer,
	                                          * it may be written yet (G4) */
	uint32_t foreign_count;
	struct pending *pending, **pending_tail;
	uint64_t pending_count;
};

/* The read is over: what it missed waits for its verdict. */
void verdict_await(struct nbds_op *read);
/* Passes those that have waited long enough, or all. */
void verdicts_pass(struct nbds_world *w, bool all);

/* Tells the final word on a read, and the rule that it broke, to who asked. */
void verdict_judged(const struct nbds_op *r, const struct nbds_rule *rule,
		    enum nbds_severity severity);
/* The read's misses are dropped. */
void reading_drop(struct nbds_op *read);
void verdicts_free(struct nbds_world *w);

#endif
