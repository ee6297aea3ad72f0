/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_capture.c - the whole way from the bytes of a capture file to reports.
 *
 * The input is a capture file, of any format.  It is read from memory (a
 * memfd), and its messages, connections, findings and summary are written to
 * nowhere: everything that nbdaudit does with a file but for its options.  As text, page
 * or as JSON, with or without messages, and with how much memory, is taken from a
 * sum of the input: each a third of the time that all would take.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "analyzer/pipeline/pipeline.h"
#include "analyzer/report/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t nowhere(void *cookie, const char *bytes, size_t size)
{
	(void)cookie;
	(void)bytes;
	return (ssize_t)size;
}

static void report(const char *path, FILE *out, uint32_t choice)
{
	static const enum nbds_report_format formats[] = {NBDS_REPORT_TEXT, NBDS_REPORT_JSON,
							  NBDS_REPORT_TEXT, NBDS_REPORT_HTML};
	struct nbds_report_options options = {
		.format = formats[choice & 3],
		.severity = NBDS_NOTE,
		.messages = formats[choice & 3] != NBDS_REPORT_HTML && choice & 8,
		.memory = choice & 16 ? 1 << 16 : 0,
	};
	/* Small, so that forgetting is tried too. */
	struct nbds_pipeline_config config = {.engine.memory = (uint64_t)1
							       << (choice & 4 ? 20 : 16)};
	struct nbds_report *r = nbds_report_new(out, &options);
	struct nbds_pipeline *p;
	enum nbds_step step;
	char err[256];

	if (!r)
		abort();
	nbds_report_callbacks(r, &config.ops);
	config.ctx = r;
	p = nbds_pipeline_open(path, &config, err, sizeof(err));
	if (p) {
		nbds_report_begin(r, path, p);
		do
			step = nbds_pipeline_step(p, 64);
		while (step <= NBDS_STEP_IDLE);
		nbds_report_end(r, nbds_pipeline_error(p));
		nbds_pipeline_close(p, NULL, 0);
	} else {
		nbds_report_unreadable(r, path, err);
	}
	nbds_report_finish(r);
	nbds_report_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t sum = (uint32_t)size;
	static int fd = -1;
	static FILE *out;
	static char path[32];

	if (fd < 0) {
		fd = memfd_create("capture", MFD_CLOEXEC);
		out = fopencookie(NULL, "w", (cookie_io_functions_t){.write = nowhere});
		if (fd < 0 || !out)
			abort();
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (ftruncate(fd, 0) < 0 || (size && pwrite(fd, data, size, 0) != (ssize_t)size))
		abort();
	for (size_t i = 0; i < size; i++)
		sum = (sum ^ data[i]) * 0x01000193;
	report(path, out, sum >> 16);
	return 0;
}
