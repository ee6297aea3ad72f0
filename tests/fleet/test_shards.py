#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit --shard=K/N: all shards together say what one audit of the whole says."""

import collections
import pathlib
import tempfile
import unittest

import fleet

# What counts places in one report, or bytes of one program.
OWN = {"number", "memory", "shard"}


def key(value):
    if isinstance(value, dict):
        return tuple(sorted((k, key(v)) for k, v in value.items() if k not in OWN))
    if isinstance(value, list):
        return tuple(key(v) for v in value)
    return value


def by_capture(objects, kind):
    """Counted, by (capture, object)."""
    return collections.Counter((o.get("capture", 1), key(o)) for o in objects
                               if o["type"] == kind)


class Shards(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = pathlib.Path(folder.name)

    def audit(self, files, *arguments):
        status, out, error = fleet.nbdaudit("-f", "json", *arguments, *files)
        self.assertLess(status, 4, error)
        return fleet.lines(out)

    def same(self, files, shards, *arguments):
        """Returns the summaries of the shards."""
        whole = self.audit(files, *arguments)
        parts = [self.audit(files, "--shard=%d/%d" % (k + 1, shards), *arguments)
                 for k in range(shards)]
        for kind in ("connection", "export", "finding", "message", "why"):
            union = collections.Counter()
            for part in parts:
                union.update(by_capture(part, kind))
            self.assertEqual(by_capture(whole, kind), union, kind)
        # All of them read all of it.
        for part in parts:
            self.assertEqual(by_capture(whole, "capture"), by_capture(part, "capture"))
        for n, summary in enumerate(o for o in whole if o["type"] == "summary"):
            of = [[o for o in part if o["type"] == "summary"][n] for part in parts]
            for member in ("connections", "exports"):
                self.assertEqual(summary[member], sum(o[member] for o in of))
            for member in ("findings", "rules", "judged", "unchecked"):
                union = collections.Counter()
                for o in of:
                    union.update(o[member])
                self.assertEqual({k: v for k, v in summary[member].items() if v},
                                 {k: v for k, v in union.items() if v}, member)
        return [[o for o in part if o["type"] == "summary"] for part in parts]

    def test_all_captures(self):
        files = fleet.captures()
        self.assertGreater(len(files), 20)
        for shards in (2, 5):
            with self.subTest(shards):
                self.same(files, shards)

    def test_many_servers(self):
        file = self.here / "many.pcap"
        file.write_bytes(fleet.many_servers())
        for shards in (2, 3, 5, 16):
            with self.subTest(shards):
                summaries = [s for s, in self.same([file], shards)]
                if shards == 16:
                    # The servers are spread, and where there are none nothing is clean.
                    self.assertGreater(sum(s["connections"] > 0 for s in summaries), 5)
                    empty = [s for s in summaries if not s["connections"]]
                    self.assertEqual({s["verdict"] for s in empty}, {"unaudited"})
                    self.assertTrue(all("of 16" in s["why"] for s in empty))
        whole, = (o for o in self.audit([file]) if o["type"] == "summary")
        for k in range(1, 4):
            part, = (o for o in self.audit([file], "--shard=%d/3" % k) if o["type"] == "summary")
            self.assertLess(part["memory"], whole["memory"])
        self.same([file], 3, "--messages")
        self.same([file], 2, "--exclusive", "--port=10810")

    def test_cut_and_reordered(self):
        """The middle of connections, and segments that come late, twice and with gaps: what
        is a connection, and what its number is, does not depend on who judges it."""
        segments = sorted((s for n in range(6) for s in fleet.moved(
            fleet.SAMPLES / "multi-conn-unsafe.pcap", "10.0.%d.1" % n, "10.9.0.1",
            None if n % 2 else 4000 + n)), key=lambda s: s.time)
        for name, some in (
                ("middle", segments[len(segments) // 8:]),
                ("lost", [s for n, s in enumerate(segments) if n % 11]),
                ("resets", [t for n, s in enumerate(segments) for t in
                            ((s.copy(flags=4, payload=b""), s) if n % 17 == 5 else (s,))]),
                ("openings", [t for n, s in enumerate(segments) for t in
                              ((s, s.copy(flags=2, payload=b"", seq=s.seq + 5)) if n % 23 == 7
                               else (s,))])):
            with self.subTest(name):
                file = self.here / (name + ".pcap")
                file.write_bytes(fleet.mixed([some]))
                for shards in (2, 4):
                    self.same([file], shards)

    def test_kin(self):
        """Another port of the address is who may have written what a read returned; with the
        address in one piece every shard knows."""
        liar = fleet.SAMPLES / "multi-conn-unsafe.pcap"
        alone = self.here / "alone.pcap"
        alone.write_bytes(fleet.mixed([fleet.moved(liar, "10.0.0.1", "10.9.0.1", 10809)]))
        kin = self.here / "kin.pcap"
        kin.write_bytes(fleet.mixed([fleet.moved(liar, "10.0.0.1", "10.9.0.%d" % n, 10809 + n)
                                     for n in range(3)]))

        def violations(file):
            return [o for o in self.audit([file]) if o["type"] == "summary"][0]["findings"][
                "violation"]

        self.assertGreater(violations(alone), violations(kin))
        for shards in (2, 3, 8):
            self.same([kin], shards)

    def test_the_same_everywhere(self):
        """Which shard an address is in is a promise: jobs on several machines rely on it."""
        file = self.here / "two.pcap"
        of = {}
        for address in ("127.0.0.1", "10.0.0.1", "192.0.2.7"):
            file.write_bytes(fleet.mixed([fleet.moved(fleet.SAMPLES / "simple.pcap", address,
                                                      "10.9.0.1")]))
            of[address] = [k for k in range(1, 17)
                           if self.audit([file], "--shard=%d/16" % k)[-1]["connections"]]
        self.assertEqual(of, {"127.0.0.1": [4], "10.0.0.1": [5], "192.0.2.7": [8]})

    def test_words(self):
        liar = fleet.SAMPLES / "multi-conn-unsafe.pcap"
        at = [k for k in (1, 2) if fleet.nbdaudit("--shard=%d/2" % k, liar)[0] == 1]
        self.assertEqual(len(at), 1)
        status, out, _ = fleet.nbdaudit("--shard=%d/2" % at[0], liar)
        self.assertIn("of shard %d of 2 alone" % at[0], " ".join(out.split()))
        status, out, _ = fleet.nbdaudit("--shard=%d/2" % (3 - at[0]), liar)
        self.assertEqual(status, 3)
        self.assertIn("no NBD server of shard %d of 2" % (3 - at[0]), " ".join(out.split()))
        objects = self.audit([liar], "--shard=%d/2" % at[0])
        for o in objects:
            self.assertEqual(o.get("shard"), {"number": at[0], "of": 2}
                             if o["type"] in ("capture", "summary") else None)
        self.assertIn('name="shard" value="%d/2"' % at[0],
                      fleet.nbdaudit("-f", "junit", "--shard=%d/2" % at[0], liar)[1])
        self.assertIn('"shard.number":%d,"shard.of":2' % at[0],
                      fleet.nbdaudit("-f", "sarif", "--shard=%d/2" % at[0], liar)[1])

    def test_evidence(self):
        """What is extracted from a shard proves its finding as from the whole."""
        file, cut = self.here / "many.pcap", self.here / "cut.pcapng"
        file.write_bytes(fleet.many_servers())
        for k in (1, 2, 3):
            status, out, error = fleet.nbdaudit("--shard=%d/3" % k, "-f", "json", file)
            if not any(o["type"] == "finding" for o in fleet.lines(out)):
                continue
            status, out, error = fleet.nbdaudit("--shard=%d/3" % k, "--extract=1", "--anonymize",
                                                "--overwrite", "-w", cut, file)
            self.assertIn("prove finding 1", error)

    def test_bad_usage(self):
        for bad in ("", "1", "0/2", "3/2", "-1/2", "1/0", "1/2/3", "a/b", "1/2x", " 1/2", "1/ 2",
                    "1/65537", "99999999999999999999/99999999999999999999"):
            with self.subTest(bad):
                status, out, error = fleet.nbdaudit("--shard=" + bad, fleet.SAMPLES / "simple.pcap")
                self.assertEqual((status, out), (2, ""))
                self.assertIn("--shard", error)
        status, out, error = fleet.nbdaudit("--shard=1/2", "--baseline=/dev/null",
                                            fleet.SAMPLES / "simple.pcap")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("--merge", error)
        report = self.here / "shard.json"
        report.write_text(fleet.nbdaudit("-f", "json", "--shard=1/2",
                                         fleet.SAMPLES / "simple.pcap")[1])
        status, out, error = fleet.nbdaudit("--baseline=%s" % report, fleet.SAMPLES / "simple.pcap")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("one shard", error)


if __name__ == "__main__":
    unittest.main()
