/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Simple replies, and what simple replies and chunks have in common: cookies,
 * errors, what should not have succeeded (proto.md, "Simple reply message", "Error
 * values", "Request types").
 */
#include <inttypes.h>

#include "check.h"

/* What the error of a reply may be about. */
static bool known_error(uint32_t error)
{
	switch (error) {
	case NBD_EPERM:
	case NBD_EIO:
	case NBD_ENOMEM:
	case NBD_EINVAL:
	case NBD_ENOSPC:
	case NBD_EOVERFLOW:
	case NBD_ENOTSUP:
	case NBD_ESHUTDOWN:
		return true;
	default:
		return false;
	}
}

static bool writes(uint16_t type)
{
	return type == NBD_CMD_WRITE || type == NBD_CMD_WRITE_ZEROES;
}

/* S-10: is `error` what is recommended for one of the things that are wrong? */
static bool recommended(const struct nbds_request *r, uint16_t wrong, uint32_t error)
{
	if ((wrong & RULES_BEYOND) && error == (writes(r->type) ? NBD_ENOSPC : NBD_EINVAL))
		return true;
	if ((wrong & (RULES_UNALIGNED | RULES_BAD_FLAG | RULES_UNKNOWN | RULES_NO_CONTEXTS |
		      RULES_NOT_OFFERED | RULES_BAD_IDS | RULES_TOO_LONG)) &&
	    error == NBD_EINVAL)
		return true;
	return (wrong & RULES_READ_ONLY) && error == NBD_EPERM;
}

/* S-13 */
static bool may_overflow(const struct rules_connection *rc, const struct nbds_request *r)
{
	if (r->type == NBD_CMD_READ)
		return (r->flags & NBD_CMD_FLAG_DF) || r->length > NBDS_PAYLOAD_MAX_LEAST ||
		       (rc->sizes_told && r->length > rc->maximum);
	return r->type != NBD_CMD_WRITE &&
	       (r->length > NBDS_PAYLOAD_MAX_LEAST || (rc->sizes_told && r->length > rc->maximum));
}

void rules_error(struct rules_connection *rc, const struct nbds_message *m,
		 const struct nbds_request *r, const struct rules_request *q, uint32_t error)
{
	struct rules_about about = {.at = &m->first, .r = r, .q = q};
	uint16_t has = m->negotiated->transmission_flags;
	char name[NBDS_TEXT_OF_MAX], what[120];
	const char *text = nbds_text_of(&nbds_errors, error, name);

	if (!known_error(error)) {
		const uint32_t minus = 0u - error;

		if (error > INT32_MAX)
			snprintf(what, sizeof(what), "0x%08" PRIx32 ", which is %" PRId32 "%s%s",
				 error, (int32_t)error, known_error(minus) ? ": minus " : "",
				 known_error(minus) ? nbds_name_of(&nbds_errors, minus) : "");
		else
			snprintf(what, sizeof(what), "%" PRIu32, error);
		rules_tell(
			rc, RULE_ERROR_VALUE, &about,
			"the error is %s, none of the protocol's; nbd-server before 3.11 sent the errors "
			"of its system",
			what);
		return;
	}
	if (error == NBD_ESHUTDOWN && !rc->shutdown_told) {
		rc->shutdown_told = true;
		rc->shutdown_end = m->offset + m->head_len + m->payload_len;
		rc->shutdown_frame = m->first.frame;
		rc->shutdown_time = m->last.time;
	}
	if (!r || !q)
		return;
	rules_request_text(r, what, sizeof(what));
	if (q->end && m->first.ack != NBDS_NO_ACK && m->first.ack < q->end &&
	    r->type == NBD_CMD_WRITE && (m->first.flags & NBDS_MARK_FIRST_TX)) {
		about.needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER;
		rules_tell(
			rc, RULE_ERROR_EARLY, &about,
			"the server answers %s %" PRIu64
			" bytes before the end of the payload: is the rest read as payload, or taken for "
			"requests? (qemu answers so, and then closes)",
			text, q->end - m->first.ack);
	}
	about.needs = RULES_NEEDS_HANDSHAKE;
	if (q->wrong & ~(RULES_ODD | RULES_CACHE_FLAG)) {
		if (error != NBD_ESHUTDOWN && !recommended(r, q->wrong, error))
			rules_tell(
				rc, RULE_ERROR_CHOICE, &about,
				"%s, which is not legal, is answered with %s: another error is recommended "
				"(for what lies beyond the end NBD_ENOSPC if it writes, else NBD_EINVAL; for "
				"writes to what is read-only NBD_EPERM; NBD_EINVAL for the rest)%s",
				what, text,
				error == NBD_EINVAL
					? "; qemu answers NBD_EINVAL to whatever fails its checks"
					: "");
		return;
	}
	switch (error) {
	case NBD_ENOTSUP:
		if (r->flags & NBD_CMD_FLAG_FAST_ZERO)
			break;
		about.lower = r->type != NBD_CMD_WRITE_ZEROES || !(has & NBD_FLAG_SEND_FAST_ZERO) ||
			      !rc->haggled;
		about.level = NBDS_NOTE;
		rules_tell(rc, RULE_ENOTSUP, &about,
			   "%s is answered with NBD_ENOTSUP, which is for NBD_CMD_FLAG_FAST_ZERO",
			   what);
		break;
	case NBD_EOVERFLOW:
		if (r->type == NBD_CMD_READ && (r->flags & NBD_CMD_FLAG_DF) &&
		    r->length <= NBDS_DF_LEAST) {
			rules_tell(
				rc, RULE_DF_REFUSED, &about,
				"%s with NBD_CMD_FLAG_DF is answered with NBD_EOVERFLOW: up to 65536 bytes "
				"must be read in one piece",
				what);
			break;
		}
		if (!may_overflow(rc, r))
			rules_tell(rc, RULE_EOVERFLOW, &about, "%s is answered with NBD_EOVERFLOW",
				   what);
		break;
	case NBD_ENOMEM:
		rules_tell(rc, RULE_ENOMEM, &about, "%s is answered with NBD_ENOMEM%s", what,
			   r->length > (UINT64_C(64) << 20)
				   ? "; nbdkit does so for more than 64 MiB"
				   : "");
		break;
	case NBD_EINVAL:
		if (r->type == NBD_CMD_FLUSH && !r->flags && rc->haggled &&
		    (has & NBD_FLAG_SEND_FLUSH))
			rules_tell(
				rc, RULE_FLUSH_REFUSED, &about,
				"NBD_CMD_FLUSH is answered with NBD_EINVAL, though the server sets "
				"NBD_FLAG_SEND_FLUSH%s",
				rc->oldstyle ? "; nbdkit does so after an oldstyle handshake" : "");
		if ((r->flags & NBD_CMD_FLAG_FUA) && rc->haggled && (has & NBD_FLAG_SEND_FUA))
			rules_tell(
				rc, RULE_FUA_REFUSED, &about,
				"%s with NBD_CMD_FLAG_FUA is answered with NBD_EINVAL, though the server "
				"sets NBD_FLAG_SEND_FUA",
				what);
		if (rc->haggled && rc->sizes_asked && !rc->sizes_told && !(q->wrong & RULES_ODD) &&
		    (r->offset % 512 || r->length % 512))
			rules_tell(
				rc, RULE_BLOCK_SIZE_WITHHELD, &about,
				"%s is answered with NBD_EINVAL; the client had asked for the block sizes, "
				"and was told none",
				what);
		break;
	default:
		break;
	}
}

/* The request succeeded: should it? */
void rules_success(struct rules_connection *rc, const struct nbds_message *m,
		   const struct nbds_request *r, const struct rules_request *q)
{
	struct rules_about about = {.at = &m->first,
				    .r = r,
				    .q = q,
				    .needs = RULES_NEEDS_HANDSHAKE | RULES_NEEDS_PAIRS};
	char what[120];

	if (!q->wrong || r->ambiguous)
		return;
	rules_request_text(r, what, sizeof(what));
	if ((q->wrong & RULES_BEYOND) && r->length) {
		rules_tell(rc, RULE_ILLEGAL_ACCEPTED, &about,
			   "%s reaches beyond the end of the export, and succeeded", what);
	} else if (q->wrong & RULES_UNALIGNED) {
		about.lower = true;
		about.level = NBDS_NOTE;
		rules_tell(
			rc, RULE_ILLEGAL_ACCEPTED, &about,
			"%s is not aligned to the minimum block size, and succeeded; qemu serves "
			"such requests",
			what);
		about.lower = false;
	}
	if (q->wrong & (RULES_BAD_FLAG | RULES_UNKNOWN | RULES_CACHE_FLAG)) {
		/* flags of NBD_CMD_CACHE must be refused if the command is advertised */
		about.lower = (q->wrong & RULES_CACHE_FLAG) &&
			      (m->negotiated->transmission_flags & NBD_FLAG_SEND_CACHE);
		about.level = NBDS_VIOLATION;
		rules_tell(rc, RULE_UNKNOWN_ACCEPTED, &about, "%s with %s succeeded%s", what,
			   q->wrong & RULES_UNKNOWN ? "an unknown command"
						    : "flags that are not defined for it",
			   r->flags & NBD_CMD_FLAG_NO_HOLE
				   ? "; nbd-server takes NBD_CMD_FLAG_NO_HOLE with every command"
				   : "");
		about.lower = false;
	}
	if ((q->wrong & RULES_BAD_IDS) && !q->status_unsure)
		rules_tell(rc, RULE_STATUS_IDS, &about,
			   "%s with ids that were not selected, or twice the same, succeeded",
			   what);
	if ((q->wrong & RULES_TOO_LONG) && (r->flags & NBD_CMD_FLAG_PAYLOAD_LEN))
		rules_tell(rc, RULE_LONG_PAYLOAD_ACCEPTED, &about,
			   "%s is longer than the maximum payload, %" PRIu32 ", and succeeded",
			   what, rc->maximum);
}

/* A reply of which no request in flight has the cookie. */
void rules_unasked(struct rules_connection *rc, const struct nbds_message *m, uint64_t cookie)
{
	struct rules_about about = {.at = &m->first,
				    .command = m->name,
				    .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER};
	/* all that the server can have read is known: the client's bytes up to its
	 * acknowledgement were told */
	char what[120];
	bool proven = m->first.ack != NBDS_NO_ACK && m->first.ack <= rc->pos[NBDS_CLIENT];

	if (rc->disc && cookie == rc->disc_cookie) {
		about.request_frame = rc->disc_frame;
		rules_tell(rc, RULE_DISC_ANSWERED, &about,
			   "NBD_CMD_DISC (frame %" PRIu64
			   ") is answered; nbd-server does so if the request has flags",
			   rc->disc_frame);
		return;
	}
	about.lower = !proven;
	about.level = NBDS_SUSPECT;
	if (m->again) {
		struct nbds_request was = {.type = m->again->type,
					   .offset = m->again->offset,
					   .length = m->again->length};

		about.r = &was;
		about.command = NULL;
		about.request_frame = m->again->request_frame;
		rules_request_text(&was, what, sizeof(what));
		rules_tell(rc, m->type == NBDS_MSG_CHUNK ? RULE_AFTER_DONE : RULE_ANSWERED_TWICE,
			   &about,
			   "%s (frame %" PRIu64 ", cookie 0x%" PRIx64
			   ") was answered in frame %" PRIu64 ": %s",
			   what, m->again->request_frame, cookie, m->again->reply_frame,
			   m->type == NBDS_MSG_CHUNK ? "another chunk follows"
						     : "this is a second reply");
		return;
	}
	/* its data, if there is any, will be no reply */
	rc->unsized = m->type == NBDS_MSG_SIMPLE_REPLY && !m->u.simple.error;
	rules_tell(rc, RULE_UNKNOWN_COOKIE, &about,
		   "the reply carries the cookie 0x%" PRIx64 ", which no request in flight has",
		   cookie);
}

void rules_simple(struct rules_connection *rc, const struct nbds_message *m,
		  struct rules_request *q)
{
	const struct nbds_request *r = m->request;
	struct rules_about about = {.at = &m->first, .r = r, .q = q};
	uint32_t error = m->u.simple.error;
	char what[120];

	if (rc->extended) {
		about.needs = RULES_NEEDS_HANDSHAKE;
		rules_tell(rc, RULE_COMPACT_REPLY, &about,
			   "a simple reply is sent, though extended headers were negotiated");
	}
	if (m->flags & NBDS_MSG_UNSOLICITED) {
		rules_unasked(rc, m, m->u.simple.cookie);
		if (error)
			rules_error(rc, m, NULL, NULL, error);
		return;
	}
	if (error)
		rules_error(rc, m, r, q, error);
	if (!r || r->ambiguous)
		return;
	about.needs = RULES_NEEDS_HANDSHAKE | RULES_NEEDS_PAIRS;
	if (rc->structured && !rc->extended && !rc->option_doubt &&
	    (r->type == NBD_CMD_READ || r->type == NBD_CMD_BLOCK_STATUS)) {
		rules_request_text(r, what, sizeof(what));
		if (r->type == NBD_CMD_READ)
			rules_tell(
				rc, RULE_READ_SIMPLE, &about,
				"%s is answered by a simple reply%s, though structured replies were "
				"negotiated; nbd-server does so from 3.25 on, for errors and with "
				"splice=true",
				what, error ? " with an error" : "");
		else if (r->type == NBD_CMD_BLOCK_STATUS && !error)
			rules_tell(rc, RULE_STATUS_SIMPLE, &about,
				   "%s is answered by a simple reply without an error", what);
	}
	if (!r->chunks)
		return;
	rules_request_text(r, what, sizeof(what));
	rules_tell(rc, RULE_KINDS_MIXED, &about,
		   "%s is answered by %" PRIu32 " chunk%s and a simple reply", what, r->chunks,
		   r->chunks == 1 ? "" : "s");
}
