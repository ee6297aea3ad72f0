/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * progress.h - what nbdaudit shows of its way on a terminal.
 *
 * Purpose.  A line about a file that is drawn again and again, or a line now and then about
 * an interface; nothing where standard error is no terminal.
 *
 * Ownership.  `file` stays the caller's.
 */
#ifndef NBDSCOPE_ANALYZER_PROGRESS_H
#define NBDSCOPE_ANALYZER_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "pipeline/pipeline.h"
#include "report/report.h"

struct progress {
	bool on, shown;
	bool lines; /* one line after the other, as the report is on the same terminal */
	bool live;
	struct timespec last;
	const char *file;
};

/* `out`: where the report goes, which may be the same terminal. */
void progress_begin(struct progress *p, const char *file, const struct nbds_report_options *report,
		    FILE *out);
/* At most five times a second, and not in the first moment. */
void progress_show(struct progress *p, struct nbds_pipeline *pipeline,
		   const struct nbds_report *report);
void progress_erase(struct progress *p);

#endif
