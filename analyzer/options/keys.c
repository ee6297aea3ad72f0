/* SPDX-License-Identifier: GPL-2.0-or-later */
/* keys.c - see keys.h. */
#include "keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "../capture/pcapng.h"
#include "../pipeline/pipeline.h"

/* Of the memory keys take a 16th at most. */
#define KEYS_SHARE 16u

/* The kind of decryption secrets that a TLS key log is: "TLSK". */
#define SECRETS_TLS UINT32_C(0x544c534b)

/* With the rights of who runs the program, whatever the file's own say. */
static bool open_log(struct nbds_tls_reader *keys, const char *log, bool live,
		     char err[NBDS_OPTION_ERROR])
{
	uid_t user = geteuid();
	gid_t group = getegid();
	bool opened, back;

	if (setegid(getgid()) < 0 || seteuid(getuid()) < 0) {
		snprintf(err, NBDS_OPTION_ERROR, "cannot be opened with your own rights");
		return false;
	}
	opened = nbds_tls_reader_log(keys, log, live, err, NBDS_OPTION_ERROR);
	back = seteuid(user) == 0 && setegid(group) == 0;
	if (!back)
		snprintf(err, NBDS_OPTION_ERROR, "the rights of the program are lost");
	return opened && back;
}

struct nbds_tls_reader *nbds_keys_open(const char *log, bool live, uint64_t memory,
				       char err[NBDS_OPTION_ERROR])
{
	struct nbds_tls_reader *keys =
		nbds_tls_reader_new(memory / KEYS_SHARE, err, NBDS_OPTION_ERROR);
	struct nbds_tls_reader_stats stats;
	char why[NBDS_OPTION_ERROR];

	if (!keys || !log)
		return keys;
	if (!open_log(keys, log, live, why)) {
		snprintf(err, NBDS_OPTION_ERROR, "--tls-keys: %.100s: %.100s", log, why);
		nbds_tls_reader_free(keys);
		return NULL;
	}
	nbds_tls_reader_stats(keys, &stats);
	if (!stats.lines && stats.others)
		nbds_complain("--tls-keys: %s: it is no key log: no line has a secret of a TLS "
			      "session",
			      log);
	else if (!stats.lines && !live)
		nbds_complain("--tls-keys: %s: there are no keys in it", log);
	if (stats.forgotten)
		nbds_complain("--tls-keys: %s: the keys of the oldest %" PRIu64
			      " sessions are forgotten; a larger --memory keeps them",
			      log, stats.forgotten);
	return keys;
}

static void on_secrets(void *ctx, const struct nbds_pcapng_secrets *s)
{
	if (s->kind == SECRETS_TLS)
		nbds_tls_reader_secrets(ctx, s->data, s->length);
}

void nbds_keys_use(struct nbds_tls_reader *keys, struct nbds_pipeline_config *config)
{
	config->engine.tls = keys;
	config->secrets = on_secrets;
	config->secrets_ctx = keys;
}
