/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages: what a connection's decoder tells, for the session, its rules, and the engine's
 * user, in that order.
 */
#include <string.h>

#include "internal.h"

static struct rules_request *rules_of(const struct nbds_message *m)
{
	struct inflight *f = m->request ? m->request->user : NULL;

	return f ? &f->rules : NULL;
}

static void on_message(void *ctx, const struct nbds_message *m)
{
	struct session *s = ctx;
	struct nbds_engine *e = s->engine;

	if (!s->announced)
		session_announce(s);
	if (m->flags & NBDS_MSG_UNSOLICITED)
		s->c.unsolicited++;
	if (e->counts) {
		e->counts->unsolicited += !!(m->flags & NBDS_MSG_UNSOLICITED);
		e->counts->malformed += !!(m->flags & NBDS_MSG_MALFORMED);
	}
	if (m->again)
		s->c.second_replies++;
	if ((m->flags & NBDS_MSG_MALFORMED) && !s->c.malformed++)
		s->c.malformed_frame = m->first.frame;
	if (m->from == NBDS_SERVER)
		s->progress = 0;
	switch (m->type) {
	case NBDS_MSG_GREETING:
		s->c.sure = true;
		s->c.negotiated = *m->negotiated;
		if (m->u.greeting.style == NBDS_HANDSHAKE_OLDSTYLE)
			negotiate_done(s, m);
		break;
	case NBDS_MSG_CLIENT_FLAGS:
		break;
	case NBDS_MSG_OPTION:
		negotiate_option(s, m);
		break;
	case NBDS_MSG_OPTION_REPLY:
		negotiate_option_reply(s, m);
		break;
	case NBDS_MSG_EXPORT_NAME_REPLY:
		negotiate_done(s, m);
		break;
	case NBDS_MSG_REQUEST:
		command_request(s, m);
		break;
	case NBDS_MSG_SIMPLE_REPLY:
		s->c.simple_replies++;
		command_answer_begins(s, m);
		break;
	case NBDS_MSG_CHUNK:
		command_chunk(s, m);
		command_answer_begins(s, m);
		break;
	}
	if (session_rules(s))
		rules_message(s->rules, m, rules_of(m));
	if (e->ops.message)
		e->ops.message(e->ctx, &s->c, m);
}

static void on_payload(void *ctx, const struct nbds_message *m, uint64_t at, const uint8_t *data,
		       size_t len, const struct nbds_mark *where)
{
	struct session *s = ctx;
	struct inflight *f = m->request ? m->request->user : NULL;
	const struct nbds_engine *e = s->engine;

	if (e->ops.payload)
		e->ops.payload(e->ctx, &s->c, m, at, data, len);
	if (m->from == NBDS_SERVER)
		s->progress = at + len;
	if (s->rules)
		rules_payload(s->rules, m, rules_of(m), at, data, len, where);
	if (s->owed && m->payload == NBDS_PAYLOAD_WRITE)
		nbds_op_write_data(s->owed, at, data, len);
	if (!f || !f->op)
		return;
	switch (m->payload) {
	case NBDS_PAYLOAD_WRITE:
		nbds_op_write_data(f->op, at, data, len);
		break;
	case NBDS_PAYLOAD_READ: {
		struct nbds_point hi = point_of(where);
		uint64_t base = m->type == NBDS_MSG_CHUNK ? m->u.chunk.offset : m->request->offset;

		if (at <= UINT64_MAX - base)
			nbds_op_read_data(f->op, base + at, data, len, &hi);
		break;
	}
	case NBDS_PAYLOAD_EXTENTS:
		command_extents(s, m, at, data, len, where);
		break;
	default:
		break;
	}
}

static void on_payload_gap(void *ctx, const struct nbds_message *m, uint64_t at, uint64_t len,
			   const struct nbds_mark *where)
{
	struct session *s = ctx;

	(void)where;
	if (m->from == NBDS_SERVER)
		s->progress = at + len;
	if (s->rules)
		rules_payload_gap(s->rules, m, at + len);
}

static void on_message_end(void *ctx, const struct nbds_message *m)
{
	struct session *s = ctx;
	struct nbds_request *r = m->request;
	struct inflight *f = r ? r->user : NULL;

	if (s->engine->ops.message_end)
		s->engine->ops.message_end(s->engine->ctx, &s->c, m,
					   m->from == NBDS_SERVER && s->progress < m->payload_len
						   ? s->progress
						   : m->payload_len);
	if (s->rules)
		rules_message_end(s->rules, m, rules_of(m));
	if (m->type == NBDS_MSG_REQUEST) {
		session_end_owed(s);
		if (f && f->op && m->payload == NBDS_PAYLOAD_WRITE)
			nbds_op_write_end(f->op);
		if (r && r->type == NBD_CMD_DISC)
			command_release(s, r);
		return;
	}
	if (!r || !(m->flags & NBDS_MSG_FINAL) ||
	    (m->type != NBDS_MSG_SIMPLE_REPLY && m->type != NBDS_MSG_CHUNK))
		return;
	if (s->progress < m->payload_len) {
		/* cut short: the request dies unanswered */
		session_drop_request(s, r);
		session_unawaited(s, 1);
		return;
	}
	command_answered(s, m);
	if (s->rules && s->oldest && s->oldest->request->type != NBD_CMD_DISC) {
		struct rules_open oldest = {s->oldest->request, &s->oldest->rules};

		rules_waiting(s->rules, &oldest, &m->last);
	}
}

static void on_trouble(void *ctx, const struct nbds_trouble *t)
{
	struct session *s = ctx;
	struct nbds_engine *e = s->engine;
	struct nbds_point since = point_of(&s->last_clean[NBDS_CLIENT]);

	if (s->announced && session_rules(s))
		rules_trouble(s->rules, t);
	switch (t->kind) {
	case NBDS_TROUBLE_LOST:
	case NBDS_TROUBLE_NONSENSE:
		if (t->side == NBDS_SERVER) {
			s->losses++;
		} else if (s->announced) {
			session_join(s);
			if (s->party)
				nbds_party_gap(s->party, &since);
		}
		if (t->kind == NBDS_TROUBLE_NONSENSE && !s->c.first_nonsense) {
			const char *text = t->text ? t->text : "bytes that are no message";

			s->c.first_nonsense = session_bytes(s, text, strlen(text));
			s->c.nonsense_frame = t->where.frame;
		}
		break;
	case NBDS_TROUBLE_SKIPPED:
		break;
	case NBDS_TROUBLE_SURE:
		s->c.sure = true;
		if (!s->c.sure_frame && !s->c.from_start)
			s->c.sure_frame = t->where.frame;
		if (!s->announced)
			session_announce(s);
		break;
	case NBDS_TROUBLE_TLS: {
		struct nbds_point at = point_of(&t->where);

		session_join(s);
		if (s->party)
			nbds_party_opaque(s->party, &at);
		break;
	}
	case NBDS_TROUBLE_FORGOT:
		if (t->request)
			session_drop_request(s, t->request);
		break;
	case NBDS_TROUBLE_AFTER_END:
	case NBDS_TROUBLE_TRAILING:
		break;
	}
	if (s->announced && e->ops.trouble)
		e->ops.trouble(e->ctx, &s->c, t);
}

static void elsewhere_message(void *ctx, const struct nbds_message *m)
{
	(void)m;
	session_elsewhere(ctx);
}

static void elsewhere_trouble(void *ctx, const struct nbds_trouble *t)
{
	if (t->kind == NBDS_TROUBLE_SURE)
		session_elsewhere(ctx);
}

const struct nbds_decoder_ops session_elsewhere_ops = {
	.message = elsewhere_message,
	.trouble = elsewhere_trouble,
};

const struct nbds_decoder_ops session_decoder_ops = {
	.message = on_message,
	.payload = on_payload,
	.payload_gap = on_payload_gap,
	.message_end = on_message_end,
	.trouble = on_trouble,
	.tls = secure_begins,
};
