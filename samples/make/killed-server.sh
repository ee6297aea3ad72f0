#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_nbdkit --filter=delay memory 1M delay-read=5
client "$server" <<'PYTHON'
import os
import signal
import sys
import time
import nbd
from client import connect, pattern

h = connect(sys.argv[1])
h.pwrite(pattern("completed, never flushed", 2048), 0)
h.aio_pread(nbd.Buffer(2048), 0)
time.sleep(0.5)
os.kill(int(sys.argv[2]), signal.SIGKILL)
try:
    while True:
        h.poll(1000)
except nbd.Error as error:
    print(error)
PYTHON
capture_stop
