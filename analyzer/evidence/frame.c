/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * frame.c - a frame written anew. See frame.h.
 *
 *	link layer   as it was, or nothing (masked: raw IP)
 *	IP           as it was but for its lengths; of fragments, or masked, a plain one
 *	TCP          sequence and acknowledgement numbers, SACK, checksum; masked: of the
 *	             options those that are known
 *	payload      what is left of it
 */
#include "frame.h"

#include <stdlib.h>
#include <string.h>

#include <base/bytes.h>

enum { IPV4_PLAIN = 20, IPV6_HEADER = 40, TCP_PLAIN = 20, TCP_MOST = 60, NEXT_TCP = 6, TTL = 64 };

enum {
	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_MSS = 2,
	OPTION_SCALE = 3,
	OPTION_SACK_PERMITTED = 4,
	OPTION_SACK = 5,
	OPTION_STAMP = 8,
};

void nbds_frame_free(struct nbds_frame *f)
{
	free(f->bytes);
	*f = (struct nbds_frame){0};
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static uint64_t sum(const uint8_t *p, size_t length)
{
	uint64_t total = 0;

	for (; length >= 2; p += 2, length -= 2)
		total += nbds_be16(p);
	return length ? total + ((uint64_t)*p << 8) : total;
}

static uint16_t fold(uint64_t total)
{
	while (total >> 16)
		total = (total & 0xffff) + (total >> 16);
	return (uint16_t)total;
}

static void put_ipv4_checksum(uint8_t *ip, uint32_t header, const struct nbds_segment *s)
{
	uint16_t right;

	put16(ip + 10, 0);
	right = (uint16_t)~fold(sum(ip, header));
	if (s->ip_checksum == NBDS_SUM_UNDONE)
		return;
	put16(ip + 10, s->ip_checksum == NBDS_SUM_WRONG ? right ^ 0x5a5au : right);
}

static void put_tcp_checksum(uint8_t *tcp, uint32_t have, uint32_t wire,
			     const struct nbds_addr *src, const struct nbds_addr *dst,
			     const struct nbds_segment *s)
{
	size_t size = src->family == 6 ? 16 : 4;
	uint64_t pseudo = NEXT_TCP + (uint64_t)(wire >> 16) + (wire & 0xffff) + sum(src->ip, size) +
			  sum(dst->ip, size);
	uint16_t right;

	put16(tcp + 16, 0);
	if (s->checksum == NBDS_SUM_UNDONE) {
		put16(tcp + 16, fold(pseudo));
		return;
	}
	/* Of what is not here nobody can know it. */
	if (have < wire)
		return;
	right = (uint16_t)~fold(pseudo + sum(tcp, wire));
	if (s->checksum == NBDS_SUM_WRONG)
		right ^= 0x5a5a;
	put16(tcp + 16, right);
}

/* The numbers in the options; masked: those that are not known become nothing. */
static void put_options(uint8_t *p, uint32_t length, const struct nbds_frame_change *c)
{
	while (length && *p != OPTION_END) {
		uint32_t n = *p == OPTION_NOP ? 1 : length >= 2 ? p[1] : 0;
		bool known = *p == OPTION_NOP || (*p == OPTION_MSS && n == 4) ||
			     (*p == OPTION_SCALE && n == 3) ||
			     (*p == OPTION_SACK_PERMITTED && n == 2) || *p == OPTION_SACK ||
			     (*p == OPTION_STAMP && n == 10);

		if (*p != OPTION_NOP && (n < 2 || n > length))
			break;
		if (*p == OPTION_SACK) {
			known = n % 8 == 2;
			for (uint32_t at = 2; known && at + 4 <= n; at += 4)
				put32(p + at, c->other(c->ctx, nbds_be32(p + at)));
		}
		if (*p == OPTION_STAMP && n == 10 && c->masked) {
			put32(p + 2, nbds_be32(p + 2) - c->stamp);
			if (nbds_be32(p + 6))
				put32(p + 6, nbds_be32(p + 6) - c->echo);
		}
		if (c->masked && !known)
			memset(p, OPTION_NOP, n);
		p += n;
		length -= n;
	}
	if (c->masked)
		memset(p, OPTION_END, length);
}

/* The IP header, for `wire` bytes behind it. Returns its length. */
static uint32_t put_ip(uint8_t *ip, const struct nbds_segment *s, const struct nbds_ip_place *place,
		       const struct nbds_frame_change *c, uint32_t wire)
{
	const uint8_t *from = s->packet->data + place->ip;
	const struct nbds_addr *src = c->masked ? &c->src : &s->src;
	const struct nbds_addr *dst = c->masked ? &c->dst : &s->dst;
	bool plain = c->masked || !place->whole, unsaid;
	uint32_t header;

	if (s->src.family == 4) {
		header = plain ? IPV4_PLAIN : (uint32_t)(place->tcp - from);
		unsaid = !nbds_be16(from + 2);
		if (plain) {
			memset(ip, 0, header);
			ip[0] = 0x45;
			ip[8] = TTL;
			ip[9] = NEXT_TCP;
			memcpy(ip + 12, src->ip, 4);
			memcpy(ip + 16, dst->ip, 4);
		} else {
			memcpy(ip, from, header);
		}
		put16(ip + 2, unsaid || header + wire > UINT16_MAX ? 0 : header + wire);
		put_ipv4_checksum(ip, header, s);
		return header;
	}
	header = plain ? IPV6_HEADER : (uint32_t)(place->tcp - from);
	unsaid = !nbds_be16(from + 4);
	if (plain) {
		memset(ip, 0, header);
		ip[0] = 0x60;
		ip[6] = NEXT_TCP;
		ip[7] = TTL;
		memcpy(ip + 8, src->ip, 16);
		memcpy(ip + 24, dst->ip, 16);
	} else {
		memcpy(ip, from, header);
	}
	wire += header - IPV6_HEADER;
	put16(ip + 4, unsaid || wire > UINT16_MAX ? 0 : wire);
	return header;
}

bool nbds_frame_make(struct nbds_frame *f, const struct nbds_segment *s,
		     const struct nbds_ip_place *place, const struct nbds_frame_change *c)
{
	uint32_t link = c->masked ? 0 : place->ip;
	/* The header as it is said to be, and as much of it as is here. */
	uint32_t header = (place->tcp[12] >> 4) * 4u;
	uint32_t here = (uint32_t)(s->payload - place->tcp), most, ip;
	uint32_t caplen = here < header ? 0 : c->caplen;
	uint8_t *tcp;

	most = s->packet->caplen + IPV6_HEADER + TCP_MOST + c->caplen;
	if (f->room < most) {
		uint8_t *larger = realloc(f->bytes, most);

		if (!larger)
			return false;
		f->bytes = larger;
		f->room = most;
	}
	if (!c->masked)
		memcpy(f->bytes, s->packet->data, link);
	ip = put_ip(f->bytes + link, s, place, c, header + c->len);
	tcp = f->bytes + link + ip;
	memcpy(tcp, place->tcp, here);
	put32(tcp + 4, c->seq);
	put32(tcp + 8, c->ack);
	if (c->masked) {
		put16(tcp, c->src.port);
		put16(tcp + 2, c->dst.port);
	}
	put_options(tcp + TCP_PLAIN, here - TCP_PLAIN, c);
	if (caplen)
		memcpy(tcp + here, c->payload, caplen);
	put_tcp_checksum(tcp, here + caplen, header + c->len, c->masked ? &c->src : &s->src,
			 c->masked ? &c->dst : &s->dst, s);
	f->caplen = link + ip + here + caplen;
	f->len = link + ip + header + c->len;
	return true;
}
