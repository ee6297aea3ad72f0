/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * robust.c - damaged captures say no more than whole ones.
 *
 *	robust [OPTION]... [FILE or DIRECTORY...]
 *	      --thorough        test every position, however many there are
 *	      --budget=N        work for each kind of damage to a file (default 100)
 *	      --kind=NAME[,..]  only these kinds of damage
 *	      --at=N            only number N of each kind (as failures name it)
 *	      --write=FILE      with --kind and --at: save the damaged capture
 *	      --all             print all failures, not just the first of each kind
 *	      --exclusive       no writer stays outside of the captures
 *	      --breaches        nor any finding above note of a protocol rule, but for
 *	                        kinds in which a peer did send something else
 *	      --port=N          servers of port 10809 are moved to port N, which nobody
 *	                        knows for NBD (kind truncate: no)
 *	      --list            the kinds of damage
 *
 * Each capture is read into memory and damaged in many ways (packets.c), and
 * each damaged capture goes through everything from packets to verdicts.  Its
 * file is also cut at any byte.  What must hold:
 *
 *   - no crash, no report of a sanitizer, nothing that takes long;
 *   - no violation is told that the whole capture does not have: what a capture
 *     lost can only take proofs away, never make one;
 *   - for damage that loses nothing, all findings stay the same ones;
 *   - every byte of a connection is accounted for, every request is answered or
 *     counted as unanswered, every finding is counted.
 *
 * Without FILE: the samples, captures in which nearly every lost write would hide
 * behind a stale read (captures/), and what once went wrong (regressions/).  Of
 * large sets every n-th position is tested, always the same ones; the share is
 * printed.  Exit status 1 if anything failed.
 */
#include <dirent.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "outcome.h"
#include "packets.h"

#include "analyzer/capture/capture.h"

#define SECONDS_MAX 60 /* for one damaged capture */

static struct {
	bool thorough, all, breaches;
	uint64_t budget;
	const char *kinds, *write;
	uint16_t port;
	long long at;
	uint64_t runs, failures, weaker;
} test = {.budget = 100, .at = -1};

/* What is being tested, for the last words of the program. */
static struct {
	const char *path, *kind;
	size_t at;
} now;

static void last_words(void)
{
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "robust: it happened with: robust --kind=%s --at=%zu %s\n",
			 now.kind ? now.kind : "none", now.at, now.path ? now.path : "");

	if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(99);
}

static void on_alarm(int sig)
{
	static const char text[] = "robust: this takes too long\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) > 0)
		last_words();
	abort();
}

/* The sanitizers' runtime, if there is one, calls it before it ends the program. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void)
{
	struct itimerval t = {.it_value = {.tv_sec = SECONDS_MAX}};

	setitimer(ITIMER_REAL, &t, NULL);
}

static void fail(const char *kind, size_t at, const char *what, const char *why,
		 const struct said *s)
{
	test.failures++;
	printf("FAILED  %s: %s\n        %s\n", now.path, what, why);
	if (s)
		printf("        %s: %s (frames %" PRIu64 " to %" PRIu64
		       " of the whole, range %" PRIu64 "+%" PRIu64 "): %s\n",
		       nbds_severity_name(s->severity), s->rule->name,
		       s->frames[NBDS_ROLE_READ_REQUEST], s->frames[NBDS_ROLE_READ], s->offset,
		       s->length, s->message);
	printf("        again: robust --kind=%s --at=%zu %s\n", kind, at, now.path);
	fflush(stdout);
}

/* False: it failed. */
static bool compare(const struct outcome *o, const struct outcome *whole, bool same,
		    const char *kind, size_t at, const char *what)
{
	const struct said *s;

	if (o->wrong[0]) {
		fail(kind, at, what, o->wrong, NULL);
		return false;
	}
	s = outcome_new_violation(o, whole, &test.weaker);
	/* with right checksums a peer did send what breaks a rule of the protocol */
	if (s && !(strcmp(kind, "flip") == 0 && s->rule->ref[1] == '-')) {
		fail(kind, at, what, "a violation that the whole capture does not have", s);
		return false;
	}
	s = test.breaches && strncmp(kind, "forge", 5) != 0 && strcmp(kind, "flip") != 0
		    ? outcome_new_breach(o, whole)
		    : NULL;
	if (s) {
		fail(kind, at, what, "a breach that the whole capture does not have", s);
		return false;
	}
	if (!same)
		return true;
	s = outcome_differs(o, whole);
	if (s) {
		fail(kind, at, what, "findings differ from those in the whole capture", s);
		return false;
	}
	if (o->messages != whole->messages || o->message_hash != whole->message_hash) {
		fail(kind, at, what, "messages differ from those in the whole capture", NULL);
		return false;
	}
	if (o->totals.checked_bytes != whole->totals.checked_bytes ||
	    o->totals.checked_reads != whole->totals.checked_reads) {
		fail(kind, at, what, "not as much was checked as in the whole capture", NULL);
		return false;
	}
	return true;
}

/* Every n-th position, for `work` of each and the budget of a kind. */
static size_t stride_of(size_t total, uint64_t work)
{
	uint64_t most = test.budget * 10000 / (work ? work : 1);

	if (test.thorough || !total)
		return 1;
	if (most < 8)
		most = work > 50000 && test.budget < 10 ? 1 : 8;
	return total <= most ? 1 : (total + most - 1) / most;
}

static void share(const char *kind, size_t done, size_t total, size_t stride, uint64_t before)
{
	printf("  %-12s %7zu", kind, done);
	if (stride > 1)
		printf(" of %zu (%.1f %%)", total, 100.0 * (double)done / (double)total);
	if (test.failures > before)
		printf("  %" PRIu64 " FAILED", test.failures - before);
	printf("\n");
}

static void try_kind(const struct whole *w, const struct outcome *whole, const struct kind *k,
		     struct damage *d)
{
	/* about a microsecond each, with sanitizers */
	uint64_t work = 300 + 10 * w->count + w->bytes / 100, before = test.failures;
	size_t total = k->total(w), stride = stride_of(total, work), done = 0;

	for (size_t i = 0; i < total; i++) {
		struct outcome o;

		if (test.at >= 0 ? i != (size_t)test.at : i % stride && i != total - 1)
			continue;
		if (!k->make(w, i, d))
			continue;
		done++;
		now.kind = k->name;
		now.at = i;
		if (test.at >= 0)
			printf("  %s\n", d->what);
		if (test.at >= 0 && test.write && !packets_write(test.write, d->packets, d->count))
			exit(2);
		watch();
		outcome_of(&o, d->packets, d->count);
		test.runs++;
		/* how long TCP waits for what is out of order is counted in frames: if
		 * anything was, more frames may make a difference */
		if (!compare(&o, whole, k->equal && !whole->held, k->name, i, d->what) && !test.all)
			i = total;
		outcome_free(&o);
	}
	share(k->name, done, total, stride, before);
}

/* --- files cut at any byte ----------------------------------------------- */

/* Reads the cut file: it must give the first packets of the whole one, all of
 * those that are wholly in it, and say so. Returns how many, or SIZE_MAX. */
static size_t read_cut(const struct whole *w, const char *path, size_t cut, bool entire, char *why,
		       size_t size)
{
	struct nbds_capture *c = nbds_capture_open(path, why, size);
	struct nbds_packet p;
	size_t n = 0;
	int got;

	if (!c) {
		if (why[0] && !strchr(why, '\n'))
			return 0;
		snprintf(why, size, "no line says why it cannot be opened");
		return SIZE_MAX;
	}
	while ((got = nbds_capture_next(c, &p)) == 1) {
		const struct packet *q = &w->packets[n];

		if (n >= w->count || p.frame != n + 1 || p.caplen != q->caplen || p.len != q->len ||
		    p.time != q->time || (p.caplen && memcmp(p.data, q->data, p.caplen) != 0)) {
			snprintf(why, size, "packet %zu of the file cut at byte %zu is another one",
				 n + 1, cut);
			nbds_capture_close(c);
			return SIZE_MAX;
		}
		n++;
	}
	if (got < 0 && !nbds_capture_error(c)[0]) {
		snprintf(why, size, "an error without a line that says which");
		n = SIZE_MAX;
	} else if (got == 0 && n == w->count && !entire && nbds_capture_error(c)[0]) {
		snprintf(why, size, "an end with an error");
		n = SIZE_MAX;
	}
	nbds_capture_close(c);
	return n;
}

static void try_truncation(const struct whole *w, const struct outcome *whole)
{
	uint64_t before = test.failures, runs = 0;
	size_t size, total, stride, done = 0, last = SIZE_MAX;
	FILE *f = fopen(w->path, "rb");
	struct stat st;
	uint8_t *bytes;
	char path[64];
	int fd;

	if (!f || fstat(fileno(f), &st) < 0 || !(bytes = malloc((size_t)st.st_size + 1))) {
		perror(w->path);
		exit(2);
	}
	size = fread(bytes, 1, (size_t)st.st_size, f);
	fclose(f);
	fd = memfd_create("cut", MFD_CLOEXEC);
	if (fd < 0 || (size && write(fd, bytes, size) != (ssize_t)size)) {
		perror("robust: memfd");
		exit(2);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	total = size;
	stride = stride_of(total, 60 + w->count + w->bytes / 2000);
	now.kind = "truncate";
	/* from the end, so that the file only gets shorter */
	for (size_t i = 0; i <= total; i++) {
		size_t cut = total - i, n;
		struct outcome o;
		char why[256] = "", what[64];

		if (test.at >= 0 ? cut != (size_t)test.at : cut % stride && i)
			continue;
		now.at = cut;
		snprintf(what, sizeof(what), "cut at byte %zu", cut);
		if (ftruncate(fd, (off_t)cut) < 0 || lseek(fd, 0, SEEK_SET) < 0) {
			perror("robust: memfd");
			exit(2);
		}
		watch();
		done++;
		n = read_cut(w, path, cut, i == 0, why, sizeof(why));
		if (n == SIZE_MAX) {
			fail("truncate", cut, what, why, NULL);
			if (!test.all)
				break;
			continue;
		}
		/* The engine sees packets only: once for each number of them. */
		if (n == last && !test.thorough && test.at < 0)
			continue;
		if (outcome_of_file(&o, path, n)) {
			runs++;
			test.runs++;
			if (!compare(&o, whole, false, "truncate", cut, what) && !test.all)
				i = total;
		} else if (n) {
			fail("truncate", cut, what, "it cannot be opened the second time", NULL);
		}
		outcome_free(&o);
		last = n;
	}
	close(fd);
	free(bytes);
	share("truncate", done, total, stride, before);
	if (test.at >= 0 && !runs)
		printf("  nothing can be read\n");
}

/* --- */

static bool wanted(const char *kind)
{
	const char *p = test.kinds;
	size_t len = strlen(kind);

	if (!p)
		return true;
	while ((p = strstr(p, kind))) {
		if ((p == test.kinds || p[-1] == ',') && (p[len] == ',' || !p[len]))
			return true;
		p += len;
	}
	return false;
}

/* `honest`: its server is known to be right. */
static void try_file(const char *path, bool honest)
{
	struct damage d = {0};
	struct outcome whole;
	struct whole w;
	uint64_t violations = 0;

	now.path = path;
	now.kind = "none";
	if (!whole_load(&w, path, test.port)) {
		test.failures++;
		return;
	}
	watch();
	outcome_of(&whole, w.packets, w.count);
	for (size_t i = 0; i < whole.count; i++)
		violations += whole.list[i].severity == NBDS_VIOLATION;
	printf("%s: %zu packets, %" PRIu32 " connections, %" PRIu64 " violations%s\n", path,
	       w.count, whole.totals.connections, violations,
	       test.port ? ", at an unknown port" : "");
	if (whole.wrong[0])
		fail("none", 0, "the whole capture", whole.wrong, NULL);
	if (honest && violations) {
		const struct outcome nothing = {0};

		fail("none", 0, "the whole capture", "a violation of a server that is right",
		     outcome_new_violation(&whole, &nothing, &test.weaker));
	}
	if (wanted("truncate") && !test.port)
		try_truncation(&w, &whole);
	for (size_t i = 0; i < kinds_count; i++)
		if (wanted(kinds[i].name))
			try_kind(&w, &whole, &kinds[i], &d);
	fflush(stdout);
	outcome_free(&whole);
	damage_free(&d);
	whole_free(&w);
}

static int is_capture(const struct dirent *e)
{
	return strstr(e->d_name, ".pcap") != NULL;
}

/* Servers are right there, but for those that lie by their files' names. */
static unsigned try_directory(const char *dir, bool honest)
{
	struct dirent **list;
	int n = scandir(dir, &list, is_capture, alphasort);

	if (n < 0)
		return 0;
	for (int i = 0; i < n; i++) {
		char *path;

		if (asprintf(&path, "%s/%s", dir, list[i]->d_name) < 0)
			exit(2);
		try_file(path, honest && strncmp(list[i]->d_name, "liar", 4) != 0);
		free(path);
		free(list[i]);
	}
	free(list);
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	enum { THOROUGH, BUDGET, KIND, AT, WRITE, ALL, EXCLUSIVE, BREACHES, PORT, LIST };
	static const struct option options[] = {{"thorough", no_argument, NULL, THOROUGH},
						{"budget", required_argument, NULL, BUDGET},
						{"kind", required_argument, NULL, KIND},
						{"at", required_argument, NULL, AT},
						{"write", required_argument, NULL, WRITE},
						{"all", no_argument, NULL, ALL},
						{"exclusive", no_argument, NULL, EXCLUSIVE},
						{"breaches", no_argument, NULL, BREACHES},
						{"port", required_argument, NULL, PORT},
						{"list", no_argument, NULL, LIST},
						{0}};
	struct timespec start, end;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case THOROUGH:
			test.thorough = true;
			break;
		case BUDGET:
			test.budget = strtoull(optarg, NULL, 10);
			break;
		case KIND:
			test.kinds = optarg;
			break;
		case AT:
			test.at = strtoll(optarg, NULL, 10);
			break;
		case WRITE:
			test.write = optarg;
			break;
		case ALL:
			test.all = true;
			break;
		case EXCLUSIVE:
			outcome_exclusive(true);
			break;
		case BREACHES:
			test.breaches = true;
			break;
		case PORT:
			test.port = (uint16_t)strtoul(optarg, NULL, 10);
			break;
		case LIST:
			printf("%-12s the file cut at any byte\n", "truncate");
			for (size_t i = 0; i < kinds_count; i++)
				printf("%-12s %s\n", kinds[i].name, kinds[i].what);
			return 0;
		default:
			return 2;
		}
	}
	signal(SIGALRM, on_alarm);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(last_words);
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (optind < argc) {
		for (int i = optind; i < argc; i++) {
			struct stat st;

			if (stat(argv[i], &st) < 0 || !S_ISDIR(st.st_mode)) {
				try_file(argv[i], false);
			} else if (!try_directory(argv[i], false)) {
				fprintf(stderr, "robust: no captures in %s\n", argv[i]);
				return 2;
			}
		}
	} else {
		const char *samples = getenv("NBDSCOPE_SAMPLES"),
			   *source = getenv("NBDSCOPE_SOURCE_DIR");
		static const char *const own[] = {"captures", "regressions"};
		const char *kinds_wanted = test.kinds;

		if (!samples || !source || !try_directory(samples, false)) {
			fprintf(stderr, "robust: no samples: set NBDSCOPE_SAMPLES and "
					"NBDSCOPE_SOURCE_DIR, or name files\n");
			return 2;
		}
		for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
			char *dir;

			if (asprintf(&dir, "%s/tests/robust/%s", source, own[i]) < 0)
				return 2;
			try_directory(dir, true);
			/* where only what is said shows that it is NBD */
			test.port = 40000;
			test.kinds = "begin,drop,exchange,burst,oneway,sieve,forge,forge-end";
			if (!i)
				try_directory(dir, true);
			test.port = 0;
			/* where data from nowhere is a violation */
			test.kinds = "forge,forge-ack,forge-end,forge-sum,flip";
			outcome_exclusive(true);
			if (!i)
				try_directory(dir, true);
			outcome_exclusive(false);
			test.kinds = kinds_wanted;
			free(dir);
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("robust: %" PRIu64 " damaged captures, %" PRIu64 " failures, %" PRIu64
	       " violations under a weaker rule, %.1f s\n",
	       test.runs, test.failures, test.weaker,
	       (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	return test.failures ? 1 : 0;
}
