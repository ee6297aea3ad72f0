/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * frame.h - a frame written anew, with other numbers, payload or addresses.
 *
 * Purpose.  Makes of a TCP segment a frame that carries less of its payload, at another
 * place of its stream.  Link layer and IP stay as they were, or (`masked`) are made of
 * nothing but what TCP needs: raw IP without options, from other addresses.  What was
 * put together of fragments becomes one packet.  Checksums are right where they were, left
 * undone where they were, and wrong where they were.
 *
 * Ownership.  The bytes lie in the writer's buffer until the next call.  Failure.  False
 * without memory.
 */
#ifndef NBDSCOPE_ANALYZER_EVIDENCE_FRAME_H
#define NBDSCOPE_ANALYZER_EVIDENCE_FRAME_H

#include <nbdscope/packet.h>

#include "../capture/ip.h"

struct nbds_frame {
	uint8_t *bytes;
	size_t room;
	uint32_t caplen, len;
};
void nbds_frame_free(struct nbds_frame *f);

struct nbds_frame_change {
	uint32_t seq, ack;
	/* What becomes of a sequence number of the other direction (SACK). */
	uint32_t (*other)(void *ctx, uint32_t seq);
	void *ctx;
	const uint8_t *payload; /* caplen bytes of the `len` that were sent */
	uint32_t caplen, len;
	bool masked;
	struct nbds_addr src, dst; /* masked */
	uint32_t stamp, echo;      /* masked: what is taken off the two timestamps */
};

bool nbds_frame_make(struct nbds_frame *f, const struct nbds_segment *s,
		     const struct nbds_ip_place *place, const struct nbds_frame_change *c);

#endif
