#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the captures that scripts/bench --workloads measures with.

    workloads.py DIRECTORY SCALE MEGABYTES

Real clients and servers, of which tcpdump has not lost a packet: a capture that lost some
is made again at half the rate.  Two are written by SCALE (tests/scale), since ten thousand
connections and two thousand servers are nobody's machine.  A capture that is there is kept.
Prints the names of the files.  Needs root, for tcpdump and for network namespaces.
"""

import contextlib
import os
import pathlib
import re
import subprocess
import sys
import time

SETTLE = 2       # seconds for the last packets to come
RATE = 100       # megabytes a second, at first
TRIES = 5
PORT = 10809
# Of the two ends of an Ethernet, each in a network namespace of its own.
ENDS = {"nbdscope-bench-%s-%d" % (end, os.getpid()): "192.0.2.%d" % n
        for n, end in enumerate(("server", "client"), 1)}

# Of tests/scale: connections that write and read and leave, and servers with one each.
SYNTHETIC = {"connections-10000": ("short-writers", 10000), "servers-2000": ("servers", 2000)}


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("%s: %s" % (" ".join(command), done.stderr))


def fio(prefix, uri, megabytes, jobs, *options):
    run(*prefix, "fio", "--name=bench", "--ioengine=nbd", "--uri=" + uri, "--rw=randrw", "--thread",
        "--numjobs=%d" % jobs, "--size=64m", "--offset_increment=128m",
        "--io_size=%dk" % max(64, megabytes * 1000 // jobs), "--fsync=64", "--randseed=1",
        "--output=/dev/null", *options)


def fio_mixed(prefix, uri, megabytes):
    fio(prefix, uri, megabytes, 4, "--bsrange=4k-64k", "--iodepth=16")


def fio_small(prefix, uri, megabytes):
    fio(prefix, uri, megabytes, 1, "--bs=4k", "--iodepth=32")


def nbdcopy(prefix, uri, megabytes):
    # What is not zeroes, in and out again.
    run(*prefix, "nbdcopy", "--connections=4", "--flush", "--", "[", "nbdkit", "--exit-with-parent",
        "random", "%dM" % max(1, megabytes // 2), "]", uri)
    run(*prefix, "nbdcopy", "--connections=4", uri, "null:")


@contextlib.contextmanager
def loopback():
    yield [], [], "127.0.0.1", "lo"


@contextlib.contextmanager
def veth():
    """A pair of Ethernet interfaces with packets of 1,500 bytes on the wire."""
    server, client = ENDS
    within = {name: ["ip", "netns", "exec", name] for name in ENDS}
    try:
        for name in ENDS:
            run("ip", "netns", "add", name)
        run("ip", "-n", server, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
            "netns", client)
        for name, address in ENDS.items():
            run(*within[name], "ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off",
                "tx", "off")
            run("ip", "-n", name, "address", "add", address + "/30", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "mtu", "1500", "up")
        yield within[server], within[client], ENDS[server], "eth0"
    finally:
        for name in ENDS:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)


WORKLOADS = {
    "fio-mixed": (loopback, fio_mixed),
    "nbdcopy-4": (loopback, nbdcopy),
    "fio-4k-32": (loopback, fio_small),
    "fio-mtu-1500": (veth, fio_mixed),
}


@contextlib.contextmanager
def program(*command, **options):
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        yield running
    finally:
        running.terminate()
        running.wait()


def make(path, network, load, megabytes, rate):
    """How many packets were lost."""
    ready = path.with_suffix(".ready")
    ready.unlink(missing_ok=True)
    with network() as (at_server, at_client, address, device):
        with program(*at_server, "nbdkit", "-f", "-i", address, "-p", str(PORT), "-P", str(ready),
                     "--filter=rate", "memory", "%dM" % max(512, megabytes),
                     "rate=%dM" % (8 * rate)) as server, \
             program(*at_client, "tcpdump", "-i", device, "-s0", "-B", "262144", "-w",
                     str(path), "tcp", "port", str(PORT), stderr=subprocess.PIPE,
                     text=True) as tcpdump:
            while not (ready.exists() and ready.stat().st_size):
                if server.poll() is not None:
                    sys.exit("nbdkit has ended; is port %d free?" % PORT)
                time.sleep(0.05)
            while "listening on" not in (said := tcpdump.stderr.readline()):
                if not said:
                    sys.exit("tcpdump has ended")
            load(at_client, "nbd://%s:%d/" % (address, PORT), megabytes)
            time.sleep(SETTLE)
            tcpdump.terminate()
            said = tcpdump.communicate()[1]
    ready.unlink()
    return int(re.search(r"(\d+) packets? dropped by kernel", said)[1])


def main():
    directory, scale, megabytes = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / "partial"
    for name, (network, load) in WORKLOADS.items():
        path = directory / ("%s-%dM.pcap" % (name, megabytes))
        rate, tries = RATE, 0
        while not path.exists():
            print("Making %s, at %d MB/s" % (path.name, rate), file=sys.stderr)
            lost = make(partial, network, load, megabytes, rate)
            tries += 1
            if not lost:
                partial.rename(path)
            elif tries == TRIES:
                sys.exit("tcpdump lost %d packets even at %d MB/s" % (lost, rate))
            rate = max(1, rate // 2)
        print(path)
    for name, (shape, count) in SYNTHETIC.items():
        path = directory / (name + ".pcap")
        if not path.exists():
            with open(partial, "wb") as out:
                subprocess.run([scale, "--write", shape, str(count)], stdout=out, check=True)
            partial.rename(path)
        print(path)


if __name__ == "__main__":
    main()
