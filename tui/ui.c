/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ui.c - the frame around the screens: title, tabs, bar, prompts, and the loop.
 * See ui.h.
 */
#include "ui.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>

#include "text.h"

#define DRAW_NS   INT64_C(100000000) /* new data is drawn ten times a second */
#define NOTICE_NS INT64_C(6000000000)
#define SECOND_NS INT64_C(1000000000)

/* So often keys are said to be there, and none is: the terminal is gone. */
#define NO_KEYS_MAX 32

/* Two clicks on one place within so much time open it. */
#define TWICE_NS INT64_C(400000000)

void lists_init(struct ui *ui);
void findings_init(struct ui *ui);

static const struct view *const views[SCREEN_COUNT] = {
	[SCREEN_EXPORTS] = &view_exports,   [SCREEN_CONNECTIONS] = &view_connections,
	[SCREEN_ORDER] = &view_order,       [SCREEN_MESSAGES] = &view_messages,
	[SCREEN_FINDINGS] = &view_findings, [SCREEN_LATENCY] = &view_latency,
	[SCREEN_HELP] = &view_help,
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

int64_t ui_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

/* --- what screens ask for --- */

int64_t ui_since(const struct ui *ui, int64_t time)
{
	return (int64_t)((uint64_t)time - (uint64_t)ui->s->start);
}

int64_t ui_age(const struct ui *ui, int64_t time)
{
	int64_t age = (int64_t)((uint64_t)ui->s->now - (uint64_t)time);

	return age > 0 ? age : 0;
}

const struct export_row *ui_export(const struct ui *ui, uint32_t id)
{
	for (size_t i = 0; id && ui->s && i < ui->s->export_count; i++)
		if (ui->s->exports[i].id == id)
			return &ui->s->exports[i];
	return NULL;
}

const struct connection_row *ui_connection(const struct ui *ui, uint32_t id)
{
	for (size_t i = 0; id && ui->s && i < ui->s->connection_count; i++)
		if (ui->s->connections[i].id == id)
			return &ui->s->connections[i];
	return NULL;
}

const struct export_row *ui_order_export(const struct ui *ui)
{
	const struct export_row *x = ui_export(ui, ui->order_export);
	size_t row = table_row(&ui->exports);

	if (x || !ui->s)
		return x;
	if (ui->only_export && (x = ui_export(ui, ui->only_export)))
		return x;
	return row < ui->s->export_count ? &ui->s->exports[row] : NULL;
}

void ui_notice(struct ui *ui, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ui->notice, sizeof(ui->notice), format, args);
	va_end(args);
	ui->notice_until = ui_clock() + NOTICE_NS;
	ui->dirty = true;
}

void ui_want(struct ui *ui)
{
	struct wanted w;
	const struct export_row *x = ui_order_export(ui);
	size_t row = table_row(&ui->connections);

	memset(&w, 0, sizeof(w));
	if (ui->screen == SCREEN_ORDER && x)
		w.export = x->id;
	if (ui->screen == SCREEN_CONNECTIONS && ui->connection_detail && ui->s &&
	    row < ui->s->connection_count)
		w.connection = ui->s->connections[row].id;
	w.latency = ui->screen == SCREEN_LATENCY;
	w.scope = ui->latency_scope;
	w.scope_id = ui->latency_id;
	if (!memcmp(&w, &ui->wanted, sizeof(w)))
		return;
	ui->wanted = w;
	worker_want(ui->worker, &w);
}

void ui_go(struct ui *ui, unsigned screen)
{
	if (screen == SCREEN_HELP && ui->screen != SCREEN_HELP) {
		ui->before_help = ui->screen;
		ui->help_scroll = 0;
	}
	/* The flush order is that of the export that was pointed at. */
	if (screen == SCREEN_ORDER && ui->screen == SCREEN_EXPORTS) {
		ui->order_export = 0;
		ui->order_flush = ui->order_right = 0;
	}
	/* Whoever follows an alarm wants to see what it was about. */
	if (screen == SCREEN_FINDINGS && ui->alarm)
		table_select(&ui->findings, ui->alarm);
	ui->screen = screen;
	if (views[screen]->update && ui->s)
		views[screen]->update(ui);
	ui_want(ui);
	ui->dirty = true;
}

static size_t word_bytes(const char *text, int *columns, int most)
{
	char one[8];
	size_t n = 0;

	*columns = 0;
	while (text[n] && text[n] != ' ' && text[n] != '\n') {
		size_t len = 1;
		int wide;

		while (((unsigned char)text[n + len] & 0xc0) == 0x80 && len < 4)
			len++;
		memcpy(one, text + n, len);
		one[len] = '\0';
		wide = columns_of(one);
		if (*columns + wide > most && *columns)
			break;
		*columns += wide;
		n += len;
	}
	return n;
}

int ui_wrap(int y, int x, int width, int rows, int *skip, enum style style, const char *text)
{
	int used = 0;

	if (width < 1)
		return 0;
	do {
		char line[2048];
		size_t len = 0;
		int columns = 0;

		while (*text && *text != '\n') {
			int wide, between = columns ? 1 : 0;
			size_t n = word_bytes(text, &wide, width);

			if (columns && columns + 1 + wide > width)
				break;
			if (len + n + 2 > sizeof(line))
				break;
			if (between)
				line[len++] = ' ';
			memcpy(line + len, text, n);
			len += n;
			columns += between + wide;
			text += n;
			while (*text == ' ')
				text++;
		}
		line[len] = '\0';
		if (*text == '\n')
			text++;
		if (*skip > 0) {
			--*skip;
		} else {
			if (used == rows)
				break;
			put(y + used, x, width, style, line);
			used++;
		}
	} while (*text);
	return used;
}

/* --- the frame --- */

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
		return s->saving ? "LIVE, saving" : "LIVE";
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
	if (s->state == STATE_LIVE || s->state == STATE_FAILED)
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

/* --- prompts --- */

static void filter_verdict(const struct ui *ui, const char *text, char *words, size_t size,
			   bool *valid)
{
	char why[120] = "";
	struct filter f;
	unsigned where = 0;

	*valid = true;
	words[0] = '\0';
	if (ui->screen != SCREEN_MESSAGES || !*text)
		return;
	*valid = filter_parse(&f, text, why, sizeof(why), &where);
	snprintf(words, size, *valid ? "  %s valid" : "  %s %s",
		 glyph(*valid ? GLYPH_CHECK : GLYPH_CROSS), why);
}

static void draw_prompt(struct ui *ui, int y)
{
	static const char *const labels[] = {
		[PROMPT_SEARCH] = "Search: ",
		[PROMPT_FILTER] = "Filter: ",
		[PROMPT_SAVE] = "Save to: ",
	};
	const struct prompt *p = &ui->prompt;
	char words[200], before[PROMPT_TEXT];
	bool valid = true;
	int x, cursor;

	put_row(y, STYLE_PLAIN);
	x = put_on(y, 0, screen_columns, STYLE_BOLD, labels[p->kind]);
	snprintf(before, sizeof(before), "%.*s", (int)p->at, p->text);
	cursor = x + columns_of(before);
	x += put_on(y, x, screen_columns - x, STYLE_PLAIN, p->text);
	if (p->kind == PROMPT_FILTER) {
		filter_verdict(ui, p->text, words, sizeof(words), &valid);
		put_on(y, x, screen_columns - x, valid ? STYLE_GOOD : STYLE_VIOLATION, words);
	}
	put_cursor(y, cursor);
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
		draw_prompt(ui, y);
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
	if (ui->alarm) {
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

static void draw(struct ui *ui)
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
		views[ui->screen]->draw(ui, 3, rows);
	draw_status(ui);
	draw_bar(ui);
	screen_end();
}

/* --- snapshots --- */

/* The newest violation of what is going on; of a file, the first one. */
static void watch_findings(struct ui *ui)
{
	const struct snapshot *s = ui->s;
	bool file = s->state == STATE_LOADING || s->finite;

	if (file && ui->alarm)
		return;
	for (size_t i = 0; i < s->finding_count; i++) {
		const struct found *f = s->findings[file ? i : s->finding_count - 1 - i];

		if (f->finding->severity != NBDS_VIOLATION)
			continue;
		if (f->number > ui->alarms_seen && f->number > ui->alarm)
			ui->alarm = f->number;
		break;
	}
}

static void take(struct ui *ui)
{
	struct snapshot *s;

	if (ui->paused && ui->s && ui->s->state != STATE_REPLAY)
		return;
	s = worker_take(ui->worker);
	if (!s)
		return;
	ui->s = s;
	if (s->notices != ui->notices_seen) {
		ui->notices_seen = s->notices;
		ui_notice(ui, "%s", s->notice);
	}
	table_update(&ui->exports);
	table_update(&ui->connections);
	table_update(&ui->findings);
	/* What is not looked at is not kept alive. */
	if (ui->screen == SCREEN_MESSAGES)
		view_messages.update(ui);
	else if (ui->messages.view.count && !ui->paused)
		log_view_close(worker_log(ui->worker), &ui->messages.view);
	ui_want(ui);
	watch_findings(ui);
	ui->dirty = true;
}

/* --- prompts: keys --- */

static void prompt_open(struct ui *ui, enum prompt_kind kind, const char *text)
{
	ui->prompt.kind = kind;
	snprintf(ui->prompt.text, sizeof(ui->prompt.text), "%s", text);
	ui->prompt.at = (unsigned)strlen(ui->prompt.text);
}

static struct table *table_of(struct ui *ui)
{
	switch (ui->screen) {
	case SCREEN_EXPORTS:
		return &ui->exports;
	case SCREEN_CONNECTIONS:
		return &ui->connections;
	case SCREEN_FINDINGS:
		return &ui->findings;
	default:
		return NULL;
	}
}

static void save_to(struct ui *ui, const char *path)
{
	size_t len = strlen(path);
	struct nbds_buf b = {0};
	FILE *file;

	if (!len)
		return;
	if (len > 7 && !strcmp(path + len - 7, ".pcapng")) {
		if (ui->s && ui->s->state == STATE_LIVE)
			worker_save(ui->worker, path);
		else
			ui_notice(ui, "Packets can be saved of live traffic only.");
		return;
	}
	if (!views[ui->screen]->text || !ui->s) {
		ui_notice(ui, "There is nothing to save here.");
		return;
	}
	views[ui->screen]->text(ui, &b);
	/* Nothing is overwritten. */
	file = fopen(path, "wx");
	if (!file) {
		ui_notice(ui, "%s: %s", path, strerror(errno));
	} else {
		bool bad = fwrite(nbds_buf_text(&b), 1, b.len, file) != b.len;

		bad |= fclose(file) != 0;
		if (bad)
			ui_notice(ui, "%s: %s", path, strerror(errno));
		else
			ui_notice(ui, "Saved to %s.", path);
	}
	nbds_buf_free(&b);
}

static void prompt_live(struct ui *ui)
{
	struct table *t = table_of(ui);

	/* A list follows what is typed. */
	if (ui->prompt.kind == PROMPT_FILTER && t) {
		snprintf(t->filter, sizeof(t->filter), "%.*s", (int)sizeof(t->filter) - 1,
			 ui->prompt.text);
		table_update(t);
	}
}

static void prompt_done(struct ui *ui)
{
	enum prompt_kind kind = ui->prompt.kind;
	char text[PROMPT_TEXT], why[120];
	unsigned where;

	snprintf(text, sizeof(text), "%s", ui->prompt.text);
	if (kind == PROMPT_FILTER && ui->screen == SCREEN_MESSAGES &&
	    !messages_filter(ui, text, why, sizeof(why), &where)) {
		ui->prompt.at = where;
		return; /* it says why */
	}
	ui->prompt.kind = PROMPT_NONE;
	switch (kind) {
	case PROMPT_SEARCH:
		snprintf(ui->search, sizeof(ui->search), "%s", text);
		if (*text && ui->s && !views[ui->screen]->search(ui, text, 1, true))
			ui_notice(ui, "\"%s\" is nowhere here.", text);
		break;
	case PROMPT_SAVE:
		save_to(ui, text);
		break;
	default:
		break;
	}
}

static void prompt_cancel(struct ui *ui)
{
	struct table *t = table_of(ui);

	if (ui->prompt.kind == PROMPT_FILTER && t) {
		t->filter[0] = '\0';
		table_update(t);
	}
	ui->prompt.kind = PROMPT_NONE;
}

static void prompt_erase(struct prompt *p, unsigned from, unsigned to)
{
	memmove(p->text + from, p->text + to, strlen(p->text + to) + 1);
	p->at = from;
}

/* Bytes of the character before, or at, the cursor. */
static unsigned step_left(const struct prompt *p)
{
	unsigned at = p->at;

	while (at && ((unsigned char)p->text[--at] & 0xc0) == 0x80)
		;
	return at;
}

static unsigned step_right(const struct prompt *p)
{
	unsigned at = p->at;

	if (p->text[at])
		at++;
	while (((unsigned char)p->text[at] & 0xc0) == 0x80)
		at++;
	return at;
}

static void prompt_insert(struct prompt *p, wint_t c)
{
	char bytes[MB_LEN_MAX + 1];
	size_t len = strlen(p->text);
	int n = wctomb(bytes, (wchar_t)c);

	if (n <= 0 || len + (size_t)n + 1 > sizeof(p->text))
		return;
	memmove(p->text + p->at + n, p->text + p->at, len - p->at + 1);
	memcpy(p->text + p->at, bytes, (size_t)n);
	p->at += (unsigned)n;
}

static void prompt_key(struct ui *ui, wint_t c, bool special)
{
	struct prompt *p = &ui->prompt;
	unsigned from;

	if (!special && (c == '\n' || c == '\r')) {
		prompt_done(ui);
		return;
	}
	if (!special && c == 27) {
		prompt_cancel(ui);
		return;
	}
	if (special ? c == KEY_ENTER : false) {
		prompt_done(ui);
		return;
	}
	if (special ? c == KEY_BACKSPACE : c == 127 || c == 8)
		prompt_erase(p, step_left(p), p->at);
	else if (special && c == KEY_DC)
		prompt_erase(p, p->at, step_right(p));
	else if (special && c == KEY_LEFT)
		p->at = step_left(p);
	else if (special && c == KEY_RIGHT)
		p->at = step_right(p);
	else if (special ? c == KEY_HOME : c == 1)
		p->at = 0;
	else if (special ? c == KEY_END : c == 5)
		p->at = (unsigned)strlen(p->text);
	else if (!special && c == 21)
		prompt_erase(p, 0, p->at);
	else if (!special && c == 23) {
		from = p->at;
		while (from && p->text[from - 1] == ' ')
			from--;
		while (from && p->text[from - 1] != ' ')
			from--;
		prompt_erase(p, from, p->at);
	} else if (!special && c >= 32) {
		prompt_insert(p, c);
	}
	prompt_live(ui);
}

/* --- keys --- */

static void toggle_pause(struct ui *ui)
{
	if (!ui->s)
		return;
	if (ui->s->state == STATE_DONE || ui->s->state == STATE_FAILED) {
		ui_notice(ui, "All is read: there is nothing to pause.");
		return;
	}
	ui->paused = !ui->paused;
	if (ui->s->state == STATE_REPLAY)
		worker_hold(ui->worker, ui->paused);
	if (!ui->paused)
		take(ui);
}

static void search_again(struct ui *ui, int direction)
{
	if (!ui->search[0])
		prompt_open(ui, PROMPT_SEARCH, "");
	else if (ui->s && !views[ui->screen]->search(ui, ui->search, direction, false))
		ui_notice(ui, "\"%s\" is nowhere here.", ui->search);
}

static void change_speed(struct ui *ui, double factor)
{
	double speed;

	if (!ui->s || ui->s->state != STATE_REPLAY) {
		ui_notice(ui, "Only a replay (--replay=SPEED) has a speed.");
		return;
	}
	speed = (ui->speed > 0 ? ui->speed : ui->s->replay_speed) * factor;
	if (speed < 1.0 / 1024 || speed > 1 << 20)
		return;
	ui->speed = speed;
	worker_replay_speed(ui->worker, speed);
}

static void back(struct ui *ui)
{
	struct table *t = table_of(ui);

	if (t && t->filter[0]) {
		t->filter[0] = '\0';
		table_update(t);
	} else if (ui->s && ui->s->state == STATE_LOADING) {
		worker_cancel(ui->worker);
	} else if (ui->paused) {
		toggle_pause(ui);
	}
}

static void act(struct ui *ui, enum action action)
{
	const struct view *v = views[ui->screen];
	struct table *t = table_of(ui);

	ui->dirty = true;
	if (action >= ACTION_SCREEN && action <= ACTION_SCREEN_LAST) {
		ui_go(ui, action - ACTION_SCREEN);
		return;
	}
	/* Esc ends a filter before it goes back. */
	if (action == ACTION_BACK && t && t->filter[0]) {
		back(ui);
		return;
	}
	if ((ui->s || ui->screen == SCREEN_HELP) && v->action && v->action(ui, action))
		return;
	switch (action) {
	case ACTION_QUIT:
		ui->quit = true;
		break;
	case ACTION_HELP:
		ui_go(ui, SCREEN_HELP);
		break;
	case ACTION_NEXT_SCREEN:
		ui_go(ui, (ui->screen + 1) % SCREEN_COUNT);
		break;
	case ACTION_PREVIOUS_SCREEN:
		ui_go(ui, (ui->screen + SCREEN_COUNT - 1) % SCREEN_COUNT);
		break;
	case ACTION_BACK:
		back(ui);
		break;
	case ACTION_SEARCH:
		prompt_open(ui, PROMPT_SEARCH, "");
		break;
	case ACTION_SEARCH_NEXT:
		search_again(ui, 1);
		break;
	case ACTION_SEARCH_PREVIOUS:
		search_again(ui, -1);
		break;
	case ACTION_FILTER:
		prompt_open(ui, PROMPT_FILTER, t ? t->filter : ui->messages.filter_text);
		break;
	case ACTION_SAVE:
		prompt_open(ui, PROMPT_SAVE, "");
		break;
	case ACTION_PAUSE:
		toggle_pause(ui);
		break;
	case ACTION_SLOWER:
		change_speed(ui, 0.5);
		break;
	case ACTION_FASTER:
		change_speed(ui, 2);
		break;
	case ACTION_REDRAW:
		screen_redraw();
		break;
	default:
		break;
	}
}

static void mouse(struct ui *ui)
{
	static int last_y = -1, last_x;
	static int64_t last;
	enum hit kind;
	MEVENT event;
	int value = 0;
	bool twice;

	if (getmouse(&event) != OK)
		return;
	if (event.bstate & BUTTON4_PRESSED) {
		for (int i = 0; i < 3; i++)
			act(ui, hit_find(event.y, event.x, &value) == HIT_DETAIL ? ACTION_DETAIL_UP
										 : ACTION_UP);
		return;
	}
	if (event.bstate & BUTTON5_PRESSED) {
		for (int i = 0; i < 3; i++)
			act(ui, hit_find(event.y, event.x, &value) == HIT_DETAIL
					? ACTION_DETAIL_DOWN
					: ACTION_DOWN);
		return;
	}
	if (!(event.bstate & (BUTTON1_PRESSED | BUTTON1_CLICKED | BUTTON1_DOUBLE_CLICKED)))
		return;
	twice = event.y == last_y && abs(event.x - last_x) < 3 && ui_clock() - last < TWICE_NS;
	last_y = event.y;
	last_x = event.x;
	last = ui_clock();
	kind = hit_find(event.y, event.x, &value);
	ui->dirty = true;
	switch (kind) {
	case HIT_TAB:
		ui_go(ui, (unsigned)value);
		break;
	case HIT_KEY:
		act(ui, (enum action)value);
		break;
	case HIT_NONE:
		break;
	default:
		if (views[ui->screen]->click && ui->s)
			views[ui->screen]->click(ui, kind, value,
						 twice || (event.bstate & BUTTON1_DOUBLE_CLICKED));
	}
}

/* Returns how many there were. */
static unsigned read_keys(struct ui *ui)
{
	unsigned count = 0;
	wint_t c;
	int got;

	while (!ui->quit && (got = get_wch(&c)) != ERR) {
		bool special = got == KEY_CODE_YES;

		count++;
		ui->dirty = true;
		if (special && c == KEY_RESIZE)
			continue;
		if (special && c == KEY_MOUSE) {
			mouse(ui);
		} else if (!special && c == 3) {
			ui->quit = true;
		} else if (ui->prompt.kind) {
			prompt_key(ui, c, special);
		} else if (special || c < 256) {
			act(ui, key_action((int)c, ui->screen));
		}
	}
	return count;
}

/* --- the loop --- */

/* ms until there is something to do even if nothing happens. */
static int patience(const struct ui *ui, int64_t drawn, bool ready)
{
	int64_t now = ui_clock(), until = now + SECOND_NS;

	if (ui->busy)
		return 0;
	if (ready && drawn + DRAW_NS < until)
		until = drawn + DRAW_NS;
	if (ui->notice_until > now && ui->notice_until < until)
		until = ui->notice_until;
	return until > now ? (int)((until - now) / 1000000) + 1 : 0;
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGINT, &action, NULL);
}

void ui_run(struct ui *ui)
{
	unsigned keyless = 0;
	int64_t drawn = 0;
	bool ready = true;
	uint64_t behind = 0;

	catch_signals();
	views_init(ui);
	ui->dirty = true;
	while (!ui->quit && !ended) {
		struct pollfd fds[] = {
			{.fd = screen_fd(), .events = POLLIN},
			/* What is ready is not waited for. */
			{.fd = ready ? -1 : worker_fd(ui->worker), .events = POLLIN},
			/* Whether it is gone is told unasked. */
			{.fd = STDOUT_FILENO},
		};
		int got = poll(fds, 3, patience(ui, drawn, ready));

		if ((fds[0].revents | fds[2].revents) & (POLLHUP | POLLERR | POLLNVAL))
			break;
		/* A signal: the size may have changed, which get_wch() tells. */
		if (got < 0)
			read_keys(ui);
		else if (fds[0].revents)
			keyless = read_keys(ui) ? 0 : keyless + 1;
		if (keyless > NO_KEYS_MAX)
			break;
		if (fds[1].revents)
			ready = true;
		if (ui->busy) {
			ui->busy = false;
			if (ui->screen == SCREEN_MESSAGES && ui->s)
				view_messages.update(ui);
			ui->dirty = true;
		}
		if (ready && ui_clock() - drawn >= DRAW_NS) {
			take(ui);
			ready = false;
			if (ui->paused && ui->s) {
				uint64_t total = log_total(worker_log(ui->worker));

				/* While paused only this number moves. */
				ready = false;
				ui->dirty |= total != behind;
				behind = total;
			}
		}
		if (ui->notice_until && ui->notice_until <= ui_clock()) {
			ui->notice_until = 0;
			ui->dirty = true;
		}
		if (ui->dirty) {
			draw(ui);
			drawn = ui_clock();
		}
	}
	views_free(ui);
}

void views_init(struct ui *ui)
{
	lists_init(ui);
	findings_init(ui);
	ui->messages.follow = true;
	ui->messages.view.first = 1;
}

void views_free(struct ui *ui)
{
	table_free(&ui->exports);
	table_free(&ui->connections);
	table_free(&ui->findings);
	log_view_close(worker_log(ui->worker), &ui->messages.view);
	free(ui->messages.matches);
	nbds_buf_free(&ui->messages.line);
}
