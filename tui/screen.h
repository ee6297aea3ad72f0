/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/screen.h - the terminal.
 *
 * Purpose.  A thin layer over ncurses: styles instead of colours, text that is
 * clipped and padded by columns, drawing characters with their ASCII forms, and
 * places that can be clicked.  There is one terminal, so this is the one part with
 * state of its own.
 *
 * Failure.  screen_open() says why there can be no screen.
 */
#ifndef NBDSCOPE_TUI_SCREEN_H
#define NBDSCOPE_TUI_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

#include <nbdscope/finding.h>

enum style {
	STYLE_PLAIN,
	STYLE_BOLD,
	STYLE_DIM,
	STYLE_TITLE,    /* the first line */
	STYLE_HEAD,     /* of a table */
	STYLE_SORT,     /* the head of the column that sorts */
	STYLE_SELECTED, /* the row with the cursor */
	STYLE_TOTAL,    /* of a list */
	STYLE_TAB,
	STYLE_TAB_ON,
	STYLE_KEY,   /* the bar below: the key */
	STYLE_LABEL, /* and what it does */
	STYLE_GOOD,
	STYLE_NOTE,
	STYLE_HAZARD,
	STYLE_SUSPECT,
	STYLE_VIOLATION,
	STYLE_ALARM, /* a whole line that must be seen */
	STYLE_READ,
	STYLE_WRITE,
	STYLE_FLUSH,
	STYLE_CLIENT,
	STYLE_SERVER,
	STYLE_COUNT
};

struct screen_options {
	bool colour, ascii, mouse;
	bool keyboard_from_tty; /* standard input is something else */
};

bool screen_open(const struct screen_options *options, char *err, size_t errsize);
void screen_close(void);
/* For signal handlers and crashes: nothing is freed. */
bool screen_is_open(void);
/* The descriptor that keys come from. */
int screen_fd(void);

extern int screen_rows, screen_columns;

void screen_begin(void); /* a new picture */
void screen_end(void);   /* show it */
void screen_redraw(void);

/* Colours for a dark or a light background. */
void screen_theme(bool light);

/* Characters for drawing, as UTF-8 or ASCII. */
enum glyph {
	GLYPH_LINE,   /* horizontal */
	GLYPH_BAR,    /* vertical */
	GLYPH_DOUBLE, /* horizontal, double */
	GLYPH_LEFT,   /* left end of a bar */
	GLYPH_RIGHT,
	GLYPH_LEFT_DOUBLE,
	GLYPH_RIGHT_DOUBLE,
	GLYPH_DOTS, /* horizontal, going on */
	GLYPH_FULL, /* a full block */
	GLYPH_ARROW_UP,
	GLYPH_ARROW_DOWN,
	GLYPH_TO,   /* arrow to the right */
	GLYPH_FROM, /* arrow to the left */
	GLYPH_DOT,
	GLYPH_CHECK,
	GLYPH_CROSS,
	GLYPH_ELLIPSIS,
	GLYPH_COUNT
};
const char *glyph(enum glyph g);
/* A bar of `eighths` eighths of a column, in `s` of `size` bytes. */
void glyph_bar(char *s, size_t size, unsigned eighths);
bool screen_ascii(void);

/* Text at row y, column x: clipped to `width` columns, which are filled with spaces
 * if it is shorter. Returns the columns of the text itself. */
int put(int y, int x, int width, enum style style, const char *text);
/* The same, at the right end of the columns. */
int put_right(int y, int x, int width, enum style style, const char *text);
int putf(int y, int x, int width, enum style style, const char *format, ...)
	__attribute__((format(printf, 5, 6)));
/* No more columns than the text takes; returns them. */
int put_on(int y, int x, int most, enum style style, const char *text);
/* A whole row in one style, without text. */
void put_row(int y, enum style style);
/* Columns that a text takes. */
int columns_of(const char *text);
/* Sets the terminal's cursor, for prompts. Hidden else. */
void put_cursor(int y, int x);

enum style severity_style(enum nbds_severity severity);

/* What is at a place on the screen, for the mouse. */
enum hit { HIT_NONE, HIT_TAB, HIT_KEY, HIT_COLUMN, HIT_ROW, HIT_DETAIL };
void hit_add(int y, int x, int width, int rows, enum hit kind, int value);
enum hit hit_find(int y, int x, int *value);

#endif
