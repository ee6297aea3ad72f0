/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/metrics/metrics.h - what a program offers to Prometheus, over HTTP and in a file.
 *
 * Purpose.  The front's one way to both: it says when something may be opened, which
 * pipeline is counted, and, between two steps, that time has passed.
 *
 *	engine ─► counts ──(0.2 s)─► snapshot ─┬─► HTTP thread ─► text
 *	          running totals               └─► process that writes the file (file.h)
 *
 * Ownership.  The metrics outlive the pipelines that are counted.  Failure.  NULL or
 * false, and one line in `err`.  Threads.  All functions are the engine's thread's, which
 * is the caller's until it starts one.
 *
 * Example.
 *	m = nbds_metrics_new(&config, err, sizeof(err));       before any thread
 *	p = nbds_pipeline_open_live(...);
 *	nbds_metrics_attach(m, p);
 *	nbds_privileges_drop(...);
 *	nbds_metrics_begin(m, err, sizeof(err));               then the sandbox
 *	while (nbds_pipeline_step(p, 512) <= NBDS_STEP_IDLE)
 *		nbds_metrics_update(m);
 *	nbds_metrics_detach(m);
 *	nbds_pipeline_close(p);
 *	nbds_metrics_close(m, err, sizeof(err));
 */
#ifndef NBDSCOPE_METRICS_H
#define NBDSCOPE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../pipeline/pipeline.h"

struct nbds_metrics;

struct nbds_metrics_config {
	const char *program; /* "nbdaudit" */
	const char *address; /* see nbds_metrics_listen(); NULL: no HTTP */
	const char *file;    /* NULL: none */
	unsigned interval;   /* seconds between two texts of the file; 0: 15 */
	bool overwrite;      /* the file, whatever it is */
	uint64_t memory;     /* the most for contents and state, bytes */
};

#define NBDS_METRICS_INTERVAL     15u
#define NBDS_METRICS_INTERVAL_MAX 86400u

/* Opens the socket, and starts what writes the file. */
struct nbds_metrics *nbds_metrics_new(const struct nbds_metrics_config *config, char *err,
				      size_t errsize);
/* The listening socket, for nbds_sandbox_enter_serving(); -1: there is none. */
int nbds_metrics_socket(const struct nbds_metrics *m);
/* Where it is served, "127.0.0.1:9810"; "": nowhere. */
const char *nbds_metrics_where(const struct nbds_metrics *m);
/* Starts to serve. `m` NULL: nothing happens, as with all that follow. */
bool nbds_metrics_begin(struct nbds_metrics *m, char *err, size_t errsize);
/* What this pipeline does is counted; nothing of it was read yet. */
void nbds_metrics_attach(struct nbds_metrics *m, struct nbds_pipeline *p);
/* To be called between steps, as often as you like. */
void nbds_metrics_update(struct nbds_metrics *m);
/* Why the file could not be written, once for each reason; NULL: nothing is new. */
const char *nbds_metrics_trouble(struct nbds_metrics *m);
/* Nothing more comes of the pipeline, which may be freed after this. */
void nbds_metrics_detach(struct nbds_metrics *m);
/* Writes the file for the last time, and ends all. False: it could not be written, as is said
 * in `err`, unless nbds_metrics_trouble() had said it. */
bool nbds_metrics_close(struct nbds_metrics *m, char *err, size_t errsize);

#endif
