/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * detail.c - what is shown of one connection, in words. See detail.h.
 */
#include "detail.h"

#include "../analyzer/report/tls_words.h"

#include <inttypes.h>
#include <string.h>

static void put_flags(struct nbds_buf *b, const char *label, const struct nbds_name_table *table,
		      uint64_t flags)
{
	nbds_buf_printf(b, "%s\t", label);
	nbds_buf_flags(b, table, flags);
	nbds_buf_puts(b, "\n");
}

static void detail_handshake(struct nbds_buf *b, const struct nbds_connection *c)
{
	static const char *const styles[] = {
		[NBDS_HANDSHAKE_UNSEEN] = "not seen",
		[NBDS_HANDSHAKE_OLDSTYLE] = "oldstyle",
		[NBDS_HANDSHAKE_NEWSTYLE] = "newstyle",
		[NBDS_HANDSHAKE_NEWSTYLE_FIXED] = "fixed newstyle",
	};
	const struct nbds_negotiated *n = &c->negotiated;
	char name[NBDS_TEXT_OF_MAX];

	nbds_buf_printf(b, "handshake\t%s\n", styles[n->handshake]);
	if (n->handshake >= NBDS_HANDSHAKE_NEWSTYLE)
		put_flags(b, "server says", &nbds_handshake_flags, n->handshake_flags);
	if (n->client_flags_seen)
		put_flags(b, "client says", &nbds_client_flags, n->client_flags);
	for (unsigned i = 0; i < c->option_count; i++) {
		const struct nbds_option_seen *o = &c->options[i];

		nbds_buf_printf(b, "%s\t%s", i ? "" : "options",
				nbds_text_of(&nbds_options, o->option, name));
		for (unsigned k = 0; k < o->reply_count && k < 8; k++)
			nbds_buf_printf(b, "%s%s", k ? ", " : ": ",
					nbds_text_of(&nbds_reply_types, o->replies[k], name));
		nbds_buf_puts(b, o->reply_count > 8 ? ", ...\n" : "\n");
	}
	if (n->tls) {
		nbds_buf_puts(b, "TLS\t");
		if (c->tls.tried)
			nbds_tls_sentence(b, c);
		else
			nbds_buf_puts(b, "all that follows is encrypted");
		nbds_buf_puts(b, "\n");
	}
	if (n->transmission)
		nbds_buf_printf(b, "replies\t%s\n",
				n->extended     ? "extended headers"
				: n->structured ? "structured"
						: "simple");
}

static void detail_export(struct nbds_buf *b, const struct nbds_connection *c)
{
	if (c->export_name_seen) {
		nbds_buf_puts(b, "export\t");
		nbds_buf_quote(b, c->export_name, c->export_name_len);
		if (c->negotiated.export_seen) {
			nbds_buf_puts(b, ", ");
			nbds_buf_size_exact(b, c->negotiated.size);
		}
		nbds_buf_puts(b, "\n");
	}
	if (c->negotiated.export_seen)
		put_flags(b, "flags", &nbds_transmission_flags, c->negotiated.transmission_flags);
	if (c->block_size_seen)
		nbds_buf_printf(b,
				"block sizes\tminimum %" PRIu32 ", preferred %" PRIu32
				", maximum payload %" PRIu32 "\n",
				c->block_minimum, c->block_preferred, c->payload_maximum);
	for (unsigned i = 0; i < c->context_count; i++) {
		nbds_buf_printf(b, "%s\t%" PRIu32 ": ", i ? "" : "contexts", c->contexts[i].id);
		nbds_buf_quote(b, c->contexts[i].name, c->contexts[i].name_len);
		nbds_buf_puts(b, "\n");
	}
}

static void detail_commands(struct nbds_buf *b, const struct nbds_connection *c)
{
	const char *label = "commands";

	for (unsigned k = 0; k < NBDS_COMMAND_KINDS; k++) {
		const struct nbds_command_stats *s = &c->commands[k];
		char name[NBDS_TEXT_OF_MAX];

		if (!s->count)
			continue;
		nbds_buf_printf(b, "%s\t%s: %" PRIu64, label,
				k == NBDS_COMMAND_KINDS - 1
					? "other commands"
					: nbds_text_of(&nbds_commands, s->type, name),
				s->count);
		label = "";
		if (s->bytes) {
			nbds_buf_puts(b, ", ");
			nbds_buf_size(b, s->bytes);
		}
		if (s->fua)
			nbds_buf_printf(b, ", %" PRIu64 " with FUA", s->fua);
		if (s->latency) {
			nbds_buf_puts(b, "; p50 ");
			nbds_buf_duration(b, nbds_latency_percentile(s->latency, 50));
			nbds_buf_puts(b, ", p99 ");
			nbds_buf_duration(b, nbds_latency_percentile(s->latency, 99));
			nbds_buf_puts(b, ", max ");
			nbds_buf_duration(b, s->latency->max);
		}
		for (unsigned i = 0; i < s->error_kinds; i++)
			nbds_buf_printf(b, "%s%s %" PRIu64, i ? ", " : "; errors ",
					nbds_text_of(&nbds_errors, s->errors[i].error, name),
					s->errors[i].count);
		nbds_buf_puts(b, "\n");
	}
}

static void detail_state(struct nbds_buf *b, const struct nbds_connection *c, bool ended)
{
	static const char *const ends[] = {
		[NBDS_END_OPEN] = "open",
		[NBDS_END_DISCONNECT] = "ended with NBD_CMD_DISC",
		[NBDS_END_ABORT] = "ended with NBD_OPT_ABORT",
		[NBDS_END_FIN] = "closed without goodbye",
		[NBDS_END_RST] = "reset",
	};
	char client[NBDS_ADDR_TEXT], server[NBDS_ADDR_TEXT];

	nbds_buf_printf(b, "from\t%s\n", nbds_addr_text(&c->client, client));
	nbds_buf_printf(b, "to\t%s\n", nbds_addr_text(&c->server, server));
	nbds_buf_printf(b, "state\t%s",
			ended && c->end == NBDS_END_OPEN ? "open when the capture ended"
							 : ends[c->end]);
	nbds_buf_printf(b, "; frames %" PRIu64 " to %" PRIu64, c->first_frame, c->last_frame);
	if (!c->sure)
		nbds_buf_puts(b, "; caught in its middle, not decoded yet");
	else if (!c->from_start)
		nbds_buf_printf(b, "; caught in its middle, decoded from frame %" PRIu64,
				c->sure_frame);
	nbds_buf_puts(b, "\n");
}

void detail_put(struct nbds_buf *b, const struct nbds_connection *c, bool ended)
{
	detail_state(b, c, ended);
	detail_handshake(b, c);
	detail_export(b, c);
	detail_commands(b, c);
	if (c->unflushed_writes) {
		nbds_buf_puts(b, "unflushed\t");
		nbds_buf_count(b, c->unflushed_writes, "answered write", NULL);
		nbds_buf_puts(b, ", ");
		nbds_buf_size(b, c->unflushed_bytes);
		nbds_buf_puts(b, "\n");
	}
	if (c->gaps) {
		nbds_buf_puts(b, "missing\t");
		nbds_buf_count(b, c->gaps, "gap", NULL);
		nbds_buf_puts(b, " in the capture, ");
		nbds_buf_size(b, c->gap_bytes);
		nbds_buf_puts(b, "\n");
	}
	if (c->first_nonsense) {
		nbds_buf_printf(b, "nonsense\tin frame %" PRIu64 ": ", c->nonsense_frame);
		nbds_buf_escape(b, c->first_nonsense, strlen(c->first_nonsense));
		nbds_buf_puts(b, "\n");
	}
}
