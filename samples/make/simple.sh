#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_nbdkit memory 1M
client <<'PYTHON'
import sys
from client import failing, handle, pattern

h = handle(strict=False)
h.set_request_structured_replies(False)
h.connect_uri(sys.argv[1])
h.pwrite(pattern("first", 4096), 0)
assert h.pread(4096, 0) == pattern("first", 4096)
h.zero(2048, 1024)
h.trim(4096, 8192)
h.flush()
h.pread(1024, 2048)
failing(h.pread, 512, 1024 * 1024)
failing(h.pwrite, pattern("outside", 512), 1024 * 1024)
h.shutdown()
PYTHON
capture_stop
