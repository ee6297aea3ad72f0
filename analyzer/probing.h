/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * probing.h - nbdaudit's option --probe, and what goes with it.
 *
 * Ownership.  Strings are the command line's.  Failure.  False, or an exit status, after a
 * complaint.
 */
#ifndef NBDSCOPE_ANALYZER_PROBING_H
#define NBDSCOPE_ANALYZER_PROBING_H

#include <signal.h>
#include <stdbool.h>

#include "probe/probe.h"
#include "report/report.h"

struct probing {
	struct nbds_probe_config config; /* .uri NULL: there is no probe */
	bool scratch;                    /* what the export holds may be destroyed */
	bool seeded;
	/* for the run */
	const char *save; /* NULL: nothing is saved */
	bool allow_unknown;
};

/* Numbers of the long options. */
enum probing_option {
	OPT_PROBE = 512,
	OPT_SCRATCH,
	OPT_PROBE_CONNECTIONS,
	OPT_PROBE_ROUNDS,
	OPT_PROBE_SECONDS,
	OPT_PROBE_SEED,
	OPT_PROBE_KILL,
};

/* One of them. False: it is none, or its value is wrong. */
bool probing_option(struct probing *p, int option, const char *value);
/* Of all options together. `others`: files or an interface are named; `reports_here`: the
 * report goes to standard output. */
bool probing_check(const struct probing *p, bool others, bool reports_here);

/* Probes, and reports: NBDS_STATUS_TROUBLE, `unknown` or 0; findings apart. `stopped`: a
 * signal came. */
int probing_run(const struct probing *p, struct nbds_pipeline_config *config,
		struct nbds_report *report, const volatile sig_atomic_t *stopped, int unknown);
/* In a signal handler. */
void probing_stop(void);

#endif
