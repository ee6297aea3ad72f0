/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Greeting, client flags, the answer to NBD_OPT_EXPORT_NAME, transmission flags
 * (proto.md, "Handshake phase").
 */
#include <inttypes.h>

#include <base/bytes.h>

#include "check.h"

#define KNOWN_HANDSHAKE (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)
#define KNOWN_CLIENT    ((uint32_t)(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES))

void rules_greeting(struct rules_connection *rc, const struct nbds_message *m)
{
	struct rules_about about = {.at = &m->first, .needs = RULES_NEEDS_HANDSHAKE};
	uint16_t flags = m->u.greeting.flags;

	rc->greeted = true;
	/* a flow whose SYN the capture lacks begins, for all we know, with what is seen */
	rc->based = m->first.ack != NBDS_NO_ACK;
	if (m->u.greeting.style == NBDS_HANDSHAKE_OLDSTYLE) {
		rc->oldstyle = true;
		if (flags)
			rules_tell(
				rc, RULE_OLDSTYLE_FLAGS, &about,
				"the upper half of the flags of the oldstyle greeting is 0x%04x, "
				"and must be 0",
				flags);
		if (m->u.greeting.transmission_flags)
			rules_transmission_flags(rc, &m->first, m->u.greeting.transmission_flags);
		rules_entered(rc, m);
		return;
	}
	rc->fixed = flags & NBD_FLAG_FIXED_NEWSTYLE;
	if (flags & ~KNOWN_HANDSHAKE)
		rules_tell(rc, RULE_HANDSHAKE_FLAGS_UNKNOWN, &about,
			   "the handshake flags are 0x%04x: only the bits 0 and 1 are defined",
			   flags);
}

void rules_client_flags(struct rules_connection *rc, const struct nbds_message *m)
{
	struct rules_about about = {.at = &m->first, .needs = RULES_NEEDS_HANDSHAKE};
	uint32_t flags = m->u.client_flags;
	uint16_t offered = m->negotiated->handshake_flags;

	rc->flags_sent = true;
	rc->flags_end = m->offset + m->head_len;
	if (flags & ~KNOWN_CLIENT) {
		rules_tell(rc, RULE_CLIENT_FLAGS_UNKNOWN, &about,
			   "the client flags are 0x%08" PRIx32
			   ": only the bits 0 and 1 are defined%s",
			   flags,
			   flags == 0x01000000 || flags == 0x03000000
				   ? "; sent little-endian, as xapi's client did up to version 3.0"
				   : "");
		rc->flags_bad = true;
	}
	/* without the greeting nothing is known to have been offered */
	if (!rc->greeted) {
		about.needs = RULES_NEEDS_ORDER;
		if (rules_had_not(&m->first, NBDS_GREETING_LEN))
			rules_tell(rc, RULE_CLIENT_FLAGS_EARLY, &about,
				   "the client flags were sent before the greeting had come");
		return;
	}
	if ((flags & NBD_FLAG_C_NO_ZEROES) && !(offered & NBD_FLAG_NO_ZEROES) &&
	    !(flags & ~KNOWN_CLIENT)) {
		rules_tell(
			rc, RULE_NO_ZEROES_NOT_OFFERED, &about,
			"NBD_FLAG_C_NO_ZEROES answers NBD_FLAG_NO_ZEROES, which the server did not "
			"set (0x%04x)",
			offered);
		rc->flags_bad = true;
	}
	if ((flags & NBD_FLAG_C_FIXED_NEWSTYLE) && !rc->fixed && !(flags & ~KNOWN_CLIENT))
		rules_tell(rc, RULE_C_FIXED_NOT_OFFERED, &about,
			   "NBD_FLAG_C_FIXED_NEWSTYLE answers NBD_FLAG_FIXED_NEWSTYLE, which the "
			   "server did not set (0x%04x); nbd-client always does this",
			   offered);
}

/* The server says something after client flags at which it must close. */
void rules_after_bad_flags(struct rules_connection *rc, const struct nbds_message *m)
{
	struct rules_about about = {.at = &m->first,
				    .needs = RULES_NEEDS_HANDSHAKE | RULES_NEEDS_ORDER};

	/* what it sent before it had the flags says nothing */
	if (m->first.ack == NBDS_NO_ACK || m->first.ack < rc->flags_end ||
	    m->type == NBDS_MSG_GREETING)
		return;
	rc->bad_flags_told = true;
	rules_tell(rc, RULE_BAD_FLAGS_ACCEPTED, &about,
		   "the server carries on with %s, though the client flags are 0x%08" PRIx32
		   " and it must close the connection for them; nbd-server never looks at them",
		   m->name, m->negotiated->client_flags);
}

void rules_export_name(struct rules_connection *rc, const struct nbds_message *m)
{
	const struct nbds_negotiated *n = m->negotiated;
	struct rules_about about = {.at = &m->first,
				    .request_frame = rc->option.frame,
				    .command = "NBD_OPT_EXPORT_NAME",
				    .needs = RULES_NEEDS_HANDSHAKE};
	bool agreed = (n->client_flags & NBD_FLAG_C_NO_ZEROES) &&
		      (n->handshake_flags & NBD_FLAG_NO_ZEROES);

	if (!m->u.export_name.zeroes && !agreed && n->client_flags_seen && rc->greeted &&
	    !(n->client_flags & NBD_FLAG_C_NO_ZEROES))
		rules_tell(rc, RULE_ZEROES_OMITTED, &about,
			   "a reply follows where the 124 zeroes after the answer to "
			   "NBD_OPT_EXPORT_NAME are due; the client flags are 0x%08" PRIx32,
			   n->client_flags);
	rules_transmission_flags(rc, &m->first, m->u.export_name.transmission_flags);
	rc->no_zeroes = agreed;
	rc->option.waits = false;
	rc->sizes_told = false;
	rules_entered(rc, m);
}

/* Bytes that are to be zeroes. */
void rules_padding(struct rules_connection *rc, const struct nbds_message *m, uint64_t at,
		   const uint8_t *data, size_t len)
{
	struct rules_about about = {.at = &m->first, .needs = RULES_NEEDS_HANDSHAKE};
	const size_t first = sizeof(rc->pad);
	uint8_t wrong = 0;

	if (rc->padded)
		return;
	for (size_t i = 0; i < len && !wrong; i++) {
		if (at + i >= first)
			wrong = data[i];
		else
			rc->pad[at + i] = data[i];
		/* the first ones together: they may be a magic */
		for (size_t k = 0; at + i + 1 == first && k < first && !wrong; k++)
			wrong = rc->pad[k];
	}
	if (!wrong)
		return;
	rc->padded = true;
	if (m->type == NBDS_MSG_EXPORT_NAME_REPLY &&
	    (nbds_be32(rc->pad) == NBD_SIMPLE_REPLY_MAGIC ||
	     nbds_be32(rc->pad) == NBD_STRUCTURED_REPLY_MAGIC)) {
		rules_tell(
			rc, RULE_ZEROES_OMITTED, &about,
			"a reply comes where the 124 zeroes after the answer to NBD_OPT_EXPORT_NAME are "
			"due; the client flags are 0x%08" PRIx32,
			m->negotiated->client_flags);
		return;
	}
	rules_tell(rc,
		   m->type == NBDS_MSG_GREETING ? RULE_OLDSTYLE_RESERVED
						: RULE_EXPORT_NAME_MALFORMED,
		   &about, "of the 124 bytes that are to be zeroes one is 0x%02x", wrong);
}
