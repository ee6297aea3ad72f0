/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/histogram.h - how long commands took, as bars.
 */
#ifndef NBDSCOPE_TUI_HISTOGRAM_H
#define NBDSCOPE_TUI_HISTOGRAM_H

#include <stdint.h>

#include <nbdscope/engine.h>

/* Counts by time taken; two bins to each doubling of nanoseconds. */
#define HISTOGRAM_BINS 128
struct histogram {
	uint64_t count, sum, p50, p90, p99, p999, max;
	uint64_t bins[HISTOGRAM_BINS];
};

/* The shortest time, ns, that falls into a bin. */
uint64_t histogram_from(unsigned bin);

/* The sum of many connections' latencies. */
struct latency_sum {
	uint64_t count, sum, max;
	uint32_t buckets[NBDS_LATENCY_BUCKETS];
};

/* Adds what `from` has counted; counts that would overflow stay at their most. */
void latency_merge(struct latency_sum *to, const struct nbds_latency *from);
void histogram_make(struct histogram *h, struct latency_sum *l);

#endif
