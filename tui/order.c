/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * order.c - what was written between the flushes of one export. See order.h.
 */
#include "order.h"

#include <string.h>

void order_init(struct flush_order *o)
{
	memset(o, 0, sizeof(*o));
	o->first = o->last = 1;
}

static struct order_step *step_at(struct flush_order *o, uint64_t serial)
{
	return &o->steps[serial % ORDER_STEPS];
}

const struct order_step *order_step(const struct flush_order *o, uint64_t serial)
{
	if (serial < o->first || serial > o->last)
		return NULL;
	return &o->steps[serial % ORDER_STEPS];
}

static void lane_clear(struct flush_order *o, unsigned lane)
{
	for (uint64_t s = o->first; s <= o->last; s++) {
		struct order_step *step = step_at(o, s);

		step->in_flight[lane] = 0;
		step->cells[lane] = (struct order_cell){0};
		/* Its cuts stay as cuts of nobody's. */
		if (step->cut != ORDER_OPEN && step->lane == lane)
			step->lane = ORDER_LANES;
	}
	o->lanes[lane] = (struct order_lane){0};
}

/* The lane of a connection: its own, a new one, that of the one that ended longest
 * ago, or the last one, which is shared. */
static unsigned lane_of(struct flush_order *o, uint32_t connection)
{
	unsigned free_lane = ORDER_LANES, old = ORDER_LANES;

	for (unsigned i = 0; i < ORDER_LANES; i++) {
		struct order_lane *lane = &o->lanes[i];

		if (lane->connection == connection) {
			lane->used = o->last;
			return i;
		}
		if (i == ORDER_LANES - 1)
			break;
		if (!lane->connection && free_lane == ORDER_LANES)
			free_lane = i;
		if (lane->ended && (old == ORDER_LANES || lane->used < o->lanes[old].used))
			old = i;
	}
	/* Lanes are in the order of connections as long as there are new ones. */
	if (free_lane == ORDER_LANES && old != ORDER_LANES) {
		lane_clear(o, old);
		free_lane = old;
	}
	if (free_lane == ORDER_LANES)
		return ORDER_LANES - 1;
	o->lanes[free_lane].connection = connection;
	o->lanes[free_lane].used = o->last;
	return free_lane;
}

static void cut(struct flush_order *o, enum order_cut kind, unsigned lane, uint64_t request,
		uint64_t frame, int64_t time)
{
	struct order_step *step = step_at(o, o->last);

	step->cut = kind;
	step->lane = (uint8_t)lane;
	step->request = request;
	step->frame = frame;
	step->time = time;
	for (unsigned i = 0; i < ORDER_LANES; i++)
		step->in_flight[i] = o->lanes[i].in_flight;
	o->last++;
	if (o->last - o->first >= ORDER_STEPS)
		o->first++;
	memset(step_at(o, o->last), 0, sizeof(*step));
}

void order_idle(struct flush_order *o, uint32_t connection)
{
	unsigned lane = lane_of(o, connection);

	if (lane < ORDER_LANES - 1)
		o->lanes[lane].in_flight = 0;
}

void order_write_sent(struct flush_order *o, uint32_t connection)
{
	o->lanes[lane_of(o, connection)].in_flight++;
}

void order_write_done(struct flush_order *o, uint32_t connection, uint64_t bytes, bool fua, bool ok)
{
	unsigned lane = lane_of(o, connection);
	struct order_cell *cell = &step_at(o, o->last)->cells[lane];

	if (o->lanes[lane].in_flight)
		o->lanes[lane].in_flight--;
	if (!ok)
		return;
	*(fua ? &cell->fua : &cell->writes) += 1;
	cell->bytes += bytes;
}

void order_read_done(struct flush_order *o, uint32_t connection)
{
	step_at(o, o->last)->cells[lane_of(o, connection)].reads++;
}

void order_found(struct flush_order *o, uint32_t connection, uint64_t frame)
{
	uint64_t low = o->first, high = o->last;
	unsigned lane = 0;

	while (lane < ORDER_LANES && o->lanes[lane].connection != connection)
		lane++;
	if (lane == ORDER_LANES)
		lane = ORDER_LANES - 1;
	/* The first step that ends with this frame or later; the last one has no end. */
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (step_at(o, middle)->frame < frame)
			low = middle + 1;
		else
			high = middle;
	}
	/* What is not kept any more has its place in none of them. */
	if (low == o->first && low > 1 && low < o->last && frame < step_at(o, low)->frame)
		return;
	step_at(o, low)->cells[lane].found++;
}

void order_flush_sent(struct flush_order *o, uint32_t connection, uint64_t request, uint64_t frame,
		      int64_t time)
{
	cut(o, ORDER_SENT, lane_of(o, connection), request, frame, time);
}

void order_flush_done(struct flush_order *o, uint32_t connection, uint64_t request, uint64_t frame,
		      int64_t time, bool ok)
{
	cut(o, ok ? ORDER_DONE : ORDER_FAILED, lane_of(o, connection), request, frame, time);
}

void order_closed(struct flush_order *o, uint32_t connection, uint64_t frame, int64_t time)
{
	unsigned lane = lane_of(o, connection);

	if (lane == ORDER_LANES - 1)
		return;
	o->lanes[lane].in_flight = 0;
	cut(o, ORDER_CLOSED, lane, 0, frame, time);
	o->lanes[lane].ended = true;
}

uint64_t order_answer(const struct flush_order *o, uint64_t sent)
{
	const struct order_step *request = order_step(o, sent);

	if (!request || request->cut != ORDER_SENT)
		return 0;
	for (uint64_t s = sent + 1; s < o->last; s++) {
		const struct order_step *step = order_step(o, s);

		if ((step->cut == ORDER_DONE || step->cut == ORDER_FAILED) &&
		    step->lane == request->lane && step->request == request->request)
			return s;
	}
	return 0;
}

/* The flush sent at the end of step `sent` was answered without error, and holds
 * for `lane`. */
static bool holds(const struct flush_order *o, uint64_t sent, unsigned lane, bool multi_conn)
{
	const struct order_step *request = order_step(o, sent);
	uint64_t answer;

	if (!request || request->cut != ORDER_SENT || (!multi_conn && request->lane != lane))
		return false;
	answer = order_answer(o, sent);
	return answer && order_step(o, answer)->cut == ORDER_DONE;
}

uint64_t order_covered(const struct flush_order *o, unsigned lane, bool multi_conn)
{
	for (uint64_t s = o->last; s-- > o->first;)
		if (holds(o, s, lane, multi_conn))
			return s + 1;
	return o->first;
}

uint64_t order_covers_from(const struct flush_order *o, uint64_t sent, unsigned lane,
			   bool multi_conn)
{
	if (!holds(o, sent, lane, multi_conn))
		return sent + 1;
	for (uint64_t s = sent; s-- > o->first;)
		if (holds(o, s, lane, multi_conn))
			return s + 1;
	return o->first;
}
