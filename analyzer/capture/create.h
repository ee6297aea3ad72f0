/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * create.h - files that are written.
 *
 * Purpose.  Opens a file that the user named, to write it from its beginning.  Whoever
 * runs this as root writes with root's rights where others may have laid a symbolic
 * link: as root a link is followed only if it is root's and leads to what is not
 * another user's file.
 *
 * Ownership.  The descriptor is the caller's.  Failure.  -1 with one line in `err`.
 */
#ifndef NBDSCOPE_ANALYZER_CREATE_H
#define NBDSCOPE_ANALYZER_CREATE_H

#include <stddef.h>
#include <sys/types.h>

/* `mode`: of a new file. What an old one holds is gone. */
int nbds_create(const char *path, mode_t mode, char *err, size_t errsize);
/* The same, but what an old one holds stays, until the caller replaces it. */
int nbds_create_or_keep(const char *path, mode_t mode, char *err, size_t errsize);

#endif
