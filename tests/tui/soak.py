#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Does nbdtop stay as small as it is, however long it runs?

    soak.py [--hours=H] [--minutes=M] [--rest=SECONDS]

Plays H hours of traffic (an hour) within M minutes (five): the connections of the
samples, over and over, each time with new ports and later times, through a pipe.
Prints the resident memory as it goes, and fails if it still grows in the second half.
Then lets nbdtop rest on a live interface, or on the end of a file where this user may
not capture, and fails if its screen's thread takes 3 % of a processor or more.
"""

import argparse
import os
import pathlib
import struct
import sys
import threading
import time

from terminal import Terminal, sample

SAMPLES = ("multi-conn", "multi-conn-unsafe", "simple", "structured", "errors", "list-exports",
           "killed-server")

LEGEND = "%8s %10s %12s %9s"


def packets_of(path):
    """A pcap file of Ethernet, IPv4 and TCP, as (time in ns, bytes)."""
    data = path.read_bytes()
    magic, linktype = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, 20)[0]
    assert magic in (0xa1b2c3d4, 0xa1b23c4d) and linktype == 1, path
    scale = 1 if magic == 0xa1b23c4d else 1000
    at = 24
    while at < len(data):
        seconds, fraction, length = struct.unpack_from("<III", data, at)
        packet = data[at + 16:at + 16 + length]
        at += 16 + length
        if packet[12:14] == b"\x08\x00" and packet[14] == 0x45 and packet[23] == 6:
            yield seconds * 1000000000 + fraction * scale, packet


class Feeder(threading.Thread):
    """Writes traffic without end."""

    def __init__(self, path, rounds_a_second, samples):
        super().__init__(daemon=True)
        self.path = path
        self.gap = int(1e9 / rounds_a_second)
        self.rounds = self.packets = 0
        self.enough = threading.Event()
        self.templates = []
        for name in samples:
            packets = list(packets_of(sample(name)))
            start = packets[0][0]
            self.templates.append([
                (moment - start, bytearray(packet),
                 # Where the client's port stands, source or destination.
                 34 if struct.unpack_from(">H", packet, 36)[0] == 10809 else 36)
                for moment, packet in packets])

    def run(self):
        head = struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 262144, 1)
        now = 1700000000 * 1000000000
        try:
            with open(self.path, "wb", buffering=1 << 16) as out:
                out.write(head)
                while not self.enough.is_set():
                    self.round(out, now)
                    now += self.gap
                    self.rounds += 1
        except BrokenPipeError:
            pass

    def round(self, out, now):
        template = self.templates[self.rounds % len(self.templates)]
        shift = self.rounds * 7 % 20000
        for moment, packet, port in template:
            old = struct.unpack_from(">H", packet, port)[0]
            struct.pack_into(">H", packet, port, 1024 + (old + shift) % 60000)
            at = now + moment
            out.write(struct.pack("<IIII", at // 1000000000, at % 1000000000, len(packet),
                                  len(packet)))
            out.write(packet)
            struct.pack_into(">H", packet, port, old)
            self.packets += 1


def resident(pid):
    for line in pathlib.Path("/proc/%d/status" % pid).read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def thread_seconds(pid, thread):
    fields = pathlib.Path("/proc/%d/task/%d/stat" % (pid, thread)).read_text()
    user, system = fields.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def soak(hours, minutes, rounds_a_second, say=print):
    """Kilobytes of memory over the run, evenly spaced."""
    seconds = minutes * 60
    speed = hours * 3600 / seconds
    sizes = []
    with Terminal([sample("simple")]) as helper:
        fifo = helper.work / "fifo"
        os.mkfifo(fifo)
        feeder = Feeder(fifo, rounds_a_second, SAMPLES)
        feeder.start()
        with Terminal(["--replay=%g" % speed, "--history=20000", fifo], 120, 40) as t:
            t.wait("REPLAY")
            pid = t.pid()
            t.keys("4")
            say(LEGEND % ("seconds", "traffic s", "packets", "KiB"))
            begin = time.monotonic()
            steps = 40
            for step in range(steps):
                # Not always the same screen.
                t.keys("1234563"[step % 7])
                time.sleep(max(0, begin + seconds * (step + 1) / steps - time.monotonic()))
                sizes.append(resident(pid))
                passed = time.monotonic() - begin
                say(LEGEND % ("%.1f" % passed, "%.0f" % (passed * speed), feeder.packets,
                              sizes[-1]))
            t.keys("1")
            t.wait("REPLAY", "connections", gone=["FAILED"])
            feeder.enough.set()
            if t.quit():
                raise AssertionError("nbdtop failed: " + t.errors())
    return sizes, feeder


def grow(warm, rounds, samples):
    """The most memory (KiB) up to round `warm`, and from there to round `rounds`, as
    fast as it goes."""
    before = after = 0
    with Terminal([sample("simple")]) as helper:
        fifo = helper.work / "fifo"
        os.mkfifo(fifo)
        feeder = Feeder(fifo, 10, samples)
        feeder.start()
        with Terminal(["--replay=1000000", "--history=2000", fifo], 120, 40) as t:
            t.wait("REPLAY")
            pid = t.pid()
            step = 0
            while feeder.rounds < rounds:
                t.keys("1234563"[step % 7])
                step += 1
                time.sleep(0.1)
                if feeder.rounds < warm:
                    before = max(before, resident(pid))
                else:
                    after = max(after, resident(pid))
            t.keys("1")
            t.wait("REPLAY", gone=["FAILED"])
            feeder.enough.set()
            if t.quit():
                raise AssertionError("nbdtop failed: " + t.errors())
    return before, after


def judge(sizes):
    """Bytes do not grow any more in the second half: the last quarter's most is hardly
    more than the quarter's before it."""
    third, fourth = sizes[len(sizes) // 2:len(sizes) * 3 // 4], sizes[len(sizes) * 3 // 4:]
    allowed = max(third) * 1.01 + 512
    if max(fourth) > allowed:
        raise AssertionError("memory grows: at most %d KiB in the third quarter, %d KiB in the "
                             "last" % (max(third), max(fourth)))


def rest(seconds):
    """The share of a processor that the thread of the screen takes when nothing
    happens."""
    with Terminal(["-i", "lo", "tcp port 1"]) as t:
        try:
            t.wait("LIVE", seconds=3)
            may_capture = True
        except AssertionError:
            may_capture = False
    arguments = ["-i", "lo", "tcp port 1"] if may_capture else [sample("fio")]
    with Terminal(arguments, 120, 40) as t:
        t.wait("LIVE" if may_capture else "file")
        pid = t.pid()
        time.sleep(1)
        before, begin = thread_seconds(pid, pid), time.monotonic()
        time.sleep(seconds)
        share = (thread_seconds(pid, pid) - before) / (time.monotonic() - begin)
    if share >= 0.03:
        raise AssertionError("at rest the screen takes %.1f %% of a processor" % (share * 100))
    return share


def main():
    parser = argparse.ArgumentParser(description="long runs of nbdtop")
    parser.add_argument("--hours", type=float, default=1, help="of traffic")
    parser.add_argument("--minutes", type=float, default=5, help="that it is played in")
    parser.add_argument("--rate", type=float, default=2, help="rounds a second of traffic")
    parser.add_argument("--rest", type=float, default=20, help="seconds at rest")
    arguments = parser.parse_args()
    sizes, feeder = soak(arguments.hours, arguments.minutes, arguments.rate)
    judge(sizes)
    print("memory is flat: %d KiB to %d KiB in the second half; %d rounds, %d packets" % (
        min(sizes[len(sizes) // 2:]), max(sizes[len(sizes) // 2:]), feeder.rounds,
        feeder.packets))
    print("at rest the screen takes %.2f %% of a processor" % (rest(arguments.rest) * 100))
    return 0


if __name__ == "__main__":
    sys.exit(main())
