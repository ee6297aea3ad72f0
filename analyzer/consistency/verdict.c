/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Verdicts on reads: what did not match waits until all evidence that could
 * explain it is in, is judged for good, and told in a sentence with its witnesses.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <base/trace.h>

#include "../rules/rules.h"
#include "hazards.h"
#include "placed.h"
#include "verdict.h"
#include "withhold.h"
#include <base/clock.h>

static const char *verb(const struct nbds_op *op)
{
	switch (op->type) {
	case NBD_CMD_WRITE_ZEROES:
		return "zeroed";
	case NBD_CMD_TRIM:
		return "trimmed";
	case NBD_CMD_READ:
		return "read";
	default:
		return "wrote";
	}
}

/* What is told of a read: the rule that ranks first, of all sectors that broke it. */
struct group {
	const struct nbds_rule *rule;
	enum nbds_severity severity;
	struct verdict first; /* with the newest write that was missed */
	uint64_t low, high;   /* first and last sector */
	uint64_t sectors;
	uint64_t lesser; /* sectors that broke another one */
	/* the first sector */
	uint64_t value;
	bool zeroes;
	struct nbds_differ differ;
};

/* How long a verdict waits for flushes in flight and bytes held back, which are taken for
 * never answered, and for a gap, after that; and data from nowhere for being written after
 * all; in ns of capture time. */
#define EVIDENCE_WAIT UINT64_C(30000000000)
#define FOREIGN_WAIT  UINT64_C(30000000000)
/* So many of these wait however short memory is. */
#define FOREIGN_MIN 512u

void reading_drop(struct nbds_op *op)
{
	misses_drop(op);
}

/* --- telling ------------------------------------------------------------- */

/* Data that was not written there: was it to another place? */
static void from_nowhere(const struct nbds_op *r, const struct group *g, char *got, size_t size)
{
	struct placement at;

	if (g->zeroes)
		snprintf(got, size,
			 "returned all zeroes at 0x%" PRIx64 ", which nothing in the capture "
			 "wrote there",
			 g->low * NBDS_SECTOR);
	else if (contents_elsewhere(r->world, g->low, g->value, &at))
		snprintf(got, size,
			 "returned data at 0x%" PRIx64 " that was written elsewhere: these are the "
			 "bytes that conn %" PRIu32 " wrote to 0x%" PRIx64 " (frame %" PRIu64 ")",
			 g->low * NBDS_SECTOR, at.connection, at.sector * NBDS_SECTOR, at.frame);
	else
		snprintf(got, size,
			 "returned data at 0x%" PRIx64 " that nothing in the capture explains",
			 g->low * NBDS_SECTOR);
}

static void tell_text(char *text, size_t size, const struct nbds_op *r, const struct group *g,
		      const char *why)
{
	const struct verdict *v = &g->first;
	char missed[160] = "", by[128] = "", got[256];
	const char *what = r->type == NBD_CMD_BLOCK_STATUS ? "block status" : "read";

	snprintf(missed, sizeof(missed),
		 "conn %" PRIu32 " %s %" PRIu64 " bytes at 0x%" PRIx64 " (frames %" PRIu64
		 " to %" PRIu64 ")",
		 v->missed->party->id, verb(v->missed), v->missed->length, v->missed->offset,
		 v->missed->request_frame, v->missed->reply_frame);
	if (v->flush)
		snprintf(by, sizeof(by),
			 ", conn %" PRIu32 "'s flush covered it (frames %" PRIu64 " to %" PRIu64
			 ")",
			 v->flush->party->id, v->flush->request_frame, v->flush->reply_frame);
	else if (v->missed->fua)
		snprintf(by, sizeof(by), " with FUA");
	if (r->type == NBD_CMD_BLOCK_STATUS && g->rule == rule_get(RULE_ZERO_STATUS))
		snprintf(got, sizeof(got), "says that 0x%" PRIx64 " reads as zeroes",
			 g->low * NBDS_SECTOR);
	else if (v->old.frame)
		snprintf(got, sizeof(got),
			 "returned at 0x%" PRIx64 " the data that conn %" PRIu32
			 " had written before (frame %" PRIu64 ")",
			 g->low * NBDS_SECTOR, v->old.connection, v->old.frame);
	else if (!v->source)
		from_nowhere(r, g, got, sizeof(got));
	else if (g->rule == rule_get(RULE_UNSTABLE_READ))
		snprintf(got, sizeof(got),
			 "returned at 0x%" PRIx64 " other data than conn %" PRIu32
			 " had read there before (frame %" PRIu64
			 "), with nothing written in between",
			 g->low * NBDS_SECTOR, v->source->party->id, v->source->reply_frame);
	else if (v->source->type == NBD_CMD_READ)
		snprintf(got, sizeof(got),
			 "returned at 0x%" PRIx64 " the data that conn %" PRIu32
			 " had read there before (frame %" PRIu64 ")",
			 g->low * NBDS_SECTOR, v->source->party->id, v->source->reply_frame);
	else
		snprintf(got, sizeof(got),
			 "returned at 0x%" PRIx64 " the data that conn %" PRIu32
			 " had %s before (frame %" PRIu64 ")",
			 g->low * NBDS_SECTOR, v->source->party->id,
			 v->source->type == NBD_CMD_WRITE ? "written" : verb(v->source),
			 v->source->request_frame);
	int n = snprintf(text, size,
			 "%s%s, yet conn %" PRIu32 "'s later %s (frames %" PRIu64 " to %" PRIu64
			 ") %s",
			 missed, by, r->party->id, what, r->request_frame, r->reply_frame, got);
	if (n > 0 && (size_t)n < size && g->sectors > 1)
		n += snprintf(text + n, size - (size_t)n,
			      " (%" PRIu64 " sectors up to 0x%" PRIx64 ")", g->sectors,
			      (g->high + 1) * NBDS_SECTOR);
	if (n > 0 && (size_t)n < size && g->rule == rule_get(RULE_REISSUED))
		n += snprintf(
			text + n, size - (size_t)n,
			"; that write was never answered and had been sent again: its first copy "
			"landed late, over newer data, which no rule of the protocol forbids");
	if (n > 0 && (size_t)n < size && v->flush && g->rule == rule_get(RULE_STALE_UNFLUSHED))
		n += snprintf(text + n, size - (size_t)n,
			      "; not called a violation because the read was sent only %" PRId64
			      " us after that flush was answered, too close for the order of this "
			      "capture (%" PRId64 " us are needed)",
			      nbds_elapsed(v->flush->hi.time, r->lo.time) / 1000,
			      r->world->config.epsilon / 1000);
	if (n > 0 && (size_t)n < size && v->parted)
		n += snprintf(text + n, size - (size_t)n,
			      "; what they differ in was written before every connection to the "
			      "server had ended, and both reads came after that");
	if (n > 0 && (size_t)n < size && why)
		n += snprintf(text + n, size - (size_t)n, "; not called a violation because %s",
			      why);
	if (n > 0 && (size_t)n < size && g->lesser)
		snprintf(text + n, size - (size_t)n,
			 "; %" PRIu64 " other sector%s of it %s a "
			 "lesser rule",
			 g->lesser, g->lesser == 1 ? "" : "s", g->lesser == 1 ? "breaks" : "break");
}

static void tell(struct nbds_world *w, struct nbds_op *r, struct group *g)
{
	static const char *const assume_server[] = {
		"one address is one server, and one export name on it is one device",
		"no writer stays outside the capture",
		"no request from before the capture is still being executed", NULL};
	static const char *const assume_exclusive[] = {
		"one address is one server, and one export name on it is one device",
		"no writer stays outside the capture (you vouched for it)",
		"no request from before the capture is still being executed", NULL};
	const struct verdict *v = &g->first;
	struct nbds_finding f = {.rule = g->rule,
				 .severity = g->severity,
				 .count = 1,
				 .connection = r->party->id,
				 .has_range = true,
				 .time = r->hi.time};
	const char *why;
	char text[1200];

	precondition_level((enum nbds_rule_id)(g->rule - nbds_rules), g->severity, v->broken, &why);
	if (g->severity == NBDS_HAZARD || g->severity == g->rule->severity)
		why = NULL;
	tell_text(text, sizeof(text), r, g, why);
	f.message = text;
	f.export_name = r->party->xport ? r->party->xport->name : NULL;
	f.export_name_len = r->party->xport ? r->party->xport->name_len : 0;
	f.command = nbds_name_of(&nbds_commands, r->type);
	f.offset = g->low * NBDS_SECTOR;
	f.length = (g->high - g->low + 1) * NBDS_SECTOR;
	f.frames[NBDS_ROLE_READ] = r->reply_frame;
	f.frames[NBDS_ROLE_READ_REQUEST] = r->request_frame;
	f.frames[NBDS_ROLE_WRITE] = v->missed->reply_frame;
	f.frames[NBDS_ROLE_WRITE_REQUEST] = v->missed->request_frame;
	if (v->source && v->source->type == NBD_CMD_READ) {
		f.frames[NBDS_ROLE_EARLIER_READ] = v->source->reply_frame;
		witness_add(&f, NBDS_ROLE_EARLIER_READ, v->source);
	} else if (v->old.frame) {
		f.frames[NBDS_ROLE_STALE_WRITE] = v->old.frame;
	} else if (v->source) {
		f.frames[NBDS_ROLE_STALE_WRITE] = v->source->request_frame;
		witness_add(&f, NBDS_ROLE_STALE_WRITE, v->source);
	}
	witness_add(&f, NBDS_ROLE_WRITE, v->missed);
	if (v->flush) {
		f.frames[NBDS_ROLE_FLUSH] = v->flush->reply_frame;
		f.frames[NBDS_ROLE_FLUSH_REQUEST] = v->flush->request_frame;
		witness_add(&f, NBDS_ROLE_FLUSH, v->flush);
	}
	witness_add(&f, NBDS_ROLE_READ, r);
	f.differ = g->differ;
	f.assumptions = w->config.exclusive ? assume_exclusive : assume_server;
	withhold(w, r, &f);
}

/* What is broken of the conditions that no judge of one sector knows. */
static unsigned broken_around(struct nbds_world *w, const struct nbds_op *r, const struct miss *m)
{
	unsigned broken = 0;

	if (!r->party->known || !r->party->from_start ||
	    (w->open_world && w->open_since.frame <= r->hi.frame))
		broken |= BROKEN_UNSEEN;
	if (w->dropped)
		broken |= BROKEN_DROPPED;
	if (face_changed(w, r->party->xport, NULL, &m->hi))
		broken |= BROKEN_FACE;
	if (kin_wrote(r, m->sector))
		broken |= BROKEN_OUTSIDE;
	if (kin_wrote_any(r, &m->hi))
		broken |= BROKEN_WRITER;
	return broken;
}

/* How a verdict is passed that did not wait for all. */
struct haste {
	bool early; /* data from nowhere did not wait for all that may be written */
	bool held;  /* there are bytes from before that are held back */
	const struct nbds_op *flights; /* of these some are from before; NULL: none is */
	uint64_t serial;               /* that were told by then, */
	const struct nbds_point *hi;   /* or may have begun by then */
};

/* The order of such points is trusted as far as it goes; else that of the capture is taken. */
static bool ordered_by_time(const struct nbds_world *w)
{
	return !w->no_t3 && !w->parties->interfaces;
}

/* It was told before the read was over, or later, and may have begun before. */
static bool from_before(const struct haste *haste, const struct nbds_op *x)
{
	return x->serial <= haste->serial ||
	       (ordered_by_time(x->world) ? !point_before(x->world, haste->hi, &x->lo)
					  : x->lo.frame <= haste->hi->frame);
}

/* Block status of the sector that was sent before, and may yet be told to be undefined. */
static bool status_open(const struct haste *haste, const struct miss *m)
{
	uint64_t start = m->sector * NBDS_SECTOR, end = start + NBDS_SECTOR;
	unsigned looked = 0;

	for (const struct nbds_op *x = haste->flights; x; x = x->flight->awaited.next)
		if (++looked > AWAITED_SCAN)
			return true;
		else if (!from_before(haste, x))
			continue;
		else if (x->type == NBD_CMD_BLOCK_STATUS && x->offset < end &&
			 (x->offset >= start || start - x->offset < x->length))
			return true;
	return false;
}

static void not_judged(struct verdict *v, enum nbds_unchecked why)
{
	v->result = JUDGE_UNKNOWN;
	v->why = why;
	v->rule = NULL;
	v->waits = false;
}

/* The verdict on one sector, at the level that it has in the end. */
static void judge_miss(struct nbds_op *r, struct miss *m, const struct haste *haste,
		       struct verdict *v)
{
	unsigned around;

	miss_judge(r->world, m, 0, v);
	if (!v->rule)
		return;
	/* at a lower level something else of it may be told rather */
	around = v->severity == NBDS_VIOLATION ? broken_around(r->world, r, m) : 0;
	if (around)
		miss_judge(r->world, m, around, v);
	if (v->foreign && (m->unsure || (haste->early && v->severity == NBDS_VIOLATION)))
		not_judged(v, NBDS_UNCHECKED_FORGOTTEN);
	else if (haste->held && v->severity == NBDS_VIOLATION)
		not_judged(v, NBDS_UNCHECKED_GAP);
	else if (v->severity > NBDS_HAZARD && status_open(haste, m))
		not_judged(v, NBDS_UNCHECKED_TRIM);
}

static const uint8_t *expected_bytes(const struct nbds_world *w, const struct miss *m,
				     const struct verdict *v)
{
	static const uint8_t zeroes[NBDS_SECTOR];
	size_t count;
	const struct candidate *list = miss_sources(w, m, &count);

	if (v->missed->type == NBD_CMD_WRITE_ZEROES)
		return zeroes;
	for (size_t i = 0; i < count; i++) {
		const struct candidate *c = &list[i];

		if (c->op == v->missed && c->bytes && c->from <= m->from && c->to >= m->to)
			return c->bytes + (m->from - c->from);
	}
	return NULL;
}

/* What came, and what was expected, of the first sector; just after it was judged. */
static void group_shows(struct nbds_world *w, struct group *g, const struct miss *m,
			const struct verdict *v)
{
	const uint8_t *expected = v->missed ? expected_bytes(w, m, v) : NULL;
	unsigned len = (unsigned)(m->to - m->from), at = 0, n;
	struct nbds_differ *d = &g->differ;

	*d = (struct nbds_differ){0};
	g->value = m->from == 0 && m->to == NBDS_SECTOR ? m->value : 0;
	g->zeroes = false;
	if (!m->bytes)
		return;
	g->zeroes = !m->bytes[0] && memcmp(m->bytes, m->bytes + 1, len - 1) == 0;
	while (expected && at < len && m->bytes[at] == expected[at])
		at++;
	if (at == len) /* a sum of several looks */
		expected = NULL, at = 0;
	n = len - at < NBDS_DIFFER_MAX ? len - at : NBDS_DIFFER_MAX;
	d->offset = m->sector * NBDS_SECTOR + m->from + at;
	d->count = (uint8_t)n;
	memcpy(d->came, m->bytes + at, n);
	if (expected) {
		d->expected_known = true;
		memcpy(d->expected, expected + at, n);
	}
}

static void group_add(struct nbds_world *w, struct group *g, const struct miss *m,
		      const struct verdict *v)
{
	unsigned old = g->rule ? verdict_rank(g->rule, g->severity) : UINT32_MAX;
	unsigned rank = verdict_rank(v->rule, v->severity);

	if (rank > old) {
		g->lesser++;
		return;
	}
	if (rank < old) {
		*g = (struct group){.rule = v->rule,
				    .severity = v->severity,
				    .first = *v,
				    .low = m->sector,
				    .high = m->sector,
				    .lesser = g->lesser + g->sectors};
	} else if (v->missed && (!g->first.missed || v->missed->serial > g->first.missed->serial)) {
		g->first = *v;
	}
	if (m->sector <= g->low) {
		g->low = m->sector;
		group_shows(w, g, m, v);
	}
	if (m->sector > g->high)
		g->high = m->sector;
	g->sectors++;
}

/* Adds what was found of a part of a sector to what was found of its other parts: all of
 * it is from nowhere if any byte is. */
static void sector_add(struct verdict *sector, const struct verdict *v)
{
	bool foreign = v->rule && v->foreign, was = sector->rule && sector->foreign;

	if (!v->rule)
		return;
	if (!sector->rule || (foreign && !was) ||
	    (foreign == was &&
	     verdict_rank(v->rule, v->severity) < verdict_rank(sector->rule, sector->severity)) ||
	    (foreign == was && v->rule == sector->rule && v->severity == sector->severity &&
	     v->missed && (!sector->missed || v->missed->serial > sector->missed->serial)))
		*sector = *v;
}

/* Who asked why is told the final word on a read. */
void verdict_judged(const struct nbds_op *r, const struct nbds_rule *rule,
		    enum nbds_severity severity)
{
	struct nbds_world *w = r->world;
	struct nbds_judged j = {
		.connection = r->party->id,
		.type = r->type,
		.offset = r->offset,
		.length = r->length,
		.request_frame = r->request_frame,
		.reply_frame = r->reply_frame,
		.failed = r->state != OP_OK,
		.checked = r->reading->checked,
		.rule = rule,
		.severity = severity,
	};
	unsigned n = 0;

	_Static_assert(NBDS_UNCHECKED_MAX < sizeof(j.unchecked) / sizeof(j.unchecked[0]),
		       "no room for all reasons");
	if (!w->ops.judged)
		return;
	for (unsigned i = 0; i < NBDS_UNCHECKED_MAX; i++) {
		if (!r->reading->unchecked[i])
			continue;
		j.unchecked[n].reason = nbds_unchecked_names[i];
		j.unchecked[n++].bytes = r->reading->unchecked[i];
	}
	w->ops.judged(w->ctx, &j);
}

/* The first rank that a sector may have in the end which waits: if what is from nowhere is
 * written after all, the rest of it counts, or which of its writes came first. */
static unsigned may_rank(const struct verdict *v)
{
	unsigned rank, unordered = verdict_rank(rule_get(RULE_UNORDERED), NBDS_SUSPECT);

	if (!v->rule)
		return 0;
	rank = verdict_rank(v->rule, v->waits ? NBDS_VIOLATION : v->severity);
	if (v->foreign && v->without < rank)
		rank = v->without;
	return v->foreign && unordered < rank ? unordered : rank;
}

/*
 * The final word on one read: what ranks first is told, once.  But if there are sectors
 * whose data nothing explains, or that later frames may still raise, and which would be
 * told rather, all of it waits, unless this is the `last` chance, which comes `early` when
 * memory is short.  False: it waits.
 */
static bool judge_final(struct nbds_op *r, bool last, const struct haste *haste)
{
	struct nbds_world *w = r->world;
	struct reading *rd = r->reading;
	struct group g = {0};
	struct verdict sector = {0}; /* of its parts, if it was read in parts */
	unsigned may_be = UINT32_MAX;
	bool open = false; /* a part of the sector waits */
	struct series series;
	uint64_t checked = 0, unchecked[NBDS_UNCHECKED_MAX] = {0};

	if (haste->flights)
		order_doubt(w, true);
	if (rd->miss_count > 1)
		series_begin(w, &series);
	for (struct miss *m = rd->misses; m; m = m->next) {
		/* they are long out of the cache: the next ones come while this is judged */
		miss_prefetch(m->next);
		bool over = !m->next || m->next->sector != m->sector;
		struct verdict v;

		judge_miss(r, m, haste, &v);
		if ((v.foreign || v.waits) && !last) {
			unsigned rank = may_rank(&v);

			may_be = rank < may_be ? rank : may_be;
			open = true;
		} else {
			if (v.result == JUDGE_UNKNOWN)
				unchecked[v.why] += m->to - m->from;
			else
				checked += m->to - m->from;
			sector_add(&sector, &v);
		}
		/* nor are its other parts more than what waits */
		if (over && sector.rule && !open)
			group_add(w, &g, m, &sector);
		if (over) {
			sector = (struct verdict){0};
			open = false;
		}
	}
	if (haste->flights)
		order_doubt(w, false);
	series_end(w);
	if (may_be != UINT32_MAX && (!g.rule || may_be <= verdict_rank(g.rule, g.severity)))
		return false;
	w->stats.checked_bytes += checked;
	rd->checked += checked;
	if (rd->misses && !rd->checked && !g.rule && r->type == NBD_CMD_READ)
		w->stats.reads--; /* it waited in vain */
	for (unsigned i = 0; i < NBDS_UNCHECKED_MAX; i++) {
		w->stats.unchecked[i] += unchecked[i];
		rd->unchecked[i] += unchecked[i];
	}
	verdict_judged(r, g.rule, g.severity);
	/* a late copy is told once, where it shows first */
	if (g.rule == rule_get(RULE_REISSUED)) {
		if (g.first.source->landing_told)
			g.rule = NULL;
		else
			g.first.source->landing_told = true;
	}
	NBDS_TRACE(NBDS_TRACE_JUDGE,
		   "the final word on conn %" PRIu32 "'s #%" PRIu64 ", frame %" PRIu64
		   ": %s, %" PRIu64 " bytes judged",
		   r->party->id, r->serial, r->reply_frame,
		   g.rule ? g.rule->name : "nothing is wrong", rd->checked);
	if (g.rule)
		tell(w, r, &g);
	reading_drop(r);
	return true;
}

void verdict_await(struct nbds_op *r)
{
	struct nbds_world *w = r->world;
	struct pending *p = r->reading->misses ? world_alloc(w, sizeof(*p)) : NULL;

	if (!p) {
		/* without memory to wait with nothing is said of them */
		for (const struct miss *m = r->reading->misses; m; m = m->next) {
			r->reading->unchecked[NBDS_UNCHECKED_FORGOTTEN] += m->to - m->from;
			w->stats.unchecked[NBDS_UNCHECKED_FORGOTTEN] += m->to - m->from;
		}
		verdict_judged(r, NULL, NBDS_NOTE);
		reading_drop(r);
		return;
	}
	op_ref(r);
	p->read = r;
	p->serial = w->serial;
	*w->verdicts->pending_tail = p;
	w->verdicts->pending_tail = &p->next;
	w->verdicts->pending_count++;
	w->reads->waiting++;
}

static void pending_free(struct nbds_world *w, struct pending *p)
{
	w->reads->waiting--;
	reading_drop(p->read);
	op_unref(p->read);
	world_dealloc(w, p, sizeof(*p));
}

/* What there is from before a read that is not known yet; `all`: there is nothing to come. */
static struct haste haste_of(const struct nbds_world *w, const struct pending *p, bool all)
{
	const struct nbds_op *first = w->order->flight_first;
	const struct nbds_point *hi = &p->read->hi;
	bool open = first &&
		    (first->serial <= p->serial ||
		     !(ordered_by_time(w) ? flying_after(w, FLYING_AWAITED, hi)
					  : flying_after_frame(w, FLYING_AWAITED, hi->frame)));

	return (struct haste){.held = !all && w->ops.settled && !w->ops.settled(w->ctx, hi),
			      .flights = open ? first : NULL,
			      .serial = p->serial,
			      .hi = hi};
}

/* Tells the oldest read with data from nowhere. */
static void judge_foreign(struct nbds_world *w, bool all, bool early)
{
	struct pending *p = w->verdicts->foreign;
	struct haste haste = haste_of(w, p, all);

	haste.early = early;
	judge_final(p->read, true, &haste);
	w->verdicts->foreign = p->next;
	if (!w->verdicts->foreign)
		w->verdicts->foreign_tail = &w->verdicts->foreign;
	w->verdicts->foreign_count--;
	pending_free(w, p);
}

static uint64_t age_of(const struct nbds_world *w, const struct pending *p)
{
	return world_age(w, p->read->hi.time);
}

void verdicts_pass(struct nbds_world *w, bool all)
{
	while (w->verdicts->pending) {
		struct pending *p = w->verdicts->pending;
		struct haste haste;

		if (!all) {
			/* nor before what is concurrent with it can have come */
			if (age_of(w, p) < (uint64_t)w->config.settle ||
			    age_of(w, p) <= (uint64_t)w->config.epsilon)
				break;
		}
		/* evidence still to come: flushes in flight that may fail, bytes held back;
		 * but not for ever */
		haste = haste_of(w, p, all);
		if (!all && age_of(w, p) < EVIDENCE_WAIT && (haste.flights || haste.held))
			break;
		if (p->next)
			__builtin_prefetch(p->next->read);
		bool told = judge_final(p->read, false, &haste);

		w->verdicts->pending = p->next;
		if (!w->verdicts->pending)
			w->verdicts->pending_tail = &w->verdicts->pending;
		w->verdicts->pending_count--;
		if (told) {
			pending_free(w, p);
			continue;
		}
		p->next = NULL;
		*w->verdicts->foreign_tail = p;
		w->verdicts->foreign_tail = &p->next;
		if (++w->verdicts->foreign_count > FOREIGN_MIN && w->memory > w->memory_cap / 2)
			judge_foreign(w, false, true);
	}
	while (w->verdicts->foreign && (all || age_of(w, w->verdicts->foreign) > FOREIGN_WAIT))
		judge_foreign(w, all, false);
}

void verdicts_free(struct nbds_world *w)
{
	while (w->verdicts->pending) {
		struct pending *p = w->verdicts->pending;

		w->verdicts->pending = p->next;
		pending_free(w, p);
	}
	while (w->verdicts->foreign) {
		struct pending *p = w->verdicts->foreign;

		w->verdicts->foreign = p->next;
		pending_free(w, p);
	}
}
