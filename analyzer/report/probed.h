/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/probed.h - what a report says of a server that was probed.
 *
 * Plain values: what is asked, and what came of it. Strings stay the caller's.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_PROBED_H
#define NBDSCOPE_ANALYZER_REPORT_PROBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/finding.h>

enum nbds_probed_outcome {
	NBDS_PROBED_KEPT,     /* nothing wrong was seen */
	NBDS_PROBED_STALE,    /* old data, and nothing was promised */
	NBDS_PROBED_SUSPECT,  /* wrong, unless something outside explains it */
	NBDS_PROBED_BROKEN,   /* a promise was broken, proved */
	NBDS_PROBED_FAILED,   /* it could not be carried out: errors, silence, an end */
	NBDS_PROBED_UNJUDGED, /* it was, and nothing of it could be judged */
	NBDS_PROBED_UNASKED,  /* it was not begun */
};
/* "kept", "stale", ... */
extern const char *const nbds_probed_outcomes[];

struct nbds_probed_row {
	const char *name;    /* "flush-elsewhere" */
	const char *asks;    /* a sentence */
	const char *promise; /* "connection", "multi-conn", "none" or "durable" */
	bool promised;       /* by this server */
	enum nbds_probed_outcome outcome;
	const char *reason;           /* why it was not asked, carried out or judged; NULL: none */
	const struct nbds_rule *rule; /* that was broken most; NULL: none */
	uint64_t findings[4];         /* by enum nbds_severity */
	unsigned rounds, planned;
	uint64_t reads;                   /* judged */
	uint64_t first_frame, last_frame; /* 0: none */
};

struct nbds_probed {
	const struct nbds_probed_row *rows;
	size_t count;
	const char *uri;
	unsigned connections;
	bool multi_conn;        /* advertised, on all connections */
	const char *limit;      /* why there were no more connections; NULL: none were wanted */
	const char *others;     /* what is known of other clients */
	const char *stopped;    /* why it ended before its time; NULL: it did not */
	const char *conclusion; /* of CAN_MULTI_CONN, a sentence or two */
	bool untrue;            /* the conclusion is that it is advertised, and is not true; */
	bool unknown;           /* or advertised, and that nothing is known of it */
	unsigned failed;        /* histories that could not be carried out */
	uint64_t seed;
	double seconds;
};

#endif
