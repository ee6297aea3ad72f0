/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - what the files of the report share.
 *
 * Who calls whom, from left to right and never back:
 *
 *	report.c -> text.c  -> finding.c -> lanes.c   -> buf.c
 *	            messages.c  facts.c     paper.c
 *	            json.c                  words.c
 *	            junit.c                 keep.c
 *	            sarif.c                 common.c
 *	            html.c  -> html_*.c     activity.c
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_INTERNAL_H
#define NBDSCOPE_ANALYZER_REPORT_INTERNAL_H

#include "../pipeline/pipeline.h"
#include "activity.h"
#include "buf.h"
#include "keep.h"
#include "options.h"
#include "paper.h"
#include "waiting.h"
#include "words.h"

/* How often a rule was broken in a capture, by level. */
struct nbds_tally {
	uint64_t count[NBDS_LEVELS];
	int64_t first_time[NBDS_LEVELS];   /* of the earliest of them, */
	uint64_t first_frame[NBDS_LEVELS]; /* and its frame; 0: none */
};

struct nbds_report;
struct nbds_outcome;
struct nbds_told;

/* A form of the report. Where a function is NULL there is nothing to do. */
struct nbds_form {
	void (*begin)(struct nbds_report *r);  /* before the first capture */
	void (*opened)(struct nbds_report *r); /* a capture begins */
	void (*finding)(struct nbds_report *r, const struct nbds_finding *f); /* live */
	void (*message)(struct nbds_report *r, struct nbds_connection *c,
			const struct nbds_message *m);
	void (*line)(void *ctx, const char *line, size_t len); /* a message's; ctx: r */
	void (*trouble)(struct nbds_report *r, const struct nbds_connection *c,
			const struct nbds_trouble *t);
	void (*capture)(struct nbds_report *r, const struct nbds_outcome *o); /* it is over */
	void (*finish)(struct nbds_report *r); /* after the last capture */
	bool documents; /* one document for all captures, of findings that are kept */
	bool activity;  /* with what happened when */
};
extern const struct nbds_form nbds_text_form, nbds_json_form, nbds_html_form, nbds_junit_form,
	nbds_sarif_form;

struct nbds_json_fields; /* The scratch line becomes an object of the JSON form, which begins with its type; and it is
 * written. */
struct nbds_buf *nbds_json_begin(struct nbds_report *r, const char *type);
void nbds_json_end(struct nbds_report *r);

/* json.c */
struct nbds_probed; /* probed.h */
struct nbds_probed_row;

struct nbds_report {
	FILE *out;
	struct nbds_paper paper; /* text: `out`, and how to write on it */
	struct nbds_report_options options;
	const struct nbds_form *form;
	const char *name;
	struct nbds_pipeline *pipeline;
	const struct nbds_told *told_of; /* in its place: what others said; NULL: nothing */
	NBDS_VECTOR(nbds_judged_vector, struct nbds_judged) why; /* reads at options.why */
	struct nbds_budget why_budget;
	uint64_t why_before, why_after;   /* frames where others end and begin; 0: none */
	struct nbds_judged why_during;    /* that is under way then; length 0: none is */
	struct nbds_keep keep;            /* findings for the end */
	struct nbds_tally *tally;         /* of this capture, by place in nbds_rules */
	uint64_t counted;                 /* findings of this capture, repeats included */
	uint64_t hidden;                  /* of them below options.severity */
	uint64_t lost;                    /* of all captures, for want of memory */
	int worst;                        /* greatest severity of all captures, -1: none; of what is
	                                 * new, if there is an earlier report */
	const struct nbds_probed *probed; /* what came of a probe; NULL: it was none */
	const char *verdict;              /* of the last capture; NULL: none ended yet */
	bool unaudited;                   /* one of the captures was */
	double least_judged;              /* percent */
	bool told;                        /* text: messages were printed before the report */
	struct nbds_waiting waiting;      /* lines of messages whose end is awaited */
	struct nbds_buf broken;           /* scratch: such a line, if it is broken off */
	FILE *spool;                      /* JSON: messages, which follow `capture`; HTML: captures,
	                                 * which follow their sum; NULL: none */
	int spool_error;                  /* errno of what became of it; 0: well */
	unsigned captures;
	bool interface;             /* the capture is that of an interface */
	struct nbds_buf line, text; /* scratch; `text` is the text form's */
	struct nbds_buf hooked;     /* scratch: a finding as JSON */
	struct nbds_buf compared;   /* scratch: names of exports */
	struct nbds_buf assumed;    /* text: the assumptions that were printed last */
	struct nbds_buf artifacts;  /* SARIF: the captures so far, */
	struct nbds_buf notices;    /* and what has to be said of them */
	bool first_result, sarif_failed;
	struct nbds_json_fields *fields;
	struct activity activity; /* HTML: what happened when */
	uint64_t written;         /* HTML: bytes of this capture's part of the page */
	bool in_list;             /* HTML: something is in the list that was begun */
};

/* What is known at the end of a capture. */
struct nbds_outcome {
	const char *error; /* "" if none */
	struct nbds_pipeline_info info;
	struct nbds_engine_totals totals;
	struct nbds_engine *engine;   /* NULL: not opened */
	const struct nbds_told *told; /* in its place; NULL: nothing */
	struct nbds_export *exports;
	bool opened;
	uint64_t read_bytes;    /* that clients read */
	bool shards_wrong;      /* some are missing, or there twice, as `error` says */
	unsigned shard, shards; /* only these servers were judged; `shards` 0: all */
	bool unaudited;         /* nothing could be looked into, and nothing was found */
};

/* The first connection after the one called `id` (0: of all), or NULL. Valid until the
 * next call of this function. */
const struct nbds_connection *nbds_outcome_next(const struct nbds_outcome *o, uint32_t id);
/* The connection called `id`, or NULL. Valid until the next call of this function. */
const struct nbds_connection *nbds_report_connection(const struct nbds_report *r, uint32_t id);

/* ns since the first packet of the capture. */
int64_t nbds_report_since(const struct nbds_report *r, int64_t time);

/* "violations", "suspect", "hazards", "clean" or "unaudited" */
const char *nbds_verdict(const struct nbds_outcome *o);
/* Fills in what follows from the rest: read_bytes, unaudited. */
void nbds_outcome_judge(struct nbds_outcome *o);
/* Why there was nothing to audit, and what to do about it. */
void nbds_unaudited_why(const struct nbds_outcome *o, struct nbds_buf *b);
/* What --memory had no room for, in words; nothing, if it had for all. */
void nbds_put_forgotten(const struct nbds_engine_totals *totals, struct nbds_buf *t);

/* It came to the transmission phase: the export asked for last is the one in use. */
bool nbds_export_entered(const struct nbds_connection *c);
/* The ids of its connections in order, to be freed; NULL without memory. */
uint32_t *nbds_export_ids(const struct nbds_export *e);

/* The place of a rule in nbds_rules. */
size_t nbds_rule_place(const struct nbds_rule *rule);
/* The frame that shows a finding most directly: a message at fault, a read; 0: none. */
uint64_t nbds_finding_frame(const struct nbds_finding *f);

/* The scratch line is that of a message: it is written now, or when it is known how
 * the message ends. `broken`: the line if it is broken off; empty: nothing waits. */
void nbds_report_queue(struct nbds_report *r, struct nbds_connection *c,
		       const struct nbds_buf *broken);
/* Whether what is said of it depends on whether its payload comes. */
bool nbds_message_waits(const struct nbds_message *m);

/* A temporary file for what cannot be written yet, to be opened while files can be; none
 * (spool NULL, errno says why) if that fails. What is in it is copied to the stream, and it
 * is closed; errors become those of the report. */
void nbds_spool_open(struct nbds_report *r);
void nbds_spool_copy(struct nbds_report *r);

/* Writes the scratch line to the stream. */
void nbds_report_write(struct nbds_report *r);

/* json.c */
void nbds_json_finding(struct nbds_report *r, const struct nbds_finding *f);
/* The same as a text alone, into `line`. */
void nbds_json_finding_text(struct nbds_report *r, const struct nbds_finding *f,
			    struct nbds_buf *line);
void nbds_json_fields_free(struct nbds_json_fields *fields);

/* compared.c: only with options.compare */
enum nbds_standing nbds_compared_finding(struct nbds_report *r, const struct nbds_finding *f);
void nbds_compared_gather(struct nbds_report *r, const struct nbds_outcome *o);
void nbds_compared_text(struct nbds_report *r);
/* In labelled paragraphs: how many findings are new, and which are gone. */
void nbds_compared_facts(struct nbds_report *r);
void nbds_compared_json(struct nbds_report *r);

/* probed.c: only with r->probed. What is said of a history: "kept", and a sentence or two. */
const char *nbds_probed_word(const struct nbds_probed_row *row);
enum nbds_ink nbds_probed_ink(const struct nbds_probed_row *row);
void nbds_probed_about(const struct nbds_probed_row *row, struct nbds_buf *b);
/* In labelled paragraphs: what was probed, and what follows for CAN_MULTI_CONN. */
void nbds_probed_facts(struct nbds_report *r);
void nbds_probed_text(struct nbds_report *r);

/* finding.c */
void nbds_text_finding(struct nbds_report *r, const struct nbds_finding *f);
/* Its labelled paragraphs: who is at fault, where, and what came; then how to cut it out, what
 * it rests on, what to do, and how often. */
void nbds_finding_what(struct nbds_report *r, const struct nbds_finding *f);
void nbds_finding_rest(struct nbds_report *r, const struct nbds_finding *f);
/* A display filter that shows just its frames; nothing, if it has none. */
void nbds_finding_filter(const struct nbds_finding *f, struct nbds_buf *t);
/* The witness whose request (or, then *reply is set, reply) lies in the frame of this role;
 * NULL: none. */
const struct nbds_witness *nbds_witness_of(const struct nbds_finding *f, int role, bool *reply);

/* messages.c */
void nbds_text_message(struct nbds_report *r, struct nbds_connection *c,
		       const struct nbds_message *m);
void nbds_text_trouble(struct nbds_report *r, const struct nbds_connection *c,
		       const struct nbds_trouble *t);

#endif
