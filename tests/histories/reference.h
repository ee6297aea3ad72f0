/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/histories/reference.h - the verdict on every read, from definitions.
 *
 * Purpose.  Judges a whole history the slow way: every relation between
 * commands is computed for every pair, every admissible source for every run
 * of bytes.  It is what the engine is held against, so it shares no code with
 * it, and each function is one definition of the theory.
 *
 * Vocabulary.  before(a,b): a << b, proved by T1, T2 or T3.  In force: Est.
 * Superseded: Sup.  Admissible: Adm.  A *run* is a range of bytes in which no
 * command begins or ends and no contents change.  Levels of trust: what is
 * concluded from a flush (E3) needs least, then FUA (E2), then the same
 * connection (E1) with nobody else writing (G10), then E1 alone or E2/E3
 * across a reconnect; the verdict is that of the first level that convicts.
 *
 * Ownership.  ref_free() frees the results.
 */
#ifndef NBDSCOPE_TESTS_REFERENCE_H
#define NBDSCOPE_TESTS_REFERENCE_H

#include "history.h"

enum ref_rule {
	REF_V2, /* stale-read-after-flush; V2, V3, V4, V1 in the order of reporting */
	REF_V3, /* stale-read-after-fua */
	REF_V4, /* zeroes-not-read-back */
	REF_V1, /* stale-read-own-write */
	REF_V6, /* zero-status-contradicts-data */
	REF_V7, /* reply-before-payload */
	REF_V8, /* write-succeeded-on-read-only */
	REF_V9, /* unstable-read */
	REF_UNEXPLAINED,
	REF_UNORDERED,
	REF_LOST,
	REF_UNFLUSHED,
	REF_NO_MULTI_CONN,
	REF_RULES
};
extern const char *const ref_rule_names[REF_RULES];

enum ref_unjudged {
	REF_JUDGED,
	REF_NOT_A_READ,
	REF_NO_ANSWER, /* failed, or never answered */
	REF_ILLEGAL,   /* the read itself */
	REF_GAP,       /* G3 */
	REF_INITIAL,   /* contents from before are admissible */
	REF_TRIMMED,
	REF_HOLE, /* G7 */
	REF_FAILED_WRITE,
	REF_ILLEGAL_WRITE, /* G6 */
	REF_LOST_PAYLOAD,  /* G2 */
	REF_ORDER,         /* G4: its data was written later */
	REF_UNJUDGED_MAX
};

struct ref_finding {
	bool found;
	enum nbds_severity severity; /* the highest ... */
	bool *sectors;               /* of the command's: where it is that high */
	bool *perhaps;               /* hazards: where it is a matter of taste; or NULL */
};

struct ref_verdict {
	struct ref_finding findings[REF_RULES]; /* after choosing one of V1 to V4 */
	enum ref_unjudged why;                  /* REF_JUDGED: at least one byte was judged */
	bool weak;                              /* G1 or G3: it was lowered to suspect */
	bool learned; /* old contents are known only from an earlier read */
	bool order;   /* something was withheld for REF_ORDER */
	bool unsure;  /* some writes are in force only if the server is the same */
	bool *wrong;  /* sectors with any finding at all; or NULL */
};

struct reference {
	struct ref_verdict *verdicts; /* one for each command */
	int count;
};

void ref_judge(struct reference *r, const struct history *h);
void ref_free(struct reference *r);
/* The highest level of all findings about command `c`; -1: none. */
int ref_worst(const struct reference *r, int c);

#endif
