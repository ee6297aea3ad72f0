/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/histories/simulate.h - random histories of simulated peers.
 *
 * Purpose.  A server with caches, connections and clients are stepped through
 * random events; the history is what an observer saw of them.  A legal server
 * does whatever the protocol allows, as perversely as it can; a broken one
 * also breaks one promise now and then.
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
	SIM_FLUSH_MISSES,   /* a flush leaves other connections' caches alone */
	SIM_STALE_READS,    /* it does not drop the copies that others read */
	SIM_FUA_MISSES,     /* FUA data stays in its connection's cache */
	SIM_LOSES_FLUSHED,  /* flushed sectors turn old */
	SIM_LOSES_WRITES,   /* a write is confirmed and not done */
	SIM_CORRUPTS,       /* a sector turns into something else */
	SIM_OLD_VERSIONS,   /* reads return an older version now and then */
	SIM_PARTIAL_ZEROES, /* WRITE_ZEROES does the first half only */
	SIM_FALSE_STATUS,   /* block status says zero where it pleases */
	SIM_FICKLE,         /* concurrent writes change their order again */
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
	char about[200]; /* the above and other choices, for people */
};

extern const char *const sim_server_names[SIM_SERVERS];
extern const char *const sim_defect_names[SIM_DEFECTS];

uint64_t sim_random(uint64_t *state);
/* A history made from `seed`; *s tells what kind it is. `legal`: of a server
 * without defects. */
void simulate(struct history *h, struct sim *s, uint64_t seed, bool legal);

#endif
