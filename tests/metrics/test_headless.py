# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdtop with metrics: without its screen, and beside it; the same numbers as nbdaudit's."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "live"))
sys.path.insert(0, str(HERE.parent / "tui"))
import peers  # noqa: E402  it ends the program where live tests cannot be run
import client  # noqa: E402
from openmetrics import Metrics  # noqa: E402
from terminal import Terminal  # noqa: E402

SAMPLES = peers.ROOT / "samples"


class Files(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-headless-"))
        self.addCleanup(shutil.rmtree, self.work)

    def run_program(self, program, *arguments):
        return subprocess.run([peers.BIN / program, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=120, cwd=self.work)

    def numbers(self, file):
        """Without what is the program's own."""
        found = Metrics(file.read_text(), plain=True).samples
        return {key: value for key, value in found.items()
                if not re.match("nbdscope_(build|process|state|start_time|snapshot)", key[0])}

    def test_same(self):
        for name in ("multi-conn-unsafe", "errors", "killed-server", "starttls", "file-system"):
            sample = next(SAMPLES.glob(name + ".pcap*"))
            with self.subTest(sample=sample.name):
                audit, top = self.work / "audit.prom", self.work / "top.prom"
                self.run_program("nbdaudit", "-q", "--metrics-file=%s" % audit, sample)
                run = self.run_program("nbdtop", "--metrics-file=%s" % top, sample)
                self.assertEqual((run.returncode, run.stderr), (0, ""))
                self.assertRegex(run.stdout, r"^\d+ connections? to \d+ exports?: .*\n$")
                self.assertEqual(self.numbers(top), self.numbers(audit))

    def test_options(self):
        sample = SAMPLES / "multi-conn.pcap"
        for options, words in ((["--metrics=:0", sample], "needs --interface or --listen"),
                               (["--metrics-interval=1", sample], "needs --metrics-file"),
                               (["--metrics-file=%s" % sample, sample], "overwrite the capture"),
                               (["--headless", "no-such-file"], "No such file")):
            run = self.run_program("nbdtop", *options)
            self.assertEqual(run.returncode, 2)
            self.assertIn(words, run.stderr)
        run = self.run_program("nbdtop", "--headless", sample)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        cut = self.work / "cut.pcap"
        cut.write_bytes(sample.read_bytes()[:-7])
        run = self.run_program("nbdtop", "--headless", cut)
        self.assertEqual(run.returncode, 2)
        self.assertIn("nbdtop: ", run.stderr)
        run = self.run_program("nbdtop", sample)
        self.assertEqual(run.returncode, 2)
        self.assertIn("no terminal", run.stderr)


class Live(peers.LiveTest):
    @staticmethod
    def metrics(where):
        with urllib.request.urlopen("http://%s/metrics" % where, timeout=peers.SECONDS) as answer:
            return Metrics(answer.read().decode())

    def traffic(self):
        self.nbdkit("memory", "4M")
        h = client.connect(self.uri)
        h.pwrite(bytes(512), 0)
        h.flush()
        h.shutdown()

    def wait_for_write(self, where):
        peers.wait_until(lambda: self.metrics(where).by(
            "nbdscope_replies_total", "command").get("NBD_CMD_WRITE") == 1, "the write")

    def test_headless(self):
        errors, output = self.work / "errors", self.work / "output"
        process = self.spawn([peers.BIN / "nbdtop", "--headless", "--metrics=:0", "-i", "lo",
                              "tcp port %d" % self.port], stdout=output, stderr=errors)
        peers.wait_until(lambda: "Metrics:" in errors.read_text() or process.poll() is not None,
                         "nbdtop to serve")
        where = re.search("http://([^/]*)/metrics", errors.read_text())[1]
        self.traffic()
        self.wait_for_write(where)
        m = self.metrics(where)
        self.assertEqual(m.get("nbdscope_running"), 1)
        self.assertEqual(m.get("nbdscope_build_info", program="nbdtop",
                               version=self.run_command(peers.BIN / "nbdtop", "-V").split()[-1]), 1)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(peers.SECONDS), 0)
        self.assertIn("1 connection to 1 export", output.read_text())
        self.assertEqual(len(errors.read_text().splitlines()), 1)

    def test_screen(self):
        """Both at once."""
        port = self.free_port()
        file = self.work / "top.prom"
        with Terminal(["--metrics=:%d" % port, "--metrics-file=%s" % file,
                       "--metrics-interval=1", "-i", "lo", "tcp port %d" % self.port]) as t:
            t.wait("LIVE")
            self.traffic()
            self.wait_for_write("127.0.0.1:%d" % port)
            self.assertEqual(t.quit(), 0)
        m = Metrics(file.read_text(), plain=True)
        self.assertEqual(m.get("nbdscope_running"), 0)
        self.assertEqual(m.by("nbdscope_connections_ended_total", "end"), {"disconnect": 1})


if __name__ == "__main__":
    unittest.main(verbosity=2)
