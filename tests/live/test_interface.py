# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit on the interface itself, beside tcpdump: both must tell the same."""

import os
import pathlib
import signal
import subprocess
import time
import unittest

import peers  # first: it ends the program where live tests cannot be run
import client


def listens(pid):
    """Whether a packet socket of the process is bound and gets packets."""
    mine = set()
    for fd in pathlib.Path("/proc/%d/fd" % pid).iterdir():
        try:
            mine.add(os.readlink(fd))
        except OSError:
            pass  # closed meanwhile
    sockets = [line.split() for line in
               pathlib.Path("/proc/net/packet").read_text().splitlines()[1:]]
    # the interface, whether it runs, and the inode
    return any(words[4] != "0" and words[5] == "1" and "socket:[%s]" % words[8] in mine
               for words in sockets)


class Interface(peers.LiveTest):
    def start(self, *options, saved=None):
        command = [peers.BIN / "nbdaudit", "--format=json", *options, "-i", "lo",
                   "port %d" % self.port]
        if saved:
            command[1:1] = ["--write=%s" % saved]
        self.output = self.work / "live.jsonl"
        self.errors = self.work / "live.errors"
        process = self.spawn(command, stdout=self.output, stderr=self.errors)
        peers.wait_until(lambda: process.poll() is not None or listens(process.pid),
                         "nbdaudit to open the interface")
        time.sleep(0.3)
        self.assertIsNone(process.poll(), self.errors.read_text())
        return process

    def stop(self, process):
        time.sleep(1.5)  # packets are handed over at least once a second
        process.send_signal(signal.SIGINT)
        status = process.wait(peers.SECONDS)
        return peers.Report(self.output.read_text(), status)

    def traffic(self):
        a, b = client.connect(self.uri), client.connect(self.uri)
        for turn in range(20):
            offset = turn * 65536
            b.pread(1024, offset)
            a.pwrite(client.pattern("turn %d" % turn, 1024), offset)
            a.flush()
            b.pread(1024, offset)
        a.flush()
        a.shutdown()
        b.shutdown()

    def same(self, live, stored):
        """Connections and findings are equal, but for frame numbers and times: two
        listeners need not begin at the same packet, and each has its own clock."""
        kept = ("id", "client", "server", "handshake", "handshake_flags", "client_flags",
                "options", "tls", "replies", "export", "size", "transmission_flags",
                "block_size", "contexts", "unanswered", "unflushed_writes", "gaps", "end")

        def comparable(connection):
            rest = {key: connection.get(key) for key in kept}
            rest["commands"] = {
                command: (statistics["count"], statistics["bytes"], statistics.get("errors"))
                for command, statistics in connection["commands"].items()}
            return rest

        self.assertEqual(list(map(comparable, live.connections)),
                         list(map(comparable, stored.connections)))
        self.assertEqual([finding["rule"] for finding in live.findings],
                         [finding["rule"] for finding in stored.findings])
        self.assertEqual(live.status, stored.status)

    def test_honest(self):
        self.nbdkit("memory", "4M")
        with self.captured() as path:
            process = self.start()
            self.traffic()
            live = self.stop(process)
        self.assert_honest(live)
        self.assertEqual(live.counts()["NBD_CMD_WRITE"], 20)
        self.same(live, self.audit(path))

    def test_liar(self):
        self.nbdkit("--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                    "multi-conn-mode=unsafe")
        with self.captured() as path:
            process = self.start()
            a, b = client.connect(self.uri), client.connect(self.uri)
            b.pread(1024, 0)
            a.pwrite(client.pattern("missed", 1024), 0)
            a.flush()
            self.assertEqual(b.pread(1024, 0), bytes(1024))
            a.shutdown()
            b.shutdown()
            live = self.stop(process)
        self.assertEqual(live.status, 1)
        self.assertEqual(len(live.found("stale-read-after-flush")), 1)
        self.same(live, self.audit(path, status=(1,)))

    def test_saved(self):
        self.nbdkit("memory", "4M")
        saved = self.work / "saved.pcapng"
        process = self.start(saved=saved)
        self.traffic()
        live = self.stop(process)
        self.assertEqual(live.status, 0)
        stored = self.audit(saved)
        self.same(live, stored)
        self.assertEqual(stored.capture["format"], "pcapng")
        self.assertEqual(stored.capture["frames"], live.capture["frames"])

    def test_page(self):
        """The HTML form has its charts and pictures of live traffic, too."""
        self.nbdkit("--filter=multi-conn", "python", peers.MAKE / "private_cache.py",
                    "multi-conn-mode=unsafe")
        process = self.start("--format=html")
        a, b = client.connect(self.uri), client.connect(self.uri)
        b.pread(1024, 0)
        a.pwrite(client.pattern("missed", 1024), 0)
        a.flush()
        b.pread(1024, 0)
        a.shutdown()
        b.shutdown()
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(peers.SECONDS), 1)
        page = self.output.read_text()
        for words in ('<h1 class="word">Violations</h1>', "older READ 1 KiB", "Unflushed bytes",
                      "Throughput", "</html>"):
            self.assertIn(words, page)
        self.assertNotIn("--extract", page) # which reads a file

    def test_refused(self):
        """An interface that is none is an error of usage, said in one line."""
        run = subprocess.run([peers.BIN / "nbdaudit", "-i", "no-such-interface"],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, timeout=peers.SECONDS, text=True)
        self.assertEqual(run.returncode, 2)
        self.assertIn("no-such-interface", run.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
