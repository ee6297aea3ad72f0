/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_order.c - the flush order of an export: lanes, one a connection, cut where a
 * flush was sent or answered; and the flushes, with what each covered and left.
 *
 *	conn 1   12w 48K╞══ flush ══╡ ────────────────╞═ F ...
 *	conn 2    3w 12K────────────── [2w 8K] ──────────────
 *	                17          18                19
 *
 * Brackets: answered and not flushed yet.  How long a piece is drawn has nothing to
 * do with how long it took; its order has.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "ui.h"

/* Columns of "conn 123". */
#define MARGIN 9

#define CELL_TEXT 64

/* With fewer columns, a flush has fewer words. */
#define ORDER_COLUMNS 78

struct strip {
	const struct flush_order *o;
	bool multi_conn;
	unsigned lanes[ORDER_LANES]; /* used ones, by connection */
	unsigned lane_count;
	uint64_t covered[ORDER_LANES];
	uint64_t covers_from[ORDER_LANES]; /* of the chosen flush */
	uint64_t sent;                     /* step that it ends, 0: none */
	uint64_t first, last;              /* steps that are drawn */
	int x[ORDER_STEPS];                /* by step % ORDER_STEPS: its left end */
	int right;                         /* right end of the last */
	int extra;                         /* columns that each step has more */
	bool bytes;                        /* cells tell bytes too */
};

static void collect_lanes(struct strip *p)
{
	for (unsigned i = 0; i < ORDER_LANES - 1; i++) {
		unsigned at = p->lane_count;

		if (!p->o->lanes[i].connection)
			continue;
		while (at && p->o->lanes[p->lanes[at - 1]].connection > p->o->lanes[i].connection) {
			p->lanes[at] = p->lanes[at - 1];
			at--;
		}
		p->lanes[at] = i;
		p->lane_count++;
	}
	for (uint64_t s = p->o->first; s <= p->o->last; s++) {
		const struct order_cell *c = &order_step(p->o, s)->cells[ORDER_LANES - 1];

		if (c->writes || c->fua || c->reads) {
			p->lanes[p->lane_count++] = ORDER_LANES - 1;
			break;
		}
	}
	for (unsigned i = 0; i < ORDER_LANES; i++) {
		p->covered[i] = order_covered(p->o, i, p->multi_conn);
		p->covers_from[i] = p->sent ? order_covers_from(p->o, p->sent, i, p->multi_conn)
					    : 0;
	}
}

/* The chosen flush covers the cell. */
static bool chosen(const struct strip *p, uint64_t step, unsigned lane)
{
	return p->sent && step <= p->sent && step >= p->covers_from[lane];
}

static void cell_text(const struct strip *p, uint64_t step, unsigned lane, char text[CELL_TEXT])
{
	const struct order_cell *c = &order_step(p->o, step)->cells[lane];
	bool open = c->writes && step >= p->covered[lane];
	char n[SHORT_TEXT], f[SHORT_TEXT], b[SHORT_TEXT];
	size_t used = 0;

	text[0] = '\0';
	if (c->found)
		used += (size_t)snprintf(text + used, CELL_TEXT - used, "!");
	if (c->reads)
		used += (size_t)snprintf(text + used, CELL_TEXT - used, "%sr%s",
					 short_count(n, c->reads), c->writes || c->fua ? " " : "");
	if (!c->writes && !c->fua)
		return;
	if (open)
		used += (size_t)snprintf(text + used, CELL_TEXT - used, "[");
	if (c->writes)
		used += (size_t)snprintf(text + used, CELL_TEXT - used, "%sw",
					 short_count(n, c->writes));
	if (c->fua)
		used += (size_t)snprintf(text + used, CELL_TEXT - used, "%s%sfua",
					 c->writes ? "+" : "", short_count(f, c->fua));
	if (p->bytes && c->bytes)
		used += (size_t)snprintf(text + used, CELL_TEXT - used, " %s",
					 short_bytes(b, (double)c->bytes));
	if (chosen(p, step, lane) && c->writes)
		used += (size_t)snprintf(text + used, CELL_TEXT - used, "%s", glyph(GLYPH_CHECK));
	if (open)
		snprintf(text + used, CELL_TEXT - used, "]");
}

static int step_width(const struct strip *p, uint64_t step)
{
	const struct order_step *s = order_step(p->o, step);
	char text[CELL_TEXT], frame[24];
	int width = snprintf(frame, sizeof(frame), "%" PRIu64, s->frame) + 1;

	if (s->cut == ORDER_OPEN)
		width = 3;
	for (unsigned i = 0; i < p->lane_count; i++) {
		int n;

		cell_text(p, step, p->lanes[i], text);
		n = columns_of(text);
		if (n && n + 2 > width)
			width = n + 2;
	}
	return (width < 3 ? 3 : width) + p->extra;
}

/* From the last step to the left, as many as there is room for. */
static void lay_out(struct strip *p, uint64_t last, int width)
{
	int room = width - MARGIN, x;

	p->extra = 0;
	p->last = p->first = last;
	room -= step_width(p, last);
	while (p->first > p->o->first) {
		int more = step_width(p, p->first - 1);

		if (more > room)
			break;
		room -= more;
		p->first--;
	}
	/* What is left over makes room for words. */
	p->extra = room / (int)(p->last - p->first + 1);
	if (p->extra > 6)
		p->extra = 6;
	x = MARGIN;
	for (uint64_t s = p->first; s <= p->last; s++) {
		p->x[s % ORDER_STEPS] = x;
		x += step_width(p, s);
	}
	p->right = x;
}

/* The column of a step's cut. */
static int cut_x(const struct strip *p, uint64_t step)
{
	return step == p->last ? p->right - 1 : p->x[(step + 1) % ORDER_STEPS] - 1;
}

static void draw_line(int y, int from, int to, enum glyph g, enum style style)
{
	for (int x = from; x < to; x++)
		put(y, x, 1, style, glyph(g));
}

/* A flush from its cut to that of its answer, as far as they can be seen. */
static void draw_flush(const struct strip *p, int y, uint64_t sent, unsigned lane)
{
	uint64_t answer = order_answer(p->o, sent);
	bool failed = answer && order_step(p->o, answer)->cut == ORDER_FAILED;
	enum style style = failed ? STYLE_VIOLATION : STYLE_FLUSH;
	bool cut_left = sent<p->first, open = !answer, cut_right = answer> p->last;
	int from = cut_left ? p->x[p->first % ORDER_STEPS] : cut_x(p, sent);
	int to = open || cut_right ? p->right - 1 : cut_x(p, answer);
	int room = to - from - 1;
	const char *word = failed ? "failed" : room >= 7 ? "flush" : "F";

	(void)lane;
	if (sent > p->last || (answer && answer < p->first))
		return;
	draw_line(y, from, to, open ? GLYPH_DOTS : GLYPH_DOUBLE, style);
	if (!cut_left)
		put(y, from, 1, style, glyph(GLYPH_LEFT_DOUBLE));
	put(y, to, 1, style, open || cut_right ? glyph(GLYPH_DOTS) : glyph(GLYPH_RIGHT_DOUBLE));
	if (room >= (int)strlen(word))
		put(y, from + 1 + (room - (int)strlen(word)) / 2, (int)strlen(word), style, word);
}

static void draw_lane(const struct strip *p, int y, unsigned lane)
{
	const struct order_lane *l = &p->o->lanes[lane];
	uint64_t oldest = p->o->first;
	bool ended = false;

	if (lane == ORDER_LANES - 1)
		put(y, 0, MARGIN, STYLE_DIM, "others");
	else
		putf(y, 0, MARGIN - 1, STYLE_BOLD, "conn %" PRIu32, l->connection);
	draw_line(y, MARGIN, p->right, GLYPH_LINE, STYLE_DIM);
	for (uint64_t s = oldest; s <= p->last; s++) {
		const struct order_step *step = order_step(p->o, s);

		if (step->cut == ORDER_SENT && step->lane == lane)
			draw_flush(p, y, s, lane);
	}
	for (uint64_t s = p->first; s <= p->last; s++) {
		const struct order_step *step = order_step(p->o, s);
		int x = p->x[s % ORDER_STEPS], width = cut_x(p, s) - x;
		char text[CELL_TEXT];
		enum style style;
		int n;

		if (ended)
			put(y, x, width + 1, STYLE_PLAIN, "");
		cell_text(p, s, lane, text);
		n = columns_of(text);
		style = step->cells[lane].found                             ? STYLE_VIOLATION
			: chosen(p, s, lane)                                ? STYLE_FLUSH
			: s >= p->covered[lane] && step->cells[lane].writes ? STYLE_WRITE
									    : STYLE_PLAIN;
		if (n)
			put(y, x + (width > n ? (width - n) / 2 : 0), n, style, text);
		if (step->cut == ORDER_CLOSED && step->lane == lane) {
			put(y, cut_x(p, s), 1, STYLE_BOLD, glyph(GLYPH_CROSS));
			ended = true;
		}
	}
}

/* Frames of the cuts. */
static void draw_frames(const struct strip *p, int y)
{
	put(y, 0, MARGIN, STYLE_DIM, "frame");
	for (uint64_t s = p->first; s <= p->last; s++) {
		const struct order_step *step = order_step(p->o, s);
		char text[24];
		int n;

		if (step->cut == ORDER_OPEN)
			continue;
		n = snprintf(text, sizeof(text), "%" PRIu64, step->frame);
		put(y, cut_x(p, s) - n + 1, n, STYLE_DIM, text);
	}
}

static const struct flush_shown *flush_of(const struct snapshot *s, uint64_t frame)
{
	for (unsigned i = 0; i < s->flush_count; i++)
		if (s->flushes[i].flush.request_frame == frame)
			return &s->flushes[i];
	return frame || !s->flush_count ? NULL : &s->flushes[s->flush_count - 1];
}

static uint64_t step_of(const struct flush_order *o, const struct flush_shown *f)
{
	if (!f)
		return 0;
	for (uint64_t s = o->last; s-- > o->first;)
		if (order_step(o, s)->cut == ORDER_SENT &&
		    order_step(o, s)->frame == f->flush.request_frame)
			return s;
	return 0;
}

/* What the chosen flush did, in words. */
static void flush_words(const struct strip *p, const struct flush_shown *f, struct nbds_buf *b)
{
	const struct nbds_flush_seen *s = &f->flush;
	const struct order_step *step = order_step(p->o, p->sent);
	const char *between = " (conn ";

	nbds_buf_printf(b, "Flush of conn %" PRIu32 ", frame %" PRIu64, f->connection,
			s->request_frame);
	if (!s->reply_frame) {
		nbds_buf_puts(b, ": not answered.");
		return;
	}
	if (!s->ok) {
		nbds_buf_puts(b, ": failed, and covers nothing.");
		return;
	}
	nbds_buf_puts(b, ": covers ");
	nbds_buf_count(b, s->covered_own, "write", NULL);
	nbds_buf_puts(b, " of its own");
	if (p->multi_conn)
		nbds_buf_printf(b, " and %" PRIu64 " of others", s->covered_other);
	if (s->covered_bytes) {
		nbds_buf_puts(b, ", ");
		nbds_buf_size(b, s->covered_bytes);
	}
	if (!s->left) {
		nbds_buf_puts(b, "; nothing was in flight.");
		return;
	}
	nbds_buf_printf(b, "; leaves %" PRIu64 " in flight", s->left);
	for (unsigned i = 0; step && i < p->lane_count; i++) {
		if (!step->in_flight[p->lanes[i]] || p->lanes[i] == ORDER_LANES - 1)
			continue;
		nbds_buf_printf(b, "%s%" PRIu32, between, p->o->lanes[p->lanes[i]].connection);
		between = ", ";
	}
	nbds_buf_puts(b, *between == ',' ? ")." : ".");
}

/* For whom a flush of the export holds, if there is one. */
static const char *holds_for(const struct export_row *x)
{
	bool flush = x->transmission_flags & NBD_FLAG_SEND_FLUSH;
	bool fua = x->transmission_flags & NBD_FLAG_SEND_FUA;

	switch (x->multi_conn) {
	case NBDS_MC_TRUE:
		return flush ? "multi-conn: a flush holds for all connections"
		       : fua ? "multi-conn: FUA holds for all connections; no flush is offered"
			     : "multi-conn, but neither flush nor FUA is offered";
	case NBDS_MC_FALSE:
		return flush ? "no multi-conn: a flush holds for its own connection only"
			     : "no multi-conn; no flush is offered";
	case NBDS_MC_MIXED:
		return flush ? "multi-conn on some connections only"
			     : "multi-conn on some connections only; no flush is offered";
	default:
		return "it is not known whether flushes hold for all connections";
	}
}

static void draw_heading(const struct ui *ui, int y, const struct export_row *x, bool few)
{
	struct nbds_buf b = {0};
	char server[NBDS_ADDR_TEXT], s[SHORT_TEXT];

	if (screen_columns < ORDER_COLUMNS)
		nbds_buf_printf(&b, "\"%s\" %s", x->name, holds_for(x));
	else
		nbds_buf_printf(&b, "\"%s\" at %s; %s", x->name, nbds_addr_text(&x->server, server),
				holds_for(x));
	put(y, 0, screen_columns, STYLE_BOLD, nbds_buf_text(&b));
	nbds_buf_clear(&b);
	if (x->unflushed_writes) {
		nbds_buf_puts(&b, "Not flushed: ");
		nbds_buf_count(&b, x->unflushed_writes, "answered write", NULL);
		nbds_buf_puts(&b, ", ");
		nbds_buf_size(&b, x->unflushed_bytes);
		nbds_buf_printf(&b, ", the oldest %s old.",
				short_time(s, (double)ui_age(ui, x->unflushed_since)));
	} else {
		nbds_buf_puts(&b, "All answered writes are flushed.");
	}
	if (!few)
		put(y + 1, 0, screen_columns, x->unflushed_writes ? STYLE_WRITE : STYLE_GOOD,
		    nbds_buf_text(&b));
	nbds_buf_free(&b);
}

static void draw_flush_row(const struct ui *ui, int y, const struct flush_shown *f, bool selected)
{
	const struct nbds_flush_seen *s = &f->flush;
	enum style style = selected ? STYLE_SELECTED : STYLE_PLAIN;
	char took[SHORT_TEXT] = "", bytes[SHORT_TEXT] = "", reply[24] = "-";
	char own[24] = "", other[24] = "", left[24] = "", time[TIME_TEXT];

	if (s->reply_frame) {
		snprintf(reply, sizeof(reply), "%" PRIu64, s->reply_frame);
		short_time(took, (double)(s->reply_time - s->request_time));
	}
	if (s->ok) {
		snprintf(own, sizeof(own), "%" PRIu64, s->covered_own);
		snprintf(other, sizeof(other), "%" PRIu64, s->covered_other);
		if (s->covered_bytes)
			short_bytes(bytes, (double)s->covered_bytes);
	} else {
		snprintf(own, sizeof(own), "%s", s->reply_frame ? "failed" : "waits");
	}
	if (s->left)
		snprintf(left, sizeof(left), "%" PRIu64, s->left);
	if (screen_columns < ORDER_COLUMNS)
		putf(y, 0, screen_columns, style, "%5" PRIu32 " %7" PRIu64 " %6s %6s %6s %5s",
		     f->connection, s->request_frame, took, own, other, left);
	else
		putf(y, 0, screen_columns, style,
		     "%15s %5" PRIu32 " %9" PRIu64 " %9s %7s %7s %7s %7s %5s",
		     ui_time(ui, s->request_time, time), f->connection, s->request_frame, reply,
		     took, own, other, bytes, left);
}

static void draw_flushes(struct ui *ui, int y, int rows, const struct flush_shown *chosen_row)
{
	const struct snapshot *s = ui->s;
	unsigned at = chosen_row ? (unsigned)(chosen_row - s->flushes) : 0, top = 0;

	if (rows < 2)
		return;
	if (screen_columns < ORDER_COLUMNS)
		putf(y, 0, screen_columns, STYLE_HEAD, "%5s %7s %6s %6s %6s %5s", "CONN", "REQUEST",
		     "TOOK", "OWN", "OTHERS", "LEFT");
	else
		putf(y, 0, screen_columns, STYLE_HEAD, "%15s %5s %9s %9s %7s %7s %7s %7s %5s",
		     ui_time_title(ui), "CONN", "REQUEST", "REPLY", "TOOK", "OWN", "OTHERS",
		     "BYTES", "LEFT");
	if (s->flush_count > (unsigned)rows - 1) {
		top = s->flush_count - (unsigned)(rows - 1);
		if (at < top + 1)
			top = at ? at - 1 : 0;
	}
	for (int i = 0; i < rows - 1 && top + (unsigned)i < s->flush_count; i++) {
		unsigned row = top + (unsigned)i;

		draw_flush_row(ui, y + 1 + i, &s->flushes[row], row == at);
		hit_add(y + 1 + i, 0, screen_columns, 1, HIT_ROW, (int)row);
	}
	if (!s->flush_count)
		put(y + 1, 2, screen_columns - 2, STYLE_DIM, "No flush has been answered yet.");
}

static void order_draw(struct ui *ui, int y, int rows)
{
	const struct snapshot *s = ui->s;
	const struct export_row *x = ui_order_export(ui);
	struct strip p = {.o = &s->order, .bytes = screen_columns >= 110};
	const struct flush_shown *f;
	struct nbds_buf words = {0};
	int lanes, skip = 0, under;
	bool few;

	if (!x) {
		put(y + 1, 2, screen_columns - 2, STYLE_DIM, "No export has been seen yet.");
		return;
	}
	/* For whom flushes hold is in the first row. */
	few = rows < 14;
	draw_heading(ui, y, x, few);
	y += few ? 1 : 2;
	rows -= few ? 1 : 2;
	if (s->wanted.export != x->id) {
		put(y, 0, screen_columns, STYLE_DIM,
		    ui->paused ? "Paused: another export's order comes when it goes on." : "...");
		return;
	}
	p.multi_conn = x->multi_conn == NBDS_MC_TRUE;
	f = flush_of(s, ui->order_flush);
	p.sent = step_of(p.o, f);
	collect_lanes(&p);
	/* Where the chosen flush can be seen with its answer, or the newest. */
	p.last = p.o->last;
	if (ui->order_right && ui->order_right < p.last)
		p.last = ui->order_right < p.o->first ? p.o->first : ui->order_right;
	lay_out(&p, p.last, screen_columns);
	if (ui->order_flush && p.sent && !ui->order_right && p.sent < p.first + 1) {
		uint64_t answer = order_answer(p.o, p.sent), last = (answer ? answer : p.sent) + 1;

		lay_out(&p, last < p.o->last ? last : p.o->last, screen_columns);
	}
	/* The flushes have at least five rows, the lanes what they need. */
	lanes = (int)p.lane_count;
	under = few ? 3 : 9;
	if (lanes > rows - under)
		lanes = rows - under > 1 ? rows - under : 1;
	for (int i = 0; i < lanes && i < (int)p.lane_count; i++)
		draw_lane(&p, y + i, p.lanes[i]);
	y += lanes;
	rows -= lanes;
	if (lanes < (int)p.lane_count && !few) {
		putf(y++, 0, screen_columns, STYLE_DIM, "%d more connections: no room",
		     (int)p.lane_count - lanes);
		rows--;
	}
	if (p.lane_count) {
		draw_frames(&p, y++);
		rows--;
	} else {
		put(y++, 2, screen_columns - 2, STYLE_DIM,
		    "Nothing has been written or flushed yet.");
		rows--;
	}
	if (few) {
		draw_flushes(ui, y, rows, f);
		return;
	}
	putf(y++, 0, screen_columns, STYLE_DIM,
	     "3w writes [not flushed] flushed %s by the flush chosen below  2fua  5r reads  ! found",
	     glyph(GLYPH_CHECK));
	rows--;
	if (f) {
		int used;

		flush_words(&p, f, &words);
		used = ui_wrap(y, 0, screen_columns, 2, &skip, STYLE_FLUSH, nbds_buf_text(&words));
		nbds_buf_free(&words);
		y += used;
		rows -= used;
	}
	draw_flushes(ui, y, rows, f);
}

static void choose_flush(struct ui *ui, int by)
{
	const struct snapshot *s = ui->s;
	const struct flush_shown *f = flush_of(s, ui->order_flush);
	int at = f ? (int)(f - s->flushes) + by : (int)s->flush_count - 1;

	if (!s->flush_count)
		return;
	if (at < 0)
		at = 0;
	ui->order_right = 0;
	/* At the end again: follow. */
	if (at >= (int)s->flush_count - 1 && by > 0)
		ui->order_flush = 0;
	else
		ui->order_flush =
			s->flushes[at < (int)s->flush_count ? at : (int)s->flush_count - 1]
				.flush.request_frame;
}

static void scroll_steps(struct ui *ui, int by)
{
	const struct flush_order *o = &ui->s->order;
	uint64_t right = ui->order_right ? ui->order_right : o->last;

	if (by < 0)
		right = right > o->first + 3 ? right - 1 : right;
	else
		right++;
	ui->order_right = right >= o->last ? 0 : right;
}

static void other_export(struct ui *ui, int by)
{
	const struct export_row *x = ui_order_export(ui);
	size_t n = ui->exports.count, at = 0;

	if (!x || !n)
		return;
	for (size_t i = 0; i < n; i++)
		if (ui->exports.ids[i] == x->id)
			at = i;
	at = (at + n + (size_t)by) % n;
	ui->order_export = (uint32_t)ui->exports.ids[at];
	ui->order_flush = ui->order_right = 0;
	ui_want(ui);
}

static bool order_action(struct ui *ui, enum action action)
{
	if (!ui->s)
		return false;
	switch (action) {
	case ACTION_UP:
		choose_flush(ui, -1);
		return true;
	case ACTION_DOWN:
		choose_flush(ui, 1);
		return true;
	case ACTION_PAGE_UP:
		choose_flush(ui, -10);
		return true;
	case ACTION_PAGE_DOWN:
		choose_flush(ui, 10);
		return true;
	case ACTION_FIRST:
		choose_flush(ui, -(int)FLUSHES_SHOWN);
		return true;
	case ACTION_LAST:
	case ACTION_FOLLOW:
		ui->order_flush = ui->order_right = 0;
		return true;
	case ACTION_LEFT:
		scroll_steps(ui, -1);
		return true;
	case ACTION_RIGHT:
		scroll_steps(ui, 1);
		return true;
	case ACTION_PREVIOUS:
		other_export(ui, -1);
		return true;
	case ACTION_NEXT:
		other_export(ui, 1);
		return true;
	case ACTION_CLEAR:
		worker_clear_order(ui->worker);
		ui->order_flush = ui->order_right = 0;
		return true;
	case ACTION_MESSAGES:
	case ACTION_ENTER: {
		/* The messages around the flush. */
		const struct flush_shown *f = flush_of(ui->s, ui->order_flush);
		struct nbds_buf b = {0};

		if (!f)
			return true;
		nbds_buf_printf(&b, "(flush or write) and frame >= %" PRIu64,
				f->flush.request_frame > 50 ? f->flush.request_frame - 50 : 0);
		messages_show(ui, nbds_buf_text(&b), NULL, 0, f->flush.request_frame);
		nbds_buf_free(&b);
		return true;
	}
	default:
		return false;
	}
}

static void order_text(struct ui *ui, struct nbds_buf *b)
{
	const struct snapshot *s = ui->s;

	nbds_buf_puts(b, "time\tconnection\trequest\treply\tanswered\town\tothers\tbytes\tleft\n");
	for (unsigned i = 0; i < s->flush_count; i++) {
		const struct nbds_flush_seen *f = &s->flushes[i].flush;

		nbds_buf_printf(b,
				"%.6f\t%" PRIu32 "\t%" PRIu64 "\t%" PRIu64 "\t%s\t%" PRIu64
				"\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\n",
				(double)ui_since(ui, f->request_time) / 1e9,
				s->flushes[i].connection, f->request_frame, f->reply_frame,
				f->ok            ? "yes"
				: f->reply_frame ? "failed"
						 : "no",
				f->covered_own, f->covered_other, f->covered_bytes, f->left);
	}
}

static void order_click(struct ui *ui, enum hit kind, int value, bool twice)
{
	(void)twice;
	if (kind != HIT_ROW || !ui->s || (unsigned)value >= ui->s->flush_count)
		return;
	ui->order_right = 0;
	ui->order_flush = ui->s->flushes[value].flush.request_frame;
}

const struct screen_view view_order = {
	.title = "Flush order",
	.draw = order_draw,
	.action = order_action,
	.text = order_text,
	.click = order_click,
};
