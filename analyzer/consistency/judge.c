/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Judging a sector of a read: is what it returned admissible, and if not, what
 * proves it?
 */
#include <string.h>

#include "../rules/rules.h"
#include "world.h"

const char *const nbds_unchecked_names[NBDS_UNCHECKED_MAX] = {
	[NBDS_UNCHECKED_UNKNOWN] = "contents-unknown",
	[NBDS_UNCHECKED_TRIM] = "trimmed",
	[NBDS_UNCHECKED_FAILED_WRITE] = "failed-write",
	[NBDS_UNCHECKED_PARTIAL] = "partial-sector",
	[NBDS_UNCHECKED_LOST] = "payload-not-captured",
	[NBDS_UNCHECKED_GAP] = "gap-may-hide-write",
	[NBDS_UNCHECKED_MIXED] = "concurrent-writes",
	[NBDS_UNCHECKED_VOIDED] = "flush-failed",
	[NBDS_UNCHECKED_FORGOTTEN] = "forgotten",
	[NBDS_UNCHECKED_ERROR] = "read-failed",
	[NBDS_UNCHECKED_ILLEGAL] = "illegal-request",
	[NBDS_UNCHECKED_ORDER] = "order-not-trustworthy",
};

static const char another_wrote[] =
	"another connection wrote as well, with no flush before this write: the server may have "
	"written back a neighbour's stale block";

/* Everything known about one sector, for one reader. */
struct view {
	const struct nbds_op *reader;
	bool final; /* commands in flight are not hoped to succeed any more */
	struct candidate c[CANDIDATES_MAX];
	unsigned n;
	unsigned est[CANDIDATES_MAX]; /* paths on which it is in force */
	struct nbds_op *flush[CANDIDATES_MAX];
	bool admissible[CANDIDATES_MAX];
	const struct nbds_point *base; /* what was answered before is forgotten, or NULL */
	bool shadow; /* something was dropped for a write that the reader cannot have seen */
};

/* Which of the commands in force are relied upon. */
struct trust {
	unsigned paths;     /* EST_* */
	bool same_epoch;    /* and only those since the last time without connections */
	uint64_t lone_from; /* of those in force by E1 alone, from this serial on */
};

static const struct trust trust_all = {EST_E1 | EST_E2 | EST_E3, false, 0};

/* What is known of the sector under some trust. */
struct weighing {
	enum judgement result;
	enum nbds_unchecked why;
	unsigned values;
	bool matched, all_established;
	bool in_flight; /* unknown as long as a write in flight is not answered */
	bool admissible[CANDIDATES_MAX];
};

/* Could a sector with this candidate's contents have this value? */
static bool shows(const struct candidate *k, uint64_t value)
{
	return !k->any && k->value == (k->coarse ? coarse_value(value) : value);
}

static bool same_value(const struct candidate *a, const struct candidate *b)
{
	if (a->coarse || b->coarse)
		return coarse_value(a->value) == coarse_value(b->value);
	return a->value == b->value;
}

/* Sup(old, by) */
static bool superseded(const struct candidate *old, const struct nbds_op *by)
{
	if (old->op == by)
		return false;
	if (old->hole) /* a report, not a write: what came after it counts */
		return op_before(old->op, by);
	return established(old->op, by, by->state == OP_OK ? &by->hi : NULL, NULL) != 0;
}

/* Who is in force for reader r whose byte was sent by `hi`. */
static void view_fill(struct view *v, const struct nbds_op *r, const struct nbds_point *hi)
{
	unsigned n = 0;

	v->reader = r;
	v->shadow = false;
	/* what provably began after the byte was sent is no source of it */
	for (unsigned i = 0; i < v->n; i++) {
		const struct candidate *k = &v->c[i];

		if (k->op == r || (k->seen && (k->op->state != OP_OK || !k->op->proves)))
			continue;
		if (!k->seen && point_before(r->world, hi, &k->op->lo)) {
			/* a read told late may need what newer writes pushed out */
			v->shadow |= k->shadow;
			continue;
		}
		v->c[n++] = *k;
	}
	v->n = n;
	for (unsigned i = 0; i < n; i++) {
		v->flush[i] = NULL;
		v->est[i] = v->c[i].seen ? 0 : established(v->c[i].op, r, hi, &v->flush[i]);
	}
}

/* Is candidate i in force, covers it the sector, and is it relied upon? */
static bool in_force(const struct view *v, unsigned i, const struct trust *t)
{
	return (v->est[i] & t->paths) && v->c[i].full &&
	       (!t->same_epoch || v->c[i].op->epoch == v->reader->epoch) &&
	       ((v->est[i] & t->paths) != EST_E1 || v->c[i].op->serial >= t->lone_from);
}

/* The first of the reader's own writes before which no other connection wrote
 * anything that was not in force: so it is for all later ones. */
static uint64_t lone_from(const struct view *v)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < v->n; i++)
		if ((v->est[i] & EST_E1) && v->c[i].op->serial < first && lone_writer(v->c[i].op))
			first = v->c[i].op->serial;
	return first;
}

/* A failed write leaves anything behind until the next established one. So does
 * one that was not answered, since its error may be what the capture lacks: until
 * an established one whose request came after its own. */
static bool settled(const struct view *v, unsigned i, const struct trust *t)
{
	const struct nbds_op *op = v->c[i].op;

	if (op->state == OP_FLIGHT) /* when it fails, if it does, is not known yet */
		return false;
	for (unsigned j = 0; j < v->n; j++) {
		const struct nbds_op *by = v->c[j].op;

		if (!in_force(v, j, t) || by == op)
			continue;
		if (op->state == OP_FAILED   ? op_before(op, by)
		    : op->party == by->party ? op->serial < by->serial
					     : point_before(op->world, &op->lo, &by->lo))
			return true;
	}
	return false;
}

/* Can no mixture of the admissible values have the sampled bytes of `value`? */
static bool no_mixture(const struct view *v, const bool *admissible, uint64_t value)
{
	for (unsigned k = 0; k < 4; k++) {
		uint8_t byte = (uint8_t)(value >> (32 + 8 * k));
		bool possible = false;

		for (unsigned i = 0; i < v->n && !possible; i++)
			/* of what slept, only the first sample is known */
			possible = admissible[i] &&
				   ((k && v->c[i].coarse) ||
				    (uint8_t)(v->c[i].value >> (32 + 8 * k)) == byte);
		if (!possible)
			return true;
	}
	return false;
}

/* Adm and allowed, and whether `value` is among them. */
static void weigh(const struct view *v, uint64_t value, const struct trust *t, struct weighing *o)
{
	bool initial = true, renewal = !v->base;

	*o = (struct weighing){.result = JUDGE_UNKNOWN, .all_established = true};
	for (unsigned i = 0; i < v->n; i++) {
		if (!in_force(v, i, t))
			continue;
		initial = false;
		renewal = renewal || renewed(v->reader->party, v->base, v->c[i].op);
	}
	for (unsigned i = 0; i < v->n; i++) {
		o->admissible[i] = !v->c[i].seen;
		for (unsigned j = 0; j < v->n && o->admissible[i]; j++)
			if (in_force(v, j, t) && superseded(&v->c[i], v->c[j].op))
				o->admissible[i] = false;
	}
	if (v->shadow) {
		o->why = NBDS_UNCHECKED_FORGOTTEN;
		return;
	}
	if (initial || !renewal) {
		o->why = v->base ? NBDS_UNCHECKED_FORGOTTEN : NBDS_UNCHECKED_UNKNOWN;
		return;
	}
	for (unsigned i = 0; i < v->n; i++) {
		const struct candidate *k = &v->c[i];
		bool new_value = true;

		if (k->shadow && !in_force(v, i, t)) {
			o->why = NBDS_UNCHECKED_FORGOTTEN;
			return;
		}
		if (!o->admissible[i])
			continue;
		if (k->any) {
			o->why = (enum nbds_unchecked)k->why;
			return;
		}
		/* as long as a command is in flight it is hoped to succeed, but for
		 * the final word */
		if (k->op->state != OP_OK && (k->op->state != OP_FLIGHT || v->final) &&
		    !settled(v, i, t)) {
			o->why = NBDS_UNCHECKED_FAILED_WRITE;
			o->in_flight = k->op->state == OP_FLIGHT;
			return;
		}
		o->all_established &= v->est[i] != 0;
		o->matched |= shows(k, value);
		for (unsigned j = 0; j < i && new_value; j++)
			new_value = !(o->admissible[j] && same_value(&v->c[j], k));
		o->values += new_value;
	}
	if (o->matched)
		o->result = JUDGE_FINE;
	else if (o->values > 1 && !no_mixture(v, o->admissible, value))
		o->why = NBDS_UNCHECKED_MIXED;
	else
		o->result = JUDGE_WRONG;
}

/* --- legal, and dangerous ------------------------------------------------ */

/* Two completed writes of different connections came out in the other order
 * (Q6): what was read is admissible only because no flush lay between them. */
static bool unordered(const struct view *v, uint64_t value, struct verdict *out)
{
	struct nbds_op *first = NULL, *second = NULL, *flush = NULL;

	for (unsigned i = 0; i < v->n; i++) {
		bool later = false;

		if (!v->admissible[i] || !shows(&v->c[i], value))
			continue;
		for (unsigned j = 0; j < v->n && !later; j++) {
			if (!v->est[j] || !v->c[j].full || v->c[j].any || shows(&v->c[j], value) ||
			    v->c[j].op->party == v->c[i].op->party || v->c[i].op->state != OP_OK ||
			    !v->c[i].op->proves || !op_before(v->c[i].op, v->c[j].op) ||
			    v->c[i].op->party->xport != v->c[j].op->party->xport ||
			    !party_mc(v->c[i].op->party) || !party_mc(v->c[j].op->party))
				continue;
			later = true;
			first = v->c[i].op;
			second = v->c[j].op;
			flush = v->flush[j];
		}
		if (!later)
			return false; /* it has another, innocent source */
	}
	if (!first)
		return false;
	out->rule = rule_get(RULE_UNORDERED);
	out->severity = out->rule->severity;
	out->missed = second;
	out->source = first;
	out->flush = flush;
	return true;
}

/* What was read is admissible because the first copy of a write that was sent
 * again elsewhere may be executed at any time: it landed late, over newer data. */
static bool landed_late(const struct view *v, uint64_t value, struct verdict *out)
{
	const struct candidate *copy = NULL;

	for (unsigned i = 0; i < v->n; i++)
		if (v->admissible[i] && shows(&v->c[i], value) && v->c[i].op->reissue_told)
			copy = &v->c[i];
	if (!copy)
		return false;
	for (unsigned j = 0; j < v->n; j++) {
		if (!v->est[j] || !v->c[j].full || v->c[j].any ||
		    v->c[j].op->serial < copy->op->serial)
			continue;
		if (out->missed && out->missed->serial > v->c[j].op->serial)
			continue;
		out->missed = shows(&v->c[j], value) ? NULL : v->c[j].op;
		out->flush = v->flush[j];
	}
	if (!out->missed)
		return false;
	out->rule = rule_get(RULE_REISSUED);
	out->severity = out->rule->severity;
	out->source = copy->op;
	return true;
}

/* Another connection's completed write was missed, which nothing forbids. */
static void missed_unflushed(const struct view *v, const struct nbds_op *r, uint64_t value,
			     struct verdict *out)
{
	const struct candidate *w = NULL, *old = NULL;

	for (unsigned i = 0; i < v->n; i++) {
		const struct candidate *k = &v->c[i];

		if (k->seen || !k->full || k->any || k->op->state != OP_OK || !k->op->proves ||
		    k->op->party->xport != r->party->xport || !op_before(k->op, r))
			continue;
		if (!w || k->op->serial > w->op->serial)
			w = k;
	}
	if (!w || shows(w, value) || w->op->party == r->party ||
	    w->op->party->xport != r->party->xport || !w->op->party->known || !r->party->known)
		return;
	for (unsigned i = 0; i < v->n; i++) {
		const struct candidate *k = &v->c[i];

		if (k->op == w->op)
			continue;
		/* what failed, or was never answered, may land at any time */
		if (!k->seen && (k->op->state != OP_OK || !op_before(k->op, w->op))) {
			/* concurrent with it, or later: an innocent source? */
			if (k->any || shows(k, value))
				return;
			continue;
		}
		if (shows(k, value) && op_before(k->op, w->op))
			old = k;
	}
	if (!old)
		return;
	out->rule = rule_get(party_mc(w->op->party) && party_mc(r->party)
				     ? RULE_STALE_UNFLUSHED
				     : RULE_STALE_NO_MULTI_CONN);
	out->severity = out->rule->severity;
	out->missed = w->op;
	out->source = old->op;
	/* one that is not proved to lie in between should be looked at all the same */
	out->flush = flush_close(w->op, r);
}

/* Two reads of one connection, one after the other, with the same writes in
 * force and nothing else possible, differ (V9). */
static bool unstable(const struct view *v, const struct nbds_op *r, const struct miss *m,
		     struct verdict *out)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->admissible[i] && !v->est[i])
			return false;
	for (unsigned s = 0; s < v->n; s++) {
		const struct nbds_op *before = v->c[s].op;
		bool same = true;

		if (!v->c[s].seen || before->type != NBD_CMD_READ || before->party != r->party ||
		    shows(&v->c[s], m->value) || !before->proves || !op_before(before, r))
			continue;
		/* what it showed has to be one of the outcomes too */
		same = false;
		for (unsigned i = 0; i < v->n && !same; i++)
			same = v->admissible[i] && !v->c[i].any && same_value(&v->c[i], &v->c[s]);
		/* the earlier reader's view, from the same candidates */
		for (unsigned i = 0; i < v->n && same; i++) {
			bool adm, est;

			if (v->c[i].seen)
				continue;
			est = established(v->c[i].op, before, &before->hi, NULL) != 0;
			adm = !point_before(r->world, &before->hi, &v->c[i].op->lo);
			for (unsigned j = 0; j < v->n && adm; j++)
				if (!v->c[j].seen && v->c[j].full &&
				    established(v->c[j].op, before, &before->hi, NULL) &&
				    superseded(&v->c[i], v->c[j].op))
					adm = false;
			same = adm == v->admissible[i] && (!adm || est);
		}
		if (!same)
			continue;
		out->result = JUDGE_WRONG;
		out->rule = rule_get(RULE_UNSTABLE_READ);
		out->severity = out->rule->severity;
		out->source = v->c[s].op;
		/* a write that is in force by its own connection alone is the weak point */
		bool own = false, lone = true;

		for (unsigned i = 0; i < v->n; i++) {
			bool weak = v->est[i] == EST_E1;

			if (!v->admissible[i])
				continue;
			lone &= !weak || v->c[i].op->serial >= m->lone_from;
			if (own > weak)
				continue;
			if (!out->missed || weak > own || v->c[i].op->serial > out->missed->serial)
				out->missed = v->c[i].op;
			own = weak;
		}
		if (!lone) {
			out->severity = NBDS_SUSPECT;
			out->lowered = another_wrote;
		}
		return true;
	}
	return false;
}

/* --- wrong --------------------------------------------------------------- */

/* A report of zeroes, or a read of some, on the reader's connection, with nothing
 * written that could lie between it and the read of other contents (V6). */
static bool said_zero(const struct view *v, uint64_t value, struct verdict *out)
{
	const struct nbds_op *r = v->reader;

	if (value == r->world->contents.zero_value || r->type != NBD_CMD_READ)
		return false;
	for (unsigned s = 0; s < v->n; s++) {
		struct nbds_op *o = v->c[s].op;
		bool between = false;

		if (!v->c[s].seen || o->type != NBD_CMD_BLOCK_STATUS || o->party != r->party ||
		    !op_before(o, r))
			continue;
		for (unsigned i = 0; i < v->n && !between; i++)
			between = !v->c[i].seen &&
				  (v->c[i].any || v->c[i].op->type == NBD_CMD_TRIM ||
				   shows(&v->c[i], value) || !v->est[i] ||
				   !established(v->c[i].op, o, &o->hi, NULL));
		if (between)
			continue;
		out->result = JUDGE_WRONG;
		out->rule = rule_get(RULE_ZERO_STATUS);
		out->severity = out->rule->severity;
		out->missed = o;
		return true;
	}
	return false;
}

/* No write to the sector was dropped. */
static bool all_known(const struct view *v)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->c[i].shadow)
			return false;
	return !v->base;
}

/* Was what the earlier reader saw the contents from before the capture? Had a
 * write, even of a part, been in force for it, that, or something unexplained, was
 * what it saw. */
static bool saw_initial(const struct view *v, unsigned s)
{
	const struct nbds_op *r = v->c[s].op;

	/* one that is not known any more may have been in force for it */
	if (!v->c[s].initial && !all_known(v))
		return false;
	for (unsigned i = 0; i < v->n; i++)
		if (!v->c[i].seen && established(v->c[i].op, r, &r->hi, NULL))
			return false;
	return true;
}

/* What was read is not admissible under trust t: find whose data it was, and
 * what should have been there. */
static void name_witnesses(const struct view *v, uint64_t value, const struct trust *t,
			   const struct weighing *o, struct verdict *out)
{
	unsigned source = v->n, missed = v->n;

	for (unsigned i = 0; i < v->n; i++) {
		bool old = false;

		if (!shows(&v->c[i], value) || o->admissible[i] ||
		    (v->c[i].seen &&
		     (v->c[i].op->type != NBD_CMD_READ ||
		      v->c[i].op->party->xport != v->reader->party->xport || !saw_initial(v, i))))
			continue;
		for (unsigned j = 0; j < v->n && !old; j++)
			old = in_force(v, j, t) &&
			      (v->c[i].seen ? op_before(v->c[i].op, v->c[j].op)
					    : superseded(&v->c[i], v->c[j].op));
		/* a write is a better witness than an earlier read, the newest the best */
		if (old && (source == v->n || (v->c[source].seen && !v->c[i].seen) ||
			    (v->c[source].seen == v->c[i].seen &&
			     v->c[i].op->serial > v->c[source].op->serial)))
			source = i;
	}
	for (unsigned j = 0; j < v->n; j++) {
		bool direct, best_direct;

		if (!in_force(v, j, t) || !o->admissible[j])
			continue;
		direct = source < v->n &&
			 (v->c[source].seen ? op_before(v->c[source].op, v->c[j].op)
					    : superseded(&v->c[source], v->c[j].op));
		best_direct = missed < v->n && source < v->n &&
			      (v->c[source].seen ? op_before(v->c[source].op, v->c[missed].op)
						 : superseded(&v->c[source], v->c[missed].op));
		if (missed == v->n || (direct && !best_direct) ||
		    (direct == best_direct && v->c[j].op->serial > v->c[missed].op->serial))
			missed = j;
	}
	out->source = source < v->n ? v->c[source].op : NULL;
	if (missed == v->n) /* superseded in a circle: cannot be, but never crash on it */
		return;
	out->missed = v->c[missed].op;
	out->flush = t->paths & EST_E3 && v->est[missed] & EST_E3 ? v->flush[missed] : NULL;
}

/* Any write of zeroes in force, where something else was read? */
static bool zeroes_missed(const struct view *v, uint64_t value, const struct trust *t,
			  const struct weighing *o, struct verdict *out)
{
	if (value == v->reader->world->contents.zero_value)
		return false;
	for (unsigned j = 0; j < v->n; j++) {
		if (in_force(v, j, t) && o->admissible[j] &&
		    v->c[j].op->type == NBD_CMD_WRITE_ZEROES) {
			out->missed = v->c[j].op;
			return true;
		}
	}
	return false;
}

/*
 * What was read is not admissible. The rule follows from the smallest set of
 * commands in force that still excludes it: what flushes made visible, then
 * FUA, then the connection's own writes, then what was before a reconnect.
 */
static void convict(const struct view *v, const struct miss *m, struct verdict *out)
{
	const struct {
		struct trust trust;
		enum nbds_rule_id rule;
		const char *lowered;
	} steps[] = {
		{{EST_E3, true, 0}, RULE_STALE_AFTER_FLUSH, NULL},
		{{EST_E3 | EST_E2, true, 0}, RULE_STALE_AFTER_FUA, NULL},
		{{EST_E3 | EST_E2 | EST_E1, true, m->lone_from}, RULE_STALE_OWN_WRITE, NULL},
		{{EST_E3 | EST_E2 | EST_E1, true, 0}, RULE_STALE_OWN_WRITE, another_wrote},
		{{EST_E3 | EST_E2 | EST_E1, false, 0},
		 RULE_LOST_AFTER_RECONNECT,
		 "every connection to the server had ended in between"},
	};
	const struct nbds_op *r = v->reader;
	enum nbds_rule_id rule = RULE_COUNT;
	struct weighing o;
	unsigned i;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		weigh(v, m->value, &steps[i].trust, &o);
		if (o.result == JUDGE_WRONG)
			break;
	}
	if (i == sizeof(steps) / sizeof(steps[0]))
		return;
	rule = steps[i].rule;
	out->result = JUDGE_WRONG;
	name_witnesses(v, m->value, &steps[i].trust, &o, out);
	if (!out->missed) {
		out->result = JUDGE_UNKNOWN;
		out->why = NBDS_UNCHECKED_ORDER;
		return;
	}
	if (rule == RULE_STALE_OWN_WRITE && zeroes_missed(v, m->value, &steps[i].trust, &o, out))
		rule = RULE_ZEROES_NOT_READ_BACK;
	out->severity = NBDS_VIOLATION;
	if (rule != RULE_LOST_AFTER_RECONNECT && r->world->parties.hears &&
	    !same_server(out->missed, r)) {
		out->waits = true;
		out->severity = NBDS_SUSPECT;
		out->lowered = "no connection shows that the server was not restarted in between";
	} else if (steps[i].lowered) {
		out->severity = NBDS_SUSPECT;
		out->lowered = steps[i].lowered;
	}
	if (!r->party->known && out->severity == NBDS_VIOLATION) {
		out->severity = NBDS_SUSPECT;
		out->lowered = "the capture lacks a part of the connection's handshake";
	}
	if (r->type == NBD_CMD_BLOCK_STATUS) {
		rule = RULE_ZERO_STATUS;
	} else if (!out->source) {
		rule = RULE_UNEXPLAINED;
		if (!r->world->config.exclusive)
			out->severity = NBDS_SUSPECT;
	}
	out->rule = rule_get(rule);
}

static void judge_view(struct view *v, const struct miss *m, struct verdict *out)
{
	const struct nbds_op *read = v->reader;
	struct weighing o;

	weigh(v, m->value, &trust_all, &o);
	memcpy(v->admissible, o.admissible, sizeof(v->admissible));
	out->result = o.result;
	out->why = o.why;
	out->waits = o.in_flight;
	out->values = o.values;
	out->all_established = o.all_established;
	out->initial = o.result == JUDGE_UNKNOWN && o.why == NBDS_UNCHECKED_UNKNOWN && all_known(v);
	if (o.result == JUDGE_WRONG) {
		convict(v, m, out);
		if (m->written_later && out->rule == rule_get(RULE_UNEXPLAINED))
			*out = (struct verdict){.result = JUDGE_UNKNOWN,
						.why = NBDS_UNCHECKED_ORDER};
		return;
	}
	if (o.result == JUDGE_UNKNOWN && o.why != NBDS_UNCHECKED_MIXED) {
		if (o.why == NBDS_UNCHECKED_UNKNOWN && !said_zero(v, m->value, out))
			missed_unflushed(v, read, m->value, out);
		return;
	}
	if (o.matched && o.values > 1 && o.all_established && read->type == NBD_CMD_READ &&
	    unstable(v, read, m, out))
		return;
	if (o.matched && !landed_late(v, m->value, out) && !unordered(v, m->value, out))
		missed_unflushed(v, read, m->value, out);
}

void judge_sector(struct nbds_op *read, const struct miss *m, bool final, struct verdict *out)
{
	struct nbds_world *w = read->world;
	struct view v;
	struct block *block;

	*out = (struct verdict){.result = JUDGE_UNKNOWN};
	if (w->blind) {
		out->why = NBDS_UNCHECKED_FORGOTTEN;
		return;
	}
	if (w->poisoned && m->hi.frame > w->poison.frame) {
		out->why = NBDS_UNCHECKED_GAP;
		return;
	}
	if (!read->proves) {
		out->why = NBDS_UNCHECKED_ILLEGAL;
		return;
	}
	v.final = final;
	v.n = 0;
	if (!contents_gather(w, m->sector, v.c, &v.n, &block)) {
		out->why = NBDS_UNCHECKED_FORGOTTEN;
		return;
	}
	v.base = block ? (block->based ? &block->base : NULL)
		       : (w->contents.forgot ? &w->contents.forgot_at : NULL);
	view_fill(&v, read, &m->hi);
	judge_view(&v, m, out);
	if (out->rule && !final)
		out->lone_from = lone_from(&v);
}
