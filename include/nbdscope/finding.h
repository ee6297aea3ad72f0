/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/finding.h - what the engine has to say, and the rules it judges by.
 *
 * Purpose.  A finding names a rule, who broke it, the connection and command,
 * and the frames that prove it.  Rules stand in one table (nbds_rules) with
 * the level they are reported at and a short and a long explanation.
 *
 * Ownership.  A finding handed to a callback, and the strings in it, are valid
 * during the callback; nbds_finding_copy() makes one that lasts.
 */
#ifndef NBDSCOPE_FINDING_H
#define NBDSCOPE_FINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum nbds_severity { NBDS_NOTE, NBDS_HAZARD, NBDS_SUSPECT, NBDS_VIOLATION };
enum nbds_at_fault { NBDS_FAULT_SERVER, NBDS_FAULT_CLIENT, NBDS_FAULT_EITHER };
/* explicit: the specification says it in words; implied: it follows from them */
enum nbds_basis { NBDS_BASIS_EXPLICIT, NBDS_BASIS_IMPLIED };

struct nbds_rule {
	const char *name;            /* "stale-read-after-flush" */
	const char *ref;             /* "V2" */
	enum nbds_severity severity; /* the highest level it is reported at by default */
	enum nbds_at_fault side;
	enum nbds_basis basis;
	const char *summary; /* one line */
	const char *explain; /* paragraphs for --explain */
	const char *advice;  /* one line: what to do about it, and on which side */
	const char *place;   /* where the specification says so: a section's title */
	/* The rest of --explain; lines end with a newline and have 88 columns at most. */
	const char *expected; /* what the protocol asks for */
	const char *example;  /* an exchange that breaks it, a line a message */
	const char *server;   /* what to do about it on this side */
	const char *client;
	bool collapse; /* a habit: told once for a connection, and at its end how often more */
	bool summed;   /* harmless as a rule: told at its end only, the worst with how many */
};

extern const struct nbds_rule nbds_rules[];
extern const size_t nbds_rules_count;
/* The rule called `name`, or NULL. */
const struct nbds_rule *nbds_rule_find(const char *name);

/* The rows of the catalogue that no rule has as its ref: those that another rule
 * tells, and those that cannot, or should not, be told of a capture. */
struct nbds_unruled {
	const char *ref;  /* "H-27" */
	const char *rule; /* the name of the rule that tells it, or NULL */
	const char *why;  /* one sentence */
};
extern const struct nbds_unruled nbds_unruled[];
extern const size_t nbds_unruled_count;

const char *nbds_severity_name(enum nbds_severity s); /* "violation", ... */
bool nbds_severity_parse(const char *text, enum nbds_severity *s);

/* Roles of frames, in the order in which they are printed. */
enum nbds_role {
	NBDS_ROLE_EARLIER_READ,  /* "earlier_read": final reply of a read that showed the data
	                          * that came instead; or of unstable-read: other data */
	NBDS_ROLE_STALE_WRITE,   /* "stale_write": request of the write whose data came instead */
	NBDS_ROLE_WRITE_REQUEST, /* "write_request" */
	NBDS_ROLE_WRITE,         /* "write": final reply of the write that should have been seen */
	NBDS_ROLE_FLUSH_REQUEST, /* "flush_request" */
	NBDS_ROLE_FLUSH,         /* "flush": final reply of the flush */
	NBDS_ROLE_READ_REQUEST,  /* "read_request" */
	NBDS_ROLE_READ,          /* "read": frame with the last byte of the read's final reply */
	NBDS_ROLE_REQUEST,       /* "request" of a protocol finding */
	NBDS_ROLE_MESSAGE,       /* "message" at fault */
	NBDS_ROLE_MAX
};
extern const char *const nbds_role_names[NBDS_ROLE_MAX];

/* A command that takes part in a proof, for pictures with one lane a connection. */
struct nbds_witness {
	enum nbds_role role; /* NBDS_ROLE_WRITE, _STALE_WRITE, _FLUSH, _READ, _EARLIER_READ */
	uint32_t connection;
	uint16_t type, flags; /* NBD_CMD_*, command flags */
	uint64_t offset, length;
	uint64_t request_frame, reply_frame; /* reply_frame 0: not answered */
	int64_t request_time, reply_time;
};
#define NBDS_WITNESSES_MAX 6

/* Beside an earlier report, if there is one. */
enum nbds_standing { NBDS_STANDING_NONE, NBDS_STANDING_NEW, NBDS_STANDING_KNOWN };

/* Where what a read returned differs first from what it should have, and some bytes
 * from there on. */
#define NBDS_DIFFER_MAX 16
struct nbds_differ {
	uint64_t offset;     /* of the first byte, in the export */
	uint8_t count;       /* bytes; 0: not known */
	bool expected_known; /* those that were expected are known too */
	uint8_t came[NBDS_DIFFER_MAX], expected[NBDS_DIFFER_MAX];
};

struct nbds_finding {
	const struct nbds_rule *rule;
	enum nbds_severity severity; /* maybe lower than the rule's; the message says why */
	bool other_side;             /* `side` is at fault here, not the rule's */
	enum nbds_at_fault side;
	const char *message;     /* one sentence or two */
	uint32_t connection;     /* id; 0: none in particular */
	const char *export_name; /* NULL: none; export_name_len bytes, any bytes */
	size_t export_name_len;
	const char *command; /* "NBD_CMD_READ", or NULL */
	bool has_range;
	uint64_t offset, length;        /* of the bytes at fault (has_range) */
	uint64_t frames[NBDS_ROLE_MAX]; /* 0: no such frame */
	int64_t time;                   /* ns */
	const char *const *assumptions; /* NULL-terminated, or NULL */
	struct nbds_witness witnesses[NBDS_WITNESSES_MAX];
	unsigned witness_count;
	struct nbds_differ differ;
	uint64_t count;  /* 1, or how many this one stands for */
	uint64_t weight; /* of a rule that is summed: the heaviest is told */
	enum nbds_standing standing;
	uint64_t number; /* its place in a report, by time, from 1; 0: it has none */
};

/* Who is at fault. */
static inline enum nbds_at_fault nbds_finding_side(const struct nbds_finding *f)
{
	return f->other_side ? f->side : f->rule->side;
}

/* The final word on a read, or on a block status. */
struct nbds_judged {
	uint32_t connection;
	uint16_t type; /* NBD_CMD_* */
	uint64_t offset, length;
	uint64_t request_frame, reply_frame;
	bool failed;      /* it was answered with an error, or not at all */
	uint64_t checked; /* bytes that were held against what had been written */
	struct {
		const char *reason; /* NULL ends the list */
		uint64_t bytes;
	} unchecked[16];
	/* the rule that it broke, or NULL; it may still be withheld */
	const struct nbds_rule *rule;
	enum nbds_severity severity;
};

/* A deep copy to be freed with nbds_finding_free(); NULL without memory. */
struct nbds_finding *nbds_finding_copy(const struct nbds_finding *f);
void nbds_finding_free(struct nbds_finding *f);
/* Bytes that a copy of it takes. */
size_t nbds_finding_size(const struct nbds_finding *f);

#ifdef __cplusplus
}
#endif
#endif
