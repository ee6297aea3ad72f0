/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/consistency/op.h - operations, and the memory that all is made of.
 *
 * The ground floor: a command from its request to the last finding that names it,
 * counted by references.  Everything of a world is allocated here, so that it is
 * counted.
 */
#ifndef NBDS_CONSISTENCY_OP_H
#define NBDS_CONSISTENCY_OP_H

#include <nbdscope/decoder.h>
#include <nbdscope/protocol.h>

#include <base/table.h>

#include "consistency.h"

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
	struct nbds_op *prev_write, *next_write;   /* writes in flight, oldest first */
	struct nbds_table_node place;              /* WRITE: among those that may be sent again, */
	bool placed;                               /* if it is */

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

/* Reads with misses, in flight or not. */
struct reads {
	struct nbds_op *missed;
	uint64_t waiting; /* for their verdicts */
};

/* Zeroed, and counted; NULL without memory. */
void *world_alloc(struct nbds_world *w, size_t size);
/* `p` may be NULL. */
void world_dealloc(struct nbds_world *w, void *p, size_t size);
/* What is new is not zeroed. NULL without memory: `p` is as it was. */
void *world_realloc(struct nbds_world *w, void *p, size_t from, size_t to);

void op_ref(struct nbds_op *op);
void op_unref(struct nbds_op *op);
/* The read has no misses any more: it is no longer looked for. */
void reading_unlist(struct nbds_op *op);
/* To the later one of both, in each regard; of several interfaces: an order with none. */
void later_of(struct nbds_point *to, const struct nbds_point *point);

static inline size_t hash_number(uint64_t n)
{
	n ^= n >> 31;
	n *= 0x9e3779b97f4a7c15u;
	return (size_t)(n ^ (n >> 29));
}

#endif
