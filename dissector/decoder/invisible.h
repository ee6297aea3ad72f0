/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * invisible.h - characters that are not seen as what they are.
 */
#ifndef NBDSCOPE_DECODER_INVISIBLE_H
#define NBDSCOPE_DECODER_INVISIBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A character of Unicode that moves the cursor, breaks the line, turns the direction of
 * writing around, or shows nothing: controls, formats, spaces but for U+0020, private
 * use, what has no character (yet), and shapes that are empty. */
bool nbds_invisible(uint32_t c);

#endif
