/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/order.h - what was written between the flushes of one export.
 *
 * Purpose.  Time is cut where it matters for flush ordering: where a flush is sent
 * and where it is answered.  Of each piece, each connection (a lane) has the number
 * of writes that were answered in it.  A flush covers what was answered in the
 * pieces before it was sent, on its own lane, and with NBD_FLAG_CAN_MULTI_CONN on
 * all lanes.
 *
 *	        step 0     step 1      step 2
 *	 lane 0  12 w ──────────────────────────
 *	 lane 1   3 w ──┤ flush ├──── 1 w ──────
 *	               cut 0   cut 1
 *
 * A step ends with its cut; the last step has not ended.
 *
 * Everything is a plain value of fixed size: the thread that captures adds, and
 * copies it for the one that draws.
 */
#ifndef NBDSCOPE_TUI_ORDER_H
#define NBDSCOPE_TUI_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#define ORDER_LANES 24u  /* the last one is shared by all connections without one */
#define ORDER_STEPS 192u /* kept */

enum order_cut {
	ORDER_OPEN,   /* not ended */
	ORDER_SENT,   /* a flush was sent */
	ORDER_DONE,   /* and answered */
	ORDER_FAILED, /* and answered with an error */
	ORDER_CLOSED, /* a connection ended */
};

struct order_cell {
	uint32_t writes; /* answered without error, without FUA */
	uint32_t fua;    /* the same with FUA */
	uint64_t bytes;  /* of all of them */
	uint32_t reads;  /* answered without error */
	uint32_t found;  /* violations and suspects told of commands in it */
};

struct order_step {
	enum order_cut cut;
	uint8_t lane;     /* of the cut */
	uint64_t request; /* serial of the flush on its connection */
	uint64_t frame;
	int64_t time;
	uint32_t in_flight[ORDER_LANES]; /* writes that waited for their replies then */
	struct order_cell cells[ORDER_LANES];
};

struct order_lane {
	uint32_t connection; /* 0: unused */
	bool ended;
	uint32_t in_flight; /* writes */
	uint64_t used;      /* serial of the step that last had something in it */
};

struct flush_order {
	struct order_lane lanes[ORDER_LANES];
	uint64_t first;                       /* serial of the oldest step kept */
	uint64_t last;                        /* of the one that has not ended */
	struct order_step steps[ORDER_STEPS]; /* a ring, by serial */
};

void order_init(struct flush_order *o);
const struct order_step *order_step(const struct flush_order *o, uint64_t serial);

/* Nothing of the connection waits for a reply. */
void order_idle(struct flush_order *o, uint32_t connection);
void order_write_sent(struct flush_order *o, uint32_t connection);
void order_write_done(struct flush_order *o, uint32_t connection, uint64_t bytes, bool fua,
		      bool ok);
void order_read_done(struct flush_order *o, uint32_t connection);
/* Something was found in a command of the connection that this frame ended. */
void order_found(struct flush_order *o, uint32_t connection, uint64_t frame);
void order_flush_sent(struct flush_order *o, uint32_t connection, uint64_t request, uint64_t frame,
		      int64_t time);
void order_flush_done(struct flush_order *o, uint32_t connection, uint64_t request, uint64_t frame,
		      int64_t time, bool ok);
void order_closed(struct flush_order *o, uint32_t connection, uint64_t frame, int64_t time);

/* The step that ends with the answer to the flush that was sent at the end of step
 * `sent`; 0: none (yet). */
uint64_t order_answer(const struct flush_order *o, uint64_t sent);

/*
 * The serial before which the writes of `lane` are covered by flushes that were
 * answered: steps below it are.  `multi_conn`: flushes hold for all lanes.
 */
uint64_t order_covered(const struct flush_order *o, unsigned lane, bool multi_conn);

/* The first step that the flush sent at the end of step `sent` covers for `lane`:
 * those before it were covered by earlier ones.  sent + 1: it covers nothing. */
uint64_t order_covers_from(const struct flush_order *o, uint64_t sent, unsigned lane,
			   bool multi_conn);

#endif
