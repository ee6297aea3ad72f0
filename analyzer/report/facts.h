/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/facts.h - what there is to say, in labelled paragraphs.
 *
 * Purpose.  Of a capture, a connection, an export and of what was judged, the forms for
 * people say the same in the same words; how they look is each form's (paper.h).  Each
 * function adds its paragraphs with nbds_item(), and none where there is nothing to say.
 *
 * Ownership.  Nothing is kept; the report's scratch `text` is overwritten.  Failure.
 * Without memory a paragraph comes out cut.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_FACTS_H
#define NBDSCOPE_ANALYZER_REPORT_FACTS_H

#include "internal.h"

/* Its format, its time, and what it lacks. */
void nbds_facts_capture(struct nbds_report *r, const struct nbds_outcome *o);

/* When it was there and how it ended; what was negotiated; what became of its bytes; what
 * was left open. */
void nbds_facts_life(struct nbds_report *r, const struct nbds_connection *c);
void nbds_facts_negotiated(struct nbds_report *r, const struct nbds_connection *c);
void nbds_facts_bytes(struct nbds_report *r, const struct nbds_connection *c);
void nbds_facts_open(struct nbds_report *r, const struct nbds_connection *c,
		     const struct nbds_outcome *o);
/* Everything that was negotiated is the same. */
bool nbds_same_negotiation(const struct nbds_connection *a, const struct nbds_connection *b);

/* Its connections, and what holds between them. */
void nbds_facts_export(struct nbds_report *r, const struct nbds_export *e);

/* The newest flushes of an export's connections, in the order of their requests. */
#define NBDS_FLUSHES_SHOWN 8
struct nbds_flush_row {
	struct nbds_flush_seen flush;
	uint32_t connection;
};
struct nbds_flush_rows {
	struct nbds_flush_row at[NBDS_FLUSHES_SHOWN];
	size_t count;
	uint64_t total; /* of all flushes */
};
void nbds_flushes_of(const struct nbds_report *r, const struct nbds_export *e,
		     struct nbds_flush_rows *rows);

/* What was judged of what clients read; what was not, and what was forgotten. */
void nbds_facts_judged(struct nbds_report *r, const struct nbds_outcome *o);
void nbds_facts_not_judged(struct nbds_report *r, const struct nbds_outcome *o);
/* Why the reads of --why were judged as they were. */
void nbds_facts_why(struct nbds_report *r);

/* What the verdict counts: "4 violations in 2 connections to 1 export". */
void nbds_verdict_words(const struct nbds_report *r, const struct nbds_outcome *o,
			struct nbds_buf *t);
/* A moment as a date: "2026-11-22 12:53:03.034699 UTC" */
void nbds_put_moment(struct nbds_buf *b, int64_t time);

#endif
