/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_findings.c - what is wrong, and its picture.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../analyzer/report/lanes.h"
#include "../analyzer/report/words.h"
#include "text.h"
#include "ui.h"

enum finding_column { F_TIME, F_LEVEL, F_RULE, F_CONNECTION, F_EXPORT, F_MESSAGE, F_COUNT };

static const struct column finding_columns[F_COUNT] = {
	[F_TIME] = {"TIME", TIME_COLUMNS, "time", .right = true, .rank = 2},
	[F_LEVEL] = {"LEVEL", 9, "level", .descending = true, .fixed = true},
	[F_RULE] = {"RULE", 28, "rule", .fixed = true},
	[F_CONNECTION] = {"CONN", 5, "conn", .right = true, .rank = 1},
	[F_EXPORT] = {"EXPORT", 8, "export", .rank = 3},
	[F_MESSAGE] = {"WHAT", 8, "what", .grows = true, .rank = 4},
};

static const struct nbds_finding *finding_at(const struct ui *ui, size_t row)
{
	return ui->s->findings[row]->finding;
}

static bool finding_wanted(void *ctx, size_t row)
{
	const struct ui *ui = ctx;

	return ui->s->findings[row]->number > ui->findings_cleared;
}

static size_t finding_count(void *ctx)
{
	const struct ui *ui = ctx;

	return ui->s ? ui->s->finding_count : 0;
}

static uint64_t finding_id(void *ctx, size_t row)
{
	return ((const struct ui *)ctx)->s->findings[row]->number;
}

static void finding_cell(void *ctx, size_t row, unsigned column, struct nbds_buf *b,
			 enum style *style)
{
	const struct ui *ui = ctx;
	const struct nbds_finding *f = finding_at(ui, row);
	const struct export_row *x = ui_export(ui, ui->s->findings[row]->export);
	char time[TIME_TEXT];

	switch ((enum finding_column)column) {
	case F_TIME:
		nbds_buf_puts(b, ui_time(ui, f->time, time));
		break;
	case F_LEVEL:
		nbds_buf_puts(b, nbds_severity_name(f->severity));
		*style = severity_style(f->severity);
		break;
	case F_RULE:
		nbds_buf_puts(b, f->rule->name);
		if (f->count > 1)
			nbds_buf_printf(b, " x%" PRIu64, f->count);
		break;
	case F_CONNECTION:
		if (f->connection)
			nbds_buf_printf(b, "%" PRIu32, f->connection);
		break;
	case F_EXPORT:
		if (x)
			nbds_buf_printf(b, "\"%s\"", x->name);
		break;
	case F_MESSAGE:
		nbds_buf_puts(b, f->message);
		break;
	case F_COUNT:
		break;
	}
}

static int finding_compare(void *ctx, size_t a, size_t b, unsigned column)
{
	const struct ui *ui = ctx;
	const struct nbds_finding *x = finding_at(ui, a), *y = finding_at(ui, b);

	switch ((enum finding_column)column) {
	case F_TIME:
		return x->time < y->time ? -1 : x->time > y->time;
	case F_LEVEL:
		return (int)x->severity - (int)y->severity;
	case F_RULE:
		return strcmp(x->rule->name, y->rule->name);
	case F_CONNECTION:
		return x->connection < y->connection ? -1 : x->connection > y->connection;
	case F_EXPORT:
		return (int)ui->s->findings[a]->export - (int)ui->s->findings[b]->export;
	case F_MESSAGE:
		return strcmp(x->message, y->message);
	case F_COUNT:
		break;
	}
	return 0;
}

static bool finding_number(void *ctx, size_t row, unsigned column, uint64_t *value)
{
	const struct ui *ui = ctx;
	const struct nbds_finding *f = finding_at(ui, row);

	switch ((enum finding_column)column) {
	case F_TIME:
		*value = ui_since(ui, f->time) > 0 ? (uint64_t)ui_since(ui, f->time) : 0;
		return true;
	case F_CONNECTION:
		*value = f->connection;
		return true;
	default:
		return false;
	}
}

static const struct table_source finding_source = {
	.columns = finding_columns,
	.column_count = F_COUNT,
	.count = finding_count,
	.id = finding_id,
	.cell = finding_cell,
	.compare = finding_compare,
	.number = finding_number,
	.wanted = finding_wanted,
	.empty = "Nothing is wrong so far.",
};

/* --- the picture and the rest --- */

static enum style ink_style(uint8_t ink, enum nbds_severity severity)
{
	switch ((enum nbds_lane_ink)ink) {
	case NBDS_LANE_NAME:
	case NBDS_LANE_AXIS:
		return STYLE_DIM;
	case NBDS_LANE_BAR:
		return STYLE_BOLD;
	case NBDS_LANE_FAULTY:
		return severity_style(severity);
	default:
		return STYLE_PLAIN;
	}
}

static int draw_picture(int y, int rows, int *skip, const struct nbds_finding *f)
{
	struct nbds_lanes lanes;
	struct nbds_buf b = {0};
	int used = 0;

	if (f->witness_count < 2 || !nbds_lanes_draw(&lanes, f->witnesses, f->witness_count,
						     (unsigned)screen_columns - 4, screen_ascii()))
		return 0;
	for (unsigned row = 0; row < lanes.rows; row++) {
		const struct nbds_lane_cell *cells = lanes.cells + (size_t)row * lanes.columns;

		if (*skip > 0) {
			--*skip;
			continue;
		}
		if (used == rows)
			break;
		for (unsigned x = 0, n; x < lanes.columns; x += n) {
			for (n = 1; x + n < lanes.columns && cells[x + n].ink == cells[x].ink; n++)
				;
			nbds_buf_clear(&b);
			nbds_lanes_text(&lanes, row, x, n, &b);
			put(y + used, 2 + (int)x, (int)n, ink_style(cells[x].ink, f->severity),
			    nbds_buf_text(&b));
		}
		used++;
	}
	nbds_buf_free(&b);
	nbds_lanes_free(&lanes);
	return used;
}

struct page {
	const struct ui *ui;
	int y, rows, skip, used;
};

static void page_line(struct page *p, int indent, enum style style, const char *text)
{
	if (p->used >= p->rows)
		return;
	p->used += ui_wrap(p->y + p->used, indent, screen_columns - indent, p->rows - p->used,
			   &p->skip, style, text);
}

static void page_blank(struct page *p)
{
	if (p->skip > 0)
		p->skip--;
	else
		p->used++;
}

#define LABEL 12

static void page_item(struct page *p, const char *label, const char *text)
{
	int before = p->skip, y = p->y + p->used, used = p->used;

	page_line(p, LABEL, STYLE_PLAIN, text);
	if (p->used > used && !before)
		put(y, 0, LABEL, STYLE_DIM, label);
}

static void page_where(struct page *p, const struct found *found)
{
	const struct nbds_finding *f = found->finding;
	const struct connection_row *c = ui_connection(p->ui, f->connection);
	const struct export_row *x = ui_export(p->ui, found->export);
	char client[NBDS_ADDR_TEXT], server[NBDS_ADDR_TEXT];
	struct nbds_buf b = {0};

	if (f->connection)
		nbds_buf_printf(&b, "connection %" PRIu32, f->connection);
	if (c)
		nbds_buf_printf(&b, " (%s to %s)", nbds_addr_text(&c->client, client),
				nbds_addr_text(&c->server, server));
	if (x)
		nbds_buf_printf(&b, "%sexport \"%s\"", b.len ? ", " : "", x->name);
	if (f->command)
		nbds_buf_printf(&b, "%s%s", b.len ? ", " : "", f->command);
	if (f->has_range) {
		nbds_buf_puts(&b, b.len ? ", " : "");
		nbds_buf_count(&b, f->length, "byte", NULL);
		nbds_buf_printf(&b, " at 0x%" PRIx64, f->offset);
	}
	if (b.len)
		page_item(p, "where", nbds_buf_text(&b));
	nbds_buf_clear(&b);
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role])
			nbds_buf_printf(&b, "%s%s %" PRIu64, b.len ? ", " : "",
					nbds_role_words[role], f->frames[role]);
	if (b.len)
		page_item(p, "frames", nbds_buf_text(&b));
	nbds_buf_clear(&b);
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role])
			nbds_buf_printf(&b, "%s%" PRIu64, b.len ? ", " : "frame.number in {",
					f->frames[role]);
	if (b.len) {
		nbds_buf_puts(&b, "}");
		page_item(p, "Wireshark", nbds_buf_text(&b));
	}
	nbds_buf_free(&b);
}

/* What a read should have returned, and what it did. */
static void page_bytes(struct page *p, const struct nbds_finding *f, const char *label,
		       const uint8_t *bytes)
{
	struct nbds_buf b = {0};

	nbds_buf_printf(&b, "at 0x%" PRIx64 ": ", f->differ.offset);
	for (unsigned i = 0; i < f->differ.count && i < NBDS_DIFFER_MAX; i++)
		nbds_buf_printf(&b, "%s%02x", i && i % 4 == 0 ? " " : "", bytes[i]);
	nbds_buf_puts(&b, "  \"");
	for (unsigned i = 0; i < f->differ.count && i < NBDS_DIFFER_MAX; i++)
		nbds_buf_printf(&b, "%c",
				bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '.');
	nbds_buf_puts(&b, "\"");
	page_item(p, label, nbds_buf_text(&b));
	nbds_buf_free(&b);
}

static void page_blame(struct page *p, const struct nbds_finding *f)
{
	static const char *const who[] = {
		[NBDS_FAULT_SERVER] = "the server",
		[NBDS_FAULT_CLIENT] = "the client",
		[NBDS_FAULT_EITHER] = "the server or the client",
	};
	char text[160];

	switch (f->severity) {
	case NBDS_VIOLATION:
		snprintf(text, sizeof(text), "%s; %s", who[nbds_finding_side(f)],
			 f->rule->basis == NBDS_BASIS_EXPLICIT
				 ? "the protocol forbids it in so many words"
				 : "it follows from what the protocol promises");
		page_item(p, "at fault", text);
		break;
	case NBDS_SUSPECT:
		snprintf(text, sizeof(text), "%s, unless something outside the capture explains it",
			 who[nbds_finding_side(f)]);
		page_item(p, "at fault", text);
		break;
	case NBDS_HAZARD:
		snprintf(text, sizeof(text), "%s; legal, and dangerous", who[nbds_finding_side(f)]);
		page_item(p, "up to", text);
		break;
	case NBDS_NOTE:
		break;
	}
}

static void draw_finding(struct ui *ui, int y, int rows, const struct found *found)
{
	const struct nbds_finding *f = found->finding;
	struct page p = {ui, y, rows, ui->finding_scroll, 0};
	char head[160];
	const char *at;

	snprintf(head, sizeof(head), "%s: %s [%s]: ", nbds_severity_name(f->severity),
		 f->rule->name, f->rule->ref);
	page_line(&p, 0, severity_style(f->severity), head);
	page_line(&p, 2, STYLE_PLAIN, f->rule->summary);
	page_blank(&p);
	p.used += p.used < rows ? draw_picture(y + p.used, rows - p.used, &p.skip, f) : 0;
	if (f->witness_count > 1)
		page_blank(&p);
	page_line(&p, 2, STYLE_BOLD, f->message);
	page_blame(&p, f);
	if (f->differ.count && f->differ.expected_known)
		page_bytes(&p, f, "expected", f->differ.expected);
	if (f->differ.count)
		page_bytes(&p, f, "received", f->differ.came);
	page_where(&p, found);
	for (size_t i = 0; f->assumptions && f->assumptions[i]; i++)
		page_item(&p, i ? "and" : "assuming", f->assumptions[i]);
	page_blank(&p);
	at = f->rule->explain;
	while (at && *at) {
		char line[400];
		size_t len = strcspn(at, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)len, at);
		if (len)
			page_line(&p, 2, STYLE_DIM, line);
		else
			page_blank(&p);
		at += len + (at[len] == '\n');
	}
	/* The last line stays. */
	if (ui->finding_scroll && p.used < 2)
		ui->finding_scroll--;
}

static void findings_draw(struct ui *ui, int y, int rows)
{
	size_t row = table_row(&ui->findings);
	int detail = rows * 2 / 3 > 26 ? 26 : rows * 2 / 3;

	/* Where there is room for neither, the list comes first. */
	if (rows < 10)
		detail = 0;
	if (ui->finding_detail != 1)
		detail = ui->finding_detail ? rows : 0;
	if (!ui->findings.count)
		detail = 0;
	else if (detail < rows)
		ui->alarms_seen = ui->s->findings[ui->s->finding_count - 1]->number;
	if (ui->findings.count && ui->alarms_seen)
		ui->alarm = 0;
	if (detail < rows)
		table_draw(&ui->findings, y, rows - detail);
	if (!ui->findings.count && ui->s->findings_forgotten)
		putf(y + 4, 2, screen_columns - 2, STYLE_DIM, "%" PRIu64 " earlier ones are gone.",
		     ui->s->findings_forgotten);
	if (!detail || row == SIZE_MAX)
		return;
	y += rows - detail;
	put_row(y, STYLE_HEAD);
	putf(y, 0, screen_columns, STYLE_HEAD, "Finding %zu of %zu  (J and K scroll, Enter %s)",
	     ui->findings.cursor + 1, ui->findings.count,
	     ui->finding_detail == 1 ? "enlarges" : "shows its messages");
	hit_add(y + 1, 0, screen_columns, detail - 1, HIT_DETAIL, 0);
	draw_finding(ui, y + 1, detail - 1, ui->s->findings[row]);
}

static void findings_update(struct ui *ui)
{
	table_update(&ui->findings);
}

/* The commands that prove it, or what was said around it. */
static void show_messages(struct ui *ui)
{
	size_t row = table_row(&ui->findings);
	const struct nbds_finding *f = row == SIZE_MAX ? NULL : finding_at(ui, row);
	uint32_t connections[NBDS_WITNESSES_MAX + 1];
	uint64_t low = UINT64_MAX, high = 0, at = 0;
	struct nbds_buf b = {0};
	unsigned count = 0;

	if (!f)
		return;
	if (f->connection)
		connections[count++] = f->connection;
	for (unsigned i = 0; i < f->witness_count; i++) {
		unsigned k = 0;

		while (k < count && connections[k] != f->witnesses[i].connection)
			k++;
		if (k == count)
			connections[count++] = f->witnesses[i].connection;
	}
	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		if (!f->frames[role])
			continue;
		low = f->frames[role] < low ? f->frames[role] : low;
		high = f->frames[role] > high ? f->frames[role] : high;
		at = f->frames[role];
	}
	if (!count || !high) {
		ui_notice(ui, "This one is about no message in particular.");
		return;
	}
	for (unsigned i = 0; i < count; i++)
		nbds_buf_printf(&b, "%sconn == %" PRIu32, i ? " or " : "(", connections[i]);
	nbds_buf_printf(&b, ") and frame >= %" PRIu64 " and frame <= %" PRIu64, low, high);
	messages_show(ui, nbds_buf_text(&b), connections, count, at);
	nbds_buf_free(&b);
}

static bool findings_action(struct ui *ui, enum action action)
{
	size_t row = table_row(&ui->findings);

	if (table_action(&ui->findings, action)) {
		ui->finding_scroll = 0;
		return true;
	}
	switch (action) {
	case ACTION_ENTER:
		if (ui->finding_detail == 2) {
			show_messages(ui);
			return true;
		}
		ui->finding_detail = 2;
		ui->finding_scroll = 0;
		return true;
	case ACTION_MESSAGES:
		show_messages(ui);
		return true;
	case ACTION_CONNECTION:
		if (row != SIZE_MAX)
			connection_show(ui, finding_at(ui, row)->connection);
		return true;
	case ACTION_BACK:
		if (ui->finding_detail == 2) {
			ui->finding_detail = 1;
			ui->finding_scroll = 0;
			return true;
		}
		return false;
	case ACTION_DETAIL_DOWN:
		ui->finding_scroll++;
		return true;
	case ACTION_DETAIL_UP:
		ui->finding_scroll -= ui->finding_scroll > 0;
		return true;
	case ACTION_FOLLOW:
		ui->findings.follow = !ui->findings.follow;
		table_update(&ui->findings);
		return true;
	case ACTION_CLEAR:
		if (ui->s->finding_count)
			ui->findings_cleared = ui->s->findings[ui->s->finding_count - 1]->number;
		ui->findings.empty = "No finding since those that are hidden: u shows them.";
		table_update(&ui->findings);
		return true;
	case ACTION_UNCLEAR:
		ui->findings_cleared = 0;
		ui->findings.empty = NULL;
		table_update(&ui->findings);
		return true;
	default:
		return false;
	}
}

/* The commands that prove it, each with what it is in the proof. */
static struct pick *findings_pick(struct ui *ui, char *name, size_t size)
{
	size_t row = table_row(&ui->findings);
	const struct found *found = row == SIZE_MAX ? NULL : ui->s->findings[row];
	const struct nbds_finding *f = found ? found->finding : NULL;
	struct pick *p;
	char text[200];

	if (!f)
		return NULL;
	snprintf(text, sizeof(text), "finding %" PRIu64, found->number);
	snprintf(name, size, "finding-%" PRIu64 ".pcapng", found->number);
	p = pick_new(text);
	for (unsigned i = 0; p && i < f->witness_count; i++) {
		const struct nbds_witness *w = &f->witnesses[i];
		const struct connection_row *c = ui_connection(ui, w->connection);

		if (c)
			pick_add(p, w->request_frame, w->reply_frame, &c->client, &c->server, NULL);
	}
	for (int role = 0; p && role < NBDS_ROLE_MAX; role++) {
		if (!f->frames[role])
			continue;
		snprintf(text, sizeof(text), "nbdtop: %s of %s [%s]", nbds_role_words[role],
			 f->rule->name, f->rule->ref);
		pick_add(p, f->frames[role], f->frames[role], NULL, NULL, text);
	}
	return p;
}

static bool findings_search(struct ui *ui, const char *text, int direction, bool here)
{
	ui->finding_scroll = 0;
	return table_search(&ui->findings, text, direction, here);
}

static void findings_text(struct ui *ui, struct nbds_buf *b)
{
	for (size_t i = 0; i < ui->findings.count; i++) {
		const struct nbds_finding *f = finding_at(ui, ui->findings.rows[i]);
		struct nbds_lanes lanes;

		nbds_buf_printf(b, "%.6f s  %s: %s [%s]\n", (double)ui_since(ui, f->time) / 1e9,
				nbds_severity_name(f->severity), f->rule->name, f->rule->ref);
		if (f->witness_count > 1 &&
		    nbds_lanes_draw(&lanes, f->witnesses, f->witness_count, 100, screen_ascii())) {
			for (unsigned row = 0; row < lanes.rows; row++) {
				nbds_buf_puts(b, "    ");
				nbds_lanes_text(&lanes, row, 0, nbds_lanes_used(&lanes, row), b);
				nbds_buf_puts(b, "\n");
			}
			nbds_lanes_free(&lanes);
		}
		nbds_buf_printf(b, "    %s\n\n", f->message);
	}
}

static void findings_click(struct ui *ui, enum hit kind, int value, bool twice)
{
	if (kind == HIT_DETAIL)
		return;
	table_click(&ui->findings, kind, value);
	ui->finding_scroll = 0;
	if (twice && kind == HIT_ROW)
		ui->finding_detail = 2;
}

void findings_show(struct ui *ui, const char *filter)
{
	snprintf(ui->findings.filter, sizeof(ui->findings.filter), "%s", filter);
	table_update(&ui->findings);
	ui->finding_detail = 1;
	ui->alarm = 0;
	ui_go(ui, SCREEN_FINDINGS);
}

const struct screen_view view_findings = {
	.title = "Findings",
	.draw = findings_draw,
	.action = findings_action,
	.update = findings_update,
	.search = findings_search,
	.text = findings_text,
	.click = findings_click,
	.pick = findings_pick,
};

void findings_init(struct ui *ui)
{
	table_init(&ui->findings, &finding_source, ui, F_LEVEL);
	ui->finding_detail = 1;
}
