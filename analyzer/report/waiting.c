/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * waiting.c - lines that wait until it is known how a message ends. See waiting.h.
 */
#include "waiting.h"

#include <stdlib.h>
#include <string.h>

#include <base/assert.h>

#define BYTES_MAX ((size_t)4 << 20)

struct nbds_waiting_line {
	struct nbds_waiting_line *next;
	size_t len, broken_len; /* text: the line, then the one if it is broken off */
	bool waits, broken;
	bool gone; /* printed before its end was known */
	char text[];
};

static void print(struct nbds_waiting *w, const struct nbds_waiting_line *l)
{
	if (l->broken)
		w->print(w->ctx, l->text + l->len, l->broken_len);
	else
		w->print(w->ctx, l->text, l->len);
}

/* Prints the first. One that still waits lives on until its end. */
static void take(struct nbds_waiting *w)
{
	struct nbds_waiting_line *l = w->first;

	w->first = l->next;
	if (!w->first)
		w->last = NULL;
	NBDS_ASSERT(w->bytes >= sizeof(*l) + l->len + l->broken_len);
	w->bytes -= sizeof(*l) + l->len + l->broken_len;
	print(w, l);
	if (l->waits)
		l->gone = true;
	else
		free(l);
}

struct nbds_waiting_line *nbds_waiting_add(struct nbds_waiting *w, const char *line, size_t len,
					   const char *broken, size_t broken_len)
{
	struct nbds_waiting_line *l;

	if (!w->first && !broken) {
		w->print(w->ctx, line, len);
		return NULL;
	}
	l = malloc(sizeof(*l) + len + broken_len);
	if (!l) {
		while (w->first)
			take(w);
		w->print(w->ctx, line, len);
		return NULL;
	}
	*l = (struct nbds_waiting_line){
		.len = len, .broken_len = broken_len, .waits = broken != NULL};
	memcpy(l->text, line, len);
	if (broken)
		memcpy(l->text + len, broken, broken_len);
	if (w->last)
		w->last->next = l;
	else
		w->first = l;
	w->last = l;
	w->bytes += sizeof(*l) + len + broken_len;
	while (w->bytes > BYTES_MAX)
		take(w);
	return l->waits ? l : NULL;
}

void nbds_waiting_end(struct nbds_waiting *w, struct nbds_waiting_line *line, bool broken)
{
	line->waits = false;
	line->broken = broken;
	if (line->gone) {
		free(line);
		return;
	}
	while (w->first && !w->first->waits)
		take(w);
}

void nbds_waiting_finish(struct nbds_waiting *w)
{
	while (w->first)
		take(w);
}
