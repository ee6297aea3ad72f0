/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/dialer.h - a process that connects to the one server that is probed.
 *
 * Purpose.  Who decodes what a server sends makes no connections any more, and starts no
 * programs (capture/sandbox.h); a probe connects again and again, and may have a command
 * that starts the server anew.  So a second process is made before that, which knows one
 * server and one command, and reads nothing of either.
 *
 *	 probe ──── "connect" ──────► dialer      a connection to the server, and a pair of
 *	       ◄── three descriptors ──           sockets for libnbd on this side of it
 *	       ──── "restart" ──────►             runs the command to its end
 *
 * Ownership.  To be started before any thread; nbds_probe_dialer_stop() ends it.  Descriptors
 * are the caller's.  Failure.  One line in `err`.
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_DIALER_H
#define NBDSCOPE_ANALYZER_PROBE_DIALER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "uri.h"

struct nbds_probe_dialer;

/* What a call to a server has brought. */
struct nbds_probe_dialed {
	int server;                            /* connected to it */
	int pair[2];                           /* connected to each other */
	struct sockaddr_storage local, remote; /* of `server`; AF_UNIX: no more than that */
};

/* `restart`: a command for sh(1), or NULL. `seconds`: how long a connection, and twice
 * that the command, may take. Both strings stay the caller's. */
struct nbds_probe_dialer *nbds_probe_dialer_start(const struct nbds_probe_uri *uri,
						  const char *restart, unsigned seconds, char *err,
						  size_t errsize);
void nbds_probe_dialer_stop(struct nbds_probe_dialer *d);

/* All descriptors are set to be non-blocking, and closed at exec. */
bool nbds_probe_dialer_connect(struct nbds_probe_dialer *d, struct nbds_probe_dialed *dialed,
			       char *err, size_t errsize);
/* Runs the command. False: it could not be run, failed, or did not end in time. */
bool nbds_probe_dialer_restart(struct nbds_probe_dialer *d, char *err, size_t errsize);

#endif
