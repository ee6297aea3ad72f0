/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/table.h - a hash table that cannot be aimed at.
 *
 * Purpose.  What strangers name (addresses, export names, block numbers) is found
 * again in constant time, whatever names they choose: the hash has a secret seed
 * for each run of the program.  Nodes lie inside of what they find; the table
 * doubles as it fills, so n additions cost O(n).
 *
 *	buckets ──► [0] ──► node ──► node      node: next, hash, (the rest of its owner)
 *	            [1] ──► node
 *
 * Nothing may depend on the order in which a table holds its nodes: it differs
 * from run to run.
 *
 * Ownership.  The table owns its buckets, counted in a budget; nodes are their
 * owners'.  Failure.  Without memory the table stays as small as it is and slower;
 * nbds_table_add() returns false only where there is no memory for any bucket.
 *
 * Example.
 *	for (n = nbds_table_find(&t, hash); n; n = nbds_table_again(n))
 *		if (same(nbds_owner(n, struct server, node), address))
 *			return ...;
 *	nbds_table_add(&t, budget, &server->node, hash);
 */
#ifndef NBDSCOPE_BASE_TABLE_H
#define NBDSCOPE_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <sys/random.h>

#include <base/budget.h>

/* The struct that has `member` at `at`. */
#define nbds_owner(at, type, member) ((type *)(void *)((char *)(at)-offsetof(type, member)))

/* --- hashes ---
 *
 * Multiply and fold: the high half of a 128-bit product depends on all bits of both
 * factors, and the secret is in both. */

struct nbds_hash_key {
	uint64_t a, b;
};

static inline struct nbds_hash_key nbds_hash_key_new(void)
{
	struct nbds_hash_key k;

	if (getrandom(&k, sizeof(k), GRND_NONBLOCK) != (ssize_t)sizeof(k)) {
		/* early in the life of a machine: what an attacker can hardly know */
		k.a = (uint64_t)time(NULL) * UINT64_C(0x9e3779b97f4a7c15);
		k.b = (uint64_t)(uintptr_t)&k * UINT64_C(0xd1342543de82ef95);
	}
	k.a |= 1;
	k.b |= 1;
	return k;
}

static inline uint64_t nbds_hash_fold(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t nbds_hash_u64(const struct nbds_hash_key *k, uint64_t number)
{
	return nbds_hash_fold(nbds_hash_fold(number ^ k->a, k->b) ^ k->b, k->a);
}

/* `hash` of what came before, or 0. */
static inline uint64_t nbds_hash_bytes(const struct nbds_hash_key *k, uint64_t hash,
				       const void *bytes, size_t len)
{
	const uint8_t *at = (const uint8_t *)bytes;
	uint64_t word = 0;

	hash = nbds_hash_fold(hash ^ k->b, (uint64_t)len ^ k->a);
	for (; len >= 8; at += 8, len -= 8) {
		memcpy(&word, at, 8);
		hash = nbds_hash_fold(hash ^ word ^ k->a, k->b);
	}
	word = 0;
	if (len)
		memcpy(&word, at, len);
	return nbds_hash_fold(hash ^ word ^ k->b, k->a);
}

/* --- the table --- */

struct nbds_table_node {
	struct nbds_table_node *next;
	uint64_t hash;
};

/* All zero: empty. */
struct nbds_table {
	struct nbds_table_node **buckets; /* 1 << bits */
	unsigned bits;
	size_t count;
};

/* The first node with this hash, and the next one. */
static inline struct nbds_table_node *nbds_table_find(const struct nbds_table *t, uint64_t hash)
{
	struct nbds_table_node *n = t->buckets ? t->buckets[hash & ((UINT64_C(1) << t->bits) - 1)]
					       : NULL;

	while (n && n->hash != hash)
		n = n->next;
	return n;
}

static inline struct nbds_table_node *nbds_table_again(const struct nbds_table_node *n)
{
	uint64_t hash = n->hash;
	struct nbds_table_node *next = n->next;

	while (next && next->hash != hash)
		next = next->next;
	return next;
}

static inline void nbds_table_resize(struct nbds_table *t, struct nbds_budget *budget,
				     unsigned bits)
{
	struct nbds_table_node **buckets =
		(struct nbds_table_node **)nbds_budget_alloc(budget, sizeof(*buckets) << bits);

	if (!buckets)
		return;
	for (size_t i = 0; t->buckets && i < (size_t)1 << t->bits; i++) {
		struct nbds_table_node *n = t->buckets[i], *next;

		for (; n; n = next) {
			size_t to = n->hash & (((size_t)1 << bits) - 1);

			next = n->next;
			n->next = buckets[to];
			buckets[to] = n;
		}
	}
	if (t->buckets)
		nbds_budget_free(budget, t->buckets, sizeof(*buckets) << t->bits);
	t->buckets = buckets;
	t->bits = bits;
}

static inline bool nbds_table_add(struct nbds_table *t, struct nbds_budget *budget,
				  struct nbds_table_node *n, uint64_t hash)
{
	struct nbds_table_node **bucket;

	if (!t->buckets)
		nbds_table_resize(t, budget, 4);
	else if (t->count >= (size_t)1 << t->bits)
		nbds_table_resize(t, budget, t->bits + 1);
	if (!t->buckets)
		return false;
	bucket = &t->buckets[hash & ((UINT64_C(1) << t->bits) - 1)];
	n->hash = hash;
	n->next = *bucket;
	*bucket = n;
	t->count++;
	return true;
}

static inline void nbds_table_remove(struct nbds_table *t, struct nbds_table_node *n)
{
	struct nbds_table_node **at = &t->buckets[n->hash & ((UINT64_C(1) << t->bits) - 1)];

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	t->count--;
}

/* Calls `each` for all nodes, which may free them but not add or remove any. */
static inline void nbds_table_each(const struct nbds_table *t,
				   void (*each)(void *arg, struct nbds_table_node *n), void *arg)
{
	for (size_t i = 0; t->buckets && i < (size_t)1 << t->bits; i++) {
		for (struct nbds_table_node *n = t->buckets[i], *next; n; n = next) {
			next = n->next;
			each(arg, n);
		}
	}
}

/* The buckets, not the nodes. */
static inline void nbds_table_free(struct nbds_table *t, struct nbds_budget *budget)
{
	if (t->buckets)
		nbds_budget_free(budget, t->buckets, sizeof(*t->buckets) << t->bits);
	*t = (struct nbds_table){0};
}

#endif
