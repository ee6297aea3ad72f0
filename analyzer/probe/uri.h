/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/uri.h - the server and export that an NBD URI names.
 *
 * Purpose.  Reads nbd://host[:port]/export and nbd+unix:///export?socket=path, as
 * doc/uri.md of the NBD project has them.  libnbd reads them, too, but only to connect
 * at once, and the probe stands between it and the server.  libxml2 takes them apart,
 * as it does there.
 *
 * Ownership.  Plain values.  Failure.  False with one line in `err`: it is no such URI,
 * or one of TLS.
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_URI_H
#define NBDSCOPE_ANALYZER_PROBE_URI_H

#include <stdbool.h>
#include <stddef.h>

#define NBDS_PROBE_NAME_MAX 4096u /* of an export, bytes, as the protocol has it */

struct nbds_probe_uri {
	bool local;     /* a Unix domain socket */
	bool vsock;     /* host and port are numbers of AF_VSOCK */
	char path[108]; /* of it; "": not local */
	char host[256]; /* without brackets */
	char port[16];
	char export[NBDS_PROBE_NAME_MAX + 1];
};

bool nbds_probe_uri_parse(const char *text, struct nbds_probe_uri *uri, char *err, size_t errsize);

#endif
