/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * forge.c - segments that somebody else put into a capture, or that damage changed.
 *
 * A forged segment never reached its receiver, or came too late: all that it takes is
 * a low TTL, or a wrong number.  Its genuine copy is in the capture, before or after it.
 * So whatever it says, no violation may come of it.
 */
#include "damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/bytes.h>
#include <nbdscope/packet.h>

/* Forgeries of one packet. */
#define EACH 12

#define FORGED_MAX 262144 /* bytes of a packet */

size_t total_forge(const struct whole *w)
{
	return w->count * EACH;
}

static uint32_t below(struct damage *d, uint32_t n)
{
	return n ? (uint32_t)(damage_dice(d) % n) : 0;
}

/* --- checksums ------------------------------------------------------------ */

static uint32_t add(uint32_t sum, const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return (sum & 0xffff) + (sum >> 16);
}

static uint32_t finished(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

void damage_make_right(uint8_t *packet, const struct segment *s)
{
	uint8_t *ip = packet + s->ip_at, *tcp = packet + s->tcp_at;
	uint32_t len = s->payload_at - s->tcp_at + s->len, sum;

	if (ip[0] >> 4 == 4) {
		damage_put16(ip + 10, 0);
		damage_put16(ip + 10, finished(add(0, ip, s->tcp_at - s->ip_at)));
		sum = add(6 + len, ip + 12, 8);
	} else {
		sum = add(6 + (len & 0xffff) + (len >> 16), ip + 8, 32);
	}
	damage_put16(tcp + 16, 0);
	for (uint32_t at = 0; at < len; at += 4096)
		sum = add(sum, tcp + at, len - at < 4096 ? len - at : 4096);
	damage_put16(tcp + 16, finished(sum));
}

static bool entire(const struct whole *w, size_t k)
{
	const struct segment *s = &w->segments[k];
	const struct packet *p = &w->packets[k];

	return s->headers && p->caplen >= s->payload_at + s->len && p->caplen <= FORGED_MAX;
}

/* All packets with right checksums; false: of some there is not enough. */
static bool add_right(const struct whole *w, struct damage *d, size_t more)
{
	damage_reset(d);
	damage_scratch(d, w->bytes + more);
	for (size_t k = 0; k < w->count; k++) {
		struct packet p = w->packets[k];
		uint8_t *bytes = damage_copy(d, p.data, p.caplen);

		if (w->segments[k].tcp && !entire(w, k))
			return false;
		if (w->segments[k].tcp)
			damage_make_right(bytes, &w->segments[k]);
		p.data = bytes;
		damage_add(d, &p);
	}
	return true;
}

/* --- segments -------------------------------------------------------------- */

/* Puts `p` at place `at` of the damaged capture, with the time of its place. */
static void insert(struct damage *d, size_t at, struct packet p)
{
	if (at > d->count)
		at = d->count;
	p.time = at ? d->packets[at - 1].time : d->packets[0].time;
	damage_add(d, &p);
	memmove(d->packets + at + 1, d->packets + at, (d->count - 1 - at) * sizeof(p));
	d->packets[at] = p;
}

/* An earlier segment of the direction, of the same length as packet k's if there is one;
 * SIZE_MAX: there is none with payload. */
static size_t earlier(const struct whole *w, size_t k, struct damage *d)
{
	const struct segment *s = &w->segments[k];
	size_t found = SIZE_MAX;
	uint32_t skip = below(d, 4);

	for (size_t i = k; i-- > 0;) {
		const struct segment *t = &w->segments[i];

		if (t->dir != s->dir || !t->len || !entire(w, i))
			continue;
		if (t->len == s->len && t->flow == s->flow && !skip--)
			return i;
		if (found == SIZE_MAX || t->len == s->len)
			found = i;
	}
	return found;
}

/* A copy of packet k with other payload; NULL: it would be the same. *s is what it is. */
static uint8_t *forged(const struct whole *w, size_t k, struct damage *d, struct segment *s)
{
	static const uint32_t heads[] = {0, 4, 16, 20, 28, 32};
	const struct packet *p = &w->packets[k];
	const uint8_t *genuine = p->data + w->segments[k].payload_at;
	uint8_t *bytes = damage_copy(d, p->data, p->caplen);
	uint8_t *payload = bytes + w->segments[k].payload_at;
	uint32_t from, to, len = w->segments[k].len;
	size_t other;

	*s = w->segments[k];
	switch (below(d, 5)) {
	case 0: /* some bytes */
		from = below(d, len);
		to = from + 1 + below(d, len - from);
		for (uint32_t i = from; i < to; i++)
			payload[i] = (uint8_t)damage_dice(d);
		break;
	case 1: /* one */
		payload[below(d, len)] ^= (uint8_t)(1u << below(d, 8));
		break;
	case 2: /* those of an earlier one, perhaps behind the head */
	case 3:
		other = earlier(w, k, d);
		from = heads[below(d, sizeof(heads) / sizeof(heads[0]))];
		if (other == SIZE_MAX)
			return NULL;
		for (uint32_t i = from; i < len && i < w->segments[other].len; i++)
			payload[i] = w->packets[other].data[w->segments[other].payload_at + i];
		break;
	default: /* zeroes */
		from = heads[below(d, sizeof(heads) / sizeof(heads[0]))];
		for (uint32_t i = from; i < len; i++)
			payload[i] = 0;
	}
	if (memcmp(payload, genuine, len) == 0)
		return NULL;
	return bytes;
}

/* Keeps only [from, to) of the payload. */
static void cut(uint8_t *bytes, struct segment *s, uint32_t from, uint32_t to)
{
	uint8_t *payload = bytes + s->payload_at;

	memmove(payload, payload + from, to - from);
	s->seq += from;
	s->len = to - from;
	damage_put32(bytes + s->tcp_at + 4, s->seq);
	if (bytes[s->ip_at] >> 4 == 4)
		damage_put16(bytes + s->ip_at + 2, s->payload_at - s->ip_at + s->len);
	else
		damage_put16(bytes + s->ip_at + 4, s->payload_at - s->tcp_at + s->len);
}

static size_t place(const struct whole *w, size_t k, struct damage *d)
{
	switch (below(d, 5)) {
	case 0:
	case 1:
		return k; /* just before it */
	case 2:
		return k + 1;
	case 3:
		return k - below(d, k < 20 ? (uint32_t)k + 1 : 20);
	default:
		return k + 1 +
		       below(d, (uint32_t)(w->count - k) < 200 ? (uint32_t)(w->count - k) : 200);
	}
}

bool make_forge(const struct whole *w, size_t i, struct damage *d)
{
	size_t k = i / EACH, at;
	struct packet p = w->packets[k];
	struct segment s;
	uint8_t *bytes;

	d->random = i * 7919 + w->count;
	damage_reset(d);
	if (!w->segments[k].len || !entire(w, k))
		return false;
	damage_scratch(d, p.caplen);
	damage_add_all(d, w, 0, w->count);
	bytes = forged(w, k, d, &s);
	if (!bytes)
		return false;
	at = place(w, k, d);
	if (below(d, 3) == 0 && s.len > 1) {
		uint32_t from = below(d, s.len), to = from + 1 + below(d, s.len - from);

		if (memcmp(bytes + s.payload_at + from, p.data + s.payload_at + from, to - from) ==
		    0)
			return false;
		cut(bytes, &s, from, to);
		p.caplen = p.len = s.payload_at + s.len;
	}
	bytes[s.ip_at + (bytes[s.ip_at] >> 4 == 4 ? 8 : 7)] = 1; /* TTL */
	p.data = bytes;
	insert(d, at, p);
	snprintf(d->what, sizeof(d->what), "a forged copy of packet %zu as packet %zu, %u bytes",
		 k + 1, at + 1, s.len);
	return true;
}

bool make_forge_ack(const struct whole *w, size_t i, struct damage *d)
{
	size_t k = i / EACH, at;
	struct packet p = w->packets[k];
	const struct segment *s = &w->segments[k];
	uint32_t ack = s->ack, steps = 1;
	uint8_t *bytes;

	d->random = i * 7927 + w->count;
	damage_reset(d);
	if (!s->len || !entire(w, k))
		return false;
	/* what the same side acknowledged a while before, or will later */
	steps += below(d, 6);
	if (i & 1) {
		for (size_t n = k; n-- > 0 && steps;)
			if (w->segments[n].tcp && w->segments[n].flow == s->flow &&
			    w->segments[n].dir == s->dir && w->segments[n].ack != ack) {
				ack = w->segments[n].ack;
				steps--;
			}
	} else {
		for (size_t n = k + 1; n < w->count && steps; n++)
			if (w->segments[n].tcp && w->segments[n].flow == s->flow &&
			    w->segments[n].dir == s->dir && w->segments[n].ack != ack) {
				ack = w->segments[n].ack;
				steps--;
			}
	}
	if (ack == s->ack)
		return false;
	damage_scratch(d, p.caplen);
	damage_add_all(d, w, 0, w->count);
	bytes = damage_copy(d, p.data, p.caplen);
	damage_put32(bytes + s->tcp_at + 8, ack);
	p.data = bytes;
	at = place(w, k, d);
	insert(d, at, p);
	snprintf(d->what, sizeof(d->what), "a copy of packet %zu as packet %zu, acknowledging %d",
		 k + 1, at + 1, (int32_t)(ack - s->ack));
	return true;
}

bool make_forge_end(const struct whole *w, size_t i, struct damage *d)
{
	static const uint8_t flags[] = {NBDS_TCP_RST, NBDS_TCP_RST | NBDS_TCP_ACK,
					NBDS_TCP_FIN | NBDS_TCP_ACK, NBDS_TCP_SYN,
					NBDS_TCP_SYN | NBDS_TCP_ACK};
	static const int32_t away[] = {0, 0, 0, 1, -1, 100, -100, 70000, 20000000, -70000};
	size_t k = i / EACH, at;
	struct packet p = w->packets[k];
	struct segment s = w->segments[k];
	uint8_t *bytes, flag;
	int32_t by;

	d->random = i * 7933 + w->count;
	damage_reset(d);
	if (!entire(w, k))
		return false;
	flag = flags[below(d, sizeof(flags))];
	by = away[below(d, sizeof(away) / sizeof(away[0]))];
	damage_scratch(d, p.caplen);
	damage_add_all(d, w, 0, w->count);
	bytes = damage_copy(d, p.data, p.caplen);
	s.seq += (uint32_t)by;
	cut(bytes, &s, 0, 0);
	bytes[s.tcp_at + 13] = flag;
	p.data = bytes;
	p.caplen = p.len = s.payload_at;
	at = place(w, k, d);
	insert(d, at, p);
	snprintf(d->what, sizeof(d->what),
		 "flags 0x%02x at the number of packet %zu%+d, as packet %zu", flag, k + 1, by,
		 at + 1);
	return true;
}

/* Once both directions of the flow have sent payload with right checksums. */
static bool both_spoke(const struct whole *w, size_t k)
{
	bool spoke[2] = {false, false};

	for (size_t i = 0; i < k; i++)
		if (w->segments[i].tcp && w->segments[i].flow == w->segments[k].flow &&
		    w->segments[i].len)
			spoke[w->segments[i].dir] = true;
	return spoke[0] && spoke[1];
}

bool make_forge_sum(const struct whole *w, size_t i, struct damage *d)
{
	size_t k = i / EACH, at;
	struct packet p = w->packets[k];
	struct segment s;
	uint8_t *bytes;
	uint32_t wrong;

	d->random = i * 7937 + w->count;
	if (!w->segments[k].len || !entire(w, k) || !both_spoke(w, k) || !add_right(w, d, p.caplen))
		return false;
	bytes = forged(w, k, d, &s);
	if (!bytes)
		return false;
	damage_make_right(bytes, &s);
	at = below(d, 2) ? s.tcp_at + 16 : s.tcp_at + 4 + below(d, 8);
	wrong = 1 + below(d, 254);
	bytes[at] = (uint8_t)(bytes[at] + wrong);
	p.data = bytes;
	at = k + below(d, 2);
	insert(d, at, p);
	snprintf(d->what, sizeof(d->what),
		 "right checksums; a forged copy of packet %zu with a wrong one as packet %zu",
		 k + 1, at + 1);
	return true;
}

bool make_flip(const struct whole *w, size_t i, struct damage *d)
{
	size_t k = i / EACH;
	const struct segment *s = &w->segments[k];
	uint32_t at, bit;
	uint8_t *bytes;

	d->random = i * 7949 + w->count;
	if (!entire(w, k) || !add_right(w, d, 0))
		return false;
	at = below(d, 2)
		     ? below(d, w->packets[k].caplen - s->tcp_at) + s->tcp_at
		     : below(d, s->payload_at + (s->len < 64 ? s->len : 64) - s->ip_at) + s->ip_at;
	bit = below(d, 8);
	bytes = d->scratch + (d->packets[k].data - d->scratch);
	bytes[at] ^= (uint8_t)(1u << bit);
	snprintf(d->what, sizeof(d->what),
		 "right checksums; bit %u of byte %u of packet %zu flipped", bit, at, k + 1);
	return true;
}
