/* SPDX-License-Identifier: GPL-2.0-or-later */
/* analyzer/tls/internal.h - a session of TLS, as records.c, handshake.c and search.c share it. */
#ifndef NBDS_TLS_INTERNAL_H
#define NBDS_TLS_INTERNAL_H

#include "cipher.h"
#include "keylog.h"
#include "tls.h"

/* Content types, and handshake messages. */
enum { RECORD_CCS = 20, RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23 };
enum { CLIENT_HELLO = 1, SERVER_HELLO = 2, FINISHED = 20, KEY_UPDATE = 24 };

/* The most of a ServerHello that is kept, and the beginning of a ClientHello that is
 * needed: version, random. */
#define SERVER_HELLO_MOST   4096u
#define CLIENT_HELLO_NEEDED 34u

/* Records before the client's Finished that are passed over as early data, bytes. */
#define EARLY_MOST (1u << 20)

enum stage {
	STAGE_PLAIN,
	STAGE_HANDSHAKE, /* 1.3 */
	STAGE_TRAFFIC,
};

struct tls_reader {
	struct nbds_tls_reader pub;
	struct keylog keys;
	int log; /* the key log; -1: none */
	bool follow, regular;
	uint64_t log_read; /* bytes */
	struct keylog_line log_line;
	bool expect; /* secrets inside of the capture */
	bool news;   /* such came since that was asked */
	/* what was opened last; one at a time */
	uint8_t plain[RECORD_MOST];
};

/* A handshake message that is coming. */
struct tls_message {
	uint8_t head[4];
	unsigned head_have;
	uint32_t len, at; /* of its body */
	uint8_t *body;    /* the beginning of it, if it is needed */
	uint32_t kept, room;
};

struct tls_direction {
	enum nbds_side side;
	enum nbds_tls_why why;
	enum stage stage;
	/* The record that is coming: `have` bytes of it, which begin at `start`. */
	uint8_t *record;
	size_t room, have;
	uint64_t start;
	uint64_t sequence; /* of the next record */
	struct cipher cipher;
	uint8_t secret[HASH_MOST]; /* 1.3: the one in use */
	bool opened;               /* a record was, under some keys */
	bool next_stage;           /* the next record is of the next stage, */
	bool next_secret;          /* or under the next secret */
	bool holed;                /* something of the handshake is missing */
	uint64_t early;            /* bytes passed over */
	struct tls_message message;
	/* Missing bytes. */
	uint64_t skip;   /* rest of a record of which something is missing */
	bool searching;  /* where a record begins is not known */
	uint64_t passed; /* bytes that may have been records since the last one opened */
	uint64_t credit; /* bytes that may yet be tried */
	uint64_t sought; /* bytes that were looked through */
	bool gone;       /* of what is missing, some was not damaged but not captured */
	bool told;       /* that something is missing here was told */
	bool nonce_seen; /* of the last record with an explicit one */
	uint64_t nonce, nonce_sequence;
};

struct nbds_tls_session {
	struct tls_reader *reader;
	struct nbds_budget *budget;
	struct nbds_tls_sink sink;
	void *ctx;
	struct tls_direction dir[2]; /* by enum nbds_side */
	struct nbds_tls_facts facts;
	bool hello;            /* the server's was seen: version and suite are decided */
	bool encrypt_then_mac; /* 1.2 */
	bool hurried;
	const struct suite *suite;
	uint8_t server_random[NBDS_TLS_RANDOM];
	struct cipher pending[2]; /* 1.2: what the next ChangeCipherSpec begins */
	bool pending_made[2];
};

/* What became of a record. */
enum outcome {
	DONE,
	WAIT, /* it cannot be opened yet */
};

/* handshake.c: bytes of handshake messages. */
void handshake_bytes(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *data,
		     size_t len);
/* Bytes of them are missing: the next ones begin a message. */
void handshake_lost(struct nbds_tls_session *s, struct tls_direction *d);
/* The message that is coming is forgotten. */
void handshake_forget(struct nbds_tls_session *s, struct tls_direction *d);
/* 1.3: keys of the direction's stage. 1.2: of the ChangeCipherSpec. False: `*out` says
 * whether to wait, or the session failed. */
bool handshake_keys(struct nbds_tls_session *s, struct tls_direction *d, enum outcome *out);
bool handshake_change(struct nbds_tls_session *s, struct tls_direction *d, enum outcome *out);

/* records.c */
void session_failed(struct nbds_tls_session *s, enum nbds_tls_why why);
void direction_failed(struct nbds_tls_session *s, struct tls_direction *d, enum nbds_tls_why why);
/* What was inside of a record. */
void session_inside(struct nbds_tls_session *s, struct tls_direction *d, uint8_t type,
		    const uint8_t *plain, size_t len, uint64_t end);

/* search.c */
/* Is that a record's header, as far as can be seen? Its length without the header. */
bool record_header(const struct nbds_tls_session *s, const struct tls_direction *d,
		   const uint8_t *p, size_t *len);
/* From now on a record is looked for. `bytes` of them may have been lost. */
void search_begin(struct nbds_tls_session *s, struct tls_direction *d, uint64_t bytes);
/* Looks at the next bytes, and ends the search if a record was opened, which is told.
 * Returns how many were taken: one at least. */
size_t search_bytes(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *data,
		    size_t len);
/* Nothing more comes. */
void search_end(struct nbds_tls_session *s, struct tls_direction *d);
/* The same with what is kept already. */
void search_kept(struct nbds_tls_session *s, struct tls_direction *d);
/* Opens a record under the number that it has, or under a later one, as bytes are missing. */
bool search_open(struct nbds_tls_session *s, struct tls_direction *d, const uint8_t *record,
		 size_t len, size_t *plain_len, uint8_t *type);

/* records.c: what a reader does with sessions. */
extern const struct nbds_tls_reader nbds_tls_sessions;

#endif
