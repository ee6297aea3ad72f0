/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * facts.c - what there is to say of a capture, a connection, an export and of what was
 * judged, in labelled paragraphs. See facts.h.
 */
#include "facts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls_words.h"

/* --- the capture --- */

void nbds_put_moment(struct nbds_buf *b, int64_t time)
{
	int64_t seconds = time / 1000000000, rest = time % 1000000000;
	char text[64];
	struct tm tm;
	time_t t;

	if (rest < 0)
		rest += 1000000000, seconds--;
	t = (time_t)seconds;
	if (!gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm)) {
		nbds_buf_time(b, time);
		return;
	}
	nbds_buf_printf(b, "%s.%06" PRId64 " UTC", text, rest / 1000);
}

static void put_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_capture_info *c = &o->info.capture;
	struct nbds_buf *t = &r->text;

	if (!o->opened)
		return;

	nbds_buf_clear(t);
	nbds_buf_puts(t, c->format ? c->format : "unknown format");
	if (c->compression)
		nbds_buf_printf(t, " (%s)", c->compression);
	nbds_buf_puts(t, ", ");
	nbds_buf_count(t, c->frames, "frame", NULL);
	nbds_buf_puts(t, ", ");
	nbds_buf_size(t, c->bytes);
	if (c->interfaces > 1)
		nbds_buf_printf(t, ", %" PRIu32 " interfaces", c->interfaces);
	if (!*o->error)
		nbds_buf_puts(t, r->options.live ? "" : ", complete");
	nbds_item(&r->paper, "capture", nbds_buf_text(t));

	if (c->frames) {
		nbds_buf_clear(t);
		nbds_put_moment(t, c->start);
		nbds_buf_puts(t, ", for ");
		nbds_buf_duration(t, (uint64_t)c->end - (uint64_t)c->start);
		nbds_item(&r->paper, "time", nbds_buf_text(t));
	}
}

/* Segments that were not taken as they came. */
static void put_doubtful(struct nbds_report *r, const struct nbds_tcp_stats *tcp)
{
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	if (tcp->bad_checksums) {
		nbds_buf_count(t, tcp->bad_checksums, "segment", NULL);
		nbds_buf_puts(t, " with a wrong checksum, left out as the receiver does");
	}
	if (tcp->forgotten) {
		nbds_buf_puts(t, t->len ? "; " : "");
		nbds_buf_count(t, tcp->forgotten, "place", NULL);
		nbds_buf_puts(t, " where bytes may differ from those sent first, which are not "
				 "remembered");
	}
	if (t->len)
		nbds_item(&r->paper, "doubtful", nbds_buf_text(t));
}

/* What the capture lacks, if anything. */
static void put_capture_faults(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_capture_info *c = &o->info.capture;
	const struct nbds_ip_stats *ip = &o->info.ip;
	struct nbds_buf *t = &r->text;
	const char *between = "";

	if (*o->error) {
		nbds_buf_clear(t);
		nbds_buf_puts(t, o->error);
		if (o->opened) {
			nbds_buf_puts(t, "; the report covers what comes before");
			if (c->frames)
				nbds_buf_printf(t, ", up to frame %" PRIu64, c->frames);
		}
		nbds_item_in(&r->paper, NBDS_INK_VIOLATION, o->opened ? "incomplete" : "unreadable",
			     nbds_buf_text(t));
	}
	nbds_buf_clear(t);
	if (c->dropped) {
		nbds_buf_count(t, c->dropped, "packet", NULL);
		nbds_buf_puts(t, " dropped while capturing");
		between = "; ";
	}
	if (c->truncated_frames) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, c->truncated_frames, "frame", NULL);
		nbds_buf_puts(t, " cut by the snapshot length");
		between = "; ";
	}
	if (ip->fragments_lost) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, ip->fragments_lost, "IP fragment", NULL);
		nbds_buf_puts(t, " whose other parts are missing");
		between = "; ";
	}
	if (ip->unknown_link) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, ip->unknown_link, "frame", NULL);
		nbds_buf_puts(t, " of an unknown link type");
		between = "; ";
	}
	if (ip->malformed + ip->truncated_headers) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, ip->malformed + ip->truncated_headers, "frame", NULL);
		nbds_buf_puts(t, " with broken headers");
	}
	if (t->len)
		nbds_item(&r->paper, "missing", nbds_buf_text(t));
	put_doubtful(r, &o->info.tcp);
}

void nbds_facts_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	put_capture(r, o);
	put_capture_faults(r, o);
}

/* --- connections --- */

static const char *handshake_words(enum nbds_handshake h)
{
	switch (h) {
	case NBDS_HANDSHAKE_OLDSTYLE:
		return "oldstyle";
	case NBDS_HANDSHAKE_NEWSTYLE:
		return "newstyle (not fixed)";
	case NBDS_HANDSHAKE_NEWSTYLE_FIXED:
		return "fixed newstyle";
	case NBDS_HANDSHAKE_UNSEEN:
		break;
	}
	return "not seen";
}

static void put_seconds(struct nbds_buf *b, int64_t ns)
{
	nbds_buf_printf(b, "%.6f s", (double)ns / 1e9);
}

static const char *const side_words[] = {
	[NBDS_CLIENT] = "the client",
	[NBDS_SERVER] = "the server",
};

static void put_end(struct nbds_buf *t, const struct nbds_connection *c)
{
	const struct nbds_negotiated *n = &c->negotiated;
	enum nbds_side side;
	bool seen = nbds_closed_first(c, &side);

	switch (c->end) {
	case NBDS_END_DISCONNECT:
		nbds_buf_puts(t, "ended with NBD_CMD_DISC");
		return;
	case NBDS_END_ABORT:
		nbds_buf_puts(t, "ended with NBD_OPT_ABORT");
		return;
	case NBDS_END_OPEN:
		if (seen)
			nbds_buf_printf(t, "closed by %s only (%s in frame %" PRIu64 "), ",
					side_words[side], c->closed[side].rst ? "RST" : "FIN",
					c->closed[side].frame);
		nbds_buf_puts(t, "open at the end of the capture");
		return;
	case NBDS_END_FIN:
	case NBDS_END_RST:
		break;
	}
	if (!seen)
		nbds_buf_puts(t, c->end == NBDS_END_RST ? "cut off by a TCP reset"
							: "closed without goodbye");
	else
		nbds_buf_printf(t, "%s by %s%s (%s in frame %" PRIu64 ")",
				c->closed[side].rst ? "cut off" : "closed", side_words[side],
				c->closed[side].rst ? "" : " without goodbye",
				c->closed[side].rst ? "RST" : "FIN", c->closed[side].frame);
	if (n->handshake != NBDS_HANDSHAKE_UNSEEN && !n->transmission && (!n->tls || n->inside))
		nbds_buf_puts(t, ", before transmission began");
}

void nbds_facts_life(struct nbds_report *r, const struct nbds_connection *c)
{
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	if (c->first_frame == c->last_frame)
		nbds_buf_printf(t, "%" PRIu64, c->first_frame);
	else
		nbds_buf_printf(t, "%" PRIu64 " to %" PRIu64, c->first_frame, c->last_frame);
	nbds_buf_puts(t, ", from ");
	put_seconds(t, nbds_report_since(r, c->first_time));
	nbds_buf_puts(t, " to ");
	put_seconds(t, nbds_report_since(r, c->last_time));
	nbds_buf_puts(t, "; ");
	put_end(t, c);
	nbds_item(&r->paper, "frames", nbds_buf_text(t));
	if (c->from_start)
		return;
	nbds_buf_clear(t);
	nbds_buf_puts(t, "the capture begins in the middle of this connection; ");
	if (c->sure && c->sure_frame)
		nbds_buf_printf(t, "decoded from frame %" PRIu64 " on", c->sure_frame);
	else if (c->sure)
		nbds_buf_puts(t, "decoded");
	else
		nbds_buf_puts(t, "no message boundary was found for certain");
	nbds_item(&r->paper, "beginning", nbds_buf_text(t));
}

static void put_handshake(struct nbds_report *r, const struct nbds_connection *c)
{
	const struct nbds_negotiated *n = &c->negotiated;
	struct nbds_buf *t = &r->text;

	if (n->handshake == NBDS_HANDSHAKE_UNSEEN && c->from_start)
		return;
	nbds_buf_clear(t);
	nbds_buf_puts(t, handshake_words(n->handshake));
	if (n->handshake == NBDS_HANDSHAKE_NEWSTYLE ||
	    n->handshake == NBDS_HANDSHAKE_NEWSTYLE_FIXED) {
		nbds_buf_puts(t, "; server: ");
		nbds_buf_flags(t, &nbds_handshake_flags, n->handshake_flags);
	}
	if (n->client_flags_seen) {
		nbds_buf_puts(t, "; client: ");
		nbds_buf_flags(t, &nbds_client_flags, n->client_flags);
	}
	nbds_item(&r->paper, "handshake", nbds_buf_text(t));
}

/* The server's words, and what is odd about them: they shall be UTF-8 for people. */
static void put_refusal(struct nbds_buf *t, const struct nbds_option_seen *o)
{
	const char *nul = memchr(o->text, '\0', o->text_len);
	size_t shown = nul ? (size_t)(nul - o->text) : o->text_len;

	nbds_buf_puts(t, ": ");
	nbds_buf_quote(t, o->text, shown);
	if (nul) {
		nbds_buf_puts(t, ", then a NUL, which no text may hold");
		if (shown + 1 < o->text_len) {
			nbds_buf_puts(t, ", and ");
			nbds_buf_count(t, o->text_len - shown - 1, "further byte", NULL);
			nbds_buf_puts(t, ", ");
			nbds_buf_quote(t, nul + 1, o->text_len - shown - 1);
		}
	}
}

/* One option: its name alone if it was simply accepted. */
static void put_option(struct nbds_buf *t, const struct nbds_option_seen *o)
{
	unsigned kept = o->reply_kept;
	unsigned count = o->reply_count < kept ? o->reply_count : kept;
	char name[NBDS_TEXT_OF_MAX];

	nbds_buf_puts(t, nbds_text_of(&nbds_options, o->option, name));
	for (unsigned i = 0; i < count; i++)
		if (o->replies[i] & NBD_REP_FLAG_ERROR)
			nbds_buf_printf(t, " refused (%s)",
					nbds_text_of(&nbds_reply_types, o->replies[i], name));
	if (o->text)
		put_refusal(t, o);
	/* Neither of the two has to have a reply of this form. */
	if (!o->final && o->option != NBD_OPT_EXPORT_NAME && o->option != NBD_OPT_ABORT)
		nbds_buf_puts(t, o->reply_count ? " (not answered to the end)" : " (unanswered)");
}

static bool same_option(const struct nbds_option_seen *a, const struct nbds_option_seen *b)
{
	unsigned kept = a->reply_kept;
	unsigned count = a->reply_count < kept ? a->reply_count : kept;

	return a->option == b->option && a->final == b->final && a->reply_count == b->reply_count &&
	       a->text_len == b->text_len &&
	       (!a->text_len || !memcmp(a->text, b->text, a->text_len)) &&
	       a->reply_kept == b->reply_kept &&
	       (!count || !memcmp(a->replies, b->replies, count * sizeof(a->replies[0])));
}

static void put_options(struct nbds_report *r, const struct nbds_connection *c)
{
	struct nbds_buf *t = &r->text;

	if (!c->option_count)
		return;
	nbds_buf_clear(t);
	for (unsigned i = 0, same; i < c->option_count; i += same) {
		same = 1;
		while (i + same < c->option_count &&
		       same_option(&c->options[i], &c->options[i + same]))
			same++;
		if (i)
			nbds_buf_puts(t, ", ");
		put_option(t, &c->options[i]);
		if (same > 1)
			nbds_buf_printf(t, " %u times", same);
	}
	nbds_item(&r->paper, "options", nbds_buf_text(t));
}

static void put_export_facts(struct nbds_report *r, const struct nbds_connection *c)
{
	const struct nbds_negotiated *n = &c->negotiated;
	struct nbds_buf *t = &r->text;
	const char *between = "";

	nbds_buf_clear(t);
	if (c->export_name_seen) {
		nbds_buf_quote(t, c->export_name, c->export_name_len);
		between = ", ";
		if (!nbds_export_entered(c))
			nbds_buf_puts(t, " was asked for, and not entered");
	}
	if (n->export_seen) {
		nbds_buf_puts(t, between);
		nbds_buf_size_exact(t, n->size);
		between = ", ";
	}
	if ((!n->tls || n->inside) && n->transmission &&
	    (n->handshake != NBDS_HANDSHAKE_UNSEEN || n->inferred))
		nbds_buf_printf(t, "%s%s replies%s", between,
				n->extended     ? "extended"
				: n->structured ? "structured"
						: "simple",
				n->inferred ? " (as the traffic shows)" : "");
	if (t->len)
		nbds_item(&r->paper, "export", nbds_buf_text(t));
	if (n->export_seen) {
		nbds_buf_clear(t);
		nbds_buf_flags(t, &nbds_transmission_flags, n->transmission_flags);
		nbds_item(&r->paper, "flags", nbds_buf_text(t));
	}
	if (c->block_size_seen) {
		nbds_buf_clear(t);
		nbds_buf_printf(t,
				"minimum %" PRIu32 ", preferred %" PRIu32 ", at most %" PRIu32
				" bytes of payload",
				c->block_minimum, c->block_preferred, c->payload_maximum);
		nbds_item(&r->paper, "block sizes", nbds_buf_text(t));
	}
	if (c->context_count) {
		nbds_buf_clear(t);
		for (unsigned i = 0; i < c->context_count; i++) {
			nbds_buf_puts(t, i ? ", " : "");
			nbds_buf_escape(t, c->contexts[i].name, c->contexts[i].name_len);
			nbds_buf_printf(t, " (id %" PRIu32 ")", c->contexts[i].id);
		}
		nbds_item(&r->paper, "contexts", nbds_buf_text(t));
	}
}

void nbds_facts_negotiated(struct nbds_report *r, const struct nbds_connection *c)
{
	put_handshake(r, c);
	put_options(r, c);
	if (c->negotiated.tls) {
		nbds_buf_clear(&r->text);
		nbds_tls_sentence(&r->text, c);
		nbds_item(&r->paper, "TLS", nbds_buf_text(&r->text));
	}
	put_export_facts(r, c);
}

/* Requests without a final reply that are shown one by one. */
#define LEFT_OPEN_SHOWN 8u

/* For how long something had lasted when the connection ended, or the capture. */
static void put_until_end(struct nbds_buf *t, const struct nbds_connection *c, int64_t since,
			  const struct nbds_outcome *o)
{
	enum nbds_side side;
	int64_t end = nbds_closed_first(c, &side) ? c->closed[side].time : o->info.capture.end;

	nbds_buf_duration(t, end > since ? (uint64_t)end - (uint64_t)since : 0);
}

static void put_unanswered(struct nbds_report *r, const struct nbds_connection *c,
			   const struct nbds_outcome *o)
{
	unsigned shown = c->left_open_count < LEFT_OPEN_SHOWN ? c->left_open_count
							      : LEFT_OPEN_SHOWN;
	struct nbds_buf *t = &r->text;
	char name[NBDS_TEXT_OF_MAX];
	const char *label = "unanswered";

	for (unsigned i = 0; i < shown; i++) {
		const struct nbds_outstanding *q = &c->left_open[i];

		nbds_buf_clear(t);
		nbds_buf_puts(t, nbds_text_of(&nbds_commands, q->type, name));
		if (q->length) {
			nbds_buf_puts(t, ", ");
			nbds_buf_count(t, q->length, "byte", NULL);
			nbds_buf_printf(t, " at 0x%" PRIx64, q->offset);
		}
		nbds_buf_printf(t, ", of frame %" PRIu64 ", for ", q->frame);
		put_until_end(t, c, q->since, o);
		if (q->reply_frame)
			nbds_buf_printf(t,
					"; its answer began in frame %" PRIu64
					" and never came to its end",
					q->reply_frame);
		nbds_item(&r->paper, label, nbds_buf_text(t));
		label = "";
	}
	if (!shown)
		return;
	nbds_buf_clear(t);
	if (c->unanswered > shown)
		nbds_buf_printf(t, "and %" PRIu64 " more; ", c->unanswered - shown);
	if (c->heard[NBDS_SERVER].frame) {
		nbds_buf_printf(t, "the last that came from the server is in frame %" PRIu64 ", ",
				c->heard[NBDS_SERVER].frame);
		put_until_end(t, c, c->heard[NBDS_SERVER].time, o);
		nbds_buf_puts(t, " before the end");
	} else {
		nbds_buf_puts(t, "nothing ever came from the server");
	}
	nbds_item(&r->paper, label, nbds_buf_text(t));
}

/* What was left open: unanswered, unflushed, answers to nothing. */
static void put_open_ends(struct nbds_report *r, const struct nbds_connection *c)
{
	struct nbds_buf *t = &r->text;
	const char *between = "";

	nbds_buf_clear(t);
	if (c->unanswered) {
		nbds_buf_count(t, c->unanswered, "request", NULL);
		nbds_buf_puts(t, " unanswered");
		between = "; ";
	}
	if (c->second_replies) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, c->second_replies, "second reply", "second replies");
		nbds_buf_puts(t, " to requests that were answered");
		between = "; ";
	}
	if (c->unsolicited > c->second_replies) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, c->unsolicited - c->second_replies, "reply", "replies");
		nbds_buf_puts(t, " to no request that was seen");
		between = "; ";
	}
	if (c->unflushed_writes) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, c->unflushed_writes, "completed write", NULL);
		nbds_buf_puts(t, " (");
		nbds_buf_size(t, c->unflushed_bytes);
		nbds_buf_puts(t, ") not flushed, the oldest since ");
		put_seconds(t, nbds_report_since(r, c->unflushed_since));
	}
	if (t->len)
		nbds_item(&r->paper, "left open", nbds_buf_text(t));
}

void nbds_facts_open(struct nbds_report *r, const struct nbds_connection *c,
		     const struct nbds_outcome *o)
{
	put_open_ends(r, c);
	put_unanswered(r, c, o);
}

/* Adds "; 12 bytes WHY" for bytes that were not decoded. */
static void put_share(struct nbds_buf *t, uint64_t bytes, const char *why, const char **between)
{
	if (!bytes)
		return;
	nbds_buf_puts(t, *between);
	nbds_buf_size(t, bytes);
	nbds_buf_printf(t, " %s", why);
	*between = ", ";
}

void nbds_facts_bytes(struct nbds_report *r, const struct nbds_connection *c)
{
	const struct nbds_accounting *a = &c->bytes[NBDS_CLIENT], *b = &c->bytes[NBDS_SERVER];
	uint64_t lost = a->lost + b->lost;
	uint64_t cut = c->snaplen_bytes < lost ? c->snaplen_bytes : lost;
	struct nbds_buf *t = &r->text;
	const char *between = "; not decoded: ";

	nbds_buf_clear(t);
	nbds_buf_size(t, a->fed);
	nbds_buf_puts(t, " from the client, ");
	nbds_buf_size(t, b->fed);
	nbds_buf_puts(t, " from the server");
	if (a->decoded == a->fed && b->decoded == b->fed)
		nbds_buf_puts(t, c->malformed ? ", all read" : ", all decoded");
	put_share(t, a->tls + b->tls, "inside TLS", &between);
	put_share(t, cut, "cut off by the snapshot length", &between);
	put_share(t, lost - cut, "lost by the capture", &between);
	put_share(t, a->skipped + b->skipped, "passed over while looking for a message boundary",
		  &between);
	put_share(t, a->nonsense + b->nonsense, "that are no legal message", &between);
	put_share(t, a->after_end + b->after_end, "after the end of the session", &between);
	put_share(t, a->trailing + b->trailing, "of a message that was never finished", &between);
	if (c->first_nonsense)
		nbds_buf_printf(t, "; first at frame %" PRIu64 ": %s", c->nonsense_frame,
				c->first_nonsense);
	if (c->malformed) {
		nbds_buf_puts(t, "; ");
		nbds_buf_count(t, c->malformed, "malformed message", NULL);
		nbds_buf_printf(t, ", the first in frame %" PRIu64, c->malformed_frame);
	}
	if (c->conflicts) {
		nbds_buf_puts(t, "; ");
		nbds_buf_count(t, c->conflicts, "retransmission", NULL);
		nbds_buf_puts(t, " with other bytes than the first copy");
	}
	if (c->discarded) {
		nbds_buf_puts(t, "; ");
		nbds_buf_count(t, c->discarded, "segment", NULL);
		nbds_buf_puts(t, " with a wrong checksum, left out");
	}
	nbds_item(&r->paper, "bytes", nbds_buf_text(t));
}

static bool same_contexts(const struct nbds_connection *a, const struct nbds_connection *b)
{
	if (a->context_count != b->context_count)
		return false;
	for (unsigned i = 0; i < a->context_count; i++) {
		const struct nbds_context *x = &a->contexts[i], *y = &b->contexts[i];

		if (x->id != y->id || x->name_len != y->name_len ||
		    memcmp(x->name, y->name, x->name_len) != 0)
			return false;
	}
	return true;
}

bool nbds_same_negotiation(const struct nbds_connection *a, const struct nbds_connection *b)
{
	const struct nbds_negotiated *x = &a->negotiated, *y = &b->negotiated;

	if (x->handshake != y->handshake || x->handshake_flags != y->handshake_flags ||
	    x->client_flags != y->client_flags || x->client_flags_seen != y->client_flags_seen ||
	    x->structured != y->structured || x->extended != y->extended ||
	    x->inferred != y->inferred || x->tls != y->tls || x->inside != y->inside ||
	    x->transmission != y->transmission || x->export_seen != y->export_seen ||
	    x->size != y->size || x->transmission_flags != y->transmission_flags)
		return false;
	if (x->tls &&
	    (a->tls.tried != b->tls.tried || a->tls.why != b->tls.why ||
	     a->tls.why > NBDS_TLS_WAITS || a->tls.facts.version != b->tls.facts.version ||
	     a->tls.facts.suite != b->tls.facts.suite))
		return false;
	if (!nbds_addr_equal(&a->server, &b->server) || a->block_size_seen != b->block_size_seen ||
	    a->block_minimum != b->block_minimum || a->block_preferred != b->block_preferred ||
	    a->payload_maximum != b->payload_maximum ||
	    a->export_name_seen != b->export_name_seen ||
	    a->export_name_len != b->export_name_len ||
	    (a->export_name_len && memcmp(a->export_name, b->export_name, a->export_name_len) != 0))
		return false;
	if (a->option_count != b->option_count || !same_contexts(a, b))
		return false;
	for (unsigned i = 0; i < a->option_count; i++)
		if (!same_option(&a->options[i], &b->options[i]))
			return false;
	return true;
}

/* --- exports --- */

/* "1, 2, 5 to 9" */
static void put_ids(struct nbds_buf *t, const struct nbds_export *e)
{
	uint32_t *ids = nbds_export_ids(e);

	for (unsigned i = 0, run; ids && i < e->connection_count; i += run) {
		uint32_t id = ids[i];

		run = 1;
		while (i + run < e->connection_count && ids[i + run] == id + run)
			run++;
		nbds_buf_printf(t, "%s%" PRIu32, i ? ", " : "", id);
		if (run > 2)
			nbds_buf_printf(t, " to %" PRIu32, id + run - 1);
		else
			run = 1;
	}
	free(ids);
}

static void flush_add(struct nbds_flush_rows *rows, const struct nbds_flush_seen *flush,
		      uint32_t id)
{
	size_t at = rows->count;

	while (at && rows->at[at - 1].flush.request_frame > flush->request_frame)
		at--;
	if (rows->count == NBDS_FLUSHES_SHOWN) {
		if (!at)
			return;
		memmove(rows->at, rows->at + 1, --at * sizeof(rows->at[0]));
	} else {
		memmove(rows->at + at + 1, rows->at + at,
			(rows->count++ - at) * sizeof(rows->at[0]));
	}
	rows->at[at] = (struct nbds_flush_row){*flush, id};
}

void nbds_flushes_of(const struct nbds_report *r, const struct nbds_export *e,
		     struct nbds_flush_rows *rows)
{
	*rows = (struct nbds_flush_rows){.count = 0};
	for (unsigned i = 0; i < e->connection_count; i++) {
		const struct nbds_connection *c = nbds_report_connection(r, e->connections[i]);

		if (!c)
			continue;
		rows->total += c->flushes_total;
		for (unsigned k = 0; k < c->flush_kept; k++)
			flush_add(rows, &c->flushes[k], c->id);
	}
}

/* What holds between connections. */
static void put_multi_conn(struct nbds_buf *t, const struct nbds_export *e)
{
	switch (e->multi_conn) {
	case NBDS_MC_UNKNOWN:
		nbds_buf_puts(t, "whether NBD_FLAG_CAN_MULTI_CONN was set is not known");
		return;
	case NBDS_MC_FALSE:
		nbds_buf_puts(t, "without NBD_FLAG_CAN_MULTI_CONN: nothing holds between them");
		return;
	case NBDS_MC_MIXED:
		nbds_buf_puts(t, "NBD_FLAG_CAN_MULTI_CONN on some of them only");
		return;
	case NBDS_MC_TRUE:
		break;
	}
	nbds_buf_puts(t, "with NBD_FLAG_CAN_MULTI_CONN");
	switch (e->transmission_flags & (NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA)) {
	case NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA:
		nbds_buf_puts(t, ": flush and FUA hold for all");
		break;
	case NBD_FLAG_SEND_FLUSH:
		nbds_buf_puts(t, ": a flush holds for all");
		break;
	case NBD_FLAG_SEND_FUA:
		nbds_buf_puts(t, ": FUA holds for all; no flush is offered");
		break;
	default:
		nbds_buf_puts(t, ", but neither flush nor FUA is offered that could hold for all");
		break;
	}
}

void nbds_facts_export(struct nbds_report *r, const struct nbds_export *e)
{
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	put_ids(t, e);
	nbds_buf_puts(t, "; ");
	put_multi_conn(t, e);
	nbds_item(&r->paper, e->connection_count == 1 ? "connection" : "connections",
		  nbds_buf_text(t));

	if (e->writes) {
		nbds_buf_clear(t);
		nbds_buf_count(t, e->writes, "request", NULL);
		nbds_buf_puts(t, " to write, zero or trim");
		if (e->fua_writes)
			nbds_buf_printf(t, " (%" PRIu64 " with NBD_CMD_FLAG_FUA)", e->fua_writes);
		nbds_item(&r->paper, "writes", nbds_buf_text(t));
	}
}

/* --- what was judged --- */

void nbds_facts_judged(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_engine_totals *totals = &o->totals;
	struct nbds_buf *t = &r->text;

	if (!totals->connections || o->unaudited)
		return;
	nbds_buf_clear(t);
	if (!totals->checked_reads) {
		nbds_buf_puts(t, "no read could be held against what had been written");
		if (!o->read_bytes)
			nbds_buf_puts(t, ": nothing was read");
	} else {
		nbds_buf_count(t, totals->checked_reads, "read", NULL);
		nbds_buf_puts(t, ", ");
		nbds_buf_size(t, totals->checked_bytes);
		nbds_buf_puts(t, " of ");
		nbds_buf_size(t, o->read_bytes);
		nbds_buf_puts(t, " read, held against what had been written");
	}
	nbds_item(&r->paper, "judged", nbds_buf_text(t));
}

/* What --memory had no room for. */
static void put_forgotten(struct nbds_report *r, const struct nbds_engine_totals *totals)
{
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	nbds_put_forgotten(totals, t);
	if (t->len)
		nbds_item(&r->paper, "forgotten", nbds_buf_text(t));
}

void nbds_facts_not_judged(struct nbds_report *r, const struct nbds_outcome *o)
{
	const struct nbds_engine_totals *totals = &o->totals;
	size_t reasons = sizeof(totals->unchecked) / sizeof(totals->unchecked[0]);
	struct nbds_buf *t = &r->text;
	const char *label = "not judged";

	for (size_t i = 0; i < reasons && totals->unchecked[i].reason; i++) {
		if (!totals->unchecked[i].bytes)
			continue;
		nbds_buf_clear(t);
		nbds_buf_size(t, totals->unchecked[i].bytes);
		nbds_buf_printf(t, ": %s", nbds_unchecked_words(totals->unchecked[i].reason));
		nbds_item(&r->paper, label, nbds_buf_text(t));
		label = "";
	}
	put_forgotten(r, totals);
}

/* --- why a read was judged as it was --- */

static void put_why_one(struct nbds_report *r, const struct nbds_judged *j)
{
	struct nbds_buf *t = &r->text;
	char name[NBDS_TEXT_OF_MAX];
	uint64_t rest = j->failed || j->type != NBD_CMD_READ || j->checked > j->length
				? 0
				: j->length - j->checked;

	nbds_buf_clear(t);
	nbds_buf_printf(t, "%s of connection %" PRIu32 ", ",
			nbds_text_of(&nbds_commands, j->type, name), j->connection);
	nbds_buf_count(t, j->length, "byte", NULL);
	nbds_buf_printf(t, " at 0x%" PRIx64 " (frames %" PRIu64 " to %" PRIu64 ")", j->offset,
			j->request_frame, j->reply_frame);
	nbds_item(&r->paper, "why", nbds_buf_text(t));
	nbds_buf_clear(t);
	if (j->failed)
		nbds_buf_puts(t, "not judged: it failed, or was never answered");
	else if (!j->checked)
		nbds_buf_puts(t, "nothing of it was judged");
	else
		nbds_buf_size(t, j->checked);
	if (!j->failed && j->checked)
		nbds_buf_puts(t, " were held against what had been written");
	if (j->rule)
		nbds_buf_printf(
			t,
			"; it broke %s [%s] (%s): see its finding, unless that was withheld "
			"because a gap may hide a write",
			j->rule->name, j->rule->ref, nbds_severity_name(j->severity));
	else if (j->checked)
		nbds_buf_puts(t, ", and are what was allowed there");
	nbds_item(&r->paper, "", nbds_buf_text(t));
	for (unsigned i = 0; i < 16 && j->unchecked[i].reason; i++) {
		nbds_buf_clear(t);
		nbds_buf_size(t, j->unchecked[i].bytes);
		nbds_buf_printf(t, " were not: %s (%s); needed: %s",
				nbds_unchecked_words(j->unchecked[i].reason),
				j->unchecked[i].reason,
				nbds_unchecked_needs(j->unchecked[i].reason));
		nbds_item(&r->paper, "", nbds_buf_text(t));
		rest -= j->unchecked[i].bytes < rest ? j->unchecked[i].bytes : rest;
	}
	if (!rest)
		return;
	nbds_buf_clear(t);
	nbds_buf_size(t, rest);
	nbds_buf_puts(t,
		      " came as a hole, which reads as zeroes, where the capture shows no data to "
		      "have been written: nothing could be wrong there");
	nbds_item(&r->paper, "", nbds_buf_text(t));
}

void nbds_facts_why(struct nbds_report *r)
{
	struct nbds_buf *t = &r->text;

	for (size_t i = 0; i < r->why.count; i++)
		put_why_one(r, &r->why.at[i]);
	if (!r->options.why || r->why.count)
		return;
	nbds_buf_clear(t);
	nbds_buf_printf(t,
			"no read, and no block status, that could be followed begins or ends in "
			"frame %" PRIu64,
			r->options.why);
	if (r->why_during.length)
		nbds_buf_puts(t, ", which is in the middle of this one:");
	nbds_item(&r->paper, "why", nbds_buf_text(t));
	if (r->why_during.length) {
		put_why_one(r, &r->why_during);
		return;
	}
	nbds_buf_clear(t);
	if (r->why_before)
		nbds_buf_printf(t, "the last one before it ends in frame %" PRIu64, r->why_before);
	if (r->why_after)
		nbds_buf_printf(t, "%sthe next one begins in frame %" PRIu64,
				r->why_before ? "; " : "", r->why_after);
	if (!r->why_before && !r->why_after)
		nbds_buf_puts(t, "nor in any other frame");
	nbds_item(&r->paper, "", nbds_buf_text(t));
}

/* --- the verdict --- */

/* What weakens the word "clean". */
static void put_reservations(struct nbds_buf *t, const struct nbds_outcome *o)
{
	uint64_t tls = 0, unsure = 0, gaps = 0;

	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); c;
	     c = nbds_outcome_next(o, c->id)) {
		tls += nbds_opaque(c);
		unsure += !nbds_opaque(c) && !c->sure;
		gaps += c->gaps != 0;
	}
	if (tls) {
		nbds_buf_puts(t, "; not seen inside TLS: ");
		nbds_buf_count(t, tls, "connection", NULL);
	}
	if (unsure) {
		nbds_buf_puts(t, "; not decoded: ");
		nbds_buf_count(t, unsure, "connection", NULL);
	}
	if (gaps) {
		nbds_buf_puts(t, "; with bytes missing: ");
		nbds_buf_count(t, gaps, "connection", NULL);
	}
	if (*o->error && o->shards_wrong)
		nbds_buf_printf(t, "; incomplete: %s", o->error);
	else if (*o->error)
		nbds_buf_puts(t, "; the capture is incomplete");
}

void nbds_verdict_words(const struct nbds_report *r, const struct nbds_outcome *o,
			struct nbds_buf *t)
{
	static const char *const many[] = {
		[NBDS_NOTE] = "notes",
		[NBDS_HAZARD] = "hazards",
		[NBDS_SUSPECT] = "suspects",
		[NBDS_VIOLATION] = "violations",
	};
	const struct nbds_engine_totals *totals = &o->totals;
	const char *between = "";

	for (int s = NBDS_VIOLATION; s >= NBDS_NOTE; s--) {
		if (!totals->findings[s])
			continue;
		nbds_buf_puts(t, between);
		nbds_buf_count(t, totals->findings[s], nbds_severity_name((enum nbds_severity)s),
			       many[s]);
		between = ", ";
	}
	if (o->unaudited) {
		nbds_buf_puts(t, *between ? "; " : "");
		nbds_unaudited_why(o, t);
	} else {
		nbds_buf_puts(t, *between ? " in " : "nothing found in ");
		nbds_buf_count(t, totals->connections, "connection", NULL);
		nbds_buf_puts(t, " to ");
		nbds_buf_count(t, totals->exports, "export", NULL);
		if (o->shards)
			nbds_buf_printf(t, " of shard %u of %u alone", o->shard, o->shards);
	}
	if (r->hidden)
		nbds_buf_printf(t, " (not shown, as below --severity: %" PRIu64 ")", r->hidden);
	if (!o->unaudited)
		put_reservations(t, o);
}
