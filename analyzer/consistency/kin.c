/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports on several ports of one address. See kin.h.
 */
#include <string.h>

#include "contents.h"
#include "kin.h"

/* Worlds that wrote, and are gone, each remembered on its own. */
#define GONE_MAX 4096u
/* Ports that are looked at for one read; with more of them, one is taken to have written. */
#define LOOKED_MAX 64u

/* Those of one address and name. */
struct family {
	struct nbds_table_node node;
	uint64_t host; /* hash of the address */
	uint64_t name; /* and of the name */
	struct kin *newest;
};

struct kin {
	struct family *family;
	struct kin *newer, *older;
	struct nbds_world *world; /* NULL: gone, having written */
	struct xport *xport;
};

struct nbds_kin {
	struct nbds_budget *budget;
	struct nbds_hash_key key;
	struct nbds_table table;
	size_t gone;
	bool lost; /* more are gone than are remembered */
};

struct nbds_kin *nbds_kin_new(struct nbds_budget *budget)
{
	struct nbds_kin *all = nbds_budget_alloc(budget, sizeof(*all));

	if (!all)
		return NULL;
	all->budget = budget;
	all->key = nbds_hash_key_new();
	return all;
}

static uint64_t host_of(const struct nbds_kin *all, const struct nbds_world *w)
{
	return nbds_hash_bytes(&all->key, 1, w->config.host, sizeof(w->config.host));
}

static uint64_t name_of(const struct nbds_kin *all, const struct xport *x)
{
	return nbds_hash_bytes(&all->key, 2, x->name, x->name_len);
}

static struct family *family_find(const struct nbds_kin *all, uint64_t host, uint64_t name)
{
	for (struct nbds_table_node *n = nbds_table_find(&all->table, host ^ name); n;
	     n = nbds_table_again(n)) {
		struct family *f = nbds_owner(n, struct family, node);

		if (f->host == host && f->name == name)
			return f;
	}
	return NULL;
}

/* NULL without memory. */
static struct family *family_get(struct nbds_kin *all, uint64_t host, uint64_t name)
{
	struct family *f = family_find(all, host, name);

	if (f)
		return f;
	f = nbds_budget_alloc(all->budget, sizeof(*f));
	if (!f)
		return NULL;
	f->host = host;
	f->name = name;
	if (nbds_table_add(&all->table, all->budget, &f->node, host ^ name))
		return f;
	nbds_budget_free(all->budget, f, sizeof(*f));
	return NULL;
}

static void family_tidy(struct nbds_kin *all, struct family *f)
{
	if (f->newest)
		return;
	nbds_table_remove(&all->table, &f->node);
	nbds_budget_free(all->budget, f, sizeof(*f));
}

void kin_enter(struct xport *x, struct nbds_world *w)
{
	struct nbds_kin *all = w->config.kin;
	struct family *f;
	struct kin *k;

	if (!all)
		return;
	f = family_get(all, host_of(all, w), name_of(all, x));
	k = f ? nbds_budget_alloc(all->budget, sizeof(*k)) : NULL;
	if (!k) {
		if (f)
			family_tidy(all, f);
		all->lost = true;
		return;
	}
	k->world = w;
	k->xport = x;
	k->family = f;
	k->older = f->newest;
	f->newest = k;
	x->kin = k;
	if (!k->older)
		return;
	/* where there are several, they know of each other; and one that is gone says enough */
	k->older->newer = k;
	x->alike = true;
	if (k->older->xport)
		k->older->xport->alike = true;
}

static void forget(struct nbds_kin *all, struct kin *k)
{
	struct family *f = k->family;

	*(k->newer ? &k->newer->older : &f->newest) = k->older;
	if (k->older)
		k->older->newer = k->newer;
	family_tidy(all, f);
	nbds_budget_free(all->budget, k, sizeof(*k));
}

void kin_leave(struct xport *x, struct nbds_world *w)
{
	struct nbds_kin *all = w->config.kin;
	struct kin *k = x->kin;

	if (!k)
		return;
	x->kin = NULL;
	if (!w->parties->written || all->gone == GONE_MAX) {
		all->lost |= w->parties->written;
		forget(all, k);
		return;
	}
	k->world = NULL;
	k->xport = NULL;
	all->gone++;
}

static void free_one(void *arg, struct nbds_table_node *n)
{
	struct nbds_kin *all = arg;
	struct family *f = nbds_owner(n, struct family, node);

	for (struct kin *k = f->newest, *older; k; k = older) {
		older = k->older;
		nbds_budget_free(all->budget, k, sizeof(*k));
	}
	nbds_budget_free(all->budget, f, sizeof(*f));
}

void nbds_kin_free(struct nbds_kin *all)
{
	if (!all)
		return;
	nbds_table_each(&all->table, free_one, all);
	nbds_table_free(&all->table, all->budget);
	nbds_budget_free(all->budget, all, sizeof(*all));
}

/* Of this world's writes to the sector, is one of the export and not certainly after the
 * read? */
static bool wrote(struct nbds_world *w, const struct xport *x, const struct nbds_op *read,
		  uint64_t sector)
{
	const struct gathered *g = &w->contents->gathered;
	const struct nbds_point *begun;

	if (!w->parties->written)
		return false;
	if (w->blind || w->blocks->begun_lost || !contents_gather(w, sector, 0) || g->base ||
	    g->shadow)
		return true;
	begun = begun_first(w, sector);
	if (begun && !point_before(read->world, &read->hi, begun))
		return true;
	for (size_t i = 0; i < g->count; i++) {
		const struct candidate *c = &g->list[i];
		/* of those that replaced others, which began before */
		const struct nbds_point *lo = c->op && c->op->type != NBD_CMD_WRITE ? &c->hi : NULL;

		/* what was buried is among those that begun_first() knows of, or its successor
		 * began before the read as well */
		if (!c->by && !c->seen && !c->hole && c->op->party->xport == x &&
		    c->op->party->known && c->op->party->size == read->party->size &&
		    !point_before(read->world, &read->hi, lo ? lo : &c->op->lo))
			return true;
	}
	return false;
}

void kin_write(const struct nbds_op *op)
{
	struct xport *x = op->party->xport;

	if (!x || !op->party->known)
		return;
	for (unsigned i = 0; i < x->wrote_sizes && i < WROTE_AS; i++)
		if (x->wrote_as[i].size == op->party->size)
			return;
	if (x->wrote_sizes < WROTE_AS)
		x->wrote_as[x->wrote_sizes] =
			(struct wrote_as){.size = op->party->size, .lo = op->lo};
	if (x->wrote_sizes <= WROTE_AS)
		x->wrote_sizes++;
}

static bool wrote_any(const struct xport *x, const struct nbds_op *read,
		      const struct nbds_point *hi)
{
	for (unsigned i = 0; i < x->wrote_sizes && i < WROTE_AS; i++)
		if (x->wrote_as[i].size == read->party->size &&
		    !point_before(read->world, hi, &x->wrote_as[i].lo))
			return true;
	return x->wrote_sizes > WROTE_AS;
}

/* Did any kin of the reader's export do so: write to the sector; or, with `hi`, anything? */
static bool any_wrote(const struct nbds_op *read, uint64_t sector, const struct nbds_point *hi)
{
	const struct xport *x = read->party->xport;
	struct nbds_kin *all = read->world->config.kin;
	const struct family *f;
	unsigned looked = 0;

	if (!all || !read->party->known)
		return false;
	if (all->lost)
		return true;
	f = family_find(all, host_of(all, read->world), name_of(all, x));
	for (const struct kin *k = f ? f->newest : NULL; k; k = k->older) {
		if (k->world == read->world)
			continue;
		if (!k->world || ++looked > LOOKED_MAX ||
		    (hi ? wrote_any(k->xport, read, hi) : wrote(k->world, k->xport, read, sector)))
			return true;
	}
	return false;
}

bool kin_wrote(const struct nbds_op *read, uint64_t sector)
{
	return any_wrote(read, sector, NULL);
}

bool kin_wrote_any(const struct nbds_op *read, const struct nbds_point *hi)
{
	return any_wrote(read, 0, hi);
}
