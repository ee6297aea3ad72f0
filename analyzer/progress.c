/* SPDX-License-Identifier: GPL-2.0-or-later */
/* progress.c - what nbdaudit shows of its way on a terminal. See progress.h. */
#include "progress.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ms between two signs of life on an interface, and between two lines about a file. */
#define BEAT_LIVE  10000
#define BEAT_SHORT 200

void progress_begin(struct progress *p, const char *file, const struct nbds_report_options *report,
		    FILE *out)
{
	memset(p, 0, sizeof(*p));
	p->file = file;
	p->live = report->live;
	/* What is printed meanwhile on the same terminal would run into it. */
	p->lines = p->live && isatty(fileno(out));
	p->on = isatty(STDERR_FILENO) && !(report->messages && isatty(fileno(out)));
	clock_gettime(CLOCK_MONOTONIC, &p->last);
	/* The first sign of life comes sooner. */
	if (p->lines)
		p->last.tv_sec -= BEAT_LIVE / 1000 - 2;
}

void progress_erase(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}

void progress_show(struct progress *p, struct nbds_pipeline *pipeline,
		   const struct nbds_report *report)
{
	struct nbds_engine_totals totals;
	struct nbds_pipeline_info info;
	struct winsize size;
	struct timespec now;
	char line[256];
	int len;

	if (!p->on)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if ((now.tv_sec - p->last.tv_sec) * 1000 + (now.tv_nsec - p->last.tv_nsec) / 1000000 <
	    (p->lines ? BEAT_LIVE : BEAT_SHORT))
		return;
	p->last = now;
	nbds_pipeline_info(pipeline, &info);
	if (p->lines) {
		nbds_engine_totals(nbds_pipeline_engine(pipeline), &totals);
		fprintf(stderr,
			"Listening on %s: %" PRIu64 " frames, %" PRIu64 " dropped, %" PRIu32
			" connections, %" PRIu64 " findings\n",
			p->file, info.capture.frames, info.capture.dropped, totals.connections,
			nbds_report_findings(report));
		return;
	}
	len = snprintf(line, sizeof(line), "%" PRIu64 " frames, %" PRIu64 " MiB",
		       info.capture.frames, info.capture.position >> 20);
	if (info.capture.size)
		len += snprintf(
			line + len, sizeof(line) - (size_t)len, " of %" PRIu64 " (%d %%)",
			info.capture.size >> 20,
			(int)((double)info.capture.position * 100 / (double)info.capture.size));
	len += snprintf(line + len, sizeof(line) - (size_t)len, ", %" PRIu64 " findings  ",
			nbds_report_findings(report));
	/* The name of the file, as far as there is room. */
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
		size.ws_col = 80;
	if (len >= size.ws_col)
		len = size.ws_col - 1;
	nbds_escape_text(p->file, strlen(p->file), line + len, sizeof(line) - (size_t)len);
	if (strlen(line) >= size.ws_col)
		line[size.ws_col - 1] = '\0';
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	p->shown = true;
}
