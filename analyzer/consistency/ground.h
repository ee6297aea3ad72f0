/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/ground.h - what every floor of a world stands on.
 *
 * Memory, time, what may be missing in the capture, and the counts belong to all floors.
 * Of each floor's own part there is a pointer: what it points to is known where that
 * floor's header is included, which is above that floor only.
 */
#ifndef NBDS_CONSISTENCY_GROUND_H
#define NBDS_CONSISTENCY_GROUND_H

#include <base/budget.h>
#include <base/table.h>

#include "consistency.h"

#define BLOCK_SECTORS 8u /* that are kept together */

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
	bool no_t3; /* nor are times an order */
	bool poisoned;
	struct nbds_point poison;
	bool blind; /* forgetting could not be told apart: no verdicts any more */
	uint64_t memory, memory_cap;
	uint64_t piece_bytes; /* of it, sectors as they were */
	uint64_t zero_value;  /* of a sector of zeroes */
	struct nbds_world_stats stats;
	/* the floors, from below */
	struct reads *reads;          /* op.h */
	struct pasts *pasts;          /* op.h */
	struct parties *parties;      /* party.h */
	struct order *order;          /* order.h */
	struct placed *placed;        /* placed.h */
	struct blocks *blocks;        /* blocks.h */
	struct quiet *quiet;          /* quiet.h */
	struct ranges *ranges;        /* ranges.h */
	struct contents *contents;    /* contents.h */
	struct scratch *scratch;      /* judge.h */
	struct misses *misses;        /* miss.h */
	struct hazards *hazards;      /* hazards.h */
	struct verdicts *verdicts;    /* verdict.h */
	struct withholding *withheld; /* withhold.h */
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

/* The interface of a point that is the earliest, or the latest, of several ones': it is in no
 * order with any other, nor with its like. */
#define SEVERAL_INTERFACES UINT32_MAX

/* Points a and b: a is certainly earlier (T3). */
bool point_before(const struct nbds_world *w, const struct nbds_point *a,
		  const struct nbds_point *b);
/* To the later one of both, in each regard; of several interfaces: an order with none. */
void later_of(struct nbds_point *to, const struct nbds_point *point);
/* To the earlier one, likewise. */
void earlier_of(struct nbds_point *to, const struct nbds_point *point);

/* Zeroed, and counted; NULL without memory. */
void *world_alloc(struct nbds_world *w, size_t size);
/* `p` may be NULL. */
void world_dealloc(struct nbds_world *w, void *p, size_t size);
/* What is new is not zeroed. NULL without memory: `p` is as it was. */
void *world_realloc(struct nbds_world *w, void *p, size_t from, size_t to);

/* An array of *room elements of `size` bytes, to hold `need`. False without memory. */
bool world_grow(struct nbds_world *w, void **p, size_t *room, size_t size, size_t need);

/* For what is named by numbers on the wire: of another seed each run. */
size_t hash_number(const struct nbds_world *w, uint64_t n);

#endif
