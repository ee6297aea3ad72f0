/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/fields.h - one walk over the fields of a message, for all consumers.
 *
 * Purpose.  Wireshark's tree, `nbdaudit --messages` and nbdtop's detail pane
 * show the same fields because they take them from here: each with its name
 * (those of Wireshark 4.6's display filter reference where it has the field),
 * place, value, and label.  The set of all fields that a walk can yield is a
 * table too (nbds_fields), so that a plugin can register them.
 *
 * Ownership.  Everything handed to the callback is valid during the call.
 * Failure.  None: a malformed message yields the fields that fit its bytes.
 */
#ifndef NBDSCOPE_FIELDS_H
#define NBDSCOPE_FIELDS_H

#include <nbdscope/decoder.h>

#ifdef __cplusplus
extern "C" {
#endif

enum nbds_field_type {
	NBDS_FT_UINT8,
	NBDS_FT_UINT16,
	NBDS_FT_UINT32,
	NBDS_FT_UINT64,
	NBDS_FT_BOOLEAN, /* one bit of the flags field before it */
	NBDS_FT_STRING,
	NBDS_FT_BYTES,
};

enum nbds_field_base { NBDS_BASE_NONE, NBDS_BASE_DEC, NBDS_BASE_HEX };

/* A field that a walk can yield. */
struct nbds_field_info {
	const char *name;  /* "nbd.cmd.flags.fua" */
	const char *label; /* "Forced Unit Access" */
	const char *what;  /* one line: what it is */
	enum nbds_field_type type;
	enum nbds_field_base base;
	const struct nbds_name *values; /* value names, or NULL */
	size_t values_count;
	uint64_t mask;                       /* BOOLEAN: the bit in its parent; else 0 */
	uint8_t mask_bits;                   /* BOOLEAN: width of the parent in bits */
	int parent;                          /* BOOLEAN: index of the parent field; else -1 */
	const struct nbds_name_table *table; /* the values' table, or NULL */
	bool flags; /* a flag word: `values` are masks, of which any may be set */
};

/* All fields; an index into it is a field id. */
extern const struct nbds_field_info nbds_fields[];
extern const size_t nbds_fields_count;

/* The id of the field called `name`, or -1. */
int nbds_field_find(const char *name);

/* Room for the names of all bits of a flag word. */
#define NBDS_FIELD_TEXT 512

struct nbds_field {
	int id;               /* index into nbds_fields */
	uint32_t offset;      /* in the message's head (payload: head_len) */
	uint32_t length;      /* bytes on the wire (see below); clamped to UINT32_MAX */
	uint64_t value;       /* numbers and booleans (0 or 1) */
	const uint8_t *bytes; /* STRING and BYTES: `length` bytes in the head, NULL for payload */
	/* The value in words, NUL-terminated: "NBD_CMD_WRITE", "NBD_FLAG_HAS_FLAGS | bit 13",
	 * "4096"; empty for STRING and BYTES. */
	char text[NBDS_FIELD_TEXT];
};

/*
 * Yields every field of the head of `m` (which must have its head: call it
 * from nbds_decoder_ops.message), then one for the payload if there is one.
 * Flag words are followed by their defined bits; undefined ones that are set
 * stand in the word's text.  A number can be shorter on the wire than its
 * field's type: nbd.len has 4 bytes in the compact headers, 8 in the extended.
 */
typedef void nbds_field_fn(void *arg, const struct nbds_field *f);
void nbds_walk(const struct nbds_message *m, nbds_field_fn *fn, void *arg);

/*
 * Yields the fields inside `len` bytes of payload at `at` (of a span given to
 * nbds_decoder_ops.payload): the extents of NBDS_PAYLOAD_EXTENTS, nbd.extent.len
 * and nbd.status_flags each, or the context ids of NBDS_PAYLOAD_IDS; nothing for
 * other payload.  `status` names the bits of the extents' context
 * (nbds_status_table()), or is NULL.  Returns the number of bytes used, whole
 * elements only: the caller puts what is left (less than 16 bytes) before the
 * next span.  Offsets of fields count from the start of the head; one past
 * UINT32_MAX is given as UINT32_MAX.
 */
size_t nbds_walk_payload(const struct nbds_message *m, uint64_t at, const uint8_t *data, size_t len,
			 const struct nbds_name_table *status, nbds_field_fn *fn, void *arg);

/* One line for a person: "NBD_CMD_WRITE 4096 bytes at 0x1000, FUA, cookie 0x7".
 * Writes at most `size` bytes with the NUL; returns what snprintf returns. */
int nbds_summary(const struct nbds_message *m, char *buf, size_t size);

#ifdef __cplusplus
}
#endif
#endif
