/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/config.h - what the user has set up, in ~/.config/nbdscope/nbdtop.conf.
 *
 *	[screen]
 *	theme = light
 *	refresh = 0.5
 *	times = day
 *	[exports]
 *	columns = export server unflushed p99 findings
 *	sort = -unflushed
 *
 * Columns have the names that filters use; `-` before that of `sort` inverts its order.
 * The file is read before anything is opened, and before the program is confined.
 *
 * Ownership.  A plain value.  Failure.  What is not understood is left out, and the
 * first such place is told; a file that is not there is none.
 */
#ifndef NBDSCOPE_TUI_CONFIG_H
#define NBDSCOPE_TUI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../analyzer/report/buf.h"

#define CONFIG_COLUMNS 1024
#define CONFIG_LISTS   3

/* The fastest and the slowest that the screen is drawn, ns. */
#define CONFIG_REFRESH_LEAST INT64_C(100000000)
#define CONFIG_REFRESH_MOST  INT64_C(60000000000)

struct config_list {
	char columns[CONFIG_COLUMNS]; /* names with blanks between them; "": as usual */
	char sort[40];                /* "": as usual */
};

struct config {
	bool light;    /* a terminal with a light background */
	bool absolute; /* times of the day */
	int64_t refresh;
	struct config_list lists[CONFIG_LISTS]; /* exports, connections, findings */
};

/* Names of the lists as sections. */
extern const char *const config_sections[CONFIG_LISTS];

void config_init(struct config *c);
/* Where it is; "": nowhere, as there is no home. */
void config_path(char *path, size_t size);
/* False with a line in `err`: something was not understood. */
bool config_read(struct config *c, const char *path, char *err, size_t errsize);
/* The text of a file that would be read as `c`. */
void config_write(const struct config *c, struct nbds_buf *b);

#endif
