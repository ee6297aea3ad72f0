#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a network namespace of its own, where loopback is made to look like
# Ethernet: segments of at most 1448 bytes.
if [[ -z ${NBDSCOPE_NETNS:-} ]]; then
	NBDSCOPE_NETNS=1 exec unshare --net -- "$0" "$@"
fi
. "$(dirname "$0")/lib.sh"

ip link set dev lo up mtu 1500 gso_max_segs 1 gso_max_size 1500

free_port
truncate -s 1M disk.img
capture_start
server_qemu -f raw -e 4 -x disk disk.img
/usr/bin/python3 -c 'import random, sys
sys.stdout.buffer.write(random.Random(1).randbytes(24 << 10))' >source.img
nbdcopy --request-size=8192 --connections=2 source.img "$uri/disk"
nbdcopy --request-size=8192 --connections=1 "$uri/disk" null:
capture_stop
