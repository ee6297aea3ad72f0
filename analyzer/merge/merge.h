/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/merge/merge.h - one report of several in JSON.
 *
 * Purpose.  Reports of many captures become one, and those of the shards of one capture
 * become that capture's.  Reports are of one capture if they name the same file, of the
 * same frames, bytes and times, in as many shards, and were written by the same version.
 * What is missing, or there twice, is said of the capture, which is then not `clean`.
 *
 *	files ─► nbds_merge_open(): what is where; ─► nbds_merge_capture(): one after the other
 *	         each line is looked at               is read again, and told to the report
 *
 * So that there may be many, only one capture's report is in memory at a time.
 *
 * Ownership.  Names of files stay the caller's until nbds_merge_free().  Failure.  A file
 * that cannot be read, or is no report, becomes a capture that could not be read.
 */
#ifndef NBDSCOPE_ANALYZER_MERGE_H
#define NBDSCOPE_ANALYZER_MERGE_H

#include <stdbool.h>
#include <stddef.h>

#include "../report/report.h"

struct nbds_merge;

/* "-" is standard input. NULL without memory. */
struct nbds_merge *nbds_merge_open(char **files, size_t count);
void nbds_merge_free(struct nbds_merge *m);

/* How many captures there are. */
size_t nbds_merge_captures(const struct nbds_merge *m);
/* The first file that was written with --summary, and lacks its findings; NULL: none. */
const char *nbds_merge_summary_only(const struct nbds_merge *m);
/* Messages that reports have (--messages), and what --why, --baseline and --probe added, are not
 * merged: how many such lines there are. */
unsigned long nbds_merge_left_out(const struct nbds_merge *m);

/* Tells capture `n` (from 0) to the report. False: something was missing, or could not be
 * read, which is in the report and, without the capture's name, in `err`. */
bool nbds_merge_capture(struct nbds_merge *m, size_t n, struct nbds_report *r, char *err,
			size_t errsize);
/* Its name. */
const char *nbds_merge_name(const struct nbds_merge *m, size_t n);

#endif
