/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/clock.h - differences of times that may be any numbers.
 *
 * Purpose.  Times of a capture are 64 bits of nanoseconds as somebody wrote them: their
 * difference need not fit.  This is the one way to take it.
 */
#ifndef NBDSCOPE_BASE_CLOCK_H
#define NBDSCOPE_BASE_CLOCK_H

#include <stdint.h>

/* From `from` to `to`, ns; negative if it is before. What is beyond an int64_t becomes the
 * nearest one. */
static inline int64_t nbds_elapsed(int64_t from, int64_t to)
{
	if (from < 0 && to > INT64_MAX + from)
		return INT64_MAX;
	if (from > 0 && to < INT64_MIN + from)
		return INT64_MIN;
	return to - from;
}

#endif
