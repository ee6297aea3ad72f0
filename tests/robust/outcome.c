/* SPDX-License-Identifier: GPL-2.0-or-later */
/* outcome.c - see outcome.h. */
#include "outcome.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analyzer/pipeline/pipeline.h"

static uint64_t origin(const struct outcome *o, uint64_t frame)
{
	if (!o->packets || !frame)
		return frame;
	return frame <= o->packet_count ? o->packets[frame - 1].origin : UINT64_MAX;
}

static char *copy(const char *s, size_t len)
{
	char *c = malloc(len + 1);

	if (!c)
		abort();
	if (len)
		memcpy(c, s, len);
	c[len] = '\0';
	return c;
}

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct outcome *o = ctx;
	struct said *s;

	if (o->count == o->room) {
		o->room = o->room ? o->room * 2 : 16;
		o->list = realloc(o->list, o->room * sizeof(*o->list));
		if (!o->list)
			abort();
	}
	s = &o->list[o->count++];
	*s = (struct said){.rule = f->rule,
			   .severity = f->severity,
			   .connection = f->connection,
			   .has_range = f->has_range,
			   .offset = f->offset,
			   .length = f->length,
			   .count = f->count,
			   .named = f->export_name,
			   .export_name_len = f->export_name ? f->export_name_len : 0};
	for (unsigned i = 0; i < NBDS_ROLE_MAX; i++)
		s->frames[i] = origin(o, f->frames[i]);
	s->export_name = copy(f->export_name, s->export_name_len);
	s->message = copy(f->message, f->message ? strlen(f->message) : 0);
}

static void on_message(void *ctx, struct nbds_connection *c, const struct nbds_message *m)
{
	struct outcome *o = ctx;
	uint64_t parts[] = {c->id, m->type, m->from, m->offset, origin(o, m->first.frame)};
	uint64_t hash = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		hash = (hash ^ parts[i]) * UINT64_C(0x9fb21c651e98df25);
		hash ^= hash >> 29;
	}
	/* in any order: how long a reply waits for its request is counted in frames */
	o->messages++;
	o->message_hash += hash;
}

/* --- do the numbers add up? ---------------------------------------------- */

static void check_connection(struct outcome *o, const struct nbds_connection *c)
{
	static const char *const sides[] = {"client", "server"};
	uint64_t lost = 0;

	if (o->wrong[0])
		return;
	for (unsigned i = 0; i < 2; i++) {
		const struct nbds_accounting *a = &c->bytes[i];
		uint64_t sum = a->decoded + a->lost + a->nonsense + a->skipped + a->tls +
			       a->after_end + a->trailing;

		lost += a->lost;
		if (a->fed != sum) {
			snprintf(o->wrong, sizeof(o->wrong),
				 "conn %" PRIu32 ", %s: %" PRIu64 " bytes fed, yet %" PRIu64
				 " decoded + %" PRIu64 " lost + %" PRIu64 " nonsense + %" PRIu64
				 " skipped + %" PRIu64 " TLS + %" PRIu64 " after the end + %" PRIu64
				 " trailing = %" PRIu64,
				 c->id, sides[i], a->fed, a->decoded, a->lost, a->nonsense,
				 a->skipped, a->tls, a->after_end, a->trailing, sum);
			return;
		}
	}
	if (lost > c->gap_bytes)
		snprintf(o->wrong, sizeof(o->wrong),
			 "conn %" PRIu32 ": %" PRIu64 " bytes lost in gaps of %" PRIu64, c->id,
			 lost, c->gap_bytes);
	else if (c->snaplen_bytes > c->gap_bytes)
		snprintf(o->wrong, sizeof(o->wrong),
			 "conn %" PRIu32 ": %" PRIu64 " of %" PRIu64 " gap bytes cut by snaplen",
			 c->id, c->snaplen_bytes, c->gap_bytes);
	else if (c->requests != c->replies + c->unanswered)
		snprintf(o->wrong, sizeof(o->wrong),
			 "conn %" PRIu32 ": %" PRIu64 " requests, yet %" PRIu64
			 " answered and %" PRIu64 " not",
			 c->id, c->requests, c->replies, c->unanswered);
	else if (c->in_flight)
		snprintf(o->wrong, sizeof(o->wrong),
			 "conn %" PRIu32 ": %" PRIu64 " requests in flight after the end", c->id,
			 c->in_flight);
}

static void check(struct outcome *o, struct nbds_pipeline *p)
{
	struct nbds_engine *e = nbds_pipeline_engine(p);
	struct nbds_pipeline_info info;
	uint64_t fed = 0, told[4] = {0};
	uint32_t connections = 0;

	nbds_engine_totals(e, &o->totals);
	nbds_pipeline_info(p, &info);
	o->held = info.tcp.held_max;
	for (const struct nbds_connection *c = nbds_engine_next_connection(e, 0); c;
	     c = nbds_engine_next_connection(e, c->id)) {
		connections++;
		fed += c->bytes[0].fed + c->bytes[1].fed;
		check_connection(o, c);
		for (size_t i = 0; i < o->count; i++) {
			if (o->list[i].connection != c->id)
				continue;
			o->list[i].client = c->client;
			o->list[i].server = c->server;
		}
	}
	for (size_t i = 0; i < o->count; i++)
		told[o->list[i].severity] += o->list[i].count;
	if (o->wrong[0])
		return;
	if (connections != o->totals.connections)
		snprintf(o->wrong, sizeof(o->wrong), "%" PRIu32 " connections of %" PRIu32,
			 connections, o->totals.connections);
	else if (fed > info.tcp.bytes + info.tcp.gap_bytes)
		snprintf(o->wrong, sizeof(o->wrong),
			 "%" PRIu64 " bytes fed to decoders, of %" PRIu64 " and %" PRIu64
			 " of gaps",
			 fed, info.tcp.bytes, info.tcp.gap_bytes);
	else if (memcmp(told, o->totals.findings, sizeof(told)) != 0)
		snprintf(o->wrong, sizeof(o->wrong), "findings told and counted differ");
	else if (info.tcp.held_now)
		snprintf(o->wrong, sizeof(o->wrong), "%" PRIu64 " bytes still held after the end",
			 info.tcp.held_now);
}

/* --- running ------------------------------------------------------------- */

static bool exclusive;

void outcome_exclusive(bool on)
{
	exclusive = on;
}

static const struct nbds_pipeline_config *config_of(struct outcome *o)
{
	static struct nbds_pipeline_config config;

	memset(o, 0, sizeof(*o));
	config =
		(struct nbds_pipeline_config){.engine.exclusive = exclusive,
					      .ops = {.finding = on_finding, .message = on_message},
					      .ctx = o};
	return &config;
}

void outcome_of(struct outcome *o, const struct packet *packets, size_t count)
{
	const struct nbds_pipeline_config *config = config_of(o);
	struct nbds_pipeline *p;
	char err[128];

	uint32_t interfaces = 0;

	o->packets = packets;
	o->packet_count = count;
	p = nbds_pipeline_open_packets(config, err, sizeof(err));
	if (!p)
		abort();
	for (size_t i = 0; i < count; i++)
		if (packets[i].interface >= interfaces)
			interfaces = packets[i].interface + 1;
	nbds_engine_interfaces(nbds_pipeline_engine(p), interfaces);
	for (size_t i = 0; i < count; i++) {
		struct nbds_packet q = {.frame = i + 1,
					.time = packets[i].time,
					.caplen = packets[i].caplen,
					.len = packets[i].len,
					.interface = packets[i].interface,
					.linktype = packets[i].linktype,
					.data = packets[i].data};

		nbds_pipeline_packet(p, &q);
	}
	nbds_pipeline_finish(p);
	check(o, p);
	nbds_pipeline_close(p, NULL, 0);
	o->packets = NULL;
}

bool outcome_of_file(struct outcome *o, const char *path, uint64_t frames)
{
	const struct nbds_pipeline_config *config = config_of(o);
	struct nbds_pipeline_info info;
	struct nbds_pipeline *p;

	p = nbds_pipeline_open(path, config, o->wrong, sizeof(o->wrong));
	if (!p)
		return false;
	while (nbds_pipeline_step(p, 512) <= NBDS_STEP_IDLE)
		;
	check(o, p);
	nbds_pipeline_info(p, &info);
	if (info.capture.frames != frames && !o->wrong[0])
		snprintf(o->wrong, sizeof(o->wrong),
			 "%" PRIu64 " frames were read, %" PRIu64 " are there", info.capture.frames,
			 frames);
	nbds_pipeline_close(p, NULL, 0);
	return true;
}

void outcome_free(struct outcome *o)
{
	for (size_t i = 0; i < o->count; i++) {
		free(o->list[i].export_name);
		free(o->list[i].message);
	}
	free(o->list);
	memset(o, 0, sizeof(*o));
}

/* --- comparing ----------------------------------------------------------- */

/* Which command it is about: the frame of its request, or of what there is. */
static uint64_t identity(const struct said *s)
{
	/* of a message that breaks a rule, what it answers can be among what was lost */
	static const enum nbds_role roles[] = {NBDS_ROLE_READ_REQUEST, NBDS_ROLE_MESSAGE,
					       NBDS_ROLE_REQUEST, NBDS_ROLE_WRITE_REQUEST,
					       NBDS_ROLE_FLUSH_REQUEST};

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++)
		if (s->frames[roles[i]])
			return s->frames[roles[i]];
	return 0;
}

static bool same_place(const struct said *a, const struct said *b)
{
	return identity(a) == identity(b) && nbds_addr_equal(&a->client, &b->client) &&
	       nbds_addr_equal(&a->server, &b->server) &&
	       /* the name of the export can be among what was lost */
	       (!a->named || !b->named ||
		(a->export_name_len == b->export_name_len &&
		 memcmp(a->export_name, b->export_name, a->export_name_len) == 0));
}

/* Rank among the rules of which a read is told only the first, or 0. */
static unsigned rank(const struct said *s)
{
	static const char *const order[] = {"stale-read-after-flush", "stale-read-after-fua",
					    "zeroes-not-read-back", "stale-read-own-write"};

	for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		if (strcmp(s->rule->name, order[i]) == 0)
			return i + 1;
	return 0;
}

static bool inside(const struct said *a, const struct said *b)
{
	/* what a reply answers can be among what was lost */
	if (!a->has_range || !b->has_range)
		return !a->has_range;
	return a->offset >= b->offset && a->length <= b->length &&
	       a->offset - b->offset <= b->length - a->length;
}

static bool overlap(const struct said *a, const struct said *b)
{
	return a->has_range && b->has_range && a->offset < b->offset + b->length &&
	       b->offset < a->offset + a->length;
}

const struct said *outcome_new_violation(const struct outcome *o, const struct outcome *whole,
					 uint64_t *weaker)
{
	for (size_t i = 0; i < o->count; i++) {
		const struct said *s = &o->list[i];
		bool known = false, weak = false;

		/* a hazard, but one that names a server's fault */
		if (strcmp(s->rule->name, "cache-flag-at-bit-8") == 0) {
			for (size_t k = 0; k < whole->count && !known; k++)
				known = whole->list[k].rule == s->rule &&
					nbds_addr_equal(&s->server, &whole->list[k].server);
			if (!known)
				return s;
			continue;
		}
		if (s->severity != NBDS_VIOLATION)
			continue;
		for (size_t k = 0; k < whole->count && !known; k++) {
			const struct said *w = &whole->list[k];

			/* two reads contradict each other: which of them is wrong may be
			 * known of the whole capture */
			if (w->severity == NBDS_VIOLATION && overlap(s, w) &&
			    strcmp(s->rule->name, "unstable-read") == 0 &&
			    nbds_addr_equal(&s->client, &w->client))
				weak = true;
			if (!same_place(s, w))
				continue;
			/* wrong data either way: here the old contents that they are had
			 * been dropped to make room, there they are still known */
			if (rank(s) && strcmp(w->rule->name, "read-unexplained-data") == 0)
				weak |= inside(s, w);
			if (w->severity != NBDS_VIOLATION)
				continue;
			known = s->rule == w->rule && inside(s, w);
			weak |= rank(w) && rank(w) < rank(s);
		}
		if (!known && !weak)
			return s;
		*weaker += !known;
	}
	return NULL;
}

const struct said *outcome_new_breach(const struct outcome *o, const struct outcome *whole)
{
	for (size_t i = 0; i < o->count; i++) {
		const struct said *s = &o->list[i];
		bool known = false;

		/* rows of the catalogue are called H-01 and so on */
		if (s->severity == NBDS_NOTE || s->rule->ref[1] != '-')
			continue;
		for (size_t k = 0; k < whole->count && !known; k++)
			known = strcmp(whole->list[k].rule->ref, s->rule->ref) == 0 ||
				(whole->list[k].severity >= s->severity &&
				 whole->list[k].rule->side == s->rule->side);
		if (!known)
			return s;
	}
	return NULL;
}

static bool equal(const struct said *a, const struct said *b)
{
	return a->rule == b->rule && a->severity == b->severity && same_place(a, b) &&
	       memcmp(a->frames, b->frames, sizeof(a->frames)) == 0 &&
	       a->has_range == b->has_range && a->offset == b->offset && a->length == b->length &&
	       a->count == b->count;
}

static const struct said *missing(const struct outcome *a, const struct outcome *b)
{
	for (size_t i = 0; i < a->count; i++) {
		bool found = false;

		/* hazards are told against old contents only as long as these are
		 * known, which may be for a little longer or not as long */
		if (a->list[i].severity < NBDS_SUSPECT)
			continue;

		for (size_t k = 0; k < b->count && !found; k++)
			found = equal(&a->list[i], &b->list[k]);
		if (!found)
			return &a->list[i];
	}
	return NULL;
}

const struct said *outcome_differs(const struct outcome *o, const struct outcome *whole)
{
	const struct said *s = missing(o, whole);

	return s ? s : missing(whole, o);
}
