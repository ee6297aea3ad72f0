# SPDX-License-Identifier: GPL-2.0-or-later
"""--metrics-file of captures: the same numbers as the report in JSON, a file that is
replaced as a whole, and what is not overwritten."""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from openmetrics import Metrics

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SAMPLES = ROOT / "samples"
NAMED = {"NBD_EPERM", "NBD_EIO", "NBD_ENOMEM", "NBD_EINVAL", "NBD_ENOSPC", "NBD_EOVERFLOW",
         "NBD_ENOTSUP", "NBD_ESHUTDOWN"}


class File(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-metrics-"))
        self.addCleanup(shutil.rmtree, self.work)
        self.file = self.work / "nbdscope.prom"

    def run_program(self, *arguments):
        return subprocess.run([BIN / "nbdaudit", *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              cwd=self.work, timeout=120)

    def audit(self, *captures, options=()):
        run = self.run_program("--format=json", "--fail-on=never", "--allow-unaudited",
                               "--metrics-file=%s" % self.file, *options, *captures)
        self.assertEqual((run.stderr, run.returncode), ("", 0))
        self.assertEqual(os.listdir(self.work), [self.file.name])
        return (list(map(json.loads, run.stdout.splitlines())),
                Metrics(self.file.read_text(), plain=True))

    def same(self, report, metrics):
        kinds = collections.defaultdict(list)
        for item in report:
            kinds[item["type"]].append(item)
        sums = collections.Counter
        commands, replies, nbytes, errors, rules, levels, why = (sums() for _ in range(7))
        for c in kinds["connection"]:
            for name, s in c["commands"].items():
                name = name if name.startswith("NBD_CMD_") else "other"
                commands[name] += s["count"]
                nbytes[name] += s["bytes"]
                for error, n in s.get("errors", {}).items():
                    errors[name, error if error in NAMED else "other"] += n
        for s in kinds["summary"]:
            rules.update(s["rules"])
            levels.update(s["findings"])
            why.update(s["unchecked"])

        def plain(counter):
            return {key: value for key, value in counter.items() if value}

        self.assertEqual(metrics.by("nbdscope_requests_total", "command"), plain(commands))
        self.assertEqual(metrics.by("nbdscope_requested_bytes_total", "command"), plain(nbytes))
        self.assertEqual(metrics.by("nbdscope_errors_total", "command", "error"), plain(errors))
        self.assertEqual(metrics.by("nbdscope_findings_total", "level"), plain(levels))
        found = sums()
        for (rule, _), n in metrics.by("nbdscope_rule_findings_total", "rule", "level").items():
            found[rule] += n
        self.assertEqual(found, rules)
        self.assertEqual(metrics.by("nbdscope_unjudged_bytes_total", "reason"), plain(why))
        self.assertEqual(metrics.get("nbdscope_judged_bytes_total"),
                         sum(s["judged"]["bytes"] for s in kinds["summary"]))
        self.assertEqual(metrics.get("nbdscope_read_bytes_total"),
                         sum(s["judged"]["of_bytes"] for s in kinds["summary"]))
        self.assertEqual(metrics.get("nbdscope_connections_total"), len(kinds["connection"]))
        self.assertEqual(metrics.get("nbdscope_requests_unanswered_total"),
                         sum(c["unanswered"] for c in kinds["connection"]))
        # the frames of a capture are known at its end
        self.assertEqual(metrics.get("nbdscope_packets_total"),
                         sum(c.get("frames", 0) for c in kinds["capture"] + kinds["capture-end"]))
        self.assertEqual(metrics.get("nbdscope_running"), 0)
        for gauge in ("nbdscope_connections_open", "nbdscope_requests_in_flight"):
            self.assertEqual(metrics.get(gauge), 0)

    def test_samples(self):
        for sample in sorted(SAMPLES.glob("*.pcap*")):
            with self.subTest(sample=sample.name):
                self.same(*self.audit(sample))

    def test_several(self):
        """All added up."""
        captures = sorted(SAMPLES.glob("multi-conn*.pcap"))
        self.assertGreater(len(captures), 2)
        self.same(*self.audit(*captures))

    def test_forgotten(self):
        """What is forgotten stays counted."""
        capture = SAMPLES / "file-system.pcap"
        if not capture.exists():
            capture = next(SAMPLES.glob("file-system.pcap*"))
        _, whole = self.audit(capture)
        _, short = self.audit(capture, options=["--memory=1M"])
        for name in ("nbdscope_requests_total", "nbdscope_replies_total",
                     "nbdscope_data_bytes_total"):
            self.assertEqual(short.by(name, "command"), whole.by(name, "command"))
        self.assertLess(short.get("nbdscope_state_memory_limit_bytes"), 1 << 20)

    def test_kept(self):
        """Only a file of metrics is replaced, or any with --overwrite; no input ever."""
        capture = self.work / "a.pcap"
        shutil.copy(SAMPLES / "multi-conn.pcap", capture)
        before = capture.read_bytes()
        for options in ([], ["--overwrite"]):
            run = self.run_program("-q", *options, "--metrics-file=%s" % capture, capture)
            self.assertEqual(run.returncode, 2)
            self.assertIn("would overwrite the capture", run.stderr)
            self.assertEqual(capture.read_bytes(), before)
        self.file.write_text("precious\n")
        run = self.run_program("-q", "--metrics-file=%s" % self.file, capture)
        self.assertEqual(run.returncode, 2)
        self.assertIn("no file of metrics", run.stderr)
        self.assertEqual(self.file.read_text(), "precious\n")
        for _ in range(2):
            run = self.run_program("-q", "--overwrite", "--metrics-file=%s" % self.file, capture)
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            Metrics(self.file.read_text(), plain=True)
        (self.work / "link.prom").symlink_to(capture)
        run = self.run_program("-q", "--overwrite", "--metrics-file=link.prom", capture)
        self.assertEqual(run.returncode, 2)
        self.assertEqual(capture.read_bytes(), before)
        for name, words in (("no/such/a.prom", "No such file"), ("/", "no file's name"),
                            (str(self.work), "no file")):
            run = self.run_program("-q", "--metrics-file=" + name, capture)
            self.assertEqual(run.returncode, 2)
            self.assertIn(words, run.stderr)
        self.assertEqual(sorted(os.listdir(self.work)), ["a.pcap", "link.prom", "nbdscope.prom"])

    def test_options(self):
        capture = SAMPLES / "multi-conn.pcap"
        for options, words in (
                (["--metrics=:0", capture], "needs --interface"),
                (["--metrics-interval=5", capture], "needs --metrics-file"),
                (["--metrics-file=a", "--metrics-interval=0", capture], "number of seconds"),
                (["--metrics-file=a", "--metrics-interval=1x", capture], "number of seconds"),
                (["--metrics=1.2.3.4.5", "-i", "lo"], "not ADDRESS:PORT"),
                (["--metrics=::1", "-i", "lo"], "not ADDRESS:PORT"),
                (["--metrics=:65536", "-i", "lo"], "not ADDRESS:PORT"),
                (["--metrics=192.0.2.77:0", "-i", "lo"], "cannot listen")):
            run = self.run_program("-q", *options)
            self.assertEqual(run.returncode, 2, options)
            self.assertIn(words, run.stderr)

    def test_documented(self):
        """Every metric, its type and its labels, as docs/metrics.md says."""
        _, metrics = self.audit(SAMPLES / "multi-conn-unsafe.pcap")
        written = {}
        for line in (ROOT / "docs" / "metrics.md").read_text().splitlines():
            row = [cell.strip() for cell in line.strip("|").split(" | ")]
            if line.startswith("| `nbdscope_"):
                name = row[0].strip("` ")
                labels = set(re.findall(r"`(\w+)`", row[2])) - {"le"}
                written[name] = (row[1], labels)
        said = {}
        for name, labels in metrics.samples:
            kind = metrics.types[metrics.family[name]]
            if kind == "histogram":
                name = metrics.family[name]
            if name.endswith("_info"):
                kind = "info"
            said[name] = (kind, {label for label, _ in labels} - {"le"})
        self.assertEqual(said, written)


if __name__ == "__main__":
    unittest.main(verbosity=2)
