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
	next = party_next(p, PARTY_PLAIN + kind);
	if (next)
		later_of(&p->older[kind], &next->older[kind]);
}

void wrote_last(struct nbds_op *op)
{
	struct nbds_party *p = op->party;
	unsigned kind = op->fua;

	if (p->last[kind]) {
		if (p->last[kind]->hi.frame > op->hi.frame)
			return;
		op_unref(p->last[kind]);
	}
	op_ref(op);
	p->last[kind] = op;
	unlist(p, kind);
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
	}
	ps->unresolved -= p->writes_unresolved > 0;
	ps->voided -= p->voided;
	p->writes_unresolved = 0;
	p->voided = false;
}

void face_shown(struct nbds_party *p)
{
	struct xport *x = p->xport;
	uint16_t flags = p->flags & FLAGS_COMPARED;

	if (!x->shown) {
		x->shown = true;
		x->face_flags = flags;
		x->face_size = p->size;
		return;
	}
	if (!x->faces_differ && x->face_flags == flags && x->face_size == p->size)
		return;
	/* once there are two, every one differs from one before */
	x->faces_differ = true;
	if (world_grow(p->world, (void **)&x->faces, &x->face_room, sizeof(*x->faces),
		       x->face_count + 1))
		x->faces[x->face_count++] = p->connected;
	else
		p->world->blind = true;
}

bool face_changed(const struct nbds_world *w, const struct xport *x, const struct nbds_point *since,
		  const struct nbds_point *upto)
{
	size_t lo = 0, hi = x ? x->face_count : 0;

	/* the first one since then: those after it are later yet */
	while (since && lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (x->faces[mid].frame >= since->frame)
			hi = mid;
		else
			lo = mid + 1;
	}
	return x && lo < x->face_count && !point_before(w, upto, &x->faces[lo]);
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
	world_dealloc(op->world, op->reading, sizeof(*op->reading));
	world_dealloc(op->world, op, sizeof(*op));
}

void overlapped(struct nbds_op **out, const struct nbds_op *op, struct nbds_op *other)
{
	if (out && !*out && other != op && other->state == OP_FLIGHT && other->write_class &&
	    other->party->xport == op->party->xport)
		*out = other;
}
