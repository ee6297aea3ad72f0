#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# short.py NBDAUDIT SCALE
#
# What is said where memory was short? Each connection is counted once, however little is
# known of it; and where nothing could be judged the verdict is not `clean` but
# `unaudited`, with a line that says what is forgotten.
import json
import subprocess
import sys

# shape, connections, MiB, verdict, whether some are given up
CASES = [
    ("writing-connections", 2000, 64, "clean", False),
    ("writing-connections", 2000, 8, "unaudited", True),
    ("reading-connections", 2000, 8, "unaudited", True),
    ("flushing-connections", 10000, 64, "unaudited", True),
]

def run(nbdaudit, scale, shape, count, mib, form):
    source = subprocess.Popen([scale, "--write", shape, str(count)], stdout=subprocess.PIPE)
    done = subprocess.run([nbdaudit, f"--memory={mib}M", "-f", form, "-"], stdin=source.stdout,
                          stdout=subprocess.PIPE, text=True, check=False)
    source.stdout.close()
    source.wait()
    return done.returncode, done.stdout

def main():
    nbdaudit, scale = sys.argv[1:3]
    bad = 0
    for shape, count, mib, verdict, short in CASES:
        status, out = run(nbdaudit, scale, shape, count, mib, "json")
        summary = json.loads(out.splitlines()[-1])
        _, text = run(nbdaudit, scale, shape, count, mib, "text")
        forgotten = summary.get("forgotten", {})
        good = summary["connections"] == count and summary["verdict"] == verdict and \
            status == (3 if verdict == "unaudited" else 0) and \
            bool(forgotten.get("given_up")) == short and \
            ("memory was short" in " ".join(text.split())) == short
        print(f"{shape} {count} --memory={mib}M: {summary['connections']} connections, "
              f"{summary['verdict']}, exit {status}, forgotten {forgotten}"
              f"{'' if good else '  WRONG'}", flush=True)
        bad += not good
    return 1 if bad else 0

sys.exit(main())
