/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * probed.c - what came of each history of a probe, in text, and in words for all forms.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"
#include "probed.h"

const char *const nbds_probed_outcomes[] = {
	[NBDS_PROBED_KEPT] = "kept",       [NBDS_PROBED_STALE] = "stale",
	[NBDS_PROBED_SUSPECT] = "suspect", [NBDS_PROBED_BROKEN] = "broken",
	[NBDS_PROBED_FAILED] = "failed",   [NBDS_PROBED_UNJUDGED] = "unjudged",
	[NBDS_PROBED_UNASKED] = "unasked",
};

const char *nbds_probed_word(const struct nbds_probed_row *row)
{
	switch (row->outcome) {
	case NBDS_PROBED_KEPT:
		/* Nobody had promised it. */
		return row->promised ? "kept" : "not stale";
	case NBDS_PROBED_UNJUDGED:
		return "not judged";
	case NBDS_PROBED_UNASKED:
		return "not asked";
	default:
		return nbds_probed_outcomes[row->outcome];
	}
}

enum nbds_ink nbds_probed_ink(const struct nbds_probed_row *row)
{
	switch (row->outcome) {
	case NBDS_PROBED_KEPT:
		return NBDS_INK_GOOD;
	case NBDS_PROBED_STALE:
		return NBDS_INK_HAZARD;
	case NBDS_PROBED_SUSPECT:
	case NBDS_PROBED_FAILED:
		return NBDS_INK_SUSPECT;
	case NBDS_PROBED_BROKEN:
		return NBDS_INK_VIOLATION;
	default:
		return NBDS_INK_DIM;
	}
}

void nbds_probed_about(const struct nbds_probed_row *row, struct nbds_buf *b)
{
	nbds_buf_puts(b, row->asks);
	if (row->rule) {
		uint64_t count = 0;
		int s = NBDS_VIOLATION;

		while (s > NBDS_NOTE && !row->findings[s])
			s--;
		count = row->findings[s];
		nbds_buf_puts(b, " ");
		nbds_buf_count(b, count, nbds_severity_name((enum nbds_severity)s), NULL);
		nbds_buf_printf(b, ", %s [%s].", row->rule->name, row->rule->ref);
	}
	if (row->reason) {
		nbds_buf_puts(b, " (");
		nbds_buf_escape(b, row->reason, strlen(row->reason));
		nbds_buf_puts(b, ")");
	}
}

void nbds_probed_facts(struct nbds_report *r)
{
	const struct nbds_probed *p = r->probed;
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	nbds_buf_escape(t, p->uri, strlen(p->uri));
	nbds_buf_printf(t, ", %u connection%s%s", p->connections, p->connections == 1 ? "" : "s",
			p->limit ? " (" : "");
	if (p->limit) {
		nbds_buf_escape(t, p->limit, strlen(p->limit));
		nbds_buf_puts(t, ")");
	}
	nbds_buf_printf(t, ", %.1f s, seed %" PRIu64, p->seconds, p->seed);
	nbds_item(&r->paper, "probed", nbds_buf_text(t));
	nbds_buf_clear(t);
	nbds_buf_escape(t, p->others, strlen(p->others));
	nbds_item(&r->paper, "others", nbds_buf_text(t));
	if (p->stopped) {
		nbds_buf_clear(t);
		nbds_buf_escape(t, p->stopped, strlen(p->stopped));
		nbds_item(&r->paper, "stopped", nbds_buf_text(t));
	}
	nbds_item(&r->paper, "multi-conn", p->conclusion);
}

static const char *group_words(const struct nbds_probed *p, const char *promise)
{
	if (!strcmp(promise, "multi-conn"))
		return p->multi_conn ? "what CAN_MULTI_CONN promises"
				     : "what CAN_MULTI_CONN would promise";
	if (!strcmp(promise, "durable"))
		return "what outlives connections";
	return !strcmp(promise, "none") ? "what nobody promises" : "what holds on one connection";
}

#define NAME_COLUMNS    22
#define OUTCOME_COLUMNS 12

void nbds_probed_text(struct nbds_report *r)
{
	const struct nbds_probed *p = r->probed;
	struct nbds_buf *t = &r->text;
	const char *group = "";

	fputc('\n', r->out);
	nbds_probed_facts(r);
	for (size_t i = 0; i < p->count; i++) {
		const struct nbds_probed_row *row = &p->rows[i];
		const char *word = nbds_probed_word(row);
		unsigned at = 4 + NAME_COLUMNS + OUTCOME_COLUMNS;

		if (strcmp(group, row->promise) != 0) {
			group = row->promise;
			fputs("    ", r->out);
			nbds_ink(&r->paper, NBDS_INK_DIM, group_words(p, group));
			fputc('\n', r->out);
		}
		fprintf(r->out, "    %-*s", NAME_COLUMNS, row->name);
		nbds_ink(&r->paper, nbds_probed_ink(row), word);
		fprintf(r->out, "%*s", OUTCOME_COLUMNS - (int)strlen(word), "");
		nbds_buf_clear(t);
		nbds_probed_about(row, t);
		nbds_wrap(&r->paper, at, at, nbds_buf_text(t));
	}
}
