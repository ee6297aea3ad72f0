/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * synthetic.c - what passed on a connection, as TCP segments. See synthetic.h; RFC 9293 3.1,
 * RFC 791, RFC 8200.
 */
#include "synthetic.h"

#include <string.h>

#include <base/assert.h>

enum {
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	TCP_HEADER = 20,
	SYN_OPTIONS = 8,
	NEXT_TCP = 6,
	TTL = 64,
	WINDOW = 65535,
	SCALE = 14, /* a window of 1 GiB: it never closes */
	OPTION_NOP = 1,
	OPTION_MSS = 2,
	OPTION_SCALE = 3,
};

_Static_assert(IPV6_HEADER + TCP_HEADER + SYN_OPTIONS <= NBDS_SYNTHETIC_HEAD,
	       "no room for headers");

static uint8_t *put16(uint8_t *p, uint32_t v)
{
	*p++ = (uint8_t)(v >> 8);
	*p++ = (uint8_t)v;
	return p;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
	return put16(put16(p, v >> 16), v & 0xffff);
}

static void put_ip(uint8_t *ip, uint32_t header, uint32_t payload, const struct nbds_addr *src,
		   const struct nbds_addr *dst)
{
	if (header == IPV6_HEADER) {
		put32(ip, 0x60000000);
		put16(ip + 4, payload);
		ip[6] = NEXT_TCP;
		ip[7] = TTL;
		memcpy(ip + 8, src->ip, 16);
		memcpy(ip + 24, dst->ip, 16);
		return;
	}
	put32(ip, 0x45000000 | (header + payload));
	put32(ip + 4, 0x00004000); /* not to be taken to pieces */
	ip[8] = TTL;
	ip[9] = NEXT_TCP;
	memcpy(ip + 12, src->ip, 4);
	memcpy(ip + 16, dst->ip, 4);
	nbds_ipv4_sum(ip, header);
}

/* What a handshake agrees upon. */
static void put_options(uint8_t *p)
{
	*p++ = OPTION_MSS;
	*p++ = 4;
	p = put16(p, NBDS_SYNTHETIC_BYTES);
	*p++ = OPTION_NOP;
	*p++ = OPTION_SCALE;
	*p++ = 3;
	*p = SCALE;
}

/* One segment with `len` bytes at `bytes`, its headers before them. */
static void segment(const struct nbds_synthetic_flow *flow, const struct nbds_synthetic_event *e,
		    int dir, uint32_t seq, uint32_t ack, uint8_t flags, uint8_t *bytes,
		    uint32_t len, struct nbds_packet *p)
{
	const struct nbds_addr *src = &flow->address[dir], *dst = &flow->address[!dir];
	bool syn = flags & NBDS_TCP_SYN;
	uint32_t tcp_header = TCP_HEADER + (syn ? SYN_OPTIONS : 0);
	uint32_t ip_header = src->family == 6 ? IPV6_HEADER : IPV4_HEADER;
	uint8_t *tcp = bytes - tcp_header, *ip = tcp - ip_header, *at = tcp;

	at = put16(at, src->port);
	at = put16(at, dst->port);
	at = put32(at, seq);
	at = put32(at, flags & NBDS_TCP_ACK ? ack : 0);
	*at++ = (uint8_t)(tcp_header / 4 << 4);
	*at++ = flags;
	at = put16(at, WINDOW);
	put32(at, 0);
	if (syn)
		put_options(tcp + TCP_HEADER);
	nbds_segment_sum(tcp, tcp_header + len, src, dst);
	put_ip(ip, ip_header, tcp_header + len, src, dst);
	*p = (struct nbds_packet){
		.time = e->time,
		.caplen = ip_header + tcp_header + len,
		.len = ip_header + tcp_header + len,
		.linktype = NBDS_SYNTHETIC_LINK,
		.data = ip,
	};
}

void nbds_synthetic_packets(const struct nbds_synthetic_flow *flow,
			    const struct nbds_synthetic_event *e, uint8_t *bytes,
			    void (*each)(void *ctx, struct nbds_packet *p), void *ctx)
{
	const uint32_t *isn = flow->isn;
	int dir = e->dir;
	uint32_t seq = isn[dir] + 1 + (uint32_t)e->offset;
	uint32_t ack = isn[!dir] + 1 + (uint32_t)e->had + e->had_fin;
	struct nbds_packet p;

	NBDS_ASSERT(flow->address[0].family == flow->address[1].family);
	switch (e->kind) {
	case NBDS_SYNTHETIC_OPEN:
		segment(flow, e, 0, isn[0], 0, NBDS_TCP_SYN, bytes, 0, &p);
		each(ctx, &p);
		segment(flow, e, 1, isn[1], isn[0] + 1, NBDS_TCP_SYN | NBDS_TCP_ACK, bytes, 0, &p);
		each(ctx, &p);
		segment(flow, e, 0, isn[0] + 1, isn[1] + 1, NBDS_TCP_ACK, bytes, 0, &p);
		break;
	case NBDS_SYNTHETIC_DATA:
		NBDS_ASSERT(e->len && e->len <= NBDS_SYNTHETIC_BYTES);
		segment(flow, e, dir, seq, ack, NBDS_TCP_PSH | NBDS_TCP_ACK, bytes, e->len, &p);
		break;
	case NBDS_SYNTHETIC_FIN:
		segment(flow, e, dir, seq, ack, NBDS_TCP_FIN | NBDS_TCP_ACK, bytes, 0, &p);
		break;
	case NBDS_SYNTHETIC_RST:
		segment(flow, e, dir, seq, ack, NBDS_TCP_RST | NBDS_TCP_ACK, bytes, 0, &p);
		break;
	}
	each(ctx, &p);
}

void nbds_synthetic_widen(struct nbds_addr *a)
{
	uint8_t four[4];

	if (a->family == 6)
		return;
	memcpy(four, a->ip, sizeof(four));
	memset(a->ip, 0, sizeof(a->ip));
	a->ip[10] = a->ip[11] = 0xff;
	memcpy(a->ip + 12, four, sizeof(four));
	a->family = 6;
}

void nbds_synthetic_pair(struct nbds_addr *a, struct nbds_addr *b)
{
	if (a->family == b->family)
		return;
	nbds_synthetic_widen(a);
	nbds_synthetic_widen(b);
}
