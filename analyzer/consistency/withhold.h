/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/withhold.h - violations that wait for the silent.
 */
#ifndef NBDS_CONSISTENCY_WITHHOLD_H
#define NBDS_CONSISTENCY_WITHHOLD_H

#include "party.h"

struct withholding {
	struct withheld *first, **tail;
	uint32_t count;
};

/* Tells a finding about `read`, now or once nothing can be missing before it. */
void withhold(struct nbds_world *w, const struct nbds_op *read, const struct nbds_finding *f);
void withheld_pass(struct nbds_world *w, bool all);
void withheld_free(struct nbds_world *w);

#endif
