/* SPDX-License-Identifier: GPL-2.0-or-later */
/* segment.c - TCP headers and checksums; see nbdscope/packet.h.  RFC 9293 3.1,
 * RFC 1071, RFC 2018, RFC 7323. */
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <base/bytes.h>
#include <nbdscope/packet.h>

enum {
	HEADER = 20,
	PROTOCOL = 6,
	OPTION_END = 0,
	OPTION_NOP = 1,
	OPTION_SCALE = 3,
	OPTION_SACK = 5,
	OPTION_STAMP = 8,
};

#if defined(__x86_64__)
#include <immintrin.h>

/* As below, for so many times 32 bytes. */
__attribute__((target("avx2"))) static uint64_t sum_avx2(const uint8_t *p, uint32_t times)
{
	const __m256i none = _mm256_setzero_si256();
	__m256i low = none, high = none;
	uint64_t sums[4];

	for (; times; times--, p += 32) {
		__m256i w = _mm256_loadu_si256((const __m256i *)(const void *)p);

		low = _mm256_add_epi64(low, _mm256_unpacklo_epi32(w, none));
		high = _mm256_add_epi64(high, _mm256_unpackhi_epi32(w, none));
	}
	_mm256_storeu_si256((__m256i *)(void *)sums, _mm256_add_epi64(low, high));
	return sums[0] + sums[1] + sums[2] + sums[3];
}
#endif

/* Sums of 16-bit words are the same in any byte order, but for the order of the
 * result: words are added as they lie in memory, 32 bits at a time. */
static uint64_t sum_bytes(const uint8_t *p, uint32_t length)
{
	uint64_t sum = 0;

#if defined(__x86_64__)
	if (length >= 64 && __builtin_cpu_supports("avx2")) {
		sum = sum_avx2(p, length / 32);
		p += length / 32 * 32;
		length %= 32;
	}
#endif
	for (; length >= 32; p += 32, length -= 32) {
		uint32_t w[8];

		memcpy(w, p, sizeof(w));
		sum += (uint64_t)w[0] + w[1] + w[2] + w[3];
		sum += (uint64_t)w[4] + w[5] + w[6] + w[7];
	}
	for (; length >= 4; p += 4, length -= 4) {
		uint32_t w;

		memcpy(&w, p, sizeof(w));
		sum += w;
	}
	if (length) {
		uint8_t rest[4] = {0};
		uint32_t w;

		memcpy(rest, p, length);
		memcpy(&w, rest, sizeof(w));
		sum += w;
	}
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)sum;
}

/* A 16-bit number as it lies in memory. */
static uint16_t in_memory(uint32_t v)
{
	uint8_t bytes[2] = {(uint8_t)(v >> 8), (uint8_t)v};
	uint16_t w;

	memcpy(&w, bytes, sizeof(w));
	return w;
}

enum nbds_checksum nbds_ipv4_checksum(const uint8_t *header, uint32_t length)
{
	if (fold(sum_bytes(header, length)) == 0xffff)
		return NBDS_SUM_RIGHT;
	return nbds_be16(header + 10) ? NBDS_SUM_WRONG : NBDS_SUM_UNDONE;
}

void nbds_ipv4_sum(uint8_t *header, uint32_t length)
{
	uint16_t sum = 0;

	memcpy(header + 10, &sum, sizeof(sum));
	sum = (uint16_t)~fold(sum_bytes(header, length));
	memcpy(header + 10, &sum, sizeof(sum));
}

void nbds_segment_sum(uint8_t *tcp, uint32_t length, const struct nbds_addr *src,
		      const struct nbds_addr *dst)
{
	uint32_t size = src->family == 6 ? 16 : 4;
	uint64_t pseudo = in_memory(PROTOCOL) + (uint64_t)in_memory(length >> 16) +
			  in_memory(length & 0xffff) + sum_bytes(src->ip, size) +
			  sum_bytes(dst->ip, size);
	uint16_t sum = 0;

	memcpy(tcp + 16, &sum, sizeof(sum));
	sum = (uint16_t)~fold(pseudo + sum_bytes(tcp, length));
	memcpy(tcp + 16, &sum, sizeof(sum));
}

/* Some leave the length out of what they sum. */
static enum nbds_checksum checksum(const struct nbds_segment *s, const uint8_t *data, uint32_t have,
				   uint32_t wire)
{
	uint32_t size = s->src.family == 6 ? 16 : 4;
	uint64_t pseudo = in_memory(PROTOCOL), length;
	uint16_t field;

	length = (uint64_t)in_memory(wire >> 16) + in_memory(wire & 0xffff);
	pseudo += sum_bytes(s->src.ip, size) + sum_bytes(s->dst.ip, size);
	memcpy(&field, data + 16, sizeof(field));
	if (field == fold(pseudo + length) || field == fold(pseudo))
		return NBDS_SUM_UNDONE;
	if (have < wire)
		return NBDS_SUM_UNKNOWN;
	return fold(pseudo + length + sum_bytes(data, wire)) == 0xffff ? NBDS_SUM_RIGHT
								       : NBDS_SUM_WRONG;
}

static void options(struct nbds_segment *s, const uint8_t *p, uint32_t length)
{
	while (length >= 2 && *p != OPTION_END) {
		uint32_t n = *p == OPTION_NOP ? 1 : p[1];

		if (*p != OPTION_NOP && (n < 2 || n > length))
			return;
		if (*p == OPTION_SCALE && n == 3)
			s->scale = (int8_t)(p[2] > 14 ? 14 : p[2]);
		if (*p == OPTION_STAMP && n == 10) {
			s->stamped = true;
			s->stamp = nbds_be32(p + 2);
			s->echo = nbds_be32(p + 6);
		}
		if (*p == OPTION_SACK) {
			for (uint32_t at = 2; at + 8 <= n && s->sack_count < NBDS_SACK_MAX; at += 8)
				s->sack[s->sack_count++] = (struct nbds_sack){
					nbds_be32(p + at), nbds_be32(p + at + 4)};
		}
		p += n;
		length -= n;
	}
}

bool nbds_segment_parse(struct nbds_segment *s, const uint8_t *data, uint32_t have, uint32_t wire)
{
	uint32_t header;

	if (have < HEADER)
		return false;
	header = (data[12] >> 4) * 4u;
	if (header < HEADER || header > wire)
		return false;
	s->src.port = nbds_be16(data);
	s->dst.port = nbds_be16(data + 2);
	s->seq = nbds_be32(data + 4);
	s->ack = nbds_be32(data + 8);
	s->flags = data[13] & 0x3f;
	s->window = nbds_be16(data + 14);
	s->checksum = (uint8_t)checksum(s, data, have, wire);
	s->scale = -1;
	s->sack_count = 0;
	s->stamped = false;
	options(s, data + HEADER, (have < header ? have : header) - HEADER);
	s->payload = data + (have < header ? have : header);
	s->caplen = have < header ? 0 : have - header;
	s->len = wire - header;
	return true;
}
