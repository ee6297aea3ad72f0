/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shard.h - which part of the servers an audit judges.
 *
 * What one endpoint is judged by may depend on what was sent to another port of its address
 * (consistency/kin.h), and on nothing else outside of it.  So an address goes into one shard
 * with all of its ports, and the findings of all shards are those of one audit of the whole.
 * Which shard that is, follows from the address alone: on every machine, of whatever byte
 * order, and in every capture it is the same.
 *
 * Connections to servers of other shards are found and numbered as in the whole, and their
 * segments are put in order, since what is no connection must not become one; then their
 * bytes are dropped.
 *
 * Plain values: no ownership, no failure.
 */
#ifndef NBDS_SESSION_SHARD_H
#define NBDS_SESSION_SHARD_H

#include <nbdscope/address.h>

/* The shard of a server's address, from 1 to `of`: XXH3-64 of 17 bytes, the family (4 or 6)
 * and the address, the unused bytes of an IPv4 address being 0, modulo `of`, and 1 more. */
unsigned nbds_shard_of(const struct nbds_addr *server, unsigned of);

#endif
