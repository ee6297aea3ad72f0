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
 * Time.  A message marks its track, and nothing else happens then.  When a snapshot
 * is made, the tracks that were marked are looked at; once a second, or if they are few,
 * also those of their exports that wait or have not flushed, as well as those whose rates
 * are not zero.  An export's sums change by what a connection's row has changed.  Nothing walks
 * over all connections.
 *
 * Memory.  Counted in `budget`.  Connections that have ended are forgotten when there
 * are too many, the oldest first, and so are exports without any; what is drawn of
 * flush order (some 100 KiB an export) is kept for so many exports that had writes or
 * flushes last.
 *
 * Ownership.  Belongs to the thread that captures.  rows_free() ends it.
 * Failure.  Without memory a connection has no track, and is not listed.
 */
#ifndef NBDSCOPE_TUI_ROWS_H
#define NBDSCOPE_TUI_ROWS_H

#include <base/list.h>
#include <base/table.h>
#include <base/vector.h>

#include "dirty.h"
#include "history.h"
#include "model.h"

struct counters {
	uint64_t replies, read, written;
};

/* What a connection adds to its export's row. */
struct row_share {
	uint64_t requests, errors, in_flight, read, written;
	uint64_t unflushed_writes, unflushed_bytes;
	struct speed speed;
	bool open, rough, flight_doubt, unflushed_doubt;
};

struct track {
	struct nbds_connection *c;
	struct export_track *x;
	bool forget;
	struct counters before; /* at the last second */
	struct row_share share; /* as it is in the sums */
	struct dirty_owner dirty;
	uint64_t logged[2];    /* by enum nbds_side: the entry of the message that comes */
	uint64_t flying;       /* requests that wait, of those counted in its export */
	uint64_t lost_frame;   /* where bytes of it were lost last; 0: nowhere */
	uint64_t lost_flight;  /* of the requests that waited then, those that still do */
	bool whole;            /* a request from after it was answered */
	uint64_t flushed_from; /* request of the last flush that succeeded */
	struct connection_row row;
	struct nbds_table_node by_id;
	struct nbds_list all;      /* by id */
	struct nbds_list marked;   /* since the last snapshot */
	struct nbds_list busy;     /* since the last second */
	struct nbds_list finished; /* in the order of their ends */
	struct nbds_list member;   /* of its export */
	struct nbds_list open_end; /* of its export: waits, or has not flushed */
	struct nbds_list flusher;  /* of its export: has flushed */
	struct nbds_list doubtful; /* of its export: lost bytes since a flush covered all */
};

struct export_track {
	const struct nbds_export *e; /* NULL: all its connections are forgotten */
	char *name;
	size_t name_len;
	struct nbds_list members;   /* tracks */
	struct nbds_list open_ends; /* of them */
	struct nbds_list doubtful;  /* of them, the one that lost bytes last at the end */
	struct nbds_list flushers;  /* of them, the one that flushed last at the end */
	size_t open_end_count;
	struct flush_order *order;
	struct history *history;      /* there if `order` is */
	uint64_t flying;              /* requests that wait, at this moment */
	struct nbds_list ordered;     /* those with one, the one that was used last at the end */
	struct nbds_latency *latency; /* of all replies; NULL: none yet */
	struct nbds_latency *took[NBDS_COMMAND_KINDS]; /* of each kind */
	struct nbds_list marked;
	struct nbds_list gone;
	struct nbds_table_node by_name;
	struct dirty_map dirty;
	uint64_t lost_frame, flushed_from;               /* of any of its connections, as there */
	unsigned rough, flight_doubts, unflushed_doubts; /* connections */
	bool flushed;                                    /* since its open ends were looked at */
	bool stale;      /* how old the oldest of them is, is not known */
	unsigned speedy; /* connections with rates */
	struct {
		uint64_t writes, flushes, fua;
	} past; /* before the engine began to count anew */
	struct export_row row;
};

NBDS_VECTOR(export_vector, struct export_track *);

struct rows {
	struct nbds_budget budget;
	struct nbds_hash_key key;
	struct nbds_table by_id, by_name;
	struct nbds_list all, marked, busy, finished; /* tracks */
	struct dirty_store dirty;
	size_t count, finished_count, finished_max;
	size_t listed_max;            /* rows in a snapshot when nothing more will come */
	struct export_vector exports; /* by id of their rows */
	struct nbds_list exports_marked, gone, ordered;
	size_t gone_count, ordered_count, ordered_max;
	bool moves; /* live: of a history the oldest part goes */
	uint32_t export_ids;
	uint64_t connections_forgotten;
	struct latency_sum merged; /* for its memory */
	/* Of all replies of a kind, also of connections that are forgotten. */
	struct nbds_latency *took[NBDS_COMMAND_KINDS];
};

/* How much is kept, by the memory that there is for it, and by what the user asked
 * for: `finished` connections. */
void rows_init(struct rows *rows, uint64_t memory, size_t finished);
void rows_free(struct rows *rows);

/* A connection is there: its track, which it has as its `user`. */
struct track *rows_add(struct rows *rows, struct nbds_connection *c);
/* NULL: none (any more). */
struct track *rows_track(const struct rows *rows, uint32_t connection);
struct export_track *rows_export(const struct rows *rows, uint32_t export);
/* Something of it has changed. */
void rows_mark(struct rows *rows, struct track *t);
/* It has ended. */
void rows_end(struct rows *rows, struct track *t);
/* The track of its export, once it is known. */
struct export_track *track_export(struct rows *rows, struct track *t);
/* What the flush order shows of an export; made when it is asked for first. */
struct flush_order *export_order(struct rows *rows, struct export_track *x);
/* A request of the connection, or the final reply to one that was sent in frame `sent`,
 * `took` ns after it. */
void track_history(struct rows *rows, struct track *t, const struct nbds_message *m, uint64_t sent,
		   uint64_t took, bool ok);
/* The time that histories have come to, once a second. */
void rows_tick(struct rows *rows, int64_t now);
/* A final reply of the connection came after so many ns. */
void track_took(struct rows *rows, struct track *t, uint16_t type, uint64_t ns);
/* A flush of the connection was sent. */
void track_flush_sent(struct track *t, uint64_t frame);
/* It was answered. `ok`: without an error, and what others have not flushed may be less.
 * `sent`: when, NULL: not known. */
void track_flushed(struct rows *rows, struct track *t, int64_t time, bool ok,
		   const struct nbds_mark *sent);
/* A write was answered without error. */
void track_written(struct rows *rows, struct track *t, const struct nbds_request *r,
		   const struct nbds_mark *when);
/* Bytes of the connection were lost, and messages with them. */
void track_lost(struct rows *rows, struct track *t, uint64_t frame);
/* A request that was sent in `frame` got its final reply, or is waited for no more. */
void track_answered(struct track *t, uint64_t frame, bool reply);

/* Brings rows and sums up to date. `second`: rates and latencies too, over so many
 * seconds, or over the whole life of each connection. */
void rows_refresh(struct rows *rows, bool second, double seconds, bool whole);

/* There are so many finished connections that some should go before a second is over. */
bool rows_crowded(const struct rows *rows);
/* Finished connections go, the oldest first: those beyond the most that are kept, those
 * that ended long before `now` (INT64_MIN: age does not matter). */
void rows_age(struct rows *rows, struct nbds_engine *engine, int64_t now);

#endif
