/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * screen.c - the terminal. See screen.h.
 */
#include "screen.h"

#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <term.h>

int screen_rows, screen_columns;

static struct {
	bool open, ascii, colour, light;
	SCREEN *terminal;
	FILE *keyboard;
	int fd;
	attr_t styles[STYLE_COUNT];
	int cursor_y, cursor_x;
} term;

/* --- styles --- */

enum pair {
	PAIR_PLAIN,
	PAIR_RED,
	PAIR_GREEN,
	PAIR_YELLOW,
	PAIR_BLUE,
	PAIR_MAGENTA,
	PAIR_CYAN,
	PAIR_HEAD,
	PAIR_SORT,
	PAIR_SELECTED,
	PAIR_LABEL,
	PAIR_TAB_ON,
	PAIR_ALARM,
	PAIR_TITLE,
};

/* Yellow and cyan cannot be read on white, and bold ones are brighter still. */
static void light_colours(void)
{
	attr_t *s = term.styles;
	short orange = COLORS >= 256 ? 130 : COLOR_RED;

	init_pair(PAIR_YELLOW, orange, -1);
	init_pair(PAIR_CYAN, COLOR_BLUE, -1);
	init_pair(PAIR_GREEN, COLORS >= 256 ? 28 : COLOR_GREEN, -1);
	init_pair(PAIR_TITLE, COLOR_BLUE, -1);
	init_pair(PAIR_HEAD, COLOR_WHITE, COLOR_BLUE);
	init_pair(PAIR_SELECTED, COLOR_BLACK, COLORS >= 256 ? 153 : COLOR_CYAN);
	s[STYLE_HAZARD] = COLOR_PAIR(PAIR_YELLOW);
	s[STYLE_SUSPECT] = COLOR_PAIR(PAIR_MAGENTA);
	s[STYLE_VIOLATION] = COLOR_PAIR(PAIR_RED);
	s[STYLE_FLUSH] = COLOR_PAIR(PAIR_CYAN);
	/* Dim is too near to white. */
	s[STYLE_DIM] = A_NORMAL;
}

static void colours(void)
{
	attr_t *s = term.styles;

	start_color();
	use_default_colors();
	init_pair(PAIR_RED, COLOR_RED, -1);
	init_pair(PAIR_GREEN, COLOR_GREEN, -1);
	init_pair(PAIR_YELLOW, COLOR_YELLOW, -1);
	init_pair(PAIR_BLUE, COLOR_BLUE, -1);
	init_pair(PAIR_MAGENTA, COLOR_MAGENTA, -1);
	init_pair(PAIR_CYAN, COLOR_CYAN, -1);
	init_pair(PAIR_HEAD, COLOR_BLACK, COLOR_GREEN);
	init_pair(PAIR_SORT, COLOR_BLACK, COLOR_CYAN);
	init_pair(PAIR_SELECTED, COLOR_BLACK, COLOR_CYAN);
	init_pair(PAIR_LABEL, COLOR_BLACK, COLOR_CYAN);
	init_pair(PAIR_TAB_ON, COLOR_BLACK, COLOR_GREEN);
	init_pair(PAIR_ALARM, COLOR_WHITE, COLOR_RED);
	init_pair(PAIR_TITLE, COLOR_CYAN, -1);
	s[STYLE_TITLE] = COLOR_PAIR(PAIR_TITLE) | A_BOLD;
	s[STYLE_HEAD] = COLOR_PAIR(PAIR_HEAD);
	s[STYLE_SORT] = COLOR_PAIR(PAIR_SORT) | A_BOLD;
	s[STYLE_SELECTED] = COLOR_PAIR(PAIR_SELECTED);
	s[STYLE_TAB_ON] = COLOR_PAIR(PAIR_TAB_ON) | A_BOLD;
	s[STYLE_LABEL] = COLOR_PAIR(PAIR_LABEL);
	s[STYLE_GOOD] = COLOR_PAIR(PAIR_GREEN);
	s[STYLE_NOTE] = COLOR_PAIR(PAIR_CYAN);
	s[STYLE_HAZARD] = COLOR_PAIR(PAIR_YELLOW) | A_BOLD;
	s[STYLE_SUSPECT] = COLOR_PAIR(PAIR_MAGENTA) | A_BOLD;
	s[STYLE_VIOLATION] = COLOR_PAIR(PAIR_RED) | A_BOLD;
	s[STYLE_ALARM] = COLOR_PAIR(PAIR_ALARM) | A_BOLD;
	s[STYLE_READ] = COLOR_PAIR(PAIR_GREEN);
	s[STYLE_WRITE] = COLOR_PAIR(PAIR_YELLOW);
	s[STYLE_FLUSH] = COLOR_PAIR(PAIR_CYAN) | A_BOLD;
	s[STYLE_CLIENT] = COLOR_PAIR(PAIR_CYAN);
	s[STYLE_SERVER] = COLOR_PAIR(PAIR_GREEN);
	if (term.light)
		light_colours();
}

static void styles_init(bool colour)
{
	attr_t *s = term.styles;

	memset(s, 0, sizeof(term.styles));
	s[STYLE_BOLD] = A_BOLD;
	s[STYLE_DIM] = A_DIM;
	s[STYLE_TITLE] = A_BOLD;
	s[STYLE_TOTAL] = A_BOLD | A_UNDERLINE;
	s[STYLE_HEAD] = A_REVERSE;
	s[STYLE_SORT] = A_REVERSE | A_BOLD | A_UNDERLINE;
	s[STYLE_SELECTED] = A_REVERSE;
	s[STYLE_TAB_ON] = A_REVERSE | A_BOLD;
	s[STYLE_LABEL] = A_REVERSE;
	s[STYLE_HAZARD] = A_BOLD;
	s[STYLE_SUSPECT] = A_BOLD;
	s[STYLE_VIOLATION] = A_BOLD;
	s[STYLE_ALARM] = A_REVERSE | A_BOLD;
	s[STYLE_FLUSH] = A_BOLD;
	term.colour = colour && has_colors();
	if (term.colour)
		colours();
}

void screen_theme(bool light)
{
	if (light == term.light)
		return;
	term.light = light;
	if (term.open)
		styles_init(term.colour);
}

enum style severity_style(enum nbds_severity severity)
{
	static const enum style styles[] = {
		[NBDS_NOTE] = STYLE_NOTE,
		[NBDS_HAZARD] = STYLE_HAZARD,
		[NBDS_SUSPECT] = STYLE_SUSPECT,
		[NBDS_VIOLATION] = STYLE_VIOLATION,
	};

	return styles[severity];
}

/* --- opening and closing --- */

bool screen_open(const struct screen_options *options, char *err, size_t errsize)
{
	const char *type = getenv("TERM");

	setlocale(LC_CTYPE, "");
	term.ascii = options->ascii || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	term.fd = STDIN_FILENO;
	if (options->keyboard_from_tty) {
		term.keyboard = fopen("/dev/tty", "r");
		if (!term.keyboard) {
			snprintf(err, errsize, "there is no terminal to read keys from");
			return false;
		}
		term.fd = fileno(term.keyboard);
	}
	set_escdelay(25);
	term.terminal = newterm(NULL, stdout, term.keyboard ? term.keyboard : stdin);
	if (!term.terminal) {
		snprintf(err, errsize, "a terminal of type \"%s\" is not known here",
			 type ? type : "");
		return false;
	}
	set_term(term.terminal);
	term.open = true;
	if (!cursor_address) {
		snprintf(err, errsize, "a terminal of type \"%s\" cannot move its cursor",
			 type ? type : "");
		screen_close();
		return false;
	}
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	leaveok(stdscr, FALSE);
	styles_init(options->colour);
	if (options->mouse) {
		/* All of them, as ncurses waits in vain for the next key after one that was not
		 * asked for, whatever nodelay says; and none put together to a click, for the
		 * same reason. */
		mousemask(ALL_MOUSE_EVENTS, NULL);
		mouseinterval(-1);
	}
	getmaxyx(stdscr, screen_rows, screen_columns);
	return true;
}

void screen_close(void)
{
	if (!term.open)
		return;
	term.open = false;
	endwin();
	delscreen(term.terminal);
	if (term.keyboard)
		fclose(term.keyboard);
}

bool screen_is_open(void)
{
	return term.open;
}

int screen_fd(void)
{
	return term.fd;
}

bool screen_ascii(void)
{
	return term.ascii;
}

/* --- clicks --- */

#define HITS_MAX 512
static struct {
	int y, x, width, rows, value;
	enum hit kind;
} hits[HITS_MAX];
static unsigned hit_count;

void hit_add(int y, int x, int width, int rows, enum hit kind, int value)
{
	if (hit_count == HITS_MAX)
		return;
	hits[hit_count].y = y;
	hits[hit_count].x = x;
	hits[hit_count].width = width;
	hits[hit_count].rows = rows;
	hits[hit_count].kind = kind;
	hits[hit_count++].value = value;
}

enum hit hit_find(int y, int x, int *value)
{
	for (unsigned i = 0; i < hit_count; i++) {
		if (y < hits[i].y || y >= hits[i].y + hits[i].rows || x < hits[i].x ||
		    x >= hits[i].x + hits[i].width)
			continue;
		*value = hits[i].kind == HIT_DETAIL ? y - hits[i].y : hits[i].value;
		return hits[i].kind;
	}
	return HIT_NONE;
}

/* --- pictures --- */

void screen_begin(void)
{
	getmaxyx(stdscr, screen_rows, screen_columns);
	erase();
	hit_count = 0;
	term.cursor_y = -1;
}

void screen_end(void)
{
	if (term.cursor_y >= 0) {
		curs_set(1);
		move(term.cursor_y, term.cursor_x);
	} else {
		curs_set(0);
	}
	refresh();
}

void screen_redraw(void)
{
	clearok(stdscr, TRUE);
}

void put_cursor(int y, int x)
{
	term.cursor_y = y;
	term.cursor_x = x < screen_columns ? x : screen_columns - 1;
}

const char *glyph(enum glyph g)
{
	static const char *const glyphs[GLYPH_COUNT][2] = {
		[GLYPH_LINE] = {"\u2500", "-"},         [GLYPH_BAR] = {"\u2502", "|"},
		[GLYPH_DOUBLE] = {"\u2550", "="},       [GLYPH_LEFT] = {"\u251c", "|"},
		[GLYPH_RIGHT] = {"\u2524", "|"},        [GLYPH_LEFT_DOUBLE] = {"\u255e", "|"},
		[GLYPH_RIGHT_DOUBLE] = {"\u2561", "|"}, [GLYPH_DOTS] = {"\u254c", "."},
		[GLYPH_FULL] = {"\u2588", "#"},         [GLYPH_ARROW_UP] = {"\u25b2", "^"},
		[GLYPH_ARROW_DOWN] = {"\u25bc", "v"},   [GLYPH_TO] = {"\u2192", "->"},
		[GLYPH_FROM] = {"\u2190", "<-"},        [GLYPH_DOT] = {"\u00b7", "."},
		[GLYPH_CHECK] = {"\u2713", "ok"},       [GLYPH_CROSS] = {"\u2717", "x"},
		[GLYPH_ELLIPSIS] = {"\u2026", "~"},
	};

	return glyphs[g][term.ascii];
}

void glyph_bar(char *s, size_t size, unsigned eighths)
{
	static const char *const parts[] = {
		"", "\u258f", "\u258e", "\u258d", "\u258c", "\u258b", "\u258a", "\u2589",
	};
	size_t used = 0;

	s[0] = '\0';
	for (unsigned i = 0; i < eighths / 8 && used + 4 < size; i++)
		used += (size_t)snprintf(s + used, size - used, "%s", glyph(GLYPH_FULL));
	if (term.ascii) {
		if (eighths % 8 >= 4 || (eighths && eighths < 8))
			snprintf(s + used, size - used, "#");
	} else {
		snprintf(s + used, size - used, "%s", parts[eighths % 8]);
	}
}

/* --- text --- */

/* The next character of `*at` and the columns it takes, made safe to show. */
static int next_char(const char **at, char out[MB_LEN_MAX + 1])
{
	const char *s = *at;
	mbstate_t state = {0};
	wchar_t wide;
	size_t n;
	int width;

	if ((unsigned char)*s < 0x80) {
		*at = s + 1;
		out[0] = (unsigned char)*s < 0x20 || *s == 0x7f ? '?' : *s;
		out[1] = '\0';
		return 1;
	}
	n = mbrtowc(&wide, s, MB_LEN_MAX, &state);
	width = n == (size_t)-1 || n == (size_t)-2 || n == 0 ? -1 : wcwidth(wide);
	if (width >= 0 && !term.ascii) {
		memcpy(out, s, n);
		out[n] = '\0';
		*at = s + n;
		return width;
	}
	/* Not of this locale, or not to be shown: one mark for all its bytes. */
	s++;
	while (((unsigned char)*s & 0xc0) == 0x80)
		s++;
	*at = s;
	strcpy(out, "?");
	return 1;
}

int columns_of(const char *text)
{
	char c[MB_LEN_MAX + 1];
	int n = 0;

	while (*text)
		n += next_char(&text, c);
	return n;
}

static int put_clipped(int y, int x, int width, enum style style, const char *text, bool fill)
{
	char c[MB_LEN_MAX + 1];
	int used = 0;

	if (y < 0 || y >= screen_rows || x >= screen_columns)
		return 0;
	if (x < 0) {
		width += x;
		x = 0;
	}
	if (width > screen_columns - x)
		width = screen_columns - x;
	if (width <= 0)
		return 0;
	attrset((int)term.styles[style]);
	move(y, x);
	while (*text) {
		int n = next_char(&text, c);

		if (used + n > width)
			break;
		addstr(c);
		used += n;
	}
	for (int i = used; fill && i < width; i++)
		addch(' ');
	attrset(A_NORMAL);
	return used;
}

int put(int y, int x, int width, enum style style, const char *text)
{
	return put_clipped(y, x, width, style, text, true);
}

int put_on(int y, int x, int most, enum style style, const char *text)
{
	return put_clipped(y, x, most, style, text, false);
}

int put_right(int y, int x, int width, enum style style, const char *text)
{
	int n = columns_of(text);

	if (n >= width)
		return put(y, x, width, style, text);
	put(y, x, width - n, style, "");
	return put(y, x + width - n, n, style, text);
}

int putf(int y, int x, int width, enum style style, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return put(y, x, width, style, text);
}

void put_row(int y, enum style style)
{
	put(y, 0, screen_columns, style, "");
}
