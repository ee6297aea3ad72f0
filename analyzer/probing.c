/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probing.c - nbdaudit's option --probe. See probing.h. */
#include "probing.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/create.h"
#include "capture/sandbox.h"
#include "options/options.h"

/* The probe that a signal stops; NULL: none. */
static struct nbds_probe *_Atomic running;

/* --- options --- */

/* A number from 1 to `most`. */
static bool parse_count(const char *option, const char *text, uint64_t most, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (isdigit((unsigned char)*text) && !errno && !*end && *number && *number <= most)
		return true;
	nbds_complain("%s: '%s' is not a number from 1 to %" PRIu64, option, text, most);
	return false;
}

bool probing_option(struct probing *p, int option, const char *value)
{
	uint64_t n;

	switch (option) {
	case OPT_PROBE:
		p->config.uri = value;
		return true;
	case OPT_SCRATCH:
		p->scratch = true;
		return true;
	case OPT_PROBE_CONNECTIONS:
		if (!parse_count("--probe-connections", value, NBDS_PROBE_MOST_CONNECTIONS, &n))
			return false;
		p->config.connections = (unsigned)n;
		return true;
	case OPT_PROBE_ROUNDS:
		if (!parse_count("--probe-rounds", value, NBDS_PROBE_MOST_ROUNDS, &n))
			return false;
		p->config.rounds = (unsigned)n;
		return true;
	case OPT_PROBE_SECONDS:
		if (!parse_count("--probe-seconds", value, 3600, &n))
			return false;
		p->config.seconds = (unsigned)n;
		return true;
	case OPT_PROBE_SEED:
		if (!parse_count("--probe-seed", value, UINT64_MAX, &p->config.seed))
			return false;
		p->seeded = true;
		return true;
	case OPT_PROBE_KILL:
		p->config.restart = value;
		return true;
	default:
		return false;
	}
}

bool probing_check(const struct probing *p, bool others, bool reports_here)
{
	const struct nbds_probe_config *c = &p->config;
	bool aside = p->scratch || p->seeded || c->connections || c->rounds || c->seconds ||
		     c->restart;

	if (!c->uri && aside)
		nbds_complain("--scratch and --probe-... are for --probe=URI");
	else if (!c->uri)
		return true;
	else if (others)
		nbds_complain("--probe makes its own traffic: neither files nor an interface, nor "
			      "what is for these, goes with it");
	else if (!p->scratch)
		nbds_complain("--probe destroys what the export holds: if that may be, and nobody "
			      "else uses it, say so with --scratch");
	else if (p->save && !strcmp(p->save, "-") && reports_here)
		nbds_complain("the packets and the report cannot both go to standard output: use "
			      "--output or --quiet");
	else
		return true;
	return false;
}

/* --- the run --- */

/* Where the packets are saved. False: they cannot be; NULL: nobody asked. */
static bool open_writer(const struct probing *p, struct nbds_pcapng_writer **writer)
{
	char err[256] = "";
	int fd;

	*writer = NULL;
	if (!p->save)
		return true;
	fd = strcmp(p->save, "-") ? nbds_create(p->save, 0600, err, sizeof(err))
				  : dup(STDOUT_FILENO);
	if (fd >= 0)
		*writer = nbds_probe_writer(fd, p->config.uri);
	if (*writer)
		return true;
	nbds_complain("%s: %s", p->save, *err ? err : strerror(errno));
	return false;
}

/* What follows from what could not be asked, findings apart. */
static int status_of(const struct probing *p, const struct nbds_probed *told, int unknown)
{
	if (told->stopped) {
		nbds_complain("%s: %s", told->uri, told->stopped);
		return NBDS_STATUS_TROUBLE;
	}
	if (told->failed) {
		nbds_complain("%s: %u of %zu histories could not be carried out", told->uri,
			      told->failed, told->count);
		return NBDS_STATUS_TROUBLE;
	}
	if (told->unknown && !p->allow_unknown) {
		nbds_complain("%s: %s", told->uri, told->conclusion);
		return unknown;
	}
	return 0;
}

static int run(const struct probing *p, struct nbds_probe *probe, struct nbds_pipeline *pipeline,
	       struct nbds_pcapng_writer *writer, struct nbds_report *report,
	       const volatile sig_atomic_t *stopped, int unknown)
{
	const struct nbds_probed *told;
	char err[512];
	bool well;

	nbds_report_begin(report, p->config.uri, pipeline);
	if (nbds_sandbox_possible() && !nbds_sandbox_probe(err, sizeof(err)))
		nbds_complain("%s", err);
	well = nbds_probe_run(probe, pipeline, writer, err, sizeof(err));
	nbds_pipeline_finish(pipeline);
	if (!well) {
		nbds_complain("%s: %s", p->config.uri, err);
		nbds_report_end(report, err);
		return NBDS_STATUS_TROUBLE;
	}
	told = nbds_probe_told(probe);
	nbds_report_probed(report, told);
	if (*stopped) {
		nbds_report_end(report, "");
		return 0;
	}
	nbds_report_end(report, told->stopped ? told->stopped : "");
	return status_of(p, told, unknown);
}

int probing_run(const struct probing *p, struct nbds_pipeline_config *config,
		struct nbds_report *report, const volatile sig_atomic_t *stopped, int unknown)
{
	struct nbds_pcapng_writer *writer = NULL;
	struct nbds_pipeline *pipeline;
	struct nbds_probe *probe;
	int status = NBDS_STATUS_TROUBLE;
	char err[512];

	probe = nbds_probe_new(&p->config, err, sizeof(err));
	if (!probe) {
		nbds_complain("%s: %s", p->config.uri, err);
		return NBDS_STATUS_TROUBLE;
	}
	nbds_probe_callbacks(probe, config);
	atomic_store(&running, probe);
	if (*stopped)
		nbds_probe_stop(probe);
	pipeline = nbds_pipeline_open_packets(config, err, sizeof(err));
	if (!pipeline)
		nbds_complain("%s", err);
	if (pipeline && open_writer(p, &writer))
		status = run(p, probe, pipeline, writer, report, stopped, unknown);
	atomic_store(&running, NULL);
	if (writer) {
		bool finished = nbds_pcapng_finish(writer) == 0;
		int error = nbds_probe_save_error(probe) ? nbds_probe_save_error(probe) : errno;

		if (!finished || nbds_probe_save_error(probe)) {
			nbds_complain("%s: %s", p->save, strerror(error));
			status = NBDS_STATUS_TROUBLE;
		}
	}
	nbds_pipeline_close(pipeline, NULL, 0);
	nbds_probe_free(probe);
	return status;
}

void probing_stop(void)
{
	struct nbds_probe *probe = atomic_load(&running);

	if (probe)
		nbds_probe_stop(probe);
}
