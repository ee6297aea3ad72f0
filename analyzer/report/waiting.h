/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/waiting.h - lines that wait until it is known how a message ends.
 *
 * Purpose.  A reply is told when its head is complete.  Whether its data came at
 * all is known later; a line that says so too early is wrong if they did not.
 * Lines therefore queue behind the one that waits, in the order of capture.  What
 * they take is bounded: past that the first goes as if its message ended well.
 *
 *	first ─► [waits] ─► [ready] ─► [waits] ─► [ready]        is printed up to the
 *	            │                     │                      first that waits
 *	         connection 1          connection 2
 *
 * Ownership.  The queue owns its lines.  Failure.  Without memory a line is not
 * held back, but printed after those that wait.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_WAITING_H
#define NBDSCOPE_ANALYZER_REPORT_WAITING_H

#include <stdbool.h>
#include <stddef.h>

struct nbds_waiting_line;

struct nbds_waiting {
	struct nbds_waiting_line *first, *last;
	size_t bytes;
	void (*print)(void *ctx, const char *line, size_t len);
	void *ctx;
};

/* `broken`: the line if the message is broken off; NULL: it does not wait. Returns
 * the line that waits, to be told of the end, or NULL. */
struct nbds_waiting_line *nbds_waiting_add(struct nbds_waiting *w, const char *line, size_t len,
					   const char *broken, size_t broken_len);
/* The message of a line that waits is over. */
void nbds_waiting_end(struct nbds_waiting *w, struct nbds_waiting_line *line, bool broken);
/* Prints all; none of them waits any more. */
void nbds_waiting_finish(struct nbds_waiting *w);

#endif
