/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_protocol.c - the protocol's lists against the published numbers.
 *
 * The numbers below are typed again from the specification and share nothing
 * with the header under test.  Flags are given by bit number as they are there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nbdscope/protocol.h>

struct published {
	const char *name;
	uint64_t number;
};

static const struct published magics64[] = {
	{"NBD_INIT_MAGIC", 0x4e42444d41474943ull},
	{"NBD_OPTS_MAGIC", 0x49484156454f5054ull},
	{"NBD_CLISERV_MAGIC", 0x420281861253ull},
	{"NBD_REP_MAGIC", 0x3e889045565a9ull},
	{"NBD_TRACELOG_FROM_MAGIC", 0x4a93ba39a54f31b6ull},
};
static const struct published magics32[] = {
	{"NBD_REQUEST_MAGIC", 0x25609513},          {"NBD_SIMPLE_REPLY_MAGIC", 0x67446698},
	{"NBD_STRUCTURED_REPLY_MAGIC", 0x668e33ef}, {"NBD_EXTENDED_REQUEST_MAGIC", 0x21e41c71},
	{"NBD_EXTENDED_REPLY_MAGIC", 0x6e8a278c},   {"NBD_REQUEST_MAGIC_HISTORIC", 0x12560953},
	{"NBD_REPLY_MAGIC_HISTORIC", 0x96744668},   {"NBD_TRACELOG_MAGIC", 0x25609514},
	{"NBD_SIMPLE_REPLY_EXT_MAGIC", 0x60d12fd6},
};
static const struct published handshake_flags[] = {
	{"NBD_FLAG_FIXED_NEWSTYLE", 0},
	{"NBD_FLAG_NO_ZEROES", 1},
};
static const struct published client_flags[] = {
	{"NBD_FLAG_C_FIXED_NEWSTYLE", 0},
	{"NBD_FLAG_C_NO_ZEROES", 1},
};
static const struct published transmission_flags[] = {
	{"NBD_FLAG_HAS_FLAGS", 0},
	{"NBD_FLAG_READ_ONLY", 1},
	{"NBD_FLAG_SEND_FLUSH", 2},
	{"NBD_FLAG_SEND_FUA", 3},
	{"NBD_FLAG_ROTATIONAL", 4},
	{"NBD_FLAG_SEND_TRIM", 5},
	{"NBD_FLAG_SEND_WRITE_ZEROES", 6},
	{"NBD_FLAG_SEND_DF", 7},
	{"NBD_FLAG_CAN_MULTI_CONN", 8},
	{"NBD_FLAG_SEND_RESIZE", 9},
	{"NBD_FLAG_SEND_CACHE", 10},
	{"NBD_FLAG_SEND_FAST_ZERO", 11},
	{"NBD_FLAG_BLOCK_STATUS_PAYLOAD", 12},
};
static const struct published options[] = {
	{"NBD_OPT_EXPORT_NAME", 1},
	{"NBD_OPT_ABORT", 2},
	{"NBD_OPT_LIST", 3},
	{"NBD_OPT_PEEK_EXPORT", 4},
	{"NBD_OPT_STARTTLS", 5},
	{"NBD_OPT_INFO", 6},
	{"NBD_OPT_GO", 7},
	{"NBD_OPT_STRUCTURED_REPLY", 8},
	{"NBD_OPT_LIST_META_CONTEXT", 9},
	{"NBD_OPT_SET_META_CONTEXT", 10},
	{"NBD_OPT_EXTENDED_HEADERS", 11},
};
static const struct published reply_types[] = {
	{"NBD_REP_ACK", 1},
	{"NBD_REP_SERVER", 2},
	{"NBD_REP_INFO", 3},
	{"NBD_REP_META_CONTEXT", 4},
	{"NBD_REP_ERR_UNSUP", (1ull << 31) + 1},
	{"NBD_REP_ERR_POLICY", (1ull << 31) + 2},
	{"NBD_REP_ERR_INVALID", (1ull << 31) + 3},
	{"NBD_REP_ERR_PLATFORM", (1ull << 31) + 4},
	{"NBD_REP_ERR_TLS_REQD", (1ull << 31) + 5},
	{"NBD_REP_ERR_UNKNOWN", (1ull << 31) + 6},
	{"NBD_REP_ERR_SHUTDOWN", (1ull << 31) + 7},
	{"NBD_REP_ERR_BLOCK_SIZE_REQD", (1ull << 31) + 8},
	{"NBD_REP_ERR_TOO_BIG", (1ull << 31) + 9},
	{"NBD_REP_ERR_EXT_HEADER_REQD", (1ull << 31) + 10},
};
static const struct published info_types[] = {
	{"NBD_INFO_EXPORT", 0},
	{"NBD_INFO_NAME", 1},
	{"NBD_INFO_DESCRIPTION", 2},
	{"NBD_INFO_BLOCK_SIZE", 3},
};
static const struct published commands[] = {
	{"NBD_CMD_READ", 0},         {"NBD_CMD_WRITE", 1},        {"NBD_CMD_DISC", 2},
	{"NBD_CMD_FLUSH", 3},        {"NBD_CMD_TRIM", 4},         {"NBD_CMD_CACHE", 5},
	{"NBD_CMD_WRITE_ZEROES", 6}, {"NBD_CMD_BLOCK_STATUS", 7}, {"NBD_CMD_RESIZE", 8},
};
static const struct published command_flags[] = {
	{"NBD_CMD_FLAG_FUA", 0},     {"NBD_CMD_FLAG_NO_HOLE", 1},   {"NBD_CMD_FLAG_DF", 2},
	{"NBD_CMD_FLAG_REQ_ONE", 3}, {"NBD_CMD_FLAG_FAST_ZERO", 4}, {"NBD_CMD_FLAG_PAYLOAD_LEN", 5},
};
static const struct published reply_flags[] = {
	{"NBD_REPLY_FLAG_DONE", 0},
};
static const struct published chunk_types[] = {
	{"NBD_REPLY_TYPE_NONE", 0},
	{"NBD_REPLY_TYPE_OFFSET_DATA", 1},
	{"NBD_REPLY_TYPE_OFFSET_HOLE", 2},
	{"NBD_REPLY_TYPE_BLOCK_STATUS", 5},
	{"NBD_REPLY_TYPE_BLOCK_STATUS_EXT", 6},
	{"NBD_REPLY_TYPE_ERROR", (1 << 15) + 1},
	{"NBD_REPLY_TYPE_ERROR_OFFSET", (1 << 15) + 2},
};
static const struct published errors[] = {
	{"NBD_SUCCESS", 0},    {"NBD_EPERM", 1},    {"NBD_EIO", 5},
	{"NBD_ENOMEM", 12},    {"NBD_EINVAL", 22},  {"NBD_ENOSPC", 28},
	{"NBD_EOVERFLOW", 75}, {"NBD_ENOTSUP", 95}, {"NBD_ESHUTDOWN", 108},
};
static const struct published status_flags[] = {
	{"NBD_STATE_HOLE", 0},
	{"NBD_STATE_ZERO", 1},
};
static const struct published dirty_flags[] = {
	{"NBD_STATE_DIRTY", 0},
};
static const struct published peek_flags[] = {
	{"NBD_F_EXP_RO", 0},
	{"NBD_F_EXP_COW", 1},
	{"NBD_F_EXP_TLS_OK", 2},
	{"NBD_F_EXP_TLS_REQ", 3},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define AGAINST(table, list, bits)                     \
	{                                              \
#list, &table, list, COUNT(list), bits \
	}

static const struct against {
	const char *what;
	const struct nbds_name_table *table;
	const struct published *list;
	size_t count;
	int bits;
} all[] = {
	AGAINST(nbds_magics64, magics64, 0),
	AGAINST(nbds_magics32, magics32, 0),
	AGAINST(nbds_handshake_flags, handshake_flags, 1),
	AGAINST(nbds_client_flags, client_flags, 1),
	AGAINST(nbds_transmission_flags, transmission_flags, 1),
	AGAINST(nbds_options, options, 0),
	AGAINST(nbds_reply_types, reply_types, 0),
	AGAINST(nbds_info_types, info_types, 0),
	AGAINST(nbds_commands, commands, 0),
	AGAINST(nbds_command_flags, command_flags, 1),
	AGAINST(nbds_reply_flags, reply_flags, 1),
	AGAINST(nbds_chunk_types, chunk_types, 0),
	AGAINST(nbds_errors, errors, 0),
	AGAINST(nbds_status_flags, status_flags, 1),
	AGAINST(nbds_dirty_flags, dirty_flags, 1),
	AGAINST(nbds_peek_flags, peek_flags, 1),
};

static void published_numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all); i++) {
		const struct nbds_name_table *t = all[i].table;

		/* Nothing is missing, and nothing is there that was not published. */
		if (t->count != all[i].count)
			fail_msg("%s: %zu rows, %zu published", all[i].what, t->count,
				 all[i].count);
		for (size_t k = 0; k < all[i].count; k++) {
			const struct published *p = &all[i].list[k];
			uint64_t value = all[i].bits ? 1ull << p->number : p->number;
			const char *name = nbds_name_of(t, value);

			if (!name || strcmp(name, p->name))
				fail_msg("%s: %#llx is %s, published %s", all[i].what,
					 (unsigned long long)value, name ? name : "unknown",
					 p->name);
		}
	}
}

/* The constants that code uses, not only the tables made beside them. */
static void constants(void **state)
{
	(void)state;
	assert_int_equal(NBD_FLAG_HAS_FLAGS, 0x0001);
	assert_int_equal(NBD_FLAG_READ_ONLY, 0x0002);
	assert_int_equal(NBD_FLAG_SEND_FLUSH, 0x0004);
	assert_int_equal(NBD_FLAG_SEND_FUA, 0x0008);
	assert_int_equal(NBD_FLAG_ROTATIONAL, 0x0010);
	assert_int_equal(NBD_FLAG_SEND_TRIM, 0x0020);
	assert_int_equal(NBD_FLAG_SEND_WRITE_ZEROES, 0x0040);
	assert_int_equal(NBD_FLAG_SEND_DF, 0x0080);
	assert_int_equal(NBD_FLAG_CAN_MULTI_CONN, 0x0100); /* bit 8 */
	assert_int_equal(NBD_FLAG_SEND_RESIZE, 0x0200);
	assert_int_equal(NBD_FLAG_SEND_CACHE, 0x0400); /* bit 10 */
	assert_int_equal(NBD_FLAG_SEND_FAST_ZERO, 0x0800);
	assert_int_equal(NBD_FLAG_BLOCK_STATUS_PAYLOAD, 0x1000);
	assert_int_equal(NBD_FLAG_FIXED_NEWSTYLE, 1);
	assert_int_equal(NBD_FLAG_NO_ZEROES, 2);
	assert_int_equal(NBD_FLAG_C_FIXED_NEWSTYLE, 1);
	assert_int_equal(NBD_FLAG_C_NO_ZEROES, 2);
	assert_int_equal(NBD_CMD_FLAG_FUA, 0x01);
	assert_int_equal(NBD_CMD_FLAG_NO_HOLE, 0x02);
	assert_int_equal(NBD_CMD_FLAG_DF, 0x04);
	assert_int_equal(NBD_CMD_FLAG_REQ_ONE, 0x08);
	assert_int_equal(NBD_CMD_FLAG_FAST_ZERO, 0x10);
	assert_int_equal(NBD_CMD_FLAG_PAYLOAD_LEN, 0x20);
	assert_int_equal(NBD_REPLY_FLAG_DONE, 1);
	assert_int_equal(NBD_STATE_HOLE, 1);
	assert_int_equal(NBD_STATE_ZERO, 2);
	assert_int_equal(NBD_STATE_DIRTY, 1);
	assert_int_equal(NBD_CMD_READ, 0);
	assert_int_equal(NBD_CMD_WRITE, 1);
	assert_int_equal(NBD_CMD_DISC, 2);
	assert_int_equal(NBD_CMD_FLUSH, 3);
	assert_int_equal(NBD_CMD_TRIM, 4);
	assert_int_equal(NBD_CMD_CACHE, 5);
	assert_int_equal(NBD_CMD_WRITE_ZEROES, 6);
	assert_int_equal(NBD_CMD_BLOCK_STATUS, 7);
	assert_int_equal(NBD_CMD_RESIZE, 8);
	assert_int_equal(NBD_REPLY_TYPE_OFFSET_DATA, 1);
	assert_int_equal(NBD_REPLY_TYPE_OFFSET_HOLE, 2);
	assert_int_equal(NBD_REPLY_TYPE_BLOCK_STATUS, 5);
	assert_int_equal(NBD_REPLY_TYPE_BLOCK_STATUS_EXT, 6);
	assert_int_equal(NBD_REPLY_TYPE_ERROR, 0x8001);
	assert_int_equal(NBD_REPLY_TYPE_ERROR_OFFSET, 0x8002);
	assert_int_equal(NBD_OPT_GO, 7);
	assert_int_equal(NBD_OPT_EXTENDED_HEADERS, 11);
	assert_true(NBD_REP_ERR_UNSUP == 0x80000001u);
	assert_true(NBD_REP_ERR_EXT_HEADER_REQD == 0x8000000au);
	assert_true(NBD_REP_ERR_UNSUP > 0);
	assert_int_equal(NBD_EIO, 5);
	assert_int_equal(NBD_ESHUTDOWN, 108);
	assert_true(NBD_INIT_MAGIC == 0x4e42444d41474943);
	assert_true(NBD_REQUEST_MAGIC == 0x25609513);
	assert_true(NBD_REP_FLAG_ERROR == 1ull << 31);
	assert_true(NBD_REPLY_TYPE_FLAG_ERROR == 1 << 15);

	/* The magics that are words. */
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal((NBD_INIT_MAGIC >> (56 - 8 * i)) & 0xff, "NBDMAGIC"[i]);
		assert_int_equal((NBD_OPTS_MAGIC >> (56 - 8 * i)) & 0xff, "IHAVEOPT"[i]);
	}
}

static void sizes(void **state)
{
	(void)state;
	assert_int_equal(NBDS_GREETING_LEN, 8 + 8 + 2);
	assert_int_equal(NBDS_GREETING_OLDSTYLE_LEN, 8 + 8 + 8 + 4 + 124);
	assert_int_equal(NBDS_CLIENT_FLAGS_LEN, 4);
	assert_int_equal(NBDS_OPTION_LEN, 8 + 4 + 4);
	assert_int_equal(NBDS_OPTION_REPLY_LEN, 8 + 4 + 4 + 4);
	assert_int_equal(NBDS_EXPORT_NAME_REPLY_LEN, 8 + 2);
	assert_int_equal(NBDS_ZEROES_LEN, 124);
	assert_int_equal(NBDS_REQUEST_LEN, 4 + 2 + 2 + 8 + 8 + 4);
	assert_int_equal(NBDS_EXTENDED_REQUEST_LEN, 4 + 2 + 2 + 8 + 8 + 8);
	assert_int_equal(NBDS_SIMPLE_REPLY_LEN, 4 + 4 + 8);
	assert_int_equal(NBDS_CHUNK_LEN, 4 + 2 + 2 + 8 + 4);
	assert_int_equal(NBDS_EXTENDED_CHUNK_LEN, 4 + 2 + 2 + 8 + 8 + 8);
	assert_int_equal(NBDS_EXTENT_LEN, 4 + 4);
	assert_int_equal(NBDS_EXTENT_EXT_LEN, 8 + 8);
	assert_int_equal(NBDS_INFO_EXPORT_LEN, 2 + 8 + 2);
	assert_int_equal(NBDS_INFO_BLOCK_SIZE_LEN, 2 + 4 + 4 + 4);
	assert_int_equal(NBDS_PORT, 10809);
	assert_int_equal(NBDS_STRING_MAX, 4096);
	assert_int_equal(NBDS_PAYLOAD_MAX_DEFAULT, 32 * 1024 * 1024);
	assert_int_equal(NBDS_BLOCK_MIN_DEFAULT, 1);
	assert_int_equal(NBDS_BLOCK_PREFER_DEFAULT, 4096);
	assert_int_equal(NBDS_BLOCK_MIN_LIMIT, 65536);
	assert_int_equal(NBDS_EXTENTS_MAX, 1 << 20);
}

/* Every row can be shown to people, and none stands twice. */
static void rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(all); i++) {
		const struct nbds_name_table *t = all[i].table;

		for (size_t k = 0; k < t->count; k++) {
			const struct nbds_name *r = &t->entries[k];

			assert_true(strlen(r->label) > 0);
			assert_true(strlen(r->what) > 0);
			if (all[i].bits) {
				assert_true(strlen(r->suffix) > 0);
				assert_true(r->value && !(r->value & (r->value - 1)));
			} else {
				assert_string_equal(r->suffix, "");
			}
			for (size_t j = 0; j < k; j++) {
				assert_true(t->entries[j].value != r->value);
				assert_string_not_equal(t->entries[j].name, r->name);
			}
		}
	}
}

static void unknown_values(void **state)
{
	char buf[NBDS_TEXT_OF_MAX];

	(void)state;
	assert_null(nbds_name_of(&nbds_commands, 42));
	assert_string_equal(nbds_text_of(&nbds_commands, 6, buf), "NBD_CMD_WRITE_ZEROES");
	assert_string_equal(nbds_text_of(&nbds_commands, 42, buf), "unknown command 42");
	assert_string_equal(nbds_text_of(&nbds_options, 99, buf), "unknown option 99");
	assert_string_equal(nbds_text_of(&nbds_reply_types, 0x80000063, buf),
			    "unknown reply type 0x80000063");
	assert_string_equal(nbds_text_of(&nbds_chunk_types, 3, buf), "unknown chunk type 0x3");
	assert_string_equal(nbds_text_of(&nbds_info_types, 65535, buf), "unknown info type 65535");
	assert_string_equal(nbds_text_of(&nbds_errors, 30, buf), "unknown error 30");
	assert_string_equal(nbds_text_of(&nbds_errors, 0xfffffffb, buf),
			    "error -5 (EIO as a raw negative errno)");
	assert_string_equal(nbds_text_of(&nbds_errors, 0xfffff001, buf),
			    "error -4095 (a raw negative errno)");
	assert_string_equal(nbds_text_of(&nbds_errors, 0xfffff000, buf),
			    "unknown error 4294963200");
	assert_string_equal(nbds_text_of(&nbds_errors, NBD_REP_ERR_EXT_HEADER_REQD, buf),
			    "NBD_REP_ERR_EXT_HEADER_REQD, which no command has");
	assert_string_equal(nbds_text_of(&nbds_magics64, UINT64_MAX, buf),
			    "unknown magic 0xffffffffffffffff");
	/* The longest there can be, whole. */
	assert_string_equal(nbds_text_of(&nbds_status_flags, UINT64_MAX, buf),
			    "unknown value 0xffffffffffffffff");
}

static void flag_words(void **state)
{
	struct nbds_flag_iter it;
	char buf[1024], small[24];

	(void)state;
	nbds_flags_begin(&it, &nbds_transmission_flags, 0x2501);
	assert_string_equal(nbds_flags_next(&it), "NBD_FLAG_HAS_FLAGS");
	assert_string_equal(nbds_flags_next(&it), "NBD_FLAG_CAN_MULTI_CONN");
	assert_string_equal(nbds_flags_next(&it), "NBD_FLAG_SEND_CACHE");
	assert_string_equal(nbds_flags_next(&it), "bit 13");
	assert_null(nbds_flags_next(&it));
	assert_null(nbds_flags_next(&it));

	nbds_flags_begin(&it, &nbds_transmission_flags, 0);
	assert_null(nbds_flags_next(&it));
	nbds_flags_begin(&it, &nbds_status_flags, 1ull << 63);
	assert_string_equal(nbds_flags_next(&it), "bit 63");
	assert_null(nbds_flags_next(&it));

	assert_int_equal(nbds_flag_names(&nbds_command_flags, 0, buf, sizeof(buf)), 4);
	assert_string_equal(buf, "none");
	nbds_flag_names(&nbds_command_flags, 0x8001, buf, sizeof(buf));
	assert_string_equal(buf, "NBD_CMD_FLAG_FUA | bit 15");

	/* Cut like snprintf, in every size. */
	for (size_t n = 0; n <= sizeof(small); n++) {
		memset(small, 'x', sizeof(small));
		assert_int_equal(nbds_flag_names(&nbds_command_flags, 0x8001, small, n), 25);
		if (n) {
			assert_memory_equal(small, buf, n - 1);
			assert_int_equal(small[n - 1], '\0');
		}
		for (size_t i = n; i < sizeof(small); i++)
			assert_int_equal(small[i], 'x');
	}
}

static void status_tables(void **state)
{
	(void)state;
	assert_ptr_equal(nbds_status_table("base:allocation", 15), &nbds_status_flags);
	assert_ptr_equal(nbds_status_table("qemu:dirty-bitmap:b0", 20), &nbds_dirty_flags);
	assert_null(nbds_status_table("qemu:allocation-depth", 21));
	assert_null(nbds_status_table("base:allocation2", 16));
	assert_null(nbds_status_table("base:", 5));
	assert_null(nbds_status_table("qemu:dirty-bitmap", 17));
	assert_null(nbds_status_table("", 0));
	assert_null(nbds_status_table(NULL, 0));
}

static void check_text(const char *bytes, size_t len, const char *text, const char *json)
{
	char buf[512];

	assert_int_equal(nbds_escape_text(bytes, len, buf, sizeof(buf)), strlen(text));
	assert_string_equal(buf, text);
	assert_int_equal(nbds_escape_json(bytes, len, buf, sizeof(buf)), strlen(json));
	assert_string_equal(buf, json);
}

#define TEXT(bytes, text, json) check_text(bytes, sizeof(bytes) - 1, text, json)
#define FFFD                    "\xef\xbf\xbd"

static void escapes(void **state)
{
	(void)state;
	check_text(NULL, 0, "", "");
	TEXT("disk", "disk", "disk");
	TEXT("a\0b", "a\\x00b", "a\\u0000b");
	TEXT("\n\r\t\\\"/", "\\n\\r\\t\\\\\"/", "\\n\\r\\t\\\\\\\"/");
	TEXT("\x01\x1b[2J\x7f", "\\x01\\x1b[2J\\x7f", "\\u0001\\u001b[2J\\u007f");
	TEXT("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	TEXT("\xe2\x82\xac \xf0\x9f\x92\xbe", "\xe2\x82\xac \xf0\x9f\x92\xbe",
	     "\xe2\x82\xac \xf0\x9f\x92\xbe");
	/* C1 control, and a mark that turns the direction of writing around. */
	TEXT("\xc2\x9b", "\\xc2\\x9b", "\\u009b");
	TEXT("\xe2\x80\xae", "\\xe2\\x80\\xae", "\\u202e");
	/* No UTF-8: lone bytes, overlong, surrogate, too large, cut short. */
	TEXT("\xff", "\\xff", FFFD);
	TEXT("\x80x", "\\x80x", FFFD "x");
	TEXT("\xc0\xaf", "\\xc0\\xaf", FFFD FFFD);
	TEXT("\xe0\x80\xaf", "\\xe0\\x80\\xaf", FFFD FFFD FFFD);
	TEXT("\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf", FFFD FFFD FFFD FFFD);
	TEXT("\xed\xa0\x80", "\\xed\\xa0\\x80", FFFD FFFD FFFD);
	TEXT("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", FFFD FFFD FFFD FFFD);
	TEXT("\xe2\x82", "\\xe2\\x82", FFFD FFFD);
	TEXT("\xe2\x82x", "\\xe2\\x82x", FFFD FFFD "x");
	/* The edges of what is: the last before the surrogates, which has no character, the
	 * first after them, which is for private use, and the last of all. */
	TEXT("\xed\x9f\xbf", "\\xed\\x9f\\xbf", "\\ud7ff");
	TEXT("\xee\x80\x80", "\\xee\\x80\\x80", "\\ue000");
	TEXT("\xf4\x8f\xbf\xbf", "\\xf4\\x8f\\xbf\\xbf", "\\udbff\\udfff");
	/* Nothing to see: a space without width, a tag, a filler, a variant's selector, a
	 * space that is none. */
	TEXT("a\xe2\x80\x8b"
	     "b",
	     "a\\xe2\\x80\\x8b"
	     "b",
	     "a\\u200bb");
	TEXT("\xf3\xa0\x80\x81", "\\xf3\\xa0\\x80\\x81", "\\udb40\\udc01");
	TEXT("\xe3\x85\xa4", "\\xe3\\x85\\xa4", "\\u3164");
	TEXT("\xf3\xa0\x84\x80", "\\xf3\\xa0\\x84\\x80", "\\udb40\\udd00");
	TEXT("\xc2\xa0\xe3\x80\x80", "\\xc2\\xa0\\xe3\\x80\\x80", "\\u00a0\\u3000");
	TEXT("\xc2\xad", "\\xc2\\xad", "\\u00ad");
	/* Letters, marks that go onto them, and pictures are seen. */
	TEXT("e\xcc\x81 \xe6\x97\xa5\xd7\xa9\xd8\xb4", "e\xcc\x81 \xe6\x97\xa5\xd7\xa9\xd8\xb4",
	     "e\xcc\x81 \xe6\x97\xa5\xd7\xa9\xd8\xb4");
}

/* A second opinion on UTF-8, by the ranges of the Unicode standard's table of
 * well-formed sequences. */
static size_t well_formed(const unsigned char *p)
{
	static const struct {
		unsigned char lo[4], hi[4];
		size_t n;
	} row[] = {
		{{0x00}, {0x7f}, 1},
		{{0xc2, 0x80}, {0xdf, 0xbf}, 2},
		{{0xe0, 0xa0, 0x80}, {0xe0, 0xbf, 0xbf}, 3},
		{{0xe1, 0x80, 0x80}, {0xec, 0xbf, 0xbf}, 3},
		{{0xed, 0x80, 0x80}, {0xed, 0x9f, 0xbf}, 3},
		{{0xee, 0x80, 0x80}, {0xef, 0xbf, 0xbf}, 3},
		{{0xf0, 0x90, 0x80, 0x80}, {0xf0, 0xbf, 0xbf, 0xbf}, 4},
		{{0xf1, 0x80, 0x80, 0x80}, {0xf3, 0xbf, 0xbf, 0xbf}, 4},
		{{0xf4, 0x80, 0x80, 0x80}, {0xf4, 0x8f, 0xbf, 0xbf}, 4},
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		size_t k = 0;

		while (k < row[i].n && p[k] >= row[i].lo[k] && p[k] <= row[i].hi[k])
			k++;
		if (k == row[i].n)
			return k;
	}
	return 0;
}

static void check_printable(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p) {
		size_t n = well_formed(p);

		assert_true(n > 0);
		assert_true(*p >= 0x20 && *p != 0x7f);
		p += n;
	}
}

/* Whatever the bytes and whatever the room: valid UTF-8, never past the end,
 * and a beginning of the whole text. */
static void escapes_any(void **state)
{
	static const char salt[] =
		"\\\"\n\t\0\x1b\x7f\xc2\x9b\xe2\x80\xae\xf0\x9f\x92\xbe\xed\xa0\x80";
	size_t (*const escape[])(const void *, size_t, char *, size_t) = {nbds_escape_text,
									  nbds_escape_json};
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 3000; round++) {
		char bytes[24], whole[256];
		size_t len;

		seed = seed * 1664525 + 1013904223;
		len = (seed >> 16) % (sizeof(bytes) + 1);
		for (size_t i = 0; i < len; i++) {
			seed = seed * 1664525 + 1013904223;
			bytes[i] = seed & 0x80000000 ? salt[(seed >> 8) % sizeof(salt)]
						     : (char)(seed >> 16);
		}
		for (size_t e = 0; e < 2; e++) {
			size_t need = escape[e](bytes, len, whole, sizeof(whole));

			assert_true(need < sizeof(whole));
			assert_int_equal(strlen(whole), need);
			check_printable(whole);
			for (size_t room = 0; room <= need + 1; room++) {
				char *buf = malloc(room ? room : 1);

				assert_non_null(buf);
				assert_int_equal(escape[e](bytes, len, room ? buf : NULL, room),
						 need);
				if (room) {
					assert_true(strlen(buf) < room);
					assert_memory_equal(buf, whole, strlen(buf));
					check_printable(buf);
					if (room > need)
						assert_int_equal(strlen(buf), need);
				}
				free(buf);
			}
		}
	}
}

/* Each byte, at each place of a text that needs no escapes. */
static void escapes_anywhere(void **state)
{
	size_t (*const escape[])(const void *, size_t, char *, size_t) = {nbds_escape_text,
									  nbds_escape_json};
	char text[40], out[sizeof(text) + 8], alone[16];

	(void)state;
	for (size_t at = 0; at < sizeof(text); at++) {
		for (int byte = 0; byte < 256; byte++) {
			memset(text, 'a', sizeof(text));
			text[at] = (char)byte;
			for (size_t e = 0; e < 2; e++) {
				size_t n = escape[e](&text[at], 1, alone, sizeof(alone));
				size_t rest = sizeof(text) - at - 1;

				assert_int_equal(escape[e](text, sizeof(text), out, sizeof(out)),
						 sizeof(text) - 1 + n);
				assert_memory_equal(out, text, at);
				assert_memory_equal(out + at, alone, n);
				assert_memory_equal(out + at + n, text + at + 1, rest);
				/* what needs none is there as far as there is room */
				escape[e](text, at, out, 11);
				assert_int_equal(strlen(out), at < 10 ? at : 10);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_numbers),
		cmocka_unit_test(constants),
		cmocka_unit_test(sizes),
		cmocka_unit_test(rows),
		cmocka_unit_test(unknown_values),
		cmocka_unit_test(flag_words),
		cmocka_unit_test(status_tables),
		cmocka_unit_test(escapes),
		cmocka_unit_test(escapes_any),
		cmocka_unit_test(escapes_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
