/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/hazards.h - what is legal, and dangerous, and needs no
 * judgement of contents.
 */
#ifndef NBDS_CONSISTENCY_HAZARDS_H
#define NBDS_CONSISTENCY_HAZARDS_H

#include "quiet.h"

/* A write whose answer will never be known; its offset is here for a quick search. */
struct unanswered {
	uint64_t offset;
	struct nbds_op *op;
};

struct hazards {
	struct unanswered *unanswered; /* writes whose answer will never be known: the newest,
	                                * of `unanswered_count` ever, in a ring */
	uint64_t unanswered_count;
};

void hazard_export(struct nbds_party *p);
void hazard_request(struct nbds_op *op);
void hazard_written(struct nbds_op *op);
void hazard_reply(struct nbds_op *op);
void hazard_overlap(struct nbds_op *op, const struct nbds_op *other);
void hazard_party_end(struct nbds_party *p);
void hazard_finish(struct nbds_world *w);
void hazard_free(struct nbds_world *w);
/* Adds a command to the finding's witnesses. */
void witness_add(struct nbds_finding *f, enum nbds_role role, const struct nbds_op *op);
/* Tells that p ended with writes that nothing flushed. */
void unflushed_end(struct nbds_party *p);

#endif
