/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XXH3 with AVX2, where the build compiles this file for it (-mavx2): xxhash.h looks at
 * what the compiler may use. See hash.h.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "consistency.h"
#include "hash.h"

uint64_t sector_hash_avx2(const uint8_t *bytes)
{
	return XXH3_64bits(bytes, NBDS_SECTOR);
}
