/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/snapshot.h - copies for the screen of what the worker has.
 *
 * Ownership.  A snapshot owns its arrays and a share of its findings.  Only the
 * thread that captures makes and frees them.  Failure.  Without memory a list is
 * shorter.
 */
#ifndef NBDSCOPE_TUI_SNAPSHOT_H
#define NBDSCOPE_TUI_SNAPSHOT_H

#include "found.h"
#include "rows.h"

/* `most`: rows of each list, the newest. */
void snapshot_rows(struct snapshot *s, const struct rows *rows, size_t most);
void snapshot_findings(struct snapshot *s, const struct found_all *findings);
/* The flush order and the flushes of s->wanted.export, the detail of
 * s->wanted.connection. */
void snapshot_wanted(struct snapshot *s, const struct rows *rows);
/* The histograms of s->wanted.scope. `sum`: for its memory. */
void snapshot_latency(struct snapshot *s, const struct rows *rows, struct latency_sum *sum);
void snapshot_free(struct snapshot *s);

#endif
