/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/ui.h - the screens of nbdtop.
 *
 * Purpose.  Takes snapshots from a worker and keys from the terminal, and draws.
 * Each screen is a struct screen_view; what they share is in struct ui.
 */
#ifndef NBDSCOPE_TUI_UI_H
#define NBDSCOPE_TUI_UI_H

#include <wchar.h>

#include "config.h"
#include "filter.h"
#include "keys.h"
#include "model.h"
#include "screen.h"
#include "table.h"

#define LEAST_COLUMNS 30
#define LEAST_ROWS    8
/* With fewer rows than these, what is around a screen takes one row less. */
#define FEW_ROWS 14

#define PROMPT_TEXT FILTER_TEXT

struct ui;

enum prompt_kind {
	PROMPT_NONE,
	PROMPT_SEARCH,
	PROMPT_FILTER,
	PROMPT_SAVE,
	PROMPT_FRAMES,
	PROMPT_CLEAR,
	PROMPT_SAVE_END,
};

struct prompt {
	enum prompt_kind kind;
	char text[PROMPT_TEXT];
	unsigned at;   /* of the cursor, bytes */
	bool offered;  /* the text is that of last time: what is typed first replaces it */
	unsigned back; /* how far back in the history; 0: not there */
};

/* What was typed before, the newest last. */
#define TYPED_MAX 32
struct typed {
	char texts[TYPED_MAX][PROMPT_TEXT];
	unsigned count;
};

/* Connections in a ladder. */
#define LADDER_LANES 4

/* The messages that are listed. */
struct messages {
	struct log_view view;
	char filter_text[FILTER_TEXT];
	struct filter filter;
	/* With a filter: numbers of those that match, up to `looked`. */
	uint64_t *matches;
	size_t match_first, match_count, match_room;
	uint64_t looked;
	uint64_t cleared;     /* those up to this number are not shown */
	uint64_t pinned;      /* shown though the filter does not match; 0: none */
	uint64_t cursor, top; /* numbers */
	bool follow;
	int detail; /* 0: none, 1: half, 2: all */
	int detail_scroll;
	/* Filled by another screen, to which Esc goes back; SCREEN_COUNT: not so. */
	unsigned from;
	bool ladder; /* arrows between these connections' clients and the server */
	uint32_t lanes[LADDER_LANES];
	unsigned lane_count;
	unsigned page;
	struct nbds_buf line;
};

struct ui {
	struct worker *worker;
	const char *source; /* printable: the interface or the file */
	const struct worker_config *config;
	struct snapshot *s;
	unsigned screen, before_help, before_setup;
	struct config setup; /* as it was read, and changed since; tables have their own */
	unsigned setup_line, setup_top;
	bool quit, paused;
	double speed; /* of a replay, as ordered; 0: as it began */
	bool dirty;   /* something is to be drawn */
	bool busy;    /* work goes on without a key */
	struct prompt prompt;
	struct typed typed_searches, typed_filters[SCREEN_COUNT];
	char search[PROMPT_TEXT];
	struct pick *pick; /* what is to be saved once its file has a name; or NULL */
	char notice[256];
	int64_t resized;      /* clock */
	unsigned redraws;     /* still to come for that */
	int64_t notice_until; /* clock */
	uint64_t notices_seen;
	uint64_t alarm;       /* newest violation not looked at yet, or 0 */
	uint64_t alarms_seen; /* number of the last finding on the findings screen */
	struct wanted wanted;

	struct table exports, connections, findings;
	uint32_t only_export; /* connections of this export, or 0 */
	char only_name[96];
	bool connection_detail;
	bool absolute;    /* times are those of the day */
	bool field_names; /* messages: the other way than the width suggests */
	int connection_scroll;
	int finding_detail; /* 0: none, 1: half, 2: all */
	int finding_scroll;
	uint32_t order_export; /* shown by the flush order; 0: the one of the table */
	uint64_t order_flush;  /* request frame of the chosen flush; 0: the newest */
	uint64_t order_right;  /* last step shown; 0: the newest */
	unsigned latency_command;
	enum scope latency_scope;
	uint32_t latency_id;
	bool latency_chosen;
	int help_scroll;
	/* Hidden: findings up to this number; of what is over, connections and exports up to
	 * these ids. */
	uint64_t findings_cleared;
	uint32_t connections_cleared, exports_cleared;
	struct messages messages;
};

struct screen_view {
	const char *title;
	void (*draw)(struct ui *ui, int y, int rows);
	bool (*action)(struct ui *ui, enum action action);
	void (*update)(struct ui *ui); /* there is a new snapshot */
	bool (*search)(struct ui *ui, const char *text, int direction, bool here);
	void (*text)(struct ui *ui, struct nbds_buf *b);
	void (*click)(struct ui *ui, enum hit kind, int value, bool twice);
	/* The packets of what the cursor is at, and a name for their file in `name`. NULL:
	 * there is nothing. */
	struct pick *(*pick)(struct ui *ui, char *name, size_t size);
};

extern const struct screen_view view_exports, view_connections, view_order, view_messages,
	view_findings, view_latency, view_help, view_setup;
extern const struct screen_view *const views[SCREEN_COUNT];

void views_init(struct ui *ui);
/* Takes over ui->setup. What was not understood is told in `err`. */
void setup_apply(struct ui *ui, char *err, size_t errsize);
void lists_init(struct ui *ui);
void findings_init(struct ui *ui);
void views_free(struct ui *ui);

/* To be called before anything is opened: a signal ends ui_run(), also before it begins. */
void ui_catch_signals(void);
/* One came. */
bool ui_ended(void);
/* headless.c: in place of ui_run(), until the end of the file or a signal. */
void headless_run(struct ui *ui);
/* Runs until the user quits. */
void ui_run(struct ui *ui);
/* Draws all: what is around the screen, and the screen (frame.c). */
void ui_draw(struct ui *ui);
const struct screen_view *ui_view(const struct ui *ui);
/* The table of the screen, or NULL. */
struct table *ui_table(struct ui *ui);

/* The line in which something is typed (prompt.c). */
void prompt_open(struct ui *ui, enum prompt_kind kind, const char *text);
/* As if nothing had been typed. */
void prompt_close(struct ui *ui);
void prompt_draw(struct ui *ui, int y);
void prompt_key(struct ui *ui, wint_t c, bool special);

/* Tells something in the line above the bar, for some seconds. */
void ui_notice(struct ui *ui, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ui_go(struct ui *ui, unsigned screen);
/* Says to the worker what the screen wants to see. */
void ui_want(struct ui *ui);
int64_t ui_clock(void);

/* ns since the start of the capture. */
int64_t ui_since(const struct ui *ui, int64_t time);
/* The time of something, since the start or of the day, in TIME_COLUMNS at most. */
#define TIME_COLUMNS 15
#define TIME_TEXT    32
char *ui_time(const struct ui *ui, int64_t time, char text[TIME_TEXT]);
/* "TIME (s)" or "TIME OF DAY" */
const char *ui_time_title(const struct ui *ui);
/* ns until now. */
int64_t ui_age(const struct ui *ui, int64_t time);
const struct export_row *ui_export(const struct ui *ui, uint32_t id);
const struct connection_row *ui_connection(const struct ui *ui, uint32_t id);
/* The export that the flush order shows. */
const struct export_row *ui_order_export(const struct ui *ui);

/* Text in several lines: wraps at spaces from column x to `width` columns. Draws
 * the lines from `*skip` on, at most `rows`; returns the rows used and takes what
 * was skipped off `*skip`. */
int ui_wrap(int y, int x, int width, int rows, int *skip, enum style style, const char *text);

/* Pictures of an export over time (graph.c): how many rows of `rows` they take, 0 if there
 * is no room, and the drawing of them. */
int history_rows(int rows);
void history_draw(const struct ui *ui, int y, int rows, const struct export_row *x);

/* Shows a connection, with its details. */
void connection_show(struct ui *ui, uint32_t id);
/* Shows the findings that the filter lets through. */
void findings_show(struct ui *ui, const char *filter);
/* Shows the messages that `filter`, which is one, lets through, as a ladder of these
 * connections, with the cursor at `frame`; Esc goes back to the screen that is left. */
void messages_show(struct ui *ui, const char *filter, const uint32_t *connections, unsigned count,
		   uint64_t frame);
/* The messages' filter: true, or the reason why it is none. */
bool messages_filter(struct ui *ui, const char *text, char *why, size_t size, unsigned *where);

#endif
