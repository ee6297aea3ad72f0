#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_nbdkit memory 1M
client <<'PYTHON'
import sys
from client import handle, pattern

# A client that knows neither fixed newstyle nor NO_ZEROES can only send
# NBD_OPT_EXPORT_NAME, and gets 124 bytes of zeroes with the answer.
h = handle()
h.set_handshake_flags(0)
h.connect_uri(sys.argv[1] + "/some-export")
h.pwrite(pattern("first", 2048), 512)
assert h.pread(2048, 512) == pattern("first", 2048)
h.shutdown()
PYTHON
capture_stop
