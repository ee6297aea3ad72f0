/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/consistency.h - commands and contents in, proved
 * violations out.
 *
 * Purpose.  Given every connection to one server endpoint (a *world*), judges
 * each read sector by sector: which contents may a server that obeys the
 * protocol return here?  A read outside of that set is reported with the
 * commands that prove it; whatever cannot be judged is counted with a reason.
 * It knows connections, commands, sectors and order; it knows nothing of TCP,
 * capture files, or how replies are framed.
 *
 * Theory, in short.  c1 << c2 ("c1 before c2") holds only on proof:
 *   T1  the segment with the last byte of c1's status had not acknowledged
 *       all of c2's header (same connection);
 *   T2  c2's first segment acknowledged all of c1's status (same connection);
 *   T3  c1's status was captured before c2's header, in file order and by
 *       more than `epsilon` of time, on one interface.
 * Est(W,c), W is in force for c: ok(W), W not voided, W << c, and
 *   E1  same connection; or
 *   E2  FUA and multi-conn; or
 *   E3  a successful FLUSH F of any connection, multi-conn, W << F << c.
 * W is voided for c by a command X of the server, a FLUSH or one with FUA, that
 * failed (or was never answered) and did not provably begin after c was answered,
 * unless X << W, or some FLUSH F0 of W's export succeeded with W << F0 << X.  X
 * may be of another export name: two names may be one device.
 * Sup(W,W'): Est(W,W') and W' covers the sector.  A TRIM supersedes nothing, since
 * the server may shrink it to nothing.
 * Adm(x,R): all W that cover x, did not provably begin after the byte was
 * sent, and for which no W' has Sup(W,W') and Est(W',R); and the unknown
 * initial contents unless some W' has Est(W',R).  W of another export name of
 * the same server stay in Adm for ever (it may be the same device), and so do
 * writes that failed or were not answered.  TRIM and initial contents admit any
 * value: no verdict; so does a failed write until an established one began after
 * it, and one that was not answered until an established one whose request came
 * after its own (its error may be what the capture lacks).
 * Bytes of several admissible writes may be mixed: nothing is atomic.
 *
 * A read outside of that is convicted by the smallest set of commands in force
 * that still excludes what it returned: those that flushes made visible (V2), then
 * FUA (V3), then its connection's own (V4, V1).  It is a *violation* only if
 *   - the data is known as old (of a superseded write, or read there before, when
 *     no write was in force); data from nowhere is suspect, unless the user
 *     vouches for all writers, and no verdict if it turns up in a later write;
 *   - one server executed the write and the read: a chain of connections, each
 *     from its first payload to the last request that it answered, leads from one
 *     to the other.  An open connection alone is no proof: a host that lost power
 *     says no goodbye, and a kernel answers for a server that was killed;
 *   - for V4 and V1, no other connection wrote anything that was not in force
 *     before the write began (a cache may write back a neighbour's stale block);
 *   - every connection to the server is seen from its beginning, in clear, and the
 *     capture dropped nothing.
 * A verdict waits until evidence that could lift it is in: flushes in flight, bytes
 * held back, writes in flight.  A gap that may hide a request ends all verdicts.
 *
 * Contents.  A 512-byte sector is kept as 64 bits: a hash and a few sampled bytes
 * (32 bits once nothing is open about it, see quiet.c).  Equal values are taken to
 * be equal contents (an error of one in 2^64, or 2^32, that can silence a finding
 * or name the wrong source of wrong data).  Unequal values are unequal contents,
 * for certain.  With several admissible contents a read is convicted only by a
 * sampled byte that none of them has at that place, since any mixture of them is
 * legal.
 *
 * Ownership.  A world owns parties and operations, and keeps of a connection that
 * ended and that its caller left what its commands still need (see past.c).  An operation handed out
 * by nbds_world_request() is valid until nbds_op_reply() or nbds_op_open() is
 * called on it; not after.  Memory is capped (nbds_world_config.memory): past
 * it the oldest contents are forgotten and become unknown, and counted.
 * Failure.  Shortage of memory is forgetting.  Nothing aborts.
 *
 * Example (one write, one flush and one stale read):
 *	w = nbds_world_new(&config, &ops, ctx);
 *	a = nbds_world_connect(w, 1, &start);  nbds_party_export(a, "", 0, size, flags, true);
 *	op = nbds_world_request(a, NBD_CMD_WRITE, 0, 0, 512, &order);
 *	nbds_op_write_data(op, 0, sector, 512);  nbds_op_reply(op, 0, &status);
 */
#ifndef NBDSCOPE_ANALYZER_CONSISTENCY_H
#define NBDSCOPE_ANALYZER_CONSISTENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/finding.h>

#define NBDS_SECTOR 512u

/* An instant of the capture. */
struct nbds_point {
	uint64_t frame;
	int64_t time; /* ns */
	uint32_t interface;
};

/* What a capture shows of the beginning of a request. */
struct nbds_request_order {
	struct nbds_point lo; /* sound lower bound: first byte of the header (or
	                            * the last clean point before, if it may have been
	                            * on the wire earlier) */
	uint64_t frame;       /* frame shown to people: that of the first byte */
	uint64_t header_end;  /* client stream offset after the header */
	uint64_t acked;       /* server bytes that the header's segment acknowledged,
	                            * if it is known to be the first transmission (T2);
	                            * else NBDS_NO_ACK */
	bool ambiguous;       /* cookie shared with another request in flight */
	bool illegal;         /* out of range, misaligned for a bound client, not
	                            * advertised: proves nothing, yet may have effects */
	uint64_t damage_offset, damage_length; /* illegal writes: range whose contents
	                            * are in doubt for ever (0 length: the command's own) */
};

/* What a capture shows of a status: the final reply's. */
struct nbds_reply_order {
	struct nbds_point hi; /* upper bound: where the status was completely seen */
	uint64_t frame;       /* frame of the last byte of the final reply */
	uint64_t status_end;  /* server stream offset after the status */
	uint64_t acked;       /* client bytes that the segment with the last byte of
	                            * the status acknowledged (T1), or NBDS_NO_ACK */
};

/* Of a host's address: its family, and what it has. */
#define NBDS_HOST_BYTES 17u

struct nbds_world_config {
	int64_t epsilon; /* ns; margin of T3. Suggested 50 000 */
	int64_t settle;  /* ns; how long a verdict waits for late evidence */
	bool exclusive;  /* the user vouches that no writer stays outside */
	uint64_t memory; /* bytes for contents and operations; 0: 1 GiB */
	/* Where all that the world keeps is counted, together with what others keep: it
	 * is for all worlds of an engine, and outlives them. NULL: a count of its own. */
	struct nbds_budget *budget;
	char server[64]; /* "192.0.2.1:10809", for texts */
	/* The servers of one address, on several ports, may serve one device. `host`: what
	 * they have in common; the registry is for all worlds of an engine, and outlives
	 * them. NULL: there is no other. */
	struct nbds_kin *kin;
	uint8_t host[NBDS_HOST_BYTES];
	/* What is not flushed is added up there, of all worlds of an engine, which it
	 * outlives. NULL: nobody asks. */
	struct nbds_unflushed_sum *tally;
};

/* Reasons why a read, or a part of it, was not judged. */
enum nbds_unchecked {
	NBDS_UNCHECKED_UNKNOWN,      /* nothing known of the contents before (initial contents) */
	NBDS_UNCHECKED_TRIM,         /* trimmed, or a hole of undefined contents */
	NBDS_UNCHECKED_FAILED_WRITE, /* a write failed there */
	NBDS_UNCHECKED_PARTIAL,      /* less than a whole sector was written or read */
	NBDS_UNCHECKED_LOST,         /* the capture lost or cut bytes of it */
	NBDS_UNCHECKED_GAP,          /* a gap on some connection may hide a write */
	NBDS_UNCHECKED_MIXED,     /* several admissible contents, and the read may be a mixture */
	NBDS_UNCHECKED_VOIDED,    /* a flush failed or was never answered */
	NBDS_UNCHECKED_FORGOTTEN, /* contents forgotten (memory limit, or too many versions) */
	NBDS_UNCHECKED_ERROR,     /* the read failed, or was not answered */
	NBDS_UNCHECKED_ILLEGAL,   /* the request itself was not legal */
	NBDS_UNCHECKED_UNFLUSHED, /* a write there was not in force for the reader, and what
	                           * was there before is not known */
	NBDS_UNCHECKED_ORDER,     /* order of capture not trustworthy here */
	NBDS_UNCHECKED_MAX
};
extern const char *const nbds_unchecked_names[NBDS_UNCHECKED_MAX]; /* "unknown-contents", ... */

struct nbds_world_stats {
	uint64_t reads;                         /* successful reads judged at least in part */
	uint64_t checked_bytes;                 /* bytes of reads held against known contents */
	uint64_t unchecked[NBDS_UNCHECKED_MAX]; /* bytes */
	uint64_t memory, memory_max;
	uint64_t forgotten; /* blocks forgotten */
	uint64_t pruned;    /* superseded versions of a sector dropped: data of such age that
	                  * comes back is not recognised as stale */
	uint64_t lost_from, lost_to; /* bytes between which all of both were; 0, 0: none */
};

struct nbds_world;
struct nbds_kin;
struct nbds_unflushed_sum;
struct nbds_party; /* one connection */
struct nbds_op;    /* one command in flight */

/* What a flush did. */
struct nbds_flush_report {
	uint32_t connection;
	uint64_t request_frame, reply_frame; /* reply_frame 0: never answered */
	int64_t request_time, reply_time;
	bool ok;
	uint64_t covered_own, covered_other; /* completed, unflushed writes that it covered */
	uint64_t covered_bytes;
	uint64_t left; /* writes in flight on the same export when it was sent */
};

struct nbds_world_ops {
	/* A flush ended. Valid during the call. */
	void (*flushed)(void *ctx, const struct nbds_flush_report *f);
	/* A finding is certain. Valid during the call. */
	void (*finding)(void *ctx, const struct nbds_finding *f);
	/* May a verdict about `upto` be passed? False while earlier bytes of some
	 * connection to this server are still held back and may arrive (NULL: yes). */
	bool (*settled)(void *ctx, const struct nbds_point *upto);
	/* The final word on a read (NULL: nobody asks). Valid during the call. */
	void (*judged)(void *ctx, const struct nbds_judged *j);
};

/* For nbds_world_config.kin; NULL without memory. */
struct nbds_kin *nbds_kin_new(struct nbds_budget *budget);
void nbds_kin_free(struct nbds_kin *kin);
/* To a server, of which there need be no world, something may be sent from `at` on that is NBD
 * and not understood. `host` (NBDS_HOST_BYTES) and `server` are those of a world's config. */
void nbds_kin_stranger(struct nbds_kin *kin, const uint8_t *host, const char *server,
		       const struct nbds_point *at);

struct nbds_world *nbds_world_new(const struct nbds_world_config *config,
				  const struct nbds_world_ops *ops, void *ctx);
void nbds_world_free(struct nbds_world *w);

/* A connection to the server appears at `at`. `id` is shown in findings.
 * `from_start`: its first byte was seen. NULL without memory. */
struct nbds_party *nbds_world_connect(struct nbds_world *w, uint32_t id, bool from_start,
				      const struct nbds_point *at);

/* The size and flags of its export, which nbds_party_export() tells, were shown at `at`; if
 * this is not told: when it appeared. */
void nbds_party_shown(struct nbds_party *p, const struct nbds_point *at);

/* It entered transmission on export `name` with these transmission flags
 * (NBD_FLAG_*); `known` false: flags and size were not seen. */
void nbds_party_export(struct nbds_party *p, const char *name, size_t name_len, uint64_t size,
		       uint16_t flags, bool known);

/* The first payload from the server on it was seen at `at`: the server that
 * answers there is, from then on, one and the same. (Frames without payload, and
 * frames sent again, are its kernel's, which outlives it.) Where this is told at
 * all, an open connection alone does not show that the server was not restarted
 * in between. */
void nbds_party_heard(struct nbds_party *p, const struct nbds_point *at);

/* The server acted upon something that was sent on it at `at`: it was alive then.
 * (Answers to requests need not be told; its close after a DISC has to be.) */
void nbds_party_alive(struct nbds_party *p, const struct nbds_point *at);

/* All that it did up to `frame` was told, or is told as missing. Where this is told
 * at all, a violation waits for it on all other open connections, though not for ever. */
void nbds_party_complete(struct nbds_party *p, uint64_t frame);

/* What it does from now on cannot be seen (TLS). */
void nbds_party_opaque(struct nbds_party *p, const struct nbds_point *at);

/* It will not be followed any more, though it may go on: as nbds_party_opaque(), but its
 * end will not be told. nbds_party_leave() follows. */
void nbds_party_gone(struct nbds_party *p, const struct nbds_point *at);

/* Bytes from the client may be missing since `since` (the last clean point),
 * enough to hide a write-class request. */
void nbds_party_gap(struct nbds_party *p, const struct nbds_point *since);

/* How it ended, before nbds_party_end(). `frame`: where the side closed that closed
 * first; `request_frame`: of a request that was not answered then, a flush rather than
 * another, 0: there was none; `type`: NBD_CMD_* of it. */
struct nbds_hang_up {
	bool by_server;
	uint64_t frame;
	uint64_t request_frame;
	uint16_t type;
};
void nbds_party_hung_up(struct nbds_party *p, const struct nbds_hang_up *how);

/* It ended at `at`. Its operations must have been ended before. */
void nbds_party_end(struct nbds_party *p, const struct nbds_point *at);

/* Its caller lets go of it: `p` is not valid after this. (The world frees all that
 * is left when it goes itself.) */
void nbds_party_leave(struct nbds_party *p);

/* A request: type NBD_CMD_*, command flags, range in bytes. READ, WRITE,
 * FLUSH, TRIM, WRITE_ZEROES, BLOCK_STATUS matter; others may be given too.
 * Returns the operation, or NULL without memory (then contents of the range
 * become unknown). */
struct nbds_op *nbds_world_request(struct nbds_party *p, uint16_t type, uint16_t flags,
				   uint64_t offset, uint64_t length,
				   const struct nbds_request_order *order);

/* Payload of a WRITE, in order: `at` bytes into it. Gaps in `at` are bytes lost. */
void nbds_op_write_data(struct nbds_op *op, uint64_t at, const uint8_t *data, size_t len);
/* All payload of the WRITE was seen, or no more will be. `where`: of its last byte. */
void nbds_op_write_end(struct nbds_op *op);

/* Data of a READ: bytes of the export at `offset` (absolute), in order within
 * one chunk; `hi`: where they were seen. */
void nbds_op_read_data(struct nbds_op *op, uint64_t offset, const uint8_t *data, size_t len,
		       const struct nbds_point *hi);
/* A hole chunk (zeroes) of a READ. */
void nbds_op_read_hole(struct nbds_op *op, uint64_t offset, uint64_t len,
		       const struct nbds_point *hi);
/* Block status of context base:allocation: an extent with NBD_STATE_* bits. */
void nbds_op_status_extent(struct nbds_op *op, uint64_t offset, uint64_t len, uint32_t status,
			   const struct nbds_point *hi);
/* The same of `count` extents, one after the other from `offset` on; all of them end before
 * 2^64. */
struct nbds_extent {
	uint64_t length;
	uint32_t status;
};
void nbds_op_status_extents(struct nbds_op *op, uint64_t offset, const struct nbds_extent *list,
			    size_t count, const struct nbds_point *hi);

/* The final reply: error 0 is success (no error chunk in the series, and no
 * gap that could hide one). The operation is not the caller's after this, unless it is
 * true: a WRITE that was answered before its payload came. That is still to be told, up to
 * nbds_op_write_end(), with which it ends. */
bool nbds_op_reply(struct nbds_op *op, uint32_t error, const struct nbds_reply_order *order);
/* Its outcome will never be known: connection ended, status in a gap,
 * ambiguous cookie, forgotten. The operation is not the caller's after this. */
void nbds_op_open(struct nbds_op *op);

/* From `at` on there are connections that are not told of, and that may write. */
void nbds_world_unseen(struct nbds_world *w, const struct nbds_point *at);

/* The capture dropped packets: nothing is a violation any more, only suspect. */
void nbds_world_dropped(struct nbds_world *w);

/* The capture has several interfaces: commands of another one, and of any time, may
 * be told after those that they came before. Violations wait for the end, and are
 * suspects if commands were on more than one. */
void nbds_world_interfaces(struct nbds_world *w);

/* A reply was captured before its request, by `inversion` ns (0: only the file
 * order was wrong): the order of capture is not to be trusted that far. */
void nbds_world_inversion(struct nbds_world *w, int64_t inversion);

/* Capture time is now `now`: verdicts that waited long enough are passed. False: there
 * is nothing in the world that time alone could move. */
bool nbds_world_tick(struct nbds_world *w, int64_t now);
/* Forgets contents until no more than `goal` bytes are kept, if it can. */
void nbds_world_shrink(struct nbds_world *w, uint64_t goal);
/* No more evidence will come: all verdicts are passed. */
void nbds_world_finish(struct nbds_world *w);

void nbds_world_stats(const struct nbds_world *w, struct nbds_world_stats *s);

/* Flush order of an export, for people: what is completed and not flushed. */
struct nbds_unflushed {
	uint64_t writes, bytes;
	uint64_t first_frame; /* request of the oldest such write */
	int64_t since;        /* its completion, ns */
};
void nbds_party_unflushed(const struct nbds_party *p, struct nbds_unflushed *u);

/* For nbds_world_config.tally; NULL without memory. */
struct nbds_unflushed_sum *nbds_unflushed_sum_new(struct nbds_budget *budget);
void nbds_unflushed_sum_free(struct nbds_unflushed_sum *t);
/* Of all connections, but those that no flush will cover any more; `first_frame` is not
 * known. */
void nbds_unflushed_sum_now(const struct nbds_unflushed_sum *t, struct nbds_unflushed *u);

#endif
