/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/pick.h - which packets are saved afterwards, and what is said of them.
 *
 * Purpose.  The packets of a connection, of the commands that prove a finding, or of the
 * messages that a filter lets through: ranges of frames, each of one connection, with
 * a comment on the last frame.  They are written as pcapng while packets are gone
 * through once more, in the order of their frames.
 *
 * Ownership.  The thread that draws makes one and gives it away; pick_free() ends it.
 * Failure.  False without memory, or as the file cannot be written (errno).
 */
#ifndef NBDSCOPE_TUI_PICK_H
#define NBDSCOPE_TUI_PICK_H

#include <stdbool.h>
#include <stddef.h>

#include <nbdscope/packet.h>

/* Ranges at most. */
#define PICK_MAX 65536u

struct pick_range {
	uint64_t first, last; /* frames */
	bool known;           /* of this connection only; else whatever they are */
	struct nbds_addr client, server;
	char *comment; /* or NULL */
};

struct pick {
	struct pick_range *ranges;
	size_t count, room;
	bool more;      /* than PICK_MAX */
	char what[80];  /* "finding 3" */
	char name[200]; /* of the file, printable */
	int fd;
	/* while it goes on */
	size_t next; /* the first range that has not begun */
	size_t *active;
	size_t active_count;
	uint64_t saved; /* packets */
	struct nbds_ip *ip;
	struct nbds_pcapng_writer *writer;
};

struct pick *pick_new(const char *what);
void pick_free(struct pick *p);
/* `comment` is copied; NULL: none. `client` and `server` NULL: of no connection in
 * particular. False: no memory, or too many. */
bool pick_add(struct pick *p, uint64_t first, uint64_t last, const struct nbds_addr *client,
	      const struct nbds_addr *server, const char *comment);

/* Into p->fd, which becomes the pick's. */
bool pick_begin(struct pick *p);
/* The next packet; it is written if it is wanted. */
bool pick_packet(struct pick *p, const struct nbds_packet *packet);
/* No packet from this frame on is wanted. */
bool pick_over(const struct pick *p, uint64_t frame);
bool pick_end(struct pick *p);

#endif
