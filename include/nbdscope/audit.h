/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/audit.h - libnbdscope: connections in; findings and a report out.
 *
 * Purpose.  An audit is what nbdaudit does with one capture: it follows all
 * connections, pairs requests with replies, and judges the protocol's rules and what
 * servers promise about flush, FUA and several connections.  It is fed in one of three
 * ways, which cannot be mixed:
 *
 *	nbdscope_audit_file()	a capture file, from its beginning to its end
 *	nbdscope_audit_packet()	packets, one after the other, as an interface has them
 *	nbdscope_audit_stream()	connections as the bytes of their two directions, as a
 *				proxy or a server's test suite has them
 *
 * Where streams are watched matters as much as where packets are captured: all calls
 * have to be made in the order in which the bytes passed *one* point.  A proxy calls
 * nbdscope_stream_data() when it has received bytes, and sends them on afterwards; a
 * server calls it after it received and before it sends.  Never are one connection's bytes
 * told at the client's end and another's at the server's.  Threads take one lock around
 * the calls; it need not be held while bytes are sent.
 *
 * Findings come when they are certain, often only with later traffic, and all at
 * nbdscope_audit_finish().  A finding names frames: of files and packets their numbers,
 * from 1; of streams the number of the call that brought the bytes, which
 * nbdscope_stream_data() and its sisters return.
 *
 * Specification: doc/proto.md, "Ordering of messages and writes" and all of
 * "Transmission phase"; nbdscope-consistency(7) says what follows from them, and
 * nbdscope-rules(7) lists the rules.
 *
 * Example.
 *	struct nbdscope_audit *audit = nbdscope_audit_new();
 *	const struct nbdscope_finding *f;
 *
 *	if (nbdscope_audit_file(audit, "nbd.pcap") < 0)
 *		fprintf(stderr, "%s\n", nbdscope_audit_error(audit));
 *	while ((f = nbdscope_audit_next(audit)))
 *		printf("%s: %s\n", nbdscope_finding_rule(f), nbdscope_finding_message(f));
 *	puts(nbdscope_audit_verdict(audit));
 *	nbdscope_audit_free(audit);
 */
#ifndef NBDSCOPE_AUDIT_H
#define NBDSCOPE_AUDIT_H

#include <nbdscope/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An audit. The caller's, from new to free. */
struct nbdscope_audit;
/* A connection whose bytes the caller has. The audit's, until closed or freed with it. */
struct nbdscope_stream;
/* A finding. The audit's, until the audit is freed. */
struct nbdscope_finding;

/* NULL: ENOMEM. */
NBDSCOPE_API struct nbdscope_audit *nbdscope_audit_new(void);
/* Frees it with its streams, findings and reports. NULL is allowed. */
NBDSCOPE_API void nbdscope_audit_free(struct nbdscope_audit *audit);

/* --- before anything is fed; afterwards: EBUSY --- */

/* The most memory for contents and state, in bytes; by default 1 GiB. Past it the oldest
 * contents are forgotten, and what rests on them is not judged. EINVAL: less than 1 MiB. */
NBDSCOPE_API int nbdscope_audit_set_memory(struct nbdscope_audit *audit, uint64_t bytes);
/* 1: no writer stays outside of what is fed, so that data which nobody wrote is a
 * violation. By default 0. */
NBDSCOPE_API int nbdscope_audit_set_exclusive(struct nbdscope_audit *audit, int exclusive);
/* The report is wanted as a page, too: what its charts show is kept from the beginning. It
 * takes an eighth of the memory. */
NBDSCOPE_API int nbdscope_audit_keep_page(struct nbdscope_audit *audit);
/* A further port of servers, for packets and files: without it a server is recognised by
 * its greeting, and in the middle of a connection by matching requests and replies.
 * EINVAL: not from 1 to 65535. ENOSPC: more than 64. */
NBDSCOPE_API int nbdscope_audit_add_port(struct nbdscope_audit *audit, unsigned port);

/* --- feeding --- */

/* A capture file, as nbdaudit reads it: pcap or pcapng, plain or compressed with gzip,
 * zstd, lz4, xz or bzip2. All of it is read, and the audit finished. Errors: EIO: it could
 * not be opened, or not be read to its end; nbdscope_audit_error() says why in words, and
 * what was read before is judged. EBUSY: something was fed before. ENOMEM. */
NBDSCOPE_API int nbdscope_audit_file(struct nbdscope_audit *audit, const char *path);

/* A packet: of `length` bytes on the wire the first `captured` are at `bytes`, from the
 * link layer on. `linktype` is that of pcap (1: Ethernet, 101: IP). `time` is in
 * nanoseconds since 1970, or NBDSCOPE_NOW; packets come in the order of their capture.
 * The bytes stay the caller's. Errors: EINVAL (more captured than there were), EBUSY
 * (another kind was fed, or it is finished), ENOMEM. */
NBDSCOPE_API int nbdscope_audit_packet(struct nbdscope_audit *audit, int linktype,
				       const void *bytes, uint32_t captured, uint32_t length,
				       int64_t time);

/* A connection that begins now. Addresses are "192.0.2.1:10809" or "[2001:db8::1]:10809":
 * connections to one server have the same one, since one address with one export's name is
 * one device; those of one client have the same host. NULL: a server, or a client, on the
 * loopback address; the client's port is then one that was not used. `time` as for packets.
 * Errors: EINVAL (no such address), EBUSY (as for packets), ENOMEM. */
NBDSCOPE_API struct nbdscope_stream *nbdscope_audit_stream(struct nbdscope_audit *audit,
							   const char *client, const char *server,
							   int64_t time);

/* `len` bytes that `side` sent pass now. The number of the call, from 1, by which findings
 * name it; or -1: EINVAL (no such side, after its end), EBUSY (finished). What cannot be
 * followed for want of memory is not judged, and is said in the report. */
NBDSCOPE_API int64_t nbdscope_stream_data(struct nbdscope_stream *stream, enum nbdscope_side side,
					  const void *bytes, size_t len, int64_t time);
/* The same of bytes that passed and are not known. */
NBDSCOPE_API int64_t nbdscope_stream_gap(struct nbdscope_stream *stream, enum nbdscope_side side,
					 uint64_t len, int64_t time);
/* `side` sends nothing more (FIN; "Terminating the transmission phase"). The same numbers
 * and errors. */
NBDSCOPE_API int64_t nbdscope_stream_end(struct nbdscope_stream *stream, enum nbdscope_side side,
					 int64_t time);
/* The connection is over, and the stream is freed; a direction that did not end was cut off
 * (RST). A stream that is there when the audit finishes counts as open: EBUSY, and it is
 * freed all the same, as it would be with the audit. */
NBDSCOPE_API int64_t nbdscope_stream_close(struct nbdscope_stream *stream, int64_t time);

/* Nothing more comes: all verdicts are passed. Calling it again
 * does no harm. ENOMEM: something may be missing. */
NBDSCOPE_API int nbdscope_audit_finish(struct nbdscope_audit *audit);

/* --- what was found --- */

/* The next finding; NULL: none so far (errno is left alone). Before finish, those that are
 * certain already. */
NBDSCOPE_API const struct nbdscope_finding *nbdscope_audit_next(struct nbdscope_audit *audit);

/* Finishes, and says "clean", "hazards", "suspect", "violations", or "unaudited": no
 * finding, and nothing that could be looked into. Constant. NULL: ENOMEM. */
NBDSCOPE_API const char *nbdscope_audit_verdict(struct nbdscope_audit *audit);

/* Finishes, and writes the report of nbdaudit in a form of its option --format: "json"
 * (JSON Lines), "text", "junit" or "sarif", and "html" if nbdscope_audit_keep_page() was
 * called. The audit's, until the next report (a page: until free). NULL: EINVAL (no such
 * form), ENOMEM. */
NBDSCOPE_API const char *nbdscope_audit_report(struct nbdscope_audit *audit, const char *form);

/* Why the last file could not be read, one line; "" if nothing failed. The audit's, until
 * free. */
NBDSCOPE_API const char *nbdscope_audit_error(const struct nbdscope_audit *audit);

/* The rule's name, "stale-read-after-flush", and its row in the catalogue, "V2". Constant.
 * No failure, as of all functions below. */
NBDSCOPE_API const char *nbdscope_finding_rule(const struct nbdscope_finding *finding);
NBDSCOPE_API const char *nbdscope_finding_ref(const struct nbdscope_finding *finding);
/* How sure it is, here: not above the rule's own level. */
NBDSCOPE_API enum nbdscope_level nbdscope_finding_level(const struct nbdscope_finding *finding);
/* Whose fault: "server", "client" or "either". Constant. */
NBDSCOPE_API const char *nbdscope_finding_at_fault(const struct nbdscope_finding *finding);
/* A sentence or two. */
NBDSCOPE_API const char *nbdscope_finding_message(const struct nbdscope_finding *finding);
/* What to do about it, one line. Constant. */
NBDSCOPE_API const char *nbdscope_finding_advice(const struct nbdscope_finding *finding);
/* The connection, counted from 1 in the order of their first bytes; 0: none in particular. */
NBDSCOPE_API uint32_t nbdscope_finding_connection(const struct nbdscope_finding *finding);
/* The export's name ("Values" and NBD_OPT_GO), any bytes, and in *len how many; NULL: none in particular. */
NBDSCOPE_API const char *nbdscope_finding_export(const struct nbdscope_finding *finding,
						 size_t *len);
/* The command ("Request types"), "NBD_CMD_READ"; NULL: none in particular. Constant. */
NBDSCOPE_API const char *nbdscope_finding_command(const struct nbdscope_finding *finding);
/* 1, with the bytes of the export that are at fault in *offset and *length; 0: none in
 * particular, and both are left alone. */
NBDSCOPE_API int nbdscope_finding_range(const struct nbdscope_finding *finding, uint64_t *offset,
					uint64_t *length);
/* The frame, or the number of the call, in a role of the proof: "read", "write", "flush",
 * "message" and those that docs/json.md lists. 0: none has that role. */
NBDSCOPE_API uint64_t nbdscope_finding_frame(const struct nbdscope_finding *finding,
					     const char *role);
/* The roles that there are, from 0: NULL ends them. Constant. */
NBDSCOPE_API const char *nbdscope_role_name(unsigned role);
/* When: nanoseconds since 1970. */
NBDSCOPE_API int64_t nbdscope_finding_time(const struct nbdscope_finding *finding);
/* 1, or for how many of its kind it stands. */
NBDSCOPE_API uint64_t nbdscope_finding_count(const struct nbdscope_finding *finding);

#ifdef __cplusplus
}
#endif
#endif
