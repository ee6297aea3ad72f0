/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * history.c - how an export fared over time. See history.h.
 */
#include "history.h"

#include <string.h>

#define SECOND_NS INT64_C(1000000000)
/* A file's first samples. */
#define FILE_NS INT64_C(100000)

void history_init(struct history *h, bool moves)
{
	memset(h, 0, sizeof(*h));
	h->moves = moves;
	h->width = moves ? SECOND_NS : FILE_NS;
}

/* The time below which 99 of 100 replies of the last sample took. */
static uint64_t ninety_ninth(const struct history *h)
{
	uint64_t count = 0, seen = 0;

	for (unsigned i = 0; i < 128; i++)
		count += h->took[i];
	for (unsigned i = 0; count && i < 128; i++) {
		seen += h->took[i];
		/* The middle of its bin. */
		if (seen * 100 >= count * 99)
			return (UINT64_C(1) << i / 2) +
			       (i % 2 ? (UINT64_C(3) << i / 2) / 4 : (UINT64_C(1) << i / 2) / 4);
	}
	return 0;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void history_settle(struct history *h)
{
	if (h->count)
		h->samples[h->count - 1].p99 = most(h->samples[h->count - 1].p99, ninety_ninth(h));
}

static void merge(struct history_sample *to, const struct history_sample *from)
{
	to->read += from->read;
	to->written += from->written;
	to->replies += from->replies;
	to->p99 = most(to->p99, from->p99);
	to->unflushed = most(to->unflushed, from->unflushed);
	to->in_flight = (uint32_t)most(to->in_flight, from->in_flight);
}

/* Two become one. */
static void halve(struct history *h)
{
	for (unsigned i = 0; i < h->count; i++) {
		if (i % 2)
			merge(&h->samples[i / 2], &h->samples[i]);
		else
			h->samples[i / 2] = h->samples[i];
	}
	h->count = (h->count + 1) / 2;
	h->width *= 2;
}

static void shift(struct history *h, uint64_t by)
{
	unsigned n = by < h->count ? (unsigned)by : h->count;

	memmove(h->samples, h->samples + n, (h->count - n) * sizeof(h->samples[0]));
	h->count -= n;
	h->begin += (int64_t)by * h->width;
}

void history_tick(struct history *h, int64_t now, uint64_t in_flight, uint64_t unflushed)
{
	struct history_sample *s;
	uint64_t at;

	if (!h->begun) {
		h->begun = true;
		h->begin = now;
	}
	/* Time that goes back stays where it is. */
	at = now > h->begin ? ((uint64_t)now - (uint64_t)h->begin) / (uint64_t)h->width : 0;
	while (at >= HISTORY_SAMPLES) {
		if (h->moves) {
			shift(h, at - HISTORY_SAMPLES + 1);
			at = HISTORY_SAMPLES - 1;
		} else {
			history_settle(h);
			halve(h);
			at /= 2;
		}
	}
	if (at + 1 > h->count) {
		history_settle(h);
		memset(h->took, 0, sizeof(h->took));
	}
	while (h->count < at + 1) {
		s = &h->samples[h->count++];
		*s = (struct history_sample){
			.in_flight = in_flight < UINT32_MAX ? (uint32_t)in_flight : UINT32_MAX,
			.unflushed = unflushed,
		};
	}
	s = &h->samples[h->count - 1];
	s->in_flight =
		(uint32_t)most(s->in_flight, in_flight < UINT32_MAX ? in_flight : UINT32_MAX);
	s->unflushed = most(s->unflushed, unflushed);
}

void history_reply(struct history *h, uint64_t read, uint64_t written, uint64_t took)
{
	struct history_sample *s = h->count ? &h->samples[h->count - 1] : NULL;
	unsigned top;

	if (!s)
		return;
	s->read += read;
	s->written += written;
	s->replies++;
	top = took ? 63u - (unsigned)__builtin_clzll(took) : 0;
	h->took[top * 2 + (top ? took >> (top - 1) & 1 : 0)]++;
}

void history_touch(struct history *h, uint64_t size, uint64_t offset, uint64_t length, bool writes)
{
	uint64_t place = size / HISTORY_PLACES + (size % HISTORY_PLACES != 0), last;

	if (!length || offset >= size || length > size - offset)
		return;
	/* Another size: the places are others. */
	if (h->size != size) {
		memset(h->reads, 0, sizeof(h->reads));
		memset(h->writes, 0, sizeof(h->writes));
		h->size = size;
	}
	last = (offset + length - 1) / place;
	for (uint64_t i = offset / place; i <= last && i < HISTORY_PLACES; i++) {
		uint32_t *n = writes ? &h->writes[i] : &h->reads[i];

		*n += *n < UINT32_MAX;
	}
}
