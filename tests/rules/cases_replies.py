# SPDX-License-Identifier: GPL-2.0-or-later
"""Simple replies, and what all replies have in common (rows S)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal
    data = bytes(512)

    def reply(rule, message, answer, kind="breaks", **options):
        setup = options.pop("setup", {})

        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = open(cap, **setup)
            x.c(message)
            frame = x.s(answer)
            x.bye()
            return None if kind == "legal" else frame
        case.__name__ = "reply_%d" % len(t.list)

    @breaks("reply-magic-wrong")
    def magic(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        frame = x.s(struct.pack(">IIQ", 0x12345678, 0, 1) + data)
        x.close()
        return frame

    @breaks("reply-magic-wrong", says="too short")
    def short_data(cap):
        x = open(cap)
        x.c(req(READ, 0, 512), req(READ, 512, 512, cookie=2))
        x.s(simple(1, data=bytes(500)), simple(2, data=bytes(512)))
        x.s(bytes(512))
        x.close()

    @legal("reply-magic-wrong")
    @legal("reply-to-no-request")
    @legal("reply-twice")
    def out_of_order(cap):
        x = open(cap)
        x.c(req(READ, 0, 512), req(READ, 512, 512, cookie=2), req(FLUSH_, cookie=3))
        x.s(simple(3), simple(2, data=data), simple(1, data=data))
        x.bye()

    @breaks("reply-to-no-request")
    def foreign(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        frame = x.s(simple(99, 5))
        x.rst(0)
        return frame

    @breaks("reply-twice", says="frame")
    def twice(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 512, data=data))
        x.s(simple())
        x.c(req(FLUSH_, cookie=2))
        frame = x.s(simple())
        x.s(simple(2))
        x.bye()
        return frame

    structured = dict(structured=True)
    reply("read-answered-simple", req(READ, 0, 512), simple(error=22), setup=structured)
    reply("read-answered-simple", req(READ, 0, 512), simple(data=data), setup=structured)
    reply("read-answered-simple", req(WRITE, 0, 512, data=data), simple(error=5), "legal",
          setup=structured)
    contexts = dict(contexts=(b"base:allocation",))
    reply("block-status-answered-simple", req(STATUS, 0, 4096), simple(), setup=contexts)
    reply("block-status-answered-simple", req(STATUS, 0, 4096), simple(error=22), "legal",
          setup=contexts)
    for code in (2, 0xFFFFFFFB, 122):
        reply("error-value-unknown", req(READ, 0, 512), simple(error=code))
    reply("error-value-unknown", req(READ, 0, 512), chunk(ERR, data=error(71)), setup=structured)
    for code in (1, 5, 12, 22, 28, 108):
        reply("error-value-unknown", req(WRITE, 0, 512, data=data), simple(error=code), "legal")

    @breaks("data-after-read-error", says="nbd-server")
    def stray(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(error=5))
        frame = x.s(b"\x55" * 512)
        x.c(req(READ, 0, 512, cookie=2))
        x.s(simple(2, data=data))
        x.bye()
        return frame

    reply("data-after-read-error", req(READ, 0, 512), simple(error=5), "legal")

    @breaks("reply-cut-short", says="as it must")
    def cut(cap):
        x = open(cap)
        x.c(req(READ, 0, 4096))
        frame = x.s(simple(), bytes(100))
        x.close(1)
        return frame

    @breaks("reply-cut-short", severity="hazard")
    def stuck(cap):
        x = open(cap)
        x.c(req(READ, 0, 4096))
        frame = x.s(simple())
        cap.wait(60)
        x.add(0, x.ACK)
        return frame

    @legal("reply-cut-short")
    def capture_ends(cap):
        x = open(cap)
        x.c(req(READ, 0, 4096))
        x.s(simple(), bytes(100))

    beyond = req(READ, MIB, 512)
    reply("error-value-not-recommended", beyond, simple(error=5))
    reply("error-value-not-recommended", req(WRITE, MIB, 512, data=data), simple(error=22))
    reply("error-value-not-recommended", req(WRITE, 0, 512, data=data), simple(error=5),
          setup=dict(flags=HAS | RO))
    reply("error-value-not-recommended", beyond, simple(error=22), "legal",
          allow="request-beyond-export")
    reply("error-value-not-recommended", req(WRITE, MIB, 512, data=data), simple(error=28),
          "legal", allow="request-beyond-export")
    reply("error-value-not-recommended", req(READ, 0, 512), simple(error=5), "legal")
    fast = dict(flags=HAS | ZEROES | SFAST)
    reply("enotsup-misplaced", req(ZEROES_, 0, 512), simple(error=95), setup=fast)
    reply("enotsup-misplaced", req(READ, 0, 512), simple(error=95), severity="note")
    reply("enotsup-misplaced", req(ZEROES_, 0, 512, FAST), simple(error=95), "legal", setup=fast)
    reply("eoverflow-misplaced", req(WRITE, 0, 512, data=data), simple(error=75))
    reply("eoverflow-misplaced", req(READ, 0, 131072, DF), chunk(ERR, data=error(75)), "legal",
          setup=structured)
    reply("enomem", req(READ, 0, 512), simple(error=12))
    reply("enomem", req(READ, 0, 512), simple(error=5), "legal")

    @breaks("disc-answered")
    def answered(cap):
        x = open(cap)
        x.c(req(DISC, cookie=9, flags=FUA))
        frame = x.s(simple(9, 22))
        x.close()
        return frame

    @legal("disc-answered")
    def late_answer(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 512, data=data), req(DISC, cookie=9))
        x.s(simple())
        x.close(1)

    @breaks("error-before-payload", says="3000 bytes before")
    def early(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 4096), bytes(1096))
        frame = x.s(simple(error=28))
        x.c(bytes(3000))
        x.bye()
        return frame

    @legal("error-before-payload")
    def after_payload(cap):
        x = open(cap)
        x.c(req(WRITE, 0, 4096), bytes(1096))
        x.c(bytes(3000))
        x.s(simple(error=28))
        x.bye()

    reply("unknown-request-accepted", req(WRITE, 0, 512, 0x200, data=data), simple())
    reply("unknown-request-accepted", req(42), simple())
    reply("unknown-request-accepted", req(CACHE_, 0, 512, NO_HOLE), simple(),
          severity="violation")
    reply("unknown-request-accepted", req(42), simple(error=22), "legal")
    reply("fua-refused", req(WRITE, 0, 512, FUA, data=data), simple(error=22))
    reply("fua-refused", req(WRITE, 0, 512, FUA, data=data), simple(error=5), "legal")
    reply("flush-refused", req(FLUSH_), simple(error=22))
    reply("flush-refused", req(FLUSH_), simple(error=5), "legal")
    reply("flush-refused", req(FLUSH_, 0, 512), simple(error=5), "legal", allow="flush-with-range")
    reply("chunk-without-structured", req(READ, 0, 512), chunk(DATA, data=content(0, data)))
    reply("chunk-without-structured", req(READ, 0, 512), chunk(DATA, data=content(0, data)),
          "legal", setup=structured)

    @breaks("requests-unanswered", says="frame")
    def hangs(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        cap.wait(35)
        return x.rst(0)

    @breaks("requests-unanswered")
    def hangs_to_the_end(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        cap.wait(600)
        x.add(0, x.ACK)

    @breaks("requests-unanswered", says="NBD_OPT_GO")
    def hangs_in_haggling(cap):
        x = haggle(cap)
        x.c(opt(GO, go_data()))
        cap.wait(30)
        return x.fin(0)

    @breaks("requests-unanswered", severity="note", side="either")
    def impatient(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        cap.wait(0.5)
        return x.rst(0)

    @legal("requests-unanswered")
    def capture_stops(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        cap.wait(0.5)
        x.add(1, x.ACK)

    @breaks("request-overtaken")
    def overtaken(cap):
        x = open(cap)
        x.c(req(READ, 0, 512), req(READ, 512, 512, cookie=2))
        cap.wait(10)
        frame = x.s(simple(2, data=data))
        x.s(simple(1, data=data))
        x.bye()
        return frame

    @legal("request-overtaken")
    def slow(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        cap.wait(10)
        x.s(simple(1, data=data))
        x.bye()
