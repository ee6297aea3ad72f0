/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html_lanes.c - the picture of a finding, with more room than lanes.h has.
 *
 * A lane is a connection, a bar a command, from its request to the end of its answer.  The
 * witnesses are coloured, and arrows lead from each to what rests on it; in grey is what
 * else went on.  All ends in one frame are at one place, and frames from left to right,
 * each as far left as the bars before it allow; what room is left goes to the gaps, more to
 * the longer ones, by the logarithm of their time.
 *
 *	conn 1   [ WRITE ]──►[ FLUSH ]─╮        witnesses, a row of the lane's or more
 *	           ▒▒   ▒                       others
 *	conn 2                         ╰►[ READ ]
 *	time     0      +106 us ...
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>

#include "html.h"

#define BARS_MAX   (NBDS_WITNESSES_MAX + ACTIVITY_AROUND + 1)
#define ENDS_MAX   (2 * BARS_MAX)
#define LANES_MAX  10
#define MARGIN     72 /* pixels for the lanes' names */
#define WIDTH      900
#define RIGHT      16
#define TALL       24 /* of a witness; frame numbers are below */
#define TALL_ROW   42
#define FLAT       13 /* of what else went on */
#define FLAT_ROW   16
#define LANE_SPACE 10
#define AXIS       34
#define NO_END     ENDS_MAX

enum bar_kind { BAR_WITNESS, BAR_POINT, BAR_NEAR };

struct svg_bar {
	struct nbds_witness w;
	enum bar_kind kind;
	bool faulty, failed;
	char label[64];
	unsigned lane, row;  /* row of those of its kind in the lane */
	unsigned start, end; /* ends; NO_END: never answered */
	int x, x_end, y;
};

struct svg_end {
	uint64_t frame;
	int64_t time;
	unsigned bar;
	bool is_end, shown; /* its time is */
	int x;
};

struct svg_lane {
	uint32_t connection;
	unsigned tall, flat; /* rows */
	int y, height;
};

struct svg {
	struct svg_bar bars[BARS_MAX];
	unsigned bar_count;
	struct svg_end ends[ENDS_MAX];
	unsigned end_count;
	struct svg_lane lanes[LANES_MAX];
	unsigned lane_count;
	int width, height;
	bool open;
};

/* --- what is in it --- */

static const char *command_word(uint16_t type)
{
	static const struct {
		uint16_t type;
		const char *word;
	} words[] = {
		{NBD_CMD_READ, "READ"},           {NBD_CMD_WRITE, "WRITE"},
		{NBD_CMD_FLUSH, "FLUSH"},         {NBD_CMD_TRIM, "TRIM"},
		{NBD_CMD_CACHE, "CACHE"},         {NBD_CMD_WRITE_ZEROES, "ZEROES"},
		{NBD_CMD_BLOCK_STATUS, "STATUS"}, {NBD_CMD_DISC, "DISC"},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (words[i].type == type)
			return words[i].word;
	return "command";
}

static void make_label(struct svg_bar *b)
{
	const struct nbds_witness *w = &b->w;
	bool older = w->role == NBDS_ROLE_STALE_WRITE || w->role == NBDS_ROLE_EARLIER_READ;
	struct nbds_buf size = {0};

	if (w->length) {
		nbds_buf_puts(&size, " ");
		nbds_buf_size(&size, w->length);
	}
	snprintf(b->label, sizeof(b->label), "%s%s%s%s", older ? "older " : "",
		 command_word(w->type), nbds_buf_text(&size),
		 w->flags & NBD_CMD_FLAG_FUA ? " FUA" : "");
	nbds_buf_free(&size);
}

/* The lane of a connection, in order of their ids; LANES_MAX: there is no room. */
static unsigned lane_of(struct svg *s, uint32_t connection)
{
	unsigned at = 0;

	while (at < s->lane_count && s->lanes[at].connection < connection)
		at++;
	if (at < s->lane_count && s->lanes[at].connection == connection)
		return at;
	if (s->lane_count == LANES_MAX)
		return LANES_MAX;
	memmove(&s->lanes[at + 1], &s->lanes[at], (s->lane_count - at) * sizeof(s->lanes[0]));
	s->lanes[at] = (struct svg_lane){.connection = connection};
	s->lane_count++;
	return at;
}

static struct svg_bar *add_bar(struct svg *s, const struct nbds_witness *w, enum bar_kind kind)
{
	struct svg_bar *b = &s->bars[s->bar_count];

	if (!w->request_frame || s->bar_count == BARS_MAX || lane_of(s, w->connection) == LANES_MAX)
		return NULL;
	*b = (struct svg_bar){.w = *w, .kind = kind};
	/* A reply that was captured before its request. */
	if (w->reply_frame && w->reply_frame < w->request_frame) {
		b->w.request_frame = w->reply_frame, b->w.reply_frame = w->request_frame;
		b->w.request_time = w->reply_time, b->w.reply_time = w->request_time;
	}
	make_label(b);
	s->bar_count++;
	return b;
}

/* Of a finding without witnesses: is this the command that it is about? */
static bool about(const struct nbds_finding *f, const struct activity_op *op)
{
	return op->connection == f->connection &&
	       (op->request_frame == f->frames[NBDS_ROLE_REQUEST] ||
		op->request_frame == f->frames[NBDS_ROLE_MESSAGE] ||
		op->reply_frame == f->frames[NBDS_ROLE_MESSAGE]);
}

/* Where no read shows the fault: the last command of the connection that it is about. */
static bool blame(struct svg *s, const struct nbds_finding *f)
{
	for (unsigned i = s->bar_count; i-- > 0;) {
		struct svg_bar *b = &s->bars[i];

		if (b->kind == BAR_WITNESS && b->w.connection == f->connection &&
		    (!f->frames[NBDS_ROLE_MESSAGE] ||
		     b->w.request_frame == f->frames[NBDS_ROLE_MESSAGE] ||
		     b->w.reply_frame == f->frames[NBDS_ROLE_MESSAGE])) {
			b->faulty = true;
			return true;
		}
	}
	return false;
}

/* The message at fault or, where there are no witnesses, the frame that shows most. */
static void add_point(struct svg *s, const struct nbds_finding *f)
{
	const struct nbds_witness w = {
		.role = NBDS_ROLE_MESSAGE,
		.connection = f->connection,
		.request_frame = f->witness_count ? f->frames[NBDS_ROLE_MESSAGE]
						  : nbds_finding_frame(f),
		.request_time = f->time,
	};
	struct svg_bar *b = f->connection ? add_bar(s, &w, BAR_POINT) : NULL;

	if (!b)
		return;
	b->faulty = true;
	snprintf(b->label, sizeof(b->label), "%s", f->command ? f->command : "message");
}

static void collect(struct svg *s, const struct nbds_finding *f, const struct activity_story *story)
{
	bool found = false;

	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		struct svg_bar *b = add_bar(s, &f->witnesses[i], BAR_WITNESS);

		if (b && b->w.role == NBDS_ROLE_READ)
			b->faulty = found = true;
	}
	for (unsigned i = 0; story && i < story->count; i++) {
		const struct activity_op *op = &story->ops[i];
		const struct nbds_witness w = {
			.role = NBDS_ROLE_REQUEST,
			.connection = op->connection,
			.type = op->type,
			.flags = op->flags,
			.offset = op->offset,
			.length = op->length,
			.request_frame = op->request_frame,
			.reply_frame = op->reply_frame,
			.request_time = op->request_time,
			.reply_time = op->reply_time,
		};
		bool itself = !f->witness_count && about(f, op);
		struct svg_bar *b = add_bar(s, &w, itself ? BAR_WITNESS : BAR_NEAR);

		if (!b)
			continue;
		b->failed = op->failed;
		b->faulty = itself;
		found |= itself;
	}
	if (!found && f->witness_count)
		found = blame(s, f);
	if (!found)
		add_point(s, f);
}

/* --- ends --- */

static int by_frame(const void *a, const void *b)
{
	const struct svg_end *x = a, *y = b;

	if (x->frame != y->frame)
		return x->frame < y->frame ? -1 : 1;
	if (x->is_end != y->is_end)
		return x->is_end ? -1 : 1;
	return x->bar < y->bar ? -1 : x->bar > y->bar;
}

static void find_ends(struct svg *s)
{
	for (unsigned i = 0; i < s->bar_count; i++) {
		struct svg_bar *b = &s->bars[i];

		s->ends[s->end_count++] = (struct svg_end){.frame = b->w.request_frame,
							   .time = b->w.request_time,
							   .bar = i,
							   .shown = b->kind != BAR_NEAR};
		b->end = NO_END;
		if (b->kind != BAR_POINT && b->w.reply_frame)
			s->ends[s->end_count++] = (struct svg_end){.frame = b->w.reply_frame,
								   .time = b->w.reply_time,
								   .bar = i,
								   .is_end = true,
								   .shown = b->kind != BAR_NEAR};
		else if (b->kind != BAR_POINT)
			s->open = true;
	}
	if (s->end_count)
		qsort(s->ends, s->end_count, sizeof(s->ends[0]), by_frame);
	for (unsigned e = 0; e < s->end_count; e++) {
		struct svg_bar *b = &s->bars[s->ends[e].bar];

		*(s->ends[e].is_end ? &b->end : &b->start) = e;
	}
}

/* --- rows --- */

static bool overlap(const struct svg_bar *x, const struct svg_bar *y)
{
	/* a point is wider than it says */
	if (x->kind == BAR_POINT || y->kind == BAR_POINT)
		return true;
	return x->start < y->end && y->start < x->end;
}

static void give_rows(struct svg *s)
{
	int y = 6;

	for (unsigned i = 0; i < s->bar_count; i++) {
		struct svg_bar *b = &s->bars[i];
		bool flat = b->kind == BAR_NEAR, taken = true;
		struct svg_lane *lane;

		b->lane = lane_of(s, b->w.connection);
		for (b->row = 0; taken; b->row += taken) {
			taken = false;
			for (unsigned k = 0; k < i && !taken; k++) {
				const struct svg_bar *o = &s->bars[k];

				taken = o->lane == b->lane && o->row == b->row &&
					(o->kind == BAR_NEAR) == flat && overlap(o, b);
			}
		}
		lane = &s->lanes[b->lane];
		if (b->row >= *(flat ? &lane->flat : &lane->tall))
			*(flat ? &lane->flat : &lane->tall) = b->row + 1;
	}
	for (unsigned i = 0; i < s->lane_count; i++) {
		struct svg_lane *lane = &s->lanes[i];

		lane->y = y;
		lane->height = (int)lane->tall * TALL_ROW + (int)lane->flat * FLAT_ROW;
		if (lane->height < 20)
			lane->height = 20;
		y += lane->height + LANE_SPACE;
	}
	s->height = y + AXIS;
	for (unsigned i = 0; i < s->bar_count; i++) {
		struct svg_bar *b = &s->bars[i];
		const struct svg_lane *lane = &s->lanes[b->lane];

		b->y = lane->y + (b->kind == BAR_NEAR
					  ? (int)lane->tall * TALL_ROW + 2 + (int)b->row * FLAT_ROW
					  : (int)b->row * TALL_ROW);
	}
}

/* --- places --- */

static int digits(uint64_t n)
{
	return snprintf(NULL, 0, "%" PRIu64, n);
}

/* Pixels that a bar needs. */
static int least_width(const struct svg_bar *b)
{
	int label = (int)strlen(b->label) * 7 + 14;
	int frames = (digits(b->w.request_frame) + digits(b->w.reply_frame)) * 6 + 14;

	if (b->kind == BAR_POINT)
		return 0;
	if (b->kind == BAR_NEAR)
		return 14;
	return label > frames ? label : frames;
}

static bool same_place(const struct svg *s, unsigned e)
{
	return e && s->ends[e - 1].frame == s->ends[e].frame;
}

static unsigned weight(const struct svg *s, unsigned e)
{
	uint64_t gap;

	if (!e || same_place(s, e))
		return 0;
	gap = s->ends[e].time > s->ends[e - 1].time
		      ? (uint64_t)s->ends[e].time - (uint64_t)s->ends[e - 1].time
		      : 0;
	gap /= 1000;
	return gap ? 65 - (unsigned)__builtin_clzll(gap) : 1;
}

/* Where end `e` may be at the earliest, by the bars that end, or begin, there. */
static int earliest(const struct svg *s, unsigned e)
{
	const struct svg_bar *b = &s->bars[s->ends[e].bar];
	int x = 0;

	if (s->ends[e].is_end)
		return b->start < e ? s->ends[b->start].x + least_width(b) : 0;
	for (unsigned i = 0; i < s->bar_count; i++) {
		const struct svg_bar *o = &s->bars[i];
		int gap = b->kind == BAR_NEAR ? 3 : 12, least;

		if (o == b || o->lane != b->lane || o->row != b->row || o->end > e ||
		    (o->kind == BAR_NEAR) != (b->kind == BAR_NEAR))
			continue;
		least = s->ends[o->start].x + least_width(o);
		if (s->ends[o->end].x > least)
			least = s->ends[o->end].x;
		if (least + gap > x)
			x = least + gap;
	}
	return x;
}

static void place(struct svg *s)
{
	unsigned total = 0, so_far = 0;
	int need, slack, open_width = 0;

	for (unsigned e = 0, next; e < s->end_count; e = next) {
		int x = e ? s->ends[e - 1].x + 8 : 0;

		for (next = e; next == e || (next < s->end_count && same_place(s, next)); next++)
			if (earliest(s, next) > x)
				x = earliest(s, next);
		for (unsigned k = e; k < next; k++)
			s->ends[k].x = x;
	}
	for (unsigned i = 0; i < s->bar_count; i++)
		if (s->bars[i].end == NO_END && s->bars[i].kind != BAR_POINT &&
		    s->ends[s->bars[i].start].x + least_width(&s->bars[i]) + 80 > open_width)
			open_width = s->ends[s->bars[i].start].x + least_width(&s->bars[i]) + 80;
	need = s->end_count ? s->ends[s->end_count - 1].x : 0;
	if (s->bar_count && s->bars[s->ends[s->end_count - 1].bar].kind == BAR_POINT)
		need += 60;
	if (s->open)
		need += 100;
	if (open_width > need)
		need = open_width;
	s->width = need + MARGIN + RIGHT > WIDTH ? need + MARGIN + RIGHT : WIDTH;
	slack = s->width - MARGIN - RIGHT - need;
	for (unsigned e = 0; e < s->end_count; e++)
		total += weight(s, e);
	for (unsigned e = 0; e < s->end_count; e++) {
		so_far += weight(s, e);
		s->ends[e].x += MARGIN + (total ? slack * (int)so_far / (int)total : 0);
	}
	for (unsigned i = 0; i < s->bar_count; i++) {
		struct svg_bar *b = &s->bars[i];

		b->x = s->ends[b->start].x;
		b->x_end = b->kind == BAR_POINT ? b->x
			   : b->end == NO_END   ? s->width - RIGHT
						: s->ends[b->end].x;
		if (b->kind != BAR_POINT && b->x_end < b->x + 4)
			b->x_end = b->x + 4; /* request and answer in one frame */
	}
}

/* --- drawing --- */

static const char *class_of(const struct svg_bar *b)
{
	if (b->kind == BAR_NEAR)
		return "near";
	if (b->faulty)
		return "fault";
	if (b->w.role == NBDS_ROLE_STALE_WRITE || b->w.role == NBDS_ROLE_EARLIER_READ)
		return "stale";
	if (b->w.type == NBD_CMD_FLUSH)
		return "flush";
	return nbds_command_writes(b->w.type) ? "write" : "read";
}

/* "connection 1, NBD_CMD_WRITE, 1024 bytes at 0x0, frames 35 to 36, 106 us" */
static void put_what(struct nbds_buf *b, const struct svg_bar *bar)
{
	const struct nbds_witness *w = &bar->w;
	char name[NBDS_TEXT_OF_MAX];
	int64_t took = nbds_elapsed(w->request_time, w->reply_time);

	nbds_buf_printf(b, "connection %" PRIu32 ", ", w->connection);
	if (bar->kind == BAR_POINT) {
		nbds_buf_printf(b, "frame %" PRIu64, w->request_frame);
		return;
	}
	nbds_html_text(b, nbds_text_of(&nbds_commands, w->type, name));
	if (w->flags & NBD_CMD_FLAG_FUA)
		nbds_buf_puts(b, " with FUA");
	if (w->length) {
		nbds_buf_puts(b, ", ");
		nbds_buf_count(b, w->length, "byte", NULL);
		nbds_buf_printf(b, " at 0x%" PRIx64, w->offset);
	}
	if (!w->reply_frame) {
		nbds_buf_printf(b, ", frame %" PRIu64 ", no reply by then", w->request_frame);
		return;
	}
	nbds_buf_printf(b, ", frames %" PRIu64 " to %" PRIu64 ", ", w->request_frame,
			w->reply_frame);
	nbds_buf_duration(b, took > 0 ? (uint64_t)took : 0);
	if (bar->failed)
		nbds_buf_puts(b, ", failed");
}

static void draw_bar(struct nbds_buf *b, const struct svg *s, const struct svg_bar *bar)
{
	/* a point's label is on its left where there is no room on its right */
	bool end = bar->x + 24 + (int)strlen(bar->label) * 8 > s->width;
	int tall = bar->kind == BAR_NEAR ? FLAT : TALL, width = bar->x_end - bar->x;
	bool open = bar->end == NO_END && bar->kind != BAR_POINT;

	nbds_buf_printf(b, "<g class=\"%s%s%s\"><title>", class_of(bar), open ? " open" : "",
			bar->failed ? " failed" : "");
	put_what(b, bar);
	nbds_buf_puts(b, "</title>");
	if (bar->kind == BAR_POINT) {
		nbds_buf_printf(b, "<path d=\"M%d %dl9 9-9 9-9-9z\"/>", bar->x, bar->y + 3);
		nbds_buf_printf(b, "<text class=\"p%s\" x=\"%d\" y=\"%d\">", end ? " e" : "",
				bar->x + (end ? -14 : 14), bar->y + TALL / 2 + 4);
		nbds_html_text(b, bar->label);
		nbds_buf_puts(b, "</text>");
		nbds_buf_printf(b, "<text class=\"n\" x=\"%d\" y=\"%d\">%" PRIu64 "</text></g>\n",
				bar->x - 5, bar->y + TALL + 11, bar->w.request_frame);
		return;
	}
	nbds_buf_printf(b, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\"/>", bar->x,
			bar->y, width, tall, tall > FLAT ? 4 : 2);
	if (bar->kind == BAR_NEAR) {
		nbds_buf_printf(b, "<text x=\"%d\" y=\"%d\">%c</text></g>\n", bar->x + width / 2,
				bar->y + 10, *command_word(bar->w.type));
		return;
	}
	nbds_buf_printf(b, "<text class=\"l\" x=\"%d\" y=\"%d\">", bar->x + width / 2,
			bar->y + TALL / 2 + 4);
	nbds_html_text(b, bar->label);
	nbds_buf_printf(b, "</text><text class=\"n\" x=\"%d\" y=\"%d\">%" PRIu64 "</text>",
			bar->x + 1, bar->y + TALL + 11, bar->w.request_frame);
	if (open)
		nbds_buf_printf(b, "<text class=\"n e\" x=\"%d\" y=\"%d\">no reply by then</text>",
				bar->x_end - 1, bar->y + TALL + 11);
	else
		nbds_buf_printf(b, "<text class=\"n e\" x=\"%d\" y=\"%d\">%" PRIu64 "</text>",
				bar->x_end - 1, bar->y + TALL + 11, bar->w.reply_frame);
	nbds_buf_puts(b, "</g>\n");
}

static const struct svg_bar *bar_of(const struct svg *s, enum nbds_role role)
{
	for (unsigned i = 0; i < s->bar_count; i++)
		if (s->bars[i].kind == BAR_WITNESS && s->bars[i].w.role == role)
			return &s->bars[i];
	return NULL;
}

static void draw_arrow(struct nbds_buf *b, const struct svg_bar *from, const struct svg_bar *to,
		       const char *class)
{
	int x = from->x_end, y = from->y + TALL / 2, u = to->x, v = to->y + TALL / 2, bend;

	/* What was not over by then rests on nothing. */
	if (from->end == NO_END || from->w.reply_frame > to->w.request_frame)
		return;
	bend = u > x ? (u - x) / 2 : 24;
	if (bend < 12)
		bend = 12;
	nbds_buf_printf(b,
			"<g class=\"%s\"><path d=\"M%d %dC%d %d %d %d %d %d\"/><path class=\"tip\" "
			"d=\"M%d %dl-7-4v8z\"/></g>\n",
			class, x, y, x + bend, y, u - 6 - bend, v, u - 6, v, u, v);
}

/* From each witness to what rests on it. */
static void draw_arrows(struct nbds_buf *b, const struct svg *s)
{
	static const enum nbds_role chain[] = {NBDS_ROLE_WRITE, NBDS_ROLE_FLUSH, NBDS_ROLE_READ};
	const struct svg_bar *read = bar_of(s, NBDS_ROLE_READ), *before = NULL, *came;

	for (size_t i = 0; i < sizeof(chain) / sizeof(chain[0]); i++) {
		const struct svg_bar *next = bar_of(s, chain[i]);

		if (before && next)
			draw_arrow(b, before, next, "arrow");
		if (next)
			before = next;
	}
	came = bar_of(s, NBDS_ROLE_STALE_WRITE);
	if (!came)
		came = bar_of(s, NBDS_ROLE_EARLIER_READ);
	if (came && read)
		draw_arrow(b, came, read, "arrow came");
}

static void draw_axis(struct nbds_buf *b, const struct svg *s)
{
	int y = s->height - AXIS + 8, free_from = 0;
	struct nbds_buf t = {0};
	int64_t first = 0;
	bool any = false;

	nbds_buf_printf(b, "<g class=\"axis\"><path d=\"M%d %dH%d\"/>", MARGIN, y,
			s->width - RIGHT);
	nbds_buf_printf(b, "<text x=\"0\" y=\"%d\">time</text>", y + 4);
	for (unsigned e = 0; e < s->end_count; e++) {
		const struct svg_end *end = &s->ends[e];
		int64_t since;
		int width;

		if (!end->shown)
			continue;
		if (!any)
			first = end->time;
		since = nbds_elapsed(first, end->time);
		nbds_buf_clear(&t);
		if (!any)
			nbds_buf_puts(&t, "0");
		else
			nbds_buf_puts(&t, since < 0 ? "-" : "+");
		if (any)
			nbds_buf_duration(&t, since < 0 ? 0 - (uint64_t)since : (uint64_t)since);
		any = true;
		nbds_buf_printf(b, "<path d=\"M%d %dv6\"/>", end->x, y - 3);
		width = (int)t.len * 6;
		if (end->x - width / 2 < free_from)
			continue;
		nbds_buf_printf(b, "<text class=\"t%s\" x=\"%d\" y=\"%d\">",
				end->x + width / 2 > s->width ? " e" : "",
				end->x + width / 2 > s->width ? s->width : end->x, y + 18);
		nbds_html_text(b, nbds_buf_text(&t));
		nbds_buf_puts(b, "</text>");
		free_from = end->x + width / 2 + 10;
	}
	nbds_buf_puts(b, "</g>\n");
	nbds_buf_free(&t);
}

static void draw_lanes(struct nbds_buf *b, const struct svg *s)
{
	for (unsigned i = 0; i < s->lane_count; i++) {
		const struct svg_lane *lane = &s->lanes[i];

		nbds_buf_printf(b,
				"<rect class=\"lane\" x=\"0\" y=\"%d\" width=\"%d\" "
				"height=\"%d\"/><text class=\"name\" x=\"6\" y=\"%d\">conn %" PRIu32
				"</text>\n",
				lane->y - 4, s->width, lane->height + 6,
				lane->y + (lane->tall ? TALL / 2 + 4 : 12), lane->connection);
	}
}

bool nbds_html_lanes(struct nbds_buf *b, const struct nbds_finding *f,
		     const struct activity_story *story)
{
	struct svg *s = calloc(1, sizeof(*s));
	const char *between = "";

	if (!s)
		return false;
	collect(s, f, story);
	if (!s->bar_count) {
		free(s);
		return false;
	}
	find_ends(s);
	give_rows(s);
	place(s);
	nbds_buf_printf(
		b,
		"<div class=\"lanes\" role=\"group\" aria-label=\"Lanes\" tabindex=\"0\"><svg xmlns=\"http://www.w3.org/2000/svg\" "
		"viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\" "
		"aria-label=\"Commands in order of time: ",
		s->width, s->height, s->width, s->height);
	for (unsigned i = 0; i < s->bar_count; i++) {
		if (s->bars[i].kind == BAR_NEAR)
			continue;
		nbds_buf_puts(b, between);
		put_what(b, &s->bars[i]);
		between = "; ";
	}
	nbds_buf_puts(b, "\">\n");
	draw_lanes(b, s);
	for (int near = 1; near >= 0; near--)
		for (unsigned i = 0; i < s->bar_count; i++)
			if ((s->bars[i].kind == BAR_NEAR) == (near == 1))
				draw_bar(b, s, &s->bars[i]);
	draw_arrows(b, s);
	draw_axis(b, s);
	nbds_buf_puts(b, "</svg></div>\n");
	free(s);
	return true;
}
