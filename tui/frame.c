/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * frame.c - what is around each screen: title, totals, tabs, status, bar. See ui.h.
 */
#include "ui.h"

#include <inttypes.h>
#include <stdio.h>

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

/* What must always be seen: whether packets were dropped. */
static void drop_words(const struct snapshot *s, char *text, size_t size, enum style *style)
{
	const struct nbds_capture_info *c = &s->info.capture;
	char k[SHORT_TEXT], i[SHORT_TEXT];

	*style = c->dropped ? STYLE_VIOLATION : STYLE_DIM;
	if ((s->state == STATE_LIVE || s->state == STATE_FAILED) && !s->piped)
		snprintf(text, size, "drops: kernel %s, interface %s",
			 short_count(k, (double)(c->dropped - c->dropped_interface)),
			 short_count(i, (double)c->dropped_interface));
	else if (c->dropped)
		snprintf(text, size, "%s dropped", short_count(k, (double)c->dropped));
	else
		text[0] = '\0';
}

static void draw_title(const struct ui *ui)
{
	char words[64], drops[96] = "", n[SHORT_TEXT], r[SHORT_TEXT], b[SHORT_TEXT];
	const struct snapshot *s = ui->s;
	enum style style, drop_style = STYLE_DIM;
	struct nbds_buf middle = {0};
	int x, right;

	put_row(0, STYLE_PLAIN);
	x = put_on(0, 0, 8, STYLE_TITLE, "nbdtop ");
	if (s)
		drop_words(s, drops, sizeof(drops), &drop_style);
	right = screen_columns - columns_of(drops);
	put_on(0, right, screen_columns - right, drop_style, drops);
	right -= *drops ? 2 : 0;
	x += put_on(0, x, right - x - 26 > 8 ? right - x - 26 : 8, STYLE_BOLD, ui->source) + 1;
	x += put_on(0, x, right - x, STYLE_PLAIN, " ");
	x += put_on(0, x, right - x, state_words(ui, words, &style) ? style : STYLE_PLAIN,
		    state_words(ui, words, &style));
	if (!s)
		return;
	nbds_buf_printf(&middle, "  %s packets", short_count(n, (double)s->info.capture.frames));
	if (s->state == STATE_LIVE || s->state == STATE_REPLAY)
		nbds_buf_printf(&middle, ", %s/s, %sB/s", short_count(r, s->packet_rate),
				short_bytes(b, s->byte_rate));
	if (columns_of(nbds_buf_text(&middle)) <= right - x)
		put_on(0, x, right - x, STYLE_DIM, nbds_buf_text(&middle));
	nbds_buf_free(&middle);
}

static void draw_totals(const struct ui *ui)
{
	static const char *const many[] = {"notes", "hazards", "suspects", "violations"};
	static const char *const one[] = {"note", "hazard", "suspect", "violation"};
	const struct snapshot *s = ui->s;
	uint64_t in_flight = 0, open = 0;
	struct nbds_buf b = {0};
	bool any = false;
	char n[SHORT_TEXT];
	int x;

	if (!s)
		return;
	for (size_t i = 0; i < s->connection_count; i++) {
		in_flight += s->connections[i].in_flight;
		open += !s->connections[i].ended;
	}
	nbds_buf_printf(&b, "%" PRIu32 " connection%s (%" PRIu64 " open) to %zu export%s, ",
			s->totals.connections, s->totals.connections == 1 ? "" : "s", open,
			s->export_count, s->export_count == 1 ? "" : "s");
	nbds_buf_printf(&b, "%s in flight; ", short_count(n, (double)in_flight));
	x = put_on(1, 0, screen_columns, STYLE_PLAIN, nbds_buf_text(&b));
	nbds_buf_free(&b);
	for (int i = NBDS_VIOLATION; i >= NBDS_NOTE; i--) {
		char text[48];

		if (!s->totals.findings[i])
			continue;
		snprintf(text, sizeof(text), "%s%s %s", any ? ", " : "",
			 short_count(n, (double)s->totals.findings[i]),
			 s->totals.findings[i] == 1 ? one[i] : many[i]);
		x += put_on(1, x, screen_columns - x, severity_style((enum nbds_severity)i), text);
		any = true;
	}
	if (!any)
		put_on(1, x, screen_columns - x, STYLE_GOOD, "nothing found");
}

static void draw_tabs(const struct ui *ui)
{
	int x = 0;

	put_row(2, STYLE_PLAIN);
	for (int i = 0; i < SCREEN_COUNT; i++) {
		enum style style = i == (int)ui->screen ? STYLE_TAB_ON : STYLE_TAB;
		char text[40];
		int n;

		snprintf(text, sizeof(text), screen_columns >= 84 ? " %d %s " : "%d %s ", i + 1,
			 views[i]->title);
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
	int y = screen_rows - 1, x = 0, room = screen_columns - 7;

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

static void draw_status(struct ui *ui)
{
	int y = screen_rows - 2;
	const struct snapshot *s = ui->s;
	const struct table *t = ui->screen == SCREEN_EXPORTS       ? &ui->exports
				: ui->screen == SCREEN_CONNECTIONS ? &ui->connections
				: ui->screen == SCREEN_FINDINGS    ? &ui->findings
								   : NULL;

	if (ui->prompt.kind) {
		prompt_draw(ui, y);
		return;
	}
	put_row(y, STYLE_PLAIN);
	if (ui->notice_until > ui_clock()) {
		put(y, 0, screen_columns, STYLE_BOLD, ui->notice);
		return;
	}
	if (s && s->state == STATE_FAILED) {
		putf(y, 0, screen_columns, STYLE_VIOLATION, "%s", s->error);
		return;
	}
	if (ui->alarm && s) {
		for (size_t i = s->finding_count; i-- > 0;) {
			const struct nbds_finding *f = s->findings[i]->finding;

			if (s->findings[i]->number != ui->alarm)
				continue;
			putf(y, 0, screen_columns, STYLE_ALARM, " VIOLATION %s (5 shows it): %s",
			     f->rule->name, f->message);
			return;
		}
	}
	if (t && t->filter[0]) {
		putf(y, 0, screen_columns, STYLE_BOLD, "Filter: %s   (%zu match; Esc ends it)",
		     t->filter, t->count);
		return;
	}
	if (t && t->frozen)
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
	rows = screen_rows - 5;
	draw_title(ui);
	draw_totals(ui);
	draw_tabs(ui);
	if (ui->s || ui->screen == SCREEN_HELP)
		ui_view(ui)->draw(ui, 3, rows);
	draw_status(ui);
	draw_bar(ui);
	screen_end();
}
