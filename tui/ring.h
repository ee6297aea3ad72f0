/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/ring.h - the packets of the last while, so that they can be saved afterwards.
 *
 * Purpose.  Live packets go by. The newest of them stay in one piece of memory of a
 * fixed size; each new one takes the place of the oldest.
 *
 *	 [ ... newest ][ (free) ][ oldest ...            ][ (unused end) ]
 *
 * Ownership.  ring_open() and ring_close().  Belongs to the thread that captures.
 * Failure.  Without memory it stays empty.
 */
#ifndef NBDSCOPE_TUI_RING_H
#define NBDSCOPE_TUI_RING_H

#include <stdbool.h>
#include <stddef.h>

#include <nbdscope/packet.h>

struct packet_ring {
	uint8_t *bytes;
	size_t size;
	size_t newest, oldest; /* where the next one goes, and where the oldest is */
	size_t end;            /* of what is used, if the oldest lies behind the newest */
	uint64_t count;
	uint64_t first_frame; /* of the oldest */
	int64_t first_time, last_time;
};

void ring_open(struct packet_ring *r, size_t size);
void ring_close(struct packet_ring *r);
/* Takes a copy of it. One that is larger than all of the ring empties it. */
void ring_add(struct packet_ring *r, const struct nbds_packet *p);

/* From the oldest to the newest: *at is 0 at first. False: no more. What `p` points to is
 * valid until the next one is added. */
bool ring_next(const struct packet_ring *r, uint64_t *at, size_t *place, struct nbds_packet *p);

#endif
