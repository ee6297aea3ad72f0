/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block status (proto.md, "NBD_REPLY_TYPE_BLOCK_STATUS" and "NBD_CMD_BLOCK_STATUS",
 * "The base: metadata namespace"; extended headers: the branch
 * extension-ext-header).  Extents are looked at as they come, one after the other.
 */
#include <inttypes.h>
#include <string.h>

#include <base/bytes.h>

#include "check.h"

/* What was told of the chunk in progress. */
enum { TOLD_EMPTY = 1, TOLD_MERGE = 2, TOLD_BITS = 4, TOLD_UPPER = 8, TOLD_LONG = 16 };
#define ALLOCATION_BITS ((uint64_t)(NBD_STATE_HOLE | NBD_STATE_ZERO))

void rules_status(struct rules_connection *rc, const struct nbds_message *m,
		  struct rules_request *q)
{
	const struct nbds_request *r = m->request;
	struct rules_about about = {.at = &m->first, .r = r, .q = q};
	bool ext = m->u.chunk.type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
	uint64_t length = m->u.chunk.length, fixed = ext ? 8 : 4;
	uint32_t id = m->u.chunk.context_id, place = 0, bit;

	rc->extent_followed = !(m->flags & (NBDS_MSG_CUT | NBDS_MSG_REPLAYED));
	rc->extents = rc->extent_sum = 0;
	rc->extent_at = r->offset;
	rc->extent_have = 0;
	rc->extent_told = 0;
	rc->extent_allocation = rc->extent_in_base = false;
	if ((m->flags & NBDS_MSG_MALFORMED) || length == fixed) {
		rules_tell(rc, ext ? RULE_EXT_LENGTH : RULE_STATUS_LENGTH, &about,
			   "%s has length %" PRIu64 ": it must have %s, and at least one extent",
			   m->name, length,
			   ext ? "8 bytes and 16 for each extent it counts"
			       : "4 bytes and 8 for each extent");
		rc->extent_followed = false;
	}
	about.needs = RULES_NEEDS_HANDSHAKE;
	if (rc->haggled && ext != rc->extended)
		rules_tell(rc, RULE_STATUS_FORM, &about,
			   "%s is sent, though extended headers were %s", m->name,
			   rc->extended ? "negotiated" : "not negotiated");
	if (!rc->haggled || rc->contexts_over || !rc->contexts || q->status_unsure)
		return;
	about.needs |= RULES_NEEDS_PAIRS;
	while (place < rc->contexts && rc->context[place] != id)
		place++;
	if (place == rc->contexts) {
		rules_tell(rc, RULE_CONTEXT_UNKNOWN, &about,
			   "the status is in context %" PRIu32
			   ", which NBD_OPT_SET_META_CONTEXT had not returned",
			   id);
		return;
	}
	bit = UINT32_C(1) << place;
	if (q->answered & bit)
		rules_tell(rc, RULE_CONTEXT_UNKNOWN, &about,
			   "the status in context %" PRIu32 " comes a second time", id);
	else if (!(q->asked & bit) && !(q->wrong & RULES_BAD_IDS))
		rules_tell(rc, RULE_STATUS_UNASKED, &about,
			   "the status is in context %" PRIu32 ", which the request did not name",
			   id);
	q->answered |= bit;
	rc->extent_in_base = rc->context_base & bit;
	rc->extent_allocation = rc->context_allocation & bit;
}

/* What is wrong with an extent, if anything is that was not told of the chunk before. */
static void extent_wrong(struct rules_connection *rc, const struct nbds_message *m,
			 struct rules_request *q, uint64_t length, uint64_t status, bool ext)
{
	const struct nbds_request *r = m->request;
	struct rules_about about = {.at = &m->first, .r = r, .q = q};
	uint64_t n = rc->extents;

	if (!length && !(rc->extent_told & TOLD_EMPTY)) {
		rc->extent_told |= TOLD_EMPTY;
		rules_tell(rc, RULE_EXTENT_EMPTY, &about,
			   "extent %" PRIu64 " of the reply has length 0", n + 1);
	}
	about.needs = RULES_NEEDS_PAIRS;
	/* an extent that begins where the request is covered already */
	if (n && rc->extent_sum >= r->length && r->length && !(rc->extent_told & TOLD_LONG)) {
		rc->extent_told |= TOLD_LONG;
		rules_tell(rc, RULE_STATUS_LONG, &about,
			   "%" PRIu64 " extents cover the %" PRIu64
			   " bytes that were asked about, and another one follows",
			   n, r->length);
	}
	if (n && status == rc->extent_status && !(rc->extent_told & TOLD_MERGE)) {
		rc->extent_told |= TOLD_MERGE;
		rules_tell(rc, RULE_NOT_MERGED, &about,
			   "the extents %" PRIu64 " and %" PRIu64
			   " have the same status, 0x%" PRIx64,
			   n, n + 1, status);
	}
	if (rc->extent_allocation && (status & UINT32_MAX & ~ALLOCATION_BITS) &&
	    !(rc->extent_told & TOLD_BITS)) {
		rc->extent_told |= TOLD_BITS;
		rules_tell(rc, RULE_STATUS_BITS, &about,
			   "extent %" PRIu64 " has the status 0x%" PRIx64 " in base:allocation",
			   n + 1, status);
	}
	if (ext && rc->extent_in_base && status > UINT32_MAX && !(rc->extent_told & TOLD_UPPER)) {
		rc->extent_told |= TOLD_UPPER;
		rules_tell(rc, RULE_STATUS_UPPER, &about,
			   "extent %" PRIu64 " has the status 0x%" PRIx64 " in a context of base:",
			   n + 1, status);
	}
}

/* Of extents that are not the first ones of their chunk those in front, of which there is
 * nothing to tell: how many bytes they take. */
static size_t extents_right(struct rules_connection *rc, uint64_t asked, const uint8_t *data,
			    size_t len, bool ext)
{
	const unsigned size = ext ? NBDS_EXTENT_EXT_LEN : NBDS_EXTENT_LEN;
	const unsigned told = rc->extent_told;
	const uint64_t most = told & TOLD_LONG || !asked ? UINT64_MAX : asked;
	const uint64_t bits =
		(rc->extent_allocation && !(told & TOLD_BITS) ? UINT32_MAX & ~ALLOCATION_BITS : 0) |
		(ext && rc->extent_in_base && !(told & TOLD_UPPER) ? ~(uint64_t)UINT32_MAX : 0);
	uint64_t sum = rc->extent_sum, begin = sum, before = rc->extent_status;
	const uint8_t *p = data;

	for (; len >= size; p += size, len -= size) {
		uint64_t length = ext ? nbds_be64(p) : nbds_be32(p);
		uint64_t status = ext ? nbds_be64(p + 8) : nbds_be32(p + 4);

		if ((!length && !(told & TOLD_EMPTY)) || sum >= most ||
		    (status == before && !(told & TOLD_MERGE)) || (status & bits) ||
		    length > UINT64_MAX - rc->extent_at - (sum - begin))
			break;
		before = status;
		sum += length;
	}
	rc->extents += (uint64_t)(p - data) / size;
	rc->extent_status = before;
	rc->extent_sum = sum;
	rc->extent_at += sum - begin;
	return (size_t)(p - data);
}

void rules_extents(struct rules_connection *rc, const struct nbds_message *m,
		   struct rules_request *q, uint64_t at, const uint8_t *data, size_t len)
{
	bool ext = m->u.chunk.type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
	unsigned size = ext ? NBDS_EXTENT_EXT_LEN : NBDS_EXTENT_LEN;
	const uint64_t asked = m->request->length;

	/* bytes that are missing leave the next extent's place unknown */
	if (at % size != rc->extent_have || at / size != rc->extents)
		rc->extent_followed = false;
	while (len && rc->extent_followed) {
		size_t n = rc->extent_have || !rc->extents
				   ? 0
				   : extents_right(rc, asked, data, len, ext);
		const uint8_t *p;
		uint64_t length, status;

		data += n;
		len -= n;
		n = size - rc->extent_have < len ? size - rc->extent_have : len;
		p = data;
		if (n < size) { /* in several pieces */
			memcpy(rc->extent + rc->extent_have, data, n);
			rc->extent_have += (unsigned)n;
			if (rc->extent_have < size)
				return;
			rc->extent_have = 0;
			p = rc->extent;
		}
		data += n;
		len -= n;
		length = ext ? nbds_be64(p) : nbds_be32(p);
		status = ext ? nbds_be64(p + 8) : nbds_be32(p + 4);
		extent_wrong(rc, m, q, length, status, ext);
		rc->extents++;
		rc->extent_status = status;
		if (length > UINT64_MAX - rc->extent_at) {
			rc->extent_followed = false;
			return;
		}
		rc->extent_sum += length;
		rc->extent_at += length;
	}
}

void rules_status_end(struct rules_connection *rc, const struct nbds_message *m,
		      struct rules_request *q)
{
	const struct nbds_request *r = m->request;
	struct rules_about about = {.at = &m->first, .r = r, .q = q, .needs = RULES_NEEDS_PAIRS};

	if (!rc->extent_followed)
		return;
	/* what a request of no bytes is answered with is not defined */
	if ((r->flags & NBD_CMD_FLAG_REQ_ONE) && !r->ambiguous && r->length &&
	    (rc->extents != 1 || rc->extent_sum > r->length))
		rules_tell(rc, RULE_REQ_ONE, &about,
			   "with NBD_CMD_FLAG_REQ_ONE, %" PRIu64 " extent%s of %" PRIu64
			   " bytes answer%s a request for %" PRIu64,
			   rc->extents, rc->extents == 1 ? "" : "s", rc->extent_sum,
			   rc->extents == 1 ? "s" : "", r->length);
	if (rc->extents > NBDS_EXTENTS_MAX)
		rules_tell(rc, RULE_EXTENTS_MANY, &about, "the reply has %" PRIu64 " extents",
			   rc->extents);
	about.needs |= RULES_NEEDS_HANDSHAKE;
	if (rc->haggled && m->negotiated->export_seen && !rc->resized &&
	    rc->extent_at > m->negotiated->size && !(q->wrong & RULES_BEYOND))
		rules_tell(rc, RULE_STATUS_BEYOND, &about,
			   "the extents reach to 0x%" PRIx64
			   ", beyond the end of the export, 0x%" PRIx64 " (qemu rounds sizes up)",
			   rc->extent_at, m->negotiated->size);
}
