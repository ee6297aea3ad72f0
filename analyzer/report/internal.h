/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - what the files of the report share.
 *
 * Who calls whom, from left to right and never back:
 *
 *	report.c -> text.c -> finding.c -> lanes.c   -> buf.c
 *	            messages.c             paper.c
 *	            json.c                 words.c
 *	                                   common.c
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_INTERNAL_H
#define NBDSCOPE_ANALYZER_REPORT_INTERNAL_H

#include "buf.h"
#include "paper.h"
#include "report.h"
#include "words.h"

struct nbds_kept {
	struct nbds_finding *finding;
	size_t serial; /* order of arrival */
};

struct nbds_json_fields; /* json.c */

struct nbds_report {
	FILE *out;
	struct nbds_paper paper; /* text: `out`, and how to write on it */
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

#endif
