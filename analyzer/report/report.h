/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/report.h - what the engine found, for people and programs.
 *
 * Purpose.  Writes the report of one capture after the other to a stream: as
 * text, as JSON Lines (docs/json.md), or for systems that run tests, as JUnit or
 * SARIF.  A report subscribes to an engine's callbacks.  On a file everything
 * but the text form's messages is written when the capture is over, since the
 * report begins with its sum; on an interface messages and findings are written
 * as they happen.
 *
 * Ownership.  The stream belongs to the caller.  Failure.  nbds_report_new()
 * returns NULL without memory.  Errors in writing stay in the stream (ferror);
 * findings that could not be kept for want of memory are counted and told.
 *
 * Example.
 *	r = nbds_report_new(stdout, &options);
 *	nbds_report_callbacks(r, &config.ops);
 *	config.ctx = r;
 *	p = nbds_pipeline_open(file, &config, err, sizeof(err));
 *	nbds_report_begin(r, file, p);
 *	while (nbds_pipeline_step(p, 512) <= NBDS_STEP_IDLE)
 *		;
 *	nbds_report_end(r, nbds_pipeline_error(p));
 *	nbds_report_finish(r);
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_H
#define NBDSCOPE_ANALYZER_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <nbdscope/engine.h>

#include "../pipeline/pipeline.h"
#include "options.h"
#include "probed.h"

struct nbds_report;

struct nbds_report *nbds_report_new(FILE *out, const struct nbds_report_options *options);
void nbds_report_free(struct nbds_report *r);

/* Sets the callbacks that the report needs; their context is the report. */
void nbds_report_callbacks(const struct nbds_report *r, struct nbds_engine_ops *ops);

/* The finding of this number, once the pipeline has finished and before nbds_report_end();
 * NULL: there is none. It is the report's until then. */
const struct nbds_finding *nbds_report_finding(struct nbds_report *r, uint64_t number);
/* How many there are. */
uint64_t nbds_report_numbered(const struct nbds_report *r);

/* A capture begins: `name` is that of its file or interface. Both stay the
 * caller's, and readable until nbds_report_end(). */
void nbds_report_begin(struct nbds_report *r, const char *name, struct nbds_pipeline *p);

/* It was a probe: what came of it, before nbds_report_end() and readable until that. */
void nbds_report_probed(struct nbds_report *r, const struct nbds_probed *probed);

/* It is over: the rest of its report is written. `error` is why it could not be
 * read to its end, or "". */
void nbds_report_end(struct nbds_report *r, const char *error);

/* The report of a capture that could not be opened at all. */
void nbds_report_unreadable(struct nbds_report *r, const char *name, const char *error);

/* What others said of a capture, in the terms of an audit: see merge/merge.h. */
struct nbds_told {
	const char *error; /* why it is not all that there was, or could not be read; "": it is */
	const char *why;   /* why nothing was audited; NULL: that is to be found out */
	bool opened;       /* it was read at all */
	bool live;         /* on an interface */
	bool unaudited;    /* nothing could be looked into */
	bool shards_wrong; /* some are missing, or there twice, as `error` says */
	unsigned shard, shards;
	struct nbds_pipeline_info info;
	struct nbds_engine_totals totals;
	const struct nbds_connection *const *connections; /* in the order of their ids */
	size_t connection_count;
	struct nbds_export *exports;
	const struct nbds_finding *const *findings; /* in the order in which they are told */
	size_t finding_count;
	/* findings that are counted, and not there: below --severity, and for want of room */
	uint64_t left_out, no_room;
	/* and how often each rule was broken, by its place in nbds_rules; NULL: never */
	const uint64_t *rules;
};

/* The report of a capture that was audited elsewhere; `name` and `told` stay the caller's. */
void nbds_report_told(struct nbds_report *r, const char *name, const struct nbds_told *told);

/* After the last capture: what the form ends with. */
void nbds_report_finish(struct nbds_report *r);

/* Findings of the capture so far, of all levels. */
uint64_t nbds_report_findings(const struct nbds_report *r);
/* One of any capture so far was at `severity` or above. */
bool nbds_report_reached(const struct nbds_report *r, enum nbds_severity severity);
/* Findings of any capture so far that were lost for want of memory. */
uint64_t nbds_report_lost(const struct nbds_report *r);
/* errno of why messages are missing that were to wait in a temporary file ($TMPDIR,
 * or /tmp); 0: none are. */
int nbds_report_error(const struct nbds_report *r);
/* Of the last capture that ended: "clean", "hazards", "suspect", "violations" or
 * "unaudited"; "" before. */
const char *nbds_report_verdict(const struct nbds_report *r);
/* One of the captures so far had nothing that could be audited. */
bool nbds_report_unaudited(const struct nbds_report *r);
/* Of what clients read, the least share of any capture so far that was judged, in
 * percent; 100 where nothing was read. */
double nbds_report_least_judged(const struct nbds_report *r);

#endif
