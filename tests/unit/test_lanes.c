/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The picture of a finding: what it shows, and that for any commands and any
 * width it keeps the order of frames, writes nothing over anything else, and
 * stays within its columns.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/protocol.h>

#include "analyzer/report/lanes.h"

#define US INT64_C(1000)

static struct nbds_witness command(enum nbds_role role, uint32_t connection, uint16_t type,
				   uint64_t length, uint64_t request, uint64_t reply, int64_t at,
				   int64_t took)
{
	return (struct nbds_witness){.role = role,
				     .connection = connection,
				     .type = type,
				     .length = length,
				     .request_frame = request,
				     .reply_frame = reply,
				     .request_time = at,
				     .reply_time = reply ? at + took : 0};
}

/* All rows, each ended by a newline, spaces at the end left out. */
static char *picture(const struct nbds_witness *w, unsigned count, unsigned width, bool ascii)
{
	struct nbds_lanes lanes;
	struct nbds_buf b = {0};

	if (!nbds_lanes_draw(&lanes, w, count, width, ascii))
		return NULL;
	for (unsigned row = 0; row < lanes.rows; row++) {
		nbds_lanes_text(&lanes, row, 0, nbds_lanes_used(&lanes, row), &b);
		nbds_buf_puts(&b, "\n");
	}
	nbds_lanes_free(&lanes);
	return b.s;
}

static void assert_picture(const struct nbds_witness *w, unsigned count, unsigned width, bool ascii,
			   const char *expected)
{
	char *text = picture(w, count, width, ascii);

	assert_non_null(text);
	assert_string_equal(text, expected);
	free(text);
}

/* Frames at the ends of bars, the fault in double lines, gaps by their length. */
static void test_story(void **state)
{
	const struct nbds_witness w[] = {
		command(NBDS_ROLE_WRITE, 1, NBD_CMD_WRITE, 1024, 35, 36, 0, 100 * US),
		command(NBDS_ROLE_FLUSH, 1, NBD_CMD_FLUSH, 0, 37, 38, 150 * US, 80 * US),
		command(NBDS_ROLE_READ, 2, NBD_CMD_READ, 1024, 39, 40, 280 * US, 70 * US),
	};

	(void)state;
	assert_picture(
		w, 3, 80, false,
		"conn 1  35├─ WRITE 1 KiB ─┤36      37├── FLUSH ───┤38\n"
		"conn 2                                                     39╞═ READ 1 KiB ══╡40\n"
		"time      └─── 100 us ────┴─ 50 us ──┴── 80 us ───┴─ 50 us ──┴──── 70 us ────┘\n");
	assert_picture(
		w, 3, 80, true,
		"conn 1  35|- WRITE 1 KiB -|36      37|-- FLUSH ---|38\n"
		"conn 2                                                     39|= READ 1 KiB ==|40\n"
		"time      +--- 100 us ----+- 50 us --+-- 80 us ---+- 50 us --+---- 70 us ----+\n");
}

/* A command that was not answered goes on to the end. */
static void test_open(void **state)
{
	const struct nbds_witness w[] = {
		command(NBDS_ROLE_STALE_WRITE, 12, NBD_CMD_WRITE, 4096, 428, 0, 0, 0),
		command(NBDS_ROLE_WRITE, 3, NBD_CMD_WRITE, 4096, 434, 0, 3500000 * US, 0),
	};

	(void)state;
	assert_picture(w, 2, 78, true,
		       "conn 3                                   434|- WRITE 4 KiB - no reply by "
		       "then\n"
		       "conn 12  428|- older WRITE 4 KiB -.......................... no reply by "
		       "then\n"
		       "time        +------------ 3.5 s ------------+\n");
}

/* What a row of the picture says in column x. */
static char at(const struct nbds_lanes *lanes, unsigned row, unsigned x)
{
	uint16_t glyph = lanes->cells[row * lanes->columns + x].glyph;

	return glyph < 0x80 ? (char)glyph : '#';
}

/* The column of a bar's end: beside its frame number, which must stand there
 * once. -1: the number is nowhere. */
static int end_column(const struct nbds_lanes *lanes, uint64_t frame, bool right)
{
	char text[24];
	unsigned len = (unsigned)snprintf(text, sizeof(text), "%" PRIu64, frame);
	int found = -1;

	for (unsigned row = 0; row + 1 < lanes->rows; row++) {
		for (unsigned x = 0; x + len <= lanes->columns; x++) {
			bool same = true;

			for (unsigned k = 0; same && k < len; k++)
				same = at(lanes, row, x + k) == text[k] &&
				       lanes->cells[row * lanes->columns + x + k].ink ==
					       NBDS_LANE_FRAME;
			if (!same)
				continue;
			assert_int_equal(found, -1);
			found = (int)(right ? x - 1 : x + len);
			assert_in_range(found, 0, lanes->columns - 1);
			assert_int_equal(at(lanes, row, (unsigned)found), '|');
		}
	}
	return found;
}

static uint32_t seed;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

/* Any commands, at any width: frames in order, nothing over anything else. */
static void test_any(void **state)
{
	unsigned drawn = 0, refused = 0;

	(void)state;
	seed = 20180822;
	for (unsigned round = 0; round < 20000; round++) {
		static const uint16_t types[] = {NBD_CMD_READ,
						 NBD_CMD_WRITE,
						 NBD_CMD_FLUSH,
						 NBD_CMD_TRIM,
						 NBD_CMD_WRITE_ZEROES,
						 NBD_CMD_BLOCK_STATUS,
						 77};
		struct nbds_witness w[NBDS_WITNESSES_MAX];
		/* Distinct frames of the same number of digits, so that no number is a
		 * part of another. */
		uint64_t frames[2 * NBDS_WITNESSES_MAX], frame = 100;
		unsigned count = 1 + any(NBDS_WITNESSES_MAX), width = any(160);
		unsigned left = 2 * count;
		struct nbds_lanes lanes;
		int last = -1;

		for (unsigned i = 0; i < 2 * count; i++)
			frames[i] = frame += 1 + any(40);
		for (unsigned i = 0; i < count; i++) {
			uint64_t pair[2];

			for (unsigned k = 0; k < 2; k++) {
				unsigned pick = any(left);

				pair[k] = frames[pick];
				frames[pick] = frames[--left];
			}
			/* Now and then the reply comes first, or never. */
			if (pair[0] > pair[1] && any(8)) {
				uint64_t first = pair[1];

				pair[1] = pair[0];
				pair[0] = first;
			}
			w[i] = command((enum nbds_role)any(NBDS_ROLE_MAX), 1 + any(4),
				       types[any(7)], any(2) ? any(1u << 20) : 0, pair[0],
				       any(6) ? pair[1] : 0, (int64_t)(pair[0] * any(100000)),
				       (int64_t)any(1u << 20) * any(100000));
			w[i].flags = (uint16_t)any(2);
		}
		if (!nbds_lanes_draw(&lanes, w, count, width, true)) {
			refused++;
			/* 12 ends, a label, two frames, a name: there is always room. */
			assert_true(width < 60);
			continue;
		}
		drawn++;
		assert_true(lanes.columns <= width);
		assert_true(lanes.rows >= 2 && lanes.rows <= count + 1);
		for (uint64_t f = 100; f <= frame; f++) {
			for (unsigned i = 0; i < count; i++) {
				bool reply = w[i].reply_frame == f;
				int x;

				if (!reply && w[i].request_frame != f)
					continue;
				/* Which end is the right one follows from the order. */
				x = end_column(&lanes, f,
					       w[i].reply_frame && (reply ? f > w[i].request_frame
									  : f > w[i].reply_frame));
				assert_true(x > last);
				last = x;
			}
		}
		nbds_lanes_free(&lanes);
	}
	assert_true(drawn > 1000 && refused > 1000);
}

/* Times and frames of hostile captures. */
static void test_extremes(void **state)
{
	struct nbds_witness w[] = {
		command(NBDS_ROLE_WRITE, UINT32_MAX, NBD_CMD_WRITE, UINT64_MAX, UINT64_MAX - 1,
			UINT64_MAX, INT64_MIN, 0),
		command(NBDS_ROLE_READ, UINT32_MAX, UINT16_MAX, 0, 1, 1, INT64_MAX, 0),
		command(NBDS_ROLE_FLUSH, 0, NBD_CMD_FLUSH, 0, 0, 7, 0, 0),
	};
	struct nbds_lanes lanes;

	(void)state;
	for (unsigned width = 0; width < 300; width++)
		for (unsigned count = 0; count <= 3; count++)
			if (nbds_lanes_draw(&lanes, w, count, width, false))
				nbds_lanes_free(&lanes);
	w[1].reply_time = INT64_MIN;
	assert_true(nbds_lanes_draw(&lanes, w, 3, 120, false));
	nbds_lanes_free(&lanes);
	/* Nothing that has a frame: nothing to draw. */
	assert_false(nbds_lanes_draw(&lanes, &w[2], 1, 120, false));
	assert_false(nbds_lanes_draw(&lanes, w, 0, 120, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_story),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_any),
		cmocka_unit_test(test_extremes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
