/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * audit.c - an example for libnbdscope: what is wrong in a capture file.
 *
 *	cc audit.c -o audit $(pkg-config --cflags --libs nbdscope)
 *	./audit FILE
 *
 * Exits 1 if there was a violation, and 2 if FILE could not be read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <nbdscope/nbdscope.h>

static void print_frames(const struct nbdscope_finding *finding)
{
	const char *role;

	for (unsigned i = 0; (role = nbdscope_role_name(i)); i++) {
		uint64_t frame = nbdscope_finding_frame(finding, role);

		if (frame)
			printf("  %s: frame %" PRIu64 "\n", role, frame);
	}
}

int main(int argc, char **argv)
{
	const struct nbdscope_finding *finding;
	struct nbdscope_audit *audit;
	const char *verdict;
	int status = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: audit FILE\n");
		return 2;
	}
	audit = nbdscope_audit_new();
	if (!audit) {
		perror("audit");
		return 2;
	}
	if (nbdscope_audit_file(audit, argv[1]) < 0) {
		fprintf(stderr, "%s: %s\n", argv[1], nbdscope_audit_error(audit));
		status = 2;
	}
	while ((finding = nbdscope_audit_next(audit))) {
		printf("%s: %s: %s\n", nbdscope_level_name(nbdscope_finding_level(finding)),
		       nbdscope_finding_rule(finding), nbdscope_finding_message(finding));
		print_frames(finding);
	}
	verdict = status ? NULL : nbdscope_audit_verdict(audit);
	if (verdict) {
		printf("verdict: %s\n", verdict);
		status = strcmp(verdict, "violations") == 0;
	}
	nbdscope_audit_free(audit);
	return status;
}
