/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * keys.c - what keys do. See keys.h.
 */
#include "keys.h"

#include <stddef.h>

#define NCURSES_WIDECHAR 1
#include <curses.h>

#define ESCAPE     27
#define TAB        9
#define CONTROL(c) ((c)&31)

/* The first row that holds a key for a screen counts. */
/* clang-format off */
const struct key keys[] = {
	/* h is left only where there is a left. */
	{{KEY_LEFT, 'h'}, "Left h", ACTION_LEFT, ON_ORDER | ON_LATENCY, NULL, NULL,
	 "earlier; the command before"},
	{{KEY_RIGHT, 'l'}, "Right l", ACTION_RIGHT, ON_ORDER | ON_LATENCY, NULL, NULL,
	 "later; the next command"},
	{{KEY_F(1), '?', 'h'}, "F1 ? h", ACTION_HELP, ON_ALL, "Help", "F1", "this help; again: back"},
	{{'1'}, "1", ACTION_SCREEN + SCREEN_EXPORTS, ON_ALL, NULL, NULL, "Exports"},
	{{'2'}, "2", ACTION_SCREEN + SCREEN_CONNECTIONS, ON_ALL, NULL, NULL, "Connections"},
	{{'3'}, "3", ACTION_SCREEN + SCREEN_ORDER, ON_ALL, NULL, NULL, "Flush order of an export"},
	{{'4'}, "4", ACTION_SCREEN + SCREEN_MESSAGES, ON_ALL, NULL, NULL, "Messages"},
	{{'5'}, "5", ACTION_SCREEN + SCREEN_FINDINGS, ON_ALL, NULL, NULL, "Findings"},
	{{'6'}, "6", ACTION_SCREEN + SCREEN_LATENCY, ON_ALL, NULL, NULL, "Latency"},
	{{'7'}, "7", ACTION_SCREEN + SCREEN_HELP, ON_ALL, NULL, NULL, "Help"},
	{{TAB}, "Tab", ACTION_NEXT_SCREEN, ON_ALL, NULL, NULL, "next screen"},
	{{KEY_BTAB}, "S-Tab", ACTION_PREVIOUS_SCREEN, ON_ALL, NULL, NULL, "screen before"},
	{{KEY_UP, 'k', CONTROL('P')}, "Up k", ACTION_UP, ON_ALL, NULL, NULL, "up"},
	{{KEY_DOWN, 'j', CONTROL('N')}, "Down j", ACTION_DOWN, ON_ALL, NULL, NULL, "down"},
	{{KEY_PPAGE, CONTROL('B'), CONTROL('U')}, "PgUp", ACTION_PAGE_UP, ON_ALL, NULL, NULL,
	 "a page up"},
	{{KEY_NPAGE, CONTROL('F'), CONTROL('D')}, "PgDn", ACTION_PAGE_DOWN, ON_ALL, NULL, NULL,
	 "a page down"},
	{{KEY_HOME, 'g'}, "Home g", ACTION_FIRST, ON_ALL, NULL, NULL, "to the first"},
	{{KEY_END, 'G'}, "End G", ACTION_LAST, ON_ALL, NULL, NULL,
	 "to the last; messages and flushes: follow"},
	{{'\n', '\r', KEY_ENTER, 'l'}, "Enter l", ACTION_ENTER, ON_ALL, NULL, NULL,
	 "what lies behind: an export's connections, details, then messages"},
	{{ESCAPE, KEY_BACKSPACE, 127}, "Esc", ACTION_BACK, ON_ALL, NULL, NULL,
	 "back; end a search, a filter, the loading of a file"},
	{{'q', KEY_F(10), CONTROL('C')}, "F10 q", ACTION_QUIT, ON_ALL, NULL, NULL, "quit"},
	{{KEY_F(2)}, "F2", ACTION_SETUP, ON_ALL & ~ON_HELP, "Setup", "F2",
	 "theme, times, how often the screen is drawn, columns of the lists"},
	{{'s'}, "s", ACTION_KEEP, ON_SETUP, "Keep", "s", "Setup: keep it in a file"},
	{{'w'}, "w", ACTION_SAVE, ON_ALL & ~(ON_HELP | ON_SETUP), "Save", "w",
	 "save this screen as text; NAME.pcapng: live packets from now on"},
	{{'s'}, "s", ACTION_SAVE_FRAMES, ON_TABLES | ON_MESSAGES, NULL, NULL,
	 "save the packets of this export, connection or finding, or of the messages listed"},
	{{'W'}, "W", ACTION_SAVE_END, ON_ALL & ~(ON_HELP | ON_SETUP), NULL, NULL,
	 "save live packets no longer"},
	{{KEY_F(3), '/', CONTROL('S')}, "F3 /", ACTION_SEARCH,
	 ON_TABLES | ON_MESSAGES | ON_HELP, "Search", "F3", "search"},
	{{'n'}, "n", ACTION_SEARCH_NEXT, ON_TABLES | ON_MESSAGES | ON_HELP, NULL, NULL,
	 "search on"},
	{{'N'}, "N", ACTION_SEARCH_PREVIOUS, ON_TABLES | ON_MESSAGES | ON_HELP, NULL, NULL,
	 "search back"},
	{{KEY_F(4), 'f', '\\'}, "F4 f", ACTION_FILTER, ON_TABLES | ON_MESSAGES, "Filter", "F4",
	 "show only what matches"},
	{{'<', ','}, "<", ACTION_SORT_LEFT, ON_TABLES | ON_SETUP, NULL, NULL,
	 "sort by the column to the left"},
	{{'>', '.'}, ">", ACTION_SORT_RIGHT, ON_TABLES | ON_SETUP, NULL, NULL,
	 "sort by the column to the right"},
	{{KEY_F(6)}, "F6", ACTION_SORT_MENU, ON_TABLES, "Sort", "F6", "choose what to sort by"},
	{{'I'}, "I", ACTION_INVERT, ON_TABLES, "Invert", "I", "invert the order"},
	{{'o'}, "o", ACTION_FREEZE, ON_TABLES, NULL, NULL, "freeze the order, and thaw it"},
	{{'m'}, "m", ACTION_MORE, ON_TABLES | ON_MESSAGES, "More", "m", "other columns; fields' names"},
	{{' '}, "Space", ACTION_ENTER, ON_SETUP, NULL, NULL, "Setup: change it"},
	{{'p', ' ', KEY_F(9)}, "p Space F9", ACTION_PAUSE, ON_ALL & ~(ON_HELP | ON_SETUP), "Pause", "F9",
	 "pause the screen; the capture goes on"},
	{{'c'}, "c", ACTION_CLEAR, ON_ALL & ~(ON_HELP | ON_LATENCY | ON_SETUP), "Clear", "c",
	 "hide what is over (finished connections, what was listed so far)"},
	{{'u'}, "u", ACTION_UNCLEAR, ON_ALL & ~(ON_HELP | ON_LATENCY | ON_ORDER | ON_SETUP), NULL, NULL,
	 "show again what c has hidden"},
	{{'F'}, "F", ACTION_FOLLOW, ON_MESSAGES | ON_ORDER | ON_FINDINGS, "Follow", "F",
	 "follow the newest, or stop"},
	{{'M'}, "M", ACTION_MESSAGES, ON_EXPORTS | ON_CONNECTIONS | ON_FINDINGS | ON_ORDER, NULL, NULL,
	 "its messages; Esc comes back"},
	{{'i'}, "i", ACTION_CONNECTION, ON_MESSAGES | ON_FINDINGS, NULL, NULL,
	 "the connection that it is about"},
	{{'e'}, "e", ACTION_EVIDENCE, ON_EXPORTS | ON_CONNECTIONS | ON_MESSAGES, NULL, NULL,
	 "the findings that are about it"},
	{{'L'}, "L", ACTION_LADDER, ON_MESSAGES, "Ladder", "L",
	 "messages as a ladder between clients and server, or as lines"},
	{{'t'}, "t", ACTION_TIMES, ON_ALL & ~ON_HELP, NULL, NULL,
	 "times of the day, or since the first packet"},
	{{'='}, "=", ACTION_PARTNER, ON_MESSAGES, NULL, NULL,
	 "from a request to its reply, and back"},
	{{'K'}, "K", ACTION_DETAIL_UP, ON_CONNECTIONS | ON_MESSAGES | ON_FINDINGS, NULL, NULL,
	 "scroll the details up"},
	{{'J'}, "J", ACTION_DETAIL_DOWN, ON_CONNECTIONS | ON_MESSAGES | ON_FINDINGS, NULL, NULL,
	 "scroll the details down"},
	{{'['}, "[", ACTION_PREVIOUS, ON_ORDER | ON_LATENCY, NULL, NULL,
	 "another export, or connection"},
	{{']'}, "]", ACTION_NEXT, ON_ORDER | ON_LATENCY, "Export", "]", "the next one"},
	{{'-'}, "-", ACTION_SLOWER, ON_ALL, NULL, NULL, "--replay: half the speed"},
	{{'+'}, "+", ACTION_FASTER, ON_ALL, NULL, NULL, "--replay: twice the speed"},
	{{CONTROL('L')}, "^L", ACTION_REDRAW, ON_ALL, NULL, NULL, "draw the screen anew"},
};
/* clang-format on */
const unsigned key_count = sizeof(keys) / sizeof(keys[0]);

enum action key_action(int code, unsigned screen)
{
	for (unsigned i = 0; i < key_count; i++) {
		if (!(keys[i].screens & 1u << screen))
			continue;
		for (unsigned k = 0; k < KEY_CODES && keys[i].codes[k]; k++)
			if (keys[i].codes[k] == code)
				return keys[i].action;
	}
	return ACTION_NONE;
}
