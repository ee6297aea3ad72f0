#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
. "$(dirname "$0")/lib.sh"

free_port
head -c 1M /dev/zero >disk.img
capture_start
server_qemu -f raw --discard=unmap -x disk disk.img
qemu-io -f raw -c 'write -P 0x11 0 2k' -c 'write -f -P 0x22 64k 1k' -c 'read -P 0x11 0 2k' \
	-c 'write -z 128k 64k' -c 'discard 64k 64k' -c flush -c 'read -P 0 128k 1k' "$uri/disk"
capture_stop
