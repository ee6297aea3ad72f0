/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plan.h - where in a capture the messages are that may belong to a proof.
 *
 * Purpose.  Goes through the capture once more, with an engine that says the same as the
 * one before, and notes of the connections that are near to a finding where in their
 * streams the messages lie that a proof may need.  What they are needed for is noted with
 * each, so that more or less can be taken of them; a request, and all that answers it, go
 * together.
 *
 *	stream of the client   [option][option][request 1]......[request 7]..........
 *	stream of the server   [greeting][reply][reply].....[answer 1]...[answer 7]..
 *	                       handshake         witness    beside it    not noted
 *
 * Ownership.  The plan owns all that it notes, counted in its budget.  Failure.  False and
 * one line in `err`.
 */
#ifndef NBDSCOPE_ANALYZER_EVIDENCE_PLAN_H
#define NBDSCOPE_ANALYZER_EVIDENCE_PLAN_H

#include <base/list.h>
#include <base/table.h>
#include <base/vector.h>
#include <nbdscope/engine.h>

#include "mask.h"

struct plan_op;

/* How near a connection is to the finding. */
enum nbds_tier {
	NBDS_TIER_FAR,
	NBDS_TIER_SERVER, /* of the same host */
	NBDS_TIER_EXPORT, /* of the same export */
	NBDS_TIER_WITNESS,
};

/* What a message may be needed for. */
enum {
	NBDS_FOR_NUMBERS = 1,    /* that the connection is one, and has its number */
	NBDS_FOR_HANDSHAKE = 2,  /* what was negotiated */
	NBDS_FOR_WITNESS = 4,    /* the finding speaks of it */
	NBDS_FOR_RANGE = 8,      /* of the same place; flushes; what failed */
	NBDS_FOR_UNFLUSHED = 16, /* all that writes, on connections of the finding */
	NBDS_FOR_END = 32,       /* how the connection ends, and what is not answered then */
	NBDS_FOR_ALL = 64,       /* nothing: it is noted because all is */
};

/* A message in a stream. */
struct nbds_piece {
	int dir;
	uint64_t from, to; /* bytes of the stream of its direction */
	uint64_t frame;    /* of its first byte */
	unsigned use;      /* NBDS_FOR_* */
	char *words;       /* what it is, for people */
	/* to mask it: */
	uint8_t *head; /* its first head_len bytes, masked, and behind them as they are;
	                * NULL: not */
	uint32_t head_len;
	enum nbds_payload payload;
	uint64_t device;   /* payload is contents: where they are in the export */
	uint64_t *digests; /* of each sector of it that is whole */
	uint8_t *whole;    /* which of them are */
	size_t sectors;
	uint8_t *sector; /* one that is coming, */
	uint32_t filled; /* so many bytes of it */
};
NBDS_VECTOR(nbds_pieces, struct nbds_piece *);

struct nbds_plan_flow {
	struct nbds_list all;
	struct nbds_addr ends[2]; /* by direction */
	size_t place;             /* in the plan, from 0 */
	uint32_t id;              /* of the connection; 0: none */
	enum nbds_tier tier;
	uint64_t first_frame, last_frame;
	int client; /* its direction */
	bool based[2];
	uint32_t base[2];             /* sequence number of the first byte of each stream */
	struct nbds_pieces pieces[2]; /* by place, once the plan is made */

	/* while the plan is made */
	struct nbds_feed_flow *feed;
	struct nbds_table pending;     /* requests without a final reply, */
	struct nbds_list waiting;      /* and in order */
	struct nbds_piece *current[2]; /* the message that goes on in each direction; NULL: it is
	                                * not noted, */
	struct plan_op *current_op[2]; /* and what it belongs to */
};

/* By both addresses, and then by the beginning. */
struct nbds_plan_end {
	uint64_t hash, first_frame;
	struct nbds_plan_flow *flow;
};

struct nbds_plan {
	const struct nbds_engine_config *engine;
	const struct nbds_finding *finding;
	struct nbds_mask *mask; /* NULL: nothing is masked */
	bool everything;        /* note all messages of all connections */

	struct nbds_budget budget; /* past its limit only what the finding names is noted */
	struct nbds_hash_key seed;
	NBDS_VECTOR(nbds_plan_ends, struct nbds_plan_end) by_ends; /* in order */
	struct nbds_list flows;
	size_t flow_count;
	uint8_t *tiers; /* by connection */
	uint32_t tier_count;
	uint32_t last_id;  /* of a connection in the proof */
	uint64_t cutoff;   /* the last frame that the finding names, or that answers what it names;
	                    * 0: none */
	uint64_t answered; /* while it is made: where a request at fault was answered */
	uint64_t *counts;  /* findings, by rule, four levels each */
	bool seen;         /* the finding itself */
	uint64_t frames, bytes;
	bool failed;

	/* while it is made */
	const struct nbds_segment *segment;
	struct nbds_plan_flow *touched; /* where its numbers begin is not known */
	int touched_dir;
};

/* Which connections matter is asked of the engine that told the finding. All stay the
 * caller's. False without memory. */
bool nbds_plan_init(struct nbds_plan *plan, struct nbds_engine *told,
		    const struct nbds_engine_config *config, const struct nbds_finding *finding,
		    struct nbds_mask *mask, bool everything);
/* Reads the capture of the open file, from where it stands; the descriptor becomes the plan's. */
bool nbds_plan_make(struct nbds_plan *plan, int fd, char *err, size_t errsize);
void nbds_plan_free(struct nbds_plan *plan);

/* The flow that a segment of frame `frame` belongs to, and the direction; NULL: none of
 * the connections that were noted. */
struct nbds_plan_flow *nbds_plan_find(const struct nbds_plan *plan, const struct nbds_segment *s,
				      uint64_t frame, int *dir);

#endif
