/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/options/keys.h - keys to what is inside TLS, as nbdaudit and nbdtop take them.
 *
 * From the key log of --tls-keys, and from the decryption secrets inside of a capture.
 * The log is opened first of all, with the rights of who runs the program, before it
 * confines itself.
 *
 * Failure.  As in options.h.
 */
#ifndef NBDSCOPE_ANALYZER_OPTIONS_KEYS_H
#define NBDSCOPE_ANALYZER_OPTIONS_KEYS_H

#include "options.h"

#include "../tls/tls.h"

struct nbds_pipeline_config;

/* `log`: the key log; NULL: none. `live`: it is followed as it grows. `memory`: that of
 * the program, of which keys take a small part at most. */
struct nbds_tls_reader *nbds_keys_open(const char *log, bool live, uint64_t memory,
				       char err[NBDS_OPTION_ERROR]);
/* Pipelines of this configuration look inside TLS with the reader, which lives longer. */
void nbds_keys_use(struct nbds_tls_reader *keys, struct nbds_pipeline_config *config);

#endif
