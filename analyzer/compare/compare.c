/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * compare.c - what an earlier report had, and what this one has. See compare.h.
 *
 * Findings are found by a text of all that makes them the same.
 */
#include "compare.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/table.h>
#include <base/vector.h>

/* A finding of the earlier report. */
struct earlier {
	struct nbds_table_node node; /* by key */
	char *key;
	struct nbds_compare_finding finding; /* with strings of its own */
	uint64_t left;                       /* that this report has not had yet */
};

struct export_account {
	struct nbds_table_node node; /* by name */
	struct nbds_compare_export e;
};

struct compared_capture {
	struct nbds_table by_key, by_name;
	NBDS_VECTOR(earlier_vector, struct earlier *) earlier;
	NBDS_VECTOR(export_vector, struct export_account *) exports;
	struct nbds_compare_counts counts;
};

struct nbds_compare {
	struct nbds_hash_key seed;
	struct nbds_budget budget;
	char *file, *version;
	NBDS_VECTOR(capture_vector, struct compared_capture) captures;
};

struct nbds_compare *nbds_compare_new(void)
{
	struct nbds_compare *c = calloc(1, sizeof(*c));

	if (c)
		c->seed = nbds_hash_key_new();
	return c;
}

static void free_earlier(struct earlier *e)
{
	free(e->key);
	free((char *)e->finding.rule);
	free((char *)e->finding.severity);
	free((char *)e->finding.side);
	free((char *)e->finding.command);
	free((char *)e->finding.export);
	free((char *)e->finding.ref);
	free((char *)e->finding.message);
	free(e);
}

static void free_export(struct export_account *a)
{
	free((char *)a->e.name);
	for (int i = 0; i < NBDS_COMPARE_COMMANDS; i++)
		free((char *)a->e.commands[i]);
	free(a);
}

void nbds_compare_free(struct nbds_compare *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->captures.count; i++) {
		struct compared_capture *k = &c->captures.at[i];

		for (size_t j = 0; j < k->earlier.count; j++)
			free_earlier(k->earlier.at[j]);
		for (size_t j = 0; j < k->exports.count; j++)
			free_export(k->exports.at[j]);
		nbds_table_free(&k->by_key, &c->budget);
		nbds_table_free(&k->by_name, &c->budget);
		nbds_vector_free(&k->earlier, &c->budget);
		nbds_vector_free(&k->exports, &c->budget);
	}
	nbds_vector_free(&c->captures, &c->budget);
	free(c->file);
	free(c->version);
	free(c);
}

bool nbds_compare_name(struct nbds_compare *c, const char *file, const char *version)
{
	free(c->file);
	free(c->version);
	c->file = strdup(file);
	c->version = strdup(version);
	return c->file && c->version;
}

const char *nbds_compare_file(const struct nbds_compare *c)
{
	return c->file ? c->file : "";
}

const char *nbds_compare_version(const struct nbds_compare *c)
{
	return c->version ? c->version : "";
}

bool nbds_compare_capture(struct nbds_compare *c)
{
	struct compared_capture k = {.counts = {.fresh = {0}}};

	return nbds_vector_push(&c->captures, &c->budget, k);
}

unsigned nbds_compare_captures(const struct nbds_compare *c)
{
	return (unsigned)c->captures.count;
}

static struct compared_capture *capture_of(const struct nbds_compare *c, unsigned capture)
{
	return capture && capture <= c->captures.count ? &c->captures.at[capture - 1] : NULL;
}

static const char *or_nothing(const char *s)
{
	return s ? s : "";
}

/* "rule level side command export offset length write:1 flush:1 read:2" with separators
 * that none of them has; to be freed. */
static char *key_of(const struct nbds_compare_finding *f)
{
	char *key = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&key, &size);

	if (!out)
		return NULL;
	fprintf(out, "%s\n%s\n%s\n%s\n%s\n", or_nothing(f->rule), or_nothing(f->severity),
		or_nothing(f->side), or_nothing(f->command), or_nothing(f->export));
	if (f->has_range)
		fprintf(out, "%" PRIu64 "+%" PRIu64, f->offset, f->length);
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		unsigned same = 0;

		/* The first of those on its connection. */
		while (f->witnesses[same].connection != f->witnesses[i].connection)
			same++;
		fprintf(out, "\n%s:%u", or_nothing(f->witnesses[i].role), same);
	}
	if (fclose(out)) {
		free(key);
		return NULL;
	}
	return key;
}

static struct earlier *find_earlier(const struct nbds_compare *c, const struct compared_capture *k,
				    const char *key)
{
	struct nbds_table_node *n =
		nbds_table_find(&k->by_key, nbds_hash_bytes(&c->seed, 0, key, strlen(key)));

	for (; n; n = nbds_table_again(n)) {
		struct earlier *e = nbds_owner(n, struct earlier, node);

		if (!strcmp(e->key, key))
			return e;
	}
	return NULL;
}

/* NULL stays NULL. */
static bool copy_text(const char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return !from || *to;
}

bool nbds_compare_earlier(struct nbds_compare *c, unsigned capture,
			  const struct nbds_compare_finding *f, uint64_t count)
{
	struct compared_capture *k = capture_of(c, capture);
	char *key = k ? key_of(f) : NULL;
	struct earlier *e;

	if (!key)
		return false;
	e = find_earlier(c, k, key);
	if (e) {
		free(key);
		e->left = e->left > UINT64_MAX - count ? UINT64_MAX : e->left + count;
		return true;
	}
	e = calloc(1, sizeof(*e));
	if (!e) {
		free(key);
		return false;
	}
	e->key = key;
	e->left = count;
	e->finding.has_range = f->has_range;
	e->finding.offset = f->offset;
	e->finding.length = f->length;
	e->finding.frame = f->frame;
	if (!copy_text(&e->finding.rule, f->rule) ||
	    !copy_text(&e->finding.severity, f->severity) ||
	    !copy_text(&e->finding.side, f->side) || !copy_text(&e->finding.command, f->command) ||
	    !copy_text(&e->finding.export, f->export) || !copy_text(&e->finding.ref, f->ref) ||
	    !copy_text(&e->finding.message, f->message) ||
	    !nbds_vector_push(&k->earlier, &c->budget, e)) {
		free_earlier(e);
		return false;
	}
	return nbds_table_add(&k->by_key, &c->budget, &e->node,
			      nbds_hash_bytes(&c->seed, 0, key, strlen(key)));
}

uint64_t nbds_compare_known(struct nbds_compare *c, unsigned capture,
			    const struct nbds_compare_finding *f, uint64_t count)
{
	struct compared_capture *k = capture_of(c, capture);
	enum nbds_severity level;
	uint64_t known = 0;
	struct earlier *e;
	char *key;

	if (!k || !nbds_severity_parse(or_nothing(f->severity), &level))
		return 0;
	key = key_of(f);
	e = key ? find_earlier(c, k, key) : NULL;
	free(key);
	if (e) {
		known = e->left < count ? e->left : count;
		e->left -= known;
	}
	k->counts.known[level] += known;
	k->counts.fresh[level] += count - known;
	return known;
}

const struct nbds_compare_finding *nbds_compare_gone(const struct nbds_compare *c, unsigned capture,
						     size_t *at, uint64_t *count)
{
	const struct compared_capture *k = capture_of(c, capture);

	while (k && *at < k->earlier.count) {
		const struct earlier *e = k->earlier.at[(*at)++];

		if (!e->left)
			continue;
		*count = e->left;
		return &e->finding;
	}
	return NULL;
}

void nbds_compare_counts(const struct nbds_compare *c, unsigned capture,
			 struct nbds_compare_counts *counts)
{
	const struct compared_capture *k = capture_of(c, capture);

	*counts = k ? k->counts : (struct nbds_compare_counts){.fresh = {0}};
}

/* --- exports --- */

/* The export called `name`; NULL without memory, or with *full if there are too many. */
static struct nbds_compare_export *account_of(struct nbds_compare *c, struct compared_capture *k,
					      const char *name, bool *full)
{
	uint64_t hash = nbds_hash_bytes(&c->seed, 1, name, strlen(name));
	struct nbds_table_node *n = nbds_table_find(&k->by_name, hash);
	struct export_account *a;

	*full = false;
	for (; n; n = nbds_table_again(n)) {
		a = nbds_owner(n, struct export_account, node);
		if (!strcmp(a->e.name, name))
			return &a->e;
	}
	if (k->exports.count == NBDS_COMPARE_EXPORTS) {
		*full = true;
		return NULL;
	}
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	a->e.name = strdup(name);
	if (!a->e.name || !nbds_vector_push(&k->exports, &c->budget, a)) {
		free_export(a);
		return NULL;
	}
	return nbds_table_add(&k->by_name, &c->budget, &a->node, hash) ? &a->e : NULL;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

bool nbds_compare_add_command(struct nbds_compare *c, unsigned capture, int side,
			      const char *export, const char *command,
			      const struct nbds_compare_command *what)
{
	struct compared_capture *k = capture_of(c, capture);
	struct nbds_compare_export *e;
	struct nbds_compare_command *to;
	double all;
	bool full;
	int i = 0;

	if (!k)
		return true;
	e = account_of(c, k, export, &full);
	if (!e)
		return full;
	while (i < NBDS_COMPARE_COMMANDS && e->commands[i] && strcmp(e->commands[i], command) != 0)
		i++;
	if (i == NBDS_COMPARE_COMMANDS)
		return true;
	if (!e->commands[i] && !copy_text(&e->commands[i], command))
		return false;
	to = &e->command[side][i];
	all = (double)to->replies + (double)what->replies;
	if (all > 0)
		to->p50 = (to->p50 * (double)to->replies + what->p50 * (double)what->replies) / all;
	if (what->p99 > to->p99)
		to->p99 = what->p99;
	if (what->max > to->max)
		to->max = what->max;
	to->count = sum(to->count, what->count);
	to->replies = sum(to->replies, what->replies);
	to->errors = sum(to->errors, what->errors);
	to->bytes = sum(to->bytes, what->bytes);
	return true;
}

bool nbds_compare_add_side(struct nbds_compare *c, unsigned capture, int side, const char *export,
			   const struct nbds_compare_side *what)
{
	struct compared_capture *k = capture_of(c, capture);
	struct nbds_compare_export *e;
	struct nbds_compare_side *to;
	bool full;

	if (!k)
		return true;
	e = account_of(c, k, export, &full);
	if (!e)
		return full;
	to = &e->side[side];
	to->there |= what->there;
	to->writes = sum(to->writes, what->writes);
	to->flushes = sum(to->flushes, what->flushes);
	to->fua_writes = sum(to->fua_writes, what->fua_writes);
	to->unflushed_writes = sum(to->unflushed_writes, what->unflushed_writes);
	to->unflushed_bytes = sum(to->unflushed_bytes, what->unflushed_bytes);
	return true;
}

const struct nbds_compare_export *nbds_compare_export(const struct nbds_compare *c,
						      unsigned capture, size_t n)
{
	const struct compared_capture *k = capture_of(c, capture);

	return k && n < k->exports.count ? &k->exports.at[n]->e : NULL;
}
