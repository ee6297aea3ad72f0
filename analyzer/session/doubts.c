/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doubts.c - see doubts.h. */
#include "doubts.h"

#include <stdio.h>
#include <string.h>

/* Violations that wait however short memory is. */
#define WITHHELD_MIN 4096u

/* Doubts kept apart. Of more, the one that is new becomes one of all since then. */
#define DOUBTS_MAX 1024u

/* Messages looked at for one conflict; if they are more, all is in doubt. */
#define SPANS_MAX 512u

void doubts_init(struct doubts *all, uint64_t ring)
{
	nbds_recall_init(&all->spans, ring);
	all->tail = &all->first;
}

static void withheld_drop(struct doubts *all)
{
	struct withheld_finding *h = all->first;

	all->first = h->next;
	if (!all->first)
		all->tail = &all->first;
	all->count--;
	findings_wait(all->findings, h->finding->connection, -1);
	nbds_budget_give(all->budget, nbds_finding_size(h->finding));
	nbds_finding_free(h->finding);
	nbds_budget_free(all->budget, h, sizeof(*h));
}

void doubts_free(struct doubts *all)
{
	while (all->first)
		withheld_drop(all);
	nbds_vector_free(&all->list, all->budget);
	nbds_recall_free(&all->spans);
}

/* --- what is in doubt ----------------------------------------------------- */

uint64_t doubts_span(struct doubts *all, uint64_t *chain, uint64_t at,
		     const struct doubt_span *span)
{
	struct nbds_recall_record *r = nbds_recall_add(&all->spans, chain, at, sizeof(*span));

	if (r)
		memcpy(r + 1, span, sizeof(*span));
	return *chain;
}

void doubts_answered(struct doubts *all, uint64_t span, uint64_t reply_frame)
{
	struct nbds_recall_record *r = nbds_recall_at(&all->spans, span);

	if (r)
		((struct doubt_span *)(r + 1))->reply_frame = reply_frame;
}

static bool earlier(const struct nbds_point *a, const struct nbds_point *b)
{
	return a->frame < b->frame;
}

static bool is_all(const struct doubt *d)
{
	return !d->request_frame;
}

static void doubt_add(struct doubts *all, struct doubt d)
{
	struct doubt *of_all = NULL;

	if (all->list.count >= DOUBTS_MAX)
		d.request_frame = d.reply_frame = 0;
	for (size_t i = 0; i < all->list.count; i++) {
		struct doubt *other = &all->list.at[i];

		if (other->server == d.server && is_all(other) && (!other->talk || d.talk) &&
		    (!other->connection || other->connection == d.connection) &&
		    !earlier(&d.since, &other->since))
			return; /* it is in that one */
		if (other->server == d.server && is_all(other) && other->talk == d.talk &&
		    (!d.talk || other->connection == d.connection))
			of_all = other;
		else if (!is_all(&d) && other->request_frame == d.request_frame &&
			 other->connection == d.connection)
			return;
	}
	if (is_all(&d) && of_all) {
		if (earlier(&d.since, &of_all->since))
			of_all->since = d.since;
		if (of_all->connection != d.connection)
			of_all->connection = 0;
		return;
	}
	/* no room: everything is in doubt */
	all->lost |= !nbds_vector_push(&all->list, all->budget, d);
}

/* A doubt of the command that the message in `record` belongs to. */
static void doubt_of(struct doubts *all, const struct server *server, uint32_t connection,
		     const struct nbds_recall_record *record)
{
	const struct doubt_span *span = (const struct doubt_span *)(record + 1);
	struct doubt d = {
		.server = server,
		.since = span->since,
		.request_frame = span->request_frame,
		.reply_frame = span->reply_frame,
		.offset = span->offset,
		.length = span->length,
		.span = nbds_recall_place(&all->spans, record),
		.connection = connection,
		.writes = span->writes,
	};

	doubt_add(all, d);
}

void doubts_bytes(struct doubts *all, const struct server *server, uint32_t connection,
		  uint64_t chain, uint64_t from, uint64_t to, const struct nbds_point *first)
{
	struct doubt d = {.server = server, .since = *first, .connection = connection};
	struct nbds_recall_record *r;
	unsigned looked = 0;
	bool lost;

	/* from the end to the start: each byte has to be payload of a message */
	r = nbds_recall_find(&all->spans, chain, to - 1, &lost);
	for (; r && from < to && looked < SPANS_MAX; looked++) {
		const struct doubt_span *s = (const struct doubt_span *)(r + 1);
		uint64_t payload = r->key + s->head;

		if (to > payload + s->payload || to <= payload)
			break; /* past its end, or in its head */
		doubt_of(all, server, connection, r);
		to = payload;
		if (from < to)
			r = nbds_recall_find(&all->spans, chain, to - 1, &lost);
	}
	if (from >= to)
		return;
	/* what they belong to may have begun in a frame before theirs */
	if (r && earlier(&((const struct doubt_span *)(r + 1))->since, &d.since))
		d.since = ((const struct doubt_span *)(r + 1))->since;
	doubt_add(all, d);
}

void doubts_order(struct doubts *all, const struct server *server, uint32_t connection,
		  uint64_t chain, uint64_t from, uint64_t to, const struct nbds_point *first,
		  bool commands)
{
	struct doubt d = {.server = server, .since = *first, .connection = connection};
	struct nbds_recall_record *r;
	unsigned looked = 0;
	bool lost;

	r = nbds_recall_find(&all->spans, chain, to - 1, &lost);
	for (; r && looked < SPANS_MAX; looked++) {
		const struct doubt_span *s = (const struct doubt_span *)(r + 1);

		if (r->key + s->head + s->payload <= from)
			break;
		if (commands)
			doubt_of(all, server, connection, r);
		r = nbds_recall_previous(&all->spans, r, &lost);
	}
	d.talk = !looked;
	d.request_frame = looked ? first->frame : 0;
	if (commands || !looked)
		doubt_add(all, d);
}

/* --- what waits ------------------------------------------------------------ */

static uint64_t last_frame(const struct nbds_finding *f)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < NBDS_ROLE_MAX; i++)
		if (f->frames[i] > last)
			last = f->frames[i];
	return last;
}

static bool names_frame(const struct nbds_finding *f, uint64_t frame)
{
	if (!frame)
		return false;
	for (unsigned i = 0; i < NBDS_ROLE_MAX; i++)
		if (f->frames[i] == frame)
			return true;
	for (unsigned i = 0; i < f->witness_count; i++)
		if (f->witnesses[i].request_frame == frame)
			return true;
	return false;
}

/* The write that should have been seen was sent after the doubtful one was over. */
static bool superseded(const struct doubts *all, const struct doubt *d,
		       const struct nbds_finding *f)
{
	const struct nbds_recall_record *r = nbds_recall_at(&all->spans, d->span);
	uint64_t reply = r ? ((const struct doubt_span *)(r + 1))->reply_frame : d->reply_frame;

	for (unsigned i = 0; i < f->witness_count; i++) {
		const struct nbds_witness *w = &f->witnesses[i];

		if (w->role == NBDS_ROLE_WRITE && w->connection == d->connection && reply &&
		    w->request_frame > reply)
			return true;
	}
	return false;
}

static bool rests_on(const struct doubts *all, const struct nbds_finding *f,
		     const struct server *server, const struct doubt *d)
{
	if (d->server && d->server != server)
		return false;
	if (is_all(d)) /* what has no witnesses is about its connection alone */
		return last_frame(f) >= d->since.frame && !(d->talk && f->witness_count) &&
		       (f->witness_count || !d->connection || f->connection == d->connection);
	if (names_frame(f, d->request_frame) || names_frame(f, d->reply_frame))
		return true;
	if (!d->writes || !f->has_range || last_frame(f) < d->since.frame)
		return false;
	return f->offset < d->offset + d->length && d->offset < f->offset + f->length &&
	       !superseded(all, d, f);
}

static void lower(struct doubts *all, const struct nbds_finding *f, const char *why)
{
	struct nbds_finding lowered = *f;
	char text[1600];

	snprintf(text, sizeof(text), "%s; not called a violation because %s", f->message, why);
	lowered.message = text;
	lowered.severity = NBDS_SUSPECT;
	findings_tell(all->findings, &lowered);
}

static void pass(struct doubts *all, const struct server *server, const struct nbds_finding *f)
{
	bool doubted = all->lost;

	for (size_t i = 0; i < all->list.count && !doubted; i++)
		doubted = rests_on(all, f, server, &all->list.at[i]);
	if (doubted)
		lower(all, f,
		      "of bytes that it rests on the capture has two copies that differ, and which "
		      "of them was received is not known");
	else
		findings_tell(all->findings, f);
}

static void pass_first(struct doubts *all)
{
	pass(all, all->first->server, all->first->finding);
	withheld_drop(all);
}

static bool is_short(const struct nbds_budget *b)
{
	return b->limit && b->used > b->limit / 2;
}

void doubts_tell(struct doubts *all, const struct server *server, const struct nbds_finding *f)
{
	struct withheld_finding *h = NULL;

	if (f->severity != NBDS_VIOLATION) {
		findings_tell(all->findings, f);
		return;
	}
	if (all->count < WITHHELD_MIN || !is_short(all->budget))
		h = nbds_budget_alloc(all->budget, sizeof(*h));
	if (h)
		h->finding = nbds_finding_copy(f);
	if (!h || !h->finding || !findings_wait(all->findings, f->connection, 1)) {
		if (h)
			nbds_finding_free(h->finding);
		nbds_budget_free(all->budget, h, sizeof(*h));
		lower(all, f, "there was no memory to wait for other copies of its bytes");
		return;
	}
	nbds_budget_take(all->budget, nbds_finding_size(h->finding));
	h->server = server;
	h->since = f->time;
	*all->tail = h;
	all->tail = &h->next;
	all->count++;
}

void doubts_pass(struct doubts *all, int64_t now, bool whole)
{
	while (all->first) {
		int64_t since = all->first->since;
		uint64_t waited = now > since ? (uint64_t)now - (uint64_t)since : 0;

		if (!whole &&
		    (all->patience == DOUBTS_TO_THE_END || waited < (uint64_t)all->patience))
			return;
		pass_first(all);
	}
}
