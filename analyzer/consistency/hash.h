/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hash.h - a sector's hash: XXH3 of its 512 bytes, compiled in several ways. All give
 * the same; which one is taken is the processor's to say.
 */
#ifndef NBDSCOPE_ANALYZER_HASH_H
#define NBDSCOPE_ANALYZER_HASH_H

#include <stdint.h>

uint64_t sector_hash(const uint8_t *bytes);      /* for any processor */
uint64_t sector_hash_avx2(const uint8_t *bytes); /* x86 with AVX2, which must be there */

#endif
