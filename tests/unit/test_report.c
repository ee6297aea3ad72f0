/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Numbers, times and JSON as reports write them; wrapping; and findings with
 * hostile strings in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "analyzer/consistency/consistency.h"
#include "analyzer/report/internal.h"
#include "analyzer/report/report.h"

/* The text that `function(&b, value)` adds. */
#define assert_adds(function, value, expected)                       \
	do {                                                         \
		struct nbds_buf b_ = {0};                            \
		function(&b_, value);                                \
		assert_string_equal(nbds_buf_text(&b_), (expected)); \
		nbds_buf_free(&b_);                                  \
	} while (0)

static void test_sizes(void **state)
{
	(void)state;
	assert_adds(nbds_buf_size, 0, "0 bytes");
	assert_adds(nbds_buf_size, 1, "1 byte");
	assert_adds(nbds_buf_size, 1023, "1023 bytes");
	assert_adds(nbds_buf_size, 1024, "1 KiB");
	assert_adds(nbds_buf_size, 1536, "1.5 KiB");
	assert_adds(nbds_buf_size, 10240, "10 KiB");
	assert_adds(nbds_buf_size, 123456, "121 KiB");
	assert_adds(nbds_buf_size, 1048575, "1 MiB");
	assert_adds(nbds_buf_size, 1048576, "1 MiB");
	assert_adds(nbds_buf_size, (uint64_t)5 << 40, "5 TiB");
	assert_adds(nbds_buf_size, UINT64_MAX, "16 EiB");
	assert_adds(nbds_buf_size_exact, 512, "512 bytes");
	assert_adds(nbds_buf_size_exact, 1048577, "1 MiB (1048577 bytes)");
}

static void test_durations(void **state)
{
	(void)state;
	assert_adds(nbds_buf_duration, 0, "0 ns");
	assert_adds(nbds_buf_duration, 999, "999 ns");
	assert_adds(nbds_buf_duration, 1000, "1 us");
	assert_adds(nbds_buf_duration, 12345, "12.3 us");
	assert_adds(nbds_buf_duration, 999499, "999 us");
	assert_adds(nbds_buf_duration, 999999, "1 ms");
	assert_adds(nbds_buf_duration, 1234567, "1.23 ms");
	assert_adds(nbds_buf_duration, 2500000000, "2.5 s");
	assert_adds(nbds_buf_duration, 100 * UINT64_C(1000000000), "100 s");
}

static void test_times(void **state)
{
	(void)state;
	assert_adds(nbds_buf_time, INT64_C(1700000000123456789), "1700000000.123456789");
	assert_adds(nbds_buf_time, 0, "0.000000000");
	assert_adds(nbds_buf_time, -1, "-0.000000001");
	assert_adds(nbds_buf_time, INT64_MIN, "-9223372036.854775808");
	assert_adds(nbds_json_time, 5, "\"0.000000005\"");
	assert_adds(nbds_json_us, 0, "0");
	assert_adds(nbds_json_us, 1, "0.001");
	assert_adds(nbds_json_us, 1500, "1.5");
	assert_adds(nbds_json_us, 10000, "10");
	assert_adds(nbds_json_us, UINT64_MAX, "18446744073709551.615");
}

static void test_counts(void **state)
{
	struct nbds_buf b = {0};

	(void)state;
	nbds_buf_count(&b, 1, "write", NULL);
	nbds_buf_puts(&b, ", ");
	nbds_buf_count(&b, 0, "write", NULL);
	nbds_buf_puts(&b, ", ");
	nbds_buf_count(&b, 2, "reply", "replies");
	assert_string_equal(nbds_buf_text(&b), "1 write, 0 writes, 2 replies");
	nbds_buf_clear(&b);
	nbds_buf_flags(&b, &nbds_transmission_flags, 0);
	nbds_buf_puts(&b, "; ");
	nbds_buf_flags(&b, &nbds_transmission_flags, NBD_FLAG_CAN_MULTI_CONN | 1 << 13);
	assert_string_equal(nbds_buf_text(&b), "none; NBD_FLAG_CAN_MULTI_CONN, bit 13");
	nbds_buf_free(&b);
}

/* Long texts, so that the buffer grows in the middle of them. */
static void test_growth(void **state)
{
	struct nbds_buf b = {0};
	char word[1001];

	(void)state;
	memset(word, 'x', 1000);
	word[1000] = '\0';
	for (int i = 0; i < 100; i++)
		nbds_buf_printf(&b, "%s%d", word, i % 10);
	assert_int_equal(b.len, 100 * 1001);
	assert_int_equal(strlen(b.s), b.len);
	for (int i = 0; i < 100; i++)
		assert_int_equal(b.s[i * 1001 + 1000], '0' + i % 10);
	assert_false(b.failed);
	nbds_buf_free(&b);
}

static void test_json(void **state)
{
	struct nbds_buf b = {0};

	(void)state;
	nbds_json_open(&b, '{');
	nbds_json_member_string(&b, "a", "{");
	nbds_json_member_u64(&b, "b", UINT64_MAX);
	nbds_json_key(&b, "c");
	nbds_json_open(&b, '[');
	nbds_json_close(&b, ']');
	nbds_json_key(&b, "d:");
	nbds_json_open(&b, '[');
	nbds_json_bool(&b, true);
	nbds_json_bytes(&b, "\"\\\n\xff\0z", 6);
	nbds_json_open(&b, '{');
	nbds_json_close(&b, '}');
	nbds_json_open(&b, '{');
	nbds_json_close(&b, '}');
	nbds_json_close(&b, ']');
	nbds_json_key(&b, "e");
	nbds_json_flags(&b, &nbds_transmission_flags, NBD_FLAG_READ_ONLY | 1 << 14);
	nbds_json_close(&b, '}');
	assert_string_equal(nbds_buf_text(&b),
			    "{\"a\":\"{\",\"b\":18446744073709551615,\"c\":[],\"d:\":[true,"
			    "\"\\\"\\\\\\n\xef\xbf\xbd\\u0000z\",{},{}],"
			    "\"e\":[\"NBD_FLAG_READ_ONLY\",\"bit 14\"]}");
	nbds_buf_free(&b);
}

/* --- what goes to a stream --- */

struct page {
	char *text;
	size_t len;
	FILE *out;
	struct nbds_report *report;
	struct nbds_pipeline *pipeline;
};

/* A report over an empty capture. */
static void page_open(struct page *p, enum nbds_report_format format, unsigned width)
{
	static const uint8_t header[24] = {0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0,
					   0,    0,    0,    0,    0, 0, 4, 0, 1, 0, 0, 0};
	struct nbds_report_options options = {.format = format, .width = width, .live = true};
	struct nbds_pipeline_config config = {0};
	char path[] = "/tmp/test_report.XXXXXX", err[256];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, header, sizeof(header)), sizeof(header));
	close(fd);
	p->text = NULL;
	p->out = open_memstream(&p->text, &p->len);
	assert_non_null(p->out);
	p->report = nbds_report_new(p->out, &options);
	assert_non_null(p->report);
	nbds_report_callbacks(p->report, &config.ops);
	config.ctx = p->report;
	p->pipeline = nbds_pipeline_open(path, &config, err, sizeof(err));
	unlink(path);
	assert_non_null(p->pipeline);
	nbds_report_begin(p->report, "empty", p->pipeline);
}

/* What was written since the last time. */
static const char *page_text(struct page *p)
{
	fflush(p->out);
	return p->text;
}

static void page_close(struct page *p)
{
	nbds_pipeline_close(p->pipeline, NULL, 0);
	nbds_report_free(p->report);
	fclose(p->out);
	free(p->text);
}

static void test_wrap(void **state)
{
	struct page p;

	(void)state;
	page_open(&p, NBDS_REPORT_TEXT, 20);
	nbds_wrap(&p.report->paper, 0, 4, "one two three four five six");
	nbds_wrap(&p.report->paper, 16, 4, "one two");
	nbds_wrap(&p.report->paper, 0, 2, "a-word-that-is-wider-than-the-page and more");
	nbds_wrap(&p.report->paper, 0, 2,
		  "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc 789012345678 x");
	nbds_wrap(&p.report->paper, 0, 2, "esc\x1b[31m bell\x07 del\x7f c1\xc2\x9b.");
	nbds_wrap(&p.report->paper, 0, 2, "");
	assert_string_equal(page_text(&p),
			    "one two three four\n"
			    "    five six\n"
			    "one\n"
			    "    two\n"
			    "a-word-that-is-wider-than-the-page\n"
			    "  and more\n"
			    "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\xa4\xc3\xb6\xc3\xbc 789012345678\n"
			    "  x\n"
			    "esc?[31m bell? del?\n"
			    "  c1?.\n"
			    "\n");
	page_close(&p);
}

static void make_finding(struct nbds_finding *f)
{
	static const char *const assumptions[] = {"nobody else writes", "one clock", NULL};

	memset(f, 0, sizeof(*f));
	f->rule = nbds_rule_find("stale-read-after-flush");
	assert_non_null(f->rule);
	f->severity = NBDS_VIOLATION;
	f->message = "the read returned old data";
	f->connection = 7;
	f->export_name = "a\"b\x1b[2J\xff";
	f->export_name_len = 8;
	f->command = "NBD_CMD_READ";
	f->has_range = true;
	f->offset = 4096;
	f->length = 512;
	f->frames[NBDS_ROLE_WRITE_REQUEST] = 20;
	f->frames[NBDS_ROLE_WRITE] = 21;
	f->frames[NBDS_ROLE_FLUSH] = 21;
	f->frames[NBDS_ROLE_READ] = 5;
	f->time = INT64_C(1700000000000000001);
	f->assumptions = assumptions;
	f->count = 3;
	f->witnesses[0] = (struct nbds_witness){
		.role = NBDS_ROLE_WRITE,
		.connection = 7,
		.type = NBD_CMD_WRITE,
		.flags = NBD_CMD_FLAG_FUA,
		.offset = 4096,
		.length = 512,
		.request_frame = 20,
		.reply_frame = 21,
		.request_time = 1000,
		.reply_time = 2000000000,
	};
	f->witness_count = 1;
}

static void test_finding_text(void **state)
{
	struct nbds_finding f;
	struct page p;
	const char *text;

	(void)state;
	make_finding(&f);
	page_open(&p, NBDS_REPORT_TEXT, 100);
	nbds_text_finding(p.report, &f);
	text = page_text(&p);
	assert_ptr_equal(strstr(text, "violation: stale-read-after-flush [V2]: the read returned "
				      "old data\n"),
			 text);
	assert_non_null(strstr(text, "connection 7, export \"a\"b\\x1b[2J\\xff\", NBD_CMD_READ, "
				     "512 bytes at 0x1000\n"));
	assert_non_null(strstr(text, "20  write            0.000001 s  connection 7  "
				     "NBD_CMD_WRITE, 512 bytes at 0x1000, FUA\n"));
	assert_non_null(strstr(text, "21  write reply      2.000000 s  connection 7  answer to "
				     "NBD_CMD_WRITE\n"));
	assert_non_null(strstr(text, "frame.number in {5, 20, 21}\n"));
	assert_non_null(strstr(text, "nobody else writes\n"));
	assert_non_null(strstr(text, "one clock\n"));
	assert_non_null(strstr(text, "3 in all"));
	assert_null(strchr(text, '\x1b'));
	page_close(&p);
}

static void test_finding_json(void **state)
{
	struct nbds_finding f;
	struct page p;

	(void)state;
	make_finding(&f);
	page_open(&p, NBDS_REPORT_JSON, 0);
	nbds_json_finding(p.report, &f);
	assert_string_equal(
		strchr(page_text(&p), '\n') + 1, /* behind `capture` */
		"{\"type\":\"finding\",\"rule\":\"stale-read-after-flush\",\"ref\":\"V2\","
		"\"severity\":\"violation\",\"side\":\"server\",\"message\":\"the read returned old "
		"data\",\"basis\":\"explicit\",\"connection\":7,\"export\":\"a\\\"b\\u001b[2J"
		"\xef\xbf\xbd\",\"command\":\"NBD_CMD_READ\",\"offset\":4096,\"length\":512,"
		"\"frames\":{\"write_request\":20,\"write\":21,\"flush\":21,\"read\":5},"
		"\"time\":\"1700000000.000000001\",\"assumptions\":[\"nobody else writes\",\"one "
		"clock\"],\"count\":3,\"witnesses\":[{\"role\":\"write\",\"connection\":7,"
		"\"command\":\"NBD_CMD_WRITE\",\"command_flags\":[\"NBD_CMD_FLAG_FUA\"],"
		"\"offset\":4096,\"length\":512,\"request_frame\":20,\"request_time\":"
		"\"0.000001000\",\"reply_frame\":21,\"reply_time\":\"2.000000000\"}]}\n");
	page_close(&p);
}

/* A report without a single frame, and one of a file that cannot be opened. */
static void test_empty(void **state)
{
	struct page p;

	(void)state;
	page_open(&p, NBDS_REPORT_JSON, 0);
	while (nbds_pipeline_step(p.pipeline, 1) == NBDS_STEP_MORE)
		;
	assert_int_equal(nbds_pipeline_step(p.pipeline, 1), NBDS_STEP_END);
	nbds_report_end(p.report, "");
	nbds_report_unreadable(p.report, "x\n", "no such file");
	assert_non_null(strstr(page_text(&p), "\"frames\":0,"));
	assert_non_null(strstr(page_text(&p), "\"complete\":true"));
	assert_non_null(strstr(page_text(&p), "\"version\":\"\",\"file\":\"x\\n\","));
	assert_non_null(strstr(page_text(&p), "\"complete\":false,\"error\":\"no such file\"}\n"));
	assert_false(nbds_report_reached(p.report, NBDS_NOTE));
	assert_true(nbds_report_unaudited(p.report));
	page_close(&p);
}

/* At the bound a violation makes room, and a note finds none. */
static void test_keep(void **state)
{
	const struct nbds_finding *got;
	struct nbds_keep keep = {0};
	struct nbds_finding f;
	uint64_t one;

	(void)state;
	make_finding(&f);
	f.count = 1;
	f.severity = NBDS_NOTE;
	assert_true(nbds_keep_add(&keep, &f));
	one = keep.budget.used;
	nbds_keep_clear(&keep);
	assert_int_equal(keep.budget.used, 0);

	keep.budget.limit = one * 4;
	for (int i = 0; i < 1000; i++) {
		f.severity = NBDS_NOTE;
		f.time = 1000 - i;
		assert_true(nbds_keep_add(&keep, &f));
	}
	assert_true(keep.budget.used <= one * 4);
	assert_true(keep.by[NBDS_NOTE].count >= 2);
	assert_int_equal(keep.by[NBDS_NOTE].count + keep.left_out[NBDS_NOTE], 1000);
	f.severity = NBDS_VIOLATION;
	for (int i = 0; i < 1000; i++)
		assert_true(nbds_keep_add(&keep, &f));
	assert_int_equal(keep.by[NBDS_NOTE].count, 0);
	assert_int_equal(keep.left_out[NBDS_NOTE], 1000);
	assert_int_equal(keep.by[NBDS_VIOLATION].count + keep.left_out[NBDS_VIOLATION], 1000);
	f.severity = NBDS_SUSPECT;
	assert_true(nbds_keep_add(&keep, &f));
	assert_int_equal(keep.left_out[NBDS_SUSPECT], 1);
	nbds_keep_clear(&keep);
	assert_int_equal(keep.budget.limit, one * 4);

	/* The worst first; or as time went. */
	keep.budget.limit = 0;
	for (int i = 0; i < 8; i++) {
		f.severity = (enum nbds_severity)(i % 4);
		f.time = 100 - i;
		f.offset = (uint64_t)i;
		assert_true(nbds_keep_add(&keep, &f));
	}
	nbds_keep_sort(&keep);
	for (int i = 0; i < 8; i++) {
		static const uint64_t order[] = {7, 3, 6, 2, 5, 1, 4, 0};

		got = nbds_keep_next_worst(&keep);
		assert_non_null(got);
		assert_int_equal(got->offset, order[i]);
	}
	assert_null(nbds_keep_next_worst(&keep));
	nbds_keep_sort(&keep);
	for (int i = 0; i < 8; i++)
		assert_int_equal(nbds_keep_next_in_time(&keep)->offset, 7 - i);
	assert_null(nbds_keep_next_in_time(&keep));
	nbds_keep_clear(&keep);
}

/* The words of every reason that the checker can give. */
static void test_reasons(void **state)
{
	(void)state;
	for (int i = 0; i < NBDS_UNCHECKED_MAX; i++)
		assert_ptr_not_equal(nbds_unchecked_words(nbds_unchecked_names[i]),
				     nbds_unchecked_names[i]);
	assert_string_equal(nbds_unchecked_words("anything else"), "anything else");
}

/* --- lines that wait --- */

static void print_to(void *ctx, const char *line, size_t len)
{
	nbds_buf_add(ctx, line, len);
}

static void test_waiting(void **state)
{
	static char big[100000];
	struct nbds_buf out = {0};
	struct nbds_waiting w = {.print = print_to, .ctx = &out};
	struct nbds_waiting_line *a, *b;

	(void)state;
	assert_null(nbds_waiting_add(&w, "1", 1, NULL, 0));
	assert_string_equal(nbds_buf_text(&out), "1");
	a = nbds_waiting_add(&w, "2", 1, "broken", 6);
	assert_null(nbds_waiting_add(&w, "3", 1, NULL, 0));
	b = nbds_waiting_add(&w, "4", 1, "broken", 6);
	assert_non_null(a);
	assert_non_null(b);
	assert_null(nbds_waiting_add(&w, "5", 1, NULL, 0));
	assert_string_equal(nbds_buf_text(&out), "1");
	nbds_waiting_end(&w, b, false);
	assert_string_equal(nbds_buf_text(&out), "1");
	nbds_waiting_end(&w, a, true);
	assert_string_equal(nbds_buf_text(&out), "1broken345");
	assert_int_equal(w.bytes, 0);

	/* What waits is bounded; one that had to go is told of its end all the same. */
	nbds_buf_clear(&out);
	a = nbds_waiting_add(&w, "6", 1, "broken", 6);
	memset(big, 'x', sizeof(big));
	for (int i = 0; i < 100; i++)
		assert_null(nbds_waiting_add(&w, big, sizeof(big), NULL, 0));
	assert_true(w.bytes < 5000000);
	assert_int_equal(nbds_buf_text(&out)[0], '6');
	nbds_waiting_end(&w, a, true);
	a = nbds_waiting_add(&w, "7", 1, "broken", 6);
	nbds_waiting_finish(&w);
	assert_int_equal(out.len, 2 + 100 * sizeof(big));
	assert_int_equal(out.s[out.len - 1], '7');
	nbds_waiting_end(&w, a, false);
	nbds_buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),        cmocka_unit_test(test_durations),
		cmocka_unit_test(test_times),        cmocka_unit_test(test_counts),
		cmocka_unit_test(test_growth),       cmocka_unit_test(test_json),
		cmocka_unit_test(test_wrap),         cmocka_unit_test(test_finding_text),
		cmocka_unit_test(test_finding_json), cmocka_unit_test(test_empty),
		cmocka_unit_test(test_reasons),      cmocka_unit_test(test_keep),
		cmocka_unit_test(test_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
