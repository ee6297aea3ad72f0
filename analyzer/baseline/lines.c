/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lines.c - reads JSON Lines. See lines.h.
 */
#include "lines.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/protocol.h>

struct line_reader {
	bool (*take)(void *ctx, json_t *value, const struct nbds_json_place *at);
	void *ctx;
	struct nbds_json_place at;
	char *err;
	size_t errsize;
};

__attribute__((format(printf, 2, 3))) static bool fail(const struct line_reader *r,
						       const char *format, ...)
{
	va_list args;
	int n = r->at.line ? snprintf(r->err, r->errsize, "line %" PRIu64 ": ", r->at.line) : 0;

	va_start(args, format);
	if (n >= 0 && (size_t)n < r->errsize)
		vsnprintf(r->err + n, r->errsize - (size_t)n, format, args);
	va_end(args);
	return false;
}

static bool no_memory(const struct line_reader *r)
{
	return fail(r, "not enough memory");
}

bool nbds_json_is_number(const json_t *value)
{
	return json_is_integer(value) ||
	       (json_is_string(value) && isdigit((unsigned char)*json_string_value(value)));
}

uint64_t nbds_json_count(const json_t *value)
{
	json_int_t whole = json_integer_value(value);

	/* see quote_numbers() */
	if (json_is_string(value))
		return nbds_json_is_number(value) ? strtoull(json_string_value(value), NULL, 10)
						  : 0;
	return whole > 0 ? (uint64_t)whole : 0;
}

uint64_t nbds_json_number(const json_t *object, const char *key)
{
	return nbds_json_count(json_object_get(object, key));
}

double nbds_json_real(const json_t *object, const char *key)
{
	double value = json_number_value(json_object_get(object, key));

	return value > 0 ? value : 0;
}

const char *nbds_json_text(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
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

static bool take_line(struct line_reader *r, const char *line, size_t len)
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
			return no_memory(r);
		o = json_loadb(quoted, size, JSON_ALLOW_NUL, &error);
		free(quoted);
	}
	if (!o) {
		char words[256]; /* with what is in the file */

		nbds_escape_text(error.text, strlen(error.text), words, sizeof(words));
		return fail(r, "it is no JSON: %.120s", words);
	}
	taken = r->take(r->ctx, o, &r->at);
	json_decref(o);
	return taken;
}

/* The next line, of at most NBDS_JSON_LINE_MOST bytes: it grows with what is read. */
static bool read_lines(struct line_reader *r, FILE *in)
{
	char *line = NULL;
	size_t used = 0, room = 0;
	uint64_t all = 0;
	bool good = true;
	int c = 0;

	while (good && c != EOF) {
		c = getc_unlocked(in);
		if (c != EOF && ++all > NBDS_JSON_FILE_MOST) {
			good = fail(r, "it is longer than %" PRIu64 " MiB",
				    NBDS_JSON_FILE_MOST >> 20);
			break;
		}
		if (c == EOF || c == '\n') {
			r->at.line++;
			good = take_line(r, line, used);
			used = 0;
			r->at.offset = all;
			continue;
		}
		if (used == room) {
			size_t larger = room ? room * 2 : 4096;
			char *grown = larger <= NBDS_JSON_LINE_MOST ? realloc(line, larger) : NULL;

			if (!grown) {
				r->at.line++;
				good = larger <= NBDS_JSON_LINE_MOST
					       ? no_memory(r)
					       : fail(r, "it is longer than %" PRIu64 " MiB",
						      NBDS_JSON_LINE_MOST >> 20);
				break;
			}
			line = grown;
			room = larger;
		}
		line[used++] = (char)c;
	}
	free(line);
	r->at.line = 0;
	if (good && ferror(in))
		return fail(r, "%s", strerror(errno));
	return good;
}

bool nbds_json_lines(FILE *in,
		     bool (*take)(void *ctx, json_t *value, const struct nbds_json_place *at),
		     void *ctx, char *err, size_t errsize)
{
	struct line_reader r = {.take = take, .ctx = ctx, .err = err, .errsize = errsize};

	return read_lines(&r, in);
}
