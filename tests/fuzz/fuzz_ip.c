/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_ip.c - packets of any bytes to TCP segments.
 *
 * The input has the layout of a little-endian pcap file, so that the samples are
 * seeds: the link type stands at byte 20, and from byte 24 on there are records
 * of time (8 bytes), captured length, length on the wire and bytes.  Nothing in
 * it is checked; lengths are cut to what is there.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/capture/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where read bytes go, for the compiler to leave none of the reads out. */
volatile uint8_t nbds_fuzz_sink;

static uint32_t little32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

/* What a segment promises: its payload can be read, its lengths agree. */
static void check(const struct nbds_segment *s, const struct nbds_packet *p)
{
	char text[NBDS_ADDR_TEXT];

	if (s->packet != p || s->caplen > s->len || (s->flags & ~0x3f) ||
	    (s->src.family != 4 && s->src.family != 6) || s->dst.family != s->src.family)
		abort();
	for (uint32_t i = 0; i < s->caplen; i++)
		nbds_fuzz_sink ^= s->payload[i];
	nbds_addr_text(&s->src, text);
	nbds_addr_text(&s->dst, text);
}

static uint64_t sum(const struct nbds_ip_stats *s)
{
	return s->segments + s->fragments + s->fragments_lost + s->not_tcp + s->malformed +
	       s->unknown_link + s->truncated_headers;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nbds_packet p = {0};
	struct nbds_ip *ip = nbds_ip_new();

	if (!ip || size < 24) {
		nbds_ip_free(ip);
		return 0;
	}
	p.linktype = (int)little32(data + 20);
	for (size_t at = 24; size - at >= 16;) {
		struct nbds_segment s;
		uint64_t counted = sum(nbds_ip_stats(ip));
		uint8_t *bytes;

		p.frame++;
		p.time = (int64_t)((uint64_t)little32(data + at) << 32 | little32(data + at + 4));
		p.caplen = little32(data + at + 8);
		p.len = little32(data + at + 12);
		at += 16;
		if (p.caplen > size - at)
			p.caplen = (uint32_t)(size - at);
		/* A block of its own, for the sanitizer to see where it ends. */
		bytes = malloc(p.caplen ? p.caplen : 1);
		if (!bytes)
			break;
		memcpy(bytes, data + at, p.caplen);
		at += p.caplen;
		p.data = bytes;
		if (nbds_ip_segment(ip, &p, &s))
			check(&s, &p);
		if (sum(nbds_ip_stats(ip)) == counted)
			abort(); /* every packet is counted as something */
		free(bytes);
	}
	nbds_ip_free(ip);
	return 0;
}
