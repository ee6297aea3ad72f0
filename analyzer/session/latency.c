/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Latencies in buckets that grow with the value: 16 to each power of two, so
 * that a percentile is known to 1/16 of itself in constant memory.
 */
#include "latency.h"

static unsigned bucket_of(uint64_t ns)
{
	unsigned top;

	if (ns < 16)
		return (unsigned)ns;
	top = 63u - (unsigned)__builtin_clzll(ns);
	return (top - 3) * 16 + (unsigned)(ns >> (top - 4) & 15);
}

/* The greatest value that falls into bucket i. */
static uint64_t bucket_end(unsigned i)
{
	unsigned top;

	if (i < 16)
		return i;
	top = i / 16 + 3;
	return ((uint64_t)(16 + i % 16) << (top - 4)) + (((uint64_t)1 << (top - 4)) - 1);
}

void latency_add(struct nbds_latency *l, uint64_t ns)
{
	l->count++;
	l->sum += ns;
	if (ns > l->max)
		l->max = ns;
	l->buckets[bucket_of(ns)]++;
}

uint64_t nbds_latency_percentile(const struct nbds_latency *l, double percent)
{
	uint64_t rank, seen = 0;

	if (!l || !l->count)
		return 0;
	rank = (uint64_t)(percent / 100.0 * (double)l->count + 0.999999);
	if (rank < 1)
		rank = 1;
	for (unsigned i = 0; i < NBDS_LATENCY_BUCKETS; i++) {
		seen += l->buckets[i];
		if (seen >= rank)
			return bucket_end(i) < l->max ? bucket_end(i) : l->max;
	}
	return l->max;
}
