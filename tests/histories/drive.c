// SPDX-License-Identifier: GPL-2.0-or-later
// Feeds a history to the engine.

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <base/budget.h>

#include "drive.h"

#define PORTS 8

// The margin of order, ns, as long as nothing is known of a larger one.
#define MARGIN_FIRST 1000

struct driver {
	struct driven *out;
	const struct history *h;
	const struct drive_options *options;
	struct nbds_world *worlds[PORTS]; // one a port; NULL: there is none
	struct nbds_party **parties;
	struct nbds_op **ops;
	struct h_event *events;
	size_t event_count;
	struct h_offsets *offsets;
	uint64_t random;
};

static unsigned draw(struct driver *d, unsigned below)
{
	d->random ^= d->random << 13;
	d->random ^= d->random >> 7;
	d->random ^= d->random << 17;
	return (unsigned)((d->random >> 32) % below);
}

static struct nbds_point point(const struct driver *d, int64_t at)
{
	struct nbds_point p = {.frame = h_frame(d->events, d->event_count, at), .time = at * 1000};

	return p;
}

static int command_at(const struct driver *d, uint64_t frame)
{
	for (int i = 0; i < d->h->command_count && frame; i++) {
		if (h_frame(d->events, d->event_count, d->h->commands[i].request) == frame)
			return i;
	}
	return -1;
}

// The command that a finding names by the frame of its request, and perhaps of its reply.
static int named(struct driver *d, const struct nbds_finding *f, enum nbds_role request,
		 enum nbds_role reply)
{
	int c = command_at(d, f->frames[request]);

	if (f->frames[request] && c < 0)
		snprintf(d->out->trouble, sizeof(d->out->trouble),
			 "%s: %s: frame %" PRIu64 " is no request's", f->rule->name,
			 nbds_role_names[request], f->frames[request]);
	if (c >= 0 && reply != NBDS_ROLE_MAX && f->frames[reply] &&
	    f->frames[reply] != h_frame(d->events, d->event_count, d->h->commands[c].reply))
		snprintf(d->out->trouble, sizeof(d->out->trouble),
			 "%s: %s: frame %" PRIu64 " is not the reply's", f->rule->name,
			 nbds_role_names[reply], f->frames[reply]);
	return c;
}

static void found(void *ctx, const struct nbds_finding *f)
{
	struct driver *d = ctx;
	struct driven *out = d->out;
	int command, rule;
	struct drive_finding *r;
	const struct h_command *c;
	bool of_write;

	for (rule = 0; rule < REF_RULES; rule++) {
		if (!strcmp(ref_rule_names[rule], f->rule->name))
			break;
	}
	if (rule == REF_RULES)
		return; // about flushes and clients, not about reads
	of_write = rule == REF_V7 || rule == REF_V8;
	command = command_at(
		d, f->frames[of_write ? NBDS_ROLE_WRITE_REQUEST : NBDS_ROLE_READ_REQUEST]);
	if (command < 0) {
		snprintf(out->trouble, sizeof(out->trouble),
			 "%s: its request frame is no command's", f->rule->name);
		return;
	}
	c = &d->h->commands[command];
	if (f->connection != (uint32_t)c->connection + 1)
		snprintf(out->trouble, sizeof(out->trouble),
			 "%s: connection %u is not the command's", f->rule->name, f->connection);
	if (!of_write && f->frames[NBDS_ROLE_READ] != h_frame(d->events, d->event_count, c->reply))
		snprintf(out->trouble, sizeof(out->trouble),
			 "%s: frame %" PRIu64 " is not the reply's", f->rule->name,
			 f->frames[NBDS_ROLE_READ]);
	r = &out->verdicts[command].findings[rule];
	if (r->found)
		snprintf(out->trouble, sizeof(out->trouble), "%s: told twice of one command",
			 f->rule->name);
	if (!r->sectors)
		r->sectors = calloc(c->sectors + 1, sizeof(*r->sectors));
	r->severity = f->severity;
	r->found = true;
	r->write = named(d, f, NBDS_ROLE_WRITE_REQUEST, NBDS_ROLE_WRITE);
	r->stale = named(d, f, NBDS_ROLE_STALE_WRITE, NBDS_ROLE_MAX);
	r->flush = named(d, f, NBDS_ROLE_FLUSH_REQUEST, NBDS_ROLE_FLUSH);
	if (f->has_range && r->sectors) {
		for (unsigned s = 0; s < c->sectors; s++) {
			uint64_t from, to;

			h_cell_range(c, s, &from, &to);
			if (from < f->offset + f->length && f->offset < to)
				r->sectors[s] = true;
		}
	}
	if ((int)f->severity > out->message_severity) {
		out->message_severity = (int)f->severity;
		snprintf(out->message, sizeof(out->message), "%s", f->message ? f->message : "");
	}
}

static bool any_lost(const struct h_content *content)
{
	bool lost = false;

	for (unsigned p = 0; p < content->pieces; p++)
		lost |= content->value[p] == H_LOST;
	return lost;
}

static void request(struct driver *d, int index)
{
	const struct h_command *c = &d->h->commands[index];
	const struct h_offsets *o = &d->offsets[index];
	struct nbds_request_order order = {
		.lo = point(d, c->request),
		.header_end = o->header_end,
		.acked = o->request_acked,
		.ambiguous = c->ambiguous,
		.illegal = c->illegal,
	};
	uint8_t buffer[64 * H_SECTOR];
	struct nbds_op *op;

	order.frame = order.lo.frame;
	op = nbds_world_request(d->parties[c->connection], c->type, c->flags, c->offset, c->length,
				&order);
	d->ops[index] = op;
	if (!op || c->type != NBD_CMD_WRITE)
		return;
	for (unsigned s = 0; s < c->sectors; s++) {
		const struct h_content *content = &c->cells[s].content;
		uint64_t from, to, base = (h_first_sector(c) + s) * H_SECTOR;
		unsigned more = 0;

		h_cell_range(c, s, &from, &to);
		h_fill(content, buffer);
		// whole sectors that follow each other, in one piece
		while (s + more < c->sectors && (more + 1) * H_SECTOR <= sizeof(buffer) &&
		       !any_lost(&c->cells[s + more].content)) {
			h_cell_range(c, s + more, &(uint64_t){0}, &to);
			h_fill(&c->cells[s + more].content, buffer + more * H_SECTOR);
			more++;
		}
		if (more)
			s += more - 1;
		while (from < to) {
			bool lost = !more && h_value_at(content, (unsigned)(from - base)) == H_LOST;
			uint64_t n = more ? to - from : 1;

			while (from + n < to &&
			       (h_value_at(content, (unsigned)(from + n - base)) == H_LOST) == lost)
				n++;
			if (d->options->chop && n > 1)
				n = 1 + draw(d, (unsigned)n);
			if (!lost)
				nbds_op_write_data(op, from - c->offset, buffer + (from - base), n);
			from += n;
		}
	}
	nbds_op_write_end(op);
}

// What was seen of the command's answer at this instant.
static void answer(struct driver *d, int index, int64_t at)
{
	const struct h_command *c = &d->h->commands[index];
	struct nbds_point hi = point(d, at);
	uint8_t buffer[64 * H_SECTOR];
	unsigned s = 0;

	while (s < c->sectors) {
		uint64_t from, to, end, base;
		unsigned first = s, n;

		if (c->cells[s].seen != at) {
			s++;
			continue;
		}
		h_cell_range(c, s, &from, &end);
		base = (h_first_sector(c) + s) * H_SECTOR;
		if (c->type == NBD_CMD_BLOCK_STATUS) {
			while (s + 1 < c->sectors && c->cells[s + 1].seen == at &&
			       c->cells[s + 1].status == c->cells[first].status)
				s++;
			h_cell_range(c, s, &to, &end);
			nbds_op_status_extent(d->ops[index], from, end - from,
					      c->cells[first].status, &hi);
			s++;
			continue;
		}
		// a run of sectors, all of zeroes for a hole
		bool hole = c->cookie % 3 == 0 && c->cells[s].content.pieces == 1 &&
			    c->cells[s].content.value[0] == 0;
		for (n = 0; s < c->sectors && c->cells[s].seen == at && n < 64; n++, s++) {
			const struct h_content *content = &c->cells[s].content;
			bool lost = any_lost(content);

			if (lost && n)
				break;
			if (hole && (content->pieces != 1 || content->value[0] != 0))
				break;
			h_cell_range(c, s, &to, &end);
			h_fill(content, buffer + n * H_SECTOR);
			if (lost) { // the captured pieces, each on its own
				uint64_t start = to;

				while (start < end) {
					unsigned byte = (unsigned)(start % H_SECTOR);
					uint64_t stop = start;
					bool gone = h_value_at(content, byte) == H_LOST;

					while (stop < end &&
					       (h_value_at(content, (unsigned)(stop % H_SECTOR)) ==
						H_LOST) == gone)
						stop++;
					if (!gone)
						nbds_op_read_data(d->ops[index], start,
								  buffer + byte, stop - start, &hi);
					start = stop;
				}
				s++;
				n = 0;
				break;
			}
		}
		if (!n)
			continue;
		if (hole) {
			nbds_op_read_hole(d->ops[index], from, end - from, &hi);
			continue;
		}
		while (from < end) {
			uint64_t length = end - from;

			if (d->options->chop)
				length = 1 + draw(d, (unsigned)length);
			nbds_op_read_data(d->ops[index], from, buffer + (from - base), length, &hi);
			from += length;
		}
	}
}

static void reply(struct driver *d, int index)
{
	const struct h_command *c = &d->h->commands[index];
	struct nbds_reply_order order = {
		.hi = point(d, c->reply),
		.status_end = d->offsets[index].status_end,
		.acked = d->offsets[index].reply_acked,
	};

	if (!d->ops[index])
		return;
	order.frame = order.hi.frame;
	answer(d, index, c->reply);
	if (c->outcome == H_OPEN || c->ambiguous)
		nbds_op_open(d->ops[index]);
	else
		nbds_op_reply(d->ops[index], c->outcome == H_OK ? 0 : c->error, &order);
	d->ops[index] = NULL;
}

static void end(struct driver *d, int connection)
{
	const struct h_connection *k = &d->h->connections[connection];
	struct nbds_point at;

	for (int i = 0; i < d->h->command_count; i++) {
		if (d->h->commands[i].connection == connection && d->ops[i]) {
			nbds_op_open(d->ops[i]);
			d->ops[i] = NULL;
		}
	}
	at = point(d, k->end);
	nbds_party_end(d->parties[connection], &at);
	// A gap or TLS may come to light later.
	if (k->gap_noticed == H_NEVER && k->tls == H_NEVER) {
		nbds_party_leave(d->parties[connection]);
		d->parties[connection] = NULL;
	}
}

static void connect_party(struct driver *d, int connection)
{
	const struct h_connection *k = &d->h->connections[connection];
	struct nbds_point at = point(d, k->connect);

	d->parties[connection] = nbds_world_connect(d->worlds[k->port], (uint32_t)connection + 1,
						    k->from_start, &at);
	nbds_party_heard(d->parties[connection], &at); // its greeting
	nbds_party_export(d->parties[connection], k->export_name, strlen(k->export_name), k->size,
			  k->flags, k->known);
}

// A world for the port, if there is none yet. All ports are of one host.
static void open_port(struct driver *d, struct nbds_world_config config, int port)
{
	static const struct nbds_world_ops ops = {.finding = found};

	if (d->worlds[port])
		return;
	snprintf(config.server, sizeof(config.server), "192.0.2.1:%d", 10809 + port);
	d->worlds[port] = nbds_world_new(&config, &ops, d);
	if (!d->worlds[port]) {
		perror("histories");
		exit(2);
	}
}

// The order is not to be trusted as far as it was: something came in the wrong one.
static void doubt_order(struct driver *d)
{
	for (int port = 0; port < PORTS; port++)
		if (d->worlds[port])
			nbds_world_inversion(d->worlds[port], d->h->epsilon * 1000 / 2);
}

// Passes the last verdicts of the port's world, and counts.
static void close_port(struct driver *d, int port)
{
	struct nbds_world_stats stats, *sum = &d->out->stats;

	nbds_world_finish(d->worlds[port]);
	nbds_world_stats(d->worlds[port], &stats);
	sum->reads += stats.reads;
	sum->checked_bytes += stats.checked_bytes;
	sum->pruned += stats.pruned;
	for (unsigned i = 0; i < NBDS_UNCHECKED_MAX; i++)
		sum->unchecked[i] += stats.unchecked[i];
}

void drive(struct driven *out, const struct history *h, const struct drive_options *options)
{
	struct nbds_budget budget = {0};
	struct nbds_world_config config = {
		.kin = nbds_kin_new(&budget),
		.epsilon = options->doubt ? MARGIN_FIRST : h->epsilon * 1000,
		.settle = options->ticking ? 0 : INT64_MAX,
		.exclusive = h->exclusive,
		.memory = options->memory,
	};
	struct driver d = {.out = out,
			   .h = h,
			   .options = options,
			   .random = options->chop * 0x9e3779b97f4a7c15u + 1};

	memset(out, 0, sizeof(*out));
	out->message_severity = -1;
	out->count = h->command_count;
	out->verdicts = calloc((size_t)h->command_count + 1, sizeof(*out->verdicts));
	d.parties = calloc((size_t)h->connection_count + 1, sizeof(*d.parties));
	d.ops = calloc((size_t)h->command_count + 1, sizeof(*d.ops));
	if (!out->verdicts || !d.parties || !d.ops || !config.kin) {
		perror("histories");
		exit(2);
	}
	for (int k = 0; k < h->connection_count; k++)
		open_port(&d, config, h->connections[k].port);
	d.offsets = h_stream_offsets(h);
	d.events = h_events(h, &d.event_count);
	for (size_t i = 0; i < d.event_count; i++) {
		const struct h_event *e = &d.events[i];
		struct nbds_point at = point(&d, e->at);

		if (options->doubt && i == d.event_count * options->doubt / 1000)
			doubt_order(&d);
		for (int port = 0; port < PORTS && options->ticking; port++)
			if (d.worlds[port])
				nbds_world_tick(d.worlds[port], at.time);
		switch (e->kind) {
		case H_EVENT_CONNECT:
			connect_party(&d, e->index);
			break;
		case H_EVENT_REQUEST:
			request(&d, e->index);
			break;
		case H_EVENT_DATA:
			if (d.ops[e->index])
				answer(&d, e->index, e->at);
			break;
		case H_EVENT_REPLY:
			reply(&d, e->index);
			break;
		case H_EVENT_GAP:
			at = point(&d, h->connections[e->index].gap_since);
			if (!at.frame) { // no event then: the last frame before
				size_t before = 0;

				while (before < d.event_count &&
				       d.events[before].at < at.time / 1000)
					before++;
				at.frame = before;
			}
			nbds_party_gap(d.parties[e->index], &at);
			break;
		case H_EVENT_TLS:
			nbds_party_opaque(d.parties[e->index], &at);
			break;
		case H_EVENT_END:
			end(&d, e->index);
			break;
		}
	}
	for (int i = 0; i < h->command_count; i++) {
		if (d.ops[i])
			nbds_op_open(d.ops[i]);
	}
	if (options->doubt >= 1000)
		doubt_order(&d);
	for (int port = 0; port < PORTS; port++)
		if (d.worlds[port])
			close_port(&d, port);
	for (int port = 0; port < PORTS; port++)
		if (d.worlds[port])
			nbds_world_free(d.worlds[port]);
	nbds_kin_free(config.kin);
	free(d.parties);
	free(d.ops);
	free(d.events);
	free(d.offsets);
}

void drive_free(struct driven *d)
{
	for (int i = 0; i < d->count; i++) {
		for (int rule = 0; rule < REF_RULES; rule++)
			free(d->verdicts[i].findings[rule].sectors);
	}
	free(d->verdicts);
	memset(d, 0, sizeof(*d));
}
