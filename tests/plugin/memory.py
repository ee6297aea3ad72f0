#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin keeps: tshark grows by at most 1.35 times as much for each packet.

    memory.py [--table]

Two captures of small writes and their replies, one of them twice as long as the other: what
tshark takes more for the longer one, with the plugin and without, is what each of them keeps
of a packet. The shorter one is long enough to fill what has a bound, and all writes are the
same, so that of contents nothing is added. Memory is the most that was resident, which other
work on the machine does not change. --table shows it of other shapes, too.
"""

import argparse
import os
import pathlib
import struct
import subprocess
import sys

import shark

MOST = 1.35
SEGMENT = 1448 # payload of a packet of 1,500 bytes
WHOLE = 65000
CLIENT, SERVER = (0x0a000001, 40000), (0x0a000002, 10809)
GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)
FLAGS = struct.pack(">I", 3)
EXPORT_NAME = b"IHAVEOPT" + struct.pack(">II", 1, 1) + b"x"
EXPORT = struct.pack(">QH", 1 << 30, 5)


class Capture:
    """A connection, written packet by packet."""

    def __init__(self, path):
        self.out = open(path, "wb")
        self.out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 101))
        self.next = {CLIENT: 1000, SERVER: 2000}
        self.time = self.packets = 0
        self.segment(CLIENT, SERVER, b"", 0x02)
        self.segment(SERVER, CLIENT, b"", 0x12)

    def segment(self, src, dst, payload, flags=0x18):
        ack = self.next[dst] if flags & 0x10 else 0
        tcp = struct.pack(">HHIIBBHHH", src[1], dst[1], self.next[src], ack, 0x50, flags, 65535, 0, 0)
        # Its length in the header of IP, no checksums: nobody looks at them.
        data = struct.pack(">BBHHHBBHII", 0x45, 0, 40 + len(payload), 0, 0, 64, 6, 0, src[0],
                           dst[0]) + tcp + payload
        self.next[src] += len(payload) + (flags >> 1 & 1)
        self.time += 10
        self.packets += 1
        self.out.write(struct.pack("<IIII", self.time // 1000000, self.time % 1000000, len(data),
                                   len(data)) + data)

    def send(self, src, dst, data, size=SEGMENT):
        for at in range(0, len(data), size):
            self.segment(src, dst, data[at:at + size])

    def greet(self):
        self.send(SERVER, CLIENT, GREETING)
        self.send(CLIENT, SERVER, FLAGS + EXPORT_NAME)
        self.send(SERVER, CLIENT, EXPORT)


def request(kind, cookie, length):
    return struct.pack(">IHHQQI", 0x25609513, 0, kind, cookie, 0, length)


def reply(cookie):
    return struct.pack(">IIQ", 0x67446698, 0, cookie)


def write(capture, count, length, size):
    for i in range(count):
        capture.send(CLIENT, SERVER, request(1, i, length) + bytes(length), size)
        capture.send(SERVER, CLIENT, reply(i), size)


def read(capture, count, length, size):
    for i in range(count):
        capture.send(CLIENT, SERVER, request(0, i, length), size)
        capture.send(SERVER, CLIENT, reply(i) + bytes(length), size)


SHAPES = {
    "writes of 512 bytes": (write, 12000, 512, WHOLE),
    "reads of 512 bytes": (read, 12000, 512, WHOLE),
    "writes of 4 KiB": (write, 12000, 4096, WHOLE),
    "writes of 4 KiB, 1,500-byte packets": (write, 8000, 4096, SEGMENT),
    "reads of 4 KiB, 1,500-byte packets": (read, 8000, 4096, SEGMENT),
    "writes of 64 KiB, 1,500-byte packets": (write, 800, 65536, SEGMENT),
}


def resident(which, capture):
    """The most memory that tshark had, in bytes."""
    command = ["tshark", "-n", "-r", capture, "-o", "tcp.desegment_tcp_streams:TRUE"]
    if which.env.get("WIRESHARK_PLUGIN_DIR") is None:
        command += ["--disable-protocol", "nbd"]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=%d" % shark.NOBODY, "--regid=%d" % shark.NOBODY,
                   "--clear-groups"] + command
    with subprocess.Popen(command, env=which.env, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, cwd=which.dir) as run:
        said = run.stderr.read()
        status, used = os.wait4(run.pid, 0)[1:]
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        sys.exit("tshark ended with status %d: %s" % (run.returncode, said.decode()))
    return used.ru_maxrss * 1024


def growth(which, shape):
    make, count, length, size = shape
    took, packets = [], []
    for times in 1, 2:
        path = pathlib.Path(which.dir) / "growth.pcap"
        capture = Capture(path)
        capture.greet()
        make(capture, times * count, length, size)
        capture.out.close()
        path.chmod(0o644)
        took.append(resident(which, path))
        packets.append(capture.packets)
        path.unlink()
    return (took[1] - took[0]) / (packets[1] - packets[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    plain, plugged = shark.Shark(plugin=None), shark.Shark()
    wrong = 0
    for name, shape in list(SHAPES.items())[:None if args.table else 1]:
        without, with_it = growth(plain, shape), growth(plugged, shape)
        print("%-38s %5.0f bytes a packet without, %5.0f with the plugin: %.2f%s"
              % (name, without, with_it, with_it / without,
                 "" if with_it <= MOST * without else "  TOO MUCH"))
        sys.stdout.flush()
        wrong += with_it > MOST * without
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
