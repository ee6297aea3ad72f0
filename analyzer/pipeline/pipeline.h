/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/pipeline/pipeline.h - one capture, from packets to the engine.
 *
 * Purpose.  The line that all fronts share: a file or an interface is opened,
 * and each step takes a batch of packets through link layer, IP and TCP into
 * an engine, whose callbacks are the front's own.  There are no globals: a
 * program may run several pipelines, each on a thread of its own choice.
 *
 * Ownership.  A pipeline owns its capture, TCP state and engine.  What the
 * engine hands out stays readable until nbds_pipeline_close().
 *
 * Threads.  Everything belongs to the thread that steps it, callbacks come on
 * that thread, and only nbds_pipeline_stop() may be called from elsewhere, a
 * signal handler included.  With two threads a capture is read by one that
 * nbds_pipeline_threads() makes, and that begins with the first step; what comes of it is
 * the same.
 *
 * Failure.  Opening returns NULL with one line in `err`.  A step that fails
 * leaves one line in nbds_pipeline_error(); what was read before is finished
 * like a whole capture and can be reported.
 *
 * Example.
 *	p = nbds_pipeline_open("a.pcap", &config, err, sizeof(err));
 *	while (nbds_pipeline_step(p, 512) <= NBDS_STEP_IDLE)
 *		draw_progress();
 *	report(nbds_pipeline_engine(p));
 *	nbds_pipeline_close(p);
 */
#ifndef NBDSCOPE_ANALYZER_PIPELINE_H
#define NBDSCOPE_ANALYZER_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/engine.h>

#include "../capture/capture.h"
#include "../capture/ip.h"
#include "../feed/feed.h"

struct nbds_pipeline;

/* Threads that work on a file or an interface; a pipe and a relay have one. */
enum nbds_threads {
	NBDS_THREADS_ONE,   /* the one that steps */
	NBDS_THREADS_TWO,   /* another one reads ahead of it, see ../capture/ahead.h */
	NBDS_THREADS_USEFUL /* two, where it pays */
};

struct nbds_pipeline_config {
	/* .memory bounds engine and TCP together: contents, bytes that wait for others,
	 * and flows, of which the least useful are forgotten when there are too many */
	struct nbds_engine_config engine;
	struct nbds_engine_ops ops; /* the engine's callbacks, and their context */
	void *ctx;
	uint32_t snaplen; /* live: bytes of a packet that are captured; 0: all */
	/* A file's decryption secrets, before the packets that they may be for; or NULL. */
	void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s);
	void *secrets_ctx;
	enum nbds_threads threads; /* of nbds_pipeline_threads() */
};

enum nbds_step {
	NBDS_STEP_MORE,  /* there may be more */
	NBDS_STEP_IDLE,  /* live: no packet within the read time-out of about 100 ms */
	NBDS_STEP_END,   /* the file's end, or stopped: everything is finished */
	NBDS_STEP_ERROR, /* reading failed: what was read before is finished */
};

/* A capture file ("-": standard input). */
struct nbds_pipeline *nbds_pipeline_open(const char *path,
					 const struct nbds_pipeline_config *config, char *err,
					 size_t errsize);

/* The same of an open file, from where it stands; the descriptor becomes the pipeline's. */
struct nbds_pipeline *nbds_pipeline_open_fd(int fd, const struct nbds_pipeline_config *config,
					    char *err, size_t errsize);

/* A live interface, with a pcap filter or NULL. */
struct nbds_pipeline *nbds_pipeline_open_live(const char *device, const char *filter,
					      const struct nbds_pipeline_config *config, char *err,
					      size_t errsize);

/* What comes from elsewhere, as if it were live: see nbds_capture_open_origin(). The origin
 * becomes the pipeline's, also if this fails. It ends when the origin says that it is over. */
struct nbds_pipeline *nbds_pipeline_open_origin(const struct nbds_capture_origin *origin,
						const struct nbds_pipeline_config *config,
						char *err, size_t errsize);

/* What of it was dropped so far; 0 of all else. */
uint64_t nbds_pipeline_origin_dropped(const struct nbds_pipeline *p);

/* No capture: packets come through nbds_pipeline_packet(), and end with
 * nbds_pipeline_finish(), which a step does here; nothing can be saved. */
struct nbds_pipeline *nbds_pipeline_open_packets(const struct nbds_pipeline_config *config,
						 char *err, size_t errsize);
/* The next packet. Its frame number and time are the caller's to give. */
void nbds_pipeline_packet(struct nbds_pipeline *p, const struct nbds_packet *packet);
/* No capture, and no packets either: bytes of connections come in order, through flows that
 * the caller opens in this feed, and closes before the finish. */
struct nbds_feed *nbds_pipeline_feed(const struct nbds_pipeline *p);
/* Of those: `bytes` of them came at `time`, which goes on. */
void nbds_pipeline_fed(struct nbds_pipeline *p, int64_t time, uint64_t bytes);

/* Makes the thread that reads, if there is to be one: once rights were given up, before the
 * program is confined, and before the first step. Without it all is done by who steps. */
void nbds_pipeline_threads(struct nbds_pipeline *p);

/* Live: also save the packets to `path`, from now on. 0, or -1: see
 * nbds_pipeline_error(). Of a file only before the first step. */
int nbds_pipeline_save(struct nbds_pipeline *p, const char *path);
/* The same to an open file, whose descriptor becomes the pipeline's. */
int nbds_pipeline_save_fd(struct nbds_pipeline *p, int fd);
/* Ends the saving; another may begin. 0, or -1 with errno set. */
int nbds_pipeline_save_end(struct nbds_pipeline *p);
/* Why packets cannot be saved any more; "": they are. */
const char *nbds_pipeline_save_error(const struct nbds_pipeline *p);

/* A file that is a pipe: see nbds_capture_on_wait(). It is called between two
 * packets, on the thread that steps. */
void nbds_pipeline_on_wait(struct nbds_pipeline *p, bool (*waiting)(void *ctx), void *ctx);

/* Also hands every packet to `each`, before it is handled. NULL: no more. */
void nbds_pipeline_on_packet(struct nbds_pipeline *p,
			     void (*each)(void *ctx, const struct nbds_packet *packet), void *ctx);

/* Handles at most `packets` packets. After END or ERROR it does nothing more
 * and answers the same again. */
enum nbds_step nbds_pipeline_step(struct nbds_pipeline *p, unsigned packets);

/* The next step, or the packet after the one being handled, will be the last. */
void nbds_pipeline_stop(struct nbds_pipeline *p);

/* No more packets will be handled: all connections close, all verdicts are
 * passed. The last step does this by itself; calling it again does no harm. */
void nbds_pipeline_finish(struct nbds_pipeline *p);

struct nbds_engine *nbds_pipeline_engine(const struct nbds_pipeline *p);

/* Of the memory of the configuration the caller takes `bytes` now: the rest is for the
 * engine and for what feeds it. */
void nbds_pipeline_share(struct nbds_pipeline *p, uint64_t bytes);

/* Where the reading stands. */
struct nbds_pipeline_info {
	struct nbds_capture_info capture;
	struct nbds_ip_stats ip;
	struct nbds_tcp_stats tcp;
};
void nbds_pipeline_info(struct nbds_pipeline *p, struct nbds_pipeline_info *info);

/* The time of the first packet, ns; 0 before it. */
int64_t nbds_pipeline_start(const struct nbds_pipeline *p);

/* The last error, one line; "" if none. */
const char *nbds_pipeline_error(const struct nbds_pipeline *p);

/* Frees everything. 0, or -1 with the reason in `err` if the saved file could
 * not be written to its end. */
int nbds_pipeline_close(struct nbds_pipeline *p, char *err, size_t errsize);

#endif
