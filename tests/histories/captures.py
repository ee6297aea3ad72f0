#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
captures.py CHECK-HISTORIES NBDAUDIT [--seed S] [--count N] [--strict]

Random histories, written as captures with all that TCP shows of them, go through
the whole of nbdaudit.  What it finds about reads and writes is held against the
reference checker: no violation that the reference has not, and none of a legal
server; with --strict the same finding at the same level of the same read, with a
newest write named.  Differences are counted by kind; a capture that has one is kept
in the current directory, and the exit status is 1.
"""

import argparse
import collections
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

OF_WRITES = ("reply-before-payload", "write-succeeded-on-read-only")
RULES = OF_WRITES + (
    "stale-read-after-flush", "stale-read-after-fua", "zeroes-not-read-back",
    "stale-read-own-write", "unstable-read", "zero-status-contradicts-data",
    "lost-after-reconnect", "stale-read-unordered-writes", "read-unexplained-data",
    "stale-read-unflushed", "stale-read-no-multi-conn")


def audit(program, files):
    """The findings of each file: {file number: [finding]}, and the verdicts."""
    found = collections.defaultdict(list)
    done = subprocess.run([program, "--format=json", "--fail-on=never", *files],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                          stdin=subprocess.DEVNULL)
    if done.returncode not in (0, 3):
        sys.exit(f"nbdaudit ended with {done.returncode}: {done.stderr.decode()}")
    for line in done.stdout.splitlines():
        thing = json.loads(line)
        if thing["type"] == "finding" and thing["rule"] in RULES:
            found[thing.get("capture", 1) - 1].append(thing)
    return found


def compare(expected, found, strict):
    """Yields what is different, as kinds."""
    want = {}
    for f in expected["findings"]:
        frame = f["request"] if f["rule"] in OF_WRITES else f["reply"]
        want[frame] = f
    got = {}
    for f in found:
        role = "write_request" if f["rule"] in OF_WRITES else "read"
        frame = f["frames"].get(role)
        if strict and frame in got:
            yield f"told twice: {f['rule']}"
        if frame not in got or f["severity"] == "violation":
            got[frame] = f
    for frame in sorted(set(want) | set(got)):
        w, g = want.get(frame), got.get(frame)
        said = [f"{x['rule']} {x['severity']}" if x else "nothing" for x in (w, g)]
        kind = f"frame {frame}: reference {said[0]}, nbdaudit {said[1]}"
        if g and g["severity"] == "violation" and (not w or w["severity"] != "violation"):
            yield ("LEGAL, " if expected["legal"] else "") + kind
        elif strict and said[0] != said[1]:
            yield kind
        elif strict and w["writes"] and g["frames"].get("write") not in w["writes"]:
            yield kind + ", another write"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("histories")
    parser.add_argument("nbdaudit")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**12)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--strict", action="store_true")
    args = parser.parse_args()

    print("seed", args.seed)
    kinds = collections.Counter()
    example = {}
    total = findings = 0
    with tempfile.TemporaryDirectory() as there:
        lines = subprocess.run(
            [args.histories, "--seed", str(args.seed), "--count", str(args.count),
             "--captures", there], stdout=subprocess.PIPE, check=True).stdout.splitlines()
        histories = [json.loads(line) for line in lines]
        files = [os.path.join(there, f"{h['history']:06}.pcap") for h in histories]
        for first in range(0, len(files), 100):
            part = files[first:first + 100]
            found = audit(args.nbdaudit, part)
            for i, path in enumerate(part):
                expected = histories[first + i]
                total += 1
                findings += len(expected["findings"])
                for what in compare(expected, found.get(i, []), args.strict):
                    kind = what.split(": ", 1)[1] if what.startswith("frame") else what
                    kinds[kind] += 1
                    if kind not in example:
                        kept = f"history-{args.seed}-{expected['history']}.pcap"
                        shutil.copy(path, kept)
                        example[kind] = f"{kept} ({expected['about']}), {what}"
    for kind, n in kinds.most_common():
        print(f"{n:6} {kind}\n       {example[kind]}")
    print(f"{total} captures, {findings} findings of the reference, "
          f"{sum(kinds.values())} differences")
    sys.exit(bool(kinds) or not total)


if __name__ == "__main__":
    main()
