/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/unflushed.h - what is completed and not flushed, a connection.
 */
#ifndef NBDS_CONSISTENCY_UNFLUSHED_H
#define NBDS_CONSISTENCY_UNFLUSHED_H

#include "order.h"

/* A write that succeeded: a flush has to cover it yet, unless it needs none. */
void unflushed_add(struct nbds_op *op);
/* A flush succeeded: forgets the writes that it covers, of all connections of the export
 * that promise it, and adds them to `rep`. Puts connections that ended, and of which it
 * covered the last ones, into `done` (PARTY_DIRTY). */
void unflushed_cover(struct nbds_op *f, struct nbds_flush_report *rep, struct party_list *done);
/* The one answered first; NULL: none. */
const struct nbds_op *unflushed_oldest(const struct nbds_party *p);
/* No more than `n` are kept one by one from now on. */
void unflushed_gather(struct nbds_party *p, uint32_t n);
/* Only their number is known from now on. */
void unflushed_free(struct nbds_party *p);

#endif
