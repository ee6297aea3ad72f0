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
	size_t n = rows->tracks.count, first = n > most ? n - most : 0;

	/* The newest: of what is older most has ended. */
	s->connection_count = s->export_count = 0;
	s->connections_left = first;
	s->connections_forgotten = rows->connections_forgotten;
	if (reserve(&s->connections, &s->connection_room, n - first, sizeof(*s->connections)))
		for (size_t i = first; i < n; i++)
			s->connections[s->connection_count++] = rows->tracks.at[i]->row;
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

void snapshot_findings(struct snapshot *s, const struct findings *findings)
{
	drop_findings(s);
	s->findings_forgotten = findings->forgotten;
	if (!reserve(&s->findings, &s->finding_room, findings->count, sizeof(*s->findings)))
		return;
	for (size_t i = 0; i < findings->count; i++) {
		s->findings[i] = findings->list[i];
		found_ref(s->findings[i]);
	}
	s->finding_count = findings->count;
}

static int by_request(const void *a, const void *b)
{
	const struct flush_shown *x = a, *y = b;

	return x->flush.request_frame < y->flush.request_frame   ? -1
	       : x->flush.request_frame > y->flush.request_frame ? 1
								 : 0;
}

/* The last flushes of all connections: each one's last ones are enough. */
static void flushes_make(struct snapshot *s, const struct rows *rows, const struct export_track *x)
{
	s->flush_count = 0;
	for (size_t i = 0; i < rows->tracks.count; i++) {
		const struct nbds_connection *c = rows->tracks.at[i]->c;

		if (rows->tracks.at[i]->x != x)
			continue;
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
		flushes_make(s, rows, x);
	nbds_buf_clear(&s->detail);
	s->outstanding_count = 0;
	if (!t)
		return;
	detail_put(&s->detail, t->c, t->row.ended);
	s->outstanding_count = nbds_connection_outstanding(t->c, s->outstanding, OUTSTANDING_SHOWN);
}

void snapshot_latency(struct snapshot *s, const struct rows *rows, struct latency_sum *sum)
{
	const struct wanted *want = &s->wanted;

	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++) {
		memset(sum, 0, sizeof(*sum));
		if (want->scope == SCOPE_ALL)
			*sum = rows->past[k];
		for (size_t i = 0; i < rows->tracks.count; i++) {
			const struct track *t = rows->tracks.at[i];

			if ((want->scope == SCOPE_CONNECTION && t->row.id != want->scope_id) ||
			    (want->scope == SCOPE_EXPORT && t->row.export != want->scope_id))
				continue;
			if (t->c->commands[k].latency)
				latency_merge(sum, t->c->commands[k].latency);
		}
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
