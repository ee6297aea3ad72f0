/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/assert.h - what must hold, said where it must.
 *
 * Purpose.  NBDS_ASSERT(condition) states an invariant of this program, never
 * something about input: what comes from the wire, a file or the system is
 * checked and answered instead.  Debug, sanitizer and fuzz builds
 * (-DNBDSCOPE_ASSERT=ON) check each and abort with the place; other builds
 * compile the condition and do not evaluate it, so it must have no effect.
 * NBDS_ASSERTING is 1 where they are checked, for checks that need a loop.
 *
 * Example.
 *	NBDS_ASSERT(s->have <= s->room);
 */
#ifndef NBDSCOPE_BASE_ASSERT_H
#define NBDSCOPE_BASE_ASSERT_H

#ifdef NBDSCOPE_ASSERT

#include <stdio.h>
#include <stdlib.h>

#define NBDS_ASSERTING 1

static inline _Noreturn void nbds_assert_failed(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: this must hold and does not: %s\n", file, line, condition);
	abort();
}

#define NBDS_ASSERT(condition) \
	((condition) ? (void)0 : nbds_assert_failed(__FILE__, __LINE__, #condition))

#else

#define NBDS_ASSERTING         0
#define NBDS_ASSERT(condition) ((void)sizeof(!(condition)))

#endif
#endif
