# SPDX-License-Identifier: GPL-2.0-or-later
"""Size constraints (rows B)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal

    def sizes(rule, blocks, kind="breaks", size=MIB, **options):
        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = haggle(cap)
            x.c(opt(GO, go_data(infos=(I_BLOCKS,))))
            first = x.s(info_blocks(GO, *blocks))
            x.s(info_export(GO, size))
            last = x.s(rep(GO, ACK))
            x.bye()
            if kind == "legal":
                return None
            return last if options.get("severity") == "note" or rule.startswith("size") else first
        case.__name__ = "sizes_%d_%d_%d" % blocks

    sizes("block-size-minimum-invalid", (3000, 4096, 0xFFFFFFFF))
    def habit(rule, *requests, kind="breaks", **setup):
        says = setup.pop("says", None)

        @(breaks if kind == "breaks" else legal)(rule, **({"says": says} if says else {}))
        def case(cap):
            x = open(cap, **setup)
            frames = []
            for offset, length in requests:
                frames.append(x.c(req(TRIM_, offset, length)))
                x.s(simple())
            x.bye()
            return None if kind == "legal" else frames[1]
        case.__name__ = "habit_%d" % len(t.list)

    told = dict(blocks=(1, 4096, MIB))
    habit("requests-not-preferred-size", (0, 4096), (512, 4096), (4096, 512),
          says="2 of 3;", **told)
    habit("requests-not-preferred-size", (0, 4096), (8192, 65536), kind="legal", **told)
    habit("requests-not-preferred-size", (0, MIB + 100), (MIB, 100), kind="legal",
          size=MIB + 100, **told)
    habit("requests-not-preferred-size", (0, 1), kind="legal")
    habit("requests-beyond-defaults", (0, 512), (1, 512), (512, 100), says="2 of 3;")
    habit("requests-beyond-defaults", (0, 512), (512, 512), kind="legal")
    habit("requests-beyond-defaults", (0, 1), kind="legal", **told)
    sizes("block-size-minimum-invalid", (0, 4096, 0xFFFFFFFF))
    sizes("block-size-minimum-invalid", (131072, 131072, 0xFFFFFFFF))
    sizes("block-size-minimum-invalid", (65536, 65536, 0xFFFFFFFF), "legal")
    sizes("block-size-preferred-invalid", (4096, 512, 0xFFFFFFFF))
    sizes("block-size-preferred-invalid", (1, 256, 0xFFFFFFFF))
    sizes("block-size-preferred-invalid", (512, 512, 0xFFFFFFFF), "legal")
    sizes("payload-maximum-invalid", (1, 4096, 1024))
    sizes("payload-maximum-invalid", (1, 4096, 65536), size=8 * MIB, severity="note")
    sizes("payload-maximum-invalid", (1, 4096, 65536), "legal", size=65536)
    sizes("payload-maximum-invalid", (1, 4096, MIB), "legal", size=8 * MIB)
    sizes("size-not-multiple-of-minimum", (512, 4096, 0xFFFFFFFF), size=1000)
    sizes("size-not-multiple-of-minimum", (512, 4096, 0xFFFFFFFF), "legal", size=1024)

    def request(rule, message, answer, kind="breaks", at="request", **options):
        setup = options.pop("setup", {})

        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = open(cap, **setup)
            asked = x.c(message)
            answered = x.s(answer)
            x.bye()
            return None if kind == "legal" else asked if at == "request" else answered
        case.__name__ = "request_%d" % len(t.list)

    four = dict(blocks=(4096, 4096, MIB))
    request("request-not-aligned", req(WRITE, 512, 512, data=bytes(512)), simple(error=22),
            setup=four)
    request("request-not-aligned", req(READ, 0, 512), simple(error=22), setup=four)
    request("request-not-aligned", req(WRITE, 4096, 4096, data=bytes(4096)), simple(), "legal",
            setup=four)
    request("request-not-aligned", req(READ, 0, 512), simple(data=bytes(512)), "legal",
            setup=dict(blocks=(4096, 4096, MIB), asked=False))
    # the tail of an export whose size is no multiple
    request("request-not-aligned", req(READ, 4096, 904), simple(data=bytes(904)), "legal",
            setup=dict(blocks=(4096, 4096, MIB), size=5000))
    small = dict(blocks=(1, 4096, 65536), size=8 * MIB)
    request("payload-too-large", req(WRITE, 0, 65537, data=bytes(65537)), simple(error=22),
            setup=small)
    request("payload-too-large", req(READ, 0, 65537), simple(error=22), setup=small)
    request("payload-too-large", req(WRITE, 0, 65536, data=bytes(65536)), simple(), "legal",
            setup=small)
    request("payload-too-large", req(ZEROES_, 0, 1 << 20), simple(), "legal", setup=small)
    request("payload-too-large", req(READ, 0, 65537), chunk(ERR, data=error(75)), "legal",
            setup=dict(small, structured=True))
    request("request-beyond-export", req(READ, MIB, 512), simple(error=22))
    request("request-beyond-export", req(READ, 2**64 - 512, 1024), simple(error=22))
    request("request-beyond-export", req(READ, MIB - 512, 512), simple(data=bytes(512)), "legal")
    request("chunk-payload-too-large", req(READ, 0, 131072),
            chunk(DATA, data=content(0, bytes(131072))), at="answer",
            setup=dict(small, structured=True))
    request("chunk-payload-too-large", req(READ, 0, 131072),
            chunk(DATA, data=content(0, bytes(65536)), flags=0) +
            chunk(DATA, data=content(65536, bytes(65536))), "legal",
            setup=dict(small, structured=True))
    request("illegal-request-accepted", req(READ, MIB - 512, 1024), simple(data=bytes(1024)),
            at="answer")
    request("illegal-request-accepted", req(READ, 512, 512), simple(data=bytes(512)), at="answer",
            setup=four, severity="note")
    request("illegal-request-accepted", req(READ, MIB - 512, 1024), simple(error=22), "legal",
            allow="request-beyond-export")
    request("df-read-refused", req(READ, 0, 65536, DF), chunk(ERR, data=error(75)), at="answer",
            setup=dict(structured=True))
    request("df-read-refused", req(READ, 0, 65537, DF), chunk(ERR, data=error(75)), "legal",
            setup=dict(structured=True))

    @breaks("export-name-after-block-sizes")
    def learned(cap):
        x = haggle(cap)
        x.c(opt(INFO, go_data(infos=(I_BLOCKS,))))
        x.s(info_export(INFO), info_blocks(INFO, 512), rep(INFO, ACK))
        frame = x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL))
        x.bye()
        return frame

    @legal("export-name-after-block-sizes")
    def learned_and_used(cap):
        x = haggle(cap)
        x.c(opt(INFO, go_data(infos=(I_BLOCKS,))))
        x.s(info_export(INFO), info_blocks(INFO, 512), rep(INFO, ACK))
        x.c(opt(GO, go_data(infos=(I_BLOCKS,))))
        x.s(info_export(GO), info_blocks(GO, 512), rep(GO, ACK))
        x.bye()
