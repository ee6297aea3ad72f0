/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Judging a sector of a read: is what it returned admissible, and if not, what
 * proves it?
 *
 * The sector is cut where any write begins or ends.  For each piece the definitions are
 * gone through: which writes are in force for the reader, on which grounds; which are
 * superseded by one of those; the others are admissible, and a byte may come from any of
 * them, since nothing is atomic.  What is not admissible is convicted by the smallest set
 * of grounds that still excludes it (the table in convict()): flushes, then FUA, then the
 * connection's own writes where nobody else wrote, then what is suspect at most.
 *
 * Bytes are compared where they are kept, else hashes of sectors: equal ones are taken for
 * equal contents, different ones differ for certain.  Where several writes are admissible
 * and the bytes of one are not kept, a mixture is only excluded by a sampled byte that none
 * of them has.
 */
#include <base/assert.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "kin.h"

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
	[NBDS_UNCHECKED_UNFLUSHED] = "unflushed-write",
	[NBDS_UNCHECKED_ORDER] = "order-not-trustworthy",
};

/* --- memory -------------------------------------------------------------- */

#define SCRATCH_EACH (4 * sizeof(unsigned) + sizeof(struct nbds_op *) + 6 * sizeof(bool))

bool scratch_room(struct nbds_world *w, size_t n)
{
	struct scratch *s = w->scratch;
	size_t room = s->room ? s->room : 16;
	uint8_t *at;

	if (n <= s->room)
		return true;
	while (room < n)
		room *= 2;
	at = world_alloc(w, room * SCRATCH_EACH);
	if (!at)
		return false;
	world_dealloc(w, s->memory, s->room * SCRATCH_EACH);
	s->memory = at;
	s->room = room;
	s->flush = (struct nbds_op **)(void *)at;
	at += room * sizeof(struct nbds_op *);
	s->reader = (unsigned *)(void *)at;
	s->paths = s->reader + room;
	s->force = s->paths + room;
	s->root = s->force + room;
	s->later = (bool *)(s->root + room);
	s->after = s->later + room;
	for (unsigned i = 0; i < 2; i++) {
		s->admissible[i] = s->after + room * (1 + i);
		s->in_force[i] = s->after + room * (3 + i);
	}
	return true;
}

void scratch_free(struct nbds_world *w)
{
	world_dealloc(w, w->scratch->memory, w->scratch->room * SCRATCH_EACH);
	*w->scratch = (struct scratch){0};
}

/* --- masks --------------------------------------------------------------- */

static void mask_range(struct mask *m, unsigned from, unsigned to)
{
	if (from == 0 && to == NBDS_SECTOR) {
		memset(m, 0xff, sizeof(*m));
		return;
	}
	memset(m, 0, sizeof(*m));
	for (unsigned i = from; i < to;) {
		if (i % 64 == 0 && to - i >= 64) {
			m->bits[i / 64] = UINT64_MAX;
			i += 64;
		} else {
			m->bits[i / 64] |= UINT64_C(1) << (i % 64);
			i++;
		}
	}
}

static void mask_or(struct mask *to, const struct mask *m)
{
	for (unsigned i = 0; i < NBDS_SECTOR / 64; i++)
		to->bits[i] |= m->bits[i];
}

static void mask_and(struct mask *to, const struct mask *m)
{
	for (unsigned i = 0; i < NBDS_SECTOR / 64; i++)
		to->bits[i] &= m->bits[i];
}

static void mask_without(struct mask *to, const struct mask *m)
{
	for (unsigned i = 0; i < NBDS_SECTOR / 64; i++)
		to->bits[i] &= ~m->bits[i];
}

static void mask_equal(struct mask *m, const uint8_t *a, const uint8_t *b, unsigned from,
		       unsigned to)
{
	if (a == b) { /* they are kept once */
		mask_range(m, from, to);
		return;
	}
	if (from == 0 && to == NBDS_SECTOR) {
		for (unsigned i = 0; i < NBDS_SECTOR / 64; i++)
			m->bits[i] = same_of_64(a + (size_t)64 * i, b + (size_t)64 * i);
		return;
	}
	memset(m, 0, sizeof(*m));
	for (unsigned i = from, n; i < to; i += n) {
		n = to - i >= 64 && i % 64 == 0 ? 64 : to - i >= 8 && i % 8 == 0 ? 8 : 1;
		m->bits[i / 64] |= (n == 64  ? same_of_64(a + (i - from), b + (i - from))
				    : n == 8 ? same_of_8(a + (i - from), b + (i - from))
					     : a[i - from] == b[i - from])
				   << (i % 64);
	}
}

/* --- at work ------------------------------------------------------------- */

#define PAIRS_MAX 48u /* candidates whose pairs are remembered */
/* In force, of many: so many of the newest are tried on each candidate. */
#define NEWEST_MAX 24u

/* What is found of all candidates for one piece, on some grounds. */
struct look {
	bool *admissible, *in_force;
	bool initial;
	bool judged; /* all sources are known */
	enum nbds_unchecked why;
	bool settles; /* not judged, as long as a command is in flight */
	/* of the bytes of the piece: */
	struct mask bad; /* none of the admissible has them */
	bool somewhere;  /* nor all the others, though it is not known which */
	bool mixed;      /* may be a mixture of what is not kept */
	bool matched;    /* one of the admissible is just this */
	unsigned values; /* different admissible contents, as far as that is known */
};

struct work {
	const struct view *v;
	const struct sample *s;
	const struct candidate *c;
	unsigned n;
	unsigned *paths; /* on which each is in force for the reader */
	struct nbds_op **flush;
	unsigned *root;    /* of those of a grave: the place of who stands for them, or NONE */
	bool *after;       /* provably began after the bytes were sent */
	unsigned from, to; /* the piece, of the sector */
	bool unsettled;    /* a piece is not judged as long as a command is in flight */
	bool unrooted;     /* who stands for some is not known */
	bool all_paths;    /* some rest on what is not sure */
	unsigned any_paths;
	bool plain; /* ... and nothing else differs from what is in the narrow sense */
	struct look base, step;
	struct mask skip; /* bytes of which something is said already */
	struct nbds_world *world;
	uint16_t *pairs; /* n times n, if these are not too many; else NULL */
};
#define PAIR_KNOWN 0x8000u
#define NONE       UINT_MAX

static bool covers(const struct work *k, unsigned i)
{
	return k->c[i].from <= k->from && k->c[i].to >= k->to;
}

/* Est(i, j), whatever it rests on: PATH_* bits. */
static unsigned pair(struct work *k, unsigned i, unsigned j)
{
	uint16_t *known = k->pairs ? &k->pairs[i * k->n + j] : NULL;
	const struct nbds_op *a = k->c[i].op, *b = k->c[j].op;
	unsigned paths;

	if (known && *known)
		return *known & ~PAIR_KNOWN;
	paths = paths_of(a, b, b->state == OP_OK ? &b->hi : NULL, false, NULL);
	if (known)
		*known = (uint16_t)(paths | PAIR_KNOWN);
	return paths;
}

static bool is_source(const struct candidate *c)
{
	return !c->seen && !c->hole;
}

/* The requests of a and b were made in this order. */
static bool requested_before(const struct nbds_op *a, const struct nbds_op *b)
{
	return a->party == b->party ? a->serial < b->serial
				    : point_before(a->world, &a->lo, &b->lo);
}

/* --- contents ------------------------------------------------------------ */

static bool same_value(uint64_t a, bool a_coarse, uint64_t b, bool b_coarse)
{
	if (a_coarse || b_coarse)
		return coarse_value(a) == coarse_value(b);
	return a == b;
}

static bool whole(const struct sample *s)
{
	return s->from == 0 && s->to == NBDS_SECTOR;
}

/* Where candidate i has the sample's bytes for certain, and where it may have them. True:
 * it is known byte by byte, or is just the same. */
static bool compare(const struct work *k, const struct candidate *c, struct mask *equal,
		    struct mask *maybe)
{
	const struct sample *s = k->s;
	struct mask piece;

	memset(maybe, 0, sizeof(*maybe));
	if (c->bytes && s->bytes) {
		mask_equal(equal, c->bytes + (k->from - c->from), s->bytes + (k->from - s->from),
			   k->from, k->to);
		return true;
	}
	memset(equal, 0, sizeof(*equal));
	mask_range(&piece, k->from, k->to);
	if (c->by) {
		if (c->found) {
			*equal = piece;
			return true;
		}
		if (!c->set || !s->bytes) {
			*maybe = piece;
			return false;
		}
		for (unsigned i = k->from; i < k->to; i++) {
			uint8_t byte = s->bytes[i - s->from];

			if (c->set->has[i][byte / 64] >> (byte % 64) & 1)
				equal->bits[i / 64] |= UINT64_C(1) << (i % 64);
		}
		return false;
	}
	if (c->valued && whole(s) && k->from == 0 && k->to == NBDS_SECTOR &&
	    same_value(c->value, c->coarse, s->value, false)) {
		*equal = piece;
		return true;
	}
	*maybe = piece;
	if (!s->bytes && !whole(s)) /* it has no value of its own */
		return false;
	for (unsigned i = 0; c->valued && i < (c->coarse ? 1u : SAMPLES); i++) {
		unsigned at = sample_at(i);
		uint64_t bit = UINT64_C(1) << (at % 64);
		uint8_t byte;

		if (at < k->from || at >= k->to)
			continue;
		byte = (uint8_t)(s->value >> (32 + 8 * i));
		if (s->bytes)
			byte = s->bytes[at - s->from];
		if (byte == (uint8_t)(c->value >> (32 + 8 * i)))
			continue;
		maybe->bits[at / 64] &= ~bit;
	}
	return false;
}

/* Which bytes of the piece are allowed by what look found. */
static void allow(struct work *k, struct look *l)
{
	struct mask equal = {{0}}, maybe = {{0}};
	const struct candidate *first = NULL;
	bool one = true;

	l->matched = l->mixed = l->somewhere = false;
	l->values = 0;
	for (unsigned i = 0; i < k->n; i++) {
		const struct candidate *c = &k->c[i];
		struct mask e, m;

		if (!l->admissible[i])
			continue;
		if (compare(k, c, &e, &m)) {
			struct mask rest;

			mask_range(&rest, k->from, k->to);
			mask_without(&rest, &e);
			l->matched |= !mask_any(&rest);
		}
		mask_or(&equal, &e);
		mask_or(&maybe, &m);
		if (c->by && !c->found)
			one = false;
		if (!first) {
			first = c;
			l->values = 1;
		} else if (c->by || first->by || !c->valued || !first->valued ||
			   !same_value(c->value, c->coarse, first->value, first->coarse)) {
			one = false;
			l->values = 2;
		}
	}
	mask_range(&l->bad, k->from, k->to);
	mask_without(&l->bad, &equal);
	mask_without(&maybe, &equal);
	if (!mask_any(&maybe))
		return;
	mask_without(&l->bad, &maybe);
	if (mask_any(&l->bad))
		return;
	/* of one contents alone it is known that it is not this, as a whole */
	if (one && first && first->valued && whole(k->s) && k->from == 0 && k->to == NBDS_SECTOR)
		l->somewhere = true;
	else
		l->mixed = true;
}

/* Bytes of the piece that are excluded, but for those of which something is said already. */
static bool excludes_more(const struct work *k, const struct look *l, struct mask *bad)
{
	*bad = l->bad;
	if (!mask_any(bad) && l->somewhere)
		mask_range(bad, k->from, k->to);
	mask_without(bad, &k->skip);
	return l->judged && mask_any(bad);
}

static bool excludes(const struct look *l)
{
	return l->judged && (mask_any(&l->bad) || l->somewhere);
}

/* --- Adm ----------------------------------------------------------------- */

static bool lone(const struct work *k, unsigned j, uint64_t lone_from)
{
	return k->c[j].op->serial >= lone_from;
}

/* Is i superseded, on a ground of `sup`, by one of the n candidates j[], which are in
 * force, the newest first? */
static bool superseded(struct work *k, unsigned i, const unsigned *j, unsigned n, unsigned sup)
{
	unsigned tried = 0;

	for (unsigned m = 0; m < n; m++) {
		const struct nbds_op *by = k->c[j[m]].op;

		if (k->c[i].op == by)
			continue;
		/* of many the newest ones do, and the newest of its own connection */
		if (tried >= NEWEST_MAX && n > 2 * NEWEST_MAX &&
		    (!k->c[i].op || k->c[i].op->party != by->party))
			continue;
		tried++;
		if (pair(k, i, j[m]) & sup)
			return true;
	}
	return false;
}

/* Why is what was there before a base not known? */
static enum nbds_unchecked forgotten(const struct nbds_world *w)
{
	return w->order->margins && !w->stats.forgotten && !w->stats.pruned
		       ? NBDS_UNCHECKED_ORDER
		       : NBDS_UNCHECKED_FORGOTTEN;
}

/* Nothing is in force: was nothing written before, or why does that not count? */
static enum nbds_unchecked before_writes(const struct work *k, const bool *after)
{
	enum nbds_unchecked why = NBDS_UNCHECKED_UNKNOWN;

	for (unsigned i = 0; i < k->n; i++) {
		const struct candidate *c = &k->c[i];

		if (!c->op || c->seen || c->hole || after[i] || !covers(k, i) ||
		    c->op->state != OP_OK || !op_before(c->op, k->s->read))
			continue;
		if (voided(c->op, NULL))
			return NBDS_UNCHECKED_VOIDED;
		why = NBDS_UNCHECKED_UNFLUSHED;
	}
	return why;
}

/* Is candidate i, of a grave, superseded? If and only if who stands for it is in force, or is
 * that itself. */
static bool stands(const struct work *k, unsigned i, const bool *after, const struct look *l)
{
	unsigned by = k->root[i];

	/* for a reader from before that one came, nothing is known */
	return by != NONE && !after[by] && (l->in_force[by] || !l->admissible[by]);
}

/*
 * Adm(x,R) for the piece, if a write is in force on a ground of `mask` only (on E1 only
 * from serial `lone_from` on), and superseded on a ground of `sup`.
 */
static void look(struct work *k, const unsigned *paths, const bool *after, unsigned mask,
		 unsigned sup, uint64_t lone_from, struct look *l)
{
	unsigned *force = k->world->scratch->force, n = 0;
	bool renewal = !k->v->base;

	l->initial = true;
	l->judged = true;
	l->settles = false;
	l->why = NBDS_UNCHECKED_UNKNOWN;
	for (unsigned i = k->n; i > 0; i--) { /* the list is older ones first */
		const struct candidate *c = &k->c[i - 1];
		unsigned p;

		l->in_force[i - 1] = false;
		if (!c->establishes || !covers(k, i - 1))
			continue;
		p = paths[i - 1] & mask;
		if (p == PATH_E1 && !lone(k, i - 1, lone_from))
			p = 0;
		if (!p)
			continue;
		l->in_force[i - 1] = true;
		l->initial = false;
		force[n++] = i - 1;
		renewal = renewal || renewed(k->s->read->party, k->v->base, c->op);
	}
	if (l->initial || !renewal) {
		l->judged = false;
		l->why = k->v->base || k->v->shadow    ? forgotten(k->world)
			 : l->initial && l != &k->step ? before_writes(k, after)
						       : NBDS_UNCHECKED_UNKNOWN;
	} else if (k->v->shadow || k->unrooted) {
		l->judged = false;
		l->why = NBDS_UNCHECKED_FORGOTTEN;
	}
	/* of a step, nothing else is asked for then */
	if (!l->judged && l == &k->step)
		return;
	/* those of graves, which come first in the list, last: they go by who stands for them */
	for (unsigned n_to_go = k->n; n_to_go > 0; n_to_go--) {
		unsigned i = n_to_go - 1;
		const struct candidate *c = &k->c[i];
		const struct nbds_op *op = c->op;

		l->admissible[i] = false;
		if (c->seen || !covers(k, i) || after[i])
			continue;
		if (c->hole) {
			bool over = false;

			for (unsigned m = 0; m < n && !over; m++) {
				const struct nbds_op *by = k->c[force[m]].op;

				/* what a report says was so before it was sent */
				over = op_before(op, by) ||
				       (op->type == NBD_CMD_BLOCK_STATUS &&
					point_before(k->world, &c->hi, &by->lo));
			}
			if (!over) {
				l->judged = false;
				l->why = (enum nbds_unchecked)c->why;
			}
			continue;
		}
		if (c->damage) { /* for ever */
			l->judged = false;
			l->why = (enum nbds_unchecked)c->why;
			continue;
		}
		if (c->by ? stands(k, i, after, l) : superseded(k, i, force, n, sup))
			continue;
		l->admissible[i] = true;
		if (c->any) {
			l->judged = false;
			l->why = (enum nbds_unchecked)c->why;
		} else if (op && op->state == OP_FLIGHT && !op->early) {
			/* it is hoped to succeed, but for the final word: when it fails, if
			 * it does, is not known yet */
			l->settles = true;
			if (k->v->final) {
				l->judged = false;
				l->why = NBDS_UNCHECKED_FAILED_WRITE;
			}
		} else if (op && ((op->state != OP_OK && !op->early) || !op->proves)) {
			/* What a failed write leaves is anything, until an established
			 * write that began after it.  One that was not answered may have
			 * failed, with its error lost: there one that was requested after
			 * it does. */
			bool over = false;

			for (unsigned m = 0; m < n && !over; m++) {
				const struct nbds_op *by = k->c[force[m]].op;

				over = op->state == OP_FAILED || op->state == OP_OK
					       ? op_before(op, by)
					       : requested_before(op, by);
			}
			if (!over) {
				l->judged = false;
				l->why = NBDS_UNCHECKED_FAILED_WRITE;
			}
		}
	}
	if (l->judged)
		allow(k, l);
}

/* --- combining ----------------------------------------------------------- */

/* The order in which what is found of a read is told: a level's rules, first ones first. */
static const uint8_t violations_first[] = {
	RULE_STALE_AFTER_FLUSH, RULE_STALE_AFTER_FUA, RULE_ZEROES_NOT_READ_BACK,
	RULE_STALE_OWN_WRITE,   RULE_UNSTABLE_READ,   RULE_ZERO_STATUS,
	RULE_UNEXPLAINED,
};
static const uint8_t suspects_first[] = {
	RULE_LOST_AFTER_RECONNECT, RULE_STALE_AFTER_FLUSH, RULE_STALE_AFTER_FUA,
	RULE_ZEROES_NOT_READ_BACK, RULE_STALE_OWN_WRITE,   RULE_UNSTABLE_READ,
	RULE_ZERO_STATUS,          RULE_UNORDERED,         RULE_UNEXPLAINED,
};

unsigned verdict_rank(const struct nbds_rule *rule, enum nbds_severity severity)
{
	bool suspect = severity == NBDS_SUSPECT;
	const uint8_t *list = suspect ? suspects_first : violations_first;
	size_t n = suspect ? sizeof(suspects_first) : sizeof(violations_first);
	unsigned id = (unsigned)(rule - nbds_rules), place = 0;

	while (place < n && list[place] != id)
		place++;
	return (NBDS_VIOLATION - severity) * 100u + (place == n ? 50 + id : place);
}

/* At the level that the rule has where these conditions are not met, nor those around. */
static void find(const struct work *k, struct verdict *out, enum nbds_rule_id rule,
		 enum nbds_severity severity, unsigned broken)
{
	const struct nbds_op *r = k->s->read;
	const char *why;

	/* for the others nobody need be alone */
	if (severity == NBDS_VIOLATION)
		broken |= k->v->around & ~(unsigned)BROKEN_WRITER;
	if ((broken & BROKEN_FACE) && out->has_since &&
	    !face_changed(k->world, r->party->xport, &out->since, &k->s->hi))
		broken &= ~(unsigned)BROKEN_FACE;
	out->rule = rule_get(rule);
	out->broken = broken;
	out->severity = precondition_level(rule, severity, broken, &why);
	out->result = JUDGE_WRONG;
	out->without = out->foreign ? UINT_MAX : verdict_rank(out->rule, out->severity);
}

/* Adds what was found of a piece to what was found of the sector. */
static void combine(struct verdict *out, const struct verdict *piece)
{
	bool waits = out->waits || piece->waits, initial = out->initial, wholly = out->wholly;
	unsigned without = out->without < piece->without ? out->without : piece->without;

	/* a sector is foreign if any of its bytes is */
	if (piece->rule &&
	    (!out->rule || (piece->foreign && !out->foreign) ||
	     (piece->foreign == out->foreign && verdict_rank(piece->rule, piece->severity) <
							verdict_rank(out->rule, out->severity)))) {
		bool remember = out->remember;

		*out = *piece;
		out->remember |= remember;
	} else if (piece->rule && piece->rule == out->rule && piece->severity == out->severity &&
		   piece->missed && (!out->missed || piece->missed->serial > out->missed->serial)) {
		out->missed = piece->missed;
		out->flush = piece->flush;
		out->source = piece->source;
		out->old = piece->old;
	}
	out->waits = waits;
	out->initial = initial;
	out->wholly = wholly;
	out->without = without;
}

/* --- wrong --------------------------------------------------------------- */

/* No write to the sector was forgotten, or is known by its value alone. */
static bool all_known(const struct work *k)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->c[i].by)
			return false;
	return !k->v->shadow && !k->v->base;
}

/* No write of the export was completed before r, as far as that is known. */
static bool is_initial(const struct work *k, const struct nbds_op *r)
{
	if (k->v->shadow || k->v->base)
		return false;
	for (unsigned i = 0; i < k->n; i++) {
		const struct candidate *c = &k->c[i];

		/* what is buried was completed before the one that stands for it */
		if (c->by ? c->by->party->xport == r->party->xport
			  : c->establishes && covers(k, i) && c->op->state == OP_OK &&
				    c->op->proves && op_before(c->op, r) &&
				    c->op->party->xport == r->party->xport)
			return false;
	}
	return true;
}

/* Was what the earlier reader saw the contents from before the capture? Had a write been
 * completed by anyone before, in force or not, that, or something unexplained, was what it
 * saw. */
static bool saw_initial(const struct work *k, unsigned s)
{
	struct mask range, old;

	if (k->c[s].initial)
		return true;
	/* as it was known then: what was buried since is not known to be later */
	if (piece_old(k->c[s].piece, &old)) {
		mask_range(&range, k->from, k->to);
		mask_without(&range, &old);
		if (!mask_any(&range))
			return true;
	}
	return is_initial(k, k->c[s].op);
}

/* A read of the export, over before some write in force began, that showed what was there
 * before the capture. */
static bool is_learned(const struct work *k, unsigned i, const struct look *l)
{
	const struct candidate *c = &k->c[i];

	if (!c->seen || c->op->type != NBD_CMD_READ || !covers(k, i) || c->op->state != OP_OK ||
	    !c->op->proves || c->op->party->xport != k->s->read->party->xport)
		return false;
	for (unsigned j = 0; j < k->n; j++)
		if (l->in_force[j] && op_before(c->op, k->c[j].op))
			return saw_initial(k, i);
	return false;
}

static unsigned mask_count(const struct mask *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NBDS_SECTOR / 64; i++)
		n += m->bits[i] == UINT64_MAX ? 64
		     : m->bits[i]             ? (unsigned)__builtin_popcountll(m->bits[i])
					      : 0;
	return n;
}

/*
 * Whose data are the bytes `bad`? What is left in it after this is nobody's.  Of those who
 * explain any of it the write is named that explains most, since a byte or two may be alike
 * by chance, and of several the newest; or else a read.
 */
static void name_source(const struct work *k, const struct look *l, struct mask *bad,
			struct verdict *out)
{
	struct mask left = *bad;
	unsigned most = 0, all = mask_count(bad);

	for (unsigned pass = 0; pass < 2; pass++) {
		for (unsigned i = k->n; i > 0 && (mask_any(&left) || (pass == 0 && most < all));
		     i--) {
			const struct candidate *c = &k->c[i - 1];
			struct mask equal, maybe;
			unsigned alike;

			if (!covers(k, i - 1) || k->after[i - 1] || c->any ||
			    (pass == 0 ? !is_source(c) || c->damage || l->admissible[i - 1]
				       : !is_learned(k, i - 1, l)))
				continue;
			compare(k, c, &equal, &maybe);
			mask_and(&equal, bad);
			alike = mask_count(&equal);
			mask_without(&left, &equal);
			/* bytes of several old ones name nobody */
			if (!alike || (c->by && !c->found) ||
			    (pass == 1 && (out->source || out->old.frame)))
				continue;
			if (alike < most ||
			    (alike == most &&
			     !(c->by && c->was.frame > out->old.frame && !out->source)))
				continue;
			most = alike;
			out->source = c->by ? NULL : c->op;
			out->old = c->by ? c->was : (struct old_write){0};
		}
	}
	*bad = left;
}

/* The newest of the writes that were missed. */
static void name_missed(const struct work *k, const struct look *l, unsigned without,
			struct verdict *out)
{
	for (unsigned i = 0; i < k->n; i++) {
		struct nbds_op *op = k->c[i].op;

		if (!l->in_force[i] || !l->admissible[i] || (without && (k->paths[i] & without)))
			continue;
		if (out->missed && out->missed->serial > op->serial)
			continue;
		out->missed = op;
		out->flush = k->flush[i];
	}
}

/* One of the writes that were missed, of this kind, which no other of them came after. */
static struct nbds_op *missed_zeroes(const struct work *k, const struct look *l)
{
	struct nbds_op *zeroes = NULL;

	for (unsigned i = 0; i < k->n; i++)
		if (l->in_force[i] && l->admissible[i] &&
		    k->c[i].op->type == NBD_CMD_WRITE_ZEROES &&
		    (!zeroes || k->c[i].op->serial > zeroes->serial))
			zeroes = k->c[i].op;
	return zeroes;
}

static bool sample_is_zero(const struct work *k)
{
	if (!k->s->bytes)
		return k->s->value == k->world->zero_value;
	for (unsigned i = k->from; i < k->to; i++)
		if (k->s->bytes[i - k->s->from])
			return false;
	return true;
}

/* Takes out bytes that commands which came after the read wrote just so. */
static void without_later(const struct work *k, struct mask *foreign)
{
	for (unsigned i = 0; i < k->n; i++) {
		const struct candidate *c = &k->c[i];
		struct mask equal, maybe;

		if (!k->after[i] || !covers(k, i) || !is_source(c) || c->any || c->damage)
			continue;
		compare(k, c, &equal, &maybe);
		mask_without(foreign, &equal);
	}
}

struct step {
	unsigned mask, sup;
	bool g10;
	enum nbds_rule_id rule;
	enum nbds_severity severity;
};

#define FLUSHED (PATH_E3 | PATH_UNSURE3 | PATH_BREACH3 | PATH_AGAIN)
/* What is trusted, the least first: the first that excludes what was read convicts. */
static const struct step steps[] = {
	{PATH_E3, PATH_SURE, false, RULE_STALE_AFTER_FLUSH, NBDS_VIOLATION},
	{PATH_E3 | PATH_E2, PATH_SURE, false, RULE_STALE_AFTER_FUA, NBDS_VIOLATION},
	{PATH_E3 | PATH_E2 | PATH_E1, PATH_SURE, true, RULE_STALE_OWN_WRITE, NBDS_VIOLATION},
	{PATH_E3 | PATH_E2 | PATH_ACROSS, PATH_SURE, false, RULE_LOST_AFTER_RECONNECT,
	 NBDS_SUSPECT},
	{FLUSHED, PATH_ALL, false, RULE_STALE_AFTER_FLUSH, NBDS_SUSPECT},
	{FLUSHED | PATH_E2 | PATH_UNSURE2 | PATH_BREACH2, PATH_ALL, false, RULE_STALE_AFTER_FUA,
	 NBDS_SUSPECT},
	{PATH_ALL, PATH_ALL, false, RULE_STALE_OWN_WRITE, NBDS_SUSPECT},
};

/* The conditions that this step does not ask for. */
static unsigned broken_by(const struct work *k, const struct step *step, const struct verdict *out)
{
	unsigned paths = 0, broken = 0;

	if (step->severity == NBDS_VIOLATION)
		return 0;
	if (step->rule == RULE_LOST_AFTER_RECONNECT)
		return BROKEN_ENDED;
	for (unsigned i = 0; i < k->n; i++)
		if (k->c[i].op == out->missed)
			paths |= k->paths[i] & step->mask;
	if (paths & PATH_AGAIN)
		broken |= BROKEN_FAILED;
	if (paths & PATH_BREACH)
		broken |= BROKEN_BREACH;
	if (paths & (PATH_UNSURE2 | PATH_UNSURE3))
		broken |= BROKEN_SERVER;
	/* else it is not who is in force, but who superseded whom */
	return broken ? broken : step->rule == RULE_STALE_OWN_WRITE ? BROKEN_WRITER : BROKEN_FAILED;
}

/* Are all that are in force for the reader so on the grounds that are trusted from the
 * serial on? */
static bool all_lone(const struct work *k)
{
	for (unsigned i = 0; i < k->n; i++)
		if (k->base.in_force[i] && !(k->paths[i] & PATH_SHARED) &&
		    !lone(k, i, k->s->lone_from))
			return false;
	return true;
}

/* What is found on all grounds, where this step has the same. */
static struct look *as_known(struct work *k, const struct step *step)
{
	if (!k->plain || !(step->mask & PATH_E1) || (step->g10 && !all_lone(k)))
		return NULL;
	return &k->base;
}

/* Excluded whatever is trusted: by what least? What is so excluded is put into *done. */
static void convict(struct work *k, struct verdict *out, struct mask *done)
{
	bool status = k->s->read->type == NBD_CMD_BLOCK_STATUS;

	memset(done, 0, sizeof(*done));
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		const struct step *step = &steps[i];
		struct verdict one = {.without = UINT_MAX};
		struct look *l;
		struct mask bad, foreign;
		struct nbds_op *zeroes;
		enum nbds_rule_id rule = step->rule;
		unsigned broken;

		if (i > 3 && !k->all_paths && step->rule != RULE_STALE_OWN_WRITE)
			continue;
		if (!(k->any_paths & step->mask))
			continue; /* nothing is in force: it judges nothing */
		l = as_known(k, step);
		if (!l) {
			l = &k->step;
			look(k, k->paths, k->after, step->mask, step->sup,
			     step->g10 ? k->s->lone_from : 0, l);
		}
		if (!excludes(l))
			continue;
		bad = l->bad;
		if (!mask_any(&bad))
			mask_range(&bad, k->from, k->to); /* somewhere in it */
		mask_without(&bad, done);
		if (!mask_any(&bad))
			continue;
		mask_or(done, &bad);
		name_missed(k, l, 0, &one);
		if (!one.missed) /* superseded in a circle: cannot be, but never crash on it */
			continue;
		foreign = bad;
		broken = broken_by(k, step, &one);
		one.waits = (broken & BROKEN_SERVER) != 0;
		if (status) {
			find(k, &one, RULE_ZERO_STATUS, step->severity, broken);
			combine(out, &one);
			continue;
		}
		name_source(k, l, &foreign, &one);
		zeroes = rule == RULE_STALE_OWN_WRITE && !sample_is_zero(k) ? missed_zeroes(k, l)
									    : NULL;
		if (zeroes) {
			rule = RULE_ZEROES_NOT_READ_BACK;
			if (!op_before(zeroes, one.missed))
				one.missed = zeroes;
		}
		if (!(step->mask & PATH_E3))
			one.flush = NULL;
		if (mask_any(&foreign)) {
			struct verdict nowhere = one;
			struct mask stale = bad;

			mask_without(&stale, &foreign);
			/* what was written just so afterwards is no verdict */
			if (k->s->later)
				mask_without(&foreign, k->s->later);
			without_later(k, &foreign);
			if (mask_any(&foreign)) {
				struct verdict old = one;

				find(k, &old, rule, step->severity, broken);
				nowhere.source = NULL;
				nowhere.old.frame = 0;
				nowhere.foreign = true;
				find(k, &nowhere, RULE_UNEXPLAINED,
				     k->world->config.exclusive ? step->severity : NBDS_SUSPECT,
				     broken);
				if (mask_any(&stale))
					nowhere.without = old.without;
				combine(out, &nowhere);
				continue;
			}
			if (!mask_any(&stale) || l->somewhere)
				continue;
		}
		find(k, &one, rule, step->severity, broken);
		combine(out, &one);
	}
}

/* --- changed its mind ---------------------------------------------------- */

/* A write that is in force on a ground that needs no lone writer, or by one that does and
 * there is none else. */
static bool sure(const struct work *k, unsigned paths, unsigned i, uint64_t lone_from)
{
	return (paths & PATH_SHARED) || lone(k, i, lone_from);
}

/* An earlier read of the connection with the same choice chose otherwise (V9); block status
 * said zero with the same choice (V6). */
static void unstable(struct work *k, struct verdict *out)
{
	const struct nbds_op *r = k->s->read;
	const struct look *now = &k->base;
	unsigned *paths = k->world->scratch->paths;
	bool *after = k->world->scratch->after;

	if (!now->judged || now->values < 2)
		return;
	for (unsigned i = 0; i < k->n; i++)
		if (now->admissible[i] && (k->c[i].by || !(k->paths[i] & PATH_SURE)))
			return;
	for (unsigned s = k->n; s > 0; s--) {
		const struct candidate *seen = &k->c[s - 1];
		const struct nbds_op *before = seen->op;
		struct verdict one = {.without = UINT_MAX};
		struct look *then = &k->step;
		bool same = true, status = seen->seen && before->type == NBD_CMD_BLOCK_STATUS;
		struct sample shown;
		struct work other;
		unsigned broken;

		if (!seen->seen || before->party != r->party || before->state != OP_OK ||
		    !before->proves || !covers(k, s - 1) || !op_before(before, r))
			continue;
		if (seen->bytes && k->s->bytes) {
			if (memcmp(seen->bytes + (k->from - seen->from),
				   k->s->bytes + (k->from - k->s->from), k->to - k->from) == 0)
				continue;
		} else if (!seen->valued || !whole(k->s) ||
			   same_value(seen->value, seen->coarse, k->s->value, false)) {
			continue;
		}
		for (unsigned i = 0; i < k->n; i++) {
			const struct nbds_op *op = k->c[i].op;

			paths[i] = k->c[i].establishes && !k->c[i].by
					   ? paths_of(op, before, &seen->hi, false, NULL)
					   : 0;
			after[i] = op && (point_before(k->world, &seen->hi, &op->lo) ||
					  op_before(before, op));
		}
		shown = (struct sample){.read = before,
					.sector = k->s->sector,
					.value = seen->value,
					.bytes = seen->bytes,
					.from = seen->from,
					.to = seen->to,
					.hi = seen->hi};
		other = *k;
		other.s = &shown;
		look(&other, paths, after, PATH_SURE, PATH_SURE, 0, then);
		/* where it differs, what it showed has to be one of the outcomes too */
		if (!then->judged)
			continue;
		if (seen->bytes && k->s->bytes) {
			struct mask differ, equal;

			mask_equal(&equal, seen->bytes + (k->from - seen->from),
				   k->s->bytes + (k->from - k->s->from), k->from, k->to);
			mask_range(&differ, k->from, k->to);
			mask_without(&differ, &equal);
			mask_without(&differ, &then->bad);
			mask_without(&differ, &now->bad);
			if (!mask_any(&differ) || then->mixed || now->mixed)
				continue;
		} else if (!then->matched || !now->matched) {
			continue;
		}
		/* what was buried since may have been a choice for it */
		for (unsigned i = 0; i < k->n && same; i++)
			same = then->admissible[i] == now->admissible[i] &&
			       (!now->admissible[i] || (paths[i] & PATH_SURE));
		if (!same)
			continue;
		broken = 0;
		/* G10, for both: what only a flush between them settled was open at first */
		for (unsigned i = 0; i < k->n && same; i++) {
			if (!now->admissible[i])
				continue;
			if (!sure(k, k->paths[i], i, k->s->lone_from)) {
				broken |= BROKEN_WRITER;
			} else if (!sure(k, paths[i], i, seen->lone_from) ||
				   /* what another port wrote is asked of this read later */
				   (!(paths[i] & PATH_SHARED) && (k->paths[i] & PATH_SHARED) &&
				    kin_wrote_any(before, &seen->hi))) {
				same = false;
			}
		}
		if (!same)
			continue;
		one.source = seen->op;
		for (unsigned i = 0; i < k->n; i++) {
			if (!now->admissible[i])
				continue;
			one.parted |= k->c[i].op->epoch != r->epoch;
			if (!one.missed || k->c[i].op->serial > one.missed->serial)
				one.missed = k->c[i].op;
		}
		one.since = before->lo;
		one.has_since = true;
		find(k, &one, status ? RULE_ZERO_STATUS : RULE_UNSTABLE_READ, NBDS_VIOLATION,
		     broken);
		combine(out, &one);
		if (out->severity == NBDS_VIOLATION)
			return;
	}
}

/* What block status said zero of, where nothing was ever written, is not zero (V6). */
static void not_zero(const struct work *k, struct verdict *out)
{
	struct verdict one = {.without = UINT_MAX};

	if (!all_known(k) || k->s->read->type != NBD_CMD_READ || sample_is_zero(k))
		return;
	for (unsigned i = 0; i < k->n; i++) {
		const struct candidate *c = &k->c[i];

		if (!covers(k, i) && !(is_source(c) && c->from < k->to && c->to > k->from))
			continue;
		if (k->after[i])
			continue;
		if (!c->seen)
			return;
		if (c->op->type == NBD_CMD_BLOCK_STATUS && c->op->state == OP_OK && c->op->proves &&
		    c->op->party == k->s->read->party && op_before(c->op, k->s->read))
			one.missed = c->op;
	}
	if (!one.missed)
		return;
	find(k, &one, RULE_ZERO_STATUS, NBDS_VIOLATION, 0);
	combine(out, &one);
}

/* --- legal, and dangerous ------------------------------------------------ */

/* Had completed writes of different connections come out in the order in which they were
 * done, what was read would be excluded by those in force (Q6). */
static void unordered(struct work *k, struct verdict *out)
{
	struct verdict one = {.without = UINT_MAX};
	struct look *l = &k->step;
	struct mask bad;

	look(k, k->paths, k->after, PATH_SURE, PATH_SURE | PATH_PLAIN_MC, 0, l);
	if (!excludes_more(k, l, &bad))
		return;
	name_missed(k, l, 0, &one);
	if (!one.missed)
		return;
	find(k, &one, RULE_UNORDERED, NBDS_SUSPECT, 0);
	name_source(k, l, &bad, &one);
	combine(out, &one);
}

/* What was read is admissible because the first copy of a write that was sent again
 * elsewhere may be executed at any time: it landed late, over newer data. */
static void landed_late(const struct work *k, struct verdict *out)
{
	const struct candidate *copy = NULL;
	struct verdict one = {.without = UINT_MAX};

	for (unsigned i = 0; i < k->n; i++) {
		struct mask equal, maybe;

		if (!k->base.admissible[i] || !k->c[i].op || !k->c[i].op->reissue_told)
			continue;
		compare(k, &k->c[i], &equal, &maybe);
		if (mask_any(&equal))
			copy = &k->c[i];
	}
	if (!copy)
		return;
	NBDS_ASSERT(copy->op);
	for (unsigned j = 0; j < k->n; j++) {
		struct mask equal, maybe, all;

		/* what establishes contents, and is not in the grave, is a command */
		NBDS_ASSERT(!k->c[j].establishes || k->c[j].by || k->c[j].op);

		if (!(k->paths[j] & PATH_SURE) || !k->c[j].establishes || k->c[j].by ||
		    !covers(k, j) || k->c[j].op->serial < copy->op->serial)
			continue;
		if (one.missed && one.missed->serial > k->c[j].op->serial)
			continue;
		compare(k, &k->c[j], &equal, &maybe);
		mask_range(&all, k->from, k->to);
		mask_without(&all, &equal);
		one.missed = mask_any(&all) ? k->c[j].op : NULL;
		one.flush = k->flush[j];
	}
	if (!one.missed)
		return;
	find(k, &one, RULE_REISSUED, rule_get(RULE_REISSUED)->severity, 0);
	one.source = copy->op;
	combine(out, &one);
}

/* Had completed writes been in force for everyone at once, it would be excluded: another
 * connection's was missed, which nothing forbids. */
static void missed_others(struct work *k, struct verdict *out)
{
	const struct nbds_op *r = k->s->read;
	struct look *l = &k->step;
	struct mask all, bad;

	if (!r->party->known)
		return;
	look(k, k->paths, k->after, PATH_SURE | PATH_PLAIN, PATH_SURE | PATH_PLAIN_ANY, 0, l);
	if (!excludes_more(k, l, &all))
		return;
	for (int multi = 1; multi >= 0; multi--) {
		struct verdict one = {.without = UINT_MAX};

		for (unsigned i = 0; i < k->n; i++) {
			struct nbds_op *op = k->c[i].op;

			/* what is in flight may fail, so that it is not in force any more */
			if (!l->in_force[i] || !l->admissible[i] ||
			    ((k->paths[i] & PATH_SURE) && (k->v->final || !may_be_voided(op))) ||
			    op->party == r->party || !op->party->known ||
			    both_mc(op->party, r->party) != (bool)multi)
				continue;
			if (!one.missed || op->serial > one.missed->serial)
				one.missed = op;
		}
		if (!one.missed)
			continue;
		find(k, &one, multi ? RULE_STALE_UNFLUSHED : RULE_STALE_NO_MULTI_CONN, NBDS_HAZARD,
		     0);
		bad = all;
		name_source(k, l, &bad, &one);
		/* one that is not proved to lie in between should be looked at all the same */
		one.flush = multi ? flush_close(one.missed, r) : NULL;
		combine(out, &one);
	}
}

/* --- a sector ------------------------------------------------------------ */

static void judge_piece(struct work *k, struct verdict *out, bool *judged, enum nbds_unchecked *why)
{
	struct verdict piece = {.without = UINT_MAX};
	struct mask done;
	bool status = k->s->read->type == NBD_CMD_BLOCK_STATUS;

	look(k, k->paths, k->after, PATH_SURE, PATH_SURE, 0, &k->base);
	out->settles |= k->base.settles;
	k->unsettled |= k->base.settles && !k->base.judged;
	if (k->base.judged && !(k->base.mixed && !mask_any(&k->base.bad)))
		*judged = true;
	else if (k->base.judged)
		*why = NBDS_UNCHECKED_MIXED;
	else
		*why = k->base.why;
	if (k->base.initial && !k->base.judged && is_initial(k, k->s->read)) {
		struct mask range;

		out->initial = true;
		mask_range(&range, k->from, k->to);
		if (k->s->old)
			mask_or(k->s->old, &range);
	} else {
		out->wholly = false;
	}
	/* one of several outcomes, all in force: it has to stay */
	if (k->base.judged && k->base.values > 1) {
		bool all = true;

		for (unsigned i = 0; i < k->n && all; i++)
			all = !k->base.admissible[i] || (!k->c[i].by && (k->paths[i] & PATH_SURE));
		out->remember |= all;
	}
	convict(k, &piece, &done);
	combine(out, &piece);
	memset(&k->skip, 0, sizeof(k->skip));
	if (excludes(&k->base)) {
		k->skip = k->base.bad;
		if (k->base.somewhere && !mask_any(&k->base.bad))
			mask_range(&k->skip, k->from, k->to);
		if (!piece.rule) {
			*judged = false;
			*why = NBDS_UNCHECKED_ORDER;
		}
	}
	/* bytes beside those that are wrong may have changed their mind; all else is told
	 * after what is wrong outright */
	if (piece.rule) {
		if (!status)
			unstable(k, &piece);
		combine(out, &piece);
		return;
	}
	if (!status) {
		not_zero(k, &piece);
		unstable(k, &piece);
	}
	if (!piece.rule)
		unordered(k, &piece);
	if (!piece.rule)
		missed_others(k, &piece);
	if (!piece.rule)
		landed_late(k, &piece);
	combine(out, &piece);
}

/* The first of the reader's own writes before which no other connection wrote anything
 * that was not in force: so it is for all later ones. */
static uint64_t lone_from(const struct work *k)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < k->n; i++)
		if (!k->c[i].by && k->c[i].establishes && (k->paths[i] & PATH_E1) &&
		    k->c[i].op->serial < first && lone_writer(k->c[i].op))
			first = k->c[i].op->serial;
	return first;
}

static int by_number(const void *a, const void *b)
{
	const uint16_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The places in [from, to] where a candidate begins or ends; *n of them, sorted. At most
 * `max`: beyond that the rest is one piece. */
static void cut(const struct candidate *c, unsigned count, uint16_t *at, unsigned *n, unsigned max)
{
	unsigned have = 2, kept = 0;

	for (unsigned i = 0; i < count; i++) {
		uint16_t ends[2] = {c[i].from, c[i].to};

		for (unsigned e = 0; e < 2; e++)
			if (ends[e] > at[0] && ends[e] < at[1] && have < max)
				at[have++] = ends[e];
	}
	if (have > 2)
		qsort(at, have, sizeof(*at), by_number);
	for (unsigned i = 0; i < have; i++)
		if (!kept || at[kept - 1] != at[i])
			at[kept++] = at[i];
	*n = kept;
}

#define CUTS_MAX 514u

/* Nothing was ever written there, nor said of it, that would tell what it may be. */
static bool untouched(const struct view *v)
{
	for (unsigned i = 0; i < v->count; i++)
		if (!v->list[i].seen || v->list[i].op->type != NBD_CMD_READ)
			return false;
	return true;
}

/* --- in series ----------------------------------------------------------- */

void series_begin(struct nbds_world *w, struct series *s)
{
	s->known = false;
	w->scratch->series = s;
}

void series_end(struct nbds_world *w)
{
	w->scratch->series = NULL;
}

static bool same_point(const struct nbds_point *a, const struct nbds_point *b)
{
	return a->frame == b->frame && a->time == b->time && a->interface == b->interface;
}

static uint32_t flags_of(const struct candidate *c)
{
	return (uint32_t)(c->valued | c->any << 1 | c->establishes << 2 | c->hole << 3 |
			  c->damage << 4 | c->coarse << 5) |
	       (uint32_t)c->why << 8;
}

/* All that the verdict on a sector rests on, but for the sector itself. False: there is more
 * to it than is compared here. */
static bool series_key(const struct view *v, const struct sample *s, struct series *key)
{
	unsigned bit = 0;

	if (!whole(s) || !s->bytes || s->later || v->count > SERIES_SOURCES)
		return false;
	key->count = v->count;
	key->alike = 0;
	for (unsigned i = 0; i < v->count; i++) {
		const struct candidate *c = &v->list[i];
		struct series_source *to = &key->source[i];

		/* of a report of a hole it matters when it came */
		if (c->by || c->seen || c->hole || c->coarse || c->from || c->to != NBDS_SECTOR ||
		    (c->any ? c->valued : !c->bytes))
			return false;
		to->op = c->op;
		to->flags = flags_of(c);
		if (c->bytes)
			mask_equal(&to->same, c->bytes, s->bytes, 0, NBDS_SECTOR);
		else
			memset(&to->same, 0, sizeof(to->same));
		for (unsigned j = 0; j < i; j++, bit++)
			if (c->value == v->list[j].value)
				key->alike |= UINT32_C(1) << bit;
	}
	key->flags =
		(uint32_t)(v->shadow | v->sooner << 1 | v->final << 2 | (v->base != NULL) << 3 |
			   (s->value == s->read->world->zero_value) << 4);
	key->around = v->around;
	key->lone_from = s->lone_from;
	key->hi = s->hi;
	key->base = v->base ? *v->base : (struct nbds_point){0};
	return true;
}

static bool series_same(const struct series *a, const struct series *b)
{
	if (a->count != b->count || a->alike != b->alike || a->flags != b->flags ||
	    a->around != b->around || a->lone_from != b->lone_from || !same_point(&a->hi, &b->hi) ||
	    !same_point(&a->base, &b->base))
		return false;
	for (unsigned i = 0; i < a->count; i++)
		if (a->source[i].op != b->source[i].op ||
		    a->source[i].flags != b->source[i].flags ||
		    memcmp(&a->source[i].same, &b->source[i].same, sizeof(struct mask)) != 0)
			return false;
	return true;
}

static void judge_work(const struct view *v, const struct sample *s, struct verdict *out);

void judge(const struct view *v, const struct sample *s, struct verdict *out)
{
	struct series *last = s->read->world->scratch->series, now;

	if (untouched(v)) {
		*out = (struct verdict){.result = JUDGE_UNKNOWN,
					.why = v->base || v->shadow ? forgotten(s->read->world)
								    : NBDS_UNCHECKED_UNKNOWN,
					.initial = !v->base && !v->shadow,
					.wholly = !v->base && !v->shadow,
					.lone_from = v->final ? s->lone_from : UINT64_MAX};
		return;
	}
	if (!last || !series_key(v, s, &now)) {
		judge_work(v, s, out);
		return;
	}
	if (last->known && series_same(last, &now)) {
		*out = last->verdict;
		if (out->initial && s->old) /* all of it is one piece */
			mask_range(s->old, 0, NBDS_SECTOR);
		return;
	}
	judge_work(v, s, out);
	now.known = true;
	now.verdict = *out;
	*last = now;
}

/* Where the write of the whole sector is in the list. */
static unsigned root_of(const struct work *k, const struct nbds_op *by)
{
	for (unsigned i = k->n; i > 0; i--)
		if (k->c[i - 1].op == by && !k->c[i - 1].seen && k->c[i - 1].establishes &&
		    k->c[i - 1].from == 0 && k->c[i - 1].to == NBDS_SECTOR)
			return i - 1;
	return NONE;
}

static void judge_work(const struct view *v, const struct sample *s, struct verdict *out)
{
	struct nbds_world *w = s->read->world;
	struct work k = {.v = v, .s = s, .c = v->list, .n = v->count, .world = w};
	uint16_t at[CUTS_MAX];
	enum nbds_unchecked why = NBDS_UNCHECKED_UNKNOWN;
	bool judged = false;
	struct sample own = *s;
	uint16_t pairs[PAIRS_MAX * PAIRS_MAX];
	unsigned cuts;

	if (k.n <= PAIRS_MAX)
		k.pairs = memset(pairs, 0, sizeof(*pairs) * k.n * k.n);
	k.plain = !w->order->void_count && !w->order->void_all && !w->order->fails;
	*out = (struct verdict){.result = JUDGE_UNKNOWN,
				.lone_from = s->lone_from,
				.wholly = true,
				.without = UINT_MAX};
	if (!scratch_room(w, v->count)) {
		out->why = NBDS_UNCHECKED_FORGOTTEN;
		return;
	}
	k.paths = w->scratch->reader;
	k.flush = w->scratch->flush;
	k.root = w->scratch->root;
	k.after = w->scratch->later;
	k.base = (struct look){.admissible = w->scratch->admissible[0],
			       .in_force = w->scratch->in_force[0]};
	k.step = (struct look){.admissible = w->scratch->admissible[1],
			       .in_force = w->scratch->in_force[1]};
	for (unsigned i = 0; i < k.n; i++) {
		const struct candidate *c = &k.c[i];
		struct nbds_op *by = c->by, *op = c->op;

		NBDS_ASSERT(by || op);
		k.flush[i] = NULL;
		k.root[i] = by ? root_of(&k, by) : NONE;
		k.unrooted |= by && k.root[i] == NONE;
		k.after[i] = op && (point_before(w, &s->hi, &op->lo) || op_before(s->read, op) ||
				    (v->sooner && op->party == s->read->party &&
				     op->serial > s->read->serial));
		k.paths[i] = by ? 0
			     : c->establishes || op->type == NBD_CMD_TRIM
				     ? paths_of(op, s->read, &s->hi, true, &k.flush[i])
				     : 0;
		k.any_paths |= k.paths[i];
		k.all_paths |= (k.paths[i] &
				(PATH_BREACH | PATH_AGAIN | PATH_UNSURE2 | PATH_UNSURE3)) != 0;
		k.plain = k.plain &&
			  !(k.paths[i] & ~(unsigned)(PATH_E1 | PATH_E2 | PATH_E3 | PATH_ORDER)) &&
			  !by && op->epoch == s->read->epoch;
	}
	if (!v->final) {
		own.lone_from = lone_from(&k);
		out->lone_from = own.lone_from;
	}
	k.s = &own;
	at[0] = s->from;
	at[1] = s->to;
	cut(k.c, k.n, at, &cuts, CUTS_MAX);
	for (unsigned i = 0; i + 1 < cuts; i++) {
		k.from = at[i];
		k.to = at[i + 1];
		judge_piece(&k, out, &judged, &why);
	}
	out->lone_from = own.lone_from;
	out->waits |= v->final && k.unsettled && !(out->rule && out->severity == NBDS_VIOLATION);
	if (!out->rule)
		out->result = judged ? JUDGE_FINE : JUDGE_UNKNOWN;
	else if (out->severity == NBDS_HAZARD || out->rule == rule_get(RULE_UNORDERED))
		out->result = judged ? JUDGE_FINE : JUDGE_UNKNOWN;
	out->why = why;
}
