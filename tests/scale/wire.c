/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wire.c - see wire.h. */
#include "wire.h"

#include <string.h>

#define LINKTYPE_IPV4 228
#define PIECE         32000u /* payload of a packet, at most */
#define HEADERS       40u

uint8_t *put16(uint8_t *at, uint16_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
	return at + 2;
}

uint8_t *put32(uint8_t *at, uint32_t v)
{
	return put16(put16(at, (uint16_t)(v >> 16)), (uint16_t)v);
}

uint8_t *put64(uint8_t *at, uint64_t v)
{
	return put32(put32(at, (uint32_t)(v >> 32)), (uint32_t)v);
}

static void segment(struct talk *t, int side, uint8_t flags, const void *bytes, uint32_t len)
{
	struct wire *w = t->w;
	uint8_t packet[HEADERS + PIECE];
	struct nbds_packet p = {.caplen = HEADERS + len,
				.len = HEADERS + len,
				.linktype = LINKTYPE_IPV4,
				.data = packet};

	memset(packet, 0, HEADERS);
	packet[0] = 0x45;
	put16(packet + 2, (uint16_t)(HEADERS + len));
	packet[8] = 64;
	packet[9] = 6;
	put32(packet + 12, t->ip[side]);
	put32(packet + 16, t->ip[!side]);
	put16(packet + 20, t->port[side]);
	put16(packet + 22, t->port[!side]);
	put32(packet + 24, t->seq[side]);
	if (flags & NBDS_TCP_ACK)
		put32(packet + 28, t->seq[!side]);
	packet[32] = 5 << 4;
	packet[33] = flags;
	put16(packet + 34, 0xffff);
	if (len)
		memcpy(packet + HEADERS, bytes, len);
	w->time += w->step ? w->step : 1000;
	p.time = w->time;
	p.frame = ++w->frame;
	w->sink(w->ctx, &p);
	t->seq[side] += len + !!(flags & (NBDS_TCP_SYN | NBDS_TCP_FIN));
}

void talk_resume(struct wire *w, struct talk *t, uint32_t client, uint16_t client_port,
		 uint32_t server, uint16_t server_port)
{
	if (!w->time)
		w->time = INT64_C(1700000000000000000);
	*t = (struct talk){.w = w,
			   .ip = {client, server},
			   .port = {client_port, server_port},
			   .seq = {1000, 2000000000}};
}

void talk_knock(struct wire *w, struct talk *t, uint32_t client, uint16_t client_port,
		uint32_t server, uint16_t server_port)
{
	talk_resume(w, t, client, client_port, server, server_port);
	segment(t, CLIENT, NBDS_TCP_SYN, NULL, 0);
}

void talk_open(struct wire *w, struct talk *t, uint32_t client, uint16_t client_port,
	       uint32_t server, uint16_t server_port)
{
	talk_knock(w, t, client, client_port, server, server_port);
	segment(t, SERVER, NBDS_TCP_SYN | NBDS_TCP_ACK, NULL, 0);
	talk_ack(t, CLIENT);
}

void talk_send(struct talk *t, int side, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len) {
		uint32_t n = len < PIECE ? (uint32_t)len : PIECE;

		segment(t, side, NBDS_TCP_ACK | NBDS_TCP_PSH, at, n);
		at += n;
		len -= n;
	}
}

/* Takes the packet of a segment apart. */
struct splitter {
	struct wire *w;
	uint16_t id;
	bool whole;
};

static void split(void *ctx, const struct nbds_packet *p)
{
	const struct splitter *s = ctx;
	uint32_t len = p->len - 20, first = len / 2 & ~7u;
	uint8_t packet[HEADERS + PIECE];

	for (unsigned i = 0; i < (s->whole ? 2u : 1u); i++) {
		uint32_t from = i ? first : 0, n = i ? len - first : first;
		struct nbds_packet part = *p;

		memcpy(packet, p->data, 20);
		put16(packet + 2, (uint16_t)(20 + n));
		put16(packet + 4, s->id);
		put16(packet + 6, (uint16_t)(i ? from / 8 : 0x2000)); /* MF */
		memcpy(packet + 20, p->data + 20 + from, n);
		part.data = packet;
		part.caplen = part.len = 20 + n;
		part.frame = s->w->frame += i;
		s->w->sink(s->w->ctx, &part);
	}
}

void talk_send_fragments(struct talk *t, int side, const void *bytes, size_t len, uint16_t id,
			 bool whole)
{
	struct wire *w = t->w, through = *w;
	struct splitter s = {w, id, whole};

	through.sink = split;
	through.ctx = &s;
	w->frame++;
	t->w = &through;
	segment(t, side, NBDS_TCP_ACK | NBDS_TCP_PSH, bytes, (uint32_t)len);
	t->w = w;
	w->time = through.time;
}

void talk_ack(struct talk *t, int side)
{
	segment(t, side, NBDS_TCP_ACK, NULL, 0);
}

void talk_lose(struct talk *t, int side, uint32_t len)
{
	t->seq[side] += len;
}

void talk_close(struct talk *t)
{
	segment(t, CLIENT, NBDS_TCP_FIN | NBDS_TCP_ACK, NULL, 0);
	segment(t, SERVER, NBDS_TCP_FIN | NBDS_TCP_ACK, NULL, 0);
	talk_ack(t, CLIENT);
}

void talk_reset(struct talk *t, int side)
{
	segment(t, side, NBDS_TCP_RST | NBDS_TCP_ACK, NULL, 0);
}

/* --- NBD --- */

void talk_greet(struct talk *t)
{
	uint8_t b[18], *at = put64(b, NBD_INIT_MAGIC);

	at = put64(at, NBD_OPTS_MAGIC);
	put16(at, 3); /* fixed newstyle, no zeroes */
	talk_send(t, SERVER, b, 18);
	put32(b, 3);
	talk_send(t, CLIENT, b, 4);
}

static uint8_t scratch[1 << 20];

void talk_option(struct talk *t, uint32_t option, const void *data, uint32_t len)
{
	uint8_t *at = put32(put32(put64(scratch, NBD_OPTS_MAGIC), option), len);

	if (len)
		memcpy(at, data, len);
	talk_send(t, CLIENT, scratch, 16 + len);
}

void talk_option_reply(struct talk *t, uint32_t option, uint32_t type, const void *data,
		       uint32_t len)
{
	uint8_t *at = put32(put32(put32(put64(scratch, NBD_REP_MAGIC), option), type), len);

	if (len)
		memcpy(at, data, len);
	talk_send(t, SERVER, scratch, 20 + len);
}

void talk_structured(struct talk *t)
{
	talk_option(t, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	talk_option_reply(t, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, NULL, 0);
}

void talk_go(struct talk *t, const char *name, uint32_t len, uint64_t size, uint16_t flags)
{
	static uint8_t data[8192];
	uint8_t info[12], *at = put32(data, len);

	memcpy(at, name, len);
	put16(at + len, 0);
	talk_option(t, NBD_OPT_GO, data, 4 + len + 2);
	put16(put64(put16(info, NBD_INFO_EXPORT), size), flags);
	talk_option_reply(t, NBD_OPT_GO, NBD_REP_INFO, info, 12);
	talk_option_reply(t, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}

void talk_enter(struct talk *t, const char *name, uint32_t len, uint64_t size, uint16_t flags)
{
	talk_greet(t);
	talk_go(t, name, len, size, flags);
}

static uint8_t *request(struct talk *t, uint16_t type, uint16_t flags, uint64_t offset,
			uint32_t len)
{
	uint8_t *at = put16(put16(put32(scratch, NBD_REQUEST_MAGIC), flags), type);

	return put32(put64(put64(at, ++t->cookie), offset), len);
}

void talk_request(struct talk *t, uint16_t type, uint16_t flags, uint64_t offset, uint32_t len)
{
	request(t, type, flags, offset, len);
	talk_send(t, CLIENT, scratch, 28);
}

void talk_reply(struct talk *t, uint64_t cookie, uint32_t error, uint32_t len, int fill)
{
	uint8_t *at = put64(put32(put32(scratch, NBD_SIMPLE_REPLY_MAGIC), error), cookie);

	memset(at, fill, len);
	talk_send(t, SERVER, scratch, 16 + (size_t)len);
}

void talk_write_request(struct talk *t, uint64_t offset, uint32_t len, int fill)
{
	memset(request(t, NBD_CMD_WRITE, 0, offset, len), fill, len);
	talk_send(t, CLIENT, scratch, 28 + (size_t)len);
}

void talk_write(struct talk *t, uint64_t offset, uint32_t len, int fill)
{
	talk_write_request(t, offset, len, fill);
	talk_reply(t, t->cookie, 0, 0, 0);
}

void talk_read(struct talk *t, uint64_t offset, uint32_t len, int fill)
{
	talk_request(t, NBD_CMD_READ, 0, offset, len);
	talk_reply(t, t->cookie, 0, len, fill);
}

void talk_flush(struct talk *t)
{
	talk_request(t, NBD_CMD_FLUSH, 0, 0, 0);
	talk_reply(t, t->cookie, 0, 0, 0);
}

void talk_disconnect(struct talk *t)
{
	talk_request(t, NBD_CMD_DISC, 0, 0, 0);
	talk_close(t);
}
