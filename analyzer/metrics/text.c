/* SPDX-License-Identifier: GPL-2.0-or-later */
/* text.c - see text.h. */
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <base/assert.h>

#define SECOND UINT64_C(1000000000)

const char *nbds_metrics_type(enum nbds_metrics_form form)
{
	return form == NBDS_METRICS_OPENMETRICS
		       ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
		       : "text/plain; version=0.0.4; charset=utf-8";
}

/* --- what is accepted --- */

static bool is_type(const char *at, size_t len, const char *type)
{
	return len == strlen(type) && strncasecmp(at, type, len) == 0;
}

/* In thousandths; what is nonsense is 0. */
static unsigned quality(const char *at, size_t len)
{
	const char *end = at + len;

	while (at < end) {
		const char *semicolon = memchr(at, ';', (size_t)(end - at));
		const char *stop = semicolon ? semicolon : end;

		while (at < stop && (*at == ' ' || *at == '\t'))
			at++;
		if (stop - at > 2 && (*at == 'q' || *at == 'Q') && at[1] == '=') {
			unsigned value = 0, scale = 1000;

			for (at += 2; at < stop; at++) {
				if (*at == '.')
					continue;
				if (*at < '0' || *at > '9' || !scale)
					break;
				value += (unsigned)(*at - '0') * scale;
				scale /= 10;
			}
			return value > 1000 ? 1000 : value;
		}
		at = stop + 1;
	}
	return 1000;
}

enum nbds_metrics_form nbds_metrics_accepted(const char *accept)
{
	unsigned any = 0, open = 0, plain = 0;
	bool open_named = false, plain_named = false;

	if (!accept)
		return NBDS_METRICS_OPENMETRICS;
	while (*accept) {
		size_t len, type;
		unsigned q;

		accept += strspn(accept, " \t,");
		len = strcspn(accept, ",");
		type = strcspn(accept, ",; \t");
		q = quality(accept + type, len - type);
		if (is_type(accept, type, "application/openmetrics-text")) {
			open_named = true;
			open = q > open ? q : open;
		} else if (is_type(accept, type, "text/plain") ||
			   is_type(accept, type, "text/html") || is_type(accept, type, "text/*")) {
			plain_named = true;
			plain = q > plain ? q : plain;
		} else if (is_type(accept, type, "*/*")) {
			any = q;
		}
		accept += len;
	}
	if (!open_named)
		open = any;
	if (!plain_named)
		plain = any;
	return plain > open ? NBDS_METRICS_PROMETHEUS : NBDS_METRICS_OPENMETRICS;
}

/* --- lines --- */

enum type { COUNTER, GAUGE, HISTOGRAM, INFO };

struct exposition {
	struct nbds_buf *b;
	enum nbds_metrics_form form;
	const char *name; /* of the family, without a suffix */
	enum type type;
};

/* `unit`: the last word of the name, or NULL. */
static void family(struct exposition *w, enum type type, const char *name, const char *unit,
		   const char *help)
{
	static const char *const types[] = {"counter", "gauge", "histogram", "info"};
	bool open = w->form == NBDS_METRICS_OPENMETRICS;
	const char *suffix = "";

	w->name = name;
	w->type = type;
	/* The older format names samples, not families, and has no information. */
	if (!open && (type == COUNTER || type == INFO))
		suffix = type == COUNTER ? "_total" : "_info";
	nbds_buf_printf(w->b, "# HELP %s%s %s\n", name, suffix, help);
	nbds_buf_printf(w->b, "# TYPE %s%s %s\n", name, suffix,
			types[!open && type == INFO ? GAUGE : type]);
	if (open && unit)
		nbds_buf_printf(w->b, "# UNIT %s %s\n", name, unit);
}

/* `labels`: "a=\"b\",c=\"d\"", or NULL. */
static void sample(struct exposition *w, const char *labels)
{
	nbds_buf_printf(w->b, "%s%s%s%s%s ", w->name,
			w->type == COUNTER ? "_total"
			: w->type == INFO  ? "_info"
					   : "",
			labels ? "{" : "", labels ? labels : "", labels ? "}" : "");
}

static void number(struct exposition *w, uint64_t value)
{
	nbds_buf_printf(w->b, "%" PRIu64 "\n", value);
}

static void seconds(struct exposition *w, uint64_t ns)
{
	nbds_buf_printf(w->b, "%" PRIu64 ".%09" PRIu64 "\n", ns / SECOND, ns % SECOND);
}

static void one(struct exposition *w, enum type type, const char *name, const char *unit,
		const char *help, uint64_t value)
{
	family(w, type, name, unit, help);
	sample(w, NULL);
	number(w, value);
}

static void one_time(struct exposition *w, enum type type, const char *name, const char *help,
		     uint64_t ns)
{
	family(w, type, name, "seconds", help);
	sample(w, NULL);
	seconds(w, ns);
}

static void labelled(struct exposition *w, const char *label, const char *word, uint64_t value)
{
	char labels[128];

	/* Words of this program, of which none is that long. */
	NBDS_ASSERT(strlen(label) + strlen(word) + 4 < sizeof(labels));
	snprintf(labels, sizeof(labels), "%s=\"%s\"", label, word);
	sample(w, labels);
	number(w, value);
}

static uint64_t since(int64_t from, int64_t to)
{
	return to > from ? (uint64_t)to - (uint64_t)from : 0;
}

/* --- the program --- */

static void put_program(struct exposition *w, const struct nbds_metrics_snapshot *s)
{
	char labels[96];

	family(w, INFO, "nbdscope_build", NULL, "The program and its version.");
	snprintf(labels, sizeof(labels), "program=\"%.*s\",version=\"%s\"",
		 (int)sizeof(s->program) - 1, s->program, NBDSCOPE_VERSION);
	sample(w, labels);
	number(w, 1);
	one(w, GAUGE, "nbdscope_running", NULL,
	    "1 while packets are read; 0 in the last text of a program that has ended.",
	    s->running);
	one_time(w, GAUGE, "nbdscope_start_time_seconds",
		 "When the program was started, in seconds since 1970.", since(0, s->started));
	one_time(w, GAUGE, "nbdscope_snapshot_time_seconds",
		 "When these numbers were taken, in seconds since 1970.", since(0, s->taken));
	one_time(w, COUNTER, "nbdscope_process_cpu_seconds",
		 "Time that the program has computed, on all threads.", s->processor);
	if (s->resident)
		one(w, GAUGE, "nbdscope_process_resident_memory_bytes", "bytes",
		    "Memory that the program takes of the machine.", s->resident);
	one(w, GAUGE, "nbdscope_state_memory_bytes", "bytes",
	    "Memory for contents and state of what is audited.", s->counts.memory);
	one(w, GAUGE, "nbdscope_state_memory_limit_bytes", "bytes",
	    "The most memory for contents and state; past it the oldest are forgotten.",
	    s->memory_limit);
}

/* --- packets --- */

static void put_packets(struct exposition *w, const struct nbds_metrics_packets *p)
{
	static const char *const reasons[NBDS_UNFOLLOWED_MAX] = {
		[NBDS_UNFOLLOWED_NOT_TCP] = "not-tcp",
		[NBDS_UNFOLLOWED_MALFORMED] = "malformed",
		[NBDS_UNFOLLOWED_UNKNOWN_LINK] = "unknown-link",
		[NBDS_UNFOLLOWED_HEADERS] = "headers-cut-off",
		[NBDS_UNFOLLOWED_FRAGMENTS] = "fragments-missing",
		[NBDS_UNFOLLOWED_CHECKSUM] = "wrong-checksum",
	};

	one(w, COUNTER, "nbdscope_packets", NULL, "Packets seen.", p->frames);
	one(w, COUNTER, "nbdscope_packet_bytes", "bytes", "Bytes of the packets seen.", p->bytes);
	one(w, COUNTER, "nbdscope_packets_cut", NULL,
	    "Packets of which the snapshot length cut off a part.", p->truncated);
	family(w, COUNTER, "nbdscope_packets_lost", NULL,
	       "Packets that the capture lost: the kernel, because its buffer was full, or the "
	       "interface.");
	labelled(w, "by", "kernel", p->lost_kernel);
	labelled(w, "by", "interface", p->lost_interface);
	family(w, COUNTER, "nbdscope_packets_not_followed", NULL,
	       "Packets that could not be a part of an NBD connection, or could not be read.");
	for (unsigned i = 0; i < NBDS_UNFOLLOWED_MAX; i++)
		labelled(w, "reason", reasons[i], p->unfollowed[i]);
}

/* --- connections --- */

static void put_connections(struct exposition *w, const struct nbds_counts *c)
{
	static const char *const ends[] = {
		[NBDS_END_OPEN] = "unseen", [NBDS_END_DISCONNECT] = "disconnect",
		[NBDS_END_ABORT] = "abort", [NBDS_END_FIN] = "fin",
		[NBDS_END_RST] = "rst",
	};
	uint64_t ended = 0;

	for (unsigned i = 0; i <= NBDS_END_RST; i++)
		ended += c->ended[i];
	one(w, COUNTER, "nbdscope_connections", NULL, "NBD connections seen.", c->connections);
	one(w, GAUGE, "nbdscope_connections_open", NULL, "NBD connections that are open.",
	    c->connections - ended);
	family(w, COUNTER, "nbdscope_connections_ended", NULL,
	       "NBD connections that ended, by how: NBD_CMD_DISC, NBD_OPT_ABORT, FIN or RST "
	       "alone, or an end that was not seen.");
	for (unsigned i = 0; i <= NBDS_END_RST; i++)
		labelled(w, "end", ends[i], c->ended[i]);
	one(w, COUNTER, "nbdscope_connections_given_up", NULL,
	    "NBD connections that were not followed to their end, for want of memory.",
	    c->given_up);
	one(w, COUNTER, "nbdscope_connections_encrypted", NULL,
	    "NBD connections that went over to TLS and could not be looked into from then on.",
	    c->encrypted);
	one(w, COUNTER, "nbdscope_encrypted_bytes", "bytes",
	    "Bytes of NBD connections that could not be looked into, as they are encrypted.",
	    c->encrypted_bytes);
	one(w, COUNTER, "nbdscope_gaps", NULL,
	    "Holes in NBD connections: bytes that were sent and are not in the capture.", c->gaps);
	one(w, COUNTER, "nbdscope_gap_bytes", "bytes", "Bytes in these holes.", c->gap_bytes);
	one(w, COUNTER, "nbdscope_malformed_messages", NULL,
	    "Messages whose inner lengths do not fit.", c->malformed);
}

/* --- commands --- */

static const char *command_name(unsigned kind)
{
	const char *name = kind < NBDS_COMMAND_KINDS - 1 ? nbds_name_of(&nbds_commands, kind)
							 : NULL;

	return name ? name : "other";
}

/* A number that has no name is that of the last kind, too. */
static bool has_name(unsigned kind)
{
	return kind == NBDS_COMMAND_KINDS - 1 || nbds_name_of(&nbds_commands, kind);
}

static void put_histogram(struct exposition *w, const struct nbds_command_counts *c,
			  const char *command)
{
	/* As OpenMetrics writes numbers, and so that both formats make the same series. */
	static const char *const bounds[NBDS_COUNTS_BOUNDS] = {
		"1e-05",  "2.5e-05", "5e-05", "0.0001", "0.00025", "0.0005", "0.001",
		"0.0025", "0.005",   "0.01",  "0.025",  "0.05",    "0.1",    "0.25",
		"0.5",    "1.0",     "2.5",   "5.0",    "10.0",    "30.0"};
	uint64_t sum = 0;

	for (unsigned i = 0; i <= NBDS_COUNTS_BOUNDS; i++) {
		sum += c->buckets[i];
		nbds_buf_printf(w->b, "%s_bucket{command=\"%s\",le=\"%s\"} %" PRIu64 "\n", w->name,
				command, i < NBDS_COUNTS_BOUNDS ? bounds[i] : "+Inf", sum);
	}
	nbds_buf_printf(w->b, "%s_count{command=\"%s\"} %" PRIu64 "\n", w->name, command, c->timed);
	nbds_buf_printf(w->b, "%s_sum{command=\"%s\"} ", w->name, command);
	seconds(w, c->time);
}

static void put_errors(struct exposition *w, const struct nbds_command_counts *c,
		       const char *command)
{
	uint64_t other = 0;
	char labels[128];

	/* Success is no error, though some servers say it with one. */
	for (unsigned i = 0; i < NBDS_COUNTS_ERRORS; i++) {
		if (i >= nbds_errors.count || nbds_errors.entries[i].value == NBD_SUCCESS) {
			other += c->errors[i];
			continue;
		}
		snprintf(labels, sizeof(labels), "command=\"%s\",error=\"%s\"", command,
			 nbds_errors.entries[i].name);
		sample(w, labels);
		number(w, c->errors[i]);
	}
	snprintf(labels, sizeof(labels), "command=\"%s\",error=\"other\"", command);
	sample(w, labels);
	number(w, other);
}

static void put_commands(struct exposition *w, const struct nbds_counts *c)
{
	static const struct {
		const char *name, *unit, *help;
		size_t at;
	} counters[] = {
		{"nbdscope_requests", NULL, "Requests, by command.",
		 offsetof(struct nbds_command_counts, requests)},
		{"nbdscope_replies", NULL, "Requests that were finally answered, by command.",
		 offsetof(struct nbds_command_counts, replies)},
		{"nbdscope_requests_fua", NULL, "Requests with NBD_CMD_FLAG_FUA, by command.",
		 offsetof(struct nbds_command_counts, fua)},
		{"nbdscope_requested_bytes", "bytes",
		 "Bytes of the export that requests are about, by command.",
		 offsetof(struct nbds_command_counts, bytes)},
		{"nbdscope_data_bytes", "bytes",
		 "Bytes that were read or written with success, by command.",
		 offsetof(struct nbds_command_counts, data_bytes)},
	};

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		family(w, COUNTER, counters[i].name, counters[i].unit, counters[i].help);
		for (unsigned kind = 0; kind < NBDS_COMMAND_KINDS; kind++) {
			const char *at = (const char *)&c->commands[kind] + counters[i].at;
			uint64_t value;

			memcpy(&value, at, sizeof(value));
			if (has_name(kind))
				labelled(w, "command", command_name(kind), value);
		}
	}
	one(w, GAUGE, "nbdscope_requests_in_flight", NULL, "Requests that wait for their reply.",
	    c->in_flight);
	one(w, COUNTER, "nbdscope_requests_unanswered", NULL,
	    "Requests that were never answered, as far as was seen.", c->unanswered);
	one(w, COUNTER, "nbdscope_replies_unsolicited", NULL, "Replies to no request.",
	    c->unsolicited);
	family(w, HISTOGRAM, "nbdscope_command_duration_seconds", "seconds",
	       "From the first byte of a request to the last of its reply, by command.");
	/* NBD_CMD_DISC has no reply. */
	for (unsigned kind = 0; kind < NBDS_COMMAND_KINDS; kind++)
		if (has_name(kind) && kind != NBD_CMD_DISC)
			put_histogram(w, &c->commands[kind], command_name(kind));
	family(w, COUNTER, "nbdscope_errors", NULL,
	       "Commands that failed, by command and by the error of the reply.");
	for (unsigned kind = 0; kind < NBDS_COMMAND_KINDS; kind++)
		if (has_name(kind) && kind != NBD_CMD_DISC)
			put_errors(w, &c->commands[kind], command_name(kind));
}

/* --- judgement --- */

static void put_unflushed(struct exposition *w, const struct nbds_metrics_snapshot *s)
{
	const struct nbds_counts *c = &s->counts;

	one(w, GAUGE, "nbdscope_unflushed_writes", NULL,
	    "Writes that were answered and that no flush has covered yet.", c->unflushed_writes);
	one(w, GAUGE, "nbdscope_unflushed_bytes", "bytes", "Bytes of these writes.",
	    c->unflushed_bytes);
	one_time(w, GAUGE, "nbdscope_unflushed_age_seconds",
		 "How long ago the oldest of these writes was answered; 0 if there is none.",
		 c->unflushed_writes ? since(c->unflushed_since, s->now) : 0);
}

static void put_findings(struct exposition *w, const struct nbds_counts *c)
{
	uint64_t levels[4] = {0};
	char labels[192];

	NBDS_ASSERT(nbds_rules_count <= NBDS_COUNTS_RULES);
	for (size_t i = 0; i < nbds_rules_count && i < NBDS_COUNTS_RULES; i++)
		for (unsigned level = 0; level < 4; level++)
			levels[level] += c->findings[i][level];
	family(w, COUNTER, "nbdscope_findings", NULL, "Findings, by level.");
	for (int level = NBDS_VIOLATION; level >= NBDS_NOTE; level--)
		labelled(w, "level", nbds_severity_name((enum nbds_severity)level), levels[level]);
	family(w, COUNTER, "nbdscope_rule_findings", NULL,
	       "Findings, by rule and level; a rule that was never broken has no line.");
	for (size_t i = 0; i < nbds_rules_count && i < NBDS_COUNTS_RULES; i++) {
		for (unsigned level = 0; level < 4; level++) {
			if (!c->findings[i][level])
				continue;
			snprintf(labels, sizeof(labels), "rule=\"%s\",level=\"%s\"",
				 nbds_rules[i].name, nbds_severity_name((enum nbds_severity)level));
			sample(w, labels);
			number(w, c->findings[i][level]);
		}
	}
}

static void put_judged(struct exposition *w, const struct nbds_counts *c)
{
	one(w, COUNTER, "nbdscope_read_bytes", "bytes", "Bytes that clients read.", c->read_bytes);
	one(w, COUNTER, "nbdscope_judged_reads", NULL,
	    "Reads of which at least a part was held against what had been written.",
	    c->checked_reads);
	one(w, COUNTER, "nbdscope_judged_bytes", "bytes",
	    "Bytes read that were held against what had been written.", c->checked_bytes);
	family(w, COUNTER, "nbdscope_unjudged_bytes", "bytes",
	       "Bytes read that could not be judged, by reason.");
	for (unsigned i = 0; i < NBDS_COUNTS_UNCHECKED && nbds_unchecked_name(i); i++)
		labelled(w, "reason", nbds_unchecked_name(i), c->unchecked[i]);
}

void nbds_metrics_text(struct nbds_buf *b, const struct nbds_metrics_snapshot *s,
		       enum nbds_metrics_form form)
{
	struct exposition w = {.b = b, .form = form};

	put_program(&w, s);
	put_packets(&w, &s->packets);
	put_connections(&w, &s->counts);
	put_commands(&w, &s->counts);
	put_unflushed(&w, s);
	put_findings(&w, &s->counts);
	put_judged(&w, &s->counts);
	if (form == NBDS_METRICS_OPENMETRICS)
		nbds_buf_puts(b, "# EOF\n");
}
