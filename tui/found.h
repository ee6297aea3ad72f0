/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/found.h - the findings that are kept.
 *
 * Purpose.  A number of findings at most: of too many the oldest of the lowest
 * level goes, in constant time.  Snapshots share them.
 *
 * Ownership.  A finding lives as long as the list or a snapshot has it; all that
 * belongs to the thread that captures.  Failure.  Without memory a finding is not
 * kept, and counted as forgotten.
 */
#ifndef NBDSCOPE_TUI_FOUND_H
#define NBDSCOPE_TUI_FOUND_H

#include "model.h"

struct found_all {
	struct findings_level {
		struct nbds_list list; /* in order of arrival */
		size_t count;
	} levels[NBDS_VIOLATION + 1];
	size_t count, max;
	uint64_t numbers, forgotten;
};

/* `max` at most, more than 0. */
void findings_open(struct found_all *f, size_t max);
void findings_close(struct found_all *f);

/* Takes a copy. `export`: id of its row, or 0. */
void findings_add(struct found_all *f, const struct nbds_finding *finding, uint32_t export);
void findings_clear(struct found_all *f);

/* Those that are kept, at most findings->count of them, in order of arrival. */
void findings_list(const struct found_all *f, struct found **list);

void found_ref(struct found *found);
void found_unref(struct found *found);

#endif
