/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/preconditions.h - which rule needs which of the preconditions of a
 * proof, and what becomes of it where one is broken.
 *
 * The one place that decides on levels: whoever tells a finding about contents asks here.
 */
#ifndef NBDS_CONSISTENCY_PRECONDITIONS_H
#define NBDS_CONSISTENCY_PRECONDITIONS_H

#include "../rules/rules.h"

/* What is broken, by the condition of the theory that it breaks. */
enum broken {
	BROKEN_UNSEEN = 0x1, /* G1, G3: a connection that may write is not seen, or not all of it */
	BROKEN_DROPPED = 0x2,  /* G3: the capture dropped packets */
	BROKEN_OUTSIDE = 0x4,  /* G3: another endpoint of the address wrote to its like */
	BROKEN_MIXED = 0x8,    /* G4: commands were captured on several interfaces */
	BROKEN_FACE = 0x10,    /* G9: another size or other flags were shown */
	BROKEN_ENDED = 0x20,   /* G9: every connection had ended in between */
	BROKEN_SERVER = 0x40,  /* G9: nothing shows that it was one server */
	BROKEN_WRITER = 0x80,  /* G10: another connection wrote as well */
	BROKEN_FAILED = 0x100, /* G5: a flush had failed, and a later one succeeded (Q8) */
	BROKEN_BREACH = 0x200, /* G5: what was never offered was refused */
	BROKEN_ORDER = 0x400,  /* G4: the order of capture was trusted too far */
	BROKEN_ALL = 0x7ff
};

/* Those of `broken` that the rule needs. */
unsigned precondition_needs(enum nbds_rule_id rule, unsigned broken);
/* The level of a rule that would be `level` with all conditions met. *why, if it is lower:
 * which of them was not, for a sentence that ends in "because". */
enum nbds_severity precondition_level(enum nbds_rule_id rule, enum nbds_severity level,
				      unsigned broken, const char **why);

#endif
