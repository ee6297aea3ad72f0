/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * names.c - the protocol's lists as tables, and bytes of the wire as text.
 */
#include <nbdscope/protocol.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "invisible.h"
#include "tables.h"

#define X_VALUE(NAME, VALUE, SUFFIX, LABEL, WHAT) {NAME, #NAME, SUFFIX, LABEL, WHAT},

/* For values and for flags alike the constant itself is the row's value. */
#define T_DEFINE(LIST, TABLE, KIND, HEX)                                      \
	const struct nbds_name TABLE##_rows[TABLE##_count] = {LIST(X_VALUE)}; \
	const struct nbds_name_table TABLE = {TABLE##_rows, TABLE##_count, KIND, HEX};
NBDS_TABLES(T_DEFINE)

const char *nbds_name_of(const struct nbds_name_table *table, uint64_t value)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->entries[i].value == value)
			return table->entries[i].name;
	return NULL;
}

/* Errors that are none: what some servers put there instead. */
static bool error_text(uint64_t value, char buf[NBDS_TEXT_OF_MAX])
{
	static const struct {
		int32_t number;
		const char *name;
	} errnos[] = {
		{1, "EPERM"},       {2, "ENOENT"},      {5, "EIO"},         {6, "ENXIO"},
		{9, "EBADF"},       {11, "EAGAIN"},     {12, "ENOMEM"},     {13, "EACCES"},
		{14, "EFAULT"},     {16, "EBUSY"},      {19, "ENODEV"},     {22, "EINVAL"},
		{27, "EFBIG"},      {28, "ENOSPC"},     {30, "EROFS"},      {32, "EPIPE"},
		{61, "ENODATA"},    {75, "EOVERFLOW"},  {95, "EOPNOTSUPP"}, {107, "ENOTCONN"},
		{108, "ESHUTDOWN"}, {110, "ETIMEDOUT"}, {112, "EHOSTDOWN"}, {116, "ESTALE"},
	};
	const char *name = nbds_name_of(&nbds_reply_types, value);

	if (value > UINT32_MAX - 4095 && value <= UINT32_MAX) {
		int32_t number = (int32_t)(UINT32_MAX - value + 1);

		for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
			if (errnos[i].number != number)
				continue;
			snprintf(buf, NBDS_TEXT_OF_MAX,
				 "error -%" PRId32 " (%s as a raw negative errno)", number,
				 errnos[i].name);
			return true;
		}
		snprintf(buf, NBDS_TEXT_OF_MAX, "error -%" PRId32 " (a raw negative errno)",
			 number);
		return true;
	}
	if (value > 1 && name) {
		snprintf(buf, NBDS_TEXT_OF_MAX, "%s, which no command has", name);
		return true;
	}
	return false;
}

const char *nbds_text_of(const struct nbds_name_table *table, uint64_t value,
			 char buf[NBDS_TEXT_OF_MAX])
{
	const char *name = nbds_name_of(table, value);

	if (name)
		return name;
	if (table == &nbds_errors && error_text(value, buf))
		return buf;
	snprintf(buf, NBDS_TEXT_OF_MAX,
		 table->hex ? "unknown %s 0x%" PRIx64 : "unknown %s %" PRIu64,
		 table->kind ? table->kind : "value", value);
	return buf;
}

void nbds_flags_begin(struct nbds_flag_iter *it, const struct nbds_name_table *table,
		      uint64_t flags)
{
	it->table = table;
	it->left = flags;
}

const char *nbds_flags_next(struct nbds_flag_iter *it)
{
	uint64_t bit = it->left & (~it->left + 1);
	const char *name;
	int n = 0;

	if (!bit)
		return NULL;
	it->left ^= bit;
	name = nbds_name_of(it->table, bit);
	if (name)
		return name;
	while (bit >> n != 1)
		n++;
	snprintf(it->buf, sizeof(it->buf), "bit %d", n);
	return it->buf;
}

int nbds_flag_names(const struct nbds_name_table *table, uint64_t flags, char *buf, size_t size)
{
	struct nbds_flag_iter it;
	const char *name, *between = "";
	size_t len = 0;

	if (!flags)
		return snprintf(buf, size, "none");
	nbds_flags_begin(&it, table, flags);
	while ((name = nbds_flags_next(&it))) {
		len += (size_t)snprintf(len < size ? buf + len : NULL, len < size ? size - len : 0,
					"%s%s", between, name);
		between = " | ";
	}
	return (int)len;
}

const struct nbds_name_table *nbds_status_table(const char *name, size_t len)
{
	static const char allocation[] = NBD_CONTEXT_BASE_ALLOCATION;
	static const char dirty[] = NBD_CONTEXT_QEMU_DIRTY_BITMAP;

	if (len == sizeof(allocation) - 1 && !memcmp(name, allocation, len))
		return &nbds_status_flags;
	if (len >= sizeof(dirty) - 1 && !memcmp(name, dirty, sizeof(dirty) - 1))
		return &nbds_dirty_flags;
	return NULL;
}

/*
 * The length of the UTF-8 character at `p` (`left` bytes, at least one) and its
 * code point, or 0 if no valid one starts there: overlong forms, surrogates and
 * code points past U+10FFFF are invalid.
 */
static size_t utf8(const uint8_t *p, size_t left, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = p[0];
	size_t n;

	if (c < 0x80) {
		*code = c;
		return 1;
	}
	if (c >= 0xc2 && c < 0xe0)
		n = 2, c &= 0x1f;
	else if (c >= 0xe0 && c < 0xf0)
		n = 3, c &= 0x0f;
	else if (c >= 0xf0 && c < 0xf5)
		n = 4, c &= 0x07;
	else
		return 0;
	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*code = c;
	return n;
}

/* On a terminal they could make one text look like another. */
static bool unprintable(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && nbds_invisible(c));
}

/* Text in the making: `len` counts what did not fit too. */
struct out {
	char *buf;
	size_t size, len;
	bool full;
};

/* One piece, whole or not at all; nothing after one that did not fit. */
static void put(struct out *o, const char *piece, size_t n)
{
	if (!o->full && o->len < o->size && n < o->size - o->len) {
		memcpy(o->buf + o->len, piece, n);
		o->buf[o->len + n] = '\0';
	} else {
		o->full = true;
	}
	o->len += n;
}

static void out_begin(struct out *o, char *buf, size_t size)
{
	*o = (struct out){.buf = buf, .size = size};
	if (size)
		buf[0] = '\0';
}

/* The eight bytes of `word` that are less than `less` (at most 0x80) show in their top bits;
 * those after the first one that is may show too. */
static uint64_t bytes_below(uint64_t word, uint8_t less)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);

	return (word - ones * less) & ~word & (ones << 7);
}

/* How many bytes from `p` on are ASCII that stands for itself: printable, and neither a
 * backslash nor `also`. */
static size_t plain_run(const uint8_t *p, size_t len, uint8_t also)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	size_t n = 0;

	for (uint64_t word; len - n >= 8; n += 8) {
		memcpy(&word, p + n, 8);
		if ((word & tops) || bytes_below(word, 0x20) || ((word + ones) & tops) ||
		    bytes_below(word ^ ones * '\\', 1) || bytes_below(word ^ ones * also, 1))
			break;
	}
	while (n < len && p[n] >= 0x20 && p[n] < 0x7f && p[n] != '\\' && p[n] != also)
		n++;
	return n;
}

/* So many pieces of one byte each: as many as fit. */
static void put_plain(struct out *o, const uint8_t *p, size_t n)
{
	size_t room = !o->full && o->len < o->size ? o->size - o->len - 1 : 0;
	size_t fits = n < room ? n : room;

	if (fits)
		put(o, (const char *)p, fits);
	if (fits < n)
		put(o, (const char *)p + fits, n - fits);
}

static char short_escape(uint32_t c)
{
	switch (c) {
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	case '\\':
		return '\\';
	default:
		return 0;
	}
}

size_t nbds_escape_text(const void *bytes, size_t len, char *buf, size_t size)
{
	const uint8_t *p = bytes;
	struct out o;

	out_begin(&o, buf, size);
	while (len) {
		uint32_t c = 0;
		size_t n = plain_run(p, len, '\\');
		char piece[24];

		put_plain(&o, p, n);
		p += n;
		len -= n;
		if (!len)
			break;
		n = utf8(p, len, &c);
		if (n == 1 && short_escape(c)) {
			piece[0] = '\\';
			piece[1] = short_escape(c);
			put(&o, piece, 2);
		} else if (!n || unprintable(c)) {
			int k = 0;

			n += !n;
			for (size_t i = 0; i < n; i++)
				k += snprintf(piece + k, sizeof(piece) - (size_t)k, "\\x%02x",
					      p[i]);
			put(&o, piece, (size_t)k);
		} else {
			put(&o, (const char *)p, n);
		}
		p += n;
		len -= n;
	}
	return o.len;
}

/* \u and the code, or two of them beyond U+FFFF. */
static size_t json_code(char piece[16], uint32_t c)
{
	if (c < 0x10000)
		return (size_t)snprintf(piece, 16, "\\u%04x", c & 0xffff);
	c -= 0x10000;
	return (size_t)snprintf(piece, 16, "\\u%04x\\u%04x", 0xd800 | (c >> 10 & 0x3ff),
				0xdc00 | (c & 0x3ff));
}

size_t nbds_escape_json(const void *bytes, size_t len, char *buf, size_t size)
{
	const uint8_t *p = bytes;
	struct out o;

	out_begin(&o, buf, size);
	while (len) {
		uint32_t c = 0;
		size_t n = plain_run(p, len, '"');
		char piece[16];

		put_plain(&o, p, n);
		p += n;
		len -= n;
		if (!len)
			break;
		n = utf8(p, len, &c);
		if (!n) {
			put(&o, "\xef\xbf\xbd", 3); /* U+FFFD */
			n = 1;
		} else if (n == 1 && (c == '"' || short_escape(c))) {
			piece[0] = '\\';
			piece[1] = c == '"' ? '"' : short_escape(c);
			put(&o, piece, 2);
		} else if (unprintable(c)) {
			put(&o, piece, json_code(piece, c));
		} else {
			put(&o, (const char *)p, n);
		}
		p += n;
		len -= n;
	}
	return o.len;
}
