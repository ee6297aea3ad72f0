/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/protocol.h - every constant of NBD, once.
 *
 * Purpose.  This is the only place in nbdscope where a magic, option, reply
 * type, info type, command, flag bit, chunk type, status bit or error of the
 * protocol has a number.  Enumerations, names, JSON values, Wireshark fields
 * with their bit masks and the manual's tables are made from these lists.  A
 * wrong bit (such as SEND_CACHE at bit 8, which is CAN_MULTI_CONN: the bug that
 * nbdscope was born from) can be wrong here only, and a test holds this file
 * against the published numbers.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, master of
 * 2026-05-02, and its branches extension-ext-header and extension-resize for
 * what they alone define.  Each list names its section.
 *
 * Lists are X-macros: X(NAME, VALUE, SUFFIX, LABEL, WHAT) where SUFFIX is the
 * last part of the display filter field (flags only), LABEL a short title and
 * WHAT one line for people.  Flags give the bit number, not the mask; the
 * constant made from it is the mask.
 *
 * Ownership.  All tables are constant.  Functions write to the caller's buffers
 * only and allocate nothing.
 * Failure.  None: what has no name gets a describing text.
 */
#ifndef NBDSCOPE_PROTOCOL_H
#define NBDSCOPE_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Magic numbers of 8 bytes ("Protocol phases"): the greeting, options and
 * option replies.  The last one stands in nbd-server's transaction log only.
 */
#define NBDS_MAGICS64(X)                                                                        \
	X(NBD_INIT_MAGIC, 0x4e42444d41474943, "", "Greeting",                                   \
	  "ASCII NBDMAGIC: the first 8 bytes of every server")                                  \
	X(NBD_OPTS_MAGIC, 0x49484156454f5054, "", "Options",                                    \
	  "ASCII IHAVEOPT: newstyle greeting, and the start of every option")                   \
	X(NBD_CLISERV_MAGIC, 0x0000420281861253, "", "Oldstyle",                                \
	  "second word of an oldstyle greeting")                                                \
	X(NBD_REP_MAGIC, 0x0003e889045565a9, "", "Option reply", "start of every option reply") \
	X(NBD_TRACELOG_FROM_MAGIC, 0x4a93ba39a54f31b6, "", "Transaction log record",            \
	  "nbd-server's transaction log, never on the wire")

/*
 * Magic numbers of 4 bytes ("Transmission", "Reserved Magic values"), with one
 * of a draft of 2021 that was withdrawn.
 */
#define NBDS_MAGICS32(X)                                                                     \
	X(NBD_REQUEST_MAGIC, 0x25609513, "", "Request", "compact request")                   \
	X(NBD_SIMPLE_REPLY_MAGIC, 0x67446698, "", "Simple reply", "reply without structure") \
	X(NBD_STRUCTURED_REPLY_MAGIC, 0x668e33ef, "", "Structured reply chunk",              \
	  "chunk of a structured reply, compact header")                                     \
	X(NBD_EXTENDED_REQUEST_MAGIC, 0x21e41c71, "", "Extended request",                    \
	  "request with the extended header")                                                \
	X(NBD_EXTENDED_REPLY_MAGIC, 0x6e8a278c, "", "Extended reply chunk",                  \
	  "reply chunk with the extended header")                                            \
	X(NBD_REQUEST_MAGIC_HISTORIC, 0x12560953, "", "Historic request",                    \
	  "request before Linux 2.1.116, never valid today")                                 \
	X(NBD_REPLY_MAGIC_HISTORIC, 0x96744668, "", "Historic reply",                        \
	  "reply before Linux 2.1.116, never valid today")                                   \
	X(NBD_TRACELOG_MAGIC, 0x25609514, "", "Transaction log",                             \
	  "nbd-server's transaction log, never on the wire")                                 \
	X(NBD_SIMPLE_REPLY_EXT_MAGIC, 0x60d12fd6, "", "Extended simple reply",               \
	  "simple reply of a draft of 2021, withdrawn")

/* Handshake flags, 16 bits, server ("Handshake phase", "Flag fields"). */
#define NBDS_HANDSHAKE_FLAGS(X)                                      \
	X(NBD_FLAG_FIXED_NEWSTYLE, 0, "fixed_new", "Fixed newstyle", \
	  "server answers options that it does not know")            \
	X(NBD_FLAG_NO_ZEROES, 1, "no_zeroes", "No zeroes",           \
	  "server can leave out the 124 zeroes after NBD_OPT_EXPORT_NAME")

/* Client flags, 32 bits ("Flag fields", client flags). */
#define NBDS_CLIENT_FLAGS(X)                                           \
	X(NBD_FLAG_C_FIXED_NEWSTYLE, 0, "fixed_new", "Fixed newstyle", \
	  "client knows that the server speaks fixed newstyle")        \
	X(NBD_FLAG_C_NO_ZEROES, 1, "no_zeroes", "No zeroes",           \
	  "client wants no zeroes after NBD_OPT_EXPORT_NAME")

/* Transmission flags, 16 bits, server ("Flag fields", transmission flags). */
#define NBDS_TRANSMISSION_FLAGS(X)                                                                 \
	X(NBD_FLAG_HAS_FLAGS, 0, "has_flags", "Has flags", "the flags field is meant; always set") \
	X(NBD_FLAG_READ_ONLY, 1, "read_only", "Read only", "the export cannot be written")         \
	X(NBD_FLAG_SEND_FLUSH, 2, "flush", "Flush", "NBD_CMD_FLUSH is supported")                  \
	X(NBD_FLAG_SEND_FUA, 3, "fua", "Forced unit access", "NBD_CMD_FLAG_FUA is supported")      \
	X(NBD_FLAG_ROTATIONAL, 4, "rotational", "Rotational",                                      \
	  "the export behaves like a turning disk")                                                \
	X(NBD_FLAG_SEND_TRIM, 5, "trim", "Trim", "NBD_CMD_TRIM is supported")                      \
	X(NBD_FLAG_SEND_WRITE_ZEROES, 6, "write_zeroes", "Write zeroes",                           \
	  "NBD_CMD_WRITE_ZEROES and NBD_CMD_FLAG_NO_HOLE are supported")                           \
	X(NBD_FLAG_SEND_DF, 7, "df", "Don't fragment", "NBD_CMD_FLAG_DF is supported")             \
	X(NBD_FLAG_CAN_MULTI_CONN, 8, "multi_conn", "Multiple connections",                        \
	  "flush and FUA count for all connections to the export")                                 \
	X(NBD_FLAG_SEND_RESIZE, 9, "resize", "Resize",                                             \
	  "NBD_CMD_RESIZE is supported (experimental)")                                            \
	X(NBD_FLAG_SEND_CACHE, 10, "cache", "Cache", "NBD_CMD_CACHE is understood")                \
	X(NBD_FLAG_SEND_FAST_ZERO, 11, "fast_zero", "Fast zero",                                   \
	  "NBD_CMD_FLAG_FAST_ZERO is supported")                                                   \
	X(NBD_FLAG_BLOCK_STATUS_PAYLOAD, 12, "block_status_payload", "Block status payload",       \
	  "NBD_CMD_BLOCK_STATUS may carry context ids (extended headers)")

/* Options, client ("Option types"). */
#define NBDS_OPTIONS(X)                                                                         \
	X(NBD_OPT_EXPORT_NAME, 1, "", "Export name",                                            \
	  "choose an export and enter transmission, without an option reply")                   \
	X(NBD_OPT_ABORT, 2, "", "Abort", "end the negotiation")                                 \
	X(NBD_OPT_LIST, 3, "", "List", "list the exports")                                      \
	X(NBD_OPT_PEEK_EXPORT, 4, "", "Peek export", "ask about an export (withdrawn in 2015)") \
	X(NBD_OPT_STARTTLS, 5, "", "Start TLS", "continue inside TLS")                          \
	X(NBD_OPT_INFO, 6, "", "Info", "ask about an export")                                   \
	X(NBD_OPT_GO, 7, "", "Go", "choose an export and enter transmission")                   \
	X(NBD_OPT_STRUCTURED_REPLY, 8, "", "Structured reply", "ask for structured replies")    \
	X(NBD_OPT_LIST_META_CONTEXT, 9, "", "List meta contexts",                               \
	  "list the metadata contexts of an export")                                            \
	X(NBD_OPT_SET_META_CONTEXT, 10, "", "Set meta contexts",                                \
	  "choose metadata contexts of an export")                                              \
	X(NBD_OPT_EXTENDED_HEADERS, 11, "", "Extended headers", "ask for extended headers")

/* Option reply types, server ("Option reply types").  Bit 31: an error. */
#define NBDS_REPLY_TYPES(X)                                                                        \
	X(NBD_REP_ACK, 1, "", "Acknowledged", "the option is done")                                \
	X(NBD_REP_SERVER, 2, "", "Export", "one export of a list")                                 \
	X(NBD_REP_INFO, 3, "", "Information", "one aspect of an export")                           \
	X(NBD_REP_META_CONTEXT, 4, "", "Metadata context", "one metadata context")                 \
	X(NBD_REP_ERR_UNSUP, 0x80000001, "", "Unsupported", "the server does not know the option") \
	X(NBD_REP_ERR_POLICY, 0x80000002, "", "Policy", "the server's policy forbids the option")  \
	X(NBD_REP_ERR_INVALID, 0x80000003, "", "Invalid",                                          \
	  "the option is malformed or out of place")                                               \
	X(NBD_REP_ERR_PLATFORM, 0x80000004, "", "Platform", "the server's platform cannot do it")  \
	X(NBD_REP_ERR_TLS_REQD, 0x80000005, "", "TLS required", "the server wants TLS first")      \
	X(NBD_REP_ERR_UNKNOWN, 0x80000006, "", "Unknown export", "there is no such export")        \
	X(NBD_REP_ERR_SHUTDOWN, 0x80000007, "", "Shutting down", "the server is being shut down")  \
	X(NBD_REP_ERR_BLOCK_SIZE_REQD, 0x80000008, "", "Block size required",                      \
	  "the client must ask for block sizes")                                                   \
	X(NBD_REP_ERR_TOO_BIG, 0x80000009, "", "Too big",                                          \
	  "the request or its answer is too large")                                                \
	X(NBD_REP_ERR_EXT_HEADER_REQD, 0x8000000a, "", "Extended headers required",                \
	  "extended headers must be negotiated first")

/* Information types of NBD_OPT_INFO, NBD_OPT_GO and NBD_REP_INFO. */
#define NBDS_INFO_TYPES(X)                                                        \
	X(NBD_INFO_EXPORT, 0, "", "Export", "size and transmission flags")        \
	X(NBD_INFO_NAME, 1, "", "Name", "the export's canonical name")            \
	X(NBD_INFO_DESCRIPTION, 2, "", "Description", "a description for people") \
	X(NBD_INFO_BLOCK_SIZE, 3, "", "Block size",                               \
	  "minimum and preferred block size, maximum payload")

/* Commands, client ("Request types"). */
#define NBDS_COMMANDS(X)                                                                \
	X(NBD_CMD_READ, 0, "", "Read", "read data")                                     \
	X(NBD_CMD_WRITE, 1, "", "Write", "write data")                                  \
	X(NBD_CMD_DISC, 2, "", "Disconnect", "end the connection; has no reply")        \
	X(NBD_CMD_FLUSH, 3, "", "Flush", "make completed writes permanent")             \
	X(NBD_CMD_TRIM, 4, "", "Trim", "the range is no longer needed")                 \
	X(NBD_CMD_CACHE, 5, "", "Cache", "the range will soon be read")                 \
	X(NBD_CMD_WRITE_ZEROES, 6, "", "Write zeroes", "make the range read as zeroes") \
	X(NBD_CMD_BLOCK_STATUS, 7, "", "Block status", "ask for metadata of a range")   \
	X(NBD_CMD_RESIZE, 8, "", "Resize", "change the export's size (experimental)")

/* Command flags, 16 bits, client ("Command flags"). */
#define NBDS_COMMAND_FLAGS(X)                                                                   \
	X(NBD_CMD_FLAG_FUA, 0, "fua", "Forced unit access",                                     \
	  "reply only when the effect is permanent")                                            \
	X(NBD_CMD_FLAG_NO_HOLE, 1, "no_hole", "No hole", "write zeroes without making a hole")  \
	X(NBD_CMD_FLAG_DF, 2, "df", "Don't fragment", "all data of the read in one chunk")      \
	X(NBD_CMD_FLAG_REQ_ONE, 3, "req_one", "Request one", "one extent per metadata context") \
	X(NBD_CMD_FLAG_FAST_ZERO, 4, "fast_zero", "Fast zero",                                  \
	  "fail unless zeroing is faster than writing")                                         \
	X(NBD_CMD_FLAG_PAYLOAD_LEN, 5, "payload_len", "Payload length",                         \
	  "the length counts payload after the header (extended headers)")

/* Structured reply flags, 16 bits, server ("Structured reply flags"). */
#define NBDS_REPLY_FLAGS(X) X(NBD_REPLY_FLAG_DONE, 0, "done", "Done", "the last chunk of the reply")

/* Chunk types, server ("Structured reply types").  Bit 15: an error. */
#define NBDS_CHUNK_TYPES(X)                                                          \
	X(NBD_REPLY_TYPE_NONE, 0, "", "None", "end of the reply")                    \
	X(NBD_REPLY_TYPE_OFFSET_DATA, 1, "", "Data", "data read, and its offset")    \
	X(NBD_REPLY_TYPE_OFFSET_HOLE, 2, "", "Hole", "a range that reads as zeroes") \
	X(NBD_REPLY_TYPE_BLOCK_STATUS, 5, "", "Block status",                        \
	  "extents with their status in one metadata context")                       \
	X(NBD_REPLY_TYPE_BLOCK_STATUS_EXT, 6, "", "Block status, 64 bits",           \
	  "extents with 64-bit lengths and status (extended headers)")               \
	X(NBD_REPLY_TYPE_ERROR, 0x8001, "", "Error", "the request failed")           \
	X(NBD_REPLY_TYPE_ERROR_OFFSET, 0x8002, "", "Error at an offset",             \
	  "the request failed at this offset")

/* Errors ("Error values").  The specification has no name for 0. */
#define NBDS_ERRORS(X)                                                                            \
	X(NBD_SUCCESS, 0, "", "Success", "no error")                                              \
	X(NBD_EPERM, 1, "", "Not permitted", "operation not permitted, as on a read-only export") \
	X(NBD_EIO, 5, "", "I/O error", "input or output failed")                                  \
	X(NBD_ENOMEM, 12, "", "Out of memory", "memory could not be allocated")                   \
	X(NBD_EINVAL, 22, "", "Invalid argument", "the request makes no sense to the server")     \
	X(NBD_ENOSPC, 28, "", "No space", "no space left on the device")                          \
	X(NBD_EOVERFLOW, 75, "", "Overflow", "the value is too large")                            \
	X(NBD_ENOTSUP, 95, "", "Not supported", "the operation is not supported")                 \
	X(NBD_ESHUTDOWN, 108, "", "Shutting down", "the server is being shut down")

/* Status bits of the context base:allocation ("The base: metadata namespace"). */
#define NBDS_STATUS_FLAGS(X)                                  \
	X(NBD_STATE_HOLE, 0, "hole", "Hole", "not allocated") \
	X(NBD_STATE_ZERO, 1, "zero", "Zero", "reads as zeroes")

/* Status bits of the contexts qemu:dirty-bitmap:NAME (registered third party). */
#define NBDS_DIRTY_FLAGS(X) \
	X(NBD_STATE_DIRTY, 0, "dirty", "Dirty", "changed since the bitmap was started")

/*
 * Flags at the end of NBD_REP_SERVER when it answers NBD_OPT_PEEK_EXPORT, 32
 * bits (experimental extension, withdrawn in 2015).
 */
#define NBDS_PEEK_FLAGS(X)                                                                   \
	X(NBD_F_EXP_RO, 0, "ro", "Read only", "the export cannot be written")                \
	X(NBD_F_EXP_COW, 1, "cow", "Copy on write",                                          \
	  "writes are lost at the end of the connection")                                    \
	X(NBD_F_EXP_TLS_OK, 2, "tls_ok", "TLS allowed", "the export can be used inside TLS") \
	X(NBD_F_EXP_TLS_REQ, 3, "tls_req", "TLS required", "the export can only be used inside TLS")

/*
 * The constants.  Flags are masks.  Some magics and reply types lie outside of
 * int; compilers give their enumerations a wider type, and such constants are
 * unsigned.
 */
#define NBDS_X_VALUE(NAME, VALUE, SUFFIX, LABEL, WHAT) NAME = VALUE,
#define NBDS_X_MASK(NAME, BIT, SUFFIX, LABEL, WHAT)    NAME = 1 << (BIT),

enum nbd_magic64 { NBDS_MAGICS64(NBDS_X_VALUE) };
enum nbd_magic32 { NBDS_MAGICS32(NBDS_X_VALUE) };
enum nbd_handshake_flag { NBDS_HANDSHAKE_FLAGS(NBDS_X_MASK) };
enum nbd_client_flag { NBDS_CLIENT_FLAGS(NBDS_X_MASK) };
enum nbd_transmission_flag { NBDS_TRANSMISSION_FLAGS(NBDS_X_MASK) };
enum nbd_opt { NBDS_OPTIONS(NBDS_X_VALUE) };
enum nbd_rep { NBDS_REPLY_TYPES(NBDS_X_VALUE) };
enum nbd_info { NBDS_INFO_TYPES(NBDS_X_VALUE) };
enum nbd_cmd { NBDS_COMMANDS(NBDS_X_VALUE) };
enum nbd_cmd_flag { NBDS_COMMAND_FLAGS(NBDS_X_MASK) };
enum nbd_reply_flag { NBDS_REPLY_FLAGS(NBDS_X_MASK) };
enum nbd_reply_type { NBDS_CHUNK_TYPES(NBDS_X_VALUE) };
enum nbd_error { NBDS_ERRORS(NBDS_X_VALUE) };
enum nbd_state { NBDS_STATUS_FLAGS(NBDS_X_MASK) };
enum nbd_dirty { NBDS_DIRTY_FLAGS(NBDS_X_MASK) };
enum nbd_peek_flag { NBDS_PEEK_FLAGS(NBDS_X_MASK) };

#undef NBDS_X_VALUE
#undef NBDS_X_MASK

/* Set in every error among the option reply types and the chunk types. */
#define NBD_REP_FLAG_ERROR        0x80000000u
#define NBD_REPLY_TYPE_FLAG_ERROR 0x8000u

/* Names of metadata contexts; one that ends in ':' is a beginning. */
#define NBD_CONTEXT_BASE_ALLOCATION       "base:allocation"
#define NBD_CONTEXT_QEMU_DIRTY_BITMAP     "qemu:dirty-bitmap:"
#define NBD_CONTEXT_QEMU_ALLOCATION_DEPTH "qemu:allocation-depth"

/* Sizes in bytes: heads of messages without what is of variable length. */
enum {
	NBDS_GREETING_LEN = 18,           /* newstyle: two magics, handshake flags */
	NBDS_GREETING_OLDSTYLE_LEN = 152, /* two magics, size, flags, zeroes */
	NBDS_CLIENT_FLAGS_LEN = 4,
	NBDS_OPTION_LEN = 16,            /* then the option's data */
	NBDS_OPTION_REPLY_LEN = 20,      /* then the reply's data */
	NBDS_EXPORT_NAME_REPLY_LEN = 10, /* then the zeroes, or none */
	NBDS_ZEROES_LEN = 124,           /* reserved bytes of both handshakes */
	NBDS_REQUEST_LEN = 28,
	NBDS_EXTENDED_REQUEST_LEN = 32,
	NBDS_SIMPLE_REPLY_LEN = 16,
	NBDS_CHUNK_LEN = 20,
	NBDS_EXTENDED_CHUNK_LEN = 32,
	NBDS_EXTENT_LEN = 8,       /* NBD_REPLY_TYPE_BLOCK_STATUS: length, status */
	NBDS_EXTENT_EXT_LEN = 16,  /* NBD_REPLY_TYPE_BLOCK_STATUS_EXT */
	NBDS_INFO_EXPORT_LEN = 12, /* NBD_REP_INFO data, type included */
	NBDS_INFO_BLOCK_SIZE_LEN = 14,
};

/* Other numbers ("Values", "Size constraints"; IANA for the port). */
#define NBDS_PORT                 10809u
#define NBDS_STRING_MAX           4096u       /* bytes in any string */
#define NBDS_BLOCK_MIN_DEFAULT    1u          /* minimum block size, nothing negotiated */
#define NBDS_BLOCK_PREFER_DEFAULT 4096u       /* preferred block size, nothing negotiated */
#define NBDS_BLOCK_MIN_INTEROP    512u        /* what a client can count on instead */
#define NBDS_BLOCK_MIN_LIMIT      65536u      /* no minimum block size is larger */
#define NBDS_PAYLOAD_MAX_DEFAULT  33554432u   /* maximum payload, nothing negotiated */
#define NBDS_PAYLOAD_MAX_LEAST    1048576u    /* no maximum payload should be smaller */
#define NBDS_PAYLOAD_MAX_NONE     0xffffffffu /* announced: no fixed maximum */
#define NBDS_DF_LEAST             65536u      /* reads with DF must work up to this */
#define NBDS_EXTENTS_MAX          1048576u    /* extents in one block status chunk */

/* One row of a list. */
struct nbds_name {
	uint64_t value;     /* flags: the mask */
	const char *name;   /* "NBD_CMD_READ" */
	const char *suffix; /* flags: "multi_conn"; else "" */
	const char *label;  /* "Multiple connections" */
	const char *what;   /* one line */
};

struct nbds_name_table {
	const struct nbds_name *entries;
	size_t count;
	const char *kind; /* "command": for values without a name; flags: NULL */
	int hex;          /* such values are written in hexadecimal */
};

extern const struct nbds_name_table nbds_magics64;
extern const struct nbds_name_table nbds_magics32;
extern const struct nbds_name_table nbds_handshake_flags;
extern const struct nbds_name_table nbds_client_flags;
extern const struct nbds_name_table nbds_transmission_flags;
extern const struct nbds_name_table nbds_options;
extern const struct nbds_name_table nbds_reply_types;
extern const struct nbds_name_table nbds_info_types;
extern const struct nbds_name_table nbds_commands;
extern const struct nbds_name_table nbds_command_flags;
extern const struct nbds_name_table nbds_reply_flags;
extern const struct nbds_name_table nbds_chunk_types;
extern const struct nbds_name_table nbds_errors;
extern const struct nbds_name_table nbds_status_flags; /* base:allocation */
extern const struct nbds_name_table nbds_dirty_flags;  /* qemu:dirty-bitmap:* */
extern const struct nbds_name_table nbds_peek_flags;

/* Commands that change the export's contents, if their range is not empty. */
static inline bool nbds_command_writes(uint16_t type)
{
	return type == NBD_CMD_WRITE || type == NBD_CMD_WRITE_ZEROES || type == NBD_CMD_TRIM;
}

/* The name of `value` (of a flag: of its mask), or NULL. */
const char *nbds_name_of(const struct nbds_name_table *table, uint64_t value);

/* Room for any text of nbds_text_of(). */
#define NBDS_TEXT_OF_MAX 64

/* The name of `value`, or "unknown command 42" written to `buf`; of an error also what
 * it is mistaken for: "error -5 (EIO as a raw negative errno)". */
const char *nbds_text_of(const struct nbds_name_table *table, uint64_t value,
			 char buf[NBDS_TEXT_OF_MAX]);

/*
 * The names of the bits set in a flag word, lowest bit first; "bit 13" for one
 * that is not in the table.
 *
 *	struct nbds_flag_iter it;
 *	const char *name;
 *	nbds_flags_begin(&it, &nbds_transmission_flags, flags);
 *	while ((name = nbds_flags_next(&it)))
 *		puts(name);
 */
struct nbds_flag_iter {
	const struct nbds_name_table *table;
	uint64_t left;
	char buf[16];
};
void nbds_flags_begin(struct nbds_flag_iter *it, const struct nbds_name_table *table,
		      uint64_t flags);
/* Valid until the next call for the same iterator; NULL after the last. */
const char *nbds_flags_next(struct nbds_flag_iter *it);

/* The same joined by " | ", "none" for 0.  Writes at most `size` bytes with the
 * NUL; returns what snprintf returns. */
int nbds_flag_names(const struct nbds_name_table *table, uint64_t flags, char *buf, size_t size);

/* The table of status bits for the metadata context called `name` (`len`
 * bytes), or NULL if its status has no known bits. */
const struct nbds_name_table *nbds_status_table(const char *name, size_t len);

/*
 * Strings of the wire are arbitrary bytes.  Both functions turn `len` bytes
 * into printable UTF-8, write at most `size` bytes with the NUL (never a part
 * of a character or of an escape), and return the length of the whole result
 * without the NUL, as snprintf does, so that a return of `size` or more says
 * that it was cut.  `size` 0 only measures.
 *
 * nbds_escape_text: for people. Control characters and bytes that are not
 * UTF-8 become \n, \t, \r, \x1b; a backslash is doubled.
 * nbds_escape_json: the inside of a JSON string. Bytes that are not UTF-8
 * become U+FFFD, one for each byte.
 */
size_t nbds_escape_text(const void *bytes, size_t len, char *buf, size_t size);
size_t nbds_escape_json(const void *bytes, size_t len, char *buf, size_t size);

#ifdef __cplusplus
}
#endif
#endif
