/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/text.h - numbers in few columns.
 *
 * Each writes at most 7 characters and a NUL, and returns `s`.
 */
#ifndef NBDSCOPE_TUI_TEXT_H
#define NBDSCOPE_TUI_TEXT_H

#include <stdint.h>

#define SHORT_TEXT 24

/* "0", "999", "1.2k", "34k", "5.6M" */
char *short_count(char s[SHORT_TEXT], double n);
/* "0", "512", "1.5K", "20K", "3.1M", "2G"; powers of 1024 */
char *short_bytes(char s[SHORT_TEXT], double bytes);
/* "830ns", "12us", "1.5ms", "340ms", "2.5s", "90s", "15m", "3h", "2d" */
char *short_time(char s[SHORT_TEXT], double ns);

#endif
