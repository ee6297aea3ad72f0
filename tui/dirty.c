/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dirty.c - which bytes no flush has covered. See dirty.h.
 *
 * Ranges stand in a treap by their offsets: a search tree that is a heap by random
 * numbers, and so has the depth of a balanced one whatever is written.
 */
#include "dirty.h"

#include <base/assert.h>
#include <base/table.h>

struct dirty_range {
	uint64_t from, to; /* to: the first byte behind it */
	uint64_t frame;    /* of the reply */
	int64_t time;
	struct dirty_owner *owner;
	struct dirty_range *left, *right;
	uint64_t rank;
	struct nbds_list owned, shared;
};

void dirty_map_init(struct dirty_map *map)
{
	map->root = NULL;
	nbds_list_init(&map->shared);
	map->flush_sent = map->bytes = 0;
}

void dirty_owner_init(struct dirty_owner *owner)
{
	*owner = (struct dirty_owner){0};
	nbds_list_init(&owner->ranges);
}

/* --- the tree --- */

/* Those that begin before `at`, and the others. */
static void split(struct dirty_range *t, uint64_t at, struct dirty_range **low,
		  struct dirty_range **high)
{
	if (!t) {
		*low = *high = NULL;
	} else if (t->from < at) {
		split(t->right, at, &t->right, high);
		*low = t;
	} else {
		split(t->left, at, low, &t->left);
		*high = t;
	}
}

/* All of `low` lies before all of `high`. */
static struct dirty_range *join(struct dirty_range *low, struct dirty_range *high)
{
	if (!low || !high)
		return low ? low : high;
	if (low->rank > high->rank) {
		low->right = join(low->right, high);
		return low;
	}
	high->left = join(low, high->left);
	return high;
}

static struct dirty_range *last_of(struct dirty_range *t)
{
	while (t && t->right)
		t = t->right;
	return t;
}

static struct dirty_range *first_of(struct dirty_range *t)
{
	while (t && t->left)
		t = t->left;
	return t;
}

static void take_out(struct dirty_map *map, const struct dirty_range *r)
{
	struct dirty_range **at = &map->root;

	while (*at != r)
		at = r->from < (*at)->from ? &(*at)->left : &(*at)->right;
	*at = join(r->left, r->right);
}

/* --- ranges --- */

/* So many bytes more, or fewer, are dirty. */
static void owner_add(struct dirty_owner *owner, uint64_t bytes)
{
	owner->bytes += bytes;
	owner->map->bytes += bytes;
}

static void owner_take(struct dirty_owner *owner, uint64_t bytes)
{
	owner->bytes -= bytes;
	owner->map->bytes -= bytes;
}

static void range_free(struct dirty_store *store, struct dirty_range *r)
{
	owner_take(r->owner, r->to - r->from);
	nbds_list_remove(&r->owned);
	nbds_list_remove(&r->shared);
	store->count--;
	nbds_budget_free(store->budget, r, sizeof(*r));
}

static struct dirty_range *range_new(struct dirty_store *store, uint64_t from, uint64_t to)
{
	struct dirty_range *r =
		store->count < store->max ? nbds_budget_alloc(store->budget, sizeof(*r)) : NULL;

	if (!r)
		return NULL;
	store->count++;
	/* xorshift64 */
	store->random ^= store->random << 13;
	store->random ^= store->random >> 7;
	store->random ^= store->random << 17;
	r->rank = store->random;
	r->from = from;
	r->to = to;
	return r;
}

/* Puts a node behind another one of the same list. */
static void list_behind(struct nbds_list *before, struct nbds_list *node)
{
	node->previous = before;
	node->next = before->next;
	before->next->previous = node;
	before->next = node;
}

static void tree_free(struct dirty_store *store, struct dirty_range *t)
{
	if (!t)
		return;
	tree_free(store, t->left);
	tree_free(store, t->right);
	range_free(store, t);
}

/* Takes the bytes from `from` to `to` out of the map: what lies before them and what
 * lies behind them. */
static void cut_out(struct dirty_store *store, struct dirty_map *map, uint64_t from, uint64_t to,
		    struct dirty_range **low, struct dirty_range **high)
{
	struct dirty_range *inner, *last;

	split(map->root, from, low, high);
	last = last_of(*low);
	if (last && last->to > to) {
		/* The middle of one: its end is a range of its own. */
		struct dirty_range *end = range_new(store, to, last->to);

		if (end) {
			end->frame = last->frame;
			end->time = last->time;
			end->owner = last->owner;
			list_behind(&last->owned, &end->owned);
			if (nbds_list_has(&last->shared))
				list_behind(&last->shared, &end->shared);
			*high = join(end, *high);
			owner_take(last->owner, to - from);
		} else {
			last->owner->over += last->to - to;
			last->owner->over_frame = last->frame;
			last->owner->rough = true;
			owner_take(last->owner, last->to - from);
		}
		last->to = from;
	} else if (last && last->to > from) {
		owner_take(last->owner, last->to - from);
		last->to = from;
	}
	split(*high, to, &inner, high);
	last = last_of(inner);
	if (last && last->to > to) {
		/* Only its beginning: the rest stays. */
		split(inner, last->from, &inner, &last);
		owner_take(last->owner, to - last->from);
		last->from = to;
		*high = join(last, *high);
	}
	tree_free(store, inner);
}

/* The oldest range of a connection is only counted from now on. */
static void count_only(struct dirty_store *store, struct dirty_map *map, struct dirty_owner *owner)
{
	struct dirty_range *r = nbds_owner(owner->ranges.next, struct dirty_range, owned);

	owner->over += r->to - r->from;
	if (r->frame > owner->over_frame)
		owner->over_frame = r->frame;
	owner->rough = true;
	take_out(map, r);
	range_free(store, r);
}

void dirty_write(struct dirty_store *store, struct dirty_map *map, struct dirty_owner *owner,
		 uint64_t offset, uint64_t length, const struct dirty_when *when, bool shared)
{
	struct dirty_range *low, *high, *r, *next;
	uint64_t from = offset, to = offset + length;

	if (!length || to < offset)
		return;
	owner->map = map;
	if (store->count >= store->max && !nbds_list_empty(&owner->ranges))
		count_only(store, map, owner);
	cut_out(store, map, from, to, &low, &high);
	r = last_of(low);
	/* What follows on another write, with no flush sent in between, is one with it. */
	if (r && r->to == from && r->owner == owner && r->frame > map->flush_sent) {
		r->to = to;
		nbds_list_remove(&r->owned);
		nbds_list_remove(&r->shared);
		owner_add(owner, length);
	} else {
		r = range_new(store, from, to);
		if (!r) {
			map->root = join(low, high);
			owner->over += length;
			owner->over_frame = when->frame;
			owner->rough = true;
			return;
		}
		r->owner = owner;
		owner_add(owner, length);
		low = join(low, r);
	}
	r->frame = when->frame;
	r->time = when->time;
	nbds_list_append(&owner->ranges, &r->owned);
	if (shared)
		nbds_list_append(&map->shared, &r->shared);
	next = first_of(high);
	if (next && next->from == to && next->owner == owner && next->frame > map->flush_sent) {
		split(high, next->to, &next, &high);
		r->to = next->to;
		owner_add(owner, next->to - next->from);
		range_free(store, next);
	}
	map->root = join(low, high);
}

void dirty_clean(struct dirty_store *store, struct dirty_map *map, uint64_t offset, uint64_t length)
{
	struct dirty_range *low, *high;

	if (!length || offset + length < offset)
		return;
	cut_out(store, map, offset, offset + length, &low, &high);
	map->root = join(low, high);
}

void dirty_flush_sent(struct dirty_map *map, uint64_t frame)
{
	map->flush_sent = frame;
}

void dirty_flush(struct dirty_store *store, struct dirty_map *map, struct dirty_owner *owner,
		 const struct dirty_when *sent, bool shared)
{
	while (!nbds_list_empty(&owner->ranges)) {
		struct dirty_range *r = nbds_owner(owner->ranges.next, struct dirty_range, owned);

		if (r->frame >= sent->frame)
			break;
		take_out(map, r);
		range_free(store, r);
	}
	if (owner->over_frame < sent->frame) {
		owner->over = 0;
		owner->rough = false;
	}
	while (shared && !nbds_list_empty(&map->shared)) {
		struct dirty_range *r = nbds_owner(map->shared.next, struct dirty_range, shared);

		if (r->frame >= sent->frame || sent->time - r->time < sent->margin)
			break;
		take_out(map, r);
		range_free(store, r);
	}
}

void dirty_forget(struct dirty_store *store, struct dirty_map *map, struct dirty_owner *owner)
{
	while (!nbds_list_empty(&owner->ranges)) {
		struct dirty_range *r = nbds_owner(owner->ranges.next, struct dirty_range, owned);

		take_out(map, r);
		range_free(store, r);
	}
	owner->over = 0;
	owner->rough = false;
	NBDS_ASSERT(!owner->bytes);
}
