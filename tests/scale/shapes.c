/* SPDX-License-Identifier: GPL-2.0-or-later */
/* shapes.c - see shapes.h. */
#include "shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST   UINT32_C(0x0a000001) /* 10.0.0.1 */
#define SERVE  UINT32_C(0x0a800001) /* 10.128.0.1 */
#define SIZE   (UINT64_C(1) << 40)
#define PLAIN  (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA)
#define SHARED (PLAIN | NBD_FLAG_CAN_MULTI_CONN)
#define BLOCK  4096u

/* The i-th client of all there may be: 10.0.0.0/9, 40000 ports each. */
static void open_nth(struct wire *w, struct talk *t, unsigned i, uint32_t server)
{
	talk_open(w, t, HOST + i / 40000, (uint16_t)(20000 + i % 40000), server, 10809);
}

static struct talk *talks_new(unsigned n)
{
	struct talk *t = calloc(n, sizeof(*t));

	if (!t)
		abort();
	return t;
}

/* --- servers and connections --- */

static void greetings(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;
		uint8_t b[18];

		talk_resume(w, &t, HOST, 40000, SERVE + i, 10809);
		put16(put64(put64(b, NBD_INIT_MAGIC), NBD_OPTS_MAGIC), 3);
		talk_send(&t, SERVER, b, 18);
	}
}

static void half_handshakes(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE);
		talk_greet(&t);
	}
}

static void short_connections(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE);
		talk_enter(&t, "disk", 4, SIZE, PLAIN);
		talk_disconnect(&t);
	}
}

static void short_writers(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE);
		talk_enter(&t, "disk", 4, SIZE, SHARED);
		talk_write(&t, (uint64_t)(i % 1000) * BLOCK, BLOCK, 'a');
		talk_read(&t, (uint64_t)(i % 1000) * BLOCK, BLOCK, 'a');
		talk_disconnect(&t);
	}
}

static void short_servers(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE + i);
		talk_enter(&t, "disk", 4, SIZE, PLAIN);
		talk_write(&t, 0, 512, 'a');
		talk_read(&t, 0, 512, 'a');
		talk_disconnect(&t);
	}
}

static void servers(struct wire *w, unsigned n)
{
	struct talk *t = talks_new(n);

	for (unsigned i = 0; i < n; i++) {
		open_nth(w, &t[i], i, SERVE + i);
		talk_enter(&t[i], "disk", 4, SIZE, PLAIN);
	}
	w->step = 100000;
	for (unsigned k = 0; k < 10; k++)
		for (unsigned i = 0; i < n; i++)
			talk_read(&t[i], 0, 512, 'a');
	free(t);
}

static void others_that_do(struct wire *w, unsigned n, uint16_t flags, bool write, bool flush)
{
	struct talk *t = talks_new(n);

	for (unsigned i = 0; i < n; i++) {
		open_nth(w, &t[i], i, SERVE);
		talk_enter(&t[i], "disk", 4, SIZE, flags);
	}
	for (unsigned k = 0; k < 4; k++) {
		for (unsigned i = 0; i < n; i++) {
			if (write)
				talk_write(&t[i], (uint64_t)i * BLOCK, BLOCK, 'a' + (int)k);
			else
				talk_read(&t[i], (uint64_t)i * BLOCK, BLOCK, 0);
			if (flush)
				talk_flush(&t[i]);
		}
	}
	free(t);
}

static void flushing_connections(struct wire *w, unsigned n)
{
	others_that_do(w, n, SHARED, true, true);
}

static void writing_connections(struct wire *w, unsigned n)
{
	others_that_do(w, n, SHARED, true, false);
}

static void reading_connections(struct wire *w, unsigned n)
{
	others_that_do(w, n, PLAIN, false, false);
}

static void ended_flushers(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE);
		talk_enter(&t, "disk", 4, SIZE, SHARED);
		talk_write(&t, (uint64_t)i * BLOCK, 512, 'a');
		talk_flush(&t);
		talk_disconnect(&t);
	}
}

/* Knocks of clients that do not exist, and one after the other that does. */
static void knocks(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		if (i % 10 == 9) {
			open_nth(w, &t, i, SERVE);
			talk_enter(&t, "disk", 4, SIZE, PLAIN);
			talk_disconnect(&t);
		} else {
			talk_knock(w, &t, HOST + i / 40000, (uint16_t)(20000 + i % 40000), SERVE,
				   10809);
		}
	}
}

/* What is not NBD: a few bytes of each of many connections, that stay open. */
static void strangers(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		talk_open(w, &t, HOST + i / 40000, (uint16_t)(20000 + i % 40000), SERVE + i % 100,
			  (uint16_t)(80 + i % 7));
		talk_send(&t, CLIENT, "GET / HTTP/1.1\r\n\r\n", 18);
		talk_send(&t, SERVER, "HTTP/1.1 200 OK\r\n", 17);
	}
}

/* Of each of many connections one packet in its middle. */
static void scraps(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		talk_resume(w, &t, HOST + i / 40000, (uint16_t)(20000 + i % 40000), SERVE + i % 100,
			    (uint16_t)(80 + i % 7));
		talk_send(&t, CLIENT, "and so on", 9);
	}
}

/* Servers on all ports of a few hosts. */
static void ports(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		talk_open(w, &t, HOST, 40000, SERVE + i / 60000, (uint16_t)(1024 + i % 60000));
		talk_enter(&t, "disk", 4, SIZE, PLAIN);
		talk_write(&t, 0, 512, 'a');
		talk_reset(&t, SERVER);
	}
}

/* --- names and options --- */

static void names(struct wire *w, unsigned n, uint32_t len)
{
	char *name = calloc(1, len);

	if (!name)
		abort();
	memset(name, 'n', len);
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		snprintf(name, 12, "%010u", i);
		name[10] = 'n';
		open_nth(w, &t, i, SERVE);
		talk_enter(&t, name, len, SIZE, PLAIN);
		talk_write(&t, 0, 512, 'a');
		talk_disconnect(&t);
	}
	free(name);
}

static void short_names(struct wire *w, unsigned n)
{
	names(w, n, 12);
}

static void long_names(struct wire *w, unsigned n)
{
	names(w, n, 4096);
}

/* Options that are refused, with as much in them as fits, over and over. */
static void options(struct wire *w, unsigned n)
{
	static uint8_t data[8000];
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_greet(&t);
	for (unsigned i = 0; i < n; i++) {
		uint32_t option = i % 2 ? NBD_OPT_LIST_META_CONTEXT : NBD_OPT_SET_META_CONTEXT;
		uint8_t context[4 + 1000];

		put32(put32(data, 0), 1);
		put32(data + 8, 4000);
		memset(data + 12, 'q', 4000);
		talk_option(&t, option, data, 12 + 4000);
		memset(context, 'c', sizeof(context));
		put32(context, i);
		for (unsigned k = 0; k < 4; k++)
			talk_option_reply(&t, option, NBD_REP_META_CONTEXT, context,
					  sizeof(context));
		talk_option_reply(&t, option, NBD_REP_ACK, NULL, 0);
	}
}

/* The same from many clients, that stay. */
static void many_contexts(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;
		uint8_t context[4 + 4000];

		open_nth(w, &t, i, SERVE);
		talk_greet(&t);
		memset(context, 'c', sizeof(context));
		for (unsigned k = 0; k < 64; k++) {
			put32(context, k);
			talk_option_reply(&t, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT,
					  context, sizeof(context));
		}
	}
}

/* --- replies --- */

static void extents(struct wire *w, unsigned n)
{
	static uint8_t piece[32000];
	uint64_t left = (uint64_t)n * 8;
	uint8_t head[24], context[4 + 15];
	uint32_t id = 7;
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_greet(&t);
	talk_structured(&t);
	put32(context, id);
	memcpy(context + 4, "base:allocation", 15);
	talk_option(&t, NBD_OPT_SET_META_CONTEXT, "\0\0\0\4disk\0\0\0\1\0\0\0\17base:allocation",
		    4 + 4 + 4 + 4 + 15);
	talk_option_reply(&t, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, context,
			  sizeof(context));
	talk_option_reply(&t, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, NULL, 0);
	talk_go(&t, "disk", 4, SIZE, PLAIN);
	talk_request(&t, NBD_CMD_BLOCK_STATUS, 0, 0, 0xffff0000);
	put32(put64(put16(put16(put32(head, NBD_STRUCTURED_REPLY_MAGIC), 1),
			  NBD_REPLY_TYPE_BLOCK_STATUS),
		    t.cookie),
	      (uint32_t)(left + 4));
	put32(head + 20, id);
	talk_send(&t, SERVER, head, 24);
	for (unsigned i = 0; i < sizeof(piece) / 8; i++)
		put32(put32(piece + (size_t)8 * i, 512), i % 2 ? 3 : 0);
	while (left) {
		size_t len = left < sizeof(piece) ? (size_t)left : sizeof(piece);

		talk_send(&t, SERVER, piece, len);
		left -= len;
	}
	talk_disconnect(&t);
}

/* One reply in chunks without an end. */
static void chunks(struct wire *w, unsigned n)
{
	uint8_t chunk[20 + 8 + 1] = {0};
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_greet(&t);
	talk_structured(&t);
	talk_go(&t, "disk", 4, SIZE, PLAIN);
	talk_request(&t, NBD_CMD_READ, 0, 0, 1 << 25);
	for (unsigned i = 0; i < n; i++) {
		put64(put32(put64(put16(put16(put32(chunk, NBD_STRUCTURED_REPLY_MAGIC), 0),
					NBD_REPLY_TYPE_OFFSET_DATA),
				  t.cookie),
			    9),
		      i * UINT64_C(4093) % (1 << 25));
		chunk[28] = (uint8_t)i;
		talk_send(&t, SERVER, chunk, sizeof(chunk));
	}
	talk_disconnect(&t);
}

/* Flushes that fail, where many exports were written to and flushed. */
static void failed_flushes(struct wire *w, unsigned n)
{
	struct talk t;

	for (unsigned i = 0; i < n; i++) {
		char name[12];

		snprintf(name, sizeof(name), "%08u", i);
		open_nth(w, &t, i, SERVE);
		talk_enter(&t, name, 8, SIZE, SHARED);
		talk_write(&t, 0, 512, 'a');
		talk_flush(&t);
		talk_disconnect(&t);
	}
	w->time += INT64_C(5000000000);
	open_nth(w, &t, n, SERVE);
	talk_enter(&t, "disk", 4, SIZE, SHARED);
	for (unsigned i = 0; i < n; i++) {
		talk_write(&t, (uint64_t)(i % 100) * BLOCK, 512, 'a');
		talk_request(&t, NBD_CMD_FLUSH, 0, 0, 0);
		talk_reply(&t, t.cookie, NBD_EIO, 0, 0);
	}
}

/* Connections each of which breaks many rules. */
static void rule_breakers(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE);
		talk_enter(&t, "disk", 4, 1 << 20, NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY);
		for (unsigned k = 0; k < 40; k++) {
			talk_request(&t, (uint16_t)(3 + k % 6), (uint16_t)(1u << k % 16),
				     (uint64_t)k << 30, k % 5 * 100);
			talk_reply(&t, t.cookie, k % 3 ? 0 : 1000 + k, 0, 0);
			talk_reply(&t, 7777 + k, 0, 0, 0);
		}
	}
}

static void wrong_reads(struct wire *w, unsigned n)
{
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_enter(&t, "disk", 4, SIZE, PLAIN);
	for (unsigned i = 0; i < 64; i++) {
		talk_write(&t, (uint64_t)i * BLOCK, BLOCK, 'a');
		talk_write(&t, (uint64_t)i * BLOCK, BLOCK, 'b');
	}
	for (unsigned i = 0; i < n; i++) {
		talk_read(&t, (uint64_t)(i % 64) * BLOCK, BLOCK, 'a');
		talk_write(&t, (uint64_t)(64 + i % 64) * BLOCK, 512, 'c');
	}
}

static void findings(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE);
		talk_enter(&t, "disk", 4, SIZE, PLAIN);
		talk_write(&t, (uint64_t)i * BLOCK, BLOCK, 'a');
		talk_write(&t, (uint64_t)i * BLOCK, BLOCK, 'b');
		talk_read(&t, (uint64_t)i * BLOCK, BLOCK, 'a');
		talk_disconnect(&t);
	}
}

/* Reads that cannot be judged before a writer answers, and it does not. */
static void waiting_reads(struct wire *w, unsigned n)
{
	struct talk silent, t;

	open_nth(w, &silent, 0, SERVE);
	talk_enter(&silent, "disk", 4, SIZE, SHARED);
	open_nth(w, &t, 1, SERVE);
	talk_enter(&t, "disk", 4, SIZE, SHARED);
	talk_write(&t, 0, BLOCK, 'a');
	talk_flush(&t);
	talk_write_request(&silent, 0, BLOCK, 'b');
	for (unsigned i = 0; i < n; i++)
		talk_read(&t, 0, BLOCK, 'c');
}

static void pending_writes(struct wire *w, unsigned n)
{
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_enter(&t, "disk", 4, SIZE, SHARED);
	for (unsigned i = 0; i < n; i++)
		talk_write_request(&t, (uint64_t)i * BLOCK, 512, 'a');
	for (unsigned i = 0; i < n; i++)
		talk_reply(&t, n - i, 0, 0, 0);
}

static void unanswered_writes(struct wire *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct talk t;

		open_nth(w, &t, i, SERVE);
		talk_enter(&t, "disk", 4, SIZE, SHARED);
		talk_write_request(&t, (uint64_t)i * BLOCK, 512, 'a');
		talk_reset(&t, CLIENT);
	}
}

/* Block numbers far apart, in steps that simple hashes do not like. */
static void block_numbers(struct wire *w, unsigned n)
{
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_enter(&t, "disk", 4, UINT64_MAX / 2, PLAIN);
	for (unsigned i = 0; i < n; i++)
		talk_write(&t, ((uint64_t)i * BLOCK) << 20, 512, 'a');
}

static void blocks(struct wire *w, unsigned n)
{
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_enter(&t, "disk", 4, SIZE, PLAIN);
	for (unsigned i = 0; i < n; i++)
		talk_write(&t, (uint64_t)i * 16 * BLOCK, 512, 'a');
}

static void rewrites(struct wire *w, unsigned n)
{
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_enter(&t, "disk", 4, SIZE, PLAIN);
	for (unsigned i = 0; i < n; i++)
		talk_write(&t, 0, BLOCK, (int)(i & 0xff));
	talk_read(&t, 0, BLOCK, (int)((n - 1) & 0xff));
}

/* Flows that hold bytes back behind a hole, and one that works: what it reads is what was
 * written, or older by `stale` writes, or data from nowhere. */
static void holes_and(struct wire *w, unsigned n, unsigned blocks, unsigned stale, bool nowhere)
{
	struct talk *t = talks_new(n), good;

	open_nth(w, &good, n, SERVE);
	talk_enter(&good, "disk", 4, SIZE, SHARED);
	w->step = 100; /* the holes do not grow old */
	for (unsigned i = 0; i < n; i++) {
		open_nth(w, &t[i], i, SERVE);
		talk_enter(&t[i], "disk", 4, SIZE, SHARED);
		talk_lose(&t[i], CLIENT, 28);
		talk_send(&t[i], CLIENT, "behind the hole", 15);
	}
	for (unsigned i = 0; i < n; i++) {
		int is = 'a' + (int)(i % 7), was = 'a' + (int)((i + 7 - stale) % 7);

		talk_write(&good, (uint64_t)(i % blocks) * BLOCK, 512, is);
		talk_read(&good, (uint64_t)(i % blocks) * BLOCK, 512, nowhere ? 'z' : was);
	}
	free(t);
}

static void holes(struct wire *w, unsigned n)
{
	holes_and(w, n, 64, 0, false);
}

static void holes_stale(struct wire *w, unsigned n)
{
	holes_and(w, n, 4, 1, false);
}

static void holes_nowhere(struct wire *w, unsigned n)
{
	holes_and(w, n, 4, 0, true);
}

/* Flows that each hold many small pieces behind a hole. */
static void pieces(struct wire *w, unsigned n)
{
	struct talk *t = talks_new(n);

	w->step = 100;
	for (unsigned i = 0; i < n; i++) {
		open_nth(w, &t[i], i, SERVE);
		talk_enter(&t[i], "disk", 4, SIZE, SHARED);
		talk_lose(&t[i], CLIENT, 28);
	}
	for (unsigned k = 0; k < 100; k++) {
		for (unsigned i = 0; i < n; i++) {
			talk_send(&t[i], CLIENT, "x", 1);
			talk_lose(&t[i], CLIENT, 1);
		}
	}
	free(t);
}

/* First fragments, whose others never come, and a connection in fragments. */
static void fragments(struct wire *w, unsigned n)
{
	struct talk t, good;

	open_nth(w, &good, 0, SERVE);
	talk_enter(&good, "disk", 4, SIZE, PLAIN);
	for (unsigned i = 0; i < n; i++) {
		uint8_t request[28 + 512] = {0};

		talk_resume(w, &t, HOST + 1 + i / 60000, (uint16_t)(1024 + i % 60000), SERVE,
			    10809);
		talk_send_fragments(&t, CLIENT, "a half of it does not come", 26, (uint16_t)i,
				    false);
		if (i % 10)
			continue;
		put32(put64(put64(put16(put16(put32(request, NBD_REQUEST_MAGIC), 0), NBD_CMD_WRITE),
				  ++good.cookie),
			    (uint64_t)i * BLOCK),
		      512);
		talk_send_fragments(&good, CLIENT, request, sizeof(request), (uint16_t)i, true);
		talk_reply(&good, good.cookie, 0, 0, 0);
	}
	talk_disconnect(&good);
}

static void flushes(struct wire *w, unsigned n)
{
	struct talk t;

	open_nth(w, &t, 0, SERVE);
	talk_enter(&t, "disk", 4, SIZE, SHARED);
	for (unsigned i = 0; i < n; i++) {
		talk_write(&t, (uint64_t)(i % 1000) * BLOCK, 512, 'a');
		talk_flush(&t);
	}
}

/* The client's first records wait for what the server has to say, which says it byte by byte. */
static void tls_waiting(struct wire *w, unsigned n)
{
	uint8_t option[16], answer[20], record[64] = {23, 3, 3, 0, 59};
	struct talk t;

	w->step = 1;
	open_nth(w, &t, 0, SERVE);
	talk_greet(&t);
	put32(put32(put64(option, NBD_OPTS_MAGIC), NBD_OPT_STARTTLS), 0);
	talk_send(&t, CLIENT, option, sizeof(option));
	put32(put32(put32(put64(answer, NBD_REP_MAGIC), NBD_OPT_STARTTLS), NBD_REP_ACK), 0);
	talk_send(&t, SERVER, answer, sizeof(answer));
	for (unsigned i = 0; i < n; i++) {
		talk_send(&t, CLIENT, record, sizeof(record));
		talk_send(&t, SERVER, record, 1);
	}
}

const struct shape shapes[] = {
	{"greetings", "servers that greet, once each", 2000, 50000, greetings},
	{"half-handshakes", "connections that never get beyond the greeting", 1000, 200000,
	 half_handshakes},
	{"short-connections", "connections that enter and leave", 500, 40000, short_connections},
	{"short-writers", "connections that write, read and leave", 500, 40000, short_writers},
	{"short-servers", "servers with one such connection each", 500, 20000, short_servers},
	{"ended-flushers", "connections that write, flush and leave", 500, 40000, ended_flushers},
	{"servers", "servers that are read from", 250, 2000, servers},
	{"flushing-connections", "open connections that write and flush", 1000, 5000,
	 flushing_connections},
	{"writing-connections", "open connections that write", 1000, 5000, writing_connections},
	{"reading-connections", "open connections without CAN_MULTI_CONN", 250, 5000,
	 reading_connections},
	{"names", "export names", 500, 40000, short_names},
	{"long-names", "export names of 4 kB", 250, 10000, long_names},
	{"options", "options with long queries", 2000, 10000, options},
	{"contexts", "connections with contexts of long names", 50, 400, many_contexts},
	{"extents", "extents of one reply", 20000, 7500000, extents},
	{"wrong-reads", "reads that are wrong", 1000, 25000, wrong_reads},
	{"findings", "connections with findings", 250, 20000, findings},
	{"waiting-reads", "reads that wait for a silent writer", 500, 10000, waiting_reads},
	{"pending-writes", "writes in flight", 1000, 50000, pending_writes},
	{"unanswered-writes", "writes whose answer will never come", 500, 20000, unanswered_writes},
	{"block-numbers", "block numbers in steps of a power of two", 2000, 100000, block_numbers},
	{"blocks", "blocks written", 2000, 100000, blocks},
	{"rewrites", "versions of one block", 500, 10000, rewrites},
	{"tls-waiting", "records that wait for others", 2000, 0, tls_waiting},
	{"flushes", "flushes", 4000, 100000, flushes},
	{"holes", "flows with a hole", 250, 5000, holes},
	{"holes-stale", "flows with a hole, and stale reads", 2000, 5000, holes_stale},
	{"holes-nowhere", "flows with a hole, and reads from nowhere", 2000, 5000, holes_nowhere},
	{"pieces", "flows with a hole and pieces behind it", 50, 2000, pieces},
	{"knocks", "clients that knock only", 1000, 200000, knocks},
	{"strangers", "connections that are not NBD", 1000, 100000, strangers},
	{"scraps", "packets of other connections each", 2000, 500000, scraps},
	{"ports", "servers on other ports", 500, 50000, ports},
	{"chunks", "chunks of one reply", 5000, 500000, chunks},
	{"failed-flushes", "flushes that fail, and exports", 250, 10000, failed_flushes},
	{"rule-breakers", "connections that break many rules", 50, 4000, rule_breakers},
	{"fragments", "fragments without the others", 1000, 200000, fragments},
};
const unsigned shape_count = sizeof(shapes) / sizeof(shapes[0]);

const struct shape *shape_find(const char *name)
{
	for (unsigned i = 0; i < shape_count; i++)
		if (strcmp(shapes[i].name, name) == 0)
			return &shapes[i];
	return NULL;
}
