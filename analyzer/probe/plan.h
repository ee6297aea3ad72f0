/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/plan.h - which commands decide whether a server keeps its promises.
 *
 * Purpose.  A history is a short course of commands on a few connections for which the
 * engine can prove a broken promise, if the server breaks it: what is read has been
 * written before with contents that occur nowhere else, and who reads has read the same
 * bytes before, so that whatever it may keep for itself is kept.  What is planned
 * depends on nothing but the facts below: no I/O, no clock, no libnbd.
 *
 *	facts ──► plan: runs, in the order in which they are made
 *	            run = one round of one history = steps
 *	            step = one command, or a wait for all answers, on one connection
 *
 * Each history comes once in the first round, then again in others with other
 * connections, ranges and lengths, so that a time that runs out costs rounds, and not
 * histories.  What ends all connections, or the server, comes last.
 *
 * Ownership.  A plan is freed by nbds_probe_plan_free().  Failure.  NULL without memory.
 *
 * Example.
 *	plan = nbds_probe_plan_new(&facts);
 *	for (size_t i = 0; i < plan->runs.count; i++)
 *		carry_out(&plan->runs.at[i]);
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_PLAN_H
#define NBDSCOPE_ANALYZER_PROBE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/vector.h>

#define NBDS_PROBE_CONNECTIONS 8u /* at most */

/* What is known of an export before anything is written to it. */
struct nbds_probe_facts {
	uint64_t size;        /* bytes */
	uint32_t minimum;     /* block size that it asks for, bytes; 0: none */
	uint32_t maximum;     /* most bytes of payload; 0: not told */
	unsigned connections; /* that it takes at a time, 1 to NBDS_PROBE_CONNECTIONS */
	unsigned rounds;      /* of each history, 1 at least */
	bool multi_conn;      /* NBD_FLAG_CAN_MULTI_CONN */
	bool flush, fua, trim, zeroes, fast_zero, df, cache;
	bool status;   /* base:allocation was negotiated */
	bool restart;  /* there is a command that starts the server anew */
	uint64_t seed; /* of what is left to chance */
};

enum nbds_probe_op {
	NBDS_PROBE_OPEN,  /* connects, and enters the export */
	NBDS_PROBE_CLOSE, /* NBD_CMD_DISC, and the end */
	NBDS_PROBE_DROP,  /* the end without a word */
	NBDS_PROBE_READ,
	NBDS_PROBE_WRITE,
	NBDS_PROBE_ZEROES,
	NBDS_PROBE_TRIM,
	NBDS_PROBE_FLUSH,
	NBDS_PROBE_CACHE,
	NBDS_PROBE_STATUS,
	NBDS_PROBE_WAIT,    /* until all that was asked is answered */
	NBDS_PROBE_PAUSE,   /* `length` milliseconds */
	NBDS_PROBE_RESTART, /* the user's command; every connection is gone then */
};

enum {
	NBDS_PROBE_FUA = 1,
	NBDS_PROBE_NO_HOLE = 2,
	NBDS_PROBE_FAST_ZERO = 4,
	NBDS_PROBE_DF = 8,
	NBDS_PROBE_HALF = 16, /* WRITE: half of the payload is sent, and the rest later */
};

struct nbds_probe_step {
	uint8_t op;         /* enum nbds_probe_op */
	uint8_t connection; /* from 0 */
	uint16_t flags;     /* NBDS_PROBE_* */
	uint32_t length;    /* bytes, or milliseconds */
	uint64_t offset;
	uint64_t contents; /* WRITE: a number of its own, see nbds_probe_fill() */
};

enum nbds_probe_history_id {
#define HISTORY(id, name, promise, asks) id,
#include "histories.def"
#undef HISTORY
	NBDS_PROBE_HISTORIES
};

/* Whose promise a history is about. */
enum nbds_probe_promise {
	NBDS_PROBE_ONE,        /* what holds on one connection */
	NBDS_PROBE_SHARED,     /* what CAN_MULTI_CONN promises */
	NBDS_PROBE_UNPROMISED, /* nothing is promised: it is good to know */
	NBDS_PROBE_DURABLE,    /* what is stored outlives all connections */
};

struct nbds_probe_history {
	const char *name; /* "flush-elsewhere" */
	enum nbds_probe_promise promise;
	const char *asks; /* a sentence */
};
extern const struct nbds_probe_history nbds_probe_histories[NBDS_PROBE_HISTORIES];

struct nbds_probe_run {
	enum nbds_probe_history_id history;
	unsigned round;
	size_t first, count; /* steps */
};

struct nbds_probe_plan {
	struct nbds_budget budget;
	NBDS_VECTOR(nbds_probe_runs, struct nbds_probe_run) runs;
	NBDS_VECTOR(nbds_probe_steps, struct nbds_probe_step) steps;
	/* why a history is in no run; NULL: it is */
	const char *unasked[NBDS_PROBE_HISTORIES];
};

/* NULL without memory. The size is 1 byte at least. */
struct nbds_probe_plan *nbds_probe_plan_new(const struct nbds_probe_facts *facts);
void nbds_probe_plan_free(struct nbds_probe_plan *plan);

/* The bytes that the write with these contents has at `offset` of the export: they depend
 * on both, so that no two writes have eight bytes in common, nor two places of one. */
void nbds_probe_fill(uint64_t seed, uint64_t contents, uint64_t offset, uint8_t *bytes,
		     size_t length);

#endif
