/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes that are no message, and ends: who closed, in the middle of what, and what
 * was left unanswered (proto.md, "Terminating the transmission phase", "Termination
 * of the session during option haggling").
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <base/bytes.h>
#include <base/clock.h>

#include "check.h"

/* An answer that takes longer is worth a word. */
#define LONG INT64_C(5000000000)
/* How long a server may take to close. */
#define CLOSING INT64_C(10000000000)
#define SHOWN   4u /* requests that are named */

bool nbds_closed_first(const struct nbds_connection *c, enum nbds_side *side)
{
	uint64_t client = c->closed[NBDS_CLIENT].frame, server = c->closed[NBDS_SERVER].frame;

	*side = server && (!client || server < client) ? NBDS_SERVER : NBDS_CLIENT;
	/* it had the other's FIN, which has a number behind the last byte */
	if (client && server && !c->closed[*side].rst && c->closed[*side].ack != NBDS_NO_ACK &&
	    c->closed[*side].ack > c->closed[!*side].sent)
		*side = !*side;
	return client || server;
}

/* --- bytes that are no message ------------------------------------------- */

static const char *hex(const struct nbds_trouble *t, char *buf, size_t size)
{
	size_t n = t->bytes_len < 16 ? t->bytes_len : 16, at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n && at + 4 < size; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%02x", i ? " " : "", t->bytes[i]);
	return buf;
}

static bool zeroes(const struct nbds_trouble *t)
{
	size_t n = t->bytes_len < 4 ? t->bytes_len : 4;

	for (size_t i = 0; i < n; i++)
		if (t->bytes[i])
			return false;
	return n;
}

static void client_nonsense(struct rules_connection *rc, const struct nbds_trouble *t,
			    struct rules_about *about)
{
	uint32_t magic = t->bytes_len >= 4 ? nbds_be32(t->bytes) : 0;
	/* the answer that led here may only be late in the capture */
	bool entering =
		rc->option.waits && !rules_informed(rc, &t->where) &&
		(rc->option.number == NBD_OPT_GO || rc->option.number == NBD_OPT_EXPORT_NAME);
	char bytes[64];

	hex(t, bytes, sizeof(bytes));
	if (rc->oldstyle && !rc->first_request)
		rules_tell(
			rc, RULE_AFTER_OLDSTYLE, about,
			"after the oldstyle greeting the client sends %s, which begins no request",
			bytes);
	else if (rc->entered && magic == (uint32_t)(NBD_OPTS_MAGIC >> 32))
		rules_tell(rc, RULE_OPTION_LATE, about,
			   "the client sends an option (%s) in the transmission phase", bytes);
	else if (rc->entered || rc->first_request || entering || !rc->c->from_start)
		rules_tell(rc, RULE_REQUEST_MAGIC, about,
			   "the client sends %s where a request is due%s", bytes,
			   magic == NBD_REQUEST_MAGIC_HISTORIC
				   ? ": a magic that Linux used before 2.1.116"
				   : "");
	else
		rules_tell(rc, RULE_OPTION_MAGIC, about,
			   "the client sends %s where an option is due", bytes);
}

static void server_nonsense(struct rules_connection *rc, const struct nbds_trouble *t,
			    struct rules_about *about)
{
	uint32_t magic = t->bytes_len >= 4 ? nbds_be32(t->bytes) : 0;
	bool fresh = rc->entered && !rc->first_reply;
	char bytes[64], read[120] = "";

	hex(t, bytes, sizeof(bytes));
	if (!rc->greeted && !rc->entered && rc->c->from_start && !rc->lost[NBDS_SERVER]) {
		rc->based = t->where.ack != NBDS_NO_ACK;
		if (magic == (uint32_t)(NBD_INIT_MAGIC >> 32))
			rules_tell(rc, RULE_GREETING_UNKNOWN, about, "the greeting begins with %s",
				   bytes);
		else
			rules_tell(rc, RULE_GREETING_MAGIC, about,
				   "the server's first bytes are %s, not NBDMAGIC", bytes);
	} else if (t->length) {
		rules_tell(rc, RULE_DATA_AFTER_ERROR, about,
			   "%" PRIu64
			   " bytes follow the error of a read of that length; nbd-server 3.12 and "
			   "3.13 did so",
			   t->length);
	} else if (fresh && t->bytes_len && !t->bytes[0] &&
		   rc->option.number == NBD_OPT_EXPORT_NAME) {
		if (rc->no_zeroes)
			rules_tell(
				rc, RULE_ZEROES_UNWANTED, about,
				"zeroes follow the answer to NBD_OPT_EXPORT_NAME, though the client had set "
				"NBD_FLAG_C_NO_ZEROES");
		else
			rules_tell(
				rc, RULE_EXPORT_NAME_MALFORMED, about,
				"more than 124 zeroes follow the answer to NBD_OPT_EXPORT_NAME; qemu 2.8 and "
				"2.9 sent 126");
	} else if (fresh && zeroes(t) && rc->option.number == NBD_OPT_GO) {
		rules_tell(rc, RULE_ZEROES_AFTER_GO, about,
			   "zeroes follow the acknowledgement of NBD_OPT_GO");
	} else if (rc->entered || rc->first_reply || !rc->c->from_start) {
		if (rc->last_read_frame)
			snprintf(read, sizeof(read),
				 ": was the data of the read before (frame %" PRIu64
				 ") too short or too long?",
				 rc->last_read_frame);
		rules_tell(rc, RULE_REPLY_MAGIC_WRONG, about,
			   "the server sends %s where a reply is due%s%s", bytes,
			   magic == NBD_REPLY_MAGIC_HISTORIC
				   ? ", a magic that Linux used before 2.1.116"
				   : "",
			   read);
	} else {
		rules_tell(rc, RULE_REPLY_MAGIC, about,
			   "the server sends %s where an option reply is due", bytes);
	}
}

/* STARTTLS was acknowledged: is this TLS? */
static void tls_bytes(struct rules_connection *rc, const struct nbds_trouble *t)
{
	struct rules_about about = {.at = &t->where,
				    .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER,
				    .settled = true, /* TLS is no message that would count */
				    .other_side = true,
				    .side = t->side == NBDS_SERVER ? NBDS_FAULT_SERVER
								   : NBDS_FAULT_CLIENT};
	const uint8_t *p = t->bytes;
	char bytes[64];

	rc->unread = true;
	if (!rc->tls || t->bytes_len < 3)
		return;
	if (p[0] < 20 || p[0] > 23 || p[1] != 3 || p[2] > 4) {
		/* what the client sent before it had the answer is another fault */
		if (t->side == NBDS_CLIENT &&
		    (t->where.ack == NBDS_NO_ACK || t->where.ack < rc->pos[NBDS_SERVER]))
			return;
		rules_tell(
			rc, RULE_PLAINTEXT_AFTER_TLS, &about,
			"%s follows the acknowledgement of NBD_OPT_STARTTLS, and is no TLS record",
			hex(t, bytes, sizeof(bytes)));
	} else if (t->side == NBDS_SERVER && p[0] == 22 && p[2] < 3) {
		about.other_side = false;
		rules_tell(rc, RULE_TLS_VERSION, &about, "the server's first TLS record is of %s",
			   p[2] == 0   ? "SSL 3.0"
			   : p[2] == 1 ? "TLS 1.0"
				       : "TLS 1.1");
	}
}

static void after_end(struct rules_connection *rc, const struct nbds_trouble *t)
{
	struct rules_about about = {.at = &t->where, .needs = RULES_NEEDS_PAIRS};
	char bytes[64];

	hex(t, bytes, sizeof(bytes));
	if (t->side == NBDS_SERVER) {
		if (rc->aborted)
			rules_tell(rc, RULE_REPLY_UNEXPECTED, &about,
				   "the server sends %s after it had answered NBD_OPT_ABORT",
				   bytes);
		return;
	}
	about.request_frame = rc->disc ? rc->disc_frame : rc->option.frame;
	if (rc->disc)
		rules_tell(
			rc, RULE_AFTER_DISC, &about,
			"the client sends %s after NBD_CMD_DISC (frame %" PRIu64
			"); Linux may, where requests wait, and blktap, which uses the connection again",
			bytes, rc->disc_frame);
	else if (rc->aborted)
		rules_tell(rc, RULE_AFTER_ABORT, &about, "the client sends %s after NBD_OPT_ABORT",
			   bytes);
}

/* The direction ended inside a message. */
static void trailing(struct rules_connection *rc, const struct nbds_trouble *t)
{
	struct rules_about about = {
		.at = &t->where, .needs = RULES_NEEDS_PAIRS, .request_frame = rc->option.frame};
	char name[NBDS_TEXT_OF_MAX];

	if (t->side == NBDS_CLIENT) {
		rc->client_cut = true;
		rc->client_cut_seen = t->length;
		return;
	}
	if (!t->bytes) {
		rc->cut.inside = rc->cut.reply;
		return;
	}
	/* an option reply that is too short to be one, of which enough came */
	if (!rc->entered && rc->option.waits && !rc->option_doubt && t->bytes_len >= 12 &&
	    nbds_be64(t->bytes) == NBD_REP_MAGIC && nbds_be32(t->bytes + 8) != rc->option.number) {
		rc->option_short = true;
		about.frame = rc->c->heard[NBDS_SERVER].frame;
		rules_tell(
			rc, RULE_OPTION_ECHO, &about,
			"the answer to %s is %zu bytes long, too short for an option reply: the magic of "
			"replies, then 0x%08" PRIx32 " where the option must be repeated",
			nbds_text_of(&nbds_options, rc->option.number, name), t->bytes_len,
			nbds_be32(t->bytes + 8));
	}
}

/* Is it known what is due? The capture may lack the first bytes of a side. */
static bool settled(const struct rules_connection *rc, enum nbds_side side)
{
	if (side == NBDS_SERVER && !rc->greeted && rc->c->from_start)
		return !rc->heard[NBDS_CLIENT] && !rc->nonsense[NBDS_CLIENT];
	return (rc->c->from_start && rc->based) ||
	       (side == NBDS_CLIENT ? rc->first_request : rc->first_reply);
}

void rules_nonsense(struct rules_connection *rc, const struct nbds_trouble *t)
{
	struct rules_about about = {.at = &t->where};

	switch (t->kind) {
	case NBDS_TROUBLE_NONSENSE:
		/* what comes after the first may be its consequence */
		if (rc->nonsense[t->side] || (t->side == NBDS_SERVER && rc->unsized))
			return;
		/* where bytes are missing, or perhaps are, what is due now may be
		 * something else */
		about.lower = rc->lost[0] || rc->lost[1] || !settled(rc, t->side);
		about.level = NBDS_NOTE;
		if (t->side == NBDS_CLIENT)
			client_nonsense(rc, t, &about);
		else
			server_nonsense(rc, t, &about);
		break;
	case NBDS_TROUBLE_TLS:
		tls_bytes(rc, t);
		break;
	case NBDS_TROUBLE_AFTER_END:
		after_end(rc, t);
		break;
	case NBDS_TROUBLE_TRAILING:
		trailing(rc, t);
		break;
	default:
		break;
	}
}

/* --- ends ---------------------------------------------------------------- */

struct ending {
	int by; /* enum nbds_side, -1: nobody was seen to close */
	bool rst, open;
	struct nbds_mark at; /* where it was closed, or the capture's end */
	char how[120];       /* "the server closed the connection (FIN, frame 12)" */
};

static double seconds(int64_t ns)
{
	return (double)ns / 1e9;
}

static void ending_of(const struct rules_connection *rc, bool open, const struct nbds_mark *where,
		      struct ending *e)
{
	const struct nbds_connection *c = rc->c;
	enum nbds_side first;

	*e = (struct ending){.by = -1, .open = open, .at = *where};
	e->at.ack = NBDS_NO_ACK; /* of neither side */
	if (!nbds_closed_first(c, &first)) {
		snprintf(e->how, sizeof(e->how), "%s",
			 open ? "the capture ends" : "the connection ended");
		return;
	}
	e->by = (int)first;
	e->rst = c->closed[e->by].rst;
	e->at.frame = c->closed[e->by].frame;
	e->at.time = c->closed[e->by].time;
	snprintf(e->how, sizeof(e->how), "the %s closed the connection (%s frame %" PRIu64 ")",
		 e->by == NBDS_SERVER ? "server" : "client",
		 e->rst                    ? "RST,"
		 : c->closed[e->by].unseen ? "FIN, not in the capture, before"
					   : "FIN,",
		 e->at.frame);
}

static void list_requests(char *buf, size_t size, const struct rules_open *list, unsigned listed,
			  uint64_t count, const struct ending *e)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < listed && i < SHOWN; i++) {
		char what[120];
		int n;

		n = snprintf(buf + at, size - at, "%s%s (frame %" PRIu64 ", %.3f s before)",
			     i ? ", " : "", rules_request_text(list[i].request, what, sizeof(what)),
			     list[i].q->frame, seconds(nbds_elapsed(list[i].q->time, e->at.time)));
		if (n < 0 || (size_t)n >= size - at)
			return;
		at += (size_t)n;
	}
	if (count > SHOWN)
		snprintf(buf + at, size - at, " and %" PRIu64 " more", count - SHOWN);
}

/* Was it offered by a flag, and never answered on this connection? */
static bool advertised(const struct rules_connection *rc, const struct nbds_request *r)
{
	uint16_t has = rc->c->negotiated.transmission_flags, flag;

	switch (r->type) {
	case NBD_CMD_FLUSH:
		flag = NBD_FLAG_SEND_FLUSH;
		break;
	case NBD_CMD_TRIM:
		flag = NBD_FLAG_SEND_TRIM;
		break;
	case NBD_CMD_WRITE_ZEROES:
		flag = NBD_FLAG_SEND_WRITE_ZEROES;
		break;
	case NBD_CMD_CACHE:
		flag = NBD_FLAG_SEND_CACHE;
		break;
	default:
		return false;
	}
	return rc->haggled && (has & flag) && !rc->c->commands[r->type].replies;
}

static void server_hung_up(struct rules_connection *rc, const struct ending *e,
			   const struct rules_open *list, unsigned listed, uint64_t count)
{
	struct rules_about about = {.at = &e->at,
				    .r = list[0].request,
				    .q = list[0].q,
				    .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER,
				    .lower = true,
				    .level = NBDS_HAZARD};
	const struct rules_open *offered = NULL;
	char requests[500];

	list_requests(requests, sizeof(requests), list, listed, count, e);
	if (rc->disc) {
		for (unsigned i = 0; i < listed; i++) {
			if (!list[i].request->chunks)
				continue;
			about.r = list[i].request;
			about.q = list[i].q;
			rules_tell(rc, RULE_NO_DONE, &about,
				   "%s with the reply begun (%" PRIu32
				   " chunks) and not finished by NBD_REPLY_FLAG_DONE: %s",
				   e->how, list[i].request->chunks, requests);
			return;
		}
		about.level = NBDS_NOTE;
	}
	for (unsigned i = 0; i < listed && !offered; i++)
		if (advertised(rc, list[i].request))
			offered = &list[i];
	if (rc->client_broke || rc->shutdown_told || rc->c->closed[NBDS_SERVER].unseen) {
		about.level = NBDS_NOTE;
	} else if (offered && !rc->disc) {
		about.level = NBDS_SUSPECT;
		about.r = offered->request;
		about.q = offered->q;
	}
	rules_tell(rc, RULE_SERVER_HUNG_UP, &about,
		   "%s%s and left %" PRIu64 " request%s unanswered: %s%s%s", e->how,
		   rc->disc ? " after NBD_CMD_DISC" : "", count, count == 1 ? "" : "s", requests,
		   about.level == NBDS_SUSPECT ? "; it had offered " : "",
		   about.level == NBDS_SUSPECT
			   ? nbds_name_of(&nbds_commands, offered->request->type)
			   : "");
}

/* The client closed, or nobody did. */
static void unanswered(struct rules_connection *rc, const struct ending *e,
		       const struct rules_open *list, unsigned listed, uint64_t count)
{
	int64_t waited = nbds_elapsed(list[0].q->time, e->at.time);
	struct rules_about about = {.at = &e->at,
				    .r = list[0].request,
				    .q = list[0].q,
				    .needs = RULES_NEEDS_BOTH | RULES_NEEDS_ORDER,
				    .lower = true,
				    .level = waited >= LONG ? NBDS_HAZARD : NBDS_NOTE,
				    .other_side = waited < LONG,
				    .side = NBDS_FAULT_EITHER};
	char requests[500];

	if (rc->lost[0] || rc->lost[1] || rc->forgot || rc->nonsense[NBDS_CLIENT])
		return;
	if (e->by < 0 && waited < LONG)
		return; /* the capture just ends here */
	if (rc->disc && waited < LONG)
		return; /* R-18 has told it */
	list_requests(requests, sizeof(requests), list, listed, count, e);
	rules_tell(rc, RULE_UNANSWERED, &about,
		   "%s with %" PRIu64
		   " request%s unanswered: %s; the server's last sign of life is frame "
		   "%" PRIu64 ", %.3f s before",
		   e->how, count, count == 1 ? "" : "s", requests, rc->server_frame,
		   seconds(nbds_elapsed(rc->server_time, e->at.time)));
}

static void reply_cut(struct rules_connection *rc, const struct ending *e,
		      const struct nbds_mark *where)
{
	int64_t silent = nbds_elapsed(rc->server_time, where->time);
	struct rules_about about = {.at = &e->at,
				    .frame = rc->cut.frame,
				    .r = &rc->cut.request,
				    .request_frame = rc->cut.request_frame,
				    .needs = RULES_NEEDS_BOTH};
	char what[120];

	if (rc->lost[NBDS_SERVER] || (e->by < 0 && silent < LONG))
		return;
	about.lower = true;
	about.level = e->by < 0 ? NBDS_HAZARD : NBDS_NOTE;
	rules_tell(rc, RULE_REPLY_CUT, &about,
		   "the answer to %s (frame %" PRIu64 ") stops after %" PRIu64 " of %" PRIu64
		   " bytes of its data; %s%s",
		   rules_request_text(&rc->cut.request, what, sizeof(what)), rc->cut.request_frame,
		   rc->cut.seen, rc->cut.length, e->how,
		   e->by == NBDS_SERVER ? ", as it must after an error while reading" : "");
}

static void haggling_end(struct rules_connection *rc, const struct ending *e)
{
	struct rules_about about = {.at = &e->at,
				    .request_frame = rc->option.waits ? rc->option.frame : 0,
				    .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER,
				    .lower = true,
				    .level = NBDS_NOTE};
	int64_t waited = nbds_elapsed(rc->option.time, e->at.time);
	char name[NBDS_TEXT_OF_MAX];
	const char *option = nbds_text_of(&nbds_options, rc->option.number, name);
	bool waits = rc->option.waits && !rc->option_doubt;

	if (rc->aborted)
		return;
	if (waits && e->by != NBDS_SERVER && waited >= LONG && !rc->option_short) {
		about.command = option;
		about.level = NBDS_HAZARD;
		rules_tell(rc, RULE_UNANSWERED, &about,
			   "%s with %s (frame %" PRIu64 ") unanswered for %.3f s", e->how, option,
			   rc->option.frame, seconds(waited));
		return;
	}
	if (e->by == NBDS_SERVER) {
		if (rc->client_broke || rc->flags_bad ||
		    (waits && rc->option.number == NBD_OPT_EXPORT_NAME))
			return; /* as it should */
		/* a server of another style cannot answer what it does not know */
		if (waits && !rc->shutdown_told && rc->fixed)
			about.level = NBDS_HAZARD;
		if (waits)
			about.command = option;
		rules_tell(rc, RULE_SERVER_LEFT, &about, "%s%s%s%s", e->how,
			   waits ? " instead of answering " : " during option haggling",
			   waits ? option : "",
			   rc->c->option_count > 32 ? "; nbdkit does so after 32 options" : "");
	} else if (e->by == NBDS_CLIENT && rc->options_seen && !rc->server_broke && !rc->closing) {
		rules_tell(rc, RULE_CLIENT_LEFT, &about, "%s without NBD_OPT_ABORT%s", e->how,
			   rc->option.number == NBD_OPT_GO && !waits
				   ? "; nbd-client does so when NBD_OPT_GO is refused"
			   : rc->option.number == NBD_OPT_LIST && !waits
				   ? "; xapi's client does so after NBD_OPT_LIST"
				   : "");
	}
}

static void quiet_end(struct rules_connection *rc, const struct ending *e,
		      const struct nbds_mark *where)
{
	struct rules_about about = {.at = &e->at, .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER};

	if (rc->disc) {
		about.request_frame = rc->disc_frame;
		if (e->by < 0 && e->open && nbds_elapsed(rc->disc_time, where->time) >= CLOSING)
			rules_tell(rc, RULE_OPEN_AFTER_DISC, &about,
				   "%.3f s after NBD_CMD_DISC (frame %" PRIu64
				   ") the server has not closed the connection",
				   seconds(nbds_elapsed(rc->disc_time, where->time)),
				   rc->disc_frame);
		return;
	}
	if (e->by == NBDS_SERVER && !rc->client_broke && !rc->shutdown_told && !rc->cut.inside) {
		rules_tell(rc, RULE_SERVER_CLOSED, &about, "%s, with nothing unanswered", e->how);
	} else if (e->by == NBDS_CLIENT && rc->shutdown_told) {
		about.request_frame = rc->shutdown_frame;
		rules_tell(rc, RULE_SHUTDOWN_IGNORED, &about,
			   "%s without NBD_CMD_DISC, though it was told that the server shuts down",
			   e->how);
	} else if (e->by == NBDS_CLIENT && !rc->server_broke && !rc->cut.inside) {
		rules_tell(rc, RULE_CLIENT_CLOSED, &about, "%s without NBD_CMD_DISC", e->how);
	}
}

/* How many of the requests, the oldest first, the server had when it closed. */
static unsigned before(const struct rules_connection *rc, const struct rules_open *list,
		       unsigned listed, uint64_t *count)
{
	uint64_t frame = rc->c->closed[NBDS_SERVER].frame, ack = rc->c->closed[NBDS_SERVER].ack;
	unsigned n = 0;

	while (n < listed && list[n].q->frame < frame &&
	       (ack == NBDS_NO_ACK || list[n].q->begin < ack))
		n++;
	if (n < listed)
		*count = n;
	return n;
}

void rules_end(struct rules_connection *rc, bool open, const struct rules_open *list,
	       unsigned listed, uint64_t count, const struct nbds_mark *where)
{
	struct rules_about about = {.needs = RULES_NEEDS_PAIRS};
	struct ending e;

	rules_settle_early(rc, NULL);
	if ((rc->tls && (!rc->inside || rc->unread)) || !(rc->heard[0] || rc->heard[1]))
		return;
	rules_habits(rc);
	ending_of(rc, open, where, &e);
	about.at = &e.at;
	/* what was sent after the server had closed was not left by it */
	if (e.by == NBDS_SERVER)
		listed = before(rc, list, listed, &count);
	if (rc->client_cut && e.by == NBDS_CLIENT && (rc->entered || rc->first_request))
		rules_tell(rc, RULE_PAYLOAD_CUT, &about,
			   "%s inside a request, of which %" PRIu64 " bytes had come", e.how,
			   rc->client_cut_seen);
	if (rc->cut.inside)
		reply_cut(rc, &e, where);
	if (!rc->entered && !rc->first_request)
		haggling_end(rc, &e);
	else if (listed && e.by == NBDS_SERVER)
		server_hung_up(rc, &e, list, listed, count);
	else if (listed)
		unanswered(rc, &e, list, listed, count);
	else
		quiet_end(rc, &e, where);
}

void rules_waiting(struct rules_connection *rc, const struct rules_open *oldest,
		   const struct nbds_mark *where)
{
	struct rules_about about = {.at = where,
				    .r = oldest->request,
				    .q = oldest->q,
				    .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER};
	char what[120];

	if (oldest->q->overtaken || nbds_elapsed(oldest->q->time, where->time) < LONG)
		return;
	oldest->q->overtaken = true;
	rules_tell(rc, RULE_OVERTAKEN, &about,
		   "%s (frame %" PRIu64
		   ") waits for its answer since %.3f s, and later requests are "
		   "answered",
		   rules_request_text(oldest->request, what, sizeof(what)), oldest->q->frame,
		   seconds(nbds_elapsed(oldest->q->time, where->time)));
}
