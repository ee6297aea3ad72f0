/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pipeline.c - capture, IP, TCP and engine in one line.
 *
 *	capture ── packet ──► ip ── segment ──► tcp ── bytes, gaps ──► stream
 *	   │                                    │                        │
 *	   └── drops ──► engine ◄── "is anything earlier still held?" ───┘
 *
 * The engine asks before each verdict whether bytes captured earlier are still
 * held back by TCP.  A flow can come to hold something only through a segment
 * of its own, so each flow that had a segment is looked at once after it, and
 * those that hold something stand in a list, which is nearly always empty.
 */
#include "pipeline.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Capture time between two ticks. */
#define TICK_NS 1000000

/* A live capture that is silent: packets younger than this may still be on
 * their way from the kernel. */
#define LIVE_DELAY_NS 500000000

/* What the configuration means by 0. */
#define MEMORY_DEFAULT ((uint64_t)1 << 30)

/* A flow here, in TCP and in the engine, as long as it is no NBD connection. */
#define FLOW_BYTES  (NBDS_FLOW_BYTES + 384)
#define FLOWS_LEAST 64
#define FLOWS_MOST  ((uint64_t)1 << 20)

/* Live drop counters are asked for once in so much time. */
#define DROPS_NS 250000000 /* less than verdicts wait */

struct flow {
	struct nbds_pipeline *p;
	struct nbds_flow *tcp;
	struct nbds_stream *stream; /* NULL: not followed */
	bool listed;                /* in p->held */
	struct flow *held_prev, *held_next;
};

struct nbds_pipeline {
	struct nbds_capture *capture; /* NULL: packets are given one by one */
	struct nbds_ip *ip;
	struct nbds_tcp *tcp;
	struct nbds_engine *engine;
	bool live;
	atomic_bool stop;
	enum nbds_step state; /* END and ERROR are final */
	bool finished;
	bool started;         /* a packet was seen */
	int64_t start;        /* its time */
	int64_t newest;       /* greatest packet time */
	int64_t ticked;       /* time of the last tick */
	int64_t drops_asked;  /* clock time of the last look at the drop counters */
	uint64_t dropped;     /* told to the engine so far */
	struct flow *held;    /* flows that may hold something back */
	struct flow *touched; /* the flow that the segment in work belongs to */
};

/* --- TCP to engine --- */

static void held_add(struct flow *f)
{
	struct nbds_pipeline *p = f->p;

	if (f->listed)
		return;
	f->listed = true;
	f->held_prev = NULL;
	f->held_next = p->held;
	if (p->held)
		p->held->held_prev = f;
	p->held = f;
}

static void held_remove(struct flow *f)
{
	if (!f->listed)
		return;
	f->listed = false;
	if (f->held_prev)
		f->held_prev->held_next = f->held_next;
	else
		f->p->held = f->held_next;
	if (f->held_next)
		f->held_next->held_prev = f->held_prev;
}

/* Since when the flow holds something back, in `*since`; false: nothing. */
static bool held_since(const struct flow *f, int64_t *since)
{
	struct nbds_mark mark;
	bool any = false;

	if (!f->stream)
		return false;
	for (int dir = NBDS_DIR_A; dir <= NBDS_DIR_B; dir++) {
		if (!nbds_tcp_held_since(f->tcp, dir, &mark))
			continue;
		if (!any || mark.time < *since)
			*since = mark.time;
		any = true;
	}
	return any;
}

static bool engine_held(void *ctx, int64_t upto)
{
	struct nbds_pipeline *p = ctx;
	struct flow *f, *next;
	int64_t since;

	if (p->touched && held_since(p->touched, &since) && since <= upto)
		return true;
	for (f = p->held; f; f = next) {
		next = f->held_next;
		if (!held_since(f, &since)) {
			held_remove(f);
			continue;
		}
		if (since <= upto)
			return true;
	}
	return false;
}

static void *flow_open(void *ctx, struct nbds_flow *tcp, const struct nbds_addr *a,
		       const struct nbds_addr *b, bool syn, const struct nbds_mark *where)
{
	struct nbds_pipeline *p = ctx;
	struct flow *f = calloc(1, sizeof(*f));

	if (f) {
		f->p = p;
		f->tcp = tcp;
		f->stream = nbds_engine_stream(p->engine, a, b, syn, where);
	}
	if (!f || !f->stream)
		nbds_tcp_ignore(tcp);
	return f;
}

/* Stops following a flow that the engine has no use for. */
static void flow_check(struct flow *f)
{
	if (nbds_stream_useless(f->stream))
		nbds_tcp_ignore(f->tcp);
}

static void flow_frame(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct nbds_pipeline *p = ctx;
	struct flow *f = user;

	if (!f || !f->stream)
		return;
	p->touched = f;
	nbds_stream_frame(f->stream, dir, where);
}

static void flow_data(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
		      size_t len, const struct nbds_mark *where)
{
	struct flow *f = user;

	(void)ctx;
	(void)offset;
	if (!f || !f->stream)
		return;
	nbds_stream_data(f->stream, dir, data, len, where);
	flow_check(f);
}

static void flow_gap(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
		     enum nbds_gap_reason why, const struct nbds_mark *where)
{
	struct flow *f = user;

	(void)ctx;
	(void)offset;
	if (!f || !f->stream)
		return;
	nbds_stream_gap(f->stream, dir, len, why == NBDS_GAP_SNAPLEN, where);
	flow_check(f);
}

static void flow_conflict(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
			  const struct nbds_mark *where)
{
	struct flow *f = user;

	(void)ctx;
	(void)offset;
	(void)len;
	if (f && f->stream)
		nbds_stream_conflict(f->stream, dir, where);
}

static void flow_half_close(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	struct flow *f = user;

	(void)ctx;
	if (f && f->stream)
		nbds_stream_half_close(f->stream, dir, where);
}

static void flow_close(void *ctx, void *user, enum nbds_flow_end how, int by,
		       const struct nbds_mark *where)
{
	struct nbds_pipeline *p = ctx;
	struct flow *f = user;

	(void)by;
	if (!f)
		return;
	held_remove(f);
	if (p->touched == f)
		p->touched = NULL;
	/* A connection whose ports were taken over, or that was forgotten, had an
	 * end that was not seen. */
	if (f->stream)
		nbds_stream_close(f->stream, how == NBDS_FLOW_RST,
				  how != NBDS_FLOW_RST && how != NBDS_FLOW_FIN, where);
	free(f);
}

static const struct nbds_tcp_ops tcp_ops = {
	.open = flow_open,
	.data = flow_data,
	.gap = flow_gap,
	.conflict = flow_conflict,
	.half_close = flow_half_close,
	.close = flow_close,
	.frame = flow_frame,
};

/* --- the line --- */

static uint64_t within(uint64_t value, uint64_t least, uint64_t most)
{
	if (value > most)
		value = most;
	return value < least ? least : value;
}

/* Divides the memory: TCP holds little as a rule, a quarter is its most; an eighth
 * is for flows; and the engine has the rest. */
static void divide(uint64_t *memory, struct nbds_tcp_limits *limits)
{
	uint64_t all = *memory ? *memory : MEMORY_DEFAULT, tcp;

	limits->held_total = within(all / 4, 1, (uint64_t)256 << 20);
	limits->held_direction = within(limits->held_total / 4, 1, (uint64_t)16 << 20);
	limits->flows = (uint32_t)within(all / 8 / FLOW_BYTES, FLOWS_LEAST, FLOWS_MOST);
	tcp = limits->held_total + (uint64_t)limits->flows * FLOW_BYTES;
	*memory = all > tcp ? all - tcp : 1;
}

static struct nbds_pipeline *pipeline_new(const struct nbds_pipeline_config *config, char *err,
					  size_t errsize)
{
	struct nbds_pipeline *p = calloc(1, sizeof(*p));
	struct nbds_engine_config engine = config->engine;
	struct nbds_tcp_limits limits = {0};

	if (!p)
		goto fail;
	divide(&engine.memory, &limits);
	atomic_init(&p->stop, false);
	p->ip = nbds_ip_new();
	p->engine = nbds_engine_new(&engine, &config->ops, config->ctx);
	if (!p->ip || !p->engine)
		goto fail;
	p->tcp = nbds_tcp_new(&limits, &tcp_ops, p);
	if (!p->tcp)
		goto fail;
	nbds_engine_set_held(p->engine, engine_held, p);
	return p;
fail:
	snprintf(err, errsize, "out of memory");
	if (p) {
		nbds_engine_free(p->engine);
		nbds_ip_free(p->ip);
		free(p);
	}
	return NULL;
}

struct nbds_pipeline *nbds_pipeline_open(const char *path,
					 const struct nbds_pipeline_config *config, char *err,
					 size_t errsize)
{
	struct nbds_pipeline *p = pipeline_new(config, err, errsize);

	if (!p)
		return NULL;
	p->capture = nbds_capture_open(path, err, errsize);
	if (!p->capture) {
		nbds_pipeline_close(p, NULL, 0);
		return NULL;
	}
	return p;
}

struct nbds_pipeline *nbds_pipeline_open_live(const char *device, const char *filter,
					      const struct nbds_pipeline_config *config, char *err,
					      size_t errsize)
{
	struct nbds_pipeline *p = pipeline_new(config, err, errsize);

	if (!p)
		return NULL;
	p->live = true;
	p->capture = nbds_capture_open_live(device, filter, err, errsize);
	if (!p->capture) {
		nbds_pipeline_close(p, NULL, 0);
		return NULL;
	}
	return p;
}

struct nbds_pipeline *nbds_pipeline_open_packets(const struct nbds_pipeline_config *config,
						 char *err, size_t errsize)
{
	return pipeline_new(config, err, errsize);
}

int nbds_pipeline_save(struct nbds_pipeline *p, const char *path)
{
	return p->capture ? nbds_capture_save(p->capture, path) : -1;
}

static int64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* It is `now` at least. Times of a file may be any numbers: mind the overflow. */
static void advance(struct nbds_pipeline *p, int64_t now)
{
	if (now > p->newest)
		p->newest = now;
	if ((uint64_t)p->newest - (uint64_t)p->ticked < TICK_NS)
		return;
	p->ticked = p->newest;
	nbds_tcp_tick(p->tcp, p->newest);
	nbds_engine_tick(p->engine, p->newest);
}

/* Tells the engine what the capture says that it dropped. */
static void drops(struct nbds_pipeline *p)
{
	struct nbds_capture_info info;

	if (!p->capture)
		return;
	if (p->live) {
		int64_t now = clock_now();

		/* Asking the kernel costs a system call. */
		if (!p->finished && now >= p->drops_asked && now - p->drops_asked < DROPS_NS)
			return;
		p->drops_asked = now;
	}
	nbds_capture_info(p->capture, &info);
	nbds_engine_interfaces(p->engine, info.interfaces);
	if (info.dropped > p->dropped) {
		nbds_engine_dropped(p->engine, info.dropped - p->dropped);
		p->dropped = info.dropped;
	}
}

static void handle(struct nbds_pipeline *p, const struct nbds_packet *packet)
{
	struct nbds_segment segment;
	int64_t since;

	if (!p->started) {
		p->started = true;
		p->start = p->newest = p->ticked = packet->time;
		drops(p);
	}
	if (nbds_ip_segment(p->ip, packet, &segment)) {
		p->touched = NULL;
		nbds_tcp_segment(p->tcp, &segment);
		if (p->touched && held_since(p->touched, &since))
			held_add(p->touched);
		/* a live capture tells what it drops, and a file does not: there a
		 * violation waits until each connection shows that nothing is missing */
		else if (!p->live && p->touched && p->touched->stream &&
			 nbds_tcp_complete(p->touched->tcp))
			nbds_stream_complete(p->touched->stream, packet->frame);
		p->touched = NULL;
	}
	advance(p, packet->time);
}

void nbds_pipeline_packet(struct nbds_pipeline *p, const struct nbds_packet *packet)
{
	if (!p->finished)
		handle(p, packet);
}

void nbds_pipeline_finish(struct nbds_pipeline *p)
{
	if (p->finished)
		return;
	p->finished = true;
	if (p->state < NBDS_STEP_END)
		p->state = NBDS_STEP_END;
	drops(p);
	nbds_tcp_finish(p->tcp);
	nbds_engine_finish(p->engine);
}

void nbds_pipeline_on_wait(struct nbds_pipeline *p, bool (*waiting)(void *ctx), void *ctx)
{
	if (p->capture)
		nbds_capture_on_wait(p->capture, waiting, ctx);
}

static void handle_live(void *ctx, struct nbds_packet *packet)
{
	handle(ctx, packet);
}

enum nbds_step nbds_pipeline_step(struct nbds_pipeline *p, unsigned packets)
{
	struct nbds_packet packet;

	if (!p->capture)
		nbds_pipeline_finish(p); /* nothing to read */
	if (p->finished)
		return p->state;
	for (unsigned i = 0; i < packets;) {
		int got;

		if (atomic_load_explicit(&p->stop, memory_order_relaxed)) {
			p->state = NBDS_STEP_END;
			break;
		}
		if (p->live) {
			got = nbds_capture_each(p->capture, (int)(packets - i), handle_live, p);
		} else {
			got = nbds_capture_next(p->capture, &packet);
			if (got > 0)
				handle(p, &packet);
		}
		if (got > 0) {
			i += (unsigned)got;
			continue;
		}
		if (got < 0) {
			p->state = NBDS_STEP_ERROR;
			break;
		}
		if (!p->live) {
			p->state = NBDS_STEP_END;
			break;
		}
		/* Silence: time goes on all the same. */
		if (p->started)
			advance(p, clock_now() - LIVE_DELAY_NS);
		drops(p);
		return NBDS_STEP_IDLE;
	}
	if (p->state >= NBDS_STEP_END) {
		nbds_pipeline_finish(p);
		return p->state;
	}
	drops(p);
	return NBDS_STEP_MORE;
}

void nbds_pipeline_stop(struct nbds_pipeline *p)
{
	atomic_store_explicit(&p->stop, true, memory_order_relaxed);
}

struct nbds_engine *nbds_pipeline_engine(const struct nbds_pipeline *p)
{
	return p->engine;
}

void nbds_pipeline_info(struct nbds_pipeline *p, struct nbds_pipeline_info *info)
{
	if (p->capture)
		nbds_capture_info(p->capture, &info->capture);
	else
		memset(&info->capture, 0, sizeof(info->capture));
	info->ip = *nbds_ip_stats(p->ip);
	info->tcp = *nbds_tcp_stats(p->tcp);
}

int64_t nbds_pipeline_start(const struct nbds_pipeline *p)
{
	return p->start;
}

const char *nbds_pipeline_error(const struct nbds_pipeline *p)
{
	return p->capture ? nbds_capture_error(p->capture) : "";
}

int nbds_pipeline_close(struct nbds_pipeline *p, char *err, size_t errsize)
{
	int result = 0;

	if (!p)
		return 0;
	/* Open flows hold streams of the engine: close them first. */
	nbds_pipeline_finish(p);
	if (p->capture) {
		result = nbds_capture_close(p->capture);
		if (result < 0 && errsize)
			snprintf(err, errsize, "the saved packets could not be written");
	}
	nbds_tcp_free(p->tcp);
	nbds_engine_free(p->engine);
	nbds_ip_free(p->ip);
	free(p);
	return result;
}
