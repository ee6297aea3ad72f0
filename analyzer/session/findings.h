/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * findings.h - how often a rule was broken on a connection, and what is told of it.
 *
 * The first findings of a rule on a connection are told as they come.  Of more, the
 * last that would have been told is kept, and told at the end with how many it
 * stands for.  A rule that is a habit (`collapse`) is told once, and at the end; one
 * that is `summed` only at the end, with the heaviest of its findings.
 *
 *	table ──► teller of connection 7 ──► [rule, count, last] [rule, ...]
 *
 * Ownership.  Findings that are kept are copies.  Failure.  Without memory a finding
 * is told instead of counted; so is one of a connection that was forgotten.
 */
#ifndef NBDS_SESSION_FINDINGS_H
#define NBDS_SESSION_FINDINGS_H

#include <base/table.h>
#include <base/vector.h>
#include <nbdscope/counts.h>
#include <nbdscope/finding.h>

/* Those of a level; what ranks lower is not to hide what ranks higher, nor to count as it. */
struct repeat {
	const struct nbds_rule *rule;
	enum nbds_severity severity;
	uint64_t count;
	struct nbds_finding *last; /* told at the end */
};

struct teller {
	struct nbds_table_node node;
	uint32_t connection;
	uint32_t waiting;                     /* findings that will be told later; */
	bool ended;                           /* with the last of them it goes */
	NBDS_VECTOR(, struct repeat) repeats; /* in the order of rules and levels */
};

struct findings {
	struct nbds_table table; /* of tellers, by connection */
	struct nbds_hash_key key;
	struct nbds_budget *budget;
	void (*deliver)(void *ctx, const struct nbds_finding *f); /* or NULL */
	bool (*wanted)(void *ctx, const struct nbds_finding *f);  /* or NULL: all are */
	void *ctx;
	/* False: the connection was forgotten, and will not end again. NULL: never. */
	bool (*known)(const void *engine, uint32_t connection);
	const void *engine;
	uint64_t count[4];          /* delivered, by enum nbds_severity */
	struct nbds_counts *counts; /* of all, at once; or NULL */
};

void findings_tell(struct findings *all, const struct nbds_finding *f);
/* So many more (or fewer) findings about the connection will be told later. False: no
 * memory. */
bool findings_wait(struct findings *all, uint32_t connection, int more);
/* Whether some will. */
bool findings_waits(const struct findings *all, uint32_t connection);
/* Tells what was kept of the connection, now and after the last that waits, and begins
 * anew with it. */
void findings_end(struct findings *all, uint32_t connection);
void findings_free(struct findings *all);

#endif
