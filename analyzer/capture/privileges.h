/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * privileges.h - giving up what only opening an interface needs.
 *
 * Purpose.  Packets are written by strangers, and decoders have faults.  Once the
 * interface is open nothing needs a privilege any more: all capabilities go, also
 * those that an executed program could gain (no_new_privs), and root becomes an
 * unprivileged user.
 *
 * To be called before any thread is started: capabilities belong to threads.
 * Files that only root may write have to be opened before.
 *
 * Failure.  -1 and one line in `err`: do not go on.
 */
#ifndef NBDSCOPE_ANALYZER_PRIVILEGES_H
#define NBDSCOPE_ANALYZER_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * `user`: whom root becomes. NULL: the user tcpdump, or nobody if there is none.
 * "root": root stays root, without any capability.  A program that runs with
 * somebody's rights by its set-user-ID bit becomes the one who runs it.
 */
int nbds_privileges_drop(const char *user, char *err, size_t errsize);

/* Whom that would make of root. 1: *uid and *gid are to be taken on. 0: nothing is to be
 * changed. -1: reason in `err`. */
int nbds_privileges_target(const char *user, uid_t *uid, gid_t *gid, char *err, size_t errsize);
/* Gives up all capabilities and keeps the user. `split`: the process may take turns
 * between its user and `uid`, with setreuid() and setregid(). */
int nbds_privileges_two(bool split, uid_t uid, gid_t gid, char *err, size_t errsize);
/* Root becomes this user for good, without any capability. */
int nbds_privileges_become(uid_t uid, gid_t gid, char *err, size_t errsize);

/* The rights are those of the file, not of who runs it: files named by the user
 * must not be opened before nbds_privileges_drop(). */
bool nbds_privileges_borrowed(void);

#endif
