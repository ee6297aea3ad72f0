/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a group of rules finds is told if it is certain enough.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "check.h"

/* --- certainty ----------------------------------------------------------- */

bool rules_certain(const struct rules_connection *rc, unsigned needs)
{
	/* without the greeting it is not known where the server's bytes begin */
	bool whole = rc->c->from_start && rc->greeted && rc->based && !rc->lost[0] && !rc->lost[1];

	if ((needs & RULES_NEEDS_HANDSHAKE) && !rc->haggled && !whole)
		return false;
	if ((needs & RULES_NEEDS_PAIRS) &&
	    (!whole || rc->forgot || rc->nonsense[0] || rc->nonsense[1]))
		return false;
	if ((needs & RULES_NEEDS_ORDER) && rc->mixed)
		return false;
	if ((needs & (RULES_NEEDS_BOTH | RULES_NEEDS_PAIRS)) && !(rc->heard[0] && rc->heard[1]))
		return false;
	return true;
}

bool rules_informed(const struct rules_connection *rc, const struct nbds_mark *at)
{
	return at->ack == NBDS_NO_ACK || at->ack <= rc->pos[!rc->sender];
}

bool rules_had(const struct nbds_mark *at, uint64_t end)
{
	return (at->flags & NBDS_MARK_FIRST_TX) && at->ack != NBDS_NO_ACK && at->ack >= end;
}

bool rules_had_not(const struct nbds_mark *at, uint64_t end)
{
	return (at->flags & NBDS_MARK_FIRST_TX) && at->ack != NBDS_NO_ACK && at->ack < end;
}

/* Why a violation is no more than suspect here, or NULL. */
static const char *doubt(const struct rules_connection *rc, enum nbds_at_fault side)
{
	if (rc->c->conflicts)
		return "; two different copies of bytes of this connection were seen, so it is not "
		       "certain";
	if (!rc->c->from_start || !rc->based)
		return "; the capture begins in the middle of this connection, so it is not certain";
	if ((side != NBDS_FAULT_SERVER && rc->lost[NBDS_CLIENT]) ||
	    (side != NBDS_FAULT_CLIENT && rc->lost[NBDS_SERVER]))
		return "; bytes of this connection are missing from the capture, so it is not "
		       "certain";
	return NULL;
}

void rules_tell(struct rules_connection *rc, enum nbds_rule_id id, const struct rules_about *about,
		const char *format, ...)
{
	const struct nbds_rule *rule = rule_get(id);
	struct nbds_finding f = {.rule = rule,
				 .severity = about->lower ? about->level : rule->severity,
				 .other_side = about->other_side,
				 .side = about->side,
				 .time = about->at->time,
				 .count = 1};
	const struct nbds_request *r = about->r;
	const char *why;
	char text[900];
	va_list args;
	int n;

	if (!rules_certain(rc, about->needs) ||
	    (about->needs && !about->settled && !rules_informed(rc, about->at)))
		return;
	va_start(args, format);
	n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	why = f.severity == NBDS_VIOLATION ? doubt(rc, nbds_finding_side(&f)) : NULL;
	if (why) {
		f.severity = NBDS_SUSPECT;
		if (n >= 0 && (size_t)n < sizeof(text))
			snprintf(text + n, sizeof(text) - (size_t)n, "%s", why);
	}
	if (f.severity == NBDS_VIOLATION) {
		if (nbds_finding_side(&f) == NBDS_FAULT_CLIENT)
			rc->client_broke = true;
		else
			rc->server_broke = true;
	}
	f.message = text;
	f.frames[NBDS_ROLE_MESSAGE] = about->frame ? about->frame : about->at->frame;
	f.frames[NBDS_ROLE_REQUEST] = about->q ? about->q->frame : about->request_frame;
	f.command = about->command;
	if (r) {
		if (!f.command)
			f.command = nbds_name_of(&nbds_commands, r->type);
		f.has_range = r->type != NBD_CMD_FLUSH && r->type != NBD_CMD_DISC;
		f.offset = f.has_range ? r->offset : 0;
		f.length = f.has_range ? r->length : 0;
	}
	rc->tell(rc->ctx, &f);
}

/* --- helpers ------------------------------------------------------------- */

uint64_t rules_hash(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

const char *rules_shown(const void *bytes, size_t len, char *buf, size_t size)
{
	/* no byte becomes less than one */
	nbds_escape_text(bytes, len < size ? len : size, buf, size);
	return buf;
}

/* The length of the UTF-8 sequence at `s`, 0 if it is none. */
static size_t utf8(const uint8_t *s, size_t len)
{
	uint32_t c;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
	if (s[0] < 0xc2 || s[0] > 0xf4 || len < n)
		return 0;
	c = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if ((n == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) ||
	    (n == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	return n;
}

const char *rules_string(const uint8_t *s, size_t len, bool cut)
{
	size_t n;

	if (len > NBDS_STRING_MAX)
		return "is longer than 4096 bytes";
	for (size_t i = 0; i < len; i += n) {
		uint64_t word;

		n = 8;
		if (len - i >= n) {
			memcpy(&word, s + i, n);
			if (!((word | (word - UINT64_C(0x0101010101010101))) &
			      UINT64_C(0x8080808080808080)))
				continue; /* of ASCII, and no NUL */
		}
		if (!s[i])
			return "has a NUL in it";
		n = utf8(s + i, len - i);
		if (!n)
			return cut && len - i < 4 ? NULL : "is not UTF-8";
	}
	return NULL;
}

const char *rules_request_text(const struct nbds_request *r, char *buf, size_t size)
{
	char name[NBDS_TEXT_OF_MAX];
	const char *text = nbds_text_of(&nbds_commands, r->type, name);

	if (r->type == NBD_CMD_FLUSH || r->type == NBD_CMD_DISC)
		snprintf(buf, size, "%s", text);
	else
		snprintf(buf, size, "%s of %" PRIu64 " bytes at 0x%" PRIx64, text, r->length,
			 r->offset);
	return buf;
}

/* --- statistics ---------------------------------------------------------- */

void rules_habit(struct rules_habit *h, bool so, const struct nbds_message *m)
{
	h->of++;
	if (!so || h->count++)
		return;
	h->first = m->first;
	h->request = *m->request;
}

void rules_habits(struct rules_connection *rc)
{
	const struct {
		const struct rules_habit *h;
		enum nbds_rule_id id;
		const char *what;
	} habits[] = {
		{&rc->unpreferred, RULE_NOT_PREFERRED,
		 "requests that are not multiples of the preferred block size"},
		{&rc->undefaulted, RULE_NOT_INTEROPERABLE,
		 "requests that are not multiples of 512 bytes, or are longer than 32 MiB, where "
		 "no block sizes were told"},
		{&rc->odd_chunks, RULE_CHUNKS_ODD,
		 "chunks that begin or end within the read at no multiple of 512 bytes"},
	};

	for (size_t i = 0; i < sizeof(habits) / sizeof(habits[0]); i++) {
		const struct rules_habit *h = habits[i].h;
		struct rules_about about = {.at = &h->first,
					    .r = &h->request,
					    .settled = true,
					    .needs = RULES_NEEDS_HANDSHAKE};
		char what[120];

		if (!h->count)
			continue;
		rules_request_text(&h->request, what, sizeof(what));
		rules_tell(rc, habits[i].id, &about,
			   "%s: %" PRIu64 " of %" PRIu64 "; the first is %s%s", habits[i].what,
			   h->count, h->of, habits[i].id == RULE_CHUNKS_ODD ? "of the " : "", what);
	}
}
