/* SPDX-License-Identifier: GPL-2.0-or-later */
/* records.c - see records.h. */
#include "records.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES 65536u
#define WORD        sizeof(uint64_t)

struct record_chunk {
	struct record_chunk *newer;
	struct nbds_connection base;
	uint32_t lowest; /* id */
	uint32_t count;
	size_t used, room;
	uint8_t bytes[];
};

/* --- bytes out --- */

struct writer {
	struct records *all;
	bool failed;
};

static void put_bytes(struct writer *w, const void *bytes, size_t len)
{
	if (!len)
		return;
	if (!nbds_vector_reserve(&w->all->scratch, w->all->budget, len)) {
		w->failed = true;
		return;
	}
	memcpy(w->all->scratch.at + w->all->scratch.count, bytes, len);
	w->all->scratch.count += len;
}

/* Seven bits a byte, the lowest first. */
static size_t varint(uint8_t bytes[10], uint64_t v)
{
	size_t n = 0;

	for (; v > 127; v >>= 7)
		bytes[n++] = (uint8_t)(v | 128);
	bytes[n++] = (uint8_t)v;
	return n;
}

static void put_number(struct writer *w, uint64_t v)
{
	uint8_t bytes[10];

	put_bytes(w, bytes, varint(bytes, v));
}

static uint64_t word_at(const void *s, size_t i)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)s + i * WORD, WORD);
	return v;
}

/* The words of a struct, less those of `base`: each as a number, sign last; zeroes as one
 * byte 0, which begins no other number, and how many follow. */
static void put_words(struct writer *w, const void *s, const void *base, size_t size)
{
	size_t zeroes = 0;

	NBDS_ASSERT(size % WORD == 0);
	for (size_t i = 0; i < size / WORD; i++) {
		uint64_t d = word_at(s, i) - (base ? word_at(base, i) : 0);

		if (!d) {
			zeroes++;
			continue;
		}
		if (zeroes) {
			put_number(w, 0);
			put_number(w, zeroes - 1);
			zeroes = 0;
		}
		d = d << 1 ^ (0 - (d >> 63));
		/* of numbers but 0 no first byte is 0 */
		put_number(w, d);
	}
	if (zeroes) {
		put_number(w, 0);
		put_number(w, zeroes - 1);
	}
}

static void put_latency(struct writer *w, const struct nbds_latency *l)
{
	unsigned zeroes = 0;

	put_number(w, l ? l->bucket_count : 0);
	if (!l || !l->bucket_count)
		return;
	put_number(w, l->first);
	put_number(w, l->count);
	put_number(w, l->sum);
	put_number(w, l->max);
	for (unsigned i = 0; i < l->bucket_count; i++) {
		if (!l->buckets[i]) {
			zeroes++;
			continue;
		}
		if (zeroes) {
			put_number(w, 0);
			put_number(w, zeroes - 1);
			zeroes = 0;
		}
		put_number(w, l->buckets[i]);
	}
	if (zeroes) {
		put_number(w, 0);
		put_number(w, zeroes - 1);
	}
}

static bool named_like_export(const struct nbds_connection *c)
{
	return c->export_name && c->export && c->export_name_len == c->export->name_len &&
	       memcmp(c->export_name, c->export->name, c->export_name_len) == 0;
}

/* A copy without pointers, but for that to the export: what is there is in the counts. */
static void strip(struct nbds_connection *to, const struct nbds_connection *c)
{
	*to = *c;
	to->options = NULL;
	to->contexts = NULL;
	to->export_name = NULL;
	to->first_nonsense = NULL;
	to->left_open = NULL;
	to->flushes = NULL;
	to->user = NULL;
	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		to->commands[i].errors = NULL;
		to->commands[i].latency = NULL;
	}
}

static void put_connection(struct writer *w, const struct nbds_connection *c,
			   const struct nbds_connection *stripped,
			   const struct nbds_connection *base)
{
	put_words(w, stripped, base, sizeof(*stripped));
	put_number(w, !c->export_name ? 0 : named_like_export(c) ? 1 : 2);
	if (c->export_name && !named_like_export(c))
		put_bytes(w, c->export_name, c->export_name_len);
	put_number(w, c->first_nonsense ? strlen(c->first_nonsense) + 1 : 0);
	if (c->first_nonsense)
		put_bytes(w, c->first_nonsense, strlen(c->first_nonsense));
	for (unsigned i = 0; i < c->option_count; i++) {
		struct nbds_option_seen o = c->options[i];

		o.replies = NULL;
		o.text = NULL;
		put_words(w, &o, NULL, sizeof(o));
		for (unsigned k = 0; k < o.reply_kept; k++)
			put_number(w, c->options[i].replies[k]);
		if (c->options[i].text)
			put_bytes(w, c->options[i].text, o.text_len);
	}
	for (unsigned i = 0; i < c->context_count; i++) {
		put_number(w, c->contexts[i].id);
		put_number(w, c->contexts[i].name_len);
		put_bytes(w, c->contexts[i].name, c->contexts[i].name_len);
	}
	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		const struct nbds_command_stats *s = &c->commands[i];

		put_words(w, s->errors, NULL, s->error_kinds * sizeof(*s->errors));
		if (s->replies)
			put_latency(w, s->latency);
	}
	put_words(w, c->left_open, NULL, c->left_open_count * sizeof(*c->left_open));
	for (unsigned i = 0; i < c->flush_kept; i++)
		put_words(w, &c->flushes[i], i ? &c->flushes[i - 1] : NULL, sizeof(*c->flushes));
}

static struct record_chunk *chunk_for(struct records *all, const struct nbds_connection *stripped,
				      size_t len)
{
	struct record_chunk *k = all->newest;
	size_t room = len > CHUNK_BYTES ? len : CHUNK_BYTES;

	if (k && len <= k->room - k->used)
		return k;
	k = nbds_budget_alloc(all->budget, sizeof(*k) + room);
	if (!k)
		return NULL;
	k->base = *stripped;
	k->lowest = UINT32_MAX;
	k->room = room;
	*(all->newest ? &all->newest->newer : &all->oldest) = k;
	all->newest = k;
	all->bytes += sizeof(*k) + room;
	return k;
}

bool records_add(struct records *all, const struct nbds_connection *c)
{
	struct writer w = {all, false};
	struct nbds_connection stripped;
	const struct nbds_connection *base;
	struct record_chunk *k = all->newest;
	uint8_t head[20];
	size_t head_len, len;

	strip(&stripped, c);
	/* once as if it went into the newest chunk, and again if there is no room */
	for (;;) {
		base = k ? &k->base : &stripped;
		all->scratch.count = 0;
		put_connection(&w, c, &stripped, base);
		if (w.failed)
			return false;
		head_len = varint(head, all->scratch.count);
		head_len += varint(head + head_len, c->id);
		len = head_len + all->scratch.count;
		if (k && len <= k->room - k->used)
			break;
		k = chunk_for(all, &stripped, len);
		if (!k)
			return false;
	}
	memcpy(k->bytes + k->used, head, head_len);
	memcpy(k->bytes + k->used + head_len, all->scratch.at, all->scratch.count);
	k->used += len;
	k->count++;
	if (c->id < k->lowest)
		k->lowest = c->id;
	if (!all->count || c->id < all->lowest)
		all->lowest = c->id;
	all->count++;
	all->indexed = false;
	return true;
}

/* --- bytes in --- */

struct reader {
	const uint8_t *at;
	struct unpacked *u; /* pieces of memory are its; */
	bool failed;        /* one could not be had */
};

static uint64_t get_number(struct reader *r)
{
	uint64_t v = 0;

	for (unsigned shift = 0;; shift += 7) {
		uint8_t byte = *r->at++;

		v |= (uint64_t)(byte & 127) << shift;
		if (byte < 128)
			return v;
	}
}

/* A number, or a run of zeroes, of which *zeroes follow. */
static uint64_t get_run(struct reader *r, uint64_t *zeroes)
{
	uint64_t v;

	if (*zeroes) {
		--*zeroes;
		return 0;
	}
	v = get_number(r);
	if (!v)
		*zeroes = get_number(r);
	return v;
}

static void get_words(struct reader *r, void *s, const void *base, size_t size)
{
	uint64_t zeroes = 0;

	for (size_t i = 0; i < size / WORD; i++) {
		uint64_t d = get_run(r, &zeroes);

		d = d >> 1 ^ (0 - (d & 1));
		d += base ? word_at(base, i) : 0;
		memcpy((uint8_t *)s + i * WORD, &d, WORD);
	}
	NBDS_ASSERT(!zeroes);
}

/* NULL also for nothing. */
static void *piece(struct reader *r, size_t count, size_t size)
{
	void *p = count ? calloc(count, size) : NULL;

	if (!count)
		return NULL;
	if (!p || !nbds_vector_push(&r->u->pieces, &r->u->budget, p)) {
		free(p);
		r->failed = true;
		return NULL;
	}
	return p;
}

static char *get_text(struct reader *r, size_t len)
{
	char *text = piece(r, len + 1, 1);

	if (text && len)
		memcpy(text, r->at, len);
	r->at += len;
	return text;
}

static struct nbds_latency *get_latency(struct reader *r)
{
	unsigned count = (unsigned)get_number(r);
	struct nbds_latency *l;
	uint64_t zeroes = 0;

	if (!count)
		return NULL;
	l = piece(r, 1, sizeof(*l));
	if (!l)
		return NULL;
	l->first = (unsigned)get_number(r);
	l->count = get_number(r);
	l->sum = get_number(r);
	l->max = get_number(r);
	l->buckets = piece(r, count, sizeof(*l->buckets));
	if (!l->buckets)
		return NULL;
	l->bucket_count = count;
	for (unsigned i = 0; i < count; i++)
		l->buckets[i] = (uint32_t)get_run(r, &zeroes);
	return l;
}

/* Whatever fails leaves the rest unread: the connection is not told then. */
static void get_connection(struct reader *r, struct nbds_connection *c,
			   const struct nbds_connection *base)
{
	uint64_t n;

	get_words(r, c, base, sizeof(*c));
	n = get_number(r);
	if (n == 1) {
		c->export_name = piece(r, c->export_name_len + 1, 1);
		if (c->export_name)
			memcpy(c->export_name, c->export->name, c->export_name_len);
	} else if (n) {
		c->export_name = get_text(r, c->export_name_len);
	}
	n = get_number(r);
	if (n)
		c->first_nonsense = get_text(r, n - 1);
	c->options = piece(r, c->option_count, sizeof(*c->options));
	for (unsigned i = 0; !r->failed && i < c->option_count; i++) {
		struct nbds_option_seen *o = &c->options[i];

		get_words(r, o, NULL, sizeof(*o));
		o->replies = piece(r, o->reply_kept, sizeof(*o->replies));
		for (unsigned k = 0; !r->failed && k < o->reply_kept; k++)
			o->replies[k] = (uint32_t)get_number(r);
		if (!r->failed && o->text_len)
			o->text = get_text(r, o->text_len);
	}
	c->contexts = r->failed ? NULL : piece(r, c->context_count, sizeof(*c->contexts));
	for (unsigned i = 0; !r->failed && i < c->context_count; i++) {
		c->contexts[i].id = (uint32_t)get_number(r);
		c->contexts[i].name_len = get_number(r);
		c->contexts[i].name = get_text(r, c->contexts[i].name_len);
	}
	for (unsigned i = 0; !r->failed && i < NBDS_COMMAND_KINDS; i++) {
		struct nbds_command_stats *s = &c->commands[i];

		s->errors = piece(r, s->error_kinds, sizeof(*s->errors));
		if (s->errors)
			get_words(r, s->errors, NULL, s->error_kinds * sizeof(*s->errors));
		if (!r->failed && s->replies)
			s->latency = get_latency(r);
	}
	if (r->failed)
		return;
	c->left_open = piece(r, c->left_open_count, sizeof(*c->left_open));
	if (c->left_open)
		get_words(r, c->left_open, NULL, c->left_open_count * sizeof(*c->left_open));
	c->flushes = r->failed ? NULL : piece(r, c->flush_kept, sizeof(*c->flushes));
	for (unsigned i = 0; c->flushes && i < c->flush_kept; i++)
		get_words(r, &c->flushes[i], i ? &c->flushes[i - 1] : NULL, sizeof(*c->flushes));
}

void unpacked_free(struct unpacked *u)
{
	for (size_t i = 0; i < u->pieces.count; i++)
		free(u->pieces.at[i]);
	nbds_vector_free(&u->pieces, &u->budget);
	memset(&u->c, 0, sizeof(u->c));
}

static struct nbds_connection *unpack(struct unpacked *u, const struct record_place *place)
{
	struct reader r = {place->at, u, false};

	unpacked_free(u);
	get_connection(&r, &u->c, &place->chunk->base);
	return r.failed ? NULL : &u->c;
}

/* --- in the order of ids --- */

static int by_id(const void *a, const void *b)
{
	const struct record_place *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static bool index_them(struct records *all)
{
	if (all->indexed)
		return true;
	all->index.count = 0;
	if (!nbds_vector_reserve(&all->index, all->budget, all->count))
		return false;
	for (const struct record_chunk *k = all->oldest; k; k = k->newer) {
		const uint8_t *at = k->bytes;

		for (uint32_t i = 0; i < k->count; i++) {
			struct reader r = {.at = at};
			size_t len = get_number(&r);
			uint32_t id = (uint32_t)get_number(&r);

			all->index.at[all->index.count++] = (struct record_place){id, k, r.at};
			at = r.at + len;
		}
		NBDS_ASSERT(at == k->bytes + k->used);
	}
	NBDS_ASSERT(all->index.count == all->count);
	if (all->index.count)
		qsort(all->index.at, all->index.count, sizeof(*all->index.at), by_id);
	all->indexed = true;
	return true;
}

/* The place of the first id that is not below. */
static size_t place_of(const struct records *all, uint32_t id)
{
	size_t from = 0, to = all->index.count;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (all->index.at[middle].id < id)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

struct nbds_connection *records_find(struct records *all, struct unpacked *u, uint32_t id)
{
	size_t at;

	if (!all->count || !index_them(all))
		return NULL;
	at = place_of(all, id);
	if (at == all->index.count || all->index.at[at].id != id)
		return NULL;
	return unpack(u, &all->index.at[at]);
}

struct nbds_connection *records_after(struct records *all, struct unpacked *u, uint32_t id)
{
	struct nbds_connection *c = NULL;

	if (!all->count || id == UINT32_MAX || !index_them(all))
		return NULL;
	for (size_t at = place_of(all, id + 1); !c && at < all->index.count; at++)
		c = unpack(u, &all->index.at[at]);
	return c;
}

static void find_lowest(struct records *all)
{
	all->lowest = UINT32_MAX;
	for (const struct record_chunk *k = all->oldest; k; k = k->newer)
		if (k->lowest < all->lowest)
			all->lowest = k->lowest;
}

bool records_forget(struct records *all,
		    void (*gone)(void *ctx, uint32_t id, struct nbds_export *x), void *ctx)
{
	struct record_chunk *k = all->oldest;
	const uint8_t *at;

	if (!k)
		return false;
	all->indexed = false;
	all->oldest = k->newer;
	if (!all->oldest)
		all->newest = NULL;
	all->count -= k->count;
	all->bytes -= sizeof(*k) + k->room;
	find_lowest(all);
	at = k->bytes;
	for (uint32_t i = 0; i < k->count; i++) {
		struct nbds_connection c;
		struct reader r = {.at = at};
		size_t len = get_number(&r);
		uint32_t id = (uint32_t)get_number(&r);

		at = r.at + len;
		get_words(&r, &c, &k->base, sizeof(c));
		gone(ctx, id, c.export);
	}
	nbds_vector_free(&all->index, all->budget);
	nbds_budget_free(all->budget, k, sizeof(*k) + k->room);
	return true;
}

void records_free(struct records *all)
{
	for (struct record_chunk *k = all->oldest, *next; k; k = next) {
		next = k->newer;
		nbds_budget_free(all->budget, k, sizeof(*k) + k->room);
	}
	all->oldest = all->newest = NULL;
	all->count = all->bytes = 0;
	nbds_vector_free(&all->index, all->budget);
	nbds_vector_free(&all->scratch, all->budget);
}
