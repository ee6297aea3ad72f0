/* SPDX-License-Identifier: GPL-2.0-or-later */
/* feed.c - see feed.h. */
#include "feed.h"

#include <inttypes.h>
#include <stdlib.h>

#include <base/assert.h>
#include <base/trace.h>
#include <base/vector.h>

/* Capture time between two ticks. */
#define TICK_NS 1000000

/* A clock that goes back by more was set: packets come in another order by less. */
#define SET_BACK_NS 1000000000

/* A flow here, in TCP and in the engine, as long as it is no NBD connection. */
#define FLOW_BYTES  (NBDS_FLOW_BYTES + 384)
#define RESERVE     8u /* this part of the memory is lost between what is allocated */
#define FLOWS_LEAST 64
#define FLOWS_MOST  ((uint64_t)1 << 20)

#define NOT_HELD SIZE_MAX

struct nbds_feed_flow {
	struct nbds_feed *feed;
	struct nbds_flow *tcp;      /* NULL: not TCP's */
	struct nbds_stream *stream; /* NULL: not followed */
	void *user;
	uint64_t since;  /* in the heap: a frame, nothing is held from before it */
	size_t place;    /* in the heap, or NOT_HELD */
	uint64_t number; /* from 1 */
};

struct nbds_feed {
	struct nbds_feed_hooks hooks;
	void *hooks_ctx;
	struct nbds_tcp *tcp;
	struct nbds_engine *engine;
	bool drops_untold, started, finished;
	uint64_t flows;                 /* opened so far */
	int64_t newest, ticked;         /* greatest time told, time of the last tick */
	struct nbds_feed_flow *touched; /* the flow that the segment in work belongs to */
	bool unsure;                    /* a flow that holds something is not in the heap */
	struct nbds_budget budget;      /* of flows here, and of the heap */
	uint64_t reserve;               /* bytes of memory that are nobody's */
	uint64_t shared;                /* and the caller's */
	NBDS_VECTOR(, struct nbds_feed_flow *) held;
};

/* --- flows that hold something back ---
 *
 * A binary heap: at[i].since <= at[2i+1].since, at[2i+2].since. */

static void held_put(struct nbds_feed *feed, size_t i, struct nbds_feed_flow *f)
{
	feed->held.at[i] = f;
	f->place = i;
}

static void held_up(struct nbds_feed *feed, struct nbds_feed_flow *f)
{
	size_t i = f->place;

	while (i && f->since < feed->held.at[(i - 1) / 2]->since) {
		held_put(feed, i, feed->held.at[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	held_put(feed, i, f);
}

static void held_down(struct nbds_feed *feed, struct nbds_feed_flow *f)
{
	size_t i = f->place, next;

	while ((next = 2 * i + 1) < feed->held.count) {
		if (next + 1 < feed->held.count &&
		    feed->held.at[next + 1]->since < feed->held.at[next]->since)
			next++;
		if (f->since <= feed->held.at[next]->since)
			break;
		held_put(feed, i, feed->held.at[next]);
		i = next;
	}
	held_put(feed, i, f);
}

static void held_remove(struct nbds_feed_flow *f)
{
	struct nbds_feed *feed = f->feed;
	struct nbds_feed_flow *last;
	size_t i = f->place;

	if (i == NOT_HELD)
		return;
	NBDS_ASSERT(i < feed->held.count && feed->held.at[i] == f);
	f->place = NOT_HELD;
	last = feed->held.at[--feed->held.count];
	if (last == f)
		return;
	held_put(feed, i, last);
	held_up(feed, last);
	held_down(feed, last);
}

static void held_set(struct nbds_feed_flow *f, uint64_t since)
{
	struct nbds_feed *feed = f->feed;

	f->since = since;
	if (f->place == NOT_HELD) {
		if (!nbds_vector_push(&feed->held, &feed->budget, f)) {
			feed->unsure = true; /* verdicts wait for the end */
			return;
		}
		f->place = feed->held.count - 1;
	}
	held_up(feed, f);
	held_down(feed, f);
}

/* Since which frame the flow holds something back, in `*since`; false: nothing. (Clocks
 * may be set back; frames only grow.) */
static bool held_since(const struct nbds_feed_flow *f, uint64_t *since)
{
	struct nbds_mark mark;
	bool any = false;

	if (!f->stream || !f->tcp)
		return false;
	any = nbds_stream_held_since(f->stream, since);
	for (int dir = NBDS_DIR_A; dir <= NBDS_DIR_B; dir++) {
		if (!nbds_tcp_held_since(f->tcp, dir, &mark))
			continue;
		if (!any || mark.frame < *since)
			*since = mark.frame;
		any = true;
	}
	return any;
}

static bool engine_held(void *ctx, uint64_t upto)
{
	struct nbds_feed *feed = ctx;
	uint64_t since;

	if (feed->unsure || (feed->touched && held_since(feed->touched, &since) && since <= upto))
		return true;
	while (feed->held.count && feed->held.at[0]->since <= upto) {
		struct nbds_feed_flow *f = feed->held.at[0];

		if (!held_since(f, &since)) {
			held_remove(f);
			continue;
		}
		if (since <= upto)
			return true;
		f->since = since;
		held_down(feed, f);
	}
	return false;
}

/* --- TCP to engine --- */

static struct nbds_feed_flow *flow_new(struct nbds_feed *feed, struct nbds_flow *tcp,
				       const struct nbds_addr *a, const struct nbds_addr *b,
				       bool from_start, const struct nbds_mark *where)
{
	struct nbds_feed_flow *f = nbds_budget_alloc(&feed->budget, sizeof(*f));

	if (!f)
		return NULL;
	f->feed = feed;
	f->tcp = tcp;
	f->place = NOT_HELD;
	f->number = ++feed->flows;
	if (nbds_trace_topics & NBDS_TRACE_TCP) {
		char from[NBDS_ADDR_TEXT], to[NBDS_ADDR_TEXT];

		NBDS_TRACE(NBDS_TRACE_TCP, "frame %" PRIu64 ": flow %" PRIu64 " is %s - %s%s",
			   where->frame, f->number, nbds_addr_text(a, from), nbds_addr_text(b, to),
			   from_start ? "" : ", met in its middle");
	}
	f->stream = nbds_engine_stream(feed->engine, a, b, from_start, where);
	if (!f->stream) {
		nbds_budget_free(&feed->budget, f, sizeof(*f));
		return NULL;
	}
	if (feed->hooks.open) {
		f->user = feed->hooks.open(feed->hooks_ctx, f, a, b, where);
		nbds_stream_set_user(f->stream, f->user);
	}
	return f;
}

static void *flow_open(void *ctx, struct nbds_flow *tcp, const struct nbds_addr *a,
		       const struct nbds_addr *b, bool syn, const struct nbds_mark *where)
{
	struct nbds_feed_flow *f = flow_new(ctx, tcp, a, b, syn, where);

	if (!f)
		nbds_tcp_ignore(tcp);
	return f;
}

static void flow_end(struct nbds_feed_flow *f, bool rst, bool open, const struct nbds_mark *where);

static void flow_before(struct nbds_feed_flow *f, const struct nbds_mark *where)
{
	if (f->feed->hooks.before)
		f->feed->hooks.before(f->feed->hooks_ctx, f->user, where);
}

static void flow_frame(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct nbds_feed *feed = ctx;
	struct nbds_feed_flow *f = user;

	if (!f)
		return;
	feed->touched = f;
	if (feed->hooks.frame)
		feed->hooks.frame(feed->hooks_ctx, f->user, dir, where);
	nbds_stream_frame(f->stream, dir, where);
}

void nbds_feed_bytes(struct nbds_feed_flow *f, int dir, const uint8_t *data, uint64_t len,
		     bool snaplen, const struct nbds_mark *where)
{
	struct nbds_feed *feed = f->feed;

	if (!len)
		return;
	NBDS_TRACE(NBDS_TRACE_TCP, "frame %" PRIu64 ": flow %" PRIu64 ", %s: %" PRIu64 " bytes%s",
		   where->frame, f->number, dir ? "to the left" : "to the right", len,
		   data      ? ""
		   : snaplen ? " were cut off"
			     : " are missing");
	flow_before(f, where);
	if (data)
		nbds_stream_data(f->stream, dir, data, len, where);
	else
		nbds_stream_gap(f->stream, dir, len, snaplen, where);
	if (feed->hooks.fed)
		feed->hooks.fed(feed->hooks_ctx, f->user, dir, len, where);
	if (!f->tcp || !nbds_stream_useless(f->stream))
		return;
	nbds_tcp_let_go(f->tcp);
	flow_end(f, false, true, where);
}

static void flow_data(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
		      size_t len, const struct nbds_mark *where)
{
	(void)ctx;
	(void)offset;
	if (user)
		nbds_feed_bytes(user, dir, data, len, false, where);
}

static void flow_gap(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
		     enum nbds_gap_reason why, const struct nbds_mark *where)
{
	(void)ctx;
	(void)offset;
	if (user)
		nbds_feed_bytes(user, dir, NULL, len, why == NBDS_GAP_SNAPLEN, where);
}

static void flow_conflict(void *ctx, void *user, int dir, const struct nbds_conflict *c)
{
	struct nbds_feed_flow *f = user;

	(void)ctx;
	if (f && c->kind == NBDS_CONFLICT_BYTES)
		NBDS_TRACE(NBDS_TRACE_TCP,
			   "frame %" PRIu64 ": flow %" PRIu64 ", %s: another copy differs",
			   c->first.frame, f->number, dir ? "to the left" : "to the right");
	if (f && (c->kind == NBDS_CONFLICT_ACK || c->kind == NBDS_CONFLICT_ORDER))
		nbds_stream_acked(f->stream, dir, c->offset, c->len, c->first_ack, c->ack,
				  &c->first);
	else if (f)
		nbds_stream_conflict(f->stream, dir, c->offset, c->len,
				     c->kind == NBDS_CONFLICT_BYTES, &c->first);
}

static void flow_discard(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct nbds_feed_flow *f = user;

	(void)ctx;
	if (f)
		nbds_stream_discarded(f->stream, dir, where);
}

static void flow_half_close(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct nbds_feed_flow *f = user;

	(void)ctx;
	if (!f)
		return;
	NBDS_TRACE(NBDS_TRACE_TCP, "frame %" PRIu64 ": flow %" PRIu64 ", %s: FIN", where->frame,
		   f->number, dir ? "to the left" : "to the right");
	flow_before(f, where);
	nbds_stream_half_close(f->stream, dir, where);
}

static void flow_end(struct nbds_feed_flow *f, bool rst, bool open, const struct nbds_mark *where)
{
	struct nbds_feed *feed = f->feed;

	NBDS_TRACE(NBDS_TRACE_TCP, "frame %" PRIu64 ": flow %" PRIu64 " is over%s", where->frame,
		   f->number,
		   rst    ? ", by RST"
		   : open ? ", its end was not seen"
			  : "");
	held_remove(f);
	if (feed->touched == f)
		feed->touched = NULL;
	flow_before(f, where);
	nbds_stream_close(f->stream, rst, open, where);
	if (feed->hooks.close)
		feed->hooks.close(feed->hooks_ctx, f->user);
	nbds_budget_free(&feed->budget, f, sizeof(*f));
}

static void flow_close(void *ctx, void *user, enum nbds_flow_end how, int by,
		       const struct nbds_mark *where)
{
	struct nbds_feed_flow *f = user;

	(void)ctx;
	if (f && how == NBDS_FLOW_IDLE)
		nbds_stream_give_up(f->stream);
	if (f && how == NBDS_FLOW_RST && by >= 0)
		nbds_stream_reset(f->stream, by, where);
	/* A connection whose ports were taken over, or that was forgotten, had an end
	 * that was not seen. */
	if (user)
		flow_end(user, how == NBDS_FLOW_RST, how != NBDS_FLOW_RST && how != NBDS_FLOW_FIN,
			 where);
}

static const struct nbds_tcp_ops tcp_ops = {
	.open = flow_open,
	.data = flow_data,
	.gap = flow_gap,
	.conflict = flow_conflict,
	.discard = flow_discard,
	.half_close = flow_half_close,
	.close = flow_close,
	.frame = flow_frame,
};

/* --- the feed --- */

static uint64_t within(uint64_t value, uint64_t least, uint64_t most)
{
	if (value > most)
		value = most;
	return value < least ? least : value;
}

/* Divides the memory: a 32nd remembers what was told, or what is asked for. TCP holds little as a rule, a quarter
 * is its most, and a quarter is the most for flows; the engine has what these do not take. */
static void divide(uint64_t *memory, uint64_t remembered, struct nbds_tcp_limits *limits)
{
	uint64_t all = *memory ? *memory : NBDS_FEED_MEMORY;

	limits->held_total = within(all / 4, 1, (uint64_t)256 << 20);
	limits->held_direction = within(limits->held_total / 4, 1, (uint64_t)16 << 20);
	limits->flows = (uint32_t)within(all / 4 / FLOW_BYTES, FLOWS_LEAST, FLOWS_MOST);
	limits->remembered = remembered ? remembered
					: within(all / 32, (uint64_t)64 << 10, (uint64_t)32 << 20);
	*memory = all > limits->remembered ? all - limits->remembered : 1;
}

/* Tells the engine what is left for it. */
static void share(struct nbds_feed *feed)
{
	nbds_engine_share(feed->engine, nbds_tcp_memory(feed->tcp) + feed->budget.used +
						feed->reserve + feed->shared);
}

void nbds_feed_share(struct nbds_feed *feed, uint64_t bytes)
{
	feed->shared = bytes;
	share(feed);
}

struct nbds_feed *nbds_feed_new(const struct nbds_feed_config *config)
{
	struct nbds_feed *feed = calloc(1, sizeof(*feed));
	struct nbds_engine_config engine = config->engine;
	struct nbds_tcp_limits limits = {0};

	if (!feed)
		return NULL;
	divide(&engine.memory, config->remembered, &limits);
	feed->hooks = config->hooks;
	feed->hooks_ctx = config->hooks_ctx;
	feed->drops_untold = config->drops_untold;
	feed->engine = nbds_engine_new(&engine, &config->ops, config->ctx);
	feed->tcp = nbds_tcp_new(&limits, &tcp_ops, feed);
	if (!feed->engine || !feed->tcp) {
		nbds_feed_free(feed);
		return NULL;
	}
	feed->reserve = engine.memory / RESERVE;
	share(feed);
	nbds_engine_set_held(feed->engine, engine_held, feed);
	return feed;
}

void nbds_feed_free(struct nbds_feed *feed)
{
	if (!feed)
		return;
	/* Open flows hold streams of the engine: close them first. */
	if (feed->tcp && feed->engine)
		nbds_feed_finish(feed);
	nbds_tcp_free(feed->tcp);
	nbds_engine_free(feed->engine);
	nbds_vector_free(&feed->held, &feed->budget);
	free(feed);
}

void nbds_feed_reread(struct nbds_feed *feed, const struct nbds_tcp_reread *from)
{
	nbds_tcp_reread(feed->tcp, from);
}

void nbds_feed_segment(struct nbds_feed *feed, const struct nbds_segment *segment)
{
	struct nbds_feed_flow *f;
	uint64_t since;

	feed->touched = NULL;
	nbds_tcp_segment(feed->tcp, segment);
	share(feed);
	f = feed->touched;
	feed->touched = NULL;
	if (!f)
		return;
	if (held_since(f, &since))
		held_set(f, since);
	else if (feed->drops_untold && nbds_tcp_complete(f->tcp))
		nbds_stream_complete(f->stream, segment->packet->frame);
}

/* Times of a file may be any numbers: mind the overflow. */
void nbds_feed_time(struct nbds_feed *feed, int64_t now)
{
	if (!feed->started)
		feed->newest = feed->ticked = now;
	feed->started = true;
	/* a clock that was set back goes on from there */
	if (now > feed->newest || (uint64_t)feed->newest - (uint64_t)now > SET_BACK_NS)
		feed->newest = now;
	if (feed->newest >= feed->ticked &&
	    (uint64_t)feed->newest - (uint64_t)feed->ticked < TICK_NS)
		return;
	feed->ticked = feed->newest;
	nbds_tcp_tick(feed->tcp, feed->newest);
	nbds_engine_tick(feed->engine, feed->newest);
}

void nbds_feed_finish(struct nbds_feed *feed)
{
	if (feed->finished)
		return;
	feed->finished = true;
	nbds_tcp_finish(feed->tcp);
	nbds_engine_finish(feed->engine);
}

struct nbds_engine *nbds_feed_engine(const struct nbds_feed *feed)
{
	return feed->engine;
}

const struct nbds_tcp_stats *nbds_feed_tcp_stats(const struct nbds_feed *feed)
{
	return nbds_tcp_stats(feed->tcp);
}

int64_t nbds_feed_newest(const struct nbds_feed *feed)
{
	return feed->newest;
}

bool nbds_feed_offset(const struct nbds_feed_flow *flow, int dir, uint32_t seq, int64_t *offset)
{
	return flow->tcp && nbds_tcp_offset(flow->tcp, dir, seq, offset);
}

uint64_t nbds_feed_skipped(const struct nbds_feed_flow *flow, int dir)
{
	return nbds_stream_skipped(flow->stream, dir);
}

struct nbds_feed_flow *nbds_feed_open(struct nbds_feed *feed, const struct nbds_addr *a,
				      const struct nbds_addr *b, bool from_start,
				      const struct nbds_mark *where)
{
	return flow_new(feed, NULL, a, b, from_start, where);
}

void *nbds_feed_user(const struct nbds_feed_flow *flow)
{
	return flow->user;
}

void nbds_feed_close(struct nbds_feed_flow *flow, const struct nbds_mark *where)
{
	flow_end(flow, false, true, where);
}

void nbds_feed_frame(struct nbds_feed_flow *flow, int dir, const struct nbds_mark *where)
{
	flow_frame(flow->feed, flow, dir, where);
}

void nbds_feed_half_close(struct nbds_feed_flow *flow, int dir, const struct nbds_mark *where)
{
	flow_half_close(flow->feed, flow, dir, where);
}

void nbds_feed_over(struct nbds_feed_flow *flow, bool cut_off, const struct nbds_mark *where)
{
	flow_end(flow, cut_off, false, where);
}
