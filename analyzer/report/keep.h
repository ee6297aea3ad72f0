/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/keep.h - findings that are kept until the report is written.
 *
 * Purpose.  Reports group findings and begin with their sum, so that all of them
 * wait for the end; what they take is bounded.  At the bound the least severe go
 * first, and among equals those that came last: a violation never makes room for
 * a note.  What went is counted by level.
 *
 *	by[NBDS_NOTE]       ─► copy copy copy
 *	by[NBDS_HAZARD]     ─► copy            each in order of arrival until
 *	by[NBDS_SUSPECT]                       nbds_keep_sort(), then by time
 *	by[NBDS_VIOLATION]  ─► copy copy
 *
 * Ownership.  The keep owns its copies; nbds_keep_clear() frees them.  Failure.
 * nbds_keep_add() returns false without memory, and the finding is not kept.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_KEEP_H
#define NBDSCOPE_ANALYZER_REPORT_KEEP_H

#include <base/vector.h>
#include <nbdscope/finding.h>

#define NBDS_LEVELS (NBDS_VIOLATION + 1)

struct nbds_kept {
	struct nbds_finding *finding;
	uint64_t serial; /* order of arrival */
	size_t size;     /* bytes of it */
};
NBDS_VECTOR(nbds_kept_vector, struct nbds_kept);

struct nbds_keep {
	struct nbds_kept_vector by[NBDS_LEVELS]; /* by enum nbds_severity */
	size_t next[NBDS_LEVELS];                /* reading: the first not given yet */
	uint64_t serial;
	uint64_t left_out[NBDS_LEVELS]; /* how many went, repeats included */
	struct nbds_budget budget;      /* its limit is the bound; 0: none */
};

bool nbds_keep_add(struct nbds_keep *k, const struct nbds_finding *f);
void nbds_keep_clear(struct nbds_keep *k);

/* Each level by time, and those of one moment by arrival; reading begins anew. Each
 * finding gets its number: its place in time among all. */
void nbds_keep_sort(struct nbds_keep *k);
/* The next: the most severe first, or simply by time. NULL: no more. */
const struct nbds_finding *nbds_keep_next_worst(struct nbds_keep *k);
const struct nbds_finding *nbds_keep_next_in_time(struct nbds_keep *k);

#endif
