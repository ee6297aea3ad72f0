/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/life.h - one server, or one that was restarted?
 *
 * On one connection it is one and the same server from its first payload to the last
 * request that it answered, and there is but one at a time.  So connections whose
 * times overlap show one lifetime together:
 *
 *	conn 1   ├────────┤
 *	conn 2        ├───────────┤               ├──────┤  conn 4
 *	conn 3                 ├──────┤
 *	         ╞═ one lifetime ═════╡           ╞══════╡  perhaps another server
 *
 * What is not known makes lifetimes shorter, so that less is proved.
 */
#ifndef NBDS_CONSISTENCY_LIFE_H
#define NBDS_CONSISTENCY_LIFE_H

#include "order.h"

/* p->first_heard or p->last_alive is another one. */
void life_extend(struct nbds_party *p);
/* The order that they were joined by is not to be trusted. */
void life_forget(struct nbds_world *w);
/* Did one and the same server execute w and r? False: not for certain. */
bool same_server(const struct nbds_op *w, const struct nbds_op *r);
void life_free(struct nbds_world *w);

#endif
