/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file.c - see file.h. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../capture/broker.h"
#include "../capture/privileges.h"
#include "../capture/sandbox.h"
#include "text.h"

/* Answers, besides 0 and errno. */
enum { NOT_METRICS = -1, NOT_A_FILE = -2 };

/* How every file of metrics begins. */
#define BEGINNING "# HELP nbdscope_"

struct nbds_metrics_file {
	struct nbds_broker broker;
	bool busy; /* an answer is awaited */
	int error; /* the last answer */
	bool gone; /* the process is */
	struct nbds_metrics_snapshot *shared;
	char path[PATH_MAX];
};

/* What the process knows. */
struct scribe {
	int socket, folder;
	bool overwrite;
	const struct nbds_metrics_snapshot *shared;
	struct nbds_metrics_snapshot snapshot;
	struct nbds_buf text;
	char name[NAME_MAX + 1], temporary[NAME_MAX + 1];
};

/* --- the process --- */

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* 0, or an errno. */
static int replace(const struct scribe *w, const char *text, size_t len, bool rename_it)
{
	int fd = openat(w->folder, w->temporary,
			O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0666);
	int error;

	if (fd < 0)
		return errno;
	error = write_all(fd, text, len) < 0 ? errno : 0;
	if (close(fd) < 0 && !error)
		error = errno;
	if (!error && rename_it && renameat(w->folder, w->temporary, w->folder, w->name) < 0)
		error = errno;
	if (error || !rename_it)
		unlinkat(w->folder, w->temporary, 0);
	return error;
}

/* May the file that is there be replaced? 0, an errno or another answer. */
static int look(const struct scribe *w)
{
	char begin[sizeof(BEGINNING) - 1];
	struct stat st;
	ssize_t n;
	int fd;

	fd = openat(w->folder, w->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT ? 0 : errno == ELOOP ? NOT_A_FILE : errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return NOT_A_FILE;
	}
	n = read(fd, begin, sizeof(begin));
	close(fd);
	if (n == 0 || w->overwrite ||
	    (n == sizeof(begin) && memcmp(begin, BEGINNING, sizeof(begin)) == 0))
		return 0;
	return NOT_METRICS;
}

static bool answer(const struct scribe *w, int error)
{
	return nbds_broker_answer(w->socket, &error, sizeof(error), NULL, 0);
}

static bool asked(void *of, const void *question, size_t size)
{
	struct scribe *w = of;

	(void)question;
	(void)size;
	/* It does not change while it is looked at. */
	memcpy(&w->snapshot, w->shared, sizeof(w->snapshot));
	nbds_buf_clear(&w->text);
	nbds_metrics_text(&w->text, &w->snapshot, NBDS_METRICS_PROMETHEUS);
	return answer(w, w->text.failed ? ENOMEM
					: replace(w, nbds_buf_text(&w->text), w->text.len, true));
}

/* Root needs no more rights than the folder's owner. False: do not go on. */
static bool become(const struct scribe *w)
{
	struct stat st;
	char err[256];

	if (nbds_privileges_borrowed())
		return nbds_privileges_drop(NULL, err, sizeof(err)) == 0;
	if (geteuid() != 0 || fstat(w->folder, &st) < 0 || !st.st_uid)
		return nbds_privileges_two(false, 0, 0, err, sizeof(err)) == 0;
	return nbds_privileges_become(st.st_uid, st.st_gid, err, sizeof(err)) == 0;
}

static void keep(int socket, void *of)
{
	struct scribe *w = of;
	char err[256], word;
	int state;

	w->socket = socket;
	nbds_broker_let_go();
	if (!become(w))
		_exit(1);
	if (nbds_sandbox_possible())
		nbds_sandbox_replacer(err, sizeof(err));
	/* What cannot be written is to be known at once. */
	state = look(w);
	if (answer(w, state ? state : replace(w, "", 0, false)))
		nbds_broker_serve(socket, &word, sizeof(word), asked, w);
}

/* --- the program --- */

/* Folder and name. */
static bool split(struct scribe *w, const char *path, char *err, size_t errsize)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char folder[PATH_MAX];

	if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) {
		snprintf(err, errsize, "it is no file's name");
		return false;
	}
	if (strlen(name) + 24 > NAME_MAX || strlen(path) >= sizeof(folder)) {
		snprintf(err, errsize, "%s", strerror(ENAMETOOLONG));
		return false;
	}
	snprintf(w->name, sizeof(w->name), "%s", name);
	/* The collector reads what is called *.prom only. */
	snprintf(w->temporary, sizeof(w->temporary), ".%.*s.%ld.tmp", NAME_MAX - 24, name,
		 (long)getpid());
	snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		 slash ? path : ".");
	w->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->folder >= 0)
		return true;
	snprintf(err, errsize, "%s: %s", folder, strerror(errno));
	return false;
}

static void explain(const struct nbds_metrics_file *f, char *err, size_t errsize)
{
	if (f->gone)
		snprintf(err, errsize, "%s: the process that writes it has ended", f->path);
	else if (f->error == NOT_METRICS)
		snprintf(err, errsize,
			 "%s: it is there, and no file of metrics: it is not overwritten", f->path);
	else if (f->error == NOT_A_FILE)
		snprintf(err, errsize, "%s: it is there, and no file", f->path);
	else
		snprintf(err, errsize, "%s: cannot write metrics: %s", f->path, strerror(f->error));
}

/* Takes the answer, if it is there. */
static void hear(struct nbds_metrics_file *f, int flags)
{
	int error = 0, status;

	if (!f->busy)
		return;
	status = nbds_broker_hear(&f->broker, &error, sizeof(error), NULL, 0, flags);
	if (status == EAGAIN)
		return;
	f->busy = false;
	f->gone = status != 0;
	f->error = f->gone ? EPIPE : error;
}

struct nbds_metrics_file *nbds_metrics_file_start(const char *path, bool overwrite, char *err,
						  size_t errsize)
{
	struct nbds_metrics_file *f = calloc(1, sizeof(*f));
	struct scribe *w = calloc(1, sizeof(*w));

	if (!f || !w) {
		snprintf(err, errsize, "out of memory");
		goto failed;
	}
	w->folder = -1;
	if (!split(w, path, err, errsize))
		goto failed;
	snprintf(f->path, sizeof(f->path), "%s", path);
	f->shared = mmap(NULL, sizeof(*f->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (f->shared == MAP_FAILED)
		f->shared = NULL;
	if (!f->shared) {
		snprintf(err, errsize, "cannot prepare to write metrics: %s", strerror(errno));
		goto failed;
	}
	w->shared = f->shared;
	w->overwrite = overwrite;
	if (!nbds_broker_start(&f->broker, keep, w, "write metrics", err, errsize))
		goto failed;
	close(w->folder);
	free(w);
	f->busy = true;
	if (nbds_metrics_file_wait(f, -1) && !f->error)
		return f;
	explain(f, err, errsize);
	nbds_metrics_file_stop(f);
	return NULL;
failed:
	if (w && w->folder >= 0)
		close(w->folder);
	if (f && f->shared)
		munmap(f->shared, sizeof(*f->shared));
	free(w);
	free(f);
	return NULL;
}

bool nbds_metrics_file_state(struct nbds_metrics_file *f, char *err, size_t errsize)
{
	hear(f, MSG_DONTWAIT);
	if (!f->error)
		return true;
	explain(f, err, errsize);
	return false;
}

void nbds_metrics_file_put(struct nbds_metrics_file *f, const struct nbds_metrics_snapshot *s)
{
	hear(f, MSG_DONTWAIT);
	if (f->busy || f->gone)
		return;
	memcpy(f->shared, s, sizeof(*s));
	if (nbds_broker_ask(&f->broker, "w", 1, MSG_DONTWAIT)) {
		f->busy = true;
	} else if (errno != EAGAIN) {
		f->gone = true;
		f->error = EPIPE;
	}
}

bool nbds_metrics_file_wait(struct nbds_metrics_file *f, int ms)
{
	struct pollfd p = {.fd = f->broker.socket, .events = POLLIN};

	while (f->busy) {
		int got = poll(&p, 1, ms);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		hear(f, 0);
	}
	return true;
}

void nbds_metrics_file_stop(struct nbds_metrics_file *f)
{
	if (!f)
		return;
	/* One whose disk hangs ends when it can. */
	nbds_broker_stop(&f->broker, !f->busy);
	munmap(f->shared, sizeof(*f->shared));
	free(f);
}
