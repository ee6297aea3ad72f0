/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * relay.c - stands between clients and a server. See relay.h.
 *
 * One thread, one loop (libuv), which only says what can be read and written: reading and
 * writing is done here, so that it is known of each byte whether it was written already.
 * That is what proofs of order rest on, and a write that the library would carry out later
 * has no such moment.
 *
 *	half[0]: client ──read──► scratch ──write──► server
 *	half[1]: server ──read──► scratch ──write──► client
 *	                             └── what could not be written: kept, and nothing is read
 *
 * What a peer had.  That the queue of a side was found empty is seen by a read that brought
 * less than it could.  What is read later was sent later, by who had by then all that had
 * been delivered to it: `known`.
 */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/sockios.h>
#include <uv.h>

#include <base/assert.h>

#include "dialer.h"

enum { CLIENT = NBDS_SYNTHETIC_CLIENT, SERVER = NBDS_SYNTHETIC_SERVER };

#define NO_ROOM_MS    100 /* until connections are taken again */
#define DIAL_AGAIN_MS 10  /* the server's queue of connections is full */
#define DIAL_MOST_MS  10000
#define BACKLOG       1024
#define READS_MOST    4  /* of one side, before others have their turn */
#define OTHER_FILES   64 /* descriptors that are not connections' */

/* Ports of clients that have none. */
#define PORT_FIRST 32768u
#define PORTS      28000u

/* One direction of a connection, by who sends. */
struct relay_half {
	uint8_t *kept; /* NBDS_RELAY_BUFFER, or NULL: what could not be written yet */
	size_t from, to;
	uint64_t read, written;
	uint64_t known;  /* bytes of the other direction that this side had when its queue was
			  * found empty, */
	bool known_end;  /* and their end */
	bool ended;      /* nothing more will be read */
	bool finished;   /* and the other side was told */
	bool broken_off; /* by this side */
	bool told;       /* its end is seen */
	bool deaf;       /* the other side takes nothing more */
};

struct relay_side {
	int fd;
	int events; /* that are waited for */
	bool tcp;
	uv_poll_t poll;
};

struct relay_connection {
	struct nbds_relay *relay;
	struct relay_connection *next, *previous;
	struct relay_connection *next_dialed; /* behind it in the queue of questions */
	struct relay_side side[2];
	struct relay_half half[2];
	struct nbds_synthetic_flow flow;
	bool connected, closing, named, cut;
	unsigned address; /* of the server, that is tried */
	unsigned waited;  /* ms, for room in the server's queue */
	uv_timer_t again;
	unsigned holders; /* handles of the loop, and the queue of questions */
};

struct listener {
	struct nbds_relay *relay;
	int fd;
	uv_poll_t poll;
};

struct nbds_relay {
	struct nbds_endpoint listen, connect;
	bool listens;
	char made[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* the socket's file; "": none */
	struct nbds_view *view;
	struct nbds_dialer *dialer;
	struct listener listeners[NBDS_ENDPOINT_ADDRESSES];
	unsigned listener_count;
	int added[2]; /* descriptors of nbds_relay_add(), as numbers */
	pthread_t thread;
	bool runs;
	atomic_bool stop;

	/* the thread's own */
	uv_loop_t loop;
	uv_async_t stopping;
	uv_poll_t dialed, adding;
	uv_timer_t pause, drain;
	bool paused, draining;
	struct relay_connection *connections, *asked_first, *asked_last;
	unsigned count, most;
	atomic_uint_fast64_t bytes[2];
	bool settled; /* one address of the server was reached: the others are not tried any more */
	unsigned address;
	bool wide; /* frames are IPv6 */
	uint64_t serial;
	int64_t base, last; /* realtime when monotonic was 0; the last time given */
	uint8_t *scratch;

	pthread_mutex_t lock;
	struct nbds_relay_status status;
};

/* --- events --- */

/* Strictly growing, whatever is done to the clock. */
static int64_t now(struct nbds_relay *r)
{
	struct timespec t;
	int64_t time;

	clock_gettime(CLOCK_MONOTONIC, &t);
	time = r->base + (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
	r->last = time > r->last ? time : r->last + 1;
	return r->last;
}

static void put(struct relay_connection *c, enum nbds_synthetic_kind kind, int dir, uint64_t had,
		bool had_end, const uint8_t *bytes, size_t len)
{
	struct nbds_synthetic_event e = {
		.kind = kind,
		.dir = (uint8_t)dir,
		.had = had,
		.had_fin = had_end,
		.offset = c->half[dir].read + c->half[dir].told, /* a FIN has a number, too */
	};

	do {
		e.time = now(c->relay);
		e.len = (uint32_t)(len < NBDS_SYNTHETIC_BYTES ? len : NBDS_SYNTHETIC_BYTES);
		nbds_view_put(c->relay->view, &c->flow, &e, bytes);
		if (!len)
			break;
		bytes += e.len;
		len -= e.len;
		e.offset += e.len;
	} while (len);
}

/* Bytes, or the end, of `dir` are seen. Of the server's bytes it counts what it can have
 * had at most, of all else what its sender had at least: see synthetic.h. */
static void put_data(struct relay_connection *c, int dir, const uint8_t *bytes, size_t len)
{
	const struct relay_half *h = &c->half[dir], *other = &c->half[!dir];

	if (dir == SERVER)
		put(c, NBDS_SYNTHETIC_DATA, dir, other->written, other->finished, bytes, len);
	else
		put(c, NBDS_SYNTHETIC_DATA, dir, h->known, h->known_end, bytes, len);
}

static void put_end(struct relay_connection *c, int dir, enum nbds_synthetic_kind kind)
{
	put(c, kind, dir, c->half[dir].known, c->half[dir].known_end, NULL, 0);
	c->half[dir].told = true;
}

/* Bytes of the other direction, and their end, that side `dir` has certainly received. */
static uint64_t delivered(const struct relay_connection *c, int dir, bool *end)
{
	const struct relay_side *s = &c->side[dir];
	uint64_t written = c->half[!dir].written;
	int under_way = 0;

	/* What was written is in its queue, unless there is a network between. */
	if (s->tcp && (ioctl(s->fd, SIOCOUTQ, &under_way) < 0 || under_way < 0 ||
		       (uint64_t)under_way > written)) {
		*end = c->half[dir].known_end;
		return c->half[dir].known;
	}
	*end = c->half[!dir].finished && !under_way;
	return written - (uint64_t)under_way;
}

/* --- the end of a connection --- */

static void take_again(struct nbds_relay *r);

/* Broken off on one side: on the other one, too, but not before what it is to have. */
static void reset_on_close(const struct relay_side *s)
{
	struct linger at_once = {.l_onoff = 1};
	int under_way = 0;

	if (s->tcp && ioctl(s->fd, SIOCOUTQ, &under_way) == 0 && !under_way)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

static void release(struct relay_connection *c)
{
	struct nbds_relay *r = c->relay;

	if (--c->holders)
		return;
	for (int i = 0; i < 2; i++) {
		free(c->half[i].kept);
		if (c->side[i].fd < 0)
			continue;
		if (c->cut)
			reset_on_close(&c->side[i]);
		close(c->side[i].fd);
	}
	if (c->previous)
		c->previous->next = c->next;
	else
		r->connections = c->next;
	if (c->next)
		c->next->previous = c->previous;
	r->count--;
	pthread_mutex_lock(&r->lock);
	r->status.open = r->count;
	pthread_mutex_unlock(&r->lock);
	free(c);
	take_again(r);
}

static void released(uv_handle_t *handle)
{
	release(handle->data);
}

static void close_connection(struct relay_connection *c)
{
	if (c->closing)
		return;
	c->closing = true;
	for (int i = 0; i < 2; i++)
		if (c->side[i].poll.data && !uv_is_closing((uv_handle_t *)&c->side[i].poll))
			uv_close((uv_handle_t *)&c->side[i].poll, released);
	uv_close((uv_handle_t *)&c->again, released);
}

/* Nothing more comes of it, but not by both ends: what is seen of it says so. */
static void break_off(struct relay_connection *c)
{
	const struct relay_half *h = c->half;

	if (c->connected && !h[0].broken_off && !h[1].broken_off && !(h[0].told && h[1].told))
		put_end(c, h[SERVER].told ? SERVER : CLIENT, NBDS_SYNTHETIC_RST);
	close_connection(c);
}

/* --- handing on --- */

static void on_side(uv_poll_t *poll, int status, int events);

/* What is waited for follows from the state. */
static void arm(struct relay_connection *c)
{
	for (int i = 0; i < 2 && !c->closing; i++) {
		const struct relay_half *in = &c->half[i], *out = &c->half[!i];
		int events = 0;

		if (!in->ended && in->from == in->to && !c->relay->draining)
			events |= UV_READABLE;
		if (out->from < out->to)
			events |= UV_WRITABLE;
		if (events == c->side[i].events)
			continue;
		c->side[i].events = events;
		if (events)
			uv_poll_start(&c->side[i].poll, events, on_side);
		else
			uv_poll_stop(&c->side[i].poll);
	}
}

/* As much of the bytes as the other side takes. How many; it may be broken after it. */
static size_t write_some(struct relay_connection *c, int dir, const uint8_t *bytes, size_t len)
{
	struct relay_half *h = &c->half[dir];
	size_t done = 0;

	while (done < len && !h->deaf) {
		ssize_t n = write(c->side[!dir].fd, bytes + done, len - done);

		if (n >= 0) {
			done += (size_t)n;
			h->written += (size_t)n;
			atomic_fetch_add_explicit(&c->relay->bytes[dir], (uint64_t)n,
						  memory_order_relaxed);
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			break;
		} else if (errno != EINTR) {
			h->deaf = true;
		}
	}
	return done;
}

static void keep(struct relay_connection *c, int dir, const uint8_t *bytes, size_t len)
{
	struct relay_half *h = &c->half[dir];

	NBDS_ASSERT(len <= NBDS_RELAY_BUFFER && h->from == h->to);
	if (!h->kept)
		h->kept = malloc(NBDS_RELAY_BUFFER);
	if (!h->kept) {
		/* No byte may be missing in the middle: it ends here. */
		c->cut = true;
		break_off(c);
		return;
	}
	memcpy(h->kept, bytes, len);
	h->from = 0;
	h->to = len;
}

/* After something was written: what follows from it. */
static void go_on(struct relay_connection *c, int dir)
{
	struct relay_half *h = &c->half[dir];

	if (c->closing)
		return;
	if (h->deaf) {
		h->from = h->to = 0;
		/* The sender is told as the system tells it, when it writes on. */
		if (!h->ended && !h->finished)
			shutdown(c->side[dir].fd, SHUT_RD);
		h->ended = h->finished = true;
	}
	if (h->from == h->to) {
		free(h->kept);
		h->kept = NULL;
		h->from = h->to = 0;
		if (h->ended && h->broken_off) {
			c->cut = true;
			close_connection(c);
			return;
		}
		if (h->ended && !h->finished) {
			h->finished = true;
			shutdown(c->side[!dir].fd, SHUT_WR);
		}
	}
	if (c->half[0].finished && c->half[1].finished)
		break_off(c);
	else if (c->relay->draining && c->half[0].from == c->half[0].to &&
		 c->half[1].from == c->half[1].to)
		close_connection(c);
}

static void write_kept(struct relay_connection *c, int dir)
{
	struct relay_half *h = &c->half[dir];

	if (h->from < h->to)
		h->from += write_some(c, dir, h->kept + h->from, h->to - h->from);
	go_on(c, dir);
}

/* Reads what there is of side `dir`, and hands it on. False: there was nothing. */
static bool read_some(struct relay_connection *c, int dir)
{
	struct relay_half *h = &c->half[dir];
	struct nbds_relay *r = c->relay;

	for (int i = 0; i < READS_MOST && !h->ended && !c->closing && h->from == h->to; i++) {
		bool had_end;
		uint64_t had = delivered(c, dir, &had_end);
		ssize_t n = read(c->side[dir].fd, r->scratch, NBDS_RELAY_BUFFER);
		size_t done;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			h->known = had;
			h->known_end = had_end;
			return i > 0;
		}
		if (n <= 0) {
			h->ended = true;
			h->broken_off = n < 0;
			put_end(c, dir, n < 0 ? NBDS_SYNTHETIC_RST : NBDS_SYNTHETIC_FIN);
			go_on(c, dir);
			break;
		}
		/* Seen before it can have any effect on the server. */
		put_data(c, dir, r->scratch, (size_t)n);
		h->read += (size_t)n;
		done = write_some(c, dir, r->scratch, (size_t)n);
		if (done < (size_t)n && !h->deaf)
			keep(c, dir, r->scratch + done, (size_t)n - done);
		go_on(c, dir);
		if ((size_t)n < NBDS_RELAY_BUFFER) {
			h->known = had;
			h->known_end = had_end;
			break;
		}
	}
	return true;
}

static void on_side(uv_poll_t *poll, int status, int events)
{
	struct relay_connection *c = poll->data;
	int dir = poll == &c->side[SERVER].poll ? SERVER : CLIENT;

	/* An error is told by reading, too; the loop waits no more for this side. */
	if (status < 0) {
		events = UV_READABLE | UV_WRITABLE;
		c->side[dir].events = 0;
	}
	if (events & UV_WRITABLE)
		write_kept(c, !dir);
	if (events & UV_READABLE && !c->closing && !read_some(c, dir) && status < 0) {
		c->half[dir].broken_off = true;
		c->half[dir].ended = true;
		put_end(c, dir, NBDS_SYNTHETIC_RST);
		go_on(c, dir);
	}
	arm(c);
}

/* --- connecting --- */

static void refuse(struct relay_connection *c, int error)
{
	struct nbds_relay *r = c->relay;

	pthread_mutex_lock(&r->lock);
	r->status.refused++;
	snprintf(r->status.error, sizeof(r->status.error), "%.100s: %s", r->connect.text,
		 strerror(error));
	pthread_mutex_unlock(&r->lock);
	close_connection(c);
}

static void ask(struct relay_connection *c);

static void on_again(uv_timer_t *timer)
{
	ask(timer->data);
}

static void ask(struct relay_connection *c)
{
	struct nbds_relay *r = c->relay;

	if (c->closing)
		return;
	if (!nbds_dialer_ask(r->dialer, c->address)) {
		if (errno != EAGAIN || c->waited > DIAL_MOST_MS) {
			refuse(c, errno);
			return;
		}
		c->waited += DIAL_AGAIN_MS;
		uv_timer_start(&c->again, on_again, DIAL_AGAIN_MS, 0);
		return;
	}
	c->holders++;
	c->next_dialed = NULL;
	if (r->asked_last)
		r->asked_last->next_dialed = c;
	else
		r->asked_first = c;
	r->asked_last = c;
}

static void configure(struct relay_side *s)
{
	int yes = 1;

	if (s->tcp)
		setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

/* The server has one address from now on, and all frames one family. */
static void settle(struct nbds_relay *r, unsigned address)
{
	r->settled = true;
	r->address = address;
	r->wide = r->connect.address[address].shown.family == 6;
	for (unsigned i = 0; i < r->listen.count; i++)
		r->wide |= r->listen.address[i].shown.family == 6;
}

/* The server is there: from now on it is a connection. */
static void established(struct relay_connection *c)
{
	struct nbds_relay *r = c->relay;
	struct nbds_addr *client = &c->flow.address[CLIENT], *server = &c->flow.address[SERVER];
	uint64_t serial = ++r->serial;

	c->connected = true;
	if (!r->settled)
		settle(r, c->address);
	*server = r->connect.address[c->address].shown;
	if (!c->named)
		*client = (struct nbds_addr){.ip = {127, 0, 0, 1},
					     .port = (uint16_t)(PORT_FIRST + serial % PORTS),
					     .family = 4};
	if (r->wide) {
		nbds_synthetic_widen(client);
		nbds_synthetic_widen(server);
	}
	c->flow.isn[CLIENT] = (uint32_t)(serial * 2654435761u);
	c->flow.isn[SERVER] = c->flow.isn[CLIENT] ^ 0x5bd1e995u;
	put(c, NBDS_SYNTHETIC_OPEN, CLIENT, 0, false, NULL, 0);
	configure(&c->side[SERVER]);
	c->side[SERVER].events = 0;
	arm(c);
}

static void dial_failed(struct relay_connection *c, int error)
{
	struct nbds_relay *r = c->relay;

	if (c->side[SERVER].fd >= 0) {
		/* a descriptor that the loop knows is closed by it; see on_connected() */
		NBDS_ASSERT(!c->side[SERVER].poll.data);
		close(c->side[SERVER].fd);
		c->side[SERVER].fd = -1;
	}
	if (error == EAGAIN && c->waited < DIAL_MOST_MS) {
		c->waited += DIAL_AGAIN_MS;
		uv_timer_start(&c->again, on_again, DIAL_AGAIN_MS, 0);
	} else if (r->settled && c->address != r->address) {
		c->address = r->address;
		ask(c);
	} else if (!r->settled && c->address + 1 < r->connect.count) {
		c->address++;
		ask(c);
	} else {
		refuse(c, error);
	}
}

/* The poll handle of a failed connection is closed: another address may be tried. */
static void on_unpolled(uv_handle_t *handle)
{
	struct relay_connection *c = handle->data;

	c->side[SERVER].poll.data = NULL;
	if (c->closing) {
		release(c);
		return;
	}
	c->holders--;
	dial_failed(c, c->side[SERVER].events);
}

static void on_connected(uv_poll_t *poll, int status, int events)
{
	struct relay_connection *c = poll->data;
	const struct nbds_relay *r = c->relay;
	socklen_t length = sizeof(int);
	int error = 0;

	(void)events;
	if (getsockopt(c->side[SERVER].fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
		error = errno;
	if (!error && status < 0)
		error = -status;
	/* Others have reached another address meanwhile, which may be another server. */
	if (!error && r->settled && c->address != r->address)
		error = EADDRNOTAVAIL;
	if (!error) {
		uv_poll_stop(poll);
		established(c);
		return;
	}
	uv_poll_stop(poll);
	c->side[SERVER].events = error; /* kept for on_unpolled() */
	uv_close((uv_handle_t *)poll, on_unpolled);
}

static bool poll_init(struct relay_connection *c, int i)
{
	struct relay_side *s = &c->side[i];

	if (uv_poll_init(&c->relay->loop, &s->poll, s->fd) < 0)
		return false;
	s->poll.data = c;
	c->holders++;
	return true;
}

static void on_dialed(uv_poll_t *poll, int status, int events)
{
	struct nbds_relay *r = poll->data;
	int fd, error, got;

	(void)status;
	(void)events;
	while ((got = nbds_dialer_hear(r->dialer, &fd, &error)) > 0) {
		struct relay_connection *c = r->asked_first;

		if (!c) { /* not an answer to any question */
			if (fd >= 0)
				close(fd);
			continue;
		}
		r->asked_first = c->next_dialed;
		if (!r->asked_first)
			r->asked_last = NULL;
		if (c->closing) {
			if (fd >= 0)
				close(fd);
			release(c);
			continue;
		}
		c->holders--; /* the others are there */
		c->side[SERVER].fd = fd;
		if (fd < 0) {
			dial_failed(c, error);
		} else if (!poll_init(c, SERVER)) {
			dial_failed(c, ENOMEM);
		} else {
			/* connected, or on its way: it is writable then */
			uv_poll_start(&c->side[SERVER].poll, UV_WRITABLE, on_connected);
		}
	}
	if (got < 0) {
		/* Without it nothing can be connected any more. */
		uv_poll_stop(poll);
		while (r->asked_first) {
			struct relay_connection *c = r->asked_first;

			r->asked_first = c->next_dialed;
			if (!c->closing)
				refuse(c, EPIPE);
			release(c);
		}
		r->asked_last = NULL;
	}
}

/* A client is there; the descriptor becomes the connection's. */
static void take(struct nbds_relay *r, int fd, const struct sockaddr_storage *from)
{
	struct relay_connection *c = calloc(1, sizeof(*c));

	if (!c) {
		close(fd);
		return;
	}
	c->relay = r;
	c->side[CLIENT].fd = fd;
	c->side[SERVER].fd = -1;
	c->side[CLIENT].tcp = from->ss_family == AF_INET || from->ss_family == AF_INET6;
	c->side[SERVER].tcp = r->connect.family == AF_INET || r->connect.family == AF_INET6;
	c->named = nbds_endpoint_shown(from, &c->flow.address[CLIENT]);
	c->address = r->settled ? r->address : 0;
	/* A timer is the loop's from here on, and cannot fail: it comes last. */
	if (!poll_init(c, CLIENT) || uv_timer_init(&r->loop, &c->again) < 0) {
		close(fd);
		free(c);
		return;
	}
	c->again.data = c;
	c->holders++;
	configure(&c->side[CLIENT]);
	c->next = r->connections;
	if (c->next)
		c->next->previous = c;
	r->connections = c;
	r->count++;
	pthread_mutex_lock(&r->lock);
	r->status.accepted++;
	r->status.open = r->count;
	pthread_mutex_unlock(&r->lock);
	ask(c);
}

/* --- taking connections --- */

static void on_client(uv_poll_t *poll, int status, int events);

static void listen_on(struct nbds_relay *r, bool on)
{
	for (unsigned i = 0; i < r->listener_count; i++) {
		if (on)
			uv_poll_start(&r->listeners[i].poll, UV_READABLE, on_client);
		else
			uv_poll_stop(&r->listeners[i].poll);
	}
}

static void on_pause_over(uv_timer_t *timer)
{
	struct nbds_relay *r = timer->data;

	r->paused = false;
	if (!r->draining)
		listen_on(r, true);
}

/* A place is free. */
static void take_again(struct nbds_relay *r)
{
	if (r->paused && !r->draining && !uv_is_active((uv_handle_t *)&r->pause))
		uv_timer_start(&r->pause, on_pause_over, 0, 0);
}

/* Who comes now waits in the system's queue. */
static void crowded(struct nbds_relay *r, uint64_t ms)
{
	r->paused = true;
	listen_on(r, false);
	if (ms)
		uv_timer_start(&r->pause, on_pause_over, ms, 0);
	pthread_mutex_lock(&r->lock);
	r->status.crowded++;
	pthread_mutex_unlock(&r->lock);
}

static void on_client(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;
	struct nbds_relay *r = l->relay;

	(void)status;
	(void)events;
	for (int i = 0; i < 16; i++) {
		struct sockaddr_storage from = {0};
		socklen_t length = sizeof(from);
		int fd;

		if (r->count >= r->most) {
			crowded(r, 0);
			return;
		}
		fd = accept4(l->fd, (struct sockaddr *)&from, &length,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			take(r, fd, &from);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			   errno == ENOMEM) {
			crowded(r, NO_ROOM_MS);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void on_added(uv_poll_t *poll, int status, int events)
{
	struct nbds_relay *r = poll->data;
	struct sockaddr_storage from = {.ss_family = AF_UNIX};
	int fd;

	(void)status;
	(void)events;
	while (read(r->added[0], &fd, sizeof(fd)) == sizeof(fd)) {
		if (r->draining)
			close(fd);
		else
			take(r, fd, &from);
	}
}

/* --- the end --- */

static void on_drained(uv_timer_t *timer)
{
	struct nbds_relay *r = timer->data;

	for (struct relay_connection *c = r->connections, *next; c; c = next) {
		next = c->next;
		close_connection(c);
	}
}

static void on_stop(uv_async_t *async)
{
	struct nbds_relay *r = async->data;
	bool waits = false;

	if (r->draining)
		return;
	r->draining = true;
	for (unsigned i = 0; i < r->listener_count; i++)
		uv_close((uv_handle_t *)&r->listeners[i].poll, NULL);
	uv_close((uv_handle_t *)&r->pause, NULL);
	uv_close((uv_handle_t *)&r->adding, NULL);
	for (struct relay_connection *c = r->connections, *next; c; c = next) {
		bool kept = c->half[0].from < c->half[0].to || c->half[1].from < c->half[1].to;

		next = c->next;
		/* What was read is handed on, and no more is read. */
		if (kept && !c->closing) {
			arm(c);
			waits = true;
		} else {
			close_connection(c);
		}
	}
	uv_timer_start(&r->drain, on_drained, waits ? NBDS_RELAY_DRAIN_MS : 0, 0);
}

/* The last connection is gone, and none will come. */
static bool is_over(const struct nbds_relay *r)
{
	return r->draining && !r->count;
}

static void *work(void *arg)
{
	struct nbds_relay *r = arg;
	bool closed = false;

	if (atomic_load(&r->stop))
		uv_async_send(&r->stopping);
	while (uv_run(&r->loop, UV_RUN_ONCE)) {
		if (!is_over(r) || closed)
			continue;
		closed = true;
		uv_close((uv_handle_t *)&r->dialed, NULL);
		uv_close((uv_handle_t *)&r->drain, NULL);
		uv_close((uv_handle_t *)&r->stopping, NULL);
	}
	nbds_view_end(r->view);
	return NULL;
}

/* --- listening --- */

/* Nobody listens on that socket: what is left of a program that is gone. */
static bool is_stale(const struct nbds_endpoint *e)
{
	struct stat st;
	int fd, status;

	if (lstat(nbds_endpoint_path(e), &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	status = connect(fd, (const struct sockaddr *)&e->address[0].at, e->address[0].length);
	status = status < 0 ? errno : 0;
	close(fd);
	return status == ECONNREFUSED;
}

/* Whom the server lets in the relay lets in, and nobody else: where that cannot be made
 * so, its owner alone. */
static void admit(const char *path, const struct nbds_endpoint *server)
{
	const char *served = nbds_endpoint_path(server);
	struct stat st;
	mode_t mode;

	if (!served || stat(served, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	mode = st.st_mode & 0777;
	if (st.st_uid != geteuid() && lchown(path, st.st_uid, (gid_t)-1) < 0)
		mode |= 0600; /* the owner is another one, and has it in any case */
	if (lchown(path, (uid_t)-1, st.st_gid) < 0)
		mode &= (mode_t)~070;
	if (chmod(path, mode) < 0)
		return; /* it stays its owner's */
}

static int listen_at(struct nbds_relay *r, unsigned i)
{
	const struct nbds_endpoint *e = &r->listen;
	const struct sockaddr *at = (const struct sockaddr *)&e->address[i].at;
	const char *path = nbds_endpoint_path(e);
	int fd = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
	mode_t mask;
	int status;

	if (fd < 0)
		return -1;
	if (!path)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (at->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
	mask = umask(0177);
	status = bind(fd, at, e->address[i].length);
	if (status < 0 && errno == EADDRINUSE && path && is_stale(e) && unlink(path) == 0)
		status = bind(fd, at, e->address[i].length);
	umask(mask);
	if (status == 0 && path) {
		snprintf(r->made, sizeof(r->made), "%s", path);
		admit(path, &r->connect);
	}
	if (status < 0 || listen(fd, BACKLOG) < 0) {
		status = errno;
		close(fd);
		errno = status;
		return -1;
	}
	return fd;
}

static bool listen_all(struct nbds_relay *r, char *err, size_t errsize)
{
	int reason = 0;

	for (unsigned i = 0; i < r->listen.count; i++) {
		struct listener *l = &r->listeners[r->listener_count];

		l->relay = r;
		l->fd = listen_at(r, i);
		if (l->fd >= 0)
			r->listener_count++;
		else if (!reason)
			reason = errno;
	}
	if (r->listener_count)
		return true;
	snprintf(err, errsize, "cannot listen on %s: %s%s", r->listen.text, strerror(reason),
		 reason == EADDRINUSE && r->listen.family == AF_UNIX
			 ? " (a program listens there, or it is no socket)"
			 : "");
	return false;
}

/* --- from outside --- */

/* As many connections as there may be descriptors for. */
static unsigned places(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 256;
	if (limit.rlim_cur < limit.rlim_max) {
		rlim_t before = limit.rlim_cur;

		limit.rlim_cur = limit.rlim_max < 16384 ? limit.rlim_max : 16384;
		if (limit.rlim_cur < before || setrlimit(RLIMIT_NOFILE, &limit) < 0)
			limit.rlim_cur = before;
	}
	if (limit.rlim_cur < OTHER_FILES + 2)
		return 1;
	return (unsigned)(limit.rlim_cur < 16384 ? limit.rlim_cur - OTHER_FILES : 16384) / 2;
}

static void destroy(struct nbds_relay *r)
{
	for (unsigned i = 0; i < r->listener_count; i++)
		close(r->listeners[i].fd);
	for (int i = 0; i < 2; i++)
		if (r->added[i] >= 0)
			close(r->added[i]);
	if (r->dialer)
		nbds_dialer_stop(r->dialer); /* and removes the file */
	else if (*r->made)
		unlink(r->made);
	pthread_mutex_destroy(&r->lock);
	free(r->scratch);
	free(r);
}

struct nbds_relay *nbds_relay_open(const struct nbds_endpoint *listen,
				   const struct nbds_endpoint *connect, struct nbds_view *view,
				   char *err, size_t errsize)
{
	struct nbds_relay *r = calloc(1, sizeof(*r));
	struct timespec real, monotonic;

	if (!r) {
		snprintf(err, errsize, "out of memory");
		return NULL;
	}
	r->added[0] = r->added[1] = -1;
	pthread_mutex_init(&r->lock, NULL);
	atomic_init(&r->stop, false);
	r->connect = *connect;
	r->view = view;
	r->most = places();
	r->scratch = malloc(NBDS_RELAY_BUFFER);
	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &monotonic);
	r->base = ((int64_t)real.tv_sec - monotonic.tv_sec) * 1000000000 + real.tv_nsec -
		  monotonic.tv_nsec;
	if (!r->scratch || pipe2(r->added, O_NONBLOCK | O_CLOEXEC) < 0) {
		snprintf(err, errsize, "out of memory, or of descriptors");
		goto failed;
	}
	if (listen) {
		r->listen = *listen;
		if (!listen_all(r, err, errsize))
			goto failed;
	}
	r->dialer = nbds_dialer_start(&r->connect, *r->made ? r->made : NULL, err, errsize);
	if (r->dialer)
		return r;
failed:
	destroy(r);
	return NULL;
}

/* Handles, and which of them wait. */
static bool prepare(struct nbds_relay *r)
{
	/* Newer versions of the library would wait by io_uring, where the system lets them. In
	 * there a confined program could open files, so that it must not. */
	if (setenv("UV_USE_IO_URING", "0", 1) < 0 || uv_loop_init(&r->loop) < 0)
		return false;
	if (uv_async_init(&r->loop, &r->stopping, on_stop) < 0 ||
	    uv_timer_init(&r->loop, &r->pause) < 0 || uv_timer_init(&r->loop, &r->drain) < 0 ||
	    uv_poll_init(&r->loop, &r->dialed, nbds_dialer_fd(r->dialer)) < 0 ||
	    uv_poll_init(&r->loop, &r->adding, r->added[0]) < 0)
		return false;
	r->stopping.data = r->pause.data = r->drain.data = r->dialed.data = r->adding.data = r;
	for (unsigned i = 0; i < r->listener_count; i++) {
		if (uv_poll_init(&r->loop, &r->listeners[i].poll, r->listeners[i].fd) < 0)
			return false;
		r->listeners[i].poll.data = &r->listeners[i];
	}
	uv_poll_start(&r->dialed, UV_READABLE, on_dialed);
	uv_poll_start(&r->adding, UV_READABLE, on_added);
	listen_on(r, true);
	return true;
}

bool nbds_relay_start(struct nbds_relay *r, char *err, size_t errsize)
{
	sigset_t all, before;
	int status;

	if (!prepare(r)) {
		snprintf(err, errsize, "cannot start the relay: no more descriptors, or no memory");
		return false;
	}
	/* Signals are for the program; a peer that is gone is an errno. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	status = pthread_create(&r->thread, NULL, work, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	r->runs = status == 0;
	if (!r->runs)
		snprintf(err, errsize, "cannot start a thread: %s", strerror(status));
	return r->runs;
}

int nbds_relay_add(struct nbds_relay *r)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	if (fcntl(pair[1], F_SETFL, O_NONBLOCK) < 0 ||
	    write(r->added[1], &pair[1], sizeof(int)) != (ssize_t)sizeof(int)) {
		int reason = errno;

		close(pair[0]);
		close(pair[1]);
		errno = reason;
		return -1;
	}
	return pair[0];
}

void nbds_relay_stop(struct nbds_relay *r)
{
	/* This once more if the thread is just about to begin: it looks then. */
	atomic_store(&r->stop, true);
	if (r->runs)
		uv_async_send(&r->stopping);
}

void nbds_relay_close(struct nbds_relay *r)
{
	if (!r)
		return;
	if (r->runs) {
		nbds_relay_stop(r);
		pthread_join(r->thread, NULL);
		uv_loop_close(&r->loop);
	}
	destroy(r);
}

void nbds_relay_status(struct nbds_relay *r, struct nbds_relay_status *status)
{
	pthread_mutex_lock(&r->lock);
	*status = r->status;
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < 2; i++)
		status->bytes[i] = atomic_load_explicit(&r->bytes[i], memory_order_relaxed);
}

void nbds_relay_name(const char *listen, const char *connect, bool ascii,
		     char name[NBDS_RELAY_NAME])
{
	snprintf(name, NBDS_RELAY_NAME, "relay %s %s %s", listen, ascii ? "->" : "→", connect);
}

void nbds_relay_comment(const struct nbds_endpoint *listen, const struct nbds_endpoint *connect,
			char *comment, size_t size)
{
	char server[NBDS_ADDR_TEXT];

	nbds_addr_text(&connect->address[0].shown, server);
	snprintf(
		comment, size,
		"Synthetic TCP: no such packets were sent. nbdscope made them of what it handed on "
		"between clients of %s and the server %s, which is %s here%s.",
		listen->text, connect->text, server,
		listen->family == AF_UNIX || listen->family == AF_VSOCK
			? "; clients are 127.0.0.1 with a port for each connection"
			: "");
}
