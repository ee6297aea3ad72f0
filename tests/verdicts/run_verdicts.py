#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""run_verdicts.py NBDAUDIT: what is said of the captures beside this file is what
expected.tsv has, no more and no less, at the level of a suspect or above."""

import json
import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
expected = {}
with open(os.path.join(here, "expected.tsv"), encoding="utf-8") as table:
    for line in table:
        if line.startswith("#") or not line.strip():
            continue
        name, severity, rule, frame, words = line.rstrip("\n").split("\t")
        expected.setdefault(name, []).append((severity, rule, int(frame), words))

failed = 0
captures = sorted(f for f in os.listdir(here) if f.endswith(".pcap"))
if sorted(expected) != captures:
    sys.exit("expected.tsv and the captures are not the same")
for name in captures:
    run = subprocess.run(
        [sys.argv[1], "--format=json", os.path.join(here, name)],
        capture_output=True,
        check=False,
    )
    if run.returncode not in (0, 1):
        print(f"{name}: exit status {run.returncode}: {run.stderr.decode()}")
        failed += 1
        continue
    told = [json.loads(line) for line in run.stdout.splitlines()]
    told = [t for t in told if t["type"] == "finding" and t["severity"] in ("suspect", "violation")]
    for severity, rule, frame, words in expected[name]:
        match = [
            t
            for t in told
            if (t["severity"], t["rule"], t["frames"].get("read", 0)) == (severity, rule, frame)
            and words in t["message"]
        ]
        if not match:
            print(f"{name}: not told: {severity} {rule} in frame {frame} {words!r}")
            failed += 1
        else:
            told.remove(match[0])
    for t in told:
        print(f"{name}: told besides: {t['severity']} {t['rule']}: {t['message']}")
        failed += 1
print(f"{len(captures)} captures, {failed} failures")
sys.exit(failed != 0)
