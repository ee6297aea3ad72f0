/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/unflushed.h - what is completed and not flushed, a connection.
 */
#ifndef NBDS_CONSISTENCY_UNFLUSHED_H
#define NBDS_CONSISTENCY_UNFLUSHED_H

#include "order.h"

/* A write that succeeded: a flush has to cover it yet, unless it needs none. */
void unflushed_add(struct nbds_op *op);
/* A flush succeeded: forgets what of p's writes it covers, and adds to `rep`. */
void unflushed_cover(struct nbds_party *p, const struct nbds_op *f, struct nbds_flush_report *rep);
/* The oldest n are only counted from now on. */
void unflushed_count_only(struct nbds_party *p, uint32_t n);
void unflushed_free(struct nbds_party *p);

#endif
