#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit --baseline: two reports side by side, and earlier ones that are none."""

import json
import os
import pathlib
import struct
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

LIAR, HONEST = SAMPLES / "multi-conn-unsafe.pcap", SAMPLES / "multi-conn.pcap"
ERRORS = SAMPLES / "errors.pcap"


def nbdaudit(*arguments):
    run = subprocess.run([BIN / "nbdaudit", *map(str, arguments)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                         env=dict(os.environ, LC_ALL="C.UTF-8"))
    return run.returncode, run.stdout.decode(), run.stderr.decode()


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Baseline(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.here = pathlib.Path(self.folder.name)
        self.file = self.here / "earlier.json"

    def earlier(self, *arguments):
        self.file.write_text(nbdaudit("-f", "json", *arguments)[1])

    def change(self, change):
        """The earlier report, with each object as `change` makes it (None: left out)."""
        objects = [change(o) for o in lines(self.file.read_text())]
        self.file.write_text("".join(json.dumps(o) + "\n" for o in objects if o is not None))

    def compare(self, *arguments):
        status, out, _ = nbdaudit("-f", "json", "--baseline=%s" % self.file, *arguments)
        objects = lines(out)
        return status, objects, [o for o in objects if o["type"] == "baseline"]

    def refused(self, words, *arguments):
        status, out, error = nbdaudit("--baseline=%s" % self.file, *(arguments or (LIAR,)))
        self.assertEqual((status, out), (2, ""), error)
        self.assertIn(words, error)
        self.assertEqual(len(error.splitlines()), 1, error)

    def test_the_same(self):
        for sample in sorted(SAMPLES.glob("*.pcap*")):
            with self.subTest(sample.name):
                self.earlier(sample)
                status, objects, (said,) = self.compare(sample)
                counts = objects[-1]["findings"]
                self.assertEqual(said["known"], counts)
                self.assertEqual(set(said["new"].values()) | set(said["gone"].values()), {0})
                self.assertTrue(all(o["baseline"] == "known" for o in objects
                                    if o["type"] == "finding"))
                self.assertNotEqual(status, 1)
                for export in said["exports"]:
                    self.assertEqual(export["earlier"], export["now"])

    def test_numbers_of_64_bits(self):
        """The program reads what it wrote, with numbers that have no sign to spare."""
        capture = self.here / "wide.pcapng"
        segments = rewrap.read(LIAR)
        drops = rewrap.block("<", 5, bytes(12) + struct.pack("<HHQ", 5, 8, 2**64 - 2))
        capture.write_bytes(rewrap.pcapng(
            [(s.time, rewrap.ether(0x800, rewrap.ipv4(s))) for s in segments]) + drops)
        self.earlier(capture)
        self.assertTrue('"dropped":%d' % (2**64 - 2) in self.file.read_text())
        _, objects, (said,) = self.compare(capture)
        self.assertEqual(said["known"], objects[-1]["findings"])

        def far(o):
            if o["type"] == "finding":
                o.update(offset=2**64 - 512, length=512, message='"a\\",%d,' % 2**64)
            return o

        self.change(far)
        _, objects, (said,) = self.compare(capture)
        gone = [o for o in objects if o["type"] == "gone" and "offset" in o]
        self.assertTrue(gone)
        self.assertEqual({(o["offset"], o["message"]) for o in gone},
                         {(2**64 - 512, '"a\\",%d,' % 2**64)})

    def test_words_that_hide(self):
        """What an earlier report says cannot turn a line around, nor speak to a terminal."""
        self.earlier(LIAR)

        def hide(o):
            if o["type"] == "finding":
                o.update(rule="a\u202eb", message="\u202e\x1b[31m \\x41 \u2028")
            return o

        self.change(hide)
        out = nbdaudit("--baseline=%s" % self.file, LIAR)[1]
        self.assertNotRegex(out, "[\u202e\u2028\x1b]")
        self.assertIn(r"\x1b[31m \x41", out)

    def test_one_standard_input(self):
        status, _, error = nbdaudit("--baseline=-", "-")
        self.assertEqual(status, 2)
        self.assertIn("both come from standard input", error)

    def test_new_and_gone(self):
        self.earlier(HONEST)
        status, objects, (said,) = self.compare(LIAR)
        self.assertEqual((status, said["new"]["violation"], said["gone"]["violation"]), (1, 4, 0))
        self.assertTrue(all(o["baseline"] == "new" for o in objects if o["type"] == "finding"))
        self.earlier(LIAR)
        status, objects, (said,) = self.compare(HONEST)
        self.assertEqual((status, said["new"]["violation"], said["gone"]["violation"]), (0, 0, 4))
        gone = [o for o in objects if o["type"] == "gone"]
        self.assertEqual({o["rule"] for o in gone}, {"stale-read-after-flush"})
        self.assertEqual([o["offset"] for o in gone], [0, 0x10000, 0x20000, 0x30000])
        # the summary is still the last, and of this capture
        self.assertEqual((objects[-1]["type"], objects[-1]["verdict"]), ("summary", "clean"))

    def test_what_makes_them_the_same(self):
        """Frames, times and numbers of connections do not; all else does."""
        number = {"count": 0}

        def harmless(o):
            if o["type"] == "finding":
                o["frames"] = {role: frame + 100 for role, frame in o["frames"].items()}
                o["time"] = "1.000000000"
                o["message"] = "in other words"
                o["connection"] += 7
                for w in o["witnesses"]:
                    w["connection"] = 50 - w["connection"]
            return o
        self.earlier(LIAR)
        self.change(harmless)
        status, _, (said,) = self.compare(LIAR)
        self.assertEqual((status, said["known"]["violation"], said["new"]["violation"]), (0, 4, 0))
        for member, value in (("rule", "stale-read-after-fua"), ("severity", "suspect"),
                              ("side", "client"), ("export", "other"), ("offset", 512),
                              ("length", 4096), ("command", "NBD_CMD_WRITE")):
            with self.subTest(member):
                number["count"] = 0

                def differ(o):
                    if o["type"] == "finding" and o["offset"] == 0:
                        o[member] = value
                    return o
                self.earlier(LIAR)
                self.change(differ)
                status, objects, (said,) = self.compare(LIAR)
                self.assertEqual((status, said["known"]["violation"], said["new"]["violation"],
                                  sum(said["gone"].values())), (1, 3, 1, 1))

        def other_connections(o):
            for w in o.get("witnesses", []):
                w["connection"] = 1  # all on one
            return o
        self.earlier(LIAR)
        self.change(other_connections)
        self.assertEqual(self.compare(LIAR)[2][0]["new"]["violation"], 4)

    def test_each_accounts_for_one(self):
        self.earlier(ERRORS)
        self.change(lambda o: None if o["type"] == "finding" and
                    o["rule"] == "request-beyond-export" and o["number"] != 1 else o)
        status, objects, (said,) = self.compare(ERRORS)
        total = objects[-1]["rules"]["request-beyond-export"]
        self.assertEqual((status, said["new"]["violation"]), (1, total - 1))

    def test_only_new_ones_fail(self):
        self.earlier(LIAR)
        for form in ("text", "json", "html", "junit", "sarif"):
            with self.subTest(form):
                status, out, error = nbdaudit("-f", form, "--baseline=%s" % self.file, LIAR)
                self.assertEqual((status, error), (0, ""))
                if form == "junit":
                    self.assertIn('failures="0"', out)
                if form == "sarif":
                    results = json.loads(out)["runs"][0]["results"]
                    self.assertEqual({r["baselineState"] for r in results}, {"unchanged"})
        self.assertEqual(nbdaudit("-q", "--baseline=%s" % self.file, LIAR)[0], 0)
        # what was known as a hazard is new as a violation
        self.change(lambda o: dict(o, severity="hazard") if o["type"] == "finding" else o)
        self.assertEqual(nbdaudit("-q", "--baseline=%s" % self.file, LIAR)[0], 1)

    def test_side_by_side(self):
        self.earlier(HONEST)
        status, out, _ = nbdaudit("--baseline=%s" % self.file, LIAR)
        self.assertEqual(status, 1)
        self.assertIn("4 new (4 violations), 0 gone, 0 as before", out)
        self.assertIn("new: the earlier report does not have it", out)
        self.assertRegex(out, r"NBD_CMD_FLUSH +earlier +6 +50\.4 us")
        self.assertRegex(out, r"\n +now +6 +71\.1 us")
        _, _, (said,) = self.compare(LIAR)
        earlier, now = said["exports"][0]["earlier"], said["exports"][0]["now"]
        self.assertLess(earlier["commands"]["NBD_CMD_FLUSH"]["latency_us"]["p50"],
                        now["commands"]["NBD_CMD_FLUSH"]["latency_us"]["p50"])
        self.assertEqual((earlier["flushes"], now["flushes"]), (6, 6))

    def test_several_captures(self):
        self.earlier(LIAR, HONEST)
        status, _, said = self.compare(LIAR, HONEST)
        self.assertEqual((status, len(said), said[0]["capture"], said[1]["capture"]), (0, 2, 1, 2))
        status, _, said = self.compare(HONEST, LIAR)
        self.assertEqual((status, said[0]["gone"]["violation"], said[1]["new"]["violation"]),
                         (1, 4, 4))
        self.refused("of 2 captures, and this one is of 1", LIAR)

    def test_schema(self):
        try:
            import jsonschema
        except ImportError:
            self.skipTest("no jsonschema")
        schema = json.loads((ROOT / "docs" / "report.schema.json").read_text())
        validator = jsonschema.validators.validator_for(schema)(schema)
        self.earlier(HONEST)
        for arguments in ((LIAR,), (ERRORS,), ("--summary", LIAR)):
            for o in self.compare(*arguments)[1]:
                validator.validate(o)

    def test_none(self):
        """What is no report, or not whole, is refused in a line, before anything is written."""
        self.earlier(LIAR)
        good = self.file.read_text()
        head = good.splitlines()[0]
        for content, words in (
                ("", "it is empty"),
                ("\n\n", "it is empty"),
                ("no JSON\n", "line 1: it is no JSON"),
                ("[1, 2]\n", "no report of nbdaudit in JSON"),
                ("{}\n", "no report of nbdaudit in JSON"),
                ('{"type":7}\n', "no report of nbdaudit in JSON"),
                ('{"type":"capture"}\n', "no report of nbdaudit"),
                ('{"type":"finding","rule":"x","severity":"note"}\n', "does not begin with its"),
                (good.replace('"schema":1', '"schema":2'), "has the form 2, and only form 1"),
                (head + "\n", "has no summary: it is not whole"),
                (head + "\n" + head + "\n", "line 2: a capture begins before"),
                (good[:len(good) // 2], "it is no JSON"),
                (head + '\n{"type":"finding"}\n', "line 2: a finding without a rule"),
                (head + '\n{"type":"finding","rule":1,"severity":[]}\n', "line 2: a finding"),
                (head + '\n{"type":"finding","rule":"x","severity":"awful"}\n', "line 2: a finding"),
                (head + "\n" + "[" * 100000 + "\n", "line 2: it is no JSON"),
                (head + "\n" + '{"a":' * 100000 + "\n", "line 2: it is no JSON"),
                (head + '\n{"type":"\xff"}\n', "line 2: it is no JSON"),
        ):
            with self.subTest(words):
                self.file.write_text(content, encoding="latin-1")
                self.refused(words)
        self.file.unlink()
        self.refused("No such file")
        self.file.mkdir()
        self.refused("Is a directory")

    def test_without_findings(self):
        self.earlier("--summary", LIAR)
        self.refused("--summary")
        self.earlier("--severity=suspect", ERRORS)
        self.refused("--severity", ERRORS)

    def test_foreign_members(self):
        """What should be a number, a string or an object is something else: it is as if it
        were not there."""
        self.earlier(LIAR)

        def foreign(o):
            if o["type"] == "connection":
                o["commands"] = {"NBD_CMD_READ": {"count": -5, "errors": [1], "latency_us": {
                    "p50": "fast", "p99": -1, "max": 1e300}}, "NBD_CMD_FLUSH": 7}
                o["unflushed_writes"] = {"many": True}
            if o["type"] == "finding":
                o["witnesses"] = [{"role": 5, "connection": "one"}] * 100 + [None]
                o["frames"] = "none"
                o["count"] = 2**63 - 1
            if o["type"] == "export":
                o["name"] = "\0\ud83d\ude00" * 1000
            return o
        self.change(foreign)
        status, objects, (said,) = self.compare(LIAR)
        self.assertEqual((status, said["new"]["violation"]), (1, 4))
        status, _, error = nbdaudit("--baseline=%s" % self.file, LIAR)
        self.assertEqual((status, error), (1, ""))


if __name__ == "__main__":
    unittest.main()
