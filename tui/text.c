/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * text.c - numbers in few columns. See text.h.
 */
#include "text.h"

#include <stdio.h>

/* Two digits at least, three at most. */
static char *number(char s[SHORT_TEXT], double n, const char *unit)
{
	if (n < 9.95 && *unit && (int)(n * 10 + 0.5) % 10)
		snprintf(s, SHORT_TEXT, "%.1f%s", n, unit);
	else
		snprintf(s, SHORT_TEXT, "%.0f%s", n, unit);
	return s;
}

static char *scaled(char s[SHORT_TEXT], double n, double base, const char *const *units)
{
	unsigned i = 0;

	if (n < 0)
		n = 0;
	while (n >= 999.5 && units[i + 1]) {
		n /= base;
		i++;
	}
	return number(s, n, units[i]);
}

char *short_count(char s[SHORT_TEXT], double n)
{
	static const char *const units[] = {"", "k", "M", "G", "T", "P", "E", NULL};

	return scaled(s, n, 1000, units);
}

char *short_bytes(char s[SHORT_TEXT], double bytes)
{
	static const char *const units[] = {"", "K", "M", "G", "T", "P", "E", NULL};

	return scaled(s, bytes, 1024, units);
}

char *short_time(char s[SHORT_TEXT], double ns)
{
	static const struct {
		double below, unit;
		const char *name;
	} units[] = {
		{999.5, 1, "ns"},    {999.5e3, 1e3, "us"},      {999.5e6, 1e6, "ms"},
		{119.5e9, 1e9, "s"}, {119.5 * 60e9, 60e9, "m"}, {47.5 * 3600e9, 3600e9, "h"},
	};

	if (ns < 0)
		ns = 0;
	for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (ns < units[i].below)
			return number(s, ns / units[i].unit, units[i].name);
	return number(s, ns / 86400e9, "d");
}
