/* SPDX-License-Identifier: GPL-2.0-or-later */
/* analyzer/latency/latency.h - counting latencies (see nbdscope/engine.h). */
#ifndef NBDSCOPE_ANALYZER_LATENCY_H
#define NBDSCOPE_ANALYZER_LATENCY_H

#include <base/budget.h>
#include <nbdscope/engine.h>

/* Counts one in *l, which is made with the first. Without memory it is not counted. */
void latency_add(struct nbds_budget *budget, struct nbds_latency **l, uint64_t ns);
void latency_free(struct nbds_budget *budget, struct nbds_latency *l);
/* Makes *l one whose percentiles and maximum are these, ns, as a report has them.  Without
 * memory there is none. */
void latency_told(struct nbds_budget *budget, struct nbds_latency **l, uint64_t p50, uint64_t p99,
		  uint64_t max);
/* So that there are buckets `from` to `to` - 1, and maybe more. False without memory. */
bool latency_span(struct nbds_budget *budget, struct nbds_latency *l, unsigned from, unsigned to);

#endif
