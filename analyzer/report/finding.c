/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * finding.c - one finding, as a good compiler would put it: what is wrong, who
 * is to blame, the frames that show it, and how to look at them.
 */
#include <inttypes.h>
#include <string.h>

#include "internal.h"
#include "lanes.h"

/* `text`: what is wrong. */
static void put_headline(struct nbds_report *r, const struct nbds_finding *f, const char *text)
{
	struct nbds_buf *t = &r->text;
	const char *severity = nbds_severity_name(f->severity);
	unsigned at;

	nbds_buf_clear(t);
	nbds_buf_printf(t, ": %s [%s]: ", f->rule->name, f->rule->ref);
	nbds_ink(&r->paper, nbds_ink_of(f->severity), severity);
	nbds_ink(&r->paper, NBDS_INK_HEAD, nbds_buf_text(t));
	at = nbds_columns(severity) + nbds_columns(nbds_buf_text(t));
	nbds_wrap(&r->paper, at, 4, text);
}

#define PICTURE_INDENT 4

static void put_picture_row(struct nbds_report *r, const struct nbds_finding *f,
			    const struct nbds_lanes *lanes, unsigned row)
{
	static const enum nbds_ink inks[] = {
		[NBDS_LANE_BLANK] = NBDS_INK_PLAIN, [NBDS_LANE_NAME] = NBDS_INK_DIM,
		[NBDS_LANE_FRAME] = NBDS_INK_PLAIN, [NBDS_LANE_BAR] = NBDS_INK_HEAD,
		[NBDS_LANE_AXIS] = NBDS_INK_DIM,
	};
	const struct nbds_lane_cell *cells = lanes->cells + (size_t)row * lanes->columns;
	unsigned used = nbds_lanes_used(lanes, row);

	fprintf(r->out, "%*s", PICTURE_INDENT, "");
	for (unsigned x = 0, n; x < used; x += n) {
		uint8_t ink = cells[x].ink;

		for (n = 1; x + n < used && cells[x + n].ink == ink; n++)
			;
		nbds_buf_clear(&r->text);
		nbds_lanes_text(lanes, row, x, n, &r->text);
		nbds_ink(&r->paper, ink == NBDS_LANE_FAULTY ? nbds_ink_of(f->severity) : inks[ink],
			 nbds_buf_text(&r->text));
	}
	fputc('\n', r->out);
}

/* The commands as bars in time, and the sentence below; or the sentence alone, if
 * there is nothing to draw. */
static void put_story(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_lanes lanes;

	/* Notes are many and shall be short; one command alone has no order to show. */
	if (f->severity == NBDS_NOTE || f->witness_count < 2 || r->paper.width <= PICTURE_INDENT ||
	    !nbds_lanes_draw(&lanes, f->witnesses, f->witness_count,
			     r->paper.width - PICTURE_INDENT, r->paper.ascii)) {
		put_headline(r, f, f->message);
		return;
	}
	put_headline(r, f, f->rule->summary);
	fputc('\n', r->out);
	for (unsigned row = 0; row < lanes.rows; row++)
		put_picture_row(r, f, &lanes, row);
	nbds_lanes_free(&lanes);
	fprintf(r->out, "\n%*s", PICTURE_INDENT, "");
	nbds_wrap(&r->paper, PICTURE_INDENT, PICTURE_INDENT, f->message);
}

static void put_blame(struct nbds_report *r, const struct nbds_finding *f)
{
	static const char *const who[] = {
		[NBDS_FAULT_SERVER] = "the server",
		[NBDS_FAULT_CLIENT] = "the client",
		[NBDS_FAULT_EITHER] = "the server or the client",
	};
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	nbds_buf_puts(t, who[nbds_finding_side(f)]);
	switch (f->severity) {
	case NBDS_VIOLATION:
		nbds_buf_puts(t, f->rule->basis == NBDS_BASIS_EXPLICIT
					 ? "; the protocol forbids it in so many words"
					 : "; it follows from what the protocol promises");
		nbds_item(&r->paper, "at fault", nbds_buf_text(t));
		break;
	case NBDS_SUSPECT:
		nbds_buf_puts(t, ", unless something outside the capture explains it");
		nbds_item(&r->paper, "at fault", nbds_buf_text(t));
		break;
	case NBDS_HAZARD:
		nbds_buf_puts(t, "; legal, and dangerous");
		nbds_item(&r->paper, "up to", nbds_buf_text(t));
		break;
	case NBDS_NOTE:
		break;
	}
}

static void put_where(struct nbds_report *r, const struct nbds_finding *f)
{
	const struct nbds_connection *c = nbds_report_connection(r, f->connection);
	struct nbds_buf *t = &r->text;
	char client[NBDS_ADDR_TEXT], server[NBDS_ADDR_TEXT];
	const char *between = "";

	nbds_buf_clear(t);
	if (f->connection) {
		nbds_buf_printf(t, "connection %" PRIu32, f->connection);
		if (c)
			nbds_buf_printf(t, " (%s to %s)", nbds_addr_text(&c->client, client),
					nbds_addr_text(&c->server, server));
		between = ", ";
	}
	if (f->export_name) {
		nbds_buf_printf(t, "%sexport ", between);
		nbds_buf_quote(t, f->export_name, f->export_name_len);
		between = ", ";
	}
	if (f->command) {
		nbds_buf_printf(t, "%s%s", between, f->command);
		between = ", ";
	}
	if (f->has_range) {
		nbds_buf_puts(t, between);
		nbds_buf_count(t, f->length, "byte", NULL);
		nbds_buf_printf(t, " at 0x%" PRIx64, f->offset);
	}
	if (t->len)
		nbds_item(&r->paper, "where", nbds_buf_text(t));
}

const struct nbds_witness *nbds_witness_of(const struct nbds_finding *f, int role, bool *reply)
{
	*reply = role == NBDS_ROLE_EARLIER_READ || role == NBDS_ROLE_WRITE ||
		 role == NBDS_ROLE_FLUSH || role == NBDS_ROLE_READ;
	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		const struct nbds_witness *w = &f->witnesses[i];
		bool fits;

		switch (role) {
		case NBDS_ROLE_EARLIER_READ:
			fits = w->role == NBDS_ROLE_EARLIER_READ;
			break;
		case NBDS_ROLE_STALE_WRITE:
			fits = w->role == NBDS_ROLE_STALE_WRITE;
			break;
		case NBDS_ROLE_WRITE_REQUEST:
		case NBDS_ROLE_WRITE:
			fits = w->role == NBDS_ROLE_WRITE;
			break;
		case NBDS_ROLE_FLUSH_REQUEST:
		case NBDS_ROLE_FLUSH:
			fits = w->role == NBDS_ROLE_FLUSH;
			break;
		case NBDS_ROLE_READ_REQUEST:
		case NBDS_ROLE_READ:
			fits = w->role == NBDS_ROLE_READ;
			break;
		default:
			fits = true;
			break;
		}
		if (fits && f->frames[role] == (*reply ? w->reply_frame : w->request_frame))
			return w;
	}
	return NULL;
}

/* ", FUA, NO_HOLE" */
static void put_command_flags(struct nbds_buf *t, uint16_t flags)
{
	static const char prefix[] = "NBD_CMD_FLAG_";
	struct nbds_flag_iter it;
	const char *name;

	nbds_flags_begin(&it, &nbds_command_flags, flags);
	while ((name = nbds_flags_next(&it))) {
		if (!strncmp(name, prefix, sizeof(prefix) - 1))
			name += sizeof(prefix) - 1;
		nbds_buf_printf(t, ", %s", name);
	}
}

static void put_frame(struct nbds_report *r, const struct nbds_finding *f, int role, int width)
{
	struct nbds_buf *t = &r->text;
	const struct nbds_witness *w;
	char name[NBDS_TEXT_OF_MAX];
	bool reply;

	nbds_buf_clear(t);
	nbds_buf_printf(t, "%*" PRIu64 "  %s", width, f->frames[role], nbds_role_words[role]);
	w = nbds_witness_of(f, role, &reply);
	if (w) {
		int64_t time = reply ? w->reply_time : w->request_time;
		const char *command = nbds_text_of(&nbds_commands, w->type, name);

		nbds_buf_printf(t, "%*s", 11 - (int)strlen(nbds_role_words[role]), "");
		nbds_buf_printf(t, "  %12.6f s  connection %" PRIu32 "  ",
				(double)nbds_report_since(r, time) / 1e9, w->connection);
		if (reply) {
			nbds_buf_printf(t, "answer to %s", command);
		} else {
			nbds_buf_puts(t, command);
			if (w->length) {
				nbds_buf_puts(t, ", ");
				nbds_buf_count(t, w->length, "byte", NULL);
				nbds_buf_printf(t, " at 0x%" PRIx64, w->offset);
			}
			put_command_flags(t, w->flags);
		}
	}
	nbds_buf_puts(t, "\n");
	fputs(nbds_buf_text(t), r->out);
}

/* The frames by role, in the order of the roles, which is that of time. */
static void put_frames(struct nbds_report *r, const struct nbds_finding *f)
{
	const char *label = "frames";
	int width = 1;

	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		int n = snprintf(NULL, 0, "%" PRIu64, f->frames[role]);

		if (n > width)
			width = n;
	}
	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		if (!f->frames[role])
			continue;
		fputs("  ", r->out);
		nbds_ink(&r->paper, NBDS_INK_DIM, label);
		fprintf(r->out, "%*s", NBDS_LABEL_COLUMNS - 2 - (int)strlen(label), "");
		label = "";
		put_frame(r, f, role, width);
	}
}

void nbds_finding_filter(const struct nbds_finding *f, struct nbds_buf *t)
{
	uint64_t sorted[NBDS_ROLE_MAX] = {0};
	unsigned count = 0;

	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		uint64_t frame = f->frames[role];
		unsigned at = 0;

		while (at < count && sorted[at] < frame)
			at++;
		if (!frame || (at < count && sorted[at] == frame))
			continue;
		memmove(&sorted[at + 1], &sorted[at], (count - at) * sizeof(sorted[0]));
		sorted[at] = frame;
		count++;
	}
	if (count == 1) {
		nbds_buf_printf(t, "frame.number == %" PRIu64, sorted[0]);
	} else if (count) {
		for (unsigned i = 0; i < count; i++)
			nbds_buf_printf(t, "%s%" PRIu64, i ? ", " : "frame.number in {", sorted[i]);
		nbds_buf_puts(t, "}");
	}
}

static void put_filter(struct nbds_report *r, const struct nbds_finding *f)
{
	nbds_buf_clear(&r->text);
	nbds_finding_filter(f, &r->text);
	if (r->text.len)
		nbds_item(&r->paper, "Wireshark", nbds_buf_text(&r->text));
}

/* What is assumed is mostly the same from finding to finding: said once. */
static bool assumed_before(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_buf *t = &r->text;
	bool same;

	nbds_buf_clear(t);
	for (size_t i = 0; f->assumptions && f->assumptions[i]; i++)
		nbds_buf_printf(t, "%s\n", f->assumptions[i]);
	same = t->len == 0 || !strcmp(nbds_buf_text(t), nbds_buf_text(&r->assumed));
	if (t->len && same)
		nbds_item(&r->paper, "assuming", "the same as above");
	if (!same) {
		nbds_buf_clear(&r->assumed);
		nbds_buf_add(&r->assumed, nbds_buf_text(t), t->len);
	}
	return same;
}

static void put_assumptions(struct nbds_report *r, const struct nbds_finding *f)
{
	const char *label = "assuming";

	if (assumed_before(r, f))
		return;
	for (size_t i = 0; f->assumptions && f->assumptions[i]; i++) {
		nbds_item(&r->paper, label, f->assumptions[i]);
		label = "and";
	}
}

/* "00 01 02 ..., " */
static void put_bytes(struct nbds_buf *t, const uint8_t *bytes, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		nbds_buf_printf(t, "%s%02x", i ? " " : "", bytes[i]);
	nbds_buf_puts(t, ", ");
}

/* What should have been read, and what was, by the writes that each belongs to. */
static void put_contents(struct nbds_report *r, const struct nbds_finding *f)
{
	const struct nbds_witness *expected = NULL, *came = NULL;
	struct nbds_buf *t = &r->text;
	bool read = false;

	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		const struct nbds_witness *w = &f->witnesses[i];

		if (w->role == NBDS_ROLE_WRITE)
			expected = w;
		else if (w->role == NBDS_ROLE_STALE_WRITE || w->role == NBDS_ROLE_EARLIER_READ)
			came = w;
		else if (w->role == NBDS_ROLE_READ)
			read = true;
	}
	if (!read || !expected || !f->has_range)
		return;
	nbds_buf_clear(t);
	nbds_buf_printf(t, "at 0x%" PRIx64 ": ", f->differ.count ? f->differ.offset : f->offset);
	if (f->differ.count && f->differ.expected_known)
		put_bytes(t, f->differ.expected, f->differ.count);
	if (expected->type == NBD_CMD_WRITE_ZEROES)
		nbds_buf_printf(t,
				"zeroes, by connection %" PRIu32 "'s NBD_CMD_WRITE_ZEROES in "
				"frame %" PRIu64,
				expected->connection, expected->request_frame);
	else
		nbds_buf_printf(t, "what connection %" PRIu32 " wrote in frame %" PRIu64,
				expected->connection, expected->request_frame);
	nbds_item(&r->paper, "expected", nbds_buf_text(t));
	if (!came && !f->differ.count)
		return;
	nbds_buf_clear(t);
	nbds_buf_printf(t, "at 0x%" PRIx64 ": ", f->differ.count ? f->differ.offset : f->offset);
	if (f->differ.count)
		put_bytes(t, f->differ.came, f->differ.count);
	if (!came)
		nbds_buf_puts(t, "which was not written there");
	else if (came->role == NBDS_ROLE_EARLIER_READ)
		nbds_buf_printf(t, "what connection %" PRIu32 " had read in frame %" PRIu64,
				came->connection, came->reply_frame);
	else if (came->type == NBD_CMD_WRITE_ZEROES)
		nbds_buf_printf(t,
				"zeroes, as connection %" PRIu32
				" had sent NBD_CMD_WRITE_ZEROES in "
				"frame %" PRIu64,
				came->connection, came->request_frame);
	else
		nbds_buf_printf(t, "what connection %" PRIu32 " had written in frame %" PRIu64,
				came->connection, came->request_frame);
	nbds_item(&r->paper, "came", nbds_buf_text(t));
}

static void put_advice(struct nbds_report *r, const struct nbds_finding *f)
{
	if (f->rule->advice && *f->rule->advice)
		nbds_item(&r->paper, "to do", f->rule->advice);
}

static void put_repeats(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_buf *t = &r->text;

	if (f->count <= 1)
		return;
	nbds_buf_clear(t);
	nbds_buf_printf(t, "%" PRIu64 " in all%s", f->count,
			f->rule->summed ? ", of which this is the worst"
					: " that are counted here and not shown one by one");
	nbds_item(&r->paper, "repeats", nbds_buf_text(t));
}

void nbds_finding_what(struct nbds_report *r, const struct nbds_finding *f)
{
	put_blame(r, f);
	put_where(r, f);
	put_contents(r, f);
}

/* On a file findings are numbered. */
static void put_number(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_buf *t = &r->text;

	if (f->standing)
		nbds_item(&r->paper, "compared",
			  f->standing == NBDS_STANDING_NEW
				  ? "new: the earlier report does not have it"
				  : "the earlier report has it, too");

	if (!f->number || r->interface)
		return;
	nbds_buf_clear(t);
	nbds_buf_printf(t, "--extract=%" PRIu64 " -w FILE cuts these frames out", f->number);
	nbds_item(&r->paper, "evidence", nbds_buf_text(t));
}

void nbds_finding_rest(struct nbds_report *r, const struct nbds_finding *f)
{
	put_number(r, f);
	put_assumptions(r, f);
	put_advice(r, f);
	put_repeats(r, f);
}

void nbds_text_finding(struct nbds_report *r, const struct nbds_finding *f)
{
	put_story(r, f);
	nbds_finding_what(r, f);
	put_frames(r, f);
	put_filter(r, f);
	nbds_finding_rest(r, f);
	fputc('\n', r->out);
}
