#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
head -c 128M /dev/zero >disk.img
capture_start
server_nbd "[disk]
	exportname = $work/disk.img
	flush = true
	fua = true"
client <<'PYTHON'
import sys
import nbd
from client import connect, pattern

MIB = 1024 * 1024
h = connect(sys.argv[1] + "/disk")
near, far = 1 * MIB, 72 * MIB
h.pwrite(pattern("near", 2048), near)
h.pwrite(pattern("far", 2048), far)
h.zero(80 * MIB, 0)
for offset in near, far:
    if h.pread(2048, offset) != bytes(2048):
        print("not zeroes at %d MiB" % (offset / MIB))
h.shutdown()
PYTHON
capture_stop
