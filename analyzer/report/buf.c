/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf.c - growing text, numbers for people, and JSON.
 */
#include "buf.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void nbds_buf_free(struct nbds_buf *b)
{
	free(b->s);
	memset(b, 0, sizeof(*b));
}

void nbds_buf_clear(struct nbds_buf *b)
{
	b->len = 0;
	if (b->s)
		b->s[0] = '\0';
}

const char *nbds_buf_text(const struct nbds_buf *b)
{
	return b->s ? b->s : "";
}

/* Room for `more` bytes and a NUL. */
static bool reserve(struct nbds_buf *b, size_t more)
{
	size_t size = b->size ? b->size : 256;
	char *s;

	if (more > SIZE_MAX / 4 || b->len > SIZE_MAX / 4) {
		b->failed = true;
		return false;
	}
	if (b->len + more < b->size)
		return true;
	while (size <= b->len + more)
		size *= 2;
	s = realloc(b->s, size);
	if (!s) {
		b->failed = true;
		return false;
	}
	b->s = s;
	b->size = size;
	return true;
}

void nbds_buf_add(struct nbds_buf *b, const char *s, size_t len)
{
	if (!reserve(b, len))
		return;
	memcpy(b->s + b->len, s, len);
	b->len += len;
	b->s[b->len] = '\0';
}

void nbds_buf_puts(struct nbds_buf *b, const char *s)
{
	nbds_buf_add(b, s, strlen(s));
}

void nbds_buf_printf(struct nbds_buf *b, const char *format, ...)
{
	va_list args;
	int n;

	if (!reserve(b, 128))
		return;
	va_start(args, format);
	n = vsnprintf(b->s + b->len, b->size - b->len, format, args);
	va_end(args);
	if (n < 0) {
		b->s[b->len] = '\0';
		return;
	}
	if ((size_t)n >= b->size - b->len) {
		if (!reserve(b, (size_t)n)) {
			b->s[b->len] = '\0';
			return;
		}
		va_start(args, format);
		vsnprintf(b->s + b->len, b->size - b->len, format, args);
		va_end(args);
	}
	b->len += (size_t)n;
}

/* Appends what one of the escaping functions makes of the bytes. */
static void escape(struct nbds_buf *b, size_t (*how)(const void *, size_t, char *, size_t),
		   const void *bytes, size_t len)
{
	size_t n = how(bytes, len, NULL, 0);

	if (!reserve(b, n))
		return;
	how(bytes, len, b->s + b->len, n + 1);
	b->len += n;
}

void nbds_buf_escape(struct nbds_buf *b, const void *bytes, size_t len)
{
	escape(b, nbds_escape_text, bytes, len);
}

void nbds_buf_quote(struct nbds_buf *b, const void *bytes, size_t len)
{
	nbds_buf_puts(b, "\"");
	nbds_buf_escape(b, bytes, len);
	nbds_buf_puts(b, "\"");
}

/* `value` with three significant digits, and none after the point that are 0. */
static void three_digits(struct nbds_buf *b, double value, const char *unit)
{
	int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
	char text[32];
	size_t len = (size_t)snprintf(text, sizeof(text), "%.*f", decimals, value);

	if (decimals) {
		while (text[len - 1] == '0')
			len--;
		if (text[len - 1] == '.')
			len--;
	}
	nbds_buf_add(b, text, len);
	nbds_buf_puts(b, " ");
	nbds_buf_puts(b, unit);
}

void nbds_buf_size(struct nbds_buf *b, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	if (bytes < 1024) {
		nbds_buf_count(b, bytes, "byte", NULL);
		return;
	}
	for (value /= 1024; value >= 1023.5 && unit < 5; unit++)
		value /= 1024;
	three_digits(b, value, units[unit]);
}

void nbds_buf_size_exact(struct nbds_buf *b, uint64_t bytes)
{
	nbds_buf_size(b, bytes);
	if (bytes >= 1024)
		nbds_buf_printf(b, " (%" PRIu64 " bytes)", bytes);
}

void nbds_buf_duration(struct nbds_buf *b, uint64_t ns)
{
	if (ns < 1000)
		nbds_buf_printf(b, "%" PRIu64 " ns", ns);
	else if (ns < 999500)
		three_digits(b, (double)ns / 1e3, "us");
	else if (ns < 999500000)
		three_digits(b, (double)ns / 1e6, "ms");
	else
		three_digits(b, (double)ns / 1e9, "s");
}

void nbds_buf_count(struct nbds_buf *b, uint64_t n, const char *one, const char *many)
{
	nbds_buf_printf(b, "%" PRIu64 " ", n);
	if (n != 1 && many) {
		nbds_buf_puts(b, many);
		return;
	}
	nbds_buf_puts(b, one);
	if (n != 1)
		nbds_buf_puts(b, "s");
}

void nbds_buf_time(struct nbds_buf *b, int64_t ns)
{
	uint64_t magnitude = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;

	nbds_buf_printf(b, "%s%" PRIu64 ".%09" PRIu64, ns < 0 ? "-" : "", magnitude / 1000000000,
			magnitude % 1000000000);
}

void nbds_buf_flags(struct nbds_buf *b, const struct nbds_name_table *table, uint64_t flags)
{
	struct nbds_flag_iter it;
	const char *name, *between = "";

	if (!flags) {
		nbds_buf_puts(b, "none");
		return;
	}
	nbds_flags_begin(&it, table, flags);
	while ((name = nbds_flags_next(&it))) {
		nbds_buf_puts(b, between);
		nbds_buf_puts(b, name);
		between = ", ";
	}
}

/* --- JSON --- */

static void comma(struct nbds_buf *b)
{
	char last = b->len ? b->s[b->len - 1] : '{';

	if (last != '{' && last != '[' && last != ':')
		nbds_buf_puts(b, ",");
}

void nbds_json_open(struct nbds_buf *b, char bracket)
{
	comma(b);
	nbds_buf_add(b, &bracket, 1);
}

void nbds_json_close(struct nbds_buf *b, char bracket)
{
	nbds_buf_add(b, &bracket, 1);
}

/* Nothing of it has to be escaped: so it is with nearly all keys and names. */
static bool is_plain(const uint8_t *bytes, size_t len)
{
	bool plain = true;

	for (size_t i = 0; i < len; i++)
		plain &= bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '"' && bytes[i] != '\\';
	return plain;
}

void nbds_json_bytes(struct nbds_buf *b, const void *bytes, size_t len)
{
	comma(b);
	if (is_plain(bytes, len)) {
		if (!reserve(b, len + 2))
			return;
		b->s[b->len] = '"';
		if (len)
			memcpy(b->s + b->len + 1, bytes, len);
		b->s[b->len + 1 + len] = '"';
		b->len += len + 2;
		b->s[b->len] = '\0';
		return;
	}
	nbds_buf_puts(b, "\"");
	escape(b, nbds_escape_json, bytes, len);
	nbds_buf_puts(b, "\"");
}

void nbds_json_string(struct nbds_buf *b, const char *s)
{
	nbds_json_bytes(b, s, strlen(s));
}

void nbds_json_key(struct nbds_buf *b, const char *key)
{
	nbds_json_string(b, key);
	nbds_buf_puts(b, ":");
}

void nbds_json_u64(struct nbds_buf *b, uint64_t value)
{
	char digits[20]; /* of 2^64 */
	size_t at = sizeof(digits);

	comma(b);
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	nbds_buf_add(b, digits + at, sizeof(digits) - at);
}

void nbds_json_bool(struct nbds_buf *b, bool value)
{
	comma(b);
	nbds_buf_puts(b, value ? "true" : "false");
}

void nbds_json_time(struct nbds_buf *b, int64_t ns)
{
	comma(b);
	nbds_buf_puts(b, "\"");
	nbds_buf_time(b, ns);
	nbds_buf_puts(b, "\"");
}

void nbds_json_us(struct nbds_buf *b, uint64_t ns)
{
	char text[40];
	size_t len;

	comma(b);
	len = (size_t)snprintf(text, sizeof(text), "%" PRIu64 ".%03" PRIu64, ns / 1000, ns % 1000);
	while (text[len - 1] == '0')
		len--;
	if (text[len - 1] == '.')
		len--;
	nbds_buf_add(b, text, len);
}

void nbds_json_flags(struct nbds_buf *b, const struct nbds_name_table *table, uint64_t flags)
{
	struct nbds_flag_iter it;
	const char *name;

	nbds_json_open(b, '[');
	nbds_flags_begin(&it, table, flags);
	while ((name = nbds_flags_next(&it)))
		nbds_json_string(b, name);
	nbds_json_close(b, ']');
}

void nbds_json_member_u64(struct nbds_buf *b, const char *key, uint64_t value)
{
	nbds_json_key(b, key);
	nbds_json_u64(b, value);
}

void nbds_json_member_string(struct nbds_buf *b, const char *key, const char *s)
{
	nbds_json_key(b, key);
	nbds_json_string(b, s);
}

void nbds_json_member_bool(struct nbds_buf *b, const char *key, bool value)
{
	nbds_json_key(b, key);
	nbds_json_bool(b, value);
}

void nbds_json_member_bytes(struct nbds_buf *b, const char *key, const void *bytes, size_t len)
{
	nbds_json_key(b, key);
	nbds_json_bytes(b, bytes, len);
}

void nbds_json_member_open(struct nbds_buf *b, const char *key, char bracket)
{
	nbds_json_key(b, key);
	nbds_json_open(b, bracket);
}
