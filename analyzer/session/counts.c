/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Running totals of all connections: see nbdscope/counts.h.
 */
#include <string.h>

#include "internal.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

const uint64_t nbds_counts_bounds[NBDS_COUNTS_BOUNDS] = {
	10 * US,   25 * US, 50 * US,   100 * US, 250 * US, 500 * US, 1 * MS,
	2500 * US, 5 * MS,  10 * MS,   25 * MS,  50 * MS,  100 * MS, 250 * MS,
	500 * MS,  1 * S,   2500 * MS, 5 * S,    10 * S,   30 * S,
};

void nbds_engine_count(struct nbds_engine *e, struct nbds_counts *counts)
{
	e->counts = counts;
	e->findings.counts = counts;
	e->servers.config.tally = nbds_unflushed_sum_new(&e->budget);
	servers_sum(&e->servers);
	counts->before.read_bytes = counts->read_bytes;
	counts->before.checked_reads = counts->checked_reads;
	counts->before.checked_bytes = counts->checked_bytes;
	memcpy(counts->before.unchecked, counts->unchecked, sizeof(counts->unchecked));
}

/* What was judged may be taken back when it becomes known that bytes were missing: what was
 * counted stays, until there is more. */
static void grow(uint64_t *count, uint64_t to)
{
	if (to > *count)
		*count = to;
}

void nbds_engine_count_now(struct nbds_engine *e)
{
	const struct nbds_world_stats *sum = &e->servers.sum;
	struct nbds_counts *counts = e->counts;
	struct nbds_unflushed u = {0};

	_Static_assert(NBDS_UNCHECKED_MAX <= NBDS_COUNTS_UNCHECKED, "no room for all reasons");
	if (!counts)
		return;
	if (e->servers.config.tally)
		nbds_unflushed_sum_now(e->servers.config.tally, &u);
	counts->unflushed_writes = u.writes;
	counts->unflushed_bytes = u.bytes;
	counts->unflushed_since = u.since;
	grow(&counts->read_bytes, counts->before.read_bytes + e->read_bytes);
	grow(&counts->checked_reads, counts->before.checked_reads + sum->reads);
	grow(&counts->checked_bytes, counts->before.checked_bytes + sum->checked_bytes);
	for (unsigned i = 0; i < NBDS_UNCHECKED_MAX; i++)
		grow(&counts->unchecked[i], counts->before.unchecked[i] + sum->unchecked[i]);
	counts->memory = e->budget.used;
}

const char *nbds_unchecked_name(unsigned number)
{
	return number < NBDS_UNCHECKED_MAX ? nbds_unchecked_names[number] : NULL;
}

void counts_opened(struct session *s)
{
	if (s->engine->counts)
		s->engine->counts->connections++;
}

void counts_ended(struct session *s)
{
	struct nbds_counts *counts = s->engine->counts;

	if (!counts || !s->announced)
		return;
	counts->ended[s->c.end]++;
	counts->given_up += s->c.given_up;
}

static struct nbds_command_counts *command(struct nbds_counts *counts, uint16_t type)
{
	return &counts->commands[type < NBDS_COMMAND_KINDS - 1 ? type : NBDS_COMMAND_KINDS - 1];
}

void counts_request(struct nbds_counts *counts, const struct nbds_request *r)
{
	struct nbds_command_counts *c = command(counts, r->type);

	c->requests++;
	c->bytes += r->length;
	c->fua += !!(r->flags & NBD_CMD_FLAG_FUA);
	counts->in_flight += r->type != NBD_CMD_DISC;
}

static void time_it(struct nbds_command_counts *c, uint64_t took)
{
	unsigned from = 0, to = NBDS_COUNTS_BOUNDS;

	/* the first bound that is not less */
	while (from < to) {
		unsigned middle = (from + to) / 2;

		if (nbds_counts_bounds[middle] < took)
			from = middle + 1;
		else
			to = middle;
	}
	c->timed++;
	c->time += took;
	c->buckets[from]++;
}

static void count_error(struct nbds_command_counts *c, uint32_t error)
{
	size_t i = 0;

	NBDS_ASSERT(nbds_errors.count < NBDS_COUNTS_ERRORS);
	while (i < nbds_errors.count && nbds_errors.entries[i].value != error)
		i++;
	c->errors[i < NBDS_COUNTS_ERRORS ? i : NBDS_COUNTS_ERRORS - 1]++;
}

void counts_answered(struct nbds_counts *counts, const struct nbds_request *r, int64_t took)
{
	struct nbds_command_counts *c = command(counts, r->type);

	c->replies++;
	if (r->error)
		count_error(c, r->first_error);
	else if (r->type == NBD_CMD_READ)
		c->data_bytes += r->data_bytes;
	else if (r->type == NBD_CMD_WRITE)
		c->data_bytes += r->length;
	if (took >= 0)
		time_it(c, (uint64_t)took);
}

void counts_bytes(struct session *s, enum nbds_side side)
{
	struct nbds_accounting a;

	if (!nbds_decoder_negotiated(s->decoder)->tls)
		return;
	nbds_decoder_accounting(s->decoder, side, &a);
	if (a.tls && !s->tls_counted[0] && !s->tls_counted[1])
		s->engine->counts->encrypted++;
	s->engine->counts->encrypted_bytes += a.tls - s->tls_counted[side];
	s->tls_counted[side] = a.tls;
}
