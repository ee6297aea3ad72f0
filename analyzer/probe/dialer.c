/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dialer.c - a process that connects to the one server that is probed. See dialer.h. */
#include "dialer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../capture/broker.h"

struct nbds_probe_dialer {
	struct nbds_broker broker;
};

/* What the process knows. */
struct dialing {
	int socket;
	const struct nbds_probe_uri *uri;
	const char *restart;
	int milliseconds;
};

enum { CONNECT, RESTART };

struct dialed_answer {
	bool well; /* CONNECT: three descriptors come with this */
	char err[200];
	struct sockaddr_storage local, remote;
};

/* --- the process --- */

/* Waits for a connection that was begun. 0 or errno. */
static int connected(int fd, int milliseconds)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0, n;
	socklen_t size = sizeof(error);

	do
		n = poll(&p, 1, milliseconds);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? errno : ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return errno;
	return error;
}

/* A socket that is connected, or -1 with errno. */
static int dial(int family, const struct sockaddr *to, socklen_t size, int milliseconds)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1, error;

	if (fd < 0)
		return -1;
	if (family != AF_UNIX && family != AF_VSOCK)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	error = connect(fd, to, size) == 0 ? 0 : errno;
	if (error == EINPROGRESS)
		error = connected(fd, milliseconds);
	if (!error)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

static int dial_local(const struct dialing *k)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", k->uri->path);
	return dial(AF_UNIX, (const struct sockaddr *)&to, sizeof(to), k->milliseconds);
}

static int dial_vsock(const struct dialing *k)
{
	struct sockaddr_vm to = {
		.svm_family = AF_VSOCK,
		.svm_cid = (unsigned)strtoul(k->uri->host, NULL, 10),
		.svm_port = (unsigned)strtoul(k->uri->port, NULL, 10),
	};

	return dial(AF_VSOCK, (const struct sockaddr *)&to, sizeof(to), k->milliseconds);
}

/* -1 with errno, or with a reason in `a`. */
static int dial_host(const struct dialing *k, struct dialed_answer *a)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int status = getaddrinfo(k->uri->host, k->uri->port, &hints, &list), fd = -1;

	if (status) {
		snprintf(a->err, sizeof(a->err), "%.120s: %s", k->uri->host, gai_strerror(status));
		return -1;
	}
	for (const struct addrinfo *i = list; i && fd < 0; i = i->ai_next)
		fd = dial(i->ai_family, i->ai_addr, i->ai_addrlen, k->milliseconds);
	status = errno;
	freeaddrinfo(list);
	errno = status;
	return fd;
}

static bool make_connection(const struct dialing *k, struct dialed_answer *a, int fds[3])
{
	socklen_t local = sizeof(a->local), remote = sizeof(a->remote);

	fds[0] = k->uri->local ? dial_local(k) : k->uri->vsock ? dial_vsock(k) : dial_host(k, a);
	if (fds[0] < 0) {
		if (!a->err[0])
			snprintf(a->err, sizeof(a->err), "cannot connect: %s", strerror(errno));
		return false;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds + 1) < 0) {
		snprintf(a->err, sizeof(a->err), "cannot make a socket: %s", strerror(errno));
		close(fds[0]);
		return false;
	}
	if (getsockname(fds[0], (struct sockaddr *)&a->local, &local) < 0 ||
	    getpeername(fds[0], (struct sockaddr *)&a->remote, &remote) < 0)
		memset(&a->remote, 0, sizeof(a->remote));
	return true;
}

static void nap(long milliseconds)
{
	struct timespec t = {.tv_nsec = milliseconds * 1000000};

	nanosleep(&t, NULL);
}

/* In a group of its own, so that all of it can be ended; what it leaves running in
 * another session, as a server that goes to the background, stays. */
static bool run(const struct dialing *k, struct dialed_answer *a)
{
	pid_t pid = fork();
	int status = 0, waited = 0;

	if (pid == 0) {
		sigset_t none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setpgid(0, 0);
		execl("/bin/sh", "sh", "-c", k->restart, (char *)NULL);
		_exit(127);
	}
	if (pid < 0) {
		snprintf(a->err, sizeof(a->err), "cannot start a process: %s", strerror(errno));
		return false;
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (waited >= 2 * k->milliseconds) {
			kill(-pid, SIGKILL);
			waitpid(pid, &status, 0);
			snprintf(a->err, sizeof(a->err), "it has not ended after %d s",
				 2 * k->milliseconds / 1000);
			return false;
		}
		nap(5);
		waited += 5;
	}
	if (status == 0)
		return true;
	if (WIFEXITED(status))
		snprintf(a->err, sizeof(a->err), "it failed with exit status %d",
			 WEXITSTATUS(status));
	else
		snprintf(a->err, sizeof(a->err), "it was ended by signal %d", WTERMSIG(status));
	return false;
}

static bool asked(void *of, const void *question, size_t size)
{
	const struct dialing *k = of;
	struct dialed_answer a = {.well = false};
	int fds[3] = {-1, -1, -1};
	bool made = false, heard;

	(void)size;
	if (*(const char *)question == CONNECT)
		a.well = made = make_connection(k, &a, fds);
	else
		a.well = run(k, &a);
	heard = nbds_broker_answer(k->socket, &a, sizeof(a), fds, made ? 3 : 0);
	for (int i = 0; i < 3 && made; i++)
		close(fds[i]);
	return heard;
}

static void keep(int socket, void *of)
{
	struct dialing *k = of;
	char word;

	k->socket = socket;
	signal(SIGPIPE, SIG_DFL);
	signal(SIGXFSZ, SIG_DFL);
	nbds_broker_serve(socket, &word, sizeof(word), asked, k);
}

/* --- the program --- */

struct nbds_probe_dialer *nbds_probe_dialer_start(const struct nbds_probe_uri *uri,
						  const char *restart, unsigned seconds, char *err,
						  size_t errsize)
{
	struct nbds_probe_dialer *d = calloc(1, sizeof(*d));
	struct dialing k = {.uri = uri, .restart = restart, .milliseconds = (int)seconds * 1000};

	if (!d) {
		snprintf(err, errsize, "cannot prepare to connect: %s", strerror(errno));
		return NULL;
	}
	if (!nbds_broker_start(&d->broker, keep, &k, "connect", err, errsize)) {
		free(d);
		return NULL;
	}
	return d;
}

void nbds_probe_dialer_stop(struct nbds_probe_dialer *d)
{
	if (!d)
		return;
	nbds_broker_stop(&d->broker, true);
	free(d);
}

/* The answer to a word, and the descriptors that came with it, or -1. */
static bool ask(struct nbds_probe_dialer *d, char word, struct dialed_answer *a, int fds[3])
{
	return nbds_broker_ask(&d->broker, &word, 1, 0) &&
	       nbds_broker_hear(&d->broker, a, sizeof(*a), fds, 3, 0) == 0;
}

bool nbds_probe_dialer_connect(struct nbds_probe_dialer *d, struct nbds_probe_dialed *dialed,
			       char *err, size_t errsize)
{
	struct dialed_answer a = {.well = false};
	int fds[3];

	if (!ask(d, CONNECT, &a, fds)) {
		snprintf(err, errsize, "the process that connects is gone");
		return false;
	}
	if (!a.well || fds[0] < 0) {
		snprintf(err, errsize, "%s", a.err);
		return false;
	}
	dialed->server = fds[0];
	dialed->pair[0] = fds[1];
	dialed->pair[1] = fds[2];
	dialed->local = a.local;
	dialed->remote = a.remote;
	return true;
}

bool nbds_probe_dialer_restart(struct nbds_probe_dialer *d, char *err, size_t errsize)
{
	struct dialed_answer a = {.well = false};
	int fds[3];

	if (!ask(d, RESTART, &a, fds)) {
		snprintf(err, errsize, "the process that runs it is gone");
		return false;
	}
	if (!a.well)
		snprintf(err, errsize, "%s", a.err);
	return a.well;
}
