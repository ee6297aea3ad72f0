/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/relay/relay.h - stands between clients and a server, and hands every byte on.
 *
 *	client ──► listen ┐                       ┌ connect ──► server
 *	client ──►        ├── relay (a thread) ───┤
 *	(add)  ──►        ┘         │             └
 *	                            └── a copy ──► view ──► capture, engine, saved file
 *
 * Purpose.  Makes visible what no interface shows: Unix sockets, vsock, and one's own
 * connections.  Bytes are handed on in order, whatever becomes of the audit; what the view
 * has no room for it does not see (view.h).
 *
 * A good proxy.  Each direction is read only when what was read before is handed on, so
 * that who writes faster than the other side reads is kept waiting (memory is
 * NBDS_RELAY_BUFFER for each direction that waits, none for others).  The end of one
 * direction is handed on as that, and the other goes on.  A connection that is broken off
 * is broken off on the other side, after what was read of it.  A server that cannot be
 * reached is a close for the client, and counted.
 *
 * When a byte counts as captured: see docs/consistency.md, "What a relay knows", and
 * synthetic.h.
 *
 * Rights.  nbds_relay_open() takes what the program may do: it binds, and starts the
 * process that connects later (dialer.h).  After it rights can be given up; after
 * nbds_relay_start() the program can be confined (nbds_sandbox_relay()).
 *
 * Ownership.  The relay has a copy of what it is given, but for the view, which must be
 * there until nbds_relay_close() has returned or nbds_view_end() came (a relay calls it, or
 * nbds_view_fail(), once it has stopped).  Failure.  NULL or false, one line in `err`.
 * Threads.  nbds_relay_stop() may be called from anywhere, a signal handler included,
 * nbds_relay_status() from any thread, the others from one.
 *
 * Example.
 *	relay = nbds_relay_open(&listen, &connect, view, err, sizeof(err));
 *	nbds_relay_start(relay, err, sizeof(err));
 *	while (nbds_pipeline_step(p, 512) <= NBDS_STEP_IDLE)
 *		;	(somebody calls nbds_relay_stop(): the view ends, and so does this)
 *	nbds_relay_close(relay);
 */
#ifndef NBDSCOPE_ANALYZER_RELAY_RELAY_H
#define NBDSCOPE_ANALYZER_RELAY_RELAY_H

#include "endpoint.h"
#include "view.h"

#define NBDS_RELAY_BUFFER (256u << 10)
/* How long what was read is still handed on once the relay is stopped. */
#define NBDS_RELAY_DRAIN_MS 2000

struct nbds_relay;

/* `listen` NULL: only connections that are added. */
struct nbds_relay *nbds_relay_open(const struct nbds_endpoint *listen,
				   const struct nbds_endpoint *connect, struct nbds_view *view,
				   char *err, size_t errsize);
bool nbds_relay_start(struct nbds_relay *r, char *err, size_t errsize);

/* A client of this process itself: a descriptor, the caller's, of which the other end is
 * handed on to the server. -1 with errno. */
int nbds_relay_add(struct nbds_relay *r);

/* No new connections, what was read is handed on, all are closed, and the view ends. */
void nbds_relay_stop(struct nbds_relay *r);
/* Stops it, waits for that, and removes the file of the socket. `r` may be NULL. */
void nbds_relay_close(struct nbds_relay *r);

struct nbds_relay_status {
	uint64_t accepted, open;
	uint64_t refused;  /* of accepted: closed, as the server was not reached */
	uint64_t crowded;  /* times that no more connections could be taken */
	uint64_t bytes[2]; /* handed on: of clients, of servers */
	char error[160];   /* why one was refused last; "": none was */
};
void nbds_relay_status(struct nbds_relay *r, struct nbds_relay_status *status);

/* "relay unix:a → unix:b", or with "->"; of the addresses as they were given. */
#define NBDS_RELAY_NAME (2 * NBDS_ENDPOINT_TEXT + 32)
void nbds_relay_name(const char *listen, const char *connect, bool ascii,
		     char name[NBDS_RELAY_NAME]);
/* What saved files say of their packets. */
void nbds_relay_comment(const struct nbds_endpoint *listen, const struct nbds_endpoint *connect,
			char *comment, size_t size);

#endif
