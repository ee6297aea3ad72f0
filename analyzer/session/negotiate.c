/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Negotiation: the export's name, options and what they were answered, contexts; and with
 * which export the transmission phase begins.
 */
#include <string.h>

#include <base/bytes.h>

#include "internal.h"

void negotiate_done(struct session *s, const struct nbds_message *msg)
{
	const struct nbds_negotiated *n = msg->negotiated;
	struct export_more *x;

	if (s->c.export || s->unnamed)
		return;
	session_join(s);
	if (n->handshake != NBDS_HANDSHAKE_OLDSTYLE && !s->name_final) {
		/* the option that named it was lost: which export it is, is not known */
		s->unnamed = true;
		session_bytes_free(s, s->c.export_name, s->c.export_name_len);
		s->c.export_name = NULL;
		s->c.export_name_len = 0;
		s->c.export_name_seen = false;
		s->c.negotiated = *n;
		if (s->party)
			nbds_party_export(s->party, UNKNOWN_EXPORT, sizeof(UNKNOWN_EXPORT) - 1, 0,
					  0, false);
		return;
	}
	if (!s->c.export_name)
		s->c.export_name = session_bytes(s, NULL, 0);
	if (!s->c.export_name)
		return;
	s->c.negotiated = *n;
	s->block_bound = s->asked_block_size && s->got_block_size;
	s->block_unasked = !s->asked_block_size && s->got_block_size;
	x = export_get(&s->engine->exports, &s->c.server, s->c.export_name, s->c.export_name_len);
	if (x && export_join(&s->engine->exports, x, s->c.id, n))
		s->c.export = &x->e;
	s->shown = point_of(&msg->last);
	if (s->party) {
		nbds_party_shown(s->party, &s->shown);
		nbds_party_export(s->party, s->c.export_name, s->c.export_name_len, n->size,
				  n->transmission_flags, n->export_seen);
	}
	s->export_frame = msg->last.frame;
	s->export_time = msg->last.time;
}

static void remember_name(struct session *s, const uint8_t *name, size_t len)
{
	if (s->c.export)
		return; /* the one in use stays */
	session_bytes_free(s, s->c.export_name, s->c.export_name_len);
	s->c.export_name = session_bytes(s, name, len);
	s->c.export_name_len = s->c.export_name ? len : 0;
	s->c.export_name_seen = s->c.export_name;
}

static void drop_new_contexts(struct session *s)
{
	session_contexts_free(s, s->new_contexts, s->new_count);
	s->new_contexts = NULL;
	s->new_count = 0;
}

static struct nbds_option_seen *option_add(struct session *s, uint32_t number)
{
	struct nbds_option_seen *list;

	if (s->c.option_count == OPTIONS_KEPT)
		return NULL;
	list = session_one_more(s, s->c.options, s->c.option_count, sizeof(*list));
	if (!list)
		return NULL;
	s->c.options = list;
	list += s->c.option_count++;
	*list = (struct nbds_option_seen){.option = number};
	return list;
}

/* Room is made by doubling; what is beyond the limit is only counted. */
static void option_reply_add(struct session *s, struct nbds_option_seen *o, uint32_t type)
{
	if (o->reply_kept == o->reply_count && s->replies_kept < REPLIES_KEPT) {
		uint32_t *list = session_one_more(s, o->replies, o->reply_kept, sizeof(*list));

		if (list) {
			o->replies = list;
			list[o->reply_kept++] = type;
			s->replies_kept++;
		}
	}
	o->reply_count++;
}

/* The newest option of this number that awaits replies (or, early, its own end). */
static struct nbds_option_seen *option_find(struct session *s, uint32_t number, bool early)
{
	for (unsigned i = s->c.option_count; i > 0; i--) {
		struct nbds_option_seen *o = &s->c.options[i - 1];

		if (o->option == number && (early ? o->early : !o->final))
			return o;
	}
	return NULL;
}

void negotiate_option(struct session *s, const struct nbds_message *m)
{
	const uint8_t *data = m->head + NBDS_OPTION_LEN;
	size_t len = m->head_len > NBDS_OPTION_LEN ? m->head_len - NBDS_OPTION_LEN : 0;
	struct nbds_option_seen *o = option_find(s, m->u.option.option, true);

	if (o)
		o->early = false;
	else
		option_add(s, m->u.option.option);
	switch (m->u.option.option) {
	case NBD_OPT_ABORT:
		s->c.end = NBDS_END_ABORT;
		break;
	case NBD_OPT_EXPORT_NAME:
		remember_name(s, data, len);
		s->name_final = !(m->flags & NBDS_MSG_CUT);
		s->asked_block_size = s->got_block_size = false;
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		s->asked_block_size = s->got_block_size = false;
		s->name_final = false;
		if (len >= 6 && nbds_be32(data) <= len - 6) {
			size_t n = nbds_be32(data), k = nbds_be16(data + 4 + n);

			remember_name(s, data + 4, n);
			s->name_final = m->u.option.option == NBD_OPT_GO;
			for (size_t i = 0; i < k && 6 + n + 2 * i + 2 <= len; i++)
				if (nbds_be16(data + 6 + n + 2 * i) == NBD_INFO_BLOCK_SIZE)
					s->asked_block_size = true;
		}
		if (m->flags & NBDS_MSG_CUT)
			s->asked_block_size = true; /* for all that was seen */
		break;
	case NBD_OPT_SET_META_CONTEXT:
		drop_new_contexts(s);
		break;
	}
}

/* The server's words for people, of which the protocol allows 4096 bytes. */
static void option_text(struct session *s, struct nbds_option_seen *o, const uint8_t *data,
			size_t len)
{
	struct nbds_budget *budget = &s->engine->budget;

	if (len > 4096)
		len = 4096;
	nbds_budget_free(budget, o->text, o->text_len);
	s->texts_kept -= (unsigned)o->text_len;
	o->text = NULL;
	o->text_len = 0;
	if (len > TEXTS_KEPT - s->texts_kept)
		return;
	o->text = nbds_budget_alloc(budget, len);
	if (!o->text)
		return;
	s->texts_kept += (unsigned)len;
	memcpy(o->text, data, len);
	o->text_len = len;
}

void negotiate_option_reply(struct session *s, const struct nbds_message *m)
{
	const uint8_t *data = m->head + NBDS_OPTION_REPLY_LEN;
	size_t len = m->head_len > NBDS_OPTION_REPLY_LEN ? m->head_len - NBDS_OPTION_REPLY_LEN : 0;
	uint32_t type = m->u.option_reply.type, opt = m->u.option_reply.option;

	struct nbds_option_seen *o = option_find(s, opt, false);

	if (!o) {
		o = option_add(s, opt);
		if (o)
			o->early = true;
	}
	if (o) {
		option_reply_add(s, o, type);
		o->final = m->flags & NBDS_MSG_FINAL;
		if ((type & NBD_REP_FLAG_ERROR) && len)
			option_text(s, o, data, len);
	}
	if (opt == NBD_OPT_GO && (m->flags & NBDS_MSG_FINAL) && type != NBD_REP_ACK)
		s->name_final = false;
	if (type == NBD_REP_INFO && len >= 2) {
		if (nbds_be16(data) == NBD_INFO_BLOCK_SIZE && len >= 14) {
			s->c.block_size_seen = s->got_block_size = true;
			s->c.block_minimum = nbds_be32(data + 2);
			s->c.block_preferred = nbds_be32(data + 6);
			s->c.payload_maximum = nbds_be32(data + 10);
		} else if (nbds_be16(data) == NBD_INFO_EXPORT) {
			s->export_frame = m->last.frame;
			s->export_time = m->last.time;
		}
	} else if (type == NBD_REP_META_CONTEXT && opt == NBD_OPT_SET_META_CONTEXT && len >= 4) {
		if (s->new_count < CONTEXTS_KEPT && len - 4 <= TEXTS_KEPT - s->texts_kept) {
			struct nbds_context *list =
				session_one_more(s, s->new_contexts, s->new_count, sizeof(*list));

			if (list) {
				s->new_contexts = list;
				list[s->new_count].id = nbds_be32(data);
				list[s->new_count].name = session_bytes(s, data + 4, len - 4);
				list[s->new_count].name_len = list[s->new_count].name ? len - 4 : 0;
				if (list[s->new_count].name) {
					s->texts_kept += (unsigned)(len - 4);
					s->new_count++;
				}
			}
		}
	} else if (opt == NBD_OPT_SET_META_CONTEXT && (m->flags & NBDS_MSG_FINAL)) {
		/* success replaces the selection, failure clears it */
		session_contexts_free(s, s->c.contexts, s->c.context_count);
		s->c.contexts = NULL;
		s->c.context_count = 0;
		if (type == NBD_REP_ACK) {
			s->c.contexts = s->new_contexts;
			s->c.context_count = s->new_count;
			s->new_contexts = NULL;
			s->new_count = 0;
		}
		drop_new_contexts(s);
	} else if (type == NBD_REP_ACK && opt == NBD_OPT_GO) {
		uint64_t frame = s->export_frame;
		int64_t time = s->export_time;

		negotiate_done(s, m);
		if (frame) {
			s->export_frame = frame;
			s->export_time = time;
		}
		if (s->block_unasked)
			notice_bit_8(s, m);
	}
}
