/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * evidence.h - the frames that prove a finding, as a small capture of their own.
 *
 * Purpose.  Cuts out of a capture what one finding rests on, into a pcapng file that is
 * small enough to be attached to a report of the bug, and that says of each frame what it
 * is.  What is written was audited before: it yields the same finding, at the same level,
 * and no violation that the whole capture does not have, nor a suspect, if that can be had.
 *
 * How.  Streams with holes prove nothing, so that frames cannot simply be left out.  What is
 * left out are whole commands, request and answers together, as if they had never been
 * sent: the bytes behind them move up, and with them sequence and acknowledgement numbers.
 * All that a proof rests on is kept by that: the order of frames, their times, who had
 * acknowledged what when, retransmissions, what is missing or damaged.  Which commands are
 * needed is tried, the fewest first, by auditing what comes of it:
 *
 *	the finding's own commands
 *	and all connections of the export, with what touches the same place, and flushes
 *	and all connections of the host
 *	and all writes on the finding's connections
 *	whole connections, as they are in the capture, up to the last frame of the finding
 *	all frames up to there; all frames
 *
 * each until the last frame that the finding names, and to the end of the connections.
 *
 * Ownership.  Descriptors stay the caller's; all are files that can be read again.  Failure.
 * False with one line in the result.
 */
#ifndef NBDSCOPE_ANALYZER_EVIDENCE_H
#define NBDSCOPE_ANALYZER_EVIDENCE_H

#include <stdbool.h>
#include <stdint.h>

#include <nbdscope/engine.h>

struct nbds_evidence_config {
	const struct nbds_engine_config *engine; /* as the finding was made with */
	const struct nbds_finding *finding;
	struct nbds_engine *told; /* the engine that told it, still there */
	const char *name;         /* of the capture */
	const char *version;      /* of the program */
	int in;                   /* the capture */
	int scratch;              /* an empty file for what is tried */
	int out;                  /* where the evidence goes */
	bool replace;             /* what is in `out`, once there is evidence to put there */
	bool anonymize;           /* with other addresses, names and contents (mask.h) */
};

struct nbds_evidence_result {
	uint64_t frames, bytes;       /* of the evidence; bytes of the file */
	uint64_t of_frames, of_bytes; /* of the capture; bytes of its frames */
	bool edited;                  /* commands were left out of streams */
	bool renumbered;              /* connections have other numbers than in the capture */
	bool by_bytes;                /* anonymized by bytes, not by sectors */
	bool more;                    /* it has suspects that the capture does not have */
	char error[256];
};

bool nbds_evidence_cut(const struct nbds_evidence_config *config,
		       struct nbds_evidence_result *result);

#endif
