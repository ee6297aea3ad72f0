/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/log/log.h - findings for systemd's journal, or for syslog.
 *
 * Purpose.  Each finding becomes one entry when it is told, and each capture one when its
 * audit is over, so that whoever watches logs can watch audits, too.  In the journal they
 * have fields of their own (docs/fleet.md lists them); in syslog, the JSON of docs/json.md
 * after "@cee: ", which rsyslog and syslog-ng read.
 *
 *	report ─► hooks ─► limit ─► sd_journal_sendv()      /run/systemd/journal/socket
 *	                       └──► a datagram               /dev/log
 *
 * What a program may send is bounded (NBDS_LOG_BURST in NBDS_LOG_INTERVAL seconds, of which
 * the last quarter is for violations), since loggers drop what comes too fast without saying
 * whose it was.  What was not sent is counted, and said by an entry of its own as soon as one
 * may be sent again, at the end, and on standard error by the caller.
 *
 * Whose names are in an entry is not to be trusted: all is printable text.
 *
 * Threads.  One at a time.  Failure.  nbds_log_open() connects, before the program is confined,
 * and needs nothing afterwards; NULL and one line in `err` if nobody listens.
 */
#ifndef NBDSCOPE_ANALYZER_LOG_H
#define NBDSCOPE_ANALYZER_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "../report/options.h"

#define NBDS_LOG_BURST    5000u
#define NBDS_LOG_INTERVAL 30 /* seconds */

/* Kinds of entries: MESSAGE_ID of the journal, `message_id` of syslog's JSON. */
#define NBDS_LOG_ID_BEGIN    "6b921ea42bf44498a6d70dce1bcb25bc" /* the log is opened */
#define NBDS_LOG_ID_FINDING  "5e3631f927164786bba47980b7feba84"
#define NBDS_LOG_ID_END      "aa1547938e514b0a93d091788196573b" /* a capture's audit is over */
#define NBDS_LOG_ID_NOT_SENT "1cc2f8b9807e4eab862cb7805e08d730"

enum nbds_log_where { NBDS_LOG_NOWHERE, NBDS_LOG_JOURNAL, NBDS_LOG_SYSLOG };

struct nbds_log;

struct nbds_log *nbds_log_open(enum nbds_log_where where, const char *version, char *err,
			       size_t errsize);
void nbds_log_close(struct nbds_log *log);

/* What a report calls; their context is the log. */
extern const struct nbds_report_hooks nbds_log_hooks;

/* Says, by an entry, what was not sent so far and not said. How many entries were not, of
 * all time. */
uint64_t nbds_log_finish(struct nbds_log *log);
/* errno of why the logger did not take an entry; 0: it took all that it was sent. */
int nbds_log_error(const struct nbds_log *log);

#endif
