/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/options/options.h - arguments that nbdaudit and nbdtop have in common.
 *
 * Failure.  False, or NULL, with one line for the user in `err`
 * (NBDS_OPTION_ERROR bytes).
 */
#ifndef NBDSCOPE_ANALYZER_OPTIONS_H
#define NBDSCOPE_ANALYZER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/engine.h>

#define NBDS_OPTION_ERROR 256

/* "10810,10811": adds them to those of `config`. */
bool nbds_option_ports(const char *text, struct nbds_engine_config *config,
		       char err[NBDS_OPTION_ERROR]);

/* Memory to use: "64M", "1GiB", "1073741824"; 1 MiB at least. */
bool nbds_option_memory(const char *text, uint64_t *size, char err[NBDS_OPTION_ERROR]);

/* "violation". `option`: its name, for the error; `also`: ", " and further words
 * that it takes, or "". */
bool nbds_option_level(const char *option, const char *text, const char *also,
		       enum nbds_severity *level, char err[NBDS_OPTION_ERROR]);

/* The words of a pcap filter in one string, to be freed. NULL: no memory. */
char *nbds_option_filter(char *const *words, int count);

#endif
