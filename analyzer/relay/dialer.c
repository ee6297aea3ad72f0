/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dialer.c - a process that makes the relay's connections. See dialer.h.
 */
#include "dialer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../capture/sandbox.h"

struct nbds_dialer {
	int socket;
	pid_t pid;
};

struct dial_answer {
	int error; /* errno; the descriptor comes with 0 and EINPROGRESS */
};

/* --- the process --- */

static int dial(const struct nbds_endpoint *to, unsigned address, int *error)
{
	const struct sockaddr *at;
	int fd;

	if (address >= to->count) {
		*error = EINVAL;
		return -1;
	}
	at = (const struct sockaddr *)&to->address[address].at;
	fd = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	*error = fd < 0 || connect(fd, at, to->address[address].length) < 0 ? errno : 0;
	if (fd >= 0 && *error && *error != EINPROGRESS) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void answer(int socket, int fd, int error)
{
	struct dial_answer a = {.error = error};
	struct iovec bytes = {&a, sizeof(a)};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};

	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = control.room;
		message.msg_controllen = sizeof(control.room);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	}
	while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static _Noreturn void serve(const struct nbds_endpoint *to, int socket, const char *made,
			    const struct stat *was)
{
	struct stat is;
	char err[256];
	uint8_t asked;
	ssize_t n;

	if (nbds_sandbox_possible())
		nbds_sandbox_dialer(err, sizeof(err));
	while ((n = read(socket, &asked, 1)) != 0) {
		int fd, error;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		fd = dial(to, asked, &error);
		answer(socket, fd, error);
		if (fd >= 0)
			close(fd);
	}
	if (made && lstat(made, &is) == 0 && is.st_dev == was->st_dev && is.st_ino == was->st_ino)
		unlink(made);
	_exit(0);
}

static _Noreturn void child(const struct nbds_endpoint *to, int socket, const char *made,
			    const struct stat *was)
{
	sigset_t all;

	/* Keys and hang-ups are for the program; without it this ends by itself. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	/* Nothing is held open by this: no terminal, no pipe, no socket that listens. */
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int none = open("/dev/null", O_RDWR);

		if (none >= 0)
			dup2(none, fd);
		if (none > STDERR_FILENO)
			close(none);
	}
	if (socket != STDERR_FILENO + 1) {
		dup2(socket, STDERR_FILENO + 1);
		socket = STDERR_FILENO + 1;
	}
	close_range((unsigned)socket + 1, ~0u, 0);
	serve(to, socket, made, was);
}

/* --- the program --- */

struct nbds_dialer *nbds_dialer_start(const struct nbds_endpoint *to, const char *made, char *err,
				      size_t errsize)
{
	struct nbds_dialer *d = calloc(1, sizeof(*d));
	struct stat was = {0};
	int pair[2];

	if (!d || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		snprintf(err, errsize, "cannot prepare to connect: %s",
			 d ? strerror(errno) : "out of memory");
		free(d);
		return NULL;
	}
	if (made && lstat(made, &was) < 0)
		made = NULL;
	d->socket = pair[0];
	d->pid = fork();
	if (d->pid == 0)
		child(to, pair[1], made, &was);
	close(pair[1]);
	if (d->pid > 0 && fcntl(d->socket, F_SETFL, O_NONBLOCK) == 0)
		return d;
	snprintf(err, errsize, "cannot start a process: %s", strerror(errno));
	close(d->socket);
	free(d);
	return NULL;
}

void nbds_dialer_stop(struct nbds_dialer *d)
{
	if (!d)
		return;
	close(d->socket);
	while (waitpid(d->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(d);
}

int nbds_dialer_fd(const struct nbds_dialer *d)
{
	return d->socket;
}

bool nbds_dialer_ask(struct nbds_dialer *d, unsigned address)
{
	uint8_t byte = (uint8_t)address;
	ssize_t n;

	do
		n = write(d->socket, &byte, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

int nbds_dialer_hear(struct nbds_dialer *d, int *fd, int *error)
{
	struct dial_answer a = {.error = EIO};
	struct iovec bytes = {&a, sizeof(a)};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &bytes,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = sizeof(control.room)};
	const struct cmsghdr *head;
	ssize_t n;

	*fd = -1;
	do
		n = recvmsg(d->socket, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n != sizeof(a))
		return -1;
	head = CMSG_FIRSTHDR(&message);
	if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
	    head->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(head), sizeof(*fd));
	*error = *fd >= 0 || a.error ? a.error : EMFILE; /* it found no room here */
	return 1;
}
