/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mask.h - other addresses, names and contents in the place of the real ones.
 *
 * Purpose.  Evidence that is given to others must not tell them what was on the disk, nor
 * whose it was, and yet prove what it proved.  What is not known to be a number of the
 * protocol is replaced:
 *
 *	contents       equal stays equal, different stays different, zeroes stay zeroes
 *	names          others of the same length; equal stays equal
 *	texts          x's
 *	addresses      of the networks that are kept for examples (RFC 5737, RFC 3849);
 *	               of loopback, others of loopback
 *
 * Contents are replaced in one of two ways.  By sectors: 512 bytes that lie in one sector
 * become what a keyed function makes of all of them (and of their place, unless a proof
 * speaks of what is the same at two places), so that nothing of what they were is left,
 * neither which bytes are equal nor that two are alike; sectors of zeroes alone stay.  By
 * bytes: each byte becomes another one, by a table that is drawn for
 * its place on the disk, and 0 stays 0: for proofs that rest on single bytes.  This
 * shows where zeroes are, and which bytes of two versions of one place are the same.
 *
 * The keys are drawn anew for each mask and forgotten with it.
 *
 * Ownership.  A mask owns what it remembers of names and addresses.  Failure.  NULL
 * without memory, or without random numbers; nbds_mask_failed() afterwards.
 */
#ifndef NBDSCOPE_ANALYZER_EVIDENCE_MASK_H
#define NBDSCOPE_ANALYZER_EVIDENCE_MASK_H

#include <nbdscope/address.h>
#include <nbdscope/decoder.h>

#define NBDS_MASK_SECTOR 512

struct nbds_mask;

struct nbds_mask *nbds_mask_new(void);
void nbds_mask_free(struct nbds_mask *m);
/* Memory was short, or there are more different names of one length than there can be. */
bool nbds_mask_failed(const struct nbds_mask *m);

enum nbds_mask_way {
	NBDS_MASK_SECTORS,
	NBDS_MASK_SECTORS_ANYWHERE,
	NBDS_MASK_BYTES,
	NBDS_MASK_WAYS
};

/* What stands for a whole sector, wherever it is: 0 for zeroes alone. */
uint64_t nbds_mask_digest(const struct nbds_mask *m, const uint8_t sector[NBDS_MASK_SECTOR]);
/* The byte at `offset` of the export, if its sector is `digest`. `anywhere`: the same at
 * the same place of each such sector. */
uint8_t nbds_mask_sector_byte(struct nbds_mask *m, uint64_t digest, uint64_t offset, bool anywhere);
/* The same by itself. */
uint8_t nbds_mask_byte(const struct nbds_mask *m, uint64_t offset, uint8_t byte);
/* What is neither content nor a number. */
uint8_t nbds_mask_other(uint8_t byte);
/* Bytes where a message is due and none is: numbers that the protocol has stay, at each
 * fourth byte. */
void nbds_mask_nonsense(const uint8_t *bytes, size_t len, uint8_t *out);

/* A name of the same length, into `out`. */
void nbds_mask_name(struct nbds_mask *m, const uint8_t *name, size_t len, uint8_t *out);
/* The head of a message (which must have it) into `out`: numbers as they are. */
void nbds_mask_head(struct nbds_mask *mask, const struct nbds_message *m, uint8_t *out);
/* An address of the capture, to be told before any is replaced: none takes its place. */
void nbds_mask_avoid(struct nbds_mask *m, const struct nbds_addr *a);
/* An address; its port stays. */
struct nbds_addr nbds_mask_address(struct nbds_mask *m, const struct nbds_addr *a);
/* A port in the place of a client's. */
uint16_t nbds_mask_port(struct nbds_mask *m, const struct nbds_addr *a);

#endif
