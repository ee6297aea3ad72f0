/* SPDX-License-Identifier: GPL-2.0-or-later */
/* records.c - sessions: bytes to records, and what becomes of these. See tls.h. */
#include "tls.h"

#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

#include "internal.h"

void direction_failed(struct nbds_tls_session *s, struct tls_direction *d, enum nbds_tls_why why)
{
	if (d->why > NBDS_TLS_WAITS)
		return;
	d->why = why;
	nbds_budget_free(s->budget, d->record, d->room);
	d->record = NULL;
	d->room = 0;
	handshake_forget(s, d);
	cipher_close(&d->cipher);
	explicit_bzero(d->secret, sizeof(d->secret));
}

void session_failed(struct nbds_tls_session *s, enum nbds_tls_why why)
{
	direction_failed(s, &s->dir[NBDS_CLIENT], why);
	direction_failed(s, &s->dir[NBDS_SERVER], why);
}

/* Under which keys the next record of the direction is, if they change after this one. */
static void next_keys(struct nbds_tls_session *s, struct tls_direction *d)
{
	if (d->next_stage) {
		cipher_close(&d->cipher);
		d->stage = STAGE_TRAFFIC;
		d->sequence = 0;
	} else if (d->next_secret) {
		d->sequence = 0;
		if (!cipher_next_secret(s->suite, d->secret) ||
		    !cipher_keys_1_3(&d->cipher, s->suite, d->secret))
			direction_failed(s, d, NBDS_TLS_MEMORY);
	}
	d->next_stage = d->next_secret = false;
}

void session_inside(struct nbds_tls_session *s, struct tls_direction *d, uint8_t type,
		    const uint8_t *plain, size_t len, uint64_t end)
{
	enum outcome out;

	switch (type) {
	case RECORD_DATA:
		if (len)
			s->sink.data(s->ctx, d->side, plain, len, d->start, end);
		break;
	case RECORD_HANDSHAKE:
		handshake_bytes(s, d, plain, len);
		next_keys(s, d);
		break;
	case RECORD_CCS: /* 1.2, agreed on once more: keys of this session are there */
		if (s->facts.version == TLS_1_2 && !handshake_change(s, d, &out) && out == WAIT)
			session_failed(s, NBDS_TLS_NO_KEY);
		break;
	}
}

/* A record that does not authenticate under keys that have opened others, or of which
 * bytes are missing before. */
static void damaged(struct nbds_tls_session *s, struct tls_direction *d, size_t len)
{
	uint64_t end = d->start + len;

	if (!d->told)
		s->sink.lost(s->ctx, d->side, len, false, end);
	d->told = true;
	search_begin(s, d, len);
}

static enum outcome open_record(struct nbds_tls_session *s, struct tls_direction *d,
				const uint8_t *record, size_t len)
{
	size_t plain_len;
	uint8_t type;

	if (search_open(s, d, record, len, &plain_len, &type)) {
		d->opened = true;
		d->told = false;
		session_inside(s, d, type, s->reader->plain, plain_len, d->start + len);
		explicit_bzero(s->reader->plain, type == RECORD_HANDSHAKE ? plain_len : 0);
		return DONE;
	}
	if (d->side == NBDS_CLIENT && d->stage == STAGE_HANDSHAKE && !d->opened &&
	    d->early < EARLY_MOST) {
		const struct keylog_entry *e =
			keylog_find(&s->reader->keys, s->facts.client_random);

		if (e && e->early) {
			d->early += len;
			s->sink.lost(s->ctx, d->side, len, false, d->start + len);
			return DONE;
		}
	}
	if (d->opened || d->gone)
		damaged(s, d, len);
	else
		session_failed(s, d->holed || s->dir[!d->side].holed ? NBDS_TLS_NO_HANDSHAKE
								     : NBDS_TLS_WRONG_KEY);
	return DONE;
}

/* A whole record, header and all. */
static enum outcome take_record(struct nbds_tls_session *s, struct tls_direction *d,
				const uint8_t *record, size_t len)
{
	uint8_t type = record[0];
	enum outcome out = DONE;

	if (d->cipher.suite && s->facts.version == TLS_1_2)
		return open_record(s, d, record, len);
	switch (type) {
	case RECORD_HANDSHAKE:
		if (d->stage == STAGE_PLAIN)
			handshake_bytes(s, d, record + RECORD_HEADER, len - RECORD_HEADER);
		return DONE;
	case RECORD_ALERT:
		return DONE;
	case RECORD_CCS:
	case RECORD_DATA:
		break;
	}
	if (type == RECORD_CCS && s->facts.version == TLS_1_3)
		return DONE; /* for the sake of boxes in between (RFC 8446, D.4) */
	/* Which version it is, the server says. */
	if (!s->hello) {
		if (!s->hurried && !s->dir[NBDS_SERVER].holed &&
		    s->dir[NBDS_SERVER].why <= NBDS_TLS_WAITS && d->side == NBDS_CLIENT)
			return WAIT;
		session_failed(s, NBDS_TLS_NO_HANDSHAKE);
		return DONE;
	}
	if (s->facts.version == TLS_1_2) {
		if (type == RECORD_CCS)
			handshake_change(s, d, &out);
		else
			session_failed(s, NBDS_TLS_NO_HANDSHAKE); /* its change was not seen */
		return out;
	}
	if (d->stage == STAGE_PLAIN) {
		d->stage = STAGE_HANDSHAKE;
		handshake_forget(s, d);
	}
	if (!d->cipher.suite && !handshake_keys(s, d, &out))
		return out;
	return open_record(s, d, record, len);
}

/* --- bytes to records --- */

/* Room for `size` bytes that are there, of `most`: what a length only says allocates nothing. */
static bool room_for(struct nbds_tls_session *s, struct tls_direction *d, size_t size, size_t most)
{
	uint8_t *larger;

	if (size <= d->room)
		return true;
	if (size < 2 * d->room)
		size = 2 * d->room < most ? 2 * d->room : most;
	larger = nbds_budget_realloc(s->budget, d->record, d->room, size);
	if (!larger) {
		direction_failed(s, d, NBDS_TLS_MEMORY);
		return false;
	}
	d->record = larger;
	d->room = size;
	return true;
}

/* What begins here is no record. */
static void no_record(struct nbds_tls_session *s, struct tls_direction *d)
{
	if (d->opened || d->gone) {
		if (!d->told)
			s->sink.lost(s->ctx, d->side, RECORD_HEADER, false, d->start);
		d->told = true;
		search_begin(s, d, 0);
	} else {
		session_failed(s, NBDS_TLS_NO_RECORD);
	}
}

/* A search ended, and kept more than the record that it found. */
static void kept_records(struct nbds_tls_session *s, struct tls_direction *d)
{
	while (d->why <= NBDS_TLS_WAITS && d->have >= RECORD_HEADER) {
		size_t body, whole;

		if (!d->searching && !record_header(s, d, d->record, &body))
			no_record(s, d);
		if (d->searching) {
			search_kept(s, d);
			if (d->searching)
				return;
			continue;
		}
		whole = RECORD_HEADER + body;
		if (d->have < whole)
			return;
		if (take_record(s, d, d->record, whole) == WAIT)
			session_failed(s, NBDS_TLS_NO_KEY);
		if (d->why > NBDS_TLS_WAITS)
			return;
		d->have -= whole;
		memmove(d->record, d->record + whole, d->have);
		d->start += whole;
	}
}

/* The next record, or what there is of it. Returns how much of the bytes was taken; *out
 * is WAIT if no more of them may be. */
static size_t step(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *data,
		   size_t len, enum outcome *out)
{
	size_t body, whole, n;

	if (d->skip) {
		n = d->skip < len ? (size_t)d->skip : len;
		d->skip -= n;
		d->start += n;
		return n;
	}
	if (d->searching) {
		n = search_bytes(s, d, data, len);
		if (!d->searching)
			kept_records(s, d);
		return n;
	}
	/* a header first, gathered if it is in pieces */
	if (d->have < RECORD_HEADER && (d->have || len < RECORD_HEADER)) {
		n = RECORD_HEADER - d->have < len ? RECORD_HEADER - d->have : len;
		if (!room_for(s, d, RECORD_HEADER, RECORD_HEADER))
			return len;
		memcpy(d->record + d->have, data, n);
		if (d->have + n < RECORD_HEADER) {
			d->have += n;
			return n;
		}
		/* what it says is seen at once, be it nonsense or the whole record */
		if (!record_header(s, d, d->record, &body)) {
			d->have += n;
			no_record(s, d);
			if (d->searching)
				search_kept(s, d);
			return n;
		}
		if (body) {
			d->have += n;
			return n;
		}
	}
	if (!record_header(s, d, d->have ? d->record : data, &body)) {
		no_record(s, d);
		return d->searching ? 0 : len;
	}
	whole = RECORD_HEADER + body;
	if (!d->have && len >= whole) {
		*out = take_record(s, d, data, whole);
		if (*out == WAIT)
			return 0;
		d->start += whole;
		return whole;
	}
	n = whole - d->have < len ? whole - d->have : len;
	if (!room_for(s, d, d->have + n, whole))
		return len;
	memcpy(d->record + d->have, data, n);
	if (d->have + n == whole) {
		*out = take_record(s, d, d->record, whole);
		if (*out == WAIT)
			return 0; /* the rest of it comes again */
		d->start += whole;
		d->have = 0;
		return n;
	}
	d->have += n;
	return n;
}

static size_t session_data(struct nbds_tls_session *s, enum nbds_side from, const uint8_t *data,
			   size_t len)
{
	struct tls_direction *d = &s->dir[from];
	size_t at = 0;

	while (at < len && d->why <= NBDS_TLS_WAITS) {
		enum outcome out = DONE;

		at += step(s, d, data + at, len - at, &out);
		if (d->why > NBDS_TLS_WAITS)
			break;
		d->why = out == WAIT ? NBDS_TLS_WAITS : NBDS_TLS_READ;
		if (out == WAIT)
			return at;
	}
	return len;
}

/* --- missing bytes --- */

/* Part of the record that is coming is missing, and no more than that: as it began, it
 * ends. */
static uint64_t gap_in_record(struct nbds_tls_session *s, struct tls_direction *d, uint64_t len)
{
	size_t body, whole;
	uint64_t left, inside;
	bool exact, data;

	if (d->have < RECORD_HEADER || !record_header(s, d, d->record, &body))
		return len;
	whole = RECORD_HEADER + body;
	left = whole - d->have;
	if (len > left)
		return len;
	inside = cipher_inside(&d->cipher, body, &exact);
	data = d->record[0] == RECORD_DATA;
	if (d->stage == STAGE_PLAIN || (d->record[0] == RECORD_HANDSHAKE))
		handshake_lost(s, d);
	if (data && d->cipher.suite)
		s->sink.lost(s->ctx, d->side, inside, exact, d->start + whole);
	d->sequence += d->cipher.suite != NULL;
	d->start += d->have + len;
	d->have = 0;
	d->skip = left - len;
	return 0;
}

static void session_gap(struct nbds_tls_session *s, enum nbds_side from, uint64_t len)
{
	struct tls_direction *d = &s->dir[from];

	if (d->why > NBDS_TLS_WAITS || !len)
		return;
	d->gone = true;
	if (d->skip) {
		uint64_t n = d->skip < len ? d->skip : len;

		d->skip -= n;
		d->start += n;
		len -= n;
	} else if (!d->searching && d->have) {
		len = gap_in_record(s, d, len);
	}
	if (!len)
		return;
	if (!d->cipher.suite && d->stage != STAGE_TRAFFIC && d->stage != STAGE_HANDSHAKE) {
		/* where the handshake goes on is not known */
		d->holed = true;
		session_failed(s, NBDS_TLS_NO_HANDSHAKE);
		return;
	}
	if (!d->told)
		s->sink.lost(s->ctx, from, len, false, d->start + d->have + len);
	d->told = true;
	handshake_forget(s, d);
	d->start += len;
	search_begin(s, d, d->have + len);
	d->start += d->have;
	d->have = 0;
}

/* --- the outside --- */

static struct nbds_tls_session *session_open(struct nbds_tls_reader *reader,
					     struct nbds_budget *budget,
					     const struct nbds_tls_sink *sink, void *ctx)
{
	struct nbds_tls_session *s = nbds_budget_alloc(budget, sizeof(*s));

	if (!s)
		return NULL;
	nbds_budget_take(budget, 2 * CIPHER_MEMORY);
	s->reader = (struct tls_reader *)reader;
	s->budget = budget;
	s->sink = *sink;
	s->ctx = ctx;
	s->dir[NBDS_SERVER].side = NBDS_SERVER;
	return s;
}

static void session_close(struct nbds_tls_session *s)
{
	session_failed(s, NBDS_TLS_LOST); /* which gives everything back */
	cipher_close(&s->pending[0]);
	cipher_close(&s->pending[1]);
	nbds_budget_give(s->budget, 2 * CIPHER_MEMORY);
	nbds_budget_free(s->budget, s, sizeof(*s));
}

static void session_hurry(struct nbds_tls_session *s)
{
	s->hurried = true;
}

static void session_finish(struct nbds_tls_session *s)
{
	search_end(s, &s->dir[NBDS_CLIENT]);
	search_end(s, &s->dir[NBDS_SERVER]);
}

static enum nbds_tls_why session_why(const struct nbds_tls_session *s, enum nbds_side from)
{
	return s->dir[from].why;
}

static void session_facts(const struct nbds_tls_session *s, struct nbds_tls_facts *facts)
{
	*facts = s->facts;
}

static uint64_t session_begun(const struct nbds_tls_session *s, enum nbds_side from)
{
	return s->dir[from].start;
}

const struct nbds_tls_reader nbds_tls_sessions = {
	.open = session_open,
	.close = session_close,
	.data = session_data,
	.gap = session_gap,
	.hurry = session_hurry,
	.finish = session_finish,
	.why = session_why,
	.facts = session_facts,
	.begun = session_begun,
};
