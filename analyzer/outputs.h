/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * outputs.h - where nbdaudit's report goes.
 *
 * Purpose.  What would be overwritten is asked for, or refused where it is the input; the
 * report's file is opened and closed, and what it is printed on is looked at.
 *
 * Failure.  As each function says, after a complaint.
 */
#ifndef NBDSCOPE_ANALYZER_OUTPUTS_H
#define NBDSCOPE_ANALYZER_OUTPUTS_H

#include <stdio.h>

#include "audit_options.h"

/* An output that is one of the inputs would destroy it. */
bool outputs_is_input(const char *output, char **files, int count);
/* Asks before anything is overwritten, and opens the file of the report, if it goes to one:
 * *out. */
bool outputs_open(const struct audit_options *o, char **files, int count, FILE **out);
/* Width, colours and characters of the terminal and the locale. */
void outputs_paper(FILE *out, struct nbds_report_options *report);
/* Whoever read the report has gone, which is no error to speak of. */
bool outputs_reader_gone(FILE *out);
/* -1: the report could not be written. */
int outputs_close(FILE *out, const struct audit_options *o);

#endif
