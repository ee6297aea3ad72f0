/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handshake.c - greeting, client flags, options and their replies
 * (proto.md, "Handshake phase", "Option types", "Option reply types").
 *
 * What the two sides say to each other here decides how the rest is read.  Each
 * direction can be ahead of the other (clients may pipeline, captures may have
 * one side later), so a direction changes its state by its own bytes wherever
 * these say enough: requests start with another magic than options.
 */
#include "stream.h"

#include <inttypes.h>

#define MAGIC_HIGH(magic) ((uint32_t)((uint64_t)(magic) >> 32))

/* After an answer to NBD_OPT_EXPORT_NAME, this many zeroes are passed over if
 * they are there and should not be.  (qemu once sent two too many.) */
#define STRAY_ZEROES 128u

/* A TLS record begins with its type (20 to 23) and a version, 3.x. */
static bool tls_record(const uint8_t *p)
{
	return p[0] >= 0x14 && p[0] <= 0x17 && p[1] == 3 && p[2] <= 4;
}

/* The server agreed to TLS. */
static void tls_agreed(struct nbds_decoder *d)
{
	d->neg.tls = true;
	/* Nothing negotiated outside TLS counts inside. */
	d->neg.structured = false;
	d->neg.extended = false;
	nbds_sink(d, nbds_client(d), NBDS_PHASE_TLS);
	nbds_sink(d, nbds_server(d), NBDS_PHASE_TLS);
}

/* Bytes that no message of the handshake starts with. */
static bool nonsense(struct nbds_decoder *d, struct nbds_direction *s, const struct nbds_span *sp,
		     const uint8_t *p, const char *what)
{
	const struct nbds_place place = nbds_here(s, sp);

	/* The server answers what the capture may have lost. */
	if (s->side == NBDS_SERVER && d->requests_missing) {
		nbds_trouble(d, s, NBDS_TROUBLE_LOST, s->pos, 0, place.first, NULL,
			     "what this answers was lost: 0x%08" PRIx32 " is no %s", nbds_be32(p),
			     what);
	} else {
		nbds_show(d, s, sp);
		nbds_trouble(d, s, NBDS_TROUBLE_NONSENSE, s->pos, 0, place.first, NULL,
			     "0x%08" PRIx32 " is no %s", nbds_be32(p), what);
	}
	nbds_lose(d, s, s->side == NBDS_SERVER && d->requests_missing ? 0 : 4);
	return true;
}

/* The start ------------------------------------------------------------------- */

static bool step_client_flags(struct nbds_decoder *d, struct nbds_direction *s,
			      struct nbds_span *sp)
{
	const uint8_t *p = nbds_peek(s, sp, NBDS_CLIENT_FLAGS_LEN);
	struct nbds_place place;
	struct nbds_message *m;

	if (!p)
		return false;
	if (d->neg.handshake == NBDS_HANDSHAKE_OLDSTYLE || nbds_request_len(nbds_be32(p))) {
		s->phase = NBDS_PHASE_TRANSMISSION;
		return true;
	}
	if (d->neg.handshake == NBDS_HANDSHAKE_UNSEEN && tls_record(p)) {
		d->neg.tls = true;
		nbds_sink(d, s, NBDS_PHASE_TLS);
		return true;
	}
	place = nbds_here(s, sp);
	m = nbds_message_new(s, NBDS_MSG_CLIENT_FLAGS);
	m->name = "NBD_CLIENT_FLAGS";
	m->u.client_flags = nbds_be32(p);
	d->neg.client_flags = m->u.client_flags;
	d->neg.client_flags_seen = true;
	s->phase = NBDS_PHASE_OPTIONS;
	nbds_tell(d, s, &place, p, NBDS_CLIENT_FLAGS_LEN, NBDS_PAYLOAD_NONE, 0);
	nbds_told(d, s, sp);
	return true;
}

static bool step_greeting(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	const uint8_t *p = nbds_peek(s, sp, 4);
	struct nbds_place place;
	struct nbds_message *m;
	size_t len = NBDS_GREETING_LEN;
	bool old;

	if (!p)
		return false;
	if (nbds_be32(p) != MAGIC_HIGH(NBD_INIT_MAGIC)) {
		if (tls_record(p)) {
			d->neg.tls = true;
			nbds_sink(d, s, NBDS_PHASE_TLS);
			return true;
		}
		return nonsense(d, s, sp, p, "greeting");
	}
	p = nbds_peek(s, sp, 16);
	if (!p)
		return false;
	old = nbds_be64(p + 8) == NBD_CLISERV_MAGIC;
	if (nbds_be64(p) != NBD_INIT_MAGIC || (!old && nbds_be64(p + 8) != NBD_OPTS_MAGIC))
		return nonsense(d, s, sp, p, "greeting");
	if (old)
		len = NBDS_GREETING_OLDSTYLE_LEN - NBDS_ZEROES_LEN;
	p = nbds_peek(s, sp, len);
	if (!p)
		return false;

	place = nbds_here(s, sp);
	m = nbds_message_new(s, NBDS_MSG_GREETING);
	m->name = "NBD_GREETING";
	if (old) {
		m->u.greeting.style = NBDS_HANDSHAKE_OLDSTYLE;
		m->u.greeting.size = nbds_be64(p + 16);
		m->u.greeting.flags = nbds_be16(p + 24);
		m->u.greeting.transmission_flags = nbds_be16(p + 26);
		d->neg.size = m->u.greeting.size;
		d->neg.transmission_flags = m->u.greeting.transmission_flags;
		d->neg.export_seen = true;
		d->neg.transmission = true;
		s->phase = NBDS_PHASE_TRANSMISSION;
	} else {
		m->u.greeting.flags = nbds_be16(p + 16);
		m->u.greeting.style = m->u.greeting.flags & NBD_FLAG_FIXED_NEWSTYLE
					      ? NBDS_HANDSHAKE_NEWSTYLE_FIXED
					      : NBDS_HANDSHAKE_NEWSTYLE;
		d->neg.handshake_flags = m->u.greeting.flags;
		s->phase = NBDS_PHASE_OPTIONS;
	}
	d->neg.handshake = m->u.greeting.style;
	nbds_tell(d, s, &place, p, len, NBDS_PAYLOAD_REST, old ? NBDS_ZEROES_LEN : 0);
	nbds_told(d, s, sp);
	return true;
}

bool nbds_step_start(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	return s->side == NBDS_CLIENT ? step_client_flags(d, s, sp) : step_greeting(d, s, sp);
}

/* Options --------------------------------------------------------------------- */

int nbds_option_find(const struct nbds_decoder *d, uint32_t option)
{
	for (uint32_t i = 0; i < d->option_count; i++)
		if (d->options[i] == option)
			return (int)i;
	return -1;
}

/* The first `n` options are answered. */
static void options_done(struct nbds_decoder *d, uint32_t n)
{
	d->option_count -= n;
	for (uint32_t i = 0; i < d->option_count; i++)
		d->options[i] = d->options[i + n];
}

static void option_sent(struct nbds_decoder *d, uint32_t option)
{
	if (d->option_count == NBDS_OPTIONS_MAX)
		options_done(d, 1);
	d->options[d->option_count++] = option;
	if (option == NBD_OPT_GO)
		d->info_seen = false;
	if (option == NBD_OPT_GO || option == NBD_OPT_EXPORT_NAME)
		d->entering = true;
	if (option == NBD_OPT_ABORT)
		d->aborted = true;
}

/* Do the lengths inside the `n` bytes of an option's data fit them exactly? */
static bool option_fits(uint32_t option, const uint8_t *p, size_t n)
{
	uint64_t at, count;

	switch (option) {
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		if (n < 6 || nbds_be32(p) > n - 6)
			return false;
		at = 4 + (uint64_t)nbds_be32(p);
		return n == at + 2 + 2 * (uint64_t)nbds_be16(p + at);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		if (n < 8 || nbds_be32(p) > n - 8)
			return false;
		at = 4 + (uint64_t)nbds_be32(p);
		count = nbds_be32(p + at);
		at += 4;
		for (; count && n - at >= 4; count--) {
			if (nbds_be32(p + at) > n - at - 4)
				return false;
			at += 4 + (uint64_t)nbds_be32(p + at);
		}
		return !count && at == n;
	default:
		return true;
	}
}

/* `len` bytes of head, of which 16 are the header. */
static void tell_option(struct nbds_decoder *d, struct nbds_direction *s,
			const struct nbds_place *place, const uint8_t *p, size_t len)
{
	struct nbds_message *m = nbds_message_new(s, NBDS_MSG_OPTION);
	uint64_t total = NBDS_OPTION_LEN + (uint64_t)nbds_be32(p + 12);

	m->u.option.option = nbds_be32(p + 8);
	m->u.option.length = nbds_be32(p + 12);
	m->name = nbds_text_of(&nbds_options, m->u.option.option, s->name);
	if (len < total)
		m->flags |= NBDS_MSG_CUT;
	else if (!option_fits(m->u.option.option, p + NBDS_OPTION_LEN, len - NBDS_OPTION_LEN))
		m->flags |= NBDS_MSG_MALFORMED;
	if (!s->option_listed)
		option_sent(d, m->u.option.option);
	s->option_listed = false;
	nbds_tell(d, s, place, p, len, NBDS_PAYLOAD_REST, total - len);
}

bool nbds_step_option(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	const uint8_t *p = nbds_peek(s, sp, 4);
	struct nbds_place place;
	size_t len;

	if (!p)
		return false;
	if (nbds_be32(p) != MAGIC_HIGH(NBD_OPTS_MAGIC)) {
		if (nbds_request_len(nbds_be32(p)) && (d->entering || d->neg.transmission)) {
			s->phase = NBDS_PHASE_TRANSMISSION;
			return true;
		}
		if (nbds_option_find(d, NBD_OPT_STARTTLS) >= 0 && tls_record(p)) {
			/* The server's answer comes later in the capture, or
			 * was lost. */
			nbds_sink(d, s, NBDS_PHASE_TLS);
			if (nbds_searching(d, NBDS_SERVER)) {
				d->neg.tls = true;
				nbds_sink(d, nbds_server(d), NBDS_PHASE_TLS);
			}
			return true;
		}
		if (d->aborted) {
			nbds_sink(d, s, NBDS_PHASE_OVER);
			return true;
		}
		return nonsense(d, s, sp, p, d->entering ? "request or option" : "option");
	}
	p = nbds_peek(s, sp, NBDS_OPTION_LEN);
	if (!p)
		return false;
	if (nbds_be64(p) != NBD_OPTS_MAGIC)
		return nonsense(d, s, sp, p, "option");
	/* Servers may answer before they have the data: the option is known now. */
	if (!s->option_listed) {
		option_sent(d, nbds_be32(p + 8));
		s->option_listed = true;
	}
	len = nbds_room(s, sp, NBDS_OPTION_LEN + (uint64_t)nbds_be32(p + 12));
	p = nbds_peek(s, sp, len);
	if (!p)
		return false;
	place = nbds_here(s, sp);
	tell_option(d, s, &place, p, len);
	nbds_told(d, s, sp);
	return true;
}

/* Option replies -------------------------------------------------------------- */

/* The option that a reply with this echo answers. */
static uint32_t answered(const struct nbds_decoder *d, uint32_t echo)
{
	uint32_t swapped = echo >> 24 | (echo >> 8 & 0xff00) | (echo & 0xff00) << 8 | echo << 24;

	/* nbd-server before 3.6 sent the echo in the byte order of its host. */
	if (nbds_option_find(d, echo) < 0 && nbds_option_find(d, swapped) >= 0)
		return swapped;
	return echo;
}

/* What the reply changes. `p` has `len` bytes of head. */
static void option_answered(struct nbds_decoder *d, struct nbds_direction *s, uint32_t option,
			    uint32_t type, const uint8_t *p, size_t len)
{
	bool error = type & NBD_REP_FLAG_ERROR;
	int place;

	if (type == NBD_REP_INFO && option == NBD_OPT_GO &&
	    len >= NBDS_OPTION_REPLY_LEN + NBDS_INFO_EXPORT_LEN &&
	    nbds_be16(p + 20) == NBD_INFO_EXPORT) {
		d->info_seen = true;
		d->info_size = nbds_be64(p + 22);
		d->info_flags = nbds_be16(p + 30);
	}
	if (!error && type != NBD_REP_ACK)
		return;
	place = nbds_option_find(d, option);
	if (place >= 0)
		options_done(d, (uint32_t)place + 1);
	if (option == NBD_OPT_ABORT)
		nbds_sink(d, s, NBDS_PHASE_OVER);
	if (error)
		return;
	switch (option) {
	case NBD_OPT_STRUCTURED_REPLY:
		d->neg.structured = true;
		break;
	case NBD_OPT_EXTENDED_HEADERS:
		d->neg.extended = true;
		break;
	case NBD_OPT_STARTTLS:
		tls_agreed(d);
		break;
	case NBD_OPT_GO:
		d->neg.transmission = true;
		if (d->info_seen) {
			d->neg.size = d->info_size;
			d->neg.transmission_flags = d->info_flags;
			d->neg.export_seen = true;
		}
		d->info_seen = false;
		s->phase = NBDS_PHASE_TRANSMISSION;
		break;
	default:
		break;
	}
}

/* `p` is the head, `len` bytes long, and all of the reply. */
static bool reply_fits(uint32_t type, const uint8_t *p, size_t len)
{
	size_t n = len - NBDS_OPTION_REPLY_LEN;

	p += NBDS_OPTION_REPLY_LEN;
	switch (type) {
	case NBD_REP_SERVER:
		return n >= 4 && nbds_be32(p) <= n - 4;
	case NBD_REP_INFO:
		if (n < 2)
			return false;
		if (nbds_be16(p) == NBD_INFO_EXPORT)
			return n == NBDS_INFO_EXPORT_LEN;
		return nbds_be16(p) != NBD_INFO_BLOCK_SIZE || n == NBDS_INFO_BLOCK_SIZE_LEN;
	case NBD_REP_META_CONTEXT:
		return n >= 4;
	default:
		return true;
	}
}

static void tell_option_reply(struct nbds_decoder *d, struct nbds_direction *s,
			      const struct nbds_place *place, const uint8_t *p, size_t len)
{
	struct nbds_message *m = nbds_message_new(s, NBDS_MSG_OPTION_REPLY);
	uint64_t total = NBDS_OPTION_REPLY_LEN + (uint64_t)nbds_be32(p + 16);
	uint32_t type = nbds_be32(p + 12);

	m->u.option_reply.option = nbds_be32(p + 8);
	m->u.option_reply.type = type;
	m->u.option_reply.length = nbds_be32(p + 16);
	m->name = nbds_text_of(&nbds_reply_types, type, s->name);
	if (type == NBD_REP_INFO && len >= 22)
		m->u.option_reply.info = nbds_be16(p + 20);
	if (type == NBD_REP_META_CONTEXT && len >= 24)
		m->u.option_reply.context_id = nbds_be32(p + 20);
	if (type == NBD_REP_ACK || (type & NBD_REP_FLAG_ERROR))
		m->flags |= NBDS_MSG_FINAL;
	if (len < total)
		m->flags |= NBDS_MSG_CUT;
	else if (!reply_fits(type, p, len))
		m->flags |= NBDS_MSG_MALFORMED;
	option_answered(d, s, answered(d, m->u.option_reply.option), type, p, len);
	nbds_tell(d, s, place, p, len, NBDS_PAYLOAD_REST, total - len);
}

static void tell_export_name(struct nbds_decoder *d, struct nbds_direction *s,
			     const struct nbds_place *place, const uint8_t *p, uint32_t zeroes)
{
	struct nbds_message *m = nbds_message_new(s, NBDS_MSG_EXPORT_NAME_REPLY);

	m->name = "NBD_EXPORT_NAME_REPLY";
	m->flags |= NBDS_MSG_FINAL;
	m->u.export_name.size = nbds_be64(p);
	m->u.export_name.transmission_flags = nbds_be16(p + 8);
	m->u.export_name.zeroes = zeroes;
	d->neg.size = m->u.export_name.size;
	d->neg.transmission_flags = m->u.export_name.transmission_flags;
	d->neg.export_seen = true;
	d->neg.transmission = true;
	options_done(d, (uint32_t)nbds_option_find(d, NBD_OPT_EXPORT_NAME) + 1);
	s->phase = NBDS_PHASE_TRANSMISSION;
	s->padding = STRAY_ZEROES;
	s->padding_told = false;
	nbds_tell(d, s, place, p, NBDS_EXPORT_NAME_REPLY_LEN, NBDS_PAYLOAD_REST, zeroes);
}

static bool zeroes_expected(const struct nbds_decoder *d)
{
	return !(d->neg.client_flags & NBD_FLAG_C_NO_ZEROES) ||
	       (d->neg.handshake != NBDS_HANDSHAKE_UNSEEN &&
		!(d->neg.handshake_flags & NBD_FLAG_NO_ZEROES));
}

/*
 * The answer to NBD_OPT_EXPORT_NAME has no magic.  Zeroes that should follow and
 * do not show by a reply's magic in their place; zeroes that should not follow
 * and do are found later, where a reply's magic is due.
 */
static bool step_export_name(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	bool expected = zeroes_expected(d);
	const uint8_t *p = nbds_peek(s, sp, NBDS_EXPORT_NAME_REPLY_LEN);
	struct nbds_place place;

	if (!p)
		return false;
	place = nbds_here(s, sp);
	if (expected) {
		/* Or until nbds_flush_export_name(). */
		const uint8_t *q = nbds_peek(s, sp, NBDS_EXPORT_NAME_REPLY_LEN + 4);

		if (!q)
			return false;
		p = q;
		place = nbds_here(s, sp);
		if (nbds_reply_len(nbds_be32(p + NBDS_EXPORT_NAME_REPLY_LEN)))
			expected = false;
	}
	tell_export_name(d, s, &place, p, expected ? NBDS_ZEROES_LEN : 0);
	nbds_told(d, s, sp);
	return true;
}

void nbds_flush_export_name(struct nbds_decoder *d)
{
	struct nbds_direction *s = nbds_server(d);
	struct nbds_span none = {NULL, 0, d->now};
	struct nbds_place place;

	if (s->phase != NBDS_PHASE_OPTIONS || s->in_message ||
	    s->have < NBDS_EXPORT_NAME_REPLY_LEN || nbds_be64(s->kept) == NBD_REP_MAGIC ||
	    nbds_option_find(d, NBD_OPT_EXPORT_NAME) < 0)
		return;
	place = nbds_here(s, &none);
	tell_export_name(d, s, &place, s->kept, NBDS_ZEROES_LEN);
	nbds_told(d, s, &none);
	nbds_run(d, s, &none);
}

bool nbds_step_option_reply(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp)
{
	const uint8_t *p = nbds_peek(s, sp, 4);
	struct nbds_place place;
	size_t len;

	if (!p)
		return false;
	if (nbds_be32(p) != MAGIC_HIGH(NBD_REP_MAGIC)) {
		if (nbds_option_find(d, NBD_OPT_EXPORT_NAME) >= 0)
			return step_export_name(d, s, sp);
		if (nbds_client(d)->phase == NBDS_PHASE_TLS && tls_record(p)) {
			tls_agreed(d);
			return true;
		}
		if (nbds_reply_len(nbds_be32(p)) && d->entering) {
			/* Replies to requests, though the option that leads to
			 * them was not acknowledged, or not that we saw. */
			d->neg.transmission = true;
			s->phase = NBDS_PHASE_TRANSMISSION;
			return true;
		}
		return nonsense(d, s, sp, p, "option reply");
	}
	p = nbds_peek(s, sp, NBDS_EXPORT_NAME_REPLY_LEN);
	if (!p)
		return false;
	if (nbds_be64(p) != NBD_REP_MAGIC ||
	    (nbds_be16(p + 8) && nbds_option_find(d, NBD_OPT_EXPORT_NAME) >= 0)) {
		/* An export may be as large as that magic; its flags are not 0. */
		if (nbds_option_find(d, NBD_OPT_EXPORT_NAME) >= 0)
			return step_export_name(d, s, sp);
		return nonsense(d, s, sp, p, "option reply");
	}
	p = nbds_peek(s, sp, NBDS_OPTION_REPLY_LEN);
	if (!p)
		return false;
	len = nbds_room(s, sp, NBDS_OPTION_REPLY_LEN + (uint64_t)nbds_be32(p + 16));
	p = nbds_peek(s, sp, len);
	if (!p)
		return false;
	place = nbds_here(s, sp);
	tell_option_reply(d, s, &place, p, len);
	nbds_told(d, s, sp);
	return true;
}

void nbds_cut_handshake(struct nbds_decoder *d, struct nbds_direction *s)
{
	struct nbds_span none = {NULL, 0, d->now};
	struct nbds_place place = nbds_here(s, &none);

	if (s->side == NBDS_CLIENT) {
		if (s->have < NBDS_OPTION_LEN)
			return;
		tell_option(d, s, &place, s->kept, s->have);
	} else {
		if (s->have < NBDS_OPTION_REPLY_LEN || nbds_be64(s->kept) != NBD_REP_MAGIC)
			return;
		tell_option_reply(d, s, &place, s->kept, s->have);
	}
	nbds_told(d, s, &none);
}
