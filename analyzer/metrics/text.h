/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/metrics/text.h - a snapshot as text.
 *
 * Purpose.  Writes OpenMetrics 1.0, or Prometheus' older text format 0.0.4: the same
 * names, labels and values, with the differences that each wants.  docs/metrics.md has
 * a line about each metric.  No label's value comes from the wire: they are names of the
 * specification, of rules, or words of this program, so that their number is bounded
 * whatever strangers send.
 *
 * Ownership.  The text is added to the caller's buffer.  Failure.  Without memory the
 * buffer says that it failed, and the text is cut: do not send it.
 */
#ifndef NBDSCOPE_METRICS_TEXT_H
#define NBDSCOPE_METRICS_TEXT_H

#include "../report/buf.h"
#include "snapshot.h"

enum nbds_metrics_form { NBDS_METRICS_OPENMETRICS, NBDS_METRICS_PROMETHEUS };
#define NBDS_METRICS_FORMS 2

/* "application/openmetrics-text; version=1.0.0; charset=utf-8" */
const char *nbds_metrics_type(enum nbds_metrics_form form);
void nbds_metrics_text(struct nbds_buf *b, const struct nbds_metrics_snapshot *s,
		       enum nbds_metrics_form form);
/* What an Accept header (NULL: there is none) asks for: OpenMetrics, unless plain text or
 * a page is preferred. */
enum nbds_metrics_form nbds_metrics_accepted(const char *accept);

#endif
