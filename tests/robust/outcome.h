/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * outcome.h - what the engine says of a capture, in a form to compare.
 *
 * Purpose.  Runs packets, or a file, through the whole way from packets to
 * findings, checks that the numbers add up, and keeps the findings with frame
 * numbers of the whole capture.  outcome_new_violation() and outcome_differs()
 * compare what is said of a damaged capture with what is said of the whole one.
 *
 * Ownership.  An outcome owns its lists; outcome_free() empties it.
 */
#ifndef NBDS_TESTS_ROBUST_OUTCOME_H
#define NBDS_TESTS_ROBUST_OUTCOME_H

#include <nbdscope/engine.h>

#include "packets.h"

struct said {
	const struct nbds_rule *rule;
	enum nbds_severity severity;
	uint32_t connection;
	struct nbds_addr client, server;
	uint64_t frames[NBDS_ROLE_MAX]; /* of the whole capture; 0: none */
	bool has_range, named;
	uint64_t offset, length, count;
	char *export_name, *message;
	size_t export_name_len;
};

struct outcome {
	struct said *list;
	size_t count, room;
	uint64_t messages, message_hash;
	uint64_t held; /* bytes that TCP had to hold back: something was out of order */
	struct nbds_engine_totals totals;
	char wrong[256]; /* numbers that do not add up, or "" */
	/* while it is made */
	const struct packet *packets;
	size_t packet_count;
};

/* The user vouches for all writers, from now on or no more. */
void outcome_exclusive(bool exclusive);
/* `packets` are used during the call only. */
void outcome_of(struct outcome *o, const struct packet *packets, size_t count);
/* Of a file, by its path; `frames` it must have. False, with `wrong` set: it
 * could not be opened. */
bool outcome_of_file(struct outcome *o, const char *path, uint64_t frames);
void outcome_free(struct outcome *o);

/* A violation (or a server called a liar) in `o` that `whole` has not, or NULL. A weaker rule about the same
 * read is no new one: of several rules that a read breaks, the first is told; nor
 * is stale data where `whole` has data that nothing explains. */
const struct said *outcome_new_violation(const struct outcome *o, const struct outcome *whole,
					 uint64_t *weaker);
/* A finding of a protocol rule above note in `o` where `whole` has none of that row, nor
 * one of that level against the same side: what a peer did may be told otherwise where
 * part of it is lost. Or NULL. */
const struct said *outcome_new_breach(const struct outcome *o, const struct outcome *whole);
/* The first suspect or violation in which they differ, or NULL. */
const struct said *outcome_differs(const struct outcome *o, const struct outcome *whole);

#endif
