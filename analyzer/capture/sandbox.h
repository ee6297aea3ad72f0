/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sandbox.h - what a decoder of strangers' packets may still ask of the kernel.
 *
 * Purpose.  Once everything is open, reading packets and writing what was opened is all
 * that is left to do.  All threads of the process are confined to it with seccomp: no
 * file is opened or named, no socket made or connected, no program or process started,
 * no memory made executable, no other process looked at, no key typed into the
 * terminal.  Whatever is not in the list of what is needed fails with EPERM; nothing
 * is killed.
 *
 * A file that is named later is opened by another process: see opener.h.
 *
 * Failure.  One line in `err`: the kernel does not have it.  The program can go on.
 */
#ifndef NBDSCOPE_ANALYZER_SANDBOX_H
#define NBDSCOPE_ANALYZER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

/* For ever, for all threads that there are. False: reason in `err`. */
bool nbds_sandbox_enter(char *err, size_t errsize);
/* The same for who also serves: connections of these listening sockets may be accepted,
 * answered and ended. */
bool nbds_sandbox_enter_serving(const int *listeners, size_t count, char *err, size_t errsize);
/* The same with what a relay needs: a loop that waits, and connections that are taken and
 * ended. */
bool nbds_sandbox_relay(const int *listeners, size_t count, char *err, size_t errsize);
/* The same for the process of relay/dialer.h, which connects, and removes a file. */
bool nbds_sandbox_dialer(char *err, size_t errsize);
/* The same for who also speaks to sockets that it has: it sends on them where they are
 * connected to, and shuts them down. */
bool nbds_sandbox_probe(char *err, size_t errsize);
/* The same for the process of opener.h, which opens new files. */
bool nbds_sandbox_opener(char *err, size_t errsize);
/* And for one that replaces files, as metrics/file.h does. */
bool nbds_sandbox_replacer(char *err, size_t errsize);

/* Sanitizers look at files and processes of their own when they report: a program
 * that is built with them is not confined. */
bool nbds_sandbox_possible(void);

#endif
