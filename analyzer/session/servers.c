/* SPDX-License-Identifier: GPL-2.0-or-later */
/* servers.c - see servers.h. */
#include "servers.h"

#include <base/assert.h>

#include <stdlib.h>
#include <string.h>

/* The margin of capture order between connections.  On loopback every packet is
 * seen as it is sent, by one clock, before anybody can act on it: strictly later
 * is later.  A network card, its queues and their batches can blur some
 * microseconds. */
#define EPSILON INT64_C(50000)

#define VISITS 64u /* worlds that a tick looks at */

void servers_init(struct servers *all)
{
	all->key = nbds_hash_key_new();
	all->config.kin = nbds_kin_new(all->budget);
	all->now = INT64_MIN;
}

static uint64_t hash_of(const struct servers *all, const struct nbds_addr *a)
{
	return nbds_hash_bytes(&all->key, (uint64_t)a->family << 16 | a->port, a->ip,
			       sizeof(a->ip));
}

struct server *server_find(const struct servers *all, const struct nbds_addr *addr)
{
	struct nbds_table_node *n = nbds_table_find(&all->table, hash_of(all, addr));

	for (; n; n = nbds_table_again(n)) {
		struct server *s = nbds_owner(n, struct server, node);

		if (nbds_addr_equal(&s->addr, addr))
			return s;
	}
	return NULL;
}

static bool is_loopback(const struct nbds_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (a->family == 4)
		return a->ip[0] == 127;
	return memcmp(a->ip, one, 16) == 0 || (memcmp(a->ip, mapped, 12) == 0 && a->ip[12] == 127);
}

static void host_of(const struct nbds_addr *a, uint8_t *host)
{
	host[0] = a->family;
	memcpy(host + 1, a->ip, sizeof(a->ip));
}

void servers_stranger(struct servers *all, const struct nbds_addr *addr,
		      const struct nbds_point *at)
{
	struct nbds_world_config name;

	if (!all->config.kin)
		return;
	nbds_addr_text(addr, name.server);
	host_of(addr, name.host);
	nbds_kin_stranger(all->config.kin, name.host, name.server, at);
}

static struct nbds_world *world_new(struct server *s)
{
	struct servers *all = s->all;
	struct nbds_world_config config = all->config;
	struct nbds_world *w;

	if (!config.epsilon)
		config.epsilon = is_loopback(&s->addr) ? 0 : EPSILON;
	nbds_addr_text(&s->addr, config.server);
	host_of(&s->addr, config.host);
	w = nbds_world_new(&config, &all->ops, s);
	if (!w)
		return NULL;
	if (all->unseen || s->unseen)
		nbds_world_unseen(w, &(struct nbds_point){0, INT64_MIN, 0});
	if (all->dropped)
		nbds_world_dropped(w);
	if (all->interfaces)
		nbds_world_interfaces(w);
	return w;
}

static void list(struct server *s)
{
	struct servers *all = s->all;

	s->newer = NULL;
	s->older = all->newest;
	*(s->older ? &s->older->newer : &all->oldest) = s;
	all->newest = s;
}

static void unlist(struct server *s)
{
	struct servers *all = s->all;

	*(s->older ? &s->older->newer : &all->oldest) = s->newer;
	*(s->newer ? &s->newer->older : &all->newest) = s->older;
}

struct server *server_get(struct servers *all, const struct nbds_addr *addr)
{
	struct server *s = server_find(all, addr);

	if (s)
		return s;
	s = nbds_budget_alloc(all->budget, sizeof(*s));
	if (!s)
		return NULL;
	s->all = all;
	s->addr = *addr;
	if (!nbds_table_add(&all->table, all->budget, &s->node, hash_of(all, addr))) {
		nbds_budget_free(all->budget, s, sizeof(*s));
		return NULL;
	}
	list(s);
	return s;
}

struct nbds_world *server_world(struct server *s)
{
	if (s->world)
		return s->world;
	s->world = world_new(s);
	if (s->world && s->all->sums)
		s->summed = nbds_budget_alloc(s->all->budget, sizeof(*s->summed));
	return s->world;
}

/* --- the sum of all --- */

void servers_sum(struct servers *all)
{
	all->sums = true;
}

/* What is new in its world since this was asked last. */
static void sum_up(struct server *s)
{
	struct nbds_world_stats *sum = &s->all->sum, *had = s->summed, w;

	if (!had || !s->world)
		return;
	nbds_world_stats(s->world, &w);
	sum->reads += w.reads - had->reads;
	sum->checked_bytes += w.checked_bytes - had->checked_bytes;
	for (unsigned k = 0; k < NBDS_UNCHECKED_MAX; k++)
		sum->unchecked[k] += w.unchecked[k] - had->unchecked[k];
	*had = w;
}

/* It stays in the sum. */
static void sum_end(struct server *s)
{
	sum_up(s);
	nbds_budget_free(s->all->budget, s->summed, sizeof(*s->summed));
	s->summed = NULL;
}

void servers_free(struct servers *all)
{
	for (struct server *s = all->oldest, *next; s; s = next) {
		next = s->newer;
		sum_end(s);
		if (s->world)
			nbds_world_free(s->world);
		nbds_budget_free(all->budget, s, sizeof(*s));
	}
	all->oldest = all->newest = all->stirring = all->stirring_last = NULL;
	nbds_kin_free(all->config.kin);
	all->config.kin = NULL;
	nbds_table_free(&all->table, all->budget);
}

static void stir(struct server *s)
{
	struct servers *all = s->all;

	s->stirring = true;
	s->stir_next = NULL;
	s->stir_prev = all->stirring_last;
	*(s->stir_prev ? &s->stir_prev->stir_next : &all->stirring) = s;
	all->stirring_last = s;
}

static void still(struct server *s)
{
	struct servers *all = s->all;

	if (!s->stirring)
		return;
	*(s->stir_prev ? &s->stir_prev->stir_next : &all->stirring) = s->stir_next;
	*(s->stir_next ? &s->stir_next->stir_prev : &all->stirring_last) = s->stir_prev;
	s->stirring = false;
}

void server_stir(struct server *s)
{
	struct servers *all = s->all;

	if (s->stirring || !s->world)
		return;
	if (all->newest != s) {
		unlist(s);
		list(s);
	}
	stir(s);
	nbds_world_tick(s->world, all->now);
}

void servers_tick(struct servers *all, int64_t now)
{
	const struct server *last = all->stirring_last;

	all->now = now;
	for (unsigned n = 0; last && n < VISITS; n++) {
		struct server *s = all->stirring;
		bool over = s == last;

		NBDS_ASSERT(s); /* the last one is in the list */
		if (!s)
			break;
		still(s);
		if (s->world && nbds_world_tick(s->world, now))
			stir(s);
		sum_up(s);
		if (over)
			break;
	}
}

void server_use(struct server *s, struct server_use *use)
{
	*use = (struct server_use){.prev = s->last_use, .listed = true};
	*(use->prev ? &use->prev->next : &s->first_use) = use;
	s->last_use = use;
}

void server_leave(struct server *s, struct server_use *use)
{
	if (!use->listed)
		return;
	*(use->prev ? &use->prev->next : &s->first_use) = use->next;
	*(use->next ? &use->next->prev : &s->last_use) = use->prev;
	use->listed = false;
}

static void add_stats(struct nbds_world_stats *sum, const struct nbds_world *world)
{
	struct nbds_world_stats w;

	nbds_world_stats(world, &w);
	sum->reads += w.reads;
	sum->checked_bytes += w.checked_bytes;
	sum->memory += w.memory;
	sum->forgotten += w.forgotten;
	sum->pruned += w.pruned;
	if (w.lost_to && (!sum->lost_to || w.lost_from < sum->lost_from))
		sum->lost_from = w.lost_from;
	if (w.lost_to > sum->lost_to)
		sum->lost_to = w.lost_to;
	for (unsigned k = 0; k < NBDS_UNCHECKED_MAX; k++)
		sum->unchecked[k] += w.unchecked[k];
}

void server_drop_world(struct server *s)
{
	nbds_world_finish(s->world);
	sum_end(s);
	add_stats(&s->all->past, s->world);
	s->all->past.memory = 0;
	nbds_world_free(s->world);
	s->world = NULL;
	still(s); /* nothing is left in it that time could change */
	s->all->forgotten += !s->forgotten;
	s->forgotten = true;
}

void servers_relieve(struct servers *all, uint64_t goal)
{
	for (struct server *s = all->oldest, *next; s && all->budget->used > goal; s = next) {
		next = s->newer;
		if (s->world) {
			uint64_t excess = all->budget->used - goal;
			struct nbds_world_stats stats;

			nbds_world_stats(s->world, &stats);
			nbds_world_shrink(s->world,
					  stats.memory > excess ? stats.memory - excess : 0);
			if (!s->first_use && all->budget->used > goal)
				server_drop_world(s);
		}
		if (s->first_use || s->world)
			continue;
		all->unseen |= s->unseen;
		unlist(s);
		nbds_table_remove(&all->table, &s->node);
		nbds_budget_free(all->budget, s, sizeof(*s));
	}
}

void servers_dropped(struct servers *all)
{
	all->dropped = true;
	for (struct server *s = all->oldest; s; s = s->newer)
		if (s->world)
			nbds_world_dropped(s->world);
}

void servers_interfaces(struct servers *all)
{
	all->interfaces = true;
	for (struct server *s = all->oldest; s; s = s->newer)
		if (s->world)
			nbds_world_interfaces(s->world);
}

void servers_finish(struct servers *all)
{
	for (struct server *s = all->oldest; s; s = s->newer) {
		if (s->world)
			nbds_world_finish(s->world);
		sum_up(s);
	}
}

void servers_stats(const struct servers *all, struct nbds_world_stats *sum)
{
	*sum = all->past;
	for (const struct server *s = all->oldest; s; s = s->newer)
		if (s->world)
			add_stats(sum, s->world);
}
