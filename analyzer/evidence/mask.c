/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mask.c - other addresses, names and contents. See mask.h.
 */
#include "mask.h"

#include <base/bytes.h>
#include <nbdscope/fields.h>
#include <nbdscope/protocol.h>
#include <stdlib.h>
#include <sys/random.h>

#include "siphash.h"

/* Tables of bytes; which of them a place has is secret. */
#define TABLES 4096

/* As often another name is looked for until it is not one that is in use. */
#define NAME_TRIES 256

/* Ports in the place of those of clients. */
#define CLIENT_PORT_FIRST 50000

/* Of names and hosts, of which a capture may have many. */
#define BUCKETS 4096

struct name {
	uint8_t *real, *other; /* `len` bytes each */
	size_t len;
	struct name *next, *next_other;
};

struct host {
	struct nbds_addr address;
	struct host *next;
};

struct address {
	struct nbds_addr real, other;
	uint16_t port; /* in the place of its own */
};

struct nbds_mask {
	struct nbds_sip_key contents, places, names, tables_key;
	uint8_t (*tables)[256];
	struct name *seen[BUCKETS];   /* by hash of the real one */
	struct name *others[BUCKETS]; /* the same, by hash of the other */
	struct address *addresses;
	size_t address_count, address_room;
	struct host *real[BUCKETS]; /* by hash: not to be given to others */
	unsigned networks[2][2];    /* addresses given out: IPv4, IPv6; loopback, others */
	bool failed;
	/* what the function said last, of eight bytes */
	uint64_t digest, place, bytes;
	bool said;
};

/* --- contents --- */

/* A random order of 1 .. 255 (Fisher and Yates); 0 stays. */
static void draw_table(const struct nbds_mask *m, unsigned t)
{
	uint8_t *table = m->tables[t];

	for (unsigned i = 0; i < 256; i++)
		table[i] = (uint8_t)i;
	for (unsigned i = 255; i > 1; i--) {
		uint64_t drawn = nbds_sip2(&m->tables_key, t, i);
		unsigned j = 1 + (unsigned)(drawn % i);
		uint8_t kept = table[i];

		table[i] = table[j];
		table[j] = kept;
	}
}

struct nbds_mask *nbds_mask_new(void)
{
	struct nbds_mask *m = calloc(1, sizeof(*m));
	struct nbds_sip_key keys[4];

	if (!m)
		return NULL;
	m->tables = calloc(TABLES, sizeof(*m->tables));
	if (!m->tables || getrandom(keys, sizeof(keys), 0) != (ssize_t)sizeof(keys)) {
		nbds_mask_free(m);
		return NULL;
	}
	m->contents = keys[0];
	m->places = keys[1];
	m->names = keys[2];
	m->tables_key = keys[3];
	for (unsigned t = 0; t < TABLES; t++)
		draw_table(m, t);
	return m;
}

void nbds_mask_free(struct nbds_mask *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		while (m->real[i]) {
			struct host *h = m->real[i];

			m->real[i] = h->next;
			free(h);
		}
		while (m->seen[i]) {
			struct name *n = m->seen[i];

			m->seen[i] = n->next;
			free(n->real);
			free(n->other);
			free(n);
		}
	}
	free(m->addresses);
	free(m->tables);
	free(m);
}

bool nbds_mask_failed(const struct nbds_mask *m)
{
	return m->failed;
}

uint64_t nbds_mask_digest(const struct nbds_mask *m, const uint8_t sector[NBDS_MASK_SECTOR])
{
	bool zero = true;
	uint64_t digest;

	for (unsigned i = 0; zero && i < NBDS_MASK_SECTOR; i++)
		zero = !sector[i];
	if (zero)
		return 0;
	digest = nbds_sip(&m->contents, sector, NBDS_MASK_SECTOR);
	return digest ? digest : 1;
}

uint8_t nbds_mask_sector_byte(struct nbds_mask *m, uint64_t digest, uint64_t offset, bool anywhere)
{
	if (anywhere)
		offset %= NBDS_MASK_SECTOR;
	if (!digest)
		return 0;
	if (!m->said || m->digest != digest || m->place != offset / 8) {
		m->digest = digest;
		m->place = offset / 8;
		m->bytes = nbds_sip2(&m->contents, digest, m->place);
		m->said = true;
	}
	return (uint8_t)(m->bytes >> (offset % 8 * 8));
}

uint8_t nbds_mask_byte(const struct nbds_mask *m, uint64_t offset, uint8_t byte)
{
	return m->tables[nbds_sip(&m->places, &offset, sizeof(offset)) % TABLES][byte];
}

uint8_t nbds_mask_other(uint8_t byte)
{
	return byte ? 'x' : 0;
}

/* Of 32 bits: halves of magics, options, types of replies, and other small numbers. */
static bool is_protocols(uint32_t word)
{
	for (size_t i = 0; i < nbds_magics64.count; i++)
		if (word == nbds_magics64.entries[i].value >> 32 ||
		    word == (uint32_t)nbds_magics64.entries[i].value)
			return true;
	for (size_t i = 0; i < nbds_magics32.count; i++)
		if (word == nbds_magics32.entries[i].value)
			return true;
	return (word & UINT32_C(0x7fffffff)) < 32;
}

void nbds_mask_nonsense(const uint8_t *bytes, size_t len, uint8_t *out)
{
	for (size_t i = 0; i < len; i += 4) {
		size_t n = len - i < 4 ? len - i : 4;

		if (n == 4 && is_protocols(nbds_be32(bytes + i)))
			memcpy(out + i, bytes + i, 4);
		else
			for (size_t j = i; j < i + n; j++)
				out[j] = nbds_mask_other(bytes[j]);
	}
}

/* --- names --- */

/* Namespaces of metadata contexts that the protocol, and servers, give a meaning. */
static size_t known_part(const uint8_t *name, size_t len)
{
	static const char *const known[] = {"base:allocation", "qemu:allocation-depth",
					    "qemu:dirty-bitmap:", "base:", "qemu:"};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		size_t n = strlen(known[i]);

		if (len >= n && !memcmp(name, known[i], n))
			return n;
	}
	return 0;
}

/* What a byte becomes: what is no letter in any sense (NUL, control characters, damage, the
 * colon of a namespace) stays, as rules may speak of it. */
static uint8_t letter(uint8_t byte, bool utf8, uint8_t drawn)
{
	if (byte < 0x20 || byte == 0x7f || byte == ':')
		return byte;
	if (byte >= 0x80 && !utf8)
		return 0xff;
	return (uint8_t)('a' + drawn % 26);
}

static bool is_utf8(const uint8_t *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t more = s[i] < 0x80   ? 0
			      : s[i] < 0xc2 ? 9
			      : s[i] < 0xe0 ? 1
			      : s[i] < 0xf0 ? 2
			      : s[i] < 0xf5 ? 3
					    : 9;

		if (more > len - i - 1)
			return false;
		for (size_t j = 1; j <= more; j++)
			if ((s[i + j] & 0xc0) != 0x80)
				return false;
		i += 1 + more;
	}
	return true;
}

static bool in_use(const struct nbds_mask *m, const uint8_t *other, size_t len)
{
	size_t bucket = nbds_sip(&m->names, other, len) % BUCKETS;

	for (const struct name *n = m->seen[bucket]; n; n = n->next)
		if (n->len == len && !memcmp(n->real, other, len))
			return true;
	for (const struct name *n = m->others[bucket]; n; n = n->next_other)
		if (n->len == len && !memcmp(n->other, other, len))
			return true;
	return false;
}

void nbds_mask_name(struct nbds_mask *m, const uint8_t *name, size_t len, uint8_t *out)
{
	uint64_t hash = nbds_sip(&m->names, name, len);
	struct name **list = &m->seen[hash % BUCKETS], **others, *n;
	size_t known = known_part(name, len);
	bool utf8 = is_utf8(name, len);

	for (n = *list; n; n = n->next) {
		if (n->len == len && !memcmp(n->real, name, len)) {
			memcpy(out, n->other, len);
			return;
		}
	}
	memcpy(out, name, known);
	for (unsigned try = 0; try < NAME_TRIES; try++) {
		for (size_t i = known; i < len; i++)
			out[i] = letter(name[i], utf8,
					(uint8_t)(nbds_sip2(&m->names, hash + try, i) >> 32));
		if (known == len || (memcmp(out, name, len) != 0 && !in_use(m, out, len)))
			break;
	}
	n = calloc(1, sizeof(*n));
	if (n) {
		n->real = malloc(len + 1);
		n->other = malloc(len + 1);
		n->len = len;
		n->next = *list;
		*list = n;
	}
	if (!n || !n->real || !n->other) {
		m->failed = true;
		if (n)
			n->len = SIZE_MAX; /* equal to none */
		return;
	}
	memcpy(n->real, name, len);
	memcpy(n->other, out, len);
	others = &m->others[nbds_sip(&m->names, out, len) % BUCKETS];
	n->next_other = *others;
	*others = n;
}

/* --- heads of messages --- */

/* x's, but for what is no letter: whether it is UTF-8 stays. */
static void put_text(const uint8_t *text, size_t len, uint8_t *out)
{
	bool utf8 = is_utf8(text, len);

	for (size_t i = 0; i < len; i++)
		out[i] = letter(text[i], utf8, 'x' - 'a');
}

struct head {
	struct nbds_mask *mask;
	const struct nbds_message *message;
	uint8_t *out;
};

static void put_field(void *arg, const struct nbds_field *f)
{
	const struct head *h = arg;
	const struct nbds_field_info *info = &nbds_fields[f->id];
	const struct nbds_message *m = h->message;

	if (f->offset > m->head_len || f->length > m->head_len - f->offset)
		return; /* payload */
	if (info->type == NBDS_FT_BYTES)
		return;
	if (info->type != NBDS_FT_STRING) {
		memcpy(h->out + f->offset, m->head + f->offset, f->length);
		return;
	}
	if (strstr(info->name, "name") || strstr(info->name, "query"))
		nbds_mask_name(h->mask, m->head + f->offset, f->length, h->out + f->offset);
	else
		put_text(m->head + f->offset, f->length, h->out + f->offset);
}

void nbds_mask_head(struct nbds_mask *mask, const struct nbds_message *m, uint8_t *out)
{
	struct head h = {mask, m, out};

	for (uint32_t i = 0; i < m->head_len; i++)
		out[i] = nbds_mask_other(m->head[i]);
	nbds_walk(m, put_field, &h);
}

/* --- addresses --- */

static bool is_loopback(const struct nbds_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (a->family == 4)
		return a->ip[0] == 127;
	return memcmp(a->ip, one, 16) == 0 || (memcmp(a->ip, mapped, 12) == 0 && a->ip[12] == 127);
}

static bool same_host(const struct nbds_addr *a, const struct nbds_addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

/* The `n`-th address, from 1, of those for examples. */
static void example(struct nbds_addr *a, bool loopback, unsigned n)
{
	static const uint8_t blocks[3][3] = {{192, 0, 2}, {198, 51, 100}, {203, 0, 113}};

	memset(a->ip, 0, sizeof(a->ip));
	if (a->family == 6) {
		/* Of loopback there is one address in IPv6, and those of IPv4. */
		static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
		static const uint8_t documentation[4] = {0x20, 0x01, 0x0d, 0xb8};

		if (loopback) {
			memcpy(a->ip, mapped, sizeof(mapped));
			a->ip[12] = 127;
			a->ip[13] = 2;
		} else {
			memcpy(a->ip, documentation, sizeof(documentation));
		}
		a->ip[14] = (uint8_t)(n >> 8);
		a->ip[15] = (uint8_t)n;
		return;
	}
	if (loopback || n > 3 * 254) {
		/* 198.18.0.0/15 is for tests of networks (RFC 2544). */
		a->ip[0] = loopback ? 127 : 198;
		a->ip[1] = loopback ? 2 : 18;
		a->ip[2] = (uint8_t)(n >> 8);
		a->ip[3] = (uint8_t)n;
		return;
	}
	memcpy(a->ip, blocks[(n - 1) / 254], 3);
	a->ip[3] = (uint8_t)(1 + (n - 1) % 254);
}

static struct host **hosts_like(struct nbds_mask *m, const struct nbds_addr *a)
{
	return &m->real[nbds_sip(&m->names, a->ip, sizeof(a->ip)) % BUCKETS];
}

static bool is_real(struct nbds_mask *m, const struct nbds_addr *a)
{
	for (const struct host *h = *hosts_like(m, a); h; h = h->next)
		if (same_host(&h->address, a))
			return true;
	return false;
}

void nbds_mask_avoid(struct nbds_mask *m, const struct nbds_addr *a)
{
	struct host **list = hosts_like(m, a), *h;

	if (is_real(m, a))
		return;
	h = calloc(1, sizeof(*h));
	if (!h) {
		m->failed = true;
		return;
	}
	h->address = *a;
	h->next = *list;
	*list = h;
}

static struct address *find_address(struct nbds_mask *m, const struct nbds_addr *a)
{
	struct address *found;
	size_t known = SIZE_MAX; /* another port of it */
	bool loopback = is_loopback(a);

	for (size_t i = 0; i < m->address_count; i++) {
		if (!same_host(&m->addresses[i].real, a))
			continue;
		known = i;
		if (m->addresses[i].real.port == a->port)
			return &m->addresses[i];
	}
	if (m->address_count == m->address_room) {
		size_t room = m->address_room ? m->address_room * 2 : 64;

		found = realloc(m->addresses, room * sizeof(*found));
		if (!found) {
			m->failed = true;
			return NULL;
		}
		m->addresses = found;
		m->address_room = room;
	}
	found = &m->addresses[m->address_count];
	*found = (struct address){.real = *a, .other = *a};
	found->port = (uint16_t)(CLIENT_PORT_FIRST + m->address_count % 15000);
	if (known != SIZE_MAX) {
		memcpy(found->other.ip, m->addresses[known].other.ip, sizeof(found->other.ip));
	} else {
		unsigned *given = &m->networks[a->family == 6][loopback];

		do
			example(&found->other, loopback, ++*given);
		while (is_real(m, &found->other) && *given < UINT16_MAX);
		m->failed |= *given >= UINT16_MAX;
	}
	m->address_count++;
	return found;
}

struct nbds_addr nbds_mask_address(struct nbds_mask *m, const struct nbds_addr *a)
{
	const struct address *found = find_address(m, a);

	return found ? found->other : (struct nbds_addr){.family = a->family, .port = a->port};
}

uint16_t nbds_mask_port(struct nbds_mask *m, const struct nbds_addr *a)
{
	const struct address *found = find_address(m, a);

	return found ? found->port : CLIENT_PORT_FIRST;
}
