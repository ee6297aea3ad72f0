/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_messages.c - the messages, and one of them in detail.
 *
 * Without a filter rows are numbers of entries.  With one they stand in an array
 * that grows as messages come; an old log is looked through a piece at a time, so
 * that keys are answered meanwhile.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"
#include "ui.h"

/* Entries that are looked at in one go, and for how long at most. */
#define LOOK_ENTRIES 4096
#define LOOK_NS      INT64_C(40000000)
#define SEARCH_NS    INT64_C(700000000)

/* --- rows --- */

static uint64_t first_number(const struct messages *m)
{
	return m->cleared + 1 > m->view.first ? m->cleared + 1 : m->view.first;
}

static uint64_t row_count(const struct messages *m)
{
	if (m->filter.any)
		return m->match_count;
	return m->view.last >= first_number(m) ? m->view.last - first_number(m) + 1 : 0;
}

static uint64_t row_number(const struct messages *m, uint64_t row)
{
	return m->filter.any ? m->matches[m->match_first + row] : first_number(m) + row;
}

/* The first row at or after this number; the last one if there is none. */
static uint64_t row_at(const struct messages *m, uint64_t number)
{
	uint64_t low = 0, high = row_count(m);

	if (!high)
		return 0;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (row_number(m, middle) < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < row_count(m) ? low : row_count(m) - 1;
}

static void forget_matches(struct messages *m)
{
	m->pinned = 0;
	m->match_first = m->match_count = 0;
	m->looked = 0;
}

static bool add_match(struct messages *m, uint64_t number)
{
	if (m->match_first + m->match_count == m->match_room) {
		if (m->match_first > m->match_room / 2) {
			memmove(m->matches, m->matches + m->match_first,
				m->match_count * sizeof(*m->matches));
			m->match_first = 0;
		} else {
			size_t room = m->match_room ? m->match_room * 2 : 1024;
			uint64_t *more = reallocarray(m->matches, room, sizeof(*more));

			if (!more)
				return false;
			m->matches = more;
			m->match_room = room;
		}
	}
	m->matches[m->match_first + m->match_count++] = number;
	return true;
}

/* Shows one message though the filter does not match it, and no other such. */
static void pin(struct messages *m, uint64_t number)
{
	uint64_t *at;

	m->pinned = number;
	if (number > m->looked || !add_match(m, number))
		return; /* it comes in its turn */
	/* To its place among them. */
	at = m->matches + m->match_first + m->match_count - 1;
	for (; at > m->matches + m->match_first && at[-1] > number; at--)
		at[0] = at[-1];
	*at = number;
}

/* Looks at what was not looked at yet. True: there is more. */
static bool look(struct ui *ui)
{
	struct messages *m = &ui->messages;
	int64_t until = ui_clock() + LOOK_NS;

	if (!m->filter.any)
		return false;
	if (m->looked + 1 < first_number(m))
		m->looked = first_number(m) - 1;
	/* What the log has dropped cannot be shown any more. */
	while (m->match_count && m->matches[m->match_first] < first_number(m)) {
		m->match_first++;
		m->match_count--;
	}
	while (m->looked < m->view.last) {
		const struct log_entry *e = log_view_get(&m->view, m->looked + 1);

		if (e &&
		    (e->number == m->pinned ||
		     filter_match(&m->filter, e, ui->s->start, &m->line)) &&
		    !add_match(m, e->number))
			return false;
		m->looked++;
		if (m->looked % LOOK_ENTRIES == 0 && ui_clock() > until)
			return true;
	}
	return false;
}

static void settle(struct messages *m)
{
	uint64_t rows = row_count(m), row;

	if (!rows)
		return;
	row = m->follow ? rows - 1 : row_at(m, m->cursor);
	m->cursor = row_number(m, row);
}

static void messages_update(struct ui *ui)
{
	struct messages *m = &ui->messages;

	if (!ui->paused)
		log_view_update(worker_log(ui->worker), &m->view);
	ui->busy = look(ui);
	settle(m);
}

bool messages_filter(struct ui *ui, const char *text, char *why, size_t size, unsigned *where)
{
	struct messages *m = &ui->messages;
	struct filter f;

	if (!filter_parse(&f, text, why, size, where))
		return false;
	m->filter = f;
	m->from = SCREEN_COUNT;
	snprintf(m->filter_text, sizeof(m->filter_text), "%s", text);
	forget_matches(m);
	if (ui->s)
		messages_update(ui);
	return true;
}

/* --- detail --- */

#define DETAIL_LINES 1000

struct detail {
	struct ui *ui;
	int y, rows, skip, used;
	bool names;
};

static void detail_line(struct detail *d, enum style style, const char *text)
{
	if (d->skip > 0) {
		d->skip--;
		return;
	}
	if (d->used < d->rows)
		put(d->y + d->used, 0, screen_columns, style, text);
	d->used++;
}

static void detail_field(void *arg, const struct nbds_field *f)
{
	const struct nbds_field_info *info = &nbds_fields[f->id];
	struct detail *d = arg;
	struct nbds_buf b = {0};

	if (info->type == NBDS_FT_BOOLEAN) {
		nbds_buf_printf(&b, "%12s[%c] %s", "", f->value ? 'x' : ' ', info->label);
		if (d->names)
			nbds_buf_printf(&b, "  (%s)", info->name);
		detail_line(d, f->value ? STYLE_PLAIN : STYLE_DIM, nbds_buf_text(&b));
		nbds_buf_free(&b);
		return;
	}
	nbds_buf_printf(&b, "%5" PRIu32 " %4" PRIu32 "  %-26s ", f->offset, f->length, info->label);
	if (f->text[0]) {
		nbds_buf_puts(&b, f->text);
		/* A name, and the number that it stands for. */
		if (f->text[0] < '0' || f->text[0] > '9')
			nbds_buf_printf(&b,
					info->base == NBDS_BASE_HEX ? " (0x%" PRIx64 ")"
								    : " (%" PRIu64 ")",
					f->value);
	} else if (f->bytes && info->type == NBDS_FT_STRING) {
		nbds_buf_quote(&b, f->bytes, f->length);
	} else {
		nbds_buf_size_exact(&b, f->length);
	}
	if (d->names)
		nbds_buf_printf(&b, "  (%s)", info->name);
	detail_line(d, STYLE_PLAIN, nbds_buf_text(&b));
	nbds_buf_free(&b);
}

static void detail_hex(struct detail *d, const uint8_t *bytes, uint32_t len)
{
	char line[100];

	for (uint32_t at = 0; at < len; at += 16) {
		int used = snprintf(line, sizeof(line), "  %04x  ", (unsigned)at);

		for (uint32_t i = 0; i < 16; i++) {
			if (at + i < len)
				used += snprintf(line + used, sizeof(line) - (size_t)used, "%02x ",
						 bytes[at + i]);
			else
				used += snprintf(line + used, sizeof(line) - (size_t)used, "   ");
			if (i == 7)
				used += snprintf(line + used, sizeof(line) - (size_t)used, " ");
		}
		used += snprintf(line + used, sizeof(line) - (size_t)used, " ");
		for (uint32_t i = 0; i < 16 && at + i < len; i++) {
			uint8_t c = bytes[at + i];

			line[used++] = c >= 0x20 && c < 0x7f ? (char)c : '.';
		}
		line[used] = '\0';
		detail_line(d, STYLE_DIM, line);
	}
}

static void detail_place(struct detail *d, const struct log_entry *e)
{
	struct nbds_buf b = {0};
	char s[SHORT_TEXT], time[TIME_TEXT];

	nbds_buf_printf(&b, "Frame %" PRIu64, e->frame);
	if (e->last_frame != e->frame)
		nbds_buf_printf(&b, " to %" PRIu64, e->last_frame);
	nbds_buf_printf(&b, ", connection %" PRIu32 ", from the %s, %s%s", e->connection,
			e->from == NBDS_CLIENT ? "client" : "server", ui_time(d->ui, e->time, time),
			d->ui->absolute ? "" : " s");
	if (e->took_known)
		nbds_buf_printf(&b, ", %s after its request in frame %" PRIu64,
				short_time(s, (double)e->took), e->request_frame);
	detail_line(d, STYLE_BOLD, nbds_buf_text(&b));
	nbds_buf_free(&b);
}

static void draw_detail(struct ui *ui, int y, int rows)
{
	struct messages *m = &ui->messages;
	const struct log_entry *e = log_view_get(&m->view, m->cursor);
	struct detail d = {ui,       y + 1,
			   rows - 1, m->detail_scroll,
			   0,        ui->field_names != (screen_columns >= 110)};
	struct nbds_message message;
	uint32_t kept;

	put_row(y, STYLE_HEAD);
	if (!e)
		return;
	putf(y, 0, screen_columns, STYLE_HEAD, "%s  (J and K scroll, m names of fields, Enter %s)",
	     e->trouble ? "Not decoded" : e->name, m->detail == 1 ? "enlarges" : "closes");
	hit_add(y + 1, 0, screen_columns, rows - 1, HIT_DETAIL, 0);
	detail_place(&d, e);
	nbds_buf_clear(&m->line);
	if (e->trouble) {
		entry_line(e, &m->line);
		detail_line(&d, STYLE_PLAIN, nbds_buf_text(&m->line));
	} else {
		entry_message(e, &message);
		nbds_walk(&message, detail_field, &d);
		detail_line(&d, STYLE_DIM, "");
		detail_hex(&d, e->head, e->head_len);
		kept = atomic_load_explicit(&e->kept, memory_order_acquire);
		if (e->payload_len) {
			nbds_buf_clear(&m->line);
			nbds_buf_printf(&m->line, "Payload, the first %" PRIu32 " of ", kept);
			nbds_buf_count(&m->line, e->payload_len, "byte", NULL);
			detail_line(&d, STYLE_DIM, nbds_buf_text(&m->line));
			detail_hex(&d, e->bytes, kept);
		}
	}
	/* The last lines stay on the screen. */
	if (m->detail_scroll && d.used < d.rows)
		m->detail_scroll -= d.rows - d.used < m->detail_scroll ? d.rows - d.used
								       : m->detail_scroll;
}

/* --- the list --- */

static enum style style_of(const struct log_entry *e)
{
	if (e->trouble)
		return STYLE_HAZARD;
	if ((e->type == NBDS_MSG_SIMPLE_REPLY && e->detail.simple.error) ||
	    (e->type == NBDS_MSG_CHUNK && e->detail.chunk.type & NBD_REPLY_TYPE_FLAG_ERROR) ||
	    (e->type == NBDS_MSG_OPTION_REPLY && e->detail.option_reply.type & NBD_REP_FLAG_ERROR))
		return STYLE_VIOLATION;
	if (!e->has_request)
		return STYLE_NOTE;
	switch (e->request.type) {
	case NBD_CMD_READ:
		return STYLE_READ;
	case NBD_CMD_FLUSH:
		return STYLE_FLUSH;
	case NBD_CMD_WRITE:
	case NBD_CMD_WRITE_ZEROES:
	case NBD_CMD_TRIM:
		return STYLE_WRITE;
	default:
		return STYLE_PLAIN;
	}
}

/* With fewer columns, a message has fewer of its own. */
#define MESSAGE_COLUMNS 72

/* The head of what place_text() writes. */
static void place_head(const struct ui *ui, char *text, size_t size)
{
	if (screen_columns < MESSAGE_COLUMNS)
		snprintf(text, size, "%7s %4s    ", "FRAME", "CONN");
	else
		snprintf(text, size, "%8s %15s %5s %6s    ", "FRAME", ui_time_title(ui), "CONN",
			 "TOOK");
}

static void place_text(const struct ui *ui, const struct log_entry *e, bool wide, char *text,
		       size_t size)
{
	char took[SHORT_TEXT] = "", time[TIME_TEXT];
	const char *arrow = e->trouble               ? "!!"
			    : e->from == NBDS_CLIENT ? screen_ascii() ? "->" : " \u2192"
			    : screen_ascii()         ? "<-"
						     : " \u2190";

	if (!wide) {
		snprintf(text, size, "%7" PRIu64 " %4" PRIu32 " %s ", e->frame, e->connection,
			 arrow);
		return;
	}
	if (e->took_known)
		short_time(took, (double)e->took);
	snprintf(text, size, "%8" PRIu64 " %15s %5" PRIu32 " %6s %s ", e->frame,
		 ui_time(ui, e->time, time), e->connection, took, arrow);
}

/* Where there is little room, names lose what they all begin with. */
static void shorten(struct nbds_buf *b)
{
	static const char *const prefixes[] = {"NBD_CMD_FLAG_", "NBD_CMD_", "NBD_REPLY_TYPE_",
					       "NBD_FLAG_", "NBD_"};
	size_t to = 0;

	for (size_t at = 0; at < b->len;) {
		size_t skip = 0;

		if (at == 0 || b->s[at - 1] == ' ')
			for (size_t i = 0; !skip && i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
				if (!strncmp(b->s + at, prefixes[i], strlen(prefixes[i])))
					skip = strlen(prefixes[i]);
		at += skip;
		b->s[to++] = b->s[at++];
	}
	b->len = to;
	if (b->s)
		b->s[to] = '\0';
}

/* --- the ladder --- */

/*
 *	   FRAME      TIME  conn 1     conn 2                      server
 *	      35  0.001618  ├─── WRITE 1024 bytes at 0x0 ────────────►│
 *	      36  0.001724  │◄── SUCCESS ────────────────────────────┤
 */
#define LADDER_LANE 9 /* columns from one client to the next */

static int ladder_left(void)
{
	return screen_columns < MESSAGE_COLUMNS ? 9 : 26;
}

/* The lane of a connection: that of its client. */
static unsigned ladder_lane(const struct messages *m, uint32_t connection)
{
	unsigned lane = 0;

	while (lane < m->lane_count && m->lanes[lane] != connection)
		lane++;
	return lane;
}

static void ladder_head(const struct ui *ui, int y)
{
	const struct messages *m = &ui->messages;
	int left = ladder_left();

	if (screen_columns < MESSAGE_COLUMNS)
		putf(y, 0, screen_columns, STYLE_HEAD, "%7s", "FRAME");
	else
		putf(y, 0, screen_columns, STYLE_HEAD, "%8s %15s", "FRAME", ui_time_title(ui));
	for (unsigned i = 0; i < m->lane_count; i++)
		putf(y, left + (int)i * LADDER_LANE, LADDER_LANE, STYLE_HEAD, "conn %" PRIu32,
		     m->lanes[i]);
	put_right(y, screen_columns - 7, 7, STYLE_HEAD, "server ");
}

static void ladder_row(struct ui *ui, int y, const struct log_entry *e, bool selected)
{
	struct messages *m = &ui->messages;
	enum style style = selected ? STYLE_SELECTED : style_of(e),
		   dim = selected ? STYLE_SELECTED : STYLE_DIM;
	unsigned lane = ladder_lane(m, e->connection);
	int left = ladder_left(), from = left + (int)lane * LADDER_LANE, to = screen_columns - 4;
	bool request = e->from == NBDS_CLIENT;
	char time[TIME_TEXT];
	int room, n;

	if (selected)
		put_row(y, STYLE_SELECTED);
	if (screen_columns < MESSAGE_COLUMNS)
		putf(y, 0, left - 1, dim, "%7" PRIu64, e->frame);
	else
		putf(y, 0, left - 1, dim, "%8" PRIu64 " %15s", e->frame,
		     ui_time(ui, e->time, time));
	for (unsigned i = 0; i < m->lane_count; i++)
		put(y, left + (int)i * LADDER_LANE, 1, dim, glyph(GLYPH_BAR));
	put(y, to, 1, dim, glyph(GLYPH_BAR));
	/* One that has no lane comes from behind the last. */
	for (int x = from + 1; x < to; x++)
		put(y, x, 1, style, glyph(e->trouble ? GLYPH_DOTS : GLYPH_LINE));
	if (!e->trouble && request)
		put(y, to - 1, 1, style, screen_ascii() ? ">" : glyph(GLYPH_TO));
	else if (!e->trouble)
		put(y, from + 1, 1, style, screen_ascii() ? "<" : glyph(GLYPH_FROM));
	nbds_buf_clear(&m->line);
	if (lane == m->lane_count)
		nbds_buf_printf(&m->line, "conn %" PRIu32 ": ", e->connection);
	entry_line(e, &m->line);
	shorten(&m->line);
	room = to - from - 6;
	n = columns_of(nbds_buf_text(&m->line));
	if (room > 0) {
		put(y, from + 3, 1, style, " ");
		put_on(y, from + 4, n < room ? n : room, style, nbds_buf_text(&m->line));
		if (n < room)
			put(y, from + 4 + n, 1, style, " ");
	}
}

static void draw_entry(struct ui *ui, int y, const struct log_entry *e, bool selected)
{
	struct messages *m = &ui->messages;
	char place[80];
	int x;

	if (m->ladder) {
		ladder_row(ui, y, e, selected);
		return;
	}
	place_text(ui, e, screen_columns >= MESSAGE_COLUMNS, place, sizeof(place));
	nbds_buf_clear(&m->line);
	entry_line(e, &m->line);
	if (screen_columns < 110)
		shorten(&m->line);
	if (selected)
		put_row(y, STYLE_SELECTED);
	x = put_on(y, 0, screen_columns, selected ? STYLE_SELECTED : STYLE_PLAIN, place);
	put(y, x, screen_columns - x, selected ? STYLE_SELECTED : style_of(e),
	    nbds_buf_text(&m->line));
}

static void draw_state(struct ui *ui, int y)
{
	struct messages *m = &ui->messages;
	struct nbds_buf b = {0};
	char n[SHORT_TEXT];

	if (m->filter.any) {
		nbds_buf_printf(&b, "Filter: %s   (%" PRIu64 " match", m->filter_text,
				(uint64_t)m->match_count);
		if (m->looked < m->view.last) {
			uint64_t all = m->view.last - m->view.first + 1;

			nbds_buf_printf(
				&b, ", %d %% looked at",
				(int)((double)(m->looked + 1 - m->view.first) * 100 / (double)all));
		}
		nbds_buf_puts(&b, "; Esc ends it)");
	} else {
		nbds_buf_printf(&b, "%" PRIu64 " messages", row_count(m));
		if (m->view.first > 1)
			nbds_buf_printf(&b, ", %s older ones are gone",
					short_count(n, (double)(m->view.first - 1)));
	}
	nbds_buf_puts(&b, m->follow ? "   following (Up stops)" : "   stopped (End follows)");
	put(y, 0, screen_columns, m->filter.any ? STYLE_BOLD : STYLE_DIM, nbds_buf_text(&b));
	nbds_buf_free(&b);
}

static void draw_list(struct ui *ui, int y, int rows)
{
	struct messages *m = &ui->messages;
	uint64_t count = row_count(m), top, cursor;

	if (m->ladder) {
		ladder_head(ui, y);
	} else {
		char head[80];

		place_head(ui, head, sizeof(head));
		putf(y, 0, screen_columns, STYLE_HEAD, "%sMESSAGE", head);
	}
	m->page = rows > 1 ? (unsigned)rows - 1 : 0;
	if (!count || !m->page) {
		put(y + 2, 2, screen_columns - 2, STYLE_DIM,
		    m->filter.any ? "Nothing matches the filter."
				  : "No NBD message has been seen yet.");
		return;
	}
	cursor = row_at(m, m->cursor);
	top = row_at(m, m->top);
	if (m->follow)
		top = count > m->page ? count - m->page : 0;
	if (cursor < top)
		top = cursor;
	if (cursor >= top + m->page)
		top = cursor - m->page + 1;
	if (count <= m->page)
		top = 0;
	else if (top > count - m->page)
		top = count - m->page;
	m->top = row_number(m, top);
	for (unsigned i = 0; i < m->page && top + i < count; i++) {
		const struct log_entry *e = log_view_get(&m->view, row_number(m, top + i));

		if (e)
			draw_entry(ui, y + 1 + (int)i, e, top + i == cursor);
		hit_add(y + 1 + (int)i, 0, screen_columns, 1, HIT_ROW, (int)i);
	}
}

static void messages_draw(struct ui *ui, int y, int rows)
{
	struct messages *m = &ui->messages;
	int detail = 0;

	draw_state(ui, y++);
	rows--;
	if (m->detail == 1)
		detail = rows > 30 ? 22 : rows / 2 + 1;
	if (m->detail == 2)
		detail = rows;
	if (detail < rows)
		draw_list(ui, y, rows - detail);
	if (detail)
		draw_detail(ui, y + rows - detail, detail);
}

/* --- what the user does --- */

static void go_row(struct messages *m, uint64_t row)
{
	uint64_t count = row_count(m);

	if (!count)
		return;
	if (row >= count)
		row = count - 1;
	m->cursor = row_number(m, row);
	m->detail_scroll = 0;
}

/* The reply to a request, or the request of a reply. */
static void partner(struct ui *ui)
{
	struct messages *m = &ui->messages;
	const struct log_entry *e = log_view_get(&m->view, m->cursor), *o;
	bool back;

	if (!e || !e->has_request) {
		ui_notice(ui, "This message has no partner.");
		return;
	}
	back = e->type != NBDS_MSG_REQUEST;
	for (uint64_t n = e->number; (o = log_view_get(&m->view, back ? --n : ++n));) {
		if (o->connection != e->connection || !o->has_request ||
		    o->request.serial != e->request.serial || (o->type == NBDS_MSG_REQUEST) != back)
			continue;
		m->follow = false;
		if (m->filter.any && o->number != m->pinned &&
		    !filter_match(&m->filter, o, ui->s->start, &m->line)) {
			pin(m, o->number);
			ui_notice(ui,
				  "The filter does not match this one; it is shown all the same.");
		}
		m->cursor = o->number;
		m->detail_scroll = 0;
		return;
	}
	ui_notice(ui, back ? "Its request is not kept any more." : "It has no reply yet.");
}

void messages_show(struct ui *ui, const char *filter, const uint32_t *connections, unsigned count,
		   uint64_t frame)
{
	struct messages *m = &ui->messages;
	unsigned from = ui->screen, where;
	int64_t until = ui_clock() + SEARCH_NS;
	char why[120];

	m->lane_count = 0;
	for (unsigned i = 0; i < count && i < LADDER_LANES; i++)
		m->lanes[m->lane_count++] = connections[i];
	m->ladder = count > 0;
	m->detail = 0;
	m->cleared = 0;
	m->follow = !frame;
	m->cursor = m->top = 0;
	if (!messages_filter(ui, filter, why, sizeof(why), &where)) {
		ui_notice(ui, "%s", why);
		return;
	}
	ui_go(ui, SCREEN_MESSAGES);
	m->from = from;
	/* All of them, unless there are so many that it would be noticed. */
	while (ui->busy && ui_clock() < until)
		messages_update(ui);
	for (uint64_t row = 0; frame && row < row_count(m); row++) {
		const struct log_entry *e = log_view_get(&m->view, row_number(m, row));

		if (e && e->last_frame >= frame) {
			m->cursor = e->number;
			break;
		}
	}
	if (!row_count(m))
		ui_notice(ui, "Its messages are not kept any more.");
}

/* The findings that name a frame of this message. */
static void show_findings(struct ui *ui)
{
	const struct messages *m = &ui->messages;
	const struct log_entry *e = log_view_get(&m->view, m->cursor);

	for (size_t i = 0; e && i < ui->s->finding_count; i++) {
		const struct found *found = ui->s->findings[i];

		for (int role = 0; role < NBDS_ROLE_MAX; role++) {
			uint64_t frame = found->finding->frames[role];

			if (!frame || frame < e->frame || frame > e->last_frame)
				continue;
			ui->findings.filter[0] = '\0';
			ui->findings_cleared = 0;
			table_update(&ui->findings);
			/* This one is asked for, not that of the alarm. */
			ui->alarm = 0;
			table_select(&ui->findings, found->number);
			ui_go(ui, SCREEN_FINDINGS);
			return;
		}
	}
	ui_notice(ui, "No finding is about a frame of this message.");
}

/* Connections of a ladder that nobody has chosen: that of the message, and those that
 * are listed with it. */
static void ladder_fill(struct messages *m)
{
	uint64_t rows = row_count(m), row = row_at(m, m->cursor);

	m->lane_count = 0;
	for (uint64_t i = row > 100 ? row - 100 : 0; i < rows && i < row + 100; i++) {
		const struct log_entry *e = log_view_get(&m->view, row_number(m, i));

		if (e && m->lane_count < LADDER_LANES &&
		    ladder_lane(m, e->connection) == m->lane_count)
			m->lanes[m->lane_count++] = e->connection;
	}
}

static bool messages_action(struct ui *ui, enum action action)
{
	struct messages *m = &ui->messages;
	uint64_t row = row_at(m, m->cursor), page = m->page > 1 ? m->page - 1 : 1;

	switch (action) {
	case ACTION_UP:
		m->follow = false;
		go_row(m, row ? row - 1 : 0);
		return true;
	case ACTION_DOWN:
		go_row(m, row + 1);
		return true;
	case ACTION_PAGE_UP:
		m->follow = false;
		m->top = row_at(m, m->top) > page ? row_number(m, row_at(m, m->top) - page) : 0;
		go_row(m, row > page ? row - page : 0);
		return true;
	case ACTION_PAGE_DOWN:
		go_row(m, row + page);
		return true;
	case ACTION_FIRST:
		m->follow = false;
		go_row(m, 0);
		return true;
	case ACTION_LAST:
		m->follow = true;
		settle(m);
		return true;
	case ACTION_FOLLOW:
		m->follow = !m->follow;
		settle(m);
		return true;
	case ACTION_ENTER:
		m->detail = (m->detail + 1) % 3;
		m->follow = m->follow && !m->detail;
		m->detail_scroll = 0;
		return true;
	case ACTION_DETAIL_DOWN:
		m->detail_scroll++;
		return true;
	case ACTION_DETAIL_UP:
		m->detail_scroll -= m->detail_scroll > 0;
		return true;
	case ACTION_MORE:
		ui->field_names = !ui->field_names;
		return true;
	case ACTION_PARTNER:
		partner(ui);
		return true;
	case ACTION_BACK:
		if (m->detail) {
			m->detail--;
			return true;
		}
		if (m->filter.any) {
			unsigned from = m->from;

			m->filter.any = m->ladder = false;
			m->filter_text[0] = '\0';
			m->from = SCREEN_COUNT;
			settle(m);
			if (from < SCREEN_COUNT)
				ui_go(ui, from);
			return true;
		}
		return false;
	case ACTION_LADDER:
		m->ladder = !m->ladder;
		if (m->ladder)
			ladder_fill(m);
		return true;
	case ACTION_CONNECTION: {
		const struct log_entry *e = log_view_get(&m->view, m->cursor);

		if (e)
			connection_show(ui, e->connection);
		return true;
	}
	case ACTION_EVIDENCE:
		show_findings(ui);
		return true;
	case ACTION_UNCLEAR:
		m->cleared = 0;
		settle(m);
		return true;
	case ACTION_CLEAR:
		m->cleared = m->view.last;
		forget_matches(m);
		m->follow = true;
		return true;
	default:
		return false;
	}
}

/* Those that are listed. */
static struct pick *messages_pick(struct ui *ui, char *name, size_t size)
{
	struct messages *m = &ui->messages;
	struct pick *p = pick_new(m->filter.any ? "the filtered messages" : "the messages");

	snprintf(name, size, "messages.pcapng");
	for (uint64_t row = 0; p && row < row_count(m); row++) {
		const struct log_entry *e = log_view_get(&m->view, row_number(m, row));
		const struct connection_row *c = e ? ui_connection(ui, e->connection) : NULL;

		if (!e)
			continue;
		nbds_buf_clear(&m->line);
		nbds_buf_puts(&m->line, "nbdtop: ");
		entry_line(e, &m->line);
		if (!pick_add(p, e->frame, c ? e->last_frame : e->frame, c ? &c->client : NULL,
			      c ? &c->server : NULL, nbds_buf_text(&m->line)))
			break;
	}
	return p;
}

static bool messages_search(struct ui *ui, const char *text, int direction, bool here)
{
	struct messages *m = &ui->messages;
	uint64_t count = row_count(m), row = row_at(m, m->cursor);
	int64_t until = ui_clock() + SEARCH_NS;

	for (uint64_t i = here ? 0 : 1; i <= count && count; i++) {
		uint64_t at = (row + (direction > 0 ? i : count - i % count)) % count;
		const struct log_entry *e = log_view_get(&m->view, row_number(m, at));

		if (!e)
			continue;
		nbds_buf_clear(&m->line);
		entry_line(e, &m->line);
		if (strcasestr(nbds_buf_text(&m->line), text)) {
			m->follow = false;
			go_row(m, at);
			return true;
		}
		if (i % 1024 == 0 && ui_clock() > until) {
			m->follow = false;
			go_row(m, at);
			ui_notice(ui,
				  "Not found in the %" PRIu64 " messages up to here; n goes on.",
				  i);
			return true;
		}
	}
	return false;
}

static void messages_text(struct ui *ui, struct nbds_buf *b)
{
	struct messages *m = &ui->messages;

	for (uint64_t row = 0; row < row_count(m); row++) {
		const struct log_entry *e = log_view_get(&m->view, row_number(m, row));
		char place[80];

		if (!e)
			continue;
		place_text(ui, e, true, place, sizeof(place));
		nbds_buf_puts(b, place);
		entry_line(e, b);
		nbds_buf_puts(b, "\n");
	}
}

static void messages_click(struct ui *ui, enum hit kind, int value, bool twice)
{
	struct messages *m = &ui->messages;

	if (kind != HIT_ROW)
		return;
	m->follow = false;
	go_row(m, row_at(m, m->top) + (uint64_t)value);
	if (twice && !m->detail)
		m->detail = 1;
}

const struct screen_view view_messages = {
	.title = "Messages",
	.draw = messages_draw,
	.action = messages_action,
	.update = messages_update,
	.search = messages_search,
	.text = messages_text,
	.click = messages_click,
	.pick = messages_pick,
};
