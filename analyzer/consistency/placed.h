/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/placed.h - where data was written to, by its value.
 *
 * Data that nothing explains where it was read may have been written elsewhere: then a
 * server has misplaced it, and the finding can name the write.  Only the sentence rests on
 * this, no verdict; so it may forget.  Of every 4 KiB that were written the first sector
 * is noted, and the first of every write, unless it is zeroes.  Versions that were superseded
 * are taken out again: a block that is rewritten all day has a few in here.
 *
 * What is noted is that there may be such a write: who asks looks whether it is there.
 *
 *	value ─► [slot][slot][slot][slot]   newest first; the newest pushes the oldest out
 *	          └ 24 bits of the value's hash beside those that lead here, 40 of the sector
 */
#ifndef NBDS_CONSISTENCY_PLACED_H
#define NBDS_CONSISTENCY_PLACED_H

#include "grave.h"

struct placed {
	uint64_t *slots; /* a power of two of fours; 0: empty */
	size_t room, count;
};

/* A value is noted soon: brings its place nearer. */
void placed_soon(const struct nbds_world *w, uint64_t value);
/* `op` wrote this value to the sector. */
void placed_note(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value);
/* ... which is superseded by now. */
void placed_forget(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value);
/* Where a value may have been written to, other than to `sector`; false: not known. */
bool placed_find(const struct nbds_world *w, uint64_t sector, uint64_t value, uint64_t *elsewhere);
/* When memory is short. */
void placed_drop(struct nbds_world *w);

#endif
