/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * broker.h - a second process that does one thing for a confined program.
 *
 * Purpose.  A program that decodes what comes from the wire opens and connects nothing any
 * more (sandbox.h).  What it still needs later, another process does for it, which is made
 * before that, reads nothing from the wire, and knows one thing to do.  This is the frame
 * of all of them: the socket between the two, the loop of questions and answers,
 * descriptors that are handed over, and the end.
 *
 *	program ──── question ────► broker     one message each (SOCK_SEQPACKET); answers
 *	        ◄─── answer, with ──           come in the order of questions
 *	             descriptors
 *
 * A broker ends with its program, however that ends: there is nobody to hear then.
 * Keys and hang-ups are for the program alone.
 *
 * Ownership.  To be started before any thread.  Failure.  As each function says; a reason
 * is one line in `err`.  Threads.  One may ask and hear.
 *
 * Example.
 *	static bool doubled(void *of, const void *question, size_t size)
 *	{
 *		struct twice *t = of;
 *		...
 *		return nbds_broker_answer(t->socket, &answer, sizeof(answer), NULL, 0);
 *	}
 *	static void work(int socket, void *of)
 *	{
 *		int question;
 *
 *		nbds_broker_serve(socket, &question, sizeof(question), doubled, of);
 *	}
 *	...
 *	if (nbds_broker_start(&b, work, &t, "double", err, sizeof(err)))
 *		nbds_broker_ask(&b, &question, sizeof(question), 0);
 */
#ifndef NBDSCOPE_ANALYZER_BROKER_H
#define NBDSCOPE_ANALYZER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* More descriptors do not come with one answer. */
#define NBDS_BROKER_FDS 3

struct nbds_broker {
	int socket; /* of the program; the broker's is given to its work */
	pid_t pid;
};

/* Makes the process, which does `work` with its end of the socket and `of`, all signals
 * blocked, and then ends. `purpose`: a verb, for `err`. False: there is none. */
bool nbds_broker_start(struct nbds_broker *b, void (*work)(int socket, void *of), void *of,
		       const char *purpose, char *err, size_t errsize);
/* Ends it, and waits for that; or does not wait, as it may hang on what it was asked. */
void nbds_broker_stop(struct nbds_broker *b, bool wait);

/* --- the program --- */

/* Sends a question; `flags` as of sendmsg(2). False, with errno. */
bool nbds_broker_ask(const struct nbds_broker *b, const void *question, size_t size, int flags);
/* Takes an answer of just this size, and with it `count` descriptors, which are the
 * caller's then; or all of them are -1. `flags` as of recvmsg(2). 0, or an errno: EAGAIN, if
 * it is not there and nobody waits, EPIPE if there is no process any more. */
int nbds_broker_hear(const struct nbds_broker *b, void *answer, size_t size, int *fds, size_t count,
		     int flags);

/* --- the process --- */

/* The standard streams become /dev/null: neither a terminal nor a pipe is held open. */
void nbds_broker_let_go(void);
/* Hands questions of up to `room` bytes over, which are read to `question`, until the program
 * is gone or `answered` says false. */
void nbds_broker_serve(int socket, void *question, size_t room,
		       bool (*answered)(void *of, const void *question, size_t size), void *of);
/* With `count` descriptors, which stay the caller's. False: nobody listens any more. */
bool nbds_broker_answer(int socket, const void *answer, size_t size, const int *fds, size_t count);

#endif
