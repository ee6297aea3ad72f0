#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Times nbdaudit beside what it is measured against; see scripts/bench.

    bench.py BINARIES FILE
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time

ROUNDS = 7
SLOW_ROUNDS = 3  # of tshark, which takes longest


def once(command):
    """Wall-clock and processor seconds of one run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    status = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL).returncode
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status not in (0, 1):
        sys.exit("%s ended with status %d" % (" ".join(command), status))
    return wall, (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def main():
    binaries, path = sys.argv[1:3]
    readloop = os.path.join(binaries, "readloop")
    commands = {
        "nbdaudit": [os.path.join(binaries, "nbdaudit"), path],
        "pcap_next_ex loop": [readloop, path],
        "the same with XXH3": [readloop, "--hash", path],
    }
    if shutil.which("tshark"):
        commands["tshark -Y nbd -T fields"] = [
            "tshark", "-r", path, "-Y", "nbd", "-T", "fields", "-e", "frame.number"]

    once(commands["pcap_next_ex loop"])  # into the page cache
    times = {name: [] for name in commands}
    for turn in range(ROUNDS):
        for name, command in commands.items():
            if name.startswith("tshark") and turn >= SLOW_ROUNDS:
                continue
            times[name].append(once(command))

    size = os.path.getsize(path)
    wall = {name: statistics.median(run[0] for run in runs) for name, runs in times.items()}
    cpu = {name: statistics.median(run[1] for run in runs) for name, runs in times.items()}
    print("%s: %.0f MB, medians of %d runs in turn (tshark: %d)" % (
        path, size / 1e6, ROUNDS, SLOW_ROUNDS))
    print("%-26s %9s %9s %9s %22s" % ("", "wall s", "cpu s", "MB/s", "nbdaudit is, wall (cpu)"))
    for name in commands:
        ratio = ""
        if name != "nbdaudit":
            ratio = "%.2f x (%.2f x)" % (wall["nbdaudit"] / wall[name], cpu["nbdaudit"] / cpu[name])
        print("%-26s %9.3f %9.3f %9.0f %22s" % (
            name, wall[name], cpu[name], size / 1e6 / wall[name], ratio))


if __name__ == "__main__":
    main()
