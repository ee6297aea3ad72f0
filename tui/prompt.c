/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * prompt.c - the line in which something is typed. See ui.h.
 */
#include "ui.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>

static void filter_verdict(struct ui *ui, const char *text, char *words, size_t size, bool *valid)
{
	const struct table *t = ui_table(ui);
	char why[120] = "";
	struct filter f;
	unsigned where = 0;

	*valid = true;
	words[0] = '\0';
	if (!*text)
		return;
	if (t) {
		*valid = table_filter_check(t, text, &f, why, sizeof(why), &where);
		if (*valid)
			snprintf(words, size, "  %s valid", glyph(GLYPH_CHECK));
		else
			snprintf(words, size, "  as text: %s", why);
		return;
	}
	*valid = filter_parse(&f, text, why, sizeof(why), &where);
	snprintf(words, size, *valid ? "  %s valid" : "  %s %s",
		 glyph(*valid ? GLYPH_CHECK : GLYPH_CROSS), why);
}

static const char *question(const struct ui *ui)
{
	switch (ui->screen) {
	case SCREEN_EXPORTS:
	case SCREEN_CONNECTIONS:
		return "Hide finished connections? (u shows them again)  y or n: ";
	case SCREEN_FINDINGS:
		return "Hide the findings so far? (u shows them again)  y or n: ";
	case SCREEN_MESSAGES:
		return "Hide the messages so far? (u shows them again)  y or n: ";
	default:
		return "Begin the flush order anew? It cannot be brought back.  y or n: ";
	}
}

void prompt_draw(struct ui *ui, int y)
{
	static const char *const labels[] = {
		[PROMPT_SEARCH] = "Search: ",
		[PROMPT_FILTER] = "Filter: ",
		[PROMPT_SAVE] = "Save to: ",
		[PROMPT_FRAMES] = "Save the packets to: ",
	};
	const struct prompt *p = &ui->prompt;
	char words[200], before[PROMPT_TEXT];
	bool valid = true;
	int x, cursor;

	put_row(y, STYLE_PLAIN);
	if (p->kind == PROMPT_SAVE_END) {
		put_cursor(y, put_on(y, 0, screen_columns, STYLE_BOLD,
				     "Save live packets no longer?  y or n: "));
		return;
	}
	if (p->kind == PROMPT_CLEAR) {
		put_cursor(y, put_on(y, 0, screen_columns, STYLE_BOLD, question(ui)));
		return;
	}
	x = put_on(y, 0, screen_columns, STYLE_BOLD, labels[p->kind]);
	snprintf(before, sizeof(before), "%.*s", (int)p->at, p->text);
	cursor = x + columns_of(before);
	x += put_on(y, x, screen_columns - x, p->offered ? STYLE_SELECTED : STYLE_PLAIN, p->text);
	if (p->kind == PROMPT_FILTER) {
		filter_verdict(ui, p->text, words, sizeof(words), &valid);
		put_on(y, x, screen_columns - x, valid ? STYLE_GOOD : STYLE_VIOLATION, words);
	}
	put_cursor(y, cursor);
}

/* --- keys --- */

static struct typed *typed_of(struct ui *ui)
{
	switch (ui->prompt.kind) {
	case PROMPT_SEARCH:
		return &ui->typed_searches;
	case PROMPT_FILTER:
		return &ui->typed_filters[ui->screen];
	default:
		return NULL;
	}
}

static void remember(struct typed *typed, const char *text)
{
	unsigned from = 0;

	if (!typed || !*text)
		return;
	/* Once is enough. */
	while (from < typed->count && strcmp(typed->texts[from], text) != 0)
		from++;
	if (from == typed->count && typed->count == TYPED_MAX)
		from = 0;
	if (from < typed->count)
		memmove(typed->texts[from], typed->texts[from + 1],
			(--typed->count - from) * sizeof(typed->texts[0]));
	snprintf(typed->texts[typed->count++], PROMPT_TEXT, "%s", text);
}

static void prompt_set(struct prompt *p, const char *text)
{
	snprintf(p->text, sizeof(p->text), "%s", text);
	p->at = (unsigned)strlen(p->text);
	p->offered = false;
}

/* Back in what was typed before, or forth again. */
static void recall(struct ui *ui, int by)
{
	const struct typed *typed = typed_of(ui);
	struct prompt *p = &ui->prompt;

	if (!typed || (by > 0 && p->back >= typed->count) || (by < 0 && !p->back))
		return;
	p->back += by > 0 ? 1 : -1u;
	prompt_set(p, p->back ? typed->texts[typed->count - p->back] : "");
}

void prompt_open(struct ui *ui, enum prompt_kind kind, const char *text)
{
	const struct typed *typed;

	ui->prompt = (struct prompt){.kind = kind};
	prompt_set(&ui->prompt, text);
	typed = typed_of(ui);
	if (*text || !typed || !typed->count)
		return;
	prompt_set(&ui->prompt, typed->texts[typed->count - 1]);
	ui->prompt.offered = true;
	ui->prompt.back = 1;
}

static void save_packets(struct ui *ui, const char *path)
{
	char err[300];
	int fd;

	if (!ui->s || ui->s->state != STATE_LIVE) {
		ui_notice(ui, "Packets can be saved of live traffic only.");
		return;
	}
	if (ui->s->saving) {
		ui_notice(ui, "The packets are saved already: W ends that.");
		return;
	}
	fd = worker_create(ui->worker, path, err, sizeof(err));
	if (fd < 0)
		ui_notice(ui, "%s: %s", path, err);
	else
		worker_save(ui->worker, fd, path);
}

static bool write_text(int fd, const struct nbds_buf *b)
{
	FILE *file = fdopen(fd, "w");
	bool good;

	if (!file) {
		close(fd);
		return false;
	}
	good = fwrite(nbds_buf_text(b), 1, b->len, file) == b->len;
	return fclose(file) == 0 && good;
}

static void save_screen(struct ui *ui, const char *path)
{
	struct nbds_buf b = {0};
	char err[300];
	int fd;

	if (!ui_view(ui)->text || !ui->s) {
		ui_notice(ui, "There is nothing to save here.");
		return;
	}
	fd = worker_create(ui->worker, path, err, sizeof(err));
	if (fd < 0) {
		ui_notice(ui, "%s: %s", path, err);
		return;
	}
	ui_view(ui)->text(ui, &b);
	if (write_text(fd, &b))
		ui_notice(ui, "Saved to %s.", path);
	else
		ui_notice(ui, "%s: %s", path, strerror(errno));
	nbds_buf_free(&b);
}

/* What was picked. */
static void save_frames(struct ui *ui, const char *path)
{
	struct pick *p = ui->pick;
	char err[300];

	if (!p || !*path)
		return;
	p->fd = worker_create(ui->worker, path, err, sizeof(err));
	if (p->fd < 0) {
		ui_notice(ui, "%s: %s", path, err);
		return;
	}
	nbds_escape_text(path, strlen(path), p->name, sizeof(p->name));
	ui->pick = NULL;
	worker_pick(ui->worker, p);
}

static void save_to(struct ui *ui, const char *path)
{
	size_t len = strlen(path);

	if (len > 7 && !strcmp(path + len - 7, ".pcapng"))
		save_packets(ui, path);
	else if (len)
		save_screen(ui, path);
}

static void prompt_live(struct ui *ui)
{
	struct table *t = ui_table(ui);

	/* A list follows what is typed. */
	if (ui->prompt.kind == PROMPT_FILTER && t && !ui->prompt.offered) {
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
	ui->prompt.offered = false;
	prompt_live(ui);
	if (kind == PROMPT_FILTER && ui->screen == SCREEN_MESSAGES &&
	    !messages_filter(ui, text, why, sizeof(why), &where)) {
		ui->prompt.at = where;
		return; /* it says why */
	}
	remember(typed_of(ui), text);
	ui->prompt.kind = PROMPT_NONE;
	switch (kind) {
	case PROMPT_SEARCH:
		snprintf(ui->search, sizeof(ui->search), "%s", text);
		if (*text && ui->s && !ui_view(ui)->search(ui, text, 1, true))
			ui_notice(ui, "\"%s\" is nowhere here.", text);
		break;
	case PROMPT_SAVE:
		save_to(ui, text);
		break;
	case PROMPT_FRAMES:
		save_frames(ui, text);
		break;
	default:
		break;
	}
}

void prompt_close(struct ui *ui)
{
	struct table *t = ui_table(ui);

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

void prompt_key(struct ui *ui, wint_t c, bool special)
{
	struct prompt *p = &ui->prompt;
	unsigned from;

	if (p->kind == PROMPT_SAVE_END) {
		p->kind = PROMPT_NONE;
		if (!special && (c == 'y' || c == 'Y'))
			worker_save_end(ui->worker);
		return;
	}
	if (p->kind == PROMPT_CLEAR) {
		p->kind = PROMPT_NONE;
		if (!special && (c == 'y' || c == 'Y') && ui->s)
			ui_view(ui)->action(ui, ACTION_CLEAR);
		return;
	}
	if (!special && (c == '\n' || c == '\r')) {
		prompt_done(ui);
		return;
	}
	if (!special && c == 27) {
		prompt_close(ui);
		return;
	}
	if (special ? c == KEY_ENTER : false) {
		prompt_done(ui);
		return;
	}
	if (special && (c == KEY_UP || c == KEY_DOWN)) {
		recall(ui, c == KEY_UP ? 1 : -1);
		prompt_live(ui);
		return;
	}
	/* What is typed takes the place of what was offered; keys that move take it over. */
	if (p->offered && !special && c >= 32 && c != 127)
		prompt_set(p, "");
	p->offered = false;
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
