/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_setup.c - what the user may set up: theme, times, how often it is drawn, and the
 * columns of the lists. What is changed is seen at once, and kept with `s`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ui.h"

/* Lines: the switches, then for each list a heading and its columns. */
enum { LINE_THEME, LINE_TIMES, LINE_REFRESH, SWITCHES };

static struct table *list_of(struct ui *ui, int list)
{
	struct table *const lists[CONFIG_LISTS] = {&ui->exports, &ui->connections, &ui->findings};

	return lists[list];
}

static unsigned line_total(struct ui *ui)
{
	unsigned n = SWITCHES;

	for (int i = 0; i < CONFIG_LISTS; i++)
		n += 1 + list_of(ui, i)->source->column_count;
	return n;
}

/* Which column a line is of; -1: a switch or a heading. `place`: in the order of the
 * list, those that are shown first. */
static int line_list(struct ui *ui, unsigned line, unsigned *place)
{
	unsigned at = SWITCHES;

	for (int i = 0; line >= SWITCHES && i < CONFIG_LISTS; i++) {
		unsigned count = list_of(ui, i)->source->column_count;

		if (line == at)
			break;
		if (line <= at + count) {
			*place = line - at - 1;
			return i;
		}
		at += 1 + count;
	}
	return -1;
}

/* The columns of a list: those that are laid out, and the others. */
static unsigned column_at(const struct table *t, unsigned place, bool *on)
{
	unsigned rest = place - t->layout_count;

	*on = place < t->layout_count;
	if (*on)
		return t->layout[place];
	for (unsigned c = 0; c < t->source->column_count; c++) {
		bool there = false;

		for (unsigned i = 0; i < t->layout_count; i++)
			there |= t->layout[i] == c;
		if (!there && !rest--)
			return c;
	}
	return 0;
}

/* What is shown by itself becomes a layout, as soon as one is changed. */
static void lay_out(struct table *t)
{
	if (!t->layout_count)
		t->layout_count = table_shown(t, t->layout);
}

static void draw_line(struct ui *ui, int y, unsigned line, bool selected)
{
	enum style style = selected ? STYLE_SELECTED : STYLE_PLAIN;
	unsigned place = 0, at = SWITCHES;
	int list = line_list(ui, line, &place);

	if (list >= 0) {
		const struct table *t = list_of(ui, list);
		const struct column *c;
		bool on;

		c = &t->source->columns[column_at(t, place, &on)];
		putf(y, 0, screen_columns, style, "    [%c] %-10s %s", on ? 'x' : ' ', c->title,
		     c->key);
		return;
	}
	switch (line) {
	case LINE_THEME:
		putf(y, 0, screen_columns, style, "Theme: for a %s terminal",
		     ui->setup.light ? "light" : "dark");
		return;
	case LINE_TIMES:
		putf(y, 0, screen_columns, style, "Times: %s",
		     ui->absolute ? "of the day" : "since the first packet");
		return;
	case LINE_REFRESH:
		putf(y, 0, screen_columns, style, "Drawn every %g s",
		     (double)ui->setup.refresh / 1e9);
		return;
	default:
		break;
	}
	for (int i = 0; i < CONFIG_LISTS; i++) {
		if (line == at)
			putf(y, 0, screen_columns, selected ? STYLE_SELECTED : STYLE_BOLD,
			     "  Columns of %s%s",
			     views[i < 2 ? (unsigned)i : SCREEN_FINDINGS]->title,
			     list_of(ui, i)->layout_count ? "" : " (as there is room)");
		at += 1 + list_of(ui, i)->source->column_count;
	}
}

static void setup_draw(struct ui *ui, int y, int rows)
{
	unsigned total = line_total(ui);

	putf(y++, 0, screen_columns, STYLE_HEAD,
	     "Setup  (Enter changes, < and > move a column, s keeps, Esc leaves)");
	rows--;
	if (rows < 1)
		return;
	if (ui->setup_line >= total)
		ui->setup_line = total - 1;
	if (ui->setup_line < ui->setup_top)
		ui->setup_top = ui->setup_line;
	if (ui->setup_line >= ui->setup_top + (unsigned)rows)
		ui->setup_top = ui->setup_line - (unsigned)rows + 1;
	for (int i = 0; i < rows && ui->setup_top + (unsigned)i < total; i++) {
		draw_line(ui, y + i, ui->setup_top + (unsigned)i,
			  ui->setup_top + (unsigned)i == ui->setup_line);
		hit_add(y + i, 0, screen_columns, 1, HIT_ROW, (int)ui->setup_top + i);
	}
}

static void change_refresh(struct ui *ui)
{
	static const int64_t steps[] = {100000000,  200000000,  500000000,
					1000000000, 2000000000, 5000000000};
	size_t i = 0;

	while (i < sizeof(steps) / sizeof(steps[0]) && steps[i] <= ui->setup.refresh)
		i++;
	ui->setup.refresh = steps[i % (sizeof(steps) / sizeof(steps[0]))];
}

static void change(struct ui *ui)
{
	unsigned place = 0;
	int list = line_list(ui, ui->setup_line, &place);
	struct table *t;
	unsigned column;
	bool on;

	switch (ui->setup_line) {
	case LINE_THEME:
		ui->setup.light = !ui->setup.light;
		screen_theme(ui->setup.light);
		return;
	case LINE_TIMES:
		ui->absolute = !ui->absolute;
		return;
	case LINE_REFRESH:
		change_refresh(ui);
		return;
	default:
		break;
	}
	if (list < 0)
		return;
	t = list_of(ui, list);
	lay_out(t);
	column = column_at(t, place, &on);
	if (!on) {
		t->layout[t->layout_count++] = column;
		return;
	}
	memmove(t->layout + place, t->layout + place + 1,
		(t->layout_count - place - 1) * sizeof(t->layout[0]));
	t->layout_count--;
}

static void move_column(struct ui *ui, int by)
{
	unsigned place = 0, to;
	int list = line_list(ui, ui->setup_line, &place);
	struct table *t = list < 0 ? NULL : list_of(ui, list);
	unsigned column;

	if (!t)
		return;
	lay_out(t);
	to = place + (unsigned)by;
	if (place >= t->layout_count || to >= t->layout_count)
		return;
	column = t->layout[place];
	t->layout[place] = t->layout[to];
	t->layout[to] = column;
	ui->setup_line += (unsigned)by;
}

/* What is set up now. */
static void collect(struct ui *ui, struct config *c)
{
	*c = ui->setup;
	c->absolute = ui->absolute;
	for (int i = 0; i < CONFIG_LISTS; i++)
		table_layout_get(list_of(ui, i), &c->lists[i]);
}

static void keep(struct ui *ui)
{
	struct nbds_buf b = {0};
	struct config c;
	char err[300];
	bool good;
	int fd;

	fd = worker_create(ui->worker, ui->config->setup_path, err, sizeof(err));
	if (fd < 0) {
		ui_notice(ui, "%s: %s", ui->config->setup_path, err);
		return;
	}
	collect(ui, &c);
	config_write(&c, &b);
	good = write(fd, nbds_buf_text(&b), b.len) == (ssize_t)b.len;
	good = close(fd) == 0 && good;
	if (good)
		ui_notice(ui, "Kept in %s.", ui->config->setup_path);
	else
		ui_notice(ui, "%s: %s", ui->config->setup_path, strerror(errno));
	nbds_buf_free(&b);
}

static bool setup_action(struct ui *ui, enum action action)
{
	unsigned total = line_total(ui), page = screen_rows > 8 ? (unsigned)screen_rows - 7 : 1;
	unsigned *line = &ui->setup_line;

	switch (action) {
	case ACTION_UP:
		*line -= *line > 0;
		return true;
	case ACTION_DOWN:
		*line += *line + 1 < total;
		return true;
	case ACTION_PAGE_UP:
		*line = *line > page ? *line - page : 0;
		return true;
	case ACTION_PAGE_DOWN:
		*line = *line + page < total ? *line + page : total - 1;
		return true;
	case ACTION_FIRST:
		*line = 0;
		return true;
	case ACTION_LAST:
		*line = total - 1;
		return true;
	case ACTION_ENTER:
		change(ui);
		return true;
	case ACTION_SORT_LEFT:
		move_column(ui, -1);
		return true;
	case ACTION_SORT_RIGHT:
		move_column(ui, 1);
		return true;
	case ACTION_KEEP:
		keep(ui);
		return true;
	case ACTION_SETUP:
	case ACTION_BACK:
		ui_go(ui, ui->before_setup);
		return true;
	default:
		return false;
	}
}

static void setup_click(struct ui *ui, enum hit kind, int value, bool twice)
{
	if (kind != HIT_ROW)
		return;
	ui->setup_line = (unsigned)value;
	if (twice)
		change(ui);
}

void setup_apply(struct ui *ui, char *err, size_t errsize)
{
	err[0] = '\0';
	ui->absolute = ui->setup.absolute;
	screen_theme(ui->setup.light);
	for (int i = 0; i < CONFIG_LISTS; i++)
		table_layout_set(list_of(ui, i), &ui->setup.lists[i], err, errsize);
}

const struct screen_view view_setup = {
	.title = "Setup",
	.draw = setup_draw,
	.action = setup_action,
	.click = setup_click,
};
