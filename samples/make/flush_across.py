# SPDX-License-Identifier: GPL-2.0-or-later
"""Four times: B reads a range, A writes it and flushes, B reads it again.

Arguments: URI, then "fua" for FUA writes in place of the flush.  Prints the
number of second reads that still showed what the first had.
"""

import sys

import nbd
from client import connect, pattern

LENGTH = 1024

fua = "fua" in sys.argv[2:]
a = connect(sys.argv[1])
b = connect(sys.argv[1])
stale = 0
for turn in range(4):
    offset = turn * 65536
    before = b.pread(LENGTH, offset)
    data = pattern("turn %d" % turn, LENGTH)
    if fua:
        a.pwrite(data, offset, nbd.CMD_FLAG_FUA)
    else:
        a.pwrite(data, offset)
        a.flush()
    after = b.pread(LENGTH, offset)
    assert after in (before, data)
    stale += after == before
print("stale reads: %d" % stale)
a.flush()
b.flush()
a.shutdown()
b.shutdown()
