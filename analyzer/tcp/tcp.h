/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/tcp/tcp.h - segments to in-order bytes, with gaps told.
 *
 * Purpose.  Follows TCP connections passively, as a third party that sees
 * both directions (or one), possibly from the middle, possibly with losses.
 * Both directions are numbered with 64-bit offsets from 0: the first byte
 * after the SYN, or the first byte seen.  Bytes are handed on in place when
 * they come in order; only what must wait (out of order, behind a hole, or ahead
 * of the other side's bytes that it acknowledges) is copied, within bounds.
 *
 * First copy wins, and every other one is held against it.  Where two copies of a
 * byte differ, the one seen first is told, and then a conflict, whenever the other
 * one comes: what was told is remembered for a while (base/recall.h).  Which of them
 * the receiver took cannot be known.  A copy of bytes that are remembered no more is
 * dropped unread if they had been acknowledged before it came, since a receiver does
 * so too; else that, too, is a conflict.
 *
 * Checksums.  A segment whose checksum is wrong is discarded by its receiver, and
 * here, where others of its direction show that they are right as a rule.  Where it
 * turns out that such bytes were acknowledged and no other copy of them was seen, the
 * capture's checksums are not those of the wire, and it is believed from then on.  Bytes
 * that were taken before others turned out to be right are a conflict then.
 *
 * Holes.  Bytes missing from the capture become a gap event once the other
 * side has acknowledged past them *and* the packets that might still bring
 * them (reordered in capture) had their chance: `patience`.  An acknowledgement
 * of bytes that were never seen, with nothing behind them, shows a hole too.  If
 * the other side is not in the capture, or falls silent, eight times patience
 * has to do (of a side that was seen once, in frames only); a hole that the other
 * side does not acknowledge waits for the retransmission, up to 150 times
 * patience in time.  Holes also end when a cap of held bytes is reached, and when
 * the connection or the capture ends.  Payload cut off by the snapshot length
 * is a gap of known length at once.
 *
 * Disorder.  Segments of which the capture turned the order around, and losses that the
 * receiver told, cost little of what is known of when bytes were sent: see data().
 *
 * Causality.  A segment that acknowledges bytes of the other direction that
 * were not seen yet waits for them (within the same bounds), so that replies
 * are not delivered before their requests when a capture has them in the
 * wrong order.
 *
 * Numbers.  A sequence or acknowledgement number more than 2^28 away from the
 * highest byte seen is ignored and costs nothing; eight such segments in a row,
 * each where the one before ended, move the stream there (one gap, of the length
 * modulo 2^32).
 *
 * Connections.  A SYN on a flow that is not over starts a new connection once the
 * other side answers it or its sender goes on from it: a stray one changes
 * nothing and shows in no event.  A RST has to lie in the window; if something
 * is held, or its number is not the next one, close() waits for patience, else it
 * comes at once.  Closed flows are remembered for a while, so that their stragglers
 * open nothing.  Bytes after a FIN are a conflict: they or the FIN were not the
 * sender's.
 *
 * Memory is bounded per direction, and in total over all flows, counted as what
 * the copies really take (at least 256 bytes each); a full direction gives up its
 * first hole, a full total the holes of the flow that waits longest.  Without
 * memory for a copy the same happens; without memory for a flow its segment is
 * dropped.  Where there are too many flows one goes: one that has carried no data,
 * else any, and of these the one that was silent for longest.  One that has carried
 * data is ignored from then on, so that it does not come back as another one.  Of
 * ignored ones, that are small, more are known; then these are forgotten.  Nothing else
 * fails.
 *
 * Threads: none.  Callbacks may call nbds_tcp_ignore(), nbds_tcp_let_go() and
 * nbds_tcp_held_since(), no other function.
 *
 * Example.
 *	struct nbds_tcp *t = nbds_tcp_new(NULL, &ops, ctx);
 *	while (nbds_capture_next(capture, &packet) == 1)
 *		if (nbds_ip_segment(ip, &packet, &segment))
 *			nbds_tcp_segment(t, &segment);
 *	nbds_tcp_finish(t);
 *	nbds_tcp_free(t);
 */
#ifndef NBDSCOPE_ANALYZER_TCP_H
#define NBDSCOPE_ANALYZER_TCP_H

#include <nbdscope/decoder.h> /* struct nbds_mark */
#include <nbdscope/packet.h>

struct nbds_flow; /* one TCP connection */

enum nbds_flow_end {
	NBDS_FLOW_FIN, /* both directions ended with FIN */
	NBDS_FLOW_RST,
	NBDS_FLOW_REUSED, /* a new SYN took its ports over */
	NBDS_FLOW_IDLE,   /* forgotten: too many flows */
	NBDS_FLOW_OPEN,   /* the capture ended */
};

enum nbds_gap_reason {
	NBDS_GAP_LOST,    /* never seen by the capture, acknowledged by the peer */
	NBDS_GAP_SNAPLEN, /* cut off by the snapshot length */
	NBDS_GAP_LIMIT,   /* given up, not acknowledged as far as is seen: a cap of
	                   * bytes or time was reached */
	NBDS_GAP_END,     /* still missing when the connection or capture ended */
};

/* A: sent by the initiator (SYN), or, without SYN, by whoever was seen first. */
enum { NBDS_DIR_A = 0, NBDS_DIR_B = 1 };

/* What is wrong with bytes of which more than one copy was seen. */
enum nbds_conflict_kind {
	NBDS_CONFLICT_BYTES, /* the copies differ, from the first to the last byte of it */
	/* The first copy is not remembered: they may differ.  Or (one byte after the last
	 * one told) numbers that fit nothing put in doubt what the sender sends at all. */
	NBDS_CONFLICT_FORGOTTEN,
	NBDS_CONFLICT_ACK, /* the same bytes, which acknowledge something else */
	/* Told before what they acknowledge, since that acknowledges them: one of them is
	 * a retransmission, and which came first is not known. */
	NBDS_CONFLICT_ORDER,
};

struct nbds_conflict {
	enum nbds_conflict_kind kind;
	uint64_t offset, len;
	uint64_t first_ack, ack; /* ACK: what the copies acknowledged */
	/* Of the frame with the first copy; of FORGOTTEN, of an earlier one of its
	 * direction (frame 0 and INT64_MIN: nothing is known). */
	struct nbds_mark first;
	struct nbds_mark where; /* of the frame with the other copy */
};

/* Any of them may be NULL. */
struct nbds_tcp_ops {
	/* A new flow, at its first SYN or payload. a is direction A's sender, b its
	 * peer. `syn`: its start was seen. Returns the user pointer for the flow,
	 * handed to all others. */
	void *(*open)(void *ctx, struct nbds_flow *flow, const struct nbds_addr *a,
		      const struct nbds_addr *b, bool syn, const struct nbds_mark *where);
	/* In-order bytes. `offset` is the stream offset of the first. The mark is
	 * that of the frame that brought them, also when they were held:
	 *   FIRST_TX  they start where the highest byte of the direction seen so
	 *             far ends, no hole being open before, nobody having
	 *             acknowledged them, and (after a hole, and in a flow caught
	 *             in the middle) the other side's acknowledgements or the
	 *             sender's own number having shown that this is also as far
	 *             as the sender had got;
	 *   LATE      all others: lo_frame and lo_time are those of the last
	 *             FIRST_TX byte before them in their direction, or of its
	 *             SYN; or of a later frame whose number showed that nothing
	 *             had been sent beyond those, or that the receiver had (SACK)
	 *             when it had not yet these; 0 and INT64_MIN if nothing is
	 *             known.
	 * Bytes that were captured before what comes before them are LATE, but
	 * FIRST_TX again once that was seen to be sent before them, by its stamp
	 * or by what it acknowledges, and those that filled the hole are both
	 * then; or once the receiver has told (SACK) that it had them and what
	 * came before them not. */
	void (*data)(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
		     size_t len, const struct nbds_mark *where);
	/* The mark is that of the first frame after the hole, else of the one that
	 * showed that there is something missing. */
	void (*gap)(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
		    enum nbds_gap_reason why, const struct nbds_mark *where);
	/* Two copies of bytes that were told are not the same. */
	void (*conflict)(void *ctx, void *user, int dir, const struct nbds_conflict *c);
	/* A segment of the flow was discarded for its wrong checksum. */
	void (*discard)(void *ctx, void *user, int dir, const struct nbds_mark *where);
	/* Direction `dir` will bring no more (its FIN was reached, or it closed
	 * with a FIN that the capture lost). The mark's `ack` is the FIN's: one above
	 * the other direction's bytes if that had closed before; NBDS_MARK_LATE is set if
	 * it was not seen. */
	void (*half_close)(void *ctx, void *user, int dir, const struct nbds_mark *where);
	/* The flow is over; `by` is the direction of the RST, else -1. The user
	 * pointer and the flow are not used after this. The mark is that of the
	 * last FIN or the RST, of the SYN (REUSED), or of the last frame. */
	void (*close)(void *ctx, void *user, enum nbds_flow_end how, int by,
		      const struct nbds_mark *where);
	/* Every frame of a flow that is not ignored, before anything it brings
	 * (also bare ACKs and keep-alives): keeps the last frame of a connection. */
	void (*frame)(void *ctx, void *user, int dir, const struct nbds_mark *where);
};

/* Most memory that a flow takes in these files, besides the bytes it holds back: its own,
 * and what is remembered of others that are not followed any more. */
#define NBDS_FLOW_BYTES 2944

struct nbds_tcp_limits {
	uint64_t held_direction;  /* most bytes held for one direction (default 16 MiB) */
	uint64_t held_total;      /* for all (default 256 MiB) */
	uint64_t remembered;      /* bytes of what was told, to hold copies against (default
	                           * 16 MiB; a power of two, else less) */
	uint32_t flows;           /* most flows followed at a time (default 1 << 20), each of
	                           * NBDS_FLOW_BYTES at most besides what it holds. Four times
	                           * as many may be ignored */
	uint32_t patience_frames; /* frames of the flow to wait for reordered ones (default 64) */
	int64_t patience_ns;      /* and time to wait (default 200 ms), whichever is first */
};

/* Who has made the segments may have their bytes longer than TCP is told of them: then they
 * need not be copied to be remembered. */
struct nbds_tcp_reread {
	void *ctx;
	/* Where these bytes of the segment in work are; 0: they are not kept. */
	uint64_t (*place)(void *ctx, const uint8_t *bytes);
	/* The bytes from such a place on. False: they are not to be had any more. */
	bool (*read)(void *ctx, uint64_t place, uint8_t *bytes, size_t size);
	bool brief; /* it has them for a while only */
};

/* held_now and held_max are bytes of memory, segments all that came in, flows
 * those opened, followed_max the most at a time (of those also that were never
 * opened), out_of_order segments ahead of their place, overlaps segments of
 * which a part was known, conflicts copies that differ, forgotten those that could not
 * be compared, bad_checksums segments discarded for theirs. */
struct nbds_tcp_stats {
	uint64_t flows, segments, bytes, retransmitted_bytes, out_of_order, overlaps, conflicts,
		forgotten, bad_checksums, gaps, gap_bytes, keepalives, held_now, held_max, reuses,
		followed_max;
};

struct nbds_tcp;
/* `limits` NULL: the defaults; a 0 member: its default. NULL without memory. */
struct nbds_tcp *nbds_tcp_new(const struct nbds_tcp_limits *limits, const struct nbds_tcp_ops *ops,
			      void *ctx);
/* Before the first segment. What is remembered then takes a quarter of `remembered`, unless
 * the bytes are not there for long. */
void nbds_tcp_reread(struct nbds_tcp *t, const struct nbds_tcp_reread *from);
void nbds_tcp_segment(struct nbds_tcp *t, const struct nbds_segment *s);
/* Time has come to `now` (ns): holds that waited long enough are resolved. The
 * time of each segment does that too, for a few flows at a time. */
void nbds_tcp_tick(struct nbds_tcp *t, int64_t now);
/* The end of the capture: everything held is told, all flows close OPEN (or FIN
 * or RST, if that was seen and waited for a hole). */
void nbds_tcp_finish(struct nbds_tcp *t);
void nbds_tcp_free(struct nbds_tcp *t);

/* This flow does not interest: no reassembly, no events but close(). */
void nbds_tcp_ignore(struct nbds_flow *flow);
/* The same, and no close() either: the user pointer is not used any more. */
void nbds_tcp_let_go(struct nbds_flow *flow);

/* Where the sequence number `seq` of direction `dir` is in its stream; negative
 * before its first byte. False if that is not known, or the flow is over. */
bool nbds_tcp_offset(const struct nbds_flow *flow, int dir, uint32_t seq, int64_t *offset);

/* Since when something of the flow is held back: the mark of the last byte
 * delivered before the oldest hole or wait in `dir` (of its SYN; frame 0 and
 * INT64_MIN if nothing was delivered). False if nothing is. */
bool nbds_tcp_held_since(const struct nbds_flow *flow, int dir, struct nbds_mark *since);

/* All bytes that the flow's frames show to have been sent were told, or told as
 * missing: nothing is held, and no number is beyond what was told. */
bool nbds_tcp_complete(const struct nbds_flow *flow);

const struct nbds_tcp_stats *nbds_tcp_stats(const struct nbds_tcp *t);
/* Bytes of memory that it takes now, without what is remembered of what was told. */
uint64_t nbds_tcp_memory(const struct nbds_tcp *t);

#endif
