/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * top.c SCALE - is nbdtop's own work linear in the traffic?
 *
 * Shapes of traffic in which one thing grows (shapes.c) are read as nbdtop's worker reads
 * them, with snapshots between, at N and at 4 N. The blocks of code that were entered are
 * counted in nbdtop's files alone: more than 5 times as many for 4 times the traffic fail,
 * and so does memory that is not what was allowed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/pipeline/pipeline.h"
#include "tui/snapshot.h"
#include "tui/told.h"

#define ROWS_MAX 2000 /* as the worker has it */
#define MEMORY   ((uint64_t)8 << 20)
#define BATCH    512

static uint64_t operations;

void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
	operations++;
}

struct work {
	struct told told;
	struct snapshot snapshots[2];
	struct latency_sum sum;
	uint64_t most; /* bytes of rows */
};

static void snapshot(struct work *w, unsigned turn, struct nbds_pipeline *p)
{
	struct snapshot *s = &w->snapshots[turn % 2];
	bool second = turn % 10 == 0;

	if (second)
		rows_age(&w->told.rows, nbds_pipeline_engine(p), INT64_MIN);
	rows_refresh(&w->told.rows, second, 1, false);
	snapshot_rows(s, &w->told.rows, ROWS_MAX);
	snapshot_findings(s, &w->told.findings);
	s->wanted = (struct wanted){.export = 1, .connection = 1};
	snapshot_wanted(s, &w->told.rows);
}

static uint64_t run(const char *path, uint64_t *frames, uint64_t *bytes)
{
	struct work *w = calloc(1, sizeof(*w));
	struct nbds_pipeline_config config = {.ops = told_ops};
	struct nbds_pipeline_info info;
	struct nbds_pipeline *p;
	char err[256];
	unsigned turn = 0;

	if (!w)
		exit(2);
	rows_init(&w->told.rows, MEMORY, 512);
	findings_open(&w->told.findings, 4096);
	w->told.log = log_new(65536);
	config.ctx = &w->told;
	config.engine.keep_ended = true;
	p = nbds_pipeline_open(path, &config, err, sizeof(err));
	if (!p || !w->told.log) {
		fprintf(stderr, "%s\n", err);
		exit(2);
	}
	operations = 0;
	while (nbds_pipeline_step(p, BATCH) == NBDS_STEP_MORE) {
		if (rows_crowded(&w->told.rows))
			rows_age(&w->told.rows, nbds_pipeline_engine(p), INT64_MIN);
		if (w->told.rows.budget.used > w->most)
			w->most = w->told.rows.budget.used;
		/* Ten a second, at some 40,000 packets a second. */
		if (++turn % 8 == 0)
			snapshot(w, turn / 8, p);
	}
	snapshot(w, 0, p);
	*bytes = w->most;
	nbds_pipeline_info(p, &info);
	*frames = info.capture.frames;
	nbds_pipeline_close(p, NULL, 0);
	for (int i = 0; i < 2; i++)
		snapshot_free(&w->snapshots[i]);
	findings_close(&w->told.findings);
	rows_free(&w->told.rows);
	log_free(w->told.log);
	free(w);
	return operations;
}

static uint64_t measure(const char *scale, const char *shape, unsigned count, uint64_t *frames,
			uint64_t *bytes)
{
	char path[] = "/tmp/nbdscope-scale-XXXXXX", command[512];
	int fd = mkstemp(path);
	uint64_t result;

	if (fd < 0)
		exit(2);
	close(fd);
	snprintf(command, sizeof(command), "'%s' --write %s %u >%s", scale, shape, count, path);
	if (system(command) != 0)
		exit(2);
	result = run(path, frames, bytes);
	unlink(path);
	return result;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		unsigned count;
		bool held; /* all of it is there at once, and is listed */
	} shapes[] = {
		{"short-connections", 5000, false},
		{"short-servers", 2500, false},
		{"servers", 2000, true},
		{"writing-connections", 2000, true},
		{"flushing-connections", 2000, true},
		{"names", 2500, false},
		{"wrong-reads", 2500, false},
		{"waiting-reads", 2500, false},
	};
	int bad = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s SCALE\n", argv[0]);
		return 2;
	}
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		uint64_t frames[2], bytes[2], n, n4;
		double ratio;
		bool good;

		n = measure(argv[1], shapes[i].name, shapes[i].count, &frames[0], &bytes[0]);
		n4 = measure(argv[1], shapes[i].name, 4 * shapes[i].count, &frames[1], &bytes[1]);
		ratio = n ? (double)n4 / (double)n : 99;
		good = ratio <= 5 && (shapes[i].held || bytes[1] <= MEMORY + (2 << 20));
		printf("%-22s %6u to %6u: %9" PRIu64 " to %10" PRIu64 " blocks, %6.1f a frame, "
		       "%4.2f times; %6" PRIu64 " to %6" PRIu64 " KiB%s\n",
		       shapes[i].name, shapes[i].count, 4 * shapes[i].count, n, n4,
		       (double)n4 / (double)frames[1], ratio, bytes[0] >> 10, bytes[1] >> 10,
		       good ? "" : "  TOO MUCH");
		fflush(stdout);
		bad += !good;
	}
	return bad ? 1 : 0;
}
