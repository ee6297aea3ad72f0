/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * view.c - a ring of events. See view.h.
 *
 * Entries lie one behind the other, each whole: what does not fit before the end of the
 * ring begins at its front, and the rest of the ring is passed over.  `written` and `read`
 * count bytes and only grow; each belongs to one thread, which alone stores it.
 *
 *	┌────────┬──────┬─────────────┬────────┬──────┬───────┬──────────┐
 *	│ entry  │ head │ bytes       │ entry  │ head │ bytes │ (passed) │
 *	└────────┴──────┴─────────────┴────────┴──────┴───────┴──────────┘
 *	         └ headers are built here by the reader
 *
 * The reader sleeps only when it has found nothing, and says so before it looks again: the
 * writer makes a system call only then.  While there is traffic it does not even say so, and
 * looks again in a millisecond: to wake it for each message would cost more than all else.
 */
#include "view.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <base/assert.h>

#define WAIT_NS   INT64_C(100000000) /* as a live interface waits */
#define GATHER_NS INT64_C(1000000)   /* for more of what is just coming */
#define SECOND_NS INT64_C(1000000000)
#define ALIGN     16u

struct view_entry {
	uint32_t size; /* with all that belongs to it; multiple of ALIGN */
	bool passed;   /* only the rest of the ring */
	struct nbds_synthetic_flow flow;
	struct nbds_synthetic_event event;
};

#define ENTRY_MOST                                                                          \
	((sizeof(struct view_entry) + NBDS_SYNTHETIC_HEAD + NBDS_SYNTHETIC_BYTES + ALIGN) & \
	 ~(size_t)(ALIGN - 1))

struct nbds_view {
	uint8_t *ring;
	size_t size;
	struct nbds_capture_origin origin;
	bool busy; /* the reader has just had something */
	char name[NBDS_ORIGIN_WORDS], comment[NBDS_ORIGIN_WORDS], error[256];
	_Alignas(64) atomic_size_t written;
	atomic_uint_fast64_t dropped;
	atomic_bool over;
	_Alignas(64) atomic_size_t read;
	atomic_bool sleeps;
	_Alignas(64) atomic_uint turn; /* in which order both sides looked at each other */
	pthread_mutex_t lock;
	pthread_cond_t wake;
};

/* --- writing --- */

static void wake(struct nbds_view *v)
{
	/* One of both comes first here: either the reader sees what was written, or this sees
	 * that it sleeps. (A fence would do; ThreadSanitizer does not know any.) */
	atomic_fetch_add(&v->turn, 1);
	if (!atomic_load_explicit(&v->sleeps, memory_order_relaxed))
		return;
	pthread_mutex_lock(&v->lock);
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

/* Where the next `size` bytes go; *at is moved there. NULL: no room. */
static struct view_entry *room(struct nbds_view *v, size_t *at, size_t size)
{
	size_t read = atomic_load_explicit(&v->read, memory_order_acquire);
	size_t place = *at % v->size, rest = v->size - place;

	if (rest < size) {
		/* passed over, if both fit */
		if (*at + rest + size - read > v->size)
			return NULL;
		if (rest >= sizeof(struct view_entry)) {
			struct view_entry *e = (struct view_entry *)(void *)(v->ring + place);

			e->size = (uint32_t)rest;
			e->passed = true;
		}
		*at += rest;
		place = 0;
	} else if (*at + size - read > v->size) {
		return NULL;
	}
	return (struct view_entry *)(void *)(v->ring + place);
}

bool nbds_view_put(struct nbds_view *v, const struct nbds_synthetic_flow *flow,
		   const struct nbds_synthetic_event *event, const uint8_t *bytes)
{
	size_t at = atomic_load_explicit(&v->written, memory_order_relaxed);
	size_t size = (sizeof(struct view_entry) + NBDS_SYNTHETIC_HEAD + event->len + ALIGN - 1) &
		      ~(size_t)(ALIGN - 1);
	struct view_entry *e;

	NBDS_ASSERT(event->len <= NBDS_SYNTHETIC_BYTES);
	e = room(v, &at, size);
	if (!e) {
		atomic_fetch_add_explicit(&v->dropped, nbds_synthetic_count(event),
					  memory_order_release);
		return false;
	}
	e->size = (uint32_t)size;
	e->passed = false;
	e->flow = *flow;
	e->event = *event;
	if (event->len)
		memcpy((uint8_t *)(e + 1) + NBDS_SYNTHETIC_HEAD, bytes, event->len);
	atomic_store_explicit(&v->written, at + size, memory_order_release);
	wake(v);
	return true;
}

void nbds_view_end(struct nbds_view *v)
{
	atomic_store_explicit(&v->over, true, memory_order_release);
	wake(v);
}

void nbds_view_fail(struct nbds_view *v, const char *reason)
{
	snprintf(v->error, sizeof(v->error), "%s", reason);
	nbds_view_end(v);
}

uint64_t nbds_view_dropped(const struct nbds_view *v)
{
	return atomic_load_explicit(&v->dropped, memory_order_acquire);
}

/* --- reading --- */

static size_t there(const struct nbds_view *v)
{
	return atomic_load_explicit(&v->written, memory_order_acquire) -
	       atomic_load_explicit(&v->read, memory_order_relaxed);
}

static bool over(void *origin)
{
	const struct nbds_view *v = origin;

	/* In this order: what was written before the end is seen. */
	return atomic_load_explicit(&v->over, memory_order_acquire) && !there(v);
}

static void sleep_on(struct nbds_view *v)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += WAIT_NS;
	if (until.tv_nsec >= SECOND_NS) {
		until.tv_nsec -= SECOND_NS;
		until.tv_sec++;
	}
	pthread_mutex_lock(&v->lock);
	atomic_store_explicit(&v->sleeps, true, memory_order_relaxed);
	atomic_fetch_add(&v->turn, 1);
	while (!there(v) && !atomic_load_explicit(&v->over, memory_order_acquire))
		if (pthread_cond_timedwait(&v->wake, &v->lock, &until) == ETIMEDOUT)
			break;
	atomic_store_explicit(&v->sleeps, false, memory_order_relaxed);
	pthread_mutex_unlock(&v->lock);
}

static int each(void *origin, int most, void (*give)(void *ctx, struct nbds_packet *p), void *ctx)
{
	struct nbds_view *v = origin;
	size_t read = atomic_load_explicit(&v->read, memory_order_relaxed);
	int count = 0;

	/* While there is traffic it comes again by itself, and the writer need not wake it. */
	if (!there(v) && !over(v) && v->busy)
		nanosleep(&(struct timespec){.tv_nsec = GATHER_NS}, NULL);
	if (!there(v) && !over(v))
		sleep_on(v);
	while (count < most && there(v)) {
		size_t place = read % v->size, rest = v->size - place;
		struct view_entry *e = (struct view_entry *)(void *)(v->ring + place);

		if (rest < sizeof(*e) || e->passed) {
			read += rest;
		} else {
			nbds_synthetic_packets(&e->flow, &e->event,
					       (uint8_t *)(e + 1) + NBDS_SYNTHETIC_HEAD, give, ctx);
			count += (int)nbds_synthetic_count(&e->event);
			read += e->size;
		}
		atomic_store_explicit(&v->read, read, memory_order_release);
	}
	v->busy = count > 0;
	return !count && over(v) && v->error[0] ? -1 : count;
}

static uint64_t dropped(void *origin)
{
	return nbds_view_dropped(origin);
}

static const char *error(void *origin)
{
	const struct nbds_view *v = origin;

	return v->error;
}

static void close_view(void *origin)
{
	nbds_view_free(origin);
}

/* --- both --- */

struct nbds_view *nbds_view_new(size_t bytes, const char *name, const char *comment)
{
	struct nbds_view *v = aligned_alloc(64, (sizeof(*v) + 63) & ~(size_t)63);
	pthread_condattr_t monotonic;

	if (!v)
		return NULL;
	memset(v, 0, sizeof(*v));
	v->size = (bytes < 2 * ENTRY_MOST ? 2 * ENTRY_MOST : bytes) & ~(size_t)(ALIGN - 1);
	v->ring = mmap(NULL, v->size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (v->ring == MAP_FAILED) {
		free(v);
		return NULL;
	}
	snprintf(v->name, sizeof(v->name), "%s", name);
	snprintf(v->comment, sizeof(v->comment), "%s", comment);
	v->origin = (struct nbds_capture_origin){
		.origin = v,
		.name = v->name,
		.comment = v->comment,
		.linktype = NBDS_SYNTHETIC_LINK,
		.snaplen = NBDS_SYNTHETIC_SNAPLEN,
		.each = each,
		.over = over,
		.dropped = dropped,
		.error = error,
		.close = close_view,
	};
	pthread_mutex_init(&v->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&v->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return v;
}

void nbds_view_free(struct nbds_view *v)
{
	if (!v)
		return;
	munmap(v->ring, v->size);
	pthread_cond_destroy(&v->wake);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

const struct nbds_capture_origin *nbds_view_origin(struct nbds_view *v)
{
	return &v->origin;
}
