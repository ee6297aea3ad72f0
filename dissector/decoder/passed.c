/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a search passed over. See passed.h.
 */
#include "passed.h"

#include <base/assert.h>

#include <stdlib.h>
#include <string.h>

#include "stream.h"

static struct head_piece *piece_at(const struct passed *ps, uint32_t i)
{
	NBDS_ASSERT(ps->pieces_room);
	return &ps->pieces[(ps->first + i) % ps->pieces_room];
}

void passed_free(struct passed *ps)
{
	free(ps->bytes);
	free(ps->pieces);
	memset(ps, 0, sizeof(*ps));
}

/* Twice as many pieces. */
static bool grow_pieces(struct passed *ps)
{
	uint32_t room = ps->pieces_room ? 2 * ps->pieces_room : 8;
	struct head_piece *pieces = nbds_decoder_realloc(NULL, room * sizeof(*pieces));

	if (!pieces)
		return false;
	for (uint32_t i = 0; i < ps->count; i++)
		pieces[i] = *piece_at(ps, i);
	free(ps->pieces);
	ps->pieces = pieces;
	ps->pieces_room = room;
	ps->first = 0;
	return true;
}

/* Copies between the ring and bytes in one piece. */
static void ring_put(uint8_t *ring, uint32_t room, uint64_t offset, const uint8_t *p, size_t n)
{
	size_t at = (size_t)(offset % room), part = nbds_min(n, room - at);

	NBDS_ASSERT(n <= room);
	memcpy(ring + at, p, part);
	memcpy(ring, p + part, n - part);
}

/* Room for the bytes from the first piece on to `end`, or for PASSED_MAX. */
static bool grow_bytes(struct passed *ps, uint64_t begin, uint64_t end)
{
	uint32_t room = ps->room ? ps->room : 4096;
	uint8_t *bytes;

	while (room < PASSED_MAX && room < end - begin)
		room *= 2;
	if (room == ps->room)
		return true;
	bytes = nbds_decoder_realloc(NULL, room);
	if (!bytes)
		return false;
	for (uint32_t i = 0; i < ps->count; i++) {
		const struct head_piece *piece = piece_at(ps, i);

		NBDS_ASSERT(ps->room);
		size_t at = (size_t)(piece->offset % ps->room);
		size_t part = (size_t)nbds_min(piece->len, ps->room - at);

		ring_put(bytes, room, piece->offset, ps->bytes + at, part);
		ring_put(bytes, room, piece->offset + part, ps->bytes, (size_t)piece->len - part);
	}
	free(ps->bytes);
	ps->bytes = bytes;
	ps->room = room;
	return true;
}

/* The bytes before stream offset `floor` are no longer kept. */
static void passed_trim(struct passed *ps, uint64_t floor)
{
	while (ps->count && piece_at(ps, 0)->offset < floor) {
		struct head_piece *piece = piece_at(ps, 0);
		uint64_t n = nbds_min(piece->len, floor - piece->offset);

		piece->offset += n;
		piece->len -= n;
		if (piece->len)
			return;
		ps->first = (ps->first + 1) % ps->pieces_room;
		ps->count--;
	}
}

void passed_add(struct passed *ps, uint64_t offset, const uint8_t *p, size_t n,
		const struct nbds_mark *mark)
{
	struct head_piece *last;

	if (n > PASSED_MAX) {
		offset += n - PASSED_MAX;
		p += n - PASSED_MAX;
		n = PASSED_MAX;
	}
	if (!n || !grow_bytes(ps, ps->count ? piece_at(ps, 0)->offset : offset, offset + n))
		return;
	if (offset + n > ps->room)
		passed_trim(ps, offset + n - ps->room);
	last = ps->count ? piece_at(ps, ps->count - 1) : NULL;
	NBDS_ASSERT(!last || last->offset + last->len <= offset);
	if (last && last->offset + last->len == offset &&
	    !memcmp(&last->mark, mark, sizeof(*mark))) {
		last->len += n;
	} else {
		if (ps->count == ps->pieces_room && ps->pieces_room < PIECES_MAX &&
		    !grow_pieces(ps))
			return;
		if (ps->count == ps->pieces_room) {
			ps->first = (ps->first + 1) % ps->pieces_room;
			ps->count--;
		}
		ps->count++;
		NBDS_ASSERT(ps->count <= ps->pieces_room && ps->pieces_room <= PIECES_MAX);
		*piece_at(ps, ps->count - 1) = (struct head_piece){offset, n, *mark};
	}
	ring_put(ps->bytes, ps->room, offset, p, n);
}

bool passed_get(const struct passed *ps, uint32_t *piece_number, uint64_t from, const uint8_t **p,
		uint64_t *n, const struct nbds_mark **mark)
{
	while (*piece_number < ps->count &&
	       piece_at(ps, *piece_number)->offset + piece_at(ps, *piece_number)->len <= from)
		(*piece_number)++;
	if (*piece_number < ps->count) {
		const struct head_piece *piece = piece_at(ps, *piece_number);
		size_t at = (size_t)(from % ps->room);

		if (piece->offset > from) {
			*n = nbds_min(*n, piece->offset - from);
		} else {
			*n = nbds_min(*n, piece->offset + piece->len - from);
			*n = nbds_min(*n, ps->room - at);
			*p = ps->bytes + at;
			*mark = &piece->mark;
			return true;
		}
	}
	return false;
}

uint64_t passed_memory(const struct passed *ps)
{
	return ps->room + ps->pieces_room * sizeof(struct head_piece);
}
