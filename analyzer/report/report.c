/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * report.c - takes the engine's callbacks, keeps findings, calls the forms.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "report.h"

#define MEMORY_USUAL (UINT64_C(128) << 20)
/* Of that, what charts and pictures take. */
#define ACTIVITY_SHARE 4

static const struct nbds_form quiet_form = {.documents = true};

static const struct nbds_form *form_of(const struct nbds_report_options *options)
{
	if (options->quiet)
		return &quiet_form;
	switch (options->format) {
	case NBDS_REPORT_JSON:
		return &nbds_json_form;
	case NBDS_REPORT_HTML:
		return &nbds_html_form;
	case NBDS_REPORT_JUNIT:
		return &nbds_junit_form;
	case NBDS_REPORT_SARIF:
		return &nbds_sarif_form;
	case NBDS_REPORT_TEXT:
		break;
	}
	return &nbds_text_form;
}

struct nbds_report *nbds_report_new(FILE *out, const struct nbds_report_options *options)
{
	struct nbds_report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->out = out;
	r->options = *options;
	r->form = form_of(options);
	if (!r->options.version)
		r->options.version = "";
	r->interface = options->live;
	if (r->form->documents)
		r->options.live = false;
	r->paper = (struct nbds_paper){
		.out = out,
		.width = options->width ? options->width : 100,
		.colour = options->colour,
		.ascii = options->ascii,
	};
	r->keep.budget.limit = options->memory ? options->memory : MEMORY_USUAL;
	if (r->form->activity) {
		activity_init(&r->activity, r->keep.budget.limit / ACTIVITY_SHARE);
		r->keep.budget.limit -= r->activity.budget.limit;
	}
	r->waiting.print = r->form->line;
	r->waiting.ctx = r;
	r->worst = -1;
	r->least_judged = 100;
	r->tally = calloc(nbds_rules_count, sizeof(*r->tally));
	if (!r->tally) {
		free(r);
		return NULL;
	}
	if (r->form->begin)
		r->form->begin(r);
	return r;
}

void nbds_report_free(struct nbds_report *r)
{
	if (!r)
		return;
	nbds_keep_clear(&r->keep);
	if (r->form->activity)
		activity_free(&r->activity);
	nbds_vector_free(&r->why, &r->why_budget);
	free(r->tally);
	if (r->spool)
		fclose(r->spool);
	nbds_buf_free(&r->line);
	nbds_buf_free(&r->broken);
	nbds_buf_free(&r->text);
	nbds_buf_free(&r->assumed);
	nbds_buf_free(&r->compared);
	nbds_buf_free(&r->hooked);
	nbds_buf_free(&r->artifacts);
	nbds_buf_free(&r->notices);
	nbds_json_fields_free(r->fields);
	free(r);
}

/* --- callbacks of the engine --- */

static void count(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_tally *t = &r->tally[nbds_rule_place(f->rule)];

	r->counted += f->count;
	if ((int)f->severity > r->worst && f->standing != NBDS_STANDING_KNOWN)
		r->worst = (int)f->severity;
	if (!t->count[f->severity] || f->time < t->first_time[f->severity]) {
		t->first_time[f->severity] = f->time;
		t->first_frame[f->severity] = nbds_finding_frame(f);
	}
	t->count[f->severity] += f->count;
}

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct nbds_report *r = ctx;
	struct nbds_finding compared;

	if (r->options.compare) {
		compared = *f;
		compared.standing = nbds_compared_finding(r, f);
		f = &compared;
	}
	count(r, f);
	if (r->options.hooks && f->severity >= r->options.severity) {
		nbds_json_finding_text(r, f, &r->hooked);
		r->options.hooks->finding(r->options.hooks_ctx, r->name, f, nbds_finding_frame(f),
					  nbds_buf_text(&r->hooked));
	}
	if (r->form->activity && f->severity >= r->options.severity)
		activity_finding(&r->activity, f, nbds_rule_place(f->rule));
	if (f->severity < r->options.severity)
		r->hidden += f->count;
	else if ((r->options.quiet || r->options.summary) && !r->options.keep)
		return;
	else if (r->options.live)
		r->form->finding(r, f);
	else if (!nbds_keep_add(&r->keep, f))
		r->lost++;
}

/* `user` is the line of a message whose end is awaited. */
static void on_connection(void *ctx, struct nbds_connection *c)
{
	(void)ctx;
	c->user = NULL;
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct nbds_report *r = ctx;

	r->form->message(r, c, m);
	r->told = true;
}

static void on_judged(void *ctx, const struct nbds_judged *j)
{
	struct nbds_report *r = ctx;
	uint64_t why = r->options.why;

	if (j->reply_frame == why || j->request_frame == why) {
		if (!nbds_vector_push(&r->why, &r->why_budget, *j))
			r->lost++;
	} else if (j->request_frame > why) {
		if (!r->why_after || j->request_frame < r->why_after)
			r->why_after = j->request_frame;
	} else if (j->reply_frame && j->reply_frame < why) {
		if (j->reply_frame > r->why_before)
			r->why_before = j->reply_frame;
	} else if (j->reply_frame && !r->why_during.length) {
		r->why_during = *j;
	}
}

static void on_message_end(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			   uint64_t came)
{
	struct nbds_report *r = ctx;
	struct nbds_waiting_line *line = c->user;

	if (m->from != NBDS_SERVER || !line)
		return;
	c->user = NULL;
	nbds_waiting_end(&r->waiting, line, came < m->payload_len);
}

static void on_trouble(void *ctx, struct nbds_connection *c, const struct nbds_trouble *t)
{
	struct nbds_report *r = ctx;

	r->form->trouble(r, c, t);
	r->told = true;
}

/* --- what happened when --- */

static void on_active_connection(void *ctx, struct nbds_connection *c)
{
	struct nbds_report *r = ctx;

	activity_connection(&r->activity, c, nbds_pipeline_start(r->pipeline));
}

static void on_request(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	if (m->type == NBDS_MSG_REQUEST)
		activity_request(&((struct nbds_report *)ctx)->activity, c, m);
}

static void on_reply(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
		     uint64_t came)
{
	if ((m->type == NBDS_MSG_SIMPLE_REPLY || m->type == NBDS_MSG_CHUNK) &&
	    (m->flags & NBDS_MSG_FINAL) && came == m->payload_len)
		activity_reply(&((struct nbds_report *)ctx)->activity, c, m);
}

static void on_closed(void *ctx, struct nbds_connection *c)
{
	activity_closed(&((struct nbds_report *)ctx)->activity, c);
}

void nbds_report_callbacks(const struct nbds_report *r, struct nbds_engine_ops *ops)
{
	memset(ops, 0, sizeof(*ops));
	ops->finding = on_finding;
	if (r->options.why)
		ops->judged = on_judged;
	if (r->form->activity) {
		ops->connection = on_active_connection;
		ops->message = on_request;
		ops->message_end = on_reply;
		ops->end = on_closed;
	}
	if (r->options.messages && r->form->message) {
		ops->connection = on_connection;
		ops->message = on_message;
		ops->message_end = on_message_end;
	}
	if (r->options.messages && r->form->trouble)
		ops->trouble = on_trouble;
}

/* --- one capture --- */

void nbds_report_begin(struct nbds_report *r, const char *name, struct nbds_pipeline *p)
{
	nbds_keep_clear(&r->keep);
	memset(r->tally, 0, nbds_rules_count * sizeof(*r->tally));
	r->name = name;
	r->pipeline = p;
	r->counted = r->hidden = 0;
	r->told = false;
	nbds_buf_clear(&r->assumed);
	r->why.count = 0;
	r->why_before = r->why_after = 0;
	r->why_during = (struct nbds_judged){0};
	r->captures++;
	if (r->form->activity)
		activity_begin(&r->activity);
	if (r->form->opened)
		r->form->opened(r);
}

static void finish(struct nbds_report *r, struct nbds_outcome *o)
{
	o->shard = o->told ? o->told->shard : r->options.shard;
	o->shards = o->told ? o->told->shards : r->options.shards;
	nbds_outcome_judge(o);
	r->verdict = nbds_verdict(o);
	r->unaudited |= !strcmp(r->verdict, "unaudited");
	if (o->read_bytes) {
		double judged = (double)o->totals.checked_bytes * 100 / (double)o->read_bytes;

		if (judged < r->least_judged)
			r->least_judged = judged;
	}
	if (r->options.hooks)
		r->options.hooks->capture(r->options.hooks_ctx, r->name, r->verdict,
					  o->totals.findings, o->error);
	nbds_waiting_finish(&r->waiting);
	if (r->options.compare && !r->options.quiet)
		nbds_compared_gather(r, o);
	nbds_keep_sort(&r->keep);
	if (r->form->activity)
		activity_end(&r->activity);
	if (r->form->capture)
		r->form->capture(r, o);
	nbds_keep_clear(&r->keep);
	r->probed = NULL;
	r->pipeline = NULL;
}

const struct nbds_finding *nbds_report_finding(struct nbds_report *r, uint64_t number)
{
	const struct nbds_finding *f;

	nbds_keep_sort(&r->keep);
	while ((f = nbds_keep_next_in_time(&r->keep)) && f->number != number)
		;
	return f;
}

uint64_t nbds_report_numbered(const struct nbds_report *r)
{
	uint64_t count = 0;

	for (int s = 0; s < NBDS_LEVELS; s++)
		count += r->keep.by[s].count;
	return count;
}

void nbds_report_probed(struct nbds_report *r, const struct nbds_probed *probed)
{
	r->probed = probed;
}

void nbds_report_end(struct nbds_report *r, const char *error)
{
	struct nbds_engine *e = nbds_pipeline_engine(r->pipeline);
	struct nbds_outcome o = {.error = error, .opened = true};

	nbds_pipeline_info(r->pipeline, &o.info);
	nbds_engine_totals(e, &o.totals);
	o.engine = e;
	o.exports = nbds_engine_exports(e);
	finish(r, &o);
}

void nbds_report_unreadable(struct nbds_report *r, const char *name, const char *error)
{
	struct nbds_outcome o = {.error = error};

	nbds_report_begin(r, name, NULL);
	finish(r, &o);
}

/* Findings that are counted, and not there: rules are known, and how many of each level. */
static void count_untold(struct nbds_report *r, const struct nbds_told *told)
{
	uint64_t left[NBDS_LEVELS];

	for (int s = 0; s < NBDS_LEVELS; s++) {
		left[s] = told->totals.findings[s];
		for (size_t i = 0; i < nbds_rules_count; i++)
			left[s] -= r->tally[i].count[s] < left[s] ? r->tally[i].count[s] : left[s];
		if (left[s] && s > r->worst)
			r->worst = s;
		r->counted += left[s];
	}
	for (size_t i = 0; told->rules && i < nbds_rules_count; i++) {
		uint64_t more = told->rules[i];

		for (int s = 0; s < NBDS_LEVELS; s++)
			more -= r->tally[i].count[s] < more ? r->tally[i].count[s] : more;
		/* at its own level, or a lower one */
		for (int s = (int)nbds_rules[i].severity; s >= 0 && more; s--) {
			uint64_t here = more < left[s] ? more : left[s];

			r->tally[i].count[s] += here;
			left[s] -= here;
			more -= here;
		}
	}
	r->hidden += told->left_out;
	r->keep.left_out[NBDS_NOTE] += told->no_room;
}

void nbds_report_told(struct nbds_report *r, const char *name, const struct nbds_told *told)
{
	struct nbds_outcome o = {.error = told->error,
				 .opened = told->opened,
				 .info = told->info,
				 .totals = told->totals,
				 .exports = told->exports,
				 .shards_wrong = told->shards_wrong,
				 .told = told};

	nbds_report_begin(r, name, NULL);
	r->told_of = told;
	for (size_t i = 0; i < told->finding_count; i++)
		on_finding(r, told->findings[i]);
	count_untold(r, told);
	finish(r, &o);
	r->told_of = NULL;
}

void nbds_report_finish(struct nbds_report *r)
{
	if (r->form->finish)
		r->form->finish(r);
}

uint64_t nbds_report_findings(const struct nbds_report *r)
{
	return r->counted;
}

bool nbds_report_reached(const struct nbds_report *r, enum nbds_severity severity)
{
	return r->worst >= (int)severity;
}

uint64_t nbds_report_lost(const struct nbds_report *r)
{
	return r->lost;
}

int nbds_report_error(const struct nbds_report *r)
{
	return r->spool_error;
}

const char *nbds_report_verdict(const struct nbds_report *r)
{
	return r->verdict ? r->verdict : "";
}

bool nbds_report_unaudited(const struct nbds_report *r)
{
	return r->unaudited;
}

double nbds_report_least_judged(const struct nbds_report *r)
{
	return r->least_judged;
}
