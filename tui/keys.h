/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/keys.h - what keys do.
 *
 * One table is the truth: keys are looked up in it, the bar at the bottom and the
 * help screen are made from it.
 */
#ifndef NBDSCOPE_TUI_KEYS_H
#define NBDSCOPE_TUI_KEYS_H

enum action {
	ACTION_NONE,
	ACTION_HELP,
	ACTION_QUIT,
	ACTION_BACK,
	ACTION_UP,
	ACTION_DOWN,
	ACTION_LEFT,
	ACTION_RIGHT,
	ACTION_PAGE_UP,
	ACTION_PAGE_DOWN,
	ACTION_FIRST,
	ACTION_LAST,
	ACTION_ENTER,
	ACTION_NEXT_SCREEN,
	ACTION_PREVIOUS_SCREEN,
	ACTION_SCREEN, /* + number of the screen, up to ACTION_SCREEN_LAST */
	ACTION_SCREEN_LAST = ACTION_SCREEN + 6,
	ACTION_SEARCH,
	ACTION_SEARCH_NEXT,
	ACTION_SEARCH_PREVIOUS,
	ACTION_FILTER,
	ACTION_SORT_LEFT,
	ACTION_SORT_RIGHT,
	ACTION_INVERT,
	ACTION_FREEZE,
	ACTION_PAUSE,
	ACTION_CLEAR,
	ACTION_UNCLEAR,
	ACTION_SAVE,
	ACTION_MORE,
	ACTION_FOLLOW,
	ACTION_PARTNER,
	ACTION_DETAIL_UP,
	ACTION_DETAIL_DOWN,
	ACTION_PREVIOUS,
	ACTION_NEXT,
	ACTION_SLOWER,
	ACTION_FASTER,
	ACTION_REDRAW,
	ACTION_TIMES,
	ACTION_LADDER,
	ACTION_CONNECTION,
	ACTION_EVIDENCE,
	ACTION_MESSAGES,
	ACTION_SAVE_FRAMES,
	ACTION_SAVE_END,
	ACTION_SORT_MENU,
	ACTION_SETUP,
	ACTION_KEEP,
};

/* Screens, and sets of them. */
enum {
	SCREEN_EXPORTS,
	SCREEN_CONNECTIONS,
	SCREEN_ORDER,
	SCREEN_MESSAGES,
	SCREEN_FINDINGS,
	SCREEN_LATENCY,
	SCREEN_HELP,
	SCREEN_TABS, /* those above have a number */
	SCREEN_SETUP = SCREEN_TABS,
	SCREEN_COUNT
};
enum {
	ON_EXPORTS = 1 << SCREEN_EXPORTS,
	ON_CONNECTIONS = 1 << SCREEN_CONNECTIONS,
	ON_ORDER = 1 << SCREEN_ORDER,
	ON_MESSAGES = 1 << SCREEN_MESSAGES,
	ON_FINDINGS = 1 << SCREEN_FINDINGS,
	ON_LATENCY = 1 << SCREEN_LATENCY,
	ON_HELP = 1 << SCREEN_HELP,
	ON_SETUP = 1 << SCREEN_SETUP,
	ON_TABLES = ON_EXPORTS | ON_CONNECTIONS | ON_FINDINGS,
	ON_ALL = (1 << SCREEN_COUNT) - 1
};

#define KEY_CODES 5

struct key {
	int codes[KEY_CODES]; /* 0 ends them */
	const char *shown;    /* "F1 h ?" */
	enum action action;
	unsigned screens;    /* ON_* */
	const char *bar;     /* the word in the bar, or NULL */
	const char *bar_key; /* "F1" */
	const char *what;    /* for the help */
};

extern const struct key keys[];
extern const unsigned key_count;

enum action key_action(int code, unsigned screen);

#endif
