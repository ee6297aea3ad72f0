/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ring.c - the packets of the last while. See ring.h.
 */
#include "ring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <base/assert.h>

#define LARGE_PAGE ((size_t)2 << 20)

/* Before the bytes of each. */
struct record {
	uint64_t frame;
	int64_t time;
	uint32_t caplen, len, interface;
	int linktype;
};

static size_t record_size(uint32_t caplen)
{
	return (sizeof(struct record) + caplen + 7) & ~(size_t)7;
}

void ring_open(struct packet_ring *r, size_t size)
{
	void *bytes = NULL;

	memset(r, 0, sizeof(*r));
	size &= ~(size_t)7;
	if (!size || posix_memalign(&bytes, LARGE_PAGE, size))
		return;
	/* All of it is written to, again and again: few large pages do. If there are none, small
	 * ones do as well. */
	(void)madvise(bytes, size, MADV_HUGEPAGE);
	r->bytes = bytes;
	r->size = size;
}

void ring_close(struct packet_ring *r)
{
	free(r->bytes);
	memset(r, 0, sizeof(*r));
}

static const struct record *record_at(const struct packet_ring *r, size_t place)
{
	NBDS_ASSERT(place + sizeof(struct record) <= r->size);
	return (const struct record *)(const void *)(r->bytes + place);
}

static void drop_oldest(struct packet_ring *r)
{
	r->oldest += record_size(record_at(r, r->oldest)->caplen);
	r->count--;
	/* Behind the last one it goes on at the beginning. */
	if (r->count && r->oldest == r->end)
		r->oldest = r->end = 0;
	if (!r->count)
		r->newest = r->oldest = r->end = 0;
}

/* True: there is room for so much at `newest`. */
static bool has_room(const struct packet_ring *r, size_t size)
{
	if (!r->count)
		return true;
	return r->end ? r->newest + size <= r->oldest : r->newest + size <= r->size;
}

void ring_add(struct packet_ring *r, const struct nbds_packet *p)
{
	size_t size = record_size(p->caplen);
	struct record head = {p->frame, p->time, p->caplen, p->len, p->interface, p->linktype};

	if (size > r->size) {
		r->count = 0;
		r->newest = r->oldest = r->end = 0;
		return;
	}
	while (!has_room(r, size)) {
		if (!r->end && r->oldest) {
			/* The rest behind the newest stays unused. */
			r->end = r->newest;
			r->newest = 0;
		} else {
			drop_oldest(r);
		}
	}
	memcpy(r->bytes + r->newest, &head, sizeof(head));
	memcpy(r->bytes + r->newest + sizeof(head), p->data, p->caplen);
	r->newest += size;
	r->count++;
	r->last_time = p->time;
	r->first_frame = record_at(r, r->oldest)->frame;
	r->first_time = record_at(r, r->oldest)->time;
}

bool ring_next(const struct packet_ring *r, uint64_t *at, size_t *place, struct nbds_packet *p)
{
	const struct record *head;

	if (*at >= r->count)
		return false;
	if (!*at)
		*place = r->oldest;
	else if (r->end && *place == r->end)
		*place = 0;
	head = record_at(r, *place);
	p->frame = head->frame;
	p->time = head->time;
	p->caplen = head->caplen;
	p->len = head->len;
	p->interface = head->interface;
	p->linktype = head->linktype;
	p->data = (const uint8_t *)(head + 1);
	*place += record_size(head->caplen);
	++*at;
	return true;
}
