/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view_lists.c - the screens Exports and Connections.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "text.h"
#include "ui.h"

/* --- cells --- */

static void put_count(struct nbds_buf *b, uint64_t n)
{
	char s[SHORT_TEXT];

	nbds_buf_puts(b, short_count(s, (double)n));
}

/* Nothing for 0: what is there shall stand out. */
static void put_some(struct nbds_buf *b, uint64_t n)
{
	if (n)
		put_count(b, n);
}

static void put_bytes(struct nbds_buf *b, double n)
{
	char s[SHORT_TEXT];

	if (n >= 0.5)
		nbds_buf_puts(b, short_bytes(s, n));
}

static void put_time(struct nbds_buf *b, double ns)
{
	char s[SHORT_TEXT];

	nbds_buf_puts(b, short_time(s, ns));
}

static void put_took(struct nbds_buf *b, const struct took *t, uint64_t ns)
{
	if (t->count)
		put_time(b, (double)ns);
}

/* "2V 1S 3H 12n" */
static void put_findings(struct nbds_buf *b, const uint64_t *findings, enum style *style)
{
	static const char letters[] = "nHSV";
	char s[SHORT_TEXT];

	for (int i = NBDS_VIOLATION; i >= NBDS_NOTE; i--) {
		if (!findings[i])
			continue;
		if (!b->len)
			*style = severity_style((enum nbds_severity)i);
		nbds_buf_puts(b, b->len ? " " : "");
		/* Not "1.3kn". */
		if (findings[i] < 10000)
			nbds_buf_printf(b, "%" PRIu64 "%c", findings[i], letters[i]);
		else
			nbds_buf_printf(b, "%s %c", short_count(s, (double)findings[i]),
					letters[i]);
	}
}

static int order_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int order_double(double a, double b)
{
	return a < b ? -1 : a > b;
}

static int order_findings(const uint64_t *a, const uint64_t *b)
{
	for (int i = NBDS_VIOLATION; i >= NBDS_NOTE; i--)
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	return 0;
}

static int order_addr(const struct nbds_addr *a, const struct nbds_addr *b)
{
	int order = (int)a->family - (int)b->family;

	if (!order)
		order = memcmp(a->ip, b->ip, sizeof(a->ip));
	return order ? order : (int)a->port - (int)b->port;
}

/* Ages: since when; nothing is younger than everything. */
static int order_age(bool a, int64_t since_a, bool b, int64_t since_b)
{
	if (a != b)
		return a ? 1 : -1;
	return !a ? 0 : since_a > since_b ? -1 : since_a < since_b;
}

/* How old a request may be before it is worth a colour: a second. */
#define STUCK_NS 1000000000

static void put_waiting(const struct ui *ui, struct nbds_buf *b, bool waiting, int64_t since,
			enum style *style)
{
	int64_t age = ui_age(ui, since);

	if (!waiting)
		return;
	put_time(b, (double)age);
	if (age >= STUCK_NS && ui->s->state != STATE_LOADING) {
		nbds_buf_puts(b, "!");
		*style = STYLE_HAZARD;
	}
}

/* What it says depends on packets that the capture lost. */
static void put_doubt(struct nbds_buf *b, bool doubt, enum style *style)
{
	if (!doubt)
		return;
	nbds_buf_puts(b, "?");
	*style = STYLE_HAZARD;
}

static void put_unflushed(struct nbds_buf *b, uint64_t writes, uint64_t bytes, bool rough)
{
	nbds_buf_puts(b, rough ? "~" : "");
	put_bytes(b, (double)bytes);
	/* All that it wrote was written again by others. */
	if (writes && !bytes)
		nbds_buf_puts(b, "0");
}

/* --- exports --- */

enum export_column {
	X_NAME,
	X_SERVER,
	X_MULTI,
	X_CONNECTIONS,
	X_REQUESTS,
	X_READ,
	X_WRITE,
	X_FLIGHT,
	X_OLDEST,
	X_P50,
	X_P99,
	X_UNFLUSHED,
	X_AGE,
	X_FLUSHED,
	X_FINDINGS,
	X_SIZE,
	X_ALL_READ,
	X_ALL_WRITTEN,
	X_WRITES,
	X_FUA,
	X_FLUSHES,
	X_ERRORS,
	X_COUNT
};

static const struct column export_columns[X_COUNT] = {
	[X_NAME] = {"EXPORT", 6, "export", .grows = true, .fixed = true},
	[X_SERVER] = {"SERVER", 15, "server", .grows = true, .rank = 4},
	[X_MULTI] = {"MULTI", 5, "multi", .rank = 6},
	[X_CONNECTIONS] = {"CONN", 5, "conn", .right = true, .descending = true, .rank = 1},
	[X_REQUESTS] = {"REQ/s", 6, "req", .right = true, .descending = true, .rank = 11},
	[X_READ] = {"READ/s", 6, "read", .right = true, .descending = true, .rank = 7},
	[X_WRITE] = {"WRITE/s", 7, "write", .right = true, .descending = true, .rank = 8},
	[X_FLIGHT] = {"FLIGHT", 6, "flight", .right = true, .descending = true, .rank = 9},
	[X_OLDEST] = {"OLDEST", 7, "oldest", .right = true, .descending = true, .rank = 13},
	[X_P50] = {"P50", 5, "p50", .right = true, .descending = true, .rank = 5},
	[X_P99] = {"P99", 5, "p99", .right = true, .descending = true, .rank = 3},
	[X_UNFLUSHED] = {"UNFLUSHED", 9, "unflushed", .right = true, .descending = true, .rank = 2},
	[X_AGE] = {"AGE", 5, "age", .right = true, .descending = true, .rank = 10},
	[X_FLUSHED] = {"FLUSHED", 7, "flushed", .right = true, .descending = true, .rank = 12},
	[X_FINDINGS] = {"FINDINGS", 8, "findings", .right = true, .descending = true,
			.fixed = true},
	[X_SIZE] = {"SIZE", 6, "size", .right = true, .more = true, .descending = true},
	[X_ALL_READ] = {"READ", 6, "bytes_read", .right = true, .more = true, .descending = true},
	[X_ALL_WRITTEN] = {"WRITTEN", 7, "bytes_written", .right = true, .more = true,
			   .descending = true},
	[X_WRITES] = {"WRITES", 6, "writes", .right = true, .more = true, .descending = true},
	[X_FUA] = {"FUA", 5, "fua", .right = true, .more = true, .descending = true},
	[X_FLUSHES] = {"FLUSHES", 7, "flushes", .right = true, .more = true, .descending = true},
	[X_ERRORS] = {"ERRORS", 6, "errors", .right = true, .more = true, .descending = true},
};

static size_t export_count(void *ctx)
{
	const struct ui *ui = ctx;

	return ui->s ? ui->s->export_count : 0;
}

static uint64_t export_id(void *ctx, size_t row)
{
	return ((const struct ui *)ctx)->s->exports[row].id;
}

static void export_cell(void *ctx, size_t row, unsigned column, struct nbds_buf *b,
			enum style *style)
{
	static const char *const multi[] = {
		[NBDS_MC_UNKNOWN] = "?",
		[NBDS_MC_TRUE] = "yes",
		[NBDS_MC_FALSE] = "no",
		[NBDS_MC_MIXED] = "mixed",
	};
	const struct ui *ui = ctx;
	const struct export_row *x = &ui->s->exports[row];
	char addr[NBDS_ADDR_TEXT];

	switch ((enum export_column)column) {
	case X_NAME:
		nbds_buf_printf(b, "\"%s\"", x->name);
		*style = STYLE_BOLD;
		break;
	case X_MULTI:
		nbds_buf_puts(b, multi[x->multi_conn]);
		if (x->multi_conn == NBDS_MC_MIXED ||
		    (x->multi_conn == NBDS_MC_FALSE && x->open > 1))
			*style = STYLE_HAZARD;
		break;
	case X_CONNECTIONS:
		nbds_buf_printf(b, "%u/%u", x->open, x->connections);
		break;
	case X_REQUESTS:
		if (x->speed.requests >= 0.5)
			put_count(b, (uint64_t)(x->speed.requests + 0.5));
		break;
	case X_READ:
		put_bytes(b, x->speed.read);
		*style = STYLE_READ;
		break;
	case X_WRITE:
		put_bytes(b, x->speed.written);
		*style = STYLE_WRITE;
		break;
	case X_FLIGHT:
		put_some(b, x->in_flight);
		put_doubt(b, x->flight_doubt, style);
		break;
	case X_UNFLUSHED:
		put_unflushed(b, x->unflushed_writes, x->unflushed_bytes, x->unflushed_rough);
		put_doubt(b, x->unflushed_doubt, style);
		break;
	case X_AGE:
		if (x->unflushed_writes)
			put_time(b, (double)ui_age(ui, x->unflushed_since));
		break;
	case X_FLUSHED:
		if (x->flushed)
			put_time(b, (double)ui_age(ui, x->last_flush));
		else if (x->unflushed_writes)
			nbds_buf_puts(b, "never");
		break;
	case X_FINDINGS:
		put_findings(b, x->findings, style);
		break;
	case X_SERVER:
		nbds_buf_puts(b, nbds_addr_text(&x->server, addr));
		break;
	case X_OLDEST:
		put_waiting(ui, b, x->waiting, x->oldest_since, style);
		put_doubt(b, x->flight_doubt, style);
		break;
	case X_P50:
		put_took(b, &x->took, x->took.p50);
		break;
	case X_P99:
		put_took(b, &x->took, x->took.p99);
		break;
	case X_SIZE:
		if (x->size_seen)
			put_bytes(b, (double)x->size);
		break;
	case X_ALL_READ:
		put_bytes(b, (double)x->read);
		break;
	case X_ALL_WRITTEN:
		put_bytes(b, (double)x->written);
		break;
	case X_WRITES:
		put_some(b, x->writes);
		break;
	case X_FUA:
		put_some(b, x->fua);
		break;
	case X_FLUSHES:
		put_some(b, x->flushes);
		break;
	case X_ERRORS:
		put_some(b, x->errors);
		if (x->errors)
			*style = STYLE_VIOLATION;
		break;
	case X_COUNT:
		break;
	}
}

static int export_compare(void *ctx, size_t a, size_t b, unsigned column)
{
	const struct ui *ui = ctx;
	const struct export_row *x = &ui->s->exports[a], *y = &ui->s->exports[b];

	switch ((enum export_column)column) {
	case X_NAME:
		return strcmp(x->name, y->name);
	case X_MULTI:
		return x->multi_conn - y->multi_conn;
	case X_CONNECTIONS:
		return order_u64(x->connections, y->connections);
	case X_REQUESTS:
		return order_double(x->speed.requests, y->speed.requests);
	case X_READ:
		return order_double(x->speed.read, y->speed.read);
	case X_WRITE:
		return order_double(x->speed.written, y->speed.written);
	case X_FLIGHT:
		return order_u64(x->in_flight, y->in_flight);
	case X_UNFLUSHED:
		return order_u64(x->unflushed_bytes, y->unflushed_bytes);
	case X_AGE:
		return order_age(x->unflushed_writes, x->unflushed_since, y->unflushed_writes,
				 y->unflushed_since);
	case X_FLUSHED:
		return order_age(x->flushed, x->last_flush, y->flushed, y->last_flush);
	case X_FINDINGS:
		return order_findings(x->findings, y->findings);
	case X_SERVER:
		return order_addr(&x->server, &y->server);
	case X_OLDEST:
		return order_age(x->waiting, x->oldest_since, y->waiting, y->oldest_since);
	case X_P50:
		return order_u64(x->took.p50, y->took.p50);
	case X_P99:
		return order_u64(x->took.p99, y->took.p99);
	case X_SIZE:
		return order_u64(x->size, y->size);
	case X_ALL_READ:
		return order_u64(x->read, y->read);
	case X_ALL_WRITTEN:
		return order_u64(x->written, y->written);
	case X_WRITES:
		return order_u64(x->writes, y->writes);
	case X_FUA:
		return order_u64(x->fua, y->fua);
	case X_FLUSHES:
		return order_u64(x->flushes, y->flushes);
	case X_ERRORS:
		return order_u64(x->errors, y->errors);
	case X_COUNT:
		break;
	}
	return 0;
}

static uint64_t rate(double a_second)
{
	return a_second > 0 ? (uint64_t)(a_second + 0.5) : 0;
}

static uint64_t all_findings(const uint64_t *findings)
{
	uint64_t sum = 0;

	for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++)
		sum += findings[i];
	return sum;
}

static bool export_number(void *ctx, size_t row, unsigned column, uint64_t *value)
{
	const struct ui *ui = ctx;
	const struct export_row *r = &ui->s->exports[row];

	switch ((enum export_column)column) {
	case X_CONNECTIONS:
		*value = r->connections;
		return true;
	case X_REQUESTS:
		*value = rate(r->speed.requests);
		return true;
	case X_READ:
		*value = rate(r->speed.read);
		return true;
	case X_WRITE:
		*value = rate(r->speed.written);
		return true;
	case X_FLIGHT:
		*value = r->in_flight;
		return true;
	case X_OLDEST:
		*value = r->waiting ? (uint64_t)ui_age(ui, r->oldest_since) : 0;
		return true;
	case X_P50:
		*value = r->took.p50;
		return true;
	case X_P99:
		*value = r->took.p99;
		return true;
	case X_UNFLUSHED:
		*value = r->unflushed_bytes;
		return true;
	case X_AGE:
		*value = r->unflushed_writes ? (uint64_t)ui_age(ui, r->unflushed_since) : 0;
		return true;
	case X_FLUSHED:
		*value = r->flushed ? (uint64_t)ui_age(ui, r->last_flush) : UINT64_MAX;
		return true;
	case X_FINDINGS:
		*value = all_findings(r->findings);
		return true;
	case X_SIZE:
		*value = r->size;
		return true;
	case X_ALL_READ:
		*value = r->read;
		return true;
	case X_ALL_WRITTEN:
		*value = r->written;
		return true;
	case X_WRITES:
		*value = r->writes;
		return true;
	case X_FUA:
		*value = r->fua;
		return true;
	case X_FLUSHES:
		*value = r->flushes;
		return true;
	case X_ERRORS:
		*value = r->errors;
		return true;
	case X_NAME:
	case X_SERVER:
	case X_MULTI:
	case X_COUNT:
		break;
	}
	return false;
}

/* The sum of what can be added up. */
static void export_total(void *ctx, const size_t *rows, size_t count, unsigned column,
			 struct nbds_buf *b, enum style *style)
{
	const struct ui *ui = ctx;
	uint64_t sum = 0, open = 0, findings[NBDS_VIOLATION + 1] = {0};

	for (size_t i = 0; i < count; i++) {
		const struct export_row *x = &ui->s->exports[rows[i]];
		uint64_t value;

		sum += export_number(ctx, rows[i], column, &value) ? value : 0;
		open += x->open;
		for (int k = NBDS_NOTE; k <= NBDS_VIOLATION; k++)
			findings[k] += x->findings[k];
	}
	switch ((enum export_column)column) {
	case X_NAME:
		nbds_buf_printf(b, "all %zu", count);
		break;
	case X_CONNECTIONS:
		nbds_buf_printf(b, "%" PRIu64 "/%" PRIu64, open, sum);
		break;
	case X_READ:
	case X_WRITE:
	case X_UNFLUSHED:
	case X_SIZE:
	case X_ALL_READ:
	case X_ALL_WRITTEN:
		put_bytes(b, (double)sum);
		break;
	case X_REQUESTS:
	case X_FLIGHT:
	case X_WRITES:
	case X_FUA:
	case X_FLUSHES:
	case X_ERRORS:
		put_some(b, sum);
		break;
	case X_FINDINGS:
		put_findings(b, findings, style);
		break;
	default:
		break;
	}
}

static bool export_wanted(void *ctx, size_t row)
{
	const struct ui *ui = ctx;
	const struct export_row *x = &ui->s->exports[row];

	return x->open || x->id > ui->exports_cleared;
}

static const struct table_source export_source = {
	.columns = export_columns,
	.column_count = X_COUNT,
	.count = export_count,
	.id = export_id,
	.cell = export_cell,
	.compare = export_compare,
	.number = export_number,
	.total = export_total,
	.wanted = export_wanted,
	.empty = "No export has been seen yet.",
};

/* What is over of all that began until now. */
static void hide_finished(struct ui *ui)
{
	const struct snapshot *s = ui->s;

	for (size_t i = 0; i < s->connection_count; i++)
		if (s->connections[i].id > ui->connections_cleared)
			ui->connections_cleared = s->connections[i].id;
	for (size_t i = 0; i < s->export_count; i++)
		if (s->exports[i].id > ui->exports_cleared)
			ui->exports_cleared = s->exports[i].id;
	ui->exports.empty = "No export with an open connection; u shows those that are hidden.";
	ui->connections.empty = "No connection is open; u shows those that are hidden.";
	table_update(&ui->exports);
	table_update(&ui->connections);
}

static void show_finished(struct ui *ui)
{
	ui->connections_cleared = ui->exports_cleared = 0;
	ui->exports.empty = ui->connections.empty = NULL;
	table_update(&ui->exports);
	table_update(&ui->connections);
}

/* Connections that a filter names at most. */
#define EXPORT_FILTER 12

/* All packets of a connection. */
static void pick_connection(struct pick *p, const struct connection_row *r)
{
	char comment[120];

	snprintf(comment, sizeof(comment), "nbdtop: connection %" PRIu32 ", export \"%s\"", r->id,
		 r->export_name);
	pick_add(p, r->first_frame, r->last_frame, &r->client, &r->server, comment);
}

static void exports_update(struct ui *ui)
{
	table_update(&ui->exports);
}

static void exports_draw(struct ui *ui, int y, int rows)
{
	size_t row = table_row(&ui->exports);
	int below = row == SIZE_MAX ? 0 : history_rows(rows);

	table_draw(&ui->exports, y, rows - below);
	if (below)
		history_draw(ui, y + rows - below, below, &ui->s->exports[row]);
}

/* Those of its connections, as many as a filter can name. */
static void export_messages(struct ui *ui, const struct export_row *x)
{
	uint32_t connections[EXPORT_FILTER];
	unsigned count = 0, of = 0;
	struct nbds_buf b = {0};

	for (size_t i = ui->s->connection_count; i-- > 0;) {
		if (ui->s->connections[i].export != x->id)
			continue;
		if (of++ < EXPORT_FILTER)
			connections[count++] = ui->s->connections[i].id;
	}
	for (unsigned i = 0; i < count; i++)
		nbds_buf_printf(&b, "%sconn == %" PRIu32, i ? " or " : "", connections[i]);
	if (count)
		messages_show(ui, nbds_buf_text(&b), connections, count, 0);
	if (of > count)
		ui_notice(ui, "Of its %u connections these are the newest %u.", of, count);
	nbds_buf_free(&b);
}

static bool exports_action(struct ui *ui, enum action action)
{
	const struct export_row *x;
	char filter[sizeof(x->name) + 20];
	size_t row;

	if (table_action(&ui->exports, action)) {
		ui_want(ui);
		return true;
	}
	row = table_row(&ui->exports);
	switch (action) {
	case ACTION_ENTER:
		if (row == SIZE_MAX)
			return true;
		x = &ui->s->exports[row];
		ui->only_export = x->id;
		snprintf(ui->only_name, sizeof(ui->only_name), "%s", x->name);
		ui_go(ui, SCREEN_CONNECTIONS);
		return true;
	case ACTION_MESSAGES:
		if (row != SIZE_MAX)
			export_messages(ui, &ui->s->exports[row]);
		return true;
	case ACTION_EVIDENCE:
		if (row != SIZE_MAX) {
			snprintf(filter, sizeof(filter), "export == \"%s\"",
				 ui->s->exports[row].name);
			findings_show(ui, filter);
		}
		return true;
	case ACTION_CLEAR:
		hide_finished(ui);
		return true;
	case ACTION_UNCLEAR:
		show_finished(ui);
		return true;
	default:
		return false;
	}
}

static struct pick *exports_pick(struct ui *ui, char *name, size_t size)
{
	size_t row = table_row(&ui->exports);
	const struct export_row *x = row == SIZE_MAX ? NULL : &ui->s->exports[row];
	struct pick *p;
	char what[80];

	if (!x)
		return NULL;
	snprintf(what, sizeof(what), "export \"%.60s\"", x->name);
	snprintf(name, size, "export-%" PRIu32 ".pcapng", x->id);
	p = pick_new(what);
	for (size_t i = 0; p && i < ui->s->connection_count; i++) {
		const struct connection_row *r = &ui->s->connections[i];

		if (r->export == x->id)
			pick_connection(p, r);
	}
	return p;
}

static bool exports_search(struct ui *ui, const char *text, int direction, bool here)
{
	return table_search(&ui->exports, text, direction, here);
}

static void exports_text(struct ui *ui, struct nbds_buf *b)
{
	table_text(&ui->exports, b);
}

static void exports_click(struct ui *ui, enum hit kind, int value, bool twice)
{
	table_click(&ui->exports, kind, value);
	ui_want(ui);
	if (twice && kind == HIT_ROW)
		exports_action(ui, ACTION_ENTER);
}

const struct screen_view view_exports = {
	.title = "Exports",
	.draw = exports_draw,
	.action = exports_action,
	.update = exports_update,
	.search = exports_search,
	.text = exports_text,
	.click = exports_click,
	.pick = exports_pick,
};

/* --- connections --- */

enum connection_column {
	C_ID,
	C_CLIENT,
	C_EXPORT,
	C_STATE,
	C_FLIGHT,
	C_OLDEST,
	C_REQUESTS,
	C_READ,
	C_WRITE,
	C_50,
	C_99,
	C_ERRORS,
	C_FINDINGS,
	C_UNFLUSHED,
	C_FLAGS,
	C_READ_50,
	C_READ_99,
	C_READ_MAX,
	C_WRITE_50,
	C_WRITE_99,
	C_WRITE_MAX,
	C_FLUSH_50,
	C_FLUSH_99,
	C_FLUSH_MAX,
	C_SERVER,
	C_REPLIES,
	C_ALL,
	C_ALL_READ,
	C_ALL_WRITTEN,
	C_GAPS,
	C_COUNT
};

static const struct column connection_columns[C_COUNT] = {
	[C_ID] = {"ID", 4, "conn", .right = true, .fixed = true},
	[C_CLIENT] = {"CLIENT", 15, "client", .grows = true, .fixed = true},
	[C_EXPORT] = {"EXPORT", 6, "export", .grows = true, .rank = 6},
	[C_STATE] = {"STATE", 5, "state", .rank = 3},
	[C_FLIGHT] = {"FLIGHT", 6, "flight", .right = true, .descending = true, .rank = 7},
	[C_OLDEST] = {"OLDEST", 6, "oldest", .right = true, .descending = true, .rank = 9},
	[C_REQUESTS] = {"REQ/s", 6, "req", .right = true, .descending = true, .rank = 10},
	[C_READ] = {"READ/s", 6, "read", .right = true, .descending = true, .rank = 4},
	[C_WRITE] = {"WRITE/s", 7, "write", .right = true, .descending = true, .rank = 5},
	[C_50] = {"P50", 5, "p50", .right = true, .descending = true, .rank = 8},
	[C_99] = {"P99", 5, "p99", .right = true, .descending = true, .rank = 2},
	[C_ERRORS] = {"ERR", 4, "errors", .right = true, .descending = true, .rank = 11},
	[C_FINDINGS] = {"FINDINGS", 8, "findings", .right = true, .descending = true,
			.fixed = true},
	[C_UNFLUSHED] = {"UNFLUSHED", 9, "unflushed", .right = true, .descending = true,
			 .rank = 12},
	[C_FLAGS] = {"FLAGS", 11, "flags", .more = true},
	[C_READ_50] = {"R p50", 6, "read_p50", .right = true, .more = true, .descending = true},
	[C_READ_99] = {"R p99", 6, "read_p99", .right = true, .more = true, .descending = true},
	[C_READ_MAX] = {"R max", 6, "read_max", .right = true, .more = true, .descending = true},
	[C_WRITE_50] = {"W p50", 6, "write_p50", .right = true, .more = true, .descending = true},
	[C_WRITE_99] = {"W p99", 6, "write_p99", .right = true, .more = true, .descending = true},
	[C_WRITE_MAX] = {"W max", 6, "write_max", .right = true, .more = true, .descending = true},
	[C_FLUSH_50] = {"F p50", 6, "flush_p50", .right = true, .more = true, .descending = true},
	[C_FLUSH_99] = {"F p99", 6, "flush_p99", .right = true, .more = true, .descending = true},
	[C_FLUSH_MAX] = {"F max", 6, "flush_max", .right = true, .more = true, .descending = true},
	[C_SERVER] = {"SERVER", 21, "server", .more = true},
	[C_REPLIES] = {"REPLIES", 8, "replies", .more = true},
	[C_ALL] = {"REQS", 6, "requests", .right = true, .more = true, .descending = true},
	[C_ALL_READ] = {"READ", 6, "bytes_read", .right = true, .more = true, .descending = true},
	[C_ALL_WRITTEN] = {"WRITTEN", 7, "bytes_written", .right = true, .more = true,
			   .descending = true},
	[C_GAPS] = {"GAPS", 5, "gaps", .right = true, .more = true, .descending = true},
};

static size_t connection_count(void *ctx)
{
	const struct ui *ui = ctx;

	return ui->s ? ui->s->connection_count : 0;
}

static uint64_t connection_id(void *ctx, size_t row)
{
	return ((const struct ui *)ctx)->s->connections[row].id;
}

static bool connection_wanted(void *ctx, size_t row)
{
	const struct ui *ui = ctx;
	const struct connection_row *r = &ui->s->connections[row];

	if (r->ended && r->id <= ui->connections_cleared)
		return false;
	return !ui->only_export || r->export == ui->only_export;
}

static const char *state_of(const struct connection_row *r, enum style *style)
{
	static const char *const ends[] = {
		[NBDS_END_OPEN] = "open",   [NBDS_END_DISCONNECT] = "disc",
		[NBDS_END_ABORT] = "abort", [NBDS_END_FIN] = "fin",
		[NBDS_END_RST] = "reset",
	};

	if (r->ended || r->end != NBDS_END_OPEN) {
		*style = STYLE_DIM;
		return ends[r->end];
	}
	if (r->opaque)
		return "TLS";
	if (!r->sure)
		return "?";
	if (!r->negotiated.transmission) {
		return "hello";
	}
	*style = STYLE_GOOD;
	return r->negotiated.tls ? "TLS+" : "open";
}

/* A letter for each flag that a server may offer; explained in the help. */
static void put_flags(struct nbds_buf *b, const struct connection_row *r)
{
	static const struct {
		uint16_t flag;
		char letter;
	} letters[] = {
		{NBD_FLAG_READ_ONLY, 'r'},      {NBD_FLAG_SEND_FLUSH, 'F'},
		{NBD_FLAG_SEND_FUA, 'U'},       {NBD_FLAG_ROTATIONAL, 'o'},
		{NBD_FLAG_SEND_TRIM, 'T'},      {NBD_FLAG_SEND_WRITE_ZEROES, 'Z'},
		{NBD_FLAG_SEND_DF, 'D'},        {NBD_FLAG_CAN_MULTI_CONN, 'M'},
		{NBD_FLAG_SEND_RESIZE, 'R'},    {NBD_FLAG_SEND_CACHE, 'C'},
		{NBD_FLAG_SEND_FAST_ZERO, 'f'},
	};

	if (!r->negotiated.export_seen)
		return;
	for (size_t i = 0; i < sizeof(letters) / sizeof(letters[0]); i++)
		nbds_buf_printf(b, "%c",
				r->negotiated.transmission_flags & letters[i].flag
					? letters[i].letter
					: '-');
}

static void connection_cell(void *ctx, size_t row, unsigned column, struct nbds_buf *b,
			    enum style *style)
{
	const struct ui *ui = ctx;
	const struct connection_row *r = &ui->s->connections[row];
	const struct took *took = r->took;
	char addr[NBDS_ADDR_TEXT];

	switch ((enum connection_column)column) {
	case C_ID:
		nbds_buf_printf(b, "%" PRIu32, r->id);
		*style = STYLE_BOLD;
		break;
	case C_CLIENT:
		nbds_buf_puts(b, nbds_addr_text(&r->client, addr));
		break;
	case C_EXPORT:
		if (r->export)
			nbds_buf_printf(b, "\"%s\"", r->export_name);
		break;
	case C_STATE:
		nbds_buf_puts(b, state_of(r, style));
		break;
	case C_FLIGHT:
		put_some(b, r->in_flight);
		put_doubt(b, r->flight_doubt, style);
		break;
	case C_OLDEST:
		put_waiting(ui, b, r->waiting, r->oldest.since, style);
		put_doubt(b, r->flight_doubt, style);
		break;
	case C_REQUESTS:
		if (r->speed.requests >= 0.5)
			put_count(b, (uint64_t)(r->speed.requests + 0.5));
		break;
	case C_READ:
		put_bytes(b, r->speed.read);
		*style = STYLE_READ;
		break;
	case C_WRITE:
		put_bytes(b, r->speed.written);
		*style = STYLE_WRITE;
		break;
	case C_50:
		put_took(b, &r->all, r->all.p50);
		break;
	case C_99:
		put_took(b, &r->all, r->all.p99);
		break;
	case C_ERRORS:
		put_some(b, r->errors);
		*style = STYLE_VIOLATION;
		break;
	case C_FINDINGS:
		put_findings(b, r->findings, style);
		break;
	case C_FLAGS:
		put_flags(b, r);
		break;
	case C_READ_50:
		put_took(b, &took[KIND_READ], took[KIND_READ].p50);
		break;
	case C_READ_99:
		put_took(b, &took[KIND_READ], took[KIND_READ].p99);
		break;
	case C_READ_MAX:
		put_took(b, &took[KIND_READ], took[KIND_READ].max);
		break;
	case C_WRITE_50:
		put_took(b, &took[KIND_WRITE], took[KIND_WRITE].p50);
		break;
	case C_WRITE_99:
		put_took(b, &took[KIND_WRITE], took[KIND_WRITE].p99);
		break;
	case C_WRITE_MAX:
		put_took(b, &took[KIND_WRITE], took[KIND_WRITE].max);
		break;
	case C_FLUSH_50:
		put_took(b, &took[KIND_FLUSH], took[KIND_FLUSH].p50);
		break;
	case C_FLUSH_99:
		put_took(b, &took[KIND_FLUSH], took[KIND_FLUSH].p99);
		break;
	case C_FLUSH_MAX:
		put_took(b, &took[KIND_FLUSH], took[KIND_FLUSH].max);
		break;
	case C_UNFLUSHED:
		put_unflushed(b, r->unflushed_writes, r->unflushed_bytes, r->unflushed_rough);
		put_doubt(b, r->unflushed_doubt, style);
		break;
	case C_SERVER:
		nbds_buf_puts(b, nbds_addr_text(&r->server, addr));
		break;
	case C_REPLIES:
		if (r->negotiated.transmission || r->negotiated.inferred)
			nbds_buf_puts(b, r->negotiated.extended     ? "extended"
					 : r->negotiated.structured ? "struct"
								    : "simple");
		break;
	case C_ALL:
		put_some(b, r->requests);
		break;
	case C_ALL_READ:
		put_bytes(b, (double)r->read);
		break;
	case C_ALL_WRITTEN:
		put_bytes(b, (double)r->written);
		break;
	case C_GAPS:
		put_some(b, r->gaps);
		*style = STYLE_HAZARD;
		break;
	case C_COUNT:
		break;
	}
}

static int connection_compare(void *ctx, size_t a, size_t b, unsigned column)
{
	const struct ui *ui = ctx;
	const struct connection_row *x = &ui->s->connections[a], *y = &ui->s->connections[b];
	const struct took *s = x->took, *t = y->took;

	switch ((enum connection_column)column) {
	case C_ID:
		return order_u64(x->id, y->id);
	case C_CLIENT:
		return order_addr(&x->client, &y->client);
	case C_EXPORT:
		return strcmp(x->export_name, y->export_name);
	case C_STATE:
		return x->ended != y->ended ? (x->ended ? 1 : -1) : (int)x->end - (int)y->end;
	case C_FLIGHT:
		return order_u64(x->in_flight, y->in_flight);
	case C_OLDEST:
		return order_age(x->waiting, x->oldest.since, y->waiting, y->oldest.since);
	case C_REQUESTS:
		return order_double(x->speed.requests, y->speed.requests);
	case C_READ:
		return order_double(x->speed.read, y->speed.read);
	case C_WRITE:
		return order_double(x->speed.written, y->speed.written);
	case C_50:
		return order_u64(x->all.p50, y->all.p50);
	case C_99:
		return order_u64(x->all.p99, y->all.p99);
	case C_ERRORS:
		return order_u64(x->errors, y->errors);
	case C_FINDINGS:
		return order_findings(x->findings, y->findings);
	case C_FLAGS:
		return order_u64(x->negotiated.transmission_flags,
				 y->negotiated.transmission_flags);
	case C_READ_50:
		return order_u64(s[KIND_READ].p50, t[KIND_READ].p50);
	case C_READ_99:
		return order_u64(s[KIND_READ].p99, t[KIND_READ].p99);
	case C_READ_MAX:
		return order_u64(s[KIND_READ].max, t[KIND_READ].max);
	case C_WRITE_50:
		return order_u64(s[KIND_WRITE].p50, t[KIND_WRITE].p50);
	case C_WRITE_99:
		return order_u64(s[KIND_WRITE].p99, t[KIND_WRITE].p99);
	case C_WRITE_MAX:
		return order_u64(s[KIND_WRITE].max, t[KIND_WRITE].max);
	case C_FLUSH_50:
		return order_u64(s[KIND_FLUSH].p50, t[KIND_FLUSH].p50);
	case C_FLUSH_99:
		return order_u64(s[KIND_FLUSH].p99, t[KIND_FLUSH].p99);
	case C_FLUSH_MAX:
		return order_u64(s[KIND_FLUSH].max, t[KIND_FLUSH].max);
	case C_UNFLUSHED:
		return order_u64(x->unflushed_bytes, y->unflushed_bytes);
	case C_SERVER:
		return order_addr(&x->server, &y->server);
	case C_REPLIES:
		return (x->negotiated.extended * 2 + x->negotiated.structured) -
		       (y->negotiated.extended * 2 + y->negotiated.structured);
	case C_ALL:
		return order_u64(x->requests, y->requests);
	case C_ALL_READ:
		return order_u64(x->read, y->read);
	case C_ALL_WRITTEN:
		return order_u64(x->written, y->written);
	case C_GAPS:
		return order_u64(x->gaps, y->gaps);
	case C_COUNT:
		break;
	}
	return 0;
}

static bool connection_number(void *ctx, size_t row, unsigned column, uint64_t *value)
{
	const struct ui *ui = ctx;
	const struct connection_row *r = &ui->s->connections[row];

	switch ((enum connection_column)column) {
	case C_ID:
		*value = r->id;
		return true;
	case C_FLIGHT:
		*value = r->in_flight;
		return true;
	case C_OLDEST:
		*value = r->waiting ? (uint64_t)ui_age(ui, r->oldest.since) : 0;
		return true;
	case C_REQUESTS:
		*value = rate(r->speed.requests);
		return true;
	case C_READ:
		*value = rate(r->speed.read);
		return true;
	case C_WRITE:
		*value = rate(r->speed.written);
		return true;
	case C_50:
		*value = r->all.p50;
		return true;
	case C_99:
		*value = r->all.p99;
		return true;
	case C_ERRORS:
		*value = r->errors;
		return true;
	case C_FINDINGS:
		*value = all_findings(r->findings);
		return true;
	case C_UNFLUSHED:
		*value = r->unflushed_bytes;
		return true;
	case C_READ_50:
		*value = r->took[KIND_READ].p50;
		return true;
	case C_READ_99:
		*value = r->took[KIND_READ].p99;
		return true;
	case C_READ_MAX:
		*value = r->took[KIND_READ].max;
		return true;
	case C_WRITE_50:
		*value = r->took[KIND_WRITE].p50;
		return true;
	case C_WRITE_99:
		*value = r->took[KIND_WRITE].p99;
		return true;
	case C_WRITE_MAX:
		*value = r->took[KIND_WRITE].max;
		return true;
	case C_FLUSH_50:
		*value = r->took[KIND_FLUSH].p50;
		return true;
	case C_FLUSH_99:
		*value = r->took[KIND_FLUSH].p99;
		return true;
	case C_FLUSH_MAX:
		*value = r->took[KIND_FLUSH].max;
		return true;
	case C_ALL:
		*value = r->requests;
		return true;
	case C_ALL_READ:
		*value = r->read;
		return true;
	case C_ALL_WRITTEN:
		*value = r->written;
		return true;
	case C_GAPS:
		*value = r->gaps;
		return true;
	case C_CLIENT:
	case C_EXPORT:
	case C_STATE:
	case C_FLAGS:
	case C_SERVER:
	case C_REPLIES:
	case C_COUNT:
		break;
	}
	return false;
}

static void connection_total(void *ctx, const size_t *rows, size_t count, unsigned column,
			     struct nbds_buf *b, enum style *style)
{
	const struct ui *ui = ctx;
	uint64_t sum = 0, findings[NBDS_VIOLATION + 1] = {0};

	for (size_t i = 0; i < count; i++) {
		const struct connection_row *r = &ui->s->connections[rows[i]];
		uint64_t value;

		sum += connection_number(ctx, rows[i], column, &value) ? value : 0;
		for (int k = NBDS_NOTE; k <= NBDS_VIOLATION; k++)
			findings[k] += r->findings[k];
	}
	switch ((enum connection_column)column) {
	case C_ID:
		nbds_buf_puts(b, "all");
		break;
	case C_CLIENT:
		nbds_buf_count(b, count, "connection", NULL);
		break;
	case C_READ:
	case C_WRITE:
	case C_UNFLUSHED:
	case C_ALL_READ:
	case C_ALL_WRITTEN:
		put_bytes(b, (double)sum);
		break;
	case C_FLIGHT:
	case C_REQUESTS:
	case C_ERRORS:
	case C_ALL:
	case C_GAPS:
		put_some(b, sum);
		break;
	case C_FINDINGS:
		put_findings(b, findings, style);
		break;
	default:
		break;
	}
}

static const struct table_source connection_source = {
	.columns = connection_columns,
	.column_count = C_COUNT,
	.count = connection_count,
	.id = connection_id,
	.cell = connection_cell,
	.compare = connection_compare,
	.number = connection_number,
	.total = connection_total,
	.wanted = connection_wanted,
	.empty = "No connection that speaks NBD has been seen yet.",
};

static void connections_update(struct ui *ui)
{
	table_update(&ui->connections);
}

/* --- one connection --- */

#define DETAIL_LABEL 13

static int draw_label(int y, int x, int width, int rows, int *skip, const char *label,
		      const char *text)
{
	int before = *skip, used = ui_wrap(y, x + DETAIL_LABEL, width - DETAIL_LABEL, rows, skip,
					   STYLE_PLAIN, text);

	if (used && !before)
		put(y, x, DETAIL_LABEL, STYLE_DIM, label);
	return used;
}

static void outstanding_text(const struct ui *ui, const struct nbds_outstanding *o,
			     struct nbds_buf *b)
{
	char name[NBDS_TEXT_OF_MAX], s[SHORT_TEXT];

	nbds_buf_printf(b, "%s for %s", nbds_text_of(&nbds_commands, o->type, name),
			short_time(s, (double)ui_age(ui, o->since)));
	if (o->length) {
		nbds_buf_puts(b, ": ");
		nbds_buf_size(b, o->length);
		nbds_buf_printf(b, " at 0x%" PRIx64, o->offset);
	}
	if (o->flags) {
		nbds_buf_puts(b, ", ");
		nbds_buf_flags(b, &nbds_command_flags, o->flags);
	}
	nbds_buf_printf(b, " (frame %" PRIu64 ", cookie 0x%" PRIx64 ")", o->frame, o->cookie);
}

static void draw_connection(struct ui *ui, int y, int rows)
{
	const struct snapshot *s = ui->s;
	size_t row = table_row(&ui->connections);
	int skip = ui->connection_scroll, used = 0;
	struct nbds_buf line = {0};
	const char *at;

	put_row(y, STYLE_HEAD);
	if (row == SIZE_MAX)
		return;
	putf(y, 0, screen_columns, STYLE_HEAD,
	     "Connection %" PRIu32 "  (J and K scroll, Enter shows its messages, Esc closes)",
	     s->connections[row].id);
	y++;
	rows--;
	hit_add(y, 0, screen_columns, rows, HIT_DETAIL, 0);
	if (s->wanted.connection != s->connections[row].id) {
		put(y, 0, screen_columns, STYLE_DIM,
		    ui->paused ? "Paused: details of another connection come when it goes on."
			       : "...");
		return;
	}
	for (unsigned i = 0; i < s->outstanding_count && used < rows; i++) {
		nbds_buf_clear(&line);
		outstanding_text(ui, &s->outstanding[i], &line);
		used += draw_label(y + used, 0, screen_columns, rows - used, &skip,
				   i ? "" : "waiting", nbds_buf_text(&line));
	}
	at = nbds_buf_text(&s->detail);
	while (*at && used < rows) {
		const char *tab = strchr(at, '\t'), *end = strchr(at, '\n');
		char label[32];

		if (!tab || !end)
			break;
		snprintf(label, sizeof(label), "%.*s", (int)(tab - at), at);
		nbds_buf_clear(&line);
		nbds_buf_add(&line, tab + 1, (size_t)(end - tab - 1));
		used += draw_label(y + used, 0, screen_columns, rows - used, &skip, label,
				   nbds_buf_text(&line));
		at = end + 1;
	}
	nbds_buf_free(&line);
	/* No further down than to the last line. */
	if (skip > 0 || (!used && ui->connection_scroll))
		ui->connection_scroll -= ui->connection_scroll > 0;
}

static void connections_draw(struct ui *ui, int y, int rows)
{
	int detail = 0;

	if (ui->only_export) {
		put_row(y, STYLE_PLAIN);
		putf(y, 0, screen_columns, STYLE_BOLD,
		     "Connections of export \"%s\" (Esc: all of them)", ui->only_name);
		y++;
		rows--;
	}
	if (ui->connection_detail)
		detail = rows / 2 > 6 ? rows / 2 : rows - 4;
	if (ui->connection_detail && rows > 40)
		detail = rows - 18;
	table_draw(&ui->connections, y, rows - detail);
	if (ui->s && ui->s->connections_left && !detail)
		putf(y + rows - 1, 0, screen_columns, STYLE_DIM,
		     "%zu older connections are not listed", ui->s->connections_left);
	if (detail)
		draw_connection(ui, y + rows - detail, detail);
}

static void connection_messages(struct ui *ui)
{
	size_t row = table_row(&ui->connections);
	char filter[40];

	if (row == SIZE_MAX)
		return;
	snprintf(filter, sizeof(filter), "conn == %" PRIu32, ui->s->connections[row].id);
	messages_show(ui, filter, &ui->s->connections[row].id, 1, 0);
}

void connection_show(struct ui *ui, uint32_t id)
{
	if (!ui_connection(ui, id)) {
		ui_notice(ui, id ? "The connection is not listed any more."
				 : "This is about no connection in particular.");
		return;
	}
	ui->only_export = 0;
	ui->connections.filter[0] = '\0';
	ui->connections_cleared = 0;
	table_update(&ui->connections);
	table_select(&ui->connections, id);
	ui->connection_detail = true;
	ui->connection_scroll = 0;
	ui_go(ui, SCREEN_CONNECTIONS);
}

static bool connections_action(struct ui *ui, enum action action)
{
	size_t row = table_row(&ui->connections);
	char filter[40];

	if (table_action(&ui->connections, action)) {
		ui->connection_scroll = 0;
		ui_want(ui);
		return true;
	}
	switch (action) {
	case ACTION_ENTER:
		if (ui->connection_detail) {
			connection_messages(ui);
			return true;
		}
		ui->connection_detail = true;
		ui->connection_scroll = 0;
		ui_want(ui);
		return true;
	case ACTION_MESSAGES:
		connection_messages(ui);
		return true;
	case ACTION_EVIDENCE:
		if (row != SIZE_MAX) {
			snprintf(filter, sizeof(filter), "conn == %" PRIu32,
				 ui->s->connections[row].id);
			findings_show(ui, filter);
		}
		return true;
	case ACTION_DETAIL_DOWN:
		ui->connection_scroll++;
		return true;
	case ACTION_DETAIL_UP:
		ui->connection_scroll -= ui->connection_scroll > 0;
		return true;
	case ACTION_BACK:
		if (ui->connection_detail) {
			ui->connection_detail = false;
			return true;
		}
		if (ui->only_export) {
			ui->only_export = 0;
			table_update(&ui->connections);
			ui_go(ui, SCREEN_EXPORTS);
			return true;
		}
		return false;
	case ACTION_CLEAR:
		hide_finished(ui);
		return true;
	case ACTION_UNCLEAR:
		show_finished(ui);
		return true;
	default:
		return false;
	}
}

static struct pick *connections_pick(struct ui *ui, char *name, size_t size)
{
	size_t row = table_row(&ui->connections);
	const struct connection_row *r = row == SIZE_MAX ? NULL : &ui->s->connections[row];
	struct pick *p;
	char what[80];

	if (!r)
		return NULL;
	snprintf(what, sizeof(what), "connection %" PRIu32, r->id);
	snprintf(name, size, "connection-%" PRIu32 ".pcapng", r->id);
	p = pick_new(what);
	if (p)
		pick_connection(p, r);
	return p;
}

static bool connections_search(struct ui *ui, const char *text, int direction, bool here)
{
	return table_search(&ui->connections, text, direction, here);
}

static void connections_text(struct ui *ui, struct nbds_buf *b)
{
	table_text(&ui->connections, b);
}

static void connections_click(struct ui *ui, enum hit kind, int value, bool twice)
{
	if (kind == HIT_DETAIL)
		return;
	table_click(&ui->connections, kind, value);
	ui_want(ui);
	if (twice && kind == HIT_ROW)
		connections_action(ui, ACTION_ENTER);
}

const struct screen_view view_connections = {
	.title = "Connections",
	.draw = connections_draw,
	.action = connections_action,
	.update = connections_update,
	.search = connections_search,
	.text = connections_text,
	.click = connections_click,
	.pick = connections_pick,
};

void lists_init(struct ui *ui)
{
	table_init(&ui->exports, &export_source, ui, X_NAME);
	table_init(&ui->connections, &connection_source, ui, C_ID);
}
