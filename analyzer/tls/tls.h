/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/tls/tls.h - reads inside TLS, with keys that programs log.
 *
 * Purpose.  The reader of nbdscope/tls.h: bytes of TLS 1.2 and 1.3 in, what was inside
 * out, or why not.  It knows nothing of NBD, nor of packets.
 *
 *	key log, secrets in the capture ──► keylog.c ──┐
 *	bytes of a direction ──► records.c: records ──► cipher.c: opened ──► sink
 *	                          │  ▲                 │
 *	                          │  └── hellos, Finished, KeyUpdate ◄──┘
 *	                          └── missing bytes: search.c
 *
 * Keys.  They stay in this process: nothing prints or writes them, and memory that held
 * them is wiped.  A log that grows is read on, as far as it has come.
 *
 * Missing bytes.  If it is known where the next record begins, only what is missing is
 * lost.  Else a record is looked for that authenticates under a later number; that is
 * a proof, as no other bytes do.  The work for it is bounded by what was read.
 *
 * Failure.  NULL and one line in `err`, or NULL without memory.  Threads: none.
 *
 * Example.
 *	reader = nbds_tls_reader_new(memory, err, sizeof(err));
 *	nbds_tls_reader_log(reader, "keys.log", true, err, sizeof(err));
 *	config.engine.tls = reader;
 *	...
 *	nbds_tls_reader_free(reader);
 */
#ifndef NBDSCOPE_ANALYZER_TLS_H
#define NBDSCOPE_ANALYZER_TLS_H

#include <nbdscope/tls.h>

/* A reader without keys. `memory`: the most that keys may take; beyond that the oldest
 * are forgotten. */
struct nbds_tls_reader *nbds_tls_reader_new(uint64_t memory, char *err, size_t errsize);
void nbds_tls_reader_free(struct nbds_tls_reader *reader);

/* Reads a key log, and keeps it open. `follow`: it may grow. False: reason in `err`,
 * without the path. One log a reader. */
bool nbds_tls_reader_log(struct nbds_tls_reader *reader, const char *path, bool follow, char *err,
			 size_t errsize);
/* The same with an open file, which becomes the reader's. */
bool nbds_tls_reader_log_fd(struct nbds_tls_reader *reader, int fd, bool follow, char *err,
			    size_t errsize);
/* Lines of a key log from elsewhere: a block of decryption secrets. */
void nbds_tls_reader_secrets(struct nbds_tls_reader *reader, const uint8_t *text, size_t len);
/* There may be such blocks later in what is read now. */
void nbds_tls_reader_expect(struct nbds_tls_reader *reader, bool more);

struct nbds_tls_reader_stats {
	uint64_t sessions;  /* with keys */
	uint64_t forgotten; /* sessions */
	uint64_t lines;     /* with a secret of use */
	uint64_t others;    /* that are none of a key log */
};
void nbds_tls_reader_stats(const struct nbds_tls_reader *reader,
			   struct nbds_tls_reader_stats *stats);

/* The name of a cipher suite; NULL: not known. */
const char *nbds_tls_suite_name(uint16_t suite);

#endif
