/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdtop without its terminal: numbers in few columns, the filter, the flush order,
 * the log between two threads, and the worker on files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tui/config.h"
#include "tui/dirty.h"
#include "tui/filter.h"
#include "tui/history.h"
#include "tui/log.h"
#include "tui/model.h"
#include "tui/order.h"
#include "tui/ring.h"
#include "tui/text.h"

/* --- numbers --- */

static void test_numbers(void **state)
{
	char s[SHORT_TEXT];

	(void)state;
	assert_string_equal(short_count(s, 0), "0");
	assert_string_equal(short_count(s, 999), "999");
	assert_string_equal(short_count(s, 1000), "1k");
	assert_string_equal(short_count(s, 1234), "1.2k");
	assert_string_equal(short_count(s, 9960), "10k");
	assert_string_equal(short_count(s, 999499), "999k");
	assert_string_equal(short_count(s, 999600), "1M");
	assert_string_equal(short_bytes(s, 512), "512");
	assert_string_equal(short_bytes(s, 1024), "1K");
	assert_string_equal(short_bytes(s, 1536), "1.5K");
	assert_string_equal(short_bytes(s, 1023.0 * 1024 * 1024), "1G");
	assert_string_equal(short_bytes(s, 18446744073709551615.0), "16E");
	assert_string_equal(short_time(s, -5), "0ns");
	assert_string_equal(short_time(s, 999), "999ns");
	assert_string_equal(short_time(s, 1500), "1.5us");
	assert_string_equal(short_time(s, 12345678), "12ms");
	assert_string_equal(short_time(s, 90e9), "90s");
	assert_string_equal(short_time(s, 600e9), "10m");
	assert_string_equal(short_time(s, 5 * 3600e9), "5h");
	assert_string_equal(short_time(s, 72 * 3600e9), "3d");
}

static void test_histogram_edges(void **state)
{
	(void)state;
	for (unsigned i = 1; i < HISTOGRAM_BINS; i++)
		assert_true(histogram_from(i) >= histogram_from(i - 1));
	assert_int_equal(histogram_from(20), 1024);
	assert_int_equal(histogram_from(21), 1536);
}

/* --- messages that never were --- */

static struct nbds_connection connection = {.id = 7};

static struct nbds_request request_of(uint16_t type, uint16_t flags, uint64_t offset,
				      uint64_t length, uint64_t cookie)
{
	return (struct nbds_request){.serial = cookie + 1,
				     .cookie = cookie,
				     .offset = offset,
				     .length = length,
				     .type = type,
				     .flags = flags};
}

static uint8_t head[NBDS_REQUEST_LEN];

static void big_endian(uint8_t *at, uint64_t value, unsigned bytes)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static struct nbds_message request_message(struct nbds_request *r, uint64_t frame)
{
	big_endian(head, NBD_REQUEST_MAGIC, 4);
	big_endian(head + 4, r->flags, 2);
	big_endian(head + 6, r->type, 2);
	big_endian(head + 8, r->cookie, 8);
	big_endian(head + 16, r->offset, 8);
	big_endian(head + 24, r->length, 4);
	return (struct nbds_message){.type = NBDS_MSG_REQUEST,
				     .from = NBDS_CLIENT,
				     .name = nbds_name_of(&nbds_commands, r->type),
				     .head = head,
				     .head_len = NBDS_REQUEST_LEN,
				     .first = {.frame = frame, .time = (int64_t)frame * 1000},
				     .last = {.frame = frame, .time = (int64_t)frame * 1000},
				     .request = r};
}

/* --- the filter --- */

struct sample {
	struct log *log;
	struct log_view view;
};

/* 1: a write with FUA, 2: its reply, which failed, 3: a read, 4: an option's
 * reply, 5: trouble. */
static void sample_open(struct sample *s)
{
	struct nbds_request w = request_of(NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 0x1000, 65536, 9);
	struct nbds_request r = request_of(NBD_CMD_READ, 0, 0x200000, 512, 10);
	struct nbds_message m = request_message(&w, 100);
	struct nbds_trouble t = {.kind = NBDS_TROUBLE_NONSENSE,
				 .side = NBDS_SERVER,
				 .length = 3,
				 .where = {.frame = 104, .time = 104000},
				 .text = "Odd \"bytes\""};

	memset(s, 0, sizeof(*s));
	s->log = log_new(100);
	assert_non_null(s->log);
	log_message(s->log, &connection, &m);
	m.type = NBDS_MSG_SIMPLE_REPLY;
	m.from = NBDS_SERVER;
	m.name = "NBD_SIMPLE_REPLY";
	m.first.frame = m.last.frame = 101;
	m.first.time = m.last.time = 101000;
	m.u.simple.cookie = 9;
	m.u.simple.error = NBD_ENOSPC;
	log_message(s->log, &connection, &m);
	m = request_message(&r, 102);
	log_message(s->log, &connection, &m);
	m = (struct nbds_message){.type = NBDS_MSG_OPTION_REPLY,
				  .from = NBDS_SERVER,
				  .name = "NBD_REP_ERR_UNKNOWN",
				  .first = {.frame = 103, .time = 103000},
				  .last = {.frame = 103, .time = 103000}};
	m.u.option_reply.type = (uint32_t)NBD_REP_ERR_UNKNOWN;
	log_message(s->log, &connection, &m);
	log_trouble(s->log, &connection, &t);
	log_view_update(s->log, &s->view);
	assert_int_equal(s->view.first, 1);
	assert_int_equal(s->view.last, 5);
}

static void sample_close(struct sample *s)
{
	log_view_close(s->log, &s->view);
	log_free(s->log);
}

/* Which of the five match: "1.3.." */
static void assert_matches(struct sample *s, const char *text, const char *expected)
{
	char got[6] = ".....", why[128] = "";
	struct nbds_buf line = {0};
	unsigned where = 0;
	struct filter f;

	if (!filter_parse(&f, text, why, sizeof(why), &where))
		fail_msg("%s: %s (at %u)", text, why, where);
	for (uint64_t n = 1; n <= 5; n++)
		if (filter_match(&f, log_view_get(&s->view, n), 100000, &line))
			got[n - 1] = (char)('0' + n);
	if (strcmp(got, expected) != 0)
		fail_msg("%s: %s, not %s", text, got, expected);
	nbds_buf_free(&line);
}

static void test_filter(void **state)
{
	struct sample s;

	(void)state;
	sample_open(&s);
	assert_matches(&s, "", "12345");
	assert_matches(&s, "  ", "12345");
	assert_matches(&s, "write", "12...");
	assert_matches(&s, "WRITE", "12...");
	assert_matches(&s, "not write", "..345");
	assert_matches(&s, "!write", "..345");
	assert_matches(&s, "write and request", "1....");
	assert_matches(&s, "write request", "1....");
	assert_matches(&s, "write && !reply", "1....");
	assert_matches(&s, "read or reply", ".23..");
	assert_matches(&s, "read || reply and error", ".23..");
	assert_matches(&s, "(read || reply) and not error", "..3..");
	assert_matches(&s, "error", ".2.4.");
	assert_matches(&s, "handshake", "...4.");
	assert_matches(&s, "trouble", "....5");
	assert_matches(&s, "fua", "12...");
	assert_matches(&s, "client", "1.3..");
	assert_matches(&s, "conn == 7", "12345");
	assert_matches(&s, "conn!=7", ".....");
	assert_matches(&s, "frame >= 102", "..345");
	assert_matches(&s, "frame<102", "12...");
	assert_matches(&s, "time > 2us", "...45");
	assert_matches(&s, "cmd = write", "12...");
	assert_matches(&s, "cmd == NBD_CMD_READ", "..3..");
	assert_matches(&s, "cmd == 1", "12...");
	assert_matches(&s, "offset >= 1M", "..3..");
	assert_matches(&s, "offset == 0x1000", "12...");
	assert_matches(&s, "len == 64K", "12...");
	assert_matches(&s, "len <= 0.5K", "..3..");
	sample_close(&s);
}

/* What is not a filter, and where it goes wrong. */
static void test_filter_errors(void **state)
{
	static const struct {
		const char *text;
		unsigned where;
		const char *why;
	} bad[] = {
		{"wriet", 0, "\"wriet\" is not known; text goes in quotes"},
		{"write and", 9, "something is missing here"},
		{"write and )", 10, "\")\" is not expected here"},
		{"(write", 0, "the bracket is not closed"},
		{"write)", 5, "\")\" is not expected here"},
		{"conn", 4, "conn wants an operator and a value"},
		{"conn ==", 7, "a value is missing"},
		{"conn == x", 8, "\"x\" is no value for it"},
		{"con == 1", 0, "there is no field \"con\""},
		{"conn ~ 1", 7, "~ is for text"},
		{"\"abc", 0, "the quote is not closed"},
		{"nbd.nothing == 1", 0, "there is no field \"nbd.nothing\""},
		{"nbd.len == many", 11, "\"many\" is no value for it"},
		{"took > 10xs", 7, "\"10xs\" is no value for it"},
	};
	struct filter f;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned where = 99;
		char why[128] = "";

		assert_false(filter_parse(&f, bad[i].text, why, sizeof(why), &where));
		assert_string_equal(why, bad[i].why);
		assert_int_equal(where, bad[i].where);
	}
}

static void test_filter_fields(void **state)
{
	struct sample s;

	(void)state;
	sample_open(&s);
	assert_matches(&s, "error == ENOSPC", ".2...");
	assert_matches(&s, "error == NBD_ENOSPC", ".2...");
	assert_matches(&s, "error == 28", ".2...");
	assert_matches(&s, "cookie == 0xa", "..3..");
	assert_matches(&s, "name == NBD_SIMPLE_REPLY", ".2...");
	assert_matches(&s, "name ~ simple", ".2...");
	assert_matches(&s, "\"0x200000\"", "..3..");
	assert_matches(&s, "'\"BYTES\"'", "....5");
	assert_matches(&s, "nbd.len == 512", "..3..");
	assert_matches(&s, "nbd.cmd.flags.fua", "1....");
	assert_matches(&s, "nbd.cmd.flags.fua == 0", "..3..");
	assert_matches(&s, "nbd.cmd.flags.fua == true", "1....");
	assert_matches(&s, "nbd.type == NBD_CMD_WRITE", "1....");
	assert_matches(&s, "nbd.type ~ WRITE", "1....");
	assert_matches(&s, "took > 0", ".....");
	sample_close(&s);
}

/* Any text, also what nearly is a filter: an answer, and no harm. */
static void test_filter_any(void **state)
{
	static const char *const parts[] = {
		"write", "and",  "or",   "not", "(",     ")",       "==",      "<",
		"~",     "conn", "took", "5ms", "\"x\"", "\"",      "nbd.len", "0x",
		"!",     "&&",   "!=",   "len", "error", "NBD_EIO", "\xc3",    "1.5.5s",
	};
	struct sample s;
	struct nbds_buf line = {0};
	uint32_t seed = 1;
	unsigned valid = 0;

	(void)state;
	sample_open(&s);
	for (unsigned round = 0; round < 20000; round++) {
		char text[FILTER_TEXT] = "", why[128];
		struct filter f;
		unsigned where;

		for (unsigned n = 0; n < 1 + round % 40; n++) {
			seed = seed * 1664525u + 1013904223u;
			if (strlen(text) + 12 > sizeof(text))
				break;
			strcat(text, parts[(seed >> 10) % (sizeof(parts) / sizeof(parts[0]))]);
			if (seed >> 31)
				strcat(text, " ");
		}
		if (!filter_parse(&f, text, why, sizeof(why), &where)) {
			assert_true(where <= strlen(text));
			assert_true(*why);
			continue;
		}
		valid++;
		for (uint64_t n = 1; n <= 5; n++)
			filter_match(&f, log_view_get(&s.view, n), 0, &line);
	}
	assert_true(valid > 100);
	nbds_buf_free(&line);
	sample_close(&s);
}

/* Lists: columns with numbers and with text. */
static bool list_number(void *ctx, unsigned column, uint64_t *value)
{
	*value = 12;
	return *(unsigned *)ctx == 7 && column == 0;
}

static const char *list_text(void *ctx, unsigned column)
{
	(void)ctx;
	return column ? "\"disk one\"" : "12K";
}

static bool list_holds(void *ctx, const char *text)
{
	(void)ctx;
	return strstr("12K disk one", text);
}

static void test_filter_list(void **state)
{
	static const char *const names[] = {"size", "export"};
	static const struct {
		const char *text;
		bool matches;
	} cases[] = {
		{"size == 12", true},
		{"size > 0xc or size<12", false},
		{"export == \"disk one\"", true},
		{"export ~ one and not export ~ two", true},
		{"export == disk", false},
		{"export == \"\"", false},
		{"export != \"\"", true},
		{"size ~ K", true},
		{"disk one", true},
		{"disk two", false},
		{"(disk two) or 12K", true},
		{"", true},
	};
	unsigned seven = 7, where;
	struct filter_row row = {&seven, list_number, list_text, list_holds};
	struct filter f;
	char why[120];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(
			filter_parse_list(&f, cases[i].text, names, 2, why, sizeof(why), &where));
		if (filter_match_row(&f, &row) != cases[i].matches)
			fail_msg("%s", cases[i].text);
	}
	assert_false(filter_parse_list(&f, "length == 1", names, 2, why, sizeof(why), &where));
	assert_string_equal(why, "there is no column \"length\"");
	assert_false(filter_parse_list(&f, "size ==", names, 2, why, sizeof(why), &where));
}

/* --- bytes that are not flushed --- */

#define DIRTY_SPAN 200

/* Who wrote each byte last, and in which frame; -1: nobody, or it is flushed. */
struct plain_bytes {
	int owner[DIRTY_SPAN];
	uint64_t frame[DIRTY_SPAN];
};

/* Against a plain array: three connections of which two have multi-conn. */
static void test_dirty(void **state)
{
	struct nbds_budget budget = {0};
	struct dirty_store store = {.budget = &budget, .max = 1000, .random = 88172645463325252};
	struct dirty_owner owners[3];
	struct plain_bytes plain;
	struct dirty_map map;
	uint64_t sent[3] = {0};
	unsigned seed = 1;

	(void)state;
	dirty_map_init(&map);
	for (int i = 0; i < 3; i++)
		dirty_owner_init(&owners[i]);
	for (int i = 0; i < DIRTY_SPAN; i++)
		plain.owner[i] = -1;
	for (uint64_t frame = 1; frame < 20000; frame++) {
		unsigned who = (unsigned)rand_r(&seed) % 3, what = (unsigned)rand_r(&seed) % 10;
		uint64_t from = (uint64_t)rand_r(&seed) % DIRTY_SPAN;
		uint64_t length = (uint64_t)rand_r(&seed) % (DIRTY_SPAN - from);
		struct dirty_when when = {.frame = frame};
		uint64_t count[3] = {0};

		if (what < 7) {
			if (what)
				dirty_write(&store, &map, &owners[who], from, length, &when, who);
			else
				dirty_clean(&store, &map, from, length);
			for (uint64_t i = from; i < from + length; i++) {
				plain.owner[i] = what ? (int)who : -1;
				plain.frame[i] = frame;
			}
		} else if (!sent[who]) {
			sent[who] = frame;
			dirty_flush_sent(&map, frame);
		} else {
			when.frame = sent[who];
			dirty_flush(&store, &map, &owners[who], &when, who);
			for (int i = 0; i < DIRTY_SPAN; i++)
				if (plain.frame[i] < sent[who] &&
				    (plain.owner[i] == (int)who || (who && plain.owner[i] > 0)))
					plain.owner[i] = -1;
			sent[who] = 0;
		}
		for (int i = 0; i < DIRTY_SPAN; i++)
			if (plain.owner[i] >= 0)
				count[plain.owner[i]]++;
		for (int i = 0; i < 3; i++)
			assert_int_equal(owners[i].bytes, count[i]);
	}
	for (int i = 0; i < 3; i++)
		dirty_forget(&store, &map, &owners[i]);
	assert_int_equal(store.count, 0);
	assert_int_equal(budget.used, 0);
}

/* Past the most ranges, bytes are only counted, and that is told until a flush. */
static void test_dirty_many(void **state)
{
	struct nbds_budget budget = {0};
	struct dirty_store store = {.budget = &budget, .max = 10, .random = 1};
	struct dirty_when when = {.frame = 1};
	struct dirty_owner owner;
	struct dirty_map map;

	(void)state;
	dirty_map_init(&map);
	dirty_owner_init(&owner);
	/* What follows on each other is one range. */
	for (uint64_t i = 0; i < 100; i++, when.frame++)
		dirty_write(&store, &map, &owner, i * 10, 10, &when, true);
	assert_int_equal(store.count, 1);
	assert_false(owner.rough);
	/* The same again: as many bytes as before. */
	dirty_write(&store, &map, &owner, 0, 1000, &when, true);
	assert_int_equal(owner.bytes, 1000);
	for (uint64_t i = 0; i < 100; i++, when.frame++)
		dirty_write(&store, &map, &owner, 2000 + i * 20, 10, &when, true);
	assert_true(store.count <= 10);
	assert_true(owner.rough);
	assert_int_equal(owner.bytes + owner.over, 2000);
	dirty_flush(&store, &map, &owner, &when, true);
	assert_int_equal(owner.bytes + owner.over, 0);
	assert_false(owner.rough);
	/* Lengths that do not fit change nothing. */
	dirty_write(&store, &map, &owner, UINT64_MAX - 1, 10, &when, true);
	assert_int_equal(budget.used, 0);
}

/* --- payloads in the log --- */

static void test_log_payload(void **state)
{
	struct log *log = log_new(1024);
	struct nbds_connection c = {.id = 1};
	struct nbds_message m = {.name = "NBD_CMD_WRITE", .payload_len = 100};
	struct log_view view = {0};
	const struct log_entry *e;
	uint8_t bytes[100];
	uint64_t number;

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	number = log_message(log, &c, &m);
	m.payload_len = 3;
	log_message(log, &c, &m);
	log_payload(log, number, 0, bytes, 10);
	log_payload(log, number, 10, bytes + 10, 90);
	/* Behind a hole, of nobody, and twice: left out. */
	log_payload(log, number + 1, 1, bytes, 2);
	log_payload(log, number + 2, 0, bytes, 2);
	log_payload(log, number, 0, bytes + 50, 50);
	log_view_update(log, &view);
	e = log_view_get(&view, number);
	assert_int_equal(e->kept, LOG_PAYLOAD);
	assert_memory_equal(e->bytes, bytes, LOG_PAYLOAD);
	assert_int_equal(log_view_get(&view, number + 1)->kept, 0);
	/* Too many have come since. */
	for (unsigned i = 0; i < 6000; i++)
		log_message(log, &c, &m);
	log_payload(log, number + 1, 0, bytes, 3);
	log_view_close(log, &view);
	log_free(log);
}

/* --- histories --- */

/* Of a file nothing is lost however long it is; live the oldest samples go. */
static void test_history(void **state)
{
	struct history *h = malloc(sizeof(*h));
	uint64_t read = 0, unflushed = 0;
	unsigned replies = 0;

	(void)state;
	assert_non_null(h);
	history_init(h, false);
	for (int64_t i = 0; i < 100000; i++) {
		history_tick(h, 1000000000 + i * 1000003, (uint64_t)(i % 7), (uint64_t)i);
		history_reply(h, 512, 0, 1000);
	}
	history_settle(h);
	assert_true(h->count > HISTORY_SAMPLES / 4 && h->count <= HISTORY_SAMPLES);
	for (unsigned i = 0; i < h->count; i++) {
		read += h->samples[i].read;
		replies += h->samples[i].replies;
		assert_int_equal(h->samples[i].in_flight, 6);
		assert_true(h->samples[i].p99 > 700 && h->samples[i].p99 < 1500);
		assert_true(h->samples[i].unflushed >= unflushed);
		unflushed = h->samples[i].unflushed;
	}
	assert_int_equal(replies, 100000);
	assert_int_equal(read, 51200000);
	assert_int_equal(unflushed, 99999);
	/* Silence keeps what waits; time that goes back, or far ahead, does no harm. */
	history_init(h, true);
	history_tick(h, 5000000000, 3, 4096);
	history_reply(h, 0, 4096, 0);
	history_tick(h, 8500000000, 3, 4096);
	assert_int_equal(h->count, 4);
	assert_int_equal(h->samples[0].written, 4096);
	assert_int_equal(h->samples[2].unflushed, 4096);
	history_tick(h, -1, 0, 0);
	assert_int_equal(h->count, 4);
	history_tick(h, INT64_MAX, 1, 1);
	assert_int_equal(h->count, HISTORY_SAMPLES);
	history_touch(h, 1 << 20, 0, 1 << 20, true);
	history_touch(h, 1 << 20, 4096, 1, false);
	history_touch(h, 1 << 20, UINT64_MAX, 2, false);
	history_touch(h, 0, 0, 2, false);
	assert_int_equal(h->writes[HISTORY_PLACES - 1], 1);
	assert_int_equal(h->reads[0] + h->reads[1], 1);
	free(h);
}

/* --- the setup --- */

static void test_config(void **state)
{
	char path[] = "/tmp/nbdtop-conf-XXXXXX", err[300];
	int fd = mkstemp(path);
	struct nbds_buf b = {0};
	struct config *c = malloc(sizeof(*c)), *d = malloc(sizeof(*d));

	(void)state;
	assert_true(fd >= 0 && c && d);
	config_init(c);
	c->light = true;
	c->refresh = 2500000000;
	/* Longer than a line may be. */
	for (int i = 0; i < 60; i++)
		strcat(c->lists[1].columns, i ? " column_name" : "column_name");
	strcpy(c->lists[0].sort, "-unflushed");
	config_write(c, &b);
	assert_int_equal(write(fd, nbds_buf_text(&b), b.len), b.len);
	config_init(d);
	assert_true(config_read(d, path, err, sizeof(err)));
	assert_memory_equal(c, d, sizeof(*c));
	/* The first that is not understood is told, the rest is read. */
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, "[screen]\ntheme=blue\ntimes=day\n", 31, 0), 31);
	assert_false(config_read(d, path, err, sizeof(err)));
	assert_non_null(strstr(err, "line 2"));
	assert_true(d->absolute);
	close(fd);
	unlink(path);
	/* None at all is no error. */
	assert_true(config_read(d, path, err, sizeof(err)));
	assert_true(config_read(d, "", err, sizeof(err)));
	nbds_buf_free(&b);
	free(c);
	free(d);
}

/* --- the last packets --- */

/* Of packets of all lengths the newest are there, whole and in their order. */
static void test_ring(void **state)
{
	static uint8_t bytes[900];
	struct packet_ring ring;
	unsigned seed = 3;

	(void)state;
	ring_open(&ring, 4096);
	for (uint64_t frame = 1; frame < 3000; frame++) {
		uint32_t length = (uint32_t)rand_r(&seed) % sizeof(bytes);
		struct nbds_packet p = {.frame = frame,
					.time = (int64_t)frame * 10,
					.caplen = length,
					.len = length + 1,
					.data = bytes};
		uint64_t at = 0, seen = 0, expected = 0;
		size_t place = 0;

		memset(bytes, (int)(frame & 0xff), length);
		ring_add(&ring, &p);
		while (ring_next(&ring, &at, &place, &p)) {
			if (!seen)
				assert_int_equal(p.frame, ring.first_frame);
			else
				assert_int_equal(p.frame, expected);
			assert_int_equal(p.len, p.caplen + 1);
			for (uint32_t i = 0; i < p.caplen; i++)
				assert_int_equal(p.data[i], p.frame & 0xff);
			expected = p.frame + 1;
			seen++;
		}
		assert_int_equal(expected, frame + 1);
		/* At least half of it is in use. */
		assert_true(frame < 20 || seen >= 2);
	}
	ring_close(&ring);
	/* Without memory, and for one that is too large, it is empty. */
	ring_open(&ring, 0);
	ring_add(&ring, &(struct nbds_packet){.caplen = 10, .data = bytes});
	assert_int_equal(ring.count, 0);
	ring_close(&ring);
}

/* --- the flush order --- */

/* Connections 1 and 2; 1 flushes what both have written; one write is on its way. */
static void test_order(void **state)
{
	struct flush_order *o = malloc(sizeof(*o));
	const struct order_step *step;

	(void)state;
	assert_non_null(o);
	order_init(o);
	for (int i = 0; i < 3; i++) {
		order_write_sent(o, 1);
		order_write_done(o, 1, 4096, false, true);
	}
	order_write_sent(o, 2);
	order_write_done(o, 2, 512, false, true);
	order_write_sent(o, 2);
	order_flush_sent(o, 1, 50, 10, 1000);
	order_write_done(o, 2, 512, true, true); /* after it: with FUA */
	order_flush_done(o, 1, 50, 12, 2000, true);
	order_write_sent(o, 1);
	order_write_done(o, 1, 1, false, false); /* failed: does not count */

	step = order_step(o, 1);
	assert_int_equal(step->cut, ORDER_SENT);
	assert_int_equal(step->cells[0].writes, 3);
	assert_int_equal(step->cells[0].bytes, 3 * 4096);
	assert_int_equal(step->cells[1].writes, 1);
	assert_int_equal(step->in_flight[1], 1);
	step = order_step(o, 2);
	assert_int_equal(step->cut, ORDER_DONE);
	assert_int_equal(step->cells[1].fua, 1);
	assert_int_equal(step->cells[1].writes, 0);
	/* What is found has its place by its frame. */
	order_read_done(o, 2);
	order_found(o, 1, 9);
	order_found(o, 2, 11);
	order_found(o, 2, 99);
	assert_int_equal(order_step(o, 1)->cells[0].found, 1);
	assert_int_equal(order_step(o, 2)->cells[1].found, 1);
	assert_int_equal(order_step(o, 3)->cells[1].found, 1);
	assert_int_equal(order_step(o, 3)->cells[1].reads, 1);
	assert_int_equal(order_answer(o, 1), 2);
	assert_int_equal(order_answer(o, 2), 0);
	/* With the flag the flush holds for both, without it for its own lane. */
	assert_int_equal(order_covered(o, 0, true), 2);
	assert_int_equal(order_covered(o, 1, true), 2);
	assert_int_equal(order_covered(o, 0, false), 2);
	assert_int_equal(order_covered(o, 1, false), 1);
	assert_int_equal(order_covers_from(o, 1, 0, true), 1);
	assert_int_equal(order_covers_from(o, 1, 1, false), 2);
	assert_int_equal(o->lanes[0].in_flight, 0);
	assert_null(order_step(o, 0));
	assert_null(order_step(o, 4));
	free(o);
}

/* A failed flush covers nothing; neither does one that was never answered. */
static void test_order_failed(void **state)
{
	struct flush_order *o = malloc(sizeof(*o));

	(void)state;
	order_init(o);
	order_write_sent(o, 1);
	order_write_done(o, 1, 512, false, true);
	order_flush_sent(o, 1, 1, 5, 0);
	order_flush_done(o, 1, 1, 6, 0, false);
	order_flush_sent(o, 1, 2, 7, 0);
	assert_int_equal(order_covered(o, 0, true), 1);
	assert_int_equal(order_covers_from(o, 1, 0, true), 2);
	order_closed(o, 1, 9, 0);
	assert_int_equal(order_step(o, 4)->cut, ORDER_CLOSED);
	free(o);
}

/* Far more connections than lanes, far more flushes than steps. */
static void test_order_many(void **state)
{
	struct flush_order *o = malloc(sizeof(*o));
	uint32_t seed = 5;

	(void)state;
	order_init(o);
	for (unsigned i = 0; i < 100000; i++) {
		uint32_t id;

		seed = seed * 1664525u + 1013904223u;
		id = 1 + i / 2000 + (seed >> 20) % 40;
		switch ((seed >> 10) % 6) {
		case 0:
			order_write_sent(o, id);
			break;
		case 1:
		case 2:
			order_write_done(o, id, 512, seed & 1, seed & 2);
			break;
		case 3:
			order_flush_sent(o, id, i, i, i);
			break;
		case 4:
			order_flush_done(o, id, i - 1, i, i, true);
			break;
		case 5:
			if ((seed >> 12) % 16 == 0)
				order_closed(o, id, i, i);
			break;
		}
		assert_true(o->last - o->first < ORDER_STEPS);
		if (i % 1000)
			continue;
		for (unsigned lane = 0; lane < ORDER_LANES; lane++) {
			uint64_t c = order_covered(o, lane, seed & 1);

			assert_true(c >= o->first && c <= o->last);
		}
	}
	assert_int_equal(o->last - o->first, ORDER_STEPS - 1);
	free(o);
}

/* --- the log --- */

#define LOG_MESSAGES 200000u
#define LOG_HISTORY  5000u

static void *write_log(void *arg)
{
	struct log *log = arg;

	for (uint64_t i = 1; i <= LOG_MESSAGES; i++) {
		struct nbds_request r = request_of(NBD_CMD_WRITE, 0, i * 512, i, i);
		struct nbds_message m = request_message(&r, i);

		log_message(log, &connection, &m);
	}
	return NULL;
}

static void check_entry(const struct log_entry *e, uint64_t number)
{
	assert_non_null(e);
	assert_int_equal(e->number, number);
	assert_int_equal(e->frame, number);
	assert_int_equal(e->request.length, number);
	assert_int_equal(e->head_len, NBDS_REQUEST_LEN);
	assert_int_equal(e->head[31 - 4 - 20], NBD_CMD_WRITE);
}

/* One thread writes as fast as it can, the other looks; what it sees is whole, and
 * an old view stays readable. */
static void test_log(void **state)
{
	struct log_view now = {0}, old = {0};
	struct log *log = log_new(LOG_HISTORY);
	pthread_t writer;
	bool kept = false;

	(void)state;
	assert_non_null(log);
	log_view_update(log, &now);
	assert_null(log_view_get(&now, 1));
	assert_int_equal(pthread_create(&writer, NULL, write_log, log), 0);
	do {
		log_view_update(log, &now);
		if (now.last < now.first)
			continue;
		check_entry(log_view_get(&now, now.first), now.first);
		check_entry(log_view_get(&now, now.last), now.last);
		check_entry(log_view_get(&now, now.first + (now.last - now.first) / 2),
			    now.first + (now.last - now.first) / 2);
		assert_null(log_view_get(&now, now.last + 1));
		assert_null(log_view_get(&now, now.first - 1));
		if (!kept && now.last > 100) {
			log_view_update(log, &old);
			kept = true;
		}
	} while (now.last < LOG_MESSAGES);
	pthread_join(writer, NULL);
	assert_int_equal(log_total(log), LOG_MESSAGES);
	assert_int_equal(log_lost(log), 0);
	/* As many as promised, and not many more. */
	assert_true(now.last - now.first + 1 >= LOG_HISTORY);
	assert_true(now.last - now.first + 1 <= LOG_HISTORY + 3 * 1024);
	for (uint64_t n = old.first; n <= old.last; n++)
		check_entry(log_view_get(&old, n), n);
	log_view_close(log, &old);
	log_view_close(log, &now);
	log_free(log);
}

/* Heads of any length fill segments earlier; names that are made for the moment
 * are kept. */
static void test_log_heads(void **state)
{
	static uint8_t long_head[NBDS_HEAD_MAX];
	struct log_view view = {0};
	struct log *log = log_new(1);

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		char name[40];
		struct nbds_message m = {.type = NBDS_MSG_OPTION,
					 .name = name,
					 .head = long_head,
					 .head_len = i * 37 % (NBDS_HEAD_MAX + 1),
					 .first = {.frame = i}};
		const struct log_entry *e;

		snprintf(name, sizeof(name), "unknown option %u", i);
		memset(long_head, (int)i, sizeof(long_head));
		log_message(log, &connection, &m);
		memset(name, 'x', sizeof(name) - 1);
		log_view_update(log, &view);
		e = log_view_get(&view, i + 1);
		assert_non_null(e);
		assert_int_equal(e->head_len, m.head_len);
		if (e->head_len)
			assert_int_equal(e->head[e->head_len - 1], i & 0xff);
		snprintf(name, sizeof(name), "unknown option %u", i);
		assert_string_equal(e->name, name);
	}
	log_view_close(log, &view);
	log_free(log);
}

/* --- the worker --- */

static const char *sample_path(const char *name)
{
	static char path[4096];
	const char *samples = getenv("NBDSCOPE_SAMPLES");

	snprintf(path, sizeof(path), "%s/%s", samples ? samples : "samples", name);
	return path;
}

static struct snapshot *wait_for(struct worker *w, enum worker_state state)
{
	struct snapshot *s = NULL, *newest;

	for (int i = 0; i < 200; i++) {
		struct pollfd fd = {.fd = worker_fd(w), .events = POLLIN};

		poll(&fd, 1, 100);
		newest = worker_take(w);
		s = newest ? newest : s;
		if (s && s->state == state)
			return s;
	}
	fail_msg("the worker did not get to state %d", (int)state);
	return NULL;
}

static struct worker *start(struct worker_config *config, const char *name)
{
	char err[256] = "";
	struct worker *w;

	config->file = sample_path(name);
	w = worker_start(config, err, sizeof(err));
	if (!w)
		fail_msg("%s", err);
	worker_go(w);
	return w;
}

static void check_unsafe(const struct snapshot *s)
{
	assert_int_equal(s->export_count, 1);
	assert_int_equal(s->connection_count, 2);
	assert_int_equal(s->finding_count, 4);
	assert_int_equal(s->totals.findings[NBDS_VIOLATION], 4);
	assert_int_equal(s->exports[0].multi_conn, NBDS_MC_TRUE);
	assert_int_equal(s->exports[0].connections, 2);
	assert_int_equal(s->exports[0].writes, 4);
	assert_int_equal(s->exports[0].findings[NBDS_VIOLATION], 4);
	assert_int_equal(s->connections[1].findings[NBDS_VIOLATION], 4);
	assert_int_equal(s->connections[0].took[KIND_WRITE].count, 4);
	for (size_t i = 0; i < s->finding_count; i++) {
		assert_string_equal(s->findings[i]->finding->rule->name, "stale-read-after-flush");
		assert_int_equal(s->findings[i]->number, i + 1);
		assert_int_equal(s->findings[i]->export, s->exports[0].id);
	}
}

/* What was asked for comes in a snapshot. */
static struct snapshot *want(struct worker *w, const struct wanted *wanted)
{
	worker_want(w, wanted);
	for (int i = 0; i < 100; i++) {
		struct pollfd fd = {.fd = worker_fd(w), .events = POLLIN};
		struct snapshot *s;

		poll(&fd, 1, 100);
		s = worker_take(w);
		if (s && !memcmp(&s->wanted, wanted, sizeof(*wanted)))
			return s;
	}
	fail_msg("what was wanted did not come");
	return NULL;
}

static void test_worker_file(void **state)
{
	struct worker_config config = {.severity = NBDS_NOTE};
	struct worker *w = start(&config, "multi-conn-unsafe.pcap");
	struct snapshot *s = wait_for(w, STATE_DONE);
	struct wanted wanted;
	char err[64];

	(void)state;
	check_unsafe(s);
	assert_int_equal(s->info.capture.frames, 76);
	assert_true(s->finite);

	memset(&wanted, 0, sizeof(wanted));
	wanted.export = s->exports[0].id;
	wanted.connection = s->connections[0].id;
	wanted.latency = true;
	s = want(w, &wanted);
	/* Four flushes that cover one write each, and one for each connection. */
	assert_int_equal(s->flush_count, 6);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(s->flushes[i].connection, 1);
		assert_int_equal(s->flushes[i].flush.covered_own, 1);
		assert_int_equal(s->flushes[i].flush.covered_other, 0);
	}
	assert_int_equal(s->order.last - s->order.first + 1, 6 * 2 + 2 + 1);
	assert_non_null(strstr(nbds_buf_text(&s->detail), "NBD_FLAG_CAN_MULTI_CONN"));
	assert_int_equal(s->histograms[NBD_CMD_READ].count, 8);
	assert_int_equal(s->histograms[NBD_CMD_FLUSH].count, 6);
	/* of one export, which is the only one; and of one of its connections, some */
	wanted.scope = SCOPE_EXPORT;
	wanted.scope_id = s->exports[0].id;
	s = want(w, &wanted);
	assert_int_equal(s->histograms[NBD_CMD_READ].count, 8);
	assert_int_equal(s->histograms[NBD_CMD_FLUSH].count, 6);
	wanted.scope = SCOPE_CONNECTION;
	wanted.scope_id = s->connections[0].id;
	s = want(w, &wanted);
	assert_true(s->histograms[NBD_CMD_FLUSH].count < 6);
	assert_int_equal(worker_stop(w, err, sizeof(err)), 0);
}

/* The flush order's own count of what was written agrees with the engine's of
 * what each flush covered, on traffic of several connections. */
static void test_worker_order(void **state)
{
	struct worker_config config = {.severity = NBDS_NOTE};
	struct worker *w = start(&config, "fio.pcap.zst");
	struct snapshot *s = wait_for(w, STATE_DONE);
	struct wanted wanted;
	unsigned checked = 0;
	char err[64];

	(void)state;
	memset(&wanted, 0, sizeof(wanted));
	wanted.export = s->exports[0].id;
	s = want(w, &wanted);
	for (uint64_t step = s->order.first; step < s->order.last; step++) {
		const struct order_step *cut = order_step(&s->order, step);
		uint64_t own = 0, other = 0, answer = order_answer(&s->order, step);
		const struct nbds_flush_seen *f = NULL;

		if (cut->cut != ORDER_SENT || !answer)
			continue;
		for (unsigned i = 0; i < s->flush_count; i++)
			if (s->flushes[i].flush.request_frame == cut->frame)
				f = &s->flushes[i].flush;
		assert_non_null(f);
		assert_int_equal(f->reply_frame, order_step(&s->order, answer)->frame);
		/* Covered: not covered by a flush that was answered before. */
		for (unsigned lane = 0; lane < ORDER_LANES; lane++) {
			uint64_t from = s->order.first;

			for (uint64_t e = s->order.first; e < step; e++) {
				uint64_t a = order_answer(&s->order, e);

				if (order_step(&s->order, e)->cut == ORDER_SENT && a && a < answer)
					from = e + 1;
			}
			for (uint64_t e = from; e <= step; e++)
				*(lane == cut->lane ? &own : &other) +=
					order_step(&s->order, e)->cells[lane].writes;
		}
		assert_int_equal(own, f->covered_own);
		assert_int_equal(other, f->covered_other);
		checked++;
	}
	assert_int_equal(checked, 8);
	assert_int_equal(worker_stop(w, err, sizeof(err)), 0);
}

static int64_t clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* In its own time, and ten times as fast: half a second of traffic. */
static void test_worker_replay(void **state)
{
	struct worker_config config = {.severity = NBDS_NOTE, .replay = 1};
	struct worker *w;
	struct snapshot *s;
	int64_t begun = clock_now();
	char err[64];

	(void)state;
	w = start(&config, "zeroes-not-zeroed.pcap");
	s = wait_for(w, STATE_DONE);
	assert_in_range(clock_now() - begun, 450000000, 5000000000);
	assert_int_equal(s->totals.findings[NBDS_VIOLATION], 1);
	assert_int_equal(worker_stop(w, err, sizeof(err)), 0);

	config.replay = 100;
	w = start(&config, "multi-conn-unsafe.pcap");
	check_unsafe(wait_for(w, STATE_DONE));
	assert_int_equal(worker_stop(w, err, sizeof(err)), 0);
}

/* What is held stands still; what is cancelled ends with what there was. */
static void test_worker_hold(void **state)
{
	struct worker_config config = {.severity = NBDS_NOTE, .replay = 0.001};
	struct worker *w = start(&config, "zeroes-not-zeroed.pcap");
	struct timespec pause = {0, 300000000};
	struct snapshot *s = wait_for(w, STATE_REPLAY);
	uint64_t frames;
	char err[64];

	(void)state;
	worker_hold(w, true);
	nanosleep(&pause, NULL);
	s = wait_for(w, STATE_REPLAY);
	frames = s->info.capture.frames;
	nanosleep(&pause, NULL);
	worker_replay_speed(w, 1000);
	nanosleep(&pause, NULL);
	s = wait_for(w, STATE_REPLAY);
	assert_int_equal(s->info.capture.frames, frames);
	worker_cancel(w);
	s = wait_for(w, STATE_DONE);
	assert_true(s->cancelled);
	assert_true(s->info.capture.frames < 45);
	assert_int_equal(worker_stop(w, err, sizeof(err)), 0);
}

static void test_worker_errors(void **state)
{
	struct worker_config config = {.file = "/nonexistent/capture"};
	char err[256] = "";

	(void)state;
	assert_null(worker_start(&config, err, sizeof(err)));
	assert_true(err[0]);
	config.file = NULL;
	config.interface = "no-such-interface";
	err[0] = '\0';
	assert_null(worker_start(&config, err, sizeof(err)));
	assert_non_null(strstr(err, "no-such-interface"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),       cmocka_unit_test(test_histogram_edges),
		cmocka_unit_test(test_filter),        cmocka_unit_test(test_filter_errors),
		cmocka_unit_test(test_filter_fields), cmocka_unit_test(test_filter_any),
		cmocka_unit_test(test_filter_list),   cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_dirty_many),    cmocka_unit_test(test_ring),
		cmocka_unit_test(test_config),        cmocka_unit_test(test_history),
		cmocka_unit_test(test_log_payload),   cmocka_unit_test(test_order),
		cmocka_unit_test(test_order_failed),  cmocka_unit_test(test_order_many),
		cmocka_unit_test(test_log),           cmocka_unit_test(test_log_heads),
		cmocka_unit_test(test_worker_file),   cmocka_unit_test(test_worker_order),
		cmocka_unit_test(test_worker_replay), cmocka_unit_test(test_worker_hold),
		cmocka_unit_test(test_worker_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
