/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/common.h - libnbdscope: what its decoder and its engine share.
 *
 * Purpose.  What a server's or a client's test suite needs: the messages of a
 * connection by their names in the specification (nbdscope/messages.h), and what
 * nbdaudit would say of several connections (nbdscope/audit.h).  This header has what
 * both share; nbdscope/nbdscope.h is all three.
 *
 * What is stable.  These four headers are all that is installed, and docs/library.md
 * says what may change in them.  Structures are opaque; functions are never removed
 * within one soname; enumerations grow at their ends, so treat a value that you do not
 * know as one that came later.
 *
 * Strings are UTF-8 or ASCII and end with a NUL; they are never NULL unless a function
 * says so.  Threads: an object belongs to one thread at a time; two objects have nothing
 * in common.  Signals: the library installs no handlers, writes to no descriptor that it
 * was not given, and never ends the process.
 *
 * Failure.  Functions that return int return 0, or -1 with errno set; those that return
 * a pointer return NULL with errno set, unless they say otherwise.  Nothing that a peer
 * sends is an error of a function: it is told as what it is.
 *
 * Specification: doc/proto.md of the project NetworkBlockDevice/nbd.
 */
#ifndef NBDSCOPE_COMMON_H
#define NBDSCOPE_COMMON_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define NBDSCOPE_API __attribute__((visibility("default")))
#else
#define NBDSCOPE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Who sent bytes ("Protocol phases"). */
enum nbdscope_side {
	NBDSCOPE_CLIENT = 0,
	NBDSCOPE_SERVER = 1,
};

/* How sure, and how bad, a finding is; greater is worse. */
enum nbdscope_level {
	NBDSCOPE_NOTE = 0,      /* worth knowing */
	NBDSCOPE_HAZARD = 1,    /* legal, and dangerous */
	NBDSCOPE_SUSPECT = 2,   /* wrong, unless something that was not seen explains it */
	NBDSCOPE_VIOLATION = 3, /* proved: no peer that obeys the protocol explains it */
};

/* The most bytes that one side of a connection can send, gaps included: more is EINVAL. */
#define NBDSCOPE_MOST INT64_MAX

/* As a time: the time of the system's clock during the call. */
#define NBDSCOPE_NOW INT64_MIN

/* The version of the library that runs, "0.2.0". Constant; no failure. */
NBDSCOPE_API const char *nbdscope_version(void);

/* "violation", "suspect", "hazard", "note"; "unknown" for another number. Constant; no
 * failure. */
NBDSCOPE_API const char *nbdscope_level_name(enum nbdscope_level level);

#ifdef __cplusplus
}
#endif
#endif
