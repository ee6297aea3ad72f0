/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * extraction.h - nbdaudit's option --extract: the frames that prove a finding.
 *
 * Purpose.  What it needs is opened before the program is confined; it is used once the
 * capture is over.
 *
 * Ownership.  Descriptors are closed by extraction_close().  Failure.  False, after a
 * complaint.
 */
#ifndef NBDSCOPE_ANALYZER_EXTRACTION_H
#define NBDSCOPE_ANALYZER_EXTRACTION_H

#include "audit_options.h"
#include "report/report.h"

/* What has to be open before the program is confined. */
struct extraction {
	int in, scratch, out; /* -1: none */
};

/* Nothing is opened if nobody asked for evidence, or if `file` cannot be read, which the audit
 * says. */
bool extraction_open(struct extraction *x, const char *file, const struct audit_options *o);
void extraction_close(struct extraction *x);
/* Cuts out what proves the finding, and says what that is. */
bool extraction_cut(const struct extraction *x, struct nbds_pipeline *p, struct nbds_report *report,
		    const char *name, const struct audit_options *o);

#endif
