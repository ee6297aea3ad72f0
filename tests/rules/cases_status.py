# SPDX-License-Identifier: GPL-2.0-or-later
"""Block status (rows M)."""

from synth import *  # noqa: F401,F403


def register(t):
    breaks, legal = t.breaks, t.legal
    base = (b"base:allocation",)

    def status(rule, *answers, flags=0, length=4096, contexts=base, kind="breaks", **options):
        @(breaks if kind == "breaks" else legal)(rule, **options)
        def case(cap):
            x = open(cap, contexts=contexts)
            x.c(req(STATUS, 0, length, flags))
            frames = [x.s(answer) for answer in answers]
            x.bye()
            return None if kind == "legal" else frames[-1]
        case.__name__ = "status_%d" % len(t.list)

    def fine(rule, *answers, **options):
        status(rule, *answers, kind="legal", **options)

    def said(*list_, ident=1, done=DONE):
        return chunk(BSTATUS, data=extents(ident, *list_), flags=done)

    both = (b"base:allocation", b"qemu:allocation-depth")
    status("status-contexts-missing", said((4096, 0)), contexts=both)
    fine("status-contexts-missing", said((4096, 0), ident=2, done=0), said((4096, 0)),
         contexts=both)
    fine("status-contexts-missing", said((4096, 0), done=0), chunk(ERR, data=error(5)),
         contexts=both)
    status("status-context-unknown", said((4096, 0), done=0), said((4096, 0), ident=77))
    status("status-context-unknown", said((4096, 0), done=0), said((4096, 0)))
    fine("status-context-unknown", said((4096, 0), done=0), said((4096, 0), ident=2),
         contexts=both)
    status("status-length-wrong", said())
    status("status-length-wrong", chunk(BSTATUS, data=extents(1, (4096, 0)) + b"\0"))
    fine("status-length-wrong", said((4096, 0)))
    status("status-extent-empty", said((0, 0), (4096, 1)))
    fine("status-extent-empty", said((1, 0), (4095, 1)))
    status("status-req-one", said((512, 0), (512, 1)), flags=REQ_ONE)
    status("status-req-one", said((8192, 0)), flags=REQ_ONE)
    fine("status-req-one", said((4096, 0)), flags=REQ_ONE)
    fine("status-req-one", said((512, 0)), flags=REQ_ONE)
    status("status-too-long", said((4096, 0), (512, 1)))
    fine("status-too-long", said((4095, 0), (65536, 1)))
    status("status-too-many-extents", said(*((1, i & 1) for i in range((1 << 20) + 1))),
           length=2 << 20, allow="request-beyond-export")
    fine("status-too-many-extents", said(*((1, i & 1) for i in range(1 << 10))))
    status("status-not-merged", said((1024, 0), (1024, 0), (2048, 1)))
    fine("status-not-merged", said((1024, 0), (1024, 1), (2048, 0)))
    status("status-bits-unknown", said((4096, 4)))
    fine("status-bits-unknown", said((4096, 3)))
    fine("status-bits-unknown", said((4096, 4)), contexts=(b"qemu:allocation-depth",))
    status("status-beyond-export", said((2 * MIB, 0)))
    fine("status-beyond-export", said((MIB, 0)))
