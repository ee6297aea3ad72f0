/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/worker.h - what the worker keeps; only worker.c looks inside.
 */
#ifndef NBDSCOPE_TUI_WORKER_H
#define NBDSCOPE_TUI_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "model.h"

struct counters {
	uint64_t replies, read, written;
};

struct track {
	struct nbds_connection *c;
	struct export_track *x;
	bool dirty, forget;
	struct counters before; /* at the last second */
	struct connection_row row;
};

struct export_track {
	const struct nbds_export *e; /* NULL: all its connections are forgotten */
	char *name;
	size_t name_len;
	unsigned tracks; /* that point here */
	struct order *order;
	struct {
		unsigned connections;
		uint64_t requests, errors, read, written;
		uint64_t writes, flushes, fua; /* before the engine began to count anew */
	} past;                                /* of connections that are forgotten */
	struct export_row row;
};

/* What the screen has ordered; under the lock. */
struct orders {
	struct wanted want;
	bool cancel, hold;
	double speed;
	unsigned clear;
	char save[4096];
};

struct worker {
	struct worker_config config;
	pthread_t thread;
	int fd;
	atomic_bool quit, poked;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct orders orders;
	struct snapshot *ready; /* exchanged */
	bool fresh;             /* not taken yet */
	struct snapshot *taken; /* the screen's */

	/* The rest is the worker's own. */
	struct snapshot snapshots[3], *back;
	struct nbds_pipeline *pipeline;
	struct log *log;
	enum worker_state state;
	char error[512], notice[256];
	uint64_t notices, changes, serials, published_sum;
	bool cancelled, saving, save_failed, settled, hold;
	struct wanted want;

	struct track **tracks; /* by id */
	size_t track_count, track_room;
	struct export_track **exports;
	size_t export_count, export_room, exports_gone;
	uint32_t export_ids;
	uint64_t connections_forgotten;
	struct found **findings;
	size_t finding_count, finding_max, finished_max;
	size_t finished; /* connections among the tracks */
	uint64_t finding_numbers, findings_forgotten;
	struct nbds_latency past[NBDS_COMMAND_KINDS], merged;
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
