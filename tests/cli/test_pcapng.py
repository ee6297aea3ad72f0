#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""pcapng as Wireshark's own tools make it: several link types, interfaces and sections,
comments, names, statistics, secrets. What nbdaudit says of the traffic stays the same, and
tshark says what is in the files."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SAMPLES = ROOT / "samples"
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import rewrap  # noqa: E402

TOOLS = [tool for tool in ("tshark", "mergecap", "editcap") if not shutil.which(tool)]


def audit(path):
    run = subprocess.run([BIN / "nbdaudit", "--format=json", path], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    if run.returncode not in (0, 1):
        raise AssertionError("%s: %s" % (path, run.stderr.decode()))
    return [json.loads(line) for line in run.stdout.decode().splitlines()]


def of_type(objects, kind):
    return [o for o in objects if o["type"] == kind]


def findings(objects):
    """Without what depends on what else is in the file: numbers of frames and connections."""
    servers = {c["id"]: (c["server"], c["client"]) for c in of_type(objects, "connection")}
    said = []
    for f in of_type(objects, "finding"):
        said.append((f["rule"], f["severity"], servers[f["connection"]], f.get("offset"),
                     f.get("length"), f["time"], tuple(sorted(f["frames"])), f["side"]))
    return sorted(said, key=str)


def run(*arguments):
    subprocess.run([str(a) for a in arguments], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


def link_types(path):
    """Link types by frame, as tshark sees them."""
    said = subprocess.run(["tshark", "-n", "-r", path, "-T", "fields", "-e",
                           "frame.encap_type", "-e", "frame.interface_id"], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
    return said.stdout.decode().split("\n")[:-1]


@unittest.skipIf(TOOLS, "%s not found" % " ".join(TOOLS))
class Pcapng(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.here = pathlib.Path(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def wrap(self, sample, last, kind):
        """The sample between other addresses, in packets of another link type."""
        client, server = bytes([127, 0, last, 1]), bytes([127, 0, last, 2])
        port = rewrap.read(SAMPLES / sample)[0].dport
        packets = []
        for s in rewrap.read(SAMPLES / sample):
            there = s.dport == port
            s = s.copy(source=client if there else server, target=server if there else client)
            ip = rewrap.ipv4(s)
            if kind == rewrap.SLL2:
                packet = bytes([8, 0, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6]) + bytes(8) + ip
            elif kind == rewrap.RAW:
                packet = ip
            else:
                packet = rewrap.ether(0x0800, ip)
            packets.append((s.time, packet))
        path = self.here / ("%s-%d.pcap" % (sample, kind))
        path.write_bytes(rewrap.pcap(packets, linktype=kind))
        return path

    def merged(self):
        parts = [self.wrap("multi-conn-unsafe.pcap", 1, rewrap.ETHERNET),
                 self.wrap("multi-conn-unsafe-fua.pcap", 2, rewrap.RAW),
                 self.wrap("zeroes-not-zeroed.pcap", 3, rewrap.SLL2)]
        # At the same time, so that their packets lie among each other.
        moved = []
        first = min(float(of_type(audit(p), "capture")[0]["start"]) for p in parts)
        for part in parts:
            start = float(of_type(audit(part), "capture")[0]["start"])
            moved.append(part.with_suffix(".moved.pcap"))
            run("editcap", "-F", "nsecpcap", "-t", "%.3f" % (first - start), part, moved[-1])
        path = self.here / "merged.pcapng"
        run("mergecap", "-w", path, *moved)
        return moved, path

    def test_several_link_types(self):
        parts, path = self.merged()
        wanted = sorted((f for part in parts for f in findings(audit(part))), key=str)
        said = audit(path)
        self.assertEqual(findings(said), wanted)
        # the violations among them are ones still: each server is on one interface
        self.assertGreaterEqual(sum(f[1] == "violation" for f in wanted), 9)
        capture = of_type(said, "capture")[0]
        self.assertEqual((capture["format"], capture["interfaces"], capture["complete"]),
                         ("pcapng", 3, True))
        seen = link_types(path)
        self.assertEqual(len(seen), capture["frames"])
        self.assertEqual(len(set(seen)), 3)
        # they do lie among each other
        self.assertGreater(sum(a != b for a, b in zip(seen, seen[1:])), 20)

    def test_what_else_is_in_the_file(self):
        sample = SAMPLES / "multi-conn-unsafe.pcap"
        wanted = findings(audit(sample))
        keys = self.here / "keys"
        keys.write_text("CLIENT_RANDOM " + "ab" * 32 + " " + "cd" * 48 + "\n")
        ways = {
            "comments": ["editcap", "-F", "pcapng", "-a", "33:the write", "--capture-comment",
                         "two lines\nof it", sample],
            "secrets": ["editcap", "-F", "pcapng", "--inject-secrets", "tls,%s" % keys, sample],
            "names": ["editcap", "-F", "pcapng", sample],
        }
        for name, command in ways.items():
            path = self.here / (name + ".pcapng")
            run(*command, path)
            if name == "names":
                record = b"\1\0\x14\0" + bytes([127, 0, 0, 1]) + b"storage.example\0" + bytes(4)
                blocks = [block for _, block in rewrap_blocks(path)]
                blocks.insert(1, rewrap.block("<", 4, record))
                path.write_bytes(b"".join(blocks))
                self.assertEqual(len(link_types(path)), 76)
            with self.subTest(name):
                said = audit(path)
                self.assertEqual(findings(said), wanted)
                self.assertTrue(of_type(said, "capture")[0]["complete"])
        blocks = {kind for name in ways
                  for kind, _ in rewrap_blocks(self.here / (name + ".pcapng"))}
        self.assertIn(10, blocks)  # secrets
        self.assertIn(4, blocks)  # names

    def test_custom_blocks_and_statistics(self):
        sample = SAMPLES / "multi-conn-unsafe.pcap"
        path = self.here / "plain.pcapng"
        run("editcap", "-F", "pcapng", sample, path)
        blocks = rewrap_blocks(path)
        custom = rewrap.block("<", 0xbad, b"\x49\x50\x00\x00" + b"custom--" * 9)
        statistics = rewrap.block("<", 5, bytes(12))
        unknown = rewrap.block("<", 0x80001234, bytes(400))
        path = self.here / "custom.pcapng"
        with open(path, "wb") as out:
            for kind, block in blocks:
                out.write(block)
                if kind in (1, 6):
                    out.write(custom + statistics + unknown)
        said, plain = audit(path), audit(sample)
        self.assertEqual(findings(said), findings(plain))
        frames = of_type(plain, "capture")[0]["frames"]
        self.assertEqual(of_type(said, "capture")[0]["frames"], frames)
        # Wireshark gives custom blocks numbers of frames
        self.assertEqual(len(link_types(path)), frames * 2 + 1)
        for f, g in zip(of_type(plain, "finding"), of_type(said, "finding")):
            self.assertEqual({role: frame * 2 for role, frame in f["frames"].items()}, g["frames"])

    def test_several_sections(self):
        """Files put behind each other are one capture of several sections, of which each
        counts its interfaces anew and may have the other byte order."""
        parts, _ = self.merged()
        wanted = sorted((f for part in parts for f in findings(audit(part))), key=str)
        path = self.here / "sections.pcapng"
        with open(path, "wb") as out:
            for part in parts:
                single = part.with_suffix(".single.pcapng")
                run("editcap", "-F", "pcapng", part, single)
                out.write(single.read_bytes())
        said = audit(path)
        self.assertEqual(findings(said), wanted)
        self.assertEqual(of_type(said, "capture")[0]["interfaces"], 3)
        self.assertEqual(of_type(said, "capture")[0]["frames"], len(link_types(path)))

    def test_unknown_link_type(self):
        """Packets that cannot be read are counted, and do no harm to the others."""
        sample = SAMPLES / "multi-conn-unsafe.pcap"
        path = self.here / "other.pcapng"
        run("editcap", "-F", "pcapng", sample, path)
        other = rewrap.section("<") + rewrap.interface("<", 195, 6)  # IEEE 802.15.4
        packet = rewrap.block("<", 6, bytes(12) + (8).to_bytes(4, "little") * 2 + b"not TCP.")
        path.write_bytes(path.read_bytes() + other + packet * 3)
        said = audit(path)
        self.assertEqual(findings(said), findings(audit(sample)))
        self.assertEqual(of_type(said, "capture")[0]["ip"]["unknown_link"], 3)


def rewrap_blocks(path):
    """(type, bytes) of each block; little endian."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        length = int.from_bytes(data[at + 4:at + 8], "little")
        found.append((int.from_bytes(data[at:at + 4], "little"), data[at:at + length]))
        at += length
    return found


if __name__ == "__main__":
    unittest.main()
