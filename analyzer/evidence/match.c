/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * match.c - whether two findings say the same. See match.h.
 */
#include "match.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Frame `b` of the second is frame `a` of the first. */
static bool same_frame(const struct nbds_match *m, uint64_t a, uint64_t b)
{
	if (!a || !b)
		return a == b;
	return b <= m->frame_count && m->frames[b - 1] == a;
}

/* Past "..." or an address, which are not compared; else as it was. */
static const char *skip_quoted(const char *s)
{
	const char *end = s + 1;

	if (*s != '"')
		return s;
	while (*end && *end != '"')
		end += *end == '\\' && end[1] ? 2 : 1;
	return *end ? end + 1 : s;
}

/* The same of the real name that `other` stands for: of the same length, if nothing in it is
 * escaped, and so past quotation marks of its own. */
static const char *skip_real(const char *s, const char *other)
{
	size_t length = (size_t)(skip_quoted(other) - other);

	if (length && *s == '"' && strnlen(s, length) == length && s[length - 1] == '"')
		return s + length;
	return skip_quoted(s);
}

/* "192.0.2.1:10809", "[2001:db8::1]:10809": how long one is that begins here; 0: none does. */
static size_t address_length(const char *s)
{
	size_t n = 0;

	if (*s == '[') {
		n = strspn(s + 1, "0123456789abcdef:.") + 1;
		if (s[n] != ']' || n < 3)
			return 0;
		n++;
	} else {
		int dots = 0;

		while (isdigit((unsigned char)s[n]) ||
		       (s[n] == '.' && isdigit((unsigned char)s[n + 1]))) {
			dots += s[n] == '.';
			n++;
		}
		if (dots != 3)
			return 0;
	}
	if (s[n] == ':' && isdigit((unsigned char)s[n + 1]))
		n += 1 + strspn(s + n + 1, "0123456789");
	return n;
}

/* The word before `s` is "conn" or "connection", or `s` goes on a list of them. */
static bool of_connection(const char *text, const char *s)
{
	static const char *const between[] = {"and", "or", "to"};
	const char *word = s;

	for (;;) {
		size_t len;
		bool list = false;

		while (word > text &&
		       (word[-1] == ' ' || word[-1] == ',' || isdigit((unsigned char)word[-1])))
			word--;
		len = 0;
		while (word - len > text && isalpha((unsigned char)word[-(ptrdiff_t)len - 1]))
			len++;
		if (!len)
			return false;
		if (len >= 4 && !strncmp(word - len, "conn", 4))
			return true;
		for (size_t i = 0; i < sizeof(between) / sizeof(between[0]); i++)
			list |= len == strlen(between[i]) && !strncmp(word - len, between[i], len);
		if (!list)
			return false;
		word -= len;
	}
}

static bool same_number(const struct nbds_match *m, const char *text, const char **a,
			const char **b)
{
	const char *from = *a;
	char *end_a, *end_b;
	unsigned long long x, y;

	errno = 0;
	x = strtoull(*a, &end_a, 10);
	y = strtoull(*b, &end_b, 10);
	*a = end_a;
	*b = end_b;
	return x == y || same_frame(m, x, y) || (m->renumbered && of_connection(text, from));
}

/* "78787878": x's. */
static bool is_masked_number(const char *s)
{
	size_t len = strspn(s, "0123456789abcdef");

	for (size_t i = 0; i + 1 < len; i += 2)
		if (s[i] != '7' || s[i + 1] != '8')
			return false;
	return len >= 4 && len % 2 == 0;
}

/* "12 34 56 78": how many bytes are written out so. */
static size_t dumped(const char *s)
{
	size_t n = 0;

	while (isxdigit((unsigned char)s[n * 3]) && isxdigit((unsigned char)s[n * 3 + 1])) {
		n++;
		if (s[n * 3 - 1] != ' ')
			break;
	}
	return n;
}

/* Bytes of both: what is other is an x. */
static bool same_dump(const char *a, const char *b, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strncmp(a + i * 3, b + i * 3, 2) != 0 && strncmp(b + i * 3, "78", 2) != 0)
			return false;
	return true;
}

static bool same_words(const struct nbds_match *m, const char *a, const char *b)
{
	const char *text = a;

	while (*a && *b) {
		if (m->masked) {
			const char *past_a = skip_real(a, b), *past_b = skip_quoted(b);
			size_t n_a, n_b;

			if (past_a != a && past_b != b) {
				a = past_a;
				b = past_b;
				continue;
			}
			n_a = dumped(a);
			if (n_a >= 4 && n_a == dumped(b) && same_dump(a, b, n_a)) {
				a += n_a * 3 - 1;
				b += n_a * 3 - 1;
				continue;
			}
			n_a = address_length(a);
			n_b = address_length(b);
			if (n_a && n_b) {
				a += n_a;
				b += n_b;
				continue;
			}
		}
		/* Bytes that are no message are told as numbers. */
		if (m->masked && !strncmp(b, "0x", 2) && !strncmp(a, "0x", 2) &&
		    is_masked_number(b + 2)) {
			a += 2 + strspn(a + 2, "0123456789abcdef");
			b += 2 + strspn(b + 2, "0123456789abcdef");
			continue;
		}
		if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
			if (!same_number(m, text, &a, &b))
				return false;
			continue;
		}
		if (*a++ != *b++)
			return false;
	}
	return *a == *b;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool nbds_match(const struct nbds_match *m, const struct nbds_finding *a,
		const struct nbds_finding *b)
{
	if (a->rule != b->rule || a->severity != b->severity ||
	    nbds_finding_side(a) != nbds_finding_side(b) || !same_text(a->command, b->command))
		return false;
	if (a->has_range != b->has_range ||
	    (a->has_range && (a->offset != b->offset || a->length != b->length)))
		return false;
	if (!m->renumbered && a->connection != b->connection)
		return false;
	if (!a->export_name != !b->export_name || a->export_name_len != b->export_name_len ||
	    (!m->masked && a->export_name &&
	     memcmp(a->export_name, b->export_name, a->export_name_len) != 0))
		return false;
	for (int role = 0; role < NBDS_ROLE_MAX; role++)
		if (!same_frame(m, a->frames[role], b->frames[role]))
			return false;
	return same_words(m, a->message ? a->message : "", b->message ? b->message : "");
}
