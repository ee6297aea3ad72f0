/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/capture/ahead.h - a capture file that is read by a thread of its own.
 *
 * Purpose.  Reading (or decompressing) a file, taking it apart into packets, and their
 * headers and checksums, depends on the file alone.  A thread does all that ahead of who
 * works with the packets, and hands them over many at a time:
 *
 *	thread:  capture ── packet ──► ip ─┐              ┌─► packet, segment
 *	                                   └► batches ... ┘
 *
 * Packets, segments and what else the capture says come in the order and with the values
 * that they have without a thread: what is told of the state is that after the packet that
 * was handed out last, however far the thread is.
 *
 * Ownership.  The capture and its IP stay the caller's.  From the first packet on, until
 * nbds_ahead_over() is true, only nbds_capture_reread() is allowed of them; before it the
 * thread may be freed, and nothing has happened.  A packet and its bytes are valid until the next
 * call.  What waits is bounded: some 3 MiB, whatever the file is like.
 * Threads.  All functions are for the one thread that works with the packets.  The thread
 * exists from nbds_ahead_new() on, as a confined program cannot make one; it reads nothing
 * before the first packet is asked for.
 * Failure.  nbds_ahead_new() returns NULL: the capture is then read without a thread.
 * Errors of reading come after the packets before them.
 */
#ifndef NBDSCOPE_ANALYZER_AHEAD_H
#define NBDSCOPE_ANALYZER_AHEAD_H

#include "capture.h"
#include "ip.h"

struct nbds_ahead;

/* Does it pay: is there a processor for it, and enough to read? */
bool nbds_ahead_pays(struct nbds_capture *c);

/* `c` is a file (nbds_capture_is_file()) of which nothing was read yet. `secrets`, or NULL,
 * is called by nbds_ahead_next(), see nbds_capture_keep_words(). */
struct nbds_ahead *nbds_ahead_new(struct nbds_capture *c, struct nbds_ip *ip,
				  void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
				  void *secrets_ctx);
/* Ends the thread, wherever it is. */
void nbds_ahead_free(struct nbds_ahead *a);

/* As nbds_capture_next(). *segment: the TCP segment that the packet carries or completes,
 * see nbds_ip_segment(), or NULL. */
int nbds_ahead_next(struct nbds_ahead *a, const struct nbds_packet **packet,
		    const struct nbds_segment **segment);
/* nbds_ahead_next() has been called. */
bool nbds_ahead_begun(const struct nbds_ahead *a);
/* It has returned 0 or -1. */
bool nbds_ahead_over(const struct nbds_ahead *a);

/* As nbds_capture_place(), nbds_capture_info() and nbds_ip_stats(). */
uint64_t nbds_ahead_place(const struct nbds_ahead *a, const uint8_t *bytes);
void nbds_ahead_info(const struct nbds_ahead *a, struct nbds_capture_info *info);
const struct nbds_ip_stats *nbds_ahead_stats(const struct nbds_ahead *a);

#endif
