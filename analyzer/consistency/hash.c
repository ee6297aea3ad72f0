/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * XXH3 for any processor. See hash.h.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "consistency.h"
#include "hash.h"

void sector_hashes(const uint8_t *bytes, unsigned sectors, uint64_t *hashes)
{
	for (unsigned i = 0; i < sectors; i++)
		hashes[i] = XXH3_64bits(bytes + (size_t)i * NBDS_SECTOR, NBDS_SECTOR);
}
