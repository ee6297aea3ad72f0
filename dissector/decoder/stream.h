/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.h - the stream decoder inside: what its parts share.
 *
 *	stream.c       bytes, gaps and ends in; messages and trouble out
 *	handshake.c    greeting, client flags, options and their replies
 *	transmission.c requests, simple replies, chunks
 *	requests.c     the requests in flight
 *	resync.c       finding the feet: after losses and nonsense, and in the middle
 *
 * One direction is a struct nbds_direction.  It is in one phase, and either inside
 * a message, whose payload is handed on span by span, or before a head.  A step
 * reads one head: it peeks at as many bytes as it must see, which lie in the
 * span if that has them all, and are kept in the stream if not; then it tells
 * the message and consumes the head.  A step that gets too few bytes does
 * nothing, and is repeated when the next span comes.
 *
 *	consumed bytes │ kept (have) │ span (data, len) │ bytes to come
 *	               ^ pos
 *
 * Ownership.  All of it belongs to struct nbds_decoder.
 * Failure.  Without memory heads are cut, requests forgotten, and lost feet are
 * not found again.
 */
#ifndef NBDS_STREAM_H
#define NBDS_STREAM_H

#include <nbdscope/decoder.h>

#include <base/bytes.h>

/* Bytes that each stream can keep; for a longer head that straddles spans the
 * stream allocates NBDS_HEAD_MAX once.  Only heads with strings are longer. */
#define NBDS_SMALL 128u

/* Options without a final reply; of more the oldest are forgotten. */
#define NBDS_OPTIONS_MAX 64u

enum nbds_phase {
	NBDS_PHASE_START,        /* nothing seen: a greeting or the client's flags */
	NBDS_PHASE_OPTIONS,      /* options, or replies to them */
	NBDS_PHASE_TRANSMISSION, /* requests, or replies to them */
	NBDS_PHASE_SEARCH,       /* message boundaries are unknown */
	NBDS_PHASE_TLS,
	NBDS_PHASE_OVER, /* nothing may follow */
};

/* Bytes in order, as they came. */
struct nbds_span {
	const uint8_t *data;
	size_t len;
	const struct nbds_mark *mark;
};

/* Where a head lies, and NBDS_MSG_* that come with the place. */
struct nbds_place {
	uint64_t offset;
	const struct nbds_mark *first, *last;
	uint32_t flags;
};

struct nbds_search;
struct search_window;

struct nbds_direction {
	enum nbds_side side;
	enum nbds_phase phase;
	bool ended;              /* nbds_decoder_end() was called */
	bool in_message;         /* m was told, and its end not yet */
	bool resynced;           /* the next message is the first after a search */
	bool told_sink;          /* the one trouble of NBDS_PHASE_TLS or _OVER was told */
	bool opaque;             /* NBDS_PHASE_TLS: the caller does not look into it */
	bool sink_holed;         /* NBDS_PHASE_TLS: its first bytes are missing */
	enum nbds_phase outside; /* NBDS_PHASE_TLS: the phase before */

	uint64_t pos;  /* stream offset of the first byte not consumed */
	uint32_t have; /* bytes kept from there on: as many as any head, in any phase, as what
			* a direction waits for can turn out to be something else by what the
			* other direction says */
	uint8_t *kept; /* small or big */
	uint8_t small[NBDS_SMALL];
	uint8_t *big;
	struct nbds_mark first,
		last;       /* where the first byte kept was seen, or earlier, and the last */
	uint32_t with_last; /* bytes kept that were seen with the last */

	struct nbds_message m;       /* the message whose payload is read */
	uint64_t at;                 /* bytes of its payload that passed */
	uint64_t told;               /* bytes of it that are counted as decoded */
	bool holed;                  /* bytes of it were lost */
	char name[NBDS_TEXT_OF_MAX]; /* m.name, unless constant */

	/* Client: the option whose data is waited for is in the decoder's list. */
	bool option_listed;
	/* Server: bytes that may come although they must not. */
	uint64_t stray;   /* data of the READ that was just answered with an error */
	uint64_t discard; /* of them still to be passed over */
	uint32_t padding; /* zeroes after the answer to NBD_OPT_EXPORT_NAME */
	bool padding_told;

	/* NBDS_PHASE_SEARCH */
	uint64_t search_from;     /* stream offset where the feet were lost */
	uint64_t search_lost;     /* bytes lost by the capture since */
	uint64_t search_at;       /* stream offset looked at, >= pos */
	uint32_t search_nonsense; /* bytes at search_from that are nonsense */
	struct nbds_search *search;

	struct nbds_accounting count;
};

/* A request in flight: the public part first. */
struct nbds_flight {
	struct nbds_request pub;
	uint64_t offset;              /* of the request in the stream */
	uint64_t order;               /* nbds_decoder.order of the request */
	uint64_t frame;               /* of its first byte */
	uint64_t epoch, client_epoch; /* those of the decoder when it was sent */
	struct nbds_flight *older, *newer;
	struct nbds_flight *same;  /* the next with this cookie */
	struct nbds_flight *last;  /* in the first with a cookie: the last with it */
	struct nbds_flight *chain; /* in the first with a cookie: the next of the bucket;
	                            * in a free one: the next free one */
};

#define NBDS_SLAB_FIRST 2u  /* requests inside the decoder itself: many never send more */
#define NBDS_SLABS      15u /* allocated ones: 2, 4, ... 32768; with the first 65536 */
#define NBDS_FEW_BITS   4u

/*
 * The requests in flight: a table of cookies, each with the requests that have
 * it, oldest first, and one list of all by age.  Requests do not move: they
 * live in slabs, each as large as all before it together.
 */
struct nbds_flights {
	struct nbds_flight **buckets; /* few, or allocated */
	struct nbds_flight *few[1u << NBDS_FEW_BITS];
	unsigned bits; /* 1 << bits buckets */
	uint64_t seed;
	uint32_t count;
	struct nbds_flight *oldest, *newest, *free;
	struct nbds_flight *slabs[NBDS_SLABS];
	unsigned slab_count;
	struct nbds_flight first[NBDS_SLAB_FIRST];
};

/* The requests that were answered last: a ring, grown while they are few. */
struct nbds_answers {
	struct nbds_answered *at;
	uint32_t room, count, next; /* next: where the next one goes */
};

struct nbds_decoder {
	struct nbds_decoder_ops ops;
	void *ctx;
	const struct nbds_mark *now; /* that of the call into the decoder */
	const uint8_t *bytes;        /* what the next trouble shows, or NULL */
	size_t bytes_len;
	struct nbds_negotiated neg;
	struct nbds_direction streams[2];
	struct nbds_flights flights;
	struct nbds_answers answers;
	struct nbds_request disc; /* the request of NBD_CMD_DISC: never in flight */
	uint64_t serial;          /* of the last request */
	uint64_t epoch;           /* counts how often the server's feet were lost or found */
	uint64_t client_epoch;    /* counts how often the client's were lost */
	uint64_t order;           /* counts requests, and the heads seen while searching */

	uint64_t chain_ids;                 /* see resync.c */
	struct nbds_direction *scanning;    /* the stream that a search is looking at now */
	const struct search_window *window; /* and its bytes */
	bool mode_known;                    /* the handshake was followed without losses */
	bool middle;                        /* caught in its middle (NBDS_START_MIDDLE) */
	bool haggled;                       /* and the server talked about options then */
	bool requests_missing;              /* there may be requests in flight that were not seen */

	uint32_t options[NBDS_OPTIONS_MAX]; /* without a final reply, oldest first */
	uint32_t option_count;
	bool entering;  /* NBD_OPT_GO or NBD_OPT_EXPORT_NAME was sent */
	bool aborted;   /* NBD_OPT_ABORT was sent */
	bool info_seen; /* NBD_INFO_EXPORT in the replies to NBD_OPT_GO so far */
	uint64_t info_size;
	uint16_t info_flags;
};

static inline struct nbds_direction *nbds_client(struct nbds_decoder *d)
{
	return &d->streams[NBDS_CLIENT];
}

static inline struct nbds_direction *nbds_server(struct nbds_decoder *d)
{
	return &d->streams[NBDS_SERVER];
}

static inline bool nbds_searching(const struct nbds_decoder *d, enum nbds_side side)
{
	return d->streams[side].phase == NBDS_PHASE_SEARCH;
}

static inline uint64_t nbds_add_sat(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t nbds_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* realloc(); tests of what happens without memory put another in its place. */
extern void *(*nbds_decoder_realloc)(void *old, size_t size);

/* stream.c ---------------------------------------------------------------- */

/* How much of a head of `want` bytes can be peeked at. */
size_t nbds_room(struct nbds_direction *s, const struct nbds_span *sp, uint64_t want);
/* The `n` bytes (0 < n <= nbds_room()) at the stream's position in one piece, or
 * NULL while there are fewer. */
const uint8_t *nbds_peek(struct nbds_direction *s, struct nbds_span *sp, size_t n);
/* The place of what was last peeked at. */
struct nbds_place nbds_here(const struct nbds_direction *s, const struct nbds_span *sp);
/* Passes `n` bytes that are there. */
void nbds_consume(struct nbds_direction *s, struct nbds_span *sp, size_t n);

/* Clears s->m for a message of this type. */
struct nbds_message *nbds_message_new(struct nbds_direction *s, enum nbds_message_type type);
/* Tells s->m; its head is `len` bytes and `payload_len` bytes follow. */
void nbds_tell(struct nbds_decoder *d, struct nbds_direction *s, const struct nbds_place *place,
	       const uint8_t *head, size_t len, enum nbds_payload payload, uint64_t payload_len);
/* Passes the head that was told, and ends the message if nothing follows. */
void nbds_told(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
/* The next `n` bytes of payload. */
void nbds_tell_payload(struct nbds_decoder *d, struct nbds_direction *s, const uint8_t *data,
		       size_t n, const struct nbds_mark *where);
/* The next `len` bytes of payload cannot be told. */
void nbds_tell_gap(struct nbds_decoder *d, struct nbds_direction *s, uint64_t len,
		   const struct nbds_mark *where);
/* `last`: where the last byte of the message was seen. */
void nbds_tell_end(struct nbds_decoder *d, struct nbds_direction *s, const struct nbds_mark *last);

#if defined(__GNUC__)
__attribute__((format(printf, 8, 9)))
#endif
void nbds_trouble(struct nbds_decoder *d, const struct nbds_direction *s, enum nbds_trouble_kind kind,
		  uint64_t offset, uint64_t length, const struct nbds_mark *where,
		  struct nbds_request *request, const char *format, ...);

/* The next trouble shows the bytes at the stream's position. */
void nbds_show(struct nbds_decoder *d, const struct nbds_direction *s, const struct nbds_span *sp);

/* Decodes what is kept and `sp`, until more is needed. */
void nbds_run(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
/* From here on nothing is decoded: NBDS_PHASE_TLS or NBDS_PHASE_OVER. */
void nbds_sink(struct nbds_decoder *d, struct nbds_direction *s, enum nbds_phase phase);

/* handshake.c: steps read one head; false while there are too few bytes. ----- */

bool nbds_step_start(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
bool nbds_step_option(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
bool nbds_step_option_reply(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
/* An answer to NBD_OPT_EXPORT_NAME that waits to see whether zeroes follow: told. */
void nbds_flush_export_name(struct nbds_decoder *d);
/* A head that the capture lost the end of, told from the `s->have` bytes kept if
 * they say how long the message is. */
void nbds_cut_handshake(struct nbds_decoder *d, struct nbds_direction *s);
/* The place of `option` among those without a final reply, or -1. */
int nbds_option_find(const struct nbds_decoder *d, uint32_t option);

/* transmission.c ------------------------------------------------------------ */

/* Where more payload than this is claimed, something else claims it: servers
 * accept 32 to 128 MiB. */
#define NBDS_PAYLOAD_PLAUSIBLE (UINT64_C(128) << 20)

/* The header of a request. */
struct nbds_request_head {
	uint64_t cookie, offset, length;
	uint64_t payload; /* bytes after the header */
	uint16_t flags, type;
	bool extended;
	uint8_t len;  /* of the header */
	uint8_t want; /* of the head: the header, and a status request's effect length */
};

/* The header of a reply. */
struct nbds_reply_head {
	uint32_t magic;
	uint32_t error; /* simple replies */
	uint64_t cookie;
	uint16_t flags, type; /* chunks */
	uint64_t length;      /* chunks: bytes after the header */
	uint64_t offset;      /* extended: the request's offset */
	bool final;
	uint8_t len;   /* of the header */
	uint64_t want; /* of the head */
};

/* The length of the header that starts with this magic, 0 for others. */
size_t nbds_request_len(uint32_t magic);
size_t nbds_reply_len(uint32_t magic);
void nbds_request_parse(const uint8_t *p, struct nbds_request_head *h);
void nbds_reply_parse(const uint8_t *p, struct nbds_reply_head *h);
/* Can this be a reply to a request with these fields?  `p` is the header, or
 * more of the head: `n` bytes. */
bool nbds_reply_fits(const struct nbds_reply_head *h, const uint8_t *p, size_t n, uint16_t type,
		     bool extended, uint64_t offset, uint64_t length);
/* The bytes after the header of a reply to such a request. */
uint64_t nbds_reply_payload(const struct nbds_reply_head *h, const struct nbds_request *r);

void nbds_tell_request(struct nbds_decoder *d, struct nbds_direction *s,
		       const struct nbds_place *place, const uint8_t *head, size_t len);
/* `after`: bytes of the message after `len`; `r` may be NULL. */
void nbds_tell_reply(struct nbds_decoder *d, struct nbds_direction *s,
		     const struct nbds_place *place, const uint8_t *head, size_t len,
		     uint64_t after, struct nbds_request *r);
bool nbds_step_request(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
bool nbds_step_reply(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
void nbds_cut_transmission(struct nbds_decoder *d, struct nbds_direction *s);

/* requests.c ---------------------------------------------------------------- */

void nbds_flights_init(struct nbds_decoder *d);
void nbds_flights_free(struct nbds_decoder *d);
/* Bytes that they take besides the decoder itself. */
uint64_t nbds_flights_memory(const struct nbds_decoder *d);
/* A new request in flight, from `offset` of the stream, zeroed but for its cookie
 * and serial. */
struct nbds_request *nbds_flight_add(struct nbds_decoder *d, uint64_t cookie, uint64_t offset);
/* The oldest in flight with this cookie, or NULL; ->same leads to the others. */
struct nbds_flight *nbds_flight_find(const struct nbds_decoder *d, uint64_t cookie);
/* Were bytes of both directions lost since it was sent?  Then its reply may be
 * among them, and so may a later request with its cookie: what looks like its
 * reply can be the other's. */
bool nbds_flight_doubtful(const struct nbds_decoder *d, const struct nbds_flight *f);
/* `r` if it is still the request with this serial, else NULL. */
struct nbds_request *nbds_flight_alive(struct nbds_request *r, uint64_t serial);
void nbds_flight_remove(struct nbds_decoder *d, struct nbds_request *r);
/* The same, told as NBDS_TROUBLE_FORGOT. */
void nbds_flight_forget(struct nbds_decoder *d, struct nbds_request *r, const char *why);

/* Its final reply began in `frame`. */
void nbds_answered_add(struct nbds_decoder *d, const struct nbds_request *r, uint64_t frame);
/* The last one answered with this cookie, or NULL. */
const struct nbds_answered *nbds_answered_find(const struct nbds_decoder *d, uint64_t cookie);

/* resync.c ------------------------------------------------------------------ */

/* The most bytes of a head that are kept while searching. */
#define NBDS_SEEN_MAX 48u

/* The feet are lost at the stream's position.  The caller told why; `nonsense`
 * bytes there are no message. */
void nbds_lose(struct nbds_decoder *d, struct nbds_direction *s, uint32_t nonsense);
bool nbds_step_search(struct nbds_decoder *d, struct nbds_direction *s, struct nbds_span *sp);
void nbds_search_gap(struct nbds_decoder *d, struct nbds_direction *s, uint64_t len);
/* Bytes that searching takes. */
uint64_t nbds_search_memory(const struct nbds_direction *s);
void nbds_search_end(struct nbds_decoder *d, struct nbds_direction *s,
		     const struct nbds_mark *where);
void nbds_search_free(struct nbds_direction *s);
/* The bytes passed over in the search so far. */
uint64_t nbds_search_passed(const struct nbds_direction *s);
/* Does a chain of replies contain one to this request? */
bool nbds_search_refers(const struct nbds_decoder *d, const struct nbds_request *r);

/* A reply to an unknown request comes in the followed server stream, while the
 * client's feet are looked for: returns the request if that was the proof. */
struct nbds_request *nbds_search_note_reply(struct nbds_decoder *d, const struct nbds_reply_head *h,
					    const uint8_t *p, size_t n);

#endif
