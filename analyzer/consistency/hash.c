/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XXH3 for any processor. See hash.h.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "consistency.h"
#include "hash.h"

uint64_t sector_hash(const uint8_t *bytes)
{
	return XXH3_64bits(bytes, NBDS_SECTOR);
}
