/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/tally.h - what is completed and not flushed, of all worlds.
 *
 * Sums, and a binary heap of the connections that have such writes, the one with the
 * oldest on top: at[i] <= at[2i+1], at[2i+2].  Each change costs O(log connections), and
 * to ask costs nothing.
 */
#ifndef NBDS_CONSISTENCY_TALLY_H
#define NBDS_CONSISTENCY_TALLY_H

#include <base/vector.h>

#include "party.h"

struct nbds_unflushed_sum {
	struct nbds_budget *budget;
	uint64_t writes, bytes;
	NBDS_VECTOR(, struct nbds_party *) heap;
};

/* p's writes that are not flushed are others than before; `since`: when the oldest was
 * answered (INT64_MAX: there are none). Where nobody keeps a tally it does nothing. */
void tally_update(struct nbds_party *p, int64_t since);
/* p is not of interest any more. */
void tally_leave(struct nbds_party *p);

#endif
