#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

qemu-img create -q -f qcow2 disk.qcow2 1M
qemu-io -f qcow2 -c 'write -P 1 0 128k' disk.qcow2 >/dev/null
qemu-img bitmap --add -g 64k -f qcow2 disk.qcow2 since-backup
qemu-io -f qcow2 -c 'write -P 2 64k 64k' -c 'write -z 512k 64k' disk.qcow2 >/dev/null

free_port
capture_start
server_qemu -r -f qcow2 -x disk -B since-backup disk.qcow2
client <<'PYTHON'
import sys
import nbd
from client import connect

h = connect(sys.argv[1] + "/disk",
            contexts=[nbd.CONTEXT_BASE_ALLOCATION, "qemu:dirty-bitmap:since-backup"])
h.block_status(1024 * 1024, 0, lambda *extents: 0)
h.pread(4096, 128 * 1024 - 2048)
h.shutdown()
PYTHON
capture_stop
