/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * requests.c - the requests in flight of one connection.
 *
 *	buckets   first with a cookie        others with it
 *	[0] ────► cookie 7 ──same──► cookie 7 ──same──► cookie 7
 *	            │  └───────────────last─────────────────┘
 *	          chain
 *	            ▼
 *	          cookie 19
 *	[1] ...                 all: oldest ⇄ ... ⇄ newest
 *
 * Finding, adding and removing take constant time, whatever the cookies are:
 * requests with one cookie are one entry of the table, and the table's hash is
 * seeded.  Memory grows by doubling and is bounded by NBDS_REQUESTS_MAX; without
 * memory the oldest request makes room.
 */
#include "stream.h"

#include <base/assert.h>

#include <stdlib.h>
#include <string.h>

static size_t bucket(const struct nbds_flights *fl, uint64_t cookie)
{
	uint64_t x = cookie ^ fl->seed;

	/* Finalizer of a 64-bit mixing hash: every bit of x counts. */
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	return (size_t)(x & ((UINT64_C(1) << fl->bits) - 1));
}

static void add_free(struct nbds_flights *fl, struct nbds_flight *slab, size_t n)
{
	while (n--) {
		slab[n].chain = fl->free;
		fl->free = &slab[n];
	}
}

void nbds_flights_init(struct nbds_decoder *d)
{
	struct nbds_flights *fl = &d->flights;

	fl->buckets = fl->few;
	fl->bits = NBDS_FEW_BITS;
	/* Where the decoder lies differs from run to run, so that no capture
	 * can be made of cookies that fall into one bucket. */
	fl->seed = (uint64_t)(uintptr_t)d * UINT64_C(0x9e3779b97f4a7c15);
	add_free(fl, fl->first, NBDS_SLAB_FIRST);
}

void nbds_flights_free(struct nbds_decoder *d)
{
	struct nbds_flights *fl = &d->flights;

	free(d->answers.at);
	for (unsigned i = 0; i < fl->slab_count; i++)
		free(fl->slabs[i]);
	if (fl->buckets != fl->few)
		free(fl->buckets);
}

uint64_t nbds_flights_memory(const struct nbds_decoder *d)
{
	const struct nbds_flights *fl = &d->flights;
	uint64_t slabs = ((uint64_t)NBDS_SLAB_FIRST << fl->slab_count) - NBDS_SLAB_FIRST;

	return slabs * sizeof(struct nbds_flight) + d->answers.room * sizeof(*d->answers.at) +
	       (fl->buckets == fl->few ? 0 : sizeof(*fl->buckets) << fl->bits);
}

/* Twice as many buckets, if there is memory. */
static void grow_table(struct nbds_flights *fl)
{
	struct nbds_flight **old = fl->buckets, **table;
	size_t n = (size_t)1 << fl->bits;

	table = nbds_decoder_realloc(NULL, 2 * n * sizeof(*table));
	if (!table)
		return;
	memset(table, 0, 2 * n * sizeof(*table));
	fl->buckets = table;
	fl->bits++;
	for (size_t i = 0; i < n; i++) {
		struct nbds_flight *f = old[i], *next;

		for (; f; f = next) {
			struct nbds_flight **b = &table[bucket(fl, f->pub.cookie)];

			next = f->chain;
			f->chain = *b;
			*b = f;
		}
	}
	if (old != fl->few)
		free(old);
}

static void grow_slabs(struct nbds_flights *fl)
{
	size_t n = (size_t)NBDS_SLAB_FIRST << fl->slab_count;
	struct nbds_flight *slab;

	if (fl->slab_count == NBDS_SLABS)
		return;
	slab = nbds_decoder_realloc(NULL, n * sizeof(*slab));
	if (!slab)
		return;
	fl->slabs[fl->slab_count++] = slab;
	add_free(fl, slab, n);
}

/* The oldest request that no message being read belongs to. */
static struct nbds_request *oldest_idle(struct nbds_decoder *d)
{
	struct nbds_flight *f = d->flights.oldest;

	while (f && ((nbds_client(d)->in_message && nbds_client(d)->m.request == &f->pub) ||
		     (nbds_server(d)->in_message && nbds_server(d)->m.request == &f->pub)))
		f = f->newer;
	return f ? &f->pub : NULL;
}

/*
 * A cookie is used again while a request with it is in flight.  If the server's
 * feet were lost meanwhile, the reply was among what was passed over.
 */
static bool forget_answered(struct nbds_decoder *d, uint64_t cookie)
{
	struct nbds_flight *f = nbds_flight_find(d, cookie), *next;
	bool searching = nbds_searching(d, NBDS_SERVER), any = f;
	int tries = 8; /* the oldest come first: hardly ever more than one */

	for (; f && tries-- && (searching || f->epoch != d->epoch); f = next) {
		next = f->same;
		if (nbds_server(d)->m.request != &f->pub && !nbds_search_refers(d, &f->pub))
			nbds_flight_forget(d, &f->pub,
					   "its reply was lost: its cookie is used again");
	}
	return any;
}

struct nbds_request *nbds_flight_add(struct nbds_decoder *d, uint64_t cookie, uint64_t offset)
{
	struct nbds_flights *fl = &d->flights;
	struct nbds_flight *f, *first, **b;
	bool again = forget_answered(d, cookie);

	if (!fl->free)
		grow_slabs(fl);
	if (!fl->free)
		nbds_flight_forget(d, oldest_idle(d),
				   fl->slab_count == NBDS_SLABS ? "too many requests in flight"
								: "no memory for one more request");
	if (fl->count >> fl->bits)
		grow_table(fl);

	f = fl->free;
	fl->free = f->chain;
	*f = (struct nbds_flight){.pub.cookie = cookie,
				  .pub.serial = ++d->serial,
				  .offset = offset,
				  .order = ++d->order,
				  .epoch = d->epoch,
				  .client_epoch = d->client_epoch,
				  .older = fl->newest};
	if (fl->newest)
		fl->newest->newer = f;
	else
		fl->oldest = f;
	fl->newest = f;
	fl->count++;

	f->pub.ambiguous = again;
	first = nbds_flight_find(d, cookie);
	if (first) {
		first->pub.ambiguous = true;
		first->last->same = f;
		first->last = f;
		return &f->pub;
	}
	b = &fl->buckets[bucket(fl, cookie)];
	f->last = f;
	f->chain = *b;
	*b = f;
	return &f->pub;
}

struct nbds_flight *nbds_flight_find(const struct nbds_decoder *d, uint64_t cookie)
{
	const struct nbds_flights *fl = &d->flights;
	struct nbds_flight *f = fl->buckets[bucket(fl, cookie)];

	while (f && f->pub.cookie != cookie)
		f = f->chain;
	return f;
}

bool nbds_flight_doubtful(const struct nbds_decoder *d, const struct nbds_flight *f)
{
	return f->client_epoch != d->client_epoch &&
	       (f->epoch != d->epoch || nbds_searching(d, NBDS_SERVER));
}

struct nbds_request *nbds_flight_alive(struct nbds_request *r, uint64_t serial)
{
	return r && r->serial == serial ? r : NULL;
}

void nbds_flight_remove(struct nbds_decoder *d, struct nbds_request *r)
{
	struct nbds_flights *fl = &d->flights;
	struct nbds_flight *f = (struct nbds_flight *)r, *first, *before;

	for (int i = 0; i < 2; i++)
		if (d->streams[i].m.request == r)
			d->streams[i].m.request = NULL;

	first = nbds_flight_find(d, r->cookie);
	if (first == f) {
		struct nbds_flight **b = &fl->buckets[bucket(fl, r->cookie)];

		while (*b != f)
			b = &(*b)->chain;
		if (f->same) {
			*b = f->same;
			f->same->chain = f->chain;
			f->same->last = f->last;
		} else {
			*b = f->chain;
		}
	} else {
		for (before = first; before->same != f; before = before->same)
			;
		before->same = f->same;
		if (first->last == f)
			first->last = before;
	}

	if (f->older)
		f->older->newer = f->newer;
	else
		fl->oldest = f->newer;
	if (f->newer)
		f->newer->older = f->older;
	else
		fl->newest = f->older;
	fl->count--;
	f->pub.serial = 0;
	f->chain = fl->free;
	fl->free = f;
}

void nbds_flight_forget(struct nbds_decoder *d, struct nbds_request *r, const char *why)
{
	const struct nbds_flight *f = (const struct nbds_flight *)r;

	nbds_trouble(d, nbds_client(d), NBDS_TROUBLE_FORGOT, f->offset, 0, d->now, r, "%s", why);
	nbds_flight_remove(d, r);
}

void nbds_decoder_each_request(const struct nbds_decoder *d,
			       void (*each)(void *arg, struct nbds_request *r), void *arg)
{
	struct nbds_flight *f, *next;

	for (f = d->flights.oldest; f; f = next) {
		next = f->newer;
		each(arg, &f->pub);
	}
}

/* Those that were answered ------------------------------------------------------ */

#define ANSWERED_FIRST 4u

void nbds_answered_add(struct nbds_decoder *d, const struct nbds_request *r, uint64_t frame)
{
	struct nbds_answers *a = &d->answers;

	if (a->count == a->room && a->room < NBDS_ANSWERED_MAX) {
		uint32_t room = a->room ? 4 * a->room : ANSWERED_FIRST;
		struct nbds_answered *at = nbds_decoder_realloc(a->at, room * sizeof(*at));

		if (at) {
			a->at = at;
			a->room = room;
			a->next = a->count;
		}
	}
	if (!a->room)
		return;
	NBDS_ASSERT(a->next < a->room && a->count <= a->room && a->room <= NBDS_ANSWERED_MAX);
	a->at[a->next] = (struct nbds_answered){
		.serial = r->serial,
		.cookie = r->cookie,
		.offset = r->offset,
		.length = r->length,
		.type = r->type,
		.request_frame = ((const struct nbds_flight *)r)->frame,
		.reply_frame = frame,
	};
	a->next = (a->next + 1) % a->room;
	if (a->count < a->room)
		a->count++;
}

const struct nbds_answered *nbds_answered_find(const struct nbds_decoder *d, uint64_t cookie)
{
	const struct nbds_answers *a = &d->answers;

	for (uint32_t i = 1; i <= a->count; i++) {
		const struct nbds_answered *r = &a->at[(a->next + a->room - i) % a->room];

		if (r->cookie == cookie)
			return r;
	}
	return NULL;
}
