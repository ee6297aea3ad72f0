/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/internal.h - what the consistency checker keeps.
 *
 *   world (one server endpoint)
 *     exports ── flush log, failed flushes          what orders and voids
 *     parties ── one a connection                   who wrote last
 *       ended, then folded into few numbers: past.c
 *     blocks  ── hash of 4 KiB block number         contents, newest first
 *        entry(op W2: 8 values) -> entry(op W1) -> ...
 *     grid    ── (size class, granule) -> ranges    zeroes, trims, unknown
 *     pending ── reads that look wrong, waiting for late evidence
 *
 * Data that was on the wire is kept in blocks, so blocks are bounded by the
 * bytes captured.  A command that covers a range without carrying data
 * (WRITE_ZEROES, TRIM, a write whose payload was lost) costs one range however
 * long it is: it is filed under the granules, of the smallest power of two not
 * below its length, that it touches (two at most), and a look-up asks one
 * granule of each size class in use.
 *
 * Entries that no reader can need any more are dropped from a block when it
 * has too many of them; the entry that superseded them then carries a *shadow*
 * bit: readers for which it is in force lose nothing, all others learn that
 * something was forgotten here and do not judge.
 */
#ifndef NBDS_CONSISTENCY_INTERNAL_H
#define NBDS_CONSISTENCY_INTERNAL_H

#include <nbdscope/decoder.h>
#include <nbdscope/protocol.h>

#include "consistency.h"

#define BLOCK_SECTORS  8u
#define BLOCK_BYTES    (BLOCK_SECTORS * NBDS_SECTOR)
#define ENTRIES_SOFT   6u  /* entries of a block before it is pruned */
#define ENTRIES_HARD   48u /* and before its oldest are forgotten */
#define VERSIONS_KEPT  4u  /* of each sector, whatever supersedes them */
#define GRANULE_SOFT   8u
#define GRANULE_HARD   48u
#define CANDIDATES_MAX 128u /* sources looked at for one sector */
#define MISSES_MAX     256u /* wrong sectors kept for one read */
#define VOIDERS_MAX    256u /* failed flushes kept for one export */
#define FLUSH_LOG_MAX  8192u
#define FLUSH_SCAN     64u
#define LIVES_MAX      32u
#define MISSED_BUCKETS 1024u
#define ORDERED_SLOTS  256u
#define PINNED_HARD    192u /* entries, ranges: more are not kept even for pending verdicts */

enum op_state { OP_FLIGHT, OP_OK, OP_FAILED, OP_OPEN };

struct nbds_op {
	struct nbds_world *world;
	struct nbds_party *party;
	uint64_t blocks_end; /* its entries are all in blocks before this number */
	uint64_t serial;
	uint64_t offset, length;
	uint16_t type, flags;
	uint8_t state;    /* enum op_state */
	bool write_class; /* WRITE, WRITE_ZEROES or TRIM of at least one byte */
	bool fua;         /* FUA that the server offered */
	bool voider;      /* its failure voids: FLUSH, or FUA */
	bool awaited;     /* in the list of those whose outcome verdicts wait for */
	bool overlap_told, reissue_told, landing_told;
	bool proves; /* legal and unambiguous: can establish something */
	uint32_t refs;
	uint32_t past; /* index + 1 of what is kept of it for sleeping blocks */
	uint32_t error;
	uint32_t epoch;
	struct nbds_point lo, hi;
	uint64_t header_end, acked;        /* of the request */
	uint64_t status_end, status_acked; /* of the status */
	uint64_t request_frame, reply_frame;
	struct nbds_op *prev_flight, *next_flight; /* awaited, oldest first */
	struct nbds_op *prev_write, *next_write;   /* the party's writes in flight */

	/* WRITE in progress */
	uint64_t next_at; /* bytes of payload seen or known lost */
	bool payload_over;
	union {
		uint64_t in_flight;   /* FLUSH: writes in flight when it was sent */
		uint64_t flight_from; /* a write: serial of the oldest of those */
	};
	struct reading *reading; /* READ and BLOCK_STATUS in progress */
};

/* What is known of a read that is not over, or waits for its verdict. */
struct reading {
	struct miss *misses; /* sectors that look wrong, or dangerous */
	uint32_t miss_count, miss_room;
	uint32_t told; /* rules, by bit */
	bool listed;   /* among the world's reads with misses */
	struct nbds_op *prev, *next;
	uint64_t checked, seen_bytes;
	uint64_t unchecked[NBDS_UNCHECKED_MAX];
};

struct miss {
	uint64_t sector;
	uint64_t value;
	struct nbds_point hi;
	uint64_t lone_from; /* serial of the first of its connection's writes for which G10
	                     * held when it was read: it does for all later ones */
	bool written_later; /* by a command that provably began after it was read */
};

struct entry {
	struct entry *next; /* older */
	struct nbds_op *op; /* a WRITE, or a READ that showed these values */
	uint8_t valued;     /* sectors with a value */
	uint8_t unknown;    /* sectors touched, with contents unknown */
	uint8_t full;       /* sectors covered wholly */
	bool coarse;        /* its values slept: only 32 bits are known of each */
	bool alone;         /* it superseded all older writes to the block */
	uint8_t shadow;     /* sectors where older entries were dropped for this one */
	uint8_t initial;    /* READ: sectors that it found as they were before the capture */
	uint64_t value[BLOCK_SECTORS];
};

struct block {
	struct block *chain;
	struct block *lru_prev, *lru_next;
	struct entry *entries; /* newest first */
	uint64_t number;       /* offset / BLOCK_BYTES */
	uint16_t count;
	uint16_t pins;     /* pending misses that need its entries */
	uint16_t prune_at; /* count at which it is pruned next */
	uint8_t cut;       /* sectors where something was forgotten for good */
	bool based;        /* made after forgetting: what was before `base` is unknown */
	struct nbds_point base;
};

/* Quiet contents: see quiet.c. */
#define REGION_BLOCKS 32u

struct cell {
	uint32_t past; /* index into the world's pasts */
	uint32_t value[BLOCK_SECTORS];
};

struct region {
	struct region *chain, *older, *newer;
	uint64_t number;  /* block number / REGION_BLOCKS */
	uint32_t present; /* its blocks that have a cell */
	uint16_t room;
	struct cell *cells; /* in order of blocks */
};

/* What remains of a command that only cells refer to. */
struct past {
	struct nbds_party *party;
	struct nbds_op *op; /* while there still, or again, is one */
	uint64_t serial, offset, lo_frame;
	int64_t lo_time, hi_time;
	uint32_t length, request_delta, hi_delta, reply_delta; /* frames since lo_frame */
	uint32_t refs, next_free;                              /* free: index + 1 of the next one */
	uint16_t interface, epoch;
	uint8_t type, flags;
	bool fua;
};

enum range_kind {
	RANGE_ZERO,
	RANGE_TRIM,
	RANGE_HOLE,
	RANGE_UNKNOWN,
	RANGE_DAMAGE,
	RANGE_SEEN_ZERO
};

struct range {
	struct nbds_op *op;
	uint64_t start, end; /* bytes */
	uint8_t kind;
	bool shadow;
	uint8_t links; /* granules that file it */
};

struct link {
	struct link *next;
	struct range *range;
};

struct granule {
	struct granule *chain;
	uint64_t number;
	struct link *links; /* newest first */
	uint32_t count;
	uint8_t size_class;
	bool cut; /* something was forgotten */
	bool pinned;
};

struct xport {
	struct xport *next;
	char *name;
	size_t name_len;
	struct nbds_op **log; /* successful flushes in order of completion */
	uint32_t *latest;     /* latest[i]: of log[0..i] the one with the greatest lo.time */
	uint32_t log_count, log_room;
	bool flags_differ; /* told */
	/* what connections wrote that are folded */
	bool past_written, past_fua;
	struct nbds_point past_settled; /* it is in force for all that begins later */
};

/* The first bytes of a sector whose others are still to come. */
struct carry {
	struct nbds_op *op;
	uint64_t offset; /* of its first byte, in the export */
	uint32_t have;
	uint8_t bytes[NBDS_SECTOR];
};

struct nbds_party {
	struct nbds_world *world;
	struct nbds_party *next;
	struct xport *xport;
	uint32_t id;
	uint32_t ops; /* operations, pasts and withheld findings that refer to it */
	uint16_t flags;
	bool from_start, known, opaque, ended;
	bool left; /* by its caller */
	struct nbds_point end;
	uint64_t size;
	bool size_known;
	bool heard, alive;
	struct nbds_point first_heard; /* the server's first payload */
	uint64_t complete;             /* frame up to which nothing of it is missing */
	struct nbds_point last_alive;  /* the newest request that it answered */
	/* G10 */
	uint64_t writes_in_flight, writes_unresolved;
	bool voided;                                /* a completed write of its was voided */
	struct nbds_op *last_plain, *last_fua;      /* completed, greatest hi */
	struct nbds_op *flight_first, *flight_last; /* writes in flight */
	struct nbds_op *failed_flush;               /* until work goes on */
	bool end_told;
	/* completed and not flushed */
	struct nbds_op **unflushed;
	uint32_t unflushed_count, unflushed_room;
	uint64_t unflushed_over, unflushed_over_bytes;
	uint64_t unflushed_bytes;
	uint64_t unflushed_frame; /* of the first one, once the list is dropped */
	int64_t unflushed_since;
	/* a sector that straddles spans */
	struct carry *carry; /* [0]: written, [1]: read */
};

/* What established() found lately: the sectors of a block ask the same. */
struct ordered {
	uint64_t w, c; /* serials */
	uint64_t hi_frame;
	uint64_t version;
	struct nbds_op *flush;
	unsigned paths;
};

/* One server was alive from here to there. */
struct lifetime {
	struct nbds_point from, to;
};

/* A write whose answer will never be known; its offset is here for a quick search. */
struct unanswered {
	uint64_t offset;
	struct nbds_op *op;
};

struct pending {
	struct pending *next;
	struct nbds_op *read;
	uint64_t serial; /* evidence of operations up to this one is waited for */
};

struct nbds_world {
	struct nbds_world_config config;
	struct nbds_world_ops ops;
	void *ctx;
	struct xport *xports;
	struct nbds_party *parties; /* open, or with writes that a flush may cover yet */
	struct nbds_party *ended, **ended_tail;   /* not folded yet, oldest first */
	struct nbds_party *folded, **folded_tail; /* but referred to */
	uint32_t lingering, ended_count;          /* ended: among the parties, in `ended` */
	bool past_loose; /* folded connections wrote what will never be in force for all */
	struct lifetime lives[LIVES_MAX]; /* of servers, shown by folded connections */
	unsigned life_count;
	uint32_t open_parties;
	uint32_t epoch;
	bool had_party;
	bool hears; /* the server's first payloads are told */
	bool written;
	struct nbds_party *writer; /* the first connection that wrote; NULL: gone */
	bool many_writers;
	uint64_t serial;
	int64_t now;
	bool final; /* a final verdict is being found */
	/* order */
	struct ordered ordered[ORDERED_SLOTS];
	uint64_t order_version; /* another one: what was found may be different now */
	bool no_t3;
	bool dropped;    /* the capture says that it lost packets */
	bool open_world; /* a connection cannot be (or was not always) seen */
	bool poisoned;
	struct nbds_point poison;
	struct nbds_op **void_by; /* flushes that failed, or were never answered, of any
	                           * export: two names may be one device */
	uint32_t void_count, void_room;
	bool void_all; /* too many to keep: nothing is established any more */
	/* contents */
	uint64_t zero_value; /* of a sector of zeroes */
	struct block **buckets;
	size_t bucket_count, block_count;
	struct block *found; /* that was looked for last */
	struct block lru;    /* list head: next is the oldest */
	struct granule **granules;
	size_t granule_buckets, granule_count;
	uint64_t classes; /* size classes in use */
	struct region **regions, *region_oldest, *region_newest;
	size_t region_buckets, region_count;
	struct past *pasts;
	uint32_t past_room, past_free; /* index + 1 */
	bool iterating;                /* over blocks: none may go to sleep */
	bool forgot;
	struct nbds_point forgot_at;
	bool blind; /* forgetting could not be told apart: no verdicts any more */
	uint64_t memory, memory_cap;
	/* verdicts */
	struct nbds_op *flight_first, *flight_last; /* awaited, oldest first */
	struct nbds_op *reads_missed;               /* reads with misses, in flight or not */
	struct nbds_point missed_hi;                /* no miss was seen later */
	uint32_t missed[MISSED_BUCKETS];            /* misses, by hash of block number */
	struct pending *foreign, **foreign_tail;    /* with data from nowhere: wait for longer,
	                                          * it may be written yet (G4) */
	uint32_t foreign_count;
	struct unanswered *unanswered; /* writes whose answer will never be known: the newest,
	                                * of `unanswered_count` ever, in a ring */
	uint64_t unanswered_count;
	struct pending *pending, **pending_tail;
	uint64_t pending_count;
	bool completes;     /* nbds_party_complete() is told */
	bool interfaces;    /* the capture has several, */
	bool mixed;         /* and commands were on others than the first one's, */
	uint32_t interface; /* which was this */
	struct withheld *withheld, **withheld_tail; /* violations that wait for the silent */
	uint32_t withheld_count;
	struct nbds_world_stats stats;
};

/* --- order.c ------------------------------------------------------------- */
/* Points a and b: a is certainly earlier (T3). */
bool point_before(const struct nbds_world *w, const struct nbds_point *a,
		  const struct nbds_point *b);
/* a << b: a's outcome was decided before b could begin. */
bool op_before(const struct nbds_op *a, const struct nbds_op *b);

enum { EST_E1 = 1, EST_E2 = 2, EST_E3 = 4 };
/* The paths on which W is in force for c (0: none). *flush: E3's flush. `hi`:
 * when c was certainly over (NULL: not yet). */
unsigned established(const struct nbds_op *w, const struct nbds_op *c, const struct nbds_point *hi,
		     struct nbds_op **flush);
/* Some failed (or never answered) flush may have dropped W before c was over. */
bool voided(const struct nbds_op *w, const struct nbds_point *hi);
/* A successful flush F with w << F << c of the same export; any_mc: of any
 * connection, else only of w's own. */
struct nbds_op *flush_between(const struct nbds_op *w, const struct nbds_op *c, bool any_conn);
/* The first one, of any connection, that certainly began after w was answered. */
const struct nbds_op *flush_after(const struct nbds_op *w);
/* A flush that covers w and, as captured, was answered before c was sent, though too
 * close to prove it. */
struct nbds_op *flush_close(const struct nbds_op *w, const struct nbds_op *c);
/* A successful flush that certainly began after `since` and ended before c. */
struct nbds_op *flush_since(const struct nbds_party *p, const struct nbds_point *since,
			    const struct nbds_op *c);
/* All that was answered before `base` is superseded, for this reader, by w. */
bool renewed(const struct nbds_party *reader, const struct nbds_point *base,
	     const struct nbds_op *w);
void flush_log_add(struct nbds_op *f);
void void_add(struct nbds_op *x);
bool party_mc(const struct nbds_party *p);
/* No other connection wrote anything that was not in force before w began (G10). */
bool lone_writer(const struct nbds_op *w);

/* --- past.c -------------------------------------------------------------- */
/* It ended: forgets what only an open connection needs. */
void past_end(struct nbds_party *p);
/* It ended, and nothing that it wrote can be flushed any more: on its way out. */
void past_settle(struct nbds_party *p);
/* Folds and frees some of those that can be. */
void past_sweep(struct nbds_world *w);
/* x failed. */
void past_voided(const struct nbds_op *x);
/* All that folded connections wrote was in force before w began. */
bool past_in_force(const struct nbds_op *w);
void past_free(struct nbds_world *w);
/* Tells that p ended with writes that nothing flushed. */
void unflushed_end(struct nbds_party *p);

/* --- contents.c ---------------------------------------------------------- */
uint64_t sector_value(const uint8_t *bytes);
void contents_init(struct nbds_world *w);
void contents_free(struct nbds_world *w);
void *world_alloc(struct nbds_world *w, size_t size);
void world_dealloc(struct nbds_world *w, void *p, size_t size);
struct block *block_find(struct nbds_world *w, uint64_t number);
struct block *block_get(struct nbds_world *w, uint64_t number); /* NULL without memory */
/* A sector of a write, or seen by a read. */
void contents_sector(struct nbds_op *op, uint64_t sector, uint64_t value);
/* The latter; initial: no write was in force for it. */
void contents_seen(struct nbds_op *op, uint64_t sector, uint64_t value, bool initial);
/* A sector that a write covers only partly. */
void contents_partial(struct nbds_op *op, uint64_t sector);
void contents_range(struct nbds_op *op, uint64_t start, uint64_t end, enum range_kind kind);
void contents_trim_memory(struct nbds_world *w);
void block_free(struct nbds_world *w, struct block *b);
void lru_remove(struct block *b);
void lru_append(struct nbds_world *w, struct block *b);
bool in_force_for_all(const struct nbds_op *n);
bool may_be_voided(const struct nbds_op *n);
void forget_point(struct nbds_world *w, const struct nbds_point *hi);
static inline size_t hash_number(uint64_t n)
{
	n ^= n >> 31;
	n *= 0x9e3779b97f4a7c15u;
	return (size_t)(n ^ (n >> 29));
}

/* --- quiet.c ------------------------------------------------------------- */
/* What is known of a value after it slept. */
uint64_t coarse_value(uint64_t value);
struct cell *quiet_find(const struct nbds_world *w, uint64_t block);
uint64_t quiet_value(const struct cell *c, unsigned i);
/* Makes a command of a past. */
void past_fill(struct nbds_world *w, uint32_t index, struct nbds_op *op);
bool quiet_settle(struct nbds_world *w, struct block *b);
void quiet_wake(struct nbds_world *w, struct block *b);
void quiet_wake_data(struct nbds_world *w, uint64_t first, uint64_t last);
void quiet_sweep(struct nbds_world *w);
bool quiet_forget(struct nbds_world *w);
void quiet_free(struct nbds_world *w);

/* A miss waits for its verdict (delta 1), or no more (-1). */
void contents_pin(struct nbds_world *w, uint64_t sector, int delta);
void later_of(struct nbds_point *to, const struct nbds_point *point);

/* What may have been the source of a sector's contents. */
struct candidate {
	struct nbds_op *op;
	uint64_t value;
	bool any;     /* value unknown */
	bool full;    /* covers the sector wholly */
	bool seen;    /* a read that showed it, not a write */
	bool hole;    /* a report of undefined contents, not a write */
	bool coarse;  /* 32 bits are known of the value */
	bool shadow;  /* it hides dropped ones */
	bool initial; /* seen: what was there before the capture, as was known then */
	uint8_t why;  /* enum nbds_unchecked, if `any` */
};
/* Candidates for a sector; false: too many, or something was forgotten. */
bool contents_gather(struct nbds_world *w, uint64_t sector, struct candidate *list, unsigned *count,
		     struct block **block);
/* Calls `each` for every block with data, written or seen, in [start, end) bytes. */
void contents_each_block(struct nbds_world *w, uint64_t start, uint64_t end,
			 void (*each)(void *arg, struct block *b), void *arg);

/* Does a command without data cover a part of the sector, and is newer than `by`, or
 * not superseded by it? (If `by` is a read, zeroes that were only seen count too.) */
bool contents_other_range(const struct nbds_world *w, uint64_t sector, const struct nbds_op *by);

/* The read has no misses any more: it is no longer looked for; or they are dropped. */
void reading_unlist(struct nbds_op *op);
void reading_drop(struct nbds_op *op);
void op_ref(struct nbds_op *op);
void op_unref(struct nbds_op *op);

/* --- judge.c ------------------------------------------------------------- */
enum judgement { JUDGE_FINE, JUDGE_UNKNOWN, JUDGE_WRONG };
struct verdict {
	enum judgement result;
	enum nbds_unchecked why;      /* UNKNOWN */
	const struct nbds_rule *rule; /* WRONG, or a hazard with FINE and UNKNOWN; NULL: none */
	enum nbds_severity severity;
	const char *lowered;    /* why it is lower than the rule's, or NULL */
	struct nbds_op *missed; /* the write that should have been seen */
	struct nbds_op *flush;  /* the flush that made it visible */
	struct nbds_op *source; /* the write (or read) whose data came instead */
	bool waits;             /* later frames may raise it */
	unsigned values;        /* FINE: different admissible values */
	bool all_established;
	bool initial;       /* UNKNOWN: certainly what was there before the capture */
	uint64_t lone_from; /* see struct miss; with a rule only */
};
void judge_sector(struct nbds_op *read, const struct miss *m, struct verdict *v);

/* --- verdict.c ----------------------------------------------------------- */
/* The read is over: what it missed waits for its verdict. */
void verdict_await(struct nbds_op *read);
/* Passes those that have waited long enough, or all. */
void verdicts_pass(struct nbds_world *w, bool all);

/* --- withhold.c ---------------------------------------------------------- */
/* Tells a finding about `read`, now or once nothing can be missing before it. */
void withhold(struct nbds_world *w, const struct nbds_op *read, const struct nbds_finding *f);
void withheld_pass(struct nbds_world *w, bool all);
void withheld_free(struct nbds_world *w);

/* --- hazards.c ----------------------------------------------------------- */
void hazard_export(struct nbds_party *p);
void hazard_request(struct nbds_op *op);
void hazard_written(struct nbds_op *op);
void hazard_reply(struct nbds_op *op);
void hazard_overlap(struct nbds_op *op, const struct nbds_op *other);
void hazard_party_end(struct nbds_party *p);
void hazard_finish(struct nbds_world *w);
void hazard_free(struct nbds_world *w);
/* Adds a command to the finding's witnesses. */
void witness_add(struct nbds_finding *f, enum nbds_role role, const struct nbds_op *op);

#endif
