/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/session/internal.h - what the engine keeps.
 *
 *   engine ── servers ── one world (consistency) and a list of exports each
 *          ── streams: undecided, or with a session
 *   session: a connection with its decoder, its party in the world, and its
 *            requests in flight (struct inflight hangs on nbds_request.user)
 */
#ifndef NBDS_SESSION_INTERNAL_H
#define NBDS_SESSION_INTERNAL_H

#include <base/budget.h>
#include <nbdscope/engine.h>

#include "../consistency/consistency.h"
#include "../rules/rules.h"

#define SERVER_BUCKETS 256u
#define REPEATS_MAX    1000u /* findings of one rule told for one connection */
#define FLUSHES_KEPT   256u
#define OPTIONS_KEPT   256u
#define REPLIES_KEPT   4096u /* of one option */
#define CONTEXTS_KEPT  64u

/* No export can be called so by a client that sends what the protocol allows. */
#define UNKNOWN_EXPORT "\0?"

struct server {
	struct server *chain;
	struct nbds_engine *engine;
	struct nbds_addr addr;
	struct nbds_world *world;
};

struct session;

struct inflight {
	struct inflight *next_free;
	struct inflight *older, *newer; /* of the session */
	const struct nbds_request *request;
	struct nbds_op *op; /* NULL: not followed */
	struct nbds_mark first;
	uint64_t losses;    /* the session's server-side losses when it was sent */
	uint64_t extent_at; /* BLOCK_STATUS: offset that the next extent begins at */
	bool status_known;  /* its extents follow each other without a hole */
};

struct repeat {
	uint64_t count;
	struct nbds_finding *last; /* the REPEATS_MAX-th, told at the end */
};

struct export_more {
	struct nbds_export e; /* first: an nbds_export is one of these */
	struct server *server;
	unsigned room;
	bool multiplex_told, bit_8_told;
};

/* A connection and what only the engine needs of it. */
struct session {
	struct nbds_connection c; /* first: an nbds_connection is one of these */
	struct nbds_engine *engine;
	struct server *server;
	struct nbds_decoder *decoder;
	struct nbds_party *party;
	struct session *next_open, *prev_open; /* of the engine, while open */
	struct inflight *oldest, *newest;      /* requests in flight */
	bool announced, ended;
	bool heard;
	struct nbds_point first_heard;  /* first payload of the server */
	struct nbds_point disc;         /* where DISC was sent; frame 0: it was not */
	struct nbds_mark last_clean[2]; /* the last bytes of each side */
	uint64_t losses;                /* times that the server's framing was lost */
	uint64_t progress;              /* payload of the server's message so far */
	/* negotiation */
	bool name_final; /* the export's name is that of the option that is to open it */
	bool unnamed;    /* that option was not seen */
	bool asked_block_size, got_block_size, block_bound, block_unasked;
	uint64_t export_frame; /* where size and flags were last told */
	int64_t export_time;
	struct nbds_context *new_contexts;
	unsigned new_count;
	/* block status in progress */
	uint8_t extent[16];
	unsigned extent_have;
	uint64_t extent_pos; /* bytes of extents consumed */
	/* statistics */
	bool cache_honoured;
	uint64_t cache_frame;
	uint64_t writes; /* write-class requests */
	unsigned flush_room;
	struct repeat repeats[RULE_COUNT];
};

struct nbds_stream {
	struct nbds_engine *engine;
	struct nbds_stream *next, *prev; /* undecided ones, oldest first */
	struct nbds_addr addr[2];
	bool from_start, undecided, useless;
	bool listed;    /* in the list of undecided ones */
	int server_dir; /* -1: not known yet */
	struct nbds_mark first;
	uint64_t last_frame;
	int64_t last_time;
	uint64_t skipped[2]; /* bytes not fed to the decoder */
	unsigned looked;     /* spans looked at while undecided */
	uint8_t prefix[8];   /* first bytes of the acceptor, while too few to decide */
	unsigned prefix_len;
	struct nbds_mark prefix_mark;
	struct session *session;
	void *user; /* the front's own */
};

struct nbds_engine {
	struct nbds_engine_config config;
	struct nbds_budget budget; /* all state of the engine and of its worlds */
	struct nbds_engine_ops ops;
	void *ctx;
	struct server *servers[SERVER_BUCKETS];
	struct nbds_stream *undecided_first, *undecided_last;
	struct nbds_connection *connections, **connections_tail;
	struct session *open; /* sessions not ended */
	struct nbds_export *exports, **exports_tail;
	uint32_t connection_count, export_count;
	uint64_t findings[4];
	struct inflight *free_inflight;
	bool (*held)(void *ctx, int64_t upto);
	void *held_ctx;
	struct session *current;
	bool dropped, interfaces;
	int64_t now, last_tick;
};

struct server *server_get(struct nbds_engine *e, const struct nbds_addr *addr);
struct server *server_find(const struct nbds_engine *e, const struct nbds_addr *addr);
bool engine_port(const struct nbds_engine *e, uint16_t port);
void engine_finding(struct nbds_engine *e, const struct nbds_finding *f);

struct session *session_new(struct nbds_engine *e, const struct nbds_addr *client,
			    const struct nbds_addr *server, bool from_start, enum nbds_start start,
			    const struct nbds_mark *first);
void session_announce(struct session *s);
void session_data(struct session *s, enum nbds_side side, const uint8_t *data, size_t len,
		  const struct nbds_mark *where);
void session_gap(struct session *s, enum nbds_side side, uint64_t len, bool snaplen,
		 const struct nbds_mark *where);
void session_half_close(struct session *s, enum nbds_side side, const struct nbds_mark *where);
void session_reset(struct session *s, enum nbds_side side, const struct nbds_mark *where);
void session_close(struct session *s, bool rst, bool open, const struct nbds_mark *where);
void session_refresh(struct session *s);
void session_free(struct session *s);

extern const struct nbds_decoder_ops session_decoder_ops;

#endif
