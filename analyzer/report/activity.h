/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/activity.h - what happened when: for charts, and around findings.
 *
 * Purpose.  Follows the commands of all connections as they are answered, in memory that
 * does not grow with the capture:
 *   - over time, how much was read and written, how long it took and how much was not
 *     flushed.  There is a fixed number of spans of time, each as wide as the others; once
 *     the capture is longer than all of them together, two become one;
 *   - which offsets were touched when, of the first few exports: cells of a time and a
 *     range, which widen in the same way;
 *   - the latest commands in one ring, so that a picture of a finding shows what else went
 *     on around it.
 *
 *	spans  [0][1][2][3] ... [255]      full: [0+1][2+3] ... [254+255] [ ] ... [ ]
 *	ops    ... w r r F w r (newest)    the oldest is overwritten
 *
 * Ownership.  Owns all of it, counted in its budget.  Failure.  Without memory, or beyond
 * the budget's limit, less is kept: `short_of` says so.
 *
 * Example.
 *	activity_init(&a, limit);
 *	activity_begin(&a);                     a capture begins
 *	activity_connection(&a, c, start);
 *	activity_request(&a, c, m); activity_reply(&a, c, m);
 *	activity_finding(&a, f);
 *	activity_end(&a); ... read ...
 *	activity_free(&a);
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_ACTIVITY_H
#define NBDSCOPE_ANALYZER_REPORT_ACTIVITY_H

#include <base/list.h>
#include <base/table.h>
#include <base/vector.h>
#include <nbdscope/engine.h>

enum activity_kind { ACTIVITY_READ, ACTIVITY_WRITE, ACTIVITY_FLUSH, ACTIVITY_KINDS };

#define ACTIVITY_SPANS 256
struct activity_span {
	uint64_t bytes[2]; /* of successful READs, and of WRITEs, by enum activity_kind */
	uint64_t answered, failed;
	struct nbds_latency *latency[ACTIVITY_KINDS]; /* NULL: none was answered */
	uint64_t unflushed, unflushed_last; /* bytes: the most at a time, and at its end */
	uint64_t findings[4];               /* by enum nbds_severity */
	bool unflushed_seen;                /* false: as before */
};

#define ACTIVITY_MAPS    8
#define ACTIVITY_RANGES  64
#define ACTIVITY_COLUMNS (ACTIVITY_SPANS / 2)
struct activity_map {
	uint32_t export; /* its number: it may be forgotten before this is shown */
	uint64_t range;  /* bytes that a row is wide, a power of two */
	uint64_t most;   /* the greatest offset that was touched */
	uint32_t *cells; /* [ACTIVITY_COLUMNS][ACTIVITY_RANGES][2]: read, and written */
};

/* A command that was answered. */
struct activity_op {
	uint64_t request_frame, reply_frame;
	int64_t request_time, reply_time;
	uint64_t offset, length;
	uint32_t export; /* its number, or 0 */
	uint32_t connection;
	uint16_t type, flags; /* NBD_CMD_*, command flags */
	bool failed;
};

/* Commands around a finding. */
#define ACTIVITY_AROUND 24
struct activity_story {
	struct nbds_finding finding; /* without what its pointers point to */
	uint64_t due;                /* once so many commands were answered, it is looked around */
	struct activity_op *ops;     /* in order of their requests */
	unsigned count;
};

struct activity {
	struct nbds_budget budget;
	int64_t start; /* ns, of the first span */
	int64_t width; /* ns, of a span */
	bool started;
	bool short_of;               /* something is not there, for want of memory */
	struct activity_span *spans; /* ACTIVITY_SPANS; NULL: no memory */
	unsigned used;               /* of them */
	struct activity_map maps[ACTIVITY_MAPS];
	unsigned map_count;
	bool more_maps; /* exports that there is no map of */

	struct activity_op *ops; /* the ring: op number n is at n % room */
	uint64_t op_count, room;

	NBDS_VECTOR(activity_stories, struct activity_story) stories;
	size_t next_story;      /* the first that was not looked around for */
	uint32_t *story_counts; /* by place of the rule and by level */

	struct nbds_list conns;   /* what is kept of connections that are open */
	struct nbds_table levels; /* what is unflushed, by export */
	struct nbds_hash_key key;
	uint64_t unflushed; /* bytes, of all */
};

void activity_init(struct activity *a, uint64_t limit);
void activity_free(struct activity *a);
/* Forgets what was: a capture begins. */
void activity_begin(struct activity *a);
/* What comes from the engine: its callbacks `connection`, `end`; `message` with a request;
 * `message_end` with a final reply that came whole. Uses `c->user`. `start`: the capture's
 * first time, from which the spans begin. */
void activity_connection(struct activity *a, struct nbds_connection *c, int64_t start);
void activity_closed(struct activity *a, struct nbds_connection *c);
void activity_request(struct activity *a, struct nbds_connection *c, const struct nbds_message *m);
void activity_reply(struct activity *a, struct nbds_connection *c, const struct nbds_message *m);
/* `place`: of its rule in nbds_rules. */
void activity_finding(struct activity *a, const struct nbds_finding *f, size_t place);
/* The capture is over: what was waited for will not come. */
void activity_end(struct activity *a);

/* What was kept around this finding; NULL: nothing. */
const struct activity_story *activity_around(const struct activity *a,
					     const struct nbds_finding *f);
/* When it happened: the end of what shows it, else when it was certain. */
int64_t activity_moment(const struct nbds_finding *f);
/* How many findings of one rule and level are looked around for. */
unsigned activity_stories_of(enum nbds_severity severity);

#endif
