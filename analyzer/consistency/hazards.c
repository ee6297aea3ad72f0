/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is legal, and dangerous: hazards that need no judgement of contents.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../rules/rules.h"
#include "hazards.h"
#include "past.h"
#include "unflushed.h"

/* Writes that were never answered, kept to recognise their being sent again. */
#define UNANSWERED_MAX 4096u
/* So many of the same place are looked at. */
#define SAME_PLACE 64u
/* So many in flight, oldest first, are looked at for one of another connection. */
#define FLIGHT_SCAN 1024u
/* A write in flight for longer than this looks lost to its client. */
#define REISSUE_AGE INT64_C(1000000000)

void witness_add(struct nbds_finding *f, enum nbds_role role, const struct nbds_op *op)
{
	if (!op || f->witness_count == NBDS_WITNESSES_MAX)
		return;
	f->witnesses[f->witness_count++] = (struct nbds_witness){
		.role = role,
		.connection = op->party->id,
		.type = op->type,
		.flags = op->flags,
		.offset = op->offset,
		.length = op->length,
		.request_frame = op->request_frame,
		.reply_frame = op->reply_frame,
		.request_time = op_shown(op),
		.reply_time =
			op->state == OP_OK || op->state == OP_FAILED || op->early ? op->replied : 0,
	};
}

/* At the level that f has. */
static void tell_at(struct nbds_world *w, struct nbds_finding *f, enum nbds_rule_id id,
		    const struct nbds_party *p, const struct nbds_op *op, const char *text)
{
	f->rule = rule_get(id);
	f->message = text;
	f->count = 1;
	f->connection = p->id;
	if (p->xport) {
		f->export_name = p->xport->name;
		f->export_name_len = p->xport->name_len;
	}
	if (op) {
		f->command = nbds_name_of(&nbds_commands, op->type);
		f->has_range = op->length > 0;
		f->offset = op->offset;
		f->length = op->length;
		if (!f->time)
			f->time = op->state == OP_FLIGHT ? op_shown(op) : op->hi.time;
	}
	if (w->ops.finding)
		w->ops.finding(w->ctx, f);
}

/* At the rule's level. */
static void tell(struct nbds_world *w, struct nbds_finding *f, enum nbds_rule_id id,
		 const struct nbds_party *p, const struct nbds_op *op, const char *text)
{
	f->severity = rule_get(id)->severity;
	tell_at(w, f, id, p, op, text);
}

/* --- flags --------------------------------------------------------------- */

void hazard_export(struct nbds_party *p)
{
	struct nbds_world *w = p->world;
	/* as long as nothing was told all others agree: one will do */
	const struct nbds_party *o = p->xport->open.first;
	struct nbds_finding f = {.time = w->now == INT64_MIN ? 0 : w->now};
	char text[300];

	if (o == p)
		o = party_next(o, PARTY_EXPORT);
	if (!o || !o->known || !p->known || p->xport->flags_differ)
		return;
	if (((o->flags ^ p->flags) & FLAGS_COMPARED) == 0 && o->size == p->size)
		return;
	snprintf(text, sizeof(text),
		 "conn %" PRIu32 " was shown flags 0x%04x and %" PRIu64 " bytes, conn %" PRIu32
		 " flags 0x%04x and %" PRIu64 " bytes, of the same export at the same time",
		 o->id, o->flags, o->size, p->id, p->flags, p->size);
	p->xport->flags_differ = true;
	tell(w, &f, RULE_FLAGS_DIFFER, p, NULL, text);
}

/* --- requests ------------------------------------------------------------ */

static void flush_sent(struct nbds_op *op)
{
	struct nbds_world *w = op->world;
	const struct nbds_op *first = w->parties->write_first;
	uint64_t others;
	char text[300];

	op->in_flight = op->party->xport->writes_in_flight;
	others = op->in_flight - op->party->writes_in_flight;
	if (!others || !party_mc(op->party))
		return;
	for (unsigned n = 0; first && n < FLIGHT_SCAN; n++) {
		if (first->party != op->party && first->party->xport == op->party->xport)
			break;
		first = first->flight->write.next;
	}
	if (!first)
		return;
	struct nbds_finding f = {0};

	snprintf(text, sizeof(text),
		 "conn %" PRIu32 " sent a flush while %" PRIu64
		 " write%s on other connections %s not "
		 "answered (the oldest on conn %" PRIu32 ", frame %" PRIu64 "): the flush does not "
		 "cover %s",
		 op->party->id, others, others == 1 ? "" : "s", others == 1 ? "was" : "were",
		 first->party->id, first->request_frame, others == 1 ? "it" : "them");
	f.weight = others;
	f.frames[NBDS_ROLE_FLUSH_REQUEST] = op->request_frame;
	f.frames[NBDS_ROLE_WRITE_REQUEST] = first->request_frame;
	witness_add(&f, NBDS_ROLE_WRITE, first);
	witness_add(&f, NBDS_ROLE_FLUSH, op);
	tell(w, &f, RULE_FLUSH_EARLY, op->party, op, text);
}

static uint64_t place_hash(const struct nbds_op *op)
{
	return nbds_hash_u64(&op->world->key, op->offset ^ (op->length << 40 | op->length >> 24));
}

/* From now on it may be sent again. */
static void place_add(struct nbds_op *op)
{
	op->placed = nbds_table_add(&op->world->hazards->places, op->world->budget, &op->place,
				    place_hash(op));
}

static void place_remove(struct nbds_op *op)
{
	if (op->placed)
		nbds_table_remove(&op->world->hazards->places, &op->place);
	op->placed = false;
}

void hazard_request(struct nbds_op *op)
{
	struct nbds_party *p = op->party;

	if (op->type == NBD_CMD_FLUSH && p->xport)
		flush_sent(op);
	if (op->type == NBD_CMD_WRITE && op->write_class)
		place_add(op);
	if (p->failed_flush && (op->write_class || op->type == NBD_CMD_FLUSH)) {
		struct nbds_finding f = {.time = op_shown(op)};
		char text[200];

		snprintf(text, sizeof(text),
			 "conn %" PRIu32 "'s flush failed (frame %" PRIu64
			 "), and the connection went on "
			 "with %s (frame %" PRIu64 ")",
			 p->id, p->failed_flush->reply_frame,
			 nbds_name_of(&nbds_commands, op->type), op->request_frame);
		f.frames[NBDS_ROLE_FLUSH_REQUEST] = p->failed_flush->request_frame;
		f.frames[NBDS_ROLE_FLUSH] = p->failed_flush->reply_frame;
		f.frames[NBDS_ROLE_WRITE_REQUEST] = op->request_frame;
		witness_add(&f, NBDS_ROLE_FLUSH, p->failed_flush);
		witness_add(&f, NBDS_ROLE_WRITE, op);
		tell(op->world, &f, RULE_FLUSH_FAILED, p, op, text);
		op_unref(p->failed_flush);
		p->failed_flush = NULL;
	}
}

void hazard_overlap(struct nbds_op *op, const struct nbds_op *other)
{
	struct nbds_finding f = {.time = op_shown(op)};
	char text[300];

	if (op->overlap_told || other == op || other->state != OP_FLIGHT || !other->write_class ||
	    other->party->xport != op->party->xport)
		return;
	op->overlap_told = true;
	snprintf(text, sizeof(text),
		 "conn %" PRIu32 " sent %s of %" PRIu64 " bytes at 0x%" PRIx64 " (frame %" PRIu64
		 ") while conn %" PRIu32 "'s %s of the same bytes (frame %" PRIu64
		 ") was not answered",
		 op->party->id, nbds_name_of(&nbds_commands, op->type), op->length, op->offset,
		 op->request_frame, other->party->id, nbds_name_of(&nbds_commands, other->type),
		 other->request_frame);
	f.frames[NBDS_ROLE_WRITE_REQUEST] = op->request_frame;
	f.frames[NBDS_ROLE_STALE_WRITE] = other->request_frame;
	witness_add(&f, NBDS_ROLE_STALE_WRITE, other);
	witness_add(&f, NBDS_ROLE_WRITE, op);
	tell(op->world, &f, RULE_OVERLAP, op->party, op, text);
}

/* --- a write that was sent again ------------------------------------------ */

static const struct entry *entry_of(const struct block *b, const struct nbds_op *op)
{
	for (const struct entry *e = b ? b->entries : NULL; e; e = e->next)
		if (e->op == op)
			return e;
	return NULL;
}

/* Both wrote the same values, in the first and the last block that they share. */
static bool same_contents(struct nbds_op *a, struct nbds_op *b)
{
	uint64_t ends[2] = {a->offset / BLOCK_BYTES, (a->offset + a->length - 1) / BLOCK_BYTES};

	for (unsigned i = 0; i < 2; i++) {
		const struct block *k = block_find(a->world, ends[i]);
		const struct entry *x = entry_of(k, a), *y = entry_of(k, b);

		if (!x || !y || x->valued != y->valued || x->coarse || y->coarse)
			return false;
		for (unsigned s = 0; s < BLOCK_SECTORS; s++)
			if ((x->valued >> s & 1) && x->value[s] != y->value[s])
				return false;
	}
	return true;
}

static bool reissue(struct nbds_op *old, struct nbds_op *op)
{
	struct nbds_finding f = {.time = op_shown(op)};
	char text[400];

	if (old->party == op->party || old->party->xport != op->party->xport ||
	    old->type != op->type || old->offset != op->offset || old->length != op->length ||
	    old->reissue_told || !same_contents(old, op))
		return false;
	old->reissue_told = true;
	snprintf(text, sizeof(text),
		 "conn %" PRIu32 "'s write of %" PRIu64 " bytes at 0x%" PRIx64 " (frame %" PRIu64
		 ") %s, and conn %" PRIu32 " sent it again (frame %" PRIu64
		 "): the first copy may still be executed later, over newer data",
		 old->party->id, old->length, old->offset, old->request_frame,
		 old->state == OP_FLIGHT ? "had not been answered" : "was never answered",
		 op->party->id, op->request_frame);
	f.frames[NBDS_ROLE_STALE_WRITE] = old->request_frame;
	witness_add(&f, NBDS_ROLE_STALE_WRITE, old);
	witness_add(&f, NBDS_ROLE_WRITE, op);
	f.frames[NBDS_ROLE_WRITE_REQUEST] = op->request_frame;
	tell(op->world, &f, RULE_REISSUED, op->party, op, text);
	return true;
}

void hazard_written(struct nbds_op *op)
{
	struct nbds_table_node *n = nbds_table_find(&op->world->hazards->places, place_hash(op));

	for (unsigned looked = 0; n && looked < SAME_PLACE; looked++, n = nbds_table_again(n)) {
		struct nbds_op *old = nbds_owner(n, struct nbds_op, place);

		/* still in flight, but for long, or never answered */
		if (old->state == OP_FLIGHT &&
		    (old->lo.time > op->lo.time ||
		     (uint64_t)op->lo.time - (uint64_t)old->lo.time < (uint64_t)REISSUE_AGE))
			continue;
		if (reissue(old, op))
			return;
	}
}

/* Keeps one that was never answered, in place of the oldest. */
static void unanswered(struct nbds_op *op)
{
	struct hazards *h = op->world->hazards;
	struct nbds_op **at;

	if (h->unanswered.count < UNANSWERED_MAX) {
		if (!nbds_vector_push(&h->unanswered, op->world->budget, op)) {
			place_remove(op);
			return;
		}
	} else {
		at = &h->unanswered.at[h->unanswered_next++ % UNANSWERED_MAX];
		place_remove(*at);
		op_unref(*at);
		*at = op;
	}
	op_ref(op);
}

void hazard_reply(struct nbds_op *op)
{
	struct nbds_world *w = op->world;
	struct nbds_party *p = op->party;
	char text[300];

	/* One that was never offered is refused with good reason, and says nothing of what
	 * was written. */
	if (op->type == NBD_CMD_FLUSH && op->state == OP_FAILED &&
	    !(p->known && !(p->flags & NBD_FLAG_SEND_FLUSH))) {
		if (p->failed_flush)
			op_unref(p->failed_flush);
		op_ref(op);
		p->failed_flush = op;
	}
	if (op->placed && op->state == OP_OPEN)
		unanswered(op);
	else
		place_remove(op);
	if (op->state != OP_OK || !op->write_class)
		return;
	if (p->known && (p->flags & NBD_FLAG_READ_ONLY)) { /* V8 */
		struct nbds_finding f = {0};

		snprintf(text, sizeof(text),
			 "the export is read-only, yet conn %" PRIu32 "'s %s of %" PRIu64
			 " bytes at 0x%" PRIx64 " succeeded%s",
			 p->id, nbds_name_of(&nbds_commands, op->type), op->length, op->offset,
			 op->type == NBD_CMD_TRIM ? " (only noted: the server may have ignored it)"
			 : !p->from_start         ? "; not called a violation because the "
						    "connection was not seen from its beginning"
						  : "");
		f.frames[NBDS_ROLE_WRITE] = op->reply_frame;
		f.frames[NBDS_ROLE_WRITE_REQUEST] = op->request_frame;
		witness_add(&f, NBDS_ROLE_WRITE, op);
		f.severity = op->type == NBD_CMD_TRIM ? NBDS_NOTE
			     : !p->from_start         ? NBDS_SUSPECT
						      : NBDS_VIOLATION;
		tell_at(w, &f, RULE_READ_ONLY, p, op, text);
	}
}

void hazard_early(const struct nbds_op *op, bool sure)
{
	struct nbds_finding f = {.severity = sure ? NBDS_VIOLATION : NBDS_SUSPECT,
				 .time = op->replied};
	char text[400];

	/* of a connection that was there before, TCP's numbers are guesses (G1) */
	if (!op->proves || !op->party->known || !op->party->from_start)
		return;
	/* nor is it known whose answer it was if a request may have been missed (G3) */
	if (op->serial <= op->party->gapped)
		return;
	snprintf(text, sizeof(text),
		 "conn %" PRIu32 "'s write of %" PRIu64 " bytes at 0x%" PRIx64
		 " was answered with success by a segment that acknowledges only %" PRIu64
		 " of its bytes%s",
		 op->party->id, op->length, op->offset,
		 op->status_acked > op->header_end ? op->status_acked - op->header_end : 0,
		 sure ? ""
		      : "; not called a violation because the rest of its payload is not in the "
			"capture, so its length may be wrong there");
	f.frames[NBDS_ROLE_WRITE] = op->reply_frame;
	f.frames[NBDS_ROLE_WRITE_REQUEST] = op->request_frame;
	witness_add(&f, NBDS_ROLE_WRITE, op);
	tell_at(op->world, &f, RULE_REPLY_BEFORE_PAYLOAD, op->party, op, text);
}

/* --- ends ---------------------------------------------------------------- */

/* The flush of another connection that left p's oldest unflushed write uncovered. */
static const struct nbds_op *missing_flush(const struct nbds_party *p)
{
	const struct xport *x = p->xport;
	const struct nbds_op *first = unflushed_oldest(p);

	for (uint32_t i = x->log_count, n = 0; i > 0 && n < FLIGHT_SCAN; i--, n++)
		if (x->log[i - 1]->party != p && op_before(first, x->log[i - 1]))
			return x->log[i - 1];
	return NULL;
}

void nbds_party_hung_up(struct nbds_party *p, const struct nbds_hang_up *how)
{
	p->hung_up = *how;
}

/* Who could have flushed what p left, in words, and the side. */
static enum nbds_at_fault unflushed_blame(const struct nbds_party *p, char *text, size_t size)
{
	const struct nbds_hang_up *h = &p->hung_up;
	char name[NBDS_TEXT_OF_MAX];
	const char *command = nbds_text_of(&nbds_commands, h->type, name);

	text[0] = '\0';
	if (!(p->flags & NBD_FLAG_SEND_FLUSH)) {
		snprintf(text, size, " (the server offers no flush)");
		return NBDS_FAULT_SERVER;
	}
	if (h->frame && h->by_server && h->request_frame) {
		snprintf(text, size,
			 ": the server closed first (frame %" PRIu64 "), with %s of frame %" PRIu64
			 " unanswered",
			 h->frame, command, h->request_frame);
		return NBDS_FAULT_SERVER;
	}
	if (h->frame && h->by_server) {
		snprintf(text, size, ": the server closed first (frame %" PRIu64 ")", h->frame);
		return NBDS_FAULT_EITHER;
	}
	if (h->request_frame && h->type == NBD_CMD_FLUSH) {
		snprintf(text, size, ": %s of frame %" PRIu64 " was never answered", command,
			 h->request_frame);
		return NBDS_FAULT_EITHER;
	}
	return NBDS_FAULT_CLIENT;
}

void unflushed_end(struct nbds_party *p)
{
	struct nbds_world *w = p->world;
	uint64_t n = p->unflushed_writes;
	const struct nbds_op *first = unflushed_oldest(p);
	char text[400], blame[200];

	if (n && first && p->known && !p->end_told && !(p->xport->unseen && party_mc(p))) {
		const struct nbds_op *f0 = party_mc(p) ? NULL : missing_flush(p);
		struct nbds_finding f = {.time = p->end.time};

		if (f0) {
			struct nbds_finding g = {.time = p->end.time};

			snprintf(text, sizeof(text),
				 "conn %" PRIu32 "'s flush (frames %" PRIu64 " to %" PRIu64
				 ") does not cover "
				 "conn %" PRIu32 "'s %" PRIu64
				 " completed write%s (first: frame %" PRIu64
				 "), since the export lacks CAN_MULTI_CONN, and conn %" PRIu32
				 " never flushed them",
				 f0->party->id, f0->request_frame, f0->reply_frame, p->id, n,
				 n == 1 ? "" : "s", first->request_frame, p->id);
			g.frames[NBDS_ROLE_WRITE] = first->reply_frame;
			g.frames[NBDS_ROLE_WRITE_REQUEST] = first->request_frame;
			g.frames[NBDS_ROLE_FLUSH] = f0->reply_frame;
			g.frames[NBDS_ROLE_FLUSH_REQUEST] = f0->request_frame;
			witness_add(&g, NBDS_ROLE_WRITE, first);
			witness_add(&g, NBDS_ROLE_FLUSH, f0);
			tell(w, &g, RULE_FLUSH_MISSES, p, first, text);
		}
		f.side = unflushed_blame(p, blame, sizeof(blame));
		f.other_side = true;
		snprintf(text, sizeof(text),
			 "conn %" PRIu32 " ended with %" PRIu64 " completed write%s (%" PRIu64
			 " bytes, the first in frame %" PRIu64 ") that nothing flushed%s",
			 p->id, n, n == 1 ? "" : "s", p->unflushed_bytes, first->request_frame,
			 blame);
		f.frames[NBDS_ROLE_WRITE] = first->reply_frame;
		f.frames[NBDS_ROLE_WRITE_REQUEST] = first->request_frame;
		witness_add(&f, NBDS_ROLE_WRITE, first);
		tell(w, &f, RULE_UNFLUSHED_END, p, first, text);
	}
	p->end_told = true;
	past_settle(p);
}

/* p ended. With CAN_MULTI_CONN another connection may still flush its writes. */
void hazard_party_end(struct nbds_party *p)
{
	if (!p->xport)
		return;
	if (!party_mc(p)) {
		unflushed_end(p);
		return;
	}
	if (p->xport->open.count)
		return;
	while (p->xport->lingering.first)
		unflushed_end(p->xport->lingering.first);
}

void hazard_finish(struct nbds_world *w)
{
	for (struct nbds_party *p = w->parties->lingering.first, *next; p; p = next) {
		next = party_next(p, PARTY_PLACE);
		if (p->xport)
			unflushed_end(p);
	}
}

void hazard_free(struct nbds_world *w)
{
	struct hazards *h = w->hazards;

	for (size_t i = 0; i < h->unanswered.count; i++)
		op_unref(h->unanswered.at[i]);
	nbds_vector_free(&h->unanswered, w->budget);
	nbds_table_free(&h->places, w->budget);
	for (struct nbds_party *p = w->parties->open.first; p; p = party_next(p, PARTY_PLACE))
		if (p->failed_flush)
			op_unref(p->failed_flush);
}
