/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/paths.h - on which grounds a write is in force for a command.
 *
 * established() answers whether; here it is told apart how far each ground carries.
 * SURE ones are what Est of the theory has; what rests on others is suspect at most, or
 * is no promise at all but plain order.
 */
#ifndef NBDS_CONSISTENCY_PATHS_H
#define NBDS_CONSISTENCY_PATHS_H

#include "life.h"

enum paths {
	PATH_E1 = 0x1,           /* same connection */
	PATH_E2 = 0x2,           /* FUA */
	PATH_E3 = 0x4,           /* a flush in between */
	PATH_ACROSS = 0x8,       /* E2 or E3, but all connections ended in between (G9) */
	PATH_UNSURE2 = 0x10,     /* E2 and */
	PATH_UNSURE3 = 0x20,     /* E3, but nothing shows that it is one server (G9) */
	PATH_BREACH1 = 0x40,     /* E1, E2, E3, but only if the refusal of a FLUSH or of FUA */
	PATH_BREACH2 = 0x80,     /* that was never offered voids nothing */
	PATH_BREACH3 = 0x100,    /* */
	PATH_AGAIN = 0x200,      /* a flush failed and voided it, a later one succeeded (Q8) */
	PATH_PLAIN = 0x400,      /* just w << c, of one export: nothing is promised */
	PATH_PLAIN_MC = 0x800,   /* the same of two connections with multi-conn */
	PATH_PLAIN_ANY = 0x1000, /* just w << c: two names may be one device */

	PATH_SHARED = PATH_E2 | PATH_E3 | PATH_ACROSS | PATH_UNSURE2 | PATH_UNSURE3,
	PATH_SURE = PATH_E1 | PATH_SHARED,
	PATH_BREACH = PATH_BREACH1 | PATH_BREACH2 | PATH_BREACH3,
	PATH_ALL = PATH_SURE | PATH_BREACH | PATH_AGAIN,
	PATH_ORDER = PATH_PLAIN | PATH_PLAIN_MC | PATH_PLAIN_ANY,
};

/* Both with CAN_MULTI_CONN, on the same export. */
bool both_mc(const struct nbds_party *a, const struct nbds_party *b);

/* The paths on which w is in force for c, which was certainly over at `hi` (NULL: not
 * yet).  *flush, if not NULL: the flush of E3, or of AGAIN; untouched without one.
 * `server`: tell UNSURE and ACROSS apart from E2 and E3. */
unsigned paths_of(const struct nbds_op *w, const struct nbds_op *c, const struct nbds_point *hi,
		  bool server, struct nbds_op **flush);

/* Of the flushes with multi-conn that ended before c, the one that began last. */
struct nbds_op *flush_latest(const struct nbds_op *c);
/* The first one with multi-conn that certainly began after `hi`. */
const struct nbds_op *flush_first_after(const struct nbds_world *w, const struct xport *x,
					const struct nbds_point *hi);

#endif
