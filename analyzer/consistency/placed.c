/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where data was written to, by its value. See placed.h.
 */
#include "placed.h"

#define WAYS       4u
#define ROOM_FIRST 256u
/* The share of all memory that it may take. */
#define SHARE 64u

/* Values are hashes already. */
static struct placed_slot *slots_of(const struct placed *p, uint64_t value)
{
	return p->slots + (size_t)value % (p->room / WAYS) * WAYS;
}

static void put(struct placed *p, const struct placed_slot *s)
{
	struct placed_slot *at = slots_of(p, s->value), *oldest = at;

	for (unsigned i = 0; i < WAYS; i++) {
		if (!at[i].frame)
			p->count++;
		if (!at[i].frame || at[i].value == s->value) {
			at[i] = *s;
			return;
		}
		if (at[i].frame < oldest->frame)
			oldest = &at[i];
	}
	*oldest = *s;
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
	for (size_t i = 0; i < old.room; i++)
		if (old.slots[i].frame)
			put(&more, &old.slots[i]);
	world_dealloc(w, old.slots, old.room * sizeof(*old.slots));
	*w->placed = more;
}

static bool is_noted(const struct nbds_op *op, uint64_t sector)
{
	return sector % BLOCK_SECTORS == 0 || sector == op->offset / NBDS_SECTOR;
}

void placed_soon(const struct nbds_world *w, uint64_t value)
{
	if (w->placed->room)
		__builtin_prefetch(slots_of(w->placed, value), 1);
}

void placed_note(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value)
{
	struct placed_slot s = {value, sector, op->request_frame, op->party->id};

	if (!is_noted(op, sector) || value == w->zero_value || !op->request_frame)
		return;
	if (w->placed->count >= w->placed->room / 2)
		grow(w);
	if (w->placed->room)
		put(w->placed, &s);
}

void placed_forget(struct nbds_world *w, const struct nbds_op *op, uint64_t sector, uint64_t value)
{
	struct placed_slot *at =
		w->placed->room && is_noted(op, sector) ? slots_of(w->placed, value) : NULL;

	for (unsigned i = 0; at && i < WAYS; i++) {
		if (!at[i].frame || at[i].value != value || at[i].sector != sector)
			continue;
		at[i] = (struct placed_slot){0};
		w->placed->count--;
	}
}

const struct placed_slot *placed_find(const struct nbds_world *w, uint64_t sector, uint64_t value)
{
	const struct placed_slot *at;

	if (!w->placed->room)
		return NULL;
	at = slots_of(w->placed, value);
	for (unsigned i = 0; i < WAYS; i++)
		if (at[i].frame && at[i].value == value && at[i].sector != sector)
			return &at[i];
	return NULL;
}

void placed_drop(struct nbds_world *w)
{
	world_dealloc(w, w->placed->slots, w->placed->room * sizeof(*w->placed->slots));
	*w->placed = (struct placed){0};
}
