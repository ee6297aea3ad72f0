/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/packet.h - what a packet and a TCP segment are.
 *
 * Purpose.  The words in which a capture, IP and TCP speak to each other, so that
 * none of them has to know another: analyzer/capture makes packets and segments
 * of files and interfaces, the Wireshark plugin makes segments of what Wireshark
 * dissects, and analyzer/tcp takes segments whoever made them.
 *
 * A checksum that is not what it should be need not mean damage: a host that leaves
 * it to its network card, or a kernel that joins packets, shows the sum of the
 * pseudo header alone (UNDONE), and some write what they like.  Who follows the
 * flow knows what is normal there.
 *
 * Ownership.  Plain values; the bytes that they point to belong to whoever made
 * them, and are valid during the call that hands them on.  No failure, but for
 * nbds_segment_parse().
 */
#ifndef NBDSCOPE_PACKET_H
#define NBDSCOPE_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include <nbdscope/address.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nbds_packet {
	uint64_t frame;     /* 1-based, as Wireshark numbers it */
	int64_t time;       /* nanoseconds since 1970 */
	uint32_t caplen;    /* bytes here */
	uint32_t len;       /* bytes on the wire; > caplen if cut by the snapshot length */
	uint32_t interface; /* 0-based */
	int linktype;       /* LINKTYPE_* / DLT_* as pcap_datalink() gives it */
	const uint8_t *data;
};

enum {
	NBDS_TCP_FIN = 1,
	NBDS_TCP_SYN = 2,
	NBDS_TCP_RST = 4,
	NBDS_TCP_PSH = 8,
	NBDS_TCP_ACK = 16,
	NBDS_TCP_URG = 32
};

/* What a checksum is. */
enum nbds_checksum {
	NBDS_SUM_UNKNOWN, /* there is none, or not all that it covers is here */
	NBDS_SUM_RIGHT,
	NBDS_SUM_UNDONE, /* of the pseudo header alone: left to the hardware */
	NBDS_SUM_WRONG,
};

#define NBDS_SACK_MAX 4 /* as many as fit into a header */

/* A selective acknowledgement (RFC 2018): sequence numbers of the other direction. */
struct nbds_sack {
	uint32_t from, to;
};

struct nbds_segment {
	const struct nbds_packet *packet;
	struct nbds_addr src, dst;
	uint32_t seq, ack;
	uint8_t flags; /* NBDS_TCP_* */
	uint16_t window;
	uint8_t checksum;    /* enum nbds_checksum, TCP's */
	uint8_t ip_checksum; /* that of the IPv4 header, the worst of all fragments */
	int8_t scale;        /* of windows, told with SYN (RFC 7323); -1: no such option */
	uint8_t sack_count;
	bool stamped;         /* has a timestamp (RFC 7323): */
	uint32_t stamp, echo; /* echo: of the other side, if this acknowledges anything */
	struct nbds_sack sack[NBDS_SACK_MAX];
	const uint8_t *payload;
	uint32_t caplen; /* payload bytes here */
	uint32_t len;    /* payload bytes on the wire (> caplen: cut by snaplen) */
};

/* Reads the TCP header at `data`, of which `have` bytes are here and `wire` were
 * sent, payload included, into *s; its addresses must be set, they are a part of
 * the checksum.  False: the header is not whole, or its length is nonsense.  Options
 * that were cut off are not there, nor is payload then. */
bool nbds_segment_parse(struct nbds_segment *s, const uint8_t *data, uint32_t have, uint32_t wire);

/* What the checksum in the IPv4 header of `length` bytes is. */
enum nbds_checksum nbds_ipv4_checksum(const uint8_t *header, uint32_t length);

/* Puts in the right checksum: of an IPv4 header, and of a TCP segment of `length` bytes
 * between these two addresses. */
void nbds_ipv4_sum(uint8_t *header, uint32_t length);
void nbds_segment_sum(uint8_t *tcp, uint32_t length, const struct nbds_addr *src,
		      const struct nbds_addr *dst);

#ifdef __cplusplus
}
#endif
#endif
