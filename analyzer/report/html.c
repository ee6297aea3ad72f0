/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html.c - the report as a page for people, in one file. See html.h.
 *
 * A capture is a part of the page: its verdict, what was found, what happened when, its
 * exports, its connections and what their flags mean, and the capture itself.  Several
 * captures follow a table of their verdicts; as that comes first and is known last, the
 * parts wait in a temporary file.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "facts.h"
#include "html.h"

/* Connections in the table, and of them those with all that is known; exports; columns of
 * the table of flags. */
#define CONNECTIONS_SHOWN 1000u
#define CONNECTIONS_FULL  150u
#define EXPORTS_SHOWN     200u
#define FLAG_GROUPS       12u
/* Bytes that they take at most, and are likely to; and all else. */
#define CONNECTIONS_BYTES ((uint64_t)600 << 10)
#define CONNECTION_BYTES  ((uint64_t)4 << 10)
#define EXPORTS_BYTES     ((uint64_t)400 << 10)
#define EXPORT_BYTES      ((uint64_t)2 << 10)
#define OTHER_BYTES       ((uint64_t)300 << 10)

/* --- the head --- */

static const char *verdict_title(const char *verdict)
{
	static const char *const titles[][2] = {
		{"violations", "Violations"}, {"suspect", "Suspect"},     {"hazards", "Hazards"},
		{"clean", "Clean"},           {"unaudited", "Unaudited"},
	};

	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
		if (!strcmp(titles[i][0], verdict))
			return titles[i][1];
	return verdict;
}

static void put_head(struct nbds_report *r, const char *title)
{
	struct nbds_buf *b = &r->line;

	nbds_buf_puts(b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
	nbds_buf_printf(
		b,
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
		"style-src 'sha256-%s'; script-src 'sha256-%s'; base-uri 'none'; "
		"form-action 'none'\">\n",
		nbds_html_css_hash, nbds_html_js_hash);
	nbds_buf_puts(b, "<meta name=\"viewport\" content=\"width=device-width, "
			 "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
			 "<meta name=\"referrer\" content=\"no-referrer\">\n");
	nbds_buf_puts(b, "<meta name=\"generator\"");
	nbds_buf_puts(b, " content=\"nbdaudit ");
	nbds_html_text(b, r->options.version);
	nbds_buf_puts(b, "\">\n<title>");
	nbds_html_text(b, title);
	nbds_buf_puts(b, "</title>\n<style>");
	nbds_buf_puts(b, nbds_html_css);
	nbds_buf_puts(b, "</style>\n</head>\n<body>\n");
	nbds_html_write(r);
}

static void put_foot(struct nbds_report *r)
{
	struct nbds_buf *b = &r->line;

	nbds_buf_puts(b, "<footer><p>Made by nbdaudit ");
	nbds_html_text(b, r->options.version);
	nbds_buf_puts(b,
		      ", of nbdscope. A violation is proved: nothing that obeys the protocol "
		      "explains the capture under the assumptions that stand with it. A suspect is "
		      "wrong unless something outside the capture explains it; a hazard is legal, "
		      "and dangerous; a note is worth knowing.</p></footer>\n<script>");
	nbds_buf_puts(b, nbds_html_js);
	nbds_buf_puts(b, "</script>\n</body>\n</html>\n");
	nbds_html_write(r);
}

/* --- the verdict --- */

/* What makes less of "clean" than it sounds: little was judged, or not all was seen. */
static bool doubtful(const struct nbds_outcome *o)
{
	if (*o->error || !o->totals.checked_bytes || o->info.capture.dropped)
		return true;
	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c;
	     c = nbds_outcome_next(o, c->id))
		if (nbds_opaque(c) || !c->sure || c->gaps)
			return true;
	return false;
}

static void tile(struct nbds_buf *b, const char *title, const char *value, const char *more)
{
	nbds_buf_puts(b, "<div class=\"tile\"><dt>");
	nbds_html_text(b, title);
	nbds_buf_puts(b, "</dt><dd><b>");
	nbds_html_text(b, value);
	nbds_buf_puts(b, "</b>");
	if (*more) {
		nbds_buf_puts(b, " <span>");
		nbds_html_text(b, more);
		nbds_buf_puts(b, "</span>");
	}
	nbds_buf_puts(b, "</dd></div>\n");
}

/* How much of what clients read was judged, in percent; "" where they read nothing. */
static void put_share(struct nbds_buf *b, const struct nbds_outcome *o)
{
	uint64_t judged = o->totals.checked_bytes, all = o->read_bytes;

	if (!all)
		return;
	/* all is said of all only, and none of none */
	if (judged == all || !judged)
		nbds_buf_puts(b, judged ? "100 %" : "0 %");
	else if (judged > all / 1000 && judged < all - all / 1000)
		nbds_buf_printf(b, "%.3g %%", (double)judged * 100 / (double)all);
	else
		nbds_buf_puts(b, judged > all / 2 ? "> 99.9 %" : "< 0.1 %");
}

static void put_judged_tile(struct nbds_buf *b, const struct nbds_outcome *o)
{
	struct nbds_buf value = {0}, more = {0};

	if (!o->read_bytes) {
		tile(b, "Judged", "nothing", "as nothing was read");
		return;
	}
	put_share(&value, o);
	nbds_buf_size(&more, o->totals.checked_bytes);
	nbds_buf_puts(&more, " of ");
	nbds_buf_size(&more, o->read_bytes);
	nbds_buf_puts(&more, " that were read");
	tile(b, "Judged", nbds_buf_text(&value), nbds_buf_text(&more));
	nbds_buf_free(&value);
	nbds_buf_free(&more);
}

/* What all connections read and wrote with success. */
static void put_traffic_tile(struct nbds_buf *b, const struct nbds_outcome *o)
{
	uint64_t read = 0, written = 0, requests = 0;
	struct nbds_buf value = {0}, more = {0};

	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c;
	     c = nbds_outcome_next(o, c->id)) {
		read += c->commands[NBD_CMD_READ].data_bytes;
		written += c->commands[NBD_CMD_WRITE].data_bytes;
		requests += c->requests;
	}
	if (!requests)
		return;
	nbds_buf_printf(&value, "%" PRIu64, requests);
	nbds_buf_size(&more, read);
	nbds_buf_puts(&more, " read, ");
	nbds_buf_size(&more, written);
	nbds_buf_puts(&more, " written");
	tile(b, "Requests", nbds_buf_text(&value), nbds_buf_text(&more));
	nbds_buf_free(&value);
	nbds_buf_free(&more);
}

static void put_tiles(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_capture_info *c = &o->info.capture;
	struct nbds_buf *b = &r->line, value = {0}, more = {0};

	if (!o->opened)
		return;
	nbds_buf_puts(b, "<dl class=\"tiles\">\n");
	if (!o->unaudited && o->totals.connections)
		put_judged_tile(b, o);
	if (o->totals.connections) {
		nbds_buf_printf(&value, "%" PRIu32, o->totals.connections);
		nbds_buf_puts(&more, "to ");
		nbds_buf_count(&more, o->totals.exports, "export", NULL);
		tile(b, "Connections", nbds_buf_text(&value), nbds_buf_text(&more));
		put_traffic_tile(b, o);
	}
	nbds_buf_clear(&value);
	nbds_buf_clear(&more);
	if (c->frames)
		nbds_buf_duration(&value, (uint64_t)c->end - (uint64_t)c->start);
	else
		nbds_buf_puts(&value, "no packets");
	nbds_buf_count(&more, c->frames, "frame", NULL);
	nbds_buf_puts(&more, ", ");
	nbds_buf_size(&more, c->bytes);
	tile(b, "Capture", nbds_buf_text(&value), nbds_buf_text(&more));
	nbds_buf_puts(b, "</dl>\n");
	nbds_buf_free(&value);
	nbds_buf_free(&more);
}

/* Of which rules and levels findings were kept, by place * NBDS_LEVELS + level; to be freed,
 * NULL without memory. */
static bool *kept_rules(const struct nbds_report *r)
{
	bool *kept = calloc(nbds_rules_count * NBDS_LEVELS, sizeof(*kept));

	for (size_t s = 0; kept && s < NBDS_LEVELS; s++)
		for (size_t i = 0; i < r->keep.by[s].count; i++)
			kept[nbds_rule_place(r->keep.by[s].at[i].finding->rule) * NBDS_LEVELS + s] =
				true;
	return kept;
}

/* How often each rule was broken, the worst first. */
static void put_table(struct nbds_report *r, const char *id)
{
	bool *kept = kept_rules(r), any = false;
	struct nbds_buf *b = &r->line;

	for (int s = NBDS_LEVELS; s-- > 0;) {
		const char *level = nbds_severity_name((enum nbds_severity)s);

		for (size_t rule = 0; rule < nbds_rules_count; rule++) {
			const struct nbds_tally *n = &r->tally[rule];
			bool shown = kept && kept[rule * NBDS_LEVELS + (size_t)s] &&
				     !r->options.summary;

			if (!n->count[s])
				continue;
			if (!any)
				nbds_buf_puts(b,
					      "<div class=\"scroll\"><table class=\"sort tally\">"
					      "<caption>Rules that were broken</caption><thead><tr>"
					      "<th scope=\"col\">level</th>"
					      "<th scope=\"col\" class=\"num\">count</th>"
					      "<th scope=\"col\">rule</th>"
					      "<th scope=\"col\" class=\"num\">first frame</th>"
					      "<th scope=\"col\">what it says</th>"
					      "</tr></thead><tbody>\n");
			any = true;
			nbds_buf_printf(
				b,
				"<tr class=\"s-%s\"><td data-v=\"%d\"><span class=\"chip\">%s"
				"</span></td><td class=\"num\">%" PRIu64 "</td><td>",
				level, s, level, n->count[s]);
			if (shown)
				nbds_buf_printf(b, "<a href=\"#%sr-%s-%s\"><code>%s</code></a>", id,
						nbds_rules[rule].name, level,
						nbds_rules[rule].name);
			else
				nbds_buf_printf(b, "<code>%s</code>", nbds_rules[rule].name);
			nbds_buf_printf(b, " <span class=\"ref\">%s</span></td><td class=\"num\">",
					nbds_rules[rule].ref);
			if (n->first_frame[s])
				nbds_buf_printf(b, "%" PRIu64, n->first_frame[s]);
			nbds_buf_puts(b, "</td><td>");
			nbds_html_text(b, nbds_rules[rule].summary);
			nbds_buf_puts(b, "</td></tr>\n");
		}
	}
	if (any)
		nbds_buf_puts(b, "</tbody></table></div>\n");
	free(kept);
}

static void put_verdict(struct nbds_report *r, const struct nbds_outcome *o, const char *id)
{
	const char *verdict = nbds_verdict(o);
	struct nbds_buf *b = &r->line, words = {0};
	bool clean = !strcmp(verdict, "clean"), doubt = clean && doubtful(o);

	nbds_verdict_words(r, o, &words);
	nbds_buf_printf(b,
			"<header class=\"verdict v-%s%s\" id=\"%stop\">\n<p class=\"file\"><bdi>",
			verdict, doubt ? " doubtful" : "", id);
	nbds_html_bytes(b, r->name, strlen(r->name));
	nbds_buf_printf(b, "</bdi></p>\n<h%d class=\"word\">%s</h%d>\n<p class=\"words\">",
			r->options.several ? 2 : 1, verdict_title(verdict),
			r->options.several ? 2 : 1);
	nbds_html_text(b, nbds_buf_text(&words));
	nbds_buf_puts(b, "</p>\n");
	if (clean && !o->totals.checked_bytes)
		nbds_buf_puts(
			b,
			"<p class=\"words\">No read could be held against what had been "
			"written: the protocol was kept, and of contents nothing is known.</p>\n");
	if (*o->error) {
		nbds_buf_printf(b, "<p class=\"words error\">%s: ",
				o->opened ? "The capture is incomplete" : "Unreadable");
		nbds_html_text(b, o->error);
		nbds_buf_puts(b, "</p>\n");
	}
	put_tiles(r, o);
	nbds_buf_puts(b, "</header>\n");
	nbds_buf_free(&words);
}

/* --- connections --- */

static const char *end_word(const struct nbds_connection *c)
{
	switch (c->end) {
	case NBDS_END_DISCONNECT:
		return "NBD_CMD_DISC";
	case NBDS_END_ABORT:
		return "NBD_OPT_ABORT";
	case NBDS_END_FIN:
		return "closed";
	case NBDS_END_RST:
		return "reset";
	case NBDS_END_OPEN:
		break;
	}
	return "open";
}

static uint64_t errors_of(const struct nbds_connection *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++)
		for (unsigned k = 0; k < c->commands[i].error_kinds && k < NBDS_ERRORS_MAX; k++)
			n += c->commands[i].errors[k].count;
	return n;
}

static void put_size_cell(struct nbds_buf *b, uint64_t bytes)
{
	nbds_buf_printf(b, "<td class=\"num\" data-v=\"%" PRIu64 "\">", bytes);
	if (bytes)
		nbds_buf_size(b, bytes);
	nbds_buf_puts(b, "</td>");
}

static void put_time_cell(struct nbds_buf *b, const struct nbds_latency *l, double percent)
{
	uint64_t ns = l && l->count ? percent < 100 ? nbds_latency_percentile(l, percent) : l->max
				    : 0;

	nbds_buf_printf(b, "<td class=\"num\" data-v=\"%" PRIu64 "\">", ns);
	if (l && l->count)
		nbds_buf_duration(b, ns);
	nbds_buf_puts(b, "</td>");
}

static void put_count_cell(struct nbds_buf *b, uint64_t n)
{
	nbds_buf_printf(b, "<td class=\"num\">%" PRIu64 "</td>", n);
}

/* `full`: there is more of it to go to. */
static void put_connection_row(struct nbds_report *r, const struct nbds_connection *c,
			       const char *id, bool full)
{
	char address[NBDS_ADDR_TEXT];
	struct nbds_buf *b = &r->line;

	nbds_buf_puts(b, "<tr><td class=\"num\">");
	if (full)
		nbds_buf_printf(b, "<a href=\"#%sc%" PRIu32 "\">%" PRIu32 "</a>", id, c->id, c->id);
	else
		nbds_buf_printf(b, "%" PRIu32, c->id);
	nbds_buf_puts(b, "</td><td>");
	nbds_html_text(b, nbds_addr_text(&c->client, address));
	nbds_buf_puts(b, "</td><td>");
	nbds_html_text(b, nbds_addr_text(&c->server, address));
	nbds_buf_puts(b, "</td><td class=\"wrap\">");
	if (c->export_name_seen)
		nbds_html_name(b, c->export_name, c->export_name_len);
	nbds_buf_puts(b, "</td>");
	put_count_cell(b, c->requests);
	put_count_cell(b, errors_of(c));
	put_size_cell(b, c->commands[NBD_CMD_READ].data_bytes);
	put_size_cell(b, c->commands[NBD_CMD_WRITE].data_bytes);
	put_time_cell(b, c->commands[NBD_CMD_READ].latency, 99);
	put_time_cell(b, c->commands[NBD_CMD_WRITE].latency, 99);
	put_count_cell(b, c->flushes_total);
	put_size_cell(b, c->unflushed_bytes);
	nbds_buf_printf(b, "<td>%s</td></tr>\n", nbds_opaque(c) ? "in TLS" : end_word(c));
}

static void put_command_row(struct nbds_report *r, const struct nbds_command_stats *s)
{
	struct nbds_buf *b = &r->line;
	char name[NBDS_TEXT_OF_MAX];

	nbds_buf_puts(b, "<tr><td><code>");
	nbds_html_text(b, nbds_text_of(&nbds_commands, s->type, name));
	nbds_buf_puts(b, "</code></td>");
	put_count_cell(b, s->count);
	/* NBD_CMD_DISC has no reply. */
	if (s->type == NBD_CMD_DISC && !s->replies)
		nbds_buf_puts(b, "<td></td>");
	else
		put_count_cell(b, s->replies);
	put_count_cell(b, s->fua);
	put_size_cell(b, s->bytes);
	put_time_cell(b, s->latency, 50);
	put_time_cell(b, s->latency, 99);
	put_time_cell(b, s->latency, 100);
	nbds_buf_puts(b, "<td>");
	for (unsigned i = 0; i < s->error_kinds && i < NBDS_ERRORS_MAX; i++) {
		nbds_buf_printf(b, "%s%" PRIu64 " ", i ? ", " : "", s->errors[i].count);
		nbds_html_text(b, nbds_text_of(&nbds_errors, s->errors[i].error, name));
	}
	nbds_buf_puts(b, "</td></tr>\n");
}

static void put_commands(struct nbds_report *r, const struct nbds_connection *c)
{
	struct nbds_buf *b = &r->line;
	bool any = false;

	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		if (!c->commands[i].count)
			continue;
		if (!any)
			nbds_buf_puts(b, "<div class=\"scroll\"><table><thead><tr>"
					 "<th scope=\"col\">command</th>"
					 "<th scope=\"col\" class=\"num\">count</th>"
					 "<th scope=\"col\" class=\"num\">answered</th>"
					 "<th scope=\"col\" class=\"num\">FUA</th>"
					 "<th scope=\"col\" class=\"num\">bytes</th>"
					 "<th scope=\"col\" class=\"num\">p50</th>"
					 "<th scope=\"col\" class=\"num\">p99</th>"
					 "<th scope=\"col\" class=\"num\">max</th>"
					 "<th scope=\"col\">errors</th></tr></thead><tbody>\n");
		any = true;
		put_command_row(r, &c->commands[i]);
	}
	if (any)
		nbds_buf_puts(b, "</tbody></table></div>\n");
}

/* `like`: the one before that told a negotiation, 0: none. Returns the one that tells it. */
static uint32_t put_connection(struct nbds_report *r, const struct nbds_connection *c,
			       const struct nbds_outcome *o, const char *id, uint32_t like)
{
	const struct nbds_connection *same = like ? nbds_report_connection(r, like) : NULL;
	char client[NBDS_ADDR_TEXT], server[NBDS_ADDR_TEXT], text[40];
	struct nbds_buf *b = &r->line;

	nbds_buf_printf(b,
			"<details class=\"conn\" id=\"%sc%" PRIu32 "\"><summary>Connection %" PRIu32
			" <span>",
			id, c->id, c->id);
	nbds_html_text(b, nbds_addr_text(&c->client, client));
	nbds_buf_puts(b, " to ");
	nbds_html_text(b, nbds_addr_text(&c->server, server));
	nbds_buf_puts(b, "</span></summary>\n");
	nbds_html_list(r);
	nbds_facts_life(r, c);
	if (same && nbds_same_negotiation(c, same)) {
		snprintf(text, sizeof(text), "like connection %" PRIu32, same->id);
		nbds_item(&r->paper, "negotiated", text);
	} else {
		nbds_facts_negotiated(r, c);
		like = c->id;
	}
	nbds_facts_bytes(r, c);
	nbds_html_list_end(r);
	put_commands(r, c);
	nbds_html_list(r);
	nbds_facts_open(r, c, o);
	nbds_html_list_end(r);
	nbds_buf_puts(b, "</details>\n");
	return like;
}

/* All that is known of the first connections. How many there were. */
static unsigned put_full(struct nbds_report *r, const struct nbds_outcome *o, const char *id,
			 struct nbds_buf *full)
{
	uint32_t like = 0;
	unsigned n = 0;

	nbds_html_write(r);
	for (const struct nbds_connection *c = nbds_outcome_next(o, 0);
	     c && n < CONNECTIONS_FULL && r->line.len < CONNECTIONS_BYTES / 2;
	     c = nbds_outcome_next(o, c->id), n++)
		like = put_connection(r, c, o, id, like);
	*full = r->line;
	r->line = (struct nbds_buf){0};
	return n;
}

static void put_connections(struct nbds_report *r, const struct nbds_outcome *o, const char *id)
{
	uint64_t left = 0, most = r->written + CONNECTIONS_BYTES / 2;
	struct nbds_buf *b = &r->line, full = {0};
	unsigned n = 0, count;

	if (!nbds_outcome_next(o, 0))
		return;
	count = put_full(r, o, id, &full);
	nbds_buf_printf(b, "<section id=\"%sconnections\"><h2>Connections</h2>\n", id);
	nbds_buf_puts(b, "<div class=\"scroll\"><table class=\"sort\"><thead><tr>"
			 "<th scope=\"col\" class=\"num\">id</th><th scope=\"col\">client</th>"
			 "<th scope=\"col\">server</th><th scope=\"col\">export</th>"
			 "<th scope=\"col\" class=\"num\">requests</th>"
			 "<th scope=\"col\" class=\"num\">errors</th>"
			 "<th scope=\"col\" class=\"num\">read</th>"
			 "<th scope=\"col\" class=\"num\">written</th>"
			 "<th scope=\"col\" class=\"num\">read p99</th>"
			 "<th scope=\"col\" class=\"num\">write p99</th>"
			 "<th scope=\"col\" class=\"num\">flushes</th>"
			 "<th scope=\"col\" class=\"num\">unflushed</th>"
			 "<th scope=\"col\">end</th></tr></thead><tbody>\n");
	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c;
	     c = nbds_outcome_next(o, c->id)) {
		if (n >= CONNECTIONS_SHOWN || r->written + b->len > most) {
			left++;
			continue;
		}
		put_connection_row(r, c, id, n++ < count);
		if (b->len > 65536)
			nbds_html_write(r);
	}
	nbds_buf_puts(b, "</tbody></table></div>\n");
	if (left)
		nbds_buf_printf(b,
				"<p class=\"note\">and %" PRIu64 " more (--format=json shows them "
				"all)</p>\n",
				left);
	nbds_buf_add(b, nbds_buf_text(&full), full.len);
	nbds_buf_free(&full);
	nbds_buf_puts(b, "</section>\n");
	nbds_html_write(r);
}

/* --- flags --- */

/* What it means that the server did not set it, where that matters. */
static const char *not_set_words(uint64_t flag)
{
	switch (flag) {
	case NBD_FLAG_SEND_FLUSH:
		return "no way to make writes last, but FUA";
	case NBD_FLAG_SEND_FUA:
		return "only a flush makes writes last";
	case NBD_FLAG_SEND_WRITE_ZEROES:
		return "zeroes are written as data";
	case NBD_FLAG_CAN_MULTI_CONN:
		return "nothing holds between connections: each sees only what it flushed itself";
	case NBD_FLAG_FIXED_NEWSTYLE:
		return "an option that is not known may end the connection";
	default:
		return "";
	}
}

struct flag_group {
	uint64_t flags[3]; /* handshake, client, transmission */
	bool seen[3];
	uint64_t count;
	struct nbds_buf ids; /* "1, 2, 5 to 9" */
	uint32_t from, to;   /* the run at its end */
};

static void end_run(struct flag_group *g)
{
	if (!g->from)
		return;
	nbds_buf_printf(&g->ids, "%s%" PRIu32, g->ids.len ? ", " : "", g->from);
	if (g->to > g->from)
		nbds_buf_printf(&g->ids, "%s%" PRIu32, g->to > g->from + 1 ? " to " : ", ", g->to);
	g->from = 0;
}

static void join_group(struct flag_group *g, uint32_t id)
{
	g->count++;
	if (g->ids.len > 200)
		return;
	if (g->from && id == g->to + 1) {
		g->to = id;
		return;
	}
	end_run(g);
	g->from = g->to = id;
}

static bool flags_of(const struct nbds_connection *c, struct flag_group *g)
{
	const struct nbds_negotiated *n = &c->negotiated;

	*g = (struct flag_group){
		.flags = {n->handshake_flags, n->client_flags, n->transmission_flags},
		.seen = {n->handshake == NBDS_HANDSHAKE_NEWSTYLE ||
				 n->handshake == NBDS_HANDSHAKE_NEWSTYLE_FIXED,
			 n->client_flags_seen, n->export_seen},
	};
	for (int i = 0; i < 3; i++)
		if (!g->seen[i])
			g->flags[i] = 0;
	return g->seen[0] || g->seen[1] || g->seen[2];
}

static void put_flag_cells(struct nbds_buf *b, const struct flag_group *groups, unsigned count,
			   unsigned kind, uint64_t mask)
{
	for (unsigned g = 0; g < count; g++) {
		if (!groups[g].seen[kind])
			nbds_buf_puts(b, "<td class=\"unseen\">not seen</td>");
		else if (groups[g].flags[kind] & mask)
			nbds_buf_puts(b, "<td class=\"set\">set</td>");
		else
			nbds_buf_puts(b, "<td class=\"clear\">clear</td>");
	}
}

static void put_flag_kind(struct nbds_buf *b, const struct flag_group *groups, unsigned count,
			  unsigned kind)
{
	static const struct nbds_name_table *const tables[] = {
		&nbds_handshake_flags, &nbds_client_flags, &nbds_transmission_flags};
	static const char *const titles[] = {"Handshake flags, by the server", "Client flags",
					     "Transmission flags, by the server"};
	uint64_t all = 0, known = 0;
	bool any = false;

	for (unsigned g = 0; g < count; g++) {
		all |= groups[g].flags[kind];
		any |= groups[g].seen[kind];
	}
	nbds_buf_printf(b,
			"<tr class=\"kind\"><th scope=\"colgroup\" colspan=\"%u\">%s</th></tr>\n",
			count + 2, titles[kind]);
	if (!any) {
		nbds_buf_printf(b, "<tr><td class=\"unseen\" colspan=\"%u\">not seen</td></tr>\n",
				count + 2);
		return;
	}
	for (size_t i = 0; i < tables[kind]->count; i++) {
		const struct nbds_name *name = &tables[kind]->entries[i];
		const char *words = not_set_words(name->value);
		uint64_t in_all = ~UINT64_C(0);

		known |= name->value;
		for (unsigned g = 0; g < count; g++)
			if (groups[g].seen[kind])
				in_all &= groups[g].flags[kind];
		nbds_buf_printf(b, "<tr><th scope=\"row\"><code>%s</code></th><td class=\"wrap\">",
				name->name);
		nbds_html_text(b, name->what);
		if (*words && !(in_all & name->value)) {
			nbds_buf_puts(b, "<br><span class=\"without\">clear: ");
			nbds_html_text(b, words);
			nbds_buf_puts(b, "</span>");
		}
		nbds_buf_puts(b, "</td>");
		put_flag_cells(b, groups, count, kind, name->value);
		nbds_buf_puts(b, "</tr>\n");
	}
	for (uint64_t bit = 1; bit; bit <<= 1) {
		if (!(all & ~known & bit))
			continue;
		nbds_buf_printf(b,
				"<tr><th scope=\"row\"><code>bit %d</code></th>"
				"<td>has no meaning in the specification</td>",
				__builtin_ctzll(bit));
		put_flag_cells(b, groups, count, kind, bit);
		nbds_buf_puts(b, "</tr>\n");
	}
}

static void put_flags(struct nbds_report *r, const struct nbds_outcome *o, const char *id)
{
	struct flag_group *groups = calloc(FLAG_GROUPS, sizeof(*groups)), one;
	struct nbds_buf *b = &r->line;
	unsigned count = 0;
	uint64_t left = 0;

	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c && groups;
	     c = nbds_outcome_next(o, c->id)) {
		unsigned g = 0;

		if (!flags_of(c, &one))
			continue;
		while (g < count && (memcmp(groups[g].flags, one.flags, sizeof(one.flags)) != 0 ||
				     memcmp(groups[g].seen, one.seen, sizeof(one.seen)) != 0))
			g++;
		if (g == FLAG_GROUPS) {
			left++;
			continue;
		}
		if (g == count)
			groups[count++] = one;
		join_group(&groups[g], c->id);
	}
	if (nbds_outcome_next(o, 0))
		nbds_buf_printf(b, "<section id=\"%sflags\"><h2>Flags</h2>\n", id);
	if (count) {
		nbds_buf_puts(b, "<div class=\"scroll\"><table class=\"flags\"><thead><tr>"
				 "<th scope=\"col\">flag</th><th scope=\"col\">set, it means</th>");
		for (unsigned g = 0; g < count; g++) {
			bool cut = groups[g].ids.len > 200;

			end_run(&groups[g]);
			nbds_buf_printf(b, "<th scope=\"col\" class=\"who\">conn %s%s</th>",
					nbds_buf_text(&groups[g].ids), cut ? ", ..." : "");
		}
		nbds_buf_puts(b, "</tr></thead><tbody>\n");
		for (unsigned kind = 0; kind < 3; kind++)
			put_flag_kind(b, groups, count, kind);
		nbds_buf_puts(b, "</tbody></table></div>\n");
		if (left)
			nbds_buf_printf(b,
					"<p class=\"note\">%" PRIu64
					" connections with yet other flags are not in this table; "
					"those of each are in its own list.</p>\n",
					left);
	} else if (nbds_outcome_next(o, 0)) {
		nbds_buf_puts(b, "<p class=\"card\">None were seen: no handshake is in this "
				 "capture.</p>\n");
	}
	if (nbds_outcome_next(o, 0))
		nbds_buf_puts(b, "</section>\n");
	for (unsigned g = 0; groups && g < count; g++)
		nbds_buf_free(&groups[g].ids);
	free(groups);
	nbds_html_write(r);
}

/* --- exports --- */

static void put_flush_row(struct nbds_report *r, const struct nbds_flush_row *row)
{
	const struct nbds_flush_seen *f = &row->flush;
	struct nbds_buf *b = &r->line;

	nbds_buf_printf(b,
			"<tr><td class=\"num\">%.6f</td><td class=\"num\">%" PRIu32
			"</td><td class=\"num\">%" PRIu64 "</td><td class=\"num\">",
			(double)nbds_report_since(r, f->request_time) / 1e9, row->connection,
			f->request_frame);
	if (f->reply_frame)
		nbds_buf_printf(b, "%" PRIu64, f->reply_frame);
	if (!f->ok) {
		nbds_buf_printf(b, "</td><td colspan=\"3\">%s</td>",
				f->reply_frame ? "failed" : "unanswered");
	} else {
		nbds_buf_puts(b, "</td>");
		put_count_cell(b, f->covered_own);
		put_count_cell(b, f->covered_other);
		put_size_cell(b, f->covered_bytes);
	}
	put_count_cell(b, f->left);
	nbds_buf_puts(b, "</tr>\n");
}

static void put_export(struct nbds_report *r, const struct nbds_export *e)
{
	struct nbds_flush_rows rows;
	char server[NBDS_ADDR_TEXT];
	struct nbds_buf *b = &r->line;

	nbds_buf_puts(b, "<div class=\"card\"><h3>");
	nbds_html_name(b, e->name, e->name_len);
	nbds_buf_puts(b, " <span>at ");
	nbds_html_text(b, nbds_addr_text(&e->server, server));
	if (e->size_seen) {
		nbds_buf_puts(b, ", ");
		nbds_buf_size_exact(b, e->size);
	}
	nbds_buf_puts(b, "</span></h3>\n");
	nbds_html_list(r);
	nbds_facts_export(r, e);
	nbds_html_list_end(r);
	nbds_flushes_of(r, e, &rows);
	if (rows.count) {
		nbds_buf_puts(b, "<div class=\"scroll\"><table class=\"sort\"><caption>");
		nbds_buf_count(b, rows.total, "flush", "flushes");
		if (rows.count < rows.total)
			nbds_buf_printf(b, ", the last %zu of them", rows.count);
		nbds_buf_puts(
			b, ", and the answered writes that they covered</caption><thead><tr>"
			   "<th scope=\"col\" class=\"num\">time, s</th>"
			   "<th scope=\"col\" class=\"num\">conn</th>"
			   "<th scope=\"col\" class=\"num\">request</th>"
			   "<th scope=\"col\" class=\"num\">reply</th>"
			   "<th scope=\"col\" class=\"num\">own</th>"
			   "<th scope=\"col\" class=\"num\">of others</th>"
			   "<th scope=\"col\" class=\"num\">bytes</th>"
			   "<th scope=\"col\" class=\"num\">in flight</th></tr></thead><tbody>\n");
		for (size_t i = 0; i < rows.count; i++)
			put_flush_row(r, &rows.at[i]);
		nbds_buf_puts(b, "</tbody></table></div>\n");
	}
	nbds_buf_puts(b, "</div>\n");
}

static void put_exports(struct nbds_report *r, const struct nbds_outcome *o, const char *id)
{
	struct nbds_buf *b = &r->line;
	uint64_t n = 0, left = 0, most = r->written + EXPORTS_BYTES;

	if (!o->exports)
		return;
	nbds_buf_printf(b, "<section id=\"%sexports\"><h2>Exports</h2>\n", id);
	for (const struct nbds_export *e = o->exports; e; e = e->next) {
		if (n++ >= EXPORTS_SHOWN || r->written + b->len > most) {
			left++;
			continue;
		}
		put_export(r, e);
		if (b->len > 65536)
			nbds_html_write(r);
	}
	if (left)
		nbds_buf_printf(b,
				"<p class=\"note\">and %" PRIu64 " more (--format=json shows them "
				"all)</p>\n",
				left);
	nbds_buf_puts(b, "</section>\n");
	nbds_html_write(r);
}

/* --- a capture --- */

static void put_nav(struct nbds_report *r, const struct nbds_outcome *o, const char *id)
{
	struct nbds_buf *b = &r->line;
	bool any = nbds_outcome_next(o, 0) != NULL;

	nbds_buf_puts(b, "<nav aria-label=\"Sections\"><ul>");
	if (r->probed)
		nbds_buf_printf(b, "<li><a href=\"#%sprobed\">Probed</a></li>", id);
	if (r->counted)
		nbds_buf_printf(b, "<li><a href=\"#%sfindings\">Findings</a></li>", id);
	if (r->options.compare)
		nbds_buf_printf(b, "<li><a href=\"#%scompared\">Compared</a></li>", id);
	if (r->activity.op_count || (o->told && any))
		nbds_buf_printf(b, "<li><a href=\"#%straffic\">Traffic</a></li>", id);
	if (o->exports)
		nbds_buf_printf(b, "<li><a href=\"#%sexports\">Exports</a></li>", id);
	if (any)
		nbds_buf_printf(b,
				"<li><a href=\"#%sconnections\">Connections</a></li>"
				"<li><a href=\"#%sflags\">Flags</a></li>",
				id, id);
	nbds_buf_printf(b, "<li><a href=\"#%scapture\">Capture</a></li></ul></nav>\n", id);
}

static void put_capture(struct nbds_report *r, const struct nbds_outcome *o, const char *id)
{
	struct nbds_buf *b = &r->line;

	nbds_buf_printf(b, "<section id=\"%scapture\"><h2>Capture</h2>\n<div class=\"card\">\n",
			id);
	nbds_html_list(r);
	nbds_facts_capture(r, o);
	nbds_facts_judged(r, o);
	nbds_facts_not_judged(r, o);
	nbds_facts_why(r);
	nbds_html_list_end(r);
	nbds_buf_puts(b, "</div>\n</section>\n");
	nbds_html_write(r);
}

/* A row of the table that several captures begin with. */
static void put_sum(struct nbds_report *r, const struct nbds_outcome *o, const char *id)
{
	const char *verdict = nbds_verdict(o);
	struct nbds_buf *b = &r->artifacts, words = {0}, share = {0};

	nbds_verdict_words(r, o, &words);
	nbds_buf_printf(b,
			"<tr class=\"v-%s\"><td class=\"num\">%u</td><td class=\"wrap\"><a "
			"href=\"#%stop\"><bdi>",
			verdict, r->captures, id);
	nbds_html_bytes(b, r->name, strlen(r->name));
	nbds_buf_printf(b,
			"</bdi></a></td><td><span class=\"chip\">%s</span></td><td class=\"num\">",
			verdict);
	put_share(&share, o);
	nbds_html_text(b, o->unaudited    ? ""
			  : o->read_bytes ? nbds_buf_text(&share)
					  : "nothing read");
	nbds_buf_free(&share);
	nbds_buf_puts(b, "</td><td>");
	nbds_html_text(b, nbds_buf_text(&words));
	nbds_buf_puts(b, "</td></tr>\n");
	nbds_buf_free(&words);
}

static void put_title(struct nbds_report *r, const struct nbds_outcome *o)
{
	struct nbds_buf title = {0};

	nbds_buf_printf(&title, "%s: ", verdict_title(nbds_verdict(o)));
	nbds_buf_escape(&title, r->name, strlen(r->name));
	nbds_buf_puts(&title, " - nbdaudit");
	put_head(r, nbds_buf_text(&title));
	nbds_buf_free(&title);
}

/* What all but findings is likely to take. */
static uint64_t other_bytes(const struct nbds_outcome *o)
{
	uint64_t connections = o->totals.connections * CONNECTION_BYTES;
	uint64_t exports = o->totals.exports * EXPORT_BYTES;

	return OTHER_BYTES + (connections < CONNECTIONS_BYTES ? connections : CONNECTIONS_BYTES) +
	       (exports < EXPORTS_BYTES ? exports : EXPORTS_BYTES);
}

static void html_begin(struct nbds_report *r)
{
	r->paper.item = nbds_html_item;
	r->paper.ctx = r;
}

static void html_opened(struct nbds_report *r)
{
	if (!r->options.several || r->spool)
		return;
	/* While files can still be opened. */
	errno = 0;
	nbds_spool_open(r);
	if (!r->spool)
		r->spool_error = errno ? errno : EIO;
}

static void html_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	char id[24] = "";

	if (r->options.several) {
		snprintf(id, sizeof(id), "%u-", r->captures);
		put_sum(r, o, id);
		if (!r->spool)
			return;
	} else {
		put_title(r, o);
	}
	r->written = 0;
	nbds_buf_puts(&r->line, "<main>\n");
	put_verdict(r, o, id);
	if (!r->options.summary)
		put_nav(r, o, id);
	nbds_html_write(r);
	if (r->probed)
		nbds_html_probed(r, id);
	if (r->counted) {
		nbds_buf_printf(&r->line, "<section id=\"%sfindings\"><h2>Findings</h2>\n", id);
		put_table(r, id);
		if (!r->options.summary)
			nbds_html_findings(r, id, NBDS_HTML_MOST - other_bytes(o));
		nbds_buf_puts(&r->line, "</section>\n");
		nbds_html_write(r);
	}
	if (r->options.compare)
		nbds_html_compared(r, id);
	if (!r->options.summary) {
		if (r->activity.op_count) {
			nbds_buf_printf(
				&r->line,
				"<section class=\"traffic\" id=\"%straffic\"><h2>Traffic</h2>\n",
				id);
			nbds_html_charts(r, o);
			nbds_buf_puts(&r->line, "</section>\n");
		} else if (o->told && nbds_outcome_next(o, 0)) {
			nbds_buf_printf(
				&r->line,
				"<section class=\"traffic\" id=\"%straffic\"><h2>Traffic</h2>\n"
				"<p class=\"note\">What happened when is not in the reports that "
				"this one was made of. The page of the capture itself has its "
				"charts, and in the pictures above also what went on beside a "
				"proof.</p></section>\n",
				id);
		}
		put_exports(r, o, id);
		put_connections(r, o, id);
		put_flags(r, o, id);
	}
	put_capture(r, o, id);
	nbds_buf_puts(&r->line, "</main>\n");
	nbds_html_write(r);
}

static void html_finish(struct nbds_report *r)
{
	if (r->options.several) {
		FILE *spool = r->spool;
		struct nbds_buf title = {0};

		/* The head goes before what waits. */
		r->spool = NULL;
		nbds_buf_count(&title, r->captures, "capture", NULL);
		nbds_buf_puts(&title, " - nbdaudit");
		put_head(r, nbds_buf_text(&title));
		nbds_buf_printf(&r->line, "<div class=\"captures\"><h1>%u captures</h1>\n",
				r->captures);
		nbds_buf_puts(&r->line,
			      "<div class=\"scroll\"><table class=\"sort\"><thead><tr>"
			      "<th scope=\"col\" class=\"num\">no</th>"
			      "<th scope=\"col\">file</th><th scope=\"col\">verdict</th>"
			      "<th scope=\"col\" class=\"num\">judged</th>"
			      "<th scope=\"col\">what was found</th></tr></thead><tbody>\n");
		nbds_buf_add(&r->line, nbds_buf_text(&r->artifacts), r->artifacts.len);
		nbds_buf_puts(&r->line, "</tbody></table></div></div>\n");
		nbds_html_write(r);
		nbds_buf_free(&title);
		r->spool = spool;
		nbds_spool_copy(r);
	}
	put_foot(r);
}

const struct nbds_form nbds_html_form = {
	.begin = html_begin,
	.opened = html_opened,
	.capture = html_capture,
	.finish = html_finish,
	.documents = true,
	.activity = true,
};
