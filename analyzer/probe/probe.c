/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe.c - drives a server on purpose. See probe.h. */
#include "probe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "driver.h"
#include "peers.h"
#include "results.h"

#define SECOND      INT64_C(1000000000)
#define CONNECTIONS 4u
#define ROUNDS      4u
_Static_assert(NBDS_PROBE_MOST_CONNECTIONS == NBDS_PROBE_CONNECTIONS, "one bound");
/* An answer is waited for this share of the whole time, and this long at least. */
#define PATIENCE_SHARE 3
/* Rounds that may break down, and of them in silence, before it is given up. */
#define BREAKDOWNS 12u
#define HANGS      2u

struct nbds_probe {
	struct nbds_probe_config config;
	struct nbds_probe_uri uri;
	struct nbds_probe_facts facts;
	struct nbds_probe_plan *plan;
	struct nbds_probe_dialer *dialer;
	struct nbds_tape tape;
	struct nbds_driver driver;
	struct nbds_probe_results results;
	bool given_up[NBDS_PROBE_HISTORIES]; /* it broke down: not once more */
	char others[256], limit[256], stopped[256];
	int64_t began;
	/* who listens to the engine besides */
	struct nbds_engine_ops next;
	void *next_ctx;
};

/* --- before --- */

/* Who has just gone may still be in the tables: a server needs a moment to notice. */
static enum nbds_peers look_twice(const struct nbds_probe *p, char *who, size_t size)
{
	const struct timespec moment = {.tv_nsec = 50000000};
	enum nbds_peers seen = NBDS_PEERS_SOME;

	for (int times = 0; times < 10 && seen == NBDS_PEERS_SOME; times++) {
		if (times)
			nanosleep(&moment, NULL);
		seen = nbds_peers_look(&p->uri, &p->driver.ready.local, &p->driver.ready.remote, 1,
				       who, size);
	}
	return seen;
}

static bool look_around(struct nbds_probe *p, char *err, size_t errsize)
{
	char who[128] = "";

	if (!nbds_probe_dialer_connect(p->dialer, &p->driver.ready, err, errsize))
		return false;
	p->driver.dialed = true;
	switch (look_twice(p, who, sizeof(who))) {
	case NBDS_PEERS_SOME:
		snprintf(err, errsize,
			 "another client is connected to the server (%s): a probe would destroy "
			 "what it relies on",
			 who);
		return false;
	case NBDS_PEERS_UNSEEN:
		snprintf(p->others, sizeof(p->others),
			 "whether other clients are connected cannot be seen: %s", who);
		return true;
	case NBDS_PEERS_NONE:
		break;
	}
	snprintf(p->others, sizeof(p->others), "no other client was connected when it began");
	return true;
}

struct nbds_probe *nbds_probe_new(const struct nbds_probe_config *config, char *err, size_t errsize)
{
	struct nbds_probe *p = calloc(1, sizeof(*p));
	unsigned patience;

	if (!p) {
		snprintf(err, errsize, "out of memory");
		return NULL;
	}
	p->config = *config;
	if (!p->config.seconds)
		p->config.seconds = NBDS_PROBE_SECONDS;
	if (!p->config.connections)
		p->config.connections = CONNECTIONS;
	if (!nbds_probe_uri_parse(config->uri, &p->uri, err, errsize))
		goto failed;
	patience = p->config.seconds / PATIENCE_SHARE;
	if (!patience)
		patience = 1;
	p->dialer = nbds_probe_dialer_start(&p->uri, config->restart, patience, err, errsize);
	if (!p->dialer)
		goto failed;
	p->driver.uri = &p->uri;
	p->driver.dialer = p->dialer;
	p->driver.tape = &p->tape;
	p->driver.patience = patience * SECOND;
	p->driver.seed = config->seed;
	if (look_around(p, err, errsize))
		return p;
failed:
	nbds_probe_free(p);
	return NULL;
}

void nbds_probe_free(struct nbds_probe *p)
{
	if (!p)
		return;
	nbds_driver_free(&p->driver);
	nbds_probe_dialer_stop(p->dialer);
	nbds_probe_plan_free(p->plan);
	nbds_probe_results_free(&p->results);
	free(p);
}

void nbds_probe_stop(struct nbds_probe *p)
{
	p->driver.stopped = 1;
}

int nbds_probe_save_error(const struct nbds_probe *p)
{
	return p->tape.save_error;
}

/* --- what the engine says --- */

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct nbds_probe *p = ctx;

	nbds_probe_results_finding(&p->results, f);
	if (p->next.finding)
		p->next.finding(p->next_ctx, f);
}

static void on_judged(void *ctx, const struct nbds_judged *j)
{
	struct nbds_probe *p = ctx;

	nbds_probe_results_judged(&p->results, j);
	if (p->next.judged)
		p->next.judged(p->next_ctx, j);
}

static bool on_wanted(void *ctx, const struct nbds_finding *f)
{
	(void)ctx;
	return !nbds_probe_provoked(f);
}

static void on_connection(void *ctx, struct nbds_connection *c)
{
	struct nbds_probe *p = ctx;

	p->next.connection(p->next_ctx, c);
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct nbds_probe *p = ctx;

	p->next.message(p->next_ctx, c, m);
}

static void on_message_end(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
			   uint64_t came)
{
	struct nbds_probe *p = ctx;

	p->next.message_end(p->next_ctx, c, m, came);
}

static void on_trouble(void *ctx, struct nbds_connection *c, const struct nbds_trouble *t)
{
	struct nbds_probe *p = ctx;

	p->next.trouble(p->next_ctx, c, t);
}

static void on_payload(void *ctx, struct nbds_connection *c, const struct nbds_message *m,
		       uint64_t at, const uint8_t *data, size_t len)
{
	struct nbds_probe *p = ctx;

	p->next.payload(p->next_ctx, c, m, at, data, len);
}

static void on_end(void *ctx, struct nbds_connection *c)
{
	struct nbds_probe *p = ctx;

	p->next.end(p->next_ctx, c);
}

void nbds_probe_callbacks(struct nbds_probe *p, struct nbds_pipeline_config *config)
{
	struct nbds_engine_ops *ops = &config->ops;

	p->next = *ops;
	p->next_ctx = config->ctx;
	config->ctx = p;
	ops->wanted = on_wanted;
	ops->finding = on_finding;
	ops->judged = on_judged;
	ops->connection = ops->connection ? on_connection : NULL;
	ops->message = ops->message ? on_message : NULL;
	ops->message_end = ops->message_end ? on_message_end : NULL;
	ops->trouble = ops->trouble ? on_trouble : NULL;
	ops->payload = ops->payload ? on_payload : NULL;
	ops->end = ops->end ? on_end : NULL;
	/* One thread hands everything on, and sees it in its true order. */
	config->engine.epsilon = 1;
}

struct nbds_pcapng_writer *nbds_probe_writer(int fd, const char *uri)
{
	char comment[512];
	struct nbds_pcapng_interface i = {
		.linktype = NBDS_SYNTHETIC_LINK,
		.snaplen = NBDS_SYNTHETIC_SNAPLEN,
		.resolution = 9,
		.name = "probe",
		.description =
			"what nbdaudit --probe sent and received; TCP/IP around it is made up",
	};
	struct nbds_pcapng_writer *w;

	snprintf(comment, sizeof(comment), "nbdaudit --probe=%.300s: synthetic TCP", uri);
	w = nbds_pcapng_writer_commented(fd, comment);
	if (!w || nbds_pcapng_describe_interface(w, &i) == 0)
		return w;
	nbds_pcapng_finish(w);
	return NULL;
}

/* --- the run --- */

static bool out_of_time(const struct nbds_probe *p)
{
	return nbds_leg_clock() - p->began >= p->config.seconds * SECOND;
}

static bool has(int answer)
{
	return answer > 0;
}

/* What the first connection shows. */
static bool learn(struct nbds_probe *p, char *err, size_t errsize)
{
	struct nbd_handle *nbd = p->driver.links[0].nbd;
	struct nbds_probe_facts *f = &p->facts;
	int64_t size = nbd_get_size(nbd);
	int64_t minimum = nbd_get_block_size(nbd, LIBNBD_SIZE_MINIMUM);
	int64_t maximum = nbd_get_block_size(nbd, LIBNBD_SIZE_MAXIMUM);

	if (nbd_is_read_only(nbd) != 0) {
		snprintf(err, errsize, "the export is read-only: there is nothing to probe");
		return false;
	}
	if (size <= 0) {
		snprintf(err, errsize,
			 size ? "the size of the export is not known"
			      : "the export is empty: there is nothing to probe");
		return false;
	}
	f->size = (uint64_t)size;
	f->minimum = minimum > 0 && minimum <= UINT32_MAX / 64 ? (uint32_t)minimum : 0;
	f->maximum = maximum > 0 && maximum <= UINT32_MAX ? (uint32_t)maximum : 0;
	f->multi_conn = has(nbd_can_multi_conn(nbd));
	f->flush = has(nbd_can_flush(nbd));
	f->fua = has(nbd_can_fua(nbd));
	f->trim = has(nbd_can_trim(nbd));
	f->zeroes = has(nbd_can_zero(nbd));
	f->fast_zero = has(nbd_can_fast_zero(nbd));
	f->df = has(nbd_can_df(nbd));
	f->cache = has(nbd_can_cache(nbd));
	f->status = has(nbd_can_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION));
	f->restart = p->config.restart != NULL;
	f->rounds = p->config.rounds ? p->config.rounds : ROUNDS;
	f->seed = p->config.seed;
	return true;
}

/* As many connections as are wanted, or as it takes. */
static void spread(struct nbds_probe *p)
{
	struct nbds_driver *d = &p->driver;
	int64_t patience = d->patience;

	/* A server that takes one at a time does not say so: it says nothing. */
	if (d->patience > SECOND)
		d->patience = SECOND;
	for (unsigned i = 1; i < p->config.connections; i++) {
		d->count = i + 1;
		if (nbds_driver_open(d, i)) {
			if (!has(nbd_can_multi_conn(d->links[i].nbd)))
				p->facts.multi_conn = false;
			continue;
		}
		d->count = i;
		snprintf(p->limit, sizeof(p->limit), "connection %u: %s", i + 1, d->trouble);
		d->trouble[0] = '\0';
		d->hung = false;
		break;
	}
	d->patience = patience;
	p->facts.connections = d->count;
}

/* One round. False: it broke down, as `trouble` says. */
static bool carry_out(struct nbds_probe *p, const struct nbds_probe_run *run)
{
	const struct nbds_probe_step *steps = p->plan->steps.at + run->first;

	for (size_t i = 0; i < run->count; i++) {
		struct nbds_driver *d = &p->driver;
		char why[sizeof(d->trouble)];

		if (nbds_driver_step(d, &steps[i]))
			continue;
		/* Some servers are meant to. */
		if (run->history == NBDS_HISTORY_AFTER_ALL_LEFT && steps[i].op == NBDS_PROBE_OPEN) {
			p->results.gone = true;
			memcpy(why, d->trouble, sizeof(why));
			snprintf(d->trouble, sizeof(d->trouble),
				 "the server ended with its last connection (%.100s)", why);
		}
		return false;
	}
	return true;
}

/* Those that are left in the middle of something begin anew. */
static void begin_anew(struct nbds_probe *p)
{
	for (unsigned i = 0; i < p->driver.count; i++)
		nbds_driver_close(&p->driver, i, false);
}

static void carry_out_all(struct nbds_probe *p)
{
	struct nbds_driver *d = &p->driver;
	unsigned breakdowns = 0, hangs = 0;

	for (size_t i = 0; i < p->plan->runs.count; i++) {
		const struct nbds_probe_run *run = &p->plan->runs.at[i];
		bool whole;

		if (p->given_up[run->history])
			continue;
		d->trouble[0] = '\0';
		d->hung = false;
		/* What comes last is short, and not left out for what comes again. */
		if (out_of_time(p) &&
		    nbds_probe_histories[run->history].promise != NBDS_PROBE_DURABLE)
			continue;
		if (!nbds_driver_ready(d)) {
			snprintf(p->stopped, sizeof(p->stopped), "no connection: %s", d->trouble);
			return;
		}
		nbds_probe_results_begin(&p->results, run->history, p->tape.frames);
		whole = carry_out(p, run);
		if (d->stopped) {
			snprintf(p->stopped, sizeof(p->stopped), "it was interrupted");
			d->trouble[0] = '\0';
		}
		nbds_probe_results_end(&p->results, p->tape.frames, whole, d->trouble);
		if (d->stopped)
			return;
		if (whole)
			continue;
		p->given_up[run->history] = true;
		if (++breakdowns >= BREAKDOWNS || (d->hung && ++hangs >= HANGS)) {
			snprintf(p->stopped, sizeof(p->stopped), "it was given up: %s", d->trouble);
			return;
		}
		begin_anew(p);
	}
}

bool nbds_probe_run(struct nbds_probe *p, struct nbds_pipeline *pipeline,
		    struct nbds_pcapng_writer *writer, char *err, size_t errsize)
{
	struct nbds_driver *d = &p->driver;

	p->began = nbds_leg_clock();
	p->tape.pipeline = pipeline;
	p->tape.writer = writer;
	d->count = 1;
	if (!nbds_driver_open(d, 0)) {
		snprintf(err, errsize, "%s", d->trouble);
		return false;
	}
	if (!learn(p, err, errsize)) {
		nbds_driver_close(d, 0, true);
		return false;
	}
	spread(p);
	p->plan = nbds_probe_plan_new(&p->facts);
	if (!p->plan) {
		snprintf(err, errsize, "out of memory");
		return false;
	}
	carry_out_all(p);
	for (unsigned i = 0; i < d->count; i++)
		nbds_driver_close(d, i, true);
	p->results.told.seconds = (double)(nbds_leg_clock() - p->began) / 1e9;
	return true;
}

const struct nbds_probed *nbds_probe_told(struct nbds_probe *p)
{
	struct nbds_probed *told = &p->results.told;

	nbds_probe_results_sum(&p->results, p->plan, &p->facts, p->stopped);
	told->uri = p->config.uri;
	told->limit = *p->limit ? p->limit : NULL;
	told->others = p->others;
	return told;
}
