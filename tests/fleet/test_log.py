#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nbdaudit --log: findings in a real journal, and what a syslog gets.

Runs in a mount and a network namespace of its own, so that the sockets at their fixed places
are those of a journald, or of a receiver, that the test starts.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

import fleet

JOURNALD = pathlib.Path("/lib/systemd/systemd-journald")
MARK = "NBDSCOPE_TEST_LOG"
LIAR, ERRORS = (fleet.SAMPLES / (n + ".pcap") for n in ("multi-conn-unsafe", "errors"))
FINDING, END, NOT_SENT = ("5e3631f927164786bba47980b7feba84", "aa1547938e514b0a93d091788196573b",
                          "1cc2f8b9807e4eab862cb7805e08d730")
PRIORITIES = {"violation": "3", "suspect": "4", "hazard": "5", "note": "6"}
JOURNAL, SYSLOG = pathlib.Path("/run/systemd/journal/socket"), pathlib.Path("/dev/log")


def skip(why):
    print("skipped: " + why)
    sys.exit(1 if os.environ.get("NBDSCOPE_REQUIRE_PEERS") else 77)


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def private_places():
    """/run and /dev that nobody else sees."""
    run("mount", "-t", "tmpfs", "none", "/run")
    JOURNAL.parent.mkdir(parents=True)
    devices = pathlib.Path("/run/devices")
    devices.mkdir()
    run("mount", "-t", "tmpfs", "-o", "dev,mode=755", "none", devices)
    for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(devices / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (devices / name).chmod(0o666)
    run("mount", "--bind", devices, "/dev")
    run("ip", "link", "set", "lo", "up")


class Journal:
    """A journald that hears nobody else."""

    def __enter__(self):
        pathlib.Path("/run/log/journal").mkdir(parents=True)
        self.process = subprocess.Popen([JOURNALD], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait(JOURNAL.exists)
        SYSLOG.symlink_to("/run/systemd/journal/dev-log")
        return self

    @staticmethod
    def wait(done, seconds=20):
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise AssertionError("it did not come in time")
            time.sleep(0.02)

    def entries(self, end=True, since=0):
        """Of nbdaudit, in order; from the `since`-th one on, and up to the end of an audit."""
        out = []

        def complete():
            said = subprocess.run(["journalctl", "-D", "/run/log/journal/" + pathlib.Path(
                "/etc/machine-id").read_text().strip(), "-o", "json", "--all", "--no-pager",
                "SYSLOG_IDENTIFIER=nbdaudit"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL, timeout=60, text=True)
            out[:] = [json.loads(line) for line in said.stdout.splitlines()][since:]
            return not end or (out and END in out[-1].get("MESSAGE_ID", out[-1]["MESSAGE"]))

        self.wait(complete)
        return out

    def __exit__(self, *what):
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        SYSLOG.unlink()
        for left in JOURNAL.parent.iterdir():
            left.unlink()
        shutil.rmtree("/run/log/journal")


class Log(unittest.TestCase):
    maxDiff = 3000

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.here = pathlib.Path(folder.name)

    def reported(self, *arguments):
        """Findings as in a report, without what only a place in it gives."""
        objects = fleet.lines(fleet.nbdaudit("-f", "json", *arguments)[1])
        return [{k: v for k, v in o.items() if k != "number"} for o in objects
                if o["type"] == "finding"]

    def alike(self, findings, others):
        """In whatever order."""
        self.assertEqual(sorted(json.dumps(o, sort_keys=True) for o in findings),
                         sorted(json.dumps(o, sort_keys=True) for o in others))

    def test_journal(self):
        with Journal() as journal:
            for form in (("-f", "json"), ("--summary",), ("-q",), ("-f", "sarif")):
                before = len(journal.entries(end=False))
                status, _, error = fleet.nbdaudit("--log=journal", *form, LIAR, ERRORS)
                self.assertEqual((status, error), (1, ""))
                entries = journal.entries(since=before)
                told = [e for e in entries if e.get("MESSAGE_ID") == FINDING]
                self.alike([json.loads(e["NBDSCOPE_JSON"]) for e in told],
                           self.reported(LIAR, ERRORS))
                for e in told:
                    f = json.loads(e["NBDSCOPE_JSON"])
                    self.assertEqual(e["PRIORITY"], PRIORITIES[f["severity"]])
                    self.assertEqual((e["NBDSCOPE_LEVEL"], e["NBDSCOPE_RULE"], e["NBDSCOPE_REF"],
                                      e["NBDSCOPE_SIDE"]),
                                     (f["severity"], f["rule"], f["ref"], f["side"]))
                    self.assertEqual(e["NBDSCOPE_CONNECTION"], str(f["connection"]))
                    self.assertEqual(e.get("NBDSCOPE_EXPORT"), f.get("export"))
                    self.assertEqual(e["NBDSCOPE_FRAME"], str(
                        f["frames"].get("message") or f["frames"].get("read")
                        or f["frames"].get("write")))
                    self.assertTrue(e["MESSAGE"].startswith("%s: %s [%s]: %s (" % (
                        f["severity"], f["rule"], f["ref"], f["message"])))
                ends = [e for e in entries if e.get("MESSAGE_ID") == END]
                self.assertEqual([(e["NBDSCOPE_CAPTURE"], e["NBDSCOPE_VERDICT"], e["PRIORITY"])
                                  for e in ends],
                                 [(str(LIAR), "violations", "3"), (str(ERRORS), "violations", "3")])
            # What the report leaves out is left out; and what shards said can be logged together.
            before = len(journal.entries(end=False))
            report = self.here / "report.json"
            report.write_text(fleet.nbdaudit("-f", "json", ERRORS)[1])
            self.assertEqual(fleet.nbdaudit("--merge", "--log=journal", "--severity=hazard",
                                            report)[0], 1)
            told = [json.loads(e["NBDSCOPE_JSON"]) for e in journal.entries(since=before)
                    if e.get("MESSAGE_ID") == FINDING]
            self.alike(told, self.reported("--severity=hazard", ERRORS))

    def test_syslog(self):
        with Journal() as journal:
            self.assertEqual(fleet.nbdaudit("--log=syslog", "-q", ERRORS)[::2], (1, ""))
            entries = journal.entries()
            self.assertTrue(all(e["_TRANSPORT"] == "syslog" and e["SYSLOG_FACILITY"] == "1"
                                for e in entries))
            objects = []
            for e in entries:
                self.assertTrue(e["MESSAGE"].startswith("@cee: {"))
                objects.append(json.loads(e["MESSAGE"][6:]))
            told = [o for o in objects if o["message_id"] == FINDING]
            drop = {"message_id", "msg", "file"}
            self.alike([{k: v for k, v in o.items() if k not in drop} for o in told],
                       self.reported(ERRORS))
            for o, e in zip(objects, entries):
                if o["message_id"] == FINDING:
                    self.assertEqual((o["file"], e["PRIORITY"]),
                                     (str(ERRORS), PRIORITIES[o["severity"]]))
            self.assertEqual(objects[-1]["verdict"], "violations")
            self.assertEqual(objects[-1]["findings"]["violation"], 6)

    def test_hostile_names(self):
        """An entry is text on one line, whatever an export or a file is called."""
        nasty = "x\x1b[2J\nMESSAGE=forged\nPRIORITY=0\u202e" + "long" * 200
        segments = fleet.rewrap.read(ERRORS)
        out = []
        for s in segments:
            # An export called "disk" is opened by the last connection.
            if b"disk" in s.payload:
                s = s.copy(payload=s.payload.replace(b"disk", b"d\nk\x1b"))
            out.append(s)
        file = self.here / (nasty[:200].replace("/", "") + ".pcap")
        file.write_bytes(fleet.mixed([out]))
        with Journal() as journal:
            self.assertEqual(fleet.nbdaudit("--log=journal", "-q", file)[0], 1)
            entries = journal.entries()
            names = set()
            for e in entries:
                names.update(k for k in e if not k.startswith("_"))
                for name, value in e.items():
                    if name.startswith("_"):
                        continue # journald's own, of the process
                    self.assertIsInstance(value, str)  # else bytes, or several of one name
                    self.assertNotRegex(value, "[\x00-\x1f\x7f\u202e]")
            self.assertEqual({n for n in names if n.startswith("NBDSCOPE")}, {
                "NBDSCOPE_RULE", "NBDSCOPE_REF", "NBDSCOPE_LEVEL", "NBDSCOPE_SIDE",
                "NBDSCOPE_CAPTURE", "NBDSCOPE_FRAME", "NBDSCOPE_CONNECTION", "NBDSCOPE_COUNT",
                "NBDSCOPE_EXPORT", "NBDSCOPE_COMMAND", "NBDSCOPE_JSON", "NBDSCOPE_VERDICT",
                "NBDSCOPE_VERSION"})
            self.assertIn("d\\nk\\x1b", {e.get("NBDSCOPE_EXPORT") for e in entries})
            self.assertFalse(any("forged" == e["MESSAGE"] for e in entries))

    def test_too_many(self):
        """What comes too fast is counted, and violations have the last quarter to themselves."""
        segments = fleet.rewrap.read(ERRORS)
        ports = list(dict.fromkeys(s.sport for s in segments if s.dport == 10809))
        parts = []
        for n in range(8):
            # Writes to an export that is read-only (notes), or reads beyond the end of one
            # (violations).
            writes = n < 6
            first = [s for s in segments if ports[writes] in (s.sport, s.dport)]
            end = next(i for i, s in enumerate(first) if s.payload[:4] == b"\x25\x60\x95\x13")
            last = first[end]
            client = [s.copy(**{("sport" if s.dport == 10809 else "dport"): 20000 + n},
                             time=s.time + n) for s in first[:end]]
            requests = b"".join(b"\x25\x60\x95\x13\0\0" + bytes((0, writes))
                                + (i + 1).to_bytes(8, "big")
                                + (0 if writes else 1 << 30).to_bytes(8, "big")
                                + (1).to_bytes(4, "big") + bytes(writes) for i in range(900))
            for at in range(0, len(requests), 28000):
                client.append(last.copy(sport=20000 + n, seq=last.seq + at, time=last.time + n + at,
                                        payload=requests[at:at + 28000]))
            parts.append(client)
        file = self.here / "many.pcap"
        file.write_bytes(fleet.mixed(parts))
        counts = fleet.lines(fleet.nbdaudit("-f", "json", file)[1])[-1]["findings"]
        self.assertGreater(counts["note"], 5000)
        self.assertGreater(counts["violation"], 1500)
        with Journal() as journal:
            status, _, error = fleet.nbdaudit("--log=journal", "-q", file)
            self.assertEqual(status, 1)
            said = re.fullmatch(r"nbdaudit: --log: (\d+) findings were not logged: more than 5000 "
                                r"within 30 s\n", error)
            self.assertTrue(said, error)
            entries = journal.entries()
            told = [e["NBDSCOPE_LEVEL"] for e in entries if e.get("MESSAGE_ID") == FINDING]
            missed = sum(int(e["NBDSCOPE_NOT_SENT"]) for e in entries
                         if e.get("MESSAGE_ID") == NOT_SENT)
            self.assertLessEqual(len(told), 5000)
            self.assertGreater(missed, 0)
            total = sum(int(e["NBDSCOPE_COUNT"]) for e in entries
                        if e.get("MESSAGE_ID") == FINDING)
            self.assertEqual(total + missed, sum(counts.values()))
            self.assertGreater(told.count("violation"), 1000)

    def test_live(self):
        """An entry is there as soon as the finding is told, from a program that is confined and
        is root no more."""
        server = subprocess.Popen(["nbdkit", "-f", "-i", "127.0.0.1", "memory", "1M"],
                                  stdin=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        with Journal() as journal:
            audit = subprocess.Popen([fleet.BIN / "nbdaudit", "-i", "lo", "--log=journal", "-Z",
                                      "nobody", "-f", "json"], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            try:
                self.assertIn('"capture"', audit.stdout.readline())
                deadline = time.monotonic() + 20
                while True:
                    with contextlib.suppress(ConnectionRefusedError):
                        client = socket.create_connection(("127.0.0.1", 10809), timeout=20)
                        break
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.05)
                with client:
                    client.recv(18, socket.MSG_WAITALL)
                    client.sendall(b"\0\0\0\3" + b"IHAVEOPT" + b"\0\0\0\1" + bytes(4))
                    client.recv(10, socket.MSG_WAITALL)
                    client.sendall(b"\x25\x60\x95\x13" + bytes(4) + b"12345678"
                                   + (1 << 40).to_bytes(8, "big") + b"\0\0\2\0")
                    client.recv(16, socket.MSG_WAITALL)

                    def told():
                        return [e for e in journal.entries(end=False)
                                if e.get("NBDSCOPE_RULE") == "request-beyond-export"]

                    journal.wait(told, 30)
                    self.assertIsNone(audit.poll())
                    self.assertEqual(told()[0]["NBDSCOPE_CAPTURE"], "lo")
                    self.assertNotEqual(told()[0]["_UID"], "0")
                audit.send_signal(signal.SIGINT)
                _, error = audit.communicate(timeout=60)
                self.assertEqual((audit.returncode, error), (1, ""))
                self.assertEqual(journal.entries()[-1]["NBDSCOPE_VERDICT"], "violations")
            finally:
                audit.kill()
                audit.wait()

    def test_nobody_listens(self):
        for where, path in (("journal", JOURNAL), ("syslog", SYSLOG)):
            status, out, error = fleet.nbdaudit("--log=" + where, LIAR)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("nobody listens on %s" % path, error)
        for bad in ("", "journal,syslog", "/dev/log"):
            status, out, error = fleet.nbdaudit("--log=" + bad, LIAR)
            self.assertEqual((status, out), (2, ""))
            self.assertIn("is not journal or syslog", error)

    def test_stuck(self):
        """A logger that takes nothing more holds nobody up for long, and what it did not take is
        said."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            stuck.bind(str(SYSLOG))
            self.addCleanup(SYSLOG.unlink)
            many = [ERRORS] * 120
            started = time.monotonic()
            status, out, error = fleet.nbdaudit("--log=syslog", "-f", "json", *many)
            self.assertLess(time.monotonic() - started, 60)
            self.assertEqual(status, 2)
            self.assertRegex(error, r"--log: \d+ entries were not logged: ")
            self.assertEqual(len([o for o in fleet.lines(out) if o["type"] == "finding"]),
                             120 * len(self.reported(ERRORS)))


if __name__ == "__main__":
    if os.geteuid():
        skip("a mount namespace needs root")
    for needed in ("unshare", "mount", "ip", "journalctl", "nbdkit"):
        if not shutil.which(needed):
            skip("there is no " + needed)
    if not JOURNALD.exists():
        skip("there is no " + str(JOURNALD))
    if not os.environ.get(MARK):
        if subprocess.run(["unshare", "-mn", "true"], stderr=subprocess.DEVNULL).returncode:
            skip("there are no namespaces here")
        os.environ[MARK] = "1"
        os.execvp("unshare", ["unshare", "-mn", "--propagation", "private", "--kill-child", "--fork",
                              sys.executable] + sys.argv)
    private_places()
    unittest.main()
