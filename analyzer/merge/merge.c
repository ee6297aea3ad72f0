/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * merge.c - which reports belong together. See merge.h.
 */
#include "merge.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/vector.h>
#include <nbdscope/protocol.h>

#include "../baseline/lines.h"
#include "told.h"

/* Of docs/json.md. */
#define SCHEMA 1
/* As many as --shard takes. */
#define SHARDS_MOST 65536
/* Shards that are missing are named, up to so many. */
#define NAMED 8

#define ERROR_SIZE 512

/* A file, which is read twice. */
struct input {
	const char *path;
	FILE *spool; /* a copy of what is no file; NULL: it is opened by its name */
};

/* The report of one capture, or of a shard of one, in a file. */
struct section {
	size_t input, place; /* the file, and the section's place among all */
	uint64_t offset;     /* bytes of the file before it */
	char *file;          /* the capture, as it was named */
	char *version, *start, *end;
	uint64_t frames, bytes;
	uint64_t shard, shards; /* 0: the whole */
	uint64_t counted, told; /* findings in its summary; and those that are there, or known to
	                         * be left out */
	char *broken;           /* why it cannot be used; NULL: it can */
};

/* A capture: sections[first] to [first + count - 1]. */
struct merged {
	size_t first, count;
	bool again; /* the one before is the same capture, in another number of shards */
};

struct nbds_merge {
	struct input *inputs;
	size_t input_count;
	struct nbds_budget budget; /* counts, and has no limit */
	NBDS_VECTOR(, struct section) sections;
	NBDS_VECTOR(, struct merged) groups;
	unsigned long left_out;
	bool no_memory;
	/* while a file is read */
	size_t input;
	bool open; /* the last section has no summary yet */
	char err[ERROR_SIZE];
};

/* --- files --- */

/* A copy without a name, in $TMPDIR or /tmp. */
static FILE *spool(FILE *in)
{
	const char *folder = getenv("TMPDIR");
	char path[4096], block[65536];
	FILE *out;
	size_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/nbdaudit-XXXXXX", folder && *folder ? folder : "/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return NULL;
	unlink(path);
	out = fdopen(fd, "w+");
	if (!out) {
		close(fd);
		return NULL;
	}
	while ((n = fread(block, 1, sizeof(block), in)) > 0)
		if (fwrite(block, 1, n, out) < n)
			break;
	if (ferror(in) || ferror(out) || fflush(out)) {
		fclose(out);
		return NULL;
	}
	return out;
}

/* Where it was put, from the beginning; NULL: errno says why. Closed with input_close(). */
static FILE *input_open(struct input *in)
{
	bool standard = !strcmp(in->path, "-");
	struct stat st;
	FILE *file;

	if (in->spool) {
		rewind(in->spool);
		return in->spool;
	}
	file = standard ? stdin : fopen(in->path, "re");
	if (!file)
		return NULL;
	if (fstat(fileno(file), &st) == 0 && S_ISDIR(st.st_mode)) {
		fclose(file);
		errno = EISDIR;
		return NULL;
	}
	if (!standard && fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode))
		return file;
	errno = 0;
	in->spool = spool(file);
	if (!standard)
		fclose(file);
	if (!in->spool && !errno)
		errno = EIO;
	if (in->spool)
		rewind(in->spool);
	return in->spool;
}

static void input_close(const struct input *in, FILE *file)
{
	if (file && file != in->spool)
		fclose(file);
}

/* --- what is where --- */

/* The name of a report, for people. */
#define SHOWN 200
static const char *shown(const struct nbds_merge *m, size_t input, char buf[SHOWN])
{
	const char *path = m->inputs[input].path;

	nbds_escape_text(path, strlen(path), buf, SHOWN);
	return buf;
}

static char *copy(struct nbds_merge *m, const char *text)
{
	char *made = strdup(text ? text : "");

	m->no_memory |= !made;
	return made;
}

/* NULL without memory. */
static struct section *section_add(struct nbds_merge *m, const char *file)
{
	const struct section s = {.input = m->input, .place = m->sections.count};
	struct section *added;

	if (!nbds_vector_push(&m->sections, &m->budget, s)) {
		m->no_memory = true;
		return NULL;
	}
	added = &m->sections.at[m->sections.count - 1];
	added->file = copy(m, file);
	return added->file ? added : NULL;
}

static bool fail(struct nbds_merge *m, const struct nbds_json_place *at, const char *what)
{
	snprintf(m->err, sizeof(m->err), "line %" PRIu64 ": %s", at->line, what);
	return false;
}

/* What is known of the capture, which on an interface is known at its end. */
static void identify(struct nbds_merge *m, struct section *s, const json_t *o)
{
	if (!json_object_get(o, "frames"))
		return;
	s->frames = nbds_json_number(o, "frames");
	s->bytes = nbds_json_number(o, "bytes");
	free(s->start);
	free(s->end);
	s->start = copy(m, nbds_json_text(o, "start"));
	s->end = copy(m, nbds_json_text(o, "end"));
}

static bool index_capture(struct nbds_merge *m, const json_t *o, const struct nbds_json_place *at)
{
	const char *version = nbds_json_text(o, "version"), *file = nbds_json_text(o, "file");
	const json_t *shard = json_object_get(o, "shard");
	struct section *s;

	if (m->open)
		return fail(m, at, "a capture begins before the one before has its summary");
	if (!nbds_json_is_number(json_object_get(o, "schema")) || !version || !file)
		return fail(m, at, "it is no report of nbdaudit");
	if (nbds_json_number(o, "schema") != SCHEMA)
		return fail(m, at,
			    "the report has a form that is not known here: another version "
			    "wrote it");
	s = section_add(m, file);
	if (!s)
		return fail(m, at, "not enough memory");
	s->offset = at->offset;
	s->version = copy(m, version);
	s->start = copy(m, NULL);
	s->end = copy(m, NULL);
	m->open = true;
	identify(m, s, o);
	if (!shard)
		return true;
	s->shard = nbds_json_number(shard, "number");
	s->shards = nbds_json_number(shard, "of");
	if (!s->shard || s->shard > s->shards || s->shards > SHARDS_MOST)
		return fail(m, at, "it is of a shard that there cannot be");
	return true;
}

static bool index_line(void *ctx, json_t *o, const struct nbds_json_place *at)
{
	struct nbds_merge *m = ctx;
	const char *type = json_is_object(o) ? nbds_json_text(o, "type") : NULL;
	struct section *s;

	if (!type)
		return fail(m, at, "it is no report of nbdaudit in JSON");
	if (!strcmp(type, "capture"))
		return index_capture(m, o, at);
	if (!m->open)
		return fail(m, at,
			    "it is no report of nbdaudit: it does not begin with its capture");
	s = &m->sections.at[m->sections.count - 1];
	if (!strcmp(type, "capture-end")) {
		identify(m, s, o);
	} else if (!strcmp(type, "finding")) {
		uint64_t count = nbds_json_number(o, "count");

		s->told += count ? count : 1;
	} else if (!strcmp(type, "message") || !strcmp(type, "why") || !strcmp(type, "gone") ||
		   !strcmp(type, "baseline") || !strcmp(type, "probe") || !strcmp(type, "probed")) {
		m->left_out++;
	} else if (!strcmp(type, "summary")) {
		const json_t *findings = json_object_get(o, "findings");

		for (int l = NBDS_NOTE; l <= NBDS_VIOLATION; l++)
			s->counted += nbds_json_number(findings,
						       nbds_severity_name((enum nbds_severity)l));
		s->told += nbds_json_number(o, "left_out") + nbds_json_number(o, "no_room");
		m->open = false;
	}
	return true;
}

/* What could not be read becomes a capture that could not be. */
static void broken(struct nbds_merge *m, const char *why)
{
	struct section *s = m->open ? &m->sections.at[m->sections.count - 1]
				    : section_add(m, m->inputs[m->input].path);
	char text[ERROR_SIZE + SHOWN + 64], name[SHOWN];

	if (!s)
		return;
	snprintf(text, sizeof(text), "its report in %s cannot be used: %s",
		 shown(m, m->input, name), why);
	s->broken = copy(m, text);
	m->open = false;
}

static void index_input(struct nbds_merge *m, struct input *in)
{
	FILE *file = input_open(in);
	size_t before = m->sections.count;

	if (!file) {
		broken(m, strerror(errno));
		return;
	}
	m->open = false;
	m->err[0] = '\0';
	if (!nbds_json_lines(file, index_line, m, m->err, sizeof(m->err)))
		broken(m, m->err);
	else if (m->open)
		broken(m, "it has no summary, and so is not whole");
	else if (m->sections.count == before)
		broken(m, "it is empty");
	input_close(in, file);
}

/* --- which belong together --- */

static int text_order(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* Of one capture. */
static int capture_order(const struct section *a, const struct section *b)
{
	int order = text_order(a->file, b->file);

	/* one that cannot be used belongs to nobody */
	if (!order && (a->broken || b->broken))
		order = a->broken && b->broken ? (a->place < b->place ? -1 : a->place > b->place)
			: a->broken            ? -1
					       : 1;
	if (!order)
		order = text_order(a->version, b->version);
	if (!order)
		order = text_order(a->start, b->start);
	if (!order)
		order = text_order(a->end, b->end);
	if (!order)
		order = a->frames < b->frames ? -1 : a->frames > b->frames;
	if (!order)
		order = a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
	return order;
}

/* And of one number of shards, in their order. */
static int section_order(const void *x, const void *y)
{
	const struct section *a = x, *b = y;
	int order = capture_order(a, b);

	if (!order)
		order = a->shards < b->shards ? -1 : a->shards > b->shards;
	if (!order)
		order = a->shard < b->shard ? -1 : a->shard > b->shard;
	return order ? order : a->place < b->place ? -1 : a->place > b->place;
}

/* Captures in the order in which they were first met. */
static const struct nbds_merge *sorting;

static size_t met(const struct merged *g)
{
	size_t first = sorting->sections.at[g->first].place;

	for (size_t i = 1; i < g->count; i++)
		if (sorting->sections.at[g->first + i].place < first)
			first = sorting->sections.at[g->first + i].place;
	return first;
}

static int group_order(const void *a, const void *b)
{
	size_t x = met(a), y = met(b);

	return x < y ? -1 : x > y;
}

static bool put_together(struct nbds_merge *m)
{
	if (!m->sections.count)
		return true;
	qsort(m->sections.at, m->sections.count, sizeof(m->sections.at[0]), section_order);
	for (size_t i = 0; i < m->sections.count; i++) {
		const struct section *s = &m->sections.at[i], *before = i ? s - 1 : NULL;
		struct merged g = {.first = i, .count = 1};

		if (before && !capture_order(before, s)) {
			if (before->shards == s->shards) {
				m->groups.at[m->groups.count - 1].count++;
				continue;
			}
			g.again = true;
		}
		if (!nbds_vector_push(&m->groups, &m->budget, g))
			return false;
	}
	sorting = m;
	qsort(m->groups.at, m->groups.count, sizeof(m->groups.at[0]), group_order);
	return true;
}

/* --- the interface --- */

struct nbds_merge *nbds_merge_open(char **files, size_t count)
{
	struct nbds_merge *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->inputs = calloc(count, sizeof(*m->inputs));
	if (!m->inputs) {
		free(m);
		return NULL;
	}
	m->input_count = count;
	for (m->input = 0; m->input < count; m->input++) {
		m->inputs[m->input].path = files[m->input];
		index_input(m, &m->inputs[m->input]);
	}
	if (m->no_memory || !put_together(m)) {
		nbds_merge_free(m);
		return NULL;
	}
	return m;
}

void nbds_merge_free(struct nbds_merge *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->sections.count; i++) {
		struct section *s = &m->sections.at[i];

		free(s->file);
		free(s->version);
		free(s->start);
		free(s->end);
		free(s->broken);
	}
	for (size_t i = 0; i < m->input_count; i++)
		if (m->inputs[i].spool)
			fclose(m->inputs[i].spool);
	nbds_vector_free(&m->sections, &m->budget);
	nbds_vector_free(&m->groups, &m->budget);
	free(m->inputs);
	free(m);
}

size_t nbds_merge_captures(const struct nbds_merge *m)
{
	return m->groups.count;
}

const char *nbds_merge_summary_only(const struct nbds_merge *m)
{
	for (size_t i = 0; i < m->sections.count; i++) {
		const struct section *s = &m->sections.at[i];

		if (!s->broken && s->counted > s->told)
			return m->inputs[s->input].path;
	}
	return NULL;
}

unsigned long nbds_merge_left_out(const struct nbds_merge *m)
{
	return m->left_out;
}

const char *nbds_merge_name(const struct nbds_merge *m, size_t n)
{
	return m->sections.at[m->groups.at[n].first].file;
}

/* --- a capture --- */

struct section_reading {
	struct told_parts *told;
	bool first, over;
	char *err;
	size_t errsize;
};

static bool read_line(void *ctx, json_t *o, const struct nbds_json_place *at)
{
	struct section_reading *r = ctx;
	const char *type = json_is_object(o) ? nbds_json_text(o, "type") : NULL;

	(void)at;
	r->err[0] = '\0';
	if (!type || (r->first && strcmp(type, "capture"))) {
		snprintf(r->err, r->errsize, "it was written on meanwhile");
		return false;
	}
	r->first = false;
	if (!strcmp(type, "capture") || !strcmp(type, "capture-end"))
		return told_capture(r->told, o);
	if (!strcmp(type, "summary")) {
		r->over = told_summary(r->told, o);
		return false;
	}
	return told_object(r->told, o);
}

static bool read_section(struct nbds_merge *m, const struct section *s, struct told_parts *told,
			 char *err, size_t errsize)
{
	struct input *in = &m->inputs[s->input];
	struct section_reading r = {.told = told, .first = true, .err = err, .errsize = errsize};
	FILE *file = input_open(in);

	if (!file || fseeko(file, (off_t)s->offset, SEEK_SET)) {
		snprintf(err, errsize, "%s", strerror(errno));
		input_close(in, file);
		return false;
	}
	if (nbds_json_lines(file, read_line, &r, err, errsize))
		snprintf(err, errsize, "it was written on meanwhile");
	input_close(in, file);
	return r.over;
}

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *format,
						      ...)
{
	size_t len = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + len, size - len, format, args);
	va_end(args);
}

/* What is wrong with its shards, in words; "": nothing. */
static void look_over(const struct nbds_merge *m, const struct merged *g, char *text, size_t size)
{
	const struct section *s = &m->sections.at[g->first];
	uint64_t next = 1, missing = 0;
	char names[NAMED * 10] = "", name[SHOWN];

	text[0] = '\0';
	for (size_t i = 1; i < g->count; i++) {
		if (s[i].shard != s[i - 1].shard)
			continue;
		add(text, size, "%s", *text ? "; " : "");
		if (s->shards)
			add(text, size, "shard %" PRIu64 " of %" PRIu64 " is there twice (",
			    s[i].shard, s->shards);
		else
			add(text, size, "its report is there twice (");
		add(text, size, "%s, ", shown(m, s[i - 1].input, name));
		add(text, size, "%s)", shown(m, s[i].input, name));
	}
	for (size_t i = 0; i <= g->count && s->shards; i++) {
		uint64_t shard = i < g->count ? s[i].shard : s->shards + 1;

		for (; next < shard; next++) {
			if (missing < NAMED)
				add(names, sizeof(names), "%s%" PRIu64, missing ? ", " : "", next);
			missing++;
		}
		next = shard + 1;
	}
	if (missing) {
		add(text, size, "%sshard%s %s", *text ? "; " : "", missing == 1 ? "" : "s", names);
		if (missing > NAMED)
			add(text, size, " and %" PRIu64 " more", missing - NAMED);
		add(text, size, " of %" PRIu64 " %s missing", s->shards,
		    missing == 1 ? "is" : "are");
	}
	if (g->again)
		add(text, size, "%sthe same capture is there in another number of shards, too",
		    *text ? "; " : "");
}

/* It cannot be said what there was. */
static void tell_unread(struct nbds_report *r, const char *file, const char *error)
{
	const struct nbds_told told = {
		.error = error, .why = "its report cannot be used", .unaudited = true};

	nbds_report_told(r, file, &told);
}

bool nbds_merge_capture(struct nbds_merge *m, size_t n, struct nbds_report *r, char *err,
			size_t errsize)
{
	const struct merged *g = &m->groups.at[n];
	const struct section *s = &m->sections.at[g->first];
	char why[1024], unread[ERROR_SIZE], error[2048], name[SHOWN];
	const char *of_capture;
	struct told_parts *told;

	if (s->broken) {
		snprintf(err, errsize, "%s", s->broken);
		tell_unread(r, s->file, s->broken);
		return false;
	}
	look_over(m, g, why, sizeof(why));
	told = told_new(err, errsize);
	if (!told) {
		tell_unread(r, s->file, err);
		return false;
	}
	for (size_t i = 0; i < g->count; i++) {
		if (i && s[i].shard == s[i - 1].shard)
			continue; /* the first of them will do */
		if (read_section(m, &s[i], told, unread, sizeof(unread)))
			continue;
		snprintf(err, errsize, "its report in %s cannot be used: %s",
			 shown(m, s[i].input, name), unread);
		tell_unread(r, s->file, err);
		told_free(told);
		return false;
	}
	of_capture = told_error(told);
	snprintf(error, sizeof(error), "%s%s%s", why, *why && *of_capture ? "; " : "", of_capture);
	nbds_report_told(r, s->file, told_finish(told, error, *why ? why : NULL));
	told_free(told);
	snprintf(err, errsize, "%s", error);
	return !*error;
}
