/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch.c - from segments to what is kept of messages, operations and findings.
 *
 * The handle that IP has for TCP is replaced by one that looks at the segment
 * and then calls TCP.  On a frame's first visit the segment goes through the feed to
 * the engine, and what the engine says is kept.
 */
#include "prefs.h"
#include "shark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <base/table.h>

#define HEAD_CHUNK 65536u

#define RECENT_NAMES 64u

#define INTERFACES_MAX 256u

/* A copy of bytes comes within a few round trips, as a rule. */
#define REMEMBERED ((uint64_t)8 << 20)

/* A flush hardly ever covers what was written after it was sent: so many connections in
 * a row that it leaves as they are, and the others are looked at with the next one. */
#define UNCOVERED_RUN 64u

static struct {
	bool on; /* a file is open */
	bool finished;
	struct nbds_feed *feed;
	struct pile recs;  /* struct rec, in the order of frames */
	uint32_t rec_near; /* one that was looked for last */
	GArray *unflushed; /* struct left_unflushed, in the same order */
	wmem_map_t *notes; /* frame number to struct note */
	GPtrArray *conns, *findings, *inside;
	GArray *told;          /* for each finding: bool *, it was shown in some frame */
	unsigned untold;       /* all before this one were */
	bool first;            /* what is said but once was */
	struct nbds_mark mark; /* of the bytes that the engine is given */
	int64_t last_time;     /* ns: of the last frame */
	uint32_t interfaces;   /* told to the engine */
	uint8_t *heads;        /* room for heads */
	size_t heads_left;
	GPtrArray *names;        /* by number, 0 is none */
	GHashTable *name_number; /* of each name */
	uint32_t recent[RECENT_NAMES];
	GHashTable *shares; /* struct share, by name and server */
	struct nbds_hash_key key;
	uint32_t last_write; /* the last frame with payload of a WRITE */
	/* the segment in work */
	struct rec *current;
	tvbuff_t *payload;
	uint32_t current_frame;
	bool shown;
	const struct nbds_segment *segment;
	struct flow *touched; /* the flow that it belongs to */
	int touched_dir;
	int64_t segment_offset;
	bool segment_known;
} w;

static dissector_handle_t tcp_handle;

#define VECTOR_ADD(LIST, COUNT, ROOM)                                          \
	do {                                                                   \
		if ((COUNT) == (ROOM)) {                                       \
			(ROOM) = (ROOM) ? (ROOM)*2 : 16;                       \
			(LIST) = g_realloc_n((LIST), (ROOM), sizeof(*(LIST))); \
		}                                                              \
		memset(&(LIST)[(COUNT)++], 0, sizeof(*(LIST)));                \
	} while (0)

/* --- what is kept --- */

static const uint8_t *keep_head(const uint8_t *head, uint32_t len)
{
	uint8_t *at;

	if (len > w.heads_left) {
		w.heads_left = len > HEAD_CHUNK ? len : HEAD_CHUNK;
		w.heads = wmem_alloc(wmem_file_scope(), w.heads_left);
	}
	at = w.heads;
	memcpy(at, head, len);
	w.heads += len;
	w.heads_left -= len;
	return at;
}

/* They are of the wire's choosing. */
static guint name_hash(gconstpointer name)
{
	return (guint)nbds_hash_bytes(&w.key, 0, name, strlen(name));
}

/* One copy of each name: its number.  Most are constants, which have their place. */
static uint32_t number_name(const char *name)
{
	uint32_t *recent = &w.recent[(uintptr_t)name / 8 % RECENT_NAMES];
	void *number;
	char *kept;

	if (*recent && !strcmp(g_ptr_array_index(w.names, *recent), name))
		return *recent;
	if (!g_hash_table_lookup_extended(w.name_number, name, NULL, &number)) {
		kept = g_strdup(name);
		number = GUINT_TO_POINTER(w.names->len);
		g_ptr_array_add(w.names, kept);
		g_hash_table_insert(w.name_number, kept, number);
	}
	return *recent = GPOINTER_TO_UINT(number);
}

const char *nbds_shark_name(uint32_t number)
{
	return g_ptr_array_index(w.names, number);
}

static const char *keep_name(const char *name)
{
	return nbds_shark_name(number_name(name));
}

/* Bytes as text that can be shown. */
static uint32_t number_bytes(const void *bytes, size_t len)
{
	char text[3 * NBDS_STRING_MAX];

	nbds_escape_text(bytes, len, text, sizeof(text));
	return number_name(text);
}

/* --- records --- */

static struct rec *rec_at(uint32_t i)
{
	return PILE_AT(&w.recs, struct rec, i);
}

static bool is_after(uint32_t i, uint32_t frame)
{
	return i <= w.recs.count && (i == w.recs.count || rec_at(i)->frame > frame) &&
	       (i == 0 || rec_at(i - 1)->frame <= frame);
}

/* The first record of a frame after this one. */
static uint32_t rec_after(uint32_t frame)
{
	uint32_t low = 0, high = w.recs.count;

	/* frames come in order, as a rule */
	for (unsigned n = 0; n < 3; n++)
		if (is_after(w.rec_near + n, frame))
			return w.rec_near += n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (rec_at(middle)->frame > frame)
			high = middle;
		else
			low = middle + 1;
	}
	return w.rec_near = low;
}

static bool is_rec(uint32_t i, uint32_t frame, uint32_t layer, bool inside)
{
	const struct rec *r = i < w.recs.count ? rec_at(i) : NULL;

	return r && r->frame == frame && r->layer == layer && r->inside == inside;
}

static struct rec *rec_find(uint32_t frame, uint32_t layer, bool inside)
{
	/* so do a frame's pieces, of which there may be many */
	if (inside && is_rec(w.rec_near, frame, layer, inside))
		return rec_at(w.rec_near++);
	for (uint32_t i = rec_after(frame); i && rec_at(i - 1)->frame == frame; i--) {
		if (!is_rec(i - 1, frame, layer, inside))
			continue;
		if (inside)
			w.rec_near = i;
		return rec_at(i - 1);
	}
	return NULL;
}

/* NULL: it is not to be told from others. */
static struct rec *rec_add(uint32_t frame, uint32_t layer, bool inside)
{
	struct rec *r;

	if (layer > UINT16_MAX || (w.recs.count && rec_at(w.recs.count - 1)->frame > frame))
		return NULL;
	r = PILE_ADD(&w.recs, struct rec);
	r->frame = frame;
	r->layer = (uint16_t)layer;
	r->inside = inside;
	return r;
}

/* --- messages and operations --- */

/* The last byte of a message was seen at `mark`. */
static void message_end(struct conn *k, struct msg *m, const struct nbds_mark *mark)
{
	struct op *op = nbds_shark_op(k, m);

	m->end_frame = (uint32_t)MAX(mark->frame, m->own_frame);
	if (op && m->from == NBDS_SERVER && (m->flags & NBDS_MSG_FINAL)) {
		op->end_frame = m->end_frame;
		op->end_time = mark->time;
		if (m->type >= NBDS_MSG_REQUEST) {
			k->settled |= op->type == NBD_CMD_WRITE ||
				      op->type == NBD_CMD_WRITE_ZEROES || op->type == NBD_CMD_FLUSH;
			k->flushed |= op->type == NBD_CMD_FLUSH;
		}
	}
}

static void close_open(struct conn *k, int side, const struct nbds_mark *mark)
{
	uint32_t open = k->side[side].open;

	k->side[side].open = NO_INDEX;
	if (open != NO_INDEX)
		message_end(k, nbds_shark_msg(k, side, open), mark);
}

/* Bytes of a direction were decoded, or are lost. */
static void progressed(struct flow *f, int dir, const struct nbds_mark *mark)
{
	struct conn *k = f->conn;
	int side;
	const struct msg *m;

	if (!k)
		return;
	side = dir == k->server_dir ? NBDS_SERVER : NBDS_CLIENT;
	if (k->side[side].open == NO_INDEX)
		return;
	m = nbds_shark_msg(k, side, k->side[side].open);
	if (m->payload == NBDS_PAYLOAD_WRITE)
		w.last_write = MAX(w.last_write, (uint32_t)mark->frame);
	if (m->offset + m->head_len + m->payload_len <= f->fed[dir] - k->skip[dir])
		close_open(k, side, mark);
}

static struct msg_more *more_of(struct conn *k, struct msg *m)
{
	if (m->more == NO_INDEX) {
		m->more = k->more.count;
		return PILE_ADD(&k->more, struct msg_more);
	}
	return PILE_AT(&k->more, struct msg_more, m->more);
}

static void op_init(struct op *op, uint32_t index, const struct nbds_message *m)
{
	op->last_reply = NO_INDEX;
	op->request = index;
	op->request_time = m->first.time;
}

static void link_reply(struct conn *k, struct op *op, struct msg *kept, uint32_t index)
{
	if (op->last_reply != NO_INDEX) {
		struct msg *last = nbds_shark_msg(k, NBDS_SERVER, op->last_reply);
		uint32_t number = nbds_shark_number(k, last);
		uint32_t first = nbds_shark_next(k, op->last_reply);
		struct msg_more *more = more_of(k, last);

		more->number = number;
		more->next = index;
		more = more_of(k, kept);
		more->number = number + 1;
		more->next = first;
	}
	op->last_reply = index;
}

static void keep_option(struct conn *k, struct msg *kept, uint32_t index,
			const struct nbds_message *m)
{
	struct op *op;

	kept->op = k->options.count;
	op = PILE_ADD(&k->options, struct op);
	op_init(op, index, m);
	op->length = m->u.option.option;
}

/* Options are answered one after the other: the reply is to the oldest that has
 * no final one and has its number. */
static void keep_option_reply(struct conn *k, struct msg *kept, uint32_t index,
			      const struct nbds_message *m)
{
	uint32_t from = k->options.count > 64 ? k->options.count - 64 : 0;

	for (uint32_t at = from; at < k->options.count; at++) {
		struct op *op = PILE_AT(&k->options, struct op, at);

		if (op->end_frame ||
		    (m->type == NBDS_MSG_OPTION_REPLY && op->length != m->u.option_reply.option))
			continue;
		kept->op = at;
		link_reply(k, op, kept, index);
		return;
	}
}

/* The operation of a request; serial numbers have no holes, or few. */
static struct op *op_of(struct conn *k, const struct nbds_request *r, uint32_t *at)
{
	if (!r->serial || r->serial - 1 > k->ops.count + UINT64_C(65536))
		return NULL;
	*at = (uint32_t)(r->serial - 1);
	while (k->ops.count <= *at) {
		struct op *op = PILE_ADD(&k->ops, struct op);

		op->request = op->last_reply = NO_INDEX;
	}
	return PILE_AT(&k->ops, struct op, *at);
}

static void keep_request(struct conn *k, struct msg *kept, uint32_t index,
			 const struct nbds_message *m)
{
	const struct nbds_request *r = m->request;
	uint32_t at;
	struct op *op = r ? op_of(k, r, &at) : NULL;

	if (!op)
		return;
	kept->op = at;
	op_init(op, index, m);
	op->offset = r->offset;
	op->length = r->length;
	op->type = r->type;
	op->flags = r->flags;
}

static void keep_reply(struct conn *k, struct msg *kept, uint32_t index,
		       const struct nbds_message *m)
{
	const struct nbds_request *r = m->request;
	uint32_t at;
	struct op *op = r ? op_of(k, r, &at) : NULL;

	if (!op)
		return;
	kept->op = at;
	link_reply(k, op, kept, index);
	op->failed = r->error;
	op->error = r->first_error;
	if (m->payload == NBDS_PAYLOAD_READ)
		op->data_bytes += m->payload_len;
	else if (m->type == NBDS_MSG_CHUNK)
		op->data_bytes += m->u.chunk.hole;
}

static uint32_t context_name(const struct nbds_connection *c, uint32_t id)
{
	for (unsigned i = 0; i < c->context_count; i++)
		if (c->contexts[i].id == id)
			return number_bytes(c->contexts[i].name, c->contexts[i].name_len);
	return 0;
}

/* Is its head in the segment in work?  Then its frame has it at each visit. */
static bool in_segment(const struct conn *k, const struct nbds_message *m)
{
	int dir = m->from == NBDS_SERVER ? k->server_dir : !k->server_dir;
	int64_t from = (int64_t)m->offset + (int64_t)k->skip[dir] - w.segment_offset;

	return w.segment && w.touched == k->flow && w.touched_dir == dir && w.segment_known &&
	       m->first.frame == w.current_frame && m->last.frame == w.current_frame && from >= 0 &&
	       from + (int64_t)m->head_len <= (int64_t)w.segment->caplen &&
	       !memcmp(w.segment->payload + from, m->head, m->head_len);
}

/* What a message has that few do. */
static void keep_more(struct conn *k, struct msg *kept, const struct nbds_message *m)
{
	struct msg_more *more;

	/* greetings are told again inside TLS */
	if (m->type > NBDS_MSG_CLIENT_FLAGS && in_segment(k, m))
		return;
	more = more_of(k, kept);
	more->head = keep_head(m->head, m->head_len);
	more->first_frame = (uint32_t)m->first.frame;
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct conn *k = c->user;
	struct msg *kept;
	uint32_t index;

	(void)ctx;
	if (!k || m->offset < k->side[m->from].ignored)
		return;
	close_open(k, (int)m->from, &w.mark);
	index = k->side[m->from].messages.count;
	kept = PILE_ADD(&k->side[m->from].messages, struct msg);
	kept->offset = m->offset;
	kept->payload_len = m->payload_len;
	kept->head_len = m->head_len;
	kept->name = number_name(m->name);
	kept->flags = (uint8_t)m->flags;
	kept->own_frame = (uint32_t)MAX(m->first.frame, m->last.frame);
	kept->op = kept->more = NO_INDEX;
	kept->type = (uint8_t)m->type;
	kept->from = (uint8_t)m->from;
	kept->payload = (uint8_t)m->payload;
	if (!index)
		k->greeted[m->from] = m->first.time;
	keep_more(k, kept, m);
	if (m->payload == NBDS_PAYLOAD_WRITE)
		w.last_write = MAX(w.last_write, kept->own_frame);
	switch (m->type) {
	case NBDS_MSG_OPTION:
		keep_option(k, kept, index, m);
		break;
	case NBDS_MSG_OPTION_REPLY:
	case NBDS_MSG_EXPORT_NAME_REPLY:
		keep_option_reply(k, kept, index, m);
		break;
	case NBDS_MSG_REQUEST:
		keep_request(k, kept, index, m);
		break;
	case NBDS_MSG_CHUNK:
		kept->chunk_type = m->u.chunk.type;
		if (m->payload == NBDS_PAYLOAD_EXTENTS)
			more_of(k, kept)->context = context_name(c, m->u.chunk.context_id);
		keep_reply(k, kept, index, m);
		break;
	case NBDS_MSG_SIMPLE_REPLY:
		keep_reply(k, kept, index, m);
		break;
	default:
		break;
	}
	if (m->negotiated->transmission && !k->export_name && c->export_name)
		k->export_name = nbds_shark_name(number_bytes(c->export_name, c->export_name_len));
	if (m->negotiated->tls)
		k->tls = true;
	if (m->payload_len && !(m->flags & NBDS_MSG_REPLAYED))
		k->side[m->from].open = index;
	else
		message_end(k, kept, &m->last);
	if (kept->own_frame != w.current_frame) {
		VECTOR_ADD(k->late, k->late_count, k->late_room);
		k->late[k->late_count - 1].side = (uint8_t)m->from;
		k->late[k->late_count - 1].index = index;
	}
}

/* A reply that was broken off is not shown as one whose data came. */
static void on_message_end(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			   uint64_t came)
{
	struct conn *k = c->user;
	uint32_t open = k ? k->side[m->from].open : NO_INDEX;

	(void)ctx;
	if (open == NO_INDEX || came >= m->payload_len ||
	    nbds_shark_msg(k, (int)m->from, open)->offset != m->offset)
		return;
	nbds_shark_msg(k, (int)m->from, open)->flags |= NBDS_MSG_INCOMPLETE;
	k->side[m->from].open = NO_INDEX;
}

static void on_trouble(void *ctx, struct nbds_connection *c, const struct nbds_trouble *t)
{
	struct conn *k = c->user;
	struct trouble *kept;

	(void)ctx;
	if (!k || t->kind == NBDS_TROUBLE_FORGOT || t->offset < k->side[t->side].ignored)
		return;
	VECTOR_ADD(k->side[t->side].troubles, k->side[t->side].trouble_count,
		   k->side[t->side].trouble_room);
	kept = &k->side[t->side].troubles[k->side[t->side].trouble_count - 1];
	kept->offset = t->offset;
	kept->length = t->length;
	kept->text = t->text ? keep_name(t->text) : "";
	kept->frame = (uint32_t)t->where.frame;
	kept->kind = (uint8_t)t->kind;
	kept->side = (uint8_t)t->side;
}

/* --- connections --- */

static void on_connection(void *ctx, struct nbds_connection *c)
{
	struct flow *f = c->user;
	struct conn *k;

	(void)ctx;
	c->user = NULL;
	if (!f->inside && !nbds_prefs_any_port() && !nbds_prefs_port(c->server.port))
		return;
	k = g_new0(struct conn, 1);
	g_ptr_array_add(w.conns, k);
	k->c = c;
	k->flow = f;
	k->id = c->id;
	k->server_dir = nbds_addr_equal(&f->b, &c->server);
	k->inside = f->inside;
	for (int i = 0; i < 2; i++) {
		k->skip[i] = nbds_feed_skipped(f->feed, i);
		k->side[i].open = NO_INDEX;
		k->side[i].ignored = f->greeting[i];
	}
	f->conn = k;
	c->user = k;
}

/* --- what is unflushed --- */

static guint share_hash(gconstpointer key)
{
	const struct share *s = key;

	/* of servers there are as many as anybody likes */
	return (guint)nbds_hash_bytes(&w.key, g_direct_hash(s->name), &s->server.ip,
				      sizeof(s->server.ip)) +
	       s->server.port;
}

static gboolean share_equal(gconstpointer a, gconstpointer b)
{
	const struct share *x = a, *y = b;

	/* there is one copy of each name */
	return x->name == y->name && nbds_addr_equal(&x->server, &y->server);
}

struct share *nbds_watch_share(struct conn *k)
{
	struct share key = {.name = k->export_name, .server = k->c->server};

	if (k->share)
		return k->share;
	k->share = key.name ? g_hash_table_lookup(w.shares, &key) : NULL;
	if (!k->share) {
		k->share = wmem_new(wmem_file_scope(), struct share);
		*k->share = key;
		if (key.name)
			g_hash_table_add(w.shares, k->share);
	}
	return k->share;
}

static void dirty_add(struct share *s, struct conn *k)
{
	k->prev_dirty = s->last_dirty;
	k->next_dirty = NULL;
	*(s->last_dirty ? &s->last_dirty->next_dirty : &s->first_dirty) = k;
	s->last_dirty = k;
}

static void dirty_remove(struct share *s, struct conn *k)
{
	*(k->prev_dirty ? &k->prev_dirty->next_dirty : &s->first_dirty) = k->next_dirty;
	*(k->next_dirty ? &k->next_dirty->prev_dirty : &s->last_dirty) = k->prev_dirty;
}

/* Whether something changed. */
static bool unflushed_now(struct share *s, struct conn *k)
{
	uint64_t was = k->unflushed;

	nbds_connection_refresh(k->c);
	k->unflushed = k->c->unflushed_bytes;
	if (k->unflushed == was)
		return false;
	s->unflushed += k->unflushed - was;
	if (!was)
		dirty_add(s, k);
	else if (!k->unflushed)
		dirty_remove(s, k);
	return true;
}

struct left_unflushed {
	const struct rec *rec;
	uint64_t bytes;
};

/* After the bytes of a record went through the engine. */
static void settle(struct rec *r)
{
	struct conn *k = r->flow->conn, *next;
	struct left_unflushed left;
	unsigned same = 0;
	struct share *s;

	if (!k || !k->settled)
		return;
	s = nbds_watch_share(k);
	unflushed_now(s, k);
	if (k->flushed)
		for (struct conn *o = s->first_dirty; o && same < UNCOVERED_RUN; o = next) {
			next = o->next_dirty;
			same = unflushed_now(s, o) ? 0 : same + 1;
		}
	k->settled = k->flushed = false;
	r->settled = true;
	left = (struct left_unflushed){r, s->unflushed};
	g_array_append_val(w.unflushed, left);
}

uint64_t nbds_watch_unflushed(const struct rec *r)
{
	unsigned low = 0, high = w.unflushed->len;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (g_array_index(w.unflushed, struct left_unflushed, middle).rec->frame < r->frame)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < w.unflushed->len; low++) {
		const struct left_unflushed *left =
			&g_array_index(w.unflushed, struct left_unflushed, low);

		if (left->rec == r)
			return left->bytes;
		if (left->rec->frame > r->frame)
			break;
	}
	return 0;
}

/* --- findings --- */

struct notes {
	struct note *first, *last;
};

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct nbds_finding *kept;
	const struct nbds_connection *c =
		f->connection ? nbds_engine_connection(nbds_feed_engine(w.feed), f->connection)
			      : NULL;
	bool *told;

	(void)ctx;
	/* of a connection that is not to be taken for NBD nothing is shown */
	if (!nbds_prefs.findings || (c && !c->user))
		return;
	kept = nbds_finding_copy(f);
	if (!kept)
		return;
	if (c)
		((struct conn *)c->user)->findings += f->count;
	told = wmem_new0(wmem_file_scope(), bool);
	g_ptr_array_add(w.findings, kept);
	g_array_append_val(w.told, told);
	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		void *key = GUINT_TO_POINTER((uint32_t)f->frames[role]);
		struct notes *notes;

		if (!f->frames[role])
			continue;
		notes = wmem_map_lookup(w.notes, key);
		if (!notes) {
			notes = wmem_new0(wmem_file_scope(), struct notes);
			wmem_map_insert(w.notes, key, notes);
		}
		if (!notes->last || notes->last->finding != kept) {
			struct note *note = wmem_new0(wmem_file_scope(), struct note);

			note->finding = kept;
			note->told = told;
			*(notes->last ? &notes->last->next : &notes->first) = note;
			notes->last = note;
		}
		notes->last->roles |= (uint16_t)(1u << role);
	}
}

const struct nbds_connection *nbds_watch_connection(uint32_t id)
{
	const struct nbds_connection *c =
		w.on ? nbds_engine_connection(nbds_feed_engine(w.feed), id) : NULL;

	if (c)
		nbds_connection_refresh((struct nbds_connection *)c);
	return c;
}

const struct conn *nbds_watch_conn(uint32_t frame)
{
	if (!w.on)
		return NULL;
	for (uint32_t i = rec_after(frame); i && rec_at(i - 1)->frame == frame; i--)
		if (rec_at(i - 1)->flow->conn)
			return rec_at(i - 1)->flow->conn;
	return NULL;
}

uint32_t nbds_watch_conn_count(void)
{
	uint32_t last = 0;

	/* ids are given in the order in which connections are found */
	if (w.on && w.conns->len)
		last = ((const struct conn *)g_ptr_array_index(w.conns, w.conns->len - 1))->id;
	return last;
}

uint64_t nbds_watch_findings(uint32_t id)
{
	const struct nbds_connection *c =
		w.on ? nbds_engine_connection(nbds_feed_engine(w.feed), id) : NULL;
	const struct conn *k = c ? c->user : NULL;

	return k ? k->findings : 0;
}

const struct note *nbds_watch_notes(uint32_t frame)
{
	struct notes *notes = w.on ? wmem_map_lookup(w.notes, GUINT_TO_POINTER(frame)) : NULL;

	return notes ? notes->first : NULL;
}

bool nbds_watch_first(void)
{
	bool first = !w.first;

	w.first = true;
	return first;
}

const struct nbds_finding *nbds_watch_news(void)
{
	for (; w.untold < w.findings->len; w.untold++) {
		bool *told = g_array_index(w.told, bool *, w.untold);

		if (*told)
			continue;
		*told = true;
		return g_ptr_array_index(w.findings, w.untold++);
	}
	return NULL;
}

/* --- flows, as the feed tells of them --- */

static void *flow_open(void *ctx, struct nbds_feed_flow *feed, const struct nbds_addr *a,
		       const struct nbds_addr *b, const struct nbds_mark *where)
{
	struct flow *f = wmem_new0(wmem_file_scope(), struct flow);

	(void)ctx;
	(void)where;
	f->feed = feed;
	f->a = *a;
	f->b = *b;
	return f;
}

static void flow_frame(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct flow *f = user;

	(void)ctx;
	if (!w.segment || w.segment->packet->frame != where->frame)
		return;
	w.touched = f;
	w.touched_dir = dir;
	w.segment_known = nbds_feed_offset(f->feed, dir, w.segment->seq, &w.segment_offset);
}

static void flow_before(void *ctx, void *user, const struct nbds_mark *where)
{
	(void)ctx;
	(void)user;
	w.mark = *where;
}

static void flow_fed(void *ctx, void *user, int dir, uint64_t len, const struct nbds_mark *where)
{
	struct flow *f = user;

	(void)ctx;
	f->fed[dir] += len;
	if (f->conn)
		f->conn->skip[dir] = nbds_feed_skipped(f->feed, dir);
	progressed(f, dir, where);
}

static void flow_close(void *ctx, void *user)
{
	struct flow *f = user;

	(void)ctx;
	f->feed = NULL;
}

static const struct nbds_feed_hooks hooks = {
	.open = flow_open,
	.frame = flow_frame,
	.before = flow_before,
	.fed = flow_fed,
	.close = flow_close,
};

/* --- segments --- */

static bool endpoint(const address *from, uint16_t port, struct nbds_addr *to)
{
	memset(to, 0, sizeof(*to));
	to->port = port;
	if (from->type == AT_IPv4)
		to->family = 4;
	else if (from->type == AT_IPv6)
		to->family = 6;
	else
		return false;
	memcpy(to->ip, from->data, to->family == 4 ? 4 : 16);
	return true;
}

/* Nanoseconds, as far as they go: files can have any times. */
static int64_t nanoseconds(const nstime_t *t)
{
	int64_t secs = (int64_t)t->secs;

	if (secs >= INT64_MAX / 1000000000)
		return INT64_MAX;
	if (secs <= INT64_MIN / 1000000000)
		return INT64_MIN;
	return secs * 1000000000 + t->nsecs;
}

static struct nbds_packet packet_of(const packet_info *pinfo)
{
	/* Blocks without a time get that of the packet before. */
	struct nbds_packet p = {
		.frame = pinfo->num,
		.time = pinfo->rec->presence_flags & WTAP_HAS_TS ? nanoseconds(&pinfo->abs_ts)
								 : w.last_time,
	};

	if (pinfo->rec->presence_flags & WTAP_HAS_INTERFACE_ID)
		p.interface = pinfo->rec->rec_header.packet_header.interface_id;
	return p;
}

/* The length of a TCP header whose first 20 bytes are there. */
static uint32_t header_length(tvbuff_t *tvb)
{
	return (*tvb_get_ptr(tvb, 12, 1) >> 4) * 4u;
}

static bool segment_of(tvbuff_t *tvb, const packet_info *pinfo, struct nbds_segment *s)
{
	uint32_t here = tvb_captured_length(tvb), wire = tvb_reported_length(tvb);

	memset(s, 0, sizeof(*s));
	return here >= 20 && endpoint(&pinfo->src, tvb_get_ntohs(tvb, 0), &s->src) &&
	       endpoint(&pinfo->dst, tvb_get_ntohs(tvb, 2), &s->dst) &&
	       nbds_segment_parse(s, tvb_get_ptr(tvb, 0, (int)here), here, wire);
}

static void tick(int64_t now)
{
	w.last_time = now;
	nbds_feed_time(w.feed, now);
}

/* Interfaces have clocks of their own.  How many there are is not told, but each
 * of a file with several has a name, as a rule. */
static void count_interfaces(const packet_info *pinfo, const struct nbds_packet *packet)
{
	uint32_t count = packet->interface + 1;

	if (count <= w.interfaces)
		return;
	if (pinfo->rec->presence_flags & WTAP_HAS_INTERFACE_ID)
		while (count < INTERFACES_MAX && nbds_ws_interface_known(pinfo, count))
			count++;
	w.interfaces = count;
	nbds_engine_interfaces(nbds_feed_engine(w.feed), count);
}

/* After each frame, whatever it is: time goes on. */
static int after_frame(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree _U_, void *data _U_)
{
	if (w.on && !w.finished && !PINFO_FD_VISITED(pinfo) && nbds_prefs_enabled())
		tick(packet_of(pinfo).time);
	if (w.on && w.finished && pinfo->num == w.last_write)
		nbds_objects_end(pinfo);
	return (int)tvb_captured_length(tvb);
}

static struct rec *first_visit(tvbuff_t *tvb, packet_info *pinfo)
{
	struct nbds_packet packet = packet_of(pinfo);
	struct nbds_segment s;
	struct rec *r = NULL;
	int64_t offset;

	if (!segment_of(tvb, pinfo, &s))
		return NULL;
	count_interfaces(pinfo, &packet);
	s.packet = &packet;
	w.touched = NULL;
	w.segment = &s;
	w.segment_known = false;
	nbds_feed_segment(w.feed, &s);
	w.segment = NULL;
	if (w.touched) {
		struct flow *f = w.touched;

		offset = w.segment_offset;
		if (s.len &&
		    (w.segment_known ||
		     (f->feed && nbds_feed_offset(f->feed, w.touched_dir, s.seq, &offset)))) {
			r = rec_add(pinfo->num, pinfo->curr_layer_num, false);
			if (r) {
				r->flow = f;
				r->offset = offset;
				r->dir = (uint8_t)w.touched_dir;
				settle(r);
			}
		}
	}
	w.touched = NULL;
	return r;
}

/* Has TCP called us already?  If not, and if there is something to be shown. */
static void show_rest(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree)
{
	struct rec *r = w.current;

	if (r && r->flow->conn && !w.shown && !r->flow->conn->tls_told) {
		conversation_t *talk = find_conversation_pinfo(pinfo, 0);

		if (talk && !conversation_get_dissector(talk, pinfo->num))
			conversation_set_dissector(talk, nbds_shark_handle);
		if (nbds_show_wanted(r, w.payload, pinfo)) {
			w.shown = true;
			nbds_show_record(r, w.payload, pinfo, tree);
		}
	}
	nbds_show_findings(tvb, pinfo, tree);
}

int nbds_watch_tcp(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree, void *data)
{
	struct rec *outer = w.current;
	tvbuff_t *outer_payload = w.payload;
	bool outer_shown = w.shown;
	int result;

	if (!w.on || pinfo->flags.in_error_pkt || !nbds_prefs_enabled())
		return call_dissector_only(tcp_handle, tvb, pinfo, tree, data);
	w.current_frame = pinfo->num;
	w.shown = false;
	w.payload = NULL;
	if (PINFO_FD_VISITED(pinfo) || w.finished)
		w.current = rec_find(pinfo->num, pinfo->curr_layer_num, false);
	else
		w.current = first_visit(tvb, pinfo);
	if (w.current) {
		uint32_t header = header_length(tvb);

		if (tvb_captured_length(tvb) > header)
			w.payload = tvb_new_subset_remaining(tvb, (int)header);
		else
			w.current = NULL;
	}
	result = call_dissector_only(tcp_handle, tvb, pinfo, tree, data);
	show_rest(tvb, pinfo, tree);
	w.current = outer;
	w.payload = outer_payload;
	w.shown = outer_shown;
	return result;
}

struct rec *nbds_watch_current(packet_info *pinfo, tvbuff_t **payload)
{
	wmem_list_frame_t *caller = wmem_list_frame_prev(wmem_list_tail(pinfo->layers));
	static int proto_tcp = -1;

	if (proto_tcp < 0)
		proto_tcp = proto_get_id_by_filter_name("tcp");
	if (!w.on || !w.current || w.current_frame != pinfo->num || !caller ||
	    GPOINTER_TO_INT(wmem_list_frame_data(caller)) != proto_tcp)
		return NULL;
	*payload = w.shown ? NULL : w.payload;
	w.shown = true;
	return w.current;
}

/* --- inside other protocols --- */

/* A greeting, seen before TLS began.  What is negotiated inside builds upon it:
 * the decoder has it again. */
static void greet_again(struct flow *f, const struct conn *outside)
{
	static const enum nbds_message_type types[] = {
		[NBDS_SERVER] = NBDS_MSG_GREETING, [NBDS_CLIENT] = NBDS_MSG_CLIENT_FLAGS};

	for (int side = 0; side < 2; side++)
		f->greeting[side] = nbds_shark_msg(outside, side, 0)->head_len;
	for (int side = NBDS_SERVER; side >= NBDS_CLIENT; side--) {
		const struct msg *m = nbds_shark_msg(outside, side, 0);
		struct nbds_mark mark = {.frame = m->own_frame,
					 .lo_frame = m->own_frame,
					 .time = outside->greeted[side],
					 .lo_time = outside->greeted[side],
					 .ack = NBDS_NO_ACK};

		if (m->type == types[side])
			nbds_feed_bytes(f->feed, side == NBDS_SERVER,
					nbds_shark_more(outside, m)->head, m->head_len, false,
					&mark);
	}
}

static bool greeted(const struct conn *k)
{
	return k->side[NBDS_SERVER].messages.count && k->side[NBDS_CLIENT].messages.count &&
	       nbds_shark_msg(k, NBDS_SERVER, 0)->type == NBDS_MSG_GREETING &&
	       nbds_shark_msg(k, NBDS_CLIENT, 0)->type == NBDS_MSG_CLIENT_FLAGS;
}

/* NULL without memory. */
static struct flow *flow_inside(const struct nbds_addr *a, const struct nbds_addr *b,
				bool from_start, const struct nbds_mark *where)
{
	struct nbds_feed_flow *feed = nbds_feed_open(w.feed, a, b, from_start, where);

	struct flow *f = feed ? nbds_feed_user(feed) : NULL;

	if (f)
		f->inside = true;
	return f;
}

static struct flow *inside_flow(packet_info *pinfo, const struct nbds_addr *src,
				const struct nbds_addr *dst, const struct nbds_mark *mark)
{
	conversation_t *talk = find_or_create_conversation(pinfo);
	struct flow *f = conversation_get_proto_data(talk, nbds_shark_proto_tcp);
	const struct conn *outside = w.current ? w.current->flow->conn : NULL;

	if (f || PINFO_FD_VISITED(pinfo) || w.finished)
		return f;
	if (outside && outside->tls && greeted(outside)) {
		f = flow_inside(&outside->c->client, &outside->c->server, true, mark);
		if (f)
			greet_again(f, outside);
	} else {
		f = flow_inside(src, dst, false, mark);
	}
	if (!f)
		return NULL;
	g_ptr_array_add(w.inside, f);
	conversation_add_proto_data(talk, nbds_shark_proto_tcp, f);
	return f;
}

/* How many pieces of payload the frame has had before this one. */
static uint32_t next_piece(packet_info *pinfo)
{
	uint32_t *count = p_get_proto_data(pinfo->pool, pinfo, nbds_shark_proto_tcp, 0);

	if (!count) {
		count = wmem_new0(pinfo->pool, uint32_t);
		p_add_proto_data(pinfo->pool, pinfo, nbds_shark_proto_tcp, 0, count);
	}
	return (*count)++;
}

struct rec *nbds_watch_inside(tvbuff_t *tvb, packet_info *pinfo)
{
	struct nbds_packet packet = packet_of(pinfo);
	struct nbds_mark mark = {.frame = packet.frame,
				 .lo_frame = packet.frame,
				 .time = packet.time,
				 .lo_time = packet.time,
				 .ack = NBDS_NO_ACK,
				 .interface = packet.interface};
	uint32_t piece, here = tvb_captured_length(tvb), wire = tvb_reported_length(tvb);
	struct nbds_addr src, dst;
	struct flow *f;
	struct rec *r;
	int dir;

	if (!w.on || pinfo->flags.in_error_pkt || !nbds_prefs_enabled() ||
	    !endpoint(&pinfo->src, (uint16_t)pinfo->srcport, &src) ||
	    !endpoint(&pinfo->dst, (uint16_t)pinfo->destport, &dst))
		return NULL;
	f = inside_flow(pinfo, &src, &dst, &mark);
	piece = next_piece(pinfo);
	if (!f)
		return NULL;
	if (PINFO_FD_VISITED(pinfo) || w.finished)
		return rec_find(pinfo->num, piece, true);
	w.current_frame = pinfo->num;
	dir = !nbds_addr_equal(&f->a, &src);
	r = rec_add(pinfo->num, piece, true);
	if (r) {
		r->flow = f;
		r->dir = (uint8_t)dir;
		r->offset = (int64_t)f->fed[dir];
	}
	if (here)
		nbds_feed_bytes(f->feed, dir, tvb_get_ptr(tvb, 0, (int)here), here, false, &mark);
	if (wire > here)
		nbds_feed_bytes(f->feed, dir, NULL, wire - here, true, &mark);
	if (r)
		settle(r);
	return r;
}

/* --- a file's life --- */

/* The engine's last word: no frame is still to come. */
static void finish(void)
{
	struct nbds_mark end = {
		.frame = w.current_frame, .lo_frame = w.current_frame, .ack = NBDS_NO_ACK};

	if (!w.on || w.finished)
		return;
	end.time = end.lo_time = nbds_feed_newest(w.feed);
	w.finished = true;
	for (unsigned i = 0; i < w.inside->len; i++) {
		struct flow *f = g_ptr_array_index(w.inside, i);

		nbds_feed_close(f->feed, &end);
	}
	nbds_feed_finish(w.feed);
}

/* Wireshark's light for expert infos shows the worst that was told while the file was
 * read.  What becomes certain at its end is told of no frame then, so that the light is
 * told here; who lists expert infos has them from the frames, later. */
static void light(void)
{
	const struct nbds_finding *worst = NULL;
	packet_info pinfo;

	for (unsigned i = 0; w.on && i < w.findings->len; i++) {
		const struct nbds_finding *f = g_ptr_array_index(w.findings, i);

		if (!worst || f->severity > worst->severity)
			worst = f;
	}
	if (!worst || have_tap_listener(find_tap_id("expert")))
		return;
	memset(&pinfo, 0, sizeof(pinfo));
	pinfo.num = w.current_frame ? w.current_frame : 1;
	expert_add_info(&pinfo, NULL, nbds_shark_ei_of(worst));
}

static void sequence_over(void)
{
	finish();
	light();
}

static void conn_free(void *data)
{
	struct conn *k = data;

	for (int i = 0; i < 2; i++) {
		pile_free(&k->side[i].messages);
		g_free(k->side[i].troubles);
	}
	pile_free(&k->more);
	pile_free(&k->ops);
	pile_free(&k->options);
	g_free(k->late);
	g_free(k);
}

static void finding_free(void *data)
{
	nbds_finding_free(data);
}

/* tshark that looks at frames but once says nothing of what became certain at the end of
 * the file: at least that is to be said, unless it is notes only. */
static void tell_untold(void)
{
	enum nbds_severity worst = NBDS_NOTE;
	uint64_t untold = 0;

	for (unsigned i = 0; i < w.findings->len; i++) {
		const struct nbds_finding *f = g_ptr_array_index(w.findings, i);

		if (*g_array_index(w.told, bool *, i) || f->severity == NBDS_NOTE)
			continue;
		worst = MAX(worst, f->severity);
		untold++;
	}
	if (untold)
		fprintf(stderr,
			"nbdscope: %" PRIu64 " finding%s (%s%s) became certain at the end of the"
			" capture only: tshark -2 shows all\n",
			untold, untold == 1 ? "" : "s",
			untold == 1 ? "" : "the worst: ", nbds_severity_name(worst));
}

static void cleanup(void)
{
	bool once = !w.finished;

	if (!w.on)
		return;
	finish();
	if (once)
		tell_untold();
	nbds_objects_forget();
	nbds_feed_free(w.feed);
	g_ptr_array_free(w.conns, TRUE);
	g_ptr_array_free(w.findings, TRUE);
	g_array_free(w.told, TRUE);
	g_ptr_array_free(w.inside, TRUE);
	g_hash_table_destroy(w.shares);
	g_hash_table_destroy(w.name_number);
	g_ptr_array_free(w.names, TRUE);
	pile_free(&w.recs);
	g_array_free(w.unflushed, TRUE);
	memset(&w, 0, sizeof(w));
}

static void init(void)
{
	struct nbds_feed_config config = {
		.engine = {.exclusive = nbds_prefs.exclusive, .keep_ended = true},
		.remembered = REMEMBERED,
		.ops = {.connection = on_connection,
			.message = on_message,
			.message_end = on_message_end,
			.trouble = on_trouble,
			.finding = on_finding},
		.hooks = hooks,
		.drops_untold = true, /* Wireshark does not tell dissectors */
	};

	cleanup();
	config.engine.port_count = nbds_prefs_ports(config.engine.ports, NBDS_PORTS_MAX);
	w.feed = nbds_feed_new(&config);
	if (!w.feed)
		return;
	w.key = nbds_hash_key_new();
	w.notes = wmem_map_new(wmem_file_scope(), g_direct_hash, g_direct_equal);
	w.conns = g_ptr_array_new_with_free_func(conn_free);
	w.findings = g_ptr_array_new_with_free_func(finding_free);
	w.told = g_array_new(FALSE, FALSE, sizeof(bool *));
	w.inside = g_ptr_array_new();
	w.names = g_ptr_array_new_with_free_func(g_free);
	g_ptr_array_add(w.names, NULL);
	w.name_number = g_hash_table_new(name_hash, g_str_equal);
	w.unflushed = g_array_new(FALSE, FALSE, sizeof(struct left_unflushed));
	w.shares = g_hash_table_new(share_hash, share_equal);
	w.on = true;
}

void nbds_watch_handoff(void)
{
	dissector_table_t protocols = find_dissector_table("ip.proto");
	dissector_handle_t watch;

	register_init_routine(init);
	register_cleanup_routine(cleanup);
	register_postseq_cleanup_routine(sequence_over);
	tcp_handle = dissector_get_uint_handle(protocols, 6);
	if (!tcp_handle)
		return;
	watch = create_dissector_handle(nbds_watch_tcp, nbds_shark_proto_tcp);
	dissector_add_uint("ip.proto", 6, watch);
	register_postdissector(create_dissector_handle(after_frame, nbds_shark_proto_tcp));
}
