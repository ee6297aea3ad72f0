/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/list.h - a list that its elements are in, ends and middle alike.
 *
 * Purpose.  Elements that come and go anywhere in constant time, and know their
 * order.  A list is a ring through its head; an element has a node for each list
 * that it can be in.
 *
 *	 ┌─► head ◄─► node ◄─► node ◄─┐       node: inside of its owner
 *	 └────────────────────────────┘
 *
 * Ownership.  The list owns nothing.  Failure.  None.
 *
 * Example.
 *	nbds_list_append(&rows->finished, &t->finished);
 *	for (n = list->next; n != list; n = n->next)
 *		show(nbds_owner(n, struct track, finished));
 */
#ifndef NBDSCOPE_BASE_LIST_H
#define NBDSCOPE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include <base/assert.h>

struct nbds_list {
	struct nbds_list *previous, *next; /* of a node in no list: NULL */
};

/* An empty list. */
static inline void nbds_list_init(struct nbds_list *head)
{
	head->previous = head->next = head;
}

static inline bool nbds_list_empty(const struct nbds_list *head)
{
	return head->next == head;
}

/* The node is in some list. */
static inline bool nbds_list_has(const struct nbds_list *node)
{
	return node->next;
}

static inline void nbds_list_append(struct nbds_list *head, struct nbds_list *node)
{
	NBDS_ASSERT(!node->next);
	node->previous = head->previous;
	node->next = head;
	head->previous->next = node;
	head->previous = node;
}

/* Nothing, if it is in none. */
static inline void nbds_list_remove(struct nbds_list *node)
{
	if (!node->next)
		return;
	node->previous->next = node->next;
	node->next->previous = node->previous;
	node->previous = node->next = NULL;
}

#endif
