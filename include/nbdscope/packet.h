/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/packet.h - what a packet and a TCP segment are.
 *
 * Purpose.  The words in which a capture, IP and TCP speak to each other, so that
 * none of them has to know another: analyzer/capture makes packets and segments
 * of files and interfaces, the Wireshark plugin makes segments of what Wireshark
 * dissects, and analyzer/tcp takes segments whoever made them.
 *
 * Ownership.  Plain values; the bytes that they point to belong to whoever made
 * them, and are valid during the call that hands them on.  No failure.
 */
#ifndef NBDSCOPE_PACKET_H
#define NBDSCOPE_PACKET_H

#include <stdint.h>

#include <nbdscope/address.h>

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

struct nbds_segment {
	const struct nbds_packet *packet;
	struct nbds_addr src, dst;
	uint32_t seq, ack;
	uint8_t flags; /* NBDS_TCP_* */
	uint16_t window;
	const uint8_t *payload;
	uint32_t caplen; /* payload bytes here */
	uint32_t len;    /* payload bytes on the wire (> caplen: cut by snaplen) */
};

#endif
