/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a program may still do once it reads packets, the process that makes files for
 * it, and the files that root makes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "analyzer/capture/broker.h"
#include "analyzer/capture/capture.h"
#include "analyzer/capture/create.h"
#include "analyzer/capture/opener.h"
#include "analyzer/capture/pcapng.h"
#include "analyzer/capture/sandbox.h"

#define OTHER_USER 65534

static char directory[] = "/tmp/nbdscope-confine-XXXXXX";

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? chdir(directory) : -1;
}

static int remove_directory(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	return chdir("/") < 0 ? -1 : system(command);
}

static void put_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void assert_file(const char *name, const char *text)
{
	char have[256];
	FILE *file = fopen(name, "r");
	size_t len;

	assert_non_null(file);
	len = fread(have, 1, sizeof(have) - 1, file);
	have[len] = '\0';
	fclose(file);
	assert_string_equal(have, text);
}

/* --- the sandbox --- */

/* Bits of what a confined thread could do and should not; 0: nothing. */
static unsigned forbidden(void)
{
	char name[] = "true", *arguments[] = {name, NULL};
	unsigned could = 0;
	void *memory;
	pid_t child;

	could |= (open("/dev/null", O_RDONLY) >= 0) << 0;
	could |= (open("new", O_CREAT | O_WRONLY, 0600) >= 0) << 1;
	could |= (socket(AF_INET, SOCK_STREAM, 0) >= 0) << 2;
	could |= (socket(AF_UNIX, SOCK_DGRAM, 0) >= 0) << 3;
	child = fork();
	if (child == 0)
		_exit(0);
	could |= (child > 0) << 4;
	could |= (execv("/bin/true", arguments) == 0) << 5;
	could |= (unlink("there") == 0) << 6;
	could |= (rename("there", "elsewhere") == 0) << 7;
	could |= (mkdir("folder", 0700) == 0) << 8;
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	could |= (memory != MAP_FAILED) << 9;
	could |= (ioctl(STDIN_FILENO, TIOCSTI, "x") == 0) << 10;
	could |= (chmod("there", 0777) == 0) << 11;
	could |= (kill(getppid(), 0) == 0) << 12;
	return could;
}

/* And what it needs. */
static unsigned needed(int file)
{
	unsigned cannot = 0;
	struct stat st;
	void *memory;

	cannot |= (write(file, "x", 1) != 1) << 0;
	cannot |= (fstat(file, &st) != 0) << 1;
	memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cannot |= (memory == MAP_FAILED || munmap(memory, 1 << 20) != 0) << 2;
	memory = malloc(100 << 20);
	cannot |= !memory << 3;
	free(memory);
	cannot |= (lseek(file, 0, SEEK_SET) != 0) << 4;
	cannot |= (ftruncate(file, 0) != 0) << 5;
	return cannot;
}

struct other {
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool here, go, done;
	unsigned could;
};

/* It was there before, and does not end before the process does: AddressSanitizer reads files
 * below /proc when a thread begins or ends, which the sandbox forbids. */
static void *other_thread(void *arg)
{
	struct other *o = arg;

	pthread_mutex_lock(&o->lock);
	o->here = true;
	pthread_cond_signal(&o->told);
	while (!o->go)
		pthread_cond_wait(&o->told, &o->lock);
	o->could = forbidden();
	o->done = true;
	pthread_cond_signal(&o->told);
	while (o->go)
		pthread_cond_wait(&o->told, &o->lock);
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

static void confined(int answer, int file)
{
	static struct other o = {.lock = PTHREAD_MUTEX_INITIALIZER,
				 .told = PTHREAD_COND_INITIALIZER};
	unsigned told[4] = {0};
	pthread_t thread;
	char err[256];

	if (pthread_create(&thread, NULL, other_thread, &o) != 0)
		_exit(1);
	pthread_mutex_lock(&o.lock);
	while (!o.here)
		pthread_cond_wait(&o.told, &o.lock);
	pthread_mutex_unlock(&o.lock);
	told[0] = nbds_sandbox_enter(err, sizeof(err));
	told[1] = forbidden();
	told[2] = needed(file);
	pthread_mutex_lock(&o.lock);
	o.go = true;
	pthread_cond_signal(&o.told);
	while (!o.done)
		pthread_cond_wait(&o.told, &o.lock);
	pthread_mutex_unlock(&o.lock);
	told[3] = o.could;
	if (write(answer, told, sizeof(told)) != sizeof(told))
		_exit(1);
	_exit(0);
}

static void test_sandbox(void **state)
{
	unsigned told[4] = {0};
	int ends[2], file, status;
	pid_t child;

	(void)state;
	put_file("there", "there");
	file = open("mine", O_CREAT | O_RDWR, 0600);
	assert_true(file >= 0);
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		confined(ends[1], file);
	close(ends[1]);
	assert_int_equal(read(ends[0], told, sizeof(told)), sizeof(told));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(ends[0]);
	close(file);
	if (!told[0]) {
		print_message("skipped: this kernel has no seccomp\n");
		return;
	}
	assert_int_equal(told[1], 0);
	assert_int_equal(told[2], 0);
	assert_int_equal(told[3], 0);
	assert_file("there", "there");
	unlink("there");
	unlink("mine");
}

/* --- who also serves --- */

static int listen_somewhere(struct sockaddr_in *at)
{
	socklen_t size = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)at, sizeof(*at)), 0);
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, &size), 0);
	return fd;
}

static int connect_to(const struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)at, sizeof(*at)), 0);
	return fd;
}

/* Bits of what is wrong; 0: it is as it should be. */
static unsigned serves(int mine, int other, int spare, const struct sockaddr_in *at)
{
	unsigned wrong = 0;
	int on = 1, fd = accept4(mine, NULL, NULL, SOCK_CLOEXEC);

	wrong |= (fd < 0) << 0;
	wrong |= (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) << 1;
	wrong |= (send(fd, "x", 1, MSG_NOSIGNAL) != 1) << 2;
	wrong |= (shutdown(fd, SHUT_RDWR) != 0) << 3;
	wrong |= (accept4(other, NULL, NULL, SOCK_CLOEXEC) >= 0) << 4;
	wrong |= (connect(spare, (const struct sockaddr *)at, sizeof(*at)) == 0) << 5;
	wrong |=
		(sendto(spare, "x", 1, MSG_NOSIGNAL, (const struct sockaddr *)at, sizeof(*at)) >= 0)
		<< 6;
	wrong |= (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &on, sizeof(on)) == 0) << 7;
	wrong |= (bind(spare, (const struct sockaddr *)at, sizeof(*at)) == 0) << 8;
	wrong |= (listen(spare, 1) == 0) << 9;
	return wrong;
}

static void test_serving(void **state)
{
	struct sockaddr_in at, others;
	int mine = listen_somewhere(&at), other = listen_somewhere(&others);
	int client = connect_to(&at), stranger = connect_to(&others);
	int spare = socket(AF_INET, SOCK_STREAM, 0), ends[2], status;
	unsigned told[3] = {0};
	char byte = 0;
	pid_t child;

	(void)state;
	put_file("there", "there");
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char err[256];

		told[0] = nbds_sandbox_enter_serving(&mine, 1, err, sizeof(err));
		told[1] = serves(mine, other, spare, &others);
		told[2] = forbidden();
		_exit(write(ends[1], told, sizeof(told)) != sizeof(told));
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], told, sizeof(told)), sizeof(told));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(ends[0]);
	if (told[0]) {
		assert_int_equal(told[1], 0);
		assert_int_equal(told[2], 0);
		assert_int_equal(read(client, &byte, 1), 1);
		assert_int_equal(byte, 'x');
	} else {
		print_message("skipped: this kernel has no seccomp\n");
	}
	close(client);
	close(stranger);
	close(mine);
	close(other);
	close(spare);
	unlink("there");
}

/* --- who relays --- */

/* Bits of what is wrong. */
static unsigned relays(int mine, int spare, const struct sockaddr_in *at)
{
	struct linger linger = {0};
	unsigned wrong = 0;
	int on = 1, fd = accept4(mine, NULL, NULL, SOCK_CLOEXEC), waiting;

	wrong |= (fd < 0) << 0;
	wrong |= (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0) << 1;
	wrong |= (setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) != 0) << 2;
	wrong |= (ioctl(fd, SIOCOUTQ, &waiting) != 0) << 3;
	wrong |= (write(fd, "x", 1) != 1) << 4;
	wrong |= (shutdown(fd, SHUT_RDWR) != 0) << 5;
	wrong |= (connect(spare, (const struct sockaddr *)at, sizeof(*at)) == 0) << 6;
	wrong |= (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &on, sizeof(on)) == 0) << 7;
	wrong |= (bind(spare, (const struct sockaddr *)at, sizeof(*at)) == 0) << 8;
	wrong |= (listen(spare, 1) == 0) << 9;
	wrong |= (unlink("there") == 0) << 10;
	return wrong;
}

/* And of its process that connects: of the other, what is not needed. */
static unsigned dials(int mine, const struct sockaddr_in *at)
{
	unsigned wrong = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	wrong |= (connect(fd, (const struct sockaddr *)at, sizeof(*at)) != 0) << 0;
	wrong |= (unlink("made") != 0) << 1;
	wrong |= (accept4(mine, NULL, NULL, SOCK_CLOEXEC) >= 0) << 2;
	wrong |= (open("there", O_RDONLY) >= 0) << 3;
	wrong |= (open("new", O_CREAT | O_WRONLY, 0600) >= 0) << 4;
	wrong |= (listen(fd, 1) == 0) << 5;
	wrong |= (fork() >= 0) << 6;
	return wrong;
}

static void test_relaying(void **state)
{
	struct sockaddr_in at;
	int mine = listen_somewhere(&at), client = connect_to(&at), ends[2], status;
	int spare = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	put_file("there", "there");
	for (int dialer = 0; dialer < 2; dialer++) {
		unsigned told[3] = {0};
		pid_t child;

		put_file("made", "");
		assert_int_equal(pipe(ends), 0);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			char err[256];

			told[0] = dialer ? nbds_sandbox_dialer(err, sizeof(err))
					 : nbds_sandbox_relay(NULL, 0, err, sizeof(err));
			told[1] = dialer ? dials(mine, &at) : relays(mine, spare, &at);
			told[2] = dialer ? 0 : forbidden();
			_exit(write(ends[1], told, sizeof(told)) != sizeof(told));
		}
		close(ends[1]);
		assert_int_equal(read(ends[0], told, sizeof(told)), sizeof(told));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		close(ends[0]);
		if (!told[0]) {
			print_message("skipped: this kernel has no seccomp\n");
			break;
		}
		assert_int_equal(told[1], 0);
		assert_int_equal(told[2], 0);
	}
	assert_file("there", "there");
	close(client);
	close(mine);
	close(spare);
	unlink("there");
	unlink("made");
}

/* --- who replaces files --- */

/* Who probes speaks on what is connected, and makes no other connection. */
static unsigned probes(int client, int spare, const struct sockaddr_in *at)
{
	unsigned wrong = 0;
	int on = 1;

	wrong |= (send(client, "x", 1, MSG_NOSIGNAL) != 1) << 0;
	wrong |= (shutdown(client, SHUT_WR) != 0) << 1;
	wrong |= (connect(spare, (const struct sockaddr *)at, sizeof(*at)) == 0) << 2;
	wrong |=
		(sendto(spare, "x", 1, MSG_NOSIGNAL, (const struct sockaddr *)at, sizeof(*at)) >= 0)
		<< 3;
	wrong |= (setsockopt(client, SOL_SOCKET, SO_RCVBUF, &on, sizeof(on)) == 0) << 4;
	wrong |= (accept4(spare, NULL, NULL, SOCK_CLOEXEC) >= 0) << 5;
	return wrong;
}

static void test_probe(void **state)
{
	struct sockaddr_in at;
	int mine = listen_somewhere(&at), client = connect_to(&at);
	int spare = socket(AF_INET, SOCK_STREAM, 0), ends[2], status;
	unsigned told[3] = {0};
	pid_t child;

	(void)state;
	put_file("there", "there");
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char err[256];

		told[0] = nbds_sandbox_probe(err, sizeof(err));
		told[1] = probes(client, spare, &at);
		told[2] = forbidden();
		_exit(write(ends[1], told, sizeof(told)) != sizeof(told));
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], told, sizeof(told)), sizeof(told));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(ends[0]);
	if (told[0]) {
		assert_int_equal(told[1], 0);
		assert_int_equal(told[2], 0);
	} else {
		print_message("skipped: this kernel has no seccomp\n");
	}
	close(client);
	close(mine);
	close(spare);
	unlink("there");
}

static void test_replacer(void **state)
{
	char name[] = "true", *arguments[] = {name, NULL};
	int ends[2], status;
	unsigned told[2] = {0};
	pid_t child;

	(void)state;
	put_file("there", "there");
	assert_int_equal(pipe(ends), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char err[256];
		int fd;

		told[0] = nbds_sandbox_replacer(err, sizeof(err));
		fd = openat(AT_FDCWD, "new", O_CREAT | O_WRONLY, 0600);
		told[1] |= (fd < 0 || write(fd, "new", 3) != 3) << 0;
		told[1] |= (renameat(AT_FDCWD, "new", AT_FDCWD, "there") != 0) << 1;
		told[1] |= (socket(AF_INET, SOCK_STREAM, 0) >= 0) << 2;
		told[1] |= (execv("/bin/true", arguments) == 0) << 3;
		told[1] |= (mkdir("folder", 0700) == 0) << 4;
		told[1] |= (kill(getppid(), 0) == 0) << 5;
		told[1] |= (setuid(0) == 0) << 6;
		_exit(write(ends[1], told, sizeof(told)) != sizeof(told));
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], told, sizeof(told)), sizeof(told));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(ends[0]);
	if (told[0]) {
		assert_int_equal(told[1], 0);
		assert_file("there", "new");
	} else {
		print_message("skipped: this kernel has no seccomp\n");
	}
	unlink("there");
}

/* --- a broker --- */

/* Hands over as many descriptors as it is told. */
static bool handed(void *of, const void *question, size_t size)
{
	int fds[NBDS_BROKER_FDS] = {0, 1, 2};
	unsigned char count = *(const unsigned char *)question;

	return size == 1 && nbds_broker_answer(*(int *)of, &count, 1, fds, count);
}

static void hand_over(int socket, void *of)
{
	char question[2];

	(void)of;
	nbds_broker_let_go();
	nbds_broker_serve(socket, question, sizeof(question), handed, &socket);
}

static int lowest_free(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd;
}

static void test_broker(void **state)
{
	struct nbds_broker b;
	struct rlimit was, few;
	char err[256], answer[2];
	int fds[NBDS_BROKER_FDS], next;

	(void)state;
	assert_true(nbds_broker_start(&b, hand_over, NULL, "test", err, sizeof(err)));
	next = lowest_free();
	assert_int_equal(nbds_broker_hear(&b, answer, 1, fds, 3, MSG_DONTWAIT), EAGAIN);
	for (unsigned char count = 0; count <= NBDS_BROKER_FDS; count++) {
		assert_true(nbds_broker_ask(&b, &count, 1, 0));
		assert_int_equal(nbds_broker_hear(&b, answer, 1, fds, count, 0), 0);
		assert_int_equal(answer[0], count);
		for (int i = 0; i < count; i++) {
			assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
			close(fds[i]);
		}
	}
	/* Fewer than were asked for, more, or no room for all: none is left open. */
	assert_true(nbds_broker_ask(&b, "\2", 1, 0));
	assert_int_equal(nbds_broker_hear(&b, answer, 1, fds, 3, 0), 0);
	assert_int_equal(fds[0], -1);
	assert_true(nbds_broker_ask(&b, "\2", 1, 0));
	assert_int_equal(nbds_broker_hear(&b, answer, 1, fds, 1, 0), 0);
	assert_int_equal(fds[0], -1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = (rlim_t)next + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_true(nbds_broker_ask(&b, "\3", 1, 0));
	assert_int_equal(nbds_broker_hear(&b, answer, 1, fds, 3, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(fds[0], -1);
	assert_int_equal(lowest_free(), next);
	/* An answer of another size, and one that does not come any more. */
	assert_true(nbds_broker_ask(&b, "\1", 1, 0));
	assert_int_equal(nbds_broker_hear(&b, answer, 2, fds, 1, 0), EPIPE);
	assert_int_equal(lowest_free(), next);
	assert_true(nbds_broker_ask(&b, "no", 2, 0));
	assert_int_equal(nbds_broker_hear(&b, answer, 1, fds, 1, 0), EPIPE);
	assert_int_equal(fds[0], -1);
	assert_int_equal(waitpid(b.pid, NULL, 0), b.pid);
	assert_false(nbds_broker_ask(&b, "\0", 1, 0));
	nbds_broker_stop(&b, true);
	assert_int_equal(lowest_free(), b.socket);
}

/* --- the opener --- */

static void assert_made(struct nbds_opener *o, const char *path, const char *seen)
{
	char err[300] = "";
	struct stat st;
	int fd = nbds_opener_create(o, path, err, sizeof(err));

	if (fd < 0)
		fail_msg("%s: %s", path, err);
	assert_int_equal(write(fd, "text", 4), 4);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	close(fd);
	assert_file(seen, "text");
	unlink(seen);
}

static void assert_refused(struct nbds_opener *o, const char *path, const char *why)
{
	char err[300] = "";

	assert_int_equal(nbds_opener_create(o, path, err, sizeof(err)), -1);
	if (!strstr(err, why))
		fail_msg("%s: \"%s\" is not in \"%s\"", path, why, err);
}

static void test_opener(void **state)
{
	char path[512], err[300], there[] = "there";
	struct nbds_opener *o;

	(void)state;
	put_file(there, "there");
	assert_int_equal(mkdir("below", 0700), 0);
	assert_int_equal(mkdir("beside", 0700), 0);
	assert_int_equal(symlink("/tmp", "away"), 0);
	assert_int_equal(symlink("dangling", "link"), 0);
	o = nbds_opener_start("beside/saved", NULL, false, NULL, err, sizeof(err));
	assert_non_null(o);
	assert_made(o, "new", "new");
	assert_made(o, "below/new", "below/new");
	snprintf(path, sizeof(path), "%s/new", directory);
	assert_made(o, path, "new");
	assert_refused(o, "there", "File exists");
	assert_file(there, "there");
	assert_refused(o, "link", "");
	assert_int_equal(access("dangling", F_OK), -1);
	assert_refused(o, ".new", "dot");
	assert_refused(o, "below/.new", "dot");
	assert_refused(o, "below/../.new", "dot");
	assert_refused(o, "no/such/folder", "No such file");
	assert_refused(o, "", "");
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_refused(o, path, "too long");
	/* It still serves. */
	assert_made(o, "new", "new");
	nbds_opener_stop(o);
}

/* Started as root: in its folder with root's rights, elsewhere with another's. */
static void test_opener_of_root(void **state)
{
	char path[512], err[300];
	struct nbds_opener *o;
	struct stat st;
	int fd;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: only root can begin as root\n");
		return;
	}
	assert_int_equal(mkdir("root", 0755), 0);
	assert_int_equal(mkdir("elsewhere", 0755), 0);
	assert_int_equal(mkdir("public", 0777), 0);
	assert_int_equal(chmod("public", 0777), 0);
	assert_int_equal(chmod(".", 0755), 0);
	assert_int_equal(chdir("root"), 0);
	o = nbds_opener_start(NULL, NULL, true, "nobody", err, sizeof(err));
	assert_int_equal(chdir(".."), 0);
	assert_non_null(o);
	for (int turn = 0; turn < 2; turn++) {
		snprintf(path, sizeof(path), "mine%d", turn);
		fd = nbds_opener_create(o, path, err, sizeof(err));
		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_uid, 0);
		close(fd);
		snprintf(path, sizeof(path), "%s/elsewhere/new", directory);
		assert_refused(o, path, "Permission denied");
		/* By way of the folder it is the same elsewhere. */
		assert_refused(o, "../elsewhere/new", "Permission denied");
		snprintf(path, sizeof(path), "%s/public/new%d", directory, turn);
		fd = nbds_opener_create(o, path, err, sizeof(err));
		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_uid, OTHER_USER);
		close(fd);
	}
	nbds_opener_stop(o);
}

/* --- files that root makes --- */

static void assert_created(const char *path, const char *seen)
{
	char err[256] = "";
	int fd = nbds_create(path, 0600, err, sizeof(err));

	if (fd < 0)
		fail_msg("%s: %s", path, err);
	assert_int_equal(write(fd, "new", 3), 3);
	close(fd);
	assert_file(seen, "new");
}

static void test_create(void **state)
{
	char err[256], name[64];
	int ends[2], fd;

	(void)state;
	put_file("old", "what it held before");
	assert_created("old", "old");
	assert_int_equal(symlink("old", "good-link"), 0);
	assert_int_equal(symlink("good-link", "good-links"), 0);
	put_file("old", "what it held before");
	assert_created("good-links", "old");
	assert_int_equal(nbds_create("no/such/folder", 0600, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "No such file"));
	assert_int_equal(symlink("loop", "loop"), 0);
	assert_int_equal(nbds_create("loop", 0600, err, sizeof(err)), -1);
	assert_true(err[0]);
	/* As /dev/stdout is one: a link that leads where no name does. */
	assert_int_equal(pipe(ends), 0);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", ends[1]);
	fd = nbds_create(name, 0600, err, sizeof(err));
	assert_true(fd >= 0);
	close(fd);
	close(ends[0]);
	close(ends[1]);
	if (geteuid() != 0)
		return;
	/* Where others may write, a link of theirs, and one to what is theirs. */
	put_file("theirs", "theirs");
	assert_int_equal(chown("theirs", OTHER_USER, OTHER_USER), 0);
	assert_int_equal(symlink("theirs", "to-theirs"), 0);
	assert_int_equal(symlink("old", "by-them"), 0);
	assert_int_equal(lchown("by-them", OTHER_USER, OTHER_USER), 0);
	assert_int_equal(symlink("by-them", "to-by-them"), 0);
	put_file("old", "old");
	for (unsigned i = 0; i < 3; i++) {
		const char *names[] = {"to-theirs", "by-them", "to-by-them"};

		assert_int_equal(nbds_create(names[i], 0600, err, sizeof(err)), -1);
		assert_non_null(strstr(err, "symbolic link"));
	}
	assert_file("theirs", "theirs");
	assert_file("old", "old");
}

/* --- a disk that is full --- */

/* What was saved before can be read. */
static void test_full(void **state)
{
	static uint8_t data[3000];
	const struct nbds_packet packet = {
		.caplen = sizeof(data), .len = sizeof(data), .linktype = 1, .data = data};
	struct rlimit before, small;
	struct nbds_pcapng_writer *w;
	struct nbds_capture *c;
	struct nbds_packet p;
	char err[256];
	int count = 0, status = 0;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 100000;
	w = nbds_pcapng_create("full.pcapng", err, sizeof(err));
	assert_non_null(w);
	assert_int_equal(nbds_pcapng_write_interface(w, 1, 0, NULL), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (int i = 0; i < 1000 && !status; i++)
		status = nbds_pcapng_write_packet(w, &packet);
	assert_int_equal(status, -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(nbds_pcapng_finish(w), -1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	c = nbds_capture_open("full.pcapng", err, sizeof(err));
	assert_non_null(c);
	while ((status = nbds_capture_next(c, &p)) == 1)
		count++;
	assert_string_equal(nbds_capture_error(c), "");
	assert_int_equal(status, 0);
	assert_int_equal(count, (100000 - 200) / 3032);
	nbds_capture_close(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sandbox),  cmocka_unit_test(test_serving),
		cmocka_unit_test(test_relaying), cmocka_unit_test(test_probe),
		cmocka_unit_test(test_replacer), cmocka_unit_test(test_broker),
		cmocka_unit_test(test_opener),   cmocka_unit_test(test_opener_of_root),
		cmocka_unit_test(test_create),   cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
