/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/capture/ip.h - packets to TCP segments.
 *
 * Purpose.  Takes off the link layer (Ethernet with any number of VLAN tags,
 * NULL, LOOP, RAW, IPV4, IPV6, LINUX_SLL, LINUX_SLL2, PPP-less) and IP (v4 with
 * fragments, v6 with extension and fragment headers) and finds the TCP
 * segment.  Checksums are told and change nothing here: with offload they are wrong
 * as a rule.  (One exception: a datagram whose fragments came far apart in time, or
 * differ where they overlap, may be a mixture of two, and must have the right one.)
 * An IP total length of 0 (segmentation offload) means "to the end of the
 * frame"; link-layer padding is not payload.
 *
 * Ownership.  The segment's payload points into the packet, or (reassembled
 * fragments) into the reader's own memory, valid until the next call.
 * Fragments held are bounded in number and bytes; the oldest is given up.
 * Failure.  None: what is no whole TCP segment is counted.
 */
#ifndef NBDSCOPE_ANALYZER_IP_H
#define NBDSCOPE_ANALYZER_IP_H

#include <stdbool.h>

#include <nbdscope/packet.h>

struct nbds_ip_stats {
	uint64_t segments, fragments, fragments_lost, not_tcp, malformed, unknown_link,
		truncated_headers;
};

struct nbds_ip;
struct nbds_ip *nbds_ip_new(void);
void nbds_ip_free(struct nbds_ip *ip);
/* true: *s is the TCP segment that `p` carries (or completes). */
bool nbds_ip_segment(struct nbds_ip *ip, const struct nbds_packet *p, struct nbds_segment *s);
const struct nbds_ip_stats *nbds_ip_stats(const struct nbds_ip *ip);

/* Where the headers of the segment that was found last are, for who writes them anew. */
struct nbds_ip_place {
	uint32_t ip;        /* of the packet's bytes, those before its IP header */
	const uint8_t *tcp; /* the TCP header; in the packet, if `whole` */
	bool whole;         /* the packet holds it all: it is no fragment */
};
void nbds_ip_where(const struct nbds_ip *ip, struct nbds_ip_place *place);

#endif
