/* SPDX-License-Identifier: GPL-2.0-or-later */
/* driver.c - carries steps out on a server, by libnbd. See driver.h. */
#include "driver.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/assert.h>

#define SECOND  INT64_C(1000000000)
#define MILLI   INT64_C(1000000)
#define REQUEST 28u /* bytes of a compact request */

/* How long the end of a connection is waited for, and what was held back is. */
#define PATIENCE_END (SECOND / 2)
#define HOLD_MS      30
/* How long a server may take to be there again. */
#define PATIENCE_RESTART (5 * SECOND)

static const char *const names[] = {
	[NBDS_PROBE_OPEN] = "the handshake",  [NBDS_PROBE_CLOSE] = "NBD_CMD_DISC",
	[NBDS_PROBE_DROP] = "the end",        [NBDS_PROBE_READ] = "NBD_CMD_READ",
	[NBDS_PROBE_WRITE] = "NBD_CMD_WRITE", [NBDS_PROBE_ZEROES] = "NBD_CMD_WRITE_ZEROES",
	[NBDS_PROBE_TRIM] = "NBD_CMD_TRIM",   [NBDS_PROBE_FLUSH] = "NBD_CMD_FLUSH",
	[NBDS_PROBE_CACHE] = "NBD_CMD_CACHE", [NBDS_PROBE_STATUS] = "NBD_CMD_BLOCK_STATUS",
};

/* The first trouble is the one that is told. */
static bool __attribute__((format(printf, 2, 3)))
fail(struct nbds_driver *d, const char *format, ...)
{
	va_list args;

	if (d->trouble[0])
		return false;
	va_start(args, format);
	vsnprintf(d->trouble, sizeof(d->trouble), format, args);
	va_end(args);
	return false;
}

/* --- the loop --- */

/* Without its function's name, which says nothing to who reads it. */
static const char *libnbd_says(void)
{
	const char *error = nbd_get_error(), *colon;

	if (!error)
		return "";
	colon = strstr(error, ": ");
	return !strncmp(error, "nbd_", 4) && colon ? colon + 2 : error;
}

static void notify(struct nbds_probe_link *l, short revents)
{
	unsigned direction = nbd_aio_get_direction(l->nbd);
	int status = 0;

	if ((revents & (POLLIN | POLLHUP | POLLERR)) && (direction & LIBNBD_AIO_DIRECTION_READ))
		status = nbd_aio_notify_read(l->nbd);
	else if ((revents & (POLLOUT | POLLHUP | POLLERR)) &&
		 (direction & LIBNBD_AIO_DIRECTION_WRITE))
		status = nbd_aio_notify_write(l->nbd);
	if (status < 0 && !l->why[0])
		snprintf(l->why, sizeof(l->why), "%s", libnbd_says());
}

/* Waits once, for what comes next, not longer than until `end`. */
static void turn(struct nbds_driver *d, int64_t end)
{
	struct pollfd fds[3 * NBDS_PROBE_CONNECTIONS];
	int64_t left = (end - nbds_leg_clock()) / MILLI + 1;
	int timeout = left > 100 ? 100 : left < 0 ? 0 : (int)left;

	for (unsigned i = 0; i < d->count; i++) {
		struct nbds_probe_link *l = &d->links[i];
		struct pollfd *f = &fds[3 * i];
		int wants;

		f[0].fd = f[1].fd = f[2].fd = -1;
		f[0].events = f[0].revents = 0;
		if (!l->nbd)
			continue;
		if (!nbd_aio_is_dead(l->nbd) && !nbd_aio_is_closed(l->nbd)) {
			unsigned direction = nbd_aio_get_direction(l->nbd);

			f[0].fd = direction ? nbd_aio_get_fd(l->nbd) : -1;
			if (direction & LIBNBD_AIO_DIRECTION_READ)
				f[0].events |= POLLIN;
			if (direction & LIBNBD_AIO_DIRECTION_WRITE)
				f[0].events |= POLLOUT;
		}
		wants = nbds_leg_wants(&l->leg, f + 1);
		if (wants >= 0 && wants < timeout)
			timeout = wants;
	}
	if (poll(fds, 3 * d->count, timeout) < 0)
		return;
	for (unsigned i = 0; i < d->count; i++) {
		struct nbds_probe_link *l = &d->links[i];

		if (!l->nbd)
			continue;
		nbds_leg_move(&l->leg);
		if (fds[3 * i].fd >= 0 && fds[3 * i].revents)
			notify(l, fds[3 * i].revents);
		nbds_leg_seen(&l->leg);
	}
}

/* --- connections --- */

static void reap(struct nbds_probe_link *l)
{
	struct nbds_probe_command **at = &l->commands;

	while (*at) {
		struct nbds_probe_command *c = *at;

		if (!c->done) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		free(c->bytes);
		free(c);
	}
}

static void drop(struct nbds_probe_link *l)
{
	if (l->nbd)
		nbd_close(l->nbd);
	l->nbd = NULL;
	/* libnbd has no use for them any more. */
	for (struct nbds_probe_command *c = l->commands; c; c = c->next)
		c->done = true;
	reap(l);
	nbds_leg_close(&l->leg);
	l->lost = NULL;
	l->why[0] = '\0';
}

static bool ended(const struct nbds_probe_link *l)
{
	return nbd_aio_is_dead(l->nbd) || nbd_aio_is_closed(l->nbd);
}

void nbds_driver_close(struct nbds_driver *d, unsigned i, bool politely)
{
	struct nbds_probe_link *l = &d->links[i];
	int64_t end = nbds_leg_clock() + PATIENCE_END;

	if (!l->nbd)
		return;
	if (politely && nbd_aio_is_ready(l->nbd) && nbd_aio_disconnect(l->nbd, 0) == 0)
		while (!ended(l) && nbds_leg_clock() < end && !d->stopped)
			turn(d, end);
	else if (!politely)
		nbds_leg_close(&l->leg);
	/* What libnbd has sent before it closes is handed on. */
	while (politely && !l->leg.over && !l->leg.ended[NBDS_SYNTHETIC_SERVER] &&
	       !l->leg.ended[NBDS_SYNTHETIC_CLIENT] && nbds_leg_clock() < end && !d->stopped &&
	       !ended(l))
		turn(d, end);
	drop(l);
}

static struct nbd_handle *handle_new(struct nbds_driver *d, int socket)
{
	struct nbd_handle *nbd = nbd_create();

	if (!nbd) {
		close(socket);
		fail(d, "%s", nbd_get_error());
		return NULL;
	}
	nbd_set_debug(nbd, false);
	if (nbd_set_export_name(nbd, d->uri->export) < 0 ||
	    nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0 ||
	    nbd_aio_connect_socket(nbd, socket) < 0) {
		fail(d, "%s", nbd_get_error());
		nbd_close(nbd);
		return NULL;
	}
	return nbd;
}

static bool connect_once(struct nbds_driver *d, struct nbds_probe_dialed *dialed)
{
	char err[200];

	if (d->dialed) {
		*dialed = d->ready;
		d->dialed = false;
		return true;
	}
	return nbds_probe_dialer_connect(d->dialer, dialed, err, sizeof(err)) || fail(d, "%s", err);
}

bool nbds_driver_open(struct nbds_driver *d, unsigned i)
{
	struct nbds_probe_link *l = &d->links[i];
	struct nbds_probe_dialed dialed;
	int64_t end = nbds_leg_clock() + d->patience;

	if (l->nbd)
		nbds_driver_close(d, i, false);
	if (!connect_once(d, &dialed))
		return false;
	if (!nbds_leg_open(&l->leg, d->tape, &dialed)) {
		close(dialed.pair[0]);
		return fail(d, "out of memory");
	}
	l->nbd = handle_new(d, dialed.pair[0]);
	if (!l->nbd) {
		nbds_leg_close(&l->leg);
		return false;
	}
	while (!nbd_aio_is_ready(l->nbd) && !ended(l)) {
		if (d->stopped || nbds_leg_clock() >= end) {
			d->hung = !d->stopped;
			fail(d,
			     d->stopped ? "interrupted" : "no answer to the handshake within %g s",
			     (double)d->patience / 1e9);
			break;
		}
		turn(d, end);
	}
	if (nbd_aio_is_ready(l->nbd))
		return true;
	fail(d, "the handshake failed: %s", l->why[0] ? l->why : "the server ended it");
	drop(l);
	return false;
}

bool nbds_driver_ready(struct nbds_driver *d)
{
	for (unsigned i = 0; i < d->count; i++)
		if ((!d->links[i].nbd || !nbd_aio_is_ready(d->links[i].nbd)) &&
		    !nbds_driver_open(d, i))
			return false;
	return true;
}

void nbds_driver_free(struct nbds_driver *d)
{
	for (unsigned i = 0; i < NBDS_PROBE_CONNECTIONS; i++)
		if (d->links[i].nbd)
			drop(&d->links[i]);
	if (d->dialed) {
		close(d->ready.server);
		close(d->ready.pair[0]);
		close(d->ready.pair[1]);
	}
	d->dialed = false;
}

/* --- commands --- */

static int completed(void *user_data, int *error)
{
	struct nbds_probe_command *c = user_data;

	c->done = true;
	c->error = *error;
	/* libnbd gives up what it has in flight when it goes. */
	if (c->error == ENOTCONN)
		c->link->lost = names[c->op];
	else if (c->error && !c->may_refuse)
		fail(c->driver, "%s failed: %s", names[c->op], strerror(c->error));
	return 1; /* libnbd forgets it */
}

static int on_extents(void *user_data, const char *context, uint64_t offset, uint32_t *entries,
		      size_t count, int *error)
{
	/* The audit sees them for itself. */
	(void)user_data;
	(void)context;
	(void)offset;
	(void)entries;
	(void)count;
	(void)error;
	return 0;
}

static int on_chunk(void *user_data, const void *bytes, size_t count, uint64_t offset,
		    unsigned status, int *error)
{
	(void)user_data;
	(void)bytes;
	(void)count;
	(void)offset;
	(void)status;
	(void)error;
	return 0;
}

static uint32_t flags_of(const struct nbds_probe_step *s)
{
	return (s->flags & NBDS_PROBE_FUA ? LIBNBD_CMD_FLAG_FUA : 0) |
	       (s->flags & NBDS_PROBE_NO_HOLE ? LIBNBD_CMD_FLAG_NO_HOLE : 0) |
	       (s->flags & NBDS_PROBE_FAST_ZERO ? LIBNBD_CMD_FLAG_FAST_ZERO : 0) |
	       (s->flags & NBDS_PROBE_DF ? LIBNBD_CMD_FLAG_DF : 0);
}

static int64_t send_command(struct nbds_probe_link *l, const struct nbds_probe_step *s,
			    struct nbds_probe_command *c)
{
	nbd_completion_callback done = {.callback = completed, .user_data = c};
	nbd_extent_callback extents = {.callback = on_extents};
	nbd_chunk_callback chunks = {.callback = on_chunk};
	uint32_t flags = flags_of(s);

	switch ((enum nbds_probe_op)s->op) {
	case NBDS_PROBE_READ:
		if (flags)
			return nbd_aio_pread_structured(l->nbd, c->bytes, s->length, s->offset,
							chunks, done, flags);
		return nbd_aio_pread(l->nbd, c->bytes, s->length, s->offset, done, 0);
	case NBDS_PROBE_WRITE:
		if (s->flags & NBDS_PROBE_HALF)
			nbds_leg_hold(&l->leg, REQUEST + s->length / 2, HOLD_MS);
		return nbd_aio_pwrite(l->nbd, c->bytes, s->length, s->offset, done, flags);
	case NBDS_PROBE_ZEROES:
		return nbd_aio_zero(l->nbd, s->length, s->offset, done, flags);
	case NBDS_PROBE_TRIM:
		return nbd_aio_trim(l->nbd, s->length, s->offset, done, flags);
	case NBDS_PROBE_FLUSH:
		return nbd_aio_flush(l->nbd, done, 0);
	case NBDS_PROBE_CACHE:
		return nbd_aio_cache(l->nbd, s->length, s->offset, done, 0);
	case NBDS_PROBE_STATUS:
		return nbd_aio_block_status(l->nbd, s->length, s->offset, extents, done, 0);
	default:
		return -1;
	}
}

static bool command(struct nbds_driver *d, const struct nbds_probe_step *s)
{
	struct nbds_probe_link *l = &d->links[s->connection];
	struct nbds_probe_command *c = calloc(1, sizeof(*c));
	bool data = s->op == NBDS_PROBE_READ || s->op == NBDS_PROBE_WRITE;

	if (c && data)
		c->bytes = malloc(s->length);
	if (!c || (data && !c->bytes)) {
		free(c);
		return fail(d, "out of memory");
	}
	c->driver = d;
	c->link = l;
	c->op = s->op;
	c->may_refuse = (s->flags & NBDS_PROBE_FAST_ZERO) || s->op == NBDS_PROBE_CACHE;
	if (s->op == NBDS_PROBE_WRITE)
		nbds_probe_fill(d->seed, s->contents, s->offset, c->bytes, s->length);
	c->next = l->commands;
	l->commands = c;
	if (l->nbd && send_command(l, s, c) >= 0)
		return true;
	c->done = true;
	fail(d, "%s could not be sent: %s", names[s->op],
	     l->nbd ? libnbd_says() : "there is no connection");
	return false;
}

/* A command of the link that waits; NULL: none. */
static const struct nbds_probe_command *waits(struct nbds_probe_link *l)
{
	reap(l);
	return l->commands;
}

static bool wait_for_all(struct nbds_driver *d)
{
	int64_t end = nbds_leg_clock() + d->patience;
	bool well = true;

	for (unsigned i = 0; i < d->count; i++) {
		struct nbds_probe_link *l = &d->links[i];
		const struct nbds_probe_command *c;

		while ((c = waits(l)) && l->nbd && !ended(l)) {
			if (d->stopped)
				return fail(d, "interrupted");
			if (nbds_leg_clock() >= end) {
				d->hung = true;
				return fail(d, "%s was not answered within %g s", names[c->op],
					    (double)d->patience / 1e9);
			}
			turn(d, end);
		}
		if (l->nbd && ended(l)) {
			fail(d, "the connection ended%s%s%s%s", l->lost ? " before " : "",
			     l->lost ? l->lost : "", l->lost ? " was answered: " : ": ",
			     l->why[0] ? l->why : "by the server");
			well = false;
		}
	}
	return well;
}

static void pause_for(struct nbds_driver *d, uint32_t milliseconds)
{
	int64_t end = nbds_leg_clock() + milliseconds * MILLI;

	while (nbds_leg_clock() < end && !d->stopped)
		turn(d, end);
}

static bool restart(struct nbds_driver *d)
{
	char err[160];
	int64_t end;

	/* So that the end of the connections is seen for what it is. */
	for (unsigned i = 0; i < d->count; i++)
		nbds_driver_close(d, i, false);
	if (!nbds_probe_dialer_restart(d->dialer, err, sizeof(err)))
		return fail(d, "--probe-kill: %s", err);
	end = nbds_leg_clock() + PATIENCE_RESTART;
	for (;;) {
		char before[sizeof(d->trouble)];

		memcpy(before, d->trouble, sizeof(before));
		d->trouble[0] = '\0';
		if (nbds_driver_open(d, 0)) {
			memcpy(d->trouble, before, sizeof(before));
			return true;
		}
		if (nbds_leg_clock() >= end || d->stopped)
			return fail(d, "the server did not come back");
		memcpy(d->trouble, before, sizeof(before));
		pause_for(d, 20);
	}
}

bool nbds_driver_step(struct nbds_driver *d, const struct nbds_probe_step *s)
{
	NBDS_ASSERT(s->connection < d->count);
	switch ((enum nbds_probe_op)s->op) {
	case NBDS_PROBE_OPEN:
		return (d->links[s->connection].nbd &&
			nbd_aio_is_ready(d->links[s->connection].nbd)) ||
		       nbds_driver_open(d, s->connection);
	case NBDS_PROBE_CLOSE:
	case NBDS_PROBE_DROP:
		nbds_driver_close(d, s->connection, s->op == NBDS_PROBE_CLOSE);
		return true;
	case NBDS_PROBE_WAIT:
		return wait_for_all(d);
	case NBDS_PROBE_PAUSE:
		pause_for(d, s->length);
		return true;
	case NBDS_PROBE_RESTART:
		return restart(d);
	default:
		return command(d, s);
	}
}
