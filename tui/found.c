/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * found.c - the findings that are kept. See found.h.
 */
#include "found.h"

#include <stdlib.h>
#include <string.h>

#include <base/assert.h>

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

bool findings_open(struct findings *f, size_t max)
{
	f->list = calloc(max, sizeof(*f->list));
	f->max = max;
	return f->list;
}

void findings_clear(struct findings *f)
{
	while (f->count)
		found_unref(f->list[--f->count]);
}

void findings_close(struct findings *f)
{
	findings_clear(f);
	free(f->list);
	f->list = NULL;
}

/* Room for one more: the oldest of the lowest level goes. */
static void make_room(struct findings *f)
{
	size_t victim = 0;

	for (size_t i = 1; i < f->count; i++)
		if (f->list[i]->finding->severity < f->list[victim]->finding->severity)
			victim = i;
	found_unref(f->list[victim]);
	memmove(&f->list[victim], &f->list[victim + 1], (--f->count - victim) * sizeof(f->list[0]));
	f->forgotten++;
}

void findings_add(struct findings *f, const struct nbds_finding *finding, uint32_t export)
{
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
	if (f->count == f->max)
		make_room(f);
	f->list[f->count++] = found;
}
