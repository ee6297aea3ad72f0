/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * transmission.c - requests, simple replies and chunks (proto.md,
 * "Transmission", "Structured reply types"; extended headers: the branch
 * extension-ext-header).
 *
 * Headers say by their magic which form they have, so every form is read in
 * every mode: whether it was allowed is for others to judge.
 */
#include "stream.h"

#include <inttypes.h>

/* Of requests with the same cookie, this many are looked at for the one that a
 * reply fits. */
#define SAME_COOKIE_MAX 8

/* The largest error that a simple reply may name while the feet are looked for.
 * Old servers sent errors of their own system. */
#define ERROR_PLAUSIBLE 4095u

/* Block status chunks are not longer than this (proto.md: 2^20 extents). */
#define EXTENTS_PLAUSIBLE (UINT64_C(16) << 20)

size_t nbds_request_len(uint32_t magic)
{
	return magic == NBD_REQUEST_MAGIC            ? NBDS_REQUEST_LEN
	       : magic == NBD_EXTENDED_REQUEST_MAGIC ? NBDS_EXTENDED_REQUEST_LEN
						     : 0;
}

size_t nbds_reply_len(uint32_t magic)
{
	switch (magic) {
	case NBD_SIMPLE_REPLY_MAGIC:
		return NBDS_SIMPLE_REPLY_LEN;
	case NBD_STRUCTURED_REPLY_MAGIC:
		return NBDS_CHUNK_LEN;
	case NBD_EXTENDED_REPLY_MAGIC:
		return NBDS_EXTENDED_CHUNK_LEN;
	default:
		return 0;
	}
}

void nbds_request_parse(const uint8_t *p, struct nbds_request_head *h)
{
	h->extended = nbds_be32(p) == NBD_EXTENDED_REQUEST_MAGIC;
	h->flags = nbds_be16(p + 4);
	h->type = nbds_be16(p + 6);
	h->cookie = nbds_be64(p + 8);
	h->offset = nbds_be64(p + 16);
	h->length = h->extended ? nbds_be64(p + 24) : nbds_be32(p + 24);
	h->len = h->extended ? NBDS_EXTENDED_REQUEST_LEN : NBDS_REQUEST_LEN;
	h->want = h->len;
	if (h->extended && h->type == NBD_CMD_WRITE && !(h->flags & NBD_CMD_FLAG_PAYLOAD_LEN))
		/* Without the flag there should be no payload and the length be of
		 * the effect; qemu's client forgets the flag, not the payload. */
		h->payload = h->length <= NBDS_PAYLOAD_PLAUSIBLE ? h->length : 0;
	else if (h->extended)
		h->payload = h->flags & NBD_CMD_FLAG_PAYLOAD_LEN ? h->length : 0;
	else
		h->payload = h->type == NBD_CMD_WRITE ? h->length : 0;
	if (h->type == NBD_CMD_BLOCK_STATUS)
		h->want += (uint8_t)nbds_min(h->payload, 8);
}

void nbds_reply_parse(const uint8_t *p, struct nbds_reply_head *h)
{
	uint64_t more;

	h->magic = nbds_be32(p);
	h->len = (uint8_t)nbds_reply_len(h->magic);
	h->cookie = nbds_be64(p + 8);
	h->offset = 0;
	if (h->magic == NBD_SIMPLE_REPLY_MAGIC) {
		h->error = nbds_be32(p + 4);
		h->flags = h->type = 0;
		h->length = 0;
		h->final = true;
		h->want = h->len;
		return;
	}
	h->error = 0;
	h->flags = nbds_be16(p + 4);
	h->type = nbds_be16(p + 6);
	h->final = h->flags & NBD_REPLY_FLAG_DONE;
	if (h->magic == NBD_EXTENDED_REPLY_MAGIC) {
		h->offset = nbds_be64(p + 16);
		h->length = nbds_be64(p + 24);
	} else {
		h->length = nbds_be32(p + 16);
	}
	switch (h->type) {
	case NBD_REPLY_TYPE_OFFSET_DATA:
		more = 8;
		break;
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		more = 12;
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
		more = 4;
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		more = 8;
		break;
	default:
		more = h->type & NBD_REPLY_TYPE_FLAG_ERROR ? NBDS_HEAD_MAX : 0;
		break;
	}
	h->want = h->len + nbds_min(h->length, more);
}

uint64_t nbds_reply_payload(const struct nbds_reply_head *h, const struct nbds_request *r)
{
	if (h->magic != NBD_SIMPLE_REPLY_MAGIC)
		return h->length;
	return r && r->type == NBD_CMD_READ && !h->error ? r->length : 0;
}

/* Is [at, at + n) inside [offset, offset + length)? */
static bool inside(uint64_t at, uint64_t n, uint64_t offset, uint64_t length)
{
	return at >= offset && at - offset <= length && n <= length - (at - offset);
}

bool nbds_reply_fits(const struct nbds_reply_head *h, const uint8_t *p, size_t n, uint16_t type,
		     bool extended, uint64_t offset, uint64_t length)
{
	uint64_t at;

	if (type == NBD_CMD_DISC)
		return false;
	if (h->magic == NBD_SIMPLE_REPLY_MAGIC)
		return !extended && h->error <= ERROR_PLAUSIBLE &&
		       (h->error || type != NBD_CMD_BLOCK_STATUS);
	if (extended != (h->magic == NBD_EXTENDED_REPLY_MAGIC) ||
	    (h->flags & ~NBD_REPLY_FLAG_DONE) || (extended && h->offset != offset))
		return false;
	at = n >= h->len + 8u ? nbds_be64(p + h->len) : offset;
	switch (h->type) {
	case NBD_REPLY_TYPE_NONE:
		return !h->length && h->final;
	case NBD_REPLY_TYPE_OFFSET_DATA:
		return type == NBD_CMD_READ && h->length >= 8 &&
		       inside(at, h->length - 8, offset, length);
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		return type == NBD_CMD_READ && h->length == 12 && inside(at, 0, offset, length);
	case NBD_REPLY_TYPE_BLOCK_STATUS:
		return type == NBD_CMD_BLOCK_STATUS && h->length >= 4 &&
		       h->length <= EXTENTS_PLAUSIBLE && (h->length - 4) % NBDS_EXTENT_LEN == 0;
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		return type == NBD_CMD_BLOCK_STATUS && h->length >= 8 &&
		       h->length <= EXTENTS_PLAUSIBLE && (h->length - 8) % NBDS_EXTENT_EXT_LEN == 0;
	case NBD_REPLY_TYPE_ERROR:
		return h->length >= 6 && h->length <= 6 + NBDS_STRING_MAX;
	case NBD_REPLY_TYPE_ERROR_OFFSET:
		return h->length >= 14 && h->length <= 14 + NBDS_STRING_MAX;
	default:
		return false;
	}
}

/* Requests -------------------------------------------------------------------- */

void nbds_tell_request(struct nbds_decoder *d, struct nbds_direction *s,
		       const struct nbds_place *place, const uint8_t *head, size_t len)
{
	struct nbds_message *m = nbds_message_new(s, NBDS_MSG_REQUEST);
	enum nbds_payload payload = NBDS_PAYLOAD_REST;
	struct nbds_request_head h;
	struct nbds_request *r;
	uint64_t after;

	nbds_request_parse(head, &h);
	after = h.payload - (len - h.len);
	m->name = nbds_text_of(&nbds_commands, h.type, s->name);
	if (h.type == NBD_CMD_DISC) {
		r = &d->disc;
		*r = (struct nbds_request){.cookie = h.cookie, .serial = ++d->serial};
	} else {
		r = nbds_flight_add(d, h.cookie, place->offset);
		((struct nbds_flight *)r)->frame = place->first->frame;
	}
	r->offset = h.offset;
	r->length = h.length;
	r->type = h.type;
	r->flags = h.flags;
	r->extended = h.extended;
	m->request = r;
	if (h.type == NBD_CMD_WRITE) {
		payload = NBDS_PAYLOAD_WRITE;
	} else if (h.type == NBD_CMD_BLOCK_STATUS && h.payload) {
		if (len >= h.len + 8u) {
			r->length = nbds_be64(head + h.len);
			payload = NBDS_PAYLOAD_IDS;
		}
		if (len < h.want)
			m->flags |= NBDS_MSG_CUT;
		if (h.payload < 8 || h.payload % 4)
			m->flags |= NBDS_MSG_MALFORMED;
	}

	d->neg.transmission = true;
	if (h.extended && !d->neg.extended && !d->mode_known)
		d->neg.extended = d->neg.inferred = true;
	if (h.type == NBD_CMD_DISC)
		nbds_sink(d, s, NBDS_PHASE_OVER);
	nbds_tell(d, s, place, head, len, payload, after);
}

bool nbds_step_request(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	const uint8_t *p = nbds_peek(s, sp, 4);
	struct nbds_request_head h;
	struct nbds_place place;
	uint32_t magic;

	if (!p)
		return false;
	magic = nbds_be32(p);
	if (!nbds_request_len(magic)) {
		place = nbds_here(s, sp);
		nbds_show(d, s, sp);
		nbds_trouble(d, s, NBDS_TROUBLE_NONSENSE, s->pos, 0, place.first, NULL,
			     magic == NBD_REQUEST_MAGIC_HISTORIC ? "request magic 0x%08" PRIx32
								   ", not used since Linux 2.1.116"
								 : "request magic 0x%08" PRIx32,
			     magic);
		nbds_lose(d, s, 4);
		return true;
	}
	p = nbds_peek(s, sp, nbds_request_len(magic));
	if (!p)
		return false;
	nbds_request_parse(p, &h);
	p = nbds_peek(s, sp, h.want);
	if (!p)
		return false;
	nbds_flush_export_name(d);
	place = nbds_here(s, sp);
	nbds_tell_request(d, s, &place, p, h.want);
	nbds_told(d, s, sp);

	return true;
}

/* Replies --------------------------------------------------------------------- */

/*
 * The request that a reply answers, or NULL.  Several in flight with one cookie
 * are a fault of the client, or replies were lost: a request from before the
 * server's feet were lost, with a cookie that was used again since, had its
 * reply among the lost bytes.
 */
static struct nbds_request *match(struct nbds_decoder *d, const struct nbds_reply_head *h,
				  const uint8_t *p, size_t n)
{
	struct nbds_flight *f = nbds_flight_find(d, h->cookie), *g;
	int tries = SAME_COOKIE_MAX;

	while (f && ((f->same && f->epoch != d->epoch) || nbds_flight_doubtful(d, f))) {
		g = f->same;
		nbds_flight_forget(
			d, &f->pub,
			g ? "its reply was lost: its cookie is used again"
			  : "its reply may be lost, and a later request with its cookie");
		f = g;
	}
	if (!f)
		return NULL;
	for (g = f; g && tries--; g = g->same)
		if (nbds_reply_fits(h, p, n, g->pub.type, g->pub.extended, g->pub.offset,
				    g->pub.length))
			return &g->pub;
	/* The server's fault; or the request that it would fit was lost. */
	return f->client_epoch == d->client_epoch ? &f->pub : NULL;
}

static void note_error(struct nbds_request *r, uint32_t error)
{
	if (!r)
		return;
	if (!r->error)
		r->first_error = error;
	r->error = true;
}

/* What the head of a chunk says beyond its header; false if it is malformed. */
static bool chunk_body(struct nbds_message *m, const struct nbds_reply_head *h, const uint8_t *p,
		       size_t n, struct nbds_request *r)
{
	uint64_t room = h->length, text;

	p += h->len;
	n -= h->len;
	switch (h->type) {
	case NBD_REPLY_TYPE_NONE:
		return !h->length;
	case NBD_REPLY_TYPE_OFFSET_DATA:
		if (n < 8)
			return room >= 8;
		m->u.chunk.offset = nbds_be64(p);
		if (r)
			r->data_bytes += room - 8;
		return true;
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		if (n < 12)
			return room == 12;
		m->u.chunk.offset = nbds_be64(p);
		m->u.chunk.hole = nbds_be32(p + 8);
		if (r)
			r->data_bytes += m->u.chunk.hole;
		return room == 12;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
		if (n >= 4)
			m->u.chunk.context_id = nbds_be32(p);
		return room >= 4 && (room - 4) % NBDS_EXTENT_LEN == 0;
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		if (n >= 4)
			m->u.chunk.context_id = nbds_be32(p);
		return room >= 8 && (room - 8) % NBDS_EXTENT_EXT_LEN == 0 &&
		       (n < 8 || nbds_be32(p + 4) == (room - 8) / NBDS_EXTENT_EXT_LEN);
	default:
		break;
	}
	if (!(h->type & NBD_REPLY_TYPE_FLAG_ERROR))
		return true;
	if (n >= 4)
		m->u.chunk.error = nbds_be32(p);
	note_error(r, m->u.chunk.error);
	if (n < 6)
		return room >= 6;
	text = 6 + (uint64_t)nbds_be16(p + 4);
	if (h->type != NBD_REPLY_TYPE_ERROR_OFFSET)
		return text <= room;
	if (text + 8 > room) {
		/* The offset is at the end, whatever the length of the text is
		 * said to be. */
		if (room >= 14 && room == n)
			m->u.chunk.offset = nbds_be64(p + n - 8);
		return false;
	}
	if (text + 8 <= n)
		m->u.chunk.offset = nbds_be64(p + text);
	return true;
}

static enum nbds_payload chunk_payload(const struct nbds_reply_head *h)
{
	switch (h->type) {
	case NBD_REPLY_TYPE_OFFSET_DATA:
		return NBDS_PAYLOAD_READ;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		return NBDS_PAYLOAD_EXTENTS;
	default:
		return NBDS_PAYLOAD_REST;
	}
}

void nbds_tell_reply(struct nbds_decoder *d, struct nbds_direction *s,
		     const struct nbds_place *place, const uint8_t *head, size_t len,
		     uint64_t after, struct nbds_request *r)
{
	enum nbds_payload payload = NBDS_PAYLOAD_READ;
	struct nbds_reply_head h;
	struct nbds_message *m;

	nbds_reply_parse(head, &h);
	if (h.magic == NBD_SIMPLE_REPLY_MAGIC) {
		m = nbds_message_new(s, NBDS_MSG_SIMPLE_REPLY);
		m->name = "NBD_SIMPLE_REPLY";
		m->u.simple.cookie = h.cookie;
		m->u.simple.error = h.error;
		if (h.error)
			note_error(r, h.error);
		else if (r)
			r->data_bytes += after;
	} else {
		m = nbds_message_new(s, NBDS_MSG_CHUNK);
		m->name = nbds_text_of(&nbds_chunk_types, h.type, s->name);
		m->u.chunk.cookie = h.cookie;
		m->u.chunk.flags = h.flags;
		m->u.chunk.type = h.type;
		m->u.chunk.length = h.length;
		if (r)
			r->chunks++;
		if (!chunk_body(m, &h, head, len, r))
			m->flags |= NBDS_MSG_MALFORMED;
		payload = chunk_payload(&h);
		if (len < h.want || (after && (h.type & NBD_REPLY_TYPE_FLAG_ERROR))) {
			m->flags |= NBDS_MSG_CUT;
			payload = NBDS_PAYLOAD_REST;
		}
		if (r && !d->mode_known) {
			bool *mode = h.magic == NBD_EXTENDED_REPLY_MAGIC ? &d->neg.extended
									 : &d->neg.structured;
			if (!*mode)
				*mode = d->neg.inferred = true;
		}
	}
	m->request = r;
	if (h.final)
		m->flags |= NBDS_MSG_FINAL;
	if (!r) {
		m->flags |= NBDS_MSG_UNSOLICITED;
		m->again = nbds_answered_find(d, h.cookie);
	}
	d->neg.transmission = true;

	s->stray = h.error && r && r->type == NBD_CMD_READ ? r->length : 0;
	s->padding = 0;
	nbds_tell(d, s, place, head, len, payload, after);
}

/* Bytes where a reply should start, and does not. */
static bool no_reply(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp,
		     const uint8_t *p)
{
	const struct nbds_place place = nbds_here(s, sp);
	uint32_t magic = nbds_be32(p);

	nbds_show(d, s, sp);
	if (s->padding && !p[0]) {
		if (!s->padding_told)
			nbds_trouble(d, s, NBDS_TROUBLE_NONSENSE, s->pos, 0, place.first, NULL,
				     "zeroes after the answer to NBD_OPT_EXPORT_NAME");
		s->padding_told = true;
		d->bytes = NULL;
		s->padding--;
		s->count.nonsense++;
		nbds_consume(s, sp, 1);
		return true;
	}
	if (s->stray) {
		/* nbd-server 3.12 and 3.13 sent data after an error. */
		nbds_trouble(d, s, NBDS_TROUBLE_NONSENSE, s->pos, s->stray, place.first, NULL,
			     "data of a NBD_CMD_READ that failed");
		s->discard = s->stray;
		s->stray = 0;
		return true;
	}

	nbds_trouble(d, s, NBDS_TROUBLE_NONSENSE, s->pos, 0, place.first, NULL,
		     magic == NBD_REPLY_MAGIC_HISTORIC ? "reply magic 0x%08" PRIx32
							 ", not used since Linux 2.1.116"
						       : "reply magic 0x%08" PRIx32,
		     magic);
	nbds_lose(d, s, 4);
	return true;
}

static bool discard(struct nbds_direction *s, struct nbds_span *sp)
{
	size_t n = (size_t)nbds_min(s->discard, s->have ? s->have : sp->len);

	if (!n)
		return false;
	s->count.nonsense += n;
	s->discard -= n;
	nbds_consume(s, sp, n);
	return true;
}

/*
 * A success, of which it is not known whether data follow: its request was not
 * seen, and may well have been a read that was lost.  What follows does not say:
 * data can begin with the header of a reply.
 */
static bool unsized(const struct nbds_decoder *d, const struct nbds_reply_head *h)
{
	return d->requests_missing && h->magic == NBD_SIMPLE_REPLY_MAGIC && !h->error;
}

/*
 * The bytes after the header of a reply to a request that is not in flight: as many
 * as a second reply has to one that was answered before, or as the header says.
 * A second success without the data of the first is followed by a reply to a request
 * in flight; `next` is what follows, NBDS_SIMPLE_REPLY_LEN bytes, or NULL.
 */
static uint64_t surplus_payload(const struct nbds_decoder *d, const struct nbds_reply_head *h,
				const uint8_t *next)
{
	const struct nbds_answered *a = nbds_answered_find(d, h->cookie);
	struct nbds_request r = {.type = a ? a->type : NBD_CMD_DISC, .length = a ? a->length : 0};

	if (next && nbds_reply_len(nbds_be32(next)) && nbds_flight_find(d, nbds_be64(next + 8)))
		return h->length;
	return nbds_reply_payload(h, &r);
}

bool nbds_step_reply(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	struct nbds_reply_head h;
	struct nbds_request *r;
	struct nbds_place place;
	uint64_t payload;
	const uint8_t *p;
	size_t len;

	if (s->discard)
		return discard(s, sp);
	p = nbds_peek(s, sp, 4);
	if (!p)
		return false;
	if (!nbds_reply_len(nbds_be32(p)))
		return no_reply(d, s, sp, p);
	p = nbds_peek(s, sp, nbds_reply_len(nbds_be32(p)));
	if (!p)
		return false;
	nbds_reply_parse(p, &h);
	len = nbds_room(s, sp, h.want);
	p = nbds_peek(s, sp, len);
	if (!p)
		return false;
	r = match(d, &h, p, len);
	if (!r && nbds_searching(d, NBDS_CLIENT))
		r = nbds_search_note_reply(d, &h, p, len);
	if (!r && unsized(d, &h)) {
		place = nbds_here(s, sp);
		nbds_trouble(d, s, NBDS_TROUBLE_LOST, s->pos, 0, place.first, NULL,
			     "the request of this reply was lost, and its length with it");
		nbds_lose(d, s, 0);
		return true;
	}
	if (r) {
		payload = nbds_reply_payload(&h, r);
	} else {
		payload = surplus_payload(d, &h, NULL);
		if (payload > h.length) {
			p = nbds_peek(s, sp, len + NBDS_SIMPLE_REPLY_LEN);
			if (!p)
				return false; /* or until nbds_cut_transmission() */
			payload = surplus_payload(d, &h, p + len);
		}
	}
	place = nbds_here(s, sp);
	nbds_tell_reply(d, s, &place, p, len, h.len + payload - len, r);
	nbds_told(d, s, sp);
	return true;
}

void nbds_cut_transmission(struct nbds_decoder *d, struct nbds_direction *s)
{
	struct nbds_span none = {NULL, 0, d->now};
	struct nbds_place place = nbds_here(s, &none);
	struct nbds_reply_head h;
	struct nbds_request *r;
	uint64_t payload;
	size_t len;

	if (s->have < 4 || s->discard)
		return;
	if (s->side == NBDS_CLIENT) {
		len = nbds_request_len(nbds_be32(s->kept));
		if (!len || s->have < len)
			return;
		nbds_tell_request(d, s, &place, s->kept, s->have);
	} else {
		len = nbds_reply_len(nbds_be32(s->kept));
		if (!len || s->have < len)
			return;
		nbds_reply_parse(s->kept, &h);
		if (h.magic != NBD_SIMPLE_REPLY_MAGIC)
			len = s->have;
		r = match(d, &h, s->kept, len);
		payload = r ? h.length : surplus_payload(d, &h, NULL);
		nbds_tell_reply(d, s, &place, s->kept, len, h.len + payload - len, r);
	}
	nbds_told(d, s, &none);
	if (s->in_message && s->have)
		nbds_run(d, s, &none);
}
