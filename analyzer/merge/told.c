/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * told.c - from JSON to what it was written from. See told.h.
 */
#include "told.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <base/vector.h>

#include "../baseline/lines.h"
#include "../latency/latency.h"
#include "../report/tls_words.h"
#include "../report/words.h"

/* Memory that is given back at once. */
struct told_piece {
	struct told_piece *next;
	max_align_t bytes[];
};

struct told_parts {
	struct nbds_told told;
	struct nbds_budget budget; /* counts, and has no limit */
	struct told_piece *pieces;
	NBDS_VECTOR(, json_t *) objects;
	NBDS_VECTOR(, struct nbds_connection *) connections;
	NBDS_VECTOR(, struct nbds_export *) exports;
	NBDS_VECTOR(, struct nbds_finding *) findings;
	uint64_t *rules;
	const char *error;
	unsigned parts; /* that were told */
	bool audited;   /* one of the parts was */
	char *err;
	size_t errsize;
};

static bool fail(const struct told_parts *t, const char *what)
{
	snprintf(t->err, t->errsize, "%s", what);
	return false;
}

/* Zeroed; NULL without memory. */
static void *piece(struct told_parts *t, size_t count, size_t size)
{
	struct told_piece *p;

	if (count && size > (SIZE_MAX - sizeof(*p)) / count)
		return NULL;
	p = calloc(1, sizeof(*p) + count * size);
	if (!p) {
		fail(t, "not enough memory");
		return NULL;
	}
	p->next = t->pieces;
	t->pieces = p;
	return p->bytes;
}

struct told_parts *told_new(char *err, size_t errsize)
{
	struct told_parts *t = calloc(1, sizeof(*t));

	if (t)
		t->rules = calloc(nbds_rules_count, sizeof(*t->rules));
	if (!t || !t->rules) {
		snprintf(err, errsize, "not enough memory");
		free(t);
		return NULL;
	}
	t->err = err;
	t->errsize = errsize;
	return t;
}

void told_free(struct told_parts *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->connections.count; i++)
		for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++)
			latency_free(&t->budget, t->connections.at[i]->commands[k].latency);
	for (struct told_piece *p = t->pieces, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	for (size_t i = 0; i < t->objects.count; i++)
		json_decref(t->objects.at[i]);
	nbds_vector_free(&t->objects, &t->budget);
	nbds_vector_free(&t->connections, &t->budget);
	nbds_vector_free(&t->exports, &t->budget);
	nbds_vector_free(&t->findings, &t->budget);
	free(t->rules);
	free(t);
}

/* Its strings are needed. */
static bool hold(struct told_parts *t, json_t *object)
{
	if (!nbds_vector_push(&t->objects, &t->budget, object))
		return fail(t, "not enough memory");
	json_incref(object);
	return true;
}

/* --- values --- */

/* Text that is printed as it is must not hold what a terminal would obey: what should not be
 * there is escaped, as it is in names. (Backslashes are, that are doubled there, single.) */
static const char *plain(struct told_parts *t, const char *text)
{
	size_t len = text ? strlen(text) : 0, size = len ? nbds_escape_text(text, len, NULL, 0) : 0;
	size_t to = 0, doubled = 0;
	char *copy;

	for (size_t i = 0; i < len; i++)
		doubled += text[i] == '\\';
	if (size == len + doubled)
		return text;
	copy = piece(t, size + 1, 1);
	if (!copy)
		return "";
	nbds_escape_text(text, len, copy, size + 1);
	for (size_t i = 0; i < size; i++) {
		copy[to++] = copy[i];
		i += copy[i] == '\\' && copy[i + 1] == '\\';
	}
	copy[to] = '\0';
	return copy;
}

static bool is_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

int64_t told_time(const json_t *value)
{
	const char *text = json_string_value(value);
	bool negative = text && *text == '-';
	uint64_t seconds = 0, ns = 0;
	int digits = 0;

	if (!text)
		return 0;
	for (text += negative; *text >= '0' && *text <= '9'; text++) {
		if (seconds > UINT64_MAX / 10 - 1)
			return 0;
		seconds = seconds * 10 + (uint64_t)(*text - '0');
	}
	if (*text == '.')
		for (text++; *text >= '0' && *text <= '9' && digits < 9; text++, digits++)
			ns = ns * 10 + (uint64_t)(*text - '0');
	if (*text || digits != 9 || seconds > (UINT64_C(1) << 63) / 1000000000)
		return 0;
	ns += seconds * 1000000000;
	return (int64_t)(negative ? 0 - ns : ns);
}

static int64_t moment(const json_t *object, const char *key)
{
	return told_time(json_object_get(object, key));
}

/* Microseconds with three decimals, in ns. */
static uint64_t us(const json_t *object, const char *key)
{
	double value = nbds_json_real(object, key) * 1000 + 0.5;

	return value < 1.8e19 ? (uint64_t)value : UINT64_MAX;
}

/* What nbds_text_of() says of a value. */
static uint64_t value_of(const struct nbds_name_table *table, const char *text)
{
	const char *last;
	int64_t negative;

	if (!text)
		return 0;
	for (size_t i = 0; i < table->count; i++)
		if (!strcmp(table->entries[i].name, text))
			return table->entries[i].value;
	if (sscanf(text, "error -%" SCNd64, &negative) == 1)
		return (uint32_t)-negative;
	last = strstr(text, ", which no command has");
	if (last && table == &nbds_errors)
		for (size_t i = 0; i < nbds_reply_types.count; i++) {
			const char *name = nbds_reply_types.entries[i].name;

			if (strlen(name) == (size_t)(last - text) &&
			    !strncmp(name, text, (size_t)(last - text)))
				return nbds_reply_types.entries[i].value;
		}
	last = strrchr(text, ' ');
	return last ? strtoull(last + 1, NULL, 0) : 0;
}

static uint64_t code(const json_t *object, const char *key, const struct nbds_name_table *table)
{
	return value_of(table, nbds_json_text(object, key));
}

static uint64_t flags(const json_t *object, const char *key, const struct nbds_name_table *table)
{
	const json_t *list = json_object_get(object, key);
	uint64_t all = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));
		unsigned bit;

		if (name && sscanf(name, "bit %u", &bit) == 1)
			all |= bit < 64 ? UINT64_C(1) << bit : 0;
		else
			all |= value_of(table, name);
	}
	return all;
}

/* The bytes of a string, and how many. */
static const char *bytes(const json_t *object, const char *key, size_t *len)
{
	const json_t *value = json_object_get(object, key);

	*len = json_string_length(value);
	return json_string_value(value);
}

static struct nbds_addr address(const json_t *object, const char *key)
{
	const char *text = nbds_json_text(object, key), *colon = text ? strrchr(text, ':') : NULL;
	struct nbds_addr a = {.family = 4};
	char ip[INET6_ADDRSTRLEN];
	size_t len;

	if (!colon)
		return a;
	a.family = *text == '[' ? 6 : 4;
	text += a.family == 6;
	len = (size_t)(colon - text);
	if (a.family == 6 && len)
		len--;
	if (len >= sizeof(ip))
		return a;
	memcpy(ip, text, len);
	ip[len] = '\0';
	if (inet_pton(a.family == 6 ? AF_INET6 : AF_INET, ip, a.ip) == 1)
		a.port = (uint16_t)strtoul(colon + 1, NULL, 10);
	return a;
}

/* Members that are numbers, by where they go. */
struct member {
	const char *key;
	size_t at;
};
#define MEMBER(type, key, member)           \
	{                                   \
		key, offsetof(type, member) \
	}

static void numbers(const json_t *object, const struct member *list, size_t count, void *to)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value = nbds_json_number(object, list[i].key);

		memcpy((char *)to + list[i].at, &value, sizeof(value));
	}
}
#define NUMBERS(object, list, to) numbers(object, list, sizeof(list) / sizeof((list)[0]), to)

/* --- capture --- */

bool told_capture(struct told_parts *t, json_t *o)
{
	static const struct member info[] = {
		MEMBER(struct nbds_capture_info, "frames", frames),
		MEMBER(struct nbds_capture_info, "bytes", bytes),
		MEMBER(struct nbds_capture_info, "dropped", dropped),
		MEMBER(struct nbds_capture_info, "truncated_frames", truncated_frames),
	};
	static const struct member ip[] = {
		MEMBER(struct nbds_ip_stats, "tcp_segments", segments),
		MEMBER(struct nbds_ip_stats, "fragments", fragments),
		MEMBER(struct nbds_ip_stats, "fragments_lost", fragments_lost),
		MEMBER(struct nbds_ip_stats, "not_tcp", not_tcp),
		MEMBER(struct nbds_ip_stats, "malformed", malformed),
		MEMBER(struct nbds_ip_stats, "unknown_link", unknown_link),
		MEMBER(struct nbds_ip_stats, "truncated_headers", truncated_headers),
	};
	static const struct member tcp[] = {
		MEMBER(struct nbds_tcp_stats, "flows", flows),
		MEMBER(struct nbds_tcp_stats, "bytes", bytes),
		MEMBER(struct nbds_tcp_stats, "retransmitted_bytes", retransmitted_bytes),
		MEMBER(struct nbds_tcp_stats, "out_of_order", out_of_order),
		MEMBER(struct nbds_tcp_stats, "conflicts", conflicts),
		MEMBER(struct nbds_tcp_stats, "forgotten", forgotten),
		MEMBER(struct nbds_tcp_stats, "bad_checksums", bad_checksums),
		MEMBER(struct nbds_tcp_stats, "gaps", gaps),
		MEMBER(struct nbds_tcp_stats, "gap_bytes", gap_bytes),
		MEMBER(struct nbds_tcp_stats, "held_max", held_max),
	};
	struct nbds_capture_info *c = &t->told.info.capture;
	const char *format = nbds_json_text(o, "format");

	if (!hold(t, o))
		return false;
	if (format) {
		c->format = plain(t, format);
		c->compression = plain(t, nbds_json_text(o, "compression"));
		t->told.live = !strcmp(format, "live");
	}
	if (!json_object_get(o, "frames"))
		return true; /* the rest follows in `capture-end` */
	NUMBERS(o, info, c);
	t->error = plain(t, nbds_json_text(o, "error"));
	c->dropped_known = json_object_get(o, "dropped");
	c->start = moment(o, "start");
	c->end = moment(o, "end");
	c->complete = is_true(o, "complete");
	c->interfaces = (uint32_t)nbds_json_number(o, "interfaces");
	NUMBERS(json_object_get(o, "ip"), ip, &t->told.info.ip);
	NUMBERS(json_object_get(o, "tcp"), tcp, &t->told.info.tcp);
	t->told.opened = json_object_get(o, "ip");
	return true;
}

/* --- connections --- */

static bool take_options(struct told_parts *t, const json_t *o, struct nbds_connection *c)
{
	const json_t *list = json_object_get(o, "options");
	size_t count = json_array_size(list);

	c->options = count ? piece(t, count, sizeof(*c->options)) : NULL;
	if (count && !c->options)
		return false;
	for (; c->option_count < count; c->option_count++) {
		const json_t *from = json_array_get(list, c->option_count);
		const json_t *replies = json_object_get(from, "replies");
		struct nbds_option_seen *to = &c->options[c->option_count];
		size_t kept = json_array_size(replies);

		to->option = (uint32_t)code(from, "option", &nbds_options);
		to->reply_count = (unsigned)nbds_json_number(from, "reply_count");
		to->final = is_true(from, "final");
		to->text = (char *)bytes(from, "text", &to->text_len);
		to->replies = kept ? piece(t, kept, sizeof(*to->replies)) : NULL;
		if (kept && !to->replies)
			return false;
		for (; to->reply_kept < kept; to->reply_kept++)
			to->replies[to->reply_kept] = (uint32_t)value_of(
				&nbds_reply_types,
				json_string_value(json_array_get(replies, to->reply_kept)));
	}
	return true;
}

static void take_handshake(const json_t *o, struct nbds_connection *c)
{
	static const char *const names[] = {
		[NBDS_HANDSHAKE_OLDSTYLE] = "oldstyle",
		[NBDS_HANDSHAKE_NEWSTYLE] = "newstyle",
		[NBDS_HANDSHAKE_NEWSTYLE_FIXED] = "newstyle-fixed",
	};
	const char *handshake = nbds_json_text(o, "handshake");
	const char *replies = nbds_json_text(o, "replies");
	struct nbds_negotiated *n = &c->negotiated;

	n->handshake = NBDS_HANDSHAKE_UNSEEN;
	for (size_t i = 0; handshake && i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i] && !strcmp(names[i], handshake))
			n->handshake = (enum nbds_handshake)i;
	n->handshake_flags = (uint16_t)flags(o, "handshake_flags", &nbds_handshake_flags);
	n->client_flags_seen = json_object_get(o, "client_flags");
	n->client_flags = (uint32_t)flags(o, "client_flags", &nbds_client_flags);
	n->tls = is_true(o, "tls");
	n->extended = replies && !strcmp(replies, "extended");
	n->structured = replies && !strcmp(replies, "structured");
	n->inferred = is_true(o, "replies_inferred");
}

static void take_tls(const json_t *o, struct nbds_connection *c)
{
	const char *version = nbds_json_text(o, "tls_version");
	const char *suite = nbds_json_text(o, "tls_cipher_suite");
	const char *random = nbds_json_text(o, "tls_client_random");
	const char *why = nbds_json_text(o, "tls_unread");
	struct nbds_tls_facts *f = &c->tls.facts;
	unsigned byte;

	c->tls.tried = json_object_get(o, "tls_read");
	c->tls.partly = is_true(o, "tls_unread_partly");
	c->tls.frame = nbds_json_number(o, "tls_unread_frame");
	/* What is agreed on inside is known where something inside was read. */
	c->negotiated.inside = c->negotiated.tls &&
			       (is_true(o, "tls_read") || json_object_get(o, "replies") ||
				json_object_get(o, "export"));
	if (version)
		f->version = (uint16_t)(!strncmp(version, "1.", 2)
						? 0x0301 + strtoul(version + 2, NULL, 10)
						: strtoul(version, NULL, 16));
	if (suite)
		f->suite = nbds_tls_suite_number(suite);
	f->random_seen = random && strlen(random) == 2 * sizeof(f->client_random);
	for (size_t i = 0; f->random_seen && i < sizeof(f->client_random); i++)
		if (sscanf(random + 2 * i, "%2x", &byte) == 1)
			f->client_random[i] = (uint8_t)byte;
	for (int i = NBDS_TLS_READ; why && i <= NBDS_TLS_MEMORY; i++)
		if (!strcmp(nbds_tls_reason_name((enum nbds_tls_why)i), why))
			c->tls.why = (enum nbds_tls_why)i;
}

static bool take_export_facts(struct told_parts *t, const json_t *o, struct nbds_connection *c)
{
	const json_t *blocks = json_object_get(o, "block_size");
	const json_t *contexts = json_object_get(o, "contexts");
	bool entered = json_object_get(o, "export"), asked = json_object_get(o, "export_asked");
	struct nbds_negotiated *n = &c->negotiated;
	size_t count = json_array_size(contexts);

	c->export_name_seen = entered || asked;
	c->export_name = (char *)bytes(o, entered ? "export" : "export_asked", &c->export_name_len);
	n->export_seen = json_object_get(o, "size");
	n->size = nbds_json_number(o, "size");
	n->transmission_flags = (uint16_t)flags(o, "transmission_flags", &nbds_transmission_flags);
	n->transmission = entered || n->inferred ||
			  (!asked && (!n->tls || n->inside) &&
			   (n->export_seen || nbds_json_number(o, "requests")));
	c->block_size_seen = blocks;
	c->block_minimum = (uint32_t)nbds_json_number(blocks, "minimum");
	c->block_preferred = (uint32_t)nbds_json_number(blocks, "preferred");
	c->payload_maximum = (uint32_t)nbds_json_number(blocks, "maximum");
	c->contexts = count ? piece(t, count, sizeof(*c->contexts)) : NULL;
	if (count && !c->contexts)
		return false;
	for (; c->context_count < count; c->context_count++) {
		const json_t *from = json_array_get(contexts, c->context_count);
		struct nbds_context *to = &c->contexts[c->context_count];

		to->id = (uint32_t)nbds_json_number(from, "id");
		to->name = (char *)bytes(from, "name", &to->name_len);
		if (!to->name)
			return fail(t, "a context without a name");
	}
	return true;
}

static bool take_commands(struct told_parts *t, const json_t *o, struct nbds_connection *c)
{
	static const struct member members[] = {
		MEMBER(struct nbds_command_stats, "count", count),
		MEMBER(struct nbds_command_stats, "replies", replies),
		MEMBER(struct nbds_command_stats, "bytes", bytes),
		MEMBER(struct nbds_command_stats, "data_bytes", data_bytes),
		MEMBER(struct nbds_command_stats, "fua", fua),
	};
	json_t *commands = json_object_get(o, "commands");

	for (void *i = json_object_iter(commands); i; i = json_object_iter_next(commands, i)) {
		uint64_t type = value_of(&nbds_commands, json_object_iter_key(i));
		json_t *from = json_object_iter_value(i);
		const json_t *latency = json_object_get(from, "latency_us");
		json_t *errors = json_object_get(from, "errors");
		struct nbds_command_stats *to =
			&c->commands[type < NBDS_COMMAND_KINDS - 1 ? type : NBDS_COMMAND_KINDS - 1];

		to->type = (uint16_t)type;
		NUMBERS(from, members, to);
		if (latency && !to->latency)
			latency_told(&t->budget, &to->latency, us(latency, "p50"),
				     us(latency, "p99"), us(latency, "max"));
		if (!json_object_size(errors))
			continue;
		to->errors = piece(t, NBDS_ERRORS_MAX, sizeof(*to->errors));
		to->error_kinds = 0;
		if (!to->errors)
			return false;
		for (void *e = json_object_iter(errors); e && to->error_kinds < NBDS_ERRORS_MAX;
		     e = json_object_iter_next(errors, e)) {
			struct nbds_error_count *error = &to->errors[to->error_kinds++];

			error->error = (uint32_t)value_of(&nbds_errors, json_object_iter_key(e));
			error->count = nbds_json_count(json_object_iter_value(e));
		}
	}
	return true;
}

static void take_chunks(const json_t *o, struct nbds_connection *c)
{
	static const char *const names[NBDS_CHUNK_KINDS] = {
		[NBDS_CHUNK_NONE] = "NBD_REPLY_TYPE_NONE",
		[NBDS_CHUNK_DATA] = "NBD_REPLY_TYPE_OFFSET_DATA",
		[NBDS_CHUNK_HOLE] = "NBD_REPLY_TYPE_OFFSET_HOLE",
		[NBDS_CHUNK_STATUS] = "NBD_REPLY_TYPE_BLOCK_STATUS",
		[NBDS_CHUNK_ERROR] = "NBD_REPLY_TYPE_ERROR",
		[NBDS_CHUNK_OTHER] = "other",
	};
	const json_t *chunks = json_object_get(o, "chunks");

	for (int i = 0; i < NBDS_CHUNK_KINDS; i++)
		c->chunks[i] = nbds_json_number(chunks, names[i]);
}

static bool take_flushes(struct told_parts *t, const json_t *o, struct nbds_connection *c)
{
	static const struct member members[] = {
		MEMBER(struct nbds_flush_seen, "flush_request", request_frame),
		MEMBER(struct nbds_flush_seen, "flush", reply_frame),
		MEMBER(struct nbds_flush_seen, "covered_own", covered_own),
		MEMBER(struct nbds_flush_seen, "covered_other", covered_other),
		MEMBER(struct nbds_flush_seen, "covered_bytes", covered_bytes),
		MEMBER(struct nbds_flush_seen, "left", left),
	};
	const json_t *list = json_object_get(o, "flush_order");
	size_t count = json_array_size(list);

	c->flushes = count ? piece(t, count, sizeof(*c->flushes)) : NULL;
	if (count && !c->flushes)
		return false;
	for (; c->flush_kept < count; c->flush_kept++) {
		const json_t *from = json_array_get(list, c->flush_kept);
		struct nbds_flush_seen *to = &c->flushes[c->flush_kept];

		NUMBERS(from, members, to);
		to->request_time = moment(from, "time");
		to->ok = is_true(from, "ok");
	}
	return true;
}

static void take_bytes(const json_t *o, struct nbds_connection *c)
{
	static const struct member members[] = {
		MEMBER(struct nbds_accounting, "fed", fed),
		MEMBER(struct nbds_accounting, "decoded", decoded),
		MEMBER(struct nbds_accounting, "lost", lost),
		MEMBER(struct nbds_accounting, "nonsense", nonsense),
		MEMBER(struct nbds_accounting, "skipped", skipped),
		MEMBER(struct nbds_accounting, "tls", tls),
		MEMBER(struct nbds_accounting, "after_end", after_end),
		MEMBER(struct nbds_accounting, "trailing", trailing),
	};
	const json_t *sides = json_object_get(o, "bytes");

	NUMBERS(json_object_get(sides, "client"), members, &c->bytes[NBDS_CLIENT]);
	NUMBERS(json_object_get(sides, "server"), members, &c->bytes[NBDS_SERVER]);
}

static void take_end(const json_t *o, struct nbds_connection *c)
{
	static const char *const ends[] = {
		[NBDS_END_OPEN] = "open",   [NBDS_END_DISCONNECT] = "disconnect",
		[NBDS_END_ABORT] = "abort", [NBDS_END_FIN] = "fin",
		[NBDS_END_RST] = "rst",
	};
	static const char *const sides[] = {[NBDS_CLIENT] = "client", [NBDS_SERVER] = "server"};
	const json_t *closed = json_object_get(o, "closed"), *heard = json_object_get(o, "heard");
	const char *end = nbds_json_text(o, "end"), *by = nbds_json_text(o, "closed_by");
	enum nbds_side first;

	for (size_t i = 0; end && i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!strcmp(ends[i], end))
			c->end = (enum nbds_connection_end)i;
	for (int side = NBDS_CLIENT; side <= NBDS_SERVER; side++) {
		const json_t *at = json_object_get(closed, sides[side]);
		const char *how = nbds_json_text(at, "how");

		c->closed[side].frame = nbds_json_number(at, "frame");
		c->closed[side].time = moment(at, "time");
		c->closed[side].rst = how && !strcmp(how, "rst");
		c->closed[side].ack = NBDS_NO_ACK;
		at = json_object_get(heard, sides[side]);
		c->heard[side].frame = nbds_json_number(at, "frame");
		c->heard[side].time = moment(at, "time");
	}
	/* What the frames do not show was known by what was acknowledged. */
	if (by && nbds_closed_first(c, &first) && strcmp(sides[first], by))
		c->closed[first].ack = 1;
}

static bool take_left_open(struct told_parts *t, const json_t *o, struct nbds_connection *c)
{
	static const struct member members[] = {
		MEMBER(struct nbds_outstanding, "offset", offset),
		MEMBER(struct nbds_outstanding, "length", length),
		MEMBER(struct nbds_outstanding, "request_frame", frame),
		MEMBER(struct nbds_outstanding, "reply_begun_frame", reply_frame),
	};
	const json_t *list = json_object_get(o, "left_open");
	size_t count = json_array_size(list);

	if (count > NBDS_LEFT_OPEN_MAX)
		count = NBDS_LEFT_OPEN_MAX;
	c->left_open = count ? piece(t, count, sizeof(*c->left_open)) : NULL;
	if (count && !c->left_open)
		return false;
	for (; c->left_open_count < count; c->left_open_count++) {
		const json_t *from = json_array_get(list, c->left_open_count);
		struct nbds_outstanding *to = &c->left_open[c->left_open_count];

		NUMBERS(from, members, to);
		to->type = (uint16_t)code(from, "command", &nbds_commands);
		to->flags = (uint16_t)flags(from, "command_flags", &nbds_command_flags);
		to->since = moment(from, "request_time");
	}
	return true;
}

static bool take_connection(struct told_parts *t, json_t *o)
{
	static const struct member members[] = {
		MEMBER(struct nbds_connection, "first_frame", first_frame),
		MEMBER(struct nbds_connection, "last_frame", last_frame),
		MEMBER(struct nbds_connection, "sure_frame", sure_frame),
		MEMBER(struct nbds_connection, "requests", requests),
		MEMBER(struct nbds_connection, "answered", replies),
		MEMBER(struct nbds_connection, "simple_replies", simple_replies),
		MEMBER(struct nbds_connection, "max_in_flight", max_in_flight),
		MEMBER(struct nbds_connection, "unanswered", unanswered),
		MEMBER(struct nbds_connection, "unsolicited", unsolicited),
		MEMBER(struct nbds_connection, "second_replies", second_replies),
		MEMBER(struct nbds_connection, "unflushed_writes", unflushed_writes),
		MEMBER(struct nbds_connection, "unflushed_bytes", unflushed_bytes),
		MEMBER(struct nbds_connection, "flushes", flushes_total),
		MEMBER(struct nbds_connection, "gaps", gaps),
		MEMBER(struct nbds_connection, "gap_bytes", gap_bytes),
		MEMBER(struct nbds_connection, "snaplen_bytes", snaplen_bytes),
		MEMBER(struct nbds_connection, "conflicts", conflicts),
		MEMBER(struct nbds_connection, "discarded", discarded),
		MEMBER(struct nbds_connection, "malformed", malformed),
		MEMBER(struct nbds_connection, "malformed_frame", malformed_frame),
		MEMBER(struct nbds_connection, "nonsense_frame", nonsense_frame),
	};
	uint64_t id = nbds_json_number(o, "id");
	struct nbds_connection *c;

	if (!id || id > UINT32_MAX)
		return fail(t, "a connection without an id");
	c = piece(t, 1, sizeof(*c));
	if (!c || !hold(t, o))
		return false;
	/* from here on its latencies are given back with it */
	if (!nbds_vector_push(&t->connections, &t->budget, c))
		return fail(t, "not enough memory");
	NUMBERS(o, members, c);
	c->id = (uint32_t)id;
	c->client = address(o, "client");
	c->server = address(o, "server");
	c->first_time = moment(o, "start");
	c->last_time = moment(o, "last");
	c->from_start = is_true(o, "from_start");
	c->sure = c->from_start || is_true(o, "sure");
	c->unflushed_since = moment(o, "unflushed_since");
	c->given_up = is_true(o, "given_up");
	c->first_nonsense = plain(t, nbds_json_text(o, "nonsense"));
	take_handshake(o, c);
	take_tls(o, c);
	take_chunks(o, c);
	take_bytes(o, c);
	take_end(o, c);
	return take_options(t, o, c) && take_export_facts(t, o, c) && take_commands(t, o, c) &&
	       take_flushes(t, o, c) && take_left_open(t, o, c);
}

/* --- exports --- */

static bool take_export(struct told_parts *t, json_t *o)
{
	const json_t *ids = json_object_get(o, "connections");
	const json_t *multi_conn = json_object_get(o, "multi_conn");
	const char *word = json_string_value(multi_conn);
	struct nbds_export *e = piece(t, 1, sizeof(*e));
	size_t count = json_array_size(ids);
	uint32_t *list = piece(t, count, sizeof(*list));

	if (!e || !list || !hold(t, o))
		return false;
	e->name = bytes(o, "name", &e->name_len);
	if (!e->name)
		return fail(t, "an export without a name");
	e->server = address(o, "server");
	e->size_seen = json_object_get(o, "size");
	e->size = nbds_json_number(o, "size");
	e->connections = list;
	for (; e->connection_count < count; e->connection_count++)
		list[e->connection_count] =
			(uint32_t)nbds_json_count(json_array_get(ids, e->connection_count));
	e->multi_conn = json_is_true(multi_conn)         ? NBDS_MC_TRUE
			: json_is_false(multi_conn)      ? NBDS_MC_FALSE
			: word && !strcmp(word, "mixed") ? NBDS_MC_MIXED
							 : NBDS_MC_UNKNOWN;
	e->writes = nbds_json_number(o, "writes");
	e->flushes = nbds_json_number(o, "flushes");
	e->fua_writes = nbds_json_number(o, "fua_writes");
	if (!nbds_vector_push(&t->exports, &t->budget, e))
		return fail(t, "not enough memory");
	return true;
}

/* --- findings --- */

static enum nbds_at_fault side_of(const char *side)
{
	if (side && !strcmp(side, "server"))
		return NBDS_FAULT_SERVER;
	return side && !strcmp(side, "client") ? NBDS_FAULT_CLIENT : NBDS_FAULT_EITHER;
}

static int role_of(const char *name)
{
	for (int role = 0; name && role < NBDS_ROLE_MAX; role++)
		if (!strcmp(nbds_role_names[role], name))
			return role;
	return -1;
}

static void take_witnesses(const json_t *list, struct nbds_finding *f)
{
	static const struct member members[] = {
		MEMBER(struct nbds_witness, "offset", offset),
		MEMBER(struct nbds_witness, "length", length),
		MEMBER(struct nbds_witness, "request_frame", request_frame),
		MEMBER(struct nbds_witness, "reply_frame", reply_frame),
	};

	for (size_t i = 0; i < json_array_size(list) && f->witness_count < NBDS_WITNESSES_MAX;
	     i++) {
		const json_t *from = json_array_get(list, i);
		struct nbds_witness *to = &f->witnesses[f->witness_count];
		int role = role_of(nbds_json_text(from, "role"));

		if (role < 0)
			continue;
		NUMBERS(from, members, to);
		to->role = (enum nbds_role)role;
		to->connection = (uint32_t)nbds_json_number(from, "connection");
		to->type = (uint16_t)code(from, "command", &nbds_commands);
		to->flags = (uint16_t)flags(from, "command_flags", &nbds_command_flags);
		to->request_time = moment(from, "request_time");
		to->reply_time = moment(from, "reply_time");
		f->witness_count++;
	}
}

/* Hexadecimal digits; how many bytes. */
static uint8_t unhex(const char *text, uint8_t bytes[NBDS_DIFFER_MAX])
{
	uint8_t count = 0;
	unsigned byte;

	while (text && count < NBDS_DIFFER_MAX && sscanf(text, "%2x", &byte) == 1 && text[1]) {
		bytes[count++] = (uint8_t)byte;
		text += 2;
	}
	return count;
}

static bool take_finding(struct told_parts *t, json_t *o)
{
	const char *rule = nbds_json_text(o, "rule"), *severity = nbds_json_text(o, "severity");
	const json_t *frames = json_object_get(o, "frames"), *differs, *assumptions;
	struct nbds_finding *f = piece(t, 1, sizeof(*f));
	const char **list;
	size_t count;

	if (!f || !hold(t, o))
		return false;
	f->rule = rule ? nbds_rule_find(rule) : NULL;
	if (!f->rule)
		return fail(t, "a finding of a rule that is not known here: another version wrote "
			       "it");
	f->message = plain(t, nbds_json_text(o, "message"));
	if (!f->message || !severity || !nbds_severity_parse(severity, &f->severity))
		return fail(t, "a finding without a message, or without a level");
	f->side = side_of(nbds_json_text(o, "side"));
	f->other_side = f->side != f->rule->side;
	f->connection = (uint32_t)nbds_json_number(o, "connection");
	f->export_name = bytes(o, "export", &f->export_name_len);
	f->command = plain(t, nbds_json_text(o, "command"));
	f->has_range = json_object_get(o, "offset");
	f->offset = nbds_json_number(o, "offset");
	f->length = nbds_json_number(o, "length");
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		f->frames[role] = nbds_json_number(frames, nbds_role_names[role]);
	f->time = moment(o, "time");
	f->count = nbds_json_number(o, "count");
	if (!f->count)
		f->count = 1;
	assumptions = json_object_get(o, "assumptions");
	count = json_array_size(assumptions);
	list = piece(t, count + 1, sizeof(*list));
	if (!list)
		return false;
	f->assumptions = count ? list : NULL;
	for (size_t i = 0, n = 0; i < count; i++) {
		list[n] = plain(t, json_string_value(json_array_get(assumptions, i)));
		n += list[n] != NULL;
	}
	take_witnesses(json_object_get(o, "witnesses"), f);
	differs = json_object_get(o, "differs");
	if (differs) {
		const char *expected = nbds_json_text(differs, "expected");

		f->differ.offset = nbds_json_number(differs, "offset");
		f->differ.count = unhex(nbds_json_text(differs, "came"), f->differ.came);
		f->differ.expected_known = expected &&
					   unhex(expected, f->differ.expected) == f->differ.count;
	}
	if (!nbds_vector_push(&t->findings, &t->budget, f))
		return fail(t, "not enough memory");
	return true;
}

/* --- summary --- */

static void add_unchecked(struct nbds_engine_totals *all, const json_t *unchecked)
{
	for (size_t i = 0; nbds_unchecked_reason(i); i++) {
		const char *reason = nbds_unchecked_reason(i);
		uint64_t bytes = nbds_json_number(unchecked, reason);
		size_t at = 0, n = 0;

		if (!bytes)
			continue;
		/* in the order of reasons */
		while (all->unchecked[at].reason && strcmp(all->unchecked[at].reason, reason)) {
			size_t k = 0;

			while (strcmp(nbds_unchecked_reason(k), all->unchecked[at].reason))
				k++;
			if (k > i)
				break;
			at++;
		}
		if (!all->unchecked[at].reason || strcmp(all->unchecked[at].reason, reason)) {
			for (n = at; all->unchecked[n].reason; n++)
				;
			memmove(&all->unchecked[at + 1], &all->unchecked[at],
				(n - at) * sizeof(all->unchecked[0]));
			all->unchecked[at].reason = reason;
			all->unchecked[at].bytes = 0;
		}
		all->unchecked[at].bytes += bytes;
	}
}

static void add_forgotten(struct nbds_engine_totals *all, const json_t *forgotten)
{
	uint64_t from = nbds_json_number(forgotten, "from"), to = nbds_json_number(forgotten, "to");

	all->forgotten_connections += nbds_json_number(forgotten, "connections");
	all->forgotten_exports += nbds_json_number(forgotten, "exports");
	all->forgotten_servers += nbds_json_number(forgotten, "servers");
	all->given_up += nbds_json_number(forgotten, "given_up");
	all->forgotten_blocks += nbds_json_number(forgotten, "blocks");
	all->forgotten_versions += nbds_json_number(forgotten, "versions");
	if (to && (!all->forgotten_to || from < all->forgotten_from))
		all->forgotten_from = from;
	if (to > all->forgotten_to)
		all->forgotten_to = to;
}

bool told_summary(struct told_parts *t, json_t *o)
{
	const json_t *findings = json_object_get(o, "findings"),
		     *rules = json_object_get(o, "rules");
	const json_t *judged = json_object_get(o, "judged");
	const char *verdict = nbds_json_text(o, "verdict");
	struct nbds_engine_totals *all = &t->told.totals;
	uint64_t connections = nbds_json_number(o, "connections") + all->connections;
	uint64_t exports = nbds_json_number(o, "exports") + all->exports;

	if (!hold(t, o))
		return false;
	if (!verdict)
		return fail(t, "a summary without a verdict");
	t->audited |= strcmp(verdict, "unaudited") != 0;
	/* why nothing was audited is said best by who saw connections */
	if (!t->parts++ || (!all->connections && nbds_json_number(o, "connections")))
		t->told.why = plain(t, nbds_json_text(o, "why"));
	all->connections = connections < UINT32_MAX ? (uint32_t)connections : UINT32_MAX;
	all->exports = exports < UINT32_MAX ? (uint32_t)exports : UINT32_MAX;
	for (int s = NBDS_NOTE; s <= NBDS_VIOLATION; s++) {
		uint64_t count =
			nbds_json_number(findings, nbds_severity_name((enum nbds_severity)s));

		all->findings[s] += count;
	}
	for (size_t i = 0; i < nbds_rules_count; i++)
		t->rules[i] += nbds_json_number(rules, nbds_rules[i].name);
	all->checked_reads += nbds_json_number(judged, "reads");
	all->checked_bytes += nbds_json_number(judged, "bytes");
	all->read_bytes += nbds_json_number(judged, "of_bytes");
	all->memory += nbds_json_number(o, "memory");
	add_unchecked(all, json_object_get(o, "unchecked"));
	add_forgotten(all, json_object_get(o, "forgotten"));
	t->told.left_out += nbds_json_number(o, "left_out");
	t->told.no_room += nbds_json_number(o, "no_room");
	return true;
}

bool told_object(struct told_parts *t, json_t *o)
{
	const char *type = nbds_json_text(o, "type");

	if (!strcmp(type, "connection"))
		return take_connection(t, o);
	if (!strcmp(type, "export"))
		return take_export(t, o);
	if (!strcmp(type, "finding"))
		return take_finding(t, o);
	return true;
}

/* --- all of it --- */

const char *told_error(const struct told_parts *t)
{
	return t->error ? t->error : "";
}

static int by_id(const void *a, const void *b)
{
	const struct nbds_connection *x = *(struct nbds_connection *const *)a,
				     *y = *(struct nbds_connection *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* What its connections were offered. */
static void gather_flags(const struct told_parts *t, struct nbds_export *e)
{
	for (unsigned i = 0; i < e->connection_count; i++) {
		struct nbds_connection key = {.id = e->connections[i]}, *k = &key;
		struct nbds_connection **c =
			t->connections.count ? bsearch(&k, t->connections.at, t->connections.count,
						       sizeof(struct nbds_connection *), by_id)
					     : NULL;

		if (c)
			e->transmission_flags |= (*c)->negotiated.transmission_flags;
	}
}

/* The least of its connections' ids. */
static uint32_t first_of(const struct nbds_export *e)
{
	return e->connection_count ? e->connections[0] : UINT32_MAX;
}

static int by_first(const void *a, const void *b)
{
	const struct nbds_export *x = *(struct nbds_export *const *)a,
				 *y = *(struct nbds_export *const *)b;

	return first_of(x) < first_of(y) ? -1 : first_of(x) > first_of(y);
}

const struct nbds_told *told_finish(struct told_parts *t, const char *error, const char *why)
{
	struct nbds_told *told = &t->told;
	bool found = false;

	if (t->connections.count)
		qsort(t->connections.at, t->connections.count, sizeof(struct nbds_connection *),
		      by_id);
	/* the parts' own order was that of their first requests; across parts it is not known */
	if (t->exports.count && t->parts > 1)
		qsort(t->exports.at, t->exports.count, sizeof(struct nbds_export *), by_first);
	for (size_t i = 0; i < t->exports.count; i++) {
		gather_flags(t, t->exports.at[i]);
		t->exports.at[i]->next = i + 1 < t->exports.count ? t->exports.at[i + 1] : NULL;
	}
	told->connections = (const struct nbds_connection *const *)t->connections.at;
	told->connection_count = t->connections.count;
	told->exports = t->exports.count ? t->exports.at[0] : NULL;
	told->findings = (const struct nbds_finding *const *)t->findings.at;
	told->finding_count = t->findings.count;
	told->rules = t->rules;
	for (int s = NBDS_HAZARD; s <= NBDS_VIOLATION; s++)
		found |= told->totals.findings[s] != 0;
	told->error = error;
	told->unaudited = !found && (!t->audited || why);
	told->shards_wrong = why != NULL;
	if (why)
		told->why = why;
	else if (t->parts > 1 && !told->totals.connections)
		told->why = NULL; /* a shard says that of itself only */
	return told;
}
