#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds the TCP layer's bytes against those of tshark, capture by capture.

    follow_tcp.py [--share=I/N] TCPBYTES [CAPTURE...]

TCPBYTES is the program of tests/tools/tcpbytes.c. The captures are the samples and
those in the directory that NBDSCOPE_CAPTURES names (with --share one in N of these), or
the ones given. For each, the bytes of every connection and direction have to equal what
`tshark -z follow,tcp,raw` says, holes included: where bytes are missing, tshark writes
how many. And no bytes may come before those of the other direction which their frame
acknowledges, whatever the order in the capture.

Exit status 77 (skipped) without tshark.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = pathlib.Path(os.environ.get("NBDSCOPE_SOURCE_DIR", HERE.parent.parent))

# One tshark is asked for so many streams of a capture at a time.
STREAMS = 64


def captures(part, parts):
    """The samples, then part I of N of the external captures, and a line on what is absent."""
    found = sorted((ROOT / "samples").glob("*.pcap*"))
    where = os.environ.get("NBDSCOPE_CAPTURES")
    if where is None:
        where = ROOT.parent / "shared" / "captures"
    if where and pathlib.Path(where).is_dir():
        # tshark takes the first copy of bytes, also one that no receiver would
        more = sorted(path for path in pathlib.Path(where).rglob("*.pcap*")
                      if path.is_file() and not path.name.startswith("inject-"))
        found += more[part - 1::parts]
    else:
        print("no NBDSCOPE_CAPTURES directory: the samples only")
    return found


def missing(length):
    """tshark's words for a hole, with the end that it gives them."""
    return b"[%d bytes missing in capture file]\0" % length


def ours(program, path):
    """A list of flows: ((address, bytes), (address, bytes)), in order of opening; and
    what came too early, in words."""
    run = subprocess.run([program, "-b", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         timeout=120)
    if run.returncode not in (0, 1):
        raise RuntimeError("%s: status %d: %s" % (program, run.returncode, run.stderr.decode()))
    flows = []
    early = []
    told = {}   # up to which offset, of each direction
    holes = {}  # those that nothing has followed yet: tshark does not tell these
    for line in run.stdout.decode().splitlines():
        word = line.split()
        if word[0] == "open":
            flows.append(((word[2], bytearray()), (word[3], bytearray())))
        elif word[0] in ("data", "gap"):
            flow, side = int(word[1]), int(word[2])
            told[flow, side] = int(word[3]) + int(word[4])
            if word[0] == "data" and int(word[6]) > told.get((flow, 1 - side), 0):
                early.append("connection %d: the bytes of frame %s come before those that it "
                             "acknowledges" % (flow, word[5]))
            hole = holes.pop((flow, side), 0)
            if word[0] == "gap":
                holes[flow, side] = hole + int(word[4])
                continue
            data = flows[flow][side][1]
            if hole:
                data.extend(missing(hole))
            data.extend(bytes.fromhex(word[9]))
    return flows, early


def theirs(path):
    """The same from tshark, which numbers its streams from 0."""
    flows = []
    while True:
        command = ["tshark", "-n", "-q", "-r", path]
        for stream in range(len(flows), len(flows) + STREAMS):
            command += ["-z", "follow,tcp,raw,%d" % stream]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        found = {}
        sides = None
        for line in run.stdout.decode().splitlines():
            if line.startswith("Filter: tcp.stream eq "):
                stream = int(line.rsplit(" ", 1)[1])
                sides = []
            elif line.startswith("Node "):
                sides.append((line.split(": ", 1)[1], bytearray()))
                if len(sides) == 2 and sides[0][0] != ":0":
                    found[stream] = tuple(sides)
            elif line and sides and not line.startswith(("=", "Follow")):
                node = 1 if line.startswith("\t") else 0
                sides[node][1].extend(bytes.fromhex(line.strip()))
        before = len(flows)
        for stream in range(before, before + STREAMS):
            if stream not in found:
                return flows
            flows.append(found[stream])


def difference(mine, other):
    """Where the bytes of one direction begin to differ, in words; None if nowhere."""
    if mine == other:
        return None
    at = 0
    while at < min(len(mine), len(other)) and mine[at] == other[at]:
        at += 1
    return ("%d bytes here, %d in tshark, the first difference at %d: %s here, %s in tshark" %
            (len(mine), len(other), at, bytes(mine[at:at + 24]).hex() or "the end",
             bytes(other[at:at + 24]).hex() or "the end"))


def compare(program, path):
    """(bytes compared, connections compared, differences in words)."""
    mine, wrong = ours(program, path)
    other = theirs(path)
    size = 0
    # A stream without payload and SYN is no flow here.
    other = [flow for flow in other if any(side[1] for side in flow)]
    mine = [flow for flow in mine if any(side[1] for side in flow)]
    if len(mine) != len(other):
        wrong.append("%d connections with payload, %d in tshark" % (len(mine), len(other)))
    for number, (flow, theirs_) in enumerate(zip(mine, other)):
        expected = {address.replace("[", "").replace("]", ""): data for address, data in theirs_}
        for address, data in flow:
            size += len(data)
            plain = address.replace("[", "").replace("]", "")
            if plain not in expected:
                wrong.append("connection %d: %s is none of tshark's %s" %
                             (number, address, ", ".join(expected)))
                continue
            words = difference(data, expected[plain])
            if words:
                wrong.append("connection %d, sent by %s: %s" % (number, address, words))
    return size, len(mine), wrong


def main():
    parser = argparse.ArgumentParser(description="TCP's bytes against those of tshark")
    parser.add_argument("--share", default="1/1", metavar="I/N")
    parser.add_argument("program", metavar="TCPBYTES")
    parser.add_argument("capture", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    part, parts = map(int, arguments.share.split("/"))
    if not shutil.which("tshark"):
        print("skipped: no tshark")
        sys.exit(77)
    program = arguments.program
    paths = arguments.capture or captures(part, parts)
    size = connections = failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, result in zip(paths, pool.map(lambda path: compare(program, path), paths)):
            size += result[0]
            connections += result[1]
            for words in result[2]:
                print("%s: %s" % (path.name, words))
            failed += bool(result[2])
    print("%d captures, %d connections, %d bytes compared; %d captures differ" %
          (len(paths), connections, size, failed))
    if not paths or not size:
        sys.exit("nothing was compared")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
