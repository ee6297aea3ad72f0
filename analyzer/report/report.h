/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/report.h - what the engine found, for people and programs.
 *
 * Purpose.  Writes the report of one capture after the other to a stream, as
 * text or as JSON Lines (docs/json.md).  A report subscribes to an engine's
 * callbacks: messages, and in live mode findings, are written as they happen;
 * everything else when the capture is over.
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
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_H
#define NBDSCOPE_ANALYZER_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <nbdscope/engine.h>

#include "../pipeline/pipeline.h"

enum nbds_report_format { NBDS_REPORT_TEXT, NBDS_REPORT_JSON };

struct nbds_report_options {
	enum nbds_report_format format;
	enum nbds_severity severity; /* findings below it are left out */
	bool messages;               /* also every message */
	bool live;                   /* findings are written as they happen */
	bool colour;                 /* text: with ANSI colours */
	bool ascii;                  /* text: no line drawing characters */
	unsigned width;              /* text: columns; 0: 100 */
};

struct nbds_report;

struct nbds_report *nbds_report_new(FILE *out, const struct nbds_report_options *options);
void nbds_report_free(struct nbds_report *r);

/* Sets the callbacks that the report needs; their context is the report. */
void nbds_report_callbacks(const struct nbds_report *r, struct nbds_engine_ops *ops);

/* A capture begins: `name` is that of its file or interface. Both stay the
 * caller's, and readable until nbds_report_end(). */
void nbds_report_begin(struct nbds_report *r, const char *name, struct nbds_pipeline *p);

/* It is over: the rest of its report is written. `error` is why it could not be
 * read to its end, or "". */
void nbds_report_end(struct nbds_report *r, const char *error);

/* The report of a capture that could not be opened at all. */
void nbds_report_unreadable(struct nbds_report *r, const char *name, const char *error);

/* Findings of the capture so far, of all levels. */
uint64_t nbds_report_findings(const struct nbds_report *r);
/* One of any capture so far was at `severity` or above. */
bool nbds_report_reached(const struct nbds_report *r, enum nbds_severity severity);
/* Findings of any capture so far that were lost for want of memory. */
uint64_t nbds_report_lost(const struct nbds_report *r);

#endif
