/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Verdicts on reads: what did not match waits until all evidence that could
 * explain it is in, is judged for good, and told in a sentence with its witnesses.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../rules/rules.h"
#include "world.h"

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

struct group {
	const struct nbds_rule *rule;
	enum nbds_severity severity;
	struct verdict first;
	uint64_t low, high; /* first and last sector */
	uint64_t sectors;
};
#define GROUPS_MAX 8
/* Of these only one is told for a read. */
#define STALE_RULES ((UINT32_C(2) << RULE_STALE_OWN_WRITE) - 1)

/* How long a verdict waits for flushes in flight and bytes held back, and data
 * from nowhere for being written after all; in ns of capture time. */
#define EVIDENCE_WAIT UINT64_C(30000000000)
#define FOREIGN_WAIT  UINT64_C(30000000000)
#define FOREIGN_MAX   512u

/* --- misses -------------------------------------------------------------- */

/* Is a sampled byte the same? (A part of the sector may have come from there.) */
static bool shares_sample(uint64_t a, uint64_t b)
{
	for (unsigned k = 32; k < 64; k += 8)
		if ((uint8_t)(a >> k) == (uint8_t)(b >> k))
			return true;
	return false;
}

static uint32_t *missed_at(struct nbds_world *w, uint64_t sector)
{
	return &w->verdicts.missed[hash_number(sector / BLOCK_SECTORS) % MISSED_BUCKETS];
}

static void pin(struct nbds_world *w, uint64_t sector, int delta)
{
	struct block *b = block_find(w, sector / BLOCK_SECTORS);
	uint32_t *missed = missed_at(w, sector);

	*missed = delta > 0 ? *missed + 1 : *missed - 1;
	if (b && (delta > 0 ? b->pins < UINT16_MAX : b->pins > 0))
		b->pins = (uint16_t)(b->pins + delta);
}

void written_meanwhile(const struct nbds_op *op)
{
	struct nbds_world *w = op->world;

	for (struct nbds_op *r = w->reads.missed; r; r = r->reading->next)
		for (uint32_t i = 0; r->party != op->party && i < r->reading->miss_count; i++)
			if (!point_before(w, &r->reading->misses[i].hi, &op->lo))
				r->reading->misses[i].lone_from = UINT64_MAX;
}

void reading_drop(struct nbds_op *op)
{
	struct reading *rd = op->reading;

	while (rd->miss_count)
		pin(op->world, rd->misses[--rd->miss_count].sector, -1);
	reading_unlist(op);
}

void miss_add(struct nbds_op *op, const struct miss *m)
{
	struct reading *rd = op->reading;
	struct nbds_world *w = op->world;

	if (rd->miss_count == rd->miss_room) {
		uint32_t room = rd->miss_room ? rd->miss_room * 2 : 4;
		struct miss *misses;

		if (room > MISSES_MAX)
			return;
		misses = world_realloc(w, rd->misses, rd->miss_room * sizeof(*misses),
				       room * sizeof(*misses));
		if (!misses)
			return;
		rd->misses = misses;
		rd->miss_room = room;
	}
	rd->misses[rd->miss_count++] = *m;
	pin(w, m->sector, 1);
	if (!w->reads.missed)
		w->verdicts.missed_hi = m->hi;
	later_of(&w->verdicts.missed_hi, &m->hi);
	if (!rd->listed) {
		rd->listed = true;
		rd->prev = NULL;
		rd->next = w->reads.missed;
		if (rd->next)
			rd->next->reading->prev = op;
		w->reads.missed = op;
	}
}

void written_later(struct nbds_op *op, uint64_t start, uint64_t end, const uint64_t *value)
{
	if (end - start == 1 && !*missed_at(op->world, start))
		return;
	for (struct nbds_op *r = op->world->reads.missed; r; r = r->reading->next) {
		struct reading *rd = r->reading;

		for (uint32_t i = 0; i < rd->miss_count; i++) {
			struct miss *m = &rd->misses[i];

			if (m->sector >= start && m->sector < end &&
			    (!value || shares_sample(m->value, *value)) &&
			    point_before(op->world, &m->hi, &op->lo))
				m->written_later = true;
		}
	}
}

/* --- telling ------------------------------------------------------------- */

static void tell_text(char *text, size_t size, const struct nbds_op *r, const struct group *g)
{
	const struct verdict *v = &g->first;
	char missed[160] = "", by[128] = "", got[192];
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
	if (r->type == NBD_CMD_BLOCK_STATUS)
		snprintf(got, sizeof(got), "says that 0x%" PRIx64 " reads as zeroes",
			 g->low * NBDS_SECTOR);
	else if (!v->source)
		snprintf(got, sizeof(got),
			 "returned data at 0x%" PRIx64 " that nothing in the capture explains",
			 g->low * NBDS_SECTOR);
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
			      "capture (more than %" PRId64 " us are needed)",
			      (r->lo.time - v->flush->hi.time) / 1000,
			      r->world->config.epsilon / 1000);
	if (n > 0 && (size_t)n < size && v->lowered)
		snprintf(text + n, size - (size_t)n, "; not called a violation because %s",
			 v->lowered);
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
	char text[900];

	if (w->open_world && f.severity == NBDS_VIOLATION) {
		f.severity = NBDS_SUSPECT;
		g->first.lowered = "other connections to this server cannot be seen from their "
				   "beginning or are encrypted, and could have written too";
	}
	if (w->dropped && f.severity == NBDS_VIOLATION) {
		f.severity = NBDS_SUSPECT;
		g->first.lowered = "the capture dropped packets, which could hide another writer";
	}
	tell_text(text, sizeof(text), r, g);
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
	f.assumptions = w->config.exclusive ? assume_exclusive : assume_server;
	withhold(w, r, &f);
}

/* The final word on one read; but misses that nothing explains are kept for the
 * time being, unless `last`. */
static void judge_final(struct nbds_op *r, bool last)
{
	struct nbds_world *w = r->world;
	struct reading *rd = r->reading;
	struct group groups[GROUPS_MAX];
	unsigned n = 0;
	uint32_t kept = 0;

	for (uint32_t i = 0; i < rd->miss_count; i++) {
		struct miss m = rd->misses[i];
		struct verdict v;
		unsigned k;

		judge_sector(r, &m, true, &v);
		if ((v.rule == rule_get(RULE_UNEXPLAINED) || v.waits) && !last) {
			rd->misses[kept++] = m;
			continue;
		}
		pin(w, m.sector, -1);
		if (v.result == JUDGE_UNKNOWN)
			w->stats.unchecked[v.why] += NBDS_SECTOR;
		else
			w->stats.checked_bytes += NBDS_SECTOR;
		if (!v.rule)
			continue;
		for (k = 0;
		     k < n && (groups[k].rule != v.rule || groups[k].severity != v.severity);)
			k++;
		if (k == n) {
			if (n == GROUPS_MAX)
				continue;
			groups[n++] = (struct group){.rule = v.rule,
						     .severity = v.severity,
						     .first = v,
						     .low = m.sector,
						     .high = m.sector};
		}
		if (m.sector < groups[k].low)
			groups[k].low = m.sector;
		if (m.sector > groups[k].high)
			groups[k].high = m.sector;
		groups[k].sectors++;
	}
	rd->miss_count = kept;
	if (!kept)
		reading_unlist(r);
	/* a late copy is told once, where it shows first */
	for (unsigned k = 0; k < n; k++) {
		if (groups[k].rule != rule_get(RULE_REISSUED))
			continue;
		if (groups[k].first.source->landing_told)
			groups[k--] = groups[--n];
		else
			groups[k].first.source->landing_told = true;
	}
	/* of V2, V3, V4 and V1 the first, once for the read, at its highest level */
	for (unsigned k = 0; k < n; k++) {
		bool tell_it = true;

		for (unsigned j = 0; j < n && tell_it; j++) {
			bool both = groups[k].rule <= rule_get(RULE_STALE_OWN_WRITE) &&
				    groups[j].rule <= rule_get(RULE_STALE_OWN_WRITE);

			if (j == k || (!both && groups[j].rule != groups[k].rule))
				continue;
			if (groups[j].severity != groups[k].severity)
				tell_it = groups[j].severity < groups[k].severity;
			else
				tell_it = groups[j].rule > groups[k].rule;
		}
		unsigned id = (unsigned)(groups[k].rule - nbds_rules);

		/* some of it may have been told before */
		if (rd->told & (id <= RULE_STALE_OWN_WRITE ? STALE_RULES : UINT32_C(1) << id))
			tell_it = false;
		if (!tell_it)
			continue;
		rd->told |= UINT32_C(1) << id;
		tell(w, r, &groups[k]);
	}
}

void verdict_await(struct nbds_op *r)
{
	struct nbds_world *w = r->world;
	struct pending *p = r->reading->miss_count ? world_alloc(w, sizeof(*p)) : NULL;

	if (!p) {
		reading_drop(r);
		return;
	}
	op_ref(r);
	p->read = r;
	p->serial = w->serial;
	*w->verdicts.pending_tail = p;
	w->verdicts.pending_tail = &p->next;
	w->verdicts.pending_count++;
	w->reads.waiting++;
}

static void pending_free(struct nbds_world *w, struct pending *p)
{
	w->reads.waiting--;
	op_unref(p->read);
	world_dealloc(w, p, sizeof(*p));
}

/* Tells the oldest read with data from nowhere. */
static void judge_foreign(struct nbds_world *w)
{
	struct pending *p = w->verdicts.foreign;

	judge_final(p->read, true);
	w->verdicts.foreign = p->next;
	if (!w->verdicts.foreign)
		w->verdicts.foreign_tail = &w->verdicts.foreign;
	w->verdicts.foreign_count--;
	pending_free(w, p);
}

static uint64_t age_of(const struct nbds_world *w, const struct pending *p)
{
	return w->now > p->read->hi.time ? (uint64_t)w->now - (uint64_t)p->read->hi.time : 0;
}

void verdicts_pass(struct nbds_world *w, bool all)
{
	while (w->verdicts.pending) {
		struct pending *p = w->verdicts.pending;

		if (!all) {
			/* nor before what is concurrent with it can have come */
			if (age_of(w, p) < (uint64_t)w->config.settle ||
			    age_of(w, p) <= (uint64_t)w->config.epsilon)
				break;
			/* evidence still to come: flushes in flight that may fail, bytes
			 * held back; but not for ever */
			if (age_of(w, p) < EVIDENCE_WAIT &&
			    ((w->order.flight_first &&
			      w->order.flight_first->serial <= p->serial) ||
			     (w->ops.settled && !w->ops.settled(w->ctx, &p->read->hi))))
				break;
		}
		judge_final(p->read, false);
		w->verdicts.pending = p->next;
		if (!w->verdicts.pending)
			w->verdicts.pending_tail = &w->verdicts.pending;
		w->verdicts.pending_count--;
		if (!p->read->reading->miss_count) {
			pending_free(w, p);
			continue;
		}
		p->next = NULL;
		*w->verdicts.foreign_tail = p;
		w->verdicts.foreign_tail = &p->next;
		if (++w->verdicts.foreign_count > FOREIGN_MAX)
			judge_foreign(w);
	}
	while (w->verdicts.foreign && (all || age_of(w, w->verdicts.foreign) > FOREIGN_WAIT))
		judge_foreign(w);
}

void verdicts_free(struct nbds_world *w)
{
	while (w->verdicts.pending) {
		struct pending *p = w->verdicts.pending;

		w->verdicts.pending = p->next;
		pending_free(w, p);
	}
	while (w->verdicts.foreign) {
		struct pending *p = w->verdicts.foreign;

		w->verdicts.foreign = p->next;
		pending_free(w, p);
	}
}
