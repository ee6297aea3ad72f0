/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/histories/reference.h - the verdict on every read, from definitions.
 *
 * Purpose.  Judges a whole history the slow way: every relation between
 * commands is computed for every pair, every admissible source for every byte.
 * It is what the engine is held against, so it shares no code with it, and each
 * function is one definition of the theory.
 *
 * Vocabulary.  before(a,b): a << b, proved by T1, T2 or T3.  In force: Est.
 * Superseded: Sup.  Admissible: Adm.  A *byte* stands for all bytes of a sector
 * that the same commands wrote and read alike.  Levels of trust: what is
 * concluded from a flush (E3) needs least, then FUA (E2), then the same
 * connection (E1) with nobody else writing (G10); what convicts only with less
 * than that is a suspect.
 *
 * One read has one finding: by the first rule that holds, violations first.
 *
 * Ownership.  ref_free() frees the results.
 */
#ifndef NBDSCOPE_TESTS_REFERENCE_H
#define NBDSCOPE_TESTS_REFERENCE_H

#include "history.h"

enum ref_rule {
	REF_V2, /* stale-read-after-flush; these in the order of reporting */
	REF_V3, /* stale-read-after-fua */
	REF_V4, /* zeroes-not-read-back */
	REF_V1, /* stale-read-own-write */
	REF_V9, /* unstable-read */
	REF_V6, /* zero-status-contradicts-data */
	REF_V7, /* reply-before-payload */
	REF_V8, /* write-succeeded-on-read-only */
	REF_LOST,
	REF_UNORDERED,
	REF_UNEXPLAINED,
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
	bool *missed;                /* commands: a write that it may name as missed; or NULL */
	bool *stale;                 /* commands: a write whose data came instead; or NULL */
};

/* Why a violation came out as a suspect. */
enum ref_lowered {
	REF_G1 = 1,      /* a connection is not seen from its beginning, or encrypted */
	REF_FACE = 2,    /* G9: another size or other flags were shown */
	REF_BREACH = 8,  /* a FLUSH or FUA that was never offered was refused */
	REF_OUTSIDE = 4, /* another port serves an export alike, and wrote there */
};

struct ref_verdict {
	struct ref_finding findings[REF_RULES]; /* of a read: at most one found */
	enum ref_unjudged why;                  /* REF_JUDGED: at least one byte was judged */
	unsigned lowered;
	bool learned; /* old contents are known only from an earlier read */
	bool order;   /* something was withheld for REF_ORDER */
};

struct ref_world;

struct reference {
	struct ref_verdict *verdicts; /* one for each command */
	int count;
	struct ref_world *world;
};

void ref_judge(struct reference *r, const struct history *h);
void ref_free(struct reference *r);
/* The finding about command `c` that is told first, or -1. */
int ref_told(const struct reference *r, int c);
/* The highest level of all findings about command `c`; -1: none. */
int ref_worst(const struct reference *r, int c);
/* Flush `f` put write `w` in force for the command `c` (E3, whatever the level). */
bool ref_flush_proves(const struct reference *r, int w, int f, int c);

#endif
