/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.c - the last messages. See log.h.
 */
#include "log.h"

#include <base/assert.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "../analyzer/report/words.h"

#define SEGMENT_ENTRIES 1024u
/* Bytes of heads and payloads in a segment; one head is no longer than NBDS_HEAD_MAX. */
#define SEGMENT_BYTES 131072u

/* Segments in which a message may be whose payload comes. */
#define SEGMENTS_RECENT 4u

struct segment {
	unsigned refs; /* under the log's lock */
	uint64_t first;
	_Atomic uint32_t count; /* entries that can be seen */
	uint32_t used;          /* bytes */
	struct log_entry entries[SEGMENT_ENTRIES];
	uint8_t bytes[SEGMENT_BYTES];
};

struct log {
	pthread_mutex_t lock; /* for `segments` and every segment's refs */
	struct segment **segments;
	unsigned count, room; /* room: the most that are kept */
	struct segment *spare;
	_Atomic uint64_t total, lost;
};

/* The last segment is not full, and one is spare. */
#define SEGMENTS_MORE 2

uint64_t log_bytes(uint64_t history)
{
	return (history / SEGMENT_ENTRIES + SEGMENTS_MORE) * sizeof(struct segment);
}

uint64_t log_entries(uint64_t bytes)
{
	uint64_t segments = bytes / sizeof(struct segment);

	return (segments > SEGMENTS_MORE ? segments - SEGMENTS_MORE : 1) * SEGMENT_ENTRIES;
}

struct log *log_new(uint64_t history)
{
	struct log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->room = (unsigned)(history / SEGMENT_ENTRIES) + SEGMENTS_MORE;
	log->segments = calloc(log->room, sizeof(*log->segments));
	if (!log->segments || pthread_mutex_init(&log->lock, NULL)) {
		free(log->segments);
		free(log);
		return NULL;
	}
	return log;
}

void log_free(struct log *log)
{
	if (!log)
		return;
	for (unsigned i = 0; i < log->count; i++)
		free(log->segments[i]);
	free(log->spare);
	free(log->segments);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

/* The lock is held. The last one is kept for the next to be needed. */
static void segment_unref(struct log *log, struct segment *s)
{
	if (--s->refs)
		return;
	free(log->spare);
	log->spare = s;
}

/* A new last segment; the oldest goes if there are too many. */
static struct segment *segment_add(struct log *log)
{
	struct segment *s;

	pthread_mutex_lock(&log->lock);
	if (log->count == log->room) {
		segment_unref(log, log->segments[0]);
		memmove(log->segments, log->segments + 1,
			(log->count - 1) * sizeof(*log->segments));
		log->count--;
	}
	s = log->spare;
	log->spare = NULL;
	pthread_mutex_unlock(&log->lock);
	if (!s)
		s = malloc(sizeof(*s));
	if (!s)
		return NULL;
	s->refs = 1;
	s->used = 0;
	s->first = log->total + 1;
	atomic_store_explicit(&s->count, 0, memory_order_relaxed);
	pthread_mutex_lock(&log->lock);
	log->segments[log->count++] = s;
	pthread_mutex_unlock(&log->lock);
	return s;
}

/* A place for an entry with `bytes` bytes; NULL: lost. */
static struct log_entry *entry_begin(struct log *log, uint32_t bytes, struct segment **segment)
{
	/* Only this thread changes the list. */
	struct segment *s = log->count ? log->segments[log->count - 1] : NULL;
	struct log_entry *e;

	if (!s || s->count == SEGMENT_ENTRIES || bytes > SEGMENT_BYTES - s->used)
		s = segment_add(log);
	if (!s) {
		log->lost++;
		return NULL;
	}
	e = &s->entries[s->count];
	memset(e, 0, sizeof(*e));
	e->number = log->total + 1;
	*segment = s;
	return e;
}

static const uint8_t *keep(struct segment *s, const void *bytes, size_t len)
{
	uint8_t *at = s->bytes + s->used;

	if (len)
		memcpy(at, bytes, len);
	s->used += (uint32_t)len;
	return at;
}

static void entry_end(struct log *log, struct segment *s)
{
	atomic_fetch_add_explicit(&s->count, 1, memory_order_release);
	atomic_fetch_add_explicit(&log->total, 1, memory_order_release);
}

static uint32_t payload_kept(const struct nbds_message *m)
{
	return m->payload_len < LOG_PAYLOAD ? (uint32_t)m->payload_len : LOG_PAYLOAD;
}

uint64_t log_message(struct log *log, const struct nbds_connection *c, const struct nbds_message *m)
{
	/* Names of what has none are made for the moment. */
	bool own = !strncmp(m->name, "unknown", 7);
	size_t name_len = own ? strlen(m->name) + 1 : 0;
	uint32_t head_len = m->head ? m->head_len : 0;
	struct segment *s;
	struct nbds_mark seen;
	struct log_entry *e = entry_begin(log, head_len + (uint32_t)name_len + payload_kept(m), &s);

	if (!e)
		return 0;
	e->frame = m->first.frame;
	e->last_frame = m->last.frame;
	e->time = m->first.time;
	e->connection = c->id;
	e->flags = m->flags;
	e->type = (uint8_t)m->type;
	e->from = (uint8_t)m->from;
	e->payload = (uint8_t)m->payload;
	e->offset = m->offset;
	e->payload_len = m->payload_len;
	e->name = own ? (const char *)keep(s, m->name, name_len) : m->name;
	e->head_len = head_len;
	e->head = keep(s, m->head, head_len);
	/* Room for what will come. */
	e->bytes = s->bytes + s->used;
	s->used += payload_kept(m);
	e->detail = m->u;
	if (m->request) {
		e->has_request = true;
		e->request = *m->request;
		e->request.user = NULL;
		if (m->from == NBDS_SERVER && nbds_request_seen(m->request, &seen)) {
			e->took_known = true;
			e->took = m->last.time > seen.time
					  ? (uint64_t)m->last.time - (uint64_t)seen.time
					  : 0;
			e->request_frame = seen.frame;
		}
	}
	entry_end(log, s);
	return e->number;
}

/* The entry, if it is one of the last; its segment. */
static struct log_entry *recent(struct log *log, uint64_t number, struct segment **segment)
{
	for (unsigned i = 0; i < SEGMENTS_RECENT && i < log->count; i++) {
		struct segment *s = log->segments[log->count - 1 - i];

		if (number < s->first)
			continue;
		*segment = s;
		return number - s->first < s->count ? &s->entries[number - s->first] : NULL;
	}
	return NULL;
}

void log_payload(struct log *log, uint64_t number, uint64_t at, const uint8_t *data, size_t len)
{
	struct segment *s;
	struct log_entry *e = recent(log, number, &s);
	uint64_t room;
	size_t n;

	if (!e)
		return;
	room = e->payload_len < LOG_PAYLOAD ? e->payload_len : LOG_PAYLOAD;
	/* Only what follows on what there is: behind a hole nothing is kept. */
	if (at != e->kept || at >= room)
		return;
	n = len < room - at ? len : (size_t)(room - at);
	NBDS_ASSERT(e->bytes + at + n <= s->bytes + SEGMENT_BYTES);
	memcpy(s->bytes + (e->bytes - s->bytes) + at, data, n);
	atomic_store_explicit(&e->kept, (uint32_t)(at + n), memory_order_release);
}

void log_broken_off(struct log *log, uint64_t number)
{
	struct segment *s;
	struct log_entry *e = recent(log, number, &s);

	if (e)
		atomic_store_explicit(&e->broken_off, true, memory_order_relaxed);
}

void log_trouble(struct log *log, const struct nbds_connection *c, const struct nbds_trouble *t)
{
	const char *text = t->text ? t->text : "";
	size_t len = strnlen(text, 1000);
	struct segment *s;
	struct log_entry *e = entry_begin(log, (uint32_t)len + 1, &s);

	if (!e)
		return;
	e->trouble = true;
	e->trouble_kind = (uint8_t)t->kind;
	e->frame = e->last_frame = t->where.frame;
	e->time = t->where.time;
	e->connection = c->id;
	e->from = (uint8_t)t->side;
	e->offset = t->offset;
	e->payload_len = t->length;
	e->name = (const char *)keep(s, text, len);
	keep(s, "", 1);
	e->head = s->bytes;
	entry_end(log, s);
}

uint64_t log_total(const struct log *log)
{
	return atomic_load_explicit(&log->total, memory_order_acquire);
}

uint64_t log_lost(const struct log *log)
{
	return log->lost;
}

/* --- views --- */

void log_view_update(struct log *log, struct log_view *view)
{
	const struct segment *newest;
	unsigned keep_from = 0, n = 0;

	if (!view->segments) {
		NBDS_ASSERT(!view->count);
		view->segments = calloc(log->room, sizeof(*view->segments));
		if (!view->segments) {
			view->first = 1;
			view->last = 0;
			return;
		}
		view->room = log->room;
	}
	pthread_mutex_lock(&log->lock);
	/* Both lists are in the order of time: what the log has not dropped is the
	 * end of the view's and the beginning of the log's. */
	while (keep_from < view->count &&
	       (!log->count || view->segments[keep_from] != log->segments[0]))
		segment_unref(log, view->segments[keep_from++]);
	for (unsigned i = keep_from; i < view->count; i++)
		view->segments[n++] = view->segments[i];
	for (; n < log->count; n++) {
		view->segments[n] = log->segments[n];
		view->segments[n]->refs++;
	}
	pthread_mutex_unlock(&log->lock);
	view->count = n;
	view->first = 1;
	view->last = 0;
	if (!n)
		return;
	newest = view->segments[n - 1];
	view->first = view->segments[0]->first;
	view->last = newest->first + atomic_load_explicit(&newest->count, memory_order_acquire) - 1;
}

void log_view_close(struct log *log, struct log_view *view)
{
	pthread_mutex_lock(&log->lock);
	for (unsigned i = 0; i < view->count; i++)
		segment_unref(log, view->segments[i]);
	pthread_mutex_unlock(&log->lock);
	free(view->segments);
	memset(view, 0, sizeof(*view));
	view->first = 1;
}

const struct log_entry *log_view_get(const struct log_view *view, uint64_t number)
{
	unsigned low = 0, high = view->count;

	if (number < view->first || number > view->last)
		return NULL;
	/* The last segment that begins at or before it. */
	while (high - low > 1) {
		unsigned middle = low + (high - low) / 2;

		if (view->segments[middle]->first <= number)
			low = middle;
		else
			high = middle;
	}
	return &view->segments[low]->entries[number - view->segments[low]->first];
}

/* --- an entry --- */

void entry_message(const struct log_entry *e, struct nbds_message *m)
{
	memset(m, 0, sizeof(*m));
	m->type = (enum nbds_message_type)e->type;
	m->from = (enum nbds_side)e->from;
	m->flags = e->flags;
	if (atomic_load_explicit(&e->broken_off, memory_order_relaxed))
		m->flags |= NBDS_MSG_INCOMPLETE;
	m->name = e->name;
	m->offset = e->offset;
	m->head = e->head;
	m->head_len = e->head_len;
	m->payload = (enum nbds_payload)e->payload;
	m->payload_len = e->payload_len;
	m->first.frame = e->frame;
	m->last.frame = e->last_frame;
	m->first.time = m->last.time = e->time;
	m->u = e->detail;
	/* Nobody changes it: the decoder's own is not const for the sake of `user`. */
	m->request = e->has_request ? (struct nbds_request *)&e->request : NULL;
}

static void trouble_line(const struct log_entry *e, struct nbds_buf *b)
{
	nbds_buf_puts(b, nbds_trouble_words[e->trouble_kind]);
	if (e->payload_len) {
		nbds_buf_puts(b, ", ");
		nbds_buf_count(b, e->payload_len, "byte", NULL);
	}
	if (*e->name && e->trouble_kind != NBDS_TROUBLE_LOST)
		nbds_buf_printf(b, ": %s", e->name);
}

void entry_line(const struct log_entry *e, struct nbds_buf *b)
{
	struct nbds_message m;
	char text[1024];

	if (e->trouble) {
		trouble_line(e, b);
		return;
	}
	entry_message(e, &m);
	nbds_summary(&m, text, sizeof(text));
	nbds_buf_puts(b, text);
}
