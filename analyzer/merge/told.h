/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * told.h - what reports in JSON say of a capture, as an audit would have it in memory.
 *
 * Purpose.  Each object of docs/json.md becomes what it was written from: a connection, an
 * export, a finding.  Codes are found by their names, so that what is written again is the
 * same.  What JSON does not have (every latency, the bytes of names that are not UTF-8) is
 * not there.
 *
 *	told_new() ─► told_capture() ─► told_object() ... ─► told_summary()   for each part
 *	           ─► told_finish() ─► nbds_report_told() ─► told_free()
 *
 * Ownership.  Objects are kept, and strings stay in them, until told_free().  Failure.  False
 * and one line in `err`: not enough memory, or what no audit says.
 */
#ifndef NBDSCOPE_ANALYZER_MERGE_TOLD_H
#define NBDSCOPE_ANALYZER_MERGE_TOLD_H

#include <jansson.h>

#include "../report/report.h"

struct told_parts;

struct told_parts *told_new(char *err, size_t errsize);
void told_free(struct told_parts *t);

/* The object `capture`, or `capture-end`, of a part: all parts have the same. */
bool told_capture(struct told_parts *t, json_t *object);
/* One of the others: what is not known is left out. */
bool told_object(struct told_parts *t, json_t *object);
/* The object `summary` of a part: its counts are added. */
bool told_summary(struct told_parts *t, json_t *object);

/* Why the capture was not read to its end, as its reports say; "": it was. Until
 * told_free(). */
const char *told_error(const struct told_parts *t);

/* Nothing more comes. `error` and `why`: see struct nbds_told; the caller's, until
 * told_free(). */
const struct nbds_told *told_finish(struct told_parts *t, const char *error, const char *why);

/* A whole number of seconds and nine decimals, in ns; 0: it is none. */
int64_t told_time(const json_t *value);

#endif
