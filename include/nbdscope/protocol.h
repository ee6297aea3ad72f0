/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/protocol.h - every constant of NBD, once.
 *
 * Purpose.  This is the only place in nbdscope where a magic, option, reply
 * type, info type, command, flag bit, chunk type, status bit or error of the
 * protocol has a number.  Enumerations, names, JSON values, Wireshark fields
 * with their bit masks and the manual's tables are made from these lists.  A
 * wrong bit (such as SEND_CACHE at bit 8, which is CAN_MULTI_CONN: the bug that
 * nbdscope was born from) can be wrong here only, and a test holds this file
 * against the published numbers.
 *
 * Source: doc/proto.md of the NetworkBlockDevice/nbd project, master of
 * 2026-05-02, and its branches extension-ext-header and extension-resize for
 * what they alone define.  Each list names its section.
 *
 * Lists are X-macros: X(NAME, VALUE, SUFFIX, LABEL, WHAT) where SUFFIX is the
 * last part of the display filter field (flags only), LABEL a short title and
 * WHAT one line for people.  Flags give the bit number, not the mask.
 */
#ifndef NBDSCOPE_PROTOCOL_H
#define NBDSCOPE_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
