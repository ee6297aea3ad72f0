/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html_findings.c - findings in HTML: by level and rule, the first of each rule in full and
 * the others as rows that are folded.
 *
 * However many there are, the page stays readable and below its size: what a row may take
 * is what is left by the number of rows, and what there is no room for is counted.  From
 * what stands in a row the script draws its picture.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>

#include "html.h"

/* Of what findings may take, those in full may take a third; one takes about so much. */
#define FULL_SHARE 3
#define FULL_BYTES 12288
/* A row without words, at most; and words that are worth it. */
#define ROW_BYTES   460
#define WORDS_LEAST 80
#define WORDS_MOST  400

struct html_page {
	struct nbds_report *r;
	const char *id;
	uint64_t full_left, rows_left; /* bytes */
	uint64_t rows;                 /* that are still to come */
	uint64_t no_room;
};

/* --- in full --- */

static void put_where(struct nbds_buf *b, const struct nbds_finding *f)
{
	const char *between = "";

	if (f->connection) {
		nbds_buf_printf(b, "connection %" PRIu32, f->connection);
		between = ", ";
	}
	if (f->has_range) {
		nbds_buf_puts(b, between);
		nbds_buf_size(b, f->length);
		nbds_buf_printf(b, " at 0x%" PRIx64, f->offset);
		between = ", ";
	}
	if (nbds_finding_frame(f))
		nbds_buf_printf(b, "%sframe %" PRIu64, between, nbds_finding_frame(f));
}

static void put_frame(struct html_page *p, const struct nbds_finding *f, int role)
{
	struct nbds_buf *b = &p->r->line;
	const struct nbds_witness *w;
	char name[NBDS_TEXT_OF_MAX];
	struct nbds_flag_iter it;
	const char *flag, *command;
	bool reply;

	nbds_buf_printf(b, "<tr><td class=\"num\">%" PRIu64 "</td><td>%s</td>", f->frames[role],
			nbds_role_words[role]);
	w = nbds_witness_of(f, role, &reply);
	if (!w) {
		nbds_buf_puts(b, "<td></td><td></td><td></td></tr>\n");
		return;
	}
	command = nbds_text_of(&nbds_commands, w->type, name);
	nbds_buf_printf(b, "<td class=\"num\">%.6f s</td><td class=\"num\">%" PRIu32 "</td><td>%s",
			(double)nbds_report_since(p->r, reply ? w->reply_time : w->request_time) /
				1e9,
			w->connection, reply ? "answer to " : "");
	nbds_html_text(b, command);
	if (!reply) {
		if (w->length) {
			nbds_buf_puts(b, ", ");
			nbds_buf_count(b, w->length, "byte", NULL);
			nbds_buf_printf(b, " at 0x%" PRIx64, w->offset);
		}
		nbds_flags_begin(&it, &nbds_command_flags, w->flags);
		while ((flag = nbds_flags_next(&it))) {
			nbds_buf_puts(b, ", ");
			nbds_html_text(b, flag);
		}
	}
	nbds_buf_puts(b, "</td></tr>\n");
}

static void put_frames(struct html_page *p, const struct nbds_finding *f)
{
	struct nbds_buf *b = &p->r->line, filter = {0};

	if (!nbds_finding_frame(f))
		return;
	if (f->witness_count) {
		nbds_buf_puts(b, "<div class=\"scroll\"><table class=\"frames\"><thead><tr>"
				 "<th scope=\"col\" class=\"num\">frame</th>"
				 "<th scope=\"col\">what</th>"
				 "<th scope=\"col\" class=\"num\">time</th>"
				 "<th scope=\"col\" class=\"num\">conn</th>"
				 "<th scope=\"col\">message</th></tr></thead><tbody>\n");
		for (int role = 0; role < NBDS_ROLE_MAX; role++)
			if (f->frames[role])
				put_frame(p, f, role);
		nbds_buf_puts(b, "</tbody></table></div>\n");
	} else {
		nbds_buf_puts(b, "<dl><dt>frames</dt>");
		for (int role = 0; role < NBDS_ROLE_MAX; role++)
			if (f->frames[role])
				nbds_buf_printf(b, "<dd>%" PRIu64 ", the %s</dd>", f->frames[role],
						nbds_role_words[role]);
		nbds_buf_puts(b, "</dl>\n");
	}
	nbds_finding_filter(f, &filter);
	nbds_buf_puts(b, "<p class=\"filter\"><span>Wireshark</span> <code>");
	nbds_html_text(b, nbds_buf_text(&filter));
	nbds_buf_puts(b, "</code></p>\n");
	nbds_buf_free(&filter);
}

static void put_card(struct html_page *p, const struct nbds_finding *f, bool open)
{
	const char *level = nbds_severity_name(f->severity);
	const struct activity_story *story = activity_around(&p->r->activity, f);
	struct nbds_buf *b = &p->r->line;

	nbds_buf_printf(b, "<details class=\"finding s-%s\" id=\"%sf%" PRIu64 "\"%s><summary>",
			level, p->id, f->number, open ? " open" : "");
	nbds_buf_printf(b, "<span class=\"no\">%" PRIu64 "</span> <span class=\"where\">",
			f->number);
	put_where(b, f);
	nbds_buf_printf(b, "</span> <span class=\"when\">%.6f s</span>",
			(double)nbds_report_since(p->r, f->time) / 1e9);
	if (f->standing == NBDS_STANDING_NEW)
		nbds_buf_puts(b, " <span class=\"chip\">new</span>");
	nbds_buf_puts(b, "</summary>\n");
	nbds_buf_puts(b, "<p class=\"message\">");
	nbds_html_beginning(b, f->message ? f->message : f->rule->summary, NBDS_HTML_TEXT_MOST);
	nbds_buf_puts(b, "</p>\n");
	nbds_html_lanes(b, f, story);
	nbds_html_list(p->r);
	nbds_finding_what(p->r, f);
	nbds_html_list_end(p->r);
	put_frames(p, f);
	/* each is read by itself */
	nbds_buf_clear(&p->r->assumed);
	nbds_html_list(p->r);
	nbds_finding_rest(p->r, f);
	nbds_html_list_end(p->r);
	nbds_buf_puts(b, "</details>\n");
}

/* --- as rows --- */

/* "W 1 35 36 0 106000 0 1024;": role, connection, frames, ns since the first, range. */
static void put_witnesses(struct nbds_buf *b, const struct nbds_finding *f)
{
	static const char letters[] = {
		[NBDS_ROLE_EARLIER_READ] = 'e', [NBDS_ROLE_STALE_WRITE] = 's',
		[NBDS_ROLE_WRITE] = 'w',        [NBDS_ROLE_FLUSH] = 'f',
		[NBDS_ROLE_READ] = 'r',
	};
	const struct nbds_witness *first = f->witnesses;

	for (unsigned i = 1; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++)
		if (f->witnesses[i].request_time < first->request_time)
			first = &f->witnesses[i];
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		const struct nbds_witness *w = &f->witnesses[i];
		char letter = (size_t)w->role < sizeof(letters) && letters[w->role]
				      ? letters[w->role]
				      : 'x';

		nbds_buf_printf(b,
				"%s%c %" PRIu32 " %u %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64
				" %" PRIu64 " %u",
				i ? ";" : "", letter, w->connection, w->type, w->request_frame,
				w->reply_frame,
				nbds_elapsed(first->request_time, w->request_time) / 1000,
				w->reply_frame
					? nbds_elapsed(first->request_time, w->reply_time) / 1000
					: 0,
				w->length, w->flags & NBD_CMD_FLAG_FUA ? 1u : 0u);
	}
}

/* False: no room. */
static bool put_row(struct html_page *p, const struct nbds_finding *f)
{
	uint64_t share = p->rows ? p->rows_left / p->rows : 0, words = 0;
	struct nbds_buf *b = &p->r->line, filter = {0};
	size_t before = b->len;

	if (p->rows_left < ROW_BYTES)
		return false;
	nbds_buf_printf(b,
			"<tr id=\"%sf%" PRIu64 "\"><td class=\"num\">%" PRIu64
			"</td><td class=\"num\">%.6f</td><td class=\"num\">",
			p->id, f->number, f->number,
			(double)nbds_report_since(p->r, f->time) / 1e9);
	if (f->connection)
		nbds_buf_printf(b, "%" PRIu32, f->connection);
	nbds_buf_puts(b, "</td><td class=\"num\">");
	if (f->has_range)
		nbds_buf_printf(b, "0x%" PRIx64 "</td><td class=\"num\">%" PRIu64, f->offset,
				f->length);
	else
		nbds_buf_puts(b, "</td><td>");
	nbds_buf_puts(b, "</td><td");
	if (f->witness_count > 1) {
		nbds_buf_puts(b, " data-w=\"");
		put_witnesses(b, f);
		nbds_buf_puts(b, "\"");
	}
	nbds_buf_puts(b, ">");
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role])
			nbds_buf_printf(&filter, "%s%" PRIu64, filter.len ? ", " : "",
					f->frames[role]);
	nbds_html_text(b, nbds_buf_text(&filter));
	nbds_buf_free(&filter);
	nbds_buf_puts(b, "</td><td>");
	if (f->standing == NBDS_STANDING_NEW)
		nbds_buf_puts(b, "new: ");
	if (f->count > 1)
		nbds_buf_printf(b, "%" PRIu64 " in all: ", f->count);
	if (share > b->len - before + WORDS_LEAST + 12)
		words = share - (b->len - before) - 12;
	if (words > WORDS_MOST)
		words = WORDS_MOST;
	if (words && f->message)
		nbds_html_beginning(b, f->message, (size_t)words);
	nbds_buf_puts(b, "</td></tr>\n");
	p->rows_left -= b->len - before < p->rows_left ? b->len - before : p->rows_left;
	if (p->rows)
		p->rows--;
	return true;
}

static void put_rows_head(struct html_page *p, uint64_t count)
{
	struct nbds_buf *b = &p->r->line;

	nbds_buf_printf(b, "<details class=\"more\"><summary>and %" PRIu64 " more</summary>\n",
			count);
	nbds_buf_puts(b, "<div class=\"scroll\"><table class=\"sort rows\"><thead><tr>"
			 "<th scope=\"col\" class=\"num\">no</th>"
			 "<th scope=\"col\" class=\"num\">time, s</th>"
			 "<th scope=\"col\" class=\"num\">conn</th>"
			 "<th scope=\"col\" class=\"num\">offset</th>"
			 "<th scope=\"col\" class=\"num\">bytes</th><th scope=\"col\">frames</th>"
			 "<th scope=\"col\">what happened</th></tr></thead><tbody>\n");
}

/* --- a rule --- */

/* Those of one rule and level, from `at` on; there are `count`. */
static void put_rule(struct html_page *p, const struct nbds_finding **at, size_t count)
{
	const struct nbds_finding *f = *at;
	const struct nbds_rule *rule = f->rule;
	const char *level = nbds_severity_name(f->severity);
	struct nbds_buf *b = &p->r->line;
	uint64_t all = p->r->tally[nbds_rule_place(rule)].count[f->severity];
	size_t shown = 0;

	nbds_buf_printf(b,
			"<section class=\"rule s-%s\" id=\"%sr-%s-%s\"><h3><span class=\"chip\">%s"
			"</span> ",
			level, p->id, rule->name, level, level);
	nbds_buf_printf(b,
			"<code>%s</code> <span class=\"ref\">%s</span> <span class=\"count\">"
			"%" PRIu64 "</span></h3>\n<p class=\"summary\">",
			rule->name, rule->ref, all);
	nbds_html_text(b, rule->summary);
	nbds_buf_puts(b, "</p>\n");
	while (shown < count && shown < activity_stories_of(f->severity)) {
		size_t before = b->len;

		if (p->full_left < FULL_BYTES)
			break;
		put_card(p, at[shown], shown == 0);
		p->full_left -= b->len - before < p->full_left ? b->len - before : p->full_left;
		shown++;
		nbds_html_write(p->r);
	}
	if (shown < count) {
		uint64_t left = 0;

		put_rows_head(p, count - shown);
		for (; shown < count; shown++) {
			if (!put_row(p, at[shown])) {
				left++;
				continue;
			}
			if (b->len > 65536)
				nbds_html_write(p->r);
		}
		nbds_buf_puts(b, "</tbody></table></div>\n");
		if (left) {
			p->no_room += left;
			nbds_buf_printf(b,
					"<p class=\"note\">and %" PRIu64 " for which this page "
					"has no room (--format=json shows them all)</p>\n",
					left);
		}
		nbds_buf_puts(b, "</details>\n");
	}
	nbds_buf_puts(b, "</section>\n");
	nbds_html_write(p->r);
}

struct html_ordered {
	const struct nbds_finding *finding;
	size_t place, serial;
};

static int by_rule(const void *x, const void *y)
{
	const struct html_ordered *a = x, *b = y;

	if (a->place != b->place)
		return a->place < b->place ? -1 : 1;
	return a->serial < b->serial ? -1 : a->serial > b->serial;
}

/* Those of one level, by rule and, of a rule, by time. */
static void put_level(struct html_page *p, const struct nbds_kept_vector *kept)
{
	struct html_ordered *list = calloc(kept->count ? kept->count : 1, sizeof(*list));
	const struct nbds_finding **sorted = calloc(kept->count ? kept->count : 1, sizeof(*sorted));

	if (!list || !sorted) {
		p->r->lost += kept->count;
		free(list);
		free((void *)sorted);
		return;
	}
	for (size_t i = 0; i < kept->count; i++)
		list[i] = (struct html_ordered){kept->at[i].finding,
						nbds_rule_place(kept->at[i].finding->rule), i};
	qsort(list, kept->count, sizeof(*list), by_rule);
	for (size_t i = 0; i < kept->count; i++)
		sorted[i] = list[i].finding;
	for (size_t i = 0, n; i < kept->count; i += n) {
		for (n = 1; i + n < kept->count && list[i + n].place == list[i].place; n++)
			;
		put_rule(p, sorted + i, n);
	}
	free(list);
	free((void *)sorted);
}

/* What those in full would take. */
static uint64_t full_bytes(const struct nbds_report *r)
{
	uint64_t bytes = 0;

	for (size_t rule = 0; rule < nbds_rules_count; rule++) {
		for (int s = 0; s < NBDS_LEVELS; s++) {
			uint64_t most = activity_stories_of((enum nbds_severity)s);

			bytes += FULL_BYTES *
				 (r->tally[rule].count[s] < most ? r->tally[rule].count[s] : most);
		}
	}
	return bytes;
}

void nbds_html_findings(struct nbds_report *r, const char *id, uint64_t left)
{
	struct html_page p = {.r = r, .id = id, .full_left = full_bytes(r)};
	uint64_t no_room = 0;

	if (p.full_left > left / FULL_SHARE)
		p.full_left = left / FULL_SHARE;
	p.rows_left = left - p.full_left;
	for (int s = 0; s < NBDS_LEVELS; s++) {
		p.rows += r->keep.by[s].count;
		no_room += r->keep.left_out[s];
	}
	for (int s = NBDS_LEVELS; s-- > 0;)
		put_level(&p, &r->keep.by[s]);
	if (no_room)
		nbds_buf_printf(&r->line,
				"<p class=\"note\">%" PRIu64
				" more were only counted, for want of room (--memory)</p>\n",
				no_room);
	if (r->hidden)
		nbds_buf_printf(&r->line,
				"<p class=\"note\">%" PRIu64
				" are not shown, as they are below --severity</p>\n",
				r->hidden);
}
