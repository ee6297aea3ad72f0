/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pcapng.c - reads pcapng. See pcapng.h; numbers of sections are those of
 * draft-ietf-opsawg-pcapng.
 *
 * A file is a row of blocks, each
 *
 *	type (4)  total length (4)  body  total length again (4)
 *
 * in the byte order of its section.  One block at a time lies whole in `buffer`;
 * packets are handed out from there, without a copy.  The buffer only grows when
 * it is full of bytes that were really read, so that a length alone allocates
 * nothing.
 */
#include "pcapng.h"
#include <base/bytes.h>

#include <pcap/dlt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUFFER_FIRST = 1 << 20 };

/* Block types (section 10.1). */
enum {
	BLOCK_IDB = 1,
	BLOCK_PB = 2,
	BLOCK_SPB = 3,
	BLOCK_ISB = 5,
	BLOCK_EPB = 6,
	BLOCK_JOURNAL = 9,
	BLOCK_DSB = 10,
	BLOCK_SYSDIG_EVENT = 0x204,
	BLOCK_SYSDIG_EVENT_2 = 0x216,
	BLOCK_SYSDIG_EVENT_2_LARGE = 0x221,
	BLOCK_CUSTOM = 0xbad,
	BLOCK_CUSTOM_NO_COPY = 0x40000bad,
};

/* Option codes. */
enum {
	OPT_ENDOFOPT = 0,
	OPT_COMMENT = 1,
	IF_NAME = 2,
	IF_DESCRIPTION = 3,
	IF_TSRESOL = 9,
	IF_TSOFFSET = 14,
	EPB_DROPCOUNT = 4,
	ISB_IFDROP = 5,
	ISB_OSDROP = 7,
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define NS_PER_SECOND    1000000000

/* Numbers are taken in the file's order: LINKTYPE_RAW has its own DLT_. */
enum { LINKTYPE_RAW_IP = 101 };

struct interface {
	int linktype;
	uint32_t snaplen; /* 0: no limit */
	/* Time stamp units to ns since 1970: units up to `quick_max` are
	 * units * quick_scale + quick_offset; all others take the long way. */
	uint64_t quick_max, quick_scale;
	int64_t quick_offset;
	int64_t offset; /* seconds to add */
	uint8_t resolution;
	uint64_t statistics_drops; /* of the last statistics block */
	uint64_t packet_drops;     /* sum of what packets say */
	char *name, *description, *comment;
};

struct nbds_pcapng {
	struct nbds_source *source;
	uint8_t *buffer;
	size_t at, length, size;
	bool big; /* byte order of the section */
	bool cut_packet;
	bool any_drops_known;
	uint64_t dropped;
	int64_t last_time;
	uint64_t passed; /* other records, since that was asked */

	/* Of all sections; those of this one begin at `section_first`. */
	struct interface *interfaces;
	uint32_t interface_count, interface_size, section_first;
	char error[160];

	bool keep_words;
	bool commented; /* the last packet has this comment: */
	char comment[NBDS_PCAPNG_WORDS_MAX + 1];
	void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s);
	void *secrets_ctx;
};

__attribute__((format(printf, 2, 3))) static int fail(struct nbds_pcapng *ng, const char *format,
						      ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ng->error, sizeof(ng->error), format, args);
	va_end(args);
	return -1;
}

static uint16_t get16(const struct nbds_pcapng *ng, const uint8_t *p)
{
	uint16_t v = nbds_be16(p);

	return ng->big ? v : __builtin_bswap16(v);
}

static uint32_t get32(const struct nbds_pcapng *ng, const uint8_t *p)
{
	uint32_t v = nbds_be32(p);

	return ng->big ? v : __builtin_bswap32(v);
}

static uint64_t get64(const struct nbds_pcapng *ng, const uint8_t *p)
{
	uint64_t v = nbds_be64(p);

	return ng->big ? v : __builtin_bswap64(v);
}

struct nbds_pcapng *nbds_pcapng_new(struct nbds_source *source)
{
	struct nbds_pcapng *ng = calloc(1, sizeof(*ng));

	if (!ng)
		return NULL;
	ng->source = source;
	ng->size = BUFFER_FIRST;
	ng->buffer = malloc(ng->size);
	if (!ng->buffer) {
		free(ng);
		return NULL;
	}
	return ng;
}

void nbds_pcapng_free(struct nbds_pcapng *ng)
{
	if (!ng)
		return;
	for (uint32_t i = 0; i < ng->interface_count; i++) {
		free(ng->interfaces[i].name);
		free(ng->interfaces[i].description);
		free(ng->interfaces[i].comment);
	}
	free(ng->interfaces);
	free(ng->buffer);
	free(ng);
}

/* At least `count` bytes at ng->at. 1; 0 if the file has fewer; -1: error. */
static int need(struct nbds_pcapng *ng, size_t count)
{
	if (ng->length - ng->at >= count)
		return 1;
	memmove(ng->buffer, ng->buffer + ng->at, ng->length - ng->at);
	ng->length -= ng->at;
	ng->at = 0;
	while (ng->length < count) {
		ssize_t got;

		if (ng->length == ng->size) {
			uint8_t *larger = realloc(ng->buffer, ng->size * 2);

			if (!larger)
				return fail(ng, "not enough memory for a block");
			ng->buffer = larger;
			ng->size *= 2;
		}
		got = nbds_source_read(ng->source, ng->buffer + ng->length, ng->size - ng->length);
		if (got < 0)
			return fail(ng, "%s", nbds_source_error(ng->source));
		if (got == 0)
			return 0;
		ng->length += (size_t)got;
	}
	return 1;
}

struct option {
	uint16_t code, length;
	const uint8_t *value;
};

/* The next option between *at and end. False at their end, or where they are
 * damaged: options only add to what is known already. */
static bool next_option(const struct nbds_pcapng *ng, const uint8_t **at, const uint8_t *end,
			struct option *o)
{
	if (end - *at < 4)
		return false;
	o->code = get16(ng, *at);
	o->length = get16(ng, *at + 2);
	o->value = *at + 4;
	if (o->code == OPT_ENDOFOPT || end - o->value < o->length)
		return false;
	*at = o->value + o->length;
	*at += -(uintptr_t)o->length & 3;
	if (*at > end)
		*at = end;
	return true;
}

/* As much of a text as is kept. */
static uint32_t text_length(const struct option *o)
{
	const uint8_t *nul = memchr(o->value, 0, o->length);
	uint32_t length = nul ? (uint32_t)(nul - o->value) : o->length;

	if (length <= NBDS_PCAPNG_WORDS_MAX)
		return length;
	/* Not in the middle of a character. */
	length = NBDS_PCAPNG_WORDS_MAX;
	while (length && (o->value[length] & 0xc0) == 0x80)
		length--;
	return length;
}

/* The first of its kind stays; without memory there is none. */
static void keep_text(const struct nbds_pcapng *ng, const struct option *o, char **text)
{
	if (ng->keep_words && !*text)
		*text = strndup((const char *)o->value, text_length(o));
}

static uint64_t power_of_ten(unsigned exponent)
{
	uint64_t v = 1;

	while (exponent--)
		v *= 10;
	return v;
}

/* Time stamp `units` of interface `i` in ns, held within int64_t. */
static int64_t exact_time(const struct interface *i, uint64_t units)
{
	unsigned exponent = i->resolution & 0x7f;
	__int128 t;

	if (i->resolution & 0x80)
		t = (__int128)((unsigned __int128)units * NS_PER_SECOND >> exponent);
	else if (exponent <= 9)
		t = (__int128)units * (__int128)power_of_ten(9 - exponent);
	else if (exponent <= 9 + 19)
		t = (__int128)(units / power_of_ten(exponent - 9));
	else
		t = 0;
	t += (__int128)i->offset * NS_PER_SECOND;
	if (t > INT64_MAX)
		return INT64_MAX;
	if (t < INT64_MIN)
		return INT64_MIN;
	return (int64_t)t;
}

static int64_t packet_time(struct nbds_pcapng *ng, const struct interface *i, uint64_t units)
{
	if (units <= i->quick_max)
		ng->last_time = (int64_t)(units * i->quick_scale) + i->quick_offset;
	else
		ng->last_time = exact_time(i, units);
	return ng->last_time;
}

/* The quick way serves units of 1 s to 1 ns, as long as product and offset are
 * each within half of int64_t, 146 years. */
static void set_quick_time(struct interface *i)
{
	const int64_t limit = INT64_MAX / 2;

	i->quick_max = 0;
	i->quick_scale = 0;
	i->quick_offset = exact_time(i, 0);
	if (i->resolution > 9 || i->offset > limit / NS_PER_SECOND ||
	    i->offset < -limit / NS_PER_SECOND)
		return;
	i->quick_scale = power_of_ten(9 - i->resolution);
	i->quick_max = (uint64_t)limit / i->quick_scale;
}

/* Interface Description Block (4.2). */
static int read_interface(struct nbds_pcapng *ng, const uint8_t *b, const uint8_t *end)
{
	struct interface *i;
	struct option o;

	if (end - b < 16)
		return fail(ng, "the file is damaged (interface block of %u bytes)",
			    (unsigned)(end - b + 4));
	if (ng->interface_count == NBDS_PCAPNG_INTERFACES_MAX)
		return fail(ng, "more than %u interfaces", NBDS_PCAPNG_INTERFACES_MAX);
	if (ng->interface_count == ng->interface_size) {
		uint32_t size = ng->interface_size ? ng->interface_size * 2 : 8;

		i = realloc(ng->interfaces, size * sizeof(*i));
		if (!i)
			return fail(ng, "not enough memory for the interfaces");
		ng->interfaces = i;
		ng->interface_size = size;
	}
	i = &ng->interfaces[ng->interface_count++];
	*i = (struct interface){
		.linktype = get16(ng, b + 8),
		.snaplen = get32(ng, b + 12),
		.resolution = 6,
	};
	if (i->linktype == LINKTYPE_RAW_IP)
		i->linktype = DLT_RAW;
	b += 16;
	while (next_option(ng, &b, end, &o)) {
		if (o.code == IF_TSRESOL && o.length >= 1)
			i->resolution = o.value[0];
		else if (o.code == IF_TSOFFSET && o.length >= 8)
			i->offset = (int64_t)get64(ng, o.value);
		else if (o.code == IF_NAME)
			keep_text(ng, &o, &i->name);
		else if (o.code == IF_DESCRIPTION)
			keep_text(ng, &o, &i->description);
		else if (o.code == OPT_COMMENT)
			keep_text(ng, &o, &i->comment);
	}
	set_quick_time(i);
	return 0;
}

/* The interface with this number in the section, or NULL with an error. */
static struct interface *find_interface(struct nbds_pcapng *ng, uint32_t number)
{
	if (number >= ng->interface_count - ng->section_first) {
		fail(ng,
		     "the file is damaged (a block of interface %u, which it does not describe)",
		     number);
		return NULL;
	}
	return &ng->interfaces[ng->section_first + number];
}

static uint64_t interface_drops(const struct interface *i)
{
	return i->statistics_drops > i->packet_drops ? i->statistics_drops : i->packet_drops;
}

/* A count that a file may make as large as it likes stays at the largest. */
static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* New counts of drops of an interface; both kinds are sums since its start. */
static void set_drops(struct nbds_pcapng *ng, struct interface *i, uint64_t statistics,
		      uint64_t packets)
{
	if (ng->dropped < UINT64_MAX)
		ng->dropped -= interface_drops(i);
	i->statistics_drops = statistics;
	i->packet_drops = packets;
	ng->dropped = sum(ng->dropped, interface_drops(i));
	ng->any_drops_known = true;
}

/* Interface Statistics Block (4.6). A later one replaces an earlier one. */
static int read_statistics(struct nbds_pcapng *ng, const uint8_t *b, const uint8_t *end)
{
	struct interface *i;
	struct option o;
	uint64_t drops = 0;
	bool known = false;

	if (end - b < 20)
		return fail(ng, "the file is damaged (statistics block of %u bytes)",
			    (unsigned)(end - b + 4));
	i = find_interface(ng, get32(ng, b + 8));
	if (!i)
		return -1;
	b += 20;
	while (next_option(ng, &b, end, &o)) {
		if ((o.code != ISB_IFDROP && o.code != ISB_OSDROP) || o.length != 8)
			continue;
		if (get64(ng, o.value) == UINT64_MAX)
			continue;
		drops = sum(drops, get64(ng, o.value));
		known = true;
	}
	if (known)
		set_drops(ng, i, drops, i->packet_drops);
	return 0;
}

static int too_long(struct nbds_pcapng *ng, uint32_t caplen)
{
	return fail(ng, "the file is damaged (a packet of %u bytes does not fit its block)",
		    caplen);
}

/* Enhanced Packet Block (4.3), and the obsolete Packet Block (appendix A),
 * which differ in where the interface and the drops stand. */
static int read_packet(struct nbds_pcapng *ng, const uint8_t *b, const uint8_t *end, bool old,
		       struct nbds_packet *p)
{
	struct interface *i;
	struct option o;
	uint32_t number;

	if (end - b < 28)
		return fail(ng, "the file is damaged (packet block of %u bytes)",
			    (unsigned)(end - b + 4));
	number = old ? get16(ng, b + 8) : get32(ng, b + 8);
	i = find_interface(ng, number);
	if (!i)
		return -1;
	p->interface = ng->section_first + number;
	p->linktype = i->linktype;
	p->time = packet_time(ng, i, (uint64_t)get32(ng, b + 12) << 32 | get32(ng, b + 16));
	p->caplen = get32(ng, b + 20);
	p->len = get32(ng, b + 24);
	p->data = b + 28;
	if (p->caplen > (size_t)(end - p->data))
		return too_long(ng, p->caplen);
	if (old) {
		uint16_t drops = get16(ng, b + 10);

		if (drops != UINT16_MAX)
			set_drops(ng, i, i->statistics_drops, sum(i->packet_drops, drops));
	} else {
		const uint8_t *at = p->data + p->caplen + (-(uintptr_t)p->caplen & 3);

		while (next_option(ng, &at, end, &o)) {
			if (o.code == EPB_DROPCOUNT && o.length == 8) {
				set_drops(ng, i, i->statistics_drops,
					  sum(i->packet_drops, get64(ng, o.value)));
			} else if (o.code == OPT_COMMENT && ng->keep_words && !ng->commented) {
				uint32_t length = text_length(&o);

				memcpy(ng->comment, o.value, length);
				ng->comment[length] = '\0';
				ng->commented = true;
			}
		}
	}
	return 1;
}

/* Simple Packet Block (4.4): of the first interface, cut at its snapshot
 * length, and without a time: it gets that of the packet before. */
static int read_simple_packet(struct nbds_pcapng *ng, const uint8_t *b, const uint8_t *end,
			      struct nbds_packet *p)
{
	const struct interface *i;

	if (end - b < 12)
		return fail(ng, "the file is damaged (packet block of %u bytes)",
			    (unsigned)(end - b + 4));
	i = find_interface(ng, 0);
	if (!i)
		return -1;
	p->interface = ng->section_first;
	p->linktype = i->linktype;
	p->time = ng->last_time;
	p->len = get32(ng, b + 8);
	p->caplen = p->len;
	if (i->snaplen && p->caplen > i->snaplen)
		p->caplen = i->snaplen;
	p->data = b + 12;
	if (p->caplen > (size_t)(end - p->data))
		return too_long(ng, p->caplen);
	return 1;
}

/* Decryption Secrets Block (4.7). What it says is for others: damage inside of it is no
 * harm here. */
static void read_secrets(struct nbds_pcapng *ng, const uint8_t *b, const uint8_t *end)
{
	struct nbds_pcapng_secrets s;

	if (!ng->secrets || end - b < 16)
		return;
	s = (struct nbds_pcapng_secrets){
		.kind = get32(ng, b + 8),
		.data = b + 16,
		.length = get32(ng, b + 12),
	};
	if (s.length <= (size_t)(end - s.data))
		ng->secrets(ng->secrets_ctx, &s);
}

/* Section Header Block (4.1): sets the byte order of all that follows. */
static int read_section_order(struct nbds_pcapng *ng)
{
	uint32_t magic = nbds_be32(ng->buffer + ng->at + 8);

	if (magic != BYTE_ORDER_MAGIC && magic != __builtin_bswap32(BYTE_ORDER_MAGIC))
		return fail(ng, "the file is damaged (byte order magic 0x%08x in a section header)",
			    magic);
	ng->big = magic == BYTE_ORDER_MAGIC;
	ng->section_first = ng->interface_count;
	return 0;
}

static int read_section(struct nbds_pcapng *ng, const uint8_t *b, const uint8_t *end)
{
	unsigned major, minor;

	if (end - b < 24)
		return fail(ng, "the file is damaged (section header of %u bytes)",
			    (unsigned)(end - b + 4));
	major = get16(ng, b + 12);
	minor = get16(ng, b + 14);
	/* 1.2 was written by some programs and is the same as 1.0. */
	if (major != 1 || (minor != 0 && minor != 2))
		return fail(ng, "pcapng version %u.%u is not known", major, minor);
	return 0;
}

static bool holds_packet(uint32_t type)
{
	return type == BLOCK_EPB || type == BLOCK_SPB || type == BLOCK_PB;
}

/* The next block, whole and with plausible lengths. 1, 0 at the end, -1. */
static int next_block(struct nbds_pcapng *ng, uint32_t *type, uint32_t *length)
{
	int have = need(ng, 8);

	if (have == 0 && ng->length == ng->at)
		return 0;
	if (have > 0) {
		*type = get32(ng, ng->buffer + ng->at);
		if (*type == NBDS_PCAPNG_MAGIC) {
			have = need(ng, 12);
			if (have > 0 && read_section_order(ng) < 0)
				return -1;
		}
	}
	if (have <= 0)
		return have < 0 ? -1 : fail(ng, "the file ends in the middle of a block");
	*length = get32(ng, ng->buffer + ng->at + 4);
	if (*length < 12 || *length % 4)
		return fail(ng, "the file is damaged (a block of %u bytes)", *length);
	if (*length > NBDS_PCAPNG_BLOCK_MAX)
		return fail(ng,
			    "a block of %u bytes is larger than the limit of %u MiB "
			    "(the file is damaged?)",
			    *length, NBDS_PCAPNG_BLOCK_MAX >> 20);
	have = need(ng, *length);
	if (have == 0) {
		ng->cut_packet = holds_packet(*type);
		return fail(ng, "the file ends in the middle of a block");
	}
	if (have < 0)
		return -1;
	if (get32(ng, ng->buffer + ng->at + *length - 4) != *length)
		return fail(ng, "the file is damaged (the two lengths of a block differ)");
	return 1;
}

int nbds_pcapng_next(struct nbds_pcapng *ng, struct nbds_packet *p)
{
	ng->commented = false;
	for (;;) {
		uint32_t type = 0, length = 0;
		const uint8_t *b, *end;
		int result = next_block(ng, &type, &length);

		if (result <= 0)
			return result;
		b = ng->buffer + ng->at;
		end = b + length - 4;
		ng->at += length;
		switch (type) {
		case NBDS_PCAPNG_MAGIC:
			result = read_section(ng, b, end);
			break;
		case BLOCK_IDB:
			result = read_interface(ng, b, end);
			break;
		case BLOCK_EPB:
		case BLOCK_PB:
			result = read_packet(ng, b, end, type == BLOCK_PB, p);
			break;
		case BLOCK_SPB:
			result = read_simple_packet(ng, b, end, p);
			break;
		case BLOCK_ISB:
			result = read_statistics(ng, b, end);
			break;
		case BLOCK_DSB:
			read_secrets(ng, b, end);
			result = 0;
			break;
		case BLOCK_CUSTOM:
		case BLOCK_CUSTOM_NO_COPY:
		case BLOCK_JOURNAL:
		case BLOCK_SYSDIG_EVENT:
		case BLOCK_SYSDIG_EVENT_2:
		case BLOCK_SYSDIG_EVENT_2_LARGE:
			ng->passed++;
			result = 0;
			break;
		default: /* names and unknown blocks */
			result = 0;
		}
		if (result)
			return result;
	}
}

const char *nbds_pcapng_error(const struct nbds_pcapng *ng)
{
	return ng->error;
}

uint64_t nbds_pcapng_passed(struct nbds_pcapng *ng)
{
	uint64_t passed = ng->passed;

	ng->passed = 0;
	return passed;
}

bool nbds_pcapng_cut_packet(const struct nbds_pcapng *ng)
{
	return ng->cut_packet;
}

uint32_t nbds_pcapng_interfaces(const struct nbds_pcapng *ng)
{
	return ng->interface_count;
}

int nbds_pcapng_linktype(const struct nbds_pcapng *ng, uint32_t interface)
{
	return ng->interfaces[interface].linktype;
}

void nbds_pcapng_keep_words(struct nbds_pcapng *ng,
			    void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
			    void *ctx)
{
	ng->keep_words = true;
	ng->secrets = secrets;
	ng->secrets_ctx = ctx;
}

void nbds_pcapng_interface(const struct nbds_pcapng *ng, uint32_t interface,
			   struct nbds_pcapng_interface *i)
{
	const struct interface *from = &ng->interfaces[interface];

	*i = (struct nbds_pcapng_interface){
		.linktype = from->linktype,
		.snaplen = from->snaplen,
		.resolution = from->resolution,
		.name = from->name,
		.description = from->description,
		.comment = from->comment,
	};
}

const char *nbds_pcapng_comment(const struct nbds_pcapng *ng)
{
	return ng->commented ? ng->comment : NULL;
}

bool nbds_pcapng_dropped(const struct nbds_pcapng *ng, uint64_t *dropped)
{
	*dropped = ng->dropped;
	return ng->any_drops_known;
}
