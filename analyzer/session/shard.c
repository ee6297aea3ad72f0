/* SPDX-License-Identifier: GPL-2.0-or-later */
/* shard.c - see shard.h. */
#include "shard.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

unsigned nbds_shard_of(const struct nbds_addr *server, unsigned of)
{
	uint8_t bytes[1 + sizeof(server->ip)] = {server->family};

	if (of < 2)
		return 1;
	memcpy(bytes + 1, server->ip, sizeof(server->ip));
	return (unsigned)(XXH3_64bits(bytes, sizeof(bytes)) % of) + 1;
}
