/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opener.c - a process that makes the files which are named later. See opener.h.
 */
#include "opener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "broker.h"
#include "privileges.h"
#include "sandbox.h"

/* A new file for its owner alone; never one that there is. */
#define FLAGS     (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY)
#define MODE      0600
#define OWN_FLAGS (O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY)

#define FOLDERS 2

struct folder {
	int fd; /* -1: none */
	char name[PATH_MAX];
};

struct nbds_opener {
	struct nbds_broker broker;
	bool drops;
	char folder[PATH_MAX]; /* where the program was started */
};

/* What the process knows. */
struct keeper {
	int socket;
	char own[PATH_MAX]; /* the one file that may be overwritten; "": none */
	struct folder folders[FOLDERS];
	bool drops;
	const char *user;
	bool split; /* two users: who started this, and whom the program becomes */
	uid_t uid, own_uid;
	gid_t gid, own_gid;
};

struct answer {
	int error; /* errno; 0: the descriptor comes with this */
};

/* --- the process --- */

static bool hidden(const char *path)
{
	for (const char *at = path; *at; at += strspn(at, "/")) {
		size_t len = strcspn(at, "/");

		if (*at == '.' && !(len == 1 || (len == 2 && at[1] == '.')))
			return true;
		at += len;
	}
	return false;
}

static int open_beneath(int folder, const char *path)
{
	struct open_how how = {
		.flags = FLAGS,
		.mode = MODE,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, folder, path, &how, sizeof(how));

	if (fd >= 0 || errno != ENOSYS)
		return fd;
	/* An older kernel: a plain name leads nowhere else. */
	if (strchr(path, '/')) {
		errno = EXDEV;
		return -1;
	}
	return openat(folder, path, FLAGS, MODE);
}

/* The part of `path` beneath the folder; NULL: it does not look like that. */
static const char *beneath(const struct folder *f, bool first, const char *path)
{
	size_t len = strlen(f->name);

	if (f->fd < 0)
		return NULL;
	if (*path != '/')
		return first ? path : NULL;
	if (strncmp(path, f->name, len) != 0)
		return NULL;
	if (len && f->name[len - 1] == '/')
		return path + len;
	return path[len] == '/' ? path + len + strspn(path + len, "/") : NULL;
}

static int take_turn(const struct keeper *k, bool other)
{
	if (!k->split)
		return 0;
	if (other)
		return setregid((gid_t)-1, k->gid) < 0 || setreuid((uid_t)-1, k->uid) < 0 ? -1 : 0;
	return setreuid((uid_t)-1, k->own_uid) < 0 || setregid((gid_t)-1, k->own_gid) < 0 ? -1 : 0;
}

/* With its folder and the one around that, if they are not there. */
static int make_own(const char *path)
{
	int fd = openat(AT_FDCWD, path, OWN_FLAGS, MODE);
	char folder[PATH_MAX];
	char *slash[2] = {NULL, NULL};

	if (fd >= 0 || errno != ENOENT)
		return fd;
	snprintf(folder, sizeof(folder), "%s", path);
	for (int i = 0; i < 2; i++) {
		slash[i] = strrchr(folder, '/');
		if (!slash[i] || slash[i] == folder)
			return -1;
		*slash[i] = '\0';
	}
	/* The outer one is cut off at both; what is there already stays. */
	mkdir(folder, 0700);
	*slash[1] = '/';
	mkdir(folder, 0700);
	return openat(AT_FDCWD, path, OWN_FLAGS, MODE);
}

static int make(const struct keeper *k, const char *path)
{
	int fd = -1, reason;

	if (*k->own && !strcmp(path, k->own))
		return make_own(k->own);
	if (hidden(path)) {
		errno = EINVAL;
		return -1;
	}
	for (int i = 0; i < FOLDERS; i++) {
		const char *name = beneath(&k->folders[i], i == 0, path);

		if (!name || !*name)
			continue;
		fd = open_beneath(k->folders[i].fd, name);
		/* It is not beneath it after all, or by way of a link. */
		if (fd >= 0 || (errno != EXDEV && errno != ELOOP))
			return fd;
	}
	if (take_turn(k, true) < 0)
		return -1;
	fd = openat(AT_FDCWD, path, FLAGS, MODE);
	reason = errno;
	if (take_turn(k, false) < 0)
		_exit(1);
	errno = reason;
	return fd;
}

static bool answer(const struct keeper *k, int fd, int error)
{
	struct answer a = {.error = error};

	return nbds_broker_answer(k->socket, &a, sizeof(a), &fd, fd >= 0);
}

static bool asked(void *of, const void *question, size_t size)
{
	const struct keeper *k = of;
	const char *path = question;
	bool heard;
	int fd;

	/* A name whole, with its end. */
	if (memchr(path, '\0', size) != path + size - 1)
		return answer(k, -1, EINVAL);
	fd = make(k, path);
	heard = answer(k, fd, fd < 0 ? errno : 0);
	if (fd >= 0)
		close(fd);
	return heard;
}

/* Both users, and no capability. */
static bool become_two(struct keeper *k, char *err, size_t errsize)
{
	int change;

	if (nbds_privileges_borrowed())
		return nbds_privileges_drop(NULL, err, errsize) == 0;
	change = nbds_privileges_target(k->user, &k->uid, &k->gid, err, errsize);
	if (change < 0)
		return false;
	k->own_uid = geteuid();
	k->own_gid = getegid();
	k->split = change > 0;
	return nbds_privileges_two(k->split, k->uid, k->gid, err, errsize) == 0;
}

static void keep(int socket, void *of)
{
	static char path[PATH_MAX + 1];
	struct keeper *k = of;
	char err[256];

	k->socket = socket;
	nbds_broker_let_go();
	if (k->drops && !become_two(k, err, sizeof(err)))
		_exit(1);
	if (nbds_sandbox_possible())
		nbds_sandbox_opener(err, sizeof(err));
	nbds_broker_serve(socket, path, sizeof(path), asked, k);
}

/* --- the program --- */

static void folder_open(struct folder *f, const char *name)
{
	char resolved[PATH_MAX];

	f->fd = -1;
	f->name[0] = '\0';
	if (!realpath(name, resolved))
		return;
	snprintf(f->name, sizeof(f->name), "%s", resolved);
	f->fd = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static void folder_beside(struct folder *f, const char *file)
{
	char name[PATH_MAX];
	const char *slash = file ? strrchr(file, '/') : NULL;

	f->fd = -1;
	f->name[0] = '\0';
	if (!slash || (size_t)(slash - file) + 1 >= sizeof(name))
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(slash - file) + 1, file);
	folder_open(f, name);
}

struct nbds_opener *nbds_opener_start(const char *beside, const char *own, bool drops,
				      const char *user, char *err, size_t errsize)
{
	struct nbds_opener *o = calloc(1, sizeof(*o));
	struct keeper *k = calloc(1, sizeof(*k));
	bool started = false;

	if (!o || !k) {
		snprintf(err, errsize, "cannot prepare to save: %s", strerror(errno));
		goto done;
	}
	folder_open(&k->folders[0], ".");
	folder_beside(&k->folders[1], beside);
	snprintf(k->own, sizeof(k->own), "%s", own ? own : "");
	k->drops = drops;
	k->user = user;
	o->drops = drops;
	snprintf(o->folder, sizeof(o->folder), "%s", k->folders[0].name);
	started = nbds_broker_start(&o->broker, keep, k, "save", err, errsize);
	for (int i = 0; i < FOLDERS; i++)
		if (k->folders[i].fd >= 0)
			close(k->folders[i].fd);
done:
	free(k);
	if (started)
		return o;
	free(o);
	return NULL;
}

void nbds_opener_stop(struct nbds_opener *o)
{
	if (!o)
		return;
	nbds_broker_stop(&o->broker, true);
	free(o);
}

static void explain(const struct nbds_opener *o, const char *path, int error, char *err,
		    size_t errsize)
{
	if (error == EINVAL && hidden(path))
		snprintf(err, errsize, "no part of the name may begin with a dot");
	else if (error == EEXIST)
		snprintf(err, errsize, "File exists, and nothing is overwritten");
	else if (o->drops && (error == EACCES || error == EPERM))
		snprintf(err, errsize,
			 "%s, as privileges were given up; a name in %s will do, where this was "
			 "started",
			 strerror(error), o->folder);
	else
		snprintf(err, errsize, "%s", strerror(error));
}

int nbds_opener_create(struct nbds_opener *o, const char *path, char *err, size_t errsize)
{
	size_t len = strlen(path) + 1;
	struct answer a = {.error = EIO};
	int fd = -1, error = 0;

	if (len > PATH_MAX)
		error = ENAMETOOLONG;
	else if (!nbds_broker_ask(&o->broker, path, len, 0))
		error = errno;
	if (!error)
		error = nbds_broker_hear(&o->broker, &a, sizeof(a), &fd, 1, 0);
	if (!error)
		error = a.error ? a.error : fd < 0 ? EIO : 0;
	if (!error)
		return fd;
	if (fd >= 0)
		close(fd);
	explain(o, path, error, err, errsize);
	return -1;
}
