/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * common.c - what the forms of the report have in common. See internal.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "report.h"
#include "tls_words.h"

void nbds_report_write(struct nbds_report *r)
{
	fwrite(nbds_buf_text(&r->line), 1, r->line.len, r->out);
	nbds_buf_clear(&r->line);
}

struct nbds_buf *nbds_json_begin(struct nbds_report *r, const char *type)
{
	struct nbds_buf *b = &r->line;

	nbds_buf_clear(b);
	nbds_json_open(b, '{');
	nbds_json_member_string(b, "type", type);
	if (r->options.several)
		nbds_json_member_u64(b, "capture", r->captures);
	return b;
}

void nbds_json_end(struct nbds_report *r)
{
	nbds_json_close(&r->line, '}');
	nbds_buf_puts(&r->line, "\n");
	nbds_report_write(r);
}

bool nbds_message_waits(const struct nbds_message *m)
{
	return (m->type == NBDS_MSG_SIMPLE_REPLY || m->type == NBDS_MSG_CHUNK) &&
	       m->payload_len > 0;
}

void nbds_report_queue(struct nbds_report *r, struct nbds_connection *c,
		       const struct nbds_buf *broken)
{
	bool waits = broken->len > 0;
	struct nbds_waiting_line *line =
		nbds_waiting_add(&r->waiting, nbds_buf_text(&r->line), r->line.len,
				 waits ? nbds_buf_text(broken) : NULL, broken->len);

	/* A side sends one message after the other. */
	if (waits)
		c->user = line;
	nbds_buf_clear(&r->line);
}

/* The first connection that is called more than `id`, or (`exactly`) just so. */
static const struct nbds_connection *told_after(const struct nbds_told *told, uint32_t id,
						bool exactly)
{
	size_t low = 0, high = told->connection_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		uint32_t at = told->connections[middle]->id;

		if (at < id || (at == id && !exactly))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == told->connection_count || (exactly && told->connections[low]->id != id))
		return NULL;
	return told->connections[low];
}

const struct nbds_connection *nbds_report_connection(const struct nbds_report *r, uint32_t id)
{
	if (r->told_of)
		return told_after(r->told_of, id, true);
	return nbds_engine_connection(nbds_pipeline_engine(r->pipeline), id);
}

const struct nbds_connection *nbds_outcome_next(const struct nbds_outcome *o, uint32_t id)
{
	if (o->told)
		return told_after(o->told, id, false);
	return o->engine ? nbds_engine_next_connection(o->engine, id) : NULL;
}

int64_t nbds_report_since(const struct nbds_report *r, int64_t time)
{
	/* Times of a file may be any numbers: mind the overflow. */
	int64_t start = r->told_of ? r->told_of->info.capture.start
				   : nbds_pipeline_start(r->pipeline);

	return (int64_t)((uint64_t)time - (uint64_t)start);
}

bool nbds_export_entered(const struct nbds_connection *c)
{
	return c->negotiated.transmission && (!c->negotiated.tls || c->negotiated.inside);
}

static int by_id(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

uint32_t *nbds_export_ids(const struct nbds_export *e)
{
	uint32_t *ids = calloc(e->connection_count ? e->connection_count : 1, sizeof(*ids));

	if (!ids)
		return NULL;
	for (unsigned i = 0; i < e->connection_count; i++)
		ids[i] = e->connections[i];
	qsort(ids, e->connection_count, sizeof(*ids), by_id);
	return ids;
}

size_t nbds_rule_place(const struct nbds_rule *rule)
{
	size_t place = (size_t)(rule - nbds_rules);

	NBDS_ASSERT(place < nbds_rules_count);
	return place;
}

uint64_t nbds_finding_frame(const struct nbds_finding *f)
{
	static const enum nbds_role best_first[] = {
		NBDS_ROLE_MESSAGE,       NBDS_ROLE_READ,          NBDS_ROLE_READ_REQUEST,
		NBDS_ROLE_FLUSH,         NBDS_ROLE_WRITE,         NBDS_ROLE_REQUEST,
		NBDS_ROLE_WRITE_REQUEST, NBDS_ROLE_FLUSH_REQUEST, NBDS_ROLE_STALE_WRITE,
		NBDS_ROLE_EARLIER_READ,
	};

	for (size_t i = 0; i < sizeof(best_first) / sizeof(best_first[0]); i++)
		if (f->frames[best_first[i]])
			return f->frames[best_first[i]];
	return 0;
}

/* --- what waits in a file --- */

void nbds_spool_open(struct nbds_report *r)
{
	const char *directory = getenv("TMPDIR");
	struct nbds_buf *path = &r->text;
	int fd;

	nbds_buf_clear(path);
	nbds_buf_printf(path, "%s/nbdaudit.XXXXXX", directory && *directory ? directory : "/tmp");
	fd = path->failed ? -1 : mkstemp(path->s);
	if (fd < 0)
		return;
	unlink(path->s);
	r->spool = fdopen(fd, "w+");
	if (!r->spool)
		close(fd);
}

void nbds_spool_copy(struct nbds_report *r)
{
	char block[65536];
	size_t n;

	if (!r->spool)
		return;
	errno = 0;
	if (fflush(r->spool) || fseek(r->spool, 0, SEEK_SET))
		r->spool_error = errno ? errno : EIO;
	while ((n = fread(block, 1, sizeof(block), r->spool)) > 0)
		fwrite(block, 1, n, r->out);
	if (ferror(r->spool) && !r->spool_error)
		r->spool_error = errno ? errno : EIO;
	fclose(r->spool);
	r->spool = NULL;
}

/* --- verdict --- */

const char *nbds_verdict(const struct nbds_outcome *o)
{
	if (o->totals.findings[NBDS_VIOLATION])
		return "violations";
	if (o->totals.findings[NBDS_SUSPECT])
		return "suspect";
	if (o->totals.findings[NBDS_HAZARD])
		return "hazards";
	return o->unaudited ? "unaudited" : "clean";
}

static uint64_t decoded_bytes(const struct nbds_connection *c)
{
	return c->bytes[NBDS_CLIENT].decoded + c->bytes[NBDS_SERVER].decoded;
}

/* Of the connection's bytes those that nothing is known of: not captured, or passed over while
 * looking for a message. (What is inside TLS is known for that.) */
static uint64_t unseen_bytes(const struct nbds_connection *c)
{
	const struct nbds_accounting *a = &c->bytes[NBDS_CLIENT], *b = &c->bytes[NBDS_SERVER];
	uint64_t lost = a->lost + b->lost;

	if (lost < c->snaplen_bytes)
		lost = c->snaplen_bytes;
	return lost + a->skipped + b->skipped;
}

/* More of it was cut off by the snapshot length than seen. */
static bool heads_only(const struct nbds_connection *c)
{
	return c->snaplen_bytes > decoded_bytes(c);
}

/* Of one side nothing could be decoded, and its end was not seen: which, or -1. */
static int side_unread(const struct nbds_connection *c)
{
	for (int side = NBDS_CLIENT; side <= NBDS_SERVER; side++)
		if (!c->bytes[side].decoded && c->bytes[!side].decoded &&
		    (!c->closed[side].frame || c->closed[side].unseen))
			return side;
	return -1;
}

static bool one_side_only(const struct nbds_connection *c)
{
	return side_unread(c) >= 0;
}

/* Nor did any byte come from it: the capture lacks it. */
static bool one_side_there(const struct nbds_connection *c)
{
	int side = side_unread(c);

	return side >= 0 && !c->heard[side].frame;
}

/* What comes before STARTTLS says nothing about what follows it. */
static bool looked_into(const struct nbds_connection *c)
{
	return !nbds_opaque(c) && decoded_bytes(c) > 0 && !heads_only(c) && !one_side_only(c);
}

/* Bytes read that could not be judged as what they are held against is forgotten. */
static uint64_t bytes_against_forgotten(const struct nbds_engine_totals *t)
{
	size_t reasons = sizeof(t->unchecked) / sizeof(t->unchecked[0]);

	for (size_t i = 0; i < reasons && t->unchecked[i].reason; i++)
		if (!strcmp(t->unchecked[i].reason, "forgotten"))
			return t->unchecked[i].bytes;
	return 0;
}

/* Memory was too short to judge anything: connections were not followed to their end, or
 * what was read could be held against nothing. */
static bool starved(const struct nbds_engine_totals *t)
{
	return !t->checked_bytes && (t->given_up || (t->forgotten_servers && t->read_bytes) ||
				     bytes_against_forgotten(t));
}

void nbds_outcome_judge(struct nbds_outcome *o)
{
	const struct nbds_engine_totals *t = &o->totals;
	uint64_t seen = 0, unseen = 0;

	if (o->told) {
		o->unaudited = o->told->unaudited;
		o->read_bytes = t->read_bytes;
		return;
	}
	o->unaudited = !t->findings[NBDS_VIOLATION] && !t->findings[NBDS_SUSPECT] &&
		       !t->findings[NBDS_HAZARD] && !t->checked_bytes;
	o->read_bytes = t->read_bytes;
	if (starved(t))
		return;
	/* what could be looked into has to be the greater part of what is in clear: the greetings
	 * of connections whose data is not there are no reason to call all of it clean */
	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c && o->unaudited;
	     c = nbds_outcome_next(o, c->id)) {
		unseen += unseen_bytes(c);
		if (looked_into(c))
			seen += decoded_bytes(c);
		else if (one_side_only(c))
			unseen += decoded_bytes(c);
	}
	o->unaudited = o->unaudited && (!seen || unseen > seen);
}

void nbds_put_forgotten(const struct nbds_engine_totals *totals, struct nbds_buf *t)
{
	const char *between = "";

	if (totals->forgotten_connections) {
		nbds_buf_count(t, totals->forgotten_connections, "connection", NULL);
		nbds_buf_puts(t, " that ended and are not listed");
		between = ", ";
	}
	if (totals->forgotten_exports) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, totals->forgotten_exports, "export", NULL);
		nbds_buf_puts(t, " of such");
		between = ", ";
	}
	if (totals->forgotten_servers) {
		nbds_buf_puts(t, between);
		nbds_buf_puts(t, "all that was known of the contents of ");
		nbds_buf_count(t, totals->forgotten_servers, "server", NULL);
		between = ", ";
	}
	if (totals->given_up) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, totals->given_up, "connection", NULL);
		nbds_buf_puts(t, " that were not followed to their end");
		between = ", ";
	}
	if (totals->forgotten_blocks || totals->forgotten_versions) {
		char range[80];

		nbds_buf_puts(t, between);
		if (totals->forgotten_blocks) {
			nbds_buf_puts(t, "contents of ");
			nbds_buf_count(t, totals->forgotten_blocks, "block", NULL);
			nbds_buf_puts(t, " of 4 KiB");
		}
		if (totals->forgotten_versions) {
			nbds_buf_puts(t, totals->forgotten_blocks ? " and " : "");
			nbds_buf_count(t, totals->forgotten_versions, "old version", NULL);
			nbds_buf_puts(t, " of sectors");
		}
		snprintf(range, sizeof(range), ", between 0x%" PRIx64 " and 0x%" PRIx64,
			 totals->forgotten_from, totals->forgotten_to);
		nbds_buf_puts(t, range);
		between = ", ";
	}
	if (*between)
		nbds_buf_puts(t, "; a larger --memory keeps them");
}

void nbds_unaudited_why(const struct nbds_outcome *o, struct nbds_buf *b)
{
	const struct nbds_capture_info *c = &o->info.capture;
	const struct nbds_ip_stats *ip = &o->info.ip;
	uint64_t connections = 0, tls = 0, cut = 0, one_side = 0;
	struct nbds_connection tried = {.id = 0}; /* the first that there were keys for */

	if (o->told && o->told->why) {
		nbds_buf_puts(b, o->told->why);
		return;
	}
	if (starved(&o->totals)) {
		size_t before;

		nbds_buf_puts(b, "nothing could be judged, as memory was short: forgotten are ");
		before = b->len;
		nbds_put_forgotten(&o->totals, b);
		if (b->len == before)
			nbds_buf_puts(b, "the contents that were read; a larger --memory keeps "
					 "them");
		return;
	}
	for (const struct nbds_connection *n = nbds_outcome_next(o, 0); n;
	     n = nbds_outcome_next(o, n->id)) {
		connections++;
		if (nbds_opaque(n) && n->tls.tried && !tried.id)
			tried = *n;
		if (nbds_opaque(n))
			tls++;
		else if (heads_only(n))
			cut++;
		else if (one_side_there(n))
			one_side++;
	}
	if (!o->opened)
		nbds_buf_puts(b, "the capture could not be read; name a file in pcap or pcapng");
	else if (!c->frames)
		nbds_buf_puts(b, "the capture holds no packets; capture while clients work, for "
				 "example with tcpdump -s0 -w FILE 'port 10809'");
	else if (tried.id) {
		nbds_buf_printf(b, "%s inside TLS, and connection %" PRIu32 " cannot be read%s: ",
				tls == connections ? "all of it is" : "some of it is", tried.id,
				tried.negotiated.inside ? " to its end" : "");
		nbds_tls_reason(b, &tried);
	} else if (tls && tls == connections)
		nbds_buf_puts(b, "all of it is inside TLS; audit a connection without TLS");
	else if (tls)
		nbds_buf_puts(b, "what is not inside TLS could not be decoded; audit a "
				 "connection without TLS, from its beginning");
	else if (cut || (!connections && (c->truncated_frames || ip->truncated_headers)))
		nbds_buf_puts(b, "only the heads of packets were captured; capture whole packets "
				 "(tcpdump -s0)");
	else if (one_side)
		nbds_buf_puts(b, "only one direction was captured; capture where the packets of "
				 "both sides pass");
	else if (connections)
		nbds_buf_puts(b, "no message was found for certain; capture from before clients "
				 "connect");
	else if (o->shards && o->info.tcp.flows)
		nbds_buf_printf(b, "no NBD server of shard %u of %u is in this capture", o->shard,
				o->shards);
	else if (ip->unknown_link)
		nbds_buf_puts(b, "the frames are of a link type that is not understood; capture "
				 "on an Ethernet or loopback interface, or on 'any'");
	else if (!o->info.tcp.flows)
		nbds_buf_puts(b, "no TCP connection is in this capture; capture where the "
				 "clients' packets pass");
	else
		nbds_buf_puts(b, "no NBD was found in this capture; name the server's port with "
				 "--port, or capture from before clients connect");
}
