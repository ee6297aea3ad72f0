# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Prometheus scrapes nbdaudit on loopback while a server breaks its promise there:
the alert is raised. And every query of the dashboard is one that it can answer."""

import json
import pathlib
import re
import shutil
import sys
import time
import unittest
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "live"))
import peers  # noqa: E402  it ends the program where live tests cannot be run
import client  # noqa: E402
from test_packaged import BOARD, RULES, expressions  # noqa: E402

if not shutil.which("prometheus"):
    print("not installed: prometheus")
    sys.exit(1 if peers.os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 77)

CONFIGURATION = """
global:
  scrape_interval: 500ms
  scrape_timeout: 400ms
  evaluation_interval: 500ms
rule_files: [%s]
scrape_configs:
  - job_name: nbd
    static_configs:
      - targets: ['%s']
"""


class Prometheus(peers.LiveTest):
    def ask(self, path, **arguments):
        url = "http://127.0.0.1:%d/api/v1/%s?%s" % (self.prometheus, path,
                                                   urllib.parse.urlencode(arguments))
        with urllib.request.urlopen(url, timeout=10) as answer:
            said = json.load(answer)
        self.assertEqual(said["status"], "success")
        return said["data"]

    def answers(self):
        try:
            return self.ask("targets")
        except OSError:
            return False

    def value(self, query):
        """Of a query with one answer; None: there is none."""
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if result else None

    def start(self):
        errors = self.work / "errors"
        self.spawn([peers.BIN / "nbdaudit", "--metrics=:0", "-i", "lo", "tcp port %d" % self.port],
                   stderr=errors)
        peers.wait_until(lambda: "Metrics:" in errors.read_text(), "nbdaudit to serve")
        where = re.search("http://([^/]*)/metrics", errors.read_text())[1]
        self.prometheus = self.free_port()
        configuration = self.work / "prometheus.yml"
        configuration.write_text(CONFIGURATION % (RULES, where))
        self.spawn(["prometheus", "--config.file=%s" % configuration,
                    "--storage.tsdb.path=%s" % (self.work / "data"),
                    "--web.listen-address=127.0.0.1:%d" % self.prometheus],
                   stderr=self.work / "prometheus.log")
        peers.wait_until(self.answers, "prometheus to answer")

    def lie(self):
        """A read that misses what was flushed."""
        a, b = client.connect(self.uri), client.connect(self.uri)
        b.pread(1024, 0)
        a.pwrite(client.pattern("missed", 1024), 0)
        a.flush()
        self.assertEqual(b.pread(1024, 0), bytes(1024))
        a.shutdown()
        b.shutdown()

    def alerts(self):
        return {alert["labels"]["alertname"]: alert for alert in self.ask("alerts")["alerts"]
                if alert["state"] == "firing"}

    def test_alert(self):
        self.start()
        self.nbdkit("--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                    "multi-conn-mode=unsafe")
        peers.wait_until(lambda: self.value("nbdscope_running"), "the first scrape")
        self.assertEqual(self.ask("targets")["activeTargets"][0]["health"], "up")
        # Two scrapes, and nothing is wrong.
        time.sleep(1.2)
        self.assertEqual(self.alerts(), {})
        self.lie()
        peers.wait_until(lambda: "NbdViolation" in self.alerts(), "the alert")
        alert = self.alerts()["NbdViolation"]
        self.assertEqual(alert["labels"]["rule"], "stale-read-after-flush")
        self.assertEqual(alert["labels"]["severity"], "critical")
        self.assertIn("stale-read-after-flush", alert["annotations"]["summary"])
        self.assertNotIn("NbdPacketsLost", self.alerts())
        self.assertEqual(self.value('nbdscope_findings_total{level="violation"}'), 1)
        # It reads OpenMetrics, with what only that has.
        for metric, kind, unit in (("nbdscope_read_bytes", "counter", "bytes"),
                                   ("nbdscope_build", "info", ""),
                                   ("nbdscope_command_duration_seconds", "histogram", "seconds")):
            (said,) = self.ask("targets/metadata", metric=metric)
            self.assertEqual((said["type"], said["unit"]), (kind, unit))
        for title, expression in expressions(json.loads(BOARD.read_text())):
            with self.subTest(panel=title):
                self.ask("query", query=expression)
        self.assertEqual(self.value('sum(nbdscope_requests_total{command="NBD_CMD_FLUSH"})'), 1)
        self.assertGreater(
            self.value('histogram_quantile(0.5, nbdscope_command_duration_seconds_bucket'
                       '{command="NBD_CMD_READ"})'), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
