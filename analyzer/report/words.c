/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * words.c - what the engine's numbers and codes are called. See words.h.
 */
#include "words.h"

#include <string.h>

#include <nbdscope/decoder.h>

const char *const nbds_trouble_words[] = {
	[NBDS_TROUBLE_LOST] = "lost",
	[NBDS_TROUBLE_NONSENSE] = "nonsense",
	[NBDS_TROUBLE_SKIPPED] = "skipped",
	[NBDS_TROUBLE_SURE] = "sure from here",
	[NBDS_TROUBLE_TLS] = "TLS",
	[NBDS_TROUBLE_FORGOT] = "forgot",
	[NBDS_TROUBLE_AFTER_END] = "after the end",
	[NBDS_TROUBLE_TRAILING] = "unfinished",
};

const char *const nbds_role_words[NBDS_ROLE_MAX] = {
	[NBDS_ROLE_EARLIER_READ] = "older read", [NBDS_ROLE_STALE_WRITE] = "older write",
	[NBDS_ROLE_WRITE_REQUEST] = "write",     [NBDS_ROLE_WRITE] = "write reply",
	[NBDS_ROLE_FLUSH_REQUEST] = "flush",     [NBDS_ROLE_FLUSH] = "flush reply",
	[NBDS_ROLE_READ_REQUEST] = "read",       [NBDS_ROLE_READ] = "read reply",
	[NBDS_ROLE_REQUEST] = "request",         [NBDS_ROLE_MESSAGE] = "message",
};

/* In the order in which reports have them. */
static const struct {
	const char *reason, *words;
} unchecked[] = {
	{"contents-unknown", "nothing in the capture had written there before"},
	{"trimmed", "trimmed before, so that any contents are legal"},
	{"failed-write", "a write there had failed or was never answered"},
	{"partial-sector", "less than a whole 512-byte sector was written or read"},
	{"payload-not-captured", "the data is missing from the capture"},
	{"gap-may-hide-write", "a gap in the capture may hide a write"},
	{"concurrent-writes", "writes at the same time may have been mixed"},
	{"unflushed-write",
	 "a write there was not flushed for this reader, and what was there before is "
	 "not known"},
	{"flush-failed", "a flush had failed or was never answered"},
	{"forgotten", "forgotten to stay within the memory limit"},
	{"read-failed", "the read failed or was never answered"},
	{"illegal-request", "the request itself was not legal"},
	{"order-not-trustworthy", "the order of capture cannot be trusted there"},
};

const char *nbds_unchecked_reason(size_t place)
{
	return place < sizeof(unchecked) / sizeof(unchecked[0]) ? unchecked[place].reason : NULL;
}

const char *nbds_unchecked_words(const char *reason)
{
	for (size_t i = 0; i < sizeof(unchecked) / sizeof(unchecked[0]); i++)
		if (!strcmp(unchecked[i].reason, reason))
			return unchecked[i].words;
	return reason;
}

const char *nbds_unchecked_needs(const char *reason)
{
	static const struct {
		const char *reason, *words;
	} table[] = {
		{"contents-unknown",
		 "a completed write, or an earlier read, of these bytes in the capture"},
		{"trimmed", "a completed write after the trim"},
		{"failed-write", "a completed write that began after the one that failed"},
		{"partial-sector", "a write of whole 512-byte sectors"},
		{"payload-not-captured", "the whole packets: capture without a snapshot length "
					 "(tcpdump -s0), and without losses"},
		{"gap-may-hide-write", "a capture without the gap, or that begins after it"},
		{"concurrent-writes", "a completed write after both, with nothing at its side"},
		{"unflushed-write",
		 "a flush, or FUA, between that write and the read, of an export "
		 "with CAN_MULTI_CONN; or both on one connection"},
		{"flush-failed", "a completed write after the flush that failed"},
		{"forgotten", "more memory (--memory)"},
		{"read-failed", "an answer without error"},
		{"illegal-request", "a request that the protocol allows"},
		{"order-not-trustworthy", "one place of capture, with one clock"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strcmp(table[i].reason, reason))
			return table[i].words;
	return "";
}
