/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exports on several ports of one address. See kin.h.
 */
#include <string.h>

#include "contents.h"
#include "kin.h"

/* Worlds that wrote, and are gone, each remembered on its own. */
#define GONE_MAX 4096u
/* Addresses to which something was sent that may be NBD: anybody's, in a large capture. */
#define STRANGERS_MAX 32768u
/* Ports that are looked at for one read; with more of them, one is taken to have written. */
#define LOOKED_MAX 64u

/* Those of one address and name. */
struct family {
	struct nbds_table_node node;
	uint64_t host; /* hash of the address */
	uint64_t name; /* and of the name */
	struct kin *newest;
};

/* Of one address: the servers that were written to, or may have been, by a connection of which
 * is not known to what export, and when that began first. The last place is for all those
 * for which there is none. */
enum { SERVERS = 4 };

struct strangers {
	struct nbds_table_node node;
	uint64_t host;
	unsigned count;
	struct {
		uint64_t server; /* hash of its address and port */
		struct nbds_point lo;
	} first[SERVERS + 1];
};

struct kin {
	struct family *family;
	struct kin *newer, *older;
	struct nbds_world *world; /* NULL: gone, having written, or perhaps */
	struct xport *xport;
};

struct nbds_kin {
	struct nbds_budget *budget;
	struct nbds_hash_key key;
	struct nbds_table table, strangers;
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

static uint64_t hash_host(const struct nbds_kin *all, const uint8_t *host)
{
	return nbds_hash_bytes(&all->key, 1, host, NBDS_HOST_BYTES);
}

static uint64_t hash_server(const struct nbds_kin *all, const char *server)
{
	return nbds_hash_bytes(&all->key, 3, server, strlen(server));
}

static uint64_t host_of(const struct nbds_kin *all, const struct nbds_world *w)
{
	return hash_host(all, w->config.host);
}

static uint64_t server_of(const struct nbds_kin *all, const struct nbds_world *w)
{
	return hash_server(all, w->config.server);
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

static void now_alike(struct xport *x, const struct nbds_world *w)
{
	if (!x->alike)
		x->alone_until = w->last.frame;
	x->alike = true;
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
	now_alike(x, w);
	if (k->older->xport)
		now_alike(k->older->xport, k->older->world);
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
	bool wrote = w->parties->written || w->poisoned || w->open_world;

	if (!k)
		return;
	x->kin = NULL;
	if (!wrote || all->gone == GONE_MAX) {
		all->lost |= wrote;
		forget(all, k);
		return;
	}
	k->world = NULL;
	k->xport = NULL;
	all->gone++;
}

static struct strangers *strangers_find(const struct nbds_kin *all, uint64_t host)
{
	for (struct nbds_table_node *n = nbds_table_find(&all->strangers, host); n;
	     n = nbds_table_again(n)) {
		struct strangers *s = nbds_owner(n, struct strangers, node);

		if (s->host == host)
			return s;
	}
	return NULL;
}

static void note_stranger(struct nbds_kin *all, uint64_t host, uint64_t server,
			  const struct nbds_point *at)
{
	struct strangers *s;
	unsigned i;

	s = strangers_find(all, host);
	if (!s) {
		if (all->lost || all->strangers.count >= STRANGERS_MAX)
			s = NULL;
		else
			s = nbds_budget_alloc(all->budget, sizeof(*s));
		if (!s) {
			all->lost = true;
			return;
		}
		s->host = host;
		if (!nbds_table_add(&all->strangers, all->budget, &s->node, host)) {
			nbds_budget_free(all->budget, s, sizeof(*s));
			all->lost = true;
			return;
		}
	}
	for (i = 0; i < s->count && i < SERVERS && s->first[i].server != server; i++)
		;
	if (i < s->count) {
		earlier_of(&s->first[i].lo, at);
		return;
	}
	s->first[i].server = server;
	s->first[i].lo = *at;
	s->count++;
}

void kin_stranger(const struct nbds_world *w, const struct nbds_point *at)
{
	struct nbds_kin *all = w->config.kin;

	if (all)
		note_stranger(all, host_of(all, w), server_of(all, w), at);
}

void nbds_kin_stranger(struct nbds_kin *all, const uint8_t *host, const char *server,
		       const struct nbds_point *at)
{
	note_stranger(all, hash_host(all, host), hash_server(all, server), at);
}

/* Did a stranger write to another port of the reader's server before `hi`? */
static bool stranger_wrote(const struct nbds_kin *all, const struct nbds_op *read,
			   const struct nbds_point *hi)
{
	const struct strangers *s = strangers_find(all, host_of(all, read->world));

	for (unsigned i = 0; s && i < s->count; i++)
		if ((i == SERVERS || s->first[i].server != server_of(all, read->world)) &&
		    !point_before(read->world, hi, &s->first[i].lo))
			return true;
	return false;
}

static void free_stranger(void *arg, struct nbds_table_node *n)
{
	struct nbds_kin *all = arg;
	struct strangers *s = nbds_owner(n, struct strangers, node);

	nbds_budget_free(all->budget, s, sizeof(*s));
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
	nbds_table_each(&all->strangers, free_stranger, all);
	nbds_table_free(&all->strangers, all->budget);
	nbds_budget_free(all->budget, all, sizeof(*all));
}

/* Is what was over at `hi` certainly before what began in another world? Its order may be
 * doubted more than the reader's. */
static bool over_before(const struct nbds_op *read, const struct nbds_world *w,
			const struct nbds_point *hi, const struct nbds_point *lo)
{
	return point_before(read->world, hi, lo) && point_before(w, hi, lo);
}

/* The write is one of the export, as large as the reader's, and not certainly after the read. */
static bool may_matter(const struct nbds_op *op, const struct xport *x, const struct nbds_op *read,
		       const struct nbds_point *since)
{
	return op->party->xport == x && op->party->known && op->party->size == read->party->size &&
	       !over_before(read, op->world, &read->hi, since);
}

/* The same of what is still being put together. */
static bool writes(const struct nbds_world *w, const struct xport *x, const struct nbds_op *read,
		   uint64_t sector)
{
	const struct assembly *a = w->contents->assembling ? w->contents->assembly : NULL;

	return a && !a->read && sector >= a->offset / NBDS_SECTOR &&
	       sector < (a->offset + a->have) / NBDS_SECTOR &&
	       may_matter(a->op, x, read, &a->op->lo);
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
	/* a read that is told late, of before the ports were known to be alike: what it may have
	 * read may be gone without a trace */
	if (g->count && read->hi.frame <= x->alone_until)
		return true;
	if (writes(w, x, read, sector))
		return true;
	begun = begun_first(w, sector);
	if (begun && !over_before(read, w, &read->hi, begun))
		return true;
	for (size_t i = 0; i < g->count; i++) {
		const struct candidate *c = &g->list[i];
		const struct nbds_op *op = c->op;

		/* what was buried is among those that begun_first() knows of, or its successor
		 * began before the read as well */
		if (c->by || c->seen || c->hole || !op)
			continue;
		/* some replaced others, which began before */
		if (may_matter(op, x, read, op->type == NBD_CMD_WRITE ? &op->lo : &c->hi))
			return true;
	}
	return false;
}

void kin_write(const struct nbds_op *op)
{
	struct xport *x = op->party->xport;

	if (!x || !op->party->known) {
		kin_stranger(op->world, &op->lo);
		return;
	}
	for (unsigned i = 0; i < x->wrote_sizes && i < WROTE_AS; i++) {
		if (x->wrote_as[i].size == op->party->size) {
			/* what is told later may have begun earlier */
			earlier_of(&x->wrote_as[i].lo, &op->lo);
			return;
		}
	}
	if (x->wrote_sizes < WROTE_AS)
		x->wrote_as[x->wrote_sizes] =
			(struct wrote_as){.size = op->party->size, .lo = op->lo};
	if (x->wrote_sizes <= WROTE_AS)
		x->wrote_sizes++;
}

static bool wrote_any(const struct nbds_world *w, const struct xport *x, const struct nbds_op *read,
		      const struct nbds_point *hi)
{
	for (unsigned i = 0; i < x->wrote_sizes && i < WROTE_AS; i++)
		if (x->wrote_as[i].size == read->party->size &&
		    !over_before(read, w, hi, &x->wrote_as[i].lo))
			return true;
	return x->wrote_sizes > WROTE_AS;
}

/* What was sent to this server by `hi` is not all known. */
static bool unseen_by(const struct nbds_world *w, const struct nbds_op *read,
		      const struct nbds_point *hi)
{
	return (w->poisoned && !over_before(read, w, hi, &w->poison)) ||
	       (w->open_world && !over_before(read, w, hi, &w->open_since));
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
	if (stranger_wrote(all, read, hi ? hi : &read->hi))
		return true;
	f = family_find(all, host_of(all, read->world), name_of(all, x));
	for (const struct kin *k = f ? f->newest : NULL; k; k = k->older) {
		if (k->world == read->world)
			continue;
		if (!k->world || ++looked > LOOKED_MAX ||
		    unseen_by(k->world, read, hi ? hi : &read->hi) ||
		    (hi ? wrote_any(k->world, k->xport, read, hi)
			: wrote(k->world, k->xport, read, sector)))
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
