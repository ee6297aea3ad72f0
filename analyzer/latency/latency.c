/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Latencies in buckets that grow with the value: 16 to each power of two, so
 * that a percentile is known to 1/16 of itself; there are as many as were needed.
 */
#include "latency.h"

#include <string.h>

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

bool latency_span(struct nbds_budget *budget, struct nbds_latency *l, unsigned from, unsigned to)
{
	unsigned first, end;
	uint32_t *buckets;

	NBDS_ASSERT(from < to && to <= NBDS_LATENCY_BUCKETS);
	if (l->bucket_count && from >= l->first && to <= l->first + l->bucket_count)
		return true;
	/* whole doublings of the value */
	first = from & ~15u;
	end = (to + 15) & ~15u;
	if (l->bucket_count && l->first < first)
		first = l->first;
	if (l->bucket_count && l->first + l->bucket_count > end)
		end = l->first + l->bucket_count;
	buckets = nbds_budget_alloc(budget, (end - first) * sizeof(*buckets));
	if (!buckets)
		return false;
	if (l->bucket_count)
		memcpy(buckets + (l->first - first), l->buckets,
		       l->bucket_count * sizeof(*buckets));
	nbds_budget_free(budget, l->buckets, l->bucket_count * sizeof(*buckets));
	l->buckets = buckets;
	l->first = first;
	l->bucket_count = end - first;
	return true;
}

void latency_add(struct nbds_budget *budget, struct nbds_latency **at, uint64_t ns)
{
	unsigned bucket = bucket_of(ns);
	struct nbds_latency *l = *at;

	if (!l)
		l = *at = nbds_budget_alloc(budget, sizeof(*l));
	if (!l || !latency_span(budget, l, bucket, bucket + 1))
		return;
	l->count++;
	l->sum += ns;
	if (ns > l->max)
		l->max = ns;
	l->buckets[bucket - l->first]++;
}

void latency_told(struct nbds_budget *budget, struct nbds_latency **at, uint64_t p50, uint64_t p99,
		  uint64_t max)
{
	struct nbds_latency *l;

	latency_add(budget, at, p50 < max ? p50 : max);
	latency_add(budget, at, p99 < max ? p99 : max);
	latency_add(budget, at, max);
	l = *at;
	if (!l || l->count < 3)
		return;
	/* of a hundred, the 50th, the 99th and the last */
	l->buckets[bucket_of(p50 < max ? p50 : max) - l->first] += 49;
	l->buckets[bucket_of(p99 < max ? p99 : max) - l->first] += 48;
	l->count = 100;
}

void latency_free(struct nbds_budget *budget, struct nbds_latency *l)
{
	if (!l)
		return;
	nbds_budget_free(budget, l->buckets, l->bucket_count * sizeof(*l->buckets));
	nbds_budget_free(budget, l, sizeof(*l));
}

uint64_t nbds_latency_percentile(const struct nbds_latency *l, double percent)
{
	uint64_t rank, seen = 0;

	if (!l || !l->count)
		return 0;
	rank = (uint64_t)(percent / 100.0 * (double)l->count + 0.999999);
	if (rank < 1)
		rank = 1;
	for (unsigned i = 0; i < l->bucket_count; i++) {
		seen += l->buckets[i];
		if (seen >= rank) {
			uint64_t end = bucket_end(l->first + i);

			return end < l->max ? end : l->max;
		}
	}
	return l->max;
}
