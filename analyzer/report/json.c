/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * json.c - the report as JSON Lines. docs/json.md describes each object.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/fields.h>

#include "internal.h"
#include "probed.h"
#include "tls_words.h"

static void member_address(struct nbds_buf *b, const char *key, const struct nbds_addr *a)
{
	char text[NBDS_ADDR_TEXT];

	nbds_json_member_string(b, key, nbds_addr_text(a, text));
}

static void member_time(struct nbds_buf *b, const char *key, int64_t time)
{
	nbds_json_key(b, key);
	nbds_json_time(b, time);
}

/* --- capture --- */

/* Of this form of JSON: greater if something is changed that a reader relies on. */
#define SCHEMA 1

static void put_shard(struct nbds_buf *b, unsigned shard, unsigned shards)
{
	if (!shards)
		return;
	nbds_json_member_open(b, "shard", '{');
	nbds_json_member_u64(b, "number", shard);
	nbds_json_member_u64(b, "of", shards);
	nbds_json_close(b, '}');
}

static struct nbds_buf *begin_capture(struct nbds_report *r)
{
	struct nbds_buf *b = nbds_json_begin(r, "capture");

	nbds_json_member_u64(b, "schema", SCHEMA);
	nbds_json_member_string(b, "version", r->options.version);
	nbds_json_member_bytes(b, "file", r->name, strlen(r->name));
	put_shard(b, r->options.shard, r->options.shards);
	return b;
}

/* What is known when the capture is over. */
static void put_read(struct nbds_report *r, struct nbds_buf *b, const struct nbds_outcome *o)
{
	const struct nbds_capture_info *c = &o->info.capture;
	const struct nbds_ip_stats *ip = &o->info.ip;
	const struct nbds_tcp_stats *tcp = &o->info.tcp;

	nbds_json_member_u64(b, "frames", c->frames);
	nbds_json_member_u64(b, "bytes", c->bytes);
	if (c->frames) {
		member_time(b, "start", c->start);
		member_time(b, "end", c->end);
	}
	if (c->dropped_known)
		nbds_json_member_u64(b, "dropped", c->dropped);
	nbds_json_member_u64(b, "truncated_frames", c->truncated_frames);
	nbds_json_member_bool(b, "complete",
			      o->opened && !*o->error && (c->complete || r->options.live));
	if (*o->error)
		nbds_json_member_bytes(b, "error", o->error, strlen(o->error));
	if (!o->opened)
		return;
	nbds_json_member_u64(b, "interfaces", c->interfaces);
	nbds_json_member_open(b, "ip", '{');
	nbds_json_member_u64(b, "tcp_segments", ip->segments);
	nbds_json_member_u64(b, "fragments", ip->fragments);
	nbds_json_member_u64(b, "fragments_lost", ip->fragments_lost);
	nbds_json_member_u64(b, "not_tcp", ip->not_tcp);
	nbds_json_member_u64(b, "malformed", ip->malformed);
	nbds_json_member_u64(b, "unknown_link", ip->unknown_link);
	nbds_json_member_u64(b, "truncated_headers", ip->truncated_headers);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "tcp", '{');
	nbds_json_member_u64(b, "flows", tcp->flows);
	nbds_json_member_u64(b, "bytes", tcp->bytes);
	nbds_json_member_u64(b, "retransmitted_bytes", tcp->retransmitted_bytes);
	nbds_json_member_u64(b, "out_of_order", tcp->out_of_order);
	nbds_json_member_u64(b, "conflicts", tcp->conflicts);
	nbds_json_member_u64(b, "forgotten", tcp->forgotten);
	nbds_json_member_u64(b, "bad_checksums", tcp->bad_checksums);
	nbds_json_member_u64(b, "gaps", tcp->gaps);
	nbds_json_member_u64(b, "gap_bytes", tcp->gap_bytes);
	nbds_json_member_u64(b, "held_max", tcp->held_max);
	nbds_json_close(b, '}');
}

static void put_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_capture_info *c = &o->info.capture;
	struct nbds_buf *b = begin_capture(r);

	if (c->format)
		nbds_json_member_string(b, "format", c->format);
	if (c->compression)
		nbds_json_member_string(b, "compression", c->compression);
	put_read(r, b, o);
	nbds_json_end(r);
}

/* On an interface `capture` cannot wait for what is known at the end. */
static void put_end_of_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	put_read(r, nbds_json_begin(r, "capture-end"), o);
	nbds_json_end(r);
}

/* --- connections --- */

static const char *handshake_name(enum nbds_handshake h)
{
	switch (h) {
	case NBDS_HANDSHAKE_OLDSTYLE:
		return "oldstyle";
	case NBDS_HANDSHAKE_NEWSTYLE:
		return "newstyle";
	case NBDS_HANDSHAKE_NEWSTYLE_FIXED:
		return "newstyle-fixed";
	case NBDS_HANDSHAKE_UNSEEN:
		break;
	}
	return "unseen";
}

static const char *end_name(enum nbds_connection_end how)
{
	switch (how) {
	case NBDS_END_DISCONNECT:
		return "disconnect";
	case NBDS_END_ABORT:
		return "abort";
	case NBDS_END_FIN:
		return "fin";
	case NBDS_END_RST:
		return "rst";
	case NBDS_END_OPEN:
		break;
	}
	return "open";
}

/* What there were keys for. */
static void put_tls(struct nbds_buf *b, const struct nbds_connection *c)
{
	const struct nbds_tls_facts *f = &c->tls.facts;
	struct nbds_buf t = {0};

	nbds_json_member_bool(b, "tls_read", !nbds_opaque(c));
	if (f->version) {
		nbds_tls_version(&t, f->version);
		nbds_json_member_string(b, "tls_version", nbds_buf_text(&t));
		nbds_buf_clear(&t);
		nbds_tls_suite(&t, f->suite);
		nbds_json_member_string(b, "tls_cipher_suite", nbds_buf_text(&t));
		nbds_buf_clear(&t);
	}
	if (f->random_seen) {
		nbds_tls_random(&t, f);
		nbds_json_member_string(b, "tls_client_random", nbds_buf_text(&t));
	}
	if (nbds_opaque(c) && c->tls.why != NBDS_TLS_READ) {
		nbds_json_member_string(b, "tls_unread", nbds_tls_reason_name(c->tls.why));
		if (c->tls.frame)
			nbds_json_member_u64(b, "tls_unread_frame", c->tls.frame);
		if (c->tls.partly)
			nbds_json_member_bool(b, "tls_unread_partly", true);
	}
	nbds_buf_free(&t);
}

static void put_handshake(struct nbds_buf *b, const struct nbds_connection *c)
{
	const struct nbds_negotiated *n = &c->negotiated;
	bool newstyle = n->handshake == NBDS_HANDSHAKE_NEWSTYLE ||
			n->handshake == NBDS_HANDSHAKE_NEWSTYLE_FIXED;
	char name[NBDS_TEXT_OF_MAX];

	nbds_json_member_string(b, "handshake", handshake_name(n->handshake));
	if (newstyle) {
		nbds_json_key(b, "handshake_flags");
		nbds_json_flags(b, &nbds_handshake_flags, n->handshake_flags);
	}
	if (n->client_flags_seen) {
		nbds_json_key(b, "client_flags");
		nbds_json_flags(b, &nbds_client_flags, n->client_flags);
	}
	if (newstyle || c->option_count) {
		nbds_json_member_open(b, "options", '[');
		for (unsigned i = 0; i < c->option_count; i++) {
			const struct nbds_option_seen *o = &c->options[i];
			unsigned kept = o->reply_kept;

			nbds_json_open(b, '{');
			nbds_json_member_string(b, "option",
						nbds_text_of(&nbds_options, o->option, name));
			nbds_json_member_open(b, "replies", '[');
			for (unsigned k = 0; k < o->reply_count && k < kept; k++)
				nbds_json_string(b, nbds_text_of(&nbds_reply_types, o->replies[k],
								 name));
			nbds_json_close(b, ']');
			nbds_json_member_u64(b, "reply_count", o->reply_count);
			nbds_json_member_bool(b, "final", o->final);
			if (o->text)
				nbds_json_member_bytes(b, "text", o->text, o->text_len);
			nbds_json_close(b, '}');
		}
		nbds_json_close(b, ']');
	}
	nbds_json_member_bool(b, "tls", n->tls);
	if (n->tls && c->tls.tried)
		put_tls(b, c);
	/* Inside TLS the mode is agreed on anew, unseen. */
	if ((!n->tls || n->inside) && (n->handshake != NBDS_HANDSHAKE_UNSEEN || n->inferred))
		nbds_json_member_string(b, "replies",
					n->extended     ? "extended"
					: n->structured ? "structured"
							: "simple");
	if (n->inferred)
		nbds_json_member_bool(b, "replies_inferred", true);
}

static void put_export_facts(struct nbds_buf *b, const struct nbds_connection *c)
{
	if (c->export_name_seen)
		nbds_json_member_bytes(b, nbds_export_entered(c) ? "export" : "export_asked",
				       c->export_name, c->export_name_len);
	if (c->negotiated.export_seen) {
		nbds_json_member_u64(b, "size", c->negotiated.size);
		nbds_json_key(b, "transmission_flags");
		nbds_json_flags(b, &nbds_transmission_flags, c->negotiated.transmission_flags);
	}
	if (c->block_size_seen) {
		nbds_json_member_open(b, "block_size", '{');
		nbds_json_member_u64(b, "minimum", c->block_minimum);
		nbds_json_member_u64(b, "preferred", c->block_preferred);
		nbds_json_member_u64(b, "maximum", c->payload_maximum);
		nbds_json_close(b, '}');
	}
	nbds_json_member_open(b, "contexts", '[');
	for (unsigned i = 0; i < c->context_count; i++) {
		nbds_json_open(b, '{');
		nbds_json_member_u64(b, "id", c->contexts[i].id);
		nbds_json_member_bytes(b, "name", c->contexts[i].name, c->contexts[i].name_len);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, ']');
}

static void put_latency(struct nbds_buf *b, const struct nbds_latency *l)
{
	nbds_json_member_open(b, "latency_us", '{');
	nbds_json_key(b, "p50");
	nbds_json_us(b, nbds_latency_percentile(l, 50));
	nbds_json_key(b, "p99");
	nbds_json_us(b, nbds_latency_percentile(l, 99));
	nbds_json_key(b, "max");
	nbds_json_us(b, l->max);
	nbds_json_close(b, '}');
}

static void put_commands(struct nbds_buf *b, const struct nbds_connection *c)
{
	char name[NBDS_TEXT_OF_MAX];

	nbds_json_member_open(b, "commands", '{');
	for (unsigned i = 0; i < NBDS_COMMAND_KINDS; i++) {
		const struct nbds_command_stats *s = &c->commands[i];

		if (!s->count)
			continue;
		nbds_json_member_open(b, nbds_text_of(&nbds_commands, s->type, name), '{');
		nbds_json_member_u64(b, "count", s->count);
		nbds_json_member_u64(b, "replies", s->replies);
		nbds_json_member_u64(b, "bytes", s->bytes);
		nbds_json_member_u64(b, "data_bytes", s->data_bytes);
		if (s->fua)
			nbds_json_member_u64(b, "fua", s->fua);
		nbds_json_member_open(b, "errors", '{');
		for (unsigned k = 0; k < s->error_kinds && k < NBDS_ERRORS_MAX; k++)
			nbds_json_member_u64(b,
					     nbds_text_of(&nbds_errors, s->errors[k].error, name),
					     s->errors[k].count);
		nbds_json_close(b, '}');
		if (s->latency && s->latency->count)
			put_latency(b, s->latency);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, '}');
}

static void put_chunks(struct nbds_buf *b, const struct nbds_connection *c)
{
	static const char *const names[NBDS_CHUNK_KINDS] = {
		[NBDS_CHUNK_NONE] = "NBD_REPLY_TYPE_NONE",
		[NBDS_CHUNK_DATA] = "NBD_REPLY_TYPE_OFFSET_DATA",
		[NBDS_CHUNK_HOLE] = "NBD_REPLY_TYPE_OFFSET_HOLE",
		[NBDS_CHUNK_STATUS] = "NBD_REPLY_TYPE_BLOCK_STATUS",
		[NBDS_CHUNK_ERROR] = "NBD_REPLY_TYPE_ERROR",
		[NBDS_CHUNK_OTHER] = "other",
	};

	nbds_json_member_open(b, "chunks", '{');
	for (unsigned i = 0; i < NBDS_CHUNK_KINDS; i++)
		if (c->chunks[i])
			nbds_json_member_u64(b, names[i], c->chunks[i]);
	nbds_json_close(b, '}');
}

static void put_flushes(struct nbds_buf *b, const struct nbds_connection *c)
{
	nbds_json_member_u64(b, "flushes", c->flushes_total);
	nbds_json_member_open(b, "flush_order", '[');
	for (unsigned i = 0; i < c->flush_kept; i++) {
		const struct nbds_flush_seen *f = &c->flushes[i];

		nbds_json_open(b, '{');
		nbds_json_member_u64(b, "flush_request", f->request_frame);
		if (f->reply_frame)
			nbds_json_member_u64(b, "flush", f->reply_frame);
		member_time(b, "time", f->request_time);
		nbds_json_member_bool(b, "ok", f->ok);
		nbds_json_member_u64(b, "covered_own", f->covered_own);
		nbds_json_member_u64(b, "covered_other", f->covered_other);
		nbds_json_member_u64(b, "covered_bytes", f->covered_bytes);
		nbds_json_member_u64(b, "left", f->left);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, ']');
}

static void put_accounting(struct nbds_buf *b, const char *side, const struct nbds_accounting *a)
{
	nbds_json_member_open(b, side, '{');
	nbds_json_member_u64(b, "fed", a->fed);
	nbds_json_member_u64(b, "decoded", a->decoded);
	nbds_json_member_u64(b, "lost", a->lost);
	nbds_json_member_u64(b, "nonsense", a->nonsense);
	nbds_json_member_u64(b, "skipped", a->skipped);
	nbds_json_member_u64(b, "tls", a->tls);
	nbds_json_member_u64(b, "after_end", a->after_end);
	nbds_json_member_u64(b, "trailing", a->trailing);
	nbds_json_close(b, '}');
}

static const char *const side_names[] = {
	[NBDS_CLIENT] = "client",
	[NBDS_SERVER] = "server",
};

static void member_place(struct nbds_buf *b, const char *key, uint64_t frame, int64_t time)
{
	if (!frame)
		return;
	nbds_json_member_open(b, key, '{');
	nbds_json_member_u64(b, "frame", frame);
	member_time(b, "time", time);
	nbds_json_close(b, '}');
}

/* How it ended, and what had no answer then. */
static void put_end(struct nbds_buf *b, const struct nbds_connection *c)
{
	enum nbds_side first;
	char name[NBDS_TEXT_OF_MAX];

	nbds_json_member_string(b, "end", end_name(c->end));
	if (nbds_closed_first(c, &first))
		nbds_json_member_string(b, "closed_by", side_names[first]);
	nbds_json_member_open(b, "closed", '{');
	for (int side = NBDS_CLIENT; side <= NBDS_SERVER; side++) {
		if (!c->closed[side].frame)
			continue;
		nbds_json_member_open(b, side_names[side], '{');
		nbds_json_member_u64(b, "frame", c->closed[side].frame);
		member_time(b, "time", c->closed[side].time);
		nbds_json_member_string(b, "how", c->closed[side].rst ? "rst" : "fin");
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "heard", '{');
	for (int side = NBDS_CLIENT; side <= NBDS_SERVER; side++)
		member_place(b, side_names[side], c->heard[side].frame, c->heard[side].time);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "left_open", '[');
	for (unsigned i = 0; i < c->left_open_count; i++) {
		const struct nbds_outstanding *q = &c->left_open[i];

		nbds_json_open(b, '{');
		nbds_json_member_string(b, "command", nbds_text_of(&nbds_commands, q->type, name));
		nbds_json_key(b, "command_flags");
		nbds_json_flags(b, &nbds_command_flags, q->flags);
		nbds_json_member_u64(b, "offset", q->offset);
		nbds_json_member_u64(b, "length", q->length);
		nbds_json_member_u64(b, "request_frame", q->frame);
		member_time(b, "request_time", q->since);
		if (q->reply_frame)
			nbds_json_member_u64(b, "reply_begun_frame", q->reply_frame);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, ']');
}

static void put_connection(struct nbds_report *r, const struct nbds_connection *c)
{
	struct nbds_buf *b = nbds_json_begin(r, "connection");

	nbds_json_member_u64(b, "id", c->id);
	member_address(b, "client", &c->client);
	member_address(b, "server", &c->server);
	nbds_json_member_u64(b, "first_frame", c->first_frame);
	nbds_json_member_u64(b, "last_frame", c->last_frame);
	member_time(b, "start", c->first_time);
	member_time(b, "last", c->last_time);
	nbds_json_member_bool(b, "from_start", c->from_start);
	if (!c->from_start) {
		nbds_json_member_bool(b, "sure", c->sure);
		if (c->sure_frame)
			nbds_json_member_u64(b, "sure_frame", c->sure_frame);
	}
	put_handshake(b, c);
	put_export_facts(b, c);
	put_commands(b, c);
	nbds_json_member_u64(b, "requests", c->requests);
	nbds_json_member_u64(b, "answered", c->replies);
	nbds_json_member_u64(b, "simple_replies", c->simple_replies);
	put_chunks(b, c);
	nbds_json_member_u64(b, "max_in_flight", c->max_in_flight);
	nbds_json_member_u64(b, "unanswered", c->unanswered);
	nbds_json_member_u64(b, "unsolicited", c->unsolicited);
	nbds_json_member_u64(b, "second_replies", c->second_replies);
	nbds_json_member_u64(b, "unflushed_writes", c->unflushed_writes);
	nbds_json_member_u64(b, "unflushed_bytes", c->unflushed_bytes);
	if (c->unflushed_writes)
		member_time(b, "unflushed_since", c->unflushed_since);
	put_flushes(b, c);
	nbds_json_member_u64(b, "gaps", c->gaps);
	nbds_json_member_u64(b, "gap_bytes", c->gap_bytes);
	nbds_json_member_u64(b, "snaplen_bytes", c->snaplen_bytes);
	nbds_json_member_u64(b, "conflicts", c->conflicts);
	nbds_json_member_u64(b, "discarded", c->discarded);
	if (c->given_up)
		nbds_json_member_bool(b, "given_up", true);
	nbds_json_member_u64(b, "malformed", c->malformed);
	if (c->malformed)
		nbds_json_member_u64(b, "malformed_frame", c->malformed_frame);
	if (c->first_nonsense) {
		nbds_json_member_string(b, "nonsense", c->first_nonsense);
		nbds_json_member_u64(b, "nonsense_frame", c->nonsense_frame);
	}
	nbds_json_member_open(b, "bytes", '{');
	put_accounting(b, "client", &c->bytes[NBDS_CLIENT]);
	put_accounting(b, "server", &c->bytes[NBDS_SERVER]);
	nbds_json_close(b, '}');
	put_end(b, c);
	nbds_json_end(r);
}

/* --- exports --- */

static void put_export(struct nbds_report *r, const struct nbds_export *e)
{
	struct nbds_buf *b = nbds_json_begin(r, "export");
	uint32_t *ids = nbds_export_ids(e);

	nbds_json_member_bytes(b, "name", e->name, e->name_len);
	member_address(b, "server", &e->server);
	if (e->size_seen)
		nbds_json_member_u64(b, "size", e->size);
	nbds_json_member_open(b, "connections", '[');
	for (unsigned i = 0; ids && i < e->connection_count; i++)
		nbds_json_u64(b, ids[i]);
	free(ids);
	nbds_json_close(b, ']');
	nbds_json_key(b, "multi_conn");
	switch (e->multi_conn) {
	case NBDS_MC_TRUE:
		nbds_json_bool(b, true);
		break;
	case NBDS_MC_FALSE:
		nbds_json_bool(b, false);
		break;
	case NBDS_MC_MIXED:
		nbds_json_string(b, "mixed");
		break;
	case NBDS_MC_UNKNOWN:
		nbds_json_string(b, "unknown");
		break;
	}
	nbds_json_member_u64(b, "writes", e->writes);
	nbds_json_member_u64(b, "flushes", e->flushes);
	nbds_json_member_u64(b, "fua_writes", e->fua_writes);
	nbds_json_end(r);
}

/* --- findings --- */

static const char *side_name(enum nbds_at_fault side)
{
	switch (side) {
	case NBDS_FAULT_SERVER:
		return "server";
	case NBDS_FAULT_CLIENT:
		return "client";
	case NBDS_FAULT_EITHER:
		break;
	}
	return "either";
}

static void put_witnesses(struct nbds_buf *b, const struct nbds_finding *f)
{
	char name[NBDS_TEXT_OF_MAX];

	nbds_json_member_open(b, "witnesses", '[');
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		const struct nbds_witness *w = &f->witnesses[i];

		nbds_json_open(b, '{');
		nbds_json_member_string(b, "role", nbds_role_names[w->role]);
		nbds_json_member_u64(b, "connection", w->connection);
		nbds_json_member_string(b, "command", nbds_text_of(&nbds_commands, w->type, name));
		nbds_json_key(b, "command_flags");
		nbds_json_flags(b, &nbds_command_flags, w->flags);
		nbds_json_member_u64(b, "offset", w->offset);
		nbds_json_member_u64(b, "length", w->length);
		nbds_json_member_u64(b, "request_frame", w->request_frame);
		member_time(b, "request_time", w->request_time);
		if (w->reply_frame) {
			nbds_json_member_u64(b, "reply_frame", w->reply_frame);
			member_time(b, "reply_time", w->reply_time);
		}
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, ']');
}

static void member_hex(struct nbds_buf *b, const char *key, const uint8_t *bytes, unsigned count)
{
	char text[2 * NBDS_DIFFER_MAX + 1] = "";

	NBDS_ASSERT(count <= NBDS_DIFFER_MAX);
	for (unsigned i = 0; i < count; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	nbds_json_member_string(b, key, text);
}

static void build_finding(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_buf *b = nbds_json_begin(r, "finding");

	nbds_json_member_string(b, "rule", f->rule->name);
	nbds_json_member_string(b, "ref", f->rule->ref);
	nbds_json_member_string(b, "severity", nbds_severity_name(f->severity));
	nbds_json_member_string(b, "side", side_name(nbds_finding_side(f)));
	nbds_json_member_bytes(b, "message", f->message, strlen(f->message));
	nbds_json_member_string(b, "basis",
				f->rule->basis == NBDS_BASIS_EXPLICIT ? "explicit" : "implied");
	if (f->connection)
		nbds_json_member_u64(b, "connection", f->connection);
	if (f->export_name)
		nbds_json_member_bytes(b, "export", f->export_name, f->export_name_len);
	if (f->command)
		nbds_json_member_string(b, "command", f->command);
	if (f->has_range) {
		nbds_json_member_u64(b, "offset", f->offset);
		nbds_json_member_u64(b, "length", f->length);
	}
	nbds_json_member_open(b, "frames", '{');
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (f->frames[role])
			nbds_json_member_u64(b, nbds_role_names[role], f->frames[role]);
	nbds_json_close(b, '}');
	member_time(b, "time", f->time);
	nbds_json_member_open(b, "assumptions", '[');
	for (size_t i = 0; f->assumptions && f->assumptions[i]; i++)
		nbds_json_string(b, f->assumptions[i]);
	nbds_json_close(b, ']');
	nbds_json_member_u64(b, "count", f->count);
	if (f->number)
		nbds_json_member_u64(b, "number", f->number);
	if (f->standing)
		nbds_json_member_string(b, "baseline",
					f->standing == NBDS_STANDING_NEW ? "new" : "known");
	if (f->witness_count)
		put_witnesses(b, f);
	if (f->differ.count) {
		nbds_json_member_open(b, "differs", '{');
		nbds_json_member_u64(b, "offset", f->differ.offset);
		member_hex(b, "came", f->differ.came, f->differ.count);
		if (f->differ.expected_known)
			member_hex(b, "expected", f->differ.expected, f->differ.count);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, '}');
}

void nbds_json_finding(struct nbds_report *r, const struct nbds_finding *f)
{
	build_finding(r, f);
	nbds_buf_puts(&r->line, "\n");
	nbds_report_write(r);
}

void nbds_json_finding_text(struct nbds_report *r, const struct nbds_finding *f,
			    struct nbds_buf *line)
{
	struct nbds_buf kept = r->line;

	/* whatever is being written there */
	r->line = *line;
	build_finding(r, f);
	*line = r->line;
	r->line = kept;
}

/* --- summary --- */

static void put_summary(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_engine_totals *t = &o->totals;
	size_t reasons = sizeof(t->unchecked) / sizeof(t->unchecked[0]);
	struct nbds_buf *b = nbds_json_begin(r, "summary");
	uint64_t no_room = 0;

	nbds_json_member_u64(b, "connections", t->connections);
	nbds_json_member_u64(b, "exports", t->exports);
	nbds_json_member_open(b, "findings", '{');
	for (int s = NBDS_VIOLATION; s >= NBDS_NOTE; s--)
		nbds_json_member_u64(b, nbds_severity_name((enum nbds_severity)s), t->findings[s]);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "rules", '{');
	for (size_t i = 0; i < nbds_rules_count; i++) {
		uint64_t count = 0;

		for (int s = NBDS_NOTE; s <= NBDS_VIOLATION; s++)
			count += r->tally[i].count[s];
		if (count)
			nbds_json_member_u64(b, nbds_rules[i].name, count);
	}
	nbds_json_close(b, '}');
	nbds_json_member_string(b, "verdict", nbds_verdict(o));
	put_shard(b, o->shard, o->shards);
	if (o->unaudited) {
		nbds_buf_clear(&r->text);
		nbds_unaudited_why(o, &r->text);
		nbds_json_member_string(b, "why", nbds_buf_text(&r->text));
	}
	nbds_json_member_open(b, "checked", '{');
	nbds_json_member_u64(b, "reads", t->checked_reads);
	nbds_json_member_u64(b, "bytes", t->checked_bytes);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "judged", '{');
	nbds_json_member_u64(b, "reads", t->checked_reads);
	nbds_json_member_u64(b, "bytes", t->checked_bytes);
	nbds_json_member_u64(b, "of_bytes", o->read_bytes);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "unchecked", '{');
	for (size_t i = 0; i < reasons && t->unchecked[i].reason; i++)
		nbds_json_member_u64(b, t->unchecked[i].reason, t->unchecked[i].bytes);
	nbds_json_close(b, '}');
	nbds_json_member_u64(b, "memory", t->memory);
	if (t->forgotten_connections || t->forgotten_exports || t->forgotten_servers ||
	    t->given_up || t->forgotten_to) {
		nbds_json_member_open(b, "forgotten", '{');
		nbds_json_member_u64(b, "connections", t->forgotten_connections);
		nbds_json_member_u64(b, "exports", t->forgotten_exports);
		nbds_json_member_u64(b, "servers", t->forgotten_servers);
		nbds_json_member_u64(b, "given_up", t->given_up);
		if (t->forgotten_to) {
			nbds_json_member_u64(b, "blocks", t->forgotten_blocks);
			nbds_json_member_u64(b, "versions", t->forgotten_versions);
			nbds_json_member_u64(b, "from", t->forgotten_from);
			nbds_json_member_u64(b, "to", t->forgotten_to);
		}
		nbds_json_close(b, '}');
	}
	if (r->hidden)
		nbds_json_member_u64(b, "left_out", r->hidden);
	for (int s = NBDS_NOTE; s <= NBDS_VIOLATION; s++)
		no_room += r->keep.left_out[s];
	if (no_room)
		nbds_json_member_u64(b, "no_room", no_room);
	nbds_json_end(r);
}

/* --- probe --- */

static void put_history(struct nbds_report *r, const struct nbds_probed_row *row)
{
	struct nbds_buf *b = nbds_json_begin(r, "probe");

	nbds_json_member_string(b, "history", row->name);
	nbds_json_member_string(b, "asks", row->asks);
	nbds_json_member_string(b, "promise", row->promise);
	nbds_json_member_bool(b, "promised", row->promised);
	nbds_json_member_string(b, "outcome", nbds_probed_outcomes[row->outcome]);
	if (row->reason)
		nbds_json_member_bytes(b, "reason", row->reason, strlen(row->reason));
	if (row->rule)
		nbds_json_member_string(b, "rule", row->rule->name);
	nbds_json_member_open(b, "findings", '{');
	for (int s = NBDS_VIOLATION; s >= NBDS_NOTE; s--)
		nbds_json_member_u64(b, nbds_severity_name((enum nbds_severity)s),
				     row->findings[s]);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "rounds", '{');
	nbds_json_member_u64(b, "done", row->rounds);
	nbds_json_member_u64(b, "planned", row->planned);
	nbds_json_close(b, '}');
	nbds_json_member_u64(b, "reads", row->reads);
	if (row->first_frame) {
		nbds_json_member_u64(b, "first_frame", row->first_frame);
		nbds_json_member_u64(b, "last_frame", row->last_frame);
	}
	nbds_json_end(r);
}

static void put_probed(struct nbds_report *r)
{
	const struct nbds_probed *p = r->probed;
	struct nbds_buf *b;

	for (size_t i = 0; i < p->count; i++)
		put_history(r, &p->rows[i]);
	b = nbds_json_begin(r, "probed");
	nbds_json_member_bytes(b, "uri", p->uri, strlen(p->uri));
	nbds_json_member_u64(b, "connections", p->connections);
	nbds_json_member_bool(b, "multi_conn", p->multi_conn);
	nbds_json_member_bool(b, "untrue", p->untrue);
	nbds_json_member_string(b, "conclusion", p->conclusion);
	nbds_json_member_bytes(b, "others", p->others, strlen(p->others));
	if (p->limit)
		nbds_json_member_bytes(b, "limit", p->limit, strlen(p->limit));
	if (p->stopped)
		nbds_json_member_bytes(b, "stopped", p->stopped, strlen(p->stopped));
	nbds_json_member_u64(b, "seed", p->seed);
	nbds_json_end(r);
}

/* --- why --- */

static void put_why(struct nbds_report *r, const struct nbds_judged *j)
{
	struct nbds_buf *b = nbds_json_begin(r, "why");
	char name[NBDS_TEXT_OF_MAX];

	nbds_json_member_u64(b, "connection", j->connection);
	nbds_json_member_string(b, "command", nbds_text_of(&nbds_commands, j->type, name));
	nbds_json_member_u64(b, "offset", j->offset);
	nbds_json_member_u64(b, "length", j->length);
	nbds_json_member_u64(b, "request_frame", j->request_frame);
	if (j->reply_frame)
		nbds_json_member_u64(b, "reply_frame", j->reply_frame);
	nbds_json_member_bool(b, "failed", j->failed);
	nbds_json_member_u64(b, "checked", j->checked);
	nbds_json_member_open(b, "unchecked", '{');
	for (unsigned i = 0; i < 16 && j->unchecked[i].reason; i++)
		nbds_json_member_u64(b, j->unchecked[i].reason, j->unchecked[i].bytes);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "needed", '[');
	for (unsigned i = 0; i < 16 && j->unchecked[i].reason; i++)
		nbds_json_string(b, nbds_unchecked_needs(j->unchecked[i].reason));
	nbds_json_close(b, ']');
	if (j->rule) {
		nbds_json_member_string(b, "rule", j->rule->name);
		nbds_json_member_string(b, "severity", nbds_severity_name(j->severity));
	}
	nbds_json_end(r);
}

/* --- the whole --- */

static void json_opened(struct nbds_report *r)
{
	if (r->options.live) {
		nbds_json_member_string(begin_capture(r), "format", "live");
		nbds_json_end(r);
	} else if (r->options.messages && !r->spool) {
		/* While files can still be opened. */
		errno = 0;
		nbds_spool_open(r);
		if (!r->spool)
			r->spool_error = errno ? errno : EIO;
	}
}

static void json_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_finding *f;

	if (r->options.live)
		put_end_of_capture(r, o);
	else
		put_capture(r, o);
	nbds_spool_copy(r);
	if (!r->options.summary) {
		for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c;
		     c = nbds_outcome_next(o, c->id))
			put_connection(r, c);
		for (const struct nbds_export *e = o->exports; e; e = e->next)
			put_export(r, e);
		while ((f = nbds_keep_next_in_time(&r->keep)))
			nbds_json_finding(r, f);
	}
	if (r->probed)
		put_probed(r);
	for (size_t i = 0; i < r->why.count; i++)
		put_why(r, &r->why.at[i]);
	if (r->options.compare)
		nbds_compared_json(r);
	put_summary(r, o);
}

/* --- messages --- */

/*
 * The fields of one message, collected before they are written, since one that
 * occurs several times becomes an array.  Values lie one after the other in
 * `values`; each names the next of the same field.
 */
struct value {
	size_t at, len;
	size_t next; /* index + 1, 0: the last */
};

struct nbds_json_fields {
	struct nbds_buf values;
	struct value *list;
	size_t count, size;
	size_t *first, *last; /* by field id: index + 1, 0: none */
	int *order;           /* ids in the order in which they came */
	size_t kinds;
	const struct nbds_message *message;
};

void nbds_json_fields_free(struct nbds_json_fields *fields)
{
	if (!fields)
		return;
	nbds_buf_free(&fields->values);
	free(fields->list);
	free(fields->first);
	free(fields->last);
	free(fields->order);
	free(fields);
}

static struct nbds_json_fields *fields_new(void)
{
	struct nbds_json_fields *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->first = calloc(nbds_fields_count, sizeof(*c->first));
	c->last = calloc(nbds_fields_count, sizeof(*c->last));
	c->order = calloc(nbds_fields_count, sizeof(*c->order));
	if (!c->first || !c->last || !c->order) {
		nbds_json_fields_free(c);
		return NULL;
	}
	return c;
}

static void put_value(struct nbds_buf *b, const struct nbds_json_fields *c,
		      const struct nbds_field *f)
{
	const struct nbds_field_info *info = &nbds_fields[f->id];

	/* Behind a colon no comma is added. */
	nbds_buf_puts(b, ":");
	switch (info->type) {
	case NBDS_FT_BOOLEAN:
		nbds_json_bool(b, f->value != 0);
		break;
	case NBDS_FT_STRING:
		nbds_json_bytes(b, f->bytes, f->bytes ? f->length : 0);
		break;
	case NBDS_FT_BYTES:
		nbds_json_u64(b, f->bytes ? f->length : c->message->payload_len);
		break;
	default:
		if (info->flags && info->table) {
			nbds_json_flags(b, info->table, f->value);
		} else if (info->table) {
			char name[NBDS_TEXT_OF_MAX];

			nbds_json_string(b, nbds_text_of(info->table, f->value, name));
		} else {
			nbds_json_u64(b, f->value);
		}
		break;
	}
}

static void collect(void *arg, const struct nbds_field *f)
{
	struct nbds_json_fields *c = arg;
	struct value *v;

	if (f->id < 0 || (size_t)f->id >= nbds_fields_count)
		return;
	if (c->count == c->size) {
		size_t size = c->size ? c->size * 2 : 64;

		v = reallocarray(c->list, size, sizeof(*v));
		if (!v)
			return;
		c->list = v;
		c->size = size;
	}
	v = &c->list[c->count++];
	v->at = c->values.len + 1;
	put_value(&c->values, c, f);
	/* Without memory there may be nothing behind the colon, or not even that. */
	if (c->values.len <= v->at) {
		c->count--;
		return;
	}
	v->len = c->values.len - v->at;
	v->next = 0;
	if (c->last[f->id])
		c->list[c->last[f->id] - 1].next = c->count;
	else
		c->first[f->id] = c->count, c->order[c->kinds++] = f->id;
	c->last[f->id] = c->count;
}

/* A value that is JSON already. */
static void add_raw(struct nbds_buf *b, const struct nbds_json_fields *c, const struct value *v)
{
	char last = b->len ? b->s[b->len - 1] : ':';

	if (last != '[' && last != ':')
		nbds_buf_puts(b, ",");
	nbds_buf_add(b, nbds_buf_text(&c->values) + v->at, v->len);
}

static void put_fields(struct nbds_buf *b, struct nbds_json_fields *c, const struct nbds_message *m)
{
	nbds_buf_clear(&c->values);
	c->count = c->kinds = 0;
	c->message = m;
	nbds_walk(m, collect, c);
	for (size_t i = 0; i < c->kinds; i++) {
		int id = c->order[i];
		const struct value *v = &c->list[c->first[id] - 1];
		bool several = v->next != 0;

		nbds_json_key(b, nbds_fields[id].name);
		if (several)
			nbds_json_open(b, '[');
		for (;; v = &c->list[v->next - 1]) {
			add_raw(b, c, v);
			if (!v->next)
				break;
		}
		if (several)
			nbds_json_close(b, ']');
		c->first[id] = c->last[id] = 0;
	}
}

static void json_message(struct nbds_report *r, struct nbds_connection *c,
			 const struct nbds_message *m)
{
	static const struct {
		uint32_t flag;
		const char *key;
	} marks[] = {
		{NBDS_MSG_CUT, "cut"},
		{NBDS_MSG_MALFORMED, "malformed"},
		{NBDS_MSG_UNSOLICITED, "unsolicited"},
		{NBDS_MSG_RESYNCED, "resynced"},
		{NBDS_MSG_REPLAYED, "replayed"},
	};
	struct nbds_buf *b = nbds_json_begin(r, "message");

	nbds_json_member_u64(b, "frame", m->first.frame);
	member_time(b, "time", m->first.time);
	nbds_json_member_u64(b, "connection", c->id);
	nbds_json_member_string(b, "from", m->from == NBDS_CLIENT ? "client" : "server");
	nbds_json_member_bytes(b, "name", m->name, strlen(m->name));
	nbds_json_member_open(b, "fields", '{');
	if (!r->fields)
		r->fields = fields_new();
	if (r->fields)
		put_fields(b, r->fields, m);
	nbds_json_close(b, '}');
	nbds_json_member_u64(b, "stream_offset", m->offset);
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (m->flags & marks[i].flag)
			nbds_json_member_bool(b, marks[i].key, true);
	if (m->again) {
		nbds_json_member_u64(b, "request_frame", m->again->request_frame);
		nbds_json_member_u64(b, "answered_frame", m->again->reply_frame);
	}
	nbds_buf_clear(&r->broken);
	if (nbds_message_waits(m)) {
		nbds_buf_add(&r->broken, nbds_buf_text(b), b->len);
		nbds_json_member_bool(&r->broken, "incomplete", true);
		nbds_buf_puts(&r->broken, "}\n");
	}
	nbds_json_close(b, '}');
	nbds_buf_puts(b, "\n");
	nbds_report_queue(r, c, &r->broken);
}

/* Where a message's line goes. */
static void json_line(void *ctx, const char *line, size_t len)
{
	struct nbds_report *r = ctx;

	if (r->options.live) {
		fwrite(line, 1, len, r->out);
		return;
	}
	if (!r->spool && !r->spool_error)
		nbds_spool_open(r);
	if (!r->spool) {
		if (!r->spool_error)
			r->spool_error = errno ? errno : EIO;
	} else if (fwrite(line, 1, len, r->spool) < len && !r->spool_error) {
		r->spool_error = errno ? errno : EIO;
	}
}

const struct nbds_form nbds_json_form = {
	.opened = json_opened,
	.finding = nbds_json_finding,
	.message = json_message,
	.line = json_line,
	.capture = json_capture,
};
