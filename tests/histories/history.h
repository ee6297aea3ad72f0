/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/histories/history.h - a history: what an observer saw of the
 * connections to one NBD server.
 *
 * Purpose.  The common language of the simulator that makes histories, the
 * reference checker that judges them by the definitions, and the driver that
 * feeds them to the engine.  Instants are microseconds; no two events share
 * one.  Every event is a frame, numbered from 1 in the order of instants.
 *
 * Contents.  A sector of 512 bytes is made from a small number, its value.  Of the
 * values 0 to 255 any two differ in every byte, and 0 is all zeroes.  Others share
 * bytes, as contents of real disks do:
 *	1000 + 256 * p + k	zeroes, but for a counter k at one of four places (p 0..3)
 *	3000 + k		512 times the byte k (1..255)
 *	4000 + 16 * a + b	512 times the byte a, but b at every eighth place (a, b 1..15)
 * Up to four pieces of different values can stand in one sector.
 *
 * Text form.  One line an event, in the order of capture; `#` after a blank
 * starts a comment.  An instant `@N` may stand before any event; without it an
 * event is 1 us after the one before.  Connections are called by one capital
 * letter, commands by it and a number of the writer's choice:
 *
 *	epsilon 50                      margin of capture order, us (default 0)
 *	exclusive                       the user vouches for the closed world
 *	A connect export=disk flags=mc,flush,fua size=65536
 *		flags also: trim zeroes fast ro, or `none`; all but ro without
 *		`flags=`.  `midway`: its first bytes were not seen; `unknown`:
 *		flags and size neither; `port=1`: to another port of the same
 *		address (0 if not said)
 *	A#1 write 3+2 =5,6 fua          sectors 3 and 4 get the values 5 and 6
 *	A#2 write b100+1000 =5          1000 bytes from byte 100 on, all of value 5
 *	A#3 write 0 =5/100:7            bytes 0..99 of value 5, the rest of value 7
 *	A#4 write 0 =?                  payload that the capture does not have
 *	A#5 zeroes 3+2 fast fua         or trim, or read, or flush, or status
 *	A#6 read 3+2
 *	A#6 data 3=5                    sector 3 of the answer has been seen
 *	A#6 ok 4=7                      the rest of it, and success
 *	A#7 status 0+8
 *	A#7 ok 0=zero 1=hole 2=hole,zero 3=data
 *	A#1 error 5                     an error (5 if no number is given)
 *	A#2 open                        from here on: its outcome will never be known
 *	A gap                           client's bytes may be missing since here
 *	A gap @7                        ... since 7; it is noticed here
 *	A tls                           nothing can be seen from here on
 *	A end
 *
 * Requests may be `ambiguous` (cookie shared with another one in flight) or
 * `illegal`.  A command without a final line was never answered.  TCP evidence
 * stands at requests and final lines: `ack=#4` says that this frame
 * acknowledged all of the other side's bytes up to and including command #4
 * (its request with payload, or its reply) of the same connection; `ack=@90`
 * all of them up to the instant 90; `-N` after either: but for N bytes.
 *
 * Last come expectations, if any:
 *
 *	expect A#6 stale-read-own-write violation     a finding about A#6
 *	expect A#6 stale-read-own-write violation 3+1 ... with these sectors
 *	expect A#6 none                               no finding
 *	expect A#6 no violation                       nothing worse than suspect
 *	expect A#6 unjudged                           no verdict on any byte
 *
 * and behind a rule's level, with or without sectors, the commands that it names:
 * `write=A#1 stale=A#2 flush=B#3`.
 *
 * Ownership.  h_free() frees what a history holds.  Failure: parsing tells the
 * line; shortage of memory ends the program (these are tests).
 */
#ifndef NBDSCOPE_TESTS_HISTORY_H
#define NBDSCOPE_TESTS_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <nbdscope/finding.h>
#include <nbdscope/protocol.h>

#define H_SECTOR 512u
#define H_NEVER  INT64_MAX
#define H_PIECES 4
#define H_LOST   (-1) /* value of bytes that were not captured */

struct h_content {
	uint8_t pieces;
	uint16_t end[H_PIECES]; /* offset behind the piece; of the last: 512 */
	int16_t value[H_PIECES];
};

/* What a command says of one sector. */
struct h_cell {
	struct h_content content; /* written, or read */
	uint32_t status;          /* BLOCK_STATUS: NBD_STATE_* */
	int64_t seen;             /* READ, BLOCK_STATUS: when it was seen; H_NEVER: it was not */
};

enum h_outcome { H_PENDING, H_OK, H_FAILED, H_OPEN };

struct h_ack {
	bool known;
	int64_t upto;    /* all bytes of the other side's events up to this instant */
	uint32_t short_; /* but for so many bytes */
};

struct h_command {
	int connection;
	unsigned cookie;
	uint16_t type, flags;
	uint64_t offset, length;
	bool ambiguous, illegal;
	int64_t request;        /* instant of the request */
	int64_t reply;          /* instant of the outcome; H_NEVER if H_PENDING */
	enum h_outcome outcome; /* H_PENDING: never answered */
	uint32_t error;         /* H_FAILED: NBD_E* */
	struct h_ack request_ack, reply_ack;
	unsigned sectors;     /* that it touches */
	struct h_cell *cells; /* `sectors` of them */
};

struct h_connection {
	char name;
	char export_name[16];
	uint16_t flags;
	uint64_t size;
	int port; /* of the server's address: ports of different numbers are endpoints */
	bool from_start, known;
	int64_t connect, end, tls;      /* end, tls: H_NEVER if not */
	int64_t gap_since, gap_noticed; /* H_NEVER if there is none */
};

struct h_expectation {
	int command;
	char rule[40]; /* "none", "no", "unjudged" or a rule's name */
	enum nbds_severity severity;
	bool has_range;
	uint64_t sector, sectors;
	int write, stale, flush; /* commands; -1: any */
};

struct history {
	int64_t epsilon;
	bool exclusive;
	struct h_connection *connections;
	int connection_count;
	struct h_command *commands; /* in the order of their requests */
	int command_count;
	struct h_expectation *expectations;
	int expectation_count;
};

enum h_event_kind {
	H_EVENT_CONNECT,
	H_EVENT_REQUEST,
	H_EVENT_DATA,
	H_EVENT_REPLY,
	H_EVENT_GAP, /* noticed; that it is since an earlier instant makes no frame */
	H_EVENT_TLS,
	H_EVENT_END,
};

struct h_event {
	int64_t at;
	enum h_event_kind kind;
	int index; /* connection or command */
};

#define H_VALUE_MAX 4255
/* Byte `at` of a sector of value `value`. */
uint8_t h_byte(int value, unsigned at);
/* Two such values differ in every byte, or are the same. */
static inline bool h_is_plain(int value)
{
	return value <= 255;
}
/* A sector all of one value. */
struct h_content h_content(int value);
/* The value at byte `at` of a sector. */
int h_value_at(const struct h_content *c, unsigned at);
/* Writes the sector's 512 bytes (lost ones as 0xff). */
void h_fill(const struct h_content *c, uint8_t *out);

bool h_is_write(uint16_t type); /* write-class: WRITE, WRITE_ZEROES, TRIM */
static inline uint64_t h_first_sector(const struct h_command *c)
{
	return c->offset / H_SECTOR;
}
/* Bytes of sector number `i` of the command that it covers: [*from, *to). */
void h_cell_range(const struct h_command *c, unsigned i, uint64_t *from, uint64_t *to);

/* An empty history; a connection or command of it, to be filled in. The
 * command has its cells, with value 0, unseen. Pointers are valid until the
 * next one is added. */
void h_init(struct history *h);
void h_free(struct history *h);
struct h_connection *h_add_connection(struct history *h);
struct h_command *h_add_command(struct history *h, int connection, uint16_t type, uint64_t offset,
				uint64_t length);
void h_copy(struct history *to, const struct history *from);
/* Every byte becomes eight of them: a sector becomes a block of 4 KiB, of which the engine knows
 * more at once. Without expectations. */
#define H_WIDER 8u
void h_widen(struct history *h);
/* Commands into the order of requests, connections into that of connects. */
void h_sort(struct history *h);
/* All events in the order of instants. The caller frees the array. */
struct h_event *h_events(const struct history *h, size_t *count);
/* The frame of an event at `at`; 0 for H_NEVER. */
uint64_t h_frame(const struct h_event *events, size_t count, int64_t at);

/* Stream offsets, as a capture would give them. */
struct h_offsets {
	uint64_t header_end, payload_end; /* of the request, client's stream */
	uint64_t status_end;              /* of the reply, server's stream; 0: none */
	uint64_t request_acked;           /* by the request; UINT64_MAX: not known */
	uint64_t reply_acked;             /* by the reply; UINT64_MAX: not known */
};
/* One for each command. The caller frees the array. */
struct h_offsets *h_stream_offsets(const struct history *h);

/* Reads the text form. False: `error` says why, with the line. */
bool h_parse(struct history *h, const char *text, char *error, size_t error_size);
void h_print(const struct history *h, FILE *out);

#endif
