/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker.c - the thread that captures. See model.h.
 *
 *	 packets ──► pipeline ──► engine ──► told: log, rows, findings
 *	                                       │
 *	 screen ◄── exchange ◄── publish ◄── snapshot
 */
#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../analyzer/capture/live.h"
#include "../analyzer/capture/privileges.h"
#include "../analyzer/metrics/metrics.h"
#include "../analyzer/options/keys.h"
#include "../analyzer/options/shared.h"

/* Packets between two looks at the clock. */
#define BATCH 256

#define PUBLISH_NS  INT64_C(100000000)
#define HEADLESS_NS INT64_C(1000000000) /* where there is no screen */
#define SECOND_NS   INT64_C(1000000000)

/* While a file is read, or live, no more rows than so many are shown. */
#define ROWS_MAX 2000

/* So long, in capture time, a violation in a file waits for other copies of its bytes. */
#define FILE_PATIENCE INT64_C(30000000000)

/* A packet that is not older has come from a capture that goes on. */
#define FRESH_NS (60 * SECOND_NS)

/* Messages that are kept. */
#define HISTORY_LIVE 65536
#define HISTORY_FILE 1000000

/* And for so many messages one finding, and one finished connection if they are
 * forgotten at all. */
#define HISTORY_FINDING  16
#define HISTORY_FINISHED 128

/* What a finding takes. */
#define FINDING_BYTES 2048

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool forgets(const struct worker *w)
{
	return !w->config.file || w->config.replay > 0 || w->state == STATE_LIVE;
}

static void notice(struct worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void notice(struct worker *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w->notice, sizeof(w->notice), format, args);
	va_end(args);
	w->notices++;
}

/* --- snapshots --- */

static void pipeline_info(struct worker *w, struct nbds_pipeline_info *info)
{
	nbds_pipeline_info(w->pipeline, info);
	if (w->capture)
		nbds_capture_info(w->capture, &info->capture);
}

static int64_t capture_now(const struct worker *w, const struct nbds_pipeline_info *info)
{
	switch (w->state) {
	case STATE_LIVE:
		return clock_ns(CLOCK_REALTIME);
	case STATE_REPLAY:
		return w->played;
	default:
		return info->capture.end;
	}
}

/* Sums over all connections: once a second. */
static void publish_latency(struct worker *w, struct snapshot *s, bool second)
{
	if (!w->want.latency)
		return;
	if (second || w->latency_stale) {
		snapshot_latency(s, &w->told.rows, &w->merged);
		memcpy(w->histograms, s->histograms, sizeof(w->histograms));
	} else {
		memcpy(s->histograms, w->histograms, sizeof(s->histograms));
	}
	w->latency_stale = false;
}

/* What the relay's user would not notice. */
static void look_at_relay(struct worker *w)
{
	struct nbds_relay_status status;

	if (!w->relay)
		return;
	nbds_relay_status(w->relay, &status);
	if (status.refused > w->refused)
		notice(w, "a client was closed, as the server is not reached: %s", status.error);
	else if (status.crowded && !w->crowded)
		notice(w, "clients wait: no more connections can be open at a time (ulimit -n)");
	else if (!w->behind && nbds_pipeline_origin_dropped(w->pipeline))
		notice(w, "this screen is behind, and misses packets; the traffic goes on");
	w->behind = nbds_pipeline_origin_dropped(w->pipeline);
	w->crowded = status.crowded;
	w->refused = status.refused;
}

static void publish(struct worker *w)
{
	bool over = w->state == STATE_DONE || w->state == STATE_FAILED;
	/* A file that is only read has no last second. */
	bool finite = w->config.file && (over || w->state == STATE_LOADING);
	int64_t clock = clock_ns(CLOCK_MONOTONIC), now;
	struct snapshot *s = w->back;
	bool second;

	look_at_relay(w);
	w->published = clock;
	pipeline_info(w, &s->info);
	now = capture_now(w, &s->info);
	second = clock - w->second_clock >= SECOND_NS || (over && !w->settled);
	if (second) {
		double seconds = (double)(now - w->second_now) / 1e9;

		if (!over)
			rows_age(&w->told.rows, nbds_pipeline_engine(w->pipeline),
				 forgets(w) ? now : INT64_MIN);
		rows_refresh(&w->told.rows, true, seconds, finite);
		if (w->state == STATE_LIVE || w->state == STATE_REPLAY)
			rows_tick(&w->told.rows, now);
		if (seconds > 0) {
			w->packet_rate =
				(double)(s->info.capture.frames - w->second_frames) / seconds;
			w->byte_rate = (double)(s->info.capture.bytes - w->second_bytes) / seconds;
		}
		w->second_clock = clock;
		w->second_now = now;
		w->second_frames = s->info.capture.frames;
		w->second_bytes = s->info.capture.bytes;
		w->settled = over;
	} else {
		rows_refresh(&w->told.rows, false, 0, false);
	}
	if (!w->save_failed && *nbds_pipeline_save_error(w->pipeline)) {
		w->save_failed = true;
		notice(w, "%s", nbds_pipeline_save_error(w->pipeline));
	}
	s->state = w->state;
	s->relayed = w->relay;
	s->cancelled = w->cancelled;
	s->piped = w->config.file;
	s->finite = finite;
	snprintf(s->error, sizeof(s->error), "%s", w->error);
	snprintf(s->notice, sizeof(s->notice), "%s", w->notice);
	s->notices = w->notices;
	s->started = s->info.capture.frames > 0;
	s->start = w->capture ? s->info.capture.start : nbds_pipeline_start(w->pipeline);
	s->now = now;
	s->replay_speed = w->speed;
	s->saving = w->saving;
	s->save_failed = w->save_failed;
	s->ring_packets = w->ring.count;
	s->ring_depth = w->ring.count ? w->ring.last_time - w->ring.first_time : 0;
	s->packet_rate = w->packet_rate;
	s->byte_rate = w->byte_rate;
	s->messages = log_total(w->told.log);
	nbds_engine_totals(nbds_pipeline_engine(w->pipeline), &s->totals);
	/* While more may come, not more than anybody can look at. */
	snapshot_rows(s, &w->told.rows, over ? w->told.rows.listed_max : ROWS_MAX);
	snapshot_findings(s, &w->told.findings);
	s->wanted = w->want;
	snapshot_wanted(s, &w->told.rows);
	publish_latency(w, s, second);
	s->serial = ++w->serials;

	pthread_mutex_lock(&w->lock);
	w->back = w->ready;
	w->ready = s;
	w->fresh = true;
	pthread_mutex_unlock(&w->lock);
	if (eventfd_write(w->fd, 1) < 0) {
		/* It is readable already. */
	}
}

/* Something happened that a screen would show. */
static bool changed(struct worker *w)
{
	uint64_t sum = log_total(w->told.log) + w->told.changes + w->notices + (uint64_t)w->state;
	struct nbds_pipeline_info info;

	/* Progress; and once a second ages, and drops. */
	if (w->state == STATE_LOADING || clock_ns(CLOCK_MONOTONIC) - w->published >= SECOND_NS)
		return true;
	if (w->config.file) {
		pipeline_info(w, &info);
		sum += info.capture.frames;
	}
	if (sum == w->published_sum)
		return false;
	w->published_sum = sum;
	return true;
}

/* --- orders from the screen --- */

static void save(struct worker *w, int fd, const char *name)
{
	if (nbds_pipeline_save_fd(w->pipeline, fd) < 0) {
		notice(w, "%s: %s", name, nbds_pipeline_error(w->pipeline));
		return;
	}
	w->saving = true;
	notice(w, "packets go to %s from now on", name);
}

static void save_end(struct worker *w)
{
	if (!w->saving)
		return;
	w->saving = false;
	if (nbds_pipeline_save_end(w->pipeline) < 0)
		notice(w, "not all packets could be saved: %s", strerror(errno));
	else
		notice(w, "no more packets are saved");
	w->save_failed = false;
}

/* Goes through the packets that are kept. */
static bool pick_from_ring(struct worker *w, struct pick *p)
{
	struct nbds_packet packet;
	uint64_t at = 0;
	size_t place = 0;

	while (ring_next(&w->ring, &at, &place, &packet))
		if (!pick_packet(p, &packet))
			return false;
	return true;
}

/* Reads the file again, as far as need be. */
static bool pick_from_file(struct worker *w, struct pick *p)
{
	int fd = fcntl(w->again, F_DUPFD_CLOEXEC, 0);
	struct nbds_capture *c = NULL;
	struct nbds_packet packet;
	bool good = true;
	char err[256];

	if (fd >= 0 && lseek(fd, 0, SEEK_SET) == 0)
		c = nbds_capture_open_fd(fd, err, sizeof(err));
	else if (fd >= 0)
		close(fd);
	if (!c)
		return false;
	while (good && !atomic_load(&w->quit) && nbds_capture_next(c, &packet) == 1) {
		good = pick_packet(p, &packet);
		if (pick_over(p, packet.frame + 1))
			break;
	}
	nbds_capture_close(c);
	return good;
}

static void save_pick(struct worker *w, struct pick *p)
{
	uint64_t first = p->count ? p->ranges[0].first : 0;
	bool from_file = w->again >= 0, good;

	for (size_t i = 0; i < p->count; i++)
		first = p->ranges[i].first < first ? p->ranges[i].first : first;
	errno = ENOMEM;
	good = pick_begin(p) && (from_file ? pick_from_file(w, p) : pick_from_ring(w, p));
	if (p->writer && !pick_end(p))
		good = false;
	if (!good)
		notice(w, "%s: %s", p->name, strerror(errno));
	else
		notice(w, "%" PRIu64 " packet%s of %s saved to %s%s%s", p->saved,
		       p->saved == 1 ? "" : "s", p->what, p->name,
		       p->more ? ", the first ones" : "",
		       !from_file && (!w->ring.count || first < w->ring.first_frame)
			       ? "; earlier ones are not kept any more"
			       : "");
	pick_free(p);
}

static void keep_packet(void *ctx, const struct nbds_packet *packet)
{
	struct worker *w = ctx;

	ring_add(&w->ring, packet);
}

static void clear_order(struct worker *w)
{
	struct export_track *x = rows_export(&w->told.rows, w->want.export);

	if (x && x->order)
		order_init(x->order);
}

/* True: publish at once. */
static bool obey(struct worker *w)
{
	struct orders o;

	if (!atomic_exchange(&w->poked, false))
		return false;
	pthread_mutex_lock(&w->lock);
	o = w->orders;
	w->orders.clear_order = false;
	w->orders.save = -1;
	w->orders.save_end = false;
	w->orders.pick = NULL;
	pthread_mutex_unlock(&w->lock);
	if (memcmp(&o.want, &w->want, sizeof(o.want)) != 0)
		w->latency_stale = true;
	w->want = o.want;
	if (o.clear_order)
		clear_order(w);
	if (o.save_end)
		save_end(w);
	if (o.save >= 0)
		save(w, o.save, o.save_name);
	if (o.pick)
		save_pick(w, o.pick);
	if (o.speed > 0)
		w->speed = o.speed;
	w->hold = o.hold;
	if (o.cancel && !w->cancelled && w->state != STATE_DONE && w->state != STATE_FAILED) {
		w->cancelled = true;
		nbds_pipeline_stop(w->pipeline);
	}
	return true;
}

/* Sleeps until something is ordered, or for `ns`; negative: for ever. */
static void rest(struct worker *w, int64_t ns)
{
	struct timespec until;
	int64_t at = clock_ns(CLOCK_MONOTONIC) + ns;

	until.tv_sec = (time_t)(at / SECOND_NS);
	until.tv_nsec = (long)(at % SECOND_NS);
	pthread_mutex_lock(&w->lock);
	while (!atomic_load(&w->poked) && !atomic_load(&w->quit)) {
		if (ns < 0)
			pthread_cond_wait(&w->wake, &w->lock);
		else if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT)
			break;
	}
	pthread_mutex_unlock(&w->lock);
}

/* What a pipe brings has just been captured: by somebody else, and live all the same. */
static bool is_live(struct worker *w)
{
	struct nbds_pipeline_info info;
	int64_t age;

	pipeline_info(w, &info);
	age = clock_ns(CLOCK_REALTIME) - info.capture.end;
	return info.capture.frames && age > -FRESH_NS && age < FRESH_NS;
}

/* Time has passed, for who scrapes. */
static void update_metrics(struct worker *w)
{
	const char *trouble;

	nbds_metrics_update(w->config.metrics);
	trouble = nbds_metrics_trouble(w->config.metrics);
	if (trouble)
		notice(w, "%s", trouble);
}

/* A pipe says nothing for the time being: what has come is shown. False: enough. */
static bool waiting(void *arg)
{
	struct worker *w = arg;

	if (w->state == STATE_LOADING && is_live(w))
		w->state = STATE_LIVE;
	update_metrics(w);
	if (obey(w) || changed(w))
		publish(w);
	return !w->cancelled && !atomic_load(&w->quit);
}

/* --- a file in its own time --- */

static void over(struct worker *w, enum worker_state state, const char *error)
{
	w->state = state;
	snprintf(w->error, sizeof(w->error), "%s", error);
}

/* Capture time moves on with the clock, and packets whose time has come are
 * handled. False: wait. */
static bool replay(struct worker *w)
{
	int64_t clock = clock_ns(CLOCK_MONOTONIC);
	double passed = (double)(clock - w->replay_clock) * w->speed;

	w->replay_clock = clock;
	if (!w->hold && w->replay_begun)
		w->played += passed < 9e18 ? (int64_t)passed : 0;
	for (unsigned i = 0; i < BATCH; i++) {
		int got;

		if (w->cancelled) {
			nbds_pipeline_finish(w->pipeline);
			over(w, STATE_DONE, "");
			return true;
		}
		if (!w->have_next) {
			got = nbds_capture_next(w->capture, &w->next);
			if (got <= 0) {
				bool bad = got < 0 && !w->cancelled;

				nbds_pipeline_finish(w->pipeline);
				over(w, bad ? STATE_FAILED : STATE_DONE,
				     bad ? nbds_capture_error(w->capture) : "");
				return true;
			}
			w->have_next = true;
			if (!w->replay_begun)
				w->played = w->next.time;
			w->replay_begun = true;
		}
		if (w->next.time > w->played)
			break;
		nbds_pipeline_packet(w->pipeline, &w->next);
		w->have_next = false;
	}
	if (w->have_next && w->next.time > w->played) {
		/* Verdicts wait for capture time to pass, also in silence. */
		nbds_engine_tick(nbds_pipeline_engine(w->pipeline), w->played);
		return false;
	}
	return true;
}

/* ns until the next packet is due, at most a publishing's. */
static int64_t replay_wait(const struct worker *w)
{
	double ns = (double)(w->next.time - w->played) / w->speed;

	return w->hold || ns > (double)PUBLISH_NS ? PUBLISH_NS : (int64_t)ns + 1;
}

/* --- the thread --- */

static void *work(void *arg)
{
	struct worker *w = arg;

	/* Not a packet is looked at before the program is confined. */
	while (!atomic_load(&w->go) && !atomic_load(&w->quit))
		rest(w, -1);
	publish(w);
	while (!atomic_load(&w->quit)) {
		bool now = obey(w), wait = false;

		switch (w->state) {
		case STATE_LOADING:
		case STATE_LIVE:
			switch (nbds_pipeline_step(w->pipeline, BATCH)) {
			case NBDS_STEP_MORE:
			case NBDS_STEP_IDLE:
				break;
			case NBDS_STEP_END:
				over(w, STATE_DONE, "");
				break;
			case NBDS_STEP_ERROR:
				/* Stopped in the middle of a packet. */
				if (w->cancelled)
					over(w, STATE_DONE, "");
				else
					over(w, STATE_FAILED, nbds_pipeline_error(w->pipeline));
				break;
			}
			break;
		case STATE_REPLAY:
			wait = !replay(w);
			break;
		case STATE_DONE:
		case STATE_FAILED:
			break;
		}
		update_metrics(w);
		if (w->state == STATE_DONE || w->state == STATE_FAILED) {
			nbds_metrics_detach(w->config.metrics);
			if (now || !w->settled)
				publish(w);
			rest(w, -1);
			continue;
		}
		nbds_pipeline_share(w->pipeline, w->told.rows.budget.used);
		/* Not only once a second if they come by the thousand. */
		if (rows_crowded(&w->told.rows))
			rows_age(&w->told.rows, nbds_pipeline_engine(w->pipeline), INT64_MIN);
		if (now || (clock_ns(CLOCK_MONOTONIC) - w->published >=
				    (w->config.headless ? HEADLESS_NS : PUBLISH_NS) &&
			    changed(w)))
			publish(w);
		if (wait)
			rest(w, replay_wait(w));
	}
	return NULL;
}

/* A file can be read again if it is one; what comes from elsewhere is kept for a while. */
static void open_again(struct worker *w)
{
	const char *file = w->config.file;
	struct stat st;

	if (!file || !strcmp(file, "-") || stat(file, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	w->again = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

/* Between client and server; with the rights of who runs the program. */
static bool open_relay(struct worker *w, const struct nbds_pipeline_config *config, char *err,
		       size_t errsize)
{
	const struct worker_config *c = &w->config;
	char name[NBDS_RELAY_NAME], comment[NBDS_ORIGIN_WORDS];
	struct nbds_endpoint listening, server;
	struct nbds_view *view;

	if (!nbds_endpoint_parse(c->listen, true, &listening, err, errsize) ||
	    !nbds_endpoint_parse(c->connect, false, &server, err, errsize))
		return false;
	nbds_relay_name(c->listen, c->connect, false, name);
	nbds_relay_comment(&listening, &server, comment, sizeof(comment));
	view = nbds_view_new(NBDS_VIEW_BYTES, name, comment);
	if (!view) {
		snprintf(err, errsize, "out of memory");
		return false;
	}
	w->relay = nbds_relay_open(&listening, &server, view, err, errsize);
	if (!w->relay) {
		nbds_view_free(view);
		return false;
	}
	w->pipeline = nbds_pipeline_open_origin(nbds_view_origin(view), config, err, errsize);
	if (!w->pipeline)
		return false;
	w->state = STATE_LIVE;
	if (c->save && nbds_pipeline_save(w->pipeline, c->save) < 0) {
		snprintf(err, errsize, "%s: %s", c->save, nbds_pipeline_error(w->pipeline));
		return false;
	}
	w->saving = c->save;
	return nbds_privileges_drop(c->user, err, errsize) == 0 &&
	       nbds_relay_start(w->relay, err, errsize);
}

static bool open_all(struct worker *w, char *err, size_t errsize)
{
	const struct worker_config *c = &w->config;
	struct nbds_pipeline_config config = {
		.engine = c->engine,
		.ops = told_ops,
		.ctx = &w->told,
		.snaplen = c->snaplen,
	};
	bool borrowed = nbds_privileges_borrowed();

	config.engine.keep_ended = true; /* until rows_age() lets them go */
	w->opener = nbds_opener_start(c->save, c->setup_path, borrowed || !c->file, c->user, err,
				      errsize);
	if (!w->opener)
		return false;
	/* after the opener has begun: it has no use for keys */
	w->keys = nbds_keys_open(c->tls_keys, !c->file || !strcmp(c->file, "-"),
				 c->engine.memory ? c->engine.memory : NBDS_MEMORY_DEFAULT, err);
	if (!w->keys)
		return false;
	nbds_keys_use(w->keys, &config);
	if (c->file) {
		/* The file may be a pipe that never ends. */
		config.engine.patience = FILE_PATIENCE;
		/* Files are read with the rights of who runs the program. */
		if (borrowed && nbds_privileges_drop(c->user, err, errsize) < 0)
			return false;
		if (c->replay > 0) {
			w->capture = nbds_capture_open(c->file, err, errsize);
			if (w->capture) {
				nbds_capture_keep_words(w->capture, config.secrets,
							config.secrets_ctx);
				w->pipeline = nbds_pipeline_open_packets(&config, err, errsize);
			}
		} else {
			w->pipeline = nbds_pipeline_open(c->file, &config, err, errsize);
		}
		open_again(w);
		w->state = c->replay > 0 ? STATE_REPLAY : STATE_LOADING;
		return w->pipeline;
	}
	if (c->listen) {
		if (borrowed && nbds_privileges_drop(c->user, err, errsize) < 0)
			return false;
		/* There is one order of all that it sees: strictly later is later. */
		config.engine.epsilon = 1;
		return open_relay(w, &config, err, errsize);
	}
	config.threads = NBDS_THREADS_USEFUL;
	w->pipeline = nbds_pipeline_open_live(c->interface, c->filter, &config, err, errsize);
	if (!w->pipeline)
		return false;
	w->state = STATE_LIVE;
	nbds_live_hurry(); /* for the threads that are to be started */
	w->session = nbds_live_hurry_session();
	for (int turn = 0; turn < 2; turn++) {
		/* Root's own file may be one that only root can write. */
		if (c->save && turn == borrowed) {
			if (nbds_pipeline_save(w->pipeline, c->save) < 0) {
				snprintf(err, errsize, "%s: %s", c->save,
					 nbds_pipeline_error(w->pipeline));
				return false;
			}
			w->saving = true;
		}
		if (turn == 0 && nbds_privileges_drop(c->user, err, errsize) < 0)
			return false;
	}
	return true;
}

static void destroy(struct worker *w)
{
	nbds_live_relax_session(w->session);
	nbds_tls_reader_free(w->keys);
	log_free(w->told.log);
	ring_close(&w->ring);
	pick_free(w->orders.pick);
	if (w->again >= 0)
		close(w->again);
	for (int i = 0; i < 3; i++)
		snapshot_free(&w->snapshots[i]);
	findings_close(&w->told.findings);
	rows_free(&w->told.rows);
	if (w->orders.save >= 0)
		close(w->orders.save);
	nbds_opener_stop(w->opener);
	if (w->fd >= 0)
		close(w->fd);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* Divides the memory: a quarter at most is for messages, unless the user wants more of
 * them, an eighth for snapshots, a sixteenth for findings, and as much for packets; and the
 * engine has the rest, less what rows take. */
static void divide(struct worker *w, uint64_t *history)
{
	uint64_t all = w->config.engine.memory ? w->config.engine.memory : NBDS_MEMORY_DEFAULT,
		 spent;

	if (!*history) {
		uint64_t most = forgets(w) ? HISTORY_LIVE : HISTORY_FILE;

		*history = log_entries(all / 4);
		if (*history > most)
			*history = most;
	}
	w->told.rows.moves = forgets(w);
	rows_init(&w->told.rows, all / 8, (size_t)(*history / HISTORY_FINISHED));
	findings_open(&w->told.findings,
		      (size_t)least(*history / HISTORY_FINDING, all / 16 / FINDING_BYTES) + 16);
	if (!w->config.ring_given)
		w->config.ring = all / 16;
	spent = log_bytes(*history) + all / 8 + all / 16 + w->config.ring;
	w->config.engine.memory = spent < all - all / 4 ? all - spent : all / 4;
}

struct worker *worker_start(const struct worker_config *config, char *err, size_t errsize)
{
	struct worker *w = calloc(1, sizeof(*w));
	uint64_t history = config->history;
	pthread_condattr_t monotonic;

	if (!w) {
		snprintf(err, errsize, "out of memory");
		return NULL;
	}
	w->config = *config;
	w->speed = config->replay;
	w->fd = w->orders.save = w->again = w->session = -1;
	w->back = &w->snapshots[0];
	w->ready = &w->snapshots[1];
	w->taken = &w->snapshots[2];
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	divide(w, &history);
	w->told.log = log_new(history);
	w->told.severity = config->severity;
	w->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (!w->told.log || w->fd < 0) {
		snprintf(err, errsize, "out of memory");
		destroy(w);
		return NULL;
	}
	if (!open_all(w, err, errsize))
		goto failed;
	if (w->again < 0 && w->config.ring) {
		ring_open(&w->ring, (size_t)w->config.ring);
		nbds_pipeline_on_packet(w->pipeline, keep_packet, w);
	}
	nbds_pipeline_on_wait(w->pipeline, waiting, w);
	if (w->capture)
		nbds_capture_on_wait(w->capture, waiting, w);
	w->second_clock = w->published = w->replay_clock = clock_ns(CLOCK_MONOTONIC);
	w->second_now = w->config.file ? 0 : clock_ns(CLOCK_REALTIME);
	nbds_metrics_attach(config->metrics, w->pipeline);
	if (!nbds_metrics_begin(config->metrics, err, errsize))
		goto failed;
	nbds_pipeline_threads(w->pipeline);
	errno = pthread_create(&w->thread, NULL, work, w);
	if (errno) {
		snprintf(err, errsize, "cannot start a thread: %s", strerror(errno));
		goto failed;
	}
	nbds_live_relax();
	return w;

failed:
	nbds_metrics_detach(config->metrics);
	nbds_relay_close(w->relay); /* it writes to what the pipeline closes */
	nbds_pipeline_close(w->pipeline, NULL, 0);
	if (w->capture)
		nbds_capture_close(w->capture);
	destroy(w);
	return NULL;
}

int worker_stop(struct worker *w, char *err, size_t errsize)
{
	int result;

	atomic_store(&w->quit, true);
	pthread_mutex_lock(&w->lock);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	nbds_relay_close(w->relay);
	/* What was under way is counted, too. */
	nbds_pipeline_finish(w->pipeline);
	nbds_metrics_detach(w->config.metrics);
	result = nbds_pipeline_close(w->pipeline, err, errsize);
	if (w->capture)
		nbds_capture_close(w->capture);
	destroy(w);
	return result;
}

/* --- for the screen's thread --- */

int worker_fd(const struct worker *w)
{
	return w->fd;
}

struct log *worker_log(const struct worker *w)
{
	return w->told.log;
}

struct snapshot *worker_take(struct worker *w)
{
	struct snapshot *s = NULL;
	eventfd_t count;

	if (eventfd_read(w->fd, &count) < 0) {
		/* Nothing was told: look all the same. */
	}
	pthread_mutex_lock(&w->lock);
	if (w->fresh) {
		s = w->ready;
		w->ready = w->taken;
		w->taken = s;
		w->fresh = false;
	}
	pthread_mutex_unlock(&w->lock);
	return s;
}

static void poke(struct worker *w)
{
	atomic_store(&w->poked, true);
	pthread_cond_signal(&w->wake);
}

void worker_want(struct worker *w, const struct wanted *wanted)
{
	pthread_mutex_lock(&w->lock);
	w->orders.want = *wanted;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_cancel(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->orders.cancel = true;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_hold(struct worker *w, bool hold)
{
	pthread_mutex_lock(&w->lock);
	w->orders.hold = hold;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_replay_speed(struct worker *w, double speed)
{
	pthread_mutex_lock(&w->lock);
	w->orders.speed = speed;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_clear_order(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->orders.clear_order = true;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_go(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	atomic_store(&w->go, true);
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

int worker_create(struct worker *w, const char *path, char *err, size_t errsize)
{
	return nbds_opener_create(w->opener, path, err, errsize);
}

void worker_save(struct worker *w, int fd, const char *name)
{
	pthread_mutex_lock(&w->lock);
	if (w->orders.save >= 0)
		close(w->orders.save);
	w->orders.save = fd;
	nbds_escape_text(name, strlen(name), w->orders.save_name, sizeof(w->orders.save_name));
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

void worker_save_end(struct worker *w)
{
	pthread_mutex_lock(&w->lock);
	w->orders.save_end = true;
	poke(w);
	pthread_mutex_unlock(&w->lock);
}

bool worker_keeps(const struct worker *w)
{
	/* Neither changes once the thread runs. */
	return w->again >= 0 || w->ring.size;
}

void worker_pick(struct worker *w, struct pick *pick)
{
	struct pick *before;

	pthread_mutex_lock(&w->lock);
	before = w->orders.pick;
	w->orders.pick = pick;
	poke(w);
	pthread_mutex_unlock(&w->lock);
	pick_free(before);
}
