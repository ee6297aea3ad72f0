/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * text.c - the report for people: the capture, its connections and exports,
 * what is wrong, what could not be judged, and the verdict.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "internal.h"
#include "probed.h"

/* Findings of one rule that are shown in full. */
static const uint64_t findings_shown[] = {
	[NBDS_NOTE] = 3,
	[NBDS_HAZARD] = 5,
	[NBDS_SUSPECT] = 10,
	[NBDS_VIOLATION] = 10,
};

static void put_name(struct nbds_report *r)
{
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	nbds_buf_escape(t, r->name, strlen(r->name));
	nbds_ink(&r->paper, NBDS_INK_HEAD, nbds_buf_text(t));
	fputc('\n', r->out);
}

static void put_cell(struct nbds_buf *t, unsigned width, const char *text)
{
	nbds_buf_printf(t, "  %*s", (int)width, text);
}

static void put_command_row(struct nbds_report *r, const struct nbds_command_stats *s)
{
	struct nbds_buf *t = &r->text, cell = {0};
	char name[NBDS_TEXT_OF_MAX];
	uint64_t latency[3] = {0};

	nbds_buf_clear(t);
	nbds_buf_printf(t, "    %-22s  %9" PRIu64 "  ", nbds_text_of(&nbds_commands, s->type, name),
			s->count);
	/* NBD_CMD_DISC has no reply. */
	if (s->type == NBD_CMD_DISC && !s->replies)
		nbds_buf_printf(t, "%9s", "-");
	else
		nbds_buf_printf(t, "%9" PRIu64, s->replies);
	if (s->bytes)
		nbds_buf_size(&cell, s->bytes);
	put_cell(t, 10, nbds_buf_text(&cell));
	if (s->latency && s->latency->count) {
		latency[0] = nbds_latency_percentile(s->latency, 50);
		latency[1] = nbds_latency_percentile(s->latency, 99);
		latency[2] = s->latency->max;
		for (int i = 0; i < 3; i++) {
			nbds_buf_clear(&cell);
			nbds_buf_duration(&cell, latency[i]);
			put_cell(t, 8, nbds_buf_text(&cell));
		}
	} else if (s->error_kinds) {
		nbds_buf_printf(t, "%*s", 30, "");
	}
	nbds_buf_clear(&cell);
	for (unsigned i = 0; i < s->error_kinds && i < NBDS_ERRORS_MAX; i++)
		nbds_buf_printf(&cell, "%s%" PRIu64 " %s", i ? ", " : "  ", s->errors[i].count,
				nbds_text_of(&nbds_errors, s->errors[i].error, name));
	nbds_buf_puts(t, nbds_buf_text(&cell));
	nbds_buf_free(&cell);
	while (t->len && t->s[t->len - 1] == ' ')
		t->s[--t->len] = '\0';
	nbds_buf_puts(t, "\n");
	fputs(nbds_buf_text(t), r->out);
}

static void put_commands(struct nbds_report *r, const struct nbds_connection *c)
{
	bool any = false;

	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		if (!c->commands[i].count)
			continue;
		if (!any) {
			char head[128];

			snprintf(head, sizeof(head), "    %-22s  %9s  %9s  %10s  %8s  %8s  %8s  %s",
				 "command", "count", "answered", "bytes", "p50", "p99", "max",
				 "errors");
			nbds_ink(&r->paper, NBDS_INK_DIM, head);
			fputc('\n', r->out);
			any = true;
		}
		put_command_row(r, &c->commands[i]);
	}
}

/* `same`: an earlier connection that may have negotiated the same, or 0. Returns the one
 * that tells the negotiation of this one. */
static uint32_t put_connection(struct nbds_report *r, const struct nbds_connection *c,
			       uint32_t same, const struct nbds_outcome *o)
{
	const struct nbds_connection *like = same ? nbds_report_connection(r, same) : NULL;
	char client[NBDS_ADDR_TEXT], server[NBDS_ADDR_TEXT], id[40];

	snprintf(id, sizeof(id), "Connection %" PRIu32, c->id);
	fputc('\n', r->out);
	nbds_ink(&r->paper, NBDS_INK_HEAD, id);
	fprintf(r->out, "  %s -> %s\n", nbds_addr_text(&c->client, client),
		nbds_addr_text(&c->server, server));
	nbds_facts_life(r, c);
	if (like && nbds_same_negotiation(c, like)) {
		snprintf(id, sizeof(id), "like connection %" PRIu32, like->id);
		nbds_item(&r->paper, "negotiated", id);
	} else {
		nbds_facts_negotiated(r, c);
		same = c->id;
	}
	nbds_facts_bytes(r, c);
	put_commands(r, c);
	nbds_facts_open(r, c, o);
	return same;
}

static void put_flush(struct nbds_report *r, const struct nbds_flush_row *row)
{
	const struct nbds_flush_seen *f = &row->flush;
	struct nbds_buf *t = &r->text, cell = {0};

	nbds_buf_clear(t);
	nbds_buf_printf(t, "    %12.6f s  %4" PRIu32 "  %9" PRIu64,
			(double)nbds_report_since(r, f->request_time) / 1e9, row->connection,
			f->request_frame);
	if (f->reply_frame)
		nbds_buf_printf(t, "  %9" PRIu64, f->reply_frame);
	else
		nbds_buf_printf(t, "  %9s", "-");
	if (f->ok) {
		nbds_buf_printf(t, "  %10" PRIu64 "  %10" PRIu64, f->covered_own, f->covered_other);
		if (f->covered_bytes)
			nbds_buf_size(&cell, f->covered_bytes);
		put_cell(t, 10, nbds_buf_text(&cell));
		nbds_buf_free(&cell);
	} else {
		nbds_buf_printf(t, "  %10s  %10s  %10s", f->reply_frame ? "failed" : "unanswered",
				"", "");
	}
	if (f->left)
		nbds_buf_printf(t, "  %9" PRIu64, f->left);
	while (t->len && t->s[t->len - 1] == ' ')
		t->s[--t->len] = '\0';
	nbds_buf_puts(t, "\n");
	fputs(nbds_buf_text(t), r->out);
}

static void put_flushes(struct nbds_report *r, const struct nbds_export *e)
{
	struct nbds_buf *t = &r->text;
	struct nbds_flush_rows rows;
	char head[128];

	nbds_flushes_of(r, e, &rows);
	if (!rows.count)
		return;
	nbds_buf_clear(t);
	nbds_buf_count(t, rows.total, "flush", "flushes");
	if (rows.count < rows.total)
		nbds_buf_printf(t, ", the last %zu of them", rows.count);
	nbds_buf_puts(t, ", and the answered writes that they covered");
	nbds_item(&r->paper, "flush order", nbds_buf_text(t));
	snprintf(head, sizeof(head), "    %12s    %4s  %9s  %9s  %10s  %10s  %10s  %9s", "time",
		 "conn", "request", "reply", "own", "of others", "bytes", "in flight");
	nbds_ink(&r->paper, NBDS_INK_DIM, head);
	fputc('\n', r->out);
	for (size_t i = 0; i < rows.count; i++)
		put_flush(r, &rows.at[i]);
}

static void put_export(struct nbds_report *r, const struct nbds_export *e)
{
	char server[NBDS_ADDR_TEXT];
	struct nbds_buf *t = &r->text;

	fputc('\n', r->out);
	nbds_ink(&r->paper, NBDS_INK_HEAD, "Export");
	nbds_buf_clear(t);
	nbds_buf_puts(t, "  ");
	nbds_buf_quote(t, e->name, e->name_len);
	nbds_buf_printf(t, " at %s", nbds_addr_text(&e->server, server));
	if (e->size_seen) {
		nbds_buf_puts(t, ", ");
		nbds_buf_size_exact(t, e->size);
	}
	nbds_buf_puts(t, "\n");
	fputs(nbds_buf_text(t), r->out);

	nbds_facts_export(r, e);
	put_flushes(r, e);
}

/* --- the end of the report --- */

/* The worst first, and each rule's first in full, the others as a number. */
static void put_findings(struct nbds_report *r)
{
	struct counter {
		uint64_t shown, left;
	}(*of)[NBDS_LEVELS] = calloc(nbds_rules_count, sizeof(*of));
	const struct nbds_finding *f;
	struct nbds_buf *t = &r->text;
	uint64_t no_room = 0;
	bool any = false;

	while ((f = nbds_keep_next_worst(&r->keep))) {
		struct counter *c = of ? &of[nbds_rule_place(f->rule)][f->severity] : NULL;

		if (c && c->shown >= findings_shown[f->severity]) {
			c->left += f->count;
			any = true;
			continue;
		}
		if (c)
			c->shown++;
		nbds_text_finding(r, f);
	}
	for (int s = NBDS_LEVELS; any && s-- > 0;) {
		for (size_t rule = 0; rule < nbds_rules_count; rule++) {
			if (!of[rule][s].left)
				continue;
			nbds_buf_clear(t);
			nbds_buf_printf(t, "%" PRIu64 " of %s [%s] (--format=json shows them all)",
					of[rule][s].left, nbds_rules[rule].name,
					nbds_rules[rule].ref);
			nbds_item(&r->paper, "and more", nbds_buf_text(t));
		}
	}
	free(of);
	for (int s = 0; s < NBDS_LEVELS; s++)
		no_room += r->keep.left_out[s];
	if (no_room) {
		nbds_buf_clear(t);
		nbds_buf_printf(t,
				"%" PRIu64 " that were only counted, for want of room (--memory)",
				no_room);
		nbds_item(&r->paper, "and more", nbds_buf_text(t));
	}
	if (any || no_room)
		fputc('\n', r->out);
}

/* --- the sum, which comes first and last --- */

/* How often each rule was broken, the worst first. */
static void put_table(struct nbds_report *r)
{
	struct nbds_buf *t = &r->text;
	const char *label = "findings";

	for (int s = NBDS_LEVELS; s-- > 0;) {
		const char *level = nbds_severity_name((enum nbds_severity)s);

		for (size_t rule = 0; rule < nbds_rules_count; rule++) {
			const struct nbds_tally *n = &r->tally[rule];

			if (!n->count[s])
				continue;
			fputs("  ", r->out);
			nbds_ink(&r->paper, NBDS_INK_DIM, label);
			fprintf(r->out, "%*s", NBDS_LABEL_COLUMNS - 2 - (int)strlen(label), "");
			label = "";
			nbds_ink(&r->paper, nbds_ink_of((enum nbds_severity)s), level);
			nbds_buf_clear(t);
			nbds_buf_printf(t, "%*s%7" PRIu64 "  %s [%s]", 9 - (int)strlen(level), "",
					n->count[s], nbds_rules[rule].name, nbds_rules[rule].ref);
			if (n->first_frame[s])
				nbds_buf_printf(t, ", %s frame %" PRIu64,
						n->count[s] > 1 ? "first in" : "in",
						n->first_frame[s]);
			nbds_buf_puts(t, "\n");
			fputs(nbds_buf_text(t), r->out);
		}
	}
}

static void put_verdict(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_engine_totals *totals = &o->totals;
	const char *verdict = nbds_verdict(o);
	enum nbds_ink ink = NBDS_INK_GOOD;
	struct nbds_buf *t = &r->text;

	for (int s = NBDS_HAZARD; s <= NBDS_VIOLATION; s++)
		if (totals->findings[s])
			ink = nbds_ink_of((enum nbds_severity)s);
	if (o->unaudited)
		ink = NBDS_INK_HAZARD;
	fputs("  ", r->out);
	nbds_ink(&r->paper, NBDS_INK_DIM, "verdict");
	fprintf(r->out, "%*s", NBDS_LABEL_COLUMNS - 2 - (int)strlen("verdict"), "");
	nbds_ink(&r->paper, ink, verdict);

	nbds_buf_clear(t);
	nbds_buf_puts(t, ": ");
	nbds_verdict_words(r, o, t);
	nbds_wrap(&r->paper, NBDS_LABEL_COLUMNS + nbds_columns(verdict), NBDS_LABEL_COLUMNS,
		  nbds_buf_text(t));
}

static void text_opened(struct nbds_report *r)
{
	if (r->captures > 1)
		fputc('\n', r->out);
}

static void text_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	uint32_t like = 0;

	if (r->told)
		fputc('\n', r->out);
	put_name(r);
	put_verdict(r, o);
	nbds_facts_judged(r, o);
	put_table(r);
	if (r->probed)
		nbds_probed_text(r);
	nbds_facts_why(r);
	if (r->options.summary) {
		if (r->options.compare)
			nbds_compared_text(r);
		return;
	}
	nbds_facts_capture(r, o);
	if (!o->opened)
		return;
	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c;
	     c = nbds_outcome_next(o, c->id))
		like = put_connection(r, c, like, o);
	for (const struct nbds_export *e = o->exports; e; e = e->next)
		put_export(r, e);
	fputc('\n', r->out);
	put_findings(r);
	if (r->options.compare)
		nbds_compared_text(r);
	put_table(r);
	nbds_facts_judged(r, o);
	nbds_facts_not_judged(r, o);
	put_verdict(r, o);
	if (r->probed)
		nbds_item(&r->paper, "multi-conn", r->probed->conclusion);
}

static void text_line(void *ctx, const char *line, size_t len)
{
	fwrite(line, 1, len, ((struct nbds_report *)ctx)->out);
}

const struct nbds_form nbds_text_form = {
	.line = text_line,
	.opened = text_opened,
	.finding = nbds_text_finding,
	.message = nbds_text_message,
	.trouble = nbds_text_trouble,
	.capture = text_capture,
};
