/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/relay/synthetic.h - what passed on a connection, as TCP segments.
 *
 * Purpose.  Who hands bytes on himself (the relay of Unix sockets, a probe) has no
 * packets.  Here they are made: raw IP with TCP, a handshake, sequence numbers, and
 * checksums that are right, so that all that audits, saves or shows packets works
 * unchanged.  Frames are made of what happened, one by one, and depend on nothing else:
 * who drops one leaves a hole in the sequence numbers, as any capture does.
 *
 *	event ──► header, built in place before the bytes ──► packet
 *
 * Order, and acknowledgements.  What the engine takes as proved rests on these, so they
 * must not say more than what happened (docs/consistency.md, "What a relay knows"):
 *
 *   - events are given in one order, with times that grow strictly;
 *   - bytes of the client are given before any of them is written to the server, bytes of
 *     the server after they were read from it: a command began not before it is seen, and
 *     was over when its status is;
 *   - `had` of the server's bytes: all that had been written to it when they were read.
 *     It cannot have had more (what it had not, it had not carried out: T1);
 *   - `had` of the client's bytes, and of both FINs: no more than what their sender
 *     certainly had when it sent them (nobody is blamed for what it could not know);
 *   - OPEN is given after the connection to the server is made.
 *
 * Ownership.  Plain values; nothing is allocated, nothing fails.  Threads: none.
 *
 * Example.
 *	flow = (struct nbds_synthetic_flow){.address = {client, server}, .isn = {1, 2}};
 *	e = (struct nbds_synthetic_event){.kind = NBDS_SYNTHETIC_DATA, .dir = 0, .time = now,
 *					  .offset = sent, .had = received, .len = n};
 *	nbds_synthetic_packets(&flow, &e, room + NBDS_SYNTHETIC_HEAD, &packet, count, ctx);
 */
#ifndef NBDSCOPE_ANALYZER_RELAY_SYNTHETIC_H
#define NBDSCOPE_ANALYZER_RELAY_SYNTHETIC_H

#include <nbdscope/packet.h>

/* Room before the bytes of an event that headers are built in. */
#define NBDS_SYNTHETIC_HEAD 80u
/* Most bytes of one event: IPv4's own limit. */
#define NBDS_SYNTHETIC_BYTES (65535u - 40u)
/* The link type (DLT_RAW; in files LINKTYPE_RAW, 101), and the snapshot length. */
#define NBDS_SYNTHETIC_LINK    12
#define NBDS_SYNTHETIC_SNAPLEN 262144u

/* Directions are those of analyzer/tcp/tcp.h. */
enum { NBDS_SYNTHETIC_CLIENT = 0, NBDS_SYNTHETIC_SERVER = 1 };

enum nbds_synthetic_kind {
	NBDS_SYNTHETIC_OPEN, /* the connection is there: SYN, SYN and ACK, ACK */
	NBDS_SYNTHETIC_DATA, /* `len` bytes, 1 to NBDS_SYNTHETIC_BYTES */
	NBDS_SYNTHETIC_FIN,  /* `dir` sends nothing more */
	NBDS_SYNTHETIC_RST,  /* `dir` has broken the connection off */
};

/* Both addresses are of one family. */
struct nbds_synthetic_flow {
	struct nbds_addr address[2]; /* the client's, the server's */
	uint32_t isn[2];             /* first sequence numbers, other ones for each connection */
};

struct nbds_synthetic_event {
	enum nbds_synthetic_kind kind;
	uint8_t dir;     /* who sent it; OPEN: the client */
	bool had_fin;    /* `had` holds the other side's FIN too */
	int64_t time;    /* ns since 1970 */
	uint64_t offset; /* bytes of `dir` before this */
	uint64_t had;    /* bytes of the other direction: see above */
	uint32_t len;
};

/* Calls `each` for the packets of the event, all members of `p` but `frame` set. `bytes`:
 * the event's, behind NBDS_SYNTHETIC_HEAD bytes that are written to; they themselves are
 * not changed. What `p` points to is valid during the call. */
void nbds_synthetic_packets(const struct nbds_synthetic_flow *flow,
			    const struct nbds_synthetic_event *e, uint8_t *bytes,
			    void (*each)(void *ctx, struct nbds_packet *p), void *ctx);

/* How many packets that are. */
static inline unsigned nbds_synthetic_count(const struct nbds_synthetic_event *e)
{
	return e->kind == NBDS_SYNTHETIC_OPEN ? 3 : 1;
}

/* IPv4 becomes IPv6 (::ffff:192.0.2.1), where the other side may have that: one server has
 * one address for all its clients, or it would be taken for two. */
void nbds_synthetic_widen(struct nbds_addr *a);
/* Of a flow that is alone: both, where they differ. */
void nbds_synthetic_pair(struct nbds_addr *a, struct nbds_addr *b);

#endif
