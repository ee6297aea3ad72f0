/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shapes.h - traffic in which one thing grows.
 *
 * Purpose.  Each shape is what somebody might send to make the programs slow or
 * large, or what a busy network sends: `n` says how often.
 */
#ifndef NBDS_TESTS_SCALE_SHAPES_H
#define NBDS_TESTS_SCALE_SHAPES_H

#include "wire.h"

struct shape {
	const char *name, *grows;
	unsigned n;      /* for counting operations, at n and 4 n */
	unsigned attack; /* for measuring memory; 0: not of interest there */
	void (*make)(struct wire *w, unsigned n);
};

extern const struct shape shapes[];
extern const unsigned shape_count;
const struct shape *shape_find(const char *name);

#endif
