/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Lists of connections, and who wrote last.
 */
#include "party.h"

void party_insert(struct party_list *list, enum party_role role, struct nbds_party *p,
		  struct nbds_party *prev)
{
	struct party_link *at = &p->links[role];

	NBDS_ASSERT(!at->list && (!prev || prev->links[role].list == list));
	at->list = list;
	at->prev = prev;
	at->next = prev ? prev->links[role].next : list->first;
	*(at->prev ? &at->prev->links[role].next : &list->first) = p;
	*(at->next ? &at->next->links[role].prev : &list->last) = p;
	list->count++;
}

void party_append(struct party_list *list, enum party_role role, struct nbds_party *p)
{
	party_insert(list, role, p, list->last);
}

void party_prepend(struct party_list *list, enum party_role role, struct nbds_party *p)
{
	party_insert(list, role, p, NULL);
}

void party_unlink(struct nbds_party *p, enum party_role role)
{
	struct party_link *at = &p->links[role];

	if (!at->list)
		return;
	NBDS_ASSERT(at->list->count);
	*(at->prev ? &at->prev->links[role].next : &at->list->first) = at->next;
	*(at->next ? &at->next->links[role].prev : &at->list->last) = at->prev;
	at->list->count--;
	*at = (struct party_link){0};
}

/* --- writers ------------------------------------------------------------- */

static void unlist(struct nbds_party *p, unsigned kind)
{
	struct party_link *at = &p->links[PARTY_PLAIN + kind];

	if (!at->list)
		return;
	party_unlink(p, PARTY_PLAIN + kind);
	p->world->parties->writers--;
	p->xport->aloof -= !party_mc(p);
}

/* First of those that wrote. */
static void list(struct nbds_party *p, unsigned kind)
{
	const struct nbds_party *next;

	if (!p->xport || !p->last[kind])
		return;
	party_prepend(&p->xport->wrote[kind], PARTY_PLAIN + kind, p);
	p->world->parties->writers++;
	p->xport->aloof += !party_mc(p);
	p->older[kind] = p->last[kind]->hi;
	if (p->trail[kind].op)
		later_of(&p->older[kind], &p->trail[kind].hi);
	next = party_next(p, PARTY_PLAIN + kind);
	if (next)
		later_of(&p->older[kind], &next->older[kind]);
}

static struct trail trail_of(struct nbds_op *op)
{
	/* its answer was no sign that it was done */
	bool late = op->early;

	return (struct trail){.op = op,
			      .lo = op->lo,
			      .hi = op->hi,
			      .header_end = op->header_end,
			      .acked = op->acked,
			      .status_end = late ? UINT64_MAX : op->status_end,
			      .status_acked = late ? NBDS_NO_ACK : op->status_acked};
}

/* What is certainly after `a` is so after `b`, too. */
static bool trail_includes(const struct trail *a, const struct trail *b)
{
	return a->hi.interface == b->hi.interface && a->hi.frame >= b->hi.frame &&
	       a->hi.time >= b->hi.time && a->status_end >= b->status_end &&
	       a->status_acked >= b->status_acked;
}

static void trail_add(struct trail *to, const struct trail *t)
{
	if (!to->op) {
		*to = *t;
		op_ref(to->op);
		return;
	}
	if (t->lo.frame < to->lo.frame)
		to->lo.frame = t->lo.frame;
	if (t->lo.time < to->lo.time)
		to->lo.time = t->lo.time;
	if (to->lo.interface != t->lo.interface)
		to->lo.interface = SEVERAL_INTERFACES;
	later_of(&to->hi, &t->hi);
	if (t->header_end < to->header_end)
		to->header_end = t->header_end;
	if (to->acked == NBDS_NO_ACK || t->acked < to->acked)
		to->acked = t->acked;
	if (t->status_end > to->status_end)
		to->status_end = t->status_end;
	if (t->status_acked > to->status_acked)
		to->status_acked = t->status_acked;
}

static void trail_drop(struct trail *t)
{
	if (t->op)
		op_unref(t->op);
	*t = (struct trail){0};
}

bool trail_write(const struct nbds_party *p, unsigned kind, struct nbds_op *out)
{
	const struct trail *t = &p->trail[kind];

	if (!t->op)
		return false;
	*out = *t->op;
	out->serial = 0;
	out->refs = 0;
	out->cover = NULL;
	out->early = false;
	out->lo = t->lo;
	out->hi = t->hi;
	out->header_end = t->header_end;
	out->acked = t->acked;
	out->status_end = t->status_end;
	out->status_acked = t->status_acked;
	return true;
}

void wrote_last(struct nbds_op *op)
{
	struct nbds_party *p = op->party;
	unsigned kind = op->fua;
	struct nbds_op *last = p->last[kind];
	struct trail newest, *trail = &p->trail[kind];

	unlist(p, kind);
	if (last) {
		bool late = last->hi.frame > op->hi.frame;
		struct trail other = trail_of(late ? op : last);

		newest = trail_of(late ? last : op);
		if (!trail_includes(&newest, &other))
			trail_add(trail, &other);
		if (trail->op && trail_includes(&newest, trail))
			trail_drop(trail);
		if (late) {
			list(p, kind);
			return;
		}
		op_unref(last);
	}
	op_ref(op);
	p->last[kind] = op;
	list(p, kind);
}

void party_enter(struct nbds_party *p, struct xport *x, uint16_t flags, bool known)
{
	struct party_list *place = p->links[PARTY_PLACE].list;

	NBDS_ASSERT(!p->unflushed_writes || p->xport);
	unlist(p, 0);
	unlist(p, 1);
	party_unlink(p, PARTY_EXPORT);
	party_unlink(p, PARTY_DIRTY);
	if (p->xport)
		p->xport->writes_in_flight -= p->writes_in_flight;
	p->xport = x;
	p->known = known;
	p->flags = known ? flags : 0;
	if (!x)
		return;
	x->writes_in_flight += p->writes_in_flight;
	if (place == &p->world->parties->open)
		/* those who know their flags are before those who do not */
		party_insert(&x->open, PARTY_EXPORT, p, p->known ? NULL : x->open.last);
	list(p, 0);
	list(p, 1);
}

void wrote_unresolved(struct nbds_party *p)
{
	p->world->parties->unresolved += !p->writes_unresolved;
	p->writes_unresolved++;
}

void wrote_voided(struct nbds_party *p)
{
	p->world->parties->voided += !p->voided;
	p->voided = true;
}

void wrote_nothing(struct nbds_party *p)
{
	struct parties *ps = p->world->parties;

	for (unsigned kind = 0; kind < 2; kind++) {
		unlist(p, kind);
		if (p->last[kind])
			op_unref(p->last[kind]);
		p->last[kind] = NULL;
		trail_drop(&p->trail[kind]);
	}
	ps->unresolved -= p->writes_unresolved > 0;
	ps->voided -= p->voided;
	p->writes_unresolved = 0;
	p->voided = false;
}

/* Faces that are looked at for one question, or passed by one that is told late: with more of
 * them, one is taken to have changed just then. */
#define FACES_LOOKED 64u

static void face_add(struct nbds_world *w, struct xport *x, const struct face *f)
{
	size_t at = x->face_count;
	unsigned passed = 0;

	if (!world_grow(w, (void **)&x->faces, &x->face_room, sizeof(*x->faces),
			x->face_count + 1)) {
		w->blind = true;
		return;
	}
	if (!x->face_count) {
		x->face_first = f->from;
		x->face_interface = f->shown.interface;
	}
	earlier_of(&x->face_first, &f->from);
	if (x->face_interface != f->shown.interface)
		x->face_interface = SEVERAL_INTERFACES;
	/* those of different connections can be told out of order */
	for (; at > 0 && x->faces[at - 1].shown.frame > f->shown.frame; at--) {
		if (++passed > FACES_LOOKED) {
			x->faces_lost = true;
			break;
		}
		x->faces[at] = x->faces[at - 1];
	}
	x->faces[at] = *f;
	x->face_count++;
}

void face_shown(struct nbds_party *p)
{
	struct xport *x = p->xport;
	uint16_t flags = p->flags & FLAGS_COMPARED;
	struct face face = {p->connected, p->shown};

	if (!x->shown) {
		x->shown = true;
		x->face_flags = flags;
		x->face_size = p->size;
		x->all_alike = face;
		return;
	}
	if (!x->faces_differ && x->face_flags == flags && x->face_size == p->size) {
		earlier_of(&x->all_alike.from, &face.from);
		later_of(&x->all_alike.shown, &face.shown);
		return;
	}
	/* once there are two, every one differs from one before; and so do those that were told
	 * before, if they were shown after this one */
	if (!x->faces_differ && !point_before(p->world, &x->all_alike.shown, &face.shown))
		face_add(p->world, x, &(struct face){face.from, x->all_alike.shown});
	x->faces_differ = true;
	face_add(p->world, x, &face);
}

bool face_changed(const struct nbds_world *w, const struct xport *x, const struct nbds_point *since,
		  const struct nbds_point *upto)
{
	size_t lo = 0, hi = x ? x->face_count : 0;

	if (!hi || point_before(w, upto, &x->face_first))
		return false;
	if (!since || x->faces_lost || x->face_interface != since->interface)
		return true;
	/* the first one that was shown since then */
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (x->faces[mid].shown.frame >= since->frame)
			hi = mid;
		else
			lo = mid + 1;
	}
	for (unsigned n = 0; lo < x->face_count; lo++, n++)
		if (n == FACES_LOOKED || !point_before(w, upto, &x->faces[lo].from))
			return true;
	return false;
}

void op_unref(struct nbds_op *op)
{
	if (--op->refs)
		return;
	op->party->ops--;
	if (op->past)
		op->world->pasts->list[op->past - 1].op = NULL;
	if (op->cover)
		op_unref(op->cover);
	world_dealloc(op->world, op->flight, sizeof(*op->flight));
	world_dealloc(op->world, op->reading, sizeof(*op->reading));
	world_dealloc(op->world, op, sizeof(*op));
}

void overlapped(struct nbds_op **out, const struct nbds_op *op, struct nbds_op *other)
{
	if (out && !*out && other != op && other->state == OP_FLIGHT && other->write_class &&
	    other->party->xport == op->party->xport)
		*out = other;
}
