# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers to be probed, and what nbdaudit --probe says of them, for the tests beside this."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
SECONDS = 60

os.environ["PATH"] += ":/usr/sbin:/sbin"


class Probe:
    """What it said, in JSON."""

    def __init__(self, done):
        self.status, self.errors = done.returncode, done.stderr
        self.objects = [json.loads(line) for line in done.stdout.splitlines()]
        kinds = collections.defaultdict(list)
        for item in self.objects:
            kinds[item["type"]].append(item)
        self.kinds = kinds
        self.histories = {item["history"]: item for item in kinds["probe"]}
        self.probed = kinds["probed"][0] if kinds["probed"] else None
        self.summary = kinds["summary"][0] if kinds["summary"] else None

    def outcomes(self, *which):
        return {name for name, item in self.histories.items() if item["outcome"] in which}


class ProbeTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="probe-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def need(self, *programs):
        for program in programs:
            if not shutil.which(program):
                if os.environ.get("NBDSCOPE_REQUIRE_PEERS"):
                    self.fail("not installed: " + program)
                self.skipTest("not installed: " + program)

    def start(self, *command, until):
        server = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(self.stop, server)
        end = time.monotonic() + SECONDS
        while not until():
            if server.poll() is not None or time.monotonic() > end:
                self.fail("%s: %s" % (command[0], server.stderr.read().decode()))
            time.sleep(0.02)
        return server

    def stop(self, server):
        server.kill()
        server.communicate()

    def wrong(self, mode, size=4 << 20):
        """A server of wrong_server.py; its URI."""
        path = self.folder / (mode + ".sock")
        self.start(sys.executable, HERE / "wrong_server.py", path, mode, size,
                   until=path.exists)
        return "nbd+unix:///?socket=%s" % path

    def run_nbdaudit(self, *options, timeout=SECONDS):
        return subprocess.run([str(BIN / "nbdaudit"), *map(str, options)], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout, check=False)

    def probe(self, uri, *options):
        probe = Probe(self.run_nbdaudit("--probe=" + uri, "--scratch", "--format=json",
                                        "--probe-rounds=1", *options))
        self.assertNotEqual(probe.status, 99, probe.errors)  # a sanitizer's
        return probe

    def assert_honest(self, probe, *besides):
        """Nothing is wrong, and what was asked was judged."""
        told = "\n".join([probe.errors] + [item["message"] for item in probe.kinds["finding"]])
        self.assertEqual(probe.status, 0, told)
        self.assertEqual(probe.outcomes("broken", "suspect", "failed", "unjudged"), set(), told)
        self.assertEqual(probe.summary["findings"]["violation"], 0, told)
        self.assertGreaterEqual(len(probe.outcomes("kept")), 20 - len(besides))


def main():
    unittest.main(verbosity=2)
