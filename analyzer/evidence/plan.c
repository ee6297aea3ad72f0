/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plan.c - where the messages are that may belong to a proof. See plan.h.
 *
 * A request waits in `pending` with its pieces, and those of its answers, until the final
 * one is over: only then it is known what they are needed for, and most are forgotten.
 */
#include "plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <nbdscope/fields.h>
#include <nbdscope/protocol.h>

#include "../capture/capture.h"
#include "../capture/ip.h"
#include "../feed/feed.h"

/* What lies in the same pages, or blocks of a file system, may matter. */
#define NEAR UINT64_C(4096)

#define SUMMARY_MAX 240

/* Of an engine that is told nothing else. */
#define MEMORY_USUAL (UINT64_C(1) << 30)

/* Packets between two looks at what the capture says that it dropped. */
#define DROPS_PACKETS 512

/* Type and version of a TLS record, by which it is known. */
#define TLS_TELLS 3

/* A request with its answers. */
struct plan_op {
	struct nbds_table_node node; /* by serial */
	struct nbds_list all;
	uint64_t serial;
	uint64_t frame;   /* of the request */
	unsigned use;     /* NBDS_FOR_* */
	const char *role; /* what it is to the finding; NULL: nothing */
	struct nbds_pieces pieces;
};

/* --- pieces --- */

static void piece_free(struct nbds_plan *p, struct nbds_piece *piece)
{
	if (piece->words)
		nbds_budget_free(&p->budget, piece->words, strlen(piece->words) + 1);
	nbds_budget_free(&p->budget, piece->head, (size_t)piece->head_len * 2);
	nbds_budget_free(&p->budget, piece->digests, piece->sectors * sizeof(*piece->digests));
	nbds_budget_free(&p->budget, piece->whole, piece->sectors);
	nbds_budget_free(&p->budget, piece->sector, NBDS_MASK_SECTOR);
	nbds_budget_free(&p->budget, piece, sizeof(*piece));
}

static void pieces_free(struct nbds_plan *p, struct nbds_pieces *pieces)
{
	for (size_t i = 0; i < pieces->count; i++)
		piece_free(p, pieces->at[i]);
	nbds_vector_free(pieces, &p->budget);
}

static char *keep_words(struct nbds_plan *p, const char *text)
{
	size_t size = strlen(text) + 1;
	char *kept = nbds_budget_alloc(&p->budget, size);

	if (kept)
		memcpy(kept, text, size);
	else
		p->failed = true;
	return kept;
}

/* The sectors that its contents are in. */
static void prepare_contents(struct nbds_plan *p, struct nbds_piece *piece, uint64_t len)
{
	uint64_t sectors =
		(piece->device % NBDS_MASK_SECTOR + len + NBDS_MASK_SECTOR - 1) / NBDS_MASK_SECTOR;

	/* More than any message has is not believed, nor masked by sectors. */
	if (sectors > UINT64_C(1) << 23)
		return;
	piece->digests = nbds_budget_alloc(&p->budget, (size_t)sectors * sizeof(*piece->digests));
	piece->whole = nbds_budget_alloc(&p->budget, (size_t)sectors);
	piece->sector = nbds_budget_alloc(&p->budget, NBDS_MASK_SECTOR);
	if (piece->digests && piece->whole && piece->sector) {
		piece->sectors = (size_t)sectors;
		return;
	}
	p->failed = true;
	nbds_budget_free(&p->budget, piece->digests, (size_t)sectors * sizeof(*piece->digests));
	nbds_budget_free(&p->budget, piece->whole, (size_t)sectors);
	nbds_budget_free(&p->budget, piece->sector, NBDS_MASK_SECTOR);
	piece->digests = NULL;
	piece->whole = NULL;
	piece->sector = NULL;
}

/* Contents come, `at` bytes into the payload: each sector that is whole gets its digest. */
static void take_contents(struct nbds_plan *p, struct nbds_piece *piece, uint64_t at,
			  const uint8_t *data, size_t len)
{
	uint64_t first = piece->device / NBDS_MASK_SECTOR;

	while (len) {
		uint64_t place = piece->device + at;
		uint32_t inside = (uint32_t)(place % NBDS_MASK_SECTOR);
		size_t n = NBDS_MASK_SECTOR - inside;
		uint64_t sector = place / NBDS_MASK_SECTOR - first;

		if (n > len)
			n = len;
		if (inside == 0)
			piece->filled = 0;
		if (sector < piece->sectors && piece->filled == inside) {
			memcpy(piece->sector + inside, data, n);
			piece->filled += (uint32_t)n;
			if (piece->filled == NBDS_MASK_SECTOR) {
				piece->digests[sector] = nbds_mask_digest(p->mask, piece->sector);
				piece->whole[sector] = 1;
			}
		} else {
			piece->filled = UINT32_MAX; /* its beginning is missing */
		}
		at += n;
		data += n;
		len -= n;
	}
}

static uint64_t contents_offset(const struct nbds_message *m)
{
	return m->type == NBDS_MSG_CHUNK ? m->u.chunk.offset : m->request ? m->request->offset : 0;
}

/* Takes out what stands in quotes. */
static void unquote(char *text)
{
	char *to = text;
	bool inside = false;

	for (const char *at = text; *at; at++) {
		if (*at == '"')
			inside = !inside;
		else if (inside && *at == '\\' && at[1])
			at++;
		else if (!inside)
			*to++ = *at;
	}
	*to = '\0';
}

static struct nbds_piece *piece_new(struct nbds_plan *p, const struct nbds_plan_flow *f,
				    const struct nbds_message *m, int dir, const char *role)
{
	struct nbds_piece *piece = nbds_budget_alloc(&p->budget, sizeof(*piece));
	char summary[SUMMARY_MAX], words[SUMMARY_MAX + 128];

	if (!piece) {
		p->failed = true;
		return NULL;
	}
	piece->dir = dir;
	piece->from = m->offset + nbds_feed_skipped(f->feed, dir);
	piece->to = piece->from + m->head_len + m->payload_len;
	piece->frame = m->first.frame;
	piece->payload = m->payload;
	/* In the words of a summary there may be names, and the server's own words. */
	if (p->mask && m->type != NBDS_MSG_REQUEST && m->type != NBDS_MSG_SIMPLE_REPLY &&
	    m->type != NBDS_MSG_CHUNK)
		snprintf(summary, sizeof(summary), "%s", m->name);
	else
		nbds_summary(m, summary, sizeof(summary));
	if (p->mask)
		unquote(summary);
	snprintf(words, sizeof(words), "%s%s%s", summary, role ? ": " : "", role ? role : "");
	piece->words = keep_words(p, words);
	if (!p->mask)
		return piece;
	piece->head_len = m->head_len;
	piece->head = nbds_budget_alloc(&p->budget, (size_t)m->head_len * 2);
	if (piece->head) {
		nbds_mask_head(p->mask, m, piece->head);
		memcpy(piece->head + m->head_len, m->head, m->head_len);
	} else {
		piece->head_len = 0;
		p->failed = true;
	}
	if (m->payload == NBDS_PAYLOAD_WRITE || m->payload == NBDS_PAYLOAD_READ) {
		piece->device = contents_offset(m);
		prepare_contents(p, piece, m->payload_len);
	}
	return piece;
}

/* False: there is no memory for it, and it is freed. */
static bool keep_piece(struct nbds_plan *p, struct nbds_plan_flow *f, struct nbds_piece *piece)
{
	if (nbds_vector_push(&f->pieces[piece->dir], &p->budget, piece))
		return true;
	p->failed = true;
	piece_free(p, piece);
	return false;
}

/* --- what a message is to the finding --- */

static bool is_role(const struct nbds_finding *f, uint64_t frame)
{
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role] && f->frames[role] == frame)
			return true;
	return false;
}

static const char *const role_words[NBDS_ROLE_MAX] = {
	[NBDS_ROLE_EARLIER_READ] = "an earlier read, which shows the other data",
	[NBDS_ROLE_STALE_WRITE] = "the write whose data came instead",
	[NBDS_ROLE_WRITE_REQUEST] = "the write that should have been seen",
	[NBDS_ROLE_WRITE] = "the write that should have been seen",
	[NBDS_ROLE_FLUSH_REQUEST] = "the flush that covers it",
	[NBDS_ROLE_FLUSH] = "the flush that covers it",
	[NBDS_ROLE_READ_REQUEST] = "the read at fault",
	[NBDS_ROLE_READ] = "the read at fault",
	[NBDS_ROLE_REQUEST] = "the request that it belongs to",
	[NBDS_ROLE_MESSAGE] = "the message at fault",
};

/* A request of the finding itself; *role is what it is there. */
static bool is_witness(const struct nbds_plan *p, const struct nbds_plan_flow *f,
		       const struct nbds_message *m, const char **role)
{
	const struct nbds_finding *found = p->finding;
	bool told = false;

	for (unsigned i = 0; i < found->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		const struct nbds_witness *w = &found->witnesses[i];

		if (w->connection != f->id || w->request_frame != m->first.frame)
			continue;
		told = true;
		if (m->request && w->type == m->request->type && w->offset == m->request->offset) {
			*role = role_words[w->role];
			return true;
		}
	}
	/* Others in the frame of a witness are others. */
	if (told && m->first.frame != found->frames[NBDS_ROLE_MESSAGE] &&
	    m->first.frame != found->frames[NBDS_ROLE_REQUEST])
		return false;
	for (int r = 0; r < NBDS_ROLE_MAX; r++) {
		if (found->frames[r] &&
		    (found->frames[r] == m->first.frame || found->frames[r] == m->last.frame)) {
			*role = role_words[r];
			return true;
		}
	}
	return false;
}

static bool writes(uint16_t type)
{
	return type == NBD_CMD_WRITE || type == NBD_CMD_WRITE_ZEROES || type == NBD_CMD_TRIM;
}

static bool is_near(const struct nbds_finding *f, const struct nbds_request *r)
{
	uint64_t from = f->offset & ~(NEAR - 1);
	uint64_t to = f->length > UINT64_MAX - f->offset - NEAR
			      ? UINT64_MAX
			      : (f->offset + f->length + NEAR - 1) & ~(NEAR - 1);

	if (!f->has_range || r->offset >= to)
		return false;
	return r->length > UINT64_MAX - r->offset || r->offset + r->length > from;
}

static unsigned use_of(const struct nbds_plan *p, const struct nbds_plan_flow *f,
		       const struct nbds_message *m, const char **role)
{
	const struct nbds_request *r = m->request;
	unsigned use = p->everything ? NBDS_FOR_ALL : 0;

	if (is_witness(p, f, m, role))
		use |= NBDS_FOR_WITNESS;
	if (!r)
		return use;
	if (r->type == NBD_CMD_DISC)
		return use | NBDS_FOR_END;
	if (r->type == NBD_CMD_FLUSH || r->flags & NBD_CMD_FLAG_FUA || is_near(p->finding, r) ||
	    (!writes(r->type) && r->type != NBD_CMD_READ))
		use |= NBDS_FOR_RANGE | NBDS_FOR_UNFLUSHED;
	if (writes(r->type) && f->tier == NBDS_TIER_WITNESS)
		use |= NBDS_FOR_UNFLUSHED;
	return use;
}

/* --- requests with their answers --- */

static uint64_t serial_hash(const struct nbds_plan *p, uint64_t serial)
{
	return nbds_hash_bytes(&p->seed, 1, &serial, sizeof(serial));
}

static struct plan_op *op_find(const struct nbds_plan *p, const struct nbds_plan_flow *f,
			       uint64_t serial)
{
	struct nbds_table_node *n = nbds_table_find(&f->pending, serial_hash(p, serial));

	for (; n; n = nbds_table_again(n)) {
		struct plan_op *op = nbds_owner(n, struct plan_op, node);

		if (op->serial == serial)
			return op;
	}
	return NULL;
}

static struct plan_op *op_new(struct nbds_plan *p, struct nbds_plan_flow *f, uint64_t serial,
			      uint64_t frame)
{
	struct plan_op *op = nbds_budget_alloc(&p->budget, sizeof(*op));

	if (!op || !nbds_table_add(&f->pending, &p->budget, &op->node, serial_hash(p, serial))) {
		p->failed = true;
		nbds_budget_free(&p->budget, op, sizeof(*op));
		return NULL;
	}
	op->serial = serial;
	op->frame = frame;
	nbds_list_append(&f->waiting, &op->all);
	return op;
}

/* It was in flight at a moment that the finding names. */
static bool in_flight(const struct nbds_finding *f, uint64_t from, uint64_t to)
{
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role] && f->frames[role] >= from && f->frames[role] <= to)
			return true;
	return false;
}

/* It is over, in `frame`: what is of use stays. */
static void op_end(struct nbds_plan *p, struct nbds_plan_flow *f, struct plan_op *op,
		   uint64_t frame, bool answered)
{
	if (in_flight(p->finding, op->frame, frame))
		op->use |= NBDS_FOR_RANGE | NBDS_FOR_UNFLUSHED;
	if (!answered)
		op->use |= NBDS_FOR_END;
	/* How a request at fault was answered is of interest, too. */
	if (answered && op->role && op->frame == p->finding->frames[NBDS_ROLE_MESSAGE] &&
	    frame > p->answered)
		p->answered = frame;
	if (nbds_budget_over(&p->budget) && !(op->use & NBDS_FOR_WITNESS))
		op->use = 0;
	for (int dir = 0; dir < 2; dir++)
		if (f->current_op[dir] == op)
			f->current_op[dir] = NULL;
	for (size_t i = 0; i < op->pieces.count; i++) {
		struct nbds_piece *piece = op->pieces.at[i];
		bool current[2] = {f->current[0] == piece, f->current[1] == piece};
		bool kept = false;

		NBDS_ASSERT(piece);
		piece->use = op->use;
		if (op->use)
			kept = keep_piece(p, f, piece);
		else
			piece_free(p, piece);
		for (int dir = 0; dir < 2; dir++)
			if (current[dir] && !kept)
				f->current[dir] = NULL;
	}
	nbds_vector_free(&op->pieces, &p->budget);
	nbds_table_remove(&f->pending, &op->node);
	nbds_list_remove(&op->all);
	nbds_budget_free(&p->budget, op, sizeof(*op));
}

/* A request, or an answer to one. */
static struct nbds_piece *take_command(struct nbds_plan *p, struct nbds_plan_flow *f,
				       const struct nbds_message *m, int dir)
{
	const char *role = NULL;
	unsigned use = use_of(p, f, m, &role);
	struct nbds_piece *piece;
	struct plan_op *op;

	if (!m->request) {
		piece = piece_new(p, f, m, dir, role);
		if (!piece)
			return NULL;
		piece->use = use | NBDS_FOR_RANGE | NBDS_FOR_UNFLUSHED;
		return keep_piece(p, f, piece) ? piece : NULL;
	}
	op = op_find(p, f, m->request->serial);
	if (!op)
		op = op_new(p, f, m->request->serial, m->first.frame);
	if (!op)
		return NULL;
	if (m->type == NBDS_MSG_REQUEST || !op->role)
		op->role = role ? role : op->role;
	op->use |= use;
	/* What failed may void what others wrote. */
	if (m->request->error && m->request->type != NBD_CMD_READ)
		op->use |= NBDS_FOR_RANGE | NBDS_FOR_UNFLUSHED;
	/* Of a message at fault the answer is not at fault, too. */
	if (!role && op->role == role_words[NBDS_ROLE_MESSAGE])
		role = "the answer to the message at fault";
	piece = piece_new(p, f, m, dir, role ? role : op->role);
	if (piece && !nbds_vector_push(&op->pieces, &p->budget, piece)) {
		p->failed = true;
		piece_free(p, piece);
		piece = NULL;
	}
	f->current_op[dir] = op;
	return piece;
}

/* --- callbacks of the engine --- */

static void on_connection(void *ctx, struct nbds_connection *c)
{
	struct nbds_plan *p = ctx;
	struct nbds_plan_flow *f = c->user;

	if (!f)
		return;
	f->id = c->id;
	f->client = nbds_addr_equal(&c->client, &f->ends[0]) ? 0 : 1;
	f->tier = c->id <= p->tier_count ? (enum nbds_tier)p->tiers[c->id - 1] : NBDS_TIER_FAR;
	f->first_frame = c->first_frame;
}

static int dir_of(const struct nbds_plan_flow *f, enum nbds_side side)
{
	return side == NBDS_CLIENT ? f->client : !f->client;
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct nbds_plan_flow *f = c->user;
	struct nbds_plan *p = ctx;
	const char *role = NULL;
	struct nbds_piece *piece;
	int dir;

	if (!f || !f->feed)
		return;
	dir = dir_of(f, m->from);
	f->current[dir] = NULL;
	f->current_op[dir] = NULL;
	if (!p->everything && f->tier == NBDS_TIER_FAR &&
	    (m->type != NBDS_MSG_GREETING || f->id > p->last_id))
		return;
	switch (m->type) {
	case NBDS_MSG_REQUEST:
	case NBDS_MSG_SIMPLE_REPLY:
	case NBDS_MSG_CHUNK:
		f->current[dir] = take_command(p, f, m, dir);
		return;
	default:
		break;
	}
	is_witness(p, f, m, &role);
	piece = piece_new(p, f, m, dir, role);
	if (!piece)
		return;
	piece->use = NBDS_FOR_HANDSHAKE;
	if (m->type == NBDS_MSG_GREETING)
		piece->use |= NBDS_FOR_NUMBERS;
	if (keep_piece(p, f, piece))
		f->current[dir] = piece;
}

static void on_payload(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
		       uint64_t at, const uint8_t *data, size_t len)
{
	struct nbds_plan_flow *f = c->user;
	struct nbds_piece *piece;

	if (!f)
		return;
	piece = f->current[dir_of(f, m->from)];
	if (piece && piece->sectors)
		take_contents(ctx, piece, at, data, len);
}

static void on_message_end(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			   uint64_t came)
{
	struct nbds_plan_flow *f = c->user;
	struct nbds_plan *p = ctx;
	struct plan_op *op;
	int dir;

	(void)came;
	if (!f)
		return;
	dir = dir_of(f, m->from);
	op = f->current_op[dir];
	f->current[dir] = NULL;
	f->current_op[dir] = NULL;
	if (!op)
		return;
	/* The last byte of an answer is what a finding names. */
	if (m->from == NBDS_SERVER && !op->use && is_role(p->finding, m->last.frame))
		op->use |= NBDS_FOR_WITNESS;
	if (m->flags & NBDS_MSG_FINAL || (m->request && m->request->type == NBD_CMD_DISC))
		op_end(p, f, op, m->last.frame, true);
}

/* Where a message was due and is none, or TLS: masked, numbers of the protocols are all
 * that is left. */
static void on_trouble(void *ctx, struct nbds_connection *c, const struct nbds_trouble *t)
{
	struct nbds_plan_flow *f = c->user;
	struct nbds_plan *p = ctx;
	struct nbds_piece *piece;
	size_t len = t->bytes_len;

	if (!f || !f->feed || !t->bytes || !len || len > UINT32_MAX / 2 ||
	    (!p->everything && f->tier == NBDS_TIER_FAR))
		return;
	if (t->kind != NBDS_TROUBLE_NONSENSE && t->kind != NBDS_TROUBLE_TLS &&
	    t->kind != NBDS_TROUBLE_TRAILING)
		return;
	if (t->kind == NBDS_TROUBLE_TLS && len > TLS_TELLS)
		len = TLS_TELLS;
	piece = nbds_budget_alloc(&p->budget, sizeof(*piece));
	if (piece)
		piece->head = nbds_budget_alloc(&p->budget, len * 2);
	if (!piece || !piece->head) {
		p->failed = true;
		nbds_budget_free(&p->budget, piece, sizeof(*piece));
		return;
	}
	piece->dir = dir_of(f, t->side);
	piece->from = t->offset + nbds_feed_skipped(f->feed, piece->dir);
	piece->to = piece->from + len;
	piece->frame = t->where.frame;
	piece->use = NBDS_FOR_ALL | NBDS_FOR_RANGE | NBDS_FOR_END |
		     (t->kind == NBDS_TROUBLE_TLS ? NBDS_FOR_HANDSHAKE : 0);
	piece->head_len = (uint32_t)len;
	piece->words =
		keep_words(p, t->kind == NBDS_TROUBLE_TLS ? "TLS begins" : "no legal message");
	if (t->kind == NBDS_TROUBLE_TLS)
		memcpy(piece->head, t->bytes, len);
	else
		nbds_mask_nonsense(t->bytes, len, piece->head);
	memcpy(piece->head + len, t->bytes, len);
	keep_piece(p, f, piece);
}

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct nbds_plan *p = ctx;
	const struct nbds_finding *wanted = p->finding;

	p->counts[(size_t)(f->rule - nbds_rules) * 4 + f->severity] += f->count;
	p->seen |= f->rule == wanted->rule && f->severity == wanted->severity &&
		   f->time == wanted->time && f->connection == wanted->connection &&
		   !memcmp(f->frames, wanted->frames, sizeof(f->frames));
}

/* --- flows --- */

static uint64_t end_hash(const struct nbds_plan *p, const struct nbds_addr *a)
{
	return nbds_hash_bytes(&p->seed, a->port, a->ip, sizeof(a->ip));
}

/* The same for both directions. */
static uint64_t ends_hash(const struct nbds_plan *p, const struct nbds_addr *a,
			  const struct nbds_addr *b)
{
	return end_hash(p, a) ^ end_hash(p, b);
}

static void *on_open(void *ctx, struct nbds_feed_flow *flow, const struct nbds_addr *a,
		     const struct nbds_addr *b, const struct nbds_mark *where)
{
	struct nbds_plan *p = ctx;
	struct nbds_plan_flow *f = nbds_budget_alloc(&p->budget, sizeof(*f));

	if (!f) {
		p->failed = true;
		return NULL;
	}
	f->ends[0] = *a;
	f->ends[1] = *b;
	f->feed = flow;
	f->first_frame = f->last_frame = where->frame;
	nbds_list_init(&f->waiting);
	nbds_list_append(&p->flows, &f->all);
	return f;
}

static void on_frame(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct nbds_plan *p = ctx;
	struct nbds_plan_flow *f = user;
	const struct nbds_segment *s = p->segment;

	if (!f)
		return;
	f->last_frame = where->frame;
	if (f->based[dir] || !s || s->packet->frame != where->frame)
		return;
	if (s->flags & NBDS_TCP_SYN) {
		f->base[dir] = s->seq + 1;
		f->based[dir] = true;
	} else {
		p->touched = f;
		p->touched_dir = dir;
	}
}

static void flow_drop(struct nbds_plan *p, struct nbds_plan_flow *f)
{
	nbds_list_remove(&f->all);
	pieces_free(p, &f->pieces[0]);
	pieces_free(p, &f->pieces[1]);
	nbds_budget_free(&p->budget, f, sizeof(*f));
}

static void on_close(void *ctx, void *user)
{
	struct nbds_plan *p = ctx;
	struct nbds_plan_flow *f = user;
	struct nbds_list *next;

	if (!f)
		return;
	for (struct nbds_list *l = f->waiting.next; l != &f->waiting; l = next) {
		next = l->next;
		op_end(p, f, nbds_owner(l, struct plan_op, all), UINT64_MAX, false);
	}
	nbds_table_free(&f->pending, &p->budget);
	f->feed = NULL;
	if (p->touched == f)
		p->touched = NULL;
	/* What is no NBD, or has no part in it. */
	if (!f->id || (!p->everything && f->tier == NBDS_TIER_FAR && f->id > p->last_id))
		flow_drop(p, f);
}

/* A flow whose beginning was not seen: where its numbers begin. */
static void find_base(struct nbds_plan *p, const struct nbds_segment *s)
{
	struct nbds_plan_flow *f = p->touched;
	int64_t offset;

	p->touched = NULL;
	if (!f || !f->feed || !nbds_feed_offset(f->feed, p->touched_dir, s->seq, &offset))
		return;
	f->base[p->touched_dir] = s->seq - (uint32_t)offset;
	f->based[p->touched_dir] = true;
}

/* --- which connections matter --- */

static bool same_host(const struct nbds_addr *a, const struct nbds_addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

static bool same_export(const struct nbds_connection *c, const char *name, size_t len)
{
	return c->export_name && name && c->export_name_len == len &&
	       !memcmp(c->export_name, name, len);
}

static bool in_finding(const struct nbds_finding *f, uint32_t id)
{
	if (f->connection == id)
		return true;
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++)
		if (f->witnesses[i].connection == id)
			return true;
	return false;
}

static void find_cutoff(struct nbds_plan *p)
{
	const struct nbds_finding *f = p->finding;

	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role] > p->cutoff)
			p->cutoff = f->frames[role];
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		if (f->witnesses[i].request_frame > p->cutoff)
			p->cutoff = f->witnesses[i].request_frame;
		if (f->witnesses[i].reply_frame > p->cutoff)
			p->cutoff = f->witnesses[i].reply_frame;
	}
}

bool nbds_plan_init(struct nbds_plan *p, struct nbds_engine *told,
		    const struct nbds_engine_config *config, const struct nbds_finding *finding,
		    struct nbds_mask *mask, bool everything)
{
	const struct nbds_connection *c;
	struct nbds_engine_totals totals;
	NBDS_VECTOR(hosts, struct nbds_addr) hosts = {0};
	bool any = false;

	*p = (struct nbds_plan){
		.engine = config, .finding = finding, .mask = mask, .everything = everything};
	p->seed = nbds_hash_key_new();
	p->budget.limit = config->memory ? config->memory : MEMORY_USUAL;
	nbds_list_init(&p->flows);
	nbds_engine_totals(told, &totals);
	p->tier_count = totals.connections;
	p->tiers = calloc(p->tier_count ? p->tier_count : 1, 1);
	p->counts = calloc(nbds_rules_count * 4, sizeof(*p->counts));
	if (!p->tiers || !p->counts)
		return false;
	for (c = nbds_engine_next_connection(told, 0); c;
	     c = nbds_engine_next_connection(told, c->id)) {
		if (!in_finding(finding, c->id) || c->id > p->tier_count)
			continue;
		p->tiers[c->id - 1] = NBDS_TIER_WITNESS;
		any = true;
		if (hosts.count < 8 && !nbds_vector_push(&hosts, &p->budget, c->server))
			return false;
	}
	for (c = nbds_engine_next_connection(told, 0); c;
	     c = nbds_engine_next_connection(told, c->id)) {
		bool near = !any; /* then any might be meant */

		if (c->id > p->tier_count || p->tiers[c->id - 1])
			continue;
		for (size_t i = 0; i < hosts.count; i++)
			near |= same_host(&hosts.at[i], &c->server);
		if (near)
			p->tiers[c->id - 1] =
				same_export(c, finding->export_name, finding->export_name_len)
					? NBDS_TIER_EXPORT
					: NBDS_TIER_SERVER;
	}
	nbds_vector_free(&hosts, &p->budget);
	for (uint32_t i = 0; i < p->tier_count; i++)
		if (p->tiers[i])
			p->last_id = i + 1;
	find_cutoff(p);
	return true;
}

/* --- the pass --- */

static int by_place(const void *a, const void *b)
{
	const struct nbds_piece *x = *(struct nbds_piece *const *)a;
	const struct nbds_piece *y = *(struct nbds_piece *const *)b;

	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return x->to < y->to ? -1 : x->to > y->to;
}

static int by_end(const void *a, const void *b)
{
	const struct nbds_plan_end *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->first_frame < y->first_frame ? -1 : x->first_frame > y->first_frame;
}

static void arrange(struct nbds_plan *p)
{
	for (struct nbds_list *l = p->flows.next; l != &p->flows; l = l->next) {
		struct nbds_plan_flow *f = nbds_owner(l, struct nbds_plan_flow, all);
		struct nbds_plan_end end;

		f->place = p->flow_count++;
		for (int dir = 0; dir < 2; dir++)
			if (f->pieces[dir].count)
				qsort(f->pieces[dir].at, f->pieces[dir].count,
				      sizeof(*f->pieces[dir].at), by_place);
		end = (struct nbds_plan_end){ends_hash(p, &f->ends[0], &f->ends[1]), f->first_frame,
					     f};
		if (!nbds_vector_push(&p->by_ends, &p->budget, end))
			p->failed = true;
		if (p->mask) {
			nbds_mask_avoid(p->mask, &f->ends[0]);
			nbds_mask_avoid(p->mask, &f->ends[1]);
		}
	}
	if (p->by_ends.count)
		qsort(p->by_ends.at, p->by_ends.count, sizeof(*p->by_ends.at), by_end);
}

/* What the capture says of itself, as a pipeline tells it. */
static void tell_drops(struct nbds_capture *c, struct nbds_feed *feed, uint64_t *dropped)
{
	struct nbds_capture_info info;

	nbds_capture_info(c, &info);
	nbds_engine_interfaces(nbds_feed_engine(feed), info.interfaces);
	if (info.dropped > *dropped)
		nbds_engine_dropped(nbds_feed_engine(feed), info.dropped - *dropped);
	*dropped = info.dropped > *dropped ? info.dropped : *dropped;
}

bool nbds_plan_make(struct nbds_plan *p, int fd, char *err, size_t errsize)
{
	struct nbds_feed_config config = {
		.engine = *p->engine,
		.ops = {.connection = on_connection,
			.message = on_message,
			.payload = p->mask ? on_payload : NULL,
			.message_end = on_message_end,
			.trouble = on_trouble,
			.finding = on_finding},
		.ctx = p,
		.hooks = {.open = on_open, .frame = on_frame, .close = on_close},
		.hooks_ctx = p,
		.drops_untold = true,
	};
	struct nbds_capture *c = nbds_capture_open_fd(fd, err, errsize);
	struct nbds_ip *ip = c ? nbds_ip_new() : NULL;
	struct nbds_feed *feed;
	struct nbds_packet packet;
	struct nbds_segment segment;
	uint64_t dropped = 0;

	config.engine.patience = INT64_MAX;
	feed = ip ? nbds_feed_new(&config) : NULL;
	if (!feed) {
		if (c)
			snprintf(err, errsize, "not enough memory");
		nbds_ip_free(ip);
		nbds_capture_close(c);
		return false;
	}
	while (nbds_capture_next(c, &packet) == 1) {
		if (p->frames++ % DROPS_PACKETS == 0)
			tell_drops(c, feed, &dropped);
		p->bytes += packet.caplen;
		if (nbds_ip_segment(ip, &packet, &segment)) {
			p->segment = &segment;
			nbds_feed_segment(feed, &segment);
			find_base(p, &segment);
			p->segment = NULL;
		}
		nbds_feed_time(feed, packet.time);
	}
	tell_drops(c, feed, &dropped);
	nbds_feed_finish(feed);
	nbds_feed_free(feed);
	nbds_ip_free(ip);
	nbds_capture_close(c);
	arrange(p);
	if (p->cutoff && p->answered > p->cutoff)
		p->cutoff = p->answered;
	if (p->failed || (p->mask && nbds_mask_failed(p->mask))) {
		snprintf(err, errsize, "not enough memory");
		return false;
	}
	return true;
}

void nbds_plan_free(struct nbds_plan *p)
{
	struct nbds_list *next;

	if (!p->flows.next)
		return;
	nbds_vector_free(&p->by_ends, &p->budget);
	for (struct nbds_list *l = p->flows.next; l != &p->flows; l = next) {
		next = l->next;
		flow_drop(p, nbds_owner(l, struct nbds_plan_flow, all));
	}
	free(p->tiers);
	free(p->counts);
	*p = (struct nbds_plan){0};
}

struct nbds_plan_flow *nbds_plan_find(const struct nbds_plan *p, const struct nbds_segment *s,
				      uint64_t frame, int *dir)
{
	uint64_t hash = ends_hash(p, &s->src, &s->dst);
	size_t low = 0, high = p->by_ends.count;

	/* Of several with the same ports it is the last one that had begun. */
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct nbds_plan_end *e = &p->by_ends.at[middle];

		if (e->hash < hash || (e->hash == hash && e->first_frame <= frame))
			low = middle + 1;
		else
			high = middle;
	}
	for (; low && p->by_ends.at[low - 1].hash == hash; low--) {
		struct nbds_plan_flow *f = p->by_ends.at[low - 1].flow;

		*dir = nbds_addr_equal(&f->ends[0], &s->src) ? 0 : 1;
		if (nbds_addr_equal(&f->ends[*dir], &s->src) &&
		    nbds_addr_equal(&f->ends[!*dir], &s->dst))
			return f;
	}
	return NULL;
}
