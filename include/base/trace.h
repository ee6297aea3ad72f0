/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * base/trace.h - the engine's steps, for whoever asks to see them.
 *
 * Purpose.  nbdaudit --debug=TOPICS prints what the parts of the program do, a line a
 * step, on standard error.  A step that nobody asked for costs one look at a word.
 *
 * The topics are global to the process: they are set once, before anything runs.
 *
 * Example.
 *	NBDS_TRACE(NBDS_TRACE_ORDER, "frame %" PRIu64 ": conn %" PRIu32 " ended", frame, id);
 */
#ifndef NBDSCOPE_BASE_TRACE_H
#define NBDSCOPE_BASE_TRACE_H

#include <stdarg.h>
#include <stdio.h>

enum {
	NBDS_TRACE_TCP = 1u << 0,      /* segments to bytes: flows, gaps, ends */
	NBDS_TRACE_ORDER = 1u << 1,    /* requests, answers, flushes, ends */
	NBDS_TRACE_CONTENTS = 1u << 2, /* what was written to which sector */
	NBDS_TRACE_JUDGE = 1u << 3,    /* what was read, and what is thought of it */
};

/* One for the whole program, whoever includes this. */
__attribute__((weak)) unsigned nbds_trace_topics;

__attribute__((format(printf, 2, 3))) static inline void nbds_trace_line(const char *topic,
									 const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%-8s ", topic);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

#define NBDS_TRACE(topic, ...)                                                        \
	do {                                                                          \
		if (__builtin_expect((nbds_trace_topics & (topic)) != 0, 0))          \
			nbds_trace_line((topic) == NBDS_TRACE_TCP        ? "tcp"      \
					: (topic) == NBDS_TRACE_ORDER    ? "order"    \
					: (topic) == NBDS_TRACE_CONTENTS ? "contents" \
									 : "judge",   \
					__VA_ARGS__);                                 \
	} while (0)

#endif
