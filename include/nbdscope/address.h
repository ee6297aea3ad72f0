/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/address.h - an endpoint of a TCP connection.
 *
 * Purpose: one type and one way to write it. Plain values, no ownership, no
 * failure.
 */
#ifndef NBDSCOPE_ADDRESS_H
#define NBDSCOPE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>

/* IPv4 uses the first 4 bytes of `ip`, the rest is 0. */
struct nbds_addr {
	uint8_t ip[16];
	uint16_t port;
	uint8_t family; /* 4 or 6 */
};

#define NBDS_ADDR_TEXT 56

static inline bool nbds_addr_equal(const struct nbds_addr *a, const struct nbds_addr *b)
{
	return a->port == b->port && a->family == b->family && memcmp(a->ip, b->ip, 16) == 0;
}

/* "192.0.2.1:10809" or "[2001:db8::1]:10809", in buf, which is returned. */
static inline char *nbds_addr_text(const struct nbds_addr *a, char buf[NBDS_ADDR_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	inet_ntop(a->family == 6 ? AF_INET6 : AF_INET, a->ip, ip, sizeof(ip));
	snprintf(buf, NBDS_ADDR_TEXT, a->family == 6 ? "[%s]:%u" : "%s:%u", ip, a->port);
	return buf;
}

#endif
