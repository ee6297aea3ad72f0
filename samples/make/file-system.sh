#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A file system that a lie about flush corrupts; what e2fsck says of it goes to standard
# output, and is what docs/tutorial.md begins with.
suffix=.zst
. "$(dirname "$0")/lib.sh"

free_port
mke2fs -q -t ext2 -b 1024 -L photos base.img 1024 >mke2fs.log
cp base.img written.img
for n in 1 2 3 4 5 6; do
	for ((line = 0; line < 400; line++)); do
		echo "photo $n, line $line"
	done >"photo$n.raw"
	echo "write photo$n.raw photo$n.raw"
done | debugfs -w -f - written.img >debugfs.log 2>&1
e2fsck -fn written.img >clean.log 2>&1 # what was written is in order
cp base.img came.img
capture_start
server_nbdkit --filter=multi-conn python "$here/private_cache.py" multi-conn-mode=unsafe
client base.img written.img came.img <"$here/file_system.py"
capture_stop
e2fsck -fn came.img 2>&1 || true
