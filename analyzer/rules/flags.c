/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transmission flags, whichever message brings them (rows H).
 */
#include "check.h"

#define UNASSIGNED 0xe000u /* of the transmission flags */

void rules_transmission_flags(struct rules_connection *rc, const struct nbds_mark *at,
			      uint16_t flags)
{
	struct rules_about about = {.at = at, .needs = RULES_NEEDS_HANDSHAKE};

	if (!(flags & NBD_FLAG_HAS_FLAGS))
		rules_tell(
			rc, RULE_HAS_FLAGS_CLEAR, &about,
			"the transmission flags are 0x%04x: NBD_FLAG_HAS_FLAGS must always be set",
			flags);
	if ((flags & NBD_FLAG_SEND_FAST_ZERO) && !(flags & NBD_FLAG_SEND_WRITE_ZEROES))
		rules_tell(rc, RULE_FAST_ZERO_FLAG, &about,
			   "NBD_FLAG_SEND_FAST_ZERO is set without NBD_FLAG_SEND_WRITE_ZEROES "
			   "(transmission flags 0x%04x)",
			   flags);
	if ((flags & NBD_FLAG_SEND_DF) && !rc->structured && !rc->extended)
		rules_tell(
			rc, RULE_DF_FLAG, &about,
			"NBD_FLAG_SEND_DF is set though structured replies were not negotiated on "
			"this connection (transmission flags 0x%04x)",
			flags);
	if ((flags & NBD_FLAG_BLOCK_STATUS_PAYLOAD) && !rc->extended)
		rules_tell(rc, RULE_STATUS_PAYLOAD_FLAG, &about,
			   "NBD_FLAG_BLOCK_STATUS_PAYLOAD is set though extended headers were not "
			   "negotiated on this connection (transmission flags 0x%04x)",
			   flags);
	if (flags & UNASSIGNED)
		rules_tell(rc, RULE_FLAGS_UNKNOWN, &about,
			   "the transmission flags are 0x%04x: the bits 13 to 15 are not assigned",
			   flags);
}
