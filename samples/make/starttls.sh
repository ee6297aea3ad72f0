#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
echo 'alice:00112233445566778899aabbccddeeff' >keys.psk
server_nbdkit --tls=require --tls-psk=keys.psk memory 1M
client keys.psk <<'PYTHON'
import sys
import nbd
from client import handle, pattern

h = handle()
h.set_tls(nbd.TLS_REQUIRE)
h.set_tls_username("alice")
h.set_tls_psk_file(sys.argv[2])
h.connect_uri(sys.argv[1].replace("nbd:", "nbds:"))
h.pwrite(pattern("secret", 1024), 0)
assert h.pread(1024, 0) == pattern("secret", 1024)
h.flush()
h.shutdown()
PYTHON
capture_stop
