/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/relay/dialer.h - a process that makes the relay's connections.
 *
 * Purpose.  A program that decodes what passes can make no sockets any more (sandbox.h),
 * and root has become another user by then (privileges.h), whom the server's socket need
 * not let in.  So before all that a second process is made, as who started the program,
 * which does two things: asked for a connection to the one endpoint that it was given, it
 * hands over the descriptor; and when the program ends, however it ends, it removes the
 * file of the socket on which the relay listened.
 *
 * Ownership.  To be started before any thread.  nbds_dialer_stop() ends it and waits for
 * it, as does the end of the program without the waiting.  Failure.  NULL, and one line in
 * `err`.  Threads.  One may ask and hear.
 */
#ifndef NBDSCOPE_ANALYZER_RELAY_DIALER_H
#define NBDSCOPE_ANALYZER_RELAY_DIALER_H

#include "endpoint.h"

struct nbds_dialer;

/* `made`: the path of a socket to be removed in the end, if it still is the same file; or
 * NULL. */
struct nbds_dialer *nbds_dialer_start(const struct nbds_endpoint *to, const char *made, char *err,
				      size_t errsize);
void nbds_dialer_stop(struct nbds_dialer *d);

/* Readable: there is an answer. It does not block. */
int nbds_dialer_fd(const struct nbds_dialer *d);
/* Asks for a connection to this address of the endpoint. Answers come in the order of
 * questions. False, with errno. */
bool nbds_dialer_ask(struct nbds_dialer *d, unsigned address);
/* 1: *fd is connected (*error 0), or on its way (EINPROGRESS); or it is -1, and *error says
 * why. 0: no answer yet. -1: there will be none any more. */
int nbds_dialer_hear(struct nbds_dialer *d, int *fd, int *error);

#endif
