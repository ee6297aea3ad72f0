/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/metrics/http.h - metrics over HTTP.
 *
 * Purpose.  GET /metrics is answered with the newest snapshot, in the form that the
 * request prefers.  The protocol is libmicrohttpd's; the thread, which waits and runs it,
 * is our own, so that it is started at the right moment and with the right priority.
 *
 * Whoever may connect may be slow, or mean ill: of more than 32 connections the oldest ends,
 * each is for one request and closed after 5 seconds whatever it does, a request has 8 KiB, and a
 * text is written once for each snapshot, not for each request.  The engine's thread does
 * not wait for this one: it hands over a snapshot when it can do so at once.
 *
 * Ownership.  The socket given is the server's.  Failure.  NULL, and one line in `err`.
 * Threads.  nbds_metrics_http_put() is the engine's thread's, the others whose who started
 * it.
 */
#ifndef NBDSCOPE_METRICS_HTTP_H
#define NBDSCOPE_METRICS_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "snapshot.h"

struct nbds_metrics_http;

/* Room for the address of a listening socket as text. */
#define NBDS_METRICS_ADDRESS 96

/* A listening socket at "ADDRESS:PORT", "[ADDRESS]:PORT", ":PORT" or "PORT": without an
 * address on this machine's loopback. What it came to is put into `at`. -1: the reason is
 * in `err`. */
int nbds_metrics_listen(const char *address, char at[NBDS_METRICS_ADDRESS], char *err,
			size_t errsize);

/* Its thread waits for connections from now on. To be called once privileges are given
 * up, and before the program is confined. */
struct nbds_metrics_http *nbds_metrics_http_start(int socket, char *err, size_t errsize);
/* What is served from now on, unless the thread is just looking; then the next one will
 * be. Does not wait. */
void nbds_metrics_http_put(struct nbds_metrics_http *h, const struct nbds_metrics_snapshot *s);
void nbds_metrics_http_stop(struct nbds_metrics_http *h);

#endif
