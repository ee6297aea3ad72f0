# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit --metrics on loopback: what it answers, what it counts while servers and clients
work, and that nobody who may connect can stop it."""

import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "live"))
import peers  # noqa: E402  it ends the program where live tests cannot be run
import client  # noqa: E402
import nbd  # noqa: E402
from openmetrics import Metrics  # noqa: E402

OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OTHER_USER = 65534


def sanitized():
    """Sanitizers need what the sandbox forbids: there is none then."""
    data = (peers.BIN / "nbdaudit").read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


class Serve(peers.LiveTest):
    def start(self, *options, address=":0"):
        self.errors = self.work / "errors"
        self.process = self.spawn([peers.BIN / "nbdaudit", "--metrics=" + address, *options, "-i",
                                   "lo", "tcp port %d" % self.port],
                                  stdout=self.work / "report", stderr=self.errors)
        peers.wait_until(lambda: "Metrics:" in self.errors.read_text() or
                         self.process.poll() is not None, "nbdaudit to serve")
        self.where = re.search(r"http://(.*):(\d+)/metrics", self.errors.read_text())
        self.address = (self.where[1], int(self.where[2]))

    def request(self, method="GET", path="/metrics", timeout=peers.SECONDS, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.address[1], timeout=timeout)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def metrics(self):
        status, headers, text = self.request()
        self.assertEqual((status, headers["Content-Type"]), (200, OPEN))
        return Metrics(text)

    def wait_for(self, condition, what):
        """Of the metrics; the ones that it is true of."""
        last = []

        def look():
            last[:] = [self.metrics()]
            return condition(last[0])
        peers.wait_until(look, what)
        return last[0]

    def stop(self, status=0):
        """The report is written whatever was served."""
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(peers.SECONDS), status)
        self.assertIn("verdict", (self.work / "report").read_text())
        self.assertEqual(self.errors.read_text(), "Metrics: %s/metrics\n" % self.where[0][:-8])

    def connect(self):
        """A raw connection to the HTTP server."""
        return socket.create_connection(("127.0.0.1", self.address[1]), peers.SECONDS)

    def test_forms(self):
        self.start()
        self.assertEqual(self.address[0], "127.0.0.1")
        prometheus = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
                      "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
        for accept, kind in ((None, OPEN), ("*/*", OPEN), (prometheus, OPEN), ("text/plain", PLAIN),
                             ("application/openmetrics-text", OPEN), ("text/*;q=0.3", PLAIN),
                             ("text/plain;q=0.4, application/openmetrics-text;q=0.2", PLAIN),
                             ("text/html,application/xhtml+xml,*/*;q=0.8", PLAIN),
                             ("image/png", OPEN), (";;,q=,\x7f", OPEN), ("text/plain;q=x", OPEN)):
            headers = {} if accept is None else {"Accept": accept}
            status, headers, text = self.request(**headers)
            self.assertEqual((status, headers["Content-Type"]), (200, kind), accept)
            Metrics(text, plain=kind == PLAIN)
            self.assertEqual(headers["Connection"], "close")
            self.assertEqual(int(headers["Content-Length"]), len(text.encode()))
        status, headers, text = self.request("HEAD")
        self.assertEqual((status, headers["Content-Type"], text), (200, OPEN, ""))
        self.assertEqual(self.request(path="/")[0], 200)
        self.assertIn("/metrics", self.request(path="/")[2])
        self.assertEqual(self.request(path="/metric")[0], 404)
        self.assertEqual(self.request(path="/metrics?x=1")[0], 200)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, _ = self.request(method)
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"), method)
        self.stop(3)

    def test_counted(self):
        """What is done shows at once, and is flushed again."""
        self.start()
        self.nbdkit("--filter=error", "memory", "4M", "error-pread=EIO", "error-pread-rate=100%",
                    "error-pread-file=%s" % (self.work / "fail"))
        h = client.connect(self.uri)
        h.pwrite(client.pattern("data", 65536), 0)
        h.pwrite(client.pattern("more", 4096), 65536)
        m = self.wait_for(lambda m: m.get("nbdscope_unflushed_writes") == 2, "the writes")
        self.assertEqual(m.get("nbdscope_unflushed_bytes"), 65536 + 4096)
        self.assertEqual(m.get("nbdscope_connections_open"), 1)
        age = m.get("nbdscope_unflushed_age_seconds")
        self.assertGreater(age, 0)
        m = self.wait_for(lambda m: m.get("nbdscope_unflushed_age_seconds") > age + 0.5, "age")
        h.flush()
        m = self.wait_for(lambda m: m.get("nbdscope_unflushed_writes") == 0, "the flush")
        self.assertEqual(m.get("nbdscope_unflushed_age_seconds"), 0)
        self.assertEqual(h.pread(4096, 0), client.pattern("data", 65536)[:4096])
        (self.work / "fail").write_text("")
        with self.assertRaises(nbd.Error):
            h.pread(4096, 0)
        h.shutdown()
        m = self.wait_for(lambda m: m.get("nbdscope_connections_open") == 0, "the end")
        self.assertEqual(m.by("nbdscope_errors_total", "command", "error"),
                         {("NBD_CMD_READ", "NBD_EIO"): 1})
        self.assertEqual(m.by("nbdscope_connections_ended_total", "end"), {"disconnect": 1})
        self.assertEqual(m.by("nbdscope_data_bytes_total", "command"),
                         {"NBD_CMD_WRITE": 65536 + 4096, "NBD_CMD_READ": 4096})
        self.assertEqual(m.get("nbdscope_command_duration_seconds_count", command="NBD_CMD_READ"),
                         2)
        self.stop()

    def test_only_grow(self):
        """Connections come, end and are forgotten, unflushed writes of some are flushed by
        others: no counter goes back, and at the end all are counted."""
        self.start("--memory=1M")
        self.nbdkit("memory", "4M")
        before, rounds = {}, 40
        for turn in range(rounds):
            h = client.connect(self.uri)
            h.pwrite(client.pattern("turn %d" % turn, 1024), turn * 65536)
            h.pread(1024, turn * 65536)
            if turn % 3 == 0:
                h.flush()
            h.shutdown()
            if turn % 4 == 0:
                now = self.metrics().counters()
                for key, value in before.items():
                    self.assertGreaterEqual(now[key], value, key)
                before = now
        m = self.wait_for(lambda m: sum(m.by("nbdscope_connections_ended_total", "end").values())
                          == rounds, "the last connection")
        self.assertEqual(m.get("nbdscope_connections_total"), rounds)
        self.assertEqual(m.get("nbdscope_connections_open"), 0)
        self.assertEqual(m.by("nbdscope_replies_total", "command"),
                         {"NBD_CMD_WRITE": rounds, "NBD_CMD_READ": rounds,
                          "NBD_CMD_FLUSH": len(range(0, rounds, 3))})
        self.assertEqual(m.get("nbdscope_read_bytes_total"), rounds * 1024)
        self.stop()

    def closed_within(self, connection, seconds, feed=b""):
        """The server ends it, though bytes of the client keep coming."""
        end = time.monotonic() + seconds
        connection.settimeout(0.2)
        while time.monotonic() < end:
            try:
                if feed:
                    connection.sendall(feed)
                if connection.recv(65536) == b"":
                    return True
            except TimeoutError:
                continue
            except OSError:
                return True
        return False

    def test_hostile(self):
        """Slow, silent, endless and senseless clients: it answers others, and audits on."""
        self.start()
        self.nbdkit("memory", "4M")
        silent = [self.connect() for _ in range(60)]
        for connection in silent[::2]:
            try:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")
            except OSError:
                pass # it was ended
        began = time.monotonic()
        self.metrics()
        self.assertLess(time.monotonic() - began, 4)
        for connection in silent:
            connection.close()
        for nonsense in (b"\0" * 4096, b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n",
                         b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
                         b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nxx",
                         b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"):
            with self.connect() as c:
                try:
                    c.sendall(nonsense)
                except OSError:
                    pass # it had enough
                self.assertTrue(self.closed_within(c, 15), nonsense[:40])
        with self.connect() as c:
            c.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ")
            self.assertTrue(self.closed_within(c, 15, b"y"))
        # One that does not read what it asked for.
        idle = socket.socket()
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        idle.connect(("127.0.0.1", self.address[1]))
        idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        h = client.connect(self.uri)
        h.pwrite(bytes(512), 0)
        h.flush()
        h.shutdown()
        self.wait_for(lambda m: m.by("nbdscope_requests_total", "command").get("NBD_CMD_WRITE")
                      == 1, "the write")
        idle.close()
        self.stop()

    def test_confined(self):
        """Every thread; what listens is what was asked for, and HTTP does not come before
        the capture."""
        self.start("--metrics-file=%s" % (self.work / "a.prom"))
        peers.wait_until(lambda: "NoNewPrivs:\t1" in pathlib.Path(
            "/proc/%d/status" % self.process.pid).read_text(), "nbdaudit to be confined")
        time.sleep(0.2)
        tasks = list(pathlib.Path("/proc/%d/task" % self.process.pid).iterdir())
        self.assertGreaterEqual(len(tasks), 2)
        for task in tasks:
            status = (task / "status").read_text()
            if not sanitized():
                self.assertIn("Seccomp:\t2", status)
            self.assertIn("CapEff:\t0000000000000000", status)
        if os.geteuid() == 0 and not sanitized():
            nice = sorted(os.getpriority(os.PRIO_PROCESS, int(task.name)) for task in tasks)
            # who takes packets out of the ring may be a thread of its own
            self.assertEqual(set(nice), {-10, 0})
        main = pathlib.Path("/proc/%d/task/%d" % (self.process.pid, self.process.pid))
        (helper,) = (main / "children").read_text().split()
        status = pathlib.Path("/proc/%s/status" % helper).read_text()
        if not sanitized():
            self.assertIn("Seccomp:\t2", status)
        self.assertIn("CapEff:\t0000000000000000", status)
        self.stop(3)
        self.assertFalse(pathlib.Path("/proc/%s" % helper).exists())

    def test_address(self):
        self.start(address="0.0.0.0:0")
        self.assertEqual(self.address[0], "0.0.0.0")
        self.metrics()
        run = subprocess.run([peers.BIN / "nbdaudit", "--metrics=%d" % self.address[1], "-i", "lo"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             timeout=peers.SECONDS)
        self.assertEqual(run.returncode, 2)
        self.assertIn("in use", run.stderr)
        self.stop(3)

    def test_file(self):
        """It is renewed while it runs, in a folder of somebody else; where it cannot be
        written that is said once, and the audit goes on."""
        folder = self.work / "collector"
        folder.mkdir()
        self.work.chmod(0o755)
        if os.geteuid() == 0:
            os.chown(folder, OTHER_USER, OTHER_USER)
        file = folder / "nbdscope.prom"
        self.start("--metrics-file=%s" % file, "--metrics-interval=1")
        self.nbdkit("memory", "4M")
        peers.wait_until(file.exists, "the file")
        first = Metrics(file.read_text(), plain=True)
        self.assertEqual(first.get("nbdscope_running"), 1)
        if os.geteuid() == 0:
            self.assertEqual(file.stat().st_uid, OTHER_USER)
        h = client.connect(self.uri)
        h.pwrite(bytes(512), 0)
        h.flush()
        h.shutdown()
        peers.wait_until(lambda: Metrics(file.read_text(), plain=True).by(
            "nbdscope_requests_total", "command").get("NBD_CMD_WRITE") == 1, "the write")
        self.assertEqual([path.name for path in folder.iterdir()], [file.name])
        folder.rename(self.work / "elsewhere")
        (self.work / "elsewhere" / file.name).unlink()
        (self.work / "elsewhere").rmdir()
        peers.wait_until(lambda: "cannot write metrics" in self.errors.read_text(),
                         "the complaint")
        time.sleep(1.5)
        self.assertEqual(self.errors.read_text().count("cannot write metrics"), 1)
        self.metrics()
        self.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.process.wait(peers.SECONDS), 2)
        self.assertIn("verdict", (self.work / "report").read_text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
