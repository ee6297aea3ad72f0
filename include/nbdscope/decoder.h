/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/decoder.h - bytes of one NBD connection in, messages out.
 *
 * Purpose.  A decoder follows one NBD connection: two byte streams, one from
 * the client and one from the server.  The caller pushes spans of in-order
 * bytes as they come, in either direction, of any size; the decoder answers
 * through callbacks with messages.  It knows nothing of TCP, files or screens.
 *
 * What is kept.  A message is a *head* (all of it but bulk payload) and, for
 * some, a *payload* (data written or read, block status extents, padding).
 * The head is handed over whole and contiguous: in place when it lies in one
 * span, else from a small buffer of the decoder.  Payload is never copied: it
 * is handed on span by span.  Nothing is allocated from a length on the wire;
 * a head longer than NBDS_HEAD_MAX is cut there and says so.
 *
 * Three different answers.  "Need more bytes" is silence.  "The capture lost
 * bytes here" comes in through nbds_decoder_gap() and goes out as payload_gap()
 * or as trouble NBDS_TROUBLE_LOST.  "The peer sent nonsense" goes out as
 * NBDS_TROUBLE_NONSENSE.  After either of the last two, and when the
 * connection is caught in its middle, the decoder looks for its feet: it
 * believes a message boundary only once requests of one direction and replies
 * of the other agree (matching cookies, consecutive headers), never for a
 * magic number alone, since disk contents may hold any bytes.
 *
 * Ownership.  The decoder belongs to the caller (nbds_decoder_new/free).
 * Pointers in callbacks are valid during the callback only, except struct
 * nbds_request, which lives until the callback that reports its end returns.
 *
 * Failure.  nbds_decoder_new() returns NULL without memory.  Later shortage
 * of memory makes heads cut or requests forgotten (told as trouble), never
 * a crash.
 *
 * Example.
 *	struct nbds_decoder *d = nbds_decoder_new(&ops, ctx, NBDS_START_GREETING);
 *	nbds_decoder_data(d, NBDS_SERVER, bytes, n, &mark);
 *	nbds_decoder_data(d, NBDS_CLIENT, more, m, &mark);
 *	nbds_decoder_end(d, NBDS_CLIENT, &mark);
 *	nbds_decoder_free(d);
 */
#ifndef NBDSCOPE_DECODER_H
#define NBDSCOPE_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/protocol.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The longest head that is kept whole.  Every string of the protocol is at
 * most 4096 bytes (proto.md, "Values"), so only lists of many meta context
 * queries can be longer. */
#define NBDS_HEAD_MAX 16384u

/* The most requests in flight that one connection is followed with.  The
 * oldest is forgotten past it, and told as NBDS_TROUBLE_FORGOT. */
#define NBDS_REQUESTS_MAX 65536u

enum nbds_handshake {
	NBDS_HANDSHAKE_UNSEEN,
	NBDS_HANDSHAKE_OLDSTYLE,
	NBDS_HANDSHAKE_NEWSTYLE, /* NBD_FLAG_FIXED_NEWSTYLE not offered */
	NBDS_HANDSHAKE_NEWSTYLE_FIXED,
};

enum nbds_side { NBDS_CLIENT = 0, NBDS_SERVER = 1 };

#define NBDS_NO_ACK UINT64_MAX

/* struct nbds_mark.flags */
enum {
	/* The bytes may have been on the wire before this frame: a
	 * retransmission, bytes after a hole, or bytes that the peer had
	 * acknowledged before they were seen.  lo_frame and lo_time then hold
	 * a sound earlier bound; else they equal frame and time. */
	NBDS_MARK_LATE = 1u << 0,
	/* The frame is known to be the first transmission of these bytes, so
	 * that its acknowledgement number tells what its sender had received
	 * before it sent them.  (With LATE: it was captured after later ones.) */
	NBDS_MARK_FIRST_TX = 1u << 1,
};

/*
 * Where bytes were seen.  The decoder only carries it from the call that
 * brought the bytes to the messages made of them.
 */
struct nbds_mark {
	uint64_t frame;     /* frame number, 1-based, as Wireshark shows it */
	int64_t time;       /* capture time, nanoseconds since 1970 */
	uint64_t lo_frame;  /* earliest frame that can have carried the bytes */
	int64_t lo_time;    /* and its time */
	uint64_t ack;       /* bytes of the other direction (counted from its
	                     * stream offset 0) that the frame acknowledges, or
	                     * NBDS_NO_ACK */
	uint32_t interface; /* capture interface number, 0-based */
	uint32_t flags;     /* NBDS_MARK_* */
};

/* What is negotiated, as far as it was seen. */
struct nbds_negotiated {
	enum nbds_handshake handshake; /* NBDS_HANDSHAKE_UNSEEN until a greeting */
	uint16_t handshake_flags;      /* server's; newstyle only */
	uint32_t client_flags;
	bool client_flags_seen;
	bool structured;   /* NBD_OPT_STRUCTURED_REPLY acknowledged (or inferred) */
	bool extended;     /* NBD_OPT_EXTENDED_HEADERS acknowledged (or inferred) */
	bool inferred;     /* the mode is inferred from traffic, no handshake seen */
	bool tls;          /* STARTTLS acknowledged: all that follows is TLS */
	bool inside;       /* and what is inside was told by nbds_decoder_inside() */
	bool transmission; /* the transmission phase was entered */
	bool export_seen;  /* size and transmission_flags are those of the final
	                    * GO, EXPORT_NAME or oldstyle greeting */
	uint64_t size;     /* export size in bytes */
	uint16_t transmission_flags;
};

/* A request in flight, as the decoder keeps it to size and to pair replies. */
struct nbds_request {
	uint64_t serial; /* counts the requests of the connection from 1 */
	uint64_t cookie;
	uint64_t offset;      /* NBD offset field */
	uint64_t length;      /* effect length (BLOCK_STATUS payload form: the effect
	                       * length inside the payload); bytes of payload for WRITE,
	                       * and for other commands with PAYLOAD_LEN */
	uint16_t type;        /* enum nbd_cmd */
	uint16_t flags;       /* command flags */
	bool extended;        /* came with the extended header */
	bool ambiguous;       /* another request with this cookie was in flight, as far as
	                       * the capture shows: which of them a reply answers cannot
	                       * be known */
	bool error;           /* an error chunk, or a simple reply with an error, was seen */
	uint32_t first_error; /* the first such error value */
	uint32_t chunks;      /* structured or extended chunks seen so far */
	uint64_t data_bytes;  /* bytes of read data seen, holes included */
	void *user;           /* the caller's, NULL at first */
};

/* A request that has had its final reply, as far back as is remembered
 * (NBDS_ANSWERED_MAX). */
struct nbds_answered {
	uint64_t serial, cookie, offset, length; /* as in struct nbds_request */
	uint16_t type;                           /* enum nbd_cmd */
	uint64_t request_frame, reply_frame;     /* where it, and its final reply, begin */
};
#define NBDS_ANSWERED_MAX 64u

enum nbds_message_type {
	NBDS_MSG_GREETING,          /* NBDMAGIC..., new or old style (server) */
	NBDS_MSG_CLIENT_FLAGS,      /* 4 bytes (client) */
	NBDS_MSG_OPTION,            /* NBD_OPT_* (client) */
	NBDS_MSG_OPTION_REPLY,      /* NBD_REP_* (server) */
	NBDS_MSG_EXPORT_NAME_REPLY, /* raw answer to NBD_OPT_EXPORT_NAME (server) */
	NBDS_MSG_REQUEST,           /* NBD_CMD_* (client) */
	NBDS_MSG_SIMPLE_REPLY,      /* (server) */
	NBDS_MSG_CHUNK,             /* structured or extended reply chunk (server) */
};

enum nbds_payload {
	NBDS_PAYLOAD_NONE,
	NBDS_PAYLOAD_WRITE,   /* data of a WRITE request */
	NBDS_PAYLOAD_READ,    /* data of a READ reply or OFFSET_DATA chunk */
	NBDS_PAYLOAD_EXTENTS, /* block status extents: 8 bytes each, 16 in BLOCK_STATUS_EXT */
	NBDS_PAYLOAD_IDS,     /* context ids (4 bytes each) of a BLOCK_STATUS request */
	NBDS_PAYLOAD_REST,    /* anything else: the tail of a cut head, or payload
	                       * that the protocol does not define here */
};

/* struct nbds_message.flags */
enum {
	NBDS_MSG_CUT = 1u << 0, /* the head is longer than NBDS_HEAD_MAX (or than was kept of a
	                         * REPLAYED one), or the capture lost the end of it: its tail
	                         * comes as NBDS_PAYLOAD_REST */
	NBDS_MSG_MALFORMED = 1u << 1,   /* inner lengths do not fit: what does fit is shown */
	NBDS_MSG_UNSOLICITED = 1u << 2, /* no request in flight has this cookie */
	NBDS_MSG_FINAL = 1u << 3,       /* the last reply to its request or option */
	NBDS_MSG_RESYNCED = 1u << 4,   /* first of its direction after the decoder found its feet */
	NBDS_MSG_REPLAYED = 1u << 5,   /* seen while looking for them: told late; of its payload,
	                                * as much as was kept */
	NBDS_MSG_INCOMPLETE = 1u << 6, /* message_end only: bytes of it were lost or never came */
};

/*
 * What is head and what is payload:
 *	GREETING            18 bytes; oldstyle 28, and 124 zeroes of NBDS_PAYLOAD_REST
 *	OPTION, OPTION_REPLY all of it
 *	EXPORT_NAME_REPLY   10 bytes; the zeroes, if any, are NBDS_PAYLOAD_REST
 *	REQUEST             the header; of BLOCK_STATUS with payload also the effect
 *	                    length (40 bytes), and NBDS_PAYLOAD_IDS.  A WRITE with the
 *	                    extended header but without NBD_CMD_FLAG_PAYLOAD_LEN has
 *	                    its payload all the same: qemu's client sends it so
 *	CHUNK               the header and: OFFSET_DATA the offset; OFFSET_HOLE all;
 *	                    BLOCK_STATUS the context id, BLOCK_STATUS_EXT also the
 *	                    count; errors all; NONE and unknown types nothing
 */
struct nbds_message {
	enum nbds_message_type type;
	enum nbds_side from;
	uint32_t flags;      /* NBDS_MSG_* */
	const char *name;    /* the specification's name: "NBD_CMD_WRITE",
	                      * "NBD_OPT_GO", "NBD_REP_INFO", "NBD_SIMPLE_REPLY",
	                      * "NBD_REPLY_TYPE_OFFSET_DATA", "NBD_GREETING",
	                      * "NBD_CLIENT_FLAGS", "NBD_EXPORT_NAME_REPLY";
	                      * "unknown command 42" and alike for others
	                      * (valid during the callback) */
	uint64_t offset;     /* stream offset of its first byte */
	const uint8_t *head; /* head_len bytes; NULL in payload and message_end */
	uint32_t head_len;
	enum nbds_payload payload;
	uint64_t payload_len;                     /* bytes of payload that follow the head */
	struct nbds_mark first;                   /* where its first byte was seen */
	struct nbds_mark last;                    /* where the last byte of the head was seen;
	                                           * in message_end, the last byte of the message */
	const struct nbds_negotiated *negotiated; /* as of this message */

	/* REQUEST, SIMPLE_REPLY, CHUNK: the request; NULL if UNSOLICITED, and
	 * in the payload and the end of a request that is finally answered (or
	 * forgotten) before its payload was all sent.
	 * DISC is never kept past its own message_end. */
	struct nbds_request *request;
	/* UNSOLICITED: the request with this cookie that was answered before: this is a
	 * second reply to it, and as long as one is.  NULL: its cookie is that of no
	 * request seen, or of one answered too long ago.  Valid until the message's end. */
	const struct nbds_answered *again;

	union {
		struct {
			enum nbds_handshake style;
			uint16_t flags;
			uint64_t size;               /* oldstyle only */
			uint16_t transmission_flags; /* oldstyle only */
		} greeting;
		uint32_t client_flags;
		struct {
			uint32_t option;
			uint32_t length;
		} option;
		struct {
			uint32_t option;
			uint32_t type;
			uint32_t length;
			uint16_t info;       /* REP_INFO: NBD_INFO_* */
			uint32_t context_id; /* REP_META_CONTEXT */
		} option_reply;
		struct {
			uint64_t size;
			uint16_t transmission_flags;
			uint32_t zeroes;
		} export_name;
		/* REQUEST: see .request */
		struct {
			uint64_t cookie;
			uint32_t error;
		} simple;
		struct {
			uint64_t cookie;
			uint16_t flags;
			uint16_t type;
			uint64_t length;
			uint64_t offset;     /* OFFSET_DATA, OFFSET_HOLE, ERROR_OFFSET */
			uint64_t hole;       /* OFFSET_HOLE: bytes */
			uint32_t error;      /* ERROR types */
			uint32_t context_id; /* BLOCK_STATUS(_EXT) */
		} chunk;
	} u;
};

enum nbds_trouble_kind {
	NBDS_TROUBLE_LOST,      /* bytes missing from the capture; framing lost in this direction */
	NBDS_TROUBLE_NONSENSE,  /* bytes that are no legal message here */
	NBDS_TROUBLE_SKIPPED,   /* bytes passed over while looking for the feet */
	NBDS_TROUBLE_SURE,      /* feet found: from `offset` on this direction is decoded */
	NBDS_TROUBLE_TLS,       /* bytes of TLS: not decoded */
	NBDS_TROUBLE_FORGOT,    /* a request in flight was dropped (NBDS_REQUESTS_MAX, no memory, or
	                         * its reply was lost or told before it); offset: its header's */
	NBDS_TROUBLE_AFTER_END, /* bytes after DISC, or after a server's refusal */
	NBDS_TROUBLE_TRAILING, /* the direction ended inside a message, `length` bytes of it seen */
};

struct nbds_trouble {
	enum nbds_trouble_kind kind;
	enum nbds_side side;
	uint64_t offset; /* stream offset where it begins */
	uint64_t length; /* bytes, 0 if not yet known */
	struct nbds_mark where;
	const char *text;     /* one clause for a person: "request magic 0x12345678" */
	const uint8_t *bytes; /* NONSENSE, TLS, AFTER_END, TRAILING inside a head: those at
	                               * `offset`, as far as they are at hand; else NULL */
	size_t bytes_len;
	struct nbds_request *request; /* FORGOT: the request (its end) */
};

/* All callbacks may be NULL. `ctx` is the one given to nbds_decoder_new(). */
struct nbds_decoder_ops {
	/* The head of a message is complete. */
	void (*message)(void *ctx, const struct nbds_message *m);
	/* `len` bytes of its payload, `at` bytes into the payload. */
	void (*payload)(void *ctx, const struct nbds_message *m, uint64_t at, const uint8_t *data,
			size_t len, const struct nbds_mark *where);
	/* `len` bytes of its payload were lost by the capture. */
	void (*payload_gap)(void *ctx, const struct nbds_message *m, uint64_t at, uint64_t len,
			    const struct nbds_mark *where);
	/* The message is over (or, INCOMPLETE, will never be). For a FINAL
	 * reply m->request dies when this returns. */
	void (*message_end)(void *ctx, const struct nbds_message *m);
	void (*trouble)(void *ctx, const struct nbds_trouble *t);
	/* The next `len` bytes of `side`, at `offset`, are TLS, as all that follow. True: the caller looks
	 * into them, and feeds no more of them, but what was inside, after
	 * nbds_decoder_inside().  These bytes are in no account then.  False: they are told
	 * as NBDS_TROUBLE_TLS.  Must not call the decoder. */
	bool (*tls)(void *ctx, enum nbds_side side, uint64_t offset, const uint8_t *data,
		    size_t len, const struct nbds_mark *where);
};

enum nbds_start {
	NBDS_START_GREETING, /* the connection's first byte is the first one fed */
	NBDS_START_MIDDLE,   /* caught in the middle: look for the feet first */
};

struct nbds_decoder;

/* A decoder for one connection. `ops` is copied. NULL without memory. */
struct nbds_decoder *nbds_decoder_new(const struct nbds_decoder_ops *ops, void *ctx,
				      enum nbds_start start);
void nbds_decoder_free(struct nbds_decoder *d);

/* `len` bytes in order, sent by `side`. Stream offsets of each direction are
 * counted by the decoder, from 0, gaps included. */
void nbds_decoder_data(struct nbds_decoder *d, enum nbds_side side, const uint8_t *data, size_t len,
		       const struct nbds_mark *where);

/* `len` bytes (> 0) sent by `side` are missing here from the capture. */
void nbds_decoder_gap(struct nbds_decoder *d, enum nbds_side side, uint64_t len,
		      const struct nbds_mark *where);

/* What is fed of `side` from now on was inside of TLS: the handshake goes on. */
void nbds_decoder_inside(struct nbds_decoder *d, enum nbds_side side);

/* The next `len` bytes of `side` (may be 0), of which `lost` are missing from the capture, are
 * TLS into which nobody can look after all, and so are all that follow; `bytes` are the first
 * of them (bytes_len, may be 0), `first` is where these were seen. */
void nbds_decoder_opaque(struct nbds_decoder *d, enum nbds_side side, const uint8_t *bytes,
			 size_t bytes_len, uint64_t len, uint64_t lost,
			 const struct nbds_mark *first);

/* An unknown number of bytes is missing here: as nbds_decoder_gap(), of more than would be
 * the rest of a message. */
void nbds_decoder_lose(struct nbds_decoder *d, enum nbds_side side, const struct nbds_mark *where);

/* `side` will send nothing more (FIN, RST, end of capture). Tells the end of
 * an unfinished message. Safe to call once per side. */
void nbds_decoder_end(struct nbds_decoder *d, enum nbds_side side, const struct nbds_mark *where);

const struct nbds_negotiated *nbds_decoder_negotiated(const struct nbds_decoder *d);

/* Both directions are followed (message boundaries known). False while the
 * feet are looked for in either one. */
bool nbds_decoder_sure(const struct nbds_decoder *d);

/* Calls `each` for every request in flight, oldest first. */
void nbds_decoder_each_request(const struct nbds_decoder *d,
			       void (*each)(void *arg, struct nbds_request *r), void *arg);

/*
 * Bytes of `side`: fed (gaps included), and what became of them.  Once the side
 * has ended, all others add up to `fed`; before, what is kept of an unfinished
 * head is in none of them.
 *	decoded    told in messages
 *	lost       told by nbds_decoder_gap()
 *	nonsense   where a message was due and none was: the magic (and what else is
 *	           known to be wrong); what follows until the feet are found is skipped
 *	skipped    passed over while looking for the feet, and not told late
 *	tls, after_end
 *	trailing   of a message that the end cut off, also what was told of it
 */
struct nbds_accounting {
	uint64_t fed, decoded, lost, nonsense, skipped, tls, after_end, trailing;
};
/* Bytes of memory that it takes now. */
uint64_t nbds_decoder_memory(const struct nbds_decoder *d);
void nbds_decoder_accounting(const struct nbds_decoder *d, enum nbds_side side,
			     struct nbds_accounting *a);

#ifdef __cplusplus
}
#endif
#endif
