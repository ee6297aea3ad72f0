/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/leg.h - what stands between libnbd and the server, and sees all.
 *
 * Purpose.  A leg hands the bytes of one connection on, both ways, and tells the tape of
 * each before the other side can have it (client's bytes) or after it had sent it
 * (server's).  All legs write to one tape, on one thread: the order on it is proof.
 *
 *	libnbd ── pair ──► leg ── tells the tape, then writes ──► server
 *	       ◄── writes, then ──────────────── tells the tape ──┘
 *
 * The tape makes packets of it (relay/synthetic.h), for the audit and for -w.
 *
 * Ownership.  A leg owns its two descriptors.  The tape borrows pipeline and writer.
 * Failure.  A leg whose server has broken it off, or has gone, is `over`.
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_LEG_H
#define NBDSCOPE_ANALYZER_PROBE_LEG_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "../capture/pcapng.h"
#include "../pipeline/pipeline.h"
#include "../relay/synthetic.h"
#include "dialer.h"

struct nbds_tape {
	struct nbds_pipeline *pipeline;
	struct nbds_pcapng_writer *writer; /* NULL: nothing is saved */
	int save_error;                    /* errno; 0: all was saved */
	uint64_t frames;                   /* so far */
	int64_t time;                      /* of the last event */
	uint32_t flows;
};

struct nbds_leg {
	struct nbds_tape *tape;
	int fd[2]; /* the client's, the server's; -1: closed */
	struct nbds_synthetic_flow flow;
	uint64_t told[2];   /* bytes of each side that are on the tape */
	uint64_t delivered; /* of the server's, to libnbd, when it last ran */
	bool ended[2];      /* no more will come from it */
	bool over;          /* nor go to it */
	uint64_t pass;      /* bytes of the client that may pass, */
	int64_t until;      /* before this time; 0: all may */
	struct {
		uint8_t bytes[NBDS_SYNTHETIC_HEAD + NBDS_SYNTHETIC_BYTES];
		uint32_t from, len; /* what waits to be written to the other side */
	} * way;                    /* [2], by who sent it */
};

/* The time of a clock that goes on whatever else, ns. */
int64_t nbds_leg_clock(void);

/* Takes over `dialed->server` and `dialed->pair[1]`. False without memory: both are closed. */
bool nbds_leg_open(struct nbds_leg *leg, struct nbds_tape *tape,
		   const struct nbds_probe_dialed *dialed);
/* Breaks it off, if it is not over. */
void nbds_leg_close(struct nbds_leg *leg);

/* Holds back what comes of the client beyond `bytes`, until the server sends something, or
 * for `milliseconds`. */
void nbds_leg_hold(struct nbds_leg *leg, uint64_t bytes, int milliseconds);
/* What to wait for; and the ms until something is to be done anyway, or -1. */
int nbds_leg_wants(const struct nbds_leg *leg, struct pollfd fds[2]);
/* Hands on what can be. */
void nbds_leg_move(struct nbds_leg *leg);
/* libnbd has run: what was delivered before may be known to it. */
void nbds_leg_seen(struct nbds_leg *leg);

#endif
