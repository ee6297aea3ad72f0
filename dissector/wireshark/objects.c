/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * objects.c - what was written to an export, as files: *Export Objects > NBD*,
 * tshark --export-objects nbd,FOLDER.
 *
 *	WRITE ──► block ─┐ of 4 KiB, by offset        NAME.img             all of it, if small
 *	WRITE ──► block ─┤                      ──►   NAME.at-0xOFFSET.bin  else each run
 *	          ...    ┘ (target: an export)
 *
 * Wireshark wants each object whole, in memory. So what is kept is bounded by a
 * preference, and what was left out for that is told by an object of its own.
 *
 * When objects are whole is known where the file was read before: with the last frame that
 * has payload of a WRITE. tshark in a single pass draws its taps at the end; a listener of
 * our own is drawn before that of the objects, as it was registered later.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "prefs.h"
#include "shark.h"

#define BLOCK     4096u
#define IMAGE_MAX (UINT64_C(64) << 20) /* larger ones are told as runs */
#define FILES_MAX 10000u
#define NAME_ROOM 160u /* of a file's name, what is the export's */

struct object_block {
	uint64_t number; /* offset / BLOCK */
	unsigned count;  /* bytes of it that were written */
	uint8_t written[BLOCK / 8];
	uint8_t data[BLOCK];
};

/* What was written to an export. */
struct target {
	const struct share *share;
	uint32_t conn, frame; /* the first that wrote */
	GTree *blocks;        /* by number */
	uint64_t end;         /* of what was written */
	uint64_t written, left_out;
};

struct written_run {
	uint64_t from, to;
};

enum item_kind { ITEM_WRITE, ITEM_ZERO, ITEM_END };

struct item {
	enum item_kind kind;
	struct conn *k;
	uint64_t offset, length;
	const uint8_t *bytes;
};

static int objects_tap = -1;

static struct {
	export_object_list_t *list; /* whose objects these are; NULL: nobody's */
	bool told;                  /* all of it */
	GHashTable *by_share;       /* struct target */
	GPtrArray *targets;
	GHashTable *names; /* that files have */
	unsigned files;
	uint64_t room; /* bytes that may still be kept */
} o;

/* --- keeping --- */

static void target_free(void *data)
{
	struct target *t = data;

	g_tree_destroy(t->blocks);
	g_free(t);
}

void nbds_objects_forget(void)
{
	if (o.targets) {
		g_hash_table_destroy(o.by_share);
		g_hash_table_destroy(o.names);
		g_ptr_array_free(o.targets, TRUE);
	}
	memset(&o, 0, sizeof(o));
}

static void begin(export_object_list_t *list)
{
	nbds_objects_forget();
	o.list = list;
	o.room = (uint64_t)nbds_prefs.objects << 20;
	o.by_share = g_hash_table_new(g_direct_hash, g_direct_equal);
	o.names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
	o.targets = g_ptr_array_new_with_free_func(target_free);
}

static int compare(const void *a, const void *b, void *unused _U_)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool take(uint64_t bytes)
{
	if (o.room < bytes)
		return false;
	o.room -= bytes;
	return true;
}

/* NULL: no more room. */
static struct target *target_of(struct conn *k, uint32_t frame)
{
	struct share *share = nbds_watch_share(k);
	struct target *t = g_hash_table_lookup(o.by_share, share);

	if (t || !take(sizeof(*t)))
		return t;
	t = g_new0(struct target, 1);
	t->share = share;
	t->conn = k->id;
	t->frame = frame;
	t->blocks = g_tree_new_full(compare, NULL, NULL, g_free);
	g_hash_table_insert(o.by_share, share, t);
	g_ptr_array_add(o.targets, t);
	return t;
}

static bool is_written(const struct object_block *b, unsigned at)
{
	return b->written[at / 8] & 1u << at % 8;
}

static void mark(struct object_block *b, unsigned from, unsigned to, bool written)
{
	if (from == 0 && to == BLOCK) {
		memset(b->written, written ? 0xff : 0, sizeof(b->written));
		b->count = written ? BLOCK : 0;
		return;
	}
	for (unsigned at = from; at < to; at++) {
		uint8_t bit = (uint8_t)(1u << at % 8);

		if (is_written(b, at) == written)
			continue;
		b->written[at / 8] ^= bit;
		b->count += written ? 1 : -1u;
	}
}

static void keep(struct target *t, uint64_t offset, const uint8_t *bytes, uint64_t length)
{
	while (length) {
		uint64_t number = offset / BLOCK;
		unsigned at = (unsigned)(offset % BLOCK);
		unsigned n = (unsigned)MIN(length, BLOCK - at);
		struct object_block *b = g_tree_lookup(t->blocks, &number);

		if (!b && take(sizeof(*b))) {
			b = g_new0(struct object_block, 1);
			b->number = number;
			g_tree_insert(t->blocks, &b->number, b);
		}
		if (b) {
			memcpy(b->data + at, bytes, n);
			t->written -= b->count;
			mark(b, at, at + n, true);
			t->written += b->count;
			t->end = MAX(t->end, offset + n);
		} else {
			t->left_out += n;
		}
		offset += n;
		bytes += n;
		length -= n;
	}
}

/* What is zeroed is a hole. Blocks that are so from end to end go: each does but once. */
static void zero(struct target *t, uint64_t offset, uint64_t length)
{
	uint64_t end = length > UINT64_MAX - offset ? UINT64_MAX : offset + length;
	uint64_t number = offset / BLOCK;
	GTreeNode *node = g_tree_lower_bound(t->blocks, &number);

	while (node) {
		struct object_block *b = g_tree_node_value(node);
		uint64_t base = b->number * BLOCK;
		unsigned from = base >= offset ? 0 : (unsigned)(offset - base);
		unsigned to = end - base < BLOCK ? (unsigned)(end - base) : BLOCK;

		if (base >= end)
			break;
		number = b->number + 1;
		t->written -= b->count;
		mark(b, from, to, false);
		memset(b->data + from, 0, to - from);
		t->written += b->count;
		if (!b->count) {
			g_tree_remove(t->blocks, &b->number);
			o.room += sizeof(*b);
		}
		node = g_tree_lower_bound(t->blocks, &number);
	}
}

/* --- telling --- */

static void add(const struct target *t, const char *kind, char *name, uint8_t *data, size_t len)
{
	export_object_entry_t *entry = g_new0(export_object_entry_t, 1);
	char address[NBDS_ADDR_TEXT];

	entry->pkt_num = t ? t->frame : 0;
	entry->hostname = g_strdup(t ? nbds_addr_text(&t->share->server, address) : "");
	entry->content_type = g_strdup(kind);
	entry->filename = name;
	entry->payload_data = data;
	entry->payload_len = len;
	o.files++;
	o.list->add_entry(o.list->gui_data, entry);
}

/* The export's name as the beginning of a file's: no folders, none that shells, listings
 * or systems take for something else, and not too long. */
static void plain_name(const struct target *t, char buf[NAME_ROOM])
{
	const char *name = t->share->name, *end;
	size_t n;

	if (!name || !*name) {
		g_strlcpy(buf, name ? "default" : "unknown", NAME_ROOM);
		return;
	}
	n = strnlen(name, NAME_ROOM - 1);
	(void)g_utf8_validate(name, (gssize)n, &end);
	n = (size_t)(end - name);
	memcpy(buf, name, n);
	buf[n] = '\0';
	for (size_t i = 0; i < n; i++)
		if (strchr("/\\:*?\"<>|'`$&;!%~ \t", buf[i]) || (uint8_t)buf[i] < 32)
			buf[i] = '_';
	if (buf[0] == '.' || buf[0] == '-')
		buf[0] = '_';
}

/* That, of no other export. */
static void file_name(const struct target *t, char buf[NAME_ROOM + 24])
{
	char plain[NAME_ROOM];

	plain_name(t, plain);
	g_strlcpy(buf, plain, NAME_ROOM);
	for (uint32_t n = t->conn; !g_hash_table_add(o.names, g_strdup(buf)); n++)
		snprintf(buf, NAME_ROOM + 24, "%s-conn%u", plain, n);
}

/* Copies what was written from `from` on; the rest stays as it is. */
static void copy_out(struct target *t, uint64_t from, uint64_t to, uint8_t *data)
{
	uint64_t number = from / BLOCK;

	for (GTreeNode *node = g_tree_lower_bound(t->blocks, &number); node;
	     node = g_tree_node_next(node)) {
		const struct object_block *b = g_tree_node_value(node);
		uint64_t base = b->number * BLOCK, begin, end;

		if (base >= to)
			break;
		begin = MAX(base, from);
		end = MIN(base + BLOCK, to);
		memcpy(data + (begin - from), b->data + (begin - base), (size_t)(end - begin));
	}
}

static GArray *runs_of(struct target *t)
{
	GArray *runs = g_array_new(FALSE, FALSE, sizeof(struct written_run));
	struct written_run run = {0, 0};

	for (GTreeNode *node = g_tree_node_first(t->blocks); node; node = g_tree_node_next(node)) {
		const struct object_block *b = g_tree_node_value(node);

		for (unsigned at = 0; at < BLOCK;) {
			unsigned n = b->count == BLOCK ? BLOCK : 1;
			uint64_t offset = b->number * BLOCK + at;

			at += n;
			if (n == 1 && !is_written(b, at - 1))
				continue;
			if (run.to != offset) {
				if (run.to > run.from)
					g_array_append_val(runs, run);
				run.from = offset;
			}
			run.to = offset + n;
		}
	}
	if (run.to > run.from)
		g_array_append_val(runs, run);
	return runs;
}

static void tell_runs(struct target *t, const char *name)
{
	GArray *runs = runs_of(t);

	for (unsigned i = 0; i < runs->len; i++) {
		const struct written_run *run = &g_array_index(runs, struct written_run, i);
		size_t len = (size_t)(run->to - run->from);
		uint8_t *data;

		if (o.files >= FILES_MAX) {
			t->left_out += len;
			continue;
		}
		data = g_malloc0(len);
		copy_out(t, run->from, run->to, data);
		add(t, "bytes written",
		    g_strdup_printf("%s.at-0x%012" PRIx64 ".bin", name, run->from), data, len);
	}
	g_array_free(runs, TRUE);
}

static void tell(struct target *t)
{
	char name[NAME_ROOM + 24];
	uint8_t *data;

	if (!t->written)
		return;
	if (o.files >= FILES_MAX) {
		t->left_out += t->written;
		return;
	}
	file_name(t, name);
	/* holes take room, too */
	if (t->end > IMAGE_MAX || !take(t->end - t->written)) {
		tell_runs(t, name);
		return;
	}
	data = g_malloc0((size_t)t->end);
	copy_out(t, 0, t->end, data);
	add(t, "image", g_strdup_printf("%s.img", name), data, (size_t)t->end);
}

static void tell_all(void)
{
	uint64_t left_out = 0;

	if (!o.list || o.told)
		return;
	o.told = true;
	for (unsigned i = 0; i < o.targets->len; i++) {
		struct target *t = g_ptr_array_index(o.targets, i);

		tell(t);
		left_out += t->left_out;
		g_tree_remove_all(t->blocks);
	}
	if (left_out) {
		char *text = g_strdup_printf(
			"%" PRIu64
			" bytes that were written are in none of the files: more than the"
			" preference nbd.objects allows (%u MiB), or more than %u files.\n",
			left_out, nbds_prefs.objects, FILES_MAX);

		add(NULL, "text", g_strdup("nbd-left-out.txt"), (uint8_t *)text, strlen(text));
	}
}

/* --- the taps --- */

static void draw(void *unused _U_)
{
	/* nobody listens any more: the list is gone */
	if (!have_tap_listener(objects_tap))
		nbds_objects_forget();
	else
		tell_all();
}

static tap_packet_status heard(void *unused _U_, packet_info *pinfo _U_, epan_dissect_t *edt _U_,
			       const void *told _U_, tap_flags_t flags _U_)
{
	return TAP_PACKET_REDRAW;
}

/* Once: our own listener, which is drawn before that of the objects. */
static void draw_with_them(void)
{
	static int self;
	static bool registered;
	GString *error;

	if (registered)
		return;
	registered = true;
	error = register_tap_listener("nbd", &self, NULL, 0, NULL, heard, draw, NULL);
	if (error)
		g_string_free(error, TRUE);
}

static tap_packet_status objects_packet(void *data, packet_info *pinfo, epan_dissect_t *edt _U_,
					const void *told, tap_flags_t flags _U_)
{
	const struct item *item = told;
	struct target *t;

	if (o.list != data)
		begin(data);
	draw_with_them();
	if (o.told)
		return TAP_PACKET_DONT_REDRAW;
	if (item->kind == ITEM_END) {
		tell_all();
		return TAP_PACKET_REDRAW;
	}
	t = target_of(item->k, pinfo->num);
	if (t && item->kind == ITEM_WRITE)
		keep(t, item->offset, item->bytes, item->length);
	else if (t)
		zero(t, item->offset, item->length);
	return TAP_PACKET_REDRAW;
}

static void item_new(packet_info *pinfo, enum item_kind kind, struct conn *k, uint64_t offset,
		     uint64_t length, const uint8_t *bytes)
{
	struct item *item = wmem_new(pinfo->pool, struct item);

	*item = (struct item){kind, k, offset, length, bytes};
	tap_queue_packet(objects_tap, pinfo, item);
}

void nbds_objects_write(packet_info *pinfo, struct conn *k, uint64_t offset, tvbuff_t *tvb,
			int start, int len)
{
	if (have_tap_listener(objects_tap) && offset <= UINT64_MAX - BLOCK - (unsigned)len)
		item_new(pinfo, ITEM_WRITE, k, offset, (unsigned)len, tvb_get_ptr(tvb, start, len));
}

void nbds_objects_zero(packet_info *pinfo, struct conn *k, uint64_t offset, uint64_t length)
{
	if (have_tap_listener(objects_tap))
		item_new(pinfo, ITEM_ZERO, k, offset, length, NULL);
}

void nbds_objects_end(packet_info *pinfo)
{
	if (have_tap_listener(objects_tap))
		item_new(pinfo, ITEM_END, NULL, 0, 0, NULL);
}

void nbds_objects_register(void)
{
	objects_tap = register_export_object(nbds_shark_proto, objects_packet, nbds_objects_forget);
}
