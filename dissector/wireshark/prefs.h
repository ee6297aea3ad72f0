/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * prefs.h - what the user wants of the plugin.
 *
 * Purpose.  The preferences that nbdscope adds to those of NBD, and what Wireshark's
 * own tables say of ports and protocols.  Read by register.c and watch.c.
 *
 * Ownership.  Wireshark writes `nbds_prefs` whenever the user changes something;
 * what depends on it is decided anew when a file is read.
 */
#ifndef NBDS_SHARK_PREFS_H
#define NBDS_SHARK_PREFS_H

#include "compat.h"

#include <stdbool.h>
#include <stdint.h>

struct nbds_prefs {
	nbds_ws_bool builtin;   /* leave NBD to the dissector that Wireshark brings */
	nbds_ws_bool findings;  /* show the engine's findings */
	nbds_ws_bool exclusive; /* no writer stays outside the capture */
	unsigned objects;       /* MiB that exported objects may have */
};
extern struct nbds_prefs nbds_prefs;

/* Once, after the protocol is registered. */
void nbds_prefs_register(void);

/* Is NBD to be dissected here at all? */
bool nbds_prefs_enabled(void);
/* Does the user want it on any port? */
bool nbds_prefs_any_port(void);
/* The server ports that are ours, `most` at most; how many. */
unsigned nbds_prefs_ports(uint16_t *ports, unsigned most);
bool nbds_prefs_port(uint16_t port);
/* The TCP ports (uint16_t) that `handle` has; none for NULL. The caller frees it. */
GArray *nbds_prefs_ports_of(dissector_handle_t handle);

#endif
