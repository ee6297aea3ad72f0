/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The consistency checker by itself: what large and long runs show, and
 * histories of a few commands do not (those are in tests/histories).
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nbdscope/decoder.h>
#include <nbdscope/protocol.h>

#include <base/budget.h>

#include "../../analyzer/consistency/consistency.h"
#include "../../analyzer/consistency/hash.h"
#include "../../analyzer/consistency/preconditions.h"

#define MC                                                                                        \
	(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_CAN_MULTI_CONN | \
	 NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_TRIM)
#define SIZE (UINT64_C(1) << 40)
#define STEP INT64_C(100000) /* ns from one event to the next */

struct run {
	struct nbds_world *w;
	struct nbds_party *party[4];
	uint64_t frame;
	int64_t time;
	unsigned findings;
	char rule[64];
	enum nbds_severity severity, highest;
	uint64_t frames[NBDS_ROLE_MAX];
	uint64_t offset, length;
	char text[1024];   /* the last suspect's, or violation's, message */
	char hazard[1024]; /* the last one's message */
};

static void on_finding(void *ctx, const struct nbds_finding *f)
{
	struct run *r = ctx;

	if (f->severity == NBDS_HAZARD)
		snprintf(r->hazard, sizeof(r->hazard), "%s: %s", f->rule->name, f->message);
	if (f->severity < NBDS_SUSPECT)
		return;
	r->findings++;
	snprintf(r->rule, sizeof(r->rule), "%s", f->rule->name);
	r->severity = f->severity;
	if (f->severity > r->highest)
		r->highest = f->severity;
	memcpy(r->frames, f->frames, sizeof(r->frames));
	snprintf(r->text, sizeof(r->text), "%s", f->message);
	r->offset = f->offset;
	r->length = f->length;
}

static struct nbds_point now(struct run *r)
{
	r->time += STEP;
	return (struct nbds_point){++r->frame, r->time, 0};
}

static void start(struct run *r, unsigned parties, uint16_t flags, uint64_t memory)
{
	struct nbds_world_config config = {.settle = 1000000, .memory = memory};
	struct nbds_world_ops ops = {.finding = on_finding};

	memset(r, 0, sizeof(*r));
	r->time = INT64_C(1700000000) * 1000000000;
	r->w = nbds_world_new(&config, &ops, r);
	assert_non_null(r->w);
	for (unsigned i = 0; i < parties; i++) {
		struct nbds_point p = now(r);

		r->party[i] = nbds_world_connect(r->w, i + 1, true, &p);
		nbds_party_export(r->party[i], "x", 1, SIZE, flags, true);
	}
}

static struct nbds_op *request(struct run *r, unsigned k, uint16_t type, uint64_t offset,
			       uint64_t length)
{
	struct nbds_request_order o = {.lo = now(r), .acked = NBDS_NO_ACK};

	o.frame = o.lo.frame;
	return nbds_world_request(r->party[k], type, 0, offset, length, &o);
}

static uint64_t reply(struct run *r, struct nbds_op *op)
{
	struct nbds_reply_order o = {.hi = now(r), .acked = NBDS_NO_ACK};

	o.frame = o.hi.frame;
	nbds_op_reply(op, 0, &o);
	nbds_world_tick(r->w, r->time);
	return o.frame;
}

static void fill(uint8_t *buf, size_t len, uint64_t offset, uint8_t version)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)((offset + i) / NBDS_SECTOR * 7 + i * 3 + version * 101 + 1);
}

static void write_at(struct run *r, unsigned k, uint64_t offset, size_t len, uint8_t version)
{
	uint8_t *buf = malloc(len);
	struct nbds_op *op = request(r, k, NBD_CMD_WRITE, offset, len);

	fill(buf, len, offset, version);
	nbds_op_write_data(op, 0, buf, len);
	nbds_op_write_end(op);
	reply(r, op);
	free(buf);
}

static uint64_t read_at(struct run *r, unsigned k, uint64_t offset, size_t len, uint8_t version)
{
	uint8_t *buf = malloc(len);
	struct nbds_op *op = request(r, k, NBD_CMD_READ, offset, len);
	struct nbds_point p = now(r);
	uint64_t frame;

	fill(buf, len, offset, version);
	nbds_op_read_data(op, offset, buf, len, &p);
	frame = reply(r, op);
	free(buf);
	return frame;
}

static void flush(struct run *r, unsigned k)
{
	reply(r, request(r, k, NBD_CMD_FLUSH, 0, 0));
}

/* Connection `k` anew, under a number of its own. */
static void begin(struct run *r, unsigned k, uint32_t id, uint16_t flags)
{
	struct nbds_point p = now(r);

	r->party[k] = nbds_world_connect(r->w, id, true, &p);
	nbds_party_heard(r->party[k], &p);
	nbds_party_export(r->party[k], "x", 1, SIZE, flags, true);
}

static void end(struct run *r, unsigned k)
{
	struct nbds_point p = now(r);

	nbds_party_end(r->party[k], &p);
	nbds_party_leave(r->party[k]);
	nbds_world_tick(r->w, r->time);
}

static void rest(struct run *r)
{
	r->time += INT64_C(5000000000);
}

static struct nbds_world_stats finish(struct run *r)
{
	struct nbds_world_stats s;

	nbds_world_finish(r->w);
	nbds_world_stats(r->w, &s);
	nbds_world_free(r->w);
	return s;
}

/* A gigabyte written in order costs at most 56 bytes for each 4 KiB. */
static void test_sequential_memory(void **state)
{
	const uint64_t total = UINT64_C(1) << 30, piece = 256 << 10;
	struct nbds_world_stats s;
	struct run r;

	(void)state;
	start(&r, 2, MC, 0);
	for (uint64_t at = 0; at < total; at += piece) {
		write_at(&r, (unsigned)(at / piece & 1), at, piece, 1);
		if (at % (64 << 20) == 0)
			flush(&r, 0);
		r.time += INT64_C(20000000);
	}
	flush(&r, 1);
	nbds_world_stats(r.w, &s);
	print_message("%.1f bytes of state for each 4 KiB\n",
		      (double)s.memory_max / (double)(total / 4096));
	assert_true(s.memory_max / (total / 4096) <= 56);
	/* and still all of it is held against what is read */
	rest(&r);
	for (uint64_t at = 0; at < total; at += 16 << 20)
		read_at(&r, 1, at + 4096, 8192, 1);
	s = finish(&r);
	assert_int_equal(r.findings, 0);
	assert_int_equal(s.checked_bytes, total / (16 << 20) * 8192);
}

/* --- preconditions -------------------------------------------------------- */

/* Each rule is at its own level if all conditions are met, and suspect with a reason once
 * one that it needs is not; and every rule about contents needs those that could hide
 * another writer. */
static void test_preconditions(void **state)
{
	static const enum nbds_rule_id rules[] = {
		RULE_STALE_AFTER_FLUSH, RULE_STALE_AFTER_FUA, RULE_ZEROES_NOT_READ_BACK,
		RULE_STALE_OWN_WRITE,   RULE_ZERO_STATUS,     RULE_UNSTABLE_READ,
		RULE_UNEXPLAINED,
	};
	const unsigned always = BROKEN_UNSEEN | BROKEN_DROPPED | BROKEN_OUTSIDE | BROKEN_MIXED |
				BROKEN_FACE | BROKEN_ENDED | BROKEN_FAILED | BROKEN_BREACH |
				BROKEN_ORDER;

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const char *why;

		assert_int_equal(precondition_level(rules[i], NBDS_VIOLATION, 0, &why),
				 NBDS_VIOLATION);
		assert_null(why);
		assert_int_equal(precondition_needs(rules[i], always), always);
		for (unsigned bit = 1; bit <= BROKEN_ALL; bit <<= 1) {
			bool needs = precondition_needs(rules[i], bit);

			assert_int_equal(precondition_level(rules[i], NBDS_VIOLATION, bit, &why),
					 needs ? NBDS_SUSPECT : NBDS_VIOLATION);
			assert_int_equal(why != NULL, needs);
			/* what is less than suspect stays what it is */
			assert_int_equal(precondition_level(rules[i], NBDS_HAZARD, bit, &why),
					 NBDS_HAZARD);
		}
	}
	/* what flushes and FUA put in force needs no lone writer; what a connection alone saw
	 * needs no server that was not restarted but between its two reads */
	assert_false(precondition_needs(RULE_STALE_AFTER_FLUSH, BROKEN_WRITER));
	assert_false(precondition_needs(RULE_STALE_AFTER_FUA, BROKEN_WRITER));
	assert_true(precondition_needs(RULE_STALE_OWN_WRITE, BROKEN_WRITER));
	assert_false(precondition_needs(RULE_UNSTABLE_READ, BROKEN_SERVER));
	/* one connection alone shows these */
	assert_false(precondition_needs(RULE_REPLY_BEFORE_PAYLOAD, BROKEN_ALL));
	assert_false(precondition_needs(RULE_READ_ONLY, BROKEN_ALL));
}

/* A condition that is broken. */
enum breach {
	MET,
	MIDWAY,        /* G1, G3: another connection is not seen from its beginning, */
	ENCRYPTED,     /* or can not be seen any more, */
	UNTOLD,        /* or is not followed at all */
	OWN_MIDWAY,    /* G1: nor are those of the commands themselves, */
	FLAGS_UNKNOWN, /* or what they were shown is not known */
	CUT_WRITE,     /* G2: its bytes, or extents, were not captured */
	CUT_READ,      /* */
	GAP,           /* G3: one that may hide a write */
	DROPPED,       /* */
	OTHER_PORT,    /* */
	NO_ORDER,      /* G4: all is too close together, */
	NO_TIME,       /* or times are no order, */
	INTERFACES,    /* or are of several clocks */
	FLUSH_LOST,    /* G5: a flush failed, */
	FLUSH_FAILED,  /* and a later one succeeded, */
	NEVER_OFFERED, /* or it was refused, but never offered */
	ILLEGAL_WRITE, /* G6 */
	ILLEGAL_FLUSH, /* */
	ILLEGAL_READ,  /* */
	TRIMMED,       /* G7 */
	HOLE,          /* */
	CUT_SHORT,     /* resized to nothing, */
	RESIZED,       /* or to a size beyond, which leaves what is before as it is */
	SHARED_WRITE,  /* G8: its cookie is another's too */
	SHARED_FLUSH,  /* */
	SHARED_READ,   /* */
	OTHER_SIZE,    /* G9 */
	OTHER_FLAGS,   /* */
	NEW_SIZE,      /* the same, just before the last read */
	NEW_FLAGS,     /* */
	ALL_ENDED,     /* */
	NO_WITNESS,    /* */
	NEIGHBOUR,     /* G10: another connection wrote as well */
	BREACHES
};

/* What each breaks of those that lower the level; 0: then there is no verdict. */
static const unsigned breaks[BREACHES] = {
	[MIDWAY] = BROKEN_UNSEEN,        [ENCRYPTED] = BROKEN_UNSEEN,
	[UNTOLD] = BROKEN_UNSEEN,        [OWN_MIDWAY] = BROKEN_UNSEEN,
	[FLAGS_UNKNOWN] = BROKEN_UNSEEN, [DROPPED] = BROKEN_DROPPED,
	[OTHER_PORT] = BROKEN_OUTSIDE,   [INTERFACES] = BROKEN_MIXED,
	[FLUSH_FAILED] = BROKEN_FAILED,  [NEVER_OFFERED] = BROKEN_BREACH,
	[OTHER_SIZE] = BROKEN_FACE,      [OTHER_FLAGS] = BROKEN_FACE,
	[NEW_SIZE] = BROKEN_FACE,        [NEW_FLAGS] = BROKEN_FACE,
	[ALL_ENDED] = BROKEN_ENDED,      [NO_WITNESS] = BROKEN_SERVER,
	[NEIGHBOUR] = BROKEN_WRITER,
};

enum shown_by {
	BY_READ,         /* the data of the write before */
	BY_FOREIGN_READ, /* data from nowhere */
	BY_STATUS,       /* zero, where a write is in force */
	AFTER_STATUS,    /* data, where status said zero, and nothing was written */
	BY_TWO_READS,    /* of two concurrent writes */
	BY_EARLY_REPLY,
	BY_READ_ONLY,
};

/* How a violation is made: connection 0 writes, connection 1 flushes or nobody, and `reader`
 * reads. */
struct recipe {
	enum nbds_rule_id rule;
	enum shown_by by;
	unsigned reader;
	bool flush, fua;
};

static const struct recipe recipes[] = {
	{RULE_STALE_AFTER_FLUSH, BY_READ, 1, true, false},
	{RULE_STALE_AFTER_FUA, BY_READ, 1, false, true},
	{RULE_STALE_OWN_WRITE, BY_READ, 0, false, false},
	{RULE_ZEROES_NOT_READ_BACK, BY_READ, 0, false, false},
	{RULE_UNEXPLAINED, BY_FOREIGN_READ, 1, true, false},
	{RULE_UNEXPLAINED, BY_FOREIGN_READ, 1, false, true},
	{RULE_UNEXPLAINED, BY_FOREIGN_READ, 0, false, false},
	{RULE_ZERO_STATUS, BY_STATUS, 1, true, false},
	{RULE_ZERO_STATUS, BY_STATUS, 0, false, false},
	{RULE_ZERO_STATUS, AFTER_STATUS, 0, false, false},
	{RULE_UNSTABLE_READ, BY_TWO_READS, 1, true, false},
	{RULE_UNSTABLE_READ, BY_TWO_READS, 0, false, false},
	{RULE_REPLY_BEFORE_PAYLOAD, BY_EARLY_REPLY, 0, false, false},
	{RULE_READ_ONLY, BY_READ_ONLY, 0, false, false},
};

enum need { STAYS, FALLS, CANNOT };

/* What the theory has of a condition that was broken. */
static enum need needs(const struct recipe *p, enum breach b)
{
	if (b == MET || b == RESIZED)
		return STAYS;
	/* one connection alone shows these, if it is seen from its beginning, */
	if (p->by == BY_EARLY_REPLY || p->by == BY_READ_ONLY) {
		if (b == OWN_MIDWAY || b == FLAGS_UNKNOWN || b == SHARED_WRITE)
			return FALLS;
		/* and of a write that is legal, and captured, where its length matters */
		return p->by == BY_EARLY_REPLY && (b == CUT_WRITE || b == ILLEGAL_WRITE) ? FALLS
											 : STAYS;
	}
	/* no connection outlives itself; one that is there shows that its server is */
	if (b == ALL_ENDED && p->reader == 0)
		return CANNOT;
	if (b == NO_WITNESS && p->reader == 0)
		return STAYS;
	/* for these reads it matters between them only */
	if ((b == ALL_ENDED || b == NO_WITNESS || b == OTHER_SIZE || b == OTHER_FLAGS) &&
	    p->rule == RULE_UNSTABLE_READ)
		return STAYS;
	if ((b == ILLEGAL_FLUSH || b == SHARED_FLUSH) && !p->flush)
		return CANNOT;
	/* what zeroes write is in their request */
	if (b == CUT_WRITE && p->rule == RULE_ZEROES_NOT_READ_BACK)
		return CANNOT;
	/* nothing was written that may be lost */
	if (p->by == AFTER_STATUS && (b == FLUSH_LOST || b == FLUSH_FAILED || b == NEVER_OFFERED))
		return STAYS;
	/* what is in force for all needs no lone writer, nor does what was not written */
	if (b == NEIGHBOUR && (p->reader != 0 || p->by == AFTER_STATUS))
		return STAYS;
	return FALLS;
}

static struct nbds_op *ask(struct run *r, unsigned k, uint16_t type, uint16_t flags, bool illegal,
			   bool shared)
{
	struct nbds_request_order o = {
		.lo = now(r), .acked = NBDS_NO_ACK, .illegal = illegal, .ambiguous = shared};

	o.frame = o.lo.frame;
	return nbds_world_request(r->party[k], type, flags, 0, type == NBD_CMD_FLUSH ? 0 : 512, &o);
}

/* What shares its cookie was answered, but who knows which of them. */
static void answer(struct run *r, struct nbds_op *op, bool shared)
{
	if (shared)
		nbds_op_open(op);
	else
		reply(r, op);
}

static void refuse(struct run *r, struct nbds_op *op)
{
	struct nbds_reply_order o = {.hi = now(r), .acked = NBDS_NO_ACK};

	o.frame = o.hi.frame;
	nbds_op_reply(op, NBD_EIO, &o);
}

static void payload(struct nbds_op *op, uint8_t version)
{
	uint8_t buf[512];

	fill(buf, sizeof(buf), 0, version);
	nbds_op_write_data(op, 0, buf, sizeof(buf));
	nbds_op_write_end(op);
}

/* Block status of the sector. */
static void status(struct run *r, unsigned k, uint32_t state, bool cut, bool illegal, bool shared)
{
	struct nbds_op *op = ask(r, k, NBD_CMD_BLOCK_STATUS, 0, illegal, shared);
	struct nbds_point p = now(r);

	if (!cut)
		nbds_op_status_extent(op, 0, 512, state, &p);
	answer(r, op, shared);
}

static void show(struct run *r, unsigned k, uint8_t version, bool cut, bool illegal, bool shared)
{
	struct nbds_op *op = ask(r, k, NBD_CMD_READ, 0, illegal, shared);
	struct nbds_point p = now(r);
	uint8_t buf[512];

	fill(buf, sizeof(buf), 0, version);
	if (!cut)
		nbds_op_read_data(op, 0, buf, sizeof(buf), &p);
	answer(r, op, shared);
}

static void join(struct run *r, const struct recipe *how, enum breach b, unsigned k)
{
	bool own = k == 0 || k == how->reader, other = k == 2, late = k == 3;
	bool resized = (b == OTHER_SIZE && other) || (b == NEW_SIZE && late);
	uint16_t flags = how->by == BY_READ_ONLY ? MC | NBD_FLAG_READ_ONLY : MC;
	struct nbds_point p = now(r);

	/* by all alike; what the recipe needs stays */
	if (b == NEVER_OFFERED)
		flags &= ~(how->flush ? NBD_FLAG_SEND_FUA : NBD_FLAG_SEND_FLUSH);
	if ((b == OTHER_FLAGS && other) || (b == NEW_FLAGS && late))
		flags ^= NBD_FLAG_ROTATIONAL;
	r->party[k] = nbds_world_connect(r->w, k + 1,
					 !((b == MIDWAY && other) || (b == OWN_MIDWAY && own)), &p);
	nbds_party_heard(r->party[k], &p);
	nbds_party_export(r->party[k], "x", 1, SIZE + (resized ? 4096 : 0), flags,
			  !(b == FLAGS_UNKNOWN && own));
}

/* The write that is missed later, or what stands for it. */
static void cause(struct run *r, const struct recipe *how, enum breach b)
{
	bool cut = b == CUT_WRITE, illegal = b == ILLEGAL_WRITE, shared = b == SHARED_WRITE;
	uint16_t flags = how->fua ? NBD_CMD_FLAG_FUA : 0;
	struct nbds_op *op, *first = NULL;

	if (how->by == AFTER_STATUS) {
		status(r, 0, NBD_STATE_ZERO, cut, illegal, shared);
		return;
	}
	if (how->by == BY_TWO_READS) {
		first = ask(r, 0, NBD_CMD_WRITE, flags, false, false);
		payload(first, 1);
	}
	if (how->rule == RULE_ZEROES_NOT_READ_BACK) {
		op = ask(r, 0, NBD_CMD_WRITE_ZEROES, flags, illegal, shared);
	} else {
		op = ask(r, 0, NBD_CMD_WRITE, flags, illegal, shared);
		if (!cut)
			payload(op, 2);
	}
	if (first)
		reply(r, first);
	if (how->by == BY_EARLY_REPLY && !shared) {
		struct nbds_reply_order o = {.hi = now(r), .acked = 100};

		o.frame = o.hi.frame;
		nbds_op_reply(op, 0, &o);
	} else {
		answer(r, op, shared);
	}
}

static void effect(struct run *r, const struct recipe *how, enum breach b)
{
	bool cut = b == CUT_READ, illegal = b == ILLEGAL_READ, shared = b == SHARED_READ;
	unsigned k = how->reader;

	if (how->by == BY_TWO_READS)
		show(r, k, 1, false, false, false);
	if (b == NEW_SIZE || b == NEW_FLAGS)
		join(r, how, b, 3);
	switch (how->by) {
	case BY_STATUS:
		status(r, k, NBD_STATE_ZERO, cut, illegal, shared);
		break;
	case BY_TWO_READS:
		show(r, k, 2, cut, illegal, shared);
		break;
	default:
		show(r, k,
		     how->by == BY_FOREIGN_READ ? 77
		     : how->by == AFTER_STATUS  ? 2
						: 1,
		     cut, illegal, shared);
	}
}

/* The highest level at which anything is told. */
static enum nbds_severity broken_level(const struct recipe *how, enum breach b)
{
	struct nbds_budget budget = {0};
	struct nbds_kin *kin = nbds_kin_new(&budget);
	struct nbds_world_config config = {.settle = 1000000,
					   .exclusive = true,
					   .kin = kin,
					   .epsilon = b == NO_ORDER ? INT64_MAX / 8 : 1000};
	struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.time = INT64_C(1700000000) * 1000000000}, other = r;
	bool stays = how->by == BY_EARLY_REPLY || how->by == BY_READ_ONLY;
	struct nbds_point p;

	r.w = nbds_world_new(&config, &ops, &r);
	other.w = nbds_world_new(&config, &ops, &other);
	for (unsigned k = 0; k < 3; k++)
		if (!(b == NO_WITNESS && k == 1))
			join(&r, how, b, k);
	p = now(&r);
	if (b == OTHER_PORT) {
		other.party[0] = nbds_world_connect(other.w, 9, true, &p);
		nbds_party_export(other.party[0], "x", 1, SIZE, MC, true);
		write_at(&other, 0, 0, 512, 9);
	}
	if (b == ENCRYPTED)
		nbds_party_opaque(r.party[2], &p);
	if (b == UNTOLD)
		nbds_world_unseen(r.w, &p);
	if (b == DROPPED)
		nbds_world_dropped(r.w);
	if (b == INTERFACES)
		nbds_world_interfaces(r.w);
	if (b == NO_TIME)
		nbds_world_inversion(r.w, 0);
	if (!stays && how->by != AFTER_STATUS && how->by != BY_TWO_READS)
		write_at(&r, 0, 0, 512, 1);
	if (b == NEIGHBOUR && r.party[1])
		write_at(&r, 1, 1 << 20, 512, 1);
	cause(&r, how, b);
	if (b == TRIMMED)
		reply(&r, request(&r, 0, NBD_CMD_TRIM, 0, 512));
	if (b == CUT_SHORT || b == RESIZED)
		reply(&r, request(&r, 0, NBD_CMD_RESIZE, b == RESIZED ? 4096 : 0, 0));
	if (b == GAP)
		nbds_party_gap(r.party[2], &p);
	if (b == NEVER_OFFERED && how->flush)
		refuse(&r, ask(&r, 0, NBD_CMD_CACHE, NBD_CMD_FLAG_FUA, false, false));
	else if (b == FLUSH_LOST || b == FLUSH_FAILED || b == NEVER_OFFERED)
		refuse(&r, ask(&r, 0, NBD_CMD_FLUSH, 0, false, false));
	if ((how->flush && b != FLUSH_LOST) || b == FLUSH_FAILED) {
		struct nbds_op *op = ask(&r, b == NO_WITNESS ? 0 : 1, NBD_CMD_FLUSH, 0,
					 b == ILLEGAL_FLUSH, b == SHARED_FLUSH);

		answer(&r, op, b == SHARED_FLUSH);
	}
	if (b == ALL_ENDED) {
		for (unsigned k = 0; k < 3; k++)
			end(&r, k);
		begin(&r, how->reader, 7, MC);
	}
	if (b == NO_WITNESS)
		join(&r, how, b, 1);
	if (b == HOLE)
		status(&r, how->reader, NBD_STATE_HOLE, false, false, false);
	if (b == INTERFACES) {
		struct nbds_request_order o = {.lo = now(&r), .acked = NBDS_NO_ACK};

		o.lo.interface = 1;
		o.frame = o.lo.frame;
		nbds_op_open(nbds_world_request(r.party[2], NBD_CMD_CACHE, 0, 0, 512, &o));
	}
	/* where the length of a write is not known, what comes next shows it: so it must not */
	if (!(how->by == BY_EARLY_REPLY && b == CUT_WRITE))
		effect(&r, how, b);
	finish(&r);
	nbds_world_free(other.w);
	nbds_kin_free(kin);
	assert_int_equal(budget.used, 0);
	if (b == MET)
		assert_string_equal(r.rule, nbds_rules[how->rule].name);
	return r.findings ? r.highest : NBDS_NOTE;
}

/* What may have been written to other ports of the address is told in any order: it is the
 * earliest moment that takes a read's conviction away, whoever was told first. */
static enum nbds_severity told_late(const char *const *servers, const bool *early, unsigned count,
				    bool writes)
{
	struct nbds_budget budget = {0};
	struct nbds_world_config config = {.settle = 1000000,
					   .exclusive = true,
					   .kin = nbds_kin_new(&budget),
					   .server = "[::1]:10809",
					   .epsilon = 1000};
	struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.time = INT64_C(1700000000) * 1000000000}, others[8];
	struct nbds_point before, after;

	r.w = nbds_world_new(&config, &ops, &r);
	for (unsigned k = 0; k < 2; k++) {
		before = now(&r);
		r.party[k] = nbds_world_connect(r.w, k + 1, true, &before);
		nbds_party_export(r.party[k], "x", 1, SIZE, MC, true);
	}
	write_at(&r, 0, 0, 512, 1);
	flush(&r, 0);
	write_at(&r, 0, 0, 512, 2);
	before = now(&r);
	if (!writes)
		flush(&r, 0);
	/* a lone writer's own write needs none */
	read_at(&r, !writes, 0, 512, 1);
	rest(&r);
	after = now(&r);
	for (unsigned i = 0; i < count; i++) {
		struct nbds_party *p;

		snprintf(config.server, sizeof(config.server), "%s", servers[i]);
		/* the connections of one server are of one world */
		others[i].w = i && strcmp(servers[i], servers[i - 1]) == 0
				      ? others[i - 1].w
				      : nbds_world_new(&config, &ops, &others[i]);
		p = nbds_world_connect(others[i].w, 9 + i, true, early[i] ? &before : &after);
		if (writes) {
			struct nbds_request_order o = {.lo = early[i] ? before : after,
						       .acked = NBDS_NO_ACK};

			nbds_party_export(p, "x", 1, SIZE, MC, true);
			o.frame = o.lo.frame;
			nbds_op_open(nbds_world_request(p, NBD_CMD_WRITE, 0, 1 << 20, 512, &o));
		} else {
			nbds_party_gap(p, early[i] ? &before : &after);
		}
	}
	finish(&r);
	for (unsigned i = 0; i < count; i++)
		if (i == 0 || others[i].w != others[i - 1].w)
			nbds_world_free(others[i].w);
	nbds_kin_free(config.kin);
	assert_int_equal(budget.used, 0);
	return r.highest;
}

static void test_other_ports_told_late(void **state)
{
	static const char *const ports[] = {"[::1]:1", "[::1]:1", "[::1]:2", "[::1]:3",
					    "[::1]:4", "[::1]:5", "[::1]:6"};
	static const char *const own[] = {"[::1]:10809", "[::1]:1"};
	static const bool late[7] = {0}, second[] = {false, true};

	(void)state;
	assert_int_equal(told_late(ports, late, 0, false), NBDS_VIOLATION);
	assert_int_equal(told_late(ports, late, 7, false), NBDS_VIOLATION);
	/* of one server, and of one more, however many there are */
	for (unsigned i = 0; i < 7; i++) {
		bool early[7] = {0};

		early[i] = true;
		assert_int_equal(told_late(ports, early, 7, false), NBDS_SUSPECT);
	}
	/* what is its own server's is none of the others' */
	assert_int_equal(told_late(own, late, 2, false), NBDS_VIOLATION);
	assert_int_equal(told_late(own, second, 2, false), NBDS_SUSPECT);
	/* writes to the export, by two connections of another port */
	assert_int_equal(told_late(ports, late, 2, true), NBDS_VIOLATION);
	assert_int_equal(told_late(ports, second, 2, true), NBDS_SUSPECT);
}

/* Another size is shown to a connection that was there long before: what counts is when it is
 * shown, in whatever order connections are told of. */
static enum nbds_severity unstable_beside(bool between, bool other_after)
{
	static const struct recipe how = {RULE_UNSTABLE_READ, BY_TWO_READS, 0, false, false};
	struct nbds_world_config config = {.settle = 1000000, .epsilon = 1000};
	struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.time = INT64_C(1700000000) * 1000000000};
	struct nbds_party *others[2];
	struct nbds_point early, later, shown;

	r.w = nbds_world_new(&config, &ops, &r);
	join(&r, &how, MET, 0);
	early = now(&r);
	others[0] = nbds_world_connect(r.w, 8, true, &early);
	later = now(&r);
	others[1] = nbds_world_connect(r.w, 9, true, &later);
	if (other_after) {
		/* of two that were shown another one, that which came later is told first */
		shown = now(&r);
		nbds_party_shown(others[1], &shown);
		nbds_party_export(others[1], "x", 1, SIZE + 4096, MC, true);
	}
	cause(&r, &how, MET);
	show(&r, 0, 1, false, false, false);
	shown = now(&r);
	if (between) {
		nbds_party_shown(others[0], &shown);
		nbds_party_export(others[0], "x", 1, SIZE + 4096, MC, true);
	}
	show(&r, 0, 2, false, false, false);
	finish(&r);
	return r.findings ? r.highest : NBDS_NOTE;
}

/* The first one that is told of is shown its size last. */
static enum nbds_severity unstable_after_alike(bool between)
{
	static const struct recipe how = {RULE_UNSTABLE_READ, BY_TWO_READS, 0, false, false};
	struct nbds_world_config config = {.settle = 1000000, .epsilon = 1000};
	struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.time = INT64_C(1700000000) * 1000000000};
	struct nbds_party *other;
	struct nbds_point early, shown;

	r.w = nbds_world_new(&config, &ops, &r);
	join(&r, &how, MET, 0);
	early = now(&r);
	cause(&r, &how, MET);
	show(&r, 0, 1, false, false, false);
	shown = now(&r);
	other = nbds_world_connect(r.w, 8, true, &early);
	nbds_party_shown(other, between ? &shown : &early);
	nbds_party_export(other, "x", 1, SIZE, MC, true);
	other = nbds_world_connect(r.w, 9, true, &early);
	nbds_party_shown(other, &early);
	nbds_party_export(other, "x", 1, SIZE + 4096, MC, true);
	show(&r, 0, 2, false, false, false);
	finish(&r);
	return r.findings ? r.highest : NBDS_NOTE;
}

static void test_faces_told_late(void **state)
{
	(void)state;
	assert_int_equal(unstable_beside(false, false), NBDS_VIOLATION);
	assert_int_equal(unstable_beside(true, false), NBDS_SUSPECT);
	assert_int_equal(unstable_beside(false, true), NBDS_VIOLATION);
	assert_int_equal(unstable_beside(true, true), NBDS_SUSPECT);
	assert_int_equal(unstable_after_alike(false), NBDS_VIOLATION);
	assert_int_equal(unstable_after_alike(true), NBDS_SUSPECT);
}

/* An order that is not to be trusted any more is not so for what was found by it before. */
static enum nbds_severity inverted(unsigned reader, int64_t inversion, bool gone, bool after)
{
	struct nbds_world_config config = {.settle = 1000000, .epsilon = 1000};
	struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.time = INT64_C(1700000000) * 1000000000};
	struct nbds_request_order o = {.acked = NBDS_NO_ACK};
	struct nbds_op *op;
	uint8_t buf[512];

	r.w = nbds_world_new(&config, &ops, &r);
	for (unsigned k = 0; k < 3; k++) {
		struct nbds_point p = now(&r);

		r.party[k] = nbds_world_connect(r.w, k + 1, true, &p);
		nbds_party_export(r.party[k], "x", 1, SIZE, MC, true);
	}
	write_at(&r, 0, 0, 512, 1);
	flush(&r, 1);
	r.time += INT64_C(100000000);
	if (reader == 0) {
		/* by another, who is taken to be in force by a flush: or nobody was alone */
		write_at(&r, 2, 1 << 20, 512, 1);
		flush(&r, 1);
		if (gone)
			end(&r, 2);
		for (unsigned n = 0; n < 8 && gone; n++) {
			rest(&r);
			nbds_world_tick(r.w, r.time);
		}
		r.time += INT64_C(100000000);
		write_at(&r, 0, 0, 512, 2);
	} else {
		write_at(&r, 0, 0, 512, 2);
		flush(&r, 1);
	}
	if (inversion && !after)
		nbds_world_inversion(r.w, inversion);
	r.time += INT64_C(100000000);
	/* the reader's own TCP shows that its flush, or its write, was over */
	o.lo = now(&r);
	o.frame = o.lo.frame;
	o.acked = 1000;
	op = nbds_world_request(r.party[reader], NBD_CMD_READ, 0, 0, 512, &o);
	o.lo = now(&r);
	fill(buf, sizeof(buf), 0, 1);
	nbds_op_read_data(op, 0, buf, sizeof(buf), &o.lo);
	reply(&r, op);
	if (inversion && after)
		nbds_world_inversion(r.w, inversion);
	finish(&r);
	return r.findings ? r.highest : NBDS_NOTE;
}

static void test_inverted_since(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 8; way++) {
		unsigned reader = way & 1;
		bool gone = way & 2, after = way & 4;

		assert_int_equal(inverted(reader, 0, gone, after), NBDS_VIOLATION);
		assert_true(inverted(reader, 1000, gone, after) < NBDS_VIOLATION);
		assert_true(inverted(reader, 20000000, gone, after) < NBDS_VIOLATION);
		assert_true(inverted(reader, INT64_MAX, gone, after) < NBDS_VIOLATION);
	}
}

/* Nor for a violation that is found, and only waits for a connection to be heard of again. */
static void test_inverted_while_withheld(void **state)
{
	static const int64_t inversions[] = {-1, 0, 1000, 20000000};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct run r;

		start(&r, 3, MC, 0);
		for (unsigned k = 0; k < 3; k++)
			nbds_party_complete(r.party[k], r.frame);
		write_at(&r, 0, 0, 512, 1);
		write_at(&r, 0, 0, 512, 2);
		flush(&r, 0);
		read_at(&r, 1, 0, 512, 1);
		r.time += INT64_C(100000000);
		nbds_world_tick(r.w, r.time);
		assert_int_equal(r.findings, 0);
		if (i)
			nbds_world_inversion(r.w, inversions[i]);
		nbds_world_finish(r.w);
		assert_int_equal(r.findings, 1);
		assert_int_equal(r.highest, i ? NBDS_SUSPECT : NBDS_VIOLATION);
		nbds_world_free(r.w);
	}
}

/* Another port wrote to the sector, and that was buried before the first command to this port was
 * told; it is told late, and its read was before what buried it, or after all that. */
static enum nbds_severity told_after_burial(bool before)
{
	struct nbds_budget budget = {0};
	struct nbds_world_config config = {.settle = 1000000,
					   .kin = nbds_kin_new(&budget),
					   .server = "[::1]:10809",
					   .epsilon = 1000};
	struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.time = INT64_C(1700000000) * 1000000000}, other = r;
	struct nbds_point p = now(&other);

	snprintf(config.server, sizeof(config.server), "[::1]:1");
	other.w = nbds_world_new(&config, &ops, &other);
	other.party[0] = nbds_world_connect(other.w, 9, true, &p);
	nbds_party_export(other.party[0], "x", 1, SIZE, MC, true);
	if (before)
		other.frame += 100, other.time += 100 * STEP;
	write_at(&other, 0, 0, 512, 1);
	flush(&other, 0);
	if (before)
		other.frame += 100, other.time += 100 * STEP;
	for (unsigned n = 0; n < 60; n++) {
		write_at(&other, 0, 0, 512, (uint8_t)(10 + n));
		flush(&other, 0);
	}
	snprintf(config.server, sizeof(config.server), "[::1]:10809");
	r.w = nbds_world_new(&config, &ops, &r);
	for (unsigned k = 0; k < 2; k++) {
		p = now(&r);
		r.party[k] = nbds_world_connect(r.w, k + 1, true, &p);
		nbds_party_export(r.party[k], "x", 1, SIZE, MC, true);
	}
	write_at(&r, 0, 0, 512, 1);
	write_at(&r, 0, 0, 512, 2);
	flush(&r, 0);
	/* between that write and the next ones */
	r.frame += 120, r.time += 120 * STEP;
	read_at(&r, 1, 0, 512, 1);
	nbds_world_finish(other.w);
	finish(&r);
	nbds_world_free(other.w);
	nbds_kin_free(config.kin);
	return r.findings ? r.highest : NBDS_NOTE;
}

static void test_told_after_burial(void **state)
{
	(void)state;
	assert_int_equal(told_after_burial(true), NBDS_SUSPECT);
	assert_int_equal(told_after_burial(false), NBDS_SUSPECT);
}

/* A world that goes may have been written to unseen. */
static enum nbds_severity unseen_port(bool opaque, bool gap, bool inverted)
{
	struct nbds_budget budget = {0};
	struct nbds_world_config config = {.settle = 1000000,
					   .kin = nbds_kin_new(&budget),
					   .server = "[::1]:10809",
					   .epsilon = 1000};
	struct nbds_world_ops ops = {.finding = on_finding};
	struct run r = {.time = INT64_C(1700000000) * 1000000000}, other = r;
	struct nbds_point p;

	r.w = nbds_world_new(&config, &ops, &r);
	snprintf(config.server, sizeof(config.server), "[::1]:1");
	other.w = nbds_world_new(&config, &ops, &other);
	p = now(&r);
	other.party[0] = nbds_world_connect(other.w, 9, true, &p);
	nbds_party_export(other.party[0], "x", 1, SIZE, MC, true);
	for (unsigned k = 0; k < 2; k++) {
		p = now(&r);
		r.party[k] = nbds_world_connect(r.w, k + 1, true, &p);
		nbds_party_export(r.party[k], "x", 1, SIZE, MC, true);
	}
	write_at(&r, 0, 0, 512, 1);
	write_at(&r, 0, 0, 512, 2);
	flush(&r, 0);
	p = now(&r);
	if (opaque)
		nbds_party_opaque(other.party[0], &p);
	if (gap)
		nbds_party_gap(other.party[0], &p);
	if (inverted) {
		/* as captured it wrote after the read */
		nbds_world_inversion(other.w, 1000);
		read_at(&r, 1, 0, 512, 1);
		other.frame = r.frame;
		other.time = r.time;
		write_at(&other, 0, 0, 512, 1);
		finish(&r);
	}
	nbds_world_finish(other.w);
	nbds_world_free(other.w);
	if (!inverted) {
		read_at(&r, 1, 0, 512, 1);
		finish(&r);
	}
	nbds_kin_free(config.kin);
	assert_int_equal(budget.used, 0);
	return r.findings ? r.highest : NBDS_NOTE;
}

static void test_unseen_port_gone(void **state)
{
	(void)state;
	assert_int_equal(unseen_port(false, false, false), NBDS_VIOLATION);
	assert_int_equal(unseen_port(true, false, false), NBDS_SUSPECT);
	assert_int_equal(unseen_port(false, true, false), NBDS_SUSPECT);
	assert_int_equal(unseen_port(false, false, true), NBDS_SUSPECT);
}

/* Of several interfaces nothing is told before the end, however much there is: only then it is
 * known whether commands were on one of them alone. */
static void test_many_on_interfaces(void **state)
{
	struct run r;

	(void)state;
	for (unsigned mixed = 0; mixed < 2; mixed++) {
		struct nbds_request_order o = {.acked = NBDS_NO_ACK};

		start(&r, 2, MC, 0);
		nbds_world_interfaces(r.w);
		write_at(&r, 0, 0, 512, 1);
		write_at(&r, 0, 0, 512, 2);
		flush(&r, 0);
		for (unsigned n = 0; n < 4200; n++)
			read_at(&r, 1, 0, 512, 1);
		rest(&r);
		nbds_world_tick(r.w, r.time);
		assert_int_equal(r.findings, 0);
		o.lo = now(&r);
		o.lo.interface = mixed;
		o.frame = o.lo.frame;
		nbds_op_open(nbds_world_request(r.party[1], NBD_CMD_CACHE, 0, 0, 512, &o));
		finish(&r);
		assert_int_equal(r.findings, 4200);
		assert_int_equal(r.highest, mixed ? NBDS_SUSPECT : NBDS_VIOLATION);
	}
}

/* --- told late ------------------------------------------------------------- */

/* Commands whose first bytes filled a hole are told after others that began later. What is
 * held back, from this frame on: */
struct late {
	struct run r;
	uint64_t held; /* 0: nothing */
};

static void late_finding(void *ctx, const struct nbds_finding *f)
{
	on_finding(&((struct late *)ctx)->r, f);
}

static bool late_settled(void *ctx, const struct nbds_point *upto)
{
	const struct late *l = ctx;

	return !l->held || upto->frame < l->held;
}

/* Value 1 and then 2, in force for all. */
static struct run *late_start(struct late *l)
{
	struct nbds_world_config config = {.settle = 1000000, .epsilon = 1000};
	struct nbds_world_ops ops = {.finding = late_finding, .settled = late_settled};
	struct run *r = &l->r;

	*l = (struct late){.r = {.time = INT64_C(1700000000) * 1000000000}};
	r->w = nbds_world_new(&config, &ops, l);
	for (unsigned k = 0; k < 4; k++) {
		struct nbds_point p = now(r);

		r->party[k] = nbds_world_connect(r->w, k + 1, true, &p);
		nbds_party_export(r->party[k], "x", 1, SIZE, MC, true);
	}
	write_at(r, 0, 0, 512, 1);
	flush(r, 0);
	return r;
}

static struct nbds_op *request_at(struct run *r, unsigned k, uint16_t type, uint64_t offset,
				  uint64_t length, struct nbds_point lo)
{
	struct nbds_request_order o = {.lo = lo, .frame = lo.frame, .acked = NBDS_NO_ACK};

	return nbds_world_request(r->party[k], type, 0, offset, length, &o);
}

static enum nbds_severity late_end(struct run *r)
{
	finish(r);
	return r->findings ? r->highest : NBDS_NOTE;
}

/* A write that was there before the read ended, and whose payload comes last: it is what was
 * read. `beside`: a write that began later is told before it; `same`: it writes what was read. */
static enum nbds_severity late_payload(bool beside, bool same)
{
	struct late l;
	struct run *r = late_start(&l);
	struct nbds_op *other = NULL, *late;
	struct nbds_point lo;
	uint8_t buf[512];

	write_at(r, 0, 0, 512, 2);
	flush(r, 0);
	lo = now(r);
	l.held = lo.frame;
	read_at(r, 0, 0, 512, 1);
	if (beside)
		other = request(r, 1, NBD_CMD_WRITE, 1 << 20, 512);
	late = request_at(r, 2, NBD_CMD_WRITE, 0, 512, lo);
	l.held = 0;
	reply(r, request(r, 3, NBD_CMD_CACHE, 0, 512));
	fill(buf, sizeof(buf), 0, same ? 1 : 3);
	nbds_op_write_data(late, 0, buf, sizeof(buf));
	reply(r, late);
	if (other)
		reply(r, other);
	return late_end(r);
}

/* A flush that was sent before the read ended, and fails after the verdict could be passed; or
 * block status, which says that nothing is defined there. */
static enum nbds_severity late_outcome(uint16_t type, bool excuses)
{
	struct late l;
	struct run *r = late_start(&l);
	struct nbds_op *late;
	struct nbds_point lo, p;

	write_at(r, 0, 0, 512, 2);
	lo = now(r);
	flush(r, 0);
	l.held = lo.frame;
	read_at(r, 1, 0, 512, 1);
	late = request_at(r, 2, type, 0, type == NBD_CMD_FLUSH ? 0 : 512, lo);
	l.held = 0;
	rest(r);
	nbds_world_tick(r->w, r->time);
	p = now(r);
	if (type == NBD_CMD_BLOCK_STATUS)
		nbds_op_status_extent(late, 0, 512, excuses ? NBD_STATE_HOLE : 0, &p);
	if (type == NBD_CMD_FLUSH && excuses)
		refuse(r, late);
	else
		reply(r, late);
	return late_end(r);
}

/* A report that excuses a read is superseded by one that came after the read, which is told
 * last: behind another read, or once it is not held back any more. */
static enum nbds_severity late_reader(bool behind, bool reported)
{
	struct late l;
	struct run *r = late_start(&l);
	struct nbds_op *other = NULL, *late = NULL;
	struct nbds_point lo, hi;
	uint8_t buf[512];

	write_at(r, 0, 0, 512, 2);
	flush(r, 0);
	if (reported)
		status(r, 3, NBD_STATE_HOLE, false, false, false);
	lo = now(r);
	hi = now(r);
	l.held = lo.frame;
	for (unsigned n = 0; n < 40; n++) {
		status(r, 3, NBD_STATE_HOLE, false, false, false);
		if (n == 14) {
			l.held = behind ? 0 : l.held;
			other = request(r, 2, NBD_CMD_READ, 1 << 20, 512);
			if (behind)
				late = request_at(r, 1, NBD_CMD_READ, 0, 512, lo);
		}
	}
	l.held = 0;
	if (!behind)
		late = request_at(r, 1, NBD_CMD_READ, 0, 512, lo);
	fill(buf, sizeof(buf), 0, 1);
	nbds_op_read_data(late, 0, buf, sizeof(buf), &hi);
	nbds_op_reply(
		late, 0,
		&(struct nbds_reply_order){.hi = hi, .frame = hi.frame, .acked = NBDS_NO_ACK});
	reply(r, other);
	return late_end(r);
}

static void test_told_late(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(late_payload(i, false), NBDS_VIOLATION);
		assert_int_equal(late_payload(i, true), NBDS_NOTE);
	}
	assert_int_equal(late_outcome(NBD_CMD_FLUSH, false), NBDS_VIOLATION);
	assert_true(late_outcome(NBD_CMD_FLUSH, true) < NBDS_VIOLATION);
	assert_int_equal(late_outcome(NBD_CMD_BLOCK_STATUS, false), NBDS_VIOLATION);
	assert_int_equal(late_outcome(NBD_CMD_BLOCK_STATUS, true), NBDS_NOTE);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(late_reader(i, false), NBDS_VIOLATION);
		assert_int_equal(late_reader(i, true), NBDS_NOTE);
	}
}

/* The same, from commands to findings: each condition broken for each rule, and the level
 * falls where the rule needs it, and stays where it does not. */
static void test_broken_preconditions(void **state)
{
	unsigned fell[RULE_COUNT] = {0}, failures = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(recipes) / sizeof(recipes[0]); i++) {
		const struct recipe *how = &recipes[i];

		for (enum breach b = MET; b < BREACHES; b++) {
			enum need need = needs(how, b);
			enum nbds_severity s;

			if (need == CANNOT)
				continue;
			s = broken_level(how, b);
			if (need == FALLS && s < NBDS_VIOLATION)
				fell[how->rule] |= breaks[b];
			/* where the table has nothing there is no verdict at all */
			if (need == STAYS
				    ? s == NBDS_VIOLATION
				    : s < (breaks[b] || how->by == BY_EARLY_REPLY ? NBDS_VIOLATION
										  : NBDS_SUSPECT))
				continue;
			failures++;
			print_error("%s, way %zu, condition %u broken: %s\n",
				    nbds_rules[how->rule].name, i, b, nbds_severity_name(s));
		}
	}
	assert_int_equal(failures, 0);
	/* no pair of the table is left out, but those that cannot be */
	for (unsigned rule = 0; rule < RULE_COUNT; rule++) {
		/* it comes to light later: test_inverted_while_withheld() */
		unsigned cannot = BROKEN_ORDER;

		if (rule == RULE_STALE_OWN_WRITE || rule == RULE_ZEROES_NOT_READ_BACK)
			cannot |= BROKEN_ENDED | BROKEN_SERVER; /* it is one connection */
		if (rule == RULE_UNSTABLE_READ)
			cannot |= BROKEN_ENDED; /* the same */
		if (rule == RULE_REPLY_BEFORE_PAYLOAD || rule == RULE_READ_ONLY)
			fell[rule] = 0; /* theirs are not in the table */
		assert_int_equal(fell[rule] | cannot,
				 precondition_needs((enum nbds_rule_id)rule, BROKEN_ALL) | cannot);
	}
}

/* --- a hot sector --------------------------------------------------------- */

enum habit { FLUSHES, FUA, NEITHER };

static void version_bytes(uint8_t *buf, uint32_t version)
{
	memset(buf, 0x5a, NBDS_SECTOR);
	memcpy(buf, &version, sizeof(version));
	memcpy(buf + 500, &version, sizeof(version));
}

/* Sector 0 is written by connection k. */
static void rewrite(struct run *r, unsigned k, uint32_t version, enum habit habit)
{
	struct nbds_request_order o = {.lo = now(r), .acked = NBDS_NO_ACK};
	uint8_t buf[NBDS_SECTOR];
	struct nbds_op *op;

	o.frame = o.lo.frame;
	op = nbds_world_request(r->party[k], NBD_CMD_WRITE, habit == FUA ? NBD_CMD_FLAG_FUA : 0, 0,
				NBDS_SECTOR, &o);
	version_bytes(buf, version);
	nbds_op_write_data(op, 0, buf, sizeof(buf));
	nbds_op_write_end(op);
	reply(r, op);
	if (habit == FLUSHES)
		flush(r, k);
}

static uint64_t reread(struct run *r, unsigned k, uint32_t version)
{
	struct nbds_op *op = request(r, k, NBD_CMD_READ, 0, NBDS_SECTOR);
	struct nbds_point p = now(r);
	uint8_t buf[NBDS_SECTOR];

	version_bytes(buf, version);
	nbds_op_read_data(op, 0, buf, sizeof(buf), &p);
	return reply(r, op);
}

/* With assertions each operation looks at all that is counted. */
#ifdef NBDSCOPE_ASSERT
#define HOT     10000
#define PASSING 3000
#else
#define HOT     100000
#define PASSING 24000
#endif

/* A sector that four connections rewrite N times, each reading it now and then: a stale
 * read in the middle, which waits while it is rewritten again, and one at the end are
 * found, whatever N is, and old versions cost little. */
static void test_hot_sector(void **state)
{
	static const char *const rules[] = {"stale-read-after-flush", "stale-read-after-fua",
					    "stale-read-own-write"};

	(void)state;
	for (enum habit habit = FLUSHES; habit <= NEITHER; habit++) {
		for (uint32_t n = 10; n <= HOT; n *= 10) {
			struct nbds_world_stats before, after;
			uint64_t middle = 0, last;
			struct run r;

			start(&r, 4, MC, 64 << 20);
			for (uint32_t i = 1; i <= n; i++) {
				unsigned k = i & 3;

				rewrite(&r, k, i, habit);
				if (i % 3 == 0) /* what was written last is right for all */
					reread(&r, (k + (habit == NEITHER ? 0 : 1)) & 3, i);
				if (i == n / 2) {
					/* its own connection's last but one: stale with all habits */
					middle = reread(&r, k, i > 4 ? i - 4 : i - 1);
					nbds_world_stats(r.w, &before);
				}
			}
			nbds_world_stats(r.w, &after);
			rest(&r);
			nbds_world_tick(r.w, r.time);
			assert_int_equal(r.findings, 1);
			assert_string_equal(r.rule, rules[habit]);
			assert_int_equal(r.frames[NBDS_ROLE_READ], middle);
			assert_true(r.frames[NBDS_ROLE_STALE_WRITE] != 0);
			/* nobody is alone where nothing is flushed */
			assert_int_equal(r.severity,
					 habit == NEITHER ? NBDS_SUSPECT : NBDS_VIOLATION);
			/* the oldest version of this connection */
			r.findings = 0;
			last = reread(&r, n & 3, n & 3 ? n & 3 : 4);
			finish(&r);
			assert_int_equal(r.findings, 1);
			assert_string_equal(r.rule, rules[habit]);
			assert_int_equal(r.frames[NBDS_ROLE_READ], last);
			print_message("%u %u: %.1f bytes an old version\n", habit, n,
				      (double)(after.memory - before.memory) / (n / 2));
			/* logs and lists that have a bound are full by then */
			if (n >= 100000)
				assert_true(after.memory - before.memory <=
					    (habit == NEITHER ? 24 : 18) * (uint64_t)(n / 2));
		}
	}
}

/* Contents that slept convict as well as others do. */
static void test_after_sleep(void **state)
{
	struct run r;
	uint64_t frame;

	(void)state;
	start(&r, 2, MC, 0);
	read_at(&r, 1, 0, 4096, 1); /* the old contents are seen */
	for (unsigned i = 0; i < 4000; i++)
		write_at(&r, 0, (1 + i) * UINT64_C(4096), 4096, 2);
	flush(&r, 0);
	rest(&r);
	for (unsigned i = 0; i < 4000; i++)
		write_at(&r, 0, (1000000 + i) * UINT64_C(4096), 4096, 2);
	rest(&r);
	/* by now the first blocks sleep; one of them is overwritten... */
	write_at(&r, 0, 7 * 4096, 4096, 3);
	flush(&r, 1);
	assert_int_equal(r.findings, 0);
	read_at(&r, 1, 7 * 4096, 4096, 3);
	rest(&r);
	nbds_world_tick(r.w, r.time);
	assert_int_equal(r.findings, 0);
	/* ...and read in its first version */
	frame = read_at(&r, 1, 7 * 4096, 4096, 2);
	rest(&r);
	nbds_world_tick(r.w, r.time);
	assert_int_equal(r.findings, 1);
	assert_string_equal(r.rule, "stale-read-after-flush");
	assert_int_equal(r.severity, NBDS_VIOLATION);
	assert_int_equal(r.frames[NBDS_ROLE_READ], frame);
	/* a sleeping block with contents from nowhere: only suspect */
	read_at(&r, 1, 9 * 4096, 4096, 9);
	finish(&r);
	assert_int_equal(r.findings, 2);
	assert_string_equal(r.rule, "read-unexplained-data");
	assert_int_equal(r.severity, NBDS_SUSPECT);
}

static void write_many(struct run *r, uint64_t from, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		write_at(r, 0, from + i * UINT64_C(4096), 4096, 1);
		if (i % 64 == 63)
			flush(r, 0);
	}
	flush(r, 0);
}

/* What slept, was overwritten, and left its block since is still known as an old version. */
static void test_old_after_sleep(void **state)
{
	static const uint64_t far = UINT64_C(1) << 30;
	struct run r;
	struct nbds_world_stats s;

	(void)state;
	start(&r, 2, MC, 0);
	write_at(&r, 0, 0, 4096, 1);
	flush(&r, 0);
	/* it sleeps */
	write_many(&r, far, 20000);
	write_at(&r, 0, 0, 4096, 2);
	flush(&r, 0);
	/* one version is left */
	write_many(&r, 2 * far, 20000);
	read_at(&r, 1, 0, 4096, 2);
	assert_int_equal(r.findings, 0);
	read_at(&r, 1, 0, 4096, 1);
	nbds_world_finish(r.w);
	assert_int_equal(r.findings, 1);
	assert_string_equal(r.rule, "stale-read-after-flush");
	assert_int_equal(r.severity, NBDS_VIOLATION);
	nbds_world_stats(r.w, &s);
	assert_int_equal(s.pruned, 0);
	/* all that is written once and flushed takes little */
	print_message("%llu bytes for 40,001 blocks\n", (unsigned long long)s.memory_max);
	assert_true(s.memory_max < 40001 * UINT64_C(200) + (4 << 20));
	nbds_world_free(r.w);
}

/* Past the cap contents are forgotten: silence, not guesses. */
/* A block's data in pieces of a packet, and what others see of it in between. */
static void test_pieces(void **state)
{
	const size_t len = 4096, piece = 1448;
	struct nbds_world_stats s;
	uint8_t buf[4096];
	struct nbds_op *op, *other;
	struct nbds_point p;
	struct run r;

	(void)state;
	start(&r, 2, MC, 0);
	write_at(&r, 0, 0, len, 1);
	flush(&r, 0);

	/* written: what is there of it may be read */
	op = request(&r, 0, NBD_CMD_WRITE, 0, len);
	other = request(&r, 1, NBD_CMD_READ, 0, 1024);
	fill(buf, len, 0, 2);
	nbds_op_write_data(op, 0, buf, piece);
	p = now(&r);
	nbds_op_read_data(other, 0, buf, 1024, &p);
	reply(&r, other);
	nbds_world_stats(r.w, &s);
	assert_int_equal(s.checked_bytes, 1024);
	/* and goes on: a sector that was cut, and the others */
	nbds_op_write_data(op, piece, buf + piece, piece);
	nbds_op_write_data(op, 2 * piece, buf + 2 * piece, len - 2 * piece);
	nbds_op_write_end(op);
	reply(&r, op);
	flush(&r, 0);
	read_at(&r, 1, 0, len, 2);
	nbds_world_stats(r.w, &s);
	assert_int_equal(s.checked_bytes, 1024 + len);

	/* read: each sector as it was when it came; a write that comes in between, and began
	 * after the first of them, is no excuse for these */
	op = request(&r, 1, NBD_CMD_READ, 0, len);
	p = now(&r);
	fill(buf, len, 0, 1);
	nbds_op_read_data(op, 0, buf, 1024 + 100, &p);
	other = request(&r, 0, NBD_CMD_WRITE, 0, len);
	fill(buf, len, 0, 1);
	nbds_op_write_data(other, 0, buf, piece);
	p = now(&r);
	nbds_op_read_data(op, 1024 + 100, buf + 1024 + 100, len - 1024 - 100, &p);
	nbds_op_write_data(other, piece, buf + piece, len - piece);
	nbds_op_write_end(other);
	reply(&r, other);
	reply(&r, op);
	rest(&r);
	finish(&r);
	assert_int_equal(r.findings, 1);
	assert_string_equal(r.rule, "stale-read-after-flush");
	assert_int_equal(r.severity, NBDS_VIOLATION);
	assert_int_equal(r.offset, 0);
	assert_int_equal(r.length, 1024);
}

/* Sectors of two versions that are possible: half of one and half of the other, and perhaps one
 * byte that neither has, where no byte is sampled. */
static void read_both(struct run *r, unsigned k, size_t len, bool foreign)
{
	uint8_t *buf = malloc(len), *other = malloc(len);
	struct nbds_op *op = request(r, k, NBD_CMD_READ, 0, len);
	struct nbds_point p = now(r);

	fill(buf, len, 0, 2);
	fill(other, len, 0, 3);
	for (size_t at = 0; at < len; at += NBDS_SECTOR)
		memcpy(buf + at + NBDS_SECTOR / 2, other + at + NBDS_SECTOR / 2, NBDS_SECTOR / 2);
	if (foreign)
		buf[len - NBDS_SECTOR] ^= 0x55;
	nbds_op_read_data(op, 0, buf, len, &p);
	reply(r, op);
	free(buf);
	free(other);
}

/* Bytes that matter are known however much is written after them, and to whatever size the
 * room for what was written last is grown meanwhile; they came in one piece, or in several. */
static void test_bytes_kept(void **state)
{
	enum { LEN = 4096 };
	static const size_t pieces[] = {LEN, 3 * NBDS_SECTOR, 1000};

	(void)state;
	for (unsigned i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
		uint8_t buf[LEN];
		struct nbds_op *op;
		struct run r;

		start(&r, 2, MC, 64 << 20);
		write_at(&r, 0, 0, LEN, 1);
		write_at(&r, 0, 0, LEN, 2);
		flush(&r, 0);
		op = request(&r, 0, NBD_CMD_WRITE, 0, LEN);
		fill(buf, LEN, 0, 3);
		for (size_t at = 0; at < LEN; at += pieces[i]) {
			nbds_op_write_data(op, at, buf + at,
					   LEN - at < pieces[i] ? LEN - at : pieces[i]);
			write_at(&r, 1, (UINT64_C(1) << 20) + at * 8, LEN, 1);
		}
		nbds_op_write_end(op);
		for (unsigned n = 0; n < 100; n++) {
			/* one that is wanted, too, and one that is not */
			write_at(&r, 1, (2 + n) * UINT64_C(4096), LEN, 1);
			write_at(&r, 1, (2 + n) * UINT64_C(4096), LEN, 2);
			write_at(&r, 1, (1000 + n) * UINT64_C(4096), LEN, 1);
		}
		read_both(&r, 1, LEN, false);
		nbds_world_tick(r.w, r.time);
		assert_int_equal(r.findings, 0);
		read_both(&r, 1, LEN, true);
		reply(&r, op);
		finish(&r);
		assert_int_equal(r.findings, 1);
		assert_string_equal(r.rule, "read-unexplained-data");
		assert_int_equal(r.offset, LEN - NBDS_SECTOR);
	}
}

/* Data that nothing explains where it was read, and that was written to another place: which is
 * named, whether it sleeps by then or not, unless it is superseded there. */
static void test_misplaced(void **state)
{
	const uint64_t many = 2000, there = 3 * many * 4096, here = UINT64_C(1) << 30;

	(void)state;
	for (unsigned way = 0; way < 3; way++) {
		uint8_t buf[4096];
		char place[64];
		struct nbds_op *op;
		struct nbds_point p;
		struct run r;

		for (unsigned i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)(i * i / 7); /* as fill() makes none */
		start(&r, 2, MC, 0);
		write_at(&r, 0, here, 512, 1);
		op = request(&r, 0, NBD_CMD_WRITE, there, sizeof(buf));
		snprintf(place, sizeof(place), "conn 1 wrote to 0x%" PRIx64 " (frame %" PRIu64 ")",
			 there, r.frame);
		nbds_op_write_data(op, 0, buf, sizeof(buf));
		nbds_op_write_end(op);
		reply(&r, op);
		flush(&r, 0);
		if (way == 1) /* what is used later puts it to sleep */
			rest(&r);
		for (uint64_t i = 0; i < many; i++)
			write_at(&r, 0, i * 4096, 4096, 1);
		for (unsigned i = 0; way == 2 && i < 64; i++) {
			write_at(&r, 0, there, sizeof(buf), (uint8_t)i);
			flush(&r, 0);
		}
		op = request(&r, 1, NBD_CMD_READ, here, 512);
		p = now(&r);
		nbds_op_read_data(op, here, buf, 512, &p);
		reply(&r, op);
		finish(&r);
		assert_string_equal(r.rule, "read-unexplained-data");
		assert_int_equal(strstr(r.text, place) != NULL, way != 2);
	}
}

static void test_memory_cap(void **state)
{
	const uint64_t cap = 1 << 20;
	struct nbds_world_stats s;
	struct run r;

	(void)state;
	start(&r, 2, MC, cap);
	for (unsigned i = 0; i < 40000; i++) {
		write_at(&r, 0, i * UINT64_C(4096), 4096, 1);
		if (i % 64 == 0) {
			flush(&r, 0);
			r.time += INT64_C(100000000);
		}
	}
	flush(&r, 0);
	nbds_world_stats(r.w, &s);
	assert_true(s.forgotten > 0);
	assert_true(s.memory <= cap);
	/* what was forgotten is not judged, whatever is read */
	read_at(&r, 1, 0, 4096, 77);
	rest(&r);
	nbds_world_tick(r.w, r.time);
	assert_int_equal(r.findings, 0);
	/* what is known still is */
	read_at(&r, 1, UINT64_C(39999) * 4096, 4096, 77);
	s = finish(&r);
	assert_int_equal(r.findings, 1);
	assert_true(s.unchecked[NBDS_UNCHECKED_FORGOTTEN] >= 4096);
}

/* A huge TRIM, WRITE_ZEROES or hole costs no more than a small one. */
/* Very many extents of one reply, near each other and far apart: of each of them it is still
 * known what was said of it. */
static void test_many_extents(void **state)
{
	static const uint64_t lengths[][4] = {
		{512, 512, 512, 512},
		{512, 1 << 17, 512, 1536},
		{UINT64_C(1) << 28, 512, 512, 1 << 20},
		{4096, 512, UINT64_C(3) << 20, 65536},
	};
	enum { EXTENTS = 3000, ASKED = 400 };

	(void)state;
	for (unsigned k = 0; k < 4 * 2; k++) {
		struct nbds_extent list[EXTENTS];
		uint64_t at = 0, starts[EXTENTS];
		unsigned expected = 0;
		struct nbds_point p;
		struct nbds_op *op;
		struct run r;

		start(&r, 1, MC, 0);
		for (unsigned i = 0; i < EXTENTS; i++) {
			static const uint32_t states[] = {NBD_STATE_HOLE | NBD_STATE_ZERO, 0,
							  NBD_STATE_ZERO, NBD_STATE_HOLE};

			list[i] = (struct nbds_extent){lengths[k / 2][i % 4],
						       states[k % 2 ? i * 7 / 3 % 4 : i % 2]};
			starts[i] = at;
			at += list[i].length;
		}
		assert_true(at < SIZE);
		op = request(&r, 0, NBD_CMD_BLOCK_STATUS, 0, at);
		p = now(&r);
		for (unsigned i = 0, n; i < EXTENTS; i += n) {
			n = 1 + i % 200;
			if (n > EXTENTS - i)
				n = EXTENTS - i;
			if (i % 3 == 0)
				p = now(&r);
			nbds_op_status_extents(op, starts[i], list + i, n, &p);
		}
		reply(&r, op);
		for (unsigned n = 0; n < ASKED; n++) {
			unsigned i = n < ASKED / 2 ? n * 7 % EXTENTS : n * 13 % EXTENTS;
			uint64_t in = list[i].length - NBDS_SECTOR;

			if (n >= ASKED / 2 && (n * 13 % EXTENTS) % 7 == 0 && i < ASKED / 2 * 7)
				continue; /* it was read */
			read_at(&r, 0, starts[i] + (n % 2 ? in : 0), NBDS_SECTOR, 1);
			expected += (list[i].status & NBD_STATE_ZERO) != 0;
		}
		nbds_world_finish(r.w);
		assert_int_equal(r.findings, expected);
		assert_string_equal(r.rule, "zero-status-contradicts-data");
		nbds_world_free(r.w);
	}
}

static void test_huge_ranges(void **state)
{
	struct nbds_world_stats s;
	struct run r;

	(void)state;
	start(&r, 2, MC, 0);
	write_at(&r, 0, 4096, 4096, 1);
	for (unsigned i = 0; i < 10000; i++) {
		reply(&r, request(&r, 0, i & 1 ? NBD_CMD_TRIM : NBD_CMD_WRITE_ZEROES, 0, SIZE));
		if (i % 16 == 0)
			flush(&r, 0);
	}
	nbds_world_stats(r.w, &s);
	assert_true(s.memory < 1 << 20);
	for (unsigned i = 0; i < 1000; i++) {
		struct nbds_op *op = request(&r, 1, NBD_CMD_READ, 0, SIZE);
		struct nbds_point p = now(&r);

		nbds_op_read_hole(op, 0, SIZE, &p);
		reply(&r, op);
	}
	finish(&r);
	assert_int_equal(r.findings, 0);
}

static uint64_t memory(const struct run *r)
{
	struct nbds_world_stats s;

	nbds_world_stats(r->w, &s);
	return s.memory;
}

/* Connections that come and go, doing the same each time, stay within the memory that there
 * is: whether another one stays, whether they flush, and whatever the flags are. What they
 * wrote and a flush covered adds nothing for ever. */
static void test_connections_pass(void **state)
{
	static const uint16_t flags[] = {MC, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH};

	(void)state;
	for (unsigned way = 0; way < 8; way++) {
		uint64_t most[2] = {0, 0};
		struct run r;

		start(&r, 0, 0, 8 << 20);
		if (way & 1)
			begin(&r, 1, 1, flags[way >> 1 & 1]);
		for (uint32_t i = 0; i < PASSING; i++) {
			begin(&r, 0, i + 2, flags[way >> 1 & 1]);
			write_at(&r, 0, i % 64 * UINT64_C(4096), 4096, (uint8_t)i);
			if (way & 4)
				flush(&r, 0);
			end(&r, 0);
			r.time += INT64_C(30000000);
			if (memory(&r) > most[i >= PASSING / 2])
				most[i >= PASSING / 2] = memory(&r);
		}
		print_message("way %u: %.1f MiB, then %.1f MiB\n", way, (double)most[0] / 1048576,
			      (double)most[1] / 1048576);
		if (most[1] > most[0] + (256 << 10) && most[1] > (8 << 20) + (64 << 10))
			fail_msg("way %u: %llu bytes, then %llu", way, (unsigned long long)most[0],
				 (unsigned long long)most[1]);
		assert_true(most[0] <= (8 << 20) + (64 << 10));
		finish(&r);
	}
}

/* A connection's own stale read is a violation only if nobody else can have had
 * something to write: those that are long gone count as if they were here. */
static void test_gone_writers(void **state)
{
	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		bool flushed = way & 1, again = way & 2;
		struct run r;

		start(&r, 0, 0, 0);
		begin(&r, 1, 1, MC);
		for (uint32_t i = 0; i < 2000; i++) {
			begin(&r, 0, i + 2, MC);
			write_at(&r, 0, (1000 + i) * UINT64_C(4096), 4096, 1);
			if (flushed)
				flush(&r, 0);
			end(&r, 0);
			r.time += INT64_C(30000000);
		}
		rest(&r);
		nbds_world_tick(r.w, r.time);
		/* a failed flush, long after: it voids only what is not flushed */
		if (again) {
			struct nbds_op *f = request(&r, 1, NBD_CMD_FLUSH, 0, 0);
			struct nbds_reply_order o = {.hi = now(&r), .acked = NBDS_NO_ACK};

			nbds_op_reply(f, NBD_EIO, &o);
		}
		write_at(&r, 1, 0, 4096, 1);
		write_at(&r, 1, 0, 4096, 2);
		read_at(&r, 1, 0, 4096, 1);
		finish(&r);
		assert_int_equal(r.findings, 1);
		assert_string_equal(r.rule, "stale-read-own-write");
		assert_int_equal(r.severity, flushed ? NBDS_VIOLATION : NBDS_SUSPECT);
	}
}

/* That one server was there all the time is shown by connections that are gone. */
static void test_gone_witnesses(void **state)
{
	(void)state;
	for (unsigned gap = 0; gap < 2; gap++) {
		struct run r;

		start(&r, 0, 0, 0);
		begin(&r, 0, 1, MC);
		write_at(&r, 0, 0, 4096, 1);
		flush(&r, 0);
		write_at(&r, 0, 0, 4096, 2);
		flush(&r, 0);
		for (uint32_t i = 1; i < 2000; i++) {
			/* the next begins before the one before has ended */
			if (gap && i == 1000)
				end(&r, (i - 1) & 1);
			begin(&r, i & 1, i + 1, MC);
			read_at(&r, i & 1, 0, 4096, 2);
			if (!gap || i != 1000) {
				read_at(&r, (i - 1) & 1, 0, 4096, 2);
				end(&r, (i - 1) & 1);
			}
			r.time += INT64_C(30000000);
		}
		assert_int_equal(r.findings, 0);
		read_at(&r, 1, 0, 4096, 1);
		finish(&r);
		assert_int_equal(r.findings, 1);
		assert_int_equal(r.severity, gap ? NBDS_SUSPECT : NBDS_VIOLATION);
	}
}

/* A flush that is not proved to have come before the read is told all the same. */
static void test_flush_too_close(void **state)
{
	struct run r;

	(void)state;
	start(&r, 2, MC, 0);
	read_at(&r, 1, 0, 4096, 1);
	write_at(&r, 0, 0, 4096, 2);
	flush(&r, 0);
	r.time -= STEP; /* a later frame, of the same time */
	read_at(&r, 1, 0, 4096, 1);
	finish(&r);
	assert_int_equal(r.findings, 0);
	assert_non_null(strstr(r.hazard, "stale-read-unflushed: conn 1 wrote 4096 bytes at 0x0"));
	assert_non_null(strstr(r.hazard, "conn 1's flush covered it"));
	assert_non_null(strstr(r.hazard, "was sent only 0 us after that flush was answered"));

	/* and none that is far enough: it does not count because a later one failed */
	start(&r, 2, MC, 0);
	read_at(&r, 1, 0, 4096, 1);
	write_at(&r, 0, 0, 4096, 2);
	struct nbds_op *failing = request(&r, 0, NBD_CMD_FLUSH, 0, 0);
	flush(&r, 0);
	struct nbds_reply_order o = {.hi = now(&r), .acked = NBDS_NO_ACK};
	nbds_op_reply(failing, NBD_EIO, &o);
	read_at(&r, 1, 0, 4096, 1);
	finish(&r);
	assert_int_equal(r.findings, 0);
	assert_non_null(strstr(r.hazard, "stale-read-unflushed: conn 1 wrote 4096 bytes at 0x0"));
	assert_null(strstr(r.hazard, "too close"));

	/* and none that had not been answered */
	start(&r, 2, MC, 0);
	read_at(&r, 1, 0, 4096, 1);
	write_at(&r, 0, 0, 4096, 2);
	read_at(&r, 1, 0, 4096, 1);
	flush(&r, 0);
	finish(&r);
	assert_int_equal(r.findings, 0);
	assert_non_null(strstr(r.hazard, "stale-read-unflushed: conn 1 wrote 4096 bytes at 0x0"));
	assert_null(strstr(r.hazard, "flush covered"));
}

/* A verdict waits for commands that may lift it, and no longer than half a minute: those that
 * are still not answered are taken for never answered. */
static void test_hung_commands(void **state)
{
	enum hung { NOTHING, HUNG_FLUSH, COVERED, STATUS, ELSEWHERE, CROWD, WAYS };
	static const unsigned told[WAYS] = {1, 0, 1, 0, 1, 0};
	static const uint64_t at[WAYS] = {[ELSEWHERE] = 8192, [CROWD] = 8192};

	(void)state;
	for (enum hung way = 0; way < WAYS; way++) {
		/* of more than are looked at each may be one that matters */
		struct nbds_op *hung[65] = {NULL};
		unsigned n = way == NOTHING ? 0 : way == CROWD ? 65 : 1;
		struct run r;

		start(&r, 3, MC, 0);
		write_at(&r, 0, 0, 4096, 1);
		flush(&r, 0);
		write_at(&r, 0, 0, 4096, 2);
		if (way == HUNG_FLUSH)
			hung[0] = request(&r, 2, NBD_CMD_FLUSH, 0, 0);
		for (unsigned i = 0; i < n && way >= STATUS; i++)
			hung[i] = request(&r, 2, NBD_CMD_BLOCK_STATUS, at[way], 4096);
		flush(&r, 0);
		if (way == COVERED)
			hung[0] = request(&r, 2, NBD_CMD_FLUSH, 0, 0);
		read_at(&r, 1, 0, 4096, 1);
		r.time += INT64_C(29000000000);
		nbds_world_tick(r.w, r.time);
		assert_int_equal(r.findings, way == NOTHING);
		r.time += INT64_C(2000000000);
		nbds_world_tick(r.w, r.time);
		assert_int_equal(r.findings, told[way]);
		assert_int_equal(r.highest, told[way] ? NBDS_VIOLATION : NBDS_NOTE);
		/* what was said, or was not, stays */
		for (unsigned i = 0; i < n; i++)
			reply(&r, hung[i]);
		finish(&r);
		assert_int_equal(r.findings, told[way]);
	}
}

/* The size is changed as often as anybody does: what is written after that is judged.  Beyond
 * that nothing is, and that is said. */
static void test_resizes(void **state)
{
	(void)state;
	for (unsigned more = 0; more < 2; more++) {
		struct nbds_world_stats s;
		struct run r;

		start(&r, 2, MC, 0);
		write_at(&r, 0, 8192, 4096, 1);
		for (unsigned i = 0; i < 256 + more; i++)
			reply(&r, request(&r, 0, NBD_CMD_RESIZE, 4096, 0));
		read_at(&r, 0, 8192, 4096, 9); /* it may be gone */
		write_at(&r, 0, 0, 4096, 1);
		write_at(&r, 0, 8192, 4096, 2);
		flush(&r, 0);
		write_at(&r, 0, 0, 4096, 3);
		write_at(&r, 0, 8192, 4096, 4);
		flush(&r, 0);
		read_at(&r, 1, 0, 4096, 1);
		read_at(&r, 1, 8192, 4096, 2);
		s = finish(&r);
		assert_int_equal(r.findings, more ? 0 : 2);
		assert_int_equal(r.highest, more ? NBDS_NOTE : NBDS_VIOLATION);
		assert_int_equal(s.checked_bytes, more ? 0 : 8192);
		assert_int_equal(s.unchecked[NBDS_UNCHECKED_TRIM], more ? 0 : 4096);
		assert_int_equal(s.unchecked[NBDS_UNCHECKED_FORGOTTEN], more ? 12288 : 0);
	}
}

/* One hash, however it is computed, alone or in a row. */
static void test_hash(void **state)
{
	uint8_t sectors[3 * NBDS_SECTOR];
	uint64_t hashes[3], one, other[3];

	(void)state;
	for (unsigned version = 0; version < 100; version++) {
		fill(sectors, sizeof(sectors), version * UINT64_C(4096), (uint8_t)version);
		if (version == 0)
			memset(sectors, 0, sizeof(sectors));
		sector_hashes(sectors, 3, hashes);
		sector_hashes(sectors + NBDS_SECTOR, 1, &one);
		assert_int_equal(one, hashes[1]);
#if defined(__x86_64__) || defined(__i386__)
		if (__builtin_cpu_supports("avx2")) {
			sector_hashes_avx2(sectors, 3, other);
			assert_memory_equal(hashes, other, sizeof(hashes));
		}
#endif
		sectors[NBDS_SECTOR + version]++;
		sector_hashes(sectors, 3, other);
		sectors[NBDS_SECTOR + version]--;
		assert_int_equal(hashes[0], other[0]);
		assert_int_not_equal(hashes[1], other[1]);
		assert_int_equal(hashes[2], other[2]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sequential_memory),
		cmocka_unit_test(test_preconditions),
		cmocka_unit_test(test_other_ports_told_late),
		cmocka_unit_test(test_faces_told_late),
		cmocka_unit_test(test_told_late),
		cmocka_unit_test(test_inverted_since),
		cmocka_unit_test(test_inverted_while_withheld),
		cmocka_unit_test(test_told_after_burial),
		cmocka_unit_test(test_unseen_port_gone),
		cmocka_unit_test(test_many_on_interfaces),
		cmocka_unit_test(test_broken_preconditions),
		cmocka_unit_test(test_hot_sector),
		cmocka_unit_test(test_after_sleep),
		cmocka_unit_test(test_old_after_sleep),
		cmocka_unit_test(test_memory_cap),
		cmocka_unit_test(test_huge_ranges),
		cmocka_unit_test(test_many_extents),
		cmocka_unit_test(test_connections_pass),
		cmocka_unit_test(test_gone_writers),
		cmocka_unit_test(test_gone_witnesses),
		cmocka_unit_test(test_flush_too_close),
		cmocka_unit_test(test_hung_commands),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_bytes_kept),
		cmocka_unit_test(test_misplaced),
		cmocka_unit_test(test_resizes),
		cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
