/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sarif.c - the report as SARIF 2.1.0, for systems that collect what tools find.
 *
 * One run for all captures.  SARIF points at lines of files; a capture has
 * frames, so that `startLine` is a frame's number.  Its levels are fewer:
 * a violation is an error, a suspect or a hazard a warning, and
 * `properties.severity` has the level's own name.
 */
#include <inttypes.h>
#include <string.h>

#include "internal.h"

static const char *level(enum nbds_severity severity)
{
	return severity == NBDS_VIOLATION ? "error" : severity == NBDS_NOTE ? "note" : "warning";
}

static const char *const sides[] = {
	[NBDS_FAULT_SERVER] = "server",
	[NBDS_FAULT_CLIENT] = "client",
	[NBDS_FAULT_EITHER] = "either",
};

/* "key":{"text":"..."} */
static void member_text(struct nbds_buf *b, const char *key, const char *text)
{
	nbds_json_member_open(b, key, '{');
	nbds_json_member_string(b, "text", text);
	nbds_json_close(b, '}');
}

/* A path as a URI. */
static void member_uri(struct nbds_report *r, struct nbds_buf *b)
{
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	if (*r->name == '/')
		nbds_buf_puts(t, "file://");
	for (const char *at = r->name; *at; at++) {
		static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
					    "0123456789-._~/";

		if (strchr(plain, *at))
			nbds_buf_add(t, at, 1);
		else
			nbds_buf_printf(t, "%%%02X", (unsigned)(unsigned char)*at);
	}
	nbds_json_member_string(b, "uri", nbds_buf_text(t));
}

static void put_rule(struct nbds_buf *b, const struct nbds_rule *rule)
{
	nbds_json_open(b, '{');
	nbds_json_member_string(b, "id", rule->name);
	member_text(b, "shortDescription", rule->summary);
	if (rule->explain && *rule->explain)
		member_text(b, "fullDescription", rule->explain);
	if (rule->advice && *rule->advice)
		member_text(b, "help", rule->advice);
	nbds_json_member_open(b, "defaultConfiguration", '{');
	nbds_json_member_string(b, "level", level(rule->severity));
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "properties", '{');
	nbds_json_member_string(b, "ref", rule->ref);
	nbds_json_member_string(b, "severity", nbds_severity_name(rule->severity));
	nbds_json_member_string(b, "side", sides[rule->side]);
	if (rule->place && *rule->place)
		nbds_json_member_string(b, "place", rule->place);
	nbds_json_close(b, '}');
	nbds_json_close(b, '}');
}

static void sarif_begin(struct nbds_report *r)
{
	struct nbds_buf *b = &r->line;

	nbds_json_open(b, '{');
	nbds_json_member_string(b, "$schema",
				"https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/"
				"schemas/sarif-schema-2.1.0.json");
	nbds_json_member_string(b, "version", "2.1.0");
	nbds_json_member_open(b, "runs", '[');
	nbds_json_open(b, '{');
	nbds_json_member_open(b, "tool", '{');
	nbds_json_member_open(b, "driver", '{');
	nbds_json_member_string(b, "name", "nbdaudit");
	nbds_json_member_string(b, "version", r->options.version);
	nbds_json_member_open(b, "rules", '[');
	for (size_t i = 0; i < nbds_rules_count; i++)
		put_rule(b, &nbds_rules[i]);
	nbds_json_close(b, ']');
	nbds_json_close(b, '}');
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "results", '[');
	nbds_report_write(r);
	r->first_result = true;
}

static void put_location(struct nbds_report *r, struct nbds_buf *b, uint64_t frame)
{
	nbds_json_member_open(b, "physicalLocation", '{');
	nbds_json_member_open(b, "artifactLocation", '{');
	member_uri(r, b);
	nbds_json_member_u64(b, "index", r->captures - 1);
	nbds_json_close(b, '}');
	if (frame) {
		nbds_json_member_open(b, "region", '{');
		nbds_json_member_u64(b, "startLine", frame);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, '}');
}

static void put_result(struct nbds_report *r, const struct nbds_finding *f)
{
	struct nbds_buf *b = &r->line;
	uint64_t frame = nbds_finding_frame(f), id = 0;

	nbds_buf_clear(b);
	nbds_buf_puts(b, r->first_result ? "\n" : ",\n");
	r->first_result = false;
	nbds_buf_puts(b, "{");
	nbds_json_member_string(b, "ruleId", f->rule->name);
	nbds_json_member_u64(b, "ruleIndex", nbds_rule_place(f->rule));
	nbds_json_member_string(b, "level", level(f->severity));
	if (f->standing)
		nbds_json_member_string(b, "baselineState",
					f->standing == NBDS_STANDING_NEW ? "new" : "unchanged");
	nbds_json_key(b, "message");
	nbds_json_open(b, '{');
	nbds_json_member_string(b, "text", f->message);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "locations", '[');
	nbds_json_open(b, '{');
	put_location(r, b, frame);
	nbds_json_close(b, '}');
	nbds_json_close(b, ']');
	nbds_json_member_open(b, "relatedLocations", '[');
	for (int role = 0; role < NBDS_ROLE_MAX; role++) {
		if (!f->frames[role])
			continue;
		nbds_json_open(b, '{');
		nbds_json_member_u64(b, "id", ++id);
		put_location(r, b, f->frames[role]);
		member_text(b, "message", nbds_role_words[role]);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, ']');
	nbds_json_member_u64(b, "occurrenceCount", f->count);
	nbds_json_member_open(b, "properties", '{');
	nbds_json_member_string(b, "ref", f->rule->ref);
	nbds_json_member_string(b, "severity", nbds_severity_name(f->severity));
	nbds_json_member_string(b, "side", sides[nbds_finding_side(f)]);
	if (f->connection)
		nbds_json_member_u64(b, "connection", f->connection);
	if (f->export_name) {
		nbds_json_key(b, "export");
		nbds_json_bytes(b, f->export_name, f->export_name_len);
	}
	if (f->command)
		nbds_json_member_string(b, "command", f->command);
	if (f->has_range) {
		nbds_json_member_u64(b, "offset", f->offset);
		nbds_json_member_u64(b, "length", f->length);
	}
	nbds_json_close(b, '}');
	nbds_json_close(b, '}');
	nbds_report_write(r);
}

/* What has to be said of the capture itself. */
static void put_notice(struct nbds_report *r, const char *id, const char *text)
{
	struct nbds_buf *b = &r->notices;

	nbds_json_open(b, '{');
	nbds_json_member_open(b, "descriptor", '{');
	nbds_json_member_string(b, "id", id);
	nbds_json_close(b, '}');
	nbds_json_member_string(b, "level", "error");
	nbds_json_key(b, "message");
	nbds_json_open(b, '{');
	nbds_json_member_string(b, "text", text);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "locations", '[');
	nbds_json_open(b, '{');
	put_location(r, b, 0);
	nbds_json_close(b, '}');
	nbds_json_close(b, ']');
	nbds_json_close(b, '}');
}

static void sarif_capture(struct nbds_report *r, const struct nbds_outcome *o)
{
	struct nbds_buf *b = &r->artifacts, why = {0};
	const struct nbds_finding *f;

	while ((f = nbds_keep_next_worst(&r->keep)))
		put_result(r, f);
	if (*o->error) {
		nbds_buf_escape(&why, o->error, strlen(o->error));
		put_notice(r, "incomplete", nbds_buf_text(&why));
		r->sarif_failed = true;
	}
	if (o->unaudited) {
		nbds_buf_clear(&why);
		nbds_unaudited_why(o, &why);
		put_notice(r, "unaudited", nbds_buf_text(&why));
	}
	nbds_buf_free(&why);

	nbds_json_open(b, '{');
	nbds_json_member_open(b, "location", '{');
	member_uri(r, b);
	nbds_json_close(b, '}');
	nbds_json_member_open(b, "properties", '{');
	nbds_json_member_u64(b, "frames", o->info.capture.frames);
	nbds_json_member_string(b, "verdict", nbds_verdict(o));
	if (o->shards) {
		nbds_json_member_u64(b, "shard.number", o->shard);
		nbds_json_member_u64(b, "shard.of", o->shards);
	}
	nbds_json_member_u64(b, "judged.bytes", o->totals.checked_bytes);
	nbds_json_member_u64(b, "judged.of_bytes", o->read_bytes);
	nbds_json_close(b, '}');
	nbds_json_close(b, '}');
}

static void sarif_finish(struct nbds_report *r)
{
	struct nbds_buf *b = &r->line;

	nbds_buf_clear(b);
	nbds_buf_puts(b, r->first_result ? "]" : "\n]");
	nbds_json_member_open(b, "artifacts", '[');
	nbds_buf_puts(b, nbds_buf_text(&r->artifacts));
	nbds_json_close(b, ']');
	nbds_json_member_open(b, "invocations", '[');
	nbds_json_open(b, '{');
	nbds_json_member_bool(b, "executionSuccessful", !r->sarif_failed);
	nbds_json_member_open(b, "toolExecutionNotifications", '[');
	nbds_buf_puts(b, nbds_buf_text(&r->notices));
	nbds_buf_puts(b, "]}]}]}\n");
	nbds_report_write(r);
}

const struct nbds_form nbds_sarif_form = {
	.begin = sarif_begin,
	.capture = sarif_capture,
	.finish = sarif_finish,
	.documents = true,
};
