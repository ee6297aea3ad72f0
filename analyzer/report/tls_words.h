/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/report/tls_words.h - what is said of a connection inside TLS.
 *
 * Keys are never said, but the client's random is: it is in clear on the wire, and it is
 * what a key log finds a session by.
 */
#ifndef NBDSCOPE_ANALYZER_REPORT_TLS_WORDS_H
#define NBDSCOPE_ANALYZER_REPORT_TLS_WORDS_H

#include <nbdscope/engine.h>

#include "buf.h"

/* A clause on a connection whose negotiated.tls is set: "TLS 1.3, ...: read with its keys". */
void nbds_tls_sentence(struct nbds_buf *b, const struct nbds_connection *c);
/* Why what is inside is not read, without the versions. */
void nbds_tls_reason(struct nbds_buf *b, const struct nbds_connection *c);
/* The reason in a word, for programs: "no-key". */
const char *nbds_tls_reason_name(enum nbds_tls_why why);
/* "TLS_AES_128_GCM_SHA256", or "0x1234". */
void nbds_tls_suite(struct nbds_buf *b, uint16_t suite);
/* And back from there; 0: it is neither. */
uint16_t nbds_tls_suite_number(const char *name);
/* "1.3", or "0x0301". */
void nbds_tls_version(struct nbds_buf *b, uint16_t version);
void nbds_tls_random(struct nbds_buf *b, const struct nbds_tls_facts *facts);

#endif
