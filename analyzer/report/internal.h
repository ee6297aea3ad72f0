/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - what the files of the report share.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_INTERNAL_H
#define NBDSCOPE_ANALYZER_REPORT_INTERNAL_H

#include "buf.h"
#include "report.h"

struct nbds_kept {
	struct nbds_finding *finding;
	size_t serial; /* order of arrival */
};

struct nbds_json_fields; /* json.c */

struct nbds_report {
	FILE *out;
	struct nbds_report_options options;
	const char *name;
	struct nbds_pipeline *pipeline;
	struct nbds_kept *kept; /* findings for the end */
	size_t kept_count, kept_size;
	uint64_t counted; /* findings of this capture, repeats included */
	uint64_t hidden;  /* of them below options.severity */
	uint64_t lost;    /* of all captures, for want of memory */
	int worst;        /* greatest severity of all captures, -1: none */
	bool told;        /* text: messages were printed before the report */
	unsigned captures;
	struct nbds_buf line, text; /* scratch; `text` is the text form's */
	struct nbds_buf assumed;    /* text: the assumptions that were printed last */
	struct nbds_json_fields *fields;
};

/* What is known at the end of a capture. */
struct nbds_outcome {
	const char *error; /* "" if none */
	struct nbds_pipeline_info info;
	struct nbds_engine_totals totals;
	struct nbds_connection *connections;
	struct nbds_export *exports;
	bool opened;
};

/* The connection called `id`, or NULL. */
const struct nbds_connection *nbds_report_connection(const struct nbds_report *r, uint32_t id);

/* ns since the first packet of the capture. */
int64_t nbds_report_since(const struct nbds_report *r, int64_t time);

/* "violations", "suspect", "hazards" or "clean" */
const char *nbds_verdict(const struct nbds_engine_totals *totals);

/* Writes the scratch line to the stream. */
void nbds_report_write(struct nbds_report *r);

/* json.c */
void nbds_json_report(struct nbds_report *r, const struct nbds_outcome *o);
void nbds_json_finding(struct nbds_report *r, const struct nbds_finding *f);
void nbds_json_message(struct nbds_report *r, const struct nbds_connection *c,
		       const struct nbds_message *m);
void nbds_json_fields_free(struct nbds_json_fields *fields);

/* text.c */
void nbds_text_report(struct nbds_report *r, const struct nbds_outcome *o);

/* finding.c */
void nbds_text_finding(struct nbds_report *r, const struct nbds_finding *f);

/* messages.c */
void nbds_text_message(struct nbds_report *r, const struct nbds_connection *c,
		       const struct nbds_message *m);
void nbds_text_trouble(struct nbds_report *r, const struct nbds_connection *c,
		       const struct nbds_trouble *t);

/* paper.c: the text form's means */
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
void nbds_ink(struct nbds_report *r, enum nbds_ink ink, const char *text);
/* Columns that `text` takes. */
unsigned nbds_columns(const char *text);
/* Prints `text` from column `at` on, wrapped at spaces, further lines indented
 * by `indent`, and ends the line. Control characters become '?'. */
void nbds_wrap(struct nbds_report *r, unsigned at, unsigned indent, const char *text);
/* A labelled paragraph: "  flags       NBD_FLAG_HAS_FLAGS, ...". */
#define NBDS_LABEL_COLUMNS 14
void nbds_item(struct nbds_report *r, const char *label, const char *text);

#endif
