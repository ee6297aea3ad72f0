/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * damage.h - what all kinds of damage are made with, and the forged ones.
 *
 * damage_reset() empties the capture; damage_add*() put packets behind its last;
 * damage_scratch() makes room for all bytes that damage_copy() will put there, since
 * packets point to them.
 */
#ifndef NBDS_TESTS_ROBUST_DAMAGE_H
#define NBDS_TESTS_ROBUST_DAMAGE_H

#include "packets.h"

void damage_reset(struct damage *d);
void damage_add(struct damage *d, const struct packet *p);
/* Packets [from, to) of the whole capture. */
void damage_add_all(struct damage *d, const struct whole *w, size_t from, size_t to);
void damage_scratch(struct damage *d, size_t size);
uint8_t *damage_copy(struct damage *d, const uint8_t *data, size_t len);
/* A fixed sequence for each seed, d->random. */
uint64_t damage_dice(struct damage *d);
void damage_put16(uint8_t *p, uint32_t v);
void damage_put32(uint8_t *p, uint32_t v);

/* forge.c */
/* Makes both checksums of a packet right that is all there, and is `s`. */
void damage_make_right(uint8_t *packet, const struct segment *s);
size_t total_forge(const struct whole *w);
bool make_forge(const struct whole *w, size_t i, struct damage *d);
bool make_forge_ack(const struct whole *w, size_t i, struct damage *d);
bool make_forge_end(const struct whole *w, size_t i, struct damage *d);
bool make_forge_sum(const struct whole *w, size_t i, struct damage *d);
bool make_flip(const struct whole *w, size_t i, struct damage *d);

#endif
