#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How the plugin behaves inside Wireshark: what it registers, what it takes over and
gives back, what filters and statistics see."""

import json
import pathlib
import random
import re
import shutil
import struct
import subprocess
import unittest

import shark

S = shark.SAMPLES
R = shark.ROOT / "tests" / "reports"


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shark = shark.Shark()
        cls.plain = shark.Shark(plugin=None)

    def lines(self, capture, *argv, plugin=True):
        which = self.shark if plugin else self.plain
        run = which.tshark(capture, *argv)
        self.assertNotIn("bug", run.stdout + run.stderr)
        return run.stdout.splitlines()

    def count(self, capture, display, *argv, plugin=True):
        return len(self.lines(capture, "-2", "-Y", display, *argv, plugin=plugin))


class Registration(Base):
    def test_loaded(self):
        self.assertIn("nbdscope.so", self.shark.run("tshark", "-G", "plugins").stdout)

    def test_needs_little(self):
        """Wireshark's libraries, GLib's and C's: so a Wireshark without Lua will do."""
        said = subprocess.run(["readelf", "-d", shark.PLUGIN], check=True,
                              stdout=subprocess.PIPE).stdout.decode()
        needed = re.findall(r"NEEDED.*\[(.*?)\]", said)
        self.assertIn("libwireshark", "".join(needed))
        for library in needed:
            self.assertRegex(library, r"^(libwireshark|libwsutil|libwiretap|libglib-2\.0|"
                                      r"libgmodule-2\.0|libc|libm|ld-linux[-\w]*)\.so")

    def test_silent(self):
        """Neither at the start nor in a run does Wireshark complain."""
        for argv in ("-G", "protocols"), ("-r", self.shark.copy(S / "mtu-1500.pcap")):
            run = self.shark.run("tshark", *argv)
            self.assertEqual(run.stderr, "")

    def test_one_namespace(self):
        """One protocol nbd, and each field of the table under its name."""
        dump = self.shark.run("tshark", "-G", "fields").stdout.splitlines()
        protocols = [row for row in (line.split("\t") for line in dump)
                     if row[0] == "P" and row[2] == "nbd"]
        self.assertEqual(len(protocols), 1)
        names = {line.split("\t")[2] for line in dump if line.startswith("F\t")}
        for name in ("nbd.hnd.flags.fixed_new", "nbd.trans.flags.multi_conn", "nbd.cmd.flags.fua",
                     "nbd.type", "nbd.handle", "nbd.from", "nbd.len", "nbd.error",
                     "nbd.export.size", "nbd.response_in", "nbd.response_to", "nbd.time",
                     "nbd.data", "nbd.finding.rule", "nbd.finding.severity"):
            self.assertIn(name, names)

    def test_what_the_builtin_has_stays(self):
        def fields(which):
            return {line.split("\t")[2] for line in which.run("tshark", "-G", "fields").stdout
                    .splitlines() if line.startswith("F\t") and "\tnbd." in line}
        self.assertLessEqual(fields(self.plain), fields(self.shark))

    def test_flags_are_where_the_specification_has_them(self):
        dump = self.shark.run("tshark", "-G", "fields").stdout
        for name, bit in (("multi_conn", 8), ("cache", 10), ("df", 7), ("fast_zero", 11)):
            mask = re.search(r"^F\t[^\t]*\tnbd\.trans\.flags\.%s\tFT_BOOLEAN\tnbd\t16\t(\S+)" % name,
                             dump, re.M).group(1)
            self.assertEqual(int(mask, 0), 1 << bit, name)

    def test_filters(self):
        capture = S / "structured.pcap"
        for display, frames in (
                ("nbd.len > 4096", 4), ("nbd.type == 1", 4), ("nbd.cmd.flags.fua == 1", 1),
                ("nbd.trans.flags.multi_conn == 1", 1), ("nbd.type == NBD_CMD_TRIM", 2),
                ('nbd.error == "NBD_EINVAL"', 1), ("nbd.from == 0x10000 && nbd.type == 1", 1),
                ("nbd.export.size == 1048576", 1), ("nbd.hnd.opt == NBD_OPT_GO", 3),
                ("nbd.query == \"base:allocation\"", 1), ("nbd.response_to == 21", 1),
                ("nbd.status_flags.zero == 1", 1), ("_ws.malformed", 0)):
            with self.subTest(display):
                self.assertEqual(self.count(capture, display), frames)


class Place(Base):
    """Whose frames they are."""

    def test_leave_it_to_the_builtin(self):
        """With the preference, tshark says what it says without the plugin."""
        for name in "simple", "structured", "mid-connection":
            capture = S / (name + ".pcap")
            self.assertEqual(
                self.lines(capture, "-2", "-o", "nbd.use_builtin:TRUE"),
                self.lines(capture, "-2", plugin=False))
            for display in "nbd.len >= 512", "nbd.len == 4096", "nbd.type == 0", "nbd.from > 0":
                self.assertEqual(
                    self.count(capture, display, "-o", "nbd.use_builtin:TRUE"),
                    self.count(capture, display, plugin=False), display)

    def test_disabled(self):
        self.assertEqual(self.count(S / "simple.pcap", "tcp.len > 0 && nbd", "--disable-protocol",
                                    "nbd", "-o", "tcp.try_heuristic_first:FALSE"), 0)

    def port(self, capture, port):
        """A copy of a sample with another server port."""
        to = self.shark.dir / ("port-%d-%s" % (port, capture.name))
        data = capture.read_bytes()
        old, new = struct.pack(">H", 10809), struct.pack(">H", port)
        out, at = bytearray(data[:24]), 24
        while at < len(data):
            length = struct.unpack("<I", data[at + 8:at + 12])[0]
            frame = bytearray(data[at + 16:at + 16 + length])
            for place in 34, 36:
                if frame[place:place + 2] == old:
                    frame[place:place + 2] = new
            out += data[at:at + 16] + frame
            at += 16 + length
        to.write_bytes(out)
        to.chmod(0o644)
        return to

    def test_any_port(self):
        """A greeting, or matching cookies, on any port, also on that of another protocol."""
        for name in "simple", "mid-connection":
            capture = S / (name + ".pcap")
            expected = self.count(capture, "nbd")
            self.assertGreater(expected, 20)
            for port in 23456, 8080, 5432:
                self.assertEqual(self.count(self.port(capture, port), "nbd"), expected, port)

    def test_any_port_can_be_switched_off(self):
        capture = self.port(S / "simple.pcap", 23456)
        self.assertEqual(self.count(capture, "nbd", "--disable-heuristic", "nbdscope_tcp"), 0)
        # the well-known port is no heuristic
        self.assertGreater(self.count(S / "simple.pcap", "nbd", "--disable-heuristic",
                                      "nbdscope_tcp"), 20)
        # nor is what the user says
        self.assertGreater(self.count(capture, "nbd", "--disable-heuristic", "nbdscope_tcp",
                                      "-d", "tcp.port==23456,nbd"), 20)

    def test_frame_protocols(self):
        """The watch before TCP leaves no trace in the frame's list of protocols."""
        said = set(self.lines(S / "simple.pcap", "-T", "fields", "-e", "frame.protocols"))
        self.assertEqual(said, {"eth:ethertype:ip:tcp", "eth:ethertype:ip:tcp:nbd"})

    def test_other_traffic_is_unchanged(self):
        """Traffic that is no NBD looks the same with the plugin and without."""
        capture = self.port(S / "simple.pcap", 23456)
        data = bytearray(capture.read_bytes())
        for magic in b"NBDMAGIC", b"IHAVEOPT", b"\x25\x60\x95\x13", b"\x67\x44\x66\x98":
            data = data.replace(magic, b"x" * len(magic))
        capture.write_bytes(data)
        # That of Wireshark 4.6 guesses.
        argv = "-2", "-V", "--disable-heuristic", "nbd_tcp"
        self.assertEqual(self.lines(capture, *argv), self.lines(capture, *argv, plugin=False))


class Visits(Base):
    """What depends on the order in which frames are looked at."""

    def test_tcp_preferences_do_not_matter(self):
        captures = [S / "mtu-1500.pcap"]
        if shark.CAPTURES:
            captures += pathlib.Path(shark.CAPTURES).glob("derived_*reordered.pcap")
        fields = ("-T", "fields", "-e", "frame.number", "-e", "nbd.magic", "-e", "nbd.handle",
                  "-e", "nbd.error", "-Y", "nbd.magic", "-2")
        for capture in captures:
            said = self.lines(capture, *fields)
            self.assertGreaterEqual(len(said), 10)
            for preference in ("tcp.reassemble_out_of_order:TRUE",
                               "tcp.desegment_tcp_streams:FALSE",
                               "tcp.no_subdissector_on_error:FALSE",
                               "tcp.analyze_sequence_numbers:FALSE"):
                self.assertEqual(self.lines(capture, *fields, "-o", preference), said, preference)

    def test_findings_need_the_second_visit(self):
        # Four findings, each of an older read, a write, a flush and the read: 7 frames.
        capture = S / "multi-conn-unsafe.pcap"
        self.assertEqual(self.count(capture, 'nbd.finding.severity == "violation"'), 28)
        self.assertEqual(self.count(capture, "nbd.finding.rule", "-o", "nbd.findings:FALSE"), 0)
        # As an expert info each counts once, under its rule's name.
        self.assertEqual(self.count(capture, "_ws.expert.severity == error && "
                                             "_ws.expert.group == sequence"), 4)
        self.assertEqual(self.count(capture, "nbd.expert.stale-read-after-flush"), 4)
        self.assertEqual(self.count(capture, "nbd.expert.stale-read-after-flush.suspect"), 0)

    def test_expert_list(self):
        """-z expert has each finding once, and what is no legal message."""
        capture = S / "multi-conn-unsafe.pcap"
        said = "\n".join(self.lines(capture, "-2", "-q", "-z", "expert"))
        self.assertEqual(said.count("stale-read-after-flush: conn"), 4)
        self.assertNotIn("tshark -2", said)
        for odd in sorted(R.glob("*.pcap")):
            told = subprocess.run([shark.BIN / "nbdaudit", "-m", odd], stdout=subprocess.PIPE,
                                  check=False).stdout.decode()
            if "nonsense: " in told:
                said = "\n".join(self.lines(odd, "-2", "-q", "-z", "expert"))
                self.assertIn("no legal message", said, odd.name)

    def test_broken_off(self):
        """A reply whose data never came is not shown as one that came."""
        said = self.lines(R / "x_read_header_then_fin.pcap", "-2")
        self.assertIn("READ 4 KiB @ 0x0 → broken off before all of its 4 KiB", said[13])
        self.assertFalse([line for line in said if "OK 4 KiB" in line])

    def test_single_pass_says_so(self):
        """Its first finding says that -2 shows all, and only that one."""
        capture = S / "multi-conn-off.pcap"
        said = "\n".join(self.lines(capture, "-V"))
        self.assertIn("Rule: ", said)
        self.assertEqual(said.count("tshark -2 shows"), 1)
        self.assertNotIn("tshark -2 shows", "\n".join(self.lines(capture, "-2", "-V")))

    def test_findings_in_a_single_pass(self):
        """What became certain later is told when it does, once: also to the tap."""
        capture = shark.CAPTURES and next(pathlib.Path(shark.CAPTURES).glob(
            "linux/nbdkit-1.32.5-percache-unsafe_*ext4-4conn.pcap.zst"), None)
        if not capture:
            self.skipTest("NBDSCOPE_CAPTURES has no long capture with violations")
        late = 'nbd.finding.role == "about earlier frames"'
        rules = [rule for line in self.lines(capture, "-Y", late, "-T", "fields",
                                             "-e", "nbd.finding.rule")
                 for rule in line.split(",")]
        self.assertIn("stale-read-after-flush", rules)
        self.assertEqual(self.count(capture, late), 0)
        said = "\n".join(self.lines(capture, "-q", "-z", "nbd,tree"))
        counted = re.search(r"stale-read-after-flush +(\d+) ", said)
        self.assertEqual(int(counted.group(1)), rules.count("stale-read-after-flush"))
        said = "\n".join(self.lines(capture, "-q", "-2", "-z", "nbd,tree"))
        counted = int(re.search(r"stale-read-after-flush +(\d+) ", said).group(1))
        self.assertGreater(counted, rules.count("stale-read-after-flush"))

    def test_links(self):
        """Requests and replies point at each other, and the time is theirs."""
        rows = [line.split("\t") for line in self.lines(
            S / "simple.pcap", "-2", "-T", "fields", "-e", "frame.number", "-e", "nbd.response_in",
            "-e", "nbd.response_to", "-e", "nbd.time", "-e", "frame.time_epoch", "-Y", "nbd.magic")]
        at = {row[0]: row for row in rows}
        pairs = 0
        for number, answered_in, _, _, sent in rows:
            if answered_in:
                reply = at[answered_in]
                self.assertEqual(reply[2], number)
                self.assertAlmostEqual(float(reply[3]), float(reply[4]) - float(sent), places=6)
                pairs += 1
        self.assertEqual(pairs, 8)


class Gui(Base):
    """What a person at a graphical Wireshark does, by sharkd, its engine without a screen."""

    def ask(self, *requests):
        lines = [json.dumps(dict(request, jsonrpc="2.0", id=at))
                 for at, request in enumerate(requests, 1)]
        run = self.shark.run("sharkd", "-", stdin="\n".join(lines) + "\n")
        answers = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
        self.assertEqual([answer["id"] for answer in answers],
                         list(range(1, len(requests) + 1)), run.stderr)
        return [answer["result"] for answer in answers]

    @staticmethod
    def frame(number):
        return {"method": "frame", "params": {"frame": number, "proto": True, "columns": True}}

    def load(self, capture):
        return {"method": "load", "params": {"file": str(self.shark.copy(capture))}}

    def test_clicking_around(self):
        """A frame shows the same whenever it is looked at, also after another file."""
        if not shutil.which("sharkd"):
            self.skipTest("sharkd not found")
        for name, count in ("multi-conn-unsafe", 76), ("mid-connection", 39), ("mtu-1500", 60):
            capture = S / (name + ".pcap")
            numbers = list(range(1, count + 1))
            dice = random.Random(count)
            shuffled = [dice.choice(numbers) for _ in range(2 * count)]
            first = dict(zip(numbers, self.ask(self.load(capture), *map(self.frame, numbers))[1:]))
            later = self.ask(self.load(S / "errors.pcap"), self.frame(20), self.load(capture),
                             *map(self.frame, shuffled))[3:]
            for number, said in zip(shuffled, later):
                self.assertEqual(said, first[number], "%s frame %d" % (name, number))
            self.assertIn("nbd", json.dumps(first))

    def test_filter_after_load(self):
        if not shutil.which("sharkd"):
            self.skipTest("sharkd not found")
        said = self.ask(self.load(S / "multi-conn-unsafe.pcap"),
                        {"method": "frames",
                         "params": {"filter": 'nbd.finding.severity == "violation"'}},
                        {"method": "tap", "params": {"tap0": "srt:nbd"}})
        self.assertEqual(len(said[1]), 28)
        self.assertEqual(sum(row["num"] for row in said[2]["taps"][0]["tables"][0]["r"]), 18)


class Statistics(Base):
    def test_response_times(self):
        said = "\n".join(self.lines(S / "simple.pcap", "-q", "-z", "nbd,srt"))
        for command, count in (("READ", 3), ("WRITE", 2), ("FLUSH", 1), ("TRIM", 1)):
            self.assertRegex(said, r"NBD_CMD_%s +%d " % (command, count))

    def test_tree(self):
        said = "\n".join(self.lines(S / "errors.pcap", "-q", "-2", "-z", "nbd,tree"))
        self.assertRegex(said, r"Requests +\d+")
        self.assertRegex(said, r"\n +NBD_E\w+ +\d+ ")

    def test_exports(self):
        said = self.lines(S / "multi-conn.pcap", "-q", "-z", "nbd,exports")
        rows = [[cell.strip() for cell in line.split("|")] for line in said if ":10809" in line]
        self.assertEqual(len(rows), 2)
        for row in rows:
            self.assertEqual(row[4], "yes")
        self.assertGreater(sum(int(row[10]) for row in rows), 0) # flushes


class Profile(Base):
    def test_filters_compile(self):
        """Each colour, button and column of the profile is of fields that exist."""
        folder = shark.ROOT / "dissector" / "wireshark" / "profile" / "NBD"
        filters = [line.split("@")[2] for line in (folder / "colorfilters").read_text().splitlines()
                   if line.startswith("@")]
        filters += [re.findall(r'"([^"]*)"', line)[2].replace(r"\x22", '"') for line in
                    (folder / "dfilter_buttons").read_text().splitlines() if line[0] == '"']
        filters += re.findall(r"%Cus:([\w.]+):", (folder / "preferences").read_text())
        self.assertGreater(len(filters), 20)
        for display in filters:
            with self.subTest(display):
                self.count(S / "simple.pcap", display)

    def test_tshark_takes_it(self):
        to = self.shark.home / ".config" / "wireshark" / "profiles" / "NBD"
        to.mkdir(parents=True)
        for file in (shark.ROOT / "dissector" / "wireshark" / "profile" / "NBD").iterdir():
            (to / file.name).write_bytes(file.read_bytes())
        run = self.shark.tshark(S / "multi-conn-unsafe.pcap", "-C", "NBD", "-2", "--color",
                                "-T", "psml")
        self.assertEqual(run.stderr, "")
        self.assertIn("stale-read-after-flush", run.stdout)
        colours = set(re.findall(r"<packet foreground='(\S+)' background='(\S+)'", run.stdout))
        self.assertIn(("#ffffff", "#b01720"), {pair[::1] for pair in colours} |
                      {pair[::-1] for pair in colours})


if __name__ == "__main__":
    print("tshark %s.%s" % shark.Shark().version)
    unittest.main()
