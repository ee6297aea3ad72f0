/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * packets.h - a capture in memory, and what can happen to captures.
 *
 * Purpose.  A capture is read once into memory, each packet with what its TCP
 * header says.  Each *kind* of damage makes a numbered set of captures of it:
 * packets lost, cut, moved, repeated, cut anew, or with another clock.  The
 * packets of a damaged capture know which packet of the whole one they were
 * (`origin`), so that findings in both can be compared.
 *
 * Ownership.  A damaged capture points into the whole one's bytes, or into its
 * own scratch memory; damage_reset() makes it reusable.
 * Failure.  No memory ends the program: this is a test.
 */
#ifndef NBDS_TESTS_ROBUST_PACKETS_H
#define NBDS_TESTS_ROBUST_PACKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct packet {
	const uint8_t *data;
	int64_t time;
	uint32_t caplen, len, interface;
	int linktype;
	uint64_t origin; /* frame number in the whole capture */
};

/* What a packet of the whole capture is. Offsets count from its first byte. */
struct segment {
	bool tcp;               /* one whole TCP header in this very packet */
	bool headers;           /* ip_at, tcp_at and payload_at are known */
	uint32_t flow;          /* connections by their ports, from 0 */
	uint8_t dir;            /* 0: the sender of the flow's first packet */
	uint8_t flags;          /* NBDS_TCP_* */
	uint32_t seq, ack, len; /* len: payload bytes on the wire */
	uint32_t ip_at, tcp_at, payload_at;
};

struct whole {
	const char *path;
	struct packet *packets;
	struct segment *segments; /* one for each packet */
	size_t count;
	uint32_t flows;
	uint64_t bytes; /* captured bytes of all packets */
	uint8_t *arena;
};

/* Reads a capture file. What could be read of a damaged one is a capture too;
 * false, and a line on standard error: it cannot be opened. `port` not 0: servers
 * at NBD's port are moved there. */
bool whole_load(struct whole *w, const char *path, uint16_t port);
void whole_free(struct whole *w);

struct damage {
	struct packet *packets;
	size_t count, room;
	uint8_t *scratch; /* bytes of packets that are in no capture */
	size_t used, size;
	uint64_t random;
	char what[128]; /* for people */
};

struct kind {
	const char *name;
	const char *what;
	bool equal; /* findings must be the same ones, not just no new violation */
	/* How many there are of a capture. */
	size_t (*total)(const struct whole *w);
	/* Makes number `i`; false: it would change nothing. */
	bool (*make)(const struct whole *w, size_t i, struct damage *d);
};
extern const struct kind kinds[];
extern const size_t kinds_count;

void damage_free(struct damage *d);

/* Writes packets as a pcap file (nanoseconds). */
bool packets_write(const char *path, const struct packet *list, size_t count);

#endif
