/* SPDX-License-Identifier: GPL-2.0-or-later */
/* packets.c - see packets.h. */
#include "packets.h"
#include "damage.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/capture/capture.h"
#include "analyzer/capture/ip.h"
#include <base/bytes.h>

static void no_memory(void)
{
	fprintf(stderr, "robust: out of memory\n");
	exit(2);
}

static void *grow(void *old, size_t size)
{
	void *p = realloc(old, size);

	if (!p)
		no_memory();
	return p;
}

/* --- the whole capture --------------------------------------------------- */

void damage_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void damage_put32(uint8_t *p, uint32_t v)
{
	damage_put16(p, v >> 16);
	damage_put16(p + 2, v);
}

/* Finds the headers before the payload: the length of the TCP header is the one
 * for which all of it fits. */
static bool find_headers(const struct nbds_packet *p, const struct nbds_segment *s,
			 struct segment *out)
{
	const uint8_t *d = p->data;
	size_t at;

	if (s->payload < d || s->payload > d + p->caplen)
		return false; /* reassembled elsewhere */
	at = (size_t)(s->payload - d);
	for (size_t n = 20; n <= 60 && n <= at; n += 4) {
		const uint8_t *t = d + at - n;

		if ((size_t)(t[12] >> 4) * 4 != n || nbds_be16(t) != s->src.port ||
		    nbds_be16(t + 2) != s->dst.port || nbds_be32(t + 4) != s->seq ||
		    t[13] != s->flags)
			continue;
		out->payload_at = (uint32_t)at;
		out->tcp_at = (uint32_t)(at - n);
		for (size_t m = 20; m <= 60 && m <= out->tcp_at; m += 4) {
			const uint8_t *ip = t - m;

			if (s->src.family == 4 && ip[0] == (0x40 | m / 4) && ip[9] == 6 &&
			    memcmp(ip + 12, s->src.ip, 4) == 0) {
				out->ip_at = (uint32_t)(out->tcp_at - m);
				return true;
			}
			if (s->src.family == 6 && m == 40 && ip[0] >> 4 == 6 && ip[6] == 6 &&
			    memcmp(ip + 8, s->src.ip, 16) == 0) {
				out->ip_at = (uint32_t)(out->tcp_at - m);
				return true;
			}
		}
	}
	return false;
}

struct packet_flow {
	struct nbds_addr a, b;
};

static void number_flow(struct packet_flow **flows, uint32_t *count, const struct nbds_segment *s,
			struct segment *out)
{
	for (uint32_t i = *count; i-- > 0;) {
		const struct packet_flow *f = &(*flows)[i];

		if (nbds_addr_equal(&f->a, &s->src) && nbds_addr_equal(&f->b, &s->dst)) {
			out->flow = i;
			out->dir = 0;
			return;
		}
		if (nbds_addr_equal(&f->b, &s->src) && nbds_addr_equal(&f->a, &s->dst)) {
			out->flow = i;
			out->dir = 1;
			return;
		}
	}
	*flows = grow(*flows, (*count + 1) * sizeof(**flows));
	(*flows)[*count] = (struct packet_flow){s->src, s->dst};
	out->flow = (*count)++;
	out->dir = 0;
}

static void find_segments(struct whole *w)
{
	struct nbds_ip *ip = nbds_ip_new();
	struct packet_flow *flows = NULL;

	if (!ip)
		no_memory();
	w->segments = grow(NULL, (w->count + 1) * sizeof(*w->segments));
	for (size_t i = 0; i < w->count; i++) {
		const struct packet *p = &w->packets[i];
		struct nbds_packet q = {i + 1,        p->time,     p->caplen, p->len,
					p->interface, p->linktype, p->data};
		struct segment *out = &w->segments[i];
		struct nbds_segment s;

		*out = (struct segment){0};
		if (!nbds_ip_segment(ip, &q, &s))
			continue;
		out->tcp = true;
		out->flags = s.flags;
		out->seq = s.seq;
		out->ack = s.ack;
		out->len = s.len;
		number_flow(&flows, &w->flows, &s, out);
		out->headers = find_headers(&q, &s, out);
	}
	free(flows);
	nbds_ip_free(ip);
}

/* The server's port, where it is `from`, becomes `to`. */
static void change_port(struct whole *w, uint16_t from, uint16_t to)
{
	for (size_t i = 0; i < w->count; i++) {
		const struct segment *s = &w->segments[i];
		uint8_t *t = w->arena + (w->packets[i].data - w->arena) + s->tcp_at;

		for (size_t k = 0; s->headers && k < 4; k += 2)
			if (nbds_be16(t + k) == from)
				damage_put16(t + k, to);
	}
}

bool whole_load(struct whole *w, const char *path, uint16_t port)
{
	struct nbds_capture *c;
	struct nbds_packet p;
	size_t used = 0, size = 0, room = 0;
	char err[256];

	*w = (struct whole){.path = path};
	c = nbds_capture_open(path, err, sizeof(err));
	if (!c) {
		fprintf(stderr, "robust: %s: %s\n", path, err);
		return false;
	}
	while (nbds_capture_next(c, &p) == 1) {
		if (w->count == room) {
			room = room ? room * 2 : 256;
			w->packets = grow(w->packets, room * sizeof(*w->packets));
		}
		if (size - used < p.caplen || !w->arena) {
			size = size * 2 + p.caplen + 65536;
			w->arena = grow(w->arena, size);
		}
		if (p.caplen)
			memcpy(w->arena + used, p.data, p.caplen);
		used += p.caplen;
		w->packets[w->count] = (struct packet){.time = p.time,
						       .caplen = p.caplen,
						       .len = p.len,
						       .interface = p.interface,
						       .linktype = p.linktype,
						       .origin = w->count + 1};
		w->count++;
	}
	nbds_capture_close(c);
	w->bytes = used;
	used = 0;
	for (size_t i = 0; i < w->count; i++) {
		w->packets[i].data = w->arena + used;
		used += w->packets[i].caplen;
	}
	find_segments(w);
	if (port)
		change_port(w, 10809, port);
	return true;
}

void whole_free(struct whole *w)
{
	free(w->packets);
	free(w->segments);
	free(w->arena);
}

/* --- damaged captures ---------------------------------------------------- */

void damage_reset(struct damage *d)
{
	d->count = d->used = 0;
	d->what[0] = '\0';
}

void damage_add(struct damage *d, const struct packet *p)
{
	if (d->count == d->room) {
		d->room = d->room ? d->room * 2 : 256;
		d->packets = grow(d->packets, d->room * sizeof(*d->packets));
	}
	d->packets[d->count++] = *p;
}

/* Packets [from, to) of the whole capture. */
void damage_add_all(struct damage *d, const struct whole *w, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		damage_add(d, &w->packets[i]);
}

/* Room for all the scratch that a damage will need: it must not move later. */
void damage_scratch(struct damage *d, size_t size)
{
	if (size > d->size) {
		d->scratch = grow(d->scratch, size);
		d->size = size;
	}
}

uint8_t *damage_copy(struct damage *d, const uint8_t *data, size_t len)
{
	uint8_t *p = d->scratch + d->used;

	if (len)
		memcpy(p, data, len);
	d->used += len;
	return p;
}

void damage_free(struct damage *d)
{
	free(d->packets);
	free(d->scratch);
}

/* A fixed sequence for each seed (splitmix64). */
uint64_t damage_dice(struct damage *d)
{
	uint64_t z = d->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t each_packet(const struct whole *w)
{
	return w->count;
}

static bool make_prefix(const struct whole *w, size_t i, struct damage *d)
{
	damage_reset(d);
	damage_add_all(d, w, 0, i);
	snprintf(d->what, sizeof(d->what), "the first %zu packets", i);
	return true;
}

static bool make_begin(const struct whole *w, size_t i, struct damage *d)
{
	damage_reset(d);
	if (!i)
		return false;
	damage_add_all(d, w, i, w->count);
	snprintf(d->what, sizeof(d->what), "begins at packet %zu", i + 1);
	return true;
}

static bool make_drop(const struct whole *w, size_t i, struct damage *d)
{
	damage_reset(d);
	damage_add_all(d, w, 0, i);
	damage_add_all(d, w, i + 1, w->count);
	snprintf(d->what, sizeof(d->what), "without packet %zu", i + 1);
	return true;
}

static const uint32_t snaplens[] = {54, 66, 100, 128, 200};
#define SNAPLENS (sizeof(snaplens) / sizeof(snaplens[0]))

static size_t total_snaplen(const struct whole *w)
{
	return w->count * SNAPLENS;
}

static bool make_snaplen(const struct whole *w, size_t i, struct damage *d)
{
	size_t at = i / SNAPLENS;
	uint32_t len = snaplens[i % SNAPLENS];

	damage_reset(d);
	if (w->packets[at].caplen <= len)
		return false;
	damage_add_all(d, w, 0, w->count);
	d->packets[at].caplen = len;
	snprintf(d->what, sizeof(d->what), "packet %zu cut to %u bytes", at + 1, len);
	return true;
}

static size_t total_snaplen_all(const struct whole *w)
{
	(void)w;
	return 80;
}

static bool make_snaplen_all(const struct whole *w, size_t i, struct damage *d)
{
	uint32_t len = (uint32_t)(i < 64 ? 34 + 2 * i : 164 + (i - 63) * 64);
	bool changed = false;

	damage_reset(d);
	for (size_t k = 0; k < w->count; k++) {
		struct packet p = w->packets[k];

		if (p.caplen > len) {
			p.caplen = len;
			changed = true;
		}
		damage_add(d, &p);
	}
	snprintf(d->what, sizeof(d->what), "all packets cut to %u bytes", len);
	return changed;
}

static bool make_swap(const struct whole *w, size_t i, struct damage *d)
{
	damage_reset(d);
	if (i + 1 >= w->count)
		return false;
	damage_add_all(d, w, 0, i);
	damage_add(d, &w->packets[i + 1]);
	damage_add(d, &w->packets[i]);
	damage_add_all(d, w, i + 2, w->count);
	snprintf(d->what, sizeof(d->what), "packets %zu and %zu swapped", i + 1, i + 2);
	return true;
}

/* The next packet with payload that packet i's sender sent in its flow, or the
 * capture's end. */
static size_t next_data(const struct whole *w, size_t i)
{
	const struct segment *s = &w->segments[i];
	size_t k;

	for (k = i + 1; k < w->count; k++) {
		const struct segment *t = &w->segments[k];

		if (t->tcp && t->flow == s->flow && t->dir == s->dir && t->len)
			break;
	}
	return k;
}

/* Segments exchanged with the next one of their direction: the places in file and
 * time stay. A reply may come before its request. */
static bool make_reorder(const struct whole *w, size_t i, struct damage *d)
{
	size_t k;

	damage_reset(d);
	if (!w->segments[i].tcp || !w->segments[i].len)
		return false;
	k = next_data(w, i);
	if (k == w->count)
		return false;
	damage_add_all(d, w, 0, w->count);
	d->packets[i] = w->packets[k];
	d->packets[k] = w->packets[i];
	d->packets[i].time = w->packets[i].time;
	d->packets[k].time = w->packets[k].time;
	snprintf(d->what, sizeof(d->what), "packets %zu and %zu exchanged", i + 1, k + 1);
	return true;
}

/* Segments delayed until after the next one of their direction. */
static bool make_delay(const struct whole *w, size_t i, struct damage *d)
{
	struct packet p = w->packets[i];
	size_t k;

	damage_reset(d);
	if (!w->segments[i].tcp || !w->segments[i].len)
		return false;
	k = next_data(w, i);
	if (k == w->count)
		return false;
	p.time = w->packets[k].time;
	damage_add_all(d, w, 0, i);
	damage_add_all(d, w, i + 1, k + 1);
	damage_add(d, &p);
	damage_add_all(d, w, k + 1, w->count);
	snprintf(d->what, sizeof(d->what), "packet %zu delayed until after packet %zu", i + 1,
		 k + 1);
	return true;
}

static size_t twice_each(const struct whole *w)
{
	return 2 * w->count;
}

static bool make_duplicate(const struct whole *w, size_t i, struct damage *d)
{
	size_t at = i / 2, to = i % 2 ? at + 6 : at + 1;
	struct packet p = w->packets[at];

	damage_reset(d);
	if (to > w->count)
		to = w->count;
	damage_add_all(d, w, 0, to);
	p.time = w->packets[to - 1].time;
	damage_add(d, &p);
	damage_add_all(d, w, to, w->count);
	snprintf(d->what, sizeof(d->what), "packet %zu again after packet %zu", at + 1, to);
	return true;
}

/* Sent again, or seen only when it was sent again: the copy stands after the
 * packet that acknowledges it, and acknowledges what its sender had by then. */
static bool again(const struct whole *w, size_t at, size_t more, bool lost, struct damage *d)
{
	const struct segment *s = &w->segments[at];
	struct packet p = w->packets[at];
	uint32_t ack = s->ack;
	size_t to;

	damage_reset(d);
	if (!s->headers || !s->len || !(s->flags & NBDS_TCP_ACK))
		return false;
	for (to = at + 1; to < w->count; to++) {
		const struct segment *t = &w->segments[to];

		if (!t->tcp || t->flow != s->flow)
			continue;
		if (t->dir == s->dir) {
			if ((t->flags & NBDS_TCP_ACK) && (int32_t)(t->ack - ack) > 0)
				ack = t->ack;
			continue;
		}
		if ((t->flags & NBDS_TCP_ACK) && (int32_t)(t->ack - (s->seq + s->len)) >= 0)
			break;
	}
	for (; more && to + 1 < w->count; more--) {
		const struct segment *t = &w->segments[++to];

		if (t->tcp && t->flow == s->flow && t->dir == s->dir && (t->flags & NBDS_TCP_ACK) &&
		    (int32_t)(t->ack - ack) > 0)
			ack = t->ack;
	}
	if (to >= w->count)
		return false;
	damage_scratch(d, p.caplen);
	p.data = damage_copy(d, p.data, p.caplen);
	if (s->tcp_at + 12 <= p.caplen)
		damage_put32(d->scratch + s->tcp_at + 8, ack);
	p.time = w->packets[to].time;
	damage_add_all(d, w, 0, at);
	damage_add_all(d, w, at + lost, to + 1);
	damage_add(d, &p);
	damage_add_all(d, w, to + 1, w->count);
	snprintf(d->what, sizeof(d->what), "packet %zu %s again after packet %zu", at + 1,
		 lost ? "is seen only when sent" : "sent", to + 1);
	return true;
}

static bool make_resend(const struct whole *w, size_t i, struct damage *d)
{
	return again(w, i / 2, i % 2 ? 5 : 0, false, d);
}

static bool make_late(const struct whole *w, size_t i, struct damage *d)
{
	return again(w, i / 2, i % 2 ? 5 : 0, true, d);
}

#define SEEDS 256

static size_t total_seeds(const struct whole *w)
{
	return w->count > 8 ? SEEDS : 0;
}

/* One to four runs of packets lost. */
static bool make_burst(const struct whole *w, size_t i, struct damage *d)
{
	size_t runs, from[4], len[4];

	damage_reset(d);
	d->random = i * 1000003 + 1;
	runs = 1 + damage_dice(d) % 4;
	for (size_t r = 0; r < runs; r++) {
		from[r] = damage_dice(d) % w->count;
		len[r] = 2 + damage_dice(d) % (2 + (i % 8) * 4);
	}
	for (size_t k = 0; k < w->count; k++) {
		bool lost = false;

		for (size_t r = 0; r < runs; r++)
			lost |= k >= from[r] && k - from[r] < len[r];
		if (!lost)
			damage_add(d, &w->packets[k]);
	}
	snprintf(d->what, sizeof(d->what), "%zu runs of packets lost (seed %zu), %zu left", runs, i,
		 d->count);
	return true;
}

/* Each packet lost with some probability. */
static bool make_loss(const struct whole *w, size_t i, struct damage *d)
{
	static const unsigned percent[] = {1, 3, 10, 30};

	damage_reset(d);
	d->random = i * 7919 + 7;
	for (size_t k = 0; k < w->count; k++)
		if (damage_dice(d) % 100 >= percent[i % 4])
			damage_add(d, &w->packets[k]);
	snprintf(d->what, sizeof(d->what), "each packet lost with %u %% (seed %zu), %zu left",
		 percent[i % 4], i, d->count);
	return d->count != w->count;
}

/* Two packets lost. */
static bool make_pair(const struct whole *w, size_t i, struct damage *d)
{
	size_t a, b;

	damage_reset(d);
	d->random = i * 104729 + 3;
	a = damage_dice(d) % w->count;
	b = damage_dice(d) % w->count;
	if (i % 2) /* near to each other */
		b = (a + 1 + damage_dice(d) % 8) % w->count;
	for (size_t k = 0; k < w->count; k++)
		if (k != a && k != b)
			damage_add(d, &w->packets[k]);
	snprintf(d->what, sizeof(d->what), "without packets %zu and %zu", a + 1, b + 1);
	return true;
}

/* A segment and all of its connection up to the next segment of the other side: a
 * request, say, with its reply. Odd: everything takes 200 times as long, so
 * that it is long until the connection's numbers show that something is missing. */
static bool make_exchange(const struct whole *w, size_t i, struct damage *d)
{
	size_t at = i / 2;
	const struct segment *s = &w->segments[at];
	int64_t start = w->packets[0].time;
	bool over = false;

	damage_reset(d);
	if (!s->tcp || !s->len)
		return false;
	damage_add_all(d, w, 0, at);
	for (size_t k = at + 1; k < w->count; k++) {
		const struct segment *t = &w->segments[k];

		if (over || !t->tcp || t->flow != s->flow)
			damage_add(d, &w->packets[k]);
		else
			over = t->len && t->dir != s->dir;
	}
	for (size_t k = 0; i % 2 && k < d->count; k++)
		d->packets[k].time = start + (d->packets[k].time - start) * 200;
	snprintf(d->what, sizeof(d->what), "without the exchange that begins with packet %zu%s",
		 at + 1, i % 2 ? ", slow" : "");
	return true;
}

/* A bit of everything: packets lost, cut, doubled, delayed by a few places. */
static bool make_storm(const struct whole *w, size_t i, struct damage *d)
{
	static const unsigned often[] = {300, 100, 30, 8};
	unsigned one_in = often[i % 4];
	bool cut = i / 4 % 2, lose = i / 8 % 2;

	damage_reset(d);
	d->random = i * 15485863 + 11;
	for (size_t k = 0; k < w->count; k++) {
		struct packet p = w->packets[k];
		size_t at = d->count, back = 0;

		if (lose && damage_dice(d) % one_in == 0)
			continue;
		if (cut && damage_dice(d) % one_in == 0 && p.caplen > 60)
			p.caplen = 54 + (uint32_t)(damage_dice(d) % (p.caplen - 54));
		damage_add(d, &p);
		if (damage_dice(d) % one_in == 0)
			damage_add(d, &p);
		/* the last ones come later than this one */
		if (damage_dice(d) % one_in == 0)
			back = 1 + damage_dice(d) % 4;
		for (; back && at > 0; back--, at--) {
			struct packet late = d->packets[at - 1];

			late.time = p.time;
			memmove(&d->packets[at - 1], &d->packets[at],
				(d->count - at) * sizeof(*d->packets));
			d->packets[d->count - 1] = late;
		}
	}
	snprintf(d->what, sizeof(d->what), "one in %u packets%s%s doubled or delayed (seed %zu)",
		 one_in, lose ? " lost," : "", cut ? " cut," : "", i);
	return true;
}

static size_t total_oneway(const struct whole *w)
{
	return 2 * (size_t)w->flows + 2;
}

/* One direction of a connection, or of all, is not in the capture. */
static bool make_oneway(const struct whole *w, size_t i, struct damage *d)
{
	damage_reset(d);
	for (size_t k = 0; k < w->count; k++) {
		const struct segment *s = &w->segments[k];

		if (!s->tcp || s->dir != i % 2 || (i / 2 < w->flows && s->flow != i / 2))
			damage_add(d, &w->packets[k]);
	}
	if (i / 2 < w->flows)
		snprintf(d->what, sizeof(d->what), "connection %zu without direction %c", i / 2 + 1,
			 i % 2 ? 'B' : 'A');
	else
		snprintf(d->what, sizeof(d->what), "no packets of direction %c", i % 2 ? 'B' : 'A');
	return d->count != w->count;
}

#define SIEVES 6

static size_t total_sieve(const struct whole *w)
{
	return SIEVES * ((size_t)w->flows + 1);
}

/* All packets of a sort are missing, from one connection or all. */
static bool make_sieve(const struct whole *w, size_t i, struct damage *d)
{
	static const char *const names[SIEVES] = {"packets without payload",
						  "FIN and RST without payload",
						  "SYN",
						  "SYN of servers",
						  "packets with FIN or RST",
						  "every second packet with payload"};
	size_t flow = i / SIEVES, seen = 0;

	damage_reset(d);
	for (size_t k = 0; k < w->count; k++) {
		const struct segment *s = &w->segments[k];
		bool syn = s->flags & NBDS_TCP_SYN;
		bool end = s->flags & (NBDS_TCP_FIN | NBDS_TCP_RST), out = false;

		switch (i % SIEVES) {
		case 0:
			out = !s->len && !syn && !end;
			break;
		case 1:
			out = !s->len && end;
			break;
		case 2:
			out = syn;
			break;
		case 3:
			out = syn && (s->flags & NBDS_TCP_ACK);
			break;
		case 4:
			out = end;
			break;
		case 5:
			out = s->len && (flow == w->flows || s->flow == flow) && ++seen % 2 == 0;
			break;
		}
		if (!s->tcp || !out || (flow < w->flows && s->flow != flow))
			damage_add(d, &w->packets[k]);
	}
	if (flow < w->flows)
		snprintf(d->what, sizeof(d->what), "connection %zu without %s", flow + 1,
			 names[i % SIEVES]);
	else
		snprintf(d->what, sizeof(d->what), "without %s", names[i % SIEVES]);
	return d->count != w->count;
}

#define CLOCKS 6

static size_t total_clock(const struct whole *w)
{
	(void)w;
	return CLOCKS;
}

/* Another clock. */
static bool make_clock(const struct whole *w, size_t i, struct damage *d)
{
	static const char *const names[CLOCKS] = {
		"no time at all",        "a clock of whole seconds",  "a clock of milliseconds",
		"time running backward", "the clock set back by 1 h", "the clock set on by 1 h"};
	const int64_t hour = INT64_C(3600000000000);

	damage_reset(d);
	damage_add_all(d, w, 0, w->count);
	for (size_t k = 0; k < w->count; k++) {
		int64_t t = w->packets[k].time, *to = &d->packets[k].time;

		switch (i) {
		case 0:
			*to = 0;
			break;
		case 1:
			*to = t - t % 1000000000;
			break;
		case 2:
			*to = t - t % 1000000;
			break;
		case 3:
			*to = w->packets[0].time - (t - w->packets[0].time);
			break;
		case 4:
			*to = k < w->count / 2 ? t : t - hour;
			break;
		case 5:
			*to = k < w->count / 2 ? t : t + hour;
			break;
		}
	}
	snprintf(d->what, sizeof(d->what), "%s", names[i]);
	return w->count > 0;
}

#define DOUBLES 4

static size_t total_doubled(const struct whole *w)
{
	(void)w;
	return DOUBLES;
}

/* All packets twice, as captures of several interfaces of one host have them. */
static bool make_doubled(const struct whole *w, size_t i, struct damage *d)
{
	static const char *const names[DOUBLES] = {
		"", ", after the next one", ", of another interface", ", as far as they answer"};

	damage_reset(d);
	for (size_t k = 0; k < w->count; k++) {
		struct packet p = w->packets[k > 0 && i == 1 ? k - 1 : k];

		damage_add(d, &w->packets[k]);
		p.time = w->packets[k].time;
		if (i == 2)
			p.interface = 1;
		if (i != 3 || w->segments[k].dir == 1)
			damage_add(d, &p);
	}
	snprintf(d->what, sizeof(d->what), "all packets twice%s", names[i]);
	return w->count > 0;
}

static int by_time(const void *a, const void *b)
{
	const struct packet *p = a, *q = b;

	if (p->time != q->time)
		return p->time < q->time ? -1 : 1;
	return p->origin < q->origin ? -1 : p->origin > q->origin;
}

static const int64_t skews[] = {0,        -1000,   1000,      -100000,  100000,
				-1000000, 1000000, -20000000, 20000000, -1000000000};
#define SKEWS (sizeof(skews) / sizeof(skews[0]))

static size_t total_interfaces(const struct whole *w)
{
	return w->flows > 1 ? SKEWS : 0;
}

/* Every second connection was captured on another interface, by another clock. */
static bool make_interfaces(const struct whole *w, size_t i, struct damage *d)
{
	damage_reset(d);
	damage_add_all(d, w, 0, w->count);
	for (size_t k = 0; k < w->count; k++) {
		if (w->segments[k].flow % 2 == 0)
			continue;
		d->packets[k].interface = 1;
		d->packets[k].time += skews[i];
	}
	qsort(d->packets, d->count, sizeof(*d->packets), by_time);
	snprintf(d->what, sizeof(d->what),
		 "every second connection from an interface whose clock is %+lld us off",
		 (long long)skews[i] / 1000);
	return true;
}

static const uint32_t sizes[] = {1448, 8948, 536, 100, 17};
#define TINY_MOST 65536u /* bytes of captures that are taken apart byte by byte */
#define SIZES     (sizeof(sizes) / sizeof(sizes[0]))

static size_t total_recut(const struct whole *w)
{
	(void)w;
	return SIZES;
}

/* Large segments as several of at most `most` bytes. */
static bool recut(const struct whole *w, uint32_t most, struct damage *d)
{
	size_t need = 0;
	bool changed = false;

	damage_reset(d);
	for (size_t k = 0; k < w->count; k++) {
		const struct segment *s = &w->segments[k];

		if (s->headers && s->len > most)
			need += (s->len / most + 1) * ((size_t)s->payload_at + most);
	}
	damage_scratch(d, need);
	for (size_t k = 0; k < w->count; k++) {
		const struct segment *s = &w->segments[k];
		const struct packet *p = &w->packets[k];

		if (!s->headers || s->len <= most || p->caplen < p->len) {
			damage_add(d, p);
			continue;
		}
		changed = true;
		for (uint32_t at = 0; at < s->len; at += most) {
			uint32_t n = s->len - at < most ? s->len - at : most;
			uint8_t *q = damage_copy(d, p->data, s->payload_at);
			struct packet piece = *p;
			struct segment cut = *s;

			damage_copy(d, p->data + s->payload_at + at, n);
			damage_put32(q + s->tcp_at + 4, s->seq + at);
			if (at + n < s->len)
				q[s->tcp_at + 13] &= (uint8_t) ~(NBDS_TCP_FIN | NBDS_TCP_PSH);
			if (q[s->ip_at] >> 4 == 4)
				damage_put16(q + s->ip_at + 2, s->payload_at - s->ip_at + n);
			else
				damage_put16(q + s->ip_at + 4, s->payload_at - s->tcp_at + n);
			cut.len = n;
			damage_make_right(q, &cut);
			piece.data = q;
			piece.caplen = piece.len = s->payload_at + n;
			damage_add(d, &piece);
		}
	}
	snprintf(d->what, sizeof(d->what), "segments of at most %u bytes", most);
	return changed;
}

static bool make_recut(const struct whole *w, size_t i, struct damage *d)
{
	return recut(w, sizes[i], d);
}

static size_t total_bytes(const struct whole *w)
{
	return w->bytes <= TINY_MOST;
}

static bool make_bytes(const struct whole *w, size_t i, struct damage *d)
{
	(void)i;
	return recut(w, 1, d);
}

const struct kind kinds[] = {
	{"prefix", "the first packets only", false, each_packet, make_prefix},
	{"begin", "the capture began later", false, each_packet, make_begin},
	{"drop", "any packet lost", false, each_packet, make_drop},
	{"snaplen", "any packet cut to 54, 66, 100, 128, 200 bytes", false, total_snaplen,
	 make_snaplen},
	{"snaplen-all", "all packets cut", false, total_snaplen_all, make_snaplen_all},
	{"swap", "any two neighbours swapped in the file", false, each_packet, make_swap},
	{"reorder", "any segment exchanged with the next one of its direction", false, each_packet,
	 make_reorder},
	{"delay", "any segment overtaken by the next one", false, each_packet, make_delay},
	{"duplicate", "any packet twice", false, twice_each, make_duplicate},
	{"resend", "any segment sent again after its acknowledgement", false, twice_each,
	 make_resend},
	{"late", "of any segment only the retransmission captured", false, twice_each, make_late},
	{"pair", "two packets lost", false, total_seeds, make_pair},
	{"exchange", "any segment and what answers it lost", false, twice_each, make_exchange},
	{"burst", "runs of packets lost", false, total_seeds, make_burst},
	{"loss", "1 to 30 % of packets lost", false, total_seeds, make_loss},
	{"storm", "packets lost, cut, doubled and delayed", false, total_seeds, make_storm},
	{"oneway", "one direction only", false, total_oneway, make_oneway},
	{"sieve", "all packets of a sort lost", false, total_sieve, make_sieve},
	{"clock", "other clocks", false, total_clock, make_clock},
	{"doubled", "all packets twice", false, total_doubled, make_doubled},
	{"interfaces", "connections of two interfaces with two clocks", false, total_interfaces,
	 make_interfaces},
	{"recut", "large segments in pieces", true, total_recut, make_recut},
	{"bytes", "each byte in a segment of its own", false, total_bytes, make_bytes},
	{"forge", "a copy of any segment with other bytes, before or after it", false, total_forge,
	 make_forge},
	{"forge-ack", "a copy of any segment that acknowledges something else", false, total_forge,
	 make_forge_ack},
	{"forge-end", "a RST, FIN or SYN of any number", false, total_forge, make_forge_end},
	{"forge-sum", "right checksums, but for forged segments", true, total_forge,
	 make_forge_sum},
	{"flip", "right checksums, and one bit of any segment the other way round", false,
	 total_forge, make_flip},
};
const size_t kinds_count = sizeof(kinds) / sizeof(kinds[0]);

/* --- files --------------------------------------------------------------- */

bool packets_write(const char *path, const struct packet *list, size_t count)
{
	pcap_t *pcap = pcap_open_dead_with_tstamp_precision(count ? list[0].linktype : DLT_EN10MB,
							    262144, PCAP_TSTAMP_PRECISION_NANO);
	pcap_dumper_t *out = pcap ? pcap_dump_open(pcap, path) : NULL;

	if (!out) {
		fprintf(stderr, "robust: %s: %s\n", path, pcap ? pcap_geterr(pcap) : "no memory");
		if (pcap)
			pcap_close(pcap);
		return false;
	}
	for (size_t i = 0; i < count; i++) {
		struct pcap_pkthdr head = {.ts = {list[i].time / 1000000000,
						  list[i].time % 1000000000},
					   .caplen = list[i].caplen,
					   .len = list[i].len};

		pcap_dump((u_char *)out, &head, list[i].data);
	}
	pcap_dump_close(out);
	pcap_close(pcap);
	return true;
}
