/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/table.h - rows that are sorted, filtered, searched and chosen from.
 *
 * Purpose.  What all lists of the screen have in common.  A table knows rows by
 * their ids; the cursor stays on its row when others come, go or change places.
 * Columns find room in the order of their ranks; `more` puts those first that would
 * be left out. A layout that the user has chosen goes before both.
 *
 * Ownership.  A table owns its order of rows (table_free()).  Failure.  Without
 * memory the rows come in no particular order, or not at all.
 */
#ifndef NBDSCOPE_TUI_TABLE_H
#define NBDSCOPE_TUI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../analyzer/report/buf.h"
#include "config.h"
#include "filter.h"
#include "keys.h"
#include "screen.h"

struct column {
	const char *title;
	int width;       /* at least */
	const char *key; /* its name in filters and in the configuration */
	bool right;      /* numbers */
	bool grows;      /* takes what is left over */
	bool more;       /* one of those that `m` shows */
	bool fixed;      /* always shown */
	unsigned rank;   /* who finds room first: the lowest, and of equal ones the left one */
	bool descending; /* sorts with the largest first */
};

struct table_source {
	const struct column *columns;
	unsigned column_count;
	size_t (*count)(void *ctx);
	uint64_t (*id)(void *ctx, size_t row);
	/* Adds the text of a cell; *style is STYLE_PLAIN before. */
	void (*cell)(void *ctx, size_t row, unsigned column, struct nbds_buf *b, enum style *style);
	/* < 0, 0, > 0 */
	int (*compare)(void *ctx, size_t a, size_t b, unsigned column);
	/* What filters compare; NULL, or false: the cell's text. Bytes, ns, or a count. */
	bool (*number)(void *ctx, size_t row, unsigned column, uint64_t *value);
	/* Adds a cell of the row of totals; NULL: there is no such row. */
	void (*total)(void *ctx, const size_t *rows, size_t count, unsigned column,
		      struct nbds_buf *b, enum style *style);
	/* NULL: all rows. */
	bool (*wanted)(void *ctx, size_t row);
	const char *empty; /* what to say when there is no row */
};

#define TABLE_FILTER 240
#define COLUMNS_MAX  40

struct table {
	const struct table_source *source;
	void *ctx;
	unsigned sort;
	bool invert, frozen, more, follow;
	char filter[TABLE_FILTER];      /* as it was typed */
	char parsed_text[TABLE_FILTER]; /* `parsed` is of this */
	struct filter parsed;
	bool expression;              /* else the filter is text */
	unsigned layout[COLUMNS_MAX]; /* the user's own columns, left to right; none: as above */
	unsigned layout_count;
	bool menu; /* columns to sort by are offered, with the cursor at menu_at */
	unsigned menu_at;
	uint64_t selected;  /* id */
	bool chosen;        /* `selected` is one */
	const char *empty;  /* in place of the source's, or NULL */
	size_t cursor, top; /* places in `rows` */
	size_t *rows;       /* in their order */
	uint64_t *ids;      /* of the rows, in their order */
	size_t count, room;
	unsigned page; /* rows shown last */
	struct nbds_buf scratch;
};

void table_init(struct table *t, const struct table_source *source, void *ctx, unsigned sort);
void table_free(struct table *t);
/* The rows changed: takes them in. */
void table_update(struct table *t);
/* Draws head and rows. */
void table_draw(struct table *t, int y, int rows);
/* True: `text` is an expression; else it is text to be held, and `why` says why. */
bool table_filter_check(const struct table *t, const char *text, struct filter *f, char *why,
			size_t size, unsigned *where);
/* True: the action was for the table. */
bool table_action(struct table *t, enum action action);
/* Moves the cursor to the next (1) or previous (-1) row that holds `text`. */
bool table_search(struct table *t, const char *text, int direction, bool here);
/* A click on a row or a column's head. */
void table_click(struct table *t, enum hit kind, int value);
/* The row with the cursor, or SIZE_MAX. */
size_t table_row(const struct table *t);
void table_select(struct table *t, uint64_t id);
/* Columns and order as the user has set them up; a name that is no column's is told in
 * `err`, if there is nothing yet. */
void table_layout_set(struct table *t, const struct config_list *list, char *err, size_t errsize);
void table_layout_get(const struct table *t, struct config_list *list);
/* The columns that are shown now, left to right; how many. */
unsigned table_shown(const struct table *t, unsigned list[COLUMNS_MAX]);
/* All rows as text. */
void table_text(struct table *t, struct nbds_buf *b);

#endif
