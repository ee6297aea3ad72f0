# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by the scripts beside it, each of which makes the sample of its name:
# starts a server on loopback, captures, drives it with a client, stops both.
#
#   samples/make/NAME.sh [DIRECTORY]
#
# writes NAME.pcap there, or in the tree; a script that sets suffix=.zst has it
# compressed, with that added to its name.  Capturing needs root.  Everything else
# a script leaves (processes, a scratch directory that is also the working
# directory) is removed when it ends, however it ends.
#
# The captures differ from run to run in ports, times and the interleaving of
# connections, not in what they show.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$(basename "$0" .sh)
output=$(realpath "${1:-$here/..}")/$name.pcap${suffix:-}
export PATH=$PATH:/usr/sbin:/sbin
export PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d)
pids=()
finish() {
	local pid
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
	done
	wait
	rm -rf "$work"
}
trap finish EXIT
cd "$work"

# Sets $port to a free port of loopback: 10809, or the first free one above it.
free_port() {
	port=10809
	while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
		port=$((port + 1))
	done
	uri=nbd://127.0.0.1:$port
}

# wait_for COMMAND...: until it succeeds, for ten seconds at most.
wait_for() {
	local n
	for ((n = 0; n < 100; n++)); do
		"$@" 2>/dev/null && return
		sleep 0.1
	done
	echo "$name: timed out waiting for: $*" >&2
	exit 2
}

# Starts a server that writes a file named ready when it listens.
server_nbdkit() {
	nbdkit -f -i 127.0.0.1 -p "$port" -P ready "$@" &
	pids+=($!)
	server=$!
	wait_for test -s ready
}

server_qemu() {
	qemu-nbd -t -b 127.0.0.1 -p "$port" --pid-file=ready "$@" &
	pids+=($!)
	server=$!
	wait_for test -s ready
}

# server_nbd CONFIGURATION: nbd-server with these lines after [generic].
server_nbd() {
	printf '[generic]\n\tport = %d\n\tlistenaddr = 127.0.0.1\n\tallowlist = true\n%s\n' \
		"$port" "$1" >nbd-server.conf
	nbd-server -C nbd-server.conf -p "$work/ready" # it goes to the background itself
	wait_for test -s ready
	server=$(cat ready)
	pids+=("$server")
}

# A server of the project's own: server_python SCRIPT [ARGUMENT...]; it is given
# the port, and creates the file ready.
server_python() {
	/usr/bin/python3 "$@" --port "$port" --ready ready &
	pids+=($!)
	server=$!
	wait_for test -e ready
}

# Packets from here to capture_stop go into the sample.  The filter may be added
# to: capture_start 'and greater 80'.
capture_start() {
	tcpdump -i lo -s0 -U -B 65536 -w capture.pcap \
		"tcp port $port ${1:-}" 2>tcpdump.log &
	tcpdump=$!
	pids+=("$tcpdump")
	wait_for grep -q 'listening on' tcpdump.log
}

capture_stop() {
	# The last packets are on their way from the kernel.
	sleep 2
	kill -INT "$tcpdump"
	wait "$tcpdump"
	if ! grep -q '^0 packets dropped by kernel' tcpdump.log; then
		cat tcpdump.log >&2
		exit 2
	fi
	case $output in
	*.zst) zstd -q -19 -c capture.pcap >"$output" ;;
	*) cp capture.pcap "$output" ;;
	esac
	ls -l "$output"
}

# Runs Python from standard input with the client module in reach.
client() {
	PYTHONPATH=$here /usr/bin/python3 - "$uri" "$@"
}
