/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/catalogue.h - the rules, listed and explained.
 *
 * Purpose.  What --list-rules and --explain print, for people or, one JSON object
 * a line, for programs (docs/json.md).  The rules are nbds_rules.
 *
 * Failure.  Errors in writing stay in the stream (ferror).
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_CATALOGUE_H
#define NBDSCOPE_ANALYZER_REPORT_CATALOGUE_H

#include <stdbool.h>
#include <stdio.h>

#include <nbdscope/finding.h>

/* Every rule, and in JSON also every row of the catalogue that has none. */
void nbds_catalogue_list(FILE *out, bool json);

/* The rule of this name, or all rules of this row ("V2", in any case), or why that
 * row has none. False: there is no such thing, and nothing was written. */
bool nbds_catalogue_explain(FILE *out, const char *name, bool json);

/* The rules whose names are most like `name`, the best first; NULL ends them. */
#define NBDS_SIMILAR 3
void nbds_catalogue_similar(const char *name, const struct nbds_rule *similar[NBDS_SIMILAR]);

#endif
