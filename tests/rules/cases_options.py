# SPDX-License-Identifier: GPL-2.0-or-later
"""Option haggling (rows O)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal

    def go(x, *before):
        x.c(opt(GO, go_data()))
        return x.s(*before, info_export(), rep(GO, ACK))

    def option(rule, number, data, *answers, structured=False, at="answer", kind="breaks",
               after=True, **options):
        """One option and its answers, then NBD_OPT_GO and the end."""
        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = haggle(cap, structured)
            asked = x.c(opt(number, data))
            frames = [x.s(answer) for answer in answers]
            if after:
                go(x)
                x.bye()
            else:
                x.close()
            if kind == "legal":
                return None
            return asked if at == "option" else frames[0] if at == "first" else frames[-1]
        case.__name__ = "option_%d_%d" % (number, len(t.list))

    def fine(rule, number, data, *answers, **options):
        option(rule, number, data, *answers, kind="legal", **options)

    @breaks("option-magic-wrong")
    def wrong_option(cap):
        x = haggle(cap)
        x.c(opt(LIST))
        x.s(rep(LIST, ACK))
        frame = x.c(b"IHAVEOPS" + bytes(8))
        x.close(1)
        return frame

    fine("option-magic-wrong", LIST, b"", rep(LIST, ACK))

    option("option-reply-magic-wrong", LIST, b"", bytes(20), after=False)
    fine("option-reply-magic-wrong", LIST, b"", rep(LIST, SERVER, struct.pack(">I", 1) + b"x"),
         rep(LIST, ACK))

    option("option-echo-wrong", LIST, b"", rep(GO, ACK))
    option("option-echo-wrong", LIST, b"", rep(LIST << 24, ACK), says="little-endian")
    fine("option-echo-wrong", LIST, b"", rep(LIST, ACK))

    @breaks("option-echo-wrong", says="too short")
    def short_answer(cap):
        x = haggle(cap)
        x.c(opt(STRUCTURED))
        x.s(REP + struct.pack(">II", E_UNSUP, 0))
        x.close()

    @breaks("option-before-final-reply")
    def hurried(cap):
        x = haggle(cap)
        x.c(opt(STRUCTURED))
        frame = x.c(opt(GO, go_data()))
        x.s(rep(STRUCTURED, ACK), info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.bye()
        return frame

    @legal("option-before-final-reply")
    @legal("option-reply-unexpected")
    def refused_by_its_header(cap):
        """The server answers before it has the option's data."""
        x = haggle(cap)
        whole = opt(GO, go_data(b"a longer name"))
        x.c(whole[:16])
        x.s(rep(GO, E_POLICY))
        x.c(whole[16:])
        x.abort()

    @breaks("option-reply-unexpected")
    def one_more(cap):
        x = haggle(cap)
        x.c(opt(LIST))
        x.s(rep(LIST, ACK))
        frame = x.s(rep(LIST, ACK))
        go(x)
        x.bye()
        return frame

    option("option-reply-type-wrong", GO, go_data(), rep(GO, SERVER, bytes(4)), after=False)
    option("option-reply-type-wrong", LIST, b"", rep(LIST, 77), after=False)
    fine("option-reply-type-wrong", LIST, b"", rep(LIST, SERVER, bytes(4)), rep(LIST, ACK))

    option("ack-with-data", LIST, b"", rep(LIST, ACK, bytes(4)))
    fine("ack-with-data", LIST, b"", rep(LIST, ACK))

    option("server-name-overrun", LIST, b"", rep(LIST, SERVER, b"export-1"), rep(LIST, ACK),
           at="first")
    option("server-name-overrun", LIST, b"", rep(LIST, SERVER, b"ab"), rep(LIST, ACK), at="first")
    fine("server-name-overrun", LIST, b"",
         rep(LIST, SERVER, struct.pack(">I", 8) + b"export-1, the description"), rep(LIST, ACK))

    option("string-malformed", LIST, b"", rep(LIST, E_POLICY, b"go away\0"), side="server")
    option("string-malformed", LIST, b"", rep(LIST, SERVER, struct.pack(">I", 2) + b"\xc3\x28"),
           rep(LIST, ACK), at="first", side="server")
    option("string-malformed", INFO, go_data(b"a\0b"), rep(INFO, E_UNKNOWN), at="option",
           side="client")
    option("string-malformed", INFO, go_data(b"a" * 4097), rep(INFO, E_UNKNOWN), at="option",
           side="client")
    fine("string-malformed", INFO, go_data("Grüße, 世界 🙂".encode() * 100),
         rep(INFO, E_UNKNOWN, "gibt es nicht: größer".encode()))
    fine("string-malformed", INFO, go_data(b"a" * 4096), rep(INFO, E_UNKNOWN))

    for number in (LIST, STRUCTURED):
        option("option-data-unexpected", number, bytes(4), rep(number, E_INVALID), at="option")
    fine("option-data-unexpected", STRUCTURED, b"", rep(STRUCTURED, E_UNSUP))
    option("option-data-not-refused", LIST, bytes(4), rep(LIST, ACK))
    fine("option-data-not-refused", LIST, bytes(4), rep(LIST, E_INVALID),
         allow="option-data-unexpected")

    @breaks("abort-with-data")
    def abort_data(cap):
        x = haggle(cap)
        frame = x.c(opt(ABORT, bytes(4)))
        x.s(rep(ABORT, ACK))
        x.close()
        return frame

    @legal("abort-with-data")
    @legal("bytes-after-abort")
    def abort(cap):
        haggle(cap).abort()

    @breaks("bytes-after-abort")
    def after_abort(cap):
        x = haggle(cap)
        x.c(opt(ABORT))
        x.s(rep(ABORT, ACK))
        frame = x.c(b"one more thing")
        x.close(1)
        return frame

    @breaks("option-after-negotiation")
    def after_go(cap):
        x = open(cap)
        frame = x.c(opt(LIST))
        x.close(1)
        return frame

    @breaks("option-after-negotiation")
    def after_export_name(cap):
        x = haggle(cap)
        x.c(opt(EXPORT_NAME, b"x"))
        frame = x.c(opt(LIST))
        x.close(1)
        return frame

    @legal("option-after-negotiation")
    def after_refusal(cap):
        x = haggle(cap)
        x.c(opt(GO, go_data(b"nope")))
        x.s(rep(GO, E_UNKNOWN))
        x.c(opt(LIST))
        x.s(rep(LIST, ACK))
        go(x)
        x.bye()

    option("info-request-malformed", INFO, struct.pack(">I", 10) + b"ab", rep(INFO, E_INVALID),
           at="option")
    option("info-request-malformed", INFO, go_data() + b"\0", rep(INFO, E_INVALID), at="option")
    fine("info-request-malformed", INFO, go_data(b"", (I_NAME, I_BLOCKS)), rep(INFO, E_UNKNOWN))
    option("info-request-repeated", INFO, go_data(infos=(I_BLOCKS, I_NAME, I_BLOCKS)),
           rep(INFO, E_INVALID), at="option")
    fine("info-request-repeated", INFO, go_data(infos=(I_BLOCKS, I_NAME, I_DESCRIPTION)),
         rep(INFO, E_UNKNOWN))

    option("ack-without-info-export", INFO, go_data(), rep(INFO, ACK))
    fine("ack-without-info-export", INFO, go_data(), info_export(INFO), rep(INFO, ACK))

    option("info-reply-malformed", INFO, go_data(),
           rep(INFO, REP_INFO, struct.pack(">HQ", I_EXPORT, MIB)), rep(INFO, E_UNKNOWN), at="first")
    option("info-reply-malformed", INFO, go_data(), rep(INFO, REP_INFO, b"\0"),
           rep(INFO, E_UNKNOWN), at="first")
    option("info-reply-malformed", INFO, go_data(infos=(I_BLOCKS,)),
           rep(INFO, REP_INFO, struct.pack(">HII", I_BLOCKS, 1, 4096)), info_export(INFO),
           rep(INFO, ACK), at="first")
    fine("info-reply-malformed", INFO, go_data(infos=(I_NAME,)),
         rep(INFO, REP_INFO, struct.pack(">H", I_NAME)), info_export(INFO), rep(INFO, ACK))

    breaks("info-reply-repeated")(repeated_info)
    fine("info-reply-repeated", INFO, go_data(infos=(I_BLOCKS,)), info_export(INFO),
         info_blocks(INFO), rep(INFO, ACK))

    option("info-before-unknown", INFO, go_data(), info_export(INFO), rep(INFO, E_UNKNOWN))
    fine("info-before-unknown", INFO, go_data(), rep(INFO, E_UNKNOWN))

    @breaks("info-before-tls-required")
    def info_then_tls(cap):
        x = haggle(cap)
        x.c(opt(LIST))
        x.s(rep(LIST, E_TLS))
        x.c(opt(INFO, go_data()))
        x.s(info_export(INFO))
        frame = x.s(rep(INFO, E_TLS))
        x.abort()
        return frame

    @legal("info-before-tls-required")
    @legal("tls-required-for-some-options")
    @legal("starttls-refused-though-required")
    @legal("plaintext-after-starttls")
    @legal("starttls-late")
    @legal("starttls-without-fixed-newstyle")
    @legal("tls-version-old")
    @legal("tls-required-without-tls")
    @legal("tls-required-and-bypassed")
    def tls(cap):
        """A server that demands TLS for everything."""
        x = haggle(cap)
        x.c(opt(INFO, go_data()))
        x.s(rep(INFO, E_TLS))
        x.c(opt(LIST))
        x.s(rep(LIST, E_TLS))
        x.c(opt(STARTTLS))
        x.s(rep(STARTTLS, ACK))
        x.c(b"\x16\x03\x01\x00\x04abcd")
        x.s(b"\x16\x03\x03\x00\x04abcd")
        x.close()

    @legal("info-before-tls-required")
    @legal("tls-required-for-some-options")
    @legal("tls-required-and-bypassed")
    def selective(cap):
        """A server that demands TLS for one export."""
        x = haggle(cap, structured=True)
        x.c(opt(INFO, go_data(b"secret")))
        x.s(rep(INFO, E_TLS))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.bye()

    option("block-size-required-though-asked", INFO, go_data(infos=(I_BLOCKS,)),
           rep(INFO, E_BLOCKS))
    fine("block-size-required-though-asked", INFO, go_data(), info_blocks(INFO, 4096),
         rep(INFO, E_BLOCKS))
    option("block-size-required-without-sizes", INFO, go_data(), rep(INFO, E_BLOCKS))
    fine("block-size-required-without-sizes", INFO, go_data(), info_blocks(INFO, 4096),
         rep(INFO, E_BLOCKS))

    @breaks("block-size-withheld")
    def withheld(cap):
        x = haggle(cap)
        x.c(opt(GO, go_data(infos=(I_BLOCKS,))))
        x.s(info_export(), rep(GO, ACK))
        x.c(req(READ, 100, 100))
        frame = x.s(simple(error=22))
        x.bye()
        return frame

    @legal("block-size-withheld")
    def told(cap):
        x = open(cap, blocks=(512, 4096, 0xFFFFFFFF))
        x.c(req(READ, 512, 512))
        x.s(simple(error=22))
        x.bye()

    @breaks("info-and-go-differ")
    def differ(cap):
        x = haggle(cap)
        x.c(opt(INFO, go_data()))
        x.s(info_export(INFO, MIB), rep(INFO, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, 2 * MIB))
        frame = x.s(rep(GO, ACK))
        x.bye()
        return frame

    @legal("info-and-go-differ")
    def another_order(cap):
        x = haggle(cap)
        x.c(opt(INFO, go_data()))
        x.s(info_export(INFO), info_blocks(INFO), rep(INFO, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_blocks(GO), info_export(GO), rep(GO, ACK))
        x.bye()

    @legal("info-and-go-differ")
    def in_between(cap):
        x = haggle(cap)
        x.c(opt(INFO, go_data()))
        x.s(info_export(INFO), rep(INFO, ACK))
        x.c(opt(STRUCTURED))
        x.s(rep(STRUCTURED, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.bye()

    @breaks("zeroes-after-go")
    def padded_go(cap):
        x = open(cap)
        frame = x.s(bytes(124))
        x.close()
        return frame

    @legal("zeroes-after-go")
    def plain_go(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(data=bytes(512)))
        x.bye()

    @breaks("export-name-without-go")
    def no_go(cap):
        x = haggle(cap)
        frame = x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL))
        x.bye()
        return frame

    @legal("export-name-without-go")
    def fallback(cap):
        x = haggle(cap)
        x.c(opt(GO, go_data()))
        x.s(rep(GO, E_UNSUP))
        x.c(opt(EXPORT_NAME, b"x"))
        x.s(struct.pack(">QH", MIB, USUAL))
        x.bye()

    option("unknown-option-not-unsupported", 1234, b"abc", rep(1234, E_INVALID))
    fine("unknown-option-not-unsupported", 1234, b"abc", rep(1234, E_UNSUP))
    fine("unknown-option-not-unsupported", 1234, b"abc", rep(1234, E_TLS), after=False)
    option("baseline-option-unsupported", LIST, b"", rep(LIST, E_UNSUP))
    fine("baseline-option-unsupported", STRUCTURED, b"", rep(STRUCTURED, E_UNSUP))

    @breaks("option-repeated")
    def twice(cap):
        x = haggle(cap, structured=True)
        frame = x.c(opt(STRUCTURED))
        x.s(rep(STRUCTURED, E_INVALID))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.bye()
        return frame

    @legal("option-repeated")
    def again_after_failure(cap):
        x = haggle(cap)
        x.c(opt(STRUCTURED))
        x.s(rep(STRUCTURED, E_POLICY))
        x.c(opt(STRUCTURED))
        x.s(rep(STRUCTURED, ACK))
        x.c(opt(SETCTX, ctx_data(b"base:allocation")))
        x.s(ctx(SETCTX, 1), rep(SETCTX, ACK))
        x.c(opt(SETCTX, ctx_data(b"base:allocation")))
        x.s(ctx(SETCTX, 1), rep(SETCTX, ACK))
        x.c(opt(GO, go_data()))
        x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
        x.bye()

    context = ctx_data(b"base:allocation")
    option("meta-context-without-structured", SETCTX, context, rep(SETCTX, E_INVALID), at="option")
    option("meta-context-without-structured", LISTCTX, context, rep(LISTCTX, E_INVALID),
           at="option", severity="note")
    option("meta-context-not-refused", SETCTX, context, ctx(SETCTX, 1), rep(SETCTX, ACK))
    fine("meta-context-not-refused", SETCTX, context, rep(SETCTX, E_INVALID),
         allow="meta-context-without-structured")

    def contexts(rule, number, data, *answers, at="answer", kind="breaks", **options):
        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = haggle(cap, structured=True)
            asked = x.c(opt(number, data))
            frames = [x.s(answer) for answer in answers]
            x.c(opt(GO, go_data()))
            x.s(info_export(GO, MIB, USUAL | SDF), rep(GO, ACK))
            x.bye()
            if kind == "legal":
                return None
            return asked if at == "option" else frames[0] if at == "first" else frames[-1]
        case.__name__ = "contexts_%d" % len(t.list)

    def well(rule, number, data, *answers, **options):
        contexts(rule, number, data, *answers, kind="legal", **options)

    well("meta-context-without-structured", SETCTX, context, ctx(SETCTX, 1), rep(SETCTX, ACK))
    contexts("context-query-malformed", SETCTX, ctx_data(b"allocation"), rep(SETCTX, E_INVALID),
             at="option")
    contexts("context-query-malformed", LISTCTX, ctx_data(b":x"), rep(LISTCTX, ACK), at="option")
    contexts("context-query-malformed", LISTCTX, ctx_data(b"b ase:x"), rep(LISTCTX, ACK),
             at="option")
    well("context-query-malformed", LISTCTX, ctx_data(b"base:", b"x-\xc3\xa4:y"),
         ctx(LISTCTX, 0), rep(LISTCTX, ACK))
    contexts("namespace-unregistered", SETCTX, ctx_data(b"acme:status"), rep(SETCTX, ACK),
             at="option", side="client")
    well("namespace-unregistered", SETCTX, ctx_data(b"x-acme:status", b"qemu:allocation-depth"),
         rep(SETCTX, ACK))
    contexts("meta-context-request-malformed", SETCTX, ctx_data(b"base:allocation", count=2),
             rep(SETCTX, E_INVALID), at="option")
    well("meta-context-request-malformed", SETCTX, ctx_data(), rep(SETCTX, ACK))
    contexts("meta-context-request-not-refused", SETCTX, ctx_data(b"base:allocation", count=2),
             ctx(SETCTX, 1), rep(SETCTX, ACK))
    well("meta-context-request-not-refused", SETCTX, ctx_data(b"base:allocation", count=2),
         rep(SETCTX, E_INVALID), allow="meta-context-request-malformed")
    contexts("unknown-context-refused", SETCTX, ctx_data(b"base:other"), rep(SETCTX, E_INVALID))
    contexts("unknown-context-refused", SETCTX, ctx_data(b"base:new"), rep(SETCTX, E_INVALID))
    well("unknown-context-refused", SETCTX, ctx_data(b"x-new:thing"), rep(SETCTX, ACK))
    well("unknown-context-refused", SETCTX, ctx_data(b"x-new:thing"), rep(SETCTX, E_UNKNOWN))
    contexts("contexts-without-queries", SETCTX, ctx_data(), ctx(SETCTX, 1), rep(SETCTX, ACK),
             at="first")
    well("contexts-without-queries", LISTCTX, ctx_data(), ctx(LISTCTX, 0), rep(LISTCTX, ACK))
    contexts("base-wildcard-selected", SETCTX, ctx_data(b"base:"), ctx(SETCTX, 1),
             rep(SETCTX, ACK), at="first")
    well("base-wildcard-selected", LISTCTX, ctx_data(b"base:"), ctx(LISTCTX, 0),
         rep(LISTCTX, ACK))
    two = ctx_data(b"base:allocation", b"x-a:b")
    breaks("context-repeated")(with_ack(two, 1, 1))
    breaks("context-repeated")(with_ack(two, 1, 2, b"base:allocation"))
    well("context-repeated", SETCTX, ctx_data(b"base:allocation", b"base:allocation"),
         ctx(SETCTX, 1), ctx(SETCTX, 1), rep(SETCTX, ACK))
    contexts("list-context-id-nonzero", LISTCTX, context, ctx(LISTCTX, 1), rep(LISTCTX, ACK),
             at="first")
    well("list-context-id-nonzero", LISTCTX, context, ctx(LISTCTX, 0), rep(LISTCTX, ACK))
    contexts("context-name-malformed", LISTCTX, context, ctx(LISTCTX, 0, b"allocation"),
             rep(LISTCTX, ACK), at="first")
    well("context-name-malformed", LISTCTX, ctx_data(), ctx(LISTCTX, 0, b"qemu:dirty-bitmap:b0"),
         rep(LISTCTX, ACK))
    contexts("context-not-asked-for", SETCTX, ctx_data(b"qemu:allocation-depth"), ctx(SETCTX, 1),
             rep(SETCTX, ACK), at="first")
    well("context-not-asked-for", LISTCTX, ctx_data(), ctx(LISTCTX, 0), rep(LISTCTX, ACK))
    contexts("list-contexts-too-big", LISTCTX, ctx_data(), rep(LISTCTX, E_BIG))
    well("list-contexts-too-big", LISTCTX, ctx_data(b"base:"), rep(LISTCTX, E_BIG))

    @breaks("option-after-shutdown")
    def after_shutdown(cap):
        x = haggle(cap)
        x.c(opt(GO, go_data()))
        x.s(rep(GO, E_SHUTDOWN))
        frame = x.c(opt(LIST))
        x.s(rep(LIST, E_SHUTDOWN))
        x.abort()
        return frame

    @legal("option-after-shutdown")
    @legal("shutdown-without-goodbye")
    def abort_after_shutdown(cap):
        x = haggle(cap)
        x.c(opt(GO, go_data()))
        x.s(rep(GO, E_SHUTDOWN))
        x.abort()

    def tls_history(rule, *exchange, says=None, **options):
        @breaks(rule, says=says, **options)
        def case(cap):
            x = haggle(cap)
            for number, data, answer in exchange:
                x.c(opt(number, data))
                frame = x.s(answer)
            x.close()
            return frame
        case.__name__ = "tls_%d" % len(t.list)

    tls_history("tls-required-without-tls", (STARTTLS, b"", rep(STARTTLS, E_UNSUP)),
                (INFO, go_data(), rep(INFO, E_TLS)))
    tls_history("tls-required-for-some-options", (STRUCTURED, b"", rep(STRUCTURED, ACK)),
                (LIST, b"", rep(LIST, E_TLS)))
    tls_history("tls-required-for-some-options", (LIST, b"", rep(LIST, E_TLS)),
                (STRUCTURED, b"", rep(STRUCTURED, ACK)))
    tls_history("tls-required-and-bypassed", (LIST, b"", rep(LIST, E_TLS)),
                (GO, go_data(), info_export() + rep(GO, ACK)))
    tls_history("starttls-refused-though-required", (LIST, b"", rep(LIST, E_TLS)),
                (STARTTLS, b"", rep(STARTTLS, E_POLICY)))

    @breaks("starttls-without-fixed-newstyle")
    def tls_without_fixed(cap):
        x = haggle(cap, client=2)
        frame = x.c(opt(STARTTLS))
        x.s(rep(STARTTLS, E_UNSUP))
        x.close()
        return frame

    @breaks("plaintext-after-starttls", side="client")
    def client_in_clear(cap):
        x = haggle(cap)
        x.c(opt(STARTTLS))
        x.s(rep(STARTTLS, ACK))
        frame = x.c(opt(GO, go_data()))
        x.close(1)
        return frame

    @breaks("plaintext-after-starttls", side="server")
    def server_in_clear(cap):
        x = haggle(cap)
        x.c(opt(STARTTLS))
        x.s(rep(STARTTLS, ACK))
        x.c(b"\x16\x03\x01\x00\x04abcd")
        frame = x.s(rep(STARTTLS, ACK))
        x.close()
        return frame

    @breaks("starttls-late")
    def late(cap):
        x = haggle(cap, structured=True)
        frame = x.c(opt(STARTTLS))
        x.s(rep(STARTTLS, E_UNSUP))
        x.abort()
        return frame

    @breaks("tls-version-old")
    def old_tls(cap):
        x = haggle(cap)
        x.c(opt(STARTTLS))
        x.s(rep(STARTTLS, ACK))
        x.c(b"\x16\x03\x01\x00\x04abcd")
        frame = x.s(b"\x16\x03\x01\x00\x04abcd")
        x.close()
        return frame


def repeated_info(cap):
    x = haggle(cap)
    x.c(opt(INFO, go_data()))
    x.s(info_export(INFO))
    frame = x.s(info_export(INFO))
    x.s(rep(INFO, E_POLICY))
    x.abort()
    return frame


def with_ack(data, first, second, name=b"x-a:b"):
    def make(cap):
        x = haggle(cap, structured=True)
        x.c(opt(SETCTX, data))
        x.s(ctx(SETCTX, first))
        frame = x.s(ctx(SETCTX, second, name))
        x.s(rep(SETCTX, ACK))
        x.abort()
        return frame
    return make
