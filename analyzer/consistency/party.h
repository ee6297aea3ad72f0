/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/party.h - connections and exports of a world.
 *
 *   open ──► lingering ──► ended ──► folded into few numbers: past.h
 */
#ifndef NBDS_CONSISTENCY_PARTY_H
#define NBDS_CONSISTENCY_PARTY_H

#include <base/table.h>
#include <base/vector.h>

#include "op.h"

/* The first bytes of a sector whose others are still to come. */
struct carry {
	struct nbds_op *op;
	uint64_t offset; /* of its first byte, in the export */
	uint32_t have;
	uint8_t bytes[NBDS_SECTOR];
};

/*
 * Lists that a connection is in, each of one kind at a time: who may be meant by a
 * question is found without walking over the others.
 *
 *	PLACE    open, lingering, ended or folded
 *	EXPORT   the open, or the lingering, of its export
 *	SILENT   open and readable, who was complete least lately first
 *	DIRTY    of its export: with writes that a flush has to cover yet, whose oldest was
 *	         answered first first
 *	PLAIN    of its export: wrote without FUA, who did last first
 *	FUA      the same with FUA
 */
enum party_role {
	PARTY_PLACE,
	PARTY_EXPORT,
	PARTY_SILENT,
	PARTY_DIRTY,
	PARTY_PLAIN,
	PARTY_FUA,
	PARTY_ROLES
};

struct party_list {
	struct nbds_party *first, *last;
	uint32_t count;
};

struct party_link {
	struct party_list *list; /* NULL: in none */
	struct nbds_party *prev, *next;
};

#define WROTE_AS 3u

/* A connection was shown the size and flags of its export. */
struct face {
	struct nbds_point from, shown; /* it appeared, and they were */
};

struct xport {
	struct nbds_table_node node; /* by name */
	struct xport *next;          /* of all */
	char *name;
	size_t name_len;
	struct nbds_op **log; /* successful flushes in order of completion */
	uint32_t *latest;     /* latest[i]: of log[0..i] the one with the greatest lo.time */
	uint64_t *ends;       /* ends[i]: hi.frame of log[i], where many are searched */
	uint32_t log_count, log_room, log_limit; /* 0: as a new one has */
	bool flags_differ;                       /* told */
	bool alike;           /* another port of the address has, or had, one of this name */
	uint64_t alone_until; /* the frame of the last request that was told before that was known:
	                       * of what was forgotten till then it is not noted where it was */
	bool unseen;          /* connections that are not followed may flush it */
	uint32_t flushes;     /* requests for flushes, */
	struct nbds_point flush_sent; /* of which this is the newest */
	struct kin *kin;              /* its entry in the registry of those on other ports */
	/* when connections that were shown a size wrote first; more sizes: any of them */
	struct wrote_as {
		uint64_t size;
		struct nbds_point lo;
	} wrote_as[WROTE_AS];
	uint32_t wrote_sizes;
	/* what connections were shown of it (G9) */
	bool shown, faces_differ, faces_lost;
	uint16_t face_flags;
	uint64_t face_size;
	struct face all_alike;        /* of those before another size, or other flags, were: the
	                        * earliest and the latest moments */
	struct face *faces;           /* of those since then, by when they were shown */
	struct nbds_point face_first; /* the earliest of their connections */
	uint32_t face_interface;      /* that all were shown on, or SEVERAL_INTERFACES */
	size_t face_count, face_room;
	/* what connections wrote that are folded */
	bool past_written;
	struct nbds_point past_settled; /* it is in force for all that begins later */
	struct party_list open, lingering, dirty;
	struct party_list wrote[2]; /* without and with FUA, and are not folded */
	uint32_t aloof;             /* of these, without CAN_MULTI_CONN */
	uint64_t writes_in_flight;
};

/* Writes of a connection, answered one after the other, of which any flush covers all or
 * none. */
struct unflushed_run {
	struct nbds_op *first;
	uint64_t writes, bytes;
	struct nbds_point hi;              /* the latest, */
	uint64_t status_end, status_acked; /* and greatest of theirs */
	uint32_t mark;                     /* flushes requested before they were answered */
};

NBDS_VECTOR(unflushed_runs, struct unflushed_run);

/* Of several writes of a connection the last in each regard: what certainly came after this,
 * came after them all. */
struct trail {
	struct nbds_op *op; /* one of them; NULL: there is none */
	struct nbds_point lo, hi;
	uint64_t header_end, acked;        /* the least, as is `lo` */
	uint64_t status_end, status_acked; /* the greatest, as is `hi` */
};

struct nbds_party {
	struct nbds_world *world;
	struct party_link links[PARTY_ROLES];
	struct xport *xport;
	uint32_t id;
	uint32_t ops; /* operations, pasts and withheld findings that refer to it */
	uint16_t flags;
	bool from_start, known, opaque, ended;
	bool left; /* by its caller */
	struct nbds_point connected, end;
	struct nbds_point shown; /* size and flags were */
	uint64_t size;
	bool size_known;
	bool heard, alive;
	struct nbds_point first_heard; /* the server's first payload */
	uint64_t complete;             /* frame up to which nothing of it is missing */
	struct nbds_point last_alive;  /* the newest request that it answered */
	/* G10 */
	uint64_t writes_in_flight, writes_unresolved;
	bool voided;                  /* a completed write of its was voided */
	struct nbds_op *last[2];      /* completed, greatest hi: without and with FUA */
	struct trail trail[2];        /* of those that may not be before all that this is before */
	struct nbds_point older[2];   /* in the list of these: of it and all behind it the latest */
	struct nbds_op *failed_flush; /* until work goes on */
	struct nbds_op *early;        /* answered before their payload */
	uint64_t newest;              /* serial of its newest request */
	uint64_t gapped;              /* the same when bytes of it were missed last */
	bool end_told;
	struct nbds_hang_up hung_up; /* frame 0: not known */
	/* completed and not flushed: see unflushed.c */
	struct unflushed_runs unflushed_runs;
	struct nbds_op **unflushed;
	uint32_t unflushed_first, unflushed_count, unflushed_room;
	uint64_t unflushed_writes, unflushed_bytes; /* all of them */
	uint64_t unflushed_frame;                   /* of the first one, once the list is dropped */
	int64_t unflushed_since;
	/* of them, what is in the tally of all: see tally.h */
	struct {
		uint64_t writes, bytes;
		int64_t since;
		size_t place; /* from 1; 0: none */
	} tallied;
	/* a sector that straddles spans */
	struct carry *carry; /* [0]: written, [1]: read */
};

/* One server was alive from here to there. */
struct lifetime {
	struct nbds_point from, to;
};

NBDS_VECTOR(lifetimes, struct lifetime);

struct parties {
	struct xport *xports;
	struct nbds_table names; /* of exports */
	struct party_list open;
	struct party_list lingering; /* ended, with writes that a flush may cover yet */
	struct party_list ended;     /* not folded yet, oldest first */
	struct party_list folded;    /* but referred to */
	struct party_list silent;
	/* of those that are not folded */
	struct nbds_op *write_first, *write_last; /* in flight, oldest first */
	uint64_t writes_in_flight;
	uint32_t writers; /* in the lists of all exports of those that wrote */
	uint32_t unresolved, voided;
	uint32_t past_written;          /* exports that folded ones wrote to */
	bool past_fua;                  /* some of it is in force by FUA alone */
	struct nbds_point past_settled; /* the latest past_settled of all exports */
	bool loose;             /* folded connections wrote what will never be in force for all */
	struct lifetimes lives; /* of servers, in the order of their beginnings; no two of
	                         * them overlap for certain */
	uint32_t epoch;
	bool had_party;
	bool others; /* there is another export, or a connection without CAN_MULTI_CONN: what a
	              * flush put in force is not so for all */
	bool hears;  /* the server's first payloads are told */
	bool written;
	struct nbds_party *writer; /* the first connection that wrote; NULL: gone */
	bool many_writers;
	bool completes;     /* nbds_party_complete() is told */
	bool interfaces;    /* the capture has several, */
	bool mixed;         /* and commands were on others than the first one's, */
	uint32_t interface; /* which was this */
};

void party_append(struct party_list *list, enum party_role role, struct nbds_party *p);
void party_prepend(struct party_list *list, enum party_role role, struct nbds_party *p);
/* Behind `prev` (NULL: first). */
void party_insert(struct party_list *list, enum party_role role, struct nbds_party *p,
		  struct nbds_party *prev);
/* Out of the list of this role that it is in, if any. */
void party_unlink(struct nbds_party *p, enum party_role role);

/* If `other` is a write of another command, of the same export, that is in flight: into
 * *out (which may be NULL), if that is NULL. */
void overlapped(struct nbds_op **out, const struct nbds_op *op, struct nbds_op *other);
/* The last reference frees it. */
void op_unref(struct nbds_op *op);

/* It is (NULL: not) on this export, and was shown these flags, if `known`. */
void party_enter(struct nbds_party *p, struct xport *x, uint16_t flags, bool known);

/* A write of its connection is completed. */
void wrote_last(struct nbds_op *op);
/* Those of the trail as one write, into *out, which has no reference. False: there are none. */
bool trail_write(const struct nbds_party *p, unsigned kind, struct nbds_op *out);
/* None of its writes is of interest any more. */
void wrote_nothing(struct nbds_party *p);
/* One of its writes will never be known to be in force. */
void wrote_unresolved(struct nbds_party *p);
/* A failed flush may have dropped one. */
void wrote_voided(struct nbds_party *p);

static inline struct nbds_party *party_next(const struct nbds_party *p, enum party_role role)
{
	return p->links[role].next;
}
/* What the connection is shown of its export is another size, or other flags, than what one
 * was shown before? SEND_DF, and with it what payload block status takes, follow from what
 * each negotiated. */
#define FLAGS_COMPARED (UINT16_MAX & ~(NBD_FLAG_SEND_DF | NBD_FLAG_BLOCK_STATUS_PAYLOAD))
void face_shown(struct nbds_party *p);
/* Was that so at or after `since` (NULL: ever), and not certainly after `upto`? */
bool face_changed(const struct nbds_world *w, const struct xport *x, const struct nbds_point *since,
		  const struct nbds_point *upto);

static inline bool party_mc(const struct nbds_party *p)
{
	return p->known && (p->flags & NBD_FLAG_CAN_MULTI_CONN);
}

#endif
