/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * match.h - whether two findings say the same.
 *
 * Purpose.  What was cut out of a capture must prove what all of it proved: the same rule,
 * at the same level, of the same bytes, with the same frames in the same roles, in the same
 * words but for the numbers of frames (and of connections, if some were left out; and for
 * names and addresses, if those were replaced).
 *
 * Plain functions; nothing is kept, nothing fails.
 */
#ifndef NBDSCOPE_ANALYZER_EVIDENCE_MATCH_H
#define NBDSCOPE_ANALYZER_EVIDENCE_MATCH_H

#include <nbdscope/finding.h>

struct nbds_match {
	const uint64_t *frames; /* of frame n of the second: frames[n - 1] of the first */
	uint64_t frame_count;
	bool renumbered; /* connections have other numbers */
	bool masked;     /* names and addresses are others */
};

bool nbds_match(const struct nbds_match *m, const struct nbds_finding *first,
		const struct nbds_finding *second);

#endif
