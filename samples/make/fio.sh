#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
suffix=.zst
. "$(dirname "$0")/lib.sh"

free_port
capture_start
server_nbdkit memory 1M
# Each job has a connection and a third of the disk of its own.
fio --name=samples --ioengine=nbd --uri="$uri/" --rw=randrw --bs=1k --iodepth=4 --numjobs=3 \
	--size=64k --offset_increment=320k --io_size=16k --fsync=8 --verify=crc32c \
	--randseed=1 --output=fio.log
capture_stop
