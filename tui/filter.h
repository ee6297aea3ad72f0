/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/filter.h - which messages are shown.
 *
 *	write and conn == 2
 *	took > 10ms or error
 *	not (read or flush) and offset >= 1M
 *	nbd.cmd.flags.fua == 1 and "cookie 0x7"
 *
 * A term is a field with an operator (== = != < <= > >= ~) and a value, a word
 * that is true or false of a message, or text in quotes that its line must hold.
 * Fields are those of filter_fields[] and every field of the decoder (nbd.len).
 * Numbers may be hexadecimal or have K, M, G; times ns, us, ms, s; commands and
 * errors have their names with or without what they all begin with.
 *
 * The filter of a list is of the same kind: its fields are the list's columns, and a
 * word by itself is text that a row must hold.
 *
 * Ownership.  A filter is a value; nothing to free.  Failure.  filter_parse()
 * says where and why.
 */
#ifndef NBDSCOPE_TUI_FILTER_H
#define NBDSCOPE_TUI_FILTER_H

#include "log.h"

#define FILTER_TEXT  240
#define FILTER_NODES 64

enum filter_op { OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_HAS };

struct filter_node {
	enum {
		NODE_AND,
		NODE_OR,
		NODE_NOT,
		NODE_WORD,
		NODE_FIELD,
		NODE_COLUMN,
		NODE_NBD,
		NODE_TEXT
	} kind;
	uint8_t left, right; /* AND, OR; NOT: left */
	enum filter_op op;
	int field; /* index into the words, the fields, the columns, or nbds_fields */
	bool bare; /* NBD: no value: it is there, and not zero */
	bool number;
	uint64_t value;
	uint16_t text_at, text_len; /* in filter.text */
};

struct filter {
	bool any; /* false: all messages match */
	uint8_t root;
	unsigned count;
	struct filter_node nodes[FILTER_NODES];
	char text[FILTER_TEXT + FILTER_NODES]; /* strings */
	unsigned text_used;
};

/* True: `f` is what `text` says (an empty text: everything). False: the reason, and
 * the place in `text` where it begins; `f` is undefined. */
bool filter_parse(struct filter *f, const char *text, char *why, size_t why_size, unsigned *where);

/* `start`: time of the capture's first packet. `line`: for its memory. */
bool filter_match(const struct filter *f, const struct log_entry *e, int64_t start,
		  struct nbds_buf *line);

/* The same with the names of columns. */
bool filter_parse_list(struct filter *f, const char *text, const char *const *columns,
		       unsigned column_count, char *why, size_t why_size, unsigned *where);

/* A row of a list. */
struct filter_row {
	void *ctx;
	/* False: the column has no number in this row. */
	bool (*number)(void *ctx, unsigned column, uint64_t *value);
	const char *(*text)(void *ctx, unsigned column);
	/* Any of its columns holds the text. */
	bool (*holds)(void *ctx, const char *text);
};
bool filter_match_row(const struct filter *f, const struct filter_row *row);

/* For the help: names and what they are, NULL at the end. */
struct filter_name {
	const char *name, *what;
};
extern const struct filter_name filter_fields[];
extern const struct filter_name filter_words[];

#endif
