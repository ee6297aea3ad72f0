/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_help.c - the help, made from the table of keys and that of filter words.
 */
#include <stdio.h>
#include <string.h>

#include "ui.h"

static void help_text(struct nbds_buf *b)
{
	static const char *const screens[] = {"Exports",  "Connections", "Flush order", "Messages",
					      "Findings", "Latency",     "Help"};

	nbds_buf_puts(b, "Keys\n");
	for (unsigned i = 0; i < key_count; i++) {
		const struct key *k = &keys[i];
		bool first = true;

		nbds_buf_printf(b, "  %-12s %s", k->shown, k->what);
		for (unsigned s = 0; k->screens != ON_ALL && s < SCREEN_HELP; s++) {
			if (!(k->screens & 1u << s) || (k->screens | ON_HELP | ON_SETUP) == ON_ALL)
				continue;
			nbds_buf_printf(b, "%s%s", first ? "  (" : ", ", screens[s]);
			first = false;
		}
		nbds_buf_puts(b, first ? "\n" : ")\n");
	}
	nbds_buf_puts(b,
		      "  Mouse        screens, rows, heads of columns, the bar; the wheel scrolls\n"
		      "\nFilter of messages\n"
		      "  Terms with and, or, not and brackets; terms side by side must all hold.\n"
		      "  A field with == != < <= > >= ~ and a value:\n");
	for (unsigned i = 0; filter_fields[i].name; i++)
		nbds_buf_printf(b, "    %-10s %s\n", filter_fields[i].name, filter_fields[i].what);
	nbds_buf_puts(b, "    nbd.len    and every other field of the details (m shows names)\n"
			 "  A word:\n");
	for (unsigned i = 0; filter_words[i].name; i++)
		nbds_buf_printf(b, "    %-10s %s\n", filter_words[i].name, filter_words[i].what);
	nbds_buf_puts(
		b, "    \"text\"     text in quotes: the line holds it\n"
		   "  For example: write and conn == 2 and took > 10ms\n"
		   "\nFlags of a connection (column FLAGS)\n"
		   "  r read only   F flush   U FUA   o rotational   T trim   Z write zeroes\n"
		   "  D don't fragment   M multi-conn   R resize   C cache   f fast zero\n"
		   "\nFindings (column FINDINGS)\n"
		   "  V violation: proved, nothing that obeys the protocol explains it\n"
		   "  S suspect: wrong unless something outside the capture explains it\n"
		   "  H hazard: legal, and dangerous\n"
		   "  n note\n"
		   "\nUNFLUSHED is how many bytes were answered and no flush has covered, once\n"
		   "each however often they were written (~: some maybe twice); AGE is how long\n"
		   "ago the oldest of it was answered; FLUSHED is how long ago the last flush\n"
		   "was answered. OLDEST is how long the oldest request has waited (! is more\n"
		   "than a second). With ? behind it a number depends on packets that the capture\n"
		   "lost: it is right again once later requests, or flushes, are answered.\n");
}

/* Where the words of a line begin that go on below it. */
static size_t hanging(const char *line, size_t len)
{
	size_t at = strspn(line, " "), gap = at;

	/* Behind the first gap of two spaces, if it is near. */
	while (gap + 1 < len && gap < 20 && !(line[gap] == ' ' && line[gap + 1] == ' '))
		gap++;
	if (gap + 1 >= len || gap >= 20)
		return at + (at > 0 ? 2 : 0);
	while (gap < len && line[gap] == ' ')
		gap++;
	return gap < 24 ? gap : at;
}

/* One line, in pieces that fit. */
static void wrap_line(const char *line, size_t len, size_t width, struct nbds_buf *b)
{
	size_t indent = hanging(line, len);
	bool first = true;

	if (indent + 12 > width)
		indent = 0;
	do {
		size_t room = first ? width : width - indent, n = len < room ? len : room;

		while (n < len && n && line[n] != ' ' && line[n - 1] != ' ')
			n--;
		if (!n)
			n = len < room ? len : room; /* one long word */
		nbds_buf_printf(b, "%*s%.*s\n", first ? 0 : (int)indent, "", (int)n, line);
		line += n;
		len -= n;
		while (len && *line == ' ') {
			line++;
			len--;
		}
		first = false;
	} while (len);
}

static void help_lines(struct nbds_buf *b)
{
	struct nbds_buf all = {0};
	size_t width = screen_columns > 20 ? (size_t)screen_columns - 1 : 20;

	help_text(&all);
	for (const char *at = nbds_buf_text(&all); *at;) {
		size_t len = strcspn(at, "\n");

		wrap_line(at, len, width, b);
		at += len + (at[len] == '\n');
	}
	nbds_buf_free(&all);
}

static int line_count(const struct nbds_buf *b)
{
	int n = 0;

	for (const char *at = nbds_buf_text(b); *at; at++)
		n += *at == '\n';
	return n;
}

static const char *line_at(const struct nbds_buf *b, int line)
{
	const char *at = nbds_buf_text(b);

	while (line-- > 0 && (at = strchr(at, '\n')))
		at++;
	return at ? at : "";
}

static void help_draw(struct ui *ui, int y, int rows)
{
	struct nbds_buf b = {0};
	int lines;

	help_lines(&b);
	lines = line_count(&b);
	if (ui->help_scroll > lines - rows)
		ui->help_scroll = lines - rows;
	if (ui->help_scroll < 0)
		ui->help_scroll = 0;
	for (int i = 0; i < rows && ui->help_scroll + i < lines; i++) {
		const char *at = line_at(&b, ui->help_scroll + i);
		char line[256];

		snprintf(line, sizeof(line), "%.*s", (int)strcspn(at, "\n"), at);
		put(y + i, screen_columns > 40, screen_columns,
		    *line && *line != ' ' ? STYLE_BOLD : STYLE_PLAIN, line);
	}
	hit_add(y, 0, screen_columns, rows, HIT_DETAIL, 0);
	nbds_buf_free(&b);
}

static bool help_action(struct ui *ui, enum action action)
{
	int page = screen_rows - 6;

	switch (action) {
	case ACTION_UP:
	case ACTION_DETAIL_UP:
		ui->help_scroll--;
		return true;
	case ACTION_DOWN:
	case ACTION_DETAIL_DOWN:
		ui->help_scroll++;
		return true;
	case ACTION_PAGE_UP:
		ui->help_scroll -= page;
		return true;
	case ACTION_PAGE_DOWN:
		ui->help_scroll += page;
		return true;
	case ACTION_FIRST:
		ui->help_scroll = 0;
		return true;
	case ACTION_LAST:
		ui->help_scroll = 10000;
		return true;
	case ACTION_BACK:
	case ACTION_HELP:
	case ACTION_ENTER:
		ui_go(ui, ui->before_help);
		return true;
	default:
		return false;
	}
}

static bool help_search(struct ui *ui, const char *text, int direction, bool here)
{
	struct nbds_buf b = {0};
	bool found = false;
	int lines;

	help_lines(&b);
	lines = line_count(&b);
	for (int i = here ? 0 : 1; i <= lines && !found; i++) {
		int at = ((ui->help_scroll + direction * i) % lines + lines) % lines;
		const char *line = line_at(&b, at), *hit = strcasestr(line, text);

		if (hit && hit < line + strcspn(line, "\n")) {
			ui->help_scroll = at;
			found = true;
		}
	}
	nbds_buf_free(&b);
	return found;
}

const struct screen_view view_help = {
	.title = "Help",
	.draw = help_draw,
	.action = help_action,
	.search = help_search,
};
