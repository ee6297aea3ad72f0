#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/robust/make/dense.sh [NAME...]
#
# Makes the captures in tests/robust/captures, or those named: dense.py against
# real servers, honest ones and two liars.  Capturing needs root.
set -euo pipefail

make=$(cd "$(dirname "$0")" && pwd)
if (($# != 1)); then
	names=("$@")
	((${#names[@]})) || names=(memory simple parts qemu emulate off errors delay reopen
		restart names two tls liar liar-fua)
	for name in "${names[@]}"; do
		"$0" "$name"
	done
	exit
fi

variant=$1
shift
set -- "$make/../captures"
suffix=.zst
. "$make/../../../samples/make/lib.sh"
name=$variant
output=$make/../captures/$variant.pcap.zst

dense() { # SEED COMMANDS CONNECTIONS [WORD...]
	/usr/bin/python3 "$make/dense.py" "$uri" "$@"
}
private=("python" "$here/private_cache.py" "size=64k")

free_port
capture_start
case $variant in
memory) # structured replies, multi-conn
	server_nbdkit memory 64k
	dense 1 300 3 fua zero trim
	;;
simple) # simple replies, one command at a time
	server_nbdkit --no-sr memory 64k
	dense 2 300 3 fua zero sync
	;;
parts)
	server_nbdkit memory 64k
	dense 3 300 2 part zero fua
	;;
qemu)
	truncate -s 64k disk
	server_qemu -f raw -e 8 disk
	dense 4 300 4 fua zero
	;;
emulate) # private caches, made consistent
	server_nbdkit --filter=multi-conn "${private[@]}" multi-conn-mode=emulate
	dense 5 300 3 fua sync
	;;
off) # private caches, no multi-conn
	server_nbdkit "${private[@]}"
	dense 6 300 3 fua
	;;
errors) # a tenth of the commands fail
	server_nbdkit --filter=error memory 64k error=EIO error-rate=10%
	dense 7 300 3 fua zero trim
	;;
delay) # many in flight, replies out of order
	server_nbdkit --filter=delay memory 64k delay-write=3ms delay-read=1ms
	dense 8 300 4 fua zero
	;;
reopen)
	server_nbdkit memory 64k
	dense 9 300 3 fua zero reopen
	;;
restart) # the contents are lost with the server
	server_nbdkit memory 64k
	dense 10 120 3 fua sync
	kill "$server"
	wait "$server" || true
	rm -f ready
	server_nbdkit memory 64k
	dense 11 120 3 fua sync
	;;
names) # one disk under several names
	server_nbdkit memory 64k
	dense 14 300 3 fua zero names
	;;
two) # several disks, each with a name
	exports=
	for n in 1 2 3; do
		truncate -s 64k "disk$n"
		exports+=$(printf '[disk%d]\n\texportname = %s\n\tfua = true\n\tflush = true\n\tmulticonn = true\n ' \
			"$n" "$work/disk$n")$'\n'
	done
	server_nbd "$exports"
	dense 16 200 3 fua names
	;;
tls) # one of the writers cannot be read
	echo "robust:$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')" >psk
	server_nbdkit --tls=on --tls-psk=psk memory 64k
	dense 15 120 3 fua zero tls
	;;
liar) # private caches, multi-conn all the same
	server_nbdkit --filter=multi-conn "${private[@]}" multi-conn-mode=unsafe
	dense 12 300 3 sync wide
	;;
liar-fua)
	server_nbdkit --filter=multi-conn "${private[@]}" multi-conn-mode=unsafe
	dense 13 300 3 fua zero wide
	;;
*)
	echo "dense.sh: no such capture: $variant" >&2
	exit 2
	;;
esac
capture_stop
