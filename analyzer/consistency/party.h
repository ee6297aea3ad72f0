/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/party.h - connections and exports of a world.
 *
 *   open ──► ended, then folded into few numbers: past.h
 */
#ifndef NBDS_CONSISTENCY_PARTY_H
#define NBDS_CONSISTENCY_PARTY_H

#include "op.h"

/* The first bytes of a sector whose others are still to come. */
struct carry {
	struct nbds_op *op;
	uint64_t offset; /* of its first byte, in the export */
	uint32_t have;
	uint8_t bytes[NBDS_SECTOR];
};

struct xport {
	struct xport *next;
	char *name;
	size_t name_len;
	struct nbds_op **log; /* successful flushes in order of completion */
	uint32_t *latest;     /* latest[i]: of log[0..i] the one with the greatest lo.time */
	uint32_t log_count, log_room;
	bool flags_differ; /* told */
	/* what connections wrote that are folded */
	bool past_written, past_fua;
	struct nbds_point past_settled; /* it is in force for all that begins later */
};

struct nbds_party {
	struct nbds_world *world;
	struct nbds_party *next;
	struct xport *xport;
	uint32_t id;
	uint32_t ops; /* operations, pasts and withheld findings that refer to it */
	uint16_t flags;
	bool from_start, known, opaque, ended;
	bool left; /* by its caller */
	struct nbds_point end;
	uint64_t size;
	bool size_known;
	bool heard, alive;
	struct nbds_point first_heard; /* the server's first payload */
	uint64_t complete;             /* frame up to which nothing of it is missing */
	struct nbds_point last_alive;  /* the newest request that it answered */
	/* G10 */
	uint64_t writes_in_flight, writes_unresolved;
	bool voided;                                /* a completed write of its was voided */
	struct nbds_op *last_plain, *last_fua;      /* completed, greatest hi */
	struct nbds_op *flight_first, *flight_last; /* writes in flight */
	struct nbds_op *failed_flush;               /* until work goes on */
	bool end_told;
	/* completed and not flushed */
	struct nbds_op **unflushed;
	uint32_t unflushed_count, unflushed_room;
	uint64_t unflushed_over, unflushed_over_bytes;
	uint64_t unflushed_bytes;
	uint64_t unflushed_frame; /* of the first one, once the list is dropped */
	int64_t unflushed_since;
	/* a sector that straddles spans */
	struct carry *carry; /* [0]: written, [1]: read */
};

/* One server was alive from here to there. */
struct lifetime {
	struct nbds_point from, to;
};

#define LIVES_MAX 32u

struct parties {
	struct xport *xports;
	struct nbds_party *open;                  /* or with writes that a flush may cover yet */
	struct nbds_party *ended, **ended_tail;   /* not folded yet, oldest first */
	struct nbds_party *folded, **folded_tail; /* but referred to */
	uint32_t lingering, ended_count;          /* ended: among the open, in `ended` */
	bool loose; /* folded connections wrote what will never be in force for all */
	struct lifetime lives[LIVES_MAX]; /* of servers, shown by folded connections */
	unsigned life_count;
	uint32_t open_count;
	uint32_t epoch;
	bool had_party;
	bool hears; /* the server's first payloads are told */
	bool written;
	struct nbds_party *writer; /* the first connection that wrote; NULL: gone */
	bool many_writers;
	bool completes;     /* nbds_party_complete() is told */
	bool interfaces;    /* the capture has several, */
	bool mixed;         /* and commands were on others than the first one's, */
	uint32_t interface; /* which was this */
};

static inline bool party_mc(const struct nbds_party *p)
{
	return p->known && (p->flags & NBD_FLAG_CAN_MULTI_CONN);
}

#endif
