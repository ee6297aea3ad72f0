# SPDX-License-Identifier: GPL-2.0-or-later
"""Extended headers (rows X)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal
    data = bytes(512)
    usual = USUAL | SDF | SPAYLOAD

    def bye(x):
        x.c(xreq(DISC, cookie=9))
        x.close()

    def exchange(rule, message, *answers, kind="breaks", at="answer", **options):
        setup = dict(dict(extended=True, flags=usual), **options.pop("setup", {}))

        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = open(cap, **setup)
            asked = x.c(message)
            frames = [x.s(answer) for answer in answers]
            bye(x)
            return None if kind == "legal" else asked if at == "request" else frames[-1]
        case.__name__ = "exchange_%d" % len(t.list)

    def fine(rule, message, *answers, **options):
        exchange(rule, message, *answers, kind="legal", **options)

    contexts = dict(contexts=(b"base:allocation", b"x-a:b"))
    ok = xchunk(NONE)
    exchange("compact-request-in-extended-mode", req(FLUSH_), ok, at="request")
    fine("compact-request-in-extended-mode", xreq(FLUSH_), ok)
    exchange("compact-reply-in-extended-mode", xreq(FLUSH_), simple())
    exchange("compact-reply-in-extended-mode", xreq(FLUSH_), chunk(NONE))
    fine("compact-reply-in-extended-mode", xreq(FLUSH_), ok)
    exchange("extended-reply-offset-wrong", xreq(READ, 4096, 512),
             xchunk(DATA, data=content(4096, data), offset=0))
    fine("extended-reply-offset-wrong", xreq(READ, 4096, 512),
         xchunk(DATA, data=content(4096, data), offset=4096))
    exchange("write-without-payload-flag", xreq(WRITE, 0, 512, data=data), ok, at="request")
    fine("write-without-payload-flag", xreq(WRITE, 0, 512, PAYLOAD, data=data), ok)

    @breaks("payload-flag-in-compact-mode")
    def payload_flag(cap):
        x = open(cap)
        frame = x.c(req(WRITE, 0, 512, PAYLOAD, data=data))
        x.s(simple(error=22))
        x.bye()
        return frame

    @legal("payload-flag-in-compact-mode")
    def no_payload_flag(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 512, data=data))
        x.s(simple())
        x.bye()

    @breaks("export-name-in-extended-mode")
    def export_name(cap):
        x = haggle(cap, extended=True)
        frame = x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL))
        bye(x)
        return frame

    @legal("export-name-in-extended-mode")
    @legal("go-unsupported-in-extended-mode")
    @legal("structured-reply-after-extended")
    @legal("extended-headers-required-wrongly")
    def extended_go(cap):
        x = haggle(cap, extended=True)
        x.c(opt(STRUCTURED))
        x.s(rep(STRUCTURED, E_EXT))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, usual), rep(GO, ACK))
        bye(x)

    @breaks("go-unsupported-in-extended-mode")
    def go_unsupported(cap):
        x = haggle(cap, extended=True)
        x.c(opt(GO, go_data()))
        frame = x.s(rep(GO, E_UNSUP))
        x.abort()
        return frame

    @breaks("structured-reply-after-extended")
    def structured(cap):
        x = haggle(cap, extended=True)
        x.c(opt(STRUCTURED))
        frame = x.s(rep(STRUCTURED, ACK))
        x.abort()
        return frame

    status = xreq(STATUS, 0, 4096)
    one, two = ((4096, 0),), ((4096, 1),)
    exchange("block-status-form-wrong", status, xchunk(BSTATUS, data=extents(1, *one)),
             setup=dict(contexts=(b"base:allocation",)))
    fine("block-status-form-wrong", status,
         xchunk(BSTATUS_EXT, data=xextents(1, *one), flags=0),
         xchunk(BSTATUS_EXT, data=xextents(2, *two)), setup=contexts)
    exchange("extended-status-malformed", status,
             xchunk(BSTATUS_EXT, data=xextents(1, *one, count=2)),
             setup=dict(contexts=(b"base:allocation",)))
    exchange("extended-status-malformed", status, xchunk(BSTATUS_EXT, data=xextents(1)),
             setup=dict(contexts=(b"base:allocation",)))
    fine("extended-status-malformed", status, xchunk(BSTATUS_EXT, data=xextents(1, *one)),
         setup=dict(contexts=(b"base:allocation",)))
    exchange("status-upper-bits", status,
             xchunk(BSTATUS_EXT, data=xextents(1, (4096, 1 << 32))),
             setup=dict(contexts=(b"base:allocation",)))
    fine("status-upper-bits", status, xchunk(BSTATUS_EXT, data=xextents(1, (4096, 1 << 32))),
         setup=dict(contexts=(b"x-a:b",)))

    def asked(*ids, extra=b"", length=4096):
        payload = struct.pack(">Q", length) + b"".join(struct.pack(">I", i) for i in ids) + extra
        return xreq(STATUS, 0, len(payload), PAYLOAD, data=payload)

    exchange("block-status-payload-malformed", asked(1, extra=b"\0\0"),
             xchunk(ERR, data=error(22)), at="request", setup=contexts)
    fine("block-status-payload-malformed", asked(1), xchunk(BSTATUS_EXT, data=xextents(1, *one)),
         setup=contexts)
    exchange("block-status-ids-accepted", asked(1, 1),
             xchunk(BSTATUS_EXT, data=xextents(1, *one)), setup=contexts)
    exchange("block-status-ids-accepted", asked(1, 77),
             xchunk(BSTATUS_EXT, data=xextents(1, *one)), setup=contexts)
    fine("block-status-ids-accepted", asked(1, 1), xchunk(ERR, data=error(22)), setup=contexts)
    exchange("block-status-payload-not-offered", asked(1),
             xchunk(BSTATUS_EXT, data=xextents(1, *one)), at="request",
             setup=dict(contexts, flags=USUAL | SDF))
    fine("block-status-payload-not-offered", asked(1),
         xchunk(BSTATUS_EXT, data=xextents(1, *one)), setup=contexts)
    exchange("block-status-context-unasked", asked(1),
             xchunk(BSTATUS_EXT, data=xextents(1, *one), flags=0),
             xchunk(BSTATUS_EXT, data=xextents(2, *two)), setup=contexts)
    fine("block-status-context-unasked", asked(2), xchunk(BSTATUS_EXT, data=xextents(2, *two)),
         setup=contexts)
    small = dict(blocks=(1, 4096, 65536))
    exchange("long-payload-accepted", xreq(WRITE, 0, 65537, PAYLOAD, data=bytes(65537)), ok,
             setup=small)
    fine("long-payload-accepted", xreq(WRITE, 0, 65536, PAYLOAD, data=bytes(65536)), ok,
         setup=small)

    @breaks("extended-headers-required-wrongly")
    def required(cap):
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(b"base:allocation")))
        frame = x.s(rep(SETCTX, E_EXT))
        x.abort()
        return frame

    @legal("extended-headers-required-wrongly")
    def required_rightly(cap):
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(b"x-a:wide")))
        x.s(rep(SETCTX, E_EXT))
        x.abort()

    big = dict(size=1 << 40)
    exchange("read-too-long", xreq(READ, 0, 1 << 33), xchunk(ERR, data=error(75)), at="request",
             setup=big)
    fine("read-too-long", xreq(ZEROES_, 0, 1 << 33), ok, setup=big)

    @breaks("reply-payload-too-long")
    def long_reply(cap):
        x = open(cap, extended=True, flags=usual, size=1 << 40)
        x.c(xreq(READ, 0, 512))
        frame = x.s(xchunk(DATA, data=content(0, data), length=(1 << 33) + 8))
        x.close(1)
        return frame

    fine("reply-payload-too-long", xreq(READ, 0, 512), xchunk(DATA, data=content(0, data)))
