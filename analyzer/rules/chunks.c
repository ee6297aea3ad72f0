/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Structured and extended reply chunks (proto.md, "Structured reply chunk
 * message", "Structured reply types", "Request types"; the branch
 * extension-ext-header).
 *
 * Of each read in flight the content that came is kept as pieces, which grow
 * together where they touch:
 *
 *	request  |-------------------------------|
 *	pieces   [from, to)      [from, to)
 *
 * Servers send content in order, or in a few runs: one or two pieces.
 */
#include <inttypes.h>

#include <base/bytes.h>

#include "check.h"

/* Chunks should begin and end at multiples of it (C-19). */
#define CHUNK_UNIT 512u

/* What the client cannot have understood (C-23). */
static void broken(struct rules_connection *rc, const struct nbds_message *m)
{
	rc->broken_reply = true;
	rc->broken_end = m->offset + m->head_len + m->payload_len;
	rc->broken_frame = m->first.frame;
}

/* Adds [from, to) to the pieces. False: it overlaps one. */
static bool add_piece(struct rules_request *q, uint64_t from, uint64_t to)
{
	for (unsigned i = 0; i < q->pieces; i++)
		if (from < q->piece[i].to && q->piece[i].from < to)
			return false;
	for (unsigned i = 0; i < q->pieces;) {
		if (q->piece[i].to == from)
			from = q->piece[i].from;
		else if (q->piece[i].from == to)
			to = q->piece[i].to;
		else {
			i++;
			continue;
		}
		q->piece[i] = q->piece[--q->pieces];
	}
	if (q->pieces == RULES_PIECES) {
		q->scattered = true;
		return true;
	}
	q->piece[q->pieces].from = from;
	q->piece[q->pieces++].to = to;
	return true;
}

/* Content of a read: data or a hole. */
static void content(struct rules_connection *rc, const struct nbds_message *m,
		    struct rules_request *q, struct rules_about *about, uint64_t length)
{
	const struct nbds_request *r = m->request;
	uint64_t at = m->u.chunk.offset;
	char what[120];

	if (at < r->offset || at - r->offset > r->length || length > r->length - (at - r->offset)) {
		q->outside = true;
		broken(rc, m);
		rules_tell(rc, RULE_CHUNK_OUTSIDE, about,
			   "%s brings %" PRIu64 " bytes at 0x%" PRIx64
			   ", which do not lie within the "
			   "%s",
			   m->name, length, at, rules_request_text(r, what, sizeof(what)));
		return;
	}
	rules_habit(&rc->odd_chunks,
		    (at % CHUNK_UNIT && at != r->offset) ||
			    ((at + length) % CHUNK_UNIT && at + length != r->offset + r->length),
		    m);
	about->needs = RULES_NEEDS_PAIRS;
	if (length && !add_piece(q, at, at + length)) {
		q->outside = true;
		broken(rc, m);
		rules_tell(rc, RULE_CHUNK_OVERLAP, about,
			   "%s brings %" PRIu64 " bytes at 0x%" PRIx64
			   ", of which an earlier chunk of the "
			   "reply brought some",
			   m->name, length, at);
	} else if (q->error_offsets && q->error_at >= at && q->error_at - at < length) {
		broken(rc, m);
		rules_tell(rc, RULE_CHUNK_OVERLAP, about,
			   "%s brings %" PRIu64 " bytes at 0x%" PRIx64
			   ", among them those at 0x%" PRIx64
			   ", which an earlier chunk said to be in error",
			   m->name, length, at, q->error_at);
	}
	if (q->contents < UINT8_MAX)
		q->contents++;
	/* of what was not offered nothing is promised */
	if ((r->flags & NBD_CMD_FLAG_DF) && q->contents == 2 && !(q->wrong & RULES_NOT_OFFERED))
		rules_tell(rc, RULE_DF_FRAGMENTED, about,
			   "%s with NBD_CMD_FLAG_DF is answered by a second chunk of content",
			   rules_request_text(r, what, sizeof(what)));
	if ((r->flags & NBD_CMD_FLAG_DF) && r->error && r->first_error == NBD_EOVERFLOW &&
	    !(q->wrong & RULES_NOT_OFFERED))
		rules_tell(rc, RULE_DF_OVERFLOW, about,
			   "%s with NBD_CMD_FLAG_DF is answered by NBD_EOVERFLOW and content",
			   rules_request_text(r, what, sizeof(what)));
	about->needs = RULES_NEEDS_NOTHING;
}

static void error_text(struct rules_connection *rc, const struct nbds_message *m,
		       struct rules_about *about, const uint8_t *s, size_t len)
{
	const char *wrong = rules_string(s, len, m->flags & NBDS_MSG_CUT);
	bool last = wrong && len && !s[len - 1];
	char shown[160];

	if (!wrong)
		return;
	rules_shown(s, len, shown, sizeof(shown));
	about->other_side = true;
	about->side = NBDS_FAULT_SERVER;
	rules_tell(rc, RULE_STRING, about, "the text of %s %s: \"%s\"%s", m->name, wrong, shown,
		   last ? "; nbd-server sends the NUL that ends it" : "");
	about->other_side = false;
}

static void error_chunk(struct rules_connection *rc, const struct nbds_message *m,
			struct rules_request *q, struct rules_about *about, size_t header)
{
	const struct nbds_request *r = m->request;
	bool at_offset = m->u.chunk.type == NBD_REPLY_TYPE_ERROR_OFFSET;
	const uint8_t *p = m->head + header;
	size_t n = m->head_len - header, text = 0;
	uint64_t length = m->u.chunk.length, at = m->u.chunk.offset;

	if (n >= 6)
		text = nbds_be16(p + 4);
	if ((m->flags & NBDS_MSG_MALFORMED) || text > NBDS_STRING_MAX || length < 6 ||
	    (at_offset && length < 14)) {
		uint16_t swapped = (uint16_t)(text >> 8 | text << 8);

		broken(rc, m);
		rules_tell(rc, RULE_ERROR_CHUNK, about,
			   "%s has length %" PRIu64 ", and its text is said to have %zu bytes%s",
			   m->name, length, text,
			   text && length >= 6 && swapped == length - 6
				   ? "; sent little-endian, as nbd-server does"
				   : "");
	} else if (!(m->flags & NBDS_MSG_CUT) && n >= 6 + text) {
		error_text(rc, m, about, p + 6, text);
	}
	if (n < 4)
		return;
	if (!m->u.chunk.error)
		rules_tell(rc, RULE_ERROR_SUCCESS, about, "%s has error 0", m->name);
	else
		rules_error(rc, m, r, q, m->u.chunk.error);
	if (!r || !q)
		return;
	if (at_offset && (r->type == NBD_CMD_FLUSH || r->type == NBD_CMD_DISC))
		rules_tell(
			rc, RULE_ERROR_OFFSET_FLUSH, about,
			"NBD_CMD_FLUSH, which has no offset, is answered by an error at 0x%" PRIx64,
			at);
	else if (at_offset && !(m->flags & (NBDS_MSG_MALFORMED | NBDS_MSG_CUT)) &&
		 (at < r->offset || at - r->offset >= r->length))
		rules_tell(rc, RULE_ERROR_OUTSIDE, about,
			   "the error is at 0x%" PRIx64 ", outside of the request, 0x%" PRIx64
			   " to 0x%" PRIx64,
			   at, r->offset, r->offset + r->length);
	about->needs = RULES_NEEDS_PAIRS;
	if (q->errors || (q->error_offsets && (!at_offset || q->error_at == at)))
		rules_tell(rc, RULE_ERROR_REPEATED, about,
			   q->error_offsets && at_offset
				   ? "the error at 0x%" PRIx64 " is reported twice"
				   : "a second error is reported (0x%" PRIx64 ")",
			   at);
	if (at_offset) {
		q->error_offsets = true;
		q->error_at = at;
	} else {
		q->errors = true;
	}
	if ((r->flags & NBD_CMD_FLAG_DF) && q->contents && m->u.chunk.error == NBD_EOVERFLOW &&
	    !(q->wrong & RULES_NOT_OFFERED))
		rules_tell(rc, RULE_DF_OVERFLOW, about,
			   "a read with NBD_CMD_FLAG_DF is answered by content and NBD_EOVERFLOW");
	about->needs = RULES_NEEDS_NOTHING;
}

/* The header against what was negotiated. */
static void header_of(struct rules_connection *rc, const struct nbds_message *m,
		      struct rules_about *about, bool extended)
{
	about->needs = RULES_NEEDS_HANDSHAKE;
	if (rc->extended && !extended)
		rules_tell(rc, RULE_COMPACT_REPLY, about,
			   "%s has a compact header, though extended headers were negotiated",
			   m->name);
	else if (!rc->extended && !(rc->structured && !extended) && rc->haggled)
		rules_tell(rc, RULE_CHUNK_NOT_NEGOTIATED, about,
			   "%s is sent, though %s were not negotiated on this connection", m->name,
			   extended ? "extended headers" : "structured replies");
	about->needs = RULES_NEEDS_NOTHING;
	if (m->u.chunk.flags & ~NBD_REPLY_FLAG_DONE)
		rules_tell(rc, RULE_REPLY_FLAGS, about,
			   "%s has the flags 0x%04x: only bit 0 is defined", m->name,
			   m->u.chunk.flags);
	if (m->u.chunk.length > UINT32_MAX)
		rules_tell(rc, RULE_REPLY_LONG, about, "%s has a payload of %" PRIu64 " bytes",
			   m->name, m->u.chunk.length);
}

static void too_large(struct rules_connection *rc, const struct nbds_message *m,
		      struct rules_about *about, uint64_t fixed)
{
	if (!rc->sizes_told || rc->maximum == NBDS_PAYLOAD_MAX_NONE || m->u.chunk.length < fixed ||
	    m->u.chunk.length - fixed <= rc->maximum)
		return;
	about->needs = RULES_NEEDS_HANDSHAKE;
	rules_tell(rc, RULE_CHUNK_TOO_LARGE, about,
		   "%s has %" PRIu64
		   " bytes of content, more than the maximum payload that the server "
		   "told, %" PRIu32,
		   m->name, m->u.chunk.length - fixed, rc->maximum);
	about->needs = RULES_NEEDS_NOTHING;
}

/* C-10: does the type belong to the command? */
static bool type_fits(const struct nbds_request *r, uint16_t type)
{
	if (r->type > NBD_CMD_RESIZE)
		return true; /* who defined the command defined its replies */
	switch (type) {
	case NBD_REPLY_TYPE_NONE:
		return true;
	case NBD_REPLY_TYPE_OFFSET_DATA:
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		return r->type == NBD_CMD_READ;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		return r->type == NBD_CMD_BLOCK_STATUS;
	default:
		return type & NBD_REPLY_TYPE_FLAG_ERROR;
	}
}

void rules_chunk(struct rules_connection *rc, const struct nbds_message *m, struct rules_request *q)
{
	const struct nbds_request *r = m->request;
	struct rules_about about = {.at = &m->first, .r = r, .q = q, .command = m->name};
	bool extended = nbds_be32(m->head) == NBD_EXTENDED_REPLY_MAGIC;
	size_t header = extended ? NBDS_EXTENDED_CHUNK_LEN : NBDS_CHUNK_LEN;
	uint16_t type = m->u.chunk.type;
	uint64_t length = m->u.chunk.length;

	if (r)
		about.command = NULL; /* the request's */
	header_of(rc, m, &about, extended);
	if (type == NBD_REPLY_TYPE_NONE && (length || !(m->u.chunk.flags & NBD_REPLY_FLAG_DONE)))
		rules_tell(rc, RULE_NONE_CHUNK, &about,
			   "NBD_REPLY_TYPE_NONE has length %" PRIu64
			   " and flags 0x%04x: it must have 0 and NBD_REPLY_FLAG_DONE",
			   length, m->u.chunk.flags);
	if (m->flags & NBDS_MSG_UNSOLICITED) {
		rules_unasked(rc, m, m->u.chunk.cookie);
		if (type & NBD_REPLY_TYPE_FLAG_ERROR)
			error_chunk(rc, m, NULL, &about, header);
		return;
	}
	if (!r || !q || r->ambiguous)
		return;
	if (m->flags & NBDS_MSG_CUT) {
		/* what it brought is not known */
		q->outside = q->status_unsure = true;
		return;
	}
	if (extended && nbds_be64(m->head + 16) != r->offset)
		rules_tell(rc, RULE_REPLY_OFFSET, &about,
			   "the reply's header has offset 0x%" PRIx64
			   ", and the request 0x%" PRIx64,
			   nbds_be64(m->head + 16), r->offset);
	if (!type_fits(r, type)) {
		broken(rc, m);
		rules_tell(rc, RULE_CHUNK_TYPE, &about, "%s is no answer to %s", m->name,
			   nbds_name_of(&nbds_commands, r->type)
				   ? nbds_name_of(&nbds_commands, r->type)
				   : "an unknown command");
		return;
	}
	switch (type) {
	case NBD_REPLY_TYPE_OFFSET_DATA:
		if (length < 9 && r->length) {
			broken(rc, m);
			rules_tell(rc, RULE_DATA_CHUNK, &about,
				   "NBD_REPLY_TYPE_OFFSET_DATA has length %" PRIu64
				   ": it must have an offset and at least one byte",
				   length);
		}
		if (length >= 8 && m->head_len >= header + 8) {
			content(rc, m, q, &about, length - 8);
			too_large(rc, m, &about, 8);
		}
		break;
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		if (length != 12 || !m->u.chunk.hole) {
			broken(rc, m);
			rules_tell(rc, RULE_HOLE_CHUNK, &about,
				   "NBD_REPLY_TYPE_OFFSET_HOLE has length %" PRIu64
				   " and a hole of %" PRIu64 " bytes",
				   length, m->u.chunk.hole);
		} else {
			content(rc, m, q, &about, m->u.chunk.hole);
		}
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
		rules_status(rc, m, q);
		too_large(rc, m, &about, 4);
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		rules_status(rc, m, q);
		too_large(rc, m, &about, 8);
		break;
	default:
		if (type & NBD_REPLY_TYPE_FLAG_ERROR)
			error_chunk(rc, m, q, &about, header);
		break;
	}
}

/* The last chunk of a reply is complete. */
void rules_chunk_done(struct rules_connection *rc, const struct nbds_message *m,
		      struct rules_request *q)
{
	const struct nbds_request *r = m->request;
	struct rules_about about = {.at = &m->first, .r = r, .q = q, .needs = RULES_NEEDS_PAIRS};
	uint32_t missing;
	char what[120];

	if (r->ambiguous || r->error)
		return;
	if (r->type == NBD_CMD_READ && !q->outside && r->data_bytes < r->length)
		rules_tell(rc, RULE_READ_INCOMPLETE, &about,
			   "%s succeeds, and its chunks bring %" PRIu64 " bytes only",
			   rules_request_text(r, what, sizeof(what)), r->data_bytes);
	if (r->type == NBD_CMD_BLOCK_STATUS && rc->haggled && !rc->contexts_over && r->length &&
	    !q->status_unsure && !(q->wrong & (RULES_BAD_IDS | RULES_NO_CONTEXTS))) {
		missing = q->asked & ~q->answered;
		if (missing)
			rules_tell(
				rc, RULE_CONTEXTS_MISSING, &about,
				"%s succeeds without status in %d of the contexts that were selected",
				rules_request_text(r, what, sizeof(what)),
				__builtin_popcount(missing));
	}
	rules_success(rc, m, r, q);
}
