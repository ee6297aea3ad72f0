/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * search.c - where records go on after bytes that are missing.
 *
 * A record authenticates under its own number and no other: whatever looks like a header
 * is tried as the next record, under each number that it may have.
 *
 *	number of the last record opened ──► + 1 ... + as many as fit into what is missing
 *
 * TLS 1.2 with an explicit nonce is quicker: those who write it count it up with the
 * number, so that the difference between two nonces is that between the numbers.  The
 * record still has to authenticate under it.
 *
 * How many bytes are tried in all is bounded: CREDIT, and as many as were opened.
 */
#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "internal.h"

#define CREDIT ((uint64_t)4 << 20)

/* The smallest record that has anything in it: header, tag of eight bytes, a byte. */
#define RECORD_LEAST (RECORD_HEADER + 8 + 1)

/* Numbers that are tried of one record. */
#define NUMBERS_MOST 1024u
/* The same under keys that may have begun meanwhile. */
#define NEXT_STAGE_MOST 16u

bool record_header(const struct nbds_tls_session *s, const struct tls_direction *d,
		   const uint8_t *p, size_t *len)
{
	size_t most = RECORD_MOST;

	*len = nbds_be16(p + 3);
	if (p[0] < RECORD_CCS || p[0] > RECORD_DATA || p[1] != 3 || p[2] > 4)
		return false;
	if (s->facts.version == TLS_1_3 && d->stage != STAGE_PLAIN)
		most = RECORD_MOST_1_3;
	return *len <= most;
}

void search_begin(struct nbds_tls_session *s, struct tls_direction *d, uint64_t bytes)
{
	(void)s;
	if (!d->credit)
		d->credit = CREDIT;
	d->searching = true;
	d->passed += bytes;
}

static bool try_number(struct nbds_tls_session *s, struct tls_direction *d, uint64_t number,
		       const uint8_t *record, size_t len, size_t *plain_len, uint8_t *type)
{
	return cipher_open(&d->cipher, number, record, len, s->reader->plain, plain_len, type);
}

static bool explicit_nonce(const struct tls_direction *d)
{
	return d->cipher.suite->version == TLS_1_2 &&
	       (d->cipher.suite->mode == SUITE_GCM || d->cipher.suite->mode == SUITE_CCM);
}

static bool spend(struct tls_direction *d, size_t len)
{
	if (d->credit < len) {
		d->credit = 0;
		return false;
	}
	d->credit -= len;
	return true;
}

/* The number that it has: after `d->passed` bytes that may have been records. */
static bool find_number(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *record,
			size_t len, size_t *plain_len, uint8_t *type, uint64_t *number)
{
	uint64_t most = d->passed / RECORD_LEAST + 1;

	if (explicit_nonce(d) && len >= RECORD_HEADER + 8 && d->nonce_seen) {
		uint64_t ahead = nbds_be64(record + RECORD_HEADER) - d->nonce;

		*number = d->nonce_sequence + ahead;
		if (ahead && ahead <= most + 1 && spend(d, len) &&
		    try_number(s, d, *number, record, len, plain_len, type))
			return true;
	}
	if (most > NUMBERS_MOST)
		most = NUMBERS_MOST;
	for (uint64_t i = 0; i <= most; i++) {
		if (!spend(d, len))
			return false;
		*number = d->sequence + i;
		if (try_number(s, d, *number, record, len, plain_len, type))
			return true;
	}
	return false;
}

/* 1.3: what is missing may have the Finished in it, so that it is a record of the next
 * stage. */
static bool find_stage(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *record,
		       size_t len, size_t *plain_len, uint8_t *type, uint64_t *number)
{
	struct cipher before = d->cipher;
	const struct keylog_entry *e;
	enum keylog_label label = KEYLOG_CLIENT_TRAFFIC + d->side;

	if (d->stage != STAGE_HANDSHAKE)
		return false;
	e = keylog_find(&s->reader->keys, s->facts.client_random);
	if (!e || e->len[label] != suite_hash(s->suite))
		return false;
	d->cipher = (struct cipher){0};
	if (cipher_keys_1_3(&d->cipher, s->suite, e->secret[label])) {
		for (*number = 0; *number <= NEXT_STAGE_MOST && spend(d, len); ++*number) {
			if (!try_number(s, d, *number, record, len, plain_len, type))
				continue;
			cipher_close(&before);
			memcpy(d->secret, e->secret[label], e->len[label]);
			d->stage = STAGE_TRAFFIC;
			handshake_forget(s, d);
			return true;
		}
	}
	cipher_close(&d->cipher);
	d->cipher = before;
	return false;
}

bool search_open(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *record,
		 size_t len, size_t *plain_len, uint8_t *type)
{
	uint64_t number = d->sequence;

	if (d->searching ? !find_number(s, d, record, len, plain_len, type, &number) &&
				   !find_stage(s, d, record, len, plain_len, type, &number)
			 : !try_number(s, d, number, record, len, plain_len, type))
		return false;
	d->sequence = number + 1;
	d->passed = 0;
	if (d->credit && d->credit < CREDIT)
		d->credit += len;
	if (explicit_nonce(d)) {
		d->nonce = nbds_be64(record + RECORD_HEADER);
		d->nonce_sequence = number;
		d->nonce_seen = true;
	}
	return true;
}

/* As much of what is kept as cannot begin a record any more. */
static void drop(struct tls_direction *d, size_t n)
{
	NBDS_ASSERT(n <= d->have);
	memmove(d->record, d->record + n, d->have - n);
	d->have -= n;
	d->start += n;
	d->passed += n;
}

/* Bytes that no record begins with. */
static size_t senseless(const struct nbds_tls_session *s, const struct tls_direction *d,
			size_t from)
{
	size_t at = from, body;

	for (; at < d->have; at++) {
		const uint8_t *p = d->record + at;
		size_t left = d->have - at;

		/* what is looked for is encrypted */
		if (p[0] < RECORD_ALERT || p[0] > RECORD_DATA || (left > 1 && p[1] != 3) ||
		    (left > 2 && p[2] != (uint8_t)TLS_1_2))
			continue;
		if (left < RECORD_HEADER || record_header(s, d, p, &body))
			break;
	}
	return at;
}

static void gave_up(struct nbds_tls_session *s, struct tls_direction *d)
{
	direction_failed(s, d, d->gone ? NBDS_TLS_LOST : NBDS_TLS_DAMAGED);
}

/* What is kept begins with a header, perhaps: it is none, or it is not known yet, or it is that
 * of a record, which was opened. */
enum sight { PASS, MORE, FOUND };

static enum sight look(struct nbds_tls_session *s, struct tls_direction *d)
{
	size_t body, whole, plain_len;
	uint8_t type;

	if (d->have < RECORD_HEADER)
		return MORE;
	if (!record_header(s, d, d->record, &body))
		return PASS;
	whole = RECORD_HEADER + body;
	if (d->have < whole)
		return MORE;
	if (!search_open(s, d, d->record, whole, &plain_len, &type)) {
		if (d->credit)
			return PASS;
		gave_up(s, d);
		return MORE;
	}
	d->searching = d->told = false;
	d->sought = 0;
	d->opened = true;
	session_inside(s, d, type, s->reader->plain, plain_len, d->start + whole);
	if (d->why > NBDS_TLS_WAITS)
		return FOUND;
	d->have -= whole;
	memmove(d->record, d->record + whole, d->have);
	d->start += whole;
	return FOUND;
}

void search_kept(struct nbds_tls_session *s, struct tls_direction *d)
{
	if (!d->cipher.suite) {
		gave_up(s, d);
		return;
	}
	drop(d, senseless(s, d, 0));
	while (d->searching && d->why <= NBDS_TLS_WAITS && look(s, d) == PASS)
		drop(d, senseless(s, d, 1));
}

void search_end(struct nbds_tls_session *s, struct tls_direction *d)
{
	/* where nothing came after what is missing, nothing else is */
	if (d->searching && d->sought)
		gave_up(s, d);
}

size_t search_bytes(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *data,
		    size_t len)
{
	const size_t room = RECORD_HEADER + RECORD_MOST;
	size_t n;

	if (d->room < room) {
		uint8_t *larger = nbds_budget_realloc(s->budget, d->record, d->room, room);

		if (!larger) {
			direction_failed(s, d, NBDS_TLS_MEMORY);
			return len;
		}
		d->record = larger;
		d->room = room;
	}
	NBDS_ASSERT(d->have < room);
	n = len < room - d->have ? len : room - d->have;
	memcpy(d->record + d->have, data, n);
	d->have += n;
	d->sought += n;
	search_kept(s, d);
	return n;
}
