/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/tls/cipher.h - cipher suites, and records opened with them.
 *
 * Purpose.  The one file that calls libgcrypt.  A suite says which cipher, which hash;
 * a `struct cipher` is one direction under one set of keys (RFC 5246, 5288, 6655, 7366,
 * 7905 for TLS 1.2; RFC 8446 for 1.3).
 *
 * Failure.  cipher_open() returns false: the record does not authenticate, or is of no
 * possible length.  Nothing of it may be used then.  Keys are wiped when a cipher is
 * closed.
 */
#ifndef NBDS_TLS_CIPHER_H
#define NBDS_TLS_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gcrypt.h>

#define TLS_1_2 0x0303u
#define TLS_1_3 0x0304u

#define RECORD_HEADER   5u
#define RECORD_PLAIN    16384u
#define RECORD_MOST     (RECORD_PLAIN + 2048u) /* of 1.2 */
#define RECORD_MOST_1_3 (RECORD_PLAIN + 256u)

#define HASH_MOST 48u /* SHA-384 */

enum suite_mode { SUITE_GCM, SUITE_CCM, SUITE_CHACHA, SUITE_CBC };

struct suite {
	uint16_t number;
	const char *name;
	uint16_t version; /* TLS_1_2 or TLS_1_3 */
	enum suite_mode mode;
	int cipher;       /* of libgcrypt */
	uint8_t key, tag; /* bytes; of CBC the tag is the MAC */
	int hash;         /* of the key derivation */
	int mac;          /* of records: CBC */
};

/* NULL: not known here. */
const struct suite *suite_find(uint16_t number);
/* Bytes of the suite's hash. */
size_t suite_hash(const struct suite *suite);

struct cipher {
	const struct suite *suite; /* NULL: there are no keys */
	gcry_cipher_hd_t handle;
	gcry_mac_hd_t mac;
	uint8_t iv[12]; /* 1.2: 4 bytes of GCM and CCM */
	bool encrypt_then_mac;
};

/* About what libgcrypt takes for one, bytes. */
#define CIPHER_MEMORY 4096u

/* The library is there, and works. To be called before anything else. */
bool cipher_library(void);

/* 1.2: the keys of both directions, by side: client and server. */
bool cipher_keys_1_2(struct cipher pair[2], const struct suite *suite, bool encrypt_then_mac,
		     const uint8_t master[48], const uint8_t client_random[32],
		     const uint8_t server_random[32]);
/* 1.3: the keys of one direction. */
bool cipher_keys_1_3(struct cipher *c, const struct suite *suite, const uint8_t *secret);
/* The secret that follows `secret`, in its place. */
bool cipher_next_secret(const struct suite *suite, uint8_t *secret);
void cipher_close(struct cipher *c);

/* Opens a record, header and all, of which `record_len` bytes are there; it is the
 * `sequence`-th under these keys, from 0. What was inside goes to `plain` (RECORD_MOST
 * bytes of room), and its type, which 1.3 hides, to *type. */
bool cipher_open(struct cipher *c, uint64_t sequence, const uint8_t *record, size_t record_len,
		 uint8_t *plain, size_t *plain_len, uint8_t *type);
/* What is inside of a record of `body` bytes, without opening it: *exact, or so much at
 * most. */
size_t cipher_inside(const struct cipher *c, size_t body, bool *exact);

#endif
