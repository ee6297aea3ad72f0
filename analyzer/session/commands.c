/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands: counted, and handed on to the server's world; requests in flight, until they are
 * answered.
 */
#include <string.h>

#include <base/bytes.h>
#include <base/clock.h>

#include "../latency/latency.h"
#include "internal.h"

/* --- requests ------------------------------------------------------------ */

static struct nbds_command_stats *stats_of(struct session *s, uint16_t type)
{
	struct nbds_command_stats *c =
		&s->c.commands[type < NBDS_COMMAND_KINDS - 1 ? type : NBDS_COMMAND_KINDS - 1];

	if (!c->count)
		c->type = type;
	return c;
}

/* Does the request break a rule that makes its outcome undefined? */
static void legality(const struct session *s, const struct nbds_request *r,
		     struct nbds_request_order *o)
{
	uint32_t min = s->c.block_minimum;
	uint16_t flags = s->c.negotiated.transmission_flags;

	if (s->block_bound && min > 1 && r->type != NBD_CMD_FLUSH && r->type != NBD_CMD_DISC &&
	    r->length && (r->offset % min || r->length % min)) {
		o->illegal = true;
		if (r->length <= UINT64_MAX - r->offset) {
			uint64_t end = r->offset + r->length;

			o->damage_offset = r->offset - r->offset % min;
			end += end % min && end <= UINT64_MAX - min ? min - end % min : 0;
			o->damage_length = end - o->damage_offset;
		}
	}
	if (!s->c.negotiated.export_seen)
		return;
	if ((r->type == NBD_CMD_TRIM && !(flags & NBD_FLAG_SEND_TRIM)) ||
	    (r->type == NBD_CMD_WRITE_ZEROES && !(flags & NBD_FLAG_SEND_WRITE_ZEROES)))
		o->illegal = true;
}

void command_request(struct session *s, const struct nbds_message *m)
{
	struct nbds_engine *e = s->engine;
	struct nbds_request *r = m->request;
	struct nbds_command_stats *c;
	struct inflight *f;

	session_end_owed(s);
	if (!r)
		return;
	if (r->type == NBD_CMD_DISC) {
		s->c.end = NBDS_END_DISCONNECT;
		client_leave(&e->clients, &s->use);
		s->disc = (struct nbds_point){m->first.lo_frame, m->first.lo_time,
					      m->first.interface};
	}
	c = stats_of(s, r->type);
	c->count++;
	c->bytes += r->length;
	if (r->flags & NBD_CMD_FLAG_FUA)
		c->fua++;
	if (e->counts)
		counts_request(e->counts, r);
	if (r->type != NBD_CMD_DISC) {
		s->c.requests++;
		if (++s->c.in_flight > s->c.max_in_flight)
			s->c.max_in_flight = s->c.in_flight;
	}
	if (s->c.export) {
		if (nbds_command_writes(r->type)) {
			s->c.export->writes++;
			if (r->flags & NBD_CMD_FLAG_FUA)
				s->c.export->fua_writes++;
		}
		if (r->type == NBD_CMD_FLUSH)
			s->c.export->flushes++;
	}
	if (nbds_command_writes(r->type))
		s->writes++;
	if (r->type != NBD_CMD_DISC)
		notice_multiplexed(s, m);

	f = e->free_inflight;
	if (f)
		e->free_inflight = f->next_free;
	else
		f = nbds_budget_alloc(&e->budget, sizeof(*f));
	if (!f)
		return;
	*f = (struct inflight){.older = s->newest,
			       .request = r,
			       .first = m->first,
			       .losses = s->losses,
			       .extent_at = r->offset,
			       .status_known = true};
	*(s->newest ? &s->newest->newer : &s->oldest) = f;
	s->newest = f;
	r->user = f;
	/* how the transmission phase began was lost, but here it is */
	if (!s->parted)
		session_join(s);
	if (!s->party || r->type == NBD_CMD_DISC)
		return;
	struct nbds_request_order o = {
		.lo = {m->first.lo_frame, m->first.lo_time, m->first.interface},
		.frame = m->first.frame,
		.header_end = m->offset + m->head_len,
		.acked = m->first.flags & NBDS_MARK_FIRST_TX ? m->first.ack : NBDS_NO_ACK,
		.ambiguous = r->ambiguous,
	};
	legality(s, r, &o);
	struct doubt_span span = {
		.head = m->head_len,
		.payload = m->payload_len,
		.since = o.lo,
		.request_frame = m->first.frame,
		.offset = r->offset,
		.length = r->length,
		.writes = nbds_command_writes(r->type),
	};
	f->span = doubts_span(&e->doubts, &s->spans[NBDS_CLIENT], m->offset, &span);
	f->op = nbds_world_request(s->party, r->type, r->flags, r->offset, r->length, &o);
}

/* --- replies ------------------------------------------------------------- */

static void count_error(struct session *s, struct nbds_command_stats *c, uint32_t error)
{
	unsigned n = c->error_kinds;

	for (unsigned i = 0; i < n; i++) {
		if (c->errors[i].error == error) {
			c->errors[i].count++;
			return;
		}
	}
	if (n < NBDS_ERRORS_MAX) {
		struct nbds_error_count *list = session_one_more(s, c->errors, n, sizeof(*list));

		if (!list)
			return;
		c->errors = list;
	}
	if (n < NBDS_ERRORS_MAX)
		c->errors[c->error_kinds++] = (struct nbds_error_count){error, 1};
	else
		c->errors[NBDS_ERRORS_MAX - 1].count++;
}

void command_release(struct session *s, struct nbds_request *r)
{
	struct inflight *f = r->user;

	if (!f)
		return;
	session_inflight_free(s, f);
	r->user = NULL;
}

void command_answered(struct session *s, const struct nbds_message *m)
{
	struct nbds_request *r = m->request;
	struct nbds_command_stats *c = stats_of(s, r->type);
	struct inflight *f = r->user;
	bool chunked = m->type == NBDS_MSG_CHUNK;
	int64_t took;

	s->c.replies++;
	c->replies++;
	session_unawaited(s, 1);
	if (r->error) {
		count_error(s, c, r->first_error);
	} else if (r->type == NBD_CMD_READ) {
		c->data_bytes += r->data_bytes;
		s->engine->read_bytes += r->data_bytes;
	} else if (r->type == NBD_CMD_WRITE) {
		c->data_bytes += r->length;
	}
	if (!f) {
		if (s->engine->counts)
			counts_answered(s->engine->counts, r, -1);
		return;
	}
	doubts_answered(&s->engine->doubts, f->span, m->last.frame);
	took = nbds_elapsed(f->first.time, m->last.time);
	if (took < 0)
		took = 0;
	latency_add(&s->engine->budget, &c->latency, (uint64_t)took);
	if (s->engine->counts)
		counts_answered(s->engine->counts, r, took);
	if (m->first.frame < f->first.frame)
		session_join(s); /* which has to know that order is not to be trusted */
	if (m->first.frame < f->first.frame && s->server && s->server->world)
		nbds_world_inversion(s->server->world, nbds_elapsed(m->first.time, f->first.time));
	if (r->type == NBD_CMD_CACHE && !r->error && !s->cache_honoured) {
		s->cache_honoured = true;
		s->cache_frame = f->first.frame;
		notice_bit_8(s, m);
	}
	if (f->op) {
		struct nbds_reply_order o = {
			.hi = point_of(&m->last),
			.frame = m->last.frame,
			.status_end = m->offset + m->head_len + m->payload_len,
			.acked = m->last.ack,
		};
		bool hidden = chunked && f->losses != s->losses; /* an error chunk may be lost */

		if (r->ambiguous || hidden)
			nbds_op_open(f->op);
		else if (nbds_op_reply(f->op,
				       r->error ? (r->first_error ? r->first_error : NBD_EIO) : 0,
				       &o))
			s->owed = f->op; /* its payload is what the client sends just now */
		f->op = NULL;
	}
	command_release(s, r);
	session_refresh_unflushed(s);
}

/* --- block status --------------------------------------------------------- */

#define EXTENTS_AT_ONCE 128u

static bool is_allocation(const struct session *s, uint32_t id)
{
	static const char name[] = "base:allocation";

	for (unsigned i = 0; i < s->c.context_count; i++)
		if (s->c.contexts[i].id == id)
			return s->c.contexts[i].name_len == sizeof(name) - 1 &&
			       memcmp(s->c.contexts[i].name, name, sizeof(name) - 1) == 0;
	return false;
}

void command_extents(struct session *s, const struct nbds_message *m, uint64_t at,
		     const uint8_t *data, size_t len, const struct nbds_mark *where)
{
	struct inflight *f = m->request ? m->request->user : NULL;
	unsigned size = m->u.chunk.type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT ? 16 : 8;
	struct nbds_point hi = point_of(where);

	if (!f || !f->op)
		return;
	if (at == 0) {
		s->extent_have = 0;
		s->extent_pos = 0;
		f->extent_at = m->request->offset;
		f->status_known = is_allocation(s, m->u.chunk.context_id);
	}
	if (!f->status_known || at != s->extent_pos + s->extent_have) {
		f->status_known = false; /* bytes lost: the next extent's place is not known */
		return;
	}
	while (len) {
		struct nbds_extent list[EXTENTS_AT_ONCE];
		uint64_t offset = f->extent_at;
		size_t count = 0;

		while (len && count < EXTENTS_AT_ONCE && f->status_known) {
			size_t n = size - s->extent_have < len ? size - s->extent_have : len;
			const uint8_t *p = data;
			uint64_t length, status;

			if (n < size) { /* in several pieces */
				memcpy(s->extent + s->extent_have, data, n);
				s->extent_have += (unsigned)n;
				p = s->extent;
			}
			data += n;
			len -= n;
			if (n < size && s->extent_have < size)
				break;
			s->extent_have = 0;
			s->extent_pos += size;
			length = size == 16 ? nbds_be64(p) : nbds_be32(p);
			status = size == 16 ? nbds_be64(p + 8) : nbds_be32(p + 4);
			if (length > UINT64_MAX - f->extent_at) {
				f->status_known = false;
				break;
			}
			list[count++] = (struct nbds_extent){length, (uint32_t)status};
			f->extent_at += length;
		}
		nbds_op_status_extents(f->op, offset, list, count, &hi);
		if (!f->status_known)
			return;
	}
}

void command_chunk(struct session *s, const struct nbds_message *m)
{
	struct inflight *f = m->request ? m->request->user : NULL;
	struct nbds_point hi = point_of(&m->last);
	enum nbds_chunk_kind kind = NBDS_CHUNK_OTHER;

	switch (m->u.chunk.type) {
	case NBD_REPLY_TYPE_NONE:
		kind = NBDS_CHUNK_NONE;
		break;
	case NBD_REPLY_TYPE_OFFSET_DATA:
		kind = NBDS_CHUNK_DATA;
		break;
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		kind = NBDS_CHUNK_HOLE;
		if (f && f->op)
			nbds_op_read_hole(f->op, m->u.chunk.offset, m->u.chunk.hole, &hi);
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		kind = NBDS_CHUNK_STATUS;
		break;
	case NBD_REPLY_TYPE_ERROR:
	case NBD_REPLY_TYPE_ERROR_OFFSET:
		kind = NBDS_CHUNK_ERROR;
		break;
	}
	s->c.chunks[kind]++;
}

void command_answer_begins(struct session *s, const struct nbds_message *m)
{
	struct nbds_request *r = m->request;
	struct inflight *f = r ? r->user : NULL;
	struct doubt_span span = {.head = m->head_len, .payload = m->payload_len};

	if (!f)
		return;
	if (!f->reply_frame)
		f->reply_frame = m->first.frame;
	span.since = (struct nbds_point){f->first.lo_frame, f->first.lo_time, f->first.interface};
	span.request_frame = f->first.frame;
	span.reply_frame = m->last.frame;
	span.offset = r->offset;
	span.length = r->length;
	span.writes = nbds_command_writes(r->type);
	doubts_span(&s->engine->doubts, &s->spans[NBDS_SERVER], m->offset, &span);
}
