/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clients.c - see clients.h. */
#include "clients.h"

#include <string.h>

static uint64_t hash_of(const struct clients *all, const void *export, const struct nbds_addr *addr)
{
	uint64_t hash = nbds_hash_u64(&all->key, (uint64_t)(uintptr_t) export ^ addr->family);

	return nbds_hash_bytes(&all->key, hash, addr->ip, sizeof(addr->ip));
}

static struct client *client_get(struct clients *all, const void *export,
				 const struct nbds_addr *addr)
{
	uint64_t hash = hash_of(all, export, addr);
	struct nbds_table_node *n = nbds_table_find(&all->table, hash);
	struct client *c;

	for (; n; n = nbds_table_again(n)) {
		c = nbds_owner(n, struct client, node);
		if (c->export == export && c->family == addr->family &&
		    memcmp(c->ip, addr->ip, sizeof(c->ip)) == 0)
			return c;
	}
	c = nbds_budget_alloc(all->budget, sizeof(*c));
	if (!c)
		return NULL;
	c->export = export;
	c->family = addr->family;
	memcpy(c->ip, addr->ip, sizeof(c->ip));
	if (!nbds_table_add(&all->table, all->budget, &c->node, hash)) {
		nbds_budget_free(all->budget, c, sizeof(*c));
		return NULL;
	}
	return c;
}

void client_enter(struct clients *all, struct client_use *use, const void *export,
		  const struct nbds_addr *addr)
{
	struct client *c = use->client ? NULL : client_get(all, export, addr);

	if (!c)
		return;
	*use = (struct client_use){.client = c, .next = c->uses};
	if (use->next)
		use->next->prev = use;
	c->uses = use;
}

void client_writes(struct client_use *use)
{
	if (!use->client || use->writes)
		return;
	use->writes = true;
	use->client->writers++;
}

void client_leave(struct clients *all, struct client_use *use)
{
	struct client *c = use->client;

	if (!c)
		return;
	c->writers -= use->writes;
	*(use->prev ? &use->prev->next : &c->uses) = use->next;
	if (use->next)
		use->next->prev = use->prev;
	*use = (struct client_use){0};
	if (c->uses)
		return;
	nbds_table_remove(&all->table, &c->node);
	nbds_budget_free(all->budget, c, sizeof(*c));
}

static void free_node(void *arg, struct nbds_table_node *n)
{
	struct client *c = nbds_owner(n, struct client, node);

	nbds_budget_free(arg, c, sizeof(*c));
}

void clients_free(struct clients *all)
{
	nbds_table_each(&all->table, free_node, all->budget);
	nbds_table_free(&all->table, all->budget);
}
