/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/kin.h - exports that may be one device, on several ports of an
 * address.
 *
 * A port of its own is a server of its own here; yet one host may serve one device on
 * several.  Whether another port's writes may explain what was read is asked when a read
 * is about to be convicted, and only then: exports are found by address and name.
 */
#ifndef NBDS_CONSISTENCY_KIN_H
#define NBDS_CONSISTENCY_KIN_H

#include "party.h"

/* The export is one of its world's. */
void kin_enter(struct xport *x, struct nbds_world *w);
/* The world goes: what it wrote is not known any more, but that it did, or may have done so
 * unseen. */
void kin_leave(struct xport *x, struct nbds_world *w);
/* A write is sent. */
void kin_write(const struct nbds_op *op);
/* To this server something may have been sent at `at`, or later, and it is not known to which
 * export. */
void kin_stranger(const struct nbds_world *w, const struct nbds_point *at);
/* Another port of the address has an export of the reader's name and size, and wrote to the
 * sector before the read was over, or may have done so unseen; or something was sent there to
 * an export whose name or size was not seen. */
bool kin_wrote(const struct nbds_op *read, uint64_t sector);
/* ... wrote anything, anywhere, before `hi`: one device may have one cache for each connection
 * of all ports (G10). */
bool kin_wrote_any(const struct nbds_op *read, const struct nbds_point *hi);

#endif
