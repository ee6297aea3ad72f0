/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/counts.h - running totals of all that an engine sees.
 *
 * Purpose.  What a connection did can be forgotten when it has ended, and to add up
 * all connections takes the longer the more there are.  These numbers only grow (but
 * for those that say "now"), whatever is forgotten, and are ready at any time: the
 * engine adds to them where it counts for the connection.  They cost nothing where
 * nobody asks for them.
 *
 * Ownership.  The counts are the caller's, and hold no pointers: they can be copied.
 * They outlive the engine, and several engines, one after the other, may add to the
 * same ones.  Failure.  None; without memory a time may be missing in a histogram, as
 * it is in that of the connection.  Threads.  They belong to the engine's.
 *
 * Example.
 *	static struct nbds_counts counts;
 *	e = nbds_engine_new(&config, &ops, ctx);
 *	nbds_engine_count(e, &counts);
 *	... feed ...
 *	nbds_engine_count_now(e);
 *	printf("%" PRIu64 " requests\n", counts.commands[NBD_CMD_READ].requests);
 */
#ifndef NBDSCOPE_COUNTS_H
#define NBDSCOPE_COUNTS_H

#include <nbdscope/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Upper ends of the buckets of latencies, in ns; a last one takes what is above. */
#define NBDS_COUNTS_BOUNDS 20
extern const uint64_t nbds_counts_bounds[NBDS_COUNTS_BOUNDS];

/* Errors that have names (the entries of nbds_errors, in their order), and all others. */
#define NBDS_COUNTS_ERRORS 12
/* Rules, in the order of nbds_rules. */
#define NBDS_COUNTS_RULES 320
/* Reasons why bytes that were read are not judged, in the order of nbds_unchecked_name(). */
#define NBDS_COUNTS_UNCHECKED 16

struct nbds_command_counts {
	uint64_t requests, replies; /* sent; and finally answered */
	uint64_t fua;               /* of the requests, with NBD_CMD_FLAG_FUA */
	uint64_t bytes;             /* requested (effect) bytes */
	uint64_t data_bytes;        /* payload read or written with success */
	uint64_t errors[NBDS_COUNTS_ERRORS];
	/* from the first byte of the request to the last of the final reply */
	uint64_t timed, time;                     /* how many, and the sum in ns */
	uint64_t buckets[NBDS_COUNTS_BOUNDS + 1]; /* each for itself */
};

struct nbds_counts {
	uint64_t connections, ended[NBDS_END_RST + 1]; /* by enum nbds_connection_end */
	uint64_t given_up;                             /* of those that ended: for want of memory */
	uint64_t encrypted;                            /* connections that went over to TLS */
	uint64_t encrypted_bytes;                      /* that were not looked into */
	struct nbds_command_counts commands[NBDS_COMMAND_KINDS];
	uint64_t unanswered, unsolicited, malformed; /* requests, replies, messages */
	uint64_t gaps, gap_bytes;                    /* holes in NBD connections */
	uint64_t findings[NBDS_COUNTS_RULES][4];     /* by enum nbds_severity */
	uint64_t in_flight;                          /* requests, now */

	/* By nbds_engine_count_now(): completed and not flushed, now; of all connections,
	 * also those that ended while a flush of others may cover it yet. */
	uint64_t unflushed_writes, unflushed_bytes;
	int64_t unflushed_since; /* ns; when the oldest of them was answered */
	/* And: */
	uint64_t read_bytes;                       /* that clients read */
	uint64_t checked_reads, checked_bytes;     /* judged */
	uint64_t unchecked[NBDS_COUNTS_UNCHECKED]; /* and bytes that are not, by reason */
	uint64_t memory;                           /* bytes that the engine takes, now */
	/* of the engines before this one */
	struct {
		uint64_t read_bytes, checked_reads, checked_bytes;
		uint64_t unchecked[NBDS_COUNTS_UNCHECKED];
	} before;
};

/* From now on it adds to *counts. To be called before the first stream is opened. */
void nbds_engine_count(struct nbds_engine *e, struct nbds_counts *counts);
/* Brings the members up to date that say so. Its cost does not grow with connections or
 * servers. */
void nbds_engine_count_now(struct nbds_engine *e);
/* Why bytes are not judged ("unknown-contents"); NULL: there is no such number. */
const char *nbds_unchecked_name(unsigned number);

#ifdef __cplusplus
}
#endif
#endif
