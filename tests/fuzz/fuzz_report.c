/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_report.c - reports in JSON, as --baseline and --merge read them.
 *
 * The input is the file of a report, whoever wrote it.  It is loaded as an earlier report,
 * and merged: what it says is told again, and held against what was loaded.  In which form, and whether memory is always there, is taken from a sum of the
 * input.  What is no report must be refused with a reason, and what was read and written
 * again as JSON must be read again, with as many captures.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "analyzer/baseline/baseline.h"
#include "analyzer/merge/merge.h"
#include "analyzer/report/report.h"
#include "shortage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                  \
	do {                                                              \
		if (!(condition)) {                                       \
			fprintf(stderr, "fuzz_report: " #condition "\n"); \
			abort();                                          \
		}                                                         \
	} while (0)

static int in = -1, again = -1;
static char path[32], path_again[32];

/* All captures of `m`, told to `out`; how many were told without trouble. */
static size_t tell(struct nbds_merge *m, const struct nbds_report_options *options, FILE *out)
{
	struct nbds_report *r = nbds_report_new(out, options);
	size_t good = 0;
	char err[2048];

	if (!r)
		return 0;
	for (size_t i = 0; i < nbds_merge_captures(m); i++) {
		err[0] = '\0';
		CHECK(nbds_merge_name(m, i));
		if (nbds_merge_capture(m, i, r, err, sizeof(err)))
			good++;
		else
			CHECK(err[0]);
	}
	nbds_report_finish(r);
	nbds_report_free(r);
	return good;
}

/* What was written is a report, too. */
static void read_again(unsigned captures)
{
	struct nbds_compare *c;
	char err[256] = "";

	c = nbds_baseline_load(path_again, err, sizeof(err));
	if (!c)
		fprintf(stderr, "%s\n", err);
	CHECK(c);
	CHECK(nbds_compare_captures(c) == captures);
	nbds_compare_free(c);
}

static void use(uint32_t choice)
{
	static const enum nbds_report_format formats[] = {NBDS_REPORT_TEXT,  NBDS_REPORT_JSON,
							  NBDS_REPORT_HTML,  NBDS_REPORT_JUNIT,
							  NBDS_REPORT_SARIF, NBDS_REPORT_JSON,
							  NBDS_REPORT_JSON,  NBDS_REPORT_HTML};
	struct nbds_report_options options = {.format = formats[choice & 7]};
	bool scarce = choice & 8;
	struct nbds_compare *c;
	struct nbds_merge *m;
	char *file = path, err[256] = "";
	size_t captures = 0, good = 0;
	FILE *out;

	if (ftruncate(again, 0) < 0 || lseek(again, 0, SEEK_SET) < 0)
		abort();
	out = fdopen(dup(again), "w");
	CHECK(out);
	if (scarce)
		shortage_begin(3 + (choice >> 4 & 0xff));
	c = nbds_baseline_load(path, err, sizeof(err));
	CHECK(c || err[0]);
	m = nbds_merge_open(&file, 1);
	CHECK(m || scarce);
	if (m) {
		captures = nbds_merge_captures(m);
		options.several = captures > 1;
		if (c && nbds_compare_captures(c) == captures)
			options.compare = c;
		good = tell(m, &options, out);
		nbds_merge_free(m);
	}
	shortage_end();
	CHECK(fclose(out) == 0);
	if (!scarce && captures && good == captures && options.format == NBDS_REPORT_JSON && c)
		read_again((unsigned)captures);
	nbds_compare_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t sum = (uint32_t)size;

	if (in < 0) {
		in = memfd_create("report", MFD_CLOEXEC);
		again = memfd_create("again", MFD_CLOEXEC);
		CHECK(in >= 0 && again >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", in);
		snprintf(path_again, sizeof(path_again), "/proc/self/fd/%d", again);
	}
	if (ftruncate(in, 0) < 0 || (size && pwrite(in, data, size, 0) != (ssize_t)size))
		abort();
	for (size_t i = 0; i < size; i++)
		sum = (sum ^ data[i]) * 0x01000193;
	use(sum >> 16);
	return 0;
}
