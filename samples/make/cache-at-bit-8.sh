#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_python "$here/bit8_server.py"
client <<'PYTHON'
import sys
from client import handle, pattern


def plain():
    """A connection that asks for no block sizes and sends what it is told to."""
    h = handle(strict=False)
    h.set_request_structured_replies(False)
    h.set_request_block_size(False)
    h.connect_uri(sys.argv[1] + "/disk")
    return h


a, b = plain(), plain()
assert a.can_multi_conn() and not a.can_cache()  # as the client reads the flags
b.pread(2048, 0)
a.pwrite(pattern("first", 2048), 0)
a.flush()
b.cache(65536, 0)
assert b.pread(2048, 0) == pattern("first", 2048)
b.zero(512, 512)
b.flush()
a.shutdown()
b.shutdown()
PYTHON
capture_stop
