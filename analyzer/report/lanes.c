/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lanes.c - the picture of a finding. See lanes.h.
 *
 * Both ends of each command are events; sorted by frame they get columns from
 * left to right, each as far left as the events before it allow:
 *   - no event is left of the one before it, and a later frame is further right;
 *   - a bar is long enough for its label;
 *   - bars of one row leave room for the frame numbers between them.
 * If that takes more columns than there are, labels get shorter, and at last
 * each command gets a row of its own.  If it takes fewer, what is left over goes
 * to the gaps, more to the longer ones, by the logarithm of their time.
 */
#include "lanes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BARS_MAX   16
#define EVENTS_MAX (2 * BARS_MAX)

/* Wider than this, bars only get longer. */
#define WIDTH_MAX 110

/* Columns between two ends that a duration fits into: " 1.23 ms " */
#define GAP 10

enum lane_detail {
	DETAIL_SIZE,   /* "older WRITE 1 KiB FUA" */
	DETAIL_FLAGS,  /* "older WRITE FUA" */
	DETAIL_NAME,   /* "WRITE" */
	DETAIL_LETTER, /* "W" */
	DETAIL_ROWS,   /* "WRITE", one command a row */
	DETAILS
};

struct bar {
	const struct nbds_witness *w;
	char label[64], left[24], right[24];
	unsigned label_len, left_len, right_len;
	unsigned row;
	unsigned start, end; /* events; end: the events' count if never answered */
	bool faulty;
};

struct event {
	unsigned bar;
	bool is_end;
	uint64_t frame;
	int64_t time;
	unsigned x;
};

struct picture {
	struct bar bars[BARS_MAX];
	struct event events[EVENTS_MAX];
	unsigned bar_count, event_count;
	unsigned rows;
	uint32_t row_connection[BARS_MAX];
	unsigned margin; /* columns of the lanes' names */
	unsigned width;  /* columns right of it */
	bool open;       /* some command was never answered */
};

/* The finding may have been told before a reply came. */
static const char no_reply[] = " no reply by then";

/* --- labels --- */

static const char *short_name(uint16_t type, enum lane_detail detail)
{
	static const struct {
		uint16_t type;
		const char *name, *letter;
	} names[] = {
		{NBD_CMD_READ, "READ", "R"},           {NBD_CMD_WRITE, "WRITE", "W"},
		{NBD_CMD_FLUSH, "FLUSH", "F"},         {NBD_CMD_TRIM, "TRIM", "T"},
		{NBD_CMD_CACHE, "CACHE", "C"},         {NBD_CMD_WRITE_ZEROES, "ZEROES", "Z"},
		{NBD_CMD_BLOCK_STATUS, "STATUS", "S"}, {NBD_CMD_DISC, "DISC", "D"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].type == type)
			return detail == DETAIL_LETTER ? names[i].letter : names[i].name;
	return detail == DETAIL_LETTER ? "?" : "command";
}

static void make_label(struct bar *b, enum lane_detail detail)
{
	const struct nbds_witness *w = b->w;
	bool older = (w->role == NBDS_ROLE_STALE_WRITE || w->role == NBDS_ROLE_EARLIER_READ) &&
		     detail <= DETAIL_FLAGS;
	bool fua = (w->flags & NBD_CMD_FLAG_FUA) && detail <= DETAIL_FLAGS;
	struct nbds_buf size = {0};

	if (detail == DETAIL_SIZE && w->length) {
		nbds_buf_puts(&size, " ");
		nbds_buf_size(&size, w->length);
	}
	snprintf(b->label, sizeof(b->label), "%s%s%s%s", older ? "older " : "",
		 short_name(w->type, detail), nbds_buf_text(&size), fua ? " FUA" : "");
	nbds_buf_free(&size);
	b->label_len = (unsigned)strlen(b->label);
}

/* From the left end of a bar to its right end, at least. */
static unsigned bar_length(const struct bar *b, enum lane_detail detail)
{
	return b->label_len + (detail <= DETAIL_FLAGS ? 3 : 1);
}

/* --- events --- */

static int by_frame(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	if (x->frame != y->frame)
		return x->frame < y->frame ? -1 : 1;
	if (x->is_end != y->is_end)
		return x->is_end ? 1 : -1;
	return x->bar < y->bar ? -1 : x->bar > y->bar;
}

static void collect(struct picture *p, const struct nbds_witness *witnesses, unsigned count)
{
	for (unsigned i = 0; i < count && p->bar_count < BARS_MAX; i++) {
		const struct nbds_witness *w = &witnesses[i];
		struct bar *b = &p->bars[p->bar_count];
		uint64_t left = w->request_frame, right = w->reply_frame;
		int64_t begin = w->request_time, done = w->reply_time;

		if (!left)
			continue;
		/* A reply that was captured before its request. */
		if (right && right < left) {
			left = w->reply_frame, right = w->request_frame;
			begin = w->reply_time, done = w->request_time;
		}
		b->w = w;
		b->faulty = w->role == NBDS_ROLE_READ;
		b->left_len = (unsigned)snprintf(b->left, sizeof(b->left), "%" PRIu64, left);
		p->events[p->event_count++] =
			(struct event){.bar = p->bar_count, .frame = left, .time = begin};
		if (right) {
			b->right_len =
				(unsigned)snprintf(b->right, sizeof(b->right), "%" PRIu64, right);
			p->events[p->event_count++] = (struct event){
				.bar = p->bar_count, .is_end = true, .frame = right, .time = done};
		} else {
			p->open = true;
		}
		p->bar_count++;
	}
	if (p->event_count)
		qsort(p->events, p->event_count, sizeof(p->events[0]), by_frame);
	for (unsigned i = 0; i < p->bar_count; i++)
		p->bars[i].end = p->event_count;
	for (unsigned e = 0; e < p->event_count; e++) {
		struct bar *b = &p->bars[p->events[e].bar];

		*(p->events[e].is_end ? &b->end : &b->start) = e;
	}
}

/* --- rows --- */

/* A row of the same connection whose bars do not overlap with b. */
static bool row_free(const struct picture *p, unsigned row, const struct bar *b)
{
	for (unsigned i = 0; i < p->bar_count; i++) {
		const struct bar *o = &p->bars[i];

		if (o != b && o->row == row && o->start < b->end && b->start < o->end)
			return false;
	}
	return true;
}

static void give_rows(struct picture *p, bool share)
{
	struct bar *ordered[BARS_MAX];
	uint32_t ids[BARS_MAX];
	unsigned lanes = 0, n = 0;

	/* Lanes by number of connection; rows within a lane by time. */
	for (unsigned i = 0; i < p->bar_count; i++) {
		unsigned at = 0;
		uint32_t id = p->bars[i].w->connection;

		while (at < lanes && ids[at] < id)
			at++;
		if (at < lanes && ids[at] == id)
			continue;
		memmove(&ids[at + 1], &ids[at], (lanes - at) * sizeof(ids[0]));
		ids[at] = id;
		lanes++;
	}
	for (unsigned i = 0; i < p->bar_count; i++)
		p->bars[i].row = UINT32_MAX;
	p->rows = 0;
	for (unsigned lane = 0; lane < lanes; lane++) {
		unsigned first = p->rows;

		n = 0;
		for (unsigned e = 0; e < p->event_count; e++)
			if (!p->events[e].is_end &&
			    p->bars[p->events[e].bar].w->connection == ids[lane])
				ordered[n++] = &p->bars[p->events[e].bar];
		for (unsigned i = 0; i < n; i++) {
			unsigned row = first;

			while (row < p->rows && !(share && row_free(p, row, ordered[i])))
				row++;
			if (row == p->rows)
				p->row_connection[p->rows++] = ids[lane];
			ordered[i]->row = row;
		}
	}
}

/* --- columns --- */

static void push(unsigned *x, unsigned at_least)
{
	if (*x < at_least)
		*x = at_least;
}

/* Columns as far left as they can be, `gap` at least from one end to the next.
 * The width that this takes. */
static unsigned squeeze(struct picture *p, enum lane_detail detail, unsigned gap)
{
	unsigned width = 0;

	for (unsigned e = 0; e < p->event_count; e++) {
		struct event *ev = &p->events[e];
		const struct bar *b = &p->bars[ev->bar];

		ev->x = 0;
		if (e)
			push(&ev->x,
			     p->events[e - 1].x + (p->events[e - 1].frame == ev->frame ? 0 : gap));
		if (ev->is_end) {
			push(&ev->x, p->events[b->start].x + bar_length(b, detail));
			push(&width, ev->x + 1 + b->right_len);
			continue;
		}
		push(&ev->x, b->left_len);
		for (unsigned i = 0; i < p->bar_count; i++) {
			const struct bar *o = &p->bars[i];

			if (o->row == b->row && o->end < e)
				push(&ev->x,
				     p->events[o->end].x + 1 + o->right_len + 1 + b->left_len);
		}
		push(&width, ev->x + 1);
		if (b->end == p->event_count)
			push(&width, ev->x + b->label_len + 6 + sizeof(no_reply) - 1);
	}
	/* An open bar goes on to the end of the picture. */
	if (p->open && p->event_count)
		push(&width, p->events[p->event_count - 1].x + 3 + sizeof(no_reply) - 1);
	return width;
}

static unsigned weight(const struct picture *p, unsigned e)
{
	int64_t from = p->events[e - 1].time, to = p->events[e].time;
	uint64_t gap = to > from ? (uint64_t)to - (uint64_t)from : 0;

	if (p->events[e - 1].frame == p->events[e].frame)
		return 0;
	/* From a microsecond on each doubling counts. */
	gap /= 1000;
	return gap ? 65 - (unsigned)__builtin_clzll(gap) : 1;
}

/* Moves events to the right, over `slack` columns. */
static void stretch(struct picture *p, unsigned slack)
{
	unsigned total = 0, sum = 0;

	for (unsigned e = 1; e < p->event_count; e++)
		total += weight(p, e);
	if (!total)
		return;
	for (unsigned e = 1; e < p->event_count; e++) {
		sum += weight(p, e);
		p->events[e].x += slack * sum / total;
	}
}

/* --- drawing --- */

struct pen {
	struct nbds_lanes *lanes;
	bool ascii;
};

static void dot(const struct pen *pen, unsigned row, unsigned x, uint16_t glyph, char plain,
		enum nbds_lane_ink ink)
{
	if (row >= pen->lanes->rows || x >= pen->lanes->columns)
		return;
	pen->lanes->cells[row * pen->lanes->columns + x] = (struct nbds_lane_cell){
		pen->ascii ? (uint16_t)(unsigned char)plain : glyph, (uint8_t)ink};
}

static void write_at(const struct pen *pen, unsigned row, unsigned x, const char *text,
		     enum nbds_lane_ink ink)
{
	for (; *text; text++, x++)
		dot(pen, row, x, (uint16_t)(unsigned char)*text, *text, ink);
}

static void draw_bar(const struct pen *pen, const struct picture *p, const struct bar *b)
{
	enum nbds_lane_ink ink = b->faulty ? NBDS_LANE_FAULTY : NBDS_LANE_BAR;
	bool open = b->end == p->event_count;
	unsigned from = p->margin + p->events[b->start].x;
	unsigned to = open ? p->margin + p->width - (unsigned)sizeof(no_reply)
			   : p->margin + p->events[b->end].x;
	unsigned room = to - from - 1;

	write_at(pen, b->row, from - b->left_len, b->left, NBDS_LANE_FRAME);
	dot(pen, b->row, from, b->faulty ? 0x255e : 0x251c, '|', ink);
	for (unsigned x = from + 1; x < to; x++) {
		bool gone = open && x > from + b->label_len + 4;

		dot(pen, b->row, x,
		    gone        ? 0x254c
		    : b->faulty ? 0x2550
				: 0x2500,
		    gone        ? '.'
		    : b->faulty ? '='
				: '-',
		    ink);
	}
	if (open) {
		write_at(pen, b->row, to, no_reply, ink);
	} else {
		dot(pen, b->row, to, b->faulty ? 0x2561 : 0x2524, '|', ink);
		write_at(pen, b->row, to + 1, b->right, NBDS_LANE_FRAME);
	}
	if (b->label_len <= room) {
		bool pad = b->label_len + 2 <= room;
		unsigned at = from + (open && pad ? 3 : 1 + (room - b->label_len) / 2);

		if (pad && at > from + 1)
			write_at(pen, b->row, at - 1, " ", ink);
		write_at(pen, b->row, at, b->label, ink);
		if (pad)
			write_at(pen, b->row, at + b->label_len, " ", ink);
	}
}

/* Below the lanes: where the ends are, and how long it is from one to the next. */
static void draw_axis(const struct pen *pen, const struct picture *p)
{
	struct nbds_buf t = {0};
	unsigned row = p->rows;

	write_at(pen, row, 0, "time", NBDS_LANE_NAME);
	for (unsigned e = 0; e < p->event_count; e++) {
		unsigned x = p->margin + p->events[e].x;
		bool first = e == 0, last = e + 1 == p->event_count;
		unsigned from, room;
		int64_t gap;

		dot(pen, row, x, first ? 0x2514 : last ? 0x2518 : 0x2534, '+', NBDS_LANE_AXIS);
		if (first)
			continue;
		from = p->margin + p->events[e - 1].x + 1;
		if (x <= from)
			continue;
		for (unsigned k = from; k < x; k++)
			dot(pen, row, k, 0x2500, '-', NBDS_LANE_AXIS);
		gap = p->events[e].time > p->events[e - 1].time
			      ? (int64_t)((uint64_t)p->events[e].time -
					  (uint64_t)p->events[e - 1].time)
			      : 0;
		room = x - from;
		nbds_buf_clear(&t);
		if (!gap)
			continue; /* in one go, or not known */
		nbds_buf_duration(&t, (uint64_t)gap);
		if (t.len + 2 <= room) {
			nbds_buf_clear(&t);
			nbds_buf_puts(&t, " ");
			nbds_buf_duration(&t, (uint64_t)gap);
			nbds_buf_puts(&t, " ");
		}
		if (t.len && t.len <= room)
			write_at(pen, row, from + (room - (unsigned)t.len) / 2, nbds_buf_text(&t),
				 NBDS_LANE_AXIS);
	}
	nbds_buf_free(&t);
}

static void draw(const struct pen *pen, const struct picture *p)
{
	char name[24];

	for (unsigned row = 0; row < p->rows; row++) {
		snprintf(name, sizeof(name), "conn %" PRIu32, p->row_connection[row]);
		if (!row || p->row_connection[row] != p->row_connection[row - 1])
			write_at(pen, row, 0, name, NBDS_LANE_NAME);
	}
	for (unsigned i = 0; i < p->bar_count; i++)
		draw_bar(pen, p, &p->bars[i]);
	draw_axis(pen, p);
}

bool nbds_lanes_draw(struct nbds_lanes *lanes, const struct nbds_witness *witnesses, unsigned count,
		     unsigned width, bool ascii)
{
	struct picture p = {0};
	struct pen pen = {lanes, ascii};
	unsigned need = 0;

	memset(lanes, 0, sizeof(*lanes));
	collect(&p, witnesses, count);
	if (!p.bar_count)
		return false;
	for (unsigned i = 0; i < p.bar_count; i++)
		push(&p.margin,
		     (unsigned)snprintf(NULL, 0, "conn %" PRIu32, p.bars[i].w->connection));
	p.margin += 2;
	if (width > WIDTH_MAX)
		width = WIDTH_MAX;
	if (width <= p.margin)
		return false;
	p.width = width - p.margin;
	for (enum lane_detail detail = DETAIL_SIZE;; detail++) {
		if (detail == DETAILS)
			return false;
		for (unsigned i = 0; i < p.bar_count; i++)
			make_label(&p.bars[i], detail);
		give_rows(&p, detail != DETAIL_ROWS);
		/* With room for the durations, if there is. */
		need = squeeze(&p, detail, GAP);
		if (need > p.width)
			need = squeeze(&p, detail, 1);
		if (need <= p.width)
			break;
	}
	stretch(&p, p.width - need);

	lanes->columns = width;
	lanes->rows = p.rows + 1;
	lanes->cells = malloc((size_t)lanes->rows * lanes->columns * sizeof(*lanes->cells));
	if (!lanes->cells)
		return false;
	for (size_t i = 0; i < (size_t)lanes->rows * lanes->columns; i++)
		lanes->cells[i] = (struct nbds_lane_cell){' ', NBDS_LANE_BLANK};
	draw(&pen, &p);
	return true;
}

void nbds_lanes_free(struct nbds_lanes *lanes)
{
	free(lanes->cells);
	memset(lanes, 0, sizeof(*lanes));
}

unsigned nbds_lanes_used(const struct nbds_lanes *lanes, unsigned row)
{
	const struct nbds_lane_cell *cells = lanes->cells + (size_t)row * lanes->columns;
	unsigned n = lanes->columns;

	while (n && cells[n - 1].glyph == ' ')
		n--;
	return n;
}

void nbds_lanes_text(const struct nbds_lanes *lanes, unsigned row, unsigned from, unsigned count,
		     struct nbds_buf *b)
{
	for (unsigned i = from; i < from + count && i < lanes->columns; i++) {
		uint16_t g = lanes->cells[(size_t)row * lanes->columns + i].glyph;
		char utf8[3] = {(char)(0xe0 | g >> 12), (char)(0x80 | (g >> 6 & 0x3f)),
				(char)(0x80 | (g & 0x3f))};
		char one = (char)g;

		/* Glyphs are ASCII or box drawing, which takes three bytes. */
		if (g < 0x80)
			nbds_buf_add(b, &one, 1);
		else
			nbds_buf_add(b, utf8, sizeof(utf8));
	}
}
