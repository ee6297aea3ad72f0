# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests (rows R)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal

    def request(rule, message, answer, kind="breaks", **options):
        setup = options.pop("setup", {})

        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = open(cap, **setup)
            frame = x.c(message)
            x.s(answer)
            x.bye()
            return None if kind == "legal" else frame
        case.__name__ = "request_%d" % len(t.list)

    def both(rule, message, answer, good, good_answer, setup=None, good_setup=None, **options):
        request(rule, message, answer, setup=setup or {}, **options)
        request(rule, good, good_answer, "legal", setup=good_setup or setup or {})

    refused = simple(error=22)

    @breaks("request-magic-wrong")
    def magic(cap):
        x = open(cap)
        frame = x.c(struct.pack(">IHHQQI", 0x25609514, 0, READ, 1, 0, 512))
        x.close(1)
        return frame

    @breaks("request-magic-wrong")
    def extended_header(cap):
        x = open(cap)
        frame = x.c(xreq(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()
        return frame

    @legal("request-magic-wrong")
    @legal("request-after-shutdown")
    @legal("bytes-after-disc")
    @legal("payload-incomplete")
    @legal("disc-with-requests-in-flight")
    def ordinary(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 512, data=bytes(512)))
        x.s(simple())
        x.c(req(READ, 0, 512, cookie=2))
        x.s(simple(2, data=bytes(512)))
        x.bye()

    data = bytes(512)
    both("command-flag-undefined", req(WRITE, 0, 512, REQ_ONE, data=data), refused,
         req(ZEROES_, 0, 512, NO_HOLE | FUA), simple())
    request("command-flag-undefined", req(READ, 0, 512, 0x8000), refused)
    both("fua-without-effect", req(FLUSH_, flags=FUA), simple(),
         req(TRIM_, 0, 512, FUA), simple())
    both("fua-not-offered", req(WRITE, 0, 512, FUA, data=data), refused,
         req(WRITE, 0, 512, FUA, data=data), simple(),
         setup=dict(flags=HAS | FLUSH), good_setup=dict(flags=HAS | SFUA))
    both("flush-not-offered", req(FLUSH_), refused, req(FLUSH_), simple(),
         setup=dict(flags=HAS), good_setup=dict(flags=HAS | FLUSH))
    both("trim-not-offered", req(TRIM_, 0, 512), refused, req(TRIM_, 0, 512), simple(),
         setup=dict(flags=HAS), good_setup=dict(flags=HAS | TRIM))
    both("write-zeroes-not-offered", req(ZEROES_, 0, 512), refused, req(ZEROES_, 0, 512),
         simple(), setup=dict(flags=HAS), good_setup=dict(flags=HAS | ZEROES))
    both("fast-zero-not-offered", req(ZEROES_, 0, 512, FAST), refused,
         req(ZEROES_, 0, 512, FAST), simple(error=95),
         setup=dict(flags=HAS | ZEROES), good_setup=dict(flags=HAS | ZEROES | SFAST))
    both("df-not-offered", req(READ, 0, 512, DF), chunk(ERR, data=error(22)),
         req(READ, 0, 512, DF), chunk(DATA, data=content(0, data)),
         setup=dict(structured=True, flags=HAS), good_setup=dict(structured=True))
    both("resize-not-offered", req(RESIZE_, 2 * MIB), refused, req(RESIZE_, 2 * MIB), simple(),
         good_setup=dict(flags=HAS | RESIZE))

    @legal("flush-not-offered")
    @legal("fua-not-offered")
    def old_server(cap):
        """A server from before there were flags: nothing is known of what it can do."""
        x = Conn(cap)
        x.s(oldstyle(flags=0))
        x.c(req(FLUSH_))
        x.s(simple())
        x.bye()

    @legal("flush-not-offered")
    def refused_for_another_export(cap):
        """The flags that count are those of the export that was opened."""
        x = haggle(cap)
        x.c(opt(INFO, go_data(b"y")))
        x.s(info_export(INFO, MIB, HAS), rep(INFO, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(), rep(GO, ACK))
        x.c(req(FLUSH_))
        x.s(simple())
        x.bye()

    both("block-status-without-contexts", req(STATUS, 0, 4096), chunk(ERR, data=error(22)),
         req(STATUS, 0, 4096), chunk(BSTATUS, data=extents(1, (4096, 0))),
         setup=dict(structured=True), good_setup=dict(contexts=(b"base:allocation",)))

    @breaks("block-status-without-contexts")
    def deselected(cap):
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(b"base:allocation")))
        x.s(ctx(SETCTX, 1), rep(SETCTX, ACK))
        x.c(opt(SETCTX, ctx_data(b"base:allocation", name=b"nope")))
        x.s(rep(SETCTX, E_UNKNOWN))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        frame = x.c(req(STATUS, 0, 4096))
        x.s(chunk(ERR, data=error(22)))
        x.bye()
        return frame

    @breaks("block-status-without-contexts", severity="note")
    def another_name(cap):
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, ctx_data(b"base:allocation", name=b"y")))
        x.s(ctx(SETCTX, 1), rep(SETCTX, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        frame = x.c(req(STATUS, 0, 4096))
        x.s(chunk(BSTATUS, data=extents(1, (4096, 0))))
        x.bye()
        return frame

    both("flush-with-range", req(FLUSH_, 0, 4096), refused, req(FLUSH_), simple())
    both("zero-length-request", req(READ, 512, 0), simple(), req(CACHE_, 512, 0), simple())
    both("write-to-read-only", req(WRITE, 0, 512, data=data), simple(error=1),
         req(READ, 0, 512), simple(data=data), setup=dict(flags=HAS | RO))
    both("command-unknown", req(42), refused, req(CACHE_, 0, 512), simple())

    @breaks("disc-with-range")
    def disc_range(cap):
        x = open(cap)
        frame = x.c(req(DISC, 512))
        x.close()
        return frame

    @legal("disc-with-range")
    def disc(cap):
        open(cap).bye()

    @breaks("cookie-in-flight-reused")
    def reused(cap):
        x = open(cap)
        x.c(req(READ, 0, 512, cookie=7))
        frame = x.c(req(READ, 512, 512, cookie=7))
        x.s(simple(7, data=data), simple(7, data=data))
        x.bye()
        return frame

    @legal("cookie-in-flight-reused")
    def reused_later(cap):
        x = open(cap)
        for offset in range(0, 2048, 512):
            x.c(req(READ, offset, 512, cookie=7))
            x.s(simple(7, data=data))
        x.bye()

    @breaks("bytes-after-disc")
    def after_disc(cap):
        x = open(cap)
        x.c(req(DISC))
        frame = x.c(req(READ, 0, 512))
        x.close(1)
        return frame

    @breaks("disc-with-requests-in-flight")
    def hasty(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 512, data=data))
        frame = x.c(req(DISC, cookie=2))
        x.s(simple())
        x.close(1)
        return frame

    @breaks("payload-incomplete")
    def cut(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 4096), bytes(1000))
        return x.close(0)

    @breaks("request-after-shutdown")
    def goes_on(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(error=108))
        frame = x.c(req(READ, 0, 512, cookie=2))
        x.s(simple(2, error=108))
        x.bye()
        return frame

    @legal("request-after-shutdown")
    def pipelined(cap):
        """The second request left before the first one's answer could have come."""
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(error=108))
        x.c(req(READ, 0, 512, cookie=2), unheard=16)
        x.s(simple(2, error=108))
        x.bye()
