/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/verdict.h - verdicts wait until all evidence is in, and are told.
 */
#ifndef NBDS_CONSISTENCY_VERDICT_H
#define NBDS_CONSISTENCY_VERDICT_H

#include "judge.h"

#define MISSED_BUCKETS 1024u
#define MISSES_MAX     256u /* wrong sectors kept for one read */

struct pending {
	struct pending *next;
	struct nbds_op *read;
	uint64_t serial; /* evidence of operations up to this one is waited for */
};

struct verdicts {
	struct nbds_point missed_hi;             /* no miss was seen later */
	uint32_t missed[MISSED_BUCKETS];         /* misses, by hash of block number */
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

/* A sector of the read looks wrong, or dangerous. */
void miss_add(struct nbds_op *read, const struct miss *m);
/* The read's misses are dropped. */
void reading_drop(struct nbds_op *read);
/* `op` wrote sectors [start, end) with `value` (NULL: not known which data): was any of
 * it read before, as data from nowhere? Then the capture has them in the wrong order, or
 * it is chance; no verdict either way. */
void written_later(struct nbds_op *op, uint64_t start, uint64_t end, const uint64_t *value);
/* Where this write may have been there already when a sector was read, its reader's
 * connection was not the only one that wrote. */
void written_meanwhile(const struct nbds_op *op);
void verdicts_free(struct nbds_world *w);

#endif
