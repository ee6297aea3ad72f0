/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/relay/view.h - what an audit sees of bytes that others hand on.
 *
 * Purpose.  A ring between who hands bytes on (one thread) and who audits them (one
 * other).  The first is never kept waiting: what does not fit is dropped from the view,
 * and counted as an interface counts what its ring had no room for.  The traffic itself
 * does not come here.
 *
 *	relay ── event, a copy of its bytes ──► ring ──► packets ──► capture, pipeline
 *	            └── no room: dropped, counted
 *
 * Memory is that of the ring, taken from the system page by page as it is first used.
 *
 * Ownership.  Functions copy what they are given.  The capture that reads a view closes
 * it; a view that no capture was opened of is freed with nbds_view_free().
 * Failure.  NULL without memory.
 * Threads.  One may write (put, fail, end), one read; opening, and closing once the other
 * thread is done, are for either.
 *
 * Example.
 *	view = nbds_view_new(nbds_live_buffer(), "relay unix:a", "made of ...");
 *	p = nbds_pipeline_open_origin(nbds_view_origin(view), &config, err, sizeof(err));
 *	(the other thread)	nbds_view_put(view, &flow, &event, bytes);  ...
 *				nbds_view_end(view);
 *	while (nbds_pipeline_step(p, 512) <= NBDS_STEP_IDLE)
 *		;
 */
#ifndef NBDSCOPE_ANALYZER_RELAY_VIEW_H
#define NBDSCOPE_ANALYZER_RELAY_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../capture/capture.h"
#include "synthetic.h"

struct nbds_view;

/* What holds a good while of what is faster than the audit, and is little beside the memory
 * that that has itself. */
#define NBDS_VIEW_BYTES ((size_t)128 << 20)

/* `bytes`: of the ring; at least some for one event are taken. `name` and `comment` are
 * those of the interface in saved files. */
struct nbds_view *nbds_view_new(size_t bytes, const char *name, const char *comment);
void nbds_view_free(struct nbds_view *v);

/* What a capture is opened of; it is the view's. */
const struct nbds_capture_origin *nbds_view_origin(struct nbds_view *v);

/* False: there was no room, it is dropped, and counted. `bytes`: e->len of them. */
bool nbds_view_put(struct nbds_view *v, const struct nbds_synthetic_flow *flow,
		   const struct nbds_synthetic_event *e, const uint8_t *bytes);
/* Nothing more will come. After what is in the ring the capture has ended, */
void nbds_view_end(struct nbds_view *v);
/* or failed, for this reason. */
void nbds_view_fail(struct nbds_view *v, const char *reason);

/* Packets that were dropped so far. For any thread. */
uint64_t nbds_view_dropped(const struct nbds_view *v);

#endif
