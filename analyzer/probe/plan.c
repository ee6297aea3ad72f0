/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plan.c - which commands decide whether a server keeps its promises. See plan.h. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include <base/assert.h>
#include <base/bytes.h>

const struct nbds_probe_history nbds_probe_histories[NBDS_PROBE_HISTORIES] = {
#define HISTORY(id, name, promise, asks) [id] = {name, promise, asks},
#include "histories.def"
#undef HISTORY
};

/* A slot is a range of its own for a round of a history: what a server keeps of one is
 * not found in another, and a proof does not depend on what was proved before. */
#define SLOT_USUAL  65536u
#define SLOT_GRAINS 8u /* block sizes that it has at least, where the export has them */
#define SLOTS_LEAST 8u

/* Where no block size is told, clients are to keep to this. */
#define GRAIN_UNTOLD 512u

#define MANY           16u /* commands in flight */
#define MIXED_COMMANDS 120u
#define LARGE          (UINT64_C(64) << 20)

struct extent {
	uint64_t offset;
	uint32_t length;
};

struct planner {
	struct nbds_probe_plan *plan;
	const struct nbds_probe_facts *facts;
	uint64_t grain; /* offsets and lengths are multiples of it */
	uint64_t end;   /* of what can be reached with such */
	uint64_t slot, slots;
	uint64_t next_slot, fresh; /* the next one; the first that nobody has looked at */
	uint64_t contents;
	uint64_t chance;
	unsigned round;
	bool lost; /* memory */
};

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

void nbds_probe_fill(uint64_t seed, uint64_t contents, uint64_t offset, uint8_t *bytes,
		     size_t length)
{
	uint64_t key = mix(seed ^ mix(contents));

	while (length) {
		uint64_t word = mix(key ^ (offset / 8));
		size_t at = (size_t)(offset % 8), n = 8 - at < length ? 8 - at : length;

		for (size_t i = 0; i < n; i++) {
			/* Never zero, which what was zeroed, or never written, has. */
			uint8_t byte = (uint8_t)(word >> (8 * (at + i)));

			*bytes++ = byte ? byte : 0xa5;
		}
		offset += n;
		length -= n;
	}
}

/* --- steps --- */

static void step(struct planner *p, enum nbds_probe_op op, unsigned connection, uint16_t flags,
		 struct extent r)
{
	struct nbds_probe_step s = {
		.op = (uint8_t)op,
		.connection = (uint8_t)connection,
		.flags = flags,
		.offset = r.offset,
		.length = r.length,
	};

	if (op == NBDS_PROBE_WRITE)
		s.contents = ++p->contents;
	if (!nbds_vector_push(&p->plan->steps, &p->plan->budget, s))
		p->lost = true;
}

static void bare(struct planner *p, enum nbds_probe_op op, unsigned connection)
{
	step(p, op, connection, 0, (struct extent){0, 0});
}

static void wait(struct planner *p)
{
	bare(p, NBDS_PROBE_WAIT, 0);
}

/* Written, and answered. */
static void write_to(struct planner *p, unsigned connection, uint16_t flags, struct extent r)
{
	step(p, NBDS_PROBE_WRITE, connection, flags, r);
	wait(p);
}

static void flush(struct planner *p, unsigned connection)
{
	if (!p->facts->flush)
		return;
	bare(p, NBDS_PROBE_FLUSH, connection);
	wait(p);
}

static void pause_for(struct planner *p, uint32_t milliseconds)
{
	step(p, NBDS_PROBE_PAUSE, 0, 0, (struct extent){0, milliseconds});
}

/* The connection that has this part in the round: 0 is A, 1 is B, ... */
static unsigned who(const struct planner *p, unsigned part)
{
	return (p->round + part) % p->facts->connections;
}

static void read_by(struct planner *p, unsigned connection, struct extent r)
{
	step(p, NBDS_PROBE_READ, connection, p->facts->df && p->round % 2 ? NBDS_PROBE_DF : 0, r);
}

/* At once on all of them but the first `but`, by their parts; then again, one after the
 * other, as some servers look a second time. */
static void read_by_others(struct planner *p, unsigned but, struct extent r)
{
	for (unsigned i = but; i < p->facts->connections; i++)
		read_by(p, who(p, i), r);
	wait(p);
}

static void read_by_all(struct planner *p, struct extent r)
{
	read_by_others(p, 0, r);
}

/* Everyone has read it, and keeps it if it keeps anything. */
static void warm(struct planner *p, struct extent r)
{
	if (p->facts->cache && p->round % 2) {
		for (unsigned i = 0; i < p->facts->connections; i++)
			step(p, NBDS_PROBE_CACHE, who(p, i), 0, r);
		wait(p);
	}
	read_by_all(p, r);
}

/* --- ranges --- */

static uint64_t align(const struct planner *p, uint64_t n)
{
	return n - n % p->grain;
}

static struct extent next_slot(struct planner *p)
{
	struct extent r = {.offset = p->next_slot * p->slot, .length = (uint32_t)p->slot};

	/* What is there from before is seen once, so that what is old can be told from what is
	 * not explained; by who writes there first, so that nobody else keeps it. */
	if (p->next_slot == p->fresh) {
		read_by(p, who(p, 0), r);
		wait(p);
		p->fresh++;
	}
	p->next_slot = (p->next_slot + 1) % p->slots;
	return r;
}

/* The i-th of n pieces; they cover the whole. */
static struct extent piece(const struct planner *p, struct extent whole, unsigned i, unsigned n)
{
	uint64_t from = align(p, (uint64_t)whole.length * i / n);
	uint64_t to = i + 1 == n ? whole.length : align(p, (uint64_t)whole.length * (i + 1) / n);

	return (struct extent){whole.offset + from, (uint32_t)(to - from)};
}

/* How many pieces it can be cut into, `most` at most. */
static unsigned pieces(const struct planner *p, struct extent whole, unsigned most)
{
	uint64_t n = whole.length / p->grain;

	return n < most ? (unsigned)n : most;
}

/* Another part of it each round: all, a sixteenth, something odd, the least. */
static struct extent part(const struct planner *p, struct extent whole)
{
	struct extent r = whole;

	switch (p->round % 4) {
	case 1:
		return piece(p, whole, pieces(p, whole, 16) / 2, pieces(p, whole, 16));
	case 2:
		r.offset += align(p, whole.length / 4 + whole.length / 83);
		r.length = (uint32_t)align(p, whole.length / 3 + whole.length / 65);
		break;
	case 3:
		r.offset += align(p, whole.length / 2);
		r.length = (uint32_t)(p->grain < 512 && whole.length >= 2048 ? 512 : p->grain);
		break;
	default:
		break;
	}
	return r.length ? r : whole;
}

/* A slot with contents that are stored, and known to all. */
static struct extent prepare(struct planner *p)
{
	struct extent r = next_slot(p);

	write_to(p, who(p, 0), 0, r);
	flush(p, who(p, 0));
	warm(p, r);
	return r;
}

/* The same that only A knows. */
static struct extent prepare_own(struct planner *p)
{
	struct extent r = next_slot(p);

	write_to(p, who(p, 0), 0, r);
	read_by(p, who(p, 0), r);
	wait(p);
	return r;
}

/* --- what holds on one connection --- */

static void own_write(struct planner *p)
{
	struct extent all = prepare_own(p);
	struct extent some = part(p, all);

	write_to(p, who(p, 0), 0, some);
	read_by(p, who(p, 0), all);
	wait(p);
	write_to(p, who(p, 0), p->facts->fua ? NBDS_PROBE_FUA : 0, some);
	read_by(p, who(p, 0), some);
	read_by(p, who(p, 0), all);
	wait(p);
	flush(p, who(p, 0));
	read_by(p, who(p, 0), all);
	wait(p);
}

static uint16_t zero_flags(const struct planner *p)
{
	switch (p->round % 4) {
	case 1:
		return NBDS_PROBE_NO_HOLE;
	case 2:
		return p->facts->fast_zero ? NBDS_PROBE_FAST_ZERO : 0;
	case 3:
		return p->facts->fua ? NBDS_PROBE_FUA : 0;
	default:
		return 0;
	}
}

static void own_zeroes(struct planner *p)
{
	struct extent all = prepare_own(p);
	struct extent some = part(p, all);

	step(p, NBDS_PROBE_ZEROES, who(p, 0), zero_flags(p), some);
	wait(p);
	read_by(p, who(p, 0), all);
	wait(p);
	flush(p, who(p, 0));
	read_by(p, who(p, 0), all);
	wait(p);
	/* And what is written over zeroes is not zeroes. */
	write_to(p, who(p, 0), 0, piece(p, all, 0, pieces(p, all, 2)));
	read_by(p, who(p, 0), all);
	wait(p);
}

static void large_zeroes(struct planner *p)
{
	struct extent last = {LARGE, 65536}, before = {LARGE - 65536, 65536},
		      beyond = {LARGE + 65536, 65536};
	unsigned a = who(p, 0);

	step(p, NBDS_PROBE_WRITE, a, 0, last);
	step(p, NBDS_PROBE_WRITE, a, 0, before);
	step(p, NBDS_PROBE_WRITE, a, 0, beyond);
	wait(p);
	step(p, NBDS_PROBE_ZEROES, a, 0, (struct extent){0, (uint32_t)(LARGE + 65536)});
	wait(p);
	read_by(p, a, last);
	read_by(p, a, before);
	read_by(p, a, beyond);
	wait(p);
}

static void trim_then_write(struct planner *p)
{
	struct extent all = prepare_own(p);
	unsigned a = who(p, 0);

	step(p, NBDS_PROBE_TRIM, a, p->facts->fua && p->round % 2 ? NBDS_PROBE_FUA : 0, all);
	wait(p);
	write_to(p, a, 0, all);
	read_by(p, a, all);
	wait(p);
	/* A trim that is done late. */
	pause_for(p, 20);
	read_by(p, a, all);
	wait(p);
	flush(p, a);
	read_by(p, a, all);
	wait(p);
}

static void trim_neighbours(struct planner *p)
{
	struct extent all = prepare_own(p);
	unsigned n = pieces(p, all, p->round % 2 ? 16 : 3), a = who(p, 0);

	/* The middle; and not where blocks begin, which a server may want to be asked of. */
	step(p, NBDS_PROBE_TRIM, a, 0, piece(p, all, n / 2, n));
	wait(p);
	for (unsigned i = 0; i < n; i++)
		if (i != n / 2)
			read_by(p, a, piece(p, all, i, n));
	wait(p);
	flush(p, a);
	pause_for(p, 5);
	for (unsigned i = 0; i < n; i++)
		if (i != n / 2)
			read_by(p, a, piece(p, all, i, n));
	wait(p);
}

static void many_in_flight(struct planner *p)
{
	struct extent all = prepare_own(p);
	unsigned n = pieces(p, all, MANY), a = who(p, 0);

	for (unsigned i = 0; i < n; i++)
		read_by(p, a, piece(p, all, i, n));
	wait(p);
	for (unsigned i = 0; i < n; i++)
		step(p, NBDS_PROBE_WRITE, a, 0, piece(p, all, n - 1 - i, n));
	wait(p);
	/* Short ones among long ones, and other commands. */
	for (unsigned i = 0; i < n; i++) {
		read_by(p, a, piece(p, all, i, n));
		if (i % 8 == 3)
			read_by(p, a, all);
		if (i % 8 == 5 && p->facts->flush)
			bare(p, NBDS_PROBE_FLUSH, a);
	}
	wait(p);
}

static void neighbours_in_flight(struct planner *p)
{
	struct extent all = prepare_own(p);
	unsigned a = who(p, 0);

	/* The smaller the pieces, the more of them are in one block of the server's. */
	for (unsigned again = 0; again < 4; again++) {
		struct extent block = piece(p, all, again, pieces(p, all, 16));
		unsigned n = pieces(p, block, again % 2 ? 8 : 3);

		if (n < 2) {
			block = all;
			n = pieces(p, all, 8);
		}
		for (unsigned i = 0; i < n; i++)
			step(p, NBDS_PROBE_WRITE, a, 0, piece(p, block, i, n));
		wait(p);
		read_by(p, a, block);
		wait(p);
	}
	flush(p, a);
	read_by(p, a, all);
	wait(p);
}

/* The first half of one and the second of the other overlap in a third. */
static struct extent overlapping(const struct planner *p, struct extent all, bool second)
{
	uint64_t third = align(p, all.length / 3);

	if (!third)
		return all;
	return (struct extent){all.offset + (second ? third : 0),
			       (uint32_t)(second ? all.length - third : 2 * third)};
}

static void overlap(struct planner *p, unsigned other)
{
	struct extent all = other ? prepare(p) : prepare_own(p);

	step(p, NBDS_PROBE_WRITE, who(p, 0), 0, overlapping(p, all, false));
	step(p, NBDS_PROBE_WRITE, who(p, other), 0, overlapping(p, all, true));
	wait(p);
	flush(p, who(p, other ? 2 : 0));
	/* Twice: what one outcome it was must not change. */
	for (unsigned again = 0; again < 3; again++) {
		if (other)
			read_by_all(p, all);
		else
			read_by(p, who(p, 0), all), wait(p);
	}
	pause_for(p, 5);
	if (other)
		read_by_all(p, all);
	else
		read_by(p, who(p, 0), all), wait(p);
}

static void overlap_in_flight(struct planner *p)
{
	overlap(p, 0);
}

static void half_payload(struct planner *p)
{
	struct extent all = prepare_own(p);
	struct extent some = piece(p, all, 0, pieces(p, all, p->round % 2 ? 1 : 4));

	write_to(p, who(p, 0), NBDS_PROBE_HALF, some);
	read_by(p, who(p, 0), all);
	wait(p);
}

static void last_bytes(struct planner *p)
{
	uint64_t length = p->slot < p->end ? p->slot : p->end;
	struct extent all = {p->end - length, (uint32_t)length};
	struct extent least = {p->end - p->grain, (uint32_t)p->grain};
	unsigned a = who(p, 0);

	write_to(p, a, 0, all);
	write_to(p, a, 0, least);
	read_by(p, a, all);
	wait(p);
	write_to(p, a, 0, all);
	flush(p, a);
	read_by(p, a, least);
	read_by(p, a, all);
	wait(p);
}

static void block_status(struct planner *p)
{
	struct extent all = prepare_own(p);
	struct extent some = part(p, all);
	unsigned a = who(p, 0);

	step(p, NBDS_PROBE_STATUS, a, 0, all);
	wait(p);
	if (p->facts->zeroes) {
		step(p, NBDS_PROBE_ZEROES, a, 0, all);
		wait(p);
		step(p, NBDS_PROBE_STATUS, a, 0, all);
		wait(p);
		read_by(p, a, all);
		wait(p);
	}
	write_to(p, a, 0, some);
	step(p, NBDS_PROBE_STATUS, a, 0, all);
	wait(p);
	read_by(p, a, all);
	wait(p);
	flush(p, a);
	for (unsigned i = 0; p->facts->flush && i < p->facts->connections; i++)
		step(p, NBDS_PROBE_STATUS, who(p, i), 0, all);
	wait(p);
}

/* --- what CAN_MULTI_CONN promises --- */

static void flush_here(struct planner *p)
{
	struct extent all = prepare(p);

	write_to(p, who(p, 0), 0, part(p, all));
	flush(p, who(p, 0));
	read_by_others(p, 1, all);
}

static void flush_elsewhere(struct planner *p)
{
	struct extent all = prepare(p);

	write_to(p, who(p, 0), 0, part(p, all));
	flush(p, who(p, 1));
	read_by_others(p, 2, all);
	read_by_all(p, all);
}

static void fua(struct planner *p)
{
	struct extent all = prepare(p);
	struct extent some = part(p, all);

	write_to(p, who(p, 0), NBDS_PROBE_FUA, some);
	read_by_others(p, 1, all);
	/* And once more: it was the first write of the bytes, now it is the second. */
	write_to(p, who(p, 1), NBDS_PROBE_FUA, some);
	read_by_all(p, all);
}

static void zeroes_flushed(struct planner *p)
{
	struct extent all = prepare(p);

	step(p, NBDS_PROBE_ZEROES, who(p, 0), p->round % 2 ? NBDS_PROBE_NO_HOLE : 0, part(p, all));
	wait(p);
	flush(p, who(p, 1));
	read_by_all(p, all);
}

static void zeroes_fua(struct planner *p)
{
	struct extent all = prepare(p);

	step(p, NBDS_PROBE_ZEROES, who(p, 0),
	     (uint16_t)(NBDS_PROBE_FUA | (p->round % 2 ? NBDS_PROBE_NO_HOLE : 0)), part(p, all));
	wait(p);
	read_by_others(p, 1, all);
}

static void trim_flushed(struct planner *p)
{
	struct extent all = prepare(p);
	unsigned a = who(p, 0);

	step(p, NBDS_PROBE_TRIM, a, 0, all);
	wait(p);
	/* What others have read is undefined now; so that it is not what they keep: */
	flush(p, a);
	read_by_all(p, all);
	write_to(p, a, 0, all);
	flush(p, who(p, 1));
	read_by_all(p, all);
	pause_for(p, 20);
	read_by_all(p, all);
}

static void two_writers(struct planner *p)
{
	struct extent all = prepare(p);
	struct extent some = part(p, all);

	write_to(p, who(p, 0), 0, some);
	flush(p, who(p, 0));
	write_to(p, who(p, 1), 0, some);
	flush(p, who(p, 1));
	read_by_all(p, all);
	/* A cache that writes back what it has, whoever wrote since. */
	flush(p, who(p, 0));
	read_by_all(p, all);
}

static void neighbours(struct planner *p)
{
	struct extent all = prepare(p);

	for (unsigned again = 0; again < 3; again++) {
		struct extent block = piece(p, all, again, pieces(p, all, 16));
		unsigned n = pieces(p, block, 2);

		if (n < 2) {
			block = all;
			n = 2;
		}
		write_to(p, who(p, 0), 0, piece(p, block, 0, n));
		write_to(p, who(p, 1), 0, piece(p, block, 1, n));
		flush(p, who(p, 2));
		read_by_all(p, block);
	}
	flush(p, who(p, 0));
	flush(p, who(p, 1));
	read_by_all(p, all);
}

static void overlap_elsewhere(struct planner *p)
{
	overlap(p, 1);
}

static void flush_among_writes(struct planner *p)
{
	struct extent all = prepare(p), other = prepare(p);
	unsigned n = pieces(p, other, MANY);

	write_to(p, who(p, 0), 0, part(p, all));
	for (unsigned i = 0; i < n; i++) {
		step(p, NBDS_PROBE_WRITE, who(p, i), 0, piece(p, other, i, n));
		if (i == n / 2)
			bare(p, NBDS_PROBE_FLUSH, who(p, 1));
	}
	wait(p);
	read_by_all(p, all);
	flush(p, who(p, 2));
	read_by_all(p, other);
}

static void flush_of_much(struct planner *p)
{
	uint64_t n = p->slots < MANY ? p->slots : MANY;
	struct extent at[MANY];

	for (uint64_t i = 0; i < n; i++) {
		at[i] = next_slot(p);
		step(p, NBDS_PROBE_WRITE, who(p, 0), 0, at[i]);
	}
	wait(p);
	flush(p, who(p, 0));
	for (uint64_t i = 0; i < n; i++)
		read_by(p, who(p, 1), at[i]);
	wait(p);
	for (uint64_t i = 0; i < n; i++)
		step(p, NBDS_PROBE_WRITE, who(p, 0), 0, at[i]);
	wait(p);
	flush(p, who(p, p->round % 2 ? 2 : 0));
	for (uint64_t i = n; i-- > 0;)
		read_by(p, who(p, 1), at[i]);
	wait(p);
}

static void new_connection(struct planner *p)
{
	struct extent all = prepare(p);
	unsigned b = who(p, 1);

	write_to(p, who(p, 0), 0, part(p, all));
	bare(p, NBDS_PROBE_CLOSE, b);
	flush(p, who(p, 0));
	bare(p, NBDS_PROBE_OPEN, b);
	read_by(p, b, all);
	wait(p);
	read_by_all(p, all);
}

static void leave_unflushed(struct planner *p, enum nbds_probe_op how)
{
	struct extent all = prepare(p);
	unsigned a = who(p, 0);

	write_to(p, a, 0, part(p, all));
	bare(p, how, a);
	/* Time for the server to notice. */
	pause_for(p, 5);
	flush(p, who(p, 1));
	read_by_others(p, 1, all);
	bare(p, NBDS_PROBE_OPEN, a);
	read_by_all(p, all);
}

static void disconnect_unflushed(struct planner *p)
{
	leave_unflushed(p, NBDS_PROBE_CLOSE);
}

static void drop_unflushed(struct planner *p)
{
	leave_unflushed(p, NBDS_PROBE_DROP);
}

static uint64_t dice(struct planner *p, uint64_t sides)
{
	p->chance = mix(p->chance);
	return (p->chance >> 11) % sides;
}

static struct extent somewhere(struct planner *p, struct extent all)
{
	unsigned n = pieces(p, all, 1u << dice(p, 5));

	return piece(p, all, (unsigned)dice(p, n), n);
}

static void mixed(struct planner *p)
{
	struct extent at[3] = {next_slot(p), next_slot(p), next_slot(p)};

	for (unsigned i = 0; i < 3; i++) {
		write_to(p, who(p, i), 0, at[i]);
		flush(p, who(p, i));
		warm(p, at[i]);
	}
	for (unsigned i = 0; i < MIXED_COMMANDS; i++) {
		struct extent r = somewhere(p, at[dice(p, 3)]);
		unsigned c = (unsigned)dice(p, p->facts->connections);

		switch (dice(p, 10)) {
		case 0:
		case 1:
		case 2:
			step(p, NBDS_PROBE_WRITE, c,
			     p->facts->fua && !dice(p, 3) ? NBDS_PROBE_FUA : 0, r);
			break;
		case 3:
			if (p->facts->zeroes)
				step(p, NBDS_PROBE_ZEROES, c, 0, r);
			break;
		case 4:
			wait(p);
			flush(p, c);
			break;
		case 5:
			wait(p);
			break;
		default:
			read_by(p, c, r);
			break;
		}
	}
	wait(p);
	flush(p, who(p, 0));
	for (unsigned i = 0; i < 3; i++)
		read_by_all(p, at[i]);
}

/* --- what is not promised, and what outlives --- */

static void unflushed(struct planner *p)
{
	struct extent all = prepare(p);

	write_to(p, who(p, 0), 0, part(p, all));
	read_by_others(p, 1, all);
}

static void outlive(struct planner *p, bool restart)
{
	struct extent flushed = prepare(p), stored = prepare(p);

	write_to(p, who(p, 0), 0, flushed);
	flush(p, who(p, 0));
	if (p->facts->fua)
		write_to(p, who(p, 1), NBDS_PROBE_FUA, stored);
	if (restart) {
		bare(p, NBDS_PROBE_RESTART, 0);
	} else {
		for (unsigned i = 0; i < p->facts->connections; i++)
			bare(p, NBDS_PROBE_CLOSE, i);
		pause_for(p, 20);
	}
	for (unsigned i = 0; i < p->facts->connections; i++)
		bare(p, NBDS_PROBE_OPEN, i);
	read_by_all(p, flushed);
	read_by_all(p, stored);
}

static void after_restart(struct planner *p)
{
	outlive(p, true);
}

static void after_all_left(struct planner *p)
{
	outlive(p, false);
}

/* --- which --- */

enum {
	FLUSH = 1,
	FUA = 2,
	ZEROES = 4,
	TRIM = 8,
	STATUS = 16,
	PIECES = 32, /* the export has two blocks at least */
	HUGE = 64,   /* it has more than 64 MiB */
	RESTART = 128,
	STORED = 256, /* FLUSH or FUA */
	THREE = 512,  /* three blocks */
};

static const struct course {
	void (*plan)(struct planner *p);
	unsigned needs;
	bool once;
} courses[NBDS_PROBE_HISTORIES] = {
	[NBDS_HISTORY_OWN_WRITE] = {own_write, 0, false},
	[NBDS_HISTORY_OWN_ZEROES] = {own_zeroes, ZEROES, false},
	[NBDS_HISTORY_LARGE_ZEROES] = {large_zeroes, ZEROES | HUGE, true},
	[NBDS_HISTORY_TRIM_THEN_WRITE] = {trim_then_write, TRIM, false},
	[NBDS_HISTORY_TRIM_NEIGHBOURS] = {trim_neighbours, TRIM | THREE, false},
	[NBDS_HISTORY_MANY_IN_FLIGHT] = {many_in_flight, PIECES, false},
	[NBDS_HISTORY_NEIGHBOURS_IN_FLIGHT] = {neighbours_in_flight, PIECES, false},
	[NBDS_HISTORY_OVERLAP_IN_FLIGHT] = {overlap_in_flight, 0, false},
	[NBDS_HISTORY_HALF_PAYLOAD] = {half_payload, 0, false},
	[NBDS_HISTORY_LAST_BYTES] = {last_bytes, 0, true},
	[NBDS_HISTORY_BLOCK_STATUS] = {block_status, STATUS, false},
	[NBDS_HISTORY_FLUSH_HERE] = {flush_here, FLUSH, false},
	[NBDS_HISTORY_FLUSH_ELSEWHERE] = {flush_elsewhere, FLUSH, false},
	[NBDS_HISTORY_FUA] = {fua, FUA, false},
	[NBDS_HISTORY_ZEROES_FLUSHED] = {zeroes_flushed, ZEROES | FLUSH, false},
	[NBDS_HISTORY_ZEROES_FUA] = {zeroes_fua, ZEROES | FUA, false},
	[NBDS_HISTORY_TRIM_FLUSHED] = {trim_flushed, TRIM | FLUSH, false},
	[NBDS_HISTORY_TWO_WRITERS] = {two_writers, FLUSH, false},
	[NBDS_HISTORY_NEIGHBOURS] = {neighbours, FLUSH | PIECES, false},
	[NBDS_HISTORY_OVERLAP_ELSEWHERE] = {overlap_elsewhere, FLUSH, false},
	[NBDS_HISTORY_FLUSH_AMONG_WRITES] = {flush_among_writes, FLUSH, false},
	[NBDS_HISTORY_FLUSH_OF_MUCH] = {flush_of_much, FLUSH, false},
	[NBDS_HISTORY_NEW_CONNECTION] = {new_connection, FLUSH, false},
	[NBDS_HISTORY_DISCONNECT_UNFLUSHED] = {disconnect_unflushed, FLUSH, false},
	[NBDS_HISTORY_DROP_UNFLUSHED] = {drop_unflushed, FLUSH, false},
	[NBDS_HISTORY_MIXED] = {mixed, FLUSH, false},
	[NBDS_HISTORY_UNFLUSHED] = {unflushed, 0, false},
	[NBDS_HISTORY_AFTER_RESTART] = {after_restart, STORED | RESTART, true},
	[NBDS_HISTORY_AFTER_ALL_LEFT] = {after_all_left, STORED, true},
};

/* Why it cannot be asked of this server; NULL: it can. */
static const char *unasked(const struct planner *p, enum nbds_probe_history_id id)
{
	const struct nbds_probe_facts *f = p->facts;
	unsigned needs = courses[id].needs;

	if ((needs & FLUSH) && !f->flush)
		return "the server offers no flush";
	if ((needs & FUA) && !f->fua)
		return "the server offers no FUA";
	if ((needs & STORED) && !f->flush && !f->fua)
		return "the server offers neither flush nor FUA";
	if ((needs & ZEROES) && !f->zeroes)
		return "the server offers no WRITE_ZEROES";
	if ((needs & TRIM) && !f->trim)
		return "the server offers no TRIM";
	if ((needs & STATUS) && !f->status)
		return "the server tells no block status";
	if ((needs & HUGE) && (f->size < LARGE + 131072 || 65536 % p->grain))
		return "the export has less than 64 MiB";
	if ((needs & PIECES) && p->slot / p->grain < 2)
		return "the export has only one block";
	if ((needs & THREE) && p->slot / p->grain < 3)
		return "the export has less than three blocks";
	if ((needs & RESTART) && !f->restart)
		return "no --probe-kill, which starts the server anew";
	if (nbds_probe_histories[id].promise != NBDS_PROBE_ONE &&
	    nbds_probe_histories[id].promise != NBDS_PROBE_DURABLE && f->connections < 2)
		return "the server takes one connection at a time";
	return NULL;
}

static void plan_run(struct planner *p, enum nbds_probe_history_id id, unsigned round)
{
	struct nbds_probe_run run = {.history = id, .round = round, .first = p->plan->steps.count};

	p->round = round;
	courses[id].plan(p);
	run.count = p->plan->steps.count - run.first;
	if (!nbds_vector_push(&p->plan->runs, &p->plan->budget, run))
		p->lost = true;
}

static void measure(struct planner *p)
{
	const struct nbds_probe_facts *f = p->facts;

	NBDS_ASSERT(f->size && f->connections && f->connections <= NBDS_PROBE_CONNECTIONS);
	p->grain = f->minimum ? f->minimum : GRAIN_UNTOLD;
	if (p->grain > f->size)
		p->grain = 1;
	p->end = align(p, f->size);
	p->slot = p->grain * SLOT_GRAINS > SLOT_USUAL ? p->grain * SLOT_GRAINS : SLOT_USUAL;
	if (f->maximum && p->slot > f->maximum)
		p->slot = f->maximum > p->grain ? align(p, f->maximum) : p->grain;
	while (p->slot / 2 >= p->grain * SLOT_GRAINS && p->end / p->slot < SLOTS_LEAST)
		p->slot = align(p, p->slot / 2);
	if (p->slot > p->end)
		p->slot = p->end;
	p->slots = p->end / p->slot;
}

struct nbds_probe_plan *nbds_probe_plan_new(const struct nbds_probe_facts *facts)
{
	struct nbds_probe_plan *plan = calloc(1, sizeof(*plan));
	struct planner p = {.plan = plan, .facts = facts, .chance = mix(facts->seed)};

	if (!plan)
		return NULL;
	measure(&p);
	for (unsigned id = 0; id < NBDS_PROBE_HISTORIES; id++)
		plan->unasked[id] = unasked(&p, id);
	for (unsigned round = 0; round < facts->rounds; round++)
		for (unsigned id = 0; id < NBDS_PROBE_HISTORIES; id++)
			if (!plan->unasked[id] && (!round || !courses[id].once) &&
			    nbds_probe_histories[id].promise != NBDS_PROBE_DURABLE)
				plan_run(&p, id, round);
	for (unsigned id = 0; id < NBDS_PROBE_HISTORIES; id++)
		if (!plan->unasked[id] && nbds_probe_histories[id].promise == NBDS_PROBE_DURABLE)
			plan_run(&p, id, 0);
	if (!p.lost)
		return plan;
	nbds_probe_plan_free(plan);
	return NULL;
}

void nbds_probe_plan_free(struct nbds_probe_plan *plan)
{
	if (!plan)
		return;
	nbds_vector_free(&plan->runs, &plan->budget);
	nbds_vector_free(&plan->steps, &plan->budget);
	free(plan);
}
