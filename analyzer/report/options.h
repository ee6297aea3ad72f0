/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/options.h - what a report is wanted to be.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_OPTIONS_H
#define NBDSCOPE_ANALYZER_REPORT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <nbdscope/finding.h>

#include "../compare/compare.h"

enum nbds_report_format {
	NBDS_REPORT_TEXT,
	NBDS_REPORT_JSON,
	NBDS_REPORT_HTML,
	NBDS_REPORT_JUNIT,
	NBDS_REPORT_SARIF,
};

/* What else wants to know what a report tells, in whatever form; see log/log.h. */
struct nbds_report_hooks {
	/* A finding, as it is told: of the capture called `name`, and shown most directly by
	 * `frame` (0: by none).  `json` is its object of docs/json.md; both only for the call. */
	void (*finding)(void *ctx, const char *name, const struct nbds_finding *f, uint64_t frame,
			const char *json);
	/* A capture is over; `findings` are counted by level. `error`: why it is not all of it,
	 * or "". */
	void (*capture)(void *ctx, const char *name, const char *verdict, const uint64_t *findings,
			const char *error);
};

struct nbds_report_options {
	enum nbds_report_format format;
	enum nbds_severity severity; /* findings below it are left out */
	bool messages;               /* text, JSON: also every message */
	bool summary;                /* text, JSON: only the verdict and the counts */
	bool quiet;                  /* write nothing, only judge */
	bool keep;                   /* findings are asked for: nbds_report_finding() */
	bool live;                   /* text, JSON: findings are written as they happen */
	uint64_t why;                /* text, JSON: also why the reads that end in this frame
	                              * were judged as they were, or not; 0: no */
	bool several;                /* of several captures: JSON says with each object which */
	bool colour;                 /* text: with ANSI colours */
	bool ascii;                  /* text: no line drawing characters */
	unsigned width;              /* text: columns; 0: 100 */
	bool never_fail;             /* JUnit: no finding is a failure, */
	enum nbds_severity fail_on;  /* or those at or above this level are */
	bool allow_unaudited;        /* JUnit: nothing to audit is no error */
	unsigned shard, shards;      /* of the servers only these were judged; `shards` 0: all */
	uint64_t memory;             /* bytes for findings that wait for the end; 0: 128 MiB */
	const char *version;         /* of the program; NULL: "" */
	const struct nbds_report_hooks *hooks; /* NULL: none */
	void *hooks_ctx;
	struct nbds_compare *compare; /* an earlier report: only what it does not have counts for
	                              * fail_on; NULL: none */
};

#endif
