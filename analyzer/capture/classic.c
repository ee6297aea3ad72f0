/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * classic.c - the records of a classic capture file. See classic.h.
 *
 * Behind the file's header, records follow each other without padding:
 *
 *	seconds (4)  micro- or nanoseconds (4)  captured length (4)  length (4)  bytes
 *
 * all in the byte order of who wrote the file.  The buffer is filled with as much as
 * there is room for; a record that is not whole at its end is moved to its beginning
 * first, which is one of some twenty packets of 64 KiB.
 *
 * Why not by mapping the file: mapped whole it takes some 60 ms a GB less than reading
 * (on one machine, with the file in memory; 90 against 150), and libpcap 310.  But
 * a mapped file that somebody makes shorter, or that cannot be read from its disk, is
 * a signal in the middle of a decoder; reading knows both as what they are, and
 * does the same for pipes and for files that are decompressed.
 */
#include "classic.h"
#include <base/assert.h>
#include <base/bytes.h>

#include <pcap/dlt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_SIZE = NBDS_CLASSIC_BUFFER, RECORD_HEADER = 16 };

_Static_assert(BUFFER_SIZE >= RECORD_HEADER + NBDS_CLASSIC_CAPLEN_MAX, "a packet must fit");

/* Read in the byte order of the file. */
#define MAGIC_MICRO 0xa1b2c3d4u
#define MAGIC_NANO  0xa1b23c4du

enum classic_trouble { NONE, CUT, DAMAGED, SOURCE };

struct nbds_classic {
	struct nbds_source *source;
	uint8_t *buffer;                  /* lent, if there is `lend` */
	uint8_t *(*lend)(void *lend_ctx); /* or NULL */
	void *lend_ctx;
	size_t at, length;
	uint64_t begin; /* bytes of the file before those in the buffer */
	uint32_t snaplen;
	uint32_t unit; /* nanoseconds of the smaller part of a time */
	int linktype;
	bool big;
	enum classic_trouble trouble;
	char error[160];
};

static uint32_t get32(bool big, const uint8_t *p)
{
	uint32_t v = nbds_be32(p);

	return big ? v : __builtin_bswap32(v);
}

static uint32_t get16(bool big, const uint8_t *p)
{
	uint16_t v = nbds_be16(p);

	return big ? v : __builtin_bswap16(v);
}

static bool is_big(const uint8_t *header)
{
	uint32_t magic = nbds_be32(header);

	return magic == MAGIC_MICRO || magic == MAGIC_NANO;
}

static bool of_this_machine(bool big)
{
	return big == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

bool nbds_classic_reads(const uint8_t header[NBDS_CLASSIC_HEADER], int linktype)
{
	bool big = is_big(header);
	uint32_t magic = get32(big, header);

	if (magic != MAGIC_MICRO && magic != MAGIC_NANO)
		return false;
	/* Older versions have the two lengths the other way round, or either way. */
	if (get16(big, header + 4) != 2 || get16(big, header + 6) != 4)
		return false;
	switch (linktype) {
	case DLT_NULL:
	case DLT_EN10MB:
	case DLT_RAW:
	case DLT_LOOP:
	case DLT_IPV4:
	case DLT_IPV6:
		return true;
	case DLT_LINUX_SLL:
	case DLT_LINUX_SLL2:
		/* libpcap turns what packets of CAN have in the writer's order. */
		return of_this_machine(big);
	default:
		return false;
	}
}

struct nbds_classic *nbds_classic_new(struct nbds_source *source,
				      const uint8_t header[NBDS_CLASSIC_HEADER], int linktype,
				      uint32_t snaplen)
{
	struct nbds_classic *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->source = source;
	r->big = is_big(header);
	r->unit = get32(r->big, header) == MAGIC_NANO ? 1 : 1000;
	r->linktype = linktype;
	r->snaplen = snaplen;
	r->begin = NBDS_CLASSIC_HEADER;
	r->buffer = malloc(BUFFER_SIZE);
	if (!r->buffer) {
		free(r);
		return NULL;
	}
	return r;
}

void nbds_classic_free(struct nbds_classic *r)
{
	if (!r)
		return;
	if (!r->lend)
		free(r->buffer);
	free(r);
}

void nbds_classic_lend(struct nbds_classic *r, uint8_t *(*lend)(void *ctx), void *ctx)
{
	NBDS_ASSERT(!r->lend && !r->length);
	free(r->buffer);
	r->buffer = NULL;
	r->lend = lend;
	r->lend_ctx = ctx;
}

/* What is left in the buffer goes to the beginning of this one, or of the next one. */
static bool make_room(struct nbds_classic *r)
{
	uint8_t *to = r->lend ? r->lend(r->lend_ctx) : r->buffer;

	if (!to)
		return false;
	r->length -= r->at;
	if (r->length)
		memmove(to, r->buffer + r->at, r->length);
	r->buffer = to;
	r->begin += r->at;
	r->at = 0;
	return true;
}

/* At least `count` bytes at r->at. 1; 0 if the file has fewer; -1: error. */
static int need(struct nbds_classic *r, size_t count)
{
	NBDS_ASSERT(count <= BUFFER_SIZE);
	if (r->length - r->at >= count)
		return 1;
	if (!make_room(r))
		return -1;
	/* Who lends is a thread that shall have much to do at a time; else what is there is
	 * handed out first. */
	while (r->length < (r->lend ? (size_t)BUFFER_SIZE : count)) {
		ssize_t got =
			nbds_source_read(r->source, r->buffer + r->length, BUFFER_SIZE - r->length);

		if (got <= 0 && r->length < count)
			return (int)got;
		if (got <= 0)
			break; /* it will say so again */
		r->length += (size_t)got;
	}
	return 1;
}

/* The file has no `count` bytes more: `result` is why, as of need(). */
static int no_more(struct nbds_classic *r, int result)
{
	if (result == 0 && r->length == r->at)
		return 0;
	r->trouble = result == 0 ? CUT : SOURCE;
	snprintf(r->error, sizeof(r->error), "%s",
		 result == 0 ? "the file ends in the middle of a packet"
			     : nbds_source_error(r->source));
	return -1;
}

int nbds_classic_next(struct nbds_classic *r, struct nbds_packet *p)
{
	const uint8_t *record;
	uint32_t caplen;
	int result = need(r, RECORD_HEADER);

	if (result <= 0)
		return no_more(r, result);
	caplen = get32(r->big, r->buffer + r->at + 8);
	if (caplen > NBDS_CLASSIC_CAPLEN_MAX) {
		r->trouble = DAMAGED;
		snprintf(r->error, sizeof(r->error),
			 "invalid packet capture length %u, bigger than %s of %u", caplen,
			 caplen > r->snaplen ? "snaplen" : "maximum",
			 caplen > r->snaplen ? r->snaplen : NBDS_CLASSIC_CAPLEN_MAX);
		return -1;
	}
	result = need(r, RECORD_HEADER + caplen);
	if (result <= 0)
		return no_more(r, result);
	record = r->buffer + r->at;
	r->at += RECORD_HEADER + caplen;
	/* Times are without sign, to the year 2106. */
	p->time = (int64_t)get32(r->big, record) * 1000000000 +
		  (int64_t)get32(r->big, record + 4) * r->unit;
	p->caplen = caplen < r->snaplen ? caplen : r->snaplen;
	p->len = get32(r->big, record + 12);
	p->interface = 0;
	p->linktype = r->linktype;
	p->data = record + RECORD_HEADER;
	return 1;
}

uint64_t nbds_classic_place(const struct nbds_classic *r, const uint8_t *bytes)
{
	uintptr_t into = (uintptr_t)bytes - (uintptr_t)r->buffer;

	return into < r->length ? r->begin + into : 0;
}

const char *nbds_classic_error(const struct nbds_classic *r)
{
	return r->error;
}

bool nbds_classic_cut_packet(const struct nbds_classic *r)
{
	return r->trouble == CUT;
}

bool nbds_classic_damaged(const struct nbds_classic *r)
{
	return r->trouble == DAMAGED;
}
