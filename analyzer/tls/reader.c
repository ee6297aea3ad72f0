/* SPDX-License-Identifier: GPL-2.0-or-later */
/* reader.c - where keys come from. See tls.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

static struct tls_reader *reader_of(struct nbds_tls_reader *pub)
{
	return (struct tls_reader *)pub;
}

static const struct tls_reader *reader_of_const(const struct nbds_tls_reader *pub)
{
	return (const struct tls_reader *)pub;
}

/* A pipe has something to read, or has ended. */
static bool ready(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

/* A log that was begun anew is read from its beginning. */
static void rewound(struct tls_reader *r)
{
	struct stat st;

	if (!r->regular || fstat(r->log, &st) < 0 || (uint64_t)st.st_size >= r->log_read)
		return;
	if (lseek(r->log, 0, SEEK_SET) < 0)
		return;
	r->log_read = 0;
	explicit_bzero(&r->log_line, sizeof(r->log_line));
}

/* What there is of the log. -1: errno. */
static int read_log(struct tls_reader *r, bool wait, bool *news)
{
	char text[16384];
	ssize_t got = 0;

	*news = false;
	while (r->log >= 0 && (r->regular || wait || ready(r->log))) {
		got = read(r->log, text, sizeof(text));
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		r->log_read += (uint64_t)got;
		*news |= keylog_add(&r->keys, &r->log_line, text, (size_t)got);
	}
	explicit_bzero(text, sizeof(text));
	return got < 0 && errno != EAGAIN ? -1 : 0;
}

static bool reader_refresh(struct nbds_tls_reader *pub)
{
	struct tls_reader *r = reader_of(pub);
	bool before = r->news, news = false;

	r->news = false;
	if (!r->follow || r->log < 0)
		return before;
	rewound(r);
	if (read_log(r, false, &news) < 0)
		r->follow = false; /* it cannot be read any more: nothing will come */
	return before || news;
}

static bool reader_growing(const struct nbds_tls_reader *pub)
{
	const struct tls_reader *r = reader_of_const(pub);

	return r->follow || r->expect;
}

static bool reader_any(const struct nbds_tls_reader *pub)
{
	const struct tls_reader *r = reader_of_const(pub);

	return r->log >= 0 || r->keys.entries.count;
}

static uint64_t reader_memory(const struct nbds_tls_reader *pub)
{
	return reader_of_const(pub)->keys.budget.used;
}

struct nbds_tls_reader *nbds_tls_reader_new(uint64_t memory, char *err, size_t errsize)
{
	struct tls_reader *r;

	if (!cipher_library()) {
		snprintf(err, errsize, "libgcrypt is older than the one this was built with");
		return NULL;
	}
	r = calloc(1, sizeof(*r));
	if (!r) {
		snprintf(err, errsize, "out of memory");
		return NULL;
	}
	r->pub = nbds_tls_sessions;
	r->pub.refresh = reader_refresh;
	r->pub.growing = reader_growing;
	r->pub.any = reader_any;
	r->pub.memory = reader_memory;
	r->log = -1;
	keylog_init(&r->keys, memory);
	return &r->pub;
}

void nbds_tls_reader_free(struct nbds_tls_reader *pub)
{
	struct tls_reader *r = pub ? reader_of(pub) : NULL;

	if (!r)
		return;
	if (r->log >= 0)
		close(r->log);
	keylog_free(&r->keys);
	explicit_bzero(r, sizeof(*r));
	free(r);
}

bool nbds_tls_reader_log(struct nbds_tls_reader *pub, const char *path, bool follow, char *err,
			 size_t errsize)
{
	/* without waiting for who writes to a pipe, if it is followed */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (follow ? O_NONBLOCK : 0));

	if (fd < 0) {
		snprintf(err, errsize, "%s", strerror(errno));
		return false;
	}
	return nbds_tls_reader_log_fd(pub, fd, follow, err, errsize);
}

bool nbds_tls_reader_log_fd(struct nbds_tls_reader *pub, int fd, bool follow, char *err,
			    size_t errsize)
{
	struct tls_reader *r = reader_of(pub);
	struct stat st;
	bool news;

	if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
		snprintf(err, errsize, "%s", strerror(S_ISDIR(st.st_mode) ? EISDIR : errno));
		close(fd);
		return false;
	}
	r->log = fd;
	r->follow = follow;
	r->regular = S_ISREG(st.st_mode);
	if (read_log(r, !follow, &news) < 0) {
		snprintf(err, errsize, "%s", strerror(errno));
		return false;
	}
	/* a last line without an end; one that grows may have it later */
	if (!follow)
		keylog_end(&r->keys, &r->log_line);
	return true;
}

void nbds_tls_reader_secrets(struct nbds_tls_reader *pub, const uint8_t *text, size_t len)
{
	struct tls_reader *r = reader_of(pub);
	struct keylog_line line = {.len = 0};

	r->news |= keylog_add(&r->keys, &line, (const char *)text, len);
	r->news |= keylog_end(&r->keys, &line);
}

void nbds_tls_reader_expect(struct nbds_tls_reader *pub, bool more)
{
	reader_of(pub)->expect = more;
}

void nbds_tls_reader_stats(const struct nbds_tls_reader *pub, struct nbds_tls_reader_stats *stats)
{
	const struct keylog *keys = &reader_of_const(pub)->keys;

	*stats = (struct nbds_tls_reader_stats){
		.sessions = keys->entries.count,
		.forgotten = keys->forgotten,
		.lines = keys->lines,
		.others = keys->others,
	};
}

const char *nbds_tls_suite_name(uint16_t number)
{
	const struct suite *suite = suite_find(number);

	return suite ? suite->name : NULL;
}
