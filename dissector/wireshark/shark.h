/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shark.h - what the parts of the Wireshark plugin share.
 *
 *	plugin.c    the entry points that Wireshark asks a plugin for
 *	prefs.c     preferences, and whose ports are whose
 *	fields.c    fields, trees and expert infos, made from the decoder's table
 *	watch.c     segments in, by way of TCP reassembly and engine: what is kept
 *	            of each message, operation, trouble and finding
 *	show.c      one frame: tree, columns, expert infos, taps
 *	stats.c     statistics that listen to the tap
 *	follow.c    a connection as text: *Follow*
 *	objects.c   what was written to an export: *Export Objects*
 *	register.c  the protocol, and where it stands in Wireshark
 *
 * prefs.c and fields.c call none of the others, register.c calls them all.
 *
 *	                  first visit of a frame                    every visit
 *	IP ──► watch ──► feed: TCP ──► engine ──► messages, findings ─► show
 *	         │                                                        ▲
 *	         └────► Wireshark's TCP ──► dissector ────────────────────┘
 *
 * All protocol knowledge is the decoder's.  The plugin stands before TCP, sees
 * each segment once in capture order, and gives it to the same reassembly and
 * engine that nbdaudit uses; so what both say is the same, whatever Wireshark's
 * TCP preferences are, and payload is never collected.  What came out is kept
 * by stream offset, and each visit of a frame looks up what its bytes are.
 *
 * A message belongs to the frame with the last byte of its head: `own_frame`.
 * It can become known later than that, when bytes were lost or out of order, or
 * the beginning of the connection is missing.  On the first visit, where time
 * only goes forward, it is then shown in the frame that made it known.
 *
 * Ownership.  Everything is freed when Wireshark closes the file.
 */
#ifndef NBDS_SHARK_H
#define NBDS_SHARK_H

#include "compat.h"
#include "pile.h"

#include <nbdscope/engine.h>
#include <nbdscope/fields.h>

#include "../../analyzer/feed/feed.h"

/* A message, as far as it is kept: there are millions of them, so what few have is apart. */
struct msg {
	uint64_t offset; /* in its direction, as the decoder counts */
	uint64_t payload_len;
	uint32_t head_len;
	uint32_t own_frame;
	uint32_t end_frame; /* with its last byte; 0: never seen to its end */
	uint32_t op;        /* index of its request or option, NO_INDEX: none */
	uint32_t more;      /* index of what else it has, NO_INDEX: nothing */
	uint32_t name;      /* see nbds_shark_name() */
	uint16_t chunk_type;
	uint8_t type, from, payload;
	uint8_t flags; /* NBDS_MSG_* */
};

/* What else a message has: one that did not come in a frame of its own, or that is not the
 * only answer to its request. */
struct msg_more {
	const uint8_t *head;  /* NULL: it is in the segment of its own frame */
	uint32_t first_frame; /* with its first byte; 0: its own */
	uint32_t next;        /* next message of the same reply, of the last one the first */
	uint32_t number;      /* in its reply, from 1; 0: 1, and there is no other */
	uint32_t context;     /* extents: name of their metadata context, 0: not known */
};

#define NO_INDEX UINT32_MAX

/* A request or option, and what answers it. */
struct op {
	uint64_t offset, length;
	uint64_t data_bytes;            /* read and sent, holes included */
	int64_t request_time, end_time; /* ns */
	uint32_t request, last_reply;   /* messages; NO_INDEX: none */
	uint32_t end_frame;             /* 0: not (seen) answered */
	uint32_t error;                 /* failed: the first error */
	uint16_t type, flags;
	bool failed;
};

/* Bytes that are no message, or a message that something is wrong with. */
struct trouble {
	uint64_t offset, length;
	const char *text;
	uint32_t frame;
	uint8_t kind, side;
};

struct flow;
struct conn;

/* An export, as long as connections to it are known by its name; else a connection's own. */
struct share {
	const char *name; /* printable; NULL: not known */
	struct nbds_addr server;
	uint64_t unflushed;       /* bytes that its connections wrote, and no flush covered */
	struct conn *first_dirty, /* those of them with such bytes, the oldest first */
		*last_dirty;
};

/* A connection that speaks NBD. */
struct conn {
	struct nbds_connection *c; /* the engine's, as long as the file is open */
	struct flow *flow;
	uint32_t id;
	int server_dir;   /* the direction that the server sends in */
	uint64_t skip[2]; /* by direction: bytes before the first one decoded */
	struct {
		struct pile messages; /* struct msg */
		uint32_t near;        /* that was looked for last */
		struct trouble *troubles;
		uint32_t trouble_count, trouble_room;
		uint32_t open;    /* message that awaits its last byte, or NO_INDEX */
		uint64_t ignored; /* first bytes that are not to be shown */
	} side[2];                /* by enum nbds_side */
	struct pile more;         /* struct msg_more */
	struct pile ops;          /* struct op: requests, by their serial number - 1 */
	struct pile options;      /* struct op */
	/* Messages of earlier frames that became known since the last look. */
	struct {
		uint8_t side;
		uint32_t index;
	} * late;
	uint32_t late_count, late_room;
	const char *export_name; /* printable; NULL: not known */
	struct share *share;     /* NULL: not needed yet */
	uint64_t unflushed;      /* its part of share->unflushed */
	struct conn *next_dirty, *prev_dirty;
	int64_t greeted[2]; /* ns, by side: the first byte of its first message */
	bool settled;       /* by the bytes in work a write or flush was answered */
	bool flushed;       /* a flush was */
	uint64_t findings;
	bool tls;      /* what follows is TLS */
	bool tls_told; /* and Wireshark's TLS dissector knows */
	bool inside;   /* these are bytes from inside TLS */
};

/* A TCP connection, or a stream inside another protocol. */
struct flow {
	struct nbds_feed_flow *feed; /* NULL: over */
	struct conn *conn;           /* NULL: not (yet) NBD */
	struct nbds_addr a, b;
	bool inside;          /* fed by the dissector above */
	uint64_t fed[2];      /* in-order bytes by direction */
	uint32_t greeting[2]; /* by side: bytes that are from outside */
};

/* A frame's segment of a flow. */
struct rec {
	int64_t offset; /* of the first payload byte in its stream */
	struct flow *flow;
	uint32_t frame;
	uint16_t layer; /* tells the records of one frame apart */
	uint8_t dir;
	bool inside : 1;
	bool settled : 1; /* a write or flush was answered: nbds_watch_unflushed() */
};

/* A finding at one of its frames. */
struct note {
	struct note *next;
	const struct nbds_finding *finding;
	bool *told;     /* the finding was shown in some frame */
	uint16_t roles; /* what the frame is to it: 1 << enum nbds_role */
};

/* --- fields.c --- */

extern int nbds_shark_proto;     /* "nbd": the built-in's, or ours */
extern int nbds_shark_proto_tcp; /* in name only: TCP with a watch before it */
extern int *nbds_shark_hf;       /* by field id of nbds_fields */
extern dissector_handle_t nbds_shark_handle;
extern dissector_handle_t nbds_shark_tls;
extern int nbds_shark_tap;

/* Generated fields. */
enum shark_field {
	SF_RESPONSE_IN,
	SF_RESPONSE_TO,
	SF_TIME,
	SF_TYPE_OF_REQUEST,
	SF_DATA_LEN,
	SF_PART_OF,
	SF_PART_AT,
	SF_END_IN,
	SF_SEEN_IN,
	SF_CHUNK_NUMBER,
	SF_CHUNK_COUNT,
	SF_CHUNK_FRAME,
	SF_CONN,
	SF_CONN_EXPORT,
	SF_CONN_FLAGS,
	SF_CONN_INSIDE_TLS,
	SF_CONTEXT,
	SF_UNFLUSHED,
	SF_UNDECODED,
	SF_FINDING_RULE,
	SF_FINDING_REF,
	SF_FINDING_SEVERITY,
	SF_FINDING_SIDE,
	SF_FINDING_MESSAGE,
	SF_FINDING_ROLE,
	SF_FINDING_CONN,
	SF_FINDING_EXPORT,
	SF_FINDING_COMMAND,
	SF_FINDING_OFFSET,
	SF_FINDING_LENGTH,
	SF_FINDING_COUNT,
	SF_FINDING_ASSUMPTION,
	SF_FINDING_FRAME,
	SF_FINDING_FRAME_LAST = SF_FINDING_FRAME + NBDS_ROLE_MAX - 1,
	SF_COUNT,
};
extern int nbds_shark_gen[SF_COUNT];

enum shark_tree {
	ST_MESSAGE,
	ST_FLAGS,
	ST_REQUEST,
	ST_CHUNKS,
	ST_EXTENTS,
	ST_EXTENT,
	ST_FINDING,
	ST_COUNT,
};
extern int nbds_shark_ett[ST_COUNT];

/* Expert infos. */
enum shark_expert {
	SE_NONSENSE,
	SE_MALFORMED,
	SE_UNSOLICITED,
	SE_ERROR_REPLY,
	SE_LOST,
	SE_CUT,
	SE_COUNT,
};
extern expert_field nbds_shark_ei[SE_COUNT];
/* That of a finding: of its rule, at its level. */
expert_field *nbds_shark_ei_of(const struct nbds_finding *f);

/* Called once, in this order. */
void nbds_shark_register_fields(void);
void nbds_shark_register_experts(void);

/* --- register.c --- */

void nbds_shark_register(void);
void nbds_shark_handoff(void);

/* --- watch.c --- */

void nbds_watch_handoff(void);
int nbds_watch_tcp(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree, void *data);
/* Payload that comes from another protocol than TCP: its record. */
struct rec *nbds_watch_inside(tvbuff_t *tvb, packet_info *pinfo);
/* The record and payload of the segment in work, or NULL if it is not TCP that
 * calls; it counts as shown then. *payload NULL: it was shown before. */
struct rec *nbds_watch_current(packet_info *pinfo, tvbuff_t **payload);
/* The connection called `id`, brought up to date, or NULL. */
const struct nbds_connection *nbds_watch_connection(uint32_t id);
/* What a record that settled something left unflushed of the export, bytes. */
uint64_t nbds_watch_unflushed(const struct rec *r);
/* The export of a connection, or what stands for it. */
struct share *nbds_watch_share(struct conn *k);
/* The connection that a frame belongs to, NULL: none; and how many there are. */
const struct conn *nbds_watch_conn(uint32_t frame);
uint32_t nbds_watch_conn_count(void);
/* What was found of the connection called `id`. */
uint64_t nbds_watch_findings(uint32_t id);
/* The findings that a frame is a proof of. */
const struct note *nbds_watch_notes(uint32_t frame);
/* True once in a file: what is said but once, of a single pass. */
bool nbds_watch_first(void);
/* The next finding that was shown in no frame yet, and now is; NULL: none for now. */
const struct nbds_finding *nbds_watch_news(void);

/* A name that messages have by its number; NULL of 0. */
const char *nbds_shark_name(uint32_t number);

static inline struct msg *nbds_shark_msg(const struct conn *k, int side, uint32_t i)
{
	return PILE_AT(&k->side[side].messages, struct msg, i);
}

static inline const struct msg_more *nbds_shark_more(const struct conn *k, const struct msg *m)
{
	return m->more == NO_INDEX ? NULL : PILE_AT(&k->more, struct msg_more, m->more);
}

/* Which of the messages of its reply it is, from 1; 0: it answers nothing. */
static inline uint32_t nbds_shark_number(const struct conn *k, const struct msg *m)
{
	const struct msg_more *more = nbds_shark_more(k, m);

	if (m->from != NBDS_SERVER || m->op == NO_INDEX)
		return 0;
	return more && more->number ? more->number : 1;
}

/* The next message of the same reply, in a circle. */
static inline uint32_t nbds_shark_next(const struct conn *k, uint32_t reply)
{
	const struct msg_more *more = nbds_shark_more(k, nbds_shark_msg(k, NBDS_SERVER, reply));

	return more && more->number ? more->next : reply;
}

static inline struct op *nbds_shark_op(const struct conn *k, const struct msg *m)
{
	if (m->op == NO_INDEX)
		return NULL;
	return PILE_AT(m->type <= NBDS_MSG_EXPORT_NAME_REPLY ? &k->options : &k->ops, struct op,
		       m->op);
}

/* --- show.c --- */

/* What the payload `tvb` of a record is, and what else belongs to the frame. */
void nbds_show_record(struct rec *r, tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree);
/* Whether messages belong to the frame of the record, of payload `tvb`, so that it is to
 * be shown even if TCP thinks that it is a repetition. */
bool nbds_show_wanted(const struct rec *r, tvbuff_t *tvb, packet_info *pinfo);
/* The findings of the frame, unless they were shown already. */
void nbds_show_findings(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree);

/* --- stats.c --- */

void nbds_stats_register(void);

/* --- follow.c --- */

void nbds_follow_register(void);
/* Does anybody read along? */
bool nbds_follow_wanted(void);
/* A line of text of the frame, from one of the sides. */
void nbds_follow_line(packet_info *pinfo, bool from_server, const char *text);

/* --- objects.c --- */

void nbds_objects_register(void);
/* Payload of a WRITE, `len` bytes of `tvb` from `start` on, that belong at `offset`. */
void nbds_objects_write(packet_info *pinfo, struct conn *k, uint64_t offset, tvbuff_t *tvb,
			int start, int len);
/* A WRITE_ZEROES was answered. */
void nbds_objects_zero(packet_info *pinfo, struct conn *k, uint64_t offset, uint64_t length);
/* No frame after this one has payload of a WRITE. */
void nbds_objects_end(packet_info *pinfo);
/* The file is closed. */
void nbds_objects_forget(void);

#endif
