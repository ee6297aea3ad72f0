# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversations that are legal, or of which only one side is at fault, and that rules
come near to. None of them may be told to break the rule that it stands for."""

from synth import *  # noqa: F401,F403


def register(t):
    legal, breaks = t.legal, t.breaks
    data = bytes(512)

    # --- haggling ---------------------------------------------------------

    @legal("extended-headers-required-wrongly", allow="meta-context-without-structured")
    def required_of_a_client_without_either(cap):
        """Neither structured replies nor extended headers: that error is a right one."""
        x = haggle(cap)
        x.c(opt(SETCTX, ctx_data(b"base:allocation")))
        x.s(rep(SETCTX, E_EXT))
        x.abort()

    @breaks("unknown-context-refused", severity="suspect", says="unless it knows")
    def leaf_of_a_private_namespace(cap):
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(b"x-mine:nonsense")))
        frame = x.s(rep(SETCTX, E_INVALID))
        x.abort()
        return frame

    @legal("unknown-context-refused", allow="string-malformed")
    def name_that_is_no_string(cap):
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(b"base:new", name=b"\xff\xfe")))
        x.s(rep(SETCTX, E_INVALID))
        x.abort()

    @legal("meta-context-request-malformed")
    @legal("context-repeated")
    def long_request(cap):
        """More data than a decoder keeps of an option."""
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(*(b"x-a:" + b"%04d" % i * 60 for i in range(200)))))
        x.s(ctx(SETCTX, 1, b"x-a:" + b"0001" * 60), rep(SETCTX, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.c(req(STATUS, 0, 4096))
        x.s(chunk(BSTATUS, data=extents(1, (4096, 0))))
        x.bye()

    @legal("string-malformed")
    @legal("info-request-malformed")
    @legal("server-name-overrun")
    def longest_strings(cap):
        long = b"n" * 4096
        x = haggle(cap)
        x.c(opt(LIST))
        x.s(rep(LIST, SERVER, struct.pack(">I", 4096) + long + b"d" * 4096), rep(LIST, ACK))
        x.c(opt(INFO, go_data(long, (I_NAME, I_DESCRIPTION, I_BLOCKS))))
        x.s(rep(INFO, E_UNKNOWN, b"t" * 4096))
        x.c(opt(GO, go_data(long, (I_NAME, I_DESCRIPTION))))
        x.s(rep(GO, REP_INFO, struct.pack(">H", I_NAME) + long),
            rep(GO, REP_INFO, struct.pack(">H", I_DESCRIPTION) + "\u00e4".encode() * 2048),
            info_export(), rep(GO, ACK))
        x.bye()

    @legal("info-and-go-differ")
    @legal("df-without-structured-replies")
    def info_before_structured(cap):
        """What INFO showed changes with what is negotiated after it."""
        x = haggle(cap)
        x.c(opt(INFO, go_data()))
        x.s(info_export(INFO, MIB, USUAL), rep(INFO, ACK))
        x.c(opt(STRUCTURED))
        x.s(rep(STRUCTURED, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.bye()

    @legal("info-and-go-differ")
    @legal("request-not-aligned")
    def other_export(cap):
        """INFO of another export, with other sizes."""
        x = haggle(cap)
        x.c(opt(INFO, go_data(b"other", (I_BLOCKS,))))
        x.s(info_export(INFO, 8 * MIB), info_blocks(INFO, 4096, 4096, 65536), rep(INFO, ACK))
        x.c(opt(GO, go_data(b"x", (I_BLOCKS,))))
        x.s(info_export(GO, MIB), rep(GO, ACK))
        x.c(req(WRITE, 1, 1, data=b"a"))
        x.s(simple())
        x.bye()

    @legal("request-not-aligned")
    @legal("payload-too-large")
    @legal("export-name-without-go")
    def export_name_after_go_failed(cap):
        """The block sizes of a GO that failed bind nobody."""
        x = haggle(cap)
        x.c(opt(GO, go_data(b"x", (I_BLOCKS,))))
        x.s(info_blocks(GO, 4096, 4096, 65536), rep(GO, E_UNSUP))
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL))
        x.c(req(WRITE, 1, 70001, data=bytes(70001)))
        x.s(simple())
        x.bye()

    @legal("request-not-aligned")
    @legal("payload-too-large")
    def unasked_sizes(cap):
        """Block sizes that the client did not ask for do not bind it."""
        x = open(cap, blocks=(4096, 4096, 65536), asked=False)
        x.c(req(WRITE, 1, 70001, data=bytes(70001)))
        x.s(simple())
        x.bye()

    @legal("block-status-without-contexts")
    @legal("status-context-unknown")
    @legal("status-contexts-missing")
    def reselected(cap):
        """The last selection counts, and LIST does not change it."""
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(b"qemu:allocation-depth")))
        x.s(ctx(SETCTX, 7, b"qemu:allocation-depth"), rep(SETCTX, ACK))
        x.c(opt(SETCTX, ctx_data(b"base:allocation")))
        x.s(ctx(SETCTX, 3), rep(SETCTX, ACK))
        x.c(opt(LISTCTX, ctx_data(b"qemu:")))
        x.s(ctx(LISTCTX, 0, b"qemu:allocation-depth"), rep(LISTCTX, ACK))
        x.c(opt(LIST))
        x.s(rep(LIST, SERVER, struct.pack(">I", 1) + b"x"), rep(LIST, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.c(req(STATUS, 0, 4096))
        x.s(chunk(BSTATUS, data=extents(3, (4096, 0))))
        x.bye()

    @legal("status-context-unknown")
    @legal("status-contexts-missing")
    def many_contexts(cap):
        """More contexts than are followed, then a list of them."""
        names = [b"x-a:%d" % i for i in range(40)]
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(*names)))
        x.s(*(ctx(SETCTX, i + 1, name) for i, name in enumerate(names)), rep(SETCTX, ACK))
        x.c(opt(LISTCTX, ctx_data()))
        x.s(*(ctx(LISTCTX, 0, name) for name in names), rep(LISTCTX, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.c(req(STATUS, 0, 4096))
        x.s(*(chunk(BSTATUS, data=extents(i + 1, (4096, 0)), flags=i == 39) for i in range(40)))
        x.bye()

    @legal("export-name-zeroes-unwanted")
    @legal("export-name-answer-malformed")
    def no_zeroes_of_one_side(cap):
        """Offered, and not taken: the zeroes are sent."""
        x = Conn(cap)
        x.hello(3, 1)
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL) + bytes(124))
        x.c(req(READ, 0, 512))
        x.s(simple(data=data))
        x.bye()

    # --- requests and replies ---------------------------------------------

    @breaks("df-not-offered")
    @legal("df-read-fragmented", allow="df-not-offered")
    @legal("df-overflow-with-data", allow="df-not-offered")
    def df_to_a_server_without(cap):
        """What the server does not know it cannot keep to."""
        x = open(cap, structured=True, flags=USUAL | TRIM | RO ^ RO | ROT)
        frame = x.c(req(READ, 0, 1024, DF))
        x.s(chunk(DATA, data=content(0, data), flags=0), chunk(DATA, data=content(512, data)))
        x.bye()
        return frame

    @legal("df-read-fragmented")
    def df_hole(cap):
        """One hole, an error, and a chunk that says nothing."""
        x = open(cap, structured=True)
        x.c(req(READ, 0, 1024, DF))
        x.s(chunk(HOLE, data=hole(0, 1024), flags=0), chunk(NONE))
        x.c(req(READ, 0, 1024, DF, cookie=2))
        x.s(chunk(DATA, cookie=2, data=content(0, bytes(1024)), flags=0),
            chunk(ERR_OFF, cookie=2, data=error(5, b"bad", 512)))
        x.bye()

    @legal("status-req-one", allow="zero-length-request")
    @legal("status-contexts-missing")
    @legal("status-too-long")
    def status_of_nothing(cap):
        """What a request of length 0 is answered with is not defined."""
        x = open(cap, contexts=(b"base:allocation",))
        x.c(req(STATUS, 0, 0, REQ_ONE))
        x.s(chunk(BSTATUS, data=extents(1, (4096, 0))))
        x.c(req(STATUS, 0, 0, cookie=2))
        x.s(chunk(NONE, cookie=2))
        x.bye()

    @legal("read-incomplete")
    @legal("data-chunk-empty")
    @legal("chunk-outside-request")
    def read_of_nothing(cap):
        x = open(cap, structured=True)
        x.c(req(READ, 512, 0))
        x.s(chunk(DATA, data=content(512, b"")))
        x.c(req(READ, 512, 0, cookie=2))
        x.s(chunk(NONE, cookie=2))
        x.bye()

    @legal("chunk-type-wrong")
    def private_command(cap):
        """A command that others defined has replies that others defined."""
        x = open(cap, structured=True)
        x.c(req(99, 0, 512))
        x.s(chunk(DATA, data=content(0, data), flags=0), chunk(0x4321, data=b"more"))
        x.bye()

    @legal("request-beyond-export")
    @legal("illegal-request-accepted")
    def resized(cap):
        """The size is another one after NBD_CMD_RESIZE."""
        x = open(cap, flags=USUAL | RESIZE)
        x.c(req(RESIZE_, 2 * MIB, 0))
        x.s(simple())
        x.c(req(WRITE, MIB, 512, data=data, cookie=2))
        x.s(simple(2))
        x.bye()

    @breaks("request-after-shutdown", severity="suspect")
    def shutdown_among_others(cap):
        """A client with several requests in flight may not have read it yet."""
        x = open(cap)
        x.c(req(READ, 0, 512), req(READ, 512, 512, cookie=2))
        x.s(simple(error=108))
        frame = x.c(req(READ, 0, 512, cookie=3))
        x.s(simple(2, error=108), simple(3, error=108))
        x.bye()
        return frame

    @legal("cookie-in-flight-reused")
    @legal("reply-twice")
    @legal("reply-to-no-request")
    def one_cookie(cap):
        """The same cookie for all requests, each after the answer to the one before."""
        x = open(cap)
        for i in range(5):
            x.c(req(READ, 512 * i, 512, cookie=0))
            x.s(simple(0, data=data))
        x.c(req(DISC, cookie=0))
        x.close(0)

    @legal("payload-too-large")
    @legal("chunk-payload-too-large")
    def long_structured_read(cap):
        """With structured replies a read may be longer than the maximum payload."""
        x = open(cap, structured=True, blocks=(1, 4096, 65536))
        x.c(req(READ, 0, 131072))
        x.s(chunk(DATA, data=content(65536, bytes(65536)), flags=0),
            chunk(DATA, data=content(0, bytes(65536))))
        x.c(req(ZEROES_, 0, MIB, cookie=2), req(TRIM_, 0, MIB, cookie=3))
        x.s(simple(3), simple(2))
        x.bye()

    @legal("chunk-overlap")
    @legal("read-incomplete")
    def scattered(cap):
        """Chunks in any order, more of them apart than are followed."""
        x = open(cap, structured=True)
        x.c(req(READ, 0, 32 * 512))
        order = [i * 7 % 32 for i in range(32)]
        x.s(*(chunk(DATA, data=content(512 * i, data), flags=n == 31)
              for n, i in enumerate(order)))
        x.bye()

    @legal("request-not-aligned")
    def last_piece(cap):
        """The end of an export whose size is no multiple of the minimum."""
        x = open(cap, size=MIB + 512, blocks=(4096, 4096, MIB))
        x.c(req(WRITE, MIB, 512, data=data))
        x.s(simple())
        x.bye()

    @legal("transmission-flags-unknown")
    @legal("has-flags-clear")
    def no_flags_at_all(cap):
        """A server from before there were flags."""
        x = Conn(cap)
        x.s(oldstyle(flags=0))
        x.c(req(WRITE, 0, 512, data=data))
        x.s(simple())
        x.bye()

    @legal("block-status-payload-malformed")
    @legal("status-contexts-missing")
    @legal("block-status-ids-accepted")
    def payload_of_one_id(cap):
        x = open(cap, extended=True, flags=USUAL | SDF | SPAYLOAD,
                 contexts=(b"base:allocation", b"x-a:b"))
        x.c(xreq(STATUS, 0, 12, PAYLOAD, data=struct.pack(">QI", 65536, 2)))
        x.s(xchunk(BSTATUS_EXT, data=xextents(2, (1 << 40, 0))))
        x.c(xreq(DISC, cookie=9))
        x.close()

    # --- ends -------------------------------------------------------------

    @legal("server-closed-unanswered")
    def crossed(cap):
        """The server had closed before it got the request, which the capture shows first."""
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(data=data))
        later = req(READ, 0, 512, cookie=2)
        x.c(later)
        x.sent[0] -= len(later)
        x.fin(1)
        x.sent[0] += len(later)
        x.fin(0)

    @legal("client-closed-without-disc")
    @legal("client-closed-in-haggling")
    def other_order_of_fins(cap):
        """The server closed first; its FIN comes second in the capture."""
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(data=data))
        x.close(1)
        x.cap.frames[-3:-1] = x.cap.frames[-2:-4:-1]
        x.cap.frames[-3:-1] = [(x.cap.frames[-2][0], x.cap.frames[-3][1]),
                               (x.cap.frames[-3][0], x.cap.frames[-2][1])]

    # --- odd beginnings ---------------------------------------------------

    def accepted_by_the_client(cap):
        """The server's SYN alone is in the capture: the client seems to have accepted."""
        x = Conn(cap, port=20000)
        del cap.frames[:]
        x.sent = [1000, 5000]
        x.add(1, x.SYN, ack=0)
        x.sent[1] += 1
        x.add(0, x.SYN | x.ACK)
        x.sent[0] += 1
        x.add(1, x.ACK)
        return x

    def writes_and_leaves(x):
        x.c(opt(GO, go_data()))
        x.s(info_export(), rep(GO, ACK))
        x.c(req(WRITE, 0, 512, data=data))
        x.s(simple())
        x.bye()

    @legal("greeting-kind-unknown")
    @legal("greeting-magic-wrong")
    def begins_like_a_greeting(cap):
        """Who seems to have accepted says four bytes of a greeting, and is the client."""
        x = accepted_by_the_client(cap)
        x.c(NBDMAGIC[:4])
        x.hello()
        writes_and_leaves(x)

    @legal("greeting-magic-wrong")
    @legal("option-magic-wrong")
    def flags_before_the_greeting(cap):
        """Half of the client's flags come before what they answer, which the capture has
        in another order."""
        x = accepted_by_the_client(cap)
        x.c(cflags()[:2])
        x.s(greeting())
        x.c(cflags()[2:])
        writes_and_leaves(x)

    @breaks("requests-unanswered", severity="note", side="either", says="the client closed",
            whole=True)
    def closed_after_a_damaged_greeting(cap):
        """Acknowledgements count what is not decoded, too: the client closed first."""
        x = Conn(cap, port=20000)
        x.s(b"NBDMAGIX" + greeting()[8:])
        x.c(cflags())
        x.c(opt(GO, go_data()))
        x.s(info_export(), rep(GO, ACK))
        x.c(req(WRITE, 0, 512, data=data))
        x.s(simple())
        x.c(req(FLUSH_, cookie=2))
        return x.close(0)
