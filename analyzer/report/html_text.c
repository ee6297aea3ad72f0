/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html_text.c - text and lists in HTML. See html.h.
 */
#include <string.h>

#include "html.h"

/* Printable UTF-8. */
static void put_printable(struct nbds_buf *b, const char *text, size_t len)
{
	for (const char *end = text + len; text < end;) {
		size_t n = 0;

		while (text + n < end && !strchr("&<>\"'", text[n]))
			n++;
		nbds_buf_add(b, text, n);
		text += n;
		if (text == end)
			break;
		switch (*text++) {
		case '&':
			nbds_buf_puts(b, "&amp;");
			break;
		case '<':
			nbds_buf_puts(b, "&lt;");
			break;
		case '>':
			nbds_buf_puts(b, "&gt;");
			break;
		case '"':
			nbds_buf_puts(b, "&quot;");
			break;
		default:
			nbds_buf_puts(b, "&#39;");
			break;
		}
	}
}

void nbds_html_bytes(struct nbds_buf *b, const void *bytes, size_t len)
{
	struct nbds_buf seen = {0};

	nbds_buf_escape(&seen, bytes, len);
	put_printable(b, nbds_buf_text(&seen), seen.len);
	b->failed |= seen.failed;
	nbds_buf_free(&seen);
}

/* Texts of the engine have escaped what the wire brought, with backslashes that are to stay
 * as they are; this is the second fence, and the first for what the system says. */
void nbds_html_text(struct nbds_buf *b, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\\\n");

		if (n)
			nbds_html_bytes(b, text, n);
		text += n;
		if (*text)
			nbds_buf_add(b, text++, 1);
	}
}

/* Bytes of the first `most`, whole characters. */
static size_t beginning(const char *text, size_t len, size_t most)
{
	if (len <= most)
		return len;
	while (most && ((unsigned char)text[most] & 0xc0) == 0x80)
		most--;
	return most;
}

void nbds_html_beginning(struct nbds_buf *b, const char *text, size_t most)
{
	size_t len = strlen(text), shown = beginning(text, len, most);
	struct nbds_buf cut = {0};

	nbds_buf_add(&cut, text, shown);
	nbds_html_text(b, nbds_buf_text(&cut));
	if (shown < len)
		nbds_buf_puts(b, "\xe2\x80\xa6");
	nbds_buf_free(&cut);
}

void nbds_html_name(struct nbds_buf *b, const void *name, size_t len)
{
	size_t shown = beginning(name, len, NBDS_HTML_NAME_MOST);

	nbds_buf_puts(b, "<bdi>&quot;");
	nbds_html_bytes(b, name, shown);
	nbds_buf_puts(b, shown < len ? "\xe2\x80\xa6" : "&quot;");
	nbds_buf_puts(b, "</bdi>");
	if (shown < len)
		nbds_buf_printf(b, " (%zu bytes)", len);
}

void nbds_html_write(struct nbds_report *r)
{
	r->written += r->line.len;
	fwrite(nbds_buf_text(&r->line), 1, r->line.len, r->spool ? r->spool : r->out);
	nbds_buf_clear(&r->line);
}

void nbds_html_item(void *ctx, const char *label, const char *text)
{
	struct nbds_report *r = ctx;
	struct nbds_buf *b = &r->line;

	if (!r->in_list) {
		nbds_buf_puts(b, "<dl>\n");
		r->in_list = true;
	}
	if (*label)
		nbds_buf_printf(b, "<dt>%s</dt>", label);
	nbds_buf_puts(b, "<dd>");
	nbds_html_beginning(b, text, NBDS_HTML_TEXT_MOST);
	nbds_buf_puts(b, "</dd>\n");
}

void nbds_html_list(struct nbds_report *r)
{
	r->in_list = false;
}

void nbds_html_list_end(struct nbds_report *r)
{
	if (r->in_list)
		nbds_buf_puts(&r->line, "</dl>\n");
	r->in_list = false;
}
