/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/metrics/file.h - metrics in a file, for node_exporter's textfile collector.
 *
 * Purpose.  Who reads the file never sees a part of it: each text goes to a temporary
 * file beside it, which then takes its name.  A program that decodes packets cannot open
 * or rename files (sandbox.h), and root has become another user by then; and a disk that
 * hangs must not hold up the capture.  So a process of its own writes:
 *
 *	program ── snapshot, in shared memory; "write" ──► process, which writes the text
 *	        ◄───────────── errno ─────────────────────  of it, and renames
 *
 * It has no capability, and as root it is whoever owns the folder.  It can open and
 * rename files, and makes one name only.
 *
 * Ownership.  To be started before any thread; nbds_metrics_file_stop() ends it, as does
 * the end of the program.  One thread may ask.  Failure.  NULL or false and one line in
 * `err`.
 */
#ifndef NBDSCOPE_METRICS_FILE_H
#define NBDSCOPE_METRICS_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "snapshot.h"

struct nbds_metrics_file;

/* `overwrite`: also a file that does not look like one of metrics. */
struct nbds_metrics_file *nbds_metrics_file_start(const char *path, bool overwrite, char *err,
						  size_t errsize);
/* What became of the one before. True: it was written, or there was none, or it is still at
 * work. */
bool nbds_metrics_file_state(struct nbds_metrics_file *f, char *err, size_t errsize);
/* Writes *s, unless the one before is still at work. Does not wait. */
void nbds_metrics_file_put(struct nbds_metrics_file *f, const struct nbds_metrics_snapshot *s);
/* Waits for the one at work, so many ms at most. True: nothing is. */
bool nbds_metrics_file_wait(struct nbds_metrics_file *f, int ms);
void nbds_metrics_file_stop(struct nbds_metrics_file *f);

#endif
