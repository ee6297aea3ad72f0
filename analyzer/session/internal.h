/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/session/internal.h - what the engine keeps, and its sessions.
 *
 *	engine.c ─► stream.c ─► messages.c ─► negotiate.c ─► session.c ─► servers.c  (worlds)
 *	         │              commands.c ─► notice.c       exports.c, clients.c
 *	         │                            secure.c       doubts.c ─► findings.c
 *	         └► memory.c ──────────────────────────────► records.c  (what ended)
 *
 * counts.c adds to the running totals of all, where somebody asks for them.
 *
 * Calls go to the right only.  The engine has streams, undecided or with a session;
 * a session is a connection with its decoder, its party in its server's world, and
 * its requests in flight (struct inflight hangs on nbds_request.user).
 */
#ifndef NBDS_SESSION_INTERNAL_H
#define NBDS_SESSION_INTERNAL_H

#include <base/budget.h>
#include <nbdscope/counts.h>
#include <nbdscope/engine.h>

#include "../rules/check.h"
#include "clients.h"
#include "doubts.h"
#include "exports.h"
#include "findings.h"
#include "records.h"
#include "servers.h"
#include "shard.h"

#define FLUSHES_KEPT  256u
#define OPTIONS_KEPT  256u
#define REPLIES_KEPT  4096u  /* to all options */
#define TEXTS_KEPT    32768u /* bytes of contexts' names and of refusals */
#define CONTEXTS_KEPT 64u

/* No export can be called so by a client that sends what the protocol allows. */
#define UNKNOWN_EXPORT "\0?"

struct session;
struct secure;

/* What the session does with what is inside. */
struct secure_ops {
	/* Bytes in order for the decoder; acknowledgements count as it does. */
	void (*data)(struct session *s, enum nbds_side side, const uint8_t *data, size_t len,
		     const struct nbds_mark *where);
	/* `len` of them are missing; 0: an unknown number. */
	void (*lost)(struct session *s, enum nbds_side side, uint64_t len,
		     const struct nbds_mark *where);
	void (*half_close)(struct session *s, enum nbds_side side, const struct nbds_mark *where);
};

struct secure_list {
	struct secure *first, *last;
	uint32_t count;
};

struct inflight {
	struct inflight *next_free;
	struct inflight *older, *newer; /* of the session */
	const struct nbds_request *request;
	struct nbds_op *op; /* NULL: not followed */
	struct nbds_mark first;
	uint64_t losses;      /* the session's server-side losses when it was sent */
	uint64_t extent_at;   /* BLOCK_STATUS: offset that the next extent begins at */
	bool status_known;    /* its extents follow each other without a hole */
	uint64_t reply_frame; /* where its answer began; 0: it did not */
	uint64_t span;        /* its request, see doubts.h */
	struct rules_request rules;
};

/* A connection and what only the engine needs of it. */
struct session {
	struct nbds_connection c;
	struct nbds_engine *engine;
	struct server *server;
	struct nbds_stream *stream; /* while it is fed */
	struct nbds_decoder *decoder;
	uint64_t decoder_takes; /* bytes, counted */
	struct secure *secure;  /* NULL: it is in clear, or not looked into */
	const struct secure_ops *secure_ops;
	struct nbds_party *party;
	struct nbds_table_node by_id;
	struct session *next, *prev;           /* of the engine */
	struct session *next_open, *prev_open; /* of the engine: open, or ended */
	struct rules_connection *rules;        /* while it is open; NULL: no memory */
	struct inflight *oldest, *newest;      /* requests in flight */
	struct nbds_op *owed; /* a write that was answered, and whose payload still comes */
	bool announced, ended;
	bool elsewhere; /* it would be announced in its server's shard */
	bool closing;   /* its requests in flight are noted as left open */
	struct nbds_point appeared;
	bool heard;
	struct nbds_point first_heard;  /* first payload of the server */
	struct nbds_point disc;         /* where DISC was sent; frame 0: it was not */
	struct nbds_mark last_clean[2]; /* the last bytes of each side */
	bool doubted;                   /* before it was announced: bytes since then */
	struct nbds_point doubted_since;
	uint64_t spans[2]; /* chains of each side's messages, see doubts.h */
	uint64_t losses;   /* times that the server's framing was lost */
	uint64_t progress; /* payload of the server's message so far */
	/* negotiation */
	bool name_final; /* the export's name is that of the option that is to open it */
	bool unnamed;    /* that option was not seen */
	bool asked_block_size, got_block_size, block_bound, block_unasked;
	uint64_t export_frame; /* where size and flags were last told */
	int64_t export_time;
	struct nbds_point shown; /* the last message that did; frame 0: there is none */
	struct nbds_context *new_contexts;
	unsigned new_count;
	unsigned replies_kept, texts_kept;
	/* block status in progress */
	uint8_t extent[16];
	unsigned extent_have;
	uint64_t extent_pos; /* bytes of extents consumed */
	/* statistics */
	struct client_use use;
	struct server_use server_use;
	uint64_t complete; /* frame up to which nothing is missing */
	bool parted;       /* its server's first world is gone */
	bool cache_honoured;
	uint64_t cache_frame;
	uint64_t writes;         /* write-class requests */
	uint64_t tls_counted[2]; /* encrypted bytes of each side */
	unsigned flush_room;
};

struct waiting_server;

struct nbds_stream {
	struct nbds_engine *engine;
	struct nbds_stream *next, *prev; /* undecided ones */
	/* those of them whose server shows nothing yet, oldest first */
	struct waiting_server *waits_for;
	struct nbds_stream *next_waiting, *prev_waiting;
	struct nbds_addr addr[2];
	bool from_start, undecided, useless;
	bool listed;    /* in the list of undecided ones */
	int server_dir; /* -1: not known yet */
	struct nbds_mark first;
	uint64_t last_frame;
	int64_t last_time;
	uint64_t skipped[2]; /* bytes not fed to the decoder */
	uint64_t heard[2];   /* the frame that brought the last bytes while undecided; 0: none, */
	int64_t heard_at[2]; /* and its time */
	unsigned looked;     /* spans looked at while undecided */
	uint8_t prefix[8];   /* first bytes of the acceptor, while too few to decide */
	unsigned prefix_len;
	struct nbds_mark prefix_mark;
	bool doubted;            /* of its first bytes there were two copies */
	uint32_t id;             /* that its connection will have; 0: the next one */
	struct session *session; /* NULL: none, or it was given up */
	void *user;              /* the front's own */
};

/* A server that streams were opened to which are undecided, and have no id. */
struct waiting_server {
	struct nbds_table_node node;
	struct nbds_addr addr;
	struct nbds_stream *oldest, *newest;
	uint32_t count;
};

/* Linked by next_open (older) and prev_open (newer). */
struct session_list {
	struct session *newest, *oldest;
};

struct nbds_engine {
	struct nbds_engine_config config;
	struct nbds_budget budget; /* all state of the engine and of its worlds */
	struct nbds_engine_ops ops;
	void *ctx;
	struct servers servers;
	struct exports exports;
	struct findings findings;
	struct doubts doubts;
	struct clients clients;
	struct nbds_stream *undecided_first, *undecided_last;
	struct nbds_table waiting;    /* struct waiting_server, by address */
	struct session *first, *last; /* announced sessions, in the order of ids */
	bool disordered;              /* not so, as one was announced late */
	struct session_list open;     /* sessions not ended, */
	struct session_list ended;    /* and those that did and are not put away */
	struct records records;       /* those that are */
	struct unpacked next,
		found;       /* taken out for nbds_engine_next_connection(), _connection() */
	uint64_t relieve_at; /* bytes */
	uint64_t shared;     /* bytes of the memory that others take */
	uint64_t forgotten, given_up; /* connections */
	struct session *after;        /* see session_after() */
	struct nbds_table by_id;
	struct nbds_hash_key key;
	uint64_t read_bytes;
	uint32_t connection_count, last_id;
	struct inflight *free_inflight;
	struct secure_list secure_waiting;
	uint64_t keys_take; /* bytes, counted */
	bool (*held)(void *ctx, uint64_t frame);
	void *held_ctx;
	struct session *current;
	int64_t now, last_tick;
	struct nbds_counts *counts; /* NULL: nobody asks */
};

/* Is it a port of NBD servers? */
static inline bool engine_port(const struct nbds_engine *e, uint16_t port)
{
	if (port == NBDS_PORT)
		return true;
	for (unsigned i = 0; i < e->config.port_count; i++)
		if (e->config.ports[i] == port)
			return true;
	return false;
}

/* Is the server judged by another shard? */
static inline bool engine_elsewhere(const struct nbds_engine *e, const struct nbds_addr *server)
{
	return e->config.shards > 1 && nbds_shard_of(server, e->config.shards) != e->config.shard;
}

static inline struct session *session_of(struct nbds_connection *c)
{
	return nbds_owner(c, struct session, c);
}

static inline struct nbds_point point_of(const struct nbds_mark *m)
{
	return (struct nbds_point){m->frame, m->time, m->interface};
}

static inline const struct session *session_of_const(const struct nbds_connection *c)
{
	return nbds_owner((struct nbds_connection *)c, struct session, c);
}

struct session *session_new(struct nbds_engine *e, const struct nbds_addr *client,
			    const struct nbds_addr *server, bool from_start, enum nbds_start start,
			    const struct nbds_mark *first, const struct nbds_decoder_ops *ops);
void session_announce(struct session *s);
/* It is a connection, to another shard's server: it has its number, and is told to nobody. */
void session_elsewhere(struct session *s);
struct nbds_outstanding session_outstanding(const struct inflight *f);
void session_data(struct session *s, enum nbds_side side, const uint8_t *data, size_t len,
		  const struct nbds_mark *where);
void session_gap(struct session *s, enum nbds_side side, uint64_t len, bool snaplen,
		 const struct nbds_mark *where);
/* Bytes of which two copies differ, or may; they were first seen at `first`, or later. */
void session_conflict(struct session *s, enum nbds_side side, uint64_t offset, uint64_t len,
		      const struct nbds_mark *first);
/* Two copies of the same bytes acknowledge `first_ack` and `ack` bytes. */
void session_acked(struct session *s, enum nbds_side side, uint64_t offset, uint64_t len,
		   uint64_t first_ack, uint64_t ack, const struct nbds_mark *first);
void session_half_close(struct session *s, enum nbds_side side, const struct nbds_mark *where);
void session_reset(struct session *s, enum nbds_side side, const struct nbds_mark *where);
/* All that its frames up to `frame` brought was told. */
void session_complete(struct session *s, uint64_t frame);
/* Its server's world will be dropped; and there may be another one: the connection is
 * to it as one that was caught in its middle. */
void session_part(struct session *s);
void session_rejoin(struct session *s);
/* It is not followed any more, for want of memory. */
void session_give_up(struct session *s);
void session_close(struct session *s, bool rst, bool open, const struct nbds_mark *where);
void session_refresh(struct session *s);
void session_free(struct session *s);
/* It ended; false: it stays for now, since what it wrote may be flushed yet. */
bool session_put_away(struct session *s);
/* Back into the list of those that ended, as the newest. */
void session_again(struct session *s);
/* Looks at some of those that ended and were not put away. */
void memory_tidy(struct nbds_engine *e);
/* Keeps to the limit: what is needed least goes. */
void memory_relieve(struct nbds_engine *e);

/* It ended, and nobody needs it any more. */
void session_forget(struct session *s);

/* Texts have a NUL behind their `len` bytes; given back with session_bytes_free(). */
char *session_bytes(struct session *s, const void *bytes, size_t len);
void session_bytes_free(struct session *s, const char *text, size_t len);
/* Room for one more of `count` elements in an array whose room is the next power of
 * two; NULL without memory. */
void *session_one_more(struct session *s, void *list, unsigned count, size_t size);
void session_list_free(struct session *s, void *list, unsigned count, size_t size);
void session_contexts_free(struct session *s, struct nbds_context *list, unsigned count);

/* Something is to be told of it: its server needs a world, which is told first of all
 * connections that are open and have done nothing so far, in their order. */
void session_join(struct session *s);
/* The rules' state, from the first message on. NULL: no memory, or it has ended. */
struct rules_connection *session_rules(struct session *s);
void session_inflight_free(struct session *s, struct inflight *f);
/* `session`: the request will not be answered any more. */
void session_drop_request(void *session, struct nbds_request *r);
/* So many requests are in flight no more. */
void session_unawaited(struct session *s, uint64_t requests);
/* No more payload comes of the write that was answered before. */
void session_end_owed(struct session *s);
void session_refresh_unflushed(struct session *s);

/* negotiate.c */
void negotiate_option(struct session *s, const struct nbds_message *m);
void negotiate_option_reply(struct session *s, const struct nbds_message *m);
/* The transmission phase begins: size, flags and name are final. */
void negotiate_done(struct session *s, const struct nbds_message *msg);

/* commands.c */
void command_request(struct session *s, const struct nbds_message *m);
/* An answer, or a chunk of it, begins. */
void command_answer_begins(struct session *s, const struct nbds_message *m);
void command_chunk(struct session *s, const struct nbds_message *m);
/* Bytes of extents, from `at` of the payload on. */
void command_extents(struct session *s, const struct nbds_message *m, uint64_t at,
		     const uint8_t *data, size_t len, const struct nbds_mark *where);
/* The answer is complete. */
void command_answered(struct session *s, const struct nbds_message *m);
/* It is in flight no more. */
void command_release(struct session *s, struct nbds_request *r);

/* counts.c; nothing happens where nobody asks. */
void counts_opened(struct session *s);
void counts_ended(struct session *s);
void counts_request(struct nbds_counts *counts, const struct nbds_request *r);
/* It was answered `took` ns after it was sent; negative: that is not known. */
void counts_answered(struct nbds_counts *counts, const struct nbds_request *r, int64_t took);
/* Bytes came of this side: those of TLS. */
void counts_bytes(struct session *s, enum nbds_side side);

/* notice.c */
/* one client, several connections at a time, writing, no multi-conn. */
void notice_multiplexed(struct session *s, const struct nbds_message *m);
/* Bit 8 where qemu 3.0 meant SEND_CACHE. */
void notice_bit_8(struct session *s, const struct nbds_message *m);

/* secure.c */

/* The decoder's ops.tls. */
bool secure_begins(void *session, enum nbds_side side, uint64_t offset, const uint8_t *data,
		   size_t len, const struct nbds_mark *where);
/* After the decoder was fed: what began goes on. */
void secure_go_on(struct session *s);
/* Are the direction's bytes TLS? Only then are the next two to be called. */
bool secure_on(const struct session *s, enum nbds_side side);
void secure_data(struct session *s, enum nbds_side side, const uint8_t *data, size_t len,
		 const struct nbds_mark *where);
/* Its bytes will be TLS, and the first of them are missing. */
void secure_headless(struct session *s, enum nbds_side side, uint64_t len,
		     const struct nbds_mark *where);
void secure_gap(struct session *s, enum nbds_side side, uint64_t len,
		const struct nbds_mark *where);
/* The direction ends. True: after what waits; the session is told then. */
bool secure_half_close(struct session *s, enum nbds_side side, const struct nbds_mark *where);
/* Nothing more comes: what waits is decided now. */
void secure_hurry(struct session *s);
/* Frees it. */
void secure_end(struct session *s);
/* Of `side`, the first `bytes` were acknowledged: so many of what was inside. */
uint64_t secure_acked(const struct session *s, enum nbds_side side, uint64_t bytes);
/* The messages that these bytes belong to. */
void secure_range(const struct session *s, enum nbds_side side, uint64_t *offset, uint64_t *len);
/* Since which frame something waits; false: nothing does. */
bool secure_waits(const struct session *s, uint64_t *frame);
/* Now and then: keys that have come, and who waits for too long. */
void secure_tick(struct nbds_engine *e);

/* messages.c */
extern const struct nbds_decoder_ops session_decoder_ops;
/* Of a connection to another shard's server: only whether it is one is asked. */
extern const struct nbds_decoder_ops session_elsewhere_ops;

#endif
