#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit --merge: one report of several in JSON."""

import copy
import json
import pathlib
import random
import sys
import tempfile
import unittest

import fleet

sys.path.insert(0, str(fleet.ROOT / "tests" / "html"))
import test_page  # noqa: E402

LIAR, HONEST = (fleet.SAMPLES / (name + ".pcap") for name in ("multi-conn-unsafe", "multi-conn"))
ERRORS = fleet.SAMPLES / "errors.pcap"
# Texts whose bytes are not UTF-8: JSON does not have them.
NOT_UTF8 = {"strings.pcap", "nbd126_policy_text.pcap"}


def mutated(value, chance):
    """The same with something of another kind somewhere in it."""
    odd = [None, True, -1, 2**63, 2**64 - 1, 2**70, 1.5e300, "", "x" * 300, "\u001b[31m\u202e\n", [],
           {}, [None], {"type": 1}, "NBD_CMD_READ", "bit 99", "error -99999999999", "1.", "[:::::1]:9"]
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        out = dict(value)
        if chance.random() < 0.1:
            del out[key]
        else:
            out[key] = mutated(value[key], chance)
        return out
    if isinstance(value, list) and value and chance.random() < 0.8:
        out = list(value)
        at = chance.randrange(len(out))
        out[at] = mutated(out[at], chance)
        return out * (1 if chance.random() < 0.9 else 40)
    return chance.choice(odd)


class Merge(unittest.TestCase):
    maxDiff = 3000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = pathlib.Path(folder.name)

    def report(self, name, *arguments):
        """The JSON report of captures, in a file of this name."""
        file = self.here / name
        status, out, error = fleet.nbdaudit("-f", "json", *arguments)
        self.assertIn(status, (0, 1, 2, 3), error)
        file.write_text(out)
        return file

    def shards(self, count, *arguments):
        return [self.report("%d-%d.json" % (k, count), "--shard=%d/%d" % (k, count), *arguments)
                for k in range(1, count + 1)]

    def merge(self, *arguments):
        status, out, error = fleet.nbdaudit("-f", "json", "--merge", *arguments)
        return status, fleet.lines(out), error

    def test_of_one_it_is_the_same(self):
        """Every capture's report, merged alone and with all others, is byte for byte itself."""
        captures = fleet.captures()
        whole = self.report("whole.json", *captures)
        status, out, error = fleet.nbdaudit("-f", "json", *captures)
        merged, again, error = fleet.nbdaudit("-f", "json", "--merge", whole)
        self.assertEqual(status, merged, error)
        for one, other in zip(out.splitlines(), again.splitlines()):
            self.assertEqual(one, other)
        self.assertEqual(len(out), len(again))

    def test_forms(self):
        """So it is in the other forms, but for what JSON does not have."""
        captures = [c for c in fleet.captures() if c.name not in NOT_UTF8]
        whole = self.report("whole.json", *captures)
        for form in ("text", "junit", "sarif"):
            for more in ((), {"text": ("--summary",),
                              "junit": ("--severity=suspect", "--fail-on=hazard"),
                              "sarif": ("--allow-unaudited", "--fail-on=never")}[form]):
                with self.subTest(form + str(more)):
                    status, out, _ = fleet.nbdaudit("-f", form, *more, *captures)
                    merged, again, _ = fleet.nbdaudit("-f", form, *more, "--merge", whole)
                    self.assertEqual(status, merged)
                    for one, other in zip(out.splitlines(), again.splitlines()):
                        self.assertEqual(one, other)
                    self.assertEqual(len(out), len(again))

    def test_html(self):
        """The page is one, and has what the capture's own has but for the charts."""
        files = [self.report("%s.json" % c.name, c) for c in (LIAR, ERRORS)]
        status, out, error = fleet.nbdaudit("-f", "html", "--merge", *files)
        self.assertEqual((status, error), (1, ""))
        page = test_page.Page(out)
        self.assertEqual(page.faults, [])
        self.assertEqual([link for link in page.links if link[0] == "#"
                          and link[1:] not in page.ids], [])
        words = " ".join("".join(page.texts).split())
        self.assertIn("What happened when is not in the reports", words)
        for o in self.lines_of(*files):
            if o["type"] == "finding":
                self.assertIn(" ".join(o["message"].split()), words)

    @staticmethod
    def lines_of(*files):
        return [o for file in files for o in fleet.lines(file.read_text())]

    def test_shards(self):
        """Of all shards it is the report of the whole: but for the order of exports, which is
        that of their first connections, of findings of the same moment, and for the memory."""
        many = self.here / "many.pcap"
        many.write_bytes(fleet.many_servers())

        def settled(objects):
            numbers = {}
            for o in objects:
                o.pop("memory", None)
                o.pop("number", None)
            order = {"capture": 0, "connection": 1, "export": 2, "finding": 3, "summary": 4}
            objects = [json.dumps(o, sort_keys=True) for o in sorted(
                objects, key=lambda o: (o.get("capture", 0), order[o["type"]], o.get("time", ""),
                                        json.dumps(o, sort_keys=True)))]
            return numbers, objects

        for captures in ([many], [LIAR], fleet.captures()):
            status, out, _ = fleet.nbdaudit("-f", "json", *captures)
            whole = fleet.lines(out)
            for count in (2, 5)[:3 - min(len(captures), 2)]:
                files = self.shards(count, *captures)
                random.Random(count).shuffle(files)
                merged, objects, error = self.merge(*files)
                self.assertEqual(merged, status, error)
                if len(captures) == 1:
                    self.assertEqual([o.get("id") for o in whole if o["type"] == "connection"],
                                     [o.get("id") for o in objects if o["type"] == "connection"])
                    self.assertEqual([o["number"] for o in objects if o["type"] == "finding"],
                                     [o["number"] for o in whole if o["type"] == "finding"])
                self.assertEqual(settled(copy.deepcopy(whole)), settled(objects))

    def test_missing_and_double(self):
        many = self.here / "many.pcap"
        many.write_bytes(fleet.mixed([fleet.moved(HONEST, "10.0.%d.1" % n, "10.9.0.1")
                                      for n in range(6)]))
        one, two, three = self.shards(3, many)
        status, objects, error = self.merge(one, two, three)
        self.assertEqual((status, objects[-1]["verdict"]), (0, "clean"), error)

        def wrong(words, *files, verdict="unaudited"):
            status, objects, error = self.merge(*files)
            self.assertEqual(status, 2)
            self.assertIn(words, error)
            self.assertEqual(objects[-1]["verdict"], verdict)
            self.assertIn(words, objects[0]["error"])
            self.assertFalse(objects[0]["complete"])
            for form in (("-f", "text"), ("-f", "sarif"), ("-f", "junit"), ("--summary",)):
                status, out, _ = fleet.nbdaudit(*form, "--merge", *files)
                self.assertEqual(status, 2)
                self.assertIn(words, " ".join(out.split()))
            return objects

        wrong("shard 2 of 3 is missing", one, three)
        wrong("shards 1, 3 of 3 are missing", two)
        wrong("shard 2 of 3 is there twice", one, two, three, two)
        # as a whole, too
        whole = self.report("whole.json", many)
        status, objects, error = self.merge(one, two, three, whole)
        self.assertEqual(status, 2)
        self.assertIn("in another number of shards", error)
        status, objects, error = self.merge(whole, whole)
        self.assertEqual(status, 2)
        self.assertIn("its report is there twice", error)
        self.assertEqual(objects[-1]["verdict"], "unaudited")
        self.assertEqual(objects[-1]["connections"],
                         fleet.lines(whole.read_text())[-1]["connections"])
        # Of another capture that had the same name.
        many.write_bytes(fleet.mixed([fleet.moved(HONEST, "10.0.%d.1" % n, "10.9.0.1")
                                      for n in range(5)]))
        other = self.report("other.json", "--shard=2/3", many)
        status, objects, error = self.merge(one, other, three)
        self.assertEqual(status, 2)
        self.assertIn("shard 2 of 3 is missing", error)
        self.assertIn("shards 1, 3 of 3 are missing", error)
        summaries = [o for o in objects if o["type"] == "summary"]
        self.assertEqual([o["verdict"] for o in summaries], ["unaudited", "unaudited"])
        # Many are missing: some are named.
        lone = self.report("lone.json", "--shard=20/200", many)
        wrong("shards 1, 2, 3, 4, 5, 6, 7, 8 and 191 more of 200 are missing", lone)
        # What was found stays found.
        liar = self.shards(2, LIAR)
        guilty = [f for f in liar if fleet.lines(f.read_text())[-1]["connections"]]
        wrong("of 2 is missing", *guilty, verdict="violations")

    def test_not_whole(self):
        """A job that was killed leaves half a report."""
        one, two = self.shards(2, LIAR)
        for file in (one, two):
            kept = file.read_text()
            for cut in (0, 1, len(kept) // 3, len(kept) - 20):
                file.write_text(kept[:cut])
                status, objects, error = self.merge(one, two)
                self.assertEqual(status, 2)
                self.assertIn("cannot be used", error)
                self.assertNotIn("clean", [o.get("verdict") for o in objects])
            file.write_text(kept)
        self.assertEqual(self.merge(one, two)[0], 1)
        for bad in (self.here / "none.json", self.here, LIAR, "/dev/null"):
            status, objects, error = self.merge(one, bad, two)
            self.assertEqual(status, 2)
            self.assertIn("cannot be used", error)
            self.assertEqual([o["verdict"] for o in objects if o["type"] == "summary"],
                             ["violations", "unaudited"])

    def test_options(self):
        summary = self.report("summary.json", "--summary", LIAR)
        status, out, error = fleet.nbdaudit("--merge", summary)
        self.assertEqual((status, out), (2, ""))
        self.assertIn("--summary", error)
        self.assertEqual(fleet.nbdaudit("--merge", "-q", summary)[0], 1)
        status, out, _ = fleet.nbdaudit("--merge", "--summary", summary)
        # which frame is the first is not in a summary
        self.assertEqual((status, out), (1, fleet.nbdaudit("--summary", LIAR)[1].replace(
            ", first in frame 40", "")))
        cut = self.report("cut.json", "--severity=violation", LIAR)
        status, objects, error = self.merge(cut)
        self.assertEqual(status, 1, error)
        self.assertEqual(objects[-1], fleet.lines(cut.read_text())[-1])
        # An earlier report beside the merged one.
        before = self.report("before.json", HONEST, LIAR)
        files = [self.report("a.json", HONEST), self.report("b.json", LIAR)]
        status, objects, error = self.merge("--baseline=%s" % before, *files)
        self.assertEqual(status, 0, error)
        self.assertEqual({o["baseline"] for o in objects if o["type"] == "finding"}, {"known"})
        status, out, error = fleet.nbdaudit("--merge", "--baseline=%s" % before, files[0])
        self.assertEqual((status, out), (2, ""))
        # Messages are not merged, which is said.
        said = self.report("said.json", "-m", LIAR)
        status, objects, error = self.merge(said)
        self.assertEqual(status, 1)
        self.assertIn("lines of messages", error)
        for bad in (("-i", "lo"), ("-m",), ("--why=3",), ("--shard=1/2",),
                    ("--exclusive",), ("--port=5",), ("--extract=1", "-w", self.here / "x")):
            with self.subTest(bad):
                status, out, error = fleet.nbdaudit("--merge", *bad, *files)
                self.assertEqual((status, out), (2, ""))
                self.assertNotEqual(error, "")
        self.assertEqual(fleet.nbdaudit("--merge")[0], 2)
        # The output is not one of the reports.
        kept = files[1].read_text()
        self.assertEqual(fleet.nbdaudit("--merge", "-o", files[1], *files)[0], 2)
        self.assertEqual(files[1].read_text(), kept)

    def test_hostile(self):
        """Reports are anybody's: whatever they hold, the program ends as it should, and what
        it prints is no command to a terminal."""
        chance = random.Random(16)
        sources = [fleet.lines(self.report("source.json", c).read_text())
                   for c in (LIAR, ERRORS, fleet.SAMPLES / "oldstyle.pcap",
                             fleet.SAMPLES / "starttls.pcap")]
        files = []
        for n in range(300):
            objects = list(chance.choice(sources))
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(objects))
                objects[at] = mutated(objects[at], chance)
            objects[0] = dict(objects[0], file="%d.pcap" % n) if isinstance(objects[0], dict) else 1
            file = self.here / ("hostile-%d.json" % n)
            file.write_text("".join(json.dumps(o, ensure_ascii=n % 2 == 0) + "\n" for o in objects))
            files.append(file)
        for _ in range(100):
            status, out, error = fleet.nbdaudit("--merge", *files)
            self.assertEqual(status, 2, error[:2000])
            if out:
                break
            # It lacks findings by now, as if it had been written with --summary.
            files.remove(pathlib.Path(error.split(": ")[1]))
        self.assertGreater(len(files), 200)
        for form in ("text", "json", "junit", "sarif", "html"):
            status, out, error = fleet.nbdaudit("-f", form, "--merge", *files)
            self.assertEqual(status, 2, error[:2000])
            self.assertGreater(len(out), 10000)
            self.assertEqual([line for line in (out + error).splitlines() if "\x1b" in line], [])
            if form == "text":
                self.assertEqual([line for line in out.splitlines() if "\u202e" in line], [])

    def test_terminal(self):
        objects = fleet.lines(self.report("a.json", LIAR).read_text())
        for o in objects:
            if o["type"] == "finding":
                o["message"] = "red \u001b[31m, back\\slash, \u202eleft"
        file = self.here / "b.json"
        file.write_text("".join(json.dumps(o) + "\n" for o in objects))
        _, out, _ = fleet.nbdaudit("--merge", file)
        self.assertIn("red \\x1b[31m, back\\slash, ", " ".join(out.split()))
        self.assertNotIn("\x1b", out)
        self.assertNotIn("\u202e", out)


if __name__ == "__main__":
    unittest.main()
