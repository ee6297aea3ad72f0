/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/engine.h - byte streams of connections in; connections, exports,
 * messages and findings out.
 *
 * Purpose.  The engine is what nbdaudit, nbdtop and the plugin's verdicts have
 * in common.  It is fed with TCP connections as in-order bytes with gaps told
 * (analyzer/tcp, or Wireshark's own reassembly, delivers them), recognises
 * those that speak NBD, runs a decoder on each, pairs requests with replies,
 * groups connections by export, and judges consistency.  It knows nothing of
 * capture files, epan or screens.
 *
 * Recognition.  A flow is NBD if its server greets (NBDMAGIC) on any port; or
 * if one side uses port 10809 or a port of the configuration; or if the same
 * server endpoint spoke NBD before; or, for a flow caught in its middle, if
 * requests and replies with matching cookies are found in it.
 *
 * Ownership.  Everything belongs to the engine and stays readable until
 * nbds_engine_free(), unless said otherwise.  Callbacks must not call back
 * into the engine's feeding functions.  Failure.  Functions that allocate
 * return NULL; otherwise shortage of memory lowers what can be judged.
 *
 * Example.
 *	e = nbds_engine_new(&config, &ops, ctx);
 *	s = nbds_engine_stream(e, &addr_a, &addr_b, true, &mark);
 *	nbds_stream_data(s, 0, bytes, n, &mark);  ...
 *	nbds_engine_finish(e);
 *	while ((c = nbds_engine_next_connection(e, c ? c->id : 0)))
 *		print(c);
 */
#ifndef NBDSCOPE_ENGINE_H
#define NBDSCOPE_ENGINE_H

#include <nbdscope/address.h>
#include <nbdscope/decoder.h>
#include <nbdscope/finding.h>
#include <nbdscope/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NBDS_PORTS_MAX 64

struct nbds_engine_config {
	uint16_t ports[NBDS_PORTS_MAX]; /* further server ports */
	unsigned port_count;
	bool exclusive;   /* no writer stays outside the capture */
	uint64_t memory;  /* bytes for contents and state; 0: 1 GiB */
	bool keep_ended;  /* connections that ended stay as they are until
	                  * nbds_engine_forget(); else they are put away in a few bytes */
	int64_t patience; /* ns of capture time, from its last byte, that a violation waits for
	                   * other copies of the bytes that it rests on; 0: a second;
	                   * INT64_MAX: to the end */
	unsigned shard, shards; /* only servers of this shard are judged, from 1 to `shards`;
	                         * `shards` 0: all. See analyzer/session/shard.h */
	int64_t epsilon;        /* ns, margin of capture order between connections; 0: by the
	                  * addresses (none on loopback, else 50 us) */
	/* What looks into TLS; NULL: nothing does. The caller's, and used while the engine
	 * lives. */
	struct nbds_tls_reader *tls;
};

/* How latencies are kept: counts in buckets that grow by 1/16 (so percentiles
 * are exact to 6.25 %), and the exact maximum. All in nanoseconds. Only the buckets
 * around those that were needed are there: buckets[i] is bucket `first` + i. */
#define NBDS_LATENCY_BUCKETS 976
struct nbds_latency {
	uint64_t count;
	uint64_t sum, max;
	uint32_t *buckets;
	unsigned first, bucket_count; /* first + bucket_count <= NBDS_LATENCY_BUCKETS */
};
/* The `percent`-th percentile in ns (0 if nothing was counted). */
uint64_t nbds_latency_percentile(const struct nbds_latency *l, double percent);

/* Errors of one kind of command. */
#define NBDS_ERRORS_MAX 16
struct nbds_error_count {
	uint32_t error;
	uint64_t count;
};

struct nbds_command_stats {
	uint16_t type;       /* NBD_CMD_* or another number */
	uint64_t count;      /* requests */
	uint64_t replies;    /* of them finally answered */
	uint64_t bytes;      /* requested (effect) bytes: read, written, zeroed, trimmed, ... */
	uint64_t data_bytes; /* payload bytes read or written that were successful */
	uint64_t fua;        /* with NBD_CMD_FLAG_FUA */
	struct nbds_error_count *errors; /* in order of appearance, NBDS_ERRORS_MAX at most: the
	                                  * last one then counts all further ones */
	unsigned error_kinds;
	struct nbds_latency *latency; /* NULL until the first reply */
};
/* Commands 0 .. 8, then one for all other numbers. */
#define NBDS_COMMAND_KINDS 10

struct nbds_option_seen {
	uint32_t option;
	uint32_t *replies; /* reply types in order, the first reply_kept of them */
	unsigned reply_kept;
	unsigned reply_count;
	bool final; /* its last reply was seen */
	bool early; /* replies were seen before all of the option was (a
	             * server may refuse it by its header alone) */
	char *text; /* of its last refusal; text_len bytes, any bytes; NULL: none */
	size_t text_len;
};

struct nbds_context {
	uint32_t id;
	char *name;
	size_t name_len;
};

enum nbds_connection_end {
	NBDS_END_OPEN,
	NBDS_END_DISCONNECT,
	NBDS_END_ABORT,
	NBDS_END_FIN,
	NBDS_END_RST,
};

/* A request that waits for its reply, or ended without one. */
struct nbds_outstanding {
	uint16_t type, flags; /* NBD_CMD_*, command flags */
	uint64_t cookie, offset, length;
	uint64_t frame;       /* of its first byte */
	int64_t since;        /* its time, ns */
	uint64_t reply_frame; /* of the first byte of an answer that is not complete; 0: none */
};

/* Flush order as people want to see it. */
struct nbds_flush_seen {
	uint64_t request_frame, reply_frame; /* reply_frame 0: unanswered */
	int64_t request_time, reply_time;
	bool ok;
	/* completed, unflushed writes before it, on this connection and on the others
	 * of the export */
	uint64_t covered_own, covered_other;
	uint64_t covered_bytes;
	uint64_t left; /* writes in flight when it was sent: not covered */
};

/* Chunks of structured and extended replies, as they are counted. */
enum nbds_chunk_kind {
	NBDS_CHUNK_NONE,
	NBDS_CHUNK_DATA,   /* NBD_REPLY_TYPE_OFFSET_DATA */
	NBDS_CHUNK_HOLE,   /* NBD_REPLY_TYPE_OFFSET_HOLE */
	NBDS_CHUNK_STATUS, /* NBD_REPLY_TYPE_BLOCK_STATUS, _EXT */
	NBDS_CHUNK_ERROR,  /* NBD_REPLY_TYPE_ERROR, _OFFSET */
	NBDS_CHUNK_OTHER,
	NBDS_CHUNK_KINDS
};

struct nbds_export;

#define NBDS_LEFT_OPEN_MAX 16u

/* What its pointers point to is put away by session/records.c, which has to know each. */
struct nbds_connection {
	uint32_t id; /* from 1, in the order of first frames */
	struct nbds_addr client, server;
	bool from_start;     /* seen from its first byte */
	bool sure;           /* decoded (false: caught in the middle, never sure) */
	uint64_t sure_frame; /* caught in the middle: first frame that is sure */
	uint64_t first_frame, last_frame;
	int64_t first_time, last_time;
	struct nbds_negotiated negotiated;
	/* Inside TLS, and there were keys to look into it with. */
	struct {
		bool tried;
		bool partly;           /* the other direction is still read, or was for a while */
		enum nbds_tls_why why; /* READ and WAITS: so far */
		uint64_t frame;        /* where that showed */
		struct nbds_tls_facts facts;
	} tls;
	enum nbds_connection_end end;
	struct {
		uint64_t frame; /* where the side ended its direction; 0: it was not seen to */
		int64_t time;
		uint64_t sent; /* bytes of it before that */
		uint64_t ack;  /* bytes of the other side that it had then, or NBDS_NO_ACK */
		bool rst;      /* with RST, not FIN */
		bool unseen;   /* with a FIN that the capture lacks: some time before that frame */
	} closed[2];           /* by enum nbds_side */

	struct nbds_option_seen *options;
	unsigned option_count;
	struct nbds_context *contexts; /* of the last successful SET_META_CONTEXT */
	unsigned context_count;
	bool block_size_seen;
	uint32_t block_minimum, block_preferred, payload_maximum;
	bool export_name_seen;
	char *export_name; /* the one asked for last by INFO, GO or EXPORT_NAME, and not seen in
	                    * oldstyle; NUL-terminated, export_name_len bytes, any bytes */
	size_t export_name_len;
	struct nbds_export *export; /* NULL until known */

	struct nbds_command_stats commands[NBDS_COMMAND_KINDS];
	uint64_t requests, replies, unanswered, unsolicited, in_flight, max_in_flight;
	uint64_t second_replies; /* of unsolicited: to requests that were answered before */
	uint64_t chunks[NBDS_CHUNK_KINDS];
	uint64_t simple_replies;
	uint64_t gaps, gap_bytes; /* holes in the capture, both directions */
	uint64_t snaplen_bytes;   /* of gap_bytes: cut by the snapshot length */
	bool given_up;            /* memory was short: from last_frame on it was not followed */
	uint64_t conflicts;       /* retransmissions with other bytes */
	uint64_t discarded;       /* segments with wrong checksums, left out */
	uint64_t malformed;       /* messages whose inner lengths do not fit */
	uint64_t malformed_frame; /* the first of them */
	struct nbds_accounting bytes[2]; /* by enum nbds_side */
	const char *first_nonsense;      /* NULL, or what it was: "request magic 0x12345678" */
	uint64_t nonsense_frame;

	/* once it ended: the oldest of its requests without a final reply, oldest first */
	struct nbds_outstanding *left_open;
	unsigned left_open_count; /* at most NBDS_LEFT_OPEN_MAX */
	struct {
		uint64_t frame; /* the last that brought bytes of this side; 0: none */
		int64_t time;
	} heard[2]; /* by enum nbds_side */

	/* completed, not flushed, now (or at its end) */
	uint64_t unflushed_writes, unflushed_bytes;
	int64_t unflushed_since;
	struct nbds_flush_seen *flushes; /* the last flush_kept ones, oldest first */
	unsigned flush_kept;
	uint64_t flushes_total;

	void *user; /* the front's own; at first its stream's */
};

/* It goes on inside TLS, and what is inside is not read, or not to its end. */
static inline bool nbds_opaque(const struct nbds_connection *c)
{
	return c->negotiated.tls && (!c->negotiated.inside || c->tls.why > NBDS_TLS_WAITS);
}

struct nbds_export {
	const char *name;
	size_t name_len;
	struct nbds_addr server;
	uint64_t size;
	bool size_seen;
	const uint32_t *connections; /* their ids, in the order in which they entered it */
	unsigned connection_count;
	enum { NBDS_MC_UNKNOWN, NBDS_MC_TRUE, NBDS_MC_FALSE, NBDS_MC_MIXED } multi_conn;
	uint16_t transmission_flags; /* NBD_FLAG_* that any connection to it was offered */
	/* requests: WRITE, WRITE_ZEROES and TRIM count as writes */
	uint64_t writes, flushes, fua_writes;
	uint32_t number; /* of all ever, from 1: never another's, also once this is forgotten */
	struct nbds_export *next;
};

struct nbds_engine_totals {
	uint32_t connections, exports;
	uint64_t findings[4]; /* by enum nbds_severity, repeats counted */
	uint64_t read_bytes;  /* that clients read */
	uint64_t checked_reads, checked_bytes;
	struct {
		const char *reason;
		uint64_t bytes;
	} unchecked[16]; /* reason NULL ends it */
	uint64_t memory;
	/* for want of memory: connections that are not listed, exports without those, and
	 * servers whose contents are not known any more */
	uint64_t forgotten_connections, forgotten_exports, forgotten_servers;
	uint64_t given_up; /* connections that were not followed to their end */
	/* of exports, blocks of 4 KiB whose contents, and versions of sectors that were older
	 * than their contents, are not known any more; they lie between these bytes */
	uint64_t forgotten_blocks, forgotten_versions, forgotten_from, forgotten_to;
};

struct nbds_engine;

struct nbds_engine_ops {
	/* A connection is recognised and has its id. */
	void (*connection)(void *ctx, struct nbds_connection *c);
	/* Every message when its head is complete (fields can be walked). */
	void (*message)(void *ctx, struct nbds_connection *c, const struct nbds_message *m);
	/* Bytes of the payload of a message told before, `at` bytes into it, as they come;
	 * what the capture lost does not. Valid during the call. */
	void (*payload)(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			uint64_t at, const uint8_t *data, size_t len);
	/* A message told before is over. `came`: how much of its payload was sent, what
	 * the capture lost included; if less than payload_len, it was broken off. */
	void (*message_end)(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			    uint64_t came);
	void (*trouble)(void *ctx, struct nbds_connection *c, const struct nbds_trouble *t);
	/* A finding. After 1,000 of one rule on one connection, repeats are only
	 * counted, and told once more at the end with their `count`. */
	void (*finding)(void *ctx, const struct nbds_finding *f);
	/* Whether a finding is one: if not, it is neither told nor counted. NULL: all are.
	 * For who provokes, and knows what of. */
	bool (*wanted)(void *ctx, const struct nbds_finding *f);
	/* The final word on each read, for who wants to know why. Before its finding. */
	void (*judged)(void *ctx, const struct nbds_judged *j);
	/* The connection ended (or the capture did). */
	void (*end)(void *ctx, struct nbds_connection *c);
};

struct nbds_engine *nbds_engine_new(const struct nbds_engine_config *config,
				    const struct nbds_engine_ops *ops, void *ctx);
void nbds_engine_free(struct nbds_engine *e);

/* A byte stream pair (TCP connection): a sends direction 0, b direction 1.
 * `from_start`: nothing of it was sent before. NULL without memory. */
struct nbds_stream;
struct nbds_stream *nbds_engine_stream(struct nbds_engine *e, const struct nbds_addr *a,
				       const struct nbds_addr *b, bool from_start,
				       const struct nbds_mark *where);
/* What its connection will have as `user` when ops.connection is called (else NULL). */
void nbds_stream_set_user(struct nbds_stream *s, void *user);
/* Any frame of it, before what it brings: keeps last_frame. */
void nbds_stream_frame(struct nbds_stream *s, int dir, const struct nbds_mark *where);
/* Nothing that the stream's frames up to `frame` show to have been sent is missing,
 * but for gaps told. Where this is told at all, a verdict waits until it was told of
 * all connections that might have written before the read: what a capture lost may
 * show only when a connection is heard of again. */
void nbds_stream_complete(struct nbds_stream *s, uint64_t frame);
void nbds_stream_data(struct nbds_stream *s, int dir, const uint8_t *data, size_t len,
		      const struct nbds_mark *where);
/* `snaplen`: cut off by the snapshot length, not lost. */
void nbds_stream_gap(struct nbds_stream *s, int dir, uint64_t len, bool snaplen,
		     const struct nbds_mark *where);
/* Two copies of bytes that were told differ (or, if not `differ`, may), and which of them
 * was received is not known: no violation rests on what they say. The first was seen at
 * `first`, or later. */
void nbds_stream_conflict(struct nbds_stream *s, int dir, uint64_t offset, uint64_t len,
			  bool differ, const struct nbds_mark *first);
/* Two copies of bytes that were told are the same, but acknowledge other numbers of bytes
 * of the other direction (or, if both are the same, it is not known whether they came
 * before or after those). The first was seen in the frame of `first`. */
void nbds_stream_acked(struct nbds_stream *s, int dir, uint64_t offset, uint64_t len,
		       uint64_t first_ack, uint64_t ack, const struct nbds_mark *first);
/* A segment was left out that its receiver discards. */
void nbds_stream_discarded(struct nbds_stream *s, int dir, const struct nbds_mark *where);
void nbds_stream_half_close(struct nbds_stream *s, int dir, const struct nbds_mark *where);
/* `dir` sent a RST, which ends the stream: close() follows. */
void nbds_stream_reset(struct nbds_stream *s, int dir, const struct nbds_mark *where);
/* Over. rst: ended by RST; open: not over, but nothing more will be seen. The
 * stream is freed. */
void nbds_stream_close(struct nbds_stream *s, bool rst, bool open, const struct nbds_mark *where);
/* It will not be fed any more, though it goes on: memory is short. close() follows. */
void nbds_stream_give_up(struct nbds_stream *s);
/* True once it is certain that the stream is not NBD, or that there is no memory to
 * follow it: feed no more, and close it. */
bool nbds_stream_useless(const struct nbds_stream *s);
/* Bytes of direction `dir` that came before the first one that is decoded: the
 * messages of the stream count their offsets from there. */
uint64_t nbds_stream_skipped(const struct nbds_stream *s, int dir);

/* Since which frame bytes of it are kept that wait for keys. False: none are. */
bool nbds_stream_held_since(const struct nbds_stream *s, uint64_t *frame);

/* While bytes are held back before the engine sees them, verdicts wait: tell
 * how to ask. `held` answers: may anything be held back that was captured up to
 * this frame? */
void nbds_engine_set_held(struct nbds_engine *e, bool (*held)(void *ctx, uint64_t frame),
			  void *ctx);

/* Of the memory of the configuration others take `bytes` now: the rest is the engine's. */
void nbds_engine_share(struct nbds_engine *e, uint64_t bytes);

/* The capture says that it dropped packets: what was dropped cannot be known. */
void nbds_engine_dropped(struct nbds_engine *e, uint64_t packets);
/* The capture has so many interfaces, as far as is known. Their clocks need not
 * agree: with more than one, violations wait for the end of the capture, and are
 * none where a server was seen on several. */
void nbds_engine_interfaces(struct nbds_engine *e, uint32_t interfaces);
/* Several interfaces, hosts or files: order between them is not to be trusted
 * (marks carry the interface). Time has come to `now`. */
void nbds_engine_tick(struct nbds_engine *e, int64_t now);
/* The end of the capture (after all streams are closed). */
void nbds_engine_finish(struct nbds_engine *e);

/* Who closed first, as far as it was seen (false: nobody was). Frames that change their
 * places in the capture do not matter: a FIN acknowledges the other side's. */
bool nbds_closed_first(const struct nbds_connection *c, enum nbds_side *side);

/* The connection with the smallest id above `id`, from 0 on all of them, in the order of
 * ids; NULL: no more. Valid until the next call of this function. */
const struct nbds_connection *nbds_engine_next_connection(struct nbds_engine *e, uint32_t id);
/* The one called `id`, or NULL. Valid until the next call of this function. */
const struct nbds_connection *nbds_engine_connection(struct nbds_engine *e, uint32_t id);
struct nbds_export *nbds_engine_exports(struct nbds_engine *e);
void nbds_engine_totals(const struct nbds_engine *e, struct nbds_engine_totals *t);

/* The oldest requests of the connection that wait, oldest first, at most `max`.
 * Returns how many were put into `list`. */
unsigned nbds_connection_outstanding(const struct nbds_connection *c, struct nbds_outstanding *list,
				     unsigned max);

/* While a connection is open, its `negotiated`, `bytes` and unflushed_* are those
 * of some moment ago: brings them up to date. */
void nbds_connection_refresh(struct nbds_connection *c);

/* Where the first byte of a message's request was seen. To be called in
 * ops.message. False: not known. */
bool nbds_request_seen(const struct nbds_request *r, struct nbds_mark *first);

/* For those who run for ever: frees the connections that have ended (ops.end was
 * called) and for which `which` says true; and an export with the last of its
 * connections. Totals keep counting them. Not to be called from a callback. */
void nbds_engine_forget(struct nbds_engine *e,
			bool (*which)(void *arg, const struct nbds_connection *c), void *arg);

#ifdef __cplusplus
}
#endif
#endif
