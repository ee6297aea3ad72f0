/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/tls.h - what reads inside TLS, as the engine sees it.
 *
 * Purpose.  The engine finds where a connection goes on inside TLS, and knows neither
 * ciphers nor keys.  A reader that is given to it in struct nbds_engine_config does:
 * it is fed with the bytes of the two directions as they were sent, from the first byte
 * of TLS on, and answers with what was inside, record by record, or with why not.
 * analyzer/tls has the one there is; who gives none looks into no TLS, and links no
 * cipher.
 *
 * Places.  A record is opened as a whole or not at all.  What was inside is told with
 * the places, in the direction's bytes of TLS counted from 0, of the first byte of its
 * record and of the one behind the last.
 *
 * Never a guess.  Bytes are told only if they were authenticated.
 *
 * Ownership.  A session belongs to who opened it, and is closed before its reader goes.
 * Bytes told are valid during the call.  Callbacks must not call the session.
 * Failure.  open() returns NULL without memory; later shortage is NBDS_TLS_MEMORY.
 */
#ifndef NBDSCOPE_TLS_H
#define NBDSCOPE_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <base/budget.h>
#include <nbdscope/decoder.h> /* enum nbds_side */

#ifdef __cplusplus
extern "C" {
#endif

/* Whether what is inside is read, and why not. */
enum nbds_tls_why {
	NBDS_TLS_READ,         /* it is */
	NBDS_TLS_WAITS,        /* for keys that may still come */
	NBDS_TLS_NO_KEY,       /* none for the client's random */
	NBDS_TLS_NO_HANDSHAKE, /* the hellos, or a part of them, were not captured */
	NBDS_TLS_LOST,         /* bytes are missing, and no record after them could be opened */
	NBDS_TLS_WRONG_KEY,    /* the first record under the keys does not authenticate */
	NBDS_TLS_DAMAGED,      /* a later one does not */
	NBDS_TLS_VERSION,      /* a version other than 1.2 and 1.3 */
	NBDS_TLS_SUITE,        /* a cipher suite that is not known here */
	NBDS_TLS_NO_RECORD,    /* bytes that are no record of TLS */
	NBDS_TLS_MEMORY,
};

#define NBDS_TLS_RANDOM 32

struct nbds_tls_facts {
	uint16_t version; /* 0x0303 is 1.2, 0x0304 1.3; 0: not known yet */
	uint16_t suite;   /* IANA's number; 0: not known yet */
	bool random_seen;
	uint8_t client_random[NBDS_TLS_RANDOM];
};

struct nbds_tls_sink {
	/* Inside of a record that came from `from`. */
	void (*data)(void *ctx, enum nbds_side from, const uint8_t *data, size_t len,
		     uint64_t start, uint64_t end);
	/* `len` bytes were inside of what is missing here, or, if not `exact`, an unknown
	 * number. */
	void (*lost)(void *ctx, enum nbds_side from, uint64_t len, bool exact, uint64_t end);
};

struct nbds_tls_session;

struct nbds_tls_reader {
	/* A connection goes on inside TLS. NULL without memory. */
	struct nbds_tls_session *(*open)(struct nbds_tls_reader *reader, struct nbds_budget *budget,
					 const struct nbds_tls_sink *sink, void *ctx);
	void (*close)(struct nbds_tls_session *s);
	/* The next bytes of a direction. Returns how many were taken: all of them, unless
	 * it waits for keys. */
	size_t (*data)(struct nbds_tls_session *s, enum nbds_side from, const uint8_t *data,
		       size_t len);
	/* `len` bytes of it are missing. */
	void (*gap)(struct nbds_tls_session *s, enum nbds_side from, uint64_t len);
	/* What it waits for will not come: from now on it takes all. */
	void (*hurry)(struct nbds_tls_session *s);
	/* Nothing more comes: what is looked for is not found. */
	void (*finish)(struct nbds_tls_session *s);
	/* What became of a direction. Once it is neither READ nor WAITS, it stays so. */
	enum nbds_tls_why (*why)(const struct nbds_tls_session *s, enum nbds_side from);
	void (*facts)(const struct nbds_tls_session *s, struct nbds_tls_facts *facts);
	/* Where the record begins that is not complete yet. */
	uint64_t (*begun)(const struct nbds_tls_session *s, enum nbds_side from);
	/* Looks for keys that have come meanwhile. True: there are new ones. */
	bool (*refresh)(struct nbds_tls_reader *reader);
	/* There may be new ones later, so that it is worth while to wait. */
	bool (*growing)(const struct nbds_tls_reader *reader);
	/* Bytes of memory that keys take. */
	uint64_t (*memory)(const struct nbds_tls_reader *reader);
	/* There are keys at all. */
	bool (*any)(const struct nbds_tls_reader *reader);
};

#ifdef __cplusplus
}
#endif
#endif
