/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Violations that wait for the silent.
 *
 * A request that the capture lost, together with its reply, shows only by the
 * numbers of its connection's next frame.  Until each other open connection was
 * heard of again, with nothing missing, a violation is kept back: if a gap comes
 * to light that may hide a write before the read, it is none.  One that waited
 * for long is told all the same, and so are all at the end; it is then assumed,
 * and said, that nothing of the silent connections was lost.
 *
 * Where there are several interfaces all wait for the end, as commands of any time may come.
 * What tells of interfaces stands at the beginning of a capture; one that is told of later, of
 * a section that was put behind it, does not bring back what was told before.
 *
 * What waits is the finding itself, not the contents that it was found in.
 */
#include <stdio.h>
#include <stdlib.h>

#include "order.h"
#include "preconditions.h"
#include "withhold.h"

#define SILENCE_MAX  UINT64_C(30000000000) /* ns of capture time */
#define WITHHELD_MAX 4096u                 /* then the first one is told */
#define ASSUME_MAX   8u

struct withheld {
	struct withheld *next;
	struct nbds_finding *finding;
	struct nbds_party *reader;
	struct nbds_point hi; /* the read was over */
	uint32_t margins;     /* as the order was trusted then */
};

/* Was all that any other connection did up to `frame` told? */
static bool all_told(const struct nbds_world *w, const struct nbds_party *reader, uint64_t frame)
{
	const struct nbds_party *p;

	if (w->parties->interfaces)
		return false;
	if (!w->parties->completes)
		return true;
	p = w->parties->silent.first;
	if (p == reader)
		p = party_next(p, PARTY_SILENT);
	return !p || p->complete > frame;
}

/* It is not told after all. */
static void unchecked(struct nbds_world *w, const struct nbds_finding *f, enum nbds_unchecked why)
{
	struct nbds_world_stats *s = &w->stats;

	s->checked_bytes -= f->length < s->checked_bytes ? f->length : s->checked_bytes;
	s->unchecked[why] += f->length;
}

static void deliver(struct nbds_world *w, const struct withheld *h, bool told)
{
	struct nbds_finding f = *h->finding;
	const char *assumptions[ASSUME_MAX + 2], *lowered = NULL;
	unsigned broken;
	char text[1200];
	unsigned n = 0;

	if (w->poisoned && h->hi.frame > w->poison.frame) {
		unchecked(w, &f, NBDS_UNCHECKED_GAP);
		return;
	}
	broken = (w->dropped ? BROKEN_DROPPED : 0u) | (w->open_world ? BROKEN_UNSEEN : 0u) |
		 (w->parties->mixed ? BROKEN_MIXED : 0u) |
		 (h->margins != w->order->margins ? BROKEN_ORDER : 0u);
	f.severity = precondition_level((enum nbds_rule_id)(f.rule - nbds_rules), f.severity,
					broken, &lowered);
	if (lowered) {
		snprintf(text, sizeof(text), "%s; not called a violation because %s", f.message,
			 lowered);
		f.message = text;
	}
	for (; n < ASSUME_MAX && f.assumptions && f.assumptions[n]; n++)
		assumptions[n] = f.assumptions[n];
	if (!told && !w->parties->interfaces)
		assumptions[n++] = "the capture lost nothing of connections that were silent since";
	assumptions[n] = NULL;
	f.assumptions = assumptions;
	w->ops.finding(w->ctx, &f);
}

static void withheld_drop(struct nbds_world *w)
{
	struct withheld *h = w->withheld->first;

	w->withheld->first = h->next;
	if (!w->withheld->first)
		w->withheld->tail = &w->withheld->first;
	w->withheld->count--;
	nbds_budget_give(w->budget, nbds_finding_size(h->finding));
	nbds_finding_free(h->finding);
	world_dealloc(w, h, sizeof(*h));
}

static void deliver_first(struct nbds_world *w, bool told)
{
	struct nbds_party *reader = w->withheld->first->reader;

	deliver(w, w->withheld->first, told);
	reader->ops--;
	withheld_drop(w);
}

/* No more can wait for the end, and nobody knows before what it is. */
static bool crowded(const struct nbds_world *w)
{
	const struct nbds_budget *b = w->budget;

	return w->parties->interfaces && w->withheld->count >= WITHHELD_MAX &&
	       b->used > (b->limit ? b->limit : w->memory_cap) / 2;
}

void withhold(struct nbds_world *w, const struct nbds_op *read, const struct nbds_finding *f)
{
	struct withheld *h;

	if (!w->ops.finding)
		return;
	if (f->severity != NBDS_VIOLATION || all_told(w, read->party, read->hi.frame)) {
		w->ops.finding(w->ctx, f);
		return;
	}
	h = crowded(w) ? NULL : world_alloc(w, sizeof(*h));
	if (h)
		h->finding = nbds_finding_copy(f);
	if (!h || !h->finding) {
		/* no memory to wait with */
		world_dealloc(w, h, sizeof(*h));
		unchecked(w, f, NBDS_UNCHECKED_FORGOTTEN);
		return;
	}
	nbds_budget_take(w->budget, nbds_finding_size(h->finding));
	h->reader = read->party;
	h->reader->ops++;
	h->hi = read->hi;
	h->margins = w->order->margins;
	*w->withheld->tail = h;
	w->withheld->tail = &h->next;
	/* of several interfaces all wait for the end */
	if (++w->withheld->count > WITHHELD_MAX && !w->parties->interfaces)
		deliver_first(w, false);
}

void withheld_pass(struct nbds_world *w, bool all)
{
	while (w->withheld->first) {
		const struct withheld *h = w->withheld->first;
		uint64_t age = world_age(w, h->hi.time);
		bool told = all_told(w, h->reader, h->hi.frame);

		if (!told && !all && (age < SILENCE_MAX || w->parties->interfaces))
			return;
		deliver_first(w, told);
	}
}

void withheld_free(struct nbds_world *w)
{
	while (w->withheld->first)
		withheld_drop(w);
}
