/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * paper.c - columns, wrapping and colours of the text form. See paper.h.
 */
#include "paper.h"

#include <string.h>

enum nbds_ink nbds_ink_of(enum nbds_severity severity)
{
	static const enum nbds_ink inks[] = {
		[NBDS_NOTE] = NBDS_INK_NOTE,
		[NBDS_HAZARD] = NBDS_INK_HAZARD,
		[NBDS_SUSPECT] = NBDS_INK_SUSPECT,
		[NBDS_VIOLATION] = NBDS_INK_VIOLATION,
	};

	return inks[severity];
}

void nbds_ink(struct nbds_paper *p, enum nbds_ink ink, const char *text)
{
	static const char *const codes[] = {
		[NBDS_INK_PLAIN] = "0",      [NBDS_INK_HEAD] = "1",
		[NBDS_INK_DIM] = "2",        [NBDS_INK_GOOD] = "1;32",
		[NBDS_INK_NOTE] = "1;36",    [NBDS_INK_HAZARD] = "1;33",
		[NBDS_INK_SUSPECT] = "1;35", [NBDS_INK_VIOLATION] = "1;31",
	};

	if (p->colour && ink != NBDS_INK_PLAIN)
		fprintf(p->out, "\033[%sm%s\033[0m", codes[ink], text);
	else
		fputs(text, p->out);
}

static unsigned columns(const char *text, size_t len)
{
	unsigned n = 0;

	/* Bytes that continue a UTF-8 character take no column. */
	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

unsigned nbds_columns(const char *text)
{
	return columns(text, strlen(text));
}

/* Texts of the engine have escaped what the wire brought; this is the second
 * fence before the terminal. */
static void put_word(struct nbds_paper *p, const char *word, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)word[i];

		if (c < 0x20 || c == 0x7f ||
		    (c == 0xc2 && i + 1 < len && ((unsigned char)word[i + 1] & 0xe0) == 0x80))
			c = '?';
		fputc(c, p->out);
		if (c == '?' && (unsigned char)word[i] == 0xc2)
			i++;
	}
}

/* The bytes of the word at `text`. A unit stays with its number: "12.3 us;" is
 * one word. */
static size_t word_length(const char *text)
{
	static const char *const units[] = {"bytes", "byte", "KiB", "MiB", "GiB", "TiB",
					    "PiB",   "EiB",  "ns",  "us",  "ms",  "s"};
	size_t len = strcspn(text, " \n");
	const char *unit = text + len + 1;

	if (text[len] != ' ' || len == 0 || text[len - 1] < '0' || text[len - 1] > '9')
		return len;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		size_t n = strlen(units[i]);

		if (!strncmp(unit, units[i], n) && strchr(" ,;.:)\n", unit[n]))
			return len + 1 + strcspn(unit, " \n");
	}
	return len;
}

void nbds_wrap(struct nbds_paper *p, unsigned at, unsigned indent, const char *text)
{
	bool first = true;

	while (*text) {
		size_t len = word_length(text);
		unsigned wide = columns(text, len);

		if (len) {
			if (!first && at + 1 + wide > p->width) {
				fprintf(p->out, "\n%*s", (int)indent, "");
				at = indent;
			} else if (!first) {
				fputc(' ', p->out);
				at++;
			}
			put_word(p, text, len);
			at += wide;
			first = false;
		}
		text += len;
		if (*text == '\n') {
			fprintf(p->out, "\n%*s", (int)indent, "");
			at = indent;
			first = true;
		}
		if (*text)
			text++;
	}
	fputc('\n', p->out);
}

void nbds_item_in(struct nbds_paper *p, enum nbds_ink ink, const char *label, const char *text)
{
	if (p->item) {
		p->item(p->ctx, label, text);
		return;
	}
	fputs("  ", p->out);
	nbds_ink(p, ink, label);
	fprintf(p->out, "%*s", NBDS_LABEL_COLUMNS - 2 - (int)strlen(label), "");
	nbds_wrap(p, NBDS_LABEL_COLUMNS, NBDS_LABEL_COLUMNS, text);
}

void nbds_item(struct nbds_paper *p, const char *label, const char *text)
{
	nbds_item_in(p, NBDS_INK_DIM, label, text);
}
