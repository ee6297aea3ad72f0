/* SPDX-License-Identifier: GPL-2.0-or-later */
/* outputs.c - where nbdaudit's report goes. See outputs.h. */
#include "outputs.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture/create.h"

bool outputs_is_input(const char *output, char **files, int count)
{
	struct stat a, b;

	if (stat(output, &a) < 0 || !S_ISREG(a.st_mode))
		return false;
	for (int i = 0; i < count; i++)
		if (strcmp(files[i], "-") && stat(files[i], &b) == 0 && a.st_dev == b.st_dev &&
		    a.st_ino == b.st_ino)
			return true;
	return false;
}

/* The file is this one, by whatever name. */
static bool is_open(const char *path, FILE *file)
{
	struct stat a, b;

	return stat(path, &a) == 0 && fstat(fileno(file), &b) == 0 && S_ISREG(a.st_mode) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static FILE *open_output(const char *path)
{
	char err[256];
	int fd = nbds_create(path, 0666, err, sizeof(err));
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");

	if (out)
		return out;
	nbds_complain("%s: %s", path, fd < 0 ? err : strerror(errno));
	if (fd >= 0)
		close(fd);
	return NULL;
}

void outputs_paper(FILE *out, struct nbds_report_options *report)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size;

	/* The characters of the locale, and nothing else of it. */
	setlocale(LC_CTYPE, "");
	report->ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	if (!isatty(fileno(out)))
		return;
	report->colour = !(no_color && *no_color) && term && strcmp(term, "dumb");
	if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
		report->width = size.ws_col;
}

bool outputs_reader_gone(FILE *out)
{
	struct pollfd p = {.fd = fileno(out)};
	struct stat st;

	return fstat(p.fd, &st) == 0 && !S_ISREG(st.st_mode) && poll(&p, 1, 0) == 1 &&
	       (p.revents & POLLERR);
}

bool outputs_open(const struct audit_options *o, char **files, int count, FILE **out)
{
	if (o->shared.save && strcmp(o->shared.save, "-") &&
	    !nbds_may_write(o->shared.save, o->shared.overwrite))
		return false;
	if (o->extract && o->shared.save && outputs_is_input(o->shared.save, files, count)) {
		nbds_complain("%s: the evidence would overwrite the capture", o->shared.save);
		return false;
	}
	if (!o->output || !strcmp(o->output, "-"))
		return true;
	if (!audit_is_live(o) && outputs_is_input(o->output, files, count)) {
		nbds_complain("%s: the report would overwrite the capture", o->output);
		return false;
	}
	if (!nbds_may_write(o->output, o->shared.overwrite))
		return false;
	*out = open_output(o->output);
	if (!*out || !o->shared.save || !is_open(o->shared.save, *out))
		return *out != NULL;
	nbds_complain("%s and the report cannot both go to %s",
		      o->extract ? "the evidence" : "the packets", o->output);
	fclose(*out);
	return false;
}

int outputs_close(FILE *out, const struct audit_options *o)
{
	bool failed = ferror(out), gone;
	int reason = 0;

	/* What failed fails again, and says why. */
	clearerr(out);
	if (fflush(out)) {
		reason = errno;
		failed = true;
	}
	gone = reason == EPIPE || (failed && outputs_reader_gone(out));
	if (out != stdout && fclose(out) && !failed) {
		reason = errno;
		failed = true;
	}
	if (!failed)
		return 0;
	if (!gone)
		nbds_complain("cannot write the report%s%s: %s", o->output ? " to " : "",
			      o->output ? o->output : "",
			      reason ? strerror(reason) : "output error");
	return -1;
}
