/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cipher.c - see cipher.h. */
#include "cipher.h"

#include <base/assert.h>
#include <string.h>

/* --- suites --- */

/* mode, cipher, key, tag, hash of the derivation, MAC of records */
#define OF_AES_128_GCM_SHA256 SUITE_GCM, GCRY_CIPHER_AES128, 16, 16, GCRY_MD_SHA256, 0
#define OF_AES_256_GCM_SHA384 SUITE_GCM, GCRY_CIPHER_AES256, 32, 16, GCRY_MD_SHA384, 0
#define OF_AES_128_CCM        SUITE_CCM, GCRY_CIPHER_AES128, 16, 16, GCRY_MD_SHA256, 0
#define OF_AES_256_CCM        SUITE_CCM, GCRY_CIPHER_AES256, 32, 16, GCRY_MD_SHA256, 0
#define OF_AES_128_CCM_8      SUITE_CCM, GCRY_CIPHER_AES128, 16, 8, GCRY_MD_SHA256, 0
#define OF_AES_256_CCM_8      SUITE_CCM, GCRY_CIPHER_AES256, 32, 8, GCRY_MD_SHA256, 0
#define OF_CHACHA20_POLY1305  SUITE_CHACHA, GCRY_CIPHER_CHACHA20, 32, 16, GCRY_MD_SHA256, 0
#define OF_AES_128_CBC_SHA    SUITE_CBC, GCRY_CIPHER_AES128, 16, 20, GCRY_MD_SHA256, GCRY_MAC_HMAC_SHA1
#define OF_AES_256_CBC_SHA    SUITE_CBC, GCRY_CIPHER_AES256, 32, 20, GCRY_MD_SHA256, GCRY_MAC_HMAC_SHA1
#define OF_AES_128_CBC_SHA256 \
	SUITE_CBC, GCRY_CIPHER_AES128, 16, 32, GCRY_MD_SHA256, GCRY_MAC_HMAC_SHA256
#define OF_AES_256_CBC_SHA256 \
	SUITE_CBC, GCRY_CIPHER_AES256, 32, 32, GCRY_MD_SHA256, GCRY_MAC_HMAC_SHA256
#define OF_AES_256_CBC_SHA384 \
	SUITE_CBC, GCRY_CIPHER_AES256, 32, 48, GCRY_MD_SHA384, GCRY_MAC_HMAC_SHA384
#define OF_CHACHA20_POLY1305_SHA256 OF_CHACHA20_POLY1305
#define OF_AES_128_CCM_SHA256       OF_AES_128_CCM
#define OF_AES_128_CCM_8_SHA256     OF_AES_128_CCM_8

/* By ascending number. */
static const struct suite suites[] = {
#define SUITE(number, exchange, cipher) \
	{number, "TLS_" #exchange "_WITH_" #cipher, TLS_1_2, OF_##cipher},
#define SUITE_1_3(number, cipher) {number, "TLS_" #cipher, TLS_1_3, OF_##cipher},
#include "suites.def"
#undef SUITE
#undef SUITE_1_3
};

const struct suite *suite_find(uint16_t number)
{
	size_t from = 0, to = sizeof(suites) / sizeof(suites[0]);

	while (from < to) {
		size_t middle = (from + to) / 2;

		if (suites[middle].number == number)
			return &suites[middle];
		if (suites[middle].number < number)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

size_t suite_hash(const struct suite *suite)
{
	return suite->hash == GCRY_MD_SHA384 ? 48 : 32;
}

/* --- keys --- */

/* Nothing here draws random numbers, and keys are wiped by who has them. */
bool cipher_library(void)
{
	if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P))
		return true;
	if (!gcry_check_version("1.8.0"))
		return false;
	gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
	gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	return true;
}

struct hmac_piece {
	const void *bytes;
	size_t len;
};

static bool hmac(int hash, const uint8_t *key, size_t key_len, const struct hmac_piece *pieces,
		 size_t count, uint8_t *out)
{
	gcry_md_hd_t md;
	bool done;

	if (gcry_md_open(&md, hash, GCRY_MD_FLAG_HMAC))
		return false;
	done = !gcry_md_setkey(md, key, key_len);
	for (size_t i = 0; i < count && done; i++)
		gcry_md_write(md, pieces[i].bytes, pieces[i].len);
	if (done)
		memcpy(out, gcry_md_read(md, hash), gcry_md_get_algo_dlen(hash));
	gcry_md_close(md);
	return done;
}

#define LABEL_MOST 255u

/* HKDF-Expand-Label without a context (RFC 8446, 7.1); what is asked for is never longer
 * than one block. */
static bool expand_label(const struct suite *suite, const uint8_t *secret, const char *label,
			 uint8_t *out, size_t len)
{
	uint8_t info[4 + LABEL_MOST + 2], block[HASH_MOST];
	size_t n = strlen(label), hash = suite_hash(suite);
	struct hmac_piece piece = {info, 0};
	bool done;

	NBDS_ASSERT(len <= hash && 6 + n <= LABEL_MOST);
	info[0] = 0;
	info[1] = (uint8_t)len;
	info[2] = (uint8_t)(6 + n);
	memcpy(info + 3, "tls13 ", 6);
	memcpy(info + 9, label, n);
	info[9 + n] = 0; /* the context is empty */
	info[10 + n] = 1;
	piece.len = 11 + n;
	done = hmac(suite->hash, secret, hash, &piece, 1, block);
	if (done)
		memcpy(out, block, len);
	explicit_bzero(block, sizeof(block));
	return done;
}

/* The PRF of TLS 1.2 (RFC 5246, 5). */
static bool prf(const struct suite *suite, const uint8_t *secret, size_t secret_len,
		const char *label, const uint8_t *first, const uint8_t *second, uint8_t *out,
		size_t len)
{
	uint8_t a[HASH_MOST], block[HASH_MOST];
	size_t hash = suite_hash(suite);
	const struct hmac_piece seed[] = {
		{a, hash}, {label, strlen(label)}, {first, 32}, {second, 32}};
	bool done = hmac(suite->hash, secret, secret_len, seed + 1, 3, a);

	while (len && done) {
		size_t n = len < hash ? len : hash;

		done = hmac(suite->hash, secret, secret_len, seed, 4, block) &&
		       hmac(suite->hash, secret, secret_len, seed, 1, a);
		if (!done)
			break;
		memcpy(out, block, n);
		out += n;
		len -= n;
	}
	explicit_bzero(a, sizeof(a));
	explicit_bzero(block, sizeof(block));
	return done;
}

static bool begin(struct cipher *c, const struct suite *suite, const uint8_t *key)
{
	static const int modes[] = {
		[SUITE_GCM] = GCRY_CIPHER_MODE_GCM,
		[SUITE_CCM] = GCRY_CIPHER_MODE_CCM,
		[SUITE_CHACHA] = GCRY_CIPHER_MODE_POLY1305,
		[SUITE_CBC] = GCRY_CIPHER_MODE_CBC,
	};

	cipher_close(c);
	if (gcry_cipher_open(&c->handle, suite->cipher, modes[suite->mode], 0)) {
		c->handle = NULL;
		return false;
	}
	if (gcry_cipher_setkey(c->handle, key, suite->key)) {
		cipher_close(c);
		return false;
	}
	c->suite = suite;
	return true;
}

void cipher_close(struct cipher *c)
{
	if (c->handle)
		gcry_cipher_close(c->handle);
	if (c->mac)
		gcry_mac_close(c->mac);
	explicit_bzero(c, sizeof(*c));
}

#define KEY_MOST   32u
#define BLOCK_MOST (2 * (HASH_MOST + KEY_MOST + 12))

/* client MAC, server MAC, client key, server key, client IV, server IV */
bool cipher_keys_1_2(struct cipher pair[2], const struct suite *suite, bool encrypt_then_mac,
		     const uint8_t master[48], const uint8_t client_random[32],
		     const uint8_t server_random[32])
{
	size_t mac = suite->mode == SUITE_CBC ? suite->tag : 0;
	size_t iv = suite->mode == SUITE_CHACHA ? 12 : suite->mode == SUITE_CBC ? 0 : 4;
	uint8_t block[BLOCK_MOST];
	bool done = prf(suite, master, 48, "key expansion", server_random, client_random, block,
			2 * (mac + suite->key + iv));

	for (size_t i = 0; i < 2 && done; i++) {
		done = begin(&pair[i], suite, block + 2 * mac + i * suite->key);
		if (!done)
			break;
		memcpy(pair[i].iv, block + 2 * (mac + suite->key) + i * iv, iv);
		pair[i].encrypt_then_mac = mac && encrypt_then_mac;
		if (!mac)
			continue;
		if (gcry_mac_open(&pair[i].mac, suite->mac, 0, NULL)) {
			pair[i].mac = NULL;
			done = false;
		} else {
			done = !gcry_mac_setkey(pair[i].mac, block + i * mac, mac);
		}
	}
	explicit_bzero(block, sizeof(block));
	if (!done) {
		cipher_close(&pair[0]);
		cipher_close(&pair[1]);
	}
	return done;
}

bool cipher_keys_1_3(struct cipher *c, const struct suite *suite, const uint8_t *secret)
{
	uint8_t key[KEY_MOST], iv[12];
	bool done = expand_label(suite, secret, "key", key, suite->key) &&
		    expand_label(suite, secret, "iv", iv, sizeof(iv)) && begin(c, suite, key);

	if (done)
		memcpy(c->iv, iv, sizeof(iv));
	explicit_bzero(key, sizeof(key));
	explicit_bzero(iv, sizeof(iv));
	return done;
}

bool cipher_next_secret(const struct suite *suite, uint8_t *secret)
{
	return expand_label(suite, secret, "traffic upd", secret, suite_hash(suite));
}

/* --- records --- */

static void put64(uint8_t *p, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* Bytes at the front of a record's body that are no cipher text. */
static size_t explicit_bytes(const struct suite *suite)
{
	if (suite->mode == SUITE_CBC)
		return 16;
	return suite->version == TLS_1_2 && suite->mode != SUITE_CHACHA ? 8 : 0;
}

/* GCM, CCM, ChaCha20-Poly1305: `len` bytes of cipher text, the tag behind them. */
static bool open_aead(const struct cipher *c, const uint8_t *nonce, const uint8_t *extra,
		      size_t extra_len, const uint8_t *text, size_t len, uint8_t *plain)
{
	uint64_t lengths[3] = {len, extra_len, c->suite->tag};

	/* nothing may be left of a record that failed half-way */
	if (gcry_cipher_reset(c->handle) || gcry_cipher_setiv(c->handle, nonce, 12))
		return false;
	if (c->suite->mode == SUITE_CCM &&
	    gcry_cipher_ctl(c->handle, GCRYCTL_SET_CCM_LENGTHS, lengths, sizeof(lengths)))
		return false;
	return !gcry_cipher_authenticate(c->handle, extra, extra_len) &&
	       !gcry_cipher_decrypt(c->handle, plain, len, text, len) &&
	       !gcry_cipher_checktag(c->handle, text + len, c->suite->tag);
}

/* The MAC of a record of 1.2: over its number, type, version, length and bytes. */
static bool mac_fits(const struct cipher *c, uint64_t sequence, const uint8_t *record,
		     const uint8_t *bytes, size_t len, const uint8_t *mac)
{
	uint8_t head[13];

	put64(head, sequence);
	memcpy(head + 8, record, 3);
	head[11] = (uint8_t)(len >> 8);
	head[12] = (uint8_t)len;
	return !gcry_mac_reset(c->mac) && !gcry_mac_write(c->mac, head, sizeof(head)) &&
	       !gcry_mac_write(c->mac, bytes, len) && !gcry_mac_verify(c->mac, mac, c->suite->tag);
}

static bool open_cbc(const struct cipher *c, uint64_t sequence, const uint8_t *record,
		     const uint8_t *body, size_t len, uint8_t *plain, size_t *plain_len)
{
	size_t mac = c->suite->tag, text, pad;

	if (c->encrypt_then_mac) {
		if (len < mac)
			return false;
		len -= mac;
		if (!mac_fits(c, sequence, record, body, len, body + len))
			return false;
	}
	if (len < 32 || len % 16)
		return false;
	text = len - 16;
	if (gcry_cipher_reset(c->handle) || gcry_cipher_setiv(c->handle, body, 16) ||
	    gcry_cipher_decrypt(c->handle, plain, text, body + 16, text))
		return false;
	pad = plain[text - 1];
	if (pad + 1 > text)
		return false;
	for (size_t i = text - 1 - pad; i < text; i++)
		if (plain[i] != pad)
			return false;
	text -= pad + 1;
	if (!c->encrypt_then_mac) {
		if (text < mac)
			return false;
		text -= mac;
		if (!mac_fits(c, sequence, record, plain, text, plain + text))
			return false;
	}
	*plain_len = text;
	return true;
}

bool cipher_open(struct cipher *c, uint64_t sequence, const uint8_t *record, size_t record_len,
		 uint8_t *plain, size_t *plain_len, uint8_t *type)
{
	const struct suite *suite = c->suite;
	const uint8_t *body = record + RECORD_HEADER;
	size_t len, before;
	uint8_t nonce[12], extra[13], number[8];

	NBDS_ASSERT(record_len >= RECORD_HEADER && record_len <= RECORD_HEADER + RECORD_MOST);
	len = record_len - RECORD_HEADER;
	*type = record[0];
	if (suite->mode == SUITE_CBC)
		return open_cbc(c, sequence, record, body, len, plain, plain_len);
	before = explicit_bytes(suite);
	if (len < before + suite->tag)
		return false;
	len -= before + suite->tag;
	put64(number, sequence);
	memcpy(nonce, c->iv, sizeof(nonce));
	if (before) {
		memcpy(nonce + 4, body, 8);
	} else {
		for (int i = 0; i < 8; i++)
			nonce[4 + i] ^= number[i];
	}
	if (suite->version == TLS_1_3) {
		if (!open_aead(c, nonce, record, RECORD_HEADER, body, len, plain))
			return false;
		/* content, its type, zeroes */
		while (len && !plain[len - 1])
			len--;
		if (!len)
			return false;
		*type = plain[--len];
		*plain_len = len;
		return true;
	}
	memcpy(extra, number, 8);
	memcpy(extra + 8, record, 3);
	extra[11] = (uint8_t)(len >> 8);
	extra[12] = (uint8_t)len;
	*plain_len = len;
	return open_aead(c, nonce, extra, sizeof(extra), body + before, len, plain);
}

size_t cipher_inside(const struct cipher *c, size_t body, bool *exact)
{
	size_t around;

	*exact = false;
	if (!c->suite)
		return body;
	around = explicit_bytes(c->suite) + c->suite->tag;
	/* 1.3 hides the type and may pad, and CBC pads */
	*exact = c->suite->version == TLS_1_2 && c->suite->mode != SUITE_CBC;
	return body > around ? body - around : 0;
}
