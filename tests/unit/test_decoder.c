/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_decoder.c - conversations fed to the stream decoder.
 *
 * A conversation is written down step by step: bytes of one side, bytes that the
 * capture lost, the end of a side.  What the decoder says of it is written to a
 * log, and the log is what a test expects.  Every conversation is decoded several
 * times: each step as one span, byte by byte, and split at many places, always
 * from memory of exactly the span's size, so that a sanitizer sees a step past
 * its end; the logs must be the same.  Whatever the log, all bytes must be
 * accounted for, heads and payload must be the bytes of the stream at the place
 * that they claim, and each message must end once.
 *
 * The log has a line for each message, end of a message with payload, and
 * trouble:
 *
 *	C 26 NBD_CMD_WRITE 28+512 #1	side, stream offset, head + payload, request
 *	C 26 . 512			its end: bytes of payload told
 *	S 70 LOST 100			trouble, its length
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nbdscope/decoder.h>

#define C NBDS_CLIENT
#define S NBDS_SERVER

/* The conversation ------------------------------------------------------------ */

enum step_kind { BYTES, GAP, END };

struct step {
	enum step_kind kind;
	enum nbds_side side;
	size_t from, len; /* in the stream of the side */
};

#define STREAM_MAX (1u << 20)
#define STEPS_MAX  4096u

static struct {
	enum nbds_start start;
	struct step steps[STEPS_MAX];
	size_t count;
	uint8_t stream[2][STREAM_MAX]; /* what was lost is 0xee */
	size_t len[2];
	bool joined; /* further bytes of the same side belong to the step before */
} talk;

/* The frame that brought a byte: each span is one. */
static uint32_t frame_of[2][STREAM_MAX];

static void begin(enum nbds_start start)
{
	talk.start = start;
	talk.count = 0;
	talk.len[0] = talk.len[1] = 0;
	talk.joined = false;
}

static struct step *add_step(enum step_kind kind, enum nbds_side side, size_t len)
{
	struct step *last = talk.count ? &talk.steps[talk.count - 1] : NULL;

	if (talk.joined && last && last->kind == kind && last->side == side) {
		last->len += len;
		return last;
	}
	assert_true(talk.count < STEPS_MAX);
	talk.steps[talk.count] = (struct step){kind, side, talk.len[side], len};
	return &talk.steps[talk.count++];
}

/* Bytes of one side, as a step of its own unless joined. */
static void say(enum nbds_side side, const void *bytes, size_t len)
{
	assert_true(talk.len[side] + len <= STREAM_MAX);
	add_step(BYTES, side, len);
	memcpy(talk.stream[side] + talk.len[side], bytes, len);
	talk.len[side] += len;
}

static void lose(enum nbds_side side, size_t len)
{
	assert_true(talk.len[side] + len <= STREAM_MAX);
	add_step(GAP, side, len);
	memset(talk.stream[side] + talk.len[side], 0xee, len);
	talk.len[side] += len;
}

static void over(void)
{
	add_step(END, C, 0);
	add_step(END, S, 0);
}

/* The `len` bytes of `side` that were said last, but for the first `keep`, were
 * lost: the last step is made a gap. */
static void forget(size_t keep)
{
	struct step *last = &talk.steps[talk.count - 1];
	struct step lost = {GAP, last->side, last->from + keep, last->len - keep};

	assert_true(last->kind == BYTES && keep < last->len);
	memset(talk.stream[lost.side] + lost.from, 0xee, lost.len);
	if (keep) {
		last->len = keep;
		talk.steps[talk.count++] = lost;
	} else {
		*last = lost;
	}
}

/* Messages -------------------------------------------------------------------- */

struct out {
	uint8_t b[65536];
	size_t n;
};

static void put(struct out *o, uint64_t value, unsigned width)
{
	while (width--)
		o->b[o->n++] = (uint8_t)(value >> 8 * width);
}

static void put_text(struct out *o, const char *text)
{
	memcpy(o->b + o->n, text, strlen(text));
	o->n += strlen(text);
}

static void put_fill(struct out *o, uint8_t byte, size_t n)
{
	memset(o->b + o->n, byte, n);
	o->n += n;
}

static void greet(uint16_t flags)
{
	struct out o = {.n = 0};

	put(&o, NBD_INIT_MAGIC, 8);
	put(&o, NBD_OPTS_MAGIC, 8);
	put(&o, flags, 2);
	say(S, o.b, o.n);
}

static void client_flags(uint32_t flags)
{
	struct out o = {.n = 0};

	put(&o, flags, 4);
	say(C, o.b, o.n);
}

static void option(uint32_t number, const void *data, size_t len)
{
	struct out o = {.n = 0};

	put(&o, NBD_OPTS_MAGIC, 8);
	put(&o, number, 4);
	put(&o, len, 4);
	memcpy(o.b + o.n, data, len);
	say(C, o.b, o.n + len);
}

static void reply(uint32_t number, uint32_t type, const void *data, size_t len)
{
	struct out o = {.n = 0};

	put(&o, NBD_REP_MAGIC, 8);
	put(&o, number, 4);
	put(&o, type, 4);
	put(&o, len, 4);
	memcpy(o.b + o.n, data, len);
	say(S, o.b, o.n + len);
}

static void ack(uint32_t number)
{
	reply(number, NBD_REP_ACK, "", 0);
}

/* 52 bytes. */
static void go_replies(uint64_t size, uint16_t flags)
{
	struct out o = {.n = 0};

	put(&o, NBD_INFO_EXPORT, 2);
	put(&o, size, 8);
	put(&o, flags, 2);
	reply(NBD_OPT_GO, NBD_REP_INFO, o.b, o.n);
	ack(NBD_OPT_GO);
}

/* 22 bytes. */
static void go_option(void)
{
	option(NBD_OPT_GO, "\0\0\0\0\0\0", 6);
}

/* A whole handshake: 26 bytes of the client, 70 of the server; with structured
 * replies 42 and 90, with extended headers too. */
static void handshake(uint32_t mode)
{
	greet(3);
	client_flags(3);
	if (mode) {
		option(mode, "", 0);
		ack(mode);
	}
	go_option();
	go_replies(1048576, 0x05ed);
}

static const char handshake_log[] = "S 0 NBD_GREETING 18+0\n"
				    "C 0 NBD_CLIENT_FLAGS 4+0\n"
				    "C 4 NBD_OPT_GO 22+0\n"
				    "S 18 NBD_REP_INFO 32+0\n"
				    "S 50 NBD_REP_ACK 20+0 final\n";

static const char structured_log[] = "S 0 NBD_GREETING 18+0\n"
				     "C 0 NBD_CLIENT_FLAGS 4+0\n"
				     "C 4 NBD_OPT_STRUCTURED_REPLY 16+0\n"
				     "S 18 NBD_REP_ACK 20+0 final\n"
				     "C 20 NBD_OPT_GO 22+0\n"
				     "S 38 NBD_REP_INFO 32+0\n"
				     "S 70 NBD_REP_ACK 20+0 final\n";

static const char extended_log[] = "S 0 NBD_GREETING 18+0\n"
				   "C 0 NBD_CLIENT_FLAGS 4+0\n"
				   "C 4 NBD_OPT_EXTENDED_HEADERS 16+0\n"
				   "S 18 NBD_REP_ACK 20+0 final\n"
				   "C 20 NBD_OPT_GO 22+0\n"
				   "S 38 NBD_REP_INFO 32+0\n"
				   "S 70 NBD_REP_ACK 20+0 final\n";

static void put_request(struct out *o, uint16_t flags, uint16_t type, uint64_t cookie,
			uint64_t offset, uint32_t length)
{
	put(o, NBD_REQUEST_MAGIC, 4);
	put(o, flags, 2);
	put(o, type, 2);
	put(o, cookie, 8);
	put(o, offset, 8);
	put(o, length, 4);
}

/* 28 bytes; a write's payload is filled with its cookie. */
static void request(uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length)
{
	struct out o = {.n = 0};

	put_request(&o, 0, type, cookie, offset, length);
	if (type == NBD_CMD_WRITE)
		put_fill(&o, (uint8_t)cookie, length);
	say(C, o.b, o.n);
}

/* 32 bytes, and `payload` of them. */
static void xrequest(uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
		     uint64_t length, const void *payload, size_t n)
{
	struct out o = {.n = 0};

	put(&o, NBD_EXTENDED_REQUEST_MAGIC, 4);
	put(&o, flags, 2);
	put(&o, type, 2);
	put(&o, cookie, 8);
	put(&o, offset, 8);
	put(&o, length, 8);
	memcpy(o.b + o.n, payload, n);
	say(C, o.b, o.n + n);
}

/* 16 bytes, and `data` of payload. */
static void simple(uint32_t error, uint64_t cookie, size_t data)
{
	struct out o = {.n = 0};

	put(&o, NBD_SIMPLE_REPLY_MAGIC, 4);
	put(&o, error, 4);
	put(&o, cookie, 8);
	put_fill(&o, (uint8_t)~cookie, data);
	say(S, o.b, o.n);
}

/* 20 bytes, and `n` of payload. */
static void chunk(uint16_t flags, uint16_t type, uint64_t cookie, const void *payload, size_t n)
{
	struct out o = {.n = 0};

	put(&o, NBD_STRUCTURED_REPLY_MAGIC, 4);
	put(&o, flags, 2);
	put(&o, type, 2);
	put(&o, cookie, 8);
	put(&o, n, 4);
	memcpy(o.b + o.n, payload, n);
	say(S, o.b, o.n + n);
}

static void xchunk(uint16_t flags, uint16_t type, uint64_t cookie, uint64_t offset,
		   const void *payload, size_t n)
{
	struct out o = {.n = 0};

	put(&o, NBD_EXTENDED_REPLY_MAGIC, 4);
	put(&o, flags, 2);
	put(&o, type, 2);
	put(&o, cookie, 8);
	put(&o, offset, 8);
	put(&o, n, 8);
	memcpy(o.b + o.n, payload, n);
	say(S, o.b, o.n + n);
}

static void data_chunk(uint64_t cookie, uint64_t offset, size_t n)
{
	struct out o = {.n = 0};

	put(&o, offset, 8);
	put_fill(&o, (uint8_t)~cookie, n);
	chunk(NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, cookie, o.b, o.n);
}

/* The log --------------------------------------------------------------------- */

struct side_state {
	bool open;
	uint64_t offset;
	uint64_t at; /* payload that passed */
	uint64_t told, lost;
	uint32_t head_len;
	uint64_t payload_len;
};

struct recorder {
	struct nbds_decoder *d;
	char log[1 << 18];
	size_t len;
	struct side_state side[2];
	size_t live; /* requests told that did not end */
	struct nbds_negotiated last;
};

static void write_log(struct recorder *r, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(r->log + r->len, sizeof(r->log) - r->len, format, args);
	va_end(args);
	assert_true(n >= 0 && (size_t)n < sizeof(r->log) - r->len);
	r->len += (size_t)n;
}

static char letter(enum nbds_side side)
{
	return side == NBDS_CLIENT ? 'C' : 'S';
}

static void on_message(void *ctx, const struct nbds_message *m)
{
	static const char *const names[] = {"cut",      "malformed", "unsolicited", "final",
					    "resynced", "replayed",  "incomplete"};
	struct recorder *r = ctx;
	struct side_state *s = &r->side[m->from];

	assert_false(s->open);
	*s = (struct side_state){.open = true,
				 .offset = m->offset,
				 .head_len = m->head_len,
				 .payload_len = m->payload_len};
	assert_true(m->head_len > 0 && m->head_len <= NBDS_HEAD_MAX);
	assert_true(m->offset + m->head_len <= talk.len[m->from]);
	assert_memory_equal(m->head, talk.stream[m->from] + m->offset, m->head_len);
	assert_true((m->payload == NBDS_PAYLOAD_NONE) == (m->payload_len == 0));
	assert_ptr_equal(m->negotiated, nbds_decoder_negotiated(r->d));
	assert_true(m->first.frame <= frame_of[m->from][m->offset]);
	assert_true(m->last.frame >= frame_of[m->from][m->offset + m->head_len - 1]);
	assert_true(m->last.frame >= m->first.frame);

	write_log(r, "%c %llu %s %u+%llu", letter(m->from), (unsigned long long)m->offset, m->name,
		  m->head_len, (unsigned long long)m->payload_len);
	if (m->request) {
		write_log(r, " #%llu%s", (unsigned long long)m->request->serial,
			  m->request->ambiguous ? " ambiguous" : "");
		if (m->type == NBDS_MSG_REQUEST) {
			assert_null(m->request->user);
			m->request->user = m->request;
			r->live += m->request->type != NBD_CMD_DISC;
		} else {
			assert_ptr_equal(m->request->user, m->request);
		}
	}
	assert_int_equal(m->type >= NBDS_MSG_SIMPLE_REPLY && !m->request,
			 (m->flags & NBDS_MSG_UNSOLICITED) != 0);
	for (unsigned i = 0; i < 7; i++)
		if (m->flags & 1u << i)
			write_log(r, " %s", names[i]);
	if (m->again)
		write_log(r, " again#%llu", (unsigned long long)m->again->serial);
	write_log(r, "\n");
}

static void on_payload(void *ctx, const struct nbds_message *m, uint64_t at, const uint8_t *data,
		       size_t len, const struct nbds_mark *where)
{
	struct recorder *r = ctx;
	struct side_state *s = &r->side[m->from];

	(void)where;
	assert_true(s->open);
	assert_null(m->head);
	assert_int_equal(at, s->at);
	assert_true(len > 0 && len <= s->payload_len - at);
	assert_memory_equal(data, talk.stream[m->from] + s->offset + s->head_len + at, len);
	s->at += len;
	s->told += len;
}

static void on_payload_gap(void *ctx, const struct nbds_message *m, uint64_t at, uint64_t len,
			   const struct nbds_mark *where)
{
	struct recorder *r = ctx;
	struct side_state *s = &r->side[m->from];

	(void)where;
	assert_true(s->open);
	assert_int_equal(at, s->at);
	assert_true(len > 0 && len <= s->payload_len - at);
	s->at += len;
	s->lost += len;
}

static void on_message_end(void *ctx, const struct nbds_message *m)
{
	struct recorder *r = ctx;
	struct side_state *s = &r->side[m->from];

	assert_true(s->open);
	s->open = false;
	assert_null(m->head);
	assert_int_equal((m->flags & NBDS_MSG_INCOMPLETE) != 0, s->told != s->payload_len);
	if (m->request && m->from == NBDS_SERVER && (m->flags & NBDS_MSG_FINAL))
		r->live--;
	if (!s->payload_len)
		return;
	write_log(r, "%c %llu . %llu", letter(m->from), (unsigned long long)s->offset,
		  (unsigned long long)s->told);
	if (s->lost)
		write_log(r, " lost %llu", (unsigned long long)s->lost);
	write_log(r, "%s\n", m->flags & NBDS_MSG_INCOMPLETE ? " incomplete" : "");
}

static void on_trouble(void *ctx, const struct nbds_trouble *t)
{
	static const char *const names[] = {"LOST", "NONSENSE", "SKIPPED",   "SURE",
					    "TLS",  "FORGOT",   "AFTER_END", "TRAILING"};
	struct recorder *r = ctx;

	assert_true(t->text && *t->text && strlen(t->text) < 120);
	write_log(r, "%c %llu %s", letter(t->side), (unsigned long long)t->offset, names[t->kind]);
	if (t->length)
		write_log(r, " %llu", (unsigned long long)t->length);
	if (t->kind == NBDS_TROUBLE_FORGOT) {
		assert_ptr_equal(t->request->user, t->request);
		write_log(r, " #%llu", (unsigned long long)t->request->serial);
		r->live--;
	} else {
		assert_null(t->request);
	}
	write_log(r, "\n");
}

static void count_request(void *arg, struct nbds_request *request)
{
	uint64_t *count = arg;

	assert_ptr_equal(request->user, request);
	++*count;
}

static void feed(struct nbds_decoder *d, enum nbds_side side, const uint8_t *data, size_t len,
		 const struct nbds_mark *mark)
{
	uint8_t *exact = malloc(len);

	assert_non_null(exact);
	memcpy(exact, data, len);
	nbds_decoder_data(d, side, exact, len, mark);
	memset(exact, 0xdd, len);
	free(exact);
}

static uint32_t random_state;

static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (random_state >> 8) % n;
}

/* Decodes the conversation. Spans of at most `most` bytes: 0 for whole steps,
 * 1 for single bytes, and random ones for more. */
static void play(struct recorder *r, uint32_t most)
{
	static const struct nbds_decoder_ops ops = {on_message,     on_payload, on_payload_gap,
						    on_message_end, on_trouble, NULL};
	struct nbds_accounting a;
	uint64_t in_flight = 0;
	uint32_t frame = 0;
	bool ended = false;

	memset(r, 0, sizeof(*r));
	r->d = nbds_decoder_new(&ops, r, talk.start);
	assert_non_null(r->d);
	for (size_t i = 0; i < talk.count; i++) {
		const struct step *step = &talk.steps[i];
		const uint8_t *data = talk.stream[step->side] + step->from;
		struct nbds_mark mark = {.frame = ++frame, .ack = NBDS_NO_ACK};

		switch (step->kind) {
		case BYTES:
			for (size_t at = 0, n; at < step->len; at += n) {
				n = step->len - at;
				if (most == 1)
					n = 1;
				else if (most && n > 1)
					n = 1 + random_below(n < most ? (uint32_t)n : most);
				mark.frame = ++frame;
				for (size_t k = 0; k < n; k++)
					frame_of[step->side][step->from + at + k] = frame;
				feed(r->d, step->side, data + at, n, &mark);
			}
			break;
		case GAP:
			nbds_decoder_gap(r->d, step->side, step->len, &mark);
			break;
		case END:
			nbds_decoder_end(r->d, step->side, &mark);
			ended = true;
			break;
		}
	}
	nbds_decoder_each_request(r->d, count_request, &in_flight);
	assert_int_equal(in_flight, r->live);
	for (int i = 0; ended && i < 2; i++) {
		nbds_decoder_accounting(r->d, (enum nbds_side)i, &a);
		assert_false(r->side[i].open);
		assert_int_equal(a.fed, talk.len[i]);
		assert_int_equal(a.fed, a.decoded + a.lost + a.nonsense + a.skipped + a.tls +
						a.after_end + a.trailing);
	}
	r->last = *nbds_decoder_negotiated(r->d);
	write_log(r, nbds_decoder_sure(r->d) ? "" : "unsure\n");
	nbds_decoder_free(r->d);
}

static struct recorder whole, other;

/* The conversation ends, is decoded in all manners, and logs this. */
static void expect(const char *first, const char *log)
{
	static const uint32_t most[] = {1, 2, 3, 7, 29, 64, 1000};
	char *both = malloc(strlen(first) + strlen(log) + 1);

	assert_non_null(both);
	strcpy(both, first);
	strcat(both, log);
	over();
	play(&whole, 0);
	assert_string_equal(whole.log, both);
	free(both);
	for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++) {
		random_state = (uint32_t)i;
		play(&other, most[i]);
		assert_string_equal(other.log, whole.log);
	}
}

/* Handshakes ------------------------------------------------------------------ */

static void test_simple(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 4096);
	simple(0, 1, 4096);
	request(NBD_CMD_WRITE, 2, 512, 1024);
	simple(0, 2, 0);
	request(NBD_CMD_FLUSH, 3, 0, 0);
	simple(0, 3, 0);
	request(NBD_CMD_READ, 4, 4096, 512);
	simple(NBD_EIO, 4, 0);
	request(NBD_CMD_DISC, 0, 0, 0);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "S 70 NBD_SIMPLE_REPLY 16+4096 #1 final\n"
			      "S 70 . 4096\n"
			      "C 54 NBD_CMD_WRITE 28+1024 #2\n"
			      "C 54 . 1024\n"
			      "S 4182 NBD_SIMPLE_REPLY 16+0 #2 final\n"
			      "C 1106 NBD_CMD_FLUSH 28+0 #3\n"
			      "S 4198 NBD_SIMPLE_REPLY 16+0 #3 final\n"
			      "C 1134 NBD_CMD_READ 28+0 #4\n"
			      "S 4214 NBD_SIMPLE_REPLY 16+0 #4 final\n"
			      "C 1162 NBD_CMD_DISC 28+0 #5\n");
	assert_int_equal(whole.last.handshake, NBDS_HANDSHAKE_NEWSTYLE_FIXED);
	assert_int_equal(whole.last.handshake_flags, 3);
	assert_int_equal(whole.last.client_flags, 3);
	assert_true(whole.last.client_flags_seen && whole.last.transmission);
	assert_true(whole.last.export_seen);
	assert_int_equal(whole.last.size, 1048576);
	assert_int_equal(whole.last.transmission_flags, 0x05ed);
	assert_false(whole.last.structured || whole.last.extended || whole.last.inferred);
}

static void test_oldstyle(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	put(&o, NBD_INIT_MAGIC, 8);
	put(&o, NBD_CLISERV_MAGIC, 8);
	put(&o, 65536, 8);
	put(&o, 0x00000003, 4);
	put_fill(&o, 0, 124);
	say(S, o.b, o.n);
	request(NBD_CMD_READ, 9, 0, 16);
	simple(0, 9, 16);
	expect("", "S 0 NBD_GREETING 28+124\n"
		   "S 0 . 124\n"
		   "C 0 NBD_CMD_READ 28+0 #1\n"
		   "S 152 NBD_SIMPLE_REPLY 16+16 #1 final\n"
		   "S 152 . 16\n");
	assert_int_equal(whole.last.handshake, NBDS_HANDSHAKE_OLDSTYLE);
	assert_true(whole.last.export_seen);
	assert_int_equal(whole.last.size, 65536);
	assert_int_equal(whole.last.transmission_flags, 3);
}

/* A client that is heard before its server was. */
static void test_client_first(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	client_flags(1);
	option(NBD_OPT_LIST, "", 0);
	greet(1);
	reply(NBD_OPT_LIST, NBD_REP_SERVER, "\0\0\0\1x", 5);
	ack(NBD_OPT_LIST);
	expect("", "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "C 4 NBD_OPT_LIST 16+0\n"
		   "S 0 NBD_GREETING 18+0\n"
		   "S 18 NBD_REP_SERVER 25+0\n"
		   "S 43 NBD_REP_ACK 20+0 final\n");
}

static void export_name(uint16_t server, uint32_t client, size_t zeroes)
{
	struct out o = {.n = 0};

	begin(NBDS_START_GREETING);
	greet(server);
	client_flags(client);
	option(NBD_OPT_EXPORT_NAME, "disk", 4);
	put(&o, 4096, 8);
	put(&o, 1, 2);
	put_fill(&o, 0, zeroes);
	say(S, o.b, o.n);
	request(NBD_CMD_FLUSH, 1, 0, 0);
	simple(0, 1, 0);
}

static const char export_name_log[] = "S 0 NBD_GREETING 18+0\n"
				      "C 0 NBD_CLIENT_FLAGS 4+0\n"
				      "C 4 NBD_OPT_EXPORT_NAME 20+0\n";

static void test_export_name(void **state)
{
	(void)state;
	export_name(3, 3, 0);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+0 final\n"
				"C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"S 28 NBD_SIMPLE_REPLY 16+0 #1 final\n");
	assert_int_equal(whole.last.size, 4096);
	assert_int_equal(whole.last.transmission_flags, 1);
	assert_true(whole.last.export_seen && whole.last.transmission);

	export_name(3, 1, 124);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+124 final\n"
				"S 18 . 124\n"
				"C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"S 152 NBD_SIMPLE_REPLY 16+0 #1 final\n");
	export_name(1, 3, 124);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+124 final\n"
				"S 18 . 124\n"
				"C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"S 152 NBD_SIMPLE_REPLY 16+0 #1 final\n");
}

/* Zeroes sent though they should not be, two too many, and none at all. */
static void test_export_name_zeroes(void **state)
{
	(void)state;
	export_name(3, 3, 124);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+0 final\n"
				"S 28 NONSENSE\n"
				"C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"S 152 NBD_SIMPLE_REPLY 16+0 #1 final\n");
	export_name(1, 1, 126);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+124 final\n"
				"S 18 . 124\n"
				"C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"S 152 NONSENSE\n"
				"S 154 NBD_SIMPLE_REPLY 16+0 #1 final\n");
	/* The zeroes are waited for until the client goes on. */
	export_name(1, 1, 0);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+124 final\n"
				"C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"S 18 . 16 incomplete\n"
				"S 18 TRAILING 26\n");
	/* Requests sent ahead: the reply shows that no zeroes come. */
	begin(NBDS_START_GREETING);
	greet(1);
	client_flags(1);
	option(NBD_OPT_EXPORT_NAME, "disk", 4);
	request(NBD_CMD_FLUSH, 1, 0, 0);
	talk.joined = true;
	say(S, "\0\0\0\0\0\0\x10\0\0\1", 10);
	simple(0, 1, 0);
	talk.joined = false;
	expect(export_name_log, "C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"S 18 NBD_EXPORT_NAME_REPLY 10+0 final\n"
				"S 28 NBD_SIMPLE_REPLY 16+0 #1 final\n");
}

/* An error reply where none is allowed, and an export as large as its magic. */
static void test_export_name_refused(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_EXPORT_NAME, "disk", 4);
	reply(NBD_OPT_EXPORT_NAME, NBD_REP_ERR_UNKNOWN, "no", 2);
	expect(export_name_log, "S 18 NBD_REP_ERR_UNKNOWN 22+0 final\n");
	assert_false(whole.last.transmission);

	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_EXPORT_NAME, "disk", 4);
	put(&o, NBD_REP_MAGIC, 8);
	put(&o, 1, 2);
	say(S, o.b, o.n);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+0 final\n");
	assert_int_equal(whole.last.size, NBD_REP_MAGIC);
}

/* Much of an option reply has come when the client's option says that it is none:
 * what is no message after all is longer than any head that is searched for. */
static void test_export_name_long(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	put(&o, NBD_REP_MAGIC, 8);
	put(&o, 0x00010000, 4);
	put(&o, NBD_REP_ERR_UNKNOWN, 4);
	put(&o, 8000, 4);
	put_fill(&o, 0x41, 4000);
	say(S, o.b, o.n);
	option(NBD_OPT_EXPORT_NAME, "disk", 4);
	say(S, o.b + 100, 1000);
	request(NBD_CMD_FLUSH, 1, 0, 0);
	request(NBD_CMD_FLUSH, 2, 0, 0);
	simple(0, 1, 0);
	simple(0, 2, 0);
	request(NBD_CMD_FLUSH, 3, 0, 0);
	simple(0, 3, 0);
	expect(export_name_log, "S 18 NBD_EXPORT_NAME_REPLY 10+0 final\n"
				"S 28 NONSENSE\n"
				"S 30 NONSENSE\n"
				"C 24 NBD_CMD_FLUSH 28+0 #1\n"
				"C 52 NBD_CMD_FLUSH 28+0 #2\n"
				"C 80 NBD_CMD_FLUSH 28+0 #3\n"
				"S 34 SKIPPED 5004\n"
				"S 5038 SURE\n"
				"S 5038 NBD_SIMPLE_REPLY 16+0 #1 final resynced replayed\n"
				"S 5054 NBD_SIMPLE_REPLY 16+0 #2 final replayed\n"
				"S 5070 NBD_SIMPLE_REPLY 16+0 #3 final replayed\n");
}

static void test_options(void **state)
{
	static const uint8_t meta[] = {0, 0, 0, 1, 'x', 0, 0, 0, 1, 0, 0, 0, 4, 'b', 'a', 's', 'e'};

	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_SET_META_CONTEXT, meta, sizeof(meta));
	reply(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\7base:allocation", 19);
	ack(NBD_OPT_SET_META_CONTEXT);
	/* A query longer than the option; a name longer than its reply. */
	option(NBD_OPT_LIST_META_CONTEXT, meta, sizeof(meta) - 1);
	reply(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_INVALID, "", 0);
	option(NBD_OPT_INFO, "\0\0\0\1x\0\1\0", 8);
	reply(NBD_OPT_INFO, NBD_REP_ERR_INVALID, "", 0);
	option(NBD_OPT_LIST, "", 0);
	reply(NBD_OPT_LIST, NBD_REP_SERVER, "\0\0\0\5four", 8);
	reply(NBD_OPT_LIST, NBD_REP_INFO, "\0\0", 2);
	ack(NBD_OPT_LIST);
	option(99, "?", 1);
	reply(99, 0x80001234, "what", 4);
	expect("", "S 0 NBD_GREETING 18+0\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "C 4 NBD_OPT_SET_META_CONTEXT 33+0\n"
		   "S 18 NBD_REP_META_CONTEXT 39+0\n"
		   "S 57 NBD_REP_ACK 20+0 final\n"
		   "C 37 NBD_OPT_LIST_META_CONTEXT 32+0 malformed\n"
		   "S 77 NBD_REP_ERR_INVALID 20+0 final\n"
		   "C 69 NBD_OPT_INFO 24+0 malformed\n"
		   "S 97 NBD_REP_ERR_INVALID 20+0 final\n"
		   "C 93 NBD_OPT_LIST 16+0\n"
		   "S 117 NBD_REP_SERVER 28+0 malformed\n"
		   "S 145 NBD_REP_INFO 22+0 malformed\n"
		   "S 167 NBD_REP_ACK 20+0 final\n"
		   "C 109 unknown option 99 17+0\n"
		   "S 187 unknown reply type 0x80001234 24+0 final\n");
}

/* Size and flags are those of NBD_OPT_GO, not of NBD_OPT_INFO before it. */
static void test_info_is_not_go(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_INFO, "\0\0\0\0\0\0", 6);
	reply(NBD_OPT_INFO, NBD_REP_INFO, "\0\0\0\0\0\0\0\0\0\x10\0\1", 12);
	ack(NBD_OPT_INFO);
	over();
	play(&whole, 0);
	assert_false(whole.last.export_seen || whole.last.transmission);
	assert_int_equal(whole.last.size, 0);
}

/* Servers that answer before they have the option's data, in the wrong byte
 * order, and a client that does not wait. */
static void test_options_out_of_step(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	put(&o, NBD_OPTS_MAGIC, 8);
	put(&o, 77, 4);
	put(&o, 6, 4);
	say(C, o.b, o.n);
	reply(77, NBD_REP_ERR_UNSUP, "", 0);
	say(C, "abcdef", 6);
	option(NBD_OPT_STRUCTURED_REPLY, "", 0);
	go_option();
	request(NBD_CMD_READ, 1, 0, 8);
	reply(0x08000000, NBD_REP_ACK, "", 0);
	go_replies(4096, 1);
	data_chunk(1, 0, 8);
	expect("", "S 0 NBD_GREETING 18+0\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "S 18 NBD_REP_ERR_UNSUP 20+0 final\n"
		   "C 4 unknown option 77 22+0\n"
		   "C 26 NBD_OPT_STRUCTURED_REPLY 16+0\n"
		   "C 42 NBD_OPT_GO 22+0\n"
		   "C 64 NBD_CMD_READ 28+0 #1\n"
		   "S 38 NBD_REP_ACK 20+0 final\n"
		   "S 58 NBD_REP_INFO 32+0\n"
		   "S 90 NBD_REP_ACK 20+0 final\n"
		   "S 110 NBD_REPLY_TYPE_OFFSET_DATA 28+8 #1 final\n"
		   "S 110 . 8\n");
	assert_true(whole.last.structured);
}

/* A head longer than is kept; one that is exactly as long. */
static void test_long_option(void **state)
{
	static uint8_t data[NBDS_HEAD_MAX];
	size_t fits = NBDS_HEAD_MAX - 16;

	(void)state;
	memset(data, 'x', sizeof(data));
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_EXTENDED_HEADERS, data, fits);
	option(NBD_OPT_EXTENDED_HEADERS, data, fits + 1);
	option(NBD_OPT_ABORT, "", 0);
	reply(NBD_OPT_EXTENDED_HEADERS, NBD_REP_ERR_INVALID, data, NBDS_HEAD_MAX);
	ack(NBD_OPT_ABORT);
	expect("", "S 0 NBD_GREETING 18+0\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "C 4 NBD_OPT_EXTENDED_HEADERS 16384+0\n"
		   "C 16388 NBD_OPT_EXTENDED_HEADERS 16384+1 cut\n"
		   "C 16388 . 1\n"
		   "C 32773 NBD_OPT_ABORT 16+0\n"
		   "S 18 NBD_REP_ERR_INVALID 16384+20 cut final\n"
		   "S 18 . 20\n"
		   "S 16422 NBD_REP_ACK 20+0 final\n");
}

static void test_abort(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_ABORT, "", 0);
	say(C, "more", 4);
	ack(NBD_OPT_ABORT);
	say(S, "more", 4);
	expect("", "S 0 NBD_GREETING 18+0\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "C 4 NBD_OPT_ABORT 16+0\n"
		   "C 20 AFTER_END\n"
		   "S 18 NBD_REP_ACK 20+0 final\n"
		   "S 38 AFTER_END\n");
}

static const uint8_t hello[] = {0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5};

static const char starttls_log[] = "S 0 NBD_GREETING 18+0\n"
				   "C 0 NBD_CLIENT_FLAGS 4+0\n"
				   "C 4 NBD_OPT_STARTTLS 16+0\n";

static void starttls(void)
{
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_STARTTLS, "", 0);
}

static void test_tls(void **state)
{
	(void)state;
	starttls();
	ack(NBD_OPT_STARTTLS);
	say(C, hello, sizeof(hello));
	say(S, hello, sizeof(hello));
	/* What looks like NBD is TLS too. */
	go_option();
	go_replies(1, 1);
	lose(S, 50);
	expect(starttls_log, "S 18 NBD_REP_ACK 20+0 final\n"
			     "C 20 TLS\n"
			     "S 38 TLS\n");
	assert_true(whole.last.tls);
	assert_false(whole.last.transmission);

	/* The client's TLS may be seen before the server's answer. */
	starttls();
	say(C, hello, sizeof(hello));
	ack(NBD_OPT_STARTTLS);
	say(S, hello, sizeof(hello));
	expect(starttls_log, "C 20 TLS\n"
			     "S 18 NBD_REP_ACK 20+0 final\n"
			     "S 38 TLS\n");

	/* The server's answer may be lost. */
	starttls();
	say(C, hello, sizeof(hello));
	lose(S, 20);
	say(S, hello, sizeof(hello));
	expect(starttls_log, "C 20 TLS\n"
			     "S 18 LOST 20\n"
			     "S 38 TLS\n");
	assert_true(whole.last.tls);

	/* A refusal, and the client goes on in clear. */
	starttls();
	reply(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "", 0);
	go_option();
	go_replies(4096, 1);
	expect(starttls_log, "S 18 NBD_REP_ERR_POLICY 20+0 final\n"
			     "C 20 NBD_OPT_GO 22+0\n"
			     "S 38 NBD_REP_INFO 32+0\n"
			     "S 70 NBD_REP_ACK 20+0 final\n");
	assert_false(whole.last.tls);

	/* TLS from the first byte. */
	begin(NBDS_START_GREETING);
	say(C, hello, sizeof(hello));
	say(S, hello, sizeof(hello));
	expect("", "C 0 TLS\nS 0 TLS\n");
}

/* Transmission ---------------------------------------------------------------- */

static void test_chunks(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	request(NBD_CMD_READ, 1, 0, 4096);
	put(&o, 0, 8);
	put_fill(&o, 7, 512);
	chunk(0, NBD_REPLY_TYPE_OFFSET_DATA, 1, o.b, o.n);
	o.n = 0;
	put(&o, 512, 8);
	put(&o, 1024, 4);
	chunk(0, NBD_REPLY_TYPE_OFFSET_HOLE, 1, o.b, o.n);
	o.n = 0;
	put(&o, NBD_EIO, 4);
	put(&o, 3, 2);
	put_text(&o, "bad");
	put(&o, 2048, 8);
	chunk(0, NBD_REPLY_TYPE_ERROR_OFFSET, 1, o.b, o.n);
	chunk(1, NBD_REPLY_TYPE_NONE, 1, "", 0);
	request(NBD_CMD_BLOCK_STATUS, 2, 0, 4096);
	o.n = 0;
	put(&o, 5, 4);
	put(&o, 4096, 4);
	put(&o, 3, 4);
	chunk(1, NBD_REPLY_TYPE_BLOCK_STATUS, 2, o.b, o.n);
	/* nbd-server's length of the text: 12, in the wrong byte order. */
	request(NBD_CMD_READ, 3, 0, 1);
	o.n = 0;
	put(&o, NBD_EINVAL, 4);
	put(&o, 12 << 8, 2);
	put_text(&o, "hello world");
	put(&o, 0, 1);
	chunk(1, NBD_REPLY_TYPE_ERROR, 3, o.b, o.n);
	/* Malformed ones keep their length. */
	request(NBD_CMD_READ, 4, 0, 1);
	chunk(0, NBD_REPLY_TYPE_OFFSET_DATA, 4, "abc", 3);
	chunk(0, NBD_REPLY_TYPE_OFFSET_HOLE, 4, "0123456789abcd", 14);
	chunk(0, 99, 4, "abc", 3);
	chunk(1, NBD_REPLY_TYPE_NONE, 4, "abc", 3);
	expect(structured_log, "C 42 NBD_CMD_READ 28+0 #1\n"
			       "S 90 NBD_REPLY_TYPE_OFFSET_DATA 28+512 #1\n"
			       "S 90 . 512\n"
			       "S 630 NBD_REPLY_TYPE_OFFSET_HOLE 32+0 #1\n"
			       "S 662 NBD_REPLY_TYPE_ERROR_OFFSET 37+0 #1\n"
			       "S 699 NBD_REPLY_TYPE_NONE 20+0 #1 final\n"
			       "C 70 NBD_CMD_BLOCK_STATUS 28+0 #2\n"
			       "S 719 NBD_REPLY_TYPE_BLOCK_STATUS 24+8 #2 final\n"
			       "S 719 . 8\n"
			       "C 98 NBD_CMD_READ 28+0 #3\n"
			       "S 751 NBD_REPLY_TYPE_ERROR 38+0 #3 malformed final\n"
			       "C 126 NBD_CMD_READ 28+0 #4\n"
			       "S 789 NBD_REPLY_TYPE_OFFSET_DATA 23+0 #4 malformed\n"
			       "S 812 NBD_REPLY_TYPE_OFFSET_HOLE 32+2 #4 malformed\n"
			       "S 812 . 2\n"
			       "S 846 unknown chunk type 0x63 20+3 #4\n"
			       "S 846 . 3\n"
			       "S 869 NBD_REPLY_TYPE_NONE 20+3 #4 malformed final\n"
			       "S 869 . 3\n");
}

/* What the messages say besides their heads. */
struct contents {
	uint64_t data_bytes, hole, offset, size;
	uint32_t chunks, error, context, zeroes, info;
	bool failed;
};

static void note_contents(void *ctx, const struct nbds_message *m)
{
	struct contents *c = ctx;

	if (m->type == NBDS_MSG_CHUNK) {
		c->hole = m->u.chunk.hole ? m->u.chunk.hole : c->hole;
		c->context = m->u.chunk.context_id ? m->u.chunk.context_id : c->context;
		c->error = m->u.chunk.error ? m->u.chunk.error : c->error;
		if (m->u.chunk.type == NBD_REPLY_TYPE_ERROR_OFFSET)
			c->offset = m->u.chunk.offset;
	}
	if (m->request && m->from == NBDS_SERVER) {
		c->data_bytes = m->request->data_bytes;
		c->chunks = m->request->chunks;
		c->failed = m->request->error;
	}
	if (m->type == NBDS_MSG_EXPORT_NAME_REPLY) {
		c->size = m->u.export_name.size;
		c->zeroes = m->u.export_name.zeroes;
	}
}

static struct contents contents_of_talk(void)
{
	struct nbds_decoder_ops ops = {.message = note_contents};
	struct nbds_mark mark = {.frame = 1};
	struct contents c = {.size = 0};
	struct nbds_decoder *d = nbds_decoder_new(&ops, &c, talk.start);

	for (size_t i = 0; i < talk.count; i++)
		nbds_decoder_data(d, talk.steps[i].side,
				  talk.stream[talk.steps[i].side] + talk.steps[i].from,
				  talk.steps[i].len, &mark);
	nbds_decoder_free(d);
	return c;
}

static void test_contents(void **state)
{
	struct contents c;
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	request(NBD_CMD_READ, 1, 0, 4096);
	put(&o, 0, 8);
	put_fill(&o, 7, 512);
	chunk(0, NBD_REPLY_TYPE_OFFSET_DATA, 1, o.b, o.n);
	o.n = 0;
	put(&o, 512, 8);
	put(&o, 1024, 4);
	chunk(0, NBD_REPLY_TYPE_OFFSET_HOLE, 1, o.b, o.n);
	o.n = 0;
	put(&o, NBD_EIO, 4);
	put(&o, 3, 2);
	put_text(&o, "bad");
	put(&o, 2048, 8);
	chunk(1, NBD_REPLY_TYPE_ERROR_OFFSET, 1, o.b, o.n);
	c = contents_of_talk();
	assert_int_equal(c.data_bytes, 1536);
	assert_int_equal(c.hole, 1024);
	assert_int_equal(c.chunks, 3);
	assert_int_equal(c.offset, 2048);
	assert_int_equal(c.error, NBD_EIO);
	assert_true(c.failed);

	/* The offset stands at the end even if the length of the text is wrong. */
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	o.n = 0;
	put(&o, NBD_EIO, 4);
	put(&o, 3 << 8, 2);
	put_text(&o, "bad");
	put(&o, 2048, 8);
	chunk(1, NBD_REPLY_TYPE_ERROR_OFFSET, 1, o.b, o.n);
	c = contents_of_talk();
	assert_int_equal(c.offset, 2048);

	export_name(3, 1, 124);
	c = contents_of_talk();
	assert_int_equal(c.size, 4096);
	assert_int_equal(c.zeroes, 124);
}

static void test_extended(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_EXTENDED_HEADERS);
	xrequest(NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE, 1, 0, 8, "12345678", 8);
	xchunk(1, NBD_REPLY_TYPE_NONE, 1, 0, "", 0);
	/* qemu's client forgets the flag. */
	xrequest(0, NBD_CMD_WRITE, 2, 0, 8, "12345678", 8);
	xchunk(1, NBD_REPLY_TYPE_NONE, 2, 0, "", 0);
	put(&o, 1 << 20, 8);
	put(&o, 5, 4);
	xrequest(NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 3, 0, 12, o.b, 12);
	o.n = 0;
	put(&o, 5, 4);
	put(&o, 1, 4);
	put(&o, 1 << 20, 8);
	put(&o, 0, 8);
	xchunk(1, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, 3, 0, o.b, o.n);
	xrequest(NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 4, 0, 3, "abc", 3);
	/* Any command may have payload, and a length of 64 bits without. */
	xrequest(NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_FLUSH, 5, 0, 3, "abc", 3);
	xrequest(0, NBD_CMD_TRIM, 6, 0, UINT64_MAX, "", 0);
	expect(extended_log, "C 42 NBD_CMD_WRITE 32+8 #1\n"
			     "C 42 . 8\n"
			     "S 90 NBD_REPLY_TYPE_NONE 32+0 #1 final\n"
			     "C 82 NBD_CMD_WRITE 32+8 #2\n"
			     "C 82 . 8\n"
			     "S 122 NBD_REPLY_TYPE_NONE 32+0 #2 final\n"
			     "C 122 NBD_CMD_BLOCK_STATUS 40+4 #3\n"
			     "C 122 . 4\n"
			     "S 154 NBD_REPLY_TYPE_BLOCK_STATUS_EXT 40+16 #3 final\n"
			     "S 154 . 16\n"
			     "C 166 NBD_CMD_BLOCK_STATUS 35+0 #4 malformed\n"
			     "C 201 NBD_CMD_FLUSH 32+3 #5\n"
			     "C 201 . 3\n"
			     "C 236 NBD_CMD_TRIM 32+0 #6\n");
	assert_true(whole.last.extended);
}

/* A simple reply with data in structured mode (nbd-server with splice), and an
 * error in place of a chunk. */
static void test_simple_in_structured(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	request(NBD_CMD_READ, 1, 0, 512);
	simple(0, 1, 512);
	request(NBD_CMD_READ, 2, 0, 512);
	simple(NBD_EINVAL, 2, 0);
	request(NBD_CMD_READ, 3, 0, 16);
	data_chunk(3, 0, 16);
	expect(structured_log, "C 42 NBD_CMD_READ 28+0 #1\n"
			       "S 90 NBD_SIMPLE_REPLY 16+512 #1 final\n"
			       "S 90 . 512\n"
			       "C 70 NBD_CMD_READ 28+0 #2\n"
			       "S 618 NBD_SIMPLE_REPLY 16+0 #2 final\n"
			       "C 98 NBD_CMD_READ 28+0 #3\n"
			       "S 634 NBD_REPLY_TYPE_OFFSET_DATA 28+16 #3 final\n"
			       "S 634 . 16\n");
}

/* Replies out of order, several in flight, cookies used again. */
static void test_order(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 8);
	request(NBD_CMD_READ, 2, 0, 16);
	request(NBD_CMD_READ, 3, 0, 24);
	simple(0, 3, 24);
	simple(0, 1, 8);
	request(NBD_CMD_READ, 1, 0, 32);
	simple(0, 1, 32);
	simple(0, 2, 16);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "C 54 NBD_CMD_READ 28+0 #2\n"
			      "C 82 NBD_CMD_READ 28+0 #3\n"
			      "S 70 NBD_SIMPLE_REPLY 16+24 #3 final\n"
			      "S 70 . 24\n"
			      "S 110 NBD_SIMPLE_REPLY 16+8 #1 final\n"
			      "S 110 . 8\n"
			      "C 110 NBD_CMD_READ 28+0 #4\n"
			      "S 134 NBD_SIMPLE_REPLY 16+32 #4 final\n"
			      "S 134 . 32\n"
			      "S 182 NBD_SIMPLE_REPLY 16+16 #2 final\n"
			      "S 182 . 16\n");
}

/* One cookie twice: the reply that fits only one of them says which. */
static void test_same_cookie(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	request(NBD_CMD_READ, 7, 0, 512);
	request(NBD_CMD_READ, 7, 4096, 512);
	request(NBD_CMD_FLUSH, 7, 0, 0);
	data_chunk(7, 4096, 512);
	simple(0, 7, 0);
	data_chunk(7, 0, 512);
	expect(structured_log, "C 42 NBD_CMD_READ 28+0 #1\n"
			       "C 70 NBD_CMD_READ 28+0 #2 ambiguous\n"
			       "C 98 NBD_CMD_FLUSH 28+0 #3 ambiguous\n"
			       "S 90 NBD_REPLY_TYPE_OFFSET_DATA 28+512 #2 ambiguous final\n"
			       "S 90 . 512\n"
			       "S 630 NBD_SIMPLE_REPLY 16+512 #1 ambiguous final\n"
			       "S 630 . 512\n"
			       "S 1158 NONSENSE\n"
			       "S 1162 SKIPPED 24\n"
			       "unsure\n");
}

/* A request is answered a second time: as long as the first time, unless a reply
 * to another one follows. */
static void test_second_reply(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	request(NBD_CMD_READ, 1, 0, 64);
	simple(0, 1, 64);
	request(NBD_CMD_READ, 2, 4096, 8);
	request(NBD_CMD_WRITE, 3, 4096, 8);
	simple(0, 1, 64);
	simple(0, 3, 0);
	simple(0, 3, 0);
	simple(0, 1, 0);
	data_chunk(2, 4096, 8);
	data_chunk(2, 4096, 8);
	simple(NBD_EIO, 1, 0);
	simple(0, 1, 3);
	expect(structured_log, "C 42 NBD_CMD_READ 28+0 #1\n"
			       "S 90 NBD_SIMPLE_REPLY 16+64 #1 final\n"
			       "S 90 . 64\n"
			       "C 70 NBD_CMD_READ 28+0 #2\n"
			       "C 98 NBD_CMD_WRITE 28+8 #3\n"
			       "C 98 . 8\n"
			       "S 170 NBD_SIMPLE_REPLY 16+64 unsolicited final again#1\n"
			       "S 170 . 64\n"
			       "S 250 NBD_SIMPLE_REPLY 16+0 #3 final\n"
			       "S 266 NBD_SIMPLE_REPLY 16+0 unsolicited final again#3\n"
			       "S 282 NBD_SIMPLE_REPLY 16+0 unsolicited final again#1\n"
			       "S 298 NBD_REPLY_TYPE_OFFSET_DATA 28+8 #2 final\n"
			       "S 298 . 8\n"
			       "S 334 NBD_REPLY_TYPE_OFFSET_DATA 28+8 unsolicited final again#2\n"
			       "S 334 . 8\n"
			       "S 370 NBD_SIMPLE_REPLY 16+0 unsolicited final again#1\n"
			       "S 386 NBD_SIMPLE_REPLY 16+64 unsolicited final again#1\n"
			       "S 386 . 3 incomplete\n"
			       "S 386 TRAILING 19\n");

	/* Bytes are lost while it is not known whether the data follow. */
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 64);
	simple(0, 1, 64);
	simple(0, 1, 64);
	forget(16 + 7);
	request(NBD_CMD_READ, 2, 0, 4);
	simple(0, 2, 4);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "S 70 NBD_SIMPLE_REPLY 16+64 #1 final\n"
			      "S 70 . 64\n"
			      "S 150 NBD_SIMPLE_REPLY 16+64 unsolicited final again#1\n"
			      "S 150 . 7 lost 57 incomplete\n"
			      "C 54 NBD_CMD_READ 28+0 #2\n"
			      "S 230 NBD_SIMPLE_REPLY 16+4 #2 final\n"
			      "S 230 . 4\n");
}

/* Of many that were answered the last are remembered. */
static void test_second_reply_late(void **state)
{
	char expected[200];

	(void)state;
	for (unsigned later = NBDS_ANSWERED_MAX - 1; later <= NBDS_ANSWERED_MAX; later++) {
		begin(NBDS_START_GREETING);
		handshake(0);
		for (unsigned i = 1; i <= later + 1; i++) {
			request(NBD_CMD_FLUSH, i, 0, 0);
			simple(0, i, 0);
		}
		simple(0, 1, 0);
		over();
		play(&whole, 0);
		snprintf(expected, sizeof(expected),
			 "S %u NBD_SIMPLE_REPLY 16+0 unsolicited final%s\n", 70 + 16 * (later + 1),
			 later < NBDS_ANSWERED_MAX ? " again#1" : "");
		assert_non_null(strstr(whole.log, expected));
	}
}

static void test_unsolicited(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_WRITE, 1, 0, 4);
	simple(0, 0xdead, 0);
	simple(0, 1, 0);
	simple(0, 1, 0);
	data_chunk(5, 0, 4);
	request(NBD_CMD_READ, 2, 0, 4);
	simple(0, 2, 4);
	expect(handshake_log, "C 26 NBD_CMD_WRITE 28+4 #1\n"
			      "C 26 . 4\n"
			      "S 70 NBD_SIMPLE_REPLY 16+0 unsolicited final\n"
			      "S 86 NBD_SIMPLE_REPLY 16+0 #1 final\n"
			      "S 102 NBD_SIMPLE_REPLY 16+0 unsolicited final again#1\n"
			      "S 118 NBD_REPLY_TYPE_OFFSET_DATA 28+4 unsolicited final\n"
			      "S 118 . 4\n"
			      "C 58 NBD_CMD_READ 28+0 #2\n"
			      "S 150 NBD_SIMPLE_REPLY 16+4 #2 final\n"
			      "S 150 . 4\n");
}

/* A reply while the payload is still sent: the request is over before it. */
static void test_early_reply(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	put_request(&o, 0, NBD_CMD_WRITE, 1, 0, 100);
	put_fill(&o, 1, 40);
	say(C, o.b, o.n);
	simple(NBD_EINVAL, 1, 0);
	say(C, o.b, 60);
	request(NBD_CMD_FLUSH, 2, 0, 0);
	expect(handshake_log, "C 26 NBD_CMD_WRITE 28+100 #1\n"
			      "S 70 NBD_SIMPLE_REPLY 16+0 #1 final\n"
			      "C 26 . 100\n"
			      "C 154 NBD_CMD_FLUSH 28+0 #2\n");
}

/* Data after an error, as nbd-server 3.12 sent it. */
static void test_data_after_error(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 512);
	simple(NBD_EIO, 1, 512);
	request(NBD_CMD_READ, 2, 0, 4);
	simple(0, 2, 4);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "S 70 NBD_SIMPLE_REPLY 16+0 #1 final\n"
			      "S 86 NONSENSE 512\n"
			      "C 54 NBD_CMD_READ 28+0 #2\n"
			      "S 598 NBD_SIMPLE_REPLY 16+4 #2 final\n"
			      "S 598 . 4\n");
}

static void test_nonsense(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	say(C, "\x12\x56\x09\x53 historic", 13);
	say(S, "\x11\x22\x33\x44", 4);
	expect(handshake_log, "C 26 NONSENSE\n"
			      "S 70 NONSENSE\n"
			      "C 30 SKIPPED 9\n"
			      "unsure\n");
	begin(NBDS_START_GREETING);
	say(S, "HTTP/1.1 200 OK", 15);
	say(C, "GET / HTTP/1.1", 14);
	expect("", "S 0 NONSENSE\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "C 4 NONSENSE\n"
		   "C 8 SKIPPED 6\n"
		   "S 4 SKIPPED 11\n"
		   "unsure\n");
}

static void test_after_disconnect(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 4);
	request(NBD_CMD_DISC, 0, 0, 0);
	request(NBD_CMD_READ, 2, 0, 4);
	lose(C, 10);
	simple(0, 1, 4);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "C 54 NBD_CMD_DISC 28+0 #2\n"
			      "C 82 AFTER_END\n"
			      "S 70 NBD_SIMPLE_REPLY 16+4 #1 final\n"
			      "S 70 . 4\n");
}

static void test_ends_inside(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 512);
	simple(0, 1, 100);
	put_request(&o, 0, NBD_CMD_WRITE, 2, 0, 100);
	say(C, o.b, 11);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "S 70 NBD_SIMPLE_REPLY 16+512 #1 final\n"
			      "C 54 TRAILING 11\n"
			      "S 70 . 100 incomplete\n"
			      "S 70 TRAILING 116\n");
}

/* Losses ---------------------------------------------------------------------- */

static void test_gap_in_payload(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_WRITE, 1, 0, 100);
	forget(50);
	request(NBD_CMD_READ, 2, 0, 100);
	simple(0, 1, 0);
	simple(0, 2, 100);
	forget(16);
	request(NBD_CMD_FLUSH, 3, 0, 0);
	simple(0, 3, 0);
	expect(handshake_log, "C 26 NBD_CMD_WRITE 28+100 #1\n"
			      "C 26 . 22 lost 78 incomplete\n"
			      "C 154 NBD_CMD_READ 28+0 #2\n"
			      "S 70 NBD_SIMPLE_REPLY 16+0 #1 final\n"
			      "S 86 NBD_SIMPLE_REPLY 16+100 #2 final\n"
			      "S 86 . 0 lost 100 incomplete\n"
			      "C 182 NBD_CMD_FLUSH 28+0 #3\n"
			      "S 202 NBD_SIMPLE_REPLY 16+0 #3 final\n");
}

/* Heads of which the capture has a part, enough to know how long they are. */
static void test_gap_in_head(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_EXPORT_NAME + 98, "some data", 9);
	forget(20);
	reply(NBD_OPT_EXPORT_NAME + 98, NBD_REP_ERR_UNSUP, "unknown option", 14);
	forget(22);
	option(NBD_OPT_STRUCTURED_REPLY, "", 0);
	ack(NBD_OPT_STRUCTURED_REPLY);
	go_option();
	go_replies(4096, 1);
	request(NBD_CMD_READ, 1, 0, 64);
	data_chunk(1, 0, 64);
	forget(20);
	request(NBD_CMD_READ, 2, 0, 64);
	put(&o, NBD_EIO, 4);
	put(&o, 4, 2);
	put_text(&o, "text");
	chunk(1, NBD_REPLY_TYPE_ERROR, 2, o.b, o.n);
	forget(25);
	request(NBD_CMD_FLUSH, 3, 0, 0);
	simple(0, 3, 0);
	expect("", "S 0 NBD_GREETING 18+0\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "C 4 unknown option 99 20+5 cut\n"
		   "C 4 . 0 lost 5 incomplete\n"
		   "S 18 NBD_REP_ERR_UNSUP 22+12 cut final\n"
		   "S 18 . 0 lost 12 incomplete\n"
		   "C 29 NBD_OPT_STRUCTURED_REPLY 16+0\n"
		   "S 52 NBD_REP_ACK 20+0 final\n"
		   "C 45 NBD_OPT_GO 22+0\n"
		   "S 72 NBD_REP_INFO 32+0\n"
		   "S 104 NBD_REP_ACK 20+0 final\n"
		   "C 67 NBD_CMD_READ 28+0 #1\n"
		   "S 124 NBD_REPLY_TYPE_OFFSET_DATA 20+72 #1 cut final\n"
		   "S 124 . 0 lost 72 incomplete\n"
		   "C 95 NBD_CMD_READ 28+0 #2\n"
		   "S 216 NBD_REPLY_TYPE_ERROR 25+5 #2 cut final\n"
		   "S 216 . 0 lost 5 incomplete\n"
		   "C 123 NBD_CMD_FLUSH 28+0 #3\n"
		   "S 246 NBD_SIMPLE_REPLY 16+0 #3 final\n");
}

/* Lost options and replies: others show where the next begin. */
static void test_gap_in_handshake(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	greet(3);
	client_flags(3);
	option(NBD_OPT_STRUCTURED_REPLY, "", 0);
	forget(0);
	ack(NBD_OPT_STRUCTURED_REPLY);
	option(NBD_OPT_LIST, "", 0);
	reply(NBD_OPT_LIST, NBD_REP_SERVER, "\0\0\0\1x", 5);
	forget(7);
	ack(NBD_OPT_LIST);
	go_option();
	go_replies(4096, 1);
	expect("", "S 0 NBD_GREETING 18+0\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0\n"
		   "C 4 LOST 16\n"
		   "S 18 NBD_REP_ACK 20+0 final\n"
		   "C 20 SURE\n"
		   "C 20 NBD_OPT_LIST 16+0 resynced\n"
		   "S 45 LOST 18\n"
		   "S 38 SKIPPED 7\n"
		   "S 63 SURE\n"
		   "S 63 NBD_REP_ACK 20+0 final resynced\n"
		   "C 36 NBD_OPT_GO 22+0\n"
		   "S 83 NBD_REP_INFO 32+0\n"
		   "S 115 NBD_REP_ACK 20+0 final\n");
	assert_true(whole.last.structured && whole.last.export_seen);
}

/* The server's feet are lost, the client's not: two replies in a row. */
static void test_gap_server(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 512);
	simple(0, 1, 512);
	forget(0);
	request(NBD_CMD_READ, 2, 0, 512);
	simple(0, 2, 512);
	forget(8);
	request(NBD_CMD_READ, 3, 0, 512);
	simple(0, 3, 512);
	request(NBD_CMD_WRITE, 4, 0, 512);
	simple(0, 4, 0);
	request(NBD_CMD_READ, 5, 0, 512);
	simple(0, 5, 512);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "S 70 LOST 528\n"
			      "C 54 NBD_CMD_READ 28+0 #2\n"
			      "C 82 NBD_CMD_READ 28+0 #3\n"
			      "C 110 NBD_CMD_WRITE 28+512 #4\n"
			      "C 110 . 512\n"
			      "S 598 SKIPPED 8\n"
			      "S 1126 SURE\n"
			      "S 1126 NBD_SIMPLE_REPLY 16+512 #3 final resynced replayed\n"
			      "S 1126 . 512\n"
			      "S 1654 NBD_SIMPLE_REPLY 16+0 #4 final replayed\n"
			      "C 650 NBD_CMD_READ 28+0 #5\n"
			      "S 1670 NBD_SIMPLE_REPLY 16+512 #5 final\n"
			      "S 1670 . 512\n");
}

/* The client's feet are lost: chunks are followed all the same, and when two
 * requests in a row are answered, they are told. */
static void test_gap_client(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	request(NBD_CMD_READ, 1, 0, 64);
	forget(0);
	data_chunk(1, 0, 64);
	request(NBD_CMD_READ, 2, 0, 64);
	data_chunk(2, 0, 64);
	request(NBD_CMD_WRITE, 3, 0, 64);
	simple(0, 3, 0);
	request(NBD_CMD_READ, 4, 0, 64);
	data_chunk(4, 0, 64);
	request(NBD_CMD_READ, 5, 0, 64);
	data_chunk(5, 0, 64);
	expect(structured_log, "C 42 LOST 28\n"
			       "S 90 NBD_REPLY_TYPE_OFFSET_DATA 28+64 unsolicited final\n"
			       "S 90 . 64\n"
			       "S 182 NBD_REPLY_TYPE_OFFSET_DATA 28+64 unsolicited final\n"
			       "S 182 . 64\n"
			       "C 70 SURE\n"
			       "C 70 NBD_CMD_READ 28+0 #1 resynced replayed\n"
			       "C 70 FORGOT #1\n"
			       "C 98 NBD_CMD_WRITE 28+64 #2 replayed\n"
			       "C 98 . 64\n"
			       "S 274 NBD_SIMPLE_REPLY 16+0 #2 final\n"
			       "C 190 NBD_CMD_READ 28+0 #3\n"
			       "S 290 NBD_REPLY_TYPE_OFFSET_DATA 28+64 #3 final\n"
			       "S 290 . 64\n"
			       "C 218 NBD_CMD_READ 28+0 #4\n"
			       "S 382 NBD_REPLY_TYPE_OFFSET_DATA 28+64 #4 final\n"
			       "S 382 . 64\n");
}

/* With simple replies the server's feet are lost with the client's. */
static void test_gap_client_simple(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 64);
	forget(0);
	simple(0, 1, 64);
	request(NBD_CMD_READ, 2, 0, 64);
	simple(0, 2, 64);
	request(NBD_CMD_WRITE, 3, 0, 64);
	simple(0, 3, 0);
	request(NBD_CMD_READ, 4, 0, 64);
	simple(0, 4, 64);
	expect(handshake_log, "C 26 LOST 28\n"
			      "S 70 LOST\n"
			      "C 54 SURE\n"
			      "S 70 SKIPPED 80\n"
			      "S 150 SURE\n"
			      "C 54 NBD_CMD_READ 28+0 #1 resynced replayed\n"
			      "S 150 NBD_SIMPLE_REPLY 16+64 #1 final resynced replayed\n"
			      "S 150 . 64\n"
			      "C 82 NBD_CMD_WRITE 28+64 #2 replayed\n"
			      "C 82 . 64\n"
			      "S 230 NBD_SIMPLE_REPLY 16+0 #2 final replayed\n"
			      "C 174 NBD_CMD_READ 28+0 #3\n"
			      "S 246 NBD_SIMPLE_REPLY 16+64 #3 final\n"
			      "S 246 . 64\n");
}

/* A reply was lost: a cookie that is used again says so. */
static void test_gap_cookie_again(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1, 0, 64);
	simple(0, 1, 64);
	forget(0);
	request(NBD_CMD_WRITE, 1, 0, 32);
	simple(0, 1, 0);
	request(NBD_CMD_READ, 1, 0, 32);
	simple(0, 1, 32);
	request(NBD_CMD_FLUSH, 1, 0, 0);
	simple(0, 1, 0);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "S 70 LOST 80\n"
			      "C 26 FORGOT #1\n"
			      "C 54 NBD_CMD_WRITE 28+32 #2 ambiguous\n"
			      "C 54 . 32\n"
			      "C 114 NBD_CMD_READ 28+0 #3 ambiguous\n"
			      "S 150 SURE\n"
			      "S 150 NBD_SIMPLE_REPLY 16+0 #2 ambiguous final resynced replayed\n"
			      "S 166 NBD_SIMPLE_REPLY 16+32 #3 ambiguous final replayed\n"
			      "S 166 . 32\n"
			      "C 142 NBD_CMD_FLUSH 28+0 #4\n"
			      "S 214 NBD_SIMPLE_REPLY 16+0 #4 final\n");
}

/* The middle ------------------------------------------------------------------ */

static void test_middle(void **state)
{
	(void)state;
	begin(NBDS_START_MIDDLE);
	say(S, "the end of some data", 20);
	say(C, "and of a write", 14);
	request(NBD_CMD_READ, 10, 0, 64);
	simple(0, 10, 64);
	request(NBD_CMD_WRITE, 11, 0, 64);
	simple(0, 11, 0);
	request(NBD_CMD_READ, 12, 0, 64);
	simple(0, 12, 64);
	request(NBD_CMD_DISC, 13, 0, 0);
	expect("", "C 0 SKIPPED 14\n"
		   "C 14 SURE\n"
		   "S 0 SKIPPED 20\n"
		   "S 20 SURE\n"
		   "C 14 NBD_CMD_READ 28+0 #1 resynced replayed\n"
		   "S 20 NBD_SIMPLE_REPLY 16+64 #1 final resynced replayed\n"
		   "S 20 . 64\n"
		   "C 42 NBD_CMD_WRITE 28+64 #2 replayed\n"
		   "C 42 . 64\n"
		   "S 100 NBD_SIMPLE_REPLY 16+0 #2 final replayed\n"
		   "C 134 NBD_CMD_READ 28+0 #3\n"
		   "S 116 NBD_SIMPLE_REPLY 16+64 #3 final\n"
		   "S 116 . 64\n"
		   "C 162 NBD_CMD_DISC 28+0 #4\n");
	assert_true(whole.last.inferred && whole.last.transmission);
	assert_false(whole.last.structured || whole.last.extended || whole.last.export_seen);
	assert_int_equal(whole.last.handshake, NBDS_HANDSHAKE_UNSEEN);
}

/* The capture begins while options are talked about: at the client's flags, at an
 * option, at a reply, and at the first request. */
static void test_middle_options(void **state)
{
	(void)state;
	begin(NBDS_START_MIDDLE);
	client_flags(3);
	option(NBD_OPT_STRUCTURED_REPLY, "", 0);
	ack(NBD_OPT_STRUCTURED_REPLY);
	go_option();
	go_replies(4096, 1);
	request(NBD_CMD_READ, 1, 0, 8);
	data_chunk(1, 0, 8);
	expect("", "C 0 SURE\n"
		   "C 0 NBD_CLIENT_FLAGS 4+0 resynced\n"
		   "C 4 NBD_OPT_STRUCTURED_REPLY 16+0\n"
		   "S 0 SURE\n"
		   "S 0 NBD_REP_ACK 20+0 final resynced\n"
		   "C 20 NBD_OPT_GO 22+0\n"
		   "S 20 NBD_REP_INFO 32+0\n"
		   "S 52 NBD_REP_ACK 20+0 final\n"
		   "C 42 NBD_CMD_READ 28+0 #1\n"
		   "S 72 NBD_REPLY_TYPE_OFFSET_DATA 28+8 #1 final\n"
		   "S 72 . 8\n");
	assert_true(whole.last.structured && whole.last.export_seen);
	assert_int_equal(whole.last.size, 4096);

	begin(NBDS_START_MIDDLE);
	go_option();
	go_replies(4096, 1);
	request(NBD_CMD_READ, 1, 0, 8);
	simple(0, 1, 8);
	expect("", "C 0 SURE\n"
		   "C 0 NBD_OPT_GO 22+0 resynced\n"
		   "S 0 SURE\n"
		   "S 0 NBD_REP_INFO 32+0 resynced\n"
		   "S 32 NBD_REP_ACK 20+0 final\n"
		   "C 22 NBD_CMD_READ 28+0 #1\n"
		   "S 52 NBD_SIMPLE_REPLY 16+8 #1 final\n"
		   "S 52 . 8\n");

	begin(NBDS_START_MIDDLE);
	go_replies(4096, 1);
	request(NBD_CMD_READ, 1, 0, 8);
	simple(0, 1, 8);
	expect("", "S 0 SURE\n"
		   "S 0 NBD_REP_INFO 32+0 resynced\n"
		   "S 32 NBD_REP_ACK 20+0 final\n"
		   "C 0 SURE\n"
		   "C 0 NBD_CMD_READ 28+0 #1 resynced\n"
		   "S 52 NBD_SIMPLE_REPLY 16+8 #1 final\n"
		   "S 52 . 8\n");

	/* Not at the first byte: contents may look like that. */
	begin(NBDS_START_MIDDLE);
	say(C, "data", 4);
	client_flags(3);
	go_option();
	say(S, "data", 4);
	go_replies(4096, 1);
	expect("", "C 0 SKIPPED 30\n"
		   "S 0 SKIPPED 56\n"
		   "unsure\n");
}

static void test_middle_modes(void **state)
{
	(void)state;
	begin(NBDS_START_MIDDLE);
	for (uint64_t i = 1; i < 5; i++) {
		request(NBD_CMD_READ, i, 512 * i, 64);
		data_chunk(i, 512 * i, 64);
	}
	over();
	play(&whole, 0);
	assert_non_null(strstr(whole.log, "S 0 SURE\n"));
	assert_true(whole.last.structured && whole.last.inferred && !whole.last.extended);

	begin(NBDS_START_MIDDLE);
	for (uint64_t i = 1; i < 5; i++) {
		xrequest(0, NBD_CMD_TRIM, i, 512 * i, 64, "", 0);
		xchunk(1, NBD_REPLY_TYPE_NONE, i, 512 * i, "", 0);
	}
	over();
	play(&whole, 0);
	assert_non_null(strstr(whole.log, "S 0 SURE\n"));
	assert_true(whole.last.extended && whole.last.inferred);
}

/* One request and its reply prove nothing. */
static void test_middle_too_little(void **state)
{
	(void)state;
	begin(NBDS_START_MIDDLE);
	request(NBD_CMD_READ, 10, 0, 64);
	simple(0, 10, 64);
	expect("", "C 0 SKIPPED 28\n"
		   "S 0 SKIPPED 80\n"
		   "unsure\n");
}

/* A write of `n` requests (and replies, if they are `both`), and data of replies:
 * contents, however much they look like a conversation. */
static size_t fake_requests(struct out *o, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put_request(o, 0, NBD_CMD_READ, i, 0, 16);
	return o->n;
}

static size_t fake_replies(struct out *o, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		put(o, NBD_SIMPLE_REPLY_MAGIC, 4);
		put(o, 0, 4);
		put(o, i, 8);
		put_fill(o, 'x', 16);
	}
	return o->n;
}

/* Headers in a row, in one direction only. */
static void test_middle_one_direction(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_MIDDLE);
	fake_requests(&o, 300);
	say(C, o.b, o.n);
	expect("", "C 0 SKIPPED 8400\nunsure\n");
	assert_true(fake_replies(&o, 300) > 0);
	begin(NBDS_START_MIDDLE);
	o.n = 0;
	fake_replies(&o, 300);
	say(S, o.b, o.n);
	expect("", "S 0 SKIPPED 9600\nunsure\n");
}

/*
 * Caught in the middle of a write whose data are requests, while a real
 * conversation goes on whose cookies are others: the real one is found, and
 * nothing of the data is told as messages.
 */
static void test_middle_fake_requests(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_MIDDLE);
	fake_requests(&o, 40);
	put_fill(&o, 'z', 11);
	say(C, o.b, o.n);
	simple(0, 1000, 0);
	o.n = 0;
	put_request(&o, 0, NBD_CMD_WRITE, 1001, 0, 40 * 28);
	fake_requests(&o, 40);
	say(C, o.b, o.n);
	simple(0, 1001, 0);
	request(NBD_CMD_READ, 1002, 0, 8);
	simple(0, 1002, 8);
	request(NBD_CMD_FLUSH, 1003, 0, 0);
	simple(0, 1003, 0);
	expect("", "C 0 SKIPPED 1131\n"
		   "C 1131 SURE\n"
		   "S 0 SKIPPED 16\n"
		   "S 16 SURE\n"
		   "C 1131 NBD_CMD_WRITE 28+1120 #1 resynced replayed\n"
		   "C 1131 . 1120\n"
		   "S 16 NBD_SIMPLE_REPLY 16+0 #1 final resynced replayed\n"
		   "C 2279 NBD_CMD_READ 28+0 #2 replayed\n"
		   "S 32 NBD_SIMPLE_REPLY 16+8 #2 final replayed\n"
		   "S 32 . 8\n"
		   "C 2307 NBD_CMD_FLUSH 28+0 #3\n"
		   "S 56 NBD_SIMPLE_REPLY 16+0 #3 final\n");
}

/*
 * The same with the cookies of the data being those of the real requests: what
 * the data say agrees with the server's replies now and then, but does not go on
 * where it foretold.
 */
static void test_middle_fake_cookies(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_MIDDLE);
	for (unsigned i = 0; i < 60; i++)
		put_request(&o, 0, NBD_CMD_FLUSH, i % 16, 0, 0);
	put_fill(&o, 'z', 5);
	say(C, o.b, o.n);
	/* Real replies to real writes with the same cookies. */
	simple(0, 3, 0);
	simple(0, 4, 0);
	simple(0, 5, 0);
	for (uint64_t i = 3; i < 7; i++) {
		request(NBD_CMD_WRITE, i, 0, 16);
		simple(0, i, 0);
	}
	over();
	play(&whole, 0);
	assert_null(strstr(whole.log, "NBD_CMD_FLUSH"));
	assert_non_null(strstr(whole.log, "C 1685 NBD_CMD_WRITE 28+16 #1 resynced replayed\n"));
}

/* The server's feet are lost inside the data of a read that are replies. */
static void test_gap_fake_replies(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_GREETING);
	handshake(0);
	request(NBD_CMD_READ, 1000, 0, 40 * 32);
	put(&o, NBD_SIMPLE_REPLY_MAGIC, 4);
	put(&o, 0, 4);
	put(&o, 1000, 8);
	say(S, o.b, o.n);
	forget(0);
	o.n = 0;
	fake_replies(&o, 40);
	say(S, o.b, o.n);
	request(NBD_CMD_READ, 1001, 0, 8);
	simple(0, 1001, 8);
	request(NBD_CMD_READ, 1002, 0, 8);
	simple(0, 1002, 8);
	expect(handshake_log, "C 26 NBD_CMD_READ 28+0 #1\n"
			      "S 70 LOST 16\n"
			      "C 54 NBD_CMD_READ 28+0 #2\n"
			      "C 82 NBD_CMD_READ 28+0 #3\n"
			      "S 86 SKIPPED 1280\n"
			      "S 1366 SURE\n"
			      "S 1366 NBD_SIMPLE_REPLY 16+8 #2 final resynced replayed\n"
			      "S 1366 . 8\n"
			      "S 1390 NBD_SIMPLE_REPLY 16+8 #3 final replayed\n"
			      "S 1390 . 8\n");
}

/* A write whose data could begin a magic until its last byte ends before its
 * reply, also if it is told late. */
static void test_middle_order(void **state)
{
	(void)state;
	begin(NBDS_START_MIDDLE);
	request(NBD_CMD_FLUSH, 1, 0, 0);
	simple(0, 1, 0);
	request(NBD_CMD_WRITE, 0x25, 0, 64);
	simple(0, 0x25, 0);
	expect("", "C 0 SURE\n"
		   "S 0 SURE\n"
		   "C 0 NBD_CMD_FLUSH 28+0 #1 resynced replayed\n"
		   "S 0 NBD_SIMPLE_REPLY 16+0 #1 final resynced replayed\n"
		   "C 28 NBD_CMD_WRITE 28+64 #2 replayed\n"
		   "C 28 . 64\n"
		   "S 16 NBD_SIMPLE_REPLY 16+0 #2 final replayed\n");
}

/*
 * Data of a long write are requests, some of them sent after replies that agree:
 * but they lie inside a message that may be a true one, so they have to wait.
 */
static void test_middle_nested(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_MIDDLE);
	put_request(&o, 0, NBD_CMD_WRITE, 500, 0, 1000);
	put_request(&o, 0, NBD_CMD_FLUSH, 1, 0, 0);
	put_request(&o, 0, NBD_CMD_FLUSH, 2, 0, 0);
	say(C, o.b, o.n);
	simple(0, 1, 0);
	o.n = 0;
	put_request(&o, 0, NBD_CMD_FLUSH, 3, 0, 0);
	say(C, o.b, o.n);
	simple(0, 2, 0);
	simple(0, 3, 0);
	memset(o.b, 'd', 1000 - 3 * 28);
	say(C, o.b, 1000 - 3 * 28);
	simple(0, 500, 0);
	request(NBD_CMD_READ, 501, 0, 8);
	simple(0, 501, 8);
	expect("", "C 0 SURE\n"
		   "S 0 SKIPPED 48\n"
		   "S 48 SURE\n"
		   "C 0 NBD_CMD_WRITE 28+1000 #1 resynced replayed\n"
		   "C 0 . 1000\n"
		   "S 48 NBD_SIMPLE_REPLY 16+0 #1 final resynced replayed\n"
		   "C 1028 NBD_CMD_READ 28+0 #2 replayed\n"
		   "S 64 NBD_SIMPLE_REPLY 16+8 #2 final replayed\n"
		   "S 64 . 8\n");
}

/* Nothing goes on after NBD_CMD_DISC: what looks so, began later. */
static void test_middle_disconnect(void **state)
{
	(void)state;
	begin(NBDS_START_MIDDLE);
	request(NBD_CMD_DISC, 9, 0, 0);
	for (uint64_t i = 1; i < 3; i++) {
		request(NBD_CMD_FLUSH, i, 0, 0);
		simple(0, i, 0);
	}
	expect("", "C 0 SKIPPED 28\n"
		   "C 28 SURE\n"
		   "S 0 SURE\n"
		   "C 28 NBD_CMD_FLUSH 28+0 #1 resynced replayed\n"
		   "S 0 NBD_SIMPLE_REPLY 16+0 #1 final resynced replayed\n"
		   "C 56 NBD_CMD_FLUSH 28+0 #2 replayed\n"
		   "S 16 NBD_SIMPLE_REPLY 16+0 #2 final replayed\n");
}

/* A chain breaks at a reply that does not fit the request in flight. */
static void test_gap_misfit(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	lose(S, 5);
	request(NBD_CMD_WRITE, 1, 0, 8);
	simple(0, 1, 0);
	request(NBD_CMD_WRITE, 2, 0, 8);
	data_chunk(2, 0, 8);
	request(NBD_CMD_WRITE, 3, 0, 8);
	simple(0, 3, 0);
	expect(structured_log, "S 90 LOST 5\n"
			       "C 42 NBD_CMD_WRITE 28+8 #1\n"
			       "C 42 . 8\n"
			       "C 78 NBD_CMD_WRITE 28+8 #2\n"
			       "C 78 . 8\n"
			       "C 114 NBD_CMD_WRITE 28+8 #3\n"
			       "C 114 . 8\n"
			       "S 95 SKIPPED 68\n"
			       "unsure\n");
}

/* Bytes of the client were lost: a reply that does not fit the request with its
 * cookie may well fit one that was lost. */
static void test_gap_stranger(void **state)
{
	(void)state;
	begin(NBDS_START_GREETING);
	handshake(NBD_OPT_STRUCTURED_REPLY);
	request(NBD_CMD_READ, 7, 0, 512);
	lose(C, 28);
	data_chunk(7, 4096, 512);
	data_chunk(7, 0, 512);
	expect(structured_log, "C 42 NBD_CMD_READ 28+0 #1\n"
			       "C 70 LOST 28\n"
			       "S 90 NBD_REPLY_TYPE_OFFSET_DATA 28+512 unsolicited final\n"
			       "S 90 . 512\n"
			       "S 630 NBD_REPLY_TYPE_OFFSET_DATA 28+512 #1 final\n"
			       "S 630 . 512\n"
			       "unsure\n");
}

/* More heads than are kept while searching: the last ones are told. */
static void test_middle_many(void **state)
{
	(void)state;
	begin(NBDS_START_MIDDLE);
	for (unsigned i = 0; i < 500; i++)
		request(NBD_CMD_FLUSH, i, 0, 0);
	for (unsigned i = 490; i < 500; i++)
		simple(0, i, 0);
	over();
	play(&whole, 0);
	assert_non_null(strstr(whole.log, "S 0 SURE\n"));
	assert_non_null(strstr(whole.log, "NBD_SIMPLE_REPLY 16+0 #64 final"));
	play(&other, 1);
	assert_string_equal(whole.log, other.log);
}

/* A connection on which nothing is NBD costs time in proportion to its bytes. */
static void test_middle_magics(void **state)
{
	struct out o = {.n = 0};

	(void)state;
	begin(NBDS_START_MIDDLE);
	while (o.n < 60000) {
		put(&o, NBD_REQUEST_MAGIC, 4);
		put(&o, 0, 4);
	}
	for (int i = 0; i < 8; i++)
		say(C, o.b, o.n);
	o.n = 0;
	while (o.n < 60000)
		put(&o, NBD_SIMPLE_REPLY_MAGIC, 4);
	for (int i = 0; i < 8; i++)
		say(S, o.b, o.n);
	over();
	play(&whole, 0);
	assert_null(strstr(whole.log, "SURE"));
}

/* Limits ---------------------------------------------------------------------- */

struct flights {
	uint64_t requests, forgot, last, order;
};

static void count_message(void *ctx, const struct nbds_message *m)
{
	struct flights *f = ctx;

	f->requests += m->type == NBDS_MSG_REQUEST;
}

static void count_trouble(void *ctx, const struct nbds_trouble *t)
{
	struct flights *f = ctx;

	assert_int_equal(t->kind, NBDS_TROUBLE_FORGOT);
	assert_int_equal(t->request->serial, ++f->last);
	f->forgot++;
}

static void in_order(void *arg, struct nbds_request *r)
{
	struct flights *f = arg;

	assert_true(r->serial > f->order);
	f->order = r->serial;
	f->requests--;
}

static void test_requests_max(void **state)
{
	static const struct nbds_decoder_ops ops = {.message = count_message,
						    .trouble = count_trouble};
	struct nbds_mark mark = {.frame = 1};
	struct flights f = {.requests = 0};
	struct nbds_decoder *d = nbds_decoder_new(&ops, &f, NBDS_START_GREETING);

	(void)state;
	assert_non_null(d);
	begin(NBDS_START_GREETING);
	handshake(0);
	for (size_t i = 0; i < talk.count; i++)
		nbds_decoder_data(d, talk.steps[i].side,
				  talk.stream[talk.steps[i].side] + talk.steps[i].from,
				  talk.steps[i].len, &mark);
	for (uint64_t i = 0; i < NBDS_REQUESTS_MAX + 1000; i++) {
		struct out o;

		o.n = 0;
		/* Many cookies, one of them many times. */
		put_request(&o, 0, NBD_CMD_FLUSH, i % 3 ? i << 32 : 5, 0, 0);
		nbds_decoder_data(d, NBDS_CLIENT, o.b, o.n, &mark);
	}
	assert_int_equal(f.requests, NBDS_REQUESTS_MAX + 1000);
	assert_int_equal(f.forgot, 1000);
	f.requests -= f.forgot;
	nbds_decoder_each_request(d, in_order, &f);
	assert_int_equal(f.requests, 0);
	nbds_decoder_free(d);
}

/* Where bytes were seen is told with the messages made of them. */
struct seen_marks {
	uint64_t first, last, end;
};

static void mark_message(void *ctx, const struct nbds_message *m)
{
	struct seen_marks *marks = ctx;

	marks->first = m->first.frame;
	marks->last = m->last.frame;
}

static void mark_end(void *ctx, const struct nbds_message *m)
{
	struct seen_marks *marks = ctx;

	assert_int_equal(m->first.frame, marks->first);
	marks->end = m->last.frame;
}

static void test_marks(void **state)
{
	static const struct nbds_decoder_ops ops = {.message = mark_message,
						    .message_end = mark_end};
	struct nbds_mark mark = {.frame = 1};
	struct seen_marks marks = {.first = 0};
	struct nbds_decoder *d = nbds_decoder_new(&ops, &marks, NBDS_START_GREETING);
	const uint8_t *p = talk.stream[C];

	(void)state;
	begin(NBDS_START_GREETING);
	request(NBD_CMD_WRITE, 1, 0, 100);
	request(NBD_CMD_FLUSH, 2, 0, 0);
	nbds_decoder_data(d, NBDS_CLIENT, p, 10, &mark);
	mark.frame = 2;
	nbds_decoder_data(d, NBDS_CLIENT, p + 10, 5, &mark);
	mark.frame = 3;
	nbds_decoder_data(d, NBDS_CLIENT, p + 15, 20, &mark);
	assert_int_equal(marks.first, 1);
	assert_int_equal(marks.last, 3);
	assert_int_equal(marks.end, 0);
	mark.frame = 4;
	nbds_decoder_data(d, NBDS_CLIENT, p + 35, 94, &mark);
	assert_int_equal(marks.end, 4);
	mark.frame = 5;
	nbds_decoder_data(d, NBDS_CLIENT, p + 129, 27, &mark);
	assert_int_equal(marks.first, 4);
	assert_int_equal(marks.last, 5);
	assert_int_equal(marks.end, 5);
	nbds_decoder_free(d);
}

/*
 * Truth.  A conversation is made up and decoded whole; then parts of it are lost,
 * or its beginning is, and it is decoded again.  Whatever is told then must be
 * true: the same message at the same place, and, unless the request is ambiguous,
 * the same request answered.  Some clients use few cookies, or always the same
 * one; data may consist of headers with just those cookies.
 */
struct fact {
	enum nbds_side side;
	enum nbds_message_type type;
	uint64_t offset, end; /* of the message */
	uint64_t answers;     /* offset of the request + 1; 0 unknown */
	bool ambiguous;
};

#define FACTS_MAX 4096

struct facts {
	struct fact fact[FACTS_MAX];
	size_t count;
	uint64_t base[2];
	uint64_t nonsense;
};

static void fact_message(void *ctx, const struct nbds_message *m)
{
	struct facts *f = ctx;
	struct fact *fact = &f->fact[f->count++];

	assert_true(f->count < FACTS_MAX);
	*fact = (struct fact){
		.side = m->from, .type = m->type, .offset = f->base[m->from] + m->offset};
	fact->end = fact->offset + m->head_len + m->payload_len;
	if (!m->request)
		return;
	if (m->from == NBDS_CLIENT)
		m->request->user = (void *)(uintptr_t)(fact->offset + 1);
	else
		fact->answers = (uint64_t)(uintptr_t)m->request->user;
	fact->ambiguous = m->request->ambiguous;
}

static void fact_trouble(void *ctx, const struct nbds_trouble *t)
{
	struct facts *f = ctx;

	f->nonsense += t->kind == NBDS_TROUBLE_NONSENSE;
}

/* Decodes the steps from `first` on. */
static void find_facts(struct facts *f, enum nbds_start start, size_t first)
{
	static const struct nbds_decoder_ops ops = {.message = fact_message,
						    .trouble = fact_trouble};
	struct nbds_mark mark = {.frame = 1};
	struct nbds_decoder *d = nbds_decoder_new(&ops, f, start);

	assert_non_null(d);
	f->count = 0;
	f->nonsense = 0;
	f->base[0] = f->base[1] = 0;
	for (int side = 0; side < 2; side++)
		for (size_t i = talk.count; i-- > first;)
			if (talk.steps[i].side == (enum nbds_side)side)
				f->base[side] = talk.steps[i].from;
	for (size_t i = first; i < talk.count; i++) {
		const struct step *step = &talk.steps[i];

		if (step->kind == GAP)
			nbds_decoder_gap(d, step->side, step->len, &mark);
		else if (step->kind == BYTES)
			feed(d, step->side, talk.stream[step->side] + step->from, step->len, &mark);
	}
	for (int i = 0; i < 2; i++)
		nbds_decoder_end(d, (enum nbds_side)i, &mark);
	nbds_decoder_free(d);
}

static const struct fact *find_fact(const struct facts *f, const struct fact *what)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->fact[i].side == what->side && f->fact[i].offset == what->offset)
			return &f->fact[i];
	return NULL;
}

/* Data: noise, or what the two sides say, with cookies as they are in use. */
static void put_data(struct out *o, enum nbds_side side, size_t n, uint32_t cookies, bool fake)
{
	struct out data = {.n = random_below(16)};

	memset(data.b, 'n', data.n);
	while (fake && data.n + 64 < n) {
		uint32_t cookie = random_below(cookies < 32 ? 32 : cookies);
		uint32_t length = 8 * random_below(3);

		if (side == C && random_below(2)) {
			put_request(&data, 0, NBD_CMD_FLUSH, cookie, 0, 0);
		} else if (side == C) {
			put_request(&data, 0, NBD_CMD_WRITE, cookie, 0, length);
			put_fill(&data, 'n', length);
		} else {
			put(&data, NBD_SIMPLE_REPLY_MAGIC, 4);
			put(&data, 0, 4);
			put(&data, cookie, 8);
			put_fill(&data, 'n', length);
		}
	}
	if (data.n > n)
		data.n = n;
	put_fill(&data, 'n', n - data.n);
	memcpy(o->b + o->n, data.b, n);
	o->n += n;
}

struct flying {
	uint64_t cookie;
	uint32_t length;
	uint16_t type;
};

/* A conversation of `n` requests, at most `depth` in flight. */
static void converse(bool structured, unsigned n, unsigned depth, uint32_t cookies, bool fake)
{
	struct flying flying[16];
	unsigned in_flight = 0;
	uint64_t next = 0;

	begin(NBDS_START_GREETING);
	handshake(structured ? NBD_OPT_STRUCTURED_REPLY : 0);
	while (n || in_flight) {
		struct out o;

		o.n = 0;
		if (n && in_flight < depth && (!in_flight || random_below(3))) {
			struct flying *f = &flying[in_flight++];
			bool used = true;

			f->type = (uint16_t[]){NBD_CMD_READ, NBD_CMD_WRITE,
					       NBD_CMD_FLUSH}[random_below(3)];
			f->length = f->type == NBD_CMD_FLUSH ? 0
				    : random_below(4)        ? 28 * (1 + random_below(20))
							     : 8 * (1 + random_below(200));
			while (used) {
				f->cookie = next++ % cookies;
				used = false;
				for (unsigned i = 0; i < in_flight - 1; i++)
					used |= flying[i].cookie == f->cookie;
			}
			put_request(&o, 0, f->type, f->cookie, 0, f->length);
			if (f->type == NBD_CMD_WRITE)
				put_data(&o, C, f->length, cookies, fake);
			say(C, o.b, o.n);
			n--;
		} else {
			unsigned i = random_below(in_flight);
			struct flying f = flying[i];

			flying[i] = flying[--in_flight];
			if (structured && f.type == NBD_CMD_READ) {
				put(&o, 0, 8);
				put_data(&o, S, f.length, cookies, fake);
				chunk(1, NBD_REPLY_TYPE_OFFSET_DATA, f.cookie, o.b, o.n);
			} else {
				put(&o, NBD_SIMPLE_REPLY_MAGIC, 4);
				put(&o, 0, 4);
				put(&o, f.cookie, 8);
				if (f.type == NBD_CMD_READ)
					put_data(&o, S, f.length, cookies, fake);
				say(S, o.b, o.n);
			}
		}
	}
	request(NBD_CMD_DISC, 0, 0, 0);
}

static void check_facts(const struct facts *told, const struct facts *truth, uint32_t seed)
{
	for (size_t i = 0; i < told->count; i++) {
		const struct fact *fact = &told->fact[i], *same = find_fact(truth, fact);

		if (!same || same->type != fact->type || same->end != fact->end)
			fail_msg("seed %u: no message of type %d at %c %llu to %llu", seed,
				 fact->type, letter(fact->side), (unsigned long long)fact->offset,
				 (unsigned long long)fact->end);
		if (fact->answers && !fact->ambiguous && fact->answers != same->answers)
			fail_msg("seed %u: S %llu answers C %llu, not %llu", seed,
				 (unsigned long long)fact->offset,
				 (unsigned long long)same->answers - 1,
				 (unsigned long long)fact->answers - 1);
	}
}

static void test_truth(void **state)
{
	static struct facts truth, told;
	uint64_t all = 0, found = 0;

	(void)state;
	for (uint32_t seed = 0; seed < 4000; seed++) {
		bool fake, middle;
		uint32_t cookies;
		unsigned depth;

		random_state = seed * 7919;
		fake = random_below(4) == 0;
		depth = random_below(2) ? 1 : 1 + random_below(16);
		cookies = random_below(3) ? 1000000 : depth + random_below(2);
		middle = random_below(3) == 0;
		converse(random_below(2), 40, depth, cookies, fake);
		find_facts(&truth, NBDS_START_GREETING, 0);
		assert_int_equal(truth.nonsense, 0);
		for (uint32_t n = random_below(5); n--;) {
			size_t i = random_below((uint32_t)talk.count), keep;
			struct step *step = &talk.steps[i];

			keep = random_below(2) ? 0 : random_below((uint32_t)step->len);
			if (step->kind != BYTES)
				continue;
			if (!keep) {
				step->kind = GAP;
				continue;
			}
			memmove(step + 1, step, (talk.count - i) * sizeof(*step));
			talk.count++;
			step[0].len = keep;
			step[1].kind = GAP;
			step[1].from += keep;
			step[1].len -= keep;
		}
		if (middle) {
			size_t i = random_below((uint32_t)talk.count);
			struct step *step = &talk.steps[i];
			size_t skip = random_below((uint32_t)step->len);

			step->from += skip;
			step->len -= skip;
			find_facts(&told, NBDS_START_MIDDLE, i);
			assert_int_equal(told.nonsense, 0);
		} else {
			find_facts(&told, NBDS_START_GREETING, 0);
			assert_int_equal(told.nonsense, 0);
			all += truth.count;
			found += told.count;
		}
		check_facts(&told, &truth, seed);
	}
	/* Most is found again, where little was lost. */
	assert_true(found * 100 > all * 75);
}

/* Every conversation of this file again, with bytes changed, left out, and lost:
 * whatever is told, it adds up. */
static void test_damage(void **state)
{
	(void)state;
	for (uint32_t seed = 0; seed < 3000; seed++) {
		random_state = seed;
		begin(random_below(3) ? NBDS_START_GREETING : NBDS_START_MIDDLE);
		handshake(seed % 3 == 0   ? 0
			  : seed % 3 == 1 ? NBD_OPT_STRUCTURED_REPLY
					  : NBD_OPT_EXTENDED_HEADERS);
		for (uint64_t i = 1; i < 12; i++) {
			uint32_t length = 8 * (1 + random_below(8));
			uint16_t type = random_below(2) ? NBD_CMD_READ : NBD_CMD_WRITE;

			if (seed % 3 == 2) {
				xrequest(type == NBD_CMD_WRITE ? NBD_CMD_FLAG_PAYLOAD_LEN : 0, type,
					 i % 4, i, length, talk.stream,
					 type == NBD_CMD_WRITE ? length : 0);
			} else {
				request(type, i % 4, i, length);
			}
			if (random_below(8) == 0)
				forget(random_below(2) ? 0 : random_below(20));
			if (seed % 3 == 2)
				xchunk(1, NBD_REPLY_TYPE_NONE, i % 4, i, "", 0);
			else if (seed % 3 == 1 && type == NBD_CMD_READ)
				data_chunk(i % 4, i, length);
			else
				simple(0, i % 4, type == NBD_CMD_READ ? length : 0);
			if (random_below(8) == 0)
				forget(random_below(2) ? 0 : random_below(15));
		}
		for (uint32_t n = random_below(4); n--;) {
			enum nbds_side side = (enum nbds_side)random_below(2);

			talk.stream[side][random_below((uint32_t)talk.len[side])] ^=
				(uint8_t)(1u << random_below(8));
		}
		over();
		play(&whole, 0);
		play(&other, 1);
		assert_string_equal(other.log, whole.log);
		play(&other, 40);
		assert_string_equal(other.log, whole.log);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_simple),
		cmocka_unit_test(test_oldstyle),
		cmocka_unit_test(test_client_first),
		cmocka_unit_test(test_export_name),
		cmocka_unit_test(test_export_name_zeroes),
		cmocka_unit_test(test_export_name_refused),
		cmocka_unit_test(test_export_name_long),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_info_is_not_go),
		cmocka_unit_test(test_options_out_of_step),
		cmocka_unit_test(test_long_option),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_extended),
		cmocka_unit_test(test_simple_in_structured),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_same_cookie),
		cmocka_unit_test(test_second_reply),
		cmocka_unit_test(test_second_reply_late),
		cmocka_unit_test(test_unsolicited),
		cmocka_unit_test(test_early_reply),
		cmocka_unit_test(test_data_after_error),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_after_disconnect),
		cmocka_unit_test(test_ends_inside),
		cmocka_unit_test(test_gap_in_payload),
		cmocka_unit_test(test_gap_in_head),
		cmocka_unit_test(test_gap_in_handshake),
		cmocka_unit_test(test_gap_server),
		cmocka_unit_test(test_gap_client),
		cmocka_unit_test(test_gap_client_simple),
		cmocka_unit_test(test_gap_cookie_again),
		cmocka_unit_test(test_middle),
		cmocka_unit_test(test_middle_options),
		cmocka_unit_test(test_middle_modes),
		cmocka_unit_test(test_middle_too_little),
		cmocka_unit_test(test_middle_one_direction),
		cmocka_unit_test(test_middle_fake_requests),
		cmocka_unit_test(test_middle_fake_cookies),
		cmocka_unit_test(test_gap_fake_replies),
		cmocka_unit_test(test_middle_order),
		cmocka_unit_test(test_middle_nested),
		cmocka_unit_test(test_middle_disconnect),
		cmocka_unit_test(test_gap_misfit),
		cmocka_unit_test(test_gap_stranger),
		cmocka_unit_test(test_middle_many),
		cmocka_unit_test(test_middle_magics),
		cmocka_unit_test(test_requests_max),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_truth),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
