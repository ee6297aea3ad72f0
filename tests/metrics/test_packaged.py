# SPDX-License-Identifier: GPL-2.0-or-later
"""What is delivered beside the programs: alert rules, the dashboard and the service. That
they speak of metrics that there are, and that the tools which read them can."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from openmetrics import Metrics

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
RULES = ROOT / "packaging" / "prometheus" / "nbdscope.rules.yml"
BOARD = ROOT / "packaging" / "grafana" / "nbdscope.json"
SERVICE = ROOT / "packaging" / "systemd" / "nbdaudit@.service"


def expressions(board):
    """Every query of the dashboard, with Grafana's variables filled in."""
    found = [(panel["title"], target["expr"]) for panel in board["panels"]
             for target in panel.get("targets", [])]
    found += [(note["name"], note["expr"]) for note in board["annotations"]["list"]]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            match = re.match(r"label_values\((.*), (\w+)\)$", variable["query"]["query"])
            found.append((variable["name"], "group by (%s) (%s)" % (match[2], match[1])))
    return [(title, re.sub(r"\$__\w+", "5m", re.sub(r"\$(job|instance|command)\b", ".*", e)))
            for title, e in found]


class Packaged(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-packaged-"))
        self.addCleanup(shutil.rmtree, self.work)

    def tool(self, name, *arguments, text=None):
        run = subprocess.run([name, *arguments], input=text, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, cwd=self.work, timeout=120)
        self.assertEqual(run.returncode, 0, run.stdout)
        return run.stdout

    def need(self, program):
        if shutil.which(program):
            return
        if os.environ.get("NBDSCOPE_REQUIRE_PEERS"):
            self.fail("not installed: " + program)
        self.skipTest("not installed: " + program)

    def metrics(self):
        """Plain text, with findings in it."""
        file = self.work / "a.prom"
        subprocess.run([BIN / "nbdaudit", "-q", "--metrics-file=%s" % file,
                        ROOT / "samples" / "multi-conn-unsafe.pcap"], check=False)
        return file.read_text()

    def known(self):
        text = self.metrics()
        labels = {}
        for name, pairs in Metrics(text, plain=True).samples:
            labels.setdefault(name, set()).update(dict(pairs))
        return labels

    def check_expression(self, expression, labels):
        """Of each selector the metric and its labels are there."""
        names = set(re.findall(r"\bnbdscope_\w+", expression))
        self.assertLessEqual(names, set(labels), expression)
        for name, selector in re.findall(r"\b(nbdscope_\w+)\{([^}]*)\}", expression):
            used = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector)) - {"job", "instance"}
            self.assertLessEqual(used, labels[name], expression)

    def test_rules(self):
        import yaml
        labels = self.known()
        rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"]
                 for rule in group["rules"]]
        self.assertEqual(len({rule["alert"] for rule in rules}), len(rules))
        for rule in rules:
            self.check_expression(rule["expr"], labels)
            self.assertEqual(set(rule["annotations"]), {"summary", "description"})
            self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"))
        # and each is tried
        tried = (HERE / "rules.test.yml").read_text()
        for rule in rules:
            self.assertRegex(tried, r"alertname: %s\n +exp_alerts:" % rule["alert"])

    def test_promtool(self):
        self.need("promtool")
        for file in (RULES, HERE / "rules.test.yml"):
            shutil.copy(file, self.work)
        self.assertIn("SUCCESS", self.tool("promtool", "check", "rules", RULES.name))
        self.assertIn("SUCCESS", self.tool("promtool", "test", "rules", "rules.test.yml"))
        self.assertEqual(self.tool("promtool", "check", "metrics", text=self.metrics()), "")

    def test_dashboard(self):
        board = json.loads(BOARD.read_text())
        labels = self.known()
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(set(ids)), len(ids))
        places = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24)
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & places, panel["title"])
            places |= cells
            if panel["type"] != "row":
                self.assertTrue(panel["targets"], panel["title"])
        shown = set()
        for title, expression in expressions(board):
            with self.subTest(panel=title):
                self.check_expression(expression, labels)
                shown.update(re.findall(r"\bnbdscope_\w+", expression))
        self.assertGreater(len(shown), 20)

    def test_service(self):
        self.need("systemd-analyze")
        # The program is not where systemd looks for it, nor the manual page.
        unit = self.work / "nbdaudit@lo.service"
        unit.write_text("".join(
            line.replace("ExecStart=nbdaudit", "ExecStart=%s" % (BIN / "nbdaudit"))
            for line in SERVICE.read_text().splitlines(keepends=True)
            if not line.startswith("Documentation=")))
        self.assertEqual(self.tool("systemd-analyze", "verify", unit), "")
        said = self.tool("systemd-analyze", "security", "--offline=true", "--threshold=30", unit)
        self.assertIn("Overall exposure level", said)
        # its options are some that there are
        options = re.search(r"^Environment=\"OPTIONS=(.*)\"$", SERVICE.read_text(), re.M)[1]
        said = self.tool(BIN / "nbdaudit", "--help")
        for option in options.split():
            self.assertIn(option.partition("=")[0], said)


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
