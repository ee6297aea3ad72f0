#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin gives to Wireshark's own tools: objects to export, streams to follow,
statistics and graphs. All by tshark, on conversations that are written down here."""

import collections
import json
import re
import subprocess
import sys
import unittest

import shark

sys.path.append(str(shark.HERE.parent / "rules"))
import synth # noqa: E402

S = shark.SAMPLES
MULTI = synth.USUAL | synth.MULTI


def pattern(seed, length):
    return bytes((seed * 37 + at * 11 + (at >> 8)) % 255 + 1 for at in range(length))


class Base(unittest.TestCase):
    count = 0  # of files made

    @classmethod
    def setUpClass(cls):
        cls.shark = shark.Shark()

    def capture(self, cap):
        Base.count += 1
        path = self.shark.dir / ("synth-%d.pcap" % Base.count)
        cap.write(path)
        path.chmod(0o644)
        return path

    def objects(self, capture, *argv):
        """What is exported: {name: bytes}."""
        Base.count += 1
        folder = self.shark.home / ("objects-%d" % Base.count)
        self.shark.tshark(capture, "-q", "--export-objects", "nbd,%s" % folder, *argv)
        self.assertEqual({path.parent for path in folder.rglob("*")} | {folder}, {folder})
        return {path.name: path.read_bytes() for path in folder.iterdir()}


class Objects(Base):
    def test_image(self):
        """Byte for byte what was written: over each other, in parts, by two connections."""
        cap = synth.Capture()
        size = 8 << 20
        image = bytearray(size)
        a = synth.open(cap, flags=MULTI, size=size, name=b"disk")
        b = synth.open(cap, flags=MULTI, size=size, name=b"disk")
        end = 0
        for n, (x, offset, length) in enumerate((
                (a, 0, 512), (b, 100, 5000), (a, 4090, 12), (b, 1 << 20, 150000),
                (a, (1 << 20) + 4096, 8192), (a, 5000, 1), (b, 3 << 20, 4096))):
            data = pattern(n, length)
            x.c(synth.req(synth.WRITE, offset, length, cookie=n + 1, data=data))
            x.s(synth.simple(n + 1))
            image[offset:offset + length] = data
            end = max(end, offset + length)
        a.c(synth.req(synth.ZEROES_, (1 << 20) + 1000, 20000, cookie=90))
        a.s(synth.simple(90))
        image[(1 << 20) + 1000:(1 << 20) + 21000] = bytes(20000)
        b.c(synth.req(synth.ZEROES_, 0, 4096, cookie=91))  # fails: nothing changes
        b.s(synth.simple(91, 22))
        self.assertEqual(self.objects(self.capture(cap)), {"disk.img": bytes(image[:end])})
        b.c(synth.req(synth.WRITE, 0, 512, cookie=92, data=bytes(512)))
        b.s(synth.simple(92, 5))
        b.c(synth.req(synth.READ, 0, 512, cookie=93))
        b.s(synth.simple(93, 0, bytes(image[:512])))
        a.bye()
        b.bye()
        self.assertEqual(self.objects(self.capture(cap), "-2"), {"disk.img": bytes(image[:end])})

    def test_large(self):
        """What does not fit into a small image is told run by run."""
        cap = synth.Capture()
        x = synth.open(cap, size=1 << 45, name=b"big")
        runs = {0x1ff0: 32, 1 << 40: 70000, (1 << 45) - 5: 5}
        for n, (offset, length) in enumerate(runs.items()):
            x.c(synth.req(synth.WRITE, offset, length, cookie=n, data=pattern(n, length)))
            x.s(synth.simple(n))
        x.bye()
        capture = self.capture(cap)
        expected = {"big.at-0x%012x.bin" % offset: pattern(n, length)
                    for n, (offset, length) in enumerate(runs.items())}
        self.assertEqual(self.objects(capture, "-2"), expected)
        self.assertEqual(self.objects(capture), expected)

    def test_bounded(self):
        """More than the preference allows is left out, and that is told."""
        cap = synth.Capture()
        x = synth.open(cap, size=1 << 30)
        for n in range(40):
            x.c(synth.req(synth.WRITE, n << 20, 50000, cookie=n, data=pattern(n, 50000)))
            x.s(synth.simple(n))
        x.bye()
        found = self.objects(self.capture(cap), "-2", "-o", "nbd.objects:1")
        told = found.pop("nbd-left-out.txt").decode()
        left_out = int(told.split()[0])
        self.assertEqual(sum(map(len, found.values())) + left_out, 40 * 50000)
        self.assertGreater(left_out, 1 << 19)
        for name, data in found.items():
            n = int(re.search(r"0x(\w+)", name).group(1), 16) >> 20
            self.assertEqual(data, pattern(n, 50000)[:len(data)])

    def test_names(self):
        """An export's name is anybody's: no file is outside of the folder, none is lost."""
        names = [b"../../../../tmp/x", b"..", b".", b"-rf", b"/etc/passwd", b"a/b", b"a\\b", b"a_b",
                 b"", b"CON", b"x\n\x1b[2J", b"\xff\xfe", b"$(id)", b"%s%n", b"n" * 4000,
                 b"n" * 3999, "größe\u202e".encode(), b"a_b-conn7", b"default"]
        cap = synth.Capture()
        for n, name in enumerate(names):
            x = synth.open(cap, name=name)
            x.c(synth.req(synth.WRITE, 0, 512, data=pattern(n, 512)))
            x.s(synth.simple())
            x.bye()
        found = self.objects(self.capture(cap), "-2")
        self.assertEqual(sorted(found.values()),
                         sorted(pattern(n, 512) for n in range(len(names))))
        for name in found:
            self.assertRegex(name, r"^[\w][^/\\:*?\"<>|'`$&;!%~\s]*\.img$")
            self.assertLess(len(name.encode()), 250)
        self.assertIn("größe", "".join(found))


class Follow(Base):
    def test_one_connection(self):
        """Each message of it and no other, and what was found."""
        said = self.shark.tshark(S / "multi-conn-unsafe.pcap", "-2", "-q",
                                 "-z", "follow,nbd,ascii,2").stdout
        lines = [line for line in said.splitlines() if re.match(r"\d+ \d+\.\d+ [<>] ", line)]
        rows = self.shark.tshark(S / "multi-conn-unsafe.pcap", "-2", "-Y", "nbd.conn == 2",
                                 "-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info")
        expected = [row.split("\t") for row in rows.stdout.splitlines()]
        messages = [line for line in lines if "***" not in line]
        self.assertEqual([line.split()[0] for line in messages],
                         [row[0] for row in expected if "of its head" not in row[1]])
        self.assertIn("> READ 1 KiB @ 0x0", messages[7])
        self.assertIn("< READ 1 KiB @ 0x0 -> OK 1 KiB", messages[8])
        self.assertEqual(len([line for line in lines
                              if "< *** violation: stale-read-after-flush: conn 1" in line]), 4)

    def test_names(self):
        """Lines stay lines, and plain."""
        cap = synth.Capture()
        x = synth.open(cap, name="größe\n\u202e→".encode() + b"\x1b[2J\xff")
        x.bye()
        said = self.shark.tshark(self.capture(cap), "-2", "-q", "-z", "follow,nbd,raw,1").stdout
        data = b"".join(bytes.fromhex(line.strip()) for line in said.splitlines()
                        if re.fullmatch(r"\t?([0-9a-f]{2})+", line))
        self.assertRegex(data, rb"(?m)^6 .* > NBD_OPT_GO export \"gr.*")
        self.assertRegex(data, rb"^[\n -~]*$")
        for line in data.splitlines():
            self.assertRegex(line, rb"^\d+ \d+\.\d+ [<>] \S")


class Statistics(Base):
    def audit(self, capture):
        run = subprocess.run([shark.BIN / "nbdaudit", "--format=json", capture], check=False,
                             stdout=subprocess.PIPE)
        found = collections.defaultdict(list)
        for line in run.stdout.decode().splitlines():
            thing = json.loads(line)
            found[thing["type"]].append(thing)
        return found

    def test_consistency(self):
        """Findings by rule and by export, as many as nbdaudit's."""
        several = synth.Capture()
        for name in b"one", b"two\n", b'Other "exports"':
            x = synth.open(several, name=name)
            for cookie in 1, 2, 3:
                x.c(synth.req(synth.READ, synth.MIB, 512, cookie=cookie))  # beyond the end
                x.s(synth.simple(cookie, 22))
                x.c(synth.req(synth.WRITE, 0, 512, cookie=cookie, data=bytes(512)))
                x.s(synth.simple(cookie))
            x.bye()
        for capture in self.capture(several), S / "multi-conn-unsafe.pcap", S / "fio.pcap.zst":
            findings = self.audit(capture)["finding"]
            rules, exports, both = (collections.Counter() for _ in range(3))
            for finding in findings:
                rule = "%s (%s)" % (finding["rule"], finding["severity"])
                export = finding["export"] if finding.get("export") else None
                rules[rule] += finding["count"]
                exports[export] += finding["count"]
                both[rule, export] += finding["count"]
            said = self.shark.tshark(capture, "-2", "-q", "-z", "nbd_consistency,tree").stdout
            tree, path = {}, []
            for line in said.splitlines():
                row = re.match(r"( *)(\S.*?)  +(\d+) ", line)
                if row:
                    path[len(row.group(1)):] = [row.group(2)]
                    tree[tuple(path)] = int(row.group(3))
            self.assertEqual(tree["Findings",], sum(rules.values()))
            self.assertEqual({path[1]: n for path, n in tree.items()
                              if path[0] == "By rule" and len(path) == 2}, dict(rules))

            def node(export):
                return "Default export" if export is None else 'Export "%s"' % \
                    export.replace("\n", "\\n")
            self.assertEqual(
                {tuple(part.split(" of ")[0] for part in path[1:]): n
                 for path, n in tree.items() if path[0] == "By export" and len(path) == 3},
                {(node(export), rule): n for (rule, export), n in both.items()})
            self.assertGreaterEqual(len(rules), 1)

    def test_exports(self):
        """Counts are integers, and nbdaudit's."""
        capture = S / "multi-conn.pcap"
        expected = {c["id"]: c for c in self.audit(capture)["connection"]}
        said = self.shark.tshark(capture, "-2", "-q", "-z", "nbd,exports").stdout
        rows = [[cell.strip() for cell in line.split("|")] for line in said.splitlines()
                if ":10809" in line]
        self.assertEqual(len(rows), len(expected))
        for row in rows:
            connection = expected[int(row[1])]
            self.assertEqual(int(row[5]), connection["requests"])
            self.assertEqual([int(row[6]), int(row[7])], [
                connection["commands"].get(name, {"data_bytes": 0})["data_bytes"]
                for name in ("NBD_CMD_READ", "NBD_CMD_WRITE")])
            for cell in row[5:14]:
                self.assertRegex(cell, r"^\d+$")

    def test_unflushed(self):
        """What a graph over time shows: of all connections of the export together."""
        cap = synth.Capture()
        a = synth.open(cap, flags=MULTI)
        b = synth.open(cap, flags=MULTI)
        other = synth.open(cap, flags=MULTI, name=b"y")
        steps = [(a, synth.WRITE, 512, 512), (b, synth.WRITE, 1024, 1536),
                 (other, synth.WRITE, 4096, 4096), (a, synth.WRITE, 512, 2048),
                 (other, synth.FLUSH_, 0, 0), (b, synth.FLUSH_, 0, 0),
                 (a, synth.WRITE, 512, 512)]
        frames = {}
        for n, (x, kind, length, left) in enumerate(steps):
            x.c(synth.req(kind, n << 13 if length else 0, length, cookie=n, data=bytes(length)))
            frames[x.s(synth.simple(n))] = left
        for x in a, b, other:
            x.bye()
        capture = self.capture(cap)
        for argv in (), ("-2",):
            rows = self.shark.tshark(capture, *argv, "-Y", "nbd.unflushed", "-T", "fields",
                                     "-e", "frame.number", "-e", "nbd.unflushed").stdout
            self.assertEqual({int(row.split()[0]): int(row.split()[1])
                              for row in rows.splitlines()}, frames)
        said = self.shark.tshark(capture, "-q", "-z", "io,stat,0,MAX(nbd.unflushed)nbd.unflushed")
        self.assertRegex(said.stdout, r"\| +4096 +\|")


class Certain(Base):
    def test_a_single_pass_is_not_silent(self):
        """What becomes certain when the last frame has gone by, is at least counted."""
        capture = S / "multi-conn-unsafe.pcap"
        run = self.shark.tshark(capture, "-q", "-z", "expert")
        self.assertEqual(run.stderr, "nbdscope: 4 findings (the worst: violation) became"
                                     " certain at the end of the capture only: tshark -2 shows"
                                     " all\n")
        self.assertNotIn("stale-read", run.stdout)
        run = self.shark.tshark(capture, "-2", "-q", "-z", "expert")
        self.assertEqual(run.stderr, "")
        self.assertIn("stale-read", run.stdout)


if __name__ == "__main__":
    unittest.main()
