/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Options and their replies (proto.md, "Option types", "Option reply types",
 * "TLS support", "Metadata querying").
 *
 * One option waits for its answer at a time.  A server may answer before it has
 * all of an option's data: its reply is then told before the option, and is held
 * until the client's next message says which of the two it was.  A client that does
 * not wait (O-04) makes it a guess which option an answer belongs to: from then on
 * the rules that rest on that are silent.
 */
#include <inttypes.h>
#include <string.h>

#include <base/bytes.h>

#include "check.h"

#define QUERIES_COMPARED 16u

static const char *option_name(uint32_t number, char buf[NBDS_TEXT_OF_MAX])
{
	return nbds_text_of(&nbds_options, number, buf);
}

static bool is_context_option(uint32_t number)
{
	return number == NBD_OPT_LIST_META_CONTEXT || number == NBD_OPT_SET_META_CONTEXT;
}

static bool is_info_option(uint32_t number)
{
	return number == NBD_OPT_INFO || number == NBD_OPT_GO;
}

/* O-09 */
static void string(struct rules_connection *rc, const struct nbds_message *m, const char *what,
		   const uint8_t *s, size_t len)
{
	const char *wrong = rules_string(s, len, m->flags & NBDS_MSG_CUT);
	struct rules_about about = {.at = &m->first,
				    .command = m->name,
				    .other_side = true,
				    .side = m->from == NBDS_SERVER ? NBDS_FAULT_SERVER
								   : NBDS_FAULT_CLIENT};
	char shown[160];

	if (!wrong)
		return;
	if (m->from == NBDS_SERVER)
		about.request_frame = rc->option.frame;
	rules_shown(s, len, shown, sizeof(shown));
	rules_tell(rc, RULE_STRING, &about, "%s in %s %s: \"%s\"", what, m->name, wrong, shown);
}

/* --- options ------------------------------------------------------------- */

static bool registered(const uint8_t *ns, size_t len)
{
	return (len == 4 && !memcmp(ns, "base", 4)) || (len == 4 && !memcmp(ns, "qemu", 4)) ||
	       (len == 10 && !memcmp(ns, "nbd-server", 10)) || (len > 2 && !memcmp(ns, "x-", 2));
}

/* One query, or the name of one context. True: its namespace is legal. */
static bool namespace_of(struct rules_connection *rc, const struct nbds_message *m,
			 const uint8_t *s, size_t len)
{
	const uint8_t *colon = len ? memchr(s, ':', len) : NULL;
	size_t n = colon ? (size_t)(colon - s) : 0;
	struct rules_about about = {.at = &m->first,
				    .command = m->name,
				    .other_side = true,
				    .side = m->from == NBDS_SERVER ? NBDS_FAULT_SERVER
								   : NBDS_FAULT_CLIENT};
	char shown[120];

	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] == 0x7f)
			return false;
	if (!n)
		return false;
	if (!registered(s, n)) {
		rules_shown(s, n, shown, sizeof(shown));
		rules_tell(rc, RULE_NAMESPACE, &about, "the namespace \"%s\" is not registered",
			   shown);
	}
	return true;
}

static void query(struct rules_connection *rc, const struct nbds_message *m, const uint8_t *s,
		  size_t len)
{
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first, .command = m->name};
	char shown[120];

	string(rc, m, "a query", s, len);
	if (rules_string(s, len, o->cut))
		o->bad_query = true;
	if (!namespace_of(rc, m, s, len)) {
		o->bad_query = true;
		rules_shown(s, len, shown, sizeof(shown));
		rules_tell(
			rc, RULE_QUERY, &about,
			"the query \"%s\" has no namespace that could be told from the rest by a "
			"colon",
			shown);
		return;
	}
	if (len == 5 && !memcmp(s, "base:", 5)) {
		o->base_wildcard = true;
		o->known_query = true;
	} else if (len > 5 && !memcmp(s, "base:", 5)) {
		o->base_named = true;
		if (len == 15 && !memcmp(s, NBD_CONTEXT_BASE_ALLOCATION, 15))
			o->known_query = true;
	} else {
		o->other_query = true;
		if (!memcmp(s, "qemu:", 5) || (len > 11 && !memcmp(s, "nbd-server:", 11)))
			o->known_query = true;
	}
}

static void context_option(struct rules_connection *rc, const struct nbds_message *m,
			   const uint8_t *data, size_t len)
{
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first, .command = m->name};
	uint64_t seen[QUERIES_COMPARED];
	size_t at;

	if (!rc->structured && !rc->extended && (!rc->tls || rc->inside)) {
		about.needs = RULES_NEEDS_HANDSHAKE;
		about.lower = o->number == NBD_OPT_LIST_META_CONTEXT;
		about.level = NBDS_NOTE;
		rules_tell(rc, RULE_CONTEXT_WITHOUT_STRUCTURED, &about,
			   "%s without structured replies: NBD_OPT_STRUCTURED_REPLY was not "
			   "acknowledged before",
			   m->name);
		about.lower = false;
		about.needs = RULES_NEEDS_NOTHING;
	}
	if (o->malformed)
		rules_tell(rc, RULE_CONTEXT_LENGTHS, &about,
			   "the lengths inside %s do not add up to its length, %" PRIu32, m->name,
			   o->length);
	if (len < 8 || nbds_be32(data) > len - 8)
		return;
	at = 4 + (size_t)nbds_be32(data);
	string(rc, m, "the export's name", data + 4, at - 4);
	o->bad_query = rules_string(data + 4, at - 4, o->cut); /* that may be what is refused */
	o->name_hash = rules_hash(data + 4, at - 4);
	o->queries = nbds_be32(data + at);
	at += 4;
	for (uint32_t i = 0; i < o->queries && len - at >= 4; i++) {
		size_t n = nbds_be32(data + at);

		at += 4;
		if (n > len - at)
			break;
		query(rc, m, data + at, n);
		if (i < QUERIES_COMPARED) {
			seen[i] = rules_hash(data + at, n);
			for (uint32_t k = 0; k < i; k++)
				if (seen[k] == seen[i])
					o->repeated_query = true;
		} else {
			o->repeated_query = true; /* as far as is known */
		}
		at += n;
	}
}

static void info_option(struct rules_connection *rc, const struct nbds_message *m,
			const uint8_t *data, size_t len)
{
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first, .command = m->name};
	uint32_t once = 0;
	size_t n, k;

	if (o->malformed)
		rules_tell(rc, RULE_INFO_LENGTHS, &about,
			   "the lengths inside %s do not add up to its length, %" PRIu32, m->name,
			   o->length);
	if (len < 6 || nbds_be32(data) > len - 6)
		return;
	n = nbds_be32(data);
	k = nbds_be16(data + 4 + n);
	string(rc, m, "the export's name", data + 4, n);
	o->name_hash = rules_hash(data + 4, n);
	for (size_t i = 0; i < k && 6 + n + 2 * i + 2 <= len; i++) {
		uint16_t type = nbds_be16(data + 6 + n + 2 * i);
		char name[NBDS_TEXT_OF_MAX];

		if (type == NBD_INFO_BLOCK_SIZE)
			o->asks_block_size = true;
		if (type < 32 && (once & 1u << type)) {
			rules_tell(rc, RULE_INFO_TWICE, &about, "%s asks twice for %s", m->name,
				   nbds_text_of(&nbds_info_types, type, name));
			return;
		}
		if (type < 32)
			once |= 1u << type;
	}
}

/* A reply that no option waited for: was it a fault? */
void rules_settle_early(struct rules_connection *rc, const struct nbds_message *option)
{
	struct rules_about about = {.at = &rc->early_at,
				    .settled = true,
				    .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER};
	char name[NBDS_TEXT_OF_MAX], type[NBDS_TEXT_OF_MAX];

	if (!rc->early)
		return;
	rc->early = false;
	/* the server had seen the option's header, and answered by it alone */
	if (option && option->u.option.option == rc->early_option &&
	    (option->first.frame <= rc->early_at.frame || !rc->early_sure)) {
		rc->option.waits = !rc->early_final;
		rc->option.early = true;
		return;
	}
	if (rc->option_doubt || !rc->early_sure)
		return;
	about.command = nbds_text_of(&nbds_reply_types, rc->early_type, type);
	rules_tell(rc, RULE_REPLY_UNEXPECTED, &about,
		   "%s to %s comes although no option waits for a reply%s", about.command,
		   option_name(rc->early_option, name),
		   rc->early_option == NBD_OPT_LIST
			   ? "; nbd-server lists after refusing a NBD_OPT_LIST that has data"
			   : "");
}

static void may_be_sent(struct rules_connection *rc, const struct nbds_message *m)
{
	struct rules_about about = {.at = &m->first,
				    .command = m->name,
				    .request_frame = rc->option.frame,
				    .needs = RULES_NEEDS_PAIRS | RULES_NEEDS_ORDER};
	uint32_t number = m->u.option.option;
	char name[NBDS_TEXT_OF_MAX];

	if (rc->entered || (rc->option.waits && rc->option.number == NBD_OPT_EXPORT_NAME)) {
		rules_tell(rc, RULE_OPTION_LATE, &about,
			   "%s follows %s, after which there are only requests", m->name,
			   option_name(rc->option.number, name));
		rc->option_doubt = true;
	} else if (rc->option.waits) {
		about.lower = m->first.ack == NBDS_NO_ACK;
		about.level = NBDS_SUSPECT;
		rules_tell(rc, RULE_OPTION_EARLY, &about,
			   "%s is sent before the final reply to %s (frame %" PRIu64 ")", m->name,
			   option_name(rc->option.number, name), rc->option.frame);
		rc->option_doubt = true;
	}
	about.lower = false;
	about.request_frame = rc->shutdown_frame;
	if (rc->shutdown_told && number != NBD_OPT_ABORT && rules_had(&m->first, rc->shutdown_end))
		rules_tell(rc, RULE_AFTER_ERR_SHUTDOWN, &about,
			   "%s is sent after NBD_REP_ERR_SHUTDOWN (frame %" PRIu64
			   ") had been received: only NBD_OPT_ABORT may follow",
			   m->name, rc->shutdown_frame);
}

static void by_flags(struct rules_connection *rc, const struct nbds_message *m)
{
	struct rules_about about = {
		.at = &m->first, .command = m->name, .needs = RULES_NEEDS_HANDSHAKE};
	bool c_fixed = m->negotiated->client_flags & NBD_FLAG_C_FIXED_NEWSTYLE;
	uint32_t number = m->u.option.option;

	if (!rc->greeted || !rc->flags_sent)
		return;
	if (number != NBD_OPT_EXPORT_NAME && !rc->options_seen) {
		if (!rc->fixed)
			rules_tell(rc, RULE_OPTION_NOT_FIXED, &about,
				   "the first option is %s, though the server did not set "
				   "NBD_FLAG_FIXED_NEWSTYLE (0x%04x)",
				   m->name, m->negotiated->handshake_flags);
		else if (!c_fixed)
			rules_tell(
				rc, RULE_C_FIXED_NOT_SET, &about,
				"%s is sent, and NBD_FLAG_C_FIXED_NEWSTYLE was not set, though the "
				"server offers it",
				m->name);
	}
	if (number == NBD_OPT_STARTTLS && !(rc->fixed && c_fixed))
		rules_tell(rc, RULE_STARTTLS_NOT_FIXED, &about,
			   "NBD_OPT_STARTTLS is sent, though %s",
			   rc->fixed ? "the client did not set NBD_FLAG_C_FIXED_NEWSTYLE"
				     : "the server did not set NBD_FLAG_FIXED_NEWSTYLE");
}

void rules_option(struct rules_connection *rc, const struct nbds_message *m)
{
	const uint8_t *data = m->head + NBDS_OPTION_LEN;
	size_t len = m->head_len > NBDS_OPTION_LEN ? m->head_len - NBDS_OPTION_LEN : 0;
	struct rules_about about = {
		.at = &m->first, .command = m->name, .needs = RULES_NEEDS_HANDSHAKE};
	struct rules_option *o = &rc->option;
	uint32_t number = m->u.option.option, length = m->u.option.length;

	may_be_sent(rc, m);
	by_flags(rc, m);
	*o = (struct rules_option){.number = number,
				   .length = length,
				   .waits = true,
				   .malformed = m->flags & NBDS_MSG_MALFORMED,
				   .cut = m->flags & NBDS_MSG_CUT,
				   .frame = m->first.frame,
				   .time = m->first.time,
				   .hash = rules_hash(data, len)};
	rules_settle_early(rc, m);
	if (number != NBD_OPT_GO)
		rc->info_last = false;
	switch (number) {
	case NBD_OPT_EXPORT_NAME:
		string(rc, m, "the export's name", data, len);
		o->name_hash = rules_hash(data, len);
		if (rc->fixed && !rc->go_tried)
			rules_tell(rc, RULE_EXPORT_NAME_FIRST, &about,
				   "NBD_OPT_EXPORT_NAME is used, and NBD_OPT_GO was not tried");
		if (rc->info_block_size && !rc->go_tried)
			rules_tell(
				rc, RULE_EXPORT_NAME_AFTER_INFO, &about,
				"NBD_OPT_EXPORT_NAME is used after NBD_OPT_INFO had shown block sizes: "
				"they are not negotiated so");
		if (rc->extended)
			rules_tell(rc, RULE_EXTENDED_EXPORT_NAME, &about,
				   "NBD_OPT_EXPORT_NAME is used after NBD_OPT_EXTENDED_HEADERS was "
				   "acknowledged");
		break;
	case NBD_OPT_ABORT:
		rc->aborted = true;
		if (length)
			rules_tell(rc, RULE_ABORT_DATA, &about,
				   "NBD_OPT_ABORT is sent with %" PRIu32 " bytes of data", length);
		break;
	case NBD_OPT_LIST:
	case NBD_OPT_STARTTLS:
	case NBD_OPT_STRUCTURED_REPLY:
	case NBD_OPT_EXTENDED_HEADERS:
		about.needs = RULES_NEEDS_NOTHING;
		if (length)
			rules_tell(rc, RULE_OPTION_DATA, &about,
				   "%s is sent with %" PRIu32 " bytes of data, and has none",
				   m->name, length);
		about.needs = RULES_NEEDS_HANDSHAKE;
		if ((number == NBD_OPT_STRUCTURED_REPLY && rc->structured) ||
		    (number == NBD_OPT_EXTENDED_HEADERS && rc->extended))
			rules_tell(rc, RULE_OPTION_AGAIN, &about,
				   "%s is sent again, and had been acknowledged", m->name);
		if (number == NBD_OPT_STARTTLS && rc->stateful)
			rules_tell(
				rc, RULE_STARTTLS_LATE, &about,
				"NBD_OPT_STARTTLS comes after options that changed the server's state, "
				"which it makes void");
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		rc->go_tried |= number == NBD_OPT_GO;
		info_option(rc, m, data, len);
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		if (number == NBD_OPT_SET_META_CONTEXT) {
			rc->set_repeated = rc->contexts_set;
			rc->contexts_set = true;
			rc->contexts_over = false;
		}
		rc->new_contexts = 0;
		rc->new_base = rc->new_allocation = 0;
		context_option(rc, m, data, len);
		break;
	default:
		break;
	}
	rc->options_seen = true;
}

/* --- replies ------------------------------------------------------------- */

/* O-06 */
static bool type_fits(uint32_t number, uint32_t type)
{
	switch (type) {
	case NBD_REP_ACK:
		return true;
	case NBD_REP_SERVER:
		return number == NBD_OPT_LIST || number == NBD_OPT_PEEK_EXPORT;
	case NBD_REP_INFO:
		return is_info_option(number);
	case NBD_REP_META_CONTEXT:
		return is_context_option(number);
	default:
		return type & NBD_REP_FLAG_ERROR;
	}
}

static void info_export(struct rules_connection *rc, const struct nbds_message *m,
			const uint8_t *data)
{
	rules_transmission_flags(rc, &m->first, nbds_be16(data + 10));
	if (rc->option.number == NBD_OPT_GO)
		rc->size_seen = true;
}

static bool power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

static void info_block_size(struct rules_connection *rc, const struct nbds_message *m,
			    const uint8_t *data)
{
	struct rules_about about = {
		.at = &m->first, .command = m->name, .request_frame = rc->option.frame};
	uint32_t min = nbds_be32(data + 2), preferred = nbds_be32(data + 6),
		 max = nbds_be32(data + 10);

	rc->minimum = min;
	rc->preferred = preferred;
	rc->maximum = max;
	if (!power_of_two(min) || min > NBDS_BLOCK_MIN_LIMIT)
		rules_tell(rc, RULE_BLOCK_MINIMUM, &about,
			   "the minimum block size is %" PRIu32
			   ", and must be a power of two from 1 to "
			   "65536",
			   min);
	if (!power_of_two(preferred) || preferred < min || preferred < NBDS_BLOCK_MIN_INTEROP)
		rules_tell(rc, RULE_BLOCK_PREFERRED, &about,
			   "the preferred block size is %" PRIu32
			   ", and must be a power of two, at least 512 and the minimum, %" PRIu32,
			   preferred, min);
	if (max < preferred)
		rules_tell(rc, RULE_BLOCK_MAXIMUM, &about,
			   "the maximum payload is %" PRIu32
			   ", less than the preferred block size, %" PRIu32,
			   max, preferred);
}

static void reply_info(struct rules_connection *rc, const struct nbds_message *m,
		       const uint8_t *data, size_t len)
{
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first, .command = m->name, .request_frame = o->frame};
	uint32_t length = m->u.option_reply.length;
	char name[NBDS_TEXT_OF_MAX];
	uint16_t type;
	bool wrong;

	if (m->flags & NBDS_MSG_CUT)
		return;
	if (length < 2) {
		rules_tell(rc, RULE_INFO_LENGTH, &about,
			   "NBD_REP_INFO has length %" PRIu32 ", too short for a type", length);
		return;
	}
	type = nbds_be16(data);
	wrong = (type == NBD_INFO_EXPORT && length != NBDS_INFO_EXPORT_LEN) ||
		(type == NBD_INFO_BLOCK_SIZE && length != NBDS_INFO_BLOCK_SIZE_LEN);
	if (wrong)
		rules_tell(rc, RULE_INFO_LENGTH, &about,
			   "NBD_REP_INFO with %s has length %" PRIu32 ", and must have %d",
			   nbds_text_of(&nbds_info_types, type, name), length,
			   type == NBD_INFO_EXPORT ? NBDS_INFO_EXPORT_LEN
						   : NBDS_INFO_BLOCK_SIZE_LEN);
	o->info_hash += rules_hash(data, len);
	if (type < 16 && (o->infos & 1u << type)) {
		about.needs = RULES_NEEDS_PAIRS;
		if (!rc->option_doubt)
			rules_tell(rc, RULE_INFO_REPEATED, &about,
				   "%s is sent twice in answer to %s",
				   nbds_text_of(&nbds_info_types, type, name),
				   o->number == NBD_OPT_GO ? "NBD_OPT_GO" : "NBD_OPT_INFO");
	}
	if (type < 16)
		o->infos |= (uint16_t)(1u << type);
	if (wrong)
		return;
	if (type == NBD_INFO_EXPORT)
		info_export(rc, m, data);
	else if (type == NBD_INFO_BLOCK_SIZE)
		info_block_size(rc, m, data);
	else if (type == NBD_INFO_NAME || type == NBD_INFO_DESCRIPTION)
		string(rc, m, type == NBD_INFO_NAME ? "the name" : "the description", data + 2,
		       len - 2);
}

static void reply_server(struct rules_connection *rc, const struct nbds_message *m,
			 const uint8_t *data, size_t len)
{
	struct rules_about about = {
		.at = &m->first, .command = m->name, .request_frame = rc->option.frame};
	uint32_t n;

	if (m->flags & NBDS_MSG_CUT)
		return;
	if (len < 4) {
		rules_tell(rc, RULE_SERVER_NAME, &about,
			   "NBD_REP_SERVER has %zu bytes, too few for the length of the name", len);
		return;
	}
	n = nbds_be32(data);
	if (n > len - 4) {
		rules_tell(
			rc, RULE_SERVER_NAME, &about,
			"the name in NBD_REP_SERVER is said to have %" PRIu32
			" bytes, of which only %zu fit into the reply (is the name's length missing "
			"before it, as in xapi's and tokio's servers?)",
			n, len - 4);
		return;
	}
	string(rc, m, "the name", data + 4, n);
	if (rc->option.number == NBD_OPT_LIST)
		string(rc, m, "the description", data + 4 + n, len - 4 - n);
}

static void reply_context(struct rules_connection *rc, const struct nbds_message *m,
			  const uint8_t *data, size_t len)
{
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first, .command = m->name, .request_frame = o->frame};
	bool set = o->number == NBD_OPT_SET_META_CONTEXT, base;
	const uint8_t *name = data + 4;
	uint64_t hash;
	uint32_t id;
	char shown[120];

	if ((m->flags & NBDS_MSG_CUT) || len < 4)
		return;
	id = nbds_be32(data);
	len -= 4;
	string(rc, m, "the context's name", name, len);
	rules_shown(name, len, shown, sizeof(shown));
	if (!memchr(name, ':', len))
		rules_tell(rc, RULE_CONTEXT_NAME, &about,
			   "the context is called \"%s\", which has no namespace", shown);
	base = len > 5 && !memcmp(name, "base:", 5);
	about.needs = RULES_NEEDS_PAIRS;
	if (rc->option_doubt || !o->waits || o->cut || o->malformed)
		return;
	o->contexts++;
	o->base_contexts += base;
	if (!set) {
		if (id)
			rules_tell(rc, RULE_LIST_ID, &about,
				   "NBD_OPT_LIST_META_CONTEXT returns \"%s\" with id %" PRIu32,
				   shown, id);
		if (base && o->queries && !o->base_wildcard && !o->base_named)
			rules_tell(rc, RULE_CONTEXT_UNASKED, &about,
				   "\"%s\" is returned, and no query is for base:", shown);
		return;
	}
	if (!o->queries)
		rules_tell(rc, RULE_CONTEXTS_UNASKED, &about,
			   "NBD_OPT_SET_META_CONTEXT has no query, and \"%s\" is selected", shown);
	else if (base && o->base_wildcard && !o->base_named)
		rules_tell(rc, RULE_BASE_WILDCARD, &about,
			   "the query \"base:\" selects \"%s\": it must not select anything",
			   shown);
	else if (base && !o->base_named)
		rules_tell(rc, RULE_CONTEXT_UNASKED, &about,
			   "\"%s\" is returned, and no query is for base:", shown);
	if (rc->new_contexts == RULES_CONTEXTS) {
		rc->contexts_over = true;
		return;
	}
	hash = rules_hash(name, len);
	for (unsigned i = 0; i < rc->new_contexts && !o->repeated_query; i++) {
		if (rc->new_context[i] != id && rc->new_names[i] != hash)
			continue;
		rules_tell(rc, RULE_CONTEXT_TWICE, &about,
			   rc->new_names[i] == hash
				   ? "\"%s\" is returned twice in one answer (id %" PRIu32 ")"
				   : "\"%s\" is returned with id %" PRIu32
				     ", which another context has",
			   shown, id);
		break;
	}
	if (base)
		rc->new_base |= 1u << rc->new_contexts;
	if (len == 15 && !memcmp(name, NBD_CONTEXT_BASE_ALLOCATION, 15))
		rc->new_allocation |= 1u << rc->new_contexts;
	rc->new_context[rc->new_contexts] = id;
	rc->new_names[rc->new_contexts++] = hash;
}

/* Modes of TLS, as the answers show them (O-47 to O-50). */
static void tls_modes(struct rules_connection *rc, const struct nbds_message *m, uint32_t type)
{
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first,
				    .command = m->name,
				    .request_frame = o->frame,
				    .needs = RULES_NEEDS_PAIRS};
	bool other = !is_info_option(o->number) && o->number != NBD_OPT_STARTTLS &&
		     o->number != NBD_OPT_ABORT;
	char name[NBDS_TEXT_OF_MAX];

	/* inside nothing is demanded any more, and nothing is in clear */
	if (rc->inside && type != NBD_REP_ERR_TLS_REQD)
		return;
	if (type == NBD_REP_ERR_TLS_REQD) {
		if (o->infos) {
			about.lower = !rc->tls_required_all;
			about.level = NBDS_NOTE;
			rules_tell(rc, RULE_INFO_BEFORE_TLS, &about,
				   "NBD_REP_INFO was sent in clear, and then NBD_REP_ERR_TLS_REQD");
			about.lower = false;
		}
		if (rc->starttls_refused)
			rules_tell(
				rc, RULE_TLS_REQUIRED_WITHOUT, &about,
				"%s is answered with NBD_REP_ERR_TLS_REQD by a server that had refused "
				"NBD_OPT_STARTTLS",
				option_name(o->number, name));
		rc->tls_required = true;
		rc->tls_required_all |= other;
	}
	if (type == NBD_REP_ACK && other)
		rc->answered_clear = true;
	if (rc->answered_clear && rc->tls_required_all && !rc->tls_mode_told && other &&
	    (type == NBD_REP_ACK || type == NBD_REP_ERR_TLS_REQD)) {
		rc->tls_mode_told = true;
		rules_tell(rc, RULE_TLS_SELECTIVE, &about,
			   "%s is %s, while the server %s other options than NBD_OPT_INFO and "
			   "NBD_OPT_GO",
			   option_name(o->number, name),
			   type == NBD_REP_ACK ? "acknowledged in clear"
					       : "answered with NBD_REP_ERR_TLS_REQD",
			   type == NBD_REP_ACK ? "demands TLS for" : "acknowledged in clear");
	}
	if (type == NBD_REP_ACK && o->number == NBD_OPT_GO && rc->tls_required_all)
		rules_tell(
			rc, RULE_TLS_NOT_FORCED, &about,
			"NBD_OPT_GO succeeds in clear, though the server demands TLS for other options");
	if (o->number == NBD_OPT_STARTTLS && (type & NBD_REP_FLAG_ERROR)) {
		if (rc->tls_required && !rc->starttls_refused && !o->length &&
		    type != NBD_REP_ERR_SHUTDOWN)
			rules_tell(
				rc, RULE_STARTTLS_REFUSED, &about,
				"NBD_OPT_STARTTLS is answered with %s by a server that demands TLS",
				m->name);
		if (!o->length && (type == NBD_REP_ERR_UNSUP || type == NBD_REP_ERR_POLICY))
			rc->starttls_refused = true;
	}
}

static bool acceptable(uint32_t type)
{
	return type == NBD_REP_ERR_UNSUP || type == NBD_REP_ERR_POLICY ||
	       type == NBD_REP_ERR_TLS_REQD || type == NBD_REP_ERR_SHUTDOWN || type == NBD_REP_ACK;
}

static void final_context(struct rules_connection *rc, const struct nbds_message *m, uint32_t type,
			  struct rules_about *about)
{
	struct rules_option *o = &rc->option;
	bool set = o->number == NBD_OPT_SET_META_CONTEXT;

	if (type == NBD_REP_ACK && o->malformed)
		rules_tell(rc, RULE_CONTEXT_LENGTHS_ACCEPTED, about,
			   "%s with lengths that do not fit is acknowledged",
			   set ? "NBD_OPT_SET_META_CONTEXT" : "NBD_OPT_LIST_META_CONTEXT");
	if (type == NBD_REP_ACK && set && !rc->structured && !rc->extended)
		rules_tell(
			rc, RULE_CONTEXT_NOT_REFUSED, about,
			"NBD_OPT_SET_META_CONTEXT is acknowledged, and structured replies were not "
			"negotiated");
	if (type == NBD_REP_ERR_INVALID && o->queries == 1 && !o->known_query && !o->bad_query &&
	    !o->malformed && !o->cut && (rc->structured || rc->extended) &&
	    !(set && rc->set_repeated)) {
		/* of a namespace that it knows it may refuse a leaf that it does not */
		about->lower = !o->base_named;
		about->level = NBDS_SUSPECT;
		rules_tell(
			rc, RULE_CONTEXT_REFUSED, about,
			"NBD_REP_ERR_INVALID answers a query that is well formed and of a context "
			"that the server does not know%s: such queries are to be ignored",
			about->lower ? " (unless it knows that namespace)" : "");
		about->lower = false;
	}
	if (type == NBD_REP_ERR_TOO_BIG && !set && !o->queries && !o->malformed)
		rules_tell(rc, RULE_LIST_TOO_BIG, about,
			   "NBD_OPT_LIST_META_CONTEXT without queries is answered with "
			   "NBD_REP_ERR_TOO_BIG");
	if (type == NBD_REP_ERR_EXT_HEADER_REQD &&
	    (rc->extended ||
	     /* without either it is a right answer to whatever is queried */
	     (rc->structured && (o->base_named || o->base_wildcard) && !o->other_query &&
	      !o->bad_query && !o->malformed && !o->cut)))
		rules_tell(rc, RULE_EXTENDED_REQUIRED, about,
			   "NBD_REP_ERR_EXT_HEADER_REQD, though %s",
			   rc->extended ? "extended headers are negotiated"
					: "only contexts in base: are queried");
	if (!set)
		return;
	/* success replaces the selection, failure clears it */
	rc->contexts = 0;
	rc->context_base = rc->context_allocation = 0;
	rc->contexts_export = o->name_hash;
	if (type == NBD_REP_ACK) {
		memcpy(rc->context, rc->new_context, sizeof(rc->context));
		rc->contexts = rc->new_contexts;
		rc->context_base = rc->new_base;
		rc->context_allocation = rc->new_allocation;
		rc->stateful = true;
	}
	(void)m;
}

static void final_info(struct rules_connection *rc, const struct nbds_message *m, uint32_t type,
		       struct rules_about *about)
{
	struct rules_option *o = &rc->option;
	bool go = o->number == NBD_OPT_GO, sizes = o->infos & 1u << NBD_INFO_BLOCK_SIZE;
	const struct nbds_negotiated *n = m->negotiated;

	if (type == NBD_REP_ERR_UNKNOWN && o->infos)
		rules_tell(rc, RULE_INFO_BEFORE_UNKNOWN, about,
			   "NBD_REP_INFO was sent, and then NBD_REP_ERR_UNKNOWN");
	if (type == NBD_REP_ERR_BLOCK_SIZE_REQD) {
		if (o->asks_block_size)
			rules_tell(rc, RULE_BLOCK_SIZE_REQUIRED, about,
				   "NBD_REP_ERR_BLOCK_SIZE_REQD answers an option that asks for "
				   "NBD_INFO_BLOCK_SIZE");
		else if (!sizes && !o->early)
			rules_tell(
				rc, RULE_BLOCK_SIZE_UNTOLD, about,
				"NBD_REP_ERR_BLOCK_SIZE_REQD comes without NBD_INFO_BLOCK_SIZE before "
				"it");
	}
	if (type == NBD_REP_ERR_UNSUP && go && rc->extended)
		rules_tell(rc, RULE_EXTENDED_GO, about,
			   "NBD_OPT_GO is answered with NBD_REP_ERR_UNSUP, though "
			   "NBD_OPT_EXTENDED_HEADERS was acknowledged");
	if (type != NBD_REP_ACK)
		return;
	if (!(o->infos & 1u << NBD_INFO_EXPORT) && !o->early)
		rules_tell(rc, RULE_GO_WITHOUT_EXPORT, about,
			   "%s is acknowledged without NBD_INFO_EXPORT",
			   go ? "NBD_OPT_GO" : "NBD_OPT_INFO");
	if (go && rc->info_last && !o->early && rc->info_data == o->hash &&
	    rc->info_answer != o->info_hash)
		rules_tell(
			rc, RULE_INFO_GO_DIFFER, about,
			"NBD_OPT_GO is answered with other information than NBD_OPT_INFO, with the "
			"same data, right before it (frame %" PRIu64 ")",
			rc->info_frame);
	rc->info_last = !go && !o->early;
	rc->info_data = o->hash;
	rc->info_answer = o->info_hash;
	rc->info_frame = o->frame;
	if (!go) {
		rc->info_block_size |= sizes && o->asks_block_size;
		return;
	}
	rc->sizes_told = sizes;
	rc->sizes_asked = o->asks_block_size;
	rc->bound = sizes && o->asks_block_size;
	if (sizes && n->export_seen && rc->minimum > 1 && n->size % rc->minimum)
		rules_tell(rc, RULE_SIZE_UNALIGNED, about,
			   "the export has %" PRIu64
			   " bytes, no multiple of the minimum block size, "
			   "%" PRIu32,
			   n->size, rc->minimum);
	if (sizes && n->export_seen && rc->maximum >= rc->preferred &&
	    rc->maximum < NBDS_PAYLOAD_MAX_LEAST && n->size >= NBDS_PAYLOAD_MAX_LEAST) {
		about->lower = true;
		about->level = NBDS_NOTE;
		rules_tell(rc, RULE_BLOCK_MAXIMUM, about,
			   "the maximum payload is %" PRIu32 ", and should be 1 MiB or more",
			   rc->maximum);
		about->lower = false;
	}
}

static void final_reply(struct rules_connection *rc, const struct nbds_message *m, uint32_t type)
{
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first,
				    .command = m->name,
				    .request_frame = o->frame,
				    .needs = RULES_NEEDS_PAIRS};
	char name[NBDS_TEXT_OF_MAX];

	o->waits = false;
	if (type == NBD_REP_ERR_SHUTDOWN && !rc->shutdown_told) {
		rc->shutdown_told = true;
		rc->shutdown_end = m->offset + m->head_len + m->payload_len;
		rc->shutdown_frame = m->first.frame;
	}
	if (type != NBD_REP_ACK && !nbds_name_of(&nbds_options, o->number) && !acceptable(type))
		rules_tell(rc, RULE_OPTION_UNKNOWN, &about,
			   "%s, which is not defined, is answered with %s, not NBD_REP_ERR_UNSUP",
			   option_name(o->number, name), m->name);
	if (type == NBD_REP_ERR_UNSUP &&
	    (is_info_option(o->number) || o->number == NBD_OPT_LIST || o->number == NBD_OPT_ABORT))
		rules_tell(
			rc, RULE_BASELINE, &about,
			"%s is not supported; servers older than the option are qemu before 2.10, "
			"nbdkit before 1.5.3, nbd-server before 3.16",
			option_name(o->number, name));
	tls_modes(rc, m, type);
	switch (o->number) {
	case NBD_OPT_LIST:
	case NBD_OPT_STARTTLS:
	case NBD_OPT_STRUCTURED_REPLY:
	case NBD_OPT_EXTENDED_HEADERS:
		if (o->length && type == NBD_REP_ACK)
			rules_tell(rc, RULE_OPTION_DATA_ACCEPTED, &about,
				   "%s with %" PRIu32 " bytes of data is acknowledged",
				   option_name(o->number, name), o->length);
		if (type != NBD_REP_ACK)
			break;
		if (o->number == NBD_OPT_STRUCTURED_REPLY) {
			if (rc->extended)
				rules_tell(
					rc, RULE_STRUCTURED_AFTER_EXTENDED, &about,
					"NBD_OPT_STRUCTURED_REPLY is acknowledged, though extended headers "
					"were negotiated");
			rc->structured = rc->stateful = true;
		} else if (o->number == NBD_OPT_EXTENDED_HEADERS) {
			rc->extended = rc->stateful = true;
		} else if (o->number == NBD_OPT_STARTTLS) {
			rc->tls = true;
		}
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		final_info(rc, m, type, &about);
		if (o->number == NBD_OPT_GO && type == NBD_REP_ACK)
			rules_entered(rc, m);
		break;
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		final_context(rc, m, type, &about);
		break;
	default:
		break;
	}
}

void rules_option_reply(struct rules_connection *rc, const struct nbds_message *m)
{
	const uint8_t *data = m->head + NBDS_OPTION_REPLY_LEN;
	size_t len = m->head_len > NBDS_OPTION_REPLY_LEN ? m->head_len - NBDS_OPTION_REPLY_LEN : 0;
	uint32_t type = m->u.option_reply.type, number = m->u.option_reply.option;
	uint32_t length = m->u.option_reply.length;
	struct rules_option *o = &rc->option;
	struct rules_about about = {.at = &m->first, .command = m->name, .request_frame = o->frame};
	bool final = m->flags & NBDS_MSG_FINAL, mine;
	char name[NBDS_TEXT_OF_MAX], echo[NBDS_TEXT_OF_MAX];

	if (type == NBD_REP_ACK && length)
		rules_tell(rc, RULE_ACK_DATA, &about,
			   "NBD_REP_ACK to %s has %" PRIu32 " bytes of data, and must have none",
			   option_name(number, echo), length);
	if ((type & NBD_REP_FLAG_ERROR) && len)
		string(rc, m, "the text", data, len);
	about.needs = RULES_NEEDS_HANDSHAKE;
	if (rc->greeted && !rc->fixed && !rc->options_seen)
		return;
	if (rc->greeted && !rc->fixed && !rc->replies_told) {
		rc->replies_told = true;
		rules_tell(rc, RULE_REPLIES_NOT_FIXED, &about,
			   "%s is sent, though the server did not set NBD_FLAG_FIXED_NEWSTYLE",
			   m->name);
	}
	if (o->waits && o->number == NBD_OPT_EXPORT_NAME && number == NBD_OPT_EXPORT_NAME) {
		about.needs |= RULES_NEEDS_PAIRS;
		rules_tell(
			rc, RULE_EXPORT_NAME_REPLY, &about,
			"NBD_OPT_EXPORT_NAME is answered by an option reply, %s; a server that does not "
			"want to serve must close the connection",
			m->name);
		o->waits = false;
		rc->closing = true;
		return;
	}
	mine = o->waits && !rc->option_doubt;
	about.needs = RULES_NEEDS_PAIRS;
	if (o->waits && !rc->option_doubt && number != o->number) {
		uint32_t swapped = number >> 24 | (number >> 8 & 0xff00) | (number & 0xff00) << 8 |
				   number << 24;

		rules_tell(rc, RULE_OPTION_ECHO, &about,
			   "%s is answered by a reply that names %s (0x%08" PRIx32 ")%s",
			   option_name(o->number, name), option_name(number, echo), number,
			   swapped == o->number
				   ? "; sent little-endian, as nbd-server did up to version 3.5"
				   : "");
		mine = swapped == o->number;
		if (!mine && final) {
			o->waits = false;
			return;
		}
	} else if (!o->waits && !rc->option_doubt) {
		if (!rc->early) {
			rc->early = true;
			rc->early_sure = rules_informed(rc, &m->first);
			rc->early_option = number;
			rc->early_type = type;
			rc->early_at = m->first;
		}
		rc->early_final = final;
	}
	if (mine && !type_fits(o->number, type))
		rules_tell(rc, RULE_REPLY_TYPE, &about, "%s is no reply to %s", m->name,
			   option_name(o->number, name));
	if (mine)
		o->replies++;
	if (type == NBD_REP_SERVER)
		reply_server(rc, m, data, len);
	else if (type == NBD_REP_INFO)
		reply_info(rc, m, data, len);
	else if (type == NBD_REP_META_CONTEXT)
		reply_context(rc, m, data, len);
	if (mine && final) {
		final_reply(rc, m, type);
	} else if (final && rc->option_doubt) {
		/* what was negotiated still counts, whichever option it was */
		o->waits = false;
		if (type == NBD_REP_ACK && number == NBD_OPT_STRUCTURED_REPLY)
			rc->structured = true;
		if (type == NBD_REP_ACK && number == NBD_OPT_EXTENDED_HEADERS)
			rc->extended = true;
		if (type == NBD_REP_ACK && number == NBD_OPT_GO)
			rules_entered(rc, m);
	}
}

/* The transmission phase begins. */
void rules_entered(struct rules_connection *rc, const struct nbds_message *m)
{
	(void)m;
	rules_settle_early(rc, NULL);
	rc->entered = true;
	rc->entered_export = rc->option.name_hash;
	rc->haggled = rc->c->from_start && rc->greeted && rc->based && !rc->lost[0] &&
		      !rc->lost[1] && !rc->nonsense[0] && !rc->nonsense[1] && !rc->option_doubt;
	if (!rc->haggled)
		rc->bound = false;
}
