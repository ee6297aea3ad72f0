/* SPDX-License-Identifier: GPL-2.0-or-later */
/* extraction.c - nbdaudit's option --extract. See extraction.h. */
#include "extraction.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/create.h"
#include "evidence/evidence.h"

void extraction_close(struct extraction *x)
{
	if (x->in >= 0)
		close(x->in);
	if (x->scratch >= 0)
		close(x->scratch);
	if (x->out >= 0)
		close(x->out);
	x->in = x->scratch = x->out = -1;
}

/* An empty file without a name, in $TMPDIR or /tmp. */
static int open_scratch(void)
{
	const char *folder = getenv("TMPDIR");
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/nbdaudit-XXXXXX", folder && *folder ? folder : "/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

bool extraction_open(struct extraction *x, const char *file, const struct audit_options *o)
{
	char err[256];
	struct stat st;

	x->in = x->scratch = x->out = -1;
	if (!o->extract)
		return true;
	if (!strcmp(file, "-")) {
		nbds_complain("--extract reads the capture several times: standard input will not "
			      "do, name a file");
		return false;
	}
	x->in = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (x->in < 0)
		return true; /* which the audit says */
	if (fstat(x->in, &st) < 0 || !S_ISREG(st.st_mode)) {
		nbds_complain("%s: --extract reads the capture several times: it has to be a file",
			      file);
		extraction_close(x);
		return false;
	}
	x->scratch = open_scratch();
	if (x->scratch < 0) {
		nbds_complain("cannot make a temporary file: %s", strerror(errno));
		extraction_close(x);
		return false;
	}
	x->out = strcmp(o->shared.save, "-")
			 ? nbds_create_or_keep(o->shared.save, 0600, err, sizeof(err))
			 : dup(STDOUT_FILENO);
	if (x->out < 0) {
		nbds_complain("%s: %s", o->shared.save,
			      strcmp(o->shared.save, "-") ? err : strerror(errno));
		extraction_close(x);
		return false;
	}
	return true;
}

bool extraction_cut(const struct extraction *x, struct nbds_pipeline *p, struct nbds_report *report,
		    const char *name, const struct audit_options *o)
{
	struct nbds_engine_config engine = o->shared.engine;
	struct nbds_evidence_config config = {
		.engine = &engine,
		.finding = nbds_report_finding(report, o->extract),
		.told = nbds_pipeline_engine(p),
		.name = name,
		.version = NBDSCOPE_VERSION,
		.in = x->in,
		.scratch = x->scratch,
		.out = x->out,
		.replace = strcmp(o->shared.save, "-") != 0,
		.anonymize = o->anonymize,
	};
	struct nbds_evidence_result result;

	/* Other addresses may be in other shards. */
	engine.shard = engine.shards = 0;
	if (!config.finding) {
		uint64_t count = nbds_report_numbered(report);

		if (count)
			nbds_complain("--extract=%" PRIu64 ": there are %" PRIu64
				      " findings in the report",
				      o->extract, count);
		else
			nbds_complain("--extract=%" PRIu64 ": there are no findings in the report",
				      o->extract);
		return false;
	}
	if (!nbds_evidence_cut(&config, &result)) {
		nbds_complain("%s: finding %" PRIu64 " is not extracted: %s", o->shared.save,
			      o->extract, result.error);
		return false;
	}
	fprintf(stderr,
		"%s: %" PRIu64 " of %" PRIu64 " frames (%" PRIu64 " bytes of %" PRIu64
		") prove finding %" PRIu64 ", the %s %s%s%s%s%s.\n",
		o->shared.save, result.frames, result.of_frames, result.bytes, result.of_bytes,
		o->extract, nbds_severity_name(config.finding->severity),
		config.finding->rule->name,
		result.renumbered ? "; connections have other numbers there" : "",
		o->anonymize ? "; addresses, names and contents are not the real ones" : "",
		result.by_bytes ? " (which bytes are zero, and which of one place are equal, can "
				  "be seen: the proof needs it)"
				: "",
		result.more ? "; by what was left out there are suspects that the capture does not "
			      "have"
			    : "");
	return true;
}
