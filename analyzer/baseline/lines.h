/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lines.h - reads a report in JSON Lines, whoever wrote it.
 *
 * Purpose.  jansson parses each line; the file's size, and that of a line, are bounded, and
 * jansson bounds the depth.  Jansson's integers have 63 bits, and those of reports 64: where
 * one is larger the line is read with its large numbers as strings, which these functions know.
 *
 * Ownership.  An object is the reader's; who wants to keep it takes a reference.  Failure.
 * False, and one line in `err`, without the name of the file.
 */
#ifndef NBDSCOPE_ANALYZER_BASELINE_LINES_H
#define NBDSCOPE_ANALYZER_BASELINE_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#define NBDS_JSON_FILE_MOST (UINT64_C(1) << 30)  /* bytes of the file, */
#define NBDS_JSON_LINE_MOST (UINT64_C(64) << 20) /* and of a line */

/* Where a line is: its number from 1, and how many bytes of what was read come before it. */
struct nbds_json_place {
	uint64_t line, offset;
};

/* Reads from where the file stands, and gives each line's value to `take`, until that says
 * false (and says why in `err` itself). */
bool nbds_json_lines(FILE *in,
		     bool (*take)(void *ctx, json_t *value, const struct nbds_json_place *at),
		     void *ctx, char *err, size_t errsize);

/* A number that is not there, or is none, or less than nothing, is 0. */
bool nbds_json_is_number(const json_t *value);
uint64_t nbds_json_count(const json_t *value);
uint64_t nbds_json_number(const json_t *object, const char *key);
double nbds_json_real(const json_t *object, const char *key);
/* NULL: there is none. What follows a NUL inside of it is not looked at. */
const char *nbds_json_text(const json_t *object, const char *key);

#endif
