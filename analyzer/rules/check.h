/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/rules/check.h - one connection held against the rules of the protocol.
 *
 * Purpose.  The session hands on what its decoder tells; what breaks a rule comes
 * back as findings, for which only the connection and the export's name are left
 * to fill in.  Order between connections, and contents, are not looked at here:
 * that is analyzer/consistency.
 *
 *	check.c      the outside: it calls the groups
 *	handshake.c  greeting, client flags (rows H)
 *	haggle.c     options and their replies (O, B-01 to B-04)
 *	requests.c   requests (R, the rest of B, X)
 *	replies.c    simple replies, errors (S)
 *	chunks.c     structured and extended replies (C, X)
 *	status.c     block status (M)
 *	ends.c       ends, and who waited (D, S-20)
 *	flags.c      transmission flags (rows H)
 *	tell.c       what all groups call: when a finding is certain enough
 *
 * Certainty.  What is asked before a rule may speak stands in one place
 * (rules_tell): the handshake that it rests on was seen whole, no bytes are
 * missing that could have mattered, and no two copies of bytes differ.  The
 * checks say which of these they rest on (RULES_NEEDS_*).
 *
 * Ownership.  The state is the caller's: one struct rules_connection a connection
 * and one struct rules_request a request in flight; nothing else is allocated.
 * Failure.  None.  Cost.  Constant for each message, extent and trouble, but for
 * the options' data, which are walked once.
 */
#ifndef NBDS_RULES_CHECK_H
#define NBDS_RULES_CHECK_H

#include <nbdscope/engine.h>

#include "rules.h"

/* Contexts whose ids are followed; with more, rules about ids are silent. */
#define RULES_CONTEXTS 32u
/* Pieces of a read's content that do not touch each other; with more, overlap is
 * not looked for. */
#define RULES_PIECES 4u

/* What is wrong with a request, for whoever looks at its reply. */
enum {
	RULES_BEYOND = 1u << 0,      /* reaches beyond the end */
	RULES_UNALIGNED = 1u << 1,   /* not a multiple of the bound minimum */
	RULES_BAD_FLAG = 1u << 2,    /* a flag that is not the command's */
	RULES_UNKNOWN = 1u << 3,     /* an unknown command */
	RULES_NOT_OFFERED = 1u << 4, /* a command or flag that was not offered */
	RULES_READ_ONLY = 1u << 5,   /* a write to what is read-only */
	RULES_NO_CONTEXTS = 1u << 6, /* block status without contexts */
	RULES_TOO_LONG = 1u << 7,    /* longer than the maximum payload */
	RULES_BAD_IDS = 1u << 8,     /* block status of ids not selected, or repeated */
	RULES_CACHE_FLAG = 1u << 9,  /* a flag on NBD_CMD_CACHE */
	RULES_ODD = 1u << 10,        /* legal, but the error may come from it: length 0 */
};

struct rules_request {
	uint64_t frame; /* of the request's first byte */
	int64_t time;
	uint64_t begin;             /* client stream offset of the request */
	uint64_t end;               /* and behind it and its payload */
	uint16_t wrong;             /* RULES_* */
	uint8_t pieces;             /* of content, from piece[0] on */
	bool scattered;             /* more pieces than there is room for */
	bool outside;               /* content outside of the request was told, or overlapping */
	bool errors, error_offsets; /* error chunks without and with an offset came */
	bool simple;                /* a simple reply came */
	uint8_t contents;           /* content chunks, at most 255 */
	bool status_unsure;         /* ids in the request's payload could not be followed */
	bool overtaken;             /* told to wait long */
	uint32_t asked, answered;   /* contexts by their place in rules_connection.context */
	uint64_t error_at;          /* the last error offset */
	struct {
		uint64_t from, to;
	} piece[RULES_PIECES];
};

/* An option that waits for its final reply, or the one answered last. */
struct rules_option {
	uint32_t number, length;
	bool waits, malformed, cut;
	bool early; /* replies came before it: what they said is not in here */
	uint64_t frame;
	int64_t time;
	uint64_t hash;      /* of its data */
	uint64_t name_hash; /* of the export's name in it */
	bool asks_block_size;
	/* metadata contexts */
	uint32_t queries;
	bool base_named, base_wildcard, other_query; /* "base:leaf", "base:", any other */
	bool repeated_query, bad_query, known_query;
	/* its replies */
	uint16_t infos;     /* bit of each type of information that came */
	uint64_t info_hash; /* of all of them, in any order */
	uint32_t replies, contexts, base_contexts;
};

struct rules_connection {
	const struct nbds_connection *c;
	/* `f` lacks connection and export. */
	void (*tell)(void *ctx, struct nbds_finding *f);
	void *ctx;

	/* certainty */
	bool lost[2];     /* bytes of the side are missing from the capture */
	bool nonsense[2]; /* the side sent what is no message */
	bool heard[2];
	bool based;  /* where the client's bytes begin is known: the greeting says so */
	bool forgot; /* a request was given up */
	bool mixed;  /* frames of several interfaces: no order between them */
	uint32_t interface;
	enum nbds_side sender; /* of what is looked at */
	bool haggled;          /* the handshake was seen whole, up to the transmission phase */
	bool client_broke, server_broke; /* a violation of the side was told */

	/* handshake */
	bool greeted, oldstyle, fixed, flags_sent, flags_bad, bad_flags_told, options_seen;
	bool padded, replies_told;
	uint8_t pad[4];    /* the first of the bytes that are to be zeroes */
	bool no_zeroes;    /* both sides agreed to leave the zeroes out */
	bool option_short; /* an answer too short to be one was told */
	uint64_t flags_end;
	/* haggling */
	struct rules_option option;
	bool option_doubt; /* options were sent before replies: which is answered is a guess */
	bool early;        /* a reply came that no option waited for */
	bool early_sure;   /* and the server cannot have had an option that was not told */
	uint32_t early_option, early_type;
	struct nbds_mark early_at;
	bool early_final;
	bool structured, extended, tls, entered, aborted, closing;
	bool inside; /* what is told comes from inside of TLS, */
	bool unread; /* and not all of it */
	bool go_tried, info_block_size;
	bool starttls_refused, tls_required, tls_required_all, answered_clear, tls_mode_told;
	bool shutdown_told;    /* NBD_REP_ERR_SHUTDOWN or NBD_ESHUTDOWN */
	uint64_t shutdown_end; /* server stream offset behind it */
	uint64_t shutdown_frame;
	int64_t shutdown_time;
	bool stateful; /* an option that changes the state succeeded */
	bool set_repeated, list_clear;
	bool info_last; /* the last option was a successful INFO */
	uint64_t info_data, info_answer, info_frame;
	uint32_t context[RULES_CONTEXTS]; /* ids that are selected */
	uint32_t context_base;            /* which of them are in base: */
	uint32_t context_allocation;      /* which of them is base:allocation */
	uint32_t new_context[RULES_CONTEXTS];
	uint64_t new_names[RULES_CONTEXTS];
	uint32_t new_base, new_allocation;
	unsigned contexts, new_contexts;
	bool contexts_over, contexts_set;
	uint64_t contexts_export, entered_export; /* hashes of names */
	/* sizes */
	bool size_seen, sizes_told, sizes_asked, bound;
	bool resized; /* NBD_CMD_RESIZE was sent: the size is not known any more */
	uint32_t minimum, preferred, maximum;

	/* statistics, told at the end */
	struct rules_habit {
		uint64_t count, of;
		struct nbds_mark first;
		struct nbds_request request; /* of the first */
	} unpreferred, undefaulted, odd_chunks;

	/* transmission */
	bool disc;
	uint64_t disc_cookie, disc_frame;
	int64_t disc_time;
	bool first_request, first_reply;
	bool broken_reply; /* one that the client cannot have understood */
	uint64_t broken_end, broken_frame;
	bool unsized;             /* a reply of unknown length came */
	uint64_t last_read_frame; /* the message before, if a READ's data */
	bool after_end_told[2];
	uint64_t server_frame; /* the server's last message */
	int64_t server_time;
	uint64_t pos[2]; /* stream offset behind the last message of each side */
	/* block status in progress */
	uint64_t extents, extent_sum, extent_at;
	uint64_t extent_status;
	uint8_t extent[16];
	unsigned extent_have;
	bool extent_followed, extent_allocation, extent_in_base, extent_merge;
	uint16_t extent_told;
	/* ids in a request's payload */
	uint8_t id[4];
	unsigned id_have, ids;
	/* ends */
	uint64_t progress; /* payload of the server's message that came so far */
	struct {
		bool reply;  /* the message that is not complete is a reply's */
		bool inside; /* and the direction ended there */
		uint64_t frame, request_frame, seen, length;
		struct nbds_request request;
	} cut;
	bool client_cut; /* the client's direction ended inside a message */
	uint64_t client_cut_seen;
};

/* `c` must outlive it. */
void rules_begin(struct rules_connection *rc, const struct nbds_connection *c,
		 void (*tell)(void *ctx, struct nbds_finding *f), void *ctx);
/* `q` is that of m->request, or NULL without one; zeroed when its request comes. */
void rules_message(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q);
void rules_payload(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q, uint64_t at, const uint8_t *data, size_t len,
		   const struct nbds_mark *where);
/* The capture lacks payload, up to this place in it. */
void rules_payload_gap(struct rules_connection *rc, const struct nbds_message *m, uint64_t upto);
void rules_message_end(struct rules_connection *rc, const struct nbds_message *m,
		       struct rules_request *q);
void rules_trouble(struct rules_connection *rc, const struct nbds_trouble *t);
/* A request that was not answered, for rules_end(). */
struct rules_open {
	const struct nbds_request *request;
	struct rules_request *q;
};
/* The connection is over, or (open) the capture is: `where`. The oldest requests
 * that wait are `list`, `count` of them in all. c->closed says who closed. */
void rules_end(struct rules_connection *rc, bool open, const struct rules_open *list,
	       unsigned listed, uint64_t count, const struct nbds_mark *where);
/* A reply was completed while `oldest` waits. */
void rules_waiting(struct rules_connection *rc, const struct rules_open *oldest,
		   const struct nbds_mark *where);

/* --- among the files ----------------------------------------------------- */

enum {
	RULES_NEEDS_NOTHING = 0,
	RULES_NEEDS_HANDSHAKE = 1u << 0, /* what was negotiated is known for certain */
	RULES_NEEDS_PAIRS = 1u << 1,     /* requests and replies were all seen */
	RULES_NEEDS_ORDER = 1u << 2,     /* the order of frames is that of events */
	RULES_NEEDS_BOTH = 1u << 3,      /* both sides were seen */
};

struct rules_about {
	const struct nbds_mark *at;    /* the message at fault */
	bool settled;                  /* that all was told which its sender had received */
	uint64_t frame;                /* its frame, if not at->frame */
	const struct nbds_request *r;  /* or NULL */
	const struct rules_request *q; /* or NULL */
	uint64_t request_frame;        /* without q: the frame of what was asked, or 0 */
	const char *command;           /* or NULL: that of r */
	unsigned needs;
	bool lower; /* to `level` */
	enum nbds_severity level;
	bool other_side;
	enum nbds_at_fault side;
};

void rules_tell(struct rules_connection *rc, enum nbds_rule_id id, const struct rules_about *about,
		const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Could a rule with these needs speak now? */
bool rules_certain(const struct rules_connection *rc, unsigned needs);
/* Was all told that the sender of `at` had received? What the capture has late, or
 * lacks, may have changed what it knew. */
bool rules_informed(const struct rules_connection *rc, const struct nbds_mark *at);
/* Had the sender of `at` provably received the other side's stream up to `end`? */
bool rules_had(const struct nbds_mark *at, uint64_t end);
/* Had it provably not? */
bool rules_had_not(const struct nbds_mark *at, uint64_t end);
/* XXH3, 64 bits. */
uint64_t rules_hash(const void *bytes, size_t len);
/* As much of a string as `buf` has room for, for people. Returns `buf`. */
const char *rules_shown(const void *bytes, size_t len, char *buf, size_t size);
/* O-09: NULL, or what is wrong with a string. */
const char *rules_string(const uint8_t *s, size_t len, bool cut);
/* "READ of 4096 bytes at 0x1000" */
const char *rules_request_text(const struct nbds_request *r, char *buf, size_t size);

void rules_greeting(struct rules_connection *rc, const struct nbds_message *m);
void rules_client_flags(struct rules_connection *rc, const struct nbds_message *m);
void rules_export_name(struct rules_connection *rc, const struct nbds_message *m);
void rules_padding(struct rules_connection *rc, const struct nbds_message *m, uint64_t at,
		   const uint8_t *data, size_t len);
void rules_transmission_flags(struct rules_connection *rc, const struct nbds_mark *at,
			      uint16_t flags);
void rules_after_bad_flags(struct rules_connection *rc, const struct nbds_message *m);
void rules_option(struct rules_connection *rc, const struct nbds_message *m);
void rules_option_reply(struct rules_connection *rc, const struct nbds_message *m);
void rules_entered(struct rules_connection *rc, const struct nbds_message *m);
void rules_request(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q);
void rules_ids(struct rules_connection *rc, const struct nbds_message *m, struct rules_request *q,
	       uint64_t at, const uint8_t *data, size_t len);
void rules_simple(struct rules_connection *rc, const struct nbds_message *m,
		  struct rules_request *q);
void rules_error(struct rules_connection *rc, const struct nbds_message *m,
		 const struct nbds_request *r, const struct rules_request *q, uint32_t error);
void rules_success(struct rules_connection *rc, const struct nbds_message *m,
		   const struct nbds_request *r, const struct rules_request *q);
void rules_unasked(struct rules_connection *rc, const struct nbds_message *m, uint64_t cookie);
void rules_chunk(struct rules_connection *rc, const struct nbds_message *m,
		 struct rules_request *q);
void rules_chunk_done(struct rules_connection *rc, const struct nbds_message *m,
		      struct rules_request *q);
void rules_status(struct rules_connection *rc, const struct nbds_message *m,
		  struct rules_request *q);
void rules_extents(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q, uint64_t at, const uint8_t *data, size_t len);
void rules_status_end(struct rules_connection *rc, const struct nbds_message *m,
		      struct rules_request *q);
/* One more of `h`, and whether it is of the habit. */
void rules_habit(struct rules_habit *h, bool so, const struct nbds_message *m);
/* Tells those that there were. */
void rules_habits(struct rules_connection *rc);
void rules_settle_early(struct rules_connection *rc, const struct nbds_message *option);
void rules_nonsense(struct rules_connection *rc, const struct nbds_trouble *t);

#endif
