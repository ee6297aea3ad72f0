/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hazards that need addresses or the handshake: nothing but the session knows them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static void tell(struct session *s, struct nbds_finding *f, enum nbds_rule_id id, const char *text)
{
	f->rule = rule_get(id);
	f->severity = f->rule->severity;
	f->message = text;
	f->count = 1;
	f->connection = s->c.id;
	f->export_name = s->c.export_name;
	f->export_name_len = s->c.export_name_len;
	doubts_tell(&s->engine->doubts, s->server, f);
}

static void multiplexed(struct session *s, const struct nbds_message *m, struct export_more *x,
			const struct client *host)
{
	struct nbds_finding f = {.time = m->first.time};
	char text[300], client[NBDS_ADDR_TEXT];
	const struct session *other = NULL;

	for (const struct client_use *use = host->uses; use; use = use->next) {
		const struct session *o = nbds_owner(use, struct session, use);

		if (o != s && (s->writes || o->writes) && (!other || o->c.id < other->c.id))
			other = o;
	}
	if (!other)
		return;
	x->multiplex_told = true;
	nbds_addr_text(&s->c.client, client);
	*strrchr(client, ':') = '\0';
	snprintf(text, sizeof(text),
		 "%s appears to spread its work, writes among it, over conn %" PRIu32
		 " and conn %" PRIu32 " at the same time, although the export lacks "
		 "CAN_MULTI_CONN: what one of them writes the other need not see",
		 client, other->c.id, s->c.id);
	f.command = m->name;
	f.frames[NBDS_ROLE_MESSAGE] = m->first.frame;
	tell(s, &f, RULE_MULTIPLEX, text);
}

void notice_multiplexed(struct session *s, const struct nbds_message *m)
{
	struct export_more *x = export_more(s->c.export);
	const struct client *host;

	if (!x || x->multiplex_told || s->c.end == NBDS_END_DISCONNECT)
		return;
	client_enter(&s->engine->clients, &s->use, x, &s->c.client);
	if (s->writes)
		client_writes(&s->use);
	host = s->use.client;
	if (!host || !s->c.negotiated.export_seen ||
	    (s->c.negotiated.transmission_flags & NBD_FLAG_CAN_MULTI_CONN) || !host->writers ||
	    !host->uses->next)
		return;
	multiplexed(s, m, x, host);
}

void notice_bit_8(struct session *s, const struct nbds_message *m)
{
	struct export_more *x = export_more(s->c.export);
	uint16_t flags = s->c.negotiated.transmission_flags;
	struct nbds_finding f = {0};
	char text[400];

	if (!x || x->bit_8_told || !s->c.negotiated.export_seen ||
	    !(flags & NBD_FLAG_CAN_MULTI_CONN) || (flags & NBD_FLAG_SEND_CACHE) ||
	    !(s->block_unasked || s->cache_honoured))
		return;
	x->bit_8_told = true;
	f.time = s->cache_honoured ? m->last.time : s->export_time;
	f.frames[NBDS_ROLE_MESSAGE] = s->export_frame;
	if (s->cache_honoured) {
		f.frames[NBDS_ROLE_REQUEST] = s->cache_frame;
		f.command = nbds_name_of(&nbds_commands, NBD_CMD_CACHE);
	}
	snprintf(
		text, sizeof(text),
		"the server sets bit 8 (CAN_MULTI_CONN) and not bit 10 (SEND_CACHE), and %s, as "
		"qemu 3.0 does, which meant SEND_CACHE by bit 8: its multi-conn promise is not one",
		s->cache_honoured ? "yet it honours NBD_CMD_CACHE"
				  : "tells block sizes unasked as qemu does, of which every later "
				    "version sets both bits");
	tell(s, &f, RULE_BIT_8, text);
}
