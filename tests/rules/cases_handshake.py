# SPDX-License-Identifier: GPL-2.0-or-later
"""Greeting and flags (rows H)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal

    def go(x, flags=USUAL, number=GO):
        x.c(opt(GO, go_data()))
        return x.s(info_export(GO, MIB, flags), rep(GO, ACK))

    @breaks("greeting-magic-wrong")
    def other_service(cap):
        x = Conn(cap)
        frame = x.s(b"220 mail.example ESMTP\r\n")
        x.close()
        return frame

    @legal("greeting-magic-wrong")
    @legal("greeting-kind-unknown")
    @legal("handshake-flags-unknown")
    @legal("client-flags-unknown")
    @legal("client-no-zeroes-not-offered")
    @legal("client-fixed-newstyle-not-offered")
    @legal("client-fixed-newstyle-not-set")
    @legal("client-flags-not-refused")
    @legal("option-reply-without-fixed-newstyle")
    @legal("option-without-fixed-newstyle")
    @legal("has-flags-clear")
    @legal("fast-zero-without-write-zeroes")
    @legal("transmission-flags-unknown")
    @legal("export-name-answered-with-reply")
    def all_flags(cap):
        open(cap, HAS | FLUSH | SFUA | TRIM | ZEROES | CACHE | SFAST | MULTI | ROT | RESIZE).bye()

    @breaks("greeting-kind-unknown")
    def unknown_kind(cap):
        x = Conn(cap)
        frame = x.s(NBDMAGIC + struct.pack(">Q", 0x1122334455667788) + bytes(16))
        x.close()
        return frame

    @breaks("oldstyle-greeting-malformed")
    def reserved_byte(cap):
        x = Conn(cap)
        frame = x.s(oldstyle(zeroes=bytes(60) + b"\1" + bytes(63)))
        x.bye()
        return frame

    @legal("oldstyle-greeting-malformed")
    @legal("oldstyle-handshake-flags")
    @legal("request-expected-after-oldstyle")
    def old(cap):
        x = Conn(cap)
        x.s(oldstyle())
        x.c(req(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()

    @breaks("oldstyle-handshake-flags")
    def upper_half(cap):
        x = Conn(cap)
        frame = x.s(oldstyle(upper=1))
        x.bye()
        return frame

    @breaks("handshake-flags-unknown")
    def third_bit(cap):
        x = Conn(cap)
        frame = x.s(greeting(7))
        x.c(cflags(3))
        go(x)
        x.bye()
        return frame

    @breaks("option-reply-without-fixed-newstyle")
    def replies(cap):
        x = Conn(cap)
        x.hello(0, 0)
        x.c(opt(LIST))
        frame = x.s(rep(LIST, ACK))
        x.close()
        return frame

    @breaks("client-flags-unknown", says="little-endian")
    def little_endian(cap):
        x = Conn(cap)
        frame = x.hello(3, 0x03000000)
        x.close(1)
        return frame

    @breaks("client-no-zeroes-not-offered")
    def zeroes_not_offered(cap):
        x = Conn(cap)
        frame = x.hello(1, 3)
        x.close(1)
        return frame

    @breaks("client-fixed-newstyle-not-offered")
    def fixed_not_offered(cap):
        x = Conn(cap)
        frame = x.hello(0, 1)
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, HAS) + bytes(124))
        x.bye()
        return frame

    @breaks("client-fixed-newstyle-not-set")
    def fixed_not_set(cap):
        x = Conn(cap)
        x.hello(3, 2)
        x.c(opt(GO, go_data()))
        frame = len(cap.frames)
        x.s(info_export(), rep(GO, ACK))
        x.bye()
        return frame

    @breaks("client-flags-not-refused")
    def carries_on(cap):
        x = Conn(cap)
        x.hello(3, 0x80000003)
        frame = go(x)
        x.bye()
        return frame

    @legal("client-flags-not-refused", allow="client-flags-unknown")
    def refuses(cap):
        x = Conn(cap)
        x.hello(3, 0x80000003)
        x.c(opt(GO, go_data()))
        x.close(1)

    @breaks("export-name-zeroes-omitted")
    def omitted(cap):
        x = Conn(cap)
        x.hello(3, 1)
        x.c(opt(EXPORT_NAME, b"x"))
        frame = x.s(struct.pack(">QH", MIB, USUAL))
        x.c(req(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()
        return frame

    @legal("export-name-zeroes-omitted")
    @legal("export-name-answer-malformed")
    def with_zeroes(cap):
        x = Conn(cap)
        x.hello(3, 1)
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL) + bytes(124))
        x.c(req(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()

    @breaks("export-name-zeroes-unwanted")
    def unwanted(cap):
        x = Conn(cap)
        x.hello(3, 3)
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL))
        frame = x.s(bytes(124))
        x.c(req(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()
        return frame

    @legal("export-name-zeroes-unwanted")
    def without_zeroes(cap):
        x = Conn(cap)
        x.hello(3, 3)
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL))
        x.c(req(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()

    @breaks("export-name-answer-malformed")
    def padding(cap):
        x = Conn(cap)
        x.hello(3, 1)
        x.c(opt(EXPORT_NAME, b"x"))
        frame = x.s(struct.pack(">QH", MIB, USUAL) + bytes(100) + b"\xff" + bytes(23))
        x.bye()
        return frame

    @breaks("export-name-answer-malformed", says="qemu")
    def two_more(cap):
        x = Conn(cap)
        x.hello(3, 1)
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL) + bytes(124))
        frame = x.s(bytes(2) + b"")
        x.c(req(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()
        return frame

    @breaks("export-name-answered-with-reply")
    def refused_by_reply(cap):
        x = Conn(cap)
        x.hello()
        x.c(opt(EXPORT_NAME, b"nope"))
        frame = x.s(rep(EXPORT_NAME, E_UNKNOWN))
        x.close()
        return frame

    @legal("export-name-answered-with-reply")
    @legal("server-closed-in-haggling")
    def refused_by_close(cap):
        x = Conn(cap)
        x.hello()
        x.c(opt(EXPORT_NAME, b"nope"))
        x.close(1)

    def flags_case(rule, flags, **options):
        @breaks(rule, **options)
        def case(cap):
            x = haggle(cap)
            frame = go(x, flags)
            x.bye()
            return frame
        case.__name__ = "flags_0x%04x" % flags

    flags_case("has-flags-clear", FLUSH)
    flags_case("fast-zero-without-write-zeroes", HAS | SFAST)
    flags_case("df-without-structured-replies", HAS | SDF)
    flags_case("block-status-payload-without-extended", HAS | SPAYLOAD)
    flags_case("transmission-flags-unknown", HAS | 0x8000)

    @legal("has-flags-clear")
    def old_without_flags(cap):
        x = Conn(cap)
        x.s(oldstyle(flags=0))
        x.bye()

    @legal("df-without-structured-replies")
    def structured(cap):
        open(cap, USUAL | SDF, structured=True).bye()

    @legal("block-status-payload-without-extended")
    @legal("df-without-structured-replies")
    def extended(cap):
        x = open(cap, USUAL | SDF | SPAYLOAD, extended=True)
        x.c(xreq(DISC, cookie=9))
        x.close()

    @breaks("option-without-fixed-newstyle")
    def go_without_fixed(cap):
        x = Conn(cap)
        x.hello(0, 0)
        frame = x.c(opt(GO, go_data()))
        x.close(1)
        return frame

    @breaks("client-flags-early")
    def early(cap):
        x = Conn(cap)
        frame = x.c(cflags(3))
        x.s(greeting())
        go(x)
        x.bye()
        return frame

    @legal("client-flags-early")
    def at_once(cap):
        open(cap).bye()

    @breaks("request-expected-after-oldstyle")
    def flags_after_oldstyle(cap):
        x = Conn(cap)
        x.s(oldstyle())
        frame = x.c(cflags(3))
        x.close()
        return frame
