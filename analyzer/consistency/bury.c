/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which writes of a block leave it for a grave. See bury.h.
 *
 * A write X may be known by its value alone once another one, `by`, stands for it: for
 * every reader still to come, and whatever is trusted,
 *
 *	X is superseded  if and only if  `by` is in force, or is superseded itself
 *
 * Of the conditions below the first ones say that `by` is in force wherever X is; the
 * others that what supersedes X, and not `by`, is in force only where `by` is, too:
 *
 *	settled    by is done before all that is still to come, as is the flush that has put
 *	           it in force
 *	as safely  nothing in flight may still put X, and not by, in force, or drop by, and not X
 *	as widely  by is in force as widely as X: by a flush, FUA, or its own connection
 *	between    each write that came after X and not after by is in force only where by is,
 *	           or where another one is that came after by
 *	relied on  what is superseded by X is superseded by `by`, too
 */
#include <base/clock.h>

#include "bury.h"
#include "placed.h"

/* Entries of a block before it is pruned for the first time; of a world that is short of
 * memory; and then at twice what was left. */
#ifndef PRUNE_FIRST /* tests bury at once */
#define PRUNE_FIRST 24u
#endif
/* So many are kept for what may still be told late. */
#define PINNED_MOST 256u
#define PRUNE_SHORT (PRUNE_FIRST < 6u ? PRUNE_FIRST : 6u)
#ifndef GRANULE_FIRST
#define GRANULE_FIRST 16u
#endif
/* Sectors of a range that are looked at, one by one, for being overwritten. */
#define RANGE_LOOKED 2048u

/* A read in flight for longer than this is not waited for. */
#define READ_AGE INT64_C(10000000000)
/* Earlier reads that one block remembers: of what was there before the capture there is
 * one contents, so many different ones prove nothing anyway. Those of one connection that
 * saw the same do not count, but for the newest few, of which one is over before the next
 * read begins. */
#define SEEN_MAX  64u
#define SEEN_SAME 4u
/* Failed writes, each with other contents, that are compared with older ones. */
#define FAILED_KEPT 8u
/* What is in flight is looked at one by one; if it is more, nothing is buried. */
#define FLYING_MAX 256u
#define NEAR_MAX   64u
/* Successors that are tried for one write. */
#define TRIES_MAX 4u
/* Entries that are looked at for each sector of each one, in the mean: what would need more
 * stays, and is tried again when there are twice as many. */
#define LOOKED_EACH 64u
#define LOOKED_MIN  4096u
/* A block of more entries is looked at sector by sector. */
#define ALIKE_LOOKED 32u
/* Commands without data that a block is looked at with. */
#define RANGES_MAX 64u
/* Newer ones that one is compared with at most. */
#define RANGES_PASSED 256u
/* Reports of zeroes that one granule remembers: as with reads. */
#define ZEROES_MAX 256u

struct burial {
	struct nbds_world *w;
	struct block *b;
	const struct nbds_point *now;
	bool crowded;                           /* too much is in flight to be sure of anything */
	const struct nbds_op *flying[NEAR_MAX]; /* writes to the block */
	unsigned flying_count;
	const struct nbds_op *voiders[NEAR_MAX];
	unsigned voider_count;
	const struct range *ranges[RANGES_MAX];
	unsigned range_count;
	bool ranges_crowded;
	struct entry **list; /* oldest first */
	size_t count, room;
	size_t left;         /* of the looks at them */
	uint64_t start, end; /* bytes of the export that it is about */
};

static bool too_old(const struct nbds_point *lo, const struct nbds_point *now)
{
	return nbds_elapsed(lo->time, now->time) > READ_AGE;
}

static void not_waited_for(struct nbds_op *read)
{
	read->late = true;
	flying_remove(read, FLYING_READS);
}

/* No read that is in flight, and waited for, began before this was answered. */
static bool over_for_readers(struct nbds_world *w, const struct nbds_op *op,
			     const struct nbds_point *now)
{
	struct flying *f = &w->reads->flying[FLYING_READS];
	unsigned looked = 0;

	if (!point_before(w, &op->hi, now))
		return false;
	while (f->first && too_old(&f->first->lo, now))
		not_waited_for(f->first);
	for (struct nbds_op *r = f->late, *next;
	     r && looked < FLYING_LOOKED && too_old(&f->late_lo, now); r = next, looked++) {
		next = r->flight->flying[FLYING_READS].next;
		if (too_old(&r->lo, now))
			not_waited_for(r);
	}
	return flying_after(w, FLYING_READS, &op->hi);
}

static bool counts(const struct nbds_op *op)
{
	return op->write_class && op->state == OP_OK && op->proves && !op->early;
}

static bool one_export(const struct nbds_op *a, const struct nbds_op *b)
{
	return a->party->xport && a->party->xport == b->party->xport;
}

static void look_around(struct burial *k)
{
	struct nbds_world *w = k->w;
	unsigned looked = 0;

	for (const struct nbds_op *x = w->parties->write_first; x && !k->crowded;
	     x = x->flight->write.next) {
		if (++looked > FLYING_MAX)
			k->crowded = true;
		if (x->offset >= k->end || k->start >= x->offset + x->length)
			continue;
		if (k->flying_count == NEAR_MAX)
			k->crowded = true;
		else
			k->flying[k->flying_count++] = x;
	}
	looked = 0;
	for (const struct nbds_op *x = w->order->flight_first; x && !k->crowded;
	     x = x->flight->awaited.next) {
		if (++looked > FLYING_MAX)
			k->crowded = true;
		if (!x->voider)
			continue;
		if (k->voider_count == NEAR_MAX)
			k->crowded = true;
		else
			k->voiders[k->voider_count++] = x;
	}
	k->ranges_crowded =
		!ranges_near(w, k->start, k->end, k->ranges, RANGES_MAX, &k->range_count);
}

/* The flush that keeps it, whatever fails from then on: of its own connection, or of any with
 * CAN_MULTI_CONN; or NULL. */
static const struct nbds_op *kept(const struct nbds_op *op)
{
	struct nbds_op later = {.world = op->world,
				.party = op->party,
				.acked = NBDS_NO_ACK,
				.lo = {UINT64_MAX, INT64_MAX, op->hi.interface},
				.request_frame = UINT64_MAX};

	return party_mc(op->party) ? flush_after(op) : flush_between(op, &later, false);
}

/* `by` is done before all that is still to come. */
static bool settled(struct burial *k, const struct nbds_op *by)
{
	const struct nbds_op *flush;

	return counts(by) && over_for_readers(k->w, by, k->now) && !voided(by, NULL) &&
	       (strength_of(by, &flush) != STRENGTH_FLUSH || over_for_readers(k->w, flush, k->now));
}

/* A flush in flight, or one that fails, does not put j in force, or leave it so, and not n. */
static bool as_safely(const struct burial *k, const struct nbds_op *n, const struct nbds_op *j)
{
	bool flushed = strength_of(n, NULL) == STRENGTH_FLUSH;

	if (!kept(n) && kept(j))
		return false;
	for (unsigned i = 0; i < k->voider_count; i++) {
		const struct nbds_op *x = k->voiders[i];

		if (!flushed && x->type == NBD_CMD_FLUSH && op_before(j, x) && !op_before(n, x))
			return false;
		if (flush_between(j, x, party_mc(j->party)) &&
		    !flush_between(n, x, party_mc(n->party)))
			return false;
	}
	return true;
}

/* j is in force only where n is. */
static bool as_widely(const struct burial *k, const struct nbds_op *n, const struct nbds_op *j)
{
	enum strength s = strength_of(j, NULL);

	return one_export(n, j) && strength_of(n, NULL) >= s &&
	       (s != STRENGTH_OWN || n->party == j->party) && as_safely(k, n, j);
}

static bool touches_any(const struct entry *e)
{
	return (e->valued | e->unknown) != 0;
}

static bool touches(const struct entry *e, unsigned i)
{
	return (e->valued | e->unknown) >> i & 1;
}

/* A write of the whole sector that is newer than `by`, and in force where j is. */
static bool relieved(struct burial *k, unsigned i, const struct nbds_op *by,
		     const struct nbds_op *j)
{
	unsigned looked = 0;

	for (size_t n = k->count; n > 0 && looked < TRIES_MAX * 2; n--) {
		const struct entry *e = k->list[n - 1];

		if (is_seen(e) || !(e->full >> i & 1))
			continue;
		if (e->op == by || e->op == j)
			break;
		looked++;
		if (counts(e->op) && as_widely(k, e->op, j) && op_before(by, e->op) &&
		    settled(k, e->op))
			return true;
	}
	return false;
}

/* j came after x: is it in force only where `by`, or what came after that, is? */
static bool between(struct burial *k, unsigned i, const struct nbds_op *x, const struct nbds_op *by,
		    const struct nbds_op *j)
{
	bool other;

	if (j == x || j == by || op_before(by, j) || !op_before(x, j))
		return true;
	if (j->state == OP_FLIGHT || j->early)
		return false;
	if (!counts(j))
		return true;
	/* Of another connection, and in force for that alone: what it supersedes in the
	 * order of time is only asked for with CAN_MULTI_CONN. */
	other = strength_of(j, NULL) == STRENGTH_OWN && j->party != by->party && one_export(by, j);
	if (as_widely(k, by, j) ||
	    (other && (strength_of(by, NULL) > STRENGTH_OWN ||
		       (j->party != x->party && !both_mc(x->party, j->party)))))
		return true;
	return relieved(k, i, by, j);
}

/* y is superseded by x, and not by `by`. */
static bool relies(const struct nbds_op *y, const struct nbds_op *x, const struct nbds_op *by)
{
	return y != x && y->party == x->party && by->party != x->party && counts(y) &&
	       op_before(y, x) && !established(y, by, &by->hi, NULL);
}

static bool stands_for(struct burial *k, unsigned i, const struct nbds_op *x,
		       const struct nbds_op *by)
{
	uint64_t start = k->b ? k->start + i * NBDS_SECTOR : k->start;
	uint64_t end = k->b ? start + NBDS_SECTOR : k->end;

	if (k->crowded || k->ranges_crowded || by == x || !counts(by) ||
	    strength_of(by, NULL) < strength_of(x, NULL) || !established(x, by, &by->hi, NULL) ||
	    !settled(k, by) || !as_safely(k, by, x))
		return false;
	for (unsigned n = 0; n < k->flying_count; n++) {
		const struct nbds_op *j = k->flying[n];

		if (j->offset < end && start < j->offset + j->length && op_before(x, j) &&
		    !op_before(by, j))
			return false;
	}
	for (unsigned n = 0; n < k->range_count; n++) {
		const struct range *r = k->ranges[n];

		if (r->start >= end || r->end <= start || !r->op->write_class)
			continue;
		if (relies(r->op, x, by) ||
		    (r->op->type != NBD_CMD_TRIM && !between(k, i, x, by, r->op)))
			return false;
	}
	for (size_t n = 0; n < k->count; n++) {
		const struct entry *e = k->list[n];

		if (!k->left)
			return false;
		k->left--;
		if (touches(e, i) && !is_seen(e) &&
		    (relies(e->op, x, by) ||
		     (e->op->serial > x->serial && !between(k, i, x, by, e->op))))
			return false;
	}
	return true;
}

/* The oldest write of the whole sector that stands for x, if one of the first few does. */
static struct nbds_op *successor(struct burial *k, unsigned i, const struct nbds_op *x, size_t from)
{
	unsigned tries = 0;

	k->left += LOOKED_EACH;
	for (size_t n = from; n < k->count && tries < TRIES_MAX && k->left; n++) {
		const struct entry *e = k->list[n];

		k->left--;
		if (is_seen(e) || !(e->full >> i & 1) || e->op == x ||
		    strength_of(e->op, NULL) < strength_of(x, NULL) ||
		    !established(x, e->op, &e->op->hi, NULL))
			continue;
		tries++;
		if (stands_for(k, i, x, e->op))
			return e->op;
	}
	return NULL;
}

static bool is_short(const struct nbds_world *w)
{
	return w->memory > w->memory_cap / 2;
}

/* Is all that a successor depends on the same for all sectors of the block? So it is where
 * blocks are written as a whole. */
static bool alike(const struct burial *k)
{
	if (k->flying_count || k->range_count || k->ranges_crowded || k->count > ALIKE_LOOKED)
		return false;
	for (size_t n = 0; n < k->count; n++) {
		uint8_t touched = k->list[n]->valued | k->list[n]->unknown;

		if ((touched && touched != 0xff) || (touched && k->list[n]->full != 0xff))
			return false;
	}
	return true;
}

/* What is kept of a write of the whole block that `by` stands for. False without memory. */
static bool bury_whole(struct nbds_world *w, struct block *b, const struct entry *e,
		       struct nbds_op *by)
{
	uint64_t first = b->number * BLOCK_SECTORS;

	graves_succeed_block(b->graves, e->op, by);
	if (!grave_put_block(&b->graves, e->op, e->value, e->coarse, by))
		return false;
	for (unsigned i = 0; i < BLOCK_SECTORS && begun_matters(e->op); i++)
		begun_note(e->op, &e->op->lo, first + i);
	placed_forget(w, e->op, first, e->value[0]);
	return true;
}

static void bury(struct burial *k, size_t at, bool bytes)
{
	struct entry *e = k->list[at];
	struct nbds_world *w = k->w;
	struct nbds_op *of_all = NULL;
	bool same = alike(k);

	if (same && e->valued == 0xff && !e->unknown && !(bytes && (e->kept || e->held))) {
		of_all = successor(k, 0, e->op, at + 1);
		if (of_all && bury_whole(w, k->b, e, of_all)) {
			e->valued = e->full = 0;
			entry_unwant(w, e, 0xff);
		}
		return;
	}
	for (unsigned i = 0; i < BLOCK_SECTORS; i++) {
		const struct piece *p = e->kept >> i & 1 ? e->extra->piece[i] : NULL;
		struct grave_value v = {.op = e->op, .sector = i, .to = NBDS_SECTOR};
		struct nbds_op *by;
		bool done;

		if (!touches(e, i))
			continue;
		by = same && i ? of_all : successor(k, i, e->op, at + 1);
		of_all = by;
		if (!by && same)
			return;
		if (!by)
			continue;
		if (bytes && !p && (e->valued >> i & 1)) {
			v.bytes = ring_bytes(w, e, i);
		} else if (bytes && p && p->have == p->to - p->from) {
			v.bytes = p->bytes;
			v.from = p->from;
			v.to = p->to;
		}
		v.valued = (e->valued >> i & 1) && !(e->unknown >> i & 1);
		v.coarse = e->coarse;
		v.value = e->value[i];
		graves_succeed(k->b->graves, i, e->op, by);
		/* only whole ones are known by their value; others byte by byte, or not at all */
		done = (v.valued || v.bytes) && grave_put(&k->b->graves, &v, by);
		if (!done && !v.valued && is_short(w) && gone_for_all(w, by)) {
			forget_range(w, k->b->number, 1, 0, 1);
			order_relied(w, &e->op->hi);
			done = true;
		}
		if (!done)
			continue;
		begun_note(e->op, &e->op->lo, k->b->number * BLOCK_SECTORS + i);
		if (v.valued)
			placed_forget(w, e->op, k->b->number * BLOCK_SECTORS + i, e->value[i]);
		e->valued &= (uint8_t) ~(1u << i);
		e->unknown &= (uint8_t) ~(1u << i);
		e->full &= (uint8_t) ~(1u << i);
		piece_drop(w, e, i);
	}
}

static bool same_values(const struct entry *a, const struct entry *b)
{
	if (a->valued != b->valued || a->unknown || b->unknown || a->coarse != b->coarse)
		return false;
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if ((a->valued >> i & 1) && a->value[i] != b->value[i])
			return false;
	return true;
}

static bool same_contents(const struct entry *a, const struct entry *b)
{
	return !a->coarse && a->full == b->full && a->valued == a->full && same_values(a, b);
}

/* What certainly began after n was over began after e was, too. */
static bool over_sooner(const struct nbds_op *e, const struct nbds_op *n)
{
	return op_before(e, n) || (e->party == n->party && e->hi.interface == n->hi.interface &&
				   e->hi.frame <= n->hi.frame && e->hi.time <= n->hi.time &&
				   e->status_end <= n->status_end);
}

/* What failed may have left its contents for ever, or anything until the next write that is
 * in force.  For every reader still to come the newest of several that failed alike says both:
 * a client that tries again and again leaves one. */
static bool failed_again(struct entry **failed, unsigned *count, struct entry *e,
			 const struct nbds_point *now)
{
	for (unsigned i = 0; i < *count; i++)
		if (failed[i]->op->party->xport == e->op->party->xport &&
		    same_contents(e, failed[i]) && over_sooner(e->op, failed[i]->op) &&
		    none_held(e->op->world, failed[i]->op) &&
		    over_for_readers(e->op->world, failed[i]->op, now))
			return true;
	if (*count < FAILED_KEPT)
		failed[(*count)++] = e;
	return false;
}

/* Is e, a read, one too many to remember? Newer ones were asked about before. */
static bool seen_enough(struct nbds_world *w, const struct block *b, const struct entry *e,
			const struct entry **seen, unsigned *count)
{
	unsigned same = 0;
	bool over = false; /* one of those was over before it was */

	for (unsigned i = 0; i < *count; i++) {
		if (seen[i]->op->party != e->op->party || seen[i]->initial != e->initial ||
		    !same_values(seen[i], e))
			continue;
		same++;
		over |= seen[i]->op->state == OP_OK &&
			(e->op->state != OP_OK || seen[i]->op->hi.frame < e->op->hi.frame);
	}
	/* of what was there before the capture the one that was over first says most */
	if (same >= SEEN_SAME && (over || !e->initial))
		return true;
	if (*count == SEEN_MAX) {
		forget_range(w, b->number, 1, 0, 1);
		return true;
	}
	seen[(*count)++] = e;
	return false;
}

/* What the read saw was one of several outcomes before the newest writes of its sectors. */
static bool overtaken(const struct entry *e, const struct nbds_op *const newest[BLOCK_SECTORS])
{
	for (unsigned i = 0; i < BLOCK_SECTORS; i++)
		if (touches(e, i) &&
		    (!newest[i] || !point_before(e->op->world, &e->extra->hi, &newest[i]->lo)))
			return false;
	return true;
}

/* Reads, and writes that failed, that say nothing any more. */
static void drop_alike(struct nbds_world *w, struct block *b, const struct nbds_point *now)
{
	struct entry *failed[FAILED_KEPT];
	const struct entry *seen[SEEN_MAX];
	const struct nbds_op *newest[BLOCK_SECTORS] = {0};
	unsigned seen_count = 0, failures = 0;

	for (struct entry **at = &b->entries; *at;) {
		struct entry *e = *at;
		bool over = false;

		if (is_seen(e) && (e->op->state == OP_FAILED || e->op->state == OP_OPEN)) {
			over = true; /* it showed nothing */
		} else if (is_seen(e)) {
			over = !e->initial && e->extra && e->extra->seen && overtaken(e, newest);
			over = over || seen_enough(w, b, e, seen, &seen_count);
		} else if (e->op->state == OP_FAILED && !w->ranges->pins) {
			/* (a read that waits may be of before the newer one) */
			over = failed_again(failed, &failures, e, now);
		}
		for (unsigned i = 0; i < BLOCK_SECTORS && !is_seen(e); i++)
			if ((e->full >> i & 1) && !newest[i])
				newest[i] = e->op;
		for (unsigned i = 0; i < BLOCK_SECTORS && over && !is_seen(e); i++)
			if (touches(e, i))
				begun_note(e->op, &e->op->lo, b->number * BLOCK_SECTORS + i);
		if (over)
			entry_remove(w, b, at);
		else
			at = &e->next;
	}
}

/* What is known of the block, for burying. False without memory. */
static bool burial_begin(struct burial *k, struct nbds_world *w, struct block *b,
			 const struct nbds_point *now)
{
	size_t n = b->count;

	*k = (struct burial){.w = w,
			     .b = b,
			     .now = now,
			     .start = b->number * BLOCK_BYTES,
			     .end = (b->number + 1) * BLOCK_BYTES,
			     .count = n,
			     .room = n,
			     .left = LOOKED_MIN};
	k->list = n ? world_alloc(w, n * sizeof(struct entry *)) : NULL;
	for (struct entry *e = b->entries; k->list && e && n > 0; e = e->next)
		k->list[--n] = e;
	if (k->list)
		look_around(k);
	return k->list != NULL;
}

static void burial_end(struct burial *k)
{
	world_dealloc(k->w, k->list, k->room * sizeof(struct entry *));
}

/* Entries of a block that is plain, at most. */
#define PLAIN_MAX 8u

/* The newest write, if all are of the whole block and succeeded; else NULL. Reads, if there are
 * any, are few and showed what was there before the capture. */
static const struct entry *plain_newest(const struct block *b)
{
	const struct entry *newest = NULL;
	unsigned seen = 0;

	if (b->count < 2 || b->count > PLAIN_MAX)
		return NULL;
	for (const struct entry *e = b->entries; e; e = e->next) {
		if (is_seen(e)) {
			if (++seen == SEEN_SAME || e->op->state != OP_OK || !e->initial)
				return NULL;
			continue;
		}
		if (!counts(e->op) || e->valued != 0xff || e->full != 0xff || e->unknown)
			return NULL;
		if (!newest)
			newest = e;
	}
	return newest;
}

/* x is superseded by `by`, and in force only where that is, if a flush puts that in force. */
static bool plainly_over(const struct nbds_op *x, const struct nbds_op *by)
{
	if (x->party == by->party) /* E1, and perhaps more */
		return op_before(x, by) && !voided(x, &by->hi);
	return one_export(x, by) && established(x, by, &by->hi, NULL) &&
	       strength_of(x, NULL) != STRENGTH_OWN;
}

/*
 * The plain case: does the newest write of the whole block, which is in force for all by a
 * flush, stand for each other one? So it does if these are in force for it, and
 *
 *	as safely  what is in flight, and may fail, began after that flush
 *	between    what is in flight, and may write there, began after it; and what came after
 *	           one, and before it, is of its connection, or in force for others
 *	relied on  what is superseded by one of them is so by it, since all are
 */
static bool plainly_stands(struct nbds_world *w, const struct block *b, const struct entry *newest,
			   const struct nbds_point *now)
{
	const struct nbds_op *by = newest->op, *flush;
	const struct range *range;
	unsigned ranges;

	if (strength_of(by, &flush) != STRENGTH_FLUSH || !over_for_readers(w, by, now) ||
	    !over_for_readers(w, flush, now) || voided(by, NULL) ||
	    !flying_after(w, FLYING_AWAITED, &flush->hi) ||
	    !flying_after(w, FLYING_TELLING, &by->hi) ||
	    !ranges_near(w, b->number * BLOCK_BYTES, (b->number + 1) * BLOCK_BYTES, &range, 1,
			 &ranges) ||
	    ranges)
		return false;
	for (const struct entry *e = newest->next; e; e = e->next)
		if (!is_seen(e) && !plainly_over(e->op, by))
			return false;
	return true;
}

/* Buries what is older than the newest write. False: it is not as plain as that. */
static bool prune_plain(struct nbds_world *w, struct block *b, const struct nbds_point *now)
{
	const struct entry *newest = plain_newest(b);

	if (!newest || !plainly_stands(w, b, newest, now))
		return false;
	for (struct entry **at = &b->entries; *at;) {
		struct entry *e = *at;

		if (e == newest || is_seen(e))
			at = &e->next;
		else if (bury_whole(w, b, e, newest->op))
			entry_remove(w, b, at);
		else
			break;
	}
	if (b->graves && b->graves->next)
		graves_join(w, &b->graves);
	return true;
}

void block_prune(struct nbds_world *w, struct block *b, const struct nbds_point *now, bool bytes)
{
	struct burial k;

	if (!bytes && prune_plain(w, b, now))
		return;
	drop_alike(w, b, now);
	if (!burial_begin(&k, w, b, now))
		return;
	for (size_t i = 0; i < k.count; i++)
		if (counts(k.list[i]->op) && touches_any(k.list[i]))
			bury(&k, i, bytes);
	for (struct entry **at = &b->entries; *at;) {
		if (touches_any(*at))
			at = &(*at)->next;
		else
			entry_remove(w, b, at);
	}
	graves_join(w, &b->graves);
	burial_end(&k);
}

void block_limit(struct nbds_world *w, struct block *b, const struct nbds_point *now)
{
	unsigned first = w->memory > w->memory_cap / 2 ? PRUNE_SHORT : PRUNE_FIRST;

	if (b->pins && b->count > PINNED_MOST) {
		w->ranges->overrun = true;
		w->ranges->overrun_block = b->number;
	}
	if (b->pins || b->count <= first || b->count < b->prune_at)
		return;
	block_prune(w, b, now, true);
	b->prune_at = b->count * 2;
}

/* Drops the bytes of whole sectors. */
static void entry_thin(struct nbds_world *w, struct entry *e)
{
	unsigned left = e->kept & ~(unsigned)e->unknown;

	entry_unwant(w, e, (uint8_t)~e->unknown);
	if (!left)
		return;
	for (; left; left &= left - 1)
		piece_drop(w, e, (unsigned)__builtin_ctz(left));
	extra_drop(w, e);
}

void block_thin(struct nbds_world *w, struct block *b)
{
	forget_range(w, b->number, 1, 0, graves_thin(w, &b->graves));
	for (struct entry *e = b->entries; e; e = e->next)
		entry_thin(w, e);
}

void block_tidy(struct nbds_world *w, struct block *b)
{
	const struct nbds_point now = w->last;
	bool many;

	if (b->count > 1 && !b->pins && !b->tidy) {
		block_prune(w, b, &now, false);
		b->tidy = true;
		graves_pack(w, b->graves);
		/* what is left alone is known by its values, as if it slept */
		if (b->count == 1)
			entry_thin(w, b->entries);
	}
	many = w->blocks->count + w->blocks->deep > BLOCKS_MANY;
	for (struct entry *e = b->entries; e && !b->pins && many; e = e->next)
		entry_thin(w, e);
	if (w->memory > w->memory_cap / 2)
		block_thin(w, b);
}

/* --- ranges --------------------------------------------------------------- */

/* Data superseded all of the range, sector by sector: then zeroes are old values there. */
static bool over_data(struct nbds_world *w, const struct range *r, const struct nbds_point *now)
{
	static const uint8_t zeroes[NBDS_SECTOR];
	uint64_t first = r->start / BLOCK_BYTES, last = (r->end - 1) / BLOCK_BYTES;
	bool zero = r->kind == RANGE_ZERO;

	if (last - first >= RANGE_LOOKED / BLOCK_SECTORS)
		return false;
	for (uint64_t n = first; n <= last; n++)
		if (!block_find(w, n))
			return false;
	for (unsigned put = 0; put < 2; put++) {
		for (uint64_t n = first; n <= last; n++) {
			struct burial k;
			bool all = burial_begin(&k, w, block_find(w, n), now);

			for (unsigned i = 0; i < BLOCK_SECTORS && all; i++) {
				uint64_t start = (n * BLOCK_SECTORS + i) * NBDS_SECTOR;
				struct grave_value v = {.op = r->op,
							.sector = i,
							.valued = true,
							.value = w->zero_value,
							.bytes = zeroes,
							.to = NBDS_SECTOR};
				struct nbds_op *by;

				if (start >= r->end || start + NBDS_SECTOR <= r->start)
					continue;
				by = successor(&k, i, r->op, 0);
				/* zeroes in a part of a sector are known by their bytes alone */
				if (start < r->start)
					v.from = (unsigned)(r->start - start);
				if (r->end - start < NBDS_SECTOR)
					v.to = (unsigned)(r->end - start);
				v.valued = v.from == 0 && v.to == NBDS_SECTOR;
				all = by && (zero || gone_for_all(w, by)) &&
				      (!put || !zero || grave_put(&k.b->graves, &v, by));
			}
			burial_end(&k);
			if (!all)
				return false;
		}
	}
	return true;
}

static bool not_later(const struct nbds_point *a, const struct nbds_point *b)
{
	return a->interface == b->interface && a->frame <= b->frame && a->time <= b->time;
}

/* What began after n, a report of a hole, began after r, too; and no reader still to come was
 * before n and not before r. */
static bool over_hole(struct nbds_world *w, const struct range *of_r, const struct range *of_n,
		      const struct nbds_point *now)
{
	const struct nbds_op *r = of_r->op, *n = of_n->op;

	if (!not_later(&of_r->hi, &of_n->hi))
		return false;
	return r == n ||
	       (r->party == n->party && r->type == n->type && r->state == OP_OK &&
		n->state == OP_OK && not_later(&r->hi, &n->hi) && r->status_end <= n->status_end &&
		(n->status_acked == NBDS_NO_ACK ||
		 (r->status_acked != NBDS_NO_ACK && r->status_acked <= n->status_acked)) &&
		over_for_readers(w, n, now) && none_held(w, n));
}

/* What certainly came before r began came before n, too: of a read it is all the same which of
 * them wrote its bytes later. */
static bool tells_all(const struct nbds_op *r, const struct nbds_op *n)
{
	return r->party == n->party && r->header_end <= n->header_end &&
	       not_later(&r->lo, &n->lo) &&
	       (r->acked == NBDS_NO_ACK || (n->acked != NBDS_NO_ACK && n->acked >= r->acked));
}

/* Is r superseded by n, for every reader still to come? */
static bool over_range(struct nbds_world *w, const struct range *r, const struct range *n,
		       const struct nbds_point *now)
{
	struct burial k = {.w = w, .now = now, .start = r->start, .end = r->end};

	if (!range_within(r, n))
		return false;
	if (r->kind == RANGE_SEEN_ZERO)
		return n->kind == RANGE_SEEN_ZERO && n->op->party == r->op->party &&
		       (n->initial || !r->initial);
	if (r->kind == RANGE_HOLE)
		return n->kind == RANGE_HOLE && over_hole(w, r, n, now);
	if (n->kind != RANGE_ZERO || r->kind == RANGE_DAMAGE ||
	    (r->kind != RANGE_ZERO && !gone_for_all(w, n->op)))
		return false;
	look_around(&k);
	return none_held(w, n->op) && stands_for(&k, 0, r->op, n->op);
}

/* Range r, of a write, goes; `by`: another one takes its place. */
static void replaced(const struct range *r, struct range *by)
{
	const struct xport *x = r->op->party->xport;
	uint64_t first = r->start / NBDS_SECTOR, last = (r->end - 1) / NBDS_SECTOR;

	if (!x || !x->alike)
		return;
	for (uint64_t n = first; n <= last && last - first < RANGE_LOOKED; n++)
		begun_note(r->op, &r->hi, n);
	/* too long for that: as if all of the newer one had begun then */
	if (by && last - first >= RANGE_LOOKED && r->hi.frame < by->hi.frame)
		by->hi = r->hi;
}

static void granule_limit(struct nbds_world *w, struct granule *g, const struct nbds_point *now)
{
	unsigned zeroes = 0;

	if (g->count <= GRANULE_FIRST || g->count < g->prune_at || w->ranges->pins)
		return;
	for (struct link **at = &g->links; *at;) {
		struct range *r = (*at)->range;
		bool status = r->kind == RANGE_SEEN_ZERO || r->kind == RANGE_HOLE;
		unsigned looked = 0, passed = 0;
		bool gone = false;

		for (struct link *l = g->links;
		     l != *at && !gone && looked < 8 && passed < RANGES_PASSED;
		     l = l->next, passed++)
			if (l->range->start <= r->start && l->range->end >= r->end &&
			    l->range->kind == (status ? r->kind : RANGE_ZERO)) {
				gone = over_range(w, r, l->range, now) &&
				       (r->kind != RANGE_ZERO || !w->ranges->wanted ||
					tells_all(r->op, l->range->op));
				looked++;
				if (gone && r->op->write_class)
					replaced(r, l->range);
			}
		if (!gone && r->kind == RANGE_SEEN_ZERO && ++zeroes > ZEROES_MAX) {
			uint64_t first = r->start / BLOCK_BYTES;

			forget_range(w, first, (r->end - 1) / BLOCK_BYTES - first + 1, 0, 1);
			gone = true;
		}
		if (!gone && r->op->state == OP_OK && r->op->proves &&
		    (r->kind == RANGE_TRIM || r->kind == RANGE_UNKNOWN ||
		     (r->kind == RANGE_ZERO && !w->ranges->wanted)))
			if ((gone = over_data(w, r, now)))
				replaced(r, NULL);
		if (gone && (r->op->write_class || r->kind == RANGE_HOLE))
			order_relied(w, &r->hi);
		if (gone)
			range_unlink(w, g, at);
		else
			at = &(*at)->next;
	}
	g->prune_at = g->count * 2;
}

void ranges_told_limit(struct nbds_world *w, enum range_kind kind, const struct nbds_point *now)
{
	const struct open_range *o = &w->ranges->open[kind == RANGE_HOLE];
	struct granule *g =
		o->range ? granule_find(w, o->size_class, o->range->start >> o->size_class) : NULL;

	if (g)
		granule_limit(w, g, now);
}

void ranges_limit(struct nbds_world *w, uint64_t start, uint64_t end, const struct nbds_point *now)
{
	unsigned size_class = range_class(end - start);

	for (uint64_t n = start >> size_class; n <= (end - 1) >> size_class; n++) {
		struct granule *g = granule_find(w, size_class, n);

		if (g)
			granule_limit(w, g, now);
	}
}
