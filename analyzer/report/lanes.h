/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/lanes.h - the picture of a finding.
 *
 * Purpose.  Draws commands as bars in lanes, one lane a connection, time from
 * left to right: who sent what while who was waiting is seen at a glance, where
 * a list of frames has to be worked out.
 *
 *	conn 1  51├── WRITE 1 KiB ──┤52 53├─ FLUSH ─┤54
 *	conn 2                                        55╞═ READ 1 KiB ═╡56
 *	time      └────── 88 us ────┴52 us┴── 66 us ┴───┴──── 57 us ───┘
 *
 * At the left end of a bar is the frame of the request, at the right end that of
 * the reply; a bar without an end was never answered.  Double lines mark the
 * command that shows the fault.  The axis keeps the order of all ends and is
 * otherwise compressed, since real gaps differ by orders of magnitude; the
 * durations below tell how long they are.
 *
 * The picture is cells, so that each front can print it in its own way.
 *
 * Ownership.  The caller owns the picture; nbds_lanes_free() ends it.  Failure.
 * False without memory, without a command, or when the width is too small even
 * for the shortest form (about 40 columns); nothing has to be freed then.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_LANES_H
#define NBDSCOPE_ANALYZER_REPORT_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include <nbdscope/finding.h>

#include "buf.h"

/* What a cell belongs to. */
enum nbds_lane_ink {
	NBDS_LANE_BLANK,
	NBDS_LANE_NAME,   /* of the lane, and of the axis */
	NBDS_LANE_FRAME,  /* a frame number */
	NBDS_LANE_BAR,    /* a command */
	NBDS_LANE_FAULTY, /* the command that shows the fault */
	NBDS_LANE_AXIS,   /* times */
};

struct nbds_lane_cell {
	uint16_t glyph; /* a Unicode code point, one column wide */
	uint8_t ink;    /* enum nbds_lane_ink */
};

struct nbds_lanes {
	unsigned columns, rows;
	struct nbds_lane_cell *cells; /* row by row */
};

/* `ascii`: without line drawing characters. `width`: columns that there are. */
bool nbds_lanes_draw(struct nbds_lanes *lanes, const struct nbds_witness *witnesses, unsigned count,
		     unsigned width, bool ascii);
void nbds_lanes_free(struct nbds_lanes *lanes);

/* A row's cells that are not blank at its end. */
unsigned nbds_lanes_used(const struct nbds_lanes *lanes, unsigned row);

/* Adds `count` cells of a row, from column `from`, as UTF-8. */
void nbds_lanes_text(const struct nbds_lanes *lanes, unsigned row, unsigned from, unsigned count,
		     struct nbds_buf *b);

#endif
