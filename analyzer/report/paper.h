/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/paper.h - columns, wrapping and colours of the text form.
 *
 * Purpose.  What the text form writes with.  It knows nothing of reports.
 * Ownership.  The stream is the caller's; errors in writing stay in it.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_PAPER_H
#define NBDSCOPE_ANALYZER_REPORT_PAPER_H

#include <stdbool.h>
#include <stdio.h>

#include <nbdscope/finding.h>

struct nbds_paper {
	FILE *out;
	unsigned width; /* columns */
	bool colour;    /* with ANSI colours */
	bool ascii;     /* no line drawing characters */
	/* What nbds_item() does in a form that is not text; NULL: what it says below. */
	void (*item)(void *ctx, const char *label, const char *text);
	void *ctx;
};

enum nbds_ink {
	NBDS_INK_PLAIN,
	NBDS_INK_HEAD,
	NBDS_INK_DIM,
	NBDS_INK_GOOD,
	NBDS_INK_NOTE,
	NBDS_INK_HAZARD,
	NBDS_INK_SUSPECT,
	NBDS_INK_VIOLATION,
};
enum nbds_ink nbds_ink_of(enum nbds_severity severity);
/* `text` in a colour, if there are colours. */
void nbds_ink(struct nbds_paper *p, enum nbds_ink ink, const char *text);
/* Columns that `text` takes. */
unsigned nbds_columns(const char *text);
/* Prints `text` from column `at` on, wrapped at spaces, further lines indented
 * by `indent`, and ends the line. Control characters become '?'. */
void nbds_wrap(struct nbds_paper *p, unsigned at, unsigned indent, const char *text);
/* A labelled paragraph: "  flags       NBD_FLAG_HAS_FLAGS, ...". A label of "" goes on with
 * the one before. */
#define NBDS_LABEL_COLUMNS 14
void nbds_item(struct nbds_paper *p, const char *label, const char *text);
/* The same, the label in a colour. */
void nbds_item_in(struct nbds_paper *p, enum nbds_ink ink, const char *label, const char *text);

#endif
