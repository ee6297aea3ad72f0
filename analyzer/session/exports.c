/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exports.c - see exports.h. */
#include "exports.h"

#include <string.h>

static uint64_t hash_of(const struct exports *all, const struct nbds_addr *server, const char *name,
			size_t len)
{
	uint64_t hash = nbds_hash_bytes(&all->key, (uint64_t)server->family << 16 | server->port,
					server->ip, sizeof(server->ip));

	return nbds_hash_bytes(&all->key, hash, name, len);
}

static struct export_more *export_new(struct exports *all, const struct nbds_addr *server,
				      const char *name, size_t len)
{
	struct export_more *x = nbds_budget_alloc(all->budget, sizeof(*x));
	char *copy = nbds_budget_alloc(all->budget, len + 1);

	if (!x || !copy) {
		nbds_budget_free(all->budget, copy, len + 1);
		nbds_budget_free(all->budget, x, sizeof(*x));
		return NULL;
	}
	if (len)
		memcpy(copy, name, len);
	x->e.name = copy;
	x->e.name_len = len;
	x->e.server = *server;
	all->bytes += sizeof(*x) + len;
	return x;
}

static void export_free(struct exports *all, struct export_more *x)
{
	all->bytes -= sizeof(*x) + x->e.name_len;
	nbds_vector_free(&x->ids, all->budget);
	nbds_budget_free(all->budget, (char *)x->e.name, x->e.name_len + 1);
	nbds_budget_free(all->budget, x, sizeof(*x));
}

struct export_more *export_get(struct exports *all, const struct nbds_addr *server,
			       const char *name, size_t len)
{
	uint64_t hash = hash_of(all, server, name, len);
	struct nbds_table_node *n = nbds_table_find(&all->table, hash);
	struct export_more *x;

	for (; n; n = nbds_table_again(n)) {
		x = nbds_owner(n, struct export_more, node);
		if (x->e.name_len == len && nbds_addr_equal(&x->e.server, server) &&
		    memcmp(x->e.name, name, len) == 0)
			return x;
	}
	x = export_new(all, server, name, len);
	if (!x)
		return NULL;
	if (!nbds_table_add(&all->table, all->budget, &x->node, hash)) {
		export_free(all, x);
		return NULL;
	}
	x->older = all->newest;
	*(x->older ? &x->older->e.next : &all->oldest) = &x->e;
	all->newest = x;
	x->e.number = ++all->count;
	return x;
}

static void ids_told(struct export_more *x)
{
	x->e.connections = x->ids.at;
	x->e.connection_count = (unsigned)x->ids.count;
}

bool export_join(struct exports *all, struct export_more *x, uint32_t connection,
		 const struct nbds_negotiated *n)
{
	bool mc = n->transmission_flags & NBD_FLAG_CAN_MULTI_CONN;

	if (!nbds_vector_push(&x->ids, all->budget, connection))
		return false;
	x->members++;
	ids_told(x);
	if (!n->export_seen)
		return true;
	x->e.size = n->size;
	x->e.size_seen = true;
	x->e.transmission_flags |= n->transmission_flags;
	if (x->e.multi_conn == NBDS_MC_UNKNOWN)
		x->e.multi_conn = mc ? NBDS_MC_TRUE : NBDS_MC_FALSE;
	else if ((x->e.multi_conn == NBDS_MC_TRUE) != mc)
		x->e.multi_conn = NBDS_MC_MIXED;
	return true;
}

/* Ids of forgotten connections are taken out when they are the greater part: each costs
 * the same, however many there are. */
static void ids_thin(struct exports *all, struct export_more *x, uint32_t leaves)
{
	size_t kept = 0;

	for (size_t i = 0; i < x->ids.count; i++)
		if (x->ids.at[i] != leaves && all->known(all->ctx, x->ids.at[i]))
			x->ids.at[kept++] = x->ids.at[i];
	x->ids.count = kept;
	x->left = 0;
	ids_told(x);
}

void export_leave(struct exports *all, struct export_more *x, uint32_t connection)
{
	struct nbds_export *e = &x->e;

	NBDS_ASSERT(x->members);
	if (--x->members) {
		if (++x->left > x->ids.count / 2)
			ids_thin(all, x, connection);
		return;
	}
	*(x->older ? &x->older->e.next : &all->oldest) = e->next;
	if (e->next)
		export_more(e->next)->older = x->older;
	else
		all->newest = x->older;
	all->forgotten++;
	nbds_table_remove(&all->table, &x->node);
	export_free(all, x);
}

void exports_free(struct exports *all)
{
	for (struct nbds_export *x = all->oldest, *next; x; x = next) {
		next = x->next;
		export_free(all, export_more(x));
	}
	all->oldest = NULL;
	all->newest = NULL;
	nbds_table_free(&all->table, all->budget);
}
