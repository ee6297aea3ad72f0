/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/world.h - the parts of a world, floor by floor.
 *
 *   world      all calls from outside; the only one that calls all others
 *   hazards, verdict, withhold                      what is told
 *   miss, kin  sectors of reads that look wrong, until the final word on them;
 *              exports that may be one device
 *   past, unflushed, tally                          what ended; what no flush covered
 *   judge      from what is known of a sector to a verdict;
 *              preconditions: which level a rule has, and what lowers it
 *   contents   who may have left which data where
 *   quiet      blocks that sleep
 *   bury       what is superseded;   placed: where a value was written to
 *   ranges     zeroes and trims
 *   blocks     data of sectors;   grave: old values; hash: what a sector holds
 *   order      what came certainly before what      points, flush log, failed flushes;
 *              life: one server, or several; paths: on which grounds a write is in force
 *   op, party  operations, connections
 *   ground     memory, time, counts
 *
 * Each floor calls those below it and none above: what is of interest above is
 * returned.  Each has its own part of the state, which only it and those above look
 * into: the floors' files do not include this header, but their own and those of floors
 * below, and what is above is only a pointer to them (ground.h).
 */
#ifndef NBDS_CONSISTENCY_WORLD_H
#define NBDS_CONSISTENCY_WORLD_H

#include "hazards.h"
#include "life.h"
#include "past.h"
#include "placed.h"
#include "unflushed.h"
#include "verdict.h"
#include "withhold.h"

/* Everything of a world that there is one of, in one piece. */
struct house {
	struct nbds_world world;
	struct reads reads;
	struct pasts pasts;
	struct parties parties;
	struct order order;
	struct blocks blocks;
	struct quiet quiet;
	struct ranges ranges;
	struct contents contents;
	struct scratch scratch;
	struct placed placed;
	struct misses misses;
	struct hazards hazards;
	struct verdicts verdicts;
	struct withholding withheld;
};

#endif
