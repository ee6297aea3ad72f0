/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/detail.h - what is shown of one connection, in words.
 */
#ifndef NBDSCOPE_TUI_DETAIL_H
#define NBDSCOPE_TUI_DETAIL_H

#include <nbdscope/engine.h>

#include "../analyzer/report/buf.h"

/* Adds lines "label\ttext\n". `ended`: nothing more comes. */
void detail_put(struct nbds_buf *b, const struct nbds_connection *c, bool ended);

#endif
