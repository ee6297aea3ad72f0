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

#include "ground.h"

enum op_state { OP_FLIGHT, OP_OK, OP_FAILED, OP_OPEN };

/*
 * Commands in flight of which it is asked whether all began after something was over:
 *
 *	READS    reads and block status
 *	TELLING  those that may still say something of contents: writes with payload to come,
 *	         block status
 *	AWAITED  those whose outcome verdicts wait for
 */
enum flying_role { FLYING_READS, FLYING_TELLING, FLYING_AWAITED, FLYING_ROLES };

enum flying_place { FLYING_NOT, FLYING_IN_ORDER, FLYING_LATE };

struct op_link {
	struct nbds_op *prev, *next;
};

struct nbds_op {
	struct nbds_world *world;
	struct nbds_party *party;
	struct flight *flight; /* NULL: it is over, and nothing more of it comes */
	uint64_t serial;
	uint64_t offset, length;
	uint16_t type, flags;
	uint8_t state;    /* enum op_state */
	bool write_class; /* WRITE, WRITE_ZEROES or TRIM of at least one byte */
	bool fua;         /* FUA that the server offered */
	bool voider;      /* its failure voids: FLUSH, or FUA */
	bool awaited;     /* in the list of those whose outcome verdicts wait for */
	bool overlap_told, reissue_told, landing_told;
	bool proves;     /* legal and unambiguous: can establish something */
	bool breach;     /* voids, but it was never offered, and refused */
	bool early;      /* answered before its payload, which has not come yet */
	bool arrived;    /* answered before its payload, which has come; not told yet */
	bool early_told; /* early: it was told, or is not going to be */
	bool owed;       /* early: the caller still has its payload to tell */
	bool late;       /* READ: others did not wait for it any more */
	uint8_t places[FLYING_ROLES]; /* enum flying_place */
	uint32_t refs;
	uint32_t past; /* index + 1 of what is kept of it for sleeping blocks */
	uint32_t error;
	uint32_t epoch;
	struct nbds_op *cover; /* a flush that covers it, of any connection; or NULL */
	uint32_t flush_mark;   /* flushes of the export requested when it was answered */
	struct nbds_point lo, hi;
	uint64_t header_end, acked;        /* of the request */
	uint64_t status_end, status_acked; /* of the status */
	uint64_t request_frame, reply_frame;
	int64_t replied;              /* time of the reply, whatever `hi` is */
	struct nbds_table_node place; /* WRITE: among those that may be sent again, */
	bool placed;                  /* if it is */

	/* WRITE in progress */
	bool payload_over;
	union {
		uint64_t in_flight;   /* FLUSH: writes in flight when it was sent */
		uint64_t flight_from; /* a write: serial of the oldest of those */
	};
	struct reading *reading; /* READ and BLOCK_STATUS in progress */
};

/* What only those have that are in flight, or were answered before their payload. */
struct flight {
	struct op_link awaited;              /* those, oldest first */
	struct op_link write;                /* writes in flight, oldest first */
	struct op_link flying[FLYING_ROLES]; /* by enum flying_role */
	struct nbds_op *next_early;          /* the party's answered before their payload */
	uint64_t blocks_end;                 /* its entries are all in blocks before this number */
	uint64_t next_at;                    /* WRITE: bytes of payload seen or known lost */
};

/* What is known of a read that is not over, or waits for its verdict. */
struct reading {
	struct miss *misses;       /* sectors that look wrong, or dangerous */
	struct miss_chunk *chunks; /* which hold them */
	uint32_t miss_count;
	bool told;
	uint64_t checked, seen_bytes;
	uint64_t unchecked[NBDS_UNCHECKED_MAX];
};

/* Nearly all are told in the order in which they began: the first one stands for them. Those
 * that are told late, since their first bytes filled a hole, are kept apart, as are those of
 * another interface. */
struct flying {
	struct nbds_op *first, *last; /* in order, oldest first */
	struct nbds_point newest;     /* when the last one that was put there began */
	struct nbds_op *late;         /* the others, in no order */
	uint32_t late_count;
	bool late_gone;            /* one of them went since */
	struct nbds_point late_lo; /* was when the first of them began */
};

struct reads {
	struct flying flying[FLYING_ROLES];
	uint64_t waiting; /* for their verdicts */
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

struct pasts {
	struct past *list;
	uint32_t room, free; /* index + 1 */
	uint32_t used;
};

void op_ref(struct nbds_op *op);
/* Nothing more of it comes, and it is in no list. */
void op_landed(struct nbds_op *op);
/* When it was sent, for people: where nothing seen before bounds it, when it was answered,
 * or what is now. */
int64_t op_shown(const struct nbds_op *op);
void flying_add(struct nbds_op *op, enum flying_role role);
/* If it is among them. */
void flying_remove(struct nbds_op *op, enum flying_role role);
/* Did all of them certainly begin after `hi`? */
bool flying_after(const struct nbds_world *w, enum flying_role role, const struct nbds_point *hi);
/* Was each one's beginning captured in a frame after this? */
bool flying_after_frame(const struct nbds_world *w, enum flying_role role, uint64_t frame);
/* So many of those that were told late are looked at; more of them are taken to have begun
 * when the first one did that there ever was. */
#define FLYING_LOOKED 64u

#endif
