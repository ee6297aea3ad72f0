/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * internal.h - what the parts of the TCP layer share.
 *
 *	tcp.c    the flows: finding, opening, taking over, closing, forgetting them
 *	reasm.c  one flow: its two directions put in order
 *	hold.c   copies of the bytes that have to wait
 *
 * A flow's entry in the table is small.  What reassembly needs hangs off it
 * and is given back when the flow is closed or ignored:
 *
 *	table ──► entry ──► reasm ──┬─► half A ──► held pieces
 *	            │               └─► half B ──► held pieces
 *	            └─ in one of five lists by last use: live, fresh, cheap, ignored, dead
 *
 * When there are too many flows, the `cheap` ones go first, of which nothing but
 * bare acknowledgements was seen; then the `fresh` ones, of which no byte of data
 * was seen, so that no flood of SYNs can push out a `live` one.  A live one that has
 * to go becomes an `ignored` one: so it does not come back as another connection.
 * `dead` are closed ones, kept for a while so that their stragglers open nothing.
 *
 * Numbers of one direction, all stream offsets:
 *
 *	          next                 seen            sent, acked
 *	           │                     │                 │
 *	───────────┼──────[held]──[held]─┼─────────────────┼────
 *	 delivered │ hole                │ shown to exist, not seen
 */
#ifndef NBDSCOPE_ANALYZER_TCP_INTERNAL_H
#define NBDSCOPE_ANALYZER_TCP_INTERNAL_H

#include <base/recall.h>

#include "hold.h"
#include "tcp.h"

/* Sequence and acknowledgement numbers further than this from the highest byte
 * seen are no part of the conversation: no window is as large. */
#define NBDS_FAR ((int64_t)1 << 28)

/* So many segments in a row, each continuing the one before and all far away,
 * show that the capture missed more than that: reassembly moves there. */
#define NBDS_FAR_RUN 8

/* A segment that overlaps more held pieces than this is taken up to there only:
 * work for each segment is bounded, however small somebody cut the pieces. */
#define NBDS_OVERLAPS_MAX 512

/* How far the number of a RST may be from what its sender had sent, where the
 * receiver's window is not known. */
#define NBDS_RST_ABOVE ((int64_t)16 << 20)

/* Patience is so many times longer where nothing shows that the other side
 * got the missing bytes: the other side is not in the capture, or silent; */
#define NBDS_BLIND_PATIENCE 8
/* or it is there, and the bytes may yet be sent again. */
#define NBDS_RESEND_PATIENCE 150

#define NBDS_SCALE_NONE   (-1) /* the SYN told none */
#define NBDS_SCALE_UNSEEN (-2) /* the SYN was not seen */

/* Bytes with wrong checksums that the other side acknowledged, no other copy of them
 * having been seen, so often, and wrong ones in so many segments (one of ...), show
 * that the capture's checksums are not those of the wire. */
#define NBDS_SUMS_REFUTED 4
#define NBDS_SUMS_SHARE   4

/* In nbds_mark.flags, never told: the segment has no checksum that would show a bit
 * turned around.  Its acknowledgement number is told only if a segment that was seen ends
 * there: receivers acknowledge what segments brought, not parts of it. */
#define NBDS_MARK_ACK_DOUBT (1u << 31)
/* Nor are these: it came in order behind a hole (struct nbds_jump); it was sent before what
 * is behind the hole that it fills; lo_frame and lo_time are a bound that is known of it. */
#define NBDS_MARK_BEHIND  (1u << 30)
#define NBDS_MARK_EARLIER (1u << 29)
#define NBDS_MARK_SINCE   (1u << 28)
#define NBDS_MARK_PRIVATE \
	(NBDS_MARK_ACK_DOUBT | NBDS_MARK_BEHIND | NBDS_MARK_EARLIER | NBDS_MARK_SINCE)
/* The ends of so many segments are known of a direction, a power of two. */
#define NBDS_ENDS 32u

struct nbds_link {
	struct nbds_link *prev, *next;
};

/* A frame, where a whole mark is not needed. */
struct nbds_where {
	uint64_t frame;
	int64_t time;
	uint32_t interface;
};

/* Something is waited for since then; what was known then has had its chance
 * when patience is over. */
struct nbds_wait {
	bool on;
	uint32_t frames; /* reasm->frames at the start */
	uint32_t heard;  /* frames at the start of the side that is waited for, or on */
	int64_t time;    /* capture time at the start */
	uint64_t from;   /* half->next at the start */
	uint64_t upto;   /* the bytes waited for end here */
};

/*
 * A segment was captured before what comes before it, and nothing else is open:
 *
 *	      next           from            to              end
 *	───────┼──────────────┼── the hole ───┼─ [1] [2] ... ─┼
 *
 * Did the capture miss more, or only turn two around, or did the network lose one?  If the
 * hole is filled by bytes that were sent before [1] (stamps and acknowledgements only grow
 * from one segment sent to the next), they and all behind them are first transmissions.
 * So are those behind it if the receiver had [1] and not yet the bytes that fill the hole
 * (a selective acknowledgement).
 */
struct nbds_jump {
	bool on, stamped;
	bool sacked;    /* the receiver had the first byte behind it, and of the hole up to */
	uint32_t stamp; /* of [1], */
	uint64_t ack;
	uint64_t sack_ack;
	uint64_t from, to, end, filled;
};

/* New bytes, and when they were captured. */
struct nbds_arrival {
	uint64_t offset, end, frame;
	int64_t time;
};

/* Selective acknowledgements with fewer blocks than this list all that the receiver has:
 * no more fit with timestamps. */
#define NBDS_SACK_FULL 3u

/* What the receiver had, as it told after the bytes had come that were captured at `frame`:
 * all up to `ack` and in the blocks, and nothing else.  So whatever is captured later, and
 * is none of that, it had not received by then. */
struct nbds_had {
	uint64_t ack, frame; /* 0: nothing is known */
	int64_t time;
	unsigned count;
	struct {
		uint64_t from, to;
	} blocks[NBDS_SACK_FULL - 1];
};

enum nbds_base {
	NBDS_BASE_NONE, /* no frame of this direction seen */
	NBDS_BASE_WEAK, /* only the numbers of frames without payload, no SYN */
	NBDS_BASE_KNOWN,
};

/* One direction. */
struct nbds_half {
	uint32_t base;    /* sequence number of offset 0 */
	uint32_t raw_ack; /* acknowledged by the other side before `base` was known */
	bool raw_ack_known;
	uint8_t base_kind; /* enum nbds_base */
	bool syn;          /* base comes from the handshake */
	bool fin, fin_told;
	/* The sender's highest byte is the highest seen: a segment that starts
	 * there is the first transmission.  Not so in mid-capture and after a
	 * hole, until the other side's acknowledgement (above clean_after, and
	 * not above what was seen) or the sender's own number shows it. */
	bool clean;
	bool gap_told;    /* since `clean` was lost */
	bool silent;      /* bytes of it were given up and it showed nothing since */
	bool fin_guessed; /* one byte is acknowledged that was never seen: its FIN */
	uint8_t far_run;
	int8_t scale; /* of its sender's windows, from its SYN, or one of these */
	uint32_t far_next;
	uint32_t heard;   /* counts its frames */
	uint32_t refuted; /* segments that started below `evidence` where new data starts */
	uint64_t next, seen, sent, acked, clean_after;
	uint32_t ends[NBDS_ENDS]; /* of its last segments: the low bits of their offsets */
	uint8_t ends_next;
	uint64_t evidence; /* `acked`, as far as it is believed to show a hole */
	uint64_t fin_at;
	uint64_t fin_ack;          /* what the FIN acknowledged, or NBDS_NO_ACK */
	uint64_t edge;             /* the other side's windows ended here at most; 0: not known */
	uint64_t bad_from, bad_to; /* where bytes with wrong checksums were discarded */
	/* and where they were taken, as long as others were not right */
	uint64_t taken_from, taken_to;
	struct nbds_where taken;
	uint64_t told;     /* the chain of what is remembered of it */
	uint64_t lo_frame; /* the frame with the last clean byte delivered */
	int64_t lo_time;
	struct nbds_jump jump;
	uint64_t settled_from, settled_to; /* what was behind one, and is first transmissions */
	struct nbds_arrival arrived[2];    /* lately, the newest first */
	struct nbds_had had;
	/* From this offset on nothing was sent before this frame, whose number is that. */
	uint64_t idle_at, idle_frame;
	int64_t idle_time;
	struct nbds_mark last; /* of the last byte delivered */
	/* The bytes not acknowledged yet were all told after this. */
	struct nbds_where flight;
	struct nbds_where evidence_where, fin_where;
	struct nbds_wait acked_wait; /* for bytes that the other side acknowledged */
	struct nbds_wait blind_wait; /* for bytes that it did not */
	struct nbds_held_list held;
};

struct nbds_reasm {
	struct nbds_half half[2];
	uint32_t frames; /* counts the frames that brought something */
	bool rst;
	int8_t rst_by;
	bool rst_sure; /* its number was one that the receiver waits for */
	struct nbds_where rst_where;
	struct nbds_wait end_wait; /* the end was seen, but perhaps not all before it */
	uint64_t rst_at;           /* stream offset of the RST */
	bool answered;             /* a SYN of the other side */
	/* A SYN with another number came; its answer will show what it is. */
	bool rival;
	int8_t rival_dir;
	uint32_t rival_isn;
	struct nbds_where rival_where;
	/* In tcp->stalled while anything waits. */
	struct nbds_flow *flow;
	struct nbds_link stalled;
	int64_t look_at; /* capture time of the next look */
};

/* What the checksums of one direction are as a rule; counts stop at the largest. */
struct nbds_sums {
	uint16_t right, wrong;           /* of segments that were taken, with payload */
	uint16_t bare_right, bare_wrong; /* without */
	uint16_t ip_right, ip_wrong;     /* of IP */
	uint16_t discarded;
	uint8_t refuted; /* up to NBDS_SUMS_REFUTED */
};

enum nbds_flow_state { NBDS_FLOW_LIVE, NBDS_FLOW_IGNORED, NBDS_FLOW_DEAD };

struct nbds_flow {
	struct nbds_link list; /* live, fresh, cheap or dead; first member */
	struct nbds_flow *chain;
	struct nbds_tcp *tcp;
	struct nbds_reasm *reasm; /* live only */
	void *user;
	uint64_t last_frame;
	int64_t last_time;
	uint32_t last_interface;
	uint32_t hash;
	struct nbds_addr addr[2];
	uint32_t isn[2], end[2]; /* sequence numbers: of the SYN, after the last byte */
	bool isn_known[2], end_known[2], fin[2];
	struct nbds_sums sums[2];
	uint8_t state; /* enum nbds_flow_state */
	uint8_t busy;  /* depth of work on it: it must not go away */
	bool opened, ignored, stalled;
	bool let_go;   /* nobody waits for its end */
	int8_t rst_by; /* dead: who sent the RST, or -1 */
};

struct nbds_tcp {
	struct nbds_tcp_limits limits;
	struct nbds_tcp_ops ops;
	void *ctx;
	struct nbds_tcp_stats stats;
	struct nbds_held_pool pool;
	struct nbds_recall recall; /* of what was told */
	struct nbds_tcp_reread reread;
	struct nbds_link live, fresh, cheap, ignored, dead, stalled;
	uint64_t followed; /* flows in the first three */
	uint64_t ignored_count, ignored_most, dead_count, dead_most, stalled_count;
	struct nbds_flow **table;
	uint64_t buckets, entries;
	uint64_t seed;
	int64_t now; /* time of the last packet or tick */
	struct nbds_slab *flows, *reasms;
};

/* --- reasm.c --- */

/* A mark of a frame, without acknowledgement or flags. */
struct nbds_mark nbds_mark_at(const struct nbds_where *where);

/* The stream offset of a sequence number, negative before offset 0. */
int64_t nbds_half_offset(const struct nbds_half *half, uint32_t seq);

/* Sets where offset 0 of direction `dir` is, from a SYN. */
void nbds_reasm_base(struct nbds_reasm *r, int dir, uint32_t base, const struct nbds_where *syn);

/* A segment of the flow, not RST.  Opens the flow if it brings its first SYN or
 * payload. */
void nbds_reasm_segment(struct nbds_flow *f, int dir, const struct nbds_segment *s);

/* Tells the flow's frame() without looking at the segment. */
void nbds_reasm_frame(struct nbds_flow *f, int dir, const struct nbds_mark *mark);

/* Gives up what waited long enough, and notes what waits now. */
void nbds_reasm_check(struct nbds_flow *f, int64_t now);

/* Tells all that is held, holes as gaps for the reason `why` (or LOST). */
void nbds_reasm_flush(struct nbds_flow *f, enum nbds_gap_reason why);

/* Takes note of bytes that were discarded for their checksum. */
void nbds_reasm_discarded(struct nbds_reasm *r, int dir, const struct nbds_segment *s);

/* Takes note of bytes with a wrong checksum that are taken all the same. */
void nbds_reasm_taken(struct nbds_reasm *r, int dir, const struct nbds_segment *s);

/* It turned out that checksums are right there as a rule. */
void nbds_reasm_regret(struct nbds_flow *f, int dir);

/* Drops all that is held. */
void nbds_reasm_drop(struct nbds_flow *f);

/* Whether one direction has closed, and the other one too as it seems: its FIN was
 * not seen. */
bool nbds_reasm_end_guessed(const struct nbds_reasm *r);

/* Whether anything waits, in one direction or both. */
bool nbds_half_waits(const struct nbds_half *h);
bool nbds_reasm_waits(const struct nbds_reasm *r);

/* Whether patience is over. */
bool nbds_wait_over(const struct nbds_flow *f, struct nbds_wait *w, uint32_t times, int64_t now);

/* --- tcp.c --- */

/* Calls open() if it was not called yet. */
void nbds_flow_opened(struct nbds_flow *f, const struct nbds_mark *where);

/* Puts the flow into the list of those that wait, or takes it out. */
void nbds_flow_stall(struct nbds_flow *f, bool waits);

/* Makes flows that are not worked on tell what they hold, until `bytes` fit into
 * the total.  False: they do not. */
bool nbds_tcp_relieve(struct nbds_tcp *t, uint64_t bytes);

#endif
