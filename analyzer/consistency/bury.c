/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Burying: what newer writes supersede for every reader still to come leaves the blocks.
 */
#include <base/clock.h>

#include "bury.h"
#include "placed.h"

/* Entries of a block before it is pruned for the first time; of a world that is short of
 * memory; and then at twice what was left. */
#ifndef PRUNE_FIRST /* tests bury at once */
#define FAILED_KEPT 8u
#define PRUNE_FIRST 24u
#define PRUNE_SHORT 6u
#endif
/* A read in flight for longer than this is not waited for. */
#define READ_AGE INT64_C(10000000000)
/* Earlier reads that one block remembers: of what was there before the capture there is
 * one contents, so many different ones prove nothing anyway. Those of one connection that
 * saw the same do not count, but for the newest few, of which one is over before the next
 * read begins. */
#define SEEN_MAX  64u
#define SEEN_SAME 4u

bool over_for_readers(struct nbds_world *w, const struct nbds_op *op, const struct nbds_point *now)
{
	struct nbds_op *r = w->reads->first;

	if (!point_before(w, &op->hi, now))
		return false;
	for (; r && nbds_elapsed(r->lo.time, now->time) > READ_AGE; r = w->reads->first) {
		r->late = true;
		reads_remove(r);
	}
	return !r || point_before(w, &op->hi, &r->lo);
}

/* The newest writes of the whole sector, while a block is walked from its newest entry on. */
struct newer {
	struct entry *own[BLOCK_SECTORS]; /* of one connection */
	const struct nbds_party *party;
	struct newer *chain;
};

struct burial {
	struct nbds_world *w;
	struct block *b;
	const struct nbds_point *now;
	struct newer *newer; /* hashed by connection; `room` of them, a power of two */
	size_t room;
	/* and those that are in force for all */
	struct entry *shared[STRENGTH_FLUSH + 1][BLOCK_SECTORS];
	struct entry *failed[FAILED_KEPT]; /* the newest that failed, each with other contents */
	unsigned failures;
};

static struct newer *newer_of(struct burial *k, const struct nbds_party *p)
{
	size_t at = hash_number(k->w, (uint64_t)(uintptr_t)p) & (k->room - 1);

	while (k->newer[at].party && k->newer[at].party != p)
		at = (at + 1) & (k->room - 1);
	k->newer[at].party = p;
	return &k->newer[at];
}

/* Is e's sector i superseded by n, for every reader that is still to come? */
static bool buried_by(struct burial *k, const struct entry *e, const struct entry *n,
		      enum strength e_strength)
{
	enum strength by;

	if (!n || n == e)
		return false;
	by = strength_of(n->op, NULL);
	return by >= e_strength && over_for_readers(k->w, n->op, k->now) &&
	       established(e->op, n->op, &n->op->hi, NULL) && !voided(n->op, NULL);
}

bool gone_for_all(const struct nbds_world *w, const struct nbds_op *by)
{
	return !w->parties->others && strength_of(by, NULL) == STRENGTH_FLUSH && !may_be_voided(by);
}

static void bury(struct burial *k, struct entry *e, uint8_t bits)
{
	const struct nbds_op *flush = NULL;
	enum strength strength = strength_of(e->op, NULL);
	const struct newer *own = newer_of(k, e->op->party);

	for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
		bool whole;
		struct entry *by = NULL, *const tries[] = {k->shared[STRENGTH_FLUSH][i],
							   k->shared[STRENGTH_FUA][i], own->own[i]};

		if (!(bits >> i & 1))
			continue;
		for (unsigned t = 0; t < 3 && !by; t++)
			if (buried_by(k, e, tries[t], strength))
				by = tries[t];
		if (!by)
			continue;
		/* a grave takes whole values only */
		whole = (e->valued >> i & 1) && !(e->unknown >> i & 1) && !e->coarse;
		if (!whole && !gone_for_all(k->w, by->op))
			continue;
		strength_of(by->op, &flush);
		if (whole &&
		    !grave_put(&k->b->graves, e->op, by->op, flush, i, e->value[i],
			       e->extra && e->extra->piece[i] ? e->extra->piece[i]->bytes : NULL))
			continue;
		if (whole)
			placed_forget(k->w, e->op, k->b->number * BLOCK_SECTORS + i, e->value[i]);
		else
			k->w->stats.pruned++;
		e->valued &= (uint8_t) ~(1u << i);
		e->unknown &= (uint8_t) ~(1u << i);
		e->full &= (uint8_t) ~(1u << i);
		piece_drop(k->w, e, i);
	}
}

static bool same_values(const struct entry *a, const struct entry *b)
{
	if (a->valued != b->valued || a->unknown || b->unknown || a->coarse != b->coarse)
		return false;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if ((a->valued >> i & 1) && a->value[i] != b->value[i])
			return false;
	return true;
}

static bool same_contents(const struct entry *a, const struct entry *b)
{
	return !a->coarse && a->full == b->full && a->valued == a->full && same_values(a, b);
}

/* What failed may have left its contents for ever, or anything until the next write that is
 * in force.  For every reader still to come the newest of several that failed alike says both:
 * a client that tries again and again leaves one. */
static bool failed_again(struct burial *k, struct entry *e)
{
	for (unsigned i = 0; i < k->failures; i++) {
		const struct entry *f = k->failed[i];

		if (f->op->party->xport == e->op->party->xport && same_contents(e, f) &&
		    over_for_readers(k->w, f->op, k->now))
			return true;
	}
	if (k->failures < FAILED_KEPT)
		k->failed[k->failures++] = e;
	return false;
}

/* Is e, a read, one too many to remember? Newer ones were asked about before. */
static bool seen_enough(struct nbds_world *w, const struct entry *e, const struct entry **seen,
			unsigned *count)
{
	unsigned same = 0;

	for (unsigned i = 0; i < *count; i++)
		same += seen[i]->op->party == e->op->party && seen[i]->initial == e->initial &&
			same_values(seen[i], e);
	if (same >= SEEN_SAME)
		return true;
	if (*count == SEEN_MAX) {
		w->stats.pruned++;
		return true;
	}
	seen[(*count)++] = e;
	return false;
}

void block_prune(struct nbds_world *w, struct block *b, const struct nbds_point *now)
{
	struct burial k = {.w = w, .b = b, .now = now, .room = 16};
	const struct entry *seen[SEEN_MAX];
	unsigned seen_count = 0;

	while (k.room < 2 * (size_t)b->count)
		k.room *= 2;
	k.newer = world_alloc(w, k.room * sizeof(*k.newer));
	if (!k.newer)
		return;
	for (struct entry **at = &b->entries; *at;) {
		struct entry *e = *at;
		uint8_t touched = e->valued | e->unknown;

		if (is_seen(e)) {
			/* what was one of several outcomes, before a newer write */
			bool over = !e->initial && b->entries != e && e->extra && e->extra->seen &&
				    b->written_last &&
				    point_before(w, &e->extra->hi, &b->written_last->lo);

			if (over || seen_enough(w, e, seen, &seen_count))
				entry_remove(w, b, at);
			else
				at = &e->next;
			continue;
		}
		if (e->op->state == OP_FAILED && failed_again(&k, e)) {
			entry_remove(w, b, at);
			continue;
		}
		if (e->op->state == OP_OK && e->op->proves && !e->op->early && touched) {
			struct newer *own;

			bury(&k, e, touched);
			own = newer_of(&k, e->op->party);
			for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
				enum strength s;

				if (!(e->full >> i & 1))
					continue;
				if (!own->own[i])
					own->own[i] = e;
				s = strength_of(e->op, NULL);
				if (s != STRENGTH_OWN && !k.shared[s][i])
					k.shared[s][i] = e;
			}
		}
		if (e->valued | e->unknown)
			at = &e->next;
		else
			entry_remove(w, b, at);
	}
	world_dealloc(w, k.newer, k.room * sizeof(*k.newer));
}

void block_limit(struct nbds_world *w, struct block *b, const struct nbds_point *now)
{
	unsigned first = w->memory > w->memory_cap / 2 ? PRUNE_SHORT : PRUNE_FIRST;

	if (b->pins || b->count <= first || b->count < b->prune_at)
		return;
	block_prune(w, b, now);
	b->prune_at = b->count * 2;
}

void block_thin(struct nbds_world *w, struct block *b)
{
	w->stats.pruned += graves_thin(w, &b->graves);
	for (struct entry *e = b->entries; e; e = e->next)
		for (unsigned i = 0; e->extra && i < BLOCK_SECTORS; i++)
			if (!(e->unknown >> i & 1))
				piece_drop(w, e, i);
}

void block_tidy(struct nbds_world *w, struct block *b)
{
	const struct nbds_point now = w->last;

	if (b->count > 1 && !b->pins && !b->tidy) {
		block_prune(w, b, &now);
		b->tidy = true;
		graves_pack(w, b->graves);
	}
	if (w->memory > w->memory_cap / 2)
		block_thin(w, b);
}
