/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/quiet.h - contents about which nothing is open, kept in few
 * bytes.  The drawing is in quiet.c.
 */
#ifndef NBDS_CONSISTENCY_QUIET_H
#define NBDS_CONSISTENCY_QUIET_H

#include "bury.h"

#define REGION_BLOCKS 32u

struct cell {
	uint32_t past : 31; /* index into the world's pasts */
	uint32_t deep : 1;  /* instead of values: the address of more than these */
	uint32_t value[BLOCK_SECTORS];
};

struct region {
	struct region *chain, *older, *newer;
	uint64_t number;  /* block number / REGION_BLOCKS */
	uint32_t present; /* its blocks that have a cell */
	uint16_t room;
	struct cell *cells; /* in order of blocks */
};

struct quiet {
	struct region **regions, *oldest, *newest;
	size_t buckets, count;
	bool due; /* one block more has several versions: older ones are to be looked at */
};

struct cell *quiet_find(const struct nbds_world *w, uint64_t block);
/* Is this the value of sector i? */
bool quiet_shows(const struct cell *c, unsigned i, uint64_t value);
/* Did its connection ask for it after `op`? */
bool quiet_is_later(const struct nbds_world *w, const struct cell *c, const struct nbds_op *op);
/* Makes a command of a past. */
void past_fill(struct nbds_world *w, uint32_t index, struct nbds_op *op);
bool quiet_settle(struct nbds_world *w, struct block *b);
void quiet_wake_data(struct nbds_world *w, uint64_t first, uint64_t last);
/* The block, awake; a new one if there was none. NULL without memory. */
struct block *block_get(struct nbds_world *w, uint64_t number);
bool quiet_forget(struct nbds_world *w);
/* Gives up old versions that nothing but names rests on, until no more than `goal` bytes are
 * kept. */
void quiet_thin(struct nbds_world *w, uint64_t goal);
/* Blocks that sleep with old versions wake. */
void quiet_wake_buried(struct nbds_world *w);
void quiet_free(struct nbds_world *w);

#endif
