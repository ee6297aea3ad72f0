/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/options/options.h - arguments and complaints that nbdaudit and nbdtop have
 * in common.
 *
 * A program has one name for all that it says on standard error, its own: that is
 * the one thing kept here.
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

/* Exit status: bad usage, or what was asked for could not be done. */
#define NBDS_STATUS_TROUBLE 2

/* First of all. getopt() complains with the name too, not with the path. */
void nbds_program(char **argv, const char *name);
/* One line on standard error, after the program's name. */
void nbds_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* "nbdtop (nbdscope) 1.2.3", on standard output. */
void nbds_tell_version(void);
/* Points to --help; the exit status. */
int nbds_usage_error(void);
/* All of standard output is written: `status`, or the status of the complaint. */
int nbds_finish_stdout(int status);

/* "10810,10811": adds them to those of `config`. */
bool nbds_option_ports(const char *text, struct nbds_engine_config *config,
		       char err[NBDS_OPTION_ERROR]);

/* Memory to use: "64M", "1GiB", "1073741824"; 1 MiB at least. */
bool nbds_option_memory(const char *text, uint64_t *size, char err[NBDS_OPTION_ERROR]);

/* "violation". `option`: its name, for the error; `also`: ", " and further words
 * that it takes, or "". */
bool nbds_option_level(const char *option, const char *text, const char *also,
		       enum nbds_severity *level, char err[NBDS_OPTION_ERROR]);

/* Seconds: a whole number from 1 to `most`. `option`: its name, for the error. */
bool nbds_option_seconds(const char *option, const char *text, unsigned most, unsigned *seconds,
			 char err[NBDS_OPTION_ERROR]);

/* A file of that name would be written. If it is there, and not empty, who sits at the
 * terminal is asked; without a terminal, as in scripts, or with `anyway`, it is
 * overwritten as it is elsewhere. False: not to be written, as was said. */
bool nbds_may_write(const char *path, bool anyway);

/* The words of a pcap filter in one string, to be freed. NULL: no memory. */
char *nbds_option_filter(char *const *words, int count);

#endif
