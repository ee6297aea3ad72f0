/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * options.c - arguments and complaints that nbdaudit and nbdtop have in common. See
 * options.h.
 */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbdscope/protocol.h>

/* Less than this leaves no room to follow anything. */
#define MEMORY_LEAST ((uint64_t)1 << 20)

static const char *program = "nbdscope";

void nbds_program(char **argv, const char *name)
{
	program = name;
	/* argv[0] is a variable string, and nobody writes to it. */
	argv[0] = (char *)name;
}

void nbds_complain(const char *format, ...)
{
	char *line = NULL, *shown = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vasprintf(&line, format, args);
	va_end(args);
	/* names of files may be anybody's */
	if (len >= 0) {
		size_t size = nbds_escape_text(line, (size_t)len, NULL, 0) + 1;

		shown = malloc(size);
		if (shown)
			nbds_escape_text(line, (size_t)len, shown, size);
		free(line);
	}
	fprintf(stderr, "%s: %s\n", program, shown ? shown : "not enough memory");
	free(shown);
}

void nbds_tell_version(void)
{
	printf("%s (nbdscope) %s\n", program, NBDSCOPE_VERSION);
}

int nbds_usage_error(void)
{
	fprintf(stderr, "Try '%s --help'.\n", program);
	return NBDS_STATUS_TROUBLE;
}

int nbds_finish_stdout(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		/* Whoever read it has gone: that is no error to speak of. */
		if (errno == EPIPE)
			return NBDS_STATUS_TROUBLE;
		nbds_complain("cannot write to standard output: %s", strerror(errno));
		return NBDS_STATUS_TROUBLE;
	}
	return status;
}

bool nbds_option_ports(const char *text, struct nbds_engine_config *config,
		       char err[NBDS_OPTION_ERROR])
{
	const char *at = text;

	for (;;) {
		char *end;
		long port;

		errno = 0;
		port = strtol(at, &end, 10);
		if (!isdigit((unsigned char)*at) || errno || port < 1 || port > 65535 ||
		    (*end && *end != ',')) {
			snprintf(err, NBDS_OPTION_ERROR,
				 "'%.80s' is not a list of ports: numbers from 1 to 65535, with "
				 "commas between them",
				 text);
			return false;
		}
		if (config->port_count == NBDS_PORTS_MAX) {
			snprintf(err, NBDS_OPTION_ERROR, "more than %d ports", NBDS_PORTS_MAX);
			return false;
		}
		config->ports[config->port_count++] = (uint16_t)port;
		if (!*end)
			return true;
		at = end + 1;
	}
}

bool nbds_option_memory(const char *text, uint64_t *size, char err[NBDS_OPTION_ERROR])
{
	static const char units[] = "KMGT";
	unsigned long long number;
	const char *unit;
	unsigned shift = 0;
	char *end;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || errno)
		goto bad;
	if (*end && (unit = strchr(units, toupper((unsigned char)*end)))) {
		shift = (unsigned)(unit - units + 1) * 10;
		end++;
		if (end[0] == 'i' && end[1] == 'B')
			end += 2;
	}
	if (*end || number > UINT64_MAX >> shift)
		goto bad;
	*size = (uint64_t)number << shift;
	if (*size < MEMORY_LEAST) {
		snprintf(err, NBDS_OPTION_ERROR, "'%.80s' is too little memory: at least 1M", text);
		return false;
	}
	return true;
bad:
	snprintf(err, NBDS_OPTION_ERROR,
		 "'%.80s' is not a size: a number, and K, M, G or T for powers of 1024", text);
	return false;
}

bool nbds_option_level(const char *option, const char *text, const char *also,
		       enum nbds_severity *level, char err[NBDS_OPTION_ERROR])
{
	if (nbds_severity_parse(text, level))
		return true;
	snprintf(err, NBDS_OPTION_ERROR,
		 "%s: '%.80s' is not one of violation, suspect, hazard, note%s", option, text,
		 also);
	return false;
}

char *nbds_option_filter(char *const *words, int count)
{
	size_t size = 1;
	char *filter;

	for (int i = 0; i < count; i++)
		size += strlen(words[i]) + 1;
	filter = calloc(1, size);
	for (int i = 0; filter && i < count; i++) {
		if (i)
			strcat(filter, " ");
		strcat(filter, words[i]);
	}
	return filter;
}

bool nbds_may_write(const char *path, bool anyway)
{
	struct stat st;
	char line[16];

	/* access() asks with the rights of who started this, whatever the file's own say. */
	if (anyway || access(path, F_OK) < 0 || stat(path, &st) < 0 || !S_ISREG(st.st_mode) ||
	    !st.st_size || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return true;
	fprintf(stderr, "%s: %s exists. Overwrite it? [y/N] ", program, path);
	fflush(stderr);
	if (fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y'))
		return true;
	nbds_complain("%s: not overwritten", path);
	return false;
}

bool nbds_option_seconds(const char *option, const char *text, unsigned most, unsigned *seconds,
			 char err[NBDS_OPTION_ERROR])
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (isdigit((unsigned char)*text) && !errno && !*end && number && number <= most) {
		*seconds = (unsigned)number;
		return true;
	}
	snprintf(err, NBDS_OPTION_ERROR, "%s: '%s' is not a number of seconds from 1 to %u", option,
		 text, most);
	return false;
}
