#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_nbdkit memory 1M
client <<'PYTHON'
import sys
import nbd
from client import connect, failing, pattern

h = connect(sys.argv[1], strict=False, contexts=[nbd.CONTEXT_BASE_ALLOCATION])
h.pwrite(pattern("first", 4096), 0)
h.pwrite(pattern("second", 512), 65536, nbd.CMD_FLAG_FUA)
assert h.pread(4096, 0) == pattern("first", 4096)
h.pread_structured(1024, 65536, lambda *chunk: 0, nbd.CMD_FLAG_DF)
h.zero(8192, 4096, nbd.CMD_FLAG_NO_HOLE)
h.zero(4096, 131072, nbd.CMD_FLAG_FAST_ZERO)
h.trim(4096, 65536)
h.cache(4096, 0)
h.flush()
h.block_status(1024 * 1024, 0, lambda *extents: 0)
h.block_status(65536, 0, lambda *extents: 0, nbd.CMD_FLAG_REQ_ONE)
failing(h.pread, 4096, 1024 * 1024)
h.shutdown()
PYTHON
capture_stop
