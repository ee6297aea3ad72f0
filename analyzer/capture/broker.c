/* SPDX-License-Identifier: GPL-2.0-or-later */
/* broker.c - a second process that does one thing. See broker.h. */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

/* Room for descriptors beside a message. */
union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(NBDS_BROKER_FDS * sizeof(int))];
};

/* send() is not what a confined program may do. */
static bool tell(int socket, const void *said, size_t size, const int *fds, size_t count, int flags)
{
	struct iovec bytes = {(void *)said, size};
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
	union control control;
	ssize_t n;

	NBDS_ASSERT(count <= NBDS_BROKER_FDS);
	if (count) {
		memset(&control, 0, sizeof(control));
		message.msg_control = control.room;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.head), fds, count * sizeof(int));
	}
	do
		n = sendmsg(socket, &message, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n >= 0;
}

bool nbds_broker_start(struct nbds_broker *b, void (*work)(int socket, void *of), void *of,
		       const char *purpose, char *err, size_t errsize)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		snprintf(err, errsize, "cannot prepare to %s: %s", purpose, strerror(errno));
		return false;
	}
	b->pid = fork();
	if (b->pid == 0) {
		sigset_t all;

		sigfillset(&all);
		sigprocmask(SIG_SETMASK, &all, NULL);
		close(pair[0]);
		work(pair[1], of);
		_exit(0);
	}
	close(pair[1]);
	b->socket = pair[0];
	if (b->pid > 0)
		return true;
	snprintf(err, errsize, "cannot start a process: %s", strerror(errno));
	close(pair[0]);
	return false;
}

void nbds_broker_stop(struct nbds_broker *b, bool wait)
{
	close(b->socket);
	while (wait && waitpid(b->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* --- the program --- */

bool nbds_broker_ask(const struct nbds_broker *b, const void *question, size_t size, int flags)
{
	return tell(b->socket, question, size, NULL, 0, flags);
}

/* What came beside a message; all of it or nothing. */
static void take(struct msghdr *message, int *fds, size_t count)
{
	const struct cmsghdr *head = CMSG_FIRSTHDR(message);
	int some[NBDS_BROKER_FDS];
	size_t came;

	if (!head || head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
		return;
	came = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (came > NBDS_BROKER_FDS)
		came = NBDS_BROKER_FDS;
	memcpy(some, CMSG_DATA(head), came * sizeof(int));
	if (came == count) {
		memcpy(fds, some, count * sizeof(int));
		return;
	}
	/* The others found no room here. */
	for (size_t i = 0; i < came; i++)
		close(some[i]);
}

int nbds_broker_hear(const struct nbds_broker *b, void *answer, size_t size, int *fds, size_t count,
		     int flags)
{
	struct iovec bytes = {answer, size};
	union control control;
	struct msghdr message = {.msg_iov = &bytes,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = sizeof(control.room)};
	ssize_t n;

	NBDS_ASSERT(count <= NBDS_BROKER_FDS);
	for (size_t i = 0; i < count; i++)
		fds[i] = -1;
	do
		n = recvmsg(b->socket, &message, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno;
	take(&message, fds, (size_t)n == size ? count : 0);
	return (size_t)n == size ? 0 : EPIPE;
}

/* --- the process --- */

void nbds_broker_let_go(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int none = open("/dev/null", O_RDWR);

		if (none >= 0)
			dup2(none, fd);
		if (none > STDERR_FILENO)
			close(none);
	}
}

void nbds_broker_serve(int socket, void *question, size_t room,
		       bool (*answered)(void *of, const void *question, size_t size), void *of)
{
	ssize_t n;

	do
		n = read(socket, question, room);
	while (n < 0 ? errno == EINTR : n > 0 && answered(of, question, (size_t)n));
}

bool nbds_broker_answer(int socket, const void *answer, size_t size, const int *fds, size_t count)
{
	return tell(socket, answer, size, fds, count, 0);
}
