/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/rules/rules.h - the rules by number, for those who report them.
 *
 * nbds_rules[] (nbdscope/finding.h) is in this order.
 */
#ifndef NBDS_RULES_H
#define NBDS_RULES_H

#include <nbdscope/finding.h>

enum nbds_rule_id {
	RULE_STALE_AFTER_FLUSH,
	RULE_STALE_AFTER_FUA,
	RULE_ZEROES_NOT_READ_BACK,
	RULE_STALE_OWN_WRITE,
	RULE_ZERO_STATUS,
	RULE_REPLY_BEFORE_PAYLOAD,
	RULE_READ_ONLY,
	RULE_UNSTABLE_READ,
	RULE_UNEXPLAINED,
	RULE_UNORDERED,
	RULE_LOST_AFTER_RECONNECT,
	RULE_STALE_UNFLUSHED,
	RULE_STALE_NO_MULTI_CONN,
	RULE_MULTIPLEX,
	RULE_FLUSH_MISSES,
	RULE_FLUSH_EARLY,
	RULE_UNFLUSHED_END,
	RULE_FLUSH_FAILED,
	RULE_REISSUED,
	RULE_OVERLAP,
	RULE_FLAGS_DIFFER,
	RULE_BIT_8,
/* the rules of the protocol */
#define RULE(id, ...) RULE_##id,
#define UNRULED(...)
#include "all.def"
#undef RULE
#undef UNRULED
	RULE_COUNT
};

static inline const struct nbds_rule *rule_get(enum nbds_rule_id id)
{
	return &nbds_rules[id];
}

#endif
