/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/probe.h - drives a server on purpose, to see whether it keeps its word.
 *
 * Purpose.  Carries out the histories of plan.h on a server, by libnbd, and has what
 * passes audited by the engine that audits captures: no rights to capture are needed, and
 * what it says is proved in the same way.  Afterwards it says of each history what came of
 * it, by the findings in its frames.
 *
 *	plan ──► driver ── libnbd ── leg ──► server
 *	                              └─ tape ──► pipeline ──► findings ──► results
 *
 * It destroys what the export holds: the caller has asked for leave.
 *
 * Ownership.  A probe owns its connections, and the process that makes them (dialer.h).
 * What nbds_probe_told() returns is the probe's.  Failure.  NULL or false with one line
 * in `err`.  A server that hangs, goes away or talks nonsense is no failure of the probe: it
 * is told.  Threads: none; everything is on the caller's.
 *
 * Example.
 *	probe = nbds_probe_new(&config, err, sizeof(err));
 *	nbds_probe_callbacks(probe, &pipeline_config);
 *	pipeline = nbds_pipeline_open_packets(&pipeline_config, err, sizeof(err));
 *	confine();
 *	nbds_probe_run(probe, pipeline, NULL, err, sizeof(err));
 *	nbds_pipeline_finish(pipeline);
 *	report(nbds_probe_told(probe));
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_H
#define NBDSCOPE_ANALYZER_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../capture/pcapng.h"
#include "../pipeline/pipeline.h"
#include "../report/probed.h"

#define NBDS_PROBE_SECONDS          10u /* if not told otherwise */
#define NBDS_PROBE_MOST_CONNECTIONS 8u
#define NBDS_PROBE_MOST_ROUNDS      64u

struct nbds_probe;

struct nbds_probe_config {
	const char *uri;      /* stays the caller's */
	unsigned connections; /* at a time; 0: 4 */
	unsigned rounds;      /* of each history; 0: 4 */
	unsigned seconds;     /* after which nothing new is begun; 0: NBDS_PROBE_SECONDS */
	uint64_t seed;
	const char *restart; /* a command that ends the server and starts it anew; NULL: none */
};

/* Connects once, without a word, and looks for other clients: if there are, NULL. To be
 * called before the program is confined. */
struct nbds_probe *nbds_probe_new(const struct nbds_probe_config *config, char *err,
				  size_t errsize);
void nbds_probe_free(struct nbds_probe *p);

/* Listens to the engine's callbacks, before those that are there. */
void nbds_probe_callbacks(struct nbds_probe *p, struct nbds_pipeline_config *config);

/* What packets are saved with: pcapng, to an open file whose descriptor becomes the
 * writer's. NULL, with errno: it cannot be. */
struct nbds_pcapng_writer *nbds_probe_writer(int fd, const char *uri);

/* Runs it, to its end or until nbds_probe_stop(). `writer`: where the packets are saved, or
 * NULL; it stays the caller's. False: nothing was asked, for the reason in `err`. */
bool nbds_probe_run(struct nbds_probe *p, struct nbds_pipeline *pipeline,
		    struct nbds_pcapng_writer *writer, char *err, size_t errsize);
/* From a signal handler: ends it soon. */
void nbds_probe_stop(struct nbds_probe *p);
/* errno of why packets could not be saved; 0: they were. */
int nbds_probe_save_error(const struct nbds_probe *p);

/* Once the pipeline has finished. */
const struct nbds_probed *nbds_probe_told(struct nbds_probe *p);

#endif
