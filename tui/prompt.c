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
	};
	const struct prompt *p = &ui->prompt;
	char words[200], before[PROMPT_TEXT];
	bool valid = true;
	int x, cursor;

	put_row(y, STYLE_PLAIN);
	if (p->kind == PROMPT_CLEAR) {
		put_cursor(y, put_on(y, 0, screen_columns, STYLE_BOLD, question(ui)));
		return;
	}
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

/* --- keys --- */

void prompt_open(struct ui *ui, enum prompt_kind kind, const char *text)
{
	ui->prompt.kind = kind;
	snprintf(ui->prompt.text, sizeof(ui->prompt.text), "%s", text);
	ui->prompt.at = (unsigned)strlen(ui->prompt.text);
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
		ui_notice(ui, "the packets are saved already");
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
		if (*text && ui->s && !ui_view(ui)->search(ui, text, 1, true))
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
