/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * found.c - the findings that are kept. See found.h.
 */
#include "found.h"

#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/table.h>

void found_ref(struct found *found)
{
	found->refs++;
}

void found_unref(struct found *found)
{
	NBDS_ASSERT(found->refs);
	if (--found->refs)
		return;
	nbds_finding_free(found->finding);
	free(found);
}

void findings_open(struct found_all *f, size_t max)
{
	f->max = max;
	for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++)
		nbds_list_init(&f->levels[i].list);
}

static void drop_oldest(struct found_all *f, struct findings_level *level)
{
	struct found *found = nbds_owner(level->list.next, struct found, kept);

	nbds_list_remove(&found->kept);
	level->count--;
	f->count--;
	found_unref(found);
}

void findings_clear(struct found_all *f)
{
	for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++)
		while (f->levels[i].count)
			drop_oldest(f, &f->levels[i]);
}

void findings_close(struct found_all *f)
{
	findings_clear(f);
}

/* Room for one more: the oldest of the lowest level goes. */
static void make_room(struct found_all *f)
{
	for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++) {
		if (!f->levels[i].count)
			continue;
		drop_oldest(f, &f->levels[i]);
		f->forgotten++;
		return;
	}
}

void findings_add(struct found_all *f, const struct nbds_finding *finding, uint32_t export)
{
	struct findings_level *level = &f->levels[finding->severity];
	struct found *found = calloc(1, sizeof(*found));

	if (found)
		found->finding = nbds_finding_copy(finding);
	if (!found || !found->finding) {
		free(found);
		f->forgotten++;
		return;
	}
	found->refs = 1;
	found->number = ++f->numbers;
	found->export = export;
	if (f->count >= f->max)
		make_room(f);
	nbds_list_append(&level->list, &found->kept);
	level->count++;
	f->count++;
}

void findings_list(const struct found_all *f, struct found **list)
{
	const struct nbds_list *at[NBDS_VIOLATION + 1];

	for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++)
		at[i] = f->levels[i].list.next;
	for (size_t n = 0; n < f->count; n++) {
		int next = -1;

		for (int i = NBDS_NOTE; i <= NBDS_VIOLATION; i++) {
			struct found *found = nbds_owner(at[i], struct found, kept);

			if (at[i] == &f->levels[i].list ||
			    (next >= 0 && list[n]->number < found->number))
				continue;
			list[n] = found;
			next = i;
		}
		NBDS_ASSERT(next >= 0);
		at[next] = at[next]->next;
	}
}
