/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lifetimes of servers.
 */
#include <string.h>

#include "life.h"

/* More are not kept: of the oldest half it is then only known what each connection
 * itself shows. */
#define LIVES_MAX 4096u

/* There was an instant that certainly lies within both. */
static bool overlap(const struct nbds_world *w, const struct lifetime *a, const struct lifetime *b)
{
	return point_before(w, &a->from, &b->to) && point_before(w, &b->from, &a->to);
}

/* How many of them began no later than in `frame`. */
static size_t began(const struct lifetimes *l, uint64_t frame)
{
	size_t low = 0, high = l->count;

	/* mostly it is the newest that is asked for */
	if (high && l->at[high - 1].from.frame <= frame)
		return high;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (l->at[mid].from.frame <= frame)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void join(struct nbds_world *w, size_t into, size_t i)
{
	struct lifetimes *l = &w->parties->lives;

	if (point_before(w, &l->at[into].to, &l->at[i].to))
		l->at[into].to = l->at[i].to;
	nbds_vector_remove(l, i);
}

void life_extend(struct nbds_party *p)
{
	struct nbds_world *w = p->world;
	struct lifetimes *l = &w->parties->lives;
	struct lifetime life = {p->first_heard, p->last_alive};
	size_t i;

	if (!p->heard || !p->alive)
		return;
	i = began(l, life.from.frame);
	if (i && overlap(w, &l->at[i - 1], &life)) {
		i--;
		if (point_before(w, &l->at[i].to, &life.to))
			l->at[i].to = life.to;
	} else {
		if (l->count == LIVES_MAX) {
			size_t half = LIVES_MAX / 2;

			memmove(l->at, l->at + half, half * sizeof(*l->at));
			l->count = half;
			i = i > half ? i - half : 0;
		}
		if (!nbds_vector_push(l, w->budget, life))
			return;
		memmove(l->at + i + 1, l->at + i, (l->count - 1 - i) * sizeof(*l->at));
		l->at[i] = life;
	}
	while (i > 0 && overlap(w, &l->at[i - 1], &l->at[i])) {
		join(w, i - 1, i);
		i--;
	}
	while (i + 1 < l->count && overlap(w, &l->at[i], &l->at[i + 1]))
		join(w, i, i + 1);
}

void life_forget(struct nbds_world *w)
{
	w->parties->lives.count = 0;
}

bool same_server(const struct nbds_op *w, const struct nbds_op *r)
{
	const struct nbds_world *world = w->world;
	const struct lifetimes *l = &world->parties->lives;
	const struct nbds_party *from = w->party, *to = r->party;
	const struct nbds_point *reach = &from->last_alive;
	size_t i;

	if (from == to)
		return true;
	if (!from->heard || !from->alive || !to->heard)
		return false;
	if (point_before(world, &to->first_heard, reach))
		return true;
	/* the lifetime that the writer's connection is a part of: it began before */
	for (i = began(l, from->first_heard.frame); i > 0; i--) {
		const struct lifetime own = {from->first_heard, from->last_alive};
		const struct lifetime *life = &l->at[i - 1];

		if (life->to.frame < own.from.frame)
			return false;
		if (overlap(world, life, &own) && point_before(world, &to->first_heard, &life->to))
			return true;
	}
	return false;
}

void life_free(struct nbds_world *w)
{
	nbds_vector_free(&w->parties->lives, w->budget);
}
