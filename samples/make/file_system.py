# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kernel with two connections does with a file system, in short: it is made and
mounted over B, files are written over both, and a flush is sent over A; then all is read
again over B.

Arguments: URI, the file system as it was made, as it was written, and where what came back
is put, which holds the former at first.
"""

import sys

from client import connect

BLOCK = 4096


def blocks(image):
    return [image[at:at + BLOCK] for at in range(0, len(image), BLOCK)]


with open(sys.argv[2], "rb") as file:
    made = blocks(file.read())
with open(sys.argv[3], "rb") as file:
    written = blocks(file.read())
a = connect(sys.argv[1])
b = connect(sys.argv[1])
used = [n for n, block in enumerate(made) if any(block)]
changed = [n for n in range(len(made)) if made[n] != written[n]]

for n in used:
    b.pwrite(made[n], n * BLOCK)
b.flush()
for n in sorted({*used, *changed}):
    assert b.pread(BLOCK, n * BLOCK) == made[n]
for place, n in enumerate(changed):
    (a, b)[place % 2].pwrite(written[n], n * BLOCK)
a.flush()
with open(sys.argv[4], "r+b") as came:
    for n in sorted({*used, *changed}):
        came.seek(n * BLOCK)
        came.write(b.pread(BLOCK, n * BLOCK))
b.flush()
a.shutdown()
b.shutdown()
