/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/model.h - the thread that captures, and what it shows to the one that draws.
 *
 * Purpose.  A worker runs a pipeline (a file, a file in its own time, or an
 * interface) on its own thread.  At most ten times a second it makes a snapshot,
 * plain values that nobody changes any more, and puts it where the screen can take
 * it.  Neither waits for the other: the lock is held for the exchange of two
 * pointers.
 *
 *	 worker:  [being made] ──exchange──► [ready]
 *	 screen:                             [ready] ──exchange──► [shown]
 *
 * Memory is bounded while a live capture runs: finished connections are forgotten
 * after a while (their totals stay in the export's), messages and findings are kept
 * up to a number.
 *
 * Ownership.  A snapshot taken belongs to the screen until it takes the next one.
 * Failure.  worker_start() returns NULL with one line in `err`; what goes wrong
 * later is in the snapshot.
 */
#ifndef NBDSCOPE_TUI_MODEL_H
#define NBDSCOPE_TUI_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include <base/list.h>
#include <nbdscope/engine.h>

#include "../analyzer/pipeline/pipeline.h"
#include "../analyzer/report/buf.h"
#include "histogram.h"
#include "history.h"
#include "log.h"
#include "order.h"
#include "pick.h"

/* Commands that have columns of their own. */
enum kind { KIND_READ, KIND_WRITE, KIND_FLUSH, KIND_COUNT };

struct speed {
	double requests, read, written; /* a second; bytes */
};

struct took {
	uint64_t count, p50, p99, max; /* ns */
};

struct connection_row {
	uint32_t id, export; /* export: id of its row, 0: none (yet) */
	struct nbds_addr client, server;
	char export_name[48]; /* printable, cut */
	enum nbds_connection_end end;
	bool ended, sure, from_start;
	bool opaque; /* inside TLS, and not read */
	struct nbds_negotiated negotiated;
	uint64_t requests, replies, errors, max_in_flight, gaps;
	/* What a loss left unanswered is not in it, nor in `oldest`. */
	uint64_t in_flight;
	bool flight_doubt;      /* replies were lost, and none has come since to a later request */
	bool unflushed_doubt;   /* something was lost since the last flush that covered all */
	uint64_t read, written; /* bytes */
	uint64_t unflushed_writes;
	uint64_t unflushed_bytes; /* different ones, of which this connection wrote last */
	bool unflushed_rough;     /* some may be counted twice */
	int64_t unflushed_since;  /* ns; unflushed_writes > 0 */
	int64_t first_time, last_time;
	uint64_t first_frame, last_frame;
	bool waiting; /* `oldest` is the request that waits for longest */
	struct nbds_outstanding oldest;
	struct speed speed;
	struct took took[KIND_COUNT], all; /* all: of every command */
	uint64_t findings[4];              /* by enum nbds_severity */
};

struct export_row {
	uint32_t id;
	char name[96]; /* printable, cut */
	struct nbds_addr server;
	bool size_seen;
	uint64_t size;
	int multi_conn; /* as in struct nbds_export */
	uint16_t transmission_flags;
	unsigned connections, open;
	uint64_t requests, errors, in_flight, writes, flushes, fua;
	uint64_t read, written;
	uint64_t unflushed_writes, unflushed_bytes;
	bool unflushed_rough, flight_doubt, unflushed_doubt; /* as those of a connection */
	int64_t unflushed_since;
	bool flushed; /* last_flush is known */
	int64_t last_flush;
	bool waiting;
	int64_t oldest_since; /* of the request that waits for longest */
	struct speed speed;
	struct took took; /* of every command */
	uint64_t findings[4];
};

struct flush_shown {
	uint32_t connection;
	struct nbds_flush_seen flush;
};

/* A finding, shared by snapshots. */
struct found {
	unsigned refs;
	struct nbds_list kept;
	uint64_t number; /* from 1, in order of arrival */
	uint32_t export;
	struct nbds_finding *finding;
};

enum scope { SCOPE_ALL, SCOPE_EXPORT, SCOPE_CONNECTION };

/* What the screen wants to see in detail. */
struct wanted {
	uint32_t export;     /* flush order and flushes of this export, or 0 */
	uint32_t connection; /* detail of this connection, or 0 */
	uint32_t history;    /* of this export, or 0 */
	bool latency;        /* histograms of: */
	enum scope scope;
	uint32_t scope_id;
};

enum worker_state {
	STATE_LOADING, /* a file is read */
	STATE_LIVE,
	STATE_REPLAY,
	STATE_DONE,   /* all is read */
	STATE_FAILED, /* reading ended with an error, see `error` */
};

#define OUTSTANDING_SHOWN 32
#define FLUSHES_SHOWN     128

struct snapshot {
	uint64_t serial; /* another one: something may have changed */
	enum worker_state state;
	bool cancelled; /* the user stopped the reading */
	bool piped;     /* what is live comes from another program, that knows what it drops */
	bool relayed;   /* it comes from a relay of this program, that drops from its view only */
	bool finite;    /* rates are those of all the time, as nothing will come */
	char error[512];
	char notice[256];   /* e.g. why a file could not be written */
	uint64_t notices;   /* counts them */
	int64_t start, now; /* capture time, ns */
	bool started;
	double replay_speed;
	struct nbds_pipeline_info info;
	struct nbds_engine_totals totals;
	bool saving, save_failed; /* failed: no more is saved */
	uint64_t ring_packets;    /* live: packets that can be saved afterwards */
	int64_t ring_depth;       /* ns */
	uint64_t messages;        /* added to the log so far */
	double packet_rate, byte_rate;

	struct export_row *exports;
	struct connection_row *connections;
	size_t export_count, export_room, connection_count, connection_room;
	size_t connections_left; /* not listed: too many */
	uint64_t connections_forgotten;

	struct found **findings; /* in order of arrival */
	size_t finding_count, finding_room;
	uint64_t findings_forgotten;

	struct wanted wanted; /* what follows is of these */
	struct history history;
	struct flush_order order;
	struct flush_shown flushes[FLUSHES_SHOWN]; /* the last ones, oldest first */
	unsigned flush_count;
	struct nbds_outstanding outstanding[OUTSTANDING_SHOWN];
	unsigned outstanding_count;
	struct nbds_buf detail; /* of the connection: lines "label\ttext\n" */
	struct histogram histograms[NBDS_COMMAND_KINDS];
};

struct worker_config {
	const char *file;      /* NULL: live */
	const char *interface; /* with the pcap filter, or NULL */
	const char *filter;
	const char *listen, *connect; /* of a relay; or NULL */
	const char *save;
	const char *tls_keys;   /* a key log; NULL: none */
	const char *user;       /* whom root becomes */
	double replay;          /* 0: read at once */
	const char *setup_path; /* the one file that is overwritten, at the user's word */
	uint32_t snaplen;       /* live: bytes of a packet; 0: all */
	bool heads;             /* only latencies are measured */
	bool ring_given;        /* `ring` is as the user wants it */
	uint64_t ring;          /* bytes for packets that can be saved afterwards */
	uint64_t history;       /* messages kept, other things in proportion; 0: as usual */
	enum nbds_severity severity;
	struct nbds_engine_config engine;
	struct nbds_metrics *metrics; /* the caller's; NULL: none */
	bool headless;                /* nobody looks at snapshots but at the last one */
};

struct worker;

/* Opens, gives up privileges, and starts a thread that waits. */
struct worker *worker_start(const struct worker_config *config, char *err, size_t errsize);
/* Now packets are handled. */
void worker_go(struct worker *w);
/* Ends everything. -1: the saved packets could not be written, with the reason. */
int worker_stop(struct worker *w, char *err, size_t errsize);

/* Readable when a snapshot is ready. */
int worker_fd(const struct worker *w);
/* The newest snapshot, or NULL if it is the one that was taken last. */
struct snapshot *worker_take(struct worker *w);
struct log *worker_log(const struct worker *w);

void worker_want(struct worker *w, const struct wanted *wanted);
/* A file: stop reading; what was read is shown. */
void worker_cancel(struct worker *w);
/* A replay: stand still. */
void worker_hold(struct worker *w, bool hold);
void worker_replay_speed(struct worker *w, double speed);
/* Forgets what the flush order shows of the export that is wanted. */
void worker_clear_order(struct worker *w);
/* A descriptor of the new file `path`, which nothing else could open any more. -1 with
 * the reason in `err`. */
int worker_create(struct worker *w, const char *path, char *err, size_t errsize);
/* Live: saves the packets from now on; the descriptor becomes the worker's. The outcome
 * is a notice. */
void worker_save(struct worker *w, int fd, const char *name);
/* Ends that. The outcome is a notice. */
void worker_save_end(struct worker *w);
/* Packets can be saved after they were looked at. */
bool worker_keeps(const struct worker *w);
/* Saves what was picked, of the last packets or by reading the file again; it and its
 * descriptor become the worker's. The outcome is a notice. */
void worker_pick(struct worker *w, struct pick *pick);

#endif
