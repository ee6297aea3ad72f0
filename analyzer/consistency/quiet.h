/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/quiet.h - contents about which nothing is open, kept in few
 * bytes.  The drawing is in quiet.c.
 */
#ifndef NBDS_CONSISTENCY_QUIET_H
#define NBDS_CONSISTENCY_QUIET_H

#include "contents.h"

#define REGION_BLOCKS 32u

struct cell {
	uint32_t past; /* index into the world's pasts */
	uint32_t value[BLOCK_SECTORS];
};

struct region {
	struct region *chain, *older, *newer;
	uint64_t number;  /* block number / REGION_BLOCKS */
	uint32_t present; /* its blocks that have a cell */
	uint16_t room;
	struct cell *cells; /* in order of blocks */
};

/* What remains of a command that only cells refer to. */
struct past {
	struct nbds_party *party;
	struct nbds_op *op; /* while there still, or again, is one */
	uint64_t serial, offset, lo_frame;
	int64_t lo_time, hi_time;
	uint32_t length, request_delta, hi_delta, reply_delta; /* frames since lo_frame */
	uint32_t refs, next_free;                              /* free: index + 1 of the next one */
	uint16_t interface, epoch;
	uint8_t type, flags;
	bool fua;
};

struct quiet {
	struct region **regions, *oldest, *newest;
	size_t buckets, count;
	struct past *pasts;
	uint32_t past_room, past_free; /* index + 1 */
	uint32_t past_used;
};

/* What is known of a value after it slept. */
uint64_t coarse_value(uint64_t value);
struct cell *quiet_find(const struct nbds_world *w, uint64_t block);
uint64_t quiet_value(const struct cell *c, unsigned i);
/* Makes a command of a past. */
void past_fill(struct nbds_world *w, uint32_t index, struct nbds_op *op);
bool quiet_settle(struct nbds_world *w, struct block *b);
void quiet_wake(struct nbds_world *w, struct block *b);
void quiet_wake_data(struct nbds_world *w, uint64_t first, uint64_t last);
void quiet_sweep(struct nbds_world *w);
bool quiet_forget(struct nbds_world *w);
void quiet_free(struct nbds_world *w);

#endif
