/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ahead.c - a capture that is read by a thread of its own. See ahead.h.
 *
 * Two things go round between the thread and its caller:
 *
 *	buffers   bytes of the capture; packets lie in them
 *	batches   records of packets that all lie in one buffer, or in the thread's memory
 *
 * A buffer may take several batches; the last of them gives it back.  The classic reader
 * reads straight into buffers.  What others hand out is copied there.  Three things do not
 * fit into that:
 *
 *	- a datagram put together of fragments is in the memory of ip.h until the next one:
 *	  its bytes are copied into the batch, which it ends;
 *	- a packet that is larger than a buffer, and decryption secrets, are the reader's:
 *	  the thread waits until they were looked at.
 *
 * Of a file there are few buffers, and the one given back last is taken first, as it is in
 * the processors' caches.  Of an interface the oldest is taken, and none before so many were
 * given back: those are what can be read again.  There are more of both when the caller is
 * behind.
 *
 * The lock is taken for batches, not for packets, and a thread that waits for the other one
 * is woken when there is something to do for a while.
 */
#include "ahead.h"
#include "live.h"
#include "pcapng.h"
#include <base/assert.h>

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	FILE_BUFFERS = 8,
	FILE_BATCHES = 8,
	LEAST = 2, /* of both */
	RECORDS = 256,
	TOGETHER = 65536, /* bytes of a datagram */
	BUFFER_SIZE = NBDS_CAPTURE_LENT,
	LINE = 64, /* bytes that one processor has of another one at a time */
};

#define MIB ((uint64_t)1 << 20)

/* A file of so many bytes is worth it: some ms of work; and an interface with so much
 * memory. */
#define FILE_WORTH (8 * MIB)
#define LIVE_WORTH (128 * MIB)

/* Of the memory for an interface: buffers a quarter, batches a 16th. What was looked at
 * stays in a 32nd. */
#define LIVE_BUFFERS 4
#define LIVE_BATCHES 16
#define LIVE_KEPT    32
#define KEPT_MOST    (32 * MIB)

#define NS_PER_SECOND INT64_C(1000000000)
#define DROPS_NS      (NS_PER_SECOND / 4) /* the kernel is asked so often */
#define WAIT_NS       (NS_PER_SECOND / 10)
#define GATHER_NS     (NS_PER_SECOND / 250) /* more comes in this time, of much traffic */

struct buffer {
	uint8_t *bytes;
	uint64_t number; /* of those that were taken, from 1 */
};

/* What the caller looks at, */
struct handed {
	_Alignas(LINE) struct nbds_packet packet;
	bool is_segment;
	struct nbds_segment segment;
};

/* and the state of everything after the packet, which it may ask for. */
struct moment {
	struct nbds_capture_info info;
	struct nbds_ip_stats ip;
};

struct batch {
	struct batch *next;
	unsigned count;
	const struct buffer *buffer; /* of all its packets, or NULL */
	uint64_t place;              /* where that begins; 0: it cannot be read again */
	struct buffer *gives_back;
	/* What comes after the packets: */
	const struct nbds_pcapng_secrets *secrets;
	int64_t silence;
	int result; /* 1, or the last one of nbds_capture_next() */
	struct moment last;
	uint8_t *together;
	struct handed records[RECORDS];
	struct moment states[RECORDS];
};

struct nbds_ahead {
	struct nbds_capture *capture;
	struct nbds_ip *ip;
	pthread_t thread;
	bool live;
	bool lends;    /* the capture reads into buffers by itself */
	unsigned keep; /* buffers that were given back, and are not taken yet */

	/* The thread's. */
	unsigned batch_most, buffer_most, batch_count, buffer_count;
	struct batch *filling;
	struct buffer *buffer; /* NULL: none yet */
	size_t used;           /* of it, if the capture does not lend */
	uint64_t number;       /* buffers taken so far */
	bool stopped;          /* nobody wants more */
	int64_t drops_asked;   /* clock */

	/* The caller's. */
	void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s);
	void *secrets_ctx;
	bool begun, over;
	int result;
	struct batch *batch; /* NULL: none */
	unsigned at;
	const struct moment *state; /* NULL: it is here: */
	struct moment before;
	int64_t silence;
	uint64_t memory;

	pthread_mutex_t lock; /* of the rest */
	pthread_cond_t filled, emptied;
	struct batch *first, **last; /* published, not taken by the caller yet */
	struct batch *free_batches;
	struct buffer *buffers;    /* buffer_most, of which buffer_count have bytes */
	struct buffer **by_number; /* those that were taken, by their number's remainder */
	struct buffer **free;      /* a ring: */
	unsigned free_at, free_count;
	uint64_t published, done; /* batches so far */
	uint64_t wake_at;         /* the thread waits until so many are done */
	uint64_t taken_memory;    /* of buffers and batches */
	bool reader_waits, caller_waits, go, quit;
};

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * NS_PER_SECOND + t.tv_nsec;
}

/* --- the thread --- */

/* Waits until all but `left` batches are done, or for the beginning; under the lock. */
static void wait_for_caller(struct nbds_ahead *a, uint64_t left)
{
	a->reader_waits = true;
	a->wake_at = a->published - left;
	pthread_cond_wait(&a->emptied, &a->lock);
	a->reader_waits = false;
}

static uint64_t behind(const struct nbds_ahead *a)
{
	return a->published - a->done;
}

static bool batch_new(struct nbds_ahead *a)
{
	struct batch *b = aligned_alloc(LINE, sizeof(*b));

	if (!b)
		return false;
	b->together = NULL;
	b->next = a->free_batches;
	a->free_batches = b;
	a->batch_count++;
	a->taken_memory += sizeof(*b);
	return true;
}

/* Goes to those that are free. */
static void buffer_give(struct nbds_ahead *a, struct buffer *b)
{
	NBDS_ASSERT(a->free_count < a->buffer_most);
	a->free[(a->free_at + a->free_count++) % a->buffer_most] = b;
}

static bool buffer_new(struct nbds_ahead *a)
{
	struct buffer *b = &a->buffers[a->buffer_count];

	b->bytes = malloc(BUFFER_SIZE);
	if (!b->bytes)
		return false;
	a->buffer_count++;
	a->taken_memory += BUFFER_SIZE;
	/* The next one to be taken. */
	if (a->keep) {
		a->free_at = (a->free_at + a->buffer_most - 1) % a->buffer_most;
		a->free[a->free_at] = b;
		a->free_count++;
	} else {
		buffer_give(a, b);
	}
	return true;
}

/* Under the lock: a batch for what comes. False: stop. */
static bool take_batch(struct nbds_ahead *a)
{
	struct batch *b;

	while (!a->quit && !a->free_batches)
		if (a->batch_count == a->batch_most || !batch_new(a))
			wait_for_caller(a, behind(a) / 2);
	a->stopped = a->quit;
	if (a->stopped)
		return false;
	b = a->filling = a->free_batches;
	a->free_batches = b->next;
	b->next = NULL;
	b->count = 0;
	b->place = 0;
	b->buffer = a->buffer;
	b->gives_back = NULL;
	b->secrets = NULL;
	b->silence = 0;
	b->result = 1;
	return true;
}

/* Hands over what there is. */
static bool publish(struct nbds_ahead *a)
{
	struct batch *b = a->filling;
	bool more;

	if (a->stopped)
		return false;
	if (a->buffer && a->live)
		b->place = a->buffer->number * BUFFER_SIZE;
	else if (a->buffer && a->lends && b->count)
		b->place = nbds_capture_place(a->capture, a->buffer->bytes);
	pthread_mutex_lock(&a->lock);
	*a->last = b;
	a->last = &b->next;
	a->published++;
	a->filling = NULL;
	if (a->caller_waits)
		pthread_cond_signal(&a->filled);
	more = take_batch(a);
	pthread_mutex_unlock(&a->lock);
	return more;
}

/* The same, and waits until everything was looked at. */
static bool publish_and_wait(struct nbds_ahead *a)
{
	if (!publish(a))
		return false;
	pthread_mutex_lock(&a->lock);
	while (!a->quit && behind(a))
		wait_for_caller(a, 0);
	a->stopped = a->quit;
	pthread_mutex_unlock(&a->lock);
	return !a->stopped;
}

/* Under the lock. False: stop. */
static bool take_buffer(struct nbds_ahead *a)
{
	unsigned at;

	for (;;) {
		bool most = a->buffer_count == a->buffer_most;

		if (a->quit)
			return false;
		if (a->free_count > (most ? 0 : a->keep))
			break;
		if (!most && buffer_new(a))
			break;
		if (a->free_count) /* there is no memory for more */
			break;
		wait_for_caller(a, behind(a) / 2);
	}
	at = a->keep ? a->free_at : (a->free_at + a->free_count - 1) % a->buffer_most;
	a->buffer = a->free[at];
	a->free_at = (a->free_at + (a->keep != 0)) % a->buffer_most;
	a->free_count--;
	a->buffer->number = ++a->number;
	a->by_number[a->number % a->buffer_most] = a->buffer;
	return true;
}

/* The buffer is full. The next one; NULL: stop. */
static uint8_t *next_buffer(void *ctx)
{
	struct nbds_ahead *a = ctx;

	if (a->buffer) {
		a->filling->gives_back = a->buffer;
		if (!publish(a))
			return NULL;
	}
	pthread_mutex_lock(&a->lock);
	a->stopped = !take_buffer(a);
	pthread_mutex_unlock(&a->lock);
	if (a->stopped)
		return NULL;
	a->filling->buffer = a->buffer;
	a->used = 0;
	return a->buffer->bytes;
}

/* Copies the bytes of a packet into a buffer. *fits: false if none is so large. */
static bool keep(struct nbds_ahead *a, struct nbds_packet *p, bool *fits)
{
	*fits = p->caplen <= BUFFER_SIZE;
	if (!*fits)
		return true;
	if ((!a->buffer || p->caplen > BUFFER_SIZE - a->used) && !next_buffer(a))
		return false;
	memcpy(a->buffer->bytes + a->used, p->data, p->caplen);
	p->data = a->buffer->bytes + a->used;
	a->used += p->caplen;
	return true;
}

/* The segment is in the memory of the IP reader: its bytes come along. */
static bool keep_together(struct nbds_ahead *a, struct nbds_segment *s)
{
	struct batch *b = a->filling;

	NBDS_ASSERT(s->caplen <= TOGETHER);
	if (!b->together) {
		b->together = malloc(TOGETHER);
		if (!b->together)
			return false;
		pthread_mutex_lock(&a->lock);
		a->taken_memory += TOGETHER;
		pthread_mutex_unlock(&a->lock);
	}
	memcpy(b->together, s->payload, s->caplen);
	s->payload = b->together;
	return true;
}

static void note_state(struct nbds_ahead *a, struct moment *state)
{
	if (a->live)
		state->info = *nbds_capture_counts(a->capture);
	else
		nbds_capture_info(a->capture, &state->info);
	state->ip = *nbds_ip_stats(a->ip);
}

/* A packet was read. False: stop. */
static bool add(struct nbds_ahead *a, struct nbds_packet *p)
{
	bool fits = true, waits = false;
	struct moment *state;
	struct handed *r;

	if (!a->lends && !keep(a, p, &fits))
		return false;
	state = &a->filling->states[a->filling->count];
	r = &a->filling->records[a->filling->count++];
	r->packet = *p;
	r->is_segment = nbds_ip_segment(a->ip, &r->packet, &r->segment);
	note_state(a, state);
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

/* What was dropped until now is known of packets that are read from now on, for a while. */
static void ask_for_drops(struct nbds_ahead *a)
{
	int64_t now = clock_ns(CLOCK_MONOTONIC_COARSE);
	struct nbds_capture_info info;

	if (now - a->drops_asked < DROPS_NS)
		return;
	a->drops_asked = now;
	nbds_capture_info(a->capture, &info);
}

static void add_live(void *ctx, struct nbds_packet *p)
{
	struct nbds_ahead *a = ctx;

	if (a->stopped)
		return;
	/* Also of the one before there may have been a long wait for room. */
	ask_for_drops(a);
	add(a, p);
}

/* What is there is handed over at once. False: it is over. */
static bool read_live(struct nbds_ahead *a)
{
	int got = nbds_capture_each(a->capture, RECORDS, add_live, a);

	if (a->stopped)
		return false;
	if (got > 0 && a->filling->count && !publish(a))
		return false;
	if (got >= RECORDS)
		return true;
	if (got > 0) {
		/* Not a turn of two threads for each few packets: the kernel's ring holds many
		 * times what comes until then. */
		nanosleep(&(struct timespec){.tv_nsec = GATHER_NS}, NULL);
		return true;
	}
	if (got < 0) {
		a->filling->result = got;
		publish(a);
		return false;
	}
	a->filling->silence = clock_ns(CLOCK_REALTIME);
	ask_for_drops(a);
	note_state(a, &a->filling->last);
	return publish(a);
}

static void read_file(struct nbds_ahead *a)
{
	struct nbds_packet p;
	int result;

	while ((result = nbds_capture_next(a->capture, &p)) == 1)
		if (!add(a, &p))
			return;
	if (a->stopped)
		return;
	a->filling->result = result;
	publish(a);
}

static void *read_ahead(void *ctx)
{
	struct nbds_ahead *a = ctx;
	bool more;

	pthread_mutex_lock(&a->lock);
	while (!a->go && !a->quit)
		wait_for_caller(a, 0);
	more = take_batch(a);
	pthread_mutex_unlock(&a->lock);
	if (more && !a->live)
		read_file(a);
	while (more && a->live)
		more = read_live(a);
	return NULL;
}

/* --- the caller --- */

bool nbds_ahead_possible(const struct nbds_capture *c)
{
	return nbds_capture_is_file(c) || nbds_capture_is_live(c);
}

bool nbds_ahead_pays(struct nbds_capture *c, uint64_t memory)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (!nbds_ahead_possible(c) || sched_getaffinity(0, sizeof(set), &set) < 0 ||
	    CPU_COUNT(&set) < 2)
		return false;
	return nbds_capture_is_live(c) ? memory >= LIVE_WORTH
				       : nbds_capture_counts(c)->size >= FILE_WORTH;
}

static void free_batch(struct batch *b)
{
	if (b)
		free(b->together);
	free(b);
}

static void free_batches(struct batch *b)
{
	while (b) {
		struct batch *next = b->next;

		free_batch(b);
		b = next;
	}
}

static void release(struct nbds_ahead *a)
{
	free_batches(a->first);
	free_batches(a->free_batches);
	free_batch(a->filling);
	free_batch(a->batch);
	for (unsigned i = 0; a->buffers && i < a->buffer_count; i++)
		free(a->buffers[i].bytes);
	free(a->buffers);
	free((void *)a->by_number);
	free((void *)a->free);
	free(a);
}

/* Signals are for other threads. */
static bool start(struct nbds_ahead *a)
{
	pthread_condattr_t monotonic;
	sigset_t all, before;
	int status;

	pthread_mutex_init(&a->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&a->filled, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_cond_init(&a->emptied, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&a->thread, NULL, read_ahead, a);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return status == 0;
}

static unsigned share(uint64_t memory, uint64_t part, size_t size, unsigned least)
{
	uint64_t count = memory / part / size;

	if (count > UINT16_MAX)
		count = UINT16_MAX;
	return count < least ? least : (unsigned)count;
}

struct nbds_ahead *nbds_ahead_new(struct nbds_capture *c, struct nbds_ip *ip, uint64_t memory,
				  void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
				  void *secrets_ctx)
{
	struct nbds_ahead *a = calloc(1, sizeof(*a));
	uint64_t kept = memory / LIVE_KEPT < KEPT_MOST ? memory / LIVE_KEPT : KEPT_MOST;
	bool good = a;

	if (!a)
		return NULL;
	a->live = nbds_capture_is_live(c);
	a->buffer_most = a->live ? share(memory, LIVE_BUFFERS, BUFFER_SIZE, LEAST) : FILE_BUFFERS;
	a->batch_most =
		a->live ? share(memory, LIVE_BATCHES, sizeof(struct batch) + TOGETHER, LEAST)
			: FILE_BATCHES;
	if (a->live)
		a->keep = share(kept, 1, BUFFER_SIZE, 1);
	a->last = &a->first;
	a->capture = c;
	a->ip = ip;
	a->secrets = secrets;
	a->secrets_ctx = secrets_ctx;
	a->buffers = calloc(a->buffer_most, sizeof(*a->buffers));
	a->by_number = (struct buffer **)calloc(a->buffer_most, sizeof(*a->by_number));
	a->free = (struct buffer **)calloc(a->buffer_most, sizeof(*a->free));
	good = a->buffers && a->by_number && a->free;
	for (int i = 0; good && i < LEAST; i++)
		good = batch_new(a) && buffer_new(a);
	if (!good || !start(a)) {
		release(a);
		return NULL;
	}
	return a;
}

/* Nothing more comes; the state stays that of the packet that was handed out last. */
static void end(struct nbds_ahead *a)
{
	if (a->state)
		a->before = *a->state;
	a->state = NULL;
	pthread_join(a->thread, NULL);
	a->over = true;
}

void nbds_ahead_stop(struct nbds_ahead *a)
{
	struct nbds_capture_info info;

	if (a->over)
		return;
	pthread_mutex_lock(&a->lock);
	a->quit = true;
	pthread_cond_signal(&a->emptied);
	pthread_mutex_unlock(&a->lock);
	end(a);
	if (!a->live || !a->begun)
		return;
	nbds_capture_info(a->capture, &info);
	a->before.info.dropped_known = info.dropped_known;
	a->before.info.dropped = info.dropped;
	a->before.info.dropped_interface = info.dropped_interface;
}

void nbds_ahead_free(struct nbds_ahead *a)
{
	if (!a)
		return;
	nbds_ahead_stop(a);
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
	nbds_capture_save_apart(a->capture);
	pthread_mutex_lock(&a->lock);
	a->begun = a->go = true;
	pthread_cond_signal(&a->emptied);
	pthread_mutex_unlock(&a->lock);
}

/* Under the lock: something was published. Live, false if not soon. */
static bool wait_for_batch(struct nbds_ahead *a)
{
	struct timespec until;
	int64_t at;

	if (a->first)
		return true;
	at = clock_ns(CLOCK_MONOTONIC) + WAIT_NS;
	until = (struct timespec){at / NS_PER_SECOND, at % NS_PER_SECOND};
	a->caller_waits = true;
	while (!a->first)
		if (!a->live)
			pthread_cond_wait(&a->filled, &a->lock);
		else if (pthread_cond_timedwait(&a->filled, &a->lock, &until))
			break;
	a->caller_waits = false;
	return a->first;
}

/* False: there is none, for the time being. */
static bool get_batch(struct nbds_ahead *a)
{
	pthread_mutex_lock(&a->lock);
	if (wait_for_batch(a)) {
		a->batch = a->first;
		a->first = a->batch->next;
		if (!a->first)
			a->last = &a->first;
		a->at = 0;
	}
	a->memory = a->taken_memory;
	pthread_mutex_unlock(&a->lock);
	return a->batch;
}

/* All its packets were handed out. */
static void finish_batch(struct nbds_ahead *a)
{
	struct batch *b = a->batch;
	int result = b->result;

	if (a->state)
		a->before = *a->state;
	a->state = NULL;
	a->silence = b->silence;
	if (b->silence)
		a->before = b->last;
	if (b->secrets)
		a->secrets(a->secrets_ctx, b->secrets);
	a->batch = NULL;
	pthread_mutex_lock(&a->lock);
	a->done++;
	if (b->gives_back)
		buffer_give(a, b->gives_back);
	b->next = a->free_batches;
	a->free_batches = b;
	if (a->reader_waits && a->done >= a->wake_at)
		pthread_cond_signal(&a->emptied);
	pthread_mutex_unlock(&a->lock);
	if (result == 1)
		return;
	a->result = result;
	end(a);
	nbds_capture_info(a->capture, &a->before.info);
	a->before.ip = *nbds_ip_stats(a->ip);
}

/* What the other processor has written is far away: it is asked for while this one is at
 * work with earlier packets. */
static void fetch(const struct batch *b, unsigned at)
{
	enum { RECORD_AHEAD = 6, PAYLOAD_AHEAD = 3 };

	if (at + RECORD_AHEAD < b->count) {
		const char *line = (const char *)&b->records[at + RECORD_AHEAD];

		for (size_t i = 0; i < sizeof(struct handed); i += LINE)
			__builtin_prefetch(line + i);
	}
	if (at + PAYLOAD_AHEAD < b->count) {
		const struct handed *r = &b->records[at + PAYLOAD_AHEAD];

		if (r->is_segment && r->segment.caplen)
			__builtin_prefetch(r->segment.payload);
	}
}

int nbds_ahead_next(struct nbds_ahead *a, const struct nbds_packet **packet,
		    const struct nbds_segment **segment)
{
	if (!a->begun)
		begin(a);
	a->silence = 0;
	while (!a->over) {
		const struct handed *r;

		if (!a->batch && !get_batch(a))
			return 0;
		if (a->at == a->batch->count) {
			finish_batch(a);
			if (a->silence)
				return 0;
			continue;
		}
		r = &a->batch->records[a->at];
		a->state = &a->batch->states[a->at++];
		fetch(a->batch, a->at);
		*packet = &r->packet;
		*segment = r->is_segment ? &r->segment : NULL;
		return 1;
	}
	return a->result;
}

int64_t nbds_ahead_silence(const struct nbds_ahead *a)
{
	return a->silence;
}

bool nbds_ahead_begun(const struct nbds_ahead *a)
{
	return a->begun;
}

bool nbds_ahead_over(const struct nbds_ahead *a)
{
	return a->over;
}

bool nbds_ahead_can_reread(const struct nbds_ahead *a)
{
	return a->live || nbds_capture_can_reread(a->capture);
}

uint64_t nbds_ahead_place(const struct nbds_ahead *a, const uint8_t *bytes)
{
	uintptr_t into;

	if (!a->batch || !a->batch->place)
		return 0;
	into = (uintptr_t)bytes - (uintptr_t)a->batch->buffer->bytes;
	return into < BUFFER_SIZE ? a->batch->place + into : 0;
}

bool nbds_ahead_reread(struct nbds_ahead *a, uint64_t place, uint8_t *bytes, size_t size)
{
	uint64_t number = place / BUFFER_SIZE, into = place % BUFFER_SIZE;
	const struct buffer *b;
	bool good;

	if (!a->live)
		return nbds_capture_reread(a->capture, place, bytes, size);
	/* While it is copied nobody takes the buffer. */
	pthread_mutex_lock(&a->lock);
	b = a->by_number[number % a->buffer_most];
	good = b && b->number == number && size <= BUFFER_SIZE - into;
	if (good)
		memcpy(bytes, b->bytes + into, size);
	pthread_mutex_unlock(&a->lock);
	return good;
}

void nbds_ahead_info(const struct nbds_ahead *a, struct nbds_capture_info *info)
{
	if (!a->begun)
		nbds_capture_info(a->capture, info);
	else
		*info = a->state ? a->state->info : a->before.info;
}

const struct nbds_ip_stats *nbds_ahead_stats(const struct nbds_ahead *a)
{
	if (!a->begun)
		return nbds_ip_stats(a->ip);
	return a->state ? &a->state->ip : &a->before.ip;
}

uint64_t nbds_ahead_dropped(const struct nbds_ahead *a)
{
	return a->state ? a->state->info.dropped : a->before.info.dropped;
}

uint64_t nbds_ahead_memory(const struct nbds_ahead *a)
{
	return a->live ? a->memory : 0;
}
