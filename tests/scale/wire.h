/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.h - packets of NBD connections, made in memory.
 *
 * Purpose.  Shapes of traffic as large as one likes without a file: a wire writes
 * IPv4 packets of TCP connections, one after the other, into a sink.
 *
 * Failure.  No memory ends the program: this is a test.
 *
 * Example.
 *	struct wire w = {.sink = to_pipeline, .ctx = p};
 *	struct talk t;
 *	talk_open(&w, &t, 0x0a000001, 40000, 0x0a000002, 10809);
 *	talk_enter(&t, "disk", 4, 1 << 20, NBD_FLAG_HAS_FLAGS);
 *	talk_read(&t, 0, 4096, 'a');
 */
#ifndef NBDS_TESTS_SCALE_WIRE_H
#define NBDS_TESTS_SCALE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/packet.h>
#include <nbdscope/protocol.h>

struct wire {
	void (*sink)(void *ctx, const struct nbds_packet *p);
	void *ctx;
	int64_t time;   /* ns; of the last packet */
	int64_t step;   /* ns between packets; 0: 1 us */
	uint64_t frame; /* of the last packet */
};

enum { CLIENT, SERVER };

struct talk {
	struct wire *w;
	uint32_t ip[2];
	uint16_t port[2];
	uint32_t seq[2]; /* next, by side */
	uint64_t cookie; /* of the last request */
};

/* SYN, SYN with ACK, ACK. */
void talk_open(struct wire *w, struct talk *t, uint32_t client, uint16_t client_port,
	       uint32_t server, uint16_t server_port);
/* A SYN that nobody answers. */
void talk_knock(struct wire *w, struct talk *t, uint32_t client, uint16_t client_port,
		uint32_t server, uint16_t server_port);
/* As if it were open already: its beginning is not in the capture. */
void talk_resume(struct wire *w, struct talk *t, uint32_t client, uint16_t client_port,
		 uint32_t server, uint16_t server_port);
void talk_send(struct talk *t, int side, const void *bytes, size_t len);
/* A bare acknowledgement of all that the other side sent. */
void talk_ack(struct talk *t, int side);
/* The same in a packet of two IP fragments; of only the first one, if not `whole`. */
void talk_send_fragments(struct talk *t, int side, const void *bytes, size_t len, uint16_t id,
			 bool whole);
/* Bytes that the capture lost. */
void talk_lose(struct talk *t, int side, uint32_t len);
void talk_close(struct talk *t);
void talk_reset(struct talk *t, int side);

/* Newstyle greeting and the client's flags. */
void talk_greet(struct talk *t);
/* NBD_OPT_STRUCTURED_REPLY, granted. */
void talk_structured(struct talk *t);
void talk_option(struct talk *t, uint32_t option, const void *data, uint32_t len);
void talk_option_reply(struct talk *t, uint32_t option, uint32_t type, const void *data,
		       uint32_t len);
/* NBD_OPT_GO and its replies: transmission begins. */
void talk_go(struct talk *t, const char *name, uint32_t len, uint64_t size, uint16_t flags);
/* talk_greet() and talk_go(). */
void talk_enter(struct talk *t, const char *name, uint32_t len, uint64_t size, uint16_t flags);

/* The header of a request; its cookie is t->cookie then. */
void talk_request(struct talk *t, uint16_t type, uint16_t flags, uint64_t offset, uint32_t len);
/* `fill` 0: no payload. */
void talk_reply(struct talk *t, uint64_t cookie, uint32_t error, uint32_t len, int fill);
/* Requests with their replies; contents are `fill` all over. */
void talk_write(struct talk *t, uint64_t offset, uint32_t len, int fill);
void talk_write_request(struct talk *t, uint64_t offset, uint32_t len, int fill);
void talk_read(struct talk *t, uint64_t offset, uint32_t len, int fill);
void talk_flush(struct talk *t);
void talk_disconnect(struct talk *t);

uint8_t *put16(uint8_t *at, uint16_t v);
uint8_t *put32(uint8_t *at, uint32_t v);
uint8_t *put64(uint8_t *at, uint64_t v);

#endif
