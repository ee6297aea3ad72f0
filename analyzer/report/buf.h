/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/buf.h - text under construction.
 *
 * Purpose.  A string that grows, and what reports put into it: numbers for
 * people, escaped bytes of the wire, JSON.
 *
 * Ownership.  A buffer owns its memory and is reused from line to line; all
 * zeroes is an empty one; nbds_buf_free() ends it.  Failure.  Without memory a
 * buffer keeps what it has and sets `failed`: the line comes out cut.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_BUF_H
#define NBDSCOPE_ANALYZER_REPORT_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/protocol.h>

struct nbds_buf {
	char *s; /* NUL-terminated, or NULL while nothing was added */
	size_t len, size;
	bool failed;
};

void nbds_buf_free(struct nbds_buf *b);
void nbds_buf_clear(struct nbds_buf *b);
/* The text; "" if empty. */
const char *nbds_buf_text(const struct nbds_buf *b);

void nbds_buf_add(struct nbds_buf *b, const char *s, size_t len);
void nbds_buf_puts(struct nbds_buf *b, const char *s);
void nbds_buf_printf(struct nbds_buf *b, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Bytes of the wire for people: see nbds_escape_text(). */
void nbds_buf_escape(struct nbds_buf *b, const void *bytes, size_t len);
/* The same in double quotes. */
void nbds_buf_quote(struct nbds_buf *b, const void *bytes, size_t len);

/* "512 bytes", "1.5 KiB", "1 MiB" */
void nbds_buf_size(struct nbds_buf *b, uint64_t bytes);
/* "1 MiB (1048576 bytes)", "512 bytes" */
void nbds_buf_size_exact(struct nbds_buf *b, uint64_t bytes);
/* "812 ns", "12.3 us", "1.23 ms", "2.5 s" */
void nbds_buf_duration(struct nbds_buf *b, uint64_t ns);
/* "1 write", "3 writes"; `many` NULL: `one` and an s. */
void nbds_buf_count(struct nbds_buf *b, uint64_t n, const char *one, const char *many);
/* Seconds with nine decimals: "1700000000.123456789" */
void nbds_buf_time(struct nbds_buf *b, int64_t ns);
/* Names of the bits set, joined by ", "; "none" for 0. */
void nbds_buf_flags(struct nbds_buf *b, const struct nbds_name_table *table, uint64_t flags);

/*
 * JSON.  Commas come by themselves: a value or key that does not follow an
 * opening bracket, a colon or the beginning gets one before it.
 */
void nbds_json_open(struct nbds_buf *b, char bracket);
void nbds_json_close(struct nbds_buf *b, char bracket);
void nbds_json_key(struct nbds_buf *b, const char *key);
void nbds_json_u64(struct nbds_buf *b, uint64_t value);
void nbds_json_bool(struct nbds_buf *b, bool value);
void nbds_json_string(struct nbds_buf *b, const char *s);
void nbds_json_bytes(struct nbds_buf *b, const void *bytes, size_t len);
void nbds_json_time(struct nbds_buf *b, int64_t ns);
/* Nanoseconds as a number of microseconds with at most three decimals. */
void nbds_json_us(struct nbds_buf *b, uint64_t ns);
void nbds_json_flags(struct nbds_buf *b, const struct nbds_name_table *table, uint64_t flags);
/* Key and value. */
void nbds_json_member_u64(struct nbds_buf *b, const char *key, uint64_t value);
void nbds_json_member_string(struct nbds_buf *b, const char *key, const char *s);
void nbds_json_member_bool(struct nbds_buf *b, const char *key, bool value);
void nbds_json_member_bytes(struct nbds_buf *b, const char *key, const void *bytes, size_t len);
/* Key and opening bracket. */
void nbds_json_member_open(struct nbds_buf *b, const char *key, char bracket);

#endif
