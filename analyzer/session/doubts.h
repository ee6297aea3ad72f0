/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * doubts.h - violations that wait for other copies of the bytes that they rest on.
 *
 * Who forges a segment need only be the first: the genuine one comes later, and then
 * it cannot be known which of them was received.  So a violation is not told at once,
 * and one that rests on bytes of which two different copies were seen is told as a
 * suspect, with the reason.
 *
 *	message ──► span: where it is in its stream, and which command's it is
 *	                      ▲
 *	conflict in bytes ────┘──► doubt of that command's contents or order; in what
 *	                           frames other bytes, of all since then
 *	violation ──► withheld ──► held against all doubts ──► findings.c
 *
 * Spans of all connections lie in one ring (base/recall.h): what is forgotten there
 * is taken for what frames other bytes, which doubts more than it has to.
 *
 * A doubt of a write ends with the first write of the same connection that was sent
 * after its answer was seen, for all findings that rest on that one.
 *
 * Ownership.  Withheld findings are copies.  Failure.  Without memory to wait with, a
 * violation is told as a suspect.
 */
#ifndef NBDS_SESSION_DOUBTS_H
#define NBDS_SESSION_DOUBTS_H

#include <base/recall.h>
#include <nbdscope/decoder.h>

#include "findings.h"
#include "servers.h"

/* Time to the end of the capture. */
#define DOUBTS_TO_THE_END INT64_MAX

/* A command, or the answer to one, in its stream. */
struct doubt_span {
	uint64_t head, payload;  /* bytes */
	struct nbds_point since; /* the command was not seen before */
	uint64_t request_frame;
	uint64_t reply_frame;    /* 0: not answered yet */
	uint64_t offset, length; /* what it covers of the export */
	bool writes;
};

struct doubt {
	const struct server *server;
	struct nbds_point since;
	uint64_t request_frame, reply_frame; /* 0, 0: of all on the server since then */
	uint64_t offset, length;
	uint64_t span;       /* where the command is remembered, and perhaps its answer's frame */
	uint32_t connection; /* 0: any */
	bool writes;
	bool talk; /* only of what the two sides of the connection said to each other */
};

struct withheld_finding {
	struct withheld_finding *next;
	struct nbds_finding *finding;
	const struct server *server;
	int64_t since; /* capture time */
};

struct doubts {
	struct nbds_budget *budget;
	struct findings *findings;
	int64_t patience; /* ns that a violation waits, or DOUBTS_TO_THE_END */
	struct nbds_recall spans;
	NBDS_VECTOR(, struct doubt) list;
	bool lost; /* one is missing there, for want of memory */
	struct withheld_finding *first, **tail;
	uint32_t count;
};

/* The members up to `patience` are set by the caller. `ring`: bytes for spans. */
void doubts_init(struct doubts *all, uint64_t ring);
void doubts_free(struct doubts *all);

/* A message of a command at `at` of its stream, whose spans are `chain`. Returns where
 * it is remembered, for doubts_answered(). */
uint64_t doubts_span(struct doubts *all, uint64_t *chain, uint64_t at,
		     const struct doubt_span *span);
/* The command was answered. */
void doubts_answered(struct doubts *all, uint64_t span, uint64_t reply_frame);

/* Bytes of a stream are in doubt that were seen at `first` or later: single commands if
 * they are all payload, else all since then. */
void doubts_bytes(struct doubts *all, const struct server *server, uint32_t connection,
		  uint64_t chain, uint64_t from, uint64_t to, const struct nbds_point *first);
/* What commands whose messages touch these bytes acknowledged is in doubt, and when they
 * were sent; and so it is of all in their frame, which is that of `first`. If not
 * `commands`, only of what is no message of a command; there the order of all that was
 * said since then is in doubt. */
void doubts_order(struct doubts *all, const struct server *server, uint32_t connection,
		  uint64_t chain, uint64_t from, uint64_t to, const struct nbds_point *first,
		  bool commands);

/* Takes in a finding about a server (NULL: no server yet): a violation waits. */
void doubts_tell(struct doubts *all, const struct server *server, const struct nbds_finding *f);
/* Tells those that waited long enough, or `whole`: all. */
void doubts_pass(struct doubts *all, int64_t now, bool whole);

#endif
