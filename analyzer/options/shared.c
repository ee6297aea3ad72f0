/* SPDX-License-Identifier: GPL-2.0-or-later */
/* shared.c - the options that nbdaudit and nbdtop both have. See shared.h. */
#include "shared.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../capture/live.h"
#include "../capture/sandbox.h"

static enum nbds_shared taken(bool good)
{
	return good ? NBDS_SHARED_TAKEN : NBDS_SHARED_BAD;
}

static enum nbds_shared done(int status)
{
	return status ? NBDS_SHARED_FAILED : NBDS_SHARED_DONE;
}

static enum nbds_shared list_interfaces(void)
{
	char err[NBDS_OPTION_ERROR];

	if (nbds_live_list(stdout, err, sizeof(err)))
		return done(nbds_finish_stdout(0));
	nbds_complain("%s", err);
	return NBDS_SHARED_FAILED;
}

enum nbds_shared nbds_shared_option(int option, const char *value, struct nbds_shared_options *to,
				    char err[NBDS_OPTION_ERROR])
{
	switch (option) {
	case 'i':
		to->interface = value;
		return NBDS_SHARED_TAKEN;
	case NBDS_SHARED_LISTEN:
		to->listen = value;
		return NBDS_SHARED_TAKEN;
	case NBDS_SHARED_CONNECT:
		to->connect = value;
		return NBDS_SHARED_TAKEN;
	case 'w':
		to->save = value;
		return NBDS_SHARED_TAKEN;
	case 'Z':
		to->user = value;
		return NBDS_SHARED_TAKEN;
	case NBDS_SHARED_OVERWRITE:
		to->overwrite = true;
		return NBDS_SHARED_TAKEN;
	case 'p':
		return taken(nbds_option_ports(value, &to->engine, err));
	case NBDS_SHARED_SEVERITY:
		return taken(nbds_option_level("--severity", value, "", &to->severity, err));
	case NBDS_SHARED_EXCLUSIVE:
		to->engine.exclusive = true;
		return NBDS_SHARED_TAKEN;
	case NBDS_SHARED_MEMORY:
		return taken(nbds_option_memory(value, &to->engine.memory, err));
	case NBDS_SHARED_TLS_KEYS:
		to->tls_keys = value;
		return NBDS_SHARED_TAKEN;
	case NBDS_SHARED_METRICS:
		to->metrics.address = value;
		return NBDS_SHARED_TAKEN;
	case NBDS_SHARED_METRICS_FILE:
		to->metrics.file = value;
		return NBDS_SHARED_TAKEN;
	case NBDS_SHARED_METRICS_INTERVAL:
		return taken(nbds_option_seconds("--metrics-interval", value,
						 NBDS_METRICS_INTERVAL_MAX, &to->metrics.interval,
						 err));
	case 'D':
		return list_interfaces();
	case 'V':
		nbds_tell_version();
		return done(nbds_finish_stdout(0));
	default:
		return NBDS_SHARED_NOT;
	}
}

bool nbds_shared_metrics_open(struct nbds_shared_options *o, const char *program, bool is_capture,
			      struct nbds_metrics **metrics)
{
	char err[512];

	*metrics = NULL;
	if (!o->metrics.address && !o->metrics.file)
		return true;
	/* What there is at the same name may be the capture. */
	if (is_capture) {
		nbds_complain("%s: the metrics would overwrite the capture", o->metrics.file);
		return false;
	}
	o->metrics.program = program;
	o->metrics.overwrite = o->overwrite;
	o->metrics.memory = o->engine.memory ? o->engine.memory : NBDS_MEMORY_DEFAULT;
	*metrics = nbds_metrics_new(&o->metrics, err, sizeof(err));
	if (!*metrics)
		nbds_complain("%s", err);
	return *metrics;
}

void nbds_shared_metrics_tell(const struct nbds_shared_options *o,
			      const struct nbds_metrics *metrics)
{
	const char *where = nbds_metrics_where(metrics);

	if (*where && (isatty(STDERR_FILENO) || strcmp(where, o->metrics.address) != 0))
		fprintf(stderr, "Metrics: http://%s/metrics\n", where);
}

bool nbds_shared_metrics_close(struct nbds_metrics *metrics)
{
	char err[512] = "";
	bool good = nbds_metrics_close(metrics, err, sizeof(err));

	if (!good && *err)
		nbds_complain("%s", err);
	return good;
}

bool nbds_shared_confine(const struct nbds_metrics *metrics, bool relays, char *err, size_t errsize)
{
	int listener = nbds_metrics_socket(metrics);

	return !nbds_sandbox_possible() ||
	       (relays ? nbds_sandbox_relay : nbds_sandbox_enter_serving)(&listener, listener >= 0,
									  err, errsize);
}
