#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
head -c 1M /dev/zero | tee first.img >second.img
capture_start
server_nbd "[first]
	exportname = $work/first.img
	flush = true
	fua = true
[second]
	exportname = $work/second.img
	readonly = true"
nbd-client -l 127.0.0.1 "$port"
nbdinfo "$uri/second"
capture_stop
