/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_escape.c - bytes of the wire on their way to people and programs.
 *
 * The input is any bytes.  For a terminal and inside a JSON string they must become
 * valid UTF-8 without a control character, whatever room there is for it: what fits is
 * the beginning of the whole, cut between characters and escapes, and the length said
 * is that of the whole.  In JSON each backslash begins an escape that JSON knows, and
 * no quote stands alone.  What buf.h makes of them is the same.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/protocol.h>

#include "analyzer/report/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                  \
	do {                                                              \
		if (!(condition)) {                                       \
			fprintf(stderr, "fuzz_escape: " #condition "\n"); \
			abort();                                          \
		}                                                         \
	} while (0)

/* The length of the UTF-8 character at `p`, which must be whole, shortest, no
 * surrogate, and no control character. */
static size_t character(const uint8_t *p, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = *p < 0x80 ? 1 : *p >> 5 == 6 ? 2 : *p >> 4 == 14 ? 3 : *p >> 3 == 30 ? 4 : 0;
	uint32_t c;

	CHECK(n && n <= left);
	c = n == 1 ? *p : *p & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		CHECK(p[i] >> 6 == 2);
		c = c << 6 | (p[i] & 0x3f);
	}
	CHECK(c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff));
	CHECK(c >= 0x20 && c != 0x7f && (c < 0x80 || c > 0x9f));
	return n;
}

/* The length of what begins with a backslash. */
static size_t escape(const char *p, size_t left, bool json)
{
	size_t digits;

	CHECK(left >= 2);
	if (json)
		CHECK(strchr("\"\\/bfnrtu", p[1]));
	digits = p[1] == 'x' ? 2 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
	CHECK(left >= 2 + digits);
	for (size_t i = 0; i < digits; i++)
		CHECK(strchr("0123456789abcdefABCDEF", p[2 + i]));
	return 2 + digits;
}

/* `whole` is what comes out where there is room; so is the beginning of it that came
 * out where there was room for `size` bytes. */
static void check(const char *out, size_t size, const char *whole, size_t len, bool json)
{
	size_t n = strlen(out), at = 0;

	CHECK(n < size && n <= len && !memcmp(out, whole, n));
	while (at < n) {
		CHECK(!json || out[at] != '"');
		at += out[at] == '\\' ? escape(out + at, n - at, json)
				      : character((const uint8_t *)out + at, n - at);
	}
}

static void both(const uint8_t *data, size_t size, bool json)
{
	size_t (*const make)(const void *, size_t, char *, size_t) = json ? nbds_escape_json
									  : nbds_escape_text;
	size_t len = make(data, size, NULL, 0), room;
	char *whole = malloc(len + 1), *part;
	struct nbds_buf b = {0};

	CHECK(whole && make(data, size, whole, len + 1) == len && strlen(whole) == len);
	check(whole, len + 1, whole, len, json);
	/* Every room where there is little, some where there is much. */
	for (room = 1; room <= len; room += room < 40 ? 1 : 1 + room / 3) {
		part = malloc(room);
		CHECK(part && make(data, size, part, room) == len);
		check(part, room, whole, len, json);
		/* Nothing is left out that would have fit: escapes are short. */
		CHECK(strlen(part) + 16 > room - 1 || strlen(part) == len);
		free(part);
	}
	if (json)
		nbds_json_bytes(&b, data, size);
	else
		nbds_buf_quote(&b, data, size);
	CHECK(!b.failed && b.len >= 2 && b.s[0] == '"' && b.s[b.len - 1] == '"');
	if (json)
		CHECK(b.len == len + 2 && !memcmp(b.s + 1, whole, len));
	nbds_buf_free(&b);
	free(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 4096)
		return 0;
	both(data, size, false);
	both(data, size, true);
	return 0;
}
