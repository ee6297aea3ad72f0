#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit's command line: options, forms, streams and exit statuses."""

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import unittest

ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR",
                                   pathlib.Path(__file__).resolve().parent.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))
NBDAUDIT = BIN / "nbdaudit"
SAMPLES = ROOT / "samples"
LIAR = SAMPLES / "multi-conn-unsafe.pcap"
HONEST = SAMPLES / "multi-conn.pcap"
TLS = SAMPLES / "starttls.pcap"
RECORD = struct.Struct("<IIII")
sys.path.insert(0, str(ROOT / "tests" / "rules"))
import synth  # noqa: E402

# The rules of the consistency engine that scripts may rely on.
RULES = {
    "stale-read-own-write": ("V1", "violation"),
    "stale-read-after-flush": ("V2", "violation"),
    "stale-read-after-fua": ("V3", "violation"),
    "zeroes-not-read-back": ("V4", "violation"),
    "zero-status-contradicts-data": ("V6", "violation"),
    "reply-before-payload": ("V7", "violation"),
    "write-succeeded-on-read-only": ("V8", "violation"),
    "unstable-read": ("V9", "violation"),
    "read-unexplained-data": ("V1x", "suspect"),
    "stale-read-unordered-writes": ("Q6", "suspect"),
    "lost-after-reconnect": ("trace 31", "suspect"),
    "stale-read-unflushed": ("Hz5", "hazard"),
    "stale-read-no-multi-conn": (None, "hazard"),
    "multiplex-without-multi-conn": ("R-22", "hazard"),
    "flush-misses-other-connection": ("Hz2", "hazard"),
    "flush-before-write-replies": ("Hz3", "note"),
    "unflushed-at-disconnect": ("Hz7", "hazard"),
    "flush-failed-ignored": ("Hz12", "hazard"),
    "write-reissued-elsewhere": ("Hz13", "hazard"),
    "overlapping-writes-in-flight": ("Hz8", "note"),
    "flags-differ-between-connections": ("Hz16", "hazard"),
    "cache-flag-at-bit-8": ("Q1 of 4.3", "hazard"),
}


class Run:
    def __init__(self, *arguments, stdin=subprocess.DEVNULL, input=None, env=None, stdout=None):
        environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        environment["LC_ALL"] = "C.UTF-8"
        environment.update(env or {})
        if input is not None:
            stdin = None
        run = subprocess.run([NBDAUDIT, *arguments], stdin=stdin, input=input,
                             stdout=subprocess.PIPE if stdout is None else stdout,
                             stderr=subprocess.PIPE, env=environment, timeout=120)
        self.status = run.returncode
        self.out = (run.stdout or b"").decode()
        self.err = run.stderr.decode()

    def objects(self):
        return [json.loads(line) for line in self.out.splitlines()]


class Case(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.work = pathlib.Path(directory.name)

    def usage_error(self, *arguments, says):
        run = Run(*arguments)
        self.assertEqual(run.status, 2, (arguments, run.err))
        self.assertEqual(run.out, "", arguments)
        self.assertRegex(run.err, r"^nbdaudit: |nbdaudit: ", arguments)
        self.assertIn(says, run.err, arguments)
        return run

    def records(self, path=HONEST):
        """Where each record of a little-endian pcap begins, and its end."""
        data = path.read_bytes()
        self.assertIn(data[:4], (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"), path)
        at = [24]
        while at[-1] < len(data):
            at.append(at[-1] + 16 + RECORD.unpack_from(data, at[-1])[2])
        self.assertEqual(at[-1], len(data))
        return data, at


class Options(Case):
    def test_help(self):
        for option in ("--help", "-h"):
            run = Run(option)
            self.assertEqual((run.status, run.err), (0, ""))
            for word in ("--format", "-f", "--output", "-o", "--messages", "-m", "--port", "-p",
                         "--severity", "--fail-on", "--exclusive", "--memory", "--write", "-w",
                         "--summary", "--quiet", "-q", "--min-judged", "--allow-unaudited", "--why", "--debug",
                         "junit", "sarif",
                         "--list-rules", "--explain", "--help", "--version", "-i", "never",
                         "violation", "suspect", "hazard", "note", "Exit status"):
                self.assertIn(word, run.out)
            self.assertEqual([line for line in run.out.splitlines() if len(line) > 80], [])

    def test_version(self):
        for option in ("--version", "-V"):
            run = Run(option)
            self.assertEqual((run.status, run.err), (0, ""))
            self.assertRegex(run.out, r"^nbdaudit \(nbdscope\) \d+\.\d+\.\d+\n$")

    def test_nothing_named(self):
        self.usage_error(says="no capture file")
        self.usage_error("--format=json", says="no capture file")

    def test_unknown_option(self):
        self.usage_error("--no-such-option", LIAR, says="--help")
        self.usage_error("-Z", LIAR, says="--help")
        self.usage_error("--format", says="--help")  # its argument is missing

    def test_format(self):
        self.usage_error("-f", "xml", LIAR, says="'xml'")
        # Before anything is read: the file is not even looked for.
        run = self.usage_error("--format=htm", "/nonexistent/capture", says="html")
        self.assertNotIn("/nonexistent", run.err)

    def test_ports(self):
        for bad in ("0", "65536", "x", "1,,2", "", "1,", ",1", "-1", "1 2", "99999999999999999999"):
            self.usage_error("--port=" + bad, HONEST, says="port")
        self.usage_error("-p", ",".join(str(n) for n in range(1, 66)), HONEST, says="64 ports")
        for good in (["-p", "1,2"], ["--port=65535"], ["-p", "1", "-p", "2,3"]):
            self.assertEqual(Run(*good, HONEST).status, 0)

    def test_memory(self):
        for bad in ("", "x", "1X", "-1", "1.5G", "0", "4K", "99999999999999999999", "99999999T",
                    "1GG", "1 G"):
            self.usage_error("--memory=" + bad, HONEST, says="'%s'" % bad)
        for good in ("64M", "1G", "2097152", "1g", "64MiB", "2048K", "1T"):
            self.assertEqual(Run("--memory=" + good, HONEST).status, 0, good)

    def test_levels(self):
        self.usage_error("--severity=never", HONEST, says="violation, suspect, hazard, note")
        self.usage_error("--severity=", HONEST, says="violation, suspect, hazard, note")
        self.usage_error("--fail-on=always", HONEST, says="note, never")

    def test_write_needs_an_interface(self):
        self.usage_error("-w", self.work / "x.pcapng", HONEST, says="--interface")
        self.assertFalse((self.work / "x.pcapng").exists())

    def test_interface_that_does_not_exist(self):
        run = Run("-i", "nosuchinterface0", "port", "1")
        self.assertEqual(run.status, 2)
        self.assertIn("nosuchinterface0", run.err)

    def test_options_after_files(self):
        run = Run(HONEST, "--format=json")
        self.assertEqual(run.status, 0)
        self.assertEqual(run.objects()[0]["type"], "capture")
        run = Run("--", HONEST, "--format=json")  # two files: the second does not exist
        self.assertEqual(run.status, 2)
        self.assertIn("--format=json", run.err)


class Rules(Case):
    def test_list(self):
        run = Run("--list-rules")
        self.assertEqual((run.status, run.err), (0, ""))
        listed = {}
        for line in run.out.splitlines():
            match = re.match(r"(\S+) +(\S.*?) +(violation|suspect|hazard|note) +(\S.*)$",
                             line)
            self.assertTrue(match, line)
            listed[match.group(1)] = (match.group(2), match.group(3))
        for rule, (ref, level) in RULES.items():
            self.assertIn(rule, listed)
            self.assertEqual(listed[rule][1], level, rule)
            if ref:
                self.assertEqual(listed[rule][0], ref, rule)

    def test_explain(self):
        for rule in RULES:
            run = Run("--explain=" + rule)
            self.assertEqual((run.status, run.err), (0, ""), rule)
            self.assertTrue(run.out.startswith(rule + " ["), rule)
            self.assertGreater(len(run.out.splitlines()), 6, rule)
        self.assertIn("stale-read-after-flush", Run("--explain=V2").out)

    def test_as_json(self):
        for options in (["--list-rules", "-f", "json"], ["-f", "json", "--list-rules"]):
            objects = Run(*options).objects()
            listed = {o["rule"]: o for o in objects if o["type"] == "rule"}
            for rule, (ref, level) in RULES.items():
                self.assertEqual(listed[rule]["severity"], level)
                self.assertIn(listed[rule]["side"], ("server", "client", "either"))
                self.assertIn(listed[rule]["basis"], ("explicit", "implied"))
                for name in ("summary", "explain", "advice", "place"):
                    self.assertTrue(listed[rule][name], (rule, name))
        (one,) = Run("--explain=unstable-read", "--format=json").objects()
        self.assertEqual(one, listed["unstable-read"])
        self.assertEqual(Run("--explain=v2", "--format=json").objects(),
                         [listed["stale-read-after-flush"]])
        self.assertEqual(Run("--list-rules", "-f", "sarif").status, 2)

    def test_every_row_explains(self):
        """A name is one rule's; a row shows all of it."""
        objects = Run("--list-rules", "-f", "json").objects()
        rules = [o for o in objects if o["type"] == "rule"]
        self.assertEqual(len({o["rule"] for o in rules}), len(rules))
        for ref in {o["ref"] for o in objects}:
            shown = Run("--explain=" + ref).out
            for o in objects:
                if o["ref"] == ref and o["type"] == "rule":
                    self.assertIn("%s [%s]\n" % (o["rule"], ref), shown)
                    self.assertIn(o["summary"], shown)

    def test_explain_unknown(self):
        for typed, meant in (("stale-read-after-flushes", "stale-read-after-flush"),
                             ("stale-flush-read", "stale-read-after-flush"),
                             ("unstable-reed", "unstable-read"),
                             ("multi-conn", "multiplex-without-multi-conn")):
            run = Run("--explain=" + typed)
            self.assertEqual((run.status, run.out), (2, ""))
            self.assertIn("'%s'" % typed, run.err)
            self.assertIn("  %s\n" % meant, run.err)
        run = Run("--explain=" + "x" * 1000)
        self.assertEqual(run.status, 2)
        self.assertIn("--list-rules", run.err)


class Inputs(Case):
    def unreadable(self, path, *more):
        """Text, then JSON, of a file of which nothing can be read."""
        run = Run(path)
        self.assertEqual(run.status, 2)
        self.assertIn(str(path), run.err)
        self.assertIn("unreadable", run.out)
        run = Run("--format=json", path)
        self.assertEqual(run.status, 2)
        objects = run.objects()
        self.assertEqual([o["type"] for o in objects], ["capture", "summary"])
        self.assertIs(objects[0]["complete"], False)
        self.assertTrue(objects[0]["error"])
        self.assertNotIn("start", objects[0])
        self.assertEqual(objects[1]["verdict"], "unaudited")
        # Bad input outweighs that nothing was audited, also where that is allowed.
        self.assertEqual(Run("--allow-unaudited", path).status, 2)
        self.assertIn("verdict     unaudited: ", Run(path).out)

    def test_missing_file(self):
        self.unreadable("/nonexistent/capture.pcap")

    def test_directory(self):
        self.unreadable(self.work)

    def test_not_a_capture(self):
        for name, content in (("empty", b""), ("text", b"no capture, but a line of text\n" * 9),
                              ("short", b"\xd4\xc3\xb2\xa1\x02\x00")):
            path = self.work / name
            path.write_bytes(content)
            self.unreadable(path)

    def test_cut_file(self):
        """What came before the cut is reported, and where it stopped."""
        data, at = self.records()
        middle = len(at) // 2
        path = self.work / "cut.pcap"
        for extra in (1, 15, 16, 17):
            path.write_bytes(data[:at[middle] + extra])
            run = Run("--format=json", path)
            self.assertEqual(run.status, 2, extra)
            objects = run.objects()
            self.assertIs(objects[0]["complete"], False)
            self.assertTrue(objects[0]["error"])
            self.assertEqual(objects[0]["frames"], middle)
            self.assertTrue(any(o["type"] == "connection" for o in objects))
            self.assertEqual(objects[-1]["type"], "summary")
            run = Run(path)
            self.assertEqual(run.status, 2)
            self.assertRegex(run.out, r"incomplete .*\n?.*up to frame %d\b" % middle)
            self.assertIn("Connection 1 ", run.out)
            self.assertIn(str(path), run.err)

    def test_cut_between_records(self):
        """That is a shorter capture, and whole."""
        data, at = self.records()
        path = self.work / "shorter.pcap"
        path.write_bytes(data[:at[len(at) // 2]])
        run = Run("--format=json", path)
        self.assertEqual(run.status, 0)
        self.assertIs(run.objects()[0]["complete"], True)

    def test_no_frames(self):
        path = self.work / "none.pcap"
        path.write_bytes(HONEST.read_bytes()[:24])
        run = Run("--format=json", path)
        self.assertEqual(run.status, 3)
        objects = run.objects()
        self.assertEqual([o["type"] for o in objects], ["capture", "summary"])
        self.assertNotIn("start", objects[0])
        self.assertEqual(objects[1]["verdict"], "unaudited")
        self.assertIn("the capture holds no packets", Run(path).out)
        self.assertEqual(Run("--allow-unaudited", path).status, 0)

    def test_standard_input(self):
        run = Run("--format=json", "-", input=LIAR.read_bytes())
        self.assertEqual(run.status, 1)
        objects = run.objects()
        self.assertEqual(objects[0]["file"], "-")
        named = Run("--format=json", LIAR).objects()
        self.assertEqual(objects[1:-1], named[1:-1])

    def test_several_files(self):
        """One report after the other; the worst status wins, 2 over 1 over 0."""
        for files, status in (([HONEST, HONEST], 0), ([HONEST, LIAR], 1), ([LIAR, HONEST], 1),
                              ([LIAR, "/nonexistent", HONEST], 2), ([HONEST, TLS], 3),
                              ([TLS, LIAR], 1)):
            run = Run("--format=json", *files)
            self.assertEqual(run.status, status, files)
            objects = run.objects()
            self.assertEqual([o["file"] for o in objects if o["type"] == "capture"],
                             [str(f) for f in files])
            self.assertEqual(sum(o["type"] == "summary" for o in objects), len(files))
            # Each report is that of its file alone.
            reports = []
            for o in objects:
                if o["type"] == "capture":
                    reports.append([])
                reports[-1].append(o)
            for number, (file, report) in enumerate(zip(files, reports), 1):
                for o in report:
                    self.assertEqual(list(o)[:2], ["type", "capture"])
                    self.assertEqual(o.pop("capture"), number)
                alone = Run("--format=json", file).objects()
                self.assertEqual(report, alone)


class Outputs(Case):
    def test_output_file(self):
        path = self.work / "report"
        run = Run("-o", path, "--format=json", LIAR)
        self.assertEqual((run.status, run.out, run.err), (1, "", ""))
        self.assertEqual(path.read_text(), Run("--format=json", LIAR).out)
        run = Run("-o", "-", "--format=json", LIAR)
        self.assertEqual(path.read_text(), run.out)

    def test_nothing_invisible(self):
        """Names of the wire, and of files, show what they are made of in all forms."""
        for name in ("a\u200b", "\U000e0001", "\u202eab"[:2], "\x1b[2J"):
            self.assertEqual(len(name.encode()), len(b"disk")) # the export, with findings
            capture = self.work / f"name{name}.pcap"
            capture.write_bytes((SAMPLES / "zeroes-not-zeroed.pcap").read_bytes()
                                .replace(b"disk", name.encode()))
            for arguments in (["-m"], ["--format=json", "-m"], ["--format=junit"],
                              ["--format=sarif"], ["--format=html"], ["--why=40"], ["--summary"],
                              ["--debug=tcp,order,contents,judge"],
                              [self.work / f"none{name}"]):
                with self.subTest(name=ascii(name), arguments=arguments):
                    run = Run(*arguments, capture)
                    for character in name:
                        if not (character.isascii() and character.isprintable()):
                            self.assertNotIn(character, run.out)
                            self.assertNotIn(character, run.err)

    def test_output_that_cannot_be_opened(self):
        run = Run("-o", "/nonexistent/report", HONEST)
        self.assertEqual(run.status, 2)
        self.assertIn("/nonexistent/report", run.err)

    def test_summary(self):
        """Head and table alone: the same as in the whole report."""
        for path in (LIAR, HONEST, TLS):
            brief, whole = Run("--summary", path), Run(path)
            self.assertEqual(brief.status, whole.status)
            self.assertTrue(whole.out.startswith(brief.out))
            self.assertNotIn("Connection", brief.out)
            self.assertIn("  verdict  ", brief.out)
            objects = Run("--summary", "--format=json", path).objects()
            complete = Run("--format=json", path).objects()
            self.assertEqual(objects, [complete[0], complete[-1]])
        self.assertRegex(Run("--summary", LIAR).out,
                         r"findings +violation +\d+  stale-read-after-flush \[V2\]")

    def test_why(self):
        """Why a read was judged as it was, or not, and what would have been needed."""
        reports = ROOT / "tests" / "reports"
        wrong = reports / "nbd43_wrong_offset.pcap"
        self.assertIn("broke stale-read-own-write [V1]", Run("--why=30", wrong).out)
        (said,) = [o for o in Run("--why=30", "-f", "json", wrong).objects()
                   if o["type"] == "why"]
        self.assertEqual((said["reply_frame"], said["checked"], said["unchecked"], said["rule"]),
                         (30, 4096, {}, "stale-read-own-write"))
        failed = reports / "u_failed_write_read.pcap"
        (said,) = [o for o in Run("--why=16", "-f", "json", failed).objects()
                   if o["type"] == "why"]
        self.assertEqual(said["unchecked"], {"failed-write": 4096})
        self.assertEqual(len(said["needed"]), 1)
        self.assertIn("needed: a completed write", Run("--why=16", failed).out.replace("\n" + " " * 14, " "))
        self.assertIn("no read", Run("--why=3", failed).out)
        # a frame that is none of a read: which are near, or under way
        hole = SAMPLES / "qemu-io.pcap"
        self.assertIn("ends in frame 30; the next one begins in frame 37", Run("--why=35", hole).out)
        self.assertIn("1 KiB came as a hole", Run("--why=38", hole).out)
        self.assertIn("(frames 39 to 41)", Run("--why=40", SAMPLES / "zeroes-not-zeroed.pcap").out)
        # Of all reads of a capture the sums are those of the summary.
        objects = Run("-f", "json", HONEST).objects()
        frames = {m["frame"] for m in Run("-f", "json", "-m", HONEST).objects()
                  if m["type"] == "message" and m["name"] == "NBD_CMD_READ"}
        checked = 0
        for frame in frames:
            checked += sum(o["checked"] for o in Run("--why=%d" % frame, "-f", "json", HONEST).objects()
                           if o["type"] == "why" and o["request_frame"] == frame)
        self.assertEqual(checked, objects[-1]["checked"]["bytes"])
        for bad in ("", "0", "x", "-1", "1x", "99999999999999999999999"):
            self.assertEqual(Run("--why=" + bad, HONEST).status, 2, bad)

    def test_debug(self):
        """The engine's steps, of the topics that were asked for; the report is the same."""
        plain = Run(LIAR)
        for topics in ("tcp", "order", "contents", "judge", "judge,tcp", "tcp,order,contents,judge"):
            run = Run("--debug=" + topics, LIAR)
            self.assertEqual((run.status, run.out), (plain.status, plain.out))
            self.assertEqual({line.split(" ")[0] for line in run.err.splitlines()},
                             set(topics.split(",")))
        self.assertIn("the final word on conn 2's", Run("--debug=judge", LIAR).err)
        self.assertRegex(Run("--debug=order", LIAR).err, r"flush #\d+ covers 1 writes of its own")
        for bad in ("", "x", "tcp,", ",tcp", "tcp judge"):
            run = Run("--debug=" + bad, LIAR)
            self.assertEqual((run.status, run.out), (2, ""), bad)

    def test_quiet(self):
        for options in ([], ["--format=json"], ["--format=junit"], ["--format=sarif"],
                        ["--format=html"]):
            run = Run("-q", *options, LIAR)
            self.assertEqual((run.status, run.out, run.err), (1, "", ""), options)

    def test_what_excludes_each_other(self):
        for options in (["-m", "-q"], ["-m", "--summary"], ["-m", "-f", "sarif"],
                        ["-m", "-f", "html"], ["--summary", "-f", "junit"]):
            run = Run(*options, LIAR)
            self.assertEqual((run.status, run.out), (2, ""), options)

    def test_messages_that_wait(self):
        """They wait in a temporary file, and it is an error if they cannot."""
        run = Run("-m", "--format=json", LIAR, env={"TMPDIR": str(self.work)})
        self.assertEqual(run.status, 1)
        self.assertEqual(list(self.work.iterdir()), [])
        run = Run("-m", "--format=json", LIAR, env={"TMPDIR": "/nonexistent"})
        self.assertEqual(run.status, 2)
        self.assertIn("temporary file", run.err)

    def test_output_over_input(self):
        path = self.work / "capture.pcap"
        path.write_bytes(HONEST.read_bytes())
        link = self.work / "link"
        link.symlink_to(path)
        for output in (path, link):
            run = Run("-o", output, path)
            self.assertEqual(run.status, 2)
            self.assertIn("overwrite", run.err)
            self.assertEqual(path.read_bytes(), HONEST.read_bytes())

    def test_full_disk(self):
        for options in ([], ["-m"], ["--format=json"]):
            run = Run("-o", "/dev/full", *options, LIAR)
            self.assertEqual(run.status, 2)
            self.assertIn("/dev/full", run.err)
            self.assertIn("No space left", run.err)
        with open("/dev/full", "w") as full:
            for option in ("--help", "--version", "--list-rules", "--explain=V2"):
                run = Run(option, stdout=full)
                self.assertEqual(run.status, 2, option)
                self.assertIn("No space left", run.err)

    def test_closed_pipe(self):
        """Silent, as every tool: nobody is there to be told."""
        for options in ([], ["-m", "--format=json"]):
            reader, writer = os.pipe()
            os.close(reader)
            with os.fdopen(writer, "w") as pipe:
                run = Run(*options, LIAR, stdout=pipe)
            self.assertEqual(run.status, 2)
            self.assertEqual(run.err, "")


class Statuses(Case):
    def test_fail_on(self):
        self.assertEqual(Run(LIAR).status, 1)
        self.assertEqual(Run("--fail-on=violation", LIAR).status, 1)
        self.assertEqual(Run("--fail-on=note", LIAR).status, 1)
        self.assertEqual(Run("--fail-on=never", LIAR).status, 0)
        self.assertEqual(Run("--fail-on=never", LIAR, "/nonexistent").status, 2)
        self.assertEqual(Run(HONEST).status, 0)
        hazards = SAMPLES / "multi-conn-off.pcap"
        self.assertEqual(Run(hazards).status, 0)
        self.assertEqual(Run("--fail-on=suspect", hazards).status, 0)
        self.assertEqual(Run("--fail-on=hazard", hazards).status, 1)

    def test_severity(self):
        """Leaving findings out changes neither the counts nor the exit status."""
        hazards = SAMPLES / "multi-conn-off.pcap"
        whole = Run("--format=json", hazards).objects()
        levels = [o["severity"] for o in whole if o["type"] == "finding"]
        self.assertIn("hazard", levels)
        run = Run("--format=json", "--severity=violation", "--fail-on=hazard", hazards)
        self.assertEqual(run.status, 1)
        objects = run.objects()
        self.assertFalse([o for o in objects if o["type"] == "finding"])
        self.assertEqual(objects[-1]["findings"], whole[-1]["findings"])
        self.assertEqual(objects[-1]["verdict"], "hazards")
        self.assertIn("not shown", Run("--severity=violation", hazards).out)

    def test_unaudited(self):
        for options in ([], ["--format=json"], ["--format=sarif"], ["--format=junit"], ["-q"]):
            self.assertEqual(Run(*options, TLS).status, 3, options)
            self.assertEqual(Run(*options, "--allow-unaudited", TLS).status, 0, options)
        self.assertEqual(Run("--fail-on=never", TLS).status, 3)
        summary = Run("--format=json", TLS).objects()[-1]
        self.assertEqual(summary["verdict"], "unaudited")
        self.assertIn("TLS", summary["why"])
        self.assertRegex(Run(TLS).out.splitlines()[-1], "^  verdict     unaudited: all .* TLS")

    def test_one_direction(self):
        data = (SAMPLES / "simple.pcap").read_bytes()
        for side in (22, 20):  # of the TCP header behind Ethernet and IPv4: to it, from it
            out, at = data[:24], 24
            while at < len(data):
                length = RECORD.unpack_from(data, at)[2]
                packet = data[at + 16:at + 16 + length]
                if packet[14 + side:16 + side] == (10809).to_bytes(2, "big"):
                    out += data[at:at + 16 + length]
                at += 16 + length
            path = self.work / "one-direction.pcap"
            path.write_bytes(out)
            run = Run("--format=json", path)
            self.assertEqual(run.status, 3)
            self.assertIn("direction", run.objects()[-1]["why"])

    def test_both_directions_and_one_unread(self):
        """Bytes came from both sides, and of one of them no message was found: they are
        there, whether they were looked at before the connection was known or after."""
        cap = synth.Capture()
        x = synth.Conn(cap, port=20000)
        x.s(b"NBDMAGIX" + synth.greeting()[8:])
        x.c(synth.cflags())
        x.c(synth.opt(synth.GO, synth.go_data()))
        path = self.work / "unread.pcap"
        cap.write(path)
        run = Run("--format=json", path)
        self.assertEqual(run.status, 3)
        connection = next(o for o in run.objects() if o["type"] == "connection")
        self.assertEqual({side: at["frame"] for side, at in connection["heard"].items()},
                         {"client": 6, "server": 4})
        self.assertNotIn("direction", run.objects()[-1]["why"])
        x.s(synth.info_export() + synth.rep(synth.GO, synth.ACK))
        cap.write(path)
        self.assertEqual(Run(path).status, 0)

    def test_heads_beside_whole_greetings(self):
        """Of some connections all is there, as they did nothing; of the others only heads."""
        data = (SAMPLES / "mtu-1500.pcap").read_bytes()
        for snap, verdict in ((96, "unaudited"), (128, "unaudited"), (65535, "hazards")):
            out, at = data[:24], 24
            while at < len(data):
                seconds, part, kept, length = RECORD.unpack_from(data, at)
                out += RECORD.pack(seconds, part, min(kept, snap), length)
                out += data[at + 16:at + 16 + min(kept, snap)]
                at += 16 + kept
            path = self.work / "heads.pcap"
            path.write_bytes(out)
            run = Run("--format=json", path)
            self.assertEqual(run.objects()[-1]["verdict"], verdict)
            self.assertEqual(run.status, 3 if verdict == "unaudited" else 0)
        self.assertNotIn("why", run.objects()[-1])

    def test_min_judged(self):
        judged = Run("--format=json", HONEST).objects()[-1]["judged"]
        percent = judged["bytes"] * 100 / judged["of_bytes"]
        self.assertTrue(0 < percent < 100, judged)
        self.assertEqual(Run("--min-judged=%f" % (percent - 0.1), HONEST).status, 0)
        run = Run("--min-judged=%f" % (percent + 0.1), HONEST)
        self.assertEqual(run.status, 3)
        self.assertIn("%.1f %%" % percent, run.err)
        # A violation, and bad input, weigh more.
        self.assertEqual(Run("--min-judged=100", LIAR).status, 1)
        self.assertEqual(Run("--min-judged=100", LIAR, "/nonexistent").status, 2)
        # Where nothing was read nothing is missing.
        self.assertEqual(Run("--min-judged=100", "--fail-on=never",
                             SAMPLES / "list-exports.pcap").status, 0)
        for bad in ("", "x", "-1", "101", "50x", "nan", "inf", "1e3"):
            run = Run("--min-judged=" + bad, HONEST)
            self.assertEqual((run.status, run.out), (2, ""), bad)


class Json(Case):
    def check(self, o, required, optional=()):
        self.assertEqual(next(iter(o)), "type")
        for name, kind in required.items():
            self.assertIn(name, o)
            self.assertIsInstance(o[name], kind, (name, o))

    def report(self, path, *options):
        run = Run("--format=json", *options, path)
        self.assertIn(run.status, (0, 1, 3), run.err)
        return run.objects()

    def test_every_sample(self):
        """Form and order of all objects, of every sample."""
        order = ["capture", "message", "connection", "export", "finding", "summary"]
        frames = {"read", "read_request", "write", "write_request", "stale_write", "flush",
                  "flush_request", "message", "request", "earlier_read"}
        samples = sorted(SAMPLES.glob("*.pcap*"))
        self.assertGreater(len(samples), 10)
        for sample in samples:
            with self.subTest(sample.name):
                objects = self.report(sample, "-m")
                places = [order.index(o["type"]) for o in objects]
                self.assertEqual(places, sorted(places))
                by_type = {kind: [o for o in objects if o["type"] == kind] for kind in order}
                self.assertEqual(len(by_type["capture"]), 1)
                self.assertEqual(len(by_type["summary"]), 1)

                capture = by_type["capture"][0]
                self.check(capture, {"schema": int, "version": str, "file": str, "format": str, "frames": int, "bytes": int,
                                     "start": str, "end": str, "truncated_frames": int,
                                     "complete": bool})
                self.assertRegex(capture["start"], r"^\d{10}\.\d{9}$")

                for index, c in enumerate(by_type["connection"]):
                    self.check(c, {"id": int, "client": str, "server": str, "first_frame": int,
                                   "last_frame": int, "handshake": str, "tls": bool,
                                   "commands": dict, "unanswered": int, "unflushed_writes": int,
                                   "gaps": int, "end": str, "contexts": list})
                    self.assertEqual(c["id"], index + 1)
                    self.assertIn(c["handshake"],
                                  ("newstyle-fixed", "newstyle", "oldstyle", "unseen"))
                    self.assertIn(c["end"], ("disconnect", "fin", "rst", "abort", "open"))
                    self.assertLessEqual(c["first_frame"], c["last_frame"])
                    for command in c["commands"].values():
                        for name in ("count", "bytes"):
                            self.assertIsInstance(command[name], int)
                        self.assertIsInstance(command["errors"], dict)
                        if "latency_us" in command:
                            latency = command["latency_us"]
                            self.assertLessEqual(latency["p50"], latency["p99"])
                            self.assertLessEqual(latency["p99"], latency["max"])
                    for side in ("client", "server"):
                        a = c["bytes"][side]
                        self.assertEqual(a["fed"], sum(a[part] for part in a if part != "fed"))

                ids = {c["id"] for c in by_type["connection"]}
                for e in by_type["export"]:
                    self.check(e, {"name": str, "server": str, "connections": list,
                                   "writes": int, "flushes": int, "fua_writes": int})
                    self.assertIn(e["multi_conn"], (True, False, "mixed", "unknown"))
                    self.assertLessEqual(set(e["connections"]), ids)

                times = []
                for f in by_type["finding"]:
                    self.check(f, {"rule": str, "ref": str, "severity": str, "side": str,
                                   "message": str, "basis": str, "frames": dict, "time": str,
                                   "assumptions": list, "count": int})
                    self.assertLessEqual(set(f["frames"]), frames)
                    times.append(f["time"])
                self.assertEqual(times, sorted(times))

                summary = by_type["summary"][0]
                self.check(summary, {"connections": int, "exports": int, "findings": dict,
                                     "verdict": str, "checked": dict, "judged": dict,
                                     "rules": dict, "unchecked": dict})
                judged = summary["judged"]
                self.assertEqual(list(judged), ["reads", "bytes", "of_bytes"])
                self.assertLessEqual(judged["bytes"], judged["of_bytes"])
                self.assertEqual(judged["of_bytes"], sum(
                    c["commands"].get("NBD_CMD_READ", {"data_bytes": 0})["data_bytes"]
                    for c in by_type["connection"]))
                rules = {}
                for f in by_type["finding"]:
                    rules[f["rule"]] = rules.get(f["rule"], 0) + f["count"]
                self.assertEqual(summary["rules"], rules)
                self.assertEqual(summary["connections"], len(by_type["connection"]))
                self.assertEqual(summary["exports"], len(by_type["export"]))
                self.assertEqual(list(summary["findings"]),
                                 ["violation", "suspect", "hazard", "note"])
                for level, count in summary["findings"].items():
                    self.assertEqual(count, sum(f["count"] for f in by_type["finding"]
                                                if f["severity"] == level))

    def test_messages(self):
        objects = self.report(LIAR, "-m")
        messages = [o for o in objects if o["type"] == "message"]
        frames = [m["frame"] for m in messages]
        self.assertEqual(frames, sorted(frames))
        names = [m["name"] for m in messages]
        for name in ("NBD_GREETING", "NBD_CLIENT_FLAGS", "NBD_OPT_GO", "NBD_REP_INFO",
                     "NBD_REP_ACK", "NBD_CMD_WRITE", "NBD_CMD_FLUSH", "NBD_CMD_READ",
                     "NBD_CMD_DISC"):
            self.assertIn(name, names)
        # Counts are those of the connections.
        connections = [o for o in objects if o["type"] == "connection"]
        for command in ("NBD_CMD_READ", "NBD_CMD_WRITE", "NBD_CMD_FLUSH"):
            self.assertEqual(names.count(command),
                             sum(c["commands"].get(command, {"count": 0})["count"]
                                 for c in connections))
        write = messages[names.index("NBD_CMD_WRITE")]
        self.assertEqual(write["from"], "client")
        self.assertEqual(write["fields"]["nbd.type"], "NBD_CMD_WRITE")
        self.assertEqual(write["fields"]["nbd.cmd.flags"], [])
        self.assertIs(write["fields"]["nbd.cmd.flags.fua"], False)
        self.assertIsInstance(write["fields"]["nbd.from"], int)
        self.assertEqual(write["fields"]["nbd.len"], write["fields"]["nbd.data"])
        greeting = messages[names.index("NBD_GREETING")]
        self.assertIn("NBD_FLAG_FIXED_NEWSTYLE", greeting["fields"]["nbd.hnd.flags"])
        self.assertIs(greeting["fields"]["nbd.hnd.flags.fixed_new"], True)

    def test_file_name_of_any_bytes(self):
        path = os.fsencode(self.work) + b'/"\xff\x1b[31m\n.pcap'
        with open(path, "wb") as file:
            file.write(HONEST.read_bytes())
        run = Run("--format=json", path)
        self.assertEqual(run.status, 0)
        self.assertEqual(run.objects()[0]["file"], str(self.work) + '/"\ufffd\x1b[31m\n.pcap')
        run = Run(path)
        self.assertNotIn("\x1b", run.out)
        self.assertIn('/"\\xff\\x1b[31m\\n.pcap\n', run.out)


class Text(Case):
    def test_liar(self):
        """The finding names the frames, as JSON does, and a filter to paste."""
        finding = [o for o in Run("--format=json", LIAR).objects()
                   if o["type"] == "finding" and o["severity"] == "violation"][0]
        out = Run(LIAR).out
        self.assertIn("violation: %s [%s]: " % (finding["rule"], finding["ref"]), out)
        numbers = sorted(set(finding["frames"].values()))
        self.assertIn("frame.number in {%s}" % ", ".join(map(str, numbers)), out)
        for frame in finding["frames"].values():
            self.assertRegex(out, r"\n  (frames  )? +%d  [a-z]+" % frame)
        self.assertRegex(out.splitlines()[-1], r"^  verdict     violations: \d+ violations?.* in 2 connections")

    def test_plain_when_no_terminal(self):
        run = Run(LIAR)
        self.assertNotIn("\x1b", run.out)
        for line in run.out.splitlines():
            self.assertTrue(len(line) <= 100 or " " not in line[14:].strip(), line)

    def terminal(self, columns, env):
        """The report as a terminal of that width gets it."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        environment.update(env)
        process = subprocess.Popen([NBDAUDIT, LIAR], stdin=subprocess.DEVNULL, stdout=slave,
                                   stderr=subprocess.PIPE, env=environment)
        os.close(slave)
        out = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            out += piece
        os.close(master)
        process.stderr.close()
        self.assertEqual(process.wait(), 1)
        return out.decode()

    def test_terminal(self):
        out = self.terminal(72, {"TERM": "xterm"})
        self.assertIn("\x1b[1;31mviolation\x1b[0m", out)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
        self.assertNotIn("\x1b", plain)
        narrow = [line for line in plain.splitlines() if line.startswith("violation: ")]
        self.assertTrue(narrow and all(len(line) <= 72 for line in narrow))
        self.assertNotIn("\x1b", self.terminal(72, {"TERM": "xterm", "NO_COLOR": "1"}))
        self.assertNotIn("\x1b", self.terminal(72, {"TERM": "dumb"}))

    def test_messages(self):
        out = Run("--messages", LIAR).out
        lines = out[:out.index("\n\n")].splitlines()
        frames = []
        for line in lines:
            match = re.match(r" *(\d+) +(\d+\.\d{9})  #(\d+) +(->|<-|!!) (\S.*)$", line)
            self.assertTrue(match, line)
            frames.append(int(match.group(1)))
        self.assertEqual(frames, sorted(frames))
        self.assertTrue(any(" -> NBD_CMD_WRITE" in line for line in lines))
        self.assertTrue(any(" <- NBD_SIMPLE_REPLY" in line or " <- NBD_REPLY_TYPE" in line
                            for line in lines))
        self.assertIn("\n%s\n" % LIAR, out)


if __name__ == "__main__":
    unittest.main()
