/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pile.h - an array that grows and never moves.
 *
 * Purpose.  What is kept of each message and frame, as long as the file is open.  An array
 * that is allocated anew when it is full leaves as much memory behind as it takes; this one
 * adds a block as large as all before it.
 *
 *	blocks ──► [0 .. 15] [16 .. 31] [32 .. 63] [64 .. 127] ...
 *
 * Ownership.  The pile owns its blocks.  All of one have items of the same type, each access
 * names it.  Pointers to items stay valid until the pile is freed.  Failure.  As with all of
 * GLib's memory.
 *
 * Example.
 *	struct pile numbers = {0};
 *	*PILE_ADD(&numbers, int) = 7;
 *	printf("%d\n", *PILE_AT(&numbers, int, 0));
 *	pile_free(&numbers);
 */
#ifndef NBDS_SHARK_PILE_H
#define NBDS_SHARK_PILE_H

#include <stdint.h>
#include <string.h>

#include <glib.h>

#define PILE_FIRST 16u /* items of the first block */
#define PILE_BITS  4u  /* 1 << PILE_BITS */

struct pile {
	char **blocks;
	uint32_t count;
};

/* Item i < count, of the type. */
#define PILE_AT(PILE, TYPE, I) ((TYPE *)(void *)pile_at((PILE), (I), sizeof(TYPE)))
/* A new last item, all zero. */
#define PILE_ADD(PILE, TYPE) ((TYPE *)(void *)pile_add((PILE), sizeof(TYPE)))

static inline char *pile_at(const struct pile *p, uint32_t i, size_t size)
{
	unsigned bits = (unsigned)g_bit_storage(i);

	if (bits <= PILE_BITS)
		return p->blocks[0] + i * size;
	return p->blocks[bits - PILE_BITS] + (i - (UINT32_C(1) << (bits - 1))) * size;
}

static inline char *pile_add(struct pile *p, size_t size)
{
	uint32_t i = p->count;
	unsigned bits = (unsigned)g_bit_storage(i);
	char *item;

	if (i == 0 || (i >= PILE_FIRST && !(i & (i - 1)))) {
		unsigned block = bits <= PILE_BITS ? 0 : bits - PILE_BITS;

		p->blocks = g_realloc_n(p->blocks, block + 1, sizeof(*p->blocks));
		p->blocks[block] = g_malloc_n(MAX(i, PILE_FIRST), size);
	}
	p->count++;
	item = pile_at(p, i, size);
	memset(item, 0, size);
	return item;
}

static inline void pile_free(struct pile *p)
{
	unsigned bits = p->count ? (unsigned)g_bit_storage(p->count - 1) : 0;

	for (unsigned i = 0; p->count && i <= (bits <= PILE_BITS ? 0 : bits - PILE_BITS); i++)
		g_free(p->blocks[i]);
	g_free(p->blocks);
	p->blocks = NULL;
	p->count = 0;
}

#endif
