/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pipeline.c - capture, IP, TCP and engine in one line.
 *
 *	capture ── packet ──► ip ── segment ──► feed: tcp ──► engine
 *	   │                                                    ▲
 *	   └── drops, interfaces ───────────────────────────────┘
 *
 * Capture and ip may be in another thread: see ../capture/ahead.h.
 */
#include "pipeline.h"
#include "../capture/ahead.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A live capture that is silent: packets younger than this may still be on
 * their way from the kernel. */
#define LIVE_DELAY_NS 500000000

/* Live drop counters are asked for once in so much time. */
#define DROPS_NS 250000000 /* less than verdicts wait */

struct nbds_pipeline {
	struct nbds_capture *capture; /* NULL: packets are given one by one */
	struct nbds_ahead *ahead;     /* reads the capture, and has `ip`; or NULL */
	struct nbds_ip *ip;
	struct nbds_feed *feed; /* TCP and the engine */
	void (*each)(void *ctx, const struct nbds_packet *packet);
	void *each_ctx;
	bool live, origin;
	enum nbds_threads threads;
	uint64_t memory, shared; /* of the configuration; what the caller takes of it */
	void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s);
	void *secrets_ctx;
	atomic_bool stop;
	enum nbds_step state; /* END and ERROR are final */
	bool finished;
	bool started;                   /* a packet was seen */
	int64_t start;                  /* its time */
	int64_t drops_asked;            /* clock time of the last look at the drop counters */
	uint64_t dropped;               /* told to the engine so far */
	struct nbds_capture_info given; /* no capture: of what was given */
};

static struct nbds_pipeline *pipeline_new(const struct nbds_pipeline_config *config, bool live,
					  char *err, size_t errsize)
{
	struct nbds_pipeline *p = calloc(1, sizeof(*p));
	struct nbds_feed_config feed = {
		.engine = config->engine,
		.ops = config->ops,
		.ctx = config->ctx,
		.drops_untold = !live,
	};

	/* what is read from a file is judged at its end: there is no hurry */
	if (!live && !feed.engine.patience)
		feed.engine.patience = INT64_MAX;
	if (!p)
		goto fail;
	p->live = live;
	atomic_init(&p->stop, false);
	p->ip = nbds_ip_new();
	p->feed = nbds_feed_new(&feed);
	if (!p->ip || !p->feed)
		goto fail;
	return p;
fail:
	snprintf(err, errsize, "out of memory");
	if (p) {
		nbds_feed_free(p->feed);
		nbds_ip_free(p->ip);
		free(p);
	}
	return NULL;
}

static uint64_t place(void *ctx, const uint8_t *bytes)
{
	const struct nbds_pipeline *p = ctx;

	return p->ahead ? nbds_ahead_place(p->ahead, bytes) : nbds_capture_place(p->capture, bytes);
}

static bool reread(void *ctx, uint64_t at, uint8_t *bytes, size_t size)
{
	const struct nbds_pipeline *p = ctx;

	return p->ahead ? nbds_ahead_reread(p->ahead, at, bytes, size)
			: nbds_capture_reread(p->capture, at, bytes, size);
}

/* The capture was opened, or not: then there is no pipeline. */
static struct nbds_pipeline *opened(struct nbds_pipeline *p,
				    const struct nbds_pipeline_config *config)
{
	struct nbds_tcp_reread from = {.ctx = p, .place = place, .read = reread};

	if (!p->capture) {
		nbds_pipeline_close(p, NULL, 0);
		return NULL;
	}
	if (nbds_capture_can_reread(p->capture))
		nbds_feed_reread(p->feed, &from);
	if (config->secrets)
		nbds_capture_keep_words(p->capture, config->secrets, config->secrets_ctx);
	p->secrets = config->secrets;
	p->secrets_ctx = config->secrets_ctx;
	p->threads = config->threads;
	p->memory = config->engine.memory ? config->engine.memory : NBDS_FEED_MEMORY;
	return p;
}

void nbds_pipeline_threads(struct nbds_pipeline *p)
{
	struct nbds_tcp_reread from = {.ctx = p, .place = place, .read = reread, .brief = true};

	if (p->ahead || p->started || p->finished || !p->capture)
		return;
	if (p->threads == NBDS_THREADS_ONE || !nbds_ahead_possible(p->capture) ||
	    (p->threads == NBDS_THREADS_USEFUL && !nbds_ahead_pays(p->capture, p->memory)))
		return;
	p->ahead = nbds_ahead_new(p->capture, p->ip, p->memory, p->secrets, p->secrets_ctx);
	if (p->ahead && p->live)
		nbds_feed_reread(p->feed, &from);
}

struct nbds_pipeline *nbds_pipeline_open(const char *path,
					 const struct nbds_pipeline_config *config, char *err,
					 size_t errsize)
{
	struct nbds_pipeline *p = pipeline_new(config, false, err, errsize);

	if (!p)
		return NULL;
	p->capture = nbds_capture_open(path, err, errsize);
	return opened(p, config);
}

struct nbds_pipeline *nbds_pipeline_open_fd(int fd, const struct nbds_pipeline_config *config,
					    char *err, size_t errsize)
{
	struct nbds_pipeline *p = pipeline_new(config, false, err, errsize);

	if (!p) {
		close(fd);
		return NULL;
	}
	p->capture = nbds_capture_open_fd(fd, err, errsize);
	return opened(p, config);
}

struct nbds_pipeline *nbds_pipeline_open_live(const char *device, const char *filter,
					      const struct nbds_pipeline_config *config, char *err,
					      size_t errsize)
{
	struct nbds_pipeline *p = pipeline_new(config, true, err, errsize);

	if (!p)
		return NULL;
	p->capture = nbds_capture_open_live(device, filter, config->snaplen, err, errsize);
	return opened(p, config);
}

struct nbds_pipeline *nbds_pipeline_open_origin(const struct nbds_capture_origin *origin,
						const struct nbds_pipeline_config *config,
						char *err, size_t errsize)
{
	struct nbds_pipeline *p = pipeline_new(config, true, err, errsize);

	if (!p) {
		origin->close(origin->origin);
		return NULL;
	}
	p->origin = true;
	p->capture = nbds_capture_open_origin(origin, err, errsize);
	if (!p->capture) {
		nbds_pipeline_close(p, NULL, 0);
		return NULL;
	}
	return p;
}

uint64_t nbds_pipeline_origin_dropped(const struct nbds_pipeline *p)
{
	return p->origin ? nbds_capture_origin_dropped(p->capture) : 0;
}

struct nbds_pipeline *nbds_pipeline_open_packets(const struct nbds_pipeline_config *config,
						 char *err, size_t errsize)
{
	return pipeline_new(config, false, err, errsize);
}

/* What follows is not for a file that another thread reads. False: it does so already. */
static bool read_here(struct nbds_pipeline *p)
{
	if (p->live || !p->ahead)
		return true;
	if (nbds_ahead_begun(p->ahead))
		return false;
	nbds_ahead_free(p->ahead);
	p->ahead = NULL;
	return true;
}

int nbds_pipeline_save(struct nbds_pipeline *p, const char *path)
{
	return p->capture && read_here(p) ? nbds_capture_save(p->capture, path) : -1;
}

int nbds_pipeline_save_fd(struct nbds_pipeline *p, int fd)
{
	if (p->capture && read_here(p))
		return nbds_capture_save_fd(p->capture, fd);
	close(fd);
	return -1;
}

/* Time has passed for the file that is saved. */
static void save_time(struct nbds_pipeline *p, bool quiet)
{
	struct nbds_capture_info info;

	if (!p->live || !p->ahead || !nbds_ahead_begun(p->ahead))
		return;
	nbds_ahead_info(p->ahead, &info);
	nbds_capture_save_time(p->capture, &info, quiet);
}

int nbds_pipeline_save_end(struct nbds_pipeline *p)
{
	save_time(p, false);
	return p->capture ? nbds_capture_save_end(p->capture) : 0;
}

void nbds_pipeline_on_packet(struct nbds_pipeline *p,
			     void (*each)(void *ctx, const struct nbds_packet *packet), void *ctx)
{
	p->each = each;
	p->each_ctx = ctx;
}

const char *nbds_pipeline_save_error(const struct nbds_pipeline *p)
{
	return p->capture ? nbds_capture_save_error(p->capture) : "";
}

static int64_t clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void capture_info(struct nbds_pipeline *p, struct nbds_capture_info *info)
{
	if (p->ahead)
		nbds_ahead_info(p->ahead, info);
	else
		nbds_capture_info(p->capture, info);
}

/* Tells the engine what the capture says that it dropped. */
static void drops(struct nbds_pipeline *p)
{
	struct nbds_capture_info info;

	if (!p->capture)
		return;
	if (p->live && !p->origin && !p->ahead) {
		int64_t now = clock_now();

		/* Asking the kernel costs a system call. */
		if (!p->finished && now >= p->drops_asked && now - p->drops_asked < DROPS_NS)
			return;
		p->drops_asked = now;
	}
	capture_info(p, &info);
	nbds_engine_interfaces(nbds_feed_engine(p->feed), info.interfaces);
	if (info.dropped > p->dropped) {
		nbds_engine_dropped(nbds_feed_engine(p->feed), info.dropped - p->dropped);
		p->dropped = info.dropped;
	}
}

/* A packet has come; what it carries comes next. */
static void begin(struct nbds_pipeline *p, const struct nbds_packet *packet)
{
	if (p->live && p->ahead)
		nbds_capture_save_packet(p->capture, packet);
	if (p->each)
		p->each(p->each_ctx, packet);
	if (!p->started) {
		p->started = true;
		p->start = packet->time;
		drops(p);
	}
	/* It says so at once, and what comes may be far behind the clock. */
	if (p->origin && nbds_capture_origin_dropped(p->capture) > p->dropped)
		drops(p);
	if (p->live && p->ahead && nbds_ahead_dropped(p->ahead) > p->dropped)
		drops(p);
}

static void handle(struct nbds_pipeline *p, const struct nbds_packet *packet)
{
	struct nbds_segment segment;

	begin(p, packet);
	if (nbds_ip_segment(p->ip, packet, &segment))
		nbds_feed_segment(p->feed, &segment);
	nbds_feed_time(p->feed, packet->time);
}

/* What a capture would have counted. */
static void count_given(struct nbds_pipeline *p, const char *format, int64_t time, uint64_t bytes)
{
	struct nbds_capture_info *given = &p->given;

	given->format = format;
	if (!given->frames++)
		given->start = given->end = time;
	if (time > given->end)
		given->end = time;
	given->bytes += bytes;
}

void nbds_pipeline_packet(struct nbds_pipeline *p, const struct nbds_packet *packet)
{
	if (p->finished)
		return;
	count_given(p, "packets", packet->time, packet->caplen);
	if (packet->caplen < packet->len)
		p->given.truncated_frames++;
	if (packet->interface >= p->given.interfaces)
		p->given.interfaces = packet->interface + 1;
	handle(p, packet);
}

struct nbds_feed *nbds_pipeline_feed(const struct nbds_pipeline *p)
{
	return p->feed;
}

void nbds_pipeline_fed(struct nbds_pipeline *p, int64_t time, uint64_t bytes)
{
	if (p->finished)
		return;
	count_given(p, "streams", time, bytes);
	if (!p->started) {
		p->started = true;
		p->start = time;
	}
	nbds_feed_time(p->feed, time);
}

void nbds_pipeline_finish(struct nbds_pipeline *p)
{
	if (p->finished)
		return;
	p->finished = true;
	p->given.complete = true;
	if (p->state < NBDS_STEP_END)
		p->state = NBDS_STEP_END;
	if (p->ahead)
		nbds_ahead_stop(p->ahead);
	drops(p);
	save_time(p, true);
	nbds_feed_finish(p->feed);
}

void nbds_pipeline_on_wait(struct nbds_pipeline *p, bool (*waiting)(void *ctx), void *ctx)
{
	if (p->capture && read_here(p))
		nbds_capture_on_wait(p->capture, waiting, ctx);
}

/* Of a file. 1; 0: the end; -1: error. */
static int handle_next(struct nbds_pipeline *p)
{
	const struct nbds_segment *segment;
	const struct nbds_packet *ahead;
	struct nbds_packet packet;
	int got;

	if (!p->ahead) {
		got = nbds_capture_next(p->capture, &packet);
		if (got > 0)
			handle(p, &packet);
		return got;
	}
	got = nbds_ahead_next(p->ahead, &ahead, &segment);
	if (got <= 0)
		return got;
	begin(p, ahead);
	if (segment)
		nbds_feed_segment(p->feed, segment);
	nbds_feed_time(p->feed, ahead->time);
	return got;
}

/* Of the memory others take a part, packets that wait among them. */
static void share(struct nbds_pipeline *p)
{
	nbds_feed_share(p->feed, p->shared + (p->ahead ? nbds_ahead_memory(p->ahead) : 0));
}

static void handle_live(void *ctx, struct nbds_packet *packet)
{
	handle(ctx, packet);
}

enum nbds_step nbds_pipeline_step(struct nbds_pipeline *p, unsigned packets)
{
	int64_t silence;

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
		if (p->live && !p->ahead)
			got = nbds_capture_each(p->capture, (int)(packets - i), handle_live, p);
		else
			got = handle_next(p);
		if (got > 0) {
			i += (unsigned)got;
			continue;
		}
		if (got < 0) {
			p->state = NBDS_STEP_ERROR;
			break;
		}
		if (!p->live || nbds_capture_over(p->capture)) {
			p->state = NBDS_STEP_END;
			break;
		}
		/* Silence: time goes on all the same. */
		if (p->origin)
			drops(p);
		silence = p->ahead ? nbds_ahead_silence(p->ahead) : clock_now();
		if (p->started && silence)
			nbds_feed_time(p->feed, silence - LIVE_DELAY_NS);
		drops(p);
		save_time(p, true);
		return NBDS_STEP_IDLE;
	}
	if (p->state >= NBDS_STEP_END) {
		nbds_pipeline_finish(p);
		return p->state;
	}
	drops(p);
	save_time(p, false);
	share(p);
	return NBDS_STEP_MORE;
}

void nbds_pipeline_stop(struct nbds_pipeline *p)
{
	atomic_store_explicit(&p->stop, true, memory_order_relaxed);
}

struct nbds_engine *nbds_pipeline_engine(const struct nbds_pipeline *p)
{
	return nbds_feed_engine(p->feed);
}

void nbds_pipeline_share(struct nbds_pipeline *p, uint64_t bytes)
{
	p->shared = bytes;
	share(p);
}

void nbds_pipeline_info(struct nbds_pipeline *p, struct nbds_pipeline_info *info)
{
	if (p->capture)
		capture_info(p, &info->capture);
	else
		info->capture = p->given;
	info->ip = *(p->ahead ? nbds_ahead_stats(p->ahead) : nbds_ip_stats(p->ip));
	info->tcp = *nbds_feed_tcp_stats(p->feed);
}

int64_t nbds_pipeline_start(const struct nbds_pipeline *p)
{
	return p->start;
}

const char *nbds_pipeline_error(const struct nbds_pipeline *p)
{
	if (p->ahead && nbds_ahead_begun(p->ahead) && !nbds_ahead_over(p->ahead))
		return nbds_capture_save_refusal(p->capture); /* it has not failed, so far */
	return p->capture ? nbds_capture_error(p->capture) : "";
}

int nbds_pipeline_close(struct nbds_pipeline *p, char *err, size_t errsize)
{
	int result = 0;

	if (!p)
		return 0;
	/* Open flows hold streams of the engine: close them first. */
	nbds_pipeline_finish(p);
	nbds_ahead_free(p->ahead);
	if (p->capture) {
		result = nbds_capture_close(p->capture);
		if (result < 0 && errsize)
			snprintf(err, errsize, "the saved packets could not be written");
	}
	nbds_feed_free(p->feed);
	nbds_ip_free(p->ip);
	free(p);
	return result;
}
