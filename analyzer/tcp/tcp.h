/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/tcp/tcp.h - segments to in-order bytes, with gaps told.
 *
 * Purpose.  Follows TCP connections passively, as a third party that sees
 * both directions (or one), possibly from the middle, possibly with losses.
 * Both directions are numbered with 64-bit offsets from 0: the first byte
 * after the SYN, or the first byte seen.  The first copy of a byte wins; a
 * later copy that differs is told.  Bytes are handed on in place when they
 * come in order; only what must wait (out of order, behind a hole, or ahead
 * of the other side's bytes that it acknowledges) is copied, within bounds.
 *
 * Holes.  Bytes missing from the capture become a gap event once the other
 * side has acknowledged past them *and* the packets that might still bring
 * them (reordered in capture) had their chance, or once a cap of held bytes,
 * segments or time is reached, or at the end.  Payload cut off by the snapshot
 * length is a gap of known length at once.
 *
 * Causality.  A segment that acknowledges bytes of the other direction that
 * were not seen yet waits for them (within the same bounds), so that replies
 * are not delivered before their requests when a capture has them in the
 * wrong order.
 *
 * Memory is bounded per direction, and in total over all flows.  Sequence
 * numbers far away from the window cost nothing.
 */
#ifndef NBDSCOPE_ANALYZER_TCP_H
#define NBDSCOPE_ANALYZER_TCP_H

#include "../capture/ip.h"
#include <nbdscope/decoder.h> /* struct nbds_mark */

struct nbds_flow; /* one TCP connection */

enum nbds_flow_end {
	NBDS_FLOW_FIN,     /* both directions ended with FIN */
	NBDS_FLOW_RST,
	NBDS_FLOW_REUSED,  /* a new SYN took its ports over */
	NBDS_FLOW_IDLE,    /* forgotten: too many flows */
	NBDS_FLOW_OPEN,    /* the capture ended */
};

enum nbds_gap_reason {
	NBDS_GAP_LOST,     /* never seen by the capture, acknowledged by the peer */
	NBDS_GAP_SNAPLEN,  /* cut off by the snapshot length */
	NBDS_GAP_LIMIT,    /* given up: a cap of held bytes or segments was reached */
	NBDS_GAP_END,      /* still missing when the connection or capture ended */
};

enum { NBDS_DIR_A = 0, NBDS_DIR_B = 1 }; /* A: sent by the initiator (SYN), or,
                                          * without SYN, by whoever was seen first */

struct nbds_tcp_ops {
	/* A new flow. a is direction A's sender, b its peer. `syn`: its start was
	 * seen. Returns the user pointer for the flow, handed to all others. */
	void *(*open)(void *ctx, struct nbds_flow *flow, const struct nbds_addr *a,
	              const struct nbds_addr *b, bool syn, const struct nbds_mark *where);
	/* In-order bytes. `offset` is the stream offset of the first. */
	void (*data)(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
	             size_t len, const struct nbds_mark *where);
	void (*gap)(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
	            enum nbds_gap_reason why, const struct nbds_mark *where);
	/* A retransmission brought other bytes than the first copy. */
	void (*conflict)(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
	                 const struct nbds_mark *where);
	/* Direction `dir` will bring no more (its FIN was reached). */
	void (*half_close)(void *ctx, void *user, int dir, const struct nbds_mark *where);
	/* The flow is over; `by` is the direction of the RST, else -1. The user
	 * pointer and the flow are not used after this. */
	void (*close)(void *ctx, void *user, enum nbds_flow_end how, int by,
	              const struct nbds_mark *where);
	/* Every frame of a flow that is not ignored, before anything it brings
	 * (also bare ACKs and keep-alives): keeps the last frame of a connection. */
	void (*frame)(void *ctx, void *user, int dir, const struct nbds_mark *where);
};

struct nbds_tcp_limits {
	uint64_t held_direction; /* most bytes held for one direction (default 16 MiB) */
	uint64_t held_total;     /* for all (default 256 MiB) */
	uint32_t flows;          /* most flows followed at a time (default 1 << 20) */
	uint32_t patience_frames;/* frames of the flow to wait for reordered ones (default 64) */
	int64_t patience_ns;     /* and time to wait (default 200 ms), whichever is first */
};

struct nbds_tcp_stats {
	uint64_t flows, segments, bytes, retransmitted_bytes, out_of_order, overlaps,
	         conflicts, gaps, gap_bytes, keepalives, held_now, held_max, reuses;
};

struct nbds_tcp;
/* `limits` NULL: the defaults; a 0 member: its default. NULL without memory. */
struct nbds_tcp *nbds_tcp_new(const struct nbds_tcp_limits *limits,
                              const struct nbds_tcp_ops *ops, void *ctx);
void nbds_tcp_segment(struct nbds_tcp *t, const struct nbds_segment *s);
/* Time has come to `now` (ns): holds that waited long enough are resolved. */
void nbds_tcp_tick(struct nbds_tcp *t, int64_t now);
/* The end of the capture: everything held is told, all flows close OPEN. */
void nbds_tcp_finish(struct nbds_tcp *t);
void nbds_tcp_free(struct nbds_tcp *t);

/* This flow does not interest: no reassembly, no events but close(). */
void nbds_tcp_ignore(struct nbds_flow *flow);

/* Where the sequence number `seq` of direction `dir` is in its stream; negative
 * before its first byte. False if that is not known, or the flow is over. */
bool nbds_tcp_offset(const struct nbds_flow *flow, int dir, uint32_t seq, int64_t *offset);

/* Since when something of the flow is held back: the mark of the last byte
 * delivered before the oldest hole or wait in `dir`. False if nothing is. */
bool nbds_tcp_held_since(const struct nbds_flow *flow, int dir, struct nbds_mark *since);

const struct nbds_tcp_stats *nbds_tcp_stats(const struct nbds_tcp *t);

#endif
