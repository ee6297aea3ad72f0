/* SPDX-License-Identifier: GPL-2.0-or-later */
/* metrics.c - see metrics.h. */
#include "metrics.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "../capture/privileges.h"
#include "file.h"
#include "http.h"

#define SECOND_NS   INT64_C(1000000000)
#define SNAPSHOT_NS (SECOND_NS / 5)
#define LAST_MS     5000 /* that the last text of the file may take */

/* A live capture that is silent is as late as this, as in the pipeline. */
#define FRESH_NS (5 * SECOND_NS)

struct nbds_metrics {
	char *address; /* NULL, or where to listen yet */
	int socket;
	int statm; /* of /proc; -1: none */
	char where[NBDS_METRICS_ADDRESS];
	struct nbds_metrics_http *http; /* NULL: it does not serve */
	struct nbds_metrics_file *file;
	int64_t interval;
	int64_t next, next_file;            /* of the monotonic clock, ns */
	struct nbds_pipeline *pipeline;     /* NULL: none now */
	struct nbds_metrics_packets before; /* of the pipelines before */
	struct nbds_metrics_snapshot now;
	char trouble[512];
	bool told;
};

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * SECOND_NS + t.tv_nsec;
}

static bool open_socket(struct nbds_metrics *m, char *err, size_t errsize)
{
	m->socket = nbds_metrics_listen(m->address, m->where, err, errsize);
	return m->socket >= 0;
}

static void destroy(struct nbds_metrics *m)
{
	if (m->socket >= 0 && !m->http)
		close(m->socket);
	nbds_metrics_http_stop(m->http);
	nbds_metrics_file_stop(m->file);
	if (m->statm >= 0)
		close(m->statm);
	free(m->address);
	free(m);
}

struct nbds_metrics *nbds_metrics_new(const struct nbds_metrics_config *config, char *err,
				      size_t errsize)
{
	struct nbds_metrics *m = calloc(1, sizeof(*m));

	if (!m) {
		snprintf(err, errsize, "out of memory");
		return NULL;
	}
	m->socket = -1;
	m->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	m->interval = (config->interval ? config->interval : NBDS_METRICS_INTERVAL) * SECOND_NS;
	m->now.memory_limit = config->memory;
	m->now.started = clock_ns(CLOCK_REALTIME);
	m->now.running = true;
	snprintf(m->now.program, sizeof(m->now.program), "%s", config->program);
	if (config->address) {
		m->address = strdup(config->address);
		if (!m->address) {
			snprintf(err, errsize, "out of memory");
			goto failed;
		}
		/* Not with the rights of others: see nbds_metrics_begin(). */
		if (!nbds_privileges_borrowed() && !open_socket(m, err, errsize))
			goto failed;
	}
	if (config->file) {
		m->file = nbds_metrics_file_start(config->file, config->overwrite, err, errsize);
		if (!m->file)
			goto failed;
	}
	return m;
failed:
	destroy(m);
	return NULL;
}

int nbds_metrics_socket(const struct nbds_metrics *m)
{
	return m ? m->socket : -1;
}

const char *nbds_metrics_where(const struct nbds_metrics *m)
{
	return m ? m->where : "";
}

void nbds_metrics_attach(struct nbds_metrics *m, struct nbds_pipeline *p)
{
	if (!m)
		return;
	m->pipeline = p;
	m->now.running = true;
	nbds_engine_count(nbds_pipeline_engine(p), &m->now.counts);
}

static void take_process(struct nbds_metrics *m)
{
	struct rusage use;
	char text[64];
	ssize_t n;

	if (getrusage(RUSAGE_SELF, &use) == 0)
		m->now.processor =
			((uint64_t)use.ru_utime.tv_sec + (uint64_t)use.ru_stime.tv_sec) *
				(uint64_t)SECOND_NS +
			((uint64_t)use.ru_utime.tv_usec + (uint64_t)use.ru_stime.tv_usec) * 1000;
	n = m->statm >= 0 ? pread(m->statm, text, sizeof(text) - 1, 0) : -1;
	if (n > 0) {
		char *space;

		text[n] = '\0';
		space = strchr(text, ' ');
		m->now.resident =
			space ? strtoull(space, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
	}
}

static void take(struct nbds_metrics *m)
{
	struct nbds_pipeline_info info;

	m->now.taken = clock_ns(CLOCK_REALTIME);
	take_process(m);
	if (!m->pipeline)
		return;
	nbds_engine_count_now(nbds_pipeline_engine(m->pipeline));
	m->now.packets = m->before;
	nbds_metrics_packets_add(&m->now.packets, m->pipeline);
	nbds_pipeline_info(m->pipeline, &info);
	/* Live, time goes on without packets; a file's goes on with its own. */
	m->now.now = info.capture.end;
	if (m->now.now > m->now.taken - FRESH_NS && m->now.now < m->now.taken + FRESH_NS)
		m->now.now = m->now.taken;
	if (info.capture.format && !strcmp(info.capture.format, "live"))
		m->now.now = m->now.taken;
}

bool nbds_metrics_begin(struct nbds_metrics *m, char *err, size_t errsize)
{
	if (!m || !m->address)
		return true;
	if (m->socket < 0 && !open_socket(m, err, errsize))
		return false;
	m->http = nbds_metrics_http_start(m->socket, err, errsize);
	if (!m->http) {
		m->socket = -1;
		return false;
	}
	take(m);
	nbds_metrics_http_put(m->http, &m->now);
	return true;
}

static void put_file(struct nbds_metrics *m)
{
	char err[sizeof(m->trouble)];

	if (!nbds_metrics_file_state(m->file, err, sizeof(err)) && strcmp(err, m->trouble) != 0) {
		snprintf(m->trouble, sizeof(m->trouble), "%s", err);
		m->told = false;
	}
	nbds_metrics_file_put(m->file, &m->now);
}

void nbds_metrics_update(struct nbds_metrics *m)
{
	int64_t now;

	if (!m)
		return;
	now = clock_ns(CLOCK_MONOTONIC);
	if (now < m->next)
		return;
	m->next = now + SNAPSHOT_NS;
	/* Nobody looks at what is not due. */
	if (!m->http && now < m->next_file)
		return;
	take(m);
	if (m->http)
		nbds_metrics_http_put(m->http, &m->now);
	if (m->file && now >= m->next_file) {
		m->next_file = now + m->interval;
		put_file(m);
	}
}

const char *nbds_metrics_trouble(struct nbds_metrics *m)
{
	if (!m || !*m->trouble || m->told)
		return NULL;
	m->told = true;
	return m->trouble;
}

void nbds_metrics_detach(struct nbds_metrics *m)
{
	if (!m || !m->pipeline)
		return;
	m->now.running = false;
	take(m);
	if (m->http)
		nbds_metrics_http_put(m->http, &m->now);
	m->before = m->now.packets;
	m->pipeline = NULL;
}

bool nbds_metrics_close(struct nbds_metrics *m, char *err, size_t errsize)
{
	bool good = true;

	if (!m)
		return true;
	if (m->file) {
		take(m);
		/* One that is at work may have older numbers. */
		good = nbds_metrics_file_wait(m->file, LAST_MS);
		if (good) {
			nbds_metrics_file_put(m->file, &m->now);
			good = nbds_metrics_file_wait(m->file, LAST_MS);
		}
		if (!good)
			snprintf(err, errsize, "the last metrics are not written yet");
		else
			good = nbds_metrics_file_state(m->file, err, errsize);
		if (!good && m->told && !strcmp(err, m->trouble))
			*err = '\0';
	}
	destroy(m);
	return good;
}
