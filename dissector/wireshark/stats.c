/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats.c - the tap "nbd", and the statistics that listen to it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

static nstime_t time_of(int64_t ns)
{
	return (nstime_t){ns / 1000000000, (int)(ns % 1000000000)};
}

static struct nbds_tap_info *info_new(packet_info *pinfo, enum nbds_tap_kind kind,
				      const struct conn *k, const struct msg *m,
				      const struct op *op)
{
	struct nbds_tap_info *info = wmem_new0(pinfo->pool, struct nbds_tap_info);

	info->kind = kind;
	info->connection = k ? k->c : NULL;
	if (m) {
		info->name = nbds_shark_name(m->name);
		info->from_server = m->from == NBDS_SERVER;
		info->request = m->type == NBDS_MSG_REQUEST;
		info->command = m->type >= NBDS_MSG_REQUEST;
	}
	if (op && info->command) {
		info->type = op->type;
		info->flags = op->flags;
		info->offset = op->offset;
		info->length = op->length;
	}
	return info;
}

void nbds_tap_message(packet_info *pinfo, const struct conn *k, const struct msg *m,
		      const struct op *op)
{
	if (have_tap_listener(nbds_shark_tap))
		tap_queue_packet(nbds_shark_tap, pinfo,
				 info_new(pinfo, NBDS_TAP_MESSAGE, k, m, op));
}

void nbds_tap_reply(packet_info *pinfo, const struct conn *k, const struct msg *m,
		    const struct op *op)
{
	struct nbds_tap_info *info;

	if (!have_tap_listener(nbds_shark_tap))
		return;
	info = info_new(pinfo, NBDS_TAP_REPLY, k, m, op);
	info->error = op->failed ? op->error : 0;
	info->data_bytes = op->data_bytes;
	info->timed = op->request != NO_INDEX;
	info->request_time = time_of(op->request_time);
	info->reply_time = time_of(op->end_time);
	tap_queue_packet(nbds_shark_tap, pinfo, info);
}

void nbds_tap_finding(packet_info *pinfo, const struct nbds_finding *f, bool last)
{
	struct nbds_tap_info *info;

	if (!have_tap_listener(nbds_shark_tap))
		return;
	info = info_new(pinfo, NBDS_TAP_FINDING, NULL, NULL, NULL);
	info->finding = f;
	info->last = last;
	tap_queue_packet(nbds_shark_tap, pinfo, info);
}

/* --- service response time: -z nbd,srt --- */

/* Commands have a row each by their number, all unknown ones the last. */
static int srt_row(uint16_t type)
{
	return type < nbds_commands.count ? type : (int)nbds_commands.count;
}

static void srt_init(struct register_srt *srt, GArray *tables)
{
	srt_stat_table *table;

	(void)srt;
	table = init_srt_table("NBD commands", NULL, tables, (int)nbds_commands.count + 1,
			       "Command", "nbd.type", NULL);
	for (size_t i = 0; i < nbds_commands.count; i++)
		init_srt_table_row(table, srt_row((uint16_t)nbds_commands.entries[i].value),
				   nbds_commands.entries[i].name);
	init_srt_table_row(table, (int)nbds_commands.count, "unknown command");
}

static tap_packet_status srt_packet(void *data, packet_info *pinfo, epan_dissect_t *edt _U_,
				    const void *told, tap_flags_t flags _U_)
{
	const struct nbds_tap_info *info = told;
	srt_data_t *srt = data;
	nstime_t took, began;

	if (info->kind != NBDS_TAP_REPLY || !info->command || !info->timed)
		return TAP_PACKET_DONT_REDRAW;
	/* The table takes the frame's time for the end. */
	nstime_delta(&took, &info->reply_time, &info->request_time);
	nstime_delta(&began, &pinfo->abs_ts, &took);
	add_srt_table_data(g_array_index(srt->srt_array, srt_stat_table *, 0), srt_row(info->type),
			   &began, pinfo);
	return TAP_PACKET_REDRAW;
}

/* --- the tree: -z nbd,tree --- */

static struct {
	int requests, flags, replies, errors, options, findings;
} nodes;

/* Commands whose lengths have a branch of their own. */
static const uint16_t sized[2] = {NBD_CMD_READ, NBD_CMD_WRITE};
static char sized_names[2][64];

static void tree_init(stats_tree *st)
{
	nodes.requests = stats_tree_create_pivot(st, "Requests", 0);
	for (int i = 0; i < 2; i++) {
		snprintf(sized_names[i], sizeof(sized_names[i]), "Bytes of %s",
			 nbds_name_of(&nbds_commands, sized[i]));
		stats_tree_create_range_node(st, sized_names[i], 0, "0-511", "512-4095", "4096",
					     "4097-16384", "16385-65536", "65537-262144",
					     "262145-1048576", "1048577-4194304", "4194305-", NULL);
	}
	nodes.flags = stats_tree_create_pivot(st, "Command flags", 0);
	nodes.replies = stats_tree_create_pivot(st, "Replies", 0);
	nodes.errors = stats_tree_create_pivot(st, "Errors", 0);
	nodes.options = stats_tree_create_pivot(st, "Handshake", 0);
	nodes.findings = stats_tree_create_pivot(st, "Findings", 0);
}

static void tree_request(stats_tree *st, const struct nbds_tap_info *info)
{
	struct nbds_flag_iter it;
	const char *flag;

	stats_tree_tick_pivot(st, nodes.requests, info->name);
	for (int i = 0; i < 2; i++) {
		if (info->type != sized[i])
			continue;
		tick_stat_node(st, sized_names[i], 0, false);
		stats_tree_tick_range(st, sized_names[i], 0, (int)MIN(info->length, G_MAXINT));
	}
	nbds_flags_begin(&it, &nbds_command_flags, info->flags);
	while ((flag = nbds_flags_next(&it)))
		stats_tree_tick_pivot(st, nodes.flags, flag);
}

static tap_packet_status tree_packet(stats_tree *st, packet_info *pinfo _U_,
				     epan_dissect_t *edt _U_, const void *told,
				     tap_flags_t flags _U_)
{
	const struct nbds_tap_info *info = told;
	char error[NBDS_TEXT_OF_MAX];

	switch (info->kind) {
	case NBDS_TAP_MESSAGE:
		if (info->request)
			tree_request(st, info);
		else if (!info->command)
			stats_tree_tick_pivot(st, nodes.options, info->name);
		else
			stats_tree_tick_pivot(st, nodes.replies, info->name);
		break;
	case NBDS_TAP_REPLY:
		if (info->command && info->error)
			stats_tree_tick_pivot(st, nodes.errors,
					      nbds_text_of(&nbds_errors, info->error, error));
		break;
	case NBDS_TAP_FINDING:
		if (info->last)
			stats_tree_tick_pivot(st, nodes.findings, info->finding->rule->name);
		break;
	}
	return TAP_PACKET_REDRAW;
}

/* --- what is wrong, by rule and by export: -z nbd_consistency,tree --- */

/* Names of exports are anybody's: so many have a node of their own. */
#define EXPORTS_MAX 1000u
#define NODE_ROOM   160u

static struct {
	int levels, rules, exports;
	GHashTable *seen; /* names of nodes of exports */
} wrong;

static void wrong_cleanup(stats_tree *st _U_)
{
	if (wrong.seen)
		g_hash_table_destroy(wrong.seen);
	wrong.seen = NULL;
}

static void wrong_init(stats_tree *st)
{
	wrong_cleanup(st);
	wrong.seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	wrong.levels = stats_tree_create_node(st, "Findings", 0, STAT_DT_INT, true);
	wrong.rules = stats_tree_create_node(st, "By rule", 0, STAT_DT_INT, true);
	wrong.exports = stats_tree_create_node(st, "By export", 0, STAT_DT_INT, true);
}

/* `Export "disk" of 10.0.0.1:10809`; a node's name, which cannot be that of a rule. */
static const char *export_node(const struct nbds_finding *f, char buf[NODE_ROOM])
{
	const struct nbds_connection *c = f->connection ? nbds_watch_connection(f->connection)
							: NULL;
	char name[64], address[NBDS_ADDR_TEXT];

	if (!f->export_name && !c)
		return "No export";
	g_strlcpy(buf, f->export_name ? "Default export" : "Export not known", NODE_ROOM);
	if (f->export_name && f->export_name_len) {
		nbds_escape_text(f->export_name, f->export_name_len, name, sizeof(name));
		snprintf(buf, NODE_ROOM, "Export \"%s\"", name);
	}
	if (c) {
		g_strlcat(buf, " of ", NODE_ROOM);
		g_strlcat(buf, nbds_addr_text(&c->server, address), NODE_ROOM);
	}
	if (wrong.seen && g_hash_table_contains(wrong.seen, buf))
		return buf;
	if (!wrong.seen || g_hash_table_size(wrong.seen) >= EXPORTS_MAX)
		return "Other exports";
	g_hash_table_add(wrong.seen, g_strdup(buf));
	return buf;
}

static void wrong_add(stats_tree *st, int under, const char *node, const char *leaf, int count)
{
	int id = increase_stat_node(st, node, under, true, count);

	increase_stat_node(st, leaf, id, false, count);
}

static tap_packet_status wrong_packet(stats_tree *st, packet_info *pinfo _U_,
				      epan_dissect_t *edt _U_, const void *told,
				      tap_flags_t flags _U_)
{
	const struct nbds_tap_info *info = told;
	char node[NODE_ROOM], rule[NODE_ROOM];
	const char *export, *level;
	int count;

	if (info->kind != NBDS_TAP_FINDING || !info->last)
		return TAP_PACKET_DONT_REDRAW;
	count = (int)MIN(info->finding->count, G_MAXINT);
	level = nbds_severity_name(info->finding->severity);
	export = export_node(info->finding, node);
	snprintf(rule, sizeof(rule), "%s (%s)", info->finding->rule->name, level);
	increase_stat_node(st, "Findings", 0, true, count);
	increase_stat_node(st, level, wrong.levels, false, count);
	increase_stat_node(st, "By rule", 0, true, count);
	wrong_add(st, wrong.rules, rule, export, count);
	increase_stat_node(st, "By export", 0, true, count);
	wrong_add(st, wrong.exports, export, rule, count);
	return TAP_PACKET_REDRAW;
}

/* --- exports and their connections: -z nbd,exports --- */

enum stats_column {
	COLUMN_EXPORT,
	COLUMN_CONNECTION,
	COLUMN_CLIENT,
	COLUMN_SERVER,
	COLUMN_MULTI_CONN,
	COLUMN_REQUESTS,
	COLUMN_READ,
	COLUMN_WRITTEN,
	COLUMN_FUA,
	COLUMN_ERRORS,
	COLUMN_FLUSHES,
	COLUMN_UNFLUSHED_WRITES,
	COLUMN_UNFLUSHED_BYTES,
	COLUMN_FINDINGS,
	COLUMNS,
};

/* More connections than this are left out. */
#define ROWS_MAX 65536u

static stat_tap_table_item columns[COLUMNS] = {
	/* clang-format off */
	[COLUMN_EXPORT] = {TABLE_ITEM_STRING, TAP_ALIGN_LEFT, "Export", "%-20s"},
	[COLUMN_CONNECTION] = {TABLE_ITEM_UINT, TAP_ALIGN_RIGHT, "Connection", "%5u"},
	[COLUMN_CLIENT] = {TABLE_ITEM_STRING, TAP_ALIGN_LEFT, "Client", "%-24s"},
	[COLUMN_SERVER] = {TABLE_ITEM_STRING, TAP_ALIGN_LEFT, "Server", "%-24s"},
	[COLUMN_MULTI_CONN] = {TABLE_ITEM_STRING, TAP_ALIGN_LEFT, "Multi-conn", "%-3s"},
	[COLUMN_REQUESTS] = {TABLE_ITEM_UINT, TAP_ALIGN_RIGHT, "Requests", "%9u"},
	[COLUMN_READ] = {TABLE_ITEM_STRING, TAP_ALIGN_RIGHT, "Bytes read", "%s"},
	[COLUMN_WRITTEN] = {TABLE_ITEM_STRING, TAP_ALIGN_RIGHT, "Bytes written", "%s"},
	[COLUMN_FUA] = {TABLE_ITEM_UINT, TAP_ALIGN_RIGHT, "With FUA", "%8u"},
	[COLUMN_ERRORS] = {TABLE_ITEM_UINT, TAP_ALIGN_RIGHT, "Errors", "%8u"},
	[COLUMN_FLUSHES] = {TABLE_ITEM_UINT, TAP_ALIGN_RIGHT, "Flushes", "%8u"},
	[COLUMN_UNFLUSHED_WRITES] = {TABLE_ITEM_UINT, TAP_ALIGN_RIGHT, "Unflushed writes", "%8u"},
	[COLUMN_UNFLUSHED_BYTES] = {TABLE_ITEM_STRING, TAP_ALIGN_RIGHT, "Unflushed bytes", "%s"},
	[COLUMN_FINDINGS] = {TABLE_ITEM_UINT, TAP_ALIGN_RIGHT, "Findings", "%8u"},
	/* clang-format on */
};

static void exports_init(stat_tap_table_ui *ui)
{
	stat_tap_table *table = stat_tap_find_table(ui, "NBD connections");

	if (table) {
		if (ui->stat_tap_reset_table_cb)
			ui->stat_tap_reset_table_cb(table);
		return;
	}
	table = stat_tap_init_table("NBD connections", COLUMNS, 0, "nbd.conn == %u");
	stat_tap_add_table(ui, table);
}

static void set_text(stat_tap_table_item_type *item, const char *text)
{
	if (item->type == TABLE_ITEM_STRING && !strcmp(item->value.string_value, text))
		return;
	if (item->type == TABLE_ITEM_STRING)
		g_free((char *)item->value.string_value);
	item->type = TABLE_ITEM_STRING;
	item->value.string_value = g_strdup(text);
}

/* Integers have 32 bits, and a float is shown as one. */
static void set_count(stat_tap_table_item_type *item, uint64_t value)
{
	item->type = TABLE_ITEM_UINT;
	item->value.uint_value = (unsigned)MIN(value, UINT32_MAX);
}

/* Bytes are text that is sorted as they are: with room for all 64 bits. */
static void set_bytes(stat_tap_table_item_type *item, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%20" PRIu64, value);
	set_text(item, text);
}

static void set_row(stat_tap_table *table, const struct nbds_connection *c)
{
	stat_tap_table_item_type empty[COLUMNS] = {0}, *row;
	uint64_t errors = 0, fua = 0;
	char text[1024], address[NBDS_ADDR_TEXT];

	if (!c->id || c->id > ROWS_MAX)
		return;
	while (table->num_elements < c->id)
		stat_tap_init_table_row(table, table->num_elements, COLUMNS, empty);
	row = stat_tap_get_field_data(table, c->id - 1, 0);
	for (int i = 0; i < NBDS_COMMAND_KINDS; i++) {
		fua += c->commands[i].fua;
		for (unsigned k = 0; k < c->commands[i].error_kinds; k++)
			errors += c->commands[i].errors[k].count;
	}
	nbds_escape_text(c->export_name ? c->export_name : "", c->export_name_len, text,
			 sizeof(text));
	set_text(&row[COLUMN_EXPORT], text[0] ? text : c->export_name_seen ? "(default)" : "-");
	row[COLUMN_CONNECTION].type = TABLE_ITEM_UINT;
	row[COLUMN_CONNECTION].value.uint_value = c->id;
	set_text(&row[COLUMN_CLIENT], nbds_addr_text(&c->client, address));
	set_text(&row[COLUMN_SERVER], nbds_addr_text(&c->server, address));
	set_text(&row[COLUMN_MULTI_CONN],
		 !c->negotiated.export_seen                                   ? "?"
		 : c->negotiated.transmission_flags & NBD_FLAG_CAN_MULTI_CONN ? "yes"
									      : "no");
	set_count(&row[COLUMN_REQUESTS], c->requests);
	set_bytes(&row[COLUMN_READ], c->commands[NBD_CMD_READ].data_bytes);
	set_bytes(&row[COLUMN_WRITTEN], c->commands[NBD_CMD_WRITE].data_bytes);
	set_count(&row[COLUMN_FUA], fua);
	set_count(&row[COLUMN_ERRORS], errors);
	set_count(&row[COLUMN_FLUSHES], c->flushes_total);
	set_count(&row[COLUMN_UNFLUSHED_WRITES], c->unflushed_writes);
	set_bytes(&row[COLUMN_UNFLUSHED_BYTES], c->unflushed_bytes);
	set_count(&row[COLUMN_FINDINGS], nbds_watch_findings(c->id));
}

static tap_packet_status exports_packet(void *data, packet_info *pinfo _U_, epan_dissect_t *edt _U_,
					const void *told, tap_flags_t flags _U_)
{
	const struct nbds_tap_info *info = told;
	const struct nbds_connection *c = info->connection;
	stat_data_t *stat = data;
	stat_tap_table *table;

	if (!c)
		return TAP_PACKET_DONT_REDRAW;
	table = g_array_index(stat->stat_tap_data->tables, stat_tap_table *, 0);
	set_row(table, c);
	/* A flush can cover what other connections wrote. */
	if (info->kind == NBDS_TAP_REPLY && info->type == NBD_CMD_FLUSH && c->export)
		for (unsigned i = 0; i < c->export->connection_count; i++) {
			const struct nbds_connection *o =
				nbds_watch_connection(c->export->connections[i]);

			if (o)
				set_row(table, o);
		}
	return TAP_PACKET_REDRAW;
}

static void exports_reset(stat_tap_table *table)
{
	for (unsigned row = 0; row < table->num_elements; row++)
		for (unsigned i = COLUMN_REQUESTS; i < COLUMNS; i++) {
			stat_tap_table_item_type *item = stat_tap_get_field_data(table, row, i);

			if (columns[i].type == TABLE_ITEM_STRING)
				set_bytes(item, 0);
			else
				set_count(item, 0);
		}
}

static void exports_free(stat_tap_table *table _U_, unsigned row _U_, unsigned column _U_,
			 stat_tap_table_item_type *item)
{
	if (item->type == TABLE_ITEM_STRING)
		g_free((char *)item->value.string_value);
}

void nbds_stats_register(void)
{
	static stat_tap_table_ui exports = {
		.group = REGISTER_PACKET_STAT_GROUP_UNSORTED,
		.title = "NBD Exports",
		.tap_name = "nbd",
		.cli_string = "nbd,exports",
		.stat_tap_init_cb = exports_init,
		.packet_func = exports_packet,
		.stat_tap_reset_table_cb = exports_reset,
		.stat_tap_free_table_item_cb = exports_free,
		.nfields = COLUMNS,
		.fields = columns,
	};

	register_srt_table(nbds_shark_proto, "nbd", 1, srt_packet, srt_init, NULL);
	stats_tree_register_plugin("nbd", "nbd", "NBD", 0, tree_packet, tree_init, NULL);
	stats_tree_register_plugin("nbd", "nbd_consistency", "NBD Consistency", 0, wrong_packet,
				   wrong_init, wrong_cleanup);
	register_stat_tap_table_ui(&exports);
}
