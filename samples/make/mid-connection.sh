#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
server_nbdkit memory 1M
mkfifo turn
client "$work/turn" <<'PYTHON' &
import sys
from client import connect, pattern

h = connect(sys.argv[1])
h.pwrite(pattern("before the capture", 4096), 0)
h.flush()
open(sys.argv[2], "w").write("go\n")  # blocks until the script reads it
open(sys.argv[2]).read()              # and until it has begun to capture
for number in range(8):
    h.pread(512, number * 512)
    h.pwrite(pattern("write %d" % number, 512), 65536 + number * 512)
h.flush()
h.pread(4096, 65536)
h.shutdown()
PYTHON
driver=$!
pids+=("$driver")
cat turn >/dev/null
capture_start
echo go >turn
wait "$driver"
capture_stop
