# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the relay have in common: real servers and clients on both sides of
`nbdaudit --listen --connect`, and plain sockets where a test wants to see each byte."""

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
MAKE = ROOT / "samples" / "make"
sys.path.insert(0, str(MAKE))

SECONDS = 60  # the longest that anything is waited for


def require(*programs):
    """Ends the program as a skip if one of these is not installed."""
    absent = [program for program in programs if not shutil.which(program)]
    if absent:
        print("not installed: " + ", ".join(absent))
        sys.exit(1 if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 77)


def wait_until(condition, what):
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("timed out waiting for " + what)
        time.sleep(0.01)


class Relay:
    """A running `nbdaudit --listen --connect`."""

    def __init__(self, test, listen, connect, *options, out=None):
        self.test, self.listen = test, listen
        self.errors = test.work / "errors"
        self.report_file = out or test.work / "report"
        with open(self.errors, "wb") as errors, open(self.report_file, "wb") as report:
            self.process = subprocess.Popen(
                [BIN / "nbdaudit", "--listen=" + listen, "--connect=" + connect, "--format=json",
                 *map(str, options)], cwd=test.work, stdin=subprocess.DEVNULL, stdout=report,
                stderr=errors)
        test.running.append(self.process)
        wait_until(self.listens, "the relay: " + self.errors.read_text())

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError("the relay ended: " + self.errors.read_text())
        if self.listen.startswith("unix:"):
            with open("/proc/net/unix") as file:  # the flag of those that listen, and the path
                return any(line.split()[3] == "00010000" and line.split()[7:] == [self.listen[5:]]
                           for line in file)
        port = ":%04X" % int(self.listen.rpartition(":")[2])
        with open("/proc/net/tcp") as file:
            return any(line.split()[1].endswith(port) and line.split()[3] == "0A"
                       for line in file)

    def memory(self):
        """Its resident memory, bytes."""
        with open("/proc/%d/statm" % self.process.pid) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def stop(self, number=signal.SIGTERM, status=(0,)):
        self.process.send_signal(number)
        self.process.wait(SECONDS)
        said = self.errors.read_text()
        if self.process.returncode not in status:
            raise AssertionError("status %d\n%s\n%s" % (
                self.process.returncode, said[-3000:], self.report_file.read_text()[-3000:]))
        return Report(self.report_file.read_text(), said)


class Report:
    def __init__(self, text, said):
        self.said = said
        self.objects = [json.loads(line) for line in text.splitlines()]
        kinds = collections.defaultdict(list)
        for item in self.objects:
            kinds[item["type"]].append(item)
        (self.capture,) = kinds["capture"]
        for end in kinds["capture-end"]:
            self.capture.update(end)
        (self.summary,) = kinds["summary"]
        self.connections = kinds["connection"]
        self.findings = kinds["finding"]

    def found(self, severity):
        return sorted(finding["rule"] for finding in self.findings
                      if finding["severity"] == severity)

    def counts(self):
        """Requests and bytes by command."""
        total = collections.Counter()
        for connection in self.connections:
            for command, said in connection["commands"].items():
                total[command] += said["count"]
                total[command, "bytes"] += said.get("bytes", 0)
        return total


class RelayTest(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-relay-"))
        self.addCleanup(shutil.rmtree, self.work, True)
        self.running = []
        self.addCleanup(self.stop_all)

    def stop_all(self):
        for process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def spawn(self, *command, log="server.log"):
        with open(self.work / log, "wb") as errors:
            process = subprocess.Popen(list(map(str, command)), cwd=self.work,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=errors)
        self.running.append(process)
        return process

    def run_command(self, *command):
        run = subprocess.run(list(map(str, command)), cwd=self.work, timeout=4 * SECONDS,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 0, "%s\n%s" % (command, run.stderr[-3000:]))
        return run.stdout

    def nbdkit(self, *arguments):
        """On the Unix socket `server`."""
        self.spawn("nbdkit", "-f", "-U", "server", "-P", "ready", *arguments)
        wait_until((self.work / "ready").exists, "nbdkit")

    def relay(self, *options, listen=None, connect="unix:server", **more):
        return Relay(self, listen or "unix:%s" % (self.work / "relay"), connect, *options, **more)

    def uri(self, name="relay"):
        return "nbd+unix:///?socket=%s" % (self.work / name)

    def random_file(self, name, mib):
        path = self.work / name
        path.write_bytes(random.Random(name).randbytes(mib << 20))
        return path

    def audit(self, path, status=(0,)):
        run = subprocess.run([BIN / "nbdaudit", "--format=json", path], cwd=self.work,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, timeout=4 * SECONDS)
        self.assertIn(run.returncode, status, run.stderr)
        return Report(run.stdout, run.stderr)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Plain(RelayTest):
    """Sockets of the test's own on both sides."""

    def pair(self, kind, *options):
        """The relay, and a function that gives the two ends of a new connection."""
        if kind == "unix":
            server = socket.socket(socket.AF_UNIX)
            server.bind(str(self.work / "server"))
            relay = self.relay(*options)
            where = str(self.work / "relay")
        else:
            server = socket.socket()
            server.bind(("127.0.0.1", 0))
            port = free_port()
            relay = self.relay(*options, listen="127.0.0.1:%d" % port,
                               connect="127.0.0.1:%d" % server.getsockname()[1])
            where = ("127.0.0.1", port)
        server.listen(64)
        self.server = server
        server.settimeout(SECONDS)
        self.addCleanup(server.close)

        def connection():
            client = socket.socket(server.family)
            client.settimeout(SECONDS)
            client.connect(where)
            ours, _ = server.accept()
            ours.settimeout(SECONDS)
            self.addCleanup(client.close)
            self.addCleanup(ours.close)
            return client, ours

        return relay, connection


def receive_all(sock):
    """All until its end."""
    parts = []
    while True:
        data = sock.recv(1 << 20)
        if not data:
            return b"".join(parts)
        parts.append(data)


@contextlib.contextmanager
def sending(sock, data):
    """`data` goes out while the block runs, and has gone when it ends."""
    thread = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
    thread.start()
    yield
    thread.join(SECONDS)
    assert not thread.is_alive(), "not all could be sent"
