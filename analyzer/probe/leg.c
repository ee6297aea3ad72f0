/* SPDX-License-Identifier: GPL-2.0-or-later */
/* leg.c - what stands between libnbd and the server. See leg.h. */
#include "leg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <base/assert.h>

#include "peers.h"

enum { CLIENT = NBDS_SYNTHETIC_CLIENT, SERVER = NBDS_SYNTHETIC_SERVER };

/* Sockets that have no address are given these: each connection its own port. */
#define PORT_SERVER 10809u
#define PORT_CLIENT 49152u

int64_t nbds_leg_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- the tape --- */

static void on_packet(void *ctx, struct nbds_packet *p)
{
	struct nbds_tape *t = ctx;

	p->frame = ++t->frames;
	if (t->writer && !t->save_error && nbds_pcapng_write_packet(t->writer, p) < 0)
		t->save_error = errno ? errno : EIO;
	nbds_pipeline_packet(t->pipeline, p);
}

/* Later than what was told before, whatever the clock says. */
static int64_t next_time(struct nbds_tape *t)
{
	struct timespec now;
	int64_t time;

	clock_gettime(CLOCK_REALTIME, &now);
	time = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	/* An event may be several packets, a nanosecond apart. */
	t->time = time > t->time + 8 ? time : t->time + 8;
	return t->time;
}

static void tell(struct nbds_leg *leg, enum nbds_synthetic_kind kind, int dir, uint32_t len,
		 uint8_t *bytes)
{
	static uint8_t none[NBDS_SYNTHETIC_HEAD];
	uint64_t had = dir == CLIENT ? leg->delivered : leg->told[CLIENT] - leg->way[CLIENT].len;
	struct nbds_synthetic_event e = {
		.kind = kind,
		.dir = (uint8_t)dir,
		.had_fin = dir == SERVER && leg->ended[CLIENT] && !leg->way[CLIENT].len,
		.time = next_time(leg->tape),
		.offset = leg->told[dir],
		.had = kind == NBDS_SYNTHETIC_OPEN ? 0 : had,
		.len = len,
	};

	NBDS_ASSERT(len <= NBDS_SYNTHETIC_BYTES);
	nbds_synthetic_packets(&leg->flow, &e, bytes ? bytes : none + NBDS_SYNTHETIC_HEAD,
			       on_packet, leg->tape);
	leg->told[dir] += len;
}

/* --- addresses --- */

/* 127.0.0.1, where there is no address. */
static void make_address(struct nbds_addr *to, unsigned port)
{
	*to = (struct nbds_addr){.ip = {127, 0, 0, 1}, .family = 4, .port = (uint16_t)port};
}

/* --- a leg --- */

bool nbds_leg_open(struct nbds_leg *leg, struct nbds_tape *tape,
		   const struct nbds_probe_dialed *dialed)
{
	uint32_t number = tape->flows++;

	memset(leg, 0, sizeof(*leg));
	leg->tape = tape;
	leg->fd[CLIENT] = dialed->pair[1];
	leg->fd[SERVER] = dialed->server;
	leg->way = calloc(2, sizeof(*leg->way));
	if (!leg->way) {
		leg->over = true;
		nbds_leg_close(leg);
		return false;
	}
	if (!nbds_peers_address(&dialed->local, &leg->flow.address[CLIENT]) ||
	    !nbds_peers_address(&dialed->remote, &leg->flow.address[SERVER])) {
		make_address(&leg->flow.address[CLIENT], PORT_CLIENT + number % 16384);
		make_address(&leg->flow.address[SERVER], PORT_SERVER);
	}
	nbds_synthetic_pair(&leg->flow.address[CLIENT], &leg->flow.address[SERVER]);
	leg->flow.isn[CLIENT] = 2 * number * 1000003 + 1;
	leg->flow.isn[SERVER] = (2 * number + 1) * 1000003 + 1;
	tell(leg, NBDS_SYNTHETIC_OPEN, CLIENT, 0, NULL);
	return true;
}

void nbds_leg_close(struct nbds_leg *leg)
{
	if (leg->way && !leg->ended[CLIENT] && !leg->over)
		tell(leg, NBDS_SYNTHETIC_FIN, CLIENT, 0, NULL);
	for (int dir = 0; dir < 2; dir++) {
		if (leg->fd[dir] >= 0)
			close(leg->fd[dir]);
		leg->fd[dir] = -1;
		leg->ended[dir] = true;
	}
	leg->over = true;
	free(leg->way);
	leg->way = NULL;
}

void nbds_leg_hold(struct nbds_leg *leg, uint64_t bytes, int milliseconds)
{
	leg->pass = bytes;
	leg->until = nbds_leg_clock() + (int64_t)milliseconds * 1000000;
}

void nbds_leg_seen(struct nbds_leg *leg)
{
	if (leg->way)
		leg->delivered = leg->told[SERVER] - leg->way[SERVER].len;
}

static bool held(const struct nbds_leg *leg)
{
	return leg->until && !leg->pass;
}

int nbds_leg_wants(const struct nbds_leg *leg, struct pollfd fds[2])
{
	for (int dir = 0; dir < 2; dir++) {
		fds[dir].fd = leg->over ? -1 : leg->fd[dir];
		fds[dir].events = fds[dir].revents = 0;
	}
	if (leg->over)
		return -1;
	for (int dir = 0; dir < 2; dir++) {
		if (leg->way[dir].len)
			fds[!dir].events |= POLLOUT;
		else if (!leg->ended[dir] && !(dir == CLIENT && held(leg)))
			fds[dir].events |= POLLIN;
	}
	/* Who has ended, and takes nothing, would only be told of again and again. */
	for (int dir = 0; dir < 2; dir++)
		if (!fds[dir].events)
			fds[dir].fd = -1;
	if (held(leg)) {
		int64_t left = leg->until - nbds_leg_clock();

		return left <= 0 ? 0 : (int)(left / 1000000) + 1;
	}
	return -1;
}

/* The server has broken it off; what it sent before was read. */
static void broken(struct nbds_leg *leg)
{
	if (!leg->ended[SERVER])
		tell(leg, NBDS_SYNTHETIC_RST, SERVER, 0, NULL);
	leg->ended[CLIENT] = leg->ended[SERVER] = true;
	leg->over = true;
	/* libnbd sees the end. */
	close(leg->fd[CLIENT]);
	leg->fd[CLIENT] = -1;
}

/* What waits is written. False: it could not all be. */
static bool drain(struct nbds_leg *leg, int dir)
{
	while (leg->way[dir].len) {
		ssize_t n = write(leg->fd[!dir],
				  leg->way[dir].bytes + NBDS_SYNTHETIC_HEAD + leg->way[dir].from,
				  leg->way[dir].len);

		if (n > 0) {
			leg->way[dir].from += (uint32_t)n;
			leg->way[dir].len -= (uint32_t)n;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else {
			/* What the server sent before it went is still to be read. */
			if (n < 0 && errno != EAGAIN)
				leg->way[dir].len = 0;
			return false;
		}
	}
	if (leg->ended[dir])
		shutdown(leg->fd[!dir], SHUT_WR);
	return true;
}

static size_t room(const struct nbds_leg *leg, int dir)
{
	if (dir == CLIENT && leg->until && leg->pass < NBDS_SYNTHETIC_BYTES)
		return (size_t)leg->pass;
	return NBDS_SYNTHETIC_BYTES;
}

/* Reads once. False: there was nothing. */
static bool take(struct nbds_leg *leg, int dir)
{
	uint8_t *bytes = leg->way[dir].bytes + NBDS_SYNTHETIC_HEAD;
	size_t size = room(leg, dir);
	ssize_t n;

	if (leg->ended[dir] || !size)
		return false;
	do
		n = read(leg->fd[dir], bytes, size);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0) {
		broken(leg);
		return false;
	}
	if (n == 0) {
		tell(leg, NBDS_SYNTHETIC_FIN, dir, 0, NULL);
		leg->ended[dir] = true;
		drain(leg, dir);
		return false;
	}
	tell(leg, NBDS_SYNTHETIC_DATA, dir, (uint32_t)n, bytes);
	leg->way[dir].from = 0;
	leg->way[dir].len = (uint32_t)n;
	if (dir == SERVER)
		leg->until = 0;
	else if (leg->until)
		leg->pass -= (uint64_t)n;
	return drain(leg, dir);
}

void nbds_leg_move(struct nbds_leg *leg)
{
	if (leg->over)
		return;
	if (leg->until && nbds_leg_clock() >= leg->until)
		leg->until = 0;
	/* What the server has sent by now comes first: it did not know what comes next. */
	for (int dir = SERVER; dir >= CLIENT && !leg->over; dir--) {
		if (leg->way[dir].len && !drain(leg, dir))
			continue;
		for (int times = 0; times < 4 && !leg->over && take(leg, dir); times++)
			;
	}
	if (!leg->over && leg->ended[CLIENT] && leg->ended[SERVER] && !leg->way[CLIENT].len &&
	    !leg->way[SERVER].len)
		leg->over = true;
}
