/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/order.h - what came certainly before what, and what is
 * therefore in force.  The definitions are in consistency.h.
 */
#ifndef NBDS_CONSISTENCY_ORDER_H
#define NBDS_CONSISTENCY_ORDER_H

#include "party.h"

#define ORDERED_SLOTS 256u

/* What established() found lately: the sectors of a block ask the same. */
struct ordered {
	uint64_t w, c; /* serials */
	uint64_t hi_frame;
	uint64_t version;
	struct nbds_op *flush;
	unsigned paths;
};

struct order {
	struct ordered *known;    /* ORDERED_SLOTS, once anything was asked for */
	uint64_t version;         /* another one: what was found may be different now */
	uint64_t flushes;         /* that succeeded */
	struct nbds_op **void_by; /* flushes that failed, or were never answered, of any
	                           * export: two names may be one device */
	uint32_t void_count, void_room;
	bool void_all; /* too many to keep: nothing is established any more */
	struct nbds_op *flight_first, *flight_last; /* awaited, oldest first */
	uint64_t trusted_since; /* serial: up to it, what was found was so by an order that is not
	                         * trusted any more */
	bool fails;             /* for now: what is in flight is taken for never answered */
	uint32_t margins;       /* how often the order turned out to be trusted too far */
	/* Something is gone without a trace because it was superseded; answered until: */
	bool relied;
	struct nbds_point relied_upto;
};

/* a << b: a's outcome was decided before b could begin. */
bool op_before(const struct nbds_op *a, const struct nbds_op *b);

enum { EST_E1 = 1, EST_E2 = 2, EST_E3 = 4 };
/* The paths on which W is in force for c (0: none). *flush: E3's flush. `hi`:
 * when c was certainly over (NULL: not yet). */
unsigned established(const struct nbds_op *w, const struct nbds_op *c, const struct nbds_point *hi,
		     struct nbds_op **flush);
/* Some failed (or never answered) flush may have dropped W before c was over. */
bool voided(const struct nbds_op *w, const struct nbds_point *hi);
/* A successful flush F with w << F << c of the same export; any_mc: of any
 * connection, else only of w's own. */
struct nbds_op *flush_between(const struct nbds_op *w, const struct nbds_op *c, bool any_conn);
/* The first one, of any connection, that certainly began after w was answered. */
const struct nbds_op *flush_after(const struct nbds_op *w);
/* A flush that covers w and, as captured, was answered before c was sent, though too
 * close to prove it. */
struct nbds_op *flush_close(const struct nbds_op *w, const struct nbds_op *c);
/* A successful flush that certainly began after `since` and ended before c. */
struct nbds_op *flush_since(const struct nbds_party *p, const struct nbds_point *since,
			    const struct nbds_op *c);
/* All that was answered before `base` is superseded, for this reader, by w. */
bool renewed(const struct nbds_party *reader, const struct nbds_point *base,
	     const struct nbds_op *w);
/* Of what is in flight so many are looked at, whoever asks; where there are more, each of them
 * may be what is asked for. */
#define AWAITED_SCAN 64u

/* From now on what is in flight is taken for never answered; or not any more. */
void order_doubt(struct nbds_world *w, bool fails);
/* If so: may any of it have dropped W before `hi` (NULL: ever)? */
bool flights_void(const struct nbds_op *w, const struct nbds_point *hi);
void flush_log_add(struct nbds_op *f);
/* The log is in order of completion in the capture: the first index whose flush completed in a
 * frame after `frame`. */
uint32_t flush_log_after(const struct xport *x, uint64_t frame);
void void_add(struct nbds_op *x);
/* No other connection wrote anything that was not in force before w began (G10). */
bool lone_writer(const struct nbds_op *w);
/* Every reader that will ever come finds N in force, or can prove nothing against a
 * server about this place anyway. */
bool in_force_for_all(const struct nbds_op *n);
/* Does what was found of G10 when that command was told hold no more? */
static inline bool order_outdated(const struct nbds_op *op)
{
	const struct nbds_world *w = op->world;

	return w->parties->many_writers && (w->no_t3 || op->serial <= w->order->trusted_since);
}
/* What was answered until `hi` is gone without a trace, as the order says that it is
 * superseded: to be known if that order turns out to be trusted too far. */
void order_relied(struct nbds_world *w, const struct nbds_point *hi);
/* Is there a voider in flight that may yet drop n? */
bool may_be_voided(const struct nbds_op *n);
void order_free(struct nbds_world *w);

#endif
