/* SPDX-License-Identifier: GPL-2.0-or-later */
/* reasm.c - one flow: its two directions put in order.  See internal.h. */
#include "internal.h"

#include <string.h>

/* --- what is told --- */

struct nbds_mark nbds_mark_at(const struct nbds_where *where)
{
	struct nbds_mark mark = {
		.frame = where->frame,
		.time = where->time,
		.lo_frame = where->frame,
		.lo_time = where->time,
		.ack = NBDS_NO_ACK,
		.interface = where->interface,
	};

	return mark;
}

/* The bytes of `mark`, at `offset`, may have been on the wire before its frame. */
static void late(struct nbds_mark *mark, const struct nbds_half *h, uint64_t offset)
{
	uint64_t frame = h->lo_frame;
	int64_t time = h->lo_time;

	if (h->idle_frame > frame && h->idle_time >= time && offset >= h->idle_at) {
		frame = h->idle_frame;
		time = h->idle_time;
	}
	if (mark->flags & NBDS_MARK_SINCE && mark->lo_frame > frame && mark->lo_time >= time) {
		frame = mark->lo_frame;
		time = mark->lo_time;
	}
	mark->flags = (mark->flags & ~(uint32_t)NBDS_MARK_FIRST_TX) | NBDS_MARK_LATE;
	/* what broke a circle of waits may be told after later frames */
	mark->lo_frame = frame < mark->frame ? frame : mark->frame;
	mark->lo_time = time < mark->time ? time : mark->time;
}

/* Whether anybody wants to hear of it. */
static bool heard_of(const struct nbds_flow *f)
{
	return f->opened && !f->ignored;
}

static void tell_gap(struct nbds_flow *f, int dir, uint64_t end, enum nbds_gap_reason why,
		     const struct nbds_mark *where)
{
	struct nbds_tcp *t = f->tcp;
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_mark mark = *where;
	uint64_t offset = h->next;

	mark.flags &= ~NBDS_MARK_PRIVATE;
	h->next = end;
	h->fin_guessed = false;
	if (why == NBDS_GAP_LOST && offset < h->bad_to && end > h->bad_from &&
	    f->sums[dir].refuted < NBDS_SUMS_REFUTED)
		f->sums[dir].refuted++;
	t->stats.gaps++;
	t->stats.gap_bytes += end - offset;
	if (why != NBDS_GAP_SNAPLEN) {
		late(&mark, h, 0);
		h->jump.on = false;
		h->gap_told = true;
		if (end > h->seen) {
			h->seen = end;
			h->clean = false;
			h->clean_after = end;
		}
		if (end > h->sent)
			h->sent = end;
	}
	if (heard_of(f) && t->ops.gap)
		t->ops.gap(t->ctx, f->user, dir, offset, end - offset, why, &mark);
}

/* What is remembered of bytes that were told; followed by them, or they have a place where
 * they can be read again.  Those of short segments are copied: what comes again may lie over
 * many of them, and each would be read on its own. */
struct told_head {
	struct nbds_mark mark;
	uint64_t place; /* or 0 */
	uint32_t len;
};

#define REREAD_LEAST 512u
#define REREAD_STEP  4096u

static void remember(struct nbds_flow *f, struct nbds_half *h, uint64_t offset, const uint8_t *data,
		     uint32_t len, const struct nbds_mark *mark)
{
	struct nbds_recall_record *record;
	const struct nbds_tcp_reread *reread = &f->tcp->reread;
	struct told_head *told;
	uint64_t place = 0;

	if (reread->place && len >= REREAD_LEAST)
		place = reread->place(reread->ctx, data);
	record = nbds_recall_add(&f->tcp->recall, &h->told, offset,
				 sizeof(*told) + (place ? 0 : len));
	if (!record)
		return;
	told = (struct told_head *)(record + 1);
	told->mark = *mark;
	told->place = place;
	told->len = len;
	if (!place)
		memcpy(told + 1, data, len);
}

/* Does a segment of the direction end at `offset`, as far as they are known? */
static bool ends_at(const struct nbds_tcp *t, const struct nbds_half *h, uint64_t offset)
{
	const struct nbds_recall_record *record;
	bool lost, any = false;

	if (offset == h->seen || !offset)
		return true;
	for (unsigned i = 0; i < NBDS_ENDS; i++) /* all of them, several at a time */
		any |= h->ends[i] == (uint32_t)offset;
	if (any)
		return true;
	record = nbds_recall_find(&t->recall, h->told, offset - 1, &lost);
	return record && record->key + ((const struct told_head *)(record + 1))->len == offset;
}

/* `len` bytes at half->next, `caplen` of them here. */
static void tell_data(struct nbds_flow *f, int dir, const uint8_t *data, uint32_t caplen,
		      uint32_t len, const struct nbds_mark *where)
{
	struct nbds_tcp *t = f->tcp;
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_mark mark = *where;
	uint64_t offset = h->next;

	if (mark.flags & NBDS_MARK_BEHIND && offset >= h->settled_from &&
	    offset + len <= h->settled_to)
		mark.flags = NBDS_MARK_FIRST_TX;
	if (mark.flags & NBDS_MARK_FIRST_TX) {
		mark.lo_frame = mark.frame;
		mark.lo_time = mark.time;
	} else {
		late(&mark, h, offset);
		if (mark.flags & NBDS_MARK_EARLIER)
			mark.flags |= NBDS_MARK_FIRST_TX;
	}
	/* what comes later in the stream is of no use to its receiver before this */
	if (mark.lo_frame > h->lo_frame) {
		h->lo_frame = mark.lo_frame;
		h->lo_time = mark.lo_time;
	}
	mark.flags &= ~NBDS_MARK_PRIVATE;
	if (caplen) {
		h->next = offset + caplen;
		h->last = mark;
		h->fin_guessed = false;
		if (h->acked >= offset)
			h->flight =
				(struct nbds_where){mark.lo_frame, mark.lo_time, mark.interface};
		t->stats.bytes += caplen;
		if (heard_of(f))
			remember(f, h, offset, data, caplen, &mark);
		if (where->flags & NBDS_MARK_ACK_DOUBT && mark.ack != NBDS_NO_ACK &&
		    !ends_at(t, &f->reasm->half[!dir], mark.ack))
			mark.ack = NBDS_NO_ACK;
		if (heard_of(f) && t->ops.data)
			t->ops.data(t->ctx, f->user, dir, offset, data, caplen, &mark);
	}
	if (caplen < len)
		tell_gap(f, dir, offset + len, NBDS_GAP_SNAPLEN, &mark);
}

static void tell_conflict(struct nbds_flow *f, int dir, const struct nbds_conflict *c)
{
	struct nbds_tcp *t = f->tcp;

	t->stats.conflicts += c->kind == NBDS_CONFLICT_BYTES;
	t->stats.forgotten += c->kind == NBDS_CONFLICT_FORGOTTEN;
	if (heard_of(f) && t->ops.conflict)
		t->ops.conflict(t->ctx, f->user, dir, c);
}

/* Tells the FIN if all before it was told. */
static void tell_fin(struct nbds_flow *f, int dir)
{
	struct nbds_tcp *t = f->tcp;
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_mark mark;

	if (!h->fin || h->fin_told || h->next < h->fin_at || f->ignored)
		return;
	h->fin_told = true;
	mark = nbds_mark_at(&h->fin_where);
	mark.ack = h->fin_ack;
	if (heard_of(f) && t->ops.half_close)
		t->ops.half_close(t->ctx, f->user, dir, &mark);
}

void nbds_reasm_frame(struct nbds_flow *f, int dir, const struct nbds_mark *mark)
{
	struct nbds_tcp *t = f->tcp;

	if (heard_of(f) && t->ops.frame)
		t->ops.frame(t->ctx, f->user, dir, mark);
}

/* --- order --- */

/* What direction `dir` acknowledged when it sent the bytes was told (or never
 * will be: evidence that was refuted is no reason to wait). */
static bool answered(const struct nbds_flow *f, int dir, uint64_t ack)
{
	const struct nbds_half *other = &f->reasm->half[!dir];

	if (ack == NBDS_NO_ACK || ack <= other->next)
		return true;
	if (ack > other->evidence)
		ack = other->evidence;
	return ack <= other->next + other->fin_guessed;
}

/* The next bytes of the direction are missing, and are known to exist. */
static bool has_hole(const struct nbds_half *h)
{
	if (h->held.first[0])
		return h->held.first[0]->offset > h->next;
	return h->evidence > h->next + h->fin_guessed;
}

static void tell_first_held(struct nbds_flow *f, int dir)
{
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_held *piece = nbds_held_take(&h->held);

	tell_data(f, dir, piece->data, piece->caplen, piece->len, &piece->mark);
	if (piece->unlike < piece->unlike_end) {
		struct nbds_conflict c = {
			.kind = NBDS_CONFLICT_BYTES,
			.offset = piece->unlike,
			.len = piece->unlike_end - piece->unlike,
			.first = h->last,
			.where = piece->unlike_mark,
		};

		tell_conflict(f, dir, &c);
	}
	if (piece->first_ack != piece->other_ack) {
		struct nbds_conflict c = {
			.kind = NBDS_CONFLICT_ACK,
			.offset = piece->offset,
			.len = piece->len,
			.first_ack = piece->first_ack,
			.ack = piece->other_ack,
			.first = h->last,
			.where = h->last,
		};

		tell_conflict(f, dir, &c);
	}
	nbds_held_free(&f->tcp->pool, piece);
}

/* Tells what is in order by now, in both directions. */
static void pump(struct nbds_flow *f)
{
	bool moved;

	do {
		moved = false;
		for (int dir = 0; dir < 2; dir++) {
			struct nbds_half *h = &f->reasm->half[dir];
			struct nbds_held *piece;

			while (!f->ignored && (piece = h->held.first[0]) &&
			       piece->offset == h->next && answered(f, dir, piece->after)) {
				tell_first_held(f, dir);
				moved = true;
			}
			tell_fin(f, dir);
			/* A hole that was filled, with nothing given up, leaves
			 * no doubt about what follows. */
			if (!h->clean && !h->gap_told && !h->held.first[0] && h->next == h->seen)
				h->clean = true;
		}
	} while (moved && !f->ignored);
}

/* --- waiting --- */

bool nbds_wait_over(const struct nbds_flow *f, struct nbds_wait *w, uint32_t times, int64_t now)
{
	const struct nbds_tcp_limits *limits = &f->tcp->limits;

	if (now < w->time) /* the clock was set back */
		w->time = now;
	return f->reasm->frames - w->frames >= (uint64_t)limits->patience_frames * times ||
	       ((uint64_t)now - (uint64_t)w->time) / times >= (uint64_t)limits->patience_ns;
}

static void wait_start(struct nbds_wait *w, const struct nbds_reasm *r, uint32_t heard,
		       uint64_t from, uint64_t upto, int64_t now)
{
	w->on = true;
	w->frames = r->frames;
	w->heard = heard;
	w->time = now;
	w->from = from;
	w->upto = upto;
}

bool nbds_half_waits(const struct nbds_half *h)
{
	return h->held.first[0] || has_hole(h) || (h->fin && !h->fin_told);
}

bool nbds_reasm_waits(const struct nbds_reasm *r)
{
	return nbds_half_waits(&r->half[0]) || nbds_half_waits(&r->half[1]);
}

bool nbds_reasm_end_guessed(const struct nbds_reasm *r)
{
	return (r->half[0].fin_told && r->half[1].fin_guessed) ||
	       (r->half[1].fin_told && r->half[0].fin_guessed);
}

/* Notes what waits now, and since when. */
static void watch(struct nbds_flow *f, int64_t now)
{
	struct nbds_reasm *r = f->reasm;

	for (int dir = 0; dir < 2; dir++) {
		struct nbds_half *h = &r->half[dir];
		struct nbds_half *other = &r->half[!dir];
		uint64_t known = 0;

		if (h->evidence <= h->next + h->fin_guessed)
			h->acked_wait.on = false;
		else if (!h->acked_wait.on || h->next >= h->acked_wait.upto)
			wait_start(&h->acked_wait, r, h->heard, h->next, h->evidence, now);

		if (h->held.first[0])
			known = h->held.first[0]->offset;
		else if (h->fin)
			known = h->fin_at;
		if (known <= h->next || known <= h->evidence)
			h->blind_wait.on = false;
		else if (!h->blind_wait.on || h->next > h->blind_wait.from)
			wait_start(&h->blind_wait, r, other->heard, h->next, h->sent, now);
	}
	nbds_flow_stall(f, r->rst || nbds_reasm_waits(r) || nbds_reasm_end_guessed(r));
}

/* How far direction `dir` has waited long enough. */
static uint64_t patience_over(struct nbds_flow *f, int dir, int64_t now)
{
	struct nbds_reasm *r = f->reasm;
	struct nbds_half *h = &r->half[dir];
	struct nbds_half *other = &r->half[!dir];
	struct nbds_wait *w = &h->blind_wait;
	uint64_t due = 0;

	if (h->silent)
		due = h->evidence;
	else if (h->acked_wait.on && nbds_wait_over(f, &h->acked_wait, 1, now))
		due = h->acked_wait.upto;

	if (w->on) {
		uint64_t waited;

		if (now < w->time)
			w->time = now;
		waited = ((uint64_t)now - (uint64_t)w->time) / (uint64_t)f->tcp->limits.patience_ns;
		/* The other side is there and does not acknowledge the bytes:
		 * they were lost on their way, and will be sent again. */
		if (other->heard != w->heard) {
			w->heard = other->heard;
			w->frames = r->frames;
		}
		if (r->frames - w->frames >=
			    (uint64_t)f->tcp->limits.patience_frames * NBDS_BLIND_PATIENCE ||
		    waited >= (other->heard ? NBDS_RESEND_PATIENCE : NBDS_BLIND_PATIENCE)) {
			if (w->upto > due)
				due = w->upto;
		}
	}
	return due;
}

/* Gives up the hole at the front of direction `dir`, as far as `upto`.
 * `fallback` is the reason if the other side did not acknowledge the bytes. */
static bool give_up_hole(struct nbds_flow *f, int dir, uint64_t upto, enum nbds_gap_reason fallback)
{
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_held *piece = h->held.first[0];
	struct nbds_mark mark;
	uint64_t end;

	if (piece) {
		end = piece->offset;
	} else {
		end = h->evidence;
		if (h->fin && h->fin_at > end)
			end = h->fin_at;
	}
	if (end > upto)
		end = upto;
	if (end <= h->next + (piece ? 0 : h->fin_guessed))
		return false;

	if (piece) {
		mark = piece->mark;
	} else if (!h->fin && h->seen == h->next && end == h->next + 1) {
		/* Nobody sends one byte and then nothing, but a FIN that the
		 * capture lost looks so. */
		h->fin_guessed = true;
		return true;
	} else {
		mark = nbds_mark_at(h->evidence > h->next ? &h->evidence_where : &h->fin_where);
		if (h->acked_wait.on && h->acked_wait.heard == h->heard)
			h->silent = true;
	}
	tell_gap(f, dir, end, end <= h->evidence ? NBDS_GAP_LOST : fallback, &mark);
	return true;
}

/* Gives up holes, and waits for the other side, up to due[] in each direction. */
static void give_up(struct nbds_flow *f, const uint64_t due[2], enum nbds_gap_reason fallback)
{
	struct nbds_reasm *r = f->reasm;
	struct nbds_conflict c;
	bool moved;

	do {
		moved = false;
		for (int dir = 0; dir < 2 && !f->ignored; dir++) {
			struct nbds_half *h = &r->half[dir];
			struct nbds_held *piece = h->held.first[0];

			if (h->next >= due[dir] || (piece && piece->offset == h->next))
				continue;
			if (give_up_hole(f, dir, due[dir], fallback)) {
				pump(f);
				moved = true;
			}
		}
		/* What is left waits for the other side.  If that has a hole,
		 * its time will come; else the two wait for each other. */
		for (int dir = 0; dir < 2 && !moved && !f->ignored; dir++) {
			struct nbds_half *h = &r->half[dir];
			struct nbds_held *piece = h->held.first[0];

			if (h->next >= due[dir] || !piece || piece->offset != h->next ||
			    has_hole(&r->half[!dir]))
				continue;
			c = (struct nbds_conflict){.kind = NBDS_CONFLICT_ORDER,
						   .offset = piece->offset,
						   .len = piece->len,
						   .where = piece->mark};
			c.first_ack = c.ack = piece->after;
			tell_first_held(f, dir);
			c.first = h->last.frame <= c.where.frame ? h->last : c.where;
			tell_conflict(f, dir, &c);
			pump(f);
			moved = true;
		}
	} while (moved && !f->ignored);
}

void nbds_reasm_check(struct nbds_flow *f, int64_t now)
{
	uint64_t due[2];

	if (f->ignored)
		return;
	for (int dir = 0; dir < 2; dir++)
		due[dir] = patience_over(f, dir, now);
	if (due[0] > f->reasm->half[0].next || due[1] > f->reasm->half[1].next)
		give_up(f, due, NBDS_GAP_LIMIT);
	if (!f->ignored)
		watch(f, now);
}

void nbds_reasm_flush(struct nbds_flow *f, enum nbds_gap_reason why)
{
	static const uint64_t all[2] = {UINT64_MAX, UINT64_MAX};

	give_up(f, all, why);
}

void nbds_reasm_discarded(struct nbds_reasm *r, int dir, const struct nbds_segment *s)
{
	struct nbds_half *h = &r->half[dir];
	int64_t from, to;

	if (h->base_kind != NBDS_BASE_KNOWN || !s->len)
		return;
	from = nbds_half_offset(h, s->seq);
	to = from + (int64_t)s->len;
	if (to <= (int64_t)h->next || from > (int64_t)h->seen + NBDS_FAR)
		return;
	if (from < (int64_t)h->next)
		from = (int64_t)h->next;
	if (h->bad_to <= h->next) { /* what was there before is settled */
		h->bad_from = (uint64_t)from;
		h->bad_to = (uint64_t)to;
		return;
	}
	if ((uint64_t)from < h->bad_from)
		h->bad_from = (uint64_t)from;
	if ((uint64_t)to > h->bad_to)
		h->bad_to = (uint64_t)to;
}

void nbds_reasm_taken(struct nbds_reasm *r, int dir, const struct nbds_segment *s)
{
	struct nbds_half *h = &r->half[dir];
	int64_t from = h->base_kind == NBDS_BASE_KNOWN ? nbds_half_offset(h, s->seq) : 0, to;

	to = from + (int64_t)s->len;
	if (from < 0)
		from = 0;
	if (to <= from || from > (int64_t)h->seen + NBDS_FAR)
		return;
	if (h->taken_from == h->taken_to) {
		h->taken_from = (uint64_t)from;
		h->taken_to = (uint64_t)to;
		h->taken = (struct nbds_where){s->packet->frame, s->packet->time,
					       s->packet->interface};
		return;
	}
	if ((uint64_t)from < h->taken_from)
		h->taken_from = (uint64_t)from;
	if ((uint64_t)to > h->taken_to)
		h->taken_to = (uint64_t)to;
}

void nbds_reasm_regret(struct nbds_flow *f, int dir)
{
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_conflict c = {.kind = NBDS_CONFLICT_FORGOTTEN, .offset = h->taken_from};

	if (h->taken_from == h->taken_to)
		return;
	c.len = h->taken_to - h->taken_from;
	c.first = nbds_mark_at(&h->taken);
	c.where = c.first;
	h->taken_from = h->taken_to = 0;
	tell_conflict(f, dir, &c);
}

void nbds_reasm_drop(struct nbds_flow *f)
{
	for (int dir = 0; dir < 2; dir++) {
		struct nbds_held_list *list = &f->reasm->half[dir].held;

		while (list->first[0])
			nbds_held_free(&f->tcp->pool, nbds_held_take(list));
	}
}

/* --- bytes --- */

/* A segment's payload: [offset, end), `caplen` bytes of it here. */
struct payload_span {
	uint64_t offset, end;
	const uint8_t *data;
	uint32_t caplen;
};

/* The captured bytes of `s` from `from` to `to`. */
static uint32_t captured(const struct payload_span *s, uint64_t from, uint64_t to)
{
	uint64_t cut = s->offset + s->caplen;

	if (to > cut)
		to = cut;
	return from < to ? (uint32_t)(to - from) : 0;
}

/* The copy of [from, to) that was captured first, part of `piece`, may be a
 * retransmission, which acknowledges what the first transmission was answered
 * with.  Now another copy is here and acknowledges less, only `ack`: the bytes
 * wait for no more than that.  Returns the piece with those bytes. */
static struct nbds_held *wait_less(struct nbds_flow *f, int dir, struct nbds_held *piece,
				   uint64_t from, uint64_t to, uint64_t ack)
{
	struct nbds_tcp *t = f->tcp;
	struct nbds_held_list *list = &f->reasm->half[dir].held;
	uint64_t room = t->limits.held_total - t->pool.held;

	if (piece->after == NBDS_NO_ACK || ack >= piece->after)
		return piece;
	if (room > t->limits.held_direction - list->cost)
		room = t->limits.held_direction - list->cost;
	if (from > piece->offset || to < piece->offset + piece->len) {
		struct nbds_held *rest;

		if (room / 2 < nbds_held_cost(piece->caplen))
			return piece;
		if (to < piece->offset + piece->len && !nbds_held_split(&t->pool, list, piece, to))
			return piece;
		if (from > piece->offset) {
			rest = nbds_held_split(&t->pool, list, piece, from);
			if (!rest)
				return piece;
			piece = rest;
		}
	}
	piece->after = ack;
	return piece;
}

/* Whether the copies differ; if so, *from and *len are what lies between the first and
 * the last byte that does. */
static bool unlike(const uint8_t *a, const uint8_t *b, uint64_t *from, uint32_t *len)
{
	if (!memcmp(a, b, *len))
		return false;
	for (; *a == *b; a++, b++, ++*from)
		--*len;
	while (a[*len - 1] == b[*len - 1])
		--*len;
	return true;
}

enum copies { COPIES_ALIKE, COPIES_UNLIKE, COPIES_UNKNOWN };

/* The same of a copy and of bytes that were told, from `skip` on. */
static enum copies compare_copy(const struct nbds_tcp *t, const struct told_head *told,
				uint32_t skip, const uint8_t *copy, uint64_t *from, uint32_t *len)
{
	uint64_t first = *from, end = 0;
	uint8_t step[REREAD_STEP];
	uint32_t n;

	if (!told->place)
		return unlike(copy, (const uint8_t *)(told + 1) + skip, from, len) ? COPIES_UNLIKE
										   : COPIES_ALIKE;
	for (uint32_t at = 0; at < *len; at += n) {
		uint64_t differ = *from + at;
		uint32_t differing;

		differing = n = *len - at < REREAD_STEP ? *len - at : REREAD_STEP;
		if (!t->reread.read(t->reread.ctx, told->place + skip + at, step, n))
			return COPIES_UNKNOWN;
		if (!unlike(copy + at, step, &differ, &differing))
			continue;
		if (!end)
			first = differ;
		end = differ + differing;
	}
	if (!end)
		return COPIES_ALIKE;
	*from = first;
	*len = (uint32_t)(end - first);
	return COPIES_UNLIKE;
}

/* Compares the segment with the pieces held: the first copy stays.  Returns how far
 * the segment is to be taken. */
static uint64_t compare(struct nbds_flow *f, int dir, const struct payload_span *s,
			const struct nbds_mark *mark)
{
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_held *piece = nbds_held_find(&h->held, s->offset);
	unsigned pieces = 0;

	for (; piece && piece->offset < s->end && !f->ignored; piece = piece->next[0]) {
		uint64_t from = piece->offset > s->offset ? piece->offset : s->offset;
		uint64_t to = piece->offset + piece->len < s->end ? piece->offset + piece->len
								  : s->end;
		uint32_t len = captured(s, from, to);
		const uint8_t *a, *b;
		struct payload_span copy;

		if (pieces++ == NBDS_OVERLAPS_MAX)
			return from;
		f->tcp->stats.retransmitted_bytes += to - from;
		piece = wait_less(f, dir, piece, from, to, mark->ack);
		copy = (struct payload_span){piece->offset, piece->offset + piece->len, piece->data,
					     piece->caplen};
		if (len > captured(&copy, from, to))
			len = captured(&copy, from, to);
		if (!len)
			continue;
		a = s->data + (from - s->offset);
		b = piece->data + (from - piece->offset);
		if (!unlike(a, b, &from, &len)) {
			if (piece->first_ack != mark->ack && piece->first_ack != NBDS_NO_ACK &&
			    mark->ack != NBDS_NO_ACK) {
				piece->other_ack = mark->ack;
				piece->mark.ack = NBDS_NO_ACK; /* it is not known */
			}
			continue;
		}
		if (piece->unlike >= piece->unlike_end) {
			piece->unlike = from;
			piece->unlike_end = from + len;
			piece->unlike_mark = *mark;
			continue;
		}
		if (from < piece->unlike)
			piece->unlike = from;
		if (from + len > piece->unlike_end)
			piece->unlike_end = from + len;
	}
	return s->end;
}

/* Copies of bytes that are remembered no more came: a receiver that had acknowledged the
 * first one discards them. */
static void forgotten(struct nbds_flow *f, int dir, uint64_t from, uint64_t to,
		      const struct nbds_mark *mark)
{
	const struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_conflict c = {.kind = NBDS_CONFLICT_FORGOTTEN, .where = *mark};

	if (from < h->acked)
		from = h->acked;
	if (from >= to)
		return;
	c.offset = from;
	c.len = to - from;
	c.first = nbds_mark_at(&h->flight);
	tell_conflict(f, dir, &c);
}

/* Compares the part of the segment that was told already, and is remembered. */
static void compare_told(struct nbds_flow *f, int dir, const struct payload_span *s,
			 const struct nbds_mark *mark)
{
	const struct nbds_recall *recall = &f->tcp->recall;
	const struct nbds_half *h = &f->reasm->half[dir];
	uint64_t to = s->end < h->next ? s->end : h->next;
	bool lost;
	struct nbds_recall_record *record = nbds_recall_find(recall, h->told, to - 1, &lost);
	unsigned pieces = 0;

	/* What lies between records was missing, as far as is known. */
	for (; record && !f->ignored; record = nbds_recall_previous(recall, record, &lost)) {
		struct nbds_conflict c = {.where = *mark};
		const struct told_head *told;
		enum copies copies = COPIES_ALIKE;
		uint64_t from, end;
		uint32_t len;

		if (pieces++ == NBDS_OVERLAPS_MAX) {
			lost = true;
			break;
		}
		told = (const struct told_head *)(record + 1);
		from = record->key > s->offset ? record->key : s->offset;
		end = record->key + told->len < to ? record->key + told->len : to;
		len = captured(s, from, end);
		c.first = told->mark;
		c.offset = from;
		if (len)
			copies = compare_copy(f->tcp, told, (uint32_t)(from - record->key),
					      s->data + (from - s->offset), &c.offset, &len);
		if (copies == COPIES_UNKNOWN) {
			forgotten(f, dir, from, end, mark);
		} else if (copies == COPIES_UNLIKE) {
			c.kind = NBDS_CONFLICT_BYTES;
			c.len = len;
			tell_conflict(f, dir, &c);
		} else if (from < end && told->mark.ack != mark->ack &&
			   told->mark.ack != NBDS_NO_ACK && mark->ack != NBDS_NO_ACK) {
			c.kind = NBDS_CONFLICT_ACK;
			c.len = end - from;
			c.first_ack = told->mark.ack;
			c.ack = mark->ack;
			tell_conflict(f, dir, &c);
		}
		if (record->key <= s->offset)
			return;
		if (record->key < to)
			to = record->key;
	}
	if (lost)
		forgotten(f, dir, s->offset, to, mark);
}

/* Keeps a copy of the bytes from `from` to `to`. */
static bool hold(struct nbds_flow *f, int dir, const struct payload_span *s, uint64_t from,
		 uint64_t to, const struct nbds_mark *mark)
{
	struct nbds_tcp *t = f->tcp;
	struct nbds_half *h = &f->reasm->half[dir];
	uint32_t caplen = captured(s, from, to);
	uint64_t cost = nbds_held_cost(caplen);
	struct nbds_held *piece;

	if (h->held.cost + cost > t->limits.held_direction)
		return false;
	if (t->pool.held + cost > t->limits.held_total && !nbds_tcp_relieve(t, cost))
		return false;
	piece = nbds_held_new(&t->pool, from, (uint32_t)(to - from),
			      caplen ? s->data + (from - s->offset) : NULL, caplen, mark);
	if (!piece)
		return false;
	nbds_held_insert(&h->held, piece);
	return true;
}

/* There is no room for bytes at `from`: the direction moves on towards them. */
static void make_room(struct nbds_flow *f, int dir, uint64_t from, const struct nbds_mark *mark)
{
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_held *piece = h->held.first[0];

	if (piece && piece->offset == h->next)
		tell_first_held(f, dir);
	else if (piece && piece->offset < from)
		tell_gap(f, dir, piece->offset, NBDS_GAP_LIMIT, &piece->mark);
	else
		tell_gap(f, dir, from, NBDS_GAP_LIMIT, mark);
	pump(f);
}

/* Bytes after the FIN: either they or the FIN were not the sender's.  (A byte in the
 * FIN's place is a keep-alive.) */
static void after_fin(struct nbds_flow *f, int dir, const struct payload_span *s,
		      const struct nbds_mark *mark)
{
	const struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_conflict c = {.kind = NBDS_CONFLICT_BYTES, .where = *mark};

	if (s->end == h->fin_at + 1 && s->offset == h->fin_at)
		return;
	c.offset = s->offset > h->fin_at ? s->offset : h->fin_at;
	c.len = s->end - c.offset;
	c.first = nbds_mark_at(&h->fin_where);
	tell_conflict(f, dir, &c);
}

/* Tells, holds or drops the payload of a segment. */
static void take(struct nbds_flow *f, int dir, const struct payload_span *s,
		 const struct nbds_mark *mark)
{
	struct nbds_half *h = &f->reasm->half[dir];
	uint64_t pos = s->offset, end = s->end;

	if (h->fin && end > h->fin_at) {
		after_fin(f, dir, s, mark);
		end = h->fin_at;
	}
	if (pos < h->next && pos < end) {
		compare_told(f, dir, s, mark);
		f->tcp->stats.retransmitted_bytes += (end < h->next ? end : h->next) - pos;
		pos = h->next;
		if (end > pos)
			f->tcp->stats.overlaps++;
	}
	if (h->held.first[0] && pos < end) {
		uint64_t upto = compare(f, dir, s, mark);

		if (end > upto)
			end = upto;
	}
	while (pos < end && !f->ignored) {
		struct nbds_held *piece = NULL;
		uint64_t to = end;
		uint32_t caplen;

		if (pos < h->next) {
			pos = h->next;
			continue;
		}
		if (h->held.first[0])
			piece = nbds_held_find(&h->held, pos);
		if (piece && piece->offset < end) {
			f->tcp->stats.overlaps++;
			if (piece->offset <= pos) {
				pos = piece->offset + piece->len;
				continue;
			}
			to = piece->offset;
		}
		if (pos != h->next || !answered(f, dir, mark->ack)) {
			if (hold(f, dir, s, pos, to, mark)) {
				pos = to;
				continue;
			}
			if (pos != h->next) {
				make_room(f, dir, pos, mark);
				continue;
			}
		}
		caplen = captured(s, pos, to);
		tell_data(f, dir, caplen ? s->data + (pos - s->offset) : NULL, caplen,
			  (uint32_t)(to - pos), mark);
		pos = to;
		if (f->stalled)
			pump(f);
	}
}

/* --- segments --- */

int64_t nbds_half_offset(const struct nbds_half *h, uint32_t seq)
{
	uint32_t here = h->base + (uint32_t)h->seen;

	return (int64_t)h->seen + (int32_t)(seq - here);
}

/* What the other side acknowledged before the base was known. */
static void old_ack(struct nbds_half *h, const struct nbds_where *where)
{
	int64_t ack = nbds_half_offset(h, h->raw_ack);

	if (!h->raw_ack_known || ack <= 0 || ack > NBDS_FAR)
		return;
	h->acked = h->evidence = (uint64_t)ack;
	h->evidence_where = *where;
}

void nbds_reasm_base(struct nbds_reasm *r, int dir, uint32_t base, const struct nbds_where *syn)
{
	struct nbds_half *h = &r->half[dir];

	h->base = base;
	h->base_kind = NBDS_BASE_KNOWN;
	h->syn = true;
	h->clean = true;
	if (syn) {
		h->last = nbds_mark_at(syn);
		h->lo_frame = syn->frame;
		h->lo_time = syn->time;
	}
}

/* The base of a direction whose SYN was not seen, from a segment without SYN. */
static void guess_base(struct nbds_half *h, const struct nbds_segment *s,
		       const struct nbds_where *where)
{
	bool fills = s->len || s->flags & NBDS_TCP_FIN;
	int32_t ahead = (int32_t)(s->seq - h->base);

	if (h->base_kind == NBDS_BASE_NONE) {
		h->base = s->seq;
		h->base_kind = NBDS_BASE_WEAK;
		h->gap_told = true;
		if (!fills)
			return;
	} else if (!fills) {
		if (ahead > 0)
			h->base = s->seq;
		return;
	} else if (ahead == 0) {
		/* Its sender's number was here before there was any payload. */
		h->clean = true;
	} else if (ahead == 1 || ahead < 0 || ahead > NBDS_FAR) {
		/* A keep-alive's number is one too low. */
		h->base = s->seq;
	}
	h->base_kind = NBDS_BASE_KNOWN;
	old_ack(h, where);
}

/* How far the windows of the other side reach at most. */
static void window(struct nbds_reasm *r, int dir, const struct nbds_segment *s, uint64_t ack)
{
	struct nbds_half *h = &r->half[dir];
	int8_t scale = r->half[!dir].scale;
	uint64_t edge;

	if (scale == NBDS_SCALE_UNSEEN || h->scale == NBDS_SCALE_UNSEEN)
		return;
	if (s->flags & NBDS_TCP_SYN || scale < 0 || h->scale < 0)
		scale = 0; /* both have to offer it */
	edge = ack + ((uint64_t)s->window << scale);
	if (edge > h->edge)
		h->edge = edge;
}

/* Has the receiver all of it? */
static bool had_all(const struct nbds_had *had, const struct nbds_arrival *a)
{
	bool all = a->end <= had->ack;

	for (unsigned i = 0; i < had->count; i++)
		all |= a->offset >= had->blocks[i].from && a->end <= had->blocks[i].to;
	return all;
}

/* Has it nothing of it? */
static bool had_none(const struct nbds_had *had, uint64_t offset, uint64_t end)
{
	bool none = offset >= had->ack;

	for (unsigned i = 0; i < had->count; i++)
		none &= end <= had->blocks[i].from || offset >= had->blocks[i].to;
	return none;
}

/* What the other side has beyond what it acknowledges, by its segment `s`. */
static void has_behind(const struct nbds_tcp *t, struct nbds_half *h, const struct nbds_segment *s,
		       uint64_t ack)
{
	struct nbds_had had = {.ack = ack};
	bool all = s->sack_count < NBDS_SACK_FULL;
	uint64_t most = 0;

	for (unsigned i = 0; i < s->sack_count; i++) {
		int64_t from = nbds_half_offset(h, s->sack[i].from);
		int64_t to = nbds_half_offset(h, s->sack[i].to);

		if (to <= (int64_t)ack)
			continue; /* another copy of what it had already (RFC 2883) */
		/* or is it of what was not seen? */
		if (from <= (int64_t)ack || to <= from || to > (int64_t)h->seen ||
		    (s->checksum != NBDS_SUM_RIGHT && !ends_at(t, h, (uint64_t)to))) {
			all = false;
			continue;
		}
		if (all) {
			had.blocks[had.count].from = (uint64_t)from;
			had.blocks[had.count++].to = (uint64_t)to;
		}
		if ((uint64_t)to > most)
			most = (uint64_t)to;
		if (h->jump.on && (uint64_t)from <= h->jump.to && (uint64_t)to > h->jump.to) {
			h->jump.sacked = true;
			h->jump.sack_ack = ack;
		}
	}
	/* as an acknowledgement does */
	if (!h->clean && most > h->clean_after)
		h->clean = true;
	for (unsigned i = 0; all && i < 2; i++) {
		const struct nbds_arrival *a = &h->arrived[i];

		if (!a->frame || !had_all(&had, a))
			continue;
		had.frame = a->frame;
		had.time = a->time;
		if (had.frame >= h->had.frame)
			h->had = had;
		break;
	}
}

/* Direction `dir` is acknowledged by the segment `s` of the other one.  True if
 * that is news. */
static bool acknowledged(struct nbds_reasm *r, int dir, const struct nbds_segment *s,
			 const struct nbds_where *where, struct nbds_mark *mark)
{
	struct nbds_half *h = &r->half[dir];
	int64_t ack;

	if (!(s->flags & NBDS_TCP_ACK))
		return false;
	if (h->base_kind != NBDS_BASE_KNOWN) {
		if (!h->raw_ack_known || (int32_t)(s->ack - h->raw_ack) > 0)
			h->raw_ack = s->ack;
		h->raw_ack_known = true;
		return false;
	}
	ack = nbds_half_offset(h, s->ack);
	if (ack > (int64_t)h->seen + NBDS_FAR || ack < (int64_t)h->seen - NBDS_FAR)
		return false;
	if (ack < 0)
		ack = 0;
	if (h->fin && (uint64_t)ack > h->fin_at)
		ack = (int64_t)h->fin_at; /* the FIN has a number too */
	mark->ack = (uint64_t)ack;
	if (s->checksum != NBDS_SUM_RIGHT)
		mark->flags |= NBDS_MARK_ACK_DOUBT;
	window(r, dir, s, (uint64_t)ack);
	if (!h->clean && (uint64_t)ack > h->clean_after && (uint64_t)ack <= h->seen)
		h->clean = true;
	if (s->sack_count)
		has_behind(r->flow->tcp, h, s, (uint64_t)ack);
	if ((uint64_t)ack > h->acked)
		h->acked = (uint64_t)ack;
	if ((uint64_t)ack <= h->evidence)
		return false;
	h->evidence = (uint64_t)ack;
	h->evidence_where = *where;
	return true;
}

/* Nothing of what the direction sends since its last byte told may be what it seems. */
static void doubt(struct nbds_flow *f, int dir, const struct nbds_mark *mark)
{
	const struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_conflict c = {
		.kind = NBDS_CONFLICT_FORGOTTEN,
		.offset = h->next,
		.len = 1,
		.first = h->last,
		.where = *mark,
	};

	tell_conflict(f, dir, &c);
}

/* The direction begins at `seq`, below what its SYN said: that was not its sender's. */
static void begin_again(struct nbds_half *h, uint32_t seq)
{
	h->base = seq;
	h->sent = h->acked = h->evidence = h->edge = 0;
	h->clean = false;
	h->gap_told = true;
	h->jump.on = false;
	h->had.frame = h->arrived[0].frame = h->arrived[1].frame = h->idle_frame = 0;
	h->acked_wait.on = h->blind_wait.on = false;
}

/* A segment far away from the window: false as long as nothing shows that the
 * stream has moved there. */
static bool moved_far(struct nbds_flow *f, int dir, const struct nbds_segment *s,
		      const struct nbds_mark *mark)
{
	struct nbds_half *h = &f->reasm->half[dir];
	uint64_t skipped;

	if (h->fin) /* nothing follows */
		return false;
	if (!h->far_run) /* is what it sends here no more, or is this not from there? */
		doubt(f, dir, mark);
	h->far_run = h->far_run && s->seq == h->far_next ? (uint8_t)(h->far_run + 1) : 1;
	h->far_next = s->seq + s->len;
	if (h->far_run < NBDS_FAR_RUN)
		return false;
	h->far_run = 0;
	nbds_reasm_flush(f, NBDS_GAP_LIMIT);
	if (f->ignored)
		return false;
	skipped = (uint32_t)(s->seq - (h->base + (uint32_t)h->next));
	tell_gap(f, dir, h->next + skipped, NBDS_GAP_LIMIT, mark);
	return true;
}

/* --- out of order --- */

/* Was the segment sent before the one behind the hole? */
static bool sent_before(const struct nbds_tcp *t, const struct nbds_half *other,
			const struct nbds_jump *j, const struct nbds_segment *s,
			const struct nbds_mark *mark)
{
	if (j->stamped && s->stamped && (int32_t)(s->stamp - j->stamp) < 0)
		return true;
	return mark->ack != NBDS_NO_ACK && j->ack != NBDS_NO_ACK && mark->ack < j->ack &&
	       (!(mark->flags & NBDS_MARK_ACK_DOUBT) || ends_at(t, other, mark->ack));
}

/* The first segment behind a hole. */
static void jump_starts(struct nbds_flow *f, int dir, uint64_t offset, uint64_t end,
			const struct nbds_segment *s, struct nbds_mark *mark)
{
	struct nbds_half *h = &f->reasm->half[dir];
	bool doubt = mark->flags & NBDS_MARK_ACK_DOUBT && mark->ack != NBDS_NO_ACK &&
		     !ends_at(f->tcp, &f->reasm->half[!dir], mark->ack);

	h->jump = (struct nbds_jump){.on = true,
				     .stamped = s->stamped,
				     .stamp = s->stamp,
				     .from = h->seen,
				     .to = offset,
				     .end = end,
				     .ack = doubt ? NBDS_NO_ACK : mark->ack};
	mark->flags |= NBDS_MARK_BEHIND;
}

/* A segment comes while there is a hole. */
static void jump_goes_on(struct nbds_flow *f, int dir, uint64_t offset, uint64_t end,
			 const struct nbds_segment *s, struct nbds_mark *mark)
{
	struct nbds_half *h = &f->reasm->half[dir];
	struct nbds_jump *j = &h->jump;
	const struct nbds_held *piece;

	if (end <= j->from || (offset >= j->to && end <= j->end))
		return; /* another copy */
	if (offset >= j->to) {
		if (offset == j->end && offset == h->seen && offset == h->sent) {
			j->end = end;
			mark->flags |= NBDS_MARK_BEHIND;
		} else {
			j->on = false; /* another hole, or a copy of a part of it */
		}
		return;
	}
	piece = h->held.first[0] ? nbds_held_find(&h->held, offset) : NULL;
	if (offset < j->from || end > j->to || offset < h->next || offset < h->acked ||
	    (piece && piece->offset < end)) {
		j->on = false;
		return;
	}
	if (sent_before(f->tcp, &f->reasm->half[!dir], j, s, mark)) {
		mark->flags |= NBDS_MARK_EARLIER;
	} else if (!j->sacked || offset < j->sack_ack) {
		j->on = false;
		return;
	}
	j->filled += end - offset;
	if (j->filled < j->to - j->from)
		return;
	j->on = false;
	h->settled_from = j->to;
	h->settled_to = j->end;
	h->clean |= !h->gap_told && h->seen == j->end;
}

/* The payload [offset, end) is here. */
static void arrives(struct nbds_half *h, uint64_t offset, uint64_t end, struct nbds_mark *mark)
{
	if (h->had.frame && !had_none(&h->had, offset, end))
		return;
	if (h->had.frame) {
		mark->flags |= NBDS_MARK_SINCE;
		mark->lo_frame = h->had.frame;
		mark->lo_time = h->had.time;
	}
	if (offset < h->acked || offset < h->next)
		return;
	h->arrived[1] = h->arrived[0];
	h->arrived[0] = (struct nbds_arrival){offset, end, mark->frame, mark->time};
}

/* Judges the payload [offset, end): is this its first transmission?  Marks it,
 * and moves the highest byte seen. */
static void judge(struct nbds_flow *f, int dir, uint64_t offset, uint64_t end,
		  const struct nbds_segment *s, struct nbds_mark *mark)
{
	struct nbds_half *h = &f->reasm->half[dir];
	int64_t now = s->packet->time;

	mark->flags &= NBDS_MARK_ACK_DOUBT;
	if (h->clean && offset == h->seen && offset == h->sent && offset >= h->acked)
		mark->flags |= NBDS_MARK_FIRST_TX;
	else
		mark->flags |= NBDS_MARK_LATE;
	if (h->jump.on)
		jump_goes_on(f, dir, offset, end, s, mark);
	else if (h->clean && offset > h->seen && offset >= h->sent && offset >= h->acked)
		jump_starts(f, dir, offset, end, s, mark);
	arrives(h, offset, end, mark);

	if (offset > h->seen) {
		if (h->clean)
			h->gap_told = false;
		h->clean = false;
		h->clean_after = offset;
	}
	if (offset > h->next)
		f->tcp->stats.out_of_order++;

	if (end <= h->seen)
		return;
	if (h->evidence > h->seen && offset <= h->seen) {
		/* Acknowledged, and only now sent?  Either the capture has the
		 * acknowledgements too early, and these bytes come late, or
		 * the number was wrong. */
		if (++h->refuted > f->tcp->limits.patience_frames) {
			h->refuted = 0;
			h->evidence = h->next;
		} else if (h->acked_wait.on) {
			h->acked_wait.frames = f->reasm->frames;
			h->acked_wait.time = now;
		}
	}
	h->seen = end;
	h->ends[h->ends_next] = (uint32_t)end;
	h->ends_next = (h->ends_next + 1) % NBDS_ENDS;
	if (h->seen >= h->evidence)
		h->refuted = 0;
	if (end > h->sent)
		h->sent = end;
}

static void finished(struct nbds_flow *f, int dir, uint64_t at, const struct nbds_where *where,
		     uint64_t ack)
{
	struct nbds_half *h = &f->reasm->half[dir];

	if (h->fin || at < h->seen)
		return;
	h->fin = f->fin[dir] = true;
	h->fin_guessed = false;
	h->fin_at = at;
	h->fin_where = *where;
	h->fin_ack = ack;
	if (at > h->sent)
		h->sent = at;
	if (h->evidence > at) /* the FIN's acknowledgement was here before it */
		h->evidence = at;
}

void nbds_reasm_segment(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_reasm *r = f->reasm;
	struct nbds_half *h = &r->half[dir], *other = &r->half[!dir];
	const struct nbds_packet *p = s->packet;
	struct nbds_where where = {p->frame, p->time, p->interface};
	struct nbds_mark mark = nbds_mark_at(&where);
	uint32_t len = s->len, caplen = s->caplen < len ? s->caplen : len;
	bool syn = s->flags & NBDS_TCP_SYN, fin = s->flags & NBDS_TCP_FIN;
	bool news, keepalive = false;
	int64_t offset;

	h->heard++;
	h->silent = false;
	if (h->base_kind != NBDS_BASE_KNOWN && !syn)
		guess_base(h, s, &where);
	news = acknowledged(r, !dir, s, &where, &mark);
	offset = nbds_half_offset(h, s->seq + syn);

	if (syn || len)
		nbds_flow_opened(f, &mark);
	nbds_reasm_frame(f, dir, &mark);
	if (f->ignored)
		return;

	if (len && offset < 0 && h->syn && !h->seen && !(offset == -1 && len == 1)) {
		doubt(f, dir, &mark);
		begin_again(h, s->seq);
		offset = 0;
	}
	if (len || fin) {
		if (offset > (int64_t)h->seen + NBDS_FAR || offset < (int64_t)h->seen - NBDS_FAR) {
			if (!moved_far(f, dir, s, &mark))
				goto out;
			offset = (int64_t)h->next;
		} else {
			h->far_run = 0;
		}
	}
	if (h->base_kind == NBDS_BASE_KNOWN && !syn && !fin && len <= 1 &&
	    offset == (int64_t)h->seen - 1 && (!len || h->acked >= h->seen)) {
		/* One below the next byte: empty, or with one byte of garbage. */
		keepalive = true;
		f->tcp->stats.keepalives++;
	}
	if (!len && !syn && !fin && h->base_kind == NBDS_BASE_KNOWN && offset >= 0) {
		if ((uint64_t)offset == h->seen && h->sent == h->seen) {
			h->clean = true;
			if (mark.ack == NBDS_NO_ACK || mark.ack >= other->acked) {
				h->idle_at = h->seen;
				h->idle_frame = p->frame;
				h->idle_time = p->time;
			}
		} else if (offset > (int64_t)h->seen && offset <= (int64_t)h->seen + NBDS_FAR &&
			   (uint64_t)offset > h->sent)
			h->sent = (uint64_t)offset; /* bytes were sent and not seen */
	}
	if ((len && !keepalive) || fin || news)
		r->frames++;

	if (len && !keepalive) {
		struct payload_span span = {0, 0, s->payload, caplen};
		uint32_t skip = 0;

		if (offset < 0) /* before the first byte */
			skip = offset + (int64_t)len > 0 ? (uint32_t)-offset : len;
		f->tcp->stats.retransmitted_bytes += skip;
		span.offset = (uint64_t)(offset + skip);
		span.end = span.offset + (len - skip);
		if (skip < caplen) {
			span.data += skip;
			span.caplen -= skip;
		} else {
			span.caplen = 0;
		}
		if (span.offset < span.end) {
			judge(f, dir, (uint64_t)span.offset, span.end, s, &mark);
			if (skip)
				mark.flags = NBDS_MARK_LATE;
			if (h->next == span.offset && !h->held.first[0] && !h->fin &&
			    answered(f, dir, mark.ack))
				tell_data(f, dir, span.data, span.caplen,
					  (uint32_t)(span.end - span.offset), &mark);
			else
				take(f, dir, &span, &mark);
		}
	}
	if (fin && offset + (int64_t)len >= 0)
		finished(f, dir, (uint64_t)(offset + len), &where, mark.ack);
out:
	/* Of a flow that only acknowledgements and FINs were seen of, nothing is
	 * told yet. */
	if (f->ignored || !f->opened)
		return;
	if (f->stalled || nbds_half_waits(h) || nbds_half_waits(other)) {
		pump(f);
		if (!f->ignored) {
			watch(f, p->time);
			nbds_reasm_check(f, p->time);
		}
	}
}
