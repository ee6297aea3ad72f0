/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * handshake.c - what the two sides agree on, and the keys of it.
 *
 * Of a handshake four messages are looked at: the hellos, for randoms, version and
 * suite; Finished and KeyUpdate, as other keys begin after them.  All others are passed
 * over by their length.
 */
#include <string.h>

#include <base/bytes.h>

#include "internal.h"

enum { EXTENSION_ENCRYPT_THEN_MAC = 22, EXTENSION_VERSIONS = 43 };

/* A ServerHello with this random asks for another ClientHello (RFC 8446, 4.1.3). */
static const uint8_t retry[NBDS_TLS_RANDOM] = {
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c,
	0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb,
	0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
};

void handshake_forget(struct nbds_tls_session *s, struct tls_direction *d)
{
	nbds_budget_free(s->budget, d->message.body, d->message.room);
	d->message = (struct tls_message){0};
}

void handshake_lost(struct nbds_tls_session *s, struct tls_direction *d)
{
	handshake_forget(s, d);
	d->holed = true;
}

static void client_hello(struct nbds_tls_session *s, const uint8_t *p, size_t len)
{
	if (len < CLIENT_HELLO_NEEDED)
		return;
	memcpy(s->facts.client_random, p + 2, NBDS_TLS_RANDOM);
	s->facts.random_seen = true;
}

/* The extensions of a ServerHello: the version, and whether MACs are over what is
 * encrypted. */
static void extensions(struct nbds_tls_session *s, const uint8_t *p, size_t len)
{
	if (len < 2)
		return;
	p += 2;
	len -= 2;
	while (len >= 4) {
		uint16_t type = nbds_be16(p), n = nbds_be16(p + 2);

		if (n > len - 4)
			return;
		if (type == EXTENSION_VERSIONS && n == 2)
			s->facts.version = nbds_be16(p + 4);
		else if (type == EXTENSION_ENCRYPT_THEN_MAC)
			s->encrypt_then_mac = true;
		p += 4 + n;
		len -= 4 + n;
	}
}

/* version (2) random (32) length (1) session id, suite (2) compression (1) extensions */
static void server_hello(struct nbds_tls_session *s, const uint8_t *p, size_t len)
{
	size_t id;

	if (len < 35 || len < 38 + (size_t)p[34])
		return;
	if (!memcmp(p + 2, retry, sizeof(retry))) {
		s->facts.version = TLS_1_3; /* no other has it */
		return;
	}
	id = p[34];
	memcpy(s->server_random, p + 2, NBDS_TLS_RANDOM);
	s->facts.version = nbds_be16(p);
	s->facts.suite = nbds_be16(p + 35 + id);
	s->encrypt_then_mac = false;
	extensions(s, p + 38 + id, len - 38 - id);
	s->hello = true;
	for (int i = 0; i < 2; i++) {
		cipher_close(&s->pending[i]);
		s->pending_made[i] = false;
	}
	s->suite = suite_find(s->facts.suite);
	if (s->facts.version != TLS_1_2 && s->facts.version != TLS_1_3)
		session_failed(s, NBDS_TLS_VERSION);
	else if (!s->suite || s->suite->version != s->facts.version)
		session_failed(s, NBDS_TLS_SUITE);
}

static void message(struct nbds_tls_session *s, struct tls_direction *d)
{
	const struct tls_message *m = &d->message;

	switch (m->head[0]) {
	case CLIENT_HELLO:
		if (d->side == NBDS_CLIENT && m->body)
			client_hello(s, m->body, m->kept);
		break;
	case SERVER_HELLO:
		if (d->side == NBDS_SERVER && m->body)
			server_hello(s, m->body, m->kept);
		break;
	case FINISHED:
		if (s->facts.version == TLS_1_3 && d->stage == STAGE_HANDSHAKE)
			d->next_stage = true;
		break;
	case KEY_UPDATE:
		if (s->facts.version == TLS_1_3 && d->stage == STAGE_TRAFFIC)
			d->next_secret = true;
		break;
	}
}

/* How much of the message is needed. */
static uint32_t needed(const struct tls_direction *d, uint8_t type, uint32_t len)
{
	uint32_t most = type == CLIENT_HELLO && d->side == NBDS_CLIENT   ? CLIENT_HELLO_NEEDED
			: type == SERVER_HELLO && d->side == NBDS_SERVER ? SERVER_HELLO_MOST
									 : 0;

	return len < most ? len : most;
}

void handshake_bytes(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *data,
		     size_t len)
{
	struct tls_message *m = &d->message;

	while (len) {
		size_t n;

		if (m->head_have < sizeof(m->head)) {
			m->head[m->head_have++] = *data++;
			len--;
			if (m->head_have < sizeof(m->head))
				continue;
			m->len = nbds_be32(m->head) & 0xffffff;
			m->room = needed(d, m->head[0], m->len);
			m->body = m->room ? nbds_budget_alloc(s->budget, m->room) : NULL;
			if (m->room && !m->body) {
				m->room = 0;
				session_failed(s, NBDS_TLS_MEMORY);
				return;
			}
		}
		n = m->len - m->at < len ? m->len - m->at : len;
		if (m->body && m->kept < m->room && n) {
			uint32_t k = m->room - m->kept < n ? m->room - m->kept : (uint32_t)n;

			memcpy(m->body + m->kept, data, k);
			m->kept += k;
		}
		m->at += (uint32_t)n;
		data += n;
		len -= n;
		if (m->at < m->len)
			return;
		message(s, d);
		/* if it failed, what the bytes are in is gone */
		if (d->why > NBDS_TLS_WAITS)
			return;
		handshake_forget(s, d);
	}
}

/* --- keys --- */

/* The secrets of the session; NULL: they are waited for, or it failed. */
static const struct keylog_entry *secrets(struct nbds_tls_session *s, enum keylog_label label,
					  enum outcome *out)
{
	const struct keylog_entry *e;

	*out = DONE;
	if (!s->hello || !s->facts.random_seen) {
		/* of the other direction, which comes later */
		const struct tls_direction *from = &s->dir[s->hello ? NBDS_CLIENT : NBDS_SERVER];

		if (s->hurried || from->holed || from->why > NBDS_TLS_WAITS)
			session_failed(s, NBDS_TLS_NO_HANDSHAKE);
		else
			*out = WAIT;
		return NULL;
	}
	e = keylog_find(&s->reader->keys, s->facts.client_random);
	if (!e || !e->len[label]) {
		/* it may have come just now */
		s->reader->pub.refresh(&s->reader->pub);
		e = keylog_find(&s->reader->keys, s->facts.client_random);
	}
	if (e && e->len[label])
		return e;
	if (!s->hurried && s->reader->pub.growing(&s->reader->pub))
		*out = WAIT;
	else
		session_failed(s, NBDS_TLS_NO_KEY);
	return NULL;
}

bool handshake_keys(struct nbds_tls_session *s, struct tls_direction *d, enum outcome *out)
{
	enum keylog_label label =
		(d->stage == STAGE_TRAFFIC ? KEYLOG_CLIENT_TRAFFIC : KEYLOG_CLIENT_HANDSHAKE) +
		d->side;
	const struct keylog_entry *e = secrets(s, label, out);

	if (!e)
		return false;
	if (e->len[label] != suite_hash(s->suite)) {
		session_failed(s, NBDS_TLS_WRONG_KEY);
		return false;
	}
	memcpy(d->secret, e->secret[label], e->len[label]);
	d->sequence = 0;
	if (cipher_keys_1_3(&d->cipher, s->suite, d->secret))
		return true;
	session_failed(s, NBDS_TLS_MEMORY);
	return false;
}

bool handshake_change(struct nbds_tls_session *s, struct tls_direction *d, enum outcome *out)
{
	if (!s->pending_made[d->side]) {
		const struct keylog_entry *e = secrets(s, KEYLOG_MASTER, out);

		if (!e)
			return false;
		if (e->len[KEYLOG_MASTER] != 48) {
			session_failed(s, NBDS_TLS_WRONG_KEY);
			return false;
		}
		if (!cipher_keys_1_2(s->pending, s->suite, s->encrypt_then_mac,
				     e->secret[KEYLOG_MASTER], s->facts.client_random,
				     s->server_random)) {
			session_failed(s, NBDS_TLS_MEMORY);
			return false;
		}
		s->pending_made[0] = s->pending_made[1] = true;
	}
	*out = DONE;
	cipher_close(&d->cipher);
	d->cipher = s->pending[d->side];
	s->pending[d->side] = (struct cipher){0};
	s->pending_made[d->side] = false;
	d->sequence = 0;
	d->nonce_seen = false;
	d->stage = STAGE_TRAFFIC;
	return true;
}
