#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds what tshark says with the plugin against what nbdaudit says.

    same.py [-v] [--share=I/N] [CAPTURE...]

For each capture: every message that nbdaudit tells is in the frame where it is
whole, with the same fields of the same values in the same order; there is no other;
no frame is malformed, no dissector fails; one pass over the file tells the same
messages as two; and every finding is on each of its frames, word for word. Where
NBDSCOPE_CAPTURES has counts that were made independently of this project, those of
tshark equal them, inside TLS too if there are keys.

Without CAPTURE: all samples, and part I of N of the captures in NBDSCOPE_CAPTURES.
"""

import argparse
import collections
import csv
import json
import pathlib
import re
import subprocess
import sys

import shark

sys.path.append(str(shark.HERE.parent / "golden"))
import expected # noqa: E402  (the protocol's numbers, and counts with a reason)

# What the plugin adds to the bytes.
GENERATED = {"nbd.response_in", "nbd.response_to", "nbd.time", "nbd.data.len", "nbd.part_of",
             "nbd.part_at", "nbd.end_in", "nbd.seen_in", "nbd.chunk.number", "nbd.conn",
             "nbd.conn.export", "nbd.conn.flags", "nbd.unflushed", "nbd.conn.tls", "nbd.status.context"}
# What is inside a payload, which nbdaudit does not look into there.
INSIDE = {"nbd.extent.len", "nbd.status_flags"}
PAYLOAD = {"nbd.data", "nbd.extents", "nbd.meta_context.ids", "nbd.reserved",
           "nbd.hnd.opt.data", "nbd.hnd.reply.data"}

FINDING = [("rule", "nbd.finding.rule"), ("ref", "nbd.finding.ref"),
           ("severity", "nbd.finding.severity"), ("side", "nbd.finding.side"),
           ("message", "nbd.finding.message"), ("connection", "nbd.finding.conn"),
           ("export", "nbd.finding.export"), ("command", "nbd.finding.command"), ("offset", "nbd.finding.offset"),
           ("length", "nbd.finding.length"), ("count", "nbd.finding.count")]
# The expert info that each level becomes: the value of _ws.expert.severity.
EXPERT = {"violation": 0x800000, "suspect": 0x600000, "hazard": 0x400000, "note": 0x200000}
ROLES = ["earlier_read", "stale_write", "write_request", "write", "flush_request", "flush",
         "read_request", "read", "request", "message"]


def audit(path):
    keys = path.with_suffix(".keylog")
    options = ["--tls-keys=%s" % keys] if keys.exists() else []
    run = subprocess.run([shark.BIN / "nbdaudit", "--format=json", "--messages", *options, path],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=300)
    if run.returncode not in (0, 1, 2, 3):
        raise RuntimeError("nbdaudit: status %d\n%s" % (run.returncode, run.stderr.decode()))
    found = collections.defaultdict(list)
    for line in run.stdout.decode().splitlines():
        thing = json.loads(line)
        found[thing["type"]].append(thing)
    return found


def wire_fields(item):
    """The fields of a message that are in its bytes, in order: (name, field)."""
    for child in item.children:
        if child.name in GENERATED:
            continue
        if child.name and child.name.startswith("nbd.") and child.name not in INSIDE:
            yield child.name, child
            for bit in child.children:
                if bit.name.startswith("nbd."):
                    yield bit.name, bit


def kind(item):
    if item.find("nbd.finding.rule"):
        return "finding"
    if item.find("nbd.part_of"):
        return "part"
    if item.find("nbd.undecoded"):
        return "undecoded"
    return "message"


def last_number(text):
    numbers = re.findall(r"0x[0-9a-f]+|\d+", text)
    return int(numbers[-1], 0) if numbers else None


def same_value(name, said, field, item):
    """Does the field say what nbdaudit says?"""
    if isinstance(said, bool):
        return field.show in (("1", "True") if said else ("0", "False"))
    if isinstance(said, list): # the names of a flag word's bits, shortened
        words = field.showname.rpartition("(")[2].rstrip(")").split(" | ")
        return words == (said or ["none"]) or \
            len(words) == len(said) and all(map(lambda name, word: name == word or
                                                name.endswith("_" + word), said, words))
    if isinstance(said, int):
        if name in PAYLOAD or field.show.count(":") or len(field.value) == 2 * said and field.value:
            length = item.find("nbd.data.len")
            if length and name in PAYLOAD:
                return int(length.show) == said
            return len(field.value) == 2 * said
        return int(field.show, 0) == said
    if ": %s (" % said in field.showname: # a code
        return True
    if said.startswith("unknown "):
        return last_number(said) == int(field.show, 0)
    return field.show == said


class Checker:
    def __init__(self, verbose):
        self.shark = shark.Shark()
        self.verbose = verbose
        self.failures = self.checked = self.messages = self.findings = self.counts = 0
        self.table = collections.defaultdict(list)
        if shark.CAPTURES:
            with open(pathlib.Path(shark.CAPTURES) / "EXPECTED.tsv", encoding="utf-8") as table:
                for row in csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE):
                    self.table[row["file"]].append(row)

    def fail(self, path, text):
        self.failures += 1
        print("%s: %s" % (path.name, text))

    def one(self, path):
        said = audit(path)
        two = list(shark.frames(shark.pdml(self.shark, path, "-2")))
        once = list(shark.frames(shark.pdml(self.shark, path)))
        self.checked += 1
        for frame in two + once:
            for complaint in frame.complaints:
                self.fail(path, "frame %d: %s" % (frame.number, complaint))
        self.compare_messages(path, said, two)
        self.compare_passes(path, said, once, two)
        # Inside TLS Wireshark has less to judge by: which bytes were acknowledged, it says not.
        if not any(c.get("tls_read") for c in said["connection"]):
            self.compare_findings(path, said, two, once)
        self.compare_expected(path, two)

    def told(self, frames, inside=False):
        """Messages; those inside of TLS only where nbdaudit looks into it, too."""
        for frame in frames:
            for item in frame.items:
                if kind(item) == "message" and (inside or not item.find("nbd.conn.tls")):
                    yield frame, item

    def compare_messages(self, path, said, two):
        servers = {c["id"]: int(c["server"].rsplit(":", 1)[1]) for c in said["connection"]}
        ours, theirs = collections.defaultdict(list), collections.defaultdict(list)
        for message in said["message"]:
            ours[message["connection"], message["from"]].append(message)
        # What Wireshark decrypts is a connection of its own to it.
        read = [c["id"] for c in said["connection"] if c.get("tls_read")]
        for frame, item in self.told(two, len(read) == 1):
            conn = int(item.find("nbd.conn").show)
            if item.find("nbd.conn.tls"):
                conn = read[0]
            side = "server" if frame.port == servers.get(conn) else "client"
            theirs[conn, side].append((frame, item))
        for key in sorted(set(ours) | set(theirs)):
            ours[key].sort(key=lambda message: message["stream_offset"])
            if len(ours[key]) != len(theirs[key]):
                self.fail(path, "connection %d, %s: %d messages, nbdaudit has %d" %
                          (*key, len(theirs[key]), len(ours[key])))
            # By frames; those of one frame are in the stream's order.
            frames = collections.defaultdict(list)
            for frame, item in theirs[key]:
                seen = item.find("nbd.seen_in")
                frames[int(seen.show) if seen else frame.number].append((frame, item))
            for message in ours[key]:
                if frames[message["frame"]]:
                    self.compare_message(path, message, *frames[message["frame"]].pop(0))
                else:
                    self.fail(path, "frame %d: %s is missing" %
                              (message["frame"], message["name"]))

    def compare_message(self, path, message, frame, item):
        where = "frame %d, %s" % (frame.number, message["name"])
        self.messages += 1
        if not item.showname.startswith("Network Block Device, " + message["name"]):
            self.fail(path, "%s: tshark has %s" % (where, item.showname))
            return
        fields = collections.defaultdict(list)
        for name, field in wire_fields(item):
            fields[name].append(field)
        # A payload of which nothing is in this frame has no field of its own.
        expected = [name for name in message["fields"] if name in fields or name not in PAYLOAD]
        if list(fields) != expected:
            self.fail(path, "%s: fields %s, nbdaudit has %s" % (where, list(fields), expected))
            return
        for name in expected:
            values = message["fields"][name]
            if len(fields[name]) == 1 or not isinstance(values, list):
                values = [values]
            if len(values) != len(fields[name]):
                self.fail(path, "%s: %d times %s, nbdaudit has %d" %
                          (where, len(fields[name]), name, len(values)))
                continue
            for value, field in zip(values, fields[name]):
                if not same_value(name, value, field, item):
                    self.fail(path, "%s: %s is %s, nbdaudit has %s" %
                              (where, name, field.showname or field.show, value))

    def compare_passes(self, path, said, once, two):
        def names(frames):
            return collections.Counter((item.find("nbd.conn").show, item.showname)
                                       for _, item in self.told(frames))
        first, second = names(once), names(two)
        # That bytes are lost can show at the end only, when their frame is gone.
        lost = any(connection["gaps"] for connection in said["connection"])
        if first - second or not lost and second - first:
            self.fail(path, "one pass does not tell the messages of two: %s, %s" %
                      (first - second, second - first))

    def compare_findings(self, path, said, two, once):
        expected = collections.Counter()
        for finding in said["finding"]:
            for frame in set(finding["frames"].values()):
                expected[self.finding_key(finding), frame] += 1
        got = collections.Counter()
        for frame in two:
            for item in frame.items:
                if kind(item) == "finding":
                    got[self.item_key(item), frame.number] += 1
                    self.compare_expert(path, frame, item)
        # In a single pass: on frames of its own, or in one that is later than all of them.
        last = {}
        for key, number in got:
            last[key] = max(number, last.get(key, 0))
        for frame in once:
            for item in frame.items:
                key = kind(item) == "finding" and self.item_key(item)
                if key and (key, frame.number) not in got and \
                        not 0 < last.get(key, 0) < frame.number:
                    self.fail(path, "one pass has a finding on frame %d: %s" % (frame.number, key))
        self.findings += len(said["finding"])
        for key in (expected - got):
            self.fail(path, "finding is missing on frame %d: %s" % (key[1], key[0]))
        for key in (got - expected):
            self.fail(path, "nbdaudit has no such finding on frame %d: %s" % (key[1], key[0]))

    def compare_expert(self, path, frame, item):
        """The expert info of a finding has its level and its words, and is in the last of
        its frames alone."""
        rule, said = item.find("nbd.finding.rule").show, item.find("nbd.finding.message").show
        level = EXPERT[item.find("nbd.finding.severity").show]
        expert = item.find("_ws.expert")
        names = ["nbd.finding." + ("message_in" if role == "message" else role)
                 for role in ROLES]
        frames = [int(field.show) for field in map(item.find, names) if field]
        if frame.number != max(frames):
            if expert:
                self.fail(path, "frame %d: %s has an expert info before its last frame" %
                          (frame.number, rule))
            return
        if not expert or int(expert.find("_ws.expert.severity").show, 0) != level or \
                not expert.find("_ws.expert.message").show.startswith("%s: %s" % (rule, said[:100])):
            self.fail(path, "frame %d: the expert info of %s is %s" %
                      (frame.number, rule, expert and expert.showname))

    def compare_expected(self, path, two):
        for row in self.table.get(path.name, []):
            counts = collections.defaultdict(collections.Counter)
            port = int(row["client_port"])
            for frame in two:
                if port not in (frame.port, frame.peer):
                    continue
                for item in frame.items:
                    if kind(item) == "message":
                        self.count(counts, item.showname[len("Network Block Device, "):])
            for column, spelled in (
                    ("requests_by_command", expected.spell(counts["requests"])),
                    ("chunks", expected.spell(counts["chunks"])),
                    ("options", ",".join("%dx%d" % item for item in counts["options"].items())
                     or "-")):
                instead = [explained[2].get(column) for explained in expected.EXPLAINED
                           if explained[:2] == (path.name, int(row["connection"]))]
                self.counts += 1
                if spelled != row[column] and spelled not in instead:
                    self.fail(path, "port %d: %s are %s, expected %s" %
                              (port, column, spelled, row[column]))

    @staticmethod
    def count(counts, text):
        name = re.match(r"unknown \w+ (?:0x)?[0-9a-f]+|\w+", text).group()
        if name.startswith("NBD_CMD_") or name.startswith("unknown command"):
            counts["requests"][expected.command_word(name)] += 1
        elif name.startswith("NBD_OPT_") or name.startswith("unknown option "):
            counts["options"][expected.number(name, expected.OPTIONS, "NBD_OPT_")] += 1
        elif name in expected.CHUNKS:
            counts["chunks"][expected.CHUNKS[name]] += 1

    @staticmethod
    def finding_key(finding):
        return tuple([str(finding[ours]) if ours in finding else None for ours, _ in FINDING] +
                     [finding["frames"].get(role) for role in ROLES] +
                     [tuple(finding["assumptions"])])

    @staticmethod
    def item_key(item):
        def show(name):
            field = item.find(name)
            if field is None:
                return None
            return str(int(field.show, 0)) if re.fullmatch(r"0x[0-9a-f]+", field.show) else field.show
        frames = []
        for role in ROLES:
            field = item.find("nbd.finding." + ("message_in" if role == "message" else role))
            frames.append(int(field.show) if field else None)
        return tuple([show(name) for _, name in FINDING] + frames +
                     [tuple(field.show for field in item.all("nbd.finding.assumption"))])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--share", default="1/1")
    parser.add_argument("capture", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    paths = args.capture
    if not paths:
        paths = sorted(shark.SAMPLES.glob("*.pcap*"))
        if shark.CAPTURES:
            part, parts = map(int, args.share.split("/"))
            captures = pathlib.Path(shark.CAPTURES)
            every = [path for folder in (captures, captures / "linux")
                     for path in sorted(folder.glob("*.pcap*"))]
            paths = paths + every[part - 1::parts]
        else:
            print("NBDSCOPE_CAPTURES is not set: only the samples")
    checker = Checker(args.verbose)
    for path in paths:
        before = checker.failures
        try:
            checker.one(path)
        except Exception as error: # one bad capture must not hide the others
            checker.fail(path, repr(error))
        if args.verbose and checker.failures == before:
            print("%s: the same" % path.name)
    print("%d captures, %d messages, %d findings and %d counts compared, %d differences" %
          (checker.checked, checker.messages, checker.findings, checker.counts, checker.failures))
    return 1 if checker.failures or not checker.checked else 0


if __name__ == "__main__":
    sys.exit(main())
