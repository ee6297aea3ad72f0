/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/bury.h - what newer writes supersede leaves the blocks.
 *
 * An entry that is superseded for every reader still to come leaves for a grave (grave.h),
 * where only its value is kept.
 */
#ifndef NBDS_CONSISTENCY_BURY_H
#define NBDS_CONSISTENCY_BURY_H

#include "blocks.h"

/* No read that is in flight, and waited for, began before this was answered. */
bool over_for_readers(struct nbds_world *w, const struct nbds_op *op, const struct nbds_point *now);
/* What `by` superseded will be in nobody's way any more, whoever reads and whatever fails:
 * it may be gone without a trace. */
bool gone_for_all(const struct nbds_world *w, const struct nbds_op *by);

/* Buries what can be. `now`: when the next command begins. */
void block_prune(struct nbds_world *w, struct block *b, const struct nbds_point *now);
/* The same, once there is so much that it may be worth it. */
void block_limit(struct nbds_world *w, struct block *b, const struct nbds_point *now);
/* Gives up what only names things better: old values, and bytes as they were. */
void block_thin(struct nbds_world *w, struct block *b);
/* One that was not used for long: only what may be needed stays. */
void block_tidy(struct nbds_world *w, struct block *b);

#endif
