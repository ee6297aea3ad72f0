/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * compared.c - this report beside an earlier one, which compare/ holds.
 */
#include <inttypes.h>
#include <string.h>

#include "internal.h"

/* Findings that are gone, shown in full. */
#define GONE_SHOWN 10

static const char *or_nothing(const char *s)
{
	return s ? s : "";
}

/* The name as JSON writes it, in the scratch buffer. */
static const char *export_name(struct nbds_report *r, const void *name, size_t len)
{
	nbds_buf_clear(&r->compared);
	nbds_json_bytes(&r->compared, name, len);
	return nbds_buf_text(&r->compared);
}

enum nbds_standing nbds_compared_finding(struct nbds_report *r, const struct nbds_finding *f)
{
	static const char *const sides[] = {
		[NBDS_FAULT_SERVER] = "server",
		[NBDS_FAULT_CLIENT] = "client",
		[NBDS_FAULT_EITHER] = "either",
	};
	struct nbds_compare_finding what = {
		.rule = f->rule->name,
		.severity = nbds_severity_name(f->severity),
		.side = sides[nbds_finding_side(f)],
		.command = f->command,
		.export = f->export_name ? export_name(r, f->export_name, f->export_name_len)
					 : NULL,
		.has_range = f->has_range,
		.offset = f->offset,
		.length = f->length,
	};

	for (unsigned i = 0; i < f->witness_count && i < NBDS_WITNESSES_MAX; i++) {
		what.witnesses[i].role = nbds_role_names[f->witnesses[i].role];
		what.witnesses[i].connection = f->witnesses[i].connection;
		what.witness_count++;
	}
	return nbds_compare_known(r->options.compare, r->captures, &what, f->count) < f->count
		       ? NBDS_STANDING_NEW
		       : NBDS_STANDING_KNOWN;
}

/* --- what there is now --- */

static bool gather_connection(struct nbds_report *r, const struct nbds_connection *c)
{
	const struct nbds_compare_side side = {
		.there = true,
		.unflushed_writes = c->unflushed_writes,
		.unflushed_bytes = c->unflushed_bytes,
	};
	const char *export;

	if (!c->export_name_seen || !nbds_export_entered(c))
		return true;
	export = export_name(r, c->export_name, c->export_name_len);
	if (!nbds_compare_add_side(r->options.compare, r->captures, NBDS_NOW, export, &side))
		return false;
	for (int i = 0; i < NBDS_COMMAND_KINDS; i++) {
		const struct nbds_command_stats *s = &c->commands[i];
		struct nbds_compare_command what = {
			.count = s->count,
			.replies = s->replies,
			.bytes = s->bytes,
		};
		char name[NBDS_TEXT_OF_MAX];

		if (!s->count)
			continue;
		for (unsigned e = 0; e < s->error_kinds; e++)
			what.errors += s->errors[e].count;
		if (s->latency) {
			what.p50 = (double)nbds_latency_percentile(s->latency, 50) / 1e3;
			what.p99 = (double)nbds_latency_percentile(s->latency, 99) / 1e3;
			what.max = (double)s->latency->max / 1e3;
		}
		if (!nbds_compare_add_command(r->options.compare, r->captures, NBDS_NOW, export,
					      nbds_text_of(&nbds_commands, s->type, name), &what))
			return false;
	}
	return true;
}

void nbds_compared_gather(struct nbds_report *r, const struct nbds_outcome *o)
{
	bool good = true;

	for (const struct nbds_connection *c = nbds_outcome_next(o, 0); good && c;
	     c = nbds_outcome_next(o, c->id))
		good = gather_connection(r, c);
	for (const struct nbds_export *e = o->exports; good && e; e = e->next) {
		const struct nbds_compare_side side = {
			.there = true,
			.writes = e->writes,
			.flushes = e->flushes,
			.fua_writes = e->fua_writes,
		};

		good = nbds_compare_add_side(r->options.compare, r->captures, NBDS_NOW,
					     export_name(r, e->name, e->name_len), &side);
	}
	if (!good)
		r->lost++;
}

/* --- text --- */

static void put_counts(struct nbds_report *r)
{
	struct nbds_compare_counts counts;
	const struct nbds_compare *c = r->options.compare;
	uint64_t fresh = 0, known = 0, gone = 0, count = 0;
	struct nbds_buf *t = &r->text;
	size_t at = 0;

	nbds_compare_counts(c, r->captures, &counts);
	for (int s = 0; s < 4; s++) {
		fresh += counts.fresh[s];
		known += counts.known[s];
	}
	while (nbds_compare_gone(c, r->captures, &at, &count))
		gone += count;
	nbds_buf_clear(t);
	nbds_buf_printf(t, "%" PRIu64 " new", fresh);
	for (int s = NBDS_VIOLATION; fresh && s >= NBDS_NOTE; s--) {
		if (!counts.fresh[s])
			continue;
		nbds_buf_puts(t, fresh == UINT64_MAX ? ", " : " (");
		nbds_buf_count(t, counts.fresh[s], nbds_severity_name((enum nbds_severity)s),
			       s == NBDS_SUSPECT ? "suspects" : NULL);
		fresh = UINT64_MAX;
	}
	if (fresh)
		nbds_buf_puts(t, ")");
	nbds_buf_printf(t, ", %" PRIu64 " gone, %" PRIu64 " as before", gone, known);
	nbds_item(&r->paper, "findings", nbds_buf_text(t));
}

/* The earlier report's own words, which have escaped what the wire brought: their backslashes
 * stay. What else would not be seen is not theirs, and is escaped. */
static void put_words(struct nbds_buf *t, const char *words)
{
	while (*words) {
		size_t n = strcspn(words, "\\");

		nbds_buf_escape(t, words, n);
		words += n;
		if (*words)
			nbds_buf_add(t, words++, 1);
	}
}

static void put_gone(struct nbds_report *r)
{
	const struct nbds_compare_finding *f;
	struct nbds_buf *t = &r->text;
	uint64_t count = 0, shown = 0, others = 0;
	size_t at = 0;

	while ((f = nbds_compare_gone(r->options.compare, r->captures, &at, &count))) {
		if (shown == GONE_SHOWN) {
			others += count;
			continue;
		}
		shown++;
		nbds_buf_clear(t);
		nbds_buf_printf(t, "%s: ", f->severity);
		put_words(t, f->rule);
		nbds_buf_puts(t, " [");
		put_words(t, or_nothing(f->ref));
		nbds_buf_puts(t, "]: ");
		put_words(t, or_nothing(f->message));
		if (count > 1)
			nbds_buf_printf(t, " (%" PRIu64 " times)", count);
		nbds_item(&r->paper, "gone", nbds_buf_text(t));
	}
	if (!others)
		return;
	nbds_buf_clear(t);
	nbds_buf_printf(t, "and %" PRIu64 " more", others);
	nbds_item(&r->paper, "", nbds_buf_text(t));
}

void nbds_compared_facts(struct nbds_report *r)
{
	put_counts(r);
	put_gone(r);
}

static void put_duration(struct nbds_buf *t, double us, int width)
{
	size_t from = t->len;
	char gap[32];

	if (us > 0 && us < 1e15)
		nbds_buf_duration(t, (uint64_t)(us * 1e3));
	else
		nbds_buf_puts(t, "-");
	snprintf(gap, sizeof(gap), "%*s", width - (int)(t->len - from), "");
	nbds_buf_puts(t, gap);
}

static void put_command_side(struct nbds_report *r, const char *name, const char *when,
			     const struct nbds_compare_command *c)
{
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	nbds_buf_printf(t, "    %-22s %-8s %10" PRIu64 "  ", name, when, c->count);
	put_duration(t, c->p50, 11);
	put_duration(t, c->p99, 11);
	put_duration(t, c->max, 11);
	nbds_buf_printf(t, "%8" PRIu64 "\n", c->errors);
	fputs(nbds_buf_text(t), r->out);
}

static void put_two(struct nbds_buf *t, const char *what, uint64_t earlier, uint64_t now)
{
	nbds_buf_printf(t, "%s%" PRIu64 " %s, now %" PRIu64, t->len ? "; " : "", earlier, what,
			now);
}

static void put_export_account(struct nbds_report *r, const struct nbds_compare_export *e)
{
	const struct nbds_compare_side *was = &e->side[NBDS_EARLIER], *is = &e->side[NBDS_NOW];
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	nbds_buf_puts(t, e->name);
	if (!was->there || !is->there)
		nbds_buf_puts(t, was->there ? ", which this capture does not have"
					    : ", which the earlier one does not have");
	nbds_item(&r->paper, "export", nbds_buf_text(t));
	if (!was->there || !is->there)
		return;
	fprintf(r->out, "    %-22s %-8s %10s  %-11s%-11s%-11s%8s\n", "", "", "count", "p50", "p99",
		"max", "errors");
	for (int i = 0; i < NBDS_COMPARE_COMMANDS && e->commands[i]; i++) {
		put_command_side(r, e->commands[i], "earlier", &e->command[NBDS_EARLIER][i]);
		put_command_side(r, "", "now", &e->command[NBDS_NOW][i]);
	}
	nbds_buf_clear(t);
	put_two(t, "writes", was->writes, is->writes);
	put_two(t, "flushes", was->flushes, is->flushes);
	put_two(t, "with FUA", was->fua_writes, is->fua_writes);
	put_two(t, "left unflushed", was->unflushed_writes, is->unflushed_writes);
	nbds_item(&r->paper, "flushing", nbds_buf_text(t));
}

void nbds_compared_text(struct nbds_report *r)
{
	const struct nbds_compare *c = r->options.compare;
	const struct nbds_compare_export *e;
	struct nbds_buf *t = &r->text;

	nbds_buf_clear(t);
	nbds_buf_puts(t, "Compared with ");
	nbds_buf_escape(t, nbds_compare_file(c), strlen(nbds_compare_file(c)));
	nbds_buf_puts(t, " of nbdaudit ");
	nbds_buf_escape(t, nbds_compare_version(c), strlen(nbds_compare_version(c)));
	nbds_ink(&r->paper, NBDS_INK_HEAD, nbds_buf_text(t));
	fputc('\n', r->out);
	nbds_compared_facts(r);
	for (size_t i = 0; !r->options.summary && (e = nbds_compare_export(c, r->captures, i)); i++)
		put_export_account(r, e);
	fputc('\n', r->out);
}

/* --- JSON --- */

/* What was made of names by nbds_json_bytes() goes out as it is. */
static void member_raw(struct nbds_buf *b, const char *key, const char *json)
{
	nbds_json_key(b, key);
	nbds_buf_puts(b, json);
}

static void put_levels(struct nbds_buf *b, const char *key, const uint64_t counts[4])
{
	nbds_json_member_open(b, key, '{');
	for (int s = NBDS_VIOLATION; s >= NBDS_NOTE; s--)
		nbds_json_member_u64(b, nbds_severity_name((enum nbds_severity)s), counts[s]);
	nbds_json_close(b, '}');
}

static void put_us(struct nbds_buf *b, const char *key, double us)
{
	nbds_json_key(b, key);
	nbds_json_us(b, us < 1e15 ? (uint64_t)(us * 1e3) : UINT64_MAX);
}

static void put_side(struct nbds_buf *b, const char *key, const struct nbds_compare_export *e,
		     int side)
{
	const struct nbds_compare_side *s = &e->side[side];

	if (!s->there)
		return;
	nbds_json_member_open(b, key, '{');
	nbds_json_member_u64(b, "writes", s->writes);
	nbds_json_member_u64(b, "flushes", s->flushes);
	nbds_json_member_u64(b, "fua_writes", s->fua_writes);
	nbds_json_member_u64(b, "unflushed_writes", s->unflushed_writes);
	nbds_json_member_u64(b, "unflushed_bytes", s->unflushed_bytes);
	nbds_json_member_open(b, "commands", '{');
	for (int i = 0; i < NBDS_COMPARE_COMMANDS && e->commands[i]; i++) {
		const struct nbds_compare_command *c = &e->command[side][i];

		if (!c->count)
			continue;
		nbds_json_key(b, e->commands[i]);
		nbds_json_open(b, '{');
		nbds_json_member_u64(b, "count", c->count);
		nbds_json_member_u64(b, "replies", c->replies);
		nbds_json_member_u64(b, "errors", c->errors);
		nbds_json_member_u64(b, "bytes", c->bytes);
		if (c->replies) {
			nbds_json_member_open(b, "latency_us", '{');
			put_us(b, "p50", c->p50);
			put_us(b, "p99", c->p99);
			put_us(b, "max", c->max);
			nbds_json_close(b, '}');
		}
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, '}');
	nbds_json_close(b, '}');
}

static void put_json_gone(struct nbds_report *r, const struct nbds_compare_finding *f,
			  uint64_t count)
{
	struct nbds_buf *b = nbds_json_begin(r, "gone");

	nbds_json_member_string(b, "rule", f->rule);
	nbds_json_member_string(b, "ref", or_nothing(f->ref));
	nbds_json_member_string(b, "severity", f->severity);
	nbds_json_member_string(b, "message", or_nothing(f->message));
	if (f->export)
		member_raw(b, "export", f->export);
	if (f->command) {
		nbds_json_member_string(b, "command", f->command);
	}
	if (f->has_range) {
		nbds_json_member_u64(b, "offset", f->offset);
		nbds_json_member_u64(b, "length", f->length);
	}
	nbds_json_member_u64(b, "count", count);
	nbds_json_end(r);
}

void nbds_compared_json(struct nbds_report *r)
{
	const struct nbds_compare *c = r->options.compare;
	const struct nbds_compare_finding *f;
	const struct nbds_compare_export *e;
	struct nbds_compare_counts counts;
	uint64_t gone[4] = {0}, count = 0;
	enum nbds_severity level;
	struct nbds_buf *b;
	size_t at = 0;

	while ((f = nbds_compare_gone(c, r->captures, &at, &count))) {
		if (nbds_severity_parse(f->severity, &level))
			gone[level] += count;
		if (!r->options.summary)
			put_json_gone(r, f, count);
	}
	nbds_compare_counts(c, r->captures, &counts);
	b = nbds_json_begin(r, "baseline");
	nbds_json_member_string(b, "file", nbds_compare_file(c));
	nbds_json_member_string(b, "version", nbds_compare_version(c));
	put_levels(b, "new", counts.fresh);
	put_levels(b, "known", counts.known);
	put_levels(b, "gone", gone);
	nbds_json_member_open(b, "exports", '[');
	for (size_t i = 0; !r->options.summary && (e = nbds_compare_export(c, r->captures, i));
	     i++) {
		nbds_json_open(b, '{');
		member_raw(b, "name", e->name);
		put_side(b, "earlier", e, NBDS_EARLIER);
		put_side(b, "now", e, NBDS_NOW);
		nbds_json_close(b, '}');
	}
	nbds_json_close(b, ']');
	nbds_json_end(r);
}
