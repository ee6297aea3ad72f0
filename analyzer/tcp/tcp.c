/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tcp.c - the flows: finding, opening, taking over, closing, forgetting them.
 * See internal.h for how the parts hang together. */
#include "internal.h"

#include <base/assert.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define DEFAULT_HELD_DIRECTION  ((uint64_t)16 << 20)
#define DEFAULT_HELD_TOTAL      ((uint64_t)256 << 20)
#define DEFAULT_REMEMBERED      ((uint64_t)16 << 20)
#define DEFAULT_FLOWS           (1u << 20)
#define DEFAULT_PATIENCE_FRAMES 64
#define DEFAULT_PATIENCE_NS     200000000

/* What may be read again is remembered in this part of the memory for that: a note for each
 * segment instead of its bytes, which for one of 512 bytes still reaches back as far. */
#define REREAD_SHARE 4u
/* Closed flows remembered: an eighth of the most flows, within these. */
#define DEAD_LEAST 16
#define DEAD_MOST  65536

#define BUCKETS_FIRST 256

/* So many ignored flows for each that is followed. */
#define IGNORED_EACH  4
#define IGNORED_LEAST 16

/* What hangs in the table for each flow: the ignored and the closed ones remembered, and
 * for all of these at most two buckets (a table just grown). */
_Static_assert(sizeof(struct nbds_flow) + sizeof(struct nbds_reasm) +
			       IGNORED_EACH * sizeof(struct nbds_flow) +
			       sizeof(struct nbds_flow) / 8 +
			       (IGNORED_EACH + 2) * 2 * sizeof(void *) <=
		       NBDS_FLOW_BYTES,
	       "a flow takes more than tcp.h says");

/* Waiting flows looked at for each packet, and passed over for room. */
#define LOOKS_EACH    16
#define RELIEVE_LOOKS 64

/* --- memory: blocks of one size, kept until the end --- */

#define SLAB_BLOCKS 64

struct nbds_slab {
	size_t size;
	void *free;   /* blocks, linked by their first word */
	void *chunks; /* linked by their first word */
	uint64_t bytes;
};

static struct nbds_slab *slab_new(size_t size)
{
	struct nbds_slab *slab = calloc(1, sizeof(*slab));

	if (slab)
		slab->size = (size + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) *
			     _Alignof(max_align_t);
	return slab;
}

/* A zeroed block, or NULL. */
static void *slab_get(struct nbds_slab *slab)
{
	void *block;

	if (!slab->free) {
		char *chunk = malloc(_Alignof(max_align_t) + SLAB_BLOCKS * slab->size);

		if (!chunk)
			return NULL;
		memcpy(chunk, &slab->chunks, sizeof(slab->chunks));
		slab->chunks = chunk;
		slab->bytes += _Alignof(max_align_t) + SLAB_BLOCKS * slab->size;
		for (int i = SLAB_BLOCKS - 1; i >= 0; i--) {
			block = chunk + _Alignof(max_align_t) + (size_t)i * slab->size;
			memcpy(block, &slab->free, sizeof(void *));
			slab->free = block;
		}
	}
	block = slab->free;
	memcpy(&slab->free, block, sizeof(void *));
	return memset(block, 0, slab->size);
}

static void slab_put(struct nbds_slab *slab, void *block)
{
	memcpy(block, &slab->free, sizeof(void *));
	slab->free = block;
}

static void slab_free(struct nbds_slab *slab)
{
	if (!slab)
		return;
	while (slab->chunks) {
		void *chunk = slab->chunks;

		memcpy(&slab->chunks, chunk, sizeof(void *));
		free(chunk);
	}
	free(slab);
}

/* --- lists --- */

static void list_init(struct nbds_link *list)
{
	list->prev = list->next = list;
}

static void list_remove(struct nbds_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
}

static void list_append(struct nbds_link *list, struct nbds_link *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

static void list_to_end(struct nbds_link *list, struct nbds_link *link)
{
	if (list->prev == link)
		return;
	list_remove(link);
	list_append(list, link);
}

static struct nbds_flow *flow_of(struct nbds_link *link)
{
	return (struct nbds_flow *)link; /* its first member */
}

/* --- the table --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9fb21c651e98df25);
	return h ^ h >> 32;
}

static uint64_t hash_addr(uint64_t seed, const struct nbds_addr *a)
{
	uint64_t w[2];

	memcpy(w, a->ip, sizeof(w));
	return mix(mix(mix(seed, w[0]), w[1]), (uint64_t)a->family << 16 | a->port);
}

/* The same for both directions. */
static uint32_t hash_pair(const struct nbds_tcp *t, const struct nbds_addr *a,
			  const struct nbds_addr *b)
{
	uint64_t h = hash_addr(t->seed, a) + hash_addr(t->seed, b);

	return (uint32_t)(mix(h, t->seed) >> 16);
}

static struct nbds_flow *find(const struct nbds_tcp *t, const struct nbds_segment *s, uint32_t hash,
			      int *dir)
{
	struct nbds_flow *f = t->table[hash & (t->buckets - 1)];

	for (; f; f = f->chain) {
		if (f->hash != hash)
			continue;
		if (nbds_addr_equal(&f->addr[0], &s->src) &&
		    nbds_addr_equal(&f->addr[1], &s->dst)) {
			*dir = 0;
			return f;
		}
		if (nbds_addr_equal(&f->addr[1], &s->src) &&
		    nbds_addr_equal(&f->addr[0], &s->dst)) {
			*dir = 1;
			return f;
		}
	}
	return NULL;
}

static void table_grow(struct nbds_tcp *t)
{
	uint64_t buckets = t->buckets * 2;
	struct nbds_flow **table = calloc(buckets, sizeof(struct nbds_flow *));

	if (!table)
		return; /* longer chains, then */
	for (uint64_t i = 0; i < t->buckets; i++) {
		struct nbds_flow *f, *next;

		for (f = t->table[i]; f; f = next) {
			struct nbds_flow **bucket = &table[f->hash & (buckets - 1)];

			next = f->chain;
			f->chain = *bucket;
			*bucket = f;
		}
	}
	free(t->table);
	t->table = table;
	t->buckets = buckets;
}

/* --- flows --- */

static struct nbds_mark mark_of(const struct nbds_packet *p)
{
	struct nbds_where where = {p->frame, p->time, p->interface};

	return nbds_mark_at(&where);
}

static void note_last(struct nbds_flow *f, const struct nbds_packet *p)
{
	f->last_frame = p->frame;
	f->last_time = p->time;
	f->last_interface = p->interface;
}

static struct nbds_mark last_mark(const struct nbds_flow *f)
{
	struct nbds_where where = {f->last_frame, f->last_time, f->last_interface};

	return nbds_mark_at(&where);
}

void nbds_flow_opened(struct nbds_flow *f, const struct nbds_mark *where)
{
	struct nbds_tcp *t = f->tcp;

	if (f->opened)
		return;
	f->opened = true;
	t->stats.flows++;
	list_remove(&f->list); /* from the cheap ones */
	list_append(&t->fresh, &f->list);
	if (t->ops.open)
		f->user = t->ops.open(t->ctx, f, &f->addr[0], &f->addr[1],
				      f->reasm->half[0].syn || f->reasm->half[1].syn, where);
}

/* a + b, or the greatest time. */
static int64_t later(int64_t a, int64_t b)
{
	return a > INT64_MAX - b ? INT64_MAX : a + b;
}

void nbds_flow_stall(struct nbds_flow *f, bool waits)
{
	struct nbds_tcp *t = f->tcp;

	if (waits && !f->stalled) {
		f->reasm->look_at = later(t->now, t->limits.patience_ns);
		list_append(&t->stalled, &f->reasm->stalled);
		t->stalled_count++;
	} else if (!waits && f->stalled) {
		list_remove(&f->reasm->stalled);
		t->stalled_count--;
	}
	f->stalled = waits;
}

static void release_reasm(struct nbds_flow *f)
{
	if (!f->reasm)
		return;
	for (int dir = 0; dir < 2; dir++) {
		const struct nbds_half *h = &f->reasm->half[dir];

		if (h->base_kind != NBDS_BASE_KNOWN)
			continue;
		f->isn_known[dir] = h->syn;
		f->isn[dir] = h->base - 1;
		f->end_known[dir] = true;
		f->end[dir] = h->base + (uint32_t)h->seen + h->fin;
	}
	nbds_flow_stall(f, false);
	nbds_reasm_drop(f);
	slab_put(f->tcp->reasms, f->reasm);
	f->reasm = NULL;
}

/* It is not counted in the list any more that it was in. */
static void left_list(struct nbds_flow *f)
{
	struct nbds_tcp *t = f->tcp;

	if (f->state == NBDS_FLOW_DEAD)
		t->dead_count--;
	else if (f->state == NBDS_FLOW_IGNORED)
		t->ignored_count--;
	else
		t->followed--;
}

static void remove_flow(struct nbds_flow *f)
{
	struct nbds_tcp *t = f->tcp;
	struct nbds_flow **at = &t->table[f->hash & (t->buckets - 1)];

	while (*at != f)
		at = &(*at)->chain;
	*at = f->chain;
	t->entries--;
	release_reasm(f);
	list_remove(&f->list);
	left_list(f);
	slab_put(t->flows, f);
}

/* Bytes with wrong checksums were taken, for want of right ones to tell: not so any more,
 * or (at the end) only those of the handshake were. */
static void regret(struct nbds_flow *f, bool end)
{
	for (int dir = 0; dir < 2; dir++) {
		const struct nbds_half *h = &f->reasm->half[dir];
		const struct nbds_sums *sums = &f->sums[dir];

		if (h->taken_from < h->taken_to &&
		    (sums->right > sums->wrong ||
		     (end && !sums->right && sums->wrong < NBDS_SUMS_REFUTED &&
		      sums->bare_right > sums->bare_wrong)))
			nbds_reasm_regret(f, dir);
	}
}

/* Tells the rest of the flow and its end.  The entry stays. */
static void tell_close(struct nbds_flow *f, enum nbds_flow_end how, int by,
		       const struct nbds_mark *where)
{
	struct nbds_tcp *t = f->tcp;

	f->busy++;
	if (f->state == NBDS_FLOW_LIVE && f->opened && !f->ignored) {
		nbds_reasm_flush(f, NBDS_GAP_END);
		if (!f->ignored)
			regret(f, true);
		if (!f->ignored && how != NBDS_FLOW_RST &&
		    ((f->reasm->half[0].fin_told && f->reasm->half[1].fin_told) ||
		     nbds_reasm_end_guessed(f->reasm)))
			how = NBDS_FLOW_FIN; /* only what came before was missing */
		for (int dir = 0; dir < 2; dir++) {
			const struct nbds_half *h = &f->reasm->half[dir];
			struct nbds_mark mark;

			if (how != NBDS_FLOW_FIN || h->fin_told || f->ignored)
				continue;
			mark = nbds_mark_at(&h->evidence_where); /* its FIN was guessed */
			mark.flags |= NBDS_MARK_LATE;
			if (t->ops.half_close)
				t->ops.half_close(t->ctx, f->user, dir, &mark);
		}
	}
	if (f->opened && !f->let_go && t->ops.close)
		t->ops.close(t->ctx, f->user, how, by, where);
	f->user = NULL;
	f->busy--;
}

/* The flow is not followed any more. */
static void become_ignored(struct nbds_flow *f)
{
	struct nbds_tcp *t = f->tcp;

	release_reasm(f);
	left_list(f);
	f->state = NBDS_FLOW_IGNORED;
	list_remove(&f->list);
	list_append(&t->ignored, &f->list);
	if (++t->ignored_count > t->ignored_most) {
		struct nbds_flow *old = flow_of(t->ignored.next);
		struct nbds_mark mark = last_mark(old);

		tell_close(old, NBDS_FLOW_IDLE, -1, &mark);
		remove_flow(old);
	}
}

/* The flow has ended: remembers it for its stragglers. */
static void end_flow(struct nbds_flow *f, enum nbds_flow_end how, int by,
		     const struct nbds_mark *where)
{
	struct nbds_tcp *t = f->tcp;

	tell_close(f, how, by, where);
	release_reasm(f);
	left_list(f);
	f->state = NBDS_FLOW_DEAD;
	f->rst_by = (int8_t)by;
	list_remove(&f->list);
	list_append(&t->dead, &f->list);
	t->dead_count++;
	if (t->dead_count > t->dead_most)
		remove_flow(flow_of(t->dead.next));
}

static void end_wait(struct nbds_reasm *r, bool on, int64_t now)
{
	if (on && !r->end_wait.on) {
		r->end_wait.frames = r->frames;
		r->end_wait.time = now;
	}
	r->end_wait.on = on;
}

/* After work on a flow: has it ended? */
static void settle(struct nbds_flow *f, int64_t now)
{
	struct nbds_reasm *r = f->reasm;
	struct nbds_mark mark;
	bool over;

	if (f->ignored) {
		if (!f->busy)
			become_ignored(f);
		return;
	}
	end_wait(r, r->rst || nbds_reasm_end_guessed(r), now);
	over = r->end_wait.on && nbds_wait_over(f, &r->end_wait, 1, now);
	if (r->half[0].fin_told && r->half[1].fin_told) {
		int later = r->half[1].fin_where.frame > r->half[0].fin_where.frame;

		mark = nbds_mark_at(&r->half[later].fin_where);
		end_flow(f, NBDS_FLOW_FIN, -1, &mark);
	} else if (r->rst && (over || !f->opened || (r->rst_sure && !nbds_reasm_waits(r)))) {
		mark = nbds_mark_at(&r->rst_where);
		end_flow(f, NBDS_FLOW_RST, r->rst_by, &mark);
	} else if (over && nbds_reasm_end_guessed(r)) {
		mark = nbds_mark_at(&r->half[r->half[1].fin_told].fin_where);
		end_flow(f, NBDS_FLOW_FIN, -1, &mark);
	}
}

static struct nbds_flow *stalled_flow(struct nbds_link *link)
{
	struct nbds_reasm *r =
		(struct nbds_reasm *)((char *)link - offsetof(struct nbds_reasm, stalled));

	return r->flow;
}

/* Looks at the flows whose time may have come, `most` of them. */
static void look(struct nbds_tcp *t, int64_t now, uint64_t most)
{
	/* Who is to be looked at after this was noted before the clock was set
	 * back. */
	int64_t latest = later(later(now, t->limits.patience_ns), t->limits.patience_ns);

	t->now = now;
	if (most > t->stalled_count)
		most = t->stalled_count;
	for (; most && t->stalled_count; most--) {
		struct nbds_flow *f = stalled_flow(t->stalled.next);

		if (f->reasm->look_at > now && f->reasm->look_at <= latest)
			break;
		f->reasm->look_at = later(now, t->limits.patience_ns);
		list_to_end(&t->stalled, &f->reasm->stalled);
		f->busy++;
		nbds_reasm_check(f, now);
		f->busy--;
		settle(f, now);
	}
}

/* The flow that has been waiting for the longest and holds something. */
static struct nbds_flow *oldest_holder(struct nbds_tcp *t)
{
	struct nbds_link *link = t->stalled.next;

	for (int i = 0; i < RELIEVE_LOOKS && link != &t->stalled; i++, link = link->next) {
		struct nbds_flow *f = stalled_flow(link);

		if (!f->busy &&
		    (f->reasm->half[0].held.first[0] || f->reasm->half[1].held.first[0]))
			return f;
	}
	return NULL;
}

bool nbds_tcp_relieve(struct nbds_tcp *t, uint64_t bytes)
{
	struct nbds_flow *f;

	while (t->pool.held + bytes > t->limits.held_total) {
		f = oldest_holder(t);
		if (!f)
			return false;
		f->busy++;
		nbds_reasm_flush(f, NBDS_GAP_LIMIT);
		nbds_reasm_check(f, t->now);
		f->busy--;
		settle(f, t->now);
	}
	return true;
}

/* The flow that goes when too many are followed. */
static struct nbds_flow *most_useless(struct nbds_tcp *t)
{
	struct nbds_link *lists[] = {&t->cheap, &t->fresh, &t->live};
	size_t i = 0;

	while (lists[i]->next == lists[i]) {
		i++;
		NBDS_ASSERT(i < 3); /* there are flows */
	}
	return flow_of(lists[i]->next);
}

/* The list that a live flow belongs in. */
static struct nbds_link *list_of(const struct nbds_flow *f)
{
	const struct nbds_half *half = f->reasm->half;

	if (!f->opened)
		return &f->tcp->cheap;
	return half[0].seen || half[1].seen ? &f->tcp->live : &f->tcp->fresh;
}

/* A new flow, in which the segment's sender is `as`; NULL without memory. */
static struct nbds_flow *create(struct nbds_tcp *t, const struct nbds_segment *s, uint32_t hash,
				int as)
{
	struct nbds_flow *f;

	if (t->followed >= t->limits.flows) {
		struct nbds_flow *old = most_useless(t);
		struct nbds_mark mark = last_mark(old);

		tell_close(old, NBDS_FLOW_IDLE, -1, &mark);
		if (list_of(old) == &t->live) {
			old->let_go = true;
			become_ignored(old);
		} else {
			remove_flow(old);
		}
	}
	f = slab_get(t->flows);
	if (!f)
		return NULL;
	f->reasm = slab_get(t->reasms);
	if (!f->reasm) {
		slab_put(t->flows, f);
		return NULL;
	}
	f->reasm->flow = f;
	for (int i = 0; i < 2; i++) {
		f->reasm->half[i].scale = NBDS_SCALE_UNSEEN;
		f->reasm->half[i].lo_time = INT64_MIN;
		f->reasm->half[i].flight.time = INT64_MIN;
		f->reasm->half[i].last.time = INT64_MIN;
		f->reasm->half[i].last.lo_time = INT64_MIN;
		f->reasm->half[i].last.ack = NBDS_NO_ACK;
	}
	f->tcp = t;
	f->hash = hash;
	f->rst_by = -1;
	f->addr[as] = s->src;
	f->addr[!as] = s->dst;
	list_append(&t->cheap, &f->list);
	t->followed++;
	if (t->stats.followed_max < t->followed)
		t->stats.followed_max = t->followed;
	if (t->entries >= t->buckets)
		table_grow(t);
	t->entries++;
	f->chain = t->table[hash & (t->buckets - 1)];
	t->table[hash & (t->buckets - 1)] = f;
	return f;
}

/* --- the start of connections --- */

/* What a SYN that fits no flow, or does not fit its flow, is. */
enum syn {
	SYN_PART,  /* it belongs to the flow */
	SYN_OTHER, /* it starts another connection */
	SYN_STRAY, /* it will be seen */
};

static enum syn judge_syn(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_reasm *r = f->reasm;
	struct nbds_half *h = &r->half[dir], *other = &r->half[!dir];
	uint32_t base = s->seq + 1;

	if (!f->opened)
		return SYN_OTHER;
	if (h->base_kind == NBDS_BASE_KNOWN && h->base == base) {
		/* Who asks has answered before, it seems: that was not from there. */
		if (!(s->flags & NBDS_TCP_ACK) && dir == NBDS_DIR_B &&
		    other->scale == NBDS_SCALE_UNSEEN && !h->seen && !other->seen)
			return SYN_OTHER;
		return SYN_PART;
	}
	if (r->rst || h->fin_told)
		return SYN_OTHER;
	if (s->flags & NBDS_TCP_ACK) {
		/* The answer of a server.  Without the request it proves nothing. */
		if (r->rival && r->rival_dir == !dir && s->ack == r->rival_isn + 1)
			return SYN_OTHER;
		if (other->base_kind == NBDS_BASE_KNOWN && s->ack == other->base) {
			if (h->base_kind == NBDS_BASE_NONE)
				return SYN_PART;
			/* It answers the other's SYN, which nobody did before: a SYN that
			 * came of its own sender was not the sender's. */
			if (!r->answered && !h->seen && !other->seen)
				return SYN_OTHER;
		}
		return h->base_kind == NBDS_BASE_NONE && !other->syn ? SYN_OTHER : SYN_STRAY;
	}
	if (h->base_kind == NBDS_BASE_NONE)
		return other->syn ? SYN_PART : SYN_OTHER; /* both sides opened at a time */
	if (h->syn && other->base_kind == NBDS_BASE_NONE && !h->seen)
		return SYN_OTHER; /* it tries again, nobody answered before */
	r->rival = true;
	r->rival_dir = (int8_t)dir;
	r->rival_isn = s->seq;
	r->rival_where =
		(struct nbds_where){s->packet->frame, s->packet->time, s->packet->interface};
	return SYN_STRAY;
}

/* Whether `s` shows that the SYN which did not fit started another connection. */
static bool rival_won(const struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	const struct nbds_reasm *r = f->reasm;

	if (!r->rival || !(s->flags & NBDS_TCP_ACK))
		return false;
	if (dir == r->rival_dir) /* it goes on from that number, not from the old ones */
		return !(s->flags & NBDS_TCP_SYN) && s->seq == r->rival_isn + 1 &&
		       nbds_half_offset(&r->half[dir], s->seq) != (int64_t)r->half[dir].seen;
	return (s->flags & (NBDS_TCP_SYN | NBDS_TCP_RST)) && s->ack == r->rival_isn + 1;
}

/* The SYN `s` gives its direction, and perhaps the other, a base. */
static void handshake(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_half *h = &f->reasm->half[dir], *other = &f->reasm->half[!dir];
	struct nbds_where where = {s->packet->frame, s->packet->time, s->packet->interface};

	h->scale = s->scale < 0 ? NBDS_SCALE_NONE : s->scale;
	f->reasm->answered |= (s->flags & NBDS_TCP_ACK) != 0;
	if (h->base_kind != NBDS_BASE_KNOWN)
		nbds_reasm_base(f->reasm, dir, s->seq + 1, &where);
	if ((s->flags & NBDS_TCP_ACK) && other->base_kind != NBDS_BASE_KNOWN)
		nbds_reasm_base(f->reasm, !dir, s->ack, NULL);
}

/* Closes the flow: a SYN took its ports over. */
static void taken_over(struct nbds_flow *f, const struct nbds_mark *where)
{
	struct nbds_reasm *r = f->reasm;

	if (r && r->rst) {
		struct nbds_mark mark = nbds_mark_at(&r->rst_where);

		tell_close(f, NBDS_FLOW_RST, r->rst_by, &mark);
	} else {
		f->tcp->stats.reuses += f->opened;
		tell_close(f, NBDS_FLOW_REUSED, -1, where);
	}
	remove_flow(f);
}

/* --- the end of connections --- */

/* What a RST is to who receives it. */
enum rst {
	RST_IGNORED, /* out of its window, or it answers nothing */
	RST_DOUBTED, /* in its window, but not at its start: it may ask (RFC 5961 3.2) */
	RST_ENDS,
};

static enum rst judge_rst(const struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	const struct nbds_half *h = &f->reasm->half[dir], *other = &f->reasm->half[!dir];
	int64_t at, least, most;

	/* After a FIN anything goes: sockets that are gone answer with the
	 * numbers they are asked with. */
	if (h->fin || other->fin)
		return RST_ENDS;
	if (h->base_kind == NBDS_BASE_KNOWN) {
		at = nbds_half_offset(h, s->seq);
		least = (int64_t)(h->acked < h->next ? h->acked : h->next);
		most = (int64_t)(h->sent > h->acked ? h->sent : h->acked);
		if (at >= least && at <= most)
			return RST_ENDS;
		if ((int64_t)h->edge > most)
			most = (int64_t)h->edge;
		else if (!h->edge)
			most += NBDS_RST_ABOVE;
		return at >= least && at <= most ? RST_DOUBTED : RST_IGNORED;
	}
	if (h->raw_ack_known) {
		at = (int32_t)(s->seq - h->raw_ack);
		if (at == 0)
			return RST_ENDS;
		return at > 0 && at <= NBDS_RST_ABOVE ? RST_DOUBTED : RST_IGNORED;
	}
	if (other->base_kind != NBDS_BASE_KNOWN || !(s->flags & NBDS_TCP_ACK))
		return RST_ENDS;
	at = nbds_half_offset(other, s->ack); /* a refused connection */
	return at >= 0 && at <= (int64_t)other->sent + 1 ? RST_ENDS : RST_IGNORED;
}

static void reset(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_reasm *r = f->reasm;
	struct nbds_half *h = &r->half[dir];
	struct nbds_mark mark = mark_of(s->packet);
	enum rst rst;
	int64_t at;

	h->heard++;
	nbds_reasm_frame(f, dir, &mark);
	if (f->ignored || (r->rst && r->rst_sure))
		return;
	rst = judge_rst(f, dir, s);
	if (rst == RST_IGNORED || (r->rst && rst == RST_DOUBTED))
		return;
	at = h->base_kind == NBDS_BASE_KNOWN ? nbds_half_offset(h, s->seq) : 0;
	r->rst = true;
	r->rst_sure = rst == RST_ENDS;
	r->rst_by = (int8_t)dir;
	r->rst_at = at > 0 ? (uint64_t)at : 0;
	r->rst_where = (struct nbds_where){mark.frame, mark.time, mark.interface};
	nbds_flow_stall(f, true);
}

/* A closed flow's segment: is it the start of something new? */
static bool reopens(const struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	int32_t after;

	if (s->flags & NBDS_TCP_RST)
		return false;
	if (s->flags & NBDS_TCP_SYN)
		return !f->isn_known[dir] || f->isn[dir] != s->seq;
	if (!s->len || !f->end_known[dir])
		return false;
	after = (int32_t)(s->seq - f->end[dir]);
	if (after < -NBDS_FAR || after > NBDS_FAR)
		return true;
	/* What the other side had sent before the RST reached it is late, but
	 * who sent the RST sends nothing more, if it was that one. */
	return after >= 0 && (f->rst_by < 0 || f->rst_by == dir);
}

/* An ignored flow's segment.  True if it starts another connection. */
static bool ignored_segment(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_mark mark = mark_of(s->packet);

	note_last(f, s->packet);
	list_to_end(&f->tcp->ignored, &f->list);
	if (s->flags & NBDS_TCP_RST) {
		end_flow(f, NBDS_FLOW_RST, dir, &mark);
		return false;
	}
	if (s->flags & NBDS_TCP_SYN)
		return !(s->flags & NBDS_TCP_ACK) && !(f->isn_known[dir] && f->isn[dir] == s->seq);
	if (s->len || s->flags & NBDS_TCP_FIN) {
		uint32_t end = s->seq + s->len + !!(s->flags & NBDS_TCP_FIN);

		if (!f->end_known[dir] || (int32_t)(end - f->end[dir]) > 0)
			f->end[dir] = end;
		f->end_known[dir] = true;
	}
	if (s->flags & NBDS_TCP_FIN)
		f->fin[dir] = true;
	if (f->fin[0] && f->fin[1])
		end_flow(f, NBDS_FLOW_FIN, -1, &mark);
	return false;
}

/* --- segments --- */

/* Who has sent a RST sends nothing more: it was not from there.  Nor was one in doubt,
 * if either side goes on. */
static bool goes_on(const struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	const struct nbds_reasm *r = f->reasm;
	int64_t offset = nbds_half_offset(&r->half[dir], s->seq);

	if (!s->len)
		return false;
	if (r->rst_sure)
		return r->rst_by == dir && offset >= (int64_t)r->rst_at;
	return offset >= (int64_t)r->half[dir].seen;
}

static void live_segment(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_reasm *r = f->reasm;
	int64_t now = s->packet->time;

	note_last(f, s->packet);
	f->busy++;
	if (s->flags & NBDS_TCP_RST) {
		reset(f, dir, s);
	} else {
		if (s->flags & NBDS_TCP_SYN)
			handshake(f, dir, s);
		if (r->rst && goes_on(f, dir, s))
			r->rst = false;
		nbds_reasm_segment(f, dir, s);
	}
	if (f->opened && !f->ignored)
		regret(f, false);
	f->busy--;
	list_to_end(list_of(f), &f->list);
	settle(f, now);
}

static void sync_stats(struct nbds_tcp *t)
{
	t->stats.held_now = t->pool.held;
	t->stats.held_max = t->pool.most;
}

/* Counts up to the largest number; then both are halved, so that their relation stays. */
static void count(uint16_t *n, uint16_t *other)
{
	if (*n == UINT16_MAX) {
		*n /= 2;
		*other /= 2;
	}
	++*n;
}

/* Its checksum is wrong where those of its direction are right: who receives it
 * discards it.  Takes note of the checksum if not. */
static bool discarded(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_sums *sums = &f->sums[dir];
	uint16_t *right = s->len ? &sums->right : &sums->bare_right;
	uint16_t *wrong = s->len ? &sums->wrong : &sums->bare_wrong;
	bool bad = (s->checksum == NBDS_SUM_WRONG && *right > *wrong) ||
		   (s->ip_checksum == NBDS_SUM_WRONG && sums->ip_right > sums->ip_wrong);

	if (bad && (sums->refuted < NBDS_SUMS_REFUTED ||
		    sums->discarded < sums->right / NBDS_SUMS_SHARE)) {
		uint16_t none = 0;

		count(&sums->discarded, &none);
		return true;
	}
	if (!bad && f->state == NBDS_FLOW_LIVE && s->checksum == NBDS_SUM_WRONG && s->len)
		nbds_reasm_taken(f->reasm, dir, s);
	if (s->checksum == NBDS_SUM_RIGHT)
		count(right, wrong);
	else if (s->checksum == NBDS_SUM_WRONG)
		count(wrong, right);
	if (s->ip_checksum == NBDS_SUM_RIGHT)
		count(&sums->ip_right, &sums->ip_wrong);
	else if (s->ip_checksum == NBDS_SUM_WRONG)
		count(&sums->ip_wrong, &sums->ip_right);
	return false;
}

static void discard(struct nbds_flow *f, int dir, const struct nbds_segment *s)
{
	struct nbds_tcp *t = f->tcp;
	struct nbds_mark mark = mark_of(s->packet);

	t->stats.bad_checksums++;
	if (f->state != NBDS_FLOW_LIVE)
		return;
	nbds_reasm_discarded(f->reasm, dir, s);
	if (f->opened && !f->ignored && t->ops.discard)
		t->ops.discard(t->ctx, f->user, dir, &mark);
}

/* Finds the flow of `s`, or makes one.  NULL: the segment is of no use. */
static struct nbds_flow *flow_for(struct nbds_tcp *t, const struct nbds_segment *s, int *dir)
{
	struct nbds_where where = {s->packet->frame, s->packet->time, s->packet->interface};
	bool synack = (s->flags & NBDS_TCP_SYN) && (s->flags & NBDS_TCP_ACK), rival = false;
	uint32_t hash = hash_pair(t, &s->src, &s->dst), isn = 0;
	struct nbds_flow *f = find(t, s, hash, dir);
	int as = synack ? NBDS_DIR_B : NBDS_DIR_A; /* the sender's place in a new flow */
	struct nbds_mark mark;

	if (!f) {
		if (s->flags & NBDS_TCP_RST ||
		    (!s->len && !(s->flags & (NBDS_TCP_SYN | NBDS_TCP_ACK))))
			return NULL;
	} else if (discarded(f, *dir, s)) {
		discard(f, *dir, s);
		return NULL;
	} else if (f->state == NBDS_FLOW_DEAD) {
		if (!reopens(f, *dir, s))
			return NULL;
		remove_flow(f);
	} else if (f->state == NBDS_FLOW_IGNORED) {
		if (!ignored_segment(f, *dir, s))
			return NULL;
		mark = nbds_mark_at(&where);
		taken_over(f, &mark);
	} else {
		rival = rival_won(f, *dir, s);
		if (rival) {
			isn = f->reasm->rival_isn;
			where = f->reasm->rival_where;
			as = f->reasm->rival_dir == *dir ? NBDS_DIR_A : NBDS_DIR_B;
		} else {
			enum syn syn = s->flags & NBDS_TCP_SYN ? judge_syn(f, *dir, s) : SYN_PART;

			if (syn != SYN_OTHER)
				return syn == SYN_PART ? f : NULL;
		}
		mark = nbds_mark_at(&where);
		taken_over(f, &mark);
	}

	f = create(t, s, hash, as);
	*dir = as;
	if (f)
		discarded(f, as, s); /* takes note of its checksum */
	if (f && rival) {
		mark = nbds_mark_at(&where);
		nbds_reasm_base(f->reasm, NBDS_DIR_A, isn + 1, &where);
		nbds_flow_opened(f, &mark);
	}
	return f;
}

static void mend(struct nbds_segment *s)
{
	if (s->caplen > s->len)
		s->caplen = s->len;
	if (s->len > NBDS_FAR / 16) /* no frame is as long */
		s->len = s->caplen;
	if (s->flags & NBDS_TCP_RST) {
		s->len = s->caplen = 0; /* an explanation, if anything */
		s->flags &= (uint8_t) ~(NBDS_TCP_SYN | NBDS_TCP_FIN);
	}
}

void nbds_tcp_segment(struct nbds_tcp *t, const struct nbds_segment *s)
{
	struct nbds_segment mended;
	struct nbds_flow *f;
	int dir;

	t->stats.segments++;
	if (s->caplen > s->len || s->len > NBDS_FAR / 16 || s->flags & NBDS_TCP_RST) {
		mended = *s;
		mend(&mended);
		s = &mended;
	}
	look(t, s->packet->time, LOOKS_EACH);
	f = flow_for(t, s, &dir);
	if (f)
		live_segment(f, dir, s);
	sync_stats(t);
}

/* --- the rest of the interface --- */

void nbds_tcp_ignore(struct nbds_flow *f)
{
	if (f->state != NBDS_FLOW_LIVE)
		return;
	f->ignored = true;
	if (!f->busy)
		become_ignored(f);
}

void nbds_tcp_let_go(struct nbds_flow *f)
{
	f->let_go = true;
	f->user = NULL;
	nbds_tcp_ignore(f);
}

bool nbds_tcp_offset(const struct nbds_flow *f, int dir, uint32_t seq, int64_t *offset)
{
	if (f->state != NBDS_FLOW_LIVE || !f->reasm ||
	    f->reasm->half[dir].base_kind != NBDS_BASE_KNOWN)
		return false;
	*offset = nbds_half_offset(&f->reasm->half[dir], seq);
	return true;
}

/* Nothing of it waits. (While it is worked on that is not known yet.) */
static bool flows_on(const struct nbds_flow *f)
{
	return !f->stalled && !f->busy;
}

bool nbds_tcp_held_since(const struct nbds_flow *f, int dir, struct nbds_mark *since)
{
	const struct nbds_half *h;

	if (flows_on(f) || f->state != NBDS_FLOW_LIVE || f->ignored || !f->reasm)
		return false;
	h = &f->reasm->half[dir];
	if (!nbds_half_waits(h))
		return false;
	*since = h->last;
	return true;
}

void nbds_tcp_tick(struct nbds_tcp *t, int64_t now)
{
	look(t, now, t->stalled_count);
	sync_stats(t);
}

void nbds_tcp_finish(struct nbds_tcp *t)
{
	struct nbds_link *lists[] = {&t->cheap, &t->ignored, &t->fresh, &t->live, &t->dead};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		while (lists[i]->next != lists[i]) {
			struct nbds_flow *f = flow_of(lists[i]->next);

			if (f->state != NBDS_FLOW_DEAD) {
				struct nbds_mark mark = last_mark(f);
				bool rst = f->reasm && f->reasm->rst;

				if (rst)
					mark = nbds_mark_at(&f->reasm->rst_where);
				tell_close(f, rst ? NBDS_FLOW_RST : NBDS_FLOW_OPEN,
					   rst ? f->reasm->rst_by : -1, &mark);
			}
			remove_flow(f);
		}
	}
	sync_stats(t);
}

bool nbds_tcp_complete(const struct nbds_flow *f)
{
	if (f->state != NBDS_FLOW_LIVE || f->ignored || !f->reasm)
		return false;
	for (int dir = 0; dir < 2; dir++) {
		const struct nbds_half *h = &f->reasm->half[dir];

		if (h->base_kind == NBDS_BASE_NONE && !h->raw_ack_known)
			continue;
		if (h->base_kind != NBDS_BASE_KNOWN || h->sent > h->next ||
		    (!flows_on(f) && nbds_half_waits(h)))
			return false;
	}
	return true;
}

const struct nbds_tcp_stats *nbds_tcp_stats(const struct nbds_tcp *t)
{
	return &t->stats;
}

/* A number that peers cannot guess: it decides which chains flows share. */
static uint64_t random_seed(const void *where)
{
	struct timespec now = {0};
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed))
		return seed;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return mix((uint64_t)(uintptr_t)where, (uint64_t)now.tv_nsec);
}

struct nbds_tcp *nbds_tcp_new(const struct nbds_tcp_limits *limits, const struct nbds_tcp_ops *ops,
			      void *ctx)
{
	struct nbds_tcp *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	if (limits)
		t->limits = *limits;
	if (!t->limits.held_direction)
		t->limits.held_direction = DEFAULT_HELD_DIRECTION;
	if (!t->limits.held_total)
		t->limits.held_total = DEFAULT_HELD_TOTAL;
	if (!t->limits.remembered)
		t->limits.remembered = DEFAULT_REMEMBERED;
	if (!t->limits.flows)
		t->limits.flows = DEFAULT_FLOWS;
	if (!t->limits.patience_frames)
		t->limits.patience_frames = DEFAULT_PATIENCE_FRAMES;
	if (t->limits.patience_ns <= 0)
		t->limits.patience_ns = DEFAULT_PATIENCE_NS;
	t->ops = *ops;
	t->ctx = ctx;
	t->seed = random_seed(t);
	t->pool.random = UINT64_C(0x2545f4914f6cdd1d);
	nbds_recall_init(&t->recall, t->limits.remembered);
	t->ignored_most = (uint64_t)t->limits.flows * IGNORED_EACH;
	if (t->ignored_most < IGNORED_LEAST)
		t->ignored_most = IGNORED_LEAST;
	t->dead_most = t->limits.flows / 8;
	if (t->dead_most < DEAD_LEAST)
		t->dead_most = DEAD_LEAST;
	if (t->dead_most > DEAD_MOST)
		t->dead_most = DEAD_MOST;
	list_init(&t->live);
	list_init(&t->fresh);
	list_init(&t->cheap);
	list_init(&t->ignored);
	list_init(&t->dead);
	list_init(&t->stalled);
	t->buckets = BUCKETS_FIRST;
	t->table = calloc(t->buckets, sizeof(struct nbds_flow *));
	t->flows = slab_new(sizeof(struct nbds_flow));
	t->reasms = slab_new(sizeof(struct nbds_reasm));
	if (!t->table || !t->flows || !t->reasms) {
		nbds_tcp_free(t);
		return NULL;
	}
	return t;
}

void nbds_tcp_reread(struct nbds_tcp *t, const struct nbds_tcp_reread *from)
{
	t->reread = *from;
	if (from->brief)
		return;
	nbds_recall_free(&t->recall);
	nbds_recall_init(&t->recall, t->limits.remembered / REREAD_SHARE);
}

uint64_t nbds_tcp_memory(const struct nbds_tcp *t)
{
	return t->flows->bytes + t->reasms->bytes + t->buckets * sizeof(*t->table) + t->pool.held +
	       t->pool.cached;
}

void nbds_tcp_free(struct nbds_tcp *t)
{
	if (!t)
		return;
	for (struct nbds_link *link = t->live.next; link != &t->live; link = link->next)
		release_reasm(flow_of(link));
	for (struct nbds_link *link = t->fresh.next; link != &t->fresh; link = link->next)
		release_reasm(flow_of(link));
	for (struct nbds_link *link = t->cheap.next; link != &t->cheap; link = link->next)
		release_reasm(flow_of(link));
	nbds_held_pool_clear(&t->pool);
	nbds_recall_free(&t->recall);
	slab_free(t->flows);
	slab_free(t->reasms);
	free(t->table);
	free(t);
}
