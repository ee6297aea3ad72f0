/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where data was written to, by its value. See placed.h.
 */
#include "placed.h"

#define WAYS        4u
#define SECTOR_BITS 40u
/* The hash of a value is in its lowest bits. Those that its set tells of are not in its tag. */
#define HASH_BITS 32u
#define TAG_SHIFT 8u
/* The least of sets: they tell of TAG_SHIFT bits. */
#define ROOM_FIRST (WAYS << TAG_SHIFT)
/* The share of all memory that it may take. */
#define SHARE 64u

_Static_assert(HASH_BITS - TAG_SHIFT + SECTOR_BITS <= 64, "a slot is too small");

/* Values are hashes already. */
static uint64_t *set_of(const struct placed *p, uint64_t value)
{
	return p->slots + (size_t)value % (p->room / WAYS) * WAYS;
}

static uint64_t tag_of(uint64_t value)
{
	return (value & UINT32_MAX) >> TAG_SHIFT;
}

static uint64_t tag_in(uint64_t slot)
{
	return slot >> SECTOR_BITS;
}

static uint64_t sector_in(uint64_t slot)
{
	return (slot & ((UINT64_C(1) << SECTOR_BITS) - 1)) - 1;
}

/* First of its set. */
static void put(struct placed *p, uint64_t value, uint64_t slot)
{
	uint64_t *at = set_of(p, value), newer = slot;

	for (unsigned i = 0; i < WAYS; i++) {
		uint64_t older = at[i];

		at[i] = newer;
		p->count += !older;
		if (!older || tag_in(older) == tag_in(slot))
			return;
		newer = older;
	}
}

/* To twice its room, as far as it may. */
static void grow(struct nbds_world *w)
{
	struct placed old = *w->placed, more = {.room = old.room ? old.room * 2 : ROOM_FIRST};

	if (more.room * sizeof(*more.slots) > w->memory_cap / SHARE)
		return;
	more.slots = world_alloc(w, more.room * sizeof(*more.slots));
	if (!more.slots)
		return;
	/* the oldest of each set first */
	for (size_t i = old.room; i > 0; i--) {
		uint64_t slot = old.slots[i - 1];
		uint64_t value = tag_in(slot) << TAG_SHIFT |
				 ((i - 1) / WAYS & ((UINT64_C(1) << TAG_SHIFT) - 1));

		if (slot)
			put(&more, value, slot);
	}
	world_dealloc(w, old.slots, old.room * sizeof(*old.slots));
	*w->placed = more;
}

static bool is_noted(const struct nbds_op *op, uint64_t sector)
{
	return (sector % BLOCK_SECTORS == 0 || sector == op->offset / NBDS_SECTOR) &&
	       sector < (UINT64_C(1) << SECTOR_BITS) - 1;
}

void placed_soon(const struct nbds_world *w, uint64_t value)
{
	if (w->placed->room)
		__builtin_prefetch(set_of(w->placed, value), 1);
}

void placed_note(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value)
{
	if (!is_noted(op, sector) || value == w->zero_value || !op->request_frame)
		return;
	if (w->placed->count >= w->placed->room / 2)
		grow(w);
	if (w->placed->room)
		put(w->placed, value, tag_of(value) << SECTOR_BITS | (sector + 1));
}

void placed_forget(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value)
{
	uint64_t *at = w->placed->room && is_noted(op, sector) ? set_of(w->placed, value) : NULL;
	/* the others are not known of one that slept */
	uint64_t known = tag_of(coarse_value(UINT64_MAX));

	for (unsigned i = 0; at && i < WAYS; i++) {
		if (!at[i] || sector_in(at[i]) != sector ||
		    ((tag_in(at[i]) ^ tag_of(value)) & known))
			continue;
		at[i] = 0;
		w->placed->count--;
	}
}

bool placed_find(const struct nbds_world *w, uint64_t sector, uint64_t value, uint64_t *elsewhere)
{
	const uint64_t *at;

	if (!w->placed->room)
		return false;
	at = set_of(w->placed, value);
	for (unsigned i = 0; i < WAYS; i++) {
		if (!at[i] || tag_in(at[i]) != tag_of(value) || sector_in(at[i]) == sector)
			continue;
		*elsewhere = sector_in(at[i]);
		return true;
	}
	return false;
}

void placed_drop(struct nbds_world *w)
{
	world_dealloc(w, w->placed->slots, w->placed->room * sizeof(*w->placed->slots));
	*w->placed = (struct placed){0};
}
