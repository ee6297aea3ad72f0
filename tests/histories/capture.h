/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tests/histories/capture.h - a history as a capture of TCP.
 *
 * Purpose.  Writes the packets of which a history is what an observer makes: to be
 * audited by the whole program.  Every event is one packet; a connection's greeting
 * and haggling come right before its first instant.  The margin of order becomes the
 * 50 us that the program demands, whatever it is in the history, and the whole is shorter
 * than old values wait for a read to be answered (10 s), and verdicts for all else (30 s).
 *
 * Ownership.  frames_free() frees the list of frames.  Failure: of writing, false;
 * shortage of memory ends the program (these are tests).
 */
#ifndef NBDSCOPE_TESTS_CAPTURE_H
#define NBDSCOPE_TESTS_CAPTURE_H

#include "history.h"

struct frames {
	uint64_t *request, *reply; /* of each command; reply 0: it has none */
	uint64_t count;            /* frames in all */
};

/* Can it be written? Not what rests on things unseen, on cookies used twice, or on
 * requests that were not legal, nor what takes too long. */
bool capture_fits(const struct history *h);
/* In a capture every segment acknowledges something. Fills in what an observer would
 * take from one of this history: no more than the history says, and no less than the
 * segments before. */
void capture_acknowledge(struct history *h);
/* Writes a pcap file of nanoseconds of a history so completed. */
bool capture_write(const struct history *h, const char *path, struct frames *f);
void frames_free(struct frames *f);

#endif
