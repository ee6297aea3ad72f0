#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What nbdaudit says does not depend on how many threads read the file.

Every sample and stored capture, some in many other wrappings, and files that end early,
are damaged or say more than packets (secrets, drops, comments): the bytes of the report,
what goes to standard error and the exit status are those of one thread with two.
"""

import gzip
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import rewrap  # noqa: E402
from rewrap import BIN, ROOT  # noqa: E402

SAMPLES = ROOT / "samples"


def said(threads, options, path=None, given=None):
    command = [BIN / "nbdaudit", "--threads=%d" % threads, *options, path or "-"]
    if path:
        given = subprocess.DEVNULL
    run = subprocess.run(command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=120, env=dict(os.environ, TZ="UTC", LC_ALL="C.UTF-8"))
    return run.returncode, run.stdout, run.stderr


class Threads(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = pathlib.Path(folder.name)

    def same(self, path, *options):
        one, two = (said(threads, options, path) for threads in (1, 2))
        self.assertEqual(one, two, "%s %s" % (path, " ".join(options)))
        return one

    def made(self, name, contents):
        path = self.here / name
        path.write_bytes(contents)
        return path

    def test_samples(self):
        for sample in sorted(SAMPLES.glob("*.pcap*")):
            for options in ((), ("--format=json",), ("--messages",)):
                self.same(sample, *options)

    def test_stored(self):
        paths = [path for folder in ("reports", "verdicts", "tls/captures", "robust/captures")
                 for path in sorted((ROOT / "tests" / folder).glob("*.pcap*"))]
        self.assertGreater(len(paths), 50)
        for path in paths:
            self.same(path, "--format=json")

    def test_wrappings(self):
        """Other link types, formats and compressions; fragments among them."""
        segments = rewrap.read(SAMPLES / "multi-conn-unsafe.pcap")
        for number, (name, _, contents) in enumerate(rewrap.wrappings(segments, 1)):
            status, out, _ = self.same(self.made("%d" % number, contents), "--format=json")
            self.assertIn(status, (0, 1), name)
            self.assertIn(b'"finding"', out, name)

    def test_cut(self):
        """The file ends, in a record and in its header, after few packets and after many."""
        whole = (SAMPLES / "multi-conn.pcap").read_bytes()
        for end in (30, 60, len(whole) // 3, len(whole) - 1):
            status, _, err = self.same(self.made("cut", whole[:end]), "--messages")
            self.assertEqual(status, 2)
            self.assertIn(b"ends in the middle", err)
        packed = gzip.compress(whole, mtime=0)
        self.assertEqual(self.same(self.made("cut.gz", packed[:len(packed) // 2]))[0], 2)
        segments = rewrap.read(SAMPLES / "multi-conn.pcap")
        ng = rewrap.pcapng([(s.time, rewrap.ether(0x800, rewrap.ipv4(s))) for s in segments])
        self.assertEqual(self.same(self.made("cut.ng", ng[:-70]), "--messages")[0], 2)

    def test_damaged(self):
        whole = bytearray((SAMPLES / "multi-conn.pcap").read_bytes())
        length = struct.unpack_from("<I", whole, 24 + 8)[0]
        struct.pack_into("<I", whole, 24 + 16 + length + 8, 0x7fffffff)
        status, _, err = self.same(self.made("damaged", bytes(whole)), "--format=json")
        self.assertEqual(status, 2)
        self.assertIn(b"damaged at frame 2", err)
        packed = bytearray(gzip.compress((SAMPLES / "multi-conn.pcap").read_bytes(), mtime=0))
        packed[len(packed) // 2] ^= 0x55
        self.assertEqual(self.same(self.made("damaged.gz", bytes(packed)))[0], 2)

    def test_more_than_packets(self):
        """Drops that are counted with every packet, interfaces that come late, a packet that
        is larger than any buffer, blocks between."""
        frames = [(s.time, rewrap.ether(0x800, rewrap.ipv4(s)))
                  for s in rewrap.read(SAMPLES / "multi-conn-unsafe.pcap")]
        out = [rewrap.section("<"), rewrap.interface("<", 1, 9)]
        known = 1
        for number, (time, frame) in enumerate(frames * 3):
            if number % 100 == 99 and known < 20:
                out.append(rewrap.interface("<", 1, 9))
                known += 1
            if number % 50 == 20: # no packet, and has the number of a frame
                out.append(rewrap.block("<", 9, b"MESSAGE=\n"))
            if number % 300 == 100: # not IP
                frame = bytes(700000)
            head = struct.pack("<IIIII", number % known, time >> 32, time & 0xffffffff,
                               len(frame), len(frame))
            options = struct.pack("<HHQ", 4, 8, number % 7)
            comment = b"a comment of a packet "
            options += struct.pack("<HH", 1, len(comment)) + comment + bytes(-len(comment) % 4)
            out.append(rewrap.block("<", 6, head + frame + bytes(-len(frame) % 4) + options +
                                    bytes(4)))
        path = self.made("drops", b"".join(out))
        for options in (("--format=json",), ("--messages",)):
            self.same(path, *options)

    def test_secrets(self):
        """Keys that come in the middle are there for what comes behind, not before."""
        for name in ("qemu-qemu-psk-1.3.pcapng", "qemu-libnbd-x509-1.2.pcapng"):
            whole = (ROOT / "tests" / "tls" / "captures" / name).read_bytes()
            blocks, at = [], 0
            while at < len(whole):
                length = struct.unpack_from("<I", whole, at + 4)[0]
                blocks.append(whole[at:at + length])
                at += length
            secrets = [b for b in blocks if b[:4] == b"\x0a\0\0\0"]
            others = [b for b in blocks if b[:4] != b"\x0a\0\0\0"]
            self.assertTrue(secrets, name)
            for at in (len(others) // 2, len(others)):
                path = self.made(name, b"".join(others[:at] + secrets + others[at:]))
                self.same(path, "--format=json")

    def test_large(self):
        """Many buffers go round; by itself it takes two threads for such a file."""
        frames = [(s.time, rewrap.ether(0x800, rewrap.ipv4(s)))
                  for s in rewrap.read(SAMPLES / "mtu-1500.pcap")]
        filler = bytes(12) + b"\x88\xb5" + bytes(60000)
        mixed = [f for number, frame in enumerate(frames)
                 for f in ((frame, (frame[0], filler)) if number % 8 == 0 else (frame,))]
        while len(mixed) * 60000 // 8 < 12 << 20:
            mixed += [(mixed[-1][0], filler)] * 50
        contents = rewrap.pcap(mixed)
        self.assertGreater(len(contents), 8 << 20)
        path = self.made("large", contents)
        one = self.same(path, "--format=json")
        by_itself = subprocess.run([BIN / "nbdaudit", "--format=json", path],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=120)
        self.assertEqual(by_itself.stdout, one[1])

    def test_standard_input(self):
        """A file is one there, too; a pipe has one thread."""
        sample = SAMPLES / "multi-conn-unsafe.pcap"
        answers = []
        for threads in (1, 2):
            with open(sample, "rb") as file:
                answers.append(said(threads, ("--format=json",), given=file))
            with subprocess.Popen(["cat", sample], stdout=subprocess.PIPE) as cat:
                answers.append(said(threads, ("--format=json",), given=cat.stdout))
        self.assertEqual(answers[0], answers[2])
        self.assertEqual(answers[1], answers[3])

    def test_several(self):
        samples = [SAMPLES / name for name in ("multi-conn.pcap", "simple.pcap", "errors.pcap")]
        one, two = (subprocess.run([BIN / "nbdaudit", "--threads=%d" % threads, "-f", "json",
                                    *samples], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   timeout=120).stdout for threads in (1, 2))
        self.assertEqual(one, two)

    def test_usage(self):
        for wrong in ("0", "3", "", "two", "1x"):
            run = subprocess.run([BIN / "nbdaudit", "--threads=" + wrong, "x"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, timeout=60)
            self.assertEqual(run.returncode, 2)
            self.assertIn(b"neither 1 nor 2", run.stderr)


if __name__ == "__main__":
    unittest.main()
