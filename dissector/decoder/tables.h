/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tables.h - rows and row counts of the protocol's lists, inside the decoder.
 *
 * Purpose.  A static initialiser (the table of fields) cannot read the pointers
 * of a struct nbds_name_table; it can use these.
 */
#ifndef NBDS_TABLES_H
#define NBDS_TABLES_H

#include <nbdscope/protocol.h>

#define NBDS_X_COUNT(NAME, VALUE, SUFFIX, LABEL, WHAT) +1

/* T(list, table, kind of a value without a name, written in hexadecimal) */
#define NBDS_TABLES(T)                                               \
	T(NBDS_MAGICS64, nbds_magics64, "magic", 1)                  \
	T(NBDS_MAGICS32, nbds_magics32, "magic", 1)                  \
	T(NBDS_HANDSHAKE_FLAGS, nbds_handshake_flags, NULL, 1)       \
	T(NBDS_CLIENT_FLAGS, nbds_client_flags, NULL, 1)             \
	T(NBDS_TRANSMISSION_FLAGS, nbds_transmission_flags, NULL, 1) \
	T(NBDS_OPTIONS, nbds_options, "option", 0)                   \
	T(NBDS_REPLY_TYPES, nbds_reply_types, "reply type", 1)       \
	T(NBDS_INFO_TYPES, nbds_info_types, "info type", 0)          \
	T(NBDS_COMMANDS, nbds_commands, "command", 0)                \
	T(NBDS_COMMAND_FLAGS, nbds_command_flags, NULL, 1)           \
	T(NBDS_REPLY_FLAGS, nbds_reply_flags, NULL, 1)               \
	T(NBDS_CHUNK_TYPES, nbds_chunk_types, "chunk type", 1)       \
	T(NBDS_ERRORS, nbds_errors, "error", 0)                      \
	T(NBDS_STATUS_FLAGS, nbds_status_flags, NULL, 1)             \
	T(NBDS_DIRTY_FLAGS, nbds_dirty_flags, NULL, 1)               \
	T(NBDS_PEEK_FLAGS, nbds_peek_flags, NULL, 1)

/* nbds_options_rows[nbds_options_count] and alike */
#define NBDS_T_DECLARE(LIST, TABLE, KIND, HEX)         \
	enum { TABLE##_count = 0 LIST(NBDS_X_COUNT) }; \
	extern const struct nbds_name TABLE##_rows[TABLE##_count];
NBDS_TABLES(NBDS_T_DECLARE)
#undef NBDS_T_DECLARE

#endif
