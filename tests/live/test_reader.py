# SPDX-License-Identifier: GPL-2.0-or-later
"""One thread or two: of the same packets on an interface nbdaudit tells the same, also of
bytes that come once more and are not the same then, long after the packets were looked at."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import rewrap  # noqa: E402

DEVICE, PEER = ("nbd%s%d" % (end, os.getpid() % 100000) for end in "ab")
SECONDS = 60
# Of what both tell; numbers of frames too, as nobody else speaks on that interface.
WITHOUT = ("time", "start", "end", "first", "last", "latency_us", "memory", "dropped_interface",
           "position", "version", "seconds")


@contextlib.contextmanager
def interface():
    """Two ends without addresses: what is sent at one is seen by who captures at the other,
    and nobody answers."""
    for command in (("add", DEVICE, "type", "veth", "peer", "name", PEER),
                    ("set", DEVICE, "up"), ("set", PEER, "up")):
        run = subprocess.run(["ip", "link", *command], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if run.returncode:
            raise unittest.SkipTest("no interface can be made here: " + run.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["ip", "link", "del", DEVICE], check=False)


def listeners():
    """Sockets that get the packets of the interface."""
    index = str(socket.if_nametoindex(DEVICE))
    lines = pathlib.Path("/proc/net/packet").read_text().splitlines()[1:]
    return sum(words[4] == index and words[5] == "1" for words in map(str.split, lines))


def tasks(process):
    return len(list(pathlib.Path("/proc/%d/task" % process.pid).iterdir()))


def frames():
    """A capture, and then every other one of its large segments once more: half of those as they
    were, half with another byte."""
    segments = rewrap.read(ROOT / "samples" / "mtu-1500.pcap")
    again = [s for s in segments if len(s.payload) > 600][::2]
    made = [s.copy(payload=s.payload[:300] + bytes([s.payload[300] ^ 1]) + s.payload[301:])
            if number % 2 else s for number, s in enumerate(again)]
    end = max(n for n, s in enumerate(segments) if s.payload)
    return [rewrap.ether(0x800, rewrap.ipv4(s))
            for s in segments[:end] + made + segments[end:]], len(made)


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(v) for key, v in value.items() if key not in WITHOUT}
    if isinstance(value, list):
        return [without_times(v) for v in value]
    return value


class Reader(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest("only root can make an interface")
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        os.chmod(self.folder.name, 0o755)

    def listen(self, threads):
        out = open(pathlib.Path(self.folder.name) / str(threads), "w+")
        self.addCleanup(out.close)
        process = subprocess.Popen(
            [BIN / "nbdaudit", "--threads=%d" % threads, "-f", "json", "-i", DEVICE, "tcp"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, out

    def test_same(self):
        sent, again = frames()
        self.assertGreater(again, 10)
        with interface():
            watchers = {threads: self.listen(threads) for threads in (1, 2)}
            end = time.monotonic() + SECONDS
            while listeners() < 2 or tasks(watchers[2][0]) <= tasks(watchers[1][0]):
                self.assertLess(time.monotonic(), end, "there are not two who listen")
                time.sleep(0.1)
            time.sleep(0.5)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
                s.bind((PEER, 0))
                for frame in sent:
                    s.send(frame)
            time.sleep(2)
            reports = {}
            for threads, (process, out) in watchers.items():
                process.send_signal(signal.SIGINT)
                self.assertIn(process.wait(SECONDS), (0, 1), process.stderr.read())
                out.seek(0)
                reports[threads] = [json.loads(line) for line in out]
        (end,) = [o for o in reports[2] if o["type"] == "capture-end"]
        self.assertEqual(end["frames"], len(sent))
        self.assertEqual(end["dropped"], 0)
        path = pathlib.Path(self.folder.name) / "sent.pcap"
        path.write_bytes(rewrap.pcap([(n * 1000, frame) for n, frame in enumerate(sent)]))
        run = subprocess.run([BIN / "nbdaudit", "-f", "json", path], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, timeout=SECONDS)
        stored = json.loads(run.stdout.splitlines()[0])
        self.assertGreater(stored["tcp"]["conflicts"], 4)
        self.assertEqual(end["tcp"], stored["tcp"])
        self.assertEqual(without_times(reports[1]), without_times(reports[2]))


if __name__ == "__main__":
    unittest.main()
