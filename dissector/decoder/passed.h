/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dissector/decoder/passed.h - bytes that a search passed over, for the payload of what is
 * told late, and where they were seen.
 *
 *	bytes   ▒▒▒▒ab│cdefgh▒▒▒▒   a ring: the byte at stream offset n is at n modulo the room
 *	pieces      │ab│cd│efgh│     each with its mark, in the order of the stream
 *
 * The last ones are kept: twice PASSED_MAX bytes at most, with PIECES_MAX places.
 */
#ifndef NBDSCOPE_DECODER_PASSED_H
#define NBDSCOPE_DECODER_PASSED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/decoder.h>

/* Bytes passed over that are kept for the payload of what is told late: the last ones
 * since there is a chain; and places where they were seen. */
#define PASSED_MAX (128u << 10)
#define PIECES_MAX 1024u

/* Bytes passed over that were seen at one place. */
struct head_piece {
	uint64_t offset, len; /* in the stream */
	struct nbds_mark mark;
};

/* What was passed over: the byte at stream offset n at n modulo the room, which is a
 * power of two, and a ring of pieces with the same order. */
struct passed {
	uint8_t *bytes;
	uint32_t room;
	struct head_piece *pieces;
	uint32_t pieces_room, first, count;
};

void passed_free(struct passed *ps);
/* Bytes that it takes. */
uint64_t passed_memory(const struct passed *ps);
/* `n` bytes from stream offset `offset` on, after those that are kept. Without memory
 * there is a hole instead. */
void passed_add(struct passed *ps, uint64_t offset, const uint8_t *p, size_t n,
		const struct nbds_mark *mark);
/* The bytes at stream offset `from`, of *n at most: false, if they are not kept; *n is how
 * many are not, if later ones are. *piece_number: where to look, 0 at first. */
bool passed_get(const struct passed *ps, uint32_t *piece_number, uint64_t from, const uint8_t **p,
		uint64_t *n, const struct nbds_mark **mark);

#endif
