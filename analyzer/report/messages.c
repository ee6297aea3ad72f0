/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * messages.c - every message in one line, for people.
 *
 *	   frame       seconds  conn
 *	      12     0.001234567  #1 -> NBD_CMD_WRITE 4096 bytes at 0x1000, ...
 *	      14     0.001434012  #1 <- NBD_SIMPLE_REPLY ...
 *	      15     0.001500000  #1 !! client: 1448 bytes lost ...
 */
#include <inttypes.h>
#include <string.h>

#include <nbdscope/fields.h>

#include "internal.h"

static void put_place(struct nbds_report *r, const struct nbds_connection *c,
		      const struct nbds_mark *where)
{
	nbds_buf_printf(&r->line, "%7" PRIu64 " ", where->frame);
	nbds_buf_clear(&r->text);
	nbds_buf_time(&r->text, nbds_report_since(r, where->time));
	nbds_buf_printf(&r->line, "%15s  #%-3" PRIu32 " ", nbds_buf_text(&r->text), c->id);
}

/* Adds the line of a message, as its flags say. */
static void put_line(struct nbds_report *r, const struct nbds_connection *c,
		     const struct nbds_message *m)
{
	static const struct {
		uint32_t flag;
		const char *word;
	} marks[] = {
		/* What is wrong with it the summary says. */
		{NBDS_MSG_RESYNCED, "first sure message"},
		{NBDS_MSG_REPLAYED, "seen while unsure"},
	};
	char summary[2048];

	nbds_buf_clear(&r->line);
	put_place(r, c, &m->first);
	nbds_summary(m, summary, sizeof(summary));
	nbds_buf_printf(&r->line, "%s %s", m->from == NBDS_CLIENT ? "->" : "<-", summary);
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		if (m->flags & marks[i].flag)
			nbds_buf_printf(&r->line, " [%s]", marks[i].word);
	nbds_buf_puts(&r->line, "\n");
}

void nbds_text_message(struct nbds_report *r, struct nbds_connection *c,
		       const struct nbds_message *m)
{
	struct nbds_message broken = *m;

	nbds_buf_clear(&r->broken);
	if (nbds_message_waits(m)) {
		broken.flags |= NBDS_MSG_INCOMPLETE;
		put_line(r, c, &broken);
		nbds_buf_add(&r->broken, nbds_buf_text(&r->line), r->line.len);
	}
	put_line(r, c, m);
	nbds_report_queue(r, c, &r->broken);
}

void nbds_text_trouble(struct nbds_report *r, const struct nbds_connection *c,
		       const struct nbds_trouble *t)
{
	nbds_buf_clear(&r->line);
	put_place(r, c, &t->where);
	nbds_buf_printf(&r->line, "!! %s: %s", t->side == NBDS_CLIENT ? "client" : "server",
			nbds_trouble_words[t->kind]);
	if (t->length) {
		nbds_buf_puts(&r->line, ", ");
		nbds_buf_count(&r->line, t->length, "byte", NULL);
	}
	if (t->text && *t->text && t->kind != NBDS_TROUBLE_LOST)
		nbds_buf_printf(&r->line, ": %s", t->text);
	nbds_buf_puts(&r->line, "\n");
	nbds_waiting_add(&r->waiting, nbds_buf_text(&r->line), r->line.len, NULL, 0);
	nbds_buf_clear(&r->line);
}
