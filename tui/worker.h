/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/worker.h - what the worker keeps; only worker.c looks inside.
 */
#ifndef NBDSCOPE_TUI_WORKER_H
#define NBDSCOPE_TUI_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "../analyzer/capture/opener.h"
#include "../analyzer/relay/relay.h"
#include "ring.h"
#include "snapshot.h"
#include "told.h"

/* What the screen has ordered; under the lock. */
struct orders {
	struct wanted want;
	bool cancel, hold;
	double speed;
	bool clear_order;
	int save; /* a descriptor, or -1 */
	bool save_end;
	struct pick *pick; /* or NULL */
	char save_name[200];
};

struct worker {
	struct worker_config config;
	pthread_t thread;
	int fd;
	int session; /* see nbds_live_hurry_session() */
	atomic_bool quit, poked, go;
	struct nbds_opener *opener; /* the screen's thread asks it */

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct orders orders;
	struct snapshot *ready; /* exchanged */
	bool fresh;             /* not taken yet */
	struct snapshot *taken; /* the screen's */

	/* The rest is the worker's own. */
	struct snapshot snapshots[3], *back;
	struct nbds_pipeline *pipeline;
	struct nbds_relay *relay; /* or NULL */
	uint64_t refused;         /* clients of it, as was said */
	bool crowded, behind;
	struct nbds_tls_reader *keys;
	struct told told;
	struct packet_ring ring; /* of packets that cannot be read again */
	int again;               /* the file, to be read again; -1: there is none */
	enum worker_state state;
	char error[512], notice[256];
	uint64_t notices, serials, published_sum;
	bool cancelled, saving, save_failed, settled, hold;
	struct wanted want;

	struct latency_sum merged; /* for its memory */
	struct histogram histograms[NBDS_COMMAND_KINDS];
	bool latency_stale;

	int64_t published;                /* clock */
	int64_t second_clock, second_now; /* the last second's clock and capture time */
	uint64_t second_frames, second_bytes;
	double packet_rate, byte_rate;

	/* replay */
	struct nbds_capture *capture;
	struct nbds_packet next;
	bool have_next, replay_begun;
	int64_t played, replay_clock;
	double speed;
};

#endif
