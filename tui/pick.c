/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pick.c - which packets are saved afterwards. See pick.h.
 */
#include "pick.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../analyzer/capture/ip.h"
#include "../analyzer/capture/pcapng.h"

struct pick *pick_new(const char *what)
{
	struct pick *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->fd = -1;
	snprintf(p->what, sizeof(p->what), "%s", what);
	return p;
}

void pick_free(struct pick *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->count; i++)
		free(p->ranges[i].comment);
	free(p->ranges);
	free(p->active);
	nbds_ip_free(p->ip);
	if (p->writer)
		nbds_pcapng_finish(p->writer);
	else if (p->fd >= 0)
		close(p->fd);
	free(p);
}

bool pick_add(struct pick *p, uint64_t first, uint64_t last, const struct nbds_addr *client,
	      const struct nbds_addr *server, const char *comment)
{
	struct pick_range *r;

	if (p->count == PICK_MAX) {
		p->more = true;
		return false;
	}
	if (p->count == p->room) {
		size_t room = p->room ? p->room * 2 : 16;

		r = reallocarray(p->ranges, room, sizeof(*r));
		if (!r)
			return false;
		p->ranges = r;
		p->room = room;
	}
	r = &p->ranges[p->count++];
	*r = (struct pick_range){.first = first, .last = last < first ? first : last};
	if (client && server) {
		r->known = true;
		r->client = *client;
		r->server = *server;
	}
	if (comment)
		r->comment = strdup(comment);
	return true;
}

static int by_first(const void *a, const void *b)
{
	const struct pick_range *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->last < y->last ? -1 : x->last > y->last;
}

bool pick_begin(struct pick *p)
{
	qsort(p->ranges, p->count, sizeof(*p->ranges), by_first);
	p->active = reallocarray(NULL, p->count + 1, sizeof(*p->active));
	p->ip = nbds_ip_new();
	p->writer = p->active && p->ip ? nbds_pcapng_writer_new(p->fd) : NULL;
	/* The writer has closed it, had it no memory. */
	if (p->active && p->ip)
		p->fd = -1;
	return p->writer;
}

static bool of_connection(const struct pick_range *r, const struct nbds_segment *s)
{
	return !r->known ||
	       (s &&
		((nbds_addr_equal(&r->client, &s->src) && nbds_addr_equal(&r->server, &s->dst)) ||
		 (nbds_addr_equal(&r->client, &s->dst) && nbds_addr_equal(&r->server, &s->src))));
}

bool pick_packet(struct pick *p, const struct nbds_packet *packet)
{
	struct nbds_segment segment;
	bool is_segment = nbds_ip_segment(p->ip, packet, &segment), wanted = false;
	char comment[256] = "";
	size_t used = 0, kept = 0;

	while (p->next < p->count && p->ranges[p->next].first <= packet->frame)
		p->active[p->active_count++] = p->next++;
	for (size_t i = 0; i < p->active_count; i++) {
		const struct pick_range *r = &p->ranges[p->active[i]];

		if (r->last < packet->frame)
			continue;
		p->active[kept++] = p->active[i];
		if (!of_connection(r, is_segment ? &segment : NULL))
			continue;
		wanted = true;
		if (r->last != packet->frame || !r->comment || used >= sizeof(comment))
			continue;
		used += (size_t)snprintf(comment + used, sizeof(comment) - used, "%s%s",
					 used ? "\n" : "", r->comment);
	}
	p->active_count = kept;
	if (!wanted)
		return true;
	p->saved++;
	while (nbds_pcapng_written_interfaces(p->writer) <= packet->interface)
		if (nbds_pcapng_write_interface(p->writer, packet->linktype, 0, NULL) < 0)
			return false;
	return nbds_pcapng_write_commented(p->writer, packet, comment) == 0;
}

bool pick_over(const struct pick *p, uint64_t frame)
{
	for (size_t i = 0; i < p->active_count; i++)
		if (p->ranges[p->active[i]].last >= frame)
			return false;
	return p->next == p->count;
}

bool pick_end(struct pick *p)
{
	bool good;

	if (!p->saved)
		nbds_pcapng_write_interface(p->writer, 1, 0, NULL);
	good = nbds_pcapng_finish(p->writer) == 0;
	p->writer = NULL;
	return good;
}
