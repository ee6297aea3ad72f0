# SPDX-License-Identifier: GPL-2.0-or-later
"""Real NBD servers and clients on loopback, captured while they talk, and
nbdaudit's report on the capture, for the live tests beside this file.

A test is a method of a subclass of LiveTest. All that it starts is stopped when
it ends. Importing this module ends the program with exit status 77, a skip, if this
machine cannot run live tests; with NBDSCOPE_REQUIRE_PEERS set a missing server or
client is a failure instead.
"""

import collections
import contextlib
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
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
MAKE = ROOT / "samples" / "make"

sys.path.insert(0, str(MAKE))
os.environ["PATH"] += ":/usr/sbin:/sbin"

# nbdinfo says what a disk holds with the help of file, and rubbish without it.
PROGRAMS = ["nbdkit", "qemu-nbd", "qemu-io", "nbd-server", "nbd-client", "nbdinfo",
            "nbdcopy", "fio", "tcpdump", "tshark", "file", "ip"]

SECONDS = 60  # the longest that anything is waited for


def wait_until(condition, what):
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("timed out waiting for " + what)
        time.sleep(0.02)


def missing():
    """Why live tests cannot be run on this machine, or None; and whether that is
    excused even when all tests are asked for."""
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    if absent:
        return "not installed: " + ", ".join(absent), False
    try:
        import nbd  # noqa: F401
    except ImportError:
        return "no nbd module for %s (python3-libnbd)" % sys.executable, False
    with subprocess.Popen(["tcpdump", "-i", "lo", "-w", os.devnull], text=True,
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as probe:
        answer = probe.stderr.readline()
        probe.terminate()
    if "listening on" not in answer:
        return "this user may not capture: " + answer.strip(), True
    return None, False


class Report:
    """What nbdaudit said of one capture with --format=json, objects by type."""

    def __init__(self, output, status):
        self.status = status
        self.objects = [json.loads(line) for line in output.splitlines()]
        kinds = collections.defaultdict(list)
        for item in self.objects:
            kinds[item["type"]].append(item)
        (self.capture,) = kinds["capture"]
        # On an interface it comes in two parts.
        for end in kinds["capture-end"]:
            self.capture.update(end)
        (self.summary,) = kinds["summary"]
        assert self.objects[-1] is self.summary, "summary is not last"
        self.connections = kinds["connection"]
        self.exports = kinds["export"]
        self.findings = kinds["finding"]
        self.messages = kinds["message"]

    def connection(self, port):
        """The one connection of the client with this port."""
        (found,) = [connection for connection in self.connections
                    if connection["client"] == "127.0.0.1:%d" % port]
        return found

    def found(self, *rules):
        return [finding for finding in self.findings if finding["rule"] in rules]

    def counts(self, connections=None):
        """Requests by command over these connections, or all of them."""
        total = collections.Counter()
        for connection in self.connections if connections is None else connections:
            for command, statistics in connection["commands"].items():
                total[command] += statistics["count"]
        return total

    def bytes(self, command):
        return sum(connection["commands"].get(command, {}).get("bytes", 0)
                   for connection in self.connections)


class Capture:
    """A running tcpdump."""

    def __init__(self, test, name):
        self.test = test
        self.path = test.work / name
        self.log = test.work / (name + ".log")
        self.process = test.spawn(
            ["tcpdump", "-i", "lo", "-s0", "-U", "-B", "65536", "-w", self.path,
             "port %d" % test.port], stderr=self.log)
        wait_until(lambda: "listening on" in self.log.read_text(), "tcpdump")

    def stop(self):
        # A datagram after the traffic: once it is in the file, so is all before
        # it. The FIN of a server that closes late is waited for a little.
        time.sleep(0.2)
        marker = b"end of capture %016x" % random.getrandbits(64)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(marker, ("127.0.0.1", self.test.port))
        wait_until(lambda: self.tail().endswith(marker), "the end of the capture")
        self.process.send_signal(signal.SIGINT)
        self.process.wait(SECONDS)
        assert "\n0 packets dropped by kernel" in self.log.read_text(), self.log.read_text()

    def tail(self):
        with open(self.path, "rb") as file:
            file.seek(max(0, os.path.getsize(self.path) - 64))
            return file.read()


class LiveTest(unittest.TestCase):
    maxDiff = 4000
    allowed = ()  # rules below a violation that an honest server may break here
    broken = ()  # rules of the protocol that are really broken here (docs/peers.md)

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="nbdscope-live-"))
        self.addCleanup(shutil.rmtree, self.work)
        self.running = []
        self.addCleanup(self.stop_all)
        self.port = self.free_port()
        self.uri = "nbd://127.0.0.1:%d" % self.port

    # Processes

    @staticmethod
    def free_port():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def spawn(self, command, stderr=None, stdout=None):
        with contextlib.ExitStack() as stack:
            files = {}
            for name, path in (("stderr", stderr), ("stdout", stdout)):
                files[name] = stack.enter_context(open(path or os.devnull, "wb"))
            process = subprocess.Popen(list(map(str, command)), cwd=self.work,
                                       stdin=subprocess.DEVNULL, **files)
        self.running.append(process)
        return process

    def stop_all(self):
        for process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def run_command(self, *command, check=True):
        """Runs a client to its end and returns its standard output."""
        run = subprocess.run(list(map(str, command)), cwd=self.work, timeout=4 * SECONDS,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        if check and run.returncode:
            raise AssertionError("%s: status %d\n%s%s" % (
                command[0], run.returncode, run.stdout[-2000:], run.stderr[-2000:]))
        return run.stdout

    # Servers, on self.port

    def ready(self, name="ready"):
        path = self.work / name
        wait_until(lambda: path.exists() and path.stat().st_size, "the server")

    def nbdkit(self, *arguments):
        process = self.spawn(["nbdkit", "-f", "-i", "127.0.0.1", "-p", self.port,
                              "-P", self.work / "ready", *arguments],
                             stderr=self.work / "nbdkit.log")
        self.ready()
        return process

    def qemu_nbd(self, *arguments):
        process = self.spawn(["qemu-nbd", "-t", "-b", "127.0.0.1", "-p", self.port,
                              "--pid-file", self.work / "ready", *arguments],
                             stderr=self.work / "qemu-nbd.log")
        self.ready()
        return process

    def nbd_server(self, image, *lines):
        """Serves image as the export disk, with these lines of configuration."""
        configuration = self.work / "nbd-server.conf"
        configuration.write_text("\n".join([
            "[generic]", "port = %d" % self.port, "listenaddr = 127.0.0.1",
            "allowlist = true", "[disk]", "exportname = %s" % image, *lines, ""]))
        pid_file = self.work / "ready"
        # It detaches itself, so that its process is not ours to wait for.
        self.run_command("nbd-server", "-C", configuration, "-p", pid_file)
        self.ready()

        def stop():
            with contextlib.suppress(ProcessLookupError, ValueError, FileNotFoundError):
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
                # It removes the file itself.
                wait_until(lambda: not pid_file.exists(), "nbd-server to end")

        # Last in, first out: before the directory goes.
        self.addCleanup(stop)

    def python_server(self, script):
        process = self.spawn([sys.executable, script, "--port", self.port,
                              "--ready", self.work / "ready"])
        wait_until((self.work / "ready").exists, "the server")
        return process

    def image(self, size, name="disk.img"):
        """A file of zeroes, without holes."""
        path = self.work / name
        path.write_bytes(bytes(size))
        return path

    # Capturing and auditing

    @contextlib.contextmanager
    def captured(self, name="capture.pcap"):
        """Captures what is done in the block; gives the file's path."""
        capture = Capture(self, name)
        yield capture.path
        capture.stop()

    def audit(self, path, *options, status=None):
        status = status or ((1,) if self.broken else (0,))
        run = subprocess.run([BIN / "nbdaudit", "--format=json", *options, path],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=4 * SECONDS)
        if run.returncode not in status:
            keep = pathlib.Path(tempfile.gettempdir()) / ("nbdscope-%s.pcap" % self.id())
            shutil.copy(path, keep)
            raise AssertionError("nbdaudit ended with status %d; the capture is kept as %s\n%s%s" % (
                run.returncode, keep, run.stderr.decode()[-4000:],
                "\n".join(line for line in run.stdout.decode().splitlines()
                          if '"finding"' in line)[:4000]))
        self.assertEqual(run.stderr, b"")
        report = Report(run.stdout.decode(), run.returncode)
        self.assertIs(report.capture["complete"], True)
        if self.broken:
            self.assertEqual({finding["rule"] for finding in report.findings
                              if finding["severity"] == "violation"}, set(self.broken))
        return report

    def assert_honest(self, report):
        """Neither a violation nor a suspicion may be seen in an honest server's
        traffic."""
        bad = [finding for finding in report.findings
               if finding["severity"] in ("violation", "suspect")
               and finding["rule"] not in (*self.allowed, *self.broken)]
        self.assertEqual(bad, [])
        self.assertEqual(report.summary["findings"]["violation"],
                         sum(report.summary["rules"][rule] for rule in self.broken))
        if not self.allowed:
            self.assertEqual(report.summary["findings"]["suspect"], 0)
        # what is encrypted was not audited
        self.assertIn(report.status, (1,) if self.broken else (0, 3))
        self.assertEqual(report.found("cache-flag-at-bit-8"), [])


def end_where_tests_cannot_run():
    reason, excused = missing()
    if reason:
        print("live tests cannot be run: " + reason)
        sys.exit(77 if excused or not os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 1)


end_where_tests_cannot_run()
