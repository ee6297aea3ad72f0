/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * siphash.h - SipHash-2-4, a keyed function that nobody can turn around.
 *
 * Purpose.  What is hidden of a capture is replaced by what this says of it: without the
 * key, which is forgotten, nothing leads back, and equal things stay equal (Aumasson and
 * Bernstein, 2012).  tests/unit/test_evidence.c holds it against their own numbers.
 *
 * Plain values, no failure.
 */
#ifndef NBDSCOPE_ANALYZER_EVIDENCE_SIPHASH_H
#define NBDSCOPE_ANALYZER_EVIDENCE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct nbds_sip_key {
	uint64_t k0, k1;
};

static inline uint64_t nbds_sip_rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void nbds_sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = nbds_sip_rotate(v[1], 13) ^ v[0];
	v[0] = nbds_sip_rotate(v[0], 32);
	v[2] += v[3];
	v[3] = nbds_sip_rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = nbds_sip_rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = nbds_sip_rotate(v[1], 17) ^ v[2];
	v[2] = nbds_sip_rotate(v[2], 32);
}

static inline uint64_t nbds_sip_little(const uint8_t *p, size_t n)
{
	uint64_t word = 0;

	for (size_t i = 0; i < n; i++)
		word |= (uint64_t)p[i] << (8 * i);
	return word;
}

static inline uint64_t nbds_sip(const struct nbds_sip_key *key, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t v[4] = {
		key->k0 ^ UINT64_C(0x736f6d6570736575),
		key->k1 ^ UINT64_C(0x646f72616e646f6d),
		key->k0 ^ UINT64_C(0x6c7967656e657261),
		key->k1 ^ UINT64_C(0x7465646279746573),
	};
	size_t left = len;
	uint64_t word;

	for (;;) {
		word = left >= 8 ? nbds_sip_little(p, 8)
				 : nbds_sip_little(p, left) | (uint64_t)len << 56;
		v[3] ^= word;
		nbds_sip_round(v);
		nbds_sip_round(v);
		v[0] ^= word;
		if (left < 8)
			break;
		p += 8;
		left -= 8;
	}
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		nbds_sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Of two numbers. */
static inline uint64_t nbds_sip2(const struct nbds_sip_key *key, uint64_t a, uint64_t b)
{
	uint64_t both[2] = {a, b};

	return nbds_sip(key, both, sizeof(both));
}

#endif
