/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html_compared.c - the report beside an earlier one, in HTML.
 */
#include <inttypes.h>
#include <string.h>

#include "html.h"

/* Bytes that exports side by side may take. */
#define EXPORTS_MOST ((size_t)100 << 10)

static void put_latency(struct nbds_buf *b, double us)
{
	nbds_buf_puts(b, "<td class=\"num\">");
	if (us > 0 && us < 1e15)
		nbds_buf_duration(b, (uint64_t)(us * 1e3));
	nbds_buf_puts(b, "</td>");
}

static void put_command(struct nbds_buf *b, const char *name, const char *when,
			const struct nbds_compare_command *c)
{
	nbds_buf_puts(b, "<tr><td><code>");
	nbds_html_text(b, name);
	nbds_buf_printf(b, "</code></td><td>%s</td><td class=\"num\">%" PRIu64 "</td>", when,
			c->count);
	put_latency(b, c->p50);
	put_latency(b, c->p99);
	put_latency(b, c->max);
	nbds_buf_printf(b, "<td class=\"num\">%" PRIu64 "</td></tr>\n", c->errors);
}

static void put_two(struct nbds_buf *b, const char *what, uint64_t earlier, uint64_t now)
{
	nbds_buf_printf(b,
			"<tr><td>%s</td><td class=\"num\">%" PRIu64
			"</td><td class=\"num\">%" PRIu64 "</td></tr>\n",
			what, earlier, now);
}

static void put_export(struct nbds_buf *b, const struct nbds_compare_export *e)
{
	const struct nbds_compare_side *was = &e->side[NBDS_EARLIER], *is = &e->side[NBDS_NOW];

	nbds_buf_puts(b, "<h3>Export <bdi>");
	nbds_html_beginning(b, e->name, NBDS_HTML_NAME_MOST);
	nbds_buf_puts(b, "</bdi>");
	if (!was->there || !is->there) {
		nbds_buf_printf(b, " <span>%s</span></h3>\n",
				was->there ? "only in the earlier report" : "only in this report");
		return;
	}
	nbds_buf_puts(
		b, "</h3>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">command</th>"
		   "<th scope=\"col\">report</th><th scope=\"col\" class=\"num\">count</th>"
		   "<th scope=\"col\" class=\"num\">p50</th>"
		   "<th scope=\"col\" class=\"num\">p99</th>"
		   "<th scope=\"col\" class=\"num\">max</th>"
		   "<th scope=\"col\" class=\"num\">errors</th></tr></thead><tbody>\n");
	for (int i = 0; i < NBDS_COMPARE_COMMANDS && e->commands[i]; i++) {
		put_command(b, e->commands[i], "earlier", &e->command[NBDS_EARLIER][i]);
		put_command(b, e->commands[i], "this", &e->command[NBDS_NOW][i]);
	}
	nbds_buf_puts(b,
		      "</tbody></table></div>\n<div class=\"scroll\"><table><thead><tr>"
		      "<th scope=\"col\">flushing</th><th scope=\"col\" class=\"num\">earlier</th>"
		      "<th scope=\"col\" class=\"num\">this</th></tr></thead><tbody>\n");
	put_two(b, "writes", was->writes, is->writes);
	put_two(b, "flushes", was->flushes, is->flushes);
	put_two(b, "writes with FUA", was->fua_writes, is->fua_writes);
	put_two(b, "writes left unflushed", was->unflushed_writes, is->unflushed_writes);
	nbds_buf_puts(b, "</tbody></table></div>\n");
}

void nbds_html_compared(struct nbds_report *r, const char *id)
{
	const struct nbds_compare *c = r->options.compare;
	const struct nbds_compare_export *e;
	struct nbds_buf *b = &r->line;
	uint64_t left = 0;

	nbds_buf_printf(
		b, "<section id=\"%scompared\"><h2>Compared</h2>\n<div class=\"card\"><p>With ",
		id);
	nbds_html_bytes(b, nbds_compare_file(c), strlen(nbds_compare_file(c)));
	nbds_buf_puts(b, " of nbdaudit ");
	nbds_html_bytes(b, nbds_compare_version(c), strlen(nbds_compare_version(c)));
	nbds_buf_puts(b, "</p>\n");
	nbds_html_list(r);
	nbds_compared_facts(r);
	nbds_html_list_end(r);
	for (size_t i = 0; !r->options.summary && (e = nbds_compare_export(c, r->captures, i));
	     i++) {
		if (b->len < EXPORTS_MOST)
			put_export(b, e);
		else
			left++;
	}
	if (left)
		nbds_buf_printf(b,
				"<p class=\"note\">and %" PRIu64
				" more exports (--format=json shows "
				"them all)</p>\n",
				left);
	nbds_buf_puts(b, "</div>\n</section>\n");
	nbds_html_write(r);
}
