/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * table.c - rows that are sorted, filtered, searched and chosen from. See table.h.
 */
#include "table.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void table_init(struct table *t, const struct table_source *source, void *ctx, unsigned sort)
{
	memset(t, 0, sizeof(*t));
	t->source = source;
	t->ctx = ctx;
	t->sort = sort;
}

void table_free(struct table *t)
{
	free(t->rows);
	free(t->ids);
	nbds_buf_free(&t->scratch);
}

/* --- rows --- */

static bool row_has(struct table *t, size_t row, const char *text)
{
	for (unsigned c = 0; c < t->source->column_count; c++) {
		enum style style;

		nbds_buf_clear(&t->scratch);
		t->source->cell(t->ctx, row, c, &t->scratch, &style);
		if (strcasestr(nbds_buf_text(&t->scratch), text))
			return true;
	}
	return false;
}

bool table_filter_check(const struct table *t, const char *text, struct filter *f, char *why,
			size_t size, unsigned *where)
{
	const char *names[COLUMNS_MAX];
	unsigned n = 0;

	for (; n < t->source->column_count && n < COLUMNS_MAX; n++)
		names[n] = t->source->columns[n].key;
	return filter_parse_list(f, text, names, n, why, size, where);
}

struct at_row {
	struct table *t;
	size_t row;
};

static bool row_number(void *ctx, unsigned column, uint64_t *value)
{
	const struct at_row *a = ctx;

	return a->t->source->number && a->t->source->number(a->t->ctx, a->row, column, value);
}

static const char *row_text(void *ctx, unsigned column)
{
	const struct at_row *a = ctx;
	enum style style;

	nbds_buf_clear(&a->t->scratch);
	a->t->source->cell(a->t->ctx, a->row, column, &a->t->scratch, &style);
	return nbds_buf_text(&a->t->scratch);
}

static bool row_holds(void *ctx, const char *text)
{
	const struct at_row *a = ctx;

	return row_has(a->t, a->row, text);
}

static void filter_update(struct table *t)
{
	unsigned where;
	char why[8];

	if (!strcmp(t->parsed_text, t->filter))
		return;
	t->expression = table_filter_check(t, t->filter, &t->parsed, why, sizeof(why), &where);
	snprintf(t->parsed_text, sizeof(t->parsed_text), "%s", t->filter);
}

static bool filter_wants(struct table *t, size_t row)
{
	struct at_row at = {t, row};
	const struct filter_row r = {&at, row_number, row_text, row_holds};

	if (!t->filter[0])
		return true;
	return t->expression ? filter_match_row(&t->parsed, &r) : row_has(t, row, t->filter);
}

static int by_column(const void *a, const void *b, void *arg)
{
	const struct table *t = arg;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	bool down = t->source->columns[t->sort].descending != t->invert;
	int order = t->source->compare(t->ctx, x, y, t->sort);
	uint64_t i, k;

	if (order)
		return down ? -order : order;
	/* Equal rows have an order too, or they would jump about. */
	i = t->source->id(t->ctx, x);
	k = t->source->id(t->ctx, y);
	return i < k ? -1 : i > k;
}

struct rank {
	uint64_t id;
	size_t rank;
};

static int by_id(const void *a, const void *b)
{
	const struct rank *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

struct frozen {
	struct table *t;
	const struct rank *ranks;
	size_t count;
};

static size_t rank_of(const struct frozen *f, size_t row)
{
	struct rank key = {f->t->source->id(f->t->ctx, row), 0};
	const struct rank *r = bsearch(&key, f->ranks, f->count, sizeof(key), by_id);

	return r ? r->rank : SIZE_MAX;
}

static int by_rank(const void *a, const void *b, void *arg)
{
	const struct frozen *f = arg;
	size_t x = *(const size_t *)a, y = *(const size_t *)b;
	size_t i = rank_of(f, x), k = rank_of(f, y);

	return i < k ? -1 : i > k ? 1 : x < y ? -1 : x > y;
}

/* As the rows were; new ones come last. */
static bool keep_order(struct table *t, size_t count, size_t old)
{
	struct rank *ranks = reallocarray(NULL, old + 1, sizeof(*ranks));
	struct frozen f = {t, ranks, old};

	if (!ranks)
		return false;
	for (size_t i = 0; i < old; i++)
		ranks[i] = (struct rank){t->ids[i], i};
	qsort(ranks, old, sizeof(*ranks), by_id);
	qsort_r(t->rows, count, sizeof(*t->rows), by_rank, &f);
	free(ranks);
	return true;
}

static void place_cursor(struct table *t)
{
	bool there = false;

	if (!t->count) {
		t->cursor = t->top = 0;
		return;
	}
	if (t->follow) {
		t->cursor = t->count - 1;
	} else if (t->chosen) {
		for (size_t i = 0; i < t->count && !there; i++) {
			if (t->ids[i] != t->selected)
				continue;
			t->cursor = i;
			there = true;
		}
	}
	if (t->cursor >= t->count)
		t->cursor = t->count - 1;
	t->selected = t->ids[t->cursor];
}

void table_update(struct table *t)
{
	size_t all = t->source->count(t->ctx), n = 0, old = t->count;

	if (all > t->room) {
		size_t room = all + all / 2 + 16;
		size_t *rows = reallocarray(t->rows, room, sizeof(*rows));
		uint64_t *ids;

		if (rows)
			t->rows = rows;
		ids = rows ? reallocarray(t->ids, room, sizeof(*ids)) : NULL;
		if (!ids) {
			t->count = 0;
			return;
		}
		t->ids = ids;
		t->room = room;
	}
	filter_update(t);
	for (size_t i = 0; i < all; i++)
		if ((!t->source->wanted || t->source->wanted(t->ctx, i)) && filter_wants(t, i))
			t->rows[n++] = i;
	if (n && !(t->frozen && keep_order(t, n, old)))
		qsort_r(t->rows, n, sizeof(*t->rows), by_column, t);
	t->count = n;
	for (size_t i = 0; i < n; i++)
		t->ids[i] = t->source->id(t->ctx, t->rows[i]);
	place_cursor(t);
}

size_t table_row(const struct table *t)
{
	return t->cursor < t->count ? t->rows[t->cursor] : SIZE_MAX;
}

static void go(struct table *t, size_t to)
{
	if (!t->count)
		return;
	t->cursor = to < t->count ? to : t->count - 1;
	t->selected = t->ids[t->cursor];
	t->chosen = true;
}

void table_select(struct table *t, uint64_t id)
{
	t->selected = id;
	t->chosen = true;
	t->follow = false;
	place_cursor(t);
}

/* --- drawing --- */

/* What the user has chosen, as far as there is room. */
static unsigned laid_out(const struct table *t, int width, unsigned list[COLUMNS_MAX])
{
	int left = width + 1;
	unsigned n = 0;

	for (unsigned i = 0; i < t->layout_count; i++) {
		int wide = t->source->columns[t->layout[i]].width + 1;

		/* The first one is cut rather than left out. */
		if (i && wide > left)
			continue;
		list[n++] = t->layout[i];
		left -= wide;
	}
	return n;
}

/* The next one to find room: those that `m` chose, and the others, each by rank. */
static unsigned next_column(const struct table *t, const bool *seen)
{
	const struct table_source *s = t->source;
	unsigned best = COLUMNS_MAX, best_order = UINT_MAX;

	for (unsigned c = 0; c < s->column_count && c < COLUMNS_MAX; c++) {
		const struct column *col = &s->columns[c];
		unsigned order = col->fixed             ? 0
				 : col->more == t->more ? 1 + col->rank
							: 1000 + col->rank;

		if (seen[c] || order >= best_order)
			continue;
		best = c;
		best_order = order;
	}
	return best;
}

/* The columns that are shown, left to right. */
static unsigned shown(const struct table *t, int width, unsigned list[COLUMNS_MAX])
{
	const struct table_source *s = t->source;
	bool take[COLUMNS_MAX] = {false}, seen[COLUMNS_MAX] = {false};
	int left = width + 1;
	unsigned n = 0, c;

	if (t->layout_count)
		return laid_out(t, width, list);
	while ((c = next_column(t, seen)) < COLUMNS_MAX) {
		seen[c] = true;
		take[c] = left >= s->columns[c].width + 1;
		left -= take[c] ? s->columns[c].width + 1 : 0;
	}
	for (c = 0; c < s->column_count && c < COLUMNS_MAX; c++)
		if (take[c])
			list[n++] = c;
	return n;
}

unsigned table_shown(const struct table *t, unsigned list[COLUMNS_MAX])
{
	return shown(t, screen_columns, list);
}

static int grown(const struct table *t, const unsigned *list, unsigned n, int width)
{
	int used = 0, growing = 0;

	for (unsigned i = 0; i < n; i++) {
		used += t->source->columns[list[i]].width + 1;
		growing += t->source->columns[list[i]].grows;
	}
	used--;
	return growing && width > used ? (width - used) / growing : 0;
}

static void draw_head(struct table *t, int y, const unsigned *list, unsigned n, int extra)
{
	int x = 0;

	put_row(y, STYLE_HEAD);
	for (unsigned i = 0; i < n; i++) {
		const struct column *c = &t->source->columns[list[i]];
		int width = c->width + (c->grows ? extra : 0);
		bool sorts = list[i] == t->sort;
		enum style style = sorts ? STYLE_SORT : STYLE_HEAD;
		int title = columns_of(c->title), mark = x + title;

		if (c->right)
			put_right(y, x, width, style, c->title);
		else
			put(y, x, width, style, c->title);
		/* Beside the title, if need be in the space between two columns. */
		if (c->right || title >= width)
			mark = x + width;
		if (sorts)
			put(y, mark < screen_columns ? mark : screen_columns - 1, 1, style,
			    t->frozen                    ? "*"
			    : c->descending != t->invert ? glyph(GLYPH_ARROW_DOWN)
							 : glyph(GLYPH_ARROW_UP));
		hit_add(y, x, width + 1, 1, HIT_COLUMN, (int)list[i]);
		x += width + 1;
	}
}

static void draw_row(struct table *t, int y, size_t at, const unsigned *list, unsigned n, int extra)
{
	bool selected = at == t->cursor;
	int x = 0;

	if (selected)
		put_row(y, STYLE_SELECTED);
	for (unsigned i = 0; i < n; i++) {
		const struct column *c = &t->source->columns[list[i]];
		int width = c->width + (c->grows ? extra : 0);
		enum style style = STYLE_PLAIN;

		nbds_buf_clear(&t->scratch);
		t->source->cell(t->ctx, t->rows[at], list[i], &t->scratch, &style);
		if (selected)
			style = STYLE_SELECTED;
		if (c->right)
			put_right(y, x, width, style, nbds_buf_text(&t->scratch));
		else
			put(y, x, width, style, nbds_buf_text(&t->scratch));
		x += width + 1;
	}
}

static void draw_totals(struct table *t, int y, const unsigned *list, unsigned n, int extra)
{
	int x = 0;

	put_row(y, STYLE_TOTAL);
	for (unsigned i = 0; i < n; i++) {
		const struct column *c = &t->source->columns[list[i]];
		int width = c->width + (c->grows ? extra : 0);
		enum style style = STYLE_TOTAL;

		nbds_buf_clear(&t->scratch);
		t->source->total(t->ctx, t->rows, t->count, list[i], &t->scratch, &style);
		if (c->right)
			put_right(y, x, width, STYLE_TOTAL, nbds_buf_text(&t->scratch));
		else
			put(y, x, width, STYLE_TOTAL, nbds_buf_text(&t->scratch));
		x += width + 1;
	}
}

/* Rows from which on there is one more for the totals. */
#define TOTAL_ROWS 6

/* The columns to sort by, over the rows. */
#define MENU_COLUMNS 28

static void draw_menu(struct table *t, int y, int rows)
{
	unsigned top = t->menu_at >= (unsigned)rows - 1 ? t->menu_at - (unsigned)rows + 2 : 0;

	putf(y, 0, MENU_COLUMNS, STYLE_HEAD, "Sort by");
	for (int i = 1; i < rows; i++) {
		unsigned at = top + (unsigned)i - 1;

		if (at < t->source->column_count)
			putf(y + i, 0, MENU_COLUMNS,
			     at == t->menu_at ? STYLE_SELECTED : STYLE_PLAIN, " %-12s%s",
			     t->source->columns[at].title, t->source->columns[at].key);
		else
			put(y + i, 0, MENU_COLUMNS, STYLE_PLAIN, "");
		hit_add(y + i, 0, MENU_COLUMNS, 1, HIT_COLUMN, (int)at);
	}
}

static void draw_rows(struct table *t, int y, int rows);

void table_draw(struct table *t, int y, int rows)
{
	/* What is drawn later lies above, and for the mouse what is found first. */
	if (rows < 1)
		return;
	if (t->menu) {
		draw_menu(t, y, rows);
		draw_rows(t, y, rows);
		draw_menu(t, y, rows);
		return;
	}
	draw_rows(t, y, rows);
}

static void draw_rows(struct table *t, int y, int rows)
{
	unsigned list[COLUMNS_MAX], n;
	int extra;
	bool total = t->source->total && t->count > 1 && rows >= TOTAL_ROWS;

	n = shown(t, screen_columns, list);
	extra = grown(t, list, n, screen_columns);
	draw_head(t, y, list, n, extra);
	if (total) {
		rows--;
		/* Below the last row, or at the end of the list. */
		draw_totals(t, y + (t->count < (size_t)rows ? (int)t->count + 1 : rows), list, n,
			    extra);
	}
	t->page = rows > 1 ? (unsigned)rows - 1 : 0;
	if (!t->page)
		return;
	if (t->cursor < t->top)
		t->top = t->cursor;
	if (t->cursor >= t->top + t->page)
		t->top = t->cursor - t->page + 1;
	if (t->count <= t->page)
		t->top = 0;
	else if (t->top > t->count - t->page)
		t->top = t->count - t->page;
	for (unsigned i = 0; i < t->page && t->top + i < t->count; i++) {
		draw_row(t, y + 1 + (int)i, t->top + i, list, n, extra);
		hit_add(y + 1 + (int)i, 0, screen_columns, 1, HIT_ROW, (int)(t->top + i));
	}
	if (!t->count)
		put(y + 2, 2, screen_columns - 4, STYLE_DIM,
		    t->filter[0] ? "Nothing matches the filter."
		    : t->empty   ? t->empty
				 : t->source->empty);
}

void table_text(struct table *t, struct nbds_buf *b)
{
	for (size_t i = 0; i <= t->count; i++) {
		for (unsigned c = 0; c < t->source->column_count; c++) {
			enum style style = STYLE_PLAIN;

			if (c)
				nbds_buf_puts(b, "\t");
			if (i)
				t->source->cell(t->ctx, t->rows[i - 1], c, b, &style);
			else
				nbds_buf_puts(b, t->source->columns[c].title);
		}
		nbds_buf_puts(b, "\n");
	}
}

/* --- what the user does --- */

static void sort_by(struct table *t, unsigned column)
{
	if (column == t->sort)
		t->invert = !t->invert;
	else
		t->invert = false;
	t->sort = column;
	t->frozen = false;
	table_update(t);
}

/* The next column that is shown. */
static void sort_move(struct table *t, int by)
{
	unsigned list[COLUMNS_MAX], n = shown(t, screen_columns, list);
	int at = -1;

	for (unsigned i = 0; i < n; i++)
		if (list[i] == t->sort)
			at = (int)i;
	if (!n)
		return;
	at = at < 0 ? 0 : (at + by + (int)n) % (int)n;
	t->sort = list[at];
	t->invert = false;
	t->frozen = false;
	table_update(t);
}

/* Keys while columns are offered. */
static bool menu_action(struct table *t, enum action action)
{
	switch (action) {
	case ACTION_UP:
		t->menu_at -= t->menu_at > 0;
		return true;
	case ACTION_DOWN:
		t->menu_at += t->menu_at + 1 < t->source->column_count;
		return true;
	case ACTION_FIRST:
		t->menu_at = 0;
		return true;
	case ACTION_LAST:
		t->menu_at = t->source->column_count - 1;
		return true;
	case ACTION_ENTER:
		t->menu = false;
		if (t->menu_at != t->sort)
			sort_by(t, t->menu_at);
		return true;
	case ACTION_BACK:
	case ACTION_SORT_MENU:
		t->menu = false;
		return true;
	default:
		return false;
	}
}

bool table_action(struct table *t, enum action action)
{
	size_t page = t->page ? t->page : 1;

	if (t->menu)
		return menu_action(t, action);

	if (action == ACTION_UP || action == ACTION_PAGE_UP || action == ACTION_FIRST)
		t->follow = false;
	switch (action) {
	case ACTION_UP:
		go(t, t->cursor ? t->cursor - 1 : 0);
		return true;
	case ACTION_DOWN:
		go(t, t->cursor + 1);
		return true;
	case ACTION_PAGE_UP:
		t->top = t->top > page ? t->top - page : 0;
		go(t, t->cursor > page ? t->cursor - page : 0);
		return true;
	case ACTION_PAGE_DOWN:
		if (t->top + 2 * page <= t->count)
			t->top += page;
		go(t, t->cursor + page);
		return true;
	case ACTION_FIRST:
		go(t, 0);
		return true;
	case ACTION_LAST:
		go(t, SIZE_MAX);
		return true;
	case ACTION_SORT_LEFT:
		sort_move(t, -1);
		return true;
	case ACTION_SORT_RIGHT:
		sort_move(t, 1);
		return true;
	case ACTION_SORT_MENU:
		t->menu = true;
		t->menu_at = t->sort;
		return true;
	case ACTION_INVERT:
		t->invert = !t->invert;
		t->frozen = false;
		table_update(t);
		return true;
	case ACTION_FREEZE:
		t->frozen = !t->frozen;
		table_update(t);
		return true;
	case ACTION_MORE:
		t->more = !t->more;
		return true;
	default:
		return false;
	}
}

bool table_search(struct table *t, const char *text, int direction, bool here)
{
	for (size_t i = here ? 0 : 1; i <= t->count && t->count; i++) {
		size_t at = (t->cursor + (direction > 0 ? i : t->count - i % t->count)) % t->count;

		if (row_has(t, t->rows[at], text)) {
			t->follow = false;
			go(t, at);
			return true;
		}
	}
	return false;
}

void table_click(struct table *t, enum hit kind, int value)
{
	if (kind == HIT_COLUMN) {
		t->menu = false;
		if ((unsigned)value < t->source->column_count)
			sort_by(t, (unsigned)value);
	} else {
		t->follow = false;
		go(t, (size_t)value);
	}
}

/* --- what the user has set up --- */

/* The column called so; COLUMNS_MAX: there is none. */
static unsigned column_called(const struct table *t, const char *name, size_t len)
{
	for (unsigned c = 0; c < t->source->column_count && c < COLUMNS_MAX; c++)
		if (strlen(t->source->columns[c].key) == len &&
		    !strncmp(t->source->columns[c].key, name, len))
			return c;
	return COLUMNS_MAX;
}

static void no_column(const char *name, size_t len, char *err, size_t errsize)
{
	if (!err[0])
		snprintf(err, errsize, "setup: there is no column \"%.*s\"",
			 len < 40 ? (int)len : 40, name);
}

void table_layout_set(struct table *t, const struct config_list *list, char *err, size_t errsize)
{
	const char *sort = list->sort;

	t->layout_count = 0;
	for (const char *at = list->columns + strspn(list->columns, " ,"); *at;) {
		size_t len = strcspn(at, " ,");
		unsigned column = column_called(t, at, len);
		bool again = false;

		for (unsigned i = 0; i < t->layout_count; i++)
			again |= t->layout[i] == column;
		if (column == COLUMNS_MAX)
			no_column(at, len, err, errsize);
		else if (!again)
			t->layout[t->layout_count++] = column;
		at += len;
		at += strspn(at, " ,");
	}
	if (!*sort)
		return;
	t->invert = *sort == '-';
	sort += t->invert;
	if (column_called(t, sort, strlen(sort)) == COLUMNS_MAX)
		no_column(sort, strlen(sort), err, errsize);
	else
		t->sort = column_called(t, sort, strlen(sort));
}

void table_layout_get(const struct table *t, struct config_list *list)
{
	size_t used = 0;

	list->columns[0] = '\0';
	for (unsigned i = 0; i < t->layout_count; i++) {
		const char *key = t->source->columns[t->layout[i]].key;

		if (used + strlen(key) + 2 > sizeof(list->columns))
			break;
		used += (size_t)snprintf(list->columns + used, sizeof(list->columns) - used, "%s%s",
					 i ? " " : "", key);
	}
	snprintf(list->sort, sizeof(list->sort), "%s%s", t->invert ? "-" : "",
		 t->source->columns[t->sort].key);
}
