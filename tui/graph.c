/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * graph.c - pictures of a history: bars of dots over time, and a strip of offsets.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "ui.h"

/* What of a sample is drawn. */
enum graph { GRAPH_BYTES, GRAPH_P99, GRAPH_FLIGHT, GRAPH_UNFLUSHED };

static double value_of(const struct history *h, unsigned at, enum graph what)
{
	const struct history_sample *s = &h->samples[at];

	switch (what) {
	case GRAPH_BYTES:
		return (double)(s->read + s->written) * 1e9 / (double)h->width;
	case GRAPH_P99:
		return (double)s->p99;
	case GRAPH_FLIGHT:
		return s->in_flight;
	case GRAPH_UNFLUSHED:
		return (double)s->unflushed;
	}
	return 0;
}

static const char *words_of(enum graph what, double v, char s[SHORT_TEXT])
{
	switch (what) {
	case GRAPH_BYTES:
	case GRAPH_UNFLUSHED:
		return short_bytes(s, v);
	case GRAPH_P99:
		return short_time(s, v);
	case GRAPH_FLIGHT:
		break;
	}
	return short_count(s, v);
}

/* A cell of eight dots, as UTF-8: how many are set from below in its two columns. */
static void braille(unsigned left, unsigned right, char text[4])
{
	static const uint8_t dots[2][4] = {{0x40, 0x04, 0x02, 0x01}, {0x80, 0x20, 0x10, 0x08}};
	unsigned bits = 0;

	for (unsigned i = 0; i < 4; i++) {
		bits |= i < left ? dots[0][i] : 0;
		bits |= i < right ? dots[1][i] : 0;
	}
	text[0] = (char)0xe2;
	text[1] = (char)(0xa0 | bits >> 6);
	text[2] = (char)(0x80 | (bits & 0x3f));
	text[3] = '\0';
}

/* Of the dots of a column, those in the cell `row` from below. */
static unsigned in_cell(unsigned dots, unsigned row, unsigned each)
{
	unsigned below = row * each;

	return dots <= below ? 0 : dots - below < each ? dots - below : each;
}

static unsigned height_of(const struct history *h, int at, enum graph what, double top,
			  unsigned dots)
{
	double v = at >= 0 && at < (int)h->count ? value_of(h, (unsigned)at, what) : 0;
	unsigned n = top > 0 ? (unsigned)(v * dots / top + 0.5) : 0;

	/* What is there is seen. */
	return v > 0 && !n ? 1 : n;
}

/* The newest at the right, as many as there is room for. */
static void draw_graph(const struct history *h, int y, int x, int width, int rows, enum graph what,
		       const char *title, enum style style)
{
	unsigned a_cell = screen_ascii() ? 1 : 2, each = screen_ascii() ? 2 : 4;
	int first = (int)h->count - width * (int)a_cell;
	char now[SHORT_TEXT], most[SHORT_TEXT];
	double top = 0;

	for (int i = first > 0 ? first : 0; i < (int)h->count; i++)
		if (value_of(h, (unsigned)i, what) > top)
			top = value_of(h, (unsigned)i, what);
	putf(y, x, width, STYLE_DIM, "%s %s, most %s", title,
	     words_of(what, h->count ? value_of(h, h->count - 1, what) : 0, now),
	     words_of(what, top, most));
	for (int row = 0; row < rows; row++) {
		for (int i = 0; i < width; i++) {
			int at = first + i * (int)a_cell;
			unsigned dots = (unsigned)rows * each;
			unsigned left =
				in_cell(height_of(h, at, what, top, dots), (unsigned)row, each);
			unsigned right = a_cell == 2
						 ? in_cell(height_of(h, at + 1, what, top, dots),
							   (unsigned)row, each)
						 : 0;
			char text[4];

			if (screen_ascii())
				snprintf(text, sizeof(text), "%s",
					 left == 2 ? "#"
					 : left    ? "."
						   : " ");
			else if (left || right)
				braille(left, right, text);
			else
				snprintf(text, sizeof(text), " ");
			put(y + rows - row, x + i, 1, style, text);
		}
	}
}

/* Which parts of the export were touched: denser where it was more often. */
static void draw_touched(const struct history *h, int y, int width, const uint32_t *touched,
			 const char *title, enum style style)
{
	static const char *const blocks[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
	static const char *const letters[] = {" ", ".", ":", "+", "#"};
	uint32_t most = 0;

	put(y, 0, 8, STYLE_DIM, title);
	if (!h->size)
		return;
	for (unsigned i = 0; i < HISTORY_PLACES; i++)
		most = touched[i] > most ? touched[i] : most;
	for (int i = 0; i < width; i++) {
		unsigned from = (unsigned)i * HISTORY_PLACES / (unsigned)width;
		unsigned to = ((unsigned)i + 1) * HISTORY_PLACES / (unsigned)width;
		uint32_t n = 0;
		unsigned level;

		for (unsigned k = from; k < (to > from ? to : from + 1); k++)
			n = touched[k] > n ? touched[k] : n;
		/* By the root: what was touched seldom is seen too. */
		level = !n                                      ? 0
			: (uint64_t)n * 16 > (uint64_t)most * 9 ? 4
			: (uint64_t)n * 4 > most                ? 3
			: (uint64_t)n * 16 > most               ? 2
								: 1;
		put(y, 8 + i, 1, style, screen_ascii() ? letters[level] : blocks[level]);
	}
}

int history_rows(int rows)
{
	/* A list of some rows is left. */
	return rows < 22 || screen_columns < 60 ? 0 : rows < 34 ? 12 : rows < 50 ? 16 : 20;
}

void history_draw(const struct ui *ui, int y, int rows, const struct export_row *x)
{
	const struct history *h = &ui->s->history;
	int half = (screen_columns - 2) / 2, each = (rows - 6) / 2;
	char span[SHORT_TEXT], size[SHORT_TEXT];

	put_row(y, STYLE_HEAD);
	putf(y++, 0, screen_columns, STYLE_HEAD, "\"%s\" over time, the last %s%s", x->name,
	     short_time(span, (double)h->width * h->count),
	     h->size ? "; below, the offsets touched" : "");
	if (!h->count || ui->s->wanted.history != x->id) {
		put(y + 1, 2, screen_columns - 2, STYLE_DIM, "Nothing was answered yet.");
		return;
	}
	draw_graph(h, y, 0, half, each, GRAPH_BYTES, "bytes a second", STYLE_READ);
	draw_graph(h, y, half + 2, half, each, GRAPH_P99, "p99", STYLE_HAZARD);
	y += each + 1;
	draw_graph(h, y, 0, half, each, GRAPH_FLIGHT, "in flight", STYLE_FLUSH);
	draw_graph(h, y, half + 2, half, each, GRAPH_UNFLUSHED, "unflushed", STYLE_WRITE);
	y += each + 1;
	draw_touched(h, y++, screen_columns - 8, h->reads, "reads", STYLE_READ);
	draw_touched(h, y++, screen_columns - 8, h->writes, "writes", STYLE_WRITE);
	put(y, 8, 8, STYLE_DIM, "0");
	put_right(y, screen_columns - 8, 8, STYLE_DIM, short_bytes(size, (double)h->size));
}
