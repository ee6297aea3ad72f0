/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * report.c - takes the engine's callbacks, keeps findings, calls the forms.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct nbds_report *nbds_report_new(FILE *out, const struct nbds_report_options *options)
{
	struct nbds_report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->out = out;
	r->options = *options;
	r->paper = (struct nbds_paper){
		.out = out,
		.width = options->width ? options->width : 100,
		.colour = options->colour,
		.ascii = options->ascii,
	};
	r->worst = -1;
	return r;
}

static void drop_kept(struct nbds_report *r)
{
	for (size_t i = 0; i < r->kept_count; i++)
		nbds_finding_free(r->kept[i].finding);
	r->kept_count = 0;
}

void nbds_report_free(struct nbds_report *r)
{
	if (!r)
		return;
	drop_kept(r);
	free(r->kept);
	nbds_buf_free(&r->line);
	nbds_buf_free(&r->text);
	nbds_buf_free(&r->assumed);
	nbds_json_fields_free(r->fields);
	free(r);
}

/* --- callbacks of the engine --- */

static void print_finding(struct nbds_report *r, const struct nbds_finding *f)
{
	if (r->options.format == NBDS_REPORT_JSON)
		nbds_json_finding(r, f);
	else
		nbds_text_finding(r, f);
}

static bool keep(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_kept *k;

	if (r->kept_count == r->kept_size) {
		size_t size = r->kept_size ? r->kept_size * 2 : 64;

		k = reallocarray(r->kept, size, sizeof(*k));
		if (!k)
			return false;
		r->kept = k;
		r->kept_size = size;
	}
	k = &r->kept[r->kept_count];
	k->serial = r->kept_count;
	k->finding = nbds_finding_copy(f);
	if (!k->finding)
		return false;
	r->kept_count++;
	return true;
}

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct nbds_report *r = ctx;

	r->counted += f->count;
	if ((int)f->severity > r->worst)
		r->worst = (int)f->severity;
	if (f->severity < r->options.severity) {
		r->hidden += f->count;
	} else if (r->options.live) {
		print_finding(r, f);
	} else if (!keep(r, f)) {
		r->lost++;
	}
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct nbds_report *r = ctx;

	if (r->options.format == NBDS_REPORT_JSON)
		nbds_json_message(r, c, m);
	else
		nbds_text_message(r, c, m);
	r->told = true;
}

static void on_trouble(void *ctx, struct nbds_connection *c, const struct nbds_trouble *t)
{
	struct nbds_report *r = ctx;

	nbds_text_trouble(r, c, t);
	r->told = true;
}

void nbds_report_callbacks(const struct nbds_report *r, struct nbds_engine_ops *ops)
{
	memset(ops, 0, sizeof(*ops));
	ops->finding = on_finding;
	if (r->options.messages) {
		ops->message = on_message;
		if (r->options.format == NBDS_REPORT_TEXT)
			ops->trouble = on_trouble;
	}
}

/* --- one capture --- */

void nbds_report_begin(struct nbds_report *r, const char *name, struct nbds_pipeline *p)
{
	drop_kept(r);
	r->name = name;
	r->pipeline = p;
	r->counted = r->hidden = 0;
	r->told = false;
	nbds_buf_clear(&r->assumed);
	if (r->captures++ && r->options.format == NBDS_REPORT_TEXT)
		fputc('\n', r->out);
}

static int by_time(const void *a, const void *b)
{
	const struct nbds_kept *x = a, *y = b;

	if (x->finding->time != y->finding->time)
		return x->finding->time < y->finding->time ? -1 : 1;
	return x->serial < y->serial ? -1 : x->serial > y->serial;
}

static void finish(struct nbds_report *r, const struct nbds_outcome *o)
{
	if (r->kept_count)
		qsort(r->kept, r->kept_count, sizeof(*r->kept), by_time);
	if (r->options.format == NBDS_REPORT_JSON)
		nbds_json_report(r, o);
	else
		nbds_text_report(r, o);
	drop_kept(r);
	r->pipeline = NULL;
}

void nbds_report_end(struct nbds_report *r, const char *error)
{
	struct nbds_engine *e = nbds_pipeline_engine(r->pipeline);
	struct nbds_outcome o = {.error = error, .opened = true};

	nbds_pipeline_info(r->pipeline, &o.info);
	nbds_engine_totals(e, &o.totals);
	o.connections = nbds_engine_connections(e);
	o.exports = nbds_engine_exports(e);
	finish(r, &o);
}

void nbds_report_unreadable(struct nbds_report *r, const char *name, const char *error)
{
	struct nbds_outcome o = {.error = error};

	nbds_report_begin(r, name, NULL);
	finish(r, &o);
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
