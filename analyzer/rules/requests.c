/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests (proto.md, "Request message", "Command flags", "Request types", "Size
 * constraints"; extended headers: the branch extension-ext-header).
 *
 * What is wrong with a request is remembered with it: an error is then the right
 * answer, and a success may be a fault of the server's.
 */
#include <inttypes.h>
#include <string.h>

#include <base/bytes.h>
#include <base/clock.h>

#include "check.h"

/* Two events that are so near to each other may not know of each other. */
#define SOON INT64_C(50000)

#define FLAGS_ANY (NBD_CMD_FLAG_FUA)

static bool write_class(uint16_t type)
{
	return type == NBD_CMD_WRITE || type == NBD_CMD_TRIM || type == NBD_CMD_WRITE_ZEROES;
}

static bool ranged(uint16_t type)
{
	return type <= NBD_CMD_BLOCK_STATUS && type != NBD_CMD_DISC && type != NBD_CMD_FLUSH;
}

/* the flags that are defined for a command. */
static uint16_t defined(uint16_t type, bool extended)
{
	switch (type) {
	case NBD_CMD_READ:
		return FLAGS_ANY | NBD_CMD_FLAG_DF;
	case NBD_CMD_WRITE:
		return FLAGS_ANY | (extended ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
	case NBD_CMD_WRITE_ZEROES:
		return FLAGS_ANY | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
	case NBD_CMD_BLOCK_STATUS:
		return FLAGS_ANY | NBD_CMD_FLAG_REQ_ONE | (extended ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
	default:
		return FLAGS_ANY;
	}
}

static void mode(struct rules_connection *rc, const struct nbds_message *m,
		 struct rules_about *about)
{
	const struct nbds_request *r = m->request;

	about->needs = RULES_NEEDS_HANDSHAKE;
	if (rc->extended && !r->extended)
		rules_tell(rc, RULE_COMPACT_REQUEST, about,
			   "%s has a compact header, though extended headers were negotiated",
			   m->name);
	if (!rc->extended && r->extended && rc->entered && !rc->option_doubt)
		rules_tell(rc, RULE_REQUEST_MAGIC, about,
			   "%s has an extended header, though extended headers were not negotiated",
			   m->name);
	about->needs = RULES_NEEDS_NOTHING;
	if (!r->extended && (r->flags & NBD_CMD_FLAG_PAYLOAD_LEN))
		rules_tell(rc, RULE_PAYLOAD_LEN_COMPACT, about,
			   "%s has NBD_CMD_FLAG_PAYLOAD_LEN, and a compact header", m->name);
	if (r->extended && r->type == NBD_CMD_WRITE && !(r->flags & NBD_CMD_FLAG_PAYLOAD_LEN))
		rules_tell(
			rc, RULE_NO_PAYLOAD_LEN, about,
			"NBD_CMD_WRITE has an extended header and lacks NBD_CMD_FLAG_PAYLOAD_LEN");
}

static void flags(struct rules_connection *rc, const struct nbds_message *m,
		  struct rules_request *q, struct rules_about *about)
{
	const struct nbds_request *r = m->request;
	uint16_t more = r->flags & (uint16_t)~defined(r->type, r->extended);
	char names[200];

	if (r->type > NBD_CMD_RESIZE)
		return;
	if (!r->extended)
		more &= (uint16_t)~NBD_CMD_FLAG_PAYLOAD_LEN; /* X-05 has told it */
	if (r->type == NBD_CMD_CACHE && (r->flags & (uint16_t)~FLAGS_ANY))
		q->wrong |= RULES_CACHE_FLAG;
	if (!more)
		return;
	q->wrong |= RULES_BAD_FLAG;
	nbds_flag_names(&nbds_command_flags, more, names, sizeof(names));
	rules_tell(rc, RULE_COMMAND_FLAG, about, "%s has a flag that is not defined for it: %s",
		   m->name, names);
}

/* What the transmission flags offer. */
static void offered(struct rules_connection *rc, const struct nbds_message *m,
		    struct rules_request *q, struct rules_about *about)
{
	const struct nbds_request *r = m->request;
	uint16_t has = m->negotiated->transmission_flags, lacks = 0;
	enum nbds_rule_id id = RULE_COUNT;

	if (!m->negotiated->export_seen || !rc->haggled || (rc->oldstyle && !has))
		return;
	about->needs = RULES_NEEDS_HANDSHAKE;
	switch (r->type) {
	case NBD_CMD_FLUSH:
		lacks = NBD_FLAG_SEND_FLUSH;
		id = RULE_FLUSH_NOT_OFFERED;
		break;
	case NBD_CMD_TRIM:
		lacks = NBD_FLAG_SEND_TRIM;
		id = RULE_TRIM_NOT_OFFERED;
		break;
	case NBD_CMD_WRITE_ZEROES:
		lacks = NBD_FLAG_SEND_WRITE_ZEROES;
		id = RULE_ZEROES_NOT_OFFERED;
		break;
	case NBD_CMD_RESIZE:
		lacks = NBD_FLAG_SEND_RESIZE;
		id = RULE_RESIZE_NOT_OFFERED;
		break;
	default:
		break;
	}
	if (lacks && !(has & lacks)) {
		q->wrong |= RULES_NOT_OFFERED;
		rules_tell(
			rc, id, about,
			"%s is sent, though the server does not set %s (transmission flags 0x%04x)",
			m->name, nbds_name_of(&nbds_transmission_flags, lacks), has);
	}
	if ((r->flags & NBD_CMD_FLAG_FUA) && !(has & NBD_FLAG_SEND_FUA)) {
		q->wrong |= RULES_NOT_OFFERED;
		rules_tell(
			rc, RULE_FUA_NOT_OFFERED, about,
			"%s has NBD_CMD_FLAG_FUA, though the server does not set NBD_FLAG_SEND_FUA "
			"(transmission flags 0x%04x)",
			m->name, has);
	} else if ((r->flags & NBD_CMD_FLAG_FUA) && !write_class(r->type) &&
		   r->type <= NBD_CMD_BLOCK_STATUS) {
		rules_tell(rc, RULE_FUA_USELESS, about,
			   "%s has NBD_CMD_FLAG_FUA, and writes nothing%s", m->name,
			   r->type == NBD_CMD_FLUSH  ? "; qemu 2.5 does so"
			   : r->type == NBD_CMD_READ ? "; wnbd for Windows does so"
						     : "");
	}
	if ((r->flags & NBD_CMD_FLAG_DF) && r->type == NBD_CMD_READ && !(has & NBD_FLAG_SEND_DF)) {
		q->wrong |= RULES_NOT_OFFERED;
		rules_tell(rc, RULE_DF_NOT_OFFERED, about,
			   "NBD_CMD_READ has NBD_CMD_FLAG_DF, though the server does not set "
			   "NBD_FLAG_SEND_DF (transmission flags 0x%04x)",
			   has);
	}
	if ((r->flags & NBD_CMD_FLAG_FAST_ZERO) && r->type == NBD_CMD_WRITE_ZEROES &&
	    !(has & NBD_FLAG_SEND_FAST_ZERO)) {
		q->wrong |= RULES_NOT_OFFERED;
		rules_tell(
			rc, RULE_FAST_ZERO_NOT_OFFERED, about,
			"NBD_CMD_WRITE_ZEROES has NBD_CMD_FLAG_FAST_ZERO, though the server does not "
			"set NBD_FLAG_SEND_FAST_ZERO (transmission flags 0x%04x)",
			has);
	}
	if (write_class(r->type) && (has & NBD_FLAG_READ_ONLY)) {
		q->wrong |= RULES_READ_ONLY;
		rules_tell(rc, RULE_WRITE_READ_ONLY, about, "%s is sent to a read-only export",
			   m->name);
	}
}

/* What is only advice. */
static void habits(struct rules_connection *rc, const struct nbds_message *m, uint64_t size)
{
	const struct nbds_request *r = m->request;
	uint64_t block = rc->sizes_told ? rc->preferred : NBDS_BLOCK_MIN_INTEROP;
	bool odd, too_long;

	if (!block)
		return;
	/* the last piece of an export cannot be reached otherwise */
	odd = r->offset % block ||
	      (r->length % block && (r->offset > size || r->length != size - r->offset));
	too_long = (r->type == NBD_CMD_READ || r->type == NBD_CMD_WRITE) &&
		   r->length > NBDS_PAYLOAD_MAX_DEFAULT;
	if (rc->sizes_told)
		rules_habit(&rc->unpreferred, odd, m);
	else
		rules_habit(&rc->undefaulted, odd || too_long, m);
}

static void range(struct rules_connection *rc, const struct nbds_message *m,
		  struct rules_request *q, struct rules_about *about)
{
	const struct nbds_request *r = m->request;
	uint64_t size = m->negotiated->size, payload = r->length;
	uint32_t min = rc->minimum;
	bool beyond;

	about->needs = RULES_NEEDS_NOTHING;
	if ((r->type == NBD_CMD_FLUSH || r->type == NBD_CMD_DISC) && (r->offset || r->length))
		rules_tell(rc, r->type == NBD_CMD_FLUSH ? RULE_FLUSH_RANGE : RULE_DISC_RANGE, about,
			   "%s has offset 0x%" PRIx64 " and length %" PRIu64 ": both must be 0",
			   m->name, r->offset, r->length);
	if (!ranged(r->type))
		return;
	if (!r->length) {
		q->wrong |= RULES_ODD;
		if (r->type != NBD_CMD_CACHE)
			rules_tell(rc, RULE_ZERO_LENGTH, about, "%s has length 0", m->name);
	}
	if (r->type == NBD_CMD_READ && r->length > UINT32_MAX)
		rules_tell(rc, RULE_READ_LONG, about, "NBD_CMD_READ asks for %" PRIu64 " bytes",
			   r->length);
	if (!m->negotiated->export_seen || !rc->haggled)
		return;
	about->needs = RULES_NEEDS_HANDSHAKE;
	beyond = !rc->resized && (r->offset > size || r->length > size - r->offset);
	if (beyond) {
		q->wrong |= RULES_BEYOND;
		rules_tell(rc, RULE_BEYOND_EXPORT, about,
			   "%s of %" PRIu64 " bytes at 0x%" PRIx64
			   " reaches beyond the end of the export, "
			   "0x%" PRIx64,
			   m->name, r->length, r->offset, size);
	}
	if (rc->sizes_told && rc->maximum != NBDS_PAYLOAD_MAX_NONE && payload > rc->maximum &&
	    (r->type == NBD_CMD_WRITE ||
	     (r->type == NBD_CMD_READ && !rc->structured && !rc->extended))) {
		q->wrong |= RULES_TOO_LONG;
		if (rc->bound)
			rules_tell(rc, RULE_PAYLOAD_TOO_LARGE, about,
				   "%s of %" PRIu64
				   " bytes is longer than the maximum payload that was "
				   "negotiated, %" PRIu32,
				   m->name, payload, rc->maximum);
	}
	habits(rc, m, size);
	if (!rc->bound || min <= 1 || (!(r->offset % min) && !(r->length % min)))
		return;
	/* the last, partial block of an export cannot be reached otherwise */
	if (!(r->offset % min) && !beyond && r->offset + r->length == size)
		return;
	q->wrong |= RULES_UNALIGNED;
	rules_tell(rc, RULE_UNALIGNED, about,
		   "%s of %" PRIu64 " bytes at 0x%" PRIx64
		   " is not aligned to the minimum block size "
		   "that was negotiated, %" PRIu32,
		   m->name, r->length, r->offset, min);
}

static void contexts(struct rules_connection *rc, const struct nbds_message *m,
		     struct rules_request *q, struct rules_about *about)
{
	const struct nbds_request *r = m->request;

	about->needs = RULES_NEEDS_NOTHING;
	if (r->flags & NBD_CMD_FLAG_PAYLOAD_LEN && r->extended) {
		q->status_unsure = true; /* until all of its ids have come */
		if (m->flags & NBDS_MSG_MALFORMED)
			rules_tell(
				rc, RULE_STATUS_PAYLOAD, about,
				"the payload of NBD_CMD_BLOCK_STATUS is not 8 bytes and 4 for each "
				"context");
		about->needs = RULES_NEEDS_HANDSHAKE;
		if (rc->haggled && m->negotiated->export_seen &&
		    !(m->negotiated->transmission_flags & NBD_FLAG_BLOCK_STATUS_PAYLOAD))
			rules_tell(
				rc, RULE_STATUS_PAYLOAD_UNOFFERED, about,
				"NBD_CMD_BLOCK_STATUS has a payload, though the server does not set "
				"NBD_FLAG_BLOCK_STATUS_PAYLOAD");
	} else {
		q->asked = rc->contexts == 32 ? UINT32_MAX : (UINT32_C(1) << rc->contexts) - 1;
	}
	about->needs = RULES_NEEDS_HANDSHAKE;
	if (!rc->haggled || rc->contexts_over)
		return;
	if (!rc->contexts) {
		q->wrong |= RULES_NO_CONTEXTS;
		rules_tell(rc, RULE_STATUS_NOT_NEGOTIATED, about,
			   "NBD_CMD_BLOCK_STATUS is sent, though %s",
			   rc->contexts_set
				   ? "the last NBD_OPT_SET_META_CONTEXT selected no context"
				   : "no NBD_OPT_SET_META_CONTEXT had selected a context");
	} else if (rc->contexts_export != rc->entered_export) {
		about->lower = true;
		about->level = NBDS_NOTE;
		rules_tell(
			rc, RULE_STATUS_NOT_NEGOTIATED, about,
			"NBD_CMD_BLOCK_STATUS is sent, and NBD_OPT_SET_META_CONTEXT had named another "
			"export than the one that was opened (they may be two names of one)");
		about->lower = false;
	}
}

void rules_request(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q)
{
	const struct nbds_request *r = m->request;
	struct rules_request none = {0};
	struct rules_about about = {.at = &m->first, .r = r};

	if (!r)
		return;
	if (!q)
		q = &none; /* without memory: nothing is remembered */
	q->frame = m->first.frame;
	q->time = m->first.time;
	q->begin = m->offset;
	q->end = m->offset + m->head_len + m->payload_len;
	/* the request is the message at fault */
	mode(rc, m, &about);
	about.needs = RULES_NEEDS_NOTHING;
	if (r->type > NBD_CMD_RESIZE) {
		q->wrong |= RULES_UNKNOWN;
		rules_tell(rc, RULE_COMMAND_UNKNOWN, &about, "%s is not defined", m->name);
	}
	flags(rc, m, q, &about);
	offered(rc, m, q, &about);
	if (r->type == NBD_CMD_RESIZE)
		rc->resized = true;
	range(rc, m, q, &about);
	if (r->type == NBD_CMD_BLOCK_STATUS)
		contexts(rc, m, q, &about);
	about.needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER;
	if (r->ambiguous)
		rules_tell(rc, RULE_COOKIE_REUSED, &about,
			   "%s has the cookie 0x%" PRIx64 ", which another request in flight has",
			   m->name, r->cookie);
	if (r->type == NBD_CMD_DISC) {
		rc->disc = true;
		rc->disc_cookie = r->cookie;
		rc->disc_frame = m->first.frame;
		rc->disc_time = m->first.time;
		if (rc->c->in_flight)
			rules_tell(rc, RULE_DISC_IN_FLIGHT, &about,
				   "NBD_CMD_DISC is sent while %" PRIu64
				   " request%s for an answer; Linux does not wait for them",
				   rc->c->in_flight, rc->c->in_flight == 1 ? " waits" : "s wait");
		return;
	}
	if (rc->shutdown_told && rules_had(&m->first, rc->shutdown_end)) {
		about.request_frame = rc->shutdown_frame;
		/* a client that does not wait for replies may not have read it */
		about.lower = rc->c->in_flight > 1 ||
			      nbds_elapsed(rc->shutdown_time, m->first.time) < SOON;
		about.level = NBDS_SUSPECT;
		rules_tell(rc, RULE_AFTER_ESHUTDOWN, &about,
			   "%s is sent after NBD_ESHUTDOWN (frame %" PRIu64
			   ") had been received: only NBD_CMD_DISC may follow",
			   m->name, rc->shutdown_frame);
		about.lower = false;
	}
	if (rc->broken_reply && rules_had(&m->first, rc->broken_end)) {
		rc->broken_reply = false;
		about.request_frame = rc->broken_frame;
		rules_tell(rc, RULE_CONTINUES, &about,
			   "%s is sent after a reply that breaks the protocol (frame %" PRIu64 ")",
			   m->name, rc->broken_frame);
	}
}

/* The ids in the payload of a block status request. */
void rules_ids(struct rules_connection *rc, const struct nbds_message *m, struct rules_request *q,
	       uint64_t at, const uint8_t *data, size_t len)
{
	if (at == 0)
		rc->id_have = rc->ids = 0;
	if (rc->contexts_over || (m->flags & NBDS_MSG_MALFORMED) || at % 4 != rc->id_have)
		return;
	while (len) {
		unsigned i = 0;
		uint32_t id;

		rc->id[rc->id_have++] = *data++;
		len--;
		if (rc->id_have < 4)
			continue;
		rc->id_have = 0;
		id = nbds_be32(rc->id);
		while (i < rc->contexts && rc->context[i] != id)
			i++;
		if (i == rc->contexts || (q->asked & UINT32_C(1) << i))
			q->wrong |= RULES_BAD_IDS;
		else
			q->asked |= UINT32_C(1) << i;
		rc->ids++;
	}
}
