/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/past.h - connections that ended, made small.
 */
#ifndef NBDS_CONSISTENCY_PAST_H
#define NBDS_CONSISTENCY_PAST_H

#include "party.h"

/* It ended: forgets what only an open connection needs. Returns another one that
 * ended and has waited for a flush for too long, or NULL. */
struct nbds_party *past_end(struct nbds_party *p);
/* It ended, and nothing that it wrote can be flushed any more: on its way out. */
void past_settle(struct nbds_party *p);
/* Folds and frees some of those that can be. */
void past_sweep(struct nbds_world *w);
/* x failed. */
void past_voided(const struct nbds_op *x);
void past_free(struct nbds_world *w);

#endif
