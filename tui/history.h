/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/history.h - how an export fared over time, and which of its offsets were touched.
 *
 * Purpose.  Samples of equal width.  Live they are seconds, and of too many the oldest go;
 * of a file they cover all of it: whenever there are too many, two become one.
 *
 *	 begin ├ sample ┼ sample ┼ sample ┤ ...   width each
 *
 * Everything is a plain value of fixed size, and each event takes the same time.
 *
 * Ownership.  None.  Failure.  None.
 */
#ifndef NBDSCOPE_TUI_HISTORY_H
#define NBDSCOPE_TUI_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#define HISTORY_SAMPLES 256u
#define HISTORY_PLACES  128u /* of the export, of equal size */

struct history_sample {
	uint64_t read, written; /* bytes */
	uint64_t p99;           /* ns, of all replies in it */
	uint64_t unflushed;     /* bytes, the most in it */
	uint32_t in_flight;     /* requests, the most in it */
	uint32_t replies;
};

struct history {
	bool moves; /* the oldest samples go */
	bool begun;
	int64_t begin;  /* of samples[0], ns */
	int64_t width;  /* ns */
	unsigned count; /* samples; the last one is still being added to */
	struct history_sample samples[HISTORY_SAMPLES];
	uint32_t took[128]; /* replies of the last sample, two bins to a doubling of ns */
	/* Of all the time; `size` 0: not known. */
	uint64_t size;
	uint32_t reads[HISTORY_PLACES], writes[HISTORY_PLACES];
};

/* `moves`: live. */
void history_init(struct history *h, bool moves);
/* Time has come to `now`; so many requests wait, so many bytes are not flushed. */
void history_tick(struct history *h, int64_t now, uint64_t in_flight, uint64_t unflushed);
/* A command was answered, at the time of the last tick. */
void history_reply(struct history *h, uint64_t read, uint64_t written, uint64_t took);
/* The last sample's p99 is that of its replies until now. */
void history_settle(struct history *h);
/* It was about these bytes of an export of `size` bytes. */
void history_touch(struct history *h, uint64_t size, uint64_t offset, uint64_t length, bool writes);

#endif
