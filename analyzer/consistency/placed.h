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
 *	value ─► [slot][slot][slot][slot]   the newest takes the place of the oldest of four
 */
#ifndef NBDS_CONSISTENCY_PLACED_H
#define NBDS_CONSISTENCY_PLACED_H

#include "party.h"

struct placed_slot {
	uint64_t value;
	uint64_t sector;
	uint64_t frame; /* of the write's request; 0: empty */
	uint32_t connection;
};

struct placed {
	struct placed_slot *slots; /* a power of two of fours */
	size_t room, count;
};

/* A value is noted soon: brings its place nearer. */
void placed_soon(const struct nbds_world *w, uint64_t value);
/* `op` wrote this value to the sector. */
void placed_note(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value);
/* ... which is superseded by now. */
void placed_forget(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value);
/* Where a value was written to, other than to `sector`; NULL: not known. */
const struct placed_slot *placed_find(const struct nbds_world *w, uint64_t sector, uint64_t value);
/* When memory is short. */
void placed_drop(struct nbds_world *w);

#endif
