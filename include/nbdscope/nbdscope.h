/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/nbdscope.h - libnbdscope, whole.
 *
 * Purpose.  What a program includes: the decoder (nbdscope/messages.h), the engine
 * (nbdscope/audit.h), and what both share (nbdscope/common.h), which says what holds of
 * all of it.  docs/library.md is the manual.
 *
 *	cc program.c $(pkg-config --cflags --libs nbdscope)
 */
#ifndef NBDSCOPE_NBDSCOPE_H
#define NBDSCOPE_NBDSCOPE_H

#include <nbdscope/audit.h>
#include <nbdscope/common.h>
#include <nbdscope/messages.h>

#endif
