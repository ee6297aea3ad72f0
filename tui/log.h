/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tui/log.h - the last messages, written by one thread and read by another.
 *
 * Purpose.  Keeps what is needed to show a message again: its head, its place in
 * the capture, and its request.  The thread that captures adds; the one that draws
 * looks through a view.  Neither ever waits for the other for longer than it takes
 * to exchange a few pointers:
 *
 *	 log    [seg 7][seg 8][seg 9]──► entries are added to the last segment
 *	           │      │      │
 *	 view   [seg 7][seg 8][seg 9]    as of its last update; a segment lives as
 *	                                 long as the log or a view has it
 *
 * An entry never changes once it can be seen, but that bytes of its payload come.  The log keeps at least as many
 * entries as asked for, and memory for no more than that and what a view still
 * holds.
 *
 * Failure.  Without memory entries are lost, and counted.
 */
#ifndef NBDSCOPE_TUI_LOG_H
#define NBDSCOPE_TUI_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <nbdscope/engine.h>
#include <nbdscope/fields.h>

#include "../analyzer/report/buf.h"

/* Bytes of a payload that are kept. */
#define LOG_PAYLOAD 64u

typedef __typeof__(((struct nbds_message *)NULL)->u) nbds_message_detail;

struct log_entry {
	uint64_t number; /* from 1, without holes */
	uint64_t frame, last_frame;
	int64_t time; /* of the first byte, ns */
	uint32_t connection;
	uint32_t flags; /* NBDS_MSG_* */
	bool trouble;   /* no message: what the decoder could not follow */
	bool has_request;
	bool took_known;
	uint8_t type, from, payload; /* as in struct nbds_message */
	uint8_t trouble_kind;
	uint64_t took; /* replies: ns since their request */
	uint64_t request_frame;
	uint64_t offset, payload_len; /* trouble: bytes */
	const char *name;             /* trouble: its text */
	const uint8_t *head;
	uint32_t head_len;
	const uint8_t *bytes;    /* of the payload, its first ones */
	_Atomic uint32_t kept;   /* so many, as far as they have come */
	_Atomic bool broken_off; /* its payload never came to its end */
	struct nbds_request request;
	nbds_message_detail detail;
};

struct log;

/* Memory that so many entries take, and entries that so much memory is for, at least
 * some. A view may hold what was dropped for a while. */
uint64_t log_bytes(uint64_t history);
uint64_t log_entries(uint64_t bytes);

/* Keeps the last `history` entries. NULL without memory. */
struct log *log_new(uint64_t history);
/* Views must be closed before. */
void log_free(struct log *log);

/* The thread that adds. */
/* The number of its entry; 0: it is lost. */
uint64_t log_message(struct log *log, const struct nbds_connection *c,
		     const struct nbds_message *m);
/* The next bytes of the payload of an entry; those that it does not keep, or that come when
 * many others have come since, are left out. */
void log_payload(struct log *log, uint64_t number, uint64_t at, const uint8_t *data, size_t len);
/* The payload of entry `number` ended before its end. */
void log_broken_off(struct log *log, uint64_t number);
void log_trouble(struct log *log, const struct nbds_connection *c, const struct nbds_trouble *t);
/* Entries added so far. */
uint64_t log_total(const struct log *log);
uint64_t log_lost(const struct log *log);

/* The thread that looks. All zeroes is an empty view. */
struct log_view {
	struct segment **segments; /* oldest first */
	unsigned count, room;
	uint64_t first, last; /* numbers; first > last: empty */
};
/* Takes in what is new, and lets go what the log has dropped. */
void log_view_update(struct log *log, struct log_view *view);
void log_view_close(struct log *log, struct log_view *view);
/* NULL: not in the view. Valid until the next update. */
const struct log_entry *log_view_get(const struct log_view *view, uint64_t number);

/* The message of an entry as the decoder told it; `m` borrows from `e`. */
void entry_message(const struct log_entry *e, struct nbds_message *m);
/* Adds one line without the place: "NBD_CMD_WRITE 4096 bytes at 0x1000, ..." */
void entry_line(const struct log_entry *e, struct nbds_buf *b);

#endif
