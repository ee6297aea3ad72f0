/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/judge.h - is what a read returned admissible, and if not,
 * what proves it?
 */
#ifndef NBDS_CONSISTENCY_JUDGE_H
#define NBDS_CONSISTENCY_JUDGE_H

#include <nbdscope/finding.h>

#include "life.h"
#include "quiet.h"

enum judgement { JUDGE_FINE, JUDGE_UNKNOWN, JUDGE_WRONG };
struct verdict {
	enum judgement result;
	enum nbds_unchecked why;      /* UNKNOWN */
	const struct nbds_rule *rule; /* WRONG, or a hazard with FINE and UNKNOWN; NULL: none */
	enum nbds_severity severity;
	const char *lowered;    /* why it is lower than the rule's, or NULL */
	struct nbds_op *missed; /* the write that should have been seen */
	struct nbds_op *flush;  /* the flush that made it visible */
	struct nbds_op *source; /* the write (or read) whose data came instead */
	bool waits;             /* later frames may raise it */
	unsigned values;        /* FINE: different admissible values */
	bool all_established;
	bool initial;       /* UNKNOWN: certainly what was there before the capture */
	uint64_t lone_from; /* see struct miss; with a rule only */
};
/* `final`: no more evidence is waited for. */
void judge_sector(struct nbds_op *read, const struct miss *m, bool final, struct verdict *v);

#endif
