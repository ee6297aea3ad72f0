/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fields.c - the table of fields, and the one walk over a message.
 *
 * Everything is read from the head itself, never past its end and never past
 * the length that the message gives for itself.  Where a length inside does not
 * fit, the bytes that are left are shown as data.
 */
#include <nbdscope/fields.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tables.h"
#include <base/bytes.h>

#define X_ID(NAME, VALUE, SUFFIX, LABEL, WHAT) F_##NAME,

/* Field ids.  Bits stand right after their flag word. */
/* clang-format off */
enum field_id {
	F_HND_MAGIC,
	F_HND_FLAGS,
	NBDS_HANDSHAKE_FLAGS(X_ID)
	F_CLI_FLAGS,
	NBDS_CLIENT_FLAGS(X_ID)
	F_HND_OPT,
	F_HND_OPT_LEN,
	F_HND_OPT_DATA,
	F_HND_REPLY,
	F_HND_REPLY_LEN,
	F_HND_REPLY_DATA,
	F_EXPORT_SIZE,
	F_EXPORT_FLAGS,
	NBDS_TRANSMISSION_FLAGS(X_ID)
	F_RESERVED,
	F_EXPORT_NAME_LEN,
	F_EXPORT_NAME,
	F_EXPORT_DESCRIPTION,
	F_PEEK_FLAGS,
	NBDS_PEEK_FLAGS(X_ID)
	F_INFO_NUM,
	F_INFO,
	F_INFO_DATA,
	F_BLOCK_SIZE_MIN,
	F_BLOCK_SIZE_PREFER,
	F_PAYLOAD_SIZE_MAX,
	F_QUERY_NUM,
	F_QUERY_LEN,
	F_QUERY,
	F_META_CONTEXT_ID,
	F_META_CONTEXT_NAME,
	F_META_CONTEXT_IDS,
	F_MAGIC,
	F_CMD_FLAGS,
	NBDS_COMMAND_FLAGS(X_ID)
	F_TYPE,
	F_REPLY_FLAGS,
	NBDS_REPLY_FLAGS(X_ID)
	F_REPLY_TYPE,
	F_REPLY_FROM,
	F_HANDLE,
	F_FROM,
	F_LEN,
	F_EFFECT_LEN,
	F_ERROR,
	F_ERROR_MSG_LEN,
	F_ERROR_MSG,
	F_HOLE_SIZE,
	F_EXTENTS_NUM,
	F_EXTENTS,
	F_EXTENT_LEN,
	F_STATUS_FLAGS,
	NBDS_STATUS_FLAGS(X_ID)
	NBDS_DIRTY_FLAGS(X_ID)
	F_DATA,
	F_COUNT,
};
/* clang-format on */

/* A number with names, a number without, a flag word, and what is no number. */
#define COMMON(NAME, LABEL, TYPE, BASE, WHAT) \
	.name = NAME, .label = LABEL, .what = WHAT, .type = NBDS_FT_##TYPE, .base = NBDS_BASE_##BASE
#define ROWS(TABLE) .values = TABLE##_rows, .values_count = TABLE##_count, .table = &TABLE
/* clang-format off */
#define NAMED(NAME, LABEL, TYPE, BASE, TABLE, WHAT) \
	{COMMON(NAME, LABEL, TYPE, BASE, WHAT), ROWS(TABLE), .parent = -1}
#define NUMBER(NAME, LABEL, TYPE, BASE, WHAT) \
	{COMMON(NAME, LABEL, TYPE, BASE, WHAT), .parent = -1}
#define FLAGS(NAME, LABEL, TYPE, TABLE, WHAT) \
	{COMMON(NAME, LABEL, TYPE, HEX, WHAT), ROWS(TABLE), .flags = true, .parent = -1}
#define OTHER(NAME, LABEL, TYPE, WHAT) \
	{COMMON(NAME, LABEL, TYPE, NONE, WHAT), .parent = -1}

#define BIT(PREFIX, PARENT, BITS, NAME, SUFFIX, LABEL, WHAT) \
	[F_##NAME] = {COMMON(PREFIX SUFFIX, LABEL, BOOLEAN, NONE, #NAME ": " WHAT), \
	              .mask = NAME, .mask_bits = BITS, .parent = PARENT},
/* clang-format on */
#define X_HND(NAME, N, SUFFIX, LABEL, WHAT) \
	BIT("nbd.hnd.flags.", F_HND_FLAGS, 16, NAME, SUFFIX, LABEL, WHAT)
#define X_CLI(NAME, N, SUFFIX, LABEL, WHAT) \
	BIT("nbd.cli.flags.", F_CLI_FLAGS, 32, NAME, SUFFIX, LABEL, WHAT)
#define X_TRANS(NAME, N, SUFFIX, LABEL, WHAT) \
	BIT("nbd.trans.flags.", F_EXPORT_FLAGS, 16, NAME, SUFFIX, LABEL, WHAT)
#define X_PEEK(NAME, N, SUFFIX, LABEL, WHAT) \
	BIT("nbd.peek.flags.", F_PEEK_FLAGS, 32, NAME, SUFFIX, LABEL, WHAT)
#define X_CMD(NAME, N, SUFFIX, LABEL, WHAT) \
	BIT("nbd.cmd.flags.", F_CMD_FLAGS, 16, NAME, SUFFIX, LABEL, WHAT)
#define X_REPLY(NAME, N, SUFFIX, LABEL, WHAT) \
	BIT("nbd.reply.flags.", F_REPLY_FLAGS, 16, NAME, SUFFIX, LABEL, WHAT)
#define X_STATUS(NAME, N, SUFFIX, LABEL, WHAT) \
	BIT("nbd.status_flags.", F_STATUS_FLAGS, 64, NAME, SUFFIX, LABEL, WHAT)

/*
 * Names are those of Wireshark 4.6 where it has the field.  Two differ in
 * width: nbd.len and nbd.status_flags are 32 bits there, but with extended
 * headers the wire has 64.  One 64-bit field each keeps people's filters
 * (nbd.len > 65536) working on both headers; a second name for the wider form
 * would make every filter miss half of the traffic.
 */
/* clang-format off */
const struct nbds_field_info nbds_fields[] = {
	[F_HND_MAGIC] = NAMED("nbd.hnd.magic", "Magic", UINT64, HEX, nbds_magics64,
		"what follows, in the handshake"),
	[F_HND_FLAGS] = FLAGS("nbd.hnd.flags", "Handshake flags", UINT16, nbds_handshake_flags,
		"what the server can do in the handshake"),
	NBDS_HANDSHAKE_FLAGS(X_HND)
	[F_CLI_FLAGS] = FLAGS("nbd.cli.flags", "Client flags", UINT32, nbds_client_flags,
		"what the client chose for the handshake"),
	NBDS_CLIENT_FLAGS(X_CLI)
	[F_HND_OPT] = NAMED("nbd.hnd.opt", "Option", UINT32, HEX, nbds_options,
		"the option, or the one that is answered"),
	[F_HND_OPT_LEN] = NUMBER("nbd.hnd.opt.len", "Option length", UINT32, DEC,
		"bytes of data of the option"),
	[F_HND_OPT_DATA] = OTHER("nbd.hnd.opt.data", "Option data", BYTES,
		"data of the option that the protocol does not define"),
	[F_HND_REPLY] = NAMED("nbd.hnd.reply", "Reply type", UINT32, HEX, nbds_reply_types,
		"kind of answer to an option"),
	[F_HND_REPLY_LEN] = NUMBER("nbd.hnd.reply.len", "Reply length", UINT32, DEC,
		"bytes of data of the option reply"),
	[F_HND_REPLY_DATA] = OTHER("nbd.hnd.reply.data", "Reply data", BYTES,
		"data of the option reply that the protocol does not define"),
	[F_EXPORT_SIZE] = NUMBER("nbd.export.size", "Export size", UINT64, DEC,
		"size of the export in bytes"),
	[F_EXPORT_FLAGS] = FLAGS("nbd.export.trans.flags", "Transmission flags", UINT16,
		nbds_transmission_flags, "what the export supports"),
	NBDS_TRANSMISSION_FLAGS(X_TRANS)
	[F_RESERVED] = OTHER("nbd.reserved", "Reserved", BYTES, "124 bytes that must be zero"),
	[F_EXPORT_NAME_LEN] = NUMBER("nbd.export.name.len", "Export name length", UINT32, DEC,
		"bytes of the export's name"),
	[F_EXPORT_NAME] = OTHER("nbd.export.name", "Export name", STRING,
		"name of the export; empty: the default export"),
	[F_EXPORT_DESCRIPTION] = OTHER("nbd.export.description", "Export description", STRING,
		"description of the export, for people"),
	[F_PEEK_FLAGS] = FLAGS("nbd.peek.flags", "Export flags", UINT32, nbds_peek_flags,
		"answer to the withdrawn NBD_OPT_PEEK_EXPORT"),
	NBDS_PEEK_FLAGS(X_PEEK)
	[F_INFO_NUM] = NUMBER("nbd.info.num", "Number of information requests", UINT16, DEC,
		"how many information types are asked for"),
	[F_INFO] = NAMED("nbd.info", "Information type", UINT16, DEC, nbds_info_types,
		"which aspect of the export"),
	[F_INFO_DATA] = OTHER("nbd.info.data", "Information data", BYTES,
		"information that the protocol does not define"),
	[F_BLOCK_SIZE_MIN] = NUMBER("nbd.block_size.min", "Minimum block size", UINT32, DEC,
		"offsets and lengths must be multiples of it"),
	[F_BLOCK_SIZE_PREFER] = NUMBER("nbd.block_size.prefer", "Preferred block size", UINT32, DEC,
		"offsets and lengths should be multiples of it"),
	[F_PAYLOAD_SIZE_MAX] = NUMBER("nbd.payload_size.max", "Maximum payload size", UINT32, DEC,
		"the most bytes that one request may carry or ask for"),
	[F_QUERY_NUM] = NUMBER("nbd.query.num", "Number of queries", UINT32, DEC,
		"how many metadata contexts are asked for"),
	[F_QUERY_LEN] = NUMBER("nbd.query.len", "Query length", UINT32, DEC, "bytes of the query"),
	[F_QUERY] = OTHER("nbd.query", "Query", STRING, "metadata context that is asked for"),
	[F_META_CONTEXT_ID] = NUMBER("nbd.meta_context.id", "Metadata context id", UINT32, DEC,
		"the server's number for a metadata context"),
	[F_META_CONTEXT_NAME] = OTHER("nbd.meta_context.name", "Metadata context", STRING,
		"name of the metadata context"),
	[F_META_CONTEXT_IDS] = OTHER("nbd.meta_context.ids", "Metadata context ids", BYTES,
		"contexts that a block status request is limited to"),
	[F_MAGIC] = NAMED("nbd.magic", "Magic", UINT32, HEX, nbds_magics32,
		"what follows, in the transmission"),
	[F_CMD_FLAGS] = FLAGS("nbd.cmd.flags", "Command flags", UINT16, nbds_command_flags,
		"how the command is to be done"),
	NBDS_COMMAND_FLAGS(X_CMD)
	[F_TYPE] = NAMED("nbd.type", "Command", UINT16, DEC, nbds_commands, "what is to be done"),
	[F_REPLY_FLAGS] = FLAGS("nbd.reply.flags", "Reply flags", UINT16, nbds_reply_flags,
		"flags of the chunk"),
	NBDS_REPLY_FLAGS(X_REPLY)
	[F_REPLY_TYPE] = NAMED("nbd.reply.type", "Chunk type", UINT16, DEC, nbds_chunk_types,
		"what the chunk holds"),
	[F_REPLY_FROM] = NUMBER("nbd.reply.from", "Request offset", UINT64, HEX,
		"offset of the request, repeated in an extended reply"),
	[F_HANDLE] = NUMBER("nbd.handle", "Cookie", UINT64, HEX,
		"pairs replies with their request"),
	[F_FROM] = NUMBER("nbd.from", "Offset", UINT64, HEX, "offset in the export, in bytes"),
	[F_LEN] = NUMBER("nbd.len", "Length", UINT64, DEC, "length of the range or of the payload"),
	[F_EFFECT_LEN] = NUMBER("nbd.effect_len", "Effect length", UINT64, DEC,
		"range of a block status request with payload, in bytes"),
	[F_ERROR] = NAMED("nbd.error", "Error", UINT32, DEC, nbds_errors, "0, or why it failed"),
	[F_ERROR_MSG_LEN] = NUMBER("nbd.error_msg.len", "Error message length", UINT16, DEC,
		"bytes of the error message"),
	[F_ERROR_MSG] = OTHER("nbd.error_msg", "Error message", STRING,
		"the server's words for people"),
	[F_HOLE_SIZE] = NUMBER("nbd.hole_size", "Hole size", UINT32, DEC,
		"bytes that read as zeroes"),
	[F_EXTENTS_NUM] = NUMBER("nbd.extents.num", "Number of extents", UINT32, DEC,
		"extents in the chunk"),
	[F_EXTENTS] = OTHER("nbd.extents", "Extents", BYTES, "lengths and status of extents"),
	[F_EXTENT_LEN] = NUMBER("nbd.extent.len", "Extent length", UINT64, DEC,
		"bytes that share one status"),
	[F_STATUS_FLAGS] = NUMBER("nbd.status_flags", "Status", UINT64, HEX,
		"status of an extent; its metadata context says what it means"),
	NBDS_STATUS_FLAGS(X_STATUS)
	NBDS_DIRTY_FLAGS(X_STATUS)
	[F_DATA] = OTHER("nbd.data", "Data", BYTES, "payload"),
};
/* clang-format on */

const size_t nbds_fields_count = F_COUNT;

_Static_assert(sizeof(nbds_fields) / sizeof(nbds_fields[0]) == F_COUNT, "a field has no row");

int nbds_field_find(const char *name)
{
	for (int i = 0; i < F_COUNT; i++)
		if (!strcmp(nbds_fields[i].name, name))
			return i;
	return -1;
}

struct walk {
	const struct nbds_message *m;
	const uint8_t *head;
	uint32_t at;  /* next byte of the head; never past `end` */
	uint32_t end; /* bytes that may be read */
	nbds_field_fn *fn;
	void *arg;
	struct nbds_field f;
};

static uint32_t width_of(int id)
{
	switch (nbds_fields[id].type) {
	case NBDS_FT_UINT8:
		return 1;
	case NBDS_FT_UINT16:
		return 2;
	case NBDS_FT_UINT32:
		return 4;
	default:
		return 8;
	}
}

static uint64_t read_number(const uint8_t *p, uint32_t width)
{
	switch (width) {
	case 1:
		return p[0];
	case 2:
		return nbds_be16(p);
	case 4:
		return nbds_be32(p);
	default:
		return nbds_be64(p);
	}
}

static void tell(struct walk *w, int id, uint32_t offset, uint32_t length, uint64_t value,
		 const uint8_t *bytes)
{
	w->f.id = id;
	w->f.offset = offset;
	w->f.length = length;
	w->f.value = value;
	w->f.bytes = bytes;
	w->fn(w->arg, &w->f);
}

/* The bits `first` to `last` (field ids) of the flag word that was just told. */
static void tell_bits(struct walk *w, int first, int last)
{
	uint32_t offset = w->f.offset, length = w->f.length;
	uint64_t word = w->f.value;

	for (int id = first; id <= last; id++) {
		bool set = (word & nbds_fields[id].mask) != 0;

		strcpy(w->f.text, set ? "set" : "not set");
		tell(w, id, offset, length, set, NULL);
	}
}

static void tell_number(struct walk *w, int id, uint32_t offset, uint32_t width, uint64_t value)
{
	const struct nbds_field_info *info = &nbds_fields[id];
	char buf[NBDS_TEXT_OF_MAX];

	if (info->flags)
		nbds_flag_names(info->table, value, w->f.text, sizeof(w->f.text));
	else if (info->table)
		snprintf(w->f.text, sizeof(w->f.text), "%s", nbds_text_of(info->table, value, buf));
	else
		snprintf(w->f.text, sizeof(w->f.text),
			 info->base == NBDS_BASE_HEX ? "0x%" PRIx64 : "%" PRIu64, value);
	tell(w, id, offset, width, value, NULL);
	if (info->flags)
		tell_bits(w, id + 1, id + (int)info->values_count);
}

/* The number at `at`, if its bytes are there. */
static bool number(struct walk *w, int id, uint64_t *value)
{
	uint32_t width = width_of(id), at = w->at;

	if (w->end - at < width)
		return false;
	w->at += width;
	*value = read_number(w->head + at, width);
	tell_number(w, id, at, width, *value);
	return true;
}

/* The same where the value is of no consequence for the rest of the walk. */
static bool plain(struct walk *w, int id)
{
	uint64_t ignored;

	return number(w, id, &ignored);
}

/* The bytes from `at`, `n` of them or as many as are there. */
static void bytes(struct walk *w, int id, uint64_t n)
{
	uint32_t at = w->at;

	if (n > w->end - at)
		n = w->end - at;
	w->at += (uint32_t)n;
	w->f.text[0] = '\0';
	tell(w, id, at, (uint32_t)n, 0, w->head + at);
}

/* What is left, if anything is. */
static void rest(struct walk *w, int id)
{
	if (w->at < w->end)
		bytes(w, id, w->end - w->at);
}

/*
 * A string of `n` bytes inside a message that ends at `limit` by its own words.
 * The head may have been cut before: then what is there of the string is told.
 * But a string that reaches past `limit` is none: false, and nothing is told.
 */
static bool string(struct walk *w, int id, uint64_t n, uint64_t limit)
{
	if (w->at > limit || n > limit - w->at)
		return false;
	bytes(w, id, n);
	return true;
}

/* Nothing past what the message's own length allows. */
static void bound(struct walk *w, uint64_t limit)
{
	if (limit < w->end)
		w->end = (uint32_t)limit;
}

static void walk_greeting(struct walk *w)
{
	uint64_t magic;

	if (plain(w, F_HND_MAGIC) && number(w, F_HND_MAGIC, &magic)) {
		if (magic == NBD_CLISERV_MAGIC) {
			/* One 32-bit word in the specification: handshake flags, all
			 * of them 0 in oldstyle, above the transmission flags. */
			if (plain(w, F_EXPORT_SIZE) && plain(w, F_HND_FLAGS) &&
			    plain(w, F_EXPORT_FLAGS))
				rest(w, F_RESERVED);
		} else if (magic == NBD_OPTS_MAGIC) {
			plain(w, F_HND_FLAGS);
		}
	}
	rest(w, F_DATA);
}

/* NBD_OPT_INFO and NBD_OPT_GO. */
static void walk_option_info(struct walk *w, uint64_t limit)
{
	uint64_t n, count;

	if (!number(w, F_EXPORT_NAME_LEN, &n) || !string(w, F_EXPORT_NAME, n, limit) ||
	    !number(w, F_INFO_NUM, &count))
		return;
	while (count-- && plain(w, F_INFO))
		;
}

/* NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
static void walk_option_meta(struct walk *w, uint64_t limit)
{
	uint64_t n, count;

	if (!number(w, F_EXPORT_NAME_LEN, &n) || !string(w, F_EXPORT_NAME, n, limit) ||
	    !number(w, F_QUERY_NUM, &count))
		return;
	while (count-- && number(w, F_QUERY_LEN, &n) && string(w, F_QUERY, n, limit))
		;
}

static void walk_option(struct walk *w)
{
	uint64_t option, length, limit;

	if (!plain(w, F_HND_MAGIC) || !number(w, F_HND_OPT, &option) ||
	    !number(w, F_HND_OPT_LEN, &length)) {
		rest(w, F_DATA);
		return;
	}
	limit = w->at + length;
	bound(w, limit);
	switch (option) {
	case NBD_OPT_EXPORT_NAME:
		string(w, F_EXPORT_NAME, length, limit);
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		walk_option_info(w, limit);
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		walk_option_meta(w, limit);
		break;
	default:
		break;
	}
	rest(w, F_HND_OPT_DATA);
}

static void walk_rep_server(struct walk *w, uint64_t option, uint64_t limit)
{
	uint64_t n;

	if (!number(w, F_EXPORT_NAME_LEN, &n) || !string(w, F_EXPORT_NAME, n, limit))
		return;
	if (option == NBD_OPT_PEEK_EXPORT && limit - w->at == 4)
		plain(w, F_PEEK_FLAGS);
	else
		rest(w, F_EXPORT_DESCRIPTION);
}

static void walk_rep_info(struct walk *w)
{
	uint64_t info;

	if (!number(w, F_INFO, &info))
		return;
	switch (info) {
	case NBD_INFO_EXPORT:
		if (plain(w, F_EXPORT_SIZE))
			plain(w, F_EXPORT_FLAGS);
		break;
	case NBD_INFO_NAME:
		bytes(w, F_EXPORT_NAME, w->end - w->at);
		break;
	case NBD_INFO_DESCRIPTION:
		bytes(w, F_EXPORT_DESCRIPTION, w->end - w->at);
		break;
	case NBD_INFO_BLOCK_SIZE:
		if (plain(w, F_BLOCK_SIZE_MIN) && plain(w, F_BLOCK_SIZE_PREFER))
			plain(w, F_PAYLOAD_SIZE_MAX);
		break;
	default:
		break;
	}
	rest(w, F_INFO_DATA);
}

static void walk_option_reply(struct walk *w)
{
	uint64_t option, type, length, limit;

	if (!plain(w, F_HND_MAGIC) || !number(w, F_HND_OPT, &option) ||
	    !number(w, F_HND_REPLY, &type) || !number(w, F_HND_REPLY_LEN, &length)) {
		rest(w, F_DATA);
		return;
	}
	limit = w->at + length;
	bound(w, limit);
	switch (type) {
	case NBD_REP_ACK:
		break;
	case NBD_REP_SERVER:
		walk_rep_server(w, option, limit);
		break;
	case NBD_REP_INFO:
		walk_rep_info(w);
		break;
	case NBD_REP_META_CONTEXT:
		if (plain(w, F_META_CONTEXT_ID))
			bytes(w, F_META_CONTEXT_NAME, w->end - w->at);
		break;
	default:
		if (type & NBD_REP_FLAG_ERROR)
			rest(w, F_ERROR_MSG);
		break;
	}
	rest(w, F_HND_REPLY_DATA);
}

static void walk_export_name_reply(struct walk *w)
{
	if (plain(w, F_EXPORT_SIZE) && plain(w, F_EXPORT_FLAGS))
		rest(w, F_RESERVED);
	else
		rest(w, F_DATA);
}

static void walk_request(struct walk *w)
{
	uint64_t magic, flags, type, length = 0;
	bool extended;

	if (!number(w, F_MAGIC, &magic))
		goto out;
	extended = magic == NBD_EXTENDED_REQUEST_MAGIC;
	/* Of the historic requests nothing but the magic is known here. */
	if (!extended && magic != NBD_REQUEST_MAGIC)
		goto out;
	if (!number(w, F_CMD_FLAGS, &flags) || !number(w, F_TYPE, &type) || !plain(w, F_HANDLE) ||
	    !plain(w, F_FROM))
		goto out;
	if (extended) {
		if (number(w, F_LEN, &length) && type == NBD_CMD_BLOCK_STATUS &&
		    (flags & NBD_CMD_FLAG_PAYLOAD_LEN) && length >= 8) {
			if (plain(w, F_EFFECT_LEN))
				rest(w, F_META_CONTEXT_IDS);
		}
	} else if (w->end - w->at >= 4) {
		/* nbd.len is 64 bits wide, the compact header's length 32. */
		w->at += 4;
		tell_number(w, F_LEN, w->at - 4, 4, nbds_be32(w->head + w->at - 4));
	}
out:
	rest(w, F_DATA);
}

static void walk_simple_reply(struct walk *w)
{
	uint64_t magic;

	if (number(w, F_MAGIC, &magic) && magic == NBD_SIMPLE_REPLY_MAGIC && plain(w, F_ERROR))
		plain(w, F_HANDLE);
	rest(w, F_DATA);
}

/* The beginning that all error chunks share, then what their type adds. */
static void walk_chunk_error(struct walk *w, uint64_t type, uint64_t limit)
{
	uint32_t tail = type == NBD_REPLY_TYPE_ERROR_OFFSET ? 8 : 0;
	uint64_t n;

	if (!plain(w, F_ERROR) || !number(w, F_ERROR_MSG_LEN, &n))
		return;
	if (!string(w, F_ERROR_MSG, n, limit < tail ? 0 : limit - tail)) {
		/* A message longer than its chunk (servers are known to get the
		 * byte order of this length wrong): what there is, is text. */
		if (!tail)
			rest(w, F_ERROR_MSG);
		return;
	}
	if (tail)
		plain(w, F_FROM);
}

static void walk_chunk(struct walk *w)
{
	uint64_t magic, type, length, limit;

	if (!number(w, F_MAGIC, &magic) ||
	    (magic != NBD_STRUCTURED_REPLY_MAGIC && magic != NBD_EXTENDED_REPLY_MAGIC) ||
	    !plain(w, F_REPLY_FLAGS) || !number(w, F_REPLY_TYPE, &type) || !plain(w, F_HANDLE))
		goto out;
	if (magic == NBD_EXTENDED_REPLY_MAGIC) {
		if (!plain(w, F_REPLY_FROM) || !number(w, F_LEN, &length))
			goto out;
	} else {
		if (w->end - w->at < 4)
			goto out;
		length = nbds_be32(w->head + w->at);
		w->at += 4;
		tell_number(w, F_LEN, w->at - 4, 4, length);
	}
	limit = length > UINT64_MAX - w->at ? UINT64_MAX : w->at + length;
	bound(w, limit);
	switch (type) {
	case NBD_REPLY_TYPE_NONE:
		break;
	case NBD_REPLY_TYPE_OFFSET_DATA:
		plain(w, F_FROM);
		break;
	case NBD_REPLY_TYPE_OFFSET_HOLE:
		if (plain(w, F_FROM))
			plain(w, F_HOLE_SIZE);
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS:
		if (plain(w, F_META_CONTEXT_ID))
			rest(w, F_EXTENTS);
		break;
	case NBD_REPLY_TYPE_BLOCK_STATUS_EXT:
		if (plain(w, F_META_CONTEXT_ID) && plain(w, F_EXTENTS_NUM))
			rest(w, F_EXTENTS);
		break;
	default:
		if (type & NBD_REPLY_TYPE_FLAG_ERROR)
			walk_chunk_error(w, type, limit);
		break;
	}
out:
	rest(w, F_DATA);
}

/* The field that stands for the payload as a whole. */
static int payload_field(const struct nbds_message *m)
{
	switch (m->payload) {
	case NBDS_PAYLOAD_EXTENTS:
		return F_EXTENTS;
	case NBDS_PAYLOAD_IDS:
		return F_META_CONTEXT_IDS;
	case NBDS_PAYLOAD_REST:
		switch (m->type) {
		case NBDS_MSG_GREETING:
		case NBDS_MSG_EXPORT_NAME_REPLY:
			return F_RESERVED;
		case NBDS_MSG_OPTION:
			return F_HND_OPT_DATA;
		case NBDS_MSG_OPTION_REPLY:
			return F_HND_REPLY_DATA;
		default:
			return F_DATA;
		}
	default:
		return F_DATA;
	}
}

void nbds_walk(const struct nbds_message *m, nbds_field_fn *fn, void *arg)
{
	struct walk w;

	w.m = m;
	w.head = m->head;
	w.at = 0;
	w.end = m->head ? m->head_len : 0;
	w.fn = fn;
	w.arg = arg;
	switch (m->type) {
	case NBDS_MSG_GREETING:
		walk_greeting(&w);
		break;
	case NBDS_MSG_CLIENT_FLAGS:
		plain(&w, F_CLI_FLAGS);
		rest(&w, F_DATA);
		break;
	case NBDS_MSG_OPTION:
		walk_option(&w);
		break;
	case NBDS_MSG_OPTION_REPLY:
		walk_option_reply(&w);
		break;
	case NBDS_MSG_EXPORT_NAME_REPLY:
		walk_export_name_reply(&w);
		break;
	case NBDS_MSG_REQUEST:
		walk_request(&w);
		break;
	case NBDS_MSG_SIMPLE_REPLY:
		walk_simple_reply(&w);
		break;
	case NBDS_MSG_CHUNK:
		walk_chunk(&w);
		break;
	}
	if (m->payload != NBDS_PAYLOAD_NONE && m->payload_len) {
		w.f.text[0] = '\0';
		tell(&w, payload_field(m), m->head_len,
		     m->payload_len > UINT32_MAX ? UINT32_MAX : (uint32_t)m->payload_len, 0, NULL);
	}
}

/* One number of a payload; `offset` counts from the start of the head. */
static void tell_payload_number(struct walk *w, int id, uint64_t offset, uint32_t width,
				uint64_t value)
{
	tell_number(w, id, offset > UINT32_MAX ? UINT32_MAX : (uint32_t)offset, width, value);
}

static void tell_status(struct walk *w, uint64_t offset, uint32_t width, uint64_t value,
			const struct nbds_name_table *status)
{
	w->f.offset = offset > UINT32_MAX ? UINT32_MAX : (uint32_t)offset;
	if (!status) {
		tell_payload_number(w, F_STATUS_FLAGS, offset, width, value);
		return;
	}
	nbds_flag_names(status, value, w->f.text, sizeof(w->f.text));
	tell(w, F_STATUS_FLAGS, w->f.offset, width, value, NULL);
	if (status == &nbds_status_flags)
		tell_bits(w, F_NBD_STATE_HOLE, F_NBD_STATE_ZERO);
	else if (status == &nbds_dirty_flags)
		tell_bits(w, F_NBD_STATE_DIRTY, F_NBD_STATE_DIRTY);
}

size_t nbds_walk_payload(const struct nbds_message *m, uint64_t at, const uint8_t *data, size_t len,
			 const struct nbds_name_table *status, nbds_field_fn *fn, void *arg)
{
	struct walk w = {.m = m, .fn = fn, .arg = arg};
	uint64_t offset = m->head_len + at;
	uint32_t half, size;
	size_t used = 0;

	switch (m->payload) {
	case NBDS_PAYLOAD_EXTENTS:
		half = m->u.chunk.type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT ? 8 : 4;
		size = 2 * half;
		for (; len - used >= size; used += size) {
			tell_payload_number(&w, F_EXTENT_LEN, offset + used, half,
					    read_number(data + used, half));
			tell_status(&w, offset + used + half, half,
				    read_number(data + used + half, half), status);
		}
		return used;
	case NBDS_PAYLOAD_IDS:
		for (; len - used >= 4; used += 4)
			tell_payload_number(&w, F_META_CONTEXT_ID, offset + used, 4,
					    nbds_be32(data + used));
		return used;
	default:
		return len;
	}
}

/* A line in the making; `len` counts what did not fit too. */
struct line {
	const struct nbds_message *m;
	char *buf;
	size_t size, len;
	const char *between; /* before the next part */
	/* Of a transmission message, to be told in another order. */
	uint64_t type, flags, cookie, from, length, effect, error, hole, context;
	bool has_cookie, has_from, has_length, has_effect, has_error, has_hole, has_context;
	const uint8_t *text;
	uint32_t text_len;
};

__attribute__((format(printf, 2, 3))) static void say(struct line *l, const char *format, ...)
{
	bool room = l->len < l->size;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(room ? l->buf + l->len : NULL, room ? l->size - l->len : 0, format, ap);
	va_end(ap);
	if (n > 0)
		l->len += (size_t)n;
}

/* A part: whatever separates it from the one before it, and `format`. */
#define PLURAL(n) (n), (n) == 1 ? "" : "s"
#define PART(l, ...)                        \
	do {                                \
		say(l, "%s", (l)->between); \
		(l)->between = ", ";        \
		say(l, __VA_ARGS__);        \
	} while (0)

static void say_quoted(struct line *l, const uint8_t *p, uint32_t n)
{
	bool room;

	say(l, "\"");
	room = l->len < l->size;
	l->len +=
		nbds_escape_text(p, n, room ? l->buf + l->len : NULL, room ? l->size - l->len : 0);
	say(l, "\"");
}

/* "FUA" for NBD_CMD_FLAG_FUA: the line says what it is about already. */
static void say_flags(struct line *l, const struct nbds_name_table *table, uint64_t flags,
		      const char *prefix)
{
	size_t n = strlen(prefix);
	struct nbds_flag_iter it;
	const char *name;

	nbds_flags_begin(&it, table, flags);
	while ((name = nbds_flags_next(&it)))
		PART(l, "%s", strncmp(name, prefix, n) ? name : name + n);
}

static void summary_field(void *arg, const struct nbds_field *f)
{
	struct line *l = arg;

	switch (f->id) {
	case F_HND_MAGIC:
		if (l->m->type == NBDS_MSG_GREETING && f->value != NBD_INIT_MAGIC)
			PART(l, "%s",
			     f->value == NBD_OPTS_MAGIC      ? "newstyle"
			     : f->value == NBD_CLISERV_MAGIC ? "oldstyle"
							     : f->text);
		break;
	case F_HND_FLAGS:
		say_flags(l, &nbds_handshake_flags, f->value, "NBD_FLAG_");
		break;
	case F_CLI_FLAGS:
		if (!f->value)
			PART(l, "none");
		say_flags(l, &nbds_client_flags, f->value, "NBD_FLAG_C_");
		break;
	case F_EXPORT_FLAGS:
		say_flags(l, &nbds_transmission_flags, f->value, "NBD_FLAG_");
		break;
	case F_PEEK_FLAGS:
		say_flags(l, &nbds_peek_flags, f->value, "NBD_F_EXP_");
		break;
	case F_HND_OPT:
		if (l->m->type == NBDS_MSG_OPTION_REPLY) {
			say(l, " to %s", f->text);
			l->between = ": ";
		}
		break;
	case F_EXPORT_SIZE:
		PART(l, "%s bytes", f->text);
		break;
	case F_RESERVED:
		PART(l, "%" PRIu32 " reserved byte%s", PLURAL(f->length));
		break;
	case F_EXPORT_NAME:
		PART(l, "export ");
		say_quoted(l, f->bytes, f->length);
		break;
	case F_EXPORT_DESCRIPTION:
		PART(l, "description ");
		say_quoted(l, f->bytes, f->length);
		break;
	case F_INFO:
		PART(l, "%s", f->text);
		break;
	case F_BLOCK_SIZE_MIN:
		PART(l, "minimum %s", f->text);
		break;
	case F_BLOCK_SIZE_PREFER:
		PART(l, "preferred %s", f->text);
		break;
	case F_PAYLOAD_SIZE_MAX:
		PART(l, "maximum %s", f->text);
		break;
	case F_QUERY:
		PART(l, "query ");
		say_quoted(l, f->bytes, f->length);
		break;
	case F_META_CONTEXT_NAME:
		PART(l, "context %" PRIu64 " ", l->context);
		say_quoted(l, f->bytes, f->length);
		break;
	case F_HND_OPT_DATA:
	case F_HND_REPLY_DATA:
	case F_INFO_DATA:
		PART(l, "%" PRIu32 " byte%s of data", PLURAL(f->length));
		break;
	case F_MAGIC:
		if (!nbds_name_of(&nbds_magics32, f->value))
			PART(l, "%s", f->text);
		break;
	case F_CMD_FLAGS:
	case F_REPLY_FLAGS:
		l->flags = f->value;
		break;
	case F_TYPE:
		l->type = f->value;
		break;
	case F_HANDLE:
		l->cookie = f->value;
		l->has_cookie = true;
		break;
	case F_FROM:
		l->from = f->value;
		l->has_from = true;
		break;
	case F_LEN:
		l->length = f->value;
		l->has_length = true;
		break;
	case F_EFFECT_LEN:
		l->effect = f->value;
		l->has_effect = true;
		break;
	case F_ERROR:
		l->error = f->value;
		l->has_error = true;
		break;
	case F_ERROR_MSG:
		if (l->m->type == NBDS_MSG_OPTION_REPLY) {
			PART(l, "%s", "");
			say_quoted(l, f->bytes, f->length);
		} else {
			l->text = f->bytes;
			l->text_len = f->length;
		}
		break;
	case F_HOLE_SIZE:
		l->hole = f->value;
		l->has_hole = true;
		break;
	case F_META_CONTEXT_ID:
		l->context = f->value;
		l->has_context = true;
		break;
	default:
		break;
	}
}

static void say_request(struct line *l)
{
	uint64_t bytes = l->has_effect ? l->effect : l->length;

	l->between = " ";
	if (l->type == NBD_CMD_RESIZE && l->has_from)
		PART(l, "to %" PRIu64 " byte%s", PLURAL(l->from));
	else if (l->has_length && (bytes || l->from))
		PART(l, "%" PRIu64 " byte%s at 0x%" PRIx64, PLURAL(bytes), l->from);
	if (l->has_effect)
		PART(l, "%" PRIu64 " bytes of context ids", l->length - 8);
	say_flags(l, &nbds_command_flags, l->flags, "NBD_CMD_FLAG_");
}

static void say_reply(struct line *l)
{
	const struct nbds_message *m = l->m;
	char buf[NBDS_TEXT_OF_MAX];

	if (m->request)
		say(l, " to %s", nbds_text_of(&nbds_commands, m->request->type, buf));
	l->between = ": ";
	if (m->flags & NBDS_MSG_INCOMPLETE) {
		PART(l, "broken off before all of its %" PRIu64 " byte%s", PLURAL(m->payload_len));
		return;
	}
	if (l->has_error)
		PART(l, "%s", nbds_text_of(&nbds_errors, l->error, buf));
	if (l->text_len) {
		say(l, " ");
		say_quoted(l, l->text, l->text_len);
	}
	if (l->has_context)
		PART(l, "context %" PRIu64, l->context);
	if (m->payload == NBDS_PAYLOAD_EXTENTS) {
		uint64_t n = m->payload_len / (m->u.chunk.type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT
						       ? NBDS_EXTENT_EXT_LEN
						       : NBDS_EXTENT_LEN);

		PART(l, "%" PRIu64 " extent%s", PLURAL(n));
	}
	if (l->has_hole)
		PART(l, "hole of %" PRIu64 " byte%s", PLURAL(l->hole));
	else if (m->payload == NBDS_PAYLOAD_READ || m->payload == NBDS_PAYLOAD_REST ||
		 (l->has_from && !l->has_error))
		PART(l, "%" PRIu64 " byte%s", PLURAL(m->payload_len));
	if (l->has_from)
		say(l, " at 0x%" PRIx64, l->from);
	say_flags(l, &nbds_reply_flags, l->flags, "NBD_REPLY_FLAG_");
}

int nbds_summary(const struct nbds_message *m, char *buf, size_t size)
{
	struct line l = {.m = m, .buf = buf, .size = size, .between = " "};
	char other[NBDS_TEXT_OF_MAX];

	if (size)
		buf[0] = '\0';
	say(&l, "%s", m->name);
	nbds_walk(m, summary_field, &l);
	if (m->type == NBDS_MSG_REQUEST)
		say_request(&l);
	else if (m->type == NBDS_MSG_SIMPLE_REPLY || m->type == NBDS_MSG_CHUNK)
		say_reply(&l);
	if (l.has_cookie)
		PART(&l, "cookie 0x%" PRIx64, l.cookie);
	if (m->again)
		PART(&l, "second reply to %s of frame %" PRIu64 ", answered in frame %" PRIu64,
		     nbds_text_of(&nbds_commands, m->again->type, other), m->again->request_frame,
		     m->again->reply_frame);
	else if (m->flags & NBDS_MSG_UNSOLICITED)
		PART(&l, "no such request");
	if (m->flags & NBDS_MSG_MALFORMED)
		PART(&l, "malformed");
	if (m->flags & NBDS_MSG_CUT)
		PART(&l, "cut");
	return (int)l.len;
}
