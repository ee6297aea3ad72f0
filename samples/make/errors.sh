#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
# A file of that name makes the filter fail every read with EIO.
server_nbdkit --filter=error memory 1M error-pread=EIO error-pread-rate=1 \
	error-pread-file="$work/fail"
client "$work/fail" <<'PYTHON'
import sys
import nbd
from client import connect, failing, pattern

h = connect(sys.argv[1], strict=False)
h.pwrite(pattern("first", 1024), 0)
h.pread(1024, 0)
open(sys.argv[2], "w").close()
failing(h.pread, 1024, 0)
failing(h.pread, 4096, 1024 * 1024 - 512)
failing(h.pwrite, pattern("outside", 512), 1024 * 1024)
failing(h.zero, 512, 2 * 1024 * 1024)
failing(h.pread, 0, 0)
h.shutdown()
PYTHON
kill "$server"
wait "$server"
rm ready

server_nbdkit -r memory 1M
client <<'PYTHON'
import sys
from client import connect, failing, pattern

h = connect(sys.argv[1], strict=False)
failing(h.pwrite, pattern("read-only", 512), 0)
failing(h.trim, 512, 0)
h.shutdown()
PYTHON
kill "$server"
wait "$server"
rm ready

truncate -s 1M disk.img
server_qemu -f raw -x disk disk.img
client <<'PYTHON'
import sys
import nbd
from client import connect, failing

failing(connect, sys.argv[1] + "/no-such-export")
h = connect(sys.argv[1] + "/disk", strict=False)
failing(h.pread, 4096, 1024 * 1024)
failing(h.block_status, 4096, 0, lambda *extents: 0)
h.shutdown()
PYTHON
capture_stop
