# SPDX-License-Identifier: GPL-2.0-or-later
"""Ends (rows D)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal
    data = bytes(512)

    def read(x, cookie=1):
        x.c(req(READ, 0, 512, cookie=cookie))
        x.s(simple(cookie, data=data))

    @breaks("client-closed-without-disc")
    def client_fin(cap):
        x = open(cap)
        read(x)
        return x.close(0)

    @breaks("client-closed-without-disc")
    def client_rst(cap):
        x = open(cap)
        read(x)
        return x.rst(0)

    @legal("client-closed-without-disc")
    @legal("server-closed-first")
    @legal("server-closed-unanswered")
    @legal("open-after-disc")
    @legal("shutdown-without-goodbye")
    @legal("client-closed-in-haggling")
    def goodbye(cap):
        x = open(cap)
        read(x)
        x.bye()

    @legal("client-closed-without-disc", allow="reply-to-no-request")
    def for_good_reason(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(99, 5))
        x.s(simple(1, data=data))
        x.close(0)

    @legal("client-closed-without-disc")
    def capture_ends(cap):
        read(open(cap))

    @breaks("server-closed-first")
    def server_fin(cap):
        x = open(cap)
        read(x)
        return x.close(1)

    @legal("server-closed-first")
    @legal("client-closed-without-disc")
    def shutting_down(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(error=108))
        x.close(1)

    @legal("server-closed-first")
    def after_disc(cap):
        x = open(cap)
        read(x)
        x.c(req(DISC, cookie=2))
        x.close(1)

    @breaks("server-closed-unanswered", severity="suspect", says="it had offered")
    def hangs_up(cap):
        x = open(cap)
        x.c(req(ZEROES_, 0, 4096))
        return x.close(1)

    @breaks("server-closed-unanswered", severity="hazard")
    def killed(cap):
        x = open(cap)
        x.c(req(READ, 0, 512), req(READ, 512, 512, cookie=2))
        return x.close(1)

    @breaks("server-closed-unanswered", severity="note")
    def provoked(cap):
        x = open(cap, flags=HAS)
        x.c(req(TRIM_, 0, 512))
        return x.close(1)

    @legal("server-closed-unanswered")
    def too_late(cap):
        """The request was sent when the server had closed already."""
        x = open(cap)
        read(x)
        x.fin(1)
        x.c(req(READ, 0, 512, cookie=2))
        x.fin(0)

    @breaks("open-after-disc")
    def stays_open(cap):
        x = open(cap)
        read(x)
        x.c(req(DISC, cookie=2))
        cap.wait(20)
        x.add(1, x.ACK)

    @legal("open-after-disc")
    def ends_soon(cap):
        x = open(cap)
        read(x)
        x.c(req(DISC, cookie=2))
        cap.wait(2)
        x.add(1, x.ACK)

    @breaks("client-closed-in-haggling")
    def leaves(cap):
        x = haggle(cap, structured=True)
        return x.close(0)

    @legal("client-closed-in-haggling")
    def looks_only(cap):
        """A client that did not send any option."""
        x = Conn(cap)
        x.hello()
        x.close(0)

    @breaks("server-closed-in-haggling")
    def hangs_up_on_option(cap):
        x = haggle(cap)
        x.c(opt(STRUCTURED))
        return x.close(1)

    @breaks("server-closed-in-haggling", severity="note")
    def idle(cap):
        x = haggle(cap, structured=True)
        return x.close(1)

    @breaks("shutdown-without-goodbye")
    def ignores(cap):
        x = open(cap)
        x.c(req(READ, 0, 512))
        x.s(simple(error=108))
        return x.close(0)

    @breaks("client-closed-in-haggling", says="nbd-client does so")
    def leaves_when_refused(cap):
        x = haggle(cap)
        x.c(opt(GO, go_data()))
        x.s(rep(GO, E_UNKNOWN))
        return x.close(0)

    @breaks("client-closed-in-haggling", says="xapi's client does so")
    def leaves_after_list(cap):
        x = haggle(cap)
        x.c(opt(LIST))
        x.s(rep(LIST, ACK))
        return x.close(0)

    @breaks("server-closed-in-haggling", says="nbdkit does so after 32 options")
    def many_options(cap):
        x = haggle(cap)
        for _ in range(33):
            x.c(opt(LIST))
            x.s(rep(LIST, ACK))
        x.c(opt(LIST))
        return x.close(1)

    @breaks("disc-with-requests-in-flight", says="Linux does not wait")
    @breaks("error-value-not-recommended", says="qemu answers NBD_EINVAL")
    def linux_and_qemu(cap):
        x = open(cap)
        x.c(req(WRITE, MIB, 512, data=data))
        x.s(simple(1, 22))
        x.c(req(READ, 0, 512, cookie=2), req(DISC, cookie=3))
        x.s(simple(2, data=data))
        x.close(1)

    @breaks("option-reply-unexpected", says="nbd-server lists after refusing")
    def lists_all_the_same(cap):
        x = haggle(cap)
        x.c(opt(LIST, b"data"))
        x.s(rep(LIST, E_INVALID))
        x.s(rep(LIST, SERVER, struct.pack(">I", 1) + b"x"), rep(LIST, ACK))
        x.abort()
