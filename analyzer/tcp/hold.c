/* SPDX-License-Identifier: GPL-2.0-or-later */
/* hold.c - see hold.h. */
#include "hold.h"

#include <stdlib.h>
#include <string.h>

#define SMALLEST 256u

/* The most bytes that the pool keeps for the next piece. */
#define CACHED_MAX ((uint64_t)4 << 20)

static size_t overhead(unsigned levels)
{
	return sizeof(struct nbds_held) + levels * sizeof(struct nbds_held *);
}

/* The class whose blocks take `size` bytes; NBDS_HELD_CLASSES if none does. */
static unsigned class_of(uint64_t size)
{
	unsigned c = 0;

	while (c < NBDS_HELD_CLASSES && (uint64_t)SMALLEST << c < size)
		c++;
	return c;
}

uint64_t nbds_held_cost(uint32_t caplen)
{
	uint64_t size = overhead(NBDS_HELD_LEVELS) + (uint64_t)caplen;
	unsigned c = class_of(size);

	return c < NBDS_HELD_CLASSES ? (uint64_t)SMALLEST << c : size;
}

/* One level more for each two zero bits: a quarter of the pieces reach each
 * next level. */
static unsigned random_levels(struct nbds_held_pool *pool)
{
	uint64_t r = pool->random ? pool->random : 1;
	unsigned levels = 1;

	r ^= r << 13;
	r ^= r >> 7;
	r ^= r << 17;
	pool->random = r;
	while (levels < NBDS_HELD_LEVELS && !(r >> 40 & 3)) {
		levels++;
		r <<= 2;
	}
	return levels;
}

struct nbds_held *nbds_held_new(struct nbds_held_pool *pool, uint64_t offset, uint32_t len,
				const uint8_t *data, uint32_t caplen, const struct nbds_mark *mark)
{
	uint64_t cost = nbds_held_cost(caplen);
	unsigned c = class_of(cost);
	struct nbds_held *piece;

	if (c < NBDS_HELD_CLASSES && pool->free[c]) {
		piece = pool->free[c];
		pool->free[c] = piece->next[0];
		pool->cached -= cost;
	} else {
		piece = malloc(cost);
		if (!piece)
			return NULL;
	}
	piece->offset = offset;
	piece->len = len;
	piece->caplen = caplen;
	piece->cost = cost;
	piece->after = mark->ack;
	piece->mark = *mark;
	piece->unlike = piece->unlike_end = 0;
	piece->first_ack = piece->other_ack = mark->ack;
	piece->levels = (uint8_t)random_levels(pool);
	piece->size_class = (uint8_t)c;
	piece->data = (uint8_t *)piece + overhead(piece->levels);
	if (caplen)
		memcpy(piece->data, data, caplen);
	pool->held += cost;
	if (pool->held > pool->most)
		pool->most = pool->held;
	return piece;
}

void nbds_held_free(struct nbds_held_pool *pool, struct nbds_held *piece)
{
	pool->held -= piece->cost;
	if (piece->size_class >= NBDS_HELD_CLASSES || pool->cached + piece->cost > CACHED_MAX) {
		free(piece);
		return;
	}
	pool->cached += piece->cost;
	piece->next[0] = pool->free[piece->size_class];
	pool->free[piece->size_class] = piece;
}

struct nbds_held *nbds_held_find(const struct nbds_held_list *list, uint64_t offset)
{
	struct nbds_held *const *links = list->first;
	const struct nbds_held *before = NULL;

	for (int level = NBDS_HELD_LEVELS - 1; level >= 0; level--) {
		while (links[level] && links[level]->offset + links[level]->len <= offset) {
			before = links[level];
			links = before->next;
		}
	}
	return before ? before->next[0] : list->first[0];
}

void nbds_held_insert(struct nbds_held_list *list, struct nbds_held *piece)
{
	struct nbds_held **links = list->first;

	for (int level = NBDS_HELD_LEVELS - 1; level >= 0; level--) {
		while (links[level] && links[level]->offset < piece->offset)
			links = links[level]->next;
		if (level < piece->levels) {
			piece->next[level] = links[level];
			links[level] = piece;
		}
	}
	list->cost += piece->cost;
}

struct nbds_held *nbds_held_split(struct nbds_held_pool *pool, struct nbds_held_list *list,
				  struct nbds_held *piece, uint64_t at)
{
	uint32_t front = (uint32_t)(at - piece->offset);
	uint32_t caplen = piece->caplen > front ? piece->caplen - front : 0;
	struct nbds_held *rest;

	rest = nbds_held_new(pool, at, piece->len - front, caplen ? piece->data + front : NULL,
			     caplen, &piece->mark);
	if (!rest)
		return NULL;
	rest->after = piece->after;
	rest->first_ack = piece->first_ack;
	rest->other_ack = piece->other_ack;
	if (piece->unlike < piece->unlike_end) {
		rest->unlike = piece->unlike > at ? piece->unlike : at;
		rest->unlike_end = piece->unlike_end > at ? piece->unlike_end : at;
		rest->unlike_mark = piece->unlike_mark;
		if (piece->unlike_end > at)
			piece->unlike_end = at;
		if (piece->unlike > at)
			piece->unlike = at;
	}
	piece->len = front;
	piece->caplen -= caplen;
	nbds_held_insert(list, rest);
	return rest;
}

struct nbds_held *nbds_held_take(struct nbds_held_list *list)
{
	struct nbds_held *piece = list->first[0];

	for (unsigned level = 0; level < piece->levels; level++)
		list->first[level] = piece->next[level];
	list->cost -= piece->cost;
	return piece;
}

void nbds_held_pool_clear(struct nbds_held_pool *pool)
{
	for (unsigned c = 0; c < NBDS_HELD_CLASSES; c++) {
		while (pool->free[c]) {
			struct nbds_held *piece = pool->free[c];

			pool->free[c] = piece->next[0];
			free(piece);
		}
	}
	pool->cached = 0;
}
