/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The outside of the checks: what the session tells goes to the group that it
 * concerns.
 */
#include <string.h>

#include "check.h"

void rules_begin(struct rules_connection *rc, const struct nbds_connection *c,
		 void (*tell)(void *ctx, struct nbds_finding *f), void *ctx)
{
	memset(rc, 0, sizeof(*rc));
	rc->c = c;
	rc->tell = tell;
	rc->ctx = ctx;
}

/* --- what the session tells ---------------------------------------------- */

/* The server forgot what was negotiated in clear. */
static void inside_begins(struct rules_connection *rc)
{
	rc->inside = true;
	rc->structured = rc->extended = rc->stateful = false;
	rc->contexts_set = rc->set_repeated = false;
	rc->contexts = rc->new_contexts = 0;
}

static void heard(struct rules_connection *rc, const struct nbds_message *m)
{
	if (!rc->heard[0] && !rc->heard[1])
		rc->interface = m->first.interface;
	else if (m->first.interface != rc->interface)
		rc->mixed = true;
	if (m->negotiated->inside && !rc->inside)
		inside_begins(rc);
	rc->heard[m->from] = true;
	rc->sender = m->from;
	rc->structured |= m->negotiated->structured && !m->negotiated->inferred;
	rc->extended |= m->negotiated->extended && !m->negotiated->inferred;
	rc->pos[m->from] = m->offset + m->head_len + m->payload_len;
	if (m->from == NBDS_SERVER) {
		rc->progress = 0;
		rc->cut.reply = false;
		rc->server_frame = m->last.frame;
		rc->server_time = m->last.time;
	}
}

void rules_message(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q)
{
	heard(rc, m);
	if ((m->flags & NBDS_MSG_CUT) && m->type <= NBDS_MSG_OPTION_REPLY)
		rc->lost[m->from] = true; /* what it said is not known */
	if (m->from == NBDS_SERVER && rc->flags_bad && !rc->bad_flags_told)
		rules_after_bad_flags(rc, m);
	switch (m->type) {
	case NBDS_MSG_GREETING:
		rules_greeting(rc, m);
		break;
	case NBDS_MSG_CLIENT_FLAGS:
		rules_client_flags(rc, m);
		break;
	case NBDS_MSG_OPTION:
		rules_option(rc, m);
		break;
	case NBDS_MSG_OPTION_REPLY:
		rules_option_reply(rc, m);
		break;
	case NBDS_MSG_EXPORT_NAME_REPLY:
		rules_export_name(rc, m);
		break;
	case NBDS_MSG_REQUEST:
		rules_request(rc, m, q);
		rc->first_request = true;
		break;
	case NBDS_MSG_SIMPLE_REPLY:
		rules_simple(rc, m, q);
		rc->first_reply = true;
		break;
	case NBDS_MSG_CHUNK:
		rules_chunk(rc, m, q);
		rc->first_reply = true;
		break;
	}
	if (m->from == NBDS_SERVER)
		rc->last_read_frame =
			m->payload == NBDS_PAYLOAD_READ && m->payload_len ? m->first.frame : 0;
}

void rules_payload(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q, uint64_t at, const uint8_t *data, size_t len,
		   const struct nbds_mark *where)
{
	rc->sender = m->from;
	if (m->from == NBDS_SERVER) {
		rc->progress = at + len;
		rc->server_frame = where->frame;
		rc->server_time = where->time;
	}
	switch (m->payload) {
	case NBDS_PAYLOAD_EXTENTS:
		if (q && m->request)
			rules_extents(rc, m, q, at, data, len);
		break;
	case NBDS_PAYLOAD_IDS:
		if (q && m->request)
			rules_ids(rc, m, q, at, data, len);
		break;
	case NBDS_PAYLOAD_REST:
		if (m->type == NBDS_MSG_GREETING || m->type == NBDS_MSG_EXPORT_NAME_REPLY)
			rules_padding(rc, m, at, data, len);
		break;
	default:
		break;
	}
}

/* Bytes of known number are missing: what follows is still where it is. */
void rules_payload_gap(struct rules_connection *rc, const struct nbds_message *m, uint64_t upto)
{
	if (m->from == NBDS_SERVER)
		rc->progress = upto;
	rc->extent_followed = false;
}

void rules_message_end(struct rules_connection *rc, const struct nbds_message *m,
		       struct rules_request *q)
{
	rc->sender = m->from;
	if (m->flags & NBDS_MSG_INCOMPLETE) {
		rc->extent_followed = false;
		if (m->from == NBDS_SERVER && m->request && q && rc->progress < m->payload_len) {
			rc->cut.reply = true;
			rc->cut.frame = m->first.frame;
			rc->cut.request_frame = q->frame;
			rc->cut.seen = rc->progress;
			rc->cut.length = m->payload_len;
			rc->cut.request = *m->request;
		}
		return;
	}
	if (m->type == NBDS_MSG_REQUEST && m->payload == NBDS_PAYLOAD_IDS && q && !rc->id_have &&
	    rc->ids == m->payload_len / 4)
		q->status_unsure = rc->contexts_over;
	if (m->type == NBDS_MSG_CHUNK && q && m->request) {
		if (m->payload == NBDS_PAYLOAD_EXTENTS)
			rules_status_end(rc, m, q);
		if (m->flags & NBDS_MSG_FINAL)
			rules_chunk_done(rc, m, q);
	}
	if (m->type == NBDS_MSG_SIMPLE_REPLY && q && m->request && !m->u.simple.error)
		rules_success(rc, m, m->request, q);
}

void rules_trouble(struct rules_connection *rc, const struct nbds_trouble *t)
{
	rc->sender = t->side;
	switch (t->kind) {
	case NBDS_TROUBLE_LOST:
		rc->lost[t->side] = true;
		break;
	case NBDS_TROUBLE_NONSENSE:
		rules_nonsense(rc, t);
		rc->nonsense[t->side] = true;
		break;
	case NBDS_TROUBLE_FORGOT:
		rc->forgot = true;
		break;
	case NBDS_TROUBLE_TLS:
	case NBDS_TROUBLE_AFTER_END:
	case NBDS_TROUBLE_TRAILING:
		rules_nonsense(rc, t);
		break;
	case NBDS_TROUBLE_SKIPPED:
	case NBDS_TROUBLE_SURE:
		break;
	}
}
