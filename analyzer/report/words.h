/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/words.h - what the engine's numbers and codes are called.
 *
 * Purpose.  The report, the screen and the plugin say the same thing in the same
 * words.  Constant strings; nothing can fail.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_WORDS_H
#define NBDSCOPE_ANALYZER_REPORT_WORDS_H

#include <nbdscope/finding.h>

/* What went wrong, in a word or two, by enum nbds_trouble_kind. */
extern const char *const nbds_trouble_words[];
/* What a frame of a finding holds, in a word or two, by its role. */
extern const char *const nbds_role_words[NBDS_ROLE_MAX];
/* Those that there are, in the order in which reports have them, from 0; NULL: no more. */
const char *nbds_unchecked_reason(size_t place);
/* What a reason of nbds_engine_totals.unchecked means, in words; a reason that is
 * not known is returned as it is. */
const char *nbds_unchecked_words(const char *reason);

/* What would have been needed to judge what was not for this reason. */
const char *nbds_unchecked_needs(const char *reason);

#endif
