#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit --extract and --anonymize: every finding of every sample, and of the tests' other
captures some, is proved by what is cut out, and nothing of the original shows in it."""

import ipaddress
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SAMPLES = ROOT / "samples"
LIAR = SAMPLES / "multi-conn-unsafe.pcap"
sys.path.insert(0, str(ROOT / "tests" / "golden"))
sys.path.insert(0, str(ROOT / "tests" / "html"))
import captures  # noqa: E402
import rewrap  # noqa: E402

# Of each of these the first finding.
OTHERS = sorted((ROOT / "tests" / "reports").glob("*.pcap*")) + \
    sorted((ROOT / "tests" / "verdicts").glob("*.pcap*"))
OF_OTHERS = 1
ONLY = os.environ.get("NBDSCOPE_EVIDENCE")  # a part of a file's name, to look at one


def nbdaudit(*arguments):
    run = subprocess.run([BIN / "nbdaudit", *map(str, arguments)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    return run.returncode, run.stdout, run.stderr.decode()


AUDITED = {}  # of the captures, not of what is cut out of them


def audited(path):
    if path not in AUDITED:
        AUDITED[path] = audit(path)
    return AUDITED[path]


def audit(path):
    return [json.loads(line) for line in nbdaudit("-f", "json", path)[1].decode().splitlines()]


def findings(objects):
    return [o for o in objects if o["type"] == "finding"]


def words(finding, masked):
    """The sentence without what may differ: numbers of frames; and where they were replaced,
    names, addresses and bytes."""
    text = finding["message"]
    text = re.sub(r"\bframes? \d+(( to|,| and) \d+)*", "frame", text)
    if masked:
        text = re.sub(r'"(\\.|[^"\\])*"', "name", text)
        text = re.sub(r"\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\]", "address", text)
        text = re.sub(r"0x[0-9a-f]{4,}", "number", text)
    return text


def same(a, b, masked=False):
    keys = ("rule", "ref", "severity", "side", "basis", "command", "offset", "length",
            "connection")
    return all(a.get(k) == b.get(k) for k in keys) and sorted(a["frames"]) == sorted(b["frames"]) \
        and words(a, masked) == words(b, masked)


def blocks(path):
    data, at = path.read_bytes(), 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8:at + length - 4]
        at += length


def options(body, at):
    while at + 4 <= len(body):
        code, length = struct.unpack_from("<HH", body, at)
        if not code:
            return
        yield code, body[at + 4:at + 4 + length]
        at += 4 + length + -length % 4


def packets(path):
    """(bytes, comments) of each packet block."""
    for kind, body in blocks(path):
        if kind == 6:
            length = struct.unpack_from("<I", body, 12)[0]
            yield body[20:20 + length], [value for code, value in
                                         options(body, 20 + length + -length % 4) if code == 1]


class Evidence(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.out = pathlib.Path(self.folder.name) / "evidence.pcapng"

    def extract(self, path, number, *arguments):
        status, _, error = nbdaudit("-q", "--extract=%d" % number, "-w", self.out, *arguments,
                                    path)
        self.assertIn(status, (0, 1), error)
        self.assertIn("prove finding %d" % number, error)
        return error

    def all_of(self, check):
        for path in sorted(SAMPLES.glob("*.pcap*")) + OTHERS:
            if ONLY and ONLY not in path.name:
                continue
            found = audited(path)
            most = OF_OTHERS if path in OTHERS else None
            for finding in findings(found)[:most]:
                with self.subTest(path.name, number=finding["number"]):
                    check(path, found, finding)

    def test_every_finding(self):
        def check(path, found, finding):
            self.extract(path, finding["number"])
            said = audit(self.out)
            self.assertTrue(any(same(finding, f) for f in findings(said)),
                            (words(finding, False), [words(f, False) for f in findings(said)]))
            # nobody is accused of more
            for level in ("violation", "suspect"):
                self.assertLessEqual(said[-1]["findings"][level], found[-1]["findings"][level])
            self.assertLessEqual(said[0]["frames"], found[0]["frames"])
            last = 0
            for _, comments in packets(self.out):
                number = re.match(rb"frame (\d+) of the capture", comments[0])
                self.assertGreater(int(number[1]), last)  # each once, in their order
                last = int(number[1])
        self.all_of(check)

    def test_every_finding_anonymized(self):
        def check(path, found, finding):
            self.extract(path, finding["number"], "--anonymize")
            said = audit(self.out)
            self.assertTrue(any(same(finding, f, True) for f in findings(said)),
                            (words(finding, True), [words(f, True) for f in findings(said)]))
            self.assertLessEqual(said[-1]["findings"]["violation"],
                                 found[-1]["findings"]["violation"])
            self.hidden(path, found, said)
        self.all_of(check)

    def hidden(self, path, found, said):
        written = self.out.read_bytes()
        addresses = {a.rpartition(":")[0].strip("[]") for o in found
                     if o["type"] == "connection" for a in (o["client"], o["server"])}
        for address in addresses:
            packed = ipaddress.ip_address(address).packed
            for packet, _ in packets(self.out):
                self.assertIn(packet[0] >> 4, (4, 6))  # raw IP
                self.assertFalse(packed in packet[:40 if packet[0] >> 4 == 6 else 20], address)
            self.assertFalse(address.encode() in written, address)
        others = {a.rpartition(":")[0].strip("[]") for o in said
                  if o["type"] == "connection" for a in (o["client"], o["server"])}
        self.assertFalse(addresses & others)
        for o in found:
            for name in (o.get("export"), o.get("name")):
                if isinstance(name, str) and len(name) > 3 and o["type"] != "message":
                    self.assertFalse(name.encode() in written, name)
        self.assertFalse(path.name.encode() in written)
        self.assertTrue(said[0]["start"].startswith("9466848") or "start" not in said[0])

    def test_contents_are_hidden(self):
        """No eight bytes in a row of any payload that are not alike are in the file."""
        segments = rewrap.read(LIAR)
        self.extract(LIAR, 1, "--anonymize")
        written = self.out.read_bytes()
        seen = 0
        for s in segments:
            if len(s.payload) < 512:
                continue
            for at in range(64, len(s.payload) - 8, 8):
                piece = s.payload[at:at + 8]
                if any(piece):
                    seen += 1
                    self.assertFalse(piece in written, at)
        self.assertGreater(seen, 100)
        # and what replaces them differs from time to time
        self.extract(LIAR, 1, "--anonymize")
        self.assertNotEqual(self.out.read_bytes(), written)

    def test_clocks_are_hidden(self):
        """Of timestamps only differences are left, also where a clock is echoed before its
        own side is heard."""
        path = pathlib.Path(self.folder.name) / "middle.pcap"
        data = LIAR.read_bytes()
        first = 16 + struct.unpack_from("<I", data, 24 + 8)[0]  # the first SYN
        path.write_bytes(data[:24] + data[24 + first:])
        self.extract(path, 1, "--anonymize")
        seen = 0
        for packet, _ in packets(self.out):
            tcp = packet[40 if packet[0] >> 4 == 6 else 20:]
            options_of = tcp[20:(tcp[12] >> 4) * 4]
            place = options_of.find(b"\x08\x0a")
            if place < 0:
                continue
            seen += 1
            for value in struct.unpack_from(">II", options_of, place + 2):
                self.assertLess(value, 1000 + 10**6)
        self.assertGreater(seen, 0)

    def test_names_with_quotation_marks(self):
        """A name that looks like the end of a name is one all the same."""
        path = pathlib.Path(self.folder.name) / "quoted.pcap"
        captures.hostile(path)
        for finding in findings(audit(path)):
            if "window.pwned=2" in finding["message"]:
                self.extract(path, finding["number"], "--anonymize")
                self.assertFalse(b"pwned" in self.out.read_bytes())
                break
        else:
            self.fail("no such finding")

    def test_names_and_context(self):
        found = audit(SAMPLES / "dirty-bitmap.pcap")
        self.assertIn(b"qemu:dirty-bitmap:", (SAMPLES / "dirty-bitmap.pcap").read_bytes())
        name = next(c["name"] for o in found if o["type"] == "connection"
                    for c in o["contexts"] if c["name"].startswith("qemu:dirty-bitmap:"))
        self.extract(SAMPLES / "dirty-bitmap.pcap", 1, "--anonymize")
        written = self.out.read_bytes()
        self.assertTrue(b"qemu:dirty-bitmap:" in written)
        self.assertFalse(name.rpartition(":")[2].encode() in written)

    def test_servers_words(self):
        """Neither in the stream nor in a comment."""
        words = b"CMD_BLOCK_STATUS not negotiated"
        path = SAMPLES / "errors.pcap"
        number = next(f["number"] for f in findings(audit(path))
                      if f["rule"] == "block-status-without-contexts")
        self.extract(path, number)
        self.assertEqual(self.out.read_bytes().count(words), 2)
        self.extract(path, number, "--anonymize")
        self.assertEqual(self.out.read_bytes().count(words), 0)
        self.assertTrue(b"NBD_EINVAL" in self.out.read_bytes())

    def test_small(self):
        """Of four stale reads one: only its own commands are left, and the comments say
        what each of them is."""
        self.extract(LIAR, 3)
        said = audit(self.out)
        self.assertEqual(len(findings(said)), 1)
        commands = [o["commands"] for o in said if o["type"] == "connection"]
        self.assertEqual(sum(c["count"] for of in commands for c in of.values()), 4)
        comments = b"\n".join(c for _, all in packets(self.out) for c in all)
        for what in (b"the write that should have been seen", b"the flush that covers it",
                     b"the read at fault", b"NBD_OPT_GO", b"NBD_GREETING"):
            self.assertTrue(what in comments, what)

    @unittest.skipUnless(shutil.which("tshark"), "no tshark")
    def test_wireshark_likes_it(self):
        """The streams have no holes, and checksums are what they were."""
        for arguments in ((), ("--anonymize",)):
            self.extract(SAMPLES / "multi-conn-unsafe-fua.pcap", 4, *arguments)
            run = subprocess.run(
                ["tshark", "-n", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
                 "-r", self.out, "-T", "fields", "-e", "tcp.analysis.flags",
                 "-e", "tcp.checksum.status", "-e", "ip.checksum.status", "-e", "frame.number",
                 "-e", "_ws.malformed", "-e", "frame.comment"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, timeout=120)
            rows = [line.split("\t") for line in run.stdout.decode().splitlines()]
            self.assertEqual({row[0] for row in rows}, {""})
            self.assertEqual({row[4] for row in rows}, {""})
            self.assertEqual({row[2] for row in rows}, {"1"})
            # loopback leaves TCP's to nobody
            self.assertTrue({row[1] for row in rows} <= {"0", "1"})
            self.assertTrue(all(row[5] for row in rows))

    def test_what_the_file_says_besides(self):
        """Comments, interfaces and their clocks, and secrets are kept; and go, anonymized."""
        path = pathlib.Path(self.folder.name) / "worded.pcapng"
        segments = rewrap.read(LIAR)
        wrapped = [(s.time, rewrap.ether(0x800, rewrap.ipv4(s))) for s in segments]
        data = rewrap.pcapng(wrapped, resolution=6)
        secrets = rewrap.block("<", 10, struct.pack("<II", 0x544c534b, 20) + b"CLIENT_RANDOM secret")
        out, at, number = b"", 0, 0
        while at < len(data):
            kind, length = struct.unpack_from("<II", data, at)
            body = data[at + 8:at + length - 4]
            if kind == 1:
                texts = b"".join(struct.pack("<HH", code, len(text)) + text + bytes(-len(text) % 4)
                                 for code, text in ((2, b"storage0"), (3, b"the storage's"),
                                                    (1, b"a tap")))
                out += rewrap.block("<", 1, body[:8] + texts + body[8:])
                out += secrets
            elif kind == 6:
                number += 1
                comment = b"seen by me" if number == 40 else b""
                if comment:
                    body += bytes(-len(body) % 4) + struct.pack("<HH", 1, len(comment)) + \
                        comment + bytes(-len(comment) % 4) + bytes(4)
                out += rewrap.block("<", 6, body)
            else:
                out += data[at:at + length]
            at += length
        path.write_bytes(out)
        self.extract(path, 1)
        kinds = {}
        for kind, body in blocks(self.out):
            kinds.setdefault(kind, []).append(body)
        self.assertEqual(struct.unpack_from("<HHI", kinds[1][0]), (1, 0, 262144))
        self.assertEqual(dict(options(kinds[1][0], 8)),
                         {1: b"a tap", 2: b"storage0", 3: b"the storage's", 9: b"\6"})
        self.assertEqual(kinds[10], [struct.pack("<II", 0x544c534b, 20) + b"CLIENT_RANDOM secret"])
        self.assertIn(b"seen by me", [c for _, comments in packets(self.out) for c in comments])
        self.extract(path, 1, "--anonymize")
        written = self.out.read_bytes()
        for word in (b"storage", b"a tap", b"secret", b"seen by me", b"worded"):
            self.assertFalse(word in written, word)

    def test_drops_and_fragments(self):
        """A capture that dropped packets proves as little when it is cut; fragments are put
        together or kept."""
        segments = rewrap.read(LIAR)
        path = pathlib.Path(self.folder.name) / "other.pcapng"
        whole = [(s.time, rewrap.ether(0x800, rewrap.ipv4(s))) for s in segments]
        drops = rewrap.block("<", 5, bytes(12) + struct.pack("<HHQ", 5, 8, 9))
        path.write_bytes(rewrap.pcapng(whole) + drops)
        finding = findings(audit(path))[0]
        self.assertEqual(finding["severity"], "suspect")
        self.extract(path, 1)
        self.assertTrue(any(same(finding, f) for f in findings(audit(self.out))))
        path = pathlib.Path(self.folder.name) / "fragments.pcap"
        cut = []
        for n, s in enumerate(segments):
            parts = [rewrap.ipv4(s)]
            if len(s.payload) > 600:
                parts = [part[1] if isinstance(part, tuple) else part
                         for part in rewrap.fragments(s, n, 512, False)]
            cut += [(s.time, rewrap.ether(0x800, part)) for part in parts]
        path.write_bytes(rewrap.pcap(cut))
        for arguments in ((), ("--anonymize",)):
            finding = findings(audit(path))[0]
            self.assertEqual(finding["severity"], "violation")
            self.extract(path, 1, *arguments)
            self.assertTrue(any(same(finding, f, True) for f in findings(audit(self.out))))

    def test_options(self):
        """What does not go together, in a line."""
        fifo = pathlib.Path(self.folder.name) / "fifo"
        os.mkfifo(fifo)
        for arguments, said in (
                (["--extract=1", LIAR], "needs --write"),
                (["--anonymize", LIAR], "needs --extract"),
                (["-w", self.out, LIAR], "needs --interface"),
                (["--extract=0", "-w", self.out, LIAR], "is not a finding's number"),
                (["--extract=x", "-w", self.out, LIAR], "is not a finding's number"),
                (["--extract=1", "-w", self.out, "-i", "lo"], "not for --interface"),
                (["--extract=1", "-w", self.out, LIAR, LIAR], "one capture file, not 2"),
                (["--extract=1", "-w", self.out, "-"], "standard input will not do"),
                (["--extract=1", "-w", self.out, fifo], "it has to be a file"),
                (["--extract=1", "-w", "-", LIAR], "both go to standard output"),
                (["--extract=1", "-w", self.out, "-o", self.out, LIAR], "both go to"),
                (["--extract=1", "-w", LIAR, LIAR], "would overwrite the capture"),
                (["-q", "--extract=5", "-w", self.out, LIAR], "there are 4 findings"),
                (["-q", "--extract=1", "-w", self.out, SAMPLES / "multi-conn.pcap"],
                 "there are no findings"),
        ):
            with self.subTest(said):
                status, _, error = nbdaudit(*arguments)
                self.assertEqual(status, 2)
                self.assertIn(said, error)
        self.assertEqual(len(findings(audit(LIAR))), 4)  # it is still there

    def test_one_file_by_two_names(self):
        """The evidence and the report do not go to one file, whatever it is called."""
        there = pathlib.Path(self.folder.name) / "report"
        (there.parent / "x").mkdir()
        (there.parent / "link").symlink_to(there)
        for other in ("x/../report", "link"):
            with self.subTest(other):
                status, _, error = nbdaudit("--extract=1", "-w", "%s/%s" % (there.parent, other),
                                            "-o", there, LIAR)
                self.assertEqual(status, 2, error)
                self.assertIn("both go to", error)

    def test_nothing_is_lost(self):
        """Evidence that cannot be made leaves what is there as it is."""
        self.out.write_bytes(b"earlier")
        status, _, error = nbdaudit("-q", "--extract=99", "-w", self.out, LIAR)
        self.assertEqual(status, 2)
        self.assertEqual(self.out.read_bytes(), b"earlier", error)

    def test_report_and_pipe(self):
        """The report is written as ever; evidence may go to standard output."""
        status, out, error = nbdaudit("-f", "json", "--extract=2", "-w", self.out, LIAR)
        self.assertEqual((status, out), nbdaudit("-f", "json", LIAR)[:2])
        self.assertIn("prove finding 2, the violation stale-read-after-flush", error)
        status, out, _ = nbdaudit("-q", "--extract=2", "-w", "-", LIAR)
        self.assertEqual((status, out), (1, self.out.read_bytes()))
        # numbers are those of the report that is written
        status, _, error = nbdaudit("-q", "--severity=violation", "--extract=1", "-w", self.out,
                                    SAMPLES / "zeroes-not-zeroed.pcap")
        self.assertIn("zeroes-not-read-back", error)
        # readable by their owner alone
        self.out.unlink()
        self.extract(LIAR, 1)
        self.assertEqual(self.out.stat().st_mode & 0o777, 0o600)


if __name__ == "__main__":
    unittest.main()
