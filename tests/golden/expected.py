#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds nbdaudit against counts that were made independently of this project.

    expected.py [-v] [CAPTURE...]

NBDSCOPE_CAPTURES names a directory of captures of real servers and clients, with
EXPECTED.tsv (one row a connection: what was negotiated, requests, replies, chunks,
errors, bytes), and below it linux/, compressed captures of the Linux kernel's
client with MANIFEST.tsv (counts over all connections). Every difference fails,
but for those explained in the tables below. So do bytes that nbdaudit does not
account for, and a verdict that a capture does not deserve.

Without such a directory the test is skipped. CAPTURE restricts it to these names.
"""

import argparse
import ast
import collections
import csv
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))
BIN = pathlib.Path(os.environ.get("NBDSCOPE_BIN", ROOT / "build" / "bin"))

# The protocol's numbers once more: what is tested must not be what it is tested with.
OPTIONS = ["", "EXPORT_NAME", "ABORT", "LIST", "PEEK_EXPORT", "STARTTLS", "INFO", "GO",
           "STRUCTURED_REPLY", "LIST_META_CONTEXT", "SET_META_CONTEXT", "EXTENDED_HEADERS"]
COMMANDS = {"READ": "read", "WRITE": "write", "DISC": "disc", "FLUSH": "flush", "TRIM": "trim",
            "CACHE": "cache", "WRITE_ZEROES": "write_zeroes", "BLOCK_STATUS": "block_status",
            "RESIZE": "resize"}
ERRORS = {"EPERM": 1, "EIO": 5, "ENOMEM": 12, "EINVAL": 22, "ENOSPC": 28, "EOVERFLOW": 75,
          "ENOTSUP": 95, "ESHUTDOWN": 108}
OPTION_ERRORS = ["", "UNSUP", "POLICY", "INVALID", "PLATFORM", "TLS_REQD", "UNKNOWN", "SHUTDOWN",
                 "BLOCK_SIZE_REQD", "TOO_BIG", "EXT_HEADER_REQD"]
FLAGS = ["HAS_FLAGS", "READ_ONLY", "SEND_FLUSH", "SEND_FUA", "ROTATIONAL", "SEND_TRIM",
         "SEND_WRITE_ZEROES", "SEND_DF", "CAN_MULTI_CONN", "SEND_RESIZE", "SEND_CACHE",
         "SEND_FAST_ZERO", "BLOCK_STATUS_PAYLOAD"]
CHUNKS = {"NBD_REPLY_TYPE_NONE": "none", "NBD_REPLY_TYPE_OFFSET_DATA": "data",
          "NBD_REPLY_TYPE_OFFSET_HOLE": "hole", "NBD_REPLY_TYPE_BLOCK_STATUS": "status",
          "NBD_REPLY_TYPE_BLOCK_STATUS_EXT": "status_ext", "NBD_REPLY_TYPE_ERROR": "error",
          "NBD_REPLY_TYPE_ERROR_OFFSET": "error_offset", "NBD_SIMPLE_REPLY": "simple"}
HANDSHAKES = {"fixed": "newstyle-fixed", "fixed/EXPORT_NAME": "newstyle-fixed",
              "oldstyle": "oldstyle", "?": "unseen"}
REPLIES = {"structured": "structured", "ext": "extended", "simple": "simple"}

# What the captures deserve of the consistency engine: rules above the level of a hazard that must be found, and
# none else may be. Keys are parts of file names.
GUILTY = {
    "multiconn-unsafe-stale.": {"stale-read-after-flush"},
    "multiconn-unsafe-stale-fua.": {"stale-read-after-fua"},
    "percache-unsafe": {"stale-read-after-flush"},
    "tmpdisk-unsafe": {"stale-read-after-flush"},
}


def peers():
    """What they deserve of the rules of the protocol: {(rule, frame)} of each file."""
    deserved = collections.defaultdict(set)
    for line in (HERE / "peers.tsv").read_text().splitlines():
        if not line.startswith("#"):
            name, rule, frames = line.split("\t")
            deserved[name] |= {(rule, int(frame)) for frame in frames.split(",")}
    return deserved


PEERS = peers()
# The flag at the wrong bit: evidence is in these, and in no other.
BIT_8 = {
    "qemu-nbd-3.0.0_libnbd-1.14_two-connections-cache.pcap",
    "qemu-nbd-3.0.0_linux-6.12+nbd-client-3.26.1_ext4-4conn.pcap",
}

# Differences with a reason: file, connection, what nbdaudit must say instead, and why.
EXPLAINED = [
    ("derived_mtu1500-ext_capture-loss.pcap", 0, {
        "replies_by_command": "block_status=1,opt=6,read=3",
        "chunks": "data=3,status_ext=1",
        "bytes_read": "98304",
        "unanswered": "0",
        "bytes_left(client+server)": "0+2896",
    }, "two segments (2 x 1448 bytes) of read data are missing; the table stops there, but it is "
       "known where their chunks end, and all is counted as in the source"),
    ("derived_mtu1500-ext_capture-loss.pcap", 1, {
        "requests": "1",
        "requests_by_command": "disc=1",
        "replies_by_command": "opt=5",
        "bytes_left(client+server)": "0+32",
    }, "one option reply of 32 bytes is missing; the table stops there, nbdaudit finds the next "
       "one and the request after it"),
    ("derived_mtu1500_capture-loss.pcap", 0, {
        "replies_by_command": "block_status=3,cache=1,flush=1,opt=5,read=8,trim=2,write=4,"
                              "write_zeroes=4",
        "errors": "read:22=2,write:28=1,write_zeroes:28=1",
        "chunks": "data=6,error=2,simple=13,status=3",
        "bytes_read": "70144",
        "max_in_flight": "1",
        "unanswered": "0",
        "unsolicited": "1",
        "bytes_left(client+server)": "596+2472",
    }, "server: 1448 + 484 bytes of read data are missing, where the table stops, and the chunk "
       "of the source's last read (540 bytes). client: a write of 540 bytes is missing, whose reply "
       "answers nothing that was seen, and the 56 bytes after it are too few to be sure of. The "
       "rest is as in the source"),
    ("derived_reply-before-request.pcap", 0, {
        "replies_by_command": "block_status=3,cache=1,flush=1,opt=5,read=9,trim=2,write=5,"
                              "write_zeroes=4",
        "errors": "read:22=2,write:22=1,write:28=1,write_zeroes:28=1",
        "bytes_read": "70656",
        "max_in_flight": "1",
        "unanswered": "0",
        "unsolicited": "0",
    }, "packets were captured in the wrong order; the table counts a reply before its request as "
       "unsolicited, nbdaudit lets it wait for its request: all as in the source"),
    ("fakeserver_libnbd-1.22_dup.pcap", 0, {
        "requests": "2",
        "requests_by_command": "read=2",
        "unanswered": "1",
        "bytes_left(client+server)": "0+0",
    }, "the table stops after the second reply to the first read; nbdaudit knows how long it is, "
       "and the client's second read (28 bytes) is whole"),
    ("fakeserver_raw-client_unsolicited.pcap", 0, {
        "bytes_left(client+server)": "0+32",
    }, "a read is answered a second time, without its 512 bytes: the 16 bytes of nonsense that "
       "come next are taken for the first of them"),
    ("nbdkit-1.32.5_libnbd-1.14_mid-connection-simple.pcap", 0, {
        "requests": "41",
        "requests_by_command": "disc=1,read=20,write=20",
        "replies_by_command": "read=20,write=20",
        "chunks": "simple=40",
        "bytes_read": "40960",
        "bytes_written": "40960",
        "max_in_flight": "1",
        "bytes_left(client+server)": "0+0",
    }, "caught in the middle, which the table does not count. 41 requests of 28 bytes with 20 "
       "payloads of 2048 are the client's 42108 bytes, 40 replies of 16 with as many the server's "
       "41600"),
    ("qemu-nbd-10.0.13_raw-client_badreq.pcap", 0, {
        "chunks": "data=2,error=3,none=1",
        "unsolicited": "1",
        "bytes_left(client+server)": "28+0",
    }, "the server's last 77 bytes are an error chunk with a cookie that nobody sent, its answer "
       "to the client's 28 bytes of nonsense"),
]


def audit(path):
    """All JSON objects that nbdaudit says of a capture, and its exit status."""
    keys = path.with_suffix(".keylog")
    options = [f"--tls-keys={keys}"] if keys.exists() else []
    run = subprocess.run([BIN / "nbdaudit", "--format=json", "--messages", *options, path],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, timeout=300)
    if run.returncode not in (0, 1, 2, 3):
        raise RuntimeError("status %d\n%s" % (run.returncode, run.stderr.decode()[-3000:]))
    return [json.loads(line) for line in run.stdout.decode().splitlines()], run.returncode


def number(name, known, prefix):
    """The number of a spec name, or the one in the name of an unknown value."""
    if name.startswith(prefix) and name[len(prefix):] in known:
        word = name[len(prefix):]
        return known[word] if isinstance(known, dict) else known.index(word)
    return int(re.search(r"(\d+|0x[0-9a-f]+)$", name).group(), 0)


def spell(counts):
    """As in the table: name=count sorted by name, or - for none."""
    return ",".join("%s=%d" % item for item in sorted(counts.items()) if item[1]) or "-"


def flag_bits(names):
    return sum(1 << (int(name[4:]) if name.startswith("bit ") else
                     FLAGS.index(name[len("NBD_FLAG_"):])) for name in names)


def command_word(name):
    word = name[len("NBD_CMD_"):] if name.startswith("NBD_CMD_") else None
    return COMMANDS[word] if word in COMMANDS else str(number(name, {}, "?"))


def columns(connection, messages):
    """The columns of EXPECTED.tsv, made from what nbdaudit says."""
    commands = connection["commands"]
    answered, errors, options = (collections.Counter() for _ in range(3))
    answered["opt"] = 0
    for option in connection.get("options", []):
        code = number(option["option"], OPTIONS, "NBD_OPT_")
        options[code] += 1
        answered["opt"] += len(option["replies"])
        for reply in option["replies"]:
            if "_ERR_" in reply:
                errors["opt%d:%d" % (code, number(reply, OPTION_ERRORS, "NBD_REP_ERR_"))] += 1
    for name, statistics in commands.items():
        if name != "NBD_CMD_DISC":
            answered[command_word(name)] = statistics["replies"]
        for error, count in statistics["errors"].items():
            errors["%s:%d" % (command_word(name), number(error, ERRORS, "NBD_"))] += count

    chunks = collections.Counter()
    written = 0
    for message in messages:
        name, fields = message["name"], message["fields"]
        if name in CHUNKS:
            chunks[CHUNKS[name]] += 1
        if name == "NBD_CMD_WRITE":
            written += fields["nbd.len"]

    left = []
    for side in "client", "server":
        account = connection["bytes"][side]
        left.append(account["fed"] - account["decoded"])
    return {
        "client_port": connection["client"].rsplit(":", 1)[1],
        "handshake": connection["handshake"],
        "replies": connection.get("replies", "-"),
        "export": connection.get("export", connection.get("export_asked", "-")),
        "size": str(connection.get("size", "-")),
        "transmission_flags": "0x%04x" % flag_bits(connection["transmission_flags"])
                              if "transmission_flags" in connection else "-",
        "options": ",".join("%dx%d" % item for item in options.items()) or "-",
        "contexts": ",".join("%d:%s" % (context["id"], context["name"])
                             for context in connection.get("contexts", [])) or "-",
        "requests": str(sum(statistics["count"] for statistics in commands.values())),
        "requests_by_command": spell({command_word(name): statistics["count"]
                                      for name, statistics in commands.items()}),
        "replies_by_command": spell(answered),
        "errors": spell(errors),
        "chunks": spell(chunks),
        "bytes_read": str(commands.get("NBD_CMD_READ", {}).get("data_bytes", 0)),
        "bytes_written": str(written),
        "max_in_flight": str(connection["max_in_flight"]),
        "unanswered": str(connection["unanswered"]),
        "unsolicited": str(connection["unsolicited"]),
        "bytes_left(client+server)": "%d+%d" % tuple(left),
    }


def unaccounted(connection):
    """Bytes that went into none of the sums that they must go into."""
    return sum(account["fed"] - sum(count for kind, count in account.items() if kind != "fed")
               for account in connection["bytes"].values())


class Checker:
    def __init__(self, verbose):
        self.verbose = verbose
        self.checked = 0
        self.failures = 0
        self.explained = collections.Counter()
        self.used = set()

    def say(self, ok, what):
        self.checked += 1
        if not ok:
            self.failures += 1
            print("DIFFERS " + what)
        elif self.verbose:
            print("same    " + what)

    def explanation(self, name, connection, column, value):
        for file, which, instead, why in EXPLAINED:
            if (file, which) == (name, connection) and instead.get(column) == value:
                self.used.add((file, which, column))
                return why
        return None

    def verdict(self, name, objects, status):
        """Rules of the levels violation and suspect, and the flag at bit 8."""
        loud = [item for item in objects
                if item["type"] == "finding" and item["severity"] in ("violation", "suspect")]
        # rules of the protocol have rows of the groups H, O, B, R, S, C, X, M, D
        protocol = [item for item in loud if item["ref"][1] == "-"]
        found = {(item["rule"], item["frames"]["message"]) for item in protocol}
        self.say(found == PEERS[name], "%s: rules broken %s, expected %s" % (
            name, sorted(found - PEERS[name]) or "nothing more",
            sorted(PEERS[name] - found) or "nothing else"))
        violations = any(item["severity"] == "violation" for item in protocol)
        found = {item["rule"] for item in loud if item["ref"][1] != "-"}
        wanted = set().union(*(rules for part, rules in GUILTY.items() if part in name))
        self.say(found >= wanted and (wanted or not found),
                 "%s: found %s, wanted %s" % (name, sorted(found) or "nothing",
                                              sorted(wanted) or "nothing"))
        self.say((status == 1) == (bool(wanted) or violations), "%s: exit status %d" % (name, status))
        bit8 = any(item["type"] == "finding" and item["rule"] == "cache-flag-at-bit-8"
                   for item in objects)
        self.say(bit8 == (name.removesuffix(".zst") in BIT_8),
                 "%s: cache-flag-at-bit-8 %s" % (name, "found" if bit8 else "not found"))

    def capture(self, path, rows):
        name = path.name
        objects, status = audit(path)
        connections = [item for item in objects if item["type"] == "connection"]
        messages = collections.defaultdict(list)
        for item in objects:
            if item["type"] == "message":
                messages[item["connection"]].append(item)

        self.say(len(connections) == len(rows), "%s: %d connections, expected %d" % (
            name, len(connections), len(rows)))
        for connection, row in zip(connections, rows):
            where = "%s connection %s" % (name, row["connection"])
            lost = unaccounted(connection)
            self.say(lost == 0, "%s: %d bytes unaccounted for" % (where, lost))
            if row["notes"] == "tls" and not connection.get("tls_read"):
                self.tls(where, connection, row)
                continue
            self.row(name, where, row, columns(connection, messages[connection["id"]]))
        self.verdict(name, objects, status)

    def tls(self, where, connection, row):
        """The table was counted with the session's keys. Without them what precedes
        TLS can be counted, and nothing after it."""
        wanted = row["options"].split(",")
        wanted = wanted[:wanted.index("5x1") + 1]
        said = ["%dx1" % number(option["option"], OPTIONS, "NBD_OPT_")
                for option in connection["options"]]
        self.say(said == wanted, "%s: options %s, expected %s" % (where, said, wanted))
        self.say(connection["tls"] is True, "%s: tls %s" % (where, connection["tls"]))
        self.say(connection["commands"] == {}, "%s: commands counted in TLS" % where)
        for side in "client", "server":
            self.say(connection["bytes"][side]["tls"] > 0, "%s: TLS of the %s" % (where, side))

    def row(self, name, where, row, said):
        for column, value in said.items():
            wanted = row[column]
            if column == "handshake":
                wanted = HANDSHAKES[wanted]
            elif column == "replies":
                wanted = REPLIES[wanted]
            if value != wanted:
                why = self.explanation(name, int(row["connection"]), column, value)
                if why:
                    self.explained[why] += 1
                    continue
            self.say(value == wanted, "%s: %s %s, expected %s" % (where, column, value, wanted))

    def linux(self, path, row):
        name = path.name
        objects, status = audit(path)
        connections = [item for item in objects if item["type"] == "connection"]
        for connection in connections:
            lost = unaccounted(connection)
            self.say(lost == 0, "%s connection %d: %d bytes unaccounted for" % (
                name, connection["id"], lost))
        bits = int(re.search(r"\((\d+)\)$", row["flags"]).group(1)) if "(" in row["flags"] else None
        shown = {flag_bits(connection["transmission_flags"]) for connection in connections
                 if "transmission_flags" in connection}
        self.say(shown == {bits}, "%s: flags %s, expected %s" % (name, shown, bits))

        counts = collections.Counter()
        for connection in connections:
            for command, statistics in connection["commands"].items():
                counts[command[len("NBD_CMD_"):]] += statistics["count"]
        wanted = row["counts"]
        spelled = re.search(r"\{[^}]*'[^}]*\}|\{\}", wanted)
        requests = (ast.literal_eval(spelled.group()) if spelled else
                    {word: int(count) for word, count in re.findall(r"([A-Z_]+) (\d+)", wanted)})
        self.say(counts == requests, "%s: requests %s, expected %s" % (
            name, dict(counts), requests))
        self.say(len(connections) == int(re.search(r"conns=(\d+)", wanted).group(1)),
                 "%s: %d connections" % (name, len(connections)))
        if not spelled:
            self.verdict(name, objects, status)
            return
        flushes = {index: connection["commands"]["NBD_CMD_FLUSH"]["count"]
                   for index, connection in enumerate(connections)
                   if "NBD_CMD_FLUSH" in connection["commands"]}
        listed = ast.literal_eval(re.search(r"flushes/conn=(\{.*?\})", wanted).group(1))
        self.say(flushes == listed, "%s: flushes %s, expected %s" % (name, flushes, listed))
        for word, said in (
                ("fua", sum(statistics.get("fua", 0) for connection in connections
                            for statistics in connection["commands"].values())),
                ("wbytes", sum(connection["commands"].get("NBD_CMD_WRITE", {}).get("bytes", 0)
                               for connection in connections))):
            listed = int(re.search(r" %s=(\d+)" % word, wanted).group(1))
            self.say(said == listed, "%s: %s %d, expected %d" % (name, word, said, listed))
        self.verdict(name, objects, status)


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def main():
    parser = argparse.ArgumentParser(description="compare nbdaudit with independent counts")
    parser.add_argument("-v", "--verbose", action="store_true", help="also say what is the same")
    parser.add_argument("capture", nargs="*")
    arguments = parser.parse_args()
    directory = os.environ.get("NBDSCOPE_CAPTURES")
    if not directory:
        print("skipped: NBDSCOPE_CAPTURES names no directory of captures")
        return 77
    directory = pathlib.Path(directory)

    checker = Checker(arguments.verbose)
    files = collections.defaultdict(list)
    for row in table(directory / "EXPECTED.tsv"):
        files[row["file"]].append(row)
    for name, rows in files.items():
        if not arguments.capture or name in arguments.capture:
            checker.capture(directory / name, rows)
    for row in table(directory / "linux" / "MANIFEST.tsv"):
        name = row["file"] + ".zst"
        if not arguments.capture or name in arguments.capture:
            checker.linux(directory / "linux" / name, row)

    for why, count in checker.explained.items():
        print("explained %4d: %s" % (count, why))
    if not arguments.capture:
        for file, which, instead, _ in EXPLAINED:
            for column in instead:
                checker.say((file, which, column) in checker.used,
                            "%s connection %d: %s needs no explanation" % (file, which, column))
    print("%d comparisons, %d differ" % (checker.checked, checker.failures))
    return 1 if checker.failures or not checker.checked else 0


if __name__ == "__main__":
    sys.exit(main())
