#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What keys and the mouse do in nbdtop, and how files are loaded and replayed."""

import os
import re
import struct
import threading
import time
import unittest

from terminal import Terminal, sample


def records(path):
    """The head of a pcap file, and its packets as (head, bytes)."""
    data = path.read_bytes()
    head, at, packets = data[:24], 24, []
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        packets.append((data[at:at + 16], data[at + 16:at + 16 + length]))
        at += 16 + length
    return head, packets


class Keys(unittest.TestCase):
    maxDiff = None

    def test_screens(self):
        """By number, by Tab, and help by each of its keys and back again."""
        with Terminal([sample("multi-conn-unsafe")]) as t:
            t.wait("MULTI")
            marks = ["MULTI", "CLIENT", "LEFT", "messages", "LEVEL", "P99.9", "Keys"]
            for mark in marks[1:] + marks[:1]:
                t.keys("Tab")
                t.wait(mark)
            for mark in reversed(marks):
                t.keys("BTab")
                t.wait(mark)
            for key in ("F1", "?", "h"):
                t.keys(key)
                t.wait("Keys")
                t.keys("Escape")
                t.wait("MULTI", gone=["Keys"])
            t.keys("h")
            t.wait("Keys")
            t.keys("h")
            t.wait("MULTI", gone=["Keys"])
            self.assertEqual(t.quit(), 0)

    def test_quit(self):
        for key in ("q", "F10", "C-c"):
            with Terminal([sample("simple")]) as t:
                t.wait("1 connection")
                t.keys(key)
                self.assertEqual(t.status(), 0)
                t.wait("1 connection to 1 export:")

    def test_help_has_all_keys(self):
        """Every key of the table, as the help is made from it."""
        with Terminal([sample("simple")], 120, 60) as t:
            t.wait("1 connection")
            t.keys("?")
            t.wait("Keys")
            seen = t.text()
            t.keys("G")
            t.wait("UNFLUSHED is how many")
            seen += t.text()
            for key in ("F1 ? h", "F10 q", "Esc", "Up k", "Down j", "Left h", "Right l", "PgUp",
                        "PgDn", "Home g", "End G", "Tab", "F3 /", "F4 f", "<", ">", "F6", "I", "o",
                        "p Space F9", "c", "u", "F2", "w", "m", "Enter l"):
                self.assertRegex(seen, r"(?m)^   %s +\S" % re.escape(key))

    def test_sort(self):
        """> and < choose the column, I inverts, o freezes; the head says which."""
        with Terminal([sample("fio")], 120, 40) as t:
            t.wait("6 connections")
            t.keys("2")
            t.wait("ID\u25b2")

            def ids():
                return [int(line.split()[0]) for line in t.lines()[4:10]]

            self.assertEqual(ids(), [1, 2, 3, 4, 5, 6])
            t.keys("I")
            t.wait("ID\u25bc")
            self.assertEqual(ids(), [6, 5, 4, 3, 2, 1])
            t.keys(">")
            t.wait("CLIENT\u25b2")
            self.assertEqual(ids(), [1, 2, 3, 4, 5, 6])
            t.keys("<", "<")  # past the first one to the last
            t.wait(gone=["CLIENT\u25b2", "ID\u25b2"])
            t.keys(">")
            t.wait("ID\u25b2")
            for _ in range(6):
                t.keys(">")
            t.wait("REQ/s\u25bc")
            order = ids()
            self.assertEqual(order[:3], [4, 6, 5])
            t.keys("o")
            t.wait("REQ/s*", "The order is frozen")
            t.keys("o")
            t.wait("REQ/s\u25bc", gone=["frozen"])
            t.keys("F6")
            t.wait("Sort by", " READ/s      read")
            t.keys("Down", "Enter")
            t.wait("READ/s\u25bc", gone=["Sort by"])
            t.keys("F6", "Home", "Escape")
            t.wait("READ/s\u25bc", gone=["Sort by"])

    def test_lists(self):
        """An export's connections, and one of them in detail; Esc goes back."""
        with Terminal([sample("errors")]) as t:
            t.wait("to 2 exports")
            rows = [l for l in t.lines()[4:-2] if l.strip()]
            self.assertEqual(len(rows), 3)
            self.assertTrue(rows[2].startswith("all 2 "), rows[2])
            t.keys("End", "Enter")
            t.wait("Connections of export", "CLIENT")
            rows = [l for l in t.lines()[5:-2] if l.strip() and not l.startswith(" all")]
            self.assertIn(len(rows), (1, 2, 3))
            t.keys("Enter")
            t.wait(re.compile("(?m)^from "), "fixed newstyle")
            t.keys("J", "J", "J", "J")
            t.wait("NBD_FLAG_HAS_FLAGS", gone=["from  "])
            t.keys("K", "K", "K", "K", "K")
            t.wait(re.compile("(?m)^from "))
            t.keys("Escape")
            t.wait(gone=["fixed newstyle"])
            t.keys("Escape")
            t.wait("MULTI")
            t.keys("2")
            t.wait("CLIENT", "all 4 connections", gone=["Connections of export"])
            self.assertEqual(len([l for l in t.lines()[4:-2] if l.strip()]), 5)

    def test_table_filter(self):
        """Follows what is typed; Esc ends it."""
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            t.keys("2", "f")
            t.wait("Filter:")
            t.type("37342")
            t.wait("127.0.0.1:37342", gone=["127.0.0.1:37302"])
            t.keys("Enter")
            t.wait("Filter: 37342   (1 match; Esc ends it)")
            t.keys("Escape")
            t.wait("127.0.0.1:37302")
            t.keys("F4")
            t.type("no such thing")
            t.wait("Nothing matches the filter.")
            t.keys("Escape")
            t.wait("127.0.0.1:37302", gone=["Filter:"])

    def test_search(self):
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            t.keys("2", "/")
            t.wait("Search:")
            t.type("37344")
            t.keys("Enter", "Enter")
            t.wait("Connection 6 ")
            t.keys("Escape", "/")
            t.type("nowhere")
            t.keys("Enter")
            t.wait('"nowhere" is nowhere here.')
            t.keys("4", "g", "/")
            t.type("cmd_flush")
            t.keys("Enter", "Enter")
            t.wait("NBD_CMD_FLUSH  (J and K scroll", "Frame 135,")
            t.keys("n")
            t.wait("Frame 138,")
            t.keys("N")
            t.wait("Frame 135,")

    def test_message_filter(self):
        """Its validity is shown while it is typed; what is none is not taken."""
        with Terminal([sample("errors")], 120, 40) as t:
            t.wait("4 connections")
            t.keys("4", "f")
            t.wait("Filter:")
            t.type("write and conn")
            t.wait("\u2717 conn wants an operator and a value")
            t.keys("Enter")
            t.wait("\u2717 conn wants", "Filter: write and conn")
            t.type(" == 2")
            t.keys("C-e")
            t.keys("C-u")
            t.type("write conn == 2")
            t.wait("Filter: write conn == 2  \u2713 valid")
            t.keys("Enter")
            t.wait("Filter: write conn == 2   (2 match; Esc ends it)")
            rows = [l for l in t.lines()[5:-2] if l.strip()]
            self.assertEqual(len(rows), 2)
            self.assertRegex(rows[0], r"^ +51 .* 2 .*NBD_CMD_WRITE")
            self.assertRegex(rows[1], r"^ +52 .*NBD_EPERM")
            t.keys("Escape")
            t.wait(gone=["Filter:"])
            t.keys("f")
            t.type("wriet")
            t.wait("\u2717 \"wriet\" is not known; text goes in quotes")
            t.keys("Escape")
            t.wait("messages")

    def test_message_detail(self):
        """The decoder's fields, and the bytes of the head."""
        with Terminal([sample("simple")], 120, 40) as t:
            t.wait("1 connection")
            t.keys("4", "Home", "/")
            t.type("CMD_WRITE")
            t.keys("Enter", "Enter")
            t.wait("NBD_REQUEST_MAGIC (0x25609513)", "(nbd.type)", "NBD_CMD_WRITE (1)",
                   "0000  25 60 95 13", re.compile(r"\[[ x]\] "))
            t.keys("m")
            t.wait("NBD_REQUEST_MAGIC", gone=["(nbd.type)"])
            # To its reply and back.
            t.keys("=")
            t.wait("NBD_SIMPLE_REPLY_MAGIC", "after its request in frame")
            t.keys("=")
            t.wait("NBD_REQUEST_MAGIC")
            t.keys("Enter")
            t.wait(gone=["MESSAGE"])
            t.keys("Escape", "Escape")
            t.wait("MESSAGE", gone=["NBD_REQUEST_MAGIC"])

    def test_follow(self):
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            t.keys("4")
            t.wait("following")
            t.keys("k")
            t.wait("stopped")
            t.keys("g")
            t.wait(re.compile(r"(?m)^ +4 .*GREETING"))
            t.keys("G")
            t.wait("following", gone=["GREETING"])
            t.keys("PPage")
            t.wait("stopped")
            t.keys("F")
            t.wait("following")

    def test_order(self):
        """Flushes are chosen with the arrows; what they cover is marked."""
        with Terminal([sample("fio")], 120, 40) as t:
            t.wait("6 connections")
            t.keys("3")
            t.wait("conn 4", "conn 5", "conn 6", "flush")
            t.keys("g")
            t.wait("Flush of conn 4, frame 135: covers 8 writes of its own and 3 of others",
                   "8w 8K\u2713", "3w 3K\u2713")
            t.keys("j")
            t.wait("Flush of conn 4, frame 140: covers 0 writes of its own", "(conn 6)",
                   gone=["8w 8K\u2713"])
            t.keys("G")
            t.wait("frame 205")
            t.keys("Enter")
            t.wait("Filter: (flush or write) and frame >= 155", "stopped")

    def test_latency(self):
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            t.keys("6")
            t.wait("All connections", re.compile("> READ"))
            t.keys("l")
            t.wait(re.compile("> WRITE"))
            t.keys("h")
            t.wait(re.compile("> READ"))
            t.keys("]")
            t.wait('Export "" at 127.0.0.1:10809')
            t.keys("]", "]")
            t.wait("Connection 2")
            t.keys("[", "[", "[")
            t.wait("All connections")

    def test_mouse(self):
        """Tabs, heads, rows, the wheel and the bar; a second click opens."""
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            x = t.lines()[2].index("2 Connections")
            t.click(x + 3, 2)
            t.wait("CLIENT")
            t.click(t.lines()[3].index("CLIENT") + 1, 3)
            t.wait("CLIENT\u25b2")
            t.click(t.lines()[3].index("CLIENT") + 1, 3)
            t.wait("CLIENT\u25bc")
            t.click(20, 5)
            t.click(20, 5)
            t.wait("Connection 5 ")
            t.keys("Escape")
            t.wait(gone=["Connection 5 "])
            bar = t.lines()[-1]
            t.click(bar.index("F1Help") + 3, 23)
            t.wait("Keys")
            t.click(10, 10, 65)
            t.wait(gone=["Keys"])
            t.click(10, 10, 64)
            t.wait("Keys")
            t.click(t.lines()[-1].index("Quit"), 23)
            self.assertEqual(t.status(), 0)

    def test_no_mouse(self):
        with Terminal(["--no-mouse", sample("fio")]) as t:
            t.wait("6 connections")
            self.assertEqual(t.tmux("display", "-p", "#{mouse_any_flag}").strip(), "0")
        with Terminal([sample("fio")]) as t:
            t.wait("6 connections")
            self.assertEqual(t.tmux("display", "-p", "#{mouse_any_flag}").strip(), "1")

    def test_save(self):
        """A screen as text; nothing is overwritten."""
        with Terminal([sample("multi-conn-unsafe")], 120, 40) as t:
            t.wait("4 violations")
            saved = t.work / "findings"
            t.keys("5", "w")
            t.wait("Save to:")
            t.type(str(saved))
            t.keys("Enter")
            t.wait("Saved to")
            text = saved.read_text()
            self.assertEqual(text.count("violation: stale-read-after-flush [V2]"), 4)
            self.assertIn("35\u251c", text)
            t.keys("w")
            t.type(str(saved))
            t.keys("Enter")
            t.wait("File exists")
            self.assertEqual(saved.read_text(), text)
            t.keys("4", "w")
            t.wait("messages", "Save to:")
            t.type(str(t.work / "messages"))
            t.keys("Enter")
            t.wait("Saved to")
            self.assertEqual(len((t.work / "messages").read_text().splitlines()), 52)
            # What proves a finding, by reading the file again, with comments.
            t.keys("5", "Home", "s")
            t.wait("Save the packets to: finding-1.pcapng")
            path = t.work / "finding.pcapng"
            t.type(str(path))
            t.keys("Enter")
            t.wait("8 packets of finding 1 saved to")
            self.assertEqual(path.read_bytes().count(b"nbdtop: "), 7)
            self.assertIn(b"nbdtop: read reply of stale-read-after-flush [V2]",
                          path.read_bytes())
            t.keys("w")
            t.type("x.pcapng")
            t.keys("Enter")
            t.wait("Packets can be saved of live traffic only.")

    def test_clear(self):
        """It is asked first, hides, and u brings back."""
        with Terminal([sample("multi-conn-unsafe")]) as t:
            t.wait("4 violations")
            t.keys("5", "c")
            t.wait("Hide the findings so far?", "stale-read-after-flush")
            t.keys("n")
            t.wait("stale-read-after-flush", gone=["Hide"])
            t.keys("F5")
            t.wait_frame()
            self.assertIn("stale-read-after-flush", t.text())
            t.keys("c", "y")
            t.wait("No finding since those that are hidden", "4 violations",
                   gone=["stale-read-after-flush"])
            t.keys("u")
            t.wait("stale-read-after-flush", gone=["hidden"])
            t.keys("4")
            t.wait("52 messages")
            t.keys("c", "y")
            t.wait("0 messages")
            t.keys("u")
            t.wait("52 messages")
            t.keys("2")
            t.wait("127.0.0.1:42316")
            t.keys("c", "y")
            t.wait("No connection is open", "2 connections (0 open)", gone=["127.0.0.1:42316"])
            t.keys("1")
            t.wait("No export with an open connection")
            t.keys("u", "2")
            t.wait("127.0.0.1:42316")


class Files(unittest.TestCase):
    def test_standard_input(self):
        """Packets come from there, keys from the terminal."""
        with Terminal(["-"], shell="cat %s | %%s" % sample("multi-conn-unsafe")) as t:
            t.wait("4 violations")
            t.keys("5")
            t.wait("violation: stale-read-after-flush")
            self.assertEqual(t.quit(), 0)

    def test_progress_and_cancel(self):
        """A file that comes slowly is shown as far as it has come; Esc ends it, and what
        there is stays."""
        head, packets = records(sample("simple"))
        ended = threading.Event()
        with Terminal([sample("simple")]) as helper:
            fifo = helper.work / "fifo"
            os.mkfifo(fifo)

            def feed():
                with open(fifo, "wb", buffering=0) as out:
                    out.write(head)
                    for record, data in packets[:40]:
                        out.write(record + data)
                    while not ended.wait(0.05):  # never comes to its end by itself
                        try:
                            out.write(packets[0][0] + packets[0][1])
                        except BrokenPipeError:
                            return

            thread = threading.Thread(target=feed)
            thread.start()
            try:
                with Terminal([fifo]) as t:
                    t.wait("LOADING, Esc stops", "1 connection")
                    t.keys("4")
                    t.wait("DISC cookie")
                    t.keys("1", "Escape")
                    t.wait("STOPPED before its end", "1 connection")
                    self.assertEqual(t.quit(), 0)
            finally:
                ended.set()
                thread.join()

    def test_stuck_input(self):
        """A pipe that says nothing more does not keep the program."""
        with Terminal(["-"], shell="(cat %s; sleep 100) | %%s" % sample("simple")) as t:
            t.wait("LOADING", "1 connection ")
            t.keys("q")
            t.wait("1 connection to 1 export:")

    def test_replay(self):
        """In its own time: half a second of it, the violation at its end."""
        with Terminal(["--replay=0.05", sample("zeroes-not-zeroed")]) as t:
            t.wait("REPLAY x0.05")
            t.keys("+")
            t.wait("REPLAY x0.1")
            t.keys("-", "-")
            t.wait("REPLAY x0.025")
            t.keys("p")
            t.wait("PAUSED")
            packets = t.lines()[0]
            time.sleep(0.4)
            self.assertEqual(t.lines()[0], packets)
            t.keys("p")
            t.wait("REPLAY", gone=["1 violation"])
            for _ in range(8):
                t.keys("+")
            t.wait("1 violation", "file", gone=["REPLAY"])

    def test_formats(self):
        """What nbdaudit reads, nbdtop does."""
        with Terminal([sample("fio")]) as t:  # zstd
            t.wait("316 packets", "6 connections")


if __name__ == "__main__":
    unittest.main(verbosity=2)
