/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/metrics/snapshot.h - the numbers of a moment, which become metrics.
 *
 * Purpose.  The engine's thread takes one several times a second; it holds no pointers,
 * so that it can be handed to another thread, and through memory that is shared to
 * another process.  Taking one copies some kilobytes, however much is followed: all
 * numbers are running totals (nbdscope/counts.h).
 *
 * Ownership.  Plain values.  No failure.
 */
#ifndef NBDSCOPE_METRICS_SNAPSHOT_H
#define NBDSCOPE_METRICS_SNAPSHOT_H

#include <nbdscope/counts.h>

#include "../pipeline/pipeline.h"

/* Why packets, or parts of them, never reached the decoder. */
enum nbds_unfollowed {
	NBDS_UNFOLLOWED_NOT_TCP,
	NBDS_UNFOLLOWED_MALFORMED,    /* IP or TCP headers that are nonsense */
	NBDS_UNFOLLOWED_UNKNOWN_LINK, /* a link layer that is not known */
	NBDS_UNFOLLOWED_HEADERS,      /* cut off in their headers by the snapshot length */
	NBDS_UNFOLLOWED_FRAGMENTS,    /* of datagrams that never became whole */
	NBDS_UNFOLLOWED_CHECKSUM,     /* that their receiver discards */
	NBDS_UNFOLLOWED_MAX
};

/* What a capture counts, apart from the engine. */
struct nbds_metrics_packets {
	uint64_t frames, bytes, truncated;
	uint64_t lost_kernel, lost_interface; /* as far as the capture says */
	uint64_t unfollowed[NBDS_UNFOLLOWED_MAX];
};

struct nbds_metrics_snapshot {
	int64_t taken;   /* ns since 1970 */
	int64_t started; /* when the program was */
	int64_t now;     /* capture time, ns: ages are until then */
	bool running;    /* false: the last one, nothing more will come */
	struct nbds_counts counts;
	struct nbds_metrics_packets packets;
	uint64_t memory_limit; /* bytes; of counts.memory */
	uint64_t resident;     /* bytes; 0: the system does not say */
	uint64_t processor;    /* ns that the program has computed */
	char program[16];
};

/* Adds up what the captures before this one counted, and this one. */
void nbds_metrics_packets_add(struct nbds_metrics_packets *sum, struct nbds_pipeline *p);

#endif
