/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dialer.c - a process that makes the relay's connections. See dialer.h.
 */
#include "dialer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../capture/broker.h"
#include "../capture/sandbox.h"

struct nbds_dialer {
	struct nbds_broker broker;
};

/* What the process knows. */
struct relay_dialing {
	int socket;
	const struct nbds_endpoint *to;
	const char *made; /* NULL: no file is removed */
	struct stat was;  /* that file */
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

static bool asked(void *of, const void *question, size_t size)
{
	const struct relay_dialing *k = of;
	struct dial_answer a;
	int fd = dial(k->to, *(const uint8_t *)question, &a.error);

	(void)size;
	nbds_broker_answer(k->socket, &a, sizeof(a), &fd, fd >= 0);
	if (fd >= 0)
		close(fd);
	return true; /* until nobody asks: a file is to be removed then */
}

static void keep(int socket, void *of)
{
	struct relay_dialing *k = of;
	struct stat is;
	char err[256];
	uint8_t address;

	/* Nothing is held open by this: no terminal, no pipe, no socket that listens. */
	nbds_broker_let_go();
	k->socket = STDERR_FILENO + 1;
	if (socket != k->socket)
		dup2(socket, k->socket);
	close_range((unsigned)k->socket + 1, ~0u, 0);
	if (nbds_sandbox_possible())
		nbds_sandbox_dialer(err, sizeof(err));
	nbds_broker_serve(k->socket, &address, sizeof(address), asked, k);
	if (k->made && lstat(k->made, &is) == 0 && is.st_dev == k->was.st_dev &&
	    is.st_ino == k->was.st_ino)
		unlink(k->made);
}

/* --- the program --- */

struct nbds_dialer *nbds_dialer_start(const struct nbds_endpoint *to, const char *made, char *err,
				      size_t errsize)
{
	struct nbds_dialer *d = calloc(1, sizeof(*d));
	struct relay_dialing k = {.to = to};

	if (!d) {
		snprintf(err, errsize, "cannot prepare to connect: out of memory");
		return NULL;
	}
	if (made && lstat(made, &k.was) == 0)
		k.made = made;
	if (!nbds_broker_start(&d->broker, keep, &k, "connect", err, errsize)) {
		free(d);
		return NULL;
	}
	return d;
}

void nbds_dialer_stop(struct nbds_dialer *d)
{
	if (!d)
		return;
	nbds_broker_stop(&d->broker, true);
	free(d);
}

int nbds_dialer_fd(const struct nbds_dialer *d)
{
	return d->broker.socket;
}

bool nbds_dialer_ask(struct nbds_dialer *d, unsigned address)
{
	uint8_t byte = (uint8_t)address;

	return nbds_broker_ask(&d->broker, &byte, 1, MSG_DONTWAIT);
}

int nbds_dialer_hear(struct nbds_dialer *d, int *fd, int *error)
{
	struct dial_answer a = {.error = EIO};
	int status = nbds_broker_hear(&d->broker, &a, sizeof(a), fd, 1, MSG_DONTWAIT);

	if (status)
		return status == EAGAIN ? 0 : -1;
	*error = *fd >= 0 || a.error ? a.error : EMFILE; /* it found no room here */
	return 1;
}
