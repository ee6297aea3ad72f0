/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * frame.c - what is around each screen: title, totals, tabs, status, bar. See ui.h.
 */
#include "ui.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

static const char *state_words(const struct ui *ui, char buf[64], enum style *style)
{
	const struct snapshot *s = ui->s;
	uint64_t behind;
	char n[SHORT_TEXT];

	*style = STYLE_GOOD;
	if (!s)
		return "starting";
	if (ui->paused) {
		*style = STYLE_HAZARD;
		if (s->state == STATE_REPLAY)
			return "PAUSED";
		behind = log_total(worker_log(ui->worker)) - s->messages;
		snprintf(buf, 64, "PAUSED, %s behind", short_count(n, (double)behind));
		return buf;
	}
	switch (s->state) {
	case STATE_LIVE:
		if (ui->config->heads && !s->saving) {
			*style = STYLE_HAZARD;
			return "LIVE, latencies only";
		}
		return s->save_failed ? "LIVE, NOT saving" : s->saving ? "LIVE, saving" : "LIVE";
	case STATE_REPLAY:
		snprintf(buf, 64, "REPLAY x%g", s->replay_speed);
		return buf;
	case STATE_LOADING:
		*style = STYLE_HAZARD;
		if (s->info.capture.size)
			snprintf(buf, 64, "LOADING %d %%, Esc stops",
				 (int)((double)s->info.capture.position * 100 /
				       (double)s->info.capture.size));
		else
			snprintf(buf, 64, "LOADING, Esc stops");
		return buf;
	case STATE_DONE:
		if (s->cancelled) {
			*style = STYLE_HAZARD;
			return "STOPPED before its end";
		}
		return "file";
	case STATE_FAILED:
		*style = STYLE_VIOLATION;
		return "FAILED";
	}
	return "";
}

/* With fewer, it is not said by whom. */
#define DROPS_COLUMNS 64

/* What must always be seen: whether packets were dropped. */
static void drop_words(const struct snapshot *s, char *text, size_t size, enum style *style)
{
	const struct nbds_capture_info *c = &s->info.capture;
	char k[SHORT_TEXT], i[SHORT_TEXT];

	*style = c->dropped ? STYLE_VIOLATION : STYLE_DIM;
	if (s->relayed)
		snprintf(text, size,
			 screen_columns < DROPS_COLUMNS ? "drops %s" : "dropped from view: %s",
			 short_count(k, (double)c->dropped));
	else if ((s->state == STATE_LIVE || s->state == STATE_FAILED) && !s->piped &&
		 screen_columns < DROPS_COLUMNS)
		snprintf(text, size, "drops %s", short_count(k, (double)c->dropped));
	else if ((s->state == STATE_LIVE || s->state == STATE_FAILED) && !s->piped)
		snprintf(text, size, "drops: kernel %s, interface %s",
			 short_count(k, (double)(c->dropped - c->dropped_interface)),
			 short_count(i, (double)c->dropped_interface));
	else if (c->dropped)
		snprintf(text, size, "%s dropped", short_count(k, (double)c->dropped));
	else
		text[0] = '\0';
}

/* Of a path its last part. */
static const char *last_part(const char *text)
{
	const char *slash = strrchr(text, '/');

	return slash ? slash + 1 : text;
}

/* What is looked at, as far as there is room. */
static const char *source_words(const struct ui *ui, int room, char *text, size_t size)
{
	const struct worker_config *c = ui->config;
	const char *name = ui->source;
	char part[2][64];

	if (columns_of(name) <= room)
		return name;
	if (c->listen) {
		nbds_escape_text(last_part(c->listen), strlen(last_part(c->listen)), part[0],
				 sizeof(part[0]));
		nbds_escape_text(last_part(c->connect), strlen(last_part(c->connect)), part[1],
				 sizeof(part[1]));
		snprintf(text, size, "relay %s %s %s", part[0], screen_ascii() ? "->" : "→",
			 part[1]);
		return text;
	}
	while (columns_of(name) > room && strchr(name, '/'))
		name = strchr(name, '/') + 1;
	return name;
}

static void draw_title(const struct ui *ui)
{
	char words[64], drops[96] = "", source[160], n[SHORT_TEXT], r[SHORT_TEXT], b[SHORT_TEXT];
	const struct snapshot *s = ui->s;
	enum style style, drop_style = STYLE_DIM;
	struct nbds_buf middle = {0};
	const char *name;
	int x, right, room;

	put_row(0, STYLE_PLAIN);
	x = put_on(0, 0, 8, STYLE_TITLE, "nbdtop ");
	if (s)
		drop_words(s, drops, sizeof(drops), &drop_style);
	right = screen_columns - columns_of(drops);
	put_on(0, right, screen_columns - right, drop_style, drops);
	right -= *drops ? 2 : 0;
	room = right - x - 26 > 8 ? right - x - 26 : right - x - 14 > 8 ? right - x - 14 : 8;
	name = source_words(ui, room, source, sizeof(source));
	x += put_on(0, x, room, STYLE_BOLD, name) + 1;
	x += put_on(0, x, right - x, STYLE_PLAIN, " ");
	x += put_on(0, x, right - x, state_words(ui, words, &style) ? style : STYLE_PLAIN,
		    state_words(ui, words, &style));
	if (!s)
		return;
	nbds_buf_printf(&middle, "  %s packets", short_count(n, (double)s->info.capture.frames));
	if (s->state == STATE_LIVE || s->state == STATE_REPLAY)
		nbds_buf_printf(&middle, ", %s/s, %sB/s", short_count(r, s->packet_rate),
				short_bytes(b, s->byte_rate));
	if (s->ring_packets && columns_of(nbds_buf_text(&middle)) + 14 <= right - x)
		nbds_buf_printf(&middle, ", last %s kept", short_time(r, (double)s->ring_depth));
	if (columns_of(nbds_buf_text(&middle)) <= right - x)
		put_on(0, x, right - x, STYLE_DIM, nbds_buf_text(&middle));
	nbds_buf_free(&middle);
}

/* "2 connections (1 open) to 1 export, 3 in flight; ", at the lengths that there may be
 * room for. */
static void totals_words(const struct ui *ui, int length, struct nbds_buf *b)
{
	const struct snapshot *s = ui->s;
	uint64_t in_flight = 0, open = 0;
	char n[SHORT_TEXT];

	for (size_t i = 0; i < s->connection_count; i++) {
		in_flight += s->connections[i].in_flight;
		open += !s->connections[i].ended;
	}
	nbds_buf_clear(b);
	if (length > 1) {
		nbds_buf_printf(b, "%" PRIu32 " connection%s (%" PRIu64 " open) to %zu export%s",
				s->totals.connections, s->totals.connections == 1 ? "" : "s", open,
				s->export_count, s->export_count == 1 ? "" : "s");
		if (length > 2)
			nbds_buf_printf(b, ", %s in flight", short_count(n, (double)in_flight));
	} else if (length) {
		nbds_buf_printf(b, "%s conn", short_count(n, (double)s->totals.connections));
		nbds_buf_printf(b, ", %s in flight", short_count(n, (double)in_flight));
	}
	nbds_buf_puts(b, length ? "; " : "");
}

/* All four counts, the worst in a word, the others too if `whole`. */
static void counts_words(const struct snapshot *s, bool whole, char text[NBDS_VIOLATION + 1][48])
{
	static const char *const many[] = {"notes", "hazards", "suspects", "violations"};
	static const char *const one[] = {"note", "hazard", "suspect", "violation"};
	static const char letters[] = "nHSV";
	bool any = false;

	for (int i = NBDS_VIOLATION; i >= NBDS_NOTE; i--) {
		uint64_t found = s->totals.findings[i];
		bool word = whole || (found && !any);
		char n[SHORT_TEXT];

		any |= found > 0;
		short_count(n, (double)found);
		if (word)
			snprintf(text[i], 48, "%s%s %s", i < NBDS_VIOLATION ? ", " : "", n,
				 found == 1 ? one[i] : many[i]);
		else
			snprintf(text[i], 48, "%s%s%s%c", i < NBDS_VIOLATION ? ", " : "", n,
				 found < 1000 ? "" : " ", letters[i]);
	}
}

static void draw_totals(const struct ui *ui)
{
	const struct snapshot *s = ui->s;
	char counts[NBDS_VIOLATION + 1][48] = {"nothing found"};
	struct nbds_buf b = {0};
	bool any = false;
	int x;

	if (!s)
		return;
	for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++)
		any |= s->totals.findings[i] > 0;
	/* The counts as words, the worst as a word; then less of what comes before. */
	for (int turn = 0; turn < 5; turn++) {
		int columns = 0;

		totals_words(ui, turn < 2 ? 3 : 4 - turn, &b);
		if (any)
			counts_words(s, turn == 0, counts);
		for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++)
			columns += columns_of(counts[i]);
		if (columns + columns_of(nbds_buf_text(&b)) <= screen_columns)
			break;
	}
	x = put_on(1, 0, screen_columns, STYLE_PLAIN, nbds_buf_text(&b));
	nbds_buf_free(&b);
	for (int i = NBDS_VIOLATION; i >= NBDS_NOTE; i--) {
		enum style style = !any                    ? STYLE_GOOD
				   : s->totals.findings[i] ? severity_style((enum nbds_severity)i)
							   : STYLE_DIM;

		x += put_on(1, x, screen_columns - x, style, counts[i]);
	}
}

/* Where all titles find room. */
#define TABS_COLUMNS 76

static void draw_tabs(const struct ui *ui)
{
	int x = 0;

	put_row(2, STYLE_PLAIN);
	for (int i = 0; i < SCREEN_TABS; i++) {
		enum style style = i == (int)ui->screen ? STYLE_TAB_ON : STYLE_TAB;
		char text[40];
		int n;

		if (screen_columns < TABS_COLUMNS)
			snprintf(text, sizeof(text), i == (int)ui->screen ? "%d %.11s " : "%d%.2s ",
				 i + 1, views[i]->title);
		else
			snprintf(text, sizeof(text), screen_columns >= 84 ? " %d %s " : "%d %s ",
				 i + 1, views[i]->title);
		n = put_on(2, x, screen_columns - x, style, text);
		hit_add(2, x, n, 1, HIT_TAB, i);
		x += n;
		if (screen_columns >= 100)
			x += put_on(2, x, screen_columns - x, STYLE_DIM, glyph(GLYPH_BAR));
	}
}

/* Quit is always there; of the others those that there is room for. */
static void draw_bar(const struct ui *ui)
{
	int y = screen_rows - 1, x = 0, room = screen_columns - 8;

	put_row(y, STYLE_PLAIN);
	for (unsigned i = 0; i < key_count; i++) {
		const struct key *k = &keys[i];
		int from = x;

		if (!k->bar || !(k->screens & 1u << ui->screen) ||
		    x + columns_of(k->bar_key) + columns_of(k->bar) + 1 > room)
			continue;
		x += put_on(y, x, room, STYLE_KEY, k->bar_key);
		x += put_on(y, x, room, STYLE_LABEL, k->bar);
		hit_add(y, from, x - from, 1, HIT_KEY, (int)k->action);
		x++;
	}
	hit_add(y, x, 7, 1, HIT_KEY, ACTION_QUIT);
	x += put_on(y, x, 3, STYLE_KEY, "F10");
	put_on(y, x, 4, STYLE_LABEL, "Quit");
}

static void draw_alarm(const struct ui *ui, int y)
{
	const struct snapshot *s = ui->s;

	for (size_t i = s->finding_count; i-- > 0;) {
		const struct nbds_finding *f = s->findings[i]->finding;

		if (s->findings[i]->number != ui->alarm)
			continue;
		putf(y, 0, screen_columns, STYLE_ALARM, " VIOLATION %s (5 shows it): %s",
		     f->rule->name, f->message);
		return;
	}
}

/* What there is to say; nothing: what is in the row stays. */
static void draw_status(struct ui *ui, int y)
{
	const struct snapshot *s = ui->s;
	const struct table *t = ui_table(ui);

	if (ui->prompt.kind)
		prompt_draw(ui, y);
	else if (ui->notice_until > ui_clock())
		put(y, 0, screen_columns, STYLE_BOLD, ui->notice);
	else if (s && s->state == STATE_FAILED)
		put(y, 0, screen_columns, STYLE_VIOLATION, s->error);
	else if (ui->alarm && s)
		draw_alarm(ui, y);
	else if (t && t->filter[0])
		putf(y, 0, screen_columns, STYLE_BOLD, "Filter: %s   (%zu match; Esc ends it)",
		     t->filter, t->count);
	else if (t && t->frozen)
		put(y, 0, screen_columns, STYLE_DIM, "The order is frozen (o thaws it).");
}

void ui_draw(struct ui *ui)
{
	int rows;

	screen_begin();
	ui->dirty = false;
	if (screen_rows < LEAST_ROWS || screen_columns < LEAST_COLUMNS) {
		char text[80];
		int n = snprintf(text, sizeof(text), "%dx%d is too small: nbdtop needs %dx%d",
				 screen_columns, screen_rows, LEAST_COLUMNS, LEAST_ROWS);

		put(screen_rows / 2, n < screen_columns ? (screen_columns - n) / 2 : 0, n,
		    STYLE_BOLD, text);
		screen_end();
		return;
	}
	/* Where there are few rows, one does for the status and the bar. */
	rows = screen_rows < FEW_ROWS ? screen_rows - 4 : screen_rows - 5;
	draw_title(ui);
	draw_totals(ui);
	draw_tabs(ui);
	if (ui->s || ui->screen == SCREEN_HELP)
		ui_view(ui)->draw(ui, 3, rows);
	if (screen_rows < FEW_ROWS) {
		draw_bar(ui);
		draw_status(ui, screen_rows - 1);
	} else {
		draw_status(ui, screen_rows - 2);
		draw_bar(ui);
	}
	screen_end();
}
