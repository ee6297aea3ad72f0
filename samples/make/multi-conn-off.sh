#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_nbdkit --filter=multi-conn python "$here/private_cache.py" multi-conn-mode=disable
client <"$here/flush_across.py"
capture_stop
