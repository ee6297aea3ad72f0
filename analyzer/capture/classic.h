/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * classic.h - the records of a classic capture file.
 *
 * Purpose.  libpcap reads these files too, through stdio and with each packet copied
 * into a buffer of its own: the bytes of a capture are moved twice more than needed.
 * This reads large pieces straight from the source and hands packets out from there.
 * Only version 2.4 with link types whose packets need no care of their own is read here
 * (nbds_classic_reads()); libpcap reads the file's header, and all other files.
 * The format is draft-ietf-opsawg-pcap.
 *
 * Ownership.  A packet's bytes lie in the reader's buffer until the next call.  The
 * buffer has one size, in which the largest packet fits.
 * Failure.  -1 and one line that says what is wrong, not where.
 */
#ifndef NBDSCOPE_ANALYZER_CLASSIC_H
#define NBDSCOPE_ANALYZER_CLASSIC_H

#include <nbdscope/packet.h>

#include "source.h"

#define NBDS_CLASSIC_HEADER     24u     /* bytes of the file's header */
#define NBDS_CLASSIC_CAPLEN_MAX 262144u /* as libpcap: what is longer is damage */
#define NBDS_CLASSIC_BUFFER     (512 * 1024 + 4096)

struct nbds_classic;

/* Can files with this header be read here, whose link type is `linktype` by libpcap? */
bool nbds_classic_reads(const uint8_t header[NBDS_CLASSIC_HEADER], int linktype);

/* Reads records from `source`, which stays the caller's and stands behind the header.
 * Packets are cut off at `snaplen` bytes, the file's own limit. NULL without memory. */
struct nbds_classic *nbds_classic_new(struct nbds_source *source,
				      const uint8_t header[NBDS_CLASSIC_HEADER], int linktype,
				      uint32_t snaplen);
void nbds_classic_free(struct nbds_classic *r);

/* Before the first packet: from now on `lend` says what is read into, NBDS_CLASSIC_BUFFER
 * bytes each time; NULL: that is an error. A packet lies in what was lent last, and those
 * before it stay where they are; of what was lent before, bytes may still be copied until
 * `lend` has been asked once more. Each of them is filled as far as the file goes. */
void nbds_classic_lend(struct nbds_classic *r, uint8_t *(*lend)(void *ctx), void *ctx);

/* 1: *p is the next packet (its `frame` is the caller's to set). 0: the end.
 * -1: error, see nbds_classic_error(). */
int nbds_classic_next(struct nbds_classic *r, struct nbds_packet *p);
/* Where these bytes of the last packet are in the file, as nbds_source_reread() counts; 0:
 * they are none of it. */
uint64_t nbds_classic_place(const struct nbds_classic *r, const uint8_t *bytes);
const char *nbds_classic_error(const struct nbds_classic *r);
/* What the error is: the file ends inside a packet; a record cannot be right. Else it is
 * the source's. */
bool nbds_classic_cut_packet(const struct nbds_classic *r);
bool nbds_classic_damaged(const struct nbds_classic *r);

#endif
