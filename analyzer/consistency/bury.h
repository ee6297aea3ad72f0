/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/bury.h - what newer writes supersede leaves the blocks.
 *
 * An entry that is superseded for every reader still to come leaves for a grave (grave.h),
 * where only its value is kept.
 */
#ifndef NBDS_CONSISTENCY_BURY_H
#define NBDS_CONSISTENCY_BURY_H

#include "ranges.h"

/* Buries what can be. `now`: when the next command begins; `bytes`: with its bytes, as long
 * as there is room. */
void block_prune(struct nbds_world *w, struct block *b, const struct nbds_point *now, bool bytes);
/* The same, once there is so much that it may be worth it. */
void block_limit(struct nbds_world *w, struct block *b, const struct nbds_point *now);
/* Gives up what only names things better: old values, and bytes as they were. */
void block_thin(struct nbds_world *w, struct block *b);
/* One that was not used for long: only what may be needed stays. */
void block_tidy(struct nbds_world *w, struct block *b);
/* Of the ranges that are filed where [start, end) is, those go that are superseded, once
 * there are so many that it may be worth it. */
void ranges_limit(struct nbds_world *w, uint64_t start, uint64_t end, const struct nbds_point *now);
/* The same where block status of the kind was told last. */
void ranges_told_limit(struct nbds_world *w, enum range_kind kind, const struct nbds_point *now);

#endif
