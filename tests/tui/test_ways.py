#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways from one screen of nbdtop to another and back, filters of lists and what is
remembered of them, and all screens on a terminal of 40 by 10."""

import pathlib
import re
import tempfile
import unittest

from terminal import Terminal, sample


class Ways(unittest.TestCase):
    maxDiff = None

    def test_finding_to_messages(self):
        """Enter: at length, then its commands as a ladder; Esc the same way back."""
        with Terminal([sample("multi-conn-unsafe")]) as t:
            t.wait("4 violations, 0S, 0H, 0n")
            t.keys("5", "Enter")
            t.wait("Wireshark", "Enter shows its messages")
            t.keys("Enter")
            t.wait("frame >= 34 and frame <= 40   (7 match", "conn 2   conn 1", "server",
                   "\u2502\u2500\u2500 READ 1024 bytes at 0x0", "FLUSH cookie 0x2")
            t.keys("i")
            t.wait("Connection 2", re.compile("(?m)^from +127.0.0.1:42324"))
            t.keys("e")
            t.wait("Filter: conn == 2   (4 match", "stale-read-after-flush")
            t.keys("4")
            t.wait("frame >= 34")
            t.keys("Escape")
            t.wait("Finding 1 of 4", gone=["frame >= 34"])
            t.keys("4")
            t.wait("52 messages", gone=["frame >= 34"])

    def test_connection_to_messages(self):
        with Terminal([sample("multi-conn-unsafe")]) as t:
            t.wait("4 violations")
            t.keys("2", "Down", "Enter")
            t.wait("Connection 2", "fixed newstyle")
            t.keys("Enter")
            t.wait("Filter: conn == 2   (26 match")
            t.keys("L")
            t.wait("MESSAGE", gone=["server"])
            t.keys("Home", "/")
            t.type("0x20000")
            t.keys("Enter")
            t.keys("G", "Escape")
            t.wait("Connection 2", "fixed newstyle", gone=["52 messages"])
            t.keys("1", "e")
            t.wait('Filter: export == ""   (4 match')
            t.keys("Escape", "1", "M")
            t.wait("Filter: conn == 2 or conn == 1   (52 match")
            t.keys("Escape")
            t.wait("MULTI")

    def test_payloads(self):
        """What a stale read returned and should have; a payload's first bytes."""
        with Terminal([sample("multi-conn-unsafe")], 100, 50) as t:
            t.wait("4 violations")
            t.keys("5", "Enter")
            t.wait('expected    at 0x0: 7475726e 20302073 6563746f 72203020 "turn 0 sector 0 "',
                   "received    at 0x0: 00000000 00000000")
            t.keys("4", "f")
            t.type("frame == 35")
            t.keys("Enter", "Enter", "Enter")
            t.wait("Payload, the first 64 of 1024 bytes",
                   "74 75 72 6e 20 30 20 73  65 63 74 6f 72 20 30 20  turn 0 sector 0")

    def test_message_to_finding(self):
        with Terminal([sample("multi-conn-unsafe")]) as t:
            t.wait("4 violations")
            t.keys("4", "f")
            t.type("frame == 64")
            t.keys("Enter")
            t.wait("(1 match")
            t.keys("e")
            t.wait("Finding 4 of 4")

    def test_reply_keeps_the_filter(self):
        """What = goes to is shown though the filter does not match it."""
        with Terminal([sample("multi-conn-unsafe")]) as t:
            t.wait("4 violations")
            t.keys("4", "f")
            t.type("reply and write")
            t.keys("Enter")
            t.wait("(4 match")
            t.keys("=")
            t.wait("Filter: reply and write   (5 match", "is shown all the same",
                   re.compile(r" 59 .*WRITE 1024 bytes"))
            t.keys("=")
            t.wait("Filter: reply and write   (5 match")

    def test_list_filters(self):
        """Lists are filtered as messages are, by their columns, and by text."""
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            t.keys("2", "f")
            t.type("conn > 3 and not conn == 5")
            t.wait("valid")
            t.keys("Enter")
            t.wait("(2 match", "37344", "all 2 connections", gone=["37302"])
            t.keys("f", "C-u")
            t.type("client ~ 37302 or p99 > 1000s")
            t.keys("Enter")
            t.wait("(1 match", "37302")
            t.keys("f", "C-u")
            t.type("37342 )")
            t.wait("as text")
            t.keys("C-u")
            t.type("nothing == 1")
            t.wait('as text: there is no column "nothing"')
            t.keys("Escape")
            t.wait("all 6 connections")

    def test_history(self):
        """The last filter is offered again; typing replaces it, Up goes further back."""
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            t.keys("2")
            for text in ("37342", "37344"):
                t.keys("f")
                t.type(text)
                t.keys("Enter")
                t.wait("Filter: %s   (1 match" % text)
                t.keys("Escape")
                t.wait("37302")
            t.keys("f")
            t.wait(re.compile("(?m)^Filter: 37344"))
            t.keys("Up")
            t.wait(re.compile("(?m)^Filter: 37342"), gone=["37302"])
            t.keys("Down")
            t.wait(re.compile("(?m)^Filter: 37344"))
            t.keys("Enter")
            t.wait("Filter: 37344   (1 match")
            t.keys("Escape", "f")
            t.wait(re.compile("(?m)^Filter: 37344"))
            t.type("3730")
            t.wait(re.compile("(?m)^Filter: 3730 "), "37302")

    def test_notice_stays_on_its_screen(self):
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            t.keys("2", "/")
            t.type("nowhere")
            t.keys("Enter")
            t.wait('"nowhere" is nowhere here.')
            t.keys("1")
            t.wait("MULTI", gone=["is nowhere here"])

    def test_absolute_time(self):
        with Terminal([sample("multi-conn-unsafe")], environment={"TZ": "UTC"}) as t:
            t.wait("4 violations")
            for screen in "345":
                t.keys(screen)
                t.wait("TIME (s)" if screen != "5" else "TIME", "0.00")
            t.keys("t")
            for screen in "345":
                t.keys(screen)
                t.wait(re.compile(r"\d\d:\d\d:\d\d\.\d{6}"))


class Setup(unittest.TestCase):
    def test_setup(self):
        """What is changed is seen, kept where the user's configuration is, and read again."""
        with tempfile.TemporaryDirectory() as home:
            conf = pathlib.Path(home) / ".config" / "nbdscope" / "nbdtop.conf"
            with Terminal([sample("errors")], environment={"HOME": home}) as t:
                t.wait("to 2 exports")
                t.keys("F2")
                t.wait("Theme: for a dark terminal", "Columns of Exports")
                t.keys("Enter", "Down", "Enter", "Down", "Enter")
                t.wait("for a light terminal", "Times: of the day", "Drawn every 0.2 s")
                t.keys("Down", "Down", "Down", "Space")  # not the server
                t.keys("Down", "Down", "<")              # connections to the left
                t.wait(re.compile(r"\[ \] SERVER"))
                t.keys("s")
                t.wait("Kept in %s" % conf)
                t.keys("Escape", "F6", "End", "Enter")
                t.wait(gone=["SERVER", "Sort by"])
                self.assertEqual(t.quit(), 0)
            text = conf.read_text()
            self.assertIn("theme = light\ntimes = day\nrefresh = 0.2\n", text)
            columns = re.search("columns = (.*)", text).group(1).split()
            self.assertNotIn("server", columns)
            self.assertLess(columns.index("conn"), columns.index("findings"))
            with Terminal([sample("errors")], environment={"HOME": home}) as t:
                t.wait("to 2 exports", "UNFLUSHED", gone=["SERVER"])
                t.keys("4")
                t.wait("TIME OF DAY")
            conf.write_text("[screen]\nrefresh = 0\ntheme = light\n")
            with Terminal([sample("errors")], 120, 24, environment={"HOME": home}) as t:
                t.wait("line 2 is not understood: [screen] refresh = 0")


class Small(unittest.TestCase):
    def test_40_by_10(self):
        """Fewer columns and rows, and every screen says what matters."""
        with Terminal([sample("multi-conn-unsafe")], 40, 10) as t:
            t.wait("4 violations, 0S, 0H, 0n", "1 Exports", "EXPORT", "UNFLUSHED", "P99",
                   "FINDINGS", "4V")
            t.keys("2")
            t.wait("2 Connections", "CLIENT", "127.0.0.1:42324", "4V")
            t.keys("Enter", "Down")
            t.wait("Connection 2")
            t.keys("Escape", "3")
            t.wait("multi-conn: a flush", "conn 1", "conn 2", "REQUEST", "LEFT")
            t.keys("4")
            t.wait("52 messages", "FLUSH cookie 0x9", "MESSAGE")
            t.keys("L")
            t.wait("conn 1   conn 2", "DISC cookie")
            t.keys("5")
            t.wait("violation stale-read-after-flush")
            t.keys("Enter")
            t.wait("Finding 1 of 4", "write that a completed flush had")
            t.keys("6")
            t.wait("READ", "WRITE", "FLUSH", "P99", "106us")
            t.keys("7")
            t.wait("Keys", "Left h", "F10Quit")
            for line in t.lines():
                self.assertLessEqual(len(line), 40)


if __name__ == "__main__":
    unittest.main(verbosity=2)
