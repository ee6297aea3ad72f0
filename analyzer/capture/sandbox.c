/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sandbox.c - what may still be asked of the kernel. See sandbox.h.
 */
#include "sandbox.h"

#include <asm/termbits.h>
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <wchar.h>

/* asm/termbits.h and sys/ioctl.h do not go together. */
#include <asm/ioctls.h>

/* Reading, writing, waiting, time, memory, and the end; of threads what those that run
 * need. */
static const int common[] = {
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(pwrite64),
	SCMP_SYS(lseek),
	SCMP_SYS(_llseek),
	SCMP_SYS(close),
	SCMP_SYS(fstat),
	SCMP_SYS(fstat64),
	SCMP_SYS(ftruncate),
	SCMP_SYS(ftruncate64),
	SCMP_SYS(fcntl),
	SCMP_SYS(fcntl64),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recv),
	SCMP_SYS(getsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(futex),
	SCMP_SYS(futex_time64),
	SCMP_SYS(sched_yield),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_gettime64),
	SCMP_SYS(clock_getres),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(nanosleep),
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getrusage),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
	SCMP_SYS(wait4),
	SCMP_SYS(waitid),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* The terminal's modes and size, how much there is to read, and what libpcap asks of
 * an interface that may be gone. Not among them: TIOCSTI, which types. */
static const unsigned long ioctls[] = {
	TCGETS,    TCSETS,   TCSETSW,  TCSETSF,      TCFLSH,       TCXONC,      TIOCGWINSZ,
	TIOCGPGRP, FIONREAD, FIONBIO,  SIOCGIFFLAGS, SIOCGIFINDEX, SIOCGIFNAME, SIOCGIFHWADDR,
#ifdef TCGETS2
	TCGETS2,   TCSETS2,  TCSETSW2, TCSETSF2,
#endif
};

/* The opener's own: to open, and to take turns between two users. */
static const int opening[] = {
	SCMP_SYS(mkdir),     SCMP_SYS(mkdirat),     SCMP_SYS(openat),    SCMP_SYS(openat2),
	SCMP_SYS(setresuid), SCMP_SYS(setresuid32), SCMP_SYS(setresgid), SCMP_SYS(setresgid32),
	SCMP_SYS(setreuid),  SCMP_SYS(setregid),
};

/* Of who replaces a file by another one. */
static const int replacing[] = {
	SCMP_SYS(openat),
	SCMP_SYS(renameat),
	SCMP_SYS(renameat2),
	SCMP_SYS(unlinkat),
};

/* The relay's own: a loop that waits, connections that are taken and ended. They are made
 * by another process, see dialer.h. */
static const int relaying[] = {
	SCMP_SYS(epoll_ctl),    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2), SCMP_SYS(accept4),    SCMP_SYS(shutdown),
};

/* The dialer's: one connection after the other, and in the end a file less. */
static const int dialing[] = {
	SCMP_SYS(socket),     SCMP_SYS(connect), SCMP_SYS(lstat),  SCMP_SYS(lstat64),
	SCMP_SYS(newfstatat), SCMP_SYS(statx),   SCMP_SYS(unlink), SCMP_SYS(unlinkat),
};

/* What this machine does not have under that name is left out. */
static int allow(scmp_filter_ctx filter, const int *calls, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);

		if (status < 0 && status != -EDOM && status != -EINVAL)
			return status;
	}
	return 0;
}

static int allow_arguments(scmp_filter_ctx filter)
{
	static const int mapping[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect)};
	int status = 0;

	for (size_t i = 0; i < sizeof(mapping) / sizeof(mapping[0]) && !status; i++) {
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, mapping[i], 1,
					  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
		if (status == -EDOM || status == -EINVAL)
			status = 0;
	}
	for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]) && !status; i++)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
					  SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, ioctls[i]));
	/* fstat() of newer libraries: a file that is open, and has no name here. The flag
	 * is not enough, as a name may still be given; but nothing is opened by it. */
	if (!status)
		status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
					  SCMP_A3(SCMP_CMP_MASKED_EQ, 0x1000, 0x1000));
	return status == -EDOM || status == -EINVAL ? 0 : status;
}

static int one_rule(scmp_filter_ctx filter, int call, unsigned count,
		    const struct scmp_arg_cmp *arguments)
{
	int status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, count, arguments);

	return status == -EDOM || status == -EINVAL ? 0 : status;
}

/* To accept connections of a listening socket, and to answer them: not to send to an
 * address. The library that speaks HTTP sets when TCP sends. */
static int allow_serving(scmp_filter_ctx filter, const int *listeners, size_t count)
{
	static const unsigned settings[] = {TCP_NODELAY, TCP_CORK};
	int status = 0;

	if (!count)
		return 0;
	for (size_t i = 0; i < count && !status; i++) {
		struct scmp_arg_cmp which =
			SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)listeners[i]);

		status = one_rule(filter, SCMP_SYS(accept4), 1, &which);
		if (!status)
			status = one_rule(filter, SCMP_SYS(accept), 1, &which);
	}
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && !status; i++) {
		struct scmp_arg_cmp which[] = {
			SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, IPPROTO_TCP),
			SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, settings[i]),
		};

		status = one_rule(filter, SCMP_SYS(setsockopt), 2, which);
	}
	if (!status)
		status = one_rule(filter, SCMP_SYS(sendto), 1, &SCMP_A4(SCMP_CMP_EQ, 0));
	if (!status)
		status = one_rule(filter, SCMP_SYS(send), 0, NULL);
	if (!status)
		status = one_rule(filter, SCMP_SYS(shutdown), 0, NULL);
	return status;
}

/* Of settings of sockets two, and one question. */
static int allow_sockets(scmp_filter_ctx filter)
{
	static const struct {
		int level, name;
	} settings[] = {{SOL_SOCKET, SO_LINGER}, {IPPROTO_TCP, TCP_NODELAY}};
	int status = 0;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && !status; i++) {
		struct scmp_arg_cmp which[] = {
			SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)settings[i].level),
			SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, (unsigned)settings[i].name),
		};

		status = one_rule(filter, SCMP_SYS(setsockopt), 2, which);
	}
	if (!status)
		status = one_rule(filter, SCMP_SYS(ioctl), 1,
				  &SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, SIOCOUTQ));
	return status;
}

/* On sockets that are connected: to send to where they are, and to end. */
static int allow_speaking(scmp_filter_ctx filter)
{
	int status = one_rule(filter, SCMP_SYS(sendto), 1, &SCMP_A4(SCMP_CMP_EQ, 0));

	if (!status)
		status = one_rule(filter, SCMP_SYS(send), 0, NULL);
	if (!status)
		status = one_rule(filter, SCMP_SYS(shutdown), 0, NULL);
	return status;
}

static bool enter(const int *more, size_t count, const int *listeners, size_t listener_count,
		  bool speaks, char *err, size_t errsize)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int status = filter ? 0 : -ENOMEM;

	if (!status)
		status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/* Whatever is not of this machine's own kind is not of this program. */
	if (!status)
		status = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(EPERM));
	/* Decoding is not slowed down for what only a confined program that runs the
	 * code of others would need. An older kernel does not ask. */
	if (!status) {
		seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
		seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	}
	if (!status)
		status = allow(filter, common, sizeof(common) / sizeof(common[0]));
	if (!status)
		status = allow(filter, more, count);
	if (!status && more == relaying)
		status = allow_sockets(filter);
	if (!status)
		status = allow_arguments(filter);
	if (!status && speaks)
		status = allow_speaking(filter);
	if (!status)
		status = allow_serving(filter, listeners, listener_count);
	if (!status)
		status = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	if (!status)
		return true;
	snprintf(err, errsize,
		 "the kernel does not confine the program (seccomp: %s): it goes on, and could "
		 "still open files and sockets",
		 strerror(-status));
	return false;
}

/* Files that the C library opens when something is asked of it for the first time:
 * the time zone, and tables of the locale's characters. */
static void warm(void)
{
	wchar_t wide;
	char bytes[MB_LEN_MAX];
	int n;

	tzset();
	n = wctomb(bytes, L'x');
	if (n > 0 && mbtowc(&wide, bytes, (size_t)n) < 0) {
		/* They are there, whatever they say. */
	}
}

bool nbds_sandbox_enter(char *err, size_t errsize)
{
	return nbds_sandbox_enter_serving(NULL, 0, err, errsize);
}

bool nbds_sandbox_enter_serving(const int *listeners, size_t count, char *err, size_t errsize)
{
	warm();
	return enter(NULL, 0, listeners, count, false, err, errsize);
}

bool nbds_sandbox_probe(char *err, size_t errsize)
{
	warm();
	return enter(NULL, 0, NULL, 0, true, err, errsize);
}

bool nbds_sandbox_relay(const int *listeners, size_t count, char *err, size_t errsize)
{
	warm();
	return enter(relaying, sizeof(relaying) / sizeof(relaying[0]), listeners, count, false, err,
		     errsize);
}

bool nbds_sandbox_dialer(char *err, size_t errsize)
{
	return enter(dialing, sizeof(dialing) / sizeof(dialing[0]), NULL, 0, false, err, errsize);
}

bool nbds_sandbox_opener(char *err, size_t errsize)
{
	return enter(opening, sizeof(opening) / sizeof(opening[0]), NULL, 0, false, err, errsize);
}

bool nbds_sandbox_replacer(char *err, size_t errsize)
{
	return enter(replacing, sizeof(replacing) / sizeof(replacing[0]), NULL, 0, false, err,
		     errsize);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

bool nbds_sandbox_possible(void)
{
	return !SANITIZED;
}
