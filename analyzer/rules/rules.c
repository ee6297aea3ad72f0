/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules, and findings as values.
 */
#include <stdlib.h>
#include <string.h>

#include "rules.h"

#define ADVICE_SERVER(server, client) "server: " server
#define ADVICE_CLIENT(server, client) "client: " client
#define ADVICE_EITHER(server, client) "server: " server "; client: " client

#define RULE(id, NAME, REF, LEVEL, SIDE, BASIS, COLLAPSE, SUMMARY, EXPECTED, WHY, EXAMPLE, SERVER, \
	     CLIENT, PLACE)                                                                        \
	[RULE_##id] = {.name = NAME,                                                               \
		       .ref = REF,                                                                 \
		       .severity = NBDS_##LEVEL,                                                   \
		       .side = NBDS_FAULT_##SIDE,                                                  \
		       .basis = NBDS_BASIS_##BASIS,                                                \
		       .summary = SUMMARY,                                                         \
		       .explain = WHY,                                                             \
		       .advice = ADVICE_##SIDE(SERVER, CLIENT),                                    \
		       .place = PLACE,                                                             \
		       .expected = EXPECTED,                                                       \
		       .example = EXAMPLE,                                                         \
		       .server = SERVER,                                                           \
		       .client = CLIENT,                                                           \
		       .collapse = COLLAPSE},
#define UNRULED(ref, rule, why)

/* clang-format off */
const struct nbds_rule nbds_rules[] = {
	[RULE_STALE_AFTER_FLUSH] = {
		"stale-read-after-flush", "V2", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_EXPLICIT,
		"with CAN_MULTI_CONN, a read missed a write that a completed flush had covered",
		"A server that sets NBD_FLAG_CAN_MULTI_CONN promises that once NBD_CMD_FLUSH is\n"
		"answered, every write that was answered before the flush began is visible on all\n"
		"connections to the export, whichever connection sent the flush.\n"
		"\n"
		"Here a write was answered, then a flush was sent and answered without error, then a\n"
		"read was sent: and it returned the data from before the write. No order of execution\n"
		"explains that. Typical causes are a cache or a disk of its own per connection (a flush\n"
		"that reaches only its own cache) behind a flag that promises otherwise. A client that\n"
		"spreads its commands over connections, as the Linux kernel and nbdcopy do, reads old\n"
		"data or writes it back: silent corruption.\n"
		"\n"
		"Until the server is repaired: one connection per client, or clear the flag\n"
		"(for nbdkit: --filter=multi-conn multi-conn-mode=disable or =emulate).\n",
		"server: let one cache serve all connections, or clear NBD_FLAG_CAN_MULTI_CONN; until then use one connection a client",
		"Transmission flags: NBD_FLAG_CAN_MULTI_CONN",
		.expected = "Once a flush is answered, every write that was answered before it began is visible\n"
			"on all connections to an export with NBD_FLAG_CAN_MULTI_CONN.\n",
		.example = "conn 1: NBD_CMD_WRITE \"new\", answered\n"
			"conn 1: NBD_CMD_FLUSH, answered\n"
			"conn 2: NBD_CMD_READ returns \"old\"\n",
		.server = "let one cache serve all connections, or clear NBD_FLAG_CAN_MULTI_CONN",
		.client = "use one connection" },
	[RULE_STALE_AFTER_FUA] = {
		"stale-read-after-fua", "V3", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_EXPLICIT,
		"with CAN_MULTI_CONN, a read missed a completed write that carried FUA",
		"With NBD_FLAG_CAN_MULTI_CONN the effect of a write with NBD_CMD_FLAG_FUA is visible on\n"
		"all connections to the export when its reply is sent.\n"
		"\n"
		"Here such a write was answered without error, then a read was sent, and it returned\n"
		"older data. As with stale-read-after-flush, the usual cause is a cache per connection.\n",
		"server: let one cache serve all connections, or clear NBD_FLAG_CAN_MULTI_CONN; until then use one connection a client",
		"Transmission flags: NBD_FLAG_CAN_MULTI_CONN",
		.expected = "Once a write with NBD_CMD_FLAG_FUA is answered, it is visible on all connections to\n"
			"an export with NBD_FLAG_CAN_MULTI_CONN.\n",
		.example = "conn 1: NBD_CMD_WRITE \"new\" with FUA, answered\n"
			"conn 2: NBD_CMD_READ returns \"old\"\n",
		.server = "let one cache serve all connections, or clear NBD_FLAG_CAN_MULTI_CONN",
		.client = "use one connection" },
	[RULE_ZEROES_NOT_READ_BACK] = {
		"zeroes-not-read-back", "V4", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_EXPLICIT,
		"a read returned old data where a completed WRITE_ZEROES must read as zeroes",
		"After a successful NBD_CMD_WRITE_ZEROES the whole range must read back as zeroes, no\n"
		"matter whether the server deallocated it.\n"
		"\n"
		"Here a part of the range still read as the data from before. A known cause are servers\n"
		"that zero only a first piece of a long range and report success for all of it.\n",
		"server: zero the whole range before answering; until then clear NBD_FLAG_SEND_WRITE_ZEROES",
		"Transmission phase: NBD_CMD_WRITE_ZEROES",
		.expected = "After a successful NBD_CMD_WRITE_ZEROES the range reads as zeroes.\n",
		.example = "C: NBD_CMD_WRITE \"data\"\n"
			"S: no error\n"
			"C: NBD_CMD_WRITE_ZEROES\n"
			"S: no error\n"
			"C: NBD_CMD_READ\n"
			"S: \"data\"\n",
		.server = "zero the whole range before answering",
		.client = "write zeroes with NBD_CMD_WRITE" },
	[RULE_STALE_OWN_WRITE] = {
		"stale-read-own-write", "V1", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_IMPLIED,
		"a read missed an earlier completed write of its own connection",
		"A write that was answered without error has been done, as far as its own connection can\n"
		"see: a later read there returns it. The specification does not say so in one sentence; it\n"
		"follows from what a write, a reply and a block device are, and no client could work\n"
		"without it. Hence the basis `implied'.\n"
		"\n"
		"If other connections wrote without a flush in between, the level is `suspect': the\n"
		"server may have written back a neighbour's stale block, which is legal in some cases.\n",
		"server: answer a write only when reads on its connection will see it, and look for writes that go to a wrong place",
		"Transmission phase: NBD_CMD_WRITE, and Ordering of messages and writes",
		.expected = "A read that is sent after a write on the same connection was answered returns what\n"
			"was written.\n",
		.example = "C: NBD_CMD_WRITE \"new\"\n"
			"S: no error\n"
			"C: NBD_CMD_READ\n"
			"S: \"old\"\n",
		.server = "answer a write only when reads on its connection see it",
		.client = "nothing helps but another server" },
	[RULE_ZERO_STATUS] = {
		"zero-status-contradicts-data", "V6", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_EXPLICIT,
		"block status says zero where the contents provably are not",
		"NBD_STATE_ZERO in base:allocation says that the extent reads as zeroes. A client that\n"
		"copies the image skips such extents.\n"
		"\n"
		"Here completed writes prove that there is other data. The same conditions as for reads\n"
		"apply: the status reply counts as a read of zeroes.\n",
		"server: report NBD_STATE_ZERO only of what reads as zeroes; until then copy without block status",
		"Metadata querying: the base:allocation context",
		.expected = "NBD_STATE_ZERO is set only where the export reads as zeroes.\n",
		.example = "C: NBD_CMD_WRITE \"data\"\n"
			"S: no error\n"
			"C: NBD_CMD_BLOCK_STATUS\n"
			"S: zero\n",
		.server = "report status 0 where it is not known",
		.client = "read instead of asking for the status" },
	[RULE_REPLY_BEFORE_PAYLOAD] = {
		"reply-before-payload", "V7", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_IMPLIED,
		"a write succeeded before its payload had reached the server",
		"The segment that carries the end of the success reply acknowledges, at TCP level, only a\n"
		"part of the write's payload: the server cannot have written what it did not have.\n",
		"server: answer a write only after its payload was read and written",
		"Transmission phase: NBD_CMD_WRITE",
		.expected = "A write is answered without error only when its payload has come and been written.\n",
		.example = "C: NBD_CMD_WRITE 65536 bytes, 32768 of them\n"
			"S: no error\n"
			"C: the other 32768 bytes\n",
		.server = "answer when all of the payload is written",
		.client = "nothing helps but another server" },
	[RULE_READ_ONLY] = {
		"write-succeeded-on-read-only", "V8", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_EXPLICIT,
		"a write-class command succeeded on a read-only export",
		"With NBD_FLAG_READ_ONLY the server must answer NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES and\n"
		"NBD_CMD_TRIM with an error (NBD_EPERM). A TRIM may have been ignored, and is only noted.\n",
		"server: answer NBD_EPERM on a read-only export, or do not set NBD_FLAG_READ_ONLY",
		"Transmission flags: NBD_FLAG_READ_ONLY",
		.expected = "With NBD_FLAG_READ_ONLY every write is answered by an error.\n",
		.example = "S: transmission flags with NBD_FLAG_READ_ONLY\n"
			"C: NBD_CMD_WRITE\n"
			"S: no error\n",
		.server = "answer NBD_EPERM, or clear the flag",
		.client = "do not write to what is read-only" },
	[RULE_UNSTABLE_READ] = {
		"unstable-read", "V9", NBDS_VIOLATION, NBDS_FAULT_SERVER, NBDS_BASIS_IMPLIED,
		"two reads with nothing between them disagree",
		"Concurrent writes may be done in any order, even byte by byte; but once all are done and\n"
		"in force, the outcome stands. Here two reads on one connection, one after the other,\n"
		"returned different outcomes although no write came between.\n",
		"server: find out which of its copies each read came from: a cache, a replica, a tier",
		"Ordering of messages and writes",
		.expected = "What was read once is there until it is written again.\n",
		.example = "C: NBD_CMD_READ\n"
			"S: \"a\"\n"
			"C: NBD_CMD_READ\n"
			"S: \"b\"\n",
		.server = "settle concurrent writes before answering the second of them",
		.client = "do not send writes to the same bytes concurrently" },
	[RULE_UNEXPLAINED] = {
		"read-unexplained-data", "V1x", NBDS_SUSPECT, NBDS_FAULT_EITHER, NBDS_BASIS_IMPLIED,
		"a read returned data that nothing in the capture wrote there",
		"The sectors were written, the write was in force, and the read returned neither that nor\n"
		"anything else that the capture has seen there. Either a writer stays outside the capture\n"
		"(another host, a local process, another protocol), or the server corrupts data. With\n"
		"--exclusive you vouch that there is no such writer; then it is a violation.\n",
		"find the writer that is not in the capture, or vouch with --exclusive that there is none; else check the server's storage",
		"Ordering of messages and writes",
		.expected = "A read returns what was written there last.\n",
		.example = "C: NBD_CMD_WRITE \"new\"\n"
			"S: no error\n"
			"C: NBD_CMD_READ\n"
			"S: \"???\"\n",
		.server = "look for writes that go to a wrong place, and reads from one",
		.client = "look for another writer" },
	[RULE_UNORDERED] = {
		"stale-read-unordered-writes", "Q6", NBDS_SUSPECT, NBDS_FAULT_SERVER, NBDS_BASIS_IMPLIED,
		"two completed writes of different connections, no flush between, came out in the other order",
		"The second write was sent after the first was answered, on another connection, and later\n"
		"flushed; a read still returned the first. One shared cache forbids that. Caches per\n"
		"connection that are written back late, and are flushed together, permit it; the\n"
		"specification does not decide, so it is not called a violation.\n",
		"client: flush between writes of different connections whose order matters; server: let one cache serve all connections",
		"Ordering of messages and writes",
		.expected = "Of two writes, one sent after the other was answered, the second stays.\n",
		.example = "conn 1: NBD_CMD_WRITE \"a\", answered\n"
			"conn 2: NBD_CMD_WRITE \"b\", answered, NBD_CMD_FLUSH, answered\n"
			"NBD_CMD_READ returns \"a\"\n",
		.server = "let one cache serve all connections",
		.client = "flush between writes of different connections to the same bytes" },
	[RULE_LOST_AFTER_RECONNECT] = {
		"lost-after-reconnect", "trace 31", NBDS_SUSPECT, NBDS_FAULT_SERVER, NBDS_BASIS_EXPLICIT,
		"flushed or FUA data is missing after every connection ended and new ones came",
		"Flushed data must survive. But between the flush and this read every connection to the\n"
		"server had ended: whether the same server with the same storage answers now cannot be\n"
		"seen from the wire.\n",
		"server: check that flush and FUA reach stable storage, and that the same storage came back",
		"Ordering of messages and writes: flush and FUA",
		.expected = "Flushed data survives the end of connections, and of the server.\n",
		.example = "C: NBD_CMD_WRITE \"new\", NBD_CMD_FLUSH, answered\n"
			"all connections end\n"
			"new connection\n"
			"C: NBD_CMD_READ\n"
			"S: \"old\"\n",
		.server = "flush to stable storage",
		.client = "look whether the same server answers" },
	[RULE_STALE_UNFLUSHED] = {
		"stale-read-unflushed", "Hz5", NBDS_HAZARD, NBDS_FAULT_CLIENT, NBDS_BASIS_EXPLICIT,
		"with CAN_MULTI_CONN, a read missed another connection's completed but unflushed write",
		"The multi-conn promise begins with the flush (or FUA). Until then a server may show old\n"
		"data on other connections. A client that relies on it must flush first.\n",
		"client: flush, or write with FUA, before another connection reads what was written",
		"Transmission flags: NBD_FLAG_CAN_MULTI_CONN",
		.expected = "Other connections see a write for certain only once it is flushed, or had FUA.\n",
		.example = "conn 1: NBD_CMD_WRITE \"new\", answered\n"
			"conn 2: NBD_CMD_READ returns \"old\"\n",
		.server = "nothing: it is allowed",
		.client = "flush, or use FUA, before another connection reads" },
	[RULE_STALE_NO_MULTI_CONN] = {
		"stale-read-no-multi-conn", "Hz4", NBDS_HAZARD, NBDS_FAULT_CLIENT, NBDS_BASIS_EXPLICIT,
		"without CAN_MULTI_CONN, a read missed another connection's completed write",
		"Without NBD_FLAG_CAN_MULTI_CONN connections may each have a cache, even a disk, of their\n"
		"own, and no flush changes that. A client must not spread its work over several.\n",
		"client: use one connection to an export without NBD_FLAG_CAN_MULTI_CONN",
		"Transmission flags: NBD_FLAG_CAN_MULTI_CONN",
		.expected = "Without NBD_FLAG_CAN_MULTI_CONN connections need not see what others write.\n",
		.example = "conn 1: NBD_CMD_WRITE \"new\", answered\n"
			"conn 2: NBD_CMD_READ returns \"old\"\n",
		.server = "set NBD_FLAG_CAN_MULTI_CONN if it holds",
		.client = "use one connection" },
	[RULE_MULTIPLEX] = {
		"multiplex-without-multi-conn", "R-22", NBDS_HAZARD, NBDS_FAULT_CLIENT, NBDS_BASIS_EXPLICIT,
		"one client uses several connections at a time, writing, to an export without CAN_MULTI_CONN",
		"A client should not open a second connection to an export for the same work unless the\n"
		"server sets NBD_FLAG_CAN_MULTI_CONN: what one connection writes another need not see.\n"
		"`One client' means one address here; several programs on it look the same.\n",
		"client: use one connection unless the server sets NBD_FLAG_CAN_MULTI_CONN; server: set it if its cache is shared",
		"Transmission flags: NBD_FLAG_CAN_MULTI_CONN",
		.expected = "Without NBD_FLAG_CAN_MULTI_CONN a client should use one connection to an export.\n",
		.example = "conn 1: NBD_CMD_WRITE\n"
			"conn 2, from the same address, at the same time: NBD_CMD_WRITE\n",
		.server = "set NBD_FLAG_CAN_MULTI_CONN if it holds",
		.client = "use one connection" },
	[RULE_FLUSH_MISSES] = {
		"flush-misses-other-connection", "Hz2", NBDS_HAZARD, NBDS_FAULT_CLIENT, NBDS_BASIS_EXPLICIT,
		"without CAN_MULTI_CONN, a flush left another connection's completed writes uncovered",
		"Without the flag a flush is a promise about its own connection only. Completed writes of\n"
		"another connection were never flushed on that connection afterwards.\n",
		"client: without NBD_FLAG_CAN_MULTI_CONN send a flush on each connection that wrote",
		"Transmission flags: NBD_FLAG_CAN_MULTI_CONN",
		.expected = "Without NBD_FLAG_CAN_MULTI_CONN a flush covers its own connection only.\n",
		.example = "conn 1: NBD_CMD_WRITE, answered\n"
			"conn 2: NBD_CMD_FLUSH, answered\n"
			"(no flush on conn 1)\n",
		.server = "set NBD_FLAG_CAN_MULTI_CONN if it holds",
		.client = "flush on every connection" },
	[RULE_FLUSH_EARLY] = {
		"flush-before-write-replies", "Hz3", NBDS_NOTE, NBDS_FAULT_CLIENT, NBDS_BASIS_EXPLICIT,
		"a flush left while writes on other connections were unanswered: it does not cover them",
		"A flush covers only what was answered before it began. A client that wants a write of\n"
		"another connection covered has to wait for its reply. Often harmless: the flush may\n"
		"have been for something else.\n",
		"client: if that flush is to cover those writes, wait for their replies before sending it",
		"Ordering of messages and writes: flush",
		.summed = true,
		.expected = "A flush that shall cover a write is sent when the write is answered.\n",
		.example = "conn 1: NBD_CMD_WRITE\n"
			"conn 2: NBD_CMD_FLUSH\n"
			"conn 1: reply to NBD_CMD_WRITE\n",
		.server = "nothing",
		.client = "wait for the replies, then flush" },
	[RULE_UNFLUSHED_END] = {
		"unflushed-at-disconnect", "Hz7", NBDS_HAZARD, NBDS_FAULT_CLIENT, NBDS_BASIS_EXPLICIT,
		"a connection ended with completed writes that nothing flushed",
		"Without a flush or FUA a server may lose answered writes when it, or its host, goes down.\n"
		"Many servers flush when a connection ends; the specification does not make them.\n",
		"client: flush before disconnecting; server: offer flushes, and answer them before closing",
		"Terminating the transmission phase",
		.expected = "Writes that shall last are flushed before the connection ends.\n",
		.example = "C: NBD_CMD_WRITE\n"
			"S: no error\n"
			"C: NBD_CMD_DISC\n",
		.server = "offer NBD_CMD_FLUSH if there is a cache",
		.client = "send NBD_CMD_FLUSH before NBD_CMD_DISC" },
	[RULE_FLUSH_FAILED] = {
		"flush-failed-ignored", "Hz12", NBDS_HAZARD, NBDS_FAULT_CLIENT, NBDS_BASIS_IMPLIED,
		"work went on after a failed flush",
		"When a flush fails, what was written before may be gone, and a later flush that succeeds\n"
		"need not bring it back: caches drop pages that could not be written. Whoever goes on as if\n"
		"nothing had happened has lost data without knowing.\n",
		"client: after a failed flush write again all that it was to cover, or stop",
		"Transmission phase: NBD_CMD_FLUSH",
		.expected = "After a failed flush nothing that was written before it can be relied on.\n",
		.example = "C: NBD_CMD_FLUSH\n"
			"S: NBD_EIO\n"
			"C: NBD_CMD_WRITE\n",
		.server = "nothing",
		.client = "stop, or write everything again" },
	[RULE_REISSUED] = {
		"write-reissued-elsewhere", "Hz13", NBDS_HAZARD, NBDS_FAULT_CLIENT, NBDS_BASIS_IMPLIED,
		"an unanswered write was sent again on another connection",
		"The first copy may still be executed, long after the second one was answered, and then\n"
		"overwrite whatever came later. The Linux kernel does this after a timeout. If a later read\n"
		"returns the first copy's data over a newer write, no rule of the protocol is broken, and\n"
		"the data is lost all the same.\n",
		"client: end the old connection, and be sure that its server has given it up, before sending its writes again",
		"Ordering of messages and writes",
		.expected = "A write that was not answered may still be done.\n",
		.example = "conn 1: NBD_CMD_WRITE (no reply)\n"
			"conn 2: the same NBD_CMD_WRITE\n",
		.server = "drop the requests of a connection that has ended",
		.client = "wait for the first one, or make sure that it is gone" },
	[RULE_OVERLAP] = {
		"overlapping-writes-in-flight", "Hz8", NBDS_NOTE, NBDS_FAULT_CLIENT, NBDS_BASIS_IMPLIED,
		"two writes to the same bytes were in flight at the same time",
		"The server may do them in either order, or mix them. What is there afterwards is not\n"
		"determined until both are answered and a third write, or a read, settles it.\n",
		"client: wait for the reply before writing to the same bytes again",
		"Ordering of messages and writes",
		.expected = "What two concurrent writes to the same bytes leave is not determined.\n",
		.example = "C: NBD_CMD_WRITE \"a\"\n"
			"C: NBD_CMD_WRITE \"b\", same bytes\n"
			"S: replies\n",
		.server = "nothing",
		.client = "wait for the first one" },
	[RULE_FLAGS_DIFFER] = {
		"flags-differ-between-connections", "Hz16", NBDS_HAZARD, NBDS_FAULT_SERVER, NBDS_BASIS_IMPLIED,
		"connections to one export were shown different flags or sizes at the same time",
		"Two open connections to the same export disagree about its transmission flags or its\n"
		"size. Either the export changed under them, or the server treats clients differently.\n",
		"server: show the same flags and size to all connections of an export",
		"Transmission flags",
		.expected = "Connections to one export at the same time see the same flags and size.\n",
		.example = "conn 1: size 1 MiB\n"
			"conn 2: size 2 MiB\n",
		.server = "show the same to all",
		.client = "compare what each connection was told" },
	[RULE_BIT_8] = {
		"cache-flag-at-bit-8", "Q1 of 4.3", NBDS_HAZARD, NBDS_FAULT_SERVER, NBDS_BASIS_EXPLICIT,
		"the server behaves like qemu 3.0, which set bit 8 (CAN_MULTI_CONN) and meant SEND_CACHE",
		"qemu 3.0 numbered NBD_FLAG_SEND_CACHE as bit 8. Bit 8 is NBD_FLAG_CAN_MULTI_CONN. Clients\n"
		"take it for the promise of consistent connections, which that server does not keep. Bit 10,\n"
		"where SEND_CACHE belongs, is clear there, and set in every later qemu that sets bit 8.\n"
		"\n"
		"Do not use more than one connection with it, and replace it.\n",
		"replace that server, or use one connection with it",
		"Transmission flags: NBD_FLAG_CAN_MULTI_CONN and NBD_FLAG_SEND_CACHE",
		.expected = "NBD_FLAG_SEND_CACHE is bit 10; bit 8 is NBD_FLAG_CAN_MULTI_CONN.\n",
		.example = "S: transmission flags 0x0101\n"
			"C: NBD_CMD_CACHE\n"
			"S: no error\n",
		.server = "set bit 10 for NBD_FLAG_SEND_CACHE",
		.client = "use one connection" },
/* clang-format on */
#include "all.def"
};

#undef RULE
#undef UNRULED

const size_t nbds_rules_count = sizeof(nbds_rules) / sizeof(nbds_rules[0]);

_Static_assert(sizeof(nbds_rules) / sizeof(nbds_rules[0]) == RULE_COUNT, "a rule is missing");

#define RULE(...)
#define UNRULED(REF, RULE_NAME, WHY) {.ref = REF, .rule = RULE_NAME, .why = WHY},

const struct nbds_unruled nbds_unruled[] = {
#include "all.def"
};

#undef RULE
#undef UNRULED

const size_t nbds_unruled_count = sizeof(nbds_unruled) / sizeof(nbds_unruled[0]);

const char *const nbds_role_names[NBDS_ROLE_MAX] = {
	[NBDS_ROLE_EARLIER_READ] = "earlier_read",
	[NBDS_ROLE_STALE_WRITE] = "stale_write",
	[NBDS_ROLE_WRITE_REQUEST] = "write_request",
	[NBDS_ROLE_WRITE] = "write",
	[NBDS_ROLE_FLUSH_REQUEST] = "flush_request",
	[NBDS_ROLE_FLUSH] = "flush",
	[NBDS_ROLE_READ_REQUEST] = "read_request",
	[NBDS_ROLE_READ] = "read",
	[NBDS_ROLE_REQUEST] = "request",
	[NBDS_ROLE_MESSAGE] = "message",
};

static const char *const severity_names[] = {"note", "hazard", "suspect", "violation"};

const struct nbds_rule *nbds_rule_find(const char *name)
{
	for (size_t i = 0; i < nbds_rules_count; i++)
		if (strcmp(nbds_rules[i].name, name) == 0)
			return &nbds_rules[i];
	return NULL;
}

const char *nbds_severity_name(enum nbds_severity s)
{
	return severity_names[s];
}

bool nbds_severity_parse(const char *text, enum nbds_severity *s)
{
	for (unsigned i = 0; i < 4; i++) {
		if (strcmp(text, severity_names[i]) == 0) {
			*s = (enum nbds_severity)i;
			return true;
		}
	}
	return false;
}

/* The copy's strings lie behind it, in one allocation. */
struct parts {
	size_t message, name, command, texts, list;
};

static size_t parts_of(const struct nbds_finding *f, struct parts *p)
{
	size_t count = 0;

	memset(p, 0, sizeof(*p));
	p->message = f->message ? strlen(f->message) + 1 : 0;
	p->name = f->export_name ? f->export_name_len + 1 : 0;
	p->command = f->command ? strlen(f->command) + 1 : 0;
	for (; f->assumptions && f->assumptions[count]; count++)
		p->texts += strlen(f->assumptions[count]) + 1;
	p->list = f->assumptions ? (count + 1) * sizeof(char *) : 0;
	return sizeof(*f) + p->list + p->message + p->name + p->command + p->texts;
}

size_t nbds_finding_size(const struct nbds_finding *f)
{
	struct parts p;

	return parts_of(f, &p);
}

struct nbds_finding *nbds_finding_copy(const struct nbds_finding *f)
{
	struct parts p;
	struct nbds_finding *c = malloc(parts_of(f, &p));

	if (!c)
		return NULL;
	*c = *f;
	const char **assumptions = (const char **)(c + 1);
	char *at = (char *)(c + 1) + p.list;

	if (p.message) {
		c->message = memcpy(at, f->message, p.message);
		at += p.message;
	}
	if (p.name) {
		memcpy(at, f->export_name, f->export_name_len);
		at[f->export_name_len] = '\0';
		c->export_name = at;
		at += p.name;
	}
	if (p.command) {
		c->command = memcpy(at, f->command, p.command);
		at += p.command;
	}
	if (f->assumptions) {
		size_t i = 0;

		for (; f->assumptions[i]; i++) {
			size_t n = strlen(f->assumptions[i]) + 1;

			assumptions[i] = memcpy(at, f->assumptions[i], n);
			at += n;
		}
		assumptions[i] = NULL;
		c->assumptions = assumptions;
	}
	return c;
}

void nbds_finding_free(struct nbds_finding *f)
{
	free(f);
}
