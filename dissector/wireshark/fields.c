/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fields.c - what the plugin shows things with: fields, trees and expert infos, made
 * from the decoder's table and the rules.
 *
 * Of the fields of the adopted protocol (register.c) those are taken over that can hold
 * what ours do.  The others are added.  Two fields of one name are no trouble as long as
 * only one of them is ever used: filters are compiled for the one that was registered
 * last, which is ours.
 */
#include "shark.h"

#include <string.h>

int nbds_shark_proto = -1;
int nbds_shark_proto_tcp = -1;
int *nbds_shark_hf;
int nbds_shark_gen[SF_COUNT];
int nbds_shark_ett[ST_COUNT];
expert_field nbds_shark_ei[SE_COUNT];
dissector_handle_t nbds_shark_handle;
dissector_handle_t nbds_shark_tls;
int nbds_shark_tap = -1;

/* --- fields --- */

/* The kind of value that Wireshark keeps for a field: fields of one kind can
 * stand for each other. */
static enum ftenum kind_of(enum ftenum type)
{
	switch (type) {
	case FT_UINT8:
	case FT_UINT16:
	case FT_UINT24:
	case FT_UINT32:
		return FT_UINT32;
	default:
		return type;
	}
}

/* A field of the adopted protocol that can hold what `wanted` does, or NULL. */
static header_field_info *adopt(const header_field_info *wanted)
{
	header_field_info *hf = proto_registrar_get_byname(wanted->abbrev);

	while (hf) {
		if (hf->parent == nbds_shark_proto && kind_of(hf->type) == kind_of(wanted->type) &&
		    hf->bitmask == wanted->bitmask)
			return hf;
		hf = hf->same_name_prev_id < 0
			     ? NULL
			     : proto_registrar_get_nth((unsigned)hf->same_name_prev_id);
	}
	return NULL;
}

/* An adopted field learns the names that it lacks. */
static void teach(header_field_info *hf, const header_field_info *wanted)
{
	bool plain = !(hf->display & ~FIELD_DISPLAY_E_MASK);

	if (wanted->strings && hf->type != FT_BOOLEAN && plain) {
		hf->strings = wanted->strings;
		hf->display |= wanted->display & BASE_VAL64_STRING;
	}
	if (wanted->type == FT_BOOLEAN)
		hf->name = wanted->name;
}

/* Bits are called what the specification calls them, which their line begins
 * with. */
static const char *bit_name(const struct nbds_field_info *info)
{
	const char *end = strchr(info->what, ':');

	if (!end || !g_str_has_prefix(info->what, "NBD_"))
		return info->label;
	return wmem_strndup(wmem_epan_scope(), info->what, (size_t)(end - info->what));
}

/* Names of values as Wireshark wants them. */
static const void *value_names(const struct nbds_field_info *info)
{
	size_t n = info->values_count;

	if (info->type == NBDS_FT_UINT64) {
		val64_string *list = wmem_alloc0_array(wmem_epan_scope(), val64_string, n + 1);

		for (size_t i = 0; i < n; i++) {
			list[i].value = info->values[i].value;
			list[i].strptr = info->values[i].name;
		}
		return list;
	}
	value_string *list = wmem_alloc0_array(wmem_epan_scope(), value_string, n + 1);

	for (size_t i = 0; i < n; i++) {
		list[i].value = (uint32_t)info->values[i].value;
		list[i].strptr = info->values[i].name;
	}
	return list;
}

static header_field_info describe(const struct nbds_field_info *info)
{
	static const enum ftenum types[] = {
		[NBDS_FT_UINT8] = FT_UINT8,     [NBDS_FT_UINT16] = FT_UINT16,
		[NBDS_FT_UINT32] = FT_UINT32,   [NBDS_FT_UINT64] = FT_UINT64,
		[NBDS_FT_BOOLEAN] = FT_BOOLEAN, [NBDS_FT_STRING] = FT_STRING,
		[NBDS_FT_BYTES] = FT_BYTES,
	};
	header_field_info hf = {info->label, info->name, types[info->type], BASE_NONE,
				NULL,        0,          info->what,        HFILL};

	if (info->base == NBDS_BASE_DEC)
		hf.display = BASE_DEC;
	else if (info->base == NBDS_BASE_HEX)
		hf.display = BASE_HEX;
	if (info->type == NBDS_FT_BOOLEAN) {
		hf.name = bit_name(info);
		hf.display = info->mask_bits;
		hf.bitmask = info->mask;
		hf.strings = TFS(&tfs_set_notset);
	} else if (info->values && !info->flags) {
		hf.strings = value_names(info);
		if (info->type == NBDS_FT_UINT64)
			hf.display |= BASE_VAL64_STRING;
	}
	return hf;
}

static void register_field(int *id, const header_field_info *wanted)
{
	header_field_info *hf = adopt(wanted);
	hf_register_info *reg;

	if (hf) {
		teach(hf, wanted);
		*id = hf->id;
		return;
	}
	*id = -1;
	reg = wmem_new(wmem_epan_scope(), hf_register_info);
	reg->p_id = id;
	reg->hfinfo = *wanted;
	proto_register_field_array(nbds_shark_proto, reg, 1);
}

#define FRAME_LINK(KIND) BASE_NONE, FRAMENUM_TYPE(KIND)

static void register_generated(void)
{
	static const struct {
		enum shark_field id;
		header_field_info hf;
	} rows[] = {
		/* clang-format off */
		{SF_RESPONSE_IN, {"Answered in", "nbd.response_in", FT_FRAMENUM,
			FRAME_LINK(FT_FRAMENUM_RESPONSE), 0,
			"the frame with the end of the reply", HFILL}},
		{SF_RESPONSE_TO, {"Answers", "nbd.response_to", FT_FRAMENUM,
			FRAME_LINK(FT_FRAMENUM_REQUEST), 0,
			"the frame of the request or option", HFILL}},
		{SF_TIME, {"Time", "nbd.time", FT_RELATIVE_TIME, BASE_NONE, NULL, 0,
			"from the first byte of the request to the last byte of the reply", HFILL}},
		{SF_DATA_LEN, {"Payload length", "nbd.data.len", FT_UINT64, BASE_DEC, NULL, 0,
			"bytes of payload of the whole message", HFILL}},
		{SF_PART_OF, {"Part of the message in", "nbd.part_of", FT_FRAMENUM, BASE_NONE, NULL, 0,
			"the frame that shows the message", HFILL}},
		{SF_PART_AT, {"Offset in the payload", "nbd.part_at", FT_UINT64, BASE_DEC, NULL, 0,
			"where in the message's payload these bytes are", HFILL}},
		{SF_END_IN, {"Ends in", "nbd.end_in", FT_FRAMENUM, BASE_NONE, NULL, 0,
			"the frame with the last byte of the message", HFILL}},
		{SF_SEEN_IN, {"Seen in", "nbd.seen_in", FT_FRAMENUM, BASE_NONE, NULL, 0,
			"the earlier frame that the message was in", HFILL}},
		{SF_CHUNK_NUMBER, {"Chunk number", "nbd.chunk.number", FT_UINT32, BASE_DEC, NULL, 0,
			"which chunk of the reply this is, from 1", HFILL}},
		{SF_CHUNK_COUNT, {"Chunks of the reply", "nbd.chunk.count", FT_UINT32, BASE_DEC, NULL, 0,
			"how many chunks the reply has", HFILL}},
		{SF_CHUNK_FRAME, {"Chunk in", "nbd.chunk.frame", FT_FRAMENUM, BASE_NONE, NULL, 0,
			"another chunk of the same reply", HFILL}},
		{SF_CONN, {"Connection", "nbd.conn", FT_UINT32, BASE_DEC, NULL, 0,
			"number of the NBD connection, as nbdaudit counts", HFILL}},
		{SF_CONN_EXPORT, {"Export", "nbd.conn.export", FT_STRING, BASE_NONE, NULL, 0,
			"the export that the connection uses", HFILL}},
		{SF_CONN_FLAGS, {"Export's flags", "nbd.conn.flags", FT_UINT16, BASE_HEX, NULL, 0,
			"the transmission flags that were negotiated", HFILL}},
		{SF_CONN_INSIDE_TLS, {"Inside TLS", "nbd.conn.tls", FT_BOOLEAN, BASE_NONE, NULL, 0,
			"the message was encrypted", HFILL}},
		{SF_CONTEXT, {"Metadata context", "nbd.status.context", FT_STRING, BASE_NONE, NULL, 0,
			"name of the context that the extents are about", HFILL}},
		{SF_UNFLUSHED, {"Unflushed bytes of the export", "nbd.unflushed", FT_UINT64, BASE_DEC, NULL, 0,
			"bytes of writes that were answered, and that no flush has covered, after this frame, of all"
			" connections to the export", HFILL}},
		{SF_UNDECODED, {"Not decoded", "nbd.undecoded", FT_BYTES, BASE_NONE, NULL, 0,
			"bytes that are part of no message", HFILL}},
		{SF_FINDING_RULE, {"Rule", "nbd.finding.rule", FT_STRING, BASE_NONE, NULL, 0,
			"name of the rule that was broken", HFILL}},
		{SF_FINDING_REF, {"Reference", "nbd.finding.ref", FT_STRING, BASE_NONE, NULL, 0,
			"the rule's row in the catalogue of rules", HFILL}},
		{SF_FINDING_SEVERITY, {"Severity", "nbd.finding.severity", FT_STRING, BASE_NONE, NULL, 0,
			"violation, suspect, hazard or note", HFILL}},
		{SF_FINDING_SIDE, {"Side", "nbd.finding.side", FT_STRING, BASE_NONE, NULL, 0,
			"who broke it: server, client or either", HFILL}},
		{SF_FINDING_MESSAGE, {"Finding", "nbd.finding.message", FT_STRING, BASE_NONE, NULL, 0,
			"what is wrong, in a sentence or two", HFILL}},
		{SF_FINDING_ROLE, {"This frame", "nbd.finding.role", FT_STRING, BASE_NONE, NULL, 0,
			"what this frame has to do with it", HFILL}},
		{SF_FINDING_CONN, {"Connection", "nbd.finding.conn", FT_UINT32, BASE_DEC, NULL, 0,
			"the connection that it is about", HFILL}},
		{SF_FINDING_EXPORT, {"Export", "nbd.finding.export", FT_STRING, BASE_NONE, NULL, 0,
			"the export that it is about", HFILL}},
		{SF_FINDING_COMMAND, {"Command", "nbd.finding.command", FT_STRING, BASE_NONE, NULL, 0,
			"the command that it is about", HFILL}},
		{SF_FINDING_OFFSET, {"Offset", "nbd.finding.offset", FT_UINT64, BASE_HEX, NULL, 0,
			"first of the bytes at fault", HFILL}},
		{SF_FINDING_LENGTH, {"Length", "nbd.finding.length", FT_UINT64, BASE_DEC, NULL, 0,
			"how many bytes are at fault", HFILL}},
		{SF_FINDING_COUNT, {"Count", "nbd.finding.count", FT_UINT64, BASE_DEC, NULL, 0,
			"how many findings this one stands for", HFILL}},
		{SF_FINDING_ASSUMPTION, {"Assuming", "nbd.finding.assumption", FT_STRING, BASE_NONE, NULL, 0,
			"what the finding rests on", HFILL}},
		/* clang-format on */
	};

	for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
		register_field(&nbds_shark_gen[rows[i].id], &rows[i].hf);
	nbds_shark_gen[SF_TYPE_OF_REQUEST] = nbds_shark_hf[nbds_field_find("nbd.type")];
	/* One link for each role: nbd.finding.flush_request, ... */
	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		const char *name = nbds_role_names[role];
		char *label = wmem_strdup(wmem_epan_scope(), name);
		header_field_info hf = {label,
					wmem_strdup_printf(wmem_epan_scope(), "nbd.finding.%s",
							   role == NBDS_ROLE_MESSAGE ? "message_in"
										     : name),
					FT_FRAMENUM,
					BASE_NONE,
					NULL,
					0,
					"a frame that proves the finding",
					HFILL};

		label[0] = g_ascii_toupper(label[0]);
		g_strdelimit(label, "_", ' ');
		register_field(&nbds_shark_gen[SF_FINDING_FRAME + role], &hf);
	}
}

void nbds_shark_register_fields(void)
{
	static int *trees[ST_COUNT];

	nbds_shark_hf = wmem_alloc0_array(wmem_epan_scope(), int, nbds_fields_count);
	for (size_t i = 0; i < nbds_fields_count; i++) {
		header_field_info hf = describe(&nbds_fields[i]);

		register_field(&nbds_shark_hf[i], &hf);
	}
	register_generated();
	for (int i = 0; i < ST_COUNT; i++) {
		nbds_shark_ett[i] = -1;
		trees[i] = &nbds_shark_ett[i];
	}
	proto_register_subtree_array(trees, ST_COUNT);
}

/* --- expert infos --- */

#define LEVELS (NBDS_VIOLATION + 1)

static expert_field *finding_ei; /* by place in nbds_rules, and level */

expert_field *nbds_shark_ei_of(const struct nbds_finding *f)
{
	return &finding_ei[(size_t)(f->rule - nbds_rules) * LEVELS + f->severity];
}

/* The row of the catalogue is one of single messages: "R-04". */
static bool about_messages(const struct nbds_rule *rule)
{
	return strchr("HOBRSCXMD", rule->ref[0]) && rule->ref[1] == '-' &&
	       strcmp(rule->name, "multiplex-without-multi-conn") != 0;
}

/* Each rule is an item of its own, under its name; and where it is told at another level
 * than its own, that has another item. */
static void register_rules(expert_module_t *module)
{
	static const int severities[LEVELS] = {
		[NBDS_NOTE] = PI_CHAT,
		[NBDS_HAZARD] = PI_NOTE,
		[NBDS_SUSPECT] = PI_WARN,
		[NBDS_VIOLATION] = PI_ERROR,
	};
	size_t count = nbds_rules_count * LEVELS;
	ei_register_info *ei = wmem_alloc0_array(wmem_epan_scope(), ei_register_info, count);

	finding_ei = wmem_alloc0_array(wmem_epan_scope(), expert_field, count);
	for (size_t i = 0; i < count; i++) {
		const struct nbds_rule *rule = &nbds_rules[i / LEVELS];
		enum nbds_severity level = (enum nbds_severity)(i % LEVELS);
		const char *behind = level == rule->severity ? "" : nbds_severity_name(level);
		expert_field none = EI_INIT;

		finding_ei[i] = none;
		ei[i].ids = &finding_ei[i];
		ei[i].eiinfo.name = wmem_strdup_printf(wmem_epan_scope(), "nbd.expert.%s%s%s",
						       rule->name, *behind ? "." : "", behind);
		ei[i].eiinfo.group = about_messages(rule) ? PI_PROTOCOL : PI_SEQUENCE;
		ei[i].eiinfo.severity = severities[level];
		ei[i].eiinfo.summary = wmem_strdup_printf(wmem_epan_scope(), "NBD %s: %s",
							  nbds_severity_name(level), rule->summary);
	}
	expert_register_field_array(module, ei, (int)count);
}

void nbds_shark_register_experts(void)
{
	static ei_register_info ei[] = {
		/* clang-format off */
		{&nbds_shark_ei[SE_NONSENSE], {"nbd.expert.nonsense", PI_UNDECODED, PI_WARN,
			"NBD: bytes that are no legal message", EXPFILL}},
		{&nbds_shark_ei[SE_MALFORMED], {"nbd.expert.malformed", PI_PROTOCOL, PI_ERROR,
			"NBD: lengths inside the message do not fit", EXPFILL}},
		{&nbds_shark_ei[SE_UNSOLICITED], {"nbd.expert.unsolicited", PI_SEQUENCE, PI_WARN,
			"NBD: reply to no request that was seen", EXPFILL}},
		{&nbds_shark_ei[SE_ERROR_REPLY], {"nbd.expert.error", PI_RESPONSE_CODE, PI_NOTE,
			"NBD: error reply", EXPFILL}},
		{&nbds_shark_ei[SE_LOST], {"nbd.expert.lost", PI_SEQUENCE, PI_NOTE,
			"NBD: bytes are missing from the capture", EXPFILL}},
		{&nbds_shark_ei[SE_CUT], {"nbd.expert.cut", PI_UNDECODED, PI_NOTE,
			"NBD: message is too long to be shown whole", EXPFILL}},
		/* clang-format on */
	};

	expert_module_t *module = expert_register_protocol(nbds_shark_proto);

	expert_register_field_array(module, ei, G_N_ELEMENTS(ei));
	register_rules(module);
}
