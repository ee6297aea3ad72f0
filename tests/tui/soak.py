#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Does nbdtop stay as small as it is, however long it runs?

    soak.py [--hours=H] [--minutes=M] [--rate=ROUNDS] [--rest=SECONDS]

Plays H hours of traffic (an hour) within M minutes (five): the connections of the
samples, over and over, each time with new ports and later times, through a pipe.
Prints the resident memory as it goes, and fails if it still grows in the second half.
Then lets nbdtop rest on the end of a file, and on a live interface where this user may
capture, with every screen at three sizes, and fails if the screen's thread takes 3 % of
a processor or more.
"""

import argparse
import array
import fcntl
import os
import pathlib
import re
import struct
import sys
import termios
import threading
import time

from terminal import SIZES, Terminal, sample

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
    """Writes traffic without end, or up to the round `pause` until told to go on."""

    def __init__(self, path, rounds_a_second, samples, pause=None):
        super().__init__(daemon=True)
        self.path = path
        self.gap = int(1e9 / rounds_a_second)
        self.rounds = self.packets = 0
        self.enough = threading.Event()
        self.pause, self.paused, self.go_on = pause, threading.Event(), threading.Event()
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
                self.pipe = out
                while not self.enough.is_set():
                    self.round(out, now)
                    now += self.gap
                    self.rounds += 1
                    if self.rounds == self.pause:
                        out.flush()
                        self.paused.set()
                        self.go_on.wait()
                        self.go_on.clear()
                        self.paused.clear()
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


    def unread(self):
        """Bytes that wait in the pipe."""
        count = array.array("i", [0])
        fcntl.ioctl(self.pipe.fileno(), termios.FIONREAD, count)
        return count[0]


def resident(pid):
    for line in pathlib.Path("/proc/%d/status" % pid).read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def thread_seconds(pid, thread):
    text = pathlib.Path("/proc/%d/task/%d/schedstat" % (pid, thread)).read_text()
    return int(text.split()[0]) / 1e9


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


def processor_seconds(pid):
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text()
    user, system = fields.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def taken_in(feeder, pid, seconds=300):
    """Waits until nbdtop has read, and thought over, all that was written."""
    end = time.monotonic() + seconds
    assert feeder.paused.wait(seconds), "only %d rounds were taken" % feeder.rounds
    used = -1
    while feeder.unread() or processor_seconds(pid) - used > 0.02:
        used = processor_seconds(pid)
        assert time.monotonic() < end, "%d bytes are left" % feeder.unread()
        time.sleep(0.3)


def grow(warm, rounds, samples):
    """The memory (KiB) after round `warm` and after round `rounds`, fed as fast as it
    goes, with all screens looked at. What may be known is little, so that it is full by
    then: nothing is forgotten before."""
    sizes = []
    with Terminal([sample("simple")]) as helper:
        fifo = helper.work / "fifo"
        os.mkfifo(fifo)
        feeder = Feeder(fifo, 10, samples, warm)
        feeder.start()
        with Terminal(["--replay=1000000", "--history=2000", "--memory=8M", fifo], 120, 40) as t:
            t.wait("REPLAY")
            pid = t.pid()
            for until in (warm, rounds):
                taken_in(feeder, pid)
                for screen in "2345671":
                    t.keys(screen)
                    t.wait_frame()
                taken_in(feeder, pid)
                sizes.append(resident(pid))
                if until == warm:
                    feeder.pause = rounds
                    feeder.go_on.set()
            t.wait("REPLAY", gone=["FAILED"])
            feeder.enough.set()
            feeder.go_on.set()
            if t.quit():
                raise AssertionError("nbdtop failed: " + t.errors())
    return sizes


def pass_by(rounds, gap, samples, screen):
    """The screen once so many rounds were taken in, `gap` seconds of capture apart."""
    with Terminal([sample("simple")]) as helper:
        fifo = helper.work / "fifo"
        os.mkfifo(fifo)
        feeder = Feeder(fifo, 1 / gap, samples, rounds)
        feeder.start()
        with Terminal(["--replay=1000000", fifo], 120, 40) as t:
            t.keys(screen)
            taken_in(feeder, t.pid())
            time.sleep(0.3)
            t.wait_frame()
            text = t.text()
            feeder.enough.set()
            feeder.go_on.set()
            t.quit()
            return text


def allowed(before):
    """KiB that are no more than `before`, but for how an allocator deals them out, and
    for what the engine forgets at a time when its memory is full."""
    return before * 1.03 + 1536


def judge(sizes):
    """Memory does not grow any more: the last quarter's most against the quarter's
    before it."""
    third, fourth = sizes[len(sizes) // 2:len(sizes) * 3 // 4], sizes[len(sizes) * 3 // 4:]
    if max(fourth) > allowed(max(third)):
        raise AssertionError("memory grows: at most %d KiB in the third quarter, %d KiB in the "
                             "last" % (max(third), max(fourth)))


def may_capture():
    with Terminal(["-i", "lo", "tcp port 1"]) as t:
        try:
            t.wait("LIVE", seconds=3)
        except AssertionError:
            return False
    return True


def rest(arguments, seconds, sizes=SIZES, say=None):
    """The largest share of a processor that the thread of the screen takes when nothing
    happens: of any screen, at any of these sizes."""
    most = 0
    for columns, rows in sizes:
        with Terminal(arguments, columns, rows) as t:
            t.wait(re.compile("LIVE|file  "))
            pid = t.pid()
            for screen in "1234567":
                t.keys(screen)
                t.wait_frame()
                time.sleep(0.2)
                before, begin = thread_seconds(pid, pid), time.monotonic()
                time.sleep(seconds)
                share = (thread_seconds(pid, pid) - before) / (time.monotonic() - begin)
                if say:
                    say("%dx%d, screen %s: %.2f %%" % (columns, rows, screen, share * 100))
                most = max(most, share)
    return most


IDLE = ["-i", "lo", "tcp port 1"]


def main():
    parser = argparse.ArgumentParser(description="long runs of nbdtop")
    parser.add_argument("--hours", type=float, default=1, help="of traffic")
    parser.add_argument("--minutes", type=float, default=5, help="that it is played in")
    parser.add_argument("--rate", type=float, default=2, help="rounds a second of traffic")
    parser.add_argument("--rest", type=float, default=3, help="seconds at rest, of each screen")
    arguments = parser.parse_args()
    sizes, feeder = soak(arguments.hours, arguments.minutes, arguments.rate)
    judge(sizes)
    print("memory is flat: %d KiB to %d KiB in the second half; %d rounds, %d packets" % (
        min(sizes[len(sizes) // 2:]), max(sizes[len(sizes) // 2:]), feeder.rounds,
        feeder.packets))
    for what in [[sample("fio")]] + [IDLE] * may_capture():
        share = rest(what, arguments.rest, say=print)
        print("at rest (%s) the screen takes at most %.2f %% of a processor" % (
            what[0], share * 100))
        assert share < 0.03
    return 0


if __name__ == "__main__":
    sys.exit(main())
