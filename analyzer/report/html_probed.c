/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html_probed.c - what came of each history of a probe, in HTML.
 */
#include <inttypes.h>

#include "html.h"
#include "probed.h"

static const char *class_of(const struct nbds_probed_row *row)
{
	switch (row->outcome) {
	case NBDS_PROBED_BROKEN:
		return "s-violation";
	case NBDS_PROBED_SUSPECT:
	case NBDS_PROBED_FAILED:
		return "s-suspect";
	case NBDS_PROBED_STALE:
		return "s-hazard";
	case NBDS_PROBED_KEPT:
		return "v-clean";
	default:
		return "s-note";
	}
}

/* In one line. */
static void put_word(struct nbds_buf *b, const char *word)
{
	for (; *word; word++) {
		if (*word == ' ')
			nbds_buf_puts(b, "&nbsp;");
		else
			nbds_buf_add(b, word, 1);
	}
}

void nbds_html_probed(struct nbds_report *r, const char *id)
{
	const struct nbds_probed *p = r->probed;
	struct nbds_buf *b = &r->line;

	nbds_buf_printf(b, "<section id=\"%sprobed\"><h2>Probed</h2>\n<div class=\"card\">\n", id);
	nbds_html_list(r);
	nbds_probed_facts(r);
	nbds_html_list_end(r);
	nbds_buf_puts(b, "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">history</th>"
			 "<th scope=\"col\">outcome</th><th scope=\"col\">what it asks</th>"
			 "<th scope=\"col\" class=\"num\">rounds</th>"
			 "<th scope=\"col\" class=\"num\">reads judged</th></tr></thead><tbody>\n");
	for (size_t i = 0; i < p->count; i++) {
		const struct nbds_probed_row *row = &p->rows[i];

		nbds_buf_clear(&r->text);
		nbds_probed_about(row, &r->text);
		nbds_buf_printf(
			b, "<tr class=\"%s\"><td><code>%s</code></td><td><span class=\"chip\">",
			class_of(row), row->name);
		put_word(b, nbds_probed_word(row));
		nbds_buf_puts(b, "</span></td><td>");
		nbds_html_text(b, nbds_buf_text(&r->text));
		nbds_buf_printf(b,
				"</td><td class=\"num\">%u</td><td class=\"num\">%" PRIu64
				"</td></tr>\n",
				row->rounds, row->reads);
	}
	nbds_buf_puts(b, "</tbody></table></div>\n</div>\n</section>\n");
	nbds_html_write(r);
}
