/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * show.c - one frame: what its bytes are, in tree and columns.
 *
 * Each message is an item of its own; its fields are the decoder's walk.  In
 * square brackets stands what is not in the bytes: links, times, the export.
 */
#include "shark.h"
#include "tap.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CHUNK_LINKS_MAX 32u
#define FINDINGS_MAX    100u

/* A frame that is being shown. */
struct show {
	packet_info *pinfo;
	proto_tree *tree; /* NULL: nobody looks at fields */
	tvbuff_t *tvb;    /* the segment's payload */
	struct conn *k;
	int side;
	int64_t from; /* stream offset of the first byte of tvb, as messages count */
	bool columns;
	unsigned shown;
	int data_id;
	proto_tree *last; /* of the last message shown */
};

/* The walk over a message. */
struct show_walk {
	struct show *s;
	proto_tree *tree, *bits;
	tvbuff_t *tvb;
	int64_t base; /* where the head begins in tvb */
	tvbuff_t *payload_tvb;
	int64_t payload; /* where the payload begins in payload_tvb */
	uint64_t word;   /* the flag word before its bits */
	/* extents: their bits' names, or NULL; id of the field with the bits */
	const struct nbds_name_table *status;
	int status_id;
};

/* --- small things --- */

/* What is to be done once for a frame, although it can have several payloads. */
enum { SHOWN_FINDINGS = 1, SHOWN_COLUMN = 2 };

static bool again(packet_info *pinfo, uint32_t what)
{
	if (p_get_proto_data(pinfo->pool, pinfo, nbds_shark_proto_tcp, what))
		return true;
	p_add_proto_data(pinfo->pool, pinfo, nbds_shark_proto_tcp, what, GINT_TO_POINTER(1));
	return false;
}

static proto_item *generated(proto_item *item)
{
	proto_item_set_generated(item);
	return item;
}

static proto_item *add_frame(proto_tree *tree, enum shark_field id, tvbuff_t *tvb, uint32_t frame)
{
	return generated(proto_tree_add_uint(tree, nbds_shark_gen[id], tvb, 0, 0, frame));
}

static proto_item *add_text(proto_tree *tree, enum shark_field id, tvbuff_t *tvb, const char *text)
{
	return generated(proto_tree_add_string(tree, nbds_shark_gen[id], tvb, 0, 0, text));
}

/* "4 KiB", "513 B" */
static const char *size_text(uint64_t bytes, char buf[32])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned unit = 0;

	while (bytes && !(bytes & 1023) && unit + 1 < G_N_ELEMENTS(units)) {
		bytes >>= 10;
		unit++;
	}
	snprintf(buf, 32, "%" PRIu64 " %s", bytes, units[unit]);
	return buf;
}

/* "READ" of "NBD_CMD_READ" */
static const char *short_name(const char *name, const char *prefix)
{
	return g_str_has_prefix(name, prefix) ? name + strlen(prefix) : name;
}

/* What all names of a table begin with: "NBD_FLAG_" */
static size_t common_prefix(const struct nbds_name_table *table)
{
	const char *first = table->entries[0].name;
	size_t n = strlen(first);

	for (size_t i = 1; i < table->count; i++) {
		size_t same = 0;

		while (same < n && first[same] == table->entries[i].name[same])
			same++;
		n = same;
	}
	while (n && first[n - 1] != '_')
		n--;
	return n;
}

/* "HAS_FLAGS | SEND_FLUSH | bit 13": Wireshark's lines are no longer than 240
 * characters, and the bits' own lines have the whole names. */
static const char *flag_words(const struct nbds_name_table *table, uint64_t value,
			      char buf[NBDS_FIELD_TEXT])
{
	size_t prefix = common_prefix(table);
	struct nbds_flag_iter it;
	const char *name;

	g_strlcpy(buf, value ? "" : "none", NBDS_FIELD_TEXT);
	nbds_flags_begin(&it, table, value);
	while ((name = nbds_flags_next(&it))) {
		bool whole = strncmp(name, table->entries[0].name, prefix) != 0;

		if (buf[0])
			g_strlcat(buf, " | ", NBDS_FIELD_TEXT);
		g_strlcat(buf, whole ? name : name + prefix, NBDS_FIELD_TEXT);
	}
	return buf;
}

static uint64_t message_length(const struct msg *m)
{
	return m->head_len + m->payload_len;
}

static const char *name_of(const struct msg *m)
{
	return nbds_shark_name(m->name);
}

static const char *context_of(const struct conn *k, const struct msg *m)
{
	const struct msg_more *more = nbds_shark_more(k, m);

	return more ? nbds_shark_name(more->context) : NULL;
}

/* Are so many of its bytes, from the first one on, in the segment? */
static bool is_here(const struct show *s, const struct msg *m, uint32_t len)
{
	int64_t at = (int64_t)m->offset - s->from;

	return at >= 0 && at + (int64_t)len <= (int64_t)tvb_captured_length(s->tvb);
}

/* NULL: it is in another segment. */
static const uint8_t *head_of(const struct show *s, const struct msg *m)
{
	const struct msg_more *more = nbds_shark_more(s->k, m);

	if (more && more->head)
		return more->head;
	if (!is_here(s, m, m->head_len))
		return NULL;
	return tvb_get_ptr(s->tvb, (int)((int64_t)m->offset - s->from), (int)m->head_len);
}

/* A message as the decoder told it, as far as walk and summary look at it. */
static void rebuild(const struct show *s, const struct msg *kept, struct nbds_message *m,
		    struct nbds_request *r)
{
	const struct conn *k = s->k;
	const struct op *op = nbds_shark_op(k, kept);

	memset(m, 0, sizeof(*m));
	m->type = kept->type;
	m->from = kept->from;
	m->flags = kept->flags;
	m->name = name_of(kept);
	m->offset = kept->offset;
	m->head = head_of(s, kept);
	m->head_len = kept->head_len;
	m->payload = kept->payload;
	m->payload_len = kept->payload_len;
	m->negotiated = &k->c->negotiated;
	if (kept->type == NBDS_MSG_CHUNK)
		m->u.chunk.type = kept->chunk_type;
	if (!op || kept->type < NBDS_MSG_REQUEST)
		return;
	memset(r, 0, sizeof(*r));
	r->type = op->type;
	r->flags = op->flags;
	r->offset = op->offset;
	r->length = op->length;
	m->request = r;
}

/* --- columns --- */

static void column(struct show *s, const char *text)
{
	if (s->columns)
		col_append_sep_str(s->pinfo->cinfo, COL_INFO, " | ", text);
	s->shown++;
}

/* "READ 4 KiB @ 0x1000" */
static void op_text(const struct op *op, char *buf, size_t size)
{
	char name[NBDS_TEXT_OF_MAX], bytes[32], flags[128] = "";
	const char *text = short_name(nbds_text_of(&nbds_commands, op->type, name), "NBD_CMD_");

	if (op->flags) {
		struct nbds_flag_iter it;
		const char *flag;

		nbds_flags_begin(&it, &nbds_command_flags, op->flags);
		while ((flag = nbds_flags_next(&it))) {
			g_strlcat(flags, " ", sizeof(flags));
			g_strlcat(flags, short_name(flag, "NBD_CMD_FLAG_"), sizeof(flags));
		}
	}
	if (op->length || op->offset)
		snprintf(buf, size, "%s %s @ 0x%" PRIx64 "%s", text, size_text(op->length, bytes),
			 op->offset, flags);
	else
		snprintf(buf, size, "%s%s", text, flags);
}

static unsigned extent_size(const struct msg *kept)
{
	return kept->chunk_type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT ? 16 : 8;
}

/* ", 2 extents of base:allocation" of a chunk that has some, else "". */
static const char *extents_text(const struct show *s, const struct msg *kept, char *buf,
				size_t size)
{
	const char *context = context_of(s->k, kept);
	uint64_t count = kept->payload_len / extent_size(kept);

	buf[0] = '\0';
	if (kept->payload == NBDS_PAYLOAD_EXTENTS)
		snprintf(buf, size, ", %" PRIu64 " extent%s%s%s", count, count == 1 ? "" : "s",
			 context ? " of " : "", context ? context : "");
	return buf;
}

static void message_text(const struct show *s, const struct msg *kept, const struct nbds_message *m,
			 char *text, size_t size)
{
	const struct op *op = nbds_shark_op(s->k, kept);
	char request[256], error[NBDS_TEXT_OF_MAX], bytes[32], extents[320];

	if (!op || kept->type < NBDS_MSG_REQUEST) {
		nbds_summary(m, text, size);
		return;
	}
	if (kept->type == NBDS_MSG_REQUEST) {
		op_text(op, text, size);
		return;
	}
	op_text(op, request, sizeof(request));
	if (kept->type == NBDS_MSG_CHUNK && !(kept->flags & NBDS_MSG_FINAL)) {
		extents_text(s, kept, extents, sizeof(extents));
		snprintf(text, size, "%s … %s%s%s%s", request,
			 short_name(name_of(kept), "NBD_REPLY_TYPE_"), extents,
			 kept->payload_len && !extents[0] ? " " : "",
			 kept->payload_len && !extents[0] ? size_text(kept->payload_len, bytes)
							  : "");
	} else if (kept->flags & NBDS_MSG_INCOMPLETE) {
		snprintf(text, size, "%s → broken off before all of its %s", request,
			 size_text(kept->payload_len, bytes));
	} else if (op->failed) {
		snprintf(text, size, "%s → %s", request,
			 short_name(nbds_text_of(&nbds_errors, op->error, error), "NBD_"));
	} else {
		snprintf(text, size, "%s → OK%s%s%s", request, op->data_bytes ? " " : "",
			 op->data_bytes ? size_text(op->data_bytes, bytes) : "",
			 extents_text(s, kept, extents, sizeof(extents)));
	}
}

/* A line that is read along with. */
static void follow(const struct show *s, const char *text)
{
	if (nbds_follow_wanted())
		nbds_follow_line(s->pinfo, s->side == NBDS_SERVER, text);
}

static void message_column(struct show *s, const struct msg *kept, const struct nbds_message *m)
{
	char text[1024] = "";

	if (s->columns || nbds_follow_wanted())
		message_text(s, kept, m, text, sizeof(text));
	column(s, text);
	if (nbds_follow_wanted())
		nbds_follow_line(s->pinfo, kept->from == NBDS_SERVER, text);
}

/* --- fields --- */

static void add_number(struct show_walk *w, const struct nbds_field *f, int start)
{
	const struct nbds_field_info *info = &nbds_fields[f->id];
	int hf = nbds_shark_hf[f->id], length = (int)f->length;
	proto_item *item;

	if (info->type == NBDS_FT_UINT64)
		item = proto_tree_add_uint64(w->tree, hf, w->tvb, start, length, f->value);
	else
		item = proto_tree_add_uint(w->tree, hf, w->tvb, start, length, (uint32_t)f->value);
	w->bits = NULL;
	if (info->flags || (w->status && f->id == w->status_id)) {
		char words[NBDS_FIELD_TEXT];

		proto_item_append_text(item, " (%s)",
				       flag_words(info->flags ? info->table : w->status, f->value,
						  words));
		w->bits = proto_item_add_subtree(item, nbds_shark_ett[ST_FLAGS]);
	}
	w->word = f->value;
}

static void add_bytes(struct show_walk *w, const struct nbds_field *f, int start)
{
	int hf = nbds_shark_hf[f->id];
	int here = (int)tvb_captured_length(w->tvb) - start;
	int length = (int)MIN(f->length, (uint32_t)MAX(here, 0));

	if (nbds_fields[f->id].type == NBDS_FT_STRING)
		proto_tree_add_item(w->tree, hf, w->tvb, start, length, ENC_UTF_8 | ENC_NA);
	else
		proto_tree_add_item(w->tree, hf, w->tvb, start, length, ENC_NA);
}

/* The payload as a whole: as much of it as is in this segment. */
static void add_payload(struct show_walk *w, const struct nbds_field *f, uint64_t whole)
{
	int64_t here = w->payload_tvb ? (int64_t)tvb_captured_length(w->payload_tvb) - w->payload
				      : 0;
	int length = (int)MIN(here < 0 ? 0 : (uint64_t)here, whole);

	if (length > 0)
		proto_tree_add_item(w->tree, nbds_shark_hf[f->id], w->payload_tvb, (int)w->payload,
				    length, ENC_NA);
	generated(proto_tree_add_uint64(w->tree, nbds_shark_gen[SF_DATA_LEN],
					length > 0 ? w->payload_tvb : w->tvb, 0, 0, whole));
}

struct message_walk {
	struct show_walk w;
	uint32_t head_len;
	uint64_t payload_len;
};

static void field(void *arg, const struct nbds_field *f)
{
	struct message_walk *mw = arg;
	struct show_walk *w = &mw->w;
	int64_t start = w->base + f->offset;

	if (f->offset >= mw->head_len && !f->bytes && mw->payload_len) {
		add_payload(w, f, mw->payload_len);
		return;
	}
	switch (nbds_fields[f->id].type) {
	case NBDS_FT_BOOLEAN:
		proto_tree_add_boolean(w->bits ? w->bits : w->tree, nbds_shark_hf[f->id], w->tvb,
				       (int)start, (int)f->length, (uint32_t)w->word);
		break;
	case NBDS_FT_STRING:
	case NBDS_FT_BYTES:
		add_bytes(w, f, (int)start);
		break;
	default:
		add_number(w, f, (int)start);
		break;
	}
}

/* --- elements of a payload: extents, context ids --- */

struct element_walk {
	struct show_walk w;
	proto_tree *list;
	proto_item *extent;
	int start; /* of the next number, in the tvb */
	int length_id;
};

static void element(void *arg, const struct nbds_field *f)
{
	struct element_walk *ew = arg;
	struct show_walk *w = &ew->w;
	int start = ew->start; /* f->offset stops at 4 GiB */

	if (nbds_fields[f->id].type == NBDS_FT_BOOLEAN) {
		proto_tree_add_boolean(w->bits ? w->bits : w->tree, nbds_shark_hf[f->id], w->tvb,
				       start - (int)f->length, (int)f->length, (uint32_t)w->word);
		return;
	}
	if (f->id == ew->length_id) {
		char bytes[32];

		w->tree = proto_tree_add_subtree_format(ew->list, w->tvb, start, 2 * (int)f->length,
							nbds_shark_ett[ST_EXTENT], &ew->extent,
							"Extent of %s", size_text(f->value, bytes));
	} else if (f->id == w->status_id && ew->extent) {
		char words[NBDS_FIELD_TEXT];

		proto_item_append_text(ew->extent, ": %s",
				       w->status ? flag_words(w->status, f->value, words)
						 : f->text);
	}
	add_number(w, f, start);
	ew->start += (int)f->length;
}

/* The elements that end between `from` and `to`, stream offsets within the
 * payload of `kept` and within the segment. */
static void show_elements(struct show *s, proto_tree *tree, const struct msg *kept,
			  const struct nbds_message *m, uint64_t from, uint64_t to)
{
	uint64_t payload = kept->offset + kept->head_len;
	const char *context = context_of(s->k, kept);
	unsigned size = kept->payload == NBDS_PAYLOAD_IDS ? 4 : extent_size(kept);
	struct element_walk ew;
	uint64_t skip;
	size_t len;

	if (kept->payload != NBDS_PAYLOAD_EXTENTS && kept->payload != NBDS_PAYLOAD_IDS)
		return;
	if (context && from == payload)
		add_text(tree, SF_CONTEXT, s->tvb, context);
	skip = (size - (from - payload) % size) % size;
	if (skip)
		proto_tree_add_subtree_format(
			tree, s->tvb, (int)((int64_t)from - s->from), (int)MIN(skip, to - from),
			nbds_shark_ett[ST_EXTENT], NULL,
			"The end of an element that began in the segment before");
	if (skip >= to - from)
		return;
	from += skip;
	len = (size_t)(to - from);
	memset(&ew, 0, sizeof(ew));
	ew.w.s = s;
	ew.w.tvb = s->tvb;
	ew.start = (int)((int64_t)from - s->from);
	ew.length_id = nbds_field_find("nbd.extent.len");
	ew.w.status_id = nbds_field_find("nbd.status_flags");
	if (context)
		ew.w.status = nbds_status_table(context, strlen(context));
	ew.list = proto_tree_add_subtree_format(
		tree, s->tvb, ew.start, (int)len, nbds_shark_ett[ST_EXTENTS], NULL, "%u %s%s",
		(unsigned)(len / size), kept->payload == NBDS_PAYLOAD_IDS ? "context id" : "extent",
		len / size == 1 ? "" : "s");
	ew.w.tree = ew.list;
	nbds_walk_payload(m, from - payload, tvb_get_ptr(s->tvb, ew.start, (int)len), len,
			  ew.w.status, element, &ew);
}

/* --- what is known of a message beyond its bytes --- */

static void add_connection(struct show *s, proto_tree *tree, const struct msg *kept)
{
	const struct nbds_connection *c = s->k->c;
	proto_item *item;

	generated(proto_tree_add_uint(tree, nbds_shark_gen[SF_CONN], s->tvb, 0, 0, s->k->id));
	if (s->k->inside)
		generated(proto_tree_add_boolean(tree, nbds_shark_gen[SF_CONN_INSIDE_TLS], s->tvb,
						 0, 0, true));
	if (kept->type < NBDS_MSG_REQUEST)
		return;
	if (s->k->export_name) {
		item = add_text(tree, SF_CONN_EXPORT, s->tvb, s->k->export_name);
		if (!*s->k->export_name)
			proto_item_append_text(item, "(the default)");
	}
	if (c->negotiated.export_seen) {
		char names[NBDS_FIELD_TEXT];

		item = proto_tree_add_uint(tree, nbds_shark_gen[SF_CONN_FLAGS], s->tvb, 0, 0,
					   c->negotiated.transmission_flags);
		generated(item);
		proto_item_append_text(item, " (%s)",
				       flag_words(&nbds_transmission_flags,
						  c->negotiated.transmission_flags, names));
	}
}

static void add_time(proto_tree *tree, tvbuff_t *tvb, const struct op *op)
{
	int64_t took = (int64_t)((uint64_t)op->end_time - (uint64_t)op->request_time);
	nstime_t time = {took / 1000000000, (int)(took % 1000000000)};

	generated(proto_tree_add_time(tree, nbds_shark_gen[SF_TIME], tvb, 0, 0, &time));
}

static void add_reply_links(struct show *s, proto_tree *tree, const struct msg *kept,
			    const struct op *op)
{
	uint32_t count = op->last_reply == NO_INDEX
				 ? 0
				 : nbds_shark_number(s->k, nbds_shark_msg(s->k, NBDS_SERVER,
									  op->last_reply));
	proto_item *item;
	proto_tree *sub;
	char text[256];

	if (op->request != NO_INDEX) {
		item = add_frame(tree, SF_RESPONSE_TO, s->tvb,
				 nbds_shark_msg(s->k, NBDS_CLIENT, op->request)->own_frame);
		if (kept->type >= NBDS_MSG_REQUEST) {
			op_text(op, text, sizeof(text));
			proto_item_append_text(item, ": %s", text);
			sub = proto_item_add_subtree(item, nbds_shark_ett[ST_REQUEST]);
			generated(proto_tree_add_uint(sub, nbds_shark_gen[SF_TYPE_OF_REQUEST],
						      s->tvb, 0, 0, op->type));
		}
	}
	if (kept->type == NBDS_MSG_CHUNK && (count > 1 || !op->end_frame)) {
		uint32_t links = 0, reply = op->last_reply;

		item = generated(proto_tree_add_uint(tree, nbds_shark_gen[SF_CHUNK_NUMBER], s->tvb,
						     0, 0, nbds_shark_number(s->k, kept)));
		sub = proto_item_add_subtree(item, nbds_shark_ett[ST_CHUNKS]);
		generated(proto_tree_add_uint(sub, nbds_shark_gen[SF_CHUNK_COUNT], s->tvb, 0, 0,
					      count));
		for (uint32_t i = 0; i < count && links < CHUNK_LINKS_MAX; i++) {
			const struct msg *other;

			reply = nbds_shark_next(s->k, reply);
			other = nbds_shark_msg(s->k, NBDS_SERVER, reply);
			if (other == kept)
				continue;
			item = add_frame(sub, SF_CHUNK_FRAME, s->tvb, other->own_frame);
			proto_item_append_text(item, " (chunk %u: %s)",
					       nbds_shark_number(s->k, other), name_of(other));
			links++;
		}
	}
}

static void add_links(struct show *s, proto_tree *tree, const struct msg *kept)
{
	const struct op *op = nbds_shark_op(s->k, kept);

	if (kept->end_frame && kept->end_frame != kept->own_frame)
		add_frame(tree, SF_END_IN, s->tvb, kept->end_frame);
	if (op && kept->from == NBDS_CLIENT) {
		if (op->end_frame)
			add_frame(tree, SF_RESPONSE_IN, s->tvb, op->end_frame);
	} else if (op) {
		add_reply_links(s, tree, kept, op);
		if ((kept->flags & NBDS_MSG_FINAL) && op->request != NO_INDEX &&
		    kept->end_frame == kept->own_frame && op->end_frame == kept->own_frame)
			add_time(tree, s->tvb, op);
	}
	add_connection(s, tree, kept);
}

static void add_expert(struct show *s, proto_item *item, const struct msg *kept)
{
	const struct op *op = nbds_shark_op(s->k, kept);
	char error[NBDS_TEXT_OF_MAX];

	if (kept->flags & NBDS_MSG_MALFORMED)
		expert_add_info(s->pinfo, item, &nbds_shark_ei[SE_MALFORMED]);
	if (kept->flags & NBDS_MSG_UNSOLICITED)
		expert_add_info(s->pinfo, item, &nbds_shark_ei[SE_UNSOLICITED]);
	if (kept->flags & NBDS_MSG_CUT)
		expert_add_info(s->pinfo, item, &nbds_shark_ei[SE_CUT]);
	if (kept->type > NBDS_MSG_REQUEST && op && op->failed && (kept->flags & NBDS_MSG_FINAL))
		expert_add_info_format(
			s->pinfo, item, &nbds_shark_ei[SE_ERROR_REPLY], "NBD: %s failed with %s",
			op->request != NO_INDEX
				? name_of(nbds_shark_msg(s->k, NBDS_CLIENT, op->request))
				: "request",
			nbds_text_of(&nbds_errors, op->error, error));
}

/* --- messages --- */

static void tap_operation(struct show *s, const struct msg *kept)
{
	const struct op *op = nbds_shark_op(s->k, kept);

	if (!op)
		return;
	nbds_tap_reply(s->pinfo, s->k, kept, op);
	if (kept->type > NBDS_MSG_REQUEST && op->type == NBD_CMD_WRITE_ZEROES && !op->failed)
		nbds_objects_zero(s->pinfo, s->k, op->offset, op->length);
}

/* What of a WRITE's data is between `from` and `to`, stream offsets within the message and
 * the segment. Repetitions come after the message's end. */
static void tap_payload(struct show *s, const struct msg *kept, uint64_t from, uint64_t to)
{
	const struct op *op = nbds_shark_op(s->k, kept);
	uint64_t payload = kept->offset + kept->head_len;

	from = MAX(from, payload);
	if (kept->payload != NBDS_PAYLOAD_WRITE || !op || op->failed || from >= to ||
	    (kept->end_frame && s->pinfo->num > kept->end_frame))
		return;
	nbds_objects_write(s->pinfo, s->k, op->offset + (from - payload), s->tvb,
			   (int)((int64_t)from - s->from), (int)(to - from));
}

static void show_message(struct show *s, const struct msg *kept)
{
	struct nbds_message m;
	struct nbds_request r;
	int64_t at = (int64_t)kept->offset - s->from;
	const struct msg_more *more = nbds_shark_more(s->k, kept);
	struct message_walk mw;
	proto_item *item;
	uint64_t length = message_length(kept);
	int here;
	char summary[1024];

	rebuild(s, kept, &m, &r);
	message_column(s, kept, &m);
	nbds_tap_message(s->pinfo, s->k, kept, nbds_shark_op(s->k, kept));
	if (!s->tree) {
		add_expert(s, NULL, kept);
		return;
	}
	memset(&mw, 0, sizeof(mw));
	mw.w.s = s;
	mw.head_len = kept->head_len;
	mw.payload_len = kept->payload_len;
	mw.w.payload_tvb = s->tvb;
	mw.w.payload = at + kept->head_len;
	if (mw.w.payload < 0 || mw.w.payload > (int64_t)tvb_captured_length(s->tvb))
		mw.w.payload_tvb = NULL;
	if (is_here(s, kept, kept->head_len)) {
		mw.w.tvb = s->tvb;
		mw.w.base = at;
		here = (int)MIN(length, tvb_captured_length(s->tvb) - (uint64_t)at);
	} else {
		mw.w.tvb = tvb_new_child_real_data(s->tvb, m.head, kept->head_len,
						   (int)kept->head_len);
		add_new_data_source(s->pinfo, mw.w.tvb, "NBD message");
		here = (int)kept->head_len;
	}
	nbds_summary(&m, summary, sizeof(summary));
	item = proto_tree_add_protocol_format(s->tree, nbds_shark_proto, mw.w.tvb, (int)mw.w.base,
					      here, "Network Block Device, %s", summary);
	mw.w.tree = s->last = proto_item_add_subtree(item, nbds_shark_ett[ST_MESSAGE]);
	nbds_walk(&m, field, &mw);
	if (mw.w.payload_tvb && kept->payload_len) {
		uint64_t from = kept->offset + kept->head_len;
		uint64_t to = (uint64_t)(s->from + (int64_t)tvb_captured_length(s->tvb));

		to = MIN(to, kept->offset + length);
		if (to > from)
			show_elements(s, mw.w.tree, kept, &m, from, to);
	}
	if (kept->own_frame < s->pinfo->num)
		add_frame(mw.w.tree, SF_SEEN_IN, s->tvb, kept->own_frame);
	else if (more && more->first_frame && more->first_frame < kept->own_frame)
		add_frame(mw.w.tree, SF_SEEN_IN, s->tvb, more->first_frame);
	add_links(s, mw.w.tree, kept);
	add_expert(s, item, kept);
}

/* Bytes of a message that another frame shows. */
static void part_column(struct show *s, const struct msg *kept, const struct op *op, uint64_t from,
			uint64_t to, bool ends)
{
	uint64_t payload = kept->offset + kept->head_len;
	char request[256], line[640];

	if (!s->columns) {
		s->shown++;
		return;
	}
	if (op && kept->type >= NBDS_MSG_REQUEST)
		op_text(op, request, sizeof(request));
	else
		g_strlcpy(request, name_of(kept), sizeof(request));
	if (from >= payload)
		snprintf(line, sizeof(line), "%s … %" PRIu64 "–%" PRIu64 "%s", request,
			 from - payload, to - payload - 1, ends ? ", end" : "");
	else
		snprintf(line, sizeof(line), "%s … %" PRIu64 " byte%s of its head", request,
			 to - from, to - from == 1 ? "" : "s");
	column(s, line);
}

static void show_part(struct show *s, const struct msg *kept, uint64_t from, uint64_t to)
{
	uint64_t payload = kept->offset + kept->head_len;
	bool ends = to == kept->offset + message_length(kept);
	const struct op *op = nbds_shark_op(s->k, kept);
	int start = (int)((int64_t)from - s->from), here = (int)(to - from);
	char bytes[32];
	proto_item *item;
	proto_tree *tree;

	part_column(s, kept, op, from, to, ends);
	if (!s->tree)
		return;
	if (from >= payload)
		item = proto_tree_add_protocol_format(
			s->tree, nbds_shark_proto, s->tvb, start, here,
			"Network Block Device, %s: payload %" PRIu64 "–%" PRIu64 " of %s%s",
			name_of(kept), from - payload, to - payload - 1,
			size_text(kept->payload_len, bytes), ends ? ", its end" : "");
	else
		item = proto_tree_add_protocol_format(
			s->tree, nbds_shark_proto, s->tvb, start, here,
			"Network Block Device, %s: %d byte%s of its head", name_of(kept), here,
			here == 1 ? "" : "s");
	tree = proto_item_add_subtree(item, nbds_shark_ett[ST_MESSAGE]);
	if (from >= payload) {
		struct nbds_message m;
		struct nbds_request r;

		rebuild(s, kept, &m, &r);
		proto_tree_add_item(tree, nbds_shark_hf[s->data_id], s->tvb, start, here, ENC_NA);
		generated(proto_tree_add_uint64(tree, nbds_shark_gen[SF_PART_AT], s->tvb, 0, 0,
						from - payload));
		show_elements(s, tree, kept, &m, from, to);
	}
	add_frame(tree, SF_PART_OF, s->tvb, kept->own_frame);
	add_connection(s, tree, kept);
	if (!ends || !op || kept->from != NBDS_SERVER)
		return;
	s->last = tree;
	add_reply_links(s, tree, kept, op);
	if (op->end_frame == s->pinfo->num)
		add_time(tree, s->tvb, op);
}

/* --- bytes that are no message --- */

static const char *const trouble_words[] = {
	[NBDS_TROUBLE_LOST] = "framing lost: bytes are missing from the capture",
	[NBDS_TROUBLE_NONSENSE] = "no legal message",
	[NBDS_TROUBLE_SKIPPED] = "not decoded while looking for the start of a message",
	[NBDS_TROUBLE_SURE] = "decoded from here on",
	[NBDS_TROUBLE_TLS] = "TLS",
	[NBDS_TROUBLE_FORGOT] = "",
	[NBDS_TROUBLE_AFTER_END] = "after the end of the connection",
	[NBDS_TROUBLE_TRAILING] = "a message that was never finished",
};

/* What was last said of the bytes at `offset`, or NULL.  What is said of a side
 * goes forward through its stream. */
static const struct trouble *trouble_at(const struct show *s, uint64_t offset)
{
	const struct trouble *list = s->k->side[s->side].troubles;
	uint32_t low = 0, high = s->k->side[s->side].trouble_count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (list[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? &list[low - 1] : NULL;
}

/* Nothing was said of these bytes yet: they wait for more. */
static bool awaits(const struct show *s, uint64_t offset, const struct trouble *t)
{
	uint32_t count = s->k->side[s->side].messages.count;
	const struct msg *last = count ? nbds_shark_msg(s->k, s->side, count - 1) : NULL;

	if (PINFO_FD_VISITED(s->pinfo))
		return false;
	if (last && last->offset + message_length(last) > offset)
		return false;
	return !t || t->kind == NBDS_TROUBLE_SURE ||
	       (last && t->offset < last->offset + message_length(last));
}

static void expert_undecoded(struct show *s, proto_item *item, const struct trouble *t)
{
	if (!t || t->frame != s->pinfo->num)
		return;
	if (t->kind == NBDS_TROUBLE_NONSENSE)
		expert_add_info_format(s->pinfo, item, &nbds_shark_ei[SE_NONSENSE],
				       "NBD: no legal message%s%s", t->text[0] ? ": " : "",
				       t->text);
	else if (t->kind == NBDS_TROUBLE_LOST)
		expert_add_info(s->pinfo, item, &nbds_shark_ei[SE_LOST]);
}

static void show_undecoded(struct show *s, uint64_t from, uint64_t to)
{
	const struct trouble *t = trouble_at(s, from);
	int start = (int)((int64_t)from - s->from), here = (int)(to - from);
	const char *why = "not decoded";
	char text[256];
	proto_item *item;
	proto_tree *tree;

	if (awaits(s, from, t))
		why = "the beginning of a message";
	else if (t && t->kind != NBDS_TROUBLE_SURE)
		why = t->text[0] ? t->text : trouble_words[t->kind];
	snprintf(text, sizeof(text), "%d byte%s, %s", here, here == 1 ? "" : "s", why);
	column(s, text);
	follow(s, text);
	if (!s->tree) {
		expert_undecoded(s, NULL, t);
		return;
	}
	item = proto_tree_add_protocol_format(s->tree, nbds_shark_proto, s->tvb, start, here,
					      "Network Block Device, %s", text);
	tree = proto_item_add_subtree(item, nbds_shark_ett[ST_MESSAGE]);
	proto_tree_add_item(tree, nbds_shark_gen[SF_UNDECODED], s->tvb, start, here, ENC_NA);
	generated(proto_tree_add_uint(tree, nbds_shark_gen[SF_CONN], s->tvb, 0, 0, s->k->id));
	expert_undecoded(s, item, t);
}

/* --- findings --- */

static void role_text(uint16_t roles, char *buf, size_t size)
{
	buf[0] = '\0';
	for (int i = 0; i < NBDS_ROLE_MAX; i++) {
		if (!(roles & (1u << i)))
			continue;
		if (buf[0])
			g_strlcat(buf, ", ", size);
		g_strlcat(buf, nbds_role_names[i], size);
	}
}

static uint64_t last_frame(const struct nbds_finding *f)
{
	uint64_t last = 0;

	for (int i = 0; i < NBDS_ROLE_MAX; i++)
		last = MAX(last, f->frames[i]);
	return last;
}

static int expert_tap(void)
{
	static int id;

	if (!id)
		id = find_tap_id("expert");
	return id;
}

/* `roles` 0: the frame is none of those that prove it. */
static void show_finding(tvbuff_t *tvb, packet_info *pinfo, proto_tree *parent,
			 const struct nbds_finding *f, uint16_t roles_here)
{
	static const char *const sides[] = {[NBDS_FAULT_SERVER] = "server",
					    [NBDS_FAULT_CLIENT] = "client",
					    [NBDS_FAULT_EITHER] = "either"};
	const char *severity = nbds_severity_name(f->severity);
	char roles[160], name[1024];
	proto_item *item;
	proto_tree *tree;

	/* Most look at no fields: then its severity is all that is asked for. */
	if (!parent && !have_tap_listener(expert_tap())) {
		if (!roles_here || pinfo->num == last_frame(f))
			expert_add_info(pinfo, NULL, nbds_shark_ei_of(f));
		return;
	}
	if (roles_here)
		role_text(roles_here, roles, sizeof(roles));
	else
		g_strlcpy(roles, "about earlier frames", sizeof(roles));
	item = proto_tree_add_protocol_format(parent, nbds_shark_proto, tvb, 0, 0,
					      "Network Block Device, %s: %s (this frame: %s)",
					      severity, f->rule->name, roles);
	generated(item);
	tree = proto_item_add_subtree(item, nbds_shark_ett[ST_FINDING]);
	add_text(tree, SF_FINDING_RULE, tvb, f->rule->name);
	add_text(tree, SF_FINDING_REF, tvb, f->rule->ref);
	add_text(tree, SF_FINDING_SEVERITY, tvb, severity);
	add_text(tree, SF_FINDING_SIDE, tvb, sides[nbds_finding_side(f)]);
	add_text(tree, SF_FINDING_MESSAGE, tvb, f->message);
	add_text(tree, SF_FINDING_ROLE, tvb, roles);
	for (int i = 0; i < NBDS_ROLE_MAX; i++)
		if (f->frames[i])
			generated(proto_tree_add_uint(tree, nbds_shark_gen[SF_FINDING_FRAME + i],
						      tvb, 0, 0, (uint32_t)f->frames[i]));
	if (f->connection)
		generated(proto_tree_add_uint(tree, nbds_shark_gen[SF_FINDING_CONN], tvb, 0, 0,
					      f->connection));
	if (f->export_name) {
		proto_item *named;

		nbds_escape_text(f->export_name, f->export_name_len, name, sizeof(name));
		named = add_text(tree, SF_FINDING_EXPORT, tvb, name);
		if (!*name)
			proto_item_append_text(named, "(the default)");
	}
	if (f->command)
		add_text(tree, SF_FINDING_COMMAND, tvb, f->command);
	if (f->has_range) {
		generated(proto_tree_add_uint64(tree, nbds_shark_gen[SF_FINDING_OFFSET], tvb, 0, 0,
						f->offset));
		generated(proto_tree_add_uint64(tree, nbds_shark_gen[SF_FINDING_LENGTH], tvb, 0, 0,
						f->length));
	}
	generated(
		proto_tree_add_uint64(tree, nbds_shark_gen[SF_FINDING_COUNT], tvb, 0, 0, f->count));
	for (const char *const *a = f->assumptions; a && *a; a++)
		add_text(tree, SF_FINDING_ASSUMPTION, tvb, *a);
	/* It counts once; its other frames are linked, and have it in their trees. */
	if (roles_here && pinfo->num != last_frame(f))
		return;
	expert_add_info_format(pinfo, item, nbds_shark_ei_of(f), "%s: %s%s", f->rule->name,
			       f->message,
			       !PINFO_FD_VISITED(pinfo) && nbds_watch_first()
				       ? " (tshark -2 shows all findings)"
				       : "");
}

static void follow_finding(packet_info *pinfo, const struct nbds_finding *f)
{
	char text[2048];

	if (!nbds_follow_wanted())
		return;
	snprintf(text, sizeof(text), "*** %s: %s: %s", nbds_severity_name(f->severity),
		 f->rule->name, f->message);
	nbds_follow_line(pinfo, nbds_finding_side(f) != NBDS_FAULT_CLIENT, text);
}

void nbds_show_findings(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree)
{
	const struct note *note = nbds_watch_notes(pinfo->num);
	unsigned count = 0;

	if (!note || again(pinfo, SHOWN_FINDINGS))
		return;
	for (; note; note = note->next) {
		if (pinfo->num == last_frame(note->finding))
			follow_finding(pinfo, note->finding);
		nbds_tap_finding(pinfo, note->finding, pinfo->num == last_frame(note->finding));
		*note->told = true;
		if (count++ < FINDINGS_MAX)
			show_finding(tvb, pinfo, tree, note->finding, note->roles);
	}
}

/* On the first visit, what became certain when all of its frames had gone by: who
 * looks but once would not hear of it. */
static void show_late_findings(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree)
{
	const struct nbds_finding *f;

	for (unsigned count = 0; count < FINDINGS_MAX && (f = nbds_watch_news()); count++) {
		nbds_tap_finding(pinfo, f, true);
		follow_finding(pinfo, f);
		show_finding(tvb, pinfo, tree, f, 0);
	}
}

/* --- a frame --- */

/* Does message i end after `offset`, and not the one before it? */
static bool is_first_after(const struct conn *k, int side, uint32_t i, uint64_t offset)
{
	const struct msg *m;

	if (i >= k->side[side].messages.count)
		return false;
	m = nbds_shark_msg(k, side, i);
	if (m->offset + message_length(m) <= offset)
		return false;
	if (!i)
		return true;
	m = nbds_shark_msg(k, side, i - 1);
	return m->offset + message_length(m) <= offset;
}

/* The first message that ends after `offset`. */
static uint32_t first_after(struct conn *k, int side, int64_t offset)
{
	uint32_t low = 0, high = k->side[side].messages.count, near = k->side[side].near;

	if (offset < 0)
		return 0;
	/* frames come in order, as a rule */
	for (unsigned n = 0; n < 3; n++) {
		if (is_first_after(k, side, near + n, (uint64_t)offset))
			return k->side[side].near = near + n;
	}
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct msg *m = nbds_shark_msg(k, side, middle);

		if (m->offset + message_length(m) > (uint64_t)offset)
			high = middle;
		else
			low = middle + 1;
	}
	return k->side[side].near = low;
}

static int side_of(const struct rec *r)
{
	return r->dir == r->flow->conn->server_dir ? NBDS_SERVER : NBDS_CLIENT;
}

bool nbds_show_wanted(const struct rec *r, tvbuff_t *tvb, packet_info *pinfo)
{
	struct conn *k = r->flow->conn;
	int side = side_of(r);
	int64_t from = r->offset - (int64_t)k->skip[r->dir];
	int64_t to = from + (int64_t)tvb_reported_length(tvb);

	if (!PINFO_FD_VISITED(pinfo) && k->late_count)
		return true;
	for (uint32_t i = first_after(k, side, from); i < k->side[side].messages.count; i++) {
		const struct msg *m = nbds_shark_msg(k, side, i);

		if ((int64_t)m->offset >= to)
			break;
		if (m->own_frame == pinfo->num || m->end_frame == pinfo->num)
			return true;
	}
	return false;
}

/* A message is shown once in its frame, which can have several records of TLS:
 * where its head ends. */
static bool shown_here(const struct show *s, const struct msg *m, int64_t from, int64_t to)
{
	int64_t head_end = (int64_t)(m->offset + m->head_len);

	return m->own_frame == s->pinfo->num && head_of(s, m) &&
	       (!s->k->inside || (head_end > from && head_end <= to));
}

static void show_range(struct show *s, int64_t from, int64_t to)
{
	uint32_t count = s->k->side[s->side].messages.count;
	int64_t at = from < 0 ? 0 : from;

	for (uint32_t i = first_after(s->k, s->side, from); i < count; i++) {
		const struct msg *m = nbds_shark_msg(s->k, s->side, i);
		uint64_t end = m->offset + message_length(m);

		if ((int64_t)m->offset >= to)
			break;
		if ((int64_t)m->offset > at)
			show_undecoded(s, (uint64_t)at, m->offset);
		if (shown_here(s, m, from, to))
			show_message(s, m);
		else
			show_part(s, m, MAX((uint64_t)at, m->offset), MIN((uint64_t)to, end));
		tap_payload(s, m, MAX((uint64_t)at, m->offset), MIN((uint64_t)to, end));
		if (m->end_frame == s->pinfo->num && m->from == NBDS_SERVER &&
		    (m->flags & NBDS_MSG_FINAL) && (!s->k->inside || (int64_t)end <= to))
			tap_operation(s, m);
		at = end < (uint64_t)to ? (int64_t)end : to;
	}
	if (at < to)
		show_undecoded(s, (uint64_t)at, (uint64_t)to);
}

/* What became known with this frame, of frames that went by. */
static void show_late(struct show *s)
{
	for (uint32_t i = 0; i < s->k->late_count; i++) {
		int side = s->k->late[i].side;
		const struct msg *m = nbds_shark_msg(s->k, side, s->k->late[i].index);

		if (m->own_frame >= s->pinfo->num)
			continue;
		show_message(s, m);
		if (side == NBDS_SERVER && (m->flags & NBDS_MSG_FINAL) && m->end_frame)
			tap_operation(s, m);
	}
	s->k->late_count = 0;
}

void nbds_show_record(struct rec *r, tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree)
{
	struct conn *k = r->flow->conn;
	struct show s = {.pinfo = pinfo, .tvb = tvb, .k = k, .side = side_of(r)};
	static int data_id = -1;

	if (data_id < 0)
		data_id = nbds_field_find("nbd.data");

	s.from = r->offset - (int64_t)k->skip[r->dir];
	s.tree = tree;
	s.data_id = data_id;
	s.columns = col_get_writable(pinfo->cinfo, COL_INFO);
	col_set_str(pinfo->cinfo, COL_PROTOCOL, "NBD");
	if (!again(pinfo, SHOWN_COLUMN))
		col_clear(pinfo->cinfo, COL_INFO);
	if (!PINFO_FD_VISITED(pinfo))
		show_late(&s);
	show_range(&s, s.from, s.from + (int64_t)tvb_captured_length(tvb));
	if (r->settled && s.last)
		generated(proto_tree_add_uint64(s.last, nbds_shark_gen[SF_UNFLUSHED], tvb, 0, 0,
						nbds_watch_unflushed(r)));
	nbds_show_findings(tvb, pinfo, tree);
	if (!PINFO_FD_VISITED(pinfo))
		show_late_findings(tvb, pinfo, tree);
	if (k->tls && !k->tls_told && !k->inside) {
		k->tls_told = true;
		if (nbds_shark_tls && !PINFO_FD_VISITED(pinfo))
			ssl_starttls_ack(nbds_shark_tls, pinfo, nbds_shark_handle);
	}
}
