/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memory.c - how the engine keeps to its limit.
 *
 * All state is counted in one budget.  What ended is put away in few bytes at once.
 * When the budget is over, this goes until an eighth of the limit is free again:
 *
 *	connections that ended with writes that nothing flushed: put away after all
 *	connections that were put away, the oldest, beyond half of the limit
 *	contents of servers that were silent for longest, then those servers
 *	more of what was put away, but for an eighth of the limit
 *	all that the largest world knows: what follows is judged as in a capture that
 *	begins there
 *	and last, connections with the largest state are not followed any more: they are
 *	put away as they are then
 *
 * If it was in vain, the next attempt waits until the budget has grown by a part of the
 * limit, so that what cannot be helped is not tried for each packet.
 */
#include "internal.h"

#define TIDY 8u /* sessions looked at in a tick */

void memory_tidy(struct nbds_engine *e)
{
	struct session *s = e->config.keep_ended ? NULL : e->ended.oldest;

	for (unsigned n = 0; s && n < TIDY; n++, s = e->ended.oldest) {
		session_refresh(s);
		if (!session_put_away(s))
			session_again(s);
	}
}

static void put_all_away(struct nbds_engine *e, uint64_t goal)
{
	while (e->ended.oldest && e->budget.used > goal) {
		struct session *s = e->ended.oldest;

		session_refresh(s);
		if (!records_add(&e->records, &s->c))
			return;
		session_forget(s);
	}
}

static void gone(void *engine, uint32_t id, struct nbds_export *x)
{
	struct nbds_engine *e = engine;

	findings_end(&e->findings, id);
	if (x)
		export_leave(&e->exports, export_more(x), id);
	e->forgotten++;
}

static void drop_free(struct nbds_engine *e)
{
	while (e->free_inflight) {
		struct inflight *f = e->free_inflight;

		e->free_inflight = f->next_free;
		nbds_budget_free(&e->budget, f, sizeof(*f));
	}
}

static uint64_t takes(const struct session *s)
{
	return s->decoder_takes + s->c.in_flight * sizeof(struct inflight);
}

/* Those that take more than others, by requests in flight or text of options, until there
 * is room for as much again as this walk over all has cost. */
static void give_up(struct nbds_engine *e, uint64_t goal)
{
	uint64_t sum = 0, count = 0, mean;

	for (const struct session *s = e->open.newest; s; s = s->next_open) {
		sum += takes(s);
		count++;
	}
	mean = count ? sum / count : 0;
	for (struct session *s = e->open.oldest, *newer; s && e->budget.used > goal; s = newer) {
		newer = s->prev_open;
		if (takes(s) < mean)
			continue;
		session_give_up(s);
	}
}

static void restart_largest(struct nbds_engine *e, uint64_t least)
{
	struct server *largest = NULL;
	uint64_t most = least;

	for (struct server *s = e->servers.oldest; s; s = s->newer) {
		struct nbds_world_stats stats;

		if (!s->world)
			continue;
		nbds_world_stats(s->world, &stats);
		if (stats.memory > most) {
			most = stats.memory;
			largest = s;
		}
	}
	if (!largest)
		return;
	for (struct server_use *use = largest->first_use; use; use = use->next)
		session_part(nbds_owner(use, struct session, server_use));
	server_drop_world(largest);
	for (struct server_use *use = largest->first_use; use; use = use->next)
		session_rejoin(nbds_owner(use, struct session, server_use));
}

void memory_relieve(struct nbds_engine *e)
{
	uint64_t limit = e->budget.limit, goal = limit - limit / 8;

	if (!nbds_budget_over(&e->budget) || e->budget.used < e->relieve_at)
		return;
	drop_free(e);
	if (!e->config.keep_ended)
		put_all_away(e, goal);
	while (e->records.bytes > limit / 2 && e->budget.used > goal)
		records_forget(&e->records, gone, e);
	if (e->budget.used > goal)
		servers_relieve(&e->servers, goal);
	while (nbds_budget_over(&e->budget) && e->records.bytes + e->exports.bytes > limit / 8 &&
	       records_forget(&e->records, gone, e))
		;
	if (nbds_budget_over(&e->budget))
		restart_largest(e, limit / 8);
	if (nbds_budget_over(&e->budget))
		give_up(e, goal);
	e->relieve_at = e->budget.used > goal ? e->budget.used + limit / 32 : 0;
}
