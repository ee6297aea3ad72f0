#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin costs under attack: tshark takes at most 1.3 times as long with it.

	cost.py SCALE [--part=K] [--pairs=N] [--table] [SHAPE...]

SCALE makes the traffic, of which each shape has the K-th part of what docs/hostile.md says
(2 by default).  Each pair of runs, with the plugin and without, is one after the other; what
counts is the least processor time of each so far, so that other work on the machine only
makes it take more pairs, of which there are at most N.  --table shows all shapes, and goes
on after one that costs too much.
"""

import argparse
import os
import pathlib
import subprocess
import sys

import shark

MOST = 1.3
# Those where tshark by itself has the least to do, as against the engine.
HARD = ("extents", "wrong-reads", "waiting-reads", "contexts", "options", "short-servers")


def spent(which, capture):
    before = os.times()
    which.run("tshark", "-2", "-r", capture, check=False)
    after = os.times()
    return (after.children_user + after.children_system
            - before.children_user - before.children_system)


def cost(plain, plugged, capture, pairs):
    least = [float("inf")] * 2
    for _ in range(pairs):
        for i, which in enumerate((plain, plugged)):
            least[i] = min(least[i], spent(which, capture))
        if least[1] <= MOST * least[0]:
            break
    return least


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("scale")
    parser.add_argument("shapes", nargs="*")
    parser.add_argument("--part", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    plain, plugged = shark.Shark(plugin=None), shark.Shark()
    wrong = 0
    sizes = {}
    for line in subprocess.run([args.scale, "--list"], check=True, stdout=subprocess.PIPE,
                               text=True).stdout.splitlines():
        sizes[line.split()[0]] = int(line.split()[1])
    for shape in args.shapes or (sizes if args.table else HARD):
        capture = pathlib.Path(plugged.dir) / (shape + ".pcap")
        with capture.open("wb") as out:
            subprocess.run([args.scale, "--write", shape, str(sizes[shape] // args.part)],
                           check=True, stdout=out)
        capture.chmod(0o644)
        least = cost(plain, plugged, capture, args.pairs)
        capture.unlink()
        ratio = least[1] / least[0]
        print("%-22s %6.2f s without %6.2f s with the plugin: %.2f%s"
              % (shape, least[0], least[1], ratio, "" if ratio <= MOST else "  TOO MUCH"))
        sys.stdout.flush()
        wrong += ratio > MOST
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
