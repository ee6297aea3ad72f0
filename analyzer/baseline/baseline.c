/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * baseline.c - reads an earlier report in JSON. See baseline.h.
 */
#include "baseline.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <nbdscope/protocol.h>

#include "../report/buf.h"

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

static bool is_number(const json_t *value)
{
	return json_is_integer(value) ||
	       (json_is_string(value) && isdigit((unsigned char)*json_string_value(value)));
}

/* A number that is not there, or is none, or less than nothing, is 0. */
static uint64_t count_of(const json_t *number)
{
	json_int_t value = json_integer_value(number);

	/* see quote_numbers() */
	if (json_is_string(number))
		return is_number(number) ? strtoull(json_string_value(number), NULL, 10) : 0;
	return value > 0 ? (uint64_t)value : 0;
}

static uint64_t number(const json_t *object, const char *key)
{
	return count_of(json_object_get(object, key));
}

static double real(const json_t *object, const char *key)
{
	double value = json_number_value(json_object_get(object, key));

	return value > 0 ? value : 0;
}

/* NULL: there is none. What follows a NUL inside of it is not looked at. */
static const char *text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
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
	const char *version = text(o, "version");

	if (b->open)
		return fail(b, "a capture begins before the one before has its summary");
	if (!json_is_integer(json_object_get(o, "schema")) || !version)
		return fail(b, "it is no report of nbdaudit");
	if (number(o, "schema") != SCHEMA)
		return fail(b,
			    "the report has the form %" PRIu64
			    ", and only form %d is known here: another version wrote it (%.40s)",
			    number(o, "schema"), SCHEMA, version);
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
		.rule = text(o, "rule"),
		.severity = text(o, "severity"),
		.side = text(o, "side"),
		.command = text(o, "command"),
		.ref = text(o, "ref"),
		.message = text(o, "message"),
		.export = name(b, o, "export"),
		.has_range = is_number(json_object_get(o, "offset")),
		.offset = number(o, "offset"),
		.length = number(o, "length"),
	};
	uint64_t count = number(o, "count");
	enum nbds_severity level;

	if (!f.rule || !f.severity || !nbds_severity_parse(f.severity, &level))
		return fail(b, "a finding without a rule, or without a level");
	for (size_t i = 0; i < json_array_size(witnesses) && i < NBDS_WITNESSES_MAX; i++) {
		const json_t *w = json_array_get(witnesses, i);

		f.witnesses[i].role = text(w, "role");
		f.witnesses[i].connection = number(w, "connection");
		f.witness_count++;
	}
	f.frame = number(frames, "message") ? number(frames, "message") : number(frames, "read");
	b->told += count ? count : 1;
	return nbds_compare_earlier(b->compare, b->capture, &f, count ? count : 1) ? true
										   : no_memory(b);
}

static bool take_connection(struct baseline *b, const json_t *o)
{
	const struct nbds_compare_side side = {
		.there = true,
		.unflushed_writes = number(o, "unflushed_writes"),
		.unflushed_bytes = number(o, "unflushed_bytes"),
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
			.count = number(of, "count"),
			.replies = number(of, "replies"),
			.bytes = number(of, "bytes"),
			.p50 = real(latency, "p50"),
			.p99 = real(latency, "p99"),
			.max = real(latency, "max"),
		};
		json_t *errors = json_object_get(of, "errors");

		if (!of)
			continue;
		for (void *e = json_object_iter(errors); e; e = json_object_iter_next(errors, e))
			what.errors += count_of(json_object_iter_value(e));
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
		.writes = number(o, "writes"),
		.flushes = number(o, "flushes"),
		.fua_writes = number(o, "fua_writes"),
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
	uint64_t all = 0, left_out = number(o, "left_out");

	for (int s = NBDS_NOTE; s <= NBDS_VIOLATION; s++)
		all += number(findings, nbds_severity_name((enum nbds_severity)s));
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

static bool take_object(struct baseline *b, const json_t *o)
{
	const char *type = json_is_object(o) ? text(o, "type") : NULL;

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

/* Jansson's integers have 63 bits, and those of reports 64: such an offset, or such a counter
 * of drops, becomes a string. NULL: no memory. */
static char *quote_numbers(const char *line, size_t len, size_t *quoted)
{
	/* Digits of the least that are too many; each such number gets two marks. */
	const size_t many = 19;
	char *out = malloc(len + 2 * (len / many) + 1);
	bool string = false;
	size_t to = 0;

	for (size_t i = 0; out && i < len;) {
		size_t digits = 0;
		bool whole = !string && i && strchr(":,[ ", line[i - 1]);

		while (whole && i + digits < len && isdigit((unsigned char)line[i + digits]))
			digits++;
		if (digits >= many && i + digits < len && strchr(",}] ", line[i + digits])) {
			out[to++] = '"';
			memcpy(out + to, line + i, digits);
			to += digits;
			out[to++] = '"';
			i += digits;
			continue;
		}
		if (string && line[i] == '\\' && i + 1 < len)
			out[to++] = line[i++];
		else if (line[i] == '"')
			string = !string;
		out[to++] = line[i++];
	}
	*quoted = to;
	return out;
}

static bool take_line(struct baseline *b, const char *line, size_t len)
{
	json_error_t error;
	json_t *o;
	bool taken;

	while (len && (line[len - 1] == '\n' || line[len - 1] == '\r' || line[len - 1] == ' '))
		len--;
	if (!len)
		return true;
	o = json_loadb(line, len, JSON_ALLOW_NUL, &error);
	if (!o && json_error_code(&error) == json_error_numeric_overflow) {
		size_t size = 0;
		char *quoted = quote_numbers(line, len, &size);

		if (!quoted)
			return no_memory(b);
		o = json_loadb(quoted, size, JSON_ALLOW_NUL, &error);
		free(quoted);
	}
	if (!o)
		return fail(b, "it is no JSON: %.120s", error.text);
	taken = take_object(b, o);
	json_decref(o);
	return taken;
}

/* The next line, of at most NBDS_BASELINE_LINE_MOST bytes: it grows with what is read. */
static bool read_lines(struct baseline *b, FILE *in)
{
	char *line = NULL;
	size_t used = 0, room = 0;
	uint64_t all = 0;
	bool good = true;
	int c = 0;

	while (good && c != EOF) {
		c = getc_unlocked(in);
		if (c != EOF && ++all > NBDS_BASELINE_MOST) {
			good = fail(b, "it is longer than %" PRIu64 " MiB",
				    NBDS_BASELINE_MOST >> 20);
			break;
		}
		if (c == EOF || c == '\n') {
			b->line++;
			good = take_line(b, line, used);
			used = 0;
			continue;
		}
		if (used == room) {
			size_t larger = room ? room * 2 : 4096;
			char *grown = larger <= NBDS_BASELINE_LINE_MOST ? realloc(line, larger)
									: NULL;

			if (!grown) {
				b->line++;
				good = larger <= NBDS_BASELINE_LINE_MOST
					       ? no_memory(b)
					       : fail(b, "it is longer than %" PRIu64 " MiB",
						      NBDS_BASELINE_LINE_MOST >> 20);
				break;
			}
			line = grown;
			room = larger;
		}
		line[used++] = (char)c;
	}
	free(line);
	b->line = 0;
	if (good && ferror(in))
		return fail(b, "%s", strerror(errno));
	return good;
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
	good = b.compare ? read_lines(&b, in) : no_memory(&b);
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
