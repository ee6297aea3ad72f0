/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/world.h - the parts of a world, floor by floor.
 *
 *   world      all calls from outside; the only one that calls all others
 *   hazards, verdict, withhold                      what is told
 *   miss, kin  sectors of reads that look wrong, until the final word on them;
 *              exports that may be one device
 *   past, unflushed                                 what ended; what no flush covered
 *   placed     where a value was written to
 *   judge      from what is known of a sector to a verdict;
 *              preconditions: which level a rule has, and what lowers it
 *   contents, quiet                                 who may have left which data where;
 *              grave: what was superseded; hash: what a sector holds
 *   order      what came certainly before what      points, flush log, failed flushes;
 *              life: one server, or several; paths: on which grounds a write is in force
 *   op, party  operations, connections, memory
 *
 * Each floor calls those below it and none above: what is of interest above is
 * returned.  Each has its own part of the state, which only it and those above look
 * into.
 */
#ifndef NBDS_CONSISTENCY_WORLD_H
#define NBDS_CONSISTENCY_WORLD_H

#include <base/budget.h>

#include "hazards.h"
#include "life.h"
#include "past.h"
#include "placed.h"
#include "unflushed.h"
#include "verdict.h"
#include "withhold.h"

struct nbds_world {
	struct nbds_world_config config;
	struct nbds_world_ops ops;
	void *ctx;
	struct nbds_budget *budget;    /* what all is counted in */
	struct nbds_budget own_budget; /* which is this one if none is given */
	struct nbds_hash_key key;
	uint64_t serial;
	struct nbds_point last; /* the newest request */
	int64_t now;
	/* what may be missing */
	bool dropped;    /* the capture says that it lost packets */
	bool open_world; /* a connection cannot be (or was not always) seen */
	struct nbds_point open_since;
	bool poisoned;
	struct nbds_point poison;
	bool blind; /* forgetting could not be told apart: no verdicts any more */
	uint64_t memory, memory_cap;
	struct nbds_world_stats stats;
	struct reads reads;
	struct scratch scratch;
	struct parties parties;
	struct order order;
	struct contents contents;
	struct quiet quiet;
	struct misses misses;
	struct verdicts verdicts;
	struct withholding withheld;
	struct hazards hazards;
	struct placed placed;
};

/* A clock that goes back by more was set, ns: packets of several interfaces and threads
 * come in another order by less. */
#define SET_BACK UINT64_C(1000000000)

/* How long ago `time` was, ns; longer than anything waits if the clock was set back since. */
static inline uint64_t world_age(const struct nbds_world *w, int64_t time)
{
	if (w->now >= time)
		return (uint64_t)w->now - (uint64_t)time;
	if (w->now == INT64_MIN || (uint64_t)time - (uint64_t)w->now <= SET_BACK)
		return 0;
	return UINT64_MAX;
}

#endif
