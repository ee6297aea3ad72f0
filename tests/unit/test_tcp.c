/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_tcp.c - TCP reassembly, case by case and against a model.
 *
 * A test sends segments of one connection (or several: other ports) through
 * put(), with stream offsets instead of sequence numbers, and compares what
 * comes out with a line of words: see note() for them.  A and B are the sides,
 * A the one that opens the connection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analyzer/tcp/tcp.h"

#define A       NBDS_DIR_A
#define B       NBDS_DIR_B
#define SYN     NBDS_TCP_SYN
#define ACK     NBDS_TCP_ACK
#define FIN     NBDS_TCP_FIN
#define RST     NBDS_TCP_RST
#define NONE    INT64_MIN /* no acknowledgement */
#define MS      INT64_C(1000000)
#define FOREVER (3600 * 1000 * MS)

struct seen {
	struct nbds_mark mark;
	const uint8_t *data;
	size_t len;
};

static struct {
	struct nbds_tcp *tcp;
	uint32_t isn[2];
	uint16_t port; /* A's */
	struct nbds_packet packet;
	char log[65536];
	size_t length;
	unsigned opened;
	unsigned frames;
	struct nbds_flow *flow; /* the last one opened */
	struct seen last[2];    /* data of each direction */
	struct nbds_mark gap, closed;
	bool bytes; /* log them, else only their number */
	bool ignore_open, ignore_data;
	uint64_t next[2]; /* as told, for the checks of every event */
	bool check_next;
	bool swapped; /* the server is the one that a flow in the middle starts with */
	bool acks;
	struct nbds_conflict conflict; /* the last one */
	uint8_t checksum, ip_checksum; /* of the next segments */
	uint32_t cut;          /* of the next segment's payload, as a snapshot length does */
	uint32_t stamp;        /* of the next segments; 0: none */
	struct nbds_sack sack; /* of the next segment, as offsets; empty: none */
	/* Segments as they would be in a file, and the one in work. */
	uint8_t *file;
	size_t file_size, file_at;
	const uint8_t *payload;
	size_t payload_size;
	unsigned read_again;
	bool gone;
} x;

/* The log's words, each with a blank behind:
 *	open:syn open:middle     a flow
 *	A5:hello                 bytes of A from offset 5 (A5+1000 without x.bytes)
 *	gapA5+3:lost             also snaplen, limit, end
 *	clashA5+3                copies differ; unsureA5+3: they may; with x.acks
 *	                         reackA5+3: they acknowledge something else
 *	badA                     a segment was discarded for its checksum
 *	finA
 *	close:fin                also rst-by-A, rst-by-B, reused, idle, open
 */
static void note(const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(x.log + x.length, sizeof(x.log) - x.length, format, args);
	va_end(args);
	if (n > 0 && x.length + (size_t)n < sizeof(x.log) - 1) {
		x.length += (size_t)n;
		x.log[x.length++] = ' ';
		x.log[x.length] = 0;
	}
}

static void *on_open(void *ctx, struct nbds_flow *flow, const struct nbds_addr *a,
		     const struct nbds_addr *b, bool syn, const struct nbds_mark *where)
{
	(void)ctx;
	assert_true(where->frame > 0);
	assert_int_equal(a->family, 4);
	assert_int_equal(b->family, 4);
	assert_int_equal(x.swapped ? a->port : b->port, 10809);
	assert_int_equal(x.swapped ? b->port : a->port, x.port);
	x.opened++;
	x.flow = flow;
	x.next[0] = x.next[1] = 0;
	note("open:%s", syn ? "syn" : "middle");
	if (x.ignore_open)
		nbds_tcp_ignore(flow);
	return &x;
}

static void on_data(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
		    size_t len, const struct nbds_mark *where)
{
	(void)ctx;
	assert_ptr_equal(user, &x);
	assert_true(len > 0);
	if (x.check_next)
		assert_int_equal(offset, x.next[dir]);
	x.next[dir] = offset + len;
	x.last[dir].mark = *where;
	x.last[dir].data = data;
	x.last[dir].len = len;
	/* What marks always hold. */
	assert_true(where->flags & (NBDS_MARK_FIRST_TX | NBDS_MARK_LATE));
	assert_int_equal(where->flags & ~(NBDS_MARK_FIRST_TX | NBDS_MARK_LATE), 0);
	if (!(where->flags & NBDS_MARK_LATE)) {
		assert_int_equal(where->lo_frame, where->frame);
		assert_int_equal(where->lo_time, where->time);
	} else {
		assert_true(where->lo_frame <= where->frame);
	}
	if (x.bytes)
		note("%c%llu:%.*s", "AB"[dir], (unsigned long long)offset, (int)len,
		     (const char *)data);
	else
		note("%c%llu+%zu", "AB"[dir], (unsigned long long)offset, len);
	if (x.ignore_data)
		nbds_tcp_ignore(x.flow);
}

static void on_gap(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
		   enum nbds_gap_reason why, const struct nbds_mark *where)
{
	static const char *const names[] = {"lost", "snaplen", "limit", "end"};

	(void)ctx;
	assert_ptr_equal(user, &x);
	assert_true(len > 0);
	if (x.check_next)
		assert_int_equal(offset, x.next[dir]);
	x.next[dir] = offset + len;
	x.gap = *where;
	note("gap%c%llu+%llu:%s", "AB"[dir], (unsigned long long)offset, (unsigned long long)len,
	     names[why]);
}

static void on_conflict(void *ctx, void *user, int dir, const struct nbds_conflict *c)
{
	static const char *const names[] = {"clash", "unsure", "reack", "circle"};

	(void)ctx;
	assert_ptr_equal(user, &x);
	assert_true(c->first.frame <= c->where.frame);
	x.conflict = *c;
	if (c->kind < NBDS_CONFLICT_ACK || x.acks)
		note("%s%c%llu+%llu", names[c->kind], "AB"[dir], (unsigned long long)c -> offset,
		     (unsigned long long)c -> len);
}

static void on_discard(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	(void)ctx;
	assert_ptr_equal(user, &x);
	assert_int_equal(where->frame, x.packet.frame);
	note("bad%c", "AB"[dir]);
}

static void on_half_close(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	(void)ctx;
	assert_ptr_equal(user, &x);
	assert_true(where->frame > 0);
	note("fin%c", "AB"[dir]);
}

static void on_close(void *ctx, void *user, enum nbds_flow_end how, int by,
		     const struct nbds_mark *where)
{
	static const char *const names[] = {"fin", "rst", "reused", "idle", "open"};

	(void)ctx;
	assert_ptr_equal(user, &x);
	x.closed = *where;
	assert_int_equal(by >= 0, how == NBDS_FLOW_RST);
	if (by >= 0)
		note("close:rst-by-%c", "AB"[by]);
	else
		note("close:%s", names[how]);
}

static void on_frame(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	(void)ctx;
	assert_ptr_equal(user, &x);
	assert_true(dir == 0 || dir == 1);
	assert_int_equal(where->frame, x.packet.frame);
	x.frames++;
}

static const struct nbds_tcp_ops ops = {
	.open = on_open,
	.data = on_data,
	.gap = on_gap,
	.conflict = on_conflict,
	.discard = on_discard,
	.half_close = on_half_close,
	.close = on_close,
	.frame = on_frame,
};

static void start_with(const struct nbds_tcp_limits *limits)
{
	memset(&x, 0, sizeof(x));
	x.tcp = nbds_tcp_new(limits, &ops, NULL);
	assert_non_null(x.tcp);
	x.isn[A] = 0x10000000;
	x.isn[B] = 0xfffffff0; /* wraps soon */
	x.port = 40000;
	x.packet.time = INT64_C(1700000000000000000);
	x.bytes = true;
	x.check_next = true;
}

static int setup(void **state)
{
	(void)state;
	start_with(NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	nbds_tcp_free(x.tcp);
	x.tcp = NULL;
	return 0;
}

/* For tests with limits of their own. */
static void restart(const struct nbds_tcp_limits *limits)
{
	nbds_tcp_free(x.tcp);
	start_with(limits);
}

static void segment(int dir, uint8_t flags, uint32_t seq, uint32_t ack, const void *data,
		    size_t len)
{
	struct nbds_addr a = {.ip = {10, 0, 0, 1}, .port = x.port, .family = 4};
	struct nbds_addr b = {.ip = {10, 0, 0, 2}, .port = 10809, .family = 4};
	struct nbds_segment s = {
		.packet = &x.packet,
		.src = dir == A ? a : b,
		.dst = dir == A ? b : a,
		.seq = seq,
		.ack = ack,
		.flags = flags,
		.window = 500,
		.scale = -1,
		.checksum = x.checksum,
		.ip_checksum = x.ip_checksum,
		.payload = data,
		.len = (uint32_t)len,
		.caplen = (uint32_t)len - x.cut,
		.stamped = x.stamp != 0,
		.stamp = x.stamp,
		.sack_count = x.sack.from != x.sack.to,
		.sack[0] = {x.isn[!dir] + 1 + x.sack.from, x.isn[!dir] + 1 + x.sack.to},
	};
	uint8_t *copy = NULL;

	/* Bytes in a block of their own: a sanitizer sees reads beyond them. */
	if (s.caplen && s.caplen < 4096) {
		copy = malloc(s.caplen);
		assert_non_null(copy);
		memcpy(copy, data, s.caplen);
		s.payload = copy;
	}
	x.cut = 0;
	x.sack = (struct nbds_sack){0, 0};
	x.packet.frame++;
	x.packet.time += MS / 10;
	if (x.file && s.caplen) {
		assert_true(x.file_size - x.file_at >= s.caplen);
		memcpy(x.file + x.file_at, data, s.caplen);
	}
	x.payload = s.payload;
	x.payload_size = s.caplen;
	nbds_tcp_segment(x.tcp, &s);
	if (x.file)
		x.file_at += s.caplen;
	free(copy);
}

/* A segment of `dir` at stream offset `at`, acknowledging `ack` bytes. */
static void put(int dir, int64_t at, int64_t ack, const char *text)
{
	segment(dir, ack == NONE ? 0 : ACK, x.isn[dir] + 1 + (uint32_t)at,
		ack == NONE ? 0 : x.isn[!dir] + 1 + (uint32_t)ack, text, strlen(text));
}

static void put_flags(int dir, uint8_t flags, int64_t at, int64_t ack, const char *text)
{
	segment(dir, (uint8_t)(flags | (ack == NONE ? 0 : ACK)),
		x.isn[dir] + 1 + (uint32_t)at - (flags & SYN ? 1 : 0),
		ack == NONE ? 0 : x.isn[!dir] + 1 + (uint32_t)ack, text, strlen(text));
}

static void ack(int dir, int64_t at, int64_t acknowledged)
{
	put(dir, at, acknowledged, "");
}

static void handshake(void)
{
	put_flags(A, SYN, 0, NONE, "");
	put_flags(B, SYN, 0, 0, "");
	ack(A, 0, 0);
}

static void pass(int64_t ns)
{
	x.packet.time += ns;
}

static void forget(void)
{
	x.length = 0;
	x.log[0] = 0;
}

/* What was told since the last look. */
static void expect_at(const char *words, int line)
{
	char told[sizeof(x.log)];

	memcpy(told, x.log, x.length + 1);
	while (x.length && told[x.length - 1] == ' ')
		told[--x.length] = 0;
	forget();
	if (strcmp(told, words))
		fail_msg("line %d: expected \"%s\", was told \"%s\"", line, words, told);
}
#define expect(words) expect_at(words, __LINE__)

static void mark_is_at(int dir, uint32_t flags, uint64_t frame, uint64_t lo_frame, int line)
{
	const struct nbds_mark *m = &x.last[dir].mark;

	if (m->flags != flags || m->frame != frame || m->lo_frame != lo_frame)
		fail_msg("line %d: flags %u frame %llu lo %llu, expected %u, %llu, %llu", line,
			 m->flags, (unsigned long long)m->frame, (unsigned long long)m->lo_frame,
			 flags, (unsigned long long)frame, (unsigned long long)lo_frame);
}
#define first_tx(dir, frame)    mark_is_at(dir, NBDS_MARK_FIRST_TX, frame, frame, __LINE__)
#define is_late(dir, frame, lo) mark_is_at(dir, NBDS_MARK_LATE, frame, lo, __LINE__)

static void held(int dir, bool any, uint64_t since_frame)
{
	struct nbds_mark since;

	assert_int_equal(nbds_tcp_held_since(x.flow, dir, &since), any);
	if (any)
		assert_int_equal(since.frame, since_frame);
}

#define stat(name) (nbds_tcp_stats(x.tcp)->name)

/* Frames that bring something and change nothing else: A sends, B acknowledges. */
static int64_t chatter(int64_t at, int64_t b_at, unsigned frames)
{
	while (frames) {
		put(A, at, b_at, "x");
		at++;
		if (--frames) {
			ack(B, b_at, at);
			frames--;
		}
	}
	return at;
}

/* --- opening --- */

static void opens_and_closes(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	expect("open:syn");
	put_flags(B, SYN, 0, 0, "");
	ack(A, 0, 0);
	expect("");
	put(B, 0, 0, "hello");
	expect("B0:hello");
	put(A, 0, 5, "hi");
	put(A, 2, 5, " there");
	expect("A0:hi A2: there");
	put_flags(A, FIN, 8, 5, "");
	expect("finA");
	ack(B, 5, 9);
	put_flags(B, FIN, 5, 9, "");
	expect("finB close:fin");
	assert_int_equal(x.closed.frame, x.packet.frame);
	ack(A, 9, 6);
	expect("");
	assert_int_equal(x.opened, 1);
	assert_int_equal(x.frames, 9); /* all but the last, which comes after the end */
	assert_int_equal(stat(flows), 1);
	assert_int_equal(stat(segments), 10);
	assert_int_equal(stat(bytes), 13);
	nbds_tcp_finish(x.tcp);
	expect("");
}

static void bytes_are_handed_on_in_place(void **state)
{
	static uint8_t payload[8192];

	(void)state;
	handshake();
	x.bytes = false;
	segment(A, ACK, x.isn[A] + 1, x.isn[B] + 1, payload, sizeof(payload));
	assert_ptr_equal(x.last[A].data, payload);
	assert_int_equal(x.last[A].len, sizeof(payload));
	assert_int_equal(stat(held_max), 0);
	segment(A, ACK, x.isn[A] + 1 + 4096, x.isn[B] + 1, payload, sizeof(payload));
	assert_ptr_equal(x.last[A].data, payload + 4096); /* the new half */
	assert_int_equal(stat(held_max), 0);
	expect("open:syn A0+8192 A8192+4096");
}

static void starts_in_the_middle(void **state)
{
	(void)state;
	ack(A, 100, 1000);
	ack(B, 1000, 100);
	expect("");
	assert_int_equal(x.opened, 0);
	put(B, 1000, 100, "reply");
	expect("open:middle B0:reply");
	put(A, 100, 1005, "request");
	put(B, 1005, 107, "more");
	expect("A0:request B5:more");
	assert_int_equal(x.last[B].mark.ack, 7);
	assert_int_equal(x.frames, 3);
	nbds_tcp_finish(x.tcp);
	expect("close:open");
}

static void first_seen_is_a_without_syn(void **state)
{
	(void)state;
	ack(A, 100, 1000); /* A is the one seen first, though the server sends first */
	put(B, 1000, 100, "x");
	expect("open:middle B0:x");
}

static void nothing_opens_without_syn_or_payload(void **state)
{
	(void)state;
	ack(A, 0, 0);
	ack(B, 0, 0);
	put_flags(A, FIN, 0, 0, "");
	put_flags(B, FIN, 0, 1, "");
	x.port++;
	put_flags(A, RST, 0, 0, "");
	x.port++;
	segment(A, 0, 5, 0, "", 0);
	x.port++;
	put_flags(A, FIN, 0, NONE, "");
	nbds_tcp_finish(x.tcp);
	expect("");
	assert_int_equal(stat(flows), 0);
	assert_int_equal(x.frames, 0);
}

static void fin_before_the_flow_opens(void **state)
{
	(void)state;
	put_flags(A, FIN, 0, 0, "");
	put(B, 3, 1, "rest"); /* of which the beginning may yet come */
	expect("open:middle B0:rest finA");
	put_flags(B, FIN, 7, 1, "");
	expect("finB close:fin");
}

static void syn_with_data(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "early");
	expect("open:syn A0:early");
	first_tx(A, 1);
	put_flags(B, SYN, 0, 5, "");
	put(A, 5, 0, " late");
	expect("A5: late");
}

static void syn_with_data_that_the_server_refused(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "early");
	put_flags(B, SYN, 0, 0, "");
	put(A, 0, 0, "early bird");
	expect("open:syn A0:early A5: bird");
	is_late(A, 3, 1);
	assert_int_equal(stat(retransmitted_bytes), 5);
}

static void syn_retransmitted(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	pass(1000 * MS);
	put_flags(A, SYN, 0, NONE, "");
	put_flags(B, SYN, 0, 0, "");
	pass(1000 * MS);
	put_flags(B, SYN, 0, 0, "");
	put_flags(A, SYN, 0, NONE, "");
	ack(A, 0, 0);
	put(A, 0, 0, "x");
	put_flags(B, SYN, 0, 0, "");
	put_flags(A, SYN, 0, NONE, "");
	put(B, 0, 1, "y");
	put(A, 1, 1, "z");
	expect("open:syn A0:x B0:y A1:z");
	first_tx(A, x.packet.frame);
	assert_int_equal(stat(reuses), 0);
}

static void simultaneous_open(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	put_flags(B, SYN, 0, NONE, "");
	put_flags(A, SYN, 0, 0, "");
	put_flags(B, SYN, 0, 0, "");
	put(B, 0, 0, "b");
	put(A, 0, 1, "a");
	expect("open:syn B0:b A0:a");
	first_tx(A, 6);
	assert_int_equal(x.opened, 1);
}

static void syn_lost(void **state)
{
	(void)state;
	put_flags(B, SYN, 0, 0, "");
	expect("open:syn");
	ack(A, 0, 0);
	put(A, 3, 0, "def"); /* the base is known: this is ahead */
	expect("");
	put(A, 0, 0, "abc");
	expect("A0:abc A3:def");
}

static void syn_after_its_answer(void **state)
{
	(void)state;
	put_flags(B, SYN, 0, 0, "");
	put_flags(A, SYN, 0, NONE, "");
	put(B, 0, 0, "b");
	put(A, 0, 1, "a");
	expect("open:syn B0:b A0:a");
	assert_int_equal(x.opened, 1);
}

static void synack_after_data(void **state)
{
	(void)state;
	put(A, 0, 0, "early"); /* the SYN was lost, its answer is late */
	put_flags(B, SYN, 0, 0, "");
	put(B, 0, 5, "hello");
	expect("open:middle A0:early B0:hello");
	assert_int_equal(x.opened, 1);
}

static void synack_lost(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	ack(A, 0, 0);
	put(B, 0, 0, "greeting");
	put(A, 0, 8, "answer");
	expect("open:syn B0:greeting A0:answer");
	assert_int_equal(x.last[A].mark.ack, 8);
}

static void first_byte_before_the_base(void **state)
{
	(void)state;
	put(A, 10, 0, "middle");
	put(A, 4, 0, "before"); /* older than the first byte seen */
	put(A, 8, 0, "__middle after");
	expect("open:middle A0:middle A6: after");
	assert_int_equal(stat(retransmitted_bytes), 6 + 8);
}

/* A SYN that was not its sender's came first, or damage changed it. */
static void first_byte_before_the_syn(void **state)
{
	(void)state;
	put_flags(A, SYN, 500, NONE, "");
	put_flags(B, SYN, 7, NONE, ""); /* and another one, the other way round */
	put_flags(B, SYN, 0, 0, "");    /* answers the genuine one, which was not seen */
	ack(A, 0, 0);
	put(B, 0, 0, "greeting");
	put(A, 0, 8, "hello");
	put(A, 5, 8, "more");
	expect("open:syn unsureB0+1 B0:greeting unsureA0+1 A0:hello A5:more");
	assert_int_equal(x.conflict.first.frame, 1);
	is_late(A, 7, 1);
}

static void answer_of_the_wrong_side_first(void **state)
{
	(void)state;
	x.swapped = true;
	put_flags(A, SYN, 0, 0, "");
	expect("open:syn");
	x.swapped = false;
	put_flags(A, SYN, 0, NONE, "");
	put_flags(B, SYN, 0, 0, "");
	put(B, 0, 0, "greeting");
	expect("close:reused open:syn B0:greeting");
}

/* Both sides opened, it seems; whose SYN was answered is the one that did. */
static void syn_of_the_wrong_side_first(void **state)
{
	(void)state;
	x.swapped = true;
	put_flags(B, SYN, 70000, NONE, "");
	expect("open:syn");
	put_flags(A, SYN, 0, NONE, "");
	x.swapped = false;
	put_flags(B, SYN, 0, 0, "");
	expect("close:reused open:syn");
	put_flags(A, SYN, 100, 0, ""); /* answered already */
	put(B, 0, 0, "greeting");
	put(A, 0, 8, "hello");
	expect("B0:greeting A0:hello");
	first_tx(A, x.packet.frame);
}

static void keepalive_first_in_the_middle(void **state)
{
	(void)state;
	ack(A, 99, 500); /* its sender's next byte is 100 */
	put(B, 500, 100, "b");
	put(A, 100, 501, "a");
	expect("open:middle B0:b A0:a");
	assert_int_equal(stat(gaps), 0);
}

static void bare_ack_first_shows_a_hole(void **state)
{
	(void)state;
	ack(A, 100, 500);
	put(B, 500, 100, "b");
	put(A, 105, 501, "world"); /* 5 bytes after the first frame are not there */
	expect("open:middle B0:b");
	put(A, 100, 501, "hello");
	expect("A0:hello A5:world");
}

/* --- order --- */

static void out_of_order(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	put(A, 9, 0, "jkl");
	put(A, 6, 0, "ghi");
	expect("open:syn");
	assert_true(stat(held_now) > 0);
	held(A, true, 1);
	held(B, false, 0);
	put(A, 0, 0, "abc");
	expect("A0:abc A3:def A6:ghi A9:jkl");
	held(A, false, 0);
	assert_int_equal(stat(held_now), 0);
	assert_int_equal(stat(out_of_order), 3);
	assert_int_equal(stat(gaps), 0);
}

static void retransmission_of_all(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 0, 0, "abc");
	put(A, 3, 0, "def");
	put(A, 0, 0, "abcdef");
	expect("open:syn A0:abc A3:def");
	assert_int_equal(stat(retransmitted_bytes), 9);
	assert_int_equal(stat(conflicts), 0);
}

static void retransmission_with_new_data(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 1, 0, "bcdef");
	expect("open:syn A0:abc A3:def");
	is_late(A, 5, 4);
	assert_int_equal(stat(overlaps), 1);
	put(A, 6, 0, "g");
	expect("A6:g");
	first_tx(A, 6);
}

static void segment_over_held_pieces(void **state)
{
	(void)state;
	handshake();
	put(A, 2, 0, "cd");
	put(A, 6, 0, "gh");
	put(A, 10, 0, "k");
	expect("open:syn");
	put(A, 1, 0, "bcdefghij");
	expect("");
	put(A, 0, 0, "a");
	expect("A0:a A1:b A2:cd A4:ef A6:gh A8:ij A10:k");
	assert_int_equal(stat(conflicts), 0);
	assert_int_equal(stat(held_now), 0);
}

static void first_copy_wins(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "DEF");
	put(A, 2, 0, "cdEfg"); /* D and F differ */
	expect("open:syn");
	put(A, 0, 0, "abcdef"); /* c is that of the second copy; the third differs in d, f */
	expect("A0:ab A2:c A3:DEF clashA3+3 A6:g");
	assert_int_equal(x.conflict.first.frame, 4);
	assert_int_equal(x.conflict.where.frame, 5);
	assert_int_equal(stat(conflicts), 1);
}

static void conflict_has_its_extent(void **state)
{
	(void)state;
	handshake();
	put(A, 10, 0, "0123456789");
	put(A, 8, 0, "__012x4y6789__");
	put(A, 10, 0, "0123456789");
	expect("open:syn");
	put(A, 0, 0, "abcdefgh");
	expect("A0:abcdefgh A8:__ A10:0123456789 clashA13+3 A20:__");
	put(A, 20, 0, "_?");
	expect("clashA21+1");
}

/* Of several copies that differ in other places: from the first to the last. */
static void conflicts_add_up(void **state)
{
	(void)state;
	handshake();
	put(A, 10, 0, "0123456789");
	put(A, 10, 0, "01?3456789");
	put(A, 15, 0, "56?8");
	put(A, 0, 0, "abcdefghij");
	expect("open:syn A0:abcdefghij A10:0123456789 clashA12+6");
	assert_int_equal(x.conflict.where.frame, 5);
}

/* A piece is cut where another copy of a part of it waits for less. */
static void conflict_in_a_piece_that_is_cut(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 5, "abcdefgh");
	put(A, 2, 5, "c?ef?"); /* the same acknowledged, and other bytes */
	put(A, 3, 1, "def");   /* these wait for less */
	expect("open:syn");
	put(B, 0, 0, "12345");
	expect("B0:12345 A0:abc A3:def clashA3+3 A6:gh clashA6+1");
	assert_int_equal(stat(held_now), 0);
}

static uint64_t file_place(void *ctx, const uint8_t *bytes)
{
	uintptr_t into = (uintptr_t)bytes - (uintptr_t)x.payload;

	(void)ctx;
	return into < x.payload_size ? x.file_at + into + 1 : 0; /* held back: none of it */
}

static bool file_read(void *ctx, uint64_t place, uint8_t *bytes, size_t size)
{
	(void)ctx;
	assert_true(place - 1 + size <= x.file_at); /* only what came before */
	x.read_again++;
	if (x.gone)
		return false;
	memcpy(bytes, x.file + place - 1, size);
	return true;
}

/* Overlapping segments of all sizes, some with other bytes: what is told of them. */
static char *told_of_copies(bool read_again)
{
	const struct nbds_tcp_reread from = {.place = file_place, .read = file_read};
	uint64_t random = 1;
	char bytes[9000], *told;

	restart(NULL);
	x.bytes = false;
	x.acks = true;
	if (read_again) {
		x.file_size = 8 << 20;
		x.file = malloc(x.file_size);
		assert_non_null(x.file);
		nbds_tcp_reread(x.tcp, &from);
	}
	handshake();
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t r = random = random * UINT64_C(6364136223846793005) + 1;
		int64_t end = (int64_t)x.next[A], at = end;
		unsigned len = 1 + (unsigned)(r >> 33) % (i % 3 ? 8999 : 700);

		if (i % 4 && end)
			at = end - (int64_t)((r >> 20) % (uint64_t)(end < 20000 ? end : 20000));
		for (unsigned n = 0; n < len; n++)
			bytes[n] = (char)('a' + (at + n) % 23);
		if (i % 8 == 1)
			bytes[(r >> 12) % len] = '?';
		if (i % 8 == 2)
			bytes[len - 1] = bytes[0] = '!';
		segment(A, ACK, x.isn[A] + 1 + (uint32_t)at, x.isn[B] + 1, bytes, len);
		/* one that is short of its start, and is held back until it comes */
		if (i % 16 == 3)
			segment(A, ACK, x.isn[A] + 1 + (uint32_t)x.next[A] + 100, x.isn[B] + 1,
				bytes, len);
	}
	told = strdup(x.log);
	assert_non_null(told);
	assert_int_equal(x.read_again > 500, read_again);
	free(x.file);
	x.file = NULL;
	return told;
}

static void copies_are_read_again(void **state)
{
	char *copied, *again;

	(void)state;
	copied = told_of_copies(false);
	again = told_of_copies(true);
	assert_non_null(strstr(copied, "clash"));
	assert_string_equal(copied, again);
	free(copied);
	free(again);
}

/* The file has become shorter since: they may differ. */
static void copies_that_are_gone(void **state)
{
	const struct nbds_tcp_reread from = {.place = file_place, .read = file_read};
	char bytes[1000];

	(void)state;
	memset(bytes, 'a', sizeof(bytes));
	x.bytes = false;
	x.file_size = 4 * sizeof(bytes);
	x.file = malloc(x.file_size);
	assert_non_null(x.file);
	nbds_tcp_reread(x.tcp, &from);
	handshake();
	segment(A, ACK, x.isn[A] + 1, x.isn[B] + 1, bytes, sizeof(bytes));
	segment(A, ACK, x.isn[A] + 1, x.isn[B] + 1, bytes, sizeof(bytes));
	expect("open:syn A0+1000");
	x.gone = true;
	segment(A, ACK, x.isn[A] + 1, x.isn[B] + 1, bytes, sizeof(bytes));
	expect("unsureA0+1000");
	free(x.file);
	x.file = NULL;
}

/* The genuine copy may well be the second one. */
static void late_copies_are_compared(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 3, 0, "defgh");
	put(A, 8, 0, "ij");
	put(A, 0, 0, "abc");
	put(A, 3, 0, "def");
	put(A, 1, 0, "bcdefghij");
	expect("open:syn A0:abc A3:defgh A8:ij");
	put(A, 0, 0, "xbz");
	expect("clashA0+3");
	assert_int_equal(x.conflict.first.frame, 4);
	assert_int_equal(x.conflict.where.frame, x.packet.frame);
	put(A, 4, 0, "efGh");
	expect("clashA6+1");
	assert_int_equal(x.conflict.first.frame, 5);
	put(A, 2, 0, "CdefghIjkl"); /* over all, and further */
	expect("clashA8+1 clashA2+1 A10:kl");
	assert_int_equal(stat(conflicts), 4);
	/* acknowledged, and much later: still */
	ack(B, 0, 12);
	pass(FOREVER);
	put(A, 5, 0, "?");
	expect("clashA5+1");
	put(B, 0, 12, "xyz");
	put(B, 0, 12, "xYz");
	expect("B0:xyz clashB1+1");
}

static void late_copies_of_gaps_are_none(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 6, 0, "ghi");
	ack(B, 0, 9);
	pass(200 * MS);
	ack(B, 0, 9);
	expect("open:syn A0:abc gapA3+3:lost A6:ghi");
	put(A, 0, 0, "abcXXXghi");
	put(A, 3, 0, "def");
	expect("");
	put(A, 2, 0, "Cdefg");
	expect("clashA2+1");
	/* what was cut off cannot be compared */
	x.cut = 2;
	put(A, 9, 0, "jklm");
	put(A, 9, 0, "jkXX");
	expect("A9:jk gapA11+2:snaplen");
	x.cut = 1;
	put(A, 9, 0, "jX?");
	expect("clashA10+1");
}

static void copies_of_what_is_forgotten(void **state)
{
	static char text[2001];
	struct nbds_tcp_limits limits = {.remembered = 1};

	(void)state;
	x.bytes = false;
	memset(text, 'x', 500);
	restart(&limits); /* 4 KiB, then */
	handshake();
	put(A, 0, 0, text);
	for (int i = 1; i < 20; i++) {
		put(A, i * 500, 0, text);
		ack(B, 0, i < 10 ? i * 500 + 500 : 5250);
	}
	forget();
	put(A, 9500, 0, text);
	put(A, 8000, 0, text);
	put(A, 0, 0, text); /* acknowledged before: whoever receives it discards it */
	put(A, 4750, 0, text);
	expect("");
	put(A, 5000, 0, text);
	expect("unsureA5250+250");
	assert_int_equal(x.conflict.first.frame, 23);
	put(A, 5400, 0, text);
	expect("unsureA5400+500");
	assert_int_equal(stat(conflicts), 0);
	assert_int_equal(stat(forgotten), 2);
	/* what cannot be remembered at all */
	memset(text, 'x', 2000);
	put(A, 10000, 0, text);
	text[500] = 0;
	put(A, 12000, 0, text);
	forget();
	put(A, 11900, 0, text);
	expect("unsureA11900+100");
	put(A, 12100, 0, "y");
	expect("clashA12100+1");
}

/* Many connections share what is remembered, and a search does not walk over all. */
static void remembered_by_many(void **state)
{
	uint32_t most = 300;

	(void)state;
	x.bytes = false;
	for (uint32_t i = 0; i < 40; i++) {
		x.port = (uint16_t)(2000 + i);
		x.next[A] = x.next[B] = 0;
		handshake();
	}
	x.check_next = false;
	for (uint32_t at = 0; at < most; at++) {
		for (uint32_t i = 0; i < 40; i++) {
			char byte[2] = {(char)('a' + (at * 7 + i) % 26), 0};

			x.port = (uint16_t)(2000 + i);
			put(A, at, 0, byte);
		}
	}
	forget();
	for (uint32_t n = 0; n < 4000; n++) {
		uint32_t at = n * 37 % most, i = n * 11 % 40;
		char byte[2] = {(char)('a' + (at * 7 + i) % 26), 0};

		if (at == most - 1)
			continue; /* taken for a keep-alive */
		x.port = (uint16_t)(2000 + i);
		put(A, at, 0, byte);
		expect("");
		byte[0] = 'A';
		put(A, at, 0, byte);
		assert_int_equal(x.conflict.offset, at);
		assert_int_equal(x.conflict.first.frame, 120 + at * 40 + i + 1);
		forget();
	}
}

/* Who sends the same again acknowledges more by then, and nobody less. */
static void copies_that_acknowledge_something_else(void **state)
{
	(void)state;
	x.acks = true;
	handshake();
	put(A, 0, 0, "abc");
	put(B, 0, 3, "12345");
	put(A, 0, 0, "abc");
	expect("open:syn A0:abc B0:12345");
	put(A, 0, 5, "abc");
	expect("reackA0+3");
	assert_int_equal(x.conflict.first_ack, 0);
	assert_int_equal(x.conflict.ack, 5);
	put(B, 1, 2, "234");
	expect("reackB1+3");
	assert_int_equal(x.conflict.first_ack, 3);
	assert_int_equal(x.conflict.ack, 2);
	/* of those that wait it is not known which one was acknowledged */
	put(B, 6, 3, "789");
	put(B, 6, 2, "789");
	put(B, 5, 3, "6");
	expect("B5:6 B6:789 reackB6+3");
	assert_true(x.last[B].mark.ack == NBDS_NO_ACK);
	assert_int_equal(x.conflict.first_ack, 3);
	assert_int_equal(x.conflict.ack, 2);
	assert_int_equal(stat(conflicts), 0);
}

/* --- checksums --- */

static void bad(int dir, int64_t at, int64_t ack, const char *text)
{
	x.checksum = NBDS_SUM_WRONG;
	put(dir, at, ack, text);
	x.checksum = NBDS_SUM_RIGHT;
}

static void wrong_checksums_are_discarded(void **state)
{
	(void)state;
	x.checksum = NBDS_SUM_RIGHT;
	handshake();
	put(A, 0, 0, "abc");
	put(B, 0, 3, "123");
	expect("open:syn A0:abc B0:123");
	bad(A, 3, 3, "DEF");
	expect("badA");
	put(A, 3, 3, "def");
	expect("A3:def");
	first_tx(A, x.packet.frame);
	bad(A, 0, 3, "XXX"); /* and so is another copy */
	bad(B, 3, 6, "4");
	bad(B, 30, 6, "4");
	expect("badA badB badB");
	put(B, 3, 6, "456");
	expect("B3:456");
	first_tx(B, x.packet.frame);
	assert_int_equal(stat(conflicts), 0);
	assert_int_equal(stat(bad_checksums), 4);
	assert_int_equal(stat(held_max), 0);
	/* what they acknowledge, reset, open or end, too */
	x.checksum = NBDS_SUM_WRONG;
	ack(A, 6, 60);
	put_flags(B, RST, 6, 6, "");
	put_flags(B, FIN, 6, 6, "");
	put_flags(A, SYN, 1000, NONE, "");
	expect("badA badB badB badA");
	x.checksum = NBDS_SUM_UNKNOWN;
	put(A, 6, 6, "ghi");
	expect("A6:ghi");
	assert_true(nbds_tcp_complete(x.flow));
	/* so does the other checksum of the packet */
	x.checksum = NBDS_SUM_RIGHT;
	x.ip_checksum = NBDS_SUM_RIGHT;
	put(A, 9, 6, "j");
	x.ip_checksum = NBDS_SUM_WRONG;
	put(A, 10, 6, "K");
	put(B, 6, 9, "7"); /* where it is not right otherwise: as it comes */
	x.ip_checksum = NBDS_SUM_RIGHT;
	put(A, 10, 6, "k");
	expect("A9:j badA B6:7 A10:k");
}

static void checksums_left_to_the_hardware(void **state)
{
	(void)state;
	/* all wrong, as some write them */
	x.checksum = NBDS_SUM_WRONG;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 3, 0, "def");
	/* one of them is right by chance */
	x.checksum = NBDS_SUM_RIGHT;
	put(A, 6, 0, "ghi");
	x.checksum = NBDS_SUM_WRONG;
	put(A, 9, 0, "jkl");
	/* the other direction comes from the wire, where packets were joined */
	x.checksum = NBDS_SUM_RIGHT;
	put(B, 0, 12, "123");
	x.checksum = NBDS_SUM_UNDONE;
	put(B, 3, 12, "456");
	x.checksum = NBDS_SUM_RIGHT;
	put(B, 6, 12, "789");
	expect("open:syn A0:abc A3:def A6:ghi A9:jkl B0:123 B3:456 B6:789");
	assert_int_equal(stat(bad_checksums), 0);
}

/* It shows later that they are right as a rule, or (of a few) at the end, by the handshake. */
static void wrong_checksums_before_right_ones(void **state)
{
	(void)state;
	x.checksum = NBDS_SUM_RIGHT;
	handshake();
	bad(B, 0, 0, "garbled");
	expect("open:syn B0:garbled");
	put(A, 0, 7, "abc");
	put(B, 7, 3, "1");
	expect("A0:abc B7:1");
	put(B, 8, 3, "2");
	expect("B8:2 unsureB0+7");
	assert_int_equal(x.conflict.first.frame, 4);
	put(B, 9, 3, "3");
	expect("B9:3");
	x.port++;
	handshake();
	bad(A, 0, 0, "abc");
	put(B, 0, 3, "1");
	nbds_tcp_finish(x.tcp);
	expect("open:syn A0:abc B0:1 close:open unsureA0+3 close:open");
}

/* Only the handshake is right: that of bytes is another matter. */
static void checksums_of_bare_segments_count_apart(void **state)
{
	(void)state;
	x.checksum = NBDS_SUM_RIGHT;
	handshake();
	x.checksum = NBDS_SUM_WRONG;
	put(A, 0, 0, "abc");
	put(A, 3, 0, "def");
	expect("open:syn A0:abc A3:def");
	put_flags(A, RST, 6, 0, "");
	expect("badA");
}

/* A network card that joins segments leaves the checksum of the first one. */
static void checksums_that_are_not_those_of_the_wire(void **state)
{
	(void)state;
	x.checksum = NBDS_SUM_RIGHT;
	handshake();
	put(A, 0, 0, "abc");
	for (int i = 0; i < 6; i++) {
		bad(A, 3 + 6 * i, 0, "def");
		put(A, 6 + 6 * i, 0, "ghi");
		ack(B, 0, 9 + 6 * i);
		pass(300 * MS);
		ack(B, 0, 9 + 6 * i);
	}
	expect("open:syn A0:abc badA gapA3+3:lost A6:ghi badA gapA9+3:lost A12:ghi badA "
	       "gapA15+3:lost A18:ghi badA gapA21+3:lost A24:ghi A27:def A30:ghi A33:def A36:ghi");
}

/* The sender sent it again, and the capture lost that: no reason to trust others. */
static void checksums_of_real_damage(void **state)
{
	(void)state;
	x.checksum = NBDS_SUM_RIGHT;
	handshake();
	for (int i = 0; i < 100; i++)
		put(A, i, 0, "a");
	forget();
	for (int i = 0; i < 10; i++) {
		bad(A, 100 + 6 * i, 0, "def");
		put(A, 103 + 6 * i, 0, "ghi");
		ack(B, 0, 106 + 6 * i);
		pass(300 * MS);
		ack(B, 0, 106 + 6 * i);
	}
	forget();
	bad(A, 160, 0, "X");
	expect("badA");
}

static void fills_between_held_pieces_deliver_at_once(void **state)
{
	(void)state;
	handshake();
	put(A, 1, 0, "b");
	put(A, 3, 0, "d");
	put(A, 5, 0, "f");
	put(A, 0, 0, "a_c_e_g");
	expect("open:syn A0:a A1:b clashA1+1 A2:c A3:d clashA3+1 A4:e A5:f clashA5+1 A6:g");
}

/* Work for one segment is bounded: the rest of it has to come again. */
static void segment_over_very_many_pieces(void **state)
{
	static char text[2001];

	(void)state;
	x.bytes = false;
	memset(text, 'x', sizeof(text) - 1);
	handshake();
	for (int i = 1; i < 2000; i += 2) {
		put(A, i, 0, "x");
		ack(B, 0, 0);
	}
	expect("open:syn");
	put(A, 0, 0, text);
	assert_int_equal(x.next[A], 1026);
	put(A, 0, 0, text);
	assert_int_equal(x.next[A], 2000);
	assert_int_equal(stat(conflicts), 0);
	assert_int_equal(stat(gaps), 0);
	assert_int_equal(stat(held_now), 0);
}

static void wraps_and_goes_beyond_4_gib(void **state)
{
	static uint8_t payload[1 << 20];
	uint64_t at = 0;

	(void)state;
	x.bytes = false;
	x.isn[A] = 0xfff00000;
	handshake();
	expect("open:syn");
	while (at < ((uint64_t)9 << 30) + sizeof(payload)) {
		segment(A, ACK, x.isn[A] + 1 + (uint32_t)at, x.isn[B] + 1, payload,
			sizeof(payload));
		assert_int_equal(x.next[A], at + sizeof(payload));
		assert_int_equal(x.last[A].mark.flags, NBDS_MARK_FIRST_TX);
		/* an old copy, and a reordered pair, at any place of the circle */
		segment(A, ACK, x.isn[A] + 1 + (uint32_t)at, x.isn[B] + 1, payload, 1000);
		at += sizeof(payload);
		segment(A, ACK, x.isn[A] + 1 + (uint32_t)at + 100, x.isn[B] + 1, payload, 50);
		assert_int_equal(x.next[A], at);
		segment(A, ACK, x.isn[A] + 1 + (uint32_t)at, x.isn[B] + 1, payload, 100);
		at += 150;
		assert_int_equal(x.next[A], at);
		segment(B, ACK, x.isn[B] + 1, x.isn[A] + 1 + (uint32_t)at, NULL, 0);
		forget();
	}
	put(B, 0, (int64_t)at, "b");
	expect("B0+1");
	assert_int_equal(x.last[B].mark.ack, at);
	assert_int_equal(stat(bytes), at + 1);
	assert_int_equal(stat(gaps), 0);
}

/* --- holes --- */

static void hole_is_lost_after_patience_in_frames(void **state)
{
	int64_t at;

	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 6, 0, "ghi");
	expect("open:syn A0:abc");
	ack(B, 0, 9); /* B has all of it */
	x.bytes = false;
	at = chatter(9, 0, 63);
	expect("");
	held(A, true, 4);
	put(A, at, 0, "x");
	assert_int_equal(strncmp(x.log, "gapA3+3:lost A6+3 A9+1 ", 23), 0);
	assert_int_equal(x.gap.frame, 5);
	assert_int_equal(x.gap.lo_frame, 4);
	assert_int_equal(stat(gaps), 1);
	assert_int_equal(stat(gap_bytes), 3);
	assert_int_equal(stat(held_now), 0);
}

static void hole_is_lost_after_patience_in_time(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 6, 0, "ghi");
	ack(B, 0, 9);
	pass(199 * MS);
	ack(A, 9, 0);
	expect("open:syn A0:abc");
	pass(MS);
	ack(A, 9, 0);
	expect("gapA3+3:lost A6:ghi");
}

static void hole_is_lost_by_a_tick(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	ack(B, 0, 6);
	nbds_tcp_tick(x.tcp, x.packet.time + 199 * MS);
	expect("open:syn");
	nbds_tcp_tick(x.tcp, x.packet.time + 401 * MS);
	expect("gapA0+3:lost A3:def");
	assert_int_equal(stat(held_now), 0);
}

static void hole_is_lost_while_other_flows_talk(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	ack(B, 0, 6);
	expect("open:syn");
	x.port++;
	x.check_next = false;
	for (int i = 0; i < 500; i++) {
		pass(MS);
		ack(A, 0, 0);
	}
	expect("gapA0+3:lost A3:def");
}

static void hole_is_lost_behind_one_that_waits_for_longer(void **state)
{
	(void)state;
	x.check_next = false;
	handshake();
	put(A, 3, 0, "def"); /* nobody acknowledges this */
	x.port++;
	handshake();
	put(A, 5, 0, "fgh");
	ack(B, 0, 8);
	expect("open:syn open:syn");
	nbds_tcp_tick(x.tcp, x.packet.time + 250 * MS);
	expect("gapA0+5:lost A5:fgh");
}

static void hole_filled_in_time(void **state)
{
	int64_t at;

	(void)state;
	handshake();
	put(A, 3, 0, "def");
	ack(B, 0, 6);
	x.bytes = false;
	at = chatter(6, 0, 60);
	expect("open:syn");
	put(A, 0, 0, "abc");
	assert_int_equal(strncmp(x.log, "A0+3 A3+3 ", 10), 0);
	assert_int_equal(x.next[A], at);
	assert_int_equal(stat(gaps), 0);
	assert_int_equal(stat(held_now), 0);
}

static void hole_that_is_not_acknowledged_waits_for_the_resend(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 6, 0, "ghi");
	for (int i = 0; i < 300; i++) {
		ack(B, 0, 3); /* B does not have it either */
		put(A, 9 + i, 0, "x");
	}
	for (int i = 0; i < 20; i++) {
		pass(1000 * MS);
		ack(B, 0, 3);
		nbds_tcp_tick(x.tcp, x.packet.time);
	}
	expect("open:syn A0:abc");
	x.bytes = false;
	put(A, 3, 0, "def");
	assert_int_equal(x.next[A], 309);
	assert_int_equal(stat(gaps), 0);
	/* LATE, and no earlier than the last clean byte. */
	is_late(A, x.last[A].mark.frame, 4);
}

static void hole_that_nobody_resends_is_given_up_in_the_end(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	ack(B, 0, 0);
	pass(40000 * MS);
	nbds_tcp_tick(x.tcp, x.packet.time);
	expect("open:syn gapA0+3:limit A3:def");
}

static void partly_acknowledged_hole(void **state)
{
	(void)state;
	handshake();
	put(A, 8, 0, "ij");
	ack(B, 0, 4); /* B has half of the hole, and the other half is to come */
	pass(300 * MS);
	ack(B, 0, 4);
	expect("open:syn gapA0+4:lost");
	pass(300 * MS);
	ack(B, 0, 4);
	expect("");
	put(A, 4, 0, "efgh");
	expect("A4:efgh A8:ij");
}

static void several_holes_at_a_time(void **state)
{
	(void)state;
	handshake();
	put(A, 2, 0, "c");
	put(A, 4, 0, "e");
	put(A, 6, 0, "g");
	ack(B, 0, 7);
	expect("open:syn");
	pass(200 * MS);
	ack(A, 7, 0);
	expect("gapA0+2:lost A2:c gapA3+1:lost A4:e gapA5+1:lost A6:g");
	assert_int_equal(stat(gaps), 3);
	assert_int_equal(stat(gap_bytes), 4);
}

static void each_hole_has_its_chance(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	ack(B, 0, 6);
	pass(150 * MS);
	put(A, 9, 0, "jkl");
	ack(B, 0, 12);
	put(A, 0, 0, "abc");
	expect("open:syn A0:abc A3:def");
	pass(150 * MS);
	ack(B, 0, 12);
	expect("");
	pass(50 * MS);
	ack(B, 0, 12);
	expect("gapA6+3:lost A9:jkl");
}

static void each_hole_has_its_chance_blindly(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	put(A, 3, 0, "def");
	pass(1500 * MS);
	put(A, 9, 0, "jkl");
	put(A, 0, 0, "abc");
	expect("open:syn A0:abc A3:def");
	pass(1500 * MS);
	ack(A, 12, 0);
	expect("");
	pass(100 * MS);
	ack(A, 12, 0);
	expect("gapA6+3:limit A9:jkl");
}

static void frames_that_bring_nothing_do_not_count(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	ack(B, 0, 6);
	for (int i = 0; i < 300; i++) {
		ack(B, 0, 6);
		ack(A, 5, 0);
		put(A, 5, 0, "?");
	}
	expect("open:syn");
	put(A, 0, 0, "abc");
	expect("A0:abc A3:def");
}

static void tail_is_lost(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	ack(B, 0, 10); /* seven bytes more than were seen */
	held(A, true, 4);
	expect("open:syn A0:abc");
	pass(200 * MS);
	ack(B, 0, 10);
	expect("gapA3+7:lost");
	held(A, false, 0);
	assert_int_equal(x.gap.frame, 5);
	assert_int_equal(x.gap.lo_frame, 4);
	put(A, 10, 0, "k");
	expect("A10:k");
	is_late(A, x.packet.frame, 4);
}

/* The sender is there, if not all that it sends: each time it gets its chance. */
static void tail_is_lost_again_and_again(void **state)
{
	(void)state;
	handshake();
	for (int i = 0; i < 5; i++) {
		ack(B, 0, (i + 1) * 10);
		ack(A, (i + 1) * 10, 0);
		if (!i)
			expect("open:syn");
		expect("");
		pass(200 * MS);
		ack(B, 0, (i + 1) * 10);
		assert_int_equal(x.next[A], (i + 1) * 10);
		forget();
	}
	assert_int_equal(stat(gaps), 5);
}

static void acknowledged_before_the_base_was_known(void **state)
{
	(void)state;
	ack(B, 50, 109);
	x.swapped = true;
	put(A, 100, 50, "abc"); /* B has six bytes more: where are they? */
	expect("open:middle B0:abc");
	held(B, true, 2);
	pass(200 * MS);
	ack(B, 50, 109);
	expect("gapB3+6:lost");
}

static void tail_comes_late(void **state)
{
	(void)state;
	handshake();
	ack(B, 0, 6);
	put(A, 0, 0, "abc");
	expect("open:syn A0:abc");
	is_late(A, 5, 3);
	put(A, 3, 0, "def");
	expect("A3:def");
	is_late(A, 6, 3);
	ack(B, 0, 6);
	put(A, 6, 0, "g");
	expect("A6:g");
	first_tx(A, 8);
	assert_int_equal(stat(gaps), 0);
}

static void both_directions_go_on_after_losses(void **state)
{
	(void)state;
	handshake();
	put(B, 0, 0, "greet");
	put(A, 0, 5, "one");
	put(B, 8, 3, "st"); /* B5+3 lost */
	put(A, 3, 10, "two");
	put(B, 10, 9, "three"); /* A6+3 lost, and nothing behind it */
	put(A, 9, 15, "four");
	expect("open:syn B0:greet A0:one");
	pass(200 * MS);
	ack(A, 13, 15);
	expect("gapB5+3:lost B8:st A3:two gapA6+3:lost B10:three A9:four");
	put(B, 15, 13, "x");
	expect("B15:x");
	assert_int_equal(stat(held_now), 0);
}

static void bare_acks_and_keepalives_are_no_evidence(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	for (int i = 0; i < 1000; i++) {
		ack(B, 0, 0);
		put_flags(A, SYN, 0, NONE, "");
		ack(A, 5, 0);
		ack(A, 6, 0);
	}
	expect("open:syn");
	put(A, 0, 0, "abc");
	expect("A0:abc A3:def");
}

static void ack_of_nothing_sent_is_refuted(void **state)
{
	int64_t at = 0;

	(void)state;
	x.bytes = false;
	handshake();
	ack(B, 0, 100000000); /* within the window, and nonsense */
	expect("open:syn");
	for (int i = 0; i < 400; i++) {
		put(A, at, i, "abcdefghij");
		at += 10;
		put(B, i, at, "r"); /* replies go on */
		assert_true(x.length > 0);
		assert_int_equal(x.next[A], at);
		if (i > 70)
			assert_int_equal(x.next[B], i + 1);
		forget();
	}
	nbds_tcp_finish(x.tcp);
	expect("close:open");
	assert_int_equal(stat(gaps), 0);
}

static void ack_far_away_is_no_ack(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "a");
	ack(B, 0, INT64_C(0x30000000));
	put(B, 0, INT64_C(-0x30000000), "b");
	expect("open:syn A0:a B0:b");
	assert_true(x.last[B].mark.ack == NBDS_NO_ACK);
	held(A, false, 0);
}

/* --- one direction only --- */

static void one_direction_does_not_stall(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	ack(A, 0, 0);
	put(A, 0, 500, "abc");
	put(A, 3, 5000, "def");
	expect("open:syn A0:abc A3:def");
	assert_true(x.last[A].mark.ack == NBDS_NO_ACK);
	held(A, false, 0);
}

static void one_direction_hole_by_time(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	put(A, 3, 0, "def");
	pass(1000 * MS);
	nbds_tcp_tick(x.tcp, x.packet.time);
	expect("open:syn");
	pass(700 * MS);
	nbds_tcp_tick(x.tcp, x.packet.time);
	expect("gapA0+3:limit A3:def");
}

static void one_direction_hole_by_frames(void **state)
{
	int64_t at = 6;

	(void)state;
	x.bytes = false;
	put_flags(A, SYN, 0, NONE, "");
	put(A, 3, 0, "def");
	expect("open:syn");
	for (int i = 0; i < 511; i++)
		put(A, at++, i, "x");
	expect("");
	put(A, at++, 0, "x");
	assert_int_equal(strncmp(x.log, "gapA0+3:limit A3+3 ", 19), 0);
	assert_int_equal(x.next[A], at);
}

/* B was seen, and then is not any more. */
static void silent_direction_is_remembered(void **state)
{
	(void)state;
	handshake();
	put(B, 0, 0, "b");
	put(A, 0, 1, "a");
	expect("open:syn B0:b A0:a");
	put(A, 1, 11, "b"); /* acknowledges bytes that were not seen */
	expect("");
	pass(200 * MS);
	ack(A, 2, 11);
	expect("gapB1+10:lost A1:b");
	put(A, 2, 21, "c"); /* from now on nobody waits */
	expect("gapB11+10:lost A2:c");
	put(A, 3, 31, "d");
	expect("gapB21+10:lost A3:d");
	put(B, 31, 4, "x"); /* until B is seen again */
	expect("B31:x");
	put(A, 4, 40, "e");
	expect("");
	put(B, 32, 4, "12345678");
	expect("B32:12345678 A4:e");
}

/* --- order between the directions --- */

static void reply_before_request(void **state)
{
	(void)state;
	handshake();
	put(B, 0, 7, "reply"); /* acknowledges a request that is not there yet */
	expect("open:syn");
	held(B, true, 2);
	held(A, true, 1);
	put(A, 0, 0, "request");
	expect("A0:request B0:reply");
	assert_int_equal(x.last[B].mark.frame, 4);
	assert_int_equal(x.last[B].mark.ack, 7);
	assert_int_equal(x.last[B].mark.flags, NBDS_MARK_FIRST_TX);
	is_late(A, 5, 3); /* acknowledged before it was seen */
	held(A, false, 0);
	held(B, false, 0);
	assert_int_equal(stat(held_now), 0);
	assert_int_equal(stat(gaps), 0);
}

static void replies_in_a_row_before_their_request(void **state)
{
	(void)state;
	handshake();
	put(B, 0, 0, "hi");
	put(B, 2, 7, "reply");
	put(B, 7, 7, " one");
	put(B, 11, 14, "reply two");
	expect("open:syn B0:hi");
	put(A, 0, 2, "request");
	expect("A0:request B2:reply B7: one");
	put(A, 7, 11, "request");
	expect("A7:request B11:reply two");
}

/* The retransmission of a request acknowledges the reply to it. */
static void retransmission_captured_before_the_original(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 5, "request");
	put(B, 0, 7, "reply");
	expect("open:syn");
	put(A, 0, 0, "request");
	expect("A0:request B0:reply");
	assert_int_equal(x.last[A].mark.frame, 4);

	/* The same with parts, of which the first transmissions come in two. */
	put(A, 7, 15, "next request");
	put(B, 5, 13, "next");
	put(B, 9, 15, "reply");
	expect("");
	put(A, 10, 5, "t req");
	expect("");
	put(A, 7, 5, "nex");
	expect("A7:nex A10:t req B5:next B9:reply");
	put(B, 14, 15, "!");
	expect("B14:! A15:uest");

	/* And several, of which each acknowledges less. */
	put(A, 19, 30, "request three");
	put(A, 19, 25, "request three");
	expect("");
	put(A, 19, 15, "req");
	expect("A19:req");
	put(B, 15, 22, "one");
	expect("B15:one");
	put(B, 18, 22, "another");
	expect("B18:another A22:uest three");
}

static void reply_waits_for_a_hole_in_the_requests(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	put(B, 0, 6, "reply");
	expect("open:syn");
	put(A, 0, 0, "abc");
	expect("A0:abc A3:def B0:reply");
}

/* Each acknowledges what the other one sends: no order is right. */
static void circle_is_broken(void **state)
{
	(void)state;
	x.acks = true;
	handshake();
	put(A, 0, 3, "abc");
	put(B, 0, 3, "xyz");
	expect("open:syn");
	pass(200 * MS);
	ack(A, 3, 3);
	expect("A0:abc circleA0+3 B0:xyz");
	assert_int_equal(stat(gaps), 0);
	assert_int_equal(stat(held_now), 0);
}

/* The bytes that a segment waits for keep coming: it waits on, though its own
 * acknowledgement is there for long. */
static void wait_lasts_while_the_other_side_moves(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 10, "abc");
	pass(10 * MS);
	ack(B, 10, 3);
	pass(150 * MS);
	put(B, 0, 0, "01");
	expect("open:syn B0:01");
	pass(100 * MS);
	ack(B, 10, 3);
	expect("");
	put(B, 2, 0, "23456789");
	expect("B2:23456789 A0:abc");
}

static void acknowledgements_run_ahead_all_the_time(void **state)
{
	int64_t a = 0, b = 0;

	(void)state;
	x.bytes = false;
	handshake();
	expect("open:syn");
	/* As from two captures put together with the clocks set wrong: each
	 * reply comes five requests early. */
	for (int i = 0; i < 1000; i++) {
		put(B, b, a + 50, "reply");
		b += 5;
		put(A, a, b > 25 ? b - 25 : 0, "requestxxx");
		a += 10;
		assert_int_equal(x.next[A], a);
		forget();
	}
	assert_int_equal(stat(gaps), 0);
	nbds_tcp_finish(x.tcp);
	assert_int_equal(x.next[B], b);
}

/* --- the end --- */

static void half_close_leaves_the_other_direction(void **state)
{
	(void)state;
	handshake();
	put_flags(A, FIN, 0, 0, "last");
	expect("open:syn A0:last finA");
	put(B, 0, 5, "one");
	put(B, 3, 5, "two");
	put_flags(A, FIN, 4, 6, ""); /* again */
	put_flags(A, FIN, 0, 6, "last");
	expect("B0:one B3:two");
	assert_int_equal(x.last[B].mark.ack, 4); /* bytes, not the FIN */
	put_flags(B, FIN, 6, 5, "!");
	expect("B6:! finB close:fin");
}

static void fin_waits_for_a_hole(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put_flags(A, FIN, 6, 0, "ghi");
	expect("open:syn A0:abc");
	put_flags(B, FIN, 0, 3, "");
	expect("finB");
	held(A, true, 4);
	put(A, 3, 0, "def");
	expect("A3:def A6:ghi finA close:fin");
}

static void fin_after_its_acknowledgement(void **state)
{
	(void)state;
	handshake();
	ack(B, 0, 4);
	put(B, 0, 4, "bye");
	expect("open:syn");
	put_flags(A, FIN, 0, 0, "end");
	expect("A0:end finA B0:bye");
	held(A, false, 0);
	pass(300 * MS);
	put_flags(B, FIN, 3, 4, "");
	expect("finB close:fin");
	assert_int_equal(stat(gaps), 0);
}

static void bare_fin_waits_for_a_hole(void **state)
{
	(void)state;
	handshake();
	put_flags(A, FIN, 3, 0, "");
	expect("open:syn");
	held(A, true, 1);
	put(A, 0, 0, "abc");
	expect("A0:abc finA");
	held(A, false, 0);
}

static void fin_after_a_lost_hole(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put_flags(A, FIN, 6, 0, "ghi");
	put_flags(B, FIN, 0, 10, "");
	expect("open:syn A0:abc finB");
	pass(200 * MS);
	ack(A, 10, 1);
	expect("gapA3+3:lost A6:ghi finA close:fin");
}

static void fin_hole_at_the_end_of_the_capture(void **state)
{
	(void)state;
	handshake();
	put_flags(A, FIN, 6, 0, "ghi");
	put_flags(B, FIN, 0, 0, "");
	expect("open:syn finB");
	nbds_tcp_finish(x.tcp);
	expect("gapA0+6:end A6:ghi finA close:fin");
}

static void fin_lost(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "bye");
	put_flags(B, FIN, 0, 4, "x"); /* acknowledges 3 bytes and the FIN */
	expect("open:syn A0:bye");
	pass(200 * MS);
	ack(B, 2, 4);
	expect("B0:x finB");
	nbds_tcp_tick(x.tcp, x.packet.time + 250 * MS);
	expect("finA close:fin");
	assert_int_equal(x.closed.frame, 5);
	assert_int_equal(stat(gaps), 0);
}

static void fin_lost_at_the_end_of_the_capture(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "bye");
	put_flags(B, FIN, 0, 4, "x");
	nbds_tcp_finish(x.tcp);
	expect("open:syn A0:bye B0:x finB finA close:fin");
}

/* The last byte was lost, not the FIN. */
static void fin_after_one_lost_byte(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "bye");
	ack(B, 0, 4);
	pass(200 * MS);
	put_flags(B, FIN, 0, 4, "");
	expect("open:syn A0:bye finB");
	put_flags(A, FIN, 4, 1, "");
	ack(B, 1, 5);
	pass(200 * MS);
	ack(B, 1, 5);
	expect("gapA3+1:lost finA close:fin");
}

static void one_lost_byte_is_no_fin_if_more_follows(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	ack(B, 0, 4);
	pass(200 * MS);
	ack(B, 0, 4);
	expect("open:syn A0:abc");
	put(B, 0, 4, "r"); /* not held up by it */
	expect("B0:r");
	put(A, 4, 1, "e");
	expect("");
	ack(B, 1, 5);
	pass(200 * MS);
	ack(B, 1, 5);
	expect("gapA3+1:lost A4:e");
}

static void bytes_after_the_fin_are_dropped(void **state)
{
	(void)state;
	handshake();
	put_flags(A, FIN, 0, 0, "abc");
	put(A, 3, 0, "xyz");
	put(A, 1, 0, "bcxyz");
	put_flags(A, FIN, 6, 0, "");
	/* either they or the FIN were not the sender's */
	expect("open:syn A0:abc finA clashA3+3 clashA3+3");
	put(A, 3, 0, "?"); /* a keep-alive, in the FIN's place */
	put(A, 1, 0, "bc");
	expect("");
	nbds_tcp_finish(x.tcp);
	expect("close:open");
}

static void fin_before_seen_bytes_is_no_fin(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abcdef");
	put_flags(A, FIN, 2, 0, "");
	expect("open:syn A0:abcdef");
	put(A, 6, 0, "g");
	expect("A6:g");
}

static void rst_closes(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put_flags(B, RST, 0, 3, "");
	expect("open:syn A0:abc close:rst-by-B");
	assert_int_equal(x.closed.frame, x.packet.frame);
	/* What was on its way. */
	put(A, 3, 0, "def");
	put(A, 6, 0, "ghi");
	put_flags(B, RST, 0, NONE, "");
	put_flags(A, FIN, 9, 0, "");
	ack(A, 9, 0);
	expect("");
	assert_int_equal(x.opened, 1);
}

static void rst_out_of_the_window_is_ignored(void **state)
{
	(void)state;
	handshake();
	for (int i = 0; i < 200; i++) {
		put(A, i * 1000, 0, "abc");
		x.cut = 997;
		segment(A, ACK, x.isn[A] + 1 + (uint32_t)i * 1000 + 3, x.isn[B] + 1, NULL, 997);
		ack(B, 0, (i + 1) * 1000);
	}
	forget();
	put_flags(A, RST, 100000, NONE, "");
	put_flags(A, RST, INT64_C(0x4000000), NONE, "");
	put_flags(B, RST, INT64_C(0x70000000), NONE, "");
	expect("");
	put_flags(A, RST, 200000, NONE, "");
	expect("close:rst-by-A");
}

static void rst_refuses_the_connection(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	segment(B, RST | ACK, 0, x.isn[A] + 77, NULL, 0); /* of another attempt */
	expect("open:syn");
	segment(B, RST | ACK, 0, x.isn[A] + 1, NULL, 0);
	expect("close:rst-by-B");
	assert_int_equal(x.opened, 1);
}

static void rst_with_odd_numbers_after_fin(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put_flags(A, FIN, 3, 0, "");
	expect("open:syn A0:abc finA");
	segment(B, RST, 0x50000000, 0, NULL, 0);
	expect("close:rst-by-B");
}

/* In the window, but not at its start: a receiver may ask first. */
static void rst_in_the_window_is_doubted(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	ack(B, 0, 3); /* the window ends at 503 */
	expect("open:syn A0:abc");
	put_flags(A, RST, 504, 0, ""); /* outside */
	put_flags(A, RST, 2, 0, "");
	pass(FOREVER);
	nbds_tcp_tick(x.tcp, x.packet.time);
	expect("");
	put_flags(A, RST, 503, 0, "");
	expect("");
	put(A, 3, 0, "def"); /* it goes on */
	pass(FOREVER);
	nbds_tcp_tick(x.tcp, x.packet.time);
	expect("A3:def");
	put_flags(A, RST, 500, 0, "");
	put(B, 0, 6, "1"); /* the other one goes on */
	pass(FOREVER);
	nbds_tcp_tick(x.tcp, x.packet.time);
	expect("B0:1");
	put_flags(A, RST, 100, 0, "");
	nbds_tcp_tick(x.tcp, x.packet.time + 100 * MS);
	expect("");
	nbds_tcp_tick(x.tcp, x.packet.time + 250 * MS);
	expect("close:rst-by-A");
}

static void rst_that_is_doubted_and_one_that_is_not(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put_flags(A, RST, 100, 0, "");
	expect("open:syn A0:abc");
	put_flags(A, RST, 3, 0, "");
	expect("close:rst-by-A");
	assert_int_equal(x.closed.frame, x.packet.frame);
}

static void rst_waits_for_what_is_held(void **state)
{
	(void)state;
	handshake();
	put(B, 3, 0, "def");
	put_flags(B, RST, 6, 0, "");
	expect("open:syn");
	put(B, 0, 0, "abc"); /* reordered by the capture */
	expect("B0:abc B3:def close:rst-by-B");
	assert_int_equal(x.closed.frame, 5);
}

static void rst_waits_no_longer_than_patience(void **state)
{
	(void)state;
	handshake();
	put(B, 3, 0, "def");
	put_flags(B, RST, 6, 0, "");
	nbds_tcp_tick(x.tcp, x.packet.time + 100 * MS);
	expect("open:syn");
	nbds_tcp_tick(x.tcp, x.packet.time + 250 * MS);
	expect("gapB0+3:end B3:def close:rst-by-B");
	assert_int_equal(x.closed.frame, 5);
}

static void rst_that_waits_at_the_end(void **state)
{
	(void)state;
	handshake();
	put(B, 3, 0, "def");
	put_flags(B, RST, 6, 0, "");
	nbds_tcp_finish(x.tcp);
	expect("open:syn gapB0+3:end B3:def close:rst-by-B");
}

static void rst_that_its_sender_does_not_know(void **state)
{
	(void)state;
	handshake();
	put(B, 3, 0, "def");
	put_flags(B, RST, 6, 0, "");
	put(B, 6, 0, "ghi"); /* so it goes on */
	pass(100 * MS);
	put(B, 0, 0, "abc");
	expect("open:syn B0:abc B3:def B6:ghi");
	/* The same with nothing held: the flow was closed, and a new one opens. */
	put_flags(B, RST, 9, 0, "");
	expect("close:rst-by-B");
	x.swapped = true;
	put(B, 9, 0, "jkl");
	expect("open:middle A0:jkl");
}

static void end_of_the_capture(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 6, 0, "ghi");
	put(B, 5, 9, "b");
	nbds_tcp_finish(x.tcp);
	expect("open:syn A0:abc gapA3+3:lost A6:ghi gapB0+5:end B5:b close:open");
	assert_int_equal(stat(held_now), 0);
	assert_int_equal(x.closed.frame, x.packet.frame);
	/* And it can be used again. */
	put_flags(A, SYN, 0, NONE, "");
	expect("open:syn");
}

/* --- keep-alives and probes --- */

static void keepalives(void **state)
{
	(void)state;
	handshake();
	ack(A, -1, 0); /* before anything was sent */
	put(A, -1, 0, "?");
	put(A, 0, 0, "abc");
	put(B, 0, 3, "x");
	ack(A, 3, 1);
	for (int i = 0; i < 100; i++) {
		pass(10000 * MS);
		ack(A, 2, 1);
		ack(B, 1, 3);
		put(A, 2, 1, "?"); /* a byte of garbage */
		ack(B, 1, 3);
		put(B, 0, 3, "?");
	}
	expect("open:syn A0:abc B0:x");
	put(A, 3, 1, "def");
	expect("A3:def");
	first_tx(A, x.packet.frame);
	assert_int_equal(stat(keepalives), 302);
	assert_int_equal(stat(conflicts), 0);
}

/* The garbage must not become data where the capture has a hole. */
static void keepalive_in_a_hole(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 6, 0, "ghi");
	ack(B, 0, 9);
	put(A, 8, 0, "?"); /* against "i", which is held */
	expect("open:syn A0:abc");
	assert_int_equal(stat(conflicts), 0);
	pass(200 * MS);
	ack(B, 0, 9);
	expect("gapA3+3:lost A6:ghi");
}

static void zero_window_probes(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	ack(B, 0, 3);
	for (int i = 0; i < 10; i++) {
		pass(1000 * MS);
		ack(A, 2, 0); /* one kind: nothing, one byte back */
		ack(B, 0, 3);
		put(A, 3, 0, "d"); /* the other: one byte of new data, not taken */
		ack(B, 0, 3);
	}
	put(A, 3, 0, "def");
	expect("open:syn A0:abc A3:d A4:ef");
	assert_int_equal(stat(gaps), 0);
	assert_int_equal(stat(conflicts), 0);
}

/* --- ports used again --- */

static void close_by_fin(void)
{
	put_flags(A, FIN, 0, 0, "");
	put_flags(B, FIN, 0, 1, "");
	ack(A, 1, 1);
}

static void stragglers_open_nothing(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	put_flags(A, FIN, 3, 0, "");
	put_flags(B, FIN, 0, 4, "");
	expect("open:syn A0:abc finA finB close:fin");
	ack(A, 4, 1);
	put_flags(B, FIN, 0, 4, "");
	ack(A, 4, 1);
	put(A, 0, 0, "abc");
	put_flags(A, FIN, 3, 1, "");
	put_flags(A, FIN, 0, 1, "abc");
	put(A, 3, 1, "?"); /* where the FIN was */
	put_flags(A, RST, 4, 1, "");
	put_flags(A, SYN, 0, NONE, ""); /* a copy of the old one */
	put_flags(B, SYN, 0, 0, "");
	expect("");
	assert_int_equal(x.opened, 1);
}

static void reuse_after_fin(void **state)
{
	(void)state;
	handshake();
	close_by_fin();
	expect("open:syn finA finB close:fin");
	x.isn[A] += 64000;
	x.isn[B] += 64000;
	handshake();
	put(A, 0, 0, "new");
	expect("open:syn A0:new");
	assert_int_equal(stat(reuses), 0);
	assert_int_equal(stat(flows), 2);
}

static void reuse_after_rst(void **state)
{
	(void)state;
	handshake();
	put_flags(A, RST, 0, 0, "");
	x.isn[A] += 5;
	x.isn[B] += 7;
	handshake();
	put(B, 0, 0, "new");
	expect("open:syn close:rst-by-A open:syn B0:new");
}

static void reuse_of_a_half_closed_flow(void **state)
{
	(void)state;
	handshake();
	put_flags(A, FIN, 0, 0, "");
	x.isn[A] += 1000;
	put_flags(A, SYN, 0, NONE, ""); /* B's FIN was lost, long ago */
	expect("open:syn finA close:reused open:syn");
	x.isn[B] += 1000;
	put_flags(B, SYN, 0, 0, "");
	put(B, 0, 0, "hello");
	expect("B0:hello");
}

static void reuse_while_a_rst_waits(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	put_flags(B, RST, 0, 0, "");
	expect("open:syn");
	x.isn[A] += 1000;
	put_flags(A, SYN, 0, NONE, "");
	expect("gapA0+3:end A3:def close:rst-by-B open:syn");
	assert_int_equal(stat(reuses), 0);
}

static void reuse_far_away_with_the_handshake_lost(void **state)
{
	(void)state;
	handshake();
	close_by_fin();
	x.isn[A] -= 0x30000000;
	put(A, 0, 0, "hello");
	expect("open:syn finA finB close:fin open:middle A0:hello");
}

static void reuse_with_the_syn_lost(void **state)
{
	(void)state;
	handshake();
	close_by_fin();
	x.isn[A] += 64000;
	x.isn[B] -= 64000;
	put_flags(B, SYN, 0, 0, "");
	put(B, 0, 0, "hello");
	expect("open:syn finA finB close:fin open:syn B0:hello");
}

static void reuse_with_the_handshake_lost(void **state)
{
	(void)state;
	handshake();
	close_by_fin();
	x.isn[A] += 64000;
	x.isn[B] += 64000;
	ack(A, 0, 0);
	expect("open:syn finA finB close:fin");
	put(A, 0, 0, "hello");
	expect("open:middle A0:hello");
}

static void reuse_of_a_live_flow(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "old");
	expect("open:syn A0:old");
	x.isn[A] += 0x50000000;
	put_flags(A, SYN, 0, NONE, ""); /* may be a stray */
	expect("");
	x.isn[B] += 99;
	put_flags(B, SYN, 0, 0, "");
	expect("close:reused open:syn");
	assert_int_equal(x.closed.frame, 5);
	ack(A, 0, 0);
	put(A, 0, 0, "new");
	expect("A0:new");
	first_tx(A, x.packet.frame);
	assert_int_equal(stat(reuses), 1);
}

static void reuse_of_a_live_flow_seen_from_one_side(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	put(A, 0, 0, "old");
	x.isn[A] += 4711;
	put_flags(A, SYN, 0, NONE, "");
	expect("open:syn A0:old");
	put(A, 0, 0, "new");
	expect("close:reused open:syn A0:new");
}

static void reuse_refused(void **state)
{
	(void)state;
	handshake();
	x.isn[A] += 4711;
	put_flags(A, SYN, 0, NONE, "");
	segment(B, RST | ACK, 0, x.isn[A] + 1, NULL, 0);
	expect("open:syn close:reused open:syn close:rst-by-B");
}

static void stray_syn_is_harmless(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	for (uint32_t i = 1; i < 50; i++) {
		segment(A, SYN, x.isn[A] + i * 0x05000000, 0, NULL, 0);
		segment(B, SYN, x.isn[B] + i * 0x05000000, 0, NULL, 0);
		segment(B, SYN | ACK, x.isn[B] + i * 0x05000000, x.isn[A] + 4, NULL, 0);
		segment(A, SYN | ACK, x.isn[A] + i * 0x05000000, 99, NULL, 0);
		ack(B, 0, 3); /* the answer: that is not where we are */
	}
	segment(A, SYN, x.isn[A] + 3, 0, NULL, 0); /* as if it went on just here */
	put(A, 3, 0, "def");
	put(B, 0, 6, "x");
	expect("open:syn A0:abc A3:def B0:x");
	assert_int_equal(stat(reuses), 0);
}

static void syn_again_with_another_number_before_any_answer(void **state)
{
	(void)state;
	put_flags(A, SYN, 0, NONE, "");
	x.isn[A] += 1000;
	put_flags(A, SYN, 0, NONE, "");
	expect("open:syn close:reused open:syn");
	put_flags(B, SYN, 0, 0, "");
	put(A, 0, 0, "a");
	expect("A0:a");
}

/* --- limits --- */

static void held_direction_is_bounded(void **state)
{
	static const struct nbds_tcp_limits limits = {.held_direction = 16384};
	uint64_t at = 10;

	(void)state;
	restart(&limits);
	handshake();
	for (int i = 0; i < 200; i++) {
		put(A, (int64_t)at, 0, "abcdefgh");
		at += 8;
		assert_true(stat(held_now) <= 16384);
		assert_true(stat(held_max) <= 16384);
	}
	assert_int_equal(strncmp(x.log, "open:syn gapA0+10:limit A10:abcdefgh A18:", 41), 0);
	assert_int_equal(x.next[A], at); /* one gap, and then all is in order */
	assert_int_equal(stat(gaps), 1);
	assert_int_equal(stat(held_now), 0);
	assert_int_equal(stat(bytes), 1600);
}

static void room_for_nothing(void **state)
{
	static const struct nbds_tcp_limits limits = {.held_direction = 1, .held_total = 1};

	(void)state;
	restart(&limits);
	handshake();
	put(A, 3, 0, "def");
	expect("open:syn gapA0+3:limit A3:def");
	put(A, 0, 0, "abc");
	expect("");
	put(B, 0, 99, "x"); /* cannot wait either */
	expect("B0:x");
	put(A, 4, 0, "efghi");
	expect("A6:ghi");
	assert_int_equal(stat(held_max), 0);
}

static void piece_in_front_when_full(void **state)
{
	static const struct nbds_tcp_limits limits = {.held_direction = 1024};

	(void)state;
	restart(&limits);
	handshake();
	put(A, 20, 0, "u");
	put(A, 22, 0, "w");
	put(A, 24, 0, "y");
	put(A, 26, 0, "!");
	expect("open:syn");
	put(A, 10, 0, "k"); /* the fifth does not fit: it is the first in order */
	expect("gapA0+10:limit A10:k");
	put(A, 30, 0, "?");
	expect("gapA11+9:limit A20:u");
	nbds_tcp_finish(x.tcp);
	expect("gapA21+1:end A22:w gapA23+1:end A24:y gapA25+1:end A26:! gapA27+3:end A30:? "
	       "close:open");
}

static void total_is_bounded_and_the_oldest_gives_way(void **state)
{
	static const struct nbds_tcp_limits limits = {.held_total = 4096};
	static const uint16_t ports[] = {40000, 40001, 40002};

	(void)state;
	restart(&limits);
	x.check_next = false;
	for (int i = 0; i < 3; i++) {
		x.port = ports[i];
		handshake();
	}
	x.port = ports[0];
	put(A, 1, 0, "first");
	x.port = ports[1];
	for (int i = 0; i < 15; i++)
		put(A, 1 + 2 * i, 0, "x");
	expect("open:syn open:syn open:syn");
	assert_int_equal(stat(held_now), 4096);
	x.port = ports[2];
	put(A, 1, 0, "third");
	expect("gapA0+1:limit A1:first");
	assert_int_equal(stat(held_max), 4096);
	x.port = ports[0];
	put(A, 6, 0, "more");
	expect("A6:more");
}

static void too_many_flows(void **state)
{
	static const struct nbds_tcp_limits limits = {.flows = 3};

	(void)state;
	restart(&limits);
	x.check_next = false;
	for (uint16_t i = 0; i < 3; i++) {
		x.port = 40000 + i;
		handshake();
	}
	x.port = 40000; /* used last */
	put(A, 0, 0, "zero");
	expect("open:syn open:syn open:syn A0:zero");
	x.port = 40005;
	put_flags(A, SYN, 0, NONE, ""); /* 40001 goes */
	expect("close:idle open:syn");
	x.port = 40000;
	put(A, 4, 0, "!");
	expect("A4:!");
	x.port = 40001;
	put(A, 0, 0, "one"); /* comes back as what it looks like, 40002 goes */
	expect("close:idle open:middle A0:one");
	x.port = 40006;
	ack(A, 0, 0); /* 40005 goes for something that may become a flow ... */
	expect("close:idle");
	x.port = 40007;
	put_flags(A, SYN, 0, NONE, ""); /* ... which goes first itself */
	expect("open:syn");
	nbds_tcp_finish(x.tcp);
	expect("close:open close:open close:open");
}

static void ignored_flows_are_no_burden(void **state)
{
	static const struct nbds_tcp_limits limits = {.flows = 3};

	(void)state;
	restart(&limits);
	x.check_next = false;
	for (uint16_t i = 0; i < 3; i++) {
		x.port = 40000 + i;
		handshake();
		if (i == 1)
			nbds_tcp_ignore(x.flow);
	}
	x.port = 40001;
	put(A, 0, 0, "not heard, and the newest");
	x.port = 40003;
	expect("open:syn open:syn open:syn");
	put_flags(A, SYN, 0, NONE, "");
	expect("open:syn");
	x.port = 40000;
	put(A, 0, 0, "there");
	expect("A0:there");
}

static void too_many_ignored_flows(void **state)
{
	static const struct nbds_tcp_limits limits = {.flows = 3};

	(void)state;
	restart(&limits);
	x.check_next = false;
	for (uint16_t i = 0; i < 16; i++) {
		x.port = 40000 + i;
		handshake();
		nbds_tcp_ignore(x.flow);
		expect("open:syn");
	}
	x.port = 41000;
	handshake();
	expect("open:syn");
	nbds_tcp_ignore(x.flow); /* 40000 goes */
	expect("close:idle");
	x.port = 40000;
	put(A, 0, 0, "back");
	expect("open:middle A0:back");
}

static void who_was_pushed_out_does_not_come_back(void **state)
{
	static const struct nbds_tcp_limits limits = {.flows = 3};

	(void)state;
	restart(&limits);
	x.check_next = false;
	for (uint16_t i = 0; i < 4; i++) {
		x.port = 40000 + i;
		handshake();
		put(A, 0, 0, "data");
	}
	expect("open:syn A0:data open:syn A0:data open:syn A0:data close:idle open:syn A0:data");
	x.port = 40000;
	put(A, 4, 0, "goes on");
	expect("");
	/* but another one may use its ports */
	x.isn[A] += 100000;
	handshake();
	expect("close:idle open:syn");
}

static void who_is_let_go_has_no_end(void **state)
{
	(void)state;
	x.check_next = false;
	handshake();
	nbds_tcp_let_go(x.flow);
	close_by_fin();
	expect("open:syn");
}

static void flows_without_data_go_before_those_with(void **state)
{
	static const struct nbds_tcp_limits limits = {.flows = 3};

	(void)state;
	restart(&limits);
	x.check_next = false;
	for (uint16_t i = 0; i < 2; i++) {
		x.port = 40000 + i;
		handshake();
		put(A, 0, 0, "data");
	}
	expect("open:syn A0:data open:syn A0:data");
	x.port = 40002;
	handshake();
	expect("open:syn");
	for (uint16_t i = 0; i < 10; i++) {
		x.port = 50000 + i;
		put_flags(A, SYN, 0, NONE, "");
		expect("close:idle open:syn");
	}
	x.port = 40000;
	put(A, 4, 0, "there");
	expect("A4:there");
	x.port = 40001;
	put(B, 0, 4, "here");
	expect("B0:here");
	assert_int_equal(stat(followed_max), 3);
}

static void thousands_of_flows(void **state)
{
	(void)state;
	x.check_next = false;
	for (int round = 0; round < 3; round++) {
		for (uint16_t i = 0; i < 5000; i++) {
			x.port = 20000 + i;
			if (!round)
				handshake();
			put(A, round, 0, "x");
			assert_int_equal(x.last[A].mark.frame, x.packet.frame);
			forget();
		}
	}
	assert_int_equal(stat(flows), 5000);
	assert_int_equal(stat(bytes), 15000);
}

static void closed_flows_are_forgotten_in_the_end(void **state)
{
	static const struct nbds_tcp_limits limits = {.flows = 8};

	(void)state;
	restart(&limits);
	for (uint16_t i = 0; i < 1000; i++) {
		x.port = 20000 + i;
		handshake();
		close_by_fin();
		expect("open:syn finA finB close:fin");
	}
	put(A, 0, 1, "x"); /* the last one is remembered: what had closed it was here */
	expect("");
	x.port = 20000;
	put(A, 0, 1, "x"); /* not so the first one */
	expect("open:middle A0:x");
}

/* --- cut payload --- */

static void cut_payload_is_a_gap_at_once(void **state)
{
	(void)state;
	handshake();
	x.cut = 5;
	put(A, 0, 0, "abcdefgh");
	expect("open:syn A0:abc gapA3+5:snaplen");
	put(A, 8, 0, "ijk");
	expect("A8:ijk");
	first_tx(A, 5); /* bytes that were cut were seen on the wire */
	x.cut = 3;
	put(A, 11, 0, "lmn");
	expect("gapA11+3:snaplen");
	assert_int_equal(stat(gap_bytes), 8);
}

static void cut_payload_held(void **state)
{
	(void)state;
	handshake();
	x.cut = 2;
	put(A, 3, 0, "defg");
	put(A, 7, 0, "hi");
	expect("open:syn");
	x.cut = 1;
	put(A, 0, 0, "abc");
	expect("A0:ab gapA2+1:snaplen A3:de gapA5+2:snaplen A7:hi");
}

static void cut_payload_and_overlaps(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abcd");
	x.cut = 4;
	put(A, 2, 0, "cdefgh"); /* nothing of the new bytes is here */
	expect("open:syn A0:abcd gapA4+4:snaplen");
	x.cut = 2;
	put(A, 6, 0, "ghijkl");
	expect("A8:ij gapA10+2:snaplen");
	x.cut = 3;
	put(A, 14, 0, "opqr");
	x.cut = 1;
	put(A, 12, 0, "mnoXYZst"); /* compares what both have, and fills the rest */
	expect("A12:mn A14:o gapA15+3:snaplen A18:s gapA19+1:snaplen");
}

/* --- numbers from far away --- */

static void far_numbers_cost_nothing(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");
	for (int i = 1; i < 100; i++) {
		put(A, INT64_C(0x10000000) + i * 1000, 0, "far ahead");
		put(A, -INT64_C(0x11000000) - i * 1000, 0, "far behind");
		put_flags(A, FIN, INT64_C(0x30000000) + i, 0, "");
	}
	/* it is said, since what the sender says may be there */
	expect("open:syn A0:abc unsureA3+1");
	assert_int_equal(x.conflict.first.frame, 4);
	assert_int_equal(stat(held_max), 0);
	put(A, 3, 0, "def");
	expect("A3:def");
	first_tx(A, x.packet.frame);
}

static void far_numbers_in_between_move_nothing(void **state)
{
	(void)state;
	handshake();
	for (int i = 0; i < 30; i++) {
		put(A, INT64_C(0x30000000) + i, 0, "x"); /* each follows the one before */
		if (i % 5 == 4)
			put(A, i / 5, 0, "a");
	}
	expect("open:syn unsureA0+1 A0:a unsureA1+1 A1:a unsureA2+1 A2:a unsureA3+1 A3:a "
	       "unsureA4+1 A4:a unsureA5+1 A5:a");
}

static void far_numbers_after_the_fin(void **state)
{
	(void)state;
	handshake();
	put_flags(A, FIN, 0, 0, "");
	for (int i = 0; i < 30; i++)
		put(A, INT64_C(0x30000000) + i, 0, "x");
	expect("open:syn finA");
}

static void ahead_by_much_costs_its_bytes_only(void **state)
{
	(void)state;
	handshake();
	put(A, INT64_C(0x0f000000), 0, "!");
	assert_true(stat(held_now) > 0 && stat(held_now) < 1024);
	nbds_tcp_finish(x.tcp);
	expect("open:syn gapA0+251658240:end A251658240:! close:open");
}

static void moves_after_a_great_loss(void **state)
{
	int64_t at = INT64_C(0x90000000);

	(void)state;
	x.bytes = false;
	handshake();
	put(A, 0, 0, "abc");
	expect("open:syn A0+3");
	for (int i = 0; i < 7; i++) {
		put(A, at, 0, "0123456789");
		at += 10;
	}
	expect("unsureA3+1");
	put(A, at, 0, "0123456789");
	at += 10;
	put(A, at, 0, "0123456789");
	expect("gapA3+2415919171:limit A2415919174+10 A2415919184+10");
	ack(B, 0, at + 10);
	put(A, at + 10, 0, "x");
	expect("A2415919194+1");
}

/* --- marks --- */

static void marks_of_a_clean_stream(void **state)
{
	(void)state;
	handshake();
	put(B, 0, 0, "abc");
	put(B, 3, 0, "de");
	first_tx(B, 5);
	assert_int_equal(x.last[B].mark.ack, 0);
	assert_int_equal(x.last[B].mark.time, x.packet.time);
	x.packet.interface = 3;
	put(A, 0, 5, "a");
	first_tx(A, 6);
	assert_int_equal(x.last[A].mark.ack, 5);
	assert_int_equal(x.last[A].mark.interface, 3);
	put(A, 1, NONE, "b");
	first_tx(A, 7);
	assert_true(x.last[A].mark.ack == NBDS_NO_ACK);
	put(A, 2, 3, "c"); /* an older number is what the frame says */
	assert_int_equal(x.last[A].mark.ack, 3);
	/* no receiver says so: a bit is wrong, and no checksum would show it */
	put(A, 3, 4, "d");
	first_tx(A, 9);
	assert_true(x.last[A].mark.ack == NBDS_NO_ACK);
}

static void marks_after_a_hole(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	put(A, 6, 0, "ghi"); /* 5: after a hole */
	put(A, 9, 0, "jkl"); /* 6: follows it, still in doubt */
	put(A, 3, 0, "def"); /* 7: fills it */
	expect("open:syn A0:abc A3:def A6:ghi A9:jkl");
	is_late(A, 6, 4);
	put(A, 12, 0, "mno"); /* 8 */
	first_tx(A, 8);
}

static void marks_after_a_loss(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	put(A, 6, 0, "ghi"); /* 5 */
	ack(B, 0, 6);        /* 6: B has the lost bytes, not yet these */
	pass(200 * MS);
	ack(B, 0, 6); /* 7 */
	expect("open:syn A0:abc gapA3+3:lost A6:ghi");
	is_late(A, 5, 4);
	put(A, 9, 0, "jkl"); /* 8: perhaps sent before, unseen as well */
	is_late(A, 8, 4);
	ack(B, 0, 12);        /* 9: no: that is all that B has */
	put(A, 12, 0, "mno"); /* 10 */
	first_tx(A, 10);
	put(A, 18, 0, "stu"); /* 11: the next hole starts from there */
	ack(B, 0, 21);
	pass(200 * MS);
	ack(B, 0, 21);
	is_late(A, 11, 10);
}

static void marks_after_a_hole_after_a_loss(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def"); /* 4 */
	ack(B, 0, 5);
	pass(200 * MS);
	ack(B, 0, 6);
	expect("open:syn gapA0+3:lost A3:def");
	put(A, 6, 0, "ghi"); /* 7 */
	first_tx(A, 7);
	put(A, 12, 0, "mno"); /* 8 */
	put(A, 9, 0, "jkl");  /* 9: this time it was only disorder */
	put(A, 15, 0, "pqr"); /* 10 */
	first_tx(A, 10);
}

static void marks_of_a_retransmission_that_fills_a_hole(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "a");   /* 4 */
	put(A, 5, 0, "fgh"); /* 5 */
	ack(B, 0, 1);
	pass(300 * MS);
	put(A, 1, 0, "bcde"); /* 7 */
	expect("open:syn A0:a A1:bcde A5:fgh");
	is_late(A, 5, 4);
	assert_true(x.last[A].mark.lo_time < x.last[A].mark.time);
}

/* With a hole from 3 to 6, [6, 9) and [9, 12) behind it, and then "de" of the hole. */
static void hole(uint32_t stamp, int64_t acked, uint32_t filler_stamp, int64_t filler_acked)
{
	handshake();
	put(B, 0, 0, "12");  /* 4 */
	put(B, 2, 0, "34");  /* 5 */
	put(A, 0, 2, "abc"); /* 6 */
	x.stamp = stamp;
	put(A, 6, acked, "ghi"); /* 7 */
	put(A, 9, acked, "jkl"); /* 8 */
	expect("open:syn B0:12 B2:34 A0:abc");
	pass(200 * MS);
	x.stamp = filler_stamp;
	put(A, 3, filler_acked, "de"); /* 9 */
	expect("A3:de");
}
#define sent_late(dir, frame, lo) \
	mark_is_at(dir, NBDS_MARK_LATE | NBDS_MARK_FIRST_TX, frame, lo, __LINE__)

static void marks_of_disorder_by_stamps(void **state)
{
	(void)state;
	hole(10, 4, 9, 4);
	sent_late(A, 9, 6);
	put(A, 5, 4, "f"); /* 10 */
	expect("A5:f A6:ghi A9:jkl");
	first_tx(A, 8);
	put(A, 12, 4, "m"); /* 11 */
	first_tx(A, 11);
}

static void marks_of_disorder_by_acknowledgements(void **state)
{
	(void)state;
	hole(0, 4, 0, 2);
	sent_late(A, 9, 6);
	assert_int_equal(x.last[A].mark.ack, 2);
	put(A, 5, 2, "f");
	expect("A5:f A6:ghi A9:jkl");
	first_tx(A, 8);
}

static void marks_of_disorder_without_evidence(void **state)
{
	(void)state;
	hole(10, 4, 10, 4); /* sent at the same time, or after it */
	is_late(A, 9, 6);
	put(A, 5, 4, "f");
	expect("A5:f A6:ghi A9:jkl");
	is_late(A, 8, 6);
}

static void marks_of_disorder_by_an_acknowledgement_that_is_none(void **state)
{
	(void)state;
	hole(0, 4, 0, 3); /* no segment ends there: a bit is wrong */
	is_late(A, 9, 6);
	put(A, 5, 3, "f");
	is_late(A, 8, 6);
}

static void marks_of_disorder_in_part(void **state)
{
	(void)state;
	hole(10, 4, 9, 4);
	sent_late(A, 9, 6);
	x.stamp = 11;
	put(A, 5, 4, "f"); /* but this was sent again */
	expect("A5:f A6:ghi A9:jkl");
	is_late(A, 8, 6);
}

static void marks_of_disorder_that_was_acknowledged(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	x.stamp = 10;
	put(A, 6, 0, "ghi"); /* 5 */
	ack(B, 0, 9);        /* 6: B had all of it before this frame */
	x.stamp = 9;
	put(A, 3, 0, "def"); /* 7 */
	expect("open:syn A0:abc A3:def A6:ghi");
	is_late(A, 5, 4);
}

static void marks_of_two_holes(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	x.stamp = 10;
	put(A, 6, 0, "ghi");  /* 5 */
	put(A, 12, 0, "mno"); /* 6 */
	x.stamp = 9;
	put(A, 3, 0, "def"); /* 7 */
	put(A, 9, 0, "jkl"); /* 8 */
	expect("open:syn A0:abc A3:def A6:ghi A9:jkl A12:mno");
	is_late(A, 6, 4);
}

static void marks_of_a_loss_that_the_receiver_tells(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	x.stamp = 10;
	put(A, 6, 0, "ghi"); /* 5 */
	x.sack = (struct nbds_sack){6, 9};
	ack(B, 0, 3); /* 6: B has what is behind the hole, and not what is in it */
	x.stamp = 20;
	put(A, 9, 0, "jkl"); /* 7: nobody has seen more */
	pass(200 * MS);
	put(A, 3, 0, "de"); /* 8: sent again */
	expect("open:syn A0:abc A3:de");
	is_late(A, 8, 5); /* B had not had it when 5 came */
	put(A, 5, 0, "f");
	expect("A5:f A6:ghi A9:jkl");
	first_tx(A, 7);
}

static void marks_of_a_loss_that_is_told_too_late(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	x.stamp = 10;
	put(A, 6, 0, "ghi"); /* 5 */
	x.stamp = 20;
	put(A, 3, 0, "de"); /* 6 */
	is_late(A, 6, 4);
	x.sack = (struct nbds_sack){6, 9};
	ack(B, 0, 3); /* 7 */
	put(A, 5, 0, "f");
	expect("open:syn A0:abc A3:de A5:f A6:ghi");
	is_late(A, 5, 5); /* of no use to B before "f" came, which it had not when 5 came */
}

static void marks_of_losses_that_the_receiver_tells(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	put(A, 6, 0, "ghi"); /* 5 */
	x.sack = (struct nbds_sack){6, 9};
	ack(B, 0, 3);         /* 6 */
	put(A, 15, 0, "pqr"); /* 7: another hole */
	put(A, 18, 0, "stu"); /* 8 */
	put(A, 9, 0, "jkl");  /* 9: not in B's when 5 came */
	x.sack = (struct nbds_sack){15, 21};
	ack(B, 0, 3);         /* 10: nor is it when 8 came */
	put(A, 12, 0, "mno"); /* 11 */
	put(A, 3, 0, "d");    /* 12 */
	expect("open:syn A0:abc A3:d");
	is_late(A, 12, 8);
	put(A, 4, 0, "ef"); /* 13 */
	expect("A4:ef A6:ghi A9:jkl A12:mno A15:pqr A18:stu");
	is_late(A, 8, 8);
}

static void marks_where_the_receiver_has_more(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	put(A, 6, 0, "ghi"); /* 5 */
	put(A, 12, 0, "mn"); /* 6 */
	x.sack = (struct nbds_sack){4, 9};
	ack(B, 0, 3);        /* 7: it had bytes that are not here yet */
	put(A, 3, 0, "d");   /* 8 */
	is_late(A, 8, 5);    /* this it had not */
	put(A, 4, 0, "ef");  /* 9 */
	put(A, 9, 0, "jkl"); /* 10 */
	expect("open:syn A0:abc A3:d A4:ef A6:ghi A9:jkl A12:mn");
	is_late(A, 6, 5);
}

static void marks_with_nonsense_in_sacks(void **state)
{
	static const struct nbds_sack sacks[] = {
		{6, 8},                               /* no segment ends there */
		{9, 6},          {6, 100000}, {0, 3}, /* a copy, RFC 2883 */
		{0, 0x80000000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(sacks) / sizeof(sacks[0]); i++) {
		restart(NULL);
		handshake();
		put(A, 0, 0, "abc"); /* 4 */
		put(A, 6, 0, "ghi"); /* 5 */
		x.sack = sacks[i];
		ack(B, 0, 3);        /* 6 */
		put(A, 3, 0, "def"); /* 7 */
		is_late(A, 5, 4);
		expect("open:syn A0:abc A3:def A6:ghi");
	}
}

static void marks_after_silence(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc");  /* 4 */
	put(B, 0, 3, "1234"); /* 5 */
	ack(A, 3, 4);         /* 6: nothing was sent beyond that */
	put(A, 6, 4, "ghi");  /* 7 */
	put(A, 3, 4, "def");  /* 8 */
	is_late(A, 7, 6);
	expect("open:syn A0:abc B0:1234 A3:def A6:ghi");
	put(B, 4, 9, "5");   /* 9 */
	put(A, 9, 5, "jkl"); /* 10 */
	ack(A, 12, 4);       /* 11: an old frame */
	put(A, 15, 5, "pqr");
	put(A, 12, 5, "mno");
	is_late(A, 12, 10);
}

static void marks_when_acknowledged_before_seen(void **state)
{
	(void)state;
	handshake();
	ack(B, 0, 3);        /* 4 */
	put(A, 0, 0, "abc"); /* 5 */
	is_late(A, 5, 3);    /* nothing of it was sent before 3 */
	put(A, 3, 0, "def"); /* 6 */
	first_tx(A, 6);
}

static void marks_when_the_sender_was_further(void **state)
{
	(void)state;
	handshake();
	put(A, 0, 0, "abc"); /* 4 */
	ack(A, 6, 0);        /* 5: it has sent three bytes more */
	put(A, 3, 0, "def"); /* 6 */
	is_late(A, 6, 4);
	put(A, 6, 0, "ghi"); /* 7 */
	first_tx(A, 7);
}

/* What came before the capture may come again in it: nothing is known of the
 * first transmission until the other side's numbers show it. */
static void marks_in_the_middle(void **state)
{
	(void)state;
	put(A, 100, 50, "abc"); /* 1 */
	assert_int_equal(x.last[A].mark.flags, NBDS_MARK_LATE);
	assert_int_equal(x.last[A].mark.lo_frame, 0);
	assert_true(x.last[A].mark.lo_time == INT64_MIN);
	assert_true(x.last[A].mark.ack == NBDS_NO_ACK);
	put(A, 103, 50, "def"); /* 2 */
	is_late(A, 2, 0);
	ack(B, 50, 106);        /* 3: just what was seen */
	put(A, 106, 50, "ghi"); /* 4 */
	first_tx(A, 4);
	put(B, 50, 109, "x"); /* 5: its number was here before its bytes */
	first_tx(B, 5);
	assert_int_equal(x.last[B].mark.ack, 9);
}

static void marks_in_the_middle_of_a_resend(void **state)
{
	(void)state;
	put(A, 100, 50, "abc"); /* 1 */
	ack(B, 50, 109);        /* 2: had the rest before the capture */
	put(A, 103, 50, "def"); /* 3 */
	is_late(A, 3, 0);
	put(A, 106, 50, "ghi"); /* 4 */
	is_late(A, 4, 0);
	put(A, 109, 50, "jkl"); /* 5: perhaps on its way before the capture, too */
	is_late(A, 5, 0);
	ack(B, 50, 112);
	put(A, 112, 50, "mno"); /* 7 */
	first_tx(A, 7);
}

static void marks_in_the_middle_of_disorder(void **state)
{
	(void)state;
	put(A, 100, 50, "abc"); /* 1 */
	put(A, 106, 50, "ghi"); /* 2 */
	put(A, 103, 50, "def"); /* 3: nothing is missing ... */
	put(A, 109, 50, "jkl"); /* 4: ... and nothing is known */
	is_late(A, 4, 0);
	expect("open:middle A0:abc A3:def A6:ghi A9:jkl");
}

static void marks_by_the_senders_own_number(void **state)
{
	(void)state;
	put(A, 100, 50, "abc"); /* 1 */
	ack(A, 103, 50);        /* 2: that was all it had sent */
	put(A, 103, 50, "def"); /* 3 */
	first_tx(A, 3);
}

static void marks_of_the_held_are_those_of_their_frames(void **state)
{
	(void)state;
	handshake();
	put(B, 0, 3, "one"); /* 4 */
	put(B, 3, 3, "two"); /* 5 */
	put(A, 0, 0, "abc"); /* 6 */
	expect("open:syn A0:abc B0:one B3:two");
	first_tx(B, 5);
}

/* --- ignoring --- */

static void ignored_from_the_start(void **state)
{
	(void)state;
	x.ignore_open = true;
	handshake();
	put(A, 0, 0, "abc");
	put(A, 9, 0, "xyz");
	put(B, 0, 99, "xyz");
	expect("open:syn");
	assert_int_equal(x.frames, 0);
	assert_int_equal(stat(held_max), 0);
	put_flags(A, FIN, 12, 0, "");
	put_flags(B, FIN, 3, 13, "");
	expect("close:fin");
	ack(A, 13, 4);
	put_flags(A, FIN, 12, 0, "");
	expect("");
}

static void ignored_in_data(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	put(A, 8, 0, "ij");
	x.ignore_data = true;
	put_flags(A, FIN, 0, 0, "abc___gh"); /* the first piece is the last that is told */
	expect("open:syn A0:abc");
	assert_int_equal(stat(held_now), 0);
	put_flags(B, RST, 0, 0, "");
	expect("close:rst-by-B");
}

static void ignored_with_bytes_held(void **state)
{
	(void)state;
	handshake();
	put(A, 3, 0, "def");
	assert_true(stat(held_now) > 0);
	nbds_tcp_ignore(x.flow);
	nbds_tcp_ignore(x.flow);
	held(A, false, 0);
	ack(B, 0, 6);
	assert_int_equal(stat(held_now), 0);
	nbds_tcp_tick(x.tcp, x.packet.time + FOREVER);
	nbds_tcp_finish(x.tcp);
	expect("open:syn close:open");
}

static void ignored_then_ports_reused(void **state)
{
	(void)state;
	handshake();
	nbds_tcp_ignore(x.flow);
	put_flags(A, SYN, 0, NONE, "");
	expect("open:syn");
	x.isn[A] += 77;
	handshake();
	put(A, 0, 0, "new");
	expect("close:reused open:syn A0:new");
}

/* --- properties --- */

static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((random_state >> 33) % below);
}

#define MODEL_BYTES 20000

struct planned {
	int dir;
	uint8_t flags;
	uint32_t at, len;
	int64_t ack;
};

static struct {
	uint8_t bytes[2][MODEL_BYTES];
	bool told[2][MODEL_BYTES]; /* as data */
	bool lost[2][MODEL_BYTES]; /* in the plan */
	uint64_t next[2];
	uint64_t gaps;
	bool causal; /* nothing is lost: bytes come after what they acknowledge */
	bool exact;  /* gaps are just what was lost */
	unsigned fins, closes;
} model;

static void model_data(void *ctx, void *user, int dir, uint64_t offset, const uint8_t *data,
		       size_t len, const struct nbds_mark *where)
{
	(void)ctx;
	(void)user;
	assert_int_equal(offset, model.next[dir]);
	assert_true(offset + len <= MODEL_BYTES);
	assert_memory_equal(data, model.bytes[dir] + offset, len);
	model.next[dir] += len;
	if (model.causal && where->ack != NBDS_NO_ACK)
		assert_true(where->ack <= model.next[!dir]);
}

static void model_gap(void *ctx, void *user, int dir, uint64_t offset, uint64_t len,
		      enum nbds_gap_reason why, const struct nbds_mark *where)
{
	(void)ctx;
	(void)user;
	(void)why;
	(void)where;
	assert_int_equal(offset, model.next[dir]);
	assert_true(offset + len <= MODEL_BYTES);
	if (model.exact) {
		for (uint64_t i = offset; i < offset + len; i++)
			assert_true(model.lost[dir][i]);
	}
	model.next[dir] += len;
	model.gaps++;
}

static void model_half_close(void *ctx, void *user, int dir, const struct nbds_mark *where)
{
	(void)ctx;
	(void)user;
	(void)dir;
	(void)where;
	model.fins++;
}

static void model_conflict(void *ctx, void *user, int dir, const struct nbds_conflict *c)
{
	(void)ctx;
	(void)user;
	(void)dir;
	if (c->kind < NBDS_CONFLICT_ACK)
		fail_msg("a conflict where all copies are equal");
}

static void model_close(void *ctx, void *user, enum nbds_flow_end how, int by,
			const struct nbds_mark *where)
{
	(void)ctx;
	(void)user;
	(void)how;
	(void)by;
	(void)where;
	model.closes++;
}

static const struct nbds_tcp_ops model_ops = {
	.data = model_data,
	.gap = model_gap,
	.half_close = model_half_close,
	.conflict = model_conflict,
	.close = model_close,
};

/* A conversation as its two ends have it: a list of segments in the order in
 * which they were sent.  Returns how many. */
static size_t plan(struct planned *p, size_t most, uint32_t ends[2])
{
	uint32_t at[2] = {0, 0}, heard[2] = {0, 0};
	size_t n = 0;
	int dir = B;

	p[n++] = (struct planned){A, SYN, 0, 0, NONE};
	p[n++] = (struct planned){B, SYN, 0, 0, 0};
	p[n++] = (struct planned){A, 0, 0, 0, 0};
	while (n + 2 < most) {
		uint32_t len = rnd(8) ? 1 + rnd(200) : 0;

		if (!rnd(3))
			dir = !dir;
		if (at[dir] + len > ends[dir])
			len = ends[dir] - at[dir];
		/* It has heard some of what the other one sent. */
		heard[dir] += rnd(at[!dir] - heard[dir] + 1);
		p[n++] = (struct planned){dir, 0, at[dir], len, heard[dir]};
		at[dir] += len;
	}
	ends[A] = at[A];
	ends[B] = at[B];
	p[n++] = (struct planned){A, FIN, at[A], 0, at[B]};
	p[n++] = (struct planned){B, FIN, at[B], 0, at[A] + 1};
	return n;
}

static void put_planned(const struct planned *p)
{
	segment(p->dir, (uint8_t)(p->flags | (p->ack == NONE ? 0 : ACK)),
		x.isn[p->dir] + 1 + p->at - (p->flags & SYN ? 1 : 0),
		p->ack == NONE ? 0 : x.isn[!p->dir] + 1 + (uint32_t)p->ack,
		model.bytes[p->dir] + p->at, p->len);
}

static void model_start(uint64_t seed, const struct nbds_tcp_limits *limits)
{
	nbds_tcp_free(x.tcp);
	x.tcp = nbds_tcp_new(limits, &model_ops, NULL);
	assert_non_null(x.tcp);
	random_state = seed;
	memset(&model, 0, sizeof(model));
	for (int dir = 0; dir < 2; dir++) {
		for (size_t i = 0; i < MODEL_BYTES; i++)
			model.bytes[dir][i] = (uint8_t)rnd(256);
		x.isn[dir] = rnd(UINT32_MAX);
		if (!rnd(3))
			x.isn[dir] = UINT32_MAX - rnd(10000);
	}
}

#define PLANNED 300
#ifdef NBDSCOPE_ASSERT /* with sanitizers as well: slow */
#define SEEDS 300
#else
#define SEEDS 1500
#endif

/* Any order within patience, any cutting into segments, copies in between:
 * the bytes come out as they were, and after those they acknowledge. */
static void any_order_within_patience(void **state)
{
	static struct planned p[PLANNED * 2];
	static size_t place[PLANNED * 2];

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint32_t ends[2] = {MODEL_BYTES, MODEL_BYTES};
		size_t n;

		model_start(seed, NULL);
		/* A real copy acknowledges what its sender has heard by then.  If
		 * it is captured before the original, no order may be right. */
		model.causal = seed & 1;
		n = plan(p, PLANNED, ends);
		/* copies, also of a part, or of several segments in one */
		for (size_t i = 3; i < PLANNED; i++) {
			struct planned copy = p[3 + rnd(PLANNED - 5)];
			size_t to = 3 + rnd((uint32_t)(n - 5));

			if (rnd(4))
				continue;
			/* not before the bytes were sent */
			while (to < n - 2 &&
			       (p[to].dir != copy.dir || p[to].at < copy.at + copy.len))
				to++;
			if (to >= n - 2)
				continue;
			if (copy.len > 1 && rnd(2)) {
				uint32_t cut = rnd(copy.len);

				copy.at += cut;
				copy.len -= cut;
			}
			if (!model.causal && rnd(2)) {
				uint32_t back = rnd(copy.at < 300 ? copy.at + 1 : 300);

				copy.at -= back;
				copy.len += back;
			}
			if (!model.causal)
				copy.ack = p[to].ack;
			memmove(p + to + 1, p + to, (n - to) * sizeof(*p));
			p[to] = copy;
			n++;
		}
		/* reordered by up to 30 places, the handshake and the end apart */
		for (size_t i = 3; i + 2 < n; i++)
			place[i] = i + rnd(rnd(4) ? 2 : 31);
		for (size_t i = 4; i + 2 < n; i++) {
			for (size_t j = i; j > 3 && place[j - 1] > place[j]; j--) {
				struct planned other = p[j];
				size_t there = place[j];

				p[j] = p[j - 1];
				p[j - 1] = other;
				place[j] = place[j - 1];
				place[j - 1] = there;
			}
		}
		for (size_t i = 0; i < n; i++)
			put_planned(&p[i]);
		assert_int_equal(model.gaps, 0);
		assert_int_equal(model.next[A], ends[A]);
		assert_int_equal(model.next[B], ends[B]);
		assert_int_equal(model.fins, 2);
		assert_int_equal(model.closes, 1);
		assert_int_equal(stat(held_now), 0);
	}
}

/* Some segments are lost from the capture: what is told are just the others,
 * in order, with just the bytes between as gaps. */
static void any_loss(void **state)
{
	static struct planned p[PLANNED];

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint32_t ends[2] = {MODEL_BYTES, MODEL_BYTES};
		uint32_t odds = 2 + rnd(40);
		size_t n;

		model_start(seed, NULL);
		n = plan(p, PLANNED, ends);
		model.exact = true;
		for (size_t i = 3; i + 2 < n; i++) {
			if (rnd(odds))
				continue;
			memset(model.lost[p[i].dir] + p[i].at, 1, p[i].len);
			p[i].at = UINT32_MAX;
		}
		for (size_t i = 0; i < n; i++) {
			if (p[i].at != UINT32_MAX)
				put_planned(&p[i]);
		}
		nbds_tcp_finish(x.tcp);
		assert_int_equal(model.next[A], ends[A]);
		assert_int_equal(model.next[B], ends[B]);
		assert_int_equal(stat(bytes) + stat(gap_bytes), (uint64_t)ends[A] + ends[B]);
		assert_int_equal(model.fins, 2);
		assert_int_equal(model.closes, 1);
		assert_int_equal(stat(held_now), 0);
	}
}

/* Little room: bytes may be given up, but what is told is right, and memory is
 * what it may be. */
static void any_order_in_little_room(void **state)
{
	static struct planned p[PLANNED];

	(void)state;
	for (uint64_t seed = 1; seed <= 500; seed++) {
		uint32_t ends[2] = {MODEL_BYTES, MODEL_BYTES};
		struct nbds_tcp_limits limits = {
			.held_direction = 1 + rnd(5000),
			.held_total = 1 + rnd(8000),
			.patience_frames = 1 + rnd(20),
		};
		size_t n;

		model_start(seed, &limits);
		n = plan(p, PLANNED, ends);
		for (size_t i = 3; i + 2 < n; i++) {
			size_t j = 3 + rnd((uint32_t)(n - 5));
			struct planned other = p[i];

			p[i] = p[j];
			p[j] = other;
		}
		for (size_t i = 0; i < n; i++) {
			put_planned(&p[i]);
			assert_true(stat(held_now) <= limits.held_total);
		}
		nbds_tcp_finish(x.tcp);
		assert_int_equal(model.next[A], ends[A]);
		assert_int_equal(model.next[B], ends[B]);
		assert_int_equal(model.closes, 1);
		assert_int_equal(stat(held_now), 0);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(opens_and_closes),
		T(bytes_are_handed_on_in_place),
		T(starts_in_the_middle),
		T(first_seen_is_a_without_syn),
		T(nothing_opens_without_syn_or_payload),
		T(fin_before_the_flow_opens),
		T(syn_with_data),
		T(syn_with_data_that_the_server_refused),
		T(syn_retransmitted),
		T(simultaneous_open),
		T(syn_lost),
		T(syn_after_its_answer),
		T(synack_after_data),
		T(synack_lost),
		T(first_byte_before_the_base),
		T(first_byte_before_the_syn),
		T(syn_of_the_wrong_side_first),
		T(answer_of_the_wrong_side_first),
		T(keepalive_first_in_the_middle),
		T(bare_ack_first_shows_a_hole),
		T(out_of_order),
		T(retransmission_of_all),
		T(retransmission_with_new_data),
		T(segment_over_held_pieces),
		T(first_copy_wins),
		T(conflict_has_its_extent),
		T(conflicts_add_up),
		T(conflict_in_a_piece_that_is_cut),
		T(copies_are_read_again),
		T(copies_that_are_gone),
		T(late_copies_are_compared),
		T(late_copies_of_gaps_are_none),
		T(copies_of_what_is_forgotten),
		T(remembered_by_many),
		T(copies_that_acknowledge_something_else),
		T(wrong_checksums_are_discarded),
		T(checksums_left_to_the_hardware),
		T(wrong_checksums_before_right_ones),
		T(checksums_of_bare_segments_count_apart),
		T(checksums_that_are_not_those_of_the_wire),
		T(checksums_of_real_damage),
		T(fills_between_held_pieces_deliver_at_once),
		T(segment_over_very_many_pieces),
		T(wraps_and_goes_beyond_4_gib),
		T(hole_is_lost_after_patience_in_frames),
		T(hole_is_lost_after_patience_in_time),
		T(hole_is_lost_by_a_tick),
		T(hole_is_lost_while_other_flows_talk),
		T(hole_is_lost_behind_one_that_waits_for_longer),
		T(hole_filled_in_time),
		T(hole_that_is_not_acknowledged_waits_for_the_resend),
		T(hole_that_nobody_resends_is_given_up_in_the_end),
		T(partly_acknowledged_hole),
		T(several_holes_at_a_time),
		T(each_hole_has_its_chance),
		T(each_hole_has_its_chance_blindly),
		T(frames_that_bring_nothing_do_not_count),
		T(tail_is_lost),
		T(tail_is_lost_again_and_again),
		T(acknowledged_before_the_base_was_known),
		T(tail_comes_late),
		T(both_directions_go_on_after_losses),
		T(bare_acks_and_keepalives_are_no_evidence),
		T(ack_of_nothing_sent_is_refuted),
		T(ack_far_away_is_no_ack),
		T(one_direction_does_not_stall),
		T(one_direction_hole_by_time),
		T(one_direction_hole_by_frames),
		T(silent_direction_is_remembered),
		T(reply_before_request),
		T(replies_in_a_row_before_their_request),
		T(retransmission_captured_before_the_original),
		T(reply_waits_for_a_hole_in_the_requests),
		T(circle_is_broken),
		T(wait_lasts_while_the_other_side_moves),
		T(acknowledgements_run_ahead_all_the_time),
		T(half_close_leaves_the_other_direction),
		T(fin_waits_for_a_hole),
		T(fin_after_its_acknowledgement),
		T(bare_fin_waits_for_a_hole),
		T(fin_after_a_lost_hole),
		T(fin_hole_at_the_end_of_the_capture),
		T(fin_lost),
		T(fin_lost_at_the_end_of_the_capture),
		T(fin_after_one_lost_byte),
		T(one_lost_byte_is_no_fin_if_more_follows),
		T(bytes_after_the_fin_are_dropped),
		T(fin_before_seen_bytes_is_no_fin),
		T(rst_closes),
		T(rst_out_of_the_window_is_ignored),
		T(rst_refuses_the_connection),
		T(rst_with_odd_numbers_after_fin),
		T(rst_in_the_window_is_doubted),
		T(rst_that_is_doubted_and_one_that_is_not),
		T(rst_waits_for_what_is_held),
		T(rst_waits_no_longer_than_patience),
		T(rst_that_waits_at_the_end),
		T(rst_that_its_sender_does_not_know),
		T(end_of_the_capture),
		T(keepalives),
		T(keepalive_in_a_hole),
		T(zero_window_probes),
		T(stragglers_open_nothing),
		T(reuse_after_fin),
		T(reuse_after_rst),
		T(reuse_of_a_half_closed_flow),
		T(reuse_while_a_rst_waits),
		T(reuse_far_away_with_the_handshake_lost),
		T(reuse_with_the_syn_lost),
		T(reuse_with_the_handshake_lost),
		T(reuse_of_a_live_flow),
		T(reuse_of_a_live_flow_seen_from_one_side),
		T(reuse_refused),
		T(stray_syn_is_harmless),
		T(syn_again_with_another_number_before_any_answer),
		T(held_direction_is_bounded),
		T(room_for_nothing),
		T(piece_in_front_when_full),
		T(total_is_bounded_and_the_oldest_gives_way),
		T(too_many_flows),
		T(ignored_flows_are_no_burden),
		T(too_many_ignored_flows),
		T(who_was_pushed_out_does_not_come_back),
		T(who_is_let_go_has_no_end),
		T(flows_without_data_go_before_those_with),
		T(thousands_of_flows),
		T(closed_flows_are_forgotten_in_the_end),
		T(cut_payload_is_a_gap_at_once),
		T(cut_payload_held),
		T(cut_payload_and_overlaps),
		T(far_numbers_cost_nothing),
		T(far_numbers_in_between_move_nothing),
		T(far_numbers_after_the_fin),
		T(ahead_by_much_costs_its_bytes_only),
		T(moves_after_a_great_loss),
		T(marks_of_a_clean_stream),
		T(marks_after_a_hole),
		T(marks_after_a_loss),
		T(marks_after_a_hole_after_a_loss),
		T(marks_of_a_retransmission_that_fills_a_hole),
		T(marks_of_disorder_by_stamps),
		T(marks_of_disorder_by_acknowledgements),
		T(marks_of_disorder_without_evidence),
		T(marks_of_disorder_by_an_acknowledgement_that_is_none),
		T(marks_of_disorder_in_part),
		T(marks_of_disorder_that_was_acknowledged),
		T(marks_of_two_holes),
		T(marks_of_a_loss_that_the_receiver_tells),
		T(marks_of_a_loss_that_is_told_too_late),
		T(marks_of_losses_that_the_receiver_tells),
		T(marks_where_the_receiver_has_more),
		T(marks_with_nonsense_in_sacks),
		T(marks_after_silence),
		T(marks_when_acknowledged_before_seen),
		T(marks_when_the_sender_was_further),
		T(marks_in_the_middle),
		T(marks_in_the_middle_of_a_resend),
		T(marks_in_the_middle_of_disorder),
		T(marks_by_the_senders_own_number),
		T(marks_of_the_held_are_those_of_their_frames),
		T(ignored_from_the_start),
		T(ignored_in_data),
		T(ignored_with_bytes_held),
		T(ignored_then_ports_reused),
		T(any_order_within_patience),
		T(any_loss),
		T(any_order_in_little_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
