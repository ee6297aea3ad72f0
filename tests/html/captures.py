# SPDX-License-Identifier: GPL-2.0-or-later
"""Captures for the tests of the HTML form, made of conversations that are written down here,
and how nbdaudit is run on them."""

import functools
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SAMPLES = sorted((ROOT / "samples").glob("*.pcap*"))
REPORTS = sorted((ROOT / "tests" / "reports").glob("*.pcap*"))

sys.path.append(str(HERE.parent / "rules"))
import synth as S  # noqa: E402

MULTI = S.HAS | S.FLUSH | S.SFUA | S.MULTI

# What would do something if a page let it.
HOSTILE = [
    b"<script>window.pwned=1</script>",
    b"\"><img src=x onerror=\"window.pwned=2\">",
    b"' onmouseover='window.pwned=3",
    b"</title></style></script><script>window.pwned=4</script>",
    b"<!--<script>",
    b"&lt;b&gt; &amp; &#x3c;",
    b"javascript:window.pwned=5",
    b"\xe2\x80\xaeexe.gpj\xe2\x80\xac",           # U+202E, U+202C
    b"nul\x00nul\x1b[31mred\x07",
    b"\xff\xfe\xc0\xaf broken UTF-8 \xed\xa0\x80",
    b"</svg><svg onload=window.pwned=6>",
    b"{{7*7}}${7*7}`x`",
    b"]]><x>",
    b"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d <i>\xd8\xb3\xd9\x84\xd8\xa7\xd9\x85",
    b"long-" + b"x" * 3000,
]


def audit(*arguments):
    done = subprocess.run([BIN / "nbdaudit", *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    if done.returncode not in (0, 1, 2, 3):
        raise RuntimeError(done.stderr.decode()[-3000:])
    return done


def page(*arguments):
    return audit("--format=html", *arguments).stdout.decode()


@functools.lru_cache(maxsize=None)
def facts(path):
    """What the JSON form says: a list of objects."""
    return [json.loads(line) for line in audit("--format=json", path).stdout.splitlines()]


def block(number, tag=0):
    return bytes([tag, number >> 8 & 255, number & 255, 7]) * 128


def write(x, number, offset, cookie, tag=1, flags=0):
    x.c(S.req(S.WRITE, offset, 512, flags, cookie, block(number, tag)))
    x.s(S.simple(cookie))


def read(x, offset, cookie, data):
    x.c(S.req(S.READ, offset, 512, 0, cookie))
    x.s(S.simple(cookie, data=data))


def flush(x, cookie):
    x.c(S.req(S.FLUSH_, cookie=cookie))
    x.s(S.simple(cookie))


def hostile(path):
    """Names that are markup, in exports, contexts, refusals; each read once too early."""
    cap = S.Capture()
    for name in HOSTILE:
        x = S.open(cap, flags=MULTI, name=name, contexts=(name, b"base:allocation"))
        y = S.open(cap, flags=MULTI, name=name)
        write(x, 1, 0, 1, tag=1)
        write(x, 2, 0, 2, tag=2)
        flush(x, 3)
        read(y, 0, 4, block(1, 1))
        x.bye()
        y.bye()
        z = S.haggle(cap)
        z.c(S.opt(S.GO, S.go_data(name)))
        z.s(S.rep(S.GO, S.E_UNKNOWN, name))
        z.abort()
    cap.write(path)


def many(path, readers=10, each=1000, cap=None):
    """Ten thousand violations: whoever reads misses what was flushed."""
    cap = cap or S.Capture()
    writer = S.open(cap, flags=MULTI)
    write(writer, 1, 4096, 1, tag=1)
    flush(writer, 2)
    write(writer, 2, 4096, 3, tag=2)
    flush(writer, 4)
    for _ in range(readers):
        x = S.open(cap, flags=MULTI)
        for cookie in range(each):
            read(x, 4096, cookie + 1, block(1, 1))
        x.bye()
    writer.bye()
    cap.write(path)


def many_and_less(path):
    """Two thousand violations, and a hazard before them: nothing is flushed there."""
    cap = S.Capture()
    x = S.open(cap, flags=MULTI, name=b"careless")
    write(x, 1, 0, 1)
    x.bye()
    many(path, readers=2, cap=cap)


def suspect(path):
    """A read of data from nowhere."""
    cap = S.Capture()
    x = S.open(cap)
    write(x, 1, 0, 1)
    flush(x, 2)
    read(x, 0, 3, block(99, 99))
    x.bye()
    cap.write(path)


def unjudged(path):
    """The protocol is kept, and nothing is read that was written."""
    cap = S.Capture()
    x = S.open(cap)
    write(x, 1, 0, 1)
    flush(x, 2)
    read(x, 8192, 3, block(99, 99))
    x.bye()
    cap.write(path)


def clean(path):
    cap = S.Capture()
    x = S.open(cap)
    for n in range(20):
        write(x, n, 512 * n, 2 * n + 1)
        read(x, 512 * n, 2 * n + 2, block(n, 1))
    flush(x, 100)
    x.bye()
    cap.write(path)


def nothing_written(path):
    """Only writes: nothing to judge."""
    cap = S.Capture()
    x = S.open(cap)
    write(x, 1, 0, 1)
    flush(x, 2)
    x.bye()
    cap.write(path)


def empty(path):
    S.Capture().write(path)


def crowd(path):
    """Many connections to many exports, of many kinds."""
    cap = S.Capture()
    for n in range(60):
        x = S.open(cap, flags=S.HAS | S.FLUSH | (n % 16) << 3, name=b"export-%d" % (n % 20))
        write(x, n, 512 * n, 1)
        read(x, 512 * n, 2, block(n, 1))
        x.bye()
    cap.write(path)


def long_names(path):
    """Names as long as they may be, that grow fourfold when they are escaped."""
    cap = S.Capture()
    for n in range(400):
        name = b"%04d" % n + b"\xff\"<&'" * 818
        x = S.open(cap, flags=MULTI, name=name, contexts=(name, b"base:allocation"))
        write(x, 1, 0, 1)
        x.bye()
    cap.write(path)


MADE = {"hostile": hostile, "suspect": suspect, "unjudged": unjudged, "clean": clean,
        "nothing-written": nothing_written, "empty": empty, "crowd": crowd}
