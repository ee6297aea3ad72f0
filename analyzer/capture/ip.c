/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ip.c - packets to TCP segments. See ip.h.
 *
 * A `span` runs through the layers: bytes that are here (`have`), and bytes
 * that were on the wire (`wire`, at least `have`).  Each layer takes its header
 * off the front and trims the end to the length that it states.  A header that
 * is not here is either cut off by the snapshot length (wire > have) or missing
 * from a malformed packet.
 *
 * Fragments wait by datagram, in units of 8 bytes as IP counts them:
 *
 *	on the wire   ########......########    covered[]: all here = complete
 *	captured      ######........########    captured[]: cut fragments have less
 *
 * The first copy of a unit stays.  RFC 791, RFC 8200 4.5, RFC 5722.
 *
 * So many datagrams may wait, of so many bytes; the one that waits for longest goes for a
 * new one.  Of one source only some may: a host that sends nothing but first fragments
 * pushes out its own.
 */
#include "ip.h"
#include <base/bytes.h>
#include <base/list.h>
#include <base/table.h>

#include <stdlib.h>
#include <string.h>

/* Link types, by the numbers of files and of libpcap, where they differ. */
enum {
	LINK_NULL = 0,
	LINK_ETHERNET = 1,
	LINK_RAW_BSD = 12, /* DLT_RAW */
	LINK_RAW_OPENBSD = 14,
	LINK_RAW = 101, /* LINKTYPE_RAW */
	LINK_LOOP = 108,
	LINK_LINUX_SLL = 113,
	LINK_IPV4 = 228,
	LINK_IPV6 = 229,
	LINK_LINUX_SLL2 = 276,
};

enum {
	TYPE_IPV4 = 0x0800,
	TYPE_VLAN = 0x8100,
	TYPE_IPV6 = 0x86dd,
	TYPE_SERVICE_VLAN = 0x88a8,
	TYPE_OLD_QINQ = 0x9100,
	TYPE_OLD_QINQ2 = 0x9200,
};

/* Next headers of IPv6, protocols of IPv4. */
enum {
	NEXT_HOP_BY_HOP = 0,
	NEXT_TCP = 6,
	NEXT_ROUTING = 43,
	NEXT_FRAGMENT = 44,
	NEXT_AUTHENTICATION = 51,
	NEXT_DESTINATION = 60,
};

enum {
	VLANS_MAX = 16,
	EXTENSIONS_MAX = 32,
	SLOTS = 1024,
	SOURCES = 256,     /* lists of slots, by their sources */
	SOURCE_SLOTS = 64, /* in each */
	ROOM_LEAST = 2048,
	DATAGRAM_MAX = 65535,
	UNIT = 8,
	UNITS = (DATAGRAM_MAX + 1) / UNIT,
};

#define NS_PER_MS       1000000ull
#define FRAGMENT_EXPIRE (30 * 1000 * NS_PER_MS) /* as hosts do it */
#define FRAGMENT_QUICK  (500 * NS_PER_MS)

/* Bytes of memory of all that waits. */
#define WAITING_MOST ((uint64_t)4 << 20)

struct span {
	const uint8_t *data;
	uint32_t have, wire;
};

struct datagram_key {
	uint8_t src[16], dst[16];
	uint32_t id;
	uint8_t family, protocol;
	uint16_t zero; /* keys are compared as bytes */
};

struct slot {
	struct nbds_table_node node; /* by key */
	struct nbds_list all, source;
	struct source *from;
	bool conflict; /* copies of a byte differed */
	struct datagram_key key;
	int64_t time;     /* of its first fragment */
	uint8_t next;     /* IPv6: header after the fragment header, at offset 0 */
	uint32_t total;   /* bytes, 0 until the last fragment came */
	uint32_t end;     /* greatest end of a fragment so far */
	uint32_t units;   /* covered so far */
	uint8_t checksum; /* enum nbds_checksum: the worst of its headers */
	uint8_t *data;    /* `room` bytes: DATAGRAM_MAX + 1 at most */
	uint32_t room;
	uint64_t covered[UNITS / 64], captured[UNITS / 64];
};

/* All sources with the same hash. */
struct source {
	struct nbds_list slots; /* oldest first */
	unsigned count;
};

struct nbds_ip {
	struct nbds_ip_stats stats;
	bool suspicious; /* this packet was put together, perhaps of parts of two */
	const uint8_t *packet, *header, *tcp; /* of the segment found last */
	bool together;                        /* it was put together */
	struct nbds_hash_key seed;
	struct nbds_budget budget; /* of slots, with their data, and their table */
	struct nbds_table by_key;
	struct nbds_list slots; /* oldest first */
	unsigned count;
	struct source sources[SOURCES];
	struct slot *done; /* complete; its bytes are with the caller */
};

struct nbds_ip *nbds_ip_new(void)
{
	struct nbds_ip *ip = calloc(1, sizeof(struct nbds_ip));

	if (!ip)
		return NULL;
	ip->seed = nbds_hash_key_new();
	nbds_list_init(&ip->slots);
	for (unsigned i = 0; i < SOURCES; i++)
		nbds_list_init(&ip->sources[i].slots);
	return ip;
}

/* Out of all lists. */
static void slot_leave(struct nbds_ip *ip, struct slot *slot)
{
	nbds_table_remove(&ip->by_key, &slot->node);
	nbds_list_remove(&slot->all);
	nbds_list_remove(&slot->source);
	slot->from->count--;
	ip->count--;
}

static void slot_free(struct nbds_ip *ip, struct slot *slot)
{
	if (!slot)
		return;
	nbds_budget_free(&ip->budget, slot->data, slot->room);
	nbds_budget_free(&ip->budget, slot, sizeof(*slot));
}

/* It will not be complete. */
static void slot_lose(struct nbds_ip *ip, struct slot *slot)
{
	ip->stats.fragments_lost++;
	slot_leave(ip, slot);
	slot_free(ip, slot);
}

static struct slot *oldest_of(const struct nbds_ip *ip)
{
	return nbds_list_empty(&ip->slots) ? NULL : nbds_owner(ip->slots.next, struct slot, all);
}

void nbds_ip_free(struct nbds_ip *ip)
{
	if (!ip)
		return;
	while (oldest_of(ip))
		slot_lose(ip, oldest_of(ip));
	slot_free(ip, ip->done);
	nbds_table_free(&ip->by_key, &ip->budget);
	free(ip);
}

const struct nbds_ip_stats *nbds_ip_stats(const struct nbds_ip *ip)
{
	return &ip->stats;
}

void nbds_ip_where(const struct nbds_ip *ip, struct nbds_ip_place *place)
{
	*place = (struct nbds_ip_place){
		.ip = (uint32_t)(ip->header - ip->packet),
		.tcp = ip->tcp,
		.whole = !ip->together,
	};
}

/* Takes `length` bytes off the front, which are here. */
static void advance(struct span *s, uint32_t length)
{
	s->data += length;
	s->have -= length;
	s->wire -= length;
}

/* What follows the first `wire` bytes is not of this layer. */
static void trim(struct span *s, uint32_t wire)
{
	s->wire = wire;
	if (s->have > wire)
		s->have = wire;
}

/* A header of `length` bytes is here, or is counted as what it is. */
static bool whole(struct nbds_ip *ip, const struct span *s, uint32_t length)
{
	if (s->have >= length)
		return true;
	if (s->wire >= length)
		ip->stats.truncated_headers++;
	else
		ip->stats.malformed++;
	return false;
}

static bool malformed(struct nbds_ip *ip)
{
	ip->stats.malformed++;
	return false;
}

static bool not_tcp(struct nbds_ip *ip)
{
	ip->stats.not_tcp++;
	return false;
}

static bool tcp(struct nbds_ip *ip, struct span s, struct nbds_segment *segment)
{
	if (!whole(ip, &s, 20))
		return false;
	if (!nbds_segment_parse(segment, s.data, s.have, s.wire))
		return malformed(ip);
	if (ip->suspicious && segment->checksum != NBDS_SUM_RIGHT) {
		ip->stats.fragments_lost++;
		return false;
	}
	ip->stats.segments++;
	ip->tcp = s.data;
	return true;
}

static bool is_extension(uint8_t next)
{
	return next == NEXT_HOP_BY_HOP || next == NEXT_ROUTING || next == NEXT_DESTINATION ||
	       next == NEXT_AUTHENTICATION;
}

/* Takes extension headers (RFC 8200 4, RFC 4302 2) off until another header
 * comes, which *next then is. False if one is not whole; that is counted. */
static bool skip_extensions(struct nbds_ip *ip, struct span *s, uint8_t *next)
{
	for (int count = 0; is_extension(*next); count++) {
		uint32_t length;

		if (count == EXTENSIONS_MAX)
			return malformed(ip);
		if (!whole(ip, s, 8))
			return false;
		length = *next == NEXT_AUTHENTICATION ? (s->data[1] + 2u) * 4
						      : (s->data[1] + 1u) * 8;
		if (!whole(ip, s, length))
			return false;
		*next = s->data[0];
		advance(s, length);
	}
	return true;
}

static bool get_bit(const uint64_t *bits, uint32_t n)
{
	return bits[n / 64] >> n % 64 & 1;
}

static void set_bit(uint64_t *bits, uint32_t n)
{
	bits[n / 64] |= 1ull << n % 64;
}

/* Between two times; also of packets whose times are nonsense. */
static uint64_t apart(int64_t a, int64_t b)
{
	return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

static uint64_t key_hash(const struct nbds_ip *ip, const struct datagram_key *key)
{
	return nbds_hash_bytes(&ip->seed, 0, key, sizeof(*key));
}

static struct source *source_of(struct nbds_ip *ip, const struct datagram_key *key)
{
	return &ip->sources[nbds_hash_bytes(&ip->seed, 1, key->src, sizeof(key->src)) % SOURCES];
}

static struct slot *slot_find(const struct nbds_ip *ip, const struct datagram_key *key)
{
	struct nbds_table_node *n = nbds_table_find(&ip->by_key, key_hash(ip, key));

	for (; n; n = nbds_table_again(n)) {
		struct slot *slot = nbds_owner(n, struct slot, node);

		if (!memcmp(&slot->key, key, sizeof(*key)))
			return slot;
	}
	return NULL;
}

/* The slot of `key`, or a fresh one. NULL without memory. */
static struct slot *slot_get(struct nbds_ip *ip, const struct datagram_key *key, int64_t time)
{
	struct source *from = source_of(ip, key);
	struct slot *slot;

	while ((slot = oldest_of(ip)) && apart(time, slot->time) > FRAGMENT_EXPIRE)
		slot_lose(ip, slot);
	slot = slot_find(ip, key);
	if (slot && apart(time, slot->time) <= FRAGMENT_EXPIRE)
		return slot;
	if (slot)
		slot_lose(ip, slot);
	if (from->count >= SOURCE_SLOTS)
		slot_lose(ip, nbds_owner(from->slots.next, struct slot, source));
	while ((slot = oldest_of(ip)) &&
	       (ip->count >= SLOTS || ip->budget.used + sizeof(*slot) > WAITING_MOST))
		slot_lose(ip, slot);
	slot = nbds_budget_alloc(&ip->budget, sizeof(*slot));
	if (!slot)
		return NULL;
	slot->key = *key;
	if (!nbds_table_add(&ip->by_key, &ip->budget, &slot->node, key_hash(ip, key))) {
		slot_free(ip, slot);
		return NULL;
	}
	nbds_list_append(&ip->slots, &slot->all);
	nbds_list_append(&from->slots, &slot->source);
	slot->from = from;
	from->count++;
	ip->count++;
	slot->checksum = NBDS_SUM_UNKNOWN;
	slot->time = time;
	slot->next = key->protocol;
	return slot;
}

/* Makes room for the first `end` bytes, which are no more than DATAGRAM_MAX: others go
 * for it. */
static bool slot_reserve(struct nbds_ip *ip, struct slot *slot, uint32_t end)
{
	uint32_t room = slot->room ? slot->room : ROOM_LEAST;
	struct slot *oldest;
	uint8_t *data;

	NBDS_ASSERT(end <= DATAGRAM_MAX);
	while (room < end)
		room *= 2;
	if (room == slot->room)
		return true;
	while ((oldest = oldest_of(ip)) && ip->budget.used + room > WAITING_MOST) {
		if (oldest == slot)
			break;
		slot_lose(ip, oldest);
	}
	data = nbds_budget_realloc(&ip->budget, slot->data, slot->room, room);
	if (!data)
		return false;
	slot->data = data;
	slot->room = room;
	return true;
}

/* Copies the units of a fragment that no earlier one brought. */
static void keep(struct slot *slot, const struct span *s, uint32_t offset)
{
	for (uint32_t at = 0; at < s->wire; at += UNIT) {
		uint32_t unit = (offset + at) / UNIT;
		uint32_t wire = s->wire - at < UNIT ? s->wire - at : UNIT;
		bool here = s->have >= at + wire;
		uint8_t *to = slot->data + (size_t)unit * UNIT;

		if (here && get_bit(slot->captured, unit)) {
			slot->conflict |= memcmp(to, s->data + at, wire) != 0;
		} else if (here && !get_bit(slot->covered, unit)) {
			memcpy(to, s->data + at, wire);
			set_bit(slot->captured, unit);
		}
		if (!get_bit(slot->covered, unit)) {
			set_bit(slot->covered, unit);
			slot->units++;
		}
	}
}

/* Bytes of a complete datagram that are here from its start without a hole. */
static uint32_t captured_prefix(const struct slot *slot)
{
	uint32_t units = (slot->total + UNIT - 1) / UNIT;

	for (uint32_t unit = 0; unit < units; unit++)
		if (!get_bit(slot->captured, unit))
			return unit * UNIT;
	return slot->total;
}

/*
 * Parts of two datagrams with the same identification may have been mixed: one
 * lost a fragment, the numbers went round, and the other filled its place.  That
 * takes long, or shows in copies that differ.  Only then is the checksum asked,
 * which offloading hosts leave undone.
 */
static bool mixed(const struct slot *slot, int64_t now)
{
	return slot->conflict || apart(now, slot->time) > FRAGMENT_QUICK;
}

/*
 * A fragment of `s->wire` bytes at `offset` of its datagram.  True if it
 * completed the datagram, which *s then is, with its first header in *next.
 */
static bool fragment(struct nbds_ip *ip, const struct datagram_key *key, uint32_t offset, bool more,
		     struct span *s, uint8_t *next, struct nbds_segment *segment)
{
	struct slot *slot;
	uint32_t end = offset + s->wire;

	ip->stats.fragments++;
	if (s->wire == 0 || end < offset || end > DATAGRAM_MAX || (more && s->wire % UNIT))
		return malformed(ip);
	slot_free(ip, ip->done);
	ip->done = NULL;
	slot = slot_get(ip, key, segment->packet->time);
	if (!slot) {
		ip->stats.fragments_lost++;
		return false;
	}
	if (slot->total ? end > slot->total || (!more && end != slot->total)
			: !more && end < slot->end)
		return malformed(ip); /* it contradicts one seen before */
	if (!slot_reserve(ip, slot, end)) {
		slot_lose(ip, slot);
		return false;
	}
	if (!more)
		slot->total = end;
	if (end > slot->end)
		slot->end = end;
	if (offset == 0)
		slot->next = *next;
	if (segment->ip_checksum > slot->checksum)
		slot->checksum = segment->ip_checksum;
	keep(slot, s, offset);
	if (!slot->total || slot->units < (slot->total + UNIT - 1) / UNIT)
		return false;

	s->data = slot->data;
	s->wire = slot->total;
	s->have = captured_prefix(slot);
	*next = slot->next;
	segment->ip_checksum = slot->checksum;
	slot_leave(ip, slot);
	ip->together = true;
	ip->done = slot; /* its bytes stay until the next fragment */
	ip->suspicious = mixed(slot, segment->packet->time);
	return true;
}

/* RFC 791 3.1 */
static bool ipv4(struct nbds_ip *ip, struct span s, struct nbds_segment *segment)
{
	uint32_t header, total, flags;
	uint8_t protocol;

	ip->header = s.data;
	if (!whole(ip, &s, 20))
		return false;
	header = (s.data[0] & 0x0f) * 4u;
	if (s.data[0] >> 4 != 4 || header < 20)
		return malformed(ip);
	total = nbds_be16(s.data + 2);
	flags = nbds_be16(s.data + 6);
	protocol = s.data[9];
	/* 0: filled in by the network card later, or more than 64 KiB. */
	if (total == 0)
		total = s.wire;
	if (total < header)
		return malformed(ip);
	trim(&s, total);
	if (protocol != NEXT_TCP)
		return not_tcp(ip);
	memcpy(segment->src.ip, s.data + 12, 4);
	memcpy(segment->dst.ip, s.data + 16, 4);
	segment->src.family = segment->dst.family = 4;
	if (s.have >= header)
		segment->ip_checksum = (uint8_t)nbds_ipv4_checksum(s.data, header);
	if (flags & 0x3fff) {
		struct datagram_key key = {.id = nbds_be16(s.data + 4), .family = 4};

		key.protocol = protocol;
		memcpy(key.src, s.data + 12, 4);
		memcpy(key.dst, s.data + 16, 4);
		if (!whole(ip, &s, header))
			return false;
		advance(&s, header);
		if (!fragment(ip, &key, (flags & 0x1fff) * UNIT, flags & 0x2000, &s, &protocol,
			      segment))
			return false;
	} else {
		if (!whole(ip, &s, header))
			return false;
		advance(&s, header);
	}
	return tcp(ip, s, segment);
}

/* RFC 8200 4.5; s is at the fragment header. Leaves s at what it holds. */
static bool ipv6_fragment(struct nbds_ip *ip, const uint8_t *addresses, struct span *s,
			  uint8_t *next, struct nbds_segment *segment)
{
	struct datagram_key key = {.family = 6};
	uint32_t flags;

	if (!whole(ip, s, 8))
		return false;
	*next = s->data[0];
	flags = nbds_be16(s->data + 2);
	key.id = nbds_be32(s->data + 4);
	advance(s, 8);
	if ((flags & 0xfff9) == 0)
		return true; /* all of it in one */
	/* Only the first fragment knows what comes after further extensions. */
	if (*next != NEXT_TCP && !is_extension(*next))
		return not_tcp(ip);
	key.protocol = NEXT_TCP;
	memcpy(key.src, addresses, 16);
	memcpy(key.dst, addresses + 16, 16);
	return fragment(ip, &key, flags & 0xfff8, flags & 1, s, next, segment);
}

/* RFC 8200 3 */
static bool ipv6(struct nbds_ip *ip, struct span s, struct nbds_segment *segment)
{
	const uint8_t *addresses = s.data + 8;
	uint32_t length;
	uint8_t next;

	ip->header = s.data;
	if (!whole(ip, &s, 40))
		return false;
	if (s.data[0] >> 4 != 6)
		return malformed(ip);
	length = nbds_be16(s.data + 4);
	next = s.data[6];
	memcpy(segment->src.ip, addresses, 16);
	memcpy(segment->dst.ip, addresses + 16, 16);
	segment->src.family = segment->dst.family = 6;
	advance(&s, 40);
	/* 0: a jumbogram (RFC 2675), which a hop-by-hop option may announce. */
	if (length)
		trim(&s, length);
	if (!skip_extensions(ip, &s, &next))
		return false;
	if (next == NEXT_FRAGMENT) {
		if (!ipv6_fragment(ip, addresses, &s, &next, segment) ||
		    !skip_extensions(ip, &s, &next))
			return false;
	}
	return next == NEXT_TCP ? tcp(ip, s, segment) : not_tcp(ip);
}

/* By the version in the first byte. */
static bool any_ip(struct nbds_ip *ip, struct span s, struct nbds_segment *segment)
{
	if (!whole(ip, &s, 1))
		return false;
	if (s.data[0] >> 4 == 4)
		return ipv4(ip, s, segment);
	if (s.data[0] >> 4 == 6)
		return ipv6(ip, s, segment);
	return malformed(ip);
}

/* What follows an Ethernet type: any number of VLAN tags, then IP. */
static bool ethertype(struct nbds_ip *ip, uint32_t type, struct span s,
		      struct nbds_segment *segment)
{
	for (int tags = 0; type == TYPE_VLAN || type == TYPE_SERVICE_VLAN ||
			   type == TYPE_OLD_QINQ || type == TYPE_OLD_QINQ2;
	     tags++) {
		if (tags == VLANS_MAX)
			return malformed(ip);
		if (!whole(ip, &s, 4))
			return false;
		type = nbds_be16(s.data + 2);
		advance(&s, 4);
	}
	if (type == TYPE_IPV4)
		return ipv4(ip, s, segment);
	if (type == TYPE_IPV6)
		return ipv6(ip, s, segment);
	return not_tcp(ip);
}

/* A header of `header` bytes with an Ethernet type at `at`. */
static bool typed_link(struct nbds_ip *ip, struct span s, uint32_t header, uint32_t at,
		       struct nbds_segment *segment)
{
	uint32_t type;

	if (!whole(ip, &s, header))
		return false;
	type = nbds_be16(s.data + at);
	advance(&s, header);
	return ethertype(ip, type, s, segment);
}

/* An address family of the writing system, in its byte order (LOOP: big-endian).
 * IPv4 is 2 everywhere; IPv6 is 10 in Linux, 23 in Windows, 24, 28 and 30 in the
 * BSDs. */
static bool null_link(struct nbds_ip *ip, struct span s, struct nbds_segment *segment)
{
	uint32_t family;

	if (!whole(ip, &s, 4))
		return false;
	family = nbds_be32(s.data);
	if (family > 0xffff)
		family = __builtin_bswap32(family);
	advance(&s, 4);
	switch (family) {
	case 2:
		return ipv4(ip, s, segment);
	case 10:
	case 23:
	case 24:
	case 28:
	case 30:
		return ipv6(ip, s, segment);
	default:
		return not_tcp(ip);
	}
}

bool nbds_ip_segment(struct nbds_ip *ip, const struct nbds_packet *p, struct nbds_segment *segment)
{
	struct span s = {p->data, p->caplen, p->len > p->caplen ? p->len : p->caplen};

	memset(segment, 0, sizeof(*segment));
	segment->packet = p;
	ip->suspicious = ip->together = false;
	ip->packet = p->data;
	switch (p->linktype) {
	case LINK_ETHERNET:
		return typed_link(ip, s, 14, 12, segment);
	case LINK_LINUX_SLL:
		return typed_link(ip, s, 16, 14, segment);
	case LINK_LINUX_SLL2:
		return typed_link(ip, s, 20, 0, segment);
	case LINK_NULL:
	case LINK_LOOP:
		return null_link(ip, s, segment);
	case LINK_RAW:
	case LINK_RAW_BSD:
	case LINK_RAW_OPENBSD:
		return any_ip(ip, s, segment);
	case LINK_IPV4:
		return ipv4(ip, s, segment);
	case LINK_IPV6:
		return ipv6(ip, s, segment);
	default:
		ip->stats.unknown_link++;
		return false;
	}
}
