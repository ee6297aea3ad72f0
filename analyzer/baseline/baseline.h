/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * baseline.h - reads an earlier report in JSON.
 *
 * Purpose.  Of what `nbdaudit --format=json` wrote (docs/json.md) it takes what can be
 * held against another report: findings, latencies and flushes.  jansson parses each line.
 * The file may be anybody's: its size, and that of a line, are bounded, jansson bounds the
 * depth, and what is not of the kind that it should be ends the reading.
 *
 * Ownership.  What is returned is the caller's, to be freed with nbds_compare_free().
 * Failure.  NULL and one line in `err`, without the name of the file.
 */
#ifndef NBDSCOPE_ANALYZER_BASELINE_H
#define NBDSCOPE_ANALYZER_BASELINE_H

#include "../compare/compare.h"

/* "-" is standard input. */
struct nbds_compare *nbds_baseline_load(const char *path, char *err, size_t errsize);

#endif
