/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/judge.h - is what a read returned admissible, and if not,
 * what proves it?
 *
 * A pure function from a view, which is all that may have left its data in a sector, to
 * a verdict.  See judge.c.
 */
#ifndef NBDS_CONSISTENCY_JUDGE_H
#define NBDS_CONSISTENCY_JUDGE_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <base/bytes.h>

#include <nbdscope/finding.h>

#include "../rules/rules.h"
#include "contents.h"
#include "paths.h"
#include "preconditions.h"

/* Bit i: byte i of the two is the same. */
static inline uint64_t same_of_8(const uint8_t *a, const uint8_t *b)
{
	const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
	uint64_t differ = nbds_be64(a) ^ nbds_be64(b);
	uint64_t same = ~(((differ & low) + low) | differ | low); /* 0x80 for each */

	/* byte 0 is the highest: each of these moves one to its place in the top byte */
	return (same >> 7) * UINT64_C(0x8040201008040201) >> 56;
}

static inline uint64_t same_of_64(const uint8_t *a, const uint8_t *b)
{
	uint64_t same = 0;

#ifdef __SSE2__
	for (unsigned i = 0; i < 64; i += 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)(const void *)(a + i));
		__m128i y = _mm_loadu_si128((const __m128i *)(const void *)(b + i));

		same |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y)) << i;
	}
#else
	for (unsigned i = 0; i < 64; i += 8)
		same |= same_of_8(a + i, b + i) << i;
#endif
	return same;
}

static inline bool mask_any(const struct mask *m)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < NBDS_SECTOR / 64; i++)
		any |= m->bits[i];
	return any != 0;
}

/* What a read returned of one sector. */
struct sample {
	const struct nbds_op *read;
	uint64_t sector;
	uint64_t value;           /* of the whole sector, if [from, to) is all of it */
	const uint8_t *bytes;     /* [from, to), or NULL: only the value is known */
	uint16_t from, to;        /* bytes of the sector that were read */
	struct nbds_point hi;     /* when they were seen */
	uint64_t lone_from;       /* see struct miss */
	const struct mask *later; /* bytes that a later command wrote just so, or NULL */
	struct mask *old; /* to put those into that were there before the capture, or NULL */
};

/* All that is known of one sector. */
struct view {
	const struct candidate *list;
	unsigned count;
	const struct nbds_point *base; /* what was answered before is forgotten, or NULL */
	bool shadow;     /* something was forgotten: where it matters nothing is judged */
	bool sooner;     /* what its connection sent after the read's request came after it: its
	              * status, which is still to come, may show that (T1) */
	bool final;      /* commands in flight are not hoped to succeed any more */
	unsigned around; /* conditions that no sector knows of, and are not met: BROKEN_* */
};

enum judgement { JUDGE_FINE, JUDGE_UNKNOWN, JUDGE_WRONG };

struct verdict {
	enum judgement result;
	enum nbds_unchecked why;      /* UNKNOWN */
	const struct nbds_rule *rule; /* what is told of it; NULL: nothing */
	enum nbds_severity severity;
	unsigned broken;        /* conditions that are not met: BROKEN_* */
	struct nbds_op *missed; /* the write that should have been seen */
	struct nbds_op *flush;  /* the flush that made it visible */
	struct nbds_op *source; /* the write (or read) whose data came instead */
	struct old_write old;   /* or, if there is no such operation any more, this one */
	bool foreign;           /* data from nowhere: waits for being written after all; */
	unsigned without;       /* then others of its bytes rank like this at best */
	bool waits;             /* later frames may raise it */
	bool settles;           /* commands in flight decide */
	bool remember;          /* of a read: what it saw may be held against another one */
	bool initial;           /* some of it is certainly what was there before the capture, */
	bool wholly;            /* and all of it */
	bool has_since;         /* it rests on nothing before `since` */
	struct nbds_point since;
	bool parted;        /* in one life of the server, but what was written was in another */
	uint64_t lone_from; /* see struct miss */
};

/* Lower is told rather; for a rule at a level. */
unsigned verdict_rank(const struct nbds_rule *rule, enum nbds_severity severity);

void judge(const struct view *v, const struct sample *s, struct verdict *out);

/* Sectors of one read that are judged one after the other, with nothing told in between: what
 * is alike in all that a verdict rests on is judged once. */
#define SERIES_SOURCES 6u
struct series {
	bool known; /* what was judged last, which is this: */
	unsigned count;
	struct series_source {
		const struct nbds_op *op;
		uint32_t flags;
		struct mask same; /* as what was read */
	} source[SERIES_SOURCES];
	uint32_t alike; /* a bit for each two of them that have one value */
	uint32_t flags;
	unsigned around;
	uint64_t lone_from;
	struct nbds_point hi, base;
	struct verdict verdict;
};
/* From now on, until series_end(). */
void series_begin(struct nbds_world *w, struct series *s);
void series_end(struct nbds_world *w);

/* Working memory of judge(), for n candidates. False without memory. */
struct scratch {
	size_t room;
	void *memory;
	unsigned *reader, *paths, *force, *root;
	struct nbds_op **flush;
	bool *later, *after, *admissible[2], *in_force[2];
	struct series *series; /* or NULL */
};
bool scratch_room(struct nbds_world *w, size_t n);
void scratch_free(struct nbds_world *w);

#endif
