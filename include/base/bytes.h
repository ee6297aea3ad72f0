/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/bytes.h - big-endian numbers of the wire.
 *
 * Purpose.  The one place where bytes become integers.  NBD and IP alike send
 * the most significant byte first.  No alignment is asked for; the caller has
 * checked that the bytes are there.
 */
#ifndef NBDSCOPE_BASE_BYTES_H
#define NBDSCOPE_BASE_BYTES_H

#include <stdint.h>

static inline uint16_t nbds_be16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t nbds_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t nbds_be64(const uint8_t *p)
{
	return (uint64_t)nbds_be32(p) << 32 | nbds_be32(p + 4);
}

#endif
