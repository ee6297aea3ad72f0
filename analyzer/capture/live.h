/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live.h - packets of a network interface.
 *
 * Purpose.  Wraps libpcap's live capture: large kernel buffer, nanoseconds where
 * the interface has them, and a wait that a signal ends.  Only opening needs
 * privileges.
 *
 * Ownership.  A packet's bytes are libpcap's until the next call.  Failure.  -1
 * or NULL and one line that says what to do about it.
 */
#ifndef NBDSCOPE_ANALYZER_LIVE_H
#define NBDSCOPE_ANALYZER_LIVE_H

#include <stdio.h>

#include <nbdscope/packet.h>

struct nbds_live;

#define NBDS_LIVE_WAIT_MS 100

/* Bytes of the kernel's ring, which hold what comes while we are busy: a 64th of the
 * machine's memory, from 32 to 256 MiB. */
int nbds_live_buffer(void);

/*
 * What is watched takes the processor too, and while it has it nothing is read: from
 * now on the calling thread, and those that it starts, come before others. Needs the
 * privilege (CAP_SYS_NICE); without it nothing changes, and neither if the user has set
 * a priority (nice). nbds_live_relax() undoes it for the calling thread.
 */
void nbds_live_hurry(void);
void nbds_live_relax(void);

/* The same for the session, as Linux shares the processors between sessions before it looks
 * at priorities inside of them (autogroup), and what is watched may be in another one. The
 * session of a terminal has a shell in it, too: it is to be undone in the end, also without
 * rights, with what this returns; -1: nothing was changed. */
int nbds_live_hurry_session(void);
void nbds_live_relax_session(int session);

struct nbds_live *nbds_live_open(const char *device, const char *filter, uint32_t snaplen,
				 int buffer_size, char *err, size_t errsize);
void nbds_live_close(struct nbds_live *live);

/* 1: *p is the next packet. 0: none within NBDS_LIVE_WAIT_MS, or a signal came.
 * -1: error. Sets all of *p but `frame`. */
int nbds_live_next(struct nbds_live *live, struct nbds_packet *p);
/* Calls `each` for at most so many, with their bytes where the kernel has put them
 * (nbds_live_next() has to copy them). How many there were; 0 and -1 as above. */
int nbds_live_each(struct nbds_live *live, int most, void (*each)(void *ctx, struct nbds_packet *p),
		   void *ctx);
/* Prints the interfaces that there are, one a line, with their state and addresses. False
 * with the reason in `err`. */
bool nbds_live_list(FILE *out, char *err, size_t errsize);
const char *nbds_live_error(const struct nbds_live *live);

int nbds_live_linktype(const struct nbds_live *live);
uint32_t nbds_live_snaplen(const struct nbds_live *live);
const char *nbds_live_device(const struct nbds_live *live);

/* Packets dropped since the start, by the interface and by the kernel (its ring
 * was full). False if the system does not say. */
bool nbds_live_drops(struct nbds_live *live, uint64_t *ifdrop, uint64_t *osdrop);

#endif
