/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/options/shared.h - the options that nbdaudit and nbdtop both have.
 *
 * Purpose.  What both read, who they become, what they judge, keys and metrics: one table for
 * getopt_long(), one place where each is taken, and what is said of metrics.  Help is each
 * program's own.
 *
 * Ownership.  Strings stay the command line's.  Failure.  As in options.h.
 *
 * Example.
 *	static const struct option long_options[] = {
 *		NBDS_SHARED_LONG_OPTIONS,
 *		{"ascii", no_argument, NULL, OPT_ASCII},
 *		{NULL, 0, NULL, 0},
 *	};
 *	...
 *	while ((c = getopt_long(argc, argv, NBDS_SHARED_OPTIONS "s:", long_options, NULL)) != -1)
 *		switch (nbds_shared_option(c, optarg, &shared, err)) {
 *		case NBDS_SHARED_TAKEN:
 *			continue;
 *		...
 */
#ifndef NBDSCOPE_ANALYZER_OPTIONS_SHARED_H
#define NBDSCOPE_ANALYZER_OPTIONS_SHARED_H

#include <getopt.h>

#include "options.h"

#include "../metrics/metrics.h"

/* What --memory means if it is not given. */
#define NBDS_MEMORY_DEFAULT ((uint64_t)1 << 30)

struct nbds_shared_options {
	const char *interface;        /* NULL: none */
	const char *listen, *connect; /* of a relay; or NULL */
	const char *save;             /* NULL: nothing is saved */
	const char *user;             /* whom root becomes; NULL: the usual one */
	const char *tls_keys;         /* a key log; NULL: none */
	bool overwrite;               /* unasked */
	enum nbds_severity severity;  /* findings below it are left out */
	struct nbds_engine_config engine;
	struct nbds_metrics_config metrics;
};

/* Numbers of those that have no letter. */
enum nbds_shared_number {
	NBDS_SHARED_LISTEN = 1024,
	NBDS_SHARED_CONNECT,
	NBDS_SHARED_SEVERITY,
	NBDS_SHARED_EXCLUSIVE,
	NBDS_SHARED_MEMORY,
	NBDS_SHARED_OVERWRITE,
	NBDS_SHARED_TLS_KEYS,
	NBDS_SHARED_METRICS,
	NBDS_SHARED_METRICS_FILE,
	NBDS_SHARED_METRICS_INTERVAL,
};

#define NBDS_SHARED_OPTIONS "i:w:Z:p:DhV"
/* clang-format off */
#define NBDS_SHARED_LONG_OPTIONS                                                        \
	{"interface", required_argument, NULL, 'i'},                                    \
	{"list-interfaces", no_argument, NULL, 'D'},                                    \
	{"listen", required_argument, NULL, NBDS_SHARED_LISTEN},                        \
	{"connect", required_argument, NULL, NBDS_SHARED_CONNECT},                      \
	{"write", required_argument, NULL, 'w'},                                        \
	{"overwrite", no_argument, NULL, NBDS_SHARED_OVERWRITE},                        \
	{"relinquish-privileges", required_argument, NULL, 'Z'},                        \
	{"port", required_argument, NULL, 'p'},                                         \
	{"severity", required_argument, NULL, NBDS_SHARED_SEVERITY},                    \
	{"exclusive", no_argument, NULL, NBDS_SHARED_EXCLUSIVE},                        \
	{"memory", required_argument, NULL, NBDS_SHARED_MEMORY},                        \
	{"tls-keys", required_argument, NULL, NBDS_SHARED_TLS_KEYS},                    \
	{"metrics", required_argument, NULL, NBDS_SHARED_METRICS},                      \
	{"metrics-file", required_argument, NULL, NBDS_SHARED_METRICS_FILE},            \
	{"metrics-interval", required_argument, NULL, NBDS_SHARED_METRICS_INTERVAL},    \
	{"help", no_argument, NULL, 'h'},                                               \
	{"version", no_argument, NULL, 'V'}
/* clang-format on */

enum nbds_shared {
	NBDS_SHARED_NOT,   /* it is another option */
	NBDS_SHARED_TAKEN, /* go on */
	NBDS_SHARED_BAD,   /* its value is wrong, as `err` says */
	NBDS_SHARED_DONE,  /* that was all that was asked for, and is printed */
	NBDS_SHARED_FAILED /* it was, and could not be done, as was said */
};

/* One option of the command line; 'h' is left to the program. */
enum nbds_shared nbds_shared_option(int option, const char *value, struct nbds_shared_options *to,
				    char err[NBDS_OPTION_ERROR]);

/* Starts metrics, where they are asked for. `is_capture`: their file is one that is read, as
 * the caller found. False, after a complaint. */
bool nbds_shared_metrics_open(struct nbds_shared_options *o, const char *program, bool is_capture,
			      struct nbds_metrics **metrics);
/* A port that was left to the system has to be told. */
void nbds_shared_metrics_tell(const struct nbds_shared_options *o,
			      const struct nbds_metrics *metrics);
/* False: they could not be written, as was said. */
bool nbds_shared_metrics_close(struct nbds_metrics *metrics);

/* What packets can make of the program ends here; it may go on to serve metrics and, with
 * `relays`, a relay. False: it is not confined, as `err` says. */
bool nbds_shared_confine(const struct nbds_metrics *metrics, bool relays, char *err,
			 size_t errsize);

#endif
