/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * audit_options.h - the command line of nbdaudit.
 *
 * Purpose.  What its options say, each and together; the help; and what is only told: the
 * rules, the interfaces.
 *
 * Ownership.  Strings are the command line's.  Failure.  An exit status, after a complaint.
 */
#ifndef NBDSCOPE_ANALYZER_AUDIT_OPTIONS_H
#define NBDSCOPE_ANALYZER_AUDIT_OPTIONS_H

#include "log/log.h"
#include "options/options.h"
#include "options/shared.h"
#include "pipeline/pipeline.h"
#include "probing.h"
#include "report/options.h"

enum {
	STATUS_OK = 0,
	STATUS_FOUND = 1,
	STATUS_TROUBLE = NBDS_STATUS_TROUBLE,
	STATUS_UNAUDITED = 3,
};

struct audit_options {
	struct nbds_shared_options shared;
	struct nbds_report_options report;
	const char *output;   /* NULL: standard output */
	double min_judged;    /* percent */
	bool list_rules;      /* only that */
	const char *explain;  /* only this rule; NULL: none */
	const char *baseline; /* an earlier report; NULL: none */
	enum nbds_threads threads;
	uint64_t extract;        /* the number of a finding; 0: none */
	bool merge;              /* the files are reports */
	enum nbds_log_where log; /* where findings go besides */
	bool anonymize;
	struct nbds_metrics *running_metrics; /* NULL: none */
	struct probing probing;
};

/* Not of files. */
bool audit_is_live(const struct audit_options *o);

/* -1: go on, with files or a filter from optind on; else the exit status. */
int audit_options_parse(int argc, char **argv, struct audit_options *o);

#endif
