/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * baseline.c - reads an earlier report in JSON. See baseline.h.
 */
#include "baseline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <nbdscope/protocol.h>

#include "../report/buf.h"
#include "lines.h"

/* Of docs/json.md. */
#define SCHEMA 1

struct baseline {
	struct nbds_compare *compare;
	const char *path;
	struct nbds_buf export; /* scratch: a name as JSON writes it */
	uint64_t line;
	unsigned capture;
	uint64_t told, findings; /* of a capture: in its findings, and in its summary */
	bool open;               /* a capture without its summary so far */
	char *err;
	size_t errsize;
};

__attribute__((format(printf, 2, 3))) static bool fail(const struct baseline *b, const char *format,
						       ...)
{
	va_list args;
	int n = b->line ? snprintf(b->err, b->errsize, "line %" PRIu64 ": ", b->line) : 0;

	va_start(args, format);
	if (n >= 0 && (size_t)n < b->errsize)
		vsnprintf(b->err + n, b->errsize - (size_t)n, format, args);
	va_end(args);
	return false;
}

static bool no_memory(const struct baseline *b)
{
	return fail(b, "not enough memory");
}

/* A name as this program writes it. NULL: there is none. */
static const char *name(struct baseline *b, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value))
		return NULL;
	nbds_buf_clear(&b->export);
	nbds_json_bytes(&b->export, json_string_value(value), json_string_length(value));
	return nbds_buf_text(&b->export);
}

static bool take_capture(struct baseline *b, const json_t *o)
{
	const char *version = nbds_json_text(o, "version");

	if (b->open)
		return fail(b, "a capture begins before the one before has its summary");
	if (!json_is_integer(json_object_get(o, "schema")) || !version)
		return fail(b, "it is no report of nbdaudit");
	if (nbds_json_number(o, "schema") != SCHEMA)
		return fail(b,
			    "the report has the form %" PRIu64
			    ", and only form %d is known here: another version wrote it (%.40s)",
			    nbds_json_number(o, "schema"), SCHEMA, version);
	if (json_object_get(o, "shard"))
		return fail(b,
			    "it is the report of one shard: compare with the report of all, which "
			    "--merge makes of them");
	if (!b->capture && !nbds_compare_name(b->compare, b->path, version))
		return no_memory(b);
	if (!nbds_compare_capture(b->compare))
		return no_memory(b);
	b->capture++;
	b->open = true;
	b->told = 0;
	return true;
}

static bool take_finding(struct baseline *b, const json_t *o)
{
	const json_t *witnesses = json_object_get(o, "witnesses");
	const json_t *frames = json_object_get(o, "frames");
	struct nbds_compare_finding f = {
		.rule = nbds_json_text(o, "rule"),
		.severity = nbds_json_text(o, "severity"),
		.side = nbds_json_text(o, "side"),
		.command = nbds_json_text(o, "command"),
		.ref = nbds_json_text(o, "ref"),
		.message = nbds_json_text(o, "message"),
		.export = name(b, o, "export"),
		.has_range = nbds_json_is_number(json_object_get(o, "offset")),
		.offset = nbds_json_number(o, "offset"),
		.length = nbds_json_number(o, "length"),
	};
	uint64_t count = nbds_json_number(o, "count");
	enum nbds_severity level;

	if (!f.rule || !f.severity || !nbds_severity_parse(f.severity, &level))
		return fail(b, "a finding without a rule, or without a level");
	for (size_t i = 0; i < json_array_size(witnesses) && i < NBDS_WITNESSES_MAX; i++) {
		const json_t *w = json_array_get(witnesses, i);

		f.witnesses[i].role = nbds_json_text(w, "role");
		f.witnesses[i].connection = nbds_json_number(w, "connection");
		f.witness_count++;
	}
	f.frame = nbds_json_number(frames, "message") ? nbds_json_number(frames, "message")
						      : nbds_json_number(frames, "read");
	b->told += count ? count : 1;
	return nbds_compare_earlier(b->compare, b->capture, &f, count ? count : 1) ? true
										   : no_memory(b);
}

static bool take_connection(struct baseline *b, const json_t *o)
{
	const struct nbds_compare_side side = {
		.there = true,
		.unflushed_writes = nbds_json_number(o, "unflushed_writes"),
		.unflushed_bytes = nbds_json_number(o, "unflushed_bytes"),
	};
	const char *export = name(b, o, "export");
	json_t *commands = json_object_get(o, "commands");

	if (!export)
		return true;
	if (!nbds_compare_add_side(b->compare, b->capture, NBDS_EARLIER, export, &side))
		return no_memory(b);
	/* In the order of the protocol; others than it has are not compared. */
	for (size_t i = 0; i < nbds_commands.count; i++) {
		const char *command = nbds_commands.entries[i].name;
		const json_t *of = json_object_get(commands, command);
		const json_t *latency = json_object_get(of, "latency_us");
		struct nbds_compare_command what = {
			.count = nbds_json_number(of, "count"),
			.replies = nbds_json_number(of, "replies"),
			.bytes = nbds_json_number(of, "bytes"),
			.p50 = nbds_json_real(latency, "p50"),
			.p99 = nbds_json_real(latency, "p99"),
			.max = nbds_json_real(latency, "max"),
		};
		json_t *errors = json_object_get(of, "errors");

		if (!of)
			continue;
		for (void *e = json_object_iter(errors); e; e = json_object_iter_next(errors, e))
			what.errors += nbds_json_count(json_object_iter_value(e));
		if (!nbds_compare_add_command(b->compare, b->capture, NBDS_EARLIER, export, command,
					      &what))
			return no_memory(b);
	}
	return true;
}

static bool take_export(struct baseline *b, const json_t *o)
{
	const struct nbds_compare_side side = {
		.there = true,
		.writes = nbds_json_number(o, "writes"),
		.flushes = nbds_json_number(o, "flushes"),
		.fua_writes = nbds_json_number(o, "fua_writes"),
	};
	const char *export = name(b, o, "name");

	if (!export)
		return true;
	return nbds_compare_add_side(b->compare, b->capture, NBDS_EARLIER, export, &side)
		       ? true
		       : no_memory(b);
}

static bool take_summary(struct baseline *b, const json_t *o)
{
	const json_t *findings = json_object_get(o, "findings");
	uint64_t all = 0, left_out = nbds_json_number(o, "left_out");

	for (int s = NBDS_NOTE; s <= NBDS_VIOLATION; s++)
		all += nbds_json_number(findings, nbds_severity_name((enum nbds_severity)s));
	if (all && !b->told && !left_out)
		return fail(b, "the report was written with --summary: it has no findings that "
			       "could be compared");
	if (left_out)
		return fail(b,
			    "the report was written with --severity: it lacks %" PRIu64
			    " findings that would seem new",
			    left_out);
	b->open = false;
	return true;
}

static bool take_object(void *ctx, json_t *o, const struct nbds_json_place *at)
{
	struct baseline *b = ctx;
	const char *type = json_is_object(o) ? nbds_json_text(o, "type") : NULL;

	b->line = at->line;
	if (!type)
		return fail(b, "it is no report of nbdaudit in JSON");
	if (!strcmp(type, "capture"))
		return take_capture(b, o);
	/* Of rules, and of objects that are not known: a later version may have more. */
	if (!b->open)
		return fail(b, "it is no report of nbdaudit: it does not begin with its capture");
	if (!strcmp(type, "finding"))
		return take_finding(b, o);
	if (!strcmp(type, "connection"))
		return take_connection(b, o);
	if (!strcmp(type, "export"))
		return take_export(b, o);
	if (!strcmp(type, "summary"))
		return take_summary(b, o);
	return true;
}

struct nbds_compare *nbds_baseline_load(const char *path, char *err, size_t errsize)
{
	struct baseline b = {.path = path, .err = err, .errsize = errsize};
	FILE *in = strcmp(path, "-") ? fopen(path, "re") : stdin;
	bool good;

	if (!in) {
		snprintf(err, errsize, "%s", strerror(errno));
		return NULL;
	}
	b.compare = nbds_compare_new();
	good = b.compare ? nbds_json_lines(in, take_object, &b, err, errsize) : no_memory(&b);
	b.line = 0;
	if (good && !b.capture)
		good = fail(&b, "it is empty");
	if (good && b.open)
		good = fail(&b, "the report has no summary: it is not whole");
	if (in != stdin)
		fclose(in);
	nbds_buf_free(&b.export);
	if (good)
		return b.compare;
	nbds_compare_free(b.compare);
	return NULL;
}
