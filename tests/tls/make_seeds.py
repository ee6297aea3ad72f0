#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Seeds for tests/fuzz/fuzz_tls.c: a sample inside TLS, in all manners.

    make_seeds.py DIRECTORY

What is stored in tests/fuzz/corpus/tls.tar.zst was made so; the keys are new each time.
"""

import pathlib
import struct
import sys

import test_wrapped
import openssl
import rewrap
import wrap

ALONE, SHORT, GROWS = 1, 2, 4
DATA, GAP, KEYS, HALF_CLOSE, TICK = 0, 1, 2, 3, 6


def step(kind, server, data=b"", number=0):
    return struct.pack(">BH", kind | (0x80 if server else 0), len(data) or number) + data


def main():
    where = pathlib.Path(sys.argv[1])
    sample = wrap.load(rewrap.ROOT / "samples" / "dirty-bitmap.pcap")
    for number, (name, arguments, how) in enumerate(test_wrapped.manners()):
        context = openssl.Context(**arguments)
        segments, _ = wrap.wrap(sample, context, **how)
        client = segments[0].sport
        begun = {False: 0, True: 0}
        whole, inside = [], []
        for s in segments:
            server = s.sport != client
            for at in range(0, len(s.payload), 60000):
                piece = s.payload[at:at + 60000]
                whole.append(step(DATA, server, piece))
                # without what comes before TLS
                before = (wrap.GREETING + len(wrap.STARTTLS_ACK) if server
                          else wrap.FLAGS + len(wrap.STARTTLS))
                rest = piece[max(0, before - begun[server]):]
                begun[server] += len(piece)
                if rest:
                    inside.append(step(DATA, server, rest))
            if s.flags & wrap.FIN:
                whole.append(step(HALF_CLOSE, server))
        keys = step(KEYS, False, context.keys().encode())
        lossy = inside[:-6] + [step(GAP, True, number=29)] + inside[-5:]
        for kind, manner, steps in (
                ("alone", ALONE, [keys] + inside), ("lossy", ALONE, [keys] + lossy),
                ("engine", SHORT | 8 * (7 + number), [keys] + whole),
                ("late", GROWS, whole[:len(whole) * 2 // 3] + [keys, step(TICK, False, number=10)]
                 + whole[len(whole) * 2 // 3:])):
            if kind != "alone" and number % 5:
                continue
            (where / f"{number:02}-{kind}").write_bytes(bytes([manner & 255]) + b"".join(steps))


if __name__ == "__main__":
    main()
