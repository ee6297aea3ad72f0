/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_fields.c - the field walk over heads of messages built by hand.
 *
 * Each message is written byte for byte as the specification lays it out, with
 * what the walk must say of it.  Then every one of them is cut at every length,
 * has single bytes changed, and is walked again from memory of exactly its
 * size, so that a sanitizer sees a step past the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nbdscope/fields.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* Bytes of a head, written as hexadecimal digits and 'quoted' text. */
struct head {
	uint8_t bytes[512];
	uint32_t len;
};

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* "12ab 'text' 00*124": bytes, text, and a byte that many times. */
static struct head make(const char *s)
{
	struct head h = {.len = 0};

	while (*s) {
		if (*s == ' ') {
			s++;
		} else if (*s == '\'') {
			for (s++; *s != '\''; s++)
				h.bytes[h.len++] = (uint8_t)*s;
			s++;
		} else {
			uint8_t b = (uint8_t)(digit(s[0]) << 4 | digit(s[1]));
			unsigned long times = 1;

			if (digit(s[0]) < 0 || digit(s[1]) < 0)
				fail_msg("not hexadecimal: %s", s);
			s += 2;
			if (*s == '*') {
				char *end;

				times = strtoul(s + 1, &end, 10);
				s = end;
			}
			while (times--)
				h.bytes[h.len++] = b;
		}
		assert_true(h.len < sizeof(h.bytes) - 130);
	}
	return h;
}

/*
 * What a walk says, one line a field: "name@offset+length text".  Bits are
 * appended to their word: "{fixed_new=1 no_zeroes=0}".  Strings and bytes are
 * shown in quotes or by their first bytes.
 */
struct told {
	const struct nbds_message *m;
	char text[8192];
	size_t len;
	uint32_t next;  /* where the next field of the head must begin */
	int word;       /* id of the last field that was no bit */
	uint64_t value; /* and its value */
	uint64_t bits;  /* bits of it told so far */
	bool payload;
};

static void add(struct told *t, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(t->text + t->len, sizeof(t->text) - t->len, format, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < sizeof(t->text) - t->len);
	t->len += (size_t)n;
}

/* Checks what must hold for any field of any head, however malformed. */
static void check(struct told *t, const struct nbds_field *f)
{
	const struct nbds_message *m = t->m;
	const struct nbds_field_info *info;

	assert_true(f->id >= 0 && (size_t)f->id < nbds_fields_count);
	info = &nbds_fields[f->id];
	assert_non_null(memchr(f->text, '\0', sizeof(f->text)));
	assert_false(t->payload); /* the payload is last */
	if (info->type == NBDS_FT_BOOLEAN) {
		/* Right behind its word, once, with the word's bit. */
		assert_int_equal(info->parent, t->word);
		assert_int_equal(f->value, (t->value & info->mask) != 0);
		assert_false(t->bits & info->mask);
		t->bits |= info->mask;
		return;
	}
	if (info->type == NBDS_FT_STRING || info->type == NBDS_FT_BYTES) {
		assert_string_equal(f->text, "");
		if (!f->bytes) {
			assert_int_equal(f->offset, m->head_len);
			t->payload = true;
			return;
		}
		assert_ptr_equal(f->bytes, m->head + f->offset);
	} else {
		uint64_t value = 0;

		assert_true(strlen(f->text) > 0);
		assert_null(f->bytes);
		for (uint32_t i = 0; i < f->length; i++)
			value = value << 8 | m->head[f->offset + i];
		assert_int_equal(value, f->value);
		t->word = f->id;
		t->value = value;
		t->bits = 0;
	}
	/* Fields follow each other without a hole. */
	assert_int_equal(f->offset, t->next);
	assert_true(f->length <= m->head_len - f->offset);
	t->next = f->offset + f->length;
}

static void tell(void *arg, const struct nbds_field *f)
{
	struct told *t = arg;
	const struct nbds_field_info *info = &nbds_fields[f->id];

	check(t, f);
	if (info->type == NBDS_FT_BOOLEAN) {
		const char *suffix = strrchr(info->name, '.') + 1;

		if (t->text[t->len - 1] == '}') {
			t->len--;
			add(t, " %s=%d}", suffix, (int)f->value);
		} else {
			add(t, " {%s=%d}", suffix, (int)f->value);
		}
		return;
	}
	add(t, "%s%s@%u+%u", t->len ? "\n" : "", info->name, f->offset, f->length);
	if (info->type == NBDS_FT_STRING) {
		add(t, " '");
		t->len += nbds_escape_text(f->bytes, f->length, t->text + t->len,
					   sizeof(t->text) - t->len);
		add(t, "'");
	} else if (info->type != NBDS_FT_BYTES) {
		add(t, " %s", f->text);
	} else if (!f->bytes) {
		add(t, " payload");
	} else {
		add(t, " ");
		for (uint32_t i = 0; i < f->length && i < 4; i++)
			add(t, "%02x", f->bytes[i]);
	}
}

static void only_check(void *arg, const struct nbds_field *f)
{
	check(arg, f);
}

/* Messages, what the walk says, and the summary. */
struct sample {
	const char *what;
	const char *head;
	enum nbds_message_type type;
	const char *name;
	const char *fields;
	const char *summary;
	enum nbds_payload payload;
	uint64_t payload_len;
	uint32_t flags;
	int request; /* command of the request it answers, plus one; 0: none known */
};

#define INIT   "4e42444d41474943 "
#define OPTS   "49484156454f5054 "
#define OLD    "0000420281861253 "
#define REP    "0003e889045565a9 "
#define COOKIE "0123456789abcdef "

#define GREETING_FIELDS                      \
	"nbd.hnd.magic@0+8 NBD_INIT_MAGIC\n" \
	"nbd.hnd.magic@8+8 NBD_OPTS_MAGIC\n"
#define OPTION_FIELDS(name, len)             \
	"nbd.hnd.magic@0+8 NBD_OPTS_MAGIC\n" \
	"nbd.hnd.opt@8+4 " name "\n"         \
	"nbd.hnd.opt.len@12+4 " #len
#define REPLY_FIELDS(option, name, len)     \
	"nbd.hnd.magic@0+8 NBD_REP_MAGIC\n" \
	"nbd.hnd.opt@8+4 " option "\n"      \
	"nbd.hnd.reply@12+4 " name "\n"     \
	"nbd.hnd.reply.len@16+4 " #len
#define CMD_BITS(a, b, c, d, e, f)                                                              \
	" {fua=" #a " no_hole=" #b " df=" #c " req_one=" #d " fast_zero=" #e " payload_len=" #f \
	"}\n"

static const struct sample samples[] = {
	{"newstyle greeting", INIT OPTS "0003", NBDS_MSG_GREETING, "NBD_GREETING",
	 GREETING_FIELDS
	 "nbd.hnd.flags@16+2 NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES {fixed_new=1 no_zeroes=1}",
	 "NBD_GREETING newstyle, FIXED_NEWSTYLE, NO_ZEROES", 0, 0, 0, 0},
	{"newstyle greeting, undefined bit", INIT OPTS "8001", NBDS_MSG_GREETING, "NBD_GREETING",
	 GREETING_FIELDS
	 "nbd.hnd.flags@16+2 NBD_FLAG_FIXED_NEWSTYLE | bit 15 {fixed_new=1 no_zeroes=0}",
	 "NBD_GREETING newstyle, FIXED_NEWSTYLE, bit 15", 0, 0, 0, 0},
	{"oldstyle greeting", INIT OLD "0000000000100000 0000 0103 00*124", NBDS_MSG_GREETING,
	 "NBD_GREETING",
	 "nbd.hnd.magic@0+8 NBD_INIT_MAGIC\n"
	 "nbd.hnd.magic@8+8 NBD_CLISERV_MAGIC\n"
	 "nbd.export.size@16+8 1048576\n"
	 "nbd.hnd.flags@24+2 none {fixed_new=0 no_zeroes=0}\n"
	 "nbd.export.trans.flags@26+2 NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY | "
	 "NBD_FLAG_CAN_MULTI_CONN {has_flags=1 read_only=1 flush=0 fua=0 rotational=0 trim=0 "
	 "write_zeroes=0 df=0 multi_conn=1 resize=0 cache=0 fast_zero=0 block_status_payload=0}\n"
	 "nbd.reserved@28+124 00000000",
	 "NBD_GREETING oldstyle, 1048576 bytes, HAS_FLAGS, READ_ONLY, CAN_MULTI_CONN, "
	 "124 reserved bytes",
	 0, 0, 0, 0},
	{"oldstyle greeting, zeroes as payload", INIT OLD "0000000000000200 0000 0001",
	 NBDS_MSG_GREETING, "NBD_GREETING",
	 "nbd.hnd.magic@0+8 NBD_INIT_MAGIC\n"
	 "nbd.hnd.magic@8+8 NBD_CLISERV_MAGIC\n"
	 "nbd.export.size@16+8 512\n"
	 "nbd.hnd.flags@24+2 none {fixed_new=0 no_zeroes=0}\n"
	 "nbd.export.trans.flags@26+2 NBD_FLAG_HAS_FLAGS {has_flags=1 read_only=0 flush=0 fua=0 "
	 "rotational=0 trim=0 write_zeroes=0 df=0 multi_conn=0 resize=0 cache=0 fast_zero=0 "
	 "block_status_payload=0}\n"
	 "nbd.reserved@28+124 payload",
	 "NBD_GREETING oldstyle, 512 bytes, HAS_FLAGS, 124 reserved bytes", NBDS_PAYLOAD_REST, 124,
	 0, 0},
	{"client flags", "00000003", NBDS_MSG_CLIENT_FLAGS, "NBD_CLIENT_FLAGS",
	 "nbd.cli.flags@0+4 NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES {fixed_new=1 "
	 "no_zeroes=1}",
	 "NBD_CLIENT_FLAGS FIXED_NEWSTYLE, NO_ZEROES", 0, 0, 0, 0},
	{"client flags, little-endian", "03000000", NBDS_MSG_CLIENT_FLAGS, "NBD_CLIENT_FLAGS",
	 "nbd.cli.flags@0+4 bit 24 | bit 25 {fixed_new=0 no_zeroes=0}",
	 "NBD_CLIENT_FLAGS bit 24, bit 25", 0, 0, 0, 0},
	{"client flags, none", "00000000", NBDS_MSG_CLIENT_FLAGS, "NBD_CLIENT_FLAGS",
	 "nbd.cli.flags@0+4 none {fixed_new=0 no_zeroes=0}", "NBD_CLIENT_FLAGS none", 0, 0, 0, 0},

	/* Options. */
	{"EXPORT_NAME", OPTS "00000001 00000004 'disk'", NBDS_MSG_OPTION, "NBD_OPT_EXPORT_NAME",
	 OPTION_FIELDS("NBD_OPT_EXPORT_NAME", 4) "\nnbd.export.name@16+4 'disk'",
	 "NBD_OPT_EXPORT_NAME export \"disk\"", 0, 0, 0, 0},
	{"EXPORT_NAME, default export", OPTS "00000001 00000000", NBDS_MSG_OPTION,
	 "NBD_OPT_EXPORT_NAME", OPTION_FIELDS("NBD_OPT_EXPORT_NAME", 0) "\nnbd.export.name@16+0 ''",
	 "NBD_OPT_EXPORT_NAME export \"\"", 0, 0, 0, 0},
	{"ABORT", OPTS "00000002 00000000", NBDS_MSG_OPTION, "NBD_OPT_ABORT",
	 OPTION_FIELDS("NBD_OPT_ABORT", 0), "NBD_OPT_ABORT", 0, 0, 0, 0},
	{"LIST", OPTS "00000003 00000000", NBDS_MSG_OPTION, "NBD_OPT_LIST",
	 OPTION_FIELDS("NBD_OPT_LIST", 0), "NBD_OPT_LIST", 0, 0, 0, 0},
	{"LIST with data", OPTS "00000003 00000002 beef", NBDS_MSG_OPTION, "NBD_OPT_LIST",
	 OPTION_FIELDS("NBD_OPT_LIST", 2) "\nnbd.hnd.opt.data@16+2 beef",
	 "NBD_OPT_LIST 2 bytes of data", 0, 0, 0, 0},
	{"PEEK_EXPORT", OPTS "00000004 00000001 'x'", NBDS_MSG_OPTION, "NBD_OPT_PEEK_EXPORT",
	 OPTION_FIELDS("NBD_OPT_PEEK_EXPORT", 1) "\nnbd.hnd.opt.data@16+1 78",
	 "NBD_OPT_PEEK_EXPORT 1 byte of data", 0, 0, 0, 0},
	{"STARTTLS", OPTS "00000005 00000000", NBDS_MSG_OPTION, "NBD_OPT_STARTTLS",
	 OPTION_FIELDS("NBD_OPT_STARTTLS", 0), "NBD_OPT_STARTTLS", 0, 0, 0, 0},
	{"INFO without requests", OPTS "00000006 00000006 00000000 0000", NBDS_MSG_OPTION,
	 "NBD_OPT_INFO",
	 OPTION_FIELDS("NBD_OPT_INFO", 6) "\n"
					  "nbd.export.name.len@16+4 0\n"
					  "nbd.export.name@20+0 ''\n"
					  "nbd.info.num@20+2 0",
	 "NBD_OPT_INFO export \"\"", 0, 0, 0, 0},
	{"GO with requests", OPTS "00000007 00000010 00000004 'disk' 0003 0001 0003 0009",
	 NBDS_MSG_OPTION, "NBD_OPT_GO",
	 OPTION_FIELDS("NBD_OPT_GO", 16) "\n"
					 "nbd.export.name.len@16+4 4\n"
					 "nbd.export.name@20+4 'disk'\n"
					 "nbd.info.num@24+2 3\n"
					 "nbd.info@26+2 NBD_INFO_NAME\n"
					 "nbd.info@28+2 NBD_INFO_BLOCK_SIZE\n"
					 "nbd.info@30+2 unknown info type 9",
	 "NBD_OPT_GO export \"disk\", NBD_INFO_NAME, NBD_INFO_BLOCK_SIZE, unknown info type 9", 0,
	 0, 0, 0},
	{"GO, name longer than the option", OPTS "00000007 00000007 00000400 'abc'",
	 NBDS_MSG_OPTION, "NBD_OPT_GO",
	 OPTION_FIELDS("NBD_OPT_GO", 7) "\n"
					"nbd.export.name.len@16+4 1024\n"
					"nbd.hnd.opt.data@20+3 616263",
	 "NBD_OPT_GO 3 bytes of data, malformed", 0, 0, NBDS_MSG_MALFORMED, 0},
	{"GO, more requests than bytes", OPTS "00000007 00000009 00000000 ffff 0003 00",
	 NBDS_MSG_OPTION, "NBD_OPT_GO",
	 OPTION_FIELDS("NBD_OPT_GO", 9) "\n"
					"nbd.export.name.len@16+4 0\n"
					"nbd.export.name@20+0 ''\n"
					"nbd.info.num@20+2 65535\n"
					"nbd.info@22+2 NBD_INFO_BLOCK_SIZE\n"
					"nbd.hnd.opt.data@24+1 00",
	 "NBD_OPT_GO export \"\", NBD_INFO_BLOCK_SIZE, 1 byte of data, malformed", 0, 0,
	 NBDS_MSG_MALFORMED, 0},
	{"GO, head cut inside the name", OPTS "00000007 00000406 00000400 'abc'", NBDS_MSG_OPTION,
	 "NBD_OPT_GO",
	 OPTION_FIELDS("NBD_OPT_GO", 1030) "\n"
					   "nbd.export.name.len@16+4 1024\n"
					   "nbd.export.name@20+3 'abc'\n"
					   "nbd.hnd.opt.data@23+1023 payload",
	 "NBD_OPT_GO export \"abc\", 1023 bytes of data, cut", NBDS_PAYLOAD_REST, 1023,
	 NBDS_MSG_CUT, 0},
	{"STRUCTURED_REPLY", OPTS "00000008 00000000", NBDS_MSG_OPTION, "NBD_OPT_STRUCTURED_REPLY",
	 OPTION_FIELDS("NBD_OPT_STRUCTURED_REPLY", 0), "NBD_OPT_STRUCTURED_REPLY", 0, 0, 0, 0},
	{"LIST_META_CONTEXT without queries", OPTS "00000009 00000008 00000000 00000000",
	 NBDS_MSG_OPTION, "NBD_OPT_LIST_META_CONTEXT",
	 OPTION_FIELDS("NBD_OPT_LIST_META_CONTEXT", 8) "\n"
						       "nbd.export.name.len@16+4 0\n"
						       "nbd.export.name@20+0 ''\n"
						       "nbd.query.num@20+4 0",
	 "NBD_OPT_LIST_META_CONTEXT export \"\"", 0, 0, 0, 0},
	{"SET_META_CONTEXT",
	 OPTS "0000000a 00000025 00000001 'd' 00000003 0000000f 'base:allocation' 00000001 'x' "
	      "00000000",
	 NBDS_MSG_OPTION, "NBD_OPT_SET_META_CONTEXT",
	 OPTION_FIELDS("NBD_OPT_SET_META_CONTEXT", 37) "\n"
						       "nbd.export.name.len@16+4 1\n"
						       "nbd.export.name@20+1 'd'\n"
						       "nbd.query.num@21+4 3\n"
						       "nbd.query.len@25+4 15\n"
						       "nbd.query@29+15 'base:allocation'\n"
						       "nbd.query.len@44+4 1\n"
						       "nbd.query@48+1 'x'\n"
						       "nbd.query.len@49+4 0\n"
						       "nbd.query@53+0 ''",
	 "NBD_OPT_SET_META_CONTEXT export \"d\", query \"base:allocation\", query \"x\", "
	 "query \"\"",
	 0, 0, 0, 0},
	{"SET_META_CONTEXT, a query too long, bytes that are no text",
	 OPTS "0000000a 00000012 00000001 ff ffffffff 00000001 0a 80000000", NBDS_MSG_OPTION,
	 "NBD_OPT_SET_META_CONTEXT",
	 OPTION_FIELDS("NBD_OPT_SET_META_CONTEXT", 18) "\n"
						       "nbd.export.name.len@16+4 1\n"
						       "nbd.export.name@20+1 '\\xff'\n"
						       "nbd.query.num@21+4 4294967295\n"
						       "nbd.query.len@25+4 1\n"
						       "nbd.query@29+1 '\\n'\n"
						       "nbd.query.len@30+4 2147483648",
	 "NBD_OPT_SET_META_CONTEXT export \"\\xff\", query \"\\n\", malformed", 0, 0,
	 NBDS_MSG_MALFORMED, 0},
	{"EXTENDED_HEADERS", OPTS "0000000b 00000000", NBDS_MSG_OPTION, "NBD_OPT_EXTENDED_HEADERS",
	 OPTION_FIELDS("NBD_OPT_EXTENDED_HEADERS", 0), "NBD_OPT_EXTENDED_HEADERS", 0, 0, 0, 0},
	{"an unknown option", OPTS "00000063 00000003 010203", NBDS_MSG_OPTION, "unknown option 99",
	 OPTION_FIELDS("unknown option 99", 3) "\nnbd.hnd.opt.data@16+3 010203",
	 "unknown option 99 3 bytes of data", 0, 0, 0, 0},

	/* Option replies. */
	{"ACK", REP "00000008 00000001 00000000", NBDS_MSG_OPTION_REPLY, "NBD_REP_ACK",
	 REPLY_FIELDS("NBD_OPT_STRUCTURED_REPLY", "NBD_REP_ACK", 0),
	 "NBD_REP_ACK to NBD_OPT_STRUCTURED_REPLY", 0, 0, 0, 0},
	{"ACK with data", REP "00000008 00000001 00000001 7f", NBDS_MSG_OPTION_REPLY, "NBD_REP_ACK",
	 REPLY_FIELDS("NBD_OPT_STRUCTURED_REPLY", "NBD_REP_ACK", 1) "\nnbd.hnd.reply.data@20+1 7f",
	 "NBD_REP_ACK to NBD_OPT_STRUCTURED_REPLY: 1 byte of data", 0, 0, 0, 0},
	{"SERVER", REP "00000003 00000002 00000008 00000004 'disk'", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_SERVER",
	 REPLY_FIELDS("NBD_OPT_LIST", "NBD_REP_SERVER", 8) "\n"
							   "nbd.export.name.len@20+4 4\n"
							   "nbd.export.name@24+4 'disk'",
	 "NBD_REP_SERVER to NBD_OPT_LIST: export \"disk\"", 0, 0, 0, 0},
	{"SERVER with description", REP "00000003 00000002 00000009 00000001 'd' 'good'",
	 NBDS_MSG_OPTION_REPLY, "NBD_REP_SERVER",
	 REPLY_FIELDS("NBD_OPT_LIST", "NBD_REP_SERVER", 9) "\n"
							   "nbd.export.name.len@20+4 1\n"
							   "nbd.export.name@24+1 'd'\n"
							   "nbd.export.description@25+4 'good'",
	 "NBD_REP_SERVER to NBD_OPT_LIST: export \"d\", description \"good\"", 0, 0, 0, 0},
	{"SERVER, name too long", REP "00000003 00000002 00000006 00000003 'ab'",
	 NBDS_MSG_OPTION_REPLY, "NBD_REP_SERVER",
	 REPLY_FIELDS("NBD_OPT_LIST", "NBD_REP_SERVER", 6) "\n"
							   "nbd.export.name.len@20+4 3\n"
							   "nbd.hnd.reply.data@24+2 6162",
	 "NBD_REP_SERVER to NBD_OPT_LIST: 2 bytes of data, malformed", 0, 0, NBDS_MSG_MALFORMED, 0},
	{"SERVER with flags, after PEEK_EXPORT",
	 REP "00000004 00000002 00000009 00000001 'd' 00000015", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_SERVER",
	 REPLY_FIELDS(
		 "NBD_OPT_PEEK_EXPORT", "NBD_REP_SERVER",
		 9) "\n"
		    "nbd.export.name.len@20+4 1\n"
		    "nbd.export.name@24+1 'd'\n"
		    "nbd.peek.flags@25+4 NBD_F_EXP_RO | NBD_F_EXP_TLS_OK | bit 4 {ro=1 cow=0 tls_ok=1 "
		    "tls_req=0}",
	 "NBD_REP_SERVER to NBD_OPT_PEEK_EXPORT: export \"d\", RO, TLS_OK, bit 4", 0, 0, 0, 0},
	{"SERVER with words, after PEEK_EXPORT",
	 REP "00000004 00000002 0000000a 00000001 'd' 'words'", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_SERVER",
	 REPLY_FIELDS("NBD_OPT_PEEK_EXPORT", "NBD_REP_SERVER",
		      10) "\n"
			  "nbd.export.name.len@20+4 1\n"
			  "nbd.export.name@24+1 'd'\n"
			  "nbd.export.description@25+5 'words'",
	 "NBD_REP_SERVER to NBD_OPT_PEEK_EXPORT: export \"d\", description \"words\"", 0, 0, 0, 0},
	{"INFO_EXPORT, SEND_CACHE at bit 10",
	 REP "00000007 00000003 0000000c 0000 0000000100000000 2501", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_INFO",
	 REPLY_FIELDS(
		 "NBD_OPT_GO", "NBD_REP_INFO",
		 12) "\n"
		     "nbd.info@20+2 NBD_INFO_EXPORT\n"
		     "nbd.export.size@22+8 4294967296\n"
		     "nbd.export.trans.flags@30+2 NBD_FLAG_HAS_FLAGS | NBD_FLAG_CAN_MULTI_CONN | "
		     "NBD_FLAG_SEND_CACHE | bit 13 {has_flags=1 read_only=0 flush=0 fua=0 rotational=0 trim=0 "
		     "write_zeroes=0 df=0 multi_conn=1 resize=0 cache=1 fast_zero=0 block_status_payload=0}",
	 "NBD_REP_INFO to NBD_OPT_GO: NBD_INFO_EXPORT, 4294967296 bytes, HAS_FLAGS, "
	 "CAN_MULTI_CONN, SEND_CACHE, bit 13",
	 0, 0, 0, 0},
	{"INFO_EXPORT, every bit", REP "00000006 00000003 0000000c 0000 ffffffffffffffff ffff",
	 NBDS_MSG_OPTION_REPLY, "NBD_REP_INFO",
	 REPLY_FIELDS(
		 "NBD_OPT_INFO", "NBD_REP_INFO",
		 12) "\n"
		     "nbd.info@20+2 NBD_INFO_EXPORT\n"
		     "nbd.export.size@22+8 18446744073709551615\n"
		     "nbd.export.trans.flags@30+2 NBD_FLAG_HAS_FLAGS | NBD_FLAG_READ_ONLY | "
		     "NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_ROTATIONAL | NBD_FLAG_SEND_TRIM | "
		     "NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_DF | NBD_FLAG_CAN_MULTI_CONN | "
		     "NBD_FLAG_SEND_RESIZE | NBD_FLAG_SEND_CACHE | NBD_FLAG_SEND_FAST_ZERO | "
		     "NBD_FLAG_BLOCK_STATUS_PAYLOAD | bit 13 | bit 14 | bit 15 {has_flags=1 read_only=1 "
		     "flush=1 fua=1 rotational=1 trim=1 write_zeroes=1 df=1 multi_conn=1 resize=1 cache=1 "
		     "fast_zero=1 block_status_payload=1}",
	 "NBD_REP_INFO to NBD_OPT_INFO: NBD_INFO_EXPORT, 18446744073709551615 bytes, HAS_FLAGS, "
	 "READ_ONLY, SEND_FLUSH, SEND_FUA, ROTATIONAL, SEND_TRIM, SEND_WRITE_ZEROES, SEND_DF, "
	 "CAN_MULTI_CONN, SEND_RESIZE, SEND_CACHE, SEND_FAST_ZERO, BLOCK_STATUS_PAYLOAD, bit 13, "
	 "bit 14, bit 15",
	 0, 0, 0, 0},
	{"INFO_NAME", REP "00000007 00000003 00000006 0001 'name'", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_INFO",
	 REPLY_FIELDS("NBD_OPT_GO", "NBD_REP_INFO", 6) "\n"
						       "nbd.info@20+2 NBD_INFO_NAME\n"
						       "nbd.export.name@22+4 'name'",
	 "NBD_REP_INFO to NBD_OPT_GO: NBD_INFO_NAME, export \"name\"", 0, 0, 0, 0},
	{"INFO_DESCRIPTION", REP "00000007 00000003 00000005 0002 'b\" '", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_INFO",
	 REPLY_FIELDS("NBD_OPT_GO", "NBD_REP_INFO", 5) "\n"
						       "nbd.info@20+2 NBD_INFO_DESCRIPTION\n"
						       "nbd.export.description@22+3 'b\" '",
	 "NBD_REP_INFO to NBD_OPT_GO: NBD_INFO_DESCRIPTION, description \"b\" \"", 0, 0, 0, 0},
	{"INFO_BLOCK_SIZE", REP "00000007 00000003 0000000e 0003 00000200 00001000 02000000",
	 NBDS_MSG_OPTION_REPLY, "NBD_REP_INFO",
	 REPLY_FIELDS("NBD_OPT_GO", "NBD_REP_INFO", 14) "\n"
							"nbd.info@20+2 NBD_INFO_BLOCK_SIZE\n"
							"nbd.block_size.min@22+4 512\n"
							"nbd.block_size.prefer@26+4 4096\n"
							"nbd.payload_size.max@30+4 33554432",
	 "NBD_REP_INFO to NBD_OPT_GO: NBD_INFO_BLOCK_SIZE, minimum 512, preferred 4096, "
	 "maximum 33554432",
	 0, 0, 0, 0},
	{"INFO_BLOCK_SIZE, too short", REP "00000007 00000003 0000000c 0003 00000200 00001000 0200",
	 NBDS_MSG_OPTION_REPLY, "NBD_REP_INFO",
	 REPLY_FIELDS("NBD_OPT_GO", "NBD_REP_INFO", 12) "\n"
							"nbd.info@20+2 NBD_INFO_BLOCK_SIZE\n"
							"nbd.block_size.min@22+4 512\n"
							"nbd.block_size.prefer@26+4 4096\n"
							"nbd.info.data@30+2 0200",
	 "NBD_REP_INFO to NBD_OPT_GO: NBD_INFO_BLOCK_SIZE, minimum 512, preferred 4096, "
	 "2 bytes of data, malformed",
	 0, 0, NBDS_MSG_MALFORMED, 0},
	{"an unknown info", REP "00000007 00000003 00000005 1000 'xyz'", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_INFO",
	 REPLY_FIELDS("NBD_OPT_GO", "NBD_REP_INFO", 5) "\n"
						       "nbd.info@20+2 unknown info type 4096\n"
						       "nbd.info.data@22+3 78797a",
	 "NBD_REP_INFO to NBD_OPT_GO: unknown info type 4096, 3 bytes of data", 0, 0, 0, 0},
	{"INFO of one byte", REP "00000007 00000003 00000001 00", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_INFO",
	 REPLY_FIELDS("NBD_OPT_GO", "NBD_REP_INFO", 1) "\nnbd.hnd.reply.data@20+1 00",
	 "NBD_REP_INFO to NBD_OPT_GO: 1 byte of data, malformed", 0, 0, NBDS_MSG_MALFORMED, 0},
	{"META_CONTEXT", REP "0000000a 00000004 00000013 00000007 'base:allocation'",
	 NBDS_MSG_OPTION_REPLY, "NBD_REP_META_CONTEXT",
	 REPLY_FIELDS("NBD_OPT_SET_META_CONTEXT", "NBD_REP_META_CONTEXT",
		      19) "\n"
			  "nbd.meta_context.id@20+4 7\n"
			  "nbd.meta_context.name@24+15 'base:allocation'",
	 "NBD_REP_META_CONTEXT to NBD_OPT_SET_META_CONTEXT: context 7 \"base:allocation\"", 0, 0, 0,
	 0},
	{"an error with text", REP "00000007 80000006 00000002 'no'", NBDS_MSG_OPTION_REPLY,
	 "NBD_REP_ERR_UNKNOWN",
	 REPLY_FIELDS("NBD_OPT_GO", "NBD_REP_ERR_UNKNOWN", 2) "\nnbd.error_msg@20+2 'no'",
	 "NBD_REP_ERR_UNKNOWN to NBD_OPT_GO: \"no\"", 0, 0, 0, 0},
	{"an error without text, to an option of the wrong byte order",
	 REP "03000000 80000001 00000000", NBDS_MSG_OPTION_REPLY, "NBD_REP_ERR_UNSUP",
	 REPLY_FIELDS("unknown option 50331648", "NBD_REP_ERR_UNSUP", 0),
	 "NBD_REP_ERR_UNSUP to unknown option 50331648", 0, 0, 0, 0},
	{"an unknown error", REP "00000007 80000063 00000001 '!'", NBDS_MSG_OPTION_REPLY,
	 "unknown reply type 0x80000063",
	 REPLY_FIELDS("NBD_OPT_GO", "unknown reply type 0x80000063", 1) "\nnbd.error_msg@20+1 '!'",
	 "unknown reply type 0x80000063 to NBD_OPT_GO: \"!\"", 0, 0, 0, 0},
	{"an unknown reply type", REP "00000007 00000063 00000001 '!'", NBDS_MSG_OPTION_REPLY,
	 "unknown reply type 0x63",
	 REPLY_FIELDS("NBD_OPT_GO", "unknown reply type 0x63", 1) "\nnbd.hnd.reply.data@20+1 21",
	 "unknown reply type 0x63 to NBD_OPT_GO: 1 byte of data", 0, 0, 0, 0},

	/* EXPORT_NAME's answer. */
	{"export name reply, no zeroes", "0000000000000400 0001", NBDS_MSG_EXPORT_NAME_REPLY,
	 "NBD_EXPORT_NAME_REPLY",
	 "nbd.export.size@0+8 1024\n"
	 "nbd.export.trans.flags@8+2 NBD_FLAG_HAS_FLAGS {has_flags=1 read_only=0 flush=0 fua=0 "
	 "rotational=0 trim=0 write_zeroes=0 df=0 multi_conn=0 resize=0 cache=0 fast_zero=0 "
	 "block_status_payload=0}",
	 "NBD_EXPORT_NAME_REPLY 1024 bytes, HAS_FLAGS", 0, 0, 0, 0},
	{"export name reply, zeroes", "0000000000000400 0001 00*124", NBDS_MSG_EXPORT_NAME_REPLY,
	 "NBD_EXPORT_NAME_REPLY",
	 "nbd.export.size@0+8 1024\n"
	 "nbd.export.trans.flags@8+2 NBD_FLAG_HAS_FLAGS {has_flags=1 read_only=0 flush=0 fua=0 "
	 "rotational=0 trim=0 write_zeroes=0 df=0 multi_conn=0 resize=0 cache=0 fast_zero=0 "
	 "block_status_payload=0}\n"
	 "nbd.reserved@10+124 00000000",
	 "NBD_EXPORT_NAME_REPLY 1024 bytes, HAS_FLAGS, 124 reserved bytes", 0, 0, 0, 0},

	/* Requests. */
	{"READ", "25609513 0004 0000 " COOKIE "0000000000001000 00000200", NBDS_MSG_REQUEST,
	 "NBD_CMD_READ",
	 "nbd.magic@0+4 NBD_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 NBD_CMD_FLAG_DF" CMD_BITS(0, 0, 1, 0, 0,
						      0) "nbd.type@6+2 NBD_CMD_READ\n"
							 "nbd.handle@8+8 0x123456789abcdef\n"
							 "nbd.from@16+8 0x1000\n"
							 "nbd.len@24+4 512",
	 "NBD_CMD_READ 512 bytes at 0x1000, DF, cookie 0x123456789abcdef", 0, 0, 0, 0},
	{"WRITE", "25609513 0001 0001 0000000000000007 0000000000001000 00001000", NBDS_MSG_REQUEST,
	 "NBD_CMD_WRITE",
	 "nbd.magic@0+4 NBD_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 NBD_CMD_FLAG_FUA" CMD_BITS(1, 0, 0, 0, 0,
						       0) "nbd.type@6+2 NBD_CMD_WRITE\n"
							  "nbd.handle@8+8 0x7\n"
							  "nbd.from@16+8 0x1000\n"
							  "nbd.len@24+4 4096\n"
							  "nbd.data@28+4096 payload",
	 "NBD_CMD_WRITE 4096 bytes at 0x1000, FUA, cookie 0x7", NBDS_PAYLOAD_WRITE, 4096, 0, 0},
	{"DISC", "25609513 0000 0002 00*8 00*8 00*4", NBDS_MSG_REQUEST, "NBD_CMD_DISC",
	 "nbd.magic@0+4 NBD_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 none" CMD_BITS(0, 0, 0, 0, 0, 0) "nbd.type@6+2 NBD_CMD_DISC\n"
							     "nbd.handle@8+8 0x0\n"
							     "nbd.from@16+8 0x0\n"
							     "nbd.len@24+4 0",
	 "NBD_CMD_DISC cookie 0x0", 0, 0, 0, 0},
	{"WRITE_ZEROES", "25609513 0012 0006 " COOKIE "0000000000000000 ffffffff", NBDS_MSG_REQUEST,
	 "NBD_CMD_WRITE_ZEROES",
	 "nbd.magic@0+4 NBD_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO" CMD_BITS(
		 0, 1, 0, 0, 1, 0) "nbd.type@6+2 NBD_CMD_WRITE_ZEROES\n"
				   "nbd.handle@8+8 0x123456789abcdef\n"
				   "nbd.from@16+8 0x0\n"
				   "nbd.len@24+4 4294967295",
	 "NBD_CMD_WRITE_ZEROES 4294967295 bytes at 0x0, NO_HOLE, FAST_ZERO, "
	 "cookie 0x123456789abcdef",
	 0, 0, 0, 0},
	{"RESIZE: the size is where the offset is otherwise",
	 "25609513 0000 0008 00*8 0000000000100000 00000000", NBDS_MSG_REQUEST, "NBD_CMD_RESIZE",
	 "nbd.magic@0+4 NBD_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 none" CMD_BITS(0, 0, 0, 0, 0, 0) "nbd.type@6+2 NBD_CMD_RESIZE\n"
							     "nbd.handle@8+8 0x0\n"
							     "nbd.from@16+8 0x100000\n"
							     "nbd.len@24+4 0",
	 "NBD_CMD_RESIZE to 1048576 bytes, cookie 0x0", 0, 0, 0, 0},
	{"an unknown command", "25609513 8000 002a 00*8 0000000000000001 00000002",
	 NBDS_MSG_REQUEST, "unknown command 42",
	 "nbd.magic@0+4 NBD_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 bit 15" CMD_BITS(0, 0, 0, 0, 0, 0) "nbd.type@6+2 unknown command 42\n"
							       "nbd.handle@8+8 0x0\n"
							       "nbd.from@16+8 0x1\n"
							       "nbd.len@24+4 2",
	 "unknown command 42 2 bytes at 0x1, bit 15, cookie 0x0", 0, 0, 0, 0},
	{"extended WRITE", "21e41c71 0020 0001 00*7 09 0000000000000010 0000000200000000",
	 NBDS_MSG_REQUEST, "NBD_CMD_WRITE",
	 "nbd.magic@0+4 NBD_EXTENDED_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 NBD_CMD_FLAG_PAYLOAD_LEN" CMD_BITS(0, 0, 0, 0, 0,
							       1) "nbd.type@6+2 NBD_CMD_WRITE\n"
								  "nbd.handle@8+8 0x9\n"
								  "nbd.from@16+8 0x10\n"
								  "nbd.len@24+8 8589934592\n"
								  "nbd.data@32+4294967295 payload",
	 "NBD_CMD_WRITE 8589934592 bytes at 0x10, PAYLOAD_LEN, cookie 0x9", NBDS_PAYLOAD_WRITE,
	 8589934592, 0, 0},
	{"extended BLOCK_STATUS, effect length",
	 "21e41c71 0008 0007 00*8 0000000000000000 0000000100000000", NBDS_MSG_REQUEST,
	 "NBD_CMD_BLOCK_STATUS",
	 "nbd.magic@0+4 NBD_EXTENDED_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 NBD_CMD_FLAG_REQ_ONE" CMD_BITS(0, 0, 0, 1, 0,
							   0) "nbd.type@6+2 NBD_CMD_BLOCK_STATUS\n"
							      "nbd.handle@8+8 0x0\n"
							      "nbd.from@16+8 0x0\n"
							      "nbd.len@24+8 4294967296",
	 "NBD_CMD_BLOCK_STATUS 4294967296 bytes at 0x0, REQ_ONE, cookie 0x0", 0, 0, 0, 0},
	{"extended BLOCK_STATUS, payload form",
	 "21e41c71 0020 0007 00*8 0000000000000200 0000000000000010 0000000000010000",
	 NBDS_MSG_REQUEST, "NBD_CMD_BLOCK_STATUS",
	 "nbd.magic@0+4 NBD_EXTENDED_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 NBD_CMD_FLAG_PAYLOAD_LEN" CMD_BITS(
		 0, 0, 0, 0, 0, 1) "nbd.type@6+2 NBD_CMD_BLOCK_STATUS\n"
				   "nbd.handle@8+8 0x0\n"
				   "nbd.from@16+8 0x200\n"
				   "nbd.len@24+8 16\n"
				   "nbd.effect_len@32+8 65536\n"
				   "nbd.meta_context.ids@40+8 payload",
	 "NBD_CMD_BLOCK_STATUS 65536 bytes at 0x200, 8 bytes of context ids, PAYLOAD_LEN, "
	 "cookie 0x0",
	 NBDS_PAYLOAD_IDS, 8, 0, 0},
	{"extended BLOCK_STATUS, payload form without room for the effect length",
	 "21e41c71 0020 0007 00*8 0000000000000200 0000000000000004", NBDS_MSG_REQUEST,
	 "NBD_CMD_BLOCK_STATUS",
	 "nbd.magic@0+4 NBD_EXTENDED_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 NBD_CMD_FLAG_PAYLOAD_LEN" CMD_BITS(
		 0, 0, 0, 0, 0, 1) "nbd.type@6+2 NBD_CMD_BLOCK_STATUS\n"
				   "nbd.handle@8+8 0x0\n"
				   "nbd.from@16+8 0x200\n"
				   "nbd.len@24+8 4\n"
				   "nbd.data@32+4 payload",
	 "NBD_CMD_BLOCK_STATUS 4 bytes at 0x200, PAYLOAD_LEN, cookie 0x0, malformed",
	 NBDS_PAYLOAD_REST, 4, NBDS_MSG_MALFORMED, 0},
	{"extended BLOCK_STATUS, bytes behind it that no flag announced",
	 "21e41c71 0000 0007 00*8 0000000000000200 0000000000010000 0000000000000001",
	 NBDS_MSG_REQUEST, "NBD_CMD_BLOCK_STATUS",
	 "nbd.magic@0+4 NBD_EXTENDED_REQUEST_MAGIC\n"
	 "nbd.cmd.flags@4+2 none" CMD_BITS(0, 0, 0, 0, 0, 0) "nbd.type@6+2 NBD_CMD_BLOCK_STATUS\n"
							     "nbd.handle@8+8 0x0\n"
							     "nbd.from@16+8 0x200\n"
							     "nbd.len@24+8 65536\n"
							     "nbd.data@32+8 00000000",
	 "NBD_CMD_BLOCK_STATUS 65536 bytes at 0x200, cookie 0x0", 0, 0, 0, 0},
	{"a historic request", "12560953 00000000 00001000 00000200", NBDS_MSG_REQUEST,
	 "NBD_REQUEST_MAGIC_HISTORIC",
	 "nbd.magic@0+4 NBD_REQUEST_MAGIC_HISTORIC\n"
	 "nbd.data@4+12 00000000",
	 "NBD_REQUEST_MAGIC_HISTORIC", 0, 0, 0, 0},

	/* Replies. */
	{"simple reply with data", "67446698 00000000 " COOKIE, NBDS_MSG_SIMPLE_REPLY,
	 "NBD_SIMPLE_REPLY",
	 "nbd.magic@0+4 NBD_SIMPLE_REPLY_MAGIC\n"
	 "nbd.error@4+4 NBD_SUCCESS\n"
	 "nbd.handle@8+8 0x123456789abcdef\n"
	 "nbd.data@16+512 payload",
	 "NBD_SIMPLE_REPLY to NBD_CMD_READ: NBD_SUCCESS, 512 bytes, cookie 0x123456789abcdef",
	 NBDS_PAYLOAD_READ, 512, 0, 1 + NBD_CMD_READ},
	{"simple reply with an error", "67446698 00000005 00*8", NBDS_MSG_SIMPLE_REPLY,
	 "NBD_SIMPLE_REPLY",
	 "nbd.magic@0+4 NBD_SIMPLE_REPLY_MAGIC\n"
	 "nbd.error@4+4 NBD_EIO\n"
	 "nbd.handle@8+8 0x0",
	 "NBD_SIMPLE_REPLY to NBD_CMD_FLUSH: NBD_EIO, cookie 0x0", 0, 0, 0, 1 + NBD_CMD_FLUSH},
	{"simple reply to nothing, with the server's own errno", "67446698 0000001e 00*8",
	 NBDS_MSG_SIMPLE_REPLY, "NBD_SIMPLE_REPLY",
	 "nbd.magic@0+4 NBD_SIMPLE_REPLY_MAGIC\n"
	 "nbd.error@4+4 unknown error 30\n"
	 "nbd.handle@8+8 0x0",
	 "NBD_SIMPLE_REPLY: unknown error 30, cookie 0x0, no such request", 0, 0,
	 NBDS_MSG_UNSOLICITED, 0},
	{"a historic reply", "96744668 00*12", NBDS_MSG_SIMPLE_REPLY, "NBD_REPLY_MAGIC_HISTORIC",
	 "nbd.magic@0+4 NBD_REPLY_MAGIC_HISTORIC\n"
	 "nbd.data@4+12 00000000",
	 "NBD_REPLY_MAGIC_HISTORIC", 0, 0, 0, 0},
	{"NONE", "668e33ef 0001 0000 00*7 07 00000000", NBDS_MSG_CHUNK, "NBD_REPLY_TYPE_NONE",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_NONE\n"
	 "nbd.handle@8+8 0x7\n"
	 "nbd.len@16+4 0",
	 "NBD_REPLY_TYPE_NONE to NBD_CMD_FLUSH: DONE, cookie 0x7", 0, 0, 0, 1 + NBD_CMD_FLUSH},
	{"OFFSET_DATA", "668e33ef 0000 0001 00*8 00000208 0000000000001000", NBDS_MSG_CHUNK,
	 "NBD_REPLY_TYPE_OFFSET_DATA",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 none {done=0}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_OFFSET_DATA\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 520\n"
	 "nbd.from@20+8 0x1000\n"
	 "nbd.data@28+512 payload",
	 "NBD_REPLY_TYPE_OFFSET_DATA to NBD_CMD_READ: 512 bytes at 0x1000, cookie 0x0",
	 NBDS_PAYLOAD_READ, 512, 0, 1 + NBD_CMD_READ},
	{"OFFSET_HOLE", "668e33ef 4001 0002 00*8 0000000c 0000000000001000 00010000",
	 NBDS_MSG_CHUNK, "NBD_REPLY_TYPE_OFFSET_HOLE",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE | bit 14 {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_OFFSET_HOLE\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 12\n"
	 "nbd.from@20+8 0x1000\n"
	 "nbd.hole_size@28+4 65536",
	 "NBD_REPLY_TYPE_OFFSET_HOLE to NBD_CMD_READ: hole of 65536 bytes at 0x1000, DONE, bit 14, "
	 "cookie 0x0",
	 0, 0, 0, 1 + NBD_CMD_READ},
	{"BLOCK_STATUS", "668e33ef 0001 0005 00*8 00000014 00000002", NBDS_MSG_CHUNK,
	 "NBD_REPLY_TYPE_BLOCK_STATUS",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_BLOCK_STATUS\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 20\n"
	 "nbd.meta_context.id@20+4 2\n"
	 "nbd.extents@24+16 payload",
	 "NBD_REPLY_TYPE_BLOCK_STATUS to NBD_CMD_BLOCK_STATUS: context 2, 2 extents, DONE, "
	 "cookie 0x0",
	 NBDS_PAYLOAD_EXTENTS, 16, 0, 1 + NBD_CMD_BLOCK_STATUS},
	{"BLOCK_STATUS_EXT",
	 "6e8a278c 0001 0006 00*8 0000000000002000 0000000000000018 00000002 00000001",
	 NBDS_MSG_CHUNK, "NBD_REPLY_TYPE_BLOCK_STATUS_EXT",
	 "nbd.magic@0+4 NBD_EXTENDED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_BLOCK_STATUS_EXT\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.reply.from@16+8 0x2000\n"
	 "nbd.len@24+8 24\n"
	 "nbd.meta_context.id@32+4 2\n"
	 "nbd.extents.num@36+4 1\n"
	 "nbd.extents@40+16 payload",
	 "NBD_REPLY_TYPE_BLOCK_STATUS_EXT to NBD_CMD_BLOCK_STATUS: context 2, 1 extent, DONE, "
	 "cookie 0x0",
	 NBDS_PAYLOAD_EXTENTS, 16, 0, 1 + NBD_CMD_BLOCK_STATUS},
	{"extended OFFSET_DATA",
	 "6e8a278c 0001 0001 00*8 0000000000002000 0000000000000208 0000000000002000",
	 NBDS_MSG_CHUNK, "NBD_REPLY_TYPE_OFFSET_DATA",
	 "nbd.magic@0+4 NBD_EXTENDED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_OFFSET_DATA\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.reply.from@16+8 0x2000\n"
	 "nbd.len@24+8 520\n"
	 "nbd.from@32+8 0x2000\n"
	 "nbd.data@40+512 payload",
	 "NBD_REPLY_TYPE_OFFSET_DATA: 512 bytes at 0x2000, DONE, cookie 0x0, no such request",
	 NBDS_PAYLOAD_READ, 512, NBDS_MSG_UNSOLICITED, 0},
	{"ERROR with text", "668e33ef 0001 8001 00*8 00000009 00000016 0003 'bad'", NBDS_MSG_CHUNK,
	 "NBD_REPLY_TYPE_ERROR",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_ERROR\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 9\n"
	 "nbd.error@20+4 NBD_EINVAL\n"
	 "nbd.error_msg.len@24+2 3\n"
	 "nbd.error_msg@26+3 'bad'",
	 "NBD_REPLY_TYPE_ERROR to NBD_CMD_WRITE: NBD_EINVAL \"bad\", DONE, cookie 0x0", 0, 0, 0,
	 1 + NBD_CMD_WRITE},
	{"ERROR, message length of the wrong byte order",
	 "668e33ef 0001 8001 00*8 00000009 00000005 0300 'bad'", NBDS_MSG_CHUNK,
	 "NBD_REPLY_TYPE_ERROR",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_ERROR\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 9\n"
	 "nbd.error@20+4 NBD_EIO\n"
	 "nbd.error_msg.len@24+2 768\n"
	 "nbd.error_msg@26+3 'bad'",
	 "NBD_REPLY_TYPE_ERROR to NBD_CMD_READ: NBD_EIO \"bad\", DONE, cookie 0x0, malformed", 0, 0,
	 NBDS_MSG_MALFORMED, 1 + NBD_CMD_READ},
	{"ERROR with a structured tail",
	 "668e33ef 0001 8001 00*8 0000000b 00000005 0003 'bad' 1234", NBDS_MSG_CHUNK,
	 "NBD_REPLY_TYPE_ERROR",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_ERROR\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 11\n"
	 "nbd.error@20+4 NBD_EIO\n"
	 "nbd.error_msg.len@24+2 3\n"
	 "nbd.error_msg@26+3 'bad'\n"
	 "nbd.data@29+2 1234",
	 "NBD_REPLY_TYPE_ERROR to NBD_CMD_READ: NBD_EIO \"bad\", DONE, cookie 0x0", 0, 0, 0,
	 1 + NBD_CMD_READ},
	{"ERROR_OFFSET: the offset is behind the text",
	 "668e33ef 0000 8002 00*8 00000010 00000005 0002 'io' 0000000000001200", NBDS_MSG_CHUNK,
	 "NBD_REPLY_TYPE_ERROR_OFFSET",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 none {done=0}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_ERROR_OFFSET\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 16\n"
	 "nbd.error@20+4 NBD_EIO\n"
	 "nbd.error_msg.len@24+2 2\n"
	 "nbd.error_msg@26+2 'io'\n"
	 "nbd.from@28+8 0x1200",
	 "NBD_REPLY_TYPE_ERROR_OFFSET to NBD_CMD_READ: NBD_EIO \"io\" at 0x1200, cookie 0x0", 0, 0,
	 0, 1 + NBD_CMD_READ},
	{"ERROR_OFFSET, text over the offset",
	 "668e33ef 0000 8002 00*8 00000010 00000005 0003 'io' 0000000000001200", NBDS_MSG_CHUNK,
	 "NBD_REPLY_TYPE_ERROR_OFFSET",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 none {done=0}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_ERROR_OFFSET\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 16\n"
	 "nbd.error@20+4 NBD_EIO\n"
	 "nbd.error_msg.len@24+2 3\n"
	 "nbd.data@26+10 696f0000",
	 "NBD_REPLY_TYPE_ERROR_OFFSET to NBD_CMD_READ: NBD_EIO, cookie 0x0, malformed", 0, 0,
	 NBDS_MSG_MALFORMED, 1 + NBD_CMD_READ},
	{"an unknown error chunk, extended",
	 "6e8a278c 0001 8003 00*8 00*8 0000000000000007 0000006c 0001 'x'", NBDS_MSG_CHUNK,
	 "unknown chunk type 0x8003",
	 "nbd.magic@0+4 NBD_EXTENDED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 unknown chunk type 0x8003\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.reply.from@16+8 0x0\n"
	 "nbd.len@24+8 7\n"
	 "nbd.error@32+4 NBD_ESHUTDOWN\n"
	 "nbd.error_msg.len@36+2 1\n"
	 "nbd.error_msg@38+1 'x'",
	 "unknown chunk type 0x8003 to NBD_CMD_TRIM: NBD_ESHUTDOWN \"x\", DONE, cookie 0x0", 0, 0,
	 0, 1 + NBD_CMD_TRIM},
	{"an unknown chunk", "668e33ef 0001 0003 00*8 00000200", NBDS_MSG_CHUNK,
	 "unknown chunk type 0x3",
	 "nbd.magic@0+4 NBD_STRUCTURED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 unknown chunk type 0x3\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.len@16+4 512\n"
	 "nbd.data@20+512 payload",
	 "unknown chunk type 0x3 to NBD_CMD_READ: 512 bytes, DONE, cookie 0x0", NBDS_PAYLOAD_REST,
	 512, 0, 1 + NBD_CMD_READ},
	{"a length near 2^64", "6e8a278c 0001 8001 00*8 00*8 ffffffffffffffff 00000005 0001 'x'",
	 NBDS_MSG_CHUNK, "NBD_REPLY_TYPE_ERROR",
	 "nbd.magic@0+4 NBD_EXTENDED_REPLY_MAGIC\n"
	 "nbd.reply.flags@4+2 NBD_REPLY_FLAG_DONE {done=1}\n"
	 "nbd.reply.type@6+2 NBD_REPLY_TYPE_ERROR\n"
	 "nbd.handle@8+8 0x0\n"
	 "nbd.reply.from@16+8 0x0\n"
	 "nbd.len@24+8 18446744073709551615\n"
	 "nbd.error@32+4 NBD_EIO\n"
	 "nbd.error_msg.len@36+2 1\n"
	 "nbd.error_msg@38+1 'x'",
	 "NBD_REPLY_TYPE_ERROR to NBD_CMD_READ: NBD_EIO \"x\", DONE, cookie 0x0, cut", 0, 0,
	 NBDS_MSG_CUT, 1 + NBD_CMD_READ},
};

/* The message of a sample, its head in `bytes` (NULL: none). */
static struct nbds_message message(const struct sample *s, const uint8_t *bytes, uint32_t len,
				   struct nbds_request *request)
{
	struct nbds_message m = {.type = s->type, .name = s->name};

	m.flags = s->flags;
	m.head = bytes;
	m.head_len = len;
	m.payload = s->payload;
	m.payload_len = s->payload_len;
	if (s->request) {
		*request = (struct nbds_request){.type = (uint16_t)(s->request - 1)};
		m.request = request;
	}
	if (s->type == NBDS_MSG_CHUNK && s->payload == NBDS_PAYLOAD_EXTENTS)
		m.u.chunk.type = strstr(s->name, "_EXT") ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT
							 : NBD_REPLY_TYPE_BLOCK_STATUS;
	return m;
}

static void every_message(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		const struct sample *s = &samples[i];
		struct head h = make(s->head);
		struct nbds_request request;
		struct nbds_message m = message(s, h.bytes, h.len, &request);
		struct told t = {.m = &m, .word = -1};
		char line[512];

		nbds_walk(&m, tell, &t);
		if (strcmp(t.text, s->fields))
			fail_msg("%s:\n%s\nexpected:\n%s", s->what, t.text, s->fields);
		assert_int_equal(t.next, h.len); /* no byte of the head is left out */
		assert_int_equal(t.payload, s->payload_len > 0);

		assert_true(nbds_summary(&m, line, sizeof(line)) == (int)strlen(s->summary));
		if (strcmp(line, s->summary))
			fail_msg("%s:\n%s\nexpected:\n%s", s->what, line, s->summary);
	}
}

/* All bytes of the copy are reachable by the sanitizer, and none beyond. */
static uint8_t *exactly(const uint8_t *bytes, uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return copy;
}

static void summary_of_any_room(const struct nbds_message *m)
{
	char whole[2048];
	int need = nbds_summary(m, whole, sizeof(whole));

	assert_true(need > 0 && (size_t)need < sizeof(whole));
	assert_int_equal(strlen(whole), need);
	for (size_t room = 0; room <= (size_t)need + 1; room++) {
		char *line = malloc(room ? room : 1);

		assert_non_null(line);
		assert_int_equal(nbds_summary(m, room ? line : NULL, room), need);
		if (room) {
			assert_true(strlen(line) < room);
			assert_memory_equal(line, whole, strlen(line));
		}
		free(line);
	}
}

static void cut_anywhere(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		const struct sample *s = &samples[i];
		struct head h = make(s->head);

		for (uint32_t len = 0; len <= h.len; len++) {
			uint8_t *copy = exactly(h.bytes, len);
			struct nbds_request request;
			struct nbds_message m = message(s, copy, len, &request);
			struct told t = {.m = &m, .word = -1};

			nbds_walk(&m, only_check, &t);
			assert_int_equal(t.next, len); /* all that is there, is told */
			summary_of_any_room(&m);
			free(copy);
		}
	}
}

/* Every byte of every head as every of some values, and every head as every
 * type of message. */
static void changed_anywhere(void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x05, 0x06, 0x07, 0x0a, 0x7f, 0x80, 0xff};

	(void)state;
	for (size_t i = 0; i < COUNT(samples); i++) {
		struct sample s = samples[i];
		struct head h = make(s.head);
		uint8_t *copy = exactly(h.bytes, h.len);

		for (int type = NBDS_MSG_GREETING; type <= NBDS_MSG_CHUNK; type++) {
			s.type = (enum nbds_message_type)type;
			for (uint32_t at = 0; at < h.len; at++) {
				for (size_t v = 0; v < COUNT(values); v++) {
					struct nbds_request request;
					struct nbds_message m = message(&s, copy, h.len, &request);
					struct told t = {.m = &m, .word = -1};
					char line[64];

					copy[at] = values[v];
					nbds_walk(&m, only_check, &t);
					assert_true(t.next <= h.len);
					assert_true(nbds_summary(&m, line, sizeof(line)) > 0);
				}
				copy[at] = h.bytes[at];
			}
		}
		free(copy);
	}
}

/* What lies behind a message by its own length is none of its fields. */
static void own_length(void **state)
{
	struct head h = make(OPTS "00000007 00000006 00000000 0001 0003");
	struct nbds_message m = {
		.type = NBDS_MSG_OPTION, .name = "NBD_OPT_GO", .head = h.bytes, .head_len = h.len};
	struct told t = {.m = &m, .word = -1};

	(void)state;
	nbds_walk(&m, tell, &t);
	assert_string_equal(t.text, OPTION_FIELDS("NBD_OPT_GO", 6) "\n"
								   "nbd.export.name.len@16+4 0\n"
								   "nbd.export.name@20+0 ''\n"
								   "nbd.info.num@20+2 1");
}

/* In message_end there is no head: the payload is still told. */
static void no_head(void **state)
{
	struct nbds_message m = {.type = NBDS_MSG_REQUEST,
				 .name = "NBD_CMD_WRITE",
				 .head_len = 28,
				 .payload = NBDS_PAYLOAD_WRITE,
				 .payload_len = 4096};
	struct told t = {.m = &m, .word = -1};
	char line[64];

	(void)state;
	nbds_walk(&m, tell, &t);
	assert_string_equal(t.text, "nbd.data@28+4096 payload");
	nbds_summary(&m, line, sizeof(line));
	assert_string_equal(line, "NBD_CMD_WRITE");
}

/* Payload: what nbds_walk_payload() says. */
static void tell_payload(void *arg, const struct nbds_field *f)
{
	struct told *t = arg;
	const struct nbds_field_info *info = &nbds_fields[f->id];

	add(t, "%s%s@%u+%u=%llu %s", t->len ? "\n" : "", info->name, f->offset, f->length,
	    (unsigned long long)f->value, f->text);
}

static void check_payload(enum nbds_payload kind, uint16_t type, const char *payload,
			  const struct nbds_name_table *status, const char *expected)
{
	struct head h = make(payload);
	struct nbds_message m = {.type = NBDS_MSG_CHUNK, .head_len = 24, .payload = kind};

	m.payload_len = h.len;
	m.u.chunk.type = type;
	/* In spans of every size, what is left put before the next. */
	for (size_t span = 1; span <= h.len; span++) {
		struct told t = {.m = &m};
		uint8_t carry[64];
		size_t left = 0, fed = 0;

		while (fed < h.len) {
			size_t n = h.len - fed < span ? h.len - fed : span, used;
			uint8_t *data = malloc(left + n);

			assert_non_null(data);
			memcpy(data, carry, left);
			memcpy(data + left, h.bytes + fed, n);
			used = nbds_walk_payload(&m, fed - left, data, left + n, status,
						 tell_payload, &t);
			assert_true(used <= left + n);
			left = left + n - used;
			fed += n;
			assert_true(left < 16);
			memcpy(carry, data + used, left);
			free(data);
		}
		if (strcmp(t.text, expected))
			fail_msg("spans of %zu:\n%s\nexpected:\n%s", span, t.text, expected);
	}
}

static void payloads(void **state)
{
	(void)state;
	check_payload(NBDS_PAYLOAD_EXTENTS, NBD_REPLY_TYPE_BLOCK_STATUS,
		      "00001000 00000003 00002000 00000004", &nbds_status_flags,
		      "nbd.extent.len@24+4=4096 4096\n"
		      "nbd.status_flags@28+4=3 NBD_STATE_HOLE | NBD_STATE_ZERO\n"
		      "nbd.status_flags.hole@28+4=1 set\n"
		      "nbd.status_flags.zero@28+4=1 set\n"
		      "nbd.extent.len@32+4=8192 8192\n"
		      "nbd.status_flags@36+4=4 bit 2\n"
		      "nbd.status_flags.hole@36+4=0 not set\n"
		      "nbd.status_flags.zero@36+4=0 not set");
	check_payload(NBDS_PAYLOAD_EXTENTS, NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
		      "0000000100000000 0000000000000001", &nbds_dirty_flags,
		      "nbd.extent.len@24+8=4294967296 4294967296\n"
		      "nbd.status_flags@32+8=1 NBD_STATE_DIRTY\n"
		      "nbd.status_flags.dirty@32+8=1 set");
	/* The depth of qemu:allocation-depth is a number; half an extent is none. */
	check_payload(NBDS_PAYLOAD_EXTENTS, NBD_REPLY_TYPE_BLOCK_STATUS, "00001000 00000003 000020",
		      NULL,
		      "nbd.extent.len@24+4=4096 4096\n"
		      "nbd.status_flags@28+4=3 0x3");
	check_payload(NBDS_PAYLOAD_IDS, 0, "00000001 80000000 ff", NULL,
		      "nbd.meta_context.id@24+4=1 1\n"
		      "nbd.meta_context.id@28+4=2147483648 2147483648");
	check_payload(NBDS_PAYLOAD_WRITE, 0, "00000001 00000002", NULL, "");
}

/* Offsets past 4 GiB stay at the largest that can be told. */
static void far_payload(void **state)
{
	struct nbds_message m = {.type = NBDS_MSG_CHUNK, .head_len = 24};
	struct told t = {.m = &m};
	uint8_t data[8] = {0};

	(void)state;
	m.payload = NBDS_PAYLOAD_EXTENTS;
	m.u.chunk.type = NBD_REPLY_TYPE_BLOCK_STATUS;
	assert_int_equal(nbds_walk_payload(&m, 0xffffffffffull, data, 8, &nbds_status_flags,
					   tell_payload, &t),
			 8);
	assert_string_equal(t.text, "nbd.extent.len@4294967295+4=0 0\n"
				    "nbd.status_flags@4294967295+4=0 none\n"
				    "nbd.status_flags.hole@4294967295+4=0 not set\n"
				    "nbd.status_flags.zero@4294967295+4=0 not set");
}

/* The table of fields. */
static void table(void **state)
{
	(void)state;
	for (size_t i = 0; i < nbds_fields_count; i++) {
		const struct nbds_field_info *f = &nbds_fields[i];

		assert_non_null(f->name);
		assert_memory_equal(f->name, "nbd.", 4);
		assert_true(strlen(f->label) > 0);
		assert_true(strlen(f->what) > 0);
		assert_int_equal(nbds_field_find(f->name), i); /* each name once */
		if (f->type == NBDS_FT_BOOLEAN) {
			const struct nbds_field_info *p;

			assert_true(f->parent >= 0 && (size_t)f->parent < i);
			p = &nbds_fields[f->parent];
			assert_true(p->type == NBDS_FT_UINT16 || p->type == NBDS_FT_UINT32 ||
				    p->type == NBDS_FT_UINT64);
			assert_int_equal(f->mask_bits, p->type == NBDS_FT_UINT16   ? 16
						       : p->type == NBDS_FT_UINT32 ? 32
										   : 64);
			assert_true(f->mask && !(f->mask & (f->mask - 1)));
			assert_true(f->mask_bits == 64 || f->mask >> f->mask_bits == 0);
		} else {
			assert_int_equal(f->parent, -1);
			assert_int_equal(f->mask, 0);
		}
		if (f->table) {
			assert_ptr_equal(f->values, f->table->entries);
			assert_int_equal(f->values_count, f->table->count);
		} else {
			assert_null(f->values);
			assert_false(f->flags);
		}
	}
	assert_int_equal(nbds_field_find("nbd.nonsense"), -1);
	assert_int_equal(nbds_field_find("nbd"), -1);
}

/* Wireshark 4.6's fields, as its display filter reference names them. */
static void wireshark_names(void **state)
{
	static const struct {
		const char *name;
		enum nbds_field_type type;
		uint64_t mask;
	} reference[] = {
		{"nbd.hnd.magic", NBDS_FT_UINT64, 0},
		{"nbd.hnd.flags", NBDS_FT_UINT16, 0},
		{"nbd.hnd.flags.fixed_new", NBDS_FT_BOOLEAN, 0x0001},
		{"nbd.hnd.flags.no_zeroes", NBDS_FT_BOOLEAN, 0x0002},
		{"nbd.cli.flags", NBDS_FT_UINT32, 0},
		{"nbd.cli.flags.fixed_new", NBDS_FT_BOOLEAN, 0x0001},
		{"nbd.cli.flags.no_zeroes", NBDS_FT_BOOLEAN, 0x0002},
		{"nbd.hnd.opt", NBDS_FT_UINT32, 0},
		{"nbd.hnd.reply", NBDS_FT_UINT32, 0},
		{"nbd.magic", NBDS_FT_UINT32, 0},
		{"nbd.cmd.flags", NBDS_FT_UINT16, 0},
		{"nbd.cmd.flags.fua", NBDS_FT_BOOLEAN, 0x0001},
		{"nbd.cmd.flags.no_hole", NBDS_FT_BOOLEAN, 0x0002},
		{"nbd.cmd.flags.df", NBDS_FT_BOOLEAN, 0x0004},
		{"nbd.cmd.flags.req_one", NBDS_FT_BOOLEAN, 0x0008},
		{"nbd.cmd.flags.fast_zero", NBDS_FT_BOOLEAN, 0x0010},
		{"nbd.cmd.flags.payload_len", NBDS_FT_BOOLEAN, 0x0020},
		{"nbd.reply.flags", NBDS_FT_UINT16, 0},
		{"nbd.reply.flags.done", NBDS_FT_BOOLEAN, 0x0001},
		{"nbd.export.size", NBDS_FT_UINT64, 0},
		{"nbd.export.trans.flags", NBDS_FT_UINT16, 0},
		{"nbd.trans.flags.has_flags", NBDS_FT_BOOLEAN, 0x0001},
		{"nbd.trans.flags.read_only", NBDS_FT_BOOLEAN, 0x0002},
		{"nbd.trans.flags.flush", NBDS_FT_BOOLEAN, 0x0004},
		{"nbd.trans.flags.fua", NBDS_FT_BOOLEAN, 0x0008},
		{"nbd.trans.flags.rotational", NBDS_FT_BOOLEAN, 0x0010},
		{"nbd.trans.flags.trim", NBDS_FT_BOOLEAN, 0x0020},
		{"nbd.trans.flags.write_zeroes", NBDS_FT_BOOLEAN, 0x0040},
		{"nbd.trans.flags.df", NBDS_FT_BOOLEAN, 0x0080},
		{"nbd.trans.flags.multi_conn", NBDS_FT_BOOLEAN, 0x0100},
		{"nbd.trans.flags.resize", NBDS_FT_BOOLEAN, 0x0200},
		{"nbd.trans.flags.cache", NBDS_FT_BOOLEAN, 0x0400},
		{"nbd.trans.flags.fast_zero", NBDS_FT_BOOLEAN, 0x0800},
		{"nbd.trans.flags.block_status_payload", NBDS_FT_BOOLEAN, 0x1000},
		{"nbd.reserved", NBDS_FT_BYTES, 0},
		{"nbd.type", NBDS_FT_UINT16, 0},
		{"nbd.reply.type", NBDS_FT_UINT16, 0},
		{"nbd.error", NBDS_FT_UINT32, 0},
		{"nbd.len", NBDS_FT_UINT64, 0},
		{"nbd.handle", NBDS_FT_UINT64, 0},
		{"nbd.from", NBDS_FT_UINT64, 0},
		{"nbd.export.name.len", NBDS_FT_UINT32, 0},
		{"nbd.export.name", NBDS_FT_STRING, 0},
		{"nbd.info.num", NBDS_FT_UINT16, 0},
		{"nbd.info", NBDS_FT_UINT16, 0},
		{"nbd.query.num", NBDS_FT_UINT32, 0},
		{"nbd.export.description", NBDS_FT_STRING, 0},
		{"nbd.block_size.min", NBDS_FT_UINT32, 0},
		{"nbd.block_size.prefer", NBDS_FT_UINT32, 0},
		{"nbd.payload_size.max", NBDS_FT_UINT32, 0},
		{"nbd.meta_context.id", NBDS_FT_UINT32, 0},
		{"nbd.meta_context.name", NBDS_FT_STRING, 0},
		{"nbd.error_msg.len", NBDS_FT_UINT16, 0},
		{"nbd.error_msg", NBDS_FT_STRING, 0},
		{"nbd.data", NBDS_FT_BYTES, 0},
		{"nbd.hole_size", NBDS_FT_UINT32, 0},
		{"nbd.status_flags", NBDS_FT_UINT64, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(reference); i++) {
		int id = nbds_field_find(reference[i].name);

		if (id < 0)
			fail_msg("no field %s", reference[i].name);
		assert_int_equal(nbds_fields[id].type, reference[i].type);
		assert_int_equal(nbds_fields[id].mask, reference[i].mask);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(wireshark_names),
		cmocka_unit_test(every_message),
		cmocka_unit_test(own_length),
		cmocka_unit_test(no_head),
		cmocka_unit_test(payloads),
		cmocka_unit_test(far_payload),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(changed_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
