/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * snapshot.c - copies for the screen of what the worker has. See snapshot.h.
 */
#include "snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "detail.h"

static bool reserve(void *array, size_t *room, size_t count, size_t size)
{
	void **list = array, *more;

	if (count <= *room)
		return true;
	count += count / 2 + 16;
	more = reallocarray(*list, count, size);
	if (!more)
		return false;
	*list = more;
	*room = count;
	return true;
}

void snapshot_rows(struct snapshot *s, const struct rows *rows, size_t most)
{
	size_t n = rows->count < most ? rows->count : most, first;
	const struct nbds_list *at = &rows->all;

	/* The newest: of what is older most has ended. */
	s->connection_count = s->export_count = 0;
	s->connections_left = rows->count - n;
	s->connections_forgotten = rows->connections_forgotten;
	if (reserve(&s->connections, &s->connection_room, n, sizeof(*s->connections))) {
		s->connection_count = n;
		while (n) {
			at = at->previous;
			s->connections[--n] = nbds_owner(at, struct track, all)->row;
		}
	}
	n = rows->exports.count;
	first = n > most ? n - most : 0;
	if (reserve(&s->exports, &s->export_room, n - first, sizeof(*s->exports)))
		for (size_t i = first; i < n; i++)
			s->exports[s->export_count++] = rows->exports.at[i]->row;
}

static void drop_findings(struct snapshot *s)
{
	for (size_t i = 0; i < s->finding_count; i++)
		found_unref(s->findings[i]);
	s->finding_count = 0;
}

void snapshot_findings(struct snapshot *s, const struct found_all *findings)
{
	drop_findings(s);
	s->findings_forgotten = findings->forgotten;
	if (!reserve(&s->findings, &s->finding_room, findings->count, sizeof(*s->findings)))
		return;
	findings_list(findings, s->findings);
	for (size_t i = 0; i < findings->count; i++)
		found_ref(s->findings[i]);
	s->finding_count = findings->count;
}

static int by_request(const void *a, const void *b)
{
	const struct flush_shown *x = a, *y = b;

	return x->flush.request_frame < y->flush.request_frame   ? -1
	       : x->flush.request_frame > y->flush.request_frame ? 1
								 : 0;
}

/* The last flushes of all connections: they are of those that flushed last, of which
 * each has its own last ones. */
static void flushes_make(struct snapshot *s, const struct export_track *x)
{
	unsigned flushers = 0;

	s->flush_count = 0;
	for (const struct nbds_list *n = x->flushers.previous;
	     n != &x->flushers && flushers < FLUSHES_SHOWN; n = n->previous, flushers++) {
		const struct nbds_connection *c = nbds_owner(n, struct track, flusher)->c;

		for (unsigned k = c->flush_kept; k-- > 0;) {
			struct flush_shown row = {c->id, c->flushes[k]};
			unsigned at = s->flush_count;

			if (at == FLUSHES_SHOWN) {
				/* The oldest one of all is the first one. */
				qsort(s->flushes, at, sizeof(row), by_request);
				if (row.flush.request_frame <= s->flushes[0].flush.request_frame)
					break;
				at = 0;
			} else {
				s->flush_count++;
			}
			s->flushes[at] = row;
		}
	}
	qsort(s->flushes, s->flush_count, sizeof(s->flushes[0]), by_request);
}

void snapshot_wanted(struct snapshot *s, const struct rows *rows)
{
	const struct track *t = rows_track(rows, s->wanted.connection);
	const struct export_track *x = rows_export(rows, s->wanted.export);

	if (x && x->order)
		s->order = *x->order;
	else
		order_init(&s->order);
	s->flush_count = 0;
	if (x)
		flushes_make(s, x);
	x = rows_export(rows, s->wanted.history);
	if (x && x->history) {
		s->history = *x->history;
		history_settle(&s->history);
	} else {
		history_init(&s->history, false);
	}
	nbds_buf_clear(&s->detail);
	s->outstanding_count = 0;
	if (!t)
		return;
	detail_put(&s->detail, t->c, t->row.ended);
	s->outstanding_count = nbds_connection_outstanding(t->c, s->outstanding, OUTSTANDING_SHOWN);
}

static void sum_latencies(struct latency_sum *sum, const struct rows *rows,
			  const struct wanted *want, unsigned kind)
{
	const struct export_track *x = rows_export(rows, want->scope_id);
	const struct track *t = rows_track(rows, want->scope_id);

	const struct nbds_latency *of = NULL;

	memset(sum, 0, sizeof(*sum));
	switch (want->scope) {
	case SCOPE_ALL:
		of = rows->took[kind];
		break;
	case SCOPE_EXPORT:
		of = x ? x->took[kind] : NULL;
		break;
	case SCOPE_CONNECTION:
		of = t ? t->c->commands[kind].latency : NULL;
		break;
	}
	if (of)
		latency_merge(sum, of);
}

void snapshot_latency(struct snapshot *s, const struct rows *rows, struct latency_sum *sum)
{
	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++) {
		sum_latencies(sum, rows, &s->wanted, k);
		histogram_make(&s->histograms[k], sum);
	}
}

void snapshot_free(struct snapshot *s)
{
	drop_findings(s);
	free(s->findings);
	free(s->connections);
	free(s->exports);
	nbds_buf_free(&s->detail);
}
