/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/rows.h - the rows of the lists, and the sums in them.
 *
 * Purpose.  Beside each connection and each export of the engine a track keeps
 * what a row shows and the engine does not have, such as the counters of a second
 * ago.  Sums of connections that are forgotten stay in their export's track.
 *
 *	 engine:   connection ──► export        ends, and is forgotten
 *	               │ user        │ (e)
 *	 here:       track ───────► export_track ◄── past: sums of what is forgotten
 *
 * Ownership.  Belongs to the thread that captures.  rows_free() ends it.
 * Failure.  Without memory a connection has no track, and is not listed.
 */
#ifndef NBDSCOPE_TUI_ROWS_H
#define NBDSCOPE_TUI_ROWS_H

#include <base/vector.h>

#include "histogram.h"
#include "model.h"

struct counters {
	uint64_t replies, read, written;
};

struct track {
	struct nbds_connection *c;
	struct export_track *x;
	bool dirty, forget;
	struct counters before; /* at the last second */
	struct connection_row row;
};

struct export_track {
	const struct nbds_export *e; /* NULL: all its connections are forgotten */
	char *name;
	size_t name_len;
	unsigned tracks; /* that point here */
	struct order *order;
	struct {
		unsigned connections;
		uint64_t requests, errors, read, written;
		uint64_t writes, flushes, fua; /* before the engine began to count anew */
	} past;                                /* of connections that are forgotten */
	struct export_row row;
};

NBDS_VECTOR(track_vector, struct track *);
NBDS_VECTOR(export_vector, struct export_track *);

struct rows {
	struct nbds_budget budget;
	struct track_vector tracks;   /* by id */
	struct export_vector exports; /* in order of arrival */
	size_t exports_gone;          /* among them */
	uint32_t export_ids;
	size_t finished; /* connections among the tracks */
	size_t finished_max;
	uint64_t connections_forgotten;
	struct latency_sum past[NBDS_COMMAND_KINDS]; /* of connections that are forgotten */
};

void rows_free(struct rows *rows);

/* A connection is there: its track, which it has as its `user`. */
struct track *rows_add(struct rows *rows, struct nbds_connection *c);
/* NULL: none (any more). */
struct track *rows_track(const struct rows *rows, uint32_t connection);
struct export_track *rows_export(const struct rows *rows, uint32_t export);
/* The track of its export, once it is known. */
struct export_track *track_export(struct rows *rows, struct track *t);
/* What the flush order shows of an export; made when it is asked for first. */
struct order *export_order(struct rows *rows, struct export_track *x);

/* Brings rows and sums up to date. `second`: rates and latencies too, over so many
 * seconds, or over the whole life of each connection. */
void rows_refresh(struct rows *rows, bool second, double seconds, bool whole);

/* Finished connections go, the oldest first: those beyond `finished_max`, those
 * that ended long ago, or all. */
void rows_age(struct rows *rows, struct nbds_engine *engine, int64_t now, bool all);
/* Of exports all of whose connections are forgotten, this many stay. */
void rows_thin(struct rows *rows, size_t most);

#endif
