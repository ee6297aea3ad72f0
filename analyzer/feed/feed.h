/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/feed/feed.h - the one bridge from TCP to the engine.
 *
 * Purpose.  Segments come in, reassembly puts them in order, and the engine is
 * given the bytes of each connection, with gaps told.  The pipeline feeds packets
 * of a capture through it, the Wireshark plugin those that Wireshark dissects,
 * and what both say is the same.
 *
 *	segment ──► nbds_tcp ── bytes, gaps, ends ──► flow ──► stream of the engine
 *	               │                                           │
 *	               └── held back since ... ──► heap ◄── "is anything earlier held?"
 *
 * The engine asks before each verdict whether bytes captured earlier are still held
 * back.  A flow can come to hold something only through a segment of its own, so
 * each flow that had a segment is looked at once after it, and those that hold
 * something stand in a heap, the one that holds for longest on top.  What a flow
 * holds can otherwise only become less: a place in the heap may be too early, and
 * is put right when it comes to the top.  An answer costs O(log flows that hold).
 *
 * Ownership.  A feed owns its TCP state and its engine.  A flow is valid until its
 * hook `close` returns.  Hooks must not call the feed.  Failure.
 * nbds_feed_new() returns NULL without memory; without memory later a connection is
 * not followed.  Threads: none.
 *
 * Example.
 *	feed = nbds_feed_new(&config);
 *	while (next(&packet)) {
 *		if (nbds_ip_segment(ip, &packet, &segment))
 *			nbds_feed_segment(feed, &segment);
 *		nbds_feed_time(feed, packet.time);
 *	}
 *	nbds_feed_finish(feed);
 *	report(nbds_feed_engine(feed));
 *	nbds_feed_free(feed);
 */
#ifndef NBDSCOPE_ANALYZER_FEED_H
#define NBDSCOPE_ANALYZER_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/engine.h>
#include <nbdscope/packet.h>

#include "../tcp/tcp.h"

struct nbds_feed;
struct nbds_feed_flow; /* a connection: TCP's, or bytes from inside of another protocol */

/* What a front may want to know of flows besides what the engine tells. Any of them may
 * be NULL. `user` is what `open` returned. */
struct nbds_feed_hooks {
	/* A flow begins; a sends direction 0, b direction 1. The engine's connection that
	 * comes of it has what is returned as its `user` when ops.connection is called. */
	void *(*open)(void *ctx, struct nbds_feed_flow *flow, const struct nbds_addr *a,
		      const struct nbds_addr *b, const struct nbds_mark *where);
	/* A frame of a flow that the engine may have use for, before what it brings. */
	void (*frame)(void *ctx, void *user, int dir, const struct nbds_mark *where);
	/* The engine is about to be told of bytes, a gap or an end. */
	void (*before)(void *ctx, void *user, const struct nbds_mark *where);
	/* It was told of `len` bytes, or that they are missing. */
	void (*fed)(void *ctx, void *user, int dir, uint64_t len, const struct nbds_mark *where);
	/* It is over. */
	void (*close)(void *ctx, void *user);
};

/* What the configuration means by 0. */
#define NBDS_FEED_MEMORY ((uint64_t)1 << 30)

struct nbds_feed_config {
	/* .memory (0: NBDS_FEED_MEMORY) bounds engine and TCP together: contents and state, bytes
	 * that wait for others, and flows, of which the least useful are forgotten when
	 * there are too many */
	struct nbds_engine_config engine;
	/* bytes of it that remember what was told, to hold copies that come later against;
	 * 0: a 32nd, 32 MiB at most */
	uint64_t remembered;
	struct nbds_engine_ops ops; /* the engine's callbacks, and their context */
	void *ctx;
	struct nbds_feed_hooks hooks;
	void *hooks_ctx;
	/* Nobody says what the capture dropped (true of files, not of live interfaces):
	 * a violation waits until each connection shows that nothing is missing. */
	bool drops_untold;
};

struct nbds_feed *nbds_feed_new(const struct nbds_feed_config *config);
void nbds_feed_free(struct nbds_feed *feed);

/* Before the first segment: bytes of segments can be had again, see nbds_tcp_reread(). */
void nbds_feed_reread(struct nbds_feed *feed, const struct nbds_tcp_reread *from);

/* The next segment, in the order of capture. */
void nbds_feed_segment(struct nbds_feed *feed, const struct nbds_segment *segment);

/* Capture time has come to `now` (ns, any number): to be told after each packet,
 * whatever it is, and now and then in a live silence. */
void nbds_feed_time(struct nbds_feed *feed, int64_t now);

/* No more will come: connections close, verdicts are passed. Flows opened with
 * nbds_feed_open() must be closed before. Calling it again does no harm. */
void nbds_feed_finish(struct nbds_feed *feed);

/* Of the memory of the configuration the caller takes `bytes` now. */
void nbds_feed_share(struct nbds_feed *feed, uint64_t bytes);
struct nbds_engine *nbds_feed_engine(const struct nbds_feed *feed);
const struct nbds_tcp_stats *nbds_feed_tcp_stats(const struct nbds_feed *feed);
/* The greatest time told, since the clock was set back; 0 before the first. */
int64_t nbds_feed_newest(const struct nbds_feed *feed);

/* Where the sequence number `seq` of direction `dir` is in its stream, see
 * nbds_tcp_offset(). False also of a flow that is not TCP's. */
bool nbds_feed_offset(const struct nbds_feed_flow *flow, int dir, uint32_t seq, int64_t *offset);
/* Bytes before the first one that is decoded, see nbds_stream_skipped(). */
uint64_t nbds_feed_skipped(const struct nbds_feed_flow *flow, int dir);

/* --- bytes that are in order already, from inside of another protocol (TLS) --- */

/* NULL without memory. */
struct nbds_feed_flow *nbds_feed_open(struct nbds_feed *feed, const struct nbds_addr *a,
				      const struct nbds_addr *b, bool from_start,
				      const struct nbds_mark *where);
/* What the hook `open` returned for it. */
void *nbds_feed_user(const struct nbds_feed_flow *flow);
/* What comes next of it comes in this frame. */
void nbds_feed_frame(struct nbds_feed_flow *flow, int dir, const struct nbds_mark *where);
/* `data` NULL: `len` bytes are missing, cut off by the snapshot length if `snaplen`. */
void nbds_feed_bytes(struct nbds_feed_flow *flow, int dir, const uint8_t *data, uint64_t len,
		     bool snaplen, const struct nbds_mark *where);
/* Direction `dir` ends. */
void nbds_feed_half_close(struct nbds_feed_flow *flow, int dir, const struct nbds_mark *where);
/* Nothing more will be seen of it. */
void nbds_feed_close(struct nbds_feed_flow *flow, const struct nbds_mark *where);
/* It is over, and its end was seen: both directions ended, or were cut off. */
void nbds_feed_over(struct nbds_feed_flow *flow, bool cut_off, const struct nbds_mark *where);

#endif
