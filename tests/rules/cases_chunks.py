# SPDX-License-Identifier: GPL-2.0-or-later
"""Structured replies (rows C)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal
    data = bytes(512)
    read = req(READ, 0, 1024)

    def reply(rule, message, *answers, kind="breaks", at=-1, **options):
        setup = options.pop("setup", dict(structured=True))

        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = open(cap, **setup)
            x.c(message)
            frames = [x.s(answer) for answer in answers]
            x.bye()
            return None if kind == "legal" else frames[at]
        case.__name__ = "reply_%d" % len(t.list)

    def fine(rule, message, *answers, **options):
        reply(rule, message, *answers, kind="legal", **options)

    first = chunk(DATA, data=content(0, data), flags=0)
    second = chunk(DATA, data=content(512, data))
    for rule in ("chunk-after-done", "data-chunk-empty", "hole-chunk-malformed",
                 "chunk-outside-request", "chunk-overlap", "read-incomplete", "chunk-type-wrong",
                 "none-chunk-malformed", "reply-flags-unknown", "reply-kinds-mixed",
                 "client-continues-after-broken-reply"):
        fine(rule, read, first, chunk(HOLE, data=hole(512, 512), flags=0), chunk(NONE))
    fine("chunk-overlap", req(READ, 0, 4096),
         *(chunk(DATA, data=content(offset, data), flags=0)
           for offset in (3072, 1024, 0, 2048, 512, 3584, 1536, 2560)), chunk(NONE))
    legal("read-incomplete")(incomplete_with_error)

    reply("chunk-after-done", read, first, second, chunk(NONE))
    reply("reply-flags-unknown", read, first, chunk(DATA, data=content(512, data), flags=3))
    breaks("none-chunk-malformed")(none_without_done)
    reply("none-chunk-malformed", req(FLUSH_), chunk(NONE, data=b"abc"))
    reply("data-chunk-empty", read, chunk(DATA, data=content(0, b""), flags=0), first, second,
          at=0)
    reply("hole-chunk-malformed", read, first, chunk(HOLE, data=hole(512, 0), flags=0), second,
          at=1)
    reply("hole-chunk-malformed", read, first, chunk(HOLE, data=hole(512, 512) + bytes(4)))
    reply("chunk-outside-request", read, first, chunk(DATA, data=content(1024, data)))
    reply("chunk-outside-request", read, first, chunk(HOLE, data=hole(512, 1024)))
    reply("chunk-overlap", read, first, chunk(DATA, data=content(0, data), flags=0), second, at=1)
    reply("chunk-overlap", read, chunk(ERR_OFF, data=error(5, b"", 600), flags=0), first, second)
    reply("read-incomplete", read, first, chunk(NONE))
    reply("read-incomplete", read, chunk(NONE))
    reply("chunk-type-wrong", req(FLUSH_), chunk(DATA, data=content(0, data)))
    reply("chunk-type-wrong", read, chunk(BSTATUS, data=extents(1, (1024, 0))))
    reply("chunk-type-wrong", read, first, chunk(3, flags=0), second, at=1)
    df = req(READ, 0, 1024, DF)
    reply("df-read-fragmented", df, first, second)
    fine("df-read-fragmented", df, chunk(DATA, data=content(0, bytes(1024))))
    fine("df-read-fragmented", df, chunk(HOLE, data=hole(0, 1024), flags=0), chunk(NONE))
    long = req(READ, 0, 131072, DF)
    reply("df-overflow-with-data", long, first, chunk(ERR, data=error(75)))
    fine("df-overflow-with-data", long, chunk(ERR, data=error(75)))

    write = req(WRITE, 0, 512, data=data)
    reply("error-chunk-without-error", write, chunk(ERR, data=error(0)))
    reply("error-chunk-malformed", write, chunk(ERR, data=b"\0\0\0\5"))
    reply("error-chunk-malformed", write, chunk(ERR, data=error(5, b"No space now", said=3072)),
          says="little-endian")
    reply("error-chunk-malformed", read, chunk(ERR_OFF, data=error(5, b"", 0, said=9)))
    reply("error-offset-outside", read, chunk(ERR_OFF, data=error(5, b"", 1024)))
    reply("error-offset-on-flush", req(FLUSH_), chunk(ERR_OFF, data=error(5, b"", 0)))
    reply("error-chunk-repeated", read, chunk(ERR, data=error(5), flags=0),
          chunk(ERR, data=error(5)))
    reply("error-chunk-repeated", read, chunk(ERR_OFF, data=error(5, b"", 8), flags=0),
          chunk(ERR_OFF, data=error(5, b"", 8)))
    for rule in ("error-chunk-without-error", "error-chunk-malformed", "error-offset-outside",
                 "error-offset-on-flush", "error-chunk-repeated"):
        fine(rule, read, first, chunk(ERR_OFF, data=error(5, "größer".encode(), 512), flags=0),
             chunk(ERR_OFF, data=error(5, b"again", 1023)))
    reply("string-malformed", write, chunk(ERR, data=error(5, b"failed\0")), side="server",
          says="nbd-server")
    reply("reply-kinds-mixed", write, chunk(ERR, data=error(5), flags=0), simple(error=5))

    @breaks("chunks-without-done")
    def unfinished(cap):
        x = open(cap, structured=True)
        x.c(read)
        x.s(first)
        x.c(req(DISC, cookie=9))
        return x.close(1)

    @legal("chunks-without-done")
    def finished(cap):
        x = open(cap, structured=True)
        x.c(read)
        x.s(first)
        x.c(req(DISC, cookie=9))
        x.s(second)
        x.close(1)

    @breaks("client-continues-after-broken-reply")
    def continues(cap):
        x = open(cap, structured=True)
        x.c(read)
        x.s(chunk(3, flags=0), first, second)
        frame = x.c(req(FLUSH_, cookie=2))
        x.s(simple(2))
        x.bye()
        return frame

    @breaks("chunks-not-512-aligned", says="2 of 2;")
    def odd_chunks(cap):
        x = open(cap, structured=True)
        x.c(req(READ, 0, 1024))
        frame = x.s(chunk(DATA, data=content(0, bytes(100)), flags=0))
        x.s(chunk(DATA, data=content(100, bytes(924))))
        x.bye()
        return frame

    @legal("chunks-not-512-aligned")
    def odd_ends(cap):
        x = open(cap, structured=True)
        x.c(req(READ, 7, 1000))
        x.s(chunk(DATA, data=content(7, bytes(505)), flags=0))
        x.s(chunk(HOLE, data=hole(512, 495)))
        x.bye()


def incomplete_with_error(cap):
    x = open(cap, structured=True)
    x.c(req(READ, 0, 1024))
    x.s(chunk(DATA, data=content(0, bytes(512)), flags=0), chunk(ERR, data=error(5)))
    x.bye()


def none_without_done(cap):
    x = open(cap, structured=True)
    x.c(req(READ, 0, 512))
    x.s(chunk(DATA, data=content(0, bytes(512)), flags=0))
    frame = x.s(chunk(NONE, flags=0))
    x.s(chunk(NONE))
    x.bye()
    return frame
