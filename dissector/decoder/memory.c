/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the decoder has its memory from; tests let it fail.
 */
#include <stdlib.h>

#include "stream.h"

void *(*nbds_decoder_realloc)(void *old, size_t size) = realloc;
