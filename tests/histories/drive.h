/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/histories/drive.h - a history, event by event, into the engine.
 *
 * Purpose.  Tells the engine what a capture of the history would, in the order
 * of capture, and collects what it finds, by command.
 *
 * Ownership.  drive_free() frees the findings.
 */
#ifndef NBDSCOPE_TESTS_DRIVE_H
#define NBDSCOPE_TESTS_DRIVE_H

#include <analyzer/consistency/consistency.h>

#include "history.h"
#include "reference.h"

struct drive_options {
	unsigned chop;   /* 0: payload in one span; else the seed of random cuts */
	bool ticking;    /* verdicts are passed as time goes by, not all at the end */
	uint64_t memory; /* 0: as much as it likes */
	/* The margin of order is told only before this share of the events, in 1/1000; 0: from
	 * the beginning. (What is judged before does not know of it: not for ticking.) */
	unsigned doubt;
};

struct drive_finding {
	bool found;
	enum nbds_severity severity;
	bool *sectors; /* of the command's: the first and the last at fault, and between */
	int write, stale, flush; /* commands that it names, or -1 */
};

struct drive_verdict {
	struct drive_finding findings[REF_RULES];
};

struct driven {
	struct drive_verdict *verdicts; /* one for each command */
	int count;
	struct nbds_world_stats stats;
	char trouble[256];  /* findings that make no sense; empty: none */
	char message[1024]; /* of the worst finding */
	int message_severity;
};

void drive(struct driven *d, const struct history *h, const struct drive_options *options);
void drive_free(struct driven *d);

#endif
