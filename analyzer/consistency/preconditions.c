/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which rule needs which precondition. See preconditions.h.
 *
 *	                G1 G3   G3      G3      G4    G4    G9   G9    G9     G10    G5     G5
 *	                unseen  dropped outside mixed order face ended server writer failed breach
 *	V2 after-flush    x       x       x       x     x    x    x     x            x      x
 *	V3 after-fua      x       x       x       x     x    x    x     x            x      x
 *	V4 zeroes         x       x       x       x     x    x    x     x     x      x      x
 *	V1 own-write      x       x       x       x     x    x    x     x     x      x      x
 *	V6 zero-status    x       x       x       x     x    x    x     x     x      x      x
 *	V9 unstable       x       x       x       x     x    x    x           x      x      x
 *	V1x unexplained   x       x       x       x     x    x    x     x     x      x      x
 *	V7, V8            (of one connection alone: none of these)
 *
 * What breaks the others leaves nothing to be told: bytes that were not captured or that
 * are not the same in two copies (G2), a gap that may hide a request (G3), no proof of
 * order (G4), illegal commands (G6), trims, holes and
 * sizes cut (G7), ambiguous cookies (G8).  There the judge has no verdict.
 */
#include <stddef.h>

#include "preconditions.h"

#define NEEDS_ANY                                                                       \
	(BROKEN_UNSEEN | BROKEN_DROPPED | BROKEN_OUTSIDE | BROKEN_MIXED | BROKEN_FACE | \
	 BROKEN_ENDED | BROKEN_FAILED | BROKEN_BREACH | BROKEN_ORDER)

static const uint16_t needs[RULE_COUNT] = {
	[RULE_STALE_AFTER_FLUSH] = NEEDS_ANY | BROKEN_SERVER,
	[RULE_STALE_AFTER_FUA] = NEEDS_ANY | BROKEN_SERVER,
	[RULE_ZEROES_NOT_READ_BACK] = NEEDS_ANY | BROKEN_SERVER | BROKEN_WRITER,
	[RULE_STALE_OWN_WRITE] = NEEDS_ANY | BROKEN_SERVER | BROKEN_WRITER,
	[RULE_ZERO_STATUS] = NEEDS_ANY | BROKEN_SERVER | BROKEN_WRITER,
	[RULE_UNSTABLE_READ] = NEEDS_ANY | BROKEN_WRITER,
	[RULE_UNEXPLAINED] = NEEDS_ANY | BROKEN_SERVER | BROKEN_WRITER,
};

static const struct {
	unsigned bit;
	const char *why;
} reasons[] = {
	{BROKEN_ENDED, "every connection to the server had ended in between"},
	{BROKEN_SERVER, "no connection shows that the server was not restarted in between"},
	{BROKEN_FAILED, "a flush had failed before: what it should have stored may be lost, and a "
			"later one that succeeds need not bring it back"},
	{BROKEN_BREACH, "a flush, or FUA, that the server had not offered was refused: that may "
			"have dropped it"},
	{BROKEN_WRITER, "another connection wrote as well, with no flush before this write: the "
			"server may have written back a neighbour's stale block"},
	{BROKEN_UNSEEN, "other connections to this server cannot be seen from their beginning or "
			"are encrypted, and could have written too"},
	{BROKEN_DROPPED, "the capture dropped packets, which could hide another writer"},
	{BROKEN_OUTSIDE, "another port of the server's address serves an export of this name and "
			 "size, and what it wrote there may be what was read"},
	{BROKEN_FACE, "a connection was shown another size or other flags of the export, so it "
		      "need not be the same device any more"},
	{BROKEN_MIXED, "commands to this server were captured on several interfaces, whose clocks "
		       "need not agree"},
	{BROKEN_ORDER, "later on a reply was captured before its request: the order of capture is "
		       "not to be trusted as far as this rests on it"},
};

unsigned precondition_needs(enum nbds_rule_id rule, unsigned broken)
{
	return needs[rule] & broken;
}

enum nbds_severity precondition_level(enum nbds_rule_id rule, enum nbds_severity level,
				      unsigned broken, const char **why)
{
	broken = precondition_needs(rule, broken);
	*why = NULL;
	if (!broken || level < NBDS_SUSPECT)
		return level;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]) && !*why; i++)
		if (broken & reasons[i].bit)
			*why = reasons[i].why;
	return NBDS_SUSPECT;
}
