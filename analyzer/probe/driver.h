/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/probe/driver.h - carries steps out on a server, by libnbd.
 *
 * Purpose.  Some connections to one export, each a handle of libnbd with a leg between it
 * and the server, and one loop that waits for all of them.  Nothing waits longer than it
 * is told.
 *
 * Ownership.  The driver owns handles, legs and commands in flight; dialer and tape are the
 * caller's.  Failure.  A step that fails leaves one line in `trouble`.
 */
#ifndef NBDSCOPE_ANALYZER_PROBE_DRIVER_H
#define NBDSCOPE_ANALYZER_PROBE_DRIVER_H

#include <signal.h>

#include <libnbd.h>

#include "dialer.h"
#include "leg.h"
#include "plan.h"

struct nbds_driver;
struct nbds_probe_link;

/* What is in flight. */
struct nbds_probe_command {
	struct nbds_probe_command *next;
	struct nbds_driver *driver;
	struct nbds_probe_link *link;
	uint8_t *bytes;  /* read, or written */
	uint8_t op;      /* enum nbds_probe_op */
	bool may_refuse; /* an error is an answer like others */
	bool done;
	int error; /* errno */
};

struct nbds_probe_link {
	struct nbd_handle *nbd; /* NULL: not connected */
	struct nbds_leg leg;
	const char *lost; /* the command that waited when it broke down; NULL: none */
	char why[120];    /* what libnbd said then */
	struct nbds_probe_command *commands;
};

struct nbds_driver {
	const struct nbds_probe_uri *uri;
	struct nbds_probe_dialer *dialer;
	struct nbds_tape *tape;
	struct nbds_probe_link links[NBDS_PROBE_CONNECTIONS];
	unsigned count;   /* links that are used */
	int64_t patience; /* ns that an answer may take */
	uint64_t seed;
	volatile sig_atomic_t stopped;
	bool hung;         /* the trouble is that there was no answer */
	char trouble[200]; /* "": none */
	/* a connection that was made before, and not used yet */
	bool dialed;
	struct nbds_probe_dialed ready;
};

/* Connects link `i`, and enters the export. False: see `trouble`. */
bool nbds_driver_open(struct nbds_driver *d, unsigned i);
/* Ends it: politely, with NBD_CMD_DISC, or not. */
void nbds_driver_close(struct nbds_driver *d, unsigned i, bool politely);
/* Those that are not connected are, as far as can be. False: one cannot. */
bool nbds_driver_ready(struct nbds_driver *d);
/* Carries one step out. False: it could not be. */
bool nbds_driver_step(struct nbds_driver *d, const struct nbds_probe_step *step);
void nbds_driver_free(struct nbds_driver *d);

#endif
