/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opener.h - a process that makes the files which are named later.
 *
 * Purpose.  A program that decodes packets cannot open files any more (sandbox.h), and
 * root has become another user by then (privileges.h).  The user may still want to save
 * something.  So before all that a second process is made which does one thing: it is
 * told a name, makes a new file of that name, and hands over its descriptor.
 *
 *	 nbdtop ──── "shot.txt" ────► opener   beneath the folder that the program was
 *	        ◄── descriptor, or ──          started in (or that of -w): as who started it;
 *	            errno                      elsewhere: as who the program has become
 *
 * It never opens what there is, never follows a symbolic link at the end of a name (in
 * its folders: none at all), and makes no name with a part that begins with a dot: what
 * takes over the decoder cannot replace a file, nor lay one where a shell or a desktop
 * would run it.  New files are for their owner alone.
 *
 * Ownership.  To be started before any thread, and before the interface is opened;
 * nbds_opener_stop() ends it, as does the end of the program.  One thread may ask.
 * Failure.  NULL or -1, and one line in `err`.
 */
#ifndef NBDSCOPE_ANALYZER_OPENER_H
#define NBDSCOPE_ANALYZER_OPENER_H

#include <stdbool.h>
#include <stddef.h>

struct nbds_opener;

/* `beside`: a file whose folder is the second one that is written as who starts this;
 * or NULL. `own`: the one file that is overwritten, as who starts this, and whose two
 * last folders are made; or NULL or "". `drops`: the program will give up its rights, and root become `user` (see
 * nbds_privileges_drop()); else the process keeps what the program has. */
struct nbds_opener *nbds_opener_start(const char *beside, const char *own, bool drops,
				      const char *user, char *err, size_t errsize);
void nbds_opener_stop(struct nbds_opener *o);

/* A descriptor of the new file `path`, or of `own`, for writing. */
int nbds_opener_create(struct nbds_opener *o, const char *path, char *err, size_t errsize);

#endif
