/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/hazards.h - what is legal, and dangerous, and needs no
 * judgement of contents.
 */
#ifndef NBDS_CONSISTENCY_HAZARDS_H
#define NBDS_CONSISTENCY_HAZARDS_H

#include "contents.h"

struct hazards {
	struct nbds_table places; /* writes by what they cover: those in flight, and */
	NBDS_VECTOR(, struct nbds_op *) unanswered; /* those whose answer will never be known */
	uint64_t unanswered_next; /* of these the next to go, once they are too many */
};

void hazard_export(struct nbds_party *p);
void hazard_request(struct nbds_op *op);
void hazard_written(struct nbds_op *op);
void hazard_reply(struct nbds_op *op);
/* Answered before its payload (V7). `sure`: what came after it shows that its length is
 * right. */
void hazard_early(const struct nbds_op *op, bool sure);
void hazard_overlap(struct nbds_op *op, const struct nbds_op *other);
void hazard_party_end(struct nbds_party *p);
void hazard_finish(struct nbds_world *w);
void hazard_free(struct nbds_world *w);
/* Adds a command to the finding's witnesses. */
void witness_add(struct nbds_finding *f, enum nbds_role role, const struct nbds_op *op);
/* Tells that p ended with writes that nothing flushed. */
void unflushed_end(struct nbds_party *p);

#endif
