/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html.h - what the files of the HTML form share.
 *
 *	html.c -> html_findings.c -> html_lanes.c -> html_text.c
 *	          html_charts.c
 *	          html_compared.c
 *
 * The page is one file: its style and its script stand in it, and a content security policy
 * that names both by their hashes forbids everything else, so that nothing in it can load
 * or run anything, whatever names the capture holds.  The script is never needed to read
 * it: all that it shows is in the page.  No element has a style of its own, as the policy
 * would not let it.
 *
 * What is written collects in the report's scratch `line`, section by section.  Text of
 * whatever origin goes through nbds_html_text() or nbds_html_bytes() and no other way.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_HTML_H
#define NBDSCOPE_ANALYZER_REPORT_HTML_H

#include "activity.h"
#include "internal.h"

/* The bytes that a report of one capture takes at most, whatever was found; its style and
 * script not counted. */
#define NBDS_HTML_MOST ((uint64_t)4600 << 10)

/* html_text.c: inside of an element, or of an attribute in double quotes. What would not be
 * seen as what it is, is escaped as in the text form; a line feed stays. */
void nbds_html_text(struct nbds_buf *b, const char *text);
void nbds_html_bytes(struct nbds_buf *b, const void *bytes, size_t len);
/* The first bytes of a text, and an ellipsis if there are more. */
#define NBDS_HTML_TEXT_MOST 4000u
void nbds_html_beginning(struct nbds_buf *b, const char *text, size_t most);
/* A name of the wire in quotes, cut if it is long. */
#define NBDS_HTML_NAME_MOST 160u
void nbds_html_name(struct nbds_buf *b, const void *name, size_t len);

/* Writes what has collected, and counts it. */
void nbds_html_write(struct nbds_report *r);
/* A list of labelled paragraphs: nbds_item() of the report's paper goes into it. */
void nbds_html_list(struct nbds_report *r);
void nbds_html_list_end(struct nbds_report *r);
/* What that is: `ctx` is the report. */
void nbds_html_item(void *ctx, const char *label, const char *text);

/* html_lanes.c: the commands of a finding, and others around them. False, and
 * nothing: it names no frame. */
bool nbds_html_lanes(struct nbds_buf *b, const struct nbds_finding *f,
		     const struct activity_story *story);

/* html_findings.c: all that were kept, by level and rule. `left`: bytes that they may take.
 * The page's ids begin with `id`. */
void nbds_html_findings(struct nbds_report *r, const char *id, uint64_t left);

/* html_charts.c: what happened when, and where. */
void nbds_html_charts(struct nbds_report *r, const struct nbds_outcome *o);

/* html_probed.c: what came of a probe (r->probed). */
void nbds_html_probed(struct nbds_report *r, const char *id);

/* html_compared.c: beside an earlier report (options.compare). */
void nbds_html_compared(struct nbds_report *r, const char *id);

/* Made of html/report.css and html/report.js, with base64 of the SHA-256 of each. */
extern const char nbds_html_css[], nbds_html_js[];
extern const char nbds_html_css_hash[], nbds_html_js_hash[];

#endif
