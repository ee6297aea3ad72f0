#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many instructions does nbdaudit take a packet, and a byte?

    instructions.py NBDAUDIT SCALE SAMPLES [--update]

callgrind counts them over captures that stay the same: samples, and one with large writes
that SCALE makes.  What is not the capture's (the count over one without packets) is taken
off.  Only the program's own functions are
counted: those of libraries depend on which there are, and the hash on what the processor
offers.  Calls of the allocator are counted too, as they are made.

A count may be a quarter more than the one that is stored in instructions.json: compilers
differ.  One that is less than half of it is wrong as well: then it guards nothing.
--update stores what is counted.  Exit status 77: there is no valgrind.
"""

import collections
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

STORED = pathlib.Path(__file__).with_name("instructions.json")
MOST, LEAST = 1.25, 0.5
NAMES = ["fio.pcap.zst", "mtu-1500.pcap"]
MADE = ("rewrites", 500) # a shape of SCALE, and how many
ALLOCATOR = {"malloc", "calloc", "realloc", "reallocarray"}
HASH = re.compile(r"sector_hash|XXH")
ROOM = re.compile(r"(?:analyzer|dissector|tui)/(\w+)/[^/]*$")
NAME = re.compile(r"\((\d+)\)(?: (.*))?$")
EMPTY = bytes.fromhex("d4c3b2a1 02000400 00000000 00000000 00000400 01000000".replace(" ", ""))


class Counted:
    def __init__(self):
        self.own = self.hash = self.calls = 0
        self.rooms = collections.Counter()


def parse(path, program):
    """callgrind's file: which functions, of which object, cost what (format version 1)."""
    counted = Counted()
    names = {kind: {} for kind in ("ob", "fl", "fn")}
    kinds = {"ob": "ob", "cob": "ob", "fl": "fl", "fi": "fl", "fe": "fl", "cfi": "fl",
             "cfl": "fl", "fn": "fn", "cfn": "fn"}
    now = {"ob": "", "fl": "", "fn": "", "cfn": ""}
    called = False # the next line is what a call cost, all below it included
    for line in path.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and key in kinds:
            number, name = NAME.match(value).groups()
            if name is not None:
                names[kinds[key]][number] = name
            if key in now:
                now[key] = names[kinds[key]][number]
        elif line.startswith("calls="):
            called = True
            if now["cfn"].split("'")[0] in ALLOCATOR and now["ob"] == program:
                counted.calls += int(value.split()[0])
        elif line[:1] in "0123456789+-*" and line:
            cost = int(line.split()[1])
            if not called and now["ob"] == program:
                if HASH.search(now["fn"]):
                    counted.hash += cost
                else:
                    room = ROOM.search(now["fl"])
                    counted.own += cost
                    counted.rooms[room[1] if room else "others"] += cost
            called = False
    return counted


def count(nbdaudit, capture, work):
    out = work / "callgrind.out"
    run = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=%s" % out, str(nbdaudit),
         "--format=json", str(capture)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    if run.returncode not in (0, 1, 3) or not out.exists():
        sys.exit("valgrind ended with status %d: %s" % (run.returncode, run.stderr))
    head = json.loads(run.stdout.partition("\n")[0])
    assert head["type"] == "capture" and head["complete"], head
    counted = parse(out, str(nbdaudit))
    out.unlink()
    assert counted.own, "nothing was counted of %s" % nbdaudit
    return counted, head["frames"], head["bytes"]


def main():
    nbdaudit = pathlib.Path(sys.argv[1]).resolve()
    scale = pathlib.Path(sys.argv[2]).resolve()
    samples = pathlib.Path(sys.argv[3]).resolve()
    update = sys.argv[4:] == ["--update"]
    if not shutil.which("valgrind"):
        print("skipped: no valgrind")
        return 77
    stored = {} if update else json.loads(STORED.read_text())
    failed, new = [], {}
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        (work / "empty.pcap").write_bytes(EMPTY)
        with open(work / MADE[0], "wb") as made:
            subprocess.run([scale, "--write", MADE[0], str(MADE[1])], stdout=made, check=True)
        captures = {name: samples / name for name in NAMES}
        captures["%s %d" % MADE] = work / MADE[0]
        base = count(nbdaudit, work / "empty.pcap", work)[0]
        print("%-18s %8s %10s %10s %10s %10s %12s  %s" % (
            "capture", "packets", "bytes", "instr.", "a packet", "a byte", "alloc/packet",
            "of which"))
        for name, capture in captures.items():
            counted, packets, size = count(nbdaudit, capture, work)
            own, calls = counted.own - base.own, counted.calls - base.calls
            counted.rooms.subtract(base.rooms)
            print("%-18s %8d %10d %10d %10.0f %10.2f %12.2f  %s" % (
                name, packets, size, own, own / packets, own / size, calls / packets,
                ", ".join("%s %.0f %%" % (room, 100 * n / own)
                          for room, n in counted.rooms.most_common(6))))
            new[name] = {"instructions": own, "allocations": calls}
            for what, value in new[name].items():
                if update:
                    continue
                was = stored[name][what]
                if not LEAST * was <= value <= MOST * was:
                    failed.append("%s: %d %s, where %d were stored (%.2f of it)" % (
                        name, value, what, was, value / was))
    if update:
        STORED.write_text(json.dumps(new, indent=1) + "\n")
    for line in failed:
        print("FAILED: " + line)
    if failed:
        print("If that is meant: %s --update" % " ".join(sys.argv[:4]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
