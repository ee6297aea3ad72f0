/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hash.h - a sector's hash: XXH3 of its 512 bytes, compiled in several ways. All give
 * the same; which one is taken is the processor's to say.
 */
#ifndef NBDSCOPE_ANALYZER_HASH_H
#define NBDSCOPE_ANALYZER_HASH_H

#include <stdint.h>

/* Of so many sectors in a row: for any processor, */
void sector_hashes(const uint8_t *bytes, unsigned sectors, uint64_t *hashes);
/* and for x86 with AVX2, which must be there. */
void sector_hashes_avx2(const uint8_t *bytes, unsigned sectors, uint64_t *hashes);

#endif
