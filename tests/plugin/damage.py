#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Damaged captures: tshark with the plugin neither crashes nor finds a bug in it.

    damage.py [--runs=N] [--seed=N] [--valgrind] [--corpus=FOLDER]...

Each run takes a sample, or a capture of NBDSCOPE_CAPTURES, spoils it with editcap
in one of several ways, and has tshark show all of its frames, both in one pass and in
two. A corpus is inputs of this project's fuzz targets: capture files as they are (of
fuzz_capture and fuzz_ip), and inputs of fuzz_decoder, which become TCP connections.
They are added to the runs; without --runs only they are run.

What fails is kept, and how to repeat it is printed.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile

import shark

# Not larger, as -V is much text.
LARGEST = 120000

# What a run must not say. A dissector that reads beyond its bytes ends up as a
# malformed packet of its name; that of NBD looks before it reads.
BAD = re.compile(r"Dissector bug[^\n]*|Malformed Packet: NBD|ERROR: AddressSanitizer[^\n]*|"
                 r"runtime error: [^\n]*|Invalid (?:read|write) of size|"
                 r"uninitialised value")


# All that listens: statistics, a stream that is followed, and, below, objects.
TAPS = [word for tap in ("nbd,tree", "nbd,exports", "nbd,srt", "nbd_consistency,tree",
                         "follow,nbd,ascii,1") for word in ("-z", tap)]


def ways():
    """Ways to spoil a capture, as editcap's arguments."""
    yield ["-E", "0.02"]
    yield ["-E", "0.02", "-o", "66"]  # what is behind the headers
    yield ["-E", "0.002", "-o", "54"]
    yield ["-E", "0.0005"]
    yield ["-s", "{54-200}"]
    yield ["-E", "0.002", "-s", "{60-300}"]
    yield ["-E", "0.001", "-t", "7279612349811"]  # more than 64 bits of nanoseconds
    yield ["-C", "{-40-40}"]  # bytes are missing within frames, lengths are not mended


def with_numbers(dice, way):
    def number(match):
        return str(dice.randint(int(match.group(1)), int(match.group(2))))
    return [re.sub(r"^\{(-?\d+)-(-?\d+)\}$", number, word) for word in way]


def tcp_frame(port, to, seq, ack, flags, payload):
    tcp = struct.pack(">HHIIBBHHH", port, to, seq & 0xffffffff, ack & 0xffffffff, 0x50, flags,
                      65535, 0, 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0,
                     bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))
    return bytes(12) + b"\x08\x00" + ip + tcp


def from_calls(data):
    """An input of fuzz_decoder, as that file has it, as a capture: data as segments,
    gaps as bytes that never come."""
    ports, next_seq, at, frames = (40000, 10809), [1, 1], 1, []
    if data[:1] == b"\0":
        frames += [tcp_frame(40000, 10809, 0, 0, 0x02, b""),
                   tcp_frame(10809, 40000, 0, 1, 0x12, b""),
                   tcp_frame(40000, 10809, 1, 1, 0x10, b"")]
    while at < len(data) and len(frames) < 2000:
        side, what = data[at] & 1, data[at] >> 1 & 3
        me, you = ports[side], ports[1 - side]
        at += 1
        if what == 2:
            frames.append(tcp_frame(me, you, next_seq[side], next_seq[1 - side], 0x11, b""))
        elif what == 1:
            next_seq[side] += struct.unpack(">I", data[at:at + 4].ljust(4, b"\0"))[0] % 100000
            at += 4
        else:
            length = struct.unpack(">H", data[at:at + 2].ljust(2, b"\0"))[0]
            payload = data[at + 2:at + 2 + length]
            at += 2 + length
            for part in range(0, len(payload), 1448):
                piece = payload[part:part + 1448]
                frames.append(tcp_frame(me, you, next_seq[side], next_seq[1 - side], 0x18, piece))
                next_seq[side] += len(piece)
    capture = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 1)
    for number, frame in enumerate(frames):
        capture += struct.pack("<IIII", 1700000000 + number // 1000, number % 1000 * 1000,
                               len(frame), len(frame)) + frame
    return capture


class Damage:
    def __init__(self, valgrind=False):
        self.shark = shark.Shark()
        self.plain = shark.Shark(plugin=None)
        for which in self.shark, self.plain:
            which.env["WIRESHARK_ABORT_ON_DISSECTOR_BUG"] = "1"
        self.tool = ["valgrind", "-q", "--error-exitcode=99"] if valgrind else []
        self.runs = self.messages = 0
        self.failures = []
        captures = sorted(shark.SAMPLES.glob("*.pcap*"))
        if shark.CAPTURES:
            captures += sorted(pathlib.Path(shark.CAPTURES).glob("*.pcap*"))
        # editcap cannot write secrets (dsb) back
        self.captures = [path for path in captures
                         if path.stat().st_size < LARGEST and "_dsb" not in path.stem]
        self.ways = list(ways())

    def show(self, capture, keys, *argv):
        capture.chmod(0o644)
        if keys:
            argv += ("-o", "tls.keylog_file:%s" % self.shark.copy(keys))
        objects = self.shark.home / "objects"
        shutil.rmtree(objects, ignore_errors=True)
        return self.shark.run(*self.tool, "tshark", "-n", "-r", capture, "-V", *argv, *TAPS,
                              "--export-objects", "nbd,%s" % objects, check=False)

    def look(self, capture, what, keys=None):
        """Shows a capture; False if something is wrong."""
        self.runs += 1
        for argv in ((), ("-2",)):
            try:
                run = self.show(capture, keys, *argv)
            except subprocess.TimeoutExpired:
                return self.failed(capture, what, "takes too long")
            said = run.stdout + run.stderr
            bad = BAD.search(said)
            if bad:
                return self.failed(capture, what, bad.group())
            # 1 and 2: the file itself cannot be read to its end
            if run.returncode not in (0, 1, 2) and not self.fails_anyway(capture, argv):
                return self.failed(capture, what, "status %d" % run.returncode)
        self.messages += run.stdout.count("\nNetwork Block Device, ")
        return True

    def fails_anyway(self, capture, argv):
        """Is it another dissector's bug?"""
        return self.plain.run("tshark", "-n", "-r", capture, "-V", *argv,
                              check=False).returncode not in (0, 1, 2)

    def failed(self, capture, what, why):
        keep = pathlib.Path(tempfile.gettempdir()) / ("nbdscope-damaged-%d-%d.pcapng" % (
            os.getpid(), len(self.failures)))
        shutil.copy(capture, keep)
        self.failures.append("%s: %s; kept as %s" % (what, why, keep))
        return False

    def spoil(self, dice):
        """One run on a spoilt capture."""
        path, number = dice.choice(self.captures), dice.randrange(1 << 31)
        way = with_numbers(dice, dice.choice(self.ways))
        damaged = self.shark.dir / "damaged.pcapng"
        argv = ["editcap", "-F", "pcapng", "--seed", str(number), *way, str(path), str(damaged)]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        keys = path.with_suffix(".keylog")
        return self.look(damaged, " ".join(argv[:-1]), keys if keys.exists() else None)

    def feed(self, path):
        """One run on an input of a fuzz target."""
        data = path.read_bytes()
        capture = self.shark.dir / "input.pcap"
        if data[:4] not in (b"\xa1\xb2\xc3\xd4", b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\x3c\x4d",
                            b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a", b"\x28\xb5\x2f\xfd",
                            b"\x04\x22\x4d\x18") and data[:2] != b"\x1f\x8b":
            data = from_calls(data)
        capture.write_bytes(data)
        return self.look(capture, str(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--valgrind", action="store_true")
    parser.add_argument("--corpus", type=pathlib.Path, action="append", default=[])
    args = parser.parse_args()
    damage, dice = Damage(args.valgrind), random.Random(args.seed)
    for _ in range(args.runs):
        damage.spoil(dice)
    for folder in args.corpus:
        for path in sorted(folder.iterdir()):
            damage.feed(path)
    for failure in damage.failures:
        print(failure)
    print("%d damaged captures (seed %d), %d NBD items shown, %d failures" %
          (damage.runs, args.seed, damage.messages, len(damage.failures)))
    return 1 if damage.failures or not damage.runs else 0


if __name__ == "__main__":
    sys.exit(main())
