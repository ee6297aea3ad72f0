/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * catalogue.c - the rules, listed and explained. See catalogue.h.
 */
#include "catalogue.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

#include "buf.h"

static const char *const side_names[] = {
	[NBDS_FAULT_SERVER] = "server",
	[NBDS_FAULT_CLIENT] = "client",
	[NBDS_FAULT_EITHER] = "either",
};

/* --- JSON --- */

static void member(struct nbds_buf *b, const char *key, const char *text)
{
	if (text && *text)
		nbds_json_member_string(b, key, text);
}

static void end_line(FILE *out, struct nbds_buf *b)
{
	nbds_json_close(b, '}');
	nbds_buf_puts(b, "\n");
	fwrite(nbds_buf_text(b), 1, b->len, out);
	nbds_buf_free(b);
}

static void json_rule(FILE *out, const struct nbds_rule *rule)
{
	struct nbds_buf b = {0};

	nbds_json_open(&b, '{');
	nbds_json_member_string(&b, "type", "rule");
	nbds_json_member_string(&b, "rule", rule->name);
	nbds_json_member_string(&b, "ref", rule->ref);
	nbds_json_member_string(&b, "severity", nbds_severity_name(rule->severity));
	nbds_json_member_string(&b, "side", side_names[rule->side]);
	nbds_json_member_string(&b, "basis",
				rule->basis == NBDS_BASIS_EXPLICIT ? "explicit" : "implied");
	member(&b, "summary", rule->summary);
	member(&b, "expected", rule->expected);
	member(&b, "explain", rule->explain);
	member(&b, "example", rule->example);
	member(&b, "advice", rule->advice);
	member(&b, "server", rule->server);
	member(&b, "client", rule->client);
	member(&b, "place", rule->place);
	end_line(out, &b);
}

static void json_unruled(FILE *out, const struct nbds_unruled *row)
{
	struct nbds_buf b = {0};

	nbds_json_open(&b, '{');
	nbds_json_member_string(&b, "type", "unruled");
	nbds_json_member_string(&b, "ref", row->ref);
	member(&b, "rule", row->rule);
	member(&b, "why", row->why);
	end_line(out, &b);
}

/* --- text --- */

/* A paragraph whose lines end with a newline, or one that has none. */
static void put_paragraph(FILE *out, const char *head, const char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (len)
		fprintf(out, "\n%s%s%s", head, text, text[len - 1] == '\n' ? "" : "\n");
}

static void put_example(FILE *out, const char *text)
{
	if (!text || !*text)
		return;
	fputs("\nExample:\n", out);
	while (*text) {
		size_t len = strcspn(text, "\n");

		fprintf(out, "    %.*s\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

static void explain_rule(FILE *out, const struct nbds_rule *rule)
{
	static const char *const sides[] = {
		[NBDS_FAULT_SERVER] = "the server",
		[NBDS_FAULT_CLIENT] = "the client",
		[NBDS_FAULT_EITHER] = "either side",
	};

	fprintf(out, "%s [%s]\n", rule->name, rule->ref);
	fprintf(out, "  level   %s\n", nbds_severity_name(rule->severity));
	fprintf(out, "  side    %s\n", sides[rule->side]);
	fprintf(out, "  basis   %s\n",
		rule->basis == NBDS_BASIS_EXPLICIT ? "the protocol's own words"
						   : "implied by the protocol");
	if (rule->place && *rule->place)
		fprintf(out, "  place   %s\n", rule->place);
	put_paragraph(out, "", rule->summary);
	put_paragraph(out, "What is expected:\n", rule->expected);
	put_paragraph(out, "", rule->explain);
	put_example(out, rule->example);
	if (rule->server && *rule->server)
		put_paragraph(out, "What the server can do: ", rule->server);
	if (rule->client && *rule->client)
		put_paragraph(out, "What the client can do: ", rule->client);
	if (!(rule->server && *rule->server) && !(rule->client && *rule->client))
		put_paragraph(out, "What to do: ", rule->advice);
}

static void explain_unruled(FILE *out, const struct nbds_unruled *row)
{
	fprintf(out, "[%s] %s\n", row->ref, row->rule ? "is told by another rule" : "has no rule");
	put_paragraph(out, "", row->why);
	if (row->rule)
		fprintf(out, "\nSee --explain=%s.\n", row->rule);
}

void nbds_catalogue_list(FILE *out, bool json)
{
	for (size_t i = 0; i < nbds_rules_count; i++) {
		const struct nbds_rule *rule = &nbds_rules[i];

		if (json)
			json_rule(out, rule);
		else
			fprintf(out, "%-36s %-9s %-9s  %s\n", rule->name, rule->ref,
				nbds_severity_name(rule->severity), rule->summary);
	}
	for (size_t i = 0; json && i < nbds_unruled_count; i++)
		json_unruled(out, &nbds_unruled[i]);
}

bool nbds_catalogue_explain(FILE *out, const char *name, bool json)
{
	const struct nbds_rule *rule = nbds_rule_find(name);
	bool any = false;

	for (size_t i = 0; i < nbds_rules_count; i++) {
		const struct nbds_rule *one = &nbds_rules[i];

		if (rule ? one != rule : strcasecmp(one->ref, name) != 0)
			continue;
		if (json) {
			json_rule(out, one);
		} else {
			if (any)
				fputc('\n', out);
			explain_rule(out, one);
		}
		any = true;
	}
	for (size_t i = 0; !rule && i < nbds_unruled_count; i++) {
		if (strcasecmp(nbds_unruled[i].ref, name) != 0)
			continue;
		if (json) {
			json_unruled(out, &nbds_unruled[i]);
		} else {
			if (any)
				fputc('\n', out);
			explain_unruled(out, &nbds_unruled[i]);
		}
		any = true;
	}
	return any;
}

/* --- names that somebody may have meant --- */

/* Edits that turn `a` into `b` (Levenshtein), for names of at most 63 bytes. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[64];
	size_t la = strlen(a), lb = strlen(b);

	if (la > 63 || lb > 63)
		return UINT_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned change = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j - 1] + 1 < change)
				change = row[j - 1] + 1;
			row[j] = row[j] + 1 < change ? row[j] + 1 : change;
		}
	}
	return row[lb];
}

/* How many words of `name`, which dashes separate, stand in `rule` too. */
static unsigned common_words(const char *name, const char *rule)
{
	unsigned count = 0;

	while (*name) {
		size_t len = strcspn(name, "-");
		const char *at = rule;

		while (len > 2 && *at) {
			size_t n = strcspn(at, "-");

			if (n == len && !memcmp(at, name, n)) {
				count++;
				break;
			}
			at += n + (at[n] == '-');
		}
		name += len + (name[len] == '-');
	}
	return count;
}

void nbds_catalogue_similar(const char *name, const struct nbds_rule *similar[NBDS_SIMILAR])
{
	unsigned score[NBDS_SIMILAR] = {0};

	for (int k = 0; k < NBDS_SIMILAR; k++)
		similar[k] = NULL;
	for (size_t i = 0; i < nbds_rules_count; i++) {
		const struct nbds_rule *rule = &nbds_rules[i];
		unsigned edits = distance(name, rule->name);
		unsigned s = common_words(name, rule->name) * 4;

		if (edits <= strlen(rule->name) / 3)
			s += 16 - (edits < 15 ? edits : 15);
		for (int k = 0; s && k < NBDS_SIMILAR; k++) {
			if (s <= score[k])
				continue;
			for (int m = NBDS_SIMILAR - 1; m > k; m--)
				similar[m] = similar[m - 1], score[m] = score[m - 1];
			similar[k] = rule;
			score[k] = s;
			break;
		}
	}
}
