#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_nbdkit --oldstyle memory 1M
client <<'PYTHON'
import sys
from client import connect, failing, pattern

h = connect(sys.argv[1])
h.pwrite(pattern("first", 2048), 512)
assert h.pread(2048, 512) == pattern("first", 2048)
failing(h.flush)  # nbdkit offers it here, and refuses it
h.shutdown()
PYTHON
capture_stop
