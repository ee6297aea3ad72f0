/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ahead.c - a capture file that is read by a thread of its own. See ahead.h.
 *
 * Two rings go round between the thread and its caller, both in one order:
 *
 *	buffers   bytes of the file; packets lie in them
 *	batches   records of packets that all lie in one buffer, or in the thread's memory
 *
 * A buffer may take several batches; the last of them says that it is free again.  The
 * classic reader reads straight into buffers.  What other readers hand out is copied
 * there.  Three things do not fit into that:
 *
 *	- a datagram put together of fragments is in the memory of ip.h until the next one:
 *	  its bytes are copied into the batch, which it ends;
 *	- a packet that is larger than a buffer, and decryption secrets, are the reader's:
 *	  the thread waits until they were looked at.
 *
 * The lock is taken for batches, not for packets, and a thread that waits for the other one
 * is woken when there is something to do for a while.
 */
#include "ahead.h"
#include "pcapng.h"
#include <base/assert.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum {
	BUFFERS = 8,
	BATCHES = 8,
	RECORDS = 256,
	TOGETHER = 65536, /* bytes of a datagram */
	BUFFER_SIZE = NBDS_CAPTURE_LENT,
	WORTH = 8 << 20, /* bytes of a file: some ms of work */
};

enum { LINE = 64 }; /* bytes that one processor has of another one at a time */

struct record {
	_Alignas(LINE) struct nbds_packet packet;
	bool is_segment;
	struct nbds_segment segment;
};

/* Of everything, after a packet: who asks looks at the one handed out last. */
struct state {
	struct nbds_capture_info info;
	struct nbds_ip_stats ip;
};

struct batch {
	unsigned count;
	bool frees; /* its buffer: what comes lies in the next one */
	uint64_t place;
	const uint8_t *buffer;
	/* What comes after the packets: */
	const struct nbds_pcapng_secrets *secrets;
	int result; /* 1, or the last one of nbds_capture_next() */
	uint8_t *together;
	struct record records[RECORDS];
	struct state states[RECORDS];
};

struct nbds_ahead {
	struct nbds_capture *capture;
	struct nbds_ip *ip;
	pthread_t thread;
	bool lends; /* the capture reads into buffers by itself */
	struct batch *batches;
	uint8_t *buffers[BUFFERS];

	/* The thread's. */
	struct batch *filling;
	uint8_t *buffer; /* NULL: none yet */
	size_t used;     /* of it, if the capture does not lend */
	uint64_t lent;   /* buffers so far */
	bool stopped;    /* nobody wants more */

	/* The caller's. */
	void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s);
	void *secrets_ctx;
	bool begun, over;
	int result;
	const struct batch *batch; /* NULL: none */
	unsigned at;
	const struct state *state; /* NULL: it is here: */
	struct state before;

	pthread_mutex_t lock; /* of the rest */
	pthread_cond_t filled, emptied;
	uint64_t published, done; /* batches so far */
	uint64_t freed;           /* buffers */
	uint64_t wake_at;         /* the thread waits, until so many batches are done */
	bool reader_waits, caller_waits, go, quit;
};

/* --- the thread --- */

/* Waits until all but `left` batches are done, or for the beginning; under the lock. */
static void wait_for_caller(struct nbds_ahead *a, uint64_t left)
{
	a->reader_waits = true;
	a->wake_at = a->published - left;
	pthread_cond_wait(&a->emptied, &a->lock);
	a->reader_waits = false;
}

/* The next batch, empty. False: stop. */
static bool next_batch(struct nbds_ahead *a)
{
	bool quit;

	pthread_mutex_lock(&a->lock);
	while (!a->quit && a->published - a->done == BATCHES)
		wait_for_caller(a, BATCHES / 2);
	quit = a->quit;
	a->filling = &a->batches[a->published % BATCHES];
	pthread_mutex_unlock(&a->lock);
	if (quit) {
		a->stopped = true;
		return false;
	}
	a->filling->count = 0;
	a->filling->frees = false;
	a->filling->place = 0;
	a->filling->buffer = a->buffer;
	a->filling->secrets = NULL;
	a->filling->result = 1;
	return true;
}

/* Hands over what there is. */
static bool publish(struct nbds_ahead *a)
{
	if (a->stopped)
		return false;
	if (a->lends && a->filling->count)
		a->filling->place = nbds_capture_place(a->capture, a->buffer);
	pthread_mutex_lock(&a->lock);
	a->published++;
	if (a->caller_waits)
		pthread_cond_signal(&a->filled);
	pthread_mutex_unlock(&a->lock);
	return next_batch(a);
}

/* The same, and waits until everything was looked at. */
static bool publish_and_wait(struct nbds_ahead *a)
{
	if (!publish(a))
		return false;
	pthread_mutex_lock(&a->lock);
	while (!a->quit && a->published != a->done)
		wait_for_caller(a, 0);
	a->stopped = a->quit;
	pthread_mutex_unlock(&a->lock);
	return !a->stopped;
}

/* The buffer is full. The next one; NULL: stop. */
static uint8_t *next_buffer(void *ctx)
{
	struct nbds_ahead *a = ctx;

	if (a->buffer) {
		a->filling->frees = true;
		if (!publish(a))
			return NULL;
	}
	pthread_mutex_lock(&a->lock);
	while (!a->quit && a->lent - a->freed == BUFFERS)
		wait_for_caller(a, (a->published - a->done) / 2);
	a->stopped = a->quit;
	pthread_mutex_unlock(&a->lock);
	if (a->stopped)
		return NULL;
	a->buffer = a->buffers[a->lent++ % BUFFERS];
	a->filling->buffer = a->buffer;
	a->used = 0;
	return a->buffer;
}

/* Copies the bytes of a packet into a buffer. *fits: false if none is so large. */
static bool keep(struct nbds_ahead *a, struct nbds_packet *p, bool *fits)
{
	*fits = p->caplen <= BUFFER_SIZE;
	if (!*fits)
		return true;
	if ((!a->buffer || p->caplen > BUFFER_SIZE - a->used) && !next_buffer(a))
		return false;
	memcpy(a->buffer + a->used, p->data, p->caplen);
	p->data = a->buffer + a->used;
	a->used += p->caplen;
	return true;
}

/* The segment is in the memory of the IP reader: its bytes come along. */
static bool keep_together(struct nbds_ahead *a, struct nbds_segment *s)
{
	struct batch *b = a->filling;

	NBDS_ASSERT(s->caplen <= TOGETHER);
	if (!b->together)
		b->together = malloc(TOGETHER);
	if (!b->together)
		return false;
	memcpy(b->together, s->payload, s->caplen);
	s->payload = b->together;
	return true;
}

/* A packet was read. False: stop. */
static bool add(struct nbds_ahead *a, struct nbds_packet *p)
{
	bool fits = true, waits = false;
	struct state *state;
	struct record *r;

	if (!a->lends && !keep(a, p, &fits))
		return false;
	state = &a->filling->states[a->filling->count];
	r = &a->filling->records[a->filling->count++];
	r->packet = *p;
	r->is_segment = nbds_ip_segment(a->ip, &r->packet, &r->segment);
	nbds_capture_info(a->capture, &state->info);
	state->ip = *nbds_ip_stats(a->ip);
	if (r->is_segment) {
		struct nbds_ip_place place;

		nbds_ip_where(a->ip, &place);
		/* Without memory it stays where it is until it was looked at. */
		if (!place.whole)
			waits = !keep_together(a, &r->segment);
		if (!place.whole && !waits)
			return publish(a);
	}
	if (!fits || waits)
		return publish_and_wait(a);
	return a->filling->count < RECORDS || publish(a);
}

static void on_secrets(void *ctx, const struct nbds_pcapng_secrets *s)
{
	struct nbds_ahead *a = ctx;

	if (a->stopped)
		return;
	a->filling->secrets = s;
	publish_and_wait(a);
}

static void *read_ahead(void *ctx)
{
	struct nbds_ahead *a = ctx;
	struct nbds_packet p;
	int result;

	pthread_mutex_lock(&a->lock);
	while (!a->go && !a->quit)
		wait_for_caller(a, 0);
	pthread_mutex_unlock(&a->lock);
	if (!next_batch(a))
		return NULL;
	while ((result = nbds_capture_next(a->capture, &p)) == 1)
		if (!add(a, &p) || a->stopped)
			return NULL;
	if (!a->stopped) {
		a->filling->result = result;
		publish(a);
	}
	return NULL;
}

/* --- the caller --- */

bool nbds_ahead_pays(struct nbds_capture *c)
{
	struct nbds_capture_info info;
	cpu_set_t set;

	CPU_ZERO(&set);
	if (!nbds_capture_is_file(c) || sched_getaffinity(0, sizeof(set), &set) < 0 ||
	    CPU_COUNT(&set) < 2)
		return false;
	nbds_capture_info(c, &info);
	return info.size >= WORTH;
}

static void release(struct nbds_ahead *a)
{
	for (unsigned i = 0; a->batches && i < BATCHES; i++)
		free(a->batches[i].together);
	free(a->batches);
	for (unsigned i = 0; i < BUFFERS; i++)
		free(a->buffers[i]);
	free(a);
}

/* Signals are for other threads. */
static bool start(struct nbds_ahead *a)
{
	sigset_t all, before;
	int status;

	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->filled, NULL);
	pthread_cond_init(&a->emptied, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&a->thread, NULL, read_ahead, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return status == 0;
}

struct nbds_ahead *nbds_ahead_new(struct nbds_capture *c, struct nbds_ip *ip,
				  void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
				  void *secrets_ctx)
{
	struct nbds_ahead *a = calloc(1, sizeof(*a));
	bool whole;

	if (!a)
		return NULL;
	a->batches = aligned_alloc(LINE, BATCHES * sizeof(*a->batches));
	whole = a->batches;
	for (unsigned i = 0; whole && i < BATCHES; i++)
		a->batches[i].together = NULL;
	for (unsigned i = 0; i < BUFFERS; i++) {
		a->buffers[i] = malloc(BUFFER_SIZE);
		whole &= a->buffers[i] != NULL;
	}
	a->capture = c;
	a->ip = ip;
	a->secrets = secrets;
	a->secrets_ctx = secrets_ctx;
	if (!whole || !start(a)) {
		release(a);
		return NULL;
	}
	return a;
}

void nbds_ahead_free(struct nbds_ahead *a)
{
	if (!a)
		return;
	if (!a->over) {
		pthread_mutex_lock(&a->lock);
		a->quit = true;
		pthread_cond_signal(&a->emptied);
		pthread_mutex_unlock(&a->lock);
		pthread_join(a->thread, NULL);
	}
	pthread_cond_destroy(&a->emptied);
	pthread_cond_destroy(&a->filled);
	pthread_mutex_destroy(&a->lock);
	release(a);
}

static void begin(struct nbds_ahead *a)
{
	a->lends = nbds_capture_lend(a->capture, next_buffer, a);
	if (a->secrets)
		nbds_capture_keep_words(a->capture, on_secrets, a);
	nbds_capture_info(a->capture, &a->before.info);
	a->before.ip = *nbds_ip_stats(a->ip);
	pthread_mutex_lock(&a->lock);
	a->begun = a->go = true;
	pthread_cond_signal(&a->emptied);
	pthread_mutex_unlock(&a->lock);
}

static void take_batch(struct nbds_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	a->caller_waits = true;
	while (a->published == a->done)
		pthread_cond_wait(&a->filled, &a->lock);
	a->caller_waits = false;
	a->batch = &a->batches[a->done % BATCHES];
	pthread_mutex_unlock(&a->lock);
	a->at = 0;
}

/* All its packets were handed out. */
static void finish_batch(struct nbds_ahead *a)
{
	const struct batch *b = a->batch;
	int result = b->result;

	if (a->state)
		a->before = *a->state;
	a->state = NULL;
	if (b->secrets)
		a->secrets(a->secrets_ctx, b->secrets);
	a->batch = NULL;
	pthread_mutex_lock(&a->lock);
	a->done++;
	a->freed += b->frees;
	if (a->reader_waits && a->done >= a->wake_at)
		pthread_cond_signal(&a->emptied);
	pthread_mutex_unlock(&a->lock);
	if (result == 1)
		return;
	pthread_join(a->thread, NULL);
	a->over = true;
	a->result = result;
}

/* What the other processor has written is far away: it is asked for while this one is at
 * work with earlier packets. */
static void fetch(const struct batch *b, unsigned at)
{
	enum { RECORD_AHEAD = 6, PAYLOAD_AHEAD = 3 };

	if (at + RECORD_AHEAD < b->count) {
		const char *line = (const char *)&b->records[at + RECORD_AHEAD];

		for (size_t i = 0; i < sizeof(struct record); i += LINE)
			__builtin_prefetch(line + i);
	}
	if (at + PAYLOAD_AHEAD < b->count) {
		const struct record *r = &b->records[at + PAYLOAD_AHEAD];

		if (r->is_segment && r->segment.caplen)
			__builtin_prefetch(r->segment.payload);
	}
}

int nbds_ahead_next(struct nbds_ahead *a, const struct nbds_packet **packet,
		    const struct nbds_segment **segment)
{
	if (!a->begun)
		begin(a);
	while (!a->over) {
		if (!a->batch) {
			take_batch(a);
		} else if (a->at == a->batch->count) {
			finish_batch(a);
		} else {
			const struct record *r = &a->batch->records[a->at];

			a->state = &a->batch->states[a->at++];
			fetch(a->batch, a->at);
			*packet = &r->packet;
			*segment = r->is_segment ? &r->segment : NULL;
			return 1;
		}
	}
	return a->result;
}

bool nbds_ahead_begun(const struct nbds_ahead *a)
{
	return a->begun;
}

bool nbds_ahead_over(const struct nbds_ahead *a)
{
	return a->over;
}

uint64_t nbds_ahead_place(const struct nbds_ahead *a, const uint8_t *bytes)
{
	uintptr_t into;

	if (!a->batch || !a->batch->place)
		return 0;
	into = (uintptr_t)bytes - (uintptr_t)a->batch->buffer;
	return into < BUFFER_SIZE ? a->batch->place + into : 0;
}

void nbds_ahead_info(const struct nbds_ahead *a, struct nbds_capture_info *info)
{
	if (!a->begun || a->over)
		nbds_capture_info(a->capture, info);
	else
		*info = a->state ? a->state->info : a->before.info;
}

const struct nbds_ip_stats *nbds_ahead_stats(const struct nbds_ahead *a)
{
	if (!a->begun || a->over)
		return nbds_ip_stats(a->ip);
	return a->state ? &a->state->ip : &a->before.ip;
}
