/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * config.c - what the user has set up. See config.h.
 */
#include "config.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const config_sections[CONFIG_LISTS] = {"exports", "connections", "findings"};

void config_init(struct config *c)
{
	memset(c, 0, sizeof(*c));
	c->refresh = CONFIG_REFRESH_LEAST;
}

void config_path(char *path, size_t size)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int n = 0;

	if (base && *base == '/')
		n = snprintf(path, size, "%s/nbdscope/nbdtop.conf", base);
	else if (home && *home == '/')
		n = snprintf(path, size, "%s/.config/nbdscope/nbdtop.conf", home);
	if (n <= 0 || (size_t)n >= size)
		path[0] = '\0';
}

struct config_reading {
	struct config *c;
	char what[120]; /* that was not understood first */
};

static int wrong(struct config_reading *r, const char *section, const char *name, const char *value)
{
	if (!r->what[0])
		snprintf(r->what, sizeof(r->what), "[%.20s] %.30s = %.40s", section, name, value);
	return 0;
}

static bool choose(const char *value, const char *no, const char *yes, bool *to)
{
	*to = !strcmp(value, yes);
	return *to || !strcmp(value, no);
}

/* Seconds, with a point in every locale: that of numbers stays "C". */
static bool take_refresh(const char *value, int64_t *refresh)
{
	char *end;
	double seconds = strtod(value, &end);

	if (end == value || *end || !(seconds >= (double)CONFIG_REFRESH_LEAST / 1e9) ||
	    seconds > (double)CONFIG_REFRESH_MOST / 1e9)
		return false;
	*refresh = (int64_t)(seconds * 1e9 + 0.5);
	return true;
}

/* A value that goes on in the next lines comes in pieces. */
static bool append(char *to, size_t size, const char *value)
{
	size_t len = strlen(to);
	int n = snprintf(to + len, size - len, "%s%s", len ? " " : "", value);

	if (n >= 0 && (size_t)n < size - len)
		return true;
	to[len] = '\0';
	return false;
}

static int take(void *user, const char *section, const char *name, const char *value)
{
	struct config_reading *r = user;
	struct config *c = r->c;

	if (!strcmp(section, "screen")) {
		if ((!strcmp(name, "theme") && choose(value, "dark", "light", &c->light)) ||
		    (!strcmp(name, "times") && choose(value, "start", "day", &c->absolute)) ||
		    (!strcmp(name, "refresh") && take_refresh(value, &c->refresh)))
			return 1;
		return wrong(r, section, name, value);
	}
	for (int i = 0; i < CONFIG_LISTS; i++) {
		struct config_list *l = &c->lists[i];

		if (strcmp(section, config_sections[i]) != 0)
			continue;
		if ((!strcmp(name, "columns") && append(l->columns, sizeof(l->columns), value)) ||
		    (!strcmp(name, "sort") && strlen(value) < sizeof(l->sort) &&
		     strcpy(l->sort, value)))
			return 1;
		break;
	}
	return wrong(r, section, name, value);
}

bool config_read(struct config *c, const char *path, char *err, size_t errsize)
{
	struct config_reading r = {.c = c};
	FILE *file = *path ? fopen(path, "re") : NULL;
	int line;

	if (!file) {
		if (!*path || errno == ENOENT || errno == ENOTDIR)
			return true;
		snprintf(err, errsize, "%s: %s", path, strerror(errno));
		return false;
	}
	line = ini_parse_file(file, take, &r);
	fclose(file);
	if (!line)
		return true;
	if (line > 0)
		snprintf(err, errsize, "%s: line %d is not understood%s%s", path, line,
			 r.what[0] ? ": " : "", r.what);
	else
		snprintf(err, errsize, "%s: cannot be read", path);
	return false;
}

/* Names in lines that are not too long for a reader. */
static void write_columns(const char *columns, struct nbds_buf *b)
{
	size_t width = 0;

	nbds_buf_puts(b, "columns =");
	while (*columns) {
		size_t len = strcspn(columns, " ");

		if (width + len > 70) {
			nbds_buf_puts(b, "\n   ");
			width = 0;
		}
		nbds_buf_puts(b, " ");
		nbds_buf_add(b, columns, len);
		width += len + 1;
		columns += len;
		columns += strspn(columns, " ");
	}
	nbds_buf_puts(b, "\n");
}

void config_write(const struct config *c, struct nbds_buf *b)
{
	nbds_buf_printf(b, "# written by nbdtop\n[screen]\ntheme = %s\ntimes = %s\nrefresh = %g\n",
			c->light ? "light" : "dark", c->absolute ? "day" : "start",
			(double)c->refresh / 1e9);
	for (int i = 0; i < CONFIG_LISTS; i++) {
		const struct config_list *l = &c->lists[i];

		if (!l->columns[0] && !l->sort[0])
			continue;
		nbds_buf_printf(b, "\n[%s]\n", config_sections[i]);
		if (l->columns[0])
			write_columns(l->columns, b);
		if (l->sort[0])
			nbds_buf_printf(b, "sort = %s\n", l->sort);
	}
}
