/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/capture/ahead.h - a capture that is read by a thread of its own.
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
 * Of an interface the same thread takes packets out of the kernel's ring at once, into a
 * larger memory, where they also stay for a while once they were looked at: they can be read
 * again.  What finds no room waits in the kernel's ring, and what finds none there is
 * dropped, and counted: with a packet comes the count of a quarter of a second before it was
 * read, or later.
 *
 * Ownership.  The capture and its IP stay the caller's.  From the first packet on, until
 * nbds_ahead_over() is true, only nbds_capture_reread() and the saving are allowed of them;
 * before it the thread may be freed, and nothing has happened.  A packet and its bytes are
 * valid until the next call.  What waits of a file is bounded: some 5 MiB, whatever it is
 * like; of an interface by what the caller says.
 * Threads.  All functions are for the one thread that works with the packets.  The thread
 * exists from nbds_ahead_new() on, as a confined program cannot make one, with the rights
 * that the caller has then; it reads nothing before the first packet is asked for.
 * Failure.  nbds_ahead_new() returns NULL: the capture is then read without a thread.
 * Errors of reading come after the packets before them.
 */
#ifndef NBDSCOPE_ANALYZER_AHEAD_H
#define NBDSCOPE_ANALYZER_AHEAD_H

#include "capture.h"
#include "ip.h"

struct nbds_ahead;

/* Does it pay: is there a processor for it, and enough to read, or enough memory? `memory`
 * (bytes) is that of which an interface may have a part. */
bool nbds_ahead_pays(struct nbds_capture *c, uint64_t memory);
/* Is it possible, of a file (nbds_capture_is_file()) or an interface? */
bool nbds_ahead_possible(const struct nbds_capture *c);

/* `secrets`, or NULL, is called by nbds_ahead_next(), see nbds_capture_keep_words(). Of
 * `memory` an interface takes up to a third, see nbds_ahead_memory(). */
struct nbds_ahead *nbds_ahead_new(struct nbds_capture *c, struct nbds_ip *ip, uint64_t memory,
				  void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
				  void *secrets_ctx);
/* Ends the thread, wherever it is: nothing more is handed out. What was dropped until now is
 * in nbds_ahead_info(). */
void nbds_ahead_stop(struct nbds_ahead *a);
void nbds_ahead_free(struct nbds_ahead *a);

/* As nbds_capture_next(). *segment: the TCP segment that the packet carries or completes,
 * see nbds_ip_segment(), or NULL. */
int nbds_ahead_next(struct nbds_ahead *a, const struct nbds_packet **packet,
		    const struct nbds_segment **segment);
/* Of an interface, after a 0: nothing came until then (ns since 1970) but what was handed
 * out; 0: nobody knows. */
int64_t nbds_ahead_silence(const struct nbds_ahead *a);
/* nbds_ahead_next() has been called. */
bool nbds_ahead_begun(const struct nbds_ahead *a);
/* There is nothing more: it has come to the end, failed, or was stopped. */
bool nbds_ahead_over(const struct nbds_ahead *a);

/* As those of capture.h, and of ip.h. */
bool nbds_ahead_can_reread(const struct nbds_ahead *a);
uint64_t nbds_ahead_place(const struct nbds_ahead *a, const uint8_t *bytes);
bool nbds_ahead_reread(struct nbds_ahead *a, uint64_t place, uint8_t *bytes, size_t size);
void nbds_ahead_info(const struct nbds_ahead *a, struct nbds_capture_info *info);
const struct nbds_ip_stats *nbds_ahead_stats(const struct nbds_ahead *a);
/* What was dropped before the packet that was handed out last, as far as is known. */
uint64_t nbds_ahead_dropped(const struct nbds_ahead *a);
/* Bytes that it takes now, those of an interface that are within `memory`. */
uint64_t nbds_ahead_memory(const struct nbds_ahead *a);

#endif
