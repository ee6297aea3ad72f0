/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/told.h - what the engine tells while packets are handled, and where it goes:
 * messages into the log, connections into the rows, findings into their list,
 * writes and flushes into the flush order.
 */
#ifndef NBDSCOPE_TUI_TOLD_H
#define NBDSCOPE_TUI_TOLD_H

#include "found.h"
#include "log.h"
#include "rows.h"

struct told {
	struct log *log;
	struct rows rows;
	struct found_all findings;
	enum nbds_severity severity; /* findings below it are only counted */
	uint64_t changes;            /* counts what a screen would show */
};

/* The engine's callbacks; their context is a struct told. */
extern const struct nbds_engine_ops told_ops;

#endif
