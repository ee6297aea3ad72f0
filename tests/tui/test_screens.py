#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdtop's screens on the samples, at several sizes, with and without colour and line
drawing, and resized while it runs."""

import pathlib
import re
import unittest

from terminal import BIN, SIZES, Terminal, sample

import os
import subprocess

REPORTS = pathlib.Path(__file__).resolve().parent.parent / "reports"

TABS = ["1 Exports", "2 Connections", "3 Flush order", "4 Messages", "5 Findings", "6 Latency",
        "7 Help"]

# A colour in what tmux gives out; bold, reverse and the like are none.
COLOUR = re.compile("\x1b\\[(?:[0-9]+;)*(?:3[0-7]|4[0-7]|38;5;[0-9]+|48;5;[0-9]+)(?:;[0-9]+)*m")


class Screens(unittest.TestCase):
    maxDiff = None

    def check_frame(self, t):
        """What every screen has, at any size."""
        lines = t.lines()
        self.assertEqual(len(lines), t.rows)
        self.assertTrue(lines[0].startswith("nbdtop "), lines[0])
        for tab in TABS:
            self.assertIn(tab, lines[2])
        self.assertIn("F1Help", lines[-1])
        self.assertIn("F10Quit", lines[-1])
        for line in lines:
            self.assertLessEqual(len(line), t.columns)

    def visit(self, t):
        """All screens of multi-conn-unsafe, one after the other."""
        t.wait("4 violations", "EXPORT", '""', "yes", "0/2", "4V")
        self.check_frame(t)
        t.keys("2")
        t.wait("CLIENT", "127.0.0.1:42316", "127.0.0.1:42324", "disc")
        self.check_frame(t)
        t.keys("3")
        t.wait("multi-conn: a flush holds for all", "All answered writes are flushed",
               "conn 1", "1w", "REQUEST",
               re.compile(r"0\.001617 +1 +37 +38 +86us +1 +0 +1K"))
        self.check_frame(t)
        t.keys("4")
        t.wait("52 messages", "FLUSH", re.compile(r"74|DISC"))
        self.check_frame(t)
        t.keys("5")
        t.wait("stale-read-after-flush", "at fault", "35", "40", "READ 1 KiB", "WRITE 1 KiB",
               "106 us", "conn 1 wrote 1024 bytes at 0x0 (frames 35 to 36)")
        self.check_frame(t)
        t.keys("6")
        t.wait("READ", "WRITE", "FLUSH", "P99.9", "100.0 %",
               re.compile(r"READ +8 "), re.compile(r"FLUSH +6 "))
        self.check_frame(t)
        t.keys("7")
        t.wait("Keys", "F1 ? h", "next screen")
        self.check_frame(t)
        t.keys("1")
        t.wait("MULTI", gone=["Keys"])

    def test_sizes(self):
        for columns, rows in SIZES:
            with self.subTest(columns=columns, rows=rows), \
                    Terminal([sample("multi-conn-unsafe")], columns, rows) as t:
                self.visit(t)
                self.assertRegex(t.escapes(), COLOUR)
                self.assertEqual(t.quit(), 0)
                t.wait("2 connections to 1 export: 4 violations")
                self.assertEqual(t.errors(), "")

    def test_more_room(self):
        """A wide terminal shows what a narrow one has no room for."""
        with Terminal([sample("fio")], 200, 60) as t:
            t.wait("SERVER", "127.0.0.1:10809", "OLDEST", "FLUSHES")
            # Over time, and where.
            t.wait("bytes a second", "p99", "in flight", "unflushed 10K, most",
                   re.compile("[\u2801-\u28ff]{3}"), re.compile(r"(?m)^reads +[\u2591-\u2593\u2588]"),
                   re.compile(r"(?m)^ +0 +1M$"))
            t.resize(200, 24)
            t.wait(gone=["bytes a second"])
            t.resize(200, 60)
            t.wait("bytes a second")
            t.keys("2")
            t.wait("R p99", "W p99", "F max", "FLAGS", "-FU-TZDM-Cf")
            t.resize(80, 24)
            t.wait("CLIENT", gone=["R p99"])
            t.keys("m")
            t.wait("R p99", "FLAGS", gone=["WRITE/s"])
            t.keys("m")
            t.wait("WRITE/s", gone=["R p99"])

    def test_without_colour(self):
        for arguments, environment, columns, rows in (
                (["--color=never"], {}, 80, 24), ([], {"NO_COLOR": "1"}, 120, 40),
                (["--color=never"], {}, 200, 60)):
            with Terminal([*arguments, sample("multi-conn-unsafe")], columns, rows,
                          environment) as t:
                self.visit(t)
                for screen in "1234567":
                    t.keys(screen)
                    t.wait_frame()
                    self.assertNotRegex(t.escapes(), COLOUR)
                self.assertEqual(t.quit(), 0)
        # Asked for, they are there in spite of the environment.
        with Terminal(["--color=always", sample("multi-conn-unsafe")],
                      environment={"NO_COLOR": "1"}) as t:
            t.wait("4 violations")
            self.assertRegex(t.escapes(), COLOUR)

    def test_ascii(self):
        """In a locale without line drawing characters, and when asked for."""
        for arguments, environment in (([], {"LC_ALL": "C"}), (["--ascii"], {})):
            with Terminal([*arguments, sample("multi-conn-unsafe")], 120, 40, environment) as t:
                self.visit(t)
                t.wait("bytes a second", "#")
                t.keys("5")
                t.wait("35|", "|36", "|=", "=|40")
                for screen in "1234567":
                    t.keys(screen)
                    t.wait("F10Quit")
                    self.assertTrue(t.text().isascii(), t.text())

    def test_resize(self):
        """At any time, also to a size that is too small and back."""
        with Terminal([sample("multi-conn-unsafe")]) as t:
            t.wait("4 violations")
            for screen, (columns, rows) in zip("1234567", [(200, 60), (61, 15), (120, 30),
                                                           (80, 24), (200, 14), (60, 60),
                                                           (80, 24)]):
                t.keys(screen)
                t.resize(columns, rows)
                t.wait_frame()
            t.resize(40, 10)
            t.wait_frame()
            t.resize(29, 7)
            t.wait("29x7 is too small: nbdtop")
            t.keys("5")
            t.resize(80, 24)
            t.wait("violation: stale-read-after-flush", gone=["too small"])
            t.resize(20, 5)
            self.assertEqual(t.quit(), 0)

    def test_samples(self):
        """Every sample can be looked at, without a word on standard error."""
        for path in sorted(sample("simple").parent.glob("*.pcap*")):
            with self.subTest(sample=path.name), Terminal([path]) as t:
                t.wait("packets", "connection")
                for screen in "234561":
                    t.keys(screen, "Enter", "Down", "Up", "End", "Home", "PPage", "NPage")
                t.wait("F10Quit")
                self.assertEqual(t.quit(), 0)
                self.assertEqual(t.errors(), "")

    def test_inside_tls(self):
        """The connection says that it is TLS, and whether it is read."""
        inside = REPORTS.parent / "tls" / "captures" / "qemu-qemu-psk-1.3.pcapng"
        for path, words in ((inside, "1.3, TLS_CHACHA20_POLY1305_SHA256: read with its keys"),
                            (sample("starttls"), "all that follows is encrypted")):
            with self.subTest(path.name), Terminal([path], columns=140, rows=50) as t:
                t.wait("packets", "connection")
                t.keys("2", "Enter")
                t.wait("Connection 1", words)
                self.assertEqual(t.quit(), 0)

    def test_no_flush_offered(self):
        """No flush is said to hold for anybody where none is offered."""
        path = REPORTS / "server-without-flush.pcap"
        with Terminal([path]) as t:
            t.wait("packets", "connection")
            t.keys("3")
            t.wait("neither flush nor FUA is offered", gone=["a flush holds"])
            self.assertEqual(t.quit(), 0)

    def test_broken_off(self):
        """An answer that stops after its head is not shown as one that came."""
        path = REPORTS / "x_read_header_then_fin.pcap"
        with Terminal([path]) as t:
            t.wait("packets", "connection")
            t.keys("4")
            t.wait("READ: broken off before")
            self.assertEqual(t.quit(), 0)

    def test_no_terminal(self):
        """It says so, and names the program for that."""
        for arguments in (["x.pcap"], ["-i", "lo"]):
            run = subprocess.run([BIN / "nbdtop", *arguments], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 timeout=10)
            self.assertEqual(run.returncode, 2)
            self.assertEqual(run.stdout, "")
            self.assertIn("no terminal", run.stderr)
            self.assertIn("nbdaudit " + " ".join(arguments), run.stderr)

    def test_dumb_terminal(self):
        for kind in ("dumb", "no-such-terminal"):
            with Terminal([sample("simple")], environment={"TERM": kind}) as t:
                self.assertEqual(t.status(), 2)
                self.assertIn(kind, t.errors())

    def test_usage(self):
        def run(*arguments):
            return subprocess.run([BIN / "nbdtop", *arguments], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  timeout=10)

        for option in ("--help", "-h"):
            said = run(option)
            self.assertEqual(said.returncode, 0)
            self.assertIn("Usage: nbdtop", said.stdout)
            self.assertLessEqual(max(map(len, said.stdout.splitlines())), 80)
        self.assertRegex(run("--version").stdout, r"^nbdtop \(nbdscope\) [0-9.]+\n$")
        for wrong in (["--no-such-option"], [], ["a", "b"], ["-w", "x", "a"], ["--replay=0", "a"],
                      ["--replay=1", "-i", "lo"], ["--color=blue", "a"], ["-p", "x", "a"],
                      ["--memory=1", "a"], ["--severity=bad", "a"], ["--history=1", "a"]):
            said = run(*wrong)
            self.assertEqual(said.returncode, 2, wrong)
            self.assertIn("Try 'nbdtop --help'.", said.stderr, wrong)
            self.assertEqual(said.stdout, "")

    def test_unreadable(self):
        for path, why in (("/nonexistent.pcap", "No such file"), (os.devnull, "")):
            with Terminal([path]) as t:
                self.assertEqual(t.status(), 2)
                self.assertIn("nbdtop: %s: " % path, t.errors())
                self.assertIn(why, t.errors())

    def test_cut_file(self):
        """What was read is shown, and where it stopped."""
        with Terminal([sample("simple")]) as t:
            cut = t.work / "cut.pcap"
            whole = sample("simple").read_bytes()
            cut.write_bytes(whole[:len(whole) - 700])
            with Terminal([cut]) as u:
                u.wait("FAILED", "1 connection")
                u.keys("4")
                u.wait("NBD_CMD" if u.columns > 110 else "WRITE")


if __name__ == "__main__":
    unittest.main(verbosity=2)
