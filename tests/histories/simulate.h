/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/histories/simulate.h - random histories of simulated peers.
 *
 * Purpose.  A server with caches, connections and clients are stepped through
 * random events; the history is what an observer saw of them.  A legal server
 * does whatever the protocol allows, as perversely as it can; a broken one
 * also breaks one promise now and then.  What the observer cannot see, the
 * history does not have: commands before a connection's first frame, behind TLS or
 * in a gap.
 *
 * Determinism.  The same seed gives the same history, everywhere.
 */
#ifndef NBDSCOPE_TESTS_SIMULATE_H
#define NBDSCOPE_TESTS_SIMULATE_H

#include "history.h"

enum sim_server {
	SIM_SHARED,     /* one cache for all connections */
	SIM_THROUGH,    /* no cache */
	SIM_REPLICATED, /* a write-back cache a connection; a flush reaches all of them */
	SIM_PRIVATE,    /* the same in blocks, with flushes of its own; no multi-conn */
	SIM_OVERLAY,    /* writes stay with their connection; no multi-conn */
	SIM_SERVERS
};

enum sim_defect {
	SIM_LEGAL,
	SIM_FLUSH_MISSES,    /* a flush leaves other connections' caches alone */
	SIM_STALE_READS,     /* it does not drop the copies that others read */
	SIM_FUA_MISSES,      /* FUA data stays in its connection's cache */
	SIM_LOSES_FLUSHED,   /* flushed sectors turn old */
	SIM_LOSES_WRITES,    /* a write is confirmed and not done */
	SIM_CORRUPTS,        /* a sector turns into something else */
	SIM_OLD_VERSIONS,    /* reads return the version before now and then */
	SIM_PARTIAL_ZEROES,  /* WRITE_ZEROES does the first half only */
	SIM_FALSE_STATUS,    /* block status says zero where it pleases */
	SIM_FICKLE,          /* concurrent writes change their order again */
	SIM_TORN_WRITES,     /* of a write some pieces are not done */
	SIM_MISPLACED,       /* a write goes to the sector beside */
	SIM_MISREADS,        /* a read comes from the sector beside */
	SIM_EARLY_REPLIES,   /* writes are confirmed, and done later */
	SIM_EARLY_PAYLOAD,   /* ... before their payload has come, as TCP shows */
	SIM_EARLY_FLUSH,     /* flushes are confirmed, and done later */
	SIM_RESURRECTS,      /* a version many writes back comes again */
	SIM_FALSE_MULTI,     /* private block caches, yet multi-conn is promised */
	SIM_FALSE_SHARING,   /* copy on write, yet multi-conn is promised */
	SIM_READ_CACHE,      /* what a connection read once it is given again */
	SIM_ZEROES_NOTHING,  /* WRITE_ZEROES does nothing */
	SIM_ZEROES_MORE,     /* ... or the sector behind as well */
	SIM_TRIMS_MORE,      /* a trim discards the sector behind as well */
	SIM_LOSES_NEIGHBOUR, /* a write puts back what was beside it when it came */
	SIM_FLIPS,           /* a read differs in a byte or so */
	SIM_SWAPS,           /* sectors of one write change places */
	SIM_REPEATS,         /* a write that was confirmed is done once more, later */
	SIM_FORGETS_CLIENT,  /* at a connection's end what it wrote turns old */
	SIM_SNAPSHOTS,       /* a new connection is given the contents of long ago */
	SIM_MIXES_UP,        /* a read is given the data of another one in flight */
	SIM_FLUSHES_HALF,    /* a flush writes back a half */
	SIM_OLD_STATUS,      /* block status is of long ago */
	SIM_WRITES_TO_RO,    /* writes to a read-only export succeed */
	SIM_RESTART_LOSES,   /* flushed data is lost in a restart */
	SIM_DEFECTS
};

enum sim_shape {
	SIM_ALIGNED, /* whole sectors, nothing hidden: every verdict can be compared */
	SIM_TORN,    /* also parts of sectors */
	SIM_VEILED,  /* also gaps, TLS, connections first seen midway */
};

struct sim {
	enum sim_server server;
	enum sim_defect defect;
	enum sim_shape shape;
	char about[240]; /* the above and other choices, for people */
};

/* Which servers, and how the world treats them. */
enum sim_kind {
	SIM_KIND_LEGAL,
	SIM_KIND_BROKEN,
	SIM_KIND_ACCUSED, /* legal ones, and everything is done to make them look guilty */
};

extern const char *const sim_server_names[SIM_SERVERS];
extern const char *const sim_defect_names[SIM_DEFECTS];

uint64_t sim_random(uint64_t *state);
/* A history made from `seed`; *s tells what it is. */
void simulate(struct history *h, struct sim *s, uint64_t seed, enum sim_kind kind);

#endif
