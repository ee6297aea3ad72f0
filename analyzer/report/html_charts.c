/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * html_charts.c - what happened when, and where, as charts.
 *
 * A chart's picture has one unit for each span of time, and is stretched to the width that
 * there is; its labels are text beside it, so that they stay legible at any width.  Numbers
 * stand beside it as well, for the script, which shows those at the pointer.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <base/clock.h>

#include "html.h"

#define HEIGHT    100 /* units of a chart */
#define MAPS_OPEN 2u  /* maps of offsets that are not folded */

struct chart {
	struct nbds_report *r;
	const struct activity *a;
	unsigned spans;
};

struct chart_series {
	const char *name, *class;
	bool area;
	double at[ACTIVITY_SPANS]; /* below 0: nothing to show */
};

enum unit { UNIT_RATE, UNIT_TIME, UNIT_BYTES };

static void put_value(struct nbds_buf *b, enum unit unit, double value)
{
	uint64_t n = value < 0 ? 0 : value > 1.8e19 ? UINT64_MAX : (uint64_t)(value + 0.5);

	if (unit == UNIT_TIME)
		nbds_buf_duration(b, n);
	else
		nbds_buf_size(b, n);
	if (unit == UNIT_RATE)
		nbds_buf_puts(b, "/s");
}

/* The place of a value, HEIGHT being the top. */
static double height_of(double value, double low, double most, bool logarithmic)
{
	if (value <= low || most <= low)
		return value > low ? HEIGHT : 0;
	if (logarithmic)
		return log2(value / low) / log2(most / low) * HEIGHT;
	return value / most * HEIGHT;
}

/* A number of the picture, with at most one decimal. */
static void put_number(struct nbds_buf *b, double n)
{
	long tenths = (long)(n * 10 + 0.5);

	if (tenths % 10)
		nbds_buf_printf(b, "%ld.%ld", tenths / 10, tenths % 10);
	else
		nbds_buf_printf(b, "%ld", tenths / 10);
}

static void put_line(const struct chart *c, const struct chart_series *s, double low, double most,
		     bool logarithmic)
{
	struct nbds_buf *b = &c->r->line;
	bool inside = false;

	nbds_buf_printf(b, "<path class=\"%s %s\" d=\"", s->area ? "area" : "line", s->class);
	for (unsigned i = 0; i < c->spans; i++) {
		double y;

		if (s->at[i] < 0) {
			if (inside && s->area)
				nbds_buf_printf(b, "V%dz", HEIGHT);
			inside = false;
			continue;
		}
		y = HEIGHT - height_of(s->at[i], low, most, logarithmic);
		if (!inside && s->area)
			nbds_buf_printf(b, "M%u %dV", i, HEIGHT);
		else if (!inside)
			nbds_buf_printf(b, "M%u ", i);
		else
			nbds_buf_puts(b, "V");
		put_number(b, y);
		nbds_buf_printf(b, "H%u", i + 1);
		inside = true;
	}
	if (inside && s->area)
		nbds_buf_printf(b, "V%dz", HEIGHT);
	nbds_buf_puts(b, "\"/>\n");
}

/* When there was something to find: a tick for the worst. */
static void put_marks(const struct chart *c)
{
	struct nbds_buf *b = &c->r->line;

	for (unsigned i = 0; i < c->spans; i++)
		for (int s = NBDS_LEVELS; s-- > NBDS_HAZARD;)
			if (c->a->spans[i].findings[s]) {
				nbds_buf_printf(b, "<path class=\"mark s-%s\" d=\"M%u.5 0V%d\"/>\n",
						nbds_severity_name((enum nbds_severity)s), i,
						HEIGHT);
				break;
			}
}

static void put_time(const struct chart *c, unsigned span)
{
	nbds_buf_puts(&c->r->line, "<span>");
	nbds_buf_duration(&c->r->line, (uint64_t)c->a->width * span);
	nbds_buf_puts(&c->r->line, "</span>");
}

static void put_times(const struct chart *c)
{
	nbds_buf_puts(&c->r->line, "<div class=\"x\" aria-hidden=\"true\">");
	put_time(c, 0);
	put_time(c, c->spans / 2);
	put_time(c, c->spans);
	nbds_buf_puts(&c->r->line, "</div>\n");
}

static void put_legend(const struct chart *c, const struct chart_series *s, unsigned count)
{
	struct nbds_buf *b = &c->r->line;

	nbds_buf_puts(b, "<ul class=\"legend\">");
	for (unsigned i = 0; i < count; i++)
		nbds_buf_printf(b, "<li class=\"%s\">%s</li>", s[i].class, s[i].name);
	nbds_buf_puts(b, "</ul>");
}

static void put_chart(const struct chart *c, const char *title, const char *words, enum unit unit,
		      const struct chart_series *s, unsigned count)
{
	double most = 0, low = unit == UNIT_TIME ? 1e300 : 0;
	bool logarithmic = unit == UNIT_TIME;
	struct nbds_buf *b = &c->r->line;
	unsigned peak = 0;

	for (unsigned k = 0; k < count; k++) {
		for (unsigned i = 0; i < c->spans; i++) {
			if (s[k].at[i] > most) {
				most = s[k].at[i];
				peak = i;
			}
			if (logarithmic && s[k].at[i] >= 0 && s[k].at[i] < low)
				low = s[k].at[i];
		}
	}
	if (most <= 0)
		return;
	if (logarithmic) {
		low = low / 2 < 1 ? 1 : low / 2;
		most *= 1.1;
	}
	nbds_buf_printf(b, "<figure class=\"chart\"><figcaption><h3>%s</h3> <span>%s</span>", title,
			words);
	put_legend(c, s, count);
	nbds_buf_puts(b, "</figcaption>\n<div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">"
			 "<span>");
	put_value(b, unit, most);
	nbds_buf_puts(b, "</span><span>");
	if (!logarithmic)
		put_value(b, unit, most / 2);
	nbds_buf_puts(b, "</span><span>");
	put_value(b, unit, low);
	nbds_buf_printf(b,
			"</span></div>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u "
			"%d\" preserveAspectRatio=\"none\" role=\"img\" data-width=\"%" PRId64
			"\" data-unit=\"%d\" aria-label=\"%s over time; the most is ",
			c->spans, HEIGHT, c->a->width, (int)unit, title);
	put_value(b, unit, logarithmic ? most / 1.1 : most);
	nbds_buf_puts(b, ", after ");
	nbds_buf_duration(b, (uint64_t)c->a->width * peak);
	nbds_buf_printf(b, "\">\n<path class=\"grid\" d=\"M0 .5H%u", c->spans);
	nbds_buf_printf(b, "M0 %dH%uM0 %d.5H%u\"/>\n", HEIGHT / 2, c->spans, HEIGHT - 1, c->spans);
	for (unsigned k = 0; k < count; k++)
		put_line(c, &s[k], low, most, logarithmic);
	put_marks(c);
	nbds_buf_puts(b, "</svg>\n");
	nbds_buf_puts(b, "</div>");
	put_times(c);
	for (unsigned k = 0; k < count; k++) {
		nbds_buf_printf(b, "<data class=\"series\" hidden value=\"%s", s[k].name);
		for (unsigned i = 0; i < c->spans; i++)
			if (s[k].at[i] < 0)
				nbds_buf_puts(b, ",");
			else
				nbds_buf_printf(b, unit == UNIT_RATE ? ",%.6g" : ",%.0f",
						s[k].at[i]);
		nbds_buf_puts(b, "\"></data>\n");
	}
	nbds_buf_puts(b, "</figure>\n");
	nbds_html_write(c->r);
}

static void put_throughput(const struct chart *c, struct chart_series *s)
{
	double seconds = (double)c->a->width / 1e9;

	s[0] = (struct chart_series){.name = "read", .class = "c-read", .area = true};
	s[1] = (struct chart_series){.name = "written", .class = "c-write"};
	for (unsigned i = 0; i < c->spans; i++)
		for (int k = 0; k < 2; k++)
			s[k].at[i] = (double)c->a->spans[i].bytes[k] / seconds;
	put_chart(c, "Throughput", "data that was read and written, when it was answered",
		  UNIT_RATE, s, 2);
}

static void put_latency(const struct chart *c, struct chart_series *s)
{
	static const struct {
		const char *name, *class;
		enum activity_kind kind;
		double percent;
	} lines[] = {
		{"read p50", "c-read", ACTIVITY_READ, 50},
		{"read p99", "c-read dash", ACTIVITY_READ, 99},
		{"write p50", "c-write", ACTIVITY_WRITE, 50},
		{"write p99", "c-write dash", ACTIVITY_WRITE, 99},
		{"flush p50", "c-flush", ACTIVITY_FLUSH, 50},
		{"flush p99", "c-flush dash", ACTIVITY_FLUSH, 99},
	};
	unsigned count = 0;

	for (size_t k = 0; k < sizeof(lines) / sizeof(lines[0]); k++) {
		bool any = false;

		s[count] = (struct chart_series){.name = lines[k].name, .class = lines[k].class};
		for (unsigned i = 0; i < c->spans; i++) {
			const struct nbds_latency *l = c->a->spans[i].latency[lines[k].kind];

			s[count].at[i] = l ? (double)nbds_latency_percentile(l, lines[k].percent)
					   : -1;
			any |= l != NULL;
		}
		count += any;
	}
	put_chart(c, "Latency", "from a request to the end of its answer, logarithmic", UNIT_TIME,
		  s, count);
}

static void put_unflushed(const struct chart *c, struct chart_series *s)
{
	struct nbds_buf words = {0};
	double last = 0;

	s[0] = (struct chart_series){.name = "not flushed", .class = "c-unflushed", .area = true};
	for (unsigned i = 0; i < c->spans; i++) {
		const struct activity_span *span = &c->a->spans[i];

		s[0].at[i] = last;
		if (!span->unflushed_seen)
			continue;
		if ((double)span->unflushed > last)
			s[0].at[i] = (double)span->unflushed;
		last = (double)span->unflushed_last;
	}
	nbds_buf_puts(&words, "written with success, and covered by no flush or FUA yet; ");
	nbds_buf_size(&words, c->a->unflushed);
	nbds_buf_puts(&words, " at the end");
	put_chart(c, "Unflushed bytes", nbds_buf_text(&words), UNIT_BYTES, s, 1);
	nbds_buf_free(&words);
}

/* --- offsets --- */

/* How dark a cell is: 0 (nothing) to 4. */
static unsigned shade(uint32_t n, uint32_t most)
{
	if (!n)
		return 0;
	if (n >= most / 2)
		return 4;
	if (n >= most / 8)
		return 3;
	return n >= most / 32 ? 2 : 1;
}

static uint32_t touched(const struct activity_map *m, unsigned column, unsigned row, unsigned i)
{
	return m->cells[((size_t)column * ACTIVITY_RANGES + row) * 2 + i];
}

struct map {
	const struct chart *c;
	const struct activity_map *m;
	const struct nbds_export *export;
	unsigned columns, rows;
	uint32_t most[2];                                 /* of a cell: reads, writes */
	uint8_t found[ACTIVITY_COLUMNS][ACTIVITY_RANGES]; /* the worst level of findings there */
};

/* The upper half of a cell is for reads, the lower one for writes. Offset 0 is at the
 * bottom. */
static void put_cells(const struct map *map, unsigned which)
{
	static const char *const classes[] = {"m-read", "m-write"};
	struct nbds_buf *b = &map->c->r->line;

	for (unsigned level = 1; level <= 4; level++) {
		nbds_buf_printf(b, "<path class=\"%s d%u\" d=\"", classes[which], level);
		for (unsigned row = 0; row < map->rows; row++) {
			for (unsigned x = 0, run; x < map->columns; x += run) {
				run = 1;
				if (shade(touched(map->m, x, row, which), map->most[which]) !=
				    level)
					continue;
				while (x + run < map->columns &&
				       shade(touched(map->m, x + run, row, which),
					     map->most[which]) == level)
					run++;
				nbds_buf_printf(b, "M%u %u%sh%uv.5h-%uz", x * 2,
						map->rows - 1 - row, which ? ".5" : "", run * 2,
						run * 2);
			}
		}
		nbds_buf_puts(b, "\"/>\n");
	}
}

static void find(struct map *map, const struct nbds_finding *f)
{
	int64_t since = nbds_elapsed(map->c->a->start, activity_moment(f));
	const struct nbds_connection *c;
	uint64_t column, row;

	if (f->severity < NBDS_HAZARD || !f->has_range || !f->export_name ||
	    f->export_name_len != map->export->name_len ||
	    memcmp(f->export_name, map->export->name, f->export_name_len) != 0)
		return;
	/* another server may have one of this name */
	c = nbds_report_connection(map->c->r, f->connection);
	if (c && !nbds_addr_equal(&c->server, &map->export->server))
		return;
	column = since < 0 ? 0 : (uint64_t)since / (uint64_t)map->c->a->width / 2;
	row = f->offset / map->m->range;
	if (column < map->columns && row < map->rows &&
	    map->found[column][row] < (uint8_t)f->severity)
		map->found[column][row] = (uint8_t)f->severity;
}

static void put_found(const struct map *map)
{
	struct nbds_buf *b = &map->c->r->line;

	for (unsigned x = 0; x < map->columns; x++)
		for (unsigned row = 0; row < map->rows; row++)
			if (map->found[x][row])
				nbds_buf_printf(
					b,
					"<rect class=\"mark s-%s\" x=\"%u\" y=\"%u\" "
					"width=\"2\" height=\"1\"/>\n",
					nbds_severity_name((enum nbds_severity)map->found[x][row]),
					x * 2, map->rows - 1 - row);
}

static void put_offset(struct nbds_buf *b, uint64_t bytes)
{
	nbds_buf_puts(b, "<span>");
	nbds_buf_size(b, bytes);
	nbds_buf_puts(b, "</span>");
}

static void put_map(struct map *map)
{
	struct nbds_buf *b = &map->c->r->line;
	char server[NBDS_ADDR_TEXT];
	uint64_t top;

	map->columns = (map->c->spans + 1) / 2;
	map->rows = (unsigned)(map->m->most / map->m->range) + 1;
	if (!map->rows || map->rows > ACTIVITY_RANGES || map->columns > ACTIVITY_COLUMNS)
		return;
	for (unsigned x = 0; x < map->columns; x++)
		for (unsigned row = 0; row < map->rows; row++)
			for (unsigned i = 0; i < 2; i++)
				if (touched(map->m, x, row, i) > map->most[i])
					map->most[i] = touched(map->m, x, row, i);
	for (int s = NBDS_HAZARD; s < NBDS_LEVELS; s++)
		for (size_t i = 0; i < map->c->r->keep.by[s].count; i++)
			find(map, map->c->r->keep.by[s].at[i].finding);
	top = map->m->range > UINT64_MAX / map->rows ? UINT64_MAX : map->m->range * map->rows;
	nbds_buf_puts(b, "<figure class=\"chart map\"><figcaption><h3>Offsets of ");
	nbds_html_name(b, map->export->name, map->export->name_len);
	nbds_buf_puts(b, "</h3> <span>at ");
	nbds_html_text(b, nbds_addr_text(&map->export->server, server));
	nbds_buf_puts(b, ", a row is ");
	nbds_buf_size(b, map->m->range);
	nbds_buf_puts(b, "</span><ul class=\"legend\"><li class=\"c-read\">read</li>"
			 "<li class=\"c-write\">written, zeroed, trimmed</li></ul></figcaption>\n"
			 "<div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">");
	put_offset(b, top);
	put_offset(b, top / 2);
	put_offset(b, 0);
	nbds_buf_printf(b,
			"</div>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" "
			"preserveAspectRatio=\"none\" role=\"img\" data-width=\"%" PRId64
			"\" aria-label=\"Which offsets were touched when, up to ",
			map->c->spans, map->rows, map->c->a->width);
	nbds_buf_size(b, map->m->most + (map->m->most != UINT64_MAX));
	nbds_buf_puts(b, "\">\n");
	put_cells(map, 0);
	put_cells(map, 1);
	put_found(map);
	nbds_buf_puts(b, "</svg>\n</div>");
	put_times(map->c);
	nbds_buf_puts(b, "</figure>\n");
	nbds_html_write(map->c->r);
}

static void put_maps(const struct chart *c, const struct nbds_outcome *o)
{
	struct map *map = calloc(1, sizeof(*map));
	struct nbds_buf *b = &c->r->line;
	unsigned count = 0;

	/* An export may have been forgotten since. */
	for (const struct nbds_export *e = o->exports; e && map; e = e->next)
		for (unsigned i = 0; i < c->a->map_count; i++)
			if (c->a->maps[i].export == e->number) {
				if (count++ == MAPS_OPEN)
					nbds_buf_puts(b, "<details class=\"more\"><summary>"
							 "Offsets of more exports</summary>\n");
				memset(map, 0, sizeof(*map));
				*map = (struct map){.c = c, .m = &c->a->maps[i], .export = e};
				put_map(map);
			}
	if (count > MAPS_OPEN)
		nbds_buf_puts(b, "</details>\n");
	free(map);
}

void nbds_html_charts(struct nbds_report *r, const struct nbds_outcome *o)
{
	struct chart c = {.r = r, .a = &r->activity, .spans = r->activity.used};
	struct chart_series *s;

	if (!c.a->spans || !c.spans)
		return;
	s = calloc(6, sizeof(*s));
	if (!s)
		return;
	put_throughput(&c, s);
	put_latency(&c, s);
	put_unflushed(&c, s);
	free(s);
	put_maps(&c, o);
	if (c.a->more_maps)
		nbds_buf_printf(&r->line,
				"<p class=\"note\">There are maps of the first %d exports "
				"that were used.</p>\n",
				ACTIVITY_MAPS);
	if (c.a->short_of)
		nbds_buf_puts(&r->line, "<p class=\"note\">The charts lack what there was no room "
					"for (--memory).</p>\n");
}
