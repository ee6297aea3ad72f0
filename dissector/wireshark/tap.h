/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tap.h - what the tap "nbd" tells.
 *
 * Purpose.  Statistics, and other plugins, listen to the tap "nbd" with
 * register_tap_listener().  Each thing told is a struct nbds_tap_info.
 *
 * Ownership.  Valid during the call; names are constant.
 */
#ifndef NBDS_SHARK_TAP_H
#define NBDS_SHARK_TAP_H

#include "shark.h"

enum nbds_tap_kind {
	NBDS_TAP_MESSAGE, /* a message belongs to the frame */
	NBDS_TAP_REPLY,   /* the last byte of a final reply is in the frame */
	NBDS_TAP_FINDING, /* the frame is a proof of a finding */
};

struct nbds_tap_info {
	enum nbds_tap_kind kind;
	const struct nbds_connection *connection; /* FINDING: NULL */
	const char *name; /* of the message: "NBD_CMD_READ", "NBD_REP_ACK", ... */
	bool from_server;
	bool request; /* MESSAGE: a request of the transmission phase */
	/* REPLY, and MESSAGE if it is a request or answers one: */
	bool command;   /* a command; false: an option */
	uint16_t type;  /* enum nbd_cmd */
	uint16_t flags; /* command flags */
	uint64_t offset, length;
	/* REPLY */
	uint32_t error;      /* 0: success */
	uint64_t data_bytes; /* read, holes included */
	bool timed;          /* the request was seen */
	nstime_t request_time, reply_time;
	/* FINDING */
	const struct nbds_finding *finding;
	bool last; /* it is on several frames: the one to count it at */
};

void nbds_tap_message(packet_info *pinfo, const struct conn *k, const struct msg *m,
		      const struct op *op);
void nbds_tap_reply(packet_info *pinfo, const struct conn *k, const struct msg *m,
		    const struct op *op);
void nbds_tap_finding(packet_info *pinfo, const struct nbds_finding *f, bool last);

#endif
