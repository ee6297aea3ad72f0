/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * histogram.c - how long commands took, as bars. See histogram.h.
 */
#include "histogram.h"

#include <string.h>

uint64_t histogram_from(unsigned bin)
{
	unsigned top = bin / 2;

	if (top >= 64)
		return UINT64_MAX;
	return ((uint64_t)1 << top) + (bin & 1 ? (uint64_t)1 << top >> 1 : 0);
}

void latency_merge(struct latency_sum *to, const struct nbds_latency *from)
{
	to->count += from->count;
	to->sum += from->sum;
	if (from->max > to->max)
		to->max = from->max;
	for (unsigned i = 0; i < from->bucket_count; i++) {
		uint32_t *bucket = &to->buckets[from->first + i];

		*bucket = from->buckets[i] > UINT32_MAX - *bucket ? UINT32_MAX
								  : *bucket + from->buckets[i];
	}
}

/* Which bin a bucket of the engine lies in: 16 buckets to each doubling. */
static unsigned bin_of(unsigned bucket)
{
	unsigned top;

	if (bucket < 2)
		return 0;
	if (bucket < 16) {
		top = 31u - (unsigned)__builtin_clz(bucket);
		return top * 2 + (bucket >> (top - 1) & 1);
	}
	top = bucket / 16 + 3;
	return top * 2 + (bucket % 16 >= 8);
}

void histogram_make(struct histogram *h, struct latency_sum *l)
{
	const struct nbds_latency all = {.count = l->count,
					 .sum = l->sum,
					 .max = l->max,
					 .buckets = l->buckets,
					 .bucket_count = NBDS_LATENCY_BUCKETS};

	memset(h, 0, sizeof(*h));
	h->count = l->count;
	h->sum = l->sum;
	h->max = l->max;
	h->p50 = nbds_latency_percentile(&all, 50);
	h->p90 = nbds_latency_percentile(&all, 90);
	h->p99 = nbds_latency_percentile(&all, 99);
	h->p999 = nbds_latency_percentile(&all, 99.9);
	for (unsigned i = 0; i < NBDS_LATENCY_BUCKETS; i++)
		if (l->buckets[i])
			h->bins[bin_of(i)] += l->buckets[i];
}
