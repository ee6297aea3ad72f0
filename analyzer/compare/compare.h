/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * compare.h - what an earlier report had, and what this one has.
 *
 * Purpose.  Whoever runs the same test again wants to know what is new.  A finding is the
 * same as an earlier one if it breaks the same rule at the same level, by the same side and
 * command, of the same bytes of the same export, and if its witnesses are on connections
 * that relate in the same way (the write's is the flush's, and not the read's); whatever the
 * frames, times and numbers of connections are.  Two such ones are two: each earlier one
 * accounts for one.  Latencies and flushes are gathered for each export by its name.
 *
 *	earlier report ─► nbds_compare_earlier() ...          by baseline/baseline.c
 *	this report    ─► nbds_compare_known() ...            by report/
 *	               ─► new ones; nbds_compare_gone(): those that are left
 *
 * Several captures are counted from 1 and compared each with its own.
 *
 * Ownership.  All strings are copied.  Failure.  False without memory.
 */
#ifndef NBDSCOPE_ANALYZER_COMPARE_H
#define NBDSCOPE_ANALYZER_COMPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/finding.h>

struct nbds_compare;

struct nbds_compare *nbds_compare_new(void);
void nbds_compare_free(struct nbds_compare *c);

/* Where the earlier report is from: its file, the version that wrote it. */
bool nbds_compare_name(struct nbds_compare *c, const char *file, const char *version);
const char *nbds_compare_file(const struct nbds_compare *c);
const char *nbds_compare_version(const struct nbds_compare *c);
/* The next capture of the earlier report begins. */
bool nbds_compare_capture(struct nbds_compare *c);
unsigned nbds_compare_captures(const struct nbds_compare *c);

/* What a finding is. Strings may be NULL; `export` is the name as JSON writes it. */
struct nbds_compare_finding {
	const char *rule, *severity, *side, *command, *export;
	bool has_range;
	uint64_t offset, length;
	struct {
		const char *role;
		uint64_t connection;
	} witnesses[NBDS_WITNESSES_MAX];
	unsigned witness_count;
	/* for people */
	const char *ref, *message;
	uint64_t frame; /* that shows it; 0: none */
};

/* The earlier report's capture `capture` had this `count` times. */
bool nbds_compare_earlier(struct nbds_compare *c, unsigned capture,
			  const struct nbds_compare_finding *f, uint64_t count);
/* This report has it `count` times: how many of these the earlier one accounts for. */
uint64_t nbds_compare_known(struct nbds_compare *c, unsigned capture,
			    const struct nbds_compare_finding *f, uint64_t count);
/* The earlier report's that this one does not have, in its order; *count of them. NULL:
 * no more. `at` begins with 0. */
const struct nbds_compare_finding *nbds_compare_gone(const struct nbds_compare *c, unsigned capture,
						     size_t *at, uint64_t *count);
/* Findings so far, by level. */
struct nbds_compare_counts {
	uint64_t fresh[4], known[4]; /* of this report */
};
void nbds_compare_counts(const struct nbds_compare *c, unsigned capture,
			 struct nbds_compare_counts *counts);

/* One kind of command on an export, over its connections.  Percentiles of several
 * connections cannot be added: p50 is their mean, by replies, p99 the highest. */
struct nbds_compare_command {
	uint64_t count, replies, errors, bytes;
	double p50, p99, max; /* microseconds */
};
struct nbds_compare_side {
	bool there; /* the report has the export */
	uint64_t writes, flushes, fua_writes, unflushed_writes, unflushed_bytes;
};
#define NBDS_COMPARE_COMMANDS 10 /* kinds of commands that are told apart */
enum { NBDS_EARLIER, NBDS_NOW };
struct nbds_compare_export {
	const char *name;                            /* as JSON writes it */
	struct nbds_compare_side side[2];            /* NBDS_EARLIER, NBDS_NOW */
	const char *commands[NBDS_COMPARE_COMMANDS]; /* NULL: no more */
	struct nbds_compare_command command[2][NBDS_COMPARE_COMMANDS];
};

/* Adds what a connection did, and what an export had. Of more exports than
 * NBDS_COMPARE_EXPORTS no account is kept. */
#define NBDS_COMPARE_EXPORTS 4096
bool nbds_compare_add_command(struct nbds_compare *c, unsigned capture, int side,
			      const char *export, const char *command,
			      const struct nbds_compare_command *what);
bool nbds_compare_add_side(struct nbds_compare *c, unsigned capture, int side, const char *export,
			   const struct nbds_compare_side *what);
/* The `n`-th export, from 0; NULL: no more. */
const struct nbds_compare_export *nbds_compare_export(const struct nbds_compare *c,
						      unsigned capture, size_t n);

#endif
