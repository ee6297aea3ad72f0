// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * check-histories - hold the consistency engine against the reference checker.
 *
 *   check-histories FILE...       stored histories: reference and engine must find what
 *                                 the file expects, and the engine no violation more
 *   check-histories [--seed S] [--count N] [--seconds T]
 *                                 random ones: no violation on a legal server, none
 *                                 that the reference has not, and none that is new when
 *                                 evidence is taken away
 *   --strict                      reference and engine must agree: on the rule, the level,
 *                                 the sectors, and the commands that are named
 *   --survey                      count differences by kind, with a history that has each
 *   --examples                    ... and print a small history of each
 *   --pending                    the engine may overlook (yet) that a connection was shown
 *                                 another size or other flags, and G10 at V9's first read
 *   --blocks                     sectors are blocks of 4 KiB, of which the engine knows more at
 *                                 once
 *   --captures DIRECTORY          write them as captures, NUMBER.pcap, and one line of JSON
 *                                 a capture: what is to be found there
 *   --doubt                       only those with a margin of order, which the engine is told
 *                                 late
 *   --only I                      just the one with this number, and print it
 *   --reference                   leave the engine out
 *   --kind legal|broken           only such servers
 *   --keep-going                  do not stop at the first failure
 *
 * Agreement: at most one finding a read, by the same rule at the same level, on the
 * same frame and from the same sector to the same one; the write that it names as missed
 * is a newest one, the one whose data came is one whose data it is, and the flush covers
 * the one for the read.
 *
 * A verdict passed as time goes by (ticking) may rest on less than the whole
 * history, and so may one passed with little memory; there it is only demanded
 * that no violation is the engine's alone.
 *
 * A failing history is shrunk and printed in the text form; then the exit
 * status is 1.  Without --seed the seed is taken from the clock; it is printed.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "capture.h"
#include "drive.h"
#include "history.h"
#include "reference.h"
#include "simulate.h"

struct options {
	uint64_t seed, count, only;
	unsigned seconds;
	bool has_seed, has_only, reference_only, keep_going, print, survey, strict, examples,
		pending, doubt, blocks;
	const char *captures;
	int kind; // 0: legal or broken, 1: legal, 2: broken, 3: accused
};

struct totals {
	uint64_t histories, reads, judged, forgotten, changed;
	uint64_t findings[REF_RULES][NBDS_VIOLATION + 1];
	uint64_t broken[SIM_DEFECTS], convicted[SIM_DEFECTS], suspected[SIM_DEFECTS];
	uint64_t unjudged[REF_UNJUDGED_MAX];
};

// How a history is checked
enum check {
	CHECK_LEGAL = 1,    // no violation at all
	CHECK_EQUAL = 2,    // reference and engine agree on every finding
	CHECK_BOUND = 4,    // the engine has no violation that the reference has not
	CHECK_ENGINE = 8,   // there is an engine
	CHECK_PENDING = 16, // that does not look at sizes and flags, and at both reads of V9, yet
};

static void name_of(const struct history *h, int c, char *out, size_t size)
{
	snprintf(out, size, "%c#%u", h->connections[h->commands[c].connection].name,
		 h->commands[c].cookie);
}

static bool ends(const bool *sectors, unsigned count, unsigned *first, unsigned *last)
{
	bool any = false;

	for (unsigned s = 0; sectors && s < count; s++) {
		if (!sectors[s])
			continue;
		if (!any)
			*first = s;
		*last = s;
		any = true;
	}
	return any;
}

// What one of the two says of a command.
struct said {
	int rule; // -1: nothing
	enum nbds_severity severity;
	const bool *sectors;
};

static struct said by_reference(const struct reference *r, int c)
{
	struct said s = {.rule = ref_told(r, c)};

	if (s.rule >= 0) {
		s.severity = r->verdicts[c].findings[s.rule].severity;
		s.sectors = r->verdicts[c].findings[s.rule].sectors;
	}
	return s;
}

// What it says first; *more: and how much besides.
static struct said by_engine(const struct driven *d, int c, int *more)
{
	struct said s = {.rule = -1};

	*more = -1;
	for (int rule = 0; rule < REF_RULES; rule++) {
		const struct drive_finding *f = &d->verdicts[c].findings[rule];

		if (!f->found)
			continue;
		++*more;
		if (s.rule >= 0 && f->severity <= s.severity)
			continue;
		s.rule = rule;
		s.severity = f->severity;
		s.sectors = f->sectors;
	}
	return s;
}

static void describe(const struct said *s, const struct h_command *c, bool range, char *out,
		     size_t size)
{
	unsigned first = 0, last = 0;

	if (s->rule < 0) {
		snprintf(out, size, "nothing");
		return;
	}
	if (range && ends(s->sectors, c->sectors, &first, &last))
		snprintf(out, size, "%s %s at %" PRIu64 "+%u", ref_rule_names[s->rule],
			 nbds_severity_name(s->severity), h_first_sector(c) + first,
			 last - first + 1);
	else
		snprintf(out, size, "%s %s", ref_rule_names[s->rule],
			 nbds_severity_name(s->severity));
}

static int level(const struct said *s)
{
	return s->rule < 0 ? -1 : (int)s->severity;
}

// What is wrong with a history: for people, and to tell it from other troubles.
struct wrong {
	char why[1600];
	char kind[400];
};

// The details of a finding that both have.
static bool same_details(const struct reference *ref, const struct history *h, int c,
			 const struct said *r, const struct drive_finding *g, char *what,
			 size_t size)
{
	const struct h_command *command = &h->commands[c];
	const struct ref_finding *f = &ref->verdicts[c].findings[r->rule];
	unsigned first[2] = {UINT_MAX, UINT_MAX}, last[2] = {0};
	bool names_flush = r->rule == REF_V2;
	bool names_write = r->rule != REF_UNEXPLAINED && r->rule != REF_V9 && r->rule != REF_V6;

	if (r->rule == REF_V7 || r->rule == REF_V8)
		return true;
	ends(f->sectors, command->sectors, &first[0], &last[0]);
	ends(g->sectors, command->sectors, &first[1], &last[1]);
	if (first[0] != first[1] || last[0] != last[1])
		snprintf(what, size, "sectors");
	else if (names_write && g->write < 0)
		snprintf(what, size, "no write named");
	else if (names_write && !f->missed[g->write])
		snprintf(what, size, "another write");
	else if (g->stale >= 0 && !f->stale[g->stale] && r->rule != REF_UNEXPLAINED &&
		 r->rule != REF_V9 && r->rule != REF_V6)
		snprintf(what, size, "another stale write");
	else if (names_flush && g->flush < 0)
		snprintf(what, size, "no flush named");
	else if (names_flush && !ref_flush_proves(ref, g->write, g->flush, c))
		snprintf(what, size, "another flush");
	else
		return true;
	return false;
}

// Looks at one command. False: *wrong says what is wrong. `checks` as in examine().
static bool compare(const struct history *h, unsigned checks, const struct reference *ref,
		    const struct driven *d, int c, struct wrong *wrong)
{
	const struct h_command *command = &h->commands[c];
	struct said r = by_reference(ref, c), e = {.rule = -1};
	char name[32], one[160], other[160], what[64];
	int more = -1;

	name_of(h, c, name, sizeof(name));
	if ((checks & CHECK_LEGAL) && level(&r) == NBDS_VIOLATION) {
		describe(&r, command, true, one, sizeof(one));
		snprintf(wrong->why, sizeof(wrong->why), "reference: on a legal server: %s %s",
			 name, one);
		snprintf(wrong->kind, sizeof(wrong->kind), "LEGAL, reference: %s",
			 ref_rule_names[r.rule]);
		return false;
	}
	if (!(checks & CHECK_ENGINE))
		return true;
	e = by_engine(d, c, &more);
	describe(&r, command, false, one, sizeof(one));
	describe(&e, command, false, other, sizeof(other));
	snprintf(wrong->kind, sizeof(wrong->kind), "%sreference %s, engine %s",
		 checks & CHECK_LEGAL && level(&e) == NBDS_VIOLATION ? "LEGAL, " : "", one, other);
	describe(&r, command, true, one, sizeof(one));
	describe(&e, command, true, other, sizeof(other));
	snprintf(wrong->why, sizeof(wrong->why), "%s: reference %s, engine %s: %s", name, one,
		 other, d->message);
	if (level(&e) == NBDS_VIOLATION && level(&r) != NBDS_VIOLATION &&
	    (checks & (CHECK_BOUND | CHECK_LEGAL)))
		return (checks & CHECK_PENDING) &&
		       ((ref->verdicts[c].lowered & (REF_FACE | REF_BREACH)) || e.rule == REF_V9);
	if (!(checks & CHECK_EQUAL))
		return true;
	if (r.rule != e.rule || level(&r) != level(&e))
		return false;
	if (more > 0) {
		snprintf(wrong->kind, sizeof(wrong->kind), "engine, %s and %d more",
			 ref_rule_names[e.rule], more);
		return false;
	}
	if (r.rule >= 0 &&
	    !same_details(ref, h, c, &r, &d->verdicts[c].findings[e.rule], what, sizeof(what))) {
		snprintf(wrong->kind, sizeof(wrong->kind), "%s: %s", ref_rule_names[r.rule], what);
		snprintf(wrong->why + strlen(wrong->why), sizeof(wrong->why) - strlen(wrong->why),
			 " (%s)", what);
		return false;
	}
	return true;
}

// Kinds of differences, counted.
#define KINDS_MAX 300

struct kind {
	char name[400];
	uint64_t count, first, histories, last; // first, last: histories
};

static struct kind kinds[KINDS_MAX];
static int kind_count;
static uint64_t current_history;

static void count_kind(const char *name)
{
	int i;

	for (i = 0; i < kind_count && strcmp(kinds[i].name, name) != 0; i++)
		;
	if (i == KINDS_MAX)
		return;
	if (i == kind_count) {
		snprintf(kinds[i].name, sizeof(kinds[i].name), "%s", name);
		kinds[i].first = current_history;
		kinds[i].last = UINT64_MAX;
		kind_count++;
	}
	kinds[i].count++;
	kinds[i].histories += kinds[i].last != current_history;
	kinds[i].last = current_history;
}

static int by_count(const void *a, const void *b)
{
	const struct kind *x = a, *y = b;

	return x->count < y->count ? 1 : x->count > y->count ? -1 : 0;
}

// Checks one history; false: *wrong says what is wrong (of that kind, if `kind`).
static bool examine(const struct history *h, unsigned checks, const struct drive_options *options,
		    struct totals *totals, struct wrong *wrong, const char *kind)
{
	struct reference ref;
	struct driven d = {0};
	struct wrong one;
	bool good = true;

	ref_judge(&ref, h);
	if (checks & CHECK_ENGINE)
		drive(&d, h, options);
	if (d.trouble[0]) {
		snprintf(one.why, sizeof(one.why), "engine: %s", d.trouble);
		strcpy(one.kind, "trouble");
		if (!kind || !strcmp(kind, one.kind)) {
			*wrong = one;
			good = false;
		}
		if (totals)
			count_kind(one.kind);
	}
	for (int c = 0; c < h->command_count; c++) {
		if (compare(h, checks, &ref, &d, c, &one))
			continue;
		if (totals)
			count_kind(one.kind);
		if (good && (!kind || !strcmp(kind, one.kind))) {
			*wrong = one;
			good = false;
		}
	}
	for (int c = 0; c < h->command_count && totals; c++) {
		struct said r = by_reference(&ref, c);

		if (ref.verdicts[c].why != REF_NOT_A_READ) {
			totals->reads++;
			totals->judged += ref.verdicts[c].why == REF_JUDGED;
		}
		totals->unjudged[ref.verdicts[c].why]++;
		if (r.rule >= 0)
			totals->findings[r.rule][r.severity]++;
	}
	if (totals)
		totals->forgotten += d.stats.pruned || d.stats.unchecked[NBDS_UNCHECKED_FORGOTTEN];
	ref_free(&ref);
	if (checks & CHECK_ENGINE)
		drive_free(&d);
	return good;
}

static int engine_worst(const struct driven *d, int c)
{
	int more;
	struct said e = by_engine(d, c, &more);

	return level(&e);
}

// Shrinking: smaller histories with the same trouble

static void remove_command(struct history *h, int index)
{
	free(h->commands[index].cells);
	memmove(&h->commands[index], &h->commands[index + 1],
		(size_t)(h->command_count - index - 1) * sizeof(*h->commands));
	h->command_count--;
}

static void remove_connection(struct history *h, int index)
{
	for (int i = h->command_count - 1; i >= 0; i--) {
		if (h->commands[i].connection == index)
			remove_command(h, i);
		else if (h->commands[i].connection > index)
			h->commands[i].connection--;
	}
	memmove(&h->connections[index], &h->connections[index + 1],
		(size_t)(h->connection_count - index - 1) * sizeof(*h->connections));
	h->connection_count--;
	for (int i = index; i < h->connection_count; i++)
		h->connections[i].name = (char)('A' + i);
}

static void clip(struct h_command *c, uint64_t from, uint64_t to)
{
	uint64_t start = c->offset > from ? c->offset : from;
	uint64_t end = c->offset + c->length < to ? c->offset + c->length : to;
	unsigned skip = (unsigned)(start / H_SECTOR - h_first_sector(c));

	c->offset = start;
	c->length = end - start;
	c->sectors = (unsigned)((end - 1) / H_SECTOR - start / H_SECTOR + 1);
	memmove(c->cells, c->cells + skip, c->sectors * sizeof(*c->cells));
}

// Only this sector; a write elsewhere stays, as a write of the sector behind.
static void only_sector(struct history *h, uint64_t sector, bool keep_writes)
{
	for (int i = h->command_count - 1; i >= 0; i--) {
		struct h_command *c = &h->commands[i];

		if (!c->length)
			continue;
		if (c->offset < (sector + 1) * H_SECTOR &&
		    c->offset + c->length > sector * H_SECTOR) {
			clip(c, sector * H_SECTOR, (sector + 1) * H_SECTOR);
		} else if (keep_writes && h_is_write(c->type)) {
			clip(c, c->offset / H_SECTOR * H_SECTOR,
			     (c->offset / H_SECTOR + 1) * H_SECTOR);
		} else {
			remove_command(h, i);
		}
	}
}

struct trouble {
	unsigned checks;
	struct drive_options options;
	bool legal; // only what leaves the server legal may be taken away
	char kind[400];
};

static bool still(const struct history *h, const struct trouble *t)
{
	struct wrong wrong;

	return !examine(h, t->checks, &t->options, NULL, &wrong, t->kind);
}

// Takes over `smaller` if it has the trouble too.
static bool accept(struct history *h, struct history *smaller, const struct trouble *t)
{
	if (!still(smaller, t)) {
		h_free(smaller);
		return false;
	}
	h_free(h);
	*h = *smaller;
	return true;
}

static void simplify_numbers(struct history *h, const struct trouble *t)
{
	struct history smaller;
	unsigned cookies[26] = {0};

	h_copy(&smaller, h);
	for (int i = 0; i < smaller.command_count; i++)
		smaller.commands[i].cookie = ++cookies[smaller.commands[i].connection % 26];
	accept(h, &smaller, t);
	// instants 1, 2, 3 ... if order is all that counts
	if (h->epsilon)
		return;
	h_copy(&smaller, h);
	{
		size_t count;
		struct h_event *events = h_events(h, &count);

#define MAP(field)                                                          \
	do {                                                                \
		if ((field) != H_NEVER)                                     \
			(field) = (int64_t)h_frame(events, count, (field)); \
	} while (0)
		for (int i = 0; i < smaller.connection_count; i++) {
			struct h_connection *k = &smaller.connections[i];

			MAP(k->connect);
			MAP(k->end);
			MAP(k->tls);
			MAP(k->gap_since);
			MAP(k->gap_noticed);
		}
		for (int i = 0; i < smaller.command_count; i++) {
			struct h_command *c = &smaller.commands[i];

			if (c->outcome != H_PENDING)
				MAP(c->reply);
			MAP(c->request);
			for (unsigned s = 0; s < c->sectors; s++)
				MAP(c->cells[s].seen);
			// evidence may name instants of events that are gone
			c->reply_ack.known = c->request_ack.known = false;
		}
#undef MAP
		free(events);
	}
	accept(h, &smaller, t);
}

static void shrink(struct history *h, const struct trouble *t)
{
	struct history smaller;
	bool progress = true;

	while (progress) {
		progress = false;
		for (int i = h->connection_count - 1; i >= 0 && !t->legal; i--) {
			h_copy(&smaller, h);
			remove_connection(&smaller, i);
			progress |= accept(h, &smaller, t);
		}
		for (uint64_t sector = 0; sector < 64; sector++) {
			h_copy(&smaller, h);
			only_sector(&smaller, sector, t->legal);
			if (smaller.command_count == h->command_count) {
				bool same = true;

				for (int i = 0; i < h->command_count; i++)
					same &= smaller.commands[i].length == h->commands[i].length;
				if (same) {
					h_free(&smaller);
					continue;
				}
			}
			progress |= accept(h, &smaller, t);
		}
		for (int i = h->command_count - 1; i >= 0; i--) {
			const struct h_command *c = &h->commands[i];

			// without a write, what a legal server returned may be wrong
			if (t->legal && c->type != NBD_CMD_READ &&
			    c->type != NBD_CMD_BLOCK_STATUS &&
			    !(c->type == NBD_CMD_FLUSH && c->outcome == H_OK))
				continue;
			h_copy(&smaller, h);
			remove_command(&smaller, i);
			progress |= accept(h, &smaller, t);
		}
		for (int i = 0; i < h->command_count; i++) {
			struct h_command *c;

			if (h->commands[i].length <= H_SECTOR || t->legal)
				continue;
			for (int half = 0; half < 2; half++) {
				uint64_t middle;

				h_copy(&smaller, h);
				c = &smaller.commands[i];
				if (c->length <= H_SECTOR) {
					h_free(&smaller);
					break;
				}
				middle = (c->offset + c->length / 2) / H_SECTOR * H_SECTOR;
				if (middle <= c->offset)
					middle = c->offset + H_SECTOR;
				if (half)
					clip(c, middle, UINT64_MAX);
				else
					clip(c, 0, middle);
				progress |= accept(h, &smaller, t);
			}
		}
		for (int i = 0; i < h->command_count; i++) { // plainer commands
			struct h_command *c = &h->commands[i];

			if (c->flags & NBD_CMD_FLAG_FUA && !t->legal) {
				h_copy(&smaller, h);
				smaller.commands[i].flags &= (uint16_t)~NBD_CMD_FLAG_FUA;
				progress |= accept(h, &smaller, t);
			}
			c = &h->commands[i];
			if (c->reply_ack.known || c->request_ack.known) {
				h_copy(&smaller, h);
				smaller.commands[i].reply_ack.known = false;
				smaller.commands[i].request_ack.known = false;
				progress |= accept(h, &smaller, t);
			}
		}
		if (h->epsilon && !t->legal) {
			h_copy(&smaller, h);
			smaller.epsilon = 0;
			progress |= accept(h, &smaller, t);
		}
		if (h->exclusive) {
			h_copy(&smaller, h);
			smaller.exclusive = false;
			progress |= accept(h, &smaller, t);
		}
	}
	simplify_numbers(h, t);
}

// Metamorphic tests: less evidence makes no new violation

struct change {
	const char *what;
	bool (*apply)(struct history *h, uint64_t *random); // false: nothing to change
};

static int64_t last_instant(const struct history *h)
{
	size_t count;
	struct h_event *events = h_events(h, &count);
	int64_t last = count ? events[count - 1].at : 0;

	free(events);
	return last;
}

static bool instant_is_free(const struct history *h, int64_t at)
{
	size_t count;
	struct h_event *events = h_events(h, &count);
	bool free_ = !h_frame(events, count, at);

	free(events);
	return free_;
}

static int pick_answered(const struct history *h, uint64_t *random)
{
	int start;

	if (!h->command_count)
		return -1;
	start = (int)(sim_random(random) % (uint64_t)h->command_count);
	for (int i = 0; i < h->command_count; i++) {
		int c = (start + i) % h->command_count;

		if (h->commands[c].outcome != H_PENDING)
			return c;
	}
	return -1;
}

static bool delay_reply(struct history *h, uint64_t *random)
{
	int index = pick_answered(h, random);
	struct h_command *c;
	int64_t end, at;

	if (index < 0)
		return false;
	c = &h->commands[index];
	end = h->connections[c->connection].end;
	if (end == H_NEVER)
		end = last_instant(h) + 2000;
	if (end - c->reply < 3)
		return false;
	at = c->reply + 1 + (int64_t)(sim_random(random) % (uint64_t)(end - c->reply - 1));
	if (!instant_is_free(h, at))
		return false;
	for (unsigned s = 0; s < c->sectors; s++) {
		if (c->cells[s].seen == c->reply)
			c->cells[s].seen = at;
	}
	c->reply = at;
	// what it acknowledged it still does; later requests may not know it
	for (int i = 0; i < h->command_count; i++) {
		if (h->commands[i].connection == c->connection)
			h->commands[i].request_ack.known = false;
	}
	return true;
}

static bool delete_reply(struct history *h, uint64_t *random)
{
	int index = pick_answered(h, random);
	struct h_command *c;

	if (index < 0)
		return false;
	c = &h->commands[index];
	// What a failed write leaves stays unknown longer than what an open one does,
	// if another write was requested before the error came.
	for (int i = 0; i < h->command_count && c->outcome == H_FAILED && h_is_write(c->type);
	     i++) {
		const struct h_command *other = &h->commands[i];

		if (h_is_write(other->type) && other->request > c->request &&
		    other->request <= c->reply + h->epsilon)
			return false;
	}
	for (unsigned s = 0; s < c->sectors; s++) {
		if (c->cells[s].seen == c->reply)
			c->cells[s].seen = H_NEVER;
	}
	c->outcome = H_PENDING;
	c->reply = H_NEVER;
	for (int i = 0; i < h->command_count; i++) {
		if (h->commands[i].connection == c->connection)
			h->commands[i].request_ack.known = false;
	}
	return true;
}

static void swap_instant(struct history *h, int64_t a, int64_t b)
{
#define SWAP(field) \
	((field) == a ? (void)((field) = b) : (field) == b ? (void)((field) = a) : (void)0)
	for (int i = 0; i < h->command_count; i++) {
		struct h_command *c = &h->commands[i];

		SWAP(c->request);
		SWAP(c->reply);
		SWAP(c->request_ack.upto);
		SWAP(c->reply_ack.upto);
		for (unsigned s = 0; s < c->sectors; s++)
			SWAP(c->cells[s].seen);
	}
#undef SWAP
}

// Two neighbouring requests, or two neighbouring answers, of different
// connections, change places: neither order was known to matter.
static bool permute(struct history *h, uint64_t *random)
{
	size_t count, start;
	struct h_event *events = h_events(h, &count);
	bool done = false;

	start = count ? sim_random(random) % count : 0;
	for (size_t i = 0; i < count && !done && count > 1; i++) {
		const struct h_event *e = &events[(start + i) % (count - 1)], *f = e + 1;
		bool requests = e->kind == H_EVENT_REQUEST && f->kind == H_EVENT_REQUEST;
		bool replies = (e->kind == H_EVENT_REPLY || e->kind == H_EVENT_DATA) &&
			       (f->kind == H_EVENT_REPLY || f->kind == H_EVENT_DATA);

		if ((!requests && !replies) || f->at - e->at > 3 * h->epsilon + 5000 ||
		    h->commands[e->index].connection == h->commands[f->index].connection ||
		    h->epsilon)
			continue;
		swap_instant(h, e->at, f->at);
		done = true;
	}
	free(events);
	h_sort(h);
	return done;
}

static bool veil_connection(struct history *h, uint64_t *random)
{
	struct h_connection *k;

	if (!h->connection_count)
		return false;
	k = &h->connections[sim_random(random) % (uint64_t)h->connection_count];
	switch (sim_random(random) % 3) {
	case 0:
		k->from_start = false;
		break;
	case 1:
		k->from_start = k->known = false;
		break;
	default:
		k->gap_since = k->gap_noticed = k->connect + 1;
		if (!instant_is_free(h, k->connect + 1))
			return false;
		break;
	}
	return true;
}

static const struct change changes[] = {
	{"a reply is delayed", delay_reply},
	{"a reply is deleted", delete_reply},
	{"concurrent events change places", permute},
	{"a connection is incomplete", veil_connection},
};

// The violations of `after` are among those of `before`, by command (for the
// engine, which may forget: or among the reference's), or were suspects, or foreign
// data that is written later: without the evidence that an unseen writer was at work,
// such data may be called stale.
// A change of order may show V9 only where something was wrong before.
static bool no_new_violation(const struct history *before, const struct history *after, bool engine,
			     const struct drive_options *options, char *why, size_t size)
{
	struct reference ref[2];
	struct driven d[2];
	bool good = true, any = false;
	char name[32];

	ref_judge(&ref[0], before);
	ref_judge(&ref[1], after);
	if (engine) {
		drive(&d[0], before, options);
		drive(&d[1], after, options);
	}
	for (int i = 0; i < before->command_count; i++) {
		any |= ref_worst(&ref[0], i) == NBDS_VIOLATION;
	}
	for (int i = 0; i < after->command_count && good; i++) {
		int was = -1;

		for (int j = 0; j < before->command_count; j++) {
			if (before->commands[j].connection == after->commands[i].connection &&
			    before->commands[j].cookie == after->commands[i].cookie)
				was = j;
		}
		name_of(after, i, name, sizeof(name));
		if (was >= 0 && ref[0].verdicts[was].order)
			continue;
		if (ref_worst(&ref[1], i) == NBDS_VIOLATION &&
		    ref_worst(&ref[0], was) < NBDS_SUSPECT &&
		    !(any && ref[1].verdicts[i].findings[REF_V9].found)) {
			snprintf(why, size, "reference: new violation at %s", name);
			good = false;
		} else if (engine && engine_worst(&d[1], i) == NBDS_VIOLATION &&
			   engine_worst(&d[0], was) < NBDS_SUSPECT &&
			   ref_worst(&ref[0], was) < NBDS_SUSPECT &&
			   !(any && d[1].verdicts[i].findings[REF_V9].found)) {
			snprintf(why, size, "engine: new violation at %s: %s", name, d[1].message);
			good = false;
		}
	}
	ref_free(&ref[0]);
	ref_free(&ref[1]);
	if (engine) {
		drive_free(&d[0]);
		drive_free(&d[1]);
	}
	return good;
}

// Random histories

static uint64_t seed_of(uint64_t seed, uint64_t index)
{
	uint64_t state = seed ^ (index * 0xd1342543de82ef95u + 0x2545f4914f6cdd1du);

	return sim_random(&state);
}

static volatile uint64_t running_seed, running_index;

// Some loop does not end.
static void hangs(int signal_number)
{
	char text[120];
	int n = snprintf(text, sizeof(text), "history %" PRIu64 " of seed %" PRIu64 " hangs\n",
			 running_index, running_seed);

	(void)signal_number;
	if (write(STDOUT_FILENO, text, (size_t)n) < 0)
		_exit(2);
	_exit(1);
}

// Prints a smaller history with the same trouble.
static void show(const struct history *h, const struct trouble *t, const struct sim *sim,
		 uint64_t seed, uint64_t index)
{
	struct history small;
	struct wrong wrong;

	printf("\n# history %" PRIu64 " of seed %" PRIu64 " (%s)\n# %s\n", index, seed, sim->about,
	       t->kind);
	h_copy(&small, h);
	shrink(&small, t);
	if (!examine(&small, t->checks, &t->options, NULL, &wrong, t->kind))
		printf("# %s\n", wrong.why);
	h_print(&small, stdout);
	fflush(stdout);
	h_free(&small);
}

// Every kind that this history is the first of.
static void show_new_kinds(const struct history *h, const struct trouble *trouble,
			   const struct sim *sim, uint64_t seed, int known)
{
	for (int i = known; i < kind_count; i++) {
		struct trouble t = *trouble;

		snprintf(t.kind, sizeof(t.kind), "%s", kinds[i].name);
		t.legal = !strncmp(t.kind, "LEGAL", 5);
		show(h, &t, sim, seed, current_history);
	}
}

static bool run_random(const struct options *o, uint64_t index, struct totals *totals)
{
	uint64_t random = seed_of(o->seed, index);
	bool legal = sim_random(&random) % 2, good;
	struct drive_options options = {.chop = (unsigned)(sim_random(&random) % 3),
					.ticking = sim_random(&random) % 4 == 0};
	struct history h, changed;
	struct trouble t = {0};
	struct sim sim;
	struct wrong wrong;
	const struct change *change;
	int known = kind_count;

	if (o->kind)
		legal = o->kind != 2;
	running_seed = o->seed;
	running_index = current_history = index;
	alarm(200);
	simulate(&h, &sim, sim_random(&random),
		 o->kind == 3 ? SIM_KIND_ACCUSED
		 : legal      ? SIM_KIND_LEGAL
			      : SIM_KIND_BROKEN);
	if (o->blocks)
		h_widen(&h);
	if (sim_random(&random) % 8 == 0 && !o->strict) // the engine has to forget
		options.memory = 2000 + sim_random(&random) % 30000;
	if (sim.shape == SIM_VEILED || o->strict)
		options.ticking = false; // what is noticed late must count
	if (o->doubt) {
		options.ticking = false;
		options.doubt = index % 3 ? 1000 : 1 + (unsigned)(seed_of(~o->seed, index) % 999);
	}
	t.options = options;
	t.checks = (o->reference_only ? 0 : CHECK_ENGINE) | CHECK_BOUND;
	if (legal)
		t.checks |= CHECK_LEGAL;
	if (o->strict)
		t.checks |= CHECK_EQUAL;
	if (o->pending)
		t.checks |= CHECK_PENDING;
	if (o->doubt && !h.epsilon) {
		h_free(&h);
		return true;
	}
	if (o->print) {
		printf("# %s\n", sim.about);
		h_print(&h, stdout);
	}
	good = examine(&h, t.checks, &options, totals, &wrong, NULL);
	totals->histories++;
	if (o->print && !good)
		printf("# %s\n# %s\n", wrong.kind, wrong.why);
	if (o->examples) {
		show_new_kinds(&h, &t, &sim, o->seed, known);
	} else if (!good && !o->survey) {
		snprintf(t.kind, sizeof(t.kind), "%s", wrong.kind);
		t.legal = !strncmp(t.kind, "LEGAL", 5);
		show(&h, &t, &sim, o->seed, index);
	}
	if (!legal) {
		struct reference ref;
		bool convicted = false, told = false;

		ref_judge(&ref, &h);
		for (int i = 0; i < h.command_count; i++) {
			convicted |= ref_worst(&ref, i) == NBDS_VIOLATION;
			told |= ref_worst(&ref, i) >= NBDS_SUSPECT;
		}
		ref_free(&ref);
		totals->broken[sim.defect]++;
		totals->convicted[sim.defect] += convicted;
		totals->suspected[sim.defect] += told && !convicted;
	}
	if (good && sim_random(&random) % 3 == 0) {
		h_copy(&changed, &h);
		change = &changes[sim_random(&random) % (sizeof(changes) / sizeof(changes[0]))];
		if (change->apply(&changed, &random)) {
			totals->changed++;
			good = no_new_violation(&h, &changed, !o->reference_only, &options,
						wrong.why, sizeof(wrong.why));
			if (!good && o->survey) {
				snprintf(wrong.kind, sizeof(wrong.kind), "changed (%s): %.40s",
					 change->what, wrong.why);
				count_kind(wrong.kind);
			} else if (!good) {
				printf("\nhistory %" PRIu64 " of seed %" PRIu64 " (%s), %s: %s\n",
				       index, o->seed, sim.about, change->what, wrong.why);
				printf("# before:\n");
				h_print(&h, stdout);
				printf("# after:\n");
				h_print(&changed, stdout);
				fflush(stdout);
			}
		}
		h_free(&changed);
	}
	h_free(&h);
	return good;
}

// Captures

// One line of JSON: what must be found in the capture of a history.
static void expect_of_capture(const struct history *h, const struct frames *f, uint64_t index,
			      bool legal, const struct sim *sim)
{
	struct reference ref;
	const char *comma = "";

	ref_judge(&ref, h);
	printf("{\"history\":%" PRIu64 ",\"legal\":%s,\"about\":\"%s\",\"findings\":[", index,
	       legal ? "true" : "false", sim->about);
	for (int c = 0; c < h->command_count; c++) {
		for (int rule = 0; rule < REF_RULES; rule++) {
			const struct ref_finding *g = &ref.verdicts[c].findings[rule];
			const char *between = "";

			if (!g->found)
				continue;
			printf("%s{\"rule\":\"%s\",\"severity\":\"%s\",\"request\":%" PRIu64
			       ",\"reply\":%" PRIu64 ",\"writes\":[",
			       comma, ref_rule_names[rule], nbds_severity_name(g->severity),
			       f->request[c], f->reply[c]);
			comma = ",";
			for (int i = 0; g->missed && i < h->command_count; i++) {
				if (!g->missed[i])
					continue;
				printf("%s%" PRIu64, between, f->reply[i]);
				between = ",";
			}
			printf("]}");
		}
	}
	printf("]}\n");
	ref_free(&ref);
}

// Random histories as captures in a directory, and what must be found in them.
static bool write_captures(const struct options *o)
{
	for (uint64_t n = 0; n < o->count; n++) {
		uint64_t random = seed_of(o->seed, n);
		enum sim_kind kind = sim_random(&random) % 2   ? SIM_KIND_BROKEN
				     : sim_random(&random) % 2 ? SIM_KIND_ACCUSED
							       : SIM_KIND_LEGAL;
		struct history h;
		struct frames f;
		struct sim sim;
		char path[PATH_MAX];
		bool good = true;

		simulate(&h, &sim, sim_random(&random), kind);
		h.exclusive = false;
		if (capture_fits(&h)) {
			capture_acknowledge(&h);
			snprintf(path, sizeof(path), "%s/%06" PRIu64 ".pcap", o->captures, n);
			good = capture_write(&h, path, &f);
			if (good) {
				expect_of_capture(&h, &f, n, kind != SIM_KIND_BROKEN, &sim);
				frames_free(&f);
			}
			if (o->print || (o->has_only && o->only == n))
				h_print(&h, stderr);
		}
		h_free(&h);
		if (!good) {
			perror(path);
			return false;
		}
	}
	return true;
}

static void report(const struct totals *t)
{
	static const char *const why[REF_UNJUDGED_MAX] = {
		"judged",       "no read",          "no answer",    "illegal",
		"gap",          "initial contents", "trimmed",      "hole",
		"failed write", "illegal write",    "lost payload", "order",
	};

	printf("%" PRIu64 " histories, %" PRIu64 " reads, %" PRIu64 " of them judged; %" PRIu64
	       " histories changed, the engine forgot in %" PRIu64 "\n",
	       t->histories, t->reads, t->judged, t->changed, t->forgotten);
	printf("not judged:");
	for (int i = REF_NO_ANSWER; i < REF_UNJUDGED_MAX; i++)
		printf(" %s %" PRIu64, why[i], t->unjudged[i]);
	printf("\n");
	for (int rule = 0; rule < REF_RULES; rule++) {
		printf("%-32s", ref_rule_names[rule]);
		for (int severity = NBDS_VIOLATION; severity >= NBDS_HAZARD; severity--)
			printf(" %s %" PRIu64, nbds_severity_name((enum nbds_severity)severity),
			       t->findings[rule][severity]);
		printf("\n");
	}
	for (int i = 1; i < SIM_DEFECTS; i++)
		printf("%-40s %" PRIu64 " servers, %" PRIu64 " convicted, %" PRIu64 " suspected\n",
		       sim_defect_names[i], t->broken[i], t->convicted[i], t->suspected[i]);
	qsort(kinds, (size_t)kind_count, sizeof(kinds[0]), by_count);
	if (kind_count)
		printf("differences, the histories that have them, and one of these:\n");
	for (int i = 0; i < kind_count; i++)
		printf("%7" PRIu64 " %6" PRIu64 " %8" PRIu64 "  %s\n", kinds[i].count,
		       kinds[i].histories, kinds[i].first, kinds[i].name);
}

// Stored histories

static char *slurp(const char *path)
{
	FILE *in = fopen(path, "r");
	char *text = NULL;
	size_t size = 0, room = 0, n;

	if (!in)
		return NULL;
	do {
		if (room - size < 4096) {
			room += 65536;
			text = realloc(text, room);
			if (!text)
				exit(2);
		}
		n = fread(text + size, 1, room - size - 1, in);
		size += n;
	} while (n);
	fclose(in);
	text[size] = '\0';
	return text;
}

struct named {
	int write, stale, flush; // that it names; -2: not compared
};

static bool meets(const struct h_expectation *e, const struct history *h, const struct said *said,
		  const struct named *named, int more, const char *who, const char *file)
{
	const struct h_command *c = &h->commands[e->command];
	char name[32], got[200];
	bool good, plain = *e->rule == 'n' || !strcmp(e->rule, "unjudged");
	unsigned first = 0, last = 0;

	if (!strcmp(e->rule, "none") || !strcmp(e->rule, "unjudged")) {
		good = said->rule < 0;
	} else if (!strcmp(e->rule, "no")) {
		good = level(said) < (int)e->severity;
	} else {
		good = said->rule >= 0 && !strcmp(ref_rule_names[said->rule], e->rule) &&
		       said->severity == e->severity && more <= 0;
		if (good && e->has_range)
			good = ends(said->sectors, c->sectors, &first, &last) &&
			       h_first_sector(c) + first == e->sector &&
			       last - first + 1 == e->sectors;
		good = good && (e->write < 0 || named->write == -2 || e->write == named->write) &&
		       (e->stale < 0 || named->stale == -2 || e->stale == named->stale) &&
		       (e->flush < 0 || named->flush == -2 || e->flush == named->flush);
	}
	name_of(h, e->command, name, sizeof(name));
	describe(said, c, true, got, sizeof(got));
	if (!good)
		printf("%s: %s: %s: expected %s%s%s, found %s\n", file, who, name, e->rule,
		       plain ? "" : " ", plain ? "" : nbds_severity_name(e->severity), got);
	return good;
}

// A file's history must be judged by both as it says, however it is fed.
static bool run_file(const struct options *o, const char *file)
{
	char *text = slurp(file), error[256];
	unsigned checks = CHECK_BOUND | (o->reference_only ? 0u : CHECK_ENGINE) |
			  (o->strict ? CHECK_EQUAL : 0u);
	bool good = true, plain = true;
	struct history h;

	if (!text) {
		fprintf(stderr, "%s: %s\n", file, strerror(errno));
		return false;
	}
	if (!h_parse(&h, text, error, sizeof(error))) {
		printf("%s: %s\n", file, error);
		free(text);
		return false;
	}
	free(text);
	for (int i = 0; i < h.connection_count; i++) {
		const struct h_connection *k = &h.connections[i];

		plain &= k->from_start && k->known && k->tls == H_NEVER &&
			 k->gap_noticed == H_NEVER;
	}
	for (unsigned way = 0; way < 5 && good; way++) {
		struct drive_options options = {.chop = way & 1 ? way : 0,
						.ticking = way & 2,
						.doubt = way == 4 ? 1000 : 0};
		bool hasty = options.ticking || options.doubt;
		unsigned here = hasty ? checks & ~(unsigned)CHECK_EQUAL : checks;
		struct reference ref;
		struct driven d = {0};
		struct wrong wrong;

		if (o->reference_only && way)
			break;
		if ((!plain && options.ticking) || (!h.epsilon && options.doubt))
			continue;
		if (!examine(&h, here, &options, NULL, &wrong, NULL)) {
			printf("%s: %s\n", file, wrong.why);
			good = false;
		}
		if (options.doubt) // less is known then
			continue;
		ref_judge(&ref, &h);
		if (!o->reference_only)
			drive(&d, &h, &options);
		for (int i = 0; i < h.expectation_count; i++) {
			const struct h_expectation *e = &h.expectations[i];
			struct said said = by_reference(&ref, e->command);
			struct named named = {-2, -2, -2};
			int more = 0;

			if (said.rule >= 0) {
				const struct ref_finding *f =
					&ref.verdicts[e->command].findings[said.rule];

				named.write = e->write >= 0 && f->missed && f->missed[e->write]
						      ? e->write
						      : -1;
				named.stale = e->stale >= 0 && f->stale && f->stale[e->stale]
						      ? e->stale
						      : -1;
			}
			good &= meets(e, &h, &said, &named, more, "reference", file);
			if (!strcmp(e->rule, "unjudged") &&
			    ref.verdicts[e->command].why == REF_JUDGED) {
				printf("%s: reference: judged\n", file);
				good = false;
			}
			if (o->reference_only)
				continue;
			said = by_engine(&d, e->command, &more);
			if (said.rule >= 0) {
				const struct drive_finding *f =
					&d.verdicts[e->command].findings[said.rule];

				named = (struct named){f->write, f->stale, f->flush};
			}
			good &= meets(e, &h, &said, &named, more, "engine", file);
		}
		ref_free(&ref);
		if (!o->reference_only)
			drive_free(&d);
	}
	if (o->print) {
		struct drive_options options = {0};
		struct driven d;

		h_print(&h, stdout);
		drive(&d, &h, &options);
		printf("# engine: %" PRIu64 " reads, %" PRIu64 " bytes checked; %s\n",
		       d.stats.reads, d.stats.checked_bytes, d.message);
		for (int i = 0; i < NBDS_UNCHECKED_MAX; i++) {
			if (d.stats.unchecked[i])
				printf("# engine: %" PRIu64 " bytes not checked: %s\n",
				       d.stats.unchecked[i], nbds_unchecked_names[i]);
		}
		drive_free(&d);
	}
	h_free(&h);
	return good;
}

static bool parse_u64(const char *text, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	return !errno && *text && !*end;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"seed", required_argument, NULL, 's'},     {"count", required_argument, NULL, 'n'},
		{"seconds", required_argument, NULL, 't'},  {"only", required_argument, NULL, 'o'},
		{"kind", required_argument, NULL, 'k'},     {"reference", no_argument, NULL, 'r'},
		{"keep-going", no_argument, NULL, 'g'},     {"print", no_argument, NULL, 'p'},
		{"survey", no_argument, NULL, 'y'},         {"strict", no_argument, NULL, 'c'},
		{"examples", no_argument, NULL, 'e'},       {"pending", no_argument, NULL, 'f'},
		{"captures", required_argument, NULL, 'd'}, {"doubt", no_argument, NULL, 'm'},
		{"blocks", no_argument, NULL, 'b'},         {0},
	};
	struct options o = {.count = 1000};
	static struct totals totals;
	struct timespec start, now;
	uint64_t n;
	int option, failures = 0;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		bool good = true;

		switch (option) {
		case 's':
			good = parse_u64(optarg, &o.seed);
			o.has_seed = true;
			break;
		case 'n':
			good = parse_u64(optarg, &o.count);
			break;
		case 't':
			good = parse_u64(optarg, &n);
			o.seconds = (unsigned)n;
			o.count = UINT64_MAX;
			break;
		case 'o':
			good = parse_u64(optarg, &o.only);
			o.has_only = true;
			break;
		case 'k':
			o.kind = !strcmp(optarg, "legal")     ? 1
				 : !strcmp(optarg, "broken")  ? 2
				 : !strcmp(optarg, "accused") ? 3
							      : 0;
			good = o.kind;
			break;
		case 'r':
			o.reference_only = true;
			break;
		case 'g':
			o.keep_going = true;
			break;
		case 'p':
			o.print = true;
			break;
		case 'y':
			o.survey = true;
			break;
		case 'c':
			o.strict = true;
			break;
		case 'd':
			o.captures = optarg;
			break;
		case 'm':
			o.doubt = true;
			break;
		case 'b':
			o.blocks = true;
			break;
		case 'f':
			o.pending = true;
			break;
		case 'e':
			o.survey = o.examples = true;
			break;
		default:
			good = false;
		}
		if (!good) {
			fprintf(stderr,
				"usage: see the beginning of tests/histories/histories.c\n");
			return 2;
		}
	}
	if (optind < argc) {
		for (int i = optind; i < argc; i++)
			failures += !run_file(&o, argv[i]);
		printf("%d histories, %d failed\n", argc - optind, failures);
		return failures != 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (!o.has_seed) {
		struct timespec wall;

		clock_gettime(CLOCK_REALTIME, &wall);
		o.seed = (uint64_t)wall.tv_sec * 1000003u + (uint64_t)wall.tv_nsec;
		o.seed %= 1000000000000u;
	}
	if (o.captures)
		return !write_captures(&o);
	printf("seed %" PRIu64 "\n", o.seed);
	fflush(stdout);
	signal(SIGALRM, hangs);
	if (o.has_only) {
		o.print = true;
		return !run_random(&o, o.only, &totals);
	}
	for (n = 0; n < o.count; n++) {
		if (!run_random(&o, n, &totals)) {
			failures++;
			if (!o.survey && (!o.keep_going || failures >= 20))
				break;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (o.seconds && now.tv_sec - start.tv_sec >= (time_t)o.seconds)
			break;
	}
	report(&totals);
	if (failures)
		printf("%d failures with seed %" PRIu64 "\n", failures, o.seed);
	return failures != 0;
}
