#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""However a live capture ends, there is a report and a whole saved file: signals, an
interface that goes away, a disk that is full, a reader that has gone. And what nbdaudit
may do meanwhile."""

import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest

import peers  # first: it ends the program where live tests cannot be run
import client

OTHER_USER = 65534


def sanitized(program):
    """Sanitizers need what the sandbox forbids: there is none then."""
    data = program.read_bytes()
    return b"__asan_init" in data or b"__tsan_init" in data


def links():
    """Whether interfaces can be made here."""
    run = subprocess.run(["ip", "link", "add", "nbdscope0", "type", "veth", "peer", "name",
                          "nbdscope1"], stderr=subprocess.DEVNULL)
    subprocess.run(["ip", "link", "del", "nbdscope0"], stderr=subprocess.DEVNULL)
    return run.returncode == 0


class Ends(peers.LiveTest):
    def start(self, *options, interface="lo", stdout=None):
        self.saved = self.work / "saved.pcapng"
        self.output = self.work / "report"
        self.errors = self.work / "errors"
        process = self.spawn([peers.BIN / "nbdaudit", *options, "-i", interface,
                              "port %d" % self.port],
                             stdout=stdout or self.output, stderr=self.errors)
        self.wait_started(process)
        return process

    @staticmethod
    def wait_started(process):
        """Nothing is left to be done but to capture."""
        def confined():
            status = pathlib.Path("/proc/%d/status" % process.pid).read_text()
            return "NoNewPrivs:\t1" in status and (
                "Seccomp:\t2" in status or sanitized(peers.BIN / "nbdaudit"))
        peers.wait_until(lambda: process.poll() is not None or confined(), "nbdaudit to start")
        time.sleep(0.2)

    def traffic(self):
        handle = client.connect(self.uri)
        handle.pwrite(bytes(512), 0)
        handle.flush()
        handle.shutdown()
        time.sleep(0.5)

    def check(self, process):
        """A report and a whole file, with all that was seen."""
        process.wait(peers.SECONDS)
        self.assertEqual(process.returncode, 0)
        self.assertIn("verdict", self.output.read_text())
        self.assertEqual(self.errors.read_text(), "")
        self.assertEqual(self.audit(self.saved).counts()["NBD_CMD_WRITE"], 1)

    def test_signals(self):
        self.nbdkit("memory", "4M")
        for name in ("HUP", "USR1", "USR2", "ALRM", "TERM", "INT", "QUIT", "PROF"):
            with self.subTest(signal=name):
                process = self.start("-w", self.work / "saved.pcapng")
                self.traffic()
                process.send_signal(getattr(signal, "SIG" + name))
                self.check(process)

    def test_signals_again(self):
        """Those that nobody sends to mean it may come as often as they like."""
        self.nbdkit("memory", "4M")
        process = self.start("-w", self.work / "saved.pcapng")
        self.traffic()
        for _ in range(20):
            if process.poll() is None:
                process.send_signal(signal.SIGHUP)
                process.send_signal(signal.SIGALRM)
        self.check(process)

    def test_nohup(self):
        """What is ignored stays so."""
        self.nbdkit("memory", "4M")
        previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            process = self.start("-w", self.work / "saved.pcapng")
        finally:
            signal.signal(signal.SIGHUP, previous)
        process.send_signal(signal.SIGHUP)
        self.traffic()
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        self.check(process)

    def test_confined(self):
        """Every thread, also while it works."""
        if sanitized(peers.BIN / "nbdaudit"):
            self.skipTest("a program with sanitizers is not confined")
        process = self.start()
        for task in pathlib.Path("/proc/%d/task" % process.pid).iterdir():
            self.assertIn("Seccomp:\t2", (task / "status").read_text())

    def test_full_disk(self):
        """Told within a second while the audit goes on; what was saved can be read."""
        if os.geteuid() != 0:
            self.skipTest("only root can mount")
        small = self.work / "small"
        small.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small]).returncode:
            self.skipTest("nothing can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", small])
        process = self.start("-w", small / "saved.pcapng")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(40):
                sender.sendto(bytes(8000), ("127.0.0.1", self.port))
                time.sleep(0.002)
        sent = time.monotonic()
        peers.wait_until(lambda: "No space left" in self.errors.read_text(), "the complaint")
        self.assertLess(time.monotonic() - sent, 1)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.wait(peers.SECONDS)
        self.assertEqual(process.returncode, 2)
        self.assertIn("verdict", self.output.read_text())
        self.assertEqual(self.errors.read_text().count("saved.pcapng"), 1)
        run = subprocess.run([peers.BIN / "nbdaudit", small / "saved.pcapng"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.stderr, "")
        self.assertRegex(run.stdout, "[1-9][0-9]* frames")

    def test_interface_goes(self):
        if os.geteuid() != 0 or not links():
            self.skipTest("no interface can be made here")
        subprocess.run(["ip", "link", "add", "nbdscope0", "type", "veth", "peer", "name",
                        "nbdscope1"], check=True)
        self.addCleanup(subprocess.run, ["ip", "link", "del", "nbdscope0"],
                        stderr=subprocess.DEVNULL)
        for name in ("nbdscope0", "nbdscope1"):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        saved = self.work / "saved.pcapng"
        process = self.start("-w", saved, interface="nbdscope0")
        subprocess.run(["ip", "link", "set", "nbdscope0", "down"], check=True)
        time.sleep(1)
        self.assertIsNone(process.poll())
        subprocess.run(["ip", "link", "del", "nbdscope0"], check=True)
        process.wait(peers.SECONDS)
        self.assertEqual(process.returncode, 2)
        self.assertIn("capture on nbdscope0 failed", self.errors.read_text())
        self.assertIn("verdict", self.output.read_text())
        run = subprocess.run([peers.BIN / "nbdaudit", saved], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.stderr, "")

    def test_reader_goes(self):
        """Silent, and at once: nobody is there to be told."""
        pipe = self.work / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        process = self.start(stdout=pipe)
        os.close(reader)
        process.wait(peers.SECONDS)
        self.assertEqual(process.returncode, 2)
        self.assertEqual(self.errors.read_text(), "")

    def test_links(self):
        """Root does not write through another user's link, nor into another's file."""
        if os.geteuid() != 0:
            self.skipTest("only root can begin as root")
        theirs = self.work / "theirs"
        theirs.write_text("theirs")
        os.chown(theirs, OTHER_USER, OTHER_USER)
        mine = self.work / "mine"
        mine.write_text("mine")
        to_theirs, by_them = self.work / "to-theirs", self.work / "by-them"
        to_theirs.symlink_to(theirs)
        by_them.symlink_to(mine)
        os.lchown(by_them, OTHER_USER, OTHER_USER)
        for link in (to_theirs, by_them):
            for option in ("-o", "-w"):
                run = subprocess.run([peers.BIN / "nbdaudit", option, link, "-i", "lo"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, timeout=peers.SECONDS, text=True)
                self.assertEqual(run.returncode, 2)
                self.assertIn("symbolic link", run.stderr)
        self.assertEqual(theirs.read_text(), "theirs")
        self.assertEqual(mine.read_text(), "mine")


if __name__ == "__main__":
    unittest.main(verbosity=2)
