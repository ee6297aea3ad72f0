/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_latency.c - how long replies took, as histograms.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "ui.h"

static const char *command_name(unsigned kind, char buf[NBDS_TEXT_OF_MAX])
{
	const char *name;

	if (kind == NBDS_COMMAND_KINDS - 1)
		return "other commands";
	name = nbds_text_of(&nbds_commands, kind, buf);
	return strncmp(name, "NBD_CMD_", 8) ? name : name + 8;
}

static unsigned shown_command(const struct ui *ui)
{
	const struct histogram *h = ui->s->histograms;

	if (h[ui->latency_command].count)
		return ui->latency_command;
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
		if (h[k].count)
			return k;
	return 0;
}

/* One row of the picture is one bin, or two where there is little room. */
static void draw_bars(const struct histogram *h, int y, int rows)
{
	unsigned low = HISTOGRAM_BINS, high = 0, per_row = 1;
	uint64_t most = 0, sum = 0;
	int width = screen_columns - 34;

	for (unsigned i = 0; i < HISTOGRAM_BINS; i++) {
		if (!h->bins[i])
			continue;
		if (low == HISTOGRAM_BINS)
			low = i;
		high = i;
	}
	if (low == HISTOGRAM_BINS || rows < 1)
		return;
	while ((high - low + per_row) / per_row > (unsigned)rows)
		per_row *= 2;
	low -= low % per_row;
	while ((high - low) / per_row + 1 > (unsigned)rows) {
		per_row *= 2;
		low -= low % per_row;
	}
	for (unsigned i = low; i <= high; i += per_row) {
		uint64_t n = 0;

		for (unsigned k = 0; k < per_row && i + k < HISTOGRAM_BINS; k++)
			n += h->bins[i + k];
		if (n > most)
			most = n;
	}
	for (unsigned i = low; i <= high; i += per_row, y++) {
		char from[SHORT_TEXT], to[SHORT_TEXT], n[SHORT_TEXT], bar[2048];
		uint64_t count = 0;
		unsigned eighths;

		for (unsigned k = 0; k < per_row && i + k < HISTOGRAM_BINS; k++)
			count += h->bins[i + k];
		sum += count;
		eighths = (unsigned)((double)count * width * 8 / (double)most);
		if (count && !eighths)
			eighths = 1;
		glyph_bar(bar, sizeof(bar), eighths);
		putf(y, 0, 16, STYLE_PLAIN, "%7s %7s ", short_time(from, (double)histogram_from(i)),
		     short_time(to, (double)histogram_from(i + per_row)));
		put_right(y, 16, 7, STYLE_BOLD, count ? short_count(n, (double)count) : "");
		putf(y, 23, 9, STYLE_DIM, " %5.1f %% ", (double)sum * 100 / (double)h->count);
		put(y, 33, screen_columns - 33, STYLE_READ, bar);
	}
}

/* With fewer, a command has fewer numbers. */
#define LATENCY_COLUMNS 76

static void scope_text(const struct ui *ui, struct nbds_buf *b)
{
	const struct wanted *w = &ui->s->wanted;
	const struct connection_row *c;
	const struct export_row *x;
	char addr[NBDS_ADDR_TEXT];

	switch (w->scope) {
	case SCOPE_ALL:
		nbds_buf_puts(b, "All connections");
		break;
	case SCOPE_EXPORT:
		x = ui_export(ui, w->scope_id);
		nbds_buf_puts(b, "Export ");
		if (x)
			nbds_buf_printf(b, "\"%s\" at %s", x->name,
					nbds_addr_text(&x->server, addr));
		break;
	case SCOPE_CONNECTION:
		c = ui_connection(ui, w->scope_id);
		nbds_buf_printf(b, "Connection %" PRIu32, w->scope_id);
		if (c)
			nbds_buf_printf(b, ", %s, \"%s\"", nbds_addr_text(&c->client, addr),
					c->export_name);
		break;
	}
}

static void latency_draw(struct ui *ui, int y, int rows)
{
	const struct snapshot *s = ui->s;
	unsigned chosen = shown_command(ui);
	struct nbds_buf b = {0};
	int end = y + rows;
	bool any = false;

	scope_text(ui, &b);
	nbds_buf_puts(&b, "   ([ and ]: others; Left and Right: another command)");
	put(y++, 0, screen_columns, STYLE_BOLD, nbds_buf_text(&b));
	nbds_buf_free(&b);
	if (screen_columns < LATENCY_COLUMNS)
		putf(y++, 0, screen_columns, STYLE_HEAD, " %-10s %7s %6s %6s %6s", "COMMAND",
		     "REPLIES", "P50", "P99", "MAX");
	else
		putf(y++, 0, screen_columns, STYLE_HEAD, "  %-14s %9s %8s %8s %8s %8s %8s %8s",
		     "COMMAND", "REPLIES", "MEAN", "P50", "P90", "P99", "P99.9", "MAX");
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++) {
		const struct histogram *h = &s->histograms[k];
		char name[NBDS_TEXT_OF_MAX], n[SHORT_TEXT], t[6][SHORT_TEXT];

		if (!h->count || y >= end)
			continue;
		any = true;
		if (screen_columns < LATENCY_COLUMNS)
			putf(y, 0, screen_columns, k == chosen ? STYLE_SELECTED : STYLE_PLAIN,
			     "%s%-10.10s %7s %6s %6s %6s", k == chosen ? ">" : " ",
			     command_name(k, name), short_count(n, (double)h->count),
			     short_time(t[1], (double)h->p50), short_time(t[3], (double)h->p99),
			     short_time(t[5], (double)h->max));
		else
			putf(y, 0, screen_columns, k == chosen ? STYLE_SELECTED : STYLE_PLAIN,
			     "%s %-14s %9s %8s %8s %8s %8s %8s %8s", k == chosen ? ">" : " ",
			     command_name(k, name), short_count(n, (double)h->count),
			     short_time(t[0], (double)h->sum / (double)h->count),
			     short_time(t[1], (double)h->p50), short_time(t[2], (double)h->p90),
			     short_time(t[3], (double)h->p99), short_time(t[4], (double)h->p999),
			     short_time(t[5], (double)h->max));
		hit_add(y, 0, screen_columns, 1, HIT_ROW, (int)k);
		y++;
	}
	if (!any) {
		put(y + 1, 2, screen_columns - 2, STYLE_DIM, "No reply has been seen yet.");
		return;
	}
	y++;
	if (y < end)
		putf(y++, 0, screen_columns, STYLE_DIM, "%7s %7s %7s %7s", "FROM", "TO", "REPLIES",
		     "UP TO");
	if (y < end)
		draw_bars(&s->histograms[chosen], y, end - y);
}

static void other_command(struct ui *ui, int by)
{
	unsigned k = shown_command(ui);

	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		k = (k + NBDS_COMMAND_KINDS + (unsigned)by) % NBDS_COMMAND_KINDS;
		if (ui->s->histograms[k].count)
			break;
	}
	ui->latency_command = k;
}

/* All, each export, each connection, and all again. */
static void other_scope(struct ui *ui, int by)
{
	size_t n = 1 + ui->exports.count + ui->connections.count, at = 0;

	for (size_t i = 0; i < ui->exports.count; i++)
		if (ui->latency_scope == SCOPE_EXPORT && ui->exports.ids[i] == ui->latency_id)
			at = 1 + i;
	for (size_t i = 0; i < ui->connections.count; i++)
		if (ui->latency_scope == SCOPE_CONNECTION &&
		    ui->connections.ids[i] == ui->latency_id)
			at = 1 + ui->exports.count + i;
	at = (at + n + (size_t)by) % n;
	if (at == 0) {
		ui->latency_scope = SCOPE_ALL;
		ui->latency_id = 0;
	} else if (at <= ui->exports.count) {
		ui->latency_scope = SCOPE_EXPORT;
		ui->latency_id = (uint32_t)ui->exports.ids[at - 1];
	} else {
		ui->latency_scope = SCOPE_CONNECTION;
		ui->latency_id = (uint32_t)ui->connections.ids[at - 1 - ui->exports.count];
	}
	ui_want(ui);
}

static bool latency_action(struct ui *ui, enum action action)
{
	if (!ui->s)
		return false;
	switch (action) {
	case ACTION_LEFT:
	case ACTION_UP:
		other_command(ui, -1);
		return true;
	case ACTION_RIGHT:
	case ACTION_DOWN:
		other_command(ui, 1);
		return true;
	case ACTION_PREVIOUS:
		other_scope(ui, -1);
		return true;
	case ACTION_NEXT:
		other_scope(ui, 1);
		return true;
	default:
		return false;
	}
}

static void latency_text(struct ui *ui, struct nbds_buf *b)
{
	scope_text(ui, b);
	nbds_buf_puts(b, "\ncommand\tfrom (ns)\tto (ns)\treplies\n");
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++) {
		const struct histogram *h = &ui->s->histograms[k];
		char name[NBDS_TEXT_OF_MAX];

		for (unsigned i = 0; i < HISTOGRAM_BINS; i++)
			if (h->bins[i])
				nbds_buf_printf(b, "%s\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n",
						command_name(k, name), histogram_from(i),
						histogram_from(i + 1), h->bins[i]);
	}
}

static void latency_click(struct ui *ui, enum hit kind, int value, bool twice)
{
	(void)twice;
	if (kind == HIT_ROW)
		ui->latency_command = (unsigned)value;
}

const struct screen_view view_latency = {
	.title = "Latency",
	.draw = latency_draw,
	.action = latency_action,
	.text = latency_text,
	.click = latency_click,
};
