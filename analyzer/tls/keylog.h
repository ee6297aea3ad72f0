/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/tls/keylog.h - secrets of TLS sessions, as programs log them.
 *
 * Purpose.  Reads the key log format of NSS, which GnuTLS and OpenSSL write to where
 * SSLKEYLOGFILE points, and which is what pcapng's blocks of decryption secrets hold:
 *
 *	LABEL <client random, 64 hex digits> <secret, hex digits>
 *
 * CLIENT_RANDOM is the master secret of TLS 1.2; four others are of 1.3.  What else
 * there is (early data, exporters) is not needed, and passed over.
 *
 * Secrets are never printed, and their memory is wiped before it is given back.
 * Pieces of a log may be of any size; a line that does not end yet waits.
 * Beyond the limit of memory the oldest sessions are forgotten.
 */
#ifndef NBDS_TLS_KEYLOG_H
#define NBDS_TLS_KEYLOG_H

#include <base/table.h>
#include <nbdscope/tls.h>

#define KEYLOG_SECRET_MAX 48u /* bytes: of SHA-384, or a master secret */
/* The longest line that is needed: a label, a random, a secret. */
#define KEYLOG_LINE_MAX 256u

enum keylog_label {
	KEYLOG_MASTER,           /* CLIENT_RANDOM */
	KEYLOG_CLIENT_HANDSHAKE, /* CLIENT_HANDSHAKE_TRAFFIC_SECRET, by enum nbds_side */
	KEYLOG_SERVER_HANDSHAKE,
	KEYLOG_CLIENT_TRAFFIC, /* CLIENT_TRAFFIC_SECRET_0, by enum nbds_side */
	KEYLOG_SERVER_TRAFFIC,
	KEYLOG_LABELS
};

struct keylog_entry {
	struct nbds_table_node node;
	struct keylog_entry *newer;
	uint8_t random[NBDS_TLS_RANDOM];
	bool early; /* CLIENT_EARLY_TRAFFIC_SECRET: data may come before the handshake is over */
	uint8_t len[KEYLOG_LABELS]; /* 0: not known */
	uint8_t secret[KEYLOG_LABELS][KEYLOG_SECRET_MAX];
};

/* A line that is not complete. One for each source of lines. */
struct keylog_line {
	char text[KEYLOG_LINE_MAX];
	size_t len;
	bool long_one; /* longer than any that is needed */
};

struct keylog {
	struct nbds_budget budget; /* what it takes; its limit is kept */
	struct nbds_table entries;
	struct nbds_hash_key key;
	struct keylog_entry *oldest, *newest;
	uint64_t lines;     /* with a secret that is of use */
	uint64_t forgotten; /* sessions */
	uint64_t others;    /* lines that are none of a key log, comments aside */
};

void keylog_init(struct keylog *log, uint64_t memory);
/* Wipes all. */
void keylog_free(struct keylog *log);
/* The next piece of a source. True: it had secrets that are of use. */
bool keylog_add(struct keylog *log, struct keylog_line *line, const char *text, size_t len);
/* Nothing more comes of it: what is there of a line may be one. */
bool keylog_end(struct keylog *log, struct keylog_line *line);
const struct keylog_entry *keylog_find(const struct keylog *log, const uint8_t *random);

#endif
