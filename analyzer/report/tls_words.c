/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tls_words.c - see tls_words.h. */
#include "tls_words.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	uint16_t number;
	const char *name;
} suites[] = {
#define SUITE(number, exchange, cipher) {number, "TLS_" #exchange "_WITH_" #cipher},
#define SUITE_1_3(number, cipher)       {number, "TLS_" #cipher},
#include "../tls/suites.def"
#undef SUITE
#undef SUITE_1_3
};

void nbds_tls_suite(struct nbds_buf *b, uint16_t suite)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		if (suites[i].number == suite) {
			nbds_buf_puts(b, suites[i].name);
			return;
		}
	}
	nbds_buf_printf(b, "0x%04x", suite);
}

uint16_t nbds_tls_suite_number(const char *name)
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (!strcmp(suites[i].name, name))
			return suites[i].number;
	return (uint16_t)strtoul(name, NULL, 16);
}

void nbds_tls_version(struct nbds_buf *b, uint16_t version)
{
	if (version >= 0x0301 && version <= 0x0304)
		nbds_buf_printf(b, "1.%u", version - 0x0301u);
	else
		nbds_buf_printf(b, "0x%04x", version);
}

void nbds_tls_random(struct nbds_buf *b, const struct nbds_tls_facts *facts)
{
	for (int i = 0; i < NBDS_TLS_RANDOM; i++)
		nbds_buf_printf(b, "%02x", facts->client_random[i]);
}

const char *nbds_tls_reason_name(enum nbds_tls_why why)
{
	static const char *const names[] = {
		[NBDS_TLS_READ] = "",
		[NBDS_TLS_WAITS] = "waits-for-keys",
		[NBDS_TLS_NO_KEY] = "no-key",
		[NBDS_TLS_NO_HANDSHAKE] = "handshake-not-captured",
		[NBDS_TLS_LOST] = "record-lost",
		[NBDS_TLS_WRONG_KEY] = "wrong-key",
		[NBDS_TLS_DAMAGED] = "not-authentic",
		[NBDS_TLS_VERSION] = "version-not-known",
		[NBDS_TLS_SUITE] = "cipher-not-known",
		[NBDS_TLS_NO_RECORD] = "no-tls-record",
		[NBDS_TLS_MEMORY] = "memory",
	};

	return names[why];
}

static void put_random(struct nbds_buf *b, const struct nbds_tls_facts *facts)
{
	if (!facts->random_seen)
		return;
	nbds_buf_puts(b, " (client random ");
	nbds_tls_random(b, facts);
	nbds_buf_puts(b, ")");
}

void nbds_tls_reason(struct nbds_buf *b, const struct nbds_connection *c)
{
	const struct nbds_tls_facts *f = &c->tls.facts;

	switch (c->tls.why) {
	case NBDS_TLS_READ:
		nbds_buf_puts(b, "its handshake is not over");
		break;
	case NBDS_TLS_WAITS:
		nbds_buf_puts(b, "it waits for keys");
		put_random(b, f);
		break;
	case NBDS_TLS_NO_KEY:
		nbds_buf_puts(b, "there is no key for its session");
		put_random(b, f);
		break;
	case NBDS_TLS_NO_HANDSHAKE:
		nbds_buf_puts(b, "the handshake of TLS was not captured whole");
		break;
	case NBDS_TLS_LOST:
		nbds_buf_printf(b,
				"bytes are missing before frame %" PRIu64
				", and no record after them could be opened",
				c->tls.frame);
		break;
	case NBDS_TLS_WRONG_KEY:
		nbds_buf_puts(b, "the key for its session is a wrong one");
		put_random(b, f);
		nbds_buf_printf(b, ": the record in frame %" PRIu64 " does not authenticate",
				c->tls.frame);
		break;
	case NBDS_TLS_DAMAGED:
		nbds_buf_printf(b, "the records before frame %" PRIu64 " do not authenticate",
				c->tls.frame);
		break;
	case NBDS_TLS_VERSION:
		nbds_buf_puts(b, "its version is neither 1.2 nor 1.3");
		break;
	case NBDS_TLS_SUITE:
		nbds_buf_puts(b, "its cipher suite is not known here");
		break;
	case NBDS_TLS_NO_RECORD:
		nbds_buf_printf(b, "what comes in frame %" PRIu64 " is no record of TLS",
				c->tls.frame);
		break;
	case NBDS_TLS_MEMORY:
		nbds_buf_puts(b, "memory was short");
		break;
	}
}

void nbds_tls_sentence(struct nbds_buf *b, const struct nbds_connection *c)
{
	const struct nbds_tls_facts *f = &c->tls.facts;

	if (!c->tls.tried) {
		nbds_buf_puts(b, "all that follows NBD_OPT_STARTTLS is encrypted");
		return;
	}
	if (f->version) {
		nbds_tls_version(b, f->version);
		nbds_buf_puts(b, ", ");
		nbds_tls_suite(b, f->suite);
		nbds_buf_puts(b, ": ");
	}
	if (!nbds_opaque(c)) {
		nbds_buf_puts(b, "read with its keys");
		return;
	}
	nbds_buf_puts(b, !c->negotiated.inside ? "not read: "
			 : c->tls.partly       ? "not read to the end in one direction: "
					       : "not read to the end: ");
	nbds_tls_reason(b, c);
}
