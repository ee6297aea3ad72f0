/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * create.c - files that are written. See create.h.
 */
#include "create.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* As the kernel has it. */
#define LINKS_MAX 40

#define FLAGS (O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY)

/* Refused, and not by the system. */
static int refuse(char *err, size_t errsize, const char *why)
{
	snprintf(err, errsize, "%s: as root this is not followed", why);
	errno = EPERM;
	return -1;
}

/* The folder that `path` is named in. */
static int folder_of(int at, const char *path)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) + 1 : 0;

	if (!len)
		return openat(at, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (len >= sizeof(folder)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(folder, path, len);
	folder[len] = '\0';
	return openat(at, folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Links of /proc lead where no name does, such as to a pipe. */
static bool in_proc(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Opens what the link `link`, a descriptor, leads to; `path` is its name in `at`. */
static int follow(int at, const char *path, int link, mode_t mode, char *err, size_t errsize,
		  unsigned depth);

static int open_at(int at, const char *path, mode_t mode, char *err, size_t errsize, unsigned depth)
{
	int fd = openat(at, path, FLAGS | O_NOFOLLOW, mode), link;

	if (fd >= 0 || errno != ELOOP || depth > LINKS_MAX)
		return fd;
	link = openat(at, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (link < 0)
		return -1;
	fd = follow(at, path, link, mode, err, errsize, depth);
	close(link);
	return fd;
}

static int follow(int at, const char *path, int link, mode_t mode, char *err, size_t errsize,
		  unsigned depth)
{
	char target[PATH_MAX];
	struct stat st;
	ssize_t len;
	int folder, fd;

	if (fstat(link, &st) < 0)
		return -1;
	if (st.st_uid != 0)
		return refuse(err, errsize, "a symbolic link of another user");
	if (in_proc(link))
		return openat(at, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	len = readlinkat(link, "", target, sizeof(target) - 1);
	if (len < 0)
		return -1;
	target[len] = '\0';
	folder = folder_of(at, path);
	if (folder < 0)
		return -1;
	fd = open_at(folder, target, mode, err, errsize, depth + 1);
	close(folder);
	if (fd >= 0 && (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && st.st_uid != 0))) {
		close(fd);
		return refuse(err, errsize, "a symbolic link to another user's file");
	}
	return fd;
}

int nbds_create_or_keep(const char *path, mode_t mode, char *err, size_t errsize)
{
	int fd;

	err[0] = '\0';
	fd = geteuid() == 0 ? open_at(AT_FDCWD, path, mode, err, errsize, 0)
			    : open(path, FLAGS, mode);
	if (fd < 0 && !err[0])
		snprintf(err, errsize, "%s", strerror(errno));
	return fd;
}

int nbds_create(const char *path, mode_t mode, char *err, size_t errsize)
{
	int fd = nbds_create_or_keep(path, mode, err, errsize);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(fd, 0) < 0) {
		int reason = errno;

		close(fd);
		errno = reason;
		fd = -1;
		snprintf(err, errsize, "%s", strerror(errno));
	}
	return fd;
}
