/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rulespage.c - writes nbdscope-rules(7), in mdoc, from the table of rules.
 *
 * A program of the build; it is not installed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdscope/finding.h>

static const char head[] =
	".\\\" SPDX-License-Identifier: GPL-2.0-or-later\n"
	".\\\" Written by packaging/rulespage.c from the table of rules; do not edit.\n"
	".Dd November 29, 2026\n"
	".Dt NBDSCOPE-RULES 7\n"
	".Os nbdscope\n"
	".Sh NAME\n"
	".Nm nbdscope-rules\n"
	".Nd what nbdscope looks for in NBD traffic\n"
	".Sh DESCRIPTION\n"
	".Xr nbdaudit 1 ,\n"
	".Xr nbdtop 1\n"
	"and the plugin for Wireshark report findings.\n"
	"Each has the name of a rule, which stays the same, and the rule\\(aqs row in the\n"
	"catalogue of the protocol\\(aqs rules, such as V2.\n"
	".Ic nbdaudit --list-rules\n"
	"prints the list, and\n"
	".Ic nbdaudit --explain Ns = Ns Ar RULE\n"
	"what is said of one below.\n"
	".Pp\n"
	"A rule has a level, which is the highest at which it is told:\n"
	".Bl -tag -width violation\n"
	".It violation\n"
	"Proved: no server, or client, that obeys the protocol explains the capture,\n"
	"under the assumptions that are printed.\n"
	".It suspect\n"
	"Wrong, unless something outside the capture explains it.\n"
	".It hazard\n"
	"Legal, and dangerous.\n"
	".It note\n"
	"Worth knowing.\n"
	".El\n"
	".Pp\n"
	"Why the rules about order and contents hold is in\n"
	".Xr nbdscope-consistency 7 .\n";

static const char tail[] = ".Sh SEE ALSO\n"
			   ".Xr nbdaudit 1 ,\n"
			   ".Xr nbdtop 1 ,\n"
			   ".Xr nbdscope-consistency 7 ,\n"
			   ".Xr nbdscope-wireshark 7\n"
			   ".Pp\n"
			   "The specification is\n"
			   ".Pa doc/proto.md\n"
			   "of the project NetworkBlockDevice/nbd.\n";

/* A line of the page's source is not longer than this, if words allow it. */
#define COLUMNS 76

/* What means something to roff is escaped. `wrap`: at spaces, where a line would be long. */
static void put(const char *text, size_t len, bool wrap)
{
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		size_t word = wrap && text[i] == ' ' ? strcspn(text + i + 1, " \n") : 0;

		if (word && column + 1 + word > COLUMNS) {
			putchar('\n');
			column = 0;
			continue;
		}
		switch (text[i]) {
		case '\\':
			fputs("\\e", stdout);
			break;
		case '.':
			fputs(column ? "." : "\\&.", stdout);
			break;
		case '\'':
			fputs("\\(aq", stdout);
			break;
		case '`':
			fputs("\\(ga", stdout);
			break;
		case '-':
			fputs("\\-", stdout);
			break;
		default:
			putchar(text[i]);
		}
		column++;
	}
}

/* Sentences begin new lines, as mdoc has it; an empty line is a new paragraph. */
static void put_prose(const char *text)
{
	for (const char *at = text; *at;) {
		const char *end = at;

		/* to the end of a sentence, or of the line */
		while (*end && *end != '\n' &&
		       !(end > at + 1 && *end == ' ' && strchr(".:;", end[-1]) && end[-2] != '.'))
			end++;
		if (end == at && *at == '\n') {
			puts(".Pp");
		} else {
			put(at, (size_t)(end - at), true);
			putchar('\n');
		}
		at = *end ? end + 1 : end;
		while (*at == ' ')
			at++;
	}
}

/* Lines that stay as they are. */
static void put_lines(const char *text)
{
	puts(".Bd -literal -offset indent");
	for (const char *at = text; *at;) {
		size_t len = strcspn(at, "\n");

		put(at, len, false);
		putchar('\n');
		at += len + (at[len] == '\n');
	}
	puts(".Ed");
}

static void put_part(const char *title, const char *text)
{
	if (!text || !*text)
		return;
	printf(".Pp\n.Em %s :\n", title);
	put_prose(text);
}

static void put_rule(const struct nbds_rule *rule)
{
	static const char *const sides[] = {"the server", "the client", "either side"};

	printf(".Ss %s\n", rule->name);
	printf("%s, %s of %s:\n", rule->ref, nbds_severity_name(rule->severity), sides[rule->side]);
	put(rule->summary, strlen(rule->summary), true);
	puts(".");
	if (rule->explain && strcmp(rule->explain, rule->summary) != 0) {
		puts(".Pp");
		put_prose(rule->explain);
	}
	put_part("Expected", rule->expected);
	if (rule->example && *rule->example) {
		puts(".Pp\n.Em Example :");
		put_lines(rule->example);
	}
	put_part("Server", rule->server);
	put_part("Client", rule->client);
	if (rule->place && *rule->place) {
		puts(".Pp\nSpecification:");
		put(rule->place, strlen(rule->place), true);
		puts(rule->basis == NBDS_BASIS_IMPLIED ? ",\nfrom which it follows." : ".");
	}
}

int main(void)
{
	static const enum nbds_severity levels[] = {NBDS_VIOLATION, NBDS_SUSPECT, NBDS_HAZARD,
						    NBDS_NOTE};
	static const char *const titles[] = {"VIOLATIONS", "SUSPECTS", "HAZARDS", "NOTES"};

	fputs(head, stdout);
	for (size_t level = 0; level < 4; level++) {
		printf(".Sh %s\n", titles[level]);
		for (size_t i = 0; i < nbds_rules_count; i++)
			if (nbds_rules[i].severity == levels[level])
				put_rule(&nbds_rules[i]);
	}
	fputs(tail, stdout);
	return fflush(stdout) || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
