/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * junit.c - the report for systems that run tests.
 *
 * A capture is a test suite: its first case is the audit itself, and each rule is
 * a case that fails if something at or above --fail-on broke it.  What is below
 * that level is the case's output.  Where nothing could be audited no rule was
 * tried, and each case is skipped.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "probed.h"

/* Findings of one rule that are told one by one. */
#define TOLD_MAX 100

struct rule_case {
	struct nbds_buf failures, others; /* one finding a line */
	uint64_t failed, passed;          /* findings, repeats included */
	unsigned told;
};

/* Text in an element or an attribute. What XML has no character for is '?'. */
static void put_xml(struct nbds_buf *b, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '&')
			nbds_buf_puts(b, "&amp;");
		else if (c == '<')
			nbds_buf_puts(b, "&lt;");
		else if (c == '>')
			nbds_buf_puts(b, "&gt;");
		else if (c == '"')
			nbds_buf_puts(b, "&quot;");
		else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
			nbds_buf_puts(b, "?");
		else if (c == 0xef && (unsigned char)text[1] == 0xbf &&
			 ((unsigned char)text[2] & 0xfe) == 0xbe)
			nbds_buf_puts(b, "?"), text += 2; /* U+FFFE, U+FFFF */
		else
			nbds_buf_add(b, text, 1);
	}
}

static void put_attribute(struct nbds_buf *b, const char *name, const char *text)
{
	nbds_buf_printf(b, " %s=\"", name);
	put_xml(b, text);
	nbds_buf_puts(b, "\"");
}

static void put_name(struct nbds_report *r, struct nbds_buf *b)
{
	nbds_buf_clear(&r->text);
	nbds_buf_escape(&r->text, r->name, strlen(r->name));
	put_attribute(b, "name", nbds_buf_text(&r->text));
}

static bool fails(const struct nbds_report *r, const struct nbds_finding *f)
{
	return !r->options.never_fail && f->severity >= r->options.fail_on &&
	       f->standing != NBDS_STANDING_KNOWN;
}

static void sort_out(struct nbds_report *r, struct rule_case *cases)
{
	const struct nbds_finding *f;

	while ((f = nbds_keep_next_worst(&r->keep))) {
		struct rule_case *c = &cases[nbds_rule_place(f->rule)];
		bool failed = fails(r, f);
		struct nbds_buf *b = failed ? &c->failures : &c->others;

		*(failed ? &c->failed : &c->passed) += f->count;
		if (c->told++ >= TOLD_MAX)
			continue;
		nbds_buf_printf(b, "%s", nbds_severity_name(f->severity));
		if (nbds_finding_frame(f))
			nbds_buf_printf(b, ", frame %" PRIu64, nbds_finding_frame(f));
		nbds_buf_printf(b, ": %s", f->message);
		if (f->count > 1)
			nbds_buf_printf(b, " (%" PRIu64 " times)", f->count);
		nbds_buf_puts(b, "\n");
	}
}

static void put_case(struct nbds_report *r, const struct nbds_rule *rule, struct rule_case *c,
		     bool tried)
{
	static const char *const sides[] = {
		[NBDS_FAULT_SERVER] = "nbdaudit.server",
		[NBDS_FAULT_CLIENT] = "nbdaudit.client",
		[NBDS_FAULT_EITHER] = "nbdaudit.either",
	};
	struct nbds_buf *b = &r->line;

	nbds_buf_puts(b, "    <testcase");
	put_attribute(b, "classname", sides[rule->side]);
	put_attribute(b, "name", rule->name);
	if (!tried) {
		nbds_buf_puts(b, "><skipped message=\"nothing was audited\"/></testcase>\n");
		return;
	}
	if (!c->failed && !c->passed) {
		nbds_buf_puts(b, "/>\n");
		return;
	}
	nbds_buf_puts(b, ">\n");
	if (c->failed) {
		nbds_buf_clear(&r->text);
		nbds_buf_printf(&r->text, "%" PRIu64 " times: %s [%s]", c->failed, rule->summary,
				rule->ref);
		nbds_buf_puts(b, "      <failure");
		put_attribute(b, "message", nbds_buf_text(&r->text));
		put_attribute(b, "type", rule->name);
		nbds_buf_puts(b, ">");
		put_xml(b, nbds_buf_text(&c->failures));
		if (rule->advice) {
			nbds_buf_puts(b, "to do: ");
			put_xml(b, rule->advice);
			nbds_buf_puts(b, "\n");
		}
		nbds_buf_puts(b, "</failure>\n");
	}
	if (c->passed) {
		nbds_buf_puts(b, "      <system-out>");
		put_xml(b, nbds_buf_text(&c->others));
		nbds_buf_puts(b, "</system-out>\n");
	}
	nbds_buf_puts(b, "    </testcase>\n");
}

/* The audit itself: that there was something to read, to its end. */
static bool put_audit(struct nbds_report *r, const struct nbds_outcome *o)
{
	struct nbds_buf *b = &r->line, *t = &r->text;
	bool error = *o->error != '\0';

	nbds_buf_clear(t);
	if (error)
		nbds_buf_escape(t, o->error, strlen(o->error));
	else if (o->unaudited)
		nbds_unaudited_why(o, t);
	nbds_buf_puts(b, "    <testcase classname=\"nbdaudit\" name=\"audit\"");
	if (!t->len) {
		nbds_buf_puts(b, "/>\n");
		return false;
	}
	error |= o->unaudited && !r->options.allow_unaudited;
	nbds_buf_printf(b, "><%s", error ? "error" : "skipped");
	put_attribute(b, "message", nbds_buf_text(t));
	if (error)
		nbds_buf_puts(b, *o->error ? " type=\"incomplete\"" : " type=\"unaudited\"");
	nbds_buf_puts(b, "/></testcase>\n");
	return error;
}

static void put_property(struct nbds_buf *b, const char *name, const char *value)
{
	nbds_buf_puts(b, "      <property");
	put_attribute(b, "name", name);
	put_attribute(b, "value", value);
	nbds_buf_puts(b, "/>\n");
}

/* A history of a probe: a promise that was broken, or may have been, as findings are. */
static bool history_failed(const struct nbds_report *r, const struct nbds_probed_row *row)
{
	for (int s = NBDS_VIOLATION; s >= (int)r->options.fail_on; s--)
		if (row->findings[s] && !r->options.never_fail)
			return true;
	return false;
}

static void put_history(struct nbds_report *r, const struct nbds_probed_row *row)
{
	struct nbds_buf *b = &r->line;
	bool failed = history_failed(r, row);

	nbds_buf_clear(&r->text);
	nbds_probed_about(row, &r->text);
	nbds_buf_puts(b, "    <testcase classname=\"nbdaudit.probe\"");
	put_attribute(b, "name", row->name);
	if (!failed && row->outcome <= NBDS_PROBED_BROKEN) {
		nbds_buf_puts(b, "><system-out>");
		put_xml(b, nbds_probed_word(row));
		nbds_buf_puts(b, ": ");
		put_xml(b, nbds_buf_text(&r->text));
		nbds_buf_puts(b, "</system-out></testcase>\n");
		return;
	}
	nbds_buf_printf(b, "><%s", failed ? "failure" : "skipped");
	put_attribute(b, "message", nbds_buf_text(&r->text));
	if (failed)
		put_attribute(b, "type", row->rule ? row->rule->name : "probe");
	nbds_buf_puts(b, "/></testcase>\n");
}

static void put_suite(struct nbds_report *r, const struct nbds_outcome *o, struct rule_case *cases)
{
	struct nbds_buf *b = &r->line, head = {0};
	size_t failures = 0, histories = r->probed ? r->probed->count : 0, skipped = 0;
	bool error;

	for (size_t i = 0; i < nbds_rules_count; i++)
		failures += cases[i].failed != 0;
	nbds_buf_clear(b);
	nbds_buf_puts(b, "    <properties>\n");
	put_property(b, "verdict", nbds_verdict(o));
	nbds_buf_printf(b, "      <property name=\"judged.bytes\" value=\"%" PRIu64 "\"/>\n",
			o->totals.checked_bytes);
	nbds_buf_printf(b, "      <property name=\"judged.of_bytes\" value=\"%" PRIu64 "\"/>\n",
			o->read_bytes);
	if (o->shards)
		nbds_buf_printf(b, "      <property name=\"shard\" value=\"%u/%u\"/>\n", o->shard,
				o->shards);
	nbds_buf_puts(b, "    </properties>\n");
	error = put_audit(r, o);
	for (size_t i = 0; i < nbds_rules_count; i++)
		put_case(r, &nbds_rules[i], &cases[i], !o->unaudited);
	for (size_t i = 0; i < histories; i++) {
		const struct nbds_probed_row *row = &r->probed->rows[i];

		put_history(r, row);
		if (history_failed(r, row))
			failures++;
		else if (row->outcome > NBDS_PROBED_BROKEN)
			skipped++;
	}
	nbds_buf_puts(b, "  </testsuite>\n");

	nbds_buf_puts(&head, "  <testsuite");
	put_name(r, &head);
	nbds_buf_printf(&head, " tests=\"%zu\" failures=\"%zu\" errors=\"%d\" skipped=\"%zu\">\n",
			nbds_rules_count + 1 + histories, failures, error,
			skipped + (o->unaudited ? nbds_rules_count + !error : 0));
	fputs(nbds_buf_text(&head), r->out);
	nbds_buf_free(&head);
	nbds_report_write(r);
}

static void junit_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	struct rule_case *cases = calloc(nbds_rules_count, sizeof(*cases));

	if (!cases) {
		r->lost += r->counted;
		return;
	}
	sort_out(r, cases);
	put_suite(r, o, cases);
	for (size_t i = 0; i < nbds_rules_count; i++) {
		nbds_buf_free(&cases[i].failures);
		nbds_buf_free(&cases[i].others);
	}
	free(cases);
}

static void junit_begin(struct nbds_report *r)
{
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"nbdaudit\">\n",
	      r->out);
}

static void junit_finish(struct nbds_report *r)
{
	fputs("</testsuites>\n", r->out);
}

const struct nbds_form nbds_junit_form = {
	.begin = junit_begin,
	.capture = junit_capture,
	.finish = junit_finish,
	.documents = true,
};
