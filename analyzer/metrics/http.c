/* SPDX-License-Identifier: GPL-2.0-or-later */
/* http.c - see http.h. */
#include "http.h"

#include <base/assert.h>

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../capture/live.h"
#include "text.h"

/* The library's limit; of more than so many the oldest ends for the newest, so that those
 * who only hold on do not keep others out. As many as wait to be accepted come at once. */
#define CONNECTIONS  64u
#define WELCOME      32u
#define SECONDS_IDLE 3u
#define LIFE_MS      5000
#define REQUEST_SIZE ((size_t)8 << 10)
#define BACKLOG      16u

/* A connection, until it is closed. */
struct guest {
	int fd; /* -1: none */
	int64_t until;
	bool over; /* it was ended, and is not closed yet */
};

_Static_assert(WELCOME + BACKLOG < CONNECTIONS, "the limit would be reached");

struct nbds_metrics_http {
	pthread_t thread;
	int wake; /* eventfd */
	atomic_bool stop;
	struct MHD_Daemon *daemon;
	struct guest guests[CONNECTIONS];

	/* What is handed over: `back` is the engine's, `front` the thread's. */
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool begun; /* the thread is what it is to be */
	bool fresh;
	struct nbds_metrics_snapshot *back, *ready, *front;
	struct nbds_metrics_snapshot snapshots[3];
	bool any; /* the front one is a snapshot */

	/* Texts of the front one; NULL: not written yet. */
	struct MHD_Response *texts[NBDS_METRICS_FORMS];
};

/* --- the socket --- */

/* Splits at the last colon that is not inside of brackets. False: it is no address. */
static bool split(const char *text, char *host, size_t size, const char **port)
{
	const char *colon = strrchr(text, ':'), *bracket = strrchr(text, ']');
	size_t len;

	*host = '\0';
	*port = text;
	if (!colon && !bracket)
		return true;
	if (!colon || (bracket && colon != bracket + 1))
		return false;
	*port = colon + 1;
	len = (size_t)(colon - text);
	if (*text == '[') {
		if (!bracket || len < 3)
			return false;
		text++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return false; /* an IPv6 address wants brackets */
	}
	if (len >= size)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	return true;
}

static bool is_port(const char *text)
{
	unsigned long port;
	char *end;

	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 5)
		return false;
	port = strtoul(text, &end, 10);
	return port <= UINT16_MAX;
}

static int listen_at(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
	int reason;

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	reason = errno;
	close(fd);
	errno = reason;
	return -1;
}

static void describe(int fd, char at[NBDS_METRICS_ADDRESS])
{
	struct sockaddr_storage address = {0};
	socklen_t size = sizeof(address);
	char host[NBDS_METRICS_ADDRESS / 2] = "?", port[8] = "?";

	if (getsockname(fd, (struct sockaddr *)&address, &size) == 0 &&
	    getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(host, sizeof(host), "?");
	snprintf(at, NBDS_METRICS_ADDRESS, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s",
		 host, port);
}

int nbds_metrics_listen(const char *address, char at[NBDS_METRICS_ADDRESS], char *err,
			size_t errsize)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
	const char *port;
	char host[256];
	int status, fd = -1;

	if (!split(address, host, sizeof(host), &port) || !is_port(port)) {
		snprintf(err, errsize,
			 "--metrics: '%s' is not ADDRESS:PORT, [ADDRESS]:PORT, :PORT or PORT",
			 address);
		return -1;
	}
	/* Without an address: IPv4's loopback, which scrapers try too when they are told
	 * "localhost". */
	status = getaddrinfo(*host ? host : "127.0.0.1", port, &hints, &list);
	if (status) {
		snprintf(err, errsize, "--metrics: %s: %s", host, gai_strerror(status));
		return -1;
	}
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = listen_at(a);
	if (fd < 0)
		snprintf(err, errsize, "--metrics: cannot listen on %s: %s", address,
			 strerror(errno));
	else
		describe(fd, at);
	freeaddrinfo(list);
	return fd;
}

/* --- answers --- */

static const char page[] = "<!DOCTYPE html><title>nbdscope</title><h1>nbdscope</h1>"
			   "<p><a href=\"/metrics\">Metrics</a></p>\n";

/* The newest snapshot becomes the front one, if there is a newer. */
static void take(struct nbds_metrics_http *h)
{
	struct nbds_metrics_snapshot *s;
	bool fresh;

	pthread_mutex_lock(&h->lock);
	fresh = h->fresh;
	if (fresh) {
		s = h->front;
		h->front = h->ready;
		h->ready = s;
		h->fresh = false;
	}
	pthread_mutex_unlock(&h->lock);
	if (!fresh)
		return;
	h->any = true;
	for (unsigned i = 0; i < NBDS_METRICS_FORMS; i++) {
		if (h->texts[i])
			MHD_destroy_response(h->texts[i]); /* once those under way are over */
		h->texts[i] = NULL;
	}
}

static struct MHD_Response *response_of(void *bytes, size_t len, enum MHD_ResponseMemoryMode mode,
					const char *type)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(len, bytes, mode);

	if (!r)
		return NULL;
	if (MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_NO ||
	    MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_NO ||
	    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff") == MHD_NO) {
		MHD_destroy_response(r);
		return NULL;
	}
	return r;
}

/* NULL: no memory. */
static struct MHD_Response *text_of(struct nbds_metrics_http *h, enum nbds_metrics_form form)
{
	struct nbds_buf b = {0};

	if (h->texts[form])
		return h->texts[form];
	nbds_metrics_text(&b, h->front, form);
	if (!b.failed)
		h->texts[form] =
			response_of(b.s, b.len, MHD_RESPMEM_MUST_FREE, nbds_metrics_type(form));
	if (!h->texts[form])
		nbds_buf_free(&b);
	return h->texts[form];
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *words)
{
	struct MHD_Response *r = response_of((void *)words, strlen(words), MHD_RESPMEM_PERSISTENT,
					     status == MHD_HTTP_OK ? "text/html; charset=utf-8"
								   : "text/plain; charset=utf-8");
	enum MHD_Result result;

	if (!r)
		return MHD_NO;
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url,
				  const char *method, const char *version, const char *upload,
				  size_t *upload_size, void **seen)
{
	struct nbds_metrics_http *h = ctx;
	enum nbds_metrics_form form;
	struct MHD_Response *r;

	(void)version;
	(void)upload;
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
	/* The first call is for the head alone. */
	if (!*seen) {
		*seen = h;
		return MHD_YES;
	}
	*upload_size = 0; /* whatever came with it */
	if (!strcmp(url, "/"))
		return say(c, MHD_HTTP_OK, page);
	if (strcmp(url, "/metrics") != 0)
		return say(c, MHD_HTTP_NOT_FOUND, "There is /metrics.\n");
	take(h);
	if (!h->any)
		return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "Nothing is captured yet.\n");
	form = nbds_metrics_accepted(
		MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT));
	r = text_of(h, form);
	return r ? MHD_queue_response(c, MHD_HTTP_OK, r) : MHD_NO;
}

/* --- connections --- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Its time is over; what is sent already arrives. */
static void end(struct guest *g, int64_t now)
{
	shutdown(g->fd, SHUT_RDWR);
	g->until = now + LIFE_MS; /* the library sees it and closes */
	g->over = true;
}

/* The oldest goes, if there are too many. */
static void make_room(struct nbds_metrics_http *h)
{
	struct guest *oldest = NULL;
	unsigned count = 0;

	for (struct guest *g = h->guests; g < h->guests + CONNECTIONS; g++) {
		if (g->fd < 0 || g->over)
			continue;
		count++;
		if (!oldest || g->until < oldest->until)
			oldest = g;
	}
	if (count > WELCOME)
		end(oldest, now_ms());
}

static void on_connection(void *ctx, struct MHD_Connection *c, void **mine,
			  enum MHD_ConnectionNotificationCode what)
{
	struct nbds_metrics_http *h = ctx;
	const union MHD_ConnectionInfo *info;
	struct guest *g = *mine;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (g)
			g->fd = -1;
		return;
	}
	info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	for (g = h->guests; info && g < h->guests + CONNECTIONS; g++) {
		if (g->fd >= 0)
			continue;
		*g = (struct guest){.fd = info->connect_fd, .until = now_ms() + LIFE_MS};
		*mine = g;
		make_room(h);
		return;
	}
}

/* Ends those whose time is over. How long until the next one's is, in ms. */
static int64_t expire(struct nbds_metrics_http *h)
{
	int64_t now = now_ms(), next = LIFE_MS;

	for (struct guest *g = h->guests; g < h->guests + CONNECTIONS; g++) {
		if (g->fd < 0)
			continue;
		if (g->until <= now)
			end(g, now);
		if (g->until - now < next)
			next = g->until - now;
	}
	return next;
}

static void *serve(void *arg)
{
	struct nbds_metrics_http *h = arg;

	nbds_live_relax(); /* what captures comes first */
	pthread_mutex_lock(&h->lock);
	h->begun = true;
	pthread_cond_signal(&h->told);
	pthread_mutex_unlock(&h->lock);
	while (!atomic_load(&h->stop)) {
		fd_set in, out, bad;
		MHD_socket max = h->wake;
		MHD_UNSIGNED_LONG_LONG limit;
		struct timeval wait;
		int64_t ms;

		FD_ZERO(&in);
		FD_ZERO(&out);
		FD_ZERO(&bad);
		if (MHD_get_fdset2(h->daemon, &in, &out, &bad, &max, FD_SETSIZE) == MHD_NO)
			max = h->wake;
		FD_SET(h->wake, &in);
		ms = expire(h);
		if (MHD_get_timeout(h->daemon, &limit) == MHD_YES && limit < (uint64_t)ms)
			ms = (int64_t)limit;
		wait.tv_sec = (time_t)(ms / 1000);
		wait.tv_usec = (suseconds_t)(ms % 1000 * 1000);
		if (select(max + 1, &in, &out, &bad, &wait) < 0 && errno != EINTR)
			break;
		MHD_run_from_select(h->daemon, &in, &out, &bad);
	}
	return NULL;
}

/* --- for the others --- */

static void destroy(struct nbds_metrics_http *h)
{
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	for (unsigned i = 0; i < NBDS_METRICS_FORMS; i++)
		if (h->texts[i])
			MHD_destroy_response(h->texts[i]);
	if (h->wake >= 0)
		close(h->wake);
	pthread_cond_destroy(&h->told);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

struct nbds_metrics_http *nbds_metrics_http_start(int socket, char *err, size_t errsize)
{
	struct nbds_metrics_http *h = calloc(1, sizeof(*h));
	sigset_t all, before;

	if (!h) {
		snprintf(err, errsize, "out of memory");
		close(socket);
		return NULL;
	}
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->told, NULL);
	for (struct guest *g = h->guests; g < h->guests + CONNECTIONS; g++)
		g->fd = -1;
	h->back = &h->snapshots[0];
	h->ready = &h->snapshots[1];
	h->front = &h->snapshots[2];
	h->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (h->wake >= 0 && h->wake < FD_SETSIZE)
		h->daemon = MHD_start_daemon(
			MHD_NO_FLAG, 0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, socket,
			MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
			SECONDS_IDLE, MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_SIZE,
			MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_END);
	if (!h->daemon) {
		snprintf(err, errsize, "--metrics: cannot serve HTTP");
		close(socket);
		destroy(h);
		return NULL;
	}
	/* Signals are for the threads that know them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	errno = pthread_create(&h->thread, NULL, serve, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (errno) {
		snprintf(err, errsize, "cannot start a thread: %s", strerror(errno));
		destroy(h);
		return NULL;
	}
	pthread_mutex_lock(&h->lock);
	while (!h->begun)
		pthread_cond_wait(&h->told, &h->lock);
	pthread_mutex_unlock(&h->lock);
	return h;
}

void nbds_metrics_http_put(struct nbds_metrics_http *h, const struct nbds_metrics_snapshot *s)
{
	struct nbds_metrics_snapshot *back = h->back;

	memcpy(back, s, sizeof(*back));
	if (pthread_mutex_trylock(&h->lock) != 0)
		return;
	h->back = h->ready;
	h->ready = back;
	h->fresh = true;
	pthread_mutex_unlock(&h->lock);
}

void nbds_metrics_http_stop(struct nbds_metrics_http *h)
{
	if (!h)
		return;
	atomic_store(&h->stop, true);
	if (eventfd_write(h->wake, 1) < 0) {
		/* It wakes up by itself, within seconds. */
	}
	pthread_join(h->thread, NULL);
	destroy(h);
}
